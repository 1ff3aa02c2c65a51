"""`polytraders kill-switches` and `override`: stop trading, and change one limit for a time."""

from __future__ import annotations

from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import SUB, Json, Reason, SettingsFile, print_json, show, table, tell

switches_app = typer.Typer(help="Kill switches: what is stopped, and why.", **SUB)
override_app = typer.Typer(help="Change one limit for a time, with a reason.", **SUB)


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
    shown = table("id", "scope", "target", "state", "trigger", "since", "firings", "reason", right=("firings",))
    for one in found:
        since = str((one["armed_at"] if one["state"] == "armed" else one["cleared_at"]) or "")[:19]
        asked = f" ({len(one['asked_to_clear'])} of 2 asked to clear)" if one["asked_to_clear"] else ""
        state = one["state"] + (asked if one["state"] == "armed" else "")
        shown.add_row(
            one["switch_id"], one["scope"], one["target"] or "", state, str(one["trigger"]), since,
            str(one["firings"]), one["reason"],
        )  # fmt: skip
    show(shown if found else "no kill switch was ever armed")


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

    with desk_of(database) as desk:
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
    tell(answer, as_json)


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
    shown = table("id", "bot", "parameter", "was", "is", "state", "until", "by", "why")
    for one in found:
        shown.add_row(
            one["override_id"], one["bot_id"], one["after"]["name"], one["before"]["value"], one["after"]["value"],
            one["state"], one["expires_at"][:19], one["requested_by"]["id"], one["justification"],
        )  # fmt: skip
    show(shown if found else "no limit is changed")


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
