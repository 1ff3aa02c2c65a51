"""What the runs of a portfolio, and of its tenant, hold of the limits that are theirs together.

A limit over several runs is split into *shares*: each run has one, its step keeps to it, and only here, in a writing
transaction, does a share grow. So two runs that open at the same moment cannot pass a limit together.

============  ==========  =============================================  ===========================================
limit         unit        what a run uses of it                          the limit
============  ==========  =============================================  ===========================================
exposure      micro-pUSD  positions at cost and open purchases           portfolio's max_exposure, tenant's
orders        orders      sent within the hour                           portfolio's max_orders_per_hour
condition id  micro-pUSD  what the market's worse outcome costs          portfolio's max_position and max_market
============  ==========  =============================================  ===========================================

Losses cannot be shared out beforehand: each run publishes its own (`Falls`) and counts those of the others.

Only runs of one pool share limits: a paper run ties up nobody's money, and a local venue is not the real one.

Invariants
    H1  what a run's step may use is at no time more than the share that stands here: a share grows here before the
        step hears of it, and shrinks here after the step has heard of it
    H2  the shares of a limit together are within it, unless it was lowered, or hedges, fees of the orders that filled
        it up or transfers brought a run more than its share
    H3  silence is no end: what a run had here counts until it speaks again, ends in order or a person releases it
    H4  what is not known is named (`Shared.silent`), and whoever shares a limit with it opens nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from polytraders import units
from polytraders.contracts import Actor
from polytraders.errors import UsageError
from polytraders.store.desk.answers import Answer, refuse
from polytraders.store.desk.board import ALIVE_NS, ENDED, gone
from polytraders.store.desk.journal import Entry, Kind, append, clock
from polytraders.store.sql import Database, Transaction

EXPOSURE, ORDERS = "exposure", "orders"
HOUR_NS = 3_600 * units.NS_PER_S


@dataclass(frozen=True, slots=True)
class Use:
    """How one run stands to one limit.

    allowed: the most its step may use by anything it was told or will still hear; raised: the limit as an override
    lifts it for this run, 0 = none does. most: what its own limits let it use at all, whole: what its settings let all
    runs of its portfolio use; 0 = they do not say. gross, net (YES less NO, at cost) and category: of a market.
    """

    used: int
    allowed: int = 0
    raised: int = 0
    most: int = 0
    gross: int = 0
    net: int = 0
    category: str = ""
    whole: int = 0


@dataclass(frozen=True, slots=True)
class Falls:
    """What a run has lost, micro-pUSD, none of it negative: since the begin of the UTC day or week, and from the
    highest equity of the day, of the week and at all."""

    day_loss: int = 0
    day_fall: int = 0
    week_loss: int = 0
    week_fall: int = 0
    fall: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """All that a run tells of itself. opens: False = it opens nothing, so nothing is kept free for it."""

    run_id: str
    pool: str
    portfolio_id: str
    strategy_id: str
    uses: Mapping[str, Use]
    falls: Falls = Falls()
    opens: bool = True


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What another run has in one market, micro-pUSD. mine: it is of the same portfolio, not only of the tenant."""

    mine: bool
    condition_id: str
    category: str
    gross: int
    net: int


