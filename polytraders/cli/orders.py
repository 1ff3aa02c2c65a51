"""`polytraders venue check-vectors` and `keystore`: orders against signed ones, and the key that signs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.output import Json, print_json


def check_vectors(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of vectors: inputs, messages, signatures.")],
    as_json: Json = False,
) -> None:
    """Rebuild, hash and sign every order of a file and say what is equal. Exit 1 = not all."""
    from polytraders.venue.orders.vectors import PARTS, check_file

    result = check_file(file)
    if as_json:
        print_json(result)
    else:
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False)
        table = Table(title=f"{result['orders_equal']} of {result['orders']} orders equal", title_justify="left")
        table.add_column("order")
        table.add_column("equal")
        table.add_column("differs, notes", overflow="fold")
        for vector in result["vectors"]:
            differs = [name for name in PARTS if not vector["parts"][name]]
            table.add_row(vector["name"], _word(vector["equal"]), "\n".join([*differs, *vector["notes"]]))
        for other in result["others"]:
            table.add_row(other["name"], _word(other["equal"]), "")
        console.print(table)
    if not result["all_equal"]:
        raise typer.Exit(1)


def keystore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; it must not exist.")],
    as_json: Json = False,
) -> None:
    """Encrypt a private key under a password into an Ethereum keystore of mode 0600. Asks for both, shows neither."""
    from polytraders.venue.orders.keys import KEYSTORE, PASSWORD_FILE, Hidden, write_keystore

    key = Hidden(typer.prompt("Private key", hide_input=True, err=True))
    password = Hidden(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    address = write_keystore(file, key, password).address
    if as_json:
        print_json({"file": str(file), "address": address})
    else:
        typer.echo(f"{file}: the key of {address}. To trade with it, put its password in a file of mode 0600 and set")
        typer.echo(f"  {KEYSTORE}={file.absolute()}")
        typer.echo(f"  {PASSWORD_FILE}=...")


def _word(equal: bool) -> str:
    return "yes" if equal else "NO"
