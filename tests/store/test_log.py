"""The run log: what goes in comes out, what is cut off is told, what is changed is found."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders import rows
from polytraders.errors import DamageError, UsageError
from polytraders.store import log as run_log
from polytraders.store.log import LogWriter, RecordKind, read_log, segment_path, verify_log

MANIFEST = {"run_id": "r1", "notes": ["trades are inferred"], "bots": []}
HEAD = run_log.HEAD_BYTES


def events(count: int, first: int = 0) -> np.ndarray:
    """EVENT[count] with seq first ... and recognisable prices."""
    table = np.zeros(count, rows.EVENT)
    table["seq"] = np.arange(first, first + count)
    table["ts_recv"] = 1_000 + table["seq"]
    table["price"] = 4_000 + table["seq"] % 100
    return table


def decisions(count: int, first: int = 0) -> np.ndarray:
    table = np.zeros(count, rows.DECISION)
    table["seq"] = np.arange(first, first + count)
    table["corr"] = 1 + table["seq"]
    return table


def small_run(folder: Path, *, close: bool = True, segment_bytes: int = 700, seal_events: bool = True) -> str:
    """Five records over three segments; the log hash."""
    with LogWriter(folder, MANIFEST, segment_bytes=segment_bytes, seal_events=seal_events) as writer:
        writer.append(RecordKind.EVENTS, events(6))
        writer.append(RecordKind.DECISIONS, decisions(3))
        writer.append(RecordKind.ACTIONS, np.zeros(2, rows.ACTION))
        writer.append(RecordKind.NOTE, {"why": "a note"})
        writer.append(RecordKind.EVENTS, events(5, first=6))
        return writer.close({"pnl": "1.25", "ratio": 0.1}) if close else ""


def flip(path: Path, offset: int, mask: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


# ------------------------------------------------------------------------------------------- round trip


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    log_hash = small_run(tmp_path / "r")
    log = read_log(tmp_path / "r")
    assert [kind.name for kind, _ in log.records()] == ["EVENTS", "DECISIONS", "ACTIONS", "NOTE", "EVENTS"]
    assert log.events().tobytes() == events(11).tobytes()
    assert log.decisions().tobytes() == decisions(3).tobytes()
    assert log.actions().tobytes() == np.zeros(2, rows.ACTION).tobytes()
    assert len(log.samples()) == 0
    assert log.notes() == [{"why": "a note"}]
    assert log.manifest["notes"] == MANIFEST["notes"]
    assert log.summary is not None
    assert log.summary["pnl"] == "1.25"
    assert log.summary["log"]["hash"] == log_hash
    assert log.summary["log"]["rows"] == {"events": 11, "decisions": 3, "actions": 2, "samples": 0, "note": 1}


def test_record_arrays_are_written_as_their_plain_struct(tmp_path: Path) -> None:
    table = events(4).view(np.dtype((np.record, rows.EVENT)))
    with LogWriter(tmp_path / "r", MANIFEST) as writer:
        writer.append(RecordKind.EVENTS, table)
        writer.close({})
    assert read_log(tmp_path / "r").events().tobytes() == table.tobytes()


def test_a_single_record_is_mapped_not_copied_and_may_be_written_to(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "r", MANIFEST) as writer:
        writer.append(RecordKind.EVENTS, events(4))
        writer.close({})
    table = read_log(tmp_path / "r").events()
    assert table.base is not None
    table["price"] = 1  # kernels ask for writable arrays; the file stays as it is
    assert read_log(tmp_path / "r").events().tobytes() == events(4).tobytes()


def test_the_log_hash_is_the_chain_as_the_format_describes_it(tmp_path: Path) -> None:
    for seal in (True, False):
        folder = tmp_path / str(seal)
        log_hash = small_run(folder, seal_events=seal)
        chain = hashlib.sha256((folder / "manifest.json").read_bytes())
        segments = sorted(folder.glob("segment-*.log"))
        assert len(segments) == 3
        for path in segments:
            data = path.read_bytes()
            assert data[24:56] == chain.digest()
            chain = hashlib.sha256(data[:HEAD])
            at = HEAD
            while at < len(data):
                length = int.from_bytes(data[at + 8 : at + 16], "little")
                kind = int.from_bytes(data[at + 4 : at + 6], "little")
                chain.update(data[at : at + HEAD])
                if seal or kind != RecordKind.EVENTS:
                    chain.update(data[at + HEAD : at + HEAD + length])
                at += HEAD + length
        assert chain.hexdigest() == log_hash == verify_log(folder).log_hash


def test_the_same_rows_give_the_same_log_hash(tmp_path: Path) -> None:
    assert small_run(tmp_path / "a") == small_run(tmp_path / "b")


def test_a_buffer_is_free_once_its_ticket_says_so(tmp_path: Path) -> None:
    buffers, tickets, expected = [events(1), events(1)], [None, None], []
    with LogWriter(tmp_path / "r", MANIFEST, segment_bytes=4_000) as writer:
        for turn in range(200):
            if tickets[turn % 2] is not None:
                tickets[turn % 2].wait()
                assert tickets[turn % 2].done
            buffers[turn % 2]["size"] = turn
            expected.append(turn)
            tickets[turn % 2] = writer.append(RecordKind.EVENTS, buffers[turn % 2])
        writer.flush()
        assert all(ticket.done for ticket in tickets)
        writer.close({})
    assert read_log(tmp_path / "r").events()["size"].tolist() == expected


def test_rows_made_in_the_writing_thread_are_written_as_if_they_had_been_there(tmp_path: Path) -> None:
    table, threads = events(6), []

    def make() -> np.ndarray:
        threads.append(threading.current_thread())
        return table

    hashes = []
    for name in ("given", "made"):
        with LogWriter(tmp_path / name, MANIFEST) as writer:
            if name == "made":
                writer.append_made(RecordKind.EVENTS, make).wait()
            else:
                writer.append(RecordKind.EVENTS, table)
            writer.append(RecordKind.EVENTS, events(5, first=6))
            hashes.append(writer.close({}))
    assert hashes[0] == hashes[1] and len(threads) == 1 and threads[0] is not threading.current_thread()


def test_what_is_made_must_be_rows_of_its_kind(tmp_path: Path) -> None:
    for made, name in ((events(0), "none"), (decisions(3), "others")):
        with LogWriter(tmp_path / name, MANIFEST) as writer:
            ticket = writer.append_made(RecordKind.EVENTS, lambda made=made: made)
            with pytest.raises(DamageError, match="rows"):
                ticket.wait()


def test_rows_that_do_not_fit_their_kind_are_refused(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "r", MANIFEST) as writer:
        with pytest.raises(UsageError, match="rows of"):
            writer.append(RecordKind.DECISIONS, events(2))
        with pytest.raises(UsageError, match="contiguous"):
            writer.append(RecordKind.EVENTS, events(4)[::2])
        assert writer.append(RecordKind.EVENTS, events(0)).done
        writer.close({})
        with pytest.raises(UsageError, match="closed"):
            writer.append(RecordKind.EVENTS, events(2))
    assert verify_log(tmp_path / "r").records == 0


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    with pytest.raises(UsageError, match="already holds a run"):
        LogWriter(tmp_path / "r", MANIFEST)


@pytest.mark.skipif(sys.platform != "linux", reason="names files by /proc")
def test_sync_waits_for_the_disk_over_all_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def spy(real):
        return lambda fd: (synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))), real(fd))[1]

    monkeypatch.setattr(os, "fsync", spy(os.fsync))
    monkeypatch.setattr(os, "fdatasync", spy(os.fdatasync))
    with LogWriter(tmp_path / "r", MANIFEST, segment_bytes=500) as writer:
        for first in range(0, 12, 4):
            writer.append(RecordKind.EVENTS, events(4, first))
        writer.sync()
        assert {"manifest.json", "segment-000000.log", "segment-000001.log", "segment-000002.log", "r"} <= set(synced)
        synced.clear()
        writer.sync()
        assert synced == ["segment-000002.log"]
        writer.close({})
    assert "summary.json.part" in synced


def test_an_error_of_the_writing_thread_reaches_the_producer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    writer = LogWriter(tmp_path / "r", MANIFEST)
    monkeypatch.setattr(os, "writev", full)
    ticket = writer.append(RecordKind.EVENTS, events(2))
    for call in (ticket.wait, writer.flush, writer.sync, lambda: writer.append(RecordKind.EVENTS, events(1))):
        with pytest.raises(DamageError, match="No space left"):
            call()
    with pytest.raises(DamageError, match="No space left"):
        writer.close({})
    assert not (tmp_path / "r" / "summary.json").exists()


def test_short_writes_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda fd, parts: os.write(fd, bytes(parts[0])[:7]))
    small_run(tmp_path / "r")
    assert verify_log(tmp_path / "r").ok
    assert read_log(tmp_path / "r").events().tobytes() == events(11).tobytes()


def test_no_more_records_wait_than_the_queue_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, gate, real = threading.Event(), threading.Event(), os.writev

    def slow(fd: int, parts: list) -> int:
        writing.set()
        gate.wait()
        return real(fd, parts)

    writer = LogWriter(tmp_path / "r", MANIFEST)
    monkeypatch.setattr(os, "writev", slow)
    writer.append(RecordKind.EVENTS, events(1))
    writing.wait()  # the first record is in the writer's hands
    for turn in range(run_log.QUEUE_RECORDS):
        writer.append(RecordKind.EVENTS, events(1, 1 + turn))
    assert writer._queue.full()  # the next append would block
    gate.set()
    writer.close({})
    assert len(read_log(tmp_path / "r").events()) == run_log.QUEUE_RECORDS + 1


# -------------------------------------------------------------------------------------- torn and killed


def test_of_more_batches_than_one_sync_covers_none_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stands still for a while, as one does now and then, and a producer that goes on."""
    monkeypatch.setattr(run_log, "GROUP", 4)
    writing, gate, real = threading.Event(), threading.Event(), os.writev

    def slow(fd: int, parts: list) -> int:
        writing.set()
        gate.wait()
        return real(fd, parts)

    told: list[int] = []
    writer = LogWriter(tmp_path / "r", MANIFEST, waiting=64)
    monkeypatch.setattr(os, "writev", slow)
    for turn in range(19):
        done = (lambda error, turn=turn: told.append(turn if error is None else -1)) if turn != 17 else None
        writer.commit([(RecordKind.EVENTS, events(2, 2 * turn)), (RecordKind.DECISIONS, decisions(1, turn))], done)
        writing.wait()
    gate.set()
    writer.close({})
    assert told == [turn for turn in range(19) if turn != 17]
    log = read_log(tmp_path / "r")
    assert log.events().tobytes() == events(38).tobytes()
    assert len(log.decisions()) == 19


