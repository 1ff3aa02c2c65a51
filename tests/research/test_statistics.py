"""Statistics of many trials, against numbers worked out by hand and worlds whose truth is known."""

from math import e, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.research import statistics as s


def rng(seed=1):
    return np.random.Generator(np.random.PCG64(seed))


def normal(n, ratio):
    """Moments of a normal series."""
    return s.Moments(n, ratio, 0.0, 3.0)


def test_moments_of_four_returns_are_those_worked_out_by_hand():
    # mean 1, deviations -1 -1 -1 3: sum of squares 12, of cubes 24, of fourth powers 84
    m = s.moments(np.array([0.0, 0.0, 0.0, 4.0]))
    assert m.n == 4
    assert m.sharpe == pytest.approx(1 / sqrt(12 / 3))
    assert m.skew == pytest.approx((24 / 4) / 3**1.5)
    assert m.kurtosis == pytest.approx((84 / 4) / 9)


def test_a_series_that_never_varies_has_a_sharpe_ratio_of_zero():
    assert s.moments(np.full(5, 0.1)) == s.Moments(5, 0.0, 0.0, 3.0)
    assert s.sharpe(np.zeros((4, 2))).tolist() == [0.0, 0.0]


def test_the_probabilistic_sharpe_ratio_of_a_normal_series_is_the_closed_form():
    # SR 0.1 over 101 observations: 0.1 * 10 / sqrt(1 + 0.5 * 0.01) = 0.99751; Φ = 0.84074
    assert s.probabilistic_sharpe(normal(101, 0.1)) == pytest.approx(0.84074, abs=1e-5)
    assert s.probabilistic_sharpe(normal(101, 0.1), 0.1) == 0.5


def test_negative_skew_and_fat_tails_lower_the_probability():
    fair, bad = normal(101, 0.1), s.Moments(101, 0.1, -2.0, 10.0)
    # 1 + 0.2 + 9/4 * 0.01 = 1.2225: 1 / 1.10567 = 0.90443; Φ = 0.81712
    assert s.probabilistic_sharpe(bad) == pytest.approx(0.81712, abs=1e-5)
    assert s.probabilistic_sharpe(bad) < s.probabilistic_sharpe(fair)


def test_the_worked_example_of_the_deflated_sharpe_paper():
    """100 trials, annual variance 1/2 over 250 days: SR0 = 0.1132; SR 2.5 a year, 1 250 days, skew -3, kurtosis 10."""
    variance = 0.5 / 250
    assert s.expected_best(variance, 100) == pytest.approx(0.1132, abs=5e-5)
    m = s.Moments(1250, 2.5 / sqrt(250), -3.0, 10.0)
    assert s.deflated_sharpe(m, variance, 100) == pytest.approx(0.9004, abs=5e-4)


def test_one_trial_is_not_deflated():
    assert s.expected_best(0.5, 1) == 0.0
    assert s.deflated_sharpe(normal(101, 0.1), 0.5, 1) == s.probabilistic_sharpe(normal(101, 0.1))


def test_the_minimum_track_record_is_where_the_probability_reaches_the_confidence():
    m = normal(101, 0.1)
    # 1 + 1.005 * (1.644854 / 0.1)^2 = 272.91
    need = s.minimum_track_record(m)
    assert need == pytest.approx(272.91, abs=0.01)
    assert s.probabilistic_sharpe(normal(need, 0.1)) == pytest.approx(0.95)
    assert s.minimum_track_record(normal(101, -0.1)) == inf


def test_equal_trials_are_one_and_independent_ones_are_many():
    one = rng().normal(size=(500, 1))
    assert s.effective_trials(np.repeat(one, 20, axis=1)) == pytest.approx(1.0)
    assert s.effective_trials(rng().normal(size=(500, 20))) == pytest.approx(20, abs=1)
    # two pairs of equal trials: 4 of 12 ordered pairs correlate fully, rho = 1/3 (+ noise), 1/3 + 2/3 * 4 = 3
    pairs = np.repeat(rng().normal(size=(100_000, 2)), 2, axis=1)
    assert s.effective_trials(pairs) == pytest.approx(3, abs=0.02)


