"""Writing a live feed down: every frame verbatim, every loss in its place, in hourly files that `data import` reads.

A line is one JSON object:

    {"recv_ns": ..., "recorder": {...}}                  first of a file: who recorded, where, what came before
    {"recv_ns": ..., "connection": 0, "frame": <bytes>}  a frame, byte for byte as it came (what is no JSON: quoted)
    {"recv_ns": ..., "note": {"event_type": ...}}        the recorder's own word: markets, connections, losses

Files are named after the UTC second they begin with. A thread of its own compresses and writes; about once a second it
ends a zstd block and syncs, so that whatever ends the process loses no more than what came since. The importer finds
such a file cut in the middle of a zstd frame and says so.

Invariants
    W1  lines stand in the order in which they were told; what is synced is readable
    W2  a disk that does not take what comes stops the recording with an error: nothing is left out in silence
"""

from __future__ import annotations

import base64
import os
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import orjson
import zstandard

from polytraders.errors import DataError
from polytraders.units import NS_PER_S

SUFFIX = ".jsonl.zst"
SEGMENT_S = 3_600
SYNC_S = 1.0
LEVEL = 3
"""zstd level: text of the feed shrinks to about an eighth, at 200 MB/s and more."""
BACKLOG = 500_000
"""Lines that may wait for the disk."""


class Tap(Protocol):
    """Who is told of everything that a feed says, in order. `Recorder` is one."""

    def frame(self, recv: int, connection: int, raw: bytes, json: bool = True, source: str = "") -> None: ...

    def note(self, recv: int, note: dict[str, Any]) -> None: ...


def segments(folder: Path) -> list[Path]:
    """The files of a recording, oldest first; empty when the folder holds none."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())


class Recorder:
    """Takes frames and notes of one feed. Not for several threads at once.

    folder: of this recording; made when missing. about: provenance, written into every file. Use it as a context:
    leaving closes the last file.
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        *,
        segment_s: int = SEGMENT_S,
        sync_s: float = SYNC_S,
        clock: Callable[[], int] = time.time_ns,
    ):
        self.folder, self.about = folder, about
        self.segment_ns, self.sync_s, self.clock = segment_s * NS_PER_S, sync_s, clock
        self.lines = self.frames = self.bytes = 0
        self.files: list[Path] = []
        self._lines: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(folder, error) from None
        self._thread = threading.Thread(target=self._write, name=f"recorder {folder.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def frame(self, recv: int, connection: int, raw: bytes, json: bool = True, source: str = "") -> None:
        """A frame as it came. recv: ns. json: it is one JSON value. source: "" = the market channel."""
        if json and b"\n" not in raw and b"\r" not in raw:
            body = raw
        else:
            try:
                body = orjson.dumps(raw.decode())
            except UnicodeDecodeError:
                self._put(recv, b'{"recv_ns":%d,"connection":%d,"base64":"%s"}' % (recv, connection, _base64(raw)))
                return
        mark = b',"source":%s' % orjson.dumps(source) if source else b""
        self._put(recv, b'{"recv_ns":%d,"connection":%d%s,"frame":%s}' % (recv, connection, mark, body))
        self.frames += 1

    def note(self, recv: int, note: dict[str, Any]) -> None:
        """A word of the recorder itself, see `data.normalise`. `recorder` is written with every file, not here."""
        if note.get("event_type") != "recorder":
            self._put(recv, b'{"recv_ns":%d,"note":%s}' % (recv, orjson.dumps(note)))

    def _put(self, recv: int, line: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        if self._lines.qsize() > BACKLOG:
            raise DataError(f"the disk is {BACKLOG:,} lines behind", where=str(self.folder), rule="W2")
        self.lines += 1
        self.bytes += len(line) + 1
        self._lines.put((recv, line))

    def close(self) -> None:
        """Write what waits, end the file. Raises DataError when something could not be written."""
        if self._thread.is_alive():
            self._lines.put(None)
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    # -- the writing thread --------------------------------------------------------------------------

    def _write(self) -> None:
        file: IO[bytes] | None = None
        packer: Any = None
        number, synced, dirty = -1, time.monotonic(), False
        try:
            while True:
                try:
                    item = self._lines.get(timeout=self.sync_s / 2)
                except queue.Empty:
                    item = (0, b"")
                if item is None:
                    break
                recv, line = item
                if line:
                    if file is None or (recv // self.segment_ns) > number:
                        if file is not None:
                            _end(packer, file)
                        number = recv // self.segment_ns
                        file, packer = self._begin(recv)
                    packer.write(line + b"\n")
                    dirty = True
                if dirty and time.monotonic() - synced >= self.sync_s:
                    packer.flush(zstandard.FLUSH_BLOCK)
                    file.flush()
                    os.fsync(file.fileno())
                    synced, dirty = time.monotonic(), False
            if file is not None:
                _end(packer, file)
        except (OSError, zstandard.ZstdError) as error:
            self._failure = _cannot(self.files[-1] if self.files else self.folder, error)

    def _begin(self, recv: int) -> tuple[IO[bytes], Any]:
        stamp = datetime.fromtimestamp(recv // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
        for again in range(1_000):  # two processes, or two files within a second
            path = self.folder / (stamp + (f"-{again}" if again else "") + SUFFIX)
            try:
                file = path.open("xb")
                break
            except FileExistsError:
                continue
        else:
            raise OSError(f"no free name for {stamp}")
        about = {**self.about, "file": path.name, "previous": self.files[-1].name if self.files else ""}
        packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_writer(file, closefd=False)
        packer.write(b'{"recv_ns":%d,"recorder":%s}\n' % (recv, orjson.dumps(about)))
        self.files.append(path)
        return file, packer


def _end(packer: Any, file: IO[bytes]) -> None:
    packer.flush(zstandard.FLUSH_FRAME)
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _base64(raw: bytes) -> bytes:
    return base64.b64encode(raw)


def _cannot(path: Path, error: Exception) -> DataError:
    return DataError(
        f"cannot write the recording: {error}",
        where=str(path),
        rule="W2: nothing is left out in silence",
        mend="free the disk, or choose another folder; what was recorded before stays readable",
    )
