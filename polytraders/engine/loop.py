"""The compiled loops that drive the step: the backtest with its simulated venue, and the bare event feed.

Both are compiled against the families' signatures, not against the run's bots, and cached on disk:
changing a bot recompiles that bot only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from polytraders.engine.jit import JIT, borrow, njit
from polytraders.engine.kernels import FAMILIES, Kernels
from polytraders.engine.matching import RING, Venue, arrive, expire, observe, send
from polytraders.engine.state import State
from polytraders.engine.step import N_ACTIONS, Out, consume, decides_before, flush_repeats, has_room, tick

FAR = np.iinfo(np.int64).max

# cells of the cursor
LOCAL, VENUE_AT, LOGGED, DONE, SENT = 0, 1, 2, 3, 4
CURSOR_CELLS = 5


@njit
def _borrowed_state(s):
    return State(
        borrow(s.clock), borrow(s.account), borrow(s.markets), borrow(s.positions), borrow(s.book), borrow(s.volume),
        borrow(s.orders), borrow(s.free), borrow(s.slots), borrow(s.taking), borrow(s.memory), borrow(s.params),
        borrow(s.bots), borrow(s.repeats), borrow(s.severity), borrow(s.dirty), borrow(s.wakes), borrow(s.targets),
        borrow(s.vote), borrow(s.plan), borrow(s.unsettled),
    )  # fmt: skip


@njit
def _borrowed_venue(v):
    return Venue(
        borrow(v.core), borrow(v.account), borrow(v.markets), borrow(v.positions), borrow(v.book), borrow(v.orders),
        borrow(v.heads), borrow(v.actions), borrow(v.answers), borrow(v.entry), borrow(v.response),
        borrow(v.taken), borrow(v.taken_of), borrow(v.timers), borrow(v.unsettled),
    )  # fmt: skip


@njit
def _borrowed_out(o):
    return Out(borrow(o.decisions), borrow(o.actions), borrow(o.samples), borrow(o.chain), borrow(o.count))


@njit
def _borrowed_kernels(k):
    return Kernels(borrow(k.intel), borrow(k.disc), borrow(k.strat), borrow(k.risk), borrow(k.exec))


def _backtest(state, venue, kernels, events, times, order, cursor, out, log):
    """Run until a buffer is full or the data ends (cursor[DONE] = 1).

    events: EVENT[n] by receive time; times: int64[n], venue time of the k-th event in venue order;
    order: int64[n] that order, or empty when it is the receive order; log: EVENT[m], consumed
    rows in order, or empty. At equal times: venue before its timers before arrivals before receipts
    before answers before decisions.
    """
    kernels = _borrowed_kernels(kernels)
    state, venue, out = _borrowed_state(state), _borrowed_venue(venue), _borrowed_out(out)
    events, times, order, cursor, log = borrow(events), borrow(times), borrow(order), borrow(cursor), borrow(log)
    n = events.shape[0]
    local, venue_at, logged, sent = cursor[LOCAL], cursor[VENUE_AT], cursor[LOGGED], cursor[SENT]
    core, clock = venue.core[0], state.clock[0]
    logging, straight = log.shape[0] > 0, order.shape[0] == 0
    end = events[n - 1].ts_recv
    while has_room(out) and (not logging or logged < log.shape[0]):
        t_local = events[local].ts_recv if local < n else FAR
        answering = core.answers_head < core.answers_tail
        t_answer = venue.answers[core.answers_head & (RING - 1)].ts_recv if answering else FAR
        t_message = min(t_local, t_answer)
        deciding = decides_before(clock, t_message)
        ours = clock.next_tick if deciding else t_message
        flying = core.actions_head < core.actions_tail
        t_arrival = venue.actions[core.actions_head & (RING - 1)].ts if flying else FAR
        until = min(ours, t_arrival, core.due)
        if not flying:
            core.actions_head = core.actions_tail = 0  # few lines of the rings stay in the cache
            if not answering:
                core.answers_head = core.answers_tail = 0
        if venue_at < n and times[venue_at] <= until:
            while venue_at < n and times[venue_at] <= until:
                observe(venue, events[venue_at if straight else order[venue_at]], times[venue_at])
                venue_at += 1
                if core.answers_head < core.answers_tail:
                    break
            if core.answers_head < core.answers_tail:
                continue  # an answer is on its way: it may reach us before what was due
        if until > end:
            cursor[DONE] = 1
            break
        if core.due <= until:
            expire(venue)
            continue
        if t_arrival <= ours:
            arrive(venue)
            continue
        if deciding:
            tick(state, kernels, out)
            while sent < out.count[N_ACTIONS]:
                send(core, venue.entry, venue.actions, out.actions[sent])
                sent += 1
            waiting = max(core.actions_tail - core.actions_head, core.answers_tail - core.answers_head)
            if waiting > RING - 64 or core.full:
                cursor[DONE] = 2
                break
            continue
        if t_local <= t_answer:
            event = events[local]
            local += 1
        else:
            event = venue.answers[core.answers_head & (RING - 1)]
            core.answers_head += 1
        consume(state, out, event)
        if logging:
            log[logged] = event
            log[logged].seq = clock.seq
            logged += 1
    cursor[LOCAL], cursor[VENUE_AT], cursor[LOGGED], cursor[SENT] = local, venue_at, logged, sent


def _feed(state, kernels, events, cursor, out):
    """Feed recorded rows to the step alone, each after the decision times before it. cursor as in `_backtest`."""
    kernels, state, out = _borrowed_kernels(kernels), _borrowed_state(state), _borrowed_out(out)
    events, cursor = borrow(events), borrow(cursor)
    clock, at = state.clock[0], cursor[LOCAL]
    while has_room(out):
        if at == events.shape[0]:
            cursor[DONE] = 1
            break
        event = events[at]
        if decides_before(clock, event.ts_recv):
            tick(state, kernels, out)
        else:
            consume(state, out, event)
            at += 1
    cursor[LOCAL] = at


def _venue_times(events):
    """int64[n]: when each row happens at the venue, in arrival order per market (see `venue_schedule`)."""
    n = events.shape[0]
    times = np.empty(n, np.int64)
    most = 0
    for i in range(n):
        most = max(most, events[i].market)
    latest = np.zeros(most + 2, np.int64)  # the last cell is that of market -1
    for i in range(n):
        m = events[i].market
        latest[m] = max(latest[m], min(events[i].ts_event, events[i].ts_recv))
        times[i] = latest[m]
    return times


def venue_schedule(events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(times, order) of a stream at the venue.

    A row happens at its `ts_event`, never later than we received it, and inside one market never
    before the row that arrived ahead of it: arrival order is the order the venue applied.
    `order` is empty when sorting by that time changes nothing.
    """
    times = compiled("venue_times")(events)
    if np.all(times[1:] >= times[:-1]):
        return times, np.empty(0, np.int64)
    order = np.argsort(times, kind="stable")
    return times[order], order


