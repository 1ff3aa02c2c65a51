"""A backtest under three fill models: the band beside the run, on the page, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.config import load_settings
from polytraders.data.catalog import Catalog, Session
from polytraders.data.importer import import_files
from polytraders.data.synth import synthesise
from polytraders.errors import DamageError, UsageError
from polytraders.report import charts
from polytraders.report.analysis import load
from polytraders.report.panels import band_note
from polytraders.run.band import CASES, FILE, envelope, read_band, run_band
from polytraders.run.replay import replay

QUEUE, PARTIAL = "venue.simulated.queue_model", "venue.simulated.partial_fills"
BAND = {
    "low": {QUEUE: "risk_averse"},
    "central": {QUEUE: "power_prob", "venue.simulated.queue_power": "1"},
    "high": {QUEUE: "power_prob", "venue.simulated.queue_power": "1", PARTIAL: "false"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A POLYTRADERS_HOME with a made-up recording and a calibration."""
    folder = tmp_path_factory.mktemp("band")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYTRADERS_HOME", str(folder / "home"))
        import_files([synthesise(folder / "made-up", seed=5, minutes=8, markets=4)[0]], "made-up")
        (folder / "home" / "calibrations").mkdir()
        (folder / "home" / "calibrations" / "c.json").write_text(json.dumps({"calibration": 1, "band": BAND}))
        yield folder / "home"


@pytest.fixture(scope="module")
def session(home) -> Session:
    return Catalog(home / "catalog").load("made-up")


@pytest.fixture(scope="module")
def banded(session, home, tmp_path_factory):
    """(central run, band)."""
    where = {"run_dir": tmp_path_factory.mktemp("run") / "r_band", "run_id": "r_band"}
    return run_band(session, load_settings(), BAND, {"calibration": "c"}, **where)


def test_each_case_is_what_a_backtest_with_its_settings_gives(banded, session, tmp_path):
    from polytraders.run.backtest import run_backtest

    result, band = banded
    assert list(band["cases"]) == list(CASES)
    for case in CASES:
        alone = run_backtest(session, load_settings().with_overrides(BAND[case]), run_dir=tmp_path / case)
        told = band["cases"][case]
        assert (told["pnl"], told["fills"]) == (alone.summary["pnl"], alone.summary["fills"])
        assert told["equity"][-1] == load(alone.folder).samples["equity"][-1]
    assert result.summary["pnl"] == band["cases"]["central"]["pnl"]
    assert band["cases"]["low"]["equity"] != band["cases"]["high"]["equity"]


def test_the_band_lies_beside_the_log_and_the_run_still_replays(banded):
    result, band = banded
    assert read_band(result.folder) == json.loads((result.folder / FILE).read_text()) == band
    assert replay(result.folder).ok


def test_the_envelope_holds_the_last_value_of_each_case():
    """At 1: 10, 12 and (not begun: its first) 11; at 2: 10, 15, 11; at 3: 8, 15, 20."""
    cases = {
        "low": {"ts": [1, 3], "equity": [10, 8]},
        "central": {"ts": [1, 2], "equity": [12, 15]},
        "high": {"ts": [2, 3], "equity": [11, 20]},
    }
    ts, low, high = envelope({"cases": cases})
    assert (ts.tolist(), low.tolist(), high.tolist()) == ([1, 2, 3], [10, 10, 8], [12, 15, 20])


def test_the_chart_shades_from_the_lowest_to_the_highest_and_the_note_says_of_what(banded):
    result, band = banded
    run = load(result.folder)
    figure = charts.equity(run)
    _, low, high = envelope(band)
    below, above = figure.data[1:3]
    assert above.fill == "tonexty" and figure.layout.showlegend
    assert below.y[-1] == low[-1] / 1e6 and above.y[-1] == high[-1] / 1e6
    assert np.all(np.asarray(below.y) <= np.asarray(above.y))
    note = band_note(run)
    assert all(f"{case} {band['cases'][case]['pnl']} pUSD" in note for case in CASES) and "calibration c" in note


def test_a_run_without_a_band_has_neither_shade_nor_note(banded, tmp_path):
    result, _ = banded
    bare = tmp_path / "r_bare"
    bare.mkdir()
    for file in result.folder.iterdir():
        if file.name != FILE:
            (bare / file.name).write_bytes(file.read_bytes())
    run = load(bare)
    assert len(charts.equity(run).data) == 1 and band_note(run) == ""
    (bare / FILE).write_text("{}")
    with pytest.raises(DamageError, match="cannot be read"):
        band_note(run)


def test_a_band_of_other_cases_is_refused(session):
    with pytest.raises(UsageError, match="three cases"):
        run_band(session, load_settings(), {"low": {}}, {})


def test_the_command_tells_the_profit_of_all_three(home, monkeypatch):
    monkeypatch.setenv("POLYTRADERS_HOME", str(home))
    told = json.loads(CliRunner().invoke(app, ["backtest", "made-up", "--band", "c", "--json"]).stdout)
    assert set(told["band"]) == set(CASES) and told["band"]["central"]["pnl"] == told["pnl"]
    assert Path(told["folder"], FILE).is_file()
    refused = CliRunner().invoke(app, ["backtest", "made-up", "--band", "c", "--no-log"])
    assert "need the run log" in str(refused.exception)
