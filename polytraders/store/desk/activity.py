"""What people did at the desk, read from its chain and judged by gov.useractivityledger."""

from __future__ import annotations

from typing import Any

import orjson

from polytraders.bots import Conclusion
from polytraders.config import Settings, load_settings
from polytraders.errors import PolytradersError
from polytraders.governance.useractivityledger import SPEC, Act, Inputs, check
from polytraders.store.desk.check import broken_chain
from polytraders.store.desk.journal import clock
from polytraders.store.sql import Database


def activity(
    desk: Database,
    begin: int = 0,
    end: int | None = None,
    *,
    now: int | None = None,
    settings: Settings | None = None,
) -> Conclusion:
    """The acts of persons from `begin` to before `end` (ns), and whether the chain they stand in is whole."""
    now = clock(now)
    limits = SPEC.limits((settings or load_settings()).bot(SPEC.bot_id).values)
    try:
        return check(_read(desk, begin, now + 1 if end is None else end, now), limits, now)
    except PolytradersError as error:
        return check(Inputs(0, problem=error.what), limits, now)


def _read(desk: Database, begin: int, end: int, now: int) -> Inputs:
    with desk.read() as tx:
        fault = broken_chain(tx)
        rows = tx.rows(
            "SELECT * FROM operator_actions WHERE actor_kind = 'operator' AND ts_ns >= :begin AND ts_ns < :end "
            "ORDER BY seq",
            begin=begin,
            end=end,
        )
        sent = tx.rows("SELECT trade_intent_id, order_key FROM trade_intents WHERE order_key IS NOT NULL")
    orders = {row["trade_intent_id"]: row["order_key"] for row in sent}
    broken = "" if fault is None else f"{fault.where}: {fault.what}"
    return Inputs(now, () if broken else tuple(_act(row, orders) for row in rows), broken)


def _act(row: dict[str, Any], orders: dict[str, str]) -> Act:
    said = orjson.loads(row["payload"])
    led = orders.get(row["subject"]) if row["kind"] == "approve" else None
    by = f"kill switch {said['switch']}" if said.get("switch") else ""  # what arming one rejected
    return Act(
        seq=row["seq"],
        ts=row["ts_ns"],
        person=row["actor"],
        kind=row["kind"],
        subject=row["subject"],
        channel=row["channel"],
        code=str(said.get("code") or ""),
        reason=str(said.get("reason") or said.get("comment") or by),
        orders=(led,) if led else (),
    )
