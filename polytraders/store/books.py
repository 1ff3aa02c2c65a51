"""What the fills of a log came to, market by market, told row by row with the step's own ledger.

A provisional fill is booked when it is told, as the step books it: what is matched is held, and a market that resolves
before the chain has confirmed it pays it with the rest. Confirmed it is not booked again; voided it is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polytraders.engine.ledger import (
    book_fill,
    confirm_fill,
    convert,
    hold_unsettled,
    merge,
    settle,
    split,
    void_fill,
)  # fmt: skip
from polytraders.engine.state import ACCOUNT, MARKET, POSITION, UNSETTLED, records
from polytraders.rows import EventKind


@dataclass
class Books:
    """An account without deposits: what its fills, sets and resolutions have come to so far."""

    account: np.ndarray = field(default_factory=lambda: records(ACCOUNT, 1))
    positions: dict[int, np.ndarray] = field(default_factory=dict)
    payouts: dict[int, int] = field(default_factory=dict)  # pips per YES share of the markets that were resolved
    waiting: dict[tuple[int, int, int, int], list[Any]] = field(default_factory=dict)  # told, not settled: UNSETTLED

    def position(self, market: int) -> Any:
        """The POSITION record of a market."""
        if market not in self.positions:
            self.positions[market] = records(POSITION, 1)
        return self.positions[market][0]

    def fill(
        self,
        market: int,
        action: Any,
        price: int,
        size: int,
        fee: int,
        rebate: int,
        kind: EventKind = EventKind.FILL_CONFIRMED,
    ) -> int:
        """A fill of the order `action` was told: pips, micro-shares, micro-pUSD. Returns by how much the order is
        filled more: nothing when it is settled that was told before, less than nothing when it is voided."""
        account, position = self.account[0], self.position(market)
        key = (action.order_id, price, size, fee)
        told, more = self.waiting.get(key), 0
        if kind is not EventKind.FILL_PROVISIONAL and told:
            if kind is EventKind.FILL_CONFIRMED:
                confirm_fill(account, position, told.pop(0))
            else:
                void_fill(account, position, told.pop(0))
                position.fills -= 1
                more = -size
        elif kind is not EventKind.FILL_VOIDED:  # a void of what was never told takes nothing back
            cost = book_fill(account, position, action.outcome, action.side, price, size, fee, rebate)
            position.fills += 1
            more = size
            if kind is EventKind.FILL_PROVISIONAL:
                fill = records(UNSETTLED, 1)[0]
                fill.outcome, fill.side, fill.price, fill.size = action.outcome, action.side, price, size
                fill.fee, fill.rebate, fill.cost = fee, rebate, cost
                hold_unsettled(account, position, fill)
                self.waiting.setdefault(key, []).append(fill)
        self._pay(market)
        return more

    def change_sets(self, kind: EventKind, market: int, size: int) -> None:
        """`size` micro-shares of complete sets were made or merged."""
        if kind is EventKind.SPLIT:
            split(self.account[0], self.position(market), size, 0)
        elif market not in self.payouts:  # else the resolution has paid the pairs already
            merge(self.account[0], self.position(market), size)
        self._pay(market)

    def convert(self, ring: Sequence[int], index_set: int, size: int) -> None:
        """NO shares of the chosen markets of an event became cash and YES shares of the others; ring: its markets."""
        rows = records(MARKET, len(ring))
        rows["group_next"] = np.roll(np.arange(len(ring)), -1)
        for market in ring:
            self.position(market)
        joined = np.concatenate([self.positions[market] for market in ring])
        convert(self.account[0], rows, joined, 0, index_set, size, 0)
        for k, market in enumerate(ring):
            self.positions[market][0] = joined[k]
            self._pay(market)

    def resolve(self, market: int, payout: int) -> Any:
        """The market pays `payout` pips per YES share: its POSITION afterwards."""
        self.payouts[market] = payout
        self._pay(market)
        return self.position(market)

    def _pay(self, market: int) -> None:
        """What a resolved market holds, or owes, is paid out: once, and again after all that is heard of later."""
        if market in self.payouts:
            settle(self.account[0], self.position(market), self.payouts[market])
