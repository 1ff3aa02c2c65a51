"""What an import writes down: event rows, the message table, findings, and the one clock of the stream.

Invariants
    D4  a message's rows stand together, the last carries Flag.LAST; ts_recv never runs backward
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any

import numpy as np

from polytraders.data.quality import Finding, Problem
from polytraders.data.sources import Message
from polytraders.rows import EVENT, Flag
from polytraders.units import NS_PER_S, ONE

BOOK_COLUMNS = ("best_bid", "best_ask", "bid_size", "ask_size", "bid_value", "ask_value")
"""What a message itself says of its market's book, in YES space: pips, micro-shares, pips x micro-shares.
Null = it does not say."""
MESSAGE_COLUMNS = ("file", "line", "part", "sha256", "ts_recv", "ts_event", "kind", "market", *BOOK_COLUMNS)

_FIELDS = ("ts_recv", "ts_event", "price", "size", "aux", "market", "ref", "kind", "side", "flags")
_WIDTH = len(_FIELDS)


class Journal:
    """Grows message by message; `event`, `ref` and `now` are those of the message being applied.

    gap: ns of silence that count as one. count: rows so far. ref: number of the message, -1 = none yet.
    keep: whether the message table is kept; who lives with the stream needs none.
    told: files whose recorder tells of every gap itself, so that silence in them means nothing.
    """

    def __init__(self, gap: int, keep: bool = True):
        self.gap, self.keep = gap, keep
        self.messages: dict[str, list[Any]] = {name: [] for name in MESSAGE_COLUMNS}
        self.findings: list[Finding] = []
        self.kinds: Counter[str] = Counter()
        self.count = 0
        self.now = self.event = 0
        self.ref = -1
        self._rows = array("q")  # flat: ten numbers a row
        self._columns = [self.messages[name] for name in MESSAGE_COLUMNS]
        self._unsaid = (None,) * len(BOOK_COLUMNS)
        self._at = (0, 0)
        self._heard: dict[int, int] = {}
        self._drained = 0
        self.told: set[int] = set()

    def place(self, file: int, line: int) -> None:
        """From here on findings are about this line, and about no message yet."""
        self._at, self.ref = (file, line), -1

    def note(self, message: Message, kind: str, recv: int, event: int) -> None:
        """Enter a message into the table."""
        self.place(message.file, message.line)
        self.ref, self.event = self._drained + len(self._columns[0]), event
        self.kinds[kind] += 1
        if not self.keep:
            self.ref = self._drained
            self._drained += 1
            return
        head = (message.file, message.line, message.part, message.sha256, recv, event, kind, -1)
        for column, value in zip(self._columns, head + self._unsaid, strict=True):
            column.append(value)

    def arrive(self, file: int, recv: int) -> int:
        """Move the clock to a receive time; returns the ns of silence when they are a gap, else 0."""
        heard, before = self._heard.get(file, self.now), self.now
        self.now = max(before, recv)
        self._heard[file] = max(heard, recv)
        if recv < before:
            held = before - recv
            self.find(Problem.RECEIVE_TIME_BACKWARD, f"{held / 1e6:.3f} ms before the previous one", value=held)
        silence = recv - heard
        if not heard or silence <= self.gap or file in self.told:
            return 0
        self.find(Problem.GAP, f"no message for {silence / NS_PER_S:.3f} s", value=silence)
        return silence

    def find(self, kind: Problem, detail: str, market: int = -1, value: int = 0) -> None:
        """Enter a finding about the message or line at hand."""
        self.findings.append(Finding(kind, *self._at, market, self.ref, self.now, value, detail))

    def row(
        self, kind: int, market: int, price: int = 0, size: int = 0, side: int = 0, flags: int = 0, aux: int = 0
    ) -> None:
        """Add an event row of the message at hand."""
        self._rows.extend((self.now, self.event, price, size, aux, market, self.ref, kind, side, flags))
        self.count += 1

    def flag(self, row: int, flag: Flag) -> None:
        """Set a flag of a row by its number; -1 = the last."""
        self._rows[(row % self.count + 1) * _WIDTH - 1] |= flag

    def cut(self, count: int) -> None:
        """Take back the rows after the first `count`."""
        del self._rows[count * _WIDTH :]
        self.count = count

    def say_market(self, market: int) -> None:
        """The message at hand is about this market (the first, if about several)."""
        if self.keep and self.messages["market"][-1] < 0:
            self.messages["market"][-1] = market

    def say_quotes(self, bid: int, ask: int) -> None:
        """The message at hand reports these best prices; 0 and 10 000 = no such side."""
        if self.keep:
            self.messages["best_bid"][-1], self.messages["best_ask"][-1] = bid, ask

    def say_book(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        """The message at hand is this full book: keep enough of it to check the rows against later."""
        if not self.keep:
            return
        columns = self.messages
        self.say_quotes(max(bids, default=0), min(asks, default=ONE))
        columns["bid_size"][-1], columns["ask_size"][-1] = sum(bids.values()), sum(asks.values())
        columns["bid_value"][-1] = sum(map(int.__mul__, bids, bids.values()))
        columns["ask_value"][-1] = sum(map(int.__mul__, asks, asks.values()))

    def drain(self) -> tuple[np.ndarray, list[Finding]]:
        """Rows and findings since the last time, and forget them and their messages: for who lives with the stream."""
        events, findings = self.events(), self.findings
        self._drained += len(self._columns[0])
        self._rows, self.count, self.findings = array("q"), 0, []
        for column in self._columns:
            column.clear()
        return events, findings

    def events(self) -> np.ndarray:
        """The rows as EVENT records, `seq` not yet numbered."""
        table = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, _WIDTH)
        events = np.zeros(len(table), dtype=EVENT)
        for column, name in enumerate(_FIELDS):
            events[name] = table[:, column]
        return events
