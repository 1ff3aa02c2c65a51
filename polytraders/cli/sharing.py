"""`polytraders portfolios shares` and `release`: what each run has of the limits that all runs of a portfolio share."""

from __future__ import annotations

from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import Json, print_json, show, table


def attach(portfolios: typer.Typer) -> None:
    """Add the commands to those of `polytraders portfolios`."""
    portfolios.command("shares")(shares)
    portfolios.command("release")(release)


def shares(
    portfolio_id: Annotated[str | None, typer.Argument(help="PORT-...; default: all.")] = None,
    markets: Annotated[bool, typer.Option("--markets", help="Each market too.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Show what each run uses of the common limits, and what it may use. Exit 1 = a run is silent."""
    from polytraders.store.desk.shares import ORDERS
    from polytraders.store.desk.shares import shares as found_at
    from polytraders.units import money_text

    with desk_of(database) as desk:
        found = found_at(desk, portfolio_id, markets=markets)
    silent = any(row["state"] == "silent" for row in found)
    if as_json:
        print_json({"shares": found})
    elif not found:
        show("no run has a share of a limit")
    else:
        right = ("used", "may use")
        shown = table("run", "portfolio", "state", "limit", *right, right=right, whole=("portfolio", "state"))
        for row in found:
            text = str if row["name"] == ORDERS else money_text
            used, share = text(row["used"]), text(row["share"])
            shown.add_row(row["run_id"], row["portfolio_id"], row["state"], row["name"], used, share)
        show(shown)
    if silent:
        raise typer.Exit(1)


def release(
    run_id: Annotated[str, typer.Argument(help="A run that is gone.")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="How it is known what it holds, in a few words.")],
    empty: Annotated[bool, typer.Option("--empty", help="It holds nothing any more: no position, no order.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Say of a run that is gone what it holds: all of its share, or nothing. The other runs open again then."""
    from polytraders.store.desk.shares import release as done_at

    with desk_of(database) as desk:
        answer = done_at(desk, run_id, operator(desk, "risk"), "cli", reason, empty=empty)
    if as_json:
        print_json(answer.as_dict())
    else:
        print(f"{run_id}: {answer.status}\n{answer.message} ({answer.code})")
        if answer.ok:
            print(f"  counted as held: {answer.details['exposure_pusd']} pUSD")
    if not answer.ok:
        raise typer.Exit(1)
