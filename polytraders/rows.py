"""The rows that cross the line: what happened (Event), what was decided (Decision), what is to be done (Action).

Rows are fixed-size numpy records, little-endian, written to the run log as they are. Every number
is an integer; units are those of `polytraders.units`. All book rows are in YES space: a NO bid at
p stands as a YES ask at 1 - p.

Invariants
    R1  a stream is ordered by (ts_recv, seq); seq is unique in it
    R2  the last row that a source message gave carries Flag.LAST; nobody decides between rows of one message
    R3  a NO-token price never appears in a market-data row
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class EventKind(IntEnum):
    """What an event row says. Fields not named are zero."""

    BOOK_CLEAR = 1  # the market's book is empty from here on (a snapshot, a gap or a halt follows)
    LEVEL = 2  # price, size, side: one level of a snapshot
    CHANGE = 3  # price, size (new absolute size, 0 removes), side
    TRADE = 4  # price, size, side = aggressor's side in YES space
    TICK_SIZE = 5  # price = new tick in pips, aux = old tick in pips
    STATUS = 6  # aux = Status
    RESOLUTION = 7  # price = payout of one YES share in pips (0, 5 000 or 10 000), aux = 1: paid by a later REDEMPTION
    SIGNAL = 8  # aux = signal number (the platform's own: Signal), size = value x 1e6; market = -1: of the whole run
    CLOCK = 9  # time passed and nothing else
    ORDER_ACK = 10  # aux = order id: accepted and resting, or with Flag.DELAYED waiting out the taker delay
    ORDER_REJECT = 11  # aux = order id, size = reason-code number
    FILL_PROVISIONAL = 12  # aux = order id, price in the order's own token, size, ref = fee in 1e-5 pUSD: matched
    FILL_CONFIRMED = 13  # as FILL_PROVISIONAL: final; what was told as provisional is not booked again
    FILL_VOIDED = 14  # as FILL_PROVISIONAL: the chain refused what was told as provisional
    CANCEL = 15  # aux = order id, size = reason-code number: the order is no longer on the book
    BALANCE = 16  # size = cash in micro-pUSD as the venue reports it
    APPROVAL = 17  # aux = a proposal's correlation number, market = its own, size = Answer: see below
    SWITCH = 18  # aux = Scope, price = its subject, size = 1 armed, 0 cleared, ref = reason-code number, 0 = a person
    CONFIG = 19  # aux = bot number, price = parameter slot, size = new kernel value
    FEED_UP = 20  # market data of this market (or of all, market = -1) is live again
    FEED_DOWN = 21  # market data of this market (or of all, market = -1) is lost
    FEES = 22  # size = fee rate in ppm, price = exponent, aux = maker rebate in ppm of the fee: in force from here on
    TAKER_DELAY = 23  # size = ns a crossing order waits at the venue before it is matched: in force from here on
    REDEMPTION = 24  # what a resolved market owes us has become cash
    SPLIT = 25  # size = micro-shares of both outcomes made from cash, aux = action id; size 0 = refused
    MERGE = 26  # size = micro-shares of both outcomes turned into cash, aux = action id; size 0 = refused
    CONVERT = 27  # size = micro-shares of NO converted in each market of the index set, price = that set; 0 = refused
    FLAGS = 28  # size = Listed bits of this market: in force from here on
    EXIT = 29  # size = 1: the position here (market = -1: every one) is to be closed, 0: no longer. See engine.exits


class Listed(IntEnum):
    """Bits of Market.flags: what the desk's lists and the venue's metadata hold against a market. 0 = nothing."""

    UNVETTED = 1  # the lists could not be read for it: nobody knows what they say
    BANNED = 2  # on the desk's blacklist
    INELIGIBLE = 4  # its category is closed to this wallet
    DISPUTED = 8  # its resolution was disputed before, or that of its like
    NO_SOURCE = 16  # its rules name no source that it is resolved from
    SINGLE_SOURCE = 32  # it is resolved from one feed only
    OUT_OF_SCOPE = 64  # not, or no longer, in the scope its strategy was launched with
    CAPPED = 128  # its cluster holds as much as the portfolio allows


class Scope(IntEnum):
    """How far a SWITCH reaches, with `market` and `price` of its row.

    Armed, no order leaves in its scope and the working ones are cancelled at the next decision; cancels always pass.
    Each switch is cleared by itself, by a row like the one that armed it; the step clears none. Clearing the global
    one also takes back what a risk bot latched. A plan may let sales that are marked reduce-only pass
    (`risk.killswitch` reduce_after_trip), but not with a bot or family off.
    """

    GLOBAL = 0  # market -1
    PORTFOLIO = 1  # market -1: the run's portfolio
    CLUSTER = 2  # a market and all others of its event; price = number of the cluster, 0 ... 31. More events: more rows
    STRATEGY = 3  # market -1: the run's strategy
    FAMILY = 4  # market -1; price = 0 ... 6: intel, disc, strat, risk, exec, sec, gov
    BOT = 5  # market -1; price = index in the run's bot table. A pipeline with a bot off is not the one that was
    # tested, so bot and family switches stop all orders of the run, as a risk bot that says no would
    MARKET = 6  # a market
    FEED = 7  # market -1: all that the run hears; else one market of it, price = number of the feed, 0 ... 15


class Signal(IntEnum):
    """Number of a SIGNAL that the platform itself sends. Those of a desk's own feeds are 0 or more."""

    API_ERROR_RATE = -1  # run: share of the last five minutes' calls to the venue that failed, 0 ... 1
    WALLET_SHORTFALL = -2  # run: pUSD that the wallet has less than our books after reconciliation, holdings at mid
    ROOM = -3  # run or market: pUSD that may be at risk there as far as what shares a limit with us leaves it, plus
    # 1e-6; 0 = nothing shares one; of a run -1e-6 = not known, so nothing is opened


