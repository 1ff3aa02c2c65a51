"""Recording files to messages: decompress, split, recognise the envelope, unwrap.

A file is recognised by its content, never by its name. Every source form becomes the same thing, a
`Message` with a frame in the venue's wire schema (levels as decimal strings, times in ms), so that
one normaliser serves all. What cannot be read becomes a `Fault` in its place; reading goes on.

=================  ==============================================================================
form               one line / row is
=================  ==============================================================================
frames             {"recv_ns", "frame"}: our recorder and the synthetic market; the recorder's own
                   lines are {"recv_ns", "note"} and, first in a file, {"recv_ns", "recorder"}
book stream        {"recv_ts" (s), "slug", "raw"}
capture            {"capturedAt" (s), "payload"}
session            {"source", "recv_wall_ts" (ms), "recv_mono_ns", "payload" (text)}, several feeds
bare frames        the frame itself, no receive time
level csv          one level of a book or one change a row; rows of one message stand together
changes csv        one old-schema price change a row, `changes` as JSON text
flat parquet       one changed level or trade a row, both tokens' rows next to each other
=================  ==============================================================================

Times are ns since the epoch, UTC. `sha256` is that of the source line(s) without the line end; of
a parquet row (which has no bytes of its own) that of the row as a JSON array.
"""

from __future__ import annotations

import csv
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from polytraders.data.parquet import read_parquet
from polytraders.data.quality import Problem
from polytraders.units import NS_PER_MS, NS_PER_S, ns_from_iso

CHUNK = 8 * 1024
"""Compressed bytes read at a time: what lies in one piece with damage is lost with it."""
LINE_LIMIT = 64 * 1024 * 1024
"""Longest line that is taken for text, bytes."""
EARLIEST, LATEST = 1_500_000_000 * NS_PER_S, 4_102_444_800 * NS_PER_S
"""Plausible times, ns: July 2017 to 2100. Anything else is a broken clock or a broken field."""


class Message(NamedTuple):
    """One message of the venue.

    file: index in the import. line: 1-based. part: place in a frame that is an array.
    recv: receive time in ns, None when the recording has none. frame: wire-schema object.
    slug: market's slug when the envelope carries it. scope: "" or the feed that is not ours to read.
    own: the recorder's word, not the venue's.
    """

    file: int
    line: int
    part: int
    recv: int | None
    frame: dict[str, Any]
    sha256: bytes
    slug: str = ""
    scope: str = ""
    own: bool = False


class Fault(NamedTuple):
    """A place in a file that could not be read."""

    file: int
    line: int
    problem: Problem
    detail: str


Item = Message | Fault


class _Cut(Exception):
    """The file ends, or turns to garbage, in the middle."""


# -- bytes ---------------------------------------------------------------------------------------


Seen = Callable[[int], None]
"""Told how many more bytes of a file have been read."""


def _inflate(path: Path, seen: Seen | None) -> Iterator[bytes]:
    """Decompressed chunks of a plain, gzip or zstd file. Raises `_Cut` when a compressed frame is damaged."""
    seen = seen or (lambda count: None)
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head == b"\x28\xb5\x2f\xfd":
            import zstandard

            make: Callable[[], Any] = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj
            errors: tuple[type[Exception], ...] = (zstandard.ZstdError,)
        elif head[:2] == b"\x1f\x8b":
            make, errors = (lambda: zlib.decompressobj(31)), (zlib.error,)
        else:
            while data := file.read(128 * CHUNK):
                seen(len(data))
                yield data
            return
        inflater, begun = make(), False
        while data := file.read(CHUNK):
            seen(len(data))
            while data:
                try:
                    out = inflater.decompress(data)
                except errors as error:
                    raise _Cut(f"compressed data is damaged: {error}") from None
                begun = True
                if out:
                    yield out
                data = b""
                if inflater.eof:
                    data, inflater, begun = inflater.unused_data, make(), False
        if begun:
            raise _Cut("the compressed file ends in the middle of a frame")


def read_lines(path: Path, seen: Seen | None = None) -> Iterator[tuple[int, bytes]]:
    """(1-based number, bytes without line end) of each complete line; raises `_Cut` where the file is cut."""
    number, rest = 0, b""
    for chunk in _inflate(path, seen):
        if b"\n" not in chunk:
            rest += chunk
            if len(rest) > LINE_LIMIT:
                raise _Cut(f"line {number + 1} is longer than {LINE_LIMIT >> 20} MB: not a text recording")
            continue
        first, *middle, last = (rest + chunk).split(b"\n")
        rest = last
        for line in (first, *middle):
            number += 1
            yield number, line.rstrip(b"\r")
    if rest:
        yield number + 1, rest


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes as they lie on the disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- times ---------------------------------------------------------------------------------------