def test_rows_that_are_missing_from_the_stream_are_found(tmp_path: Path) -> None:
    """Each record is as it was written, and still the log is not what the step saw."""
    with LogWriter(tmp_path / "r", MANIFEST) as writer:
        writer.append(RecordKind.EVENTS, events(5))
        writer.append(RecordKind.DECISIONS, decisions(2, 4))
        writer.append(RecordKind.EVENTS, events(3, first=7))
        writer.close({})
    verdict = verify_log(tmp_path / "r")
    assert not verdict.ok and "rows of the stream are missing before it, after seq 4" in verdict.message
    with pytest.raises(DamageError, match="after seq 4"):
        run_log.read_tail(tmp_path / "r")


def test_a_run_that_was_never_closed_is_intact_but_says_so(tmp_path: Path) -> None:
    small_run(tmp_path / "r", close=False)
    verdict = verify_log(tmp_path / "r")
    assert verdict.ok
    assert not verdict.closed
    assert "never closed" in verdict.message
    assert read_log(tmp_path / "r").summary is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_torn_tail_is_reported_and_the_prefix_is_readable(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    folder = tmp_path_factory.mktemp("torn") / "r"
    small_run(folder, close=False, segment_bytes=1 << 20)
    path = segment_path(folder, 0)
    written = path.read_bytes()
    ends = [record.offset for record in read_log(folder).walk()][1:] + [len(written)]
    length = data.draw(st.integers(0, len(written)))
    with open(path, "r+b") as file:
        file.truncate(length)
        file.truncate(length + data.draw(st.sampled_from([0, 0, 100])))  # sometimes pages of zeros follow
    left = path.read_bytes()
    good = [end for end in ends if left[:end] == written[:end]]
    torn, whole = len(left) != (good or [HEAD])[-1], len(good)
    verdict = verify_log(folder)
    assert (verdict.ok, verdict.torn) == (not torn, torn)
    assert verdict.records == whole
    log = read_log(folder, allow_torn=True)
    assert len(list(log.walk())) == whole
    assert (log.torn is not None) == torn
    if torn:
        with pytest.raises(DamageError, match="torn"):
            list(read_log(folder).walk())


def test_a_cut_in_a_closed_run_is_damage_not_a_torn_tail(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    path = segment_path(tmp_path / "r", 2)
    os.truncate(path, path.stat().st_size - 1)
    verdict = verify_log(tmp_path / "r")
    assert (verdict.ok, verdict.torn) == (False, False)
    with pytest.raises(DamageError, match="cut short"):
        list(read_log(tmp_path / "r", allow_torn=True).walk())


def test_records_after_a_damaged_one_are_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    small_run(tmp_path / "r", close=False, segment_bytes=1 << 20)
    flip(segment_path(tmp_path / "r", 0), HEAD + HEAD + 5, 1)
    assert not verify_log(tmp_path / "r").torn
    with pytest.raises(DamageError, match="payload is damaged"):
        list(read_log(tmp_path / "r", allow_torn=True).walk())


WRITE_FOREVER = """
import sys
import numpy as np
from polytraders import rows
from polytraders.store.log import LogWriter, RecordKind

writer = LogWriter(sys.argv[1], {"run_id": "killed"}, segment_bytes=3 << 20)
seq, synced = 0, int(sys.argv[2])
while True:
    table = np.zeros(5_000, rows.EVENT)
    table["seq"] = np.arange(seq, seq + len(table))
    writer.append(RecordKind.EVENTS, table)
    seq += len(table)
    if seq == synced:
        writer.sync()
        print("synced", flush=True)
    print(seq, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 4, 23, 60])
def test_a_killed_writer_leaves_a_readable_prefix_with_everything_synced(tmp_path: Path, lines: int) -> None:
    folder, synced = tmp_path / "r", 5_000
    child = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(folder), str(synced)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    seen = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    verdict = verify_log(folder)
    assert verdict.ok or verdict.torn
    table = read_log(folder, allow_torn=True).events()
    assert np.array_equal(table["seq"], np.arange(len(table)))
    assert len(table) == verdict.rows["events"]
    if b"synced\n" in seen:
        assert len(table) >= synced


# ------------------------------------------------------------------------------------------------ damage


@pytest.fixture(scope="module")
def closed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closed") / "r"
    small_run(folder, seal_events=False)
    return folder


@settings(max_examples=400, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_flipped_byte_is_found_and_nothing_is_raised(closed_run: Path, place: float, mask: int) -> None:
    files = sorted(path for path in closed_run.iterdir() if path.is_file())
    offset = int(place * sum(path.stat().st_size for path in files))
    for path in files:
        size = path.stat().st_size
        if offset < size:
            break
        offset -= size
    flip(path, offset, mask)
    try:
        verdict = verify_log(closed_run)
    finally:
        flip(path, offset, mask)
    assert not verdict.ok
    assert verdict.first_bad is not None
    assert verdict.first_bad["file"] == path.name
    assert verify_log(closed_run).ok


def test_every_single_byte_of_a_run_is_covered(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "r", {"run_id": "x"}, seal_events=False) as writer:
        writer.append(RecordKind.EVENTS, events(1))
        writer.append(RecordKind.NOTE, [1])
        writer.close({"a": 1})
    missed = []
    for path in (tmp_path / "r").iterdir():
        for offset in range(path.stat().st_size):
            flip(path, offset, 0x20)  # also turns capitals into small letters and spaces into NUL
            if verify_log(tmp_path / "r").ok:
                missed.append((path.name, offset))
            flip(path, offset, 0x20)
    assert missed == []


def test_a_bad_record_is_named_with_segment_number_kind_offset_and_seq(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    record = list(read_log(tmp_path / "r").walk())[4]
    path = segment_path(tmp_path / "r", record.segment)
    flip(path, record.offset + HEAD + 3, 0x80)
    verdict = verify_log(tmp_path / "r")
    assert verdict.first_bad == {
        "what": "the record's payload is damaged",
        "file": path.name,
        "segment": 2,
        "offset": record.offset,
        "record": 4,
        "kind": "events",
        "seq": [6, 10],
    }
    assert "record 4, events" in verdict.message
    assert "seq 6 to 10" in verdict.message
    assert verdict.records == 4


def test_a_bad_head_is_named_by_what_came_before_it(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    record = list(read_log(tmp_path / "r").walk())[1]
    flip(segment_path(tmp_path / "r", record.segment), record.offset + 8, 1)  # its length
    bad = verify_log(tmp_path / "r").first_bad
    assert bad is not None
    assert (bad["record"], bad["kind"], bad["after_seq"]) == (1, None, 5)


def forge(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def test_an_altered_manifest_breaks_the_chain_at_its_first_link(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    forge(tmp_path / "r" / "manifest.json", b"trades are inferred", b"trades are recorded")
    verdict = verify_log(tmp_path / "r")
    assert verdict.first_bad["file"] == "manifest.json"
    assert "it was altered" in verdict.message


def test_an_altered_summary_is_found(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    forge(tmp_path / "r" / "summary.json", b'"1.25"', b'"9.25"')
    assert verify_log(tmp_path / "r").first_bad == {"what": "is not as it was written", "file": "summary.json"}
    with pytest.raises(DamageError, match=r"summary\.json"):
        read_log(tmp_path / "r")


def test_a_record_replaced_with_valid_crcs_breaks_the_chain(tmp_path: Path) -> None:
    """Somebody writes another decision with correct CRCs: only the hash chain can tell."""
    small_run(tmp_path / "a")
    with LogWriter(tmp_path / "b", MANIFEST, segment_bytes=700) as writer:
        writer.append(RecordKind.EVENTS, events(6))
        writer.append(RecordKind.DECISIONS, decisions(3, first=100))
        writer.append(RecordKind.ACTIONS, np.zeros(2, rows.ACTION))
        writer.append(RecordKind.NOTE, {"why": "a note"})
        writer.append(RecordKind.EVENTS, events(5, first=6))
        writer.close({})
    for index in range(2):
        shutil.copy(segment_path(tmp_path / "b", index), segment_path(tmp_path / "a", index))
    verdict = verify_log(tmp_path / "a")
    assert not verdict.ok
    assert "the chain does not lead to" in verdict.message


def test_a_missing_or_swapped_segment_is_found(tmp_path: Path) -> None:
    small_run(tmp_path / "r")
    first, second, third = (segment_path(tmp_path / "r", i) for i in range(3))
    aside = tmp_path / "aside"
    third.rename(aside)
    assert not verify_log(tmp_path / "r").ok
    aside.rename(third)
    assert verify_log(tmp_path / "r").ok
    second.rename(aside)
    third.rename(second)
    aside.rename(third)
    assert verify_log(tmp_path / "r").first_bad["file"] == second.name
    first.unlink()
    assert not verify_log(tmp_path / "r").ok


def test_verification_of_what_is_no_run_fails_without_a_traceback(tmp_path: Path) -> None:
    assert verify_log(tmp_path / "nothing").first_bad == {"what": "is missing", "file": "manifest.json"}
    with pytest.raises(UsageError, match="no run here"):
        read_log(tmp_path / "nothing")
    (tmp_path / "manifest.json").write_bytes(orjson.dumps([1]))
    assert not verify_log(tmp_path).ok


def test_a_log_of_a_newer_format_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "FORMAT", 3)
    small_run(tmp_path / "r")
    monkeypatch.undo()
    with pytest.raises(DamageError, match="format 3"):
        read_log(tmp_path / "r")
    assert "format 3" in verify_log(tmp_path / "r").message
