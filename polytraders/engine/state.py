"""What the step knows: a handful of record arrays, owned by the step and written by nobody else.

Kernel bots read these records as their inputs. Every field has its unit in its name or comment;
all are int64 unless they are model outputs (`x`, float64). -1 stands for "no such level" in best
prices: test `two_sided(market)` before using both.

A snapshot of the state is the bytes of these arrays and the seq of the last event.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

import numpy as np

from polytraders.engine.jit import inline, njit
from polytraders.rows import OrderType

N_SLOTS = 8
"""Working quotes per market: slots 0 ... 3 hold the bid side (YES space), 4 ... 7 the ask side."""
N_PARAMS = 32
"""Kernel parameters a bot may have."""
VENUE_LEFT, VENUE_RESET = 31, 30
"""Parameter slots of risk.ratelimitgovernor that CONFIG rows fill: orders that the venue's own budget has left, and ns
when it is full again."""
N_FEATURES = 32
N_MEMORY = 32
"""float64 cells a strategy may keep per market."""
SERIES = 2 * N_SLOTS + 1
"""Run-length series of a (bot, market): one a slot, one for "no slot", one a slot for reshapes."""
VOLUME_CELLS = 25
"""24 hourly buckets and the hour number of the newest."""
SENT_PERIOD = 300_000_000_000
"""ns: orders sent are counted in periods of five minutes."""
SENT_CELLS = 13
"""An hour of them and the one that has only begun, so that no hour ever counts less than was sent in it."""
N_PLAN = 2
"""Orders one intent may become."""
MAX_ORDERS = 1 << 14
"""Rows of the order table: open orders at one time."""
LINE = 64
"""Bytes of a cache line."""
HUGE = 1 << 21
"""Bytes of a large page of memory."""
AHEAD = 8
"""Rows for which memory is asked for at once: with thousands of markets what they touch is in no near cache."""
MANY = 64
"""From so many markets on it pays to ask for memory ahead of time, and to have tables in large pages."""
LEAST_RESPONSE = 1
"""ns: an answer is later than the decision that caused it, or a log of events alone could not say which came first."""

# cells of Out.count, see engine.step
N_DECISIONS, N_ACTIONS, N_SAMPLES, N_CHAIN, N_CHANGED = 0, 1, 2, 3, 4

# Market.x: features that the sensors of `intel` and `discovery` write and everybody may read.
IMBALANCE = 0  # (bid - ask) / (bid + ask) of the size in the first levels, -1 ... 1
FLOW = 1  # decayed signed aggressive volume, shares; + = buying
FLOW_ABS = 2  # decayed absolute aggressive volume, shares
TOXICITY = 3  # |FLOW| / FLOW_ABS weighted by volume, 0 ... 1
VOLATILITY = 4  # decayed root mean square of mid changes per decision, pips
MICROPRICE = 5  # size-weighted mid, pips
QUALITY = 6  # tradability score of the scanner, 0 ... 1
DECAY = 7  # money that leaves the inside of the book without a trade while our orders rest there, pUSD per second
DECAY_CONFIDENCE = 8  # how much DECAY has been watched, 0 ... 1; 0 = there is no DECAY
RATING = 9  # composite quality of the ranker, 0 ... 1; 0 = not worth trading
OPPORTUNITY = 10  # priority in the opportunity queue, 0 ... 1; 0 = not in it

WATCH = 15_000_000_000
"""ns: what was wrong in a market is remembered for one to two of these."""

# Market.flow_state
BENIGN, TOXIC, INFORMED = 0, 1, 2


def lines(fields: list[tuple]) -> np.dtype:
    """A record that begins and ends with a cache line. Of MARKET and POSITION there is one a market: with thousands of
    them most of a decision's time is waiting for such lines, so what one event or decision touches stands together."""
    plain = np.dtype(fields)
    rest = -plain.itemsize % LINE // 8
    # A field of its own: what belongs to none is not copied with a record.
    return np.dtype([*plain.descr, ("pad", "<i8", (rest,))]) if rest else plain


