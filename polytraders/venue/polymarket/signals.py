"""External prices of the venue's real-time data socket (RTDS) as SIGNAL rows.

    stream = SignalStream(env, {"crypto_prices_chainlink/btc/usd": 1}, emit)
    async with stream:
        ...

The keys are `topic/symbol`, the values the signal numbers of the run. Every symbol of a topic comes over its
connection, unfiltered, and is chosen here: the venue's filters are compared as text, and only the last one of a topic
counts. One connection per topic. Rows have `aux` = number, `size` = price x 1e6, `ts_event` = the price's own time;
a price that is not newer than the last one gives none. What is older than its freshness budget is the reader's
to refuse: SIGNAL rows carry their time. A silent connection is made anew (INTEL_FEED_SILENT), which is noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from polytraders import __version__
from polytraders.data.markets import Registry
from polytraders.data.normalise import Normaliser
from polytraders.data.record import Tap
from polytraders.data.signals import TOPICS
from polytraders.data.sources import RTDS, Message, parts_of
from polytraders.errors import UsageError
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.port import Emit, News

CONNECTION = 1_000
"""Numbers of these connections in a recording begin here."""


class _Silent(Exception):
    """The connection stands and says nothing new."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, s."""

    ping: float = 5.0
    silent: float = 30.0  # without a price of the topic, until the connection is made anew
    connect: float = 10.0
    backoff: float = 0.25
    longest: float = 30.0


class SignalStream:
    """Keeps the external prices of a run. counts: prices and refusals by kind."""

    def __init__(
        self,
        env: Environment,
        numbers: Mapping[str, int],
        emit: Emit,
        *,
        tap: Tap | None = None,
        patience: Patience | None = None,
        clock: Callable[[], int] = time.time_ns,
    ):
        """Raises UsageError for a venue without such a socket, an unknown topic, or a number given twice."""
        if not env.rtds:
            raise UsageError(f"{env.name} has no external prices", mend="leave the signals out")
        for name in numbers:
            if name.partition("/")[0] not in TOPICS or not name.partition("/")[2]:
                raise UsageError(f"there is no signal {name!r}", rule="topic/symbol, topic one of " + ", ".join(TOPICS))
        if len(set(numbers.values())) != len(numbers):
            raise UsageError("two signals have the same number")
        self.env, self.numbers, self.emit, self.tap, self.clock = env, dict(numbers), emit, tap, clock
        self.patience = patience or Patience()
        self.counts: Counter[str] = Counter()
        self.topics = tuple(dict.fromkeys(name.partition("/")[0] for name in numbers))
        self.normaliser = Normaliser(Registry([]), gap=2**62, keep=False)
        self._state: dict[str, dict[str, Any]] = {
            topic: {"up": False, "since": 0, "last": 0, "epoch": 0, "error": ""} for topic in self.topics
        }
        self._messages = 0
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SignalStream:
        self._runner = asyncio.create_task(self.run(), name="signal stream")
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the connections. Raises what made the stream fail, if it did."""
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner
            self._runner = None

    def health(self) -> dict[str, Any]:
        """State of each connection: up, since and last price (ns), epoch, last error."""
        return {f"signals {topic}": dict(state) for topic, state in self._state.items()}

    async def run(self) -> None:
        """Keep every topic connected until cancelled."""
        self._note({"event_type": "recorder", "polytraders": __version__, "host": self.env.rtds})
        self._note({"event_type": "signals", "numbers": self.numbers})
        async with asyncio.TaskGroup() as group:
            for place, topic in enumerate(self.topics):
                group.create_task(self._keep(CONNECTION + place, topic), name=f"signals {topic}")

    def _note(self, note: dict[str, Any]) -> None:
        recv = self.clock()
        if self.tap is not None:
            self.tap.note(recv, note)
        self._messages += 1
        self.normaliser.take(Message(0, self._messages, 0, recv, note, b"", own=True))
        self.normaliser.log.drain()

    async def _keep(self, number: int, topic: str) -> None:
        state, losses = self._state[topic], 0
        while True:
            why = "the venue closed the connection"
            try:
                await self._connected(number, topic)
            except (OSError, TimeoutError, WebSocketException) as error:
                why = f"{type(error).__name__}: {error}"
            except _Silent:
                why = f"no new price for {self.patience.silent:g} s"
                self.counts["INTEL_FEED_SILENT"] += 1
            losses = 1 if state["up"] else losses + 1
            state |= {"up": False, "since": self.clock(), "error": why}
            self.counts["connections_lost"] += 1
            self._note({"event_type": "disconnected", "connection": number, "topic": topic, "why": why[:240]})
            limit = min(self.patience.backoff * 2.0 ** min(losses, 20), self.patience.longest)
            await asyncio.sleep(random.random() * limit)

    async def _connected(self, number: int, topic: str) -> None:
        state = self._state[topic]
        options: dict[str, Any] = {"proxy": None} if self.env.name == "local" else {}
        async with connect(
            self.env.rtds,
            open_timeout=self.patience.connect,
            close_timeout=1.0,
            ping_interval=None,
            compression=None,
            **options,
        ) as socket:
            state["epoch"] += 1
            self._note({"event_type": "connected", "connection": number, "topic": topic, "epoch": state["epoch"]})
            wanted = {"action": "subscribe", "subscriptions": [{"topic": topic, "type": "update"}]}
            await socket.send(orjson.dumps(wanted).decode())
            pings = asyncio.create_task(self._ping(socket))
            try:
                heard = time.monotonic()
                while True:
                    left = self.patience.silent - (time.monotonic() - heard)
                    try:
                        async with asyncio.timeout(max(left, 0.001)):
                            raw = await socket.recv(decode=False)
                    except TimeoutError:
                        raise _Silent from None
                    if left <= 0:
                        raise _Silent  # it says much, but no price
                    if self._frame(number, raw):
                        heard = time.monotonic()
                        if not state["up"]:
                            state |= {"up": True, "since": self.clock(), "error": ""}
                        state["last"] = self.clock()
            finally:
                pings.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pings

    async def _ping(self, socket: ClientConnection) -> None:
        with contextlib.suppress(WebSocketException):
            while True:
                await asyncio.sleep(self.patience.ping)
                await socket.send("PING")

    def _frame(self, number: int, raw: bytes) -> bool:
        """Take in a frame; whether it told a wanted price, old or new."""
        recv, log = self.clock(), self.normaliser.log
        try:
            whole = orjson.loads(raw) if raw.strip() else ""
            good = True
        except orjson.JSONDecodeError:
            whole, good = "", raw.upper() in (b"PONG", b"PING")
            self.counts["unreadable"] += not good
        if self.tap is not None:
            self.tap.frame(recv, number, raw, json=bool(whole), source=RTDS)
        try:
            parts = parts_of(whole)
        except ValueError:
            self.counts["unreadable"] += 1
            return False
        self._messages += 1
        priced = False
        for part, frame in enumerate(parts):
            self.normaliser.take(Message(0, self._messages, part, recv, frame, b"", scope=RTDS))
            priced |= self.normaliser.priced
        rows, findings = log.drain()
        for finding in findings:
            self.counts[str(finding.kind)] += 1
        if len(rows):
            self.counts["prices"] += len(rows)
            self.emit(News(rows))
        return priced
