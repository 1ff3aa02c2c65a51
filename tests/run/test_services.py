"""Bots at the line to the venue: what the runner sees reaches them, and what they find reaches the run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from polytraders.config import load_settings
from polytraders.rows import ACTION, EVENT, ActionKind, EventKind, Flag, Outcome, Side
from polytraders.run.brake import FOREVER, Brake
from polytraders.run.pipeline import build_pipeline
from polytraders.run.services import BOTS, Services
from polytraders.venue.polymarket.budget import Budget

S, MS = 10**9, 10**6
NOW = 1_790_000_000 * S
SHARE = 10**6


def trip(at: int, status: int = 200, took: int = 20 * MS, route: str = "order", word: str = "") -> Any:
    return SimpleNamespace(at=at, status=status, took=took, route=route, word=word)


class Run:
    """What of a runner and a port the services see."""

    def __init__(self, **settings: str):
        self.clock = NOW
        self.asked = load_settings().with_overrides(settings)
        self.rows, self.notes, self.incidents, self.healths, self.tasks = [], [], [], {}, {}
        self.watchers: list[Any] = []
        self.brake = None
        self.pipeline, _ = build_pipeline(self.asked, "strat.maker_tight", run_mode="live", wallet=True)
        markets = np.zeros(1, [("best_bid", "i8"), ("best_ask", "i8")])
        params = np.zeros(len(self.pipeline.bots), [("v", "i8", 32)])
        for row, bot in zip(params, self.pipeline.bots, strict=True):
            row["v"] = bot.params
        self.step = SimpleNamespace(state=SimpleNamespace(markets=markets, params=params))
        self.quote(4_800, 5_200)
        self.orders = SimpleNamespace(by_id={})
        self.cancelled = 0
        self.port = SimpleNamespace(
            client=SimpleNamespace(trips=deque(), budget=Budget()),
            fees=lambda market: (0, 1),
            cancel_all=self.cancel_all,
        )
        self.services = Services(self, self.port, self.asked).attach()

    def quote(self, bid: int, ask: int) -> None:
        self.step.state.markets[0] = (bid, ask)

    async def cancel_all(self) -> None:
        self.cancelled += 1

    def now(self) -> int:
        return self.clock

    def put(self, source: str, rows: np.ndarray, note: Any = None) -> None:
        self.rows.append((source, rows))

    def say(self, what: str, **more: Any) -> None:
        self.notes.append((what, more))

    def incident(self, what: str, **more: Any) -> None:
        self.incidents.append((what, more))

    def add_task(self, name: str, work: Any, critical: bool = False) -> None:
        self.tasks[name] = work

    def add_health(self, name: str, state: Any) -> None:
        self.healths[name] = state

    def hear(self, *trips: Any) -> str:
        self.port.client.trips.extend(trips)
        self.services.look_at_exchange(self.clock)
        return self.services.last["exec.exchangestatusmonitor"].code

    def braked(self) -> int:
        """Until when opening is held back, as the step was told last."""
        told = [rows for source, rows in self.rows if source == "brake"]
        return int(told[-1]["size"][1])


def test_a_venue_that_is_well_holds_nothing_back():
    run = Run()
    assert run.hear(*(trip(NOW - i * S) for i in range(5, 0, -1))) == "EXEC_EXCHANGE_STATUS_HEALTHY"
    assert run.services.brake.pressed == {}
    assert run.braked() == 0
    assert run.incidents == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"status": 425}, "EXEC_EXCHANGE_RESTARTING"),
        ({"status": 503, "word": "{'error': 'cancel-only mode'}"}, "EXEC_EXCHANGE_CANCEL_ONLY"),
        ({"status": 0}, "EXEC_EXCHANGE_DEGRADED"),
        ({"status": 500}, "EXEC_EXCHANGE_DEGRADED"),
    ],
)
def test_a_venue_in_trouble_holds_opening_back_until_it_was_well_for_a_while(bad, code):
    run = Run()
    run.hear(*(trip(NOW - i * S) for i in range(30, 5, -1)))
    assert run.hear(trip(NOW - S, **bad)) == code
    assert code in run.services.brake.pressed["exchange"]
    assert run.braked() == FOREVER
    assert run.incidents[-1][1]["code"] == code
    run.clock = NOW + 10 * S
    assert run.hear(*(trip(run.clock - i * 10**8) for i in range(20, 0, -1))) == "EXEC_EXCHANGE_COOLING"
    assert run.braked() == FOREVER
    run.clock = NOW + 31 * S
    assert run.hear(trip(run.clock)) == "EXEC_EXCHANGE_STATUS_HEALTHY"
    assert run.braked() == 0
    told = [(what, more.get("why", "")) for what, more in run.notes if what.startswith("opening")]
    assert [what for what, _ in told] == ["opening is held back", "opening is held back", "opening is let go"]
    assert [code in why for _, why in told[:2]] == [True, False], "the second says that it is getting better"


def test_a_venue_that_takes_resting_orders_only_holds_nothing_back():
    run = Run()
    assert run.hear(*(trip(NOW - S, status=503, word="post_only_mode") for _ in range(1))) == "EXEC_EXCHANGE_POST_ONLY"
    assert run.services.brake.pressed == {}


def test_silence_holds_back_too():
    run = Run()
    run.hear(trip(NOW))
    run.clock = NOW + 31 * S
    assert run.hear() == "EXEC_EXCHANGE_UNKNOWN"
    assert run.braked() == FOREVER


def test_what_rested_through_an_outage_goes_when_the_venue_is_back():
    run = Run()

    async def outage() -> None:
        assert run.hear(*(trip(NOW - i * MS, status=0) for i in range(9, 0, -1))) == "EXEC_EXCHANGE_DOWN"
        assert run.cancelled == 0
        run.clock = NOW + 2 * S
        assert run.hear(*(trip(run.clock) for _ in range(50))) == "EXEC_EXCHANGE_COOLING"
        await asyncio.sleep(0)

    asyncio.run(outage())
    assert run.cancelled == 1


def test_an_outage_arms_the_switch_where_the_desk_wants_it_and_once():
    run = Run(**{"exec.exchangestatusmonitor.switch_on_outage": "true"})
    for _ in range(3):
        run.hear(*(trip(NOW - i * MS, status=0) for i in range(9, 0, -1)))
    switches = [rows for source, rows in run.rows if source == "exchange"]
    assert len(switches) == 1
    assert switches[0]["kind"].tolist() == [EventKind.SWITCH]


@pytest.mark.parametrize("mode", ["shadow", "advisory"])
def test_one_that_does_not_bind_is_heard_and_holds_nothing_back(mode):
    run = Run(**{"exec.exchangestatusmonitor.mode": mode})
    run.hear(trip(NOW, status=425))
    assert run.services.brake.pressed == {}
    assert run.incidents[-1][1]["code"] == "EXEC_EXCHANGE_RESTARTING"


def test_one_that_is_off_is_not_asked():
    run = Run(**{"exec.exchangestatusmonitor.mode": "off"})
    run.port.client.trips.append(trip(NOW, status=425))
    run.services.look_at_exchange(NOW)
    assert run.services.last == {}


def test_slow_orders_and_late_news_are_said_once():
    run = Run()
    run.port.client.trips.extend(trip(NOW - i * MS, took=700 * MS) for i in range(40))
    run.services.look_at_times(NOW)
    run.services.look_at_times(NOW)
    assert run.services.last["exec.latencyprofiler"].code == "EXEC_ROUTE_DEGRADED"
    assert [what for what, _ in run.incidents] == ["exec.latencyprofiler refuses"]
    late = np.zeros(1, EVENT)
    late["kind"], late["ts_event"], late["ts_recv"] = EventKind.ORDER_ACK, NOW - 3 * S, NOW
    run.services.observe(late, late, np.zeros(0, ACTION))
    run.port.client.trips.clear()
    run.port.client.trips.extend(trip(NOW - i * MS) for i in range(40))
    run.services.look_at_times(NOW)
    assert run.services.last["exec.latencyprofiler"].code == "EXEC_FEED_LAGS"


def order(run: Run, number: int, side: Side, outcome: Outcome) -> None:
    action = np.zeros(1, ACTION)
    action["order_id"], action["kind"], action["ts"] = number, ActionKind.SUBMIT, run.clock
    action["side"], action["outcome"] = side, outcome
    run.orders.by_id[number] = SimpleNamespace(action=action[0])
    run.services.observe(np.zeros(0, EVENT), np.zeros(0), action)


def fill(run: Run, number: int, price: int, kind: EventKind, **more: int) -> None:
    row = np.zeros(1, EVENT)
    row["kind"], row["aux"], row["price"], row["size"], row["ts_recv"] = kind, number, price, 10 * SHARE, run.clock
    row["flags"] = Flag.MAKER
    for name, value in more.items():
        row[name] = value
    run.services.observe(row, np.zeros(0), np.zeros(0, ACTION))


@pytest.mark.parametrize(("outcome", "price"), [(Outcome.YES, 4_800), (Outcome.NO, 4_800)])
def test_fills_before_a_move_against_us_are_toxic(outcome, price):
    run = Run()
    for number in range(1, 8):
        order(run, number, Side.BUY, outcome)
        fill(run, number, price, EventKind.FILL_PROVISIONAL)
        fill(run, number, price, EventKind.FILL_CONFIRMED)  # the same fill again
    run.services.look_at_fills(run.clock)
    assert run.services.last == {}, "the middle after is not known yet"
    run.clock += 31 * S
    run.quote(*((4_000, 4_400) if outcome == Outcome.YES else (5_600, 6_000)))
    run.services.look_at_fills(run.clock)
    assert len(run.services.fills) == 7
    assert run.services.last["exec.fillqualityanalyzer"].code == "EXEC_FILL_TOXIC"
    assert run.healths["services"]()["exec.fillqualityanalyzer"]["code"] == "EXEC_FILL_TOXIC"


def test_a_confirmed_fill_that_was_never_provisional_counts():
    run = Run()
    order(run, 1, Side.BUY, Outcome.YES)
    fill(run, 1, 4_800, EventKind.FILL_CONFIRMED)
    fill(run, 99, 4_800, EventKind.FILL_CONFIRMED)  # nobody's
    run.clock += 31 * S
    run.services.look_at_fills(run.clock)
    assert len(run.services.fills) == 1


def test_gas_that_is_dear_today_is_said_and_providers_that_are_silent_are_not_made_up():
    pytest.importorskip("web3", reason="the chain extra is not installed")
    run = Run()
    prices = [30 * 10**9]
    answers = [SimpleNamespace(value=0, error="busy")]
    run.services.nodes = SimpleNamespace(
        least=2, ask=lambda question: [SimpleNamespace(value=p, error="") for p in prices for _ in "ab"] or answers
    )
    run.services.gas.extend((NOW - i * 60 * S, (40 + i % 10) * 10**9) for i in range(200, 0, -1))
    asyncio.run(run.services.look_at_gas(NOW))
    assert run.services.last["exec.gasoracle"].code == "EXEC_GAS_PROCEED"
    prices[0] = 90 * 10**9
    asyncio.run(run.services.look_at_gas(NOW + 60 * S))
    assert run.services.last["exec.gasoracle"].code == "EXEC_GAS_DEFERRED"
    prices.clear()
    known = len(run.services.gas)
    asyncio.run(run.services.look_at_gas(NOW + 120 * S))
    assert len(run.services.gas) == known


def test_every_service_bot_that_measures_is_asked():
    assert set(BOTS) == {
        "exec.exchangestatusmonitor", "exec.latencyprofiler", "exec.fillqualityanalyzer", "exec.gasoracle",
    }  # fmt: skip
    run = Run()
    assert {"services"} <= run.tasks.keys()


# -- the brake --------------------------------------------------------------------------------------------------------


def test_who_lets_go_does_not_take_back_what_another_presses():
    run = Run()
    brake = run.services.brake
    brake.press("guard", "the wallet is not known")
    brake.press("exchange", "down")
    brake.press("exchange", "down")
    brake.release("guard")
    assert run.braked() == FOREVER
    brake.release("exchange")
    brake.release("exchange")
    assert run.braked() == 0
    assert [int(rows["size"][1]) for source, rows in run.rows if source == "brake"] == [0, FOREVER, 0]
    assert Brake.of(run) is brake


def said(run: Run, remaining: str = "", status: int = 200, wait: float = 0.0, path: str = "/order", **more: str) -> Any:
    """Orders left and ns until when, as the step was told of it last, after an answer of the venue."""
    headers = {f"Poly-RateLimit-{name}": value for name, value in more.items()}
    headers |= {"Poly-RateLimit-Remaining": remaining} if remaining else {}
    run.port.client.budget.heard("POST", path, status, headers, wait)
    told = [rows for source, rows in run.rows if source == "brake"]
    return int(told[-1]["size"][0]), int(told[-1]["size"][1]) - run.clock if told[-1]["size"][1] else 0


def test_what_the_venue_says_is_left_of_its_budget_reaches_the_governor():
    run = Run()
    assert said(run, "40.50") == (0, 0), "there is enough"
    left, until = said(run, "4.90")
    assert left == 4
    assert 1.2 * S < until < 2 * S, "56 of 60 come back at 40 a second"
    rows = len(run.rows)
    said(run, "4.95")
    assert len(run.rows) == rows, "nothing new"
    assert said(run, "2.0")[0] == 2
    reset = str(int(time.time()) + 5)
    assert 3.5 * S < said(run, "1.0", Reset=reset)[1] <= 5 * S, "the venue's own word on when it is full"
    left, until = said(run, status=429, wait=9.0)
    assert left == 0
    assert 8 * S < until <= 9 * S, "it asked us to wait"
    assert said(run, "0.5", path="/cancel-all")[0] == 0, "of cancels it is not asked"
    run.clock += 60 * S
    assert said(run, "3", Reset="99999999999")[1] < 12 * S, "no reset is years away"


def test_the_venues_budget_and_those_who_press_do_not_undo_each_other():
    run = Run()
    brake = run.services.brake
    brake.press("guard", "the wallet is not known")
    assert said(run, "3", status=200)[1] == FOREVER - run.clock
    brake.release("guard")
    told = [rows for source, rows in run.rows if source == "brake"][-1]
    assert told["size"][0] == 3
    assert run.clock < told["size"][1] < run.clock + 60 * S
    run.clock += 60 * S
    brake.press("guard", "again")
    brake.release("guard")
    assert run.braked() == 0, "its time is over"
