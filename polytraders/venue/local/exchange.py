"""Markets, accounts, orders and trades of the local venue: the adapter of the simulated venue's kernel, without I/O.

One kernel, `polytraders.engine.matching`, many accounts: each account has a `Venue` of its own over the same tape, fed
the same rows at the same times. So every account trades with the recorded participants as a backtest does; with each
other they trade through `crowd`, which puts their orders into each other's books. Two more `Venue`s without orders are
the tape's book and the public one, which shows the accounts' orders too.

The kernel runs with latencies of zero (the network is real here) and with settlement switched on: a fill is MATCHED at
once, MINED half a settlement later, and CONFIRMED or FAILED when the kernel's timer says so.

Orders that take are handed to the kernel as it can hold them: a buy that is named by its money is walked over the book
first, to find how many shares that money buys.

Invariants
    X1  nothing here reads a clock: time is handed in, never runs backward, and everything due before it has happened
    X2  an order's id is its digest; a digest is accepted once
    X3  every fill the kernel tells becomes a trade with each of its counterparts, whose status ends as CONFIRMED or
        FAILED and never changes after; between two accounts it is one trade, and both are told the same of it
"""

from __future__ import annotations

import hashlib
import heapq
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from polytraders.data.markets import MarketInfo
from polytraders.engine import book as bk
from polytraders.engine import matching
from polytraders.engine.fees import MICRO_PER_FEE_UNIT
from polytraders.engine.ledger import free_shares
from polytraders.engine.matching import FAR, RING, Venue, arrive, expire, new_venue, send
from polytraders.engine.setup import market_rows
from polytraders.engine.state import MAX_ORDERS, records
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, POST_ONLY, ActionKind, EventKind, Flag, OrderType, Outcome, Side, Status
from polytraders.units import CENT_SHARE, MICRO, NS_PER_MS, NS_PER_S, ONE
from polytraders.venue.local.crowd import Crowd, Leg
from polytraders.venue.local.faults import Faults
from polytraders.venue.local.intake import TAKING, Refusal, Ticket
from polytraders.venue.local.records import ENDED, Account, Fill, Listing, Match, Order, Trade
from polytraders.venue.local.tape import Tape
from polytraders.venue.orders import POLYGON
from polytraders.venue.orders import exchange as domain_of

UNLIMITED = (1 << 256) - 1
NS_PER_MINUTE = 60 * NS_PER_S
HISTORY_MINUTES = 15 * 24 * 60
"""Minutes of a market's mid that are kept: as many as one request may ask for."""

REFUSALS = {
    Code.EXEC_MARKET_CLOSED: "the market is not yet ready to process new orders",
    Code.EXEC_OFF_TICK: "order is invalid. Price breaks minimum tick size rule",
    Code.EXEC_BELOW_MIN_SIZE: "order is invalid. Size lower than the minimum",
    Code.EXEC_TOO_MANY_DECIMALS: "invalid amounts",
    Code.EXEC_GTD_TOO_SOON: "invalid expiration",
    Code.EXEC_NOT_ENOUGH_BALANCE: "not enough balance / allowance",
    Code.EXEC_POST_ONLY_CROSSED: "invalid post-only order: order crosses book",
    Code.EXEC_BELOW_MIN_MARKETABLE: "invalid amount for a marketable order, min size: $1",
    Code.EXEC_FOK_NOT_FILLED: "order couldn't be fully filled. FOK orders are fully filled or killed.",
    Code.EXEC_FAK_NOT_FILLED: "no orders found to match with FAK order. "
    "FAK orders are partially filled or killed if no match is found.",
}
"""The kernel's refusals in the venue's words."""
ENDS = {
    Code.EXEC_CANCELLED: "CANCELED",
    Code.EXEC_CANCELLED_EXPIRED: "CANCELED_EXPIRED_ORDER",
    Code.EXEC_CANCELLED_MARKET_RESOLVED: "CANCELED_MARKET_RESOLVED",
    Code.EXEC_FOK_NOT_FILLED: "UNMATCHED",
    Code.EXEC_FAK_NOT_FILLED: "UNMATCHED",
    Code.EXEC_MARKET_CLOSED: "CANCELED_MARKET_NOT_FOUND",
}
"""Why an order left the book -> its status."""


