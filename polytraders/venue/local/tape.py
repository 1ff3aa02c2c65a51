"""What the other participants do: rows of a recording or of a synthetic session, on this machine's clock.

The tape keeps the spacing of its receive times, divided by `speed`; its first row happens when the venue starts. With
speed 0 it stands still after its first message, and moves when it is told to (`skip`): that is how a test drives it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from polytraders.data.catalog import Catalog, Session
from polytraders.data.markets import MarketInfo
from polytraders.engine.matching import FAR
from polytraders.engine.state import records
from polytraders.rows import EVENT, Flag
from polytraders.units import NS_PER_S


@dataclass
class Tape:
    """Rows and where we are in them. `start`: ns, this machine's clock at the first row."""

    rows: np.ndarray  # EVENT[n], ordered by ts_recv
    start: int
    speed: float
    at: int = 0

    def __post_init__(self) -> None:
        """Rows as both kernels and plain Python read them."""
        rows = records(EVENT, len(self.rows))
        rows[:] = self.rows
        self.rows = rows
        self._zero = int(rows[0].ts_recv) if len(rows) else 0
        self._forced = 0

    def next_time(self) -> int:
        """ns of this machine's clock at which the next row happens, FAR = never."""
        if self.at == len(self.rows):
            return FAR
        if self.at < self._forced:
            return 0
        after = int(self.rows[self.at].ts_recv) - self._zero
        if after == 0:
            return self.start
        return self.start + int(after / self.speed) if self.speed else FAR

    def take(self) -> np.ndarray:
        """The rows of the next message: up to and with the one that is its last."""
        first = self.at
        while not self.rows[self.at].flags & Flag.LAST and self.at + 1 < len(self.rows):
            self.at += 1
        self.at += 1
        return self.rows[first : self.at]

    def skip(self, ns: int) -> int:
        """Let what the tape holds for the next `ns` happen at once; returns how many rows that are."""
        if self.at == len(self.rows):
            return 0
        until = int(self.rows[max(self.at - 1, 0)].ts_recv) + ns
        end = int(np.searchsorted(self.rows["ts_recv"], until, side="right"))
        self._forced = max(self.at, end)
        if self.speed:  # what comes after keeps its distance
            self.start -= int(ns / self.speed)
        return self._forced - self.at

    @property
    def left(self) -> int:
        """Rows that are still to come."""
        return len(self.rows) - self.at


def recorded(name: str) -> Session:
    """A recording of the catalog. Raises UsageError when there is none of that name."""
    return Catalog().load(name)


def synthetic(seed: int, minutes: int, markets: int) -> Session:
    """A made-up session; nothing of it stays on the disk."""
    from polytraders.data.importer import import_files
    from polytraders.data.synth import synthesise

    folder = Path(tempfile.mkdtemp(prefix="polytraders-venue-"))
    try:
        paths = synthesise(folder, seed, minutes, markets)
        import_files(paths[:1], "synthetic", root=folder / "catalog")
        return Catalog(folder / "catalog").load("synthetic")
    finally:
        shutil.rmtree(folder)


def on_our_clock(infos: Sequence[MarketInfo], rows: np.ndarray, start: int, speed: float) -> tuple[MarketInfo, ...]:
    """The markets with their ends moved as the tape is: as far after its first row, at its speed.

    A tape that stands still keeps the distances as they were recorded.
    """
    zero = int(rows["ts_recv"][0]) if len(rows) else start
    pace = speed or 1.0
    return tuple(
        replace(info, end_ts=start + int((info.end_ts - zero) / pace) if info.end_ts else start + 86_400 * NS_PER_S)
        for info in infos
    )
