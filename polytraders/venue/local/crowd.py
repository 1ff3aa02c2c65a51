"""The accounts in one book: what rests of one is there for all others, in its place of the queue.

Every account has a kernel of its own over the tape (see `exchange`). Here their books become one: a kernel's book is
what the tape shows and what all accounts' orders add to it. When a kernel tells that an account took, the fill is
dealt out to the tape and to the resting orders in the order of the queue, and those orders fill in their own kernels,
at the same price. A print or a crossing level of the tape eats each account's orders in turn: what a better priced
order of somebody else took of it is gone.

An account meets its own orders too: the venue documents no prevention of that.

Invariants
    C1  a kernel's cell is the tape's size and what all accounts' orders have left there
    C2  every share that a taker gets of another account leaves that account's order in the same moment, and their
        trades are one: same id, same status, same end
    C3  an order is reached only when what stood before it at its level has been
    C4  the public book shows the orders but for those that cross the tape: to the tape they are invisible
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from polytraders.engine import book as bk
from polytraders.engine import matching
from polytraders.engine.matching import Venue, observe
from polytraders.engine.state import MAX_ORDERS, records
from polytraders.rows import EVENT, EventKind, Flag, Side
from polytraders.units import CENT_SHARE
from polytraders.venue.local.records import Account, Listing, Match, Order, Trade


class House(Protocol):
    """The exchange, as far as its accounts' orders need it."""

    tape_book: Venue
    public: Venue
    accounts: dict[str, Account]
    listings: list[Listing]
    now: int

    def kernels(self) -> Iterator[Venue]:
        """The public book, then each account's kernel."""

    def tell_change(self, listing: Listing, rows: np.ndarray) -> None:
        """Levels of the public book changed by accounts' orders."""


@dataclass(eq=False)
class Rest:
    """An order that rests. left: micro-shares as they were counted last."""

    account: Account
    order: Order
    side: int  # of the YES book
    level: int
    cell: int
    left: int
    number: int  # by arrival

    @property
    def record(self) -> np.record:
        return self.account.venue.orders[self.order.serial % MAX_ORDERS]


@dataclass
class Leg:
    """A part of a fill. rest: whose order gave it, None = the tape's."""

    size: int
    rest: Rest | None = None


