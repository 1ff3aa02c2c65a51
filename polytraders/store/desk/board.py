"""What runs tell the desk about themselves: that they live, what they hold, what they see. Replaced, not kept.

A run publishes; people read. What matters later stands in the run's log and in the actions.

Topics and their documents (money, prices and sizes as text in pUSD and shares):

=========  ====================  ==================================================================================
topic      name                  document
=========  ====================  ==================================================================================
account    account               equity, cash, reserved, marked, realised, fees, rebates, pnl_day, drawdown ...
positions  condition_id:YES      a contracts.Position
orders     order key             trade_intent_id, condition_id, outcome, side, price, size, filled, average, status,
                                 p_hat, q_exec, net_edge_bps, p_fill, book_hash
health     part (feed, log ...)  up, since_ns, last_ns, errors
bots       bot id                a contracts.BotHealth
limits     name                  observed, limit, unit, scope, slope_per_s (of observed, when known)
markets    condition_id          slug, question, status, in_scope, bid, ask, volume, quality, closes_at
=========  ====================  ==================================================================================
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from polytraders import units
from polytraders.errors import UsageError
from polytraders.store.desk.journal import clock
from polytraders.store.sql import Database, Transaction

TOPICS = ("account", "positions", "orders", "health", "bots", "limits", "markets")
STATES = ("starting", "running", "halted", "stopping", "stopped", "failed")
ENDED = ("stopped", "failed")
"""States in which a run has its end."""
OUTLIVES = ("account", "positions", "orders")
"""Topics of a live run that stay true when it has ended: the money is at the venue."""
ALIVE_NS = 10 * units.NS_PER_S
"""A run that has not been heard of for longer is called silent."""
LOST_NS = 30 * units.NS_PER_S
"""A run whose process cannot be seen from here and that has not been heard of for longer is taken for gone."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Best prices of one token as a run sees them."""

    condition_id: str
    outcome: str  # YES | NO
    bid: int | None  # pips
    ask: int | None
    book_hash: str
    ts_ns: int


def put_run(
    desk: Database,
    run_id: str,
    *,
    mode: str,
    strategy_id: str,
    portfolio_id: str,
    state: str = "starting",
    now: int | None = None,
    document: Mapping[str, Any] | None = None,
    process: str = "",
) -> None:
    """Say that a run begins (or begins again). process: `this_process` of the one that works on it, "" = not told."""
    now = clock(now)
    row = {
        "run_id": run_id,
        "mode": mode,
        "strategy_id": strategy_id,
        "portfolio_id": portfolio_id,
        "state": state,
        "started_ns": now,
        "heartbeat_ns": now,
        "document": _json(document or {}),
    }
    with desk.write() as tx:
        tx.upsert("runs", ["run_id"], [row])
        tx.upsert("processes", ["run_id"], [{"run_id": run_id, "process": process}])


def this_process() -> str:
    """This process among all: the machine since its start and the process namespace, its number there and its begin."""
    return f"{_here()} {os.getpid()} {_begun(os.getpid()) or ''}"


@lru_cache(1)
def _here() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux: nobody can say of a process whether it is the same one
        return ""


