"""One suite, every venue: simulated, local, and Polymarket where credentials are set."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from ports import FAST, info, make_port

from polytraders.data.markets import MarketInfo
from polytraders.engine.backtest import VenueModel
from polytraders.rows import EVENT, EventKind, Flag, Side
from polytraders.units import MICRO, NS_PER_MS
from polytraders.venue import conformance
from polytraders.venue.conformance import FAILED, LEFT_OUT, PASSED, Ground
from polytraders.venue.simulated import SimulatedPort

GROUND = Ground(0, tick=100, min_size=5 * MICRO, bid=4_800, ask=5_200, trades=True)


def assert_conforms(results: list[conformance.Result], left_out: set[str] = frozenset()) -> None:
    assert len(results) == len(conformance.CASES)
    assert not [r for r in results if r.result == FAILED], "\n".join(f"{r.case}: {r.detail}" for r in results)
    assert {r.case.split()[1] for r in results if r.result == LEFT_OUT} == set(left_out)
    assert sum(r.result == PASSED for r in results) == len(results) - len(left_out)


def book(levels: list[tuple[Side, int, int]]) -> np.ndarray:
    """A snapshot of market 0."""
    rows = np.zeros(len(levels) + 1, EVENT)
    rows["kind"][0] = EventKind.BOOK_CLEAR
    for row, (side, price, size) in zip(rows[1:], levels, strict=True):
        row["kind"], row["side"], row["price"], row["size"] = EventKind.LEVEL, side, price, size * MICRO
    rows["flags"], rows["flags"][-1] = Flag.SNAPSHOT, Flag.SNAPSHOT | Flag.LAST
    return rows


@pytest.mark.parametrize("settlement", [0, 20 * NS_PER_MS])
def test_the_simulated_venue_conforms(settlement):
    market = MarketInfo(
        "0x1", "one", "one", "1", "2", tick=100, grid=100, min_size=5 * MICRO, fee_rate=20_000, fee_exponent=1,
        rebate_rate=0, neg_risk=False, event_id="", end_ts=0,
    )  # fmt: skip
    model = VenueModel(entry_latency=NS_PER_MS, response_latency=NS_PER_MS, settlement_delay=settlement)
    port = SimulatedPort([market], 1_000 * MICRO, model)
    port.observe(
        book([(Side.BUY, 4_800, 100), (Side.BUY, 4_700, 100), (Side.SELL, 5_200, 100), (Side.SELL, 5_300, 100)])
    )
    ground = Ground(**{**GROUND.__dict__, "settles": settlement > 0})
    assert_conforms(asyncio.run(conformance.run(port, ground)))


def test_the_local_venue_conforms(venue):
    made = venue.market("conforms", fee_rate="0.02")
    port = make_port(venue, "conforms", [info(made, "conforms", fee_rate=20_000)], FAST)
    assert_conforms(asyncio.run(conformance.run(port, GROUND)))


def test_a_neg_risk_market_of_the_finest_tick_conforms(venue):
    book_ = {"bids": [["0.4811", "100"]], "asks": [["0.5203", "100"]]}
    made = venue.market("conforms-fine", tick="0.0001", neg_risk=True, **book_)
    port = make_port(venue, "conforms-fine", [info(made, "conforms-fine", tick=1, neg_risk=True)], FAST)
    ground = Ground(0, tick=1, min_size=5 * MICRO, bid=4_811, ask=5_203, trades=False)
    assert_conforms(asyncio.run(conformance.run(port, ground)), {"off_tick", "takes"})


def test_a_port_that_forgets_a_cancel_does_not_conform(venue):
    """The suite can fail: a port that swallows cancels is found out."""
    made = venue.market("forgets")
    port = make_port(venue, "forgets", [info(made, "forgets")], FAST)
    whole = port.send

    async def send(requests):
        await whole([r for r in requests if r.action["kind"] != 2])

    port.send = send
    ground = Ground(**{**GROUND.__dict__, "patience": 0.3, "trades": False})
    results = {r.case.split()[1]: r for r in asyncio.run(conformance.run(port, ground))}
    assert results["rests"].result == FAILED and "CANCEL" in results["rests"].detail
    assert results["off_tick"].result == PASSED


@pytest.mark.skipif(
    not os.environ.get("POLYTRADERS_CONFORMANCE_MARKET"),
    reason="Polymarket: set POLYTRADERS_KEY, POLYTRADERS_API_* and POLYTRADERS_CONFORMANCE_MARKET to a condition id",
)
def test_polymarket_conforms():
    from polytraders.venue import visit

    market = os.environ["POLYTRADERS_CONFORMANCE_MARKET"]
    _, _, results = asyncio.run(visit.conform(visit.PRODUCTION, market, trades=False))
    assert not [r for r in results if r.result == FAILED]


def test_an_outsider_tries_a_venue_by_its_url(venue):
    venue.market("outside")
    command = [sys.executable, "-m", "polytraders.cli", "venue", "conformance", venue.urls["rest"], "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POLYTRADERS_KEY")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["counts"] == {PASSED: len(conformance.CASES), FAILED: 0, LEFT_OUT: 0}
    assert {case["code"] for case in said["cases"]} >= {"EXEC_OFF_TICK", "EXEC_CANCELLED", "EXEC_FOK_NOT_FILLED"}


def test_an_address_where_nobody_answers_says_so():
    command = [sys.executable, "-m", "polytraders.cli", "venue", "conformance", "http://127.0.0.1:9", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert json.loads(done.stdout)["code"] == "EXEC_VENUE_UNREACHABLE"
