"""`polytraders tokens`: who may use the HTTP interface, and for what."""

from __future__ import annotations

from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of, operator
from polytraders.cli.output import SUB, Json, print_json, show, table

tokens_app = typer.Typer(help="Access tokens of the HTTP interface.", **SUB)


@tokens_app.command("create")
def create(
    owner: Annotated[str, typer.Argument(help="The person it stands for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="read, approve, risk or admin. Repeatable.")],
    days: Annotated[int, typer.Option("--days", min=1, max=3_650, help="Days until it expires.")] = 90,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Make a token. It is shown this once and cannot be had again."""
    from polytraders.store.desk.access import create_token

    with desk_of(database) as desk:
        token_id, token = create_token(desk, owner, scope, operator(desk, "admin"), days=days)
    if as_json:
        print_json({"token_id": token_id, "owner": owner, "scopes": scope, "token": token})
    else:
        show(token)
        typer.echo(f"token {token_id} of {owner}: {', '.join(scope)}; keep it now, it is not shown again", err=True)


@tokens_app.command("list")
def list_tokens(database: Url = None, as_json: Json = False) -> None:
    """List the tokens that were made, without what opens anything."""
    from polytraders.store.desk.access import tokens
    from polytraders.units import iso_utc

    with desk_of(database) as desk:
        found = tokens(desk)
    if as_json:
        print_json({"tokens": found})
        return
    shown = table("id", "owner", "scopes", "made", "expires", "revoked")
    for one in found:
        times = [iso_utc(one[n])[:19] if one[n] else "" for n in ("created_ns", "expires_ns", "revoked_ns")]
        shown.add_row(one["token_id"], one["owner"], " ".join(one["scopes"]), *times)
    show(shown if found else "there are no tokens")


@tokens_app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Id, as `tokens list` shows it.")],
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Revoke a token at once."""
    from polytraders.store.desk.access import revoke_token

    with desk_of(database) as desk:
        done = revoke_token(desk, token_id, operator(desk, "admin"))
    print_json({"token_id": token_id, "revoked": done}) if as_json else show(
        f"{token_id}: revoked" if done else f"{token_id}: was revoked before"
    )
