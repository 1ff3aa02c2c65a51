"""Cash, reservations and positions, to the micro-pUSD.

Invariants, after every event
    L1  cash + reserved + unsettled + cost + rebates + receivable = deposits + realised - fees + rebates accrued
        (rebates are a receivable until paid, so both sides carry them)
    L2  reserved is the sum of what open buy orders hold back; a position's reserved shares that of its open sells
        of its unsettled purchases and of the sets on their way to be merged
    L3  nothing reserved outlives its order; free cash and free shares are never negative
    L4  selling everything leaves a cost of exactly zero
    L5  taking a fill back leaves the books as if it had never been booked
    L6  a YES and a NO share of one market are worth exactly 1 pUSD together, whatever the mid
    L7  splitting books no profit; merging frees 1 pUSD a pair and takes exactly the pair's cost out of the books

A provisional fill (matched, the chain has not confirmed it) is booked at once: the match is final for the venue's
operator, and exposure is what was matched. What it brought in cannot be passed on before it is settled, at the venue
as here: bought shares count as reserved and keep a cost of their own, apart from the average of the others;
proceeds of a sale stand in `unsettled` instead of cash. So a void can always be paid back.
"""

from __future__ import annotations

from polytraders.engine.fees import taker_fee
from polytraders.engine.jit import njit
from polytraders.rows import POST_ONLY, Outcome, Side
from polytraders.units import CENT_SHARE, ONE


