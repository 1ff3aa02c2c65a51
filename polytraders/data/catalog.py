"""The catalog: recordings as Parquet files, loaded as one ordered stream of event rows.

A recording is a folder `<catalog>/<name>/`:

===================================  ==============================================================
events/day=YYYY-MM-DD/rows.parquet   EVENT rows sorted by (ts_recv, seq), by UTC day of ts_recv
messages.parquet                     every source message: number (= Event.ref), file, line, SHA-256,
                                     both times as recorded, type, rows, and what it says of the book
quality.parquet                      everything that is wrong with the recording, see `quality`
markets.parquet                      market rules, each with its origin: recorded, inferred, assumed
recording.json                       sources with SHA-256, importer version, counts, notes, and the
                                     SHA-256 of every file above
===================================  ==============================================================

Invariants
    D8  the same sources give the same bytes; a recording appears whole or not at all
    D9  what is loaded hashes to what was written, or loading is refused
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from polytraders.config import home
from polytraders.data.dated import in_force
from polytraders.data.markets import MarketInfo
from polytraders.data.parquet import read_parquet
from polytraders.errors import DamageError, UsageError
from polytraders.rows import EVENT, EventKind, Flag
from polytraders.units import NS_PER_DAY, iso_utc

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Catalog", "MarketInfo", "RecordingInfo", "Session", "catalog_root"]

MANIFEST = "recording.json"


def catalog_root() -> Path:
    """Folder of the catalog under POLYTRADERS_HOME."""
    return home() / "catalog"


@dataclass(frozen=True)
class RecordingInfo:
    """One line of `data ls`. start, end: ns, first and last receive time. quality: counts by kind."""

    name: str
    rows: int
    messages: int
    markets: int
    trades: int
    inferred_trades: int
    start: int
    end: int
    bytes: int
    quality: dict[str, int]
    notes: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """What a run trades on.

    events: EVENT rows, one stream ordered by (ts_recv, seq); `market` indexes `markets`.
    pin: what identifies the data: recording, source files and day files with SHA-256, rows, selection.
    quality: counts by kind of the whole recording. notes: what is inferred or assumed, as sentences.
    rules: the venue's rules that changed inside the stream (see `dated.RuleChange`).
    """

    name: str
    events: np.ndarray
    markets: tuple[MarketInfo, ...]
    pin: dict[str, Any]
    quality: dict[str, int]
    notes: tuple[str, ...]
    rules: tuple[dict[str, Any], ...] = ()


class Catalog:
    """The recordings under one folder. root: default `catalog_root()`."""

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else catalog_root()

    def names(self) -> list[str]:
        """Names of the recordings, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if not p.name.startswith(".") and (p / MANIFEST).is_file())

    def recordings(self) -> list[RecordingInfo]:
        """All recordings, by name."""
        return [self.info(name) for name in self.names()]

    def folder(self, name: str) -> Path:
        """Folder of a recording. Raises UsageError when there is none of that name."""
        names = self.names()
        if name not in names:
            near = get_close_matches(name, names, n=1)
            mend = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none; import one first'}"
            raise UsageError(f"there is no recording {name!r}", where=str(self.root), mend=mend)
        return self.root / name

    def manifest(self, name: str) -> dict[str, Any]:
        """recording.json of a recording. Raises DamageError when it cannot be read."""
        path = self.folder(name) / MANIFEST
        try:
            manifest = orjson.loads(path.read_bytes())
            if not isinstance(manifest, dict) or "files" not in manifest:
                raise ValueError("not a recording's manifest")
        except ValueError as error:
            raise _damage(path, str(error)) from None
        return manifest

    def info(self, name: str) -> RecordingInfo:
        """Summary of one recording."""
        manifest = self.manifest(name)
        folder = self.folder(name)
        return RecordingInfo(
            name=name,
            rows=manifest["rows"],
            messages=manifest["messages"],
            markets=manifest["markets"],
            trades=manifest["trades"]["recorded"],
            inferred_trades=manifest["trades"]["inferred"],
            start=manifest["start"],
            end=manifest["end"],
            bytes=sum((folder / file).stat().st_size for file in manifest["files"] if (folder / file).is_file()),
            quality=manifest["quality"],
            notes=tuple(manifest["notes"]),
            sources=tuple(source["file"] for source in manifest["sources"]),
        )

    def table(self, name: str, which: str) -> pa.Table:
        """One of a recording's tables: 'messages', 'quality' or 'markets'."""
        import pyarrow as pa

        path = self.folder(name) / f"{which}.parquet"
        try:
            return read_parquet(path)
        except (OSError, pa.ArrowException) as error:
            raise _damage(path, str(error)) from None

    def markets(self, name: str) -> tuple[MarketInfo, ...]:
        """The market table, in the order of the event rows' `market`."""
        table = self.table(name, "markets")
        wanted = [column.name for column in fields(MarketInfo) if column.name in table.column_names]
        rows = table.select(wanted).to_pylist()
        return tuple(MarketInfo(**{**row, "assumed": tuple(row["assumed"])}) for row in rows)

    def load(
        self, name: str, *, markets: Sequence[str] | None = None, start: int | None = None, end: int | None = None
    ) -> Session:
        """A recording, or a part of it, as a session.

        markets: condition ids or slugs to keep (default all). start, end: ns of receive time, start
        inclusive, end exclusive; a session that starts late begins with the books as they stood,
        under the times at which they were last confirmed. Rules of the venue that nothing in the recording
        tells are those of their day (`dated.in_force`). Raises UsageError for a name that does not exist,
        DamageError when a file is not what was written.
        """
        manifest = self.manifest(name)
        infos = self.markets(name)
        events = self._events(name, manifest)
        if markets is not None:
            events, infos = _keep_markets(events, infos, markets, name)
            events["seq"] = np.arange(len(events))
        pin = {
            "recording": name,
            "files": {source["file"]: source["sha256"] for source in manifest["sources"]},
            "events": {file: digest for file, digest in manifest["files"].items() if file.startswith("events/")},
            "rows": len(events),
            "importer": manifest["importer"],
            "markets": None if markets is None else [info.condition_id for info in infos],
            "start": None,
            "end": None,
        }
        session = Session(name, events, infos, pin, dict(manifest["quality"]), tuple(manifest["notes"]))
        if start is not None or end is not None:
            session = window(session, start, end)
        events, infos, changes = in_force(session.events, infos)
        rules = tuple(change.record() for change in changes)
        return replace(session, events=events, markets=infos, rules=rules)

    def _events(self, name: str, manifest: dict[str, Any]) -> np.ndarray:
        events = np.empty(manifest["rows"], dtype=EVENT)
        at = 0
        for file, digest in manifest["files"].items():
            if not file.startswith("events/"):
                continue
            path = self.folder(name) / file
            try:
                data = path.read_bytes()
            except OSError as error:
                raise _damage(path, str(error)) from None
            if hashlib.sha256(data).hexdigest() != digest:
                raise _damage(path, "its SHA-256 is not the one in recording.json")
            table = read_parquet(data)
            for column in EVENT.names or ():
                events[column][at : at + len(table)] = table.column(column).to_numpy()
            at += len(table)
        if at != len(events):
            raise _damage(self.folder(name), f"{at} event rows, recording.json says {len(events)}")
        return events