def seconds_ns(value: float | str) -> int:
    """Seconds as JSON gave them to ns, by their decimal text: 1776323404.7760892 -> ...776089200."""
    text = value if isinstance(value, str) else repr(value)
    whole, _, fraction = text.partition(".")
    return plausible(int(whole) * NS_PER_S + int(fraction.ljust(9, "0")[:9] or 0))


def venue_ns(value: str | int) -> int:
    """A venue timestamp (s, ms, us or ns by its magnitude; normally ms as text) to ns."""
    number = int(value)
    for limit, scale in ((10**11, NS_PER_S), (10**14, NS_PER_MS), (10**17, 1_000)):
        if number < limit:
            return plausible(number * scale)
    return plausible(number)


def plausible(ns: int) -> int:
    """`ns`, or ValueError when it lies outside 2017 ... 2100."""
    if not EARLIEST <= ns < LATEST:
        raise ValueError(f"time {ns} ns is not between 2017 and 2100")
    return ns


# -- envelopes -----------------------------------------------------------------------------------


class _Envelope(NamedTuple):
    form: str
    recv: int | None
    frame: Any
    slug: str = ""
    scope: str = ""
    own: bool = False


def unwrap(line: Any) -> _Envelope | None:
    """Recognise one JSON line; None when it is no known form. Raises ValueError/TypeError on bad fields."""
    if isinstance(line, list):
        return _Envelope("bare frames", None, line)
    if not isinstance(line, dict):
        return None
    if "recv_ns" in line and "frame" in line:
        scope = str(line.get("source", ""))
        return _Envelope("frames", plausible(int(line["recv_ns"])), line["frame"], scope=scope)
    if "recv_ns" in line and ("note" in line or "recorder" in line):
        said = line["note"] if "note" in line else {"event_type": "recorder", **line["recorder"]}
        return _Envelope("frames", plausible(int(line["recv_ns"])), said, own=True)
    if "raw" in line and "recv_ts" in line:
        return _Envelope("book stream", seconds_ns(line["recv_ts"]), line["raw"], str(line.get("slug", "")))
    if "payload" in line and "capturedAt" in line:
        return _Envelope("capture", seconds_ns(line["capturedAt"]), line["payload"])
    if "payload" in line and "recv_wall_ts" in line:
        wall, fine = int(line["recv_wall_ts"]) * NS_PER_MS, line.get("recv_mono_ns")
        # The finer clock is used when it tells the same millisecond: some recorders write wall time into it.
        recv = fine if isinstance(fine, int) and fine // NS_PER_MS * NS_PER_MS == wall else wall
        source = str(line.get("source", ""))
        return _Envelope(
            "session", plausible(recv), line["payload"], scope="" if source == "polymarket_clob" else source
        )
    if "event_type" in line or ("bids" in line and "asks" in line):
        return _Envelope("bare frames", None, line)
    return None


HEARTBEATS = frozenset({"PING", "PONG", "", "[]", "{}"})
"""Text frames that keep a connection alive and say nothing else."""


RTDS = "rtds"
"""Source of the lines that hold external prices, see `signals`."""


def parts_of(frame: Any) -> list[dict[str, Any]]:
    """A frame (object, array or their text) as the list of its messages. Raises ValueError when it is none."""
    if isinstance(frame, str):
        if frame.strip() in HEARTBEATS:
            return []
        frame = orjson.loads(frame)
    if isinstance(frame, dict):
        return [frame] if frame else []
    if isinstance(frame, list) and all(isinstance(part, dict) for part in frame):
        return frame
    raise ValueError("the frame is neither an object nor an array of objects")


def _encoding_fault(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(data) > 3 and data.count(0) * 3 > len(data)):
        return "not UTF-8: looks like UTF-16; convert it with `iconv -f utf-16 -t utf-8`"
    return "not UTF-8: another encoding, or not text at all"


def _json_lines(file: int, lines: Iterator[tuple[int, bytes]], forms: Counter[str]) -> Iterator[Item]:
    sha256, loads = hashlib.sha256, orjson.loads
    for number, data in lines:
        if not data.strip():
            continue
        try:
            envelope = unwrap(loads(data))
            if envelope is None:
                yield Fault(file, number, Problem.MALFORMED, "JSON, but no recording form this importer knows")
                continue
            parts = parts_of(envelope.frame) if envelope.scope in ("", RTDS) else [{}]
        except (ValueError, TypeError, RecursionError) as error:
            try:
                data.decode()
            except UnicodeDecodeError:
                yield Fault(file, number, Problem.ENCODING, _encoding_fault(data))
            else:
                yield Fault(file, number, Problem.MALFORMED, str(error)[:200])
            continue
        forms[envelope.form] += 1
        digest = sha256(data).digest()
        if not parts:
            forms["heartbeat"] += 1
        for part, frame in enumerate(parts):
            yield Message(file, number, part, envelope.recv, frame, digest, envelope.slug, envelope.scope, envelope.own)


