"""The run log: append-only segments of event, decision, action and sample rows. It is the truth.

A run's folder holds `manifest.json`, `segment-000000.log` ... and, once the run has ended, `summary.json`.

=============  ===========================================================================================
segment        64-byte head (index, number of its first record, hash of the chain before it), then records
record         64-byte head (kind, length, number, rows, CRC32C of the payload, first and last seq, first
               ts, CRC32C of the head itself), then the payload: rows of `rows` dtypes as they are in memory,
               or PACKED (`store.packing`)
chain          h[0] = SHA-256(manifest.json); h[k+1] = SHA-256(head of segment k incl. h[k], the head of each
               of its records, and the payload of each record that is SEALED). The last h is the *log hash*
summary.json   what the run says of itself, counts and log hash, under a SHA-256 of its own
=============  ===========================================================================================

The CRCs find damage and say where; the chain makes the log hash stand for the whole run. CRC32C
runs at 6 GB/s and SHA-256 at 1.7 GB/s on the reference machine, so a run whose events are a copy of
pinned data (a backtest) may leave the event payloads to their CRC, which the chain covers: the data
pin in the manifest is their SHA-256. Everything that exists nowhere else is sealed.

Invariants
    L1  append copies nothing: the payload must not change until its ticket, or flush, says that it is written
    L2  after sync returns, everything appended before it survives a loss of power
    L3  any flipped byte of a closed run's files is found by verify_log, which never raises
    L4  after a crash the records up to the torn one are readable
    L5  a batch (`commit`) lies in one segment; after a crash it is there whole, or `reopen` cuts it off
    L6  where events are sealed their `seq` has no gap: `verify_log` and `read_tail` refuse a log that lost rows
"""

from __future__ import annotations

import hashlib
import os
import queue
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np
import orjson

from polytraders import rows
from polytraders.errors import DamageError, PolytradersError, UsageError

FORMAT = 2
"""Version of the layout described above. 1 had no packed records."""
READABLE = (1, 2)
"""Versions that this program reads."""
PACK_FROM = 64
"""Rows from which on a record is packed: a live session's few rows at a time are left as they are."""
SEGMENT_BYTES = 64 << 20
"""A segment is closed when the next record would take it beyond this; one larger record stands alone."""
QUEUE_RECORDS = 16
"""Records that may wait for the writing thread before `append` blocks."""
QUEUE_BATCHES = 4_096
"""Batches that may wait in a log that is written live: its producer must not be held up by one slow disk write."""
GROUP = 512
"""Tasks that one sync may cover at most."""


class RecordKind(IntEnum):
    """What a record's payload is."""

    EVENTS = 1
    DECISIONS = 2
    ACTIONS = 3
    SAMPLES = 4
    NOTE = 5  # one JSON value, padded with spaces to whole 8 bytes


DTYPES = {
    RecordKind.EVENTS: rows.EVENT,
    RecordKind.DECISIONS: rows.DECISION,
    RecordKind.ACTIONS: rows.ACTION,
    RecordKind.SAMPLES: rows.SAMPLE,
}
_KINDS = frozenset(RecordKind)
TIME_FIELD = {kind: "ts_recv" if kind is RecordKind.EVENTS else "ts" for kind in DTYPES}

SEALED = 1
"""Bit of a record's flags: its payload is in the SHA-256 chain, not only its CRC32C."""
MORE = 2
"""Bit of a record's flags: the batch goes on with the next record."""
PACKED = 4
"""Bit of a record's flags: its payload is a packing of its rows."""

# magic, kind, flags, length, number, rows, crc of payload, first seq, last seq, first ts, reserved | crc of these
_HEAD = struct.Struct("<4sHHQQIIqqqI")
_SEGMENT = struct.Struct("<8sIIQ32sI")  # magic, format, index, first record, h before, reserved | crc of these
_CRC = struct.Struct("<I")
_HEAD_MAGIC, _SEGMENT_MAGIC = b"PTRC", b"PTRUNLOG"
HEAD_BYTES = _HEAD.size + _CRC.size
assert HEAD_BYTES == _SEGMENT.size + _CRC.size == 64


def _with_crc(head: bytes) -> bytes:
    return head + _CRC.pack(google_crc32c.value(head))


def _crc_holds(head: bytes) -> bool:
    return google_crc32c.value(head[: -_CRC.size]) == _CRC.unpack(head[-_CRC.size :])[0]


def _segment_head(index: int, first_record: int, chain: bytes) -> bytes:
    return _with_crc(_SEGMENT.pack(_SEGMENT_MAGIC, FORMAT, index, first_record, chain, 0))