@dataclass
class Crowd:
    """All resting orders of all accounts. apart: the accounts do not see each other."""

    exchange: House
    apart: bool = False
    rests: dict[int, list[Rest]] = field(default_factory=lambda: defaultdict(list))  # cell -> by arrival
    known: dict[tuple[str, int], Rest] = field(default_factory=dict)  # by account and serial
    waiting: dict[tuple[str, int], deque[tuple[Trade, Match]]] = field(default_factory=lambda: defaultdict(deque))
    taken: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)  # (account, cell) -> (of size, taken)
    shown: dict[int, int] = field(default_factory=dict)  # cell -> what the public book adds to the tape's
    dirty: set[int] = field(default_factory=set)  # markets whose public book may have changed
    arrivals: int = 0

    # -- the tape moves --------------------------------------------------------------------------------

    def play(self, row: np.record) -> None:
        """One row of the tape happens at every kernel."""
        exchange = self.exchange
        now, kind, number = exchange.now, EventKind(int(row.kind)), int(row.market)
        observe(exchange.tape_book, row, now)
        if kind in (EventKind.LEVEL, EventKind.CHANGE):
            self._forget_taken(row)
        market = exchange.public.markets[number] if number >= 0 else None
        busy = market is not None and any(rest.order.listing.index == number for rest in self.known.values())
        if not busy:
            for venue in exchange.kernels():
                observe(venue, row, now)
            return
        self.dirty.add(number)
        if kind in (EventKind.LEVEL, EventKind.CHANGE):
            self._level(row)
        elif kind == EventKind.TRADE:
            self._print(row)
        else:
            for venue in exchange.kernels():
                observe(venue, row, now)
            if kind == EventKind.BOOK_CLEAR:
                for cell in {rest.cell for rest in self.known.values() if rest.order.listing.index == number}:
                    self._spread(cell)

    def _forget_taken(self, row: np.record) -> None:
        """A level of another size: what was taken of the old one is no more."""
        market = self.exchange.public.markets[int(row.market)]
        cell = _cell(market, int(row.side) & 1, (int(row.price) * int(market.recip)) >> bk.SHIFT)
        for address in self.exchange.accounts:
            if (known := self.taken.get((address, cell))) is not None and known[0] != int(row.size):
                del self.taken[address, cell]

    def _level(self, row: np.record) -> None:
        """A level of the tape has a new size; those whose orders it crosses share it by priority."""
        market, now = self.exchange.public.markets[int(row.market)], self.exchange.now
        side, level = int(row.side) & 1, (int(row.price) * int(market.recip)) >> bk.SHIFT
        cell = _cell(market, side, level)
        made = _copy(row)
        made.size = int(row.size) + self._resting(cell)
        observe(self.exchange.public, made, now)
        eaten = 0
        for account in self._by_priority(int(row.market), 1 - side):
            venue = account.venue
            before, filled = int(venue.book[cell]), self._open_at(account, int(row.market), 1 - side)
            whole = int(made.size)
            if not eaten or whole <= before:
                observe(venue, made, now)
            else:
                less = _copy(made)
                less.size = max(whole - eaten, before)
                observe(venue, less, now)
                put(venue, venue.markets[int(row.market)], side, level, whole)
            eaten += filled - self._open_at(account, int(row.market), 1 - side)
        self._show_taken(cell)

    def _print(self, row: np.record) -> None:
        """A print of the tape: at its own level it eats the queue, in which everybody stands; what it went through
        is eaten by price, whosever it is."""
        market, now = self.exchange.public.markets[int(row.market)], self.exchange.now
        side, level = int(row.side) & 1, (int(row.price) * int(market.recip)) >> bk.SHIFT
        observe(self.exchange.public, row, now)
        eaten = 0
        for account in self._by_priority(int(row.market), 1 - side):
            made = _copy(row)
            made.size = max(int(row.size) - eaten, 0)
            through = self._open_at(account, int(row.market), 1 - side, level)
            observe(account.venue, made, now)
            eaten += through - self._open_at(account, int(row.market), 1 - side, level)

    def _by_priority(self, number: int, side: int) -> list[Account]:
        """All accounts; first those with orders on a side of a market, the best and oldest first."""
        best: dict[str, tuple[int, int]] = {}
        for rest in self.known.values():
            if rest.order.listing.index == number and rest.side == side:
                rank = (-bk.rank(side, rest.level), rest.number)
                best[rest.account.address] = min(best.get(rest.account.address, rank), rank)
        last = (1 << 62, 0)
        return sorted(self.exchange.accounts.values(), key=lambda account: best.get(account.address, last))

    def _open_at(self, account: Account, number: int, side: int, through: int | None = None) -> int:
        """Micro-shares left of an account's orders on a side; through: of those better than this level only."""
        return sum(
            int(rest.record.remaining) if rest.record.id == rest.order.serial else 0
            for rest in self.known.values()
            if rest.account is account and rest.order.listing.index == number and rest.side == side
            and (through is None or bk.rank(side, rest.level) > bk.rank(side, through))
        )  # fmt: skip

    # -- an account's orders move ----------------------------------------------------------------------

    def count(self, account: Account) -> None:
        """Note which of an account's orders rest now, and how much of them; tell it to every kernel."""
        if self.apart:
            return
        changed: set[int] = set()
        for order in list(account.by_serial.values()):
            record, key = account.venue.orders[order.serial % MAX_ORDERS], (account.address, order.serial)
            rests = record.id == order.serial and not record.delayed
            rest = self.known.get(key)
            if rests and rest is None:
                changed.add(self._arrive(account, order, record))
            elif rest is not None:
                changed |= self._moved(rest, int(record.remaining) if rests else 0)
        for rest in list(self.known.values()):
            if rest.account is account and rest.order.serial not in account.by_serial:
                changed |= self._moved(rest, 0)
        for cell in changed:
            self._spread(cell)

    def _arrive(self, account: Account, order: Order, record: np.record) -> int:
        market = account.venue.markets[order.listing.index]
        side, level = int(record.book_side), int(record.level)
        cell, self.arrivals = _cell(market, side, level), self.arrivals + 1
        # its own account's orders are no queue before it: the kernel keeps those behind each other itself
        record.ahead -= sum(rest.left for rest in self.rests[cell] if rest.account is account)
        rest = Rest(account, order, side, level, cell, int(record.remaining), self.arrivals)
        self.rests[cell].append(rest)
        self.known[account.address, order.serial] = rest
        self.dirty.add(order.listing.index)
        return cell

    def _moved(self, rest: Rest, left: int) -> set[int]:
        """An order has `left` now; {its cell} when that is another number than before."""
        if left == rest.left:
            return set()
        gone, rest.left = rest.left - left, left
        if left == 0:
            if rest.order.status.startswith("CANCELED"):  # whoever stood behind moves up
                self._move_up(rest, gone)
            self.rests[rest.cell].remove(rest)
            del self.known[rest.account.address, rest.order.serial]
        self.dirty.add(rest.order.listing.index)
        return {rest.cell}

    def _move_up(self, gone: Rest, size: int) -> None:
        for rest in self.rests[gone.cell]:
            if rest.number > gone.number and rest.account is not gone.account:
                rest.record.ahead = max(int(rest.record.ahead) - size, 0)

    def _resting(self, cell: int) -> int:
        return sum(rest.left for rest in self.rests.get(cell, ()))

    def _spread(self, cell: int) -> None:
        """Every kernel's book has this cell as it is now (C1)."""
        number, side, level = self._place(cell)
        size = int(self.exchange.tape_book.book[cell]) + self._resting(cell)
        for account in self.exchange.accounts.values():
            put(account.venue, account.venue.markets[number], side, level, size)

    def _place(self, cell: int) -> tuple[int, int, int]:
        """(market, side, level) of a cell."""
        markets = self.exchange.public.markets
        number = int(np.searchsorted(markets["offset"], cell, side="right")) - 1
        at, levels = cell - int(markets[number].offset), int(markets[number].levels)
        return (number, int(Side.SELL), at - levels) if at >= levels else (number, int(Side.BUY), at)

    def enter(self, account: Account) -> None:
        """A new account's book: the tape's, and what rests of the others."""
        for cell in [cell for cell, rests in self.rests.items() if rests]:
            number, side, level = self._place(cell)
            size = int(self.exchange.tape_book.book[cell]) + self._resting(cell)
            put(account.venue, account.venue.markets[number], side, level, size)

    # -- an account took ---------------------------------------------------------------------------------

    def deal(self, account: Account, order: Order, price: int, size: int) -> list[Leg]:
        """Whose the shares are that an account has just taken at a price of the YES book: the tape's, and the resting
        orders' in the queue's order (C3). What is dealt to an order leaves it (`fill`)."""
        market = account.venue.markets[order.listing.index]
        side = 1 - int(matching._book_side(order.ticket.outcome, order.ticket.side))
        level = (price * int(market.recip)) >> bk.SHIFT
        cell = _cell(market, side, level)
        if not self.rests.get(cell):
            self._take_of_tape(account, cell, size)
            return [Leg(size)]
        free, left, of_tape, eaten = self._free_of_tape(account, cell), size, 0, 0
        legs: list[Leg] = []
        for rest in list(self.rests[cell]):
            before = sum(r.left for r in self.rests[cell] if r.number < rest.number and r.account is not rest.account)
            in_front = max(int(rest.record.ahead) - before, 0)
            part = max(min(in_front - of_tape, free - of_tape, left), 0)
            of_tape, left = of_tape + part, left - part
            part = min(rest.left, left) // CENT_SHARE * CENT_SHARE
            if part:
                legs.append(Leg(part, rest))
                left -= part
        of_tape += left
        legs = ([Leg(of_tape)] if of_tape else []) + legs
        for rest in self.rests[cell]:
            eaten = of_tape + sum(
                leg.size for leg in legs if leg.rest is not None and leg.rest.account is not rest.account
            )
            rest.record.ahead = max(int(rest.record.ahead) - eaten, 0)
        self._take_of_tape(account, cell, of_tape)
        return legs

    def fill(self, leg: Leg) -> None:
        """An order of the book gives its part: it fills in its own kernel, as a maker."""
        rest = leg.rest
        assert rest is not None
        venue, record = rest.account.venue, rest.record
        market, position = venue.markets[rest.order.listing.index], venue.positions[rest.order.listing.index]
        venue.core[0].now = self.exchange.now
        matching._fill(venue, market, position, record, rest.level * int(market.grid), leg.size, 0, True)
        matching._finish(venue, position, record, rest.order.serial % MAX_ORDERS)
        for cell in self._moved(rest, rest.left - leg.size):
            self._spread(cell)

    def _free_of_tape(self, account: Account, cell: int) -> int:
        """Micro-shares that the tape shows at a cell and the account has not taken yet."""
        there = int(self.exchange.tape_book.book[cell])
        of, taken = self.taken.get((account.address, cell), (0, 0))
        return there - taken if of == there else there

    def _take_of_tape(self, account: Account, cell: int, size: int) -> None:
        there = int(self.exchange.tape_book.book[cell])
        of, taken = self.taken.get((account.address, cell), (0, 0))
        self.taken[account.address, cell] = there, size + (taken if of == there else 0)
        self._show_taken(cell, account)

    def _show_taken(self, cell: int, only: Account | None = None) -> None:
        """The kernels know what their account took of a cell that the tape goes on to show, of the size as it is."""
        there = int(self.exchange.tape_book.book[cell])
        for account in [only] if only else self.exchange.accounts.values():
            of, taken = self.taken.get((account.address, cell), (0, 0))
            account.venue.taken[cell] = taken if of == there else 0
            account.venue.taken_of[cell] = account.venue.book[cell]

    # -- what everybody sees -----------------------------------------------------------------------------

    def show(self) -> None:
        """Bring the public book up to date with the accounts' orders, and tell the market channel (C4)."""
        self.tell(self.settle())

    def tell(self, changes: list[tuple[Listing, np.ndarray]]) -> None:
        """Tell the market channel what `settle` changed."""
        for listing, rows in changes:
            self.exchange.tell_change(listing, rows)

    def settle(self) -> list[tuple[Listing, np.ndarray]]:
        """Bring the public book up to date; (market, its levels that changed by accounts' orders) of each."""
        tape, public, changes = self.exchange.tape_book, self.exchange.public, []
        while self.dirty:
            number = self.dirty.pop()
            market = public.markets[number]
            start, end = int(market.offset), int(market.offset) + 2 * int(market.levels)
            wanted = {
                cell: self._resting(cell)
                for cell, rests in self.rests.items()
                if start <= cell < end and rests and not self._crosses_tape(rests[0], tape, number)
            }
            rows = []
            for cell in sorted({c for c in self.shown if start <= c < end} | wanted.keys()):
                _, side, level = self._place(cell)
                size, more = int(tape.book[cell]) + wanted.get(cell, 0), wanted.get(cell, 0)
                if int(public.book[cell]) != size:
                    put(public, market, side, level, size)
                if self.shown.pop(cell, 0) != more:
                    rows.append((side, level * int(market.grid), size))
                if more:
                    self.shown[cell] = more
            for cell in [cell for cell, rests in self.rests.items() if not rests]:
                del self.rests[cell]
            if rows:
                changes.append((self.exchange.listings[number], self._rows(number, rows)))
        return changes

    @staticmethod
    def _crosses_tape(rest: Rest, tape: Venue, number: int) -> bool:
        market = tape.markets[number]
        if rest.side == Side.BUY:
            return 0 <= int(bk.ask(market)) <= rest.level
        return rest.level <= int(bk.bid(market))

    def _rows(self, number: int, told: list[tuple[int, int, int]]) -> np.ndarray:
        rows = records(EVENT, len(told))
        rows["ts_recv"] = rows["ts_event"] = self.exchange.now
        rows["market"], rows["kind"] = number, EventKind.CHANGE
        for row, (side, price, size) in zip(rows, told, strict=True):
            row["side"], row["price"], row["size"] = side, price, size
        rows["flags"][-1] |= Flag.LAST
        return rows

    def shown_size(self, row: np.record) -> int:
        """What the public book has at the level that a row is about."""
        market = self.exchange.public.markets[int(row.market)]
        level = (int(row.price) * int(market.recip)) >> bk.SHIFT
        return int(self.exchange.public.book[_cell(market, int(row.side) & 1, level)])


def _cell(market: np.record, side: int, level: int) -> int:
    return int(market.offset) + level + (int(market.levels) if side == Side.SELL else 0)


def _copy(row: np.record) -> np.record:
    made = records(EVENT, 1)
    made[0] = row
    return made[0]


def put(venue: Venue, market: np.record, side: int, level: int, size: int) -> None:
    """A level's size without anything's happening there; what was taken of it stays taken."""
    cell = _cell(market, side, level)
    kept = int(venue.taken[cell]) if venue.taken_of[cell] == venue.book[cell] else 0
    bk.set_level(venue.book, market, side, level, size)
    venue.taken[cell], venue.taken_of[cell] = kept, size
