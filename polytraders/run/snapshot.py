"""Snapshots of a running step: the state's bytes, the runner's own books and the place in the log they belong to.

    snapshot-SEQ.snap = magic, length of the head, CRC32C of all that follows, the head (JSON), the arrays (zlib)

A snapshot saves time, never truth: without one the same state follows from the log's events. It is tied to the log by
the SHA-256 of the chain at its position, which whoever reads on from there computes again (`store.log.read_tail`).

Invariants
    N1  a snapshot is on the disk whole under its name, or not there
    N2  one that does not fit the program's arrays, or has a flipped byte, is passed over
    N3  what stands in one was so at one moment: books are `fixed` when the arrays are copied, and written later
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import orjson

from polytraders.store.log import Position

MAGIC = b"PTSNAP01"
VENUE = "venue."
"""Before the names of the arrays of a venue that lives in the run's process."""
KEEP = 3
"""Snapshots that stay; older ones are removed."""
_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_HEAD = struct.Struct("<8sII")  # magic, length of the JSON head, CRC32C of what follows
_LEVEL = 1  # most of a state is zeros: the fastest level takes them out


@dataclass(frozen=True)
class Snapshot:
    """What stands in a file. books: plain data of the runner; arrays: bytes by field of State."""

    path: Path
    seq: int
    position: Position
    books: dict[str, Any]
    layout: dict[str, Any]
    arrays: dict[str, bytes]


def snapshot_path(folder: Path, seq: int) -> Path:
    """File of the snapshot after the seq-th event."""
    return folder / f"snapshot-{seq:012d}.snap"


def fixed(books: Mapping[str, Any]) -> orjson.Fragment:
    """The books as they are now: a snapshot is written in another thread, while the run goes on and changes them."""
    return orjson.Fragment(orjson.dumps(books, option=_JSON))


def write_snapshot(
    folder: Path, seq: int, position: Position, books: orjson.Fragment, layout: Mapping[str, Any],
    arrays: Mapping[str, bytes],
) -> Path:  # fmt: skip
    """Write one, and remove all but the newest `KEEP`."""
    packed = {name: zlib.compress(data, _LEVEL) for name, data in arrays.items()}
    head = orjson.dumps(
        {
            "seq": seq,
            "position": position.as_dict(),
            "books": books,
            "layout": layout,
            "lengths": {name: len(data) for name, data in packed.items()},
        },
        option=_JSON,
    )
    body = b"".join((head, *packed.values()))
    path = snapshot_path(folder, seq)
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        file.write(_HEAD.pack(MAGIC, len(head), google_crc32c.value(body)))
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    for old in snapshots(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def snapshots(folder: Path) -> list[Path]:
    """The run's snapshots, the newest first."""
    return sorted(folder.glob("snapshot-*.snap"), reverse=True)


def read_snapshot(path: Path) -> Snapshot | None:
    """What stands in a file, None when it is not as it was written."""
    try:
        data = path.read_bytes()
        magic, length, crc = _HEAD.unpack_from(data)
        body = memoryview(data)[_HEAD.size :]
        if magic != MAGIC or google_crc32c.value(bytes(body)) != crc:
            return None
        head = orjson.loads(body[:length])
        at, arrays = length, {}
        for name, size in head["lengths"].items():
            arrays[name] = zlib.decompress(body[at : at + size])
            at += size
        return Snapshot(path, head["seq"], Position(**head["position"]), head["books"], head["layout"], arrays)
    except (OSError, struct.error, zlib.error, ValueError, KeyError, TypeError):
        return None
