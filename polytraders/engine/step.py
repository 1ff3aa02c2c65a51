"""The step: everything that decides. Backtest, replay, paper, shadow and live run this code and no other.

    events ─► consume ─► state ─► evaluate a market: intel ─► discovery ─► strategy ─► risk ─► execution ─► actions

It reads no clock, draws no random number and does no I/O; its inputs are event rows in order, its
outputs decision, action and sample rows. Decision times lie on a fixed grid of event time
(`clock.interval`) or, with an interval of 0, directly behind every complete message. At a time of
the grid only those markets are decided on that changed since their last decision, or whose
strategy asked to be woken: with unchanged inputs a decision is the same decision.

Invariants
    S1  same events in, same rows out, byte for byte
    S2  no order leaves but through the risk chain; what bypasses it is a cancel, and the merge of complete sets,
        which are worth 1 pUSD a pair as shares and as cash
    S3  every decision enters its bot's rolling hash, whether or not it is written
    S4  a reshape never grows an order and never changes market, side or outcome
    S5  a quote that stays as it is wanted is judged again at the next decision after something filled in its market,
        after its mid moved by a tick, after the equity fell by a thousandth, after news of its market or of the run
        (rules, status, parameters, limits, measurements), while trading is halted or the feed is down, and at least
        every `clock.rejudge`; a new or changed quote always is
    S6  an intent that leads to an action has its whole chain written under one correlation number; an order that
        waited for a person stands under that of its proposal, with the chain of both times
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from polytraders.engine import book as bk
from polytraders.engine.exits import SELL_NO, SELL_YES, propose_exit
from polytraders.engine.fees import MICRO_PER_FEE_UNIT, maker_rebate
from polytraders.engine.gate import APPROVED, PASSES, at_gate, give_back, hear, next_expiry, review, sent
from polytraders.engine.jit import inline, njit, prefetch, window
from polytraders.engine.kernels import judge, propose, sense, shape
from polytraders.engine.ledger import (
    book_fill,
    confirm_fill,
    convert,
    free_shares,
    hold,
    hold_unsettled,
    mark,
    merge,
    need,
    redeem,
    settle,
    split,
    survey_group,
    void_fill,
)
from polytraders.engine.rules import gtd_expires, gtd_expiry, gtd_too_soon
from polytraders.engine.state import (
    AHEAD,
    LEAST_RESPONSE,
    LINE,
    LIVE,
    MARKET,
    MAX_ORDERS,
    MAX_UNSETTLED,
    MODE_ENFORCED,
    MODE_OFF,
    MODE_QUARANTINE,
    N_ACTIONS,
    N_CHAIN,
    N_CHANGED,
    N_DECISIONS,
    N_PARAMS,
    N_SAMPLES,
    N_SLOTS,
    PENDING_CANCEL,
    PENDING_NEW,
    POSITION,
    REPEAT,
    WANT_NOTHING,
    WANT_QUOTE,
    WATCH,
    clear_targets,
    count_sent,
    records,
    two_sided,
)
from polytraders.engine.switches import switch_market, switch_run
from polytraders.reasons import Code
from polytraders.rows import (
    ACTION,
    DECISION,
    POST_ONLY,
    SAMPLE,
    TERMS_TTL_SHIFT,
    ActionKind,
    EventKind,
    Flag,
    Gate,
    OrderType,
    Outcome,
    Severity,
    Side,
    Signal,
    Status,
    Verdict,
)
from polytraders.units import CENT_SHARE, NS_PER_DAY, NS_PER_MS, NS_PER_S, ONE

NS_PER_HOUR = 3_600 * NS_PER_S
REJECT_RATE_HALF_LIFE = 300 * NS_PER_S
"""Window of the order-reject rate: counts are halved every five minutes (decisions: error rate over 5 min)."""
FIRST_MONDAY = 4
"""1970-01-01 was a Thursday: day 4 was the first Monday of the epoch."""
CHAIN = 64
"""Rows one intent may stage: all risk and execution bots and the runtime's own."""
FETCH_RECORDS, FETCH_TOUCH = 8, 3
"""How many markets ahead of the one decided on memory is asked for."""
_MARKET_LINES = MARKET.itemsize // LINE
_POSITION_LINES = POSITION.fields["realised"][1] // LINE
_REPEAT_BYTES = REPEAT.itemsize
NO_SLOT = N_SLOTS
LOSS_SHIFT = 10
"""A fall of equity by one in 2^10 has risk asked again about whatever stays."""
RESHAPE = N_SLOTS + 1
"""Added to a slot in the receipts of reshapes: beside the strategy's own they are a series of their own."""

STAGED = np.dtype(
    [
        (name, "<i8")
        for name in (
            *("bot", "slot", "code", "verdict", "observed", "limit", "price", "size", "out_price", "out_size", "terms"),
            "changed",  # 1 = not what this bot last wrote of this market and slot
        )
    ]
)
"""A decision that may become a row: what is its own of the fields of rows.DECISION."""


class Out(NamedTuple):
    """Rows the step has written, taken away by whoever drives it."""

    decisions: np.ndarray  # DECISION[...]
    actions: np.ndarray  # ACTION[...]
    samples: np.ndarray  # SAMPLE[...]
    chain: np.ndarray  # STAGED[CHAIN], the intent in work
    count: np.ndarray  # int64[5]


MARGIN_PER_EVALUATION = CHAIN * N_SLOTS + 64
"""Rows one evaluation may write at most; a driver stops when less room is left."""


def new_out(rows: int) -> Out:
    """Output buffers for about `rows` rows of each kind between two visits of the driver."""
    rows = max(rows, 4 * MARGIN_PER_EVALUATION)
    return Out(
        decisions=records(DECISION, rows),
        actions=records(ACTION, rows),
        samples=records(SAMPLE, rows),
        chain=records(STAGED, CHAIN),
        count=np.zeros(5, np.int64),
    )


@inline
def has_room(out):
    """False when the driver must empty the buffers before the next event."""
    count = out.count
    return (
        count[N_DECISIONS] + MARGIN_PER_EVALUATION < out.decisions.shape[0]
        and count[N_ACTIONS] + MARGIN_PER_EVALUATION < out.actions.shape[0]
        and count[N_SAMPLES] + MARGIN_PER_EVALUATION < out.samples.shape[0]
    )


# ---------------------------------------------------------------------------------------------- receipts


@inline
def _terms(intent):
    """An intent's other terms as a decision row keeps them (rows.TERMS_*)."""
    ttl_ms = intent.ttl // NS_PER_MS
    return intent.order_type | intent.passive_only << 2 | intent.reduce_only << 3 | ttl_ms << TERMS_TTL_SHIFT


@inline
def _about(market, slot, intent):
    """What all decisions about one intent, as it stands, bring into their bots' hashes."""
    return (
        market.now * 6364136223846793005
        ^ intent.price * 1442695040888963407
        ^ intent.size * 3935559000370003845
        ^ (market.id << 32 | slot << 24)
    )


@inline
def _count(state, bot, series, about, code, verdict, observed, limit):
    """Let one decision enter its bot's hash and count; True when it is not what the bot last wrote in this series.

    series: REPEAT[b] of the market and slot. about: see `_about`.
    """
    b, last = state.bots[bot], series[bot]
    last.count += 1
    mixed = (b.hash ^ about ^ observed) * 2691343689449507681 + (limit ^ (verdict << 16 | code) << 32)
    b.hash = mixed ^ mixed >> 29
    return last.code != code or last.verdict != verdict  # before the first one, code is 0


