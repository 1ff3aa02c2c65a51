"""Who trades what for whom: tenants, portfolios, clusters, watchlists, and strategies bound to a portfolio at launch.

Invariants
    P1  a strategy runs in one portfolio; another one takes a stop and a new launch, with an audit envelope each
    P2  a strategy's scope is a cluster or a list, one mode for the life of a launch; every market that enters or
        leaves it gets its receipt (STRAT_MARKET_IN_SCOPE, STRAT_MARKET_OUT_OF_SCOPE)
    P3  clusters are built by the system; a person can look at one and no more
    P4  the audit envelopes are one chain, in the desk's own chain of actions
    P5  of the layers strategy, portfolio and tenant no lower one loosens what a higher one says
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from polytraders import units
from polytraders.contracts import (
    GENESIS,
    NO_BUILDER,
    Actor,
    AuditEnvelope,
    Cluster,
    ClusterCap,
    MarketScope,
    PortfolioConfig,
    TenantConfig,
    Watchlist,
    derived_id,
    envelope_id,
    seal,
)
from polytraders.errors import UsageError
from polytraders.store.desk.answers import Answer, refuse
from polytraders.store.desk.journal import Entry, Kind, Write, append, clock, head
from polytraders.store.sql import Database, Transaction

Config = TenantConfig | PortfolioConfig | Cluster | Watchlist
_KINDS: dict[type, tuple[str, str, str]] = {
    TenantConfig: ("tenant", "tenant_id", "tenant_id"),
    PortfolioConfig: ("portfolio", "portfolio_id", "tenant_id"),
    Cluster: ("cluster", "cluster_id", "tenant_id"),
    Watchlist: ("watchlist", "watchlist_id", "operator"),
}
KINDS = tuple(kind for kind, *_ in _KINDS.values())


def put_config(desk: Database, config: Config, actor: Actor, channel: str, now: int | None = None) -> Answer:
    """Save a tenant, portfolio, cluster or watchlist. The same again changes nothing.

    Raises UsageError for a portfolio of a tenant that does not name it, a cluster that a person made (P3), and a
    watchlist of somebody else.
    """
    now, (kind, key, owner) = clock(now), _KINDS[type(config)]
    id_, document = getattr(config, key), config.to_json().decode()
    if kind == "cluster" and actor.kind != "system":
        raise UsageError("clusters are built by the system", where=id_, rule="P3: nobody edits one")
    if kind == "watchlist" and actor.id != getattr(config, owner):
        raise UsageError("this watchlist is somebody else's", where=id_, rule=f"it belongs to {getattr(config, owner)}")
    with desk.write() as tx:
        row = _config(tx, kind, id_)
        if row is not None and row["document"] == document:
            return Answer(True, "GOV_CONFIG_SAVED", id_, "unchanged")
        if isinstance(config, PortfolioConfig):
            tenant = _config(tx, "tenant", config.tenant_id)
            if tenant is None or id_ not in orjson.loads(tenant["document"])["portfolios"]:
                raise UsageError(
                    f"{config.tenant_id} does not name this portfolio", where=id_,
                    rule="a tenant lists its portfolios", mend="save the tenant first, with the portfolio in its list",
                )  # fmt: skip
        values = {"owner": getattr(config, owner), "ts_ns": now, "document": document}
        writes = [Write("configs", (kind, id_), values, new=row is None)]
        payload = {"code": "GOV_CONFIG_SAVED", "kind": kind, "new": row is None}
        seq = append(tx, now, Entry(Kind.CONFIG, actor, channel, id_, payload, "", writes))
        return Answer(True, "GOV_CONFIG_SAVED", id_, "saved", seq)


def read_config(text: str | bytes, where: str = "") -> Config:
    """A tenant, portfolio, cluster or watchlist from its JSON. Raises UsageError that names what is wrong."""
    from pydantic import ValidationError

    try:
        document = orjson.loads(text)
        model = next(m for m, (_, key, _) in _KINDS.items() if isinstance(document, dict) and _is(document, key))
        return model.model_validate_json(text)
    except (orjson.JSONDecodeError, StopIteration):
        raise UsageError("this is no " + ", ".join(KINDS), where=where, rule="one JSON object") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{field}: {first['msg']}".lstrip(": "), where=where, rule=model.__name__) from None


def _is(document: Mapping[str, Any], key: str) -> bool:
    """Whether this document's own id is under `key`: a portfolio and a cluster name their tenant too."""
    own = next((k for k in ("portfolio_id", "cluster_id", "watchlist_id") if k in document), "tenant_id")
    return key == own and key in document


