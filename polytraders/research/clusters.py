"""Clusters: markets that move together, found from what they are about and from how their prices moved.

    prices        last traded YES price at each step of a grid; before a market's first trade there is none
    correlation   of the changes of two markets over the steps at which both have a price and at least one moved
    metadata      markets of one event are one group from the start
    joining       the two groups whose markets correlate best on average are joined, while that is at least the
                  threshold; a market that then correlates less with the others, and shares no event, goes out again

The same markets and prices give the same clusters, with the same ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations, takewhile

import numpy as np

from polytraders import units
from polytraders.contracts import Cluster, ClusterMember, at, number_text
from polytraders.data.catalog import Session
from polytraders.data.markets import MarketInfo
from polytraders.rows import EventKind

VERSION = "1.0.0"
LEAST_STEPS = 30
"""Steps that two markets must have together before their correlation says anything."""


def prices_of(session: Session, step_s: int = 60) -> dict[str, np.ndarray]:
    """Condition id -> last traded YES price (pips, NaN before the first trade) at every step of the recording."""
    events = session.events
    trades = events[events["kind"] == EventKind.TRADE]
    if not len(events):
        return {market.condition_id: np.empty(0) for market in session.markets}
    first, step = int(events["ts_recv"][0]), step_s * units.NS_PER_S
    steps = (int(events["ts_recv"][-1]) - first) // step + 1
    found = {}
    for index, market in enumerate(session.markets):
        mine = trades[trades["market"] == index]
        grid = np.full(steps, np.nan)
        grid[(mine["ts_recv"] - first) // step] = mine["price"]  # the last one of a step stays
        known = np.where(np.isnan(grid), 0, np.arange(steps))
        found[market.condition_id] = grid[np.maximum.accumulate(known)]
    return found


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of the changes of two price series; None when they say too little."""
    da, db = np.diff(a), np.diff(b)
    both = ~np.isnan(da) & ~np.isnan(db) & ((da != 0) | (db != 0))
    if both.sum() < LEAST_STEPS:
        return None
    da, db = da[both] - da[both].mean(), db[both] - db[both].mean()
    spread = float(np.sqrt((da * da).sum() * (db * db).sum()))
    return None if spread == 0 else max(-1.0, min(1.0, float((da * db).sum()) / spread))


def build_clusters(
    markets: Sequence[MarketInfo],
    prices: Mapping[str, np.ndarray],
    tenant_id: str,
    now: int,
    *,
    window_days: int = 30,
    threshold: float = 0.6,
) -> list[Cluster]:
    """The clusters of two and more markets, in the order of their ids.

    Parameters
    ----------
    prices: as `prices_of` gives them, all on one grid; a market without prices has its metadata only.
    window_days: days that the prices cover, for the record.
    threshold: correlation from which prices join.
    """
    names = [market.condition_id for market in markets]
    pairs = {
        pair: correlation(prices[pair[0]], prices[pair[1]])
        for pair in combinations(sorted(names), 2)
        if pair[0] in prices and pair[1] in prices
    }
    event = {market.condition_id: market.event_id for market in markets}
    told = [
        _cluster(group, markets, event, pairs, tenant_id, now, window_days, threshold)
        for group in _joined(_by_event(names, event), pairs, threshold)
    ]
    return sorted((cluster for cluster in told if cluster is not None), key=lambda cluster: cluster.cluster_id)


Pairs = Mapping[tuple[str, str], float | None]


def _by_event(names: Sequence[str], event: Mapping[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(event[name] or name, []).append(name)
    return list(groups.values())


def _between(one: Sequence[str], other: Sequence[str], pairs: Pairs) -> float:
    """Mean correlation across two groups; what is not known counts as none, so that few prices join nobody."""
    values = [pairs.get((min(a, b), max(a, b))) or 0.0 for a in one for b in other]
    return sum(values) / len(values)


def _joined(groups: list[list[str]], pairs: Pairs, threshold: float) -> list[list[str]]:
    while True:
        best = max(
            ((_between(a, b, pairs), -i, -j) for (i, a), (j, b) in combinations(enumerate(groups), 2)),
            default=(-2.0, 0, 0),
        )
        if best[0] < threshold:
            return groups
        i, j = -best[1], -best[2]
        groups = [*(g for n, g in enumerate(groups) if n not in (i, j)), sorted(groups[i] + groups[j])]


def _cluster(
    group: Sequence[str],
    markets: Sequence[MarketInfo],
    event: Mapping[str, str],
    pairs: Pairs,
    tenant_id: str,
    now: int,
    window_days: int,
    threshold: float,
) -> Cluster | None:
    kept = list(group)
    while True:
        members, out = [], []
        for name in kept:
            others = [other for other in kept if other != name]
            known = [pairs.get((min(name, o), max(name, o))) for o in others]
            values = [value for value in known if value is not None]
            mean = round(sum(values) / len(values), 9) if values else None
            shares = bool(event[name]) and any(event[o] == event[name] for o in others)
            near = mean is not None and mean >= threshold
            if not shares and not near:
                out.append(name)
                continue
            because = "both" if shares and near else "metadata" if shares else "price"
            text = None if mean is None else number_text(mean)
            members.append(ClusterMember(condition_id=name, because=because, correlation=text))
        if not out:
            break
        kept = [name for name in kept if name not in out]
    if len(members) < 2:
        return None
    by_id = {market.condition_id: market for market in markets}
    return Cluster(
        **at(now),
        cluster_id=_id_of(kept, event),
        tenant_id=tenant_id,
        name=_name_of([by_id[name].slug or name for name in kept]),
        builder_version=VERSION,
        window_days=window_days,
        threshold=number_text(threshold),
        members=tuple(members),
    )


def _id_of(kept: Sequence[str], event: Mapping[str, str]) -> str:
    """From its first event, else from its first market: it stays while that one stays."""
    events = sorted(event[name] for name in kept if event[name] and sum(event[o] == event[name] for o in kept) > 1)
    if events:
        return "clu_event_" + re.sub(r"[^0-9a-zA-Z]", "_", events[0])
    return f"clu_price_{min(kept)[2:18]}"


def _name_of(slugs: Sequence[str]) -> str:
    """The words that all slugs begin with, else the shortest slug."""
    words = [slug.split("-") for slug in slugs]
    same = list(takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
    return " ".join(column[0] for column in same) if len(same) > 1 else min(slugs, key=len).replace("-", " ")