@inline
def _keep(out, bot, slot, code, verdict, intent, terms, observed, limit, changed):
    """Put a decision into the chain. Only what differs from bot to bot; `_write_chain` knows the rest."""
    n = out.count[N_CHAIN]
    out.count[N_CHAIN] = n + 1
    out.count[N_CHANGED] += changed
    staged = out.chain[n]
    staged.bot = bot
    staged.slot = slot
    staged.code = code
    staged.verdict = verdict
    staged.observed = observed
    staged.limit = limit
    staged.price = staged.out_price = intent.price
    staged.size = staged.out_size = intent.size
    staged.terms = terms
    staged.changed = changed
    return staged


@inline
def _stage_of(state, out, bot, slot, series, about, code, verdict, intent, terms, observed, limit):
    """One decision of an intent's chain. Whether it becomes a row is not known before the chain's end."""
    changed = _count(state, bot, series, about, code, verdict, observed, limit)
    return _keep(out, bot, slot, code, verdict, intent, terms, observed, limit, changed)


@inline
def _stage(state, out, bot, market, slot, code, verdict, intent, terms, observed, limit):
    """The same for one decision alone."""
    series, about = state.repeats[market.id, slot], _about(market, slot, intent)
    return _stage_of(state, out, bot, slot, series, about, code, verdict, intent, terms, observed, limit)


@inline
def _note_of(state, out, bot, slot, series, about, code, intent, terms, observed, limit):
    """One decision that cannot lead to an action: it becomes a row when it is news, and is only counted else."""
    if _count(state, bot, series, about, code, Verdict.NONE, observed, limit):
        _keep(out, bot, slot, code, Verdict.NONE, intent, terms, observed, limit, True)


@inline
def _note(state, out, bot, market, slot, code, intent, terms, observed, limit):
    """The same for one decision alone."""
    series, about = state.repeats[market.id, slot], _about(market, slot, intent)
    _note_of(state, out, bot, slot, series, about, code, intent, terms, observed, limit)


@inline
def _begin_chain(out):
    out.count[N_CHAIN] = out.count[N_CHANGED] = 0


@inline
def _write_chain(state, out, market, corr, intent, acted):
    """Write the chain as rows: all of it when the intent led to an action, else only what changed."""
    if acted or out.count[N_CHANGED] > 0:
        _write_rows(
            state.clock[0], state.bots, state.repeats, state.severity, out.decisions, out.chain, out.count, market,
            corr, intent, acted,
        )  # fmt: skip
    _begin_chain(out)


@njit
def _write_rows(clock, bots, repeats, severities, decisions, chain, count, market, corr, intent, acted):
    for i in range(count[N_CHAIN]):
        staged = chain[i]
        if not acted and not staged.changed:
            continue
        b, last = bots[staged.bot], repeats[market.id, staged.slot, staged.bot]
        row = decisions[count[N_DECISIONS]]
        count[N_DECISIONS] += 1
        row.ts = market.now
        row.seq = clock.seq
        row.corr = corr
        row.price = staged.price
        row.size = staged.size
        row.observed = staged.observed
        row.limit = staged.limit
        row.out_price = staged.out_price
        row.out_size = staged.out_size
        row.market = market.id
        row.repeats = last.count - 1
        b.decisions += last.count
        row.bot = staged.bot
        row.code = staged.code
        row.slot = staged.slot
        row.verdict = staged.verdict
        severity = severities[staged.code]
        row.severity = Severity.WARN if b.warned and severity == Severity.INFO else severity
        row.outcome = intent.outcome
        row.side = intent.side
        row.mode = b.mode
        row.warned = b.warned
        row.terms = staged.terms
        last.code = staged.code
        last.verdict = staged.verdict
        last.count = 0


@njit
def flush_repeats(state, out):
    """At the end of a run: write what was only counted. Returns False when the buffer is full: call again."""
    clock = state.clock[0]
    for bot in range(state.repeats.shape[2]):
        for market in range(state.repeats.shape[0]):
            for slot in range(state.repeats.shape[1]):
                last = state.repeats[market, slot, bot]
                if last.count > 0:
                    if not has_room(out):
                        return False
                    row = out.decisions[out.count[N_DECISIONS]]
                    out.count[N_DECISIONS] += 1
                    row.ts = clock.now
                    row.seq = clock.seq
                    row.corr = row.price = row.size = row.observed = row.limit = row.out_price = row.out_size = 0
                    row.market = market
                    row.repeats = last.count
                    row.bot = bot
                    row.code = last.code
                    row.slot = slot
                    row.verdict = last.verdict
                    row.severity = state.severity[last.code]
                    row.warned = state.bots[bot].warned
                    if row.warned and row.severity == Severity.INFO:
                        row.severity = Severity.WARN
                    row.outcome = row.side = row.terms = 0
                    row.mode = state.bots[bot].mode
                    state.bots[bot].decisions += last.count
                    last.count = 0
    return True


@njit
def _sample(clock, account, samples, count, now):
    row = samples[count[N_SAMPLES]]
    count[N_SAMPLES] += 1
    row.ts = now
    row.seq = clock.seq
    row.equity = account.equity
    row.cash = account.cash + account.unsettled
    row.reserved = account.reserved
    row.cost = account.cost
    row.marked = account.marked
    row.realised = account.realised
    row.fees = account.fees
    row.rebates = account.rebates


# ------------------------------------------------------------------------------------------- the clock


