"""Kill switches by scope: what each stops, that nothing leaves in its scope, that each clears alone."""

import numpy as np
import pytest
from gated import merged, replayed, run
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, PUSD, SHARE, T0, Info, S, Tape, maker, random_tape, reducing, script, toy

from polytraders.engine import setup
from polytraders.engine.backtest import _plain, feed
from polytraders.engine.loop import compiled
from polytraders.errors import DataError
from polytraders.reasons import Code
from polytraders.risk import killswitch as ks
from polytraders.rows import EVENT, ActionKind, EventKind, Flag, Gate, Scope, Signal, Verdict

FOUR = [Info(event_id=e) for e in ("a", "a", "b", "")]
"""Markets 0 and 1 are of one event."""
RUN_WIDE = (Scope.GLOBAL, Scope.PORTFOLIO, Scope.STRATEGY, Scope.FAMILY, Scope.BOT, Scope.FEED)


def tape(markets=4):
    made = Tape()
    for m in range(markets):
        made.market = m
        made.bid(0, 4_900, 100).ask(0, 5_100, 100)
    return made


def switch(tape, ms, scope, armed=1, *, market=-1, subject=0, why=0):
    tape.add(ms, EventKind.SWITCH, market=market, aux=scope, price=subject, size=armed / SHARE)
    row = list(tape.rows[-1])
    row[7] = why
    tape.rows[-1] = tuple(row)
    return tape


def session(tape, pipeline=None, **options):
    pipeline = pipeline or script(4_900, 10 * SHARE, wake=100 * MS)
    return run(tape.events(), pipeline, gate=Gate.OPEN, infos_=FOUR, **options)


def working(sim) -> list[int]:
    """Markets in which an order of ours rests."""
    return [m for m in range(4) if (sim.state.slots[m] >= 0).any()]


@pytest.mark.parametrize(
    ("scope", "market", "subject", "stopped"),
    [
        *((scope, -1, 0, [0, 1, 2, 3]) for scope in RUN_WIDE),
        (Scope.MARKET, 2, 0, [2]),
        (Scope.FEED, 1, 7, [1]),
        (Scope.CLUSTER, 1, 31, [0, 1]),
        (Scope.CLUSTER, 3, 4, [3]),
    ],
)
def test_a_switch_cancels_what_works_in_its_scope_and_only_there(scope, market, subject, stopped):
    made = switch(tape(), 1_000, scope, market=market, subject=subject)
    sim, sink = session(made.clock(3_000))
    assert working(sim) == [m for m in range(4) if m not in stopped]
    actions = sink.rows("actions")
    cancels = actions[actions["kind"] == ActionKind.CANCEL]
    assert sorted(cancels["market"]) == stopped and set(cancels["ts"] - T0) == {1_000 * MS}
    late = actions[(actions["kind"] == ActionKind.SUBMIT) & (actions["ts"] >= T0 + 1_000 * MS)]
    assert not np.isin(late["market"], stopped).any()
    said = sink.rows("decisions")
    said = said[(said["code"] == Code.RISK_KILL_SWITCH_ACTIVE) & (said["size"] > 0)]
    assert sorted(set(said["market"])) == stopped and set(said["verdict"]) == {Verdict.REJECT}


@pytest.mark.parametrize("scope", RUN_WIDE)
def test_clearing_lets_trading_go_on(scope):
    made = switch(switch(tape(), 1_000, scope), 2_000, scope, 0)
    sim, _ = session(made.clock(4_000))
    assert working(sim) == [0, 1, 2, 3] and sim.state.account[0].switch == 0


