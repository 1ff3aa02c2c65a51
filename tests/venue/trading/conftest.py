"""The venue that the ports of these tests trade at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import Served, serve


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    """A venue without participants, whose fills settle in 0.2 s and whose accounts begin with 100 000 pUSD."""
    with serve("--empty", "--settlement-ms", "200", "--cash", "100000") as served:
        yield served
