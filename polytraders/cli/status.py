"""`polytraders status` and `universe`: what runs, what waits, what is stopped, and which markets are followed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polytraders.cli.operator import Url, desk_of
from polytraders.cli.output import Json, print_json, show, table

ACCOUNT_FIRST = ("equity", "pnl_day", "pnl")
ACCOUNT_WORDS = {
    "pnl_day": "profit today", "pnl": "profit in all", "reserved": "behind orders", "unsettled": "not settled",
    "marked": "positions", "receivable": "owed to us", "deposits": "put in", "fees": "fees paid",
}  # fmt: skip
"""The account's fields in words, and which come first."""


def _ago(ns: int, now: int) -> str:
    seconds = (now - ns) // 10**9
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


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
    runs = table("run", "mode", "strategy", "portfolio", "state", "heard", right=("heard",))
    for run in told["runs"]:
        state = run["state"] if run["alive"] or run["state"] in ("stopped", "failed") else f"{run['state']}, SILENT"
        heard = f"{_ago(run['heartbeat_ns'], now)} ago"
        runs.add_row(run["run_id"], run["mode"], run["strategy_id"], run["portfolio_id"], state, heard)
    show(runs if told["runs"] else "no run has been here yet: polytraders run")
    for run_id, account in told["accounts"].items():
        money = sorted(account.items(), key=lambda item: (item[0] not in ACCOUNT_FIRST, item[0]))
        told_of = [f"{ACCOUNT_WORDS.get(name, name)} {value}" for name, value in money if value not in ("0", None)]
        show(f"{run_id}: {', '.join(told_of)} pUSD" if told_of else f"{run_id}: nothing in its account")
    for fault in told["down"]:
        show(f"DOWN {fault['run_id']}: {fault['name']}" + (f", {fault['error']}" if fault.get("error") else ""))
    show(f"waiting for an answer: {told['pending']}" + (" (polytraders intents list)" if told["pending"] else ""))
    for switch in told["switches"]:
        name = told["names"].get(switch["target"])
        target = f" {switch['target']}" + (f" ({name})" if name else "") if switch["target"] else ""
        show(f"ARMED {switch['scope']}{target}: {switch['reason']} ({switch['trigger']}, {switch['armed_at'][:19]}Z)")
    for limit in told["closest"]:
        used = f"{limit['observed']} of {limit['limit']} {limit.get('unit', '')}".rstrip()
        show(f"limit {limit['name']}: {used} ({float(limit['used']):.0%})")


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
    shown = table("market", "status", "in scope", "bid", "ask", "quality", right=("bid", "ask", "quality"))
    for market in markets:
        numbers = [str(market.get(name, "—")) for name in ("bid", "ask", "quality")]
        scope = {True: "yes", False: "no"}.get(market.get("in_scope"), "—")
        shown.add_row(str(market.get("slug") or market["name"]), str(market.get("status", "—")), scope, *numbers)
    show(shown if markets else "no run follows a market")
