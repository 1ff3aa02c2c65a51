"""External prices as the venue's real-time data socket tells them: one message to one number.

A price is named `topic/symbol` (crypto_prices_chainlink/btc/usd). Its exact value comes as text in one of two
spellings, decimal or as an integer of 1e-18; the approximate `value` beside it tells which one it is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from polytraders.data.sources import venue_ns
from polytraders.units import MICRO

TOPICS = (
    "crypto_prices",
    "crypto_prices_chainlink",
    "crypto_prices_twap_thirty",
    "crypto_prices_twap_sixty",
    "equity_prices",
)
"""Topics that carry prices."""
NEAR = Decimal("1e-6")
"""Relative difference up to which the exact and the approximate value are the same price."""
LARGEST = 2**62 // MICRO


class Price(NamedTuple):
    """name: topic/symbol. ts: ns, the price's own time. value: x 1e6, rounded to the nearest."""

    name: str
    ts: int
    value: int


def read_price(frame: dict[str, Any]) -> Price | None:
    """The price in a message of the socket; None when the message is about something else.

    Raises KeyError, ValueError or TypeError for a price that cannot be read.
    """
    topic, payload = frame.get("topic"), frame.get("payload")
    if topic not in TOPICS or frame.get("type") not in ("update", "*"):
        return None
    if not isinstance(payload, dict):
        raise ValueError("the payload is no object")
    symbol = payload["symbol"]
    if not isinstance(symbol, str) or not symbol:
        raise ValueError(f"symbol {str(symbol)[:40]!r}")
    return Price(f"{topic}/{symbol}", venue_ns(payload["timestamp"]), _micro(payload))


def _micro(payload: dict[str, Any]) -> int:
    told, exact = payload["value"], payload.get("full_accuracy_value")
    if isinstance(told, bool) or not isinstance(told, (int, float, str)):
        raise ValueError(f"value {str(told)[:40]!r} is no number")
    try:
        value = Decimal(repr(told) if isinstance(told, float) else told)
        if not 0 < value < LARGEST:
            raise ValueError(f"value {str(told)[:40]} is no price")
        if exact is not None:
            text = Decimal(str(exact))
            near = [v for v in (text, text.scaleb(-18)) if abs(v - value) <= value * NEAR]
            if not near:
                raise ValueError(f"value {str(told)[:40]}, exactly {str(exact)[:40]}: not the same price")
            value = near[0]
        return round(value * MICRO)
    except ArithmeticError:
        raise ValueError(f"value {str(told)[:40]!r}, exactly {str(exact)[:40]!r}: no decimal numbers") from None