def window(session: Session, start: int | None = None, end: int | None = None) -> Session:
    """A part of a session. start, end: ns of receive time, start inclusive, end exclusive.

    One that starts late begins with the books as they stood, under the times at which they were last confirmed.
    """
    events = session.events
    if start is not None:
        events = _start_at(events, start)
    if end is not None:
        events = events[: np.searchsorted(events["ts_recv"], end)]
    events = events.copy()
    events["seq"] = np.arange(len(events))
    bounds = {key: at for key, at in (("start", start), ("end", end)) if at is not None}
    return replace(session, events=events, pin=session.pin | {"rows": len(events)} | bounds)


def _damage(path: Path, what: str) -> DamageError:
    return DamageError(
        what,
        where=str(path),
        rule="a recording's files are what the import wrote",
        mend="import it again with --replace",
    )


# -- parts of a recording ------------------------------------------------------------------------


def _keep_markets(
    events: np.ndarray, infos: tuple[MarketInfo, ...], wanted: Sequence[str], name: str
) -> tuple[np.ndarray, tuple[MarketInfo, ...]]:
    known = {key: at for at, info in enumerate(infos) for key in (info.condition_id, info.slug) if key}
    for key in wanted:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise UsageError(
                f"{name} has no market {key!r}",
                rule="markets are named by condition id or slug",
                mend=f"did you mean {near[0]}?" if near else f"`polytraders data show {name}` lists them",
            )
    kept = sorted({known[key] for key in wanted})
    place = np.full(len(infos) + 1, -2, dtype=np.int32)
    place[kept] = np.arange(len(kept))
    place[-1] = -1
    events = events[place[events["market"]] != -2]
    events["market"] = place[events["market"]]
    return events, tuple(infos[at] for at in kept)


