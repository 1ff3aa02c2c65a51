"""Tripped under load, with half of the cancels refused, a run ends with nothing at the venue and sends nothing more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from served import serve
from switch_drill import check, drill

from polytraders.store.log import verify_log


def rehearse(tmp_path: Path, markets: int, rest: int, seed: int) -> None:
    synth = ("--synth", str(seed), "--minutes", "15", "--markets", str(markets), "--speed", "2")
    with serve(*synth, "--settlement-ms", "300", "--seed", str(seed)) as venue:
        found = drill(venue, tmp_path / "r", rest)
    print(found)
    check(found)
    assert verify_log(tmp_path / "r").ok


def test_a_trip_under_load_with_refused_cancels(tmp_path: Path):
    rehearse(tmp_path, markets=4, rest=6, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_trips_with_many_orders(tmp_path: Path, seed: int):
    rehearse(tmp_path, markets=8, rest=24, seed=seed)
