"""`polytraders report`: a run's page, and the report in short."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json


def report(
    run: Annotated[str, typer.Argument(help="Run id, unique beginning of one, or latest.")] = "latest",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the page; default: reports/ (in POLYTRADERS_HOME if set).")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Only the report in short; no page.")] = False,
    json_: Json = False,
) -> None:
    """Render a run's report to one HTML page that works offline, and say what is in it."""
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