@inline
def grid_time(clock, when):
    """The first decision time of the grid at or after `when`, ns."""
    interval, last = clock.interval, clock.last_tick
    # a division takes as long as the rest of an event; mostly the answer is the time after the last one
    if last < when <= last + interval:
        return last + interval
    return last + ((when - last - 1) // interval + 1) * interval  # of numbers below 2^32 it takes half as long


@inline
def _arm(clock, when):
    """Make sure that a decision time at or after `when` is on the clock."""
    interval, armed = clock.interval, clock.next_tick
    if interval == 0:
        clock.next_tick = when if armed == 0 else min(when, armed)
    elif armed == 0 or when <= armed - interval:
        clock.next_tick = grid_time(clock, when)


@inline
def touch(state, market, now):
    """Something about this market changed: decide on it at the next decision time."""
    if market.dirty == 0:
        clock = state.clock[0]
        market.dirty = 1
        state.dirty[clock.n_dirty] = market.id
        clock.n_dirty += 1
        _arm(clock, now)


@njit
def _sift_up(heap, at, when, market):
    """Put an entry into a heap of `at` entries."""
    while at > 0:
        parent = (at - 1) // 2
        if heap[parent, 0] <= when:
            break
        heap[at, 0], heap[at, 1] = heap[parent, 0], heap[parent, 1]
        at = parent
    heap[at, 0], heap[at, 1] = when, market


@njit
def _wake_push(clock, markets, heap, when, market):
    """Queue a wake. Of a market's entries the one that `queued` names counts, the earliest; the others are dropped."""
    if clock.n_wake == heap.shape[0]:  # keep each market's last one: the heap then has at most one a market
        n, clock.n_wake = clock.n_wake, 0
        for i in range(n):
            m = markets[heap[i, 1]]
            if m.queued == heap[i, 0]:
                m.queued = 0  # so that its equals are dropped
                _sift_up(heap, clock.n_wake, heap[i, 0], heap[i, 1])
                clock.n_wake += 1
        for i in range(clock.n_wake):
            markets[heap[i, 1]].queued = heap[i, 0]
    markets[market].queued = when
    _sift_up(heap, clock.n_wake, when, market)
    clock.n_wake += 1


@njit
def _wake_pop(clock, heap):
    clock.n_wake -= 1
    n = clock.n_wake
    when, market = heap[n, 0], heap[n, 1]
    at = 0
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and heap[child + 1, 0] < heap[child, 0]:
            child += 1
        if heap[child, 0] >= when:
            break
        heap[at, 0], heap[at, 1] = heap[child, 0], heap[child, 1]
        at = child
    heap[at, 0], heap[at, 1] = when, market


@inline
def decides_before(clock, when):
    """True when `tick` must run before anything that happens at `when`.

    Decisions follow everything of their own time; without a grid they follow each complete message at once.
    """
    return clock.next_tick > 0 and (clock.next_tick < when or (clock.interval == 0 and clock.n_dirty > 0))


@inline
def _fetch_records(state, index):
    """A market will be decided on soon: with thousands of them its records are in no cache by now."""
    prefetch(state.markets, index, 0, _MARKET_LINES)
    prefetch(state.positions, index, 0, _POSITION_LINES)
    prefetch(state.slots, index, 0, 1)
    series = state.clock[0].n_bots * _REPEAT_BYTES
    for part in range(0, series, LINE):  # the first slot of each side is what most strategies use
        prefetch(state.repeats, index, part, 1)
        prefetch(state.repeats, index, N_SLOTS // 2 * series + part, 1)
        prefetch(state.repeats, index, NO_SLOT * series + part, 1)


@inline
def _fetch_touch(state, index):
    """A market will be decided on next but one, and its records are here: fetch its best levels and its orders."""
    market, slots = state.markets[index], state.slots[index]
    prefetch(state.book, market.offset + bk.bid(market), -LINE, 2)
    prefetch(state.book, market.offset + market.levels + bk.ask(market), 0, 2)
    for slot in range(0, N_SLOTS, N_SLOTS // 2):
        if slots[slot] >= 0:
            prefetch(state.orders, slots[slot], 0, 2)


@njit
def fetch_events(markets, positions, book, volume, events, at, n):
    """Every `AHEAD` rows: ask for what the next `AHEAD` will change, and for the markets of as many behind those."""
    for i in range(at + AHEAD, min(at + 2 * AHEAD, n)):
        row = events[i]
        index, side = np.int64(max(row.market, 0)), np.int64(row.side) & 1
        market = markets[index]
        if row.kind <= EventKind.CHANGE:
            level = (row.price * market.recip) >> bk.SHIFT
            prefetch(book, market.offset + side * market.levels + level, 0, 1)
        elif row.kind == EventKind.TRADE:
            prefetch(markets, index, 2 * LINE, 1)
            prefetch(positions, index, LINE, 1)
            prefetch(volume, index, 0, 4)
    for i in range(at + 2 * AHEAD, min(at + 3 * AHEAD, n)):
        prefetch(markets, np.int64(events[i].market), 0, 2)


@njit
def fetch_answer(markets, positions, slots, orders, event):
    """An answer that will be consumed soon: ask for what it speaks of."""
    index = np.int64(event.market)
    prefetch(markets, index, 0, 2)
    prefetch(positions, index, 0, _POSITION_LINES)
    prefetch(slots, index, 0, 1)
    prefetch(orders, event.aux & (MAX_ORDERS - 1), 0, 2)


@inline
def tick(state, kernels, out):
    """Run the armed decision time: wake who asked for it, then decide on every changed market, in order of change."""
    clock = state.clock[0]
    now = clock.next_tick
    clock.next_tick = 0
    clock.last_tick = now
    while clock.n_wake > 0 and state.wakes[0, 0] <= now:
        when, index = state.wakes[0, 0], state.wakes[0, 1]
        _wake_pop(clock, state.wakes)
        market = state.markets[index]
        if market.queued == when:
            market.queued = 0
            if market.wake > now:  # it was put off meanwhile
                _wake_push(clock, state.markets, state.wakes, market.wake, index)
            elif market.wake > 0:
                market.wake = 0
                if market.dirty == 0:
                    market.dirty = 1
                    state.dirty[clock.n_dirty] = index
                    clock.n_dirty += 1
    at = 0
    while at < clock.n_dirty and has_room(out):
        if at + FETCH_RECORDS < clock.n_dirty:
            _fetch_records(state, state.dirty[at + FETCH_RECORDS])
            _fetch_touch(state, state.dirty[at + FETCH_TOUCH])
        market = state.markets[state.dirty[at]]
        market.dirty = 0
        evaluate(state, kernels, out, market, now)
        at += 1
    left = clock.n_dirty - at  # a full buffer: the rest keeps its order and is done at this same time
    for i in range(left):
        state.dirty[i] = state.dirty[at + i]
    clock.n_dirty = left
    if left > 0:
        clock.next_tick = now
    elif clock.n_wake > 0:
        _arm(clock, state.wakes[0, 0])


# --------------------------------------------------------------------------------------------- the pipeline


@inline
def _roll_periods(account, now):
    """Open a new UTC day or week (Monday) for the drawdown limits, and keep the peaks."""
    while now >= account.day_end:  # once; for a plain `if` the compiler would divide first and ask then
        day = now // NS_PER_DAY
        account.day, account.day_end = day, (day + 1) * NS_PER_DAY
        account.day_open = account.day_peak = account.equity
        week = (day - FIRST_MONDAY) // 7
        if week != account.week:
            account.week = week
            account.week_open = account.week_peak = account.equity
    account.day_peak = max(account.day_peak, account.equity)
    account.week_peak = max(account.week_peak, account.equity)
    account.peak = max(account.peak, account.equity)


@inline
def _note_loss(account, now):
    """Note when the equity has fallen by more than one in 2^LOSS_SHIFT from its high since the last such fall.

    What was judged at that very time is judged once more: it may have been before this market's fall was seen.
    """
    if account.equity >= account.loss_from:
        account.loss_from = account.equity
    elif account.loss_from - account.equity > account.loss_from >> LOSS_SHIFT:
        account.loss_from = account.equity
        account.loss_ts = now


@inline
def _watch(market, mark2, now):
    """Keep the worst that decisions saw in this window and the one before. mark2: the mid of the decision before."""
    if now - market.watch_ts >= WATCH:
        recent = now - market.watch_ts < 2 * WATCH
        market.widest_before = market.widest if recent else 0
        market.jump2_before = market.jump2 if recent else 0
        market.widest = market.jump2 = 0
        market.watch_ts = now
    if mark2 > 0:  # a market that opens is not yet one that broke
        whole = two_sided(market) and market.status == Status.OPEN and market.feed_up != 0
        market.widest = max(market.widest, market.best_ask - market.best_bid if whole else ONE)
        market.jump2 = max(market.jump2, abs(market.mark2 - mark2))


@inline
def refresh(state, market, now):
    """Bring the market's derived fields and the account's marks up to the decision time."""
    account = state.account[0]
    bid, ask = bk.bid(market), bk.ask(market)
    market.bid_level, market.ask_level = bid, ask
    market.best_bid = bid * market.grid if bid >= 0 else -1
    market.best_ask = ask * market.grid if ask >= 0 else -1
    market.bid_size = state.book[market.offset + bid] if bid >= 0 else 0
    market.ask_size = state.book[market.offset + market.levels + ask] if ask >= 0 else 0
    mark2 = market.mark2
    if bid >= 0 and ask >= 0:
        market.mark2 = market.best_bid + market.best_ask
    _watch(market, mark2, now)
    mark(account, state.positions[market.id], market.mark2)
    market.now = now
    account.now = now
    _roll_periods(account, now)
    _note_loss(account, now)


@njit
def _cancel(clock, account, order, slots, action, now):
    """Write the action that cancels a working order; its slot is free for the next at once."""
    order.state = PENDING_CANCEL
    slots[order.market, order.slot] = -1
    account.cancels += 1
    action.ts = now
    action.seq = clock.seq
    action.corr = order.corr
    action.order_id = order.id
    action.price = order.price
    action.size = order.size - order.filled
    action.market = order.market
    action.slot = order.slot
    action.kind = ActionKind.CANCEL
    action.outcome = order.outcome
    action.side = order.side
    action.order_type = order.order_type
    action.flags = order.flags
    action.expiry = 0


@inline
def _send_cancel(state, out, row, now):
    """Working orders stand in a slot until they are finished or a cancel is on its way; only those come here."""
    order = state.orders[row]
    position = state.positions[order.market]
    position.leaving[order.slot] += 1
    position.leaving_ts[order.slot] = now
    _cancel(state.clock[0], state.account[0], order, state.slots, out.actions[out.count[N_ACTIONS]], now)
    out.count[N_ACTIONS] += 1


@inline
def _next_order_id(clock, free):
    """Serial number and table row in one number, 0 when the table is full. The row freed last is used first."""
    if clock.n_free == 0:
        return 0
    clock.n_free -= 1
    clock.order += 1
    return clock.order * MAX_ORDERS + free[clock.n_free]


@inline
def _submit(state, out, intent, market, price, size, order_type, flags, corr):
    """Reserve, remember and send one order. Returns the reason-code number of what happened."""
    account, position = state.account[0], state.positions[market.id]
    expiry = 0
    if order_type == OrderType.GTD:  # it lives as long as the intent; without a ttl, or with a short one, it cannot
        expiry = gtd_expiry(market.now, intent.ttl)
        if gtd_too_soon(expiry, market.now):
            return np.int64(Code.EXEC_GTD_TOO_SOON)
    amount = need(market, intent.side, price, size, flags)
    if intent.side == Side.BUY:
        if amount > account.cash:
            return np.int64(Code.EXEC_NO_FUNDS)
    elif amount > free_shares(position, intent.outcome):
        return np.int64(Code.EXEC_NO_FUNDS)
    order_id = _next_order_id(state.clock[0], state.free)
    if order_id == 0:
        return np.int64(Code.EXEC_TABLE_FULL)
    row = order_id & (MAX_ORDERS - 1)
    order = state.orders[row]
    order.id = order_id
    order.corr = corr
    order.market = market.id
    order.slot = intent.slot
    order.outcome = intent.outcome
    order.side = intent.side
    order.price = price
    order.size = size
    order.filled = 0
    order.reserved = amount
    order.order_type = order_type
    order.flags = flags
    order.state = PENDING_NEW
    order.submit_ts = order.judged_ts = market.now
    order.judged_mark2 = market.mark2
    order.ack_ts = 0
    order.expires = gtd_expires(expiry) if expiry > 0 else 0
    order.ahead = _depth(state.book, market, intent.outcome, intent.side, price)
    hold(account, position, intent.outcome, intent.side, amount)
    account.submits += 1
    count_sent(account, market.now)
    count_sent(position, market.now)
    account.open_orders += 1
    position.open_orders += 1
    _decay_recent(account, market.now)
    account.recent_submits += 1_000
    if order_type == OrderType.GTC or order_type == OrderType.GTD:
        state.slots[market.id, intent.slot] = row
    else:
        state.taking[market.id, intent.slot] += 1
    action = out.actions[out.count[N_ACTIONS]]
    out.count[N_ACTIONS] += 1
    action.ts = market.now
    action.seq = state.clock[0].seq
    action.corr = corr
    action.order_id = order_id
    action.price = price
    action.size = size
    action.market = market.id
    action.slot = intent.slot
    action.kind = ActionKind.SUBMIT
    action.outcome = intent.outcome
    action.side = intent.side
    action.order_type = order_type
    action.flags = flags
    action.expiry = expiry
    return np.int64(Code.EXEC_SUBMITTED)


@njit
def _decay_recent(account, now):
    """Halve the reject-rate counters once per half-life that has begun since the last time."""
    periods = (now - account.recent_ts) // REJECT_RATE_HALF_LIFE
    if periods > 0:
        shift = min(periods, 40)
        account.recent_submits >>= shift
        account.recent_rejects >>= shift
        account.recent_ts += periods * REJECT_RATE_HALF_LIFE


@inline
def _judge(state, kernels, out, market, position, account, ladder, intent, terms):
    """The risk chain: declared order, stop at the first REJECT. Returns True when the intent may go on."""
    clock, vote = state.clock[0], state.vote[0]
    first = clock.n_intel + clock.n_disc + clock.n_strat
    allowed = True
    slot = intent.slot
    series, about = state.repeats[market.id, slot], _about(market, slot, intent)
    for k in range(clock.n_risk):
        bot = first + k
        mode = state.bots[bot].mode
        if mode == MODE_OFF:
            continue
        vote.verdict = Verdict.APPROVE
        vote.max_size = vote.max_price = vote.min_price = -1
        vote.passive_only = vote.close_only = 0
        vote.observed = vote.limit = vote.latch = 0
        code = judge(kernels.risk, k, intent, market, position, account, ladder, vote, state.params[bot])
        if allowed and mode == MODE_QUARANTINE and market.quarantined:
            vote.verdict = Verdict.QUARANTINE
        row = _stage_of(
            state, out, bot, slot, series, about, code, vote.verdict, intent, terms, vote.observed, vote.limit
        )
        row.terms = terms | vote.passive_only << 4 | vote.close_only << 5  # TERMS_VOTE_*
        if not allowed or mode < MODE_ENFORCED:  # a panel vote after a REJECT, shadow or advisory: heard, not obeyed
            continue
        if vote.verdict == Verdict.REJECT or vote.verdict == Verdict.QUARANTINE:
            allowed = False
            if vote.latch and account.halted == 0:
                account.halted = code
                account.halted_ts = market.now
                for i in range(clock.n_markets):  # their resting orders must go
                    if state.positions[i].open_orders > 0:
                        touch(state, state.markets[i], market.now + 1)
            if clock.full_panel == 0:
                break
        elif vote.verdict == Verdict.RESHAPE:
            intent.reshaped = 1
            if vote.max_size >= 0:
                intent.size = min(intent.size, vote.max_size)
            if vote.max_price >= 0 and intent.side == Side.BUY:
                intent.price = min(intent.price, vote.max_price)
            if vote.min_price >= 0 and intent.side == Side.SELL:
                intent.price = max(intent.price, vote.min_price)
            if vote.passive_only:
                intent.passive_only = 1
            if vote.close_only:
                intent.reduce_only = 1
            row.out_price = intent.price
            row.out_size = intent.size
            about = _about(market, slot, intent)
    if clock.guarded == 0 and (account.switch != 0 or market.switch != 0):  # no bot to say so: nothing passes
        code = np.int64(Code.RISK_KILL_SWITCH_ACTIVE)
        _stage(state, out, clock.n_bots - 1, market, slot, code, Verdict.REJECT, intent, terms, 0, 0)
        allowed = False
    return allowed


@inline
def _same(order, intent, price, size):
    """The working order already is what is wanted: same token, side and price, and no larger than planned."""
    return (
        order.outcome == intent.outcome
        and order.side == intent.side
        and order.price == price
        and order.size - order.filled <= size
        and order.state != PENDING_CANCEL
    )


@inline
def _stands(clock, account, market, position, order):
    """True when a quote that stays need not be put to risk again: S5."""
    judged = order.judged_ts
    return (
        clock.rejudge > 0
        and market.now - judged < clock.rejudge
        and max(position.last_fill_ts, market.news_ts, clock.news_ts, account.loss_ts) < judged
        and abs(market.mark2 - order.judged_mark2) < 2 * market.tick
        and account.halted == 0
        and account.switch == 0
        and market.switch == 0
        and market.feed_up
    )


@njit
def _depth(book, market, outcome, side, price):
    """Micro-shares that stand at an order's own price, on its own side."""
    level = ((price if outcome == Outcome.YES else ONE - price) * market.recip) >> bk.SHIFT
    asks = side != outcome  # YES sells and NO buys stand among the asks
    return book[market.offset + level + (market.levels if asks else 0)]


@njit
def _show_working_rows(book, orders, slots, market, position, intent, working):
    intent.working = 0
    intent.working_price = -1
    intent.working_outcome = intent.working_size = intent.working_ts = intent.working_ahead = 0
    intent.working_side = intent.working_filled = intent.working_expires = 0
    intent.leaving = position.leaving[intent.slot]
    intent.leaving_ts = position.leaving_ts[intent.slot]
    if working >= 0:
        order = orders[working]
        order.ahead = min(order.ahead, _depth(book, market, order.outcome, order.side, order.price))
        intent.working = order.state
        intent.working_price = order.price
        intent.working_outcome = order.outcome
        intent.working_size = order.size - order.filled
        intent.working_ts = order.submit_ts
        intent.working_ahead = order.ahead
        intent.working_side = order.side
        intent.working_filled = order.filled
        intent.working_expires = order.expires
    best = -1
    first = 0 if intent.slot >= N_SLOTS // 2 else N_SLOTS // 2
    for slot in range(first, first + N_SLOTS // 2):
        if slots[slot] >= 0:
            order = orders[slots[slot]]
            price = order.price if order.outcome == intent.outcome else ONE - order.price
            nearer = best < 0 or (price < best if intent.side == Side.BUY else price > best)
            if nearer:
                best = price
    intent.opposite = best


@inline
def _show_working(state, market, intent, working):
    """Tell the bots what already stands: the slot's working order, our best order on the other side, and what the
    event's other markets hold."""
    position = state.positions[market.id]
    _show_working_rows(state.book, state.orders, state.slots[market.id], market, position, intent, working)
    intent.cluster = 0
    peer = market.peer
    while peer != market.id:
        other = state.positions[peer]
        intent.cluster += other.yes_cost + other.no_cost + other.buy_reserved
        peer = state.markets[peer].peer


@inline
def _pursue(state, kernels, out, market, position, account, ladder, intent, origin, why):
    """One wanted quote through risk and execution to orders. Writes its receipts.

    origin: index of the bot that wants it for the reason `why`, the strategy or (an exit) the runtime.
    """
    clock = state.clock[0]
    slot = intent.slot
    strategy = clock.n_intel + clock.n_disc
    runtime = clock.n_bots - 1
    series = slot if origin == strategy else NO_SLOT  # the runtime's receipts of the slot are a series already
    working = state.slots[market.id, slot]
    corr = clock.corr + 1
    kept = working >= 0 and _same(state.orders[working], intent, intent.price, intent.size)
    if kept:
        corr = state.orders[working].corr
    if kept and _stands(clock, account, market, position, state.orders[working]):
        repeats, about = state.repeats[market.id, series], _about(market, series, intent)
        if _count(state, origin, repeats, about, why, Verdict.NONE, intent.edge, intent.fair):
            _keep(out, origin, series, why, Verdict.NONE, intent, _terms(intent), intent.edge, intent.fair, True)
            _write_chain(state, out, market, corr, intent, False)
        return
    _begin_chain(out)
    _show_working(state, market, intent, working)
    # a quote that stays does not count twice; one that moves does until its cancel is confirmed
    intent.replaces = state.orders[working].reserved if kept and intent.side == Side.BUY else 0
    terms = _terms(intent)
    _stage(state, out, origin, market, series, why, Verdict.NONE, intent, terms, intent.edge, intent.fair)
    price, size = intent.price, intent.size
    acted = False
    if market.group >= 0:
        survey_group(state.markets, state.positions, market)
    allowed = _judge(state, kernels, out, market, position, account, ladder, intent, terms)
    if intent.reshaped and allowed:
        code = Code.STRAT_RESHAPED_BY_RISK
        at = slot + RESHAPE
        row = _stage(state, out, origin, market, at, code, Verdict.NONE, intent, terms, size, intent.size)
        row.price = price
        row.size = size
    plan = state.plan[0]
    plan.n = 0
    if allowed:
        plan.fee = plan.rebate = plan.slippage_bps = plan.q_exec = plan.method = 0
        first = strategy + 1 + clock.n_risk
        own, about = state.repeats[market.id, slot], _about(market, slot, intent)
        for k in range(clock.n_exec):
            bot = first + k
            if state.bots[bot].mode == MODE_OFF:
                continue
            written = plan
            if state.bots[bot].mode < MODE_ENFORCED:  # shadow, advisory: it shapes a copy, which goes nowhere
                state.plan[1] = plan
                written = state.plan[1]
            written.observed = written.limit = 0
            code = shape(kernels.exec, k, intent, market, position, account, ladder, written, state.params[bot])
            row = _stage_of(
                state, out, bot, slot, own, about, code, Verdict.NONE, intent, terms, written.observed, written.limit
            )
            if written.n > 0:
                row.out_price = written.price[written.n - 1]
                total = 0
                for i in range(written.n):
                    total += written.size[i]
                row.out_size = total
    if plan.n == 0:
        if working >= 0:
            _send_cancel(state, out, working, market.now)
            acted = True
    else:
        last = plan.n - 1
        rests = plan.order_type[last] == OrderType.GTC or plan.order_type[last] == OrderType.GTD
        takes = plan.n > 1 or plan.flags[last] & POST_ONLY == 0
        keep = (
            rests
            and not takes
            and working >= 0
            and state.orders[working].order_type == plan.order_type[last]
            and _same(state.orders[working], intent, plan.price[last], plan.size[last])
        )
        if keep:
            state.orders[working].judged_ts = market.now
            state.orders[working].judged_mark2 = market.mark2
        waiting = takes and (state.taking[market.id, slot] > 0 or working >= 0)
        if not keep and not waiting:
            if kept:  # risk or execution changed what stood: this is a new intent after all
                kept = False
                corr = clock.corr + 1
            code = np.int64(PASSES)
            if clock.gate != Gate.OPEN:
                proposals = state.proposals[market.id]
                code = at_gate(clock, proposals, market, intent, plan, takes, corr, out.actions, out.count)
                corr = proposals[slot].corr
                acted = proposals[slot].made == market.now
            if working >= 0:
                _send_cancel(state, out, working, market.now)
                acted = True
            if code == PASSES:
                for i in range(plan.n):
                    code = _submit(
                        state, out, intent, market, plan.price[i], plan.size[i], plan.order_type[i], plan.flags[i], corr
                    )
                    if code != Code.EXEC_SUBMITTED:
                        break
                    if clock.gate != Gate.OPEN:
                        sent(state.proposals[market.id, slot], plan.size[i])
                acted |= code == Code.EXEC_SUBMITTED
            row = _stage(state, out, runtime, market, slot, code, Verdict.NONE, intent, terms, account.cash, 0)
            row.out_price = plan.price[last]
            row.out_size = plan.size[last]
        elif waiting and working >= 0 and not keep:
            # a taking intent does not wait behind a quote of the same slot: that quote goes first
            if not _same(state.orders[working], intent, plan.price[last], plan.size[last]):
                _send_cancel(state, out, working, market.now)
                acted = True
    before = out.count[N_DECISIONS]
    _write_chain(state, out, market, corr, intent, acted)
    if not kept and corr == clock.corr + 1 and (acted or out.count[N_DECISIONS] > before):
        clock.corr += 1
        clock.intents += 1


@njit
def _merge_sets(clock, account, position, market, actions, count, now):
    """Ask for the complete sets that no order stands on to be turned into cash: it earns nothing as shares."""
    size = min(position.yes - position.yes_reserved, position.no - position.no_reserved) // CENT_SHARE * CENT_SHARE
    if size < clock.merge_least or market.status == Status.RESOLVED:
        return
    position.merging = size  # one at a time
    position.yes_reserved += size
    position.no_reserved += size
    action = actions[count[N_ACTIONS]]
    count[N_ACTIONS] += 1
    action.ts = now
    action.seq = clock.seq
    action.corr = action.order_id = action.price = 0
    action.size = size
    action.market = market.id
    action.slot = NO_SLOT
    action.kind = ActionKind.MERGE
    action.outcome = action.side = action.order_type = action.flags = 0


@inline
def _unwind(state, kernels, market, position, account, ladder):
    """Micro-shares that risk.inventoryunwinder wants gone: it is asked whether it would let the holding grow."""
    clock, vote, probe = state.clock[0], state.vote[0], state.targets[N_SLOTS]
    net = position.yes - position.no
    probe.market, probe.outcome, probe.side = market.id, Outcome.YES if net > 0 else Outcome.NO, Side.BUY
    probe.price, probe.size = ONE // 2, max(market.min_size, CENT_SHARE)
    vote.verdict = Verdict.APPROVE
    vote.observed = vote.limit = vote.latch = 0
    bot = clock.n_intel + clock.n_disc + clock.n_strat + clock.unwinder
    code = judge(kernels.risk, clock.unwinder, probe, market, position, account, ladder, vote, state.params[bot])
    if vote.verdict != Verdict.REJECT:
        return np.int64(0)
    if code == Code.RISK_FLATTEN and vote.observed > vote.limit >= 0:  # too much by so many thousandths, rounded up
        return abs(net) // 1_000 * min(1_000 * (vote.observed - vote.limit) // vote.observed + 1, 1_000)
    return abs(net)


@njit
def _review(state, out, market):
    """Take up the answers to the market's proposals, and what has come to its end; each change has its receipt."""
    clock, account = state.clock[0], state.account[0]
    stopped = account.halted != 0 or account.switch != 0 or market.switch != 0
    for slot in range(N_SLOTS):
        p, working = state.proposals[market.id, slot], state.slots[market.id, slot]
        taken_back = p.state == APPROVED and p.answer != 0
        # what closes a position that is to be closed may wait for its answer under a switch; risk judges it anyway
        closing = p.closes != 0 and state.positions[market.id].forced != 0
        code = review(clock, p, market, slot, stopped and not closing, out.actions, out.count)
        if code != 0:
            terms = p.order_type | (p.flags & POST_ONLY) << 2 | p.closes << 3
            _begin_chain(out)
            _stage(state, out, clock.n_bots - 1, market, slot, code, Verdict.NONE, p, terms, account.cash, 0)
            _write_chain(state, out, market, p.corr, p, True)
            if taken_back and working >= 0 and state.orders[working].corr == p.corr:
                _send_cancel(state, out, working, market.now)


@inline
def evaluate(state, kernels, out, market, now):
    """Decide on one market at `now`: the whole pipeline, receipts included."""
    clock, account, position = state.clock[0], state.account[0], state.positions[market.id]
    refresh(state, market, now)
    market.wake = 0
    clock.evaluations += 1
    ladder = window(state.book, market.offset, 2 * market.levels)
    targets = state.targets
    clear_targets(targets)
    nothing = targets[0]
    if clock.gate == Gate.APPROVAL:
        _review(state, out, market)
    _begin_chain(out)
    series, about = state.repeats[market.id, NO_SLOT], _about(market, NO_SLOT, nothing)
    for k in range(clock.n_intel):
        if state.bots[k].mode != MODE_OFF:
            code = sense(kernels.intel, k, market, position, account, ladder, state.params[k])
            _note_of(state, out, k, NO_SLOT, series, about, code, nothing, 0, market.flow_state, 0)
    for k in range(clock.n_disc):
        bot = clock.n_intel + k
        if state.bots[bot].mode != MODE_OFF:
            candidate = market.candidate
            code = sense(kernels.disc, k, market, position, account, ladder, state.params[bot])
            if state.bots[bot].mode < MODE_ENFORCED:  # shadow, advisory: its recommendation is heard, not followed
                market.candidate = candidate
            _note_of(state, out, bot, NO_SLOT, series, about, code, nothing, 0, market.candidate, 0)
    strategy = clock.n_intel + clock.n_disc
    mode = state.bots[strategy].mode
    if clock.n_strat > 0 and mode != MODE_OFF:
        code = propose(
            kernels.strat, market, position, account, ladder, state.memory[market.id], targets, state.params[strategy]
        )
        wanted = False
        for slot in range(N_SLOTS):
            wanted |= targets[slot].want == WANT_QUOTE
        if not wanted:
            _note(state, out, strategy, market, NO_SLOT, code, nothing, 0, 0, 0)
        origin = strategy
        if clock.exits != 0:
            excess = np.int64(0)
            if clock.unwinder >= 0 and position.yes != position.no:
                excess = _unwind(state, kernels, market, position, account, ladder)
            leaving = propose_exit(clock, market, position, targets, excess)
            if leaving != 0:
                origin, code, mode = clock.n_bots - 1, leaving, MODE_ENFORCED
                if targets[SELL_YES].want + targets[SELL_NO].want == WANT_NOTHING:
                    _note(state, out, origin, market, NO_SLOT, code, nothing, 0, position.exiting, 0)
        _write_chain(state, out, market, 0, nothing, False)
        for slot in range(N_SLOTS):
            intent = targets[slot]
            if intent.want == WANT_QUOTE and mode >= MODE_ENFORCED:
                intent.market = market.id
                intent.slot = slot
                _pursue(state, kernels, out, market, position, account, ladder, intent, origin, code)
            elif intent.want == WANT_QUOTE:  # shadow, advisory: the intent is shown and goes no further
                _note(state, out, strategy, market, slot, code, intent, _terms(intent), intent.edge, intent.fair)
                _write_chain(state, out, market, 0, intent, False)
            elif state.slots[market.id, slot] >= 0:
                _send_cancel(state, out, state.slots[market.id, slot], now)
    else:
        _write_chain(state, out, market, 0, nothing, False)
    if clock.gate == Gate.APPROVAL:
        due = next_expiry(state.proposals[market.id], now)
        if due > 0 and (market.wake <= now or due < market.wake):
            market.wake = due
    if market.wake > now:
        if market.queued == 0 or market.wake < market.queued:  # a later one is queued when its turn comes
            _wake_push(clock, state.markets, state.wakes, market.wake, market.id)
        _arm(clock, state.wakes[0, 0])
    else:
        market.wake = 0
    if clock.merge_least > 0 and position.merging == 0 and clock.gate == Gate.OPEN:
        _merge_sets(clock, account, position, market, out.actions, out.count, now)
    market.prev_now = now
    market.buy_volume = market.sell_volume = market.n_trades = market.n_inferred = 0
    if clock.sample_interval > 0 and now >= clock.next_sample:
        clock.next_sample = (now // clock.sample_interval + 1) * clock.sample_interval
        _sample(state.clock[0], state.account[0], out.samples, out.count, now)


# ------------------------------------------------------------------------------------------------ events


@njit
def _eat_queue(orders, slots, event):
    """A print at a working order's price took from the queue before it. Sells hit bids, which have the first slots."""
    first = N_SLOTS // 2 if event.side == Side.BUY else 0
    for slot in range(first, first + N_SLOTS // 2):
        if slots[slot] >= 0:
            order = orders[slots[slot]]
            price = order.price if order.outcome == Outcome.YES else ONE - order.price
            side = order.side if order.outcome == Outcome.YES else 1 - order.side
            if price == event.price and side != event.side:
                order.ahead = max(order.ahead - event.size, 0)


@inline
def _on_trade(state, market, event):
    if event.side == Side.BUY:
        market.buy_volume += event.size
    else:
        market.sell_volume += event.size
    market.n_trades += 1
    if event.flags & Flag.INFERRED:
        market.n_inferred += 1
    market.last_price = event.price
    market.last_side = event.side
    market.last_size = event.size
    market.trade_ts = event.ts_recv
    if state.positions[market.id].open_orders > 0:
        _eat_queue(state.orders, state.slots[market.id], event)
    hours = state.volume[market.id]
    hour = event.ts_recv // NS_PER_HOUR
    gone = min(hour - hours[24], 24)
    for k in range(gone):  # buckets between the newest and now are hours without a trade
        bucket = (hour - k) % 24
        market.volume_24h -= hours[bucket]
        hours[bucket] = 0
    if gone > 0:
        hours[24] = hour
    traded = event.price * event.size // ONE
    hours[hour % 24] += traded
    market.volume_24h += traded


@njit
def _finish_order(clock, account, position, slots, taking, free, proposals, order):
    """The order is over: give back what it held and forget it."""
    row = order.id & (MAX_ORDERS - 1)
    if clock.gate == Gate.APPROVAL:
        give_back(proposals[order.market, order.slot], order)
    if order.reserved != 0:
        hold(account, position, order.outcome, order.side, -order.reserved)
        order.reserved = 0
    if slots[order.market, order.slot] == row:
        slots[order.market, order.slot] = -1
    if order.state == PENDING_CANCEL:
        position.leaving[order.slot] -= 1
    if order.order_type == OrderType.FOK or order.order_type == OrderType.FAK:
        taking[order.market, order.slot] -= 1
    account.open_orders -= 1
    position.open_orders -= 1
    order.id = 0
    free[clock.n_free] = row
    clock.n_free += 1


@njit
def _await_settlement(clock, account, position, unsettled, order, event, fee, rebate, cost):
    """A fill that was just booked is provisional. With no room to remember it trading halts, for no void could be
    booked."""
    n = clock.n_unsettled
    if n == MAX_UNSETTLED:
        if account.halted == 0:
            account.halted = Code.EXEC_TABLE_FULL
            account.halted_ts = event.ts_recv
        return
    clock.n_unsettled += 1
    fill = unsettled[n]
    fill.order = order.id
    fill.number = 0
    fill.market = order.market
    fill.outcome = order.outcome
    fill.side = order.side
    fill.price = event.price
    fill.size = event.size
    fill.fee = fee
    fill.rebate = rebate
    fill.cost = cost
    fill.flags = event.flags
    fill.due = 0
    hold_unsettled(account, position, fill)


@njit
def _unsettled_row(clock, unsettled, event):
    """The oldest unsettled fill that a confirmation or void speaks of, -1 = none."""
    for row in range(clock.n_unsettled):
        fill = unsettled[row]
        if (
            fill.order == event.aux
            and fill.price == event.price
            and fill.size == event.size
            and fill.fee == event.ref * MICRO_PER_FEE_UNIT
        ):
            return row
    return -1


@njit
def _settle_fill(clock, account, market, position, unsettled, row, event):
    """The chain has spoken about a provisional fill; the others close ranks."""
    fill = unsettled[row]
    if event.kind == EventKind.FILL_CONFIRMED:
        confirm_fill(account, position, fill)
    else:
        void_fill(account, position, fill)
        account.fills -= 1
        position.fills -= 1
        position.last_fill_ts = event.ts_recv  # what we hold has changed: risk looks again
        if market.status == Status.RESOLVED:
            settle(account, position, market.payout, market.redeeming)
        mark(account, position, market.mark2)
    clock.n_unsettled -= 1
    for i in range(row, clock.n_unsettled):
        unsettled[i] = unsettled[i + 1]


@inline
def _on_order_event(state, out, market, event):
    """Acks, refusals, fills and cancels of our own orders. An unknown id changes nothing."""
    clock, account, position = state.clock[0], state.account[0], state.positions[market.id]
    kind = event.kind
    if clock.n_unsettled > 0 and (kind == EventKind.FILL_CONFIRMED or kind == EventKind.FILL_VOIDED):
        row = _unsettled_row(clock, state.unsettled, event)
        if row >= 0:
            _settle_fill(clock, account, market, position, state.unsettled, row, event)
            if kind == EventKind.FILL_VOIDED:
                _sample(state.clock[0], state.account[0], out.samples, out.count, event.ts_recv)
            return
    order = state.orders[event.aux & (MAX_ORDERS - 1)]
    if order.id != event.aux:
        return
    if kind == EventKind.ORDER_ACK:
        order.ack_ts = event.ts_recv
        account.acks += 1
        if order.state == PENDING_NEW:
            order.state = LIVE
    elif kind == EventKind.ORDER_REJECT:
        account.rejects += 1
        _decay_recent(account, event.ts_recv)
        account.recent_rejects += 1_000
        _finish_order(clock, account, position, state.slots, state.taking, state.free, state.proposals, order)
    elif kind == EventKind.FILL_CONFIRMED or kind == EventKind.FILL_PROVISIONAL:
        size, fee = event.size, event.ref * MICRO_PER_FEE_UNIT
        rebate = 0
        if event.flags & Flag.MAKER:
            rebate = maker_rebate(size, event.price, market.fee_rate, market.fee_exponent, market.rebate_rate)
        order.filled += size
        if order.side == Side.BUY:
            spent = event.price * size // ONE + fee
            rest = min(
                need(market, order.side, order.price, order.size - order.filled, order.flags), order.reserved - spent
            )
            rest = max(rest, 0)
        else:
            rest = max(order.reserved - size, 0)
        hold(account, position, order.outcome, order.side, rest - order.reserved)
        order.reserved = rest
        cost = book_fill(account, position, order.outcome, order.side, event.price, size, fee, rebate)
        if kind == EventKind.FILL_PROVISIONAL:
            _await_settlement(clock, account, position, state.unsettled, order, event, fee, rebate, cost)
        account.fills += 1
        position.fills += 1
        position.last_fill_ts = event.ts_recv
        position.last_fill_price = event.price if order.outcome == Outcome.YES else ONE - event.price
        position.last_fill_side = order.side if order.outcome == Outcome.YES else 1 - order.side
        position.last_fill_size = size
        if order.filled >= order.size and event.flags & Flag.MORE == 0:
            _finish_order(clock, account, position, state.slots, state.taking, state.free, state.proposals, order)
        if market.status == Status.RESOLVED:  # the fill was on its way when the market resolved
            settle(account, position, market.payout, market.redeeming)
        mark(account, position, market.mark2)
        _sample(state.clock[0], state.account[0], out.samples, out.count, event.ts_recv)
    elif kind == EventKind.CANCEL:
        _finish_order(clock, account, position, state.slots, state.taking, state.free, state.proposals, order)


@njit
def _resolve(account, market, position, orders, payout, later):
    """Pay the positions out, in cash or (`later`) as a receivable. Sells of shares that are gone hold nothing any
    more; what they did before the resolution may still be on its way and is settled when it is heard of. So does a
    merge: its pairs are paid here, 1 pUSD each whatever the payout."""
    market.status = Status.RESOLVED
    market.payout = payout
    market.redeeming = later
    market.mark2 = 2 * payout
    for row in range(MAX_ORDERS):
        order = orders[row]
        if order.id > 0 and order.market == market.id and order.side == Side.SELL:
            order.reserved = 0
    position.yes_reserved = position.no_reserved = position.merging = 0
    settle(account, position, payout, later)
    mark(account, position, market.mark2)


@njit
def _revalue(account, market, position):
    """Mark a position whose shares have changed; where the market resolved meanwhile they are paid out as well."""
    if market.status == Status.RESOLVED:
        settle(account, position, market.payout, market.redeeming)
    mark(account, position, market.mark2)


@njit
def _on_sets(account, markets, positions, market, event):
    """Complete sets made, merged or converted, or (size 0) refused."""
    position = positions[market.id]
    if event.kind == EventKind.MERGE:
        size = position.merging
        if size > 0:  # else the market resolved first, and its pairs are paid already
            position.merging = 0
            position.yes_reserved -= size
            position.no_reserved -= size
            if event.size > 0:
                merge(account, position, event.size)
    elif event.size > 0 and event.kind == EventKind.SPLIT:
        split(account, position, event.size, market.mark2)
    elif event.size > 0:
        convert(account, markets, positions, market.id, event.price, event.size, 0)
        at = market.group_next
        while at != market.id:
            _revalue(account, markets[at], positions[at])
            at = markets[at].group_next
    _revalue(account, market, position)


@njit
def _on_signal(account, event):
    """What the runner measured outside the step. Nothing is kept of a desk's own signals."""
    if event.aux == Signal.API_ERROR_RATE:
        account.api_errors = event.size
    elif event.aux == Signal.WALLET_SHORTFALL:
        account.shortfall = event.size
    elif event.aux == Signal.ROOM:
        account.room = event.size


@inline
def _configure(state, event):
    """Put a value into a bot's parameter slot. A row for a bot or a slot that is not there changes nothing."""
    if 0 <= event.aux < state.clock[0].n_bots and 0 <= event.price < N_PARAMS:
        state.params[event.aux].v[event.price] = event.size


@inline
def _on_news(state, out, market, event):
    """What is neither book nor tape nor an answer about an order: rare, and a reason to judge again what stays."""
    clock, kind = state.clock[0], event.kind
    if kind != EventKind.SIGNAL or event.aux < 0:  # a desk's own signal is no news to risk
        market.news_ts = event.ts_recv
    if kind == EventKind.TICK_SIZE:
        market.tick = event.price
    elif kind == EventKind.STATUS:
        market.status = event.aux
    elif kind == EventKind.RESOLUTION:
        _resolve(state.account[0], market, state.positions[event.market], state.orders, event.price, event.aux)
        _sample(state.clock[0], state.account[0], out.samples, out.count, event.ts_recv)
    elif kind == EventKind.FEED_UP or kind == EventKind.FEED_DOWN:
        market.feed_up = kind == EventKind.FEED_UP
    elif kind == EventKind.CONFIG:
        _configure(state, event)
        clock.news_ts = event.ts_recv
    elif kind == EventKind.FEES:
        market.fee_rate, market.fee_exponent, market.rebate_rate = event.size, event.price, event.aux
    elif kind == EventKind.TAKER_DELAY:
        market.taker_delay = event.size
    elif kind == EventKind.SWITCH:
        before = state.account[0].switch
        switch_market(state.account[0], state.markets, event)
        at = market.peer
        while at != market.id:
            touch(state, state.markets[at], event.ts_recv)
            at = state.markets[at].peer
        if state.account[0].switch != before:
            for i in range(clock.n_markets):
                touch(state, state.markets[i], event.ts_recv)
    elif kind == EventKind.APPROVAL:
        if clock.gate == Gate.APPROVAL:
            hear(state.proposals[event.market], event)
    elif kind == EventKind.REDEMPTION:
        redeem(state.account[0], state.positions[event.market])
        market.redeeming = 0
        _sample(state.clock[0], state.account[0], out.samples, out.count, event.ts_recv)
    elif kind == EventKind.FLAGS:
        market.flags = event.size
    elif kind == EventKind.EXIT:
        state.positions[event.market].forced = event.size
    elif kind == EventKind.SIGNAL:
        if event.aux == Signal.ROOM:
            state.positions[event.market].room = event.size
    elif kind >= EventKind.SPLIT:
        _on_sets(state.account[0], state.markets, state.positions, market, event)
        _sample(state.clock[0], state.account[0], out.samples, out.count, event.ts_recv)


@inline
def consume(state, out, event):
    """Take in one event row. The caller has run every decision time before it: see `decides_before`."""
    clock = state.clock[0]
    clock.now = event.ts_recv
    clock.seq += 1
    kind = event.kind
    if kind == EventKind.CLOCK:
        return
    if event.market < 0:
        if kind != EventKind.SIGNAL or event.aux < 0:  # a desk's own signal is no news to risk
            clock.news_ts = event.ts_recv
        if kind == EventKind.SWITCH:
            switch_run(state.account[0], state.bots, clock.n_bots, event)
        elif kind == EventKind.SIGNAL:
            if event.aux < 0:  # what rests is judged again; a market without orders has nothing to judge
                _on_signal(state.account[0], event)
                for i in range(clock.n_markets):
                    if state.positions[i].open_orders > 0:
                        touch(state, state.markets[i], event.ts_recv)
            return
        elif kind == EventKind.CONFIG:
            _configure(state, event)
        for i in range(clock.n_markets):
            if kind == EventKind.FEED_UP or kind == EventKind.FEED_DOWN:
                state.markets[i].feed_up = kind == EventKind.FEED_UP
            elif kind == EventKind.EXIT:
                state.positions[i].forced = event.size
            touch(state, state.markets[i], event.ts_recv)
        return
    market = state.markets[event.market]
    if kind <= EventKind.CHANGE:
        bk.apply(state.book, market, event)
        market.book_ts = event.ts_recv
        market.event_ts = event.ts_event
    elif kind == EventKind.TRADE:
        _on_trade(state, market, event)
    elif kind >= EventKind.ORDER_ACK and kind <= EventKind.CANCEL:
        _on_order_event(state, out, market, event)
    else:
        _on_news(state, out, market, event)
    if event.flags & Flag.LAST:
        answer = kind >= EventKind.ORDER_ACK and (
            kind <= EventKind.CANCEL or EventKind.SPLIT <= kind <= EventKind.CONVERT
        )
        # Without a grid and without latency an answer is there 1 ns after the decision that caused it: to decide upon
        # it at once could go on for ever, so it waits for the next message.
        if not answer or clock.interval > 0 or event.ts_recv > market.prev_now + LEAST_RESPONSE:
            touch(state, market, event.ts_recv)