@njit
def need(market, side, price, size, flags):
    """What an open order holds back: micro-pUSD for a buy, micro-shares for a sell.

    A buy that may take also holds its largest possible fee: the venue's balance check includes it.
    p (1 - p) is largest at 0.5, and a buy fills at its price or below.
    """
    if side == Side.SELL:
        return size
    cash = price * size // ONE
    if not flags & POST_ONLY and market.fee_rate > 0:
        cash += taker_fee(size, min(price, ONE // 2), market.fee_rate, market.fee_exponent)
    return cash


@njit
def free_shares(position, outcome):
    """Shares not behind a sell order, micro-shares."""
    if outcome == Outcome.YES:
        return position.yes - position.yes_reserved
    return position.no - position.no_reserved


@njit
def hold(account, position, outcome, side, amount):
    """Reserve `amount` (see `need`); a negative amount releases it."""
    if side == Side.BUY:
        account.cash -= amount
        account.reserved += amount
        position.buy_reserved += amount
        if outcome == Outcome.YES:
            position.yes_buying += amount
        else:
            position.no_buying += amount
    elif outcome == Outcome.YES:
        position.yes_reserved += amount
    else:
        position.no_reserved += amount


@njit
def part_of_cost(cost, size, held):
    """Cost of `size` out of `held` shares at average cost, floored; all of it when size = held.

    In hundredths of a share, so that the product stays below 2^63. Shares that are no longer held (sold
    at the venue before a resolution that we heard of first) have no cost left.
    """
    s, h = size // CENT_SHARE, held // CENT_SHARE
    if h <= 0:
        return 0
    return cost // h * s + cost % h * s // h


@njit
def settled_cost(position, outcome, size):
    """What `size` shares that leave a position cost: the average of those that the chain has confirmed."""
    if outcome == Outcome.YES:
        cost, held = position.yes_cost - position.yes_unsettled_cost, position.yes - position.yes_unsettled
    else:
        cost, held = position.no_cost - position.no_unsettled_cost, position.no - position.no_unsettled
    return part_of_cost(cost, size, held)


@njit
def book_fill(account, position, outcome, side, price, size, fee, rebate):
    """Book one fill whose reservation has already been released. price pips of the outcome's token.

    Returns the cost that a sale took out of the position (average cost of what is settled), 0 for a purchase.
    """
    notional, cost = price * size // ONE, 0
    if side == Side.BUY:
        account.cash -= notional + fee
        account.cost += notional
        if outcome == Outcome.YES:
            position.yes += size
            position.yes_cost += notional
        else:
            position.no += size
            position.no_cost += notional
    else:
        if outcome == Outcome.YES:
            cost = settled_cost(position, Outcome.YES, size)
            position.yes -= size
            position.yes_cost -= cost
        else:
            cost = settled_cost(position, Outcome.NO, size)
            position.no -= size
            position.no_cost -= cost
        account.cash += notional - fee
        account.cost -= cost
        account.realised += notional - cost
        position.realised += notional - cost
    account.fees += fee
    position.fees += fee
    account.rebates += rebate
    position.rebates += rebate
    return cost


@njit
def _move_unsettled(account, position, fill, sign):
    """Set aside what a provisional fill brought in (sign 1), or let it go (-1)."""
    notional = fill.price * fill.size // ONE
    shares, paid = sign * fill.size, sign * notional
    if fill.side == Side.SELL:
        account.cash -= paid - sign * fill.fee
        account.unsettled += paid - sign * fill.fee
    elif fill.outcome == Outcome.YES:
        position.yes_unsettled += shares
        position.yes_unsettled_cost += paid
        position.yes_reserved = max(position.yes_reserved + shares, 0)  # a resolution has freed it before
    else:
        position.no_unsettled += shares
        position.no_unsettled_cost += paid
        position.no_reserved = max(position.no_reserved + shares, 0)


@njit
def hold_unsettled(account, position, fill):
    """A fill (UNSETTLED) that was just booked is provisional."""
    _move_unsettled(account, position, fill, 1)


@njit
def confirm_fill(account, position, fill):
    """A provisional fill is final: what it brought in is free."""
    _move_unsettled(account, position, fill, -1)


@njit
def void_fill(account, position, fill):
    """A provisional fill did not happen: every amount goes back to where it came from (L5).

    In a market that has been resolved meanwhile the caller settles once more: the position then owes what it was paid.
    """
    _move_unsettled(account, position, fill, -1)
    notional = fill.price * fill.size // ONE
    if fill.side == Side.BUY:
        account.cash += notional
        account.cost -= notional
        if fill.outcome == Outcome.YES:
            position.yes -= fill.size
            position.yes_cost -= notional
        else:
            position.no -= fill.size
            position.no_cost -= notional
    else:
        account.cash -= notional
        account.cost += fill.cost
        account.realised -= notional - fill.cost
        position.realised -= notional - fill.cost
        if fill.outcome == Outcome.YES:
            position.yes += fill.size
            position.yes_cost += fill.cost
        else:
            position.no += fill.size
            position.no_cost += fill.cost
    account.cash += fill.fee
    account.fees -= fill.fee
    position.fees -= fill.fee
    account.rebates -= fill.rebate
    position.rebates -= fill.rebate


@njit
def settle(account, position, payout, later=0):
    """Turn both holdings into `payout` pips per YES share: cash, or a receivable until `redeem`."""
    value = (position.yes * payout + position.no * (ONE - payout)) // ONE
    cost = position.yes_cost + position.no_cost
    if later:
        account.receivable += value
        position.receivable += value
    else:
        account.cash += value
    account.cost -= cost
    account.realised += value - cost
    position.realised += value - cost
    position.yes = position.no = 0
    position.yes_cost = position.no_cost = 0


@njit
def redeem(account, position):
    """What a resolved market owes us becomes cash."""
    account.cash += position.receivable
    account.receivable -= position.receivable
    position.receivable = 0


@njit
def mark(account, position, mark2):
    """Value both holdings at mid = mark2 / 2 pips and bring the account's equity up to it."""
    if mark2 > 0:
        value = (position.yes * mark2 + position.no * (2 * ONE - mark2)) // (2 * ONE)
    else:  # never seen two-sided: pairs at 1 pUSD, the rest at cost, there is nothing better
        value = position.yes_cost + position.no_cost
        pairs = min(position.yes, position.no)
        if pairs > 0:
            yes_cost = part_of_cost(position.yes_cost, pairs, position.yes)
            value += pairs - yes_cost - part_of_cost(position.no_cost, pairs, position.no)
    account.marked += value - position.marked
    position.marked = value
    account.equity = (
        account.cash + account.reserved + account.unsettled + account.marked + account.rebates + account.receivable
    )


# ------------------------------------------------------------------------------------------------ complete sets


@njit
def split(account, position, size, mark2):
    """Make `size` YES and as many NO out of cash. Their cost is shared out at mid, so neither starts with a profit."""
    yes_cost = size * (mark2 if mark2 > 0 else ONE) // (2 * ONE)
    account.cash -= size
    account.cost += size
    position.yes += size
    position.no += size
    position.yes_cost += yes_cost
    position.no_cost += size - yes_cost


@njit
def merge(account, position, size):
    """Turn `size` YES and as many NO into cash at 1 pUSD a pair."""
    yes_cost, no_cost = settled_cost(position, Outcome.YES, size), settled_cost(position, Outcome.NO, size)
    position.yes -= size
    position.no -= size
    position.yes_cost -= yes_cost
    position.no_cost -= no_cost
    account.cash += size
    account.cost -= yes_cost + no_cost
    account.realised += size - yes_cost - no_cost
    position.realised += size - yes_cost - no_cost


@njit
def convert(account, markets, positions, first, index_set, size, fee_bps):
    """Neg-risk conversion: `size` NO in each of the m markets of the set become (m - 1) pUSD a share and one YES share
    in every other market of the event, less a fee of `fee_bps` of the size.

    index_set: bit k stands for the k-th market of the ring that begins at `first`. The cost of the NO shares is paid
    back first; what cash does not cover goes over to the YES shares in equal parts, and only cash beyond it is profit.
    """
    n, m, cost, at = 0, 0, 0, first
    while n == 0 or at != first:
        if index_set >> n & 1:
            position = positions[at]
            part = settled_cost(position, Outcome.NO, size)
            position.no -= size
            position.no_cost -= part
            cost += part
            m += 1
        n += 1
        at = markets[at].group_next
    kept = size - size * fee_bps // 10_000
    cash = (m - 1) * kept
    carried = max(cost - cash, 0) if n > m else 0
    each = carried // (n - m) if n > m else 0
    rest = carried - each * (n - m)
    for k in range(n):
        if not index_set >> k & 1:
            position = positions[at]
            position.yes += kept
            position.yes_cost += each + rest
            rest = 0
        at = markets[at].group_next
    account.cash += cash
    account.cost += carried - cost
    account.realised += cash + carried - cost
    positions[first].realised += cash + carried - cost


# ------------------------------------------------------------------------------------------------ neg-risk events
#
# At most one outcome of an event wins. If outcome k does, its YES shares and every other market's NO shares pay:
#
#     paid_k = sum_i no_i + yes_k - no_k
#
# An open order is taken as filled in the outcomes it hurts and as unfilled in those it helps: a buy of YES costs its
# money in every other outcome, a buy of NO in its own. The outcomes of the event that this run does not know count as
# one in which we hold nothing, so an event of which the run has only a part is never valued too high.
# Open sells count as shares still held.


@njit
def _lean(position):
    """What one market adds to `group_base` if its outcome wins, micro-pUSD."""
    return position.yes - position.no + position.yes_buying - position.no_buying


@njit
def survey_group(markets, positions, market):
    """Fill the group fields of the market's position from all markets of its event that are still open."""
    position = positions[market.id]
    base = position.no - position.yes_buying
    cost = position.yes_cost + position.no_cost
    others, at = 0, market.group_next
    while at != market.id:
        other = positions[at]
        base += other.no - other.yes_buying
        cost += other.yes_cost + other.no_cost
        others = min(others, _lean(other))
        at = markets[at].group_next
    position.group_base = base
    position.group_cost = cost
    position.group_others = others


@njit
def group_loss(position):
    """Largest loss over the outcomes of the event, micro-pUSD at cost before fees; negative = a sure profit.
    Needs the fields of `survey_group`."""
    return position.group_cost - position.group_base - min(position.group_others, _lean(position))


@njit
def group_loss_with(position, intent):
    """`group_loss` once the intent's order is open too, in place of the quote that it keeps."""
    at_stake = intent.price * intent.size // ONE
    if intent.side == Side.SELL:  # giving up a share that would have paid 1
        at_stake = intent.size - at_stake
    else:
        at_stake = max(at_stake - intent.replaces, 0)
    base, lean = position.group_base, _lean(position)
    if intent.side == intent.outcome:  # a buy of YES, a sale of NO: it hurts when another outcome wins
        base -= at_stake
        lean += at_stake
    else:
        lean -= at_stake
    return position.group_cost - base - min(position.group_others, lean)


def identity_gap(account, /) -> int:
    """L1 as a number: zero when the books balance. Micro-pUSD."""
    left = account.cash + account.reserved + account.unsettled + account.cost + account.rebates + account.receivable
    return int(left - (account.deposits + account.realised - account.fees + account.rebates))
