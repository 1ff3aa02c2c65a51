"""Which markets there are: Gamma's list, page by page, checked against what was asked for.

    async with Reader() as read:
        found = await find(env, Wanted(slugs=("btc-updown-5m-1776094500",)), read)
        markets = await rules.load(env, found, read)     # their rules, as the run's market table

The venue is known to ignore filters it does not understand, so every answer is filtered again here. Markets whose
positions are of protocol v2 are never returned as tradable: `Found.refused` holds the reason.

Invariants
    N1  a market is returned once, however often the pages repeat it; pages that do not advance end in a refusal
    N2  a record that cannot be read is counted by kind and left out, or refused when it was asked for by name
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from polytraders.data.markets import Facts, facts_from
from polytraders.venue.orders import is_protocol_v2
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.reader import Reader
from polytraders.venue.refusal import Refused

PAGE = 100
"""Markets of a page, Gamma's largest."""
AT_ONCE = 50
"""Ids in one question: the URL stays short."""
PAGES = 1_000
"""Pages after which a list without end is given up."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for; what is left empty does not matter.

    slugs, conditions, tokens: any of them. tag: Gamma's tag id. events: slugs of events, all of whose markets are
    meant. least_volume, least_liquidity: pUSD. limit: of markets, 0 = all. closed: resolved ones instead of open ones.
    """

    slugs: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    tag: int | None = None
    neg_risk: bool | None = None
    closed: bool = False
    accepting: bool | None = None
    least_volume: float = 0.0
    least_liquidity: float = 0.0
    limit: int = 0

    @property
    def named(self) -> bool:
        """Whether single markets are asked for."""
        return bool(self.slugs or self.conditions or self.tokens)


@dataclass(frozen=True, slots=True)
class Found:
    """A market of the list. refused: reason code that it cannot be traded here for, "" = it can."""

    facts: Facts
    version: str
    accepting: bool
    closed: bool
    volume: float
    liquidity: float
    record: dict[str, Any] = field(repr=False)
    refused: str = ""
    why: str = ""


@dataclass
class Counts:
    """What discovery left out. kinds: number by what was wrong. samples: the first text of each."""

    kinds: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, what: str) -> None:
        """Count one refusal."""
        self.kinds[kind] += 1
        self.samples.setdefault(kind, what[:240])


def read_market(record: Any) -> Found:
    """One of Gamma's market objects. Raises Refused (INTEL_VENUE_UNREADABLE) when it cannot be read."""

    def unreadable(what: str) -> Refused:
        name = str(record.get("slug") or record.get("id"))[:80] if isinstance(record, dict) else ""
        return Refused("INTEL_VENUE_UNREADABLE", what[:240], where=f"Gamma market {name}")

    if not isinstance(record, dict):
        raise unreadable(f"{str(record)[:60]!r} is no market object")
    version = record.get("version", "v1")
    told = record
    if version != "v1" and isinstance(record.get("positionIds"), list) and not record.get("clobTokenIds"):
        told = {**record, "clobTokenIds": record["positionIds"]}
    try:
        facts = facts_from(told)
        if facts is None:
            raise ValueError("it has no conditionId")
        if len(facts.tokens) != 2 or len(set(facts.tokens)) != 2 or not all(map(_is_token, facts.tokens)):
            raise ValueError(f"clobTokenIds {str(record.get('clobTokenIds'))[:80]!r} are not two token ids")
        closed, accepting = _flag(record, "closed"), _flag(record, "acceptingOrders")
        amounts = [_amount(record, "volume"), _amount(record, "liquidity")]
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
        raise unreadable(str(error)) from None
    refused, why = "", ""
    if version != "v1" or any(is_protocol_v2(int(token)) for token in facts.tokens):
        refused, why = "EXEC_PROTOCOL_UNSUPPORTED", f"protocol version {str(version)[:20]!r}"
    elif not _hex32(facts.condition):
        raise unreadable(f"conditionId {facts.condition[:80]!r} is no 32 bytes in hex")
    elif closed or not accepting or record.get("enableOrderBook") is False:
        refused, why = "EXEC_MARKET_CLOSED", "it is closed or takes no orders"
    return Found(facts, str(version), accepting, closed, *amounts, record, refused, why)


def _is_token(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 78 and int(text) < 2**256


def _hex32(text: str) -> bool:
    return len(text) == 66 and text.startswith("0x") and all(c in "0123456789abcdefABCDEF" for c in text[2:])


def _flag(record: dict[str, Any], name: str) -> bool:
    value = record.get(name, False)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} {str(value)[:40]!r} is neither true nor false")
    return value is True


def _amount(record: dict[str, Any], name: str) -> float:
    value = record.get(f"{name}Num", record.get(name))
    number = float(value or 0)
    if not 0 <= number < 1e15:
        raise ValueError(f"{name} {str(value)[:40]!r} is no amount")
    return number