class Exchange:
    """The venue's whole state.

    tell_market: called with (listing, what, rows) when the tape moved: what is 'book', 'change', 'trade', 'tick',
    'resolved' or 'listed'. tell_user: called with (account, order or trade, what): what is PLACEMENT, UPDATE,
    CANCELLATION or 'trade'.
    """

    def __init__(
        self,
        infos: tuple[MarketInfo, ...],
        tape: Tape,
        faults: Faults,
        *,
        cash: int,
        settlement: int,
        spare: int,
        fees: bool = True,
        queue_model: str = "risk_averse",
        apart: bool = False,
    ):
        """cash: micro-pUSD of a new account. settlement: ns from a match to its end. spare: room for added markets.
        apart: accounts neither meet nor see each other."""
        self.tape, self.faults, self.cash, self.settlement = tape, faults, cash, max(settlement, 1)
        self.queue_model = queue_model
        self.room = [_spare_info(n) for n in range(spare)]
        self.fresh, self.cells = market_rows([*infos, *self.room])
        if not fees:
            self.fresh["fee_rate"] = 0
        self.fresh["status"][len(infos) :] = Status.HALTED
        self.listings: list[Listing] = []
        self.by_token: dict[int, tuple[Listing, int]] = {}
        self.by_condition: dict[str, Listing] = {}
        self.accounts: dict[str, Account] = {}
        self.now = 0
        self.tell_market: Callable[[Listing, str, np.ndarray], None] = lambda *_: None
        self.tell_user: Callable[[Account, Order | Trade, str], None] = lambda *_: None
        self._later: list[tuple[int, int, Account, Trade]] = []
        self._numbers = 0
        self.public, self.tape_book = self._kernel(0), self._kernel(0)
        self.crowd = Crowd(self, apart)
        for info in infos:
            self._list(info)

    def _kernel(self, cash: int) -> Venue:
        return new_venue(
            self.fresh, self.cells, cash, entry_latency=0, response_latency=0, queue_model=self.queue_model, power=3,
            partial_fills=True, settlement_delay=self.settlement, ghost_rate=0, ghost_seed=self.faults.seed,
        )  # fmt: skip

    def _list(self, info: MarketInfo) -> Listing:
        listing = Listing(len(self.listings), info, info.tick, changed=self.now)
        self.listings.append(listing)
        self.by_condition[info.condition_id] = listing
        for outcome in Outcome:
            self.by_token[int(listing.token(outcome))] = listing, int(outcome)
        return listing

    # -- markets -----------------------------------------------------------------------------------

    def find(self, token: int | str) -> tuple[Listing, int]:
        """(market, outcome) of a token. Raises Refusal."""
        try:
            return self.by_token[int(token)]
        except (KeyError, ValueError):
            raise Refusal("No orderbook exists for the requested token id", 404) from None

    def add_market(self, info: MarketInfo) -> Listing:
        """List a market that the tape does not have; its book is empty. Raises Refusal when there is no room."""
        index = len(self.listings)
        if index == len(self.fresh):
            raise Refusal("no room for another market")
        if info.condition_id in self.by_condition:
            raise Refusal("there is such a market already")
        for venue in self.venues():
            row = venue.markets[index]
            row.tick, row.min_size, row.end_ts, row.status = info.tick, info.min_size, info.end_ts, Status.OPEN
            row.fee_rate, row.fee_exponent, row.rebate_rate = info.fee_rate, info.fee_exponent, info.rebate_rate
            row.taker_delay = info.taker_delay
        listing = self._list(info)
        self.tell_market(listing, "listed", _NO_ROWS)
        return listing

    def levels(self, listing: Listing, outcome: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks) of a token as (pips, micro-shares), worst first, as the venue lists them."""
        market = self.public.markets[listing.index]
        start, n, grid = int(market.offset), int(market.levels), int(market.grid)
        bids, asks = self.public.book[start : start + n], self.public.book[start + n : start + 2 * n]
        low = [(int(i) * grid, int(bids[i])) for i in np.flatnonzero(bids)]
        high = [(int(i) * grid, int(asks[i])) for i in np.flatnonzero(asks)[::-1]]
        if outcome == Outcome.YES:
            return low, high
        return [(ONE - p, s) for p, s in high], [(ONE - p, s) for p, s in low]

    def best(self, listing: Listing, outcome: int = Outcome.YES) -> tuple[int, int]:
        """(best bid, best ask) of a token in pips; 0 and ONE where a side is empty."""
        market = self.public.markets[listing.index]
        bid, ask = int(bk.bid(market)), int(bk.ask(market))
        low = bid * int(market.grid) if bid >= 0 else 0
        high = ask * int(market.grid) if ask >= 0 else ONE
        return (low, high) if outcome == Outcome.YES else (ONE - high, ONE - low)

    # -- time --------------------------------------------------------------------------------------

    def venues(self) -> Iterator[Venue]:
        """The tape's book, the public one, then each account's kernel."""
        yield self.tape_book
        yield from self.kernels()

    def kernels(self) -> Iterator[Venue]:
        """The public book, then each account's kernel."""
        yield self.public
        for account in self.accounts.values():
            yield account.venue

    def next_due(self) -> int:
        """ns at which something happens by itself, FAR = never."""
        due = min((int(account.venue.core[0].due) for account in self.accounts.values()), default=FAR)
        mined = self._later[0][0] if self._later else FAR
        return min(self.tape.next_time(), due, mined)

    def advance(self, now: int) -> None:
        """Let everything happen that is due until `now` (ns): the tape before the timers at equal times. X1."""
        while (when := self.next_due()) <= now:
            self.now = max(self.now, when)
            if self.tape.next_time() == when:
                self.play(self.tape.take())
            elif self._later and self._later[0][0] == when:
                _, _, account, trade = heapq.heappop(self._later)
                self._mine(account, trade)
            else:
                for account in self.accounts.values():
                    if account.venue.core[0].due == when:
                        self._set_ghosts(account)
                        with np.errstate(over="ignore"):
                            expire(account.venue)
                        self._hear(account)
                self.crowd.show()
        self.now = max(self.now, now)

    def play(self, rows: np.ndarray) -> None:
        """One message of the tape happens now, at every kernel."""
        for row in rows:
            self.crowd.play(row)
            for account in self.accounts.values():
                if account.venue.core[0].answers_head < account.venue.core[0].answers_tail:
                    self._hear(account)
        told = self.crowd.settle()
        self._publish(rows)
        self.crowd.tell(told)

    def tell_change(self, listing: Listing, rows: np.ndarray) -> None:
        """Levels of the public book changed by accounts' orders."""
        self._note(listing, "change", rows)
        self.tell_market(listing, "change", rows)

    def _publish(self, rows: np.ndarray) -> None:
        """Tell the market channel what a message of the tape changed."""
        first = 0
        for at in range(1, len(rows) + 1):
            if at < len(rows) and rows[at].market == rows[first].market and _what(rows[at]) == _what(rows[first]):
                continue
            part = rows[first:at]
            first = at
            number = int(part[0].market)
            if number < 0 or (what := _what(part[0])) is None:
                continue
            listing = self.listings[number]
            if what == "change":  # what stands there now, of everybody
                part = part.copy()
                for row in part:
                    row["size"] = self.crowd.shown_size(row)
            self._note(listing, what, part)
            self.tell_market(listing, what, part)

    def _note(self, listing: Listing, what: str, part: np.ndarray) -> None:
        row = part[-1]
        if what in ("book", "change"):
            listing.changed = self.now
            self._note_mid(listing)
        elif what == "trade":
            listing.last_trade, listing.last_side = int(row.price), int(row.side)
        elif what == "tick":
            listing.tick = int(row.price)
        elif what == "status":
            listing.status = int(row.aux)
        elif what == "resolved":
            listing.status, listing.payout = Status.RESOLVED, int(row.price)

    def _note_mid(self, listing: Listing) -> None:
        """Keep what /prices-history tells: the mid at the end of each minute in which the book changed."""
        bid, ask = self.best(listing)
        if bid == 0 or ask == ONE:
            return
        listing.mids[self.now // NS_PER_MINUTE] = bid + ask
        if len(listing.mids) > HISTORY_MINUTES:
            del listing.mids[next(iter(listing.mids))]

    # -- accounts ----------------------------------------------------------------------------------

    def account(self, address: str) -> Account:
        """The account of an address; it is opened on first use, with the books as they stand."""
        if (known := self.accounts.get(address)) is not None:
            return known
        venue = self._kernel(self.cash)
        used = len(self.listings)
        cells = int(self.fresh[used].offset) if used < len(self.fresh) else self.cells
        venue.book[:cells] = self.tape_book.book[:cells]
        venue.markets[:] = self.tape_book.markets
        contracts = [domain_of(POLYGON, neg_risk).contract for neg_risk in (False, True)]
        account = Account(address, venue, dict.fromkeys(contracts, UNLIMITED))
        self.accounts[address] = account
        self.crowd.enter(account)
        return account

    def balance(self, account: Account, token: str | None) -> int:
        """What an account owns of pUSD (token None) or of a token on the chain, orders' reserves included."""
        if token is None:
            return int(account.venue.account[0].cash + account.venue.account[0].reserved)
        listing, outcome = self.find(token)
        position = account.venue.positions[listing.index]
        if outcome == Outcome.YES:
            return int(position.yes - position.yes_unsettled)
        return int(position.no - position.no_unsettled)

    def seen_balance(self, account: Account, token: str | None, update: bool = False) -> int:
        """What the venue believes an account owns: with the fault `stale_balance`, what it last looked up."""
        true, name = self.balance(account, token), token or ""
        if update or not self.faults["stale_balance"].on():
            account.cached[name] = true
        return account.cached.setdefault(name, true)

    def give(self, account: Account, token: str | None, amount: int) -> None:
        """Set what an account owns free of pUSD or of a token (micro-units); a transfer outside the venue."""
        if token is None:
            funds = account.venue.account[0]
            funds.deposits += amount - funds.cash
            funds.cash = amount
            return
        listing, outcome = self.find(token)
        position = account.venue.positions[listing.index]
        change = amount - int(free_shares(position, outcome))
        if outcome == Outcome.YES:
            position.yes += change
        else:
            position.no += change

    # -- orders ------------------------------------------------------------------------------------

    def submit(self, account: Account, ticket: Ticket, owner: str) -> Order:
        """Match an order now. Raises Refusal; otherwise the order, resting, matched or delayed. X2."""
        listing = self.by_token[ticket.message.token_id][0]
        if ticket.id in account.orders:
            raise Refusal(f"order {ticket.id} is invalid. Duplicated.")
        if not account.rows:
            raise Refusal("too many open orders")
        self._check_funds(account, ticket, listing)
        kernel, market = account.venue.core[0], account.venue.markets[listing.index]
        price, size = ticket.price, ticket.size
        taking, waits = ticket.order_type in TAKING, kernel.delays and market.taker_delay > 0
        if taking:
            worst, there, whole = self._walk(account, listing, ticket)
            if market.status == Status.OPEN and not whole and ticket.order_type == OrderType.FOK:
                raise Refusal(REFUSALS[Code.EXEC_FOK_NOT_FILLED])
            if market.status == Status.OPEN and not there:
                raise Refusal(REFUSALS[Code.EXEC_FAK_NOT_FILLED])
            if there >= size and not waits:
                price, size = worst, there
        row = account.rows.pop()
        account.serial += 1
        order = Order(ticket, listing, account.serial * MAX_ORDERS + row, self.now, owner, account.address, size)
        account.by_serial[order.serial] = order
        account.refusal, account.delayed = 0, False
        self._act(account, ActionKind.SUBMIT, order, price, size)
        if not account.refusal:
            account.orders[order.id] = order
            if account.delayed:
                order.status = "DELAYED"
                if taking:  # the kernel's own orders that take have fewer decimals, so it learns only now what this is
                    account.venue.orders[row].order_type = ticket.order_type
            self.tell_user(account, order, "PLACEMENT")
        self._hear(account)
        if account.refusal:
            raise Refusal(REFUSALS.get(account.refusal, "order is invalid"))
        if taking and order.open and not account.delayed:
            self._cancel(account, order)
        self.crowd.show()
        return order

    def _act(self, account: Account, kind: int, order: Order, price: int = 0, size: int = 0) -> None:
        """Hand an action to the account's kernel, and let it arrive."""
        action = records(ACTION, 1)[0]
        ticket, core = order.ticket, account.venue.core[0]
        action.ts, action.kind, action.order_id = self.now, kind, order.serial
        action.market, action.outcome, action.side = (
            order.listing.index,
            ticket.outcome,
            ticket.side,
        )
        action.price, action.size, action.expiry = price, size, ticket.expires
        action.order_type = OrderType.GTC if ticket.order_type in TAKING else ticket.order_type
        action.flags = POST_ONLY if ticket.post_only else 0
        self._set_ghosts(account)
        send(core, account.venue.entry, account.venue.actions, action)
        arrive(account.venue)
        if kind == ActionKind.SUBMIT:
            answer = account.venue.answers[int(core.answers_head) & (RING - 1)]
            account.refusal = int(answer.size) if answer.kind == EventKind.ORDER_REJECT else 0
            account.delayed = bool(answer.flags & Flag.DELAYED)

    def _set_ghosts(self, account: Account) -> None:
        core, ghosts = account.venue.core[0], self.faults["ghost_fill"]
        core.ghost_rate = ghosts.rate if ghosts.on() else 0
        core.settlement_delay = self.settlement
        timer = account.venue.timers[0]
        if core.n_timers and timer[2] == matching.SETTLE:
            self._set_fate(account, account.venue.unsettled[int(timer[3])])

    def _set_fate(self, account: Account, waiting: np.record) -> None:
        """A trade of two accounts has one end: what the kernel's dice say for whoever is asked first."""
        order = account.by_serial.get(int(waiting.order))
        if order is None:
            return
        core, match = account.venue.core[0], order.fills[int(waiting.number) - 1].match
        if match.ghost is None:
            seed, number = int(core.ghost_seed), int(waiting.number)
            with np.errstate(over="ignore"):
                match.ghost = bool(matching.is_ghost(seed, order.serial, number, int(core.ghost_rate)))
        core.ghost_rate = MICRO if match.ghost else 0

    def _check_funds(self, account: Account, ticket: Ticket, listing: Listing) -> None:
        """Balance as the venue believes it to be, and allowance of the exchange that would settle."""
        buying = ticket.side == Side.BUY
        token = None if buying else str(ticket.message.token_id)
        amount = ticket.message.maker_amount
        contract = domain_of(POLYGON, listing.neg_risk).contract
        if account.allowances.get(contract, 0) < amount:
            allowance = account.allowances.get(contract, 0)
            raise Refusal(
                f"not enough balance / allowance: the allowance is not enough -> spender: {contract}, "
                f"allowance: {allowance}, order amount: {amount}"
            )
        seen = self.seen_balance(account, token)
        held = sum(self._holds(order) for order in account.open_orders() if _gives(order) == (token or ""))
        if seen < amount + held:
            raise Refusal(
                f"not enough balance / allowance: the balance is not enough -> balance: {seen}, "
                f"sum of active orders: {held}, order amount: {amount}"
            )

    @staticmethod
    def _holds(order: Order) -> int:
        left = order.size - order.filled
        return left if order.ticket.side == Side.SELL else left * order.ticket.price // ONE

    def _walk(self, account: Account, listing: Listing, ticket: Ticket) -> tuple[int, int, bool]:
        """(worst price, shares, whole): what an order that takes finds now, to its price and its money or size."""
        venue, market = account.venue, account.venue.markets[listing.index]
        outcome = ticket.outcome
        asks = (ticket.side == Side.BUY) == (outcome == Outcome.YES)  # it takes from the YES book's asks
        level, step = (int(bk.ask(market)), 1) if asks else (int(bk.bid(market)), -1)
        buying, left = ticket.side == Side.BUY, ticket.money if ticket.side == Side.BUY else ticket.size
        worst, shares = ticket.price, 0
        while left > 0 and 0 <= level < market.levels:
            price = level * int(market.grid)
            own = price if outcome == Outcome.YES else ONE - price
            if own > ticket.price if buying else own < ticket.price:
                break
            there = int(
                matching._offered(venue.core[0], venue.book, venue.taken, venue.taken_of, market, int(asks), level)
            )
            want = left * ONE // own // CENT_SHARE * CENT_SHARE if buying else left
            size = min(there, want)
            if size:
                worst = own
            shares += size
            if want == 0:  # the money left buys not even a hundredth of a share
                return worst, shares, True
            left -= size * own // ONE if buying else size
            if size == want:
                return worst, shares, True
            level += step
        return worst, shares, left <= 0

    def cancel(self, account: Account, ids: list[str]) -> dict[str, Any]:
        """Take orders off the book: {"canceled": [...], "not_canceled": {id: reason}}."""
        canceled, refused = [], {}
        for name in dict.fromkeys(ids):
            order = account.orders.get(name)
            if order is None:
                refused[name] = "order can't be found - already canceled or matched"
            elif order.status == "DELAYED":
                refused[name] = "order can't be canceled: its match is delayed"
            elif order.status == "MATCHED":
                refused[name] = "matched orders can't be canceled"
            elif not order.open:
                refused[name] = "the order is already canceled"
            elif self.faults["refuse_cancel"].strikes():
                refused[name] = "could not run the execution"
            else:
                self._cancel(account, order)
                canceled.append(name)
        self.crowd.show()
        return {"canceled": canceled, "not_canceled": refused}

    def _cancel(self, account: Account, order: Order) -> None:
        self._act(account, ActionKind.CANCEL, order)
        self._hear(account)

    # -- what the kernel answers ---------------------------------------------------------------------

    def _hear(self, account: Account) -> None:
        """Turn the kernel's answers into orders' states, trades and events. X3."""
        core = account.venue.core[0]
        while core.answers_head < core.answers_tail:
            answer = account.venue.answers[int(core.answers_head) & (RING - 1)]
            core.answers_head += 1
            order = account.by_serial.get(int(answer.aux))
            if order is None:
                continue
            kind = answer.kind
            if kind == EventKind.ORDER_REJECT:
                self._leave(account, order)
            elif kind == EventKind.FILL_PROVISIONAL:
                self._fill(account, order, answer)
            elif kind in (EventKind.FILL_CONFIRMED, EventKind.FILL_VOIDED):
                self._settle(account, order, answer)
            elif kind == EventKind.CANCEL:
                order.status, order.ended = ENDS.get(int(answer.size), "CANCELED"), self.now
                self._leave(account, order)
                self.tell_user(account, order, "CANCELLATION")
        self.crowd.count(account)

    def _leave(self, account: Account, order: Order) -> None:
        """The kernel has forgotten an order; its row is free. Its fills may still have to settle."""
        account.rows.append(order.serial % MAX_ORDERS)
        if all(trade.status in ENDED for trade in order.trades):
            account.by_serial.pop(order.serial, None)

    def _fill(self, account: Account, order: Order, answer: Any) -> None:
        """A fill of the kernel becomes trades: of a maker one, of a taker one with each whose shares these were."""
        price, size, fee = int(answer.price), int(answer.size), int(answer.ref) * MICRO_PER_FEE_UNIT
        waiting = self.crowd.waiting.get((account.address, order.serial)) if answer.flags & Flag.MAKER else None
        order.filled += size
        order.spent += price * size // ONE
        if order.filled == order.size:
            order.status = "MATCHED"
            account.rows.append(order.serial % MAX_ORDERS)
        elif order.status == "DELAYED":
            order.status = "LIVE"
        if waiting:
            taken, match = waiting.popleft()
            trade = self._trade(account, order, price, size, 0, maker=True, name=taken.id)
            trade.other, taken.other = taken, trade
            order.fills.append(Fill(price, size, [trade], match))
            self._tell_fill(account, order, [trade])
            return
        maker, match = bool(answer.flags & Flag.MAKER), Match()
        legs = [Leg(size)]
        if not maker and not self.crowd.apart:
            yes_price = price if order.ticket.outcome == Outcome.YES else ONE - price
            legs = self.crowd.deal(account, order, yes_price, size)
        made = []
        for leg in legs:
            part = fee * leg.size // size if leg is not legs[-1] else fee - sum(trade.fee for trade in made)
            made.append(self._trade(account, order, price, leg.size, part, maker=maker))
        order.fills.append(Fill(price, size, made, match))
        self._tell_fill(account, order, made)
        for leg, trade in zip(legs, made, strict=True):
            if leg.rest is not None:
                self._meet(account, leg, trade, match)

    def _trade(
        self, account: Account, order: Order, price: int, size: int, fee: int, *, maker: bool, name: str = ""
    ) -> Trade:
        trade_id = name or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{order.id}:{len(order.trades)}"))
        trade = Trade(trade_id, order, price, size, fee, maker, self.now, self.now)
        order.trades.append(trade)
        account.trades[trade_id if trade_id not in account.trades else trade_id + ":maker"] = trade
        if not name:  # the other side of a trade is mined with it
            self._numbers += 1
            heapq.heappush(self._later, (self.now + self.settlement // 2, self._numbers, account, trade))
        return trade

    def _tell_fill(self, account: Account, order: Order, trades: list[Trade]) -> None:
        for trade in trades:
            self.tell_user(account, trade, "trade")
        self.tell_user(account, order, "UPDATE")

    def _meet(self, taker: Account, leg: Leg, trade: Trade, match: Match) -> None:
        """The resting order of an account gives its part of a fill, and both are one trade, which is printed."""
        rest = leg.rest
        assert rest is not None
        self.crowd.waiting[rest.account.address, rest.order.serial].append((trade, match))
        self.crowd.fill(leg)
        if rest.account is not taker:  # its own answers are heard next
            self._hear(rest.account)
        row = records(EVENT, 1)
        market = self.public.markets[rest.order.listing.index]
        row["ts_recv"] = row["ts_event"] = self.now
        row["market"], row["kind"], row["flags"] = rest.order.listing.index, EventKind.TRADE, Flag.LAST
        row["price"], row["size"], row["side"] = rest.level * int(market.grid), leg.size, 1 - rest.side
        self._note(rest.order.listing, "trade", row)
        self.tell_market(rest.order.listing, "trade", row)

    def _mine(self, account: Account, trade: Trade) -> None:
        """Half of a settlement is over."""
        if trade.status != "MATCHED":
            return
        both = [(account, trade)] + ([(self._owner(trade.other), trade.other)] if trade.other else [])
        if self.faults["retrying"].strikes():
            self._say_all(both, "RETRYING")
        for _, one in both:
            one.hash = "0x" + hashlib.sha256(one.id.encode()).hexdigest()
        self._say_all(both, "MINED")

    def _owner(self, trade: Trade) -> Account:
        return self.accounts[trade.order.account]

    def _say_all(self, both: list[tuple[Account, Trade]], status: str) -> None:
        for account, trade in both:
            trade.updated, trade.status = self.now, status
            self.tell_user(account, trade, "trade")

    def _settle(self, account: Account, order: Order, answer: Any) -> None:
        waiting = (f for f in order.fills if f.trades[0].status not in ENDED)
        fill = next(f for f in waiting if (f.price, f.size) == (int(answer.price), int(answer.size)))
        status = "CONFIRMED" if answer.kind == EventKind.FILL_CONFIRMED else "FAILED"
        for trade in fill.trades:
            if trade.status == "MATCHED":
                self._mine(account, trade)
            if status == "FAILED" and not (trade.other and trade.maker):
                ghosts = self.faults["ghost_fill"]
                ghosts.struck += 1
                ghosts.count -= ghosts.count > 0
            self._say_all([(account, trade)], status)
        if not order.open and all(trade.status in ENDED for trade in order.trades):
            account.by_serial.pop(order.serial, None)


_NO_ROWS = records(EVENT, 0)


def _spare_info(number: int) -> MarketInfo:
    """A place for a market that is added later: every tick fits its book."""
    return MarketInfo(
        f"0x{number:064x}", "", "", "", "", tick=100, grid=1, min_size=5 * MICRO, fee_rate=0, fee_exponent=1,
        rebate_rate=0, neg_risk=False, event_id="", end_ts=0,
    )  # fmt: skip


def _what(row: Any) -> str | None:
    """Which message a row belongs to."""
    kind = row.kind
    if kind in (EventKind.BOOK_CLEAR, EventKind.LEVEL) or (kind == EventKind.CHANGE and row.flags & Flag.SNAPSHOT):
        return "book"
    return {
        EventKind.CHANGE: "change",
        EventKind.TRADE: "trade",
        EventKind.TICK_SIZE: "tick",
        EventKind.STATUS: "status",
        EventKind.RESOLUTION: "resolved",
    }.get(EventKind(int(kind)))


def _gives(order: Order) -> str:
    """What an order gives: "" for pUSD, else the token."""
    return "" if order.ticket.side == Side.BUY else str(order.ticket.message.token_id)


def ms(ns: int) -> int:
    """ns to whole milliseconds."""
    return ns // NS_PER_MS