def test_each_switch_clears_alone():
    made = switch(switch(tape(), 500, Scope.BOT, subject=0), 600, Scope.BOT, subject=2)
    made = switch(switch(made, 700, Scope.FAMILY, subject=5), 800, Scope.CLUSTER, market=0, subject=1)
    made = switch(made, 900, Scope.CLUSTER, market=1, subject=2)
    made = switch(switch(made, 1_000, Scope.BOT, 0, subject=0), 1_100, Scope.FAMILY, 0, subject=5)
    made = switch(made, 1_200, Scope.CLUSTER, 0, market=0, subject=1)
    still, _ = session(made.clock(2_000))
    assert working(still) == [] and still.state.account[0].switch == 1 << Scope.BOT
    cleared, _ = session(switch(made, 2_100, Scope.BOT, 0, subject=2).clock(4_000))
    assert working(cleared) == [2, 3]  # cluster 2 is still armed
    assert [bool(m.switch) for m in cleared.state.markets] == [True, True, False, False]


@pytest.mark.parametrize(
    ("scope", "market", "subject"),
    [(Scope.BOT, -1, 99), (Scope.FAMILY, -1, 7), (99, -1, 0), (Scope.CLUSTER, 0, 32), (Scope.FEED, 0, 16), (-1, 2, 0)],
)
def test_a_switch_that_names_nothing_known_stops_everything(scope, market, subject):
    sim, _ = session(switch(tape(), 1_000, scope, market=market, subject=subject).clock(3_000))
    assert working(sim) == [] and sim.state.account[0].switch == 1 << Scope.GLOBAL


def test_only_the_global_switch_takes_a_latch_back():
    def halted(scope):
        made = switch(tape(), 1_000, scope, 0)
        state = setup.new_state(FOUR, maker(), cash=PUSD, interval=100 * MS, sample_interval=S)
        state.account["halted"] = Code.RISK_DRAWDOWN_BREACH
        feed(made.events(), state, maker(), None)
        return int(state.account[0].halted)

    assert halted(Scope.PORTFOLIO) == Code.RISK_DRAWDOWN_BREACH and halted(Scope.GLOBAL) == 0


def killswitch(**values):
    return toy("risk", ks.decide, ks.SPEC.kernel_params(values)[:32], name="risk.killswitch")


@pytest.mark.parametrize(
    ("plan", "scope", "passes"),
    [
        ("true", Scope.GLOBAL, True),
        ("false", Scope.GLOBAL, False),
        ("true", Scope.BOT, False),
        ("true", Scope.FAMILY, False),
    ],
)
def test_the_plan_lets_reductions_pass_but_not_with_a_bot_off(plan, scope, passes):
    made = switch(tape(1), 1_000, scope).add(500, EventKind.SPLIT, size=50).clock(3_000)
    made.rows.sort(key=lambda row: row[0])
    pipeline = setup.order_bots(
        [toy("strat", reducing, (5_100, 5 * SHARE)), killswitch(reduce_after_trip=plan), script(0, 0).bots[-1]]
    )
    sim, _ = run(made.events(), pipeline, gate=Gate.OPEN, infos_=[Info()])
    assert bool(working_one(sim)) == passes


def working_one(sim):
    return (sim.state.slots[0] >= 0).any()


def test_signals_of_the_runner_trip_the_kill_switch_and_cancel_what_rests():
    for number, value, code in (
        (Signal.API_ERROR_RATE, 500_001, Code.RISK_API_ERROR_RATE_BREACH),
        (Signal.WALLET_SHORTFALL, 1_000_001, Code.RISK_WALLET_SHORTFALL),
    ):
        made = tape(1).add(1_000, EventKind.SIGNAL, market=-1, aux=number, size=(value - 1) / SHARE)
        made = made.add(2_000, EventKind.SIGNAL, market=-1, aux=number, size=value / SHARE).clock(4_000)
        sim, sink = run(made.events(), script(4_900, 10 * SHARE, risk=killswitch()), gate=Gate.OPEN, infos_=[Info()])
        actions = sink.rows("actions")
        assert (actions["ts"][actions["kind"] == ActionKind.CANCEL] - T0).tolist() == [2_000 * MS]
        assert sim.state.account[0].halted == code