@dataclass(frozen=True, slots=True)
class Common:
    """A limit that several runs share, for people: its layer and number, and what all runs use of it."""

    layer: str  # portfolio | tenant
    limit: int
    used: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What a run hears back.

    shares: limit -> what it may use from now on. lost: what the other runs of the portfolio, of the tenant have lost.
    silent: runs of which it is not known what they hold. runs: how many others there are, ended ones that still hold
    something among them.
    """

    at: int
    shares: Mapping[str, int]
    lost: tuple[Falls, Falls] = (Falls(), Falls())
    bankroll: int = 0  # micro-pUSD, of all portfolios of the tenant
    loss_limits: tuple[Mapping[str, str], Mapping[str, str]] = field(default_factory=lambda: ({}, {}))  # %, by layer
    elsewhere: tuple[Elsewhere, ...] = ()
    common: Mapping[str, tuple[Common, ...]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    runs: int = 0


def fair_share(limit: int, used: int, others_used: int, others_share: int, opening: int, opens: bool = True) -> int:
    """What one run may use of a limit: what it uses and its part of what nobody does, as far as the others' shares
    leave it. opening: runs that want a part of it, this one among them."""
    free = max(limit - used - others_used, 0)
    wanted = used + (free // max(opening, 1) if opens else 0)
    return max(min(wanted, limit - others_share), 0)


def refresh(desk: Database, mine: Standing, now: int | None = None) -> Shared:
    """Tell how a run stands, have its shares changed, and hear how the others stand; one transaction.

    Raises UsageError when the portfolio is not saved.
    """
    with desk.write() as tx:
        now = clock(now)  # what was waited for is no silence
        limits = _limits(tx, mine.portfolio_id)
        others = _others(tx, mine, limits.tenant_id, now)
        stored = tx.rows("SELECT * FROM shares WHERE run_id = :id", id=mine.run_id)
        held = {row["name"]: row for row in stored}
        # one that goes on after its end hears of its new room before it decides anything: the old one is nobody's
        resumed = tx.value("SELECT state FROM figures WHERE run_id = :id", id=mine.run_id) == "ended"
        shares: dict[str, int] = {}
        common: dict[str, tuple[Common, ...]] = {}
        rows = []
        for name, use in mine.uses.items():
            layers = limits.of(name)
            shares[name], common[name] = _granted(use, layers, others, name, mine)
            row = {
                "run_id": mine.run_id, "name": name, "used": use.used, "gross": use.gross, "net": use.net,
                "category": use.category, "share": max(shares[name], use.used, 0 if resumed else use.allowed),
            }  # fmt: skip
            if held.get(name) != row:
                rows.append(row)
        tx.upsert("shares", ["run_id", "name"], rows)
        tx.upsert("figures", ["run_id"], [_figures(mine, limits.tenant_id, "running", now)])
        silent = [*others.silent, *_untold(tx, mine, limits, now)]
    return Shared(
        at=now, shares=shares, lost=others.lost(mine.portfolio_id, now), bankroll=limits.bankrolls,
        loss_limits=limits.losses, elsewhere=others.elsewhere, common=common,
        silent=tuple(sorted(set(silent))), runs=len(others.runs),
    )  # fmt: skip


def end(desk: Database, mine: Standing, now: int | None = None) -> None:
    """A run has ended: what it holds goes on to count, and nothing is kept free for it. A paper run holds nothing."""
    now = clock(now)
    with desk.write() as tx:
        _forget(tx, mine.run_id)
        if mine.pool == PAPER:
            return
        limits = _limits(tx, mine.portfolio_id)
        kept = {name: use for name, use in mine.uses.items() if use.used or use.gross}
        tx.insert(
            "shares",
            [
                {"run_id": mine.run_id, "name": name, "used": use.used, "share": use.used, "gross": use.gross,
                 "net": use.net, "category": use.category}
                for name, use in kept.items()
            ],
        )  # fmt: skip
        tx.insert("figures", [_figures(mine, limits.tenant_id, "ended", now)])


PAPER, DRY = "paper", ""
"""Pools of runs without money at a venue; the second one shares nothing."""


def pool_of(mode: str, venue: str, sends: bool) -> str:
    """Which runs a run shares its limits with: those of the same pool."""
    return PAPER if mode == "paper" else f"{mode}:{venue}" if mode == "live" and sends else DRY


def release(
    desk: Database,
    run_id: str,
    actor: Actor,
    channel: str,
    reason: str,
    now: int | None = None,
    *,
    empty: bool = False,
) -> Answer:
    """Say of a run that is gone what it holds: no more than it told last, or, with `empty`, nothing any more.

    Refused with GOV_RUN_NOT_GONE while it is alive. Raises UsageError for an unknown run and without a reason.
    """
    now = clock(now)
    if not reason.strip():
        raise UsageError("releasing a run needs a reason", where=run_id, mend="say how it is known what it holds")
    with desk.write() as tx:
        run = tx.row("SELECT * FROM runs WHERE run_id = :id", id=run_id)
        figures = tx.row("SELECT * FROM figures WHERE run_id = :id", id=run_id)
        if run is None and figures is None:
            raise UsageError("no run has this id", where=run_id, mend="polytraders portfolios shares")
        ended = run is None or run["state"] in ENDED
        dead = gone(tx, run_id)
        heard = max(row["heartbeat_ns" if row is run else "ts_ns"] for row in (run, figures) if row is not None)
        if not ended and (dead is False or (dead is None and now - heard <= ALIVE_NS)):
            return refuse(tx, now, actor, channel, Kind.RELEASE, run_id, "GOV_RUN_NOT_GONE", str(run["state"]))
        shares = tx.rows("SELECT name, share FROM shares WHERE run_id = :id", id=run_id)
        if empty:
            _forget(tx, run_id)
        else:  # it may have used all of its share since it spoke last
            tx.run("UPDATE shares SET used = share WHERE run_id = :id", {"id": run_id})
            tx.run("UPDATE figures SET state = 'ended', opens = 0 WHERE run_id = :id", {"id": run_id})
        if not ended:
            tx.run("UPDATE runs SET state = 'failed' WHERE run_id = :id", {"id": run_id})
        exposure = next((row["share"] for row in shares if row["name"] == EXPOSURE), 0)
        counted = "0" if empty else units.money_text(exposure)
        payload = {"code": "GOV_RUN_RELEASED", "reason": reason, "empty": empty, "exposure_pusd": counted}
        seq = append(tx, now, Entry(Kind.RELEASE, actor, channel, run_id, payload))
        return Answer(True, "GOV_RUN_RELEASED", run_id, "released", seq, {"exposure_pusd": counted})


def shares(
    desk: Database, portfolio_id: str | None = None, now: int | None = None, *, markets: bool = False
) -> list[dict[str, Any]]:
    """What each run has of the common limits: run_id, pool, portfolio_id, strategy_id, state (running, silent, ended),
    seen_ns, name, used, share; by run and limit. markets: those of each market too."""
    now = clock(now)
    where = "" if portfolio_id is None else "WHERE f.portfolio_id = :id"
    values = {} if portfolio_id is None else {"id": portfolio_id}
    some = "" if markets else f" AND s.name IN ('{EXPOSURE}', '{ORDERS}')"
    with desk.read() as tx:
        rows = tx.rows(
            "SELECT f.run_id, f.pool, f.portfolio_id, f.strategy_id, f.state, f.ts_ns, s.name, s.used, s.share "
            f"FROM figures f LEFT JOIN shares s ON s.run_id = f.run_id{some} {where} ORDER BY f.run_id, s.name",
            **values,
        )
    told = []
    for row in rows:
        seen = row.pop("ts_ns")
        if row["name"] is None:
            row |= {"name": EXPOSURE, "used": 0, "share": 0}
        if row["state"] == "running" and now - seen > ALIVE_NS:
            row["state"] = "silent"
        told.append(row | {"seen_ns": seen})
    return told


# ------------------------------------------------------------------------------------------------ the limits


@dataclass(frozen=True, slots=True)
class _Limits:
    tenant_id: str
    portfolios: tuple[str, ...]
    exposure: tuple[tuple[str, int], ...]
    orders: int
    market: int
    bankrolls: int
    losses: tuple[Mapping[str, str], Mapping[str, str]]

    def of(self, name: str) -> tuple[tuple[str, int], ...]:
        """(layer, number) of a limit."""
        if name == EXPOSURE:
            return self.exposure
        return (("portfolio", self.orders if name == ORDERS else self.market),)


LOSSES = {
    "daily_loss_pct": "day_loss", "drawdown_intraday_pct": "day_fall", "drawdown_weekly_pct": "week_fall",
    "drawdown_total_pct": "fall",
}  # fmt: skip
"""Limit of the layers -> the part of Falls that is held against it."""


def _limits(tx: Transaction, portfolio_id: str) -> _Limits:
    portfolio = _config(tx, "portfolio", portfolio_id)
    tenant = None if portfolio is None else _config(tx, "tenant", portfolio["tenant_id"])
    if portfolio is None or tenant is None:
        raise UsageError("there is no such portfolio", where=portfolio_id, mend="polytraders portfolios put FILE")
    roll = Decimal(portfolio["bankroll_pusd"])
    ids = tuple(tenant["portfolios"])
    rolls = [roll if id_ == portfolio_id else _bankroll(tx, id_) for id_ in ids]
    exposure = units.money_micro(roll * Decimal(portfolio["max_exposure_pct"]) / 100)
    position = units.money_micro(roll * Decimal(portfolio["max_position_pct"]) / 100)
    return _Limits(
        tenant_id=tenant["tenant_id"], portfolios=ids,
        exposure=(("portfolio", exposure), ("tenant", units.money_micro(tenant["max_exposure_pusd"]))),
        orders=int(portfolio["max_orders_per_hour"]),
        market=min(position, units.money_micro(portfolio["max_market_pusd"])),
        bankrolls=units.money_micro(sum(rolls)),
        losses=(
            {"daily_loss_pct": portfolio["max_daily_loss_pct"]}
            | {name: portfolio[f"max_{name}"] for name in LOSSES if name.startswith("drawdown")},
            {"daily_loss_pct": tenant["max_daily_loss_pct"], "drawdown_total_pct": tenant["max_drawdown_total_pct"]},
        ),
    )  # fmt: skip


def _config(tx: Transaction, kind: str, id_: str) -> dict[str, Any] | None:
    row = tx.row("SELECT document FROM configs WHERE kind = :kind AND id = :id", kind=kind, id=id_)
    return None if row is None else orjson.loads(row["document"])


def _bankroll(tx: Transaction, portfolio_id: str) -> Decimal:
    found = _config(tx, "portfolio", portfolio_id)
    return Decimal(found["bankroll_pusd"]) if found is not None else Decimal(0)


# ------------------------------------------------------------------------------------------------ the others


@dataclass(frozen=True, slots=True)
class _Others:
    runs: Mapping[str, Mapping[str, Any]]
    sums: Mapping[str, list[tuple[bool, int, int, int]]]
    """Limit -> by portfolio: whether it is the run's own; used, shares, runs that want more."""
    elsewhere: tuple[Elsewhere, ...]
    silent: tuple[str, ...]

    def of(self, name: str, layer: str) -> tuple[int, int, int]:
        """(used, shares, runs that want more) of a limit within a layer."""
        found = [rest for mine, *rest in self.sums.get(name, ()) if mine or layer == "tenant"]
        used, share, waiting = (sum(row[k] for row in found) for k in range(3))
        return used, share, waiting

    def lost(self, portfolio_id: str, now: int) -> tuple[Falls, Falls]:
        """What those of the portfolio, of the tenant lost: gains of one make up for no loss of another."""
        mine = [row for row in self.runs.values() if row["portfolio_id"] == portfolio_id]
        return _lost(mine, now), _lost(self.runs.values(), now)


