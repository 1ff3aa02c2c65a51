"""How a run is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polytraders.errors import UsageError
from polytraders.store.ids import intent_id
from polytraders.store.runs import find_run, find_run_of, latest, list_runs, runs_root


@pytest.fixture
def three(home: Path) -> list[Path]:
    """Runs a1, a2 and b1, begun in this order."""
    folders = [home / "runs" / name for name in ("a1", "a2", "b1")]
    for age, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        os.utime(folder / "manifest.json", ns=(age, age))
    (home / "runs" / "a3").mkdir()  # a folder without a manifest is no run
    return folders


def test_runs_are_listed_from_the_last_begun(three: list[Path]) -> None:
    assert list_runs() == three[::-1]
    assert find_run("latest") == latest() == three[2]


def test_a_run_is_found_by_id_by_unique_prefix_and_by_path(three: list[Path]) -> None:
    assert find_run("a1") == three[0]
    assert find_run("b") == three[2]
    assert find_run(str(three[1])) == three[1]


def test_an_ambiguous_prefix_names_its_runs(three: list[Path]) -> None:
    with pytest.raises(UsageError, match="2 runs begin so") as error:
        find_run("a")
    assert "a1" in error.value.mend
    assert "a2" in error.value.mend


def test_an_exact_id_wins_over_longer_ones(three: list[Path]) -> None:
    longer = runs_root() / "a11"
    longer.mkdir()
    (longer / "manifest.json").write_text("{}")
    assert find_run("a1") == three[0]


@pytest.mark.parametrize("ref", ["zz", "", "a3", "../runs"])
def test_an_unknown_run_is_refused(three: list[Path], ref: str) -> None:
    with pytest.raises(UsageError, match="no run has this id"):
        find_run(ref)


def test_without_runs_the_message_says_how_to_make_one(home: Path) -> None:
    for ref in ("latest", "a1"):
        with pytest.raises(UsageError, match="no runs yet"):
            find_run(ref)


def test_the_run_of_an_intent_is_found_from_the_intent(three: list[Path]) -> None:
    assert find_run_of(intent_id("a2", 17)) == three[1]
    with pytest.raises(UsageError, match="none of the runs"):
        find_run_of(intent_id("elsewhere", 17))