MARKET = lines(
    [
        # identity and book geometry (see engine.book): level i stands for price i * grid
        ("id", "<i8"),  # index in the run's market table
        ("recip", "<i8"),  # 2^32 / grid rounded up: price -> level without a division
        ("levels", "<i8"),
        ("offset", "<i8"),
        ("best", "<i8", (2,)),  # ranks of the best levels as of the last row: engine.book.bid and ask read them
        ("book_ts", "<i8"),  # ns, ts_recv of the last book row, 0 = never
        ("event_ts", "<i8"),  # ns, ts_event of the last book row
        # decision clock
        ("dirty", "<i8"),  # 1 = something changed since the last decision
        ("wake", "<i8"),  # ns, decide again at this time though nothing changes; 0 = no
        ("queued", "<i8"),  # ns, the entry in State.wakes that counts, not later than wake; 0 = none
        ("now", "<i8"),  # ns, time of the decision being made
        ("prev_now", "<i8"),  # ns, time of the previous one, 0 = first
        ("volume_24h", "<i8"),  # micro-pUSD traded in the last 24 hourly buckets
        ("mark2", "<i8"),  # last two-sided best_bid + best_ask, pips; 0 = never. mid = mark2 / 2
        ("feed_up", "<i8"),  # 1 = market data is live
        # tape since the market's previous decision (the step clears it after each)
        ("buy_volume", "<i8"),  # micro-shares lifted
        ("sell_volume", "<i8"),  # micro-shares hit
        ("n_trades", "<i8"),
        ("n_inferred", "<i8"),  # of those, inferred
        ("last_price", "<i8"),  # pips of the last trade, -1 = never
        ("last_side", "<i8"),
        ("last_size", "<i8"),
        ("trade_ts", "<i8"),  # ns, 0 = never
        # top of book, as of the decision
        ("bid_level", "<i8"),  # -1 = none
        ("ask_level", "<i8"),
        ("best_bid", "<i8"),  # pips, -1 = none
        ("best_ask", "<i8"),  # pips, -1 = none
        ("bid_size", "<i8"),  # micro-shares
        ("ask_size", "<i8"),  # micro-shares
        ("status", "<i8"),  # rows.Status
        ("grid", "<i8"),  # pips
        # the worst of its recent decisions, in this window of WATCH ns and in the one before
        ("tick", "<i8"),  # pips, in force now
        ("min_size", "<i8"),  # micro-shares
        ("watch_ts", "<i8"),  # ns, when this window began
        ("widest", "<i8"),  # pips, spread; ONE = not open, no feed, one-sided, locked or crossed
        ("widest_before", "<i8"),
        ("jump2", "<i8"),  # pips x 2, change of the mid from one decision to the next
        ("jump2_before", "<i8"),
        ("flow_state", "<i8"),
        # its place, its event and its end
        ("candidate", "<i8"),  # 1 = the scanner recommends it
        ("quarantined", "<i8"),
        ("group", "<i8"),  # neg-risk event index, -1 = none
        ("group_next", "<i8"),  # the next market of the same event, a ring; itself when alone
        ("peer", "<i8"),  # next market of the same event, in a ring; itself when it is alone
        ("end_ts", "<i8"),  # ns, scheduled close, 0 = unknown
        ("payout", "<i8"),  # pips per YES share once RESOLVED, else -1
        ("redeeming", "<i8"),  # 1 = RESOLVED, and what it pays us is not cash yet
        # the fees, what forbids trading, and what the sensors measured
        ("fee_rate", "<i8"),  # ppm
        ("fee_exponent", "<i8"),
        ("rebate_rate", "<i8"),  # ppm of the taker fee that goes to makers
        ("taker_delay", "<i8"),  # ns a crossing order waits at the venue before it is matched
        ("flags", "<i8"),  # rows.Listed bits: what is held against it
        ("switch", "<i8"),  # kill switches of this market, its event or its feed: see engine.switches; 0 = none
        ("news_ts", "<i8"),  # ns, when its rules, its status or its limits last changed
        ("x", "<f8", (N_FEATURES,)),
    ]
)

