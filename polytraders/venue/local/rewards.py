"""Liquidity rewards as far as one venue without other makers can tell: what a market rewards, and which of our orders
score. Nothing is paid: whose share of the pool that would be is nobody's here."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from polytraders.rows import Outcome
from polytraders.units import MICRO, ONE, iso_utc
from polytraders.venue.local.desk import Desk
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.intake import Refusal
from polytraders.venue.local.records import Listing, Order
from polytraders.venue.local.rest import json_of, paged, reply

PUSD = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
"""The collateral on Polygon (facts of the venue, 1.1)."""


def scores(exchange: Exchange, order: Order) -> bool:
    """Whether a resting order is large enough and near enough to the mid (facts of the venue, 6.5).

    The mid is that of the best levels with at least the smallest rewarded size.
    """
    info = order.listing.info
    if order.status != "LIVE" or not info.reward_max_spread or order.size - order.filled < info.reward_min_size:
        return False
    outcome = Outcome.YES if str(order.ticket.message.token_id) == info.yes_token else Outcome.NO
    bids, asks = exchange.levels(order.listing, outcome)
    bid = max((price for price, size in bids if size >= info.reward_min_size), default=0)
    ask = min((price for price, size in asks if size >= info.reward_min_size), default=ONE)
    if bid == 0 or ask == ONE:
        return False
    return abs(2 * order.ticket.price - bid - ask) <= 2 * info.reward_max_spread


def terms(listing: Listing) -> dict[str, Any]:
    """What a market rewards, as the venue tells it."""
    info = listing.info
    daily = info.reward_pool / MICRO
    config = {"asset_address": PUSD, "start_date": "2026-01-01", "end_date": iso_utc(info.end_ts)[:10]}
    return {
        "condition_id": info.condition_id,
        "rewards_max_spread": info.reward_max_spread / 100,
        "rewards_min_size": info.reward_min_size / MICRO,
        "rewards_config": [config | {"rate_per_day": daily, "total_rewards": 0}],
        "native_daily_rate": daily,
        "total_daily_rate": daily,
    }


def reward_routes(exchange: Exchange, desk: Desk, clock: Any) -> list[web.RouteDef]:
    """Routes. clock: ns, as the desk takes it."""

    async def current(request: web.Request) -> web.Response:
        return reply(paged(request, [terms(m) for m in exchange.listings if m.info.reward_max_spread]))

    async def mine(request: web.Request) -> dict[str, Order]:
        body = await request.read()
        return desk.authenticate(request.headers, request.method, request.path, body, clock()).account.orders

    async def one(request: web.Request) -> web.Response:
        order = (await mine(request)).get(request.query.get("order_id", ""))
        if order is None:
            raise Refusal("order not found", 404)
        return reply({"scoring": scores(exchange, order)})

    async def several(request: web.Request) -> web.Response:
        orders, wanted = await mine(request), await json_of(request)
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise Refusal("Invalid payload")
        return reply({name: scores(exchange, orders[name]) for name in wanted if name in orders})

    return [
        web.get("/rewards/markets/current", current),
        web.get("/order-scoring", one),
        web.post("/orders-scoring", several),
    ]
