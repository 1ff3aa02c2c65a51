"""Replay: derive every decision of a run again, from its log alone, and compare row for row.

The log holds the events exactly as the step took them in, our own acks and fills among them, and
the manifest the configuration; no venue, catalog or network takes part. What it came to is a `ReplayReport`, kept
beside the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from polytraders import rows, units
from polytraders.contracts import BotParity, Mismatch, ReplayReport, canonical_json, derived_id, number_text
from polytraders.engine.backtest import Collected, Simulation, feed, flush
from polytraders.engine.jit import source_hash
from polytraders.engine.setup import RUNTIME, new_state
from polytraders.reasons import Code, by_number
from polytraders.run.pipeline import pipeline_from_manifest
from polytraders.store.log import DTYPES, RecordKind, RunLog, read_log, read_tail

FILE = "replay.json"
"""The `ReplayReport` of the last replay, in the run's folder."""


@dataclass(frozen=True)
class ReplayResult:
    """How far a replay agrees with its run.

    parity: rows that agree / rows there are, over decisions, actions and samples (0 ... 1).
    per_bot: bot id -> parity of its decision rows; whether its rolling hash over all decisions,
    written or not, agrees is in `hashes`. first_mismatch: the first row that differs, None at 1.
    report: the same as a `ReplayReport` document.
    """

    run_id: str
    parity: float
    per_bot: dict[str, float]
    hashes: dict[str, bool]
    counts: dict[str, int]
    first_mismatch: dict[str, Any] | None
    same_source: bool
    seconds: float
    report: dict[str, Any]

    @property
    def ok(self) -> bool:
        """True when every row and every rolling hash agrees."""
        return self.parity == 1.0 and all(self.hashes.values())

    def as_dict(self) -> dict[str, Any]:
        """All of it but the report, whose id and time are its own."""
        return {name: value for name, value in asdict(self).items() if name != "report"} | {"ok": self.ok}


@dataclass(frozen=True)
class Rederived:
    """What a log holds, and what its events give again."""

    logged: dict[RecordKind, np.ndarray]
    made: dict[str, np.ndarray]  # decisions, actions, samples
    run: Simulation
    notes: list[Any]


def replay(run_dir: Path, progress: Callable[[int, int], None] | None = None) -> ReplayResult:
    """Replay the run in `run_dir`. Raises DamageError for a damaged log, UsageError when its bots are gone."""
    log = read_log(run_dir)
    return judge(log, rederive(log, progress))


def rederive(log: RunLog, progress: Callable[[int, int], None] | None = None) -> Rederived:
    """Feed a log's events to the step once more, from its manifest alone. Raises as `replay`."""
    manifest = log.manifest
    logged, notes = _logged(log)
    pipeline = pipeline_from_manifest(manifest)
    infos = [SimpleNamespace(**market) for market in manifest["markets"]]
    state = new_state(infos, pipeline, **manifest["engine"])
    if manifest["models"].get("fees") == "none":
        state.markets["fee_rate"] = 0
    sink = Collected()
    run = feed(logged[RecordKind.EVENTS], state, pipeline, sink, progress)
    if _was_flushed(log):
        flush(state, sink)
    return Rederived(logged, {kind: sink.rows(kind) for kind in ("decisions", "actions", "samples")}, run, notes)


def judge(log: RunLog, again: Rederived) -> ReplayResult:
    """Hold what a log's events give again against what it says."""
    manifest, bots = log.manifest, again.run.state.bots
    names = [*pipeline_from_manifest(manifest).ids]
    pairs = {
        "decisions": (again.logged[RecordKind.DECISIONS], again.made["decisions"]),
        "actions": (again.logged[RecordKind.ACTIONS], again.made["actions"]),
        "samples": (again.logged[RecordKind.SAMPLES], again.made["samples"]),
    }
    agree, total, first = 0, 0, None
    for kind, (logged, made) in pairs.items():
        same = agreement(logged, made)
        agree, total = agree + int(same.sum()), total + len(same)
        if first is None and not same.all():
            first = first_difference(kind, int(np.argmin(same)), logged, made, names)
    said = (log.summary or {}).get("bots", {})
    hashes = {
        name: said.get(name, {}).get("hash") == f"{int(row.hash) & (1 << 64) - 1:016x}"
        for name, row in zip(names, bots, strict=True)
    }
    hashes = hashes if log.summary else {}
    per_bot = {
        name: agreement(*(table[table["bot"] == i] if len(table) else table for table in pairs["decisions"]))
        for i, name in enumerate(names)
    }
    return ReplayResult(
        run_id=manifest["run_id"],
        parity=agree / total if total else 1.0,
        per_bot={name: float(same.mean()) if len(same) else 1.0 for name, same in per_bot.items()},
        hashes=hashes,
        counts={kind: len(logged) for kind, (logged, _) in pairs.items()} | {"events": again.run.events},
        first_mismatch=first,
        same_source=manifest["source_hash"] == source_hash(),
        seconds=again.run.seconds,
        report=_report(manifest, again.logged[RecordKind.EVENTS], agree, total, per_bot, hashes, first),
    )