def segment_path(folder: Path, index: int) -> Path:
    """File of the index-th segment."""
    return folder / f"segment-{index:06d}.log"


def canonical_json(value: Any) -> bytes:
    """The one way in which the log spells JSON: sorted keys, two spaces, numpy numbers as plain ones."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(value, option=options)


def _summary_hash(summary: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json({k: v for k, v in summary.items() if k != "summary_hash"})).hexdigest()


def _sync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_atomically(path: Path, data: bytes, *, sync: bool) -> None:
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)
    if sync:
        _sync_path(path.parent)


# ---------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two records of a log, with all that is needed to go on from there."""

    segment: int = 0
    offset: int = HEAD_BYTES  # bytes of that segment before it
    records: int = 0  # before it, in the run
    bytes: int = HEAD_BYTES  # before it, in the run
    rows: Mapping[str, int] = field(default_factory=dict)  # before it, by kind
    last_seq: int | None = None
    chain: str = ""  # hex SHA-256 of the chain up to here

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"rows": dict(self.rows)}


Done = Callable[[BaseException | None], None]


@dataclass(frozen=True, slots=True)
class Ticket:
    """Receipt of one append. `wait()` returns when the payload is written and its buffer is free."""

    writer: LogWriter
    number: int

    @property
    def done(self) -> bool:
        """True when the buffer is free."""
        return self.writer.written > self.number

    def wait(self) -> None:
        """Block until the buffer is free; raises `DamageError` when the log could not be written."""
        self.writer._wait(self.number)


