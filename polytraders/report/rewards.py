"""What our quotes and fills would have earned beside the trades: liquidity rewards, an estimate, and maker rebates.

Once a minute, at a random moment, the venue scores every maker's resting orders and shares the market's pool of the
day out by score. Our side of it is in the log; of the others the recorded book shows how much rests where, not whose
it is. So a share of the pool is an estimate with a range:

    S(s)  = ((v - s) / v)^2                           an order s away from the mid; v = the market's largest spread
    Q1    = sum of S x size over bids for YES (asks for NO), Q2 over asks for YES (bids for NO)
    Qmin  = max(min(Q1, Q2), Q1 / c, Q2 / c)          while the mid lies in 0.10 ... 0.90; else min(Q1, Q2)
    share = ours / (ours + sum of the others' Qmin)

The others' sum depends on how the book is divided among them. It is largest when as much as possible belongs to makers
quoting both sides alike, min(Q1, Q2) + |Q1 - Q2| / c, and smallest when each quotes c times as much on one side as on
the other, max(Q1 / c, Q2 / c, (Q1 + Q2) / (c + 1)). Outside of 0.10 ... 0.90: min(Q1, Q2), and nothing. The estimate
itself takes them for one maker.

Assumed, because the venue does not publish it or the recording does not show it: the mid is that of the best levels
with at least the smallest rewarded size, our quotes included; a level of at least that size counts whole; there is no
in-game multiplier; our quotes would not have moved anybody else's.

Invariants
    W1  a minute in which the market's data is missing, or nobody's book is two-sided, is no sample, never a zero share
    W2  low <= estimate <= high
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from polytraders.data.rules import RewardRule, rebate_minimum, reward_rule
from polytraders.engine import book
from polytraders.engine.jit import JIT, njit
from polytraders.engine.setup import market_rows
from polytraders.engine.state import as_rows
from polytraders.report.analysis import Run
from polytraders.rows import ActionKind, EventKind, Flag, Outcome
from polytraders.units import MICRO, NS_PER_DAY, NS_PER_S, ONE

if TYPE_CHECKING:
    import pandas as pd

NS_PER_MINUTE = 60 * NS_PER_S
MINUTES_PER_DAY = 1_440
BLOCK = 512
"""Samples whose books are held at a time."""
COLUMNS = ("market", "ts", "mid2", "ours", "low", "share", "high")


class Terms(NamedTuple):
    """What a market rewards. min_size micro-shares, max_spread pips, pool: micro-pUSD a day (0 = not known),
    min_rest: ns an order must have rested (3.5 s in some markets)."""

    min_size: int
    max_spread: int
    pool: int = 0
    min_rest: int = 0


def market_terms(run: Run, market: int, rule: RewardRule) -> Terms:
    """A market's own terms where the recording tells them, else those of most markets, without a pool."""
    info = run.markets[market]
    if info.get("reward_max_spread"):
        return Terms(info["reward_min_size"], info["reward_max_spread"], info["reward_pool"])
    return Terms(rule.min_size, rule.max_spread)


# ------------------------------------------------------------------------------------------------------ scores


def order_scores(spread: np.ndarray, max_spread: int) -> np.ndarray:
    """S of orders `spread` half-pips from the mid; 0 beyond max_spread pips."""
    near = np.clip(1.0 - spread / (2.0 * max_spread), 0.0, None)
    return np.where(spread >= 0, near, 0.0) ** 2


def maker_score(q1: np.ndarray, q2: np.ndarray, both: np.ndarray, c: int) -> np.ndarray:
    """Qmin of one maker. both: the mid lies where one-sided quotes score nothing."""
    low, high = np.minimum(q1, q2), np.maximum(q1, q2)
    return np.where(both, low, np.maximum(low, high / c))


def others_range(q1: np.ndarray, q2: np.ndarray, both: np.ndarray, c: int) -> tuple[np.ndarray, np.ndarray]:
    """(smallest, largest) sum of Qmin over any number of makers to whom Q1 and Q2 belong together."""
    low, high = np.minimum(q1, q2), np.maximum(q1, q2)
    least = np.where(both, 0.0, np.maximum(high / c, (q1 + q2) / (c + 1)))
    return least, np.where(both, low, low + (high - low) / c)


# ------------------------------------------------------------------------------------------- books and quotes


@njit
def _books_at(cells, market, events, times, row, at, found):
    """Apply rows from `row` on; fill found[k] with the market's cells as they stood at the venue's time at[k].
    Returns the first row not applied."""
    for k in range(at.shape[0]):
        while row < events.shape[0] and times[row] <= at[k]:
            book.apply(cells, market, events[row])
            row += 1
        for i in range(cells.shape[0]):
            found[k, i] = cells[i]
    return row


class _Tape(NamedTuple):
    events: np.ndarray  # EVENT[n], everything the recording has of the market
    times: np.ndarray  # ns, the venue's clock


