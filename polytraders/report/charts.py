"""The report's charts: plotly figures whose title is their message.

Each takes a run and returns a figure; `panels.show` puts it on the page. A colour means the same thing on
every page, and all of them can be told apart on white, on black and in print. Lines are thinned to
`Look.max_points` with their extremes kept: a spike is never lost, only points between extremes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.errors import UsageError
from polytraders.report.analysis import HORIZONS, PARTS, Mean, Run, denials, final_equity, mean_markout
from polytraders.report.findings import CERTAIN
from polytraders.report.words import cents, count, percent, price, pusd, shares
from polytraders.run.band import envelope, read_band
from polytraders.units import MICRO, NS_PER_MS, ONE

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

BUY, SELL = "#2f7ed8", "#e0701a"
BOOK = "#8a93a0"
EQUITY, DRAWDOWN = "#2f7ed8", "#d1495b"
PART = {"spread": "#2a9d6f", "drift": "#8a63d2", "settlement": "#c28e0e", "fees": "#d1495b", "rebates": "#1fa3b5"}
TOTAL = "#8a93a0"
MARKET = ("#2f7ed8", "#c28e0e", "#2a9d6f", "#8a63d2")
SEVERITY = {"INFO": "#8a93a0", "EXPLAIN": "#1fa3b5", "WARN": "#c28e0e", "RESHAPE": "#8a63d2", "HARD_REJECT": "#d1495b"}
NAMES = {
    "spread": "spread at the fill",
    "drift": "drift of holdings",
    "settlement": "settlement",
    "fees": "fees",
    "rebates": "rebates",
}
"""Part of the profit -> its name on every page."""
MOST_MARKETS = 4
"""Markets drawn one by one: those with most fills."""
MOST_REASONS = 24
"""Bars of the reason-code chart; its table has them all."""


@dataclass(frozen=True)
class Look:
    """How charts are drawn."""

    max_points: int = 4_000
    template: str = "plotly_white"


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise UsageError(
            "reports need plotly", mend="install the report extra: pip install 'polytraders[report]'"
        ) from None
    return go


def thin(ts: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` points: of each equal stretch of points the first, lowest, highest and last.

    A missing value (nan) counts as neither lowest nor highest, but a stretch's first and last stay what they are.
    """
    n = len(ts)
    if n <= most:
        return np.arange(n)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    keep = []
    for part in np.array_split(np.arange(n), max(most // 4, 1)):
        keep += [part[0], part[np.argmin(low[part])], part[np.argmax(high[part])], part[-1]]
    return np.unique(keep)


def _times(ts: np.ndarray) -> np.ndarray:
    return (np.asarray(ts, np.int64) // NS_PER_MS).astype("datetime64[ms]")


def _step(go: Any, ts: np.ndarray, values: np.ndarray, look: Look, **line: Any) -> go.Scatter:
    """A line that holds its value until the next point."""
    values = np.asarray(values, np.float64)
    keep = thin(ts, values, look.max_points)
    colour = line.pop("color")
    width = line.pop("width", 1.6)
    return go.Scatter(
        x=_times(np.asarray(ts)[keep]),
        y=values[keep],
        mode="lines",
        line={"shape": "hv", "width": width, "color": colour},
        **line,
    )


def _figure(go: Any, look: Look, title: str, y: str, x: str = "receive time (UTC)", height: int = 340) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        title=title,
        template=look.template,
        height=height,
        margin={"l": 70, "r": 20, "t": 16, "b": 46 if x else 28},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
        xaxis_title={"text": x, "standoff": 8},
        yaxis_title=y,
        separators=".,",
    )
    return figure


def _mark_events(figure: go.Figure, run: Run) -> None:
    """The moments that explain a break: the kill switch, and resolutions while they are few."""
    latched = int((run.summary or {}).get("halted", 0))
    hits = run.decisions["ts"][run.decisions["code"] == latched] if latched else []
    if len(hits):
        _line(figure, int(hits[0]), "kill switch", DRAWDOWN)
    ends = [tape for market, tape in run.tapes.items() if tape.resolved and market in set(run.pnl["market"])]
    if len(ends) <= 12:
        for tape in ends:
            _line(figure, tape.resolved, "", BOOK)


def _line(figure: go.Figure, ts: int, label: str, colour: str) -> None:
    at = str(_times(np.array([ts]))[0])
    figure.add_shape(
        type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line={"color": colour, "width": 1.2, "dash": "dot"}
    )
    if label:
        figure.add_annotation(
            x=at, y=1, yref="paper", text=label, showarrow=False, xanchor="left", yanchor="top", xshift=4,
            font={"color": colour, "size": 12},
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------ over the run


def equity(run: Run, look: Look = Look()) -> go.Figure:
    """Equity over time, with the deposits as the line it began on."""
    go, table = _plotly(), run.equity
    change = final_equity(run) - run.deposits
    word = "rose" if change > 0 else "fell" if change < 0 else "did not move"
    by = f" by {pusd(abs(change))} pUSD to {pusd(final_equity(run))} ({percent(change / run.deposits, 2)})"
    figure = _figure(go, look, f"Equity {word}{by if change else f': {pusd(run.deposits)} pUSD'}", "equity (pUSD)")
    figure.add_trace(_step(go, table["ts"].to_numpy(), table["equity"] / MICRO, look, color=EQUITY, name="equity"))
    figure.add_hline(y=run.deposits / MICRO, line={"color": BOOK, "width": 1, "dash": "dash"})
    _mark_events(figure, run)
    band = read_band(run.folder)
    if band:
        _band(go, figure, band, look)
    figure.update_layout(showlegend=bool(band))
    figure.update_yaxes(tickformat=",.2f")
    return figure


def _band(go: Any, figure: go.Figure, band: Mapping[str, Any], look: Look) -> None:
    """Shade between the lowest and the highest equity of the fill models of a calibration."""
    ts, low, high = envelope(band)
    keep = np.union1d(thin(ts, low / MICRO, look.max_points), thin(ts, high / MICRO, look.max_points))
    edge: dict[str, Any] = {"color": EQUITY, "width": 0, "look": look, "hoverinfo": "skip"}
    figure.add_trace(_step(go, ts[keep], low[keep] / MICRO, showlegend=False, **edge))
    shade = {"fill": "tonexty", "fillcolor": "rgba(47, 126, 216, 0.18)", "name": "fill models, low to high"}
    figure.add_trace(_step(go, ts[keep], high[keep] / MICRO, **shade, **edge))


def drawdown(run: Run, look: Look = Look()) -> go.Figure:
    """Distance of equity below its highest value so far."""
    go, table = _plotly(), run.equity
    worst, last = int(table["drawdown"].max()), int(table["drawdown"].iloc[-1])
    peak = int((table["equity"] + table["drawdown"]).iloc[int(table["drawdown"].argmax())])
    title = f"Deepest drawdown {pusd(worst)} pUSD, {percent(worst / peak, 2)} of the peak"
    if worst:
        title += ", recovered" if last == 0 else f"; at the end {pusd(last)}"
    figure = _figure(go, look, title, "below peak (pUSD)", height=240)
    trace = _step(go, table["ts"].to_numpy(), -table["drawdown"] / MICRO, look, color=DRAWDOWN, name="drawdown")
    trace.update(fill="tozeroy", fillcolor="rgba(209,73,91,0.18)")
    figure.add_trace(trace)
    _mark_events(figure, run)
    figure.update_layout(showlegend=False)
    figure.update_yaxes(tickformat=",.2f", rangemode="tozero")
    return figure


def busiest(run: Run, most: int = MOST_MARKETS) -> list[int]:
    """The markets with most fills; without any fill those in which most orders were sent."""
    column = run.fills["market"] if len(run.fills) else run.orders["market"]
    return [int(market) for market in column.value_counts(sort=True).index[:most]]


def prices(run: Run, market: int, look: Look = Look()) -> go.Figure:
    """Our fills on the market's best bid and ask, in YES terms: selling NO buys YES exposure."""
    go, tape = _plotly(), run.tapes[market]
    mine = run.fills[run.fills["market"] == market]
    bought, sold = mine[mine["sign"] > 0], mine[mine["sign"] < 0]
    title = (
        f"{run.name(market)}: {_deal('bought', bought)}, {_deal('sold', sold)}"
        if len(mine)
        else (f"{run.name(market)}: {count(int((run.orders['market'] == market).sum()), 'order')} sent, no fills")
    )
    figure = _figure(go, look, title, "YES price (pUSD)", height=400)
    for name, values in (("best bid and ask", tape.bid), ("best ask", tape.ask)):
        line = np.where(values >= 0, values / ONE, np.nan)
        figure.add_trace(
            _step(
                go,
                tape.recv,
                line,
                look,
                color=BOOK,
                width=1.2,
                name=name,
                showlegend=name != "best ask",
                hoverinfo="skip",
            )
        )
    for name, part, symbol, colour in (
        ("bought YES or sold NO", bought, "triangle-up", BUY),
        ("sold YES or bought NO", sold, "triangle-down", SELL),
    ):
        part = _largest(part, look.max_points)
        if len(part):
            figure.add_trace(_markers(go, part, name, symbol, colour))
    if tape.resolved:
        _line(figure, tape.resolved, f"resolved at {price(tape.payout, 2)}", BOOK)
    figure.update_yaxes(tickformat=".2f")
    return figure


def _deal(word: str, part: pd.DataFrame) -> str:
    if not len(part):
        return f"{word} nothing"
    size = int(part["size"].sum())
    average = (part["yes_price"] * part["size"]).sum() // size
    return f"{word} {shares(size, 0)} shares at {price(int(average), 3)}"


def _largest(part: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` fills, the largest, in their order."""
    return part if len(part) <= most else part.loc[part["size"].nlargest(most).index.sort_values()]


def _markers(go: Any, part: pd.DataFrame, name: str, symbol: str, colour: str) -> go.Scatter:
    columns = (part[name] for name in ("side", "size", "outcome", "price", "fee", "rebate", "intent"))
    text = [
        f"{side} {shares(size)} {outcome} at {price(at)}<br>"
        f"fee {pusd(fee, 5)}, rebate {pusd(rebate, 5)} pUSD<br>{intent}"
        for side, size, outcome, at, fee, rebate, intent in zip(*columns, strict=True)
    ]
    area = np.sqrt(part["size"].to_numpy(np.float64))
    small = 4 if len(part) > 60 else 7  # many fills: smaller marks, or they hide the path they stand on
    return go.Scatter(
        x=_times(part["ts"].to_numpy()),
        y=part["yes_price"] / ONE,
        mode="markers",
        name=name,
        marker={
            "symbol": symbol, "color": colour, "size": small + 5 * area / area.max(), "opacity": 0.8,
            "line": {"width": 0},
        },
        text=text,
        hovertemplate="%{x|%H:%M:%S.%L}<br>%{text}<extra></extra>",
    )  # fmt: skip


def inventory(run: Run, look: Look = Look()) -> go.Figure:
    """Net holdings (YES - NO shares) over time, of the markets traded most."""
    go, table, drawn = _plotly(), run.positions, busiest(run)
    if len(table):
        at = table["net"].abs().idxmax()
        net, market = int(table.loc[at, "net"]), int(table.loc[at, "market"])
        token = "YES" if net > 0 else "NO"
        title = f"Largest net position: {shares(abs(net), 0)} {token} shares in {run.name(market)}"
    else:
        title = "No position was ever held"
    others = len(run.pnl) - len(drawn)
    figure = _figure(go, look, title, "net YES shares" + (f" ({others} markets not drawn)" if others > 0 else ""))
    for colour, market in zip(MARKET, drawn, strict=False):
        part, recv = table[table["market"] == market], run.tapes[market].recv
        ts = np.concatenate([recv[:1], part["ts"], recv[-1:]])
        net = np.concatenate([np.zeros(len(recv[:1])), part["net"], part["net"].tail(1)])[: len(ts)]
        net = np.append(net, np.zeros(len(ts) - len(net)))
        order = np.argsort(ts, kind="stable")
        figure.add_trace(_step(go, ts[order], net[order] / MICRO, look, color=colour, name=run.name(market)))
    figure.add_hline(y=0, line={"color": BOOK, "width": 1})
    figure.update_layout(showlegend=True)
    figure.update_yaxes(tickformat=",.0f")
    return figure


# ----------------------------------------------------------------------------------------- where it came from


def split(run: Run, look: Look = Look()) -> go.Figure:
    """The change of equity as the sum of its parts."""
    go = _plotly()
    values = {part: int(run.pnl[part].sum()) for part in PARTS}
    total = sum(values.values())
    best, worst = max(values, key=lambda p: values[p]), min(values, key=lambda p: values[p])
    title = f"Result {pusd(total, signed=True)} pUSD" if len(run.fills) else "Nothing was earned or lost"
    if values[best] > 0:
        title += f"; most gained by {NAMES[best]}, {pusd(values[best], signed=True)}"
    if values[worst] < 0:
        title += f"; most lost by {NAMES[worst]}, {pusd(values[worst], signed=True)}"
    figure = _figure(go, look, title, "pUSD", x="")
    reached = 0
    for part in PARTS:
        figure.add_trace(_bar(go, NAMES[part], reached, values[part], PART[part]))
        reached += values[part]
    figure.add_trace(_bar(go, "change of equity", 0, total, TOTAL))
    figure.add_hline(y=0, line={"color": BOOK, "width": 1})
    figure.update_layout(showlegend=False, bargap=0.35)
    figure.update_yaxes(tickformat=",.2f")
    return figure


def _bar(go: Any, name: str, base: int, value: int, colour: str) -> go.Bar:
    return go.Bar(
        x=[name],
        base=[base / MICRO],
        y=[value / MICRO],
        marker_color=colour,
        text=[pusd(value, signed=True)],
        textposition="outside",
        cliponaxis=False,
        hovertemplate=f"{name}: {pusd(value, 6, signed=True)} pUSD<extra></extra>",
    )


def markouts(run: Run, look: Look = Look()) -> go.Figure:
    """Mean markout at the fill and after each horizon, with 95 % intervals."""
    go, table = _plotly(), run.markouts
    mean = mean_markout(table, 10)
    if mean.n:
        spread = f" ± {cents(CERTAIN * mean.error, signed=False)}" if mean.error == mean.error else ""
        title = f"Ten seconds after a fill a share stood {cents(mean.mean)}{spread} cents to us (n = {mean.n:,})"
    else:
        title = "No fill whose later price is known"
    below = "time since the fill, mean of all fills"
    figure = _figure(go, look, title, "cents a share, before fees", x=below, height=380)
    horizons = (0, *HORIZONS)
    labels = [_horizon(h, mean_markout(table, h)) for h in horizons]
    for name, part, colour, symbol in (
        ("all fills", table, TOTAL, "circle"),
        ("bought YES or sold NO", table[table["sign"] > 0], BUY, "triangle-up"),
        ("sold YES or bought NO", table[table["sign"] < 0], SELL, "triangle-down"),
    ):
        means = [mean_markout(part, h) for h in horizons]
        figure.add_trace(
            go.Scatter(
                x=list(range(len(horizons))),
                y=[m.mean / 200 if m.n else None for m in means],
                error_y={
                    "array": [CERTAIN * m.error / 200 if m.error == m.error else 0 for m in means],
                    "thickness": 1.4,
                },
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 1.4},
                marker={"color": colour, "symbol": symbol, "size": 9},
                text=[f"n = {m.n:,}, {m.clusters:,} stretches, s.e. {cents(m.error, signed=False)}" for m in means],
                hovertemplate=f"{name}: %{{y:.2f}} cents<br>%{{text}}<extra></extra>",
            )
        )
    offset = {1: -0.06, 2: 0.06}
    for i, trace in enumerate(figure.data):  # side by side, so that the intervals do not hide each other
        trace.x = [x + offset.get(i, 0) for x in trace.x]
    figure.update_xaxes(tickvals=list(range(len(horizons))), ticktext=labels, range=[-0.4, len(horizons) - 0.6])
    figure.add_hline(y=0, line={"color": BOOK, "width": 1})
    figure.update_yaxes(tickformat=",.2f")
    return figure


def _horizon(seconds: int, mean: Mean) -> str:
    name = f"{seconds} s" if seconds else "at the fill"
    if not mean.n:
        return f"{name}<br>not known"
    error = f" ± {cents(CERTAIN * mean.error, signed=False)}" if mean.error == mean.error else ""
    return f"{name}<br>{cents(mean.mean)}{error}<br>n = {mean.n:,}"


# -------------------------------------------------------------------------------------------------- decisions


def reasons(run: Run, look: Look = Look()) -> go.Figure:
    """How often each reason was given, by severity; on a logarithmic axis. Names stand above their bars, so that the
    bars have the whole width of a phone."""
    go, table = _plotly(), run.reasons
    total = int(table["decisions"].sum())
    denied = denials(run)
    if len(denied):
        top = denied.loc[denied["decisions"].idxmax()]
        votes = int(table[table["bot"].str.startswith("risk.")]["decisions"].sum())
        title = (
            f"Risk denied {int(denied['decisions'].sum()):,} of {votes:,} votes, most often with {top['code']} "
            f"({int(top['decisions']):,})"
        )
    else:
        title = f"{total:,} decisions, none of them a denial by risk"
    by_code = table.groupby(["code", "severity"], as_index=False, sort=False)  # several bots may give the same one
    drawn = by_code.agg({"decisions": "sum", "bot": ", ".join})
    drawn = drawn.sort_values("decisions", ascending=False, kind="stable").head(MOST_REASONS)[::-1]
    labels = list(drawn["code"])
    figure = _figure(go, look, title, "", x="decisions (logarithmic)", height=90 + 32 * max(len(drawn), 3))
    for severity, colour in SEVERITY.items():
        mine = (drawn["severity"] == severity).to_numpy()
        if mine.any():
            figure.add_trace(
                go.Bar(
                    x=drawn["decisions"][mine],
                    y=[label for label, take in zip(labels, mine, strict=True) if take],
                    orientation="h",
                    name=severity,
                    marker_color=colour,
                    text=[f"{n:,}" for n in drawn["decisions"][mine]],
                    textposition="outside",
                    cliponaxis=False,
                    customdata=drawn["bot"][mine],
                    hovertemplate="%{customdata}<br>%{y}: %{text}<extra></extra>",
                )
            )
    figure.update_layout(barmode="overlay", bargap=0.62, margin={"l": 14, "r": 60, "t": 16, "b": 46}, showlegend=True)
    for label in labels:
        figure.add_annotation(
            x=0, xref="paper", y=label, text=label, showarrow=False, xanchor="left", yshift=13, font={"size": 11},
        )  # fmt: skip
    most = int(drawn["decisions"].max()) if len(drawn) else 1
    figure.update_xaxes(type="log", dtick=1, tickformat=",d", range=[np.log10(0.7), np.log10(max(most, 10)) + 0.25])
    figure.update_yaxes(categoryorder="array", categoryarray=labels, showticklabels=False)
    return figure
