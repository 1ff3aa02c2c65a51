"""The routes. Each is a function over the desk that people also reach by the command line; nothing is decided here.

A request that was understood and refused (late, moved, kill switch on) is a 409 with the reason code; one that is
not allowed a 401, 403 or 429; one that makes no sense a 422; one about what does not exist a 404.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from polytraders import __version__, units
from polytraders.api import metrics, views
from polytraders.api.guard import PUBLIC, Guard
from polytraders.api.reference import CSP, page
from polytraders.api.specification import DONE, MISSING, NOT_DONE, Responses, describe, gives, route
from polytraders.config import Settings
from polytraders.contracts import MOST_OVERRIDE_S
from polytraders.errors import DamageError, PolytradersError
from polytraders.store import desk as store
from polytraders.store.desk import access, portfolio
from polytraders.store.desk.answers import Answer
from polytraders.store.desk.intents import STATUSES
from polytraders.store.desk.shares import release
from polytraders.store.desk.shares import shares as runs_shares
from polytraders.store.desk.switches import SCOPES
from polytraders.store.sql import Database

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST = 1_000
"""Most rows of one answer."""
MOST_AT_ONCE = 100
"""Most trade intents that one request approves."""
STREAM_EVERY_S = 0.25

Words = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=500)]
IntentId = Annotated[str, Path(pattern=r"^ti_[0-9a-zA-Z]{12,64}$", description="Id of a trade intent.")]
SwitchId = Annotated[str, Path(pattern=r"^ks_[0-9a-zA-Z]{12,64}$", description="Id of a kill switch.")]
RunId = Annotated[str | None, Query(pattern=r"^[0-9A-Za-z._:-]{1,128}$", description="Only of this run.")]
GoneRun = Annotated[str, Path(pattern=r"^[0-9A-Za-z._:-]{1,128}$", description="A run that is gone.")]
PortfolioId = Annotated[str | None, Query(pattern=r"^[0-9A-Za-z._:-]{1,64}$", description="Only of this portfolio.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Most rows.")]
Sequence = Annotated[int, Query(ge=0, lt=2**62, description="Only what came after.")]


class Body(BaseModel):
    """What is sent with a request: nothing unknown."""

    model_config = ConfigDict(extra="forbid")


class Approve(Body):
    """An approval."""

    shown_hash: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="What was shown; without it, the id's.")
    comment: Words | None = Field(None, description="A word for the record.")


class Shown(Body):
    """One of several approvals."""

    id: str = Field(pattern=r"^ti_[0-9a-zA-Z]{12,64}$", description="Id of a trade intent.")
    shown_hash: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="What was shown; without it, the id's.")


class ApproveMany(Body):
    """Several approvals at once, each judged by itself."""

    intents: list[Shown] = Field(min_length=1, max_length=MOST_AT_ONCE)
    comment: Words | None = Field(None, description="A word for the record.")


class Reject(Body):
    """A rejection."""

    comment: Words = Field("rejected through HTTP", description="Why.")


class Reason(Body):
    """Why something is done."""

    reason: Words = Field(description="Why.")


class Release(Reason):
    """What a run that is gone holds."""

    empty: bool = Field(False, description="Nothing any more: no position, no order. Else all of its share.")


class Arm(Reason):
    """A kill switch to arm."""

    scope: Literal[SCOPES] = Field(description="How far it reaches.")  # type: ignore[valid-type]
    target: Words | None = Field(None, description="Which one; none for global.")


class Grant(Reason):
    """An override to grant."""

    bot: Words = Field(description="Bot id.")
    parameter: Words = Field(description="Its parameter.")
    value: str = Field(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$", description="Its value while the override holds.")
    ttl_s: int = Field(ge=1, le=MOST_OVERRIDE_S, description="Seconds it holds.")
    portfolio_id: str | None = Field(None, pattern=r"^PORT-[0-9A-Za-z]{3,32}$")
    strategy_id: str | None = Field(None, pattern=r"^strat\.[a-z0-9][a-z0-9_-]{0,63}$")
    condition_id: str | None = Field(None, pattern="^0x[0-9a-f]{64}$")


class NewToken(Body):
    """A token to make."""

    owner: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="The person it stands for.")
    scopes: list[Literal["read", "approve", "risk", "admin"]] = Field(min_length=1, max_length=4)
    days: int = Field(90, ge=1, le=3_650)


STATUS = {
    "as_of": "string", "runs": "array", "accounts": "object", "positions": "array", "exposure_pusd": "object",
    "pending": "integer", "switches": "array", "down": "array", "closest": "array", "names": "object",
    "health": "object",
}  # fmt: skip
"""Fields of the status, as JSON Schema names their types."""
DAY = {
    "day": "string", "as_of": "string", "intents": "object", "persons": "object", "refused": "object",
    "ledger": "object", "switches": "object", "overrides_today": "integer", "runs": "array", "accounts": "object",
}  # fmt: skip
INTENT = {
    "trade_intent_id": "string", "run_id": "string", "type": "string", "status": "string", "code": "string",
    "document": "object", "figures": "object", "shown_hash": "string", "answers": "array",
}  # fmt: skip
TOKEN = {"token_id": "string", "owner": "string", "scopes": "array", "token": "string"}
REVOKED = {"token_id": "string", "revoked": "boolean"}
EVENTS: Responses = {
    200: {"description": "A stream: id, event and data of each entry.", "content": {"text/event-stream": {}}}
}
TEXT: Responses = {200: {"description": "Gauges and counters in the text format of Prometheus."}}
ALL = gives("All of them count.", answers="array")
NOT_ALL: Responses = {409: gives("Not all count; each answer's code says why.", answers="array")[200]}


class _Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS, default=str)


@contextmanager
def _missing() -> Iterator[None]:
    """What is not there is a 404, not a bad request."""
    try:
        yield
    except PolytradersError as error:
        if "has this id" in error.what:
            raise HTTPException(404, error.what) from None
        raise


def _answer(answer: Answer) -> Response:
    return _Json(answer.as_dict(), 200 if answer.ok else 409)


def create_app(
    desk: Database, settings: Settings, *, hosts: tuple[str, ...] = LOOPBACK, per_minute: int = 600
) -> FastAPI:
    """The application.

    Parameters
    ----------
    desk: open, and closed by the caller.
    settings: for the policy of [approvals] and the limits that overrides change.
    hosts: names in the Host header that are answered; others are another site's.
    per_minute: calls a token, and an address, may make.
    """
    app = FastAPI(
        title="Polytraders desk",
        version=__version__,
        description="Trade intents and their answers, kill switches, positions, receipts.",
        docs_url=None,  # its page loads scripts from elsewhere; ours is below
        redoc_url=None,
        default_response_class=_Json,
    )
    app.add_middleware(
        Guard, desk=desk, routes=lambda: app.routes, hosts=hosts,
        per_minute=per_minute,
    )  # fmt: skip
    _handlers(app)
    _looking(app, desk)
    _receipts(app, desk)
    _answering(app, desk, settings)
    _stopping(app, desk, settings)
    _administering(app, desk)
    _reference(app)
    describe(app)
    return app


def _handlers(app: FastAPI) -> None:
    @app.exception_handler(PolytradersError)
    def ours(_: Request, error: PolytradersError) -> Response:
        status = 500 if isinstance(error, DamageError) else 422
        return _Json({**error.as_dict(), "message": error.what, "code": ""}, status)

    @app.exception_handler(RequestValidationError)
    def senseless(_: Request, error: RequestValidationError) -> Response:
        """What was sent is not repeated: it may be anything."""
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"{where}: {first['msg']}".encode("utf-8", "replace").decode()
        return _Json(
            {"error": "UsageError", "what": what, "code": "", "message": what, "mend": "see /openapi.json"}, 422
        )

    @app.exception_handler(StarletteHTTPException)
    def http(_: Request, error: StarletteHTTPException) -> Response:
        """Those of the framework too: no such route, a body that is no JSON (its 400 is our 422)."""
        status = 422 if error.status_code == 400 else error.status_code
        told = {"error": "Refused", "what": error.detail, "code": "", "message": error.detail, "mend": ""}
        return JSONResponse(told, status, error.headers)


def _looking(app: FastAPI, desk: Database) -> None:
    @app.get("/health", **route(PUBLIC, gives(status="string")), tags=["desk"])
    def health() -> dict[str, str]:
        """ok, degraded or halted; more only with a token (/status)."""
        return {"status": views.health_view(desk, time.time_ns())["status"]}

    @app.get("/status", **route("read", gives(**STATUS)), tags=["desk"])
    def status() -> dict[str, Any]:
        """Runs, accounts, positions, exposure by mode of run, what waits, what is stopped, what is down."""
        now = time.time_ns()
        return views.status_view(desk, now) | {"health": views.health_view(desk, now)}

    @app.get("/report", **route("read", gives(**DAY)), tags=["desk"])
    def report(
        day: Annotated[str | None, Query(pattern="^20[0-9]{2}-[01][0-9]-[0-3][0-9]$", description="UTC day.")] = None,
    ) -> dict[str, Any]:
        """The desk's day in numbers."""
        from polytraders.report.daily import daily_report

        try:
            return daily_report(desk, day=day)
        except ValueError:
            raise HTTPException(422, f"{day} is no day") from None

    @app.get("/metrics", **route("read", TEXT), tags=["desk"], response_class=PlainTextResponse)
    def scrape() -> Response:
        """For Prometheus."""
        return Response(metrics.exposition(desk, time.time_ns()), media_type=metrics.CONTENT_TYPE)

    @app.get("/runs", **route("read", gives(runs="array")), tags=["desk"])
    def runs() -> dict[str, Any]:
        """Every run the desk knows, newest first."""
        return {"runs": store.runs(desk)}

    def board(topic: str, path: str, told: str) -> None:
        def listing(run: RunId = None) -> dict[str, Any]:
            return {topic: store.standing(desk, topic, time.time_ns(), run)}

        listing.__doc__ = told
        app.get(path, **route("read", gives(**{topic: "array"})), tags=["desk"], name=topic)(listing)

    board("positions", "/positions", "What the runs hold, and how far each position is on its way to cash.")
    board("orders", "/orders", "Orders with p_hat, q_exec, net edge, fill probability and book hash.")
    board("markets", "/markets", "The markets the runs follow.")

    @app.get("/limits", **route("read", gives(limits="array")), tags=["desk"])
    def limits(run: RunId = None) -> dict[str, Any]:
        """Limits by how much of each is used, the closest to its breach first."""
        return {"limits": store.standing(desk, "limits", time.time_ns(), run)}

    @app.get("/portfolios", **route("read", gives("A list under the name of the kind.")), tags=["desk"])
    def portfolios(kind: Literal["tenant", "portfolio", "cluster", "watchlist"] = "portfolio") -> dict[str, Any]:
        """Tenants, portfolios, clusters or watchlists."""
        return {kind: portfolio.configs(desk, kind)}

    @app.get("/shares", **route("read", gives(shares="array")), tags=["desk"])
    def shares(portfolio_id: PortfolioId = None) -> dict[str, Any]:
        """What each run uses of the limits that the runs of a portfolio and a tenant share, and what it may use."""
        return {"shares": runs_shares(desk, portfolio_id)}

    @app.get("/launches", **route("read", gives(launches="array")), tags=["desk"])
    def launches(running: bool = True) -> dict[str, Any]:
        """Strategies bound to a portfolio, with the markets of their scope."""
        return {"launches": portfolio.launches(desk, running=running)}

    @app.get("/actions", **route("read", gives(actions="array")), tags=["desk"])
    def actions(after: Sequence = 0, limit: Limit = 100) -> dict[str, Any]:
        """The mailbox, oldest first."""
        return {"actions": [action.as_dict() for action in store.since(desk, after, limit=limit)]}

    @app.get("/events", **route("read", EVENTS), tags=["desk"], response_class=StreamingResponse)
    def events(
        request: Request,
        after: Annotated[int | None, Query(ge=0, lt=2**62, description="From here on; default: from now.")] = None,
        for_s: Annotated[int, Query(ge=0, le=86_400, description="Close the stream after this many seconds.")] = 3_600,
    ) -> Response:
        """The mailbox as server-sent events; `id` is the seq, so a browser goes on where it stopped."""
        last = request.headers.get("last-event-id", "")
        begin = int(last) if last.isdecimal() and int(last) < 2**62 else after
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(_stream(desk, request, begin, for_s), media_type="text/event-stream", headers=headers)


