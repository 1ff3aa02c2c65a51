"""What a reader has to know before the charts: five plain sentences, then what limits the result.

A finding is true of this run by its numbers; nothing here praises. Levels: `stop` the result should not be
used as it stands, `care` it depends on something named, `note` good to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from polytraders.reasons import by_number
from polytraders.report.analysis import (
    Mean,
    Run,
    assumed,
    denials,
    final_equity,
    made_up,
    mean_markout,
    order_statistics,
    residual,
    trade_counts,
    warned_parameters,
)
from polytraders.report.rewards import rebate_days
from polytraders.report.words import cents, count, lasting, listed, moment, percent, pusd
from polytraders.rows import EventKind
from polytraders.units import NS_PER_DAY

FEW_FILLS = 100
"""Fills below which no mean is taken seriously. In recorded sessions 10 s markouts scatter by 1 to 5 cents: with
100 fills the standard error is 0.1 to 0.5 cents, up to the whole half spread of a one-cent market."""
CERTAIN = 1.96
"""Standard errors from zero at which a mean counts as told apart from chance (95 %)."""
FEW_STRETCHES = 10
"""Independent stretches below which no error is believed: with 10, Student's 2.26 already replaces 1.96."""


@dataclass(frozen=True)
class Finding:
    """One sentence about the run, and how much it matters."""

    level: Literal["stop", "care", "note"]
    text: str


def sentences(run: Run) -> list[str]:
    """What ran, what came out, where it came from, how it traded, how far to believe it."""
    stats, change = order_statistics(run), final_equity(run) - run.deposits
    total = run.pnl[["spread", "drift", "settlement", "fees", "rebates"]].sum()
    worst = int(run.equity["drawdown"].max())
    recording = run.manifest["pins"].get("recording", "the recording")
    ends = sum(1 for tape in run.tapes.values() if tape.resolved)
    market = "made-up market" if made_up(run) else "market"
    return [
        f"{_KINDS[str(run.manifest['run_mode'])]}: {run.manifest['strategy']} on {count(len(run.markets), market)} of "
        f"{recording}, {lasting(run.end - run.start)} from {moment(run.start)} UTC.",
        f"Equity went from {pusd(run.deposits)} to {pusd(final_equity(run))} pUSD, {pusd(change, signed=True)} pUSD or "
        f"{percent(change / run.deposits, 2)} of the start; the deepest drawdown was {pusd(worst)} pUSD.",
        f"Of that, {pusd(total['spread'], signed=True)} came from spread at the fills, "
        f"{pusd(total['drift'], signed=True)} from prices moving while positions were held, "
        f"{pusd(total['settlement'], signed=True)} from settlement, {pusd(total['fees'], signed=True)} from fees and "
        f"{pusd(total['rebates'], signed=True)} from rebates.",
        f"{count(stats['sent'], 'order').capitalize()} sent, {percent(stats['fill_ratio'])} of their shares filled: "
        f"{count(stats['fills'], 'fill')} for {pusd(stats['volume'])} pUSD in {count(len(run.pnl), 'market')}, "
        f"{ends} of {len(run.tapes)} quoted markets resolved inside the data.",
        _belief(run),
    ]


_KINDS = {
    "backtest": "This is a backtest, not a track record",
    "shadow": "This is a shadow run, nothing was sent",
    "paper": "This is a paper run, live data and simulated fills",
    "live": "This is a live run",
}
"""How a page begins, by run mode."""


def _belief(run: Run) -> str:
    mean = mean_markout(run.markouts, 10)
    models = run.manifest["models"]
    under = f"queue {models.get('queue', '?')}, latency {models.get('latency', '?')}"
    if mean.n == 0:
        return f"Without a fill whose price ten seconds later is known, it says nothing about edge ({under})."
    text = f"Ten seconds after a fill a share stood {cents(mean.mean)} cents to us on average (n = {mean.n:,}"
    if mean.clusters < FEW_STRETCHES:
        return f"{text}), too few and too close together to tell an error, under the models {under}."
    sure = "told apart from" if abs(mean.mean) > CERTAIN * mean.error else "not told apart from"
    error = cents(mean.error, signed=False)
    return f"{text}, standard error {error}), {sure} zero on this data, under the models {under}."


def findings(run: Run) -> list[Finding]:
    """All findings, the gravest first."""
    order = {"stop": 0, "care": 1, "note": 2}
    return sorted(_findings(run), key=lambda finding: order[finding.level])


