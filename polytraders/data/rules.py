"""Dated venue rules for what a recording does not carry, and what a slug tells about its market.

A rule taken from here is an assumption and is named as one in `MarketInfo.assumed`; a rule in the
recording (message, sidecar, or proven by a book's hash) always wins.

Source: docs.polymarket.com (fees, maker rebates, changelog) as published up to September 2026 and
market objects recorded in April and July 2026.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from polytraders.units import MICRO, NS_PER_S, ns_from_iso

MIN_SIZE = 5 * MICRO
"""Smallest resting order in micro-shares on nearly every market."""
TICK = 100
"""Tick in pips of a new market."""


class FeeRule(NamedTuple):
    """Taker fee = shares x rate x (p(1-p))^exponent; makers get `rebate` of it back.

    category: see `category_of`. start: ns. rate, rebate: ppm.
    """

    category: str
    start: int
    rate: int
    exponent: int
    rebate: int
    why: str


def _day(text: str) -> int:
    return ns_from_iso(f"{text}T00:00:00Z")


_V2 = "fee schedule of 2026-03-30"
FEES: tuple[FeeRule, ...] = (
    FeeRule(
        "crypto",
        _day("2026-01-05"),
        250_000,
        2,
        0,
        "shares x p x 0.25 (p(1-p))^2; the factor p <= 1 is left out, so never too low",
    ),
    FeeRule("crypto", _day("2026-03-30"), 72_000, 1, 200_000, "market objects of April 2026"),
    FeeRule(
        "crypto",
        _day("2026-07-24"),
        70_000,
        1,
        200_000,
        "first seen on this day; the change lies between it and 2026-04-29",
    ),
    FeeRule("sports", _day("2026-03-30"), 30_000, 1, 250_000, "sports_v2"),
    FeeRule("sports", _day("2026-07-10"), 50_000, 1, 150_000, "sports_fees_v3"),
    FeeRule("economics", _day("2026-03-30"), 50_000, 1, 250_000, _V2),
    FeeRule("culture", _day("2026-03-30"), 50_000, 1, 250_000, _V2),
    FeeRule("weather", _day("2026-03-30"), 50_000, 1, 250_000, _V2),
    FeeRule("finance", _day("2026-03-30"), 40_000, 1, 250_000, _V2),
    FeeRule("politics", _day("2026-03-30"), 40_000, 1, 250_000, _V2),
    FeeRule("mentions", _day("2026-03-30"), 40_000, 1, 250_000, _V2),
    FeeRule("tech", _day("2026-03-30"), 40_000, 1, 250_000, _V2),
    FeeRule("geopolitics", _day("2026-03-30"), 0, 1, 0, _V2),
    FeeRule("other", _day("2026-03-30"), 50_000, 1, 250_000, _V2),
)
"""Fee rules by category, oldest first. Before a category's first rule there is no fee."""

_WORDS: tuple[tuple[str, str], ...] = (
    (r"updown|up-or-down|bitcoin|\bbtc\b|ethereum|\beth\b|solana|\bsol\b|\bxrp\b|crypto", "crypto"),
    (r"^(mlb|nba|nfl|nhl|wnba|cbb|cfb|epl|ucl|uel|mls|atp|wta|ufc|f1|lal|bun|sea|fl1|fifwc|cs2|lol|dota)-", "sports"),
    (r"temperature|rainfall|hurricane|snow", "weather"),
    (r"\bfed\b|interest-rate|inflation|\bcpi\b|\bgdp\b|unemployment|recession", "economics"),
    (r"election|president|mayor|senate|governor|nominee|parliament", "politics"),
    (r"ceasefire|invade|invasion|strike-on|nuclear", "geopolitics"),
    (r"\bsay\b|mention", "mentions"),
    (r"close-above|stock|nasdaq|s-and-p|earnings", "finance"),
)


def category_of(slug: str) -> str:
    """Fee category a slug suggests; 'other' when it suggests none."""
    return next((category for pattern, category in _WORDS if re.search(pattern, slug)), "other")


def fee_rule(category: str, when: int) -> FeeRule:
    """The rule of a category in force at `when` (ns); rate 0 before the first one."""
    best = FeeRule(category, 0, 0, 1, 0, "no fee before the category's first rule")
    for rule in FEES:
        if rule.category == category and rule.start <= when:
            best = rule
    return best


_UPDOWN = re.compile(r"-updown-(\d+)(m|h)-(\d{9,11})$")


def end_from_slug(slug: str) -> int:
    """End (ns) of an up-or-down market: its slug ends in the start's Unix second; 0 when it does not say."""
    found = _UPDOWN.search(slug)
    if not found:
        return 0
    length = int(found[1]) * (60 if found[2] == "m" else 3600)
    return (int(found[3]) + length) * NS_PER_S
