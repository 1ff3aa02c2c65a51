"""`polytraders venue`: orders as the venue takes them."""

from __future__ import annotations

import typer

from polytraders.cli import orders

app = typer.Typer(no_args_is_help=True, help="Orders as the venue takes them.")


@app.callback()
def _group() -> None:
    """Orders as the venue takes them."""


app.command("check-vectors")(orders.check_vectors)
app.command("keystore")(orders.keystore)