def _others(tx: Transaction, mine: Standing, tenant_id: str, now: int) -> _Others:
    who = {"pool": mine.pool, "tenant": tenant_id, "me": mine.run_id}
    where = "f.pool = :pool AND f.tenant_id = :tenant AND f.run_id <> :me"
    runs = {row["run_id"]: row for row in tx.rows(f"SELECT f.* FROM figures f WHERE {where}", **who)}
    silent = []
    for id_, row in list(runs.items()):
        if row["state"] == "running" and now - row["ts_ns"] > ALIVE_NS:
            if mine.pool == PAPER and gone(tx, id_):
                _forget(tx, id_)  # it ended without a word, and so did all that it held
                del runs[id_]
                continue
            silent.append(id_)
    if not runs:
        return _Others({}, {}, (), ())
    sums: dict[str, list[tuple[bool, int, int, int]]] = {}
    for row in tx.rows(
        "SELECT s.name, f.portfolio_id, SUM(s.used) AS used, SUM(s.share) AS share, SUM(f.opens) AS waiting "
        f"FROM figures f JOIN shares s ON s.run_id = f.run_id WHERE {where} "
        "AND (f.portfolio_id = :mine OR s.name = :exposure) AND (s.name <> :orders OR f.ts_ns >= :hour) "
        "GROUP BY s.name, f.portfolio_id",
        **who, mine=mine.portfolio_id, exposure=EXPOSURE, orders=ORDERS, hour=now - HOUR_NS,
    ):  # fmt: skip
        numbers = (int(row[name]) for name in ("used", "share", "waiting"))  # PostgreSQL's sums are decimals
        sums.setdefault(row["name"], []).append((row["portfolio_id"] == mine.portfolio_id, *numbers))
    held = tx.rows(
        "SELECT s.run_id, s.name, s.category, s.gross, s.net FROM figures f JOIN shares s ON s.run_id = f.run_id "
        f"WHERE {where} AND (s.gross <> 0 OR s.net <> 0) ORDER BY s.run_id, s.name",
        **who,
    )
    own = {id_ for id_, run in runs.items() if run["portfolio_id"] == mine.portfolio_id}
    elsewhere = (
        Elsewhere(row["run_id"] in own, row["name"], row["category"], row["gross"], row["net"]) for row in held
    )
    return _Others(runs, sums, tuple(elsewhere), tuple(silent))


