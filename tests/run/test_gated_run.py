"""A logged run with a person in the loop: it replays, and its receipts and its trace tell of proposal and answer."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from gated import answer_row, merged
from test_replay import EASY, SETTINGS, session
from toys import MS

from polytraders.config import load_settings
from polytraders.engine.backtest import Collected, simulate
from polytraders.rows import EVENT, ActionKind, Gate
from polytraders.run.backtest import LogSink, engine_options, gate_options, summarise, venue_model
from polytraders.run.pipeline import build_pipeline
from polytraders.run.replay import replay
from polytraders.store.log import LogWriter, read_log
from polytraders.store.manifest import make_manifest
from polytraders.store.receipts import Receipts
from polytraders.store.trace import trace


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run of the committed pipeline, behind the gate, whose first proposals were approved."""
    settings = load_settings(SETTINGS).with_overrides(EASY)
    given, folder = session(), tmp_path_factory.mktemp("gated") / "r_gated"
    pipeline, bots = build_pipeline(settings, "strat.maker_tight")
    options = engine_options(settings) | gate_options(settings, Gate.APPROVAL)
    venue, events, rows = venue_model(settings), given.events, np.zeros(0, EVENT)
    for _ in range(4):
        sink = Collected()
        simulate(events, given.markets, pipeline, venue=venue, sink=sink, **options)
        made = sink.rows("actions")
        fresh = made[(made["kind"] == ActionKind.PROPOSE) & ~np.isin(made["corr"], rows["aux"])][0]
        rows = np.concatenate([rows, answer_row(fresh, int(fresh["ts"]) + 300 * MS, tolerance=500)])
        events = merged(given.events, rows)
    manifest = make_manifest(
        run_id="r_gated", strategy="strat.maker_tight", config=settings.as_dict(), config_hash=settings.hash,
        builder_code=settings.run.builder_code, markets=given.markets, bots=bots, pins={}, models=venue.names(),
        engine=options, run_mode="live",
    )  # fmt: skip
    with LogWriter(folder, manifest) as writer:
        simulation = simulate(events, given.markets, pipeline, venue=venue, sink=LogSink(writer), **options)
        writer.flush()
        writer.close(summarise(simulation, pipeline) | {"flushed": True})
    return folder


def test_it_sends_what_was_approved_and_replays(run):
    actions = read_log(run).actions()
    assert (actions["kind"] == ActionKind.SUBMIT).sum() > 0
    proposed = set(actions["corr"][actions["kind"] == ActionKind.PROPOSE].tolist())
    assert set(actions["corr"][actions["kind"] == ActionKind.SUBMIT].tolist()) <= proposed
    again = replay(run)
    assert again.ok, again.first_mismatch


def test_every_row_becomes_a_receipt_that_keeps_its_contract(run):
    codes = [document["reason_code"] for document in Receipts(run)]  # raises for one that does not
    assert {"EXEC_PROPOSED", "EXEC_APPROVED", "EXEC_SUBMITTED"} <= set(codes)


def test_the_trace_tells_of_proposal_answer_and_order(run):
    actions = read_log(run).actions()
    corr = int(actions["corr"][actions["kind"] == ActionKind.SUBMIT][0])
    told = [step.what for step in trace(run, str(corr)).steps]
    words = ("puts to a person", "was approved", "sends")
    at = [next(k for k, what in enumerate(told) if word in what) for word in words]
    assert at == sorted(at)