class Answer(IntEnum):
    """What an APPROVAL row says of the proposal `aux` (ActionKind.PROPOSE) of its `market`.

    price: with APPROVED, pips that the price may be away from the shown one, either way; -1 = the run's own tolerance.
    ref: low 31 bits of the proposal's hash as it was shown, 0 = not held against it. A row that names no proposal
    that is open changes nothing. REJECTED and EXPIRED also take back an approval in force: nothing more is sent
    under it, and the order that works under it is cancelled.
    """

    REJECTED = 0  # its like is not proposed again before `intent_ttl` is over
    APPROVED = 1
    EXPIRED = 2  # void as if its time had passed: proposed again while it is wanted


class Flag(IntEnum):
    """Bits of Event.flags."""

    LAST = 1  # last row of its source message
    SNAPSHOT = 2  # came with a full book, not with a delta
    INFERRED = 4  # not in the recording: derived from what surrounds it
    MAKER = 8  # fills: our order was resting
    GAP = 16  # first row after a gap in the recording
    MORE = 64  # fills: the order goes on though it is whole; its CANCEL will end it (a taking buy spends its money)
    DELAYED = 32  # acks: the order takes, so it is matched when the market's taker delay is over


class Side(IntEnum):
    """Side of an order, of a level (BUY = bid, SELL = ask) or of a trade's aggressor."""

    BUY = 0
    SELL = 1


class Outcome(IntEnum):
    """Which token of a condition an order is for."""

    YES = 0
    NO = 1


class Status(IntEnum):
    """Life of a market."""

    OPEN = 0
    PAUSED = 1
    HALTED = 2
    RESOLVING = 3
    RESOLVED = 4


class OrderType(IntEnum):
    """Time in force as the venue spells it."""

    GTC = 0
    GTD = 1
    FOK = 2
    FAK = 3


class ActionKind(IntEnum):
    """What the step asks the venue port to do."""

    SUBMIT = 1
    CANCEL = 2
    CANCEL_ALL = 3
    SPLIT = 4  # size = micro-shares of both outcomes to make from cash
    MERGE = 5  # size = micro-shares of both outcomes to turn into cash
    CONVERT = 6  # size = micro-shares of NO, price = index set: bit k = k-th market of the group, counted from `market`
    PROPOSE = 7  # not for the venue: put an order to a person. See TO_PEOPLE
    WITHDRAW = 8  # not for the venue: a proposal, or the approval it got, is over. See TO_PEOPLE


TO_PEOPLE = ActionKind.PROPOSE
"""Action kinds from this on never reach a venue: the runner tells people (or a policy) of them.

    PROPOSE   price = worst price of the order, size = all of it, order_id = hash of its shape (63 bits), expiry = ms
              from `ts` until it expires, flags = POST_ONLY | REDUCE_ONLY; the others as of a SUBMIT. Its corr is that
              of the receipts that led to it and of every order sent under its approval.
    WITHDRAW  the same, with expiry = reason-code number of the end and size = what of it was never sent
"""


class Gate(IntEnum):
    """What stands between a planned order and the wire: `gate` of a run's engine options. See engine.gate."""

    OPEN = 0  # nothing: backtest and paper
    DRY = 1  # shadow: everything is judged and nothing sent; an EXEC_DRY_RUN receipt stands for the order
    APPROVAL = 2  # live: what would send an order that no approval covers becomes a proposal


