"""The committed configuration: one ini file, checked line by line before anything starts.

A section is either a part of the platform (`[engine]`) or a bot (`[risk.stale_book_guard]`: `mode` and the
bot's parameters, held against its BotSpec). Values are one line of text each. Numbers of bots stay decimal
text until a kernel takes them; numbers of parts become ints, bools, text or Decimal here.

Invariants
    C1  an unknown section or key, a wrong type and a value out of range stop the start, with file and line
    C2  the hash covers every value in force, written or defaulted, and nothing else: comments, order, spelling
        of numbers and the file's name do not change it
    C3  an override passes the same checks as a line of the file
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from polytraders import units
from polytraders.bots import FAMILIES, KERNEL_BOTS, BotMode, BotSpec, bot_ids, load_bot, resolve_bot
from polytraders.errors import ConfigError, UsageError

DEMO_BUILDER_CODE = "0xb000000000000000000000000000000000000000000000000000000000003f7a"
"""Builder code of examples and backtests: attributes nothing to anybody."""


def _shortest(value: Decimal) -> Decimal:
    text = f"{value:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _day(text: str) -> str:
    if text:
        date.fromisoformat(text)
    return text


Exact = Annotated[Decimal, AfterValidator(_shortest)]
"""A decimal of which 1000 and 1000.00 are one and the same (C2)."""


class Part(BaseModel):
    """One section of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(Part):
    """What a run is and to whom its orders are attributed."""

    mode: Literal["backtest"] = Field("backtest", description="run mode")
    builder_code: str = Field(DEMO_BUILDER_CODE, pattern=r"^0x[0-9a-f]{64}$", description="bytes32 in small hex")


class Engine(Part):
    """The decision clock and what is kept of it."""

    decide_interval_ms: int = Field(100, ge=0, le=60_000, description="ms between decisions; 0 = on every message")
    rejudge_interval_ms: int = Field(
        5_000, ge=0, le=60_000, description="ms until a quote that stays is put to risk again; 0 = at every decision"
    )
    sample_interval_s: int = Field(1, ge=1, le=3_600, description="s between account samples")
    full_panel: bool = Field(False, description="compute the votes after a REJECT too")
    merge_shares: Exact = Field(
        Decimal(0), ge=0, le=10**6, decimal_places=2, description="merge complete sets from this many on; 0 = never"
    )
    intent_ttl_s: int = Field(60, ge=1, le=86_400, description="s a proposed order waits for its approval")
    approval_ttl_s: int = Field(60, ge=1, le=86_400, description="s an approval covers the order and its re-quotes")
    approval_tolerance_bps: int = Field(
        100, ge=0, le=1_000, description="bps of 1 pUSD: a price further from the proposed one voids an approval"
    )

    @property
    def decide_interval_ns(self) -> int:
        return self.decide_interval_ms * units.NS_PER_MS

    @property
    def rejudge_interval_ns(self) -> int:
        return self.rejudge_interval_ms * units.NS_PER_MS

    @property
    def sample_interval_ns(self) -> int:
        return self.sample_interval_s * units.NS_PER_S

    @property
    def merge_least_micro(self) -> int:
        """Smallest number of complete sets that is merged, micro-shares."""
        return units.size_micro(self.merge_shares)


class Exits(Part):
    """When the system itself proposes to close a position."""

    enabled: bool = Field(False, description="propose exits at all")
    take_profit_pct: Exact = Field(Decimal(10), ge=0, le=1_000, decimal_places=2, description="% of cost; 0 = never")
    stop_loss_pct: Exact = Field(Decimal(5), ge=0, le=100, decimal_places=2, description="% of cost at mid; 0 = never")
    time_exit_h: int = Field(48, ge=0, le=8_760, description="hours before the scheduled end; 0 = never")
    max_spread_bps: int = Field(1_000, ge=0, le=10_000, description="bps of 1 pUSD: leave when wider; 0 = never")
    slippage_bps: int = Field(200, ge=0, le=5_000, description="bps of 1 pUSD below the bid that a forced exit takes")
    pause_s: int = Field(3_600, ge=0, le=864_000, description="s the strategy stays out after an exit")
    follow_unwinder: bool = Field(True, description="close what risk.inventoryunwinder wants gone")

    def terms(self) -> dict[str, int] | None:
        """What `engine.setup.new_state` takes: bps, ns and pips; None when off."""
        if not self.enabled:
            return None
        return {
            "take_profit": int(self.take_profit_pct * 100),
            "stop_loss": int(self.stop_loss_pct * 100),
            "before_end": self.time_exit_h * 3_600 * units.NS_PER_S,
            "exit_spread": self.max_spread_bps,
            "exit_slippage": self.slippage_bps,
            "exit_pause": self.pause_s * units.NS_PER_S,
            "unwind": int(self.follow_unwinder),
        }