def _findings(run: Run) -> Iterator[Finding]:
    yield from _integrity(run)
    yield from _halts(run)
    yield from _significance(run)
    yield from _adverse_selection(run)
    yield from _open_positions(run)
    yield from _data(run)
    yield from _orders(run)
    yield from _rules(run)
    yield from _sample_size(run)


def _integrity(run: Run) -> Iterator[Finding]:
    if run.torn is not None:
        yield Finding("stop", "The run was cut off: what follows ends with the last whole record of its log.")
    elif run.summary is None:
        yield Finding("stop", "The run was never closed: it is still going or was cut off.")
    gap = residual(run)
    if gap:
        yield Finding(
            "stop", f"The parts of the profit miss the run's own equity by {pusd(gap, 6)} pUSD; that is a defect."
        )


def _halts(run: Run) -> Iterator[Finding]:
    latched = int((run.summary or {}).get("halted", 0))
    if latched:
        codes = run.decisions["code"] == latched
        when = f" at {moment(run.decisions['ts'][codes][0])} UTC" if codes.any() else ""
        left = run.end - int(run.decisions["ts"][codes][0]) if codes.any() else 0
        yield Finding(
            "stop",
            f"The kill switch tripped{when}: {by_number(latched).user_message} Nothing new was quoted in the "
            f"remaining {lasting(left)}.",
        )


def _significance(run: Run) -> Iterator[Finding]:
    n = len(run.fills)
    mean = mean_markout(run.markouts, 10)
    if n == 0:
        yield Finding("stop", "No order filled: there is no result to judge.")
    elif n < FEW_FILLS:
        yield Finding(
            "care",
            f"Only {count(n, 'fill')}: too few to judge the strategy. Mean 10 s markout {_mean_text(mean)}.",
        )
    elif mean.n and (mean.clusters < FEW_STRETCHES or abs(mean.mean) <= CERTAIN * mean.error):
        yield Finding("care", f"The mean 10 s markout {_mean_text(mean)} cannot be told from zero.")
    missing = {
        horizon: int(part["markout"].isna().sum()) for horizon, part in run.markouts.groupby("horizon") if horizon
    }
    if n and (most := max(missing.values())):
        worst = max(missing, key=lambda h: missing[h])
        yield Finding(
            "care" if most > n / 10 else "note",
            f"{percent(most / n)} of the {worst} s markouts are missing: the market's data ended, was silent or had "
            "only one side at that time.",
        )


def _mean_text(mean: Mean) -> str:
    if mean.clusters < FEW_STRETCHES:
        return f"{cents(mean.mean)} cents a share (n = {mean.n:,}, no error to be told)"
    error = cents(mean.error, signed=False)
    return f"{cents(mean.mean)} cents a share (n = {mean.n:,}, standard error {error} cents)"


def _adverse_selection(run: Run) -> Iterator[Finding]:
    made = run.markouts[run.markouts["maker"]]
    half, later = mean_markout(made, 0), mean_markout(made, 10)
    if not half.n or not later.n:
        return
    lost = half.mean - later.mean
    text = (
        f"At the fill a resting order stood {cents(half.mean)} cents a share to us on average, ten seconds later "
        f"{cents(later.mean)}."
    )
    if half.mean > 0 and lost > half.mean:
        yield Finding("care", f"Adverse selection took more than the half spread. {text}")
    elif half.mean > 0 and lost > 0:
        yield Finding("note", f"Adverse selection took {percent(lost / half.mean, 0)} of the half spread. {text}")
    else:
        yield Finding("note", text)


def _open_positions(run: Run) -> Iterator[Finding]:
    left = run.pnl[(run.pnl["yes"] != 0) | (run.pnl["no"] != 0)]
    if not len(left):
        return
    marked, cost = int(left["marked"].sum()), int(left["cost"].sum())
    change = final_equity(run) - run.deposits
    held = listed([run.name(market) for market in left["market"].tolist()[:3]])
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    verb = "is" if len(left) == 1 else "are"
    yield Finding(
        "care",
        f"{count(len(left), 'position')} did not resolve and {verb} marked to mid ({held}{more}): {pusd(marked)} pUSD "
        f"in all, {pusd(marked - cost, signed=True)} of it unrealised, in a result of {pusd(change, signed=True)}.",
    )


