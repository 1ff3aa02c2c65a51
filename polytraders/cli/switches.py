"""`polytraders kill-switches` and `override`: stop trading, and change one limit for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import SUB, Json, Reason, SettingsFile, print_json, show, tell, under

if TYPE_CHECKING:
    from polytraders.store.sql import Database

switches_app = typer.Typer(help="Kill switches: what is stopped, and why.", **SUB)
override_app = typer.Typer(help="Change one limit for a time, with a reason.", **SUB)


def _market(desk: Database, name: str) -> str:
    """The condition id of a market that is named by it, or by the slug under which a run follows it.

    Who stops a market in a hurry knows its name. Raises UsageError for a slug that no run follows.
    """
    from polytraders.errors import UsageError
    from polytraders.store.desk import board

    if name.startswith("0x"):
        return name
    found = {row["name"] for row in board(desk, "markets") if row.get("slug") == name}
    if len(found) != 1:
        raise UsageError(
            "no run follows a market of this name", where=name,
            rule="a market is named by its condition id (0x...) or by its slug", mend="polytraders universe",
        )  # fmt: skip
    return str(found.pop())


@switches_app.command("list")
def list_switches(
    armed: Annotated[bool, typer.Option("--armed", help="Only those that are on.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """List the kill switches that were ever armed."""
    from polytraders.api.views import market_names, switch_words
    from polytraders.store.desk import switches

    with desk_of(database) as desk:
        found, names = switches(desk, armed=armed), market_names(desk)
    if as_json:
        print_json({"switches": found})
        return
    if not found:
        show("no kill switch is on" if armed else "no kill switch was ever armed")
    for one in sorted(found, key=lambda one: one["state"] != "armed"):  # what is on first
        what, by = switch_words(one, names)
        state, loud = ("ARMED", "ARMED") if one["state"] == "armed" else ("clear", "")
        show(under(f"{state}  {what}", 0, loud))
        show(under(one["reason"], 7), under(f"{by}; {one['switch_id']}", 7))


@switches_app.command("arm")
def arm_switch(
    scope: Annotated[str, typer.Argument(help="global, portfolio, cluster, strategy, family, bot, market or feed.")],
    target: Annotated[
        str | None, typer.Argument(help="Which one; the global switch has none. A market: its condition id or slug.")
    ] = None,
    reason: Reason = "",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Arm a kill switch: trading in its scope halts, what waits is rejected, resting orders are cancelled."""
    from polytraders.store.desk import arm

    with desk_of(database) as desk:
        target = _market(desk, target) if scope == "market" and target else target
        answer = arm(desk, scope, target, operator(desk, "risk"), "cli", reason)
    tell(answer, as_json)


@switches_app.command("clear")
def clear_switch(
    ref: Annotated[str, typer.Argument(help="Id, global, scope:target, or the trigger that armed it (DAILY_LOSS).")],
    reason: Reason = "",
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Clear a kill switch. The global one is clear when a second person has asked too."""
    from polytraders.store.desk import clear, find_switch

    scope, _, target = ref.partition(":")
    with desk_of(database) as desk:
        ref = f"market:{_market(desk, target)}" if scope == "market" and target else ref
        answer = clear(desk, find_switch(desk, ref), operator(desk, "risk"), "cli", reason)
    tell(answer, as_json)


@override_app.command("grant")
def grant_override(
    parameter: Annotated[str, typer.Argument(help="bot.parameter, such as risk.portfolioguard.max_market_pusd.")],
    value: Annotated[str, typer.Argument(help="Its value while the override holds.")],
    ttl: Annotated[int, typer.Option("--ttl", help="Seconds it holds, at most 7200.")] = 900,
    reason: Reason = "",
    portfolio: Annotated[str | None, typer.Option("--portfolio", help="Only in this portfolio.")] = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only for this strategy.")] = None,
    market: Annotated[str | None, typer.Option("--market", help="Only in this market: condition id or slug.")] = None,
    settings: SettingsFile = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Change one parameter of one bot for a time. Refused while a kill switch is on."""
    from polytraders.config import load_settings
    from polytraders.store.desk import override

    bot, _, name = parameter.rpartition(".")
    with desk_of(database) as desk:
        market = _market(desk, market) if market else None
        answer = override(
            desk, load_settings(settings), bot, name, value, ttl, operator(desk, "risk"), "cli", reason,
            portfolio_id=portfolio, strategy_id=strategy, condition_id=market,
        )  # fmt: skip
    tell(answer, as_json)


@override_app.command("list")
def list_overrides(
    all_: Annotated[bool, typer.Option("--all", help="Those that ended too.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """List the overrides in force."""
    from polytraders.api.views import market_names, override_words
    from polytraders.store.desk import expire_overrides, overrides

    with desk_of(database) as desk:
        expire_overrides(desk)
        found, names = overrides(desk, active=not all_), market_names(desk)
    if as_json:
        print_json({"overrides": found})
        return
    if not found:
        show("no limit is changed" if not all_ else "no limit was ever changed")
    for one in found:
        what, by = override_words(one, names)
        show(under(what, 0), under(one["justification"]), under(f"{by}; {one['override_id']}"))


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
    tell(answer, as_json)