# -- csv -----------------------------------------------------------------------------------------

LEVEL_COLUMNS = {"market_slug", "asset_id", "event_type", "price", "side", "size", "hash", "timestamp"}
CHANGES_COLUMNS = {"asset_id", "market", "timestamp", "hash", "changes"}


def _csv_columns(data: bytes) -> list[str] | None:
    """Column names when the line is the header of a known csv form."""
    try:
        names = next(csv.reader([data.decode("utf-8-sig")]))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return None
    return names if set(names) >= LEVEL_COLUMNS or set(names) >= CHANGES_COLUMNS else None


def _csv_rows(
    file: int, columns: list[str], lines: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes, dict[str, str]] | Fault]:
    for number, data in lines:
        if not data.strip():
            continue
        try:
            values = next(csv.reader([data.decode()], strict=True))
        except UnicodeDecodeError:
            yield Fault(file, number, Problem.ENCODING, _encoding_fault(data))
            continue
        except (csv.Error, StopIteration) as error:
            yield Fault(file, number, Problem.MALFORMED, f"csv: {error}")
            continue
        if len(values) != len(columns):
            yield Fault(file, number, Problem.MALFORMED, f"csv: {len(values)} values, the header has {len(columns)}")
            continue
        yield number, data, dict(zip(columns, values, strict=True))


def _level_csv(
    file: int, columns: list[str], lines: Iterator[tuple[int, bytes]], forms: Counter[str]
) -> Iterator[Item]:
    """Rows of one message (same token, type, hash and time, standing together) become one frame."""
    held: list[tuple[int, bytes, dict[str, str]]] = []
    key: tuple[str, ...] | None = None
    row: tuple[int, bytes, dict[str, str]] | Fault | None = None
    for row in _csv_rows(file, columns, lines):
        if isinstance(row, Fault):
            yield row
            continue
        now = tuple(row[2][name] for name in ("asset_id", "event_type", "hash", "timestamp"))
        if held and now != key:
            yield _level_message(file, held)
            held = []
        held.append(row)
        key = now
        forms["level csv"] += 1
    # A message at a cut end of the file (an error was raised, or the last row is broken) may lack levels: dropped.
    if held and not isinstance(row, Fault):
        yield _level_message(file, held)


def _level_message(file: int, held: list[tuple[int, bytes, dict[str, str]]]) -> Message:
    row = held[0][2]
    levels = [{"price": r["price"], "size": r["size"], "side": r["side"]} for _, _, r in held]
    frame: dict[str, Any] = {name: row[name] for name in ("event_type", "asset_id", "hash", "timestamp")}
    frame["market"] = row["market_slug"]
    if row["event_type"] == "book":
        frame["bids"] = [level for level in levels if level["side"].lower() in ("bid", "buy")]
        frame["asks"] = [level for level in levels if level["side"].lower() in ("ask", "sell")]
    else:
        frame["changes"] = levels
    digest = hashlib.sha256(b"\n".join(data for _, data, _ in held)).digest()
    return Message(file, held[0][0], 0, None, frame, digest, row["market_slug"])


