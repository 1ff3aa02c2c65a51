"""Recordings in, one entry of the catalog out.

`import_files` reads each file once, streaming; rows, messages and findings are kept in memory (about
100 bytes a row) and written at the end. Several files under one name become one stream, merged by
arrival time; without a name each file becomes a recording of its own, named after the file.

A recording is identified by its sources (SHA-256), the importer's version and the gap limit. Importing
the same again changes nothing and says so; other sources under the same name need `replace`.
"""

from __future__ import annotations

import heapq
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polytraders.data.catalog import Catalog, catalog_root, market_record, write_recording
from polytraders.data.inference import PROVEN, UNPROVEN
from polytraders.data.journal import MESSAGE_COLUMNS
from polytraders.data.markets import Payoff, Registry, describe, is_sidecar, read_sidecar, sidecars_near
from polytraders.data.normalise import Normaliser
from polytraders.data.quality import FATAL, Finding, Problem
from polytraders.data.record import SUFFIX, segments
from polytraders.data.sources import Fault, Item, Message, file_sha256, read_messages, venue_ns
from polytraders.errors import DataError, UsageError
from polytraders.rows import EventKind, Flag
from polytraders.units import NS_PER_S

IMPORTER = "1"
"""Version of the rows an import gives; grows when the same sources would give other bytes."""
SHOWN = 20
"""Problems of the files themselves that a result quotes with file and line."""

Progress = Callable[[str, int, int], None]
"""(file name, bytes read, bytes in all files of the recording)."""


@dataclass(frozen=True)
class Imported:
    """What became of one recording.

    status: imported, replaced, unchanged (same sources, nothing done) or failed (nothing usable).
    manifest: recording.json; of a failed one only counts. problems: the first file problems, as
    'file:line: what'. seconds: wall time.
    """

    name: str
    status: str
    manifest: dict[str, Any]
    problems: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For --json: counts by kind and quality."""
        keys = (
            "rows",
            "messages",
            "markets",
            "kinds",
            "rows_by_kind",
            "trades",
            "best",
            "hashes",
            "quality",
            "notes",
            "start",
            "end",
        )
        return {
            "recording": self.name,
            "status": self.status,
            **{key: self.manifest[key] for key in keys if key in self.manifest},
            "problems": list(self.problems),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class ImportResult:
    """One entry per recording."""

    recordings: tuple[Imported, ...]

    def as_dict(self) -> dict[str, Any]:
        """For --json: the recordings, and the sums of their kinds and quality."""
        sums: dict[str, Counter[str]] = {"kinds": Counter(), "quality": Counter()}
        for recording in self.recordings:
            for key, total in sums.items():
                total.update(recording.manifest.get(key, {}))
        return {
            "recordings": [r.as_dict() for r in self.recordings],
            **{key: dict(sorted(c.items())) for key, c in sums.items()},
        }


def import_files(
    paths: Sequence[Path | str],
    name: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    *,
    root: Path | None = None,
    gap_s: int | None = None,
    replace: bool = False,
) -> ImportResult:
    """Import recordings into the catalog.

    paths: files of any known form, or folders that the recorder filled. name: one recording of them all; None = one
    for each file, or the folder's name for a single folder. strict: stop at
    the first line or message that cannot be read, writing nothing. gap_s: silence that is a gap
    (default: the settings'). replace: let other sources take the place of an existing recording.

    Raises UsageError for files that do not exist or names that are taken, DataError under `strict`,
    or when no file holds anything usable.
    """
    given = [file for path in paths for file in _files(path)]
    if name is None and len(paths) == 1 and Path(paths[0]).expanduser().is_dir():
        name = Path(paths[0]).expanduser().resolve().name
    beside = [path for path in given if is_sidecar(path)]
    files = list(dict.fromkeys(path for path in given if path not in beside))
    if not files:
        what = "only metadata of markets" if beside else "no files"
        raise UsageError(f"{what} to import", mend="name at least one recording")
    if gap_s is None:
        from polytraders.config import load_settings

        gap_s = load_settings().data.gap_s
    groups = {recording_name(name): files} if name is not None else {}
    if name is None:
        for file in files:
            if groups.setdefault(recording_name(_stem(file)), [file]) != [file]:
                raise UsageError(
                    f"two files would both be named {recording_name(_stem(file))}",
                    mend="give one --name to merge them, or import them apart",
                )
    root = root or catalog_root()
    done = tuple(_import(root, key, group, beside, strict, progress, gap_s, replace) for key, group in groups.items())
    if all(recording.status == "failed" for recording in done):
        whole = [problem for recording in done for problem in recording.problems[:2]]
        raise DataError(
            "nothing in it can be used" if len(done) == 1 else f"nothing in any of the {len(done)} files can be used",
            where=", ".join(str(path) for path in files[:3]),
            rule="a recording holds at least one readable message of the market channel",
            mend="look at what could not be read:\n        " + "\n        ".join(whole[:6]),
        )
    return ImportResult(done)


def _files(path: Path | str) -> list[Path]:
    """The file itself, or the files of a folder that the recorder filled."""
    path = Path(path).expanduser()
    if path.is_dir():
        if found := segments(path):
            return [file.resolve() for file in found]
        raise UsageError(
            "this folder is no recording",
            where=str(path),
            rule=f"a recording's folder holds files *{SUFFIX}",
            mend="name the files in it, for instance with *",
        )
    if not path.is_file():
        raise UsageError("there is no such file", where=str(path))
    return [path.resolve()]


def _stem(path: Path) -> str:
    return re.sub(r"(\.(jsonl|ndjson|json|csv|parquet|txt|zst|gz))+$", "", path.name)


def recording_name(text: str) -> str:
    """A text as the name of a recording. Raises UsageError when nothing of it is left."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")
    if not clean:
        raise UsageError(f"{text!r} cannot name a recording", rule="letters, digits, dot, dash, underscore")
    return clean


