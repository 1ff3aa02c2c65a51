"""The venue port to Polymarket, and to a local venue that speaks its protocol.

    requests = port.prepare(actions, now)    built, checked, signed: the digest is known, nothing has been sent
    await port.send(requests)                sent once; what becomes of it is emitted as event rows

Four tasks run from `start` to `stop`: the user channel, the heartbeat, the tending (orders in doubt are looked up,
cancels repeated, everything compared with the venue from time to time, clock and geoblock checked again), each
watched: one that breaks is started again and the break shows in `health`.

Invariants of this implementation, beside those of `venue.port`
    P1  an order is posted at most once; without proof of its end it is looked up by its digest
    P2  a request is not older than `patience` when it leaves: one that the budget would hold longer is denied
    P3  no task of the port ends in silence
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

import numpy as np

from polytraders.data.markets import MarketInfo
from polytraders.engine.fees import taker_fee
from polytraders.reasons import REGISTRY, Code
from polytraders.rows import POST_ONLY, ActionKind, EventKind, OrderType, Outcome, Side
from polytraders.units import NS_PER_MS, NS_PER_S, ONE, UnitError, price_pips, size_micro
from polytraders.venue.guard import Asked, Funds, Guard, decided
from polytraders.venue.orders import LARGEST_BATCH, Credentials, Market, body, build, exchange, payload
from polytraders.venue.polymarket import outcomes, preflight, reconcile
from polytraders.venue.polymarket.budget import Budget
from polytraders.venue.polymarket.client import LARGEST_CANCEL, TIMEOUT, Answer, Client, Hosts
from polytraders.venue.polymarket.heartbeat import INTERVAL, Heartbeat
from polytraders.venue.polymarket.tracking import TAKING, Phase, Tracked, Tracker, listed_trades
from polytraders.venue.polymarket.user_stream import PING, UserStream
from polytraders.venue.port import Balances, Emit, Known, News, OpenOrder, Request, Trade
from polytraders.venue.refusal import Refused

LOOKS = 8
"""Orders looked up at one time."""
LAG = 600 * NS_PER_S
"""ns by which a trade may come late into the venue's list. Of an order that the venue says has traded more than was
heard every trade since its begin is asked for, however late."""


@dataclass(frozen=True)
class Options:
    """How careful and how patient a port is. Times in s."""

    timeout: float = TIMEOUT  # of one request
    patience: float = 0.5  # an order that the budget would hold longer is denied
    absent_after: float = 15.0  # "not found" is believed so long after a request ended without an answer
    trades_after: float = 0.4  # trades that were spoken of and are not here are asked for
    reconcile_every: float = 30.0
    clock_every: float = 60.0
    geoblock_every: float = 3_600.0
    heartbeat: bool = True
    heartbeat_every: float = INTERVAL
    silence: float = 30.0  # of the user channel
    reconnect: tuple[float, float] = (0.25, 30.0)  # first and longest delay
    connect_within: float = 15.0
    least_balance: int = 1  # micro-pUSD without which trading does not begin
    tier: str = "standard"  # of the signer's limits, until the venue tells it


@dataclass
class _Rules:
    """What of a market's rules signing needs, as they are in force."""

    tick: int
    fee_rate: int
    fee_exponent: int
    signing: dict[int, Market] = field(default_factory=dict)  # by outcome
    domain: Any = None


