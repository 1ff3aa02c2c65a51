"""`polytraders report`: a run's page, and the report in short."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of
from polytraders.cli.output import Json, print_json


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
    from rich.console import Console

    console, intents = Console(highlight=False, markup=False), told["intents"]
    console.print(f"{told['day']}, as of {told['as_of'][:19]}Z")
    ends = ", ".join(f"{count} {status.lower()}" for status, count in intents["by_status"].items())
    console.print(f"trade intents: {intents['proposed']}" + (f" ({ends})" if ends else ""))
    console.print(f"carried out: {intents['executed_pusd']} pUSD; median wait {intents['median_wait_s'] or '—'} s")
    for title, counts in (("acts of", told["persons"]), ("refused", told["refused"])):
        for name, count in counts.items():
            console.print(f"{title} {name}: {count}")
    console.print(
        f"kill switches armed: {told['switches']['armed_today']}, on now: {len(told['switches']['armed_now'])}"
    )
    console.print(f"overrides: {told['overrides_today']}")
    console.print(f"ledger: {told['ledger']['what']} ({told['ledger']['code']})")
    for run in told["runs"]:
        account = told["accounts"].get(run["run_id"], {})
        numbers = ", ".join(f"{name} {value}" for name, value in account.items())
        console.print(f"{run['run_id']} {run['mode']} {run['state']}: {numbers or 'no account told'}", soft_wrap=True)
