"""Drive the step over a stream: through the simulated venue (`simulate`) or alone (`feed`).

Both hand the rows they produce to a sink, chunk by chunk, and know nothing of files; a run with a
log, a manifest and a summary is `polytraders.run.backtest`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from polytraders.engine import loop
from polytraders.engine.jit import JIT
from polytraders.engine.ledger import identity_gap
from polytraders.engine.loop import CURSOR_CELLS, DONE, LOCAL, LOGGED, SENT
from polytraders.engine.matching import Venue, new_venue
from polytraders.engine.setup import MarketLike, Pipeline, check_events, new_state
from polytraders.engine.state import State, as_rows, records
from polytraders.engine.step import N_ACTIONS, N_DECISIONS, N_SAMPLES, Out, new_out
from polytraders.rows import EVENT, EventKind, Flag

CHUNK = 1 << 15
"""Event rows between two visits of the driver."""
BUFFERS = 3
"""Sets of buffers: one being filled while the sink still writes the others."""


@dataclass(frozen=True)
class VenueModel:
    """The simulated venue's models; each is named on every result."""

    entry_latency: int = 50_000_000  # ns
    response_latency: int = 50_000_000  # ns
    queue_model: str = "risk_averse"
    queue_power: int = 3
    partial_fills: bool = True
    fees: bool = True

    def names(self) -> dict[str, str]:
        """Model by role, as words for people."""
        queue = self.queue_model + (f"({self.queue_power})" if self.queue_model == "power_prob" else "")
        return {
            "queue": queue,
            "latency": f"constant(entry {self.entry_latency / 1e6:g} ms, response {self.response_latency / 1e6:g} ms)",
            "fills": "partial" if self.partial_fills else "whole",
            "fees": "market schedule" if self.fees else "none",
            "liquidity": "recorded book, not consumed by our fills",
            "settlement": "at match",
        }


class Sink(Protocol):
    """Where rows go. `put` may keep the array: it must return something whose `wait()` says that it is free again."""

    def put(self, kind: str, rows: np.ndarray) -> Any: ...


@dataclass
class Collected:
    """A sink that keeps copies: for tests, notebooks and short runs."""

    parts: dict[str, list[np.ndarray]] = field(
        default_factory=lambda: {"events": [], "decisions": [], "actions": [], "samples": []}
    )

    def put(self, kind: str, rows: np.ndarray) -> None:
        self.parts[kind].append(rows.copy())

    def rows(self, kind: str) -> np.ndarray:
        parts = self.parts[kind]
        return np.concatenate(parts) if parts else np.zeros(0)


@dataclass(frozen=True)
class Simulation:
    """What a pass over a stream left behind."""

    state: State
    venue: Venue | None
    events: int  # rows consumed, ours included
    seconds: float  # wall time of the loop, without compilation and the look at the stream before it

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds if self.seconds else 0.0


