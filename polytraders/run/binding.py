"""A run and its portfolio: limits of the layers strategy, portfolio and tenant, and the launch that binds a strategy.

A portfolio that the desk has saved bounds every run that names it: of each limit the tightest holds. A live run has a
launch as well: the one that a person began, or one of its own that ends with it. What is not saved at the desk bounds
nothing: then the settings alone hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from polytraders.bots import BotMode, resolve_bot
from polytraders.errors import UsageError
from polytraders.units import money_micro

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.contracts import Actor
    from polytraders.data.markets import MarketInfo
    from polytraders.run.bounds import Cap

ENFORCING = ("risk.portfolioguard", "risk.killswitch", "risk.blacklistkeeper")
"""Bots without which a portfolio's limits and scope hold nothing back."""


@dataclass(frozen=True)
class Bound:
    """A run's settings under its portfolio, and its launch."""

    settings: Settings
    launch_id: str = ""
    strategy_id: str = ""
    mine: bool = False  # the launch was made for this run and ends with it
    scope: frozenset[str] | None = None  # condition ids, None = nothing bounds it
    limits: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> value and layer
    strategy: dict[str, str] = field(default_factory=dict)  # the lowest layer: the limits of the settings themselves

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {"launch_id": self.launch_id, "limits": self.limits, "strategy": self.strategy}


def strategy_limits(settings: Settings, bankroll: Decimal) -> dict[str, str]:
    """A strategy's own limits as its settings have them, by the names of `store.desk.portfolio`."""
    from polytraders.store.desk.portfolio import PARAMETERS

    own = {}
    for name, (path, share) in PARAMETERS.items():
        bot_id, _, parameter = path.rpartition(".")
        value = Decimal(settings.bot(bot_id).values[parameter])
        own[name] = f"{value * bankroll / 100 if share else value:f}"
    return own


def under_portfolio(desk: Any, settings: Settings, *, sends: bool) -> Bound:
    """The settings with the limits of their portfolio in force; as they are when it is not saved.

    sends: orders may leave, so what enforces the limits has to be there. Raises UsageError, ConfigError.
    """
    from polytraders.store.desk.portfolio import as_settings, configs, layers_of

    known = {one["portfolio_id"]: one for one in configs(desk, "portfolio")}
    portfolio_id = settings.portfolio.id
    if portfolio_id not in known:
        return Bound(settings)
    own = strategy_limits(settings, Decimal(known[portfolio_id]["bankroll_pusd"]))
    limits, portfolio = layers_of(desk, portfolio_id, own)
    idle = [bot_id for bot_id in ENFORCING if settings.bot(bot_id).mode is not BotMode.ENFORCED]
    if sends and idle:
        raise UsageError(
            f"the limits of {portfolio_id} would hold nothing back: {', '.join(idle)} is not enforced",
            where=settings.source, rule="a portfolio's limits are held by bots of the run",
            mend=f"set mode = enforced in [{idle[0]}]",
        )  # fmt: skip
    (tenant,) = [one for one in configs(desk, "tenant") if one["tenant_id"] == portfolio.tenant_id]
    persons = min(Decimal(tenant["two_persons_above_pusd"]), settings.approvals.two_persons_above_pusd)
    values = as_settings(limits, portfolio) | {"approvals.two_persons_above_pusd": f"{persons:f}"}
    chosen = settings.with_overrides(values, f"portfolio {portfolio_id}")
    return Bound(chosen, limits={name: limit.as_dict() for name, limit in limits.items()}, strategy=own)


def limits_now(desk: Any, bound: Bound) -> tuple[Bound, dict[str, str]]:
    """(the run with the limits that hold now, `bot.parameter` -> text of them), after its portfolio was changed."""
    from polytraders.store.desk.portfolio import PARAMETERS, as_settings, layers_of

    limits, portfolio = layers_of(desk, bound.settings.portfolio.id, bound.strategy)
    paths = {path for path, _ in PARAMETERS.values()}
    told = {path: text for path, text in as_settings(limits, portfolio).items() if path in paths}
    return replace(bound, limits={name: limit.as_dict() for name, limit in limits.items()}), told


