"""The desk on a terminal: `polytraders status`, `universe`, `intents`, `kill-switches`, `override`, `db`, `tokens`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import Json, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from polytraders.store.desk import Answer

_SUB = {"no_args_is_help": True, "context_settings": {"help_option_names": ["-h", "--help"]}}
intents_app = typer.Typer(help="Trade intents: what waits for your answer, and what became of it.", **_SUB)
switches_app = typer.Typer(help="Kill switches: what is stopped, and why.", **_SUB)
override_app = typer.Typer(help="Change one limit for a time, with a reason.", **_SUB)
db_app = typer.Typer(help="The desk's database.", **_SUB)
portfolios_app = typer.Typer(help="Tenants, portfolios, clusters and watchlists, and the limits that follow.", **_SUB)
launches_app = typer.Typer(help="Strategies bound to a portfolio and a scope of markets.", **_SUB)
tokens_app = typer.Typer(help="Access tokens of the HTTP interface.", **_SUB)

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, in a few words.")]
IntentRef = Annotated[str, typer.Argument(help="Id of the trade intent, or the unique beginning of one.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Configuration; default: ./settings.ini.")]


def _ago(ns: int, now: int) -> str:
    seconds = (now - ns) // 10**9
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def _print(*things: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, str))


def _told(answer: Answer, as_json: bool) -> None:
    """Print how a request ended; exit 1 when it was refused."""
    if as_json:
        print_json(answer.as_dict())
    else:
        _say(answer)
    if not answer.ok:
        raise typer.Exit(1)


def _say(answer: Answer) -> None:
    lines = [f"{answer.subject}: {answer.status}", f"{answer.message} ({answer.code})"]
    lines += [f"  {name}: {value}" for name, value in answer.details.items() if value not in ([], None, "")]
    _print("\n".join(lines))


# -- looking ------------------------------------------------------------------------------------------------------


def status(database: Url = None, as_json: Json = False) -> None:
    """What runs, what waits for an answer, what is stopped. Exit 1 = a kill switch is on."""
    import time

    from polytraders.api.views import status_view

    with desk_of(database) as desk:
        now = time.time_ns()
        told = status_view(desk, now)
    if as_json:
        print_json(told)
    else:
        _print_status(told, now)
    if told["switches"]:
        raise typer.Exit(1)


def _print_status(told: dict[str, Any], now: int) -> None:
    runs = _table("run", "mode", "strategy", "portfolio", "state", "heard", right=("heard",))
    for run in told["runs"]:
        state = run["state"] if run["alive"] or run["state"] in ("stopped", "failed") else f"{run['state']}, SILENT"
        heard = f"{_ago(run['heartbeat_ns'], now)} ago"
        runs.add_row(run["run_id"], run["mode"], run["strategy_id"], run["portfolio_id"], state, heard)
    _print(runs if told["runs"] else "no run has been here yet: polytraders run")
    for run_id, account in told["accounts"].items():
        _print(f"{run_id}: " + ", ".join(f"{name} {value}" for name, value in account.items()))
    for fault in told["down"]:
        _print(f"DOWN {fault['run_id']}: {fault['name']}")
    _print(f"waiting for an answer: {told['pending']}" + (" (polytraders intents list)" if told["pending"] else ""))
    for switch in told["switches"]:
        target = f" {switch['target']}" if switch["target"] else ""
        _print(f"ARMED {switch['scope']}{target}: {switch['reason']} ({switch['trigger']}, {switch['armed_at'][:19]}Z)")
    for limit in told["closest"]:
        _print(f"limit {limit['name']}: {limit['observed']} of {limit['limit']} {limit.get('unit', '')}".rstrip())


def universe(
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """The markets the runs follow, and whether they may trade them."""
    from polytraders.store.desk import board

    with desk_of(database) as desk:
        markets = board(desk, "markets", run)
    if as_json:
        print_json({"markets": markets})
        return
    table = _table("market", "status", "in scope", "bid", "ask", "quality", right=("bid", "ask", "quality"))
    for market in markets:
        shown = [str(market.get(name, "—")) for name in ("bid", "ask", "quality")]
        scope = {True: "yes", False: "no"}.get(market.get("in_scope"), "—")
        table.add_row(str(market.get("slug") or market["name"]), str(market.get("status", "—")), scope, *shown)
    _print(table if markets else "no run follows a market")


# -- trade intents ------------------------------------------------------------------------------------------------


@intents_app.command("list")
def list_intents(
    all_: Annotated[bool, typer.Option("--all", help="Those that have their end too.")] = False,
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most of them.")] = 100,
    database: Url = None,
    as_json: Annotated[bool, typer.Option("--json", "--json-output", help="Print one JSON object.")] = False,
) -> None:
    """List what waits for an answer, newest first."""
    import time

    from polytraders import units
    from polytraders.store.desk import expire, intents

    with desk_of(database) as desk:
        expire(desk)
        found = intents(desk, () if all_ else ("PENDING",), run_id=run, limit=limit)
    if as_json:
        print_json({"intents": found})
        return
    now = time.time_ns()
    table = _table("id", "type", "side", "pUSD", "price", "edge bps", "status", "left", right=("pUSD", "price", "left"))
    for one in found:
        left = f"{(one['expires_ns'] - now) // units.NS_PER_S} s" if one["status"] == "PENDING" else ""
        persons = f" {one['given']}/{one['needed']}" if one["needed"] > 1 and one["status"] == "PENDING" else ""
        table.add_row(
            one["trade_intent_id"],
            one["type"],
            f"{one['side']} {one['outcome']}".strip(),
            units.money_text(one["notional_micro"]),
            "" if one["price_shown"] is None else units.price_text(one["price_shown"]),
            one["document"]["edge_bps"] or "",
            one["status"] + persons,
            left,
        )
    _print(table if found else "nothing waits for an answer")


@intents_app.command("show")
def show_intent(ref: IntentRef, database: Url = None, as_json: Json = False) -> None:
    """Show one trade intent whole: order, reason, edge, risk checks, answers."""
    import time

    from polytraders.api.views import intent_lines, market_names
    from polytraders.store.desk import find, intent

    with desk_of(database) as desk:
        one, names = intent(desk, find(desk, ref)), market_names(desk)
    if as_json:
        print_json(one)
    else:
        _print("\n".join(f"{name + ':':<14}{value}" for name, value in intent_lines(one, time.time_ns(), names)))


@intents_app.command("approve")
def approve_intent(
    refs: Annotated[list[str], typer.Argument(help="Ids of trade intents, or the beginnings of them.")],
    shown: Annotated[str | None, typer.Option("--hash", help="Approve only what has this shown_hash.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="A word for the record.")] = None,
    settings: SettingsFile = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Approve trade intents. Exit 1 = an approval does not count; its answer says why.

    Several are judged each by itself, and put down together.
    """
    from polytraders.config import load_settings
    from polytraders.errors import UsageError
    from polytraders.store.desk import approve_many, find

    if shown is not None and len(refs) > 1:
        raise UsageError("a hash belongs to one trade intent", where="--hash", mend="name one trade intent with it")
    with desk_of(database) as desk:
        person, policy = operator(desk, "approve"), load_settings(settings).approvals
        ids = [find(desk, ref) for ref in refs]
        hashes = {} if shown is None else {ids[0]: shown}
        answers = approve_many(desk, ids, person, "cli", policy, shown=hashes, comment=comment)
    if len(answers) == 1:
        _told(answers[0], as_json)
        return
    if as_json:
        print_json({"answers": [answer.as_dict() for answer in answers]})
    else:
        for answer in answers:
            _say(answer)
    if not all(answer.ok for answer in answers):
        raise typer.Exit(1)


