"""From market descriptions, bots and settings to the arrays of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from polytraders import rows
from polytraders.bots import Bot
from polytraders.engine import state as s
from polytraders.engine.book import NO_ASK, NO_BID, geometry
from polytraders.engine.kernels import FAMILIES, Kernels, kernel_table
from polytraders.errors import DataError
from polytraders.reasons import REGISTRY
from polytraders.units import NS_PER_S

WHOLE_RUN = tuple(
    rows.EventKind[name] for name in ("SIGNAL", "CLOCK", "SWITCH", "CONFIG", "FEED_UP", "FEED_DOWN", "EXIT")
)
"""Kinds of rows that may speak of all markets (market -1)."""
KILL_SWITCH = "risk.killswitch"
"""Id of the bot that judges orders while a switch is armed; a run without it lets none pass."""
UNWINDER = "risk.inventoryunwinder"
EXIT_TERMS = ("take_profit", "stop_loss", "before_end", "exit_spread", "exit_slippage", "exit_pause")
INTENT_TTL = 60 * NS_PER_S
"""ns a proposal waits for a person: the live guide's 60 s."""
TOLERANCE = 100
"""pips: a price one cent from the approved one is still covered, one tick of most markets."""
RUNTIME = "exec.runtime"
"""Id of the last entry of a run's bot table: receipts of the engine itself, which sends, keeps and cancels orders."""


class MarketLike(Protocol):
    """What the engine reads of a market (polytraders.data.catalog.MarketInfo has it)."""

    tick: int
    grid: int
    min_size: int
    fee_rate: int
    fee_exponent: int
    rebate_rate: int
    neg_risk: bool
    event_id: str
    end_ts: int


@dataclass(frozen=True)
class PipelineBot:
    """One bot as this run has it."""

    bot: Bot
    mode: int  # engine.state.MODE_*
    params: np.ndarray  # int64[N_PARAMS], kernel units
    warned: bool


@dataclass(frozen=True)
class Pipeline:
    """The run's bots in pipeline order."""

    bots: tuple[PipelineBot, ...]

    def of(self, family: str) -> tuple[PipelineBot, ...]:
        return tuple(b for b in self.bots if b.bot.family == family)

    @property
    def ids(self) -> tuple[str, ...]:
        """Bot ids by index in decision rows; the last one is the runtime."""
        return tuple(b.bot.spec.bot_id for b in self.bots) + (RUNTIME,)

    def kernels(self) -> Kernels:
        return kernel_table({family: [b.bot.decide for b in self.of(family)] for family in FAMILIES})


def order_bots(bots: Iterable[PipelineBot]) -> Pipeline:
    """Pipeline order: families first; inside a family the order given. Raises ValueError for two strategies."""
    bots = list(bots)
    if sum(b.bot.family == "strat" for b in bots) > 1:
        raise ValueError("a run has at most one strategy: it is bound to one portfolio")
    return Pipeline(tuple(b for family in FAMILIES for b in bots if b.bot.family == family))


def severity_table() -> np.ndarray:
    """int64[largest code number + 1]: rows.Severity of each reason code."""
    table = np.zeros(max(code.number for code in REGISTRY.values()) + 1, np.int64)
    for code in REGISTRY.values():
        table[code.number] = int(code.severity)
    return table


