"""Where the change of equity came from, market by market: fills, complete sets and resolutions taken one by one.

Values are formed as the ledger forms them, so the parts telescope: whatever mids are passed on the way, their sum is
the final value plus cash (P1 of `report.analysis`).

A conversion changes hands between the markets of an event. Each gives and gets its shares at its own mid, so none of
them earns by it; what the cash is worth above that is the conversion's own profit, booked as spread in the market that
it was sent for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from polytraders.engine.ledger import part_of_cost
from polytraders.engine.setup import market_rows
from polytraders.report.tape import Tape
from polytraders.rows import EventKind
from polytraders.units import ONE


class Change(NamedTuple):
    """Complete sets that were made or merged, or NO shares that were converted."""

    seq: int
    ts: int  # ns, our clock
    venue_ts: int  # ns
    kind: EventKind
    size: int  # micro-shares
    legs: tuple[tuple[int, int, int], ...]  # (market, change of YES, change of NO); the market it was sent for first


class Fill(NamedTuple):
    """What of a fill moves holdings."""

    seq: int
    venue_ts: int  # ns
    market: int
    outcome: str
    side: str
    size: int  # micro-shares
    notional: int  # micro-pUSD


def changes(events: np.ndarray, markets: Sequence[Mapping[str, Any]]) -> list[Change]:
    """All changes of complete sets in EVENT[n], in their order. What the venue refused is none."""
    kind = events["kind"]
    told = events[(kind >= EventKind.SPLIT) & (kind <= EventKind.CONVERT) & (events["size"] > 0)]
    if not len(told):
        return []
    following = market_rows([SimpleNamespace(**market) for market in markets])[0]["group_next"]
    found = []
    for row in told:
        market, size = int(row["market"]), int(row["size"])
        if row["kind"] == EventKind.CONVERT:
            legs, at = [], market
            while not legs or at != market:
                legs.append((at, 0, -size) if int(row["price"]) >> len(legs) & 1 else (at, size, 0))
                at = int(following[at])
        else:
            signed = size if row["kind"] == EventKind.SPLIT else -size
            legs = [(market, signed, signed)]
        times = int(row["ts_recv"]), int(row["ts_event"])
        found.append(Change(int(row["seq"]), *times, EventKind(int(row["kind"])), size, tuple(legs)))
    return found


class Holdings:
    """One market's holdings while its moves are walked, and what each part of the profit has come to.

    held micro-shares by outcome; cost, cash and parts micro-pUSD.
    """

    def __init__(self) -> None:
        self.held, self.cost = {"YES": 0, "NO": 0}, {"YES": 0, "NO": 0}
        self.cash, self.mid2 = 0, 0
        self.parts = {"spread": 0, "drift": 0, "settlement": 0}
        self.payout = -1  # pips per YES share once resolved

    @property
    def value(self) -> int:
        """Worth at the mid reached; as long as there never was one, pairs at 1 pUSD and the rest at cost."""
        if self.mid2 <= 0:
            pairs = min(self.held.values())
            return sum(self.cost.values()) + pairs - sum(self._cost_of(outcome, pairs) for outcome in self.held)
        return (self.held["YES"] * self.mid2 + self.held["NO"] * (2 * ONE - self.mid2)) // (2 * ONE)

    def move(self, mid2: int) -> None:
        """The mid went to mid2; 0 = still where it was."""
        before = self.value
        self.mid2 = mid2 or self.mid2
        self.parts["drift"] += self.value - before

    def trade(self, outcome: str, side: str, size: int, notional: int) -> None:
        """A fill: the value received over the mid is spread."""
        before = self.value + self.cash
        if side == "BUY":
            self._gain(outcome, size, notional)
            self.cash -= notional
        else:
            self._give(outcome, size)
            self.cash += notional
        self.parts["spread"] += self.value + self.cash - before

    def change_sets(self, kind: EventKind, size: int) -> None:
        """`size` complete sets were made from cash, or merged into it: worth what they were, but for rounding."""
        before = self.value + self.cash
        if kind == EventKind.MERGE:
            for outcome in self.held:
                self._give(outcome, size)
            self.cash += size
        else:
            yes = size * (self.mid2 if self.mid2 > 0 else ONE) // (2 * ONE)
            self._gain("YES", size, yes)
            self._gain("NO", size, size - yes)
            self.cash -= size
        self.parts["drift"] += self.value + self.cash - before

    def settle(self, payout: int) -> None:
        """All that is held, or owed, becomes cash at `payout` pips per YES share."""
        self.payout = payout
        paid = (self.held["YES"] * payout + self.held["NO"] * (ONE - payout)) // ONE
        self.parts["settlement"] += paid - self.value
        self.cash += paid
        self.held, self.cost = {"YES": 0, "NO": 0}, {"YES": 0, "NO": 0}

    def exchange(self, outcome: str, size: int, cost: int = 0) -> int:
        """Get (size > 0, at `cost`) or give shares at the mid reached. Returns the micro-pUSD paid for them, negative
        when they were given: nothing is earned here."""
        before = self.value
        if size > 0:
            self._gain(outcome, size, cost)
        else:
            self._give(outcome, -size)
        paid = self.value - before
        self.cash -= paid
        return paid

    def _gain(self, outcome: str, size: int, cost: int) -> None:
        self.held[outcome] += size
        self.cost[outcome] += cost

    def _give(self, outcome: str, size: int) -> int:
        """Returns what the shares had cost."""
        cost = self._cost_of(outcome, size)
        self.cost[outcome] -= cost
        self.held[outcome] -= size
        return cost

    def _cost_of(self, outcome: str, size: int) -> int:
        return int(part_of_cost(self.cost[outcome], size, self.held[outcome]))


def convert(legs: Sequence[tuple[Holdings, int, int]], size: int) -> None:
    """NO shares of some markets of an event become cash and YES shares of the others, with costs as the ledger carries
    them over. legs: (holdings, change of YES, change of NO) by market, the one that it was sent for first."""
    given = [holdings for holdings, _, no in legs if no]
    others = [holdings for holdings, yes, _ in legs if yes]
    cash = (len(given) - 1) * size
    before = sum(holdings.cost["NO"] for holdings in given)
    worth = -sum(holdings.exchange("NO", -size) for holdings in given)
    cost = before - sum(holdings.cost["NO"] for holdings in given)
    carried = max(cost - cash, 0) if others else 0
    each, rest = divmod(carried, len(others)) if others else (0, 0)
    for holdings in others:
        worth -= holdings.exchange("YES", size, each + rest)
        rest = 0
    first = legs[0][0]
    first.cash += cash - worth
    first.parts["spread"] += cash - worth


def walk(
    tapes: Mapping[int, Tape], fills: Iterable[Fill], sets: Iterable[Change], last: Mapping[int, int]
) -> dict[int, Holdings]:
    """Take all that moves holdings in the order in which we learned of it: what each market came to.

    tapes: of every market that is moved. last: the mid2 that an open market is valued at in the end, 0 = none.
    """
    known = {market: tape.two_sided for market, tape in tapes.items()}
    clocks = {market: tape.venue[known[market]] for market, tape in tapes.items()}
    mids = {market: (tape.bid + tape.ask)[known[market]] for market, tape in tapes.items()}
    found = {market: Holdings() for market in tapes}

    def reach(market: int, ts: int) -> Holdings:
        """The holdings, moved to the last two-sided mid before `ts`."""
        at = int(np.searchsorted(clocks[market], ts, side="left")) - 1
        found[market].move(int(mids[market][at]) if at >= 0 else 0)
        return found[market]

    ends = [(tape.resolved_seq, market) for market, tape in tapes.items() if tape.resolved]
    moves: list[tuple[int, Any]] = [(fill.seq, fill) for fill in fills]
    moves += [(change.seq, change) for change in sets]
    for _, move in sorted([*moves, *ends], key=lambda pair: pair[0]):
        if isinstance(move, Fill):
            reach(move.market, move.venue_ts).trade(move.outcome, move.side, move.size, move.notional)
            touched = [move.market]
        elif isinstance(move, Change):
            touched = [market for market, _, _ in move.legs]
            first = found[touched[0]]
            if move.kind == EventKind.CONVERT:
                convert([(reach(market, move.venue_ts), yes, no) for market, yes, no in move.legs], move.size)
            elif move.kind == EventKind.SPLIT or first.payout < 0:  # else the resolution has paid the pairs already
                reach(touched[0], move.venue_ts).change_sets(move.kind, move.size)
        else:
            reach(move, tapes[move].resolved).settle(tapes[move].payout)
            touched = []
        for market in touched:
            if found[market].payout >= 0:  # it was on its way when the market resolved
                found[market].settle(found[market].payout)
    for market, holdings in found.items():
        if holdings.payout < 0:
            holdings.move(last[market])
    return found
