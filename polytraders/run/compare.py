"""A run laid beside a backtest of the day it saw: what differs, and why.

The run's own log is the recording: the market events as the step took them in, and what the run measured of its
surroundings. They go once more through the same bots with the same configuration, this time with the simulated venue
and with nobody to ask. Then decisions, orders, answers, fills, positions and cash of the two are paired, and every
difference is put down with its cause.

How a cause is known
    The step is a function of what it hears. That the run's decisions are the ones its log gives is proved first, by a
    replay. So a difference begins with something that one of the two heard and the other did not, or heard at another
    time: an answer of the venue, an answer or an order of a person, a gate. Those are the *roots*; each is found in the
    rows themselves. Everything else follows from the last root before it, in its own market if there is one. What has
    no root before it, a fill that no recorded trade or loss of depth can have made, and money that the differences do
    not add up to are *unexplained*.

Invariants
    C1  the differences' money adds up to the difference of cash, and their shares to that of each position, to the
        micro-pUSD and the micro-share; what is left over is a difference of its own, and unexplained
    C2  no difference without a cause; a cause is a name in CAUSES
    C3  nothing in the run's folder is changed
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from polytraders.errors import UsageError
from polytraders.run.comparison import decisions, inputs, money, orders
from polytraders.run.comparison.case import Case
from polytraders.run.comparison.counterpart import Done, backtest_of, recorded, tape_of
from polytraders.run.comparison.differences import Comparison
from polytraders.run.pipeline import pipeline_from_manifest
from polytraders.run.replay import judge, rederive
from polytraders.store.log import RecordKind, read_log
from polytraders.units import size_text


def compare(
    run_dir: Path, recording: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Comparison:
    """Backtest what a run saw and lay the two side by side.

    recording: name of one in the catalog to take the market events from instead of the run's own log.
    Raises UsageError for a backtest or a run that saw nothing, DamageError for a damaged log, ConfigError when this
    program refuses the run's settings.
    """
    log = read_log(run_dir, allow_torn=True)
    manifest = log.manifest
    if manifest["run_mode"] not in ("shadow", "paper", "live"):
        raise UsageError(
            f"{manifest['run_id']} is a {manifest['run_mode']}", where=str(run_dir),
            rule="a run on live data is laid beside a backtest", mend="name a run of mode shadow, paper or live",
        )  # fmt: skip
    again = rederive(log, progress)
    told = judge(log, again)
    live = Done(
        again.logged[RecordKind.EVENTS], again.logged[RecordKind.DECISIONS], again.logged[RecordKind.ACTIONS],
        again.run, {},
    )  # fmt: skip
    pipeline = pipeline_from_manifest(manifest)
    tape = tape_of(live.events, pipeline, manifest["bots"])
    if not len(tape):
        raise UsageError(f"{manifest['run_id']} heard nothing of any market", where=str(run_dir), mend="name another")
    heard, name = tape, "its own log"
    if recording is not None:
        tape, name = recorded(recording, manifest, tape), recording
    back, models = backtest_of(tape, manifest, pipeline)
    return _whole(Case(manifest, pipeline, again, live, back, heard, tape, name, models, told.as_dict()))


def _whole(case: Case) -> Comparison:
    """Find every difference; the roots first, then what follows from them."""
    inputs.of_inputs(case)
    inputs.of_gate(case)
    inputs.of_tapes(case)
    for one, other in case.pairs:
        orders.of_pair(case, one, other)
    case.roots.sort(key=lambda root: root.ts)
    for one, other in case.pairs:
        if one.sent != other.sent:
            orders.moved(case, one, other)
    for life in case.only_live:
        orders.alone(case, life, True)
    for life in case.only_back:
        orders.alone(case, life, False)
    first = decisions.of_decisions(case)
    money.of_money(case)
    if not case.replay["ok"]:
        case.tell("decision", "unexplained", case.start, -1, "the run's log does not give its own decisions again")
    case.found.sort(key=lambda one: (one.ts, one.what, one.market))
    totals = {"live": money.totals(case.live), "backtest": money.totals(case.back)}
    return Comparison(
        case.manifest["run_id"], case.manifest["run_mode"], case.recording, case.replay, case.models, case.names,
        totals, dict(case.same), case.found, first, _notes(case),
    )  # fmt: skip


def _notes(case: Case) -> list[str]:
    told = []
    own = sum(life.filled for life in case.live.orders.values())
    if case.manifest["run_mode"] == "live" and case.live.orders:
        told.append(
            f"What the run did is in what it saw: its own resting orders stand in the recorded books, and "
            f"{size_text(own)} of the recorded trades' shares are its own fills."
        )
    told.append(
        "The two are compared by what was concluded: bot, code, verdict, price and size. How often a bot had said "
        "the same before, and what it measured on the way, are not."
    )
    return told
