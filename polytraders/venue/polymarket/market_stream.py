"""The venue's market channel as event rows, live.

    stream = MarketStream(env, infos, emit=lambda news: engine.feed(news.rows))
    async with stream:                       # connects and keeps connected, in the background
        await stream.all_up(timeout=20)      # every market's first book is there
        ...

`infos` is the run's market table: `rows["market"]` is a market's place in it. Rows come in batches, `seq` not set,
`ts_recv` ours (never backward), `ts_event` the venue's; they are made by `data.normalise`, the code that imports
recordings, so that what a `tap` records gives the same rows again.

How it is known that a book is right. Messages carry no sequence number, and a socket may answer PING for hours and
say nothing else. So a market is up (FEED_UP) only from a full book on, and goes down (FEED_DOWN) when

- its connection is lost, or not there yet (INTEL_FEED_DISCONNECTED);
- the connection is quiet and the venue's REST books have moved on, or cannot be asked (INTEL_FEED_SILENT);
- the best quotes that messages report, or the levels of the REST book, differ from ours and go on differing
  (INTEL_BOOK_DISAGREES);
- a message that concerns it cannot be read (INTEL_FRAME_UNREADABLE), or a book does not come (INTEL_SNAPSHOT_MISSING).

It is then subscribed anew, and comes up with the next full book: BOOK_CLEAR with Flag.GAP, LEVEL rows, FEED_UP.

Invariants
    F1  a market without a whole book, or whose book is in doubt for longer than `Patience.disagree`, is down
    F2  every connection, loss and reason is a note to the tap, in its place among the frames
    F3  a REST book is never applied, only compared: it may be older than what the socket has said
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from polytraders import __version__
from polytraders.data.markets import Market, MarketInfo, Registry, UnknownToken
from polytraders.data.normalise import Normaliser
from polytraders.data.quality import Finding, Problem
from polytraders.data.record import Tap
from polytraders.data.sources import Message, parts_of
from polytraders.units import NS_PER_S
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.reader import Reader
from polytraders.venue.port import Emit, News
from polytraders.venue.refusal import Refused

LARGEST_FRAME = 64 << 20
"""Bytes of a frame: the first one holds the books of a whole shard."""
WAITING_FRAMES = 4_096
"""Frames that may wait for us before the socket is held back."""
IN_A_ROW = 64
"""Frames that are read before others get their turn."""
BOOKS_AT_ONCE = 50
"""Books asked for in one REST question."""
MISSES = 3
"""Books that may fail to come, or to fit their hash, until something else is to blame."""
PERSISTENT = 3
"""Compares in a row in which the same levels must differ to be wrong and not merely late."""
TICK = 0.05
"""s between two looks at the clock."""
BOOK_KINDS = frozenset({"book", "price_change", "tick_size_change", "none"})
BOOK_FIELDS = frozenset({"bids", "asks", "price_changes", "changes", "new_tick_size"})
"""Messages without which our book may be wrong: by their type, or by what they carry under a type nobody knows."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, s. assets: tokens on one connection."""

    ping: float = 10.0
    quiet: float = 5.0  # without data, until the REST books are compared out of turn
    silent: float = 30.0  # without data and without proof by REST, until the connection is made anew
    snapshot: float = 10.0  # for a book after it was asked for
    disagree: float = 0.5  # in which best quotes may differ
    compare: float = 15.0  # between two compares with REST
    doubt: float = 0.3  # until a compare that found a difference is repeated
    connect: float = 10.0
    backoff: float = 0.25  # first upper limit of the pause before connecting again, doubled each time
    longest: float = 30.0  # last one
    assets: int = 200


@dataclass(eq=False)
class _Followed:
    """A market and what is known of the trust in its book. differs: levels on which REST disagreed the last times."""

    market: Market
    info: MarketInfo
    due: float = 0.0  # monotonic: subscribe again from then on, 0 = no need
    until: float = 0.0  # monotonic: its book is awaited until then, 0 = it is not
    losses: int = 0  # in a row
    misses: int = 0  # of its books' hashes
    up_at: float = 0.0
    differs: frozenset[tuple[int, int, int, int]] = frozenset()
    times: int = 0
    absent: int = 0