POSITION = lines(
    [
        # what is held
        ("yes", "<i8"),  # micro-shares held, incl. reserved
        ("yes_reserved", "<i8"),  # of those, behind open sell orders or not settled yet: not for sale
        ("yes_cost", "<i8"),  # micro-pUSD paid for them
        ("no", "<i8"),
        ("no_reserved", "<i8"),
        ("no_cost", "<i8"),
        ("buy_reserved", "<i8"),  # micro-pUSD behind this market's open buy orders
        ("marked", "<i8"),  # micro-pUSD, value of both holdings at mid, as counted in Account.marked
        # what is open, and the last fill
        ("yes_buying", "<i8"),  # of that, behind orders for YES
        ("no_buying", "<i8"),
        ("fills", "<i8"),
        ("open_orders", "<i8"),
        ("last_fill_ts", "<i8"),
        ("last_fill_price", "<i8"),  # pips, YES space
        ("last_fill_side", "<i8"),  # YES space: BUY = we became longer YES
        ("last_fill_size", "<i8"),  # micro-shares
        # cancels on their way, and what was sent
        ("leaving_ts", "<i8", (N_SLOTS,)),  # ns, when the last of those cancels was sent
        ("leaving", "<i2", (N_SLOTS,)),  # by slot: orders whose cancel was sent and is not confirmed
        ("forced", "<i8"),  # 1 = a person or the portfolio wants it closed
        ("exiting", "<i8"),  # reason-code number of the exit that goes on until the position is closed, 0 = none
        ("pause_until", "<i8"),  # ns, until when the strategy pauses here after such an exit
        ("yes_unsettled", "<i8"),  # of `yes`, bought but not confirmed by the chain
        ("no_unsettled", "<i8"),
        ("merging", "<i8"),  # micro-shares of both outcomes on their way to be merged, in both `reserved` too
        ("sent_period", "<i8"),  # the newest of the periods counted in `sent`, see count_sent
        ("sent", "<i4", (SENT_CELLS,)),  # orders sent in this market, by period
        ("spare", "<i4"),
        # money
        ("realised", "<i8"),  # micro-pUSD, before fees and rebates
        ("fees", "<i8"),  # micro-pUSD paid
        ("rebates", "<i8"),  # micro-pUSD accrued
        ("receivable", "<i8"),  # micro-pUSD that the resolved market owes us
        # the neg-risk event's outcomes, filled before risk when the market is in a group (ledger.survey_group)
        ("group_cost", "<i8"),  # micro-pUSD, all its holdings at cost
        ("group_base", "<i8"),  # micro-pUSD they pay when an outcome wins in which we have nothing
        ("group_others", "<i8"),  # micro-pUSD that comes on top at worst if this market's outcome does not win
        # what the chain has not confirmed
        ("yes_unsettled_cost", "<i8"),  # of `yes_cost`, paid for those
        ("no_unsettled_cost", "<i8"),
        # what other runs leave of the limits that hold over all of them; read only where Account.room is set
        ("room", "<i8"),  # micro-pUSD + 1 that may be at risk here, 0 = no such limit
    ]
)

ACCOUNT = np.dtype(
    [
        ("now", "<i8"),  # ns
        ("deposits", "<i8"),  # micro-pUSD put in
        ("cash", "<i8"),  # micro-pUSD free
        ("reserved", "<i8"),  # micro-pUSD behind open buy orders
        ("unsettled", "<i8"),  # micro-pUSD of sales that the chain has not confirmed: ours, but not to be spent
        ("cost", "<i8"),  # micro-pUSD, all positions at cost
        ("realised", "<i8"),
        ("fees", "<i8"),
        ("rebates", "<i8"),  # accrued; a receivable, not yet cash
        ("receivable", "<i8"),  # micro-pUSD of resolved markets, not yet redeemed
        ("marked", "<i8"),  # micro-pUSD, all positions at mid
        ("equity", "<i8"),  # cash + reserved + unsettled + marked + rebates + receivable
        ("peak", "<i8"),  # highest equity since the start
        ("day", "<i8"),  # UTC day number of the three below
        ("day_end", "<i8"),  # ns
        ("day_open", "<i8"),
        ("day_peak", "<i8"),
        ("week", "<i8"),  # UTC week number (Monday) of the two below
        ("week_open", "<i8"),
        ("week_peak", "<i8"),
        ("halted", "<i8"),  # reason-code number that latched the kill switch, 0 = trading
        ("halted_ts", "<i8"),
        ("switch", "<i8"),  # kill switches of the whole run: bit rows.Scope; 0 = none
        ("families", "<i8"),  # bit of each family whose switch is armed
        ("api_errors", "<i8"),  # ppm of the recent calls to the venue that failed, as the runner says
        ("shortfall", "<i8"),  # micro-pUSD that the wallet has less than the books, as the reconciliation says
        ("submits", "<i8"),  # orders sent
        ("acks", "<i8"),
        ("rejects", "<i8"),
        ("cancels", "<i8"),  # cancels sent
        ("fills", "<i8"),
        ("recent_submits", "<i8"),  # decayed counts for the reject rate: halved every 5 minutes
        ("recent_rejects", "<i8"),  # both x 1000
        ("recent_ts", "<i8"),
        ("open_orders", "<i8"),
        ("x", "<f8", (N_FEATURES,)),  # what discovery remembers across markets: ranks, thresholds
        ("sent_period", "<i8"),  # the newest of the periods counted in `sent`, see count_sent
        ("sent", "<i8", (SENT_CELLS,)),  # orders sent, by period
        ("room", "<i8"),  # micro-pUSD + 1 that may be tied up in all, see rows.Signal.ROOM; 0 = no such limit
        ("loss_from", "<i8"),  # micro-pUSD of equity that the next loss counts from: its high since the last one
        ("loss_ts", "<i8"),  # ns, when the equity last fell by a part of it that is a reason to judge again
    ]
)

