"""Sweeps: what is tried, that every trial is written down, what survives a crash, and that workers change nothing."""

import itertools
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import orjson
import pytest

from polytraders.bots import load_bot
from polytraders.errors import ConfigError, DamageError, UsageError
from polytraders.research import sweep as sw
from polytraders.research import trials, workers
from polytraders.research.space import grid_points, random_points, read_space, search_space, size
from polytraders.research.sweep import load_sweep, read_rows, sweep
from polytraders.run.backtest import run_backtest

MAKER = "strat.maker_tight"
GRID = {"edge_bps": "10:90:40", "venue.simulated.queue_model": ["risk_averse", "power_prob"]}


def untimed(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "loop_seconds")} for row in rows]


# -- what is tried ---------------------------------------------------------------------------------------------


def test_a_range_holds_both_ends_and_the_last_key_changes_fastest(settings):
    space = read_space(settings, MAKER, GRID)
    assert space == {
        f"{MAKER}.edge_bps": ("10", "50", "90"),
        "venue.simulated.queue_model": ("risk_averse", "power_prob"),
    }
    points = grid_points(space)
    assert points == [dict(zip(space, p, strict=True)) for p in itertools.product(*space.values())]


def test_the_whole_search_space_is_that_of_the_spec():
    space = search_space(MAKER)
    own = {p.name: p.search_space for p in load_bot(MAKER).spec.parameters if p.search_space}
    assert {key.rpartition(".")[2] for key in space} == set(own)
    assert space[f"{MAKER}.edge_bps"] == tuple(str(v) for v in range(10, 151, 10))


def test_random_points_are_different_points_of_the_grid_and_the_seed_decides_which(settings):
    space = search_space(MAKER)
    points = random_points(space, 50, seed=3)
    assert len({tuple(p.items()) for p in points}) == 50
    assert all(value in space[key] for p in points for key, value in p.items())
    assert random_points(space, 50, seed=3) == points != random_points(space, 50, seed=4)


def test_more_random_points_than_the_grid_has_are_the_grid(settings):
    space = read_space(settings, MAKER, GRID)
    assert random_points(space, 1_000, seed=1) == grid_points(space)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"edge_bps": "-5"}, "out of range"),
        ({"edge_bps": "10:5:1"}, "cannot read the values"),
        ({"edge_bps": "a:b"}, "cannot read the values"),
        ({"edge_bps": "10,,20"}, "cannot read the values"),
        ({"no_such_key": "1"}, "no_such_key"),
        ({"engine.no_such_key": "1"}, "no key"),
        ({"min_edge_bps": None}, "no search_space"),
        ({"venue.simulated.queue_model": ["nonsense"]}, "nonsense"),
    ],
)
def test_what_the_configuration_would_refuse_stops_the_sweep_before_it_starts(settings, grid, says):
    with pytest.raises((ConfigError, UsageError), match=says):
        read_space(settings, MAKER, grid)


def test_a_grid_of_millions_is_refused():
    assert size(search_space(MAKER)) > 1_000_000
    with pytest.raises(UsageError, match="--random"):
        grid_points(search_space(MAKER))


# -- every trial -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(session, settings, tmp_path_factory):
    return sweep(session, settings, grid=GRID, workers=0, root=tmp_path_factory.mktemp("sweeps"))


def test_every_trial_is_the_backtest_of_its_settings(result, session, settings):
    assert len(result.done) == 6 and result.complete and not result.failed
    for row in result.done:
        own = settings.with_overrides(row["params"])
        said = run_backtest(session, own, log=False).summary
        assert row["config_hash"] == own.hash and row["data"] == trials.pin_hash(session)
        assert {key: row["metrics"][key] for key in ("fills", "pnl", "orders")} == {
            key: said[key] for key in ("fills", "pnl", "orders")
        }


def test_the_profits_of_the_intervals_add_up_to_the_profit(result):
    for row in result.done:
        assert len(row["pnl"]) == trials.INTERVALS
        assert sum(row["pnl"]) == round(float(row["metrics"]["pnl"]) * 1e6)


