"""`polytraders alerts`: watch the desk and tell people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of
from polytraders.cli.output import Json, print_json


def alerts(
    file: Annotated[Path | None, typer.Option("--file", help="Where they are written; default: alerts.jsonl.")] = None,
    quiet: Annotated[int, typer.Option("--quiet", min=0, help="Seconds until the same thing is told again.")] = 300,
    every: Annotated[float, typer.Option("--every", min=0.1, max=3_600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One look, for a scheduler.")] = False,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Watch the desk and tell people: to a file, and to the webhooks of POLYTRADERS_ALERT_WEBHOOKS."""
    import time

    from polytraders.run.alerts import Alerts, Watch

    sent = 0
    with desk_of(database) as desk, Alerts(file, quiet_s=quiet) as to:
        watch = Watch(desk, to)
        typer.echo(f"alerts go to {to.file} and {len(to.webhooks)} webhooks", err=True)
        while True:
            sent += watch.look()
            if once:
                break
            time.sleep(every)
    if as_json:
        print_json({"sent": sent, "file": to.file})
