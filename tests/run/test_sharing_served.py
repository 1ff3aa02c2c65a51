"""Processes of one desk at a local venue, as a user starts them: limits over two runs, and answers to a dead one."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from served import serve
from test_live_approvals import SETTINGS, Desk, breathing, by_http, running
from test_run_control import house

from polytraders.rows import EventKind, Signal
from polytraders.run.compare import compare
from polytraders.run.replay import replay
from polytraders.store.desk import board, runs
from polytraders.store.desk.shares import shares
from polytraders.store.log import read_log
from polytraders.units import MICRO

LIMITS = {"max_position_pct": "1", "max_category_pct": "1.5", "max_exposure_pct": "1.5"}


def tied_up(store: Any) -> dict[str, float]:
    """Run -> pUSD in positions and orders, as the runs tell it."""
    return {row["run_id"]: float(row["observed"]) for row in board(store, "limits") if row["name"] == "exposure"}


def test_two_processes_of_one_portfolio_stay_within_its_limits(tmp_path: Path):
    paper = SETTINGS | {"live.dry_run": "true"}
    with serve("--empty") as venue:
        desk = Desk(venue, tmp_path)
        venue.market("rain")
        with desk.store() as store:
            house(store, **LIMITS)
        both = {"mode": "paper", "settings": paper}
        with breathing(venue, "rain"), running(desk, "rain", **both) as (a, first), running(desk, "rain", **both) as b:
            folders = [Path(told["folder"]) for told in (first, b[1])]
            seen: list[int] = []

            def quoting() -> bool:
                with desk.store() as store:
                    rows = [row for row in shares(store) if row["name"] == "exposure"]
                    seen.append(sum(row["used"] for row in rows))
                    granted = sum(row["share"] for row in rows)
                    assert granted <= 15 * MICRO, rows
                    return sum(1 for used in tied_up(store).values() if used > 0) == 2

            desk.until(quoting, "both have orders")
            told = desk.cli("portfolios", "shares", "PORT-001")["shares"]
            assert {row["run_id"] for row in told} == {folder.name for folder in folders}
            for process in (a, b[0]):
                process.send_signal(signal.SIGTERM)
            for process in (a, b[0]):
                rest, _ = process.communicate(timeout=180)
                assert process.returncode == 0, rest
        assert 0 < max(seen) <= 15 * MICRO
        rooms = []
        for folder in folders:
            assert replay(folder).parity == 1.0
            assert compare(folder).as_dict()["unexplained"] == 0
            rows = read_log(folder).events()
            told = rows[(rows["kind"] == EventKind.SIGNAL) & (rows["aux"] == Signal.ROOM) & (rows["market"] < 0)]
            rooms.append(np.array(told["size"]) - 1)
        assert rooms[0].max() == 15 * MICRO, "the first one was alone for a time"
        assert rooms[1].min() == 0, "and the second one got what it gave back"
        with desk.store() as store:
            assert shares(store) == [], "paper runs that ended hold nothing"


def test_an_approval_for_a_run_that_was_killed_is_refused_at_every_door(tmp_path: Path):
    with serve("--empty") as venue:
        desk = Desk(venue, tmp_path)
        rain = venue.market("rain")
        patient = SETTINGS | {
            "engine.intent_ttl_s": "900",
            "approvals.expiry_s": "900",
            "approvals.quote_age_ms": "60000",
        }
        with breathing(venue, "rain"), running(desk, "rain", settings=patient) as (process, _):
            waits = desk.proposed(rain, "YES")["trade_intent_id"]
            process.kill()
            process.wait()
            refused = desk.cli("intents", "approve", waits, code=1)
            assert (refused["code"], refused["status"]) == ("GOV_APPROVAL_RUN_GONE", "PENDING")
            assert refused["details"]["run"] == "its process is gone"
            answer = by_http(desk, f"/intents/{waits}/approve")
            assert (answer.status_code, answer.json()["code"]) == (409, "GOV_APPROVAL_RUN_GONE")
            with desk.store() as store:
                assert runs(store)[0]["state"] == "running", "it had no time to say anything"
        assert desk.account()["orders"] == 0
