"""`polytraders record`: a live feed, verbatim, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json


def record(
    name: Annotated[str, typer.Argument(help="What the recording is called, in the catalog too.")],
    market: Annotated[list[str] | None, typer.Option("--market", help="Slug of a market; may be repeated.")] = None,
    condition: Annotated[list[str] | None, typer.Option("--condition", help="Or its condition id.")] = None,
    event: Annotated[list[str] | None, typer.Option("--event", help="Slug of an event: all its markets.")] = None,
    tag: Annotated[int | None, typer.Option("--tag", min=1, help="Number of a tag: its open markets.")] = None,
    least_volume: Annotated[float, typer.Option("--least-volume", min=0, help="pUSD traded so far.")] = 0.0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Markets at most; 0: all that fit.")] = 0,
    signal: Annotated[
        list[str] | None, typer.Option("--signal", help="An external price too: crypto_prices_chainlink/btc/usd")
    ] = None,
    again: Annotated[float, typer.Option("--again", min=0, help="s between looks for new markets; 0: never.")] = 0.0,
    minutes: Annotated[float, typer.Option("--minutes", min=0, help="Stop by itself; 0: never.")] = 0.0,
    local: Annotated[
        str, typer.Option("--local", help="A local venue: the line that `venue serve --json` prints, or a file of it.")
    ] = "",
    bring_in: Annotated[
        bool, typer.Option("--import/--no-import", help="Import into the catalog when it has ended.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Record the market channel as it comes, with every loss in its place; no key is needed and nothing is traded."""
    import asyncio
    import signal as signals_

    from polytraders.config import home
    from polytraders.data.importer import recording_name
    from polytraders.errors import UsageError

    if not (market or condition or event or tag):
        raise UsageError("nothing is asked for", mend="name a --market, --condition, --event or --tag")
    try:
        import httpx  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"recording needs {error.name}", mend="install the extra: pip install 'polytraders[venue]'"
        ) from None
    from polytraders.venue.polymarket import capture as capturing
    from polytraders.venue.polymarket import hosts
    from polytraders.venue.polymarket.discovery import Wanted

    folder = home() / "recordings" / recording_name(name)
    env = hosts.local(_line(local)) if local else hosts.polymarket()
    wanted = Wanted(
        slugs=tuple(market or ()),
        conditions=tuple(condition or ()),
        events=tuple(event or ()),
        tag=tag,
        least_volume=least_volume,
        limit=limit,
        accepting=None if market or condition else True,
    )

    async def run() -> capturing.Captured:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for which in (signals_.SIGTERM, signals_.SIGINT):
            loop.add_signal_handler(which, stop.set)
        if minutes:
            loop.call_later(minutes * 60, stop.set)
        numbers = {one: at for at, one in enumerate(signal or (), start=1)}
        return await capturing.capture(
            env, wanted, folder, stop=stop, signals=numbers, again=again, say=lambda text: print(text, file=sys.stderr)
        )

    done = asyncio.run(run())
    told = done.as_dict()
    if bring_in:
        from polytraders.data.importer import import_files

        (imported,) = import_files([folder], name, replace=True).recordings
        told["imported"] = imported.as_dict()
    if as_json:
        print_json(told)
        return
    size = f"{len(done.files)} files, {done.bytes / 1e6:.1f} MB"
    print(f"{done.folder}: {size}, {done.frames:,} frames, {done.markets} markets")
    if bring_in:
        print(f"in the catalog as {told['imported']['recording']}: {told['imported'].get('rows', 0):,} rows")
    else:
        print(f"bring it in with: polytraders data import {done.folder}")


def _line(text: str) -> str:
    """The line itself, or what stands in the file of that name."""
    if text.lstrip().startswith("{"):
        return text
    from polytraders.errors import UsageError

    try:
        return Path(text).expanduser().read_text()
    except OSError as error:
        raise UsageError(f"{text}: {error.strerror}", where="--local") from None