def book_rows(events: np.ndarray) -> np.ndarray:
    """Rows that rebuild each market's book, tick and status as they stand after `events`, under the times they had."""
    kept = []
    for market in np.unique(events["market"]):
        rows = events[events["market"] == market]
        kind = rows["kind"]
        clears = np.flatnonzero(kind == EventKind.BOOK_CLEAR)
        live = rows[clears[-1] :] if len(clears) else rows
        levels = live[(live["kind"] == EventKind.LEVEL) | (live["kind"] == EventKind.CHANGE)]
        # The last row of a level is the level: np.unique on the reversed rows keeps the first it meets.
        _, last = np.unique(levels[::-1]["price"] * 2 + levels[::-1]["side"], return_index=True)
        levels = levels[::-1][last]
        levels = levels[levels["size"] > 0].copy()
        levels["kind"] = EventKind.LEVEL
        head = [
            rows[kind == which][-1:].copy() for which in (EventKind.TICK_SIZE, EventKind.STATUS, EventKind.RESOLUTION)
        ]
        part = np.concatenate([live[:1].copy() if len(clears) else live[:0], levels, *head])
        part["ts_recv"], part["ts_event"] = rows["ts_recv"][-1], rows["ts_event"][-1]
        part["flags"] = Flag.SNAPSHOT
        if len(part):
            part["flags"][-1] |= Flag.LAST
            kept.append(part)
    return np.concatenate(kept) if kept else events[:0]


def _start_at(events: np.ndarray, start: int) -> np.ndarray:
    cut = int(np.searchsorted(events["ts_recv"], start))
    carried = book_rows(events[:cut])
    carried = carried[np.argsort(carried["ts_recv"], kind="stable")]
    return np.concatenate([carried, events[cut:]])


# -- writing -------------------------------------------------------------------------------------


def write_recording(
    root: Path, name: str, events: np.ndarray, tables: dict[str, pa.Table], manifest: dict[str, Any]
) -> dict[str, Any]:
    """Write a recording whole or not at all; replaces one of the same name. Returns the finished manifest."""
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".draft-{name}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        files = [*_write_days(draft, events), *_write_tables(draft, tables)]
        done = manifest | {"files": {str(file.relative_to(draft)): _sha256(file) for file in files}}
        (draft / MANIFEST).write_bytes(orjson.dumps(done, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        old = root / f".old-{name}-{os.getpid()}"
        if (root / name).exists():
            (root / name).rename(old)
        draft.rename(root / name)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return done


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_days(folder: Path, events: np.ndarray) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = []
    days = events["ts_recv"] // NS_PER_DAY
    for day in np.unique(days):
        first, last = np.searchsorted(days, [day, day + 1])
        path = folder / "events" / f"day={iso_utc(int(day) * NS_PER_DAY)[:10]}" / "rows.parquet"
        path.parent.mkdir(parents=True)
        part = events[first:last]
        table = pa.table({column: np.ascontiguousarray(part[column]) for column in EVENT.names or ()})
        delta = ["ts_recv", "ts_event", "seq", "ref"]
        pq.write_table(
            table,
            path,
            compression="zstd",
            use_dictionary=[column for column in table.column_names if column not in delta],
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        )
        files.append(path)
    return files


def _write_tables(folder: Path, tables: dict[str, pa.Table]) -> list[Path]:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for which, table in tables.items():
        path = folder / f"{which}.parquet"
        pq.write_table(table, path, compression="zstd")
        files.append(path)
    return files


def market_record(info: MarketInfo, source: dict[str, str]) -> dict[str, Any]:
    """A market as a row of markets.parquet: its fields, and `<rule>_source` for each rule that has an origin."""
    return (
        asdict(info)
        | {"assumed": list(info.assumed)}
        | {f"{rule}_source": origin for rule, origin in sorted(source.items())}
    )
