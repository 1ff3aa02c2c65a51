"""Notifications: what an account is told of its orders until it drops it. Made from its orders and trades."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from polytraders.rows import Outcome
from polytraders.units import NS_PER_S, price_text, size_text
from polytraders.venue.local.desk import Desk, Key
from polytraders.venue.local.intake import Refusal
from polytraders.venue.local.records import OUTCOMES, Order, Trade
from polytraders.venue.local.rest import reply
from polytraders.venue.local.wire import order_type

CANCELLATION, FILL, FILL_FAILED = 1, 2, 8
"""Kinds (facts of the venue, 3.3). The others speak of what a local venue does not have."""


def _number(*parts: str) -> int:
    """The id of a notification: the same thing has the same one."""
    return int.from_bytes(hashlib.sha256(":".join(parts).encode()).digest()[:6])


def _payload(order: Order, filled: int, trade: Trade | None) -> dict[str, Any]:
    info, token = order.listing.info, str(order.ticket.message.token_id)
    outcome = Outcome.YES if token == info.yes_token else Outcome.NO
    return {
        "asset_id": token,
        "market": info.condition_id,
        "order_id": order.id,
        "side": "SELL" if order.ticket.side else "BUY",
        "type": order_type(order),
        "price": price_text(trade.price if trade else order.ticket.price),
        "original_size": size_text(order.size),
        "matched_size": size_text(filled),
        "remaining_size": size_text(order.size - order.filled),
        "outcome": OUTCOMES[outcome],
        "outcome_index": int(outcome),
        "transaction_hash": trade.hash if trade else "",
        "trade_id": trade.id if trade else "",
        "question": info.question,
        "market_slug": info.slug,
    }


def notices(key: Key) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    """(ns, id, kind, payload) of everything an account is told."""
    for order in key.account.orders.values():
        if order.status.startswith("CANCELED"):
            yield order.ended, _number("cancel", order.id), CANCELLATION, _payload(order, order.filled, None)
        for trade in order.trades:
            if trade.status in ("CONFIRMED", "FAILED"):
                kind = FILL if trade.status == "CONFIRMED" else FILL_FAILED
                yield trade.updated, _number("trade", trade.id), kind, _payload(order, trade.size, trade)


def notice_routes(desk: Desk, clock: Any) -> list[web.RouteDef]:
    """Routes. clock: ns, as the desk takes it."""
    dropped: set[tuple[str, int]] = set()

    async def key_of(request: web.Request) -> Key:
        return desk.authenticate(request.headers, request.method, request.path, await request.read(), clock())

    async def told(request: web.Request) -> web.Response:
        key = await key_of(request)
        found = sorted(notices(key), key=lambda notice: notice[:2])
        return reply(
            [
                {"id": number, "owner": key.key, "timestamp": when // NS_PER_S, "type": kind, "payload": payload}
                for when, number, kind, payload in found
                if (key.account.address, number) not in dropped
            ]
        )

    async def drop(request: web.Request) -> web.Response:
        key = await key_of(request)
        try:
            numbers = [int(text) for text in request.query.get("ids", "").split(",")]
        except ValueError:
            raise Refusal("Invalid payload") from None
        dropped.update((key.account.address, number) for number in numbers)
        return reply("OK")

    return [web.get("/notifications", told), web.delete("/notifications", drop)]
