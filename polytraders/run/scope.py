"""A backtest in the scope of a cluster, as the cluster was on each day of the recording.

Markets that were not in it on a day are OUT_OF_SCOPE from its beginning (UTC) on, by FLAGS rows in the stream: the
strategy opens nothing there and what it holds can be sold, as in a live run whose scope was resolved again.

Every market that enters or leaves gets its receipt, as at a launch: an AuditEnvelope with STRAT_MARKET_IN_SCOPE or
STRAT_MARKET_OUT_OF_SCOPE and the scope after it. They lie with the run (`FILE`, one a line, chained) and not in the
desk's own audit, which tells what people and live runs did, and when; they follow from the run's manifest alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polytraders import units
from polytraders.contracts import GENESIS, NO_BUILDER, AuditEnvelope, seal
from polytraders.data.catalog import Session
from polytraders.errors import DamageError, UsageError
from polytraders.rows import EVENT
from polytraders.run.bounds import Bounds
from polytraders.store.desk.portfolio import config_at
from polytraders.store.ids import envelope_id
from polytraders.store.sql import Database

FILE = "scope.jsonl"
"""Receipts of a run's scope, in its folder."""


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
        days.append({"day": units.iso_utc(begin)[:10], "ts_ns": begin, "condition_ids": inside})
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


def receipts(manifest: dict[str, Any]) -> Iterator[AuditEnvelope]:
    """The receipts of a run's scope, oldest first and chained; none of a run that has none."""
    scope = manifest["pins"].get("scope")
    run_id, before, seq, last = manifest["run_id"], [], 0, GENESIS
    subject = {"strategy_id": manifest["strategy"], "portfolio_id": manifest["config"]["portfolio"]["id"]}
    for day in scope["days"] if scope else ():
        after, ts = day["condition_ids"], int(day["ts_ns"])
        snapshot = {"mode": "cluster", "cluster_id": scope["cluster_id"], "resolved_condition_ids": after}
        moved = [("STRAT_MARKET_OUT_OF_SCOPE", market) for market in before if market not in after]
        moved += [("STRAT_MARKET_IN_SCOPE", market) for market in after if market not in before]
        for reason, market in moved:
            sealed = seal(
                {
                    "envelope_id": envelope_id(ts, run_id, seq), "ts": units.iso_utc(ts), "ts_ns": ts, "reason": reason,
                    "builder_code": manifest.get("builder_code") or NO_BUILDER,
                    "actor": {"kind": "system", "id": run_id}, "subject": subject | {"condition_id": market},
                    "scope_snapshot": snapshot, "seq": seq, "prev_hash": last,
                },
                AuditEnvelope,
            )  # fmt: skip
            seq, last = seq + 1, sealed.hash
            yield sealed
        before = after


def keep(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the receipts into the run's folder; nothing where there are none."""
    if "scope" in manifest["pins"]:
        (folder / FILE).write_bytes(_lines(manifest))


def check(folder: Path, manifest: dict[str, Any]) -> int | None:
    """How many receipts the run's scope has, None for a run without one. Raises DamageError when they are not what its
    manifest gives."""
    if "scope" not in manifest["pins"]:
        return None
    expected = _lines(manifest)
    try:
        found = (folder / FILE).read_bytes()
    except OSError as error:
        raise DamageError(f"cannot be read: {error.strerror}", where=str(folder / FILE)) from None
    if found != expected:
        pairs = enumerate(zip(found.splitlines(), expected.splitlines(), strict=False), 1)
        line = next(
            (at for at, (one, other) in pairs if one != other), min(found.count(b"\n"), expected.count(b"\n")) + 1
        )
        raise DamageError(
            "a receipt of the scope is not the one that the manifest gives", where=f"{folder / FILE}, line {line}",
            rule="every market that enters or leaves has one, in order, chained",
            mend="the run's log is not touched by it: run the backtest again",
        )  # fmt: skip
    return expected.count(b"\n")


def _lines(manifest: dict[str, Any]) -> bytes:
    return b"".join(envelope.to_json() + b"\n" for envelope in receipts(manifest))
