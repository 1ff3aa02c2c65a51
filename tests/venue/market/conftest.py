"""Market streams against a local venue in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
pytest.importorskip("websockets", reason="the venue extra is not installed")

from served import Served, serve

from bench.faults_market import Watcher, listed


@pytest.fixture(scope="session")
def empty() -> Iterator[Served]:
    """A venue without participants: tests add markets of their own."""
    with serve("--empty") as served:
        yield served


@pytest.fixture
def calm(empty: Served) -> Iterator[Served]:
    """The same, without the faults of the test before."""
    empty.admin("/faults", "DELETE")
    yield empty
    empty.admin("/faults", "DELETE")


@pytest.fixture
def watch(calm: Served) -> Callable[..., Any]:
    """`await watch("slug")`: a watcher of markets, made when they do not exist."""

    async def begin(*slugs: str, **options: Any) -> Watcher:
        there = {market["slug"] for market in calm.state()["markets"]}
        for slug in slugs:
            if slug not in there:
                calm.market(slug)
        return Watcher(calm, await listed(calm, *slugs), **options)

    return begin
