"""Attempts to prove a strategy wrong: does it know the future, does it forget its start, is its signal one?

Look-ahead. The step hands a bot nothing it has not received. What can still leak is what stands
beside the events: an array the kernel closes over, a table or a fitted parameter derived from the
whole recording. So the run is repeated on recordings that differ only from a cut on, and everything
decided before the cut has to be equal, row by row:

    truncated   nothing happens after the cut
    other       after the cut the market goes another way; the rows are changed in place, so that
                whoever reads them behind the engine's back reads the change

and data that a kernel holds itself, which no re-run would change, is looked for in its code.

Warm-up. A strategy that starts late has to come to want what one that was there from the start wants.

Shuffled signal. With trades (or signals) dealt out anew over their times, what they said is gone:
an edge that comes from them has to go too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.data.catalog import window
from polytraders.engine import book, loop
from polytraders.engine.backtest import feed, prepare, simulate_prepared
from polytraders.engine.jit import JIT
from polytraders.engine.setup import market_rows, new_state
from polytraders.engine.state import N_SLOTS, WANT_QUOTE, State, as_rows
from polytraders.errors import UsageError
from polytraders.reasons import by_number
from polytraders.research.trials import make_job, run_trial
from polytraders.rows import EVENT, EventKind, Flag, Side
from polytraders.run.backtest import engine_options, venue_model
from polytraders.run.pipeline import build_pipeline
from polytraders.run.replay import agreement, first_difference
from polytraders.units import NS_PER_S, ONE, iso_utc

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.catalog import Session

Derive = Callable[["Session"], tuple["Session", "Settings"]]
"""What is made of a recording before a run on it: signals among its rows, parameters fitted to it."""
SMALL_TABLE = 32
"""Numbers a kernel may hold in a table of its own: coefficients, not prices."""
TRUSTED = ("numpy", "numba", "polytraders.engine")
"""Modules whose functions know no recording."""
CHECKPOINTS = 60
LEVEL = 0.05
"""A p-value up to this says that the edge needs the order of the trades."""

# -- look-ahead -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """One comparison. cut: ns; rows: decisions and actions before it; first: the first that differs."""

    cut: int
    future: str  # truncated | other
    rows: int
    ok: bool
    first: dict[str, Any] | None


@dataclass(frozen=True)
class LookaheadResult:
    """What re-runs and the kernels' code say. hidden: data that a kernel holds itself."""

    strategy: str
    recording: str
    cuts: tuple[Cut, ...]
    hidden: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when nothing before a cut depends on what is behind it, and no kernel holds data."""
        return not self.hidden and all(cut.ok for cut in self.cuts)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}

    def sentences(self) -> list[str]:
        """The result in words."""
        said = [f"{self.strategy} holds data of its own: {what}." for what in self.hidden]
        for cut in self.cuts:
            how = "nothing after it" if cut.future == "truncated" else "another future"
            at = f"{iso_utc(cut.cut)} ({how})"
            said.append(
                f"Cut at {at}: {cut.rows:,} rows before it are equal."
                if cut.ok
                else f"Cut at {at}: what was decided before it has changed, first {cut.first}."
            )
        return said


def lookahead(
    session: Session,
    settings: Settings,
    strategy: str = "strat.maker_tight",
    *,
    cuts: int = 3,
    seed: int = 1,
    derive: Derive | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LookaheadResult:
    """Look for knowledge of the future: 2 x cuts runs beside the whole one.

    derive: done again on every version of the recording, as a live run would have to. seed: of the
    other futures. session.events is changed while this runs and put back before it returns.
    """
    derive = derive or (lambda given: (given, settings))
    events = session.events
    if not events.flags.writeable:
        events = events.copy()
        session = replace(session, events=events)
    pipeline, _ = build_pipeline(derive(session)[1], strategy)
    whole = _decided(session, derive, strategy)
    happens = _happens(events)
    found = []
    for k, cut in enumerate(_cut_times(events, cuts)):
        for future in ("truncated", "other"):
            if future == "truncated":
                again = _decided(replace(session, events=truncated(events, happens, cut)), derive, strategy)
            else:
                with _other_future(events, happens >= cut, seed + k):
                    again = _decided(session, derive, strategy)
            found.append(_compare(cut, future, whole, again, list(pipeline.ids)))
            if progress:
                progress(len(found), 2 * cuts)
    hidden = tuple(f"{b.bot.id}: {what}" for b in pipeline.bots for what in hidden_data(b.bot.decide))
    return LookaheadResult(pipeline.of("strat")[0].bot.id, session.name, tuple(found), hidden)


class _Receipts:
    """A sink that keeps decisions and actions."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {"decisions": [], "actions": []}

    def put(self, kind: str, rows: np.ndarray) -> None:
        if kind in self.parts:
            self.parts[kind].append(rows.copy())

    def before(self, kind: str, cut: int) -> np.ndarray | list:
        rows = np.concatenate(self.parts[kind]) if self.parts[kind] else []
        return rows[rows["ts"] < cut] if len(rows) else rows