def market_rows(infos: Sequence[MarketLike]) -> tuple[np.ndarray, int]:
    """Fresh MARKET rows with their book geometry, and the number of book cells they need."""
    markets, offset = s.per_market(s.MARKET, len(infos)), 0
    groups: dict[str, int] = {}
    events: dict[str, list[int]] = {}
    for i, info in enumerate(infos):
        levels, recip = geometry(info.grid)
        row = markets[i]
        row.id = i
        row.group, row.peer, row.group_next = -1, i, i
        if info.event_id:
            events.setdefault(info.event_id, []).append(i)
        if info.event_id and info.neg_risk:  # the markets of any other event do not exclude each other
            row.group = groups.setdefault(info.event_id, len(groups))
        row.tick, row.min_size, row.end_ts = info.tick, info.min_size, info.end_ts
        row.fee_rate, row.fee_exponent, row.rebate_rate = info.fee_rate, info.fee_exponent, info.rebate_rate
        row.taker_delay = getattr(info, "taker_delay", 0)  # logs from before it was known have none
        row.status, row.payout, row.feed_up = rows.Status.OPEN, -1, 1
        # a description that does not say was not held against the lists
        row.flags = getattr(info, "flags", rows.Listed.UNVETTED)
        row.grid, row.recip, row.levels, row.offset = info.grid, recip, levels, offset
        row.bid_level = row.ask_level = row.best_bid = row.best_ask = row.last_price = -1
        row.best[:] = NO_BID, NO_ASK
        offset += 2 * levels
    for ring in events.values():
        markets["peer"][ring] = ring[1:] + ring[:1]
        grouped = [i for i in ring if markets[i].group >= 0]
        markets["group_next"][grouped] = grouped[1:] + grouped[:1]
    return markets, offset


def new_state(
    infos: Sequence[MarketLike],
    pipeline: Pipeline,
    *,
    cash: int,
    interval: int,
    sample_interval: int,
    rejudge: int = 0,
    full_panel: bool = False,
    merge_least: int = 0,
    gate: int = rows.Gate.OPEN,
    intent_ttl: int = INTENT_TTL,
    approval_ttl: int = 0,
    tolerance: int = TOLERANCE,
    exits: Mapping[str, int] | None = None,
) -> s.State:
    """State of a run before its first event. cash micro-pUSD; intervals and rejudge ns; merge_least micro-shares.

    gate: rows.Gate. Of proposals: intent_ttl ns until one expires; approval_ttl ns that an approval covers, 0 = as
    long; tolerance pips. See engine.gate. exits: take_profit, stop_loss (bps), before_end, exit_pause (ns),
    exit_spread, exit_slippage (pips), unwind (0 or 1), each 0 where left out; None = the system proposes none. See
    engine.exits.
    """
    n, b = len(infos), len(pipeline.bots) + 1
    markets, cells = market_rows(infos)
    clock, account = s.records(s.CLOCK, 1), s.records(s.ACCOUNT, 1)
    clock["interval"], clock["sample_interval"], clock["full_panel"] = interval, sample_interval, int(full_panel)
    clock["rejudge"], clock["n_free"], clock["merge_least"] = rejudge, s.MAX_ORDERS, merge_least
    clock["n_markets"], clock["n_bots"] = n, b
    clock["guarded"] = any(b.bot.spec.bot_id == KILL_SWITCH and b.mode >= s.MODE_ENFORCED for b in pipeline.bots)
    clock["gate"], clock["intent_ttl"], clock["tolerance"] = gate, intent_ttl, tolerance
    clock["approval_ttl"] = approval_ttl or intent_ttl
    clock["exits"], clock["unwinder"] = int(exits is not None), -1
    for name in EXIT_TERMS:
        clock[name] = (exits or {}).get(name, 0)
    if exits and exits.get("unwind"):
        for k, bot in enumerate(pipeline.of("risk")):
            if bot.bot.spec.bot_id == UNWINDER and bot.mode >= s.MODE_ENFORCED:
                clock["unwinder"] = k
    for field in FAMILIES:
        clock["n_" + field] = len(pipeline.of(field))
    for field in ("deposits", "cash", "equity", "peak"):
        account[field] = cash
    params, bots = s.records(s.PARAMS, b), s.records(s.BOT, b)
    bots["mode"] = s.MODE_ENFORCED
    for i, bot in enumerate(pipeline.bots):
        params["v"][i] = bot.params
        bots[i].mode, bots[i].warned = bot.mode, int(bot.warned)
    slots = s.per_market(np.int64, (n, s.N_SLOTS))
    slots[:] = -1
    return s.State(
        clock=clock,
        account=account,
        markets=markets,
        positions=s.per_market(s.POSITION, n),
        book=s.per_market(np.int64, cells),
        volume=s.per_market(np.int64, (n, s.VOLUME_CELLS)),
        orders=s.per_market(s.ORDER, s.MAX_ORDERS, large=n >= s.MANY),
        free=np.arange(s.MAX_ORDERS - 1, -1, -1, dtype=np.int64),
        slots=slots,
        taking=s.per_market(np.int64, (n, s.N_SLOTS)),
        memory=s.per_market(np.float64, (n, s.N_MEMORY)),
        params=params,
        bots=bots,
        repeats=s.per_market(s.REPEAT, (n, s.SERIES, b)),
        severity=severity_table(),
        dirty=np.zeros(2 * n + 16, np.int64),
        wakes=np.zeros((4 * n + 16, 2), np.int64),
        targets=s.records(s.INTENT, s.N_SLOTS + 1),
        vote=s.records(s.VOTE, 1),
        plan=s.records(s.PLAN, 2),
        unsettled=s.records(s.UNSETTLED, s.MAX_UNSETTLED),
        proposals=s.records(s.PROPOSAL, (n, s.N_SLOTS)),
    )


