"""Who is who in a recording: conditions, their two tokens, and where each rule of a market comes from.

Invariants
    D1  a market has one YES token and at most one NO token; a third token is a finding, not a market
    D2  every rule of a market is `recorded`, `inferred` or `assumed`; only what nothing says is assumed
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from polytraders.data import rules
from polytraders.units import (
    MICRO,
    NS_PER_MS,
    NS_PER_S,
    ONE,
    TICKS_PIPS,
    UnitError,
    money_micro,
    ns_from_iso,
    price_pips,
    size_micro,
)

RECORDED, INFERRED, ASSUMED = "recorded", "inferred", "assumed"


@dataclass(frozen=True, slots=True)
class MarketInfo:
    """One market of a session.

    tick: pips at the start. grid: finest tick of the recording, pips. min_size: micro-shares.
    fee_rate, rebate_rate: ppm. taker_delay: ns a crossing order waits at the venue.
    end_ts: ns, 0 = unknown. event_id: id of the event ("" = unknown);
    the markets of one neg-risk event share it. assumed: fields that the recording does not tell.
    reward_pool (micro-pUSD a day), reward_min_size (micro-shares), reward_max_spread (pips): liquidity rewards, all 0
    where the recording does not tell them. flags: rows.Listed bits, what lists and metadata hold against it.
    """

    condition_id: str
    slug: str
    question: str
    yes_token: str
    no_token: str
    tick: int
    grid: int
    min_size: int
    fee_rate: int
    fee_exponent: int
    rebate_rate: int
    neg_risk: bool
    event_id: str
    end_ts: int
    assumed: tuple[str, ...] = ()
    taker_delay: int = 0
    reward_pool: int = 0
    reward_min_size: int = 0
    reward_max_spread: int = 0
    flags: int = 0


@dataclass(slots=True)
class Facts:
    """What metadata (a sidecar, a new_market message) says of a market; None = does not say."""

    condition: str
    tokens: tuple[str, ...] = ()
    slug: str | None = None
    question: str | None = None
    tick: int | None = None
    min_size: int | None = None
    neg_risk: bool | None = None
    event_id: str | None = None
    end_ts: int | None = None
    fee: tuple[int, int, int] | None = None
    taker_delay: int | None = None
    rewards: tuple[int, int, int] = (0, 0, 0)


def _first(record: dict[str, Any], *names: str) -> Any:
    return next((record[name] for name in names if record.get(name) not in (None, "")), None)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = orjson.loads(value)
    return value if isinstance(value, list) else []


def _tokens(record: dict[str, Any]) -> tuple[str, ...]:
    if "upTokenId" in record and "downTokenId" in record:
        return str(record["upTokenId"]), str(record["downTokenId"])
    if "yes_token" in record:
        return tuple(str(record[name]) for name in ("yes_token", "no_token") if record.get(name))
    listed = _listed(_first(record, "clob_token_ids", "clobTokenIds", "assets_ids", "tokens", "outcomes") or [])
    return tuple(str(token["token_id"]) if isinstance(token, dict) else str(token) for token in listed[:2])


def _text(record: dict[str, Any], *names: str) -> str | None:
    value = _first(record, *names)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{names[0]} {value!r} is no text")
    return value


def _within(number: int, least: int, most: int, what: str) -> int:
    if not least <= number <= most:
        raise ValueError(f"{what} {str(number)[:20]} is not between {least} and {most}")
    return number


def _ppm(value: Any, what: str) -> int:
    return _within(size_micro(str(value)), 0, MICRO, f"{what} in ppm")


def _fee(record: dict[str, Any]) -> tuple[int, int, int] | None:
    """(rate ppm, exponent, rebate ppm) of a fee schedule in any of its spellings."""
    if _first(record, "fees_enabled", "feesEnabled") is False:
        return 0, 1, 0
    schedule = _first(record, "fee_schedule", "feeSchedule", "fee") or (record.get("fee_parameters") or {}).get(
        "raw_fee_config"
    )
    if not isinstance(schedule, dict) or "rate" not in schedule:
        return None
    exponent = _within(int(str(schedule.get("exponent", 1))), 0, 4, "fee exponent")
    return (
        _ppm(schedule["rate"], "fee rate"),
        exponent,
        _ppm(_first(schedule, "rebate_rate", "rebateRate") or 0, "rebate"),
    )


def _delay(record: dict[str, Any]) -> int | None:
    """Taker delay in ns as the market states it (sports, 1 ... 3 s); None when it states none.

    The venue applies it from the start of the game on; here it holds from the first row, which only slows takers.
    """
    seconds = _first(record, "seconds_delay", "secondsDelay")
    return _within(int(seconds), 1, 60, "taker delay in s") * NS_PER_S if seconds else None


def _rewards(record: dict[str, Any]) -> tuple[int, int, int]:
    """(pool in micro-pUSD a day, smallest size in micro-shares, largest spread in pips) of a market's liquidity rewards
    in either spelling of the venue; zeros where there are none."""
    told = record.get("rewards") if isinstance(record.get("rewards"), dict) else {}
    least = _first(told, "min_size") or _first(record, "rewardsMinSize")
    spread = _first(told, "max_spread") or _first(record, "rewardsMaxSpread")  # in cents
    if not least or not spread:
        return 0, 0, 0
    rates = [rate.get("rewards_daily_rate") for rate in told.get("rates") or []]
    rates += [rate.get("rewardsDailyRate") for rate in record.get("clobRewards") or []]
    pool = sum(money_micro(str(rate)) for rate in rates if rate)
    pips = size_micro(str(spread)) // 10_000
    return pool, size_micro(str(least)), _within(pips, 1, ONE, "largest rewarded spread in pips")


def _end(record: dict[str, Any]) -> int | None:
    value = _first(record, "end_ts", "endTs", "endDate", "end_date_iso")
    if value is None:
        return None
    if isinstance(value, str) and not value.isdigit():
        return ns_from_iso(value) if "T" in value else None
    number = int(value)
    number *= NS_PER_S if number < 10**11 else NS_PER_MS if number < 10**14 else 1
    return _within(number, 0, 2**62, "end in ns")


def _spelled_out(record: dict[str, Any]) -> dict[str, Any]:
    """The venue's terse market object (GET /clob-markets: c, t, mts, mos, nr, fd) under the long names."""
    fee = record.get("fd")
    return {
        "condition_id": record["c"],
        "tokens": [{"token_id": token["t"]} for token in record["t"]],
        "tick_size": record.get("mts"),
        "min_order_size": record.get("mos"),
        "neg_risk": record.get("nr", False),  # false values are left out there
        "fee_schedule": {"rate": fee["r"], "exponent": fee["e"]} if fee else None,
        "seconds_delay": record.get("sd"),
    }