@cache
def compiled(name: str) -> Callable[..., Any]:
    """`backtest`, `feed`, `venue_times` or `flush_repeats`: compiled, or loaded from the cache, on first use.

    Plain functions under POLYTRADERS_JIT=0.
    """
    function, signature, options = {
        "backtest": (_backtest, "state venue kernels events i1 i1 i1 out events", {"nogil": True}),
        "feed": (_feed, "state kernels events i1 out", {"nogil": True}),
        "venue_times": (_venue_times, "events", {}),
        "flush_repeats": (flush_repeats, "state out", {}),
    }[name]
    if not JIT:
        return function
    from numba import types

    known, returns = _types(), {"venue_times": "i1", "flush_repeats": "boolean"}.get(name, "void")
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
        vector(s.INTENT), vector(s.VOTE), vector(s.PLAN), vector(s.UNSETTLED),
    ]  # fmt: skip
    venue = [
        vector(matching.VENUE), vector(s.ACCOUNT), vector(s.MARKET), vector(s.POSITION), i1,
        vector(matching.RESTING), i1, vector(ACTION), vector(EVENT), i1, i1, i1, i1, i2, vector(s.UNSETTLED),
    ]  # fmt: skip
    return {
        "state": types.NamedTuple(state, State),
        "venue": types.NamedTuple(venue, Venue),
        "out": types.NamedTuple([vector(DECISION), vector(ACTION), vector(SAMPLE), vector(STAGED), i1], Out),
        "kernels": types.NamedUniTuple(i1, len(FAMILIES), Kernels),
        "events": vector(EVENT),
        "i1": i1,
    }
