"""`polytraders backtest`, `replay`, `compare` and `runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json, progress_bar, tell_of_compiling

Settings = Annotated[
    Path | None, typer.Option("--settings", help="Configuration; default: POLYTRADERS_SETTINGS, else ./settings.ini.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One value for this run only. Repeatable."),
]


def backtest(
    recording: Annotated[str, typer.Argument(help="Name of a recording, as `polytraders data ls` lists it.")],
    strategy: Annotated[str, typer.Option("--strategy", help="Bot id of the strategy.")] = "strat.maker_tight",
    market: Annotated[
        list[str] | None, typer.Option("--market", help="Only this market: slug or condition id. Repeatable.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="First receive time, ISO 8601 UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Receive time before which to stop, ISO 8601 UTC.")] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Only the desk's cluster, as it was on each day.")
    ] = None,
    settings: Settings = None,
    set_: Set = None,
    report: Annotated[bool, typer.Option("--report", help="Render the report when done.")] = False,
    envelopes: Annotated[bool, typer.Option("--envelopes", help="Project the receipts into the store.")] = False,
    band: Annotated[
        str | None, typer.Option("--band", metavar="CALIBRATION", help="Trade its low, central and high fill models.")
    ] = None,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Keep a run log (replay, trace and report need it).")
    ] = True,
    as_json: Json = False,
) -> None:
    """Trade a recording through the whole pipeline: intel, discovery, strategy, risk, execution, simulated venue."""
    tell_of_compiling()
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.errors import UsageError
    from polytraders.run.backtest import run_backtest

    if (report or envelopes or band) and not log:
        raise UsageError("--report, --envelopes and --band need the run log", mend="leave out --no-log")
    window = window_of(start, end)
    chosen = configured(load_settings(settings), set_)
    session = Catalog().load(recording, markets=market, **window)
    if cluster:
        from polytraders.run.scope import scoped
        from polytraders.store.desk import open_desk

        with open_desk() as desk:
            session = scoped(desk, session, cluster)
    extra: dict[str, object] = {}
    with progress_bar("backtest") as watch:
        if band:
            result, extra["band"] = _banded(session, chosen, band, strategy=strategy, progress=watch)
        else:
            result = run_backtest(session, chosen, strategy=strategy, log=log, progress=watch)
    if envelopes:
        from polytraders.store.envelopes import project, store_path

        with progress_bar("receipts", "rows") as watch:
            extra["envelopes"] = project(result.folder, store_path(), progress=watch).written
    if report:
        from polytraders.report.render import render

        extra["report"] = str(render(result.folder))
    if as_json:
        print_json(
            {"run_id": result.run_id, "folder": result.folder, "recording": session.name, **result.summary, **extra}
        )
        return
    _print_run(result, session, extra)


def _banded(session, settings, name, **options):
    from polytraders.research.calibrate import load_calibration
    from polytraders.run.band import run_band

    calibration, digest = load_calibration(name)
    result, band = run_band(session, settings, calibration["band"], {"calibration": name, "sha256": digest}, **options)
    kept = ("settings", "pnl", "fills")
    return result, {case: {key: told[key] for key in kept} for case, told in band["cases"].items()}


def window_of(start: str | None, end: str | None) -> dict[str, int | None]:
    """`--from` and `--to` as the catalog takes them, ns. Raises UsageError for what is no time."""
    from polytraders.errors import UsageError
    from polytraders.units import UnitError, ns_from_iso

    try:
        return {"start": ns_from_iso(start) if start else None, "end": ns_from_iso(end) if end else None}
    except (UnitError, ValueError) as error:
        raise UsageError(
            f"cannot read the time: {error}", where="--from / --to", mend="write 2026-04-16T09:10:00Z"
        ) from None


def configured(settings, pairs):
    """The settings with every `--set SECTION.KEY=VALUE` in force."""
    from polytraders.errors import UsageError

    values = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign:
            raise UsageError(
                f"--set {pair} sets nothing",
                rule="--set SECTION.KEY=VALUE",
                mend="such as --set engine.full_panel=true",
            )
        values[key.strip()] = value.strip()
    return settings.with_overrides(values) if values else settings


def _print_run(result, session, extra) -> None:
    from rich.console import Console
    from rich.table import Table

    from polytraders.reasons import by_number

    summary, console = result.summary, Console(highlight=False)
    console.print(f"[bold]BACKTEST[/bold] {result.run_id} on {session.name}")
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    money = summary["account"]
    for name, value in (
        ("events", f"{summary['events']:,}"),
        ("decisions", f"{summary['decisions']:,}"),
        ("intents", f"{summary['intents']:,}"),
        (
            "orders sent / refused / cancelled",
            f"{summary['orders']:,} / {summary['rejects']:,} / {summary['cancels']:,}",
        ),
        ("fills", f"{summary['fills']:,}"),
        ("fees paid", f"{summary['fees']} pUSD"),
        ("rebates accrued, not yet paid", f"{summary['rebates']} pUSD"),
        ("positions at mid", f"{money['marked']} pUSD"),
        ("profit and loss", f"{summary['pnl']} pUSD on {money['deposits']}"),
        *(
            (f"  {case}", f"{told['pnl']} pUSD, {told['fills']:,} fills")
            for case, told in extra.get("band", {}).items()
        ),
        ("speed", f"{summary['events_per_second']:,} events/s"),
    ):
        table.add_row(name, value)
    console.print(table)
    if summary["halted"]:
        console.print(f"[red]The kill switch is latched: {by_number(summary['halted']).user_message}[/red]")
    for note in session.notes:
        console.print(f"  [dim]- {note}[/dim]")
    if "envelopes" in extra:
        console.print(f"receipts written: {extra['envelopes']:,}")
    if "report" in extra:
        console.print(f"report: {extra['report']}", soft_wrap=True)
    elif result.folder:
        console.print(f"next: polytraders report {result.run_id}", soft_wrap=True)


def replay(
    run: Annotated[str, typer.Argument(help="Run id, unique beginning of one, or latest.")] = "latest",
    as_json: Json = False,
) -> None:
    """Derive every decision of a run again from its log alone, and compare. Exit 1 = they differ.

    What it came to is kept in the run's folder, as replay.json (contract ReplayReport).
    """
    tell_of_compiling()
    from polytraders.run.replay import keep
    from polytraders.run.replay import replay as derive
    from polytraders.store.runs import find_run

    folder = find_run(run)
    with progress_bar("replay") as watch:
        result = derive(folder, watch)
    keep(folder, result)
    if as_json:
        print_json(result.as_dict() | {"report": result.report})
    else:
        _print_replay(result)
    if not result.ok:
        raise typer.Exit(1)


def _print_replay(result) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]REPLAY[/bold] {result.run_id}")
    table = Table("bot", box=None, pad_edge=False)
    table.add_column("decision rows that agree", justify="right")
    table.add_column("hash over all decisions", justify="right")
    for bot, parity in result.per_bot.items():
        same = result.hashes.get(bot)
        table.add_row(bot, f"{parity:.2%}", "equal" if same else "no summary" if same is None else "[red]differs[/red]")
    console.print(table)
    rows = ", ".join(f"{count:,} {kind}" for kind, count in result.counts.items())
    console.print(f"parity {result.parity:.6f} over {rows}; {result.seconds:.1f} s")
    if result.first_mismatch:
        console.print(f"[red]first difference: {result.first_mismatch}[/red]", soft_wrap=True)
    if not result.same_source:
        console.print(
            "[yellow]The kernels' sources are not those of the run: a difference may be a change of code.[/yellow]"
        )


def compare(
    run: Annotated[str, typer.Argument(help="Run id, unique beginning of one, or latest.")] = "latest",
    recording: Annotated[
        str | None,
        typer.Option("--recording", help="Take the market's events from this recording, not from the run's log."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every difference, not only the causes.")] = False,
    as_json: Json = False,
) -> None:
    """Backtest the day that a run on live data saw, and explain every difference. Exit 1 = something is unexplained."""
    tell_of_compiling()
    from polytraders.run.compare import compare as lay_beside
    from polytraders.store.runs import find_run

    with progress_bar("compare") as watch:
        found = lay_beside(find_run(run), recording, watch)
    if as_json:
        print_json(found.as_dict())
    else:
        _print_comparison(found.as_dict(), every)
    if not found.ok:
        raise typer.Exit(1)


def _print_comparison(told, every) -> None:
    from rich.console import Console
    from rich.table import Table

    console, replayed = Console(highlight=False), told["replay"]
    console.print(f"[bold]COMPARE[/bold] {told['run_id']} ({told['run_mode']}) with a backtest of {told['recording']}")
    colour = "green" if replayed["ok"] else "red"
    console.print(f"[{colour}]replay of the run's own log: parity {replayed['parity']:.6f}[/{colour}]")
    totals = Table("", box=None, pad_edge=False)
    for side in told["totals"]:
        totals.add_column({"live": "the run"}.get(side, side), justify="right")
    totals.add_column("the same in both", justify="right")
    for name in next(iter(told["totals"].values())):
        values = [str(of[name]) for of in told["totals"].values()]
        totals.add_row(name, *values, str(told["same"].get(name, "")))
    console.print(totals)
    if not told["differences"]:
        console.print("[green]no difference[/green]")
        return
    kinds = ("input", "decision", "order", "answer", "fill")
    table = Table("cause", box=None, pad_edge=False)
    for heading in (*kinds, "money pUSD", "first"):
        table.add_column(heading, justify="right")
    for row in told["causes"]:
        counts = [f"{row['counts'][kind]:,}" if kind in row["counts"] else "" for kind in kinds]
        name = f"[bold red]{row['cause']}[/bold red]" if row["cause"] == "unexplained" else row["cause"]
        table.add_row(name, *counts, row["money"], (row["first"] or "")[11:23])
    console.print(table)
    for row in told["causes"]:
        console.print(f"  [dim]{row['cause']}: {row['meaning']}[/dim]", soft_wrap=True)
    if first := told["first_parting"]:
        console.print(f"they part at {first['time']} in {first['market'] or 'the whole run'}: {first['meaning']}")
        for side in ("live", "backtest"):
            said = ", ".join(f"{one['bot']} {one['code']}" for one in first[side]) or "nothing"
            console.print(f"  {'the run' if side == 'live' else 'the backtest'}: {said}", soft_wrap=True)
    for one in told["differences"]:
        loud = one["cause"] == "unexplained"
        if every or loud:
            line = f"{(one['time'] or '')[11:23]} {one['market'] or 'run'} {one['what']} {one['cause']}: {one['why']}"
            console.print(f"[bold red]{line}[/bold red]" if loud else line, soft_wrap=True)
    for note in told["notes"]:
        console.print(f"  [dim]- {note}[/dim]", soft_wrap=True)
    if told["unexplained"]:
        console.print(f"[bold red]{told['unexplained']} differences that nothing in the log explains[/bold red]")


def list_(as_json: Json = False) -> None:
    """List the runs, the newest first."""
    from polytraders.store.log import read_log
    from polytraders.store.runs import list_runs, runs_root

    rows = []
    for folder in list_runs():
        log = read_log(folder)
        summary = log.summary or {}
        rows.append(
            {
                "run_id": log.manifest["run_id"],
                "strategy": log.manifest["strategy"],
                "recording": log.manifest["pins"].get("recording", ""),
                "closed": log.summary is not None,
                **{key: summary.get(key) for key in ("events", "fills", "pnl")},
            }
        )
    if as_json:
        print_json({"runs_root": runs_root(), "runs": rows})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Runs in {runs_root()}", title_justify="left")
    for heading in ("run", "strategy", "recording"):
        table.add_column(heading)
    for heading in ("events", "fills", "PnL pUSD"):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = [f"{row[k]:,}" if row[k] is not None else "open" for k in ("events", "fills")]
        table.add_row(row["run_id"], row["strategy"], row["recording"], *numbers, row["pnl"] or "—")
    Console(highlight=False).print(table)
