"""The step in real time: however the rows are cut into calls, it decides what the whole stream decides."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, PUSD, SHARE, Info, S, maker, random_tape, script

from polytraders.engine.backtest import Collected, VenueModel, feed, flush, simulate
from polytraders.engine.live import Step
from polytraders.engine.setup import new_state
from polytraders.errors import DataError
from polytraders.rows import EVENT, EventKind, Flag

OPTIONS = {"cash": 500 * PUSD, "sample_interval": S}
INFOS = [Info(grid=10), Info(grid=10)]
PIPELINES = {"quotes": maker(10 * SHARE, 100 * SHARE), "takes": script(9_900, 5 * SHARE, passive=0, wake=137 * MS)}


def step(who: str, interval: int, rows: int = 1 << 12) -> Step:
    return Step(new_state(INFOS, PIPELINES[who], interval=interval, **OPTIONS), PIPELINES[who], INFOS, rows)


def drive(live: Step, events: np.ndarray, cuts: list[int], promise: bool) -> Collected:
    """Feed the rows in pieces; promise: say after each piece that nothing earlier than the next one comes."""
    made = Collected()
    edges = sorted({0, len(events), *(c % (len(events) + 1) for c in cuts)})
    for start, stop in pairwise(edges):
        piece = events[start:stop].copy()
        until = int(events["ts_recv"][stop]) if promise and stop < len(events) else 0
        for kind, rows in zip(("decisions", "actions", "samples"), live.run(piece, until), strict=True):
            made.put(kind, rows)
        assert (piece["seq"] == np.arange(start + 1, stop + 1)).all()
    made.put("decisions", live.flush())
    return made


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), who=st.sampled_from(sorted(PIPELINES)), interval=st.sampled_from([0, MS, 100 * MS]),
    cuts=st.lists(st.integers(0, 10**6), max_size=60), promise=st.booleans(),
)  # fmt: skip
def test_rows_cut_anywhere_give_the_decisions_of_the_whole_stream(seed, who, interval, cuts, promise):
    once, again = Collected(), Collected()
    simulate(
        random_tape(seed, 200, 2), INFOS, PIPELINES[who], interval=interval, venue=VenueModel(0, 0), sink=once,
        **OPTIONS,
    )  # fmt: skip
    events = once.rows("events")
    state = new_state(INFOS, PIPELINES[who], interval=interval, **OPTIONS)
    feed(events, state, PIPELINES[who], again)
    flush(state, again)
    pieces = drive(step(who, interval), events, cuts, promise)
    for kind in ("decisions", "actions", "samples"):
        assert pieces.rows(kind).tobytes() == again.rows(kind).tobytes() == once.rows(kind).tobytes(), kind


def test_a_decision_time_runs_as_soon_as_nothing_can_come_before_it():
    events = random_tape(7, 50, 2)
    live = step("quotes", 100 * MS)
    live.run(events.copy())
    due = live.next_decision
    assert due and due >= live.now
    assert not len(live.run(until=due).decisions), "a row of the decision time itself may still come"
    assert live.next_decision == due
    assert len(live.run(until=due + 1).decisions)
    assert live.seq == len(events), "time that passes is no row"


def test_without_a_grid_a_complete_message_is_decided_upon_at_once():
    live = step("quotes", 0)
    events = random_tape(3, 30, 2)
    end = int(np.flatnonzero(events["flags"] & Flag.LAST)[5]) + 1
    once, again = live.run(events[:end].copy(), until=int(events["ts_recv"][end - 1])), live.run(until=0)
    assert len(once.decisions) and not len(again.decisions)


def test_more_output_than_the_buffers_hold_is_whole():
    events = random_tape(5, 40, 2)
    long = int(events["ts_recv"][-1]) + 3_000 * S
    small, large = (step("takes", 100 * MS, rows).run(events.copy(), long) for rows in (1, 1 << 17))
    assert len(small.samples) > 2_304, "the strategy wakes by itself, and the account is sampled every second"
    for ours, theirs in zip(small, large, strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("market", 2, "unknown market"),
        ("market", -2, "unknown market"),
        ("kind", 99, "unknown event kind"),
        ("side", 3, "unknown side"),
        ("price", 10_010, "outside"),
        ("price", 4_005, "grid"),
        ("size", -1, "negative"),
        ("ts_recv", 1, "order of their receive time"),
    ],
)
def test_a_row_the_kernels_cannot_take_changes_nothing(field, value, word):
    live = step("quotes", 0)
    live.run(random_tape(1, 40, 2))
    before = [part.tobytes() for part in live.state]
    row = np.zeros(1, EVENT)
    row["ts_recv"] = row["ts_event"] = live.now + 5
    row["kind"], row["price"], row["size"], row["flags"] = EventKind.CHANGE, 4_000, SHARE, Flag.LAST
    row[field] = value
    with pytest.raises(DataError, match=word):
        live.run(row)
    assert [part.tobytes() for part in live.state] == before


def test_a_parameter_of_a_bot_that_is_not_there_is_refused():
    live, row = step("quotes", 0), np.zeros(1, EVENT)
    row["ts_recv"], row["kind"] = 1, EventKind.CONFIG
    for aux, price in ((len(live.state.bots), 0), (-1, 0), (0, 32), (0, -1)):
        row["aux"], row["price"] = aux, price
        with pytest.raises(DataError, match="CONFIG"):
            live.run(row)


def test_a_record_array_of_another_kind_is_refused():
    with pytest.raises(DataError, match="not of"):
        step("quotes", 0).run(np.zeros(2, np.int64))


def test_an_order_that_may_trade_more_than_its_size_ends_with_its_cancel():
    """A taking buy spends its money: below its limit that buys more shares, told with Flag.MORE."""
    live = step("takes", 0)
    events, taken = random_tape(3, 200, 2), []
    for row in range(len(events)):  # up to the first order: later the market may be resolved
        taken = live.run(events[row : row + 1].copy(), int(events["ts_recv"][row])).actions.copy()
        if len(taken):
            break
    first = taken[0]
    before = int(live.state.account[0]["open_orders"])
    held = int(live.state.positions["yes"][first["market"]])
    rows = np.zeros(3, EVENT)
    rows["ts_recv"] = rows["ts_event"] = live.now
    rows["aux"], rows["market"], rows["side"] = first["order_id"], first["market"], first["side"]
    rows["kind"] = EventKind.FILL_CONFIRMED, EventKind.FILL_CONFIRMED, EventKind.CANCEL
    rows["price"][:2] = first["price"] // 2
    rows["size"][:2] = first["size"]
    rows["flags"][:2] = Flag.MORE
    live.run(rows[:1])
    assert live.state.account[0]["open_orders"] == before, "it goes on though it is whole"
    live.run(rows[1:])
    assert live.state.account[0]["open_orders"] == before - 1
    assert live.state.positions["yes"][first["market"]] == held + 2 * first["size"]
