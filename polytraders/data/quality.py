"""What can be wrong with a recording, by name. Nothing is repaired in silence: every case is a row.

A quality row says which source line it is about (`file`, `line`), which message (`message`, the
number that event rows carry as `ref`, -1 = none was made), which market (index, -1 = none), when,
how much (`value`, unit below) and, in words, what (`detail`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Problem(StrEnum):
    """Kinds of quality rows; the comment gives the unit of `value`."""

    GAP = "gap"  # silence of the feed for longer than the limit, up to ts_recv; value = ns
    DUPLICATE = "duplicate"  # the same message again, not applied; value = number of the first
    VENUE_TIME_BACKWARD = "venue_time_backward"  # ts_event before the market's previous one; value = ns back
    RECEIVE_TIME_BACKWARD = "receive_time_backward"  # receive time held at the previous row's; value = ns held
    CROSSED_BOOK = "crossed_book"  # bid at or above ask after a message (first of each episode); value = pips over
    HASH_MISMATCH = "hash_mismatch"  # a book whose own hash does not fit its content; value = 0
    QUOTE_MISMATCH = (
        "quote_mismatch"  # the message's best bid or ask is not the book's; value = pips apart, 0 = side missing
    )
    MIRROR_MISMATCH = "mirror_mismatch"  # the two outcome tokens' legs of one message disagree; value = 0
    OFF_TICK = "off_tick"  # a price that is not on the tick in force; value = pips
    TICK_UNANNOUNCED = "tick_unannounced"  # tick change seen without a tick_size_change message; value = new tick, pips
    NO_SNAPSHOT = "no_snapshot"  # a market's changes begin before its first full book; value = 0
    TRADE_UNSIZED = (
        "trade_unsized"  # a trade is known to have happened but its size cannot be inferred; value = price, pips
    )
    MALFORMED = "malformed"  # a line or message that cannot be read; value = 0
    ENCODING = "encoding"  # a line that is not UTF-8; value = 0
    UNKNOWN_TYPE = "unknown_type"  # a message type the venue's documentation does not know; value = 0
    UNKNOWN_TOKEN = "unknown_token"  # a token that belongs to no market, or a third token of one; value = 0
    TRUNCATED = "truncated"  # the file ends in the middle; value = 0


FATAL = frozenset({Problem.MALFORMED, Problem.ENCODING, Problem.UNKNOWN_TYPE, Problem.TRUNCATED})
"""Problems of the files themselves: with `strict` the first one stops the import."""


class Finding(NamedTuple):
    """One quality row."""

    kind: Problem
    file: int
    line: int
    market: int
    message: int
    ts_recv: int
    value: int
    detail: str