# -- one recording -------------------------------------------------------------------------------


def _import(
    root: Path,
    name: str,
    files: list[Path],
    beside: list[Path],
    strict: bool,
    progress: Progress | None,
    gap_s: int,
    replace: bool,
) -> Imported:
    begun = time.perf_counter()
    sidecars = sorted({*beside, *(sidecar for file in files for sidecar in sidecars_near(file))} - set(files))
    all_files = [*files, *sidecars]
    labels = _labels(all_files)
    inputs = {labels[path]: file_sha256(path) for path in all_files}
    identity = {"importer": IMPORTER, "gap_s": gap_s, "inputs": inputs}
    catalog = Catalog(root)
    exists = name in catalog.names()
    if exists and not replace:
        manifest = catalog.manifest(name)
        if {key: manifest.get(key) for key in identity} == identity:
            return Imported(name, "unchanged", manifest, tuple(manifest["problems"]), time.perf_counter() - begun)
        if {s["file"]: s["sha256"] for s in manifest["sources"] if s["role"] == "recording"} != {
            labels[path]: inputs[labels[path]] for path in files
        }:
            raise UsageError(
                f"recording {name} exists and has other sources",
                where=str(root / name),
                mend="give another --name, or --replace to let these files take its place",
            )
    known = [read_sidecar(path) for path in sidecars]
    facts = [found for listed, _ in known for found in listed]
    normaliser = Normaliser(Registry(facts), gap_s * NS_PER_S)
    forms: list[Counter[str]] = [Counter() for _ in files]
    for item in _arrivals(files, forms, progress):
        if isinstance(item, Fault):
            normaliser.fault(item)
        else:
            normaliser.take(item)
        if strict and normaliser.log.findings and normaliser.log.findings[-1].kind in FATAL:
            _refuse(normaliser.log.findings[-1], all_files)
    used = _settle(normaliser, [payoffs for _, payoffs in known], len(files))
    problems = _quoted(normaliser.log.findings, all_files)
    if normaliser.log.count == 0:
        counts = _quality_counts(normaliser.log.findings)
        return Imported(
            name,
            "failed",
            {"kinds": dict(normaliser.log.kinds), "quality": counts},
            problems,
            time.perf_counter() - begun,
        )
    mentioned = {market.condition for market in normaliser.registry.table}
    used |= {len(files) + at for at, (listed, _) in enumerate(known) if any(f.condition in mentioned for f in listed)}
    manifest = _write(root, name, normaliser, all_files, forms, used, identity, problems)
    return Imported(name, "replaced" if exists else "imported", manifest, problems, time.perf_counter() - begun)


def _labels(files: list[Path]) -> dict[Path, str]:
    """What the catalog calls each file: its name, with as many folders as it takes to tell two apart."""
    top = Path(os.path.commonpath([path.parent for path in files]))
    return {path: str(path.relative_to(top)) for path in files}


def _arrivals(files: list[Path], forms: list[Counter[str]], progress: Progress | None) -> Iterator[Item]:
    """The items of all files in one order of arrival; each file's own order is kept."""
    total = sum(path.stat().st_size for path in files)
    read = [0] * len(files)

    def watch(at: int) -> Callable[[int], None] | None:
        if progress is None:
            return None

        def seen(count: int) -> None:
            read[at] += count
            progress(files[at].name, sum(read), total)

        return seen

    streams = [read_messages(at, path, forms[at], watch(at)) for at, path in enumerate(files)]
    if len(streams) == 1:
        yield from streams[0]
    else:
        yield from (item for _, item in heapq.merge(*map(_timed, streams), key=lambda pair: pair[0]))


