"""The fee curve: the venue's own vectors, and exactness against fractions."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.engine.fees import fee_nano, maker_rebate, taker_fee

# shares, price in pips, rate in ppm -> fee in micro-pUSD. Worked by hand from shares * rate * p * (1 - p), 5 decimals:
# 10 @ 0.53 at 7 %: 10 * 0.07 * 0.2491 = 0.17437; 800 @ 0.60: 800 * 0.07 * 0.24 = 13.44;
# 6 @ 0.64: 6 * 0.07 * 0.2304 = 0.096768 -> 0.09677; 5 @ 0.01: 5 * 0.07 * 0.0099 = 0.003465 -> 0.00347;
# 25 @ 0.13 at 5 %: 25 * 0.05 * 0.1131 = 0.141375 -> 0.14138
VECTORS = [
    (100, 5_000, 70_000, 1_750_000),
    (100, 5_000, 50_000, 1_250_000),
    (100, 5_000, 40_000, 1_000_000),
    (10, 5_300, 70_000, 174_370),
    (800, 6_000, 70_000, 13_440_000),
    (6, 6_400, 70_000, 96_770),
    (5, 100, 70_000, 3_470),
    (25, 1_300, 50_000, 141_380),
]


@pytest.mark.parametrize(("shares", "price", "rate", "fee"), VECTORS)
def test_a_taker_pays_the_published_fee(shares, price, rate, fee):
    assert taker_fee(shares * 1_000_000, price, rate, 1) == fee


def test_below_half_a_unit_the_fee_is_zero_and_from_half_a_unit_it_is_one():
    # 0.01 share @ 0.5 at 0.1999 % -> 0.01 * 0.001999 * 0.25 = 0.0000049975 -> 0; at 0.2 % exactly 0.000005 -> 0.00001
    assert taker_fee(10_000, 5_000, 1_999, 1) == 0
    assert taker_fee(10_000, 5_000, 2_000, 1) == 10


def test_a_maker_is_credited_its_share_of_the_fee_its_fill_raised():
    # 100 @ 0.50 at 7 %: the taker pays 1.75; 20 % of it is 0.35
    assert maker_rebate(100_000_000, 5_000, 70_000, 1, 200_000) == 350_000


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(st.integers(0, 10**12), st.integers(0, 10_000), st.integers(0, 10**6), st.integers(0, 2))
def test_the_fee_is_exact_before_its_one_rounding(size, price, rate, exponent):
    exact = Fraction(size, 10**6) * Fraction(rate, 10**6) * Fraction(price * (10_000 - price), 10**8) ** exponent
    assert fee_nano(size, price, rate, exponent) == exact * 10**9 // 1
    units = (exact * 10**5 + Fraction(1, 2)) // 1
    assert taker_fee(size, price, rate, exponent) == units * 10