ORDER = lines(
    [
        # all that a decision asks of a quote that stays: one line
        ("id", "<i8"),  # 0 = free row
        ("corr", "<i8"),
        ("size", "<i8"),  # micro-shares
        ("filled", "<i8"),  # micro-shares
        ("reserved", "<i8"),  # micro-pUSD (buys) or micro-shares (sells) still held back
        ("judged_ts", "<i8"),  # ns, when risk and execution last let it stand
        ("price", "<i4"),  # pips, in the order's own token
        ("market", "<i4"),
        ("judged_mark2", "<i2"),  # pips x 2, the market's mid at judged_ts
        ("slot", "i1"),
        ("outcome", "i1"),
        ("side", "i1"),
        ("order_type", "i1"),
        ("flags", "i1"),
        ("state", "i1"),  # see below
        ("submit_ts", "<i8"),
        ("ack_ts", "<i8"),  # 0 = not acknowledged
        ("ahead", "<i8"),  # micro-shares queued before it as far as we can tell: at most the level's size
        ("expires", "<i8"),  # ns, when the venue drops it, 0 = never
    ]
)
# ORDER.state
PENDING_NEW, LIVE, PENDING_CANCEL = 1, 2, 3

UNSETTLED = np.dtype(
    [
        ("order", "<i8"),  # order id
        ("number", "<i8"),  # which fill of that order, from 1
        ("market", "<i8"),
        ("outcome", "<i8"),
        ("side", "<i8"),
        ("price", "<i8"),  # pips, own token
        ("size", "<i8"),  # micro-shares
        ("fee", "<i8"),  # micro-pUSD
        ("rebate", "<i8"),  # micro-pUSD
        ("cost", "<i8"),  # micro-pUSD that a sale took out of the position
        ("flags", "<i8"),  # rows.Flag of the fill
        ("due", "<i8"),  # ns, when the simulated venue settles it
    ]
)
"""A fill that the chain has neither confirmed nor refused: all that is needed to take its booking back."""
MAX_UNSETTLED = 1 << 14
"""Fills that may wait for the chain at one time."""

INTENT = np.dtype(
    [
        ("corr", "<i8"),
        ("market", "<i8"),
        ("slot", "<i8"),
        ("want", "<i8"),  # WANT_NOTHING | WANT_QUOTE: a slot without a wanted quote is cancelled
        ("outcome", "<i8"),
        ("side", "<i8"),
        ("price", "<i8"),  # pips, in the intent's own token
        ("size", "<i8"),  # micro-shares
        ("order_type", "<i8"),
        ("passive_only", "<i8"),  # 1 = post-only
        ("reduce_only", "<i8"),  # 1 = may only close
        ("fair", "<i8"),  # pips x 100, the strategy's fair price in the intent's own token
        ("edge", "<i8"),  # pips x 100, fair against price, after costs
        ("max_slippage_bps", "<i8"),
        ("ttl", "<i8"),  # ns the intent stays good
        ("reshaped", "<i8"),  # 1 = risk changed it
        ("replaces", "<i8"),  # micro-pUSD behind the working order that this intent keeps, 0 = none
        # the slot's working order as it stands, before anything is decided about it
        ("working", "<i8"),  # state.PENDING_NEW | LIVE, 0 = no working order
        ("working_price", "<i8"),  # pips, in its own token (the intent's when working_outcome is)
        ("working_outcome", "<i8"),
        ("working_size", "<i8"),  # micro-shares still open
        ("working_ts", "<i8"),  # ns, when it was sent
        ("working_ahead", "<i8"),  # micro-shares queued before it, see Order.ahead
        ("working_expires", "<i8"),  # ns, when the venue drops it, 0 = never
        ("opposite", "<i8"),  # pips: our best open order on the other side, as a price of the intent's token, -1 = none
        ("working_side", "<i8"),  # in its own token
        ("working_filled", "<i8"),  # micro-shares
        ("leaving", "<i8"),  # orders of this slot whose cancel is not confirmed: they may still trade
        ("leaving_ts", "<i8"),  # ns, when the last of those cancels was sent
        ("cluster", "<i8"),  # micro-pUSD, cost and open buys in the other markets of the event
    ]
)
WANT_NOTHING, WANT_QUOTE = 0, 1

