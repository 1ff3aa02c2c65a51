"""Killed at random points, a live run loses no fill, doubles no order and leaves none behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from crash import check, drill
from served import serve

from polytraders.run.replay import replay
from polytraders.store.log import read_log, verify_log

SETTLED = ("--settlement-ms", "300")
SHORT = ("--synth", "7", "--minutes", "30", "--speed", "4", *SETTLED)
LONG = ("--synth", "7", "--minutes", "360", "--speed", "2", *SETTLED)
"""A session that goes on for as long as the campaign may take."""


def say(line: str) -> None:
    print(line, flush=True)


def rehearse(tmp_path: Path, served: tuple[str, ...], kills: int, seed: int, most: float) -> None:
    with serve(*served) as venue:
        found = drill(venue, tmp_path / "r", kills, seed, most, say)
        state = venue.state()
    say(json.dumps(found))
    check(found)
    assert found["submits"] > 0
    assert state["tape_left"], "the session was over before the drill was"
    (account,) = state["accounts"].values()
    assert account["open_orders"] == 0
    assert account["reserved"] == 0
    assert account["orders"] <= found["submits"], "no order was made twice"
    assert verify_log(tmp_path / "r").ok
    told = replay(tmp_path / "r")
    assert told.ok, told.first_mismatch
    sessions = [s for n in read_log(tmp_path / "r").notes() for s in n.get("said", ()) if s["what"] == "session"]
    assert [s["fence"] for s in sessions] == sorted({s["fence"] for s in sessions}), "each writer has its own number"


def test_a_run_killed_again_and_again_keeps_the_venues_books(tmp_path: Path):
    rehearse(tmp_path, SHORT, kills=5, seed=11, most=4.0)


@pytest.mark.soak
def test_two_hundred_kills(tmp_path: Path):
    rehearse(tmp_path, LONG, kills=200, seed=1, most=4.0)
