"""What an answer of the venue proves about an order, and the reason code for it.

==============  ==============================================================================  =================
an answer       means                                                                           what is done
==============  ==============================================================================  =================
ACCEPTED        success, no error text, an order id, a status the venue gives accepted orders   it is acknowledged
REFUSED         the venue names why, or nothing can have arrived                                it is rejected
UNKNOWN         no answer, half an answer, a 5xx, "duplicate": it may be on the book             it is looked up
==============  ==============================================================================  =================

A status of 425, 429 or 503 is given before the engine sees an order: refused, and for a cancel a reason to ask again.
Pure: nothing here does I/O or reads a clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from math import isnan
from typing import Any

from polytraders.reasons import Code
from polytraders.units import UnitError, size_micro

UNSENT = -1
"""In place of a status: no connection was made, so nothing was sent."""
SILENT = 0
"""In place of a status: it was sent, or may have been, and no answer came."""

ACCEPTED_STATES = ("live", "matched", "delayed")


class Kind(IntEnum):
    """What is proven."""

    ACCEPTED = 1
    REFUSED = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one answer proves of one order or cancel.

    code: reason-code number, of a refusal. text: the venue's words. wait: s after which it may be asked again, for
    what may be. status, trades, matched: of an accepted order; matched is -1 where it is not told.
    """

    kind: Kind
    code: int = 0
    text: str = ""
    wait: float = 0.0
    status: str = ""
    trades: tuple[str, ...] = ()
    matched: int = -1  # micro-shares


_REFUSALS: tuple[tuple[str, Code], ...] = (
    ("duplicate", Code.EXEC_DUPLICATE),
    ("crosses", Code.EXEC_POST_ONLY_CROSSED),
    ("post-only mode", Code.EXEC_VENUE_RESTRICTED),
    ("tick size", Code.EXEC_OFF_TICK),
    ("invalid price", Code.EXEC_OFF_TICK),
    ("min size: $", Code.EXEC_BELOW_MIN_MARKETABLE),
    ("lower than the minimum", Code.EXEC_BELOW_MIN_SIZE),
    ("the allowance is not enough", Code.SEC_ALLOWANCE_MISSING),
    ("not enough balance", Code.EXEC_NOT_ENOUGH_BALANCE),
    ("invalid expiration", Code.EXEC_GTD_TOO_SOON),
    ("couldn't be fully filled", Code.EXEC_FOK_NOT_FILLED),
    ("no orders found to match", Code.EXEC_FAK_NOT_FILLED),
    ("invalid amounts", Code.EXEC_TOO_MANY_DECIMALS),
    ("closed only", Code.SEC_CLOSED_ONLY),
    ("closed-only", Code.SEC_CLOSED_ONLY),
    ("banned", Code.SEC_ACCOUNT_BANNED),
    ("deposit wallet", Code.SEC_WALLET_NOT_ALLOWED),
    ("maker address not allowed", Code.SEC_WALLET_NOT_ALLOWED),
    ("invalid signature", Code.SEC_SIGNATURE_REFUSED),
    ("order signer", Code.SEC_SIGNATURE_REFUSED),
    ("owner has to be", Code.SEC_CREDENTIALS_REFUSED),
    ("no orderbook exists", Code.EXEC_MARKET_UNKNOWN),
    ("invalid token id", Code.EXEC_MARKET_UNKNOWN),
    ("not yet ready", Code.EXEC_MARKET_CLOSED),
    ("cancel-only", Code.EXEC_VENUE_RESTRICTED),
    ("trading is currently disabled", Code.EXEC_VENUE_RESTRICTED),
    ("version_mismatch", Code.EXEC_PROTOCOL_UNSUPPORTED),
    ("invalid order payload", Code.EXEC_BAD_ENVELOPE),
    ("invalid payload", Code.EXEC_BAD_ENVELOPE),
    ("invalid side", Code.EXEC_BAD_ENVELOPE),
)
"""Words of the venue's refusals (small letters) -> reason."""


def code_of(text: str) -> Code:
    """The reason behind the venue's words; EXEC_REJECTED for words that are not known."""
    small = text.lower()
    return next((code for words, code in _REFUSALS if words in small), Code.EXEC_REJECTED)


def _words(body: Any) -> str:
    if isinstance(body, dict):
        return str(body.get("errorMsg") or body.get("error") or body.get("error_msg") or "")
    return body if isinstance(body, str) else ""


def _wait(headers: dict[str, str], body: Any, otherwise: float) -> float:
    told = headers.get("Retry-After") or (body.get("retry_after_seconds") if isinstance(body, dict) else None)
    try:
        wait = float(told) if told is not None else otherwise
    except (TypeError, ValueError):
        return otherwise
    return otherwise if isnan(wait) else min(max(wait, 0.0), 300.0)