def test_trials_that_did_nothing_count_as_one():
    returns = np.zeros((50, 7))
    assert s.effective_trials(returns) == 1.0
    returns[:, 0] = rng().normal(size=50)
    assert s.effective_trials(returns) == 2.0


def test_two_blocks_and_two_trials_by_hand():
    # trial 0 wins the first block and loses the second, trial 1 the other way round:
    # whatever was best in one half is last in the other: rank 1 of 2, ω = 1/3, λ = ln 1/2
    up, down = [1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0]
    found = s.overfitting(np.column_stack([up + down, down + up]), blocks=2)
    assert found.splits == 2 and found.pbo == 1.0 and found.loss == 1.0
    assert found.logits == pytest.approx([log(0.5)] * 2)


def test_a_trial_that_is_always_best_is_no_overfitting():
    returns = rng().normal(0, 1, (160, 10))
    returns[:, 4] += 3
    found = s.overfitting(returns)
    assert found.pbo == 0.0 and found.loss == 0.0 and found.splits == 12_870


def test_the_best_of_a_thousand_random_strategies_is_flagged_and_a_skilled_one_is_not():
    returns = rng(7).normal(0, 1, (240, 1_000))
    ratios = s.sharpe(returns)
    best = returns[:, ratios.argmax()]
    assert s.probabilistic_sharpe(s.moments(best)) > 0.99  # alone it looks excellent
    trials = s.effective_trials(returns)
    assert trials == pytest.approx(1_000, rel=0.02)
    assert s.deflated_sharpe(s.moments(best), ratios.var(ddof=1), trials) < 0.95
    assert s.overfitting(returns).pbo > 0.3  # what was chosen is no better than a coin says

    skilled = returns.copy()
    skilled[:, 123] += 0.5
    ratios = s.sharpe(skilled)
    assert ratios.argmax() == 123
    assert s.deflated_sharpe(s.moments(skilled[:, 123]), ratios.var(ddof=1), s.effective_trials(skilled)) > 0.95
    assert s.overfitting(skilled).pbo < 0.05


def test_random_trials_are_overfitted_in_half_of_the_splits():
    found = [s.overfitting(rng(seed).normal(0, 1, (160, 30)), blocks=8).pbo for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        low, high = s.bootstrap(rng(seed).normal(0.2, 1, 200), seed=seed, draws=200)
        inside += low <= 0.2 <= high
    assert 85 <= inside <= 100


def test_blocks_keep_what_hangs_together():
    noise = rng().normal(size=2_001)
    series = noise[1:] + noise[:-1]  # neighbours are alike: a mean over it varies more than independent rows say
    mean = lambda r: float(r.mean())  # noqa: E731
    low, high = s.bootstrap(series, mean, seed=1, block=20)
    narrow_low, narrow_high = s.bootstrap(series, mean, seed=1, block=1)
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx(sqrt(2), rel=0.15)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_no_statistic_depends_on_the_unit_of_money(seed, unit):
    returns = rng(seed).normal(0.1, 1, (64, 5))
    a, b = s.overfitting(returns, 4), s.overfitting(returns * unit, 4)
    assert a.pbo == b.pbo and s.sharpe(returns * unit) == pytest.approx(s.sharpe(returns))
    assert s.effective_trials(returns * unit) == pytest.approx(s.effective_trials(returns))


def test_more_trials_need_more():
    assert s.expected_best(1.0, 10) < s.expected_best(1.0, 100) < s.expected_best(1.0, 1_000)
    # N = e: Φ⁻¹(1 - 1/e) and Φ⁻¹(1 - 1/e²) by table: 0.33747, 1.10152
    assert s.expected_best(1.0, e) == pytest.approx((1 - s.EULER) * 0.33747 + s.EULER * 1.10152, abs=1e-4)


def test_too_little_data_is_refused():
    with pytest.raises(ValueError, match="two trials"):
        s.overfitting(np.zeros((64, 1)))
    with pytest.raises(ValueError, match="at least two returns"):
        s.moments(np.zeros(1))
