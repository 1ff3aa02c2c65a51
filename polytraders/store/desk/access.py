"""Access tokens: who may do what through HTTP. The store holds digests; a token is shown once, when it is made.

    pt_<id>_<secret>

The secret has 256 random bits, so one SHA-256 of it is as good as any slow hash: there is nothing to guess.

Invariants
    A1  a token is in no table, log, message or traceback: only its id and the digest of its secret are
    A2  secrets are compared in constant time, and an unknown id costs as much as a wrong secret
    A3  an expired or revoked token opens nothing
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from polytraders import units
from polytraders.contracts import Actor
from polytraders.errors import UsageError
from polytraders.store.desk.journal import Entry, Kind, Write, append, clock
from polytraders.store.sql import Database, Transaction

SCOPES = ("read", "approve", "risk", "admin")
"""read: look; approve: answer trade intents; risk: kill switches and overrides; admin: all, and tokens."""
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token stands for."""

    token_id: str
    owner: str
    scopes: tuple[str, ...]

    def may(self, scope: str) -> bool:
        """True when the token opens what needs `scope`. Every scope includes read, admin includes all."""
        return scope in self.scopes or "admin" in self.scopes or (scope == "read" and bool(self.scopes))

    @property
    def actor(self) -> Actor:
        """The person, as the author of an act."""
        return Actor(kind="operator", id=self.owner)


def create_token(
    desk: Database,
    owner: str,
    scopes: Iterable[str],
    actor: Actor,
    now: int | None = None,
    *,
    days: int | None = 90,
    channel: str = "cli",
) -> tuple[str, str]:
    """Make a token: (its id, the token). The token cannot be had again.

    Raises UsageError for an owner without a name, an unknown scope, no scope, or a life below a day.
    """
    now, wanted = clock(now), tuple(dict.fromkeys(scopes))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", owner):
        raise UsageError("this is no name of a person", where=owner, rule="letters, digits and . _ @ -, at most 64")
    if not wanted or set(wanted) - set(SCOPES):
        raise UsageError("a token has scopes", where=", ".join(wanted) or owner, rule=", ".join(SCOPES))
    if days is not None and days < 1:
        raise UsageError("a token lives a day at least", where=f"{days} days", mend="leave it out for 90 days")
    token_id, secret = secrets.token_hex(5), secrets.token_urlsafe(32)
    row = {
        "owner": owner,
        "scopes": orjson.dumps(wanted).decode(),
        "digest": _digest(secret),
        "created_ns": now,
        "expires_ns": None if days is None else now + days * units.NS_PER_DAY,
        "revoked_ns": None,
    }
    payload = {"code": "GOV_TOKEN_CHANGED", "did": "create", "owner": owner, "scopes": list(wanted)}
    writes = [Write("tokens", (token_id,), row, new=True)]
    with desk.write() as tx:
        append(tx, now, Entry(Kind.TOKEN, actor, channel, token_id, payload, "", writes))
    return token_id, f"pt_{token_id}_{secret}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def identify(desk: Database, token: str, now: int | None = None) -> Caller | None:
    """Whom a token stands for; None for what is none, expired or revoked."""
    with desk.read() as tx:
        return identified(tx, token, clock(now))


def identified(tx: Transaction, token: str, now: int) -> Caller | None:
    """`identify` inside a transaction."""
    prefix, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    shaped = prefix == "pt" and re.fullmatch(r"[0-9a-f]{10}", token_id) and 0 < len(secret) <= 128
    row = tx.row("SELECT * FROM tokens WHERE token_id = :id", id=token_id if shaped else "")
    good = hmac.compare_digest(_digest(secret if shaped else ""), row["digest"] if row else _NOBODY)
    if row is None or not good or row["revoked_ns"] is not None:
        return None
    if row["expires_ns"] is not None and now >= row["expires_ns"]:
        return None
    return Caller(row["token_id"], row["owner"], tuple(orjson.loads(row["scopes"])))


def revoke_token(desk: Database, token_id: str, actor: Actor, now: int | None = None, *, channel: str = "cli") -> bool:
    """Revoke a token by its id; False when it was revoked before. Raises UsageError for an unknown one."""
    now = clock(now)
    with desk.write() as tx:
        row = tx.row("SELECT owner, revoked_ns FROM tokens WHERE token_id = :id", id=token_id)
        if row is None:
            raise UsageError("no token has this id", where=token_id, mend="polytraders tokens list")
        if row["revoked_ns"] is not None:
            return False
        payload = {"code": "GOV_TOKEN_CHANGED", "did": "revoke", "owner": row["owner"]}
        writes = [Write("tokens", (token_id,), {"revoked_ns": now})]
        append(tx, now, Entry(Kind.TOKEN, actor, channel, token_id, payload, "", writes))
    return True


def tokens(desk: Database) -> list[dict[str, Any]]:
    """Every token that was ever made, newest first, without its digest."""
    with desk.read() as tx:
        rows = tx.rows("SELECT * FROM tokens ORDER BY created_ns DESC, token_id")
    kept = ("token_id", "owner", "created_ns", "expires_ns", "revoked_ns")
    return [{name: row[name] for name in kept} | {"scopes": orjson.loads(row["scopes"])} for row in rows]


def record_call(
    desk: Database, *, caller: Caller | None, peer: str, method: str, path: str, status: int, code: str, now: int
) -> None:
    """Put down one call of the HTTP interface: who, what, how it ended. Never what was sent with it."""
    with desk.write() as tx:
        seq = (tx.value("SELECT max(seq) FROM calls") or 0) + 1
        row = {
            "seq": seq,
            "ts_ns": now,
            "token_id": caller.token_id if caller else "",
            "owner": caller.owner if caller else "",
            "peer": peer,
            "method": method,
            "path": path[:500].replace("\x00", ""),
            "status": status,
            "code": code,
        }
        tx.insert("calls", [row])


def calls(desk: Database, limit: int = 100) -> list[dict[str, Any]]:
    """The last calls, newest first."""
    with desk.read() as tx:
        return tx.rows("SELECT * FROM calls ORDER BY seq DESC LIMIT :limit", limit=limit)
