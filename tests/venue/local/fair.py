"""The accounts' exchange alone, traded at random: `python fair.py SEED STEPS GHOSTS`, in plain Python kernels.

Exit code 1 with what is wrong: a book that is not the tape's and everybody's, a trade without two equal sides, an
account whose cash and shares are not what its trades say.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from polytraders.data.markets import MarketInfo
from polytraders.engine import matching
from polytraders.engine.matching import MAX_ORDERS
from polytraders.rows import EVENT, EventKind, OrderType, Outcome, Side
from polytraders.units import CENT_SHARE, MICRO, NS_PER_S, ONE
from polytraders.venue.local.admin import message
from polytraders.venue.local.exchange import Exchange, Refusal, Ticket
from polytraders.venue.local.faults import Faults
from polytraders.venue.local.tape import Tape

M = MICRO


def info(number: int) -> MarketInfo:
    return MarketInfo(
        f"0x{number:064x}", f"m{number}", "?", str(10**30 + number), str(2 * 10**30 + number), tick=100, grid=100,
        min_size=5 * M, fee_rate=20_000, fee_exponent=1, rebate_rate=0, neg_risk=False, event_id="", end_ts=2**62,
    )  # fmt: skip


class Fair:
    """An exchange, accounts that trade at random, and a tape that moves at random."""

    def __init__(self, seed: int, markets: int = 2, accounts: int = 4):
        self.dice = random.Random(seed)
        self.faults = Faults(seed)
        self.exchange = Exchange(
            tuple(info(n) for n in range(1, markets + 1)), Tape(np.zeros(0, EVENT), 0, 0.0), self.faults,
            cash=1_000 * M, settlement=NS_PER_S, spare=0,
        )  # fmt: skip
        self.told: list[tuple[str, Any, str]] = []
        self.exchange.tell_user = lambda account, subject, what: self.told.append((account.address, subject, what))
        self.accounts = [self.exchange.account(f"0x{n:040x}") for n in range(1, accounts + 1)]
        self.serial, self.now = 0, NS_PER_S
        for listing in self.exchange.listings:
            for side, prices in ((Side.BUY, range(40, 47)), (Side.SELL, range(54, 61))):
                for cents in prices:
                    self.tape(listing, EventKind.CHANGE, cents * 100, self.dice.randint(10, 80) * M, side)

    def tape(self, listing: Any, kind: int, price: int, size: int, side: int) -> None:
        row = {"kind": kind, "price": price, "size": size, "side": side}
        self.exchange.play(message(self.exchange, listing, row))

    def order(self) -> None:
        dice, account = self.dice, self.dice.choice(self.accounts)
        listing, outcome, side = dice.choice(self.exchange.listings), dice.randrange(2), dice.randrange(2)
        kind = dice.choice((OrderType.GTC, OrderType.GTC, OrderType.GTC, OrderType.FAK, OrderType.FOK))
        price, size = dice.randint(47, 53) * 100, dice.randint(5, 40) * M
        self.serial += 1
        money_ = price * size // ONE
        maker, taker = (money_, size) if side == Side.BUY else (size, money_)
        token = int(listing.token(outcome))
        sent = SimpleNamespace(token_id=token, maker=account.address, maker_amount=maker, taker_amount=taker)
        ticket = Ticket(
            f"0x{self.serial:064x}", sent, outcome, side, int(kind), price, size,
            money_ if side == Side.BUY and kind != OrderType.GTC else 0,
            kind == OrderType.GTC and dice.random() < 0.2, 0,
        )  # fmt: skip
        with contextlib.suppress(Refusal):
            self.exchange.submit(account, ticket, "key")

    def step(self) -> None:
        dice, what = self.dice, self.dice.random()
        self.now += dice.randint(1, NS_PER_S // 4)
        self.exchange.advance(self.now)
        if what < 0.6:
            self.order()
        elif what < 0.75:
            account = dice.choice(self.accounts)
            ids = [order.id for order in account.open_orders()]
            self.exchange.cancel(account, dice.sample(ids, min(len(ids), 2)))
        elif what < 0.9:
            side = dice.randrange(2)
            cents = dice.randint(40, 48) if side == Side.BUY else dice.randint(52, 60)
            self.tape(dice.choice(self.exchange.listings), EventKind.CHANGE, cents * 100, dice.randint(0, 60) * M, side)
        else:
            cents, side = dice.randint(45, 55), dice.randrange(2)
            self.tape(dice.choice(self.exchange.listings), EventKind.TRADE, cents * 100, dice.randint(1, 90) * M, side)

    def check(self) -> None:
        """The crowd's invariants, from the kernels themselves."""
        exchange, crowd = self.exchange, self.exchange.crowd
        rests: Counter[int] = Counter()
        for account in self.accounts:
            for record in account.venue.orders:
                if record.id and not record.delayed:
                    market = account.venue.markets[int(record.market)]
                    rests[int(market.offset) + int(record.level) + int(record.book_side) * int(market.levels)] += int(
                        record.remaining
                    )
                    assert 0 <= record.ahead and 0 < record.remaining <= record.size
            funds = account.venue.account[0]
            assert funds.cash >= 0 and funds.reserved >= 0 and account.venue.core[0].full == 0
        assert {cell: left for cell, left in rests.items() if left} == {
            cell: sum(rest.left for rest in found) for cell, found in crowd.rests.items() if found
        }
        whole = exchange.tape_book.book.copy()
        for cell, left in rests.items():
            whole[cell] += left
        for account in self.accounts:  # C1
            assert np.array_equal(account.venue.book, whole)
        for account in self.accounts:  # whoever took of the tape does not find that again, but all that rests
            for cell in crowd.rests:
                number, side, level = crowd._place(cell)
                venue = account.venue
                found = matching._offered(
                    venue.core[0], venue.book, venue.taken, venue.taken_of, venue.markets[number], side, level
                )
                free = crowd._free_of_tape(account, cell) + rests[cell]
                assert found == free // CENT_SHARE * CENT_SHARE, (account.address, cell, found, free)
        shown = exchange.tape_book.book.copy()
        for cell, more in crowd.shown.items():
            shown[cell] += more
        assert np.array_equal(exchange.public.book, shown)  # C4
        assert not any(crowd.waiting.values())