def _tapes(run: Run, markets: list[int]) -> dict[int, _Tape]:
    """The recording's rows of each of these markets."""
    events = run.events[(run.events["kind"] <= EventKind.RESOLUTION) & np.isin(run.events["market"], markets)]
    events = events[np.argsort(events["market"], kind="stable")]
    found = {}
    for market in markets:
        lo, hi = np.searchsorted(events["market"], [market, market + 1])
        mine = events[lo:hi]
        found[market] = _Tape(mine, np.maximum.accumulate(np.minimum(mine["ts_event"], mine["ts_recv"])))
    return found


def sample_times(start: int, end: int, seed: int) -> np.ndarray:
    """ns: one random moment of each UTC minute, those that lie in start ... end. The same for every market."""
    minutes = np.arange(start // NS_PER_MINUTE, end // NS_PER_MINUTE + 1)
    rng = np.random.Generator(np.random.PCG64([seed, int(minutes[0])]))
    at = minutes * NS_PER_MINUTE + rng.integers(0, NS_PER_MINUTE, len(minutes))
    return at[(at >= start) & (at <= end)]


def _known(tape: _Tape, at: np.ndarray) -> np.ndarray:
    """bool: the market's data reaches over this moment (W1)."""
    later = np.searchsorted(tape.times, at, side="right")
    inside = (later > 0) & (later < len(tape.times))
    ends = tape.times[tape.events["kind"] == EventKind.RESOLUTION]
    if len(ends):
        inside &= at < ends[0]
    gap = (tape.events["flags"] & Flag.GAP) != 0
    return inside & ~gap[np.minimum(later, len(tape.times) - 1)]


def _stretches(run: Run) -> pd.DataFrame:
    """Our resting orders at the venue, one row per stretch of unchanged size: market, bid (YES space), price (YES),
    size micro-shares, sent to rest at `start` ns, from ... until ns (venue's clock)."""
    import pandas as pd

    events = run.events[(run.events["kind"] >= EventKind.ORDER_ACK) & (run.events["kind"] <= EventKind.CANCEL)]
    sent = run.actions[run.actions["kind"] == ActionKind.SUBMIT]
    orders = {int(row["order_id"]): row for row in sent}
    open_: dict[int, list[int]] = {}  # order -> [since, remaining, resting since]
    lines: list[tuple[int, ...]] = []

    def close(order: int, until: int) -> None:
        since, left, start = open_[order]
        row = orders[order]
        yes = row["outcome"] == Outcome.YES
        price = int(row["price"]) if yes else ONE - int(row["price"])
        bid = int(row["side"] == row["outcome"])  # YES buys and NO sells
        if until > since and left > 0:
            lines.append((int(row["market"]), bid, price, left, start, since, until))

    names = ("kind", "aux", "ts_event", "size")
    for kind, order, ts, size in zip(*(events[name].tolist() for name in names), strict=True):
        if order not in orders:
            continue
        if kind == EventKind.ORDER_ACK:
            open_[order] = [ts, int(orders[order]["size"]), ts]
        elif order in open_ and kind == EventKind.FILL_CONFIRMED:
            close(order, ts)
            open_[order][0], open_[order][1] = max(ts, open_[order][0]), open_[order][1] - size
        elif order in open_ and kind == EventKind.CANCEL:
            close(order, ts)
            del open_[order]
    for order in open_:
        close(order, run.end)
    return pd.DataFrame(lines, columns=["market", "bid", "price", "size", "start", "since", "until"])


# ----------------------------------------------------------------------------------------------------- rewards


def samples(run: Run, terms: Mapping[int, Terms] | None = None, seed: int = 0) -> pd.DataFrame:
    """One row per sample (W1) of each market in which we had an order: market, ts ns, mid2 (bid + ask, pips), ours
    (our Qmin, shares), low, share, high: the part of the sample's pool that would have been ours.

    terms: by market index; default what the run's markets say. seed: of the moments in each minute.
    """
    import pandas as pd

    stretches = _stretches(run)
    at = sample_times(run.start, run.end, seed)
    markets = sorted(int(market) for market in set(stretches["market"]))
    tapes, parts = _tapes(run, markets), []
    for market in markets:
        mine = stretches[stretches["market"] == market]
        parts.append(_market_samples(run, market, tapes[market], mine, at, (terms or {}).get(market)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _market_samples(
    run: Run, market: int, tape: _Tape, mine: pd.DataFrame, at: np.ndarray, terms: Terms | None
) -> pd.DataFrame:
    import pandas as pd

    rule = reward_rule(run.start)
    terms = terms or market_terms(run, market, rule)
    at = at[_known(tape, at)]
    rows, cells = market_rows([SimpleNamespace(**run.markets[market])])
    changes = tape.events["kind"] <= EventKind.CHANGE
    events, times = np.ascontiguousarray(tape.events[changes]), tape.times[changes]
    plain = events if JIT else as_rows(events)
    book_, row, parts = np.zeros(cells, np.int64), 0, []
    for lo in range(0, len(at), BLOCK):
        part = at[lo : lo + BLOCK]
        others = np.zeros((len(part), cells), np.int64)
        row = _books_at(book_, rows[0], plain, times, row, part, others)
        parts.append(_scores(others.reshape(len(part), 2, -1), int(rows[0].grid), part, mine, terms, rule))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS[1:]))
    table.insert(0, "market", market)
    return table


def _scores(
    others: np.ndarray, grid: int, at: np.ndarray, mine: pd.DataFrame, terms: Terms, rule: RewardRule
) -> pd.DataFrame:
    """Samples of one market from the book at each. others: int64[len(at), 2 (bids, asks), levels], micro-shares."""
    import pandas as pd

    levels = others.shape[2]
    ours, standing = np.zeros(others.shape), np.zeros_like(others)
    for bid, price, size, start, since, until in mine[["bid", "price", "size", "start", "since", "until"]].to_numpy():
        lo, hi = np.searchsorted(at, [since, until])
        standing[lo:hi, 1 - bid, price // grid] += size
        lo = max(lo, int(np.searchsorted(at, start + terms.min_rest)))
        if size >= terms.min_size:
            ours[lo:hi, 1 - bid, price // grid] += size
    there = others + standing >= terms.min_size
    prices = np.arange(levels) * grid
    bid = np.where(there[:, 0].any(1), prices[levels - 1 - there[:, 0, ::-1].argmax(1)], -1)
    ask = np.where(there[:, 1].any(1), prices[there[:, 1].argmax(1)], -1)
    mid2 = bid + ask
    distance = np.stack([mid2[:, None] - 2 * prices, 2 * prices - mid2[:, None]], axis=1)
    score = order_scores(distance, terms.max_spread)
    both = (mid2 < 2 * rule.low) | (mid2 > 2 * rule.high)
    q = (score * ours).sum(2) / MICRO
    theirs = (score * np.where(others >= terms.min_size, others, 0)).sum(2) / MICRO
    own = maker_score(q[:, 0], q[:, 1], both, rule.side)
    least, most = others_range(theirs[:, 0], theirs[:, 1], both, rule.side)
    one = maker_score(theirs[:, 0], theirs[:, 1], both, rule.side)

    def share(rest: np.ndarray) -> np.ndarray:
        return np.divide(own, own + rest, out=np.zeros_like(own), where=own > 0)

    values = (at, mid2, own, share(most), share(one), share(least))
    table = pd.DataFrame(dict(zip(COLUMNS[1:], values, strict=True)))
    # without two sides there is no mid; without anybody's score nothing to share
    return table[(bid >= 0) & (ask >= 0) & (bid < ask) & (own + most > 0)]


class Estimate(NamedTuple):
    """Mean share of a pool with its range, and micro-pUSD where the pool is known (else None)."""

    market: int
    minutes: int  # samples
    quoted: float  # part of them in which we scored
    share: float
    low: float
    high: float
    error: float  # standard error of `share` from the choice of moments, nan for a single sample
    pool: int  # micro-pUSD a day, 0 = not known
    terms_known: bool

    def pusd(self, share: float) -> int | None:
        """micro-pUSD that a mean share of the pool is, over the minutes sampled."""
        return round(self.pool * share * self.minutes / MINUTES_PER_DAY) if self.pool else None


def estimates(run: Run, terms: Mapping[int, Terms] | None = None, seed: int = 0) -> list[Estimate]:
    """What liquidity rewards our quotes would have earned, market by market: an estimate (see the module)."""
    rule = reward_rule(run.start)
    found = []
    for market, part in samples(run, terms, seed).groupby("market", sort=True):
        values = part["share"].to_numpy(dtype=np.float64)
        n = len(values)
        # successive samples share the state of the book: their difference shows what the moment's choice does
        error = float(np.sqrt((np.diff(values) ** 2).sum() / 2 / (n - 1) / n)) if n > 1 else float("nan")
        mine = (terms or {}).get(int(market))
        found.append(
            Estimate(
                market=int(market),
                minutes=n,
                quoted=float((part["ours"] > 0).mean()),
                share=float(values.mean()),
                low=float(part["low"].mean()),
                high=float(part["high"].mean()),
                error=error,
                pool=(mine or market_terms(run, int(market), rule)).pool,
                terms_known=mine is not None or bool(run.markets[int(market)].get("reward_max_spread")),
            )
        )
    return found


# ----------------------------------------------------------------------------------------------- maker rebates


def rebate_days(run: Run) -> pd.DataFrame:
    """Maker rebates by UTC day of the fill: day (ns of its start), accrued, paid micro-pUSD. The venue pays once a
    day; what stays below its minimum is not paid, and is counted as lost."""
    import pandas as pd

    day = run.fills["venue_ts"] // NS_PER_DAY * NS_PER_DAY
    accrued = run.fills.groupby(day)["rebate"].sum()
    accrued = accrued[accrued > 0]
    least = np.array([rebate_minimum(int(start) + NS_PER_DAY) for start in accrued.index], np.int64)
    value = accrued.to_numpy(dtype=np.int64)
    return pd.DataFrame(
        {"day": accrued.index.to_numpy(), "accrued": value, "paid": np.where(value >= least, value, 0)}
    ).astype(np.int64)
