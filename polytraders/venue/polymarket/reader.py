"""Reading the venue's public services: GET and POST of JSON that may be repeated, because they change nothing.

    async with Reader() as read:
        told = await read.json(env.gamma + "/markets/keyset", limit=100)

What cannot be had, or is no JSON, is `Refused` with the reason; nothing is ever made up in its place.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Any

import httpx
import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from polytraders.venue.refusal import Refused

LARGEST_BODY = 64 << 20
"""Bytes of an answer that are still read."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again makes sense."""


class _Later(Exception):
    """Not now: worth another try."""


class Reader:
    """An HTTP client for questions. tries: how often each is asked; counts: refusals by code."""

    def __init__(self, tries: int = 4, timeout: float = 10.0, longest_wait: float = 5.0):
        self.tries, self.longest_wait = tries, longest_wait
        self.counts: Counter[str] = Counter()
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(timeout, connect=5.0, pool=2.0 + timeout))

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def json(self, url: str, body: Any = None, **query: Any) -> Any:
        """The answer to a GET (or to a POST of `body`), decoded; None where the venue knows no such thing (404).

        query: values, or lists of values that repeat the name; None is left out. Raises Refused: the venue cannot be
        reached (INTEL_VENUE_UNREACHABLE), or its answer is no JSON (INTEL_VENUE_UNREADABLE).
        """
        asked = {name: value for name, value in query.items() if value is not None}
        waits = wait_random_exponential(multiplier=0.25, max=self.longest_wait)
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Later), stop=stop_after_attempt(self.tries), wait=waits, reraise=True
            ):
                with attempt:
                    return await self._once(url, body, asked)
        except _Later as error:
            raise self._refuse("INTEL_VENUE_UNREACHABLE", str(error), url) from None
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, url: str, body: Any, query: dict[str, Any]) -> Any:
        content = None if body is None else orjson.dumps(body)
        headers = {"content-type": "application/json"} if content else None
        method = "GET" if content is None else "POST"
        try:
            async with self._client.stream(method, url, params=query, content=content, headers=headers) as answer:
                if answer.status_code == 404:
                    return None
                if answer.status_code in AGAIN:
                    raise _Later(f"HTTP {answer.status_code}")
                data = bytearray()
                async for chunk in answer.aiter_bytes():
                    data += chunk
                    if len(data) > LARGEST_BODY:
                        raise self._refuse("INTEL_VENUE_UNREADABLE", f"more than {LARGEST_BODY >> 20} MB", url)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Later(f"{type(error).__name__}: {error}") from None
        if answer.status_code >= 400:
            said = bytes(data[:200]).decode(errors="replace")
            raise self._refuse("INTEL_VENUE_UNREACHABLE", f"HTTP {answer.status_code}: {said}", url)
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise self._refuse("INTEL_VENUE_UNREADABLE", f"no JSON: {error}", url) from None

    def _refuse(self, code: str, what: str, url: str) -> Refused:
        self.counts[code] += 1
        return Refused(code, what, where=url)