class Verdict(IntEnum):
    """What a bot concluded about its subject (decisions.md: RiskVote.decision)."""

    NONE = 0  # the bot does not vote: it measured, recommended or proposed
    APPROVE = 1
    RESHAPE = 2
    REJECT = 3
    QUARANTINE = 4


class Severity(IntEnum):
    """Severity of a decision's reason code."""

    INFO = 0
    WARN = 1
    RESHAPE = 2
    HARD_REJECT = 3
    EXPLAIN = 4


POST_ONLY = 1
"""Bit of Action.flags and Order.flags: refuse rather than take."""
REDUCE_ONLY = 2
"""Bit of a proposal's flags: it only closes."""

EVENT = np.dtype(
    [
        ("ts_recv", "<i8"),  # ns, ours: what the step may know when
        ("ts_event", "<i8"),  # ns, the venue's: what the simulated venue does when
        ("seq", "<i8"),  # place in its stream
        ("price", "<i8"),  # pips
        ("size", "<i8"),  # micro-shares
        ("aux", "<i8"),  # see EventKind
        ("market", "<i4"),  # index in the run's market table, -1 = all
        ("ref", "<i4"),  # market rows: number of the source message; fills: fee in 1e-5 pUSD
        ("kind", "<i2"),
        ("side", "<i2"),
        ("flags", "<i4"),
    ]
)
assert EVENT.itemsize == 64

DECISION = np.dtype(
    [
        ("ts", "<i8"),  # ns, time of the decision
        ("seq", "<i8"),  # event seq the decision was made after
        ("corr", "<i8"),  # correlation number of the intent, 0 = none
        ("price", "<i8"),  # pips of the intent as the bot saw it
        ("size", "<i8"),  # micro-shares of the intent as the bot saw it
        ("observed", "<i8"),  # what the bot measured, in its parameter's kernel unit
        ("limit", "<i8"),  # what it was held against
        ("out_price", "<i8"),  # pips after the bot (a reshape, a plan)
        ("out_size", "<i8"),  # micro-shares after the bot
        ("market", "<i4"),
        ("repeats", "<i4"),  # equal decisions since the bot's previous row here, not written
        ("bot", "<i2"),  # index in the run's bot table
        ("code", "<i2"),  # reason-code number
        ("slot", "<i2"),  # quote slot of the intent, 8 = none, from 9 on the reshape of slot - 9
        ("verdict", "i1"),
        ("severity", "i1"),
        ("outcome", "i1"),
        ("side", "i1"),
        ("mode", "i1"),  # bot mode in force
        ("warned", "i1"),  # 1 = a parameter stood beyond its warning
        ("terms", "<i4"),  # the intent's other terms: see TERMS_*
    ]
)
assert DECISION.itemsize == 96

TERMS_ORDER_TYPE = 3
"""Bits of Decision.terms that hold the intent's OrderType."""
TERMS_PASSIVE, TERMS_REDUCE = 4, 8
"""Bits: the intent is post-only, may only reduce."""
TERMS_VOTE_PASSIVE, TERMS_VOTE_CLOSE = 16, 32
"""Bits: this vote demanded passive_only, close_only."""
TERMS_TTL_SHIFT = 8
"""From this bit on: the intent's time to live in ms, 0 = the platform's."""

ACTION = np.dtype(
    [
        ("ts", "<i8"),  # ns
        ("seq", "<i8"),  # event seq it was caused by
        ("corr", "<i8"),  # correlation number of the intent
        ("order_id", "<i8"),
        ("price", "<i8"),  # pips, in the order's own token
        ("size", "<i8"),  # micro-shares
        ("market", "<i4"),
        ("slot", "<i2"),
        ("kind", "i1"),
        ("outcome", "i1"),
        ("side", "i1"),
        ("order_type", "i1"),
        ("flags", "i1"),
        ("pad", "i1"),
        ("expiry", "<i4"),  # s since the Unix epoch as the venue is told, 0 = none: see engine.rules
    ]
)
assert ACTION.itemsize == 64

SAMPLE = np.dtype(
    [
        ("ts", "<i8"),  # ns
        ("seq", "<i8"),
        ("equity", "<i8"),  # this and the rest in micro-pUSD
        ("cash", "<i8"),
        ("reserved", "<i8"),
        ("cost", "<i8"),
        ("marked", "<i8"),
        ("realised", "<i8"),
        ("fees", "<i8"),
        ("rebates", "<i8"),
    ]
)
"""The account at one time: written on a fixed grid of event time when it has changed, and after every fill, payout and
change of complete sets. What resolved markets still owe us is equity - cash - reserved - marked - rebates."""