async def find(env: Environment, wanted: Wanted, read: Reader, counts: Counts | None = None) -> tuple[Found, ...]:
    """Markets that fit, in the order asked for, else in Gamma's. counts: receives what was left out, by kind.

    Raises Refused: a market asked for by name that does not exist (EXEC_MARKET_UNKNOWN) or cannot be read
    (INTEL_VENUE_UNREADABLE), or Gamma cannot be reached (INTEL_VENUE_UNREACHABLE).
    """
    counts = counts or Counts()
    met: dict[str, Found] = {}
    async for record in _records(env, wanted, read):
        try:
            found = read_market(record)
        except Refused as error:
            if wanted.named and _mentions(wanted, record):
                raise
            counts.note(error.code, str(error))
            continue
        if not _fits(found, wanted):
            counts.note("filtered", found.facts.slug or "")
        elif met.setdefault(found.facts.condition, found) is not found:
            counts.note("repeated", found.facts.slug or "")
        if wanted.limit and len(met) >= wanted.limit and not wanted.named:
            break
    result = _in_order(met.values(), wanted)
    return result[: wanted.limit] if wanted.limit else result


def _mentions(wanted: Wanted, record: Any) -> bool:
    if not isinstance(record, dict):
        return True
    return record.get("slug") in wanted.slugs or record.get("conditionId") in wanted.conditions or bool(wanted.tokens)


def _fits(found: Found, wanted: Wanted) -> bool:
    facts = found.facts
    if wanted.named and not (
        facts.slug in wanted.slugs
        or facts.condition in wanted.conditions
        or not set(facts.tokens).isdisjoint(wanted.tokens)
    ):
        return False
    return (
        (wanted.named or wanted.closed == found.closed)
        and (wanted.neg_risk is None or wanted.neg_risk == bool(facts.neg_risk))
        and (wanted.accepting is None or wanted.accepting == found.accepting)
        and found.volume >= wanted.least_volume
        and found.liquidity >= wanted.least_liquidity
    )


def _in_order(found: Iterable[Found], wanted: Wanted) -> tuple[Found, ...]:
    """As asked for by name; whoever was asked for and is not there is refused."""
    if not wanted.named:
        return tuple(found)
    by_name: dict[str, Found] = {}
    for one in found:
        by_name |= dict.fromkeys((one.facts.slug or "", one.facts.condition, *one.facts.tokens), one)
    asked = (*wanted.slugs, *wanted.conditions, *wanted.tokens)
    for name in asked:
        if name not in by_name:
            raise Refused("EXEC_MARKET_UNKNOWN", f"the venue lists no market {name[:80]!r}", where="discovery")
    return tuple({by_name[name].facts.condition: by_name[name] for name in asked}.values())


async def _records(env: Environment, wanted: Wanted, read: Reader) -> AsyncIterator[Any]:
    """Gamma's records, by the narrowest question there is."""
    for slug in wanted.slugs:
        record = await read.json(f"{env.gamma}/markets/slug/{slug}")
        if record is not None:
            yield record
    for name, ids in (("condition_ids", wanted.conditions), ("clob_token_ids", wanted.tokens)):
        for at in range(0, len(ids), AT_ONCE):
            for closed in (False, True):  # asked for by name, it is wanted in either state
                async for record in _pages(
                    env, read, "markets", {name: list(ids[at : at + AT_ONCE]), "closed": closed}
                ):
                    yield record
    for slug in wanted.events:
        event = await read.json(f"{env.gamma}/events/slug/{slug}")
        if event is None:
            raise Refused("EXEC_MARKET_UNKNOWN", f"the venue lists no event {slug[:80]!r}", where="discovery")
        for record in _members(event, slug):
            yield record
    if not wanted.named and not wanted.events:
        query = {"closed": wanted.closed, "tag_id": wanted.tag, "neg_risk": wanted.neg_risk}
        async for record in _pages(env, read, "markets", query):
            yield record


def _members(event: Any, slug: str) -> list[Any]:
    """Markets of an event, each with the event's id: inside an event they do not repeat it."""
    if not isinstance(event, dict) or not isinstance(event.get("markets"), list) or event.get("id") is None:
        raise Refused("INTEL_VENUE_UNREADABLE", "an event without id or markets", where=f"Gamma event {slug[:80]}")
    about = {"events": [{"id": event["id"]}]}
    return [{**about, **record} if isinstance(record, dict) else record for record in event["markets"]]


async def _pages(env: Environment, read: Reader, what: str, query: dict[str, Any]) -> AsyncIterator[Any]:
    """Records of a list in pages (N1)."""
    url = f"{env.gamma}/{what}/keyset"
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    cursor, seen = None, set()
    for _ in range(PAGES):
        page = await read.json(url, limit=PAGE, after_cursor=cursor, **texts)
        if not isinstance(page, dict) or not isinstance(page.get(what), list):
            raise Refused("INTEL_VENUE_UNREADABLE", f"a page without a list of {what}", where=url)
        for record in page[what]:
            yield record
        cursor = page.get("next_cursor")
        if not cursor:
            return
        if not isinstance(cursor, str) or cursor in seen:
            raise Refused("INTEL_VENUE_UNREADABLE", f"the cursor {str(cursor)[:40]!r} does not advance", where=url)
        seen.add(cursor)
    raise Refused("INTEL_VENUE_UNREADABLE", f"no end after {PAGES} pages", where=url)