VOTE = np.dtype(
    [
        ("verdict", "<i8"),  # rows.Verdict
        ("max_size", "<i8"),  # micro-shares, -1 = no constraint (all five)
        ("max_price", "<i8"),  # pips, own token
        ("min_price", "<i8"),
        ("passive_only", "<i8"),
        ("close_only", "<i8"),
        ("observed", "<i8"),  # what was measured ...
        ("limit", "<i8"),  # ... against what, in the parameter's kernel unit
        ("latch", "<i8"),  # 1 = a REJECT that stays until a person clears it (kill switch)
    ]
)

PLAN = np.dtype(
    [
        ("n", "<i8"),  # orders in it
        ("price", "<i8", (N_PLAN,)),  # pips, own token
        ("size", "<i8", (N_PLAN,)),  # micro-shares
        ("order_type", "<i8", (N_PLAN,)),
        ("flags", "<i8", (N_PLAN,)),  # rows.POST_ONLY
        ("fee", "<i8"),  # estimated, micro-pUSD
        ("rebate", "<i8"),  # estimated, micro-pUSD
        ("slippage_bps", "<i8"),  # estimated, bps of 1 pUSD against mid
        ("q_exec", "<i8"),  # expected average price, pips x 100
        ("method", "<i8"),  # METHOD_*
        ("observed", "<i8"),
        ("limit", "<i8"),
    ]
)
METHOD_NONE, METHOD_PASSIVE, METHOD_WALK, METHOD_CONSERVATIVE = 0, 1, 2, 3

PROPOSAL = np.dtype(
    [
        ("corr", "<i8"),  # of the receipts that led to it and of what is sent under it
        ("state", "<i8"),  # engine.gate: FREE, SHOWN, APPROVED or REJECTED
        ("outcome", "<i8"),
        ("side", "<i8"),
        ("price", "<i8"),  # pips, own token: the worst of the plan
        ("size", "<i8"),  # micro-shares, the whole plan
        ("order_type", "<i8"),
        ("flags", "<i8"),  # rows.POST_ONLY | rows.REDUCE_ONLY
        ("takes", "<i8"),  # 1 = it may trade at once
        ("closes", "<i8"),  # 1 = it was shown as an order that only reduces
        ("hash", "<i8"),  # 63 bits, see engine.gate.shape_hash
        ("made", "<i8"),  # ns
        ("expires", "<i8"),  # ns, when the proposal, the approval or the time after a rejection is over
        ("tolerance", "<i8"),  # pips of an approval, either way
        ("used", "<i8"),  # micro-shares sent under it that have filled or may still
        ("flying", "<i8"),  # orders sent under it whose end is not known
        ("answer", "<i8"),  # rows.Answer + 1 that the next decision has to take up, 0 = none
        ("answered", "<i8"),  # ns
        ("seen", "<i8"),  # low 31 bits of the hash that the answer names, 0 = none
    ]
)
"""What is put to a person for one slot of a market."""

PARAMS = np.dtype([("v", "<i8", (N_PARAMS,))])
"""A bot's parameters in kernel units, in the order of its BotSpec."""

