"""`polytraders sweep`, `walk-forward` and `lookahead`."""

from __future__ import annotations

from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json, progress_bar, tell_of_compiling
from polytraders.cli.runs import Set, Settings, configured, window_of

Strategy = Annotated[str, typer.Argument(help="Bot id of the strategy.")]
Market = Annotated[list[str] | None, typer.Option("--market", help="Only this market: slug or id. Repeatable.")]
From = Annotated[str | None, typer.Option("--from", help="First receive time, ISO 8601 UTC.")]
To = Annotated[str | None, typer.Option("--to", help="Receive time before which to stop, ISO 8601 UTC.")]

Recording = Annotated[str, typer.Option("--recording", help="Name of a recording.")]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="KEY=VALUES",
        help="What to try: edge_bps=10:50:10 (from:to:step), edge_bps=10,40, or edge_bps alone for the spec's own "
        "search space; any section.key of the settings. Repeatable. Default: the whole search space.",
    ),
]
Random = Annotated[int | None, typer.Option("--random", min=1, help="Draw this many points of the grid.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Which points are drawn.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes; default one a core, 0 = in this one.")
]


def _space(grid: list[str] | None) -> dict[str, str | None]:
    """KEY=VALUES by key; None = the spec's own search space."""
    return {key.strip(): values if sign else None for key, sign, values in (g.partition("=") for g in grid or ())}


def sweep(
    strategy: Strategy,
    recording: Recording,
    grid: Grid = None,
    random: Random = None,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Annotated[str | None, typer.Option("--ray", metavar="ADDRESS", help="Run on a Ray cluster instead.")] = None,
    market: Market = None,
    start: From = None,
    end: To = None,
    settings: Settings = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Try many parameter sets on one recording, and say what the best is worth given how many there were.

    Every trial is written down as it ends; the same command goes on where it was interrupted.
    Exit 1 = no trial ended well.
    """
    tell_of_compiling()
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.research.sweep import sweep as run

    chosen = configured(load_settings(settings), set_)
    session = Catalog().load(recording, markets=market, **window_of(start, end))
    try:
        with progress_bar("sweep", "trials") as watch:
            result = run(
                session,
                chosen,
                strategy,
                grid=_space(grid),
                random=random,
                seed=seed,
                workers=workers,
                ray=ray,
                progress=watch,
            )
    except KeyboardInterrupt:
        typer.echo("what is done is kept: the same command goes on from there", err=True)
        raise
    if not result.done:
        first = result.failed[0]["error"]
        if as_json:
            print_json({"sweep_id": result.id, "folder": result.folder, "done": 0, "failed": len(result.failed)})
        else:
            typer.echo(f"no trial ended well; the first says: {first}")
        raise typer.Exit(1)
    if as_json:
        print_json(result.as_dict())
    else:
        _print_sweep(result)


def _print_sweep(result) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]SWEEP[/bold] {result.id} of {result.manifest['strategy']} [dim]BACKTEST[/dim]")
    top = result.table().head(10)
    varied = [result.name(key) for key, values in result.manifest["space"].items() if len(values) > 1]
    columns = [*varied, "pnl", "max_drawdown", "fills", "sharpe"]
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for row in top[columns].to_dict("records"):
        shown = row | {"pnl": f"{row['pnl']:.2f}", "max_drawdown": f"{row['max_drawdown']:.2f}"}
        table.add_row(*(str(value) for value in (shown | {"sharpe": f"{row['sharpe']:.4f}"}).values()))
    console.print(table)
    for sentence in result.sentences():
        console.print(f"  - {sentence}", soft_wrap=True)
    console.print(f"trials: {result.folder}", soft_wrap=True)


def walk_forward(
    strategy: Strategy,
    recording: Recording,
    train: Annotated[float, typer.Option("--train-s", min=1, help="Seconds of each window that chooses.")],
    test: Annotated[float, typer.Option("--test-s", min=1, help="Seconds of each window that is traded with it.")],
    grid: Grid = None,
    random: Random = None,
    seed: Seed = 0,
    workers: Workers = None,
    market: Market = None,
    start: From = None,
    end: To = None,
    settings: Settings = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Choose parameters on one window, trade the next with them, move on: what the choosing is worth out of sample."""
    tell_of_compiling()
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.research.walk_forward import walk_forward as run
    from polytraders.units import NS_PER_S

    chosen = configured(load_settings(settings), set_)
    session = Catalog().load(recording, markets=market, **window_of(start, end))
    spans = {"train": round(train * NS_PER_S), "test": round(test * NS_PER_S)}
    options = {"grid": _space(grid), "random": random, "seed": seed, "workers": workers}
    with progress_bar("walk-forward", "folds") as watch:
        result = run(session, chosen, strategy, **spans, **options, progress=watch)
    if as_json:
        print_json(result.as_dict() | {"fold": result.table().to_dict("records")})
    else:
        _print_walk(result)


def _print_walk(result) -> None:
    from rich.console import Console
    from rich.table import Table

    said, folds = result.as_dict(), result.table()
    console = Console(highlight=False)
    console.print(f"[bold]WALK-FORWARD[/bold] {result.strategy} on {result.recording} [dim]BACKTEST[/dim]")
    table = Table(box=None, pad_edge=False)
    for column in folds.columns:
        table.add_column(column, justify="right", overflow="fold")
    for row in folds.to_dict("records"):
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v).removesuffix("000Z") for v in row.values()))
    console.print(table)
    console.print(
        f"  - {said['trials']:,} trials in {said['folds']} folds: {said['in_sample_pusd']:,.2f} pUSD in sample, "
        f"{said['out_of_sample_pusd']:,.2f} out of sample; {said['winning_folds']} folds won.",
        soft_wrap=True,
    )
    low, high = said["sharpe_interval"]
    console.print(
        f"  - Sharpe ratio of a step out of sample {said['sharpe']:.4f} (95 %: {low:.4f} to {high:.4f}); it is above 0 "
        f"with a probability of {said['psr']:.1%}.",
        soft_wrap=True,
    )