class LogWriter:
    """Appends records to a run log through one background thread. One producer.

    Parameters
    ----------
    folder: the run's folder; made here. One that already holds a manifest is refused.
    manifest: what the run was made from (see `store.manifest`); `format` and `seal_events` are added.
    seal_events: put event payloads into the SHA-256 chain. False only for events that the manifest
        pins elsewhere: they then stand in the chain with their CRC32C.
    segment_bytes: size at which a new segment begins.
    waiting: records or batches that may wait for the thread.
    """

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        *,
        seal_events: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
        waiting: int = QUEUE_RECORDS,
    ):
        folder = Path(folder)
        if (folder / "manifest.json").exists():
            raise UsageError(
                "the folder already holds a run", where=str(folder), mend="give the run another id or folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        head = canonical_json({**manifest, "format": FORMAT, "seal_events": seal_events})
        _write_atomically(folder / "manifest.json", head, sync=False)
        start = Position(segment=-1, bytes=0)
        self._begin(folder, start, hashlib.sha256(head), seal_events, segment_bytes, waiting)

    def _begin(
        self, folder: Path, at: Position, chain: Any, seal_events: bool, segment_bytes: int, waiting: int
    ) -> None:
        """Go on behind a position, in a new segment."""
        self.folder = folder
        self.written = at.records
        """Records written (and their buffers free)."""
        self.log_hash = ""
        """Hex SHA-256 that stands for the whole run; known after `close`."""
        self._appended = at.records
        self._rows = {kind: at.rows.get(kind.name.lower(), 0) for kind in RecordKind}
        self._bytes = at.bytes
        self._last_seq = at.last_seq
        self._sealed_kinds = {kind for kind in RecordKind if seal_events or kind is not RecordKind.EVENTS}
        self._segment_bytes = segment_bytes
        self._segment, self._fd, self._position = at.segment, -1, 0
        self._unsynced: list[Path] = [folder / "manifest.json"]
        self._durable = False
        self._closed = False
        self._error: BaseException | None = None
        self._progress = threading.Condition()
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(waiting)
        self._packed = np.empty(0, np.uint8)
        self._chain = chain
        self._next_segment()
        self._thread = threading.Thread(target=self._run, name="run-log", daemon=True)
        self._thread.start()

    # -- the producer's side

    def append(self, kind: RecordKind, payload: Any) -> Ticket:
        """Hand one record over: a C-contiguous structured array of the kind's dtype, or for NOTE any JSON value.

        Nothing is copied: the array must not change before the ticket's `wait()` (or `flush`) returns.
        Blocks while `QUEUE_RECORDS` records wait. An array of no rows is not written.
        """
        self._raise_error()
        payload = self._encoded(kind, payload)
        if payload is None:
            return Ticket(self, -1)
        self._queue.put(("record", (RecordKind(kind), payload)))
        self._appended += 1
        return Ticket(self, self._appended - 1)

    def append_made(self, kind: RecordKind, make: Callable[[], np.ndarray]) -> Ticket:
        """The same for rows that are not there yet: `make` is called once, in the writing thread, and must return at
        least one. Nothing changes them before the next such call; the ticket's `wait()` says that all is written."""
        self._raise_error()
        if self._closed:
            raise UsageError("the run log is closed", where=str(self.folder), mend="append before close")
        self._queue.put(("made", (RecordKind(kind), make)))
        self._appended += 1
        return Ticket(self, self._appended - 1)

    def commit(self, records: Sequence[tuple[RecordKind, Any]], done: Done | None = None) -> None:
        """Hand several records over as one batch: after a crash it is there whole or not at all.

        As with `append` nothing is copied, and records of no rows are left out. `done` is called in the writing
        thread, with None once the whole batch is on the disk, or with what went wrong; one sync covers all batches
        that wait. Without `done` the batch is written and not synced.
        """
        self._raise_error()
        batch = [(RecordKind(kind), self._encoded(kind, payload)) for kind, payload in records]
        batch = [(kind, payload) for kind, payload in batch if payload is not None]
        self._queue.put(("batch", (batch, done)))
        self._appended += len(batch)

    def mark(self, told: Callable[[Position], None]) -> None:
        """Have `told` called in the writing thread with the position behind all that was handed over, once that is on
        the disk. It is not called when the log cannot be written."""
        self._raise_error()
        self._queue.put(("mark", told))

    @property
    def failed(self) -> BaseException | None:
        """What stopped the writing thread, None while it works."""
        return self._error

    @property
    def backlog(self) -> int:
        """Tasks that wait for the writing thread."""
        return self._queue.qsize()

    def _encoded(self, kind: RecordKind, payload: Any) -> Any:
        """What is written of a record, None for no rows. Raises UsageError for what is none."""
        if self._closed:
            raise UsageError("the run log is closed", where=str(self.folder), mend="append before close")
        if kind not in DTYPES:
            payload = orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
            return payload + b" " * (-len(payload) % 8)
        return self._rows_of(kind, payload)

    def _rows_of(self, kind: RecordKind, payload: Any) -> Any:
        # A record array shares the layout of its plain struct.
        if payload.dtype.fields is None or np.dtype((np.void, payload.dtype)) != DTYPES[kind]:
            raise UsageError(
                f"rows of {payload.dtype} given", where=f"append({kind.name})", rule=f"rows are {DTYPES[kind]}"
            )
        if not payload.flags.c_contiguous or payload.ndim != 1:
            raise UsageError("the rows are not one contiguous run", where=f"append({kind.name})")
        return payload if len(payload) else None

    def flush(self) -> None:
        """Block until everything appended is written and all buffers are free."""
        self._wait(self._appended - 1)

    def sync(self) -> None:
        """Block until everything appended is on the disk (fdatasync): what is sent after this is in the log."""
        self._raise_error()
        self._durable = True
        done = threading.Event()
        self._queue.put(("sync", lambda error: done.set()))
        done.wait()
        self._raise_error()

    def close(self, summary: dict[str, Any]) -> str:
        """Write what remains and `summary.json` (with counts and hash, atomically); return the log hash.

        A writer that was ever synced is synced here too.
        """
        self._stop()
        self._raise_error()
        self.log_hash = self._chain.hexdigest()
        summary = {
            **summary,
            "log": {
                "hash": self.log_hash,
                "records": self.written,
                "segments": self._segment + 1,
                "bytes": self._bytes,
                "rows": {kind.name.lower(): count for kind, count in self._rows.items()},
            },
        }
        summary["summary_hash"] = _summary_hash(summary)
        _write_atomically(self.folder / "summary.json", canonical_json(summary), sync=self._durable)
        return self.log_hash

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Without `close`, what was appended is written but the run stays open: it has no summary."""
        self._stop()

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(("stop", None))
        self._thread.join()

    def _wait(self, number: int) -> None:
        with self._progress:
            self._progress.wait_for(lambda: self.written > number or self._error is not None)
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise DamageError(
                f"the run log cannot be written: {self._error}",
                where=str(self.folder),
                rule="nothing happens that is not in the log",
                mend="free space or give another POLYTRADERS_HOME, then start a new run",
            ) from self._error

    # -- the writing thread's side

    def _run(self) -> None:
        stopping = False
        while not stopping:
            waiting: list[Done] = []
            for _ in range(GROUP):
                task, value = self._queue.get()
                stopping = task == "stop"
                self._guarded(partial(self._take, task, value, waiting))
                with self._progress:
                    self._progress.notify_all()
                # Whoever waits for a sync waits for those, too, that came meanwhile: one sync for all.
                if stopping or not waiting or self._queue.empty():
                    break
            if waiting or (stopping and self._durable):
                self._guarded(self._sync)
            for done in waiting:
                done(self._error)
            with self._progress:
                self._progress.notify_all()
        if self._fd >= 0:
            os.close(self._fd)

    def _guarded(self, work: Callable[[], None]) -> None:
        """After an error the queue is only emptied, so that nobody blocks on it."""
        if self._error is None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it belongs to the producer, who sees it at its next call
                self._error = error

    def _take(self, task: str, value: Any, waiting: list[Done]) -> None:
        if task == "record":
            self._write(*value)
        elif task == "made":
            kind, make = value
            if (rows := self._rows_of(kind, make())) is None:
                raise UsageError("no rows were made", where=f"append_made({kind.name})", rule="at least one")
            self._write(kind, rows)
        elif task == "batch":
            records, done = value
            if records:
                self._write_batch(records)
            if done is not None:
                self._durable = True
                waiting.append(done)
        elif task == "mark":
            self._durable = True
            at = self._at()
            waiting.append(lambda error: value(at) if error is None else None)
        elif task == "sync":
            waiting.append(value)

    def _at(self) -> Position:
        rows_by_kind = {kind.name.lower(): count for kind, count in self._rows.items()}
        return Position(
            self._segment,
            self._position,
            self.written,
            self._bytes,
            rows_by_kind,
            self._last_seq,
            self._chain.copy().hexdigest(),
        )

    def _make_room(self, length: int) -> None:
        if self._position > HEAD_BYTES and self._position + length > self._segment_bytes:
            self._next_segment()

    def _write(self, kind: RecordKind, payload: Any) -> None:
        parts, count = self._record(kind, payload, self.written, 0, pack=True)
        self._make_room(sum(len(part) for part in parts))
        self._put(*parts)
        self._count(kind, parts, count)

    def _write_batch(self, records: Sequence[tuple[RecordKind, Any]]) -> None:
        """All records in one call, so that a crash of ours alone cannot tear them."""
        made, last = [], len(records) - 1
        for i, (kind, payload) in enumerate(records):
            made.append((kind, *self._record(kind, payload, self.written + i, MORE if i < last else 0)))
        self._make_room(sum(len(part) for _, parts, _ in made for part in parts))
        self._put(*(part for _, parts, _ in made for part in parts))
        for kind, parts, count in made:
            self._count(kind, parts, count)

    def _record(
        self, kind: RecordKind, payload: Any, number: int, flags: int, pack: bool = False
    ) -> tuple[tuple[Any, Any], int]:
        """((head, payload) as bytes, rows) of one record. pack: the payload may stand in the buffer that the next
        call uses again."""
        count, first_seq, last_seq, first_ts = 1, 0, 0, 0
        if kind in self._sealed_kinds:
            flags |= SEALED
        if kind in DTYPES:
            count = len(payload)
            first_seq, last_seq = int(payload["seq"][0]), int(payload["seq"][-1])
            first_ts = int(payload[TIME_FIELD[kind]][0])
            self._last_seq = last_seq
            if pack and count >= PACK_FROM:
                flags |= PACKED
                payload = self._pack(payload)
            else:
                payload = payload.view(np.uint8, np.ndarray)
        head = _HEAD.pack(
            _HEAD_MAGIC,
            kind,
            flags,
            len(payload),
            number,
            count,
            google_crc32c.value(payload),
            first_seq,
            last_seq,
            first_ts,
            0,
        )
        return (_with_crc(head), payload), count

    def _count(self, kind: RecordKind, parts: tuple[Any, Any], count: int) -> None:
        head, payload = parts
        self._chain.update(head)
        if kind in self._sealed_kinds:
            self._chain.update(payload)
        self._rows[kind] += count
        self.written += 1

    def _pack(self, table: np.ndarray) -> np.ndarray:
        """The rows packed, in a buffer that the next call uses again."""
        from polytraders.store import packing  # its kernels need numba: not for reading a summary

        needed = packing.room(packing.SHAPES[np.dtype((np.void, table.dtype))], len(table))
        if len(self._packed) < needed:
            self._packed = np.empty(needed, np.uint8)
        return packing.pack(table, self._packed)

    def _next_segment(self) -> None:
        if self._fd >= 0:
            if self._durable:  # a later segment is never on the disk before an earlier one
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
        before = self._chain.digest()
        self._segment, self._position = self._segment + 1, 0
        path = segment_path(self.folder, self._segment)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._unsynced += [path]
        head = _segment_head(self._segment, self.written, before)
        self._put(head)
        self._chain = hashlib.sha256(head)

    def _put(self, *parts: Any) -> None:
        views = [memoryview(part) for part in parts]
        while views:
            done = os.writev(self._fd, views)
            self._position += done
            self._bytes += done
            while views and done >= len(views[0]):
                done -= len(views.pop(0))
            if views:
                views[0] = views[0][done:]

    def _sync(self) -> None:
        if len(self._unsynced) == 1:  # the usual case: only the current segment
            getattr(os, "fdatasync", os.fsync)(self._fd)  # macOS has only fsync
            return
        for path in self._unsynced:
            _sync_path(path)
        _sync_path(self.folder)
        self._unsynced = self._unsynced[-1:]


# ---------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies in its segment."""

    segment: int
    offset: int  # bytes, of the record's head in its segment
    number: int  # place in the run, from 0
    kind: RecordKind
    first_seq: int
    last_seq: int
    first_ts: int  # ns
    rows: np.ndarray | None  # None for a note
    note: Any = None
    end: int = 0  # bytes, where the next record begins in the segment
    more: bool = False  # the batch goes on with the next record


class _Bad(Exception):
    """The first thing that is not as it was written."""

    def __init__(self, what: str, *, torn: bool = False, **place: Any):
        super().__init__(what)
        self.what, self.torn = what, torn
        self.place = place

    def as_dict(self) -> dict[str, Any]:
        return {"what": self.what, **self.place}


def _read_json(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Bad(f"cannot be read: {error.strerror}", file=path.name) from None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _Bad(f"is not JSON: {error.msg}", file=path.name, offset=error.pos) from None
    if not isinstance(value, dict) or canonical_json(value) != data:
        raise _Bad("is not as it was written", file=path.name)
    return data, value


def _wrong_format(manifest: dict[str, Any]) -> str:
    return f"has format {manifest.get('format')}; this program reads {' and '.join(map(str, READABLE))}"


def _rows_of(payload: np.ndarray, kind: RecordKind, count: int, packed: bool) -> np.ndarray | None:
    """A record's rows, None when its payload does not hold so many."""
    if packed:
        from polytraders.store.packing import unpack

        return unpack(payload, DTYPES[kind], count)
    return payload.view(DTYPES[kind]) if len(payload) == count * DTYPES[kind].itemsize else None


class _Walk:
    """One pass over a run's segments: yields records, raises `_Bad` at the first that is not as written.

    `hashed` also recomputes the chain (verify); without it heads and payloads are held against their CRCs.
    `start`: where to begin; a hashed walk from there first holds the segment's bytes before it against the chain
    of the position, for which all of them must be sealed.
    """

    def __init__(self, folder: Path, *, hashed: bool, closed: bool, start: Position | None = None):
        self.folder, self.hashed, self.closed, self.start = folder, hashed, closed, start
        self.manifest_bytes, self.manifest = _read_json(folder / "manifest.json")
        if self.manifest.get("format") not in READABLE:
            raise _Bad(_wrong_format(self.manifest), file="manifest.json")
        self.segments = 0
        while segment_path(folder, self.segments).exists():
            self.segments += 1
        self.chain = hashlib.sha256(self.manifest_bytes).digest()
        self.records, self.bytes, self.last_seq = 0, 0, None
        self.event_seq: int | None = None  # of the last row of the stream that was walked
        self.rows = dict.fromkeys(RecordKind, 0)
        self.digest: Any = None  # of the segment in work, when hashed
        if start is not None:
            self.records, self.last_seq = start.records, start.last_seq
            self.bytes = start.bytes - start.offset
            self.rows = {kind: start.rows.get(kind.name.lower(), 0) for kind in RecordKind}

    def __iter__(self) -> Iterator[Record]:
        first = self.start.segment if self.start else 0
        if first >= self.segments:
            raise _Bad("is missing", torn=not self.closed, file=segment_path(self.folder, first).name)
        for index in range(first, self.segments):
            yield from self._segment(index)

    def _segment(self, index: int) -> Iterator[Record]:
        path = segment_path(self.folder, index)
        size = path.stat().st_size
        place = {"file": path.name, "segment": index}
        last = index == self.segments - 1 and not self.closed
        if size < HEAD_BYTES:
            raise _Bad("the segment's head is cut short", torn=last, **place, offset=0)
        # A private mapping: the arrays are writable for kernels that ask for it, the file is not touched.
        data = np.asarray(np.memmap(path, np.uint8, "c"))
        head = data[:HEAD_BYTES].tobytes()
        if not _crc_holds(head):
            raise _Bad("the segment's head is damaged", torn=last and not data[HEAD_BYTES:].any(), **place, offset=0)
        begun = self.start if self.start is not None and index == self.start.segment else None
        offset = begun.offset if begun else HEAD_BYTES
        if begun is None and self.hashed and head != _segment_head(index, self.records, self.chain):
            if index == 0 and head[:24] == _segment_head(0, 0, self.chain)[:24]:
                raise _Bad("the chain does not lead from it to the first segment: it was altered", file="manifest.json")
            raise _Bad("the chain does not lead to this segment: it or the one before was altered", **place, offset=0)
        digest = self.digest = hashlib.sha256(data[:offset]) if self.hashed else None
        if begun is not None and digest is not None and (size < offset or digest.hexdigest() != begun.chain):
            raise _Bad("the chain does not lead to the place it is read from: it was altered", **place, offset=offset)
        while offset < size:
            record, end = self._record(data, offset, size, place, last, digest)
            yield record
            offset = end
        if digest is not None:
            self.chain = digest.digest()
        self.bytes += size

    def _record(
        self, data: np.ndarray, offset: int, size: int, place: dict[str, Any], last: bool, digest: Any
    ) -> tuple[Record, int]:
        place = {**place, "offset": offset, "record": self.records}
        after = {**place, "kind": None, "seq": None, "after_seq": self.last_seq}
        if size - offset < HEAD_BYTES:
            raise _Bad("the record's head is cut short", torn=last, **after)
        head = data[offset : offset + HEAD_BYTES].tobytes()
        if not _crc_holds(head):
            # After a loss of power zeros may follow: pages that the file system gave but never filled.
            raise _Bad("the record's head is damaged", torn=last and not data[offset + HEAD_BYTES :].any(), **after)
        magic, number, flags, length, ordinal, count, crc, first, final, ts, _ = _HEAD.unpack(head[: _HEAD.size])
        if magic != _HEAD_MAGIC or number not in _KINDS or ordinal != self.records:
            raise _Bad("the record's head does not belong here", **after)
        kind = RecordKind(number)
        place |= {"kind": kind.name.lower(), "seq": [first, final] if kind in DTYPES else None}
        end = offset + HEAD_BYTES + length
        if end > size:
            raise _Bad("the record is cut short", torn=last, **place)
        payload = data[offset + HEAD_BYTES : end]
        if google_crc32c.value(payload) != crc:
            raise _Bad("the record's payload is damaged", torn=last and not data[end:].any(), **place)
        table, note = None, None
        if kind in DTYPES:
            table = _rows_of(payload, kind, count, bool(flags & PACKED))
            if table is None:
                raise _Bad("the record's length is not that of its rows", **place)
            if kind is RecordKind.EVENTS:
                whole = self.hashed and self.manifest.get("seal_events")
                if whole and self.event_seq is not None and first != self.event_seq + 1:
                    raise _Bad(f"rows of the stream are missing before it, after seq {self.event_seq}", **place)
                self.event_seq = final
            self.last_seq = final
        else:
            try:
                note = orjson.loads(payload.tobytes())
            except orjson.JSONDecodeError as error:
                raise _Bad(f"the note is not JSON: {error.msg}", **place) from None
        if digest is not None:
            digest.update(head)
            if flags & SEALED:
                digest.update(payload)
        self.records += 1
        self.rows[kind] += count
        more = bool(flags & MORE)
        return Record(place["segment"], offset, self.records - 1, kind, first, final, ts, table, note, end, more), end


def _read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary, None when the run was never closed; raises `_Bad` when it is not as it was written."""
    path = folder / "summary.json"
    if not path.exists():
        return None
    _, summary = _read_json(path)
    if not isinstance(summary.get("log"), dict) or summary.get("summary_hash") != _summary_hash(summary):
        raise _Bad("is not as it was written", file=path.name)
    return summary


def _damage(folder: Path, bad: _Bad) -> DamageError:
    return DamageError(
        f"the run log is {'torn' if bad.torn else 'damaged'}: {_sentence(bad)}",
        where=str(folder),
        rule="every byte of a run log is as it was written",
        mend="read it up to the torn record with allow_torn=True"
        if bad.torn
        else "restore the folder from a copy, or run it again from the same configuration and data",
    )


def _sentence(bad: _Bad) -> str:
    place = bad.place
    text = f"{place['file']}: {bad.what}"
    if "record" in place:
        text += f" (record {place['record']}"
        text += f", {place['kind']}" if place["kind"] else ""
        text += f", byte {place['offset']}"
        if place["seq"]:
            text += f", seq {place['seq'][0]} to {place['seq'][1]}"
        elif place.get("after_seq") is not None:
            text += f", after seq {place['after_seq']}"
        text += ")"
    return text


class RunLog:
    """A run as it was recorded. What is not packed is mapped, not read, and copied only where several are joined.

    Attributes
    ----------
    manifest: what the run was made from.
    summary: what it said of itself at its end, None when it was never closed.
    torn: what was left out at the end (place and reason), None when nothing was. Known once the
        records have been walked to their end.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], summary: dict[str, Any] | None, allow_torn: bool):
        self.folder, self.manifest, self.summary = folder, manifest, summary
        self.torn: dict[str, Any] | None = None
        self._allow_torn = allow_torn

    def walk(self) -> Iterator[Record]:
        """All records in the order of writing, each held against its CRCs. Raises `DamageError`."""
        try:
            yield from _Walk(self.folder, hashed=False, closed=self.summary is not None)
        except _Bad as bad:
            if not (bad.torn and self._allow_torn):
                raise _damage(self.folder, bad) from None
            self.torn = bad.as_dict()

    def records(self) -> Iterator[tuple[RecordKind, Any]]:
        """(kind, rows) of each record; a note's JSON value instead of rows."""
        for record in self.walk():
            yield record.kind, record.note if record.rows is None else record.rows

    def rows(self, kind: RecordKind) -> np.ndarray:
        """All rows of one kind, joined (copied only when there is more than one record)."""
        parts = [table for found, table in self.records() if found is kind]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, DTYPES[kind])

    def events(self) -> np.ndarray:
        """EVENT[n], the stream as the step saw it."""
        return self.rows(RecordKind.EVENTS)

    def decisions(self) -> np.ndarray:
        """DECISION[n]."""
        return self.rows(RecordKind.DECISIONS)

    def actions(self) -> np.ndarray:
        """ACTION[n]."""
        return self.rows(RecordKind.ACTIONS)

    def samples(self) -> np.ndarray:
        """SAMPLE[n]."""
        return self.rows(RecordKind.SAMPLES)

    def notes(self) -> list[Any]:
        """The JSON values of all notes."""
        return [note for kind, note in self.records() if kind is RecordKind.NOTE]


