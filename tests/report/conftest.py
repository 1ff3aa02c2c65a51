"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SEED, MINUTES, MARKETS = 11, 8, 4


@pytest.fixture(scope="session")
def made_up_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the whole pipeline on a made-up session with a gap, a tick change and a resolution."""
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.data.importer import import_files
    from polytraders.data.synth import synthesise
    from polytraders.run.backtest import run_backtest

    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYTRADERS_HOME", str(folder / "home"))
        recording = synthesise(folder / "made-up", SEED, MINUTES, MARKETS)[0]
        import_files([recording], "made-up")
        settings = load_settings()
        result = run_backtest(Catalog().load("made-up"), settings, run_dir=folder / "r_made_up", run_id="r_made_up")
    assert result.folder is not None
    return result.folder


@pytest.fixture(scope="session")
def page(made_up_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered page of that run."""
    from polytraders.report.render import render

    return render(made_up_run, tmp_path_factory.mktemp("pages"))
