"""The mailbox between people and runs: every act of a person, and of a run towards people, in one chain.

A run polls it (`since`) and feeds what concerns it to its step; nothing else tells a run what a person wants.

Invariants
    J1  seq is 1, 2, 3 ... without a hole; an action is never changed or removed
    J2  the hash of an action covers all of it and the hash before it
    J3  every change of a journaled table stands in the action that made it
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from polytraders.contracts import GENESIS, Actor, canonical_json, content_hash
from polytraders.store.desk.schema import JOURNALED, MIGRATIONS, PART
from polytraders.store.sql import Database, Transaction, upgrade


class Kind(StrEnum):
    """What an action is."""

    PROPOSE = "propose"  # a run: a trade intent waits for an answer
    APPROVE = "approve"  # payload.final says whether it was the last one needed
    REJECT = "reject"
    EXPIRE = "expire"
    VOID = "void"
    EXECUTE = "execute"  # a run: handed to the venue
    ARM = "arm"
    CLEAR = "clear"  # payload.final as with approve
    OVERRIDE = "override"
    OVERRIDE_END = "override_end"
    REFUSED = "refused"  # somebody asked for something and did not get it
    TOKEN = "token"
    CONFIG = "config"
    LAUNCH = "launch"
    STOP = "stop"
    SCOPE = "scope"
    RELEASE = "release"  # what a run that is gone holds


SYSTEM = Actor(kind="system", id="desk")
"""Who acts when a time is over."""

COLUMNS = (
    "seq", "ts_ns", "kind", "actor_kind", "actor", "channel", "run_id", "subject", "payload", "writes", "prev_hash",
    "hash",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Write:
    """One row of a journaled table as an action leaves it: all columns of a new one, else those that change."""

    table: str
    key: tuple[Any, ...]
    values: Mapping[str, Any]
    new: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the mailbox."""

    seq: int
    ts_ns: int
    kind: Kind
    actor: Actor
    channel: str
    run_id: str
    subject: str
    payload: dict[str, Any]
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seq": self.seq,
            "ts_ns": self.ts_ns,
            "kind": str(self.kind),
            "actor": self.actor.document(),
            "channel": self.channel,
            "run_id": self.run_id,
            "subject": self.subject,
            **self.payload,
            "hash": self.hash,
        }


def open_desk(url: str | None = None) -> Database:
    """The desk's database, made or brought up to this version if need be. Close it.

    url: see `sql.database_url`. Raises UsageError when it cannot be used or is newer than this program.
    """
    desk = Database(url)
    try:
        upgrade(desk, PART, MIGRATIONS)
    except BaseException:
        desk.close()
        raise
    return desk


def clock(now: int | None) -> int:
    """`now`, or the time of the machine, ns."""
    return time.time_ns() if now is None else int(now)


def head(tx: Transaction) -> tuple[int, str]:
    """(seq, hash) of the last action; (0, zeros) before the first."""
    row = tx.row("SELECT seq, hash FROM operator_actions ORDER BY seq DESC LIMIT 1")
    return (0, GENESIS) if row is None else (row["seq"], row["hash"])


@dataclass(frozen=True, slots=True)
class Entry:
    """What `append` is given: an action that has no place yet."""

    kind: Kind
    actor: Actor
    channel: str
    subject: str
    payload: Mapping[str, Any]
    run_id: str = ""
    writes: Sequence[Write] = ()


def append(tx: Transaction, now: int, *entries: Entry) -> int:
    """Add actions and make their changes, in one transaction; the seq of the last."""
    seq, prev = head(tx)
    rows = []
    for entry in entries:
        seq += 1
        row = {
            "seq": seq,
            "ts_ns": now,
            "kind": str(entry.kind),
            "actor_kind": entry.actor.kind,
            "actor": entry.actor.id,
            "channel": entry.channel,
            "run_id": entry.run_id,
            "subject": entry.subject,
            "payload": canonical_json(entry.payload).decode(),
            "writes": canonical_json([[w.table, list(w.key), dict(w.values), w.new] for w in entry.writes]).decode(),
            "prev_hash": prev,
        }
        row["hash"] = prev = content_hash(row)
        rows.append(row)
    tx.insert("operator_actions", rows)
    _apply(tx, [write for entry in entries for write in entry.writes])
    return seq


def _apply(tx: Transaction, writes: Iterable[Write]) -> None:
    batch: list[Write] = []
    for write in writes:
        if batch and (write.table, write.new, write.values.keys()) != (
            batch[0].table, batch[0].new, batch[0].values.keys(),
        ):  # fmt: skip
            _flush(tx, batch)
            batch = []
        batch.append(write)
    if batch:
        _flush(tx, batch)


def _flush(tx: Transaction, batch: Sequence[Write]) -> None:
    table, keys = batch[0].table, JOURNALED[batch[0].table]
    rows = [dict(zip(keys, write.key, strict=True)) | dict(write.values) for write in batch]
    if batch[0].new:
        tx.insert(table, rows)
    else:
        sets = ", ".join(f"{name} = :{name}" for name in batch[0].values)
        where = " AND ".join(f"{key} = :{key}" for key in keys)
        tx.run(f"UPDATE {table} SET {sets} WHERE {where}", rows)


def since(desk: Database, seq: int, *, run_id: str | None = None, limit: int = 1000) -> list[Action]:
    """Actions after `seq`, oldest first: all, or those for one run and for every run."""
    where, values = "seq > :seq", {"seq": seq, "limit": limit}
    if run_id is not None:
        where, values = f"{where} AND run_id IN ('', :run_id)", {**values, "run_id": run_id}
    with desk.read() as tx:
        rows = tx.rows(f"SELECT * FROM operator_actions WHERE {where} ORDER BY seq LIMIT :limit", **values)
    return [_action(row) for row in rows]


def last_seq(desk: Database) -> int:
    """Where the mailbox ends now: what a run that starts need not read."""
    with desk.read() as tx:
        return head(tx)[0]


def history(desk: Database, subject: str) -> list[Action]:
    """All actions about one subject, oldest first."""
    with desk.read() as tx:
        found = tx.rows("SELECT * FROM operator_actions WHERE subject = :subject ORDER BY seq", subject=subject)
    return [_action(row) for row in found]


def _action(row: Mapping[str, Any]) -> Action:
    return Action(
        seq=row["seq"],
        ts_ns=row["ts_ns"],
        kind=Kind(row["kind"]),
        actor=Actor(kind=row["actor_kind"], id=row["actor"]),
        channel=row["channel"],
        run_id=row["run_id"],
        subject=row["subject"],
        payload=orjson.loads(row["payload"]),
        hash=row["hash"],
    )
