"""What is recorded while it happens gives, imported, the very rows that the run saw."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import orjson
import pytest
from served import serve

from bench.faults_market import trade_on
from polytraders.data.catalog import Catalog
from polytraders.data.checks import check
from polytraders.data.importer import import_files
from polytraders.data.record import Recorder, segments
from polytraders.data.sources import read_lines
from polytraders.rows import EventKind

FIELDS = ("ts_recv", "ts_event", "price", "size", "aux", "market", "ref", "kind", "side", "flags")


def run(work):
    return asyncio.run(asyncio.wait_for(work, 300))


def same(imported, live):
    for field in FIELDS:
        assert imported[field].tolist() == live[field].tolist(), field


def test_a_recording_of_faults_and_trades_gives_the_rows_that_were_seen(watch, calm, tmp_path):
    async def work():
        with Recorder(tmp_path / "recordings" / "live", {"polytraders": "test"}) as recorder:
            watcher = await watch("rec-b", "rec-a", tap=recorder)
            async with watcher.stream as stream:
                assert await stream.all_up(90)
                moving = [asyncio.create_task(trade_on(calm, slug, 150, random.Random(slug), 0.002))
                          for slug in ("rec-a", "rec-b")]  # fmt: skip
                for fault, switch in (
                    ("market_reorder", {"rate": 200_000, "value": 5}),
                    ("market_loss", {"rate": 200_000}),
                    ("market_duplicate", {"rate": 300_000}),
                    ("drop_socket", {"rate": 100_000, "count": 2}),
                    ("silence", {}),
                ):
                    await asyncio.to_thread(calm.admin, f"/faults/{fault}", **switch)
                    await asyncio.sleep(0.35)
                await asyncio.to_thread(calm.admin, "/faults", "DELETE")
                await asyncio.gather(*moving)
                calm.admin("/markets/rec-a/tick", tick="0.001")
                await watcher.settled()
                calm.admin("/markets/rec-b/resolve", payout="0")
                await asyncio.sleep(0.3)
        return watcher

    watcher = run(work())
    live = watcher.rows()
    assert {K.name for K in EventKind if K in live["kind"]} >= {"FEED_DOWN", "FEED_UP", "TICK_SIZE", "RESOLUTION"}
    (done,) = import_files([tmp_path / "recordings" / "live"], root=tmp_path / "catalog").recordings
    assert (done.name, done.status, done.problems) == ("live", "imported", ())
    session = Catalog(tmp_path / "catalog").load("live")
    same(session.events, live)
    assert [info.condition_id for info in session.markets] == [info.condition_id for info in watcher.infos]
    assert [info.tick for info in session.markets] == [info.tick for info in watcher.infos]
    assert check("live", root=tmp_path / "catalog").problems == ()


def test_frames_are_kept_byte_for_byte(tmp_path):
    frames = [b'{"a": 1,  "b":"\xc3\xa9"}', b"PONG", b'{"a":\n1}', b"not json", b"\xff\xfe\x00"]
    with Recorder(tmp_path, {}) as recorder:
        for at, raw in enumerate(frames):
            recorder.frame(1_800_000_000_000_000_000 + at, 3, raw, json=raw.startswith(b"{"))
    (file,) = segments(tmp_path)
    lines = [line for _, line in read_lines(file)][1:]
    assert lines[0] == b'{"recv_ns":1800000000000000000,"connection":3,"frame":' + frames[0] + b"}"
    assert [orjson.loads(line).get("frame") for line in lines[1:4]] == ["PONG", '{"a":\n1}', "not json"]
    assert orjson.loads(lines[4])["base64"] == "//4A"


def test_a_new_hour_begins_a_new_file_and_all_of_them_are_one_recording(watch, calm, tmp_path):
    async def work():
        with Recorder(tmp_path / "hours", {}, segment_s=1) as recorder:
            watcher = await watch("hours", tap=recorder)
            async with watcher.stream as stream:
                assert await stream.all_up(90)
                await trade_on(calm, "hours", 120, random.Random(5), 0.02)
                await watcher.settled()
        return watcher

    live = run(work()).rows()
    files = segments(tmp_path / "hours")
    assert len(files) >= 3
    for file in files:
        first = orjson.loads(next(iter(read_lines(file)))[1])
        assert first["recorder"]["file"] == file.name
    import_files([tmp_path / "hours"], root=tmp_path / "catalog")
    events = Catalog(tmp_path / "catalog").load("hours").events
    for field in FIELDS:
        if field != "ref":  # every file's first line is a message
            assert events[field].tolist() == live[field].tolist(), field


def test_a_disk_that_cannot_be_written_ends_the_recording_with_an_error(tmp_path, monkeypatch):
    from polytraders.errors import DataError

    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the recording"):
        Recorder(tmp_path / "file" / "sub", {})
    recorder = Recorder(tmp_path / "full", {}, sync_s=0.02)
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    def record_on():
        for at in range(10_000):
            recorder.frame(1_800_000_000_000_000_000 + at, 0, b"{}")
            time.sleep(0.002)

    with pytest.raises(DataError, match="No space left"):
        record_on()
    with pytest.raises(DataError, match="No space left"):
        recorder.close()


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`polytraders record` on a made-up session, in a process of its own: (process, folder)."""
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path / "home"))
    with serve("--synth", "7", "--speed", "20") as served:
        line = tmp_path / "venue.json"
        line.write_text(json.dumps(served.urls))

        def begin(*options: str) -> subprocess.Popen[str]:
            arguments = ["record", "cli", "--market", "synthetic-race-a", "--market", "synthetic-market-4"]
            return subprocess.Popen(
                [sys.executable, "-m", "polytraders.cli", *arguments, "--local", str(line), *options],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip

        yield begin, tmp_path / "home" / "recordings" / "cli"


def written(folder, bytes_):
    began = time.monotonic()
    while sum(path.stat().st_size for path in segments(folder)) < bytes_:
        assert time.monotonic() - began < 240, "nothing is recorded"
        time.sleep(0.05)


def test_the_command_ends_cleanly_on_sigterm_and_the_catalog_has_the_recording(command, tmp_path):
    begin, folder = command
    process = begin("--json")
    written(folder, 4_000)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["markets"] == 2 and told["frames"] > 50 and told["rows"] == told["imported"]["rows"] > 50
    assert told["imported"]["problems"] == []
    catalog = Catalog(tmp_path / "home" / "catalog")
    events = catalog.load("cli").events
    assert events["kind"][-1] == EventKind.FEED_DOWN
    again = orjson.loads((folder / "markets.json").read_bytes())
    assert {record["slug"] for record in again} == {"synthetic-race-a", "synthetic-market-4"}


def test_what_was_synced_survives_the_death_of_the_recorder_and_the_import_says_so(command, tmp_path):
    begin, folder = command
    process = begin("--no-import")
    written(folder, 6_000)
    process.kill()
    killed = time.time_ns()
    process.wait()
    (done,) = import_files([folder], root=tmp_path / "catalog").recordings
    assert done.status == "imported"
    assert done.manifest["quality"]["truncated"] == 1
    assert any("ends in the middle" in problem for problem in done.problems)
    events = Catalog(tmp_path / "catalog").load("cli").events
    assert len(events) > 50
    lost = (killed - int(events["ts_recv"][-1])) / 1e9
    assert lost < 10  # synced every second; the rest is patience with a busy machine
    assert np.all(events["ts_recv"][1:] >= events["ts_recv"][:-1])


def test_nothing_asked_for_and_a_market_that_is_not_there_are_refused(tmp_path):
    def attempt(*options):
        done = subprocess.run(
            [sys.executable, "-m", "polytraders.cli", "record", "x", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert attempt()[0] == 2
    code, said = attempt("--market", "x", "--local", str(tmp_path / "none"))
    assert code == 2 and "No such file" in said
    code, said = attempt("--market", "x", "--local", "{}")
    assert code == 2 and "venue serve --json" in said
