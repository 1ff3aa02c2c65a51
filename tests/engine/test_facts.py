"""Facts that come as events: market flags, parameters of bots; and the count of orders sent within an hour."""

from __future__ import annotations

import numpy as np
import pytest

from polytraders.engine import state as s
from polytraders.engine.setup import check_events, market_rows
from polytraders.engine.state import SENT_CELLS, SENT_PERIOD, count_sent, sent_within_hour
from polytraders.engine.step import consume, new_out
from polytraders.errors import DataError
from polytraders.rows import EVENT, EventKind, Listed

HOUR = 3_600_000_000_000


class Market:
    tick = grid = 100
    min_size, fee_rate, fee_exponent, rebate_rate = 5_000_000, 0, 1, 0
    neg_risk, event_id, end_ts = False, "", 0


def test_a_market_that_does_not_say_what_is_held_against_it_is_unvetted():
    listed = Market()
    listed.flags = int(Listed.BANNED)
    rows, _ = market_rows([Market(), listed])
    assert rows["flags"].tolist() == [Listed.UNVETTED, Listed.BANNED]


@pytest.mark.parametrize("seed", range(20))
def test_the_count_of_an_hour_is_never_below_what_was_sent_in_it(seed):
    rng = np.random.default_rng(seed)
    account = s.records(s.ACCOUNT, 1)[0]
    gaps = rng.choice([0, 1, 10**9, SENT_PERIOD - 1, SENT_PERIOD, 7 * SENT_PERIOD, 3 * HOUR], 400)
    now, sent = 1_776_330_000_000_000_000, []
    for gap in gaps:
        now += int(gap)
        count = sent_within_hour(account, now)
        hour, more = (sum(now - ts < width for ts in sent) for width in (HOUR, HOUR + SENT_PERIOD))
        assert hour <= count <= more
        if rng.random() < 0.7:
            count_sent(account, now)
            sent.append(now)


def test_an_account_that_never_sent_counts_nothing():
    account = s.records(s.ACCOUNT, 1)[0]
    assert sent_within_hour(account, 1_776_330_000_000_000_000) == 0
    assert SENT_CELLS * SENT_PERIOD >= HOUR + SENT_PERIOD


def one(**fields):
    event = np.zeros(1, EVENT)
    for name, value in fields.items():
        event[name] = value
    return event


def test_a_parameter_row_may_be_for_all_markets_and_a_flag_row_may_not():
    check_events(one(kind=EventKind.CONFIG, market=-1, aux=0, price=31, size=7), [Market()])
    with pytest.raises(DataError, match="market -1"):
        check_events(one(kind=EventKind.FLAGS, market=-1), [Market()])


@pytest.fixture
def state():
    from polytraders.config import load_settings
    from polytraders.engine.setup import new_state
    from polytraders.run.pipeline import build_pipeline

    pipeline, _ = build_pipeline(load_settings(), "strat.maker_tight")
    return new_state([Market(), Market()], pipeline, cash=10**9, interval=0, sample_interval=0)


def tell(state, **fields):
    consume(state, new_out(1), s.as_rows(one(ts_recv=5, flags=1, **fields))[0])


def test_flags_and_parameters_arrive_and_rows_for_nobody_change_nothing(state):
    tell(state, kind=EventKind.FLAGS, market=1, size=int(Listed.BANNED))
    assert state.markets["flags"].tolist() == [Listed.UNVETTED, Listed.BANNED]
    assert state.markets["dirty"].tolist() == [0, 1]
    before = state.params["v"].copy()
    for bot, slot in ((-1, 0), (10**6, 0), (0, -1), (0, 32)):
        tell(state, kind=EventKind.CONFIG, market=-1, aux=bot, price=slot, size=99)
    assert (state.params["v"] == before).all()
    tell(state, kind=EventKind.CONFIG, market=-1, aux=3, price=31, size=99)
    assert state.params["v"][3, 31] == 99 and state.markets["dirty"].tolist() == [1, 1]
