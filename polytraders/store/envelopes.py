"""The envelope store: the receipts of runs, a projection of their logs that can be rebuilt at any time.

It lies in SQLite, or on a PostgreSQL server when POLYTRADERS_DATABASE names one: the same tables, the same rows. On
the server the rows of a run go in by COPY.

Invariants
    V1  projecting a run again gives the same rows, byte for byte
    V2  a projection is there whole or not at all
    V3  a changed, missing, added or moved envelope is found by verify_chain

A projection of one correlation stores that intent's envelopes only, with the ids, places and hashes
that they have in the whole chain.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from polytraders.config import home
from polytraders.contracts import GENESIS, canonical_json
from polytraders.errors import DamageError, UsageError
from polytraders.store.ids import correlation_id, parse_id
from polytraders.store.receipts import Receipts, sealed
from polytraders.store.sql import URL_VARIABLE, Database, upgrade

MIGRATIONS = (
    (
        """
    CREATE TABLE runs (
        run_id          TEXT PRIMARY KEY,
        run_mode        TEXT NOT NULL,
        strategy        TEXT NOT NULL,
        package_version TEXT NOT NULL,
        config_hash     TEXT NOT NULL,
        log_hash        TEXT NOT NULL,  -- '' when the run was not closed
        complete        INTEGER NOT NULL,  -- 0 when only single correlations were projected
        envelopes       INTEGER NOT NULL,  -- length of the whole chain
        head            TEXT NOT NULL  -- hash of its last envelope
    ) STRICT
    """,
        """
    CREATE TABLE envelopes (
        run_id         TEXT NOT NULL,  -- of runs; without a foreign key, which would double the time of an insert
        seq            INTEGER NOT NULL,
        envelope_id    TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        kind           TEXT NOT NULL,
        bot_id         TEXT NOT NULL,
        bot_version    TEXT NOT NULL,
        config_version TEXT NOT NULL,
        mode           TEXT NOT NULL,
        reason_code    TEXT NOT NULL,
        severity       TEXT NOT NULL,
        condition_id   TEXT,
        emitted_at     INTEGER NOT NULL,  -- ns
        body           TEXT NOT NULL,  -- the document, canonical JSON
        prev_hash      TEXT NOT NULL,
        hash           TEXT NOT NULL,
        PRIMARY KEY (run_id, seq)
    ) STRICT
    """,
        "CREATE INDEX envelopes_by_correlation ON envelopes (correlation_id)",
        "CREATE INDEX envelopes_by_reason ON envelopes (bot_id, reason_code)",
    ),
)
"""The statements that take the store from version i to i + 1 (SQLite's user_version)."""

COLUMNS = (
    "run_id", "seq", "envelope_id", "correlation_id", "kind", "bot_id", "bot_version", "config_version", "mode",
    "reason_code", "severity", "condition_id", "emitted_at", "body", "prev_hash", "hash",
)  # fmt: skip
_INSERT = f"INSERT INTO envelopes ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_RUN_COLUMNS = (
    "run_id", "run_mode", "strategy", "package_version", "config_hash", "log_hash", "complete", "envelopes", "head",
)  # fmt: skip
_INSERT_RUN = (
    f"INSERT INTO {{runs}} ({', '.join(_RUN_COLUMNS)}) VALUES ({', '.join('?' * len(_RUN_COLUMNS))}) "
    f"ON CONFLICT (run_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _RUN_COLUMNS[1:])}"
)
PROGRESS_EVERY = 10_000


Place = Path | str
"""A file of SQLite's, or the URL of a PostgreSQL server's database."""


def store_path() -> Place:
    """Where the store lies unless another place is given."""
    url = os.environ.get(URL_VARIABLE, "")
    return url if url.startswith("postgresql") else home() / "store.sqlite"


