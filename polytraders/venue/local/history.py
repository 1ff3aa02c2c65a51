"""Past prices: the mids that the exchange keeps by minute, as the CLOB and the Data API tell them.

The venue does not say what its prices are; they look like a mid, sampled. Here they are the mid at the end of a
minute, and a minute without a change has the last one before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from polytraders.rows import Outcome, Status
from polytraders.units import ONE
from polytraders.venue.local.exchange import NS_PER_MINUTE, Exchange
from polytraders.venue.local.indexes import page
from polytraders.venue.local.intake import Refusal
from polytraders.venue.local.records import Listing
from polytraders.venue.local.rest import reply

INTERVALS = {"1h": 60, "6h": 360, "1d": 1_440, "1w": 10_080, "1m": 43_200, "max": 0, "all": 0}
"""Word -> minutes before now, 0 = everything."""
COARSE = 720
"""Minutes: a resolved market has no prices finer than these (py-clob-client#216)."""
LONGEST = 15 * 1_440
"""Minutes that the Data API tells at once."""
POINT_PAGE = 10_000


def points(listing: Listing, outcome: int, first: int, last: int, step: int) -> Iterator[tuple[int, float]]:
    """(unix second, price) every `step` minutes from minute `first` to `last`, from the first known mid on."""
    known, at, mid2 = sorted(listing.mids.items()), 0, -1
    begin = max(first, known[0][0]) if known else last + 1
    for minute in range(-(-begin // step) * step, last + 1, step):
        while at < len(known) and known[at][0] <= minute:
            mid2 = known[at][1]
            at += 1
        price = mid2 if outcome == Outcome.YES else 2 * ONE - mid2
        yield minute * 60, price / (2 * ONE)


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text in (None, ""):
        return None
    try:
        value = int(str(text))
    except ValueError:
        raise Refusal(f"invalid {name}") from None
    if value < 0:
        raise Refusal(f"invalid {name}")
    return value


def _window(request: web.Request, begin: str, until: str, now: int) -> tuple[int, int]:
    """Minutes (first, last) of a request. now: the present minute. Raises Refusal."""
    interval, start, end = request.query.get("interval"), _whole(request, begin), _whole(request, until)
    if (interval is None) == (start is None):
        raise Refusal(f"exactly one of interval and {begin} is needed")
    if interval is not None:
        if interval not in INTERVALS:
            raise Refusal("invalid interval")
        return (now - INTERVALS[interval] if INTERVALS[interval] else 0), now
    first, last = -(-start // 60), now if end is None else min(end // 60, now)
    if last < first:
        raise Refusal("the window ends before it starts")
    return first, last


def history_routes(exchange: Exchange) -> list[web.RouteDef]:
    """The CLOB's: `market` is a token id, `fidelity` is in minutes."""

    async def prices(request: web.Request) -> web.Response:
        listing, outcome = exchange.find(request.query.get("market", ""))
        first, last = _window(request, "startTs", "endTs", exchange.now // NS_PER_MINUTE)
        step = _whole(request, "fidelity") or 1
        if listing.status == Status.RESOLVED and step < COARSE:
            return reply({"history": []})
        return reply({"history": [{"t": t, "p": p} for t, p in points(listing, outcome, first, last, step)]})

    return [web.get("/prices-history", prices)]


def data_history_routes(exchange: Exchange) -> list[web.RouteDef]:
    """The Data API's: `bucket_seconds`, or `as_of` for the one price that held then."""

    async def prices(request: web.Request) -> web.Response:
        listing, outcome = exchange.find(request.query.get("token_id", ""))
        now = exchange.now // NS_PER_MINUTE
        moment = _whole(request, "as_of")
        if moment is not None:
            found = [*points(listing, outcome, moment // 60, moment // 60, 1)]
            return page(request, [_point(*entry, 0) for entry in found], POINT_PAGE)
        first, last = _window(request, "start", "end", now)
        if last - first > LONGEST and "start" in request.query:
            raise Refusal("the window is longer than 15 days")
        seconds = _whole(request, "bucket_seconds") or 60
        if not 60 <= seconds <= 86_400:
            raise Refusal("invalid bucket_seconds")
        found = points(listing, outcome, first, last, -(-seconds // 60))
        return page(request, [_point(*entry, seconds) for entry in found], POINT_PAGE)

    return [web.get("/v2/prices-history", prices)]


def _point(second: int, price: float, seconds: int) -> dict[str, int | float]:
    return {"timestamp": second, "price": price, "resolution_seconds": seconds}