def facts_from(record: dict[str, Any]) -> Facts | None:
    """Facts of one market object (a sidecar's, the market API's, a new_market message's); None when it is not one.

    Raises ValueError / TypeError when a field that is there cannot be read.
    """
    if "c" in record and "t" in record:
        record = _spelled_out(record)
    condition = _first(record, "condition_id", "conditionId", "market")
    if not isinstance(condition, str):
        return None
    tick = _first(
        record, "tick_size", "tickSize", "order_price_min_tick_size", "orderPriceMinTickSize", "minimum_tick_size"
    )
    least = _first(record, "min_order_size", "minOrderSize", "orderMinSize", "minimum_order_size")
    event = _first(record, "event_message") or next(iter(record.get("events") or []), None) or {}
    event_id = _first(record, "event_id") or event.get("id")
    neg_risk = _first(record, "neg_risk", "negRisk")
    return Facts(
        condition=condition,
        tokens=_tokens(record),
        slug=_text(record, "slug"),
        question=_text(record, "question", "title"),
        tick=None if tick is None else tick_pips(tick),
        min_size=None if least is None else _within(size_micro(str(least)), 0, 10**15, "minimum size"),
        neg_risk=neg_risk if isinstance(neg_risk, bool) else None,
        event_id=None if event_id is None else str(event_id),
        end_ts=_end(record),
        fee=_fee(record),
        taker_delay=_delay(record),
        rewards=_rewards(record),
    )


@dataclass(slots=True)
class Payoff:
    """A payout that a sidecar infers for one token: 1 or 0. line: of the sidecar, sha256: of that line."""

    token: str
    condition: str
    wins: bool
    line: int
    sha256: bytes


SIDECARS = ("*market*.json", "*market*.jsonl", "*payoff*.csv")
"""What metadata files next to recordings are called; they are read only if their markets occur."""
SIDECAR_LIMIT = 32 * 1024 * 1024
"""Largest file that is taken for metadata, bytes."""


def sidecars_near(path: Path) -> list[Path]:
    """Files beside a recording that may hold metadata of its markets."""
    found = {p for pattern in SIDECARS for p in path.parent.glob(pattern)}
    return sorted(p for p in found if p != path and p.stat().st_size < SIDECAR_LIMIT)


def is_sidecar(path: Path) -> bool:
    """Whether a file is metadata, by its name and what it holds."""
    named = any(path.match(pattern) for pattern in SIDECARS) and path.stat().st_size < SIDECAR_LIMIT
    return named and read_sidecar(path) != ([], [])


