"""`polytraders status` and `universe`: what runs, what waits, what is stopped, and which markets are followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from polytraders import units
from polytraders.cli.operator import Url, desk_of
from polytraders.cli.output import Json, print_json, show, table, under


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
        show(*_stopped(told), *_runs(told, now), *_exposure(told), *_waiting(told), *_limits(told))
    if told["switches"]:
        raise typer.Exit(1)


def _stopped(told: dict[str, Any]) -> Iterator[Any]:
    from polytraders.api.views import switch_words

    for switch in told["switches"]:
        what, by = switch_words(switch, told["names"])
        yield under(f"ARMED {what}: {switch['reason']} ({by})", 0, loud="ARMED")


def _runs(told: dict[str, Any], now: int) -> Iterator[Any]:
    from polytraders.api.views import account_words, lasting
    from polytraders.store.desk import ENDED

    ended = [run for run in told["runs"] if run["state"] in ENDED]
    if not told["runs"]:
        yield "no run has been here yet: polytraders run"
    for run in told["runs"]:
        account = told["accounts"].get(run["run_id"])
        mine = [one for one in told["positions"] if one["run_id"] == run["run_id"]]
        holds = any(float(one.get(name) or 0) for one in mine for name in ("size_shares", "value_pusd"))
        if run in ended and not holds:
            continue
        yield under("  ".join((run["run_id"], run["mode"], run["strategy_id"], run["portfolio_id"])), 0)
        heard = f"{lasting(now - run['heartbeat_ns'])} ago"
        if run in ended:
            yield under(f"{run['state']} {heard}, and it holds something")
        elif run["alive"]:
            yield under(f"{run['state']}, heard of {heard}")
        else:
            yield under(
                f"SILENT: {run['state']} when it was last heard of, {heard}; what follows is of then", loud="SILENT"
            )
        if account is not None:
            yield under(account_words(account))
        for fault in told["down"]:
            if fault["run_id"] == run["run_id"]:
                yield under(
                    f"DOWN {fault['name']}" + (f": {fault['error']}" if fault.get("error") else ""), loud="DOWN"
                )
    if ended:
        last = max(ended, key=lambda run: run["heartbeat_ns"])
        several = f"{len(ended)} runs have ended, the last" if len(ended) > 1 else "one run has ended:"
        yield under(f"{several} {last['run_id']} ({last['state']} {lasting(now - last['heartbeat_ns'])} ago)", 0)


def _exposure(told: dict[str, Any]) -> Iterator[Any]:
    worth = [f"{mode} {amount} pUSD" for mode, amount in told["exposure_pusd"].items() if units.money_micro(amount)]
    if worth:
        yield under(f"positions are worth: {', '.join(worth)}", 0)


def _waiting(told: dict[str, Any]) -> Iterator[Any]:
    yield f"waiting for an answer: {told['pending']}" + (" (polytraders intents list)" if told["pending"] else "")


def _limits(told: dict[str, Any]) -> Iterator[Any]:
    for limit in told["closest"]:
        if float(limit["used"]) == 0:
            continue
        used = f"{limit['observed']} of {limit['limit']} {limit.get('unit', '')}".rstrip()
        where = f", {limit['scope']}" if limit.get("scope") else ""
        pace = f", breached in {limit['breach_s']} s at this pace" if limit["breach_s"] else ""
        old = f" ({limit['stands']})" if limit["stands"] else ""
        yield under(f"limit {limit['name']}: {used} ({float(limit['used']):.0%}){where}{old}{pace}", 0)


def universe(
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """The markets the runs follow, and whether they may trade them."""
    import time

    from polytraders.store.desk import standing

    with desk_of(database) as desk:
        markets = standing(desk, "markets", time.time_ns(), run)
    if as_json:
        print_json({"markets": markets})
        return
    numbers = ("bid", "ask", "quality")
    shown = table("market", "status", "in scope", *numbers, right=numbers, whole=("status", "in scope"))
    for market in markets:
        scope = {True: "yes", False: "no"}.get(market.get("in_scope"), "—")
        known = [str(market.get(name) or "—") for name in numbers]
        shown.add_row(str(market.get("slug") or market["name"]), str(market.get("status", "—")).lower(), scope, *known)
    show(shown if markets else "no run follows a market")
