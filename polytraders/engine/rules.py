"""Order rules of the venue that both sides of the wire must know: lifetime, least money, decimals.

Source: docs.polymarket.com (orders) and the venue's official client, as of autumn 2026.

Good-til-date orders name a Unix second. The venue refuses one that is less than GTD_LEAD away, and drops
the order GTD_EARLY before it: an order for two minutes names a second three minutes ahead.
"""

from __future__ import annotations

import numpy as np

from polytraders.engine.jit import njit
from polytraders.rows import OrderType, Side
from polytraders.units import CENT_SHARE, MICRO, NS_PER_S, ONE

GTD_LEAD = 180 * NS_PER_S
"""ns from arrival to the named second, at least."""
GTD_EARLY = 60 * NS_PER_S
"""ns before the named second at which the venue takes the order off the book."""
MIN_MARKETABLE = MICRO
"""micro-pUSD: price x size of an order that takes, at least, before fees."""
TAKING_BUY_MONEY = 10_000
"""micro-pUSD: a FOK or FAK buy pays whole hundredths of a pUSD, whatever the tick."""
TAKING_SALE_MONEY = 100
"""micro-pUSD: a FOK or FAK sale receives whole ten-thousandths of a pUSD, whatever the tick."""


@njit
def gtd_expiry(now, ttl):
    """The Unix second that a GTD order names to live `ttl` ns from `now` on, or up to a second less."""
    return (now + ttl + GTD_EARLY) // NS_PER_S


@njit
def gtd_expires(expiry):
    """ns at which the venue drops an order that names this second."""
    return np.int64(expiry) * NS_PER_S - GTD_EARLY


@njit
def gtd_too_soon(expiry, now):
    """True when the venue refuses an order that names this second and arrives now (ns)."""
    return np.int64(expiry) * NS_PER_S < now + GTD_LEAD


@njit
def too_fine(order_type, side, price, size):
    """True when the order has more decimals than the venue stores.

    Every tick has two decimals of shares, and price x size of a resting order then always fits. A FOK or FAK is
    stored as two amounts: a buy's money has two decimals, a sale's four. (A taking buy may have four decimals of
    shares at the venue; here it has two, as everything the platform books.)
    """
    if size % CENT_SHARE != 0:
        return True
    if order_type == OrderType.FOK or order_type == OrderType.FAK:
        unit = TAKING_BUY_MONEY if side == Side.BUY else TAKING_SALE_MONEY
        return size // CENT_SHARE % unit * (price % unit) % unit != 0
    return False


@njit
def too_little_to_take(price, size):
    """True when an order that takes is worth less than the venue's minimum. price pips, size micro-shares."""
    return price * size < MIN_MARKETABLE * ONE
