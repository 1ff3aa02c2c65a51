"""What of the Gamma and the Data API discovery and reconciliation need: markets, events, positions, trades."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from aiohttp import web

from polytraders.rows import Outcome, Status
from polytraders.units import MICRO, NS_PER_S, ONE, iso_utc, price_text, size_text
from polytraders.venue.local import wire
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.intake import Refusal, address_of
from polytraders.venue.local.records import OUTCOMES, Listing
from polytraders.venue.local.rest import reply

GAMMA_PAGE, DATA_PAGE, CONDITIONS = 100, 1000, 20


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def gamma_market(exchange: Exchange, listing: Listing, with_event: bool = True) -> dict[str, Any]:
    """A market as Gamma tells it: three of its fields are JSON inside a string."""
    info, resolved = listing.info, listing.status == Status.RESOLVED
    bid, ask = exchange.best(listing)
    price = listing.payout if resolved else (bid + ask) // 2
    said: dict[str, Any] = {
        "id": str(listing.index + 1),
        "version": "v1",
        "slug": info.slug,
        "conditionId": info.condition_id,
        "question": info.question,
        "active": True,
        "closed": resolved,
        "archived": False,
        "acceptingOrders": listing.status == Status.OPEN,
        "enableOrderBook": not resolved,
        "negRisk": info.neg_risk,
        "endDate": iso_utc(info.end_ts)[:19] + "Z",
        "outcomes": _text(OUTCOMES),
        "outcomePrices": _text([price_text(price), price_text(ONE - price)]),
        "clobTokenIds": _text([info.yes_token, info.no_token]),
        "bestBid": float(price_text(bid)),
        "bestAsk": float(price_text(ask)),
        "spread": float(price_text(ask - bid)),
        "orderMinSize": float(size_text(info.min_size)),
        "orderPriceMinTickSize": float(price_text(listing.tick)),
        "secondsDelay": info.taker_delay // NS_PER_S,
        "feesEnabled": info.fee_rate > 0,
        "rewardsMinSize": info.reward_min_size / MICRO,
        "rewardsMaxSpread": info.reward_max_spread / 100,
    }
    if listing.last_trade >= 0:
        said["lastTradePrice"] = float(price_text(listing.last_trade))
    if info.fee_rate:
        said["feeSchedule"] = {
            "exponent": info.fee_exponent,
            "rate": float(wire.ppm_text(info.fee_rate)),
            "takerOnly": True,
            "rebateRate": float(wire.ppm_text(info.rebate_rate)),
        }
    if resolved:
        said["umaResolutionStatus"] = "resolved"
    if with_event and info.event_id:
        said["events"] = [{"id": info.event_id, "slug": f"event-{info.event_id}", "title": f"Event {info.event_id}"}]
    return said


def gamma_event(exchange: Exchange, event_id: str) -> dict[str, Any]:
    """An event with its markets."""
    listings = [listing for listing in exchange.listings if listing.info.event_id == event_id]
    neg_risk = any(listing.neg_risk for listing in listings)
    return {
        "id": event_id,
        "slug": f"event-{event_id}",
        "title": f"Event {event_id}",
        "active": True,
        "closed": all(listing.status == Status.RESOLVED for listing in listings),
        "archived": False,
        "negRisk": neg_risk,
        "enableNegRisk": neg_risk,
        "negRiskAugmented": False,
        "markets": [gamma_market(exchange, listing, with_event=False) for listing in listings],
    }


def _flag(request: web.Request, name: str) -> bool | None:
    value = request.query.get(name)
    if value is None:
        return None
    if value.lower() not in ("true", "false"):
        raise Refusal(f"invalid {name}", 422)
    return value.lower() == "true"


def _number(request: web.Request, name: str, otherwise: int, most: int) -> int:
    try:
        value = int(request.query.get(name) or otherwise)
    except ValueError:
        raise Refusal(f"invalid {name}", 422) from None
    if not 0 < value <= most:
        raise Refusal(f"invalid {name}", 422)
    return value


def _cursor(request: web.Request, name: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(request.query.get(name) or "MA=="))
    except ValueError:
        raise Refusal(f"invalid {name}", 422) from None


def _after(first: int) -> str:
    return base64.urlsafe_b64encode(str(first).encode()).decode()


def gamma_routes(exchange: Exchange) -> list[web.RouteDef]:
    """Gamma."""

    def keyset(request: web.Request, name: str, found: list[Any]) -> web.Response:
        if "offset" in request.query:
            raise Refusal("offset is not supported, use after_cursor", 422)
        first, limit = _cursor(request, "after_cursor"), _number(request, "limit", 20, GAMMA_PAGE)
        said: dict[str, Any] = {name: found[first : first + limit]}
        if first + limit < len(found):
            said["next_cursor"] = _after(first + limit)
        return reply(said)

    def wanted(request: web.Request) -> list[Listing]:
        query, closed = request.query, _flag(request, "closed")
        tokens, conditions = set(query.getall("clob_token_ids", [])), set(query.getall("condition_ids", []))
        slugs, neg_risk = set(query.getall("slug", [])), _flag(request, "neg_risk")
        return [
            listing
            for listing in exchange.listings
            if (closed or False) == (listing.status == Status.RESOLVED)
            and (not tokens or tokens & {listing.info.yes_token, listing.info.no_token})
            and (not conditions or listing.info.condition_id in conditions)
            and (not slugs or listing.info.slug in slugs)
            and (neg_risk is None or neg_risk == listing.neg_risk)
            and (_flag(request, "active") is not False)
        ]

    async def markets(request: web.Request) -> web.Response:
        return keyset(request, "markets", [gamma_market(exchange, listing) for listing in wanted(request)])

    async def events(request: web.Request) -> web.Response:
        ids = dict.fromkeys(listing.info.event_id for listing in exchange.listings if listing.info.event_id)
        closed = _flag(request, "closed")
        found = [gamma_event(exchange, event_id) for event_id in ids]
        return keyset(request, "events", [event for event in found if closed in (None, event["closed"])])

    def one(found: list[Listing]) -> web.Response:
        if not found:
            raise Refusal("not found", 404)
        return reply(gamma_market(exchange, found[0]))

    async def by_id(request: web.Request) -> web.Response:
        number = request.match_info["id"]
        return one([listing for listing in exchange.listings if str(listing.index + 1) == number])

    async def by_slug(request: web.Request) -> web.Response:
        slug = request.match_info["slug"]
        return one([listing for listing in exchange.listings if listing.info.slug == slug])

    def an_event(event_id: str) -> web.Response:
        if not any(listing.info.event_id == event_id for listing in exchange.listings):
            raise Refusal("not found", 404)
        return reply(gamma_event(exchange, event_id))

    async def event_by_id(request: web.Request) -> web.Response:
        return an_event(request.match_info["id"])

    async def event_by_slug(request: web.Request) -> web.Response:
        return an_event(request.match_info["slug"].removeprefix("event-"))

    get = web.get
    return [
        get("/markets/keyset", markets), get("/events/keyset", events), get("/markets/slug/{slug}", by_slug),
        get("/markets/{id}", by_id), get("/events/slug/{slug}", event_by_slug), get("/events/{id}", event_by_id),
    ]  # fmt: skip


def page(request: web.Request, found: list[Any], most: int = DATA_PAGE) -> web.Response:
    """One page of what the Data API lists, with the cursor of the next."""
    first, limit = _cursor(request, "cursor"), _number(request, "limit", 100, most)
    more = first + limit < len(found)
    pagination = {"has_more": more, "next_cursor": _after(first + limit) if more else None}
    return reply({"data": found[first : first + limit], "pagination": pagination})


def data_routes(exchange: Exchange) -> list[web.RouteDef]:
    """Data. A wallet is known by its account's address, or by the wallet its orders named as maker."""

    def account_of(request: web.Request) -> Any:
        try:
            address = address_of(request.query.get("user", ""))
        except ValueError:
            raise Refusal("invalid user", 400) from None
        if address in exchange.accounts:
            return exchange.accounts[address]
        for account in exchange.accounts.values():
            if any(order.ticket.message.maker == address for order in account.orders.values()):
                return account
        return None

    def conditions(request: web.Request) -> set[str]:
        named = {c for text in request.query.getall("condition_id", []) for c in text.split(",") if c}
        if len(named) > CONDITIONS:
            raise Refusal("too many condition ids")
        return named

    async def positions(request: web.Request) -> web.Response:
        account, named = account_of(request), conditions(request)
        if account is None:
            return page(request, [])
        listings = [m for m in exchange.listings if not named or m.info.condition_id in named]
        held = [wire.position(exchange, account, listing, outcome) for listing in listings for outcome in Outcome]
        return page(request, [said for said in held if said is not None])

    async def trades(request: web.Request) -> web.Response:
        account, named = account_of(request), conditions(request)
        found = []
        for trade in reversed(account.trades.values()) if account else ():
            order = trade.order
            info = order.listing.info
            if trade.status == "FAILED" or (named and info.condition_id not in named):
                continue
            outcome = int(str(order.ticket.message.token_id) != info.yes_token)
            found.append(
                {
                    "proxy_wallet": order.ticket.message.maker,
                    "side": "SELL" if order.ticket.side else "BUY",
                    "token_id": str(order.ticket.message.token_id),
                    "condition_id": info.condition_id,
                    "size": float(size_text(trade.size)),
                    "price": float(price_text(trade.price)),
                    "timestamp": trade.matched // NS_PER_S,
                    "title": info.question,
                    "slug": info.slug,
                    "outcome": OUTCOMES[outcome],
                    "outcome_index": outcome,
                    "transaction_hash": trade.hash,
                }
            )
        return page(request, found)

    return [web.get("/v2/positions", positions), web.get("/v2/trades", trades)]
