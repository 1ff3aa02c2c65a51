"""`sweep`, `walk-forward` and `lookahead`: one JSON object, what is printed, and the exit codes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from polytraders.bots import Bot, register, unregister
from polytraders.cli import app
from polytraders.data.importer import import_files
from polytraders.data.synth import synthesise
from polytraders.engine.kernels import kernel
from polytraders.errors import LOOK_AHEAD, ConfigError, UsageError
from polytraders.reasons import Code
from polytraders.research import trials
from polytraders.strategies import maker_tight

EASY = ("--set", "strat.maker_tight.min_volume_24h_usd=0")
GRID = ("--grid", "edge_bps=10:90:40", "--grid", "venue.simulated.queue_model=risk_averse,power_prob")
SWEEP = ("sweep", "strat.maker_tight", "--recording", "toy", *GRID, *EASY)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    import_files(synthesise(folder / "frames", seed=7, minutes=4, markets=4)[:1], "toy", root=folder / "catalog")
    return folder


@pytest.fixture
def call(home, monkeypatch):
    monkeypatch.setenv("POLYTRADERS_HOME", str(home))
    return lambda *words: CliRunner().invoke(app, words)


def test_a_sweep_is_one_object_with_its_trials_and_what_they_prove(call, home):
    done = call(*SWEEP, "--workers", "2", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["trials"] == said["done"] == 6 and said["failed"] == 0
    assert {"dsr", "psr", "pbo", "effective", "track_record"} <= said["evidence"].keys()
    assert said["best"]["params"].keys() == {"strat.maker_tight.edge_bps", "venue.simulated.queue_model"}
    lines = (home / "sweeps" / said["sweep_id"] / "trials.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["trial"] for line in lines) == list(range(6))


def test_the_same_sweep_again_runs_nothing_and_says_the_same(call, home):
    first = json.loads(call(*SWEEP, "--workers", "0", "--json").stdout)
    log = home / "sweeps" / first["sweep_id"] / "trials.jsonl"
    before = log.read_bytes()
    assert json.loads(call(*SWEEP, "--workers", "2", "--json").stdout) == first
    assert log.read_bytes() == before


def test_a_sweep_prints_the_best_trials_and_their_sentences(call):
    page = call(*SWEEP, "--workers", "0").stdout
    assert "SWEEP" in page and "BACKTEST" in page and "6 parameter sets were tried on toy" in page
    assert "edge_bps" in page and "sharpe" in page


def test_random_draws_are_those_of_the_seed(call):
    words = ("sweep", "strat.maker_tight", "--recording", "toy", "--random", "3", "--workers", "0", "--json", *EASY)
    a, b = (json.loads(call(*words, "--seed", seed).stdout) for seed in ("5", "6"))
    assert a["done"] == b["done"] == 3 and a["sweep_id"] != b["sweep_id"]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--grid", "edge_bps=-1"), ConfigError, "out of range"),
        (("--grid", "nonsense=1"), ConfigError, "nonsense"),
        (("--grid", "edge_bps=1:2"), ConfigError, "from:to:step"),
        ((), UsageError, "--random"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_it_starts(call, words, error, says):
    done = call("sweep", "strat.maker_tight", "--recording", "toy", *words)
    assert isinstance(done.exception, error) and says in str(done.exception)


def test_a_sweep_without_a_good_trial_exits_with_1_and_says_why(call, monkeypatch):
    def refuse(job, settings):
        raise RuntimeError("nothing goes")

    monkeypatch.setattr(trials, "trade", refuse)
    words = ("sweep", "strat.maker_tight", "--recording", "toy", "--grid", "edge_bps=10,11", "--workers", "0")
    done = call(*words, "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["failed"] == 2
    done = call(*words)
    assert done.exit_code == 1 and "RuntimeError: nothing goes" in done.stdout


WALK = ("walk-forward", "strat.maker_tight", "--recording", "toy", *GRID, *EASY, "--workers", "0")


def test_a_walk_forward_tells_each_fold_and_counts_only_the_second_part(call):
    done = call(*WALK, "--train-s", "90", "--test-s", "60", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["folds"] == len(said["fold"]) == 2 and said["trials"] == 12
    assert said["out_of_sample_pusd"] == pytest.approx(sum(fold["out of sample"] for fold in said["fold"]))
    assert said["fold"][0]["test to"] == said["fold"][1]["test from"]
    assert said["fold"][0]["train from"] < said["fold"][0]["test from"]


def test_a_walk_forward_prints_its_folds_and_says_what_they_prove(call):
    done = call(*WALK, "--train-s", "120", "--test-s", "60")
    assert done.exit_code == 0 and "WALK-FORWARD strat.maker_tight on toy" in done.stdout
    assert "out of sample" in done.stdout and "with a probability of" in done.stdout


def test_windows_that_do_not_fit_are_refused(call):
    done = call(*WALK, "--train-s", "9000", "--test-s", "60")
    assert isinstance(done.exception, UsageError) and "shorter windows" in done.exception.mend


def test_an_honest_strategy_passes(call):
    done = call("lookahead", "strat.maker_tight", "--recording", "toy", "--cuts", "1", "--json", *EASY)
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["ok"] and said["recordings"][0]["recording"] == "toy"
    page = call("lookahead", "strat.maker_tight", "--cuts", "1", "--no-warm-up", "--shuffle", "2", *EASY).stdout
    assert "knows nothing of the future" in page and "dealt out anew 2 times" in page


def test_a_strategy_that_holds_the_future_exits_with_6(call):
    future = tuple(range(1_000))

    @kernel("strat")
    def decide(market, position, account, ladder, memory, targets, params):
        return np.int64(Code.STRAT_MAKER_NO_EDGE if future[market.now % 1_000] > 5 else Code.STRAT_MAKER_NEAR_CLOSE)

    bot = register(Bot(replace(maker_tight.SPEC, bot_id="strat.seer", name="Seer"), decide))
    try:
        done = call("lookahead", bot.id, "--recording", "toy", "--cuts", "1", "--no-warm-up")
    finally:
        unregister(bot.id)
    assert done.exit_code == LOOK_AHEAD == 6 and "KNOWS THE FUTURE" in done.stdout and "future" in done.stdout


def test_without_a_recording_there_is_nothing_to_try(call, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ("lookahead", "strat.maker_tight"))
    assert isinstance(done.exception, UsageError) and "no recording" in str(done.exception)