def read_sidecar(path: Path) -> tuple[list[Facts], list[Payoff]]:
    """Market facts and inferred payoffs of a metadata file; two empty lists when it holds none."""
    data = path.read_bytes()
    if path.suffix == ".csv":
        return [], _payoffs(data)
    try:
        whole = orjson.loads(data)
        records = (
            list(whole) if isinstance(whole, list) else [whole, *whole.values()] if isinstance(whole, dict) else []
        )
    except orjson.JSONDecodeError:
        records = []
        for line in data.splitlines():
            try:
                records.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                return [], []
    found = []
    for record in records:
        try:
            facts = facts_from(record) if isinstance(record, dict) else None
        except (ValueError, TypeError, AttributeError, KeyError):
            continue
        # A metadata record names its tokens; a line of a recording that merely looks alike does not.
        if facts and facts.tokens:
            found.append(facts)
    return found, []


def _payoffs(data: bytes) -> list[Payoff]:
    import hashlib

    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        return []
    table = csv.DictReader(lines)
    if not {"asset_id", "condition_id", "inferred_token_payoff"} <= set(table.fieldnames or ()):
        return []
    return [
        Payoff(
            row["asset_id"],
            row["condition_id"],
            row["inferred_token_payoff"] == "1",
            number,
            hashlib.sha256(lines[number - 1].encode()).digest(),
        )
        for number, row in enumerate(table, start=2)
        if row["inferred_token_payoff"] in ("0", "1")
    ]


@dataclass(slots=True)
class Market:
    """A market while it is imported: its identity, its rules, its one book in YES space.

    bids, asks: pips -> micro-shares. index: place in the market table, -1 until its first row.
    snapshot: a full book has been seen. based: one has been seen since the last gap. gap: the next
    row is the first after a gap. down: the recorder said that the feed is lost, and no full book came since.
    doubt: receive time (ns) since which reported best quotes are not the book's, 0 = they are.
    last_trade: last trade price as the venue spells it (from book hashes), None = not known.
    """

    condition: str
    index: int = -1
    yes: str = ""
    no: str = ""
    yes_assumed: bool = True
    slug: str = ""
    facts: Facts | None = None
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    based: bool = False
    snapshot: bool = False
    gap: bool = False
    down: bool = False
    doubt: int = 0
    crossed: bool = False
    resolved: bool = False
    unbased_noted: bool = False
    tick: int = 0
    tick_start: int = 0
    tick_source: str = ASSUMED
    finest: int = 0
    min_size: int | None = None
    neg_risk: bool | None = None
    rules_source: str = RECORDED
    last_event: int = 0
    first_event: int = 0
    last_recv: int = 0
    last_trade: str | None = None
    hash_ok: int = 0
    hash_missed: int = 0

    def best(self) -> tuple[int, int]:
        """(best bid, best ask) in pips; 0 and 10 000 = no such side."""
        return max(self.bids, default=0), min(self.asks, default=ONE)


class UnknownToken(ValueError):
    """A token that belongs to no market, or a third token of one."""


def facts_of(info: MarketInfo) -> Facts:
    """What a finished market says of itself; what is assumed in it is left unsaid."""
    said: dict[str, Any] = {
        "tick": info.tick,
        "min_size": info.min_size,
        "neg_risk": info.neg_risk,
        "end_ts": info.end_ts,
        "taker_delay": info.taker_delay,
    }
    return Facts(
        condition=info.condition_id,
        tokens=(info.yes_token, info.no_token),
        slug=info.slug or None,
        question=info.question or None,
        event_id=info.event_id or None,
        fee=None if "fee_rate" in info.assumed else (info.fee_rate, info.fee_exponent, info.rebate_rate),
        rewards=(info.reward_pool, info.reward_min_size, info.reward_max_spread),
        **{name: value for name, value in said.items() if name not in info.assumed},
    )