class _Drain:
    """Output buffers in rotation: filled by a kernel, handed to the sink, reused when the sink is done."""

    def __init__(self, sink: Sink | None, keep_events: bool, rows: int = CHUNK // 2):
        self.sink = sink
        self.log_rows = CHUNK if sink is not None and keep_events else 0
        self.sets = [(new_out(rows), records(EVENT, self.log_rows)) for _ in range(BUFFERS if sink else 1)]
        self.busy: list[list[Any]] = [[] for _ in self.sets]
        self.at = 0

    def take(self) -> tuple[Out, np.ndarray]:
        """The next free set, its counts at zero."""
        for ticket in self.busy[self.at]:
            if ticket is not None:
                ticket.wait()
        self.busy[self.at] = []
        out, log = self.sets[self.at]
        out.count[:] = 0
        return out, log

    def hand_over(self, logged: int) -> None:
        """Give what stands in the current set to the sink and move on."""
        out, log = self.sets[self.at]
        if self.sink is not None:
            for kind, rows in (
                ("events", log[:logged]),
                ("decisions", out.decisions[: out.count[N_DECISIONS]]),
                ("actions", out.actions[: out.count[N_ACTIONS]]),
                ("samples", out.samples[: out.count[N_SAMPLES]]),
            ):
                if len(rows):
                    self.busy[self.at].append(self.sink.put(kind, rows))
        self.at = (self.at + 1) % len(self.sets)


def closing_row(state: State) -> np.ndarray:
    """EVENT[1]: a clock row just behind the last event, so that a replay runs the decision times up to it."""
    row = records(EVENT, 1)
    row["ts_recv"] = row["ts_event"] = state.clock[0].now + 1
    row["kind"], row["market"], row["flags"] = EventKind.CLOCK, -1, Flag.LAST
    row["seq"] = state.clock[0].seq + 1
    return row


def simulate(
    events: np.ndarray,
    infos: Sequence[MarketLike],
    pipeline: Pipeline,
    *,
    cash: int,
    interval: int,
    venue: VenueModel = VenueModel(),
    sample_interval: int = 1_000_000_000,
    rejudge: int = 0,
    full_panel: bool = False,
    sink: Sink | None = None,
    keep_events: bool = True,
    progress: Callable[[int, int], None] | None = None,
    name: str = "events",
) -> Simulation:
    """Backtest a pipeline on a stream.

    Parameters
    ----------
    events: EVENT[n] ordered by (ts_recv, seq); `market` indexes `infos`.
    cash: micro-pUSD at the start. interval: ns between decision times, 0 = every message.
    rejudge: ns after which a quote that stays is put to risk again, 0 = at every decision.
    sink: takes the rows produced; without one nothing is kept but the final state (sweeps).
    keep_events: False leaves the consumed event rows out of what goes to the sink.
    progress: called with (events done, events in all) after each chunk.

    Raises DataError when the stream is not one (see `check_events`), RuntimeError when the books do not balance.
    """
    check_events(events, infos, name)
    if not len(events):
        raise ValueError("a backtest needs at least one event")
    state = new_state(
        infos,
        pipeline,
        cash=cash,
        interval=interval,
        sample_interval=sample_interval,
        rejudge=rejudge,
        full_panel=full_panel,
    )
    if not venue.fees:
        state.markets["fee_rate"] = 0
    simulated = new_venue(
        state.markets,
        len(state.book),
        cash,
        entry_latency=venue.entry_latency,
        response_latency=venue.response_latency,
        queue_model=venue.queue_model,
        power=venue.queue_power,
        partial_fills=venue.partial_fills,
    )
    kernels, run = pipeline.kernels(), loop.compiled("backtest")
    drain, cursor = _Drain(sink, keep_events), np.zeros(CURSOR_CELLS, np.int64)
    events = _plain(events)
    loop.compiled("flush_repeats")
    times, order = loop.venue_schedule(events, len(infos))
    began = time.perf_counter()
    with np.errstate(over="ignore"):  # the rolling hashes wrap by design
        while not cursor[DONE]:
            out, log = drain.take()
            cursor[LOGGED] = cursor[SENT] = 0
            run(state, simulated, kernels, events, times, order, cursor, out, log)
            drain.hand_over(int(cursor[LOGGED]))
            if progress:
                progress(int(cursor[LOCAL]), len(events))
        if cursor[DONE] == 2:
            raise RuntimeError(
                "more orders in flight than the venue's queue holds; the latencies are too long for this pace"
            )
        _close(state, drain, keep_events)
    seconds = time.perf_counter() - began
    _assert_balanced(state)
    return Simulation(state, simulated, int(state.clock[0].seq), seconds)


def feed(
    events: np.ndarray,
    state: State,
    pipeline: Pipeline,
    sink: Sink | None,
    progress: Callable[[int, int], None] | None = None,
    rows: int = CHUNK // 2,
) -> Simulation:
    """Feed recorded rows to the step alone: replay, and every live mode. The state goes on from where it is.

    rows: size of the output buffers; small ones for a few events at a time.
    """
    kernels, run = pipeline.kernels(), loop.compiled("feed")
    drain, cursor = _Drain(sink, keep_events=False, rows=rows), np.zeros(CURSOR_CELLS, np.int64)
    events = _plain(events)
    began = time.perf_counter()
    with np.errstate(over="ignore"):
        while not cursor[DONE]:
            out, _log = drain.take()
            run(state, kernels, events, cursor, out)
            drain.hand_over(0)
            if progress:
                progress(int(cursor[LOCAL]), len(events))
    return Simulation(state, None, len(events), time.perf_counter() - began)


def flush(state: State, sink: Sink | None) -> None:
    """Write the run-length counts that are still open at the end of a run."""
    drain, done = _Drain(sink, keep_events=False), False
    while not done:
        out, _ = drain.take()
        done = loop.compiled("flush_repeats")(state, out)
        drain.hand_over(0)


def _close(state: State, drain: _Drain, keep_events: bool) -> None:
    last = closing_row(state)
    state.clock[0].now, state.clock[0].seq = last["ts_recv"][0], last["seq"][0]
    if drain.sink is not None and keep_events:
        drain.sink.put("events", last)
    flush(state, drain.sink)


def _plain(events: np.ndarray) -> np.ndarray:
    """The rows as the kernels want them: record access in plain Python, the bare struct for numba."""
    events = np.ascontiguousarray(events)
    return events if JIT else as_rows(events)


def _assert_balanced(state: State) -> None:
    gap = identity_gap(state.account[0])
    if gap:
        raise RuntimeError(f"the books do not balance: {gap} micro-pUSD; this is a bug, do not trust the run")
