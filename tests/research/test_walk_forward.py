"""Walk-forward: the windows, that a test window never sees its own future, and that the parts add up."""

import numpy as np
import pytest

from polytraders.data.catalog import window
from polytraders.errors import UsageError
from polytraders.research.walk_forward import STEPS, walk_forward
from polytraders.run.backtest import run_backtest
from polytraders.units import NS_PER_S

GRID = {"edge_bps": "10:90:40", "max_inventory_shares": "10,40"}


@pytest.fixture(scope="module")
def result(session, settings, tmp_path_factory):
    root = tmp_path_factory.mktemp("sweeps")
    options = {"train": 120 * NS_PER_S, "test": 60 * NS_PER_S, "grid": GRID, "workers": 0, "root": root}
    return walk_forward(session, settings, **options)


def test_the_test_windows_follow_one_another_and_their_training(result, session):
    first = int(session.events["ts_recv"][0])
    assert len(result.folds) == 2
    for k, fold in enumerate(result.folds):
        assert fold.train == (first + k * 60 * NS_PER_S, first + (k + 2) * 60 * NS_PER_S)
        assert fold.test == (fold.train[1], fold.train[1] + 60 * NS_PER_S)


def test_what_was_chosen_is_the_best_of_a_sweep_over_the_training_window_alone(result, session, settings):
    for fold in result.folds:
        pin = fold.sweep.manifest["pin"]
        assert (pin["start"], pin["end"]) == fold.train
        assert len(fold.sweep.done) == 6 and fold.params == fold.sweep.best["params"]
        said = run_backtest(window(session, *fold.train), settings.with_overrides(fold.params), log=False).summary
        assert fold.in_sample == round(float(said["pnl"]) * 1e6)


def test_what_happens_in_a_test_window_changes_no_choice(result, session, settings, tmp_path):
    """With everything behind the first test window gone, the first fold is the same."""
    fold = result.folds[0]
    short = window(session, end=fold.test[1] + 40 * NS_PER_S)
    options = {"train": 120 * NS_PER_S, "test": 60 * NS_PER_S, "grid": GRID, "workers": 0, "root": tmp_path}
    (again,) = walk_forward(short, settings, **options).folds
    assert again.params == fold.params and again.out_of_sample == fold.out_of_sample
    assert np.array_equal(again.pnl, fold.pnl)


def test_the_stitched_equity_ends_at_the_sum_of_the_folds(result):
    curve = result.equity()
    assert len(curve) == 2 * STEPS and curve["time"].is_monotonic_increasing
    assert curve["pnl"].iloc[-1] == pytest.approx(result.out_of_sample / 1e6)
    assert result.returns().sum() == pytest.approx(result.out_of_sample / result.deposit)
    table, said = result.table(), result.as_dict()
    assert table["out of sample"].sum() == pytest.approx(said["out_of_sample_pusd"])
    assert said["trials"] == 12 and "2 folds" in result._repr_html_()


def test_efficiency_compares_profit_per_second(result):
    inside = sum(fold.in_sample for fold in result.folds)
    assert inside > 0
    assert result.efficiency == pytest.approx(result.out_of_sample / inside * 2)  # training lasts twice as long


def test_windows_that_do_not_fit_are_refused(session, settings):
    with pytest.raises(UsageError, match="have to fit"):
        walk_forward(session, settings, train=3_600 * NS_PER_S, test=60 * NS_PER_S, grid=GRID)
