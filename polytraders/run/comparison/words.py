"""Orders and fills as a comparison tells them."""

from __future__ import annotations

from typing import Any

from polytraders.reasons import by_number
from polytraders.rows import Outcome, Side
from polytraders.run.lives import Life
from polytraders.units import NS_PER_MS, iso_utc, money_text, price_text, size_text


def shares(life: Life) -> tuple[int, int]:
    """(YES, NO) micro-shares that an order brought, signed."""
    signed = life.filled if life.side == Side.BUY else -life.filled
    return (signed, 0) if life.outcome == Outcome.YES else (0, signed)


def code_name(number: int) -> str:
    """A reason code's name; an order that has none was filled."""
    return by_number(number).name if number else "filled"


def order_told(life: Life) -> dict[str, Any]:
    """An order: its terms, when it was sent, and how long its answers took."""
    told = {
        "order": life.id, "slot": life.slot, "side": Side(life.side).name, "outcome": Outcome(life.outcome).name,
        "price": price_text(life.price), "size": size_text(life.size), "sent": iso_utc(life.sent),
    }  # fmt: skip
    for name, at in (("accepted_ms", life.acked), ("ended_ms", life.ended)):
        if at:
            told[name] = round((at - life.sent) / NS_PER_MS, 3)
    return told | ({"end": code_name(life.code)} if life.ended else {"end": "open"})


def filled_told(life: Life) -> dict[str, Any]:
    """What an order traded, in all and in parts."""
    return {
        "order": life.id, "side": Side(life.side).name, "outcome": Outcome(life.outcome).name,
        "filled": size_text(life.filled), "cash": money_text(life.cash), "fees": money_text(life.fees),
        "parts": [[price_text(fill.price), size_text(fill.size), iso_utc(fill.ts)] for fill in life.fills],
    }  # fmt: skip
