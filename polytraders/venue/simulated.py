"""Paper trading: the simulated venue of a backtest, in real time on live rows, behind the venue port.

The tape happens when it reaches us: a row's time at this venue is its receive time, and the latencies of the model lie
between our action and the book, and between the book and our hearing of it. Fills, fees, queue, taker delay and
settlement are those of a backtest with the same model, for it is the same kernel.

There is no network, so nothing is ever in doubt; there is no key, so an order's name is the run's own number of it.

The venue outlives its process. What happens there follows from the rows it observed, the actions it was sent and the
time up to which it went on; these are in the run's log, in order, as its journal. From a snapshot and the journal
behind it another process has the same venue again, resting orders and places in the queue included.

Invariants
    P1  no row of the log tells of anything that the journal before it, or of its batch, does not lead to
    P2  taken up, the venue tells what the log has not heard yet, and nothing twice
    P3  an order that was on the disk when its process died is at the venue: it is sent when that is taken up, unless
        it had been
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from polytraders.engine import loop
from polytraders.engine.backtest import VenueModel
from polytraders.engine.jit import JIT
from polytraders.engine.latency import Latency
from polytraders.engine.loop import CURSOR_CELLS, DONE, UNTIL
from polytraders.engine.matching import FAR, RING, new_venue
from polytraders.engine.setup import MarketLike, market_rows
from polytraders.engine.state import as_rows
from polytraders.errors import DamageError
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, ActionKind, EventKind, Flag, Outcome
from polytraders.store.frozen import freeze, layout_of, thaw
from polytraders.units import NS_PER_MS, NS_PER_S
from polytraders.venue.port import Balances, Emit, Frozen, Known, News, OpenOrder, Request, Trade
from polytraders.venue.refusal import Refused

ANSWERS = (
    EventKind.ORDER_ACK, EventKind.ORDER_REJECT, EventKind.CANCEL, EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED,
    EventKind.FILL_VOIDED,
)  # fmt: skip
"""Kinds of rows by which this venue tells of orders."""
KEPT = 20_000
"""Trades that are listed, and orders of which it is known that they were sent: the newest."""
ALLOWANCE = (1 << 63) - 1
"""micro-pUSD: here nobody stands between us and our money."""


DEFAULT = VenueModel()


class SimulatedPort:
    """`venue.port.VenuePort` over the backtest's matching kernel.

    Parameters
    ----------
    infos: the run's market table, in its order.
    cash: micro-pUSD at the start.
    model: latencies, queue, fees, settlement; redemption of resolved markets is the runner's to tell.
    clock: ns.
    """

    name = "simulated"

    def __init__(
        self,
        infos: Sequence[MarketLike],
        cash: int,
        model: VenueModel = DEFAULT,
        clock: Callable[[], int] = time.time_ns,
    ):
        markets, cells = market_rows(infos)
        if not model.fees:
            markets["fee_rate"] = 0
        entry, response = (
            latency.table if isinstance(latency, Latency) else latency
            for latency in (model.entry_latency, model.response_latency)
        )
        self.infos, self.model, self._clock, self._now = list(infos), model, clock, 0
        self.venue = new_venue(
            markets, cells, cash, entry_latency=entry, response_latency=response, queue_model=model.queue_model,
            power=model.queue_power, partial_fills=model.partial_fills, trade_share=model.trade_share,
            consume=model.liquidity == "consumed", delays=model.taker_delay == "market",
            settlement_delay=model.settlement_delay, ghost_rate=model.ghost_rate, ghost_seed=model.ghost_seed,
        )  # fmt: skip
        self._run = loop.compiled("paper")
        self._cursor = np.zeros(CURSOR_CELLS, np.int64)
        self._none, self._nothing = np.zeros(0, EVENT), np.zeros(0, ACTION)
        self._emit: Emit = lambda news: None
        self._task: asyncio.Task[None] | None = None
        self._kick = asyncio.Event()
        self._started = self._last = 0
        self._orders: dict[int, tuple[np.void, int]] = {}  # order id -> (submit, micro-shares filled)
        self._fills: dict[int, int] = {}  # order id -> fills so far, of orders in `_orders` or not settled
        self._trades: OrderedDict[str, Trade] = OrderedDict()
        self._matched: dict[tuple[str, int, int], deque[str]] = {}  # (order, price, size) -> trades not settled
        self._sent: OrderedDict[int, None] = OrderedDict()  # orders that ever came here
        self._journal: list[list[Any]] = []
        self._told: deque[tuple[np.ndarray, str]] = deque()  # rows emitted and not seen with the run's rows yet
        self._logged: set[tuple[int, str]] = set()  # what the log has heard already, of a venue that was taken up
        self._taken_up = False
        self.stopped: Callable[[int], Code | None] = lambda market: None
        self.under_way: set[str] = set()  # a submit is at this venue as soon as it is sent

    # -- time ------------------------------------------------------------------------------------------

    def _stamp(self) -> int:
        self._now = max(self._now, self._clock())
        return self._now

    def _advance(self, actions: np.ndarray | None = None, events: np.ndarray | None = None) -> None:
        """Let happen what is due, and tell what can be heard of it by now."""
        now = self._stamp()
        given, tape = (self._nothing if actions is None else actions), (self._none if events is None else events)
        if len(tape):
            now = max(now, int(tape["ts_recv"][-1]))
        core = self.venue.core[0]
        before = int(core["now"]), int(core["actions_head"]), int(core["answers_tail"]), int(core["due"])
        self._happen(now, given, tape)
        after = int(core["now"]), int(core["actions_head"]), int(core["answers_tail"]), int(core["due"])
        if len(given) or len(tape):
            self._journal.append([now, int(len(tape) > 0), given.tobytes().hex()])
        elif after != before:
            if self._journal and self._journal[-1][1:] == [0, ""]:
                self._journal.pop()  # time that passed in one go or in two is the same
            self._journal.append([now, 0, ""])
        self._hear(now)

    def _happen(self, now: int, given: np.ndarray, tape: np.ndarray) -> None:
        cursor = self._cursor
        cursor[:] = 0
        cursor[UNTIL] = now
        with np.errstate(over="ignore"):
            self._run(self.venue, *((given, tape) if JIT else (as_rows(given), as_rows(tape))), cursor)
        if cursor[DONE]:
            raise RuntimeError("more orders, fills or timers wait at the simulated venue than its tables hold")

    def _hear(self, now: int) -> None:
        core, rows = self.venue.core[0], []
        while core["answers_head"] < core["answers_tail"]:
            answer = self.venue.answers[int(core["answers_head"]) & (RING - 1)]
            if answer["ts_recv"] > now:
                break
            rows.append(np.array(answer, EVENT))
            core["answers_head"] += 1
        if not rows:
            return
        told = np.array(rows, EVENT)
        told["ts_recv"] = np.maximum(told["ts_recv"], self._last)
        told["ts_event"] = np.minimum(told["ts_event"], told["ts_recv"])
        told["flags"] |= Flag.LAST
        self._last = int(told["ts_recv"][-1])
        keys = [self._key(row) for row in told]
        if self._logged:
            fresh = []
            for at, (row, key) in enumerate(zip(told, keys, strict=True)):
                name = int(row["kind"]), key
                if name in self._logged:
                    self._logged.discard(name)
                else:
                    fresh.append(at)
            told, keys = told[fresh], [keys[at] for at in fresh]
        self._tell(told, keys)

    def _tell(self, rows: np.ndarray, keys: Sequence[str]) -> None:
        if not len(rows):
            return
        self._told.extend((rows[at : at + 1].copy(), key) for at, key in enumerate(keys))
        if self._started:  # what is heard while the venue is taken up is told when that starts
            self._emit(News(rows, tuple(keys)))

    def _key(self, row: np.void) -> str:
        """Name of what a row tells, and the books of this port."""
        kind, order_id = int(row["kind"]), int(row["aux"])
        if kind in (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED, EventKind.FILL_VOIDED):
            return self._book(row, kind, order_id)
        if kind in (EventKind.CANCEL, EventKind.ORDER_REJECT):
            self._orders.pop(order_id, None)
            self._settled(order_id)
        return _name(order_id)

    def _book(self, row: np.void, kind: int, order_id: int) -> str:
        price, size = int(row["price"]), int(row["size"])
        match = _name(order_id), price, size
        if kind != EventKind.FILL_PROVISIONAL and (waiting := self._matched.get(match)):
            key = waiting.popleft()
            if not waiting:
                del self._matched[match]
            status = "CONFIRMED" if kind == EventKind.FILL_CONFIRMED else "FAILED"
            if key in self._trades:
                self._trades[key] = replace(self._trades[key], status=status)
            self._settled(order_id)
            return key
        number = self._fills[order_id] = self._fills.get(order_id, 0) + 1
        submit, filled = self._orders.get(order_id, (None, 0))
        outcome = int(submit["outcome"]) if submit is not None else int(Outcome.YES)
        key = f"{_name(order_id)}:{number}"
        status = "MATCHED" if kind == EventKind.FILL_PROVISIONAL else "CONFIRMED"
        self._trades[key] = Trade(
            key,
            _name(order_id),
            int(row["market"]),
            outcome,
            int(row["side"]),
            price,
            size,
            int(row["ref"]) * 10,
            bool(row["flags"] & Flag.MAKER),
            status,
            int(row["ts_event"]),
        )
        if status == "MATCHED":
            self._matched.setdefault(match, deque()).append(key)
        while len(self._trades) > KEPT:
            self._trades.popitem(last=False)
        if submit is not None:
            self._orders[order_id] = submit, filled + size
            if filled + size >= int(submit["size"]):
                self._orders.pop(order_id)
        self._settled(order_id)
        return key

    def _settled(self, order_id: int) -> None:
        """Forget how many fills an order had once no more can come."""
        if order_id not in self._orders and not any(order == _name(order_id) for order, _, _ in self._matched):
            self._fills.pop(order_id, None)

    # -- life ------------------------------------------------------------------------------------------

    async def start(self, emit: Emit, known: Sequence[Known] = ()) -> None:
        """See VenuePort.start. Of a former process's orders only a venue that was taken up (`take_up`) knows."""
        if known and not self._taken_up:
            what = f"{len(known)} orders of a former process rest at a venue that ended with it"
            raise Refused("EXEC_UNKNOWN_ORDER", what, where="known", mend="start a new paper run")
        self._emit, self._started = emit, self._stamp()
        waiting, self._told = list(self._told), deque()
        for row, key in waiting:
            self._tell(row, (key,))
        lost = [one for one in known if not one.over and int(one.action["order_id"]) not in self._sent]
        if lost:  # P3
            await self.send([Request(one.action.copy(), one.key) for one in lost])
        self._task = asyncio.create_task(self._work())

    # -- from one process to the next --------------------------------------------------------------------

    def journal(self) -> list[list[Any]]:
        """See `venue.port.Resident`: [ns up to which time went on, 1 = with the batch's rows, actions as hex]."""
        happened, self._journal = self._journal, []
        return happened

    def freeze(self) -> Frozen:
        """See `venue.port.Resident`."""
        if self._journal:
            raise RuntimeError("what is in the journal belongs to a batch before the snapshot")
        books = {
            "now": self._now, "last": self._last, "fills": list(self._fills.items()), "sent": list(self._sent),
            "orders": [[number, submit.tobytes().hex(), filled] for number, (submit, filled) in self._orders.items()],
            "trades": [list(astuple(trade)) for trade in self._trades.values()],
            "matched": [[*match, list(keys)] for match, keys in self._matched.items()],
            "told": [[row.tobytes().hex(), key] for row, key in self._told],
            "logged": sorted(self._logged),
        }  # fmt: skip
        return Frozen(books, layout_of(self.venue), freeze(self.venue))

    def take_up(self, frozen: Frozen | None, batches: Iterable[tuple[np.ndarray, Mapping[str, Any]]]) -> None:
        """Become the venue of a former process. Before `start`.

        frozen: it at a snapshot, None = at its begin. batches: what the log has behind that: EVENT[k] and the note of
        each batch. Raises DamageError when the snapshot is of another venue.
        """
        if frozen is not None:
            self._thaw(frozen)
        batches = list(batches)
        for rows, note in batches:
            names = {int(seq): key for seq, key in note.get("keys", ())}
            for row in rows[np.isin(rows["kind"], ANSWERS)]:
                if key := names.get(int(row["seq"])):
                    self._logged.add((int(row["kind"]), key))
        kept = deque()
        for row, key in self._told:
            name = int(row["kind"][0]), key
            if name in self._logged:
                self._logged.discard(name)
            else:
                kept.append((row, key))
        self._told = kept
        for rows, note in batches:
            for now, fed, actions in note.get("venue", ()):
                given = np.frombuffer(bytearray.fromhex(actions), ACTION)
                self._note_sent(given)
                self._happen(now, given, _tape(rows) if fed else self._none)
                self._now = max(self._now, now)
                self._hear(now)
        self._taken_up = True

    def _thaw(self, frozen: Frozen) -> None:
        if frozen.layout != layout_of(self.venue):
            raise DamageError(
                "the snapshot is of a simulated venue with other markets or models",
                rule="a run goes on with the venue it had", mend="begin a new run",
            )  # fmt: skip
        thaw(self.venue, frozen.arrays)
        books = frozen.books
        self._now, self._last = books["now"], books["last"]
        self._fills = {int(number): int(count) for number, count in books["fills"]}
        self._sent = OrderedDict.fromkeys(int(number) for number in books["sent"])
        for number, submit, filled in books["orders"]:
            self._orders[int(number)] = np.frombuffer(bytearray.fromhex(submit), ACTION)[0], int(filled)
        self._trades = OrderedDict((fields[0], Trade(*fields)) for fields in books["trades"])
        self._matched = {(order, price, size): deque(keys) for order, price, size, keys in books["matched"]}
        self._told = deque((np.frombuffer(bytearray.fromhex(row), EVENT), key) for row, key in books["told"])
        self._logged = {(int(kind), key) for kind, key in books["logged"]}

    def _note_sent(self, actions: np.ndarray) -> None:
        for action in actions[actions["kind"] == ActionKind.SUBMIT]:
            self._orders[int(action["order_id"])] = action.copy(), 0
            self._sent[int(action["order_id"])] = None
        while len(self._sent) > KEPT:
            self._sent.popitem(last=False)

    async def stop(self) -> None:
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)

    async def _work(self) -> None:
        while True:
            self._advance()
            nap = min(max(self._next_due() - self._stamp(), NS_PER_MS // 4), NS_PER_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(nap / NS_PER_S):
                    await self._kick.wait()
            self._kick.clear()

    def _next_due(self) -> int:
        core = self.venue.core[0]
        flying, answering = core["actions_head"] < core["actions_tail"], core["answers_head"] < core["answers_tail"]
        arrival = int(self.venue.actions[int(core["actions_head"]) & (RING - 1)]["ts"]) if flying else FAR
        answer = int(self.venue.answers[int(core["answers_head"]) & (RING - 1)]["ts_recv"]) if answering else FAR
        return min(int(core["due"]), arrival, answer)

    # -- orders ----------------------------------------------------------------------------------------

    def prepare(self, actions: np.ndarray, now: int) -> list[Request]:
        """See VenuePort.prepare. Nothing is signed; what the market forbids the kernel refuses, as in a backtest."""
        return [Request(action.copy(), _name(int(action["order_id"]))) for action in actions]

    def observe(self, events: np.ndarray) -> None:
        """See VenuePort.observe: the rows happen at this venue."""
        if self._told:
            self._seen(events)
        if len(tape := _tape(events)):
            self._advance(events=tape)
            self._kick.set()

    def _seen(self, events: np.ndarray) -> None:
        """Strike out what was told and is now among the run's rows."""
        for row in events[np.isin(events["kind"], ANSWERS)]:
            for at, (told, _) in enumerate(self._told):
                if told["kind"][0] == row["kind"] and told["aux"][0] == row["aux"]:
                    del self._told[at]
                    break

    async def send(self, requests: Sequence[Request]) -> None:
        """See VenuePort.send."""
        if not requests:
            return
        now = self._stamp()
        actions = np.array([request.action for request in requests], ACTION)
        actions["ts"] = now
        for request in requests:
            if request.action["kind"] == ActionKind.SUBMIT:
                if int(request.action["order_id"]) in self._sent:
                    raise ValueError(f"order {request.key} was sent already")
        self._note_sent(actions)
        self._advance(actions=actions)
        self._kick.set()

    async def cancel_all(self, market: int = -1) -> None:
        """See VenuePort.cancel_all."""
        made = []
        for order_id, (submit, _) in list(self._orders.items()):
            if market < 0 or int(submit["market"]) == market:
                action = submit.copy()
                action["kind"], action["order_id"] = ActionKind.CANCEL, order_id
                made.append(Request(action, _name(order_id)))
        await self.send(made)

    # -- what is -----------------------------------------------------------------------------------------

    async def open_orders(self) -> list[OpenOrder]:
        """See VenuePort.open_orders."""
        self._advance()
        resting = self.venue.orders[self.venue.orders["id"] > 0]
        return [
            OpenOrder(
                _name(int(row["id"])),
                int(row["market"]),
                int(row["outcome"]),
                int(row["side"]),
                int(row["price"]),
                int(row["size"]),
                int(row["size"] - row["remaining"]),
            )
            for row in resting
        ]

    async def trades(self, since: int = 0) -> list[Trade]:
        """See VenuePort.trades: those that were told."""
        self._advance()
        return [trade for trade in self._trades.values() if trade.ts >= since]

    async def balances(self) -> Balances:
        """See VenuePort.balances."""
        self._advance()
        account, positions = self.venue.account[0], self.venue.positions
        shares = {}
        for market in range(len(self.infos)):
            for outcome, name in ((Outcome.YES, "yes"), (Outcome.NO, "no")):
                settled = int(positions[name][market] - positions[f"{name}_unsettled"][market])
                if settled:
                    shares[market, int(outcome)] = settled
        return Balances(int(account["cash"] + account["reserved"]), shares, ALLOWANCE, self._stamp())

    async def reconcile(self) -> dict[str, Any]:
        """See VenuePort.reconcile: there is one set of books, so nothing can differ."""
        self._advance()
        return {"whole": True, "open_listed": len(await self.open_orders()), "strangers": [], "emitted": 0}

    def health(self) -> dict[str, Any]:
        """See VenuePort.health."""
        up = self._task is not None and not self._task.done()
        return {"venue": {"up": up, "since": self._started, "last": self._last, "errors": 0}}


def _tape(events: np.ndarray) -> np.ndarray:
    """Of a run's rows those that happen at this venue."""
    kinds = events["kind"]
    own = (kinds < EventKind.ORDER_ACK) | (kinds == EventKind.FEES) | (kinds == EventKind.TAKER_DELAY)
    return np.ascontiguousarray(events[own])


def _name(order_id: int) -> str:
    return f"paper-{order_id}"
