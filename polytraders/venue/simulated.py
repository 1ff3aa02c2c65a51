"""Paper trading: the simulated venue of a backtest, in real time on live rows, behind the venue port.

The tape happens when it reaches us: a row's time at this venue is its receive time, and the latencies of the model lie
between our action and the book, and between the book and our hearing of it. Fills, fees, queue, taker delay and
settlement are those of a backtest with the same model, for it is the same kernel.

There is no network, so nothing is ever in doubt; there is no key, so an order's name is the run's own number of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
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
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, ActionKind, EventKind, Flag, Outcome
from polytraders.units import NS_PER_MS, NS_PER_S
from polytraders.venue.port import Balances, Emit, Known, News, OpenOrder, Request, Trade
from polytraders.venue.refusal import Refused

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
        self._fills: dict[int, int] = {}
        self._trades: list[Trade] = []
        self.stopped: Callable[[int], Code | None] = lambda market: None
        self.under_way: set[str] = set()  # a submit is at this venue as soon as it is sent

    # -- time ------------------------------------------------------------------------------------------

    def _stamp(self) -> int:
        self._now = max(self._now, self._clock())
        return self._now

    def _advance(self, actions: np.ndarray | None = None, events: np.ndarray | None = None) -> None:
        """Let happen what is due, and tell what can be heard of it by now."""
        now = self._stamp()
        cursor = self._cursor
        cursor[:] = 0
        given, tape = (self._nothing if actions is None else actions), (self._none if events is None else events)
        if len(tape):
            now = max(now, int(tape["ts_recv"][-1]))
        cursor[UNTIL] = now
        with np.errstate(over="ignore"):
            self._run(self.venue, *((given, tape) if JIT else (as_rows(given), as_rows(tape))), cursor)
        if cursor[DONE]:
            raise RuntimeError("more orders, fills or timers wait at the simulated venue than its tables hold")
        self._hear(now)

    def _hear(self, now: int) -> None:
        core, rows = self.venue.core[0], []
        while core["answers_head"] < core["answers_tail"]:
            answer = self.venue.answers[int(core["answers_head"]) & (RING - 1)]
            if answer["ts_recv"] > now:
                break
            rows.append(np.array(answer, EVENT))
            core["answers_head"] += 1
        if rows:
            told = np.array(rows, EVENT)
            told["ts_recv"] = np.maximum(told["ts_recv"], self._last)
            told["ts_event"] = np.minimum(told["ts_event"], told["ts_recv"])
            told["flags"] |= Flag.LAST
            self._last = int(told["ts_recv"][-1])
            self._emit(News(told, tuple(self._key(row) for row in told)))

    def _key(self, row: np.void) -> str:
        """Name of what a row tells, and the books of this port."""
        kind, order_id = int(row["kind"]), int(row["aux"])
        if kind in (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED, EventKind.FILL_VOIDED):
            return self._book(row, kind, order_id)
        if kind in (EventKind.CANCEL, EventKind.ORDER_REJECT):
            self._orders.pop(order_id, None)
        return _name(order_id)

    def _book(self, row: np.void, kind: int, order_id: int) -> str:
        price, size = int(row["price"]), int(row["size"])
        if kind != EventKind.FILL_PROVISIONAL:
            for at, trade in enumerate(self._trades):
                same = (trade.order, trade.price, trade.size) == (_name(order_id), price, size)
                if same and trade.status == "MATCHED":
                    status = "CONFIRMED" if kind == EventKind.FILL_CONFIRMED else "FAILED"
                    self._trades[at] = Trade(**{name: getattr(trade, name) for name in _FIELDS} | {"status": status})
                    return trade.key
        number = self._fills[order_id] = self._fills.get(order_id, 0) + 1
        submit, filled = self._orders.get(order_id, (None, 0))
        outcome = int(submit["outcome"]) if submit is not None else int(Outcome.YES)
        key = f"{_name(order_id)}:{number}"
        status = "MATCHED" if kind == EventKind.FILL_PROVISIONAL else "CONFIRMED"
        self._trades.append(
            Trade(
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
        )
        if submit is not None:
            self._orders[order_id] = submit, filled + size
            if filled + size >= int(submit["size"]):
                self._orders.pop(order_id)
        return key

    # -- life ------------------------------------------------------------------------------------------

    async def start(self, emit: Emit, known: Sequence[Known] = ()) -> None:
        """See VenuePort.start. A simulated venue ends with its process: of a former one's orders nothing is left."""
        if known:
            what = f"{len(known)} orders of a former process rest at a venue that ended with it"
            raise Refused("EXEC_UNKNOWN_ORDER", what, where="known", mend="start a new paper run")
        self._emit, self._started = emit, self._stamp()
        self._task = asyncio.create_task(self._work())

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
        tape = events[events["kind"] < EventKind.ORDER_ACK]
        own = np.isin(events["kind"], (EventKind.FEES, EventKind.TAKER_DELAY))
        if own.any():
            tape = events[(events["kind"] < EventKind.ORDER_ACK) | own]
        if len(tape):
            self._advance(events=np.ascontiguousarray(tape))
            self._kick.set()

    async def send(self, requests: Sequence[Request]) -> None:
        """See VenuePort.send."""
        if not requests:
            return
        now = self._stamp()
        actions = np.array([request.action for request in requests], ACTION)
        actions["ts"] = now
        for request in requests:
            if request.action["kind"] == ActionKind.SUBMIT:
                order_id = int(request.action["order_id"])
                if order_id in self._orders or order_id in self._fills:
                    raise ValueError(f"order {request.key} was sent already")
                self._orders[order_id] = request.action, 0
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
        return [trade for trade in self._trades if trade.ts >= since]

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


_FIELDS = tuple(Trade.__dataclass_fields__)


def _name(order_id: int) -> str:
    return f"paper-{order_id}"
