"""Killed at random points, a live run loses no fill, doubles no order and leaves none behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from crash import check, drill
from served import serve

from polytraders.run.replay import replay
from polytraders.store.log import read_log, verify_log

SERVED = ("--synth", "7", "--minutes", "10", "--speed", "4", "--settlement-ms", "300")


def rehearse(tmp_path: Path, kills: int, seed: int, most: float) -> None:
    with serve(*SERVED) as venue:
        found = drill(venue, tmp_path / "r", kills, seed, most)
        state = venue.state()
    print(found)
    check(found)
    assert found["submits"] > 0
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
    rehearse(tmp_path, kills=5, seed=11, most=4.0)


@pytest.mark.soak
def test_two_hundred_kills(tmp_path: Path):
    rehearse(tmp_path, kills=200, seed=1, most=4.0)
