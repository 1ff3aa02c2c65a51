"""The report in short, for a terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from polytraders.report import analysis
from polytraders.report.findings import findings, sentences
from polytraders.report.words import MISSING, cents, percent, pusd
from polytraders.units import money_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from polytraders.report.analysis import Run

_COLOUR = {"stop": "red", "care": "yellow", "note": "dim"}


def summary_text(run: Run) -> RenderableType:
    """The sentences, what limits them, profit by market, markouts: something rich can print."""
    from rich.console import Group
    from rich.text import Text

    mode = str(run.manifest["run_mode"]).upper()
    parts: list[RenderableType] = [Text.assemble((f" {mode} ", "reverse bold"), " ", (run.id, "bold")), Text("")]
    parts += [Text(sentence) for sentence in sentences(run)] + [Text(""), _findings(run)]
    if len(run.pnl):
        parts += [Text(""), _by_market(run)]
    return Group(*parts, Text(""), _markouts(run))


def summary(run: Run) -> dict[str, Any]:
    """The same for a program: money in decimal text, markouts in cents, shares of one."""
    change = analysis.final_equity(run) - run.deposits
    stats = analysis.order_statistics(run)
    means = {h: analysis.mean_markout(run.markouts, h) for h in analysis.HORIZONS}
    return {
        "run_id": run.id,
        "run_mode": run.manifest["run_mode"],
        "log_hash": run.log_hash,
        "sentences": sentences(run),
        "findings": [asdict(finding) for finding in findings(run)],
        "pnl": money_text(change),
        "parts": {part: money_text(int(run.pnl[part].sum())) for part in analysis.PARTS},
        "drawdown": money_text(int(run.equity["drawdown"].max())),
        "orders": {name: stats[name] for name in ("sent", "rejected", "cancelled", "filled", "fills", "fill_ratio")},
        "markouts": {
            f"{h}s": {"n": mean.n, "cents": _or_none(mean.mean / 200), "standard_error": _or_none(mean.error / 200)}
            for h, mean in means.items()
        },
    }


def _or_none(value: float) -> float | None:
    return None if value != value else round(value, 6)


def _findings(run: Run) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings(run):
        table.add_row(Text(finding.level, _COLOUR[finding.level]), finding.text)
    return table


def _by_market(run: Run) -> Table:
    from rich.table import Table

    money = (*analysis.PARTS, "total")
    table = Table(box=None, pad_edge=False, show_footer=len(run.pnl) > 1, caption="pUSD", caption_justify="left")
    table.add_column("market", footer="all", overflow="fold")
    table.add_column("fills", justify="right", footer=f"{int(run.pnl['fills'].sum()):,}")
    for name in money:
        table.add_column(name, justify="right", footer=pusd(int(run.pnl[name].sum()), signed=True))
    for row in run.pnl.sort_values("total", kind="stable").to_dict("records"):
        table.add_row(run.name(row["market"]), f"{row['fills']:,}", *(pusd(row[name], signed=True) for name in money))
    return table


def _markouts(run: Run) -> Text:
    from rich.text import Text

    words = []
    for horizon in analysis.HORIZONS:
        mean = analysis.mean_markout(run.markouts, horizon)
        if mean.n:
            words.append(f"{horizon} s {cents(mean.mean)} ± {cents(mean.error, signed=False)} (n = {mean.n:,})")
    trades, inferred = analysis.trade_counts(run)
    share = percent(inferred / trades) if trades else MISSING
    said = "; ".join(words) or "none known"
    return Text(f"Markout, cents a share ± standard error: {said}. Trades inferred: {share}.", "dim")