def test_the_best_is_the_one_with_the_highest_sharpe_ratio(result):
    table = result.table()
    assert result.best["trial"] == table["trial"][0] and table["sharpe"].is_monotonic_decreasing
    assert result.best["metrics"]["sharpe"] == pytest.approx(result.evidence.sharpe)


def test_the_number_of_trials_and_their_statistics_stand_on_the_result(result):
    said, page = result.as_dict(), result._repr_html_()
    assert said["trials"] == said["done"] == 6 and said["failed"] == 0
    assert 1 <= said["evidence"]["effective"] <= 6
    assert 0 <= said["evidence"]["pbo"] <= 1 and 0 <= said["evidence"]["dsr"] <= said["evidence"]["psr"] <= 1
    assert "6 parameter sets were tried" in page and result.id in page
    orjson.dumps(said, default=str)


def test_the_heat_map_holds_the_means_of_the_table(result):
    figure = result.heatmap("edge_bps", "venue.simulated.queue_model", "fills")
    table = result.table()
    cell = table[(table["edge_bps"] == 50) & (table["venue.simulated.queue_model"] == "risk_averse")]["fills"].mean()
    heat = figure.data[0]
    assert heat.z[list(heat.y).index("risk_averse")][list(heat.x).index("50")] == cell
    with pytest.raises(UsageError, match="no column"):
        result.heatmap("edge_bps", "nonsense")


def test_a_sweep_is_found_again_by_its_id(result, monkeypatch):
    monkeypatch.setattr(sw, "sweeps_root", lambda: result.folder.parent)
    again = load_sweep(result.id)
    assert again.rows == result.rows and again.manifest["pin"]["recording"] == "toy"
    with pytest.raises(UsageError, match="there is no sweep"):
        load_sweep("s_nothing")


# -- workers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_give_the_rows_of_one_process(result, session, settings, method, tmp_path):
    if method == "fork" and sys.platform != "linux":
        pytest.skip("workers are forked on Linux only")
    job = trials.make_job(session, settings, MAKER)
    points = list(enumerate(grid_points(read_space(settings, MAKER, GRID))))
    rows = sorted(workers.run_local(job, points, 2, method), key=lambda row: row["trial"])
    assert untimed(rows) == untimed(result.rows)


def test_a_saved_job_maps_the_events_instead_of_copying_them(session, settings, tmp_path):
    job = trials.make_job(session, settings, MAKER)
    again = trials.Job.open(job.save(tmp_path))
    assert (tmp_path / "job.pickle").stat().st_size < 100_000
    base = again.prepared.events
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert untimed([trials.run_trial(again, (0, {}))]) == untimed([trials.run_trial(job, (0, {}))])


@pytest.mark.soak  # a cluster of one machine takes a minute to come up
def test_ray_gives_the_rows_of_one_process(result, session, settings):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    job = trials.make_job(session, settings, MAKER)
    points = list(enumerate(grid_points(read_space(settings, MAKER, GRID))))
    try:
        rows = sorted(workers.run_ray(job, points, "local"), key=lambda row: row["trial"])
    finally:
        ray.shutdown()
    assert untimed(rows) == untimed(result.rows)