def check_events(events: np.ndarray, infos: Sequence[MarketLike], name: str = "events") -> None:
    """Refuse a stream the kernels could not take safely (they index without bounds checks). Raises DataError."""

    def refuse(bad: np.ndarray, what: str, rule: str) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            raise DataError(
                f"{what} ({events[i]})",
                where=f"{name}, row {i}",
                rule=rule,
                mend="import the recording again; if it stays, `polytraders data check` names the source line",
            )

    if events.dtype != rows.EVENT and events.dtype.descr != rows.EVENT.descr:
        raise DataError("the stream does not hold event rows", where=name, rule=f"dtype {rows.EVENT}")
    kind, market, price = events["kind"], events["market"], events["price"]
    refuse((kind < 1) | (kind > max(rows.EventKind)), "unknown event kind", "kind is one of rows.EventKind")
    refuse((market < -1) | (market >= len(infos)), "unknown market", f"market lies in -1 ... {len(infos) - 1}")
    whole = (market < 0) & ~np.isin(kind, WHOLE_RUN)
    rule = "market -1: clock, switch, config, feed, signal and exit rows"
    refuse(whole, "a row for all markets of a kind that needs one", rule)
    priced = (kind >= rows.EventKind.LEVEL) & (kind <= rows.EventKind.TRADE)
    grid = np.array([info.grid for info in infos], np.int64)[np.maximum(market, 0)]
    refuse(priced & ((price < 0) | (price > 10_000)), "price outside 0 ... 1", "0 <= price <= 10000 pips")
    refuse(priced & (price % grid != 0), "price off the market's grid", "price is a multiple of the grid")
    refuse(priced & (events["size"] < 0), "negative size", "size >= 0")
    refuse((events["side"] < 0) | (events["side"] > 1), "unknown side", "side is 0 or 1")
    fees = kind == rows.EventKind.FEES
    refuse(fees & ((events["size"] < 0) | (events["size"] > 10**6)), "a fee rate outside 0 ... 1", "rates are ppm")
    refuse(fees & ((price < 0) | (price > 2)), "an unknown fee exponent", "the exponent is 0, 1 or 2")
    payout = (kind == rows.EventKind.RESOLUTION) & ~np.isin(price, (0, 5_000, 10_000))
    refuse(payout, "an unknown payout", "a YES share pays 0, 0.5 or 1 pUSD")
    refuse(np.diff(events["ts_recv"], prepend=events["ts_recv"][:1]) < 0, "time runs backwards", "ordered by ts_recv")


def describe(info: Any) -> dict[str, Any]:
    """A market as the run's manifest keeps it."""
    return {key: getattr(info, key) for key in info.__dataclass_fields__}
