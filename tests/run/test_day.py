"""Events of a day through a shadow run by way of the socket's parser: none lost, none malformed, memory flat.

`make soak` plays 24 hours of 4 markets; POLYTRADERS_DAY=hours:markets says otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import day
from polytraders.data.synth import START, synthesise
from polytraders.errors import DataError
from polytraders.rows import EventKind
from polytraders.run.playback import Clock, Playback, frames
from polytraders.store.log import DTYPES, RecordKind, read_log


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("day")
    return day.play(0.06, 4, 7, folder), folder / "r_day"


def test_nothing_of_a_short_day_is_lost_or_malformed(played: tuple[dict[str, Any], Path]):
    told, _ = played
    assert [name for name in day.failures(told) if name != "memory"] == []  # too short to come to rest
    assert told["frames"] > 1_000
    assert told["rows"] == told["rows_written"] > told["frames"]
    assert told["envelopes"] > 1_000
    assert told["replay_parity"] == 1.0
    assert len(told["memory_mb"]) == 25


def test_the_rows_are_stamped_with_the_times_of_their_frames(played: tuple[dict[str, Any], Path], tmp_path: Path):
    _, folder = played
    events = read_log(folder).events()
    trades = set(events["ts_recv"][events["kind"] == EventKind.TRADE])
    recording = synthesise(tmp_path, 7, 4, 4)[0]
    heard = {at for at, _ in frames([recording])}
    assert trades
    assert trades <= heard
    assert int(events["ts_recv"][0]) >= START


def test_a_row_that_is_none_is_found(played: tuple[dict[str, Any], Path]):
    _, folder = played
    log = read_log(folder)
    tables = {kind: log.rows(kind) for kind in DTYPES}
    assert day.malformed(log.manifest, tables) == {}
    for kind, field, value, name in (
        (RecordKind.DECISIONS, "code", 32_000, "decisions: code"),
        (RecordKind.DECISIONS, "verdict", 9, "decisions: verdict"),
        (RecordKind.EVENTS, "flags", 1 << 20, "events: flags"),
        (RecordKind.EVENTS, "seq", 10**9, "events: seq"),
    ):
        broken = tables | {kind: tables[kind].copy()}
        broken[kind][field][len(broken[kind]) // 2] = value
        assert name in day.malformed(log.manifest, broken)
    events = tables[RecordKind.EVENTS].copy()
    events["price"][np.argmax(events["kind"] == EventKind.LEVEL)] = 20_000
    assert any(
        found.startswith("events: price") for found in day.malformed(log.manifest, tables | {RecordKind.EVENTS: events})
    )


def test_a_day_that_lost_something_fails(played: tuple[dict[str, Any], Path]):
    told, _ = played
    whole = told | {"memory_spread": 0.01}
    assert day.failures(whole) == []
    for name, value in (
        ("rows_lost", 1), ("dropped_rows", 1), ("envelopes_malformed", 1), ("rows_malformed", {"events: seq": 1}),
        ("replay_ok", False), ("frames", 1), ("memory_spread", 0.11), ("refused", {"not_json": 1}),
    ):  # fmt: skip
        assert day.failures(whole | {name: value})


def test_a_file_that_no_recorder_wrote_is_refused(tmp_path: Path):
    path = tmp_path / "odd.jsonl"
    path.write_text('{"hello": 1}\n')
    with pytest.raises(DataError, match="known form"):
        next(frames([path]))
    assert Playback([path], [], Clock()).health()["playback"]["up"] is False


@pytest.mark.soak
def test_a_whole_day(tmp_path: Path):
    hours, markets = os.environ.get("POLYTRADERS_DAY", "24:4").split(":")
    told = day.play(float(hours), int(markets), 7, tmp_path)
    assert day.failures(told) == [], told