def test_a_session_with_switches_replays():
    rng = np.random.Generator(np.random.PCG64(5))
    events = random_tape(5, 600, 2)
    rows = np.zeros(12, EVENT)
    rows["ts_recv"] = rows["ts_event"] = np.sort(rng.integers(T0, int(events["ts_recv"][-1]), 12))
    rows["kind"], rows["flags"], rows["aux"] = EventKind.SWITCH, Flag.LAST, rng.choice([0, 2, 5, 6, 7], 12)
    rows["market"] = np.where(np.isin(rows["aux"], [2, 6]), rng.integers(0, 2, 12), -1)
    rows["size"] = rng.integers(0, 2, 12)
    pipeline = maker(10 * SHARE, 100 * SHARE)
    _, sink = run(merged(events, rows), pipeline, gate=Gate.OPEN, markets=2)
    again = replayed(sink, pipeline, gate=Gate.OPEN, markets=2)
    for kind in ("decisions", "actions", "samples"):
        assert sink.rows(kind).tobytes() == again.rows(kind).tobytes(), kind
    assert (sink.rows("actions")["kind"] == ActionKind.SUBMIT).sum() > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_nothing_is_sent_while_a_switch_of_its_scope_is_armed(seed, data):
    """Armed and cleared at random; the scopes' reach is worked out here a second time."""
    events = random_tape(seed, 250, 2, resolve=False)
    span = int(events["ts_recv"][-1] - T0)
    rows = np.zeros(data.draw(st.integers(1, 8)), EVENT)
    for row in rows:
        row["ts_recv"] = row["ts_event"] = T0 + data.draw(st.integers(0, span))
        row["kind"], row["flags"] = EventKind.SWITCH, Flag.LAST
        row["aux"] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 7]))
        local = row["aux"] in (2, 6) or (row["aux"] == 7 and data.draw(st.booleans()))
        row["market"] = data.draw(st.integers(0, 1)) if local else -1
        row["price"], row["size"] = data.draw(st.integers(0, 2)), data.draw(st.sampled_from([0, 1, 1]))
    rows = rows[np.argsort(rows["ts_recv"], kind="stable")]
    _, sink = run(merged(events, rows), maker(10 * SHARE, 100 * SHARE), gate=Gate.OPEN, markets=2)
    actions = sink.rows("actions")
    for sent in actions[actions["kind"] == ActionKind.SUBMIT] if len(actions) else []:
        armed = {}
        for row in rows[rows["ts_recv"] <= sent["ts"]]:
            subject = int(row["price"]) if row["aux"] in (2, 4, 5) or (row["aux"] == 7 and row["market"] >= 0) else 0
            if row["market"] < 0 or row["market"] == sent["market"]:
                armed[(int(row["aux"]), int(row["market"]), subject)] = bool(row["size"])
        assert not any(armed.values()), armed


def test_a_switch_withdraws_proposals_of_its_market_only():
    made = switch(tape(), 1_000, Scope.MARKET, market=2).clock(2_000)
    _, sink = run(made.events(), script(4_900, 10 * SHARE), infos_=FOUR)
    actions = sink.rows("actions")
    over = actions[actions["kind"] == ActionKind.WITHDRAW]
    assert over["market"].tolist() == [2] and over["expiry"].tolist() == [Code.EXEC_APPROVAL_VOID_STOPPED]


def test_a_signal_row_may_speak_of_the_whole_run_and_a_book_row_may_not():
    rows = tape(1).add(10, EventKind.SIGNAL, market=-1, aux=1).events()
    setup.check_events(rows, [Info()])
    state = setup.new_state([Info()], maker(), cash=PUSD, interval=100 * MS, sample_interval=S)
    assert compiled("unsafe_row")(state.markets, _plain(rows), 0, 4) == -1
    rows["market"][0] = -1
    with pytest.raises(DataError):
        setup.check_events(rows, [Info()])
