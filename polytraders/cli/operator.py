"""Who sits at this terminal, and the desk's database they work on."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from polytraders.contracts import Actor
    from polytraders.store.sql import Database

TOKEN_VARIABLE = "POLYTRADERS_TOKEN"
"""A token that says who sits at a terminal that several people share."""

Url = Annotated[
    str | None,
    typer.Option(
        "--database", help="Of the desk; default: POLYTRADERS_DATABASE, else desk.sqlite in POLYTRADERS_HOME."
    ),
]


@contextmanager
def desk_of(url: str | None) -> Iterator[Database]:
    """The desk's database, closed at the end."""
    from polytraders.store.desk import open_desk

    desk = open_desk(url)
    try:
        yield desk
    finally:
        desk.close()


def operator(desk: Database, scope: str) -> Actor:
    """The person at this terminal: the owner of POLYTRADERS_TOKEN, which must have `scope`; without one the user that
    the system knows. Whoever may write the database's file needs no token for it. Raises UsageError."""
    from polytraders.contracts import Actor
    from polytraders.errors import UsageError
    from polytraders.store.desk.access import identify

    if not (token := os.environ.get(TOKEN_VARIABLE)):
        return Actor(kind="operator", id=getpass.getuser())
    caller = identify(desk, token)
    if caller is None or not caller.may(scope):
        raise UsageError(
            "the token does not open this",
            where=TOKEN_VARIABLE,
            rule=f"it must be in force and have the scope {scope}",
            mend="polytraders tokens create",
        )
    return caller.actor
