"""Recording a venue's market data: discovery, streams and recorder as one thing that runs until it is told to stop.

    done = await capture(env, Wanted(slugs=("some-market",)), folder, stop=event)

Markets that appear later and fit are followed too, when `again` says how often to look. The folder then holds the
hourly files, and `markets.json`: what the venue's own lists said of each market, verbatim.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from polytraders import __version__
from polytraders.data.record import Recorder
from polytraders.units import iso_utc
from polytraders.venue.polymarket import discovery, rules
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.market_stream import MarketStream, Patience
from polytraders.venue.polymarket.reader import Reader
from polytraders.venue.polymarket.signals import SignalStream
from polytraders.venue.port import News
from polytraders.venue.refusal import Refused

MARKETS = "markets.json"


@dataclass(frozen=True)
class Captured:
    """What a recording came to. counts: what was refused or lost, by kind."""

    folder: str
    files: tuple[str, ...]
    markets: int
    lines: int
    frames: int
    rows: int
    bytes: int
    seconds: float
    counts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"files": list(self.files)}


async def capture(
    env: Environment,
    wanted: discovery.Wanted,
    folder: Path,
    *,
    stop: asyncio.Event,
    signals: Mapping[str, int] | None = None,
    again: float = 0.0,
    patience: Patience | None = None,
    say: Callable[[str], None] = lambda text: None,
    hear: Callable[[np.ndarray], None] | None = None,
    segment_s: int = 3_600,
) -> Captured:
    """Record until `stop` is set. again: s between looks for new markets, 0 = never. hear: is given the rows.

    Raises Refused when the markets cannot be found, DataError when the disk does not take what comes.
    """
    began, rows = time.monotonic(), 0

    def emit(news: News) -> None:
        nonlocal rows
        rows += len(news.rows)
        if hear is not None and len(news.rows):
            hear(news.rows)
        for note in news.note.get("feed", ()):
            say(_sentence(note))

    async with Reader() as read:
        counts = discovery.Counts()
        found, ruled = await _look(env, wanted, read, counts)
        if not ruled:
            raise Refused("EXEC_MARKET_UNKNOWN", "no market fits what was asked for", where=env.gamma)
        say(f"{len(ruled)} markets")
        about = {
            "polytraders": __version__,
            "venue": env.name,
            "host": env.market_ws,
            "rest": env.rest,
            "wanted": asdict(wanted),
            "started": iso_utc(time.time_ns()),
        }
        with Recorder(folder, about, segment_s=segment_s) as recorder:
            records = {one.facts.condition: one.record for one in found}
            _write_markets(folder, records)
            stream = MarketStream(env, [one.info for one in ruled], emit, tap=recorder, patience=patience)
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(stream)
                prices = None
                if signals:
                    prices = SignalStream(env, signals, emit, tap=recorder)
                    await stack.enter_async_context(prices)
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(again or 1.0):
                            await stop.wait()
                    stream.check()
                    if again and not stop.is_set():
                        await _grow(env, wanted, read, counts, stream, records, folder, say)
            conditions = len(records)
        told = stream.counts + counts.kinds + (prices.counts if prices else type(counts.kinds)())
    return Captured(
        folder=str(folder),
        files=tuple(path.name for path in recorder.files),
        markets=conditions,
        lines=recorder.lines,
        frames=recorder.frames,
        rows=rows,
        bytes=sum(path.stat().st_size for path in recorder.files),
        seconds=time.monotonic() - began,
        counts=dict(sorted(told.items())),
    )


async def _look(
    env: Environment, wanted: discovery.Wanted, read: Reader, counts: discovery.Counts
) -> tuple[list[discovery.Found], list[rules.Ruled]]:
    """Markets that can be recorded, with their rules; the others are counted."""
    found = await discovery.find(env, wanted, read, counts)
    good: list[discovery.Found] = []
    for one in found:
        if one.refused:
            counts.note(one.refused, f"{one.facts.slug}: {one.why}")
        else:
            good.append(one)
    return good, list(await rules.load(env, good, read, now=time.time_ns()))


async def _grow(
    env: Environment,
    wanted: discovery.Wanted,
    read: Reader,
    counts: discovery.Counts,
    stream: MarketStream,
    records: dict[str, Any],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Follow what is new; a look that fails is counted, and the recording goes on."""
    try:
        found, ruled = await _look(env, wanted, read, counts)
    except Refused as error:
        counts.note(error.code, str(error))
        return
    fresh = [one.info for one in ruled if one.info.condition_id not in records]
    if fresh:
        records |= {one.facts.condition: one.record for one in found}
        _write_markets(folder, records)
        stream.follow(fresh)
        say(f"{len(fresh)} more markets: {', '.join(info.slug for info in fresh[:5])}")


def _write_markets(folder: Path, records: dict[str, Any]) -> None:
    """The lists' own words, whole or not at all; those of an earlier part of the recording are kept."""
    path = folder / MARKETS
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        records = {record["conditionId"]: record for record in orjson.loads(path.read_bytes())} | records
    draft = path.with_suffix(".draft")
    draft.write_bytes(orjson.dumps(list(records.values()), option=orjson.OPT_INDENT_2))
    draft.replace(path)


def _sentence(note: dict[str, Any]) -> str:
    kind = note.get("event_type")
    if kind == "feed_down":
        return f"{len(note['markets'])} markets down: {note['code']}: {note['why']}"
    return f"connection {note.get('connection')}: {kind}, the {note.get('epoch')}. time"