def of_status(status: int, body: Any, headers: dict[str, str]) -> Outcome | None:
    """What an HTTP status alone proves; None for 2xx, whose body must be read."""
    text = _words(body)
    if 200 <= status < 300:
        return None
    match status:
        case -1:
            return Outcome(Kind.REFUSED, Code.EXEC_VENUE_UNREACHABLE, text, 1.0)
        case 425:
            return Outcome(Kind.REFUSED, Code.EXEC_VENUE_RESTARTING, text, _wait(headers, body, 1.5))
        case 429:
            return Outcome(Kind.REFUSED, Code.EXEC_RATE_LIMITED, text, _wait(headers, body, 1.0))
        case 503 if _restricted(text):
            return Outcome(Kind.REFUSED, Code.EXEC_VENUE_RESTRICTED, text, _wait(headers, body, 2.0))
        case 401:
            return Outcome(Kind.REFUSED, Code.SEC_CREDENTIALS_REFUSED, text, 1.0)
        case 403:
            return Outcome(Kind.REFUSED, Code.SEC_GEOBLOCKED, text)
        case 400 | 404 | 405 | 422:
            code = code_of(text)
            if code == Code.EXEC_DUPLICATE:  # it is there: by an answer that was lost on the way
                return Outcome(Kind.UNKNOWN, code, text)
            return Outcome(Kind.REFUSED, code, text)
    return Outcome(Kind.UNKNOWN, Code.EXEC_OUTCOME_UNKNOWN, text or f"HTTP {status}" if status else "no answer", 1.0)


def _restricted(text: str) -> bool:
    """A 503 of the engine's own modes; one of a proxy may come after the order has."""
    return code_of(text) == Code.EXEC_VENUE_RESTRICTED


def of_entry(entry: Any, taking_side: int = -1) -> Outcome:
    """What the answer to one order says, alone or as an entry of a batch.

    taking_side: the order's side when it is FOK or FAK, to know which of the two amounts are its shares; else -1.
    """
    if not isinstance(entry, dict):
        return Outcome(Kind.UNKNOWN, Code.EXEC_OUTCOME_UNKNOWN, "an answer of unknown form")
    text, status, name = _words(entry), str(entry.get("status") or "").lower(), entry.get("orderID")
    if entry.get("success") is True and not text and name and status in ACCEPTED_STATES:
        told = entry.get("tradeIDs")
        trades = tuple(t for t in told if isinstance(t, str)) if isinstance(told, list) else ()
        return Outcome(Kind.ACCEPTED, status=status, trades=trades, matched=_matched(entry, taking_side))
    if not text and status == "unmatched":
        return Outcome(Kind.UNKNOWN, Code.EXEC_OUTCOME_UNKNOWN, "unmatched")
    if not text:  # neither accepted nor a reason: no proof of anything
        return Outcome(Kind.UNKNOWN, Code.EXEC_OUTCOME_UNKNOWN, "an answer without order and reason")
    code = code_of(text)
    if code == Code.EXEC_DUPLICATE:
        return Outcome(Kind.UNKNOWN, code, text)
    return Outcome(Kind.REFUSED, code, text)


def _matched(entry: dict[str, Any], taking_side: int) -> int:
    if taking_side < 0:
        return -1
    try:
        return size_micro(str(entry.get("takingAmount" if taking_side == 0 else "makingAmount") or "0"))
    except UnitError:
        return -1


_GONE = re.compile(r"can't be found|not found|already canceled|already cancelled|matched", re.IGNORECASE)


def cancel_is_late(reason: str) -> bool:
    """Does this reason of `not_canceled` say that the order is over? Otherwise it is asked again later."""
    return "delayed" not in reason.lower() and bool(_GONE.search(reason))


ENDS = {
    "CANCELED": Code.EXEC_CANCELLED,
    "CANCELED_EXPIRED_ORDER": Code.EXEC_CANCELLED_EXPIRED,
    "CANCELED_MARKET_RESOLVED": Code.EXEC_CANCELLED_MARKET_RESOLVED,
    "CANCELED_NOT_ENOUGH_BALANCE": Code.EXEC_NOT_ENOUGH_BALANCE,
    "CANCELED_MARKET_NOT_FOUND": Code.EXEC_MARKET_CLOSED,
    "INVALID": Code.EXEC_REJECTED,
}


def end_of(status: str, order_type: int) -> Code | None:
    """Why an order with this status has left the book; None while it has not. Any CANCELED... is an end."""
    from polytraders.rows import OrderType

    status = status.upper().removeprefix("ORDER_STATUS_")
    if (known := ENDS.get(status)) is not None:
        return known
    if status.startswith("CANCELED") or status.startswith("CANCELLED"):
        return Code.EXEC_CANCELLED_BY_VENUE
    if status == "UNMATCHED":
        return Code.EXEC_FOK_NOT_FILLED if order_type == OrderType.FOK else Code.EXEC_FAK_NOT_FILLED
    return None