def bind(desk: Any, settings: Settings, strategy: str, mode: str, infos: Sequence[MarketInfo], actor: Actor) -> Bound:
    """Put a run that is about to begin under its portfolio, and a live one into a launch.

    Raises UsageError when the strategy runs in another portfolio, or none of the markets is in its scope.
    """
    from polytraders.store.desk.portfolio import launch, launches, scope_of

    bound = under_portfolio(desk, settings, sends=mode == "live" and not settings.live.dry_run)
    strategy, portfolio_id = resolve_bot(strategy), settings.portfolio.id
    running = next((one for one in launches(desk, running=True) if one["strategy_id"] == strategy), None)
    if running is not None and running["portfolio_id"] != portfolio_id:
        if mode != "live":
            return bound
        raise UsageError(
            f"{strategy} runs in {running['portfolio_id']} already", where=f"--portfolio {portfolio_id}",
            rule="a strategy is bound to one portfolio at its launch: GOV_STRATEGY_ALREADY_BOUND",
            mend=f"polytraders launches stop {running['launch_id']}, then begin this run",
        )  # fmt: skip
    if running is not None:
        scope = frozenset(running["scope"]["resolved_condition_ids"])
        if not any(info.condition_id in scope for info in infos):
            raise UsageError(
                "none of these markets is in the strategy's scope", where=running["launch_id"],
                rule="a launch says which markets its strategy trades", mend="polytraders launches list",
            )  # fmt: skip
        return replace(bound, launch_id=running["launch_id"], strategy_id=strategy, scope=scope)
    if mode != "live" or not bound.limits:
        return bound
    listed = [info.condition_id for info in infos]
    done = launch(desk, strategy, portfolio_id, scope_of(None, listed), actor, "run")
    return replace(bound, launch_id=done.subject, strategy_id=strategy, mine=True, scope=frozenset(listed))


def rebind(desk: Any, bound: Bound, infos: Sequence[MarketInfo], actor: Actor) -> Bound:
    """A run that goes on: in its launch as it stands now, or, where that has ended, in a new one of its own."""
    from polytraders.store.desk.portfolio import launch, launches, scope_of

    if not bound.launch_id:
        return bound
    running = {one["launch_id"]: one for one in launches(desk, running=True)}
    if (found := running.get(bound.launch_id)) is not None:
        return replace(bound, scope=frozenset(found["scope"]["resolved_condition_ids"]))
    listed = [info.condition_id for info in infos]
    portfolio_id = bound.settings.portfolio.id
    done = launch(desk, bound.strategy_id, portfolio_id, scope_of(None, listed), actor, "run")
    if not done.ok:
        raise UsageError(
            f"{bound.strategy_id} was launched elsewhere meanwhile", where=str(done.details.get("launch_id")),
            rule="a strategy is bound to one portfolio at its launch: GOV_STRATEGY_ALREADY_BOUND",
            mend="polytraders launches list",
        )  # fmt: skip
    return replace(bound, launch_id=done.subject, mine=True, scope=frozenset(listed))


def unbind(desk: Any, bound: Bound, actor: Actor, why: str) -> None:
    """End a launch that was made for the run."""
    from polytraders.store.desk.portfolio import stop

    if bound.mine:
        stop(desk, bound.launch_id, actor, "run", why)


def caps_of(desk: Any, bound: Bound, infos: Sequence[MarketInfo]) -> tuple[Cap, ...]:
    """The caps of clusters and categories that hold for a run, those of its portfolio and those of its tenant, with
    their members as they are known now."""
    from polytraders.data.rules import category_of
    from polytraders.run.bounds import NO_CAP, Cap
    from polytraders.store.desk.portfolio import configs, layers_with_caps

    limits = bound.limits
    if not limits:
        return ()
    known = {one["cluster_id"]: one["members"] for one in configs(desk, "cluster")}
    caps = [
        Cap(
            cap.cluster_id,
            frozenset(m["condition_id"] for m in known[cap.cluster_id]) if cap.cluster_id in known else None,
            money_micro(cap.gross_pusd),
            money_micro(cap.net_pusd),
            layer,
        )
        for layer, cap in layers_with_caps(desk, bound.settings.portfolio.id)
    ]
    if (category := limits.get("category_pusd")) is not None:
        sorts: dict[str, set[str]] = {}
        for info in infos:
            sorts.setdefault(category_of(info.slug) or "other", set()).add(info.condition_id)
        most = money_micro(category["value"])
        caps += [Cap(name, frozenset(m), most, NO_CAP, category=name) for name, m in sorted(sorts.items())]
    return tuple(caps)
