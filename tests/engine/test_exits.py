"""Exits that the system proposes: their causes at the exact number, their orders, what they stop, and what replays."""

import numpy as np
import pytest
from gated import answer_row, answered, replayed, run
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, SHARE, T0, Info, S, Tape, accumulate, allow, as_is, maker, random_tape, script, toy

from polytraders.engine import setup
from polytraders.reasons import Code
from polytraders.risk import inventoryunwinder as iu
from polytraders.rows import ActionKind, EventKind, Gate, OrderType, Side

TERMS = {"take_profit": 1_000, "stop_loss": 500, "exit_spread": 1_000, "exit_slippage": 200, "exit_pause": 60 * S}
HOUR = 3_600 * S


def buyer(size, *risk) -> setup.Pipeline:
    """Bids at the touch until `size` shares are held."""
    return setup.order_bots(
        [toy("strat", accumulate, (size * SHARE, size * SHARE)), *(risk or [toy("risk", allow)]), toy("exec", as_is)]
    )


def holding(size=20, at=5_000, bid=4_900, ask=5_100) -> tuple[Tape, setup.Pipeline]:
    """A resting bid at `at` that is hit for all of it at 1 s."""
    tape = Tape().bid(0, at, 5).ask(0, ask, 200).trade(1_000, at, size + 5, Side.SELL)
    if bid != at:
        tape.bid(1_001, at, 0).bid(1_001, bid, 300)
    return tape, buyer(size)


def session(tape, pipeline, *, exits=TERMS, info=None, gate=Gate.OPEN, **more):
    return run(tape.events(), pipeline, gate=gate, exits=exits, infos_=[info or Info(grid=10, fee_rate=0)], **more)


def sales(sink):
    made = sink.rows("actions")
    return made[(made["kind"] == ActionKind.SUBMIT) & (made["side"] == Side.SELL)] if len(made) else made


def causes(sink):
    return {Code(c).name for c in sink.rows("decisions")["code"]} & {c.name for c in Code if "EXIT_" in c.name}


def test_without_terms_nothing_is_proposed():
    tape, pipeline = holding()
    tape.bid(2_000, 4_900, 0).bid(2_000, 1_000, 300).ask(2_000, 1_200, 300).clock(5_000)
    _, sink = session(tape, pipeline, exits=None)
    assert not causes(sink)


@pytest.mark.parametrize(("mid2", "goes"), [(9_500, True), (9_510, False)])
def test_a_loss_is_stopped_at_its_limit_measured_at_mid(mid2, goes):
    """Bought at 0.50; 5 % below is 0.475: a mid of 0.4750 is a loss of 5 %, of 0.4755 is not."""
    tape, pipeline = holding()
    bid = 4_700
    tape.bid(2_000, 4_900, 0).bid(2_000, bid, 300).ask(2_000, mid2 - bid, 300).clock(5_000)
    sim, sink = session(tape, pipeline)
    sold = sales(sink)
    assert ("EXEC_EXIT_STOP_LOSS" in causes(sink)) == goes
    if goes:
        first = sold[sold["order_type"] == OrderType.FAK][0]
        # 0.47 - 0.02, and what the router makes of it: never below the limit, all that is held
        assert first["size"] == 20 * SHARE and 4_500 <= first["price"] <= bid
        assert sim.state.positions[0].yes == 0 and sim.state.positions[0].exiting == 0


@pytest.mark.parametrize(("bid", "goes"), [(5_500, True), (5_400, False)])
def test_a_profit_is_taken_when_the_bid_pays_it(bid, goes):
    tape, pipeline = holding()
    tape.ask(2_000, 5_100, 0).ask(2_000, bid + 100, 300).bid(2_000, bid, 300).clock(5_000)
    sim, sink = session(tape, pipeline)
    assert ("EXEC_EXIT_TAKE_PROFIT" in causes(sink)) == goes
    if goes:
        sold = sales(sink)
        assert sold[sold["order_type"] == OrderType.FAK]["price"].tolist() == [bid]
        assert sim.state.positions[0].yes == 0 and sim.state.account[0].realised == 20 * SHARE * (bid - 5_000) // 10_000