class PolymarketPort:
    """`venue.port.VenuePort` over the CLOB's wire protocol.

    Parameters
    ----------
    hosts: where the venue answers.
    markets: the run's market table, in its order.
    guard: checks and signs every order, knows who pays, and hears of balances, fills and ends; whoever gives it sees to
        it that `read_funds` is called more often than its bots let a balance grow old. credentials: sign requests.
    builder: the code that orders carry, bytes32 in hex.
    clock: ns; rows are stamped with it and never step back.
    """

    def __init__(
        self,
        hosts: Hosts,
        markets: Sequence[MarketInfo],
        guard: Guard,
        credentials: Credentials,
        builder: str,
        options: Options = Options(),
        clock: Callable[[], int] = time.time_ns,
    ):
        self.name = hosts.name
        self.guard, self.account = guard, guard.account
        self._matched = set[str]()  # trades told as provisional
        self.moved = asyncio.Event()
        """Something of ours traded: the wallet is not as it was read."""
        self._held: dict[tuple[int, int], int] = {}  # (market, outcome) -> micro-shares, as last read
        self._traded: set[int] = set()  # markets with a fill told since their shares were read
        self.hosts, self.markets, self.builder, self.options = hosts, list(markets), builder, options
        self._credentials, self._clock, self._now = credentials, clock, 0
        budget = Budget()
        if options.tier != budget.tier:
            budget.heard("POST", "/order", 200, {"Poly-RateLimit-Tier": options.tier}, 0.0)
        self.client = Client(hosts, guard.address, credentials, budget=budget, timeout=options.timeout, clock=clock)
        self.where: dict[str, tuple[int, int]] = {}
        self._condition: list[str] = []
        self._rules: list[_Rules] = []
        for number, market in enumerate(self.markets):
            self._add_market(number, market)
        self.tracker = Tracker(
            self.where, self._stamp, self.fees, self._publish, patience=int(options.trades_after * NS_PER_S)
        )
        self.tracker.wake = self._wake
        self.stream = UserStream(
            self.client,
            credentials,
            self._heard,
            self._connected,
            ping=min(PING, options.silence / 3),
            silence=options.silence,
            delays=options.reconnect,
        )
        self.beats = Heartbeat(self.client, interval=options.heartbeat_every)
        self.stopped: Callable[[int, int], Code | None] = lambda market, order: None
        self.under_way: set[str] = set()
        self.blocked = False  # the geoblock page said no, or nothing, since the start: orders are denied
        self._emit: Emit = lambda news: None
        self._keys: dict[int, str] = {}  # order id -> digest, from `prepare` on
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._state: dict[str, dict[str, Any]] = {
            name: {"up": False, "since": 0, "last": 0, "errors": 0, "problem": ""} for name in ("tending", "reconcile")
        }
        self._kick = asyncio.Event()
        self._next_reconcile = self._next_clock = self._next_geoblock = 0
        self._comparing = asyncio.Lock()
        self._last_trade = 0
        self._heard_until = 0  # ns: trades of ours before it were listed to the tracker
        self._differences: dict[str, Any] = {}

    def _add_market(self, number: int, market: MarketInfo) -> None:
        rules = _Rules(
            market.tick, market.fee_rate, market.fee_exponent, domain=exchange(self.hosts.chain_id, market.neg_risk)
        )
        for outcome, token in ((Outcome.YES, market.yes_token), (Outcome.NO, market.no_token)):
            if not token.isdecimal():
                what = f"{market.slug or market.condition_id}: {token!r} is no token"
                raise Refused("EXEC_MARKET_UNKNOWN", what, where="markets")
            self.where[token] = number, int(outcome)
            version = getattr(market, "version", "v1") or "v1"
            rules.signing[int(outcome)] = Market(
                int(token), market.tick, market.min_size, market.neg_risk, self.hosts.chain_id, version
            )
        self._rules.append(rules)
        self._condition.append(market.condition_id)

    # -- small things --------------------------------------------------------------------------------

    def _stamp(self) -> int:
        self._now = max(self._now, self._clock())
        return self._now

    def fees(self, market: int) -> tuple[int, int]:
        """(rate in ppm, exponent) in force."""
        rules = self._rules[market]
        return rules.fee_rate, rules.fee_exponent

    def _publish(self, news: News) -> None:
        fills = news.rows["kind"] == EventKind.FILL_PROVISIONAL
        fills |= news.rows["kind"] == EventKind.FILL_CONFIRMED
        if fills.any():
            self._last_trade = max(self._last_trade, int(news.rows["ts_event"][fills].max()))
        self._tell_guard(news)
        for order_id in news.rows["aux"][np.isin(news.rows["kind"], (EventKind.ORDER_REJECT, EventKind.CANCEL))]:
            self._keys.pop(int(order_id), None)
        self._emit(news)

    def _wake(self) -> None:
        self._kick.set()

    def _heard(self, event: dict[str, Any]) -> None:
        kind = event.get("event_type")
        if kind == "trade":
            self.tracker.hear_trade(event)
        elif kind == "order":
            self.tracker.hear_order(event)
        self.tracker.flush()

    def _connected(self, times: int) -> None:
        self._next_reconcile = 0  # what was said while nobody listened
        self._wake()

    # -- life ----------------------------------------------------------------------------------------

    async def start(self, emit: Emit, known: Sequence[Known] = ()) -> None:
        """See VenuePort.start. Raises Refused with the first check of `preflight.checks` that is not good."""
        self._emit = emit
        self.client.open()
        try:
            for check in await preflight.checks(self.client, self.account, self.markets, self.options.least_balance):
                if not check.good:
                    raise check.refusal()
            await self._set_clock()
            for order in known:
                self._keys[int(order.action["order_id"])] = order.key
                self.tracker.resume(order)
                if not order.over:
                    self._promise(order)
            self._tasks["user_stream"] = asyncio.create_task(
                self._watch("user_stream", self.stream.run, self.stream.state)
            )
            try:
                async with asyncio.timeout(self.options.connect_within):
                    await self.stream.connected.wait()
            except TimeoutError:
                what = f"no user channel within {self.options.connect_within:g} s: {self.stream.state['problem']}"
                raise Refused("EXEC_VENUE_UNREACHABLE", what, where=self.hosts.user_ws) from None
            if self.options.heartbeat:
                self._tasks["heartbeat"] = asyncio.create_task(
                    self._watch("heartbeat", self.beats.run, self.beats.state)
                )
            found = await self.reconcile()
            if not found["whole"]:
                raise Refused("EXEC_VENUE_UNREACHABLE", f"orders and trades could not be listed: {found['problem']}")
            await self.balances()
            now = self._stamp()
            self._next_clock = now + int(self.options.clock_every * NS_PER_S)
            self._next_geoblock = now + int(self.options.geoblock_every * NS_PER_S)
            self._tasks["tending"] = asyncio.create_task(self._watch("tending", self._tend, self._state["tending"]))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See VenuePort.stop."""
        tasks, self._tasks = list(self._tasks.values()), {}
        waiting = set(tasks)
        while waiting:  # a library that loses a cancellation is asked again
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=1.0)
        self.tracker.flush()
        await self.client.close()

    async def _watch(self, name: str, run: Callable[[], Awaitable[None]], state: dict[str, Any]) -> None:
        """Keep a task running (P3)."""
        while True:
            try:
                await run()
                problem = "ended"
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, orders rest at the venue and must be tended
                problem = f"{type(error).__name__}: {error}"
            state |= {"up": False, "errors": state["errors"] + 1, "problem": problem[:300]}
            await asyncio.sleep(0.5)

    # -- from actions to requests ------------------------------------------------------------------------

    def prepare(self, actions: np.ndarray, now: int) -> list[Request]:
        """See VenuePort.prepare."""
        return [self._prepare(action.copy(), now) for action in actions]

    def _prepare(self, action: np.void, now: int) -> Request:
        kind = int(action["kind"])
        if kind == ActionKind.SUBMIT:
            try:
                key, sent = self._sign(action, now)
            except Refused as error:
                return Request(action, "", refused=error.code, why=str(error))
            self._keys[int(action["order_id"])] = key
            return Request(action, key, sent)
        if kind == ActionKind.CANCEL:
            return Request(action, self._keys.get(int(action["order_id"]), ""))
        if kind == ActionKind.CANCEL_ALL:
            return Request(action, "")
        why = "complete sets are made and merged on the chain, not at the order book"
        return Request(action, "", refused="EXEC_SETS_REFUSED", why=why)

    def _sign(self, action: np.void, now: int) -> tuple[str, bytes]:
        """(digest, bytes of the body) of a submit. Raises Refused."""
        if self.blocked:
            raise Refused("SEC_GEOBLOCKED", "orders are not taken from here, or it is not known", where="geoblock")
        rules = self._rules[action["market"]]
        side, price, size = int(action["side"]), int(action["price"]), int(action["size"])
        kind = OrderType(action["order_type"])
        amount = price * size // ONE if side == Side.BUY and kind in TAKING else size
        order = build(
            rules.signing[int(action["outcome"])], self.account, side, price, amount, kind,
            salt=secrets.randbits(53), timestamp_ms=now // NS_PER_MS, builder=self.builder,
        )  # fmt: skip
        wanted = decided(action, rules.signing[int(action["outcome"])].token_id, self.account, self.builder)
        takes = side == Side.BUY and not action["flags"] & POST_ONLY
        fee = int(taker_fee(size, price, rules.fee_rate, rules.fee_exponent)) if takes else 0
        signed = self.guard.sign_one(Asked(order, rules.domain, wanted, fee), now)
        try:
            made = body(
                order, signed.signature, kind, owner=self._credentials.api_key, expiration_s=int(action["expiry"]),
                post_only=bool(action["flags"] & POST_ONLY),
            )  # fmt: skip
        except Refused:
            self.guard.ended(signed.order_id)
            raise
        return signed.order_id, payload(made)

    def _promise(self, order: Known) -> None:
        """An order of a former process holds back what it may still take."""
        action = order.action
        left = int(action["size"]) - order.filled
        selling = int(action["side"]) == Side.SELL
        token = self._rules[action["market"]].signing[int(action["outcome"])].token_id if selling else 0
        amount = left if selling else -(-int(action["price"]) * left // ONE)
        self.guard.promised(order.key, token, amount, left)

    def _tell_guard(self, news: News) -> None:
        """What the venue told of our orders, as the guard counts it: a match spends, an end frees the rest."""
        for row, trade in zip(news.rows, news.keys, strict=False):
            key, kind = self._keys.get(int(row["aux"]), ""), row["kind"]
            if kind == EventKind.FILL_PROVISIONAL or (kind == EventKind.FILL_CONFIRMED and trade not in self._matched):
                paid = int(row["price"]) * int(row["size"]) // ONE + int(row["ref"]) * 10  # ref: 1e-5 pUSD
                self.guard.filled(key, paid, int(row["size"]), self._now)
            elif kind in (EventKind.ORDER_REJECT, EventKind.CANCEL):
                self.guard.ended(key)
            if EventKind.FILL_PROVISIONAL <= kind <= EventKind.FILL_VOIDED:
                self._traded.add(int(row["market"]))
                self.moved.set()  # a match takes, and what the chain then gives may be sold at once
            if kind == EventKind.FILL_PROVISIONAL:
                self._matched.add(trade)
            else:
                self._matched.discard(trade)

    def observe(self, events: np.ndarray) -> None:
        """See VenuePort.observe. An order that was kept back on its way here ends in these rows alone."""
        for row in events[np.isin(events["kind"], (EventKind.ORDER_REJECT, EventKind.CANCEL))]:
            self.guard.ended(self._keys.get(int(row["aux"]), ""))
        for row in events[np.isin(events["kind"], (EventKind.TICK_SIZE, EventKind.FEES))]:
            rules = self._rules[row["market"]]
            if row["kind"] == EventKind.TICK_SIZE:
                self._set_tick(rules, int(row["price"]))
            else:
                rules.fee_rate, rules.fee_exponent = int(row["size"]), int(row["price"])

    @staticmethod
    def _set_tick(rules: _Rules, tick: int) -> None:
        rules.tick = tick
        rules.signing = {outcome: market._replace(tick=tick) for outcome, market in rules.signing.items()}

    # -- sending ----------------------------------------------------------------------------------------

    async def send(self, requests: Sequence[Request]) -> None:
        """See VenuePort.send. Raises ValueError when an order would be sent twice (V1)."""
        submits: list[tuple[Tracked, bytes]] = []
        cancels: list[Tracked] = []
        jobs: list[Awaitable[None]] = []
        for request in requests:
            kind = int(request.action["kind"])
            if request.refused:
                self.tracker.deny(request.action, int(REGISTRY[request.refused].number), request.why)
            elif kind == ActionKind.SUBMIT:
                if request.key in self.tracker.orders or request.key in self.tracker.forgotten:
                    raise ValueError(f"order {request.key} was sent already")
                submits.append((self.tracker.add(request.action, request.key), request.body))
            elif kind == ActionKind.CANCEL:
                order = self.tracker.orders.get(request.key or self._keys.get(int(request.action["order_id"]), ""))
                if order is None or order.phase == Phase.OVER:
                    continue  # its end is told already, or on its way
                order.cancel_asked = True
                if order.phase == Phase.OPEN:  # one that is not there yet is cancelled when it is: see `_tend`
                    cancels.append(order)
            else:
                jobs.append(self.cancel_all(int(request.action["market"])))
        self.tracker.flush()
        if cancels:
            jobs.append(self._cancel(cancels))
        for first in range(0, len(submits), LARGEST_BATCH):
            jobs.append(self._post(submits[first : first + LARGEST_BATCH]))
        if len(jobs) == 1:
            await jobs[0]
        elif jobs:
            await asyncio.gather(*jobs)

    async def _post(self, batch: list[tuple[Tracked, bytes]]) -> None:
        """Send up to fifteen orders in one request and take in what the answer proves of each."""
        keys: set[str] = set()

        def leaves() -> bool:
            if any(self.stopped(order.market, order.id) is not None for order, _ in batch):
                return False
            keys.update(order.key for order, _ in batch)
            self.under_way |= keys
            return True

        answer = None
        while answer is None and not keys and (batch := self._let_go(batch)):
            try:
                answer = await self.client.post_orders([sent for _, sent in batch], self.options.patience, leaves)
            except asyncio.CancelledError:
                for order, _ in batch:
                    if order.key in keys:  # whoever gave up waiting has not taken the request back
                        self.tracker.unknown(order.key, "the sender was cancelled")
                    else:
                        self.tracker.withheld(order.key, Code.EXEC_NOT_SENT_STOPPING)
                self.tracker.flush()
                raise
            finally:
                self.under_way -= keys
            if answer is None and all(self.stopped(order.market, order.id) is None for order, _ in batch):
                break
        if not batch:
            self.tracker.flush()
            return
        if answer is None:
            why = f"the request budget would hold it longer than {self.options.patience:g} s"
            for order, _ in batch:
                self.tracker.refused(order.key, Code.EXEC_RATE_BUDGET, why)
        elif (whole := outcomes.of_status(answer.status, answer.body, answer.headers)) is not None:
            for order, _ in batch:
                self._judge(order, whole, answer.problem)
        else:
            entries = answer.body if isinstance(answer.body, list) else [answer.body]
            if len(entries) != len(batch):
                entries = [None] * len(batch)
            for (order, _), entry in zip(batch, entries, strict=True):
                self._judge_entry(order, entry)
        self.tracker.flush()

    def _let_go(self, batch: list[tuple[Tracked, bytes]]) -> list[tuple[Tracked, bytes]]:
        """Those that may still leave; the others are told not to have been sent."""
        kept = []
        for order, sent in batch:
            code = self.stopped(order.market, order.id)
            if code is None:
                kept.append((order, sent))
            else:
                self.tracker.withheld(order.key, code)
        return kept

    def _judge_entry(self, order: Tracked, entry: Any) -> None:
        outcome = outcomes.of_entry(entry, order.side if order.taking else -1)
        if outcome.kind == outcomes.Kind.ACCEPTED and entry.get("orderID") != order.key:
            text = f"the venue calls the order {entry.get('orderID')}"
            outcome = outcomes.Outcome(outcomes.Kind.UNKNOWN, Code.EXEC_OUTCOME_UNKNOWN, text)
        self._judge(order, outcome)

    def _judge(self, order: Tracked, outcome: outcomes.Outcome, problem: str = "") -> None:
        tracker, text = self.tracker, outcome.text or problem
        if outcome.kind == outcomes.Kind.REFUSED:
            tracker.refused(order.key, outcome.code, text)
            if outcome.code == Code.SEC_CREDENTIALS_REFUSED:
                self._next_clock = 0  # most often it is the clock
                self._wake()
            elif outcome.code == Code.SEC_GEOBLOCKED:
                self._next_geoblock = 0
                self._wake()
            elif outcome.code == Code.EXEC_OFF_TICK:
                self._ask_tick(order.market)
        elif outcome.kind == outcomes.Kind.UNKNOWN:
            tracker.unknown(order.key, text)
        else:
            tracker.accepted(order.key, delayed=outcome.status == "delayed")
            if outcome.status == "matched":
                tracker.expect(order.key, outcome.trades, outcome.matched)

    def _ask_tick(self, market: int) -> None:
        """The venue knows another tick: ask for it once. It is only ever taken to be finer."""
        name = f"tick {market}"
        if name in self._tasks:
            return

        async def ask() -> None:
            try:
                answer = await self.client.tick_size(self.markets[market].yes_token)
                with contextlib.suppress(UnitError, KeyError, TypeError):
                    tick = price_pips(str(answer.body["minimum_tick_size"]))
                    if 0 < tick < self._rules[market].tick:
                        self._set_tick(self._rules[market], tick)
            finally:
                self._tasks.pop(name, None)

        self._tasks[name] = asyncio.create_task(ask())

    async def _cancel(self, orders: Iterable[Tracked]) -> None:
        """Ask for cancels. One that is not answered is asked again: the second does no more than the first."""
        wanted = [order for order in orders if order.phase == Phase.OPEN and not order.end]
        for first in range(0, len(wanted), LARGEST_CANCEL):
            part = wanted[first : first + LARGEST_CANCEL]
            for order in part:
                order.cancel_tried, order.cancel_at = True, 0
            try:
                answer = await self.client.cancel([order.key for order in part])
            except asyncio.CancelledError:
                self._again(part, 0.2)
                raise
            self._cancelled(part, answer)
        self.tracker.flush()

    def _cancelled(self, part: Sequence[Tracked], answer: Answer) -> None:
        whole = outcomes.of_status(answer.status, answer.body, answer.headers)
        if whole is not None:
            if whole.code == Code.SEC_CREDENTIALS_REFUSED:
                self._next_clock = 0
            self._again(part, max(whole.wait, 0.2))
            if whole.kind == outcomes.Kind.UNKNOWN:
                for order in part:
                    order.look_at = self._stamp()
            return
        done, not_done = _cancel_lists(answer.body)
        now = self._stamp()
        for order in part:
            if order.key in done:
                self.tracker.ended(order.key, Code.EXEC_CANCELLED)
            elif outcomes.cancel_is_late(not_done.get(order.key, "")):
                order.look_at = now
            else:
                self._again([order], 0.5)
        self._wake()

    def _again(self, orders: Iterable[Tracked], seconds: float) -> None:
        at = self._stamp() + int(seconds * NS_PER_S)
        for order in orders:
            order.cancel_at = at
        self._wake()

    async def cancel_all(self, market: int = -1) -> None:
        """See VenuePort.cancel_all. Orders that are not proven to be there are cancelled once they are."""
        mine = [o for o in self.tracker.orders.values() if market < 0 or o.market == market]
        for order in mine:
            if order.phase != Phase.OVER:
                order.cancel_asked = True
        answer = await self.client.cancel_all(self._condition[market] if market >= 0 else "")
        live = [order for order in mine if order.phase == Phase.OPEN and not order.end]
        if outcomes.of_status(answer.status, answer.body, answer.headers) is None:
            done, _ = _cancel_lists(answer.body)
            for order in live:
                if order.key in done:
                    self.tracker.ended(order.key, Code.EXEC_CANCELLED)
            live = [order for order in live if order.phase == Phase.OPEN and not order.end]
        if live:
            await self._cancel(live)
        self.tracker.flush()

    # -- tending ------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Look after what is not certain, until cancelled."""
        state = self._state["tending"]
        state |= {"up": True, "since": self._stamp(), "problem": ""}
        while True:
            now = state["last"] = self._stamp()
            await self._tend_once(now)
            self.tracker.flush()
            due = [at for at in (self.tracker.next_look(), self._next_cancel(), self._next_reconcile) if at]
            nap = min([max(at - self._stamp(), 0) for at in due], default=NS_PER_S)
            with contextlib.suppress(TimeoutError):  # not wait_for, which may lose a cancellation (Python 3.11)
                async with asyncio.timeout(min(max(nap, NS_PER_MS), NS_PER_S) / NS_PER_S):
                    await self._kick.wait()
            self._kick.clear()

    def _next_cancel(self) -> int:
        return min((o.cancel_at for o in self.tracker.orders.values() if o.cancel_at), default=0)

    async def _tend_once(self, now: int) -> None:
        if now >= self._next_clock:
            self._next_clock = now + int(self.options.clock_every * NS_PER_S)
            await self._set_clock()
        if now >= self._next_geoblock:
            await self._check_place(now)
        if self.tracker.strays:
            await self._cancel_strays()
        due = [
            order
            for order in self.tracker.orders.values()
            if order.cancel_asked and order.phase == Phase.OPEN and not order.end and self._may_cancel(order, now)
        ]
        if due:
            await self._cancel(due)
        # a few at a time: what is due meanwhile, a cancel or an order's second look, does not wait for the last of many
        doubtful = nsmallest(LOOKS, self.tracker.doubtful(now), key=lambda order: order.look_at)
        absent = int(self.options.absent_after * NS_PER_S)
        await asyncio.gather(*(reconcile.look_up(self.client, self.tracker, order, absent) for order in doubtful))
        self.tracker.flush()
        if now >= self._next_reconcile:
            await self.reconcile()

    @staticmethod
    def _may_cancel(order: Tracked, now: int) -> bool:
        """Its cancel was put off, or never sent because the order was not there yet."""
        if order.cancel_at:
            return order.cancel_at <= now
        return not order.cancel_tried

    async def _cancel_strays(self) -> None:
        strays, self.tracker.strays = self.tracker.strays, []
        answer = await self.client.cancel(strays)
        if not answer.good:
            self.tracker.strays += strays
            await asyncio.sleep(0.2)

    async def _set_clock(self) -> None:
        """Measure the venue's clock; what is signed is stamped with it when ours is off by more than it says."""
        measured = await self.client.time()
        if measured is not None:
            skew = measured[0] - self.client.clock()
            self.client.offset = skew if abs(skew) > 2 * NS_PER_S else 0

    async def _check_place(self, now: int) -> None:
        """The geoblock page again; without an answer it is asked again soon, and orders are denied meanwhile."""
        check = await preflight.check_geoblock(self.client)
        self.blocked = not check.good
        wait = self.options.geoblock_every if check.good else 30.0
        self._next_geoblock = now + int(wait * NS_PER_S)

    # -- what the venue lists ----------------------------------------------------------------------------

    async def reconcile(self) -> dict[str, Any]:
        """See VenuePort.reconcile: {whole, open_listed, trades_listed, not_listed, strangers, emitted, problem}."""
        async with self._comparing:
            state = self._state["reconcile"]
            began = self._stamp()
            emitted = 0
            unsettled = self.tracker.unsettled_since()
            sent = min((order.sent for order in self.tracker.orders.values()), default=began)
            sent = max(sent, self._heard_until)  # a quote may rest for days; its trades are not listed again each time
            since = min(at for at in (unsettled, self._last_trade, sent, began) if at)
            found = await reconcile.compare(self.client, self.tracker, since)
            if found.whole:
                self._heard_until = began - LAG
            emitted += self.tracker.flush()
            absent = int(self.options.absent_after * NS_PER_S)
            for first in range(0, len(found.not_listed), LOOKS):
                part = [self.tracker.orders.get(key) for key in found.not_listed[first : first + LOOKS]]
                looks = (reconcile.look_up(self.client, self.tracker, order, absent) for order in part if order)
                await asyncio.gather(*looks)
                emitted += self.tracker.flush()
            unknown = [order for order in self.tracker.orders.values() if order.phase == Phase.UNKNOWN]
            await asyncio.gather(*(reconcile.look_up(self.client, self.tracker, o, absent) for o in unknown[:LOOKS]))
            emitted += self.tracker.flush()
            for order_id in [i for i, key in self._keys.items() if key in self.tracker.forgotten]:
                del self._keys[order_id]  # filled whole, and settled
            now = self._stamp()
            self._next_reconcile = now + int((self.options.reconcile_every if found.whole else 1.0) * NS_PER_S)
            state |= {"up": found.whole, "last": now, "problem": found.problem}
            if not state["since"] or not found.whole:
                state["since"] = now
            state["errors"] += not found.whole
            self._differences = found.as_dict() | {"emitted": emitted}
            return self._differences

    async def open_orders(self) -> list[OpenOrder]:
        """See VenuePort.open_orders. Raises Refused when the venue does not tell."""
        listed, problem = await self.client.all("/data/orders")
        if problem is not None:
            raise _not_told("open orders", problem)
        return [self._open_order(said) for said in listed]

    def _open_order(self, said: dict[str, Any]) -> OpenOrder:
        market, outcome = self.where.get(str(said.get("asset_id")), (-1, int(Outcome.YES)))
        side = Side.SELL if str(said.get("side")).upper() == "SELL" else Side.BUY
        try:
            price, size = price_pips(str(said["price"])), size_micro(str(said["original_size"]))
            filled = size_micro(str(said.get("size_matched") or "0"))
        except (KeyError, UnitError) as error:
            raise Refused(
                "EXEC_VENUE_UNREACHABLE", f"an order of unknown form: {error}", where="/data/orders"
            ) from None
        return OpenOrder(str(said.get("id")), market, outcome, int(side), price, size, filled)

    async def trades(self, since: int = 0) -> list[Trade]:
        """See VenuePort.trades: of orders of this run. Raises Refused when the venue does not tell."""
        listed, problem = await self.client.all("/data/trades", after=str(since // NS_PER_S))
        if problem is not None:
            raise _not_told("trades", problem)
        ours = _Ours(self.tracker)
        found = [trade for said in listed for trade in listed_trades(said, self.where, ours, self.fees)]
        return sorted(
            (trade for trade in found if trade.ts + NS_PER_S > since), key=lambda trade: (trade.ts, trade.key)
        )

    async def balances(self) -> Balances:
        """See VenuePort.balances. Raises Refused when the venue does not tell."""
        kind, asked_at = int(self.account.signature_type), self._stamp()
        money = await self.client.balance(signature_type=kind)
        tokens = [token for token, _ in self.where.items()]
        if len(tokens) > 40:
            listed = await self._listed_tokens()
            tokens = [token for token in tokens if token in listed]
        answers = await asyncio.gather(*(self.client.balance(token, kind) for token in tokens))
        try:
            cash = int(money.body["balance"])
            allowed = {str(name).lower(): int(value) for name, value in money.body["allowances"].items()}
            shares = {
                self.where[token]: int(answer.body["balance"]) for token, answer in zip(tokens, answers, strict=True)
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _not_told("balances", next((a for a in (money, *answers) if not a.good), money)) from None
        needed = {rules.domain.contract.lower() for rules in self._rules}
        allowance = min((allowed.get(name, 0) for name in needed), default=0)
        self._held = {place: size for place, size in shares.items() if size}
        self._tell_funds(cash, asked_at)
        return Balances(cash, {place: size for place, size in shares.items() if size}, allowance, self._stamp())

    async def read_funds(self) -> None:
        """Tell the guard anew what the wallet holds: cash, and the tokens that were held or ordered since.

        Every token takes a request, and the venue permits few: what nobody traded here is as it was. Raises Refused
        when the venue does not tell."""
        if not self.client.is_open:
            raise Refused("EXEC_VENUE_UNREACHABLE", "the port is not started", where=self.hosts.rest)
        kind, asked_at = int(self.account.signature_type), self._stamp()
        traded, self._traded = self._traded, set()
        places = {*self._held, *((order.market, order.outcome) for order in self.tracker.orders.values())}
        places |= {(market, int(outcome)) for market in traded for outcome in Outcome}  # of orders that are forgotten
        asked = [(token, place) for token, place in self.where.items() if place in places]
        money, *answers = await asyncio.gather(
            self.client.balance(signature_type=kind),
            *(self.client.balance(token, kind, refresh=False) for token, _ in asked),
        )
        try:
            cash = int(money.body["balance"])
            read = {place: int(a.body["balance"]) for (_, place), a in zip(asked, answers, strict=True)}
        except (KeyError, TypeError, ValueError, AttributeError):
            self._traded |= traded
            raise _not_told("balances", next((a for a in (money, *answers) if not a.good), money)) from None
        self._held = {place: size for place, size in (self._held | read).items() if size}
        self._tell_funds(cash, asked_at)

    def _tell_funds(self, cash: int, at: int) -> None:
        self.guard.funds(Funds(cash, {int(t): self._held[p] for t, p in self.where.items() if p in self._held}, at))

    async def _listed_tokens(self) -> set[str]:
        """Tokens that the Data API lists as held, and those that were traded here."""
        answer = await self.client.positions(self.account.maker)
        if not answer.good or not isinstance(answer.body, dict) or not isinstance(answer.body.get("data"), list):
            raise _not_told("positions", answer)
        held = {str(entry.get("token_id")) for entry in answer.body["data"] if isinstance(entry, dict)}
        places = {(order.market, order.outcome) for order in self.tracker.orders.values()}
        return held | {token for token, place in self.where.items() if place in places}

    def health(self) -> dict[str, Any]:
        """See VenuePort.health."""
        phases = [order.phase for order in self.tracker.orders.values()]
        return {
            "user_stream": dict(self.stream.state),
            "heartbeat": dict(self.beats.state) if self.options.heartbeat else {"up": True, "off": True},
            "tending": dict(self._state["tending"]),
            "reconcile": self._state["reconcile"] | {"found": self._differences},
            "rest": {
                "up": self.client.last_answer > 0, "last": self.client.last_answer, "asked": self.client.asked,
                "silent": self.client.silent, "failed": self.client.failed, "denied": self.client.budget.denied,
                "tier": self.client.budget.tier,
                "clock_offset": self.client.offset,
            },
            "place": {"up": not self.blocked},
            "guard": self.guard.state(),
            "orders": {phase.name.lower(): phases.count(phase) for phase in Phase},
        }  # fmt: skip


class _Ours:
    """Which digests are ours, finished ones too."""

    def __init__(self, tracker: Tracker):
        self.tracker = tracker

    def __contains__(self, key: str) -> bool:
        return key in self.tracker.orders or key in self.tracker.forgotten or key in self.tracker.given_up


def _cancel_lists(said: Any) -> tuple[set[str], dict[str, str]]:
    if not isinstance(said, dict):
        return set(), {}
    done = said.get("canceled") if isinstance(said.get("canceled"), list) else []
    refused = said.get("not_canceled") if isinstance(said.get("not_canceled"), dict) else {}
    return {str(key) for key in done}, {str(key): str(why) for key, why in refused.items()}


def _not_told(what: str, answer: Answer) -> Refused:
    return Refused("EXEC_VENUE_UNREACHABLE", f"the venue does not tell {what}: {preflight.said(answer)}")