def _begun(pid: int) -> str | None:
    """Clock ticks since the machine's start when a process began; "" = it is dead, None = that cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None if _there(pid) else ""  # somebody else's, where /proc hides those
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def gone(tx: Transaction, run_id: str) -> bool | None:
    """Whether the process that works on a run is no more; None where that cannot be seen from here."""
    process = tx.value("SELECT process FROM processes WHERE run_id = :id", id=run_id) or ""
    where, _, rest = process.partition(" ")
    pid, _, begun = rest.partition(" ")
    if not where or where != _here() or not pid.isdigit() or not begun:
        return None
    found = _begun(int(pid))
    return None if found is None else found != begun


def absent(tx: Transaction, run_id: str, now: int) -> str:
    """Why nobody would carry out what is asked of a run, "" when it is alive or the desk never heard of it.

    A run that is busy, or stopped by the machine for a while, is alive as long as its process is there.
    """
    row = tx.row("SELECT state, heartbeat_ns FROM runs WHERE run_id = :id", id=run_id)
    if row is None:
        return ""
    if row["state"] in (*ENDED, "stopping"):
        return str(row["state"])
    dead, silent = gone(tx, run_id), now - row["heartbeat_ns"]
    if dead:
        return "its process is gone"
    return f"not heard of for {silent // units.NS_PER_S} s" if dead is None and silent > LOST_NS else ""


def heartbeat(
    desk: Database,
    run_id: str,
    now: int | None = None,
    *,
    state: str | None = None,
    document: Mapping[str, Any] | None = None,
    quotes: Iterable[Quote] = (),
    topics: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> None:
    """Say that a run lives, with whatever it has to tell, in one transaction.

    Parameters
    ----------
    quotes: best prices of the markets that have open trade intents (others are welcome).
    topics: topic -> name -> document; a topic that is given replaces what the run had there.

    Raises UsageError for a run that never began or an unknown topic.
    """
    now = clock(now)
    values: dict[str, Any] = {"heartbeat_ns": now}
    values |= {"state": state} if state is not None else {}
    values |= {"document": _json(document)} if document is not None else {}
    unknown = set(topics or ()) - set(TOPICS)
    if unknown or (state is not None and state not in STATES):
        raise UsageError(
            f"the board has no {', '.join(sorted(unknown)) or state}", rule=f"topics: {', '.join(TOPICS)}; "
            f"states: {', '.join(STATES)}",
        )  # fmt: skip
    with desk.write() as tx:
        sets = ", ".join(f"{name} = :{name}" for name in values)
        if not tx.run(f"UPDATE runs SET {sets} WHERE run_id = :run_id", {**values, "run_id": run_id}):
            raise UsageError("no run of this id has begun", where=run_id, mend="put_run first")
        rows = [
            {
                "run_id": run_id, "condition_id": quote.condition_id, "outcome": quote.outcome, "bid": quote.bid,
                "ask": quote.ask, "book_hash": quote.book_hash, "ts_ns": quote.ts_ns,
            }
            for quote in quotes
        ]  # fmt: skip
        tx.upsert("quotes", ["run_id", "condition_id", "outcome"], rows)
        for topic, documents in (topics or {}).items():
            tx.run("DELETE FROM board WHERE run_id = :run_id AND topic = :topic", {"run_id": run_id, "topic": topic})
            tx.insert(
                "board",
                [
                    {"run_id": run_id, "topic": topic, "name": name, "ts_ns": now, "document": _json(document)}
                    for name, document in documents.items()
                ],
            )


def _json(document: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(document), option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def runs(desk: Database, now: int | None = None) -> list[dict[str, Any]]:
    """Every run the desk knows, newest first; `alive` says whether it was heard of within ALIVE_NS."""
    now = clock(now)
    with desk.read() as tx:
        rows = tx.rows("SELECT * FROM runs ORDER BY started_ns DESC, run_id")
    return [
        row
        | {
            "document": orjson.loads(row["document"]),
            "alive": row["state"] not in ENDED and now - row["heartbeat_ns"] <= ALIVE_NS,
        }
        for row in rows
    ]


def board(desk: Database, topic: str, run_id: str | None = None) -> list[dict[str, Any]]:
    """What runs published under a topic: run_id, name, ts_ns and the document's own fields."""
    if topic not in TOPICS:
        raise UsageError(f"the board has no {topic}", rule="topics: " + ", ".join(TOPICS))
    where, values = "topic = :topic", {"topic": topic}
    if run_id is not None:
        where, values = f"{where} AND run_id = :run_id", {**values, "run_id": run_id}
    with desk.read() as tx:
        rows = tx.rows(f"SELECT * FROM board WHERE {where} ORDER BY run_id, name", **values)
    return [
        orjson.loads(row["document"]) | {"run_id": row["run_id"], "name": row["name"], "seen_ns": row["ts_ns"]}
        for row in rows
    ]


def utilisation(desk: Database, run_id: str | None = None) -> list[dict[str, Any]]:
    """Limits by how much of each is used, the closest to its breach first: `used` (share), `breach_s` (s, or None).

    breach_s is what is left divided by the slope the run gave; None when it gave none or the limit recedes.
    """
    told = []
    for row in board(desk, "limits", run_id):
        observed, limit = Decimal(str(row["observed"])), Decimal(str(row["limit"]))
        slope = Decimal(str(row.get("slope_per_s") or 0))
        left = limit - observed
        told.append(
            row
            | {
                "used": f"{observed / limit:.4f}" if limit else ("1.0000" if observed else "0.0000"),
                "breach_s": 0 if left <= 0 else int(left / slope) if slope > 0 else None,
            }
        )
    return sorted(told, key=lambda row: (-Decimal(row["used"]), row["run_id"], row["name"]))


def standing(desk: Database, topic: str, now: int | None = None, run_id: str | None = None) -> list[dict[str, Any]]:
    """What stands under a topic now: rows of the board (limits as `utilisation` has them) with their run's `mode` and
    how it `stands`.

    stands: empty while the run is heard of; else `silent` (its numbers are those of then), `stopped` or `failed`.
    Of a run that has its end nothing stands but OUTLIVES, and that of live runs only: simulated money ends with it. One
    that is named by run_id is told whole.
    """
    rows = utilisation(desk, run_id) if topic == "limits" else board(desk, topic, run_id)
    known = {run["run_id"]: run for run in runs(desk, now)}  # read after: a run is there before what it tells
    told = []
    for row in rows:
        run = known[row["run_id"]]
        over = run["state"] in ENDED
        if over and run_id is None and not (topic in OUTLIVES and run["mode"] == "live"):
            continue
        stands = run["state"] if over else "" if run["alive"] else "silent"
        told.append(row | {"mode": row.get("mode") or run["mode"], "stands": stands})
    return told
