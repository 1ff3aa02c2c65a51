"""The command line. Nothing heavy is imported before a command needs it: `polytraders --help` stays instant.

Exit codes are those of `polytraders.errors`. With `--json` a command prints one object on stdout
and nothing else; an error is then that object, `{"error": ..., "what": ...}`, with the same code.
"""

from __future__ import annotations

import sys

import typer

from polytraders import __version__
from polytraders.cli import (
    alerts,
    bots,
    calibrate,
    chain,
    data,
    database,
    doctor,
    intents,
    live,
    portfolios,
    record,
    report,
    research,
    run_log,
    runs,
    serve,
    sharing,
    status,
    switches,
    tokens,
    venue,
)
from polytraders.errors import PolytradersError

app = typer.Typer(
    name="polytraders",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a trading idea on Polymarket in a notebook to receipts for every decision.",
)
app.command("backtest", rich_help_panel="Runs")(runs.backtest)
app.command("run", rich_help_panel="Runs")(live.run)
app.command("export", rich_help_panel="Runs")(live.export)
app.command("replay", rich_help_panel="Runs")(runs.replay)
app.command("compare", rich_help_panel="Runs")(runs.compare)
app.command("runs", rich_help_panel="Runs")(runs.list_)
app.command("sweep", rich_help_panel="Research")(research.sweep)
app.command("walk-forward", rich_help_panel="Research")(research.walk_forward)
app.command("lookahead", rich_help_panel="Research")(research.lookahead)
app.command("calibrate", rich_help_panel="Research")(calibrate.calibrate)
app.command("verify", rich_help_panel="Receipts")(run_log.verify)
app.command("trace", rich_help_panel="Receipts")(run_log.trace)
app.command("report", rich_help_panel="Receipts")(report.report)
app.command("status", rich_help_panel="Desk")(status.status)
app.command("universe", rich_help_panel="Desk")(status.universe)
app.add_typer(intents.intents_app, name="intents", rich_help_panel="Desk")
app.add_typer(switches.switches_app, name="kill-switches", rich_help_panel="Desk")
app.add_typer(switches.override_app, name="override", rich_help_panel="Desk")
app.command("api", rich_help_panel="Desk")(serve.api)
app.command("alerts", rich_help_panel="Desk")(alerts.alerts)
app.command("console", rich_help_panel="Desk")(serve.console)
app.add_typer(database.db_app, name="db", rich_help_panel="Desk")
sharing.attach(portfolios.portfolios_app)
app.add_typer(portfolios.portfolios_app, name="portfolios", rich_help_panel="Desk")
app.add_typer(portfolios.launches_app, name="launches", rich_help_panel="Desk")
app.add_typer(tokens.tokens_app, name="tokens", rich_help_panel="Desk")
app.add_typer(data.app, name="data", rich_help_panel="Data")
app.command("record", rich_help_panel="Data")(record.record)
app.add_typer(venue.app, name="venue", rich_help_panel="Venue")
app.add_typer(chain.app, name="chain", rich_help_panel="Venue")
app.command("doctor", rich_help_panel="Venue")(doctor.doctor)
app.add_typer(bots.app, name="bots", rich_help_panel="Library")
app.command("schemas", rich_help_panel="Library")(bots.schemas)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"polytraders {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """From a trading idea on Polymarket in a notebook to receipts for every decision."""


def main() -> None:
    """Entry point: run the app, and turn errors meant for people into one message and an exit code."""
    try:
        app()
    except PolytradersError as error:
        if "--json" in sys.argv:
            from polytraders.cli.output import print_json

            print_json(error.as_dict())
        else:
            print(f"polytraders: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        print("polytraders: interrupted", file=sys.stderr)
        sys.exit(130)
