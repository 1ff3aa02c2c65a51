"""`polytraders venue`: orders as the venue takes them, and a Polymarket on this machine."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from polytraders.cli import orders
from polytraders.cli.output import Json, print_json

app = typer.Typer(no_args_is_help=True, help="Orders as the venue takes them, and a local Polymarket to try them on.")


@app.callback()
def _group() -> None:
    """Orders as the venue takes them, and a local Polymarket to try them on."""


@app.command("serve")
def serve(
    recording: Annotated[
        str | None, typer.Option("--recording", help="Who trades there: a recording of the catalog.")
    ] = None,
    synth: Annotated[
        int | None, typer.Option("--synth", min=0, help="Or a made-up session of this seed (default: 7).")
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Or nobody: markets come by the admin port.")] = False,
    minutes: Annotated[int, typer.Option("--minutes", min=2, max=1440, help="Length of a made-up session.")] = 3,
    markets: Annotated[int, typer.Option("--markets", min=4, max=100, help="Markets of a made-up session.")] = 5,
    speed: Annotated[float, typer.Option("--speed", min=0, help="Pace of the tape; 0: it stands still.")] = 1.0,
    cash: Annotated[str, typer.Option("--cash", help="pUSD of a new account.")] = "1000",
    settlement_ms: Annotated[
        int, typer.Option("--settlement-ms", min=1, help="From a match to its confirmation.")
    ] = 2_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of API keys and of every fault's dice.")] = 1,
    apart: Annotated[
        bool, typer.Option("--apart", help="Accounts neither meet nor see each other, as in a backtest.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65_532, help="First of four ports; 0: free ones.")] = 0,
    as_json: Json = False,
) -> None:
    """Serve the CLOB's wire protocol on loopback until SIGTERM or Ctrl-C. Made for tests: no money is involved."""
    os.environ.setdefault("POLYTRADERS_JIT", "0")  # it starts at once, and is fast enough for real time
    import asyncio

    from polytraders.errors import UsageError
    from polytraders.units import NS_PER_MS, UnitError, money_micro

    try:
        money = money_micro(cash)
    except UnitError as error:
        raise UsageError(str(error), where="--cash") from None
    if (recording is not None) + (synth is not None) + empty > 1:
        raise UsageError("--recording, --synth and --empty exclude each other")
    try:
        import aiohttp  # noqa: F401
        import coincurve  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the local venue needs {error.name}", mend="install the extra: pip install 'polytraders[venue]'"
        ) from None
    from polytraders.venue.local import server, tape
    from polytraders.venue.local.venue import LocalVenue, Options

    session = None
    if recording is not None:
        session = tape.recorded(recording)
    elif not empty:
        session = tape.synthetic(7 if synth is None else synth, minutes, markets)
    options = Options(cash=money, settlement=settlement_ms * NS_PER_MS, speed=speed, seed=seed, apart=apart)

    def ready(urls: dict[str, str]) -> None:
        if as_json:
            import orjson

            print(orjson.dumps(urls | ({"apart": True} if apart else {})).decode(), flush=True)
            return
        for role, url in urls.items():
            print(f"{role:>10}  {url}", flush=True)

    asyncio.run(server.serve(lambda: LocalVenue(session, options), port, ready))


@app.command("conformance")
def conformance(
    url: Annotated[str, typer.Argument(help="REST URL of a venue, or the line that `venue serve --json` prints.")],
    market: Annotated[str, typer.Option("--market", help="Condition id; default: the first open one.")] = "",
    trade: Annotated[
        bool | None, typer.Option("--trade/--no-trade", help="May cases trade? Default: on this machine only.")
    ] = None,
    wallet: Annotated[str, typer.Option("--wallet", help="EOA, PROXY, SAFE or DEPOSIT_WALLET.")] = "EOA",
    as_json: Json = False,
) -> None:
    """Try everything that a run relies on at a venue, case by case. Exit code 1 when one fails.

    Away from this machine it needs a key (POLYTRADERS_KEY or a keystore); orders of the least size are placed and
    cancelled there.
    """
    import asyncio

    from polytraders.errors import UsageError
    from polytraders.venue import visit
    from polytraders.venue.conformance import FAILED, LEFT_OUT, PASSED, ground_text
    from polytraders.venue.orders import SignatureType

    if wallet.upper() not in SignatureType.__members__:
        raise UsageError(
            f"there is no wallet type {wallet!r}", where="--wallet", rule=", ".join(SignatureType.__members__)
        )
    info, ground, results = asyncio.run(visit.conform(visit.line(url), market, trade, wallet.upper()))
    counts = {name: sum(r.result == name for r in results) for name in (PASSED, FAILED, LEFT_OUT)}
    if as_json:
        print_json(
            {"venue": visit.line(url), "market": info.condition_id, "ground": ground.__dict__, "counts": counts,
             "cases": [r.as_dict() for r in results]}
        )  # fmt: skip
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("case", "", "code", "", title=f"{info.slug or info.condition_id}: {ground_text(ground)}")
        colours = {PASSED: "green", FAILED: "red", LEFT_OUT: "yellow"}
        for case, result, code, what in visit.result_table(results):
            table.add_row(case, f"[{colours[result]}]{result}[/]", code, what)
        console = Console()
        console.print(table)
        console.print(", ".join(f"{count} {name}" for name, count in counts.items()))
    raise typer.Exit(1 if counts[FAILED] else 0)


app.command("check-vectors")(orders.check_vectors)
app.command("keystore")(orders.keystore)
