"""Fixtures of the stores' tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from tiny_run import RUN_ID, write_run

settings.register_profile("no-deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no-deadline")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty POLYTRADERS_HOME."""
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(home: Path) -> Path:
    """The hand-made run, where runs lie."""
    return write_run(home / "runs" / RUN_ID)
