"""What stands on the page: panels of one message each, with the run mode on every one of them.

A panel shows itself in a notebook too: a chart through plotly's own renderer there, on the page
through the script that the page carries once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from polytraders.reasons import lookup
from polytraders.report import analysis
from polytraders.report.analysis import PARTS, Run, order_statistics
from polytraders.report.findings import findings, sentences
from polytraders.report.words import MISSING, cents, count, lasting, moment, percent, price, pusd, shares
from polytraders.rows import EventKind
from polytraders.run.band import read_band

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Panel:
    """HTML, and the figure in it for a notebook that can draw one."""

    html: str
    figure: dict[str, Any] | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/html": self.html}
        if self.figure is not None:
            bundle["application/vnd.plotly.v1+json"] = self.figure
        return bundle


_CODE = re.compile(r"`([^`]+)`")


def badge(run: Run) -> str:
    """The run's mode as it stands on every panel."""
    return f'<span class="badge">{escape(str(run.manifest["run_mode"]).upper())}</span>'


def panel(run: Run, title: str, body: str, note: str = "", kind: str = "") -> Panel:
    """A panel around HTML."""
    marked = _CODE.sub(r"<code>\1</code>", escape(note))
    below = f'<p class="note">{marked}</p>' if note else ""
    head = f"<header><h3>{escape(title)}</h3>{badge(run)}</header>"
    return Panel(f'<section class="panel {kind}">{head}{body}{below}</section>')


def chart(run: Run, figure: go.Figure, note: str = "") -> Panel:
    """A panel around a figure; its title becomes the panel's."""
    title = figure.layout.title.text or ""
    known = json.loads(figure.to_json())
    known["layout"].pop("title", None)
    height = figure.layout.height or 340
    data = json.dumps(known, separators=(",", ":")).replace("</", "<\\/")
    body = (
        f'<div class="chart" role="img" aria-label="{escape(title)}" style="height:{height}px"></div>'
        f'<script type="application/json" class="figure">{data}</script>'
    )
    mode = str(run.manifest["run_mode"]).upper()
    alone = json.loads(figure.to_json())
    alone["layout"]["title"] = {"text": f"{mode} · {title}", "font": {"size": 14}}
    alone["layout"]["margin"]["t"] = 64
    return Panel(panel(run, title, body, note, "has-chart").html, alone)


# ------------------------------------------------------------------------------------------------------ tables


@dataclass(frozen=True)
class Column:
    """A heading and how its values are written; numbers stand right and carry their exact value for sorting, prose
    may run over several lines."""

    heading: str
    show: Callable[[Any], str] = str
    number: bool = False
    prose: bool = False


def table(columns: Sequence[Column], lines: Sequence[Sequence[Any]], total: Sequence[Any] | None = None) -> str:
    """An HTML table that sorts by a click on its heading; a None cell is a dash."""
    head = "".join(f'<th{_side(c)} tabindex="0">{escape(c.heading)}</th>' for c in columns)
    body = "".join(f"<tr>{_cells(columns, line)}</tr>" for line in lines)
    foot = f"<tfoot><tr>{_cells(columns, total)}</tr></tfoot>" if total is not None else ""
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody>{foot}</table></div>"
    )


def _side(column: Column) -> str:
    return ' class="n"' if column.number else ' class="prose"' if column.prose else ""


def _cells(columns: Sequence[Column], line: Sequence[Any]) -> str:
    found = []
    for column, value in zip(columns, line, strict=True):
        text = "" if value == "" else MISSING if value is None else column.show(value)
        exact = f' data-v="{value}"' if column.number and value not in (None, "") else ""
        found.append(f"<td{_side(column)}{exact}>{escape(text)}</td>")
    return "".join(found)


def facts(pairs: Sequence[tuple[str, str]], numbers: bool = False) -> str:
    """Names and values; numbers stand right, in two blocks where there is room."""
    lines = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts{" numbers" if numbers else ""}">{lines}</dl>'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# -------------------------------------------------------------------------------------------- the page's parts


def head(run: Run) -> Panel:
    """Who, on what, when."""
    recording = run.manifest["pins"].get("recording", "")
    bots = ", ".join(f"{bot['bot_id']} {bot['version']}" for bot in run.manifest["bots"] if bot["family"] == "strat")
    return Panel(
        f'<header class="hero"><p class="over">{badge(run)} {_RECORDS[str(run.manifest["run_mode"])]}</p>'
        f"<h1>{escape(run.manifest['strategy'])} on {escape(recording)}</h1>"
        f'<p class="under">{escape(bots)} · {moment(run.start)} to {moment(run.end)} UTC '
        f"({lasting(run.end - run.start)}) · run {escape(run.id)}</p></header>"
    )