@dataclass(eq=False)
class _Shard:
    """One connection. heard: monotonic time of its last data; proven: when REST last equalled all its books."""

    number: int
    followed: list[_Followed] = field(default_factory=list)
    absent: set[_Followed] = field(default_factory=set)  # those that are down
    socket: ClientConnection | None = None
    epoch: int = 0
    since: int = 0
    heard: float = 0.0
    heard_ns: int = 0
    proven: float = 0.0
    compare_at: float = 0.0
    asked: float = 0.0
    comparing: bool = False
    losses: int = 0
    frames: int = 0
    error: str = ""
    kicked: tuple[str, str] | None = None

    def tokens(self) -> list[str]:
        return [token for one in self.followed for token in (one.info.yes_token, one.info.no_token)]


class MarketStream:
    """Keeps the books of a run's markets. counts: what was refused or lost, by kind."""

    def __init__(
        self,
        env: Environment,
        markets: Sequence[MarketInfo],
        emit: Emit,
        *,
        tap: Tap | None = None,
        patience: Patience | None = None,
        clock: Callable[[], int] = time.time_ns,
    ):
        self.env, self.emit, self.tap, self.clock = env, emit, tap, clock
        self.patience = patience or Patience()
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, str] = {}
        self.normaliser = Normaliser(Registry([]), gap=2**62, keep=False)
        self._followed: list[_Followed] = []
        self._by_condition: dict[str, _Followed] = {}
        self._shard_of: dict[str, _Shard] = {}
        self._shards: list[_Shard] = []
        self._at_start = tuple(markets)
        self._notes: list[dict[str, Any]] = []
        self._read = Reader(tries=1, timeout=5.0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._runner: asyncio.Task[None] | None = None
        self._flushing = False
        self._failure: BaseException | None = None
        self._messages = 0
        self._changed = asyncio.Event()

    # -- from outside --------------------------------------------------------------------------------

    async def __aenter__(self) -> MarketStream:
        self._runner = asyncio.create_task(self.run(), name="market stream")
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
        await self._read.close()
        if self._failure is not None:
            raise self._failure

    async def run(self) -> None:
        """Follow the markets until cancelled. Whatever ends it leaves every market down."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._begin()
                await self._watch()
        finally:
            self._group = None
            for task in self._tasks:
                task.cancel()
            self._down(self._followed, "INTEL_FEED_DISCONNECTED", "the stream was stopped")
            self._flush()
            await self._read.close()

    def _begin(self) -> None:
        self._note({"event_type": "recorder", "polytraders": __version__, "host": self.env.market_ws})
        self.follow(self._at_start)

    def hear(self, raw: bytes) -> None:
        """Take in a frame that came over no connection of ours (a recording's), as if it had just come; its rows are
        emitted before this returns. For a stream that does not `run`: nobody subscribes anew to a book in doubt."""
        if not self._shards:
            self._begin()
        self._frame(self._shards[0], raw)
        for shard in self._shards[1:]:
            if shard.absent:
                self._settle(shard)
        self._flush()
        self.check()

    def follow(self, markets: Iterable[MarketInfo]) -> None:
        """Follow more markets; they take the next places of the table. Call it on the loop's thread."""
        fresh = [info for info in markets if info.condition_id not in self._by_condition]
        if not fresh:
            return
        records = [asdict(info) | {"assumed": list(info.assumed)} for info in fresh]
        self._note({"event_type": "markets", "markets": records})
        for info in fresh:
            one = _Followed(self.normaliser.registry.markets[info.condition_id], info)
            self._followed.append(one)
            self._by_condition[info.condition_id] = one
            self._place(one)
        self._down([self._by_condition[i.condition_id] for i in fresh], "INTEL_FEED_DISCONNECTED", "not there yet")

    def up(self, market: int | None = None) -> bool:
        """Whether a market (by its place; all of them if None) has a book that can be trusted."""
        chosen = self._followed if market is None else [self._followed[market]]
        return all(not one.market.down for one in chosen)

    async def all_up(self, timeout: float) -> bool:
        """Wait until every open market is up; False when it takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not all(one.market.resolved or not one.market.down for one in self._followed):
                    self.check()
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    def book(self, market: int) -> tuple[dict[int, int], dict[int, int]]:
        """(bids, asks) of a market in YES space, pips -> micro-shares: copies."""
        found = self._followed[market].market
        return dict(found.bids), dict(found.asks)

    def health(self) -> dict[str, Any]:
        """State of each connection: up, since and last message (ns), epoch, markets up, last error."""
        return {
            f"market stream {shard.number}": {
                "up": shard.socket is not None and all(not one.market.down for one in shard.followed),
                "connected": shard.socket is not None,
                "since": shard.since,
                "last": shard.heard_ns,
                "epoch": shard.epoch,
                "frames": shard.frames,
                "markets": len(shard.followed),
                "markets_up": sum(not one.market.down for one in shard.followed),
                "error": shard.error,
            }
            for shard in self._shards
        }

    # -- rows ----------------------------------------------------------------------------------------

    def _take(self, message: Message) -> list[Finding]:
        log = self.normaliser.log
        self.normaliser.take(message)
        if not self._flushing and self._group is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)
        if not log.findings:
            return []
        findings, log.findings = log.findings, []
        for finding in findings:
            self.counts[str(finding.kind)] += 1
            self.samples.setdefault(str(finding.kind), finding.detail)
        return findings

    def _flush(self) -> None:
        self._flushing = False
        rows, _ = self.normaliser.log.drain()
        notes, self._notes = self._notes, []
        if not len(rows) and not notes:
            return
        try:
            self.emit(News(rows, note={"feed": notes} if notes else {}))
        except Exception as error:  # noqa: BLE001  whatever it is, the stream ends with it
            self._failure = self._failure or error

    def check(self) -> None:
        """Raise what made the stream fail, if it did."""
        if self._failure is not None:
            raise self._failure
        if self._runner is not None and self._runner.done():
            self._runner.result()

    def _note(self, note: dict[str, Any], loud: bool = False) -> None:
        """Our own word, in its place among the frames. loud: whoever hears the rows hears it too."""
        recv = self.clock()
        if self.tap is not None:
            self.tap.note(recv, note)
        self._messages += 1
        self._take(Message(0, self._messages, 0, recv, note, b"", own=True))
        if loud:
            self._notes.append(note)

    def _down(self, lost: Iterable[_Followed], code: str, why: str) -> None:
        """Say that these markets are down. They come up with their next full book."""
        fresh = [one for one in lost if not one.market.down and not one.market.resolved]
        if not fresh:
            return
        self.counts[code] += len(fresh)
        self.samples.setdefault(code, why)
        named = [one.info.condition_id for one in fresh]
        self._notes.append({"event_type": "feed_down", "markets": named, "code": code, "why": why[:240]})
        now = time.monotonic()
        for one, condition in zip(fresh, named, strict=True):  # a message each: their rows end with Flag.LAST
            self._note({"event_type": "feed_down", "markets": [condition], "code": code, "why": why[:240]})
            self._shard_of[one.info.condition_id].absent.add(one)
            one.differs, one.times, one.absent = frozenset(), 0, 0
            one.losses = one.losses + 1 if one.up_at and now - one.up_at < 60 else 1
        self._changed.set()

    def _lose(self, lost: Iterable[_Followed], code: str, why: str) -> None:
        """These books are wrong though the connection stands: down, and subscribed anew."""
        lost = list(lost)
        self._down(lost, code, why)
        now = time.monotonic()
        for one in lost:
            if not one.due and not one.until and not one.market.resolved:
                one.due = now + (0.0 if one.losses <= 1 else self._pause(one.losses))

    def _pause(self, losses: int) -> float:
        return random.random() * min(self.patience.backoff * 2.0 ** min(losses, 20), self.patience.longest)

    # -- connections -----------------------------------------------------------------------------------

    def _place(self, one: _Followed) -> None:
        """Put a market on a connection that has room for it, or on a new one."""
        room = self.patience.assets // 2
        shard = next((shard for shard in self._shards if len(shard.followed) < room), None)
        if shard is None:
            shard = _Shard(len(self._shards))
            self._shards.append(shard)
            if self._group is not None:
                self._group.create_task(self._keep(shard), name=f"market stream {shard.number}")
        elif shard.socket is not None:
            one.due = time.monotonic()
        shard.followed.append(one)
        self._shard_of[one.info.condition_id] = shard

    async def _keep(self, shard: _Shard) -> None:
        """Connect, read, and connect again."""
        while True:
            code, why = "INTEL_FEED_DISCONNECTED", "the venue closed the connection"
            try:
                await self._connected(shard)
            except (OSError, TimeoutError, WebSocketException) as error:
                why = f"{type(error).__name__}: {error}"
            if shard.kicked:
                (code, why), shard.kicked = shard.kicked, None
            shard.socket, shard.error, shard.since = None, why, self.clock()
            for one in shard.followed:
                one.due = one.until = 0.0
            self._down(shard.followed, code, why)
            self.counts["connections_lost"] += 1
            shard.losses += 1
            await asyncio.sleep(self._pause(shard.losses))

    async def _connected(self, shard: _Shard) -> None:
        options: dict[str, Any] = {"proxy": None} if self.env.name == "local" else {}
        async with connect(
            self.env.market_ws,
            open_timeout=self.patience.connect,
            close_timeout=1.0,
            ping_interval=None,  # a pong proves nothing: see the data
            compression=None,
            max_size=LARGEST_FRAME,
            max_queue=WAITING_FRAMES,
            **options,
        ) as socket:
            now = time.monotonic()
            shard.epoch += 1
            shard.since, shard.heard, shard.proven = self.clock(), now, now
            shard.compare_at = now + self.patience.compare * (0.5 + random.random() / 2)
            first = {"type": "market", "assets_ids": shard.tokens(), "custom_feature_enabled": True}
            await socket.send(orjson.dumps(first).decode())
            note = {"connection": shard.number, "epoch": shard.epoch, "assets": len(first["assets_ids"])}
            self._note({"event_type": "connected", **note}, loud=True)
            for one in shard.followed:
                one.due, one.until = 0.0, now + self.patience.snapshot
            shard.socket = socket
            pings = asyncio.create_task(self._ping(socket))
            try:
                await self._listen(shard, socket)
            finally:
                shard.socket = None
                pings.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pings

    async def _ping(self, socket: ClientConnection) -> None:
        with contextlib.suppress(WebSocketException):
            while True:
                await asyncio.sleep(self.patience.ping)
                await socket.send("PING")

    async def _listen(self, shard: _Shard, socket: ClientConnection) -> None:
        row = 0
        while True:
            raw = await socket.recv(decode=False)
            self._frame(shard, raw)
            row += 1
            if row % IN_A_ROW == 0:
                await asyncio.sleep(0)

    def _kick(self, shard: _Shard, code: str, why: str) -> None:
        """Drop a connection that cannot be trusted; `_keep` makes a new one."""
        if shard.socket is not None and shard.kicked is None:
            shard.kicked = (code, why)
            self._down(shard.followed, code, why)
            shard.socket.transport.abort()

    # -- frames --------------------------------------------------------------------------------------

    def _frame(self, shard: _Shard, raw: bytes) -> None:
        """Everything that one frame says."""
        if shard.kicked:
            return  # what comes after the loss is neither applied nor recorded
        recv, pong, good = self.clock(), raw == b"PONG", False
        try:
            whole = "" if pong else orjson.loads(raw)
            good = not pong
            parts = parts_of(whole)
            if self.tap is not None:
                self.tap.frame(recv, shard.number, raw, json=good)
            if pong:
                return
            shard.frames += 1
        except (ValueError, TypeError, RecursionError) as error:
            if self.tap is not None:
                self.tap.frame(recv, shard.number, raw, json=good)
            self.counts["not_json"] += 1
            self.samples.setdefault("not_json", f"{error}: {raw[:80]!r}")
            self._kick(shard, "INTEL_FRAME_UNREADABLE", f"{error}: {raw[:80]!r}")
            return
        shard.heard, shard.heard_ns = time.monotonic(), recv
        self._messages += 1
        for part, frame in enumerate(parts):
            findings = self._take(Message(0, self._messages, part, recv, frame, b""))
            if findings:
                self._judge(shard, frame, findings)
        if shard.absent:
            self._settle(shard)

    def _settle(self, shard: _Shard) -> None:
        """Note which awaited books have come: a market that was down is up."""
        for one in [one for one in shard.absent if not one.market.down]:
            shard.absent.discard(one)
            one.due = one.until = 0.0
            one.up_at = time.monotonic()
            shard.losses = 0
            self._changed.set()

    def _judge(self, shard: _Shard, frame: dict[str, Any], findings: list[Finding]) -> None:
        """What findings about a message mean for the trust in the books."""
        for finding in findings:
            if finding.kind in (Problem.MALFORMED, Problem.UNKNOWN_TOKEN, Problem.UNKNOWN_TYPE):
                if str(frame.get("event_type") or "none") not in BOOK_KINDS and BOOK_FIELDS.isdisjoint(frame):
                    continue
                lost = self._mentioned(frame)
                if not lost and finding.kind is Problem.UNKNOWN_TOKEN:
                    continue  # of a market that is not followed
                self._lose(lost or shard.followed, "INTEL_FRAME_UNREADABLE", f"{finding.kind}: {finding.detail}")
            elif finding.kind is Problem.HASH_MISMATCH and finding.market >= 0:
                one = self._followed[finding.market]
                one.misses += 1
                if one.misses <= MISSES:  # more often than that it is the recipe that does not fit, not the book
                    self._lose([one], "INTEL_BOOK_DISAGREES", finding.detail)

    def _mentioned(self, frame: dict[str, Any]) -> list[_Followed]:
        """Markets that a message names, by condition or by token, wherever it names them."""
        tokens, found = self.normaliser.registry.tokens, {}
        entries = [frame]
        for name in ("price_changes", "changes"):
            listed = frame.get(name)
            entries += [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        for entry in entries:
            named = entry.get("market")
            if isinstance(named, str) and named in self._by_condition:
                found[named] = self._by_condition[named]
            token = entry.get("asset_id")
            if isinstance(token, str) and token in tokens:
                condition = tokens[token][0].condition
                found[condition] = self._by_condition[condition]
        return list(found.values())

    # -- the watch -------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self._failure is not None:
                raise self._failure
            for shard in self._shards:
                if shard.socket is not None and not shard.kicked:
                    self._look(shard)

    def _look(self, shard: _Shard) -> None:
        """Everything about a connection that only time tells."""
        if all(one.market.resolved for one in shard.followed):
            return  # nothing more to come
        now, patience = time.monotonic(), self.patience
        oldest = self.clock() - int(patience.disagree * NS_PER_S)
        doubtful = [one for one in shard.followed if 0 < one.market.doubt < oldest and not one.market.down]
        if doubtful:
            self._lose(doubtful, "INTEL_BOOK_DISAGREES", "reported best quotes go on differing from the book's")
        if due := [one for one in shard.absent if one.due and one.due <= now]:
            self._start(self._subscribe(shard, due))
        late = [one for one in shard.absent if one.until and one.until < now and not one.market.resolved]
        if late and len(late) == sum(not one.market.resolved for one in shard.followed):
            self._kick(shard, "INTEL_SNAPSHOT_MISSING", "no book came")
            return
        for one in late:
            self.counts["INTEL_SNAPSHOT_MISSING"] += 1
            one.losses += 1
            one.until, one.due = 0.0, now + self._pause(one.losses)
            if one.losses > MISSES:
                self._start(self._missing(shard, one))
        quiet = now - max(shard.heard, shard.proven)
        if quiet > patience.silent:
            self._kick(shard, "INTEL_FEED_SILENT", f"no data for {now - shard.heard:.1f} s, and no proof by REST")
        elif not shard.comparing and (now >= shard.compare_at or quiet > patience.quiet < now - shard.asked):
            shard.comparing, shard.asked = True, now
            self._start(self._compare(shard))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _subscribe(self, shard: _Shard, lost: list[_Followed]) -> None:
        """Ask for the books of some markets again: leave them, and subscribe to them."""
        now = time.monotonic()
        tokens = []
        for one in lost:
            one.due, one.until = 0.0, now + self.patience.snapshot
            tokens += [one.info.yes_token, one.info.no_token]
        socket = shard.socket
        if socket is None:
            return
        with contextlib.suppress(WebSocketException, OSError):  # the reader hears of it and connects again
            await socket.send(orjson.dumps({"operation": "unsubscribe", "assets_ids": tokens}).decode())
            again = {"operation": "subscribe", "assets_ids": tokens, "custom_feature_enabled": True}
            await socket.send(orjson.dumps(again).decode())

    async def _missing(self, shard: _Shard, one: _Followed) -> None:
        """A book that does not come, however often it is asked for: if the venue has it, the connection is to blame."""
        epoch = shard.epoch
        try:
            told = await self._read.json(f"{self.env.rest}/books", [{"token_id": one.info.yes_token}])
        except Refused as error:
            self.counts[error.code] += 1
            return
        if told and isinstance(told, list) and one.market.down and shard.epoch == epoch:
            self._kick(
                shard, "INTEL_SNAPSHOT_MISSING", f"the book of {one.info.slug} does not come over this connection"
            )

    # -- compare with REST -------------------------------------------------------------------------------

    async def _compare(self, shard: _Shard) -> None:
        """Ask for the books over REST and hold ours against them (F3)."""
        began, epoch = time.monotonic(), shard.epoch
        doubtful = proven = False
        try:
            open_ = [one for one in shard.followed if not one.market.down and not one.market.resolved]
            proven = bool(open_)
            for at in range(0, len(open_), BOOKS_AT_ONCE):
                part = open_[at : at + BOOKS_AT_ONCE]
                asked = [{"token_id": one.info.yes_token} for one in part]
                told = await self._read.json(f"{self.env.rest}/books", asked)
                if shard.epoch != epoch or shard.socket is None or shard.kicked:
                    return
                wrong = self._hold_against(shard, part, told)
                doubtful, proven = doubtful or wrong, proven and not wrong
            if proven:
                shard.proven = began
        except Refused as error:
            self.counts[error.code] += 1
            self.samples.setdefault(error.code, str(error))
        finally:
            shard.comparing = False
            shard.compare_at = time.monotonic() + (self.patience.doubt if doubtful else self.patience.compare)

    def _hold_against(self, shard: _Shard, part: list[_Followed], told: Any) -> bool:
        """Whether any of these books is not the venue's; what is equal is confirmed."""
        books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
        if not isinstance(told, list):
            raise Refused("INTEL_VENUE_UNREADABLE", "the books are no list", where=f"{self.env.rest}/books")
        for frame in told:
            try:
                market, bids, asks = self.normaliser.read_book(frame)
                books[market.condition] = bids, asks
            except (KeyError, ValueError, TypeError, AttributeError, IndexError, UnknownToken) as error:
                self.counts["rest_book_unreadable"] += 1
                self.samples.setdefault("rest_book_unreadable", str(error)[:240])
        equal, wrong = [], False
        for one in part:
            if one.market.down or one.market.resolved:
                continue
            book = books.get(one.info.condition_id)
            if book is None:
                one.absent += 1
                wrong = True
                if one.absent >= PERSISTENT:
                    self._lose([one], "INTEL_SNAPSHOT_MISSING", "the venue has no book of it any more")
                continue
            one.absent = 0
            now = _differences((one.market.bids, one.market.asks), book)
            if not now:
                one.differs, one.times = frozenset(), 0
                equal.append(one.info.condition_id)
                continue
            wrong = True
            one.differs = now & one.differs if one.times else now
            one.times = one.times + 1 if one.differs else 0
            if one.times >= PERSISTENT:
                side, price, theirs, ours = min(one.differs)
                why = f"side {side}, {price} pips: the venue has {theirs} micro-shares, we {ours}"
                self.counts["books_wrong"] += 1
                if time.monotonic() - shard.heard > self.patience.quiet:
                    self._kick(shard, "INTEL_FEED_SILENT", f"no data, and {why}")
                    return True
                self._lose([one], "INTEL_BOOK_DISAGREES", why)
        for condition in equal:
            self._note({"event_type": "confirmed", "markets": [condition]})
        self.counts["books_confirmed"] += len(equal)
        return wrong


def _differences(
    ours: tuple[dict[int, int], dict[int, int]], theirs: tuple[dict[int, int], dict[int, int]]
) -> frozenset[tuple[int, int, int, int]]:
    """(side, price, their size, our size) of each level that differs."""
    return frozenset(
        (side, price, other.get(price, 0), mine.get(price, 0))
        for side, (mine, other) in enumerate(zip(ours, theirs, strict=True))
        for price in {price for price, _ in mine.items() ^ other.items()}
    )
