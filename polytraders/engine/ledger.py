"""Cash, reservations and positions, to the micro-pUSD.

Invariants, after every event
    L1  cash + reserved + cost + rebates = deposits + realised - fees + rebates accrued
        (rebates are a receivable until paid, so both sides carry them)
    L2  reserved is the sum of what open buy orders hold back; a position's reserved shares that of its open sells
    L3  nothing reserved outlives its order; free cash and free shares are never negative
    L4  selling everything leaves a cost of exactly zero
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
def book_fill(account, position, outcome, side, price, size, fee, rebate):
    """Book one fill whose reservation has already been released. price pips of the outcome's token."""
    notional = price * size // ONE
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
            cost = part_of_cost(position.yes_cost, size, position.yes)
            position.yes -= size
            position.yes_cost -= cost
        else:
            cost = part_of_cost(position.no_cost, size, position.no)
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


@njit
def settle(account, position, payout):
    """Turn both holdings into cash at `payout` pips per YES share."""
    value = (position.yes * payout + position.no * (ONE - payout)) // ONE
    cost = position.yes_cost + position.no_cost
    account.cash += value
    account.cost -= cost
    account.realised += value - cost
    position.realised += value - cost
    position.yes = position.no = 0
    position.yes_cost = position.no_cost = 0


@njit
def mark(account, position, mark2):
    """Value both holdings at mid = mark2 / 2 pips and bring the account's equity up to it."""
    if mark2 > 0:
        value = (position.yes * mark2 + position.no * (2 * ONE - mark2)) // (2 * ONE)
    else:  # never seen two-sided: at cost, there is nothing better
        value = position.yes_cost + position.no_cost
    account.marked += value - position.marked
    position.marked = value
    account.equity = account.cash + account.reserved + account.marked + account.rebates


def identity_gap(account, /) -> int:
    """L1 as a number: zero when the books balance. Micro-pUSD."""
    left = account.cash + account.reserved + account.cost + account.rebates
    return int(left - (account.deposits + account.realised - account.fees + account.rebates))