def _changes_csv(
    file: int, columns: list[str], lines: Iterator[tuple[int, bytes]], forms: Counter[str]
) -> Iterator[Item]:
    for row in _csv_rows(file, columns, lines):
        if isinstance(row, Fault):
            yield row
            continue
        number, data, values = row
        try:
            stamp = values["timestamp"]
            day, clock, zone = stamp.split(" ") if stamp.count(" ") == 2 else (*stamp.split("T"), "")
            time = ns_from_iso(f"{day}T{clock}{zone[:3]}:{zone[3:]}" if zone else f"{day}T{clock}")
            frame = {
                "event_type": "price_change",
                "asset_id": values["asset_id"],
                "market": values["market"],
                "timestamp": str(time // NS_PER_MS),
                "hash": values["hash"],
                "changes": orjson.loads(values["changes"]),
            }
        except ValueError as error:
            yield Fault(file, number, Problem.MALFORMED, str(error)[:200])
            continue
        forms["changes csv"] += 1
        yield Message(file, number, 0, None, frame, hashlib.sha256(data).digest())


# -- parquet -------------------------------------------------------------------------------------

FLAT_COLUMNS = ["timestamp", "price", "size", "best_bid", "best_ask", "side", "event_type", "asset_id"]


def _flat_parquet(file: int, path: Path, forms: Counter[str]) -> Iterator[Item]:
    import pyarrow as pa

    try:
        table = read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        yield Fault(file, 0, Problem.TRUNCATED, f"parquet: {str(error)[:200]}")
        return
    if missing := [name for name in FLAT_COLUMNS if name not in table.column_names]:
        yield Fault(
            file,
            0,
            Problem.MALFORMED,
            f"parquet without the columns {', '.join(missing)}: not a recording this importer knows",
        )
        return
    if not all(pa.types.is_floating(table.schema.field(name).type) for name in FLAT_COLUMNS[1:5]):
        yield Fault(file, 0, Problem.MALFORMED, "parquet: price, size, best_bid, best_ask are not all floating-point")
        return
    columns = [table.column(name).to_pylist() for name in FLAT_COLUMNS[1:]]
    try:
        times = table.column("timestamp").cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_pylist()
    except pa.ArrowException as error:
        yield Fault(file, 0, Problem.MALFORMED, f"parquet: timestamp: {error}")
        return
    rows = list(zip(times, *columns, strict=True))
    market_of = _pair_tokens(rows)
    forms["flat parquet"] += len(rows)
    at = 0
    while at < len(rows):
        row = rows[at]
        mirrored = at + 1 < len(rows) and _is_mirror(row, rows[at + 1])
        taken = rows[at : at + 1 + mirrored]
        digest = hashlib.sha256(orjson.dumps(taken[0] if len(taken) == 1 else taken)).digest()
        yield Message(file, at + 1, 0, None, _flat_frame(taken, market_of), digest)
        at += len(taken)


_Row = tuple[Any, ...]


def _is_mirror(a: _Row, b: _Row) -> bool:
    """Whether two rows are one change, seen in the one and in the other outcome token."""
    same = a[0] == b[0] and a[2] == b[2] and a[6] == b[6] == "PRICE_CHANGE" and a[5] != b[5] and a[7] != b[7]
    return bool(same and a[1] is not None and b[1] is not None and abs(a[1] + b[1] - 1) < 1e-9)


def _pair_tokens(rows: list[_Row]) -> dict[str, str]:
    """Token -> name of its market, from which tokens mirror each other most often; the first seen names it."""
    votes = Counter((a[7], b[7]) for a, b in pairwise(rows) if _is_mirror(a, b))
    market_of: dict[str, str] = {}
    for (one, other), _ in votes.most_common():
        if one not in market_of and other not in market_of:
            market_of[one] = market_of[other] = f"token:{one}"
    return market_of


def _flat_frame(rows: list[_Row], market_of: dict[str, str]) -> dict[str, Any]:
    time, price, size, _, _, side, kind, token = rows[0]
    side_text = {"BID": "BUY", "ASK": "SELL"}
    frame: dict[str, Any] = {"market": market_of.get(token, f"token:{token}"), "timestamp": str(time)}
    if kind == "LAST_TRADE":
        # Floats in the source; their shortest decimal text is the number the venue sent.
        return frame | {
            "event_type": "last_trade_price",
            "asset_id": token,
            "price": repr(price),
            "size": repr(size),
            "side": side_text.get(side, side),
        }
    if kind != "PRICE_CHANGE":
        return frame | {"event_type": str(kind)}
    changes = [
        {
            "asset_id": row[7],
            "price": repr(row[1]),
            "size": repr(row[2]),
            "side": side_text.get(row[5], row[5]),
            "best_bid": repr(row[3]),
            "best_ask": repr(row[4]),
        }
        for row in rows
    ]
    return frame | {"event_type": "price_change", "price_changes": changes}


# -- one file ------------------------------------------------------------------------------------


def read_messages(file: int, path: Path, forms: Counter[str], seen: Seen | None = None) -> Iterator[Item]:
    """Messages and faults of one recording, in the order of the file.

    file: index to stamp on them. forms: receives the number of lines by form.
    """
    with path.open("rb") as handle:
        head = handle.read(4)
    if not head:
        yield Fault(file, 0, Problem.MALFORMED, "the file is empty")
        return
    if head == b"PAR1":
        yield from _flat_parquet(file, path, forms)
        return
    at = 0

    def counted() -> Iterator[tuple[int, bytes]]:
        nonlocal at
        for at, data in read_lines(path, seen):  # noqa: UP028  `at` is read where the file is cut
            yield at, data

    lines = counted()
    try:
        first = next(lines, None)
        columns = _csv_columns(first[1]) if first else None
        if first is None:
            yield Fault(file, 0, Problem.MALFORMED, "the file is empty")
        elif columns:
            read = _level_csv if set(columns) >= LEVEL_COLUMNS else _changes_csv
            yield from read(file, columns, lines, forms)
        else:

            def again() -> Iterator[tuple[int, bytes]]:
                yield first
                yield from lines

            yield from _json_lines(file, again(), forms)
    except _Cut as cut:
        yield Fault(file, at + 1, Problem.TRUNCATED, str(cut))