CLOCK = np.dtype(
    [
        ("now", "<i8"),  # ns, ts_recv of the last event
        ("seq", "<i8"),  # events consumed
        ("interval", "<i8"),  # ns between decision times, 0 = decide on every message
        ("next_tick", "<i8"),  # ns, next decision time, 0 = none armed
        ("last_tick", "<i8"),  # ns, decision time last run
        ("corr", "<i8"),  # last correlation number given
        ("order", "<i8"),  # orders sent: the serial part of the last order id
        ("n_free", "<i8"),  # rows of the order table that are free
        ("rejudge", "<i8"),  # ns after which a quote that stays is put to risk again, 0 = at every decision
        ("evaluations", "<i8"),  # times a market was decided on
        ("intents", "<i8"),
        ("n_intel", "<i8"),  # bots in this run, by family; at most one strategy
        ("n_disc", "<i8"),
        ("n_strat", "<i8"),
        ("n_risk", "<i8"),
        ("n_exec", "<i8"),
        ("n_bots", "<i8"),  # all of them and the runtime
        ("n_markets", "<i8"),
        ("sample_interval", "<i8"),  # ns between account samples
        ("next_sample", "<i8"),  # ns
        ("n_dirty", "<i8"),
        ("n_wake", "<i8"),
        ("n_unsettled", "<i8"),  # rows of State.unsettled in use
        ("full_panel", "<i8"),  # 1 = votes after a REJECT are computed too
        ("merge_least", "<i8"),  # micro-shares: complete sets of at least this many are merged, 0 = never
        ("guarded", "<i8"),  # 1 = an enforced risk.killswitch decides what passes while a switch is armed; 0 = nothing
        ("gate", "<i8"),  # rows.Gate
        ("intent_ttl", "<i8"),  # ns a proposal waits for its answer, and a rejected one keeps its like away
        ("approval_ttl", "<i8"),  # ns an approval covers orders of its slot, from its answer on
        ("tolerance", "<i8"),  # pips a price may be away from the proposed one where the answer does not say
        ("exits", "<i8"),  # 1 = the system proposes exits: engine.exits, of which the following are the terms
        ("take_profit", "<i8"),  # bps of cost, 0 = never (all that follow)
        ("stop_loss", "<i8"),  # bps of cost
        ("before_end", "<i8"),  # ns
        ("exit_spread", "<i8"),  # pips
        ("exit_slippage", "<i8"),  # pips
        ("exit_pause", "<i8"),  # ns
        ("unwinder", "<i8"),  # place of risk.inventoryunwinder among the risk bots, -1 = its advice is not followed
        ("news_ts", "<i8"),  # ns, when parameters, limits or measurements of the whole run last changed
    ]
)

BOT = np.dtype(
    [
        ("mode", "<i8"),  # MODE_*
        ("hash", "<i8"),  # rolling over every decision of this bot
        ("decisions", "<i8"),  # that rows account for: `decided` has all of them
        ("warned", "<i8"),  # 1 = a parameter stands beyond its warning: every decision says so
        ("switched", "<i8"),  # 1 = its kill switch is armed
    ]
)
MODE_OFF, MODE_SHADOW, MODE_ADVISORY, MODE_ENFORCED, MODE_QUARANTINE = 0, 1, 2, 3, 4

REPEAT = np.dtype([("code", "<i2"), ("verdict", "<i2"), ("count", "<i4")])
"""Run-length state of a (bot, market, slot): the last written decision and the equal ones since."""


class State(NamedTuple):
    """All state of the step. Shapes: n markets, b bots (the last one is the runtime itself), L book cells."""

    clock: np.ndarray  # CLOCK[1]
    account: np.ndarray  # ACCOUNT[1]
    markets: np.ndarray  # MARKET[n]
    positions: np.ndarray  # POSITION[n]
    book: np.ndarray  # int64[L], see engine.book
    volume: np.ndarray  # int64[n, VOLUME_CELLS]: micro-pUSD, see there
    orders: np.ndarray  # ORDER[MAX_ORDERS]
    free: np.ndarray  # int64[MAX_ORDERS]: stack of free rows of `orders`, clock.n_free of them
    slots: np.ndarray  # int64[n, N_SLOTS]: row of the working order, -1 = none
    taking: np.ndarray  # int64[n, N_SLOTS]: taker orders of the slot whose outcome is not known yet
    memory: np.ndarray  # float64[n, N_MEMORY]
    params: np.ndarray  # PARAMS[b]
    bots: np.ndarray  # BOT[b]: intel, discovery, strategy, risk, execution in this order, runtime
    repeats: np.ndarray  # REPEAT[n, SERIES, b]; N_SLOTS is "no slot", above it reshapes
    severity: np.ndarray  # int64[reason-code number]: rows.Severity
    dirty: np.ndarray  # int64[2 n + 16]: markets to decide on at the next tick, clock.n_dirty of them
    wakes: np.ndarray  # int64[4 n + 16, 2]: binary heap of (wake ns, market), clock.n_wake of them
    targets: np.ndarray  # INTENT[N_SLOTS + 1]: what the strategy wants; the last is the engine's own
    vote: np.ndarray  # VOTE[1]
    plan: np.ndarray  # PLAN[2]; the second is what shadowed execution bots write to
    unsettled: np.ndarray  # UNSETTLED[MAX_UNSETTLED]: clock.n_unsettled of them, oldest first
    proposals: np.ndarray  # PROPOSAL[n, N_SLOTS]: untouched while the gate is open


