"""Dated venue rules for what a recording does not carry, and what a slug tells about its market.

The rules themselves stand in `rules.toml` beside this file, each with its source. A rule taken from there is an
assumption and is named as one in `MarketInfo.assumed`; a rule in the recording (message, sidecar, or proven by a
book's hash) always wins, for the whole recording.
A stream in which one of them changes is made by `data.dated`.
"""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from polytraders import units
from polytraders.errors import DataError
from polytraders.units import MICRO, NS_PER_MS, NS_PER_S

MIN_SIZE = 5 * MICRO
"""Smallest resting order in micro-shares on nearly every market."""
TICK = 100
"""Tick in pips of a new market."""
TABLE = Path(__file__).with_name("rules.toml")


class FeeRule(NamedTuple):
    """Taker fee = shares x rate x (p(1-p))^exponent; makers get `rebate` of it back.

    category: see `category_of`. start: ns. rate, rebate: ppm. by_creation: the rule of the day on which a market was
    made holds for its whole life.
    """

    category: str
    start: int
    rate: int
    exponent: int
    rebate: int
    why: str
    by_creation: bool = False


class DelayRule(NamedTuple):
    """A marketable order waits `delay` ns at the venue before it is matched. start: ns."""

    category: str
    start: int
    delay: int
    why: str


class RewardRule(NamedTuple):
    """How liquidity rewards are scored. start: ns.

    side: c of Qmin. low, high: pips, mids between which one-sided quotes score. minimum: micro-pUSD, smallest payout.
    min_size micro-shares, max_spread pips: what most markets have.
    """

    start: int
    side: int
    low: int
    high: int
    minimum: int
    min_size: int
    max_spread: int
    why: str


class RebateRule(NamedTuple):
    """Maker rebates are paid once a day. start: ns. minimum: micro-pUSD, smallest payout."""

    start: int
    minimum: int
    why: str


class RuleTable(NamedTuple):
    """All dated rules, each kind oldest first."""

    fees: tuple[FeeRule, ...]
    delays: tuple[DelayRule, ...]
    rewards: tuple[RewardRule, ...]
    rebates: tuple[RebateRule, ...]


def read_rules(path: Path = TABLE) -> RuleTable:
    """The rules table of a file. Raises DataError for an entry that cannot be read, lacks its source or is twice."""
    found: dict[str, list[Any]] = {"fee": [], "taker_delay": [], "reward": [], "rebate": []}
    seen: set[tuple[str, str, int]] = set()
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for kind, entries in document.items():
        for number, entry in enumerate(entries, start=1):
            try:
                rule, key = _rule(kind, dict(entry))
                if (kind, *key) in seen:
                    raise ValueError("it stands there twice")
                if any(earlier == kind and category == key[0] and at > key[1] for earlier, category, at in seen):
                    raise ValueError("rules of one category stand oldest first")
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{kind} rule {number} cannot be read: {error}",
                    where=str(path),
                    rule="every rule has its category, from (UTC), values, sure and source",
                ) from None
            seen.add((kind, *key))
            found[kind].append(rule)
    return RuleTable(*(tuple(rules) for rules in found.values()))


def _rule(kind: str, entry: dict[str, Any]) -> tuple[Any, tuple[str, int]]:
    """One entry as its rule, and (category, start)."""
    category, when = entry.pop("category"), entry.pop("from")
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise ValueError("from is no time with a zone")
    start = units.ns_from_iso(when.isoformat())
    source, sure = entry.pop("source"), entry.pop("sure")
    if not source or sure not in ("venue", "seen", "guess"):
        raise ValueError("a rule says where it comes from, and how sure that is: venue, seen or guess")
    by_creation = entry.pop("by", "trade") == "creation"
    rule: Any
    if kind == "fee":
        rate, rebate = units.size_micro(entry.pop("rate")), units.size_micro(entry.pop("rebate"))
        rule = FeeRule(category, start, rate, entry.pop("exponent"), rebate, source, by_creation)
    elif kind == "taker_delay":
        rule = DelayRule(category, start, entry.pop("ms") * NS_PER_MS, source)
    elif kind == "reward":
        rule = RewardRule(
            start,
            entry.pop("side"),
            units.price_pips(entry.pop("low")),
            units.price_pips(entry.pop("high")),
            units.money_micro(entry.pop("minimum_pusd")),
            units.size_micro(entry.pop("min_size")),
            units.price_pips(entry.pop("max_spread")),
            source,
        )
    elif kind == "rebate":
        rule = RebateRule(start, units.money_micro(entry.pop("minimum_pusd")), source)
    else:
        raise ValueError(f"there is no kind of rule {kind!r}")
    if entry:
        raise ValueError(f"nobody reads {', '.join(entry)}")
    return rule, (category, start)


@cache
def rules() -> RuleTable:
    """The committed rules table."""
    return read_rules()


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
    for rule in rules().fees:
        if rule.category == category and rule.start <= when:
            best = rule
    return best


def reward_rule(when: int) -> RewardRule:
    """How liquidity rewards are scored at `when` (ns)."""
    return [rule for rule in rules().rewards if rule.start <= when][-1]


def rebate_minimum(when: int) -> int:
    """Smallest maker rebate of a day that is paid out at `when` (ns), micro-pUSD."""
    return ([0] + [rule.minimum for rule in rules().rebates if rule.start <= when])[-1]


_UPDOWN = re.compile(r"-updown-(\d+)(m|h)-(\d{9,11})$")


def end_from_slug(slug: str) -> int:
    """End (ns) of an up-or-down market: its slug ends in the start's Unix second; 0 when it does not say."""
    found = _UPDOWN.search(slug)
    if not found:
        return 0
    length = int(found[1]) * (60 if found[2] == "m" else 3600)
    return (int(found[3]) + length) * NS_PER_S


def delay_category(slug: str) -> str:
    """Category of a market in the table of taker delays; "" = none is known of such markets."""
    return "updown" if re.search(r"updown|up-or-down", slug) else ""


def taker_delay(slug: str, when: int) -> int:
    """ns for which the venue holds a marketable order in this market at `when` (ns); 0 when no rule is known."""
    mine = [rule.delay for rule in rules().delays if rule.category == delay_category(slug) and rule.start <= when]
    return mine[-1] if mine else 0
