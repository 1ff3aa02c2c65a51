"""Replay is exact: the rows that a simulation consumed, fed to the step alone, give the same decisions again."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, PUSD, SHARE, Info, S, Tape, maker, random_tape, script

from polytraders.engine import backtest
from polytraders.engine.backtest import Collected, VenueModel, feed, flush, simulate
from polytraders.engine.latency import Latency
from polytraders.engine.setup import new_state
from polytraders.rows import EventKind, Side

OPTIONS = {"cash": 500 * PUSD, "sample_interval": S}
PIPELINES = {
    "quotes": maker(10 * SHARE, 100 * SHARE),
    "takes": script(9_900, 5 * SHARE, passive=0, wake=137 * MS),
}


def both(events, pipeline, interval, markets=1, **model):
    """(the simulation's rows, the replay's) of decisions, actions and samples."""
    infos = [Info(grid=10, taker_delay=250 * MS) for _ in range(markets)]
    once, again = Collected(), Collected()
    simulate(events, infos, pipeline, interval=interval, venue=VenueModel(**model), sink=once, **OPTIONS)
    state = new_state(infos, pipeline, interval=interval, **OPTIONS)
    feed(once.rows("events"), state, pipeline, again)
    flush(state, again)
    return once, again


def assert_same(once: Collected, again: Collected):
    for kind in ("decisions", "actions", "samples"):
        assert once.rows(kind).tobytes() == again.rows(kind).tobytes(), kind
    consumed = once.rows("events")
    assert (np.diff(consumed["ts_recv"]) >= 0).all()


def told(rows: Collected, kind: EventKind) -> int:
    return int((rows.rows("events")["kind"] == kind).sum())


def tape(seed: int, together: bool):
    """A random stream of two markets; together: several messages at each time, and times that lie on the grid."""
    events = random_tape(seed, 300, 2)
    if together:
        for clock in ("ts_recv", "ts_event"):
            events[clock] -= events[clock] % (50 * MS)
    return events


LATENCIES = st.sampled_from([0, 1, 2, MS, 50 * MS, 99_999_999, 100 * MS, 2_000 * MS])
COARSE = st.sampled_from([0, MS, 50 * MS, 100 * MS, 2_000 * MS])


@settings(max_examples=60, deadline=None)
@given(
    interval=st.sampled_from([1 * MS, 100 * MS, 1_000 * MS]), entry=LATENCIES, response=LATENCIES,
    seed=st.integers(0, 10**6), who=st.sampled_from(["quotes", "takes"]), settlement=st.sampled_from([0, 700 * MS]),
    together=st.booleans(),
)  # fmt: skip
def test_a_run_on_a_grid_replays_to_the_byte_whatever_the_latencies(
    interval, entry, response, seed, who, settlement, together
):
    model = {"entry_latency": entry, "response_latency": response, "settlement_delay": settlement, "ghost_rate": 50_000}
    assert_same(*both(tape(seed, together), PIPELINES[who], interval, 2, **model))


@settings(max_examples=40, deadline=None)
@given(
    entry=COARSE,
    response=COARSE,
    seed=st.integers(0, 10**6),
    who=st.sampled_from(["quotes", "takes"]),
    together=st.booleans(),
)
def test_a_run_that_decides_on_every_message_replays_to_the_byte_whatever_the_latencies(
    entry, response, seed, who, together
):
    model = {"entry_latency": entry, "response_latency": response}
    assert_same(*both(tape(seed, together), PIPELINES[who], 0, 2, **model))


@pytest.mark.parametrize("interval", [0, 100 * MS])
def test_drawn_latencies_with_zeros_among_them_replay(interval):
    drawn = Latency("drawn", np.array([0, 3 * MS, 0, 0, 70 * MS]))
    once, again = both(
        random_tape(3, 2_000, 2), PIPELINES["quotes"], interval, 2, entry_latency=drawn, response_latency=drawn
    )
    assert told(once, EventKind.FILL_CONFIRMED) > 10
    assert_same(once, again)


@pytest.mark.parametrize("interval", [0, 100 * MS])
def test_without_latency_an_answer_comes_1_ns_after_the_decision_that_caused_it(interval):
    """Bid 0.49 joined at 0 ms; a print of 15 at 30 ms eats the 10 ahead and 5 of ours."""
    hand = Tape().bid(0, 4_900, 10).ask(0, 5_100, 10).trade(30, 4_900, 15, Side.SELL).clock(1_000)
    once, again = both(hand.events(), script(4_900, 5 * SHARE), interval, entry_latency=0, response_latency=0)
    consumed, actions = once.rows("events"), once.rows("actions")
    ack = consumed[consumed["kind"] == EventKind.ORDER_ACK][0]
    assert ack["ts_recv"] == actions["ts"][0] + 1 and ack["ts_event"] == actions["ts"][0]
    fill = consumed[consumed["kind"] == EventKind.FILL_CONFIRMED][0]
    assert fill["size"] == 5 * SHARE and fill["ts_recv"] == fill["ts_event"] + 1
    assert_same(once, again)


def test_what_is_refused_at_once_is_not_tried_again_before_the_next_message():
    """Post-only through the ask, no latency, no grid: one refusal a message, not one every nanosecond."""
    hand = Tape().bid(0, 4_900, 10).ask(0, 5_100, 10).bid(5, 4_900, 20).clock(1_000)
    once, again = both(hand.events(), script(5_100, 5 * SHARE), 0, entry_latency=0, response_latency=0)
    assert 0 < told(once, EventKind.ORDER_REJECT) <= 4
    assert_same(once, again)


class Later(Collected):
    """A sink with a thread of its own, which puts the consumed rows together while the loop fills the next buffers."""

    def __init__(self):
        super().__init__()
        self.pool = ThreadPoolExecutor(1)

    def put(self, kind, rows):
        return SimpleNamespace(wait=self.pool.submit(super().put, kind, rows).result)

    def put_made(self, kind, make):
        keep = super().put
        return SimpleNamespace(wait=self.pool.submit(lambda: keep(kind, make())).result)


def test_rows_put_together_in_another_thread_are_the_same(monkeypatch):
    monkeypatch.setattr(backtest, "CHUNK", 64)
    events, sinks = tape(5, together=False), (Collected(), Later())
    for sink in sinks:
        infos = [Info(grid=10) for _ in range(2)]
        simulate(events, infos, PIPELINES["quotes"], interval=100 * MS, venue=VenueModel(), sink=sink, **OPTIONS)
    sinks[1].pool.shutdown()
    at_once, later = (sink.rows("events") for sink in sinks)
    assert at_once.tobytes() == later.tobytes()
    assert len(sinks[0].parts["events"]) > 5 and told(sinks[0], EventKind.ORDER_ACK) > 5
    assert (at_once["seq"] == 1 + np.arange(len(at_once))).all()
    recorded, given = (rows[rows["kind"] <= EventKind.TRADE] for rows in (at_once, events))
    assert all((recorded[f] == given[f]).all() for f in ("ts_recv", "kind", "market", "price", "size", "side"))
