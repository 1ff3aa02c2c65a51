"""A recording drawn: the book's top, the trades on it, and where the feed was silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from polytraders.data.catalog import Catalog, Session
from polytraders.data.checks import Replay
from polytraders.data.quality import Problem
from polytraders.errors import UsageError
from polytraders.rows import EventKind, Flag, Side
from polytraders.units import MICRO, NS_PER_MS, ONE, iso_utc

MAX_POINTS = 20_000
"""Most points of one line; more are thinned to the extremes of equal stretches of time."""


def top_of_book(events: np.ndarray, market: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ts_recv ns, best bid pips, best ask pips) after each message that moved the top; 0 / 10 000 = no such side."""
    rows = events[events["market"] == market]
    replay = Replay()
    found: list[tuple[int, int, int]] = []
    columns = [rows[name].tolist() for name in ("kind", "market", "side", "price", "size", "ts_recv", "flags")]
    for kind, which, side, price, size, ts, flags in zip(*columns, strict=True):
        replay.apply((kind, which, side, price, size))
        if flags & Flag.LAST and kind in _BOOK:
            best = replay.best(market)
            if not found or found[-1][1:] != best:
                found.append((ts, *best))
    if len(rows) and found:
        found.append((int(rows["ts_recv"][-1]), *found[-1][1:]))
    table = np.array(found, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


_BOOK = frozenset((EventKind.BOOK_CLEAR, EventKind.LEVEL, EventKind.CHANGE))


def _thin(ts: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS of a step line: of each stretch of points the first, the lowest and the highest."""
    if len(ts) <= MAX_POINTS:
        return ts, values
    keep = []
    for part in np.array_split(np.arange(len(ts)), MAX_POINTS // 3):
        keep += sorted({part[0], part[np.argmin(values[part])], part[np.argmax(values[part])]})
    return ts[keep], values[keep]


def _times(ts: np.ndarray) -> np.ndarray:
    return (ts // NS_PER_MS).astype("datetime64[ms]")


def _pick(session: Session, market: str | None) -> int:
    """Index of the market to draw: the named one, else the one with most rows."""
    if market is None:
        used = session.events["market"][session.events["market"] >= 0]
        return int(np.bincount(used).argmax())
    for at, info in enumerate(session.markets):
        if market in (info.condition_id, info.slug, str(at)):
            return at
    listed = ", ".join(info.slug or info.condition_id[:18] for info in session.markets[:12])
    raise UsageError(
        f"{session.name} has no market {market!r}",
        rule="slug, condition id, or number in the table",
        mend=f"there are: {listed}",
    )


def show(recording: str, market: str | None, out_html: Path | str, *, root: Path | None = None) -> dict[str, Any]:
    """Draw one market of a recording to a self-contained HTML page; returns what was drawn.

    market: slug, condition id or number; None = the one with most rows. Needs the `report` extra.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise UsageError(
            "drawing needs plotly", mend="install the report extra: pip install 'polytraders[report]'"
        ) from None
    catalog = Catalog(root)
    session = catalog.load(recording)
    at = _pick(session, market)
    info = session.markets[at]
    ts, bid, ask = top_of_book(session.events, at)
    trades = session.events[(session.events["kind"] == EventKind.TRADE) & (session.events["market"] == at)]
    gaps = _gaps(catalog, recording, int(ts[0]), int(ts[-1])) if len(ts) else []
    figure = go.Figure()
    for name, values, missing, colour in (("best bid", bid, 0, "#1f77b4"), ("best ask", ask, ONE, "#d62728")):
        when, what = _thin(ts, values)
        price = np.where(what == missing, np.nan, what / ONE)
        figure.add_scattergl(
            x=_times(when), y=price, name=name, mode="lines", line={"shape": "hv", "width": 1, "color": colour}
        )
    for side, name, symbol, colour in (
        (Side.BUY, "taker buys", "triangle-up", "#2ca02c"),
        (Side.SELL, "taker sells", "triangle-down", "#9467bd"),
    ):
        part = trades[trades["side"] == side]
        shares = part["size"] / MICRO
        figure.add_scattergl(
            x=_times(part["ts_recv"]),
            y=part["price"] / ONE,
            name=name,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": np.clip(2 + np.sqrt(shares) / 2, 3, 11), "opacity": 0.5},
            customdata=shares,
            hovertemplate="%{x}<br>%{customdata:.2f} shares at %{y}<extra></extra>",
        )
    for start, end in gaps:
        x0, x1 = _times(np.array([start, end]))
        figure.add_vrect(x0=str(x0), x1=str(x1), fillcolor="grey", opacity=0.25, line_width=0)
    inferred = bool(len(trades) and np.all(trades["flags"] & Flag.INFERRED))
    kind = "inferred trades" if inferred else "trades"
    silence = f", {len(gaps)} silence{'s' if len(gaps) > 1 else ''} shaded" if gaps else ""
    figure.update_layout(
        title=f"{info.slug or info.condition_id[:18]}: top of the book and {len(trades):,} {kind}{silence}",
        xaxis_title="receive time (UTC)",
        yaxis_title="YES price (pUSD)",
        template="plotly_white",
        legend={"orientation": "h", "y": 1.02, "x": 0},
    )
    out = Path(out_html)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(out, include_plotlyjs=True, full_html=True)
    return {
        "recording": recording,
        "market": info.condition_id,
        "slug": info.slug,
        "points": len(ts),
        "trades": len(trades),
        "inferred": inferred,
        "gaps": len(gaps),
        "start": iso_utc(int(ts[0])) if len(ts) else "",
        "end": iso_utc(int(ts[-1])) if len(ts) else "",
        "html": str(out),
    }


def _gaps(catalog: Catalog, recording: str, start: int, end: int) -> list[tuple[int, int]]:
    """(start, end) in ns of the silences within a stretch of time."""
    quality = catalog.table(recording, "quality").to_pydict()
    spans = [
        (ts - value, ts)
        for kind, ts, value in zip(quality["kind"], quality["ts_recv"], quality["value"], strict=True)
        if kind == Problem.GAP
    ]
    return [(max(a, start), min(b, end)) for a, b in spans if b > start and a < end]
