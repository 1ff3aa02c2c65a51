"""`polytraders report`: a run's page, and the report in short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from polytraders.cli.operator import Url, desk_of
from polytraders.cli.output import Json, print_json, show, under


def report(
    run: Annotated[str, typer.Argument(help="Run id, unique beginning of one, or latest.")] = "latest",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the page; default: reports/ (in POLYTRADERS_HOME if set).")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Only the report in short; no page.")] = False,
    today: Annotated[bool, typer.Option("--today", help="The desk's day instead: proposals, answers, stops.")] = False,
    day: Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="Another day of the desk.")] = None,
    database: Url = None,
    json_: Json = False,
) -> None:
    """Render a run's report to one HTML page that works offline, and say what is in it."""
    if today or day:
        _daily(day, database, json_)
        return
    from polytraders.report.analysis import load
    from polytraders.report.render import render
    from polytraders.store.runs import find_run

    folder = find_run(run)
    page = None if text else render(folder, out)
    told = load(folder)
    if json_:
        from polytraders.report.text import summary

        print_json({"report": page} | summary(told))
    else:
        from rich.console import Console

        from polytraders.report.text import summary_text

        console = Console(highlight=False)
        console.print(summary_text(told))
        if page:
            console.print(f"\nreport: {page}", soft_wrap=True)
    if open_ and page:
        typer.launch(str(page))


def _daily(day: str | None, database: str | None, as_json: bool) -> None:
    from polytraders.errors import UsageError
    from polytraders.report.daily import daily_report

    try:
        with desk_of(database) as desk:
            told = daily_report(desk, day=day)
    except ValueError:
        raise UsageError(f"{day} is no day", where="--day", mend="write 2026-06-01") from None
    if as_json:
        print_json(told)
        return
    show(*_day_lines(told))


def _day_lines(told: dict[str, Any]) -> Iterator[Any]:
    from polytraders.api.views import account_words, clock_text

    intents, switches = told["intents"], told["switches"]
    yield f"{told['day']}, as of {clock_text(told['as_of'])}"
    ends = ", ".join(f"{count} {status.lower()}" for status, count in intents["by_status"].items())
    yield under(f"trade intents: {intents['proposed']}" + (f" ({ends})" if ends else ""), 0)
    wait = f"; an answer took {intents['median_wait_s']} s (median)" if intents["median_wait_s"] else ""
    yield f"carried out: {intents['executed_pusd']} pUSD{wait}"
    for title, counts in (("acts of", told["persons"]), ("refused", told["refused"])):
        for name, count in counts.items():
            yield f"{title} {name}: {count}"
    yield f"kill switches armed: {switches['armed_today']}, on now: {len(switches['armed_now'])}"
    yield f"overrides: {told['overrides_today']}"
    yield under(f"ledger: {told['ledger']['what']} ({told['ledger']['code']})", 0)
    for run in told["runs"]:
        silent = "" if run["alive"] or run["state"] in ("stopped", "failed") else ", SILENT"
        heard = "" if run["alive"] else f" since {clock_text(run['heard_at'])}"
        yield under(f"{run['run_id']}  {run['mode']}  {run['strategy_id']}  {run['portfolio_id']}", 0)
        account = told["accounts"].get(run["run_id"])
        yield under(f"{run['state']}{silent}{heard}: {account_words(account) if account else 'no account told'}")
    if not told["runs"]:
        yield "no run was heard of on this day"
