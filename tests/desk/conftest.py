"""Every test of the desk's store runs twice: on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest

from polytraders.store.desk import open_desk
from polytraders.store.sql import Database

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server that lives as long as the tests; without PostgreSQL they are skipped, on CI they fail."""
    if postgres.binaries() is None:
        reason = "no PostgreSQL here (apt-get install postgresql)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of the test's own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'desk.sqlite'}"
    import psycopg

    server, name = request.getfixturevalue("postgres_server"), f"desk{next(_NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    """Opens desks and closes them after the test."""
    desks: list[Database] = []

    def one(url: str) -> Database:
        desks.append(open_desk(url))
        return desks[-1]

    yield one
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(url: str, opened: Callable[[str], Database]) -> Database:
    """An empty desk."""
    return opened(url)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty POLYTRADERS_HOME."""
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    return tmp_path
