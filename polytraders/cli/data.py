"""`polytraders data`: recordings in and out of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from polytraders.cli.output import Json, print_json, progress_bar

app = typer.Typer(no_args_is_help=True, help="Import, list, draw, check and make up market data.")


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Recordings of any known form, recognised by content.")],
    name: Annotated[
        str | None, typer.Option("--name", help="One recording of all FILES; without it, one each.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first line or message that cannot be read.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a recording with other sources.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn recordings into the catalog, and everything wrong with them into its quality table."""
    from polytraders.data.importer import import_files

    with progress_bar("importing", "bytes") as bar:
        result = import_files(files, name, strict, _by_name(bar), replace=replace)
    if as_json:
        print_json(result.as_dict())
        return
    console = _console()
    for recording in result.recordings:
        counts = recording.manifest
        console.print(f"[bold]{recording.name}[/bold]: {_STATUS[recording.status]}, {recording.seconds:.1f} s")
        if "rows" in counts:
            trades = counts["trades"]
            console.print(
                f"  {counts['rows']:,} rows of {counts['messages']:,} messages, {counts['markets']} markets, "
                f"{trades['recorded']:,} trades recorded, {trades['inferred']:,} inferred"
            )
            best = counts["best"]
            if best["checked"]:
                console.print(f"  reported best quotes equal to the book's: {best['agreed']:,} of {best['checked']:,}")
            if counts["hashes"]["verified"]:
                console.print(f"  books proven by their hash: {counts['hashes']['verified']:,}")
        if counts["quality"]:
            console.print("  quality: " + ", ".join(f"{kind} {count:,}" for kind, count in counts["quality"].items()))
        for note in counts.get("notes", ()):
            console.print(f"  - {note}", style="dim", markup=False)
        for problem in recording.problems:
            console.print(f"  {problem}", style="yellow", markup=False)


_STATUS = {
    "imported": "imported",
    "replaced": "imported in place of the old one",
    "unchanged": "already imported from the same files, nothing to do",
    "failed": "[red]nothing in it can be used[/red]",
}


@app.command("ls")
def ls(as_json: Json = False) -> None:
    """List the recordings of the catalog."""
    from dataclasses import asdict

    from polytraders.data.catalog import Catalog
    from polytraders.units import NS_PER_S, iso_utc

    catalog = Catalog()
    infos = catalog.recordings()
    if as_json:
        print_json({"catalog": str(catalog.root), "recordings": [asdict(info) for info in infos]})
        return
    console = _console()
    if not infos:
        console.print(f"The catalog {catalog.root} is empty. Fill it with `polytraders data import FILE...`,")
        console.print("or with a made-up market: `polytraders data synth`.")
        return
    from rich.table import Table

    table = Table(title=f"Recordings in {catalog.root}", title_justify="left", box=None, padding=(0, 1))
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify=justify, overflow="fold")
    for info in infos:
        trades = f"{info.trades:,}" if info.trades or not info.inferred_trades else f"{info.inferred_trades:,} inferred"
        lasts = (info.end - info.start) / NS_PER_S / 60
        problems = sum(info.quality.values())
        size = f"{info.bytes / 1e6:.1f}"
        table.add_row(
            info.name,
            iso_utc(info.start)[:16],
            f"{lasts:,.0f}",
            str(info.markets),
            f"{info.rows:,}",
            trades,
            f"{problems:,}",
            size,
        )
    console.print(table)


_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("recording", "left"),
    ("from (UTC)", "left"),
    ("min", "right"),
    ("markets", "right"),
    ("rows", "right"),
    ("trades", "right"),
    ("quality", "right"),
    ("MB", "right"),
)


@app.command("show")
def show(
    recording: Annotated[str, typer.Argument(help="Name, as `data ls` lists it.")],
    market: Annotated[
        str | None, typer.Option("--market", help="Slug, condition id or number; default: the busiest.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write; default: reports/<recording>.html.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the book's top and the trades of one market to an HTML page that works offline."""
    from polytraders.data.plot import show as draw

    drawn = draw(recording, market, out or Path("reports") / f"{recording}.html")
    if as_json:
        print_json(drawn)
    else:
        kind = "inferred trades" if drawn["inferred"] else "trades"
        what = f"{drawn['points']:,} quotes, {drawn['trades']:,} {kind}, {drawn['gaps']} gaps"
        _console().print(f"{drawn['slug'] or drawn['market']}: {what} -> {drawn['html']}")


@app.command("check")
def check(
    recording: Annotated[str, typer.Argument(help="Name, as `data ls` lists it.")],
    sources: Annotated[
        Path | None,
        typer.Option("--sources", help="Folder of the source files, to hash them and their messages again."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a recording and hold it against what its own messages said. Exit 1 = it does not hold."""
    from polytraders.data.checks import check as verify

    verdict = verify(recording, sources=sources)
    if as_json:
        print_json(verdict.as_dict())
    else:
        console = _console()
        state = "[green]holds[/green]" if verdict.ok else "[red]does not hold[/red]"
        console.print(
            f"[bold]{recording}[/bold] {state}: {verdict.files} files, {verdict.rows:,} rows, "
            f"{verdict.messages:,} messages"
        )
        console.print(f"  full books reproduced: {verdict.books_equal:,} of {verdict.books_compared:,}")
        console.print(f"  reported best quotes reproduced: {verdict.quotes_agreed:,} of {verdict.quotes_compared:,}")
        if sources is not None:
            absent = f", not found: {', '.join(verdict.sources_missing)}" if verdict.sources_missing else ""
            console.print(f"  source files hashed again: {verdict.sources_checked}{absent}")
        for problem in verdict.problems:
            console.print(f"  {problem}", style="red", markup=False)
    if not verdict.ok:
        raise typer.Exit(1)


@app.command("synth")
def synth(
    folder: Annotated[Path, typer.Argument(help="Where to write the recording.")] = Path("synthetic"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bytes.")] = 7,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=1440, help="Length.")] = 30,
    markets: Annotated[
        int, typer.Option("--markets", min=4, max=100, help="How many; three of them are one neg-risk event.")
    ] = 5,
    add: Annotated[bool, typer.Option("--import/--no-import", help="Import it into the catalog too.")] = False,
    as_json: Json = False,
) -> None:
    """Make up a market in the venue's wire format. Not a recording: results on it say nothing about the venue."""
    from polytraders.data.synth import synthesise

    with progress_bar("making up", "ms") as bar:
        paths = synthesise(folder, seed, minutes, markets, progress=_by_name(bar))
    said: dict[str, Any] = {
        "seed": seed,
        "minutes": minutes,
        "markets": markets,
        "files": [str(path) for path in paths],
    }
    if add:
        from polytraders.data.importer import import_files

        said["import"] = import_files(paths[:1]).as_dict()
    if as_json:
        print_json(said)
    else:
        for path in paths:
            _console().print(str(path))


# -- output ------------------------------------------------------------------------------------------


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def _by_name(bar: Callable[[int, int], None] | None) -> Callable[[str, int, int], None] | None:
    """A progress bar as the library calls one: with the name of the file first."""
    return None if bar is None else lambda name, done, total: bar(done, total)
