"""`polytraders portfolios` and `launches`: whose money under which limits, and which strategy trades it where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import SUB, Json, Reason, print_json, show, table, tell

portfolios_app = typer.Typer(help="Tenants, portfolios, clusters and watchlists, and the limits that follow.", **SUB)
launches_app = typer.Typer(help="Strategies bound to a portfolio and a scope of markets.", **SUB)


@portfolios_app.command("put")
def put(
    file: Annotated[Path, typer.Argument(help="JSON of a TenantConfig, PortfolioConfig or Watchlist.")],
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Save a tenant, a portfolio or a watchlist."""
    from polytraders.errors import UsageError
    from polytraders.store.desk.portfolio import put_config, read_config

    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(file)) from None
    with desk_of(database) as desk:
        answer = put_config(desk, read_config(text, str(file)), operator(desk, "admin"), "cli")
    tell(answer, as_json)


@portfolios_app.command("list")
def list_configs(
    kind: Annotated[str, typer.Argument(help="tenant, portfolio, cluster or watchlist.")] = "portfolio",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """List what is saved of a kind."""
    from polytraders.store.desk.portfolio import configs

    with desk_of(database) as desk:
        found = configs(desk, kind)
    if as_json:
        print_json({kind: found})
        return
    shown = table("id", "name", "whose")
    for one in found:
        shown.add_row(one[f"{kind}_id"], one["name"], one.get("operator") or one["tenant_id"])
    show(shown if found else f"no {kind} is saved")


@portfolios_app.command("limits")
def limits(
    portfolio_id: Annotated[str, typer.Argument(help="PORT-...")],
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy-limit", metavar="NAME=VALUE", help="The strategy's own. Repeatable.")
    ] = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Show the limits in force: strategy, portfolio, tenant; no lower layer loosens a higher one."""
    from polytraders.store.desk.portfolio import as_settings, layers_of

    own = dict(pair.partition("=")[::2] for pair in strategy or ())
    with desk_of(database) as desk:
        found, portfolio = layers_of(desk, portfolio_id, own)
    if as_json:
        told = {name: limit.as_dict() for name, limit in found.items()}
        print_json({"portfolio_id": portfolio_id, "limits": told, "settings": as_settings(found, portfolio)})
        return
    shown = table("limit", "value", "said by", right=("value",))
    for name, limit in found.items():
        shown.add_row(name, limit.as_dict()["value"], limit.layer)
    show(shown)


@portfolios_app.command("clusters")
def clusters(
    recording: Annotated[str, typer.Argument(help="Recording whose markets and prices are looked at.")],
    tenant_id: Annotated[str, typer.Option("--tenant", help="Whose clusters they are.")],
    threshold: Annotated[float, typer.Option("--threshold", min=0.0, max=1.0, help="Correlation that joins.")] = 0.6,
    step: Annotated[int, typer.Option("--step", min=1, help="Seconds between two prices.")] = 60,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Build the clusters of a recording's markets, from their events and price correlation, and save them."""
    import time

    from polytraders import units
    from polytraders.contracts import Actor
    from polytraders.data.catalog import Catalog
    from polytraders.research.clusters import build_clusters, prices_of
    from polytraders.store.desk.portfolio import put_config

    session, now = Catalog().load(recording), time.time_ns()
    span = int(session.events["ts_recv"][-1] - session.events["ts_recv"][0]) if len(session.events) else 0
    found = build_clusters(
        session.markets, prices_of(session, step), tenant_id, now,
        window_days=max(1, -(-span // units.NS_PER_DAY)), threshold=threshold,
    )  # fmt: skip
    with desk_of(database) as desk:
        operator(desk, "admin")
        for cluster in found:
            put_config(desk, cluster, Actor(kind="system", id="clusters"), "cli", now)
    if as_json:
        print_json({"clusters": [cluster.document() for cluster in found]})
        return
    shown = table("cluster", "name", "markets", right=("markets",))
    for cluster in found:
        shown.add_row(cluster.cluster_id, cluster.name, str(len(cluster.members)))
    show(shown if found else "no two of its markets belong together")


@launches_app.command("list")
def list_launches(
    all_: Annotated[bool, typer.Option("--all", help="Those that were stopped too.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """List the strategies that run, their portfolio and their markets."""
    from polytraders.store.desk.portfolio import launches

    with desk_of(database) as desk:
        found = launches(desk, running=not all_)
    if as_json:
        print_json({"launches": found})
        return
    shown = table("launch", "strategy", "portfolio", "state", "scope", "markets", right=("markets",))
    for one in found:
        scope = one["scope"]
        shown.add_row(
            one["launch_id"], one["strategy_id"], one["portfolio_id"], one["state"],
            scope["cluster_id"] or "list", str(len(scope["resolved_condition_ids"])),
        )  # fmt: skip
    show(shown if found else "no strategy is launched")


@launches_app.command("start")
def start_launch(
    strategy_id: Annotated[str, typer.Argument(help="Bot id of the strategy.")],
    portfolio_id: Annotated[str, typer.Argument(help="PORT-...")],
    cluster: Annotated[str | None, typer.Option("--cluster", help="The markets: a cluster.")] = None,
    market: Annotated[list[str] | None, typer.Option("--market", help="Or these condition ids, at most 50.")] = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Bind a strategy to a portfolio and its markets, with the audit envelopes of it."""
    from polytraders.bots import resolve_bot
    from polytraders.store.desk.portfolio import launch, scope_of

    with desk_of(database) as desk:
        scope = scope_of(cluster, market or ())
        answer = launch(desk, resolve_bot(strategy_id), portfolio_id, scope, operator(desk, "admin"), "cli")
    tell(answer, as_json)


@launches_app.command("stop")
def stop_launch(
    launch_id: Annotated[str, typer.Argument(help="lau_...")],
    reason: Reason = "stopped by hand",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """End a launch; the strategy can then be launched again."""
    from polytraders.store.desk.portfolio import stop

    with desk_of(database) as desk:
        answer = stop(desk, launch_id, operator(desk, "admin"), "cli", reason)
    tell(answer, as_json)