def _config(tx: Transaction, kind: str, id_: str) -> dict[str, Any] | None:
    return tx.row("SELECT * FROM configs WHERE kind = :kind AND id = :id", kind=kind, id=id_)


def configs(desk: Database, kind: str) -> list[dict[str, Any]]:
    """Every document of a kind (see KINDS), by id."""
    if kind not in KINDS:
        raise UsageError(f"there is no {kind}", rule=", ".join(KINDS))
    with desk.read() as tx:
        rows = tx.rows("SELECT document FROM configs WHERE kind = :kind ORDER BY id", kind=kind)
    return [orjson.loads(row["document"]) for row in rows]


def config_at(tx: Transaction, kind: str, id_: str, at: int) -> dict[str, Any] | None:
    """A document as it stood at `at` (ns), from the chain of actions; None when it was not there yet."""
    row = tx.row(
        "SELECT writes FROM operator_actions WHERE kind = 'config' AND subject = :id AND ts_ns <= :at "
        "ORDER BY seq DESC LIMIT 1",
        id=id_,
        at=at,
    )
    if row is None:
        return None
    ((_, key, values, _),) = orjson.loads(row["writes"])
    return orjson.loads(values["document"]) if key[0] == kind else None


# ------------------------------------------------------------------------------------------------- launches


def scope_of(cluster_id: str | None, condition_ids: Sequence[str]) -> MarketScope:
    """A scope from a cluster or a list. Raises UsageError for both, neither, and more than 50 markets."""
    from pydantic import ValidationError

    try:
        mode = "manual" if cluster_id is None else "cluster"
        return MarketScope(mode=mode, cluster_id=cluster_id, condition_ids=tuple(condition_ids))
    except ValidationError as error:
        raise UsageError(
            str(error.errors()[0]["msg"]).removeprefix("Value error, "), where="market scope",
            rule="a cluster, or a list of at most 50 condition ids",
        ) from None  # fmt: skip


def resolve(tx: Transaction, scope: MarketScope, at: int, ended: Collection[str] = ()) -> MarketScope:
    """The scope with the markets it comes to at `at`: the cluster as it was then, or the list, without the ended ones.

    Raises UsageError for a cluster that was not there.
    """
    if scope.mode == "manual":
        markets: Sequence[str] = scope.condition_ids
    else:
        cluster = config_at(tx, "cluster", str(scope.cluster_id), at)
        if cluster is None:
            raise UsageError(
                "there was no such cluster", where=f"{scope.cluster_id} at {units.iso_utc(at)[:19]}Z",
                mend="build clusters first, or give a list of markets",
            )  # fmt: skip
        markets = [member["condition_id"] for member in cluster["members"]]
    kept = tuple(market for market in markets if market not in ended)
    return scope.model_copy(update={"resolved_condition_ids": kept, "resolved_at": units.iso_utc(at)})


def launch(
    desk: Database,
    strategy_id: str,
    portfolio_id: str,
    scope: MarketScope,
    actor: Actor,
    channel: str,
    now: int | None = None,
    *,
    builder_code: str = NO_BUILDER,
    ended: Collection[str] = (),
) -> Answer:
    """Bind a strategy to a portfolio and a scope of markets: the audit envelopes of it, and the launch id.

    Refused with GOV_STRATEGY_ALREADY_BOUND while the strategy runs anywhere (P1). Raises UsageError for an unknown
    portfolio or cluster.
    """
    now = clock(now)
    with desk.write() as tx:
        portfolio = _config(tx, "portfolio", portfolio_id)
        if portfolio is None:
            raise UsageError("there is no such portfolio", where=portfolio_id, mend="polytraders portfolios put FILE")
        running = tx.row(
            "SELECT launch_id, portfolio_id FROM launches WHERE strategy_id = :id AND state = 'running'", id=strategy_id
        )
        if running is not None:
            code = "GOV_STRATEGY_ALREADY_BOUND"
            return refuse(tx, now, actor, channel, Kind.LAUNCH, strategy_id, code, "running", **running)
        resolved = resolve(tx, scope, now, ended)
        id_ = derived_id("lau", strategy_id, portfolio_id, head(tx)[0] + 1)
        audit = _Audit(tx, now, actor, builder_code, strategy_id, portfolio_id)
        writes = [audit.envelope("GOV_STRATEGY_LAUNCHED")]
        writes += audit.scope(resolved, (), resolved.resolved_condition_ids)
        values = {
            "strategy_id": strategy_id,
            "portfolio_id": portfolio_id,
            "tenant_id": portfolio["owner"],
            "state": "running",
            "started_ns": now,
            "stopped_ns": None,
            "scope": resolved.to_json().decode(),
        }
        writes.append(Write("launches", (id_,), values, new=True))
        payload = {
            "code": "GOV_STRATEGY_LAUNCHED", "strategy_id": strategy_id, "portfolio_id": portfolio_id,
            "markets": len(resolved.resolved_condition_ids), "envelopes": audit.made,
        }  # fmt: skip
        seq = append(tx, now, Entry(Kind.LAUNCH, actor, channel, id_, payload, "", writes))
        return Answer(True, "GOV_STRATEGY_LAUNCHED", id_, "running", seq, {"markets": payload["markets"]})