def _forget(tx: Transaction, run_id: str) -> None:
    tx.run("DELETE FROM shares WHERE run_id = :id", {"id": run_id})
    tx.run("DELETE FROM figures WHERE run_id = :id", {"id": run_id})


def _untold(tx: Transaction, mine: Standing, limits: _Limits, now: int) -> list[str]:
    """Live runs of the tenant that tell nothing here at all: begun before their portfolio was saved, or by a program
    that knows nothing of this."""
    if mine.pool == PAPER:
        return []
    rows = tx.rows(
        "SELECT r.run_id, r.portfolio_id, r.document FROM runs r LEFT JOIN figures f ON f.run_id = r.run_id "
        "WHERE r.mode = 'live' AND f.run_id IS NULL AND r.run_id <> :me "
        "AND r.state NOT IN ('starting', 'stopped', 'failed')",
        me=mine.run_id,
    )
    known = set(limits.portfolios)
    return [r["run_id"] for r in rows if r["portfolio_id"] in known and orjson.loads(r["document"]).get("sends", True)]


def _day_and_week(now: int) -> tuple[int, int]:
    """UTC day and week as the step numbers them; here the step is loaded only where a run asks, which has it anyway."""
    from polytraders.engine.step import FIRST_MONDAY

    day = now // units.NS_PER_DAY
    return day, (day - FIRST_MONDAY) // 7


