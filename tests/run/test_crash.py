"""Killed at random points, a live run loses no fill, doubles no order and leaves none behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from crash import check, drill, judge
from served import serve

SETTLED = ("--settlement-ms", "300")
SHORT = ("--synth", "7", "--minutes", "30", "--speed", "4", *SETTLED)
LONG = ("--synth", "7", "--minutes", "240", "--speed", "1.5", *SETTLED)
"""A session that goes on for as long as the campaign may take."""


def say(line: str) -> None:
    print(line, flush=True)


def rehearse(tmp_path: Path, served: tuple[str, ...], kills: int, seed: int, most: float) -> None:
    with serve(*served) as venue:
        found = drill(venue, tmp_path / "r", kills, seed, most, say)
        say(json.dumps(found))
        check(found)
        judge(tmp_path / "r", found, venue)


def test_a_run_killed_again_and_again_keeps_the_venues_books(tmp_path: Path):
    rehearse(tmp_path, SHORT, kills=5, seed=11, most=4.0)


@pytest.mark.soak
def test_two_hundred_kills(tmp_path: Path):
    rehearse(tmp_path, LONG, kills=200, seed=1, most=4.0)