def stop(desk: Database, launch_id: str, actor: Actor, channel: str, reason: str, now: int | None = None) -> Answer:
    """End a launch; its strategy can be launched again, in this or another portfolio."""
    now = clock(now)
    with desk.write() as tx:
        row = _launch(tx, launch_id)
        if row["state"] == "stopped":
            return Answer(True, "GOV_STRATEGY_STOPPED", launch_id, "stopped")
        audit = _Audit(tx, now, actor, NO_BUILDER, row["strategy_id"], row["portfolio_id"])
        writes = [
            audit.envelope("GOV_STRATEGY_STOPPED"),
            Write("launches", (launch_id,), {"state": "stopped", "stopped_ns": now}),
        ]
        payload = {"code": "GOV_STRATEGY_STOPPED", "strategy_id": row["strategy_id"], "reason": reason}
        seq = append(tx, now, Entry(Kind.STOP, actor, channel, launch_id, payload, "", writes))
        return Answer(True, "GOV_STRATEGY_STOPPED", launch_id, "stopped", seq)


def rescope(
    desk: Database,
    launch_id: str,
    actor: Actor,
    channel: str,
    now: int | None = None,
    *,
    condition_ids: Sequence[str] | None = None,
    ended: Collection[str] = (),
) -> Answer:
    """Resolve a running launch's scope again, after its cluster changed, its list was edited or markets ended.

    condition_ids: the new list, of a manual scope only (P2). The answer's details name what entered and what left.
    """
    now = clock(now)
    with desk.write() as tx:
        row = _launch(tx, launch_id)
        before = MarketScope.model_validate_json(row["scope"])
        if row["state"] != "running" or (condition_ids is not None and before.mode != "manual"):
            raise UsageError(
                "this scope cannot be edited", where=launch_id,
                rule="P2: a running launch, and a list only where the launch began with one",
            )  # fmt: skip
        scope = before
        if condition_ids is not None:
            scope = MarketScope(mode="manual", condition_ids=tuple(condition_ids))
        after = resolve(tx, scope, now, ended)
        old, new = set(before.resolved_condition_ids), set(after.resolved_condition_ids)
        entered = [market for market in after.resolved_condition_ids if market not in old]
        left = [market for market in before.resolved_condition_ids if market not in new]
        if not entered and not left:
            return Answer(True, "GOV_CONFIG_SAVED", launch_id, "unchanged")
        audit = _Audit(tx, now, actor, NO_BUILDER, row["strategy_id"], row["portfolio_id"])
        writes = [
            *audit.scope(after, left, entered),
            Write("launches", (launch_id,), {"scope": after.to_json().decode()}),
        ]
        payload = {"code": "GOV_CONFIG_SAVED", "entered": entered, "left": left, "envelopes": audit.made}
        seq = append(tx, now, Entry(Kind.SCOPE, actor, channel, launch_id, payload, "", writes))
        return Answer(True, "GOV_CONFIG_SAVED", launch_id, "running", seq, {"entered": entered, "left": left})


