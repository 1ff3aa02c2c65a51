"""Is the desk's database what was written? Each fault has a name and a place; `rebuild` folds the tables again.

D1 file      SQLite's or PostgreSQL's own structure is damaged
D2 version   the schema is not the one of its version
D3 chain     an action was changed, is missing or was added
D4 table     a journaled table is not what its actions give
D5 document  a stored contract is no valid document or differs from the columns beside it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from polytraders.contracts import (
    GENESIS,
    Approval,
    AuditEnvelope,
    KillSwitch,
    Override,
    TradeIntent,
    content_hash,
    verify_chain,
)
from polytraders.errors import DamageError, UsageError
from polytraders.store.desk.journal import COLUMNS, Write, _apply
from polytraders.store.desk.schema import JOURNALED, MIGRATIONS, PART, TOLD
from polytraders.store.sql import Database, Transaction, version


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it was written."""

    kind: str  # file | version | chain | table | document
    where: str  # table and key
    what: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def columns_of(table: str) -> list[str]:
    """The columns of a table as the migrations make it."""
    for statements in MIGRATIONS:
        for statement in statements:
            if isinstance(statement, str) and f"CREATE TABLE {table} " in statement:
                body = re.sub(r"--[^\n]*", "", statement).partition("(")[2]
                names = [line.split()[0] for line in body.splitlines() if line.strip(" )")]
                return [name for name in names if name.islower()]
    raise KeyError(table)


def check(desk: Database) -> list[Fault]:
    """Every fault found, none = it is what was written. Reads all of it; changes nothing."""
    try:
        found = version(desk, PART)
        if found != len(MIGRATIONS):
            mend = "polytraders db upgrade" if found else "polytraders db init"
            return [Fault("version", "schema_versions", f"version {found} of {len(MIGRATIONS)}: {mend}")]
        with desk.read() as tx:
            faults = list(_file(tx)) or [*_chain(tx), *_tables(tx), *_documents(tx)]
    except (DamageError, UsageError) as error:
        return [Fault("file", desk.shown, error.what)]
    return faults


def _file(tx: Transaction) -> Iterator[Fault]:
    if tx.dialect == "sqlite":
        for row in tx.rows("PRAGMA integrity_check"):
            if row["integrity_check"] != "ok":
                yield Fault("file", "sqlite", row["integrity_check"])
    for table in (*JOURNALED, "operator_actions", *TOLD):
        wanted = set(columns_of(table))
        there = (
            {row["name"] for row in tx.rows(f"PRAGMA table_info({table})")}
            if tx.dialect == "sqlite"
            else {
                row["column_name"]
                for row in tx.rows(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() "
                    "AND table_name = :table",
                    table=table,
                )
            }
        )
        if there != wanted:
            odd = ", ".join(sorted(there ^ wanted))
            yield Fault("version", table, f"columns are not those of version {len(MIGRATIONS)}: {odd}")


def _actions(tx: Transaction, batch: int = 5_000) -> Iterator[dict[str, Any]]:
    after = -(2**62)
    while rows := tx.rows(
        "SELECT * FROM operator_actions WHERE seq > :after ORDER BY seq LIMIT :batch", after=after, batch=batch
    ):
        yield from rows
        after = rows[-1]["seq"]


def _chain(tx: Transaction) -> Iterator[Fault]:
    """Faults of the chain; after the first break the rest of it cannot be judged by its predecessors."""
    seq, prev = 0, GENESIS
    for row in _actions(tx):
        where = f"operator_actions {row['seq']}"
        if row["seq"] != seq + 1:
            yield Fault("chain", where, f"actions {seq + 1} ... {row['seq'] - 1} are missing")
        elif row["prev_hash"] != prev:
            yield Fault("chain", where, "it does not follow from the action before it")
        if content_hash({name: row[name] for name in COLUMNS if name != "hash"}) != row["hash"]:
            yield Fault("chain", where, "its content is not what was sealed")
        seq, prev = row["seq"], row["hash"]


def broken_chain(tx: Transaction) -> Fault | None:
    """Where the chain of actions breaks first; None = it is whole."""
    return next(_chain(tx), None)


Folded = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


def _fold(tx: Transaction) -> Folded:
    """Journaled table -> key -> row, as the actions give it."""
    tables: Folded = {table: {} for table in JOURNALED}
    for action in _actions(tx):
        try:
            writes = orjson.loads(action["writes"])
            for table, key, values, new in writes:
                rows = tables[table]
                named = dict(zip(JOURNALED[table], key, strict=True)) | values
                rows[tuple(key)] = named if new else rows.get(tuple(key), {}) | named
        except (orjson.JSONDecodeError, ValueError, KeyError, TypeError):
            continue  # the chain has said so
    return tables


def _tables(tx: Transaction) -> Iterator[Fault]:
    for table, wanted in _fold(tx).items():
        keys = JOURNALED[table]
        for row in tx.rows(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}"):
            key = tuple(row[name] for name in keys)
            where = f"{table} {' '.join(map(str, key))}"
            given = wanted.pop(key, None)
            if given is None:
                yield Fault("table", where, "no action made this row")
            elif row != given:
                odd = [name for name in row if row[name] != given.get(name)]
                yield Fault("table", where, f"{', '.join(odd)}: not what the actions give")
        for key in wanted:
            yield Fault("table", f"{table} {' '.join(map(str, key))}", "this row is missing")


_DOCUMENTS = {
    "trade_intents": (TradeIntent, ("trade_intent_id", "portfolio_id", "condition_id", "shown_hash", "type")),
    "approvals": (Approval, ("approval_id", "trade_intent_id", "decision", "shown_hash", "ts_ns")),
    "switches": (KillSwitch, ("switch_id", "scope", "state", "firings")),
    "overrides": (Override, ("override_id", "bot_id", "state", "ts_ns")),
    "audit": (AuditEnvelope, ("seq", "envelope_id")),
}


def _documents(tx: Transaction) -> Iterator[Fault]:
    for table, (model, columns) in _DOCUMENTS.items():
        for row in tx.rows(f"SELECT * FROM {table}"):
            where = f"{table} {' '.join(str(row[key]) for key in JOURNALED[table])}"
            try:
                document = model.model_validate_json(row["document"])
            except ValidationError as error:
                yield Fault("document", where, f"no {model.__name__}: {error.errors()[0]['msg']}")
                continue
            odd = [name for name in columns if getattr(document, name) != row[name]]
            if odd:
                yield Fault("document", where, f"{', '.join(odd)} differ from the document")
    envelopes = (orjson.loads(row["document"]) for row in tx.rows("SELECT document FROM audit ORDER BY seq"))
    if (broken := verify_chain(envelopes)) is not None:
        yield Fault("chain", f"audit {broken.index}", broken.what)


def rebuild(desk: Database) -> dict[str, int]:
    """Fold every journaled table again from the actions; table -> rows. Raises DamageError when the chain is broken."""
    with desk.write() as tx:
        if (broken := broken_chain(tx)) is not None:
            raise DamageError(
                f"the actions themselves are damaged: {broken.what}",
                where=broken.where,
                rule="tables are folded from an intact chain of actions",
                mend="restore the database from its last backup",
            )
        folded = _fold(tx)
        for table, rows in folded.items():
            tx.run(f"DELETE FROM {table}")
            _apply(tx, [_whole(table, key, row) for key, row in rows.items()])
    return {table: len(rows) for table, rows in folded.items()}


def _whole(table: str, key: tuple[Any, ...], row: dict[str, Any]) -> Write:
    return Write(table, key, {name: row[name] for name in columns_of(table) if name not in JOURNALED[table]}, new=True)
