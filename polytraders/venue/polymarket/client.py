"""The CLOB's REST interface as the trading side uses it: requests within the budget, and answers taken as they are.

Nothing here is sent twice, and nothing is concluded: `Answer` says what came back, or that nothing did, and
`outcomes` what that proves. Reads and cancels, which change nothing when they come again, may be asked again by
whoever asked.

One pooled connection set per client; a request's own time limit counts from its sending, not from its waiting for
the budget.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import aiohttp
import orjson

from polytraders.venue.orders import Credentials, auth_headers
from polytraders.venue.polymarket.budget import Budget
from polytraders.venue.polymarket.outcomes import SILENT, UNSENT, of_status

CONNECTIONS = 32
"""Connections kept open to the venue at most."""
TIMEOUT = 5.0
"""s for a request and its answer."""
LARGEST_CANCEL = 1_000
"""Orders in one DELETE /orders."""
FIRST_PAGE, LAST_PAGE = "MA==", "LTE="


class Hosts(Protocol):
    """Where a venue answers: `hosts.Environment` is one."""

    @property
    def name(self) -> str: ...
    @property
    def rest(self) -> str: ...
    @property
    def user_ws(self) -> str: ...
    @property
    def data(self) -> str: ...
    @property
    def geoblock(self) -> str: ...
    @property
    def chain_id(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. status: HTTP's, or `outcomes.UNSENT` / `SILENT`. body: parsed JSON, text, or None."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    problem: str = ""  # why there is no answer

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """Requests to one venue for one API key.

    address: of the key. clock: ns, of this machine; `offset` is added to it in what is signed.
    """

    def __init__(
        self,
        hosts: Hosts,
        address: str,
        credentials: Credentials,
        *,
        budget: Budget | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], int] = time.time_ns,
    ):
        self.hosts, self.address, self.credentials, self.clock = hosts, address, credentials, clock
        self.budget = budget or Budget()
        self.timeout = timeout
        self.offset = 0  # ns, the venue's clock less ours
        self.asked = 0
        self.silent = 0
        self.failed = 0  # answers that say the fault is the venue's own
        self.last_answer = 0  # ns
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self.open()
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def open(self) -> None:
        """Make the connection pool; needs a running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=30, ttl_dns_cache=60)
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=True, raise_for_status=False, trust_env=False,
                headers={"User-Agent": "polytraders", "Content-Type": "application/json"},
            )  # fmt: skip

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool, for the user channel too."""
        self.open()
        assert self._session is not None
        return self._session

    # -- one request ---------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        signed: bool = True,
        cost: int = 1,
        patience: float | None = None,
        base: str = "",
        bucket: str = "",
        still: Callable[[], bool] | None = None,
    ) -> Answer | None:
        """One request; None when the budget would have made it wait longer than `patience` s, or when `still`, which
        is asked last before it leaves, says no.

        path: without query, as it is signed. bucket: the path that its limit goes by, where it holds an id.
        """
        if not await self.budget.take(method, bucket or path, cost, patience):
            return None
        if still is not None and not still():
            return None
        headers = {}
        if signed:
            stamp = (self.clock() + self.offset) // 1_000_000_000
            headers = auth_headers(self.credentials, self.address, stamp, method, path, body)
        self.asked += 1
        answer = await self._exchange(method, (base or self.hosts.rest) + path, query, body, headers)
        if answer.status > 0:
            self.last_answer = self.clock()
            self.failed += answer.status >= 500
            said = of_status(answer.status, answer.body, answer.headers)
            self.budget.heard(method, bucket or path, answer.status, answer.headers, said.wait if said else 0.0)
        else:
            self.silent += 1
        return answer

    async def _exchange(
        self, method: str, url: str, query: dict[str, str] | None, body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        limit = aiohttp.ClientTimeout(total=self.timeout)
        try:
            async with self.session.request(
                method, url, params=query, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as answer:
                raw = await answer.read()
                return Answer(answer.status, _parse(raw), dict(answer.headers))
        except aiohttp.ClientConnectorError as error:  # there was no connection, so nothing was sent
            return Answer(UNSENT, problem=f"no connection to {url.partition('//')[2].partition('/')[0]}: {error}")
        except TimeoutError:
            return Answer(SILENT, problem=f"no answer within {self.timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(SILENT, problem=f"{type(error).__name__}: {error}")

    async def get(self, path: str, *, bucket: str = "", **query: str) -> Answer:
        """A signed read."""
        answer = await self.ask("GET", path, query=query or None, bucket=bucket)
        assert answer is not None  # a read waits as long as it must
        return answer

    # -- what everybody may know -----------------------------------------------------------------------

    async def time(self) -> tuple[int, int] | None:
        """(venue's clock, round trip) in ns; None without an answer. The venue tells whole seconds: half is added."""
        began, start = time.perf_counter_ns(), self.clock()
        answer = await self.ask("GET", "/time", signed=False)
        trip = time.perf_counter_ns() - began
        if answer is None or not answer.good:
            return None
        try:
            said = int(str(answer.body).strip())
        except ValueError:
            return None
        return said * 1_000_000_000 + 500_000_000 - (self.clock() - start) // 2, trip

    async def public(self, path: str, **query: str) -> Answer:
        """A read that needs no key."""
        answer = await self.ask("GET", path, query=query or None, signed=False)
        assert answer is not None
        return answer

    async def login(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """A request under L1 headers, which create or derive API credentials."""
        return await self._exchange(method, self.hosts.rest + path, None, None, headers)

    async def tick_size(self, token: str) -> Answer:
        answer = await self.ask("GET", "/tick-size", query={"token_id": token}, signed=False)
        assert answer is not None
        return answer

    async def geoblock(self) -> Answer:
        """{"blocked": ...} of the page that says whether orders are taken from here."""
        return await self._exchange("GET", self.hosts.geoblock, None, None, {})

    async def positions(self, user: str) -> Answer:
        """/v2/positions of the Data API."""
        return await self._exchange(
            "GET", self.hosts.data + "/v2/positions", {"user": user, "limit": "500"}, None, {}
        )  # fmt: skip

    # -- orders --------------------------------------------------------------------------------------

    async def post_orders(
        self, bodies: Sequence[bytes], patience: float | None, still: Callable[[], bool] | None = None
    ) -> Answer | None:
        """POST /order of one body, POST /orders of several (at most fifteen). See `ask`."""
        if len(bodies) == 1:
            return await self.ask("POST", "/order", body=bodies[0], patience=patience, still=still)
        joined = b"[" + b",".join(bodies) + b"]"
        return await self.ask("POST", "/orders", body=joined, cost=len(bodies), patience=patience, still=still)

    async def cancel(self, keys: Sequence[str]) -> Answer:
        """DELETE /order of one digest, /orders of several (at most a thousand)."""
        one = len(keys) == 1
        body = orjson.dumps({"orderID": keys[0]} if one else list(keys))
        answer = await self.ask("DELETE", "/order" if one else "/orders", body=body, cost=len(keys))
        assert answer is not None
        return answer

    async def cancel_all(self, condition: str = "") -> Answer:
        """DELETE /cancel-all, or /cancel-market-orders of one condition."""
        if condition:
            body = orjson.dumps({"market": condition})
            answer = await self.ask("DELETE", "/cancel-market-orders", body=body)
        else:
            answer = await self.ask("DELETE", "/cancel-all")
        assert answer is not None
        return answer

    async def heartbeat(self, name: str) -> Answer:
        answer = await self.ask("POST", "/v1/heartbeats", body=orjson.dumps({"heartbeat_id": name}))
        assert answer is not None
        return answer

    # -- what the venue lists ----------------------------------------------------------------------------

    async def order(self, key: str) -> Answer:
        """GET /data/order/{digest}."""
        return await self.get(f"/data/order/{key}", bucket="/data/order")

    async def pages(self, path: str, **query: str) -> AsyncIterator[Answer]:
        """Every page of a list; the last one may be an answer that is not good, and then the list is not whole."""
        cursor = FIRST_PAGE
        while cursor != LAST_PAGE:
            answer = await self.get(path, **query, next_cursor=cursor)
            if answer.good and not (isinstance(answer.body, dict) and isinstance(answer.body.get("data"), list)):
                answer = Answer(SILENT, problem=f"{path}: a page of unknown form")
            yield answer
            if not answer.good:
                return
            following = str(answer.body.get("next_cursor") or LAST_PAGE)
            cursor = following if following != cursor else LAST_PAGE

    async def all(self, path: str, **query: str) -> tuple[list[dict[str, Any]], Answer | None]:
        """(entries, None) of a list, or ([...], the answer that was not good)."""
        found: list[dict[str, Any]] = []
        async for page in self.pages(path, **query):
            if not page.good:
                return found, page
            found += [entry for entry in page.body["data"] if isinstance(entry, dict)]
        return found, None

    async def balance(self, token: str = "", signature_type: int = 0) -> Answer:
        """Balance and allowances of pUSD or a token, after the venue has looked at the chain again."""
        query = {"asset_type": "CONDITIONAL" if token else "COLLATERAL", "signature_type": str(signature_type)}
        if token:
            query["token_id"] = token
        refreshed = await self.get("/balance-allowance/update", **query)
        if not refreshed.good:
            return refreshed
        return await self.get("/balance-allowance", **query)


def _parse(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw[:2_000].decode("utf-8", "replace")