def _data(run: Run) -> Iterator[Finding]:
    if made_up(run):
        yield Finding("stop", "The data is made up by a seeded simulator: results on it say nothing about the venue.")
    trades, inferred = trade_counts(run)
    if inferred:
        caused = int((run.fills["cause"] == "inferred trade").sum())
        n = len(run.fills)
        share = f" {percent(caused / n)} of the fills rest on them." if n else ""
        yield Finding(
            "care",
            f"{percent(inferred / trades)} of the {trades:,} trades are inferred from the book, not recorded.{share}",
        )
    fees = [name for name in ("fee_rate", "fee_exponent", "rebate_rate") if name in assumed(run)]
    if fees and run.charges_fees:
        many = max(assumed(run)[name] for name in fees)
        paid = int(run.pnl["rebates"].sum()) + int(run.pnl["fees"].sum())
        yield Finding(
            "care",
            f"Fee and rebate terms of {many} of {count(len(run.markets), 'market')} are assumed by the venue's usual "
            f"rule at that date; {pusd(paid, signed=True)} pUSD of the result comes from them.",
        )
    elif not run.charges_fees:
        yield Finding("stop", "Fees and rebates were switched off.")
    if run.manifest["pins"].get("markets"):
        yield Finding("care", f"The markets were picked by hand: {count(len(run.markets), 'market')} of the recording.")
    gaps = (run.manifest.get("quality") or {}).get("gap", 0)
    if gaps:
        yield Finding("care", f"The recording has {count(gaps, 'gap')}: what happened in them is not in the result.")


def _orders(run: Run) -> Iterator[Finding]:
    stats = order_statistics(run)
    if stats["rejected"]:
        code, most = next(iter(stats["by_code"].items()))
        yield Finding(
            "care" if stats["rejected"] > 0.05 * stats["sent"] else "note",
            f"The venue rejected {count(stats['rejected'], 'order')} ({percent(stats['rejected'] / stats['sent'])}), "
            f"most often with {code} ({most:,}).",
        )
    if stats["open"]:
        yield Finding("note", f"{count(stats['open'], 'order').capitalize()} stood open at the end.")
    kinds = run.events["kind"]
    told, voided = (int((kinds == kind).sum()) for kind in (EventKind.FILL_PROVISIONAL, EventKind.FILL_VOIDED))
    if voided:
        yield Finding("care", f"The chain refused {count(voided, 'fill')} of {told:,}; they are not in the result.")
    if waiting := told - voided - int((kinds == EventKind.FILL_CONFIRMED).sum()):
        yield Finding("note", f"{count(waiting, 'fill').capitalize()} had not been confirmed at the end and counted.")
    denied = denials(run)
    if len(denied):
        top = denied.loc[denied["decisions"].idxmax()]
        yield Finding(
            "note",
            f"Risk voted to deny {count(int(denied['decisions'].sum()), 'time')}, most often with {top['code']}: "
            f"{top['sentence']}",
        )
    for bot, names in warned_parameters(run):
        what = f" ({listed(list(names))})" if names else ""
        yield Finding("care", f"{bot} ran with a parameter beyond its warning{what}.")


def _rules(run: Run) -> Iterator[Finding]:
    changed = run.manifest.get("rules") or []
    if changed:
        what = listed([f"{rule['rule'].replace('_', ' ')} of {rule['category']} markets" for rule in changed])
        yield Finding("care", f"Rules of the venue changed inside the data: {what}. The result mixes both.")
    days = rebate_days(run)
    lost = int((days["accrued"] - days["paid"]).sum())
    if lost:
        yield Finding(
            "note",
            f"{pusd(lost, 4)} pUSD of the rebates lie on days below the venue's minimum and would not have been paid; "
            "the result counts them.",
        )


def _sample_size(run: Run) -> Iterator[Finding]:
    length = run.end - run.start
    if length < NS_PER_DAY:
        yield Finding("care", f"The data covers {lasting(length)} of one day: other days and regimes are not in it.")
    if len(run.pnl) == 1 and len(run.markets) > 1:
        yield Finding("note", "Only one market traded.")
    elif len(run.pnl) > 1:
        weight = run.pnl["total"].abs()
        if (top := int(weight.max())) > 0.5 * int(weight.sum()):
            name = run.name(int(run.pnl.loc[weight.idxmax(), "market"]))
            share = percent(top / int(weight.sum()), 0)
            yield Finding("note", f"{name} alone makes up {share} of all markets' gains and losses.")
    resolved = int((run.events["kind"] == EventKind.RESOLUTION).sum())
    if resolved < len(run.markets) and len(run.markets) > 1:
        seen = f"{resolved} of {len(run.markets)} markets resolve inside the data"
        yield Finding("note", f"{seen}; settlement of the rest is not seen.")
    if len(run.fills) and not np.diff(run.equity["equity"].to_numpy()).any():
        yield Finding("stop", "Equity never moved although orders filled.")