def keep(run_dir: Path, result: ReplayResult) -> Path:
    """Put the report of a replay beside the run's log, in place of the one before. Returns its path."""
    path = Path(run_dir) / FILE
    part = path.with_suffix(".part")
    part.write_bytes(canonical_json(result.report) + b"\n")
    return part.replace(path)


def _report(
    manifest: dict[str, Any],
    events: np.ndarray,
    agree: int,
    total: int,
    per_bot: dict[str, np.ndarray],
    hashes: dict[str, bool],
    first: dict[str, Any] | None,
) -> dict[str, Any]:
    """The `ReplayReport` of a replay. Without a summary there are no hashes, and the rows alone say what is equal."""
    bots = [
        BotParity(
            bot_id=name, rows=len(same), equal=int(same.sum()), hash_equal=hashes.get(name, bool(same.all())),
        )
        for name, same in per_bot.items()
    ]  # fmt: skip
    clean, now = agree == total and all(bot.hash_equal for bot in bots), time.time_ns()
    run_source, replay_source = manifest["source_hash"], source_hash()
    begin, end = (int(events["ts_recv"][at]) for at in (0, -1)) if len(events) else (0, 0)
    return ReplayReport(
        ts=units.iso_utc(now),
        ts_ns=now,
        replay_id=derived_id("RPL", manifest["run_id"], now).replace("_", "-"),
        run_id=manifest["run_id"],
        run_mode=manifest["run_mode"],
        strategy_id=manifest["strategy"],
        period_start=units.iso_utc(begin),
        period_end=units.iso_utc(end),
        events=len(events),
        rows=total,
        equal=agree,
        parity=number_text(Decimal(10**9 * agree // total) / 10**9) if total else "1",
        bots=bots,
        first_mismatch=None
        if first is None
        else Mismatch(
            kind=first["kind"], row=first["row"], seq=first["seq"], bot_id=first.get("bot"), fields=[*first["fields"]],
        ),
        run_source=run_source,
        replay_source=replay_source,
        verdict="parity_clean" if clean else "parity_diverged" if run_source == replay_source else "model_drift",
        reason_code=Code.GOV_REPLAY_MATCH.name if clean else Code.GOV_REPLAY_MISMATCH.name,
    ).document()  # fmt: skip


def _logged(log: RunLog) -> tuple[dict[RecordKind, np.ndarray], list[Any]]:
    """(all rows by kind, notes); of a live run that goes on, or was cut off, what its whole batches hold."""
    whole = log.summary is not None or log.manifest["run_mode"] == "backtest"
    records = list(log.walk() if whole else read_tail(log.folder).records)
    parts = {kind: [r.rows for r in records if r.kind is kind] for kind in DTYPES}
    rows = {kind: np.concatenate(found) if found else np.zeros(0, DTYPES[kind]) for kind, found in parts.items()}
    return rows, [r.note for r in records if r.kind is RecordKind.NOTE]


def _was_flushed(log: RunLog) -> bool:
    """Whether the log ends with the run-length counts that were open. One that can be continued leaves them open."""
    return (log.summary or {}).get("flushed", log.manifest["run_mode"] == "backtest")


def _bytes(table: np.ndarray) -> np.ndarray:
    """uint8[n, itemsize] of a row table."""
    return np.ascontiguousarray(table).view(np.uint8).reshape(len(table), -1)


def agreement(logged: np.ndarray, again: np.ndarray) -> np.ndarray:
    """bool[max(n, m)]: row k stands in both and is the same to the byte."""
    n = min(len(logged), len(again))
    same = np.zeros(max(len(logged), len(again)), bool)
    if n:
        same[:n] = (_bytes(logged[:n]) == _bytes(again[:n])).all(axis=1)
    return same


def first_difference(kind: str, at: int, logged: np.ndarray, again: np.ndarray, names: list[str]) -> dict[str, Any]:
    """The first row that differs, with the fields that do, as plain data."""
    a = logged[at] if at < len(logged) else None
    b = again[at] if at < len(again) else None
    present = a if a is not None else b
    fields = [f for f in present.dtype.names if f != "pad" and (a is None or b is None or a[f] != b[f])]
    found: dict[str, Any] = {"kind": kind, "row": at, "seq": int(present["seq"]), "fields": {}}
    if kind == "decisions":
        found["bot"] = names[int(present["bot"])] if int(present["bot"]) < len(names) else RUNTIME
    for field in fields:
        found["fields"][field] = [_show(field, row) for row in (a, b)]
    return found


def _show(field: str, row: np.void | None) -> Any:
    if row is None:
        return None
    value = int(row[field])
    if field == "code" and value:
        return by_number(value).name
    return rows.Verdict(value).name if field == "verdict" else value
