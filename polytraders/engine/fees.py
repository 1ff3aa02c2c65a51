"""The taker fee and the maker rebate, in integers.

    fee = shares * rate * (p (1 - p))^exponent, takers only, in pUSD, rounded half-up to 5 decimals

(Polymarket's documentation of fees; rate and exponent are the market's own, at that date.) The
product needs up to 150 bits, so it is formed in base-1e9 limbs; dividing by a power of ten is then
a shift, and nothing is lost before the one rounding.

Invariants
    F1  the fee is exact to the half-up rounding, for exponent 0 ... 2 and any fee below 9e9 pUSD
    F2  a maker pays nothing; its rebate is floored
"""

from __future__ import annotations

from polytraders.engine.jit import njit

LIMB = 1_000_000_000
NARROW = 360_000_000_000
"""Micro-shares up to which size x p (1 - p) fits 63 bits: nearly every order there is."""
NANO_PER_FEE_UNIT = 10_000
MICRO_PER_FEE_UNIT = 10
"""The fee unit is 1e-5 pUSD, the last decimal the venue keeps."""


@njit
def fee_nano(size, price, rate, exponent):
    """Fee before rounding, floored to 1e-9 pUSD. size micro-shares, price pips, rate ppm, exponent 0 ... 2."""
    if rate == 0:
        return 0
    if exponent == 1 and size <= NARROW:
        curve = size * (price * (10_000 - price))
        return curve // 100_000_000_000 * rate + curve % 100_000_000_000 * rate // 100_000_000_000
    l0, l1, l2, l3, l4 = size % LIMB, size // LIMB, 0, 0, 0
    for k in range(exponent + 1):
        factor = rate if k == 0 else price * (10_000 - price)
        t = l0 * factor
        l0 = t % LIMB
        t = l1 * factor + t // LIMB
        l1 = t % LIMB
        t = l2 * factor + t // LIMB
        l2 = t % LIMB
        t = l3 * factor + t // LIMB
        l3 = t % LIMB
        l4 = l4 * factor + t // LIMB
    # value = size(1e-6) * rate(1e-6) * (p(1-p))^e (1e-8 each): in 1e-9 it is value / 10^(3 + 8 e)
    if exponent == 0:
        return l0 // 1_000 + l1 * 1_000_000 + l2 * 1_000_000 * LIMB
    if exponent == 1:
        return l1 // 100 + l2 * 10_000_000 + l3 * 10_000_000 * LIMB
    return l2 // 10 + l3 * 100_000_000 + l4 * 100_000_000 * LIMB


@njit
def fee_units(nano):
    """1e-9 pUSD to fee units of 1e-5 pUSD, half-up."""
    return (nano + NANO_PER_FEE_UNIT // 2) // NANO_PER_FEE_UNIT


@njit
def taker_fee(size, price, rate, exponent):
    """Fee of one match in micro-pUSD."""
    return fee_units(fee_nano(size, price, rate, exponent)) * MICRO_PER_FEE_UNIT


@njit
def maker_rebate(size, price, rate, exponent, rebate_rate):
    """Rebate accrued by a maker fill in micro-pUSD, floored. rebate_rate ppm of the taker fee on it.

    The pool of a market and day is `rebate_rate` of its taker fees, split by the fee equivalent of
    each maker's filled shares; every taken share has one maker, so a share's part is its own fee.
    """
    return fee_nano(size, price, rate, exponent) // 1_000 * rebate_rate // 1_000_000
