"""`polytraders run`: shadow, paper and live."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json, tell_of_compiling
from polytraders.cli.runs import Set, Settings, configured


def run(
    mode: Annotated[str, typer.Option("--mode", help="shadow, paper or live.")] = "shadow",
    strategy: Annotated[str, typer.Option("--strategy", help="Bot id of the strategy.")] = "strat.maker_tight",
    portfolio: Annotated[
        str | None, typer.Option("--portfolio", help="Portfolio id; default: that of the settings.")
    ] = None,
    venue: Annotated[str, typer.Option("--venue", help="local or polymarket.")] = "polymarket",
    urls: Annotated[
        str,
        typer.Option("--venue-urls", help="A local venue: what `venue serve --json` prints, or a file with it."),
    ] = "",
    market: Annotated[list[str] | None, typer.Option("--market", help="Slug of a market. Repeatable.")] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Slug of an event: all its open markets. Repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="Most markets when none is named.")] = 10,
    confirm: Annotated[
        str | None, typer.Option("--confirm", help='What a live run asks for: "TRADE LIVE <portfolio>".')
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped or cut off.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Stop after so long; 0: when told.")] = 0,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Run what `polytraders export` made: a folder or its .zip.")
    ] = None,
    settings: Settings = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Run a strategy on live data: watch (shadow), with simulated orders (paper), or trade (live; dry by default).

    SIGTERM or Ctrl-C stop it in order: nothing opens any more, what rests is cancelled and confirmed, the log is
    flushed. --resume goes on with the same run.
    """
    tell_of_compiling()
    import getpass

    from polytraders.config import load_settings
    from polytraders.run.operate import Order, go_on, operate
    from polytraders.run.venues import URLS_VARIABLE

    urls = urls or os.environ.get(URLS_VARIABLE, "")

    def tell(told: dict[str, object]) -> None:
        if as_json:
            print_line(told)
        else:
            typer.echo(f"{told['mode']} {told['run_id']} on {len(told['markets'])} markets, in {told['folder']}")  # type: ignore[arg-type]
            typer.echo("SIGTERM or Ctrl-C stop it in order.")

    if resume:
        from polytraders.run.launch import settings_of
        from polytraders.store.runs import find_run

        folder = find_run(resume)
        summary = go_on(
            folder, settings_of(folder), urls, confirmed=confirm, seconds=seconds, tell=tell, who=getpass.getuser()
        )
    else:
        chosen = configured(load_settings(settings), set_)
        if bundle is not None:
            from polytraders.run.bundle import open_bundle

            opened = open_bundle(bundle)
            chosen, strategy = configured(opened.settings, set_), opened.strategy
        if portfolio:
            chosen = chosen.with_overrides({"portfolio.id": portfolio}, "--portfolio")
        order = Order(
            mode=mode, strategy=strategy, venue=venue, urls=urls, slugs=tuple(market or ()),
            events=tuple(event or ()), limit=limit, confirm=confirm, seconds=seconds,
            who=getpass.getuser(),
        )  # fmt: skip
        summary = operate(chosen, order, tell=tell)
    if as_json:
        print_json(summary)
    else:
        _print(summary)


def export(
    strategy: Annotated[str, typer.Argument(help="Bot id of the strategy.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the bundle.")] = Path("."),
    settings: Settings = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make a bundle of a strategy: wheel, lock and manifest, for `polytraders run --bundle` elsewhere."""
    from polytraders.config import load_settings
    from polytraders.run.bundle import export as make

    path, manifest = make(configured(load_settings(settings), set_), strategy, out)
    if as_json:
        print_json({"bundle": path, **{k: v for k, v in manifest.items() if k != "config"}})
        return
    typer.echo(f"{path}: {manifest['strategy']} of {len(manifest['bots'])} bots")
    typer.echo(f"  source {manifest['source_hash'][:16]}, configuration {manifest['config_hash'][:16]}")
    typer.echo(f"next: polytraders run --bundle {path} --mode shadow")


def print_line(told: dict[str, object]) -> None:
    """One JSON object in one line, at once: whoever started the run reads it."""
    import sys

    import orjson

    sys.stdout.write(orjson.dumps(told, default=str).decode() + "\n")
    sys.stdout.flush()


def _print(summary: dict[str, object]) -> None:
    from rich.console import Console

    console, money = Console(highlight=False), summary["account"]
    console.print(
        f"{summary['events']:,} events, {summary['orders']:,} orders, {summary['fills']:,} fills, "
        f"profit and loss {summary['pnl']} pUSD on {money['deposits']}"  # type: ignore[index]
    )
    if summary["orphans"]:
        console.print(f"[red]not confirmed to be gone: {summary['orphans']}[/red]")
    if summary["incidents"]:
        many = "s" if summary["incidents"] != 1 else ""
        console.print(f"[yellow]{summary['incidents']} incident{many}: told above, and in the log's notes[/yellow]")
    console.print(f"next: polytraders replay {summary['run_id']}, polytraders report {summary['run_id']}")
