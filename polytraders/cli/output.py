"""What all commands print with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    from polytraders.store.desk import Answer

SUB: dict[str, Any] = {"no_args_is_help": True, "context_settings": {"help_option_names": ["-h", "--help"]}}
"""Options of every group of commands."""

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, in a few words.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Configuration; default: ./settings.ini.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(value, option=options, default=str).decode())


def tell_of_compiling() -> None:
    """Say on stderr, once, when the step is compiled and not loaded: a silent minute looks like a hang."""
    from numba.core import event

    class Once(event.Listener):
        told = False

        def on_start(self, event: Any) -> None:
            if not self.told:
                self.told = True
                typer.echo("Compiling for this machine: once, about a minute.", err=True)

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Once())


@contextmanager
def progress_bar(title: str, unit: str = "events") -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr while it is a terminal; yields the function to call with (done, in all)."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} / {task.total:,.0f} " + unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


WIDE = 200
"""Columns of what is no terminal: a file or a pipe is not to be broken into lines of 80."""


def console() -> Console:
    """Where people read: as wide as the terminal (or COLUMNS)."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, width=None if known else WIDE)


def table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """An empty table; `right`: the columns of numbers, `whole`: those that are never broken, such as ids to copy."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        # An id that is cut cannot be copied: what does not fit goes on in the next line instead
        kept = column in right or column in whole
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=kept)
    return made


def named(lines: Iterable[tuple[str, str]]) -> Table:
    """Names and what they are, below each other; a long text goes on under its beginning."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True, min_width=12)
    made.add_column(overflow="fold")
    for name, value in lines:
        made.add_row(f"{name}:" if name else "", value)
    return made


def under(text: str, by: int = 2, loud: str = "") -> Padding:
    """Text that belongs to the line above it, in all its lines. loud: its first word, where that is bad news."""
    from rich.padding import Padding
    from rich.text import Text

    told = Text(text, overflow="fold")
    told.stylize("bold red", 0, len(loud))
    return Padding(told, (0, 0, 0, by), expand=False)


def show(*things: Any) -> None:
    """Print text as it is, never broken, and tables as wide as the terminal."""
    out = console()
    for thing in things:
        out.print(thing, soft_wrap=isinstance(thing, str))


def tell(answer: Answer, as_json: bool) -> None:
    """Print how a request ended; exit 1 when it was refused."""
    if as_json:
        print_json(answer.as_dict())
    else:
        say(answer)
    if not answer.ok:
        raise typer.Exit(1)


def say(answer: Answer) -> None:
    """Print how a request ended."""
    lines = [f"{answer.subject}: {answer.status}", f"{answer.message} ({answer.code})"]
    lines += [f"  {name}: {value}" for name, value in answer.details.items() if value not in ([], None, "", False)]
    show("\n".join(lines))
