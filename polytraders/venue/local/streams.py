"""The market and the user channel: who listens to what, and what they are told.

A frame is queued to each listener; a sender task per connection writes them, so that a slow listener holds up nobody.
With the fault `silence` what would be sent is lost, and PING is still answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from aiohttp import WSMsgType, web

from polytraders.rows import Outcome
from polytraders.units import NS_PER_MS
from polytraders.venue.local import wire
from polytraders.venue.local.desk import Desk, Key
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.faults import Faults
from polytraders.venue.local.records import Account, Listing, Order, Trade

BACKLOG = 20_000
"""Frames a listener may be behind before its connection is closed."""
REORDER = 200 * NS_PER_MS


@dataclass(eq=False)
class Listener:
    """One connection. assets: tokens it asked for; markets: conditions, None = all."""

    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(BACKLOG))
    assets: set[str] = field(default_factory=set)
    custom: bool = False
    key: Key | None = None
    markets: set[str] | None = None
    transport: asyncio.BaseTransport | None = None
    held: list[Any] = field(default_factory=list)  # events that are sent after the next one

    def put(self, said: Any) -> None:
        """Queue a frame; one that is too far behind is hung up on."""
        try:
            self.queue.put_nowait(said if isinstance(said, str) else orjson.dumps(said).decode())
        except asyncio.QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)


class Streams:
    """All listeners of a venue."""

    def __init__(self, exchange: Exchange, desk: Desk, faults: Faults):
        self.exchange, self.desk, self.faults = exchange, desk, faults
        self.market: set[Listener] = set()
        self.user: set[Listener] = set()

    # -- what happened ---------------------------------------------------------------------------------

    def market_moved(self, listing: Listing, what: str, rows: np.ndarray) -> None:
        """Tell the market channel."""
        if not self.market or self.faults["silence"].on():
            return
        tokens = {listing.info.yes_token, listing.info.no_token}
        listeners = [one for one in self.market if one.assets & tokens]
        exchange = self.exchange
        if what == "listed":
            self._send([one for one in self.market if one.custom], wire.new_market(exchange, listing))
        elif what == "resolved":
            self._send([one for one in self.market if one.custom], wire.market_resolved(exchange, listing))
        elif not listeners:
            return
        elif what == "book":
            for event in wire.book_events(exchange, listing):
                self._send([one for one in listeners if event["asset_id"] in one.assets], event)
        elif what == "change":
            self._send(listeners, wire.price_change(exchange, listing, rows))
        elif what == "trade":
            for row in rows:
                self._send(
                    [one for one in listeners if listing.info.yes_token in one.assets],
                    wire.last_trade_price(exchange, listing, row),
                )
        elif what == "tick":
            for outcome in Outcome:
                event = wire.tick_size_change(exchange, listing, rows[-1], outcome)
                self._send([one for one in listeners if event["asset_id"] in one.assets], event)
        if what in ("book", "change") and exchange.best(listing) != listing.told:
            listing.told = exchange.best(listing)
            for outcome in Outcome:
                event = wire.best_bid_ask(exchange, listing, outcome)
                self._send([one for one in listeners if one.custom and event["asset_id"] in one.assets], event)

    def _send(self, listeners: list[Listener], event: dict[str, Any]) -> None:
        if listeners:
            text = orjson.dumps(event).decode()
            for one in listeners:
                self._tell(one, text)

    def _tell(self, one: Listener, text: str) -> None:
        """A market event to one listener, or what the faults make of it."""
        faults = self.faults
        if faults["drop_socket"].strikes() and isinstance(one.transport, asyncio.Transport):
            one.transport.abort()
            return
        if faults["market_loss"].strikes():
            return
        waiting, one.held = one.held, []
        if not waiting and (fault := faults["market_reorder"]).strikes():
            one.held.append(text)
            delay = (fault.value * NS_PER_MS or REORDER) / 1e9
            asyncio.get_running_loop().call_later(delay, self._release, one)
            return
        for event in (text, *waiting):
            one.put(event)
            if faults["market_duplicate"].strikes():
                one.put(event)

    def user_event(self, account: Account, subject: Order | Trade, what: str) -> None:
        """Tell an account's listeners of an order or a trade."""
        now = self.exchange.now
        for one in self.user:
            if one.key is None or one.key.account is not account or self.faults["silence"].on():
                continue
            said = (
                wire.order_event(subject, what, now) if isinstance(subject, Order) else wire.trade_event(subject, now)
            )
            if one.markets is not None and said["market"] not in one.markets:
                continue
            self._deliver(one, said)

    def _deliver(self, one: Listener, said: dict[str, Any]) -> None:
        waiting, one.held = one.held, []
        if not waiting and (fault := self.faults["reorder"]).strikes():
            one.held.append(said)
            delay = (fault.value * NS_PER_MS or REORDER) / 1e9
            asyncio.get_running_loop().call_later(delay, self._release, one)
            return
        for event in (said, *waiting):
            one.put(event)
            if self.faults["duplicate"].strikes():
                one.put(event)

    @staticmethod
    def _release(one: Listener) -> None:
        held, one.held = one.held, []
        for event in held:
            one.put(event)

    # -- connections -----------------------------------------------------------------------------------

    async def serve_market(self, request: web.Request) -> web.WebSocketResponse:
        """The market channel."""
        return await self._serve(request, self.market, self._on_market)

    async def serve_user(self, request: web.Request) -> web.WebSocketResponse:
        """The user channel."""
        return await self._serve(request, self.user, self._on_user)

    async def _serve(self, request: web.Request, group: set[Listener], on_frame: Any) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 22)
        await socket.prepare(request)
        one = Listener(transport=request.transport)
        group.add(one)
        sender = asyncio.create_task(_write(socket, one))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                if message.data == "PING":
                    one.put("PONG")
                    continue
                try:
                    frame = orjson.loads(message.data)
                except orjson.JSONDecodeError:
                    frame = None
                good = isinstance(frame, dict) and on_frame(one, frame)
                if group is self.user and one.key is None:
                    break  # whoever it is, not one of ours
                if not good:
                    one.put("INVALID OPERATION")
        finally:
            group.discard(one)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
            await socket.close()
        return socket

    def _on_market(self, one: Listener, frame: dict[str, Any]) -> bool:
        """A frame of a listener; False when it means nothing here."""
        assets = frame.get("assets_ids")
        if not isinstance(assets, list) or not all(isinstance(asset, str) for asset in assets):
            return False
        operation = frame.get("operation")
        if operation == "unsubscribe":
            one.assets.difference_update(assets)
            return True
        if "custom_feature_enabled" in frame:
            one.custom = frame["custom_feature_enabled"] is True
        if operation is None and (frame.get("type") != "market" or one.assets):
            return False
        if operation not in (None, "subscribe"):
            return False
        fresh = [asset for asset in dict.fromkeys(assets) if asset not in one.assets]
        if not fresh:
            return operation is None
        one.assets.update(fresh)
        if frame.get("initial_dump", True) and not self.faults["silence"].on():
            found = [self.exchange.by_token[int(asset)] for asset in fresh if _known(self.exchange, asset)]
            books = [{"event_type": "book", **wire.book(self.exchange, *pair)} for pair in found]
            if books:
                one.put(books)
        return True

    def _on_user(self, one: Listener, frame: dict[str, Any]) -> bool:
        """A frame of a listener; the first one proves who it is."""
        markets = frame.get("markets")
        if markets is not None and not (isinstance(markets, list) and all(isinstance(m, str) for m in markets)):
            return False
        if one.key is None:
            one.key = self.desk.stream_key(frame.get("auth")) if frame.get("type") == "user" else None
            one.markets = set(markets) if markets else None
            return one.key is not None
        operation = frame.get("operation")
        if operation == "subscribe" and markets is not None:
            one.markets = (one.markets or set()) | set(markets)
        elif operation == "unsubscribe" and markets is not None:
            left = (one.markets or set()) - set(markets)
            one.markets = left or None
        else:
            return False
        return True


def _known(exchange: Exchange, asset: str) -> bool:
    return asset.isdecimal() and int(asset) in exchange.by_token


async def _write(socket: web.WebSocketResponse, one: Listener) -> None:
    """Send what is queued until the connection or the queue ends."""
    while (text := await one.queue.get()) is not None:
        if text:
            await socket.send_str(text)
    await socket.close(code=1008, message=b"too slow")
