"""The user channel: what the venue tells of our orders and trades, over a socket that comes back by itself.

A socket that answers PING may have stopped to speak, and what it lost is not sent again. So nobody trusts it alone:
each new connection is followed by a reconciliation, and so is time (see `reconcile`). A connection on which nothing at
all arrives for `SILENCE` s, PONG included, is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from polytraders.venue.orders import Credentials
from polytraders.venue.polymarket.client import Client

PING = 10.0
"""s between two PINGs of ours."""
SILENCE = 30.0
"""s without any frame after which a connection is given up."""
FIRST_DELAY, LONGEST_DELAY = 0.25, 30.0
"""s before the first and at most before any new connection; each is drawn between 0 and its length."""


class UserStream:
    """One connection at a time, until stopped.

    heard: called with each event, an object with its `event_type`. up: called when a connection has been made, with
    how many there were before. state: for `health`.
    """

    def __init__(
        self,
        client: Client,
        credentials: Credentials,
        heard: Callable[[dict[str, Any]], None],
        up: Callable[[int], None],
        *,
        ping: float = PING,
        silence: float = SILENCE,
        delays: tuple[float, float] = (FIRST_DELAY, LONGEST_DELAY),
    ):
        self.client, self.credentials, self.heard, self.up = client, credentials, heard, up
        self.ping, self.silence, self.delays = ping, silence, delays
        self.connections = 0
        self.connected = asyncio.Event()
        self.state: dict[str, Any] = {"up": False, "since": 0, "last": 0, "frames": 0, "errors": 0, "problem": ""}

    async def run(self) -> None:
        """Connect, listen, and connect again; ends only when cancelled."""
        failures = 0
        while True:
            heard_before = self.state["frames"]
            try:
                await self._one_connection()
                problem = "closed by the venue"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = f"{type(error).__name__}: {error}"
            self.connected.clear()
            failures = 0 if self.state["frames"] > heard_before else failures + 1
            self.state |= {"up": False, "problem": problem, "errors": self.state["errors"] + 1}
            first, longest = self.delays
            await asyncio.sleep(random.random() * min(first * 2**failures, longest))

    async def _one_connection(self) -> None:
        async with self.client.session.ws_connect(
            self.client.hosts.user_ws,
            autoping=True,
            max_msg_size=1 << 24,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        ) as socket:
            auth = {
                "apiKey": self.credentials.api_key,
                "secret": self.credentials.secret,
                "passphrase": self.credentials.passphrase,
            }
            await socket.send_str(orjson.dumps({"type": "user", "auth": auth}).decode())
            del auth
            await socket.send_str("PING")  # its PONG says that the venue took us in
            pinger = asyncio.create_task(self._pings(socket))
            try:
                while True:
                    async with asyncio.timeout(self.silence):
                        message = await socket.receive()
                    if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                        return
                    if message.type is aiohttp.WSMsgType.ERROR:
                        raise socket.exception() or aiohttp.ClientError("the socket broke")
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self._take(message.data)
            finally:
                pinger.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, OSError):
                    await pinger

    def _take(self, text: str) -> None:
        now = self.client.clock()
        if not self.state["up"]:
            self.state |= {"up": True, "since": now, "problem": ""}
            self.connections += 1
            self.connected.set()
            self.up(self.connections)
        self.state["last"] = now
        self.state["frames"] += 1
        if text in ("PONG", "INVALID OPERATION"):
            return
        try:
            said = orjson.loads(text)
        except orjson.JSONDecodeError:
            self.state["errors"] += 1
            return
        for event in said if isinstance(said, list) else (said,):
            if isinstance(event, dict):
                self.heard(event)

    async def _pings(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(self.ping)
            await socket.send_str("PING")