def _timed(items: Iterator[Item]) -> Iterator[tuple[int, Item]]:
    clock = 0
    for item in items:
        if isinstance(item, Message):
            when = item.recv
            if when is None:
                try:
                    when = venue_ns(item.frame["timestamp"])
                except (KeyError, ValueError, TypeError):
                    when = clock
            clock = max(clock, when)
        yield clock, item


def _refuse(finding: Finding, files: list[Path]) -> None:
    raise DataError(
        finding.detail,
        where=f"{files[finding.file]}:{finding.line}",
        rule="--strict: every line and message of a recording can be read",
        mend="mend or remove the line, or import without --strict: the rest is then imported and this is counted",
    )


def _quoted(findings: list[Finding], files: list[Path]) -> tuple[str, ...]:
    bad = [f"{files[f.file].name}:{f.line}: {f.kind}: {f.detail}" for f in findings if f.kind in FATAL]
    return (
        (*bad[:SHOWN], f"... and {len(bad) - SHOWN} more, all in quality.parquet") if len(bad) > SHOWN else tuple(bad)
    )


def _quality_counts(findings: list[Finding]) -> dict[str, int]:
    return dict(sorted(Counter(str(finding.kind) for finding in findings).items()))


def _settle(normaliser: Normaliser, payoffs: list[list[Payoff]], first: int) -> set[int]:
    """Resolutions that sidecars infer, for markets without a recorded one; returns the sidecars' file numbers used."""
    used = set()
    for at, listed in enumerate(payoffs, start=first):
        told = {payoff.token: payoff for payoff in listed}
        for market in normaliser.registry.table:
            found = [(token, told[token]) for token in (market.yes, market.no) if token in told]
            pays = {payoff.wins == (token == market.yes) for token, payoff in found}
            if market.resolved or len(pays) != 1:
                continue
            info, _ = describe(market)
            payoff = found[0][1]
            note = Message(at, payoff.line, 0, None, {}, payoff.sha256)
            normaliser.settle(market, pays.pop(), info.end_ts, note)
            used.add(at)
    return used


# -- writing -------------------------------------------------------------------------------------


def _write(
    root: Path,
    name: str,
    normaliser: Normaliser,
    files: list[Path],
    forms: list[Counter[str]],
    used: set[int],
    identity: dict[str, Any],
    problems: tuple[str, ...],
) -> dict[str, Any]:
    with_trades = normaliser.files_with_trades
    file_of = np.array(normaliser.log.messages["file"], dtype=np.int64)
    events = normaliser.log.events()
    inferred = (events["kind"] == EventKind.TRADE) & (events["flags"] & Flag.INFERRED != 0)
    events = events[~(inferred & np.isin(file_of[events["ref"]], list(with_trades)))]
    events = events[np.argsort(events["ts_recv"], kind="stable")]
    events["seq"] = np.arange(len(events))
    findings = [f for f in normaliser.log.findings if f.kind is not Problem.TRADE_UNSIZED or f.file not in with_trades]
    described = [describe(market) for market in normaliser.registry.table]
    trades = events[events["kind"] == EventKind.TRADE]
    guessed = int(np.count_nonzero(trades["flags"] & Flag.INFERRED))
    labels = _labels(files)
    live = [at for at in range(len(files)) if at < len(forms) or at in used]
    kinds, counts = np.unique(events["kind"], return_counts=True)
    manifest: dict[str, Any] = {
        "recording": name,
        **identity,
        "sources": [
            {
                "file": labels[files[at]],
                "sha256": identity["inputs"][labels[files[at]]],
                "bytes": files[at].stat().st_size,
                "role": "recording" if at < len(forms) else "sidecar",
                "number": at,
                "lines": dict(sorted(forms[at].items())) if at < len(forms) else {},
            }
            for at in live
        ],
        "rows": len(events),
        "messages": len(file_of),
        "markets": len(described),
        "start": int(events["ts_recv"][0]),
        "end": int(events["ts_recv"][-1]),
        "kinds": dict(sorted(normaliser.log.kinds.items())),
        "rows_by_kind": {EventKind(kind).name: int(count) for kind, count in zip(kinds, counts, strict=True)},
        "trades": {"recorded": len(trades) - guessed, "inferred": guessed},
        "best": {key: normaliser.best[key] for key in ("checked", "agreed")},
        "hashes": {key: normaliser.hashes[key] for key in ("verified", "mismatch", "unknown")},
        "quality": _quality_counts(findings),
        "problems": list(problems),
        "notes": _notes(normaliser, described, guessed, findings),
    }
    tables = {
        "messages": _messages_table(normaliser, events),
        "quality": _quality_table(findings, files),
        "markets": _markets_table(described),
    }
    return write_recording(root, name, events, tables, manifest)


