"""The other side of a comparison: a backtest of what the run heard, or of a recording of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from polytraders.engine.backtest import Collected, Simulation, simulate
from polytraders.engine.setup import Pipeline
from polytraders.errors import UsageError
from polytraders.rows import EventKind, Gate
from polytraders.run.lives import Life
from polytraders.units import iso_utc

TAPE = tuple(
    EventKind[name]
    for name in (
        *("BOOK_CLEAR", "LEVEL", "CHANGE", "TRADE", "TICK_SIZE", "STATUS", "RESOLUTION", "CLOCK"),
        *("FEED_UP", "FEED_DOWN", "FEES", "TAKER_DELAY", "FLAGS"),
    )
)
"""Rows that speak of the market and not of the run."""


@dataclass(frozen=True)
class Done:
    """What one of the two did."""

    events: np.ndarray
    decisions: np.ndarray
    actions: np.ndarray
    simulation: Simulation
    orders: dict[int, Life]


def tape_of(events: np.ndarray, pipeline: Pipeline, bots: list[dict[str, Any]]) -> np.ndarray:
    """EVENT[n]: what a run heard that is not about itself."""
    mine = np.isin(events["kind"], TAPE)
    mine |= (events["kind"] == EventKind.SIGNAL) & (events["aux"] >= 0)
    mine |= measured(events, bots)
    tape = events[mine].copy()
    tape["seq"] = np.arange(len(tape))
    return tape


def measured(events: np.ndarray, bots: list[dict[str, Any]]) -> np.ndarray:
    """bool[n]: CONFIG rows of a slot that is no parameter: what the run measured for a bot, not what a person set."""
    config = events["kind"] == EventKind.CONFIG
    declared = np.array([len(bot["params"]) for bot in bots], np.int64)
    bot = np.clip(events["aux"], 0, len(declared) - 1)
    return config & (events["price"] >= declared[bot])


def recorded(name: str, manifest: dict[str, Any], heard: np.ndarray) -> np.ndarray:
    """The rows of a recording for the run's markets and time, as rows of the run."""
    from polytraders.data.catalog import Catalog

    wanted = [market["condition_id"] for market in manifest["markets"]]
    first, last = int(heard["ts_recv"][0]), int(heard["ts_recv"][-1])
    session = Catalog().load(name, markets=wanted, start=first, end=last + 1)
    if not (session.events["ts_recv"] >= first).any():  # what stood in the books before is no event
        raise UsageError(
            f"{name} holds nothing of the time of {manifest['run_id']}", where="--recording",
            rule=f"the run heard its markets from {iso_utc(first)[:19]}Z to {iso_utc(last)[:19]}Z",
            mend="polytraders data ls says what the recordings hold",
        )  # fmt: skip
    place = {condition: at for at, condition in enumerate(wanted)}
    number = np.array([place[info.condition_id] for info in session.markets] + [-1], np.int32)
    tape = np.array(session.events)
    tape["market"] = number[tape["market"]]
    measured = heard[~np.isin(heard["kind"], TAPE)]
    tape = np.concatenate([tape, measured])
    tape = tape[np.argsort(tape["ts_recv"], kind="stable")]
    tape["seq"] = np.arange(len(tape))
    return tape


def backtest_of(tape: np.ndarray, manifest: dict[str, Any], pipeline: Pipeline) -> tuple[Done, dict[str, Any]]:
    """What the run's bots and configuration make of a tape at the simulated venue with nobody to ask, and the models of
    that venue."""
    from polytraders.config import settings_from
    from polytraders.run.backtest import venue_model

    settings = settings_from(manifest["config"], f"{manifest['run_id']}/manifest.json")
    venue, sink = venue_model(settings), Collected()
    infos = [SimpleNamespace(**market) for market in manifest["markets"]]
    options = {**manifest["engine"], "gate": int(Gate.OPEN)}
    simulation = simulate(
        tape, infos, pipeline, name=manifest["run_id"], venue=venue, sink=sink, keep_events=True, **options
    )
    events, decisions, actions = (_typed(sink.rows(kind)) for kind in ("events", "decisions", "actions"))
    last = int(tape["ts_recv"][-1])
    if len(decisions):
        decisions = decisions[decisions["ts"] <= last]  # the rest are counts that a live log leaves open
    return Done(events, decisions, actions, simulation, {}), venue.names()


def _typed(table: np.ndarray) -> np.ndarray:
    """The rows without the record class that the kernels' buffers have."""
    return table if table.dtype.names is None else table.view(np.ndarray).view(np.dtype(table.dtype.descr))