def read_log(folder: Path | str, *, allow_torn: bool = False) -> RunLog:
    """Open a run for reading. `allow_torn` reads a crashed run up to its torn record instead of refusing it."""
    folder = Path(folder)
    if not (folder / "manifest.json").exists():
        raise UsageError(
            "there is no run here", where=str(folder), rule="a run's folder holds manifest.json", mend="check the id"
        )
    try:
        _, manifest = _read_json(folder / "manifest.json")
        if manifest.get("format") not in READABLE:
            raise _Bad(_wrong_format(manifest), file="manifest.json")
        return RunLog(folder, manifest, _read_summary(folder), allow_torn)
    except _Bad as bad:
        raise _damage(folder, bad) from None


# --------------------------------------------------------------------------------------------- going on


@dataclass(frozen=True, slots=True)
class Tail:
    """What a run's log holds behind a position: whole batches only."""

    records: tuple[Record, ...]
    end: Position  # behind the last whole batch
    torn: dict[str, Any] | None  # what is cut short behind it, None = nothing


def read_tail(folder: Path | str, start: Position | None = None) -> Tail:
    """Read a sealed log from a position to its last whole batch. Raises `DamageError` for anything that a crash of the
    writer cannot have left behind, and when the bytes before the position in its segment are not as they were."""
    folder = Path(folder)
    whole: list[Record] = []
    batch: list[Record] = []
    torn = None
    try:
        walk = _Walk(folder, hashed=True, closed=False, start=start)
        if not walk.manifest.get("seal_events"):
            raise _Bad("leaves its events to other pins: it is no log that can be continued", file="manifest.json")
        end = start
        try:
            for record in walk:
                batch.append(record)
                if not record.more:
                    whole += batch
                    batch = []
                    end = _position_of(walk, record.segment, record.end)
            if batch:
                torn = {"what": "the batch is cut short", "record": batch[0].number}
        except _Bad as bad:
            if not bad.torn:
                raise
            torn = bad.as_dict()
        if end is None:  # not one whole batch: the run begins again behind its manifest
            chain = hashlib.sha256(walk.manifest_bytes).hexdigest()
            end = Position(segment=-1, offset=0, bytes=0, chain=chain)
    except _Bad as bad:
        raise _damage(folder, bad) from None
    return Tail(tuple(whole), end, torn)