class Registry:
    """Markets by condition and by token; knows YES from NO. closed: only listed markets are known, see `admit`."""

    closed = False

    def __init__(self, facts: list[Facts]):
        self.facts = {known.condition: known for known in facts}
        self.by_token_facts = {token: known for known in facts for token in known.tokens}
        self.markets: dict[str, Market] = {}
        self.tokens: dict[str, tuple[Market, bool]] = {}
        self.table: list[Market] = []

    def learn(self, facts: Facts) -> None:
        """Take in the facts of a new_market message."""
        if self.closed:
            return
        self.facts[facts.condition] = facts
        for token in facts.tokens:
            self.by_token_facts[token] = facts
        if (market := self.markets.get(facts.condition)) is not None and market.facts is None:
            market.facts = facts

    def admit(self, info: MarketInfo) -> Market:
        """Enter a market whose rules are known; from then on no other one enters by being mentioned."""
        self.closed = True
        market = self.markets.get(info.condition_id)
        if market is None:
            market = self.markets[info.condition_id] = Market(info.condition_id)
        market.facts = self.facts[info.condition_id] = facts_of(info)
        market.yes, market.no, market.yes_assumed = info.yes_token, info.no_token, False
        market.tick = market.tick or info.tick
        market.tick_start = market.tick_start or info.tick
        market.tick_source = ASSUMED if "tick" in info.assumed else RECORDED
        market.finest = min(market.finest or info.tick, info.tick)
        self.tokens[market.yes], self.tokens[market.no] = (market, True), (market, False)
        self.enter(market)
        return market

    def resolve(self, token: str, condition: str | None = None) -> tuple[Market, bool]:
        """(market, token is YES). A token seen first in a market nothing tells about is taken as YES."""
        known = self.tokens.get(token)
        if known is not None:
            return known
        if self.closed:
            raise UnknownToken(f"token {str(token)[:20]} is of no market that is followed")
        if not isinstance(token, str) or not token:
            raise UnknownToken(f"{str(token)[:40]!r} is no token id")
        if condition is not None and not isinstance(condition, str):
            raise UnknownToken(f"{str(condition)[:40]!r} is no condition id")
        facts = self.by_token_facts.get(token) or self.facts.get(condition or "")
        if not condition:
            condition = facts.condition if facts else f"token:{token}"
        market = self.markets.get(condition)
        if market is None:
            market = self.markets[condition] = Market(condition, facts=facts)
        tokens = facts.tokens if facts else ()
        if token in tokens:
            yes = tokens.index(token) == 0
            market.yes_assumed = False
            market.yes, market.no = (*tokens, "")[:2]
        else:
            yes = not market.yes
            if not yes and market.no:
                raise UnknownToken(f"token {token[:12]}... is a third token of market {condition[:18]}")
            market.yes, market.no = (token, market.no) if yes else (market.yes, token)
        self.tokens[token] = market, yes
        return market, yes

    def enter(self, market: Market) -> int:
        """Index of the market in the table; its first call puts it there."""
        if market.index < 0:
            market.index = len(self.table)
            self.table.append(market)
        return market.index


def tick_pips(value: Any) -> int:
    """A tick size as metadata spells it, in pips. Raises UnitError when it does not divide 1 pUSD."""
    pips = price_pips(str(value))
    if not pips or ONE % pips:
        raise UnitError(f"tick size {value} does not divide 1")
    return pips


def tick_of(prices: Collection[int], *, coarsest: int = rules.TICK) -> int:
    """Coarsest venue tick, in pips, not coarser than `coarsest`, on which all prices lie; 1 when none fits."""
    return next((tick for tick in TICKS_PIPS if tick <= coarsest and not any(price % tick for price in prices)), 1)


def describe(market: Market) -> tuple[MarketInfo, dict[str, str]]:
    """The finished market and, per rule, where it comes from (recorded, inferred or assumed)."""
    facts = market.facts or Facts(market.condition)
    slug = market.slug or facts.slug or ""
    source: dict[str, str] = {"yes_token": ASSUMED if market.yes_assumed else RECORDED, "tick": market.tick_source}

    def pick(name: str, *options: tuple[Any, str]) -> Any:
        value, source[name] = next(option for option in options if option[0] is not None)
        return value

    tick = market.tick_start or facts.tick or rules.TICK
    fee = rules.fee_rule(rules.category_of(slug), market.first_event)
    rate, exponent, rebate = pick("fee_rate", (facts.fee, RECORDED), ((fee.rate, fee.exponent, fee.rebate), ASSUMED))
    source["fee_exponent"] = source["rebate_rate"] = source["fee_rate"]
    info = MarketInfo(
        condition_id=market.condition,
        slug=slug,
        question=facts.question or "",
        yes_token=market.yes,
        no_token=market.no,
        tick=tick,
        grid=min(tick, market.finest or tick),
        min_size=pick(
            "min_size", (market.min_size, market.rules_source), (facts.min_size, RECORDED), (rules.MIN_SIZE, ASSUMED)
        ),
        fee_rate=rate,
        fee_exponent=exponent,
        rebate_rate=rebate,
        neg_risk=pick("neg_risk", (market.neg_risk, market.rules_source), (facts.neg_risk, RECORDED), (False, ASSUMED)),
        event_id=facts.event_id or "",
        end_ts=pick("end_ts", (facts.end_ts, RECORDED), (rules.end_from_slug(slug) or None, INFERRED), (0, ASSUMED)),
        assumed=(),
        taker_delay=pick(
            "taker_delay", (facts.taker_delay, RECORDED), (rules.taker_delay(slug, market.first_event), ASSUMED)
        ),
        reward_pool=facts.rewards[0],
        reward_min_size=facts.rewards[1],
        reward_max_spread=facts.rewards[2],
    )
    assumed = tuple(sorted(name for name, origin in source.items() if origin == ASSUMED))
    return MarketInfo(
        **{name: getattr(info, name) for name in info.__slots__ if name != "assumed"}, assumed=assumed
    ), source
