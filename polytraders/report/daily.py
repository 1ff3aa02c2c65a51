"""The desk's day in numbers: what was proposed and answered, what was stopped, what the runs hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from polytraders import units
from polytraders.store.desk import board, runs, switches
from polytraders.store.desk.journal import clock
from polytraders.store.sql import Database


def _ledger(desk: Database, begin: int, end: int, now: int) -> dict[str, Any]:
    """What gov.useractivityledger says of the day's acts, and the acts by person and session."""
    from polytraders.store.desk.activity import activity

    found = activity(desk, begin, end, now=max(now, begin))
    return {"code": found.code, "what": found.what, "persons": dict(found.payload.get("ledger", {}))}


def daily_report(desk: Database, now: int | None = None, day: str | None = None) -> dict[str, Any]:
    """One UTC day of the desk.

    day: as YYYY-MM-DD; None = the day of `now`. What runs hold and have earned is what they said last, with the time
    they said it. Raises ValueError for what is no day.
    """
    now = clock(now)
    begin = units.ns_from_iso(f"{day}T00:00:00Z") if day else now - now % units.NS_PER_DAY
    end = begin + units.NS_PER_DAY
    with desk.read() as tx:
        made = tx.rows(
            "SELECT type, status, code, notional_micro, given, decided_ns, created_ns FROM trade_intents "
            "WHERE created_ns >= :begin AND created_ns < :end",
            begin=begin,
            end=end,
        )
        acts = tx.rows(
            "SELECT kind, actor_kind, actor, payload FROM operator_actions WHERE ts_ns >= :begin AND ts_ns < :end",
            begin=begin,
            end=end,
        )
    waits = sorted(row["decided_ns"] - row["created_ns"] for row in made if row["decided_ns"] and row["given"])
    traded = sum(row["notional_micro"] for row in made if row["status"] == "EXECUTED")
    refused = Counter(orjson.loads(act["payload"])["code"] for act in acts if act["kind"] == "refused")
    return {
        "day": units.iso_utc(begin)[:10],
        "as_of": units.iso_utc(min(now, end)),
        "intents": {
            "proposed": len(made),
            "by_status": dict(sorted(Counter(row["status"] for row in made).items())),
            "by_type": dict(sorted(Counter(row["type"] for row in made).items())),
            "by_code": dict(sorted(Counter(row["code"] for row in made).items())),
            "executed_pusd": units.money_text(traded),
            "median_wait_s": f"{waits[len(waits) // 2] / units.NS_PER_S:.1f}" if waits else None,
        },
        "persons": dict(
            sorted(
                Counter(
                    act["actor"] for act in acts if act["actor_kind"] == "operator" and act["kind"] != "refused"
                ).items()
            )
        ),
        "refused": dict(sorted(refused.items())),
        "ledger": _ledger(desk, begin, end, now),
        "switches": {
            "armed_today": sum(act["kind"] == "arm" for act in acts),
            "armed_now": [one["switch_id"] for one in switches(desk, armed=True)],
        },
        "overrides_today": sum(act["kind"] == "override" for act in acts),
        "runs": [
            {key: run[key] for key in ("run_id", "mode", "strategy_id", "portfolio_id", "state", "alive")}
            | {"heard_at": units.iso_utc(run["heartbeat_ns"])}
            for run in runs(desk, now)
            if run["heartbeat_ns"] >= begin
        ],
        "accounts": {
            row["run_id"]: {key: value for key, value in row.items() if key not in ("run_id", "name", "seen_ns")}
            for row in board(desk, "account")
            if row["seen_ns"] >= begin
        },
    }