_RECORDS = {
    "backtest": "not a track record",
    "shadow": "nothing was sent",
    "paper": "simulated fills on live data",
    "live": "orders at a venue",
}


def in_short(run: Run) -> Panel:
    """Five sentences."""
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(run))
    return panel(run, "In five sentences", f'<ol class="sentences">{lines}</ol>')


def limits(run: Run) -> Panel:
    """The findings, the gravest first."""
    words = {"stop": "stop", "care": "take care", "note": "note"}
    found = findings(run)
    lines = "".join(
        f'<li><span class="level {f.level}">{words[f.level]}</span><span>{escape(f.text)}</span></li>' for f in found
    )
    grave = sum(f.level == "stop" for f in found)
    care = sum(f.level == "care" for f in found)
    title = f"{count(grave, 'finding')} {_say(grave)} stop, {count(care, 'finding')} {_say(care)} take care"
    return panel(run, _capital(title), f'<ul class="findings">{lines}</ul>')


def _say(n: int) -> str:
    return "says" if n == 1 else "say"


def band_note(run: Run) -> str:
    """What the band around the equity is, "" for a run without one."""
    band = read_band(run.folder)
    if band is None:
        return ""
    cases = [(which, band["cases"][which]) for which in ("low", "central", "high")]
    told = "; ".join(f"{which} {case['pnl']} pUSD on {count(case['fills'], 'fill')}" for which, case in cases)
    name = band["source"].get("calibration", "?")
    return (
        f"Band: the same backtest under the fill models that calibration {name} leaves open: {told}. "
        "It says nothing about other days."
    )


def by_market(run: Run) -> Panel:
    """Profit by market and part; sums to the change of equity."""
    money = lambda heading: Column(heading, lambda v: pusd(v, 4, signed=True), True)  # noqa: E731
    columns = [
        Column("market"),
        Column("fills", lambda v: f"{v:,}", True),
        Column("volume", lambda v: pusd(v), True),
        *(money(part) for part in PARTS),
        money("result"),
        Column("left, shares"),
    ]
    lines = []
    for row in run.pnl.sort_values("total", kind="stable").to_dict("records"):
        left = [f"{shares(row[token])} {token.upper()}" for token in ("yes", "no") if row[token]]
        money_in = [row[part] for part in PARTS]
        counted = [run.name(row["market"]), row["fills"], row["volume"]]
        lines.append([*counted, *money_in, row["total"], ", ".join(left) or "none"])
    sums = run.pnl.sum()
    total = ["all", int(sums["fills"]), int(sums["volume"]), *(int(sums[p]) for p in PARTS), int(sums["total"]), ""]
    residual = analysis.residual(run)
    note = (
        "All in pUSD. Spread: value received over the mid just before each fill. Drift: what holdings gained or lost "
        "as the mid moved. Rebates are accrued, not yet paid. The parts sum to the run's own change of equity with a "
        f"residual of {pusd(residual, 6)}."
        if residual is not None
        else "The run was never closed: there is no equity of its own to hold the sum against."
    )
    lead = f"The parts sum to {pusd(int(sums['total']), 6, signed=True)} pUSD, market by market"
    return panel(run, lead, table(columns, lines, total), note)


