"""The rules a market trades under, from the exchange itself: tick, smallest size, exchange, fees, delay, rewards.

The CLOB's own market object (GET /clob-markets/{condition}) wins over Gamma's; Gamma adds what only it tells (the
slug, the question, the event, the end, the rebate). A rule of which an order depends and that neither tells is never
assumed: the market is refused (INTEL_RULES_INCOMPLETE).

The tick told over REST may be old: the first book of the stream carries the true one (`market_stream`), and from then
on the stream's word holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from polytraders.data import rules as dated
from polytraders.data.markets import ASSUMED, Facts, Market, MarketInfo, describe, facts_from
from polytraders.units import NS_PER_MS
from polytraders.venue.polymarket.discovery import Found
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.reader import Reader
from polytraders.venue.refusal import Refused

AT_ONCE = 8
"""Markets asked about at the same time."""
NEEDED = ("tick", "min_size", "neg_risk", "fee_rate")
"""Rules that are never assumed."""
GRID = 1
"""Pips between the places of a live book: any tick the venue may turn to fits."""
UNKNOWN_DELAY = 250 * NS_PER_MS
"""Taker delay of a market that has one by its flag, of which no table tells how long: the longest seen."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """A market ready to be traded or watched. source: rule -> recorded, inferred or assumed."""

    info: MarketInfo
    source: dict[str, str]


async def load(
    env: Environment, found: Sequence[Found], read: Reader, *, now: int = 0, tradable: bool = True
) -> tuple[Ruled, ...]:
    """The rules of each market. now: ns, for what is dated; tradable: refuse whatever could not be traded.

    Raises Refused: protocol v2 (EXEC_PROTOCOL_UNSUPPORTED), closed (EXEC_MARKET_CLOSED), unknown to the exchange
    (EXEC_MARKET_UNKNOWN), rules that are not told (INTEL_RULES_INCOMPLETE), answers that cannot be had or read.
    """
    for one in found:
        if one.refused == "EXEC_PROTOCOL_UNSUPPORTED" or (one.refused and tradable):
            raise Refused(one.refused, one.why, where=f"market {one.facts.slug or one.facts.condition}")
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(one: Found) -> Ruled:
        async with gate:
            told = await read.json(f"{env.rest}/clob-markets/{one.facts.condition}")
        return combine(one, told, now)

    return tuple(await asyncio.gather(*map(ask, found)))


def combine(found: Found, told: Any, now: int = 0) -> Ruled:
    """A market's rules from both of its records. told: the CLOB's, None = it does not know the market."""
    name = found.facts.slug or found.facts.condition
    if told is None:
        raise Refused("EXEC_MARKET_UNKNOWN", "the exchange does not know it", where=f"market {name}")
    try:
        if not isinstance(told, dict) or told.get("c") != found.facts.condition:
            raise ValueError(f"it is about {str(told)[:60]!r}")
        clob = facts_from(told)
        if clob is None or clob.tokens != found.facts.tokens:
            raise ValueError("its tokens are not those that Gamma lists")
        wait = delay(told, clob, found.facts.slug or "", now)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        where = f"CLOB market {name}"
        raise Refused("INTEL_VENUE_UNREADABLE", str(error)[:240] or "unreadable", where=where) from None
    facts = _merged(found.facts, clob)
    market = Market(facts.condition, facts=facts, yes=facts.tokens[0], no=facts.tokens[1], yes_assumed=False)
    market.tick_source = ASSUMED if facts.tick is None else "recorded"
    market.first_event = now
    info, source = describe(market)
    if missing := [rule for rule in NEEDED if source[rule] == ASSUMED]:
        raise Refused("INTEL_RULES_INCOMPLETE", f"not told: {', '.join(missing)}", where=f"market {name}")
    source["taker_delay"] = wait[1]
    assumed = tuple(sorted(rule for rule, origin in source.items() if origin == ASSUMED))
    return Ruled(replace(info, taker_delay=wait[0], grid=GRID, assumed=assumed), source)


def _merged(gamma: Facts, clob: Facts) -> Facts:
    fee = clob.fee or gamma.fee
    if clob.fee and gamma.fee:
        fee = (*clob.fee[:2], gamma.fee[2])  # the rebate is Gamma's to tell
    return replace(
        gamma,
        tick=clob.tick if clob.tick is not None else gamma.tick,
        min_size=clob.min_size if clob.min_size is not None else gamma.min_size,
        neg_risk=clob.neg_risk if clob.neg_risk is not None else gamma.neg_risk,
        fee=fee,
    )


def delay(told: dict[str, Any], clob: Facts, slug: str, now: int) -> tuple[int, str]:
    """Taker delay of a market's short record in ns, and its source: stated, or switched on and of a dated length."""
    if clob.taker_delay is not None:
        return clob.taker_delay, "recorded"
    if told.get("itode") is not True:
        return 0, "recorded"
    return dated.taker_delay(slug, now) or UNKNOWN_DELAY, ASSUMED
