"""Who may call, how often, and what is put down of it: one ASGI layer around every route.

Invariants
    H1  a route says which scope it needs in its `openapi_extra`; one that says nothing is refused to everybody
    H2  a token is taken from the Authorization header and from nowhere else: no cookie, no query. A page of another
        site cannot make a browser send it (CSRF), and a request that names a foreign Origin or Host is refused anyway
    H3  every call is in the table `calls`, with its end; what was sent with it never is
    H4  a caller that sends too much is told so before anything is read
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polytraders.errors import PolytradersError
from polytraders.reasons import lookup
from polytraders.store.desk.access import Caller, identify, record_call
from polytraders.store.sql import Database

log = logging.getLogger(__name__)

PUBLIC = "public"
"""The scope of routes that need no token: they tell nothing."""
MOST_CALLERS = 4_096
MOST_BODY = 64_000


class Buckets:
    """How often each caller may call: `per_minute`, in bursts of a tenth of it. The longest silent is forgotten."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.rate, self.depth, self._clock = per_minute / 60, max(1.0, per_minute / 10), clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """0 when the call may go on, else the seconds until the next one may."""
        now = self._clock()
        level, then = self._levels.pop(name, (self.depth, now))
        level = min(self.depth, level + (now - then) * self.rate)
        wait = 0.0 if level >= 1 else (1 - level) / self.rate
        self._levels[name] = (level - 1 if not wait else level, now)
        if len(self._levels) > MOST_CALLERS:
            self._levels.popitem(last=False)
        return wait


class Guard:
    """The layer. `app` is the FastAPI application whose routes it knows."""

    def __init__(self, app: ASGIApp, *, desk: Database, routes: Callable[[], Iterable[Any]], hosts: Iterable[str],
                 per_minute: int):  # fmt: skip
        self._app, self._desk, self._routes = app, desk, routes
        self._hosts = frozenset(host.lower() for host in hosts)
        self._callers, self._peers = Buckets(per_minute), Buckets(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        caller, refusal = await self._judge(scope, headers)
        done: dict[str, Any] = {"status": 500, "code": ""}

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                done["status"] = message["status"]
                kept = [(name, value) for name, value in message["headers"] if name.lower() != b"server"]
                own = {b"cache-control": b"no-store", b"x-content-type-options": b"nosniff",
                       b"content-security-policy": b"default-src 'none'"}  # fmt: skip
                own |= {name.lower(): value for name, value in kept if name.lower() == b"content-security-policy"}
                message["headers"] = [(name, value) for name, value in kept if name.lower() not in own]
                message["headers"] += own.items()
                try:
                    await run_in_threadpool(self._record, scope, caller, done)
                except PolytradersError as error:  # what was done stands in operator_actions; the answer still goes out
                    log.error("a call could not be put down: %s", error.what)
            await send(message)

        if refusal is not None:
            done["code"] = refusal[1]
            await _refusal(*refusal)(scope, receive, note)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, note)

    async def _judge(
        self, scope: Scope, headers: dict[bytes, str]
    ) -> tuple[Caller | None, tuple[int, str, str, dict[str, str]] | None]:
        """(who calls, None) or (who calls, (status, code, why, headers) of the refusal)."""
        peer = (scope.get("client") or ("",))[0]
        if wait := self._peers.take(peer):
            return None, _too_much(wait)
        host = urlsplit(f"//{headers.get(b'host', '')}")
        origin = headers.get(b"origin")
        if _hostname(host) not in self._hosts:
            return None, (403, "GOV_ACCESS_DENIED", "this is not a host we answer for", {})
        if origin is not None and _hostname(urlsplit(origin)) not in self._hosts:
            return None, (403, "GOV_ACCESS_DENIED", "a page of another site may not call", {})
        if b"transfer-encoding" in headers or not _short(headers.get(b"content-length")):
            return None, (413, "GOV_ACCESS_DENIED", f"at most {MOST_BODY} bytes, announced by Content-Length", {})
        needed = self._needed(scope)
        if needed in (None, PUBLIC):
            return None, None
        kind, _, token = headers.get(b"authorization", "").partition(" ")
        challenge = {"www-authenticate": "Bearer"}
        if kind.lower() != "bearer" or not token:
            return None, (401, "GOV_ACCESS_DENIED", "a bearer token is needed", challenge)
        caller = await run_in_threadpool(identify, self._desk, token.strip())
        if caller is None:
            return None, (401, "GOV_ACCESS_DENIED", "the token is not in force", challenge)
        if wait := self._callers.take(caller.token_id):
            return caller, _too_much(wait)
        if not caller.may(str(needed)):
            return caller, (403, "GOV_ACCESS_DENIED", f"the token lacks the scope {needed}", {})
        return caller, None

    def _needed(self, scope: Scope) -> str | None:
        """Scope that the route needs; None where there is no such route: the application says 404 or 405 itself."""
        for route in self._routes():
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return (getattr(route, "openapi_extra", None) or {}).get("x-scope", "nobody has this scope")
        return None

    def _record(self, scope: Scope, caller: Caller | None, done: dict[str, Any]) -> None:
        record_call(
            self._desk,
            caller=caller,
            peer=str((scope.get("client") or ("",))[0]),
            method=scope["method"],
            path=scope["path"].encode("utf-8", "replace").decode(),
            status=done["status"],
            code=done["code"],
            now=time.time_ns(),
        )


def _hostname(parts: Any) -> str:
    try:
        return (parts.hostname or "").lower()
    except ValueError:
        return ""


def _short(length: str | None) -> bool:
    return length is None or (length.isdecimal() and int(length) <= MOST_BODY)


def _too_much(wait: float) -> tuple[int, str, str, dict[str, str]]:
    return 429, "GOV_ACCESS_RATE_LIMITED", "too many calls", {"retry-after": str(int(wait) + 1)}


def _refusal(status: int, code: str, why: str, headers: dict[str, str]) -> JSONResponse:
    reason = lookup(code)
    body = {"error": "Refused", "code": code, "what": why, "message": reason.user_message, "mend": reason.action}
    return JSONResponse(body, status, headers)
