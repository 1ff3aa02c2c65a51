"""`polytraders trace` and `polytraders verify`: what a run's log says, and whether it is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def trace(
    correlation_id: Annotated[
        str, typer.Argument(help="The intent: oi_... or cor_..., as reports and envelopes show it.")
    ],
    run: Annotated[
        str, typer.Option("--run", help="Run id, unique beginning of one, or latest. Found from the id if not given.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Tell one intent's whole story: what was known, decided, voted, sent and traded."""
    import sys

    from polytraders.store.runs import find_run, find_run_of, latest
    from polytraders.store.trace import trace as tell

    if run:
        folder = find_run(run)
    else:  # a bare number counts in the latest run
        folder = latest() if correlation_id.isdigit() else find_run_of(correlation_id)
    story = tell(folder, correlation_id)
    if as_json:
        _print_json(story.as_dict())
    else:
        from rich.console import Console

        story.render(Console(file=sys.stdout))


def verify(
    run: Annotated[str, typer.Argument(help="Run id, unique beginning of one, or latest.")] = "latest",
    as_json: Json = False,
) -> None:
    """Check every byte of a run: CRCs, hash chain, summary, and its envelopes if there are any. Exit 5 = damaged."""
    from polytraders.errors import DamageError
    from polytraders.store.envelopes import store_path, verify_chain
    from polytraders.store.log import verify_log
    from polytraders.store.runs import find_run

    folder = find_run(run)
    verdict = verify_log(folder)
    chain = verify_chain(store_path(), folder.name, verdict.log_hash)
    scope = _scope(folder) if verdict.ok else None
    ok = verdict.ok and (chain is None or chain.ok) and (scope is None or scope["ok"])
    if as_json:
        receipts = None if chain is None else chain.as_dict()
        told = {"run_id": folder.name, **verdict.as_dict(), "ok": ok, "envelopes": receipts}
        _print_json(told if scope is None else told | {"scope": scope})
    else:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(f"[bold]{folder.name}[/bold]")
        console.print(f"  {_mark(verdict.ok)} log: {verdict.message}", soft_wrap=True)
        if verdict.log_hash:
            console.print(f"    log hash {verdict.log_hash}", soft_wrap=True)
        if chain is None:
            console.print("    envelopes: none projected")
        else:
            console.print(f"  {_mark(chain.ok)} envelopes: {chain.message}", soft_wrap=True)
        if scope is not None:
            console.print(f"  {_mark(scope['ok'])} scope: {scope['message']}", soft_wrap=True)
    if not ok:
        raise typer.Exit(DamageError.exit_code)


def _scope(folder: Path) -> dict[str, Any] | None:
    """The receipts of a run's scope (see `run.scope`); None for a run that has none."""
    import orjson

    from polytraders.errors import DamageError

    if (
        "scope" not in (manifest := orjson.loads((folder / "manifest.json").read_bytes()))["pins"]
    ):  # the log's hashes hold it
        return None
    from polytraders.run.scope import check

    try:
        return {"ok": True, "message": f"{check(folder, manifest)} receipts, as the manifest gives them"}
    except DamageError as error:
        return {"ok": False, "message": f"{error.where}: {error.what}"}


def _mark(ok: bool) -> str:
    return "[green]ok[/green]     " if ok else "[red]damaged[/red]"


def _print_json(value: object) -> None:
    import sys

    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