def lookahead(
    strategy: Strategy,
    recording: Annotated[
        list[str] | None, typer.Option("--recording", help="Name of a recording. Repeatable. Default: all.")
    ] = None,
    cuts: Annotated[int, typer.Option("--cuts", min=1, help="Places at which each recording is cut.")] = 3,
    warm_up: Annotated[
        bool, typer.Option("--warm-up/--no-warm-up", help="Start late as well, and see whether it settles.")
    ] = True,
    shuffle: Annotated[
        int, typer.Option("--shuffle", min=0, help="Runs with the trades dealt out anew; 19 give p-values from 0.05.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the other futures and the shuffles.")] = 1,
    settings: Settings = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Try to prove that a strategy knows the future: run it again on recordings that differ only from a cut on.

    Exit 6 = it does. How long it depends on when it was started (warm-up), and what is left of its profit when the
    trades are dealt out anew, is told beside it.
    """
    tell_of_compiling()
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.errors import LOOK_AHEAD, UsageError
    from polytraders.research import falsify

    chosen, catalog = configured(load_settings(settings), set_), Catalog()
    names = recording or catalog.names()
    if not names:
        raise UsageError(
            "there is no recording to try it on",
            where=str(catalog.root),
            mend="`polytraders data import FILE`, or `polytraders data synth --import`",
        )
    found = []
    for name in names:
        session = catalog.load(name)
        with progress_bar(name, "runs") as watch:
            ahead = falsify.lookahead(session, chosen, strategy, cuts=cuts, seed=seed, progress=watch)
        late = falsify.warm_up(session, chosen, strategy) if warm_up else None
        mixed = None
        if shuffle:
            with progress_bar(f"{name}, shuffled", "runs") as watch:
                mixed = falsify.shuffled(session, chosen, strategy, draws=shuffle, seed=seed, progress=watch)
        found.append((name, ahead, late, mixed))
    ok = all(ahead.ok for _, ahead, _, _ in found)
    settled = all(late is None or late.ok for _, _, late, _ in found)
    if as_json:
        keys = ("lookahead", "warm_up", "shuffled")
        rows = [
            {"recording": name} | {k: r and r.as_dict() for k, r in zip(keys, parts, strict=True)}
            for name, *parts in found
        ]
        print_json({"strategy": found[0][1].strategy, "ok": ok, "settles": settled, "recordings": rows})
    else:
        _print_lookahead(found)
    if not ok:
        raise typer.Exit(LOOK_AHEAD)


def _print_lookahead(found) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for name, ahead, late, mixed in found:
        verdict = "[green]knows nothing of the future[/green]" if ahead.ok else "[red]KNOWS THE FUTURE[/red]"
        console.print(f"[bold]{ahead.strategy}[/bold] on {name}: {verdict}")
        for sentence in ahead.sentences():
            console.print(f"  - {sentence}", markup=False)
        if late is not None and late.ok:
            console.print(f"  - Started late, it wants the same after at most {late.needs / 1e9:,.0f} s.")
        elif late is not None:
            open_ = [start for start in late.starts if start.settled is None]
            console.print(
                f"  - [yellow]After {len(open_)} of {len(late.starts)} late starts it never came to want the same: "
                f"{open_[-1].last}.[/yellow]"
            )
        if mixed is not None:
            mean = sum(mixed.null) / len(mixed.null) / 1e6
            console.print(
                f"  - With the {mixed.shuffled} dealt out anew {len(mixed.null)} times it earns {mean:,.2f} pUSD on "
                f"average, as recorded {mixed.pnl / 1e6:,.2f}; p = {mixed.p:.3f}."
            )