def test_without_ray_its_address_is_refused_with_the_mend(session, settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    job = trials.make_job(session, settings, MAKER)
    with pytest.raises(UsageError, match="pip install ray"):
        next(workers.run_ray(job, [(0, {})], "auto"))


# -- what goes wrong -------------------------------------------------------------------------------------------


def failing(trouble):
    """A `trade` in which the trial with edge_bps = 50 comes to grief."""
    real = trials.trade

    def trade(job, settings):
        if settings.bot(MAKER).values["edge_bps"] == "50":
            trouble()
        return real(job, settings)

    return trade


def refuse():
    raise ValueError("a number too many")


def test_a_failed_trial_is_a_row_and_the_next_call_runs_it_again(session, settings, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(trials, "trade", failing(refuse))
        first = sweep(session, settings, grid=GRID, workers=0, root=tmp_path)
    assert [row["error"] for row in first.failed] == ["ValueError: a number too many"] * 2
    assert len(first.done) == 4 and not first.complete and "2 trials failed" in " ".join(first.sentences())
    assert first.evidence.trials == 4
    again = sweep(session, settings, grid=GRID, workers=0, root=tmp_path)
    assert again.complete and again.id == first.id
    lines = [orjson.loads(line) for line in (again.folder / "trials.jsonl").read_bytes().splitlines()]
    assert len(lines) == 6 + 2  # what was done is not done again


@pytest.mark.skipif(sys.platform != "linux", reason="the trouble is planted by forking")
def test_a_worker_that_dies_costs_its_trial_only(session, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(trials, "trade", failing(lambda: os.kill(os.getpid(), signal.SIGKILL)))
    result = sweep(session, settings, grid=GRID, workers=2, root=tmp_path)
    assert [row["error"] for row in result.failed] == ["the worker died: SIGKILL"] * 2
    assert len(result.done) == 4


def test_an_interrupted_sweep_keeps_what_is_done_and_goes_on_there(session, settings, result, tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(session, settings, grid=GRID, workers=0, root=tmp_path, progress=interrupt)
    (folder,) = tmp_path.iterdir()
    assert len(read_rows(folder / "trials.jsonl")) == 2
    seen = []
    whole = sweep(session, settings, grid=GRID, workers=0, root=tmp_path, progress=lambda *at: seen.append(at))
    assert seen == [(2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]
    assert untimed(whole.rows) == untimed(result.rows)


def test_a_line_that_was_cut_off_is_run_again_and_a_spoilt_one_is_named(session, settings, result, tmp_path):
    log = tmp_path / "trials.jsonl"
    lines = [orjson.dumps(row) for row in result.rows]
    log.write_bytes(b"\n".join(lines[:2]) + b"\n" + lines[2][:40])
    torn = log.read_bytes()
    assert read_rows(log) == result.rows[:2]
    assert log.read_bytes() == torn  # somebody may be writing it
    assert read_rows(log, mend=True) == result.rows[:2]
    assert log.read_bytes() == b"\n".join(lines[:2]) + b"\n"
    log.write_bytes(lines[0] + b"\nnonsense\n")
    with pytest.raises(DamageError, match="trials.jsonl:2"):
        read_rows(log)


def test_another_recording_or_configuration_is_another_sweep(session, settings, result, tmp_path):
    other = replace(session, name="another", pin=session.pin | {"recording": "another"})
    a = sweep(other, settings, grid={"edge_bps": "50"}, workers=0, root=tmp_path)
    b = sweep(session, settings, grid={"edge_bps": "50"}, workers=0, root=tmp_path)
    c = sweep(
        session,
        settings.with_overrides({"engine.decide_interval_ms": "200"}),
        grid={"edge_bps": "50"},
        workers=0,
        root=tmp_path,
    )
    assert len({a.id, b.id, c.id}) == 3
    assert [each.tried_before for each in (a, b, c)] == [0, 1, 1]  # b and c know of each other
    assert "1 times more" in " ".join(c.sentences())


def test_a_sweep_in_which_nothing_ended_well_says_why(session, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(trials, "trade", failing(refuse))
    result = sweep(session, settings, grid={"edge_bps": "50"}, workers=0, root=tmp_path)
    with pytest.raises(UsageError, match="a number too many"):
        result.best  # noqa: B018
    assert "no trial of 1 ended well" in result._repr_html_()


def test_the_best_of_many_random_trials_is_called_luck_and_a_skilled_one_is_not(result):
    rng = np.random.Generator(np.random.PCG64(5))
    luck = rng.normal(0, 1, (trials.INTERVALS, 1_000))
    weighed = sw.weigh(luck)
    assert weighed.psr > 0.99 and weighed.overfitted
    luck[:, 17] += 0.5
    assert not sw.weigh(luck).overfitted
    assert sw.weigh(luck[:, 17:18]).pbo is None
