"""Thousands of markets: memory that is asked for ahead of time changes no row, and records lie where they should."""

import re
from pathlib import Path

import numpy as np
import pytest
from toys import MS, PUSD, Info, maker, random_tape

from polytraders.engine import backtest
from polytraders.engine.backtest import Collected, VenueModel, simulate
from polytraders.engine.matching import LISTED, NOWHERE, RESTING
from polytraders.engine.state import HUGE, LINE, MANY, MARKET, ORDER, POSITION, per_market
from polytraders.units import ONE

MARKETS = MANY + 6


@pytest.mark.parametrize(
    ("seed", "venue"), [(3, VenueModel()), (4, VenueModel(3 * MS, 7 * MS, queue_model="log_prob"))]
)
def test_rows_are_those_of_the_plain_loop(monkeypatch, seed, venue):
    tape, infos = random_tape(seed, 6_000, MARKETS), [Info(grid=10) for _ in range(MARKETS)]
    sinks = []
    for many in (MANY, len(infos) + 1):
        monkeypatch.setattr(backtest, "MANY", many)
        sinks.append(Collected())
        simulate(tape, infos, maker(), cash=3_000 * PUSD, interval=100 * MS, venue=venue, sink=sinks[-1])
    ahead, plain = sinks
    assert len(plain.rows("actions")) > 100
    for kind in plain.parts:
        assert ahead.rows(kind).tobytes() == plain.rows(kind).tobytes(), kind


def test_records_of_a_market_are_whole_cache_lines():
    assert [dtype.itemsize % LINE for dtype in (MARKET, POSITION, ORDER, LISTED, RESTING)] == [0] * 5
    assert max(LISTED.fields[name][1] + LISTED[name].itemsize for name in ("best", "head", "span", "taken")) <= LINE
    assert MARKET["best"].shape == LISTED["best"].shape and ONE + 1 < NOWHERE  # the finest grid has that many levels


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell how memory is mapped")
def test_tables_of_many_markets_are_private_memory_on_a_large_page():
    table = per_market(np.int64, HUGE)  # 16 MB
    table[::512] = 1
    at = table.ctypes.data
    assert at % HUGE == 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if (found := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)) and int(found[1], 16) <= at < int(found[2], 16):
            assert found[3] == "rw-p"  # what is shared the system never makes large
            break
    else:
        pytest.fail("the table's memory is not among the mappings")