def _position_of(walk: _Walk, segment: int, offset: int) -> Position:
    counts = {kind.name.lower(): count for kind, count in walk.rows.items()}
    bytes_before = walk.bytes + offset
    return Position(segment, offset, walk.records, bytes_before, counts, walk.last_seq, walk.digest.hexdigest())


def reopen(folder: Path | str, end: Position, *, segment_bytes: int = SEGMENT_BYTES) -> LogWriter:
    """A writer that goes on behind the last whole batch of a run (see `read_tail`), in a new segment.

    What a crash left behind `end` is kept beside the log in `torn-SEGMENT-BYTE.bin`; a summary of a run that was
    stopped becomes `stopped-RECORDS.json`: its log hash is what the new segment's head continues.
    """
    folder = Path(folder)
    summary = folder / "summary.json"
    if summary.exists():
        os.replace(summary, folder / f"stopped-{end.records:09d}.json")
    index = max(end.segment, 0)
    if end.segment >= 0:
        _cut(folder, segment_path(folder, end.segment), end.offset)
        index += 1
    while (path := segment_path(folder, index)).exists():
        _cut(folder, path, 0)
        index += 1
    _sync_path(folder)
    writer = LogWriter.__new__(LogWriter)
    chain = _Known(bytes.fromhex(end.chain))
    writer._begin(folder, end, chain, True, segment_bytes, QUEUE_BATCHES)
    return writer