class Flatten(Part):
    """What becomes of the positions when a kill switch has stopped the run."""

    enabled: bool = Field(False, description="sell what is held, by exits that risk and a person approve")
    scopes: str = Field(
        "global portfolio strategy", description="switches after which it is sold, with spaces between; latch = a limit"
    )
    worst_bps: int = Field(
        500, ge=0, le=10_000, description="bps of 1 pUSD below the middle at the trip: no sale below"
    )
    markets_at_once: int = Field(3, ge=1, le=1_000, description="markets that are sold in at a time, the largest first")
    give_up_s: int = Field(900, ge=1, le=86_400, description="s after which what is left stays, and people are told")

    @property
    def scope_names(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(self.scopes.split())


class Portfolio(Part):
    """The account a run trades."""

    id: str = Field("PORT-001", pattern=r"^PORT-[0-9A-Z]{3,}$", description="portfolio id")
    cash_pusd: Exact = Field(Decimal(1_000), gt=0, le=10**9, decimal_places=6, description="pUSD at the start")

    @property
    def cash_micro(self) -> int:
        """Cash at the start in micro-pUSD."""
        return units.money_micro(self.cash_pusd)


class Simulated(Part):
    """The models of the simulated venue; every result prints them."""

    queue_model: Literal["risk_averse", "power_prob", "log_prob"] = Field(
        "risk_averse", description="who leaves the queue first"
    )
    queue_power: int = Field(3, ge=1, le=5, description="exponent of power_prob")
    trade_share: Exact = Field(
        Decimal(0), ge=0, le=1, decimal_places=6, description="part of a loss of depth without a print that is trades"
    )
    partial_fills: bool = Field(True, description="a trade smaller than our order fills a part of it")
    liquidity: Literal["consumed", "recorded"] = Field("consumed", description="what our takers find after our takers")
    print_lag_ms: int = Field(
        0, ge=0, le=1_000, description="how long after the loss of depth it made a print may come; 0 = as recorded"
    )
    taker_delay: Literal["market", "none"] = Field("market", description="how long a crossing order is held")
    latency_model: Literal["constant", "lognormal", "recorded"] = Field(
        "constant", description="how long messages take"
    )
    entry_latency_ms: int = Field(50, ge=0, le=10_000, description="our request to the venue's engine, median")
    response_latency_ms: int = Field(50, ge=0, le=10_000, description="the venue's engine to our answer, median")
    entry_sigma: Exact = Field(Decimal("0.5"), ge=0, le=3, decimal_places=6, description="spread of lognormal entry")
    response_sigma: Exact = Field(
        Decimal("0.5"), ge=0, le=3, decimal_places=6, description="spread of lognormal response"
    )
    latency_seed: int = Field(1, ge=0, le=2**31 - 1, description="of the lognormal draws")
    latency_file: str = Field("", description="Parquet, CSV or npy of the recorded model: entry_ns, response_ns")
    settlement_delay_ms: int = Field(0, ge=0, le=600_000, description="from a match to its confirmation by the chain")
    ghost_fill_ppm: int = Field(0, ge=0, le=1_000_000, description="fills of a million that the chain refuses")
    ghost_seed: int = Field(1, ge=0, le=2**31 - 1, description="which fills those are")
    fees: bool = Field(True, description="charge each market's own fee schedule")
    redemption_delay_s: int = Field(0, ge=0, le=864_000, description="s from a resolution until its payout is cash")

    @property
    def entry_latency_ns(self) -> int:
        return self.entry_latency_ms * units.NS_PER_MS

    @property
    def response_latency_ns(self) -> int:
        return self.response_latency_ms * units.NS_PER_MS

    @property
    def redemption_delay_ns(self) -> int:
        return self.redemption_delay_s * units.NS_PER_S

    @property
    def settlement_delay_ns(self) -> int:
        return self.settlement_delay_ms * units.NS_PER_MS

    @property
    def print_lag_ns(self) -> int:
        return self.print_lag_ms * units.NS_PER_MS

    @property
    def trade_share_ppm(self) -> int:
        return int(self.trade_share * 10**6)


class Venue(Part):
    """Where orders go."""

    simulated: Simulated = Simulated()


class Data(Part):
    """How recordings are read."""

    gap_s: int = Field(30, ge=1, le=3_600, description="s of silence of the feed that count as a gap")

    @property
    def gap_ns(self) -> int:
        return self.gap_s * units.NS_PER_S


class Listing(Part):
    """What the desk holds against markets."""

    file: str = Field("", description="list of markets that are banned, ineligible or doubtful; empty = none")


class Approvals(Part):
    """What a person has to approve, for how long a proposal stands, and what a policy may approve instead."""

    expiry_s: int = Field(60, ge=1, le=86_400, description="s a proposal waits for its answer")
    tolerance_bps: int = Field(50, ge=0, le=1_000, description="bps of 1 pUSD the price may move until it is void")
    quote_age_ms: int = Field(3_000, ge=100, le=600_000, description="ms until what a run told of a market is stale")
    two_persons_above_pusd: Exact = Field(
        Decimal(1_000), ge=0, le=10**9, decimal_places=6, description="pUSD from which on it takes two persons"
    )
    closes_when_stopped: bool = Field(False, description="closes may be approved while a kill switch is on")
    auto: Literal["off", "exits", "all"] = Field("off", description="what is approved without a person")
    auto_max_pusd: Exact = Field(Decimal(0), ge=0, le=10**6, decimal_places=6, description="most pUSD of one of those")
    auto_per_hour: int = Field(0, ge=0, le=10**6, description="most of those in an hour")
    auto_day_pusd: Exact = Field(Decimal(0), ge=0, le=10**9, decimal_places=6, description="most pUSD of those a day")
    auto_strategies: str = Field("", description="strategies they may come from, with spaces between; none = any")

    @property
    def two_persons_above_micro(self) -> int:
        """micro-pUSD."""
        return units.money_micro(self.two_persons_above_pusd)

    @property
    def auto_max_micro(self) -> int:
        """micro-pUSD."""
        return units.money_micro(self.auto_max_pusd)

    @property
    def auto_day_micro(self) -> int:
        """micro-pUSD."""
        return units.money_micro(self.auto_day_pusd)

    @property
    def quote_age_ns(self) -> int:
        return self.quote_age_ms * units.NS_PER_MS

    @property
    def strategies(self) -> frozenset[str]:
        """Bot ids."""
        return frozenset(self.auto_strategies.split())


class Live(Part):
    """How a run works on live data."""

    dry_run: bool = Field(True, description="decide, propose and sign, but send nothing")
    snapshot_events: int = Field(50_000, ge=100, le=10**9, description="events between two snapshots of the state")
    snapshot_s: int = Field(60, ge=1, le=86_400, description="s between two snapshots at most")
    reconcile_s: int = Field(30, ge=1, le=3_600, description="s between two compares with the venue's lists")
    refresh_s: int = Field(60, ge=5, le=3_600, description="s between two looks at the markets' rules and the list")
    wallet: Literal["eoa", "proxy", "safe", "deposit_wallet"] = Field(
        "eoa", description="what the key trades with: itself, or the wallet that belongs to it"
    )
    stop_s: int = Field(60, ge=1, le=3_600, description="s the venue may take to confirm that nothing rests")
    screened_on: Annotated[str, AfterValidator(_day)] = Field(
        "", description="day (YYYY-MM-DD) on which the wallet's owner was last screened for sanctions; empty = never"
    )


class Report(Part):
    """How results are drawn."""

    max_points: int = Field(4_000, ge=100, le=100_000, description="most points of one line in a chart")
    template: Literal["plotly_white", "plotly_dark", "simple_white", "ggplot2", "seaborn"] = Field(
        "plotly_white", description="plotly template"
    )


PARTS: dict[str, type[Part]] = {
    "run": Run,
    "engine": Engine,
    "exits": Exits,
    "flatten": Flatten,
    "portfolio": Portfolio,
    "venue.simulated": Simulated,
    "data": Data,
    "report": Report,
    "listing": Listing,
    "approvals": Approvals,
    "live": Live,
}
"""Section -> model of its keys."""


@dataclass(frozen=True)
class BotConfig:
    """One bot's section, resolved."""

    bot_id: str
    mode: BotMode
    values: dict[str, str]  # every parameter as canonical decimal text, in the order of the spec
    warned: tuple[str, ...] = ()  # parameters beyond their warning: the runtime stamps WARN on every decision
    live_mode: BotMode | None = None  # in live runs, sending or dry; None = the same as everywhere

    def mode_in(self, run_mode: str) -> BotMode:
        """The mode in a run of this kind: backtest, shadow, paper or live."""
        return self.live_mode if run_mode == "live" and self.live_mode is not None else self.mode

    def as_dict(self) -> dict[str, Any]:
        live = {} if self.live_mode is None else {"live_mode": str(self.live_mode)}
        return {"mode": str(self.mode), **live, "values": dict(self.values)}


# ---------------------------------------------------------------------------------------------------------
# the file
# ---------------------------------------------------------------------------------------------------------

_SECTION = re.compile(r"\[\s*([^\]]*?)\s*\]")
_ENTRY = re.compile(r"([^=]*?)\s*=\s*(.*)")
_COMMENT = re.compile(r"(^|\s)[#;].*$")


@dataclass(frozen=True)
class Entry:
    """One value of the file and where it stands."""

    text: str
    where: str


@dataclass
class Block:
    """One section of the file and where it stands."""

    where: str
    entries: dict[str, Entry] = field(default_factory=dict)


def parse_ini(text: str, name: str) -> dict[str, Block]:
    """Sections of an ini text with the line of everything.

    One `key = value` a line; `#` and `;` begin a comment at the start of a line or after a space. Raises
    ConfigError for a line that is neither, a value outside a section, a section or key that stands twice.
    """
    blocks: dict[str, Block] = {}
    block: Block | None = None
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        where, content = f"{name}:{number}", _COMMENT.sub("", line).strip()
        if not content:
            continue
        if (head := _SECTION.fullmatch(content)) is not None:
            if head[1] in blocks:
                raise _twice(where, f"section [{head[1]}]", blocks[head[1]].where)
            block = blocks[head[1]] = Block(where)
        elif (pair := _ENTRY.fullmatch(content)) is None or not pair[1]:
            raise ConfigError(
                f"cannot read {content!r}",
                where=where,
                rule="a line is [section], key = value, or a comment",
                mend="a value stands on one line, after its key and =",
            )
        elif block is None:
            raise ConfigError(
                f"{pair[1]} stands outside a section",
                where=where,
                rule="every value belongs to a section",
                mend="put a line such as [engine] above it",
            )
        elif pair[1] in block.entries:
            raise _twice(where, pair[1], block.entries[pair[1]].where)
        else:
            block.entries[pair[1]] = Entry(pair[2], where)
    return blocks


def _twice(where: str, what: str, first: str) -> ConfigError:
    return ConfigError(f"{what} stands twice", where=where, rule=f"first at {first}", mend="keep one of them")


def _nearest(name: str, names: Iterator[str] | list[str], otherwise: str) -> str:
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else otherwise


# ---------------------------------------------------------------------------------------------------------
# from text to settings
# ---------------------------------------------------------------------------------------------------------


def key_rule(model: type[Part], key: str) -> str:
    """What a key of a part may be, in words: 'integer, 0 ... 60000'."""
    info = model.model_fields[key]
    if get_origin(info.annotation) is Literal:
        return "one of " + ", ".join(get_args(info.annotation))
    kinds = {int: "integer", bool: "true or false", Decimal: "decimal number", str: "text"}
    bounds = {
        name: getattr(m, name)
        for m in info.metadata
        for name in ("ge", "gt", "le")
        if getattr(m, name, None) is not None
    }
    pattern = next((m.pattern for m in info.metadata if getattr(m, "pattern", None)), None)
    words = [kinds[info.annotation]]  # type: ignore[index]
    if {"ge", "le"} <= bounds.keys():
        words.append(f"{bounds['ge']} ... {bounds['le']}")
    elif bounds:
        words.append(f"above {bounds['gt']}, at most {bounds['le']}")
    if (
        places := next((m.decimal_places for m in info.metadata if getattr(m, "decimal_places", None)), None)
    ) is not None:
        words.append(f"at most {places} decimals")
    if pattern:
        words.append(f"like {pattern.strip('^$')}")
    return ", ".join(words)


def _build_part(section: str, block: Block) -> Part:
    model = PARTS[section]
    for key, entry in block.entries.items():
        if key not in model.model_fields:
            raise ConfigError(
                f"[{section}] has no key {key!r}",
                where=entry.where,
                rule="keys: " + ", ".join(model.model_fields),
                mend=_nearest(key, list(model.model_fields), "remove it"),
            )
    try:
        return model.model_validate({key: entry.text for key, entry in block.entries.items()})
    except ValidationError as errors:
        key = str(errors.errors()[0]["loc"][0])
        entry, default = block.entries[key], model.model_fields[key].default
        raise ConfigError(
            f"[{section}] {key} = {entry.text!r} is refused",
            where=entry.where,
            rule=key_rule(model, key),
            mend=f"the default is {_ini_text(default)}",
        ) from None


def _load_spec(section: str, where: str) -> BotSpec:
    try:
        return load_bot(section).spec
    except UsageError as error:
        if section.partition(".")[0] in FAMILIES and section.partition(".")[2]:
            raise ConfigError(f"[{section}]: {error.what}", where=where, rule=error.rule, mend=error.mend) from None
        raise ConfigError(
            f"there is no section [{section}]",
            where=where,
            rule="a section is a part (" + ", ".join(PARTS) + ") or a bot id",
            mend=_nearest(section, [*PARTS, *bot_ids()], "remove it"),
        ) from None


LIVE_MODE = "live_mode"
"""Key of a bot's section: its mode in live runs, where it is another one than in studies."""


def _build_bot(spec: BotSpec, block: Block) -> BotConfig:
    entries = dict(block.entries)
    mode = _mode(spec, "mode", entries) or spec.default_mode
    live_mode = _mode(spec, LIVE_MODE, entries)
    values = {key: entry.text for key, entry in entries.items()}
    places = {key: entry.where for key, entry in entries.items()}
    warned = spec.check(values, places)
    return BotConfig(spec.bot_id, mode, spec.resolve(values), tuple(warned), live_mode)


def _mode(spec: BotSpec, key: str, entries: dict[str, Entry]) -> BotMode | None:
    """The mode that a section says under this key, which is taken out; None when it does not stand there."""
    if (said := entries.pop(key, None)) is None:
        return None
    if said.text not in spec.modes:
        raise ConfigError(
            f"[{spec.bot_id}] {key} = {said.text!r} is refused",
            where=said.where,
            rule="one of " + ", ".join(spec.modes),
            mend=_nearest(said.text, [str(m) for m in spec.modes], f"its spec says {spec.default_mode}"),
        )
    return BotMode(said.text)


@dataclass(frozen=True)
class Settings:
    """The configuration of a run: typed parts, one entry per bot that has a section, and the text they come from."""

    run: Run
    engine: Engine
    exits: Exits
    flatten: Flatten
    portfolio: Portfolio
    venue: Venue
    data: Data
    report: Report
    listing: Listing
    approvals: Approvals
    live: Live
    bots: dict[str, BotConfig]
    source: str
    blocks: dict[str, Block] = field(repr=False, compare=False)

    def bot(self, name: str) -> BotConfig:
        """The bot's configuration; without a section its spec's mode and defaults."""
        bot_id = resolve_bot(name)
        return self.bots.get(bot_id) or _build_bot(load_bot(bot_id).spec, Block(self.source))

    def as_dict(self) -> dict[str, Any]:
        """Every value in force, as JSON knows it: decimals are text."""
        parts = {name: getattr(self, name).model_dump(mode="json") for name in PARTS if "." not in name}
        parts["venue"] = self.venue.model_dump(mode="json")
        return parts | {"bots": {bot_id: bot.as_dict() for bot_id, bot in self.bots.items()}}

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON of `as_dict`."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_overrides(self, values: Mapping[str, str], where: str = "--set") -> Settings:
        """A copy with `section.key` -> text set, checked like the file (C3); messages name `where` and the value."""
        blocks = {section: Block(block.where, dict(block.entries)) for section, block in self.blocks.items()}
        for path, text in values.items():
            section, _, key = path.rpartition(".")
            place = f"{where} {path}={text}"
            if not section:
                raise ConfigError(
                    f"{path!r} names no section",
                    where=place,
                    rule="an override is section.key=value",
                    mend="such as engine.decide_interval_ms=0 or strat.maker_tight.edge_bps=30",
                )
            section = _canonical(section)
            blocks.setdefault(section, Block(place)).entries[key] = Entry(str(text), place)
        return build_settings(blocks, self.source)


def _canonical(section: str) -> str:
    """The bot id a section means, in any spelling; other names as they are."""
    if section in PARTS:
        return section
    try:
        return resolve_bot(section)
    except UsageError:
        return section


def build_settings(blocks: Mapping[str, Block], source: str) -> Settings:
    """Settings from the sections of a file. Raises ConfigError for the first thing that is refused (C1)."""
    parts: dict[str, Any] = {}
    bots: dict[str, BotConfig] = {}
    kept: dict[str, Block] = {}
    for section, block in blocks.items():
        name = _canonical(section)
        if name in kept:
            raise _twice(block.where, f"[{name}] (as [{section}])", kept[name].where)
        kept[name] = block
        if name in PARTS:
            parts[name] = _build_part(name, block)
        else:
            bots[name] = _build_bot(_load_spec(name, block.where), block)
    in_order = {bot_id: bots[bot_id] for bot_id in bot_ids() if bot_id in bots}
    return Settings(
        run=parts.get("run", Run()),
        engine=parts.get("engine", Engine()),
        exits=parts.get("exits", Exits()),
        flatten=parts.get("flatten", Flatten()),
        portfolio=parts.get("portfolio", Portfolio()),
        venue=Venue(simulated=parts.get("venue.simulated", Simulated())),
        data=parts.get("data", Data()),
        report=parts.get("report", Report()),
        listing=parts.get("listing", Listing()),
        approvals=parts.get("approvals", Approvals()),
        live=parts.get("live", Live()),
        bots=in_order,
        source=source,
        blocks=kept,
    )


def settings_from(values: Mapping[str, Any], source: str) -> Settings:
    """The settings whose `as_dict` is `values`, checked as a file is."""
    blocks: dict[str, Block] = {}

    def add(section: str, entries: Mapping[str, Any]) -> None:
        blocks[section] = Block(source, {key: Entry(_ini_text(value), source) for key, value in entries.items()})

    for name, entries in values.items():
        if name == "bots":
            for bot_id, bot in entries.items():
                modes = {key: bot[key] for key in ("mode", LIVE_MODE) if key in bot}
                add(bot_id, {**modes, **bot["values"]})
        elif name == "venue":
            for part, inner in entries.items():
                add(f"venue.{part}", inner)
        else:
            add(name, entries)
    return build_settings(blocks, source)


# ---------------------------------------------------------------------------------------------------------
# where things are
# ---------------------------------------------------------------------------------------------------------

PACKAGED = "packaged defaults"
NOT_IN_STUDIES = frozenset(
    {
        *("risk.ratelimitgovernor", "risk.strategysuitabilitygate"),
        *("exec.partialfillhandler", "exec.order_amend_cancel_manager", "exec.pricebandvalidator"),
    }
)
"""Bots for live money: their defaults would throttle or refuse a study, or are a second look at what others decide."""

FOR_LIVE = ("risk.ratelimitgovernor", "exec.order_amend_cancel_manager", "exec.pricebandvalidator")
"""Those of them that a live run has: limits against faults that cost money."""


def settings_path(path: str | Path | None = None) -> Path | None:
    """The file in force: the argument, else POLYTRADERS_SETTINGS, else ./settings.ini, else none (the packaged
    defaults). Raises UsageError when a named file does not exist."""
    named = path or os.environ.get("POLYTRADERS_SETTINGS")
    chosen = Path(named or "settings.ini").expanduser()
    if chosen.is_file():
        return chosen
    if not named:
        return None
    raise UsageError(
        f"there is no settings file {chosen}",
        where="" if path else "POLYTRADERS_SETTINGS",
        mend="name an existing file, or leave it out to use ./settings.ini",
    )


def load_settings(path: str | Path | None = None) -> Settings:
    """Read and check the configuration; see `settings_path` for which file.

    The packaged defaults are for studies: every part at its default, and every bot that has a module enforced at its
    defaults, but for those of NOT_IN_STUDIES; of these live runs have those of FOR_LIVE.
    """
    chosen = settings_path(path)
    if chosen is None:
        modes = {b: {"mode": "off" if b in NOT_IN_STUDIES else "enforced"} for b in KERNEL_BOTS}
        modes |= {b: modes[b] | {LIVE_MODE: "enforced"} for b in FOR_LIVE if b in modes}
        blocks = {b: Block(PACKAGED, {k: Entry(m, PACKAGED) for k, m in said.items()}) for b, said in modes.items()}
        return build_settings(blocks, PACKAGED)
    try:
        text = chosen.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"byte {error.start} is no UTF-8",
            where=str(chosen),
            rule="settings are UTF-8 text",
            mend="save it as UTF-8",
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {chosen}: {error.strerror}", mend="make it readable") from None
    return build_settings(parse_ini(text, str(chosen)), str(chosen))


def home() -> Path:
    """Folder of catalog, runs and store: POLYTRADERS_HOME, else ./.polytraders (absolute; not created here)."""
    return Path(os.environ.get("POLYTRADERS_HOME") or ".polytraders").expanduser().absolute()


def _ini_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