def _decided(session: Session, derive: Derive, strategy: str) -> _Receipts:
    session, settings = derive(session)
    pipeline, _ = build_pipeline(settings, strategy)
    sink = _Receipts()
    prepared = prepare(session.events, session.markets, session.name)
    simulate_prepared(
        prepared, pipeline, venue=venue_model(settings), sink=sink, keep_events=False, **engine_options(settings)
    )
    return sink


def _cut_times(events: np.ndarray, cuts: int) -> list[int]:
    at = [len(events) * (k + 1) // (cuts + 1) for k in range(cuts)]
    times = sorted({int(events["ts_recv"][i]) for i in at})
    if cuts < 1 or len(times) < cuts:
        raise UsageError(f"{len(events):,} rows cannot be cut in {cuts} places", mend="fewer cuts, or more data")
    return times


def _happens(events: np.ndarray) -> np.ndarray:
    """int64[n]: ns at which each row happens at the venue, never after we receive it."""
    times = np.empty(len(events), np.int64)
    latest = np.zeros(int(events["market"].max()) + 2, np.int64)
    loop.compiled("venue_times")(np.ascontiguousarray(events) if JIT else as_rows(events), times, latest)
    return times


def truncated(events: np.ndarray, happens: np.ndarray, cut: int) -> np.ndarray:
    """The rows that have happened before the cut, and a clock row at it.

    The venue acts on what has happened, received or not: what is on its way at the cut stays, and is
    received after it. The clock row makes the step decide up to the cut.
    """
    kept = events[happens < cut]
    clock = np.zeros(1, EVENT)
    clock["ts_recv"] = clock["ts_event"] = cut
    clock["kind"], clock["market"], clock["flags"] = EventKind.CLOCK, -1, Flag.LAST
    at = int(np.searchsorted(kept["ts_recv"], cut))
    rows = np.concatenate([kept[:at], clock, kept[at:]])
    rows["seq"] = np.arange(len(rows))
    return rows


class _other_future:
    """While it is entered, the rows of a mask tell of another market: mirrored prices, other sizes."""

    def __init__(self, events: np.ndarray, mask: np.ndarray, seed: int):
        self.events, self.mask, self.kept = events, mask, events[mask]
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def __enter__(self) -> None:
        rows = self.kept.copy()
        kind = rows["kind"]
        priced = (kind >= EventKind.LEVEL) & (kind <= EventKind.TRADE)
        rows["price"] = np.where(priced | (kind == EventKind.RESOLUTION), ONE - rows["price"], rows["price"])
        rows["side"] = np.where(priced, 1 - rows["side"], rows["side"])
        rows["size"] = np.where(priced, rows["size"] * self.rng.integers(1, 4, len(rows)), rows["size"])
        rows["size"] = np.where(kind == EventKind.SIGNAL, -rows["size"], rows["size"])
        self.events[self.mask] = rows

    def __exit__(self, *_: object) -> None:
        self.events[self.mask] = self.kept


def _compare(cut: int, future: str, whole: _Receipts, again: _Receipts, names: list[str]) -> Cut:
    rows, first = 0, None
    for kind in ("decisions", "actions"):
        a, b = whole.before(kind, cut), again.before(kind, cut)
        rows += len(a)
        if len(a) and len(b):
            same = agreement(a, b)
            at = int(np.argmin(same)) if not same.all() else None
        else:
            at = None if len(a) == len(b) else 0
        if first is None and at is not None:
            first = first_difference(kind, at, a, b, names)
    return Cut(cut, future, rows, first is None, first)


def hidden_data(function: Any) -> list[str]:
    """Tables that a kernel, or a function it calls, closes over or names: 'module.name: what it is'."""
    return list(dict.fromkeys(_hidden(function, set())))


def _hidden(function: Any, seen: set[int]) -> Iterator[str]:
    function = getattr(function, "py_func", function)
    if not isinstance(function, FunctionType) or id(function) in seen or function.__module__.startswith(TRUSTED):
        return
    seen.add(id(function))
    for name, value in _reached(function):
        if isinstance(value, np.ndarray) and value.size > SMALL_TABLE:
            yield f"{function.__module__}.{name}, an array of {value.size:,} numbers"
        elif isinstance(value, (list, tuple, dict, set, frozenset, bytes, bytearray)) and len(value) > SMALL_TABLE:
            yield f"{function.__module__}.{name}, a {type(value).__name__} of {len(value):,} values"
        else:
            yield from _hidden(value, seen)


def _reached(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """(name, value) of every closed-over variable, global and module attribute the code names."""
    names = set(_names(function.__code__))
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield name, value
        if isinstance(value, ModuleType):
            yield from ((f"{name}.{inner}", getattr(value, inner)) for inner in sorted(names) if hasattr(value, inner))
    yield from (("a default argument", value) for value in function.__defaults__ or ())


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from _names(constant)


# -- warm-up ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """One late start. start: ns; settled: ns after it from which on all decisions agree, None = they never do.

    agreement: share of markets in which both want the same, at each checkpoint after the start.
    last: the last disagreement in words, "" without one.
    """

    start: int
    settled: int | None
    agreement: tuple[float, ...]
    last: str


@dataclass(frozen=True)
class WarmUpResult:
    """How long a strategy needs until it does not matter when it was started."""

    strategy: str
    recording: str
    starts: tuple[Start, ...]

    @property
    def ok(self) -> bool:
        """True when after every late start the decisions came to agree, and did so for good."""
        return all(start.settled is not None for start in self.starts)

    @property
    def needs(self) -> int | None:
        """ns, the longest of the warm-ups; None when one had no end."""
        return max(start.settled for start in self.starts) if self.ok else None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok, "needs_s": None if self.needs is None else self.needs / NS_PER_S}


def warm_up(
    session: Session, settings: Settings, strategy: str = "strat.maker_tight", *, starts: int = 3
) -> WarmUpResult:
    """Start late, with the books as they stand, and ask both runs at CHECKPOINTS times what they would do.

    The strategy runs in shadow: without orders there is no inventory that would rightly differ. A run
    settles when both want the same in every market from some checkpoint on, the last quarter at least.
    """
    bot_id = build_pipeline(settings, strategy)[0].of("strat")[0].bot.id
    shadow = settings.with_overrides({f"{bot_id}.mode": "shadow"}, "warm-up")
    events = session.events
    first, last = int(events["ts_recv"][0]), int(events["ts_recv"][-1])
    times = [first + (last - first) * (k + 1) // CHECKPOINTS for k in range(CHECKPOINTS)]
    early = list(_wishes(session, shadow, bot_id, times))
    found = []
    for k in range(starts):
        start = first + (last - first) * (k + 1) // (2 * starts)
        after = [at for at in times if at > start]
        late = _wishes(window(session, start), shadow, bot_id, after)
        agree, why = [], ""
        for early_ones, late_ones in zip(early[-len(after) :], late, strict=True):
            pairs = list(zip(early_ones, late_ones, strict=True))
            agree.append(float(np.mean([a == b for a, b in pairs])))
            why = next((_disagree(a, b) for a, b in pairs if a != b), why)
        settled = len(agree)
        while settled and agree[settled - 1] == 1.0:
            settled -= 1
        done = settled <= len(agree) * 3 // 4
        found.append(Start(start, after[settled] - start if done else None, tuple(agree), why))
    return WarmUpResult(bot_id, session.name, tuple(found))


def _disagree(early: Any, late: Any) -> str:
    said = [by_number(wish[0]).name if wish else "nothing yet" for wish in (early, late)]
    return f"{said[0]} from the start, {said[1]} when late" if said[0] != said[1] else f"other quotes under {said[0]}"


def _wishes(session: Session, settings: Settings, strategy: str, times: list[int]) -> Iterator[list[Any]]:
    """At each time, for each market: the strategy's reason code and the quotes it wants."""
    pipeline, _ = build_pipeline(settings, strategy)
    state = new_state(session.markets, pipeline, **engine_options(settings))
    at = len(pipeline.of("intel")) + len(pipeline.of("disc"))
    done = 0
    for time in times:
        upto = int(np.searchsorted(session.events["ts_recv"], time, side="right"))
        feed(session.events[done:upto], state, pipeline, None)
        done = upto
        yield [_wish(state, i, pipeline.bots[at].bot.decide, at) for i in range(len(session.markets))]


def _wish(state: State, i: int, decide: Callable[..., int], bot: int) -> Any:
    """What the strategy would want in a market as it is; asked on copies, so that asking changes nothing."""
    market, position, account = (
        a.copy()[0] for a in (state.markets[i : i + 1], state.positions[i : i + 1], state.account)
    )
    if market.now == 0:
        return None  # never decided on
    ladder = state.book[market.offset : market.offset + 2 * market.levels].copy()
    targets = state.targets.copy()
    targets[:] = np.zeros(1, targets.dtype)
    code = decide(market, position, account, ladder, state.memory[i].copy(), targets, state.params[bot])
    quotes = [
        (slot, int(t.outcome), int(t.side), int(t.price), int(t.size))
        for slot, t in ((slot, targets[slot]) for slot in range(N_SLOTS))
        if t.want == WANT_QUOTE
    ]
    return int(code), quotes


# -- shuffled signal --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShuffleResult:
    """What is left of the profit when the signal is dealt out anew. Profits in micro-pUSD.

    p: probability of doing at least as well when the order of the trades says nothing, (1 + as good) / (1 + draws).
    """

    strategy: str
    recording: str
    shuffled: str  # trades | signals
    pnl: int
    null: tuple[int, ...]
    p: float

    @property
    def ok(self) -> bool:
        """True when the profit is there and goes with the signal."""
        return self.pnl > 0 and self.p <= LEVEL

    def as_dict(self) -> dict[str, Any]:
        mean = float(np.mean(self.null)) if self.null else None
        return asdict(self) | {"ok": self.ok, "null_mean": mean}


def shuffled(
    session: Session,
    settings: Settings,
    strategy: str = "strat.maker_tight",
    *,
    draws: int = 19,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ShuffleResult:
    """Deal the trades (the signals, where the recording has any) out anew over their times, and trade again.

    For who follows trades, an edge must vanish. A maker lives by the same trades: for one, profits
    that grow are what informed flow costs it, and p says how sure that is.
    """
    what = "signals" if (session.events["kind"] == EventKind.SIGNAL).any() else "trades"
    deal = shuffle_signals if what == "signals" else shuffle_trades
    rng = np.random.Generator(np.random.PCG64(seed))
    found = []
    for k in range(draws + 1):
        here = session if k == 0 else replace(session, events=deal(session, rng))
        row = run_trial(make_job(here, settings, strategy), (k, {}))
        if row["error"] is not None:
            raise UsageError(f"the run on shuffled data failed: {row['error']}", where=session.name)
        found.append(sum(row["pnl"]))
        if progress:
            progress(k, draws)
    pnl, null = found[0], found[1:]
    p = (1 + sum(value >= pnl for value in null)) / (1 + draws)
    return ShuffleResult(strategy, session.name, what, pnl, tuple(null), p)


def shuffle_signals(session: Session, rng: np.random.Generator) -> np.ndarray:
    """The events with the values of each signal in another order."""
    events = session.events.copy()
    rows = np.flatnonzero(events["kind"] == EventKind.SIGNAL)
    for number in np.unique(events["aux"][rows]):
        mine = rows[events["aux"][rows] == number]
        events["size"][mine] = rng.permutation(events["size"][mine])
    return events


def shuffle_trades(session: Session, rng: np.random.Generator) -> np.ndarray:
    """The events with each market's trades, side and size, in another order over the same times.

    A trade that changes sides happens as far from the best price of its new side as it was from that
    of its old one; where either side of the book is empty it stays as it is.
    """
    events = session.events.copy()
    bid, ask = _touch(session)
    for market in range(len(session.markets)):
        rows = np.flatnonzero((events["kind"] == EventKind.TRADE) & (events["market"] == market))
        rows = rows[(bid[rows] >= 0) & (ask[rows] >= 0)]
        side, size = events["side"][rows], events["size"][rows]
        order = rng.permutation(len(rows))
        touch = np.where(side == Side.BUY, ask[rows], bid[rows])
        beyond = np.where(side == Side.BUY, events["price"][rows] - touch, touch - events["price"][rows])
        side = side[order]
        price = np.where(side == Side.BUY, ask[rows] + beyond, bid[rows] - beyond)
        inside = (price > 0) & (price < ONE)
        rows = rows[inside]
        events["side"][rows], events["size"][rows], events["price"][rows] = (
            side[inside],
            size[order][inside],
            price[inside],
        )
    return events


def _touch(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """(best bid, best ask) in pips, int64[n] each, as they stood in the row's market when it came; -1 = none."""
    events = np.ascontiguousarray(session.events)
    markets, cells = market_rows(session.markets)
    at, bids, asks = (np.empty(len(events), np.int64) for _ in range(3))
    n = book.tops(np.zeros(cells, np.int64), markets, events if JIT else as_rows(events), at, bids, asks)
    bid, ask = np.full(len(events), -1, np.int64), np.full(len(events), -1, np.int64)
    whose = events["market"][at[:n]]
    for market in range(len(markets)):
        mine = np.flatnonzero(events["market"] == market)
        moves = np.flatnonzero(whose == market)
        last = np.searchsorted(at[moves], mine, side="right") - 1
        known = last >= 0
        bid[mine[known]], ask[mine[known]] = bids[moves[last[known]]], asks[moves[last[known]]]
    return bid, ask