class _Known:
    """A digest of which only the value is known; what is to be hashed on top begins a new segment."""

    def __init__(self, value: bytes):
        self.value = value

    def digest(self) -> bytes:
        return self.value


def _cut(folder: Path, path: Path, offset: int) -> None:
    """Cut a file off at `offset`, 0 = remove it; what stood behind is kept."""
    with open(path, "r+b") as file:
        file.seek(offset)
        rest = file.read()
        if rest:
            (folder / f"torn-{path.stem.removeprefix('segment-')}-{offset:09d}.bin").write_bytes(rest)
        if offset:
            file.truncate(offset)
            file.flush()
            os.fsync(file.fileno())
    if not offset:
        path.unlink()


# -------------------------------------------------------------------------------------------- verifying


@dataclass(frozen=True, slots=True)
class LogVerdict:
    """What verification found.

    `ok` says that every byte there is as it was written; `closed` that the run also came to its end
    (else it is still running or was cut off, and `torn` says so when a record is incomplete).
    """

    ok: bool
    closed: bool
    torn: bool
    records: int  # good ones, up to the first bad
    rows: dict[str, int]  # good ones by kind
    log_hash: str  # hex; "" when not ok
    first_bad: dict[str, Any] | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def verify_log(folder: Path | str) -> LogVerdict:
    """Check manifest, every CRC, the chain and the summary; name the first thing that is not as written."""
    folder, walk, closed = Path(folder), None, False
    try:
        if not (folder / "manifest.json").exists():
            raise _Bad("is missing", file="manifest.json")
        closed = (folder / "summary.json").exists()
        walk = _Walk(folder, hashed=True, closed=closed)
        for _ in walk:
            pass
        summary = _read_summary(folder)
        if summary is not None:
            _check_summary(walk, summary)
    except _Bad as bad:
        return _verdict(walk, closed, bad.torn, bad.as_dict(), f"{'torn' if bad.torn else 'damaged'}: {_sentence(bad)}")
    except (OSError, PolytradersError) as error:  # a file that vanishes or cannot be read while we look
        return _verdict(walk, closed, False, {"file": str(folder), "what": str(error)}, f"cannot be read: {error}")
    if not closed:
        message = f"intact as far as it goes ({walk.records} records), but never closed: running, or cut off"
        return _verdict(walk, closed, False, None, message)
    return _verdict(walk, closed, False, None, f"intact: {walk.records} records in {walk.segments} segments")


def _check_summary(walk: _Walk, summary: dict[str, Any]) -> None:
    log = summary["log"]
    counted = {kind.name.lower(): count for kind, count in walk.rows.items()}
    found = {"hash": walk.chain.hex(), "records": walk.records, "segments": walk.segments, "bytes": walk.bytes}
    for name, value in {**found, "rows": counted}.items():
        if log.get(name) != value:
            place = {"file": segment_path(walk.folder, max(walk.segments - 1, 0)).name, "segment": walk.segments - 1}
            raise _Bad(f"the summary says {name} {log.get(name)}, the log has {value}", **place)


def _verdict(
    walk: _Walk | None, closed: bool, torn: bool, first_bad: dict[str, Any] | None, message: str
) -> LogVerdict:
    counts = {kind.name.lower(): count for kind, count in walk.rows.items()} if walk else {}
    ok = first_bad is None
    return LogVerdict(
        ok, closed, torn, walk.records if walk else 0, counts, walk.chain.hex() if ok else "", first_bad, message
    )
