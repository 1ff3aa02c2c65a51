"""A backtest in the scope of a cluster, as the cluster was on each day of the recording.

Markets that were not in it on a day are OUT_OF_SCOPE from its beginning (UTC) on, by FLAGS rows in the stream: the
strategy opens nothing there and what it holds can be sold, as in a live run whose scope was resolved again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from polytraders import units
from polytraders.data.catalog import Session
from polytraders.errors import UsageError
from polytraders.rows import EVENT
from polytraders.run.bounds import Bounds
from polytraders.store.desk.portfolio import config_at
from polytraders.store.sql import Database


def scoped(desk: Database, session: Session, cluster_id: str) -> Session:
    """The session with the rows of its scope, which also stands in its pins and notes.

    Raises UsageError for a cluster that was there on none of its days, or had none of its markets.
    """
    events = session.events
    if not len(events):
        return session
    first, last = int(events["ts_recv"][0]), int(events["ts_recv"][-1])
    begins = [first, *range(first - first % units.NS_PER_DAY + units.NS_PER_DAY, last + 1, units.NS_PER_DAY)]
    bounds, parts, days = Bounds(session.markets), [], []
    for begin in begins:
        members = _members(desk, cluster_id, begin - begin % units.NS_PER_DAY)
        inside = [market.condition_id for market in session.markets if market.condition_id in members]
        rows = bounds.scope(members)
        rows["ts_recv"] = rows["ts_event"] = begin
        parts.append(rows)
        days.append({"day": units.iso_utc(begin)[:10], "condition_ids": inside})
    if not any(day["condition_ids"] for day in days):
        raise UsageError(
            "none of the recording's markets was in this cluster", where=cluster_id,
            rule="a backtest resolves its scope as it was on each day",
            mend="polytraders portfolios list cluster",
        )  # fmt: skip
    pin: dict[str, Any] = {**session.pin, "scope": {"cluster_id": cluster_id, "days": days}}
    seen = {market for day in days for market in day["condition_ids"]}
    note = f"Scope: cluster {cluster_id}, as it was on each of {len(days)} days; {len(seen)} markets in all."
    return replace(session, events=_merged(events, parts), pin=pin, notes=(*session.notes, note))


def _members(desk: Database, cluster_id: str, day: int) -> frozenset[str]:
    """The markets of a cluster as it was saved at the begin of a day (ns); none before there was one."""
    with desk.read() as tx:
        found = config_at(tx, "cluster", cluster_id, day)
    return frozenset(member["condition_id"] for member in found["members"]) if found else frozenset()


def _merged(events: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """The stream with the rows in their places, each before what was received at the same time; numbered again."""
    rows = np.concatenate([np.zeros(0, EVENT), *parts])
    at = np.searchsorted(events["ts_recv"], rows["ts_recv"], side="left")
    whole = np.insert(events, at, rows)
    whole["seq"] = np.arange(len(whole))
    return whole
