"""The CLOB's REST routes. What is not here answers 404, as the venue does for what it does not know."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from polytraders.rows import Side, Status
from polytraders.units import NS_PER_S, ONE, price_text
from polytraders.venue.local import wire
from polytraders.venue.local.desk import Key
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.intake import Refusal, read_ticket
from polytraders.venue.local.records import Listing, Order, Trade
from polytraders.venue.local.venue import LocalVenue, Received

START, END = "MA==", "LTE="
PAGE = 500
BATCH, CANCELS = 15, 1000
TRADING = ("/order", "/orders", "/cancel-all", "/cancel-market-orders")
CLOSED_ONLY = "address in closed only mode"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON."""
    return web.Response(
        body=orjson.dumps(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def refused(error: Refusal) -> web.Response:
    """A refusal as the venue words it."""
    body = {"error": error.text, **error.extra.get("body", {})}
    return reply(body, error.status, error.extra.get("headers"))


def guard(venue: LocalVenue) -> Any:
    """Middleware: faults of the transport, time up to now, refusals to answers, unknown routes to 404."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/ws/"):
            return await handler(request)
        faults, lag, noted = venue.faults, 0.0, None
        if request.path in TRADING:
            with contextlib.suppress(ConnectionResetError):
                noted = Received(0, request.method, request.path, await request.read())
                noted.at = time.time_ns()
                venue.received.append(noted)
        if (latency := faults["latency"]).strikes():
            lag = latency.value / 2_000
            with contextlib.suppress(ConnectionResetError):
                await request.read()  # it has arrived; whether the client still waits is its own affair
            await asyncio.sleep(lag)
        if (fault := faults["error_before"]).strikes():
            return reply({"error": "could not run the execution"}, fault.value or 500)
        venue.advance()
        try:
            answer = await handler(request)
        except Refusal as error:
            answer = refused(error)
        except web.HTTPNotFound:
            answer = reply({"error": "not found"}, 404)
        except web.HTTPMethodNotAllowed:
            answer = reply({"error": "method not allowed"}, 405)
        except ConnectionResetError:  # the client gave up before its request was read
            answer = web.Response(status=499)
        venue.wake()
        if noted is not None:
            noted.status = answer.status
        if lag:
            await asyncio.sleep(lag)
        if request.method != "GET" and request.path in TRADING and faults["drop_reply"].strikes():
            if request.transport is not None:
                request.transport.abort()
            return answer
        if (fault := faults["error_after"]).strikes():
            return reply({"error": "could not run the execution"}, fault.value or 500)
        return answer

    return middleware


@web.middleware
async def plain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware of the switches: refusals to answers, and no faults."""
    try:
        return await handler(request)
    except Refusal as error:
        return refused(error)
    except web.HTTPNotFound:
        return reply({"error": "not found"}, 404)


async def json_of(request: web.Request) -> Any:
    """The body. Raises Refusal when it is no JSON."""
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise Refusal("Invalid payload") from None


# -- public ----------------------------------------------------------------------------------------


def public_routes(venue: LocalVenue) -> list[web.RouteDef]:
    """What needs no key."""
    exchange: Exchange = venue.exchange

    def told_tick(listing: Listing) -> int:
        fault = venue.faults["wrong_tick"]
        return fault.value if fault.on() and fault.value else listing.tick

    def live(token: Any) -> tuple[Listing, int]:
        """A token that has a book. Resolved markets have none."""
        if not token:
            raise Refusal("Invalid token id")
        listing, outcome = exchange.find(str(token))
        if listing.status == Status.RESOLVED:
            raise Refusal("No orderbook exists for the requested token id", 404)
        return listing, outcome

    def asked(request: web.Request) -> tuple[Listing, int]:
        return live(request.query.get("token_id"))

    async def several(request: web.Request) -> list[tuple[Listing, int, dict[str, Any]]]:
        wanted = await json_of(request)
        if not isinstance(wanted, list) or not all(isinstance(entry, dict) for entry in wanted):
            raise Refusal("Invalid payload")
        if len(wanted) > PAGE:
            raise Refusal("Payload exceeds the limit")
        found = []
        for entry in wanted:
            try:
                found.append((*live(entry.get("token_id")), entry))
            except Refusal as error:
                if error.status != 404:
                    raise
        return found

    def book(listing: Listing, outcome: int) -> dict[str, Any]:
        return wire.book(exchange, listing, outcome, told_tick(listing))

    def price(listing: Listing, outcome: int, side: Any) -> str:
        if side not in ("BUY", "SELL"):
            raise Refusal("Invalid side")
        bid, ask = exchange.best(listing, outcome)
        return price_text(bid if side == "BUY" else ask % ONE)

    def middle(listing: Listing, outcome: int) -> str:
        bid, ask = exchange.best(listing, outcome)
        return f"{(bid + ask) / 2 / ONE:.5f}".rstrip("0").rstrip(".")

    def spread(listing: Listing, outcome: int) -> str:
        bid, ask = exchange.best(listing, outcome)
        return price_text(ask - bid)

    def last(listing: Listing, outcome: int) -> dict[str, str]:
        if listing.last_trade < 0:
            return {"price": "0.5", "side": ""}
        side = listing.last_side if outcome == 0 else 1 - listing.last_side
        return {"price": wire.last_trade(listing, outcome), "side": "BUY" if side == Side.BUY else "SELL"}

    def condition(request: web.Request) -> Listing:
        listing = exchange.by_condition.get(request.match_info["condition"])
        if listing is None:
            raise Refusal("market not found", 404)
        return listing

    async def ok(request: web.Request) -> web.Response:
        return reply("OK")

    async def time_(request: web.Request) -> web.Response:
        return web.Response(text=str(venue.clock() // NS_PER_S), content_type="text/plain")

    async def version(request: web.Request) -> web.Response:
        return reply({"version": 2})

    async def geoblock(request: web.Request) -> web.Response:
        return reply(venue.desk.place)

    async def book_(request: web.Request) -> web.Response:
        return reply(book(*asked(request)))

    async def books(request: web.Request) -> web.Response:
        return reply([book(listing, outcome) for listing, outcome, _ in await several(request)])

    async def price_(request: web.Request) -> web.Response:
        return reply({"price": price(*asked(request), request.query.get("side"))})

    async def prices(request: web.Request) -> web.Response:
        said: dict[str, dict[str, str]] = {}
        for listing, outcome, entry in await several(request):
            side = entry.get("side")
            said.setdefault(listing.token(outcome), {})[str(side)] = price(listing, outcome, side)
        return reply(said)

    async def midpoint(request: web.Request) -> web.Response:
        return reply({"mid": middle(*asked(request))})

    async def midpoints(request: web.Request) -> web.Response:
        return reply({listing.token(o): middle(listing, o) for listing, o, _ in await several(request)})

    async def spread_(request: web.Request) -> web.Response:
        return reply({"spread": spread(*asked(request))})

    async def spreads(request: web.Request) -> web.Response:
        return reply({listing.token(o): spread(listing, o) for listing, o, _ in await several(request)})

    async def last_trade(request: web.Request) -> web.Response:
        return reply(last(*asked(request)))

    async def last_trades(request: web.Request) -> web.Response:
        return reply([{"token_id": m.token(o), **last(m, o)} for m, o, _ in await several(request)])

    async def tick_size(request: web.Request) -> web.Response:
        return reply({"minimum_tick_size": float(price_text(told_tick(asked(request)[0])))})

    async def neg_risk(request: web.Request) -> web.Response:
        return reply({"neg_risk": asked(request)[0].neg_risk})

    async def fee_rate(request: web.Request) -> web.Response:
        return reply({"base_fee": 1000 if asked(request)[0].info.fee_rate else 0})

    async def builder_fees(request: web.Request) -> web.Response:
        return reply({"builder_maker_fee_rate_bps": 0, "builder_taker_fee_rate_bps": 0})

    async def markets(request: web.Request) -> web.Response:
        said = [wire.market(exchange, listing, told_tick(listing)) for listing in exchange.listings]
        return reply(paged(request, said))

    async def sampling_markets(request: web.Request) -> web.Response:
        sampled = [listing for listing in exchange.listings if listing.info.reward_max_spread]
        return reply(paged(request, [wire.market(exchange, listing, told_tick(listing)) for listing in sampled]))

    async def simplified_markets(request: web.Request) -> web.Response:
        sampled = "sampling" in request.path
        listings = [m for m in exchange.listings if m.info.reward_max_spread or not sampled]
        return reply(paged(request, [wire.simplified(wire.market(exchange, listing)) for listing in listings]))

    async def market(request: web.Request) -> web.Response:
        listing = condition(request)
        return reply(wire.market(exchange, listing, told_tick(listing)))

    async def market_by_token(request: web.Request) -> web.Response:
        listing, _ = exchange.find(request.match_info["token"])
        info = listing.info
        tokens = {"primary_token_id": info.yes_token, "secondary_token_id": info.no_token}
        return reply({"condition_id": info.condition_id, **tokens})

    async def clob_market(request: web.Request) -> web.Response:
        listing = condition(request)
        return reply(wire.clob_market(listing, told_tick(listing)))

    get, post = web.get, web.post
    return [
        get("/", ok), get("/ok", ok), get("/time", time_), get("/version", version),
        get("/api/geoblock", geoblock),
        get("/book", book_), post("/books", books), get("/price", price_), post("/prices", prices),
        get("/midpoint", midpoint), post("/midpoints", midpoints), get("/spread", spread_), post("/spreads", spreads),
        get("/last-trade-price", last_trade), post("/last-trades-prices", last_trades),
        get("/tick-size", tick_size), get("/neg-risk", neg_risk), get("/fee-rate", fee_rate),
        get("/fees/builder-fees/{code}", builder_fees), get("/markets", markets), get("/markets/{condition}", market),
        get("/sampling-markets", sampling_markets), get("/simplified-markets", simplified_markets),
        get("/sampling-simplified-markets", simplified_markets),
        get("/markets-by-token/{token}", market_by_token), get("/clob-markets/{condition}", clob_market),
    ]  # fmt: skip


def paged(request: web.Request, items: list[Any]) -> dict[str, Any]:
    """One page of a list, with the cursor of the next."""
    cursor = request.query.get("next_cursor") or START
    try:
        first = int(base64.b64decode(cursor, validate=True)) if cursor != END else len(items)
    except ValueError:
        raise Refusal("Invalid cursor") from None
    page = items[max(first, 0) : max(first, 0) + PAGE]
    more = first + PAGE < len(items)
    after = base64.b64encode(str(first + PAGE).encode()).decode() if more else END
    return {"data": page, "next_cursor": after, "limit": PAGE, "count": len(page)}


# -- accounts ----------------------------------------------------------------------------------------


def trading_routes(venue: LocalVenue) -> list[web.RouteDef]:
    """What needs a key."""
    exchange, desk = venue.exchange, venue.desk

    async def key_of(request: web.Request) -> Key:
        body = await request.read()
        return desk.authenticate(request.headers, request.method, request.path, body, venue.clock())

    async def create_key(request: web.Request) -> web.Response:
        return reply(desk.create(*desk.login(request.headers, venue.clock())).creds())

    async def derive_key(request: web.Request) -> web.Response:
        return reply(desk.derive(*desk.login(request.headers, venue.clock())).creds())

    async def list_keys(request: web.Request) -> web.Response:
        account = (await key_of(request)).account
        return reply({"apiKeys": [key.key for key in desk.keys.values() if key.account is account]})

    async def delete_key(request: web.Request) -> web.Response:
        del desk.keys[(await key_of(request)).key]
        return reply("OK")

    async def tier(request: web.Request) -> web.Response:
        return reply({"tier": (await key_of(request)).tier})

    async def closed_only(request: web.Request) -> web.Response:
        return reply({"closed_only": (await key_of(request)).account.closed_only})

    # orders

    def place(key: Key, entry: Any) -> Order:
        if key.account.banned:
            raise Refusal("address banned")
        ticket = read_ticket(entry, key.key, key.account.address, exchange.find, venue.clock())
        if key.account.closed_only and ticket.side == Side.BUY:
            raise Refusal(CLOSED_ONLY)
        return exchange.submit(key.account, ticket, key.key)

    def answer(order: Order) -> dict[str, Any]:
        return wire.posted(order, hashes=wire.order_type(order) in ("GTC", "GTD"))

    def is_post_only(entry: Any) -> bool:
        return isinstance(entry, dict) and entry.get("postOnly") is True

    async def post_order(request: web.Request) -> web.Response:
        key, entry = await key_of(request), await json_of(request)
        desk.check_mode(cancels=False, post_only=is_post_only(entry))
        headers = desk.charge(key, 1, venue.clock(), cancels=False)
        try:
            return reply(answer(place(key, entry)), headers=headers)
        except Refusal as error:
            body = {"errorMsg": error.text, "success": False, "orderID": ""}
            raise Refusal(error.text, error.status, body=body, headers=headers) from None

    async def post_orders(request: web.Request) -> web.Response:
        key, entries = await key_of(request), await json_of(request)
        if not isinstance(entries, list) or not entries:
            raise Refusal("Invalid payload")
        if len(entries) > BATCH:
            raise Refusal(f"Too many orders in payload: {len(entries)}, max allowed: {BATCH}")
        desk.check_mode(cancels=False, post_only=all(map(is_post_only, entries)))
        headers = desk.charge(key, len(entries), venue.clock(), cancels=False)
        said = []
        for entry in entries:
            try:
                if venue.faults["batch_entry"].strikes():
                    raise Refusal("could not run the execution")
                said.append(answer(place(key, entry)))
            except Refusal as error:
                said.append(
                    {
                        "success": True,
                        "errorMsg": error.text,
                        "orderID": "",
                        "status": "",
                        "makingAmount": "",
                        "takingAmount": "",
                        "tradeIDs": [],
                        "transactionsHashes": [],
                    }
                )
        return reply(said, headers=headers)

    async def cancel(request: web.Request, ids: Callable[[Key, Any], list[str]], extra: int = 0) -> web.Response:
        key = await key_of(request)
        body = await json_of(request) if await request.read() else None
        desk.check_mode(cancels=True)
        wanted = ids(key, body)
        headers = desk.charge(key, max(1, len(wanted) + extra), venue.clock(), cancels=True)
        return reply(exchange.cancel(key.account, wanted), headers=headers)

    def one_id(key: Key, body: Any) -> list[str]:
        if not isinstance(body, dict) or not isinstance(body.get("orderID"), str):
            raise Refusal("Invalid payload")
        return [body["orderID"]]

    def many_ids(key: Key, body: Any) -> list[str]:
        if not isinstance(body, list) or not all(isinstance(entry, str) for entry in body):
            raise Refusal("Invalid payload")
        if len(body) > CANCELS:
            raise Refusal(f"Too many orders in payload: {len(body)}, max allowed: {CANCELS}")
        return body

    def live_ids(key: Key, body: Any) -> list[str]:
        return [order.id for order in key.account.open_orders() if order.status == "LIVE"]

    def market_ids(key: Key, body: Any) -> list[str]:
        if not isinstance(body, dict) or not (body.get("market") or body.get("asset_id")):
            raise Refusal("Invalid payload")
        return [
            order.id
            for order in key.account.open_orders()
            if order.status == "LIVE"
            and (not body.get("market") or order.listing.info.condition_id == body["market"])
            and (not body.get("asset_id") or str(order.ticket.message.token_id) == str(body["asset_id"]))
        ]

    async def cancel_order(request: web.Request) -> web.Response:
        return await cancel(request, one_id)

    async def cancel_orders(request: web.Request) -> web.Response:
        return await cancel(request, many_ids)

    async def cancel_all(request: web.Request) -> web.Response:
        return await cancel(request, live_ids, 1)

    async def cancel_market(request: web.Request) -> web.Response:
        return await cancel(request, market_ids, 1)

    async def heartbeat(request: web.Request) -> web.Response:
        key, body = await key_of(request), await json_of(request)
        given = body.get("heartbeat_id", "") if isinstance(body, dict) else None
        if not isinstance(given, str):
            raise Refusal("Invalid payload")
        return reply({"heartbeat_id": desk.heartbeat(key, given, venue.clock())})

    # what was

    async def orders(request: web.Request) -> web.Response:
        account, query = (await key_of(request)).account, request.query
        found = [
            said
            for said in map(wire.open_order, account.open_orders())
            if all(query.get(name) in (None, "", said[name]) for name in ("id", "market", "asset_id"))
        ]
        return reply(paged(request, found))

    async def order(request: web.Request) -> web.Response:
        found = (await key_of(request)).account.orders.get(request.match_info["id"])
        if found is None:
            raise Refusal("order not found", 404)
        return reply(wire.open_order(found))

    async def trades(request: web.Request) -> web.Response:
        account, query = (await key_of(request)).account, request.query
        try:
            after, before = int(query.get("after") or 0), int(query.get("before") or 1 << 62)
        except ValueError:
            raise Refusal("Invalid payload") from None
        found = [
            said
            for said in (wire.trade(t) for t in reversed(account.trades.values()) if not (t.maker and own_too(t)))
            if all(query.get(name) in (None, "", said[name]) for name in ("id", "market", "asset_id"))
            and after <= int(said["match_time"]) <= before
            and query.get("maker_address")
            in (None, "", said["maker_address"], said["maker_orders"][0]["maker_address"])
        ]
        return reply(paged(request, found))

    def own_too(trade: Trade) -> bool:
        """Both sides are the account's: the taker's record tells of both."""
        return trade.other is not None and trade.other.order.account == trade.order.account

    async def balance(request: web.Request) -> web.Response:
        account, query = (await key_of(request)).account, request.query
        kind, token = query.get("asset_type"), query.get("token_id")
        if kind not in ("COLLATERAL", "CONDITIONAL") or (kind == "CONDITIONAL" and not token):
            raise Refusal("Invalid asset type")
        update = request.path.endswith("/update")
        seen = exchange.seen_balance(account, token if kind == "CONDITIONAL" else None, update)
        if update:
            return reply("")
        allowances = {contract: str(amount) for contract, amount in account.allowances.items()}
        return reply({"balance": str(seen), "allowances": allowances})

    get, post, delete = web.get, web.post, web.delete
    return [
        post("/auth/api-key", create_key), get("/auth/derive-api-key", derive_key), get("/auth/api-keys", list_keys),
        delete("/auth/api-key", delete_key), get("/auth/ban-status/closed-only", closed_only),
        get("/v1/user/rate-limit-tier", tier),
        post("/order", post_order), post("/orders", post_orders), delete("/order", cancel_order),
        delete("/orders", cancel_orders), delete("/cancel-all", cancel_all),
        delete("/cancel-market-orders", cancel_market), post("/v1/heartbeats", heartbeat),
        get("/data/orders", orders), get("/data/order/{id}", order), get("/data/trades", trades),
        get("/balance-allowance", balance), get("/balance-allowance/update", balance),
    ]  # fmt: skip
