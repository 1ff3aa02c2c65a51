"""Take a run over: the newest snapshot that fits its log, then the log behind it, fed to the step again.

What the step makes of the log's events must be what the log says it made, byte for byte: a run is never continued by
a program that would have decided otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from polytraders.data.markets import MarketInfo
from polytraders.engine.jit import source_hash
from polytraders.engine.live import Step
from polytraders.engine.setup import Pipeline, new_state
from polytraders.errors import DamageError, UsageError
from polytraders.rows import EVENT
from polytraders.run.orders import Orders
from polytraders.run.pipeline import pipeline_from_manifest
from polytraders.run.snapshot import VENUE, read_snapshot, snapshots
from polytraders.store.frozen import layout_of, thaw
from polytraders.store.log import DTYPES, Position, Record, RecordKind, Tail, read_tail
from polytraders.venue.port import Frozen


@dataclass(frozen=True)
class Resident:
    """What the log has of a venue that lived in the run's process (`SimulatedPort.take_up`)."""

    frozen: Frozen | None  # as it was at the snapshot, None = from the run's begin on
    batches: tuple[tuple[np.ndarray, dict[str, Any]], ...]  # since then: EVENT[k] and the note of each


NO_ROWS = np.zeros(0, EVENT)


@dataclass(frozen=True)
class Taken:
    """A run as its log leaves it, ready to go on."""

    manifest: dict[str, Any]
    pipeline: Pipeline
    step: Step
    orders: Orders
    notes: dict[str, Any]  # what the runner last noted under each of its names
    end: Position  # where the log goes on
    torn: dict[str, Any] | None
    snapshot: int  # seq of the snapshot it began from, 0 = none
    replayed: int  # events fed on top
    seconds: float
    resident: Resident | None = None


def market_infos(manifest: dict[str, Any]) -> list[MarketInfo]:
    """The markets of a run, as its manifest keeps them."""
    return [MarketInfo(**{**market, "assumed": tuple(market["assumed"])}) for market in manifest["markets"]]


def fresh_step(manifest: dict[str, Any], pipeline: Pipeline) -> Step:
    """The step of a run before its first event."""
    infos = market_infos(manifest)
    state = new_state(infos, pipeline, **manifest["engine"])
    if manifest["models"].get("fees") == "none":
        state.markets["fee_rate"] = 0
    return Step(state, pipeline, infos)


def take_over(folder: Path) -> Taken:
    """Rebuild a run from its folder; nothing is written.

    Raises UsageError when there is no run, or one of other kernels than this program's; DamageError when the log is
    damaged or does not say what its own events lead to.
    """
    began = time.perf_counter()
    manifest = _manifest(folder)
    if manifest["source_hash"] != source_hash():
        commit = (manifest.get("git") or {}).get("commit") or "the commit of the run"
        raise UsageError(
            "the run was begun by a program with other kernels",
            where=str(folder),
            rule="a run is continued by the code that began it: else its log would not replay",
            mend=f"check out {commit}, or begin a new run",
        )
    pipeline = pipeline_from_manifest(manifest)
    step = fresh_step(manifest, pipeline)
    orders, notes, seq, tail, frozen = Orders(), {}, 0, None, None
    for path in snapshots(folder):
        found = read_snapshot(path)
        if found is None or {k: v for k, v in found.layout.items() if k[: len(VENUE)] != VENUE} != layout_of(
            step.state
        ):
            continue
        try:
            tail = read_tail(folder, found.position)
        except DamageError:  # it belongs to a log that was cut off since, or to another
            continue
        thaw(step.state, found.arrays)
        orders, notes, seq = Orders.from_data(found.books["orders"]), found.books["notes"], found.seq
        if "venue" in found.books:
            arrays = {k.removeprefix(VENUE): v for k, v in found.arrays.items() if k.startswith(VENUE)}
            layout = {k.removeprefix(VENUE): v for k, v in found.layout.items() if k.startswith(VENUE)}
            frozen = Frozen(found.books["venue"], layout, arrays)
        break
    tail = tail or read_tail(folder)
    replayed = _feed_again(folder, step, tail, orders, notes)
    resident = None
    if manifest["run_mode"] == "paper":
        told = ((b.get(RecordKind.EVENTS, NO_ROWS), b.get(RecordKind.NOTE) or {}) for b in batches(tail.records))
        resident = Resident(frozen, tuple(told))
    seconds = time.perf_counter() - began
    return Taken(manifest, pipeline, step, orders, notes, tail.end, tail.torn, seq, replayed, seconds, resident)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise UsageError("there is no run here", where=str(folder), mend="check the id")
    try:
        return orjson.loads(path.read_bytes())
    except ValueError as error:
        raise DamageError(f"is not JSON: {error}", where=str(path), mend="restore it from a copy") from None


def batches(records: Sequence[Record]) -> Iterator[dict[RecordKind, Any]]:
    """The records of each batch by kind: rows, or the note."""
    batch: dict[RecordKind, Any] = {}
    for record in records:
        batch[record.kind] = record.note if record.rows is None else record.rows
        if not record.more:
            yield batch
            batch = {}


def note_names(note: dict[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    """(order number -> digest, event seq -> the venue's key) of a batch's note."""
    return dict(note.get("orders", ())), dict(note.get("keys", ()))


def _feed_again(folder: Path, step: Step, tail: Tail, orders: Orders, notes: dict[str, Any]) -> int:
    logged = {kind: [] for kind in DTYPES}
    for record in tail.records:
        if record.rows is not None:
            logged[record.kind].append(record.rows)
    joined = {k: np.concatenate(parts) if parts else np.zeros(0, DTYPES[k]) for k, parts in logged.items()}
    events = joined[RecordKind.EVENTS].copy()
    made = step.run(events)
    for kind, rows in (
        (RecordKind.DECISIONS, made.decisions),
        (RecordKind.ACTIONS, made.actions),
        (RecordKind.SAMPLES, made.samples),
    ):
        if rows.tobytes() != joined[kind].tobytes():
            raise DamageError(
                f"the {kind.name.lower()} of its last {len(events)} events are not what the step makes of them",
                where=str(folder),
                rule="a run is continued only by what decides as it did",
                mend="`polytraders replay` names the first row that differs",
            )
    for batch in batches(tail.records):
        note = batch.get(RecordKind.NOTE) or {}
        digests, keys = note_names(note)
        rows = batch.get(RecordKind.EVENTS)
        if rows is not None:
            orders.heard(rows, [keys.get(int(seq), "") for seq in rows["seq"]])
        if RecordKind.ACTIONS in batch:
            orders.sent(batch[RecordKind.ACTIONS], digests)
        notes.update(note.get("state", {}))
    return len(events)
