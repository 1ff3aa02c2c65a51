"""One SQL for SQLite and PostgreSQL: connections, transactions, versions. What is stored is other modules' business.

Writers stand in one line, on both: SQLite by its one writer, PostgreSQL by an advisory lock taken when a writing
transaction begins. So what a transaction reads is still true when it writes, and nobody has to think about
isolation levels.

Invariants
    Q1  a transaction is there whole or not at all, and on disk before it returns
    Q2  writing transactions happen one after the other
    Q3  a password of a URL is in no message
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from polytraders.config import home
from polytraders.errors import DamageError, UsageError

URL_VARIABLE = "POLYTRADERS_DATABASE"
"""Names the desk's database: sqlite:////path or postgresql://user@host/name. It may hold a password, so it is no
setting of a committed file."""
_WRITERS = 0x706F6C79  # the advisory lock of PostgreSQL
WAIT_S = 30
"""How long a writer waits for the writers before it."""

Statement = str | Mapping[str, str]
"""SQL that both know, or one text by dialect."""


def database_url(url: str | None = None) -> str:
    """The database in force: the argument, else POLYTRADERS_DATABASE, else desk.sqlite in POLYTRADERS_HOME.

    It is a file of its own beside the envelope store: whoever projects a long run writes there for minutes, and an
    approval must not wait for that.
    """
    return url or os.environ.get(URL_VARIABLE) or f"sqlite:///{home() / 'desk.sqlite'}"


@lru_cache(512)
def _compiled(statement: str) -> Any:
    return text(statement)


class Transaction:
    """What may be done inside `Database.read()` and `Database.write()`. Values are named: `:name`."""

    def __init__(self, connection: Connection):
        self._connection = connection

    @property
    def dialect(self) -> str:
        """sqlite or postgresql."""
        return self._connection.dialect.name

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Every row of a query."""
        return [dict(row) for row in self._connection.execute(_compiled(statement), values).mappings()]

    def row(self, statement: str, **values: Any) -> dict[str, Any] | None:
        """Its first row; None when there is none."""
        found = self._connection.execute(_compiled(statement), values).mappings().first()
        return None if found is None else dict(found)

    def value(self, statement: str, **values: Any) -> Any:
        """The first column of its first row; None when there is none."""
        return self._connection.execute(_compiled(statement), values).scalar()

    def run(self, statement: str, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> int:
        """Do it, once or for each set of values; the number of rows it touched."""
        if values is not None and not isinstance(values, Mapping) and not values:
            return 0
        return self._connection.execute(_compiled(statement), values or {}).rowcount

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows that have the same columns."""
        if rows:
            names = list(rows[0])
            marks = ", ".join(f":{name}" for name in names)
            self.run(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)

    def upsert(self, table: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, or replace those whose keys are there."""
        if rows:
            names = list(rows[0])
            marks = ", ".join(f":{name}" for name in names)
            sets = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
            end = f"DO UPDATE SET {sets}" if sets else "DO NOTHING"
            insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
            self.run(f"{insert} ON CONFLICT ({', '.join(keys)}) {end}", rows)

    def ddl(self, statement: Statement) -> None:
        """Change the schema."""
        chosen = statement if isinstance(statement, str) else statement[self.dialect]
        self._connection.exec_driver_sql(chosen)


class Database:
    """A database and its pool of connections. Safe to use from several threads; `close` it."""

    def __init__(self, url: str | None = None):
        self.url = database_url(url)
        try:
            parsed = make_url(self.url)
        except (SQLAlchemyError, ValueError):
            raise UsageError("this is no database URL", where=self.shown, mend=_URLS) from None
        dialect = parsed.get_backend_name()
        if dialect == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif dialect != "sqlite":
            raise UsageError(f"no {dialect} database is supported", where=self.shown, mend=_URLS)
        self.dialect, self.path = dialect, parsed.database if dialect == "sqlite" else None
        try:
            self._engine = _sqlite(parsed) if dialect == "sqlite" else _postgresql(parsed)
        except ImportError:
            raise UsageError(
                "there is no PostgreSQL client here", where=self.shown, mend="install polytraders[postgres]"
            ) from None

    @property
    def shown(self) -> str:
        """The URL for messages, without its password (Q3)."""
        try:
            return make_url(self.url).render_as_string(hide_password=True)
        except (SQLAlchemyError, ValueError):
            return re.sub(r"//.*@", "//***@", self.url)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A look at one state of the database."""
        with self._begin("BEGIN") as transaction:
            yield transaction

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """All of what is done inside, or nothing of it (Q1), after those who came before (Q2)."""
        with self._begin("BEGIN IMMEDIATE") as transaction:
            if self.dialect == "postgresql":
                transaction.run("SELECT pg_advisory_xact_lock(:key)", {"key": _WRITERS})
            yield transaction

    @contextmanager
    def _begin(self, begin: str) -> Iterator[Transaction]:
        try:
            with self._engine.connect() as connection:
                if self.dialect == "sqlite":
                    connection = connection.execution_options(begin=begin)
                elif begin == "BEGIN":
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                with connection.begin():
                    yield Transaction(connection)
        except DatabaseError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: DatabaseError) -> DamageError | UsageError:
        said = str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
        if "no such table" in said or "does not exist" in said:
            return UsageError(f"the database is not set up: {said}", where=self.shown, mend="polytraders db init")
        if isinstance(error, OperationalError) and "malformed" not in said and "disk image" not in said:
            return UsageError(
                f"the database cannot be used: {said}",
                where=self.shown,
                mend="try again when the other process is done; see that the server, the folder and the disk are well",
            )
        return DamageError(f"the database refuses: {said}", where=self.shown, mend="polytraders db check")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_URLS = "sqlite:////absolute/path/desk.sqlite or postgresql://user@host/name"


def _sqlite(url: Any) -> Engine:
    from pathlib import Path

    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": WAIT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _postgresql(url: Any) -> Engine:
    wait = {"options": f"-c lock_timeout={WAIT_S * 1000} -c timezone=UTC", "connect_timeout": 10}
    return create_engine(url, connect_args=wait, pool_pre_ping=True)


# ------------------------------------------------------------------------------------------------ versions


def version(database: Database, part: str) -> int:
    """How many of a part's migrations were made; 0 for a database that knows nothing of it."""
    with database.read() as tx:
        return _version(tx, part)


def _version(tx: Transaction, part: str) -> int:
    there = (
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_versions'"
        if tx.dialect == "sqlite"
        else "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() "
        "AND table_name = 'schema_versions'"
    )
    if not tx.value(there):
        return 0
    return tx.value("SELECT version FROM schema_versions WHERE part = :part", part=part) or 0


def upgrade(database: Database, part: str, migrations: Sequence[Iterable[Statement]]) -> tuple[int, int]:
    """Bring a part up to its last version; (version before, version after). A newer database is refused."""
    with database.write() as tx:
        before = _version(tx, part)
        if before > len(migrations):
            raise UsageError(
                f"the database has version {before} of {part}; this program knows {len(migrations)}",
                where=database.shown,
                mend="use the program that wrote it",
            )
        if before < len(migrations):
            tx.ddl("CREATE TABLE IF NOT EXISTS schema_versions (part TEXT PRIMARY KEY, version BIGINT NOT NULL)")
            for statements in migrations[before:]:
                for statement in statements:
                    tx.ddl(statement)
            tx.upsert("schema_versions", ["part"], [{"part": part, "version": len(migrations)}])
        return before, len(migrations)