class _Audit:
    """Audit envelopes in the making, one after the other in their chain (P4)."""

    def __init__(self, tx: Transaction, now: int, actor: Actor, builder: str, strategy: str, portfolio: str):
        last = tx.row("SELECT seq, document FROM audit ORDER BY seq DESC LIMIT 1")
        self.seq = -1 if last is None else last["seq"]
        self.prev = GENESIS if last is None else orjson.loads(last["document"])["hash"]
        self.now, self.actor, self.builder = now, actor, builder
        self.subject = {"strategy_id": strategy, "portfolio_id": portfolio}
        self.made: list[str] = []

    def envelope(self, reason: str, market: str | None = None, snapshot: Mapping[str, Any] | None = None) -> Write:
        self.seq += 1
        id_ = envelope_id(self.now, "desk", self.seq)
        sealed = seal(
            {
                "envelope_id": id_, "ts": units.iso_utc(self.now), "ts_ns": self.now, "reason": reason,
                "builder_code": self.builder, "actor": self.actor.document(),
                "subject": self.subject | ({"condition_id": market} if market else {}), "scope_snapshot": snapshot,
                "seq": self.seq, "prev_hash": self.prev,
            },
            AuditEnvelope,
        )  # fmt: skip
        self.prev = sealed.hash
        self.made.append(id_)
        return Write("audit", (self.seq,), {"envelope_id": id_, "document": sealed.to_json().decode()}, new=True)

    def scope(self, after: MarketScope, left: Sequence[str], entered: Sequence[str]) -> list[Write]:
        """A receipt for every market that left or entered."""
        snapshot = {
            "mode": after.mode, "cluster_id": after.cluster_id,
            "resolved_condition_ids": list(after.resolved_condition_ids),
        }  # fmt: skip
        return [
            *(self.envelope("STRAT_MARKET_OUT_OF_SCOPE", market, snapshot) for market in left),
            *(self.envelope("STRAT_MARKET_IN_SCOPE", market, snapshot) for market in entered),
        ]


def _launch(tx: Transaction, launch_id: str) -> dict[str, Any]:
    row = tx.row("SELECT * FROM launches WHERE launch_id = :id", id=launch_id)
    if row is None:
        raise UsageError("no launch has this id", where=launch_id, mend="polytraders launches list")
    return row


def launches(desk: Database, *, running: bool = False) -> list[dict[str, Any]]:
    """Launches (or those that run), newest first, each with its scope."""
    where = "WHERE state = 'running'" if running else ""
    with desk.read() as tx:
        rows = tx.rows(f"SELECT * FROM launches {where} ORDER BY started_ns DESC, launch_id")
    return [row | {"scope": orjson.loads(row["scope"])} for row in rows]


def in_scope(desk: Database, strategy_id: str) -> frozenset[str] | None:
    """The condition ids a running strategy may trade; None when no launch of it runs."""
    with desk.read() as tx:
        row = tx.row("SELECT scope FROM launches WHERE strategy_id = :id AND state = 'running'", id=strategy_id)
    return None if row is None else frozenset(orjson.loads(row["scope"])["resolved_condition_ids"])


def audit(desk: Database) -> list[dict[str, Any]]:
    """Every audit envelope, oldest first; `contracts.verify_chain` holds over them."""
    with desk.read() as tx:
        return [orjson.loads(row["document"]) for row in tx.rows("SELECT document FROM audit ORDER BY seq")]


# ---------------------------------------------------------------------------------------------- risk layers

LAYERS = ("strategy", "portfolio", "tenant")
"""From low to high authority."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in force and the layer that says so."""

    value: Decimal
    layer: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"value": f"{self.value.normalize():f}", "layer": self.layer}


def effective_limits(
    strategy: Mapping[str, str | Decimal], portfolio: PortfolioConfig, tenant: TenantConfig
) -> dict[str, Limit]:
    """The limits that hold for a strategy: of each the tightest, and where two are equal the higher layer's (P5).

    strategy: its own limits by the names below; what it leaves out the portfolio says.

    Names (pUSD and % as numbers): position_pusd, market_pusd, category_pusd, exposure_pusd, daily_loss_pct,
    drawdown_intraday_pct, drawdown_weekly_pct, drawdown_total_pct, orders_per_hour, and for each cluster
    `cluster_gross:ID`, `cluster_net:ID`. Raises UsageError for another name of the strategy's.
    """
    if portfolio.tenant_id != tenant.tenant_id or portfolio.portfolio_id not in tenant.portfolios:
        raise UsageError("this portfolio is another tenant's", where=portfolio.portfolio_id)
    roll = Decimal(portfolio.bankroll_pusd) / 100
    middle: dict[str, Decimal] = {
        "position_pusd": roll * Decimal(portfolio.max_position_pct),
        "category_pusd": roll * Decimal(portfolio.max_category_pct),
        "exposure_pusd": roll * Decimal(portfolio.max_exposure_pct),
        "market_pusd": Decimal(portfolio.max_market_pusd),
        "daily_loss_pct": Decimal(portfolio.max_daily_loss_pct),
        "drawdown_intraday_pct": Decimal(portfolio.max_drawdown_intraday_pct),
        "drawdown_weekly_pct": Decimal(portfolio.max_drawdown_weekly_pct),
        "drawdown_total_pct": Decimal(portfolio.max_drawdown_total_pct),
        "orders_per_hour": Decimal(portfolio.max_orders_per_hour),
    }
    top: dict[str, Decimal] = {
        "exposure_pusd": Decimal(tenant.max_exposure_pusd),
        "daily_loss_pct": Decimal(tenant.max_daily_loss_pct),
        "drawdown_total_pct": Decimal(tenant.max_drawdown_total_pct),
    }
    for caps, into in ((portfolio.cluster_caps, middle), (tenant.cluster_caps, top)):
        for cap in caps:
            into[f"cluster_gross:{cap.cluster_id}"] = Decimal(cap.gross_pusd)
            into[f"cluster_net:{cap.cluster_id}"] = Decimal(cap.net_pusd)
    own = {name: Decimal(value) for name, value in strategy.items()}
    if unknown := own.keys() - middle.keys() - top.keys():
        raise UsageError(f"there is no limit {', '.join(sorted(unknown))}", rule=", ".join(middle))
    found: dict[str, Limit] = {}
    for layer, values in zip(LAYERS, (own, middle, top), strict=True):
        for name, value in values.items():
            if name not in found or value <= found[name].value:
                found[name] = Limit(value, layer)
    return dict(sorted(found.items()))