def trades_of(fair: Fair) -> dict[str, list[Any]]:
    by: dict[str, list[Any]] = {}
    for account in fair.accounts:
        for trade in account.trades.values():
            if trade.other is not None:
                by.setdefault(trade.id, []).append((account.address, trade))
    return by


def at_random(seed: int, steps: int, ghosts: int) -> int:
    """Trade, and look whether all is right; the number of trades between accounts."""
    fair = Fair(seed)
    if ghosts:
        fair.faults.switch("ghost_fill", rate=ghosts)
    for number in range(steps):
        fair.step()
        if number % 10 == 0:
            fair.check()
    for account in fair.accounts:
        fair.exchange.cancel(account, [order.id for order in account.open_orders()])
    fair.exchange.advance(fair.now + 10 * NS_PER_S)
    fair.check()
    ends: Counter[str] = Counter()
    for both in trades_of(fair).values():
        (_, one), (_, two) = both
        assert one.other is two and two.other is one and {one.maker, two.maker} == {True, False}
        assert one.size == two.size and one.status == two.status and one.hash == two.hash
        ends[one.status] += 1
        price = {int(t.order.ticket.outcome): t.price for t in (one, two)}
        same = one.order.ticket.outcome == two.order.ticket.outcome
        assert one.price == two.price if same else sum(price.values()) == ONE
    assert ends["FAILED"] > 0 if ghosts else ends.keys() == {"CONFIRMED"}
    for account in fair.accounts:  # every account has what its confirmed trades say, to the micro-unit
        cash, held = 1_000 * M, Counter()
        for trade in account.trades.values():
            sign = 1 if trade.order.ticket.side == Side.BUY else -1
            if trade.status == "CONFIRMED":
                cash -= sign * (trade.price * trade.size // ONE) + trade.fee
                held[trade.order.listing.index, trade.order.ticket.outcome] += sign * trade.size
        funds = account.venue.account[0]
        assert funds.reserved == 0 and abs(int(funds.cash) - cash) <= 10 * len(account.trades) * bool(ghosts)
        for listing in fair.exchange.listings:
            own = account.venue.positions[listing.index]
            assert own.yes == held[listing.index, Outcome.YES] and own.no == held[listing.index, Outcome.NO]
        assert len(account.rows) == MAX_ORDERS
    return len(trades_of(fair))


def a_print_goes_to_the_best_order_first() -> None:
    """And to nobody twice."""
    fair = Fair(1, markets=1, accounts=2)
    (listing,), (ann, bob) = fair.exchange.listings, fair.accounts
    rest(fair, ann, 5_000, 30 * M)
    rest(fair, bob, 4_900, 30 * M)
    fair.tape(listing, EventKind.TRADE, 4_800, 40 * M, Side.SELL)  # through both: 40 shares, no more
    assert [order.filled // M for order in (*ann.orders.values(), *bob.orders.values())] == [30, 10]
    fair.check()


def a_crossing_level_is_shared_by_price() -> None:
    """And what is left of the orders does not cross the public book."""
    fair = Fair(1, markets=1, accounts=2)
    (listing,), (ann, bob) = fair.exchange.listings, fair.accounts
    rest(fair, bob, 5_000, 30 * M)
    rest(fair, ann, 5_100, 30 * M)
    fair.tape(listing, EventKind.CHANGE, 5_000, 40 * M, Side.SELL)
    assert [order.filled // M for order in (*ann.orders.values(), *bob.orders.values())] == [30, 10]
    bid, ask = fair.exchange.best(listing)
    assert bid < ask == 5_000  # the tape goes on to show what was taken, so Bob's other 20 are not shown
    fair.tape(listing, EventKind.CHANGE, 5_000, 0, Side.SELL)
    assert fair.exchange.best(listing) == (5_000, 5_400)
    fair.check()


def rest(fair: Fair, account: Any, price: int, size: int) -> None:
    fair.serial += 1
    token = int(fair.exchange.listings[0].token(Outcome.YES))
    cost = price * size // ONE
    sent = SimpleNamespace(token_id=token, maker=account.address, maker_amount=cost, taker_amount=size)
    ticket = Ticket(f"0x{fair.serial:064x}", sent, 0, 0, int(OrderType.GTC), price, size, 0, False, 0)
    assert fair.exchange.submit(account, ticket, "key").status == "LIVE"


if __name__ == "__main__":
    a_print_goes_to_the_best_order_first()
    a_crossing_level_is_shared_by_price()
    print(at_random(*map(int, sys.argv[1:])))
