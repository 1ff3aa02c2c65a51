"""The runner's book of orders: what it sent, under which name the venue knows it, and what came of it.

The step knows its orders by number; the venue knows them by digest and their fills by trade id. This book holds both,
so that a process that takes a run over can ask the venue about each of them. It follows from the log alone: from the
rows of actions and events and the names in the batch notes.

Invariants
    O1  an order stays in the book while it may still trade, and as long as one of its fills is not final
    O2  a finished order stays for `KEPT` more, because the venue may list a trade late
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polytraders.rows import ACTION, ActionKind, EventKind, Flag
from polytraders.units import NS_PER_S
from polytraders.venue.port import Known

KEPT = 3_600 * NS_PER_S
"""ns a finished order is remembered."""
LATE = 120 * NS_PER_S
"""ns in which the venue may still tell of a trade of an order that has ended."""
SWEEP_EVERY = 1_024
"""Finished orders between two looks for ones that may be forgotten."""
_ENDS = (EventKind.ORDER_REJECT, EventKind.CANCEL)
_FILLS = (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED, EventKind.FILL_VOIDED)


@dataclass(slots=True)
class Sent:
    """One order."""

    action: np.void  # rows.ACTION of the submit
    key: str
    filled: int = 0
    trades: dict[str, bool] = field(default_factory=dict)  # key of a fill -> it is final
    ended: int = 0  # ns, 0 = it may still trade
    acked: bool = False

    def known(self) -> Known:
        waiting = tuple(key for key, final in self.trades.items() if not final)
        return Known(self.action, self.key, self.filled, tuple(self.trades), waiting, self.acked, bool(self.ended))


class Orders:
    """Orders by their number."""

    def __init__(self) -> None:
        self.by_id: dict[int, Sent] = {}
        self._ended = 0

    def sent(self, actions: np.ndarray, keys: Mapping[int, str]) -> None:
        """Take in ACTION[k]; keys: order number -> digest, of the submits among them."""
        for action in actions:
            if action["kind"] == ActionKind.SUBMIT:
                number = int(action["order_id"])
                self.by_id[number] = Sent(action.copy(), keys.get(number, ""))

    def heard(self, rows: np.ndarray, keys: Iterable[str]) -> None:
        """Take in EVENT[k] with the venue's name of each row ("" where it has none)."""
        for row, key in zip(rows, keys, strict=True):
            order = self.by_id.get(int(row["aux"]))
            kind = row["kind"]
            if order is None:
                continue
            if kind == EventKind.ORDER_ACK:
                order.acked = True
            elif kind in _ENDS:
                self._end(order, int(row["ts_recv"]))
            elif kind in _FILLS:
                final = kind != EventKind.FILL_PROVISIONAL
                if key not in order.trades and kind != EventKind.FILL_VOIDED:
                    order.filled += int(row["size"])
                order.trades[key] = final
                if order.filled >= order.action["size"] and not row["flags"] & Flag.MORE:
                    self._end(order, int(row["ts_recv"]))

    def known(self, now: int) -> list[Known]:
        """Those of which the venue may still have something to tell, for `VenuePort.start`. now: ns."""
        return [
            order.known()
            for order in self.by_id.values()
            if order.key and (not order.ended or now - order.ended < LATE or not all(order.trades.values()))
        ]

    def open(self) -> list[int]:
        """Numbers of the orders that may still trade."""
        return [number for number, order in self.by_id.items() if not order.ended]

    def _end(self, order: Sent, now: int) -> None:
        order.ended = order.ended or now
        self._ended += 1
        if self._ended % SWEEP_EVERY == 0:
            old = [n for n, o in self.by_id.items() if o.ended and now - o.ended > KEPT and all(o.trades.values())]
            for number in old:
                del self.by_id[number]

    def as_data(self) -> list[list[Any]]:
        """As JSON knows it."""
        return [
            [number, o.action.tobytes().hex(), o.key, o.filled, o.trades, o.ended, o.acked]
            for number, o in self.by_id.items()
        ]

    @classmethod
    def from_data(cls, data: Iterable[list[Any]]) -> Orders:
        """What `as_data` gave."""
        book = cls()
        for number, action, key, filled, trades, ended, acked in data:
            row = np.frombuffer(bytearray.fromhex(action), ACTION)[0]
            book.by_id[int(number)] = Sent(row, key, filled, dict(trades), ended, acked)
        return book