@intents_app.command("reject")
def reject_intent(
    ref: IntentRef, reason: Reason = "rejected by hand", database: Url = None, as_json: Json = False
) -> None:
    """Reject a trade intent."""
    from polytraders.store.desk import find, reject

    with desk_of(database) as desk:
        answer = reject(desk, find(desk, ref), operator(desk, "approve"), "cli", reason)
    _told(answer, as_json)


@intents_app.command("expire")
def expire_intents(database: Url = None, as_json: Json = False) -> None:
    """Close every trade intent whose time is over. Runs do it too; this is for when none runs."""
    from polytraders.store.desk import expire

    with desk_of(database) as desk:
        closed = expire(desk)
    print_json({"expired": closed}) if as_json else _print(f"expired: {len(closed)}", *closed)


# -- kill switches and overrides ----------------------------------------------------------------------------------


@switches_app.command("list")
def list_switches(
    armed: Annotated[bool, typer.Option("--armed", help="Only those that are on.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """List the kill switches that were ever armed."""
    from polytraders.store.desk import switches

    with desk_of(database) as desk:
        found = switches(desk, armed=armed)
    if as_json:
        print_json({"switches": found})
        return
    table = _table("id", "scope", "target", "state", "trigger", "since", "firings", "reason", right=("firings",))
    for one in found:
        since = str((one["armed_at"] if one["state"] == "armed" else one["cleared_at"]) or "")[:19]
        asked = f" ({len(one['asked_to_clear'])} of 2 asked to clear)" if one["asked_to_clear"] else ""
        state = one["state"] + (asked if one["state"] == "armed" else "")
        table.add_row(
            one["switch_id"], one["scope"], one["target"] or "", state, str(one["trigger"]), since,
            str(one["firings"]), one["reason"],
        )  # fmt: skip
    _print(table if found else "no kill switch was ever armed")


@switches_app.command("arm")
def arm_switch(
    scope: Annotated[str, typer.Argument(help="global, portfolio, cluster, strategy, family, bot, market or feed.")],
    target: Annotated[str | None, typer.Argument(help="Which one; the global switch has none.")] = None,
    reason: Reason = "",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Arm a kill switch: trading in its scope halts, what waits is rejected, resting orders are cancelled."""
    from polytraders.store.desk import arm

    with desk_of(database) as desk:
        answer = arm(desk, scope, target, operator(desk, "risk"), "cli", reason)
    _told(answer, as_json)


@switches_app.command("clear")
def clear_switch(
    ref: Annotated[str, typer.Argument(help="Id, global, scope:target, or the trigger that armed it (DAILY_LOSS).")],
    reason: Reason = "",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Clear a kill switch. The global one is clear when a second person has asked too."""
    from polytraders.store.desk import clear, find_switch

    with desk_of(database) as desk:
        answer = clear(desk, find_switch(desk, ref), operator(desk, "risk"), "cli", reason)
    _told(answer, as_json)


@override_app.command("grant")
def grant_override(
    parameter: Annotated[str, typer.Argument(help="bot.parameter, such as risk.portfolioguard.max_market_pusd.")],
    value: Annotated[str, typer.Argument(help="Its value while the override holds.")],
    ttl: Annotated[int, typer.Option("--ttl", help="Seconds it holds, at most 7200.")] = 900,
    reason: Reason = "",
    portfolio: Annotated[str | None, typer.Option("--portfolio", help="Only in this portfolio.")] = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only for this strategy.")] = None,
    market: Annotated[str | None, typer.Option("--market", help="Only in this market (condition id).")] = None,
    settings: SettingsFile = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Change one parameter of one bot for a time. Refused while a kill switch is on."""
    from polytraders.config import load_settings
    from polytraders.store.desk import override

    bot, _, name = parameter.rpartition(".")
    with desk_of(database) as desk:
        answer = override(
            desk, load_settings(settings), bot, name, value, ttl, operator(desk, "risk"), "cli", reason,
            portfolio_id=portfolio, strategy_id=strategy, condition_id=market,
        )  # fmt: skip
    _told(answer, as_json)


@override_app.command("list")
def list_overrides(
    all_: Annotated[bool, typer.Option("--all", help="Those that ended too.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """List the overrides in force."""
    from polytraders.store.desk import expire_overrides, overrides

    with desk_of(database) as desk:
        expire_overrides(desk)
        found = overrides(desk, active=not all_)
    if as_json:
        print_json({"overrides": found})
        return
    table = _table("id", "bot", "parameter", "was", "is", "state", "until", "by", "why")
    for one in found:
        table.add_row(
            one["override_id"], one["bot_id"], one["after"]["name"], one["before"]["value"], one["after"]["value"],
            one["state"], one["expires_at"][:19], one["requested_by"]["id"], one["justification"],
        )  # fmt: skip
    _print(table if found else "no limit is changed")


@override_app.command("end")
def end_an_override(
    override_id: Annotated[str, typer.Argument(help="OVR-...")],
    reason: Reason = "ended by hand",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """End an override before its time."""
    from polytraders.store.desk import end_override

    with desk_of(database) as desk:
        answer = end_override(desk, override_id, operator(desk, "risk"), "cli", reason)
    _told(answer, as_json)


# -- the database ---------------------------------------------------------------------------------------------------


@db_app.command("init")
def db_init(database: Url = None, as_json: Json = False) -> None:
    """Make the desk's database. Does nothing to one that is there."""
    _upgrade(database, as_json)


@db_app.command("upgrade")
def db_upgrade(database: Url = None, as_json: Json = False) -> None:
    """Bring the desk's database up to this program's version."""
    _upgrade(database, as_json)


def _upgrade(url: str | None, as_json: bool) -> None:
    from polytraders.store.desk.schema import MIGRATIONS, PART
    from polytraders.store.sql import Database, upgrade

    desk = Database(url)
    try:
        before, after = upgrade(desk, PART, MIGRATIONS)
    finally:
        desk.close()
    if as_json:
        print_json({"database": desk.shown, "version_before": before, "version": after})
    else:
        done = "made" if not before else f"brought from version {before} up" if before < after else "as it should be"
        _print(f"{desk.shown}: {done} (version {after})")


@db_app.command("check")
def db_check(
    runs: Annotated[bool, typer.Option("--runs/--no-runs", help="Check the receipts of every run too.")] = True,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Look for damage, row by row. Exit 5 = there is some; every fault is named."""
    from polytraders.errors import DamageError
    from polytraders.store.desk import Fault, check
    from polytraders.store.envelopes import store_path, verify_chain
    from polytraders.store.runs import list_runs
    from polytraders.store.sql import Database

    desk = Database(database)
    try:
        faults = check(desk)
    finally:
        desk.close()
    for folder in list_runs() if runs else ():
        verdict = verify_chain(store_path(), folder.name)
        if verdict is not None and not verdict.ok:
            faults.append(Fault("receipts", folder.name, verdict.message))
    if as_json:
        print_json({"database": desk.shown, "ok": not faults, "faults": [fault.as_dict() for fault in faults]})
    elif not faults:
        _print(f"{desk.shown}: intact")
    else:
        table = _table("kind", "where", "what")
        for fault in faults:
            table.add_row(fault.kind, fault.where, fault.what)
        _print(table)
    if faults:
        raise typer.Exit(DamageError.exit_code)


@db_app.command("rebuild")
def db_rebuild(
    runs: Annotated[bool, typer.Option("--runs/--no-runs", help="Project the receipts of every run again.")] = True,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Make the tables again: the desk's from its chain of actions, the receipts from the run logs."""
    from polytraders.cli.output import progress_bar
    from polytraders.errors import PolytradersError
    from polytraders.store.desk import rebuild
    from polytraders.store.envelopes import project
    from polytraders.store.runs import list_runs

    with desk_of(database) as desk:
        tables = rebuild(desk)
    projected: dict[str, int] = {}
    failed: dict[str, str] = {}
    for folder in list_runs() if runs else ():
        try:
            with progress_bar(f"receipts of {folder.name}", "rows") as watch:
                projected[folder.name] = project(folder, progress=watch).written
        except PolytradersError as error:
            failed[folder.name] = error.what
    if as_json:
        print_json({"tables": tables, "runs": projected, "failed": failed})
    else:
        _print("; ".join(f"{table} {rows}" for table, rows in tables.items()))
        _print(*(f"{run}: {written} receipts" for run, written in projected.items()))
        _print(*(f"{run}: NOT projected, {why}" for run, why in failed.items()))
    if failed:
        raise typer.Exit(5)


# -- portfolios and launches -------------------------------------------------------------------------------------------


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
    _told(answer, as_json)


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
    table = _table("id", "name", "whose")
    for one in found:
        table.add_row(one[f"{kind}_id"], one["name"], one.get("operator") or one["tenant_id"])
    _print(table if found else f"no {kind} is saved")


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
    table = _table("limit", "value", "said by", right=("value",))
    for name, limit in found.items():
        table.add_row(name, limit.as_dict()["value"], limit.layer)
    _print(table)


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
    table = _table("cluster", "name", "markets", right=("markets",))
    for cluster in found:
        table.add_row(cluster.cluster_id, cluster.name, str(len(cluster.members)))
    _print(table if found else "no two of its markets belong together")


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
    table = _table("launch", "strategy", "portfolio", "state", "scope", "markets", right=("markets",))
    for one in found:
        scope = one["scope"]
        table.add_row(
            one["launch_id"], one["strategy_id"], one["portfolio_id"], one["state"],
            scope["cluster_id"] or "list", str(len(scope["resolved_condition_ids"])),
        )  # fmt: skip
    _print(table if found else "no strategy is launched")


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
    _told(answer, as_json)


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
    _told(answer, as_json)


# -- tokens -----------------------------------------------------------------------------------------------------------


@tokens_app.command("create")
def create(
    owner: Annotated[str, typer.Argument(help="The person it stands for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="read, approve, risk or admin. Repeatable.")],
    days: Annotated[int, typer.Option("--days", min=1, max=3_650, help="Days until it expires.")] = 90,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Make a token. It is shown this once and cannot be had again."""
    from polytraders.store.desk.access import create_token

    with desk_of(database) as desk:
        token_id, token = create_token(desk, owner, scope, operator(desk, "admin"), days=days)
    if as_json:
        print_json({"token_id": token_id, "owner": owner, "scopes": scope, "token": token})
    else:
        _print(token)
        typer.echo(f"token {token_id} of {owner}: {', '.join(scope)}; keep it now, it is not shown again", err=True)


@tokens_app.command("list")
def list_tokens(database: Url = None, as_json: Json = False) -> None:
    """List the tokens that were made, without what opens anything."""
    from polytraders.store.desk.access import tokens
    from polytraders.units import iso_utc

    with desk_of(database) as desk:
        found = tokens(desk)
    if as_json:
        print_json({"tokens": found})
        return
    table = _table("id", "owner", "scopes", "made", "expires", "revoked")
    for one in found:
        times = [iso_utc(one[n])[:19] if one[n] else "" for n in ("created_ns", "expires_ns", "revoked_ns")]
        table.add_row(one["token_id"], one["owner"], " ".join(one["scopes"]), *times)
    _print(table if found else "there are no tokens")


@tokens_app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Id, as `tokens list` shows it.")],
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Revoke a token at once."""
    from polytraders.store.desk.access import revoke_token

    with desk_of(database) as desk:
        done = revoke_token(desk, token_id, operator(desk, "admin"))
    print_json({"token_id": token_id, "revoked": done}) if as_json else _print(
        f"{token_id}: revoked" if done else f"{token_id}: was revoked before"
    )