def test_before_the_end_the_position_rests_at_the_ask_and_the_strategy_stays_out():
    info = Info(grid=10, fee_rate=0, end_ts=T0 + 10 * HOUR)
    tape, pipeline = holding()
    _, sink = session(tape.clock(5 * HOUR // MS), pipeline, exits={"before_end": 9 * HOUR}, info=info)
    made = sink.rows("actions")
    late = made[(made["kind"] == ActionKind.SUBMIT) & (made["ts"] >= T0 + HOUR)]
    assert "EXEC_EXIT_TIME" in causes(sink) and len(late) > 0  # the step wakes itself: nothing happens in the market
    assert set(late["side"]) == {Side.SELL} and set(late["price"]) == {5_100} and set(late["flags"]) == {1}
    assert late["ts"][0] - T0 <= HOUR + 200 * MS


def test_a_spread_that_widens_makes_the_position_leave_passively():
    tape, pipeline = holding()
    tape.ask(2_000, 5_100, 0).ask(2_000, 6_000, 300).clock(5_000)
    _, sink = session(tape, pipeline, exits={"exit_spread": 1_000})
    assert "EXEC_EXIT_LIQUIDITY" in causes(sink)
    assert sales(sink)["price"][-1] == 6_000


def test_a_forced_exit_sells_takes_and_lasts_until_it_is_taken_back():
    tape, pipeline = holding()
    tape.add(2_000, EventKind.EXIT, size=1 / SHARE).clock(8_000).add(9_000, EventKind.EXIT, market=-1).clock(12_000)
    _, sink = session(tape, pipeline, exits={"exit_slippage": 200})
    made = sink.rows("actions")
    opened = made[(made["kind"] == ActionKind.SUBMIT) & (made["side"] == Side.BUY)]["ts"] - T0
    assert "EXEC_EXIT_FORCED" in causes(sink)
    assert not ((opened >= 2_000 * MS) & (opened < 9_000 * MS)).any() and (opened >= 9_000 * MS).any()
    assert (sales(sink)["ts"] - T0).max() < 3_000 * MS


def test_after_a_stop_the_strategy_pauses():
    tape, pipeline = holding()
    tape.bid(2_000, 4_900, 0).bid(2_000, 4_600, 300).ask(2_000, 4_700, 300).clock(100_000)
    _, sink = session(tape, pipeline)
    made = sink.rows("actions")
    opened = made[(made["kind"] == ActionKind.SUBMIT) & (made["side"] == Side.BUY)]["ts"] - T0
    stopped = made[(made["kind"] == ActionKind.SUBMIT) & (made["order_type"] == OrderType.FAK)]["ts"][-1] - T0
    again = opened[opened > stopped]
    assert "EXEC_EXIT_PAUSE" in causes(sink) and len(again) > 0  # it wakes by itself when the pause is over
    assert again.min() >= 60 * S


def test_what_the_unwinder_no_longer_lets_grow_is_closed_by_the_excess():
    """100 YES at a mid of 0.50 are 50 pUSD of 500: 10 %, where 5 % may be held. Half of it goes."""
    tape, _ = holding(size=100)
    pipeline = buyer(100, toy("risk", iu.decide, iu.SPEC.kernel_params(), name="risk.inventoryunwinder"))
    tape.add(2_000, EventKind.CLOCK, market=-1).bid(2_500, 4_800, 1).clock(4_000)
    _, sink = session(tape, pipeline, exits={"unwind": 1})
    assert "EXEC_EXIT_UNWIND" in causes(sink)
    said = sink.rows("decisions")
    asked = said[(said["code"] == Code.EXEC_EXIT_UNWIND) & (said["size"] > 0)]
    assert 48 * SHARE <= asked["size"][0] <= 52 * SHARE
    assert sales(sink)["size"][-1] <= 52 * SHARE
    _, sink = session(tape, pipeline, exits={"unwind": 0})
    assert not causes(sink)


def test_an_exit_is_put_to_a_person_as_an_order_that_closes():
    tape, pipeline = holding()
    tape.bid(4_000, 4_900, 0).bid(4_000, 4_600, 300).ask(4_000, 4_700, 300).clock(20_000)

    def decide(p, k):
        return answer_row(p, int(p["ts"]) + 200 * MS, tolerance=1_000)

    more = {"exits": TERMS, "infos_": [Info(grid=10, fee_rate=0)]}
    sim, sink, _ = answered(tape.events(), pipeline, decide, rounds=6, **more)
    made = sink.rows("actions")
    closing = made[(made["kind"] == ActionKind.PROPOSE) & (made["flags"] & 2 > 0)]
    assert len(closing) > 0 and set(closing["side"]) == {Side.SELL}
    assert sim.state.positions[0].yes == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), interval=st.sampled_from([0, 100 * MS, S]), delay=st.sampled_from([0, 50 * MS]))
def test_an_exit_never_turns_a_position_around_and_the_session_replays(seed, interval, delay):
    options = {"interval": interval, "entry_latency": delay, "response_latency": delay, "markets": 2, "gate": Gate.OPEN}
    options["exits"] = TERMS | {"exit_spread": 300, "exit_pause": 5 * S}
    pipeline = maker(10 * SHARE, 60 * SHARE)
    sim, sink = run(random_tape(seed, 400, 2), pipeline, **options)
    for position in sim.state.positions:
        assert position.yes >= 0 and position.no >= 0
    said = sink.rows("decisions")
    exits = said[np.isin(said["code"], [c for c in Code if "EXIT_" in c.name]) & (said["size"] > 0)]
    assert (exits["side"] == Side.SELL).all() and ((exits["terms"] & 8) > 0).all()
    again = replayed(sink, pipeline, **options)
    for kind in ("decisions", "actions", "samples"):
        assert sink.rows(kind).tobytes() == again.rows(kind).tobytes(), kind


def test_a_script_that_holds_nothing_is_left_alone():
    tape = Tape().bid(0, 4_900, 100).ask(0, 6_900, 100).clock(3_000)
    _, sink = session(tape, script(4_900, 10 * SHARE))
    assert not causes(sink) and len(sink.rows("actions")) == 1
