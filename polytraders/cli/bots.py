"""`polytraders bots`, `polytraders bots new` and `polytraders schemas`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from polytraders.cli.output import Json, print_json


class _Bots(TyperGroup):
    """`bots`, `bots ID`, `bots new ID`: what is no command is a bot to show."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


app = typer.Typer(cls=_Bots, invoke_without_command=True, no_args_is_help=False, subcommand_metavar="[BOT | new ID]")


@app.callback()
def bots(ctx: typer.Context, as_json: Json = False) -> None:
    """List the bots with their modes and parameters in force, show one, or begin one as a copy."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@app.command("show", hidden=True)
def show(
    ctx: typer.Context,
    bot: Annotated[str, typer.Argument(help="The bot, by id.")],
    as_json: Json = False,
) -> None:
    """Show one bot's specification, and its parameters in force."""
    from polytraders.bots import load_bot
    from polytraders.config import load_settings

    _show(load_bot(bot), load_settings(), as_json or ctx.parent.params["as_json"])


@app.command("new")
def new(
    bot_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the new bot, such as strat.my_idea.")],
    source: Annotated[str, typer.Option("--from", help="The bot to copy, of the same family.")] = "",
    as_json: Json = False,
) -> None:
    """Begin a bot: copy another's notebook, fixtures and test under a new id, ready to be changed."""
    from polytraders.cli.new_bot import new_bot

    made = new_bot(bot_id, source)
    if as_json:
        print_json({"bot_id": bot_id, "files": [str(path) for path in made]})
        return
    here = [path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path for path in made]
    fixtures = sum(path.suffix == ".json" for path in made)
    test = f" and {here[-1]}" if made[-1].suffix == ".py" else ""
    typer.echo(f"{here[0]}, {fixtures} fixtures{test}: a copy, nothing of it is yours yet.")
    typer.echo("  change it, decide first, and run it:  make lab")
    typer.echo("  export its module:                    nbdev-export && nbdev-clean")
    if test:
        typer.echo(f"  what you changed, its test names:     pytest {here[-1]} -n 0")
    if bot_id.startswith("strat."):
        typer.echo(f"  trade a recording with it:            polytraders backtest NAME --strategy {bot_id} --report")


def _list(as_json: bool) -> None:
    from polytraders.bots import LIBRARY, bot_ids, load_bot
    from polytraders.config import load_settings

    settings = load_settings()
    rows = [(load_bot(b), settings.bot(b)) for b in bot_ids()]
    if as_json:
        listed = [
            {
                "bot_id": b.id,
                "name": b.spec.name,
                "version": b.spec.version,
                "in_step": b.spec.kernel,
                **c.as_dict(),
            }
            for b, c in rows
        ]
        print_json({"built": listed, "library": list(LIBRARY)})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{len(rows)} bots of the library's {sum(map(len, LIBRARY.values()))}, in pipeline order",
        title_justify="left",
    )
    for heading in ("bot", "version", "decides", "mode", "what it does"):
        table.add_column(heading)
    for b, config in rows:
        where = "in the step" if b.spec.kernel else "outside"
        table.add_row(b.id, b.spec.version, where, str(config.mode), b.spec.purpose.split(". ")[0].rstrip(".") + ".")
    Console(highlight=False).print(table)


def _show(bot, settings, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    config = settings.bot(bot.id)
    if as_json:
        print_json({**bot.spec.as_dict(), "in_force": config.as_dict()})
        return
    console = Console(highlight=False)
    console.print(f"[bold]{bot.id}[/bold] {bot.spec.version}, {config.mode}")
    console.print(bot.spec.purpose)
    table = Table(title="Parameters", title_justify="left")
    table.add_column("name")
    for heading in ("in force", "default", "warning", "hard"):
        table.add_column(heading, justify="right")
    table.add_column("what it does")
    for p in bot.spec.parameters:
        table.add_row(
            p.name, p.show(config.values[p.name]), p.show(p.default), p.show(p.warning), p.show(p.hard), p.controls
        )
    console.print(table)
    codes = Table(title="Reason codes", title_justify="left")
    for heading in ("code", "severity", "what a user reads"):
        codes.add_column(heading)
    for code in bot.spec.codes():
        codes.add_row(code.name, code.severity.name, code.user_message)
    console.print(codes)


def schemas(
    write: Annotated[bool, typer.Option("--write", help="Write the files instead of comparing them.")] = False,
    folder: Annotated[Path, typer.Option("--folder", help="Where they lie.")] = Path("schemas"),
    as_json: Json = False,
) -> None:
    """Compare the JSON Schemas and TypeScript types with the contracts they are made from. Exit 1 = they differ."""
    import tempfile

    from polytraders.contracts import MODELS, write_schemas

    if write:
        write_schemas(folder)
        differ: list[str] = []
    else:
        with tempfile.TemporaryDirectory() as fresh:
            write_schemas(Path(fresh))
            made = {p.name: p.read_bytes() for p in Path(fresh).iterdir()}
        there = {p.name: p.read_bytes() for p in folder.glob("*.*")}
        differ = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    names = sorted(MODELS)
    if as_json:
        print_json({"folder": folder, "schemas": names, "written": write, "differ": differ})
    elif differ:
        typer.echo(f"{len(differ)} files differ from the contracts: {', '.join(differ)}")
        typer.echo("mend: polytraders schemas --write")
    else:
        typer.echo(f"{len(names)} schemas in {folder} {'written' if write else 'are those of the contracts'}")
    if differ:
        raise typer.Exit(1)
