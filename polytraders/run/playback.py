"""A recording's raw frames as a feed of the runner, in the recording's own time and as fast as the step takes them.

The frames go the way that frames of the socket go: `MarketStream` reads, judges and normalises them, the runner stamps
and logs them. Only the clock is the recording's. So a day passes in minutes, and whatever a day does to a run (rows
that no contract knows, memory that grows, events that get lost) shows.

    clock = Clock()
    runner = Runner(..., feeds={"market data": Playback(files, infos, clock)}, clock=clock,
                    options=Options(timers=False))

Invariants
    Y1  a frame is handed over only when nearly all before it have been decided and written: nothing piles up
    Y2  the clock never falls, and never runs ahead of the frame that is being read
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from polytraders.venue.polymarket.hosts import Environment

if TYPE_CHECKING:
    from polytraders.data.markets import MarketInfo
    from polytraders.run.live import Runner
    from polytraders.venue.polymarket.market_stream import MarketStream

MOST_WAITING = 256
"""Frames and batches that may wait for the step and the disk before no more are read."""
NOWHERE = Environment("playback", rest="", market_ws="", user_ws="", gamma="", data="")
"""Hosts of a stream that connects to none."""


class Clock:
    """ns: the time of the frame that was read last."""

    def __init__(self, now: int = 0):
        self.now = now

    def __call__(self) -> int:
        return self.now


def frames(files: Sequence[Path]) -> Iterator[tuple[int, bytes]]:
    """(receive time in ns, bytes) of each frame of the market channel in raw recordings, in their order.

    Raises DataError for a line that no recorder writes.
    """
    from polytraders.data.sources import read_lines, unwrap
    from polytraders.errors import DataError

    for path in files:
        for number, line in read_lines(path):
            try:
                envelope = unwrap(orjson.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(str(error), where=f"{path}:{number}", rule="one JSON object a line") from None
            if envelope is None:
                raise DataError("no known form of a recording", where=f"{path}:{number}")
            if not envelope.own and not envelope.scope and envelope.recv:
                yield envelope.recv, orjson.dumps(envelope.frame)


class Playback:
    """A feed: plays the files once, then calls `done` and waits to be cancelled.

    heard: frames handed over. stream: the parser, for its counts of what it refused.
    """

    def __init__(
        self, files: Sequence[Path], infos: Sequence[MarketInfo], clock: Clock,
        done: Callable[[], Any] | None = None, passed: Callable[[int], None] | None = None,
    ):  # fmt: skip
        """passed: called with the time of each frame once it was taken in."""
        self.files, self.infos, self.clock, self.done, self.passed = list(files), list(infos), clock, done, passed
        self.heard = 0
        self.rows = 0
        self.stream: MarketStream | None = None

    async def __call__(self, runner: Runner) -> None:
        from polytraders.venue.polymarket.market_stream import MarketStream

        def emit(news: Any) -> None:
            self.rows += len(news.rows)
            runner.put("market data", news.rows, news.keys, news.note)

        self.stream = stream = MarketStream(NOWHERE, self.infos, emit, clock=runner.now)
        try:
            for at, raw in frames(self.files):
                self.clock.now = max(self.clock.now, at)
                stream.hear(raw)
                self.heard += 1
                while runner.waiting > MOST_WAITING:
                    await asyncio.sleep(0)
                if self.passed is not None:
                    self.passed(at)
            while runner.waiting:
                await asyncio.sleep(0.001)
            if self.done is not None:
                self.done()
            await asyncio.Event().wait()
        finally:
            await stream.stop()

    def health(self) -> dict[str, Any]:
        return {"playback": {"up": self.stream is not None, "frames": self.heard, "last": self.clock.now}}
