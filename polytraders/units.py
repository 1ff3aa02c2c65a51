"""Units and the only conversions between them.

Inside the system money, prices and sizes are integers; at its edges (JSON, the venue, a notebook's
display) they are decimal strings or `Decimal`. Conversion happens here and nowhere else.

=========  ======  =====================================================
price      int     pips, 1e-4 of 1 pUSD (0 ... 10 000)
size       int     micro-shares, 1e-6 share
money      int     micro-pUSD, 1e-6 pUSD
time       int     ns since the Unix epoch, UTC
=========  ======  =====================================================

Invariants
    U1  a value that is not on its grid is refused, never rounded in silence
    U2  text -> integer -> text gives the same number
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

ONE = 10_000
"""Pips in 1 pUSD: the payout of a winning share."""
MICRO = 1_000_000
"""Micro-shares in a share, micro-pUSD in a pUSD."""
CENT_SHARE = 10_000
"""Micro-shares in 0.01 share, the venue's size step (every tick has 2 size decimals)."""
NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S
TICKS_PIPS = (1_000, 100, 50, 25, 10, 1)
"""Tick sizes of the venue in pips, coarse to fine: 0.1, 0.01, 0.005, 0.0025, 0.001, 0.0001."""

Number = str | int | Decimal


class UnitError(ValueError):
    """A number that does not lie on its grid or outside its range."""


def _scaled(value: Number, scale: int, what: str) -> int:
    if isinstance(value, (bool, float)):
        raise UnitError(f"{what}: {value!r} is a {type(value).__name__}; give a decimal string, an int or a Decimal")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise UnitError(f"{what}: {value!r} is not a decimal number") from None
    if not number.is_finite() or number.adjusted() > 18 or number.as_tuple().exponent < -60:
        raise UnitError(f"{what}: {value!r} is no number of this world")
    top, bottom = number.as_integer_ratio()
    scaled, rest = divmod(top * scale, bottom)  # in integers: Decimal would round at 28 digits
    if rest:
        raise UnitError(f"{what}: {value} is finer than 1/{scale}")
    return scaled


def price_pips(value: Number) -> int:
    """Price in pUSD (0 ... 1) to pips. Raises `UnitError` off the grid or outside [0, 1]."""
    pips = _scaled(value, ONE, "price")
    if not 0 <= pips <= ONE:
        raise UnitError(f"price: {value} is outside 0 ... 1")
    return pips


def size_micro(value: Number) -> int:
    """Size in shares to micro-shares. Raises `UnitError` off the grid or below zero."""
    micro = _scaled(value, MICRO, "size")
    if micro < 0:
        raise UnitError(f"size: {value} is negative")
    return micro


def money_micro(value: Number) -> int:
    """Money in pUSD to micro-pUSD; may be negative. Raises `UnitError` off the grid."""
    return _scaled(value, MICRO, "money")


def _plain(value: int, scale: int) -> str:
    text = f"{Decimal(int(value)) / scale:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_text(pips: int) -> str:
    """Pips to the shortest decimal string in pUSD: 6425 -> '0.6425'."""
    return _plain(pips, ONE)


def size_text(micro: int) -> str:
    """Micro-shares to the shortest decimal string in shares: 1_500_000 -> '1.5'."""
    return _plain(micro, MICRO)


def money_text(micro: int) -> str:
    """Micro-pUSD to the shortest decimal string in pUSD: -250_000 -> '-0.25'."""
    return _plain(micro, MICRO)


def notional_micro(pips: int, size: int) -> int:
    """Price (pips) x size (micro-shares) in micro-pUSD, rounded up: what a buyer must have.

    Exact whenever the size is a multiple of 0.01 share, which every order's is.
    """
    return -(-pips * size // ONE)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_utc(ns: int) -> str:
    """ns since the epoch to ISO 8601 UTC with nine decimals: '2026-04-16T09:10:04.287000000Z'."""
    seconds, rest = divmod(int(ns), NS_PER_S)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def ns_from_iso(text: str) -> int:
    """ISO 8601 with a zone (or a trailing Z) to ns since the epoch, without passing through a float."""
    head, _, tail = text.replace("Z", "+00:00").partition(".")
    fraction, zone = "", ""
    for mark in ("+", "-"):
        if mark in tail:
            fraction, _, offset = tail.partition(mark)
            zone = mark + offset
            break
    moment = datetime.fromisoformat(head + zone if tail else head)
    if moment.tzinfo is None:
        raise UnitError(f"time: {text!r} has no zone; write it in UTC with a trailing Z")
    whole = moment - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * NS_PER_S + int(fraction.ljust(9, "0")[:9] or 0)
