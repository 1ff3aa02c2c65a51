"""The catalog: whole or not at all, the same bytes again, parts with the book as it stood, damage refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import orjson
import pytest
from wire import NS, T0, Wire, lines_of

from polytraders.data.catalog import Catalog, catalog_root, write_recording
from polytraders.data.checks import Replay, check
from polytraders.data.importer import import_files
from polytraders.errors import DamageError, UsageError
from polytraders.rows import EVENT, EventKind, Flag
from polytraders.units import NS_PER_DAY


def _frames(wire):
    return [
        wire.book({"0.48": "10", "0.47": "5"}, {"0.5": "30"}),
        wire.change(wire.leg("0.47", "0", "BUY")),
        wire.change(wire.leg("0.49", "2", "BUY")),
        wire.tick("0.01", "0.001"),
        wire.change(wire.leg("0.495", "1", "SELL")),
        wire.trade("0.495", "1", "BUY"),
    ]


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_sources_give_the_same_bytes(bench, wire, tmp_path):
    path = bench.write(lines_of(_frames(wire)))
    for root in ("one", "two"):
        import_files([path], root=tmp_path / root, gap_s=5)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_importing_again_changes_nothing_and_says_so(bench, wire):
    data = lines_of(_frames(wire))
    assert bench.bring(data).status == "imported"
    before = _files(bench.root)
    times = {path: path.stat().st_mtime_ns for path in bench.root.rglob("*")}
    again = bench.bring(data)
    assert again.status == "unchanged"
    assert again.manifest["rows"] == 9
    assert _files(bench.root) == before
    assert {path: path.stat().st_mtime_ns for path in bench.root.rglob("*")} == times


def test_other_sources_do_not_take_a_name_unasked(bench, wire):
    bench.bring(lines_of(_frames(wire)))
    with pytest.raises(UsageError, match="other sources"):
        bench.bring(lines_of(_frames(wire)[:2]))
    assert bench.bring(lines_of(_frames(wire)[:2]), replace=True).status == "replaced"
    assert bench.catalog.info("x").messages == 2


def test_metadata_that_came_later_imports_again(bench, wire):
    data = lines_of(_frames(wire))
    bench.bring(data)
    facts = {"condition_id": wire.condition, "slug": "known-now", "clob_token_ids": [wire.no, wire.yes]}
    (bench.folder / "x_markets.json").write_bytes(orjson.dumps([facts]))
    again = bench.bring(data)
    assert again.status == "replaced"
    (info,) = bench.catalog.markets("x")
    assert (info.slug, info.yes_token) == ("known-now", wire.no)
    assert [source["role"] for source in again.manifest["sources"]] == ["recording", "sidecar"]
    assert bench.bring(data).status == "unchanged"


def test_another_gap_limit_imports_again(bench, wire):
    data = lines_of(_frames(wire), every_ms=6_000)
    assert bench.bring(data).manifest["quality"]["gap"] == 5
    again = bench.bring(data, gap_s=10)
    assert again.status == "replaced"
    assert again.manifest["quality"] == {}


def test_an_import_that_fails_half_way_leaves_the_old_recording(bench, wire, monkeypatch):
    bench.bring(lines_of(_frames(wire)))
    before = _files(bench.root)
    monkeypatch.setattr(
        "polytraders.data.catalog._write_tables", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        bench.bring(lines_of(_frames(wire)[:2]), replace=True)
    assert _files(bench.root) == before


def test_several_files_under_one_name_are_merged_by_arrival(bench):
    first, second = Wire(), Wire()
    second.ms += 5
    one = bench.write(
        lines_of([first.book({"0.48": "1"}, {"0.5": "1"}), first.trade("0.5", "1", "BUY")], 20), "one.jsonl"
    )
    other_frames = [second.book({"0.3": "1"}, {"0.4": "1"}), second.trade("0.4", "1", "BUY")]
    for frame in other_frames:
        frame.update(market="0x" + "cd" * 32, asset_id="777")
    shifted = lines_of([None, *other_frames][1:], 20).replace(b'"recv_ns":1776323404030', b'"recv_ns":1776323404040')
    two = bench.write(shifted, "two.jsonl")
    (result,) = import_files([one, two], "both", root=bench.root, gap_s=5).recordings
    session = bench.catalog.load("both")
    assert len(session.markets) == 2
    assert np.all(np.diff(session.events["ts_recv"]) >= 0)
    assert [int(m) for m in session.events["market"]] == [0] * 3 + [1] * 3 + [0, 1]
    assert set(session.pin["files"]) == {"one.jsonl", "two.jsonl"}
    assert result.manifest["quality"] == {}


def test_files_of_the_same_name_in_two_folders_are_told_apart(bench, wire):
    for day in ("mon", "tue"):
        (bench.folder / day).mkdir()
    frames = _frames(wire)
    paths = [
        bench.write(lines_of(part), name) for part, name in ((frames[:2], "mon/x.jsonl"), (frames[2:], "tue/x.jsonl"))
    ]
    import_files(paths, "both", root=bench.root, gap_s=5)
    assert set(bench.catalog.load("both").pin["files"]) == {"mon/x.jsonl", "tue/x.jsonl"}
    assert check("both", root=bench.root, sources=bench.folder).ok


def test_metadata_named_among_the_files_is_no_recording(bench, wire):
    recording = bench.write(lines_of(_frames(wire)))
    facts = {"condition_id": wire.condition, "slug": "known", "clob_token_ids": [wire.yes, wire.no]}
    metadata = bench.write(orjson.dumps([facts]), "all_markets.json")
    (one,) = import_files([metadata, recording], root=bench.root, gap_s=5).recordings
    assert one.name == "x"
    assert bench.catalog.markets("x")[0].slug == "known"
    with pytest.raises(UsageError, match="only metadata"):
        import_files([metadata], root=bench.root, gap_s=5)


def test_files_without_a_name_become_recordings_of_their_own(bench, wire):
    paths = [bench.write(lines_of(_frames(wire)), name) for name in ("a b.jsonl", "c.jsonl")]
    done = import_files(paths, root=bench.root, gap_s=5).recordings
    assert [r.name for r in done] == ["a_b", "c"] == bench.catalog.names()
    with pytest.raises(UsageError, match="both be named"):
        import_files([paths[1], bench.write(b"", "c.csv")], root=bench.root, gap_s=5)


def test_a_session_is_pinned_to_its_sources(bench, wire):
    session = bench.session(_frames(wire))
    manifest = bench.catalog.manifest("x")
    assert session.pin["files"] == {"x.jsonl": manifest["sources"][0]["sha256"]}
    assert session.pin["rows"] == len(session.events) == manifest["rows"]
    assert list(session.pin["events"]) == ["events/day=2026-04-16/rows.parquet"]
    assert bench.catalog.recordings()[0].sources == ("x.jsonl",)


def test_days_are_partitions_by_receive_time(bench, wire):
    day = 1_776_384_000_000  # 2026-04-17T00:00:00Z
    frames = _frames(wire)
    data = b"".join(
        orjson.dumps({"recv_ns": (day - 25 + 10 * at) * NS, "frame": frame}) + b"\n" for at, frame in enumerate(frames)
    )
    bench.bring(data)
    days = sorted(path.name for path in (bench.root / "x" / "events").iterdir())
    assert days == ["day=2026-04-16", "day=2026-04-17"]
    events = bench.catalog.load("x").events
    assert len(events) == 9
    assert (events["ts_recv"] // NS_PER_DAY).tolist() == [20_559] * 6 + [20_560] * 3


def test_a_part_of_the_markets_is_numbered_anew(bench, wire):
    other = [
        frame | {"market": "0x" + "cd" * 32, "asset_id": "777"} for frame in (wire.book({"0.1": "1"}, {"0.2": "1"}),)
    ]
    bench.session([*_frames(wire)[:1], *other, *_frames(wire)[1:]])
    session = bench.catalog.load("x", markets=["0x" + "cd" * 32])
    assert [info.condition_id for info in session.markets] == ["0x" + "cd" * 32]
    assert set(session.events["market"].tolist()) == {0}
    assert session.events["seq"].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="has no market"):
        bench.catalog.load("x", markets=["0xcd"])


def test_a_session_that_starts_late_begins_with_the_book_as_it_stood(bench, wire):
    whole = bench.session(_frames(wire))
    start = (T0 + 30 + 10 * 4) * NS  # the fifth message
    part = bench.catalog.load("x", start=start)
    head = part.events[part.events["ts_recv"] < start]
    assert set(head["ts_recv"].tolist()) == {start - 10 * NS}  # as old as it was
    kinds = [EventKind(k).name for k in head["kind"]]
    assert kinds == ["BOOK_CLEAR", "LEVEL", "LEVEL", "LEVEL", "TICK_SIZE"]
    assert head["flags"][-1] & Flag.LAST
    for session in (whole, part):
        replay = Replay()
        for row in session.events[["kind", "market", "side", "price", "size"]].tolist():
            replay.apply(row)
        assert replay.books[0] == ({4800: 10_000_000, 4900: 2_000_000}, {4950: 1_000_000, 5000: 30_000_000})
    assert part.events["seq"].tolist() == list(range(len(part.events)))
    assert part.events["kind"].tolist()[-2:] == whole.events["kind"].tolist()[-2:]


def test_a_session_that_ends_early_holds_what_came_before(bench, wire):
    bench.session(_frames(wire))
    part = bench.catalog.load("x", end=(T0 + 30 + 10) * NS)
    assert len(part.events) == 4
    assert part.pin["end"] == (T0 + 40) * NS


@pytest.mark.parametrize("file", ["events/day=2026-04-16/rows.parquet", "markets.parquet", "recording.json"])
def test_a_damaged_recording_is_not_loaded(bench, wire, file):
    bench.session(_frames(wire))
    path = bench.root / "x" / file
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = b"\0" * (len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(DamageError, match=r"x"):
        bench.catalog.load("x")


def test_one_flipped_bit_in_the_rows_is_seen(bench, wire):
    bench.session(_frames(wire))
    path = bench.root / "x" / "events/day=2026-04-16/rows.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError, match="SHA-256"):
        bench.catalog.load("x")


def test_an_unknown_recording_is_named_with_the_nearest(bench, wire):
    bench.bring(lines_of(_frames(wire)), "tuesday.jsonl")
    with pytest.raises(UsageError, match="did you mean tuesday"):
        bench.catalog.load("tusday")


def test_the_catalog_lies_in_the_home_folder(home):
    assert catalog_root() == home / "catalog"
    assert Catalog().recordings() == []


def test_a_million_rows_load_as_they_were(tmp_path, bench, wire):
    bench.session(_frames(wire))
    rows = np.zeros(1_000_000, dtype=EVENT)
    rows["ts_recv"] = T0 * NS + np.arange(len(rows)) * 1_000_003
    rows["ts_event"] = rows["ts_recv"] - 37
    rows["seq"] = np.arange(len(rows))
    rows["price"] = 4_000 + rows["seq"] * 7 % 100
    rows["size"] = rows["seq"] * 7_919 % 1_000 * 10_000
    rows["kind"] = EventKind.CHANGE
    tables = {which: bench.catalog.table("x", which) for which in ("messages", "quality", "markets")}
    manifest = bench.catalog.manifest("x") | {"rows": len(rows)}
    write_recording(bench.root, "big", rows, tables, manifest)
    loaded = bench.catalog.load("big").events
    assert np.array_equal(loaded, rows)
    assert loaded.flags.c_contiguous
    shutil.rmtree(bench.root / "big")


THREADS = """
import os, sys
from pathlib import Path
from polytraders.data.catalog import Catalog
import pyarrow.parquet

before = len(os.listdir("/proc/self/task"))
Catalog(Path(sys.argv[1])).load("x")
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_loading_leaves_no_thread_that_a_short_process_could_die_of(bench, wire):
    bench.bring(lines_of(_frames(wire)))
    command = [sys.executable, "-c", THREADS, str(bench.root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
