"""`polytraders api`: the desk over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def api(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port; 0 = a free one.")] = 8000,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A name people call it by, beside its address. Repeatable.")
    ] = None,
    cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate, for another address.")] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="Its key.")] = None,
    per_minute: Annotated[int, typer.Option("--per-minute", min=10, help="Calls a token may make.")] = 600,
    settings: Annotated[Path | None, typer.Option("--settings", help="Configuration.")] = None,
    database: Url = None,
) -> None:
    """Serve the desk over HTTP, on this machine only unless told otherwise. Make a token first: tokens create."""
    from polytraders.config import load_settings
    from polytraders.errors import UsageError

    if host not in LOOPBACK and not (cert and key):
        raise UsageError(
            "tokens would cross the network in clear",
            where=f"--host {host}",
            rule="another address than loopback needs TLS",
            mend="give --tls-cert and --tls-key, or stay on loopback behind a proxy that has them",
        )
    try:
        import uvicorn

        from polytraders.api.app import create_app
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed", mend="install polytraders[desk]") from None
    with desk_of(database) as desk:
        hosts = tuple(name or ()) + ((*LOOPBACK,) if host in LOOPBACK else (host,))
        app = create_app(desk, load_settings(settings), hosts=hosts, per_minute=per_minute)
        files = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)} if cert and key else {}
        uvicorn.run(app, host=host, port=port, log_level="info", server_header=False, **files)
