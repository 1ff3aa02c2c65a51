"""`polytraders intents`: what waits for a person's answer, and the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import (
    SUB,
    Json,
    Reason,
    SettingsFile,
    console,
    named,
    print_json,
    say,
    show,
    table,
    tell,
    under,
)

intents_app = typer.Typer(help="Trade intents: what waits for your answer, and what became of it.", **SUB)

IntentRef = Annotated[str, typer.Argument(help="Id of the trade intent, or the unique beginning of one.")]


@intents_app.command("list")
def list_intents(
    all_: Annotated[bool, typer.Option("--all", help="Those that have their end too.")] = False,
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most of them.")] = 100,
    database: Url = None,
    as_json: Annotated[bool, typer.Option("--json", "--json-output", help="Print one JSON object.")] = False,
) -> None:
    """List what waits for an answer, newest first."""
    import time

    from polytraders.api.views import market_names
    from polytraders.store.desk import expire, intents

    with desk_of(database) as desk:
        expire(desk)
        found = intents(desk, () if all_ else ("PENDING",), run_id=run, limit=limit)
        names = market_names(desk)
    if as_json:
        print_json({"intents": found})
    else:
        show(*_listed(found, names, time.time_ns(), all_) if found else ["nothing waits for an answer"])


ROOM = 110
"""Columns from which on a market stands in its line; else it has the next one."""
SHORT = 15
"""Signs of an id that are shown where there is less room: the unique beginning is enough to name it."""


def _listed(found: list[dict[str, Any]], names: Mapping[str, str], now: int, all_: bool) -> Iterator[Any]:
    from polytraders import units

    wide = console().width >= ROOM
    numbers = ("pUSD", "edge bps", "left")
    heads = ["id", "order", *numbers, *(["status"] if all_ else []), *(["market"] if wide else [])]
    rows: list[tuple[list[str], str]] = []
    for one in found:
        order, waits = one["document"]["intent"] or {}, one["status"] == "PENDING"
        price = f" at {order['limit_price']}" if order.get("limit_price") else ""
        opens = "" if one["type"] == "OPEN_POSITION" else f"{one['type'].partition('_')[0].lower()} "
        persons = f", {one['given']} of {one['needed']}" if one["needed"] > 1 and waits else ""
        row = [
            one["trade_intent_id"] if wide else one["trade_intent_id"][:SHORT],
            f"{opens}{one['side']} {one['outcome']}{price}".strip() + persons,
            units.money_text(one["notional_micro"]),
            one["document"]["edge_bps"] or "",
            f"{max(0, one['expires_ns'] - now) // units.NS_PER_S} s" if waits else "",
        ]
        market = names.get(one["condition_id"], one["condition_id"])
        rows.append((row + ([one["status"].lower()] if all_ else []) + ([market] if wide else []), market))
    if wide:
        shown = table(*heads, right=numbers, whole=("id", "order", "status"))
        for row, _ in rows:
            shown.add_row(*row)
        yield shown
        return
    widths = [max(len(row[at]) for row in [heads, *(row for row, _ in rows)]) for at in range(len(heads))]
    for row, market in [(heads, ""), *rows]:
        cells = zip(heads, row, widths, strict=True)
        line = "  ".join(cell.rjust(n) if name in numbers else cell.ljust(n) for name, cell, n in cells)
        yield line.rstrip()
        if market:
            yield under(market)


@intents_app.command("show")
def show_intent(ref: IntentRef, database: Url = None, as_json: Json = False) -> None:
    """Show one trade intent whole: order, reason, edge, risk checks, answers."""
    import time

    from polytraders.api.views import intent_lines, market_names
    from polytraders.store.desk import find, intent

    with desk_of(database) as desk:
        one, names = intent(desk, find(desk, ref)), market_names(desk)
    if as_json:
        print_json(one)
    else:
        show(named(intent_lines(one, time.time_ns(), names)))


@intents_app.command("approve")
def approve_intent(
    refs: Annotated[list[str], typer.Argument(help="Ids of trade intents, or the beginnings of them.")],
    shown: Annotated[str | None, typer.Option("--hash", help="Approve only what has this shown_hash.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="A word for the record.")] = None,
    settings: SettingsFile = None,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Approve trade intents. Exit 1 = an approval does not count; its answer says why.

    Several are judged each by itself, and put down together.
    """
    from polytraders.config import load_settings
    from polytraders.errors import UsageError
    from polytraders.store.desk import approve_many, find

    if shown is not None and len(refs) > 1:
        raise UsageError("a hash belongs to one trade intent", where="--hash", mend="name one trade intent with it")
    with desk_of(database) as desk:
        person, policy = operator(desk, "approve"), load_settings(settings).approvals
        ids = [find(desk, ref) for ref in refs]
        hashes = {} if shown is None else {ids[0]: shown}
        answers = approve_many(desk, ids, person, "cli", policy, shown=hashes, comment=comment)
    if len(answers) == 1:
        tell(answers[0], as_json)
        return
    if as_json:
        print_json({"answers": [answer.as_dict() for answer in answers]})
    else:
        for answer in answers:
            say(answer)
    if not all(answer.ok for answer in answers):
        raise typer.Exit(1)


@intents_app.command("reject")
def reject_intent(
    ref: IntentRef, reason: Reason = "rejected by hand", database: Url = None, as_json: Json = False
) -> None:
    """Reject a trade intent."""
    from polytraders.store.desk import find, reject

    with desk_of(database) as desk:
        answer = reject(desk, find(desk, ref), operator(desk, "approve"), "cli", reason)
    tell(answer, as_json)


@intents_app.command("expire")
def expire_intents(database: Url = None, as_json: Json = False) -> None:
    """Close every trade intent whose time is over. Runs do it too; this is for when none runs."""
    from polytraders.store.desk import expire

    with desk_of(database) as desk:
        closed = expire(desk)
    print_json({"expired": closed}) if as_json else show(f"expired: {len(closed)}", *closed)
