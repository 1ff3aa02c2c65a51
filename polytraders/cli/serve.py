"""`polytraders api`: the desk over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polytraders.cli.operator import Url, desk_of

FIRST_PAGE = "approvals"
PAGES_FROM = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
"""What the console's pages may load: what comes from this process. The template asks for style sheets of a public
server, and a page with an approve button runs nobody else's code."""
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


def pages_folder() -> Path:
    """Where the operator notebooks lie: in the working tree, else where the package was installed."""
    import sys

    from polytraders.errors import UsageError

    places = [
        Path(__file__).resolve().parents[2] / "nbs" / "desk",
        Path(sys.prefix) / "share" / "polytraders" / "desk",
    ]
    for place in places:
        if (place / "approvals.ipynb").is_file():
            return place
    raise UsageError("the console's notebooks are missing", where=str(places[0]), mend="install polytraders again")


def console(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Port on this machine; 0 = a free one.")
    ] = 8866,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Show it in the browser.")] = False,
) -> None:
    """Serve the operator notebooks in a browser, live and without their code, on this machine only.

    Who clicks is the person this process belongs to: the owner of POLYTRADERS_TOKEN, else the user of the system.
    The address that is printed holds a key of its own; nobody gets in without it.
    """
    import os
    import secrets

    from polytraders.errors import UsageError

    try:
        from tornado.web import RedirectHandler
        from traitlets.config import Config
        from voila.app import Voila
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed", mend="install polytraders[console]") from None
    os.environ.setdefault("POLYTRADERS_HOME", str(Path(".polytraders").absolute()))  # kernels start elsewhere
    settings = Path(os.environ.get("POLYTRADERS_SETTINGS") or "settings.ini")
    if settings.is_file():
        os.environ["POLYTRADERS_SETTINGS"] = str(settings.absolute())
    config = Config()
    config.Voila.token = secrets.token_urlsafe(24)  # in no command line: `ps` would show it
    config.VoilaConfiguration.strip_sources = True
    config.VoilaConfiguration.show_tracebacks = False
    config.Voila.tornado_settings = {"headers": {"Content-Security-Policy": PAGES_FROM}}

    class Console(Voila):
        """Voila that begins with the first page instead of a list of files."""

        def init_handlers(self) -> list[Any]:
            first = {"url": f"/voila/render/{FIRST_PAGE}.ipynb", "permanent": False}
            return [(r"/", RedirectHandler, first), *super().init_handlers()]

    app = Console.instance(config=config)
    port = port or _free_port()
    arguments = [str(pages_folder()), f"--port={port}", "--Voila.ip=127.0.0.1"]
    app.initialize(arguments if open_ else [*arguments, "--no-browser"])
    address = f"http://127.0.0.1:{port}/?token={config.Voila.token}"
    typer.echo(f"console: {address}")
    app.start()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