class Server:
    """A PostgreSQL server behind the few calls of SQLite's connection that are made here."""

    def __init__(self, url: str):
        with Database(url) as database:
            self.shown = database.shown
            upgrade(database, "envelopes", SERVER_MIGRATIONS)
        import psycopg

        self._connection = psycopg.connect(re.sub(r"^postgresql\+\w+", "postgresql", url), autocommit=True)

    @property
    def in_transaction(self) -> bool:
        """Whether one is open."""
        return self._connection.info.transaction_status.name != "IDLE"

    def execute(self, query: str, values: Sequence[Any] = ()) -> Any:
        """Do it; the cursor. Writers stand in line, as SQLite's do."""
        if query == "BEGIN IMMEDIATE":
            self._connection.execute("BEGIN")
            return self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITERS,))
        return self._connection.execute(_on_server(query), tuple(values) or None)

    def stream(self, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, not all at once."""
        with self._connection.cursor() as cursor:
            yield from cursor.stream(_on_server(query), tuple(values))

    def insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Envelopes, by COPY."""
        query = f"COPY {SERVER_TABLES['envelopes']} ({', '.join(COLUMNS)}) FROM STDIN"
        with self._connection.cursor() as cursor, cursor.copy(query) as copy:
            for row in rows:
                copy.write_row(row)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


Connection = sqlite3.Connection | Server
SERVER_TABLES = {"runs": "receipt_runs", "envelopes": "envelopes"}
"""The desk has a table of runs of its own in that database."""


def _tables(store: Connection) -> dict[str, str]:
    return SERVER_TABLES if isinstance(store, Server) else {"runs": "runs", "envelopes": "envelopes"}


def _on_server(query: str) -> str:
    return query.replace("?", "%s")


def _each(store: Connection, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    return store.stream(query, values) if isinstance(store, Server) else store.execute(query, values)


SERVER_MIGRATIONS = tuple(
    tuple(
        statement.replace("TABLE runs", f"TABLE {SERVER_TABLES['runs']}")
        .replace(" STRICT", "")
        .replace("INTEGER", "BIGINT")
        for statement in statements
    )
    for statements in MIGRATIONS
)
_WRITERS = 0x656E76  # the advisory lock of those who project


def _faults() -> tuple[type[Exception], ...]:
    """What a database raises."""
    server = sys.modules.get("psycopg")
    return (sqlite3.DatabaseError, *((server.Error,) if server else ()))


def open_store(path: Place) -> Connection:
    """Open the store, made or brought up to this version if need be. Close it; transactions are explicit."""
    if isinstance(path, str):
        return Server(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        store.execute("PRAGMA page_size = 32768")  # of a new store: many envelopes of 2 kB to a page
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = NORMAL")
        if _version(store) != len(MIGRATIONS):
            with _transaction(store):  # asked again inside: another process may have been faster
                _migrate(store, path)
    except sqlite3.DatabaseError as error:
        store.close()
        raise _unusable(path, error) from None
    except UsageError:
        store.close()
        raise
    return store


def _version(store: sqlite3.Connection) -> int:
    return store.execute("PRAGMA user_version").fetchone()[0]


def _migrate(store: sqlite3.Connection, path: Path) -> None:
    version = _version(store)
    if version > len(MIGRATIONS):
        raise UsageError(
            f"the store has version {version}; this program knows {len(MIGRATIONS)}",
            where=str(path),
            mend="use the program that wrote it, or move the store away: runs can be projected again",
        )
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            store.execute(statement)
    store.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def _transaction(store: Connection) -> Iterator[None]:
    """All of what is done inside, or nothing of it."""
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if store.in_transaction:  # a full disk has already rolled it back
            store.execute("ROLLBACK")
        raise
    store.execute("COMMIT")


def shown(place: Place) -> str:
    """A place for messages, without a password."""
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", place) if isinstance(place, str) else str(place)


def _unusable(path: Place, error: Exception) -> DamageError:
    again = "wait for the other process to finish, then try again"
    rebuild = "free space, or move it away and project the runs again: the run logs hold everything"
    return DamageError(
        f"the envelope store cannot be used: {error}",
        where=shown(path),
        mend=again if "lock" in str(error) else rebuild,
    )


# -------------------------------------------------------------------------------------------- projecting


@dataclass(frozen=True, slots=True)
class Projection:
    """What `project` wrote."""

    run_id: str
    envelopes: int  # in the whole chain
    written: int
    head: str  # hash of the chain's last envelope


def project(
    run_dir: Path,
    store: Place | None = None,
    *,
    correlation: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Projection:
    """Write the receipts of the run at `run_dir` into the store, in place of what it held of that run.

    Parameters
    ----------
    store: where the store lies; None = `store_path()`.
    correlation: store only the envelopes of this intent (`oi_...` or `cor_...`).
    progress: called with (rows done, rows in all) now and then.

    Raises `DamageError` for a damaged log and `DataError` when a row does not make a valid receipt; the
    store is then as it was before.
    """
    path, receipts = store or store_path(), Receipts(run_dir)
    wanted = None if correlation is None else correlation_id(receipts.run_id, parse_id(correlation)[1])
    with closing(open_store(path)) as connection:
        try:
            with _transaction(connection):
                return _project(connection, receipts, wanted, progress)
        except _faults() as error:
            raise _unusable(path, error) from None


def _project(
    store: Connection, receipts: Receipts, wanted: str | None, progress: Callable[[int, int], None] | None
) -> Projection:
    run_id, manifest, summary = receipts.run_id, receipts.log.manifest, receipts.log.summary
    runs = _tables(store)["runs"]
    kept = store.execute(f"SELECT complete FROM {runs} WHERE run_id = ?", (run_id,)).fetchone()
    if wanted is None:
        store.execute("DELETE FROM envelopes WHERE run_id = ?", (run_id,))
    else:
        store.execute("DELETE FROM envelopes WHERE run_id = ? AND correlation_id = ?", (run_id, wanted))
    head, count, written = GENESIS, 0, 0

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal head, count, written
        for document in receipts:
            prev, (head, body) = head, sealed(document, run_id, count, head)
            count += 1
            if progress and count % PROGRESS_EVERY == 0:
                progress(count, receipts.rows)
            if wanted is None or document["correlation_id"] == wanted:
                written += 1
                yield _row(document, body.decode(), prev, head)

    run = [run_id, manifest["run_mode"], manifest["strategy"], manifest["package_version"], manifest["config_hash"]]
    run += [summary["log"]["hash"] if summary else "", int(wanted is None or bool(kept and kept[0]))]
    if isinstance(store, Server):
        store.insert(rows())
    else:
        store.executemany(_INSERT, rows())
    store.execute(_INSERT_RUN.format(runs=runs), [*run, count, head])
    if progress:
        progress(receipts.rows, receipts.rows)
    return Projection(run_id, count, written, head)


def _row(document: dict[str, Any], body: str, prev_hash: str, digest: str) -> tuple[Any, ...]:
    return (
        document["run_id"],
        document["seq"],
        document["envelope_id"],
        document["correlation_id"],
        document["kind"],
        document["bot_id"],
        document["bot_version"],
        document["config_version"],
        document["mode"],
        document["reason_code"],
        document["severity"],
        document["subject"]["condition_id"],
        document["emitted_at_ns"],
        body,
        prev_hash,
        digest,
    )


# ----------------------------------------------------------------------------------- reading and verifying


def envelopes(store: Place, run_id: str, correlation: str | None = None) -> Iterator[dict[str, Any]]:
    """The stored documents of a run (of one intent of it), in the order of the chain."""
    query, values = "SELECT body FROM envelopes WHERE run_id = ?", [run_id]
    if correlation is not None:
        query, values = f"{query} AND correlation_id = ?", [run_id, correlation_id(run_id, parse_id(correlation)[1])]
    with closing(open_store(store)) as connection:
        for (body,) in _each(connection, f"{query} ORDER BY seq", values):
            yield orjson.loads(body)


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What verification of a run's envelopes found."""

    ok: bool
    complete: bool  # False when only single correlations were projected
    envelopes: int  # stored
    head: str
    first_bad: dict[str, Any] | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def verify_chain(store: Place, run_id: str, log_hash: str = "") -> ChainVerdict | None:
    """Check every envelope of a run: its own hash, its predecessor's, its place, the columns beside it and the head.

    `log_hash`, when given, must be that of the log the envelopes were made from. None when the store
    does not exist or holds nothing of the run. Where only single correlations are stored, each is
    checked by itself and against its neighbours.
    """
    if isinstance(store, Path) and not store.exists():
        return None
    try:
        with closing(open_store(store)) as connection:
            query = f"SELECT {', '.join(_RUN_COLUMNS)} FROM {_tables(connection)['runs']} WHERE run_id = ?"
            run = connection.execute(query, (run_id,)).fetchone()
            return None if run is None else _verify(connection, dict(zip(_RUN_COLUMNS, run, strict=True)), log_hash)
    except (*_faults(), DamageError) as error:
        message = f"the store cannot be read: {error}"
        return ChainVerdict(False, False, 0, "", {"what": message, "file": shown(store)}, message)


def _verify(store: Connection, run: dict[str, Any], log_hash: str) -> ChainVerdict:
    count, seq, prev = 0, -1, GENESIS
    complete, bad = bool(run["complete"]), None
    query = f"SELECT {', '.join(COLUMNS)} FROM envelopes WHERE run_id = ? ORDER BY seq"
    for values in _each(store, query, (run["run_id"],)):
        row = dict(zip(COLUMNS, values, strict=True))
        gap = row["seq"] != seq + 1
        what = "an envelope before it is missing" if gap and complete else _envelope_fault(row, None if gap else prev)
        if what:
            bad = {"what": what, "seq": row["seq"], "envelope_id": row["envelope_id"]}
            break
        count, seq, prev = count + 1, row["seq"], row["hash"]
    if bad is None and complete and (seq + 1, prev) != (run["envelopes"], run["head"]):
        bad = {"what": f"the chain ends after {seq + 1} of {run['envelopes']} envelopes", "seq": seq + 1}
    if bad is None and log_hash and run["log_hash"] not in ("", log_hash):
        bad = {"what": "the envelopes were made from a log with another hash", "log_hash": run["log_hash"]}
    if bad is not None:
        place = f" (envelope {bad['seq']})" if "seq" in bad else ""
        message = f"damaged: {bad['what']}{place}; project the run again"
    else:
        message = f"intact: {count} envelopes" + ("" if complete else f" of {run['envelopes']}, of single intents")
    return ChainVerdict(bad is None, complete, count, prev, bad, message)


def _envelope_fault(row: dict[str, Any], prev_hash: str | None) -> str:
    """What is wrong with one stored envelope, "" when nothing is. prev_hash None: its predecessor is not stored."""
    try:
        document = orjson.loads(row["body"])
        own = document.pop("hash")
        columns = _row({**document, "hash": own}, row["body"], document["prev_hash"], own)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "its body is not an envelope"
    if hashlib.sha256(canonical_json(document)).hexdigest() != own:
        return "its content is not what was sealed"
    if columns != tuple(row.values()):
        return "a column beside it differs from its content"
    if canonical_json({**document, "hash": own}).decode() != row["body"]:
        return "its text is not canonical"
    if prev_hash is not None and document["prev_hash"] != prev_hash:
        return "it does not follow from the envelope before it"
    return ""
