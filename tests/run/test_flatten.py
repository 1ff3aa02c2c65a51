"""After a trip positions are sold by plan: nothing else, nothing too cheap, and not without the person."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_port import FakePort
from test_live_runner import SHARE, book, market, play, settings, until

from polytraders.errors import ConfigError
from polytraders.rows import REDUCE_ONLY, ActionKind, Answer, EventKind, Gate, OrderType, Outcome, Scope, Side
from polytraders.run.flatten import Flatten, check
from polytraders.run.launch import Launched, begin
from polytraders.run.live import Runner, rows_of
from polytraders.run.replay import replay
from polytraders.store.log import read_log

PLAN = {
    "flatten.enabled": "true", "exits.enabled": "true", "exits.take_profit_pct": "0", "exits.stop_loss_pct": "0",
    "exits.time_exit_h": "0", "exits.max_spread_bps": "0", "exits.follow_unwinder": "false",
    "risk.killswitch.reduce_after_trip": "true", "engine.intent_ttl_s": "60",
}  # fmt: skip


class Venue(FakePort):
    """Takes sales that close at their price, at once."""

    async def send(self, requests: Any) -> None:
        await super().send(requests)
        for request in requests:
            if request.key in self.book and request.action["order_type"] == OrderType.FAK:
                self.fill(request.key, int(request.action["size"]))


def launch(folder: Path, gate: Gate, **more: str) -> Launched:
    return begin(
        settings(**PLAN | more), mode="live", strategy="strat.maker_tight", infos=[market(0)], venue="fake",
        folder=folder, engine={"gate": int(gate)},
    )  # fmt: skip


class Tape:
    """A market whose book moves when the test says so."""

    def __init__(self) -> None:
        self.bid = 4_900

    async def __call__(self, made: Runner) -> None:
        made.put("feed", rows_of({"kind": EventKind.FEED_UP}))
        made.put("feed", rows_of({"kind": EventKind.TRADE, "market": 0, "price": 5_000, "size": 5_000 * SHARE}))
        while True:
            made.put("feed", book(0, self.bid, self.bid + 200))
            await asyncio.sleep(0.05)


def held(made: Runner) -> int:
    position = made.step.state.positions[0]
    return int(position["yes"]) - int(position["no"])


async def with_a_position(made: Runner, port: Venue) -> None:
    """Let a quote of the strategy fill."""

    def bids() -> list[str]:
        return [k for k, (a, _) in port.book.items() if (a["side"], a["outcome"]) == (Side.BUY, Outcome.YES)]

    await until(bids, "a bid rests")
    port.fill(bids()[0], 6 * SHARE)
    await until(lambda: held(made), "it is held")


def submits(port: Venue) -> int:
    return sum(kind == "SUBMIT" for kind, _ in port.wire)


def said(folder: Path, what: str) -> list[dict[str, Any]]:
    return [s for n in read_log(folder).notes() for s in n.get("said", ()) if s["what"] == what]


def test_what_is_held_is_sold_once_nothing_rests(tmp_path: Path):
    port, tape = Venue(refuse_cancels=3), Tape()
    launched = launch(tmp_path / "r", Gate.OPEN)

    async def story(made: Runner) -> None:
        made.plan = Flatten(made, settings(**PLAN))
        watching = asyncio.create_task(made.plan.watch())
        await with_a_position(made, port)
        made.arm("a drill")
        await until(lambda: made.plan.done, "the plan is done")
        assert held(made) == 0
        before = submits(port)
        await asyncio.sleep(0.5)
        assert submits(port) == before, "nothing but the sale"
        watching.cancel()

    _made, summary = play(launched, port, story, feeds={"feed": tape})
    assert summary["orphans"] == []
    log = read_log(tmp_path / "r")
    actions, events = log.actions(), log.events()
    tripped = events[(events["kind"] == EventKind.SWITCH)]["seq"][0]
    sold = actions[(actions["kind"] == ActionKind.SUBMIT) & (actions["seq"] > tripped)]
    gone = {key for kind, key in port.wire if kind == "SUBMIT"}
    named = dict(pair for note in log.notes() for pair in note.get("orders", ()))
    sold = sold[[named[int(action["order_id"])] in gone for action in sold]]
    assert len(sold) == 1, "of all that was decided after the trip one order left"
    (plan,) = said(tmp_path / "r", "positions are to be sold")
    (sale,) = plan["plan"]
    assert sold["price"][0] >= sale["worst"]
    assert (sold["outcome"][0], sold["size"][0]) == (sale["outcome"], sale["size"])
    asked = events[events["kind"] == EventKind.EXIT]
    assert asked["size"].tolist() == [1, 0], "asked for, and taken back"
    assert replay(tmp_path / "r").ok


def test_nothing_is_sold_below_the_worst_price_and_people_are_told(tmp_path: Path):
    port, tape = Venue(), Tape()
    launched = launch(tmp_path / "r", Gate.OPEN)
    # the middle is 0.50, and an exit gives 0.02 below the bid: at 0.43 it would sell at 0.41
    made_settings = settings(**PLAN | {"flatten.worst_bps": "500", "flatten.give_up_s": "1"})

    async def story(made: Runner) -> None:
        plan = Flatten(made, made_settings)
        await with_a_position(made, port)
        made.arm("a drill")
        await until(lambda: made.swept_out, "nothing rests")
        plan._begin()
        tape.bid = 4_300
        await until(lambda: int(made.step.state.markets[0]["best_bid"]) == 4_300, "the price falls")
        plan.look()
        before = submits(port)
        assert not plan.asked
        for _ in range(300):
            plan.look()
            if plan.done:
                break
            await asyncio.sleep(0.02)
        assert plan.done
        assert held(made) == 6 * SHARE
        assert submits(port) == before
        assert any("not sold in time" in incident["what"] for incident in made.incidents)

    play(launched, port, story, feeds={"feed": tape})
    assert replay(tmp_path / "r").ok


def test_where_a_person_approves_orders_a_person_approves_the_sale(tmp_path: Path):
    port, tape, asked = Venue(), Tape(), []
    launched = launch(tmp_path / "r", Gate.APPROVAL)

    def approve(made: Runner, action: np.void) -> None:
        row = {"kind": EventKind.APPROVAL, "market": int(action["market"]), "aux": int(action["corr"])}
        made.put("mailbox", rows_of({**row, "size": int(Answer.APPROVED), "price": -1}))

    async def story(made: Runner) -> None:
        plan = Flatten(made, settings(**PLAN))

        def look(rows: np.ndarray, decisions: np.ndarray, actions: np.ndarray) -> None:
            for action in actions[actions["kind"] == ActionKind.PROPOSE]:
                asked.append(action.copy())
                if not made.halted:
                    approve(made, action)

        made.observe = look
        watching = asyncio.create_task(plan.watch())
        await with_a_position(made, port)
        made.arm("a drill", {"kind": EventKind.SWITCH, "market": -1, "aux": int(Scope.STRATEGY), "size": 1})
        await until(lambda: made.halted, "it is stopped")
        first = len(asked)

        def sales() -> list[np.void]:  # not the strategy's own, which ends with its next decision
            return [a for a in asked[first:] if a["order_type"] == OrderType.FAK and int(a["flags"]) & REDUCE_ONLY]

        await until(sales, "the sale is proposed")
        proposed = sales()[-1]
        assert (int(proposed["side"]), int(proposed["outcome"])) == (Side.SELL, Outcome.YES)
        before = submits(port)
        await asyncio.sleep(0.5)
        assert submits(port) == before, "nobody has approved it"
        assert held(made) == 6 * SHARE
        approve(made, proposed)
        await until(lambda: plan.done, "sold")
        assert held(made) == 0
        made.put("mailbox", made.disarm({"kind": EventKind.SWITCH, "market": -1, "aux": int(Scope.STRATEGY)}))
        await until(lambda: not plan.done, "cleared: the plan is over")
        watching.cancel()

    play(launched, port, story, feeds={"feed": tape})
    assert replay(tmp_path / "r").ok


def test_a_switch_that_is_not_the_plans_sells_nothing(tmp_path: Path):
    port, tape = Venue(), Tape()
    launched = launch(tmp_path / "r", Gate.OPEN)

    async def story(made: Runner) -> None:
        plan = Flatten(made, settings(**PLAN | {"flatten.scopes": "strategy latch"}))
        await with_a_position(made, port)
        made.arm("a drill")
        await until(lambda: made.swept_out, "nothing rests")
        for _ in range(20):
            plan.look()
            await asyncio.sleep(0.02)
        assert not plan.sales
        assert held(made) == 6 * SHARE

    play(launched, port, story, feeds={"feed": tape})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flatten.scopes": "global moon"}, "no scope 'moon'"),
        ({"exits.enabled": "false"}, "no exit is ever proposed"),
        ({"risk.killswitch.reduce_after_trip": "false"}, "lets no sale pass"),
    ],
)
def test_a_plan_that_could_sell_nothing_is_refused(change: dict[str, str], message: str):
    check(settings(**PLAN))
    with pytest.raises(ConfigError, match=message):
        check(settings(**PLAN | change))
