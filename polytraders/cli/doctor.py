"""`polytraders doctor`: is everything there that a live run needs?"""

from __future__ import annotations

from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json


def doctor(
    venue: Annotated[
        str, typer.Option("--venue", help="polymarket, or the line that `venue serve --json` prints.")
    ] = "polymarket",
    wallet: Annotated[str, typer.Option("--wallet", help="What pays: EOA, PROXY, SAFE or DEPOSIT_WALLET.")] = "EOA",
    rpc: Annotated[str, typer.Option("--rpc", help="A node of the chain; default: POLYTRADERS_RPC.")] = "",
    as_json: Json = False,
) -> None:
    """Check clock, hosts, place, key, credentials, wallet, allowances, balance and disk; exit code 1: one is not good.

    Nothing is sent that changes anything, but for the API credentials that a key without any is given.
    """
    import asyncio

    from polytraders.config import home
    from polytraders.errors import UsageError
    from polytraders.venue.doctor import examine
    from polytraders.venue.orders import SignatureType
    from polytraders.venue.polymarket import hosts

    if wallet.upper() not in SignatureType.__members__:
        rule = ", ".join(SignatureType.__members__)
        raise UsageError(f"there is no wallet type {wallet!r}", where="--wallet", rule=rule)
    env = hosts.polymarket() if venue == "polymarket" else hosts.local(venue)
    checks = [check.as_dict() for check in asyncio.run(examine(env, SignatureType[wallet.upper()], home(), rpc))]
    good = all(check["good"] for check in checks)
    if as_json:
        print_json({"venue": env.name, "good": good, "checks": checks})
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("check", "", "what", "mend", title=f"{env.name}: {env.rest}")
        for check in checks:
            mark = "[green]good[/]" if check["good"] else f"[red]{check['code'] or 'not good'}[/]"
            table.add_row(str(check["check"]), mark, str(check["what"]), str(check["mend"]))
        console = Console()
        console.print(table)
        console.print("Everything is there." if good else "A live run would not begin, or not for long.")
    raise typer.Exit(0 if good else 1)
