"""`polytraders calibrate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polytraders.cli.output import Json, print_json, tell_of_compiling


def calibrate(
    recordings: Annotated[list[str], typer.Argument(help="Names of recordings, as `polytraders data ls` lists them.")],
    orders: Annotated[int, typer.Option("--orders", min=100, help="Virtual orders for each recording.")] = 3_000,
    horizon: Annotated[int, typer.Option("--horizon", min=1, help="Seconds that each of them stands.")] = 60,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Where they are placed, and what the bootstrap draws.")
    ] = 1,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the calibration; default: the recordings'.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit queue and latency models to recordings, by what became of orders that were never sent."""
    tell_of_compiling()
    from polytraders.research.calibrate import calibrate_recordings

    path, found = calibrate_recordings(recordings, save_as=name, orders=orders, horizon_s=horizon, seed=seed)
    if as_json:
        print_json({"path": path, **found})
    else:
        _print(path, found)


def _print(path: Any, found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, queue, fills = Console(highlight=False), found["queue"], found["fills"]
    console.print(
        f"{queue['cancels']:,} cancels seen, {queue['identified']:,} told from others; with shares before and behind a "
        f"virtual order: {queue['train']:,} to fit on, {queue['held_out']:,} held out"
    )
    low, high = queue["power_interval"]
    console.print(f"power n = {queue['power']:.2f} (95 %: {low:.2f} ... {high:.2f})")
    low, high = queue["share_behind_interval"]
    console.print(f"cancels behind the order: {queue['share_behind']:.1%} (95 %: {low:.1%} ... {high:.1%})\n")
    table = Table("queue model", box=None, pad_edge=False)
    for heading in ("log-loss", "Brier", "filled", "wrong", "wrong, messages as they come"):
        table.add_column(heading, justify="right")
    for model, score in queue["held_out_scores"].items():
        said = fills["models"].get(model, {})
        shown = [f"{said[key]:.2%}" if key in said else "" for key in ("rate", "wrong")]
        shown.append(f"{fills['wrong_in_recorded_order'][model]:.2%}" if model in fills["models"] else "")
        mark = "[bold]" if model == queue["chosen"] else ""
        table.add_row(f"{mark}{model}", f"{score['log_loss']:.3f}", f"{score['brier']:.3f}", *shown)
    console.print(table)
    console.print(
        f"held out; of {fills['held_out']:,} virtual orders {fills['rate_at_least']:.2%} to "
        f"{fills['rate_at_most']:.2%} were filled by what followed, of {fills['known']:,} it is known\n"
    )
    console.print("What the recordings do not tell:")
    for sentence in found["not_identified"]:
        console.print(f"  - {sentence}", style="dim", markup=False)
    console.print(f"\n{path}", soft_wrap=True)
    sets = " ".join(f"--set {key}={value}" for key, value in found["settings"].items())
    console.print(f"next: polytraders backtest RECORDING {sets}", soft_wrap=True)