def _messages_table(normaliser: Normaliser, events: np.ndarray) -> Any:
    import pyarrow as pa

    columns = normaliser.log.messages
    count = len(columns["kind"])
    n_rows = np.bincount(events["ref"], minlength=count)
    first = np.full(count, -1, dtype=np.int64)
    # Rows of a message stand together: walking backward leaves the first one's seq.
    first[events["ref"][::-1]] = events["seq"][::-1]
    types = {
        "file": pa.int32(),
        "line": pa.int64(),
        "part": pa.int32(),
        "sha256": pa.binary(32),
        "kind": pa.string(),
        "market": pa.int32(),
    }
    table = {"number": pa.array(np.arange(count), pa.int64())}
    table |= {name: pa.array(columns[name], types.get(name, pa.int64())) for name in MESSAGE_COLUMNS}
    return pa.table(table | {"first_seq": pa.array(first), "n_rows": pa.array(n_rows, pa.int32())})


def _quality_table(findings: list[Finding], files: list[Path]) -> Any:
    import pyarrow as pa

    types = {
        "line": pa.int64(),
        "market": pa.int32(),
        "message": pa.int64(),
        "ts_recv": pa.int64(),
        "value": pa.int64(),
    }
    columns = (
        dict(zip(Finding._fields, zip(*findings, strict=True), strict=True))
        if findings
        else dict.fromkeys(Finding._fields, ())
    )
    labels = _labels(files)
    columns["file"] = tuple(labels[files[at]] for at in columns["file"])
    columns["kind"] = tuple(str(kind) for kind in columns["kind"])
    return pa.table({name: pa.array(list(columns[name]), types.get(name, pa.string())) for name in Finding._fields})


def _markets_table(described: list[Any]) -> Any:
    import pyarrow as pa

    records = [market_record(info, source) for info, source in described]
    return pa.Table.from_pylist(records)


def _notes(normaliser: Normaliser, described: list[Any], guessed: int, findings: list[Finding]) -> list[str]:
    """What is inferred or assumed, as sentences a report can print."""
    notes = []
    markets = normaliser.registry.table
    if guessed:
        how = PROVEN if normaliser.hashes["verified"] > normaliser.hashes["unknown"] else UNPROVEN
        notes.append(
            f"The recording has no trade messages: its {guessed:,} trades are inferred "
            f"from the books pushed after them. {how}"
        )
    elif normaliser.files_with_trades:
        notes.append(
            "A trade's side is the venue's statement; checked against the chain elsewhere "
            "it was right in about 59 % of trades."
        )
    if unsized := sum(f.kind is Problem.TRADE_UNSIZED and f.file not in normaliser.files_with_trades for f in findings):
        notes.append(
            f"{unsized:,} more trades are proven by book hashes but left no trace of their size; they have no row."
        )
    if "none" in normaliser.clocks.values():
        notes.append("No receive time is recorded: the venue's time stands in for it, so no latency can be measured.")
    if "seconds" in normaliser.clocks.values():
        notes.append("Receive times have a resolution of one second; within it only the order of arrival is known.")
    if blind := sum(market.yes_assumed for market in markets):
        notes.append(
            f"Which token is YES is not recorded for {blind} of {len(markets)} markets: the first seen is taken as YES."
        )
    if settled := normaliser.log.kinds["inferred_payoff"]:
        notes.append(
            f"{settled} of {len(markets)} resolutions are inferred from the last recorded book: "
            "they are not official settlements."
        )
    if open_end := sum(not market.resolved for market in markets):
        notes.append(f"The payoff of {open_end} of {len(markets)} markets is not known: they have no resolution.")
    if unbased := sum(not market.snapshot for market in markets):
        notes.append(
            f"{unbased} of {len(markets)} markets have no full book: levels older than the recording are missing."
        )
    assumed: dict[int, list[str]] = {}
    for rule, count in sorted(Counter(rule for info, _ in described for rule in info.assumed).items()):
        if rule == "end_ts":
            notes.append(f"The end of {count} of {len(markets)} markets is not known.")
        elif rule != "yes_token":
            assumed.setdefault(count, []).append(rule)
    for count, names in sorted(assumed.items()):
        notes.append(
            f"Not recorded for {count} of {len(markets)} markets, "
            f"assumed by the venue's usual rule at that date: {', '.join(names)}."
        )
    return notes
