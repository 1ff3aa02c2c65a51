"""Numbers as people read them. Integers in, text out; no float ever holds money here."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from polytraders.units import MICRO, NS_PER_MS, NS_PER_S, ONE, iso_utc

MISSING = "–"


def _decimal(value: int, scale: int, places: int, signed: bool) -> str:
    exact = (Decimal(int(value)) / scale).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    if exact.is_zero():
        exact = abs(exact)
    text = f"{exact:+,.{places}f}" if signed and exact else f"{exact:,.{places}f}"
    return text.replace("-", "−")


def pusd(micro: int, places: int = 2, *, signed: bool = False) -> str:
    """micro-pUSD as pUSD: -1_250_000 -> '−1.25'."""
    return _decimal(micro, MICRO, places, signed)


def shares(micro: int, places: int = 2, *, signed: bool = False) -> str:
    """micro-shares as shares."""
    return _decimal(micro, MICRO, places, signed)


def price(pips: int, places: int = 4) -> str:
    """Pips as pUSD."""
    return _decimal(pips, ONE, places, False)


def cents(half_pips: float, places: int = 2, *, signed: bool = True) -> str:
    """Half-pips (a mean may have a fraction) as cents of 1 pUSD; a missing number as a dash."""
    if half_pips != half_pips:
        return MISSING
    text = f"{half_pips / 200:{'+' if signed else ''},.{places}f}"
    return text.replace("-", "−")


def percent(share: float | None, places: int = 1) -> str:
    """0.1234 -> '12.3 %'."""
    return MISSING if share is None or share != share else f"{100 * share:,.{places}f} %".replace("-", "−")


def count(n: int, noun: str, plural: str = "") -> str:
    """'1 fill', '2,000 fills', 'no fills'."""
    word = noun if n == 1 else plural or noun + "s"
    return f"{n:,} {word}" if n else f"no {word}"


def lasting(ns: int) -> str:
    """A length of time in its two largest units: '2 h 3 min', '1.5 s', '350 ms'."""
    seconds = int(ns) // NS_PER_S
    if seconds < 1:
        return f"{int(ns) / NS_PER_MS:,.0f} ms"
    if seconds < 10:
        return f"{int(ns) / NS_PER_S:.1f} s"
    found = []
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= length:
            found.append(f"{seconds // length} {name}")
            seconds %= length
        elif found:
            break
    return " ".join(found[:2])


def moment(ns: int) -> str:
    """ns as '2026-04-16 09:10:04' (UTC)."""
    return iso_utc(ns)[:19].replace("T", " ")


def listed(words: list[str]) -> str:
    """'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
