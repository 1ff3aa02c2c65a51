"""Drive the step over a stream: through the simulated venue (`simulate`) or alone (`feed`).

Both hand the rows they produce to a sink, chunk by chunk, and know nothing of files; a run with a
log, a manifest and a summary is `polytraders.run.backtest`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from polytraders.engine import loop
from polytraders.engine.jit import JIT
from polytraders.engine.latency import Latency
from polytraders.engine.ledger import identity_gap
from polytraders.engine.loop import ANSWERED, CURSOR_CELLS, DONE, LOCAL, LOGGED, SENT
from polytraders.engine.matching import QUEUE_MODELS, Venue, new_venue
from polytraders.engine.prints import pair_prints, venue_order
from polytraders.engine.setup import INTENT_TTL, TOLERANCE, MarketLike, Pipeline, check_events, new_state
from polytraders.engine.state import MANY, State, as_rows, records
from polytraders.engine.step import N_ACTIONS, N_DECISIONS, N_SAMPLES, Out, new_out
from polytraders.rows import ACTION, DECISION, EVENT, SAMPLE, EventKind, Flag, Gate

CHUNK = 1 << 17
"""Event rows between two visits of the driver."""
ROWS_OF = {"events": EVENT, "decisions": DECISION, "actions": ACTION, "samples": SAMPLE}
"""What a sink is given, by kind."""
BUFFERS = 3
"""Sets of buffers: one being filled while the sink still writes the others."""


@dataclass(frozen=True)
class VenueModel:
    """The simulated venue's models; each is named on every result."""

    entry_latency: int | Latency = 50_000_000  # ns, or a table of them: see engine.latency
    response_latency: int | Latency = 50_000_000
    queue_model: str = "risk_averse"  # or power_prob, log_prob
    queue_power: int = 3
    trade_share: int = 0  # ppm of a loss of depth without a print that counts as trades
    partial_fills: bool = True
    fees: bool = True
    redemption_delay: int = 0  # ns from a resolution until what it pays can be spent
    liquidity: str = "consumed"  # or recorded: what our takers took is there again at once
    taker_delay: str = "market"  # or none: crossing orders are matched on arrival everywhere
    settlement_delay: int = 0  # ns from a match to its confirmation
    ghost_rate: int = 0  # ppm of fills that the chain refuses
    ghost_seed: int = 0
    print_lag: int = 0  # ns a print may come after the loss of depth it made: see engine.prints

    def names(self) -> dict[str, str]:
        """Model by role, as words for people."""
        queue = self.queue_model + (f"({self.queue_power})" if self.queue_model == "power_prob" else "")
        if self.trade_share:
            queue += f", {self.trade_share / 1e4:g} % of depth lost without a print is trades"
        entry, response = self.entry_latency, self.response_latency
        if isinstance(entry, int) and isinstance(response, int):
            latency = f"constant(entry {entry / 1e6:g} ms, response {response / 1e6:g} ms)"
        else:
            latency = f"entry {_latency_name(entry)}, response {_latency_name(response)}"
        settlement = "at match"
        if self.settlement_delay or self.ghost_rate:
            settlement = f"provisional for {self.settlement_delay / 1e6:g} ms, then {self.ghost_rate} ppm voided"
            settlement += f" (seed {self.ghost_seed})" if self.ghost_rate else ""
        if self.print_lag:
            queue += f"; prints up to {self.print_lag / 1e6:g} ms after their loss of depth come before it"
        return {
            "queue": queue,
            "latency": latency,
            "fills": "partial" if self.partial_fills else "whole",
            "fees": "market schedule" if self.fees else "none",
            "liquidity": {
                "consumed": "recorded book, less what our takers took until the level changes",
                "recorded": "recorded book, not consumed by our fills",
            }[self.liquidity],
            "taker_delay": {"market": "of each market and date", "none": "none"}[self.taker_delay],
            "orders": "venue rules of 2026: GTD lead 180 s and early end 60 s, 1 pUSD to take, decimals of FOK and FAK",
            "settlement": settlement,
            "redemption": f"{self.redemption_delay / 1e9:g} s after resolution" if self.redemption_delay else "at once",
        }

    def __post_init__(self) -> None:
        """Refuse a model that is none. Raises ValueError."""
        for name, known in (
            ("queue_model", tuple(QUEUE_MODELS)),
            ("liquidity", ("consumed", "recorded")),
            ("taker_delay", ("market", "none")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(known)}")
        for name in ("trade_share", "ghost_rate"):
            if not 0 <= getattr(self, name) <= 1_000_000:
                raise ValueError(f"{name} is {getattr(self, name)}, not between 0 and 1000000 ppm")


def _latency_table(latency: int | Latency) -> int | np.ndarray:
    return latency.table if isinstance(latency, Latency) else latency


def _latency_name(latency: int | Latency) -> str:
    return latency.name if isinstance(latency, Latency) else f"constant {latency / 1e6:g} ms"


class Sink(Protocol):
    """Where rows go. `put` may keep the array: it must return something whose `wait()` says that it is free again.

    A sink with a thread of its own may also have `put_made(kind, make)`: it calls `make` there, once, for rows (at
    least one) that stay as they are until it calls the next. It returns the same as `put`.
    """

    def put(self, kind: str, rows: np.ndarray) -> Any: ...


@dataclass
class Collected:
    """A sink that keeps copies: for tests, notebooks and short runs."""

    parts: dict[str, list[np.ndarray]] = field(default_factory=lambda: {kind: [] for kind in ROWS_OF})

    def put(self, kind: str, rows: np.ndarray) -> None:
        self.parts[kind].append(rows.copy())

    def rows(self, kind: str) -> np.ndarray:
        parts = self.parts[kind]
        return np.concatenate(parts) if parts else np.zeros(0, ROWS_OF[kind])


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
        self.put_made = getattr(sink, "put_made", None)
        self.merged = records(EVENT, self.log_rows if self.put_made else 0)
        self.merge = loop.compiled("merge_rows") if self.log_rows else None

    def take(self) -> tuple[Out, np.ndarray]:
        """The next free set, its counts at zero."""
        for ticket in self.busy[self.at]:
            if ticket is not None:
                ticket.wait()
        self.busy[self.at] = []
        out, log = self.sets[self.at]
        out.count[:] = 0
        return out, log

    def put_events(self, tape: np.ndarray, answered: int, seq: int) -> None:
        """Give the sink the rows that were consumed behind the first `seq` of the run: those of the tape and the
        answers that stand in the current set, in their order. It takes as long as a tenth of the loop, so whoever can
        puts them together in its own thread."""
        count, answers = len(tape) + answered, self.sets[self.at][1][:answered]
        if not count or not self.log_rows:
            return
        if self.put_made:
            ticket = self.put_made("events", partial(self._merged, tape, answers, seq, self.merged[:count]))
        else:
            ticket = self.sink.put("events", self._merged(tape, answers, seq, records(EVENT, count)))
        self.busy[self.at].append(ticket)

    def _merged(self, tape: np.ndarray, answers: np.ndarray, seq: int, rows: np.ndarray) -> np.ndarray:
        self.merge(tape, answers, seq, rows)
        return rows

    def hand_over(self) -> None:
        """Give what was decided and stands in the current set to the sink and move on."""
        out, _ = self.sets[self.at]
        if self.sink is not None:
            for kind, rows in (
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


@dataclass(frozen=True)
class Prepared:
    """A stream that was checked and put in the venue's order once, for any number of runs on it.

    The arrays may be memory maps that several processes share: no run writes to them.
    """

    events: np.ndarray  # EVENT[n] by receive time
    infos: tuple[MarketLike, ...]
    times: np.ndarray  # int64[n], ns, venue time of the k-th event in venue order
    order: np.ndarray  # int64[n] that order, empty when it is the receive order
    fees: bool  # what of the venue's models is in it, see `VenueModel`
    redemption_delay: int  # ns
    print_lag: int = 0  # ns


def prepare(
    events: np.ndarray, infos: Sequence[MarketLike], name: str = "events", venue: VenueModel = VenueModel()
) -> Prepared:
    """Check a stream and put it in the venue's order.

    events: EVENT[n] ordered by (ts_recv, seq); `market` indexes `infos`. venue: whether it charges fees and when it
    redeems are part of the stream.
    Raises DataError when the stream is not one (see `check_events`), ValueError when it is empty.
    """
    check_events(events, infos, name)
    if not len(events):
        raise ValueError("a backtest needs at least one event")
    events = np.ascontiguousarray(_under(venue, events))
    if venue.print_lag > 0:
        times, _ = loop.venue_times(_plain(events), len(infos))
        times, order = venue_order(times, pair_prints(events, times, venue.print_lag))
    else:
        times, order = loop.venue_schedule(_plain(events), len(infos))
    return Prepared(events, tuple(infos), times, order, venue.fees, venue.redemption_delay, venue.print_lag)


def simulate(
    events: np.ndarray,
    infos: Sequence[MarketLike],
    pipeline: Pipeline,
    *,
    name: str = "events",
    **options: Any,
) -> Simulation:
    """Backtest a pipeline on a stream: `prepare`, then `simulate_prepared`, whose options it takes."""
    prepared = prepare(events, infos, name, options.get("venue", VenueModel()))
    return simulate_prepared(prepared, pipeline, **options)


def simulate_prepared(
    prepared: Prepared,
    pipeline: Pipeline,
    *,
    cash: int,
    interval: int,
    venue: VenueModel = VenueModel(),
    sample_interval: int = 1_000_000_000,
    rejudge: int = 0,
    full_panel: bool = False,
    merge_least: int = 0,
    gate: int = Gate.OPEN,
    intent_ttl: int = INTENT_TTL,
    approval_ttl: int = 0,
    tolerance: int = TOLERANCE,
    exits: Mapping[str, int] | None = None,
    sink: Sink | None = None,
    keep_events: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Backtest a pipeline on a prepared stream: a few ms and the loop, nothing that grows with the stream.

    Parameters
    ----------
    cash: micro-pUSD at the start. interval: ns between decision times, 0 = every message.
    rejudge: ns after which a quote that stays is put to risk again, 0 = at every decision.
    merge_least: micro-shares; complete sets of at least this many are merged into cash, 0 = never.
    gate, intent_ttl, approval_ttl, tolerance, exits: see `new_state`. Answers to proposals are rows of the stream.
    sink: takes the rows produced; without one nothing is kept but the final state (sweeps).
    keep_events: False leaves the consumed event rows out of what goes to the sink.
    progress: called with (events done, events in all) after each chunk.

    Raises RuntimeError when the books do not balance.
    """
    asked = (venue.fees, venue.redemption_delay, venue.print_lag)
    if asked != (prepared.fees, prepared.redemption_delay, prepared.print_lag):
        raise ValueError("the stream was prepared for a venue with other fees, redemption delay or lag of prints")
    events, infos = _plain(prepared.events), prepared.infos
    state = new_state(
        infos,
        pipeline,
        cash=cash,
        interval=interval,
        sample_interval=sample_interval,
        rejudge=rejudge,
        full_panel=full_panel,
        merge_least=merge_least,
        gate=gate,
        intent_ttl=intent_ttl,
        approval_ttl=approval_ttl,
        tolerance=tolerance,
        exits=exits,
    )
    if not venue.fees:
        state.markets["fee_rate"] = 0
    simulated = new_venue(
        state.markets,
        len(state.book),
        cash,
        entry_latency=_latency_table(venue.entry_latency),
        response_latency=_latency_table(venue.response_latency),
        queue_model=venue.queue_model,
        power=venue.queue_power,
        partial_fills=venue.partial_fills,
        trade_share=venue.trade_share,
        consume=venue.liquidity == "consumed",
        delays=venue.taker_delay == "market",
        settlement_delay=venue.settlement_delay,
        ghost_rate=venue.ghost_rate,
        ghost_seed=venue.ghost_seed,
    )
    kernels, run = pipeline.kernels(), loop.compiled("backtest_many" if len(infos) >= MANY else "backtest")
    drain, cursor = _Drain(sink, keep_events), np.zeros(CURSOR_CELLS, np.int64)
    loop.compiled("flush_repeats")
    began = time.perf_counter()
    with np.errstate(over="ignore"):  # the rolling hashes wrap by design
        while not cursor[DONE]:
            out, log = drain.take()
            cursor[LOGGED] = cursor[SENT] = cursor[ANSWERED] = 0
            local, seq = int(cursor[LOCAL]), int(state.clock[0].seq)
            run(state, simulated, kernels, events, prepared.times, prepared.order, cursor, out, log)
            drain.put_events(events[local : cursor[LOCAL]], int(cursor[ANSWERED]), seq)
            drain.hand_over()
            if progress:
                progress(int(cursor[LOCAL]), len(events))
        if cursor[DONE] == 2:
            raise RuntimeError(
                "more orders, fills or timers wait at the venue than its tables hold: "
                "the latencies or the settlement delay are too long for this pace"
            )
        _close(state, drain, keep_events)
    seconds = time.perf_counter() - began
    _assert_balanced(state)
    return Simulation(state, simulated, int(state.clock[0].seq), seconds)


def _under(venue: VenueModel, events: np.ndarray) -> np.ndarray:
    """The stream as the venue's models have it: without fee schedules where none are charged, and with the
    redemption of what resolves inside it. A redemption after the end of the data is not seen: it stays owed."""
    schedules = events["kind"] == EventKind.FEES
    if not venue.fees and schedules.any():
        events = events[~schedules]
    if not venue.redemption_delay:
        return events
    events = events.copy()
    resolved = events["kind"] == EventKind.RESOLUTION
    events["aux"][resolved] = 1
    paid = events[resolved]
    paid["kind"], paid["aux"], paid["price"] = EventKind.REDEMPTION, 0, 0
    paid["flags"] |= Flag.LAST
    for clock in ("ts_recv", "ts_event"):
        paid[clock] += venue.redemption_delay
    paid = paid[paid["ts_recv"] <= events["ts_recv"][-1]]
    events = np.insert(events, np.searchsorted(events["ts_recv"], paid["ts_recv"]), paid)
    events["seq"] = np.arange(len(events))
    return events


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
            drain.hand_over()
            if progress:
                progress(int(cursor[LOCAL]), len(events))
    return Simulation(state, None, len(events), time.perf_counter() - began)


def flush(state: State, sink: Sink | None) -> None:
    """Write the run-length counts that are still open at the end of a run."""
    drain, done = _Drain(sink, keep_events=False), False
    while not done:
        out, _ = drain.take()
        done = loop.compiled("flush_repeats")(state, out)
        drain.hand_over()


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
