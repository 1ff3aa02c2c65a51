"""The compiled loops that drive the step: the backtest with its simulated venue, and the bare event feed.

Both are compiled against the families' signatures, not against the run's bots, and cached on disk:
changing a bot recompiles that bot only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from polytraders.engine.jit import JIT, borrow, njit, prefetch
from polytraders.engine.kernels import FAMILIES, Kernels
from polytraders.engine.matching import FAR, RING, Venue, arrive, expire, fetch_arrival, fetch_tape, observe, send
from polytraders.engine.state import AHEAD, N_MEMORY, N_PARAMS, N_SLOTS, SERIES, VOLUME_CELLS, State
from polytraders.engine.step import (
    N_ACTIONS,
    Out,
    consume,
    decides_before,
    fetch_answer,
    fetch_events,
    flush_repeats,
    grid_time,
    has_room,
    tick,
)
from polytraders.rows import TO_PEOPLE, EventKind

LAST_KIND = int(max(EventKind))
PREFETCH = 16
"""Rows that memory is asked for ahead of time; their stream is longer than any cache."""

# cells of the cursor
LOCAL, VENUE_AT, LOGGED, DONE, SENT, UNTIL, ANSWERED = 0, 1, 2, 3, 4, 5, 6
CURSOR_CELLS = 7


@njit
def _borrowed_state(s):
    return State(
        borrow(s.clock), borrow(s.account), borrow(s.markets, 0), borrow(s.positions, 0), borrow(s.book, 0),
        borrow(s.volume, 0, VOLUME_CELLS), borrow(s.orders, 0), borrow(s.free, 0), borrow(s.slots, 0, N_SLOTS),
        borrow(s.taking, 0, N_SLOTS), borrow(s.memory, 0, N_MEMORY), borrow(s.params, 0), borrow(s.bots, 0),
        borrow(s.repeats, 0, SERIES), borrow(s.severity, 0), borrow(s.dirty, 0), borrow(s.wakes), borrow(s.targets, 0),
        borrow(s.vote), borrow(s.plan), borrow(s.unsettled, 0), borrow(s.proposals, 0, N_SLOTS),
    )  # fmt: skip


@njit
def _borrowed_venue(v):
    return Venue(
        borrow(v.core), borrow(v.account), borrow(v.markets, 0), borrow(v.positions, 0), borrow(v.book, 0),
        borrow(v.orders, 0), borrow(v.actions, 0), borrow(v.answers, 0),
        borrow(v.entry), borrow(v.response), borrow(v.taken, 0), borrow(v.taken_of, 0), borrow(v.timers),
        borrow(v.unsettled),
    )  # fmt: skip


@njit
def _borrowed_out(o):
    return Out(borrow(o.decisions), borrow(o.actions), borrow(o.samples), borrow(o.chain, 0), borrow(o.count, 0))


@njit
def _borrowed_kernels(k):
    return Kernels(borrow(k.intel, 0), borrow(k.disc, 0), borrow(k.strat, 0), borrow(k.risk, 0), borrow(k.exec, 0))


def _backtest(many):
    """The loop of a backtest. many: for `MANY` markets or more it asks for memory ahead of time; its own code, for in
    the loop of a single market already the question would cost."""

    def backtest(state, venue, kernels, events, times, order, cursor, out, log):
        """Run until a buffer is full or the data ends (cursor[DONE] = 1).

        events: EVENT[n] by receive time; times: int64[n], venue time of the k-th event in venue order;
        order: int64[n] that order, or empty when it is the receive order; log: EVENT[m], the answers consumed, or
        empty for no log. It returns for one after m rows of both kinds, cursor[LOGGED], of which cursor[ANSWERED] are
        answers: `merge_rows` makes the log of them, in another thread. At equal times: venue before its timers before
        arrivals before receipts before answers before decisions.

        The venue runs ahead of us as far as no action of ours can interfere: up to the next arrival, or to where an
        action upon the next thing that we hear of would arrive. Both sides so work through several rows at a time.
        """
        kernels = _borrowed_kernels(kernels)
        state, venue, out = _borrowed_state(state), _borrowed_venue(venue), _borrowed_out(out)
        n, room, straight = events.shape[0], log.shape[0], order.shape[0] == 0
        events, times, order, cursor = borrow(events, 0), borrow(times, 0), borrow(order, 0), borrow(cursor, 0)
        log = borrow(log, 0)
        local, venue_at, logged, sent = cursor[LOCAL], cursor[VENUE_AT], cursor[LOGGED], cursor[SENT]
        answered = cursor[ANSWERED]
        core, clock = venue.core[0], state.clock[0]
        logging = room > 0
        gridded = not many and clock.interval > 0
        end = events[n - 1].ts_recv
        while has_room(out) and (not logging or logged < room):
            t_local = events[local].ts_recv if local < n else FAR
            flying = core.actions_head < core.actions_tail
            t_arrival = venue.actions[core.actions_head & (RING - 1)].ts if flying else FAR
            answering = core.answers_head < core.answers_tail
            t_answer = venue.answers[core.answers_head & (RING - 1)].ts_recv if answering else FAR
            # the venue, up to where we may interfere
            earliest = min(t_local, t_answer, end)
            if gridded and earliest > clock.last_tick:  # we act at decision times only
                earliest = grid_time(clock, earliest)
            if clock.next_tick > 0:
                earliest = min(earliest, clock.next_tick)
            ahead = min(t_arrival, earliest + core.least_entry, end)
            while True:
                t_venue = times[venue_at] if venue_at < n else FAR
                if min(t_venue, core.due) > ahead:
                    break
                if t_venue <= core.due:
                    prefetch(events, venue_at + PREFETCH, 0, 1)
                    if many and venue_at % AHEAD == 0:
                        fetch_tape(venue.markets, venue.book, venue.orders, events, order, straight, venue_at, n)
                    observe(venue, events[venue_at if straight else order[venue_at]], t_venue)
                    venue_at += 1
                else:
                    expire(venue)
                if core.answers_head < core.answers_tail:
                    if not answering:
                        answering = True
                        t_answer = venue.answers[core.answers_head & (RING - 1)].ts_recv
                        ahead = min(ahead, t_answer + core.least_entry)
                    if core.answers_tail - core.answers_head > RING // 4:
                        ahead = min(ahead, core.now)  # let us hear of them first
            if flying or answering:
                flights = core.actions_tail - core.actions_head
                if flights > RING - 64 or core.answers_tail - core.answers_head > RING // 2 or core.full:
                    cursor[DONE] = 2
                    break
            if not flying and core.actions_tail > 0:  # few lines of the rings stay in the cache
                core.actions_head = core.actions_tail = 0
            if not answering and core.answers_tail > 0:
                core.answers_head = core.answers_tail = 0
            # we, up to the next answer, arrival or decision
            until = min(ahead, t_answer, t_arrival - 1)
            while local < n and (not logging or logged < room):
                t_local = events[local].ts_recv
                if t_local > until or decides_before(clock, t_local):
                    break
                if many and local % AHEAD == 0:
                    fetch_events(state.markets, state.positions, state.book, state.volume, events, local, n)
                event = events[local]
                local += 1
                consume(state, out, event)
                logged += 1
                if event.kind >= EventKind.RESOLUTION and not has_room(out):  # what pays us writes a sample
                    break
            t_local = events[local].ts_recv if local < n else FAR
            t_message = min(t_local, t_answer)
            deciding = decides_before(clock, t_message)
            ours = clock.next_tick if deciding else t_message
            if min(ours, t_arrival) > end:
                cursor[DONE] = 1
                break
            if t_arrival <= ours:
                if t_arrival <= ahead:
                    if many:
                        fetch_arrival(core, venue.markets, venue.positions, venue.book, venue.orders, venue.actions)
                    arrive(venue)
            elif ours > ahead:
                continue  # the venue has not come so far yet
            elif deciding:
                tick(state, kernels, out)
                while sent < out.count[N_ACTIONS]:
                    if out.actions[sent].kind < TO_PEOPLE:
                        send(core, venue.entry, venue.actions, out.actions[sent])
                    sent += 1
            elif t_answer < t_local and (not logging or logged < room):
                if many and core.answers_head + AHEAD < core.answers_tail:
                    told = venue.answers[(core.answers_head + AHEAD) & (RING - 1)]
                    fetch_answer(state.markets, state.positions, state.slots, state.orders, told)
                event = venue.answers[core.answers_head & (RING - 1)]
                core.answers_head += 1
                consume(state, out, event)
                if logging:
                    log[answered] = event
                    log[answered].seq = clock.seq
                    answered += 1
                logged += 1
        cursor[LOCAL], cursor[VENUE_AT], cursor[LOGGED], cursor[SENT] = local, venue_at, logged, sent
        cursor[ANSWERED] = answered

    return backtest


def _merge_rows(tape, answers, seq, rows):
    """Fill rows, EVENT[n], with what was consumed behind the first `seq` rows of a run: the answers have their places,
    the rows of the tape take the others in order."""
    tape, answers, rows = borrow(tape, 0), borrow(answers), borrow(rows)
    at, answered = 0, 0
    due = answers[0].seq if answers.shape[0] > 0 else FAR
    for i in range(rows.shape[0]):
        seq += 1
        if seq == due:
            rows[i] = answers[answered]
            answered += 1
            due = answers[answered].seq if answered < answers.shape[0] else FAR
        else:
            rows[i] = tape[at]
            rows[i].seq = seq
            at += 1


def _feed(state, kernels, events, cursor, out):
    """Feed recorded rows to the step alone, each after the decision times before it. cursor as in `backtest`.

    cursor[UNTIL] > 0: no row before this time (ns) will come any more, so the decision times before it run as well.
    """
    kernels, state, out = _borrowed_kernels(kernels), _borrowed_state(state), _borrowed_out(out)
    n = events.shape[0]
    events, cursor = borrow(events, 0), borrow(cursor, 0)
    clock, at, until = state.clock[0], cursor[LOCAL], cursor[UNTIL]
    while has_room(out):
        if at == n:
            if until > 0 and decides_before(clock, until):
                tick(state, kernels, out)
                continue
            cursor[DONE] = 1
            break
        event = events[at]
        if decides_before(clock, event.ts_recv):
            tick(state, kernels, out)
        else:
            consume(state, out, event)
            at += 1
    cursor[LOCAL] = at


def _paper(venue, actions, events, cursor):
    """The simulated venue in real time: actions leave, rows of the tape happen, and so does all that is due.

    actions: ACTION[k], sent at their `ts`. events: EVENT[n], happening at their `ts_recv`, not before anything that has
    happened already. cursor[UNTIL]: ns up to which time has passed. cursor[DONE] becomes 2 when a table is full.
    """
    venue = _borrowed_venue(venue)
    core, n, until, at = venue.core[0], events.shape[0], cursor[UNTIL], 0
    for i in range(actions.shape[0]):
        send(core, venue.entry, venue.actions, actions[i])
    while True:
        t_tape = max(events[at].ts_recv, core.now) if at < n else FAR
        flying = core.actions_head < core.actions_tail
        t_arrival = venue.actions[core.actions_head & (RING - 1)].ts if flying else FAR
        first = min(t_tape, core.due, t_arrival)
        if first > until:
            break
        if t_tape == first:
            observe(venue, events[at], t_tape)
            at += 1
        elif core.due == first:
            expire(venue)
        else:
            arrive(venue)
        waiting = core.answers_tail - core.answers_head
        if core.full or waiting > RING - 64 or core.actions_tail - core.actions_head > RING - 64:
            cursor[DONE] = 2
            break
    cursor[LOCAL] = at


def _unsafe_row(markets, events, now, bots):
    """Index of the first row that the kernels, which index without bounds checks, must not see; -1 = none.

    What `engine.setup.check_events` refuses, and what is older than the row before it (`now` for the first).
    """
    n = markets.shape[0]
    for i in range(events.shape[0]):
        row = events[i]
        kind, m = row.kind, row.market
        if row.ts_recv < now or kind < 1 or kind > LAST_KIND or m < -1 or m >= n or row.side < 0 or row.side > 1:
            return i
        now = row.ts_recv
        if m < 0:
            whole = kind == EventKind.CLOCK or kind == EventKind.SWITCH or kind == EventKind.SIGNAL
            whole |= kind == EventKind.EXIT or kind == EventKind.FEED_UP or kind == EventKind.FEED_DOWN
            configures = kind == EventKind.CONFIG and 0 <= row.aux < bots and 0 <= row.price < N_PARAMS
            if not whole and not configures:
                return i
        elif kind >= EventKind.LEVEL and kind <= EventKind.TRADE:
            if row.price < 0 or row.price > 10_000 or row.size < 0 or row.price % markets[m].grid != 0:
                return i
        elif kind == EventKind.CONFIG:
            if row.aux < 0 or row.aux >= bots or row.price < 0 or row.price >= N_PARAMS:
                return i
        elif kind == EventKind.FEES:
            if row.size < 0 or row.size > 10**6 or row.price < 0 or row.price > 2:
                return i
        elif kind == EventKind.RESOLUTION and row.price != 0 and row.price != 5_000 and row.price != 10_000:
            return i
    return -1


def _venue_times(events, times, latest):
    """Fill times, int64[n]: when each row happens at the venue, in arrival order per market (see `venue_schedule`).

    latest: int64[markets + 1], zero; the last cell is that of market -1. Returns True when the times never fall.
    """
    n, before, rising = events.shape[0], 0, True
    for i in range(n):
        m = events[i].market
        latest[m] = max(latest[m], min(events[i].ts_event, events[i].ts_recv))
        times[i] = latest[m]
        rising &= before <= times[i]
        before = times[i]
    return rising


def venue_times(events: np.ndarray, markets: int) -> tuple[np.ndarray, bool]:
    """(int64[n] ns, True when they never fall): when each row of a stream of `markets` markets happens at the venue."""
    times = np.empty(len(events), np.int64)
    return times, bool(compiled("venue_times")(events, times, np.zeros(markets + 1, np.int64)))


def venue_schedule(events: np.ndarray, markets: int) -> tuple[np.ndarray, np.ndarray]:
    """(times, order) of a stream of `markets` markets at the venue.

    A row happens at its `ts_event`, never later than we received it, and inside one market never
    before the row that arrived ahead of it: arrival order is the order the venue applied.
    `order` is empty when sorting by that time changes nothing.
    """
    times, rising = venue_times(events, markets)
    if rising:
        return times, np.empty(0, np.int64)
    order = np.argsort(times, kind="stable")
    return times[order], order


@cache
def compiled(name: str) -> Callable[..., Any]:
    """One of the functions named below: compiled, or loaded from the cache, on first use.

    Plain functions under POLYTRADERS_JIT=0.
    """
    function, signature, options = {
        "backtest": (_backtest(False), "state venue kernels events i1 i1 i1 out events", {"nogil": True}),
        "backtest_many": (_backtest(True), "state venue kernels events i1 i1 i1 out events", {"nogil": True}),
        "feed": (_feed, "state kernels events i1 out", {"nogil": True}),
        "merge_rows": (_merge_rows, "events events int64 events", {"nogil": True}),
        "paper": (_paper, "venue actions events i1", {}),
        "unsafe_row": (_unsafe_row, "markets events int64 int64", {}),
        "venue_times": (_venue_times, "events i1 i1", {}),
        "flush_repeats": (flush_repeats, "state out", {}),
    }[name]
    if not JIT:
        return function
    from numba import types

    returns = {"venue_times": "boolean", "flush_repeats": "boolean", "unsafe_row": "int64"}.get(name, "void")
    known = _types()
    given = [known[word] for word in signature.split()]
    return njit((known.get(returns) or getattr(types, returns))(*given), **options)(
        getattr(function, "py_func", function)
    )


@cache
def _types() -> dict[str, Any]:
    """numba types of what the loops are given."""
    from numba import from_dtype, int64, types

    from polytraders.engine import matching
    from polytraders.engine import state as s
    from polytraders.engine.step import STAGED
    from polytraders.rows import ACTION, DECISION, EVENT, SAMPLE

    def vector(dtype: np.dtype, ndim: int = 1) -> Any:
        return types.Array(from_dtype(dtype), ndim, "C")

    i1, i2, f2 = int64[::1], int64[:, ::1], types.float64[:, ::1]
    state = [
        vector(s.CLOCK), vector(s.ACCOUNT), vector(s.MARKET), vector(s.POSITION), i1, i2, vector(s.ORDER), i1,
        i2, i2, f2, vector(s.PARAMS), vector(s.BOT), vector(s.REPEAT, 3), i1, i1, i2,
        vector(s.INTENT), vector(s.VOTE), vector(s.PLAN), vector(s.UNSETTLED), vector(s.PROPOSAL, 2),
    ]  # fmt: skip
    venue = [
        vector(matching.VENUE), vector(s.ACCOUNT), vector(matching.LISTED), vector(s.POSITION), i1,
        vector(matching.RESTING), vector(ACTION), vector(EVENT), i1, i1, i1, i1, i2, vector(s.UNSETTLED),
    ]  # fmt: skip
    return {
        "state": types.NamedTuple(state, State),
        "venue": types.NamedTuple(venue, Venue),
        "out": types.NamedTuple([vector(DECISION), vector(ACTION), vector(SAMPLE), vector(STAGED), i1], Out),
        "kernels": types.NamedUniTuple(i1, len(FAMILIES), Kernels),
        "events": vector(EVENT),
        "actions": vector(ACTION),
        "markets": vector(s.MARKET),
        "i1": i1,
        "int64": int64,
    }