def worst_fills(run: Run, most: int = 10, horizon: int = 10) -> Panel:
    """The fills that cost most by their markout, with the intent to trace each by."""
    import pandas as pd

    later = run.markouts[run.markouts["horizon"] == horizon]
    fills = run.fills.assign(later=later["markout"].to_numpy())
    known = fills[fills["later"].notna()]
    cost = known["later"].astype("int64") * known["size"] // 20_000  # half-pips x micro-shares -> micro-pUSD
    worst = known.assign(cost=cost).nsmallest(most, "cost", keep="first")
    columns = [
        Column("time, UTC", lambda v: moment(v)[11:]),
        Column("market"),
        Column("order"),
        Column("shares", lambda v: shares(v), True),
        Column("price", lambda v: price(v), True),
        Column("mid before", lambda v: price(v // 2) if v % 2 == 0 else f"{v / 20_000:.5f}", True),
        Column(f"{horizon} s, cents", lambda v: cents(v), True),
        Column("pUSD", lambda v: pusd(v, 4, signed=True), True),
        Column("filled by"),
        Column("intent"),
    ]
    lines = []
    for row in worst.to_dict("records"):
        order = f"{row['side']} {row['outcome']}"
        mid2 = None if pd.isna(row["mid2"]) else int(row["mid2"])
        shape = [row["ts"], run.name(row["market"]), order, row["size"], row["price"], mid2]
        lines.append([*shape, int(row["later"]), int(row["cost"]), row["cause"], row["intent"]])
    if not lines:
        return panel(run, "No fill to look at one by one", f"<p>Of none is the price {horizon} s later known.</p>")
    lost = pusd(-int(worst["cost"].sum()))
    title = f"The {count(len(lines), 'fill')} that stood worst {horizon} s later cost {lost} pUSD of mid"
    note = (
        "Mids are of YES, just before the fill. `polytraders trace` with an intent's id tells its whole story: what "
        "was known, decided, sent and traded."
    )
    return panel(run, title, table(columns, lines), note)


def orders(run: Run) -> Panel:
    """What became of the orders."""
    stats = order_statistics(run)
    sent = stats["sent"]

    def of_sent(n: int) -> str:
        return f"{n:,} ({percent(n / sent)})" if sent else f"{n:,}"

    time = lambda ns: MISSING if ns is None else lasting(ns)  # noqa: E731
    pairs = [
        ("orders sent", f"{sent:,}"),
        ("accepted by the venue", of_sent(stats["accepted"])),
        ("rejected by the venue", of_sent(stats["rejected"])),
        *((f"  {code}", f"{n:,}") for code, n in stats["by_code"].items()),
        ("filled whole", of_sent(stats["filled"])),
        ("filled in part", of_sent(stats["partly"])),
        ("cancelled", of_sent(stats["cancelled"])),
        ("open at the end", f"{stats['open']:,}"),
        ("cancels sent", f"{stats['cancels_sent']:,}"),
        ("fills", f"{stats['fills']:,}"),
        ("  as maker", f"{stats['maker_fills']:,}"),
        ("  as taker", f"{stats['fills'] - stats['maker_fills']:,}"),
        ("volume, pUSD", pusd(stats["volume"])),
        ("shares filled / shares sent", percent(stats["fill_ratio"], 2)),
        ("median time to acknowledgement", time(stats["ack_ns"])),
        ("median time to first fill", time(stats["fill_ns"])),
    ]
    title = f"{count(sent, 'order')} sent, {of_sent(stats['touched'])} touched by a fill"
    return panel(run, _capital(title), facts(pairs, numbers=True))


def reasons(run: Run) -> Panel:
    """Every reason of every bot, with the sentence a user reads."""
    columns = [
        Column("bot"),
        Column("reason code"),
        Column("severity"),
        Column("decisions", lambda v: f"{v:,}", True),
        Column("of the bot's", lambda v: percent(v), True),
        Column("what it tells a user", prose=True),
    ]
    names = ["bot", "code", "severity", "decisions", "share", "sentence"]
    lines = [[row[name] for name in names] for row in run.reasons.to_dict("records")]
    total = int(run.reasons["decisions"].sum())
    said = (run.summary or {}).get("decisions")
    note = f"The run says it made {said:,}." if said is not None else ""
    title = f"{total:,} decisions for {run.reasons['code'].nunique()} reasons by {run.reasons['bot'].nunique()} bots"
    return panel(run, title, table(columns, lines, ["all", "", "", total, "", ""]), note)


def data(run: Run) -> Panel:
    """What the run stood on, and what is wrong with it."""
    trades, inferred = analysis.trade_counts(run)
    tape = run.events["kind"] < EventKind.CLOCK
    caused = run.fills["cause"].value_counts().to_dict()
    counts = analysis.quality(run)
    problems = int(counts["count"].sum()) if len(counts) else 0
    resolved = int((run.events["kind"] == EventKind.RESOLUTION).sum())
    pairs = [
        ("event rows of the recording", f"{int(tape.sum()):,}"),
        ("trades", f"{trades:,}"),
        ("  inferred, not recorded", f"{inferred:,} ({percent(inferred / trades if trades else None)})"),
        ("markets", f"{len(run.markets):,}"),
        ("  resolved inside the data", f"{resolved:,}"),
        *((f"fills caused by {_CAUSES[cause]}", f"{n:,}") for cause, n in caused.items()),
        *((f"markets with {name} assumed", f"{n:,}") for name, n in analysis.assumed(run).items()),
    ]
    body = facts(pairs, numbers=True)
    if len(counts):
        columns = [Column("problem"), Column("times", lambda v: f"{v:,}", True), Column("meaning", prose=True)]
        lines = [[row["kind"], row["count"], row["meaning"]] for row in counts.to_dict("records")]
        body += table(columns, lines, ["all", problems, ""])
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.manifest["notes"])
    body += f'<ul class="notes">{notes}</ul>' if notes else ""
    share = percent(inferred / trades) if trades else "none"
    title = f"{count(problems, 'problem')} found on import; {share} of the trades inferred"
    return panel(run, _capital(title), body)


_CAUSES = {
    "taker": "crossing the book",
    "trade": "a recorded trade",
    "inferred trade": "an inferred trade",
    "book": "the book moving through the order",
}


def rules(run: Run) -> Panel:
    """The venue's rules that changed inside the run."""
    changed = run.manifest.get("rules") or []
    columns = [
        Column("from, UTC"),
        Column("rule"),
        Column("markets of"),
        Column("concerned", lambda v: f"{v:,}", True),
        Column("before", prose=True),
        Column("after", prose=True),
        Column("where this comes from", prose=True),
    ]
    names = ("category", "markets", "before", "after", "why")
    lines = [[moment(rule["ts"]), _RULES[rule["rule"]], *(rule[name] for name in names)] for rule in changed]
    if not lines:
        return panel(run, "No rule of the venue changed inside the data", "<p>None that is known.</p>")
    title = f"{count(len(lines), 'rule')} of the venue changed inside the data"
    note = "Each event met the rule of its time; a result over both is the result of neither."
    return panel(run, _capital(title), table(columns, lines), note)


_RULES = {"fees": "fee schedule", "taker_delay": "taker delay"}


def beside(run: Run) -> Panel:
    """What quotes and fills would have earned beside the trades: liquidity rewards (estimated), maker rebates."""
    from polytraders.report import rewards

    found, days = rewards.estimates(run), rewards.rebate_days(run)
    columns = [
        Column("market"),
        Column("minutes sampled", lambda v: f"{v:,}", True),
        Column("scoring", lambda v: percent(v), True),
        Column("share of the pool", lambda v: percent(v, 2), True),
        Column("at least", lambda v: percent(v, 2), True),
        Column("at most", lambda v: percent(v, 2), True),
        Column("± by chance of the moment", lambda v: percent(v, 2), True),
        Column("pUSD", lambda v: pusd(v, 4), True),
        Column("at least", lambda v: pusd(v, 4), True),
        Column("at most", lambda v: pusd(v, 4), True),
    ]
    lines = []
    for e in found:
        error = None if e.error != e.error else e.error
        shares_ = [e.share, e.low, e.high, error]
        lines.append([run.name(e.market), e.minutes, e.quoted, *shares_, *map(e.pusd, (e.share, e.low, e.high))])
    lost = int((days["accrued"] - days["paid"]).sum())
    body = table(columns, lines) if lines else "<p>No order of ours rested while the market was sampled.</p>"
    pairs = [
        ("maker rebates accrued", f"{pusd(int(days['accrued'].sum()), 4)} pUSD"),
        ("  of that on days below the venue's minimum, not paid", f"{pusd(lost, 4)} pUSD"),
    ]
    guessed = sum(not e.terms_known for e in found)
    note = (
        "An estimate, in no number above. Once a minute the venue scores what rests near the mid; the recorded book "
        "shows how much others had there, not how it was divided among them: hence at least and at most. "
    )
    if guessed:
        note += f"Of {count(guessed, 'market')} the terms are not known: those of most markets are taken. "
    note += "Without a known pool there is no amount. Rebates are paid once a day, from the venue's minimum on."
    if not found:
        title = "No liquidity rewards to estimate"
    elif not any(e.quoted for e in found):
        title = "None of our quotes would have scored for liquidity rewards"
        note = "They were below the smallest rewarded size, too far from the mid, or on one side near 0 or 1. " + note
    else:
        n = sum(e.minutes for e in found)
        mean = [sum(getattr(e, name) * e.minutes for e in found) / n for name in ("share", "low", "high")]
        title = (
            f"Our quotes would have earned about {percent(mean[0])} of their markets' liquidity rewards, "
            f"between {percent(mean[1])} and {percent(mean[2])}"
        )
    return panel(run, title, body + facts(pairs, numbers=True), note)


def warnings(run: Run) -> Panel:
    """What was out of the ordinary while it ran, in the words of the codes."""
    table_ = run.reasons[run.reasons["severity"].isin(["WARN", "HARD_REJECT"])]
    table_ = table_.sort_values("decisions", ascending=False, kind="stable")
    columns = [
        Column("bot"),
        Column("severity"),
        Column("reason code"),
        Column("decisions", lambda v: f"{v:,}", True),
        Column("what to do", prose=True),
    ]
    names = ["bot", "severity", "code", "decisions"]
    lines = [[*(row[name] for name in names), lookup(row["code"]).action] for row in table_.to_dict("records")]
    beyond = [
        f"{bot}: {', '.join(parameters) or 'a parameter'} beyond its warning"
        for bot, parameters in analysis.warned_parameters(run)
    ]
    listed = "".join(f"<li>{escape(text)}</li>" for text in beyond)
    body = f'<ul class="notes">{listed}</ul>' if beyond else ""
    body += table(columns, lines, ["all", "", "", int(table_["decisions"].sum()), ""]) if lines else "<p>None.</p>"
    title = f"{count(len(lines), 'reason')} of severity WARN or HARD_REJECT"
    title += f", {count(len(beyond), 'bot')} with a parameter beyond its warning" if beyond else ""
    return panel(run, _capital(title), body)


def compared(run: Run) -> Panel | None:
    """A run on live data beside a backtest of the day it saw: each cause of a difference. None for a backtest."""
    if run.manifest["run_mode"] == "backtest" or not len(run.events):
        return None
    from polytraders.run.compare import compare

    found = compare(run.folder)
    kinds = ("decision", "order", "answer", "fill")
    columns = [
        Column("cause"),
        *(Column(f"{kind}s", lambda v: f"{v:,}", True) for kind in kinds),
        Column("pUSD more than the backtest", lambda v: pusd(v, 4, signed=True), True),
        Column("first, UTC"),
        Column("what it means", prose=True),
    ]
    lines = []
    for row in found.causes():
        counts = [row["counts"].get(kind) for kind in kinds]
        lines.append([row["cause"], *counts, row["money"], moment(row["first"]), row["meaning"]])
    totals = [f"{side}: {of['orders']:,} orders, {of['fills']:,} fills" for side, of in found.totals.items()]
    note = f"{'; '.join(totals)}. {found.same.get('decisions', 0):,} decisions agree in everything. "
    if found.first is not None:
        note += f"The first decision at which they part was at {moment(found.first['ts_ns'])} UTC: "
        note += f"{found.first['meaning']} "
    note += f"`polytraders compare {run.id} --all` lists each difference."
    if found.unexplained:
        note = f"{count(len(found.unexplained), 'difference')} that nothing in the log explains. " + note
    if not lines:
        return panel(run, "It is what a backtest of the same day gives", "<p>No difference.</p>", note, "compared")
    title = f"{sum(row['roots'] for row in found.causes()):,} differences from a backtest of the same day, by cause"
    return panel(run, title, table(columns, lines), note, "compared" if found.ok else "compared stop")


def provenance(run: Run) -> Panel:
    """What the numbers stand on: enough to make them again."""
    manifest, summary = run.manifest, run.summary or {}
    git = manifest.get("git")
    commit = "made outside a git checkout"
    if git:
        commit = git["commit"] + (" with uncommitted changes" if git["dirty"] else "")
    pins = manifest["pins"]
    files = [(f"data: {name}", f"SHA-256 {digest}") for name, digest in pins.get("files", {}).items()]
    files += [(f"data: {name}", f"SHA-256 {digest}") for name, digest in pins.get("events", {}).items()]
    pairs = [
        ("run", run.id),
        ("mode", str(manifest["run_mode"])),
        ("log hash (SHA-256 chain)", run.log_hash or "never closed"),
        ("configuration (SHA-256)", manifest["config_hash"]),
        ("kernel sources (SHA-256)", manifest["source_hash"]),
        ("commit", commit),
        ("package", f"polytraders {manifest['package_version']}"),
        ("seed", "none: nothing in the run is random" if manifest.get("seed") is None else str(manifest["seed"])),
        *((f"model: {role}", str(model)) for role, model in manifest["models"].items()),
        *files,
        *((f"bot: {bot['bot_id']}", f"{bot['version']}, {bot['mode']}") for bot in manifest["bots"]),
    ]
    records = summary.get("log", {}).get("records")
    note = (
        f"Check the {records:,} records against the log hash with `polytraders verify {run.id}`; derive every decision "
        f"again with `polytraders replay {run.id}`."
        if records
        else ""
    )
    return panel(run, "Where these numbers come from", facts(pairs), note, "provenance")
