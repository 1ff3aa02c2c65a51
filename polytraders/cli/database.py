"""`polytraders db`: the desk's database is made, checked and made again."""

from __future__ import annotations

from typing import Annotated

import typer

from polytraders.cli.operator import Url, desk_of
from polytraders.cli.output import SUB, Json, print_json, show, table

db_app = typer.Typer(help="The desk's database.", **SUB)


@db_app.command("init")
def db_init(database: Url = None, as_json: Json = False) -> None:
    """Make the desk's database. Does nothing to one that is there."""
    _upgrade(database, as_json)


@db_app.command("upgrade")
def db_upgrade(database: Url = None, as_json: Json = False) -> None:
    """Bring the desk's database up to this program's version."""
    _upgrade(database, as_json)


def _upgrade(url: str | None, as_json: bool) -> None:
    from polytraders.store.desk.schema import MIGRATIONS, PART
    from polytraders.store.sql import Database, upgrade

    desk = Database(url)
    try:
        before, after = upgrade(desk, PART, MIGRATIONS)
    finally:
        desk.close()
    if as_json:
        print_json({"database": desk.shown, "version_before": before, "version": after})
    else:
        done = "made" if not before else f"brought from version {before} up" if before < after else "as it should be"
        show(f"{desk.shown}: {done} (version {after})")


@db_app.command("check")
def db_check(
    runs: Annotated[bool, typer.Option("--runs/--no-runs", help="Check the receipts of every run too.")] = True,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Look for damage, row by row. Exit 5 = there is some; every fault is named."""
    from polytraders.errors import DamageError
    from polytraders.store.desk import Fault, check
    from polytraders.store.envelopes import store_path, verify_chain
    from polytraders.store.runs import list_runs
    from polytraders.store.sql import Database

    desk = Database(database)
    try:
        faults = check(desk)
    finally:
        desk.close()
    for folder in list_runs() if runs else ():
        verdict = verify_chain(store_path(), folder.name)
        if verdict is not None and not verdict.ok:
            faults.append(Fault("receipts", folder.name, verdict.message))
    if as_json:
        print_json({"database": desk.shown, "ok": not faults, "faults": [fault.as_dict() for fault in faults]})
    elif not faults:
        show(f"{desk.shown}: intact")
    else:
        shown = table("kind", "where", "what")
        for fault in faults:
            shown.add_row(fault.kind, fault.where, fault.what)
        show(shown)
    if faults:
        raise typer.Exit(DamageError.exit_code)


@db_app.command("rebuild")
def db_rebuild(
    runs: Annotated[bool, typer.Option("--runs/--no-runs", help="Project the receipts of every run again.")] = True,
    database: Url = None,
    as_json: Json = False,
) -> None:
    """Make the tables again: the desk's from its chain of actions, the receipts from the run logs."""
    from polytraders.cli.output import progress_bar
    from polytraders.errors import PolytradersError
    from polytraders.store.desk import rebuild
    from polytraders.store.envelopes import project
    from polytraders.store.runs import list_runs

    with desk_of(database) as desk:
        tables = rebuild(desk)
    projected: dict[str, int] = {}
    failed: dict[str, str] = {}
    for folder in list_runs() if runs else ():
        try:
            with progress_bar(f"receipts of {folder.name}", "rows") as watch:
                projected[folder.name] = project(folder, progress=watch).written
        except PolytradersError as error:
            failed[folder.name] = error.what
    if as_json:
        print_json({"tables": tables, "runs": projected, "failed": failed})
    else:
        show("; ".join(f"{table} {rows}" for table, rows in tables.items()))
        show(*(f"{run}: {written} receipts" for run, written in projected.items()))
        show(*(f"{run}: NOT projected, {why}" for run, why in failed.items()))
    if failed:
        raise typer.Exit(5)
