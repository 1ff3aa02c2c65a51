"""The dense book against a dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Info, Tape

from polytraders import units
from polytraders.engine import book as bk
from polytraders.engine import setup
from polytraders.rows import Side


@pytest.mark.parametrize("grid", units.TICKS_PIPS)
def test_a_price_finds_its_level_without_a_division(grid):
    levels, recip = bk.geometry(grid)
    assert levels == 10_000 // grid + 1
    for price in range(10_001):
        assert (price * recip) >> bk.SHIFT == price // grid


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 100), st.integers(0, 3)), max_size=120))
def test_best_levels_are_those_of_a_dictionary(changes):
    tape, bids, asks = Tape(), {}, {}
    markets, cells = setup.market_rows([Info()])
    book = np.zeros(cells, np.int64)
    for k, (side, level, size) in enumerate(changes):
        (tape.bid if side == Side.BUY else tape.ask)(k, level * 100, size)
        (bids if side == Side.BUY else asks)[level] = size
        bk.replay(book, markets, tape.events()[-1:])
        market = markets[0]
        assert bk.bid(market) == max((k for k, v in bids.items() if v), default=-1)
        assert bk.ask(market) == min((k for k, v in asks.items() if v), default=-1)


def test_clearing_leaves_neighbours_alone():
    markets, cells = setup.market_rows([Info(), Info()])
    book = np.zeros(cells, np.int64)
    tape = Tape().bid(0, 4_000, 1).ask(0, 6_000, 2)
    tape.market = 1
    tape.bid(0, 3_000, 3).ask(0, 7_000, 4)
    tape.add(1, 1, market=0)  # BOOK_CLEAR
    assert bk.replay(book, markets, tape.events()) == 5
    assert (bk.bid(markets[0]), bk.ask(markets[0])) == (-1, -1)
    assert (bk.bid(markets[1]), bk.ask(markets[1])) == (30, 70)
    assert book.sum() == 7_000_000
