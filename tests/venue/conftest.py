"""A local venue in a process of its own, and people who trade there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")

from served import Served, serve


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    """A venue without participants, whose fills settle in 0.2 s."""
    with serve("--empty", "--settlement-ms", "200") as served:
        yield served


@pytest.fixture
def start() -> Callable[..., Any]:
    """Start another venue: `with start("--synth", "7") as served`."""
    return serve


@pytest.fixture(autouse=True)
def _calm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Faults and modes of a shared venue do not outlive their test."""
    served = request.getfixturevalue("venue") if "venue" in request.fixturenames else None
    yield
    if served is not None:
        served.admin("/faults", "DELETE")
        served.admin("/mode", mode="normal")
        served.admin("/geoblock", blocked=False)


@pytest.fixture
def private_key(request: pytest.FixtureRequest) -> str:
    """A key of the test's own: an account with 1000 pUSD."""
    import hashlib

    return "0x" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()