def layers_of(
    desk: Database, portfolio_id: str, strategy: Mapping[str, str | Decimal] | None = None
) -> tuple[dict[str, Limit], PortfolioConfig]:
    """`effective_limits` of a saved portfolio under its saved tenant, and the portfolio."""
    with desk.read() as tx:
        portfolio = _config(tx, "portfolio", portfolio_id)
        tenant = None if portfolio is None else _config(tx, "tenant", portfolio["owner"])
    if portfolio is None or tenant is None:
        raise UsageError("there is no such portfolio", where=portfolio_id, mend="polytraders portfolios put FILE")
    held = PortfolioConfig.model_validate_json(portfolio["document"])
    return effective_limits(strategy or {}, held, TenantConfig.model_validate_json(tenant["document"])), held


def layers_with_caps(desk: Database, portfolio_id: str) -> list[tuple[str, ClusterCap]]:
    """(layer, cap) of every cluster that a saved portfolio or its tenant caps."""
    with desk.read() as tx:
        portfolio = _config(tx, "portfolio", portfolio_id)
        tenant = None if portfolio is None else _config(tx, "tenant", portfolio["owner"])
    if portfolio is None or tenant is None:
        raise UsageError("there is no such portfolio", where=portfolio_id, mend="polytraders portfolios put FILE")
    mine = PortfolioConfig.model_validate_json(portfolio["document"]).cluster_caps
    above = TenantConfig.model_validate_json(tenant["document"]).cluster_caps
    return [*(("portfolio", cap) for cap in mine), *(("tenant", cap) for cap in above)]


PARAMETERS = {
    "position_pusd": ("risk.portfolioguard.max_position_pct", True),
    "market_pusd": ("risk.portfolioguard.max_market_pusd", False),
    "exposure_pusd": ("risk.portfolioguard.max_exposure_pct", True),
    "daily_loss_pct": ("risk.killswitch.daily_loss_pct", False),
    "drawdown_intraday_pct": ("risk.killswitch.intraday_drawdown_pct", False),
    "drawdown_weekly_pct": ("risk.killswitch.weekly_drawdown_pct", False),
    "drawdown_total_pct": ("risk.killswitch.total_drawdown_pct", False),
    "orders_per_hour": ("risk.ratelimitgovernor.orders_per_hour", False),
}
"""Limit -> (setting that enforces it in the step, whether that is in % of the bankroll)."""


def as_settings(limits: Mapping[str, Limit], portfolio: PortfolioConfig) -> dict[str, str]:
    """The settings (`Settings.with_overrides`) that make the step enforce these limits, rounded down to 4 decimals.

    Caps of clusters and categories are held by the runner (`run.bounds`).
    """
    roll = Decimal(portfolio.bankroll_pusd) / 100
    told = {"portfolio.id": portfolio.portfolio_id, "portfolio.cash_pusd": portfolio.bankroll_pusd}
    for name, (path, share) in PARAMETERS.items():
        value = limits[name].value / roll if share else limits[name].value
        told[path] = f"{value.quantize(Decimal('0.0001'), rounding='ROUND_DOWN').normalize():f}"
    return told
