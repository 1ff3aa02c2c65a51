"""The bots that measure at the line to the venue, fed with what the runner sees: answers, times, fills, prices of gas.

==========================  ========================================  ========================================
exec.exchangestatusmonitor  every answer of the venue, 425 and 503    what it calls PAUSE or an outage stops opening
exec.latencyprofiler        times of requests, lateness of news       told
exec.fillqualityanalyzer    fills and the middle around them          told
exec.gasoracle              the price of gas, once a minute           told; where a chain is read
==========================  ========================================  ========================================

(The bots around the signer are `run.guarding`'s.) A finding that is another than the last one of its bot is written
to the log; one that refuses is an incident. What binds acts: a bot in shadow or advisory is only heard.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.bots import BotMode, Conclusion, ServiceBot, event_rows, load_bot
from polytraders.engine.fees import MICRO_PER_FEE_UNIT, taker_fee
from polytraders.execution import exchangestatusmonitor, fillqualityanalyzer, gasoracle, latencyprofiler
from polytraders.execution.fillqualityanalyzer import Fill
from polytraders.rows import ActionKind, EventKind, Flag, Outcome
from polytraders.run.brake import Brake
from polytraders.run.findings import as_note, tell
from polytraders.units import ONE
from polytraders.venue.refusal import Refused

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.run.live import Runner
    from polytraders.venue.chain.nodes import Nodes
    from polytraders.venue.polymarket.port import PolymarketPort

EVERY = 1.0
"""s between two rounds."""
SELDOM = 10
"""Rounds between two looks at times and fills, which change slowly."""
GAS_EVERY = 60.0
"""s between two readings of the gas price."""
KEPT = 1_000
"""Fills that are judged together."""
LAGS = 1_000
DECIDED = 50_000
"""Orders of which it is remembered when they were decided."""
BINDING = (BotMode.ENFORCED, BotMode.QUARANTINE)
BOTS = ("exec.exchangestatusmonitor", "exec.latencyprofiler", "exec.fillqualityanalyzer", "exec.gasoracle")
CALM = ("EXEC_EXCHANGE_STATUS_HEALTHY", "EXEC_EXCHANGE_COOLING")
"""What is no trouble, or no new one."""


class Services:
    """The service bots of a run that sends.

    Parameters
    ----------
    port: whose client's requests are measured. nodes: providers of the chain, None where there is none.
    """

    def __init__(self, runner: Runner, port: PolymarketPort, settings: Settings, nodes: Nodes | None = None):
        self.runner, self.port, self.nodes = runner, port, nodes
        self.brake = Brake.of(runner)
        self.last: dict[str, Conclusion] = {}
        """What each bot said last."""
        self._modes: dict[str, BotMode] = {}
        self._limits: dict[str, Any] = {}
        self._checks: dict[str, Callable[[Any, Any, int], Conclusion]] = {}
        for bot_id in BOTS:
            bot, config = load_bot(bot_id), settings.bot(bot_id)
            assert isinstance(bot, ServiceBot)
            self._modes[bot_id], self._checks[bot_id] = config.mode_in("live"), bot.check
            self._limits[bot_id] = bot.spec.limits(config.values)
        self._trouble = 0
        self._down = False
        self._lags: deque[tuple[int, int]] = deque(maxlen=LAGS)
        self._decided: dict[int, tuple[int, int]] = {}  # order -> ns, twice the middle of its token
        self._told: Counter[tuple[int, int, int]] = Counter()  # provisional fills that a confirmed one repeats
        self._young: deque[tuple[Fill, int, int]] = deque()  # fill, market, outcome; the middle after is not known yet
        self.fills: deque[Fill] = deque(maxlen=KEPT)
        self.gas: deque[tuple[int, int]] = deque(maxlen=20_000)

    # -- what is heard, on the loop

    def observe(self, rows: np.ndarray, decisions: np.ndarray, actions: np.ndarray) -> None:
        """After each turn of the runner."""
        for action in actions[actions["kind"] == ActionKind.SUBMIT]:
            middle = self._middle(int(action["market"]), int(action["outcome"]))
            self._decided[int(action["order_id"])] = int(action["ts"]), middle
        while len(self._decided) > DECIDED:
            del self._decided[next(iter(self._decided))]
        if not len(rows):
            return
        kinds = (EventKind.ORDER_ACK, EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED, EventKind.ORDER_REJECT)
        for row in rows[np.isin(rows["kind"], (*kinds, EventKind.CANCEL))]:
            kind, order = int(row["kind"]), int(row["aux"])
            if 0 < row["ts_event"] < row["ts_recv"]:
                self._lags.append((int(row["ts_recv"]), int(row["ts_recv"] - row["ts_event"])))
            if kind in (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED):
                self._fill(row, kind == EventKind.FILL_PROVISIONAL)
            elif kind in (EventKind.ORDER_REJECT, EventKind.CANCEL):
                self._decided.pop(order, None)

    def _fill(self, row: np.void, provisional: bool) -> None:
        order, price, size = int(row["aux"]), int(row["price"]), int(row["size"])
        same = (order, price, size)
        if not provisional and self._told[same]:
            self._told[same] -= 1
            self._told += Counter()  # forgets what is at zero
            return
        self._told[same] += provisional
        sent = self.runner.orders.by_id.get(order)
        if sent is None or order not in self._decided:
            return
        (decided, middle), market = self._decided[order], int(row["market"])
        took = not row["flags"] & Flag.MAKER
        fee = int(row["ref"]) * MICRO_PER_FEE_UNIT
        expected = int(taker_fee(size, price, *self.port.fees(market))) if took else 0
        side, outcome = int(sent.action["side"]), int(sent.action["outcome"])
        fill = Fill(side, price, size, decided, int(row["ts_recv"]), middle, 0, bool(took), fee, expected)
        self._young.append((fill, market, outcome))

    def _middle(self, market: int, outcome: int) -> int:
        """Twice the middle of a token in pips, 0 where a side is empty."""
        row = self.runner.step.state.markets[market]
        bid, ask = int(row["best_bid"]), int(row["best_ask"])
        if bid < 0 or ask < 0:
            return 0
        return bid + ask if outcome == Outcome.YES else 2 * ONE - bid - ask

    # -- what is concluded

    def _ask(self, bot_id: str, given: Any, now: int) -> Conclusion | None:
        """The bot's conclusion, told when it is a new one; None for one that is off."""
        if self._modes[bot_id] is BotMode.OFF:
            return None
        said = self._checks[bot_id](given, self._limits[bot_id], now)
        before, self.last[bot_id] = self.last.get(bot_id), said
        if before is None or before.code != said.code:
            tell(self.runner, bot_id, said)
        return said

    def look_at_exchange(self, now: int) -> None:
        """How the venue is; what binds holds opening back, and takes everything off after an outage."""
        bot_id = "exec.exchangestatusmonitor"
        answers = tuple(exchangestatusmonitor.Answer(t.at, t.status, t.word) for t in self.port.client.trips)
        said = self._ask(bot_id, exchangestatusmonitor.Inputs(answers, self._trouble), now)
        if said is None:
            return
        if said.code not in CALM:
            self._trouble = now
        if self._modes[bot_id] not in BINDING:
            return
        action = exchangestatusmonitor.ACTIONS.get(said.code, "PAUSE")
        if action in ("RESUME", "POST_ONLY"):
            self.brake.release("exchange")
        else:
            self.brake.press("exchange", f"{bot_id}: {said.code}")
        if said.says and not self._down:
            self.runner.put("exchange", event_rows(said, now), note={"exchange": said.code})
        was, self._down = self._down, said.code == "EXEC_EXCHANGE_DOWN"
        if was and not self._down:
            self._after_outage()

    def _after_outage(self) -> None:
        """It answers again: what rested through an outage goes."""
        self.runner.say("the venue is back: what rests is cancelled")
        task = asyncio.create_task(self.port.cancel_all(), name="after an outage")
        task.add_done_callback(self._cancelled)

    def _cancelled(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.runner.incident("cancelling after an outage did not work", error=str(error))

    def look_at_times(self, now: int) -> None:
        """How long requests take, and how late news of our own orders come."""
        trips = tuple(latencyprofiler.Trip(t.route, t.at, t.took) for t in self.port.client.trips if t.status)
        self._ask("exec.latencyprofiler", latencyprofiler.Inputs(trips, lags=tuple(self._lags)), now)

    def look_at_fills(self, now: int) -> None:
        """How good the fills were, a while after they were."""
        horizon = self._limits["exec.fillqualityanalyzer"].toxicity_horizon_s
        while self._young and self._young[0][0].filled + horizon <= now:
            fill, market, outcome = self._young.popleft()
            self.fills.append(replace(fill, mid2_after=self._middle(market, outcome)))
        if self.fills:
            given = fillqualityanalyzer.Inputs(tuple(self.fills), "this run")
            self._ask("exec.fillqualityanalyzer", given, now)

    async def look_at_gas(self, now: int) -> None:
        """What a transaction would cost now, against the last day."""
        from polytraders.venue.chain.gas import read_price

        assert self.nodes is not None
        try:
            price = await asyncio.to_thread(read_price, self.nodes)
        except Refused:
            return  # the bot refuses by the age of what was read before
        self.gas.append((now, price))
        self._ask("exec.gasoracle", gasoracle.Inputs("redeemPositions", False, price, now, tuple(self.gas)), now)

    # -- at work

    async def work(self) -> None:
        """Rounds until cancelled."""
        number = 0
        while True:
            now = self.runner.now()
            self.look_at_exchange(now)
            if number % SELDOM == 0:
                self.look_at_times(now)
                self.look_at_fills(now)
            number += 1
            await asyncio.sleep(EVERY)

    async def watch_gas(self) -> None:
        """The price of gas until cancelled, after the last day's was read from its blocks."""
        from polytraders.venue.chain.gas import seed

        assert self.nodes is not None
        if not self.gas:
            self.gas.extend(await asyncio.to_thread(seed, self.nodes))
        while True:
            await self.look_at_gas(self.runner.now())
            await asyncio.sleep(GAS_EVERY)

    def state(self) -> dict[str, Any]:
        """What each bot said last, for status."""
        return {bot_id: as_note(bot_id, said) for bot_id, said in self.last.items()}

    def attach(self) -> Services:
        """Take part in the run. Before `Runner.run`."""
        self.runner.watchers.append(self.observe)
        self.port.client.budget.left = self.brake.left
        self.runner.add_task("services", self.work)
        if self.nodes is not None:
            self.runner.add_task("gas", self.watch_gas)
        self.runner.add_health("services", self.state)
        return self
