"""The switches: markets, prints, balances, modes and faults. Not part of Polymarket; on a port of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from polytraders.data.markets import MarketInfo
from polytraders.engine.state import records
from polytraders.errors import UsageError
from polytraders.rows import EVENT, EventKind, Flag, Side, Status
from polytraders.units import (
    NS_PER_MS,
    NS_PER_S,
    ONE,
    TICKS_PIPS,
    UnitError,
    money_micro,
    price_pips,
    size_micro,
)
from polytraders.venue.local.desk import MODES, TIERS
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.faults import ALWAYS, KNOWN
from polytraders.venue.local.intake import Refusal, address_of, read_message
from polytraders.venue.local.records import Listing
from polytraders.venue.local.rest import reply
from polytraders.venue.local.venue import LocalVenue, Received
from polytraders.venue.orders import POLYGON, digest
from polytraders.venue.orders import exchange as domain


def message(exchange: Exchange, listing: Listing, *rows: dict[str, int]) -> np.ndarray:
    """Event rows of one message of a market, now."""
    made = records(EVENT, len(rows))
    made["ts_recv"] = made["ts_event"] = exchange.now
    made["market"] = listing.index
    for row, fields in zip(made, rows, strict=True):
        for name, value in fields.items():
            row[name] = value
    made["flags"][-1] |= Flag.LAST
    return made


def admin_routes(venue: LocalVenue) -> list[web.RouteDef]:
    """Everything that a test or a demonstration wants to do to the venue."""
    exchange, desk, faults = venue.exchange, venue.desk, venue.faults

    async def body(request: web.Request, *known: str) -> dict[str, Any]:
        try:
            given = orjson.loads(await request.read() or b"{}")
        except orjson.JSONDecodeError:
            raise Refusal("the body is no JSON") from None
        if not isinstance(given, dict) or (known and not given.keys() <= set(known)):
            raise Refusal(f"the body is an object with some of: {', '.join(known)}")
        return given

    def market_of(request: web.Request) -> Listing:
        name = request.match_info["market"]
        for listing in exchange.listings:
            if name in (listing.info.condition_id, listing.info.slug):
                return listing
        raise Refusal(f"there is no market {name!r}", 404)

    def read(what: Callable[[Any], Any], value: Any) -> Any:
        try:
            return what(value)
        except (UnitError, UsageError, TypeError, ValueError, KeyError) as error:
            raise Refusal(str(error)) from None

    def happen(listing: Listing, *rows: dict[str, int]) -> web.Response:
        venue.advance()
        exchange.play(message(exchange, listing, *rows))
        venue.wake()
        return reply({"ok": True})

    def level(entry: Any) -> tuple[int, int]:
        price, size = entry
        return price_pips(price), size_micro(size)

    async def state(request: web.Request) -> web.Response:
        return reply(
            {
                "mode": desk.mode,
                "tape_left": exchange.tape.left,
                "heartbeats_lost": desk.heartbeats_lost,
                "markets": [
                    {
                        "slug": listing.info.slug,
                        "condition": listing.info.condition_id,
                        "yes": listing.info.yes_token,
                        "no": listing.info.no_token,
                        "tick": listing.tick,
                        "status": Status(listing.status).name,
                        "neg_risk": listing.neg_risk,
                    }
                    for listing in exchange.listings
                ],
                "accounts": {
                    address: {
                        "cash": int(account.venue.account[0].cash),
                        "reserved": int(account.venue.account[0].reserved),
                        "open_orders": len(account.open_orders()),
                        "orders": len(account.orders),
                        "trades": len(account.trades),
                    }
                    for address, account in exchange.accounts.items()
                },
                "faults": {
                    name: {"rate": fault.rate, "value": fault.value, "count": fault.count, "struck": fault.struck}
                    for name, fault in faults.items()
                },
            }
        )

    async def set_mode(request: web.Request) -> web.Response:
        mode = (await body(request, "mode")).get("mode")
        if mode not in MODES:
            raise Refusal(f"mode is one of {', '.join(MODES)}")
        desk.mode = mode
        return reply({"mode": mode})

    async def set_place(request: web.Request) -> web.Response:
        """What the geoblock page says: {"blocked": true, "country": "FR", "region": ""}."""
        given = await body(request, "blocked", "country", "region")
        desk.place |= given
        return reply(desk.place)

    async def set_fault(request: web.Request) -> web.Response:
        given = await body(request, "rate", "value", "count")
        numbers = {name: read(int, value) for name, value in given.items()}
        read(lambda name: faults.switch(name, **{"rate": ALWAYS, **numbers}), request.match_info["fault"])
        venue.wake()
        return reply({"fault": request.match_info["fault"], **numbers})

    async def clear_faults(request: web.Request) -> web.Response:
        faults.clear_all()
        return reply({"ok": True})

    async def received(request: web.Request) -> web.Response:
        """Requests that placed or cancelled orders, as they arrived, with the digests of the orders placed."""

        def orders(one: Received) -> list[str]:
            try:
                posted = orjson.loads(one.body)
                found = []
                for entry in posted if isinstance(posted, list) else [posted]:
                    message, _, _ = read_message(entry["order"])
                    listing, _ = exchange.find(message.token_id)
                    found.append("0x" + digest(message, domain(POLYGON, listing.neg_risk)).hex())
                return found
            except (orjson.JSONDecodeError, Refusal, TypeError, KeyError):
                return []

        return reply(
            [
                {
                    "at": one.at, "method": one.method, "path": one.path, "status": one.status,
                    "orders": orders(one) if one.method == "POST" else [],
                }
                for one in venue.received
            ]
        )  # fmt: skip

    async def list_faults(request: web.Request) -> web.Response:
        return reply(KNOWN)

    async def add_market(request: web.Request) -> web.Response:
        given = await body(
            request, "slug", "question", "tick", "min_size", "fee_rate", "neg_risk", "taker_delay_ms", "bids", "asks",
            "reward_pool", "reward_min_size", "reward_max_spread", "end_s",
        )  # fmt: skip
        slug = given.get("slug")
        if not isinstance(slug, str) or not slug:
            raise Refusal("a market needs a slug")
        tick = read(price_pips, given.get("tick", "0.01"))
        if tick not in TICKS_PIPS:
            raise Refusal("the venue has no such tick")
        bids = read(lambda value: [level(entry) for entry in value], given.get("bids", []))
        asks = read(lambda value: [level(entry) for entry in value], given.get("asks", []))

        def name(part: str) -> bytes:
            return hashlib.sha256(f"{slug}:{part}".encode()).digest()

        info = MarketInfo(
            condition_id="0x" + name("condition").hex(),
            slug=slug,
            question=str(given.get("question", slug)),
            yes_token=str(int.from_bytes(name("yes"), "big")),
            no_token=str(int.from_bytes(name("no"), "big")),
            tick=tick,
            grid=1,
            min_size=read(size_micro, given.get("min_size", "5")),
            fee_rate=read(money_micro, given.get("fee_rate", "0")),
            fee_exponent=1,
            rebate_rate=0,
            neg_risk=given.get("neg_risk") is True,
            event_id="",
            end_ts=time.time_ns() + read(int, given.get("end_s", 86_400)) * NS_PER_S,
            taker_delay=read(int, given.get("taker_delay_ms", 0)) * NS_PER_MS,
            reward_pool=read(money_micro, given.get("reward_pool", "0")),
            reward_min_size=read(size_micro, given.get("reward_min_size", "0")),
            reward_max_spread=read(price_pips, given.get("reward_max_spread", "0")),
        )
        venue.advance()
        listing = exchange.add_market(info)
        happen(listing, *book_rows(bids, asks))
        return reply({"condition": info.condition_id, "yes": info.yes_token, "no": info.no_token})

    def book_rows(bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> list[dict[str, int]]:
        rows = [{"kind": EventKind.BOOK_CLEAR, "flags": Flag.SNAPSHOT}]
        for side, levels in ((Side.BUY, bids), (Side.SELL, asks)):
            rows += [
                {"kind": EventKind.LEVEL, "price": p, "size": s, "side": side, "flags": Flag.SNAPSHOT}
                for p, s in levels
            ]
        return rows

    def fitting(listing: Listing, *prices: int) -> None:
        grid = int(exchange.fresh[listing.index].grid)
        if any(not 0 < price < ONE or price % grid for price in prices):
            raise Refusal("a price that this market's book has no place for")

    async def set_level(request: web.Request) -> web.Response:
        """One level of the tape's book: {"side": "BUY", "price": "0.5", "size": "100"} in the YES token."""
        listing, given = market_of(request), await body(request, "side", "price", "size")
        side = read(lambda value: Side[value], given.get("side"))
        price, size = read(price_pips, given.get("price")), read(size_micro, given.get("size"))
        fitting(listing, price)
        return happen(listing, {"kind": EventKind.CHANGE, "price": price, "size": size, "side": side})

    async def print_trade(request: web.Request) -> web.Response:
        """A trade of others: {"side": aggressor, "price", "size"} in the YES token. The book is not touched."""
        listing, given = market_of(request), await body(request, "side", "price", "size")
        side = read(lambda value: Side[value], given.get("side"))
        price, size = read(price_pips, given.get("price")), read(size_micro, given.get("size"))
        fitting(listing, price)
        return happen(listing, {"kind": EventKind.TRADE, "price": price, "size": size, "side": side})

    async def set_tick(request: web.Request) -> web.Response:
        listing, given = market_of(request), await body(request, "tick")
        tick = read(price_pips, given.get("tick"))
        if tick not in TICKS_PIPS:
            raise Refusal("the venue has no such tick")
        fitting(listing, tick)
        return happen(listing, {"kind": EventKind.TICK_SIZE, "price": tick, "aux": listing.tick})

    async def set_status(request: web.Request) -> web.Response:
        listing, given = market_of(request), await body(request, "status")
        status = read(lambda value: Status[value], given.get("status"))
        if status == Status.RESOLVED:
            raise Refusal("a market is resolved by its payout: POST .../resolve")
        return happen(listing, {"kind": EventKind.STATUS, "aux": status})

    async def resolve(request: web.Request) -> web.Response:
        listing, given = market_of(request), await body(request, "payout")
        payout = read(price_pips, given.get("payout", "1"))
        if payout not in (0, ONE // 2, ONE):
            raise Refusal("a YES share pays 0, 0.5 or 1")
        if listing.status == Status.RESOLVED:
            raise Refusal("it is resolved already")
        return happen(listing, {"kind": EventKind.RESOLUTION, "price": payout})

    async def set_account(request: web.Request) -> web.Response:
        """{"cash": "100", "shares": {token: "10"}, "allowances": {contract: "0"}, "closed_only", "banned", "tier"}."""
        given = await body(request, "cash", "shares", "allowances", "closed_only", "banned", "tier")
        address = read(address_of, request.match_info["address"])
        venue.advance()
        account = exchange.account(address)
        if "cash" in given:
            exchange.give(account, None, read(money_micro, given["cash"]))
        for token, size in read(dict, given.get("shares", {})).items():
            exchange.give(account, str(token), read(size_micro, size))
        for contract, amount in read(dict, given.get("allowances", {})).items():
            account.allowances[read(address_of, contract)] = read(money_micro, amount)
        account.closed_only = given.get("closed_only", account.closed_only) is True
        account.banned = given.get("banned", account.banned) is True
        if "tier" in given:
            if given["tier"] not in TIERS:
                raise Refusal(f"tier is one of {', '.join(TIERS)}")
            for key in desk.keys.values():
                if key.account is account:
                    key.set_tier(given["tier"])
        return reply({"address": address})

    async def move_tape(request: web.Request) -> web.Response:
        """Let the tape's next {"seconds"} happen at once."""
        seconds = read(Decimal, (await body(request, "seconds")).get("seconds", 1))
        rows = exchange.tape.skip(int(seconds * NS_PER_S))
        venue.advance()
        venue.wake()
        return reply({"rows": rows, "left": exchange.tape.left})

    async def drop_sockets(request: web.Request) -> web.Response:
        """Close every socket of both channels, as a restart of the venue's front does."""
        listeners = list(venue.streams.market | venue.streams.user)
        for listener in listeners:
            listener.put(None)
        return reply({"dropped": len(listeners)})

    async def miss_heartbeats(request: web.Request) -> web.Response:
        """Make every armed key's last beat `seconds` older and look at once."""
        seconds = read(int, (await body(request, "seconds")).get("seconds", 15))
        for key in desk.keys.values():
            key.beat_at -= seconds * NS_PER_S
        desk.next_sweep = 0
        venue.advance()
        return reply({"lost": desk.heartbeats_lost})

    get, post, delete = web.get, web.post, web.delete
    return [
        get("/state", state), get("/received", received), get("/faults", list_faults), post("/mode", set_mode),
        post("/geoblock", set_place), delete("/sockets", drop_sockets), post("/faults/{fault}", set_fault),
        delete("/faults", clear_faults), post("/markets", add_market), post("/markets/{market}/level", set_level),
        post("/markets/{market}/trade", print_trade), post("/markets/{market}/tick", set_tick),
        post("/markets/{market}/status", set_status), post("/markets/{market}/resolve", resolve),
        post("/accounts/{address}", set_account), post("/tape", move_tape), post("/heartbeats", miss_heartbeats),
    ]  # fmt: skip