def _lost(rows: Iterable[Mapping[str, Any]], now: int) -> Falls:
    """A run that goes on counts with its fall from its highest, one that has ended with what it lost in the day and
    the week."""
    day, week = _day_and_week(now)
    total = dict.fromkeys(Falls.__dataclass_fields__, 0)
    for row in rows:
        today, this_week, ended = row["day"] >= day, row["week"] >= week, row["state"] == "ended"
        if today:
            total["day_loss"] += row["day_loss"]
            total["day_fall"] += row["day_loss" if ended else "day_fall"]
        if this_week:
            total["week_loss"] += row["week_loss"]
            total["week_fall"] += row["week_loss" if ended else "week_fall"]
        if not ended:
            total["fall"] += row["fall"]
    return Falls(**total)


def _granted(
    use: Use, layers: Iterable[tuple[str, int]], others: _Others, name: str, mine: Standing
) -> tuple[int, tuple[Common, ...]]:
    """(what the run may use of a limit, the limit as its layers have it)."""
    shares, common = [], []
    for layer, number in (*layers, *((("portfolio", use.whole),) if use.whole else ())):
        used, share, waiting = others.of(name, layer)
        limit = max(number, use.raised)
        shares.append(fair_share(limit, use.used, used, share, 1 + waiting, mine.opens))
        common.append(Common(layer, number, use.used + used))
    if use.whole:
        common.pop()  # no layer's
    return min(*shares, use.most or min(shares)), tuple(common)


def _figures(mine: Standing, tenant_id: str, state: str, now: int) -> dict[str, Any]:
    day, week = _day_and_week(now)
    return {
        "run_id": mine.run_id, "pool": mine.pool, "portfolio_id": mine.portfolio_id, "tenant_id": tenant_id,
        "strategy_id": mine.strategy_id, "state": state, "opens": int(mine.opens and state == "running"),
        "ts_ns": now, "day": day, "week": week,
        **{name: getattr(mine.falls, name) for name in Falls.__dataclass_fields__},
    }  # fmt: skip