class Row(np.record):
    """A record whose fields win over numpy's own attributes, so that `row.size` is the field in plain Python too."""

    def __getattribute__(self, name: str):
        if name in np.void.__getattribute__(self, "dtype").fields:
            return np.void.__getitem__(self, name)
        return np.record.__getattribute__(self, name)

    def __setattr__(self, name: str, value) -> None:
        if name in np.void.__getattribute__(self, "dtype").fields:
            np.void.__setitem__(self, name, value)
        else:
            np.record.__setattr__(self, name, value)


def records(dtype: np.dtype, n: int | tuple[int, ...]) -> np.ndarray:
    """Zeroed array of `dtype` whose elements numba takes for the plain struct and Python reads as `row.field`."""
    return np.zeros(n, dtype=np.dtype((Row, dtype)))


def per_market(dtype: np.dtype | type, shape: int | tuple[int, ...], large: bool = True) -> np.ndarray:
    """Zeroed array (of records as `records` gives them) that begins at a cache line, for what grows with the markets.

    From a megabyte on it lies in large pages where the system has them: books and positions are visited in no order,
    and with thousands of markets every visit would also have to look up a page.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size < HUGE // 2 or not large:
        raw = np.zeros(size + LINE, np.uint8)
        raw = raw[-raw.ctypes.data % LINE :][:size]
    else:
        # of this process alone: by default mmap shares its pages, which the system does not make large
        pages = mmap.mmap(-1, size + HUGE, **({"flags": mmap.MAP_PRIVATE} if hasattr(mmap, "MAP_PRIVATE") else {}))
        if hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
        raw = np.frombuffer(pages, np.uint8)
        raw = raw[-raw.ctypes.data % HUGE :][:size]
    return raw.view(np.dtype((Row, dtype)) if dtype.fields else dtype).reshape(shape)


def as_rows(array: np.ndarray) -> np.ndarray:
    """The same memory with elements that Python reads as `row.field`."""
    return array.view(np.dtype((Row, np.dtype((np.void, array.dtype)))))


@njit
def count_sent(record, now):
    """One order was sent at `now` (ns). record: the account or a position."""
    period = now // SENT_PERIOD
    gone = min(period - record.sent_period, SENT_CELLS)
    for k in range(gone):
        record.sent[(period - k) % SENT_CELLS] = 0
    if gone > 0:
        record.sent_period = period
    record.sent[period % SENT_CELLS] += 1


@njit
def sent_within_hour(record, now):
    """Orders sent in the 60 to 65 minutes before `now` (ns). record: the account or a position."""
    past = now // SENT_PERIOD - record.sent_period  # periods that have begun since anything was sent
    total = np.int64(0)  # cells are narrower: what is made of their sum is not
    for k in range(SENT_CELLS - max(past, 0)):
        total += record.sent[(record.sent_period - k) % SENT_CELLS]
    return total


@njit
def two_sided(market):
    """True when both best prices exist and do not cross."""
    return market.best_bid >= 0 and market.best_ask >= 0 and market.best_bid < market.best_ask


@inline
def clear_targets(targets):
    """Forget what the strategy wanted; targets it did not use are still clean."""
    for slot in range(N_SLOTS):
        t = targets[slot]
        if t.want != WANT_NOTHING:
            t.want = WANT_NOTHING
            t.outcome = t.side = t.price = t.size = 0
            t.order_type = OrderType.GTC
            t.passive_only = t.reduce_only = t.reshaped = 0
            t.fair = t.edge = t.max_slippage_bps = t.ttl = 0


def decided(state: State) -> np.ndarray:
    """int64[b]: decisions of each bot so far, those that are only counted included."""
    return state.bots["decisions"] + state.repeats["count"].sum(axis=(0, 1))
