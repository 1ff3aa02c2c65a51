"""Prices and sizes to the two amounts an order signs, in integers and within what the venue stores.

A limit order is (price on the tick, size in whole hundredths): its amounts divide to exactly that price, which the
venue checks. A market order (FOK, FAK) pays or sells whole hundredths; what it gets is floored to four decimals on
every tick, since the venue takes no more, and must still be as good as its limit.

Invariants
    A1  the amounts of a limit order divide to its price, exactly
    A2  what a market order gives has at most two decimals, what it gets at most four
    A3  a market order's amounts are worth less than one pip more (BUY) or less (SELL) than its limit
    A4  what does not lie on a grid is refused, never rounded; `whole_cents` rounds where a caller asks for it

Prices and ticks in pips, sizes in micro-shares, money in micro-pUSD.
"""

from __future__ import annotations

from typing import NoReturn

from polytraders.rows import Side
from polytraders.units import CENT_SHARE, ONE, TICKS_PIPS, money_text, price_text, size_text
from polytraders.venue.refusal import Refused

BUY, SELL = Side.BUY, Side.SELL
CENT = CENT_SHARE
"""Micro-units in a hundredth, of a share or of a pUSD: the step of what a market order gives."""
GETS_STEP = {tick: 1_000 if tick == 1_000 else 100 for tick in TICKS_PIPS}
"""Tick -> micro-units a market order's taker amount is floored to. Amounts have three decimals on a tick of 0.1 pUSD
and four to six on the others; the venue takes no more than four."""


def whole_cents(micro: int) -> int:
    """A size or amount of money, floored to hundredths."""
    return micro - micro % CENT


def limit_amounts(side: int, price: int, size: int, tick: int) -> tuple[int, int]:
    """(maker amount, taker amount) of a limit order. Raises `Refused` off a grid."""
    if tick not in GETS_STEP or price % tick or not tick <= price <= ONE - tick:
        _off_tick(price, tick)
    if size % CENT_SHARE or size <= 0:
        _off_size(size)
    money = price * size // ONE  # exact: the size is a multiple of ONE
    return (money, size) if side == BUY else (size, money)


def market_amounts(side: int, price: int, amount: int, tick: int) -> tuple[int, int]:
    """(maker amount, taker amount) of a FOK or FAK order that must not trade beyond `price`.

    `amount` is the money a BUY spends or the shares a SELL gives. Raises `Refused` off a grid, and where four
    decimals cannot hold the price.
    """
    if tick not in GETS_STEP or price % tick or not tick <= price <= ONE - tick:
        _off_tick(price, tick)
    if amount % CENT or amount <= 0:
        _off_size(amount)
    gets = amount * ONE // price if side == BUY else amount * price // ONE
    gets -= gets % GETS_STEP[tick]
    if not is_protected(side, price, amount, gets):
        what = "buys above" if side == BUY else "sells below"
        raise Refused(
            "EXEC_PRICE_NOT_PROTECTED",
            f"{money_text(amount)} against {money_text(gets)} {what} {price_text(price)}",
            where="amount",
        )
    return amount, gets


def is_protected(side: int, price: int, maker_amount: int, taker_amount: int) -> bool:
    """Do these amounts stay within one pip, the venue's finest price, of the limit?"""
    if side == BUY:
        return maker_amount * ONE < taker_amount * (price + 1)
    return taker_amount * ONE > maker_amount * (price - 1)


def _off_tick(price: int, tick: int) -> NoReturn:
    if tick not in GETS_STEP:
        ticks = ", ".join(price_text(t) for t in TICKS_PIPS)
        raise Refused("EXEC_OFF_TICK", f"{tick} pips is no tick of this venue", where="tick", rule=f"one of {ticks}")
    rule = f"a multiple of {price_text(tick)}, from {price_text(tick)} to {price_text(ONE - tick)}"
    raise Refused("EXEC_OFF_TICK", f"{price_text(price)} is not a price of this market", where="price", rule=rule)


def _off_size(micro: int) -> NoReturn:
    if micro <= 0:
        raise Refused("EXEC_BELOW_MIN_SIZE", f"{size_text(micro)} is nothing to trade", where="size")
    rule = "sizes, and what a FOK or FAK order gives, are whole hundredths"
    raise Refused("EXEC_TOO_MANY_DECIMALS", f"{size_text(micro)} has more than two decimals", where="size", rule=rule)