async def _stream(desk: Database, request: Request, after: int | None, for_s: int) -> AsyncIterator[bytes]:
    seq = await run_in_threadpool(store.last_seq, desk) if after is None else after
    end, quiet = time.monotonic() + for_s, 0
    yield b": here we are\n\n"
    while True:
        found = await run_in_threadpool(store.since, desk, seq, limit=MOST)
        for action in found:
            seq = action.seq
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                seq, str(action.kind).encode(), orjson.dumps(action.as_dict(), default=str),
            )  # fmt: skip
        quiet = 0 if found else quiet + 1
        if quiet * STREAM_EVERY_S >= 15:
            yield b": still here\n\n"
            quiet = 0
        if time.monotonic() >= end or await request.is_disconnected():
            return
        await asyncio.sleep(STREAM_EVERY_S)


def _receipts(app: FastAPI, desk: Database) -> None:
    @app.get("/decisions", **route("read", gives(run_id="string", decisions="array"), MISSING), tags=["receipts"])
    def decisions(
        run: Annotated[str, Query(pattern=r"^[0-9A-Za-z._:-]{1,128}$", description="Run id, or latest.")] = "latest",
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """The last decisions of a run, newest first, from its log."""
        from polytraders.reasons import REGISTRY, by_number
        from polytraders.rows import Outcome, Severity, Side, Verdict
        from polytraders.store.ids import correlation_id
        from polytraders.store.log import read_log

        folder = _run_folder(run)
        log = read_log(folder, allow_torn=True)
        rows, manifest = log.decisions()[-limit:][::-1], log.manifest
        bots, markets = manifest.get("bots", []), manifest.get("markets", [])
        told = []
        for row in rows:
            code = by_number(int(row["code"])) if int(row["code"]) else None
            bot, market = int(row["bot"]), int(row["market"])
            told.append(
                {
                    "ts": units.iso_utc(int(row["ts"])),
                    "seq": int(row["seq"]),
                    "correlation_id": correlation_id(folder.name, int(row["corr"])),
                    "bot": bots[bot].get("bot_id", bot) if 0 <= bot < len(bots) else bot,
                    "condition_id": markets[market].get("condition_id") if 0 <= market < len(markets) else None,
                    "verdict": Verdict(int(row["verdict"])).name,
                    "severity": Severity(int(row["severity"])).name,
                    "reason_code": code.name if code and code.name in REGISTRY else None,
                    "side": Side(int(row["side"])).name,
                    "outcome": Outcome(int(row["outcome"])).name,
                    "price_pips": int(row["price"]),
                    "size_micro": int(row["size"]),
                    "repeats": int(row["repeats"]),
                }
            )
        return {"run_id": folder.name, "decisions": told}

    @app.get("/trace/{ref}", **route("read", gives(run_id="string"), MISSING), tags=["receipts"])
    def trace(
        ref: Annotated[str, Path(pattern="^(oi|cor|ti)_[0-9A-Za-z]{12,40}$", description="oi_, cor_ or ti_ id.")],
    ) -> dict[str, Any]:
        """One intent's whole story, from its run's log."""
        from polytraders.store.ids import correlation_id
        from polytraders.store.runs import find_run_of
        from polytraders.store.trace import trace as tell

        if ref.startswith("ti_"):
            with _missing():
                one = store.intent(desk, ref)
            ref = correlation_id(one["run_id"], one["corr"])
        try:
            return tell(find_run_of(ref), ref).as_dict()
        except DamageError:
            raise
        except PolytradersError as error:
            raise HTTPException(404, error.what) from None


def _run_folder(ref: str) -> Any:
    from polytraders.store.runs import find_run

    try:
        return find_run(ref)
    except PolytradersError as error:
        raise HTTPException(404, error.what) from None


def _answering(app: FastAPI, desk: Database, settings: Settings) -> None:
    @app.get("/intents", **route("read", gives(intents="array")), tags=["intents"])
    def listing(
        status: Annotated[list[Literal[STATUSES]] | None, Query(description="None = all.")] = None,
        run: RunId = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Trade intents, newest first."""
        store.expire(desk)
        return {"intents": store.intents(desk, tuple(status or ()), run_id=run, limit=limit)}

    @app.get("/intents/{id}", **route("read", gives(**INTENT), MISSING), tags=["intents"])
    def one(id: IntentId) -> dict[str, Any]:
        """One trade intent: order, reason, edge, risk checks, answers."""
        store.expire(desk)
        with _missing():
            return store.intent(desk, id)

    @app.post(
        "/intents/approve",
        **route("approve", gives("All of them count.", answers="array"), MISSING, NOT_ALL),
        tags=["intents"],
    )
    def approve_several(body: ApproveMany, request: Request) -> Response:
        """Approve several, each judged by itself, in one transaction. 409 = not all count; each answer's code says
        why. An id that does not exist refuses all of them."""
        shown = {one.id: one.shown_hash for one in body.intents if one.shown_hash is not None}
        with _missing():
            answers = store.approve_many(
                desk, [one.id for one in body.intents], request.state.caller.actor, "http", settings.approvals,
                shown=shown, comment=body.comment,
            )  # fmt: skip
        told = {"answers": [answer.as_dict() for answer in answers]}
        return _Json(told, 200 if all(answer.ok for answer in answers) else 409)

    @app.post("/intents/{id}/approve", **route("approve", DONE, MISSING, NOT_DONE), tags=["intents"])
    def approve(id: IntentId, request: Request, body: Approve | None = None) -> Response:
        """Approve it. 409 = it does not count; the code says why."""
        sent, caller = body or Approve(), request.state.caller
        with _missing():
            answer = store.approve(
                desk, id, caller.actor, "http", settings.approvals, shown=sent.shown_hash, comment=sent.comment
            )
        return _answer(answer)

    @app.post("/intents/{id}/reject", **route("approve", DONE, MISSING, NOT_DONE), tags=["intents"])
    def reject(id: IntentId, request: Request, body: Reject | None = None) -> Response:
        """Reject it. One person is enough."""
        sent, caller = body or Reject(), request.state.caller
        with _missing():
            return _answer(store.reject(desk, id, caller.actor, "http", sent.comment))


def _stopping(app: FastAPI, desk: Database, settings: Settings) -> None:
    @app.get("/switches", **route("read", gives(switches="array")), tags=["risk"])
    def listing(armed: bool = False) -> dict[str, Any]:
        """Kill switches that were ever armed."""
        return {"switches": store.switches(desk, armed=armed)}

    @app.post("/switches", **route("risk", DONE, NOT_DONE), tags=["risk"])
    def arm(body: Arm, request: Request) -> Response:
        """Arm a kill switch."""
        caller = request.state.caller
        return _answer(store.arm(desk, body.scope, body.target, caller.actor, "http", body.reason))

    @app.post("/switches/{id}/clear", **route("risk", DONE, MISSING, NOT_DONE), tags=["risk"])
    def clear(id: SwitchId, body: Reason, request: Request) -> Response:
        """Clear a kill switch; the global one when a second person asks too."""
        with _missing():
            return _answer(store.clear(desk, id, request.state.caller.actor, "http", body.reason))

    @app.get("/overrides", **route("read", gives(overrides="array")), tags=["risk"])
    def overrides(active: bool = True) -> dict[str, Any]:
        """Limits that were changed for a time."""
        store.expire_overrides(desk)
        return {"overrides": store.overrides(desk, active=active)}

    @app.post("/overrides", **route("risk", DONE, NOT_DONE), tags=["risk"])
    def grant(body: Grant, request: Request) -> Response:
        """Change one limit for a time. Refused while a kill switch is on."""
        return _answer(
            store.override(
                desk, settings, body.bot, body.parameter, body.value, body.ttl_s, request.state.caller.actor, "http",
                body.reason, portfolio_id=body.portfolio_id, strategy_id=body.strategy_id,
                condition_id=body.condition_id,
            )
        )  # fmt: skip

    @app.post("/overrides/{id}/end", **route("risk", DONE, MISSING, NOT_DONE), tags=["risk"])
    def end(id: Annotated[str, Path(pattern="^OVR-[0-9]{3,20}$")], body: Reason, request: Request) -> Response:
        """End an override before its time."""
        with _missing():
            return _answer(store.end_override(desk, id, request.state.caller.actor, "http", body.reason))

    @app.post("/runs/{id}/release", **route("risk", DONE, MISSING, NOT_DONE), tags=["risk"])
    def let_go(id: GoneRun, body: Release, request: Request) -> Response:
        """Say of a run that is gone what it holds, so that the others of its portfolio may open again."""
        with _missing():
            return _answer(release(desk, id, request.state.caller.actor, "http", body.reason, empty=body.empty))


def _administering(app: FastAPI, desk: Database) -> None:
    @app.get("/tokens", **route("admin", gives(tokens="array")), tags=["admin"])
    def tokens() -> dict[str, Any]:
        """Every token that was made, without what opens anything."""
        return {"tokens": access.tokens(desk)}

    @app.post(
        "/tokens",
        **route("admin", gives(token_id="string", owner="string", scopes="array", token="string")),
        tags=["admin"],
    )
    def create(body: NewToken, request: Request) -> dict[str, Any]:
        """Make a token. It is told this once."""
        actor = request.state.caller.actor
        token_id, token = access.create_token(desk, body.owner, body.scopes, actor, days=body.days, channel="http")
        return {"token_id": token_id, "owner": body.owner, "scopes": body.scopes, "token": token}

    @app.post(
        "/tokens/{id}/revoke", **route("admin", gives(token_id="string", revoked="boolean"), MISSING), tags=["admin"]
    )
    def revoke(id: Annotated[str, Path(pattern="^[0-9a-f]{10}$")], request: Request) -> dict[str, Any]:
        """Revoke a token at once."""
        with _missing():
            return {
                "token_id": id,
                "revoked": access.revoke_token(desk, id, request.state.caller.actor, channel="http"),
            }

    @app.get("/calls", **route("admin", gives(calls="array")), tags=["admin"])
    def calls(limit: Limit = 100) -> dict[str, Any]:
        """The last calls of this interface."""
        return {"calls": access.calls(desk, limit)}

    @app.get("/db/check", **route("admin", gives(ok="boolean", faults="array")), tags=["admin"])
    def check() -> dict[str, Any]:
        """Is the desk's database what was written?"""
        faults = store.check(desk)
        return {"ok": not faults, "faults": [fault.as_dict() for fault in faults]}


def _reference(app: FastAPI) -> None:
    @app.get("/docs", **route(PUBLIC), tags=["desk"], response_class=HTMLResponse, include_in_schema=False)
    def reference() -> Response:
        """This interface for people: every route, its scope, what is sent and what comes back."""
        return HTMLResponse(page(app.openapi()), headers={"content-security-policy": CSP})
