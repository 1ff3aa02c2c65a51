"""The study of Maker-Tight as it lies in the repository, and what it does where things are missing."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

STUDY = ROOT / "nbs" / "backtests" / "maker_tight.ipynb"
WIDTH_AND_HEIGHT = slice(16, 24)  # of a PNG: two big-endian numbers


@pytest.fixture(scope="module")
def cells() -> list[dict]:
    return json.loads(STUDY.read_text(encoding="utf-8"))["cells"]


def outputs(cells: list[dict]) -> list[dict]:
    return [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]


def pictures(cells: list[dict]) -> list[bytes]:
    return [base64.b64decode(o["data"]["image/png"]) for o in outputs(cells) if "image/png" in o.get("data", {})]


def words(cells: list[dict]) -> str:
    """Everything its outputs say."""
    said = [o.get("data", {}).get("text/markdown") or o.get("data", {}).get("text/plain") or "" for o in outputs(cells)]
    return "\n".join("".join(text) for text in said)


def test_the_study_is_stored_as_it_ran_on_the_recordings(cells):
    assert not [o for o in outputs(cells) if o["output_type"] in ("error", "stream") and o.get("name") != "stdout"]
    said = words(cells)
    assert "in **24 of 24** markets" in said and "screen likes" in said
    for absent in ("Not at hand", "made-up market", "is not installed", "No picture here"):
        assert absent not in said, f"stored from a run without everything: {absent}"


def test_the_study_has_every_section_of_a_study(cells):
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    for part in ("data", "screen", "tick by tick", "bots", "Adverse", "Inventory", "assume", "Parameters", "in order",
                 "Other markets", "have to be true", "Conclusion"):  # fmt: skip
        assert sum(part in heading for heading in headings) >= 1, part
    said = words(cells)
    for result in ("independent trials", "splits", "Look-ahead: **none found**", "pUSD where it was not", "micro-pUSD"):
        assert result in said, result


def test_its_pictures_show_without_a_browser_and_a_network(cells):
    shown = pictures(cells)
    assert len(shown) >= 6
    for png in shown:
        width, height = (int.from_bytes(png[WIDTH_AND_HEIGHT][at : at + 4]) for at in (0, 4))
        assert png.startswith(b"\x89PNG") and width > 600 and height > 200
    assert not any("plotly" in kind for o in outputs(cells) for kind in o.get("data", {}))
    assert "http" not in words(cells)


def test_the_study_is_below_a_megabyte():
    assert STUDY.stat().st_size < 1_000_000


def test_the_screen_can_run_where_the_study_is_checked():
    if importlib.util.find_spec("vectorbt") is None:
        reason = "vectorbt is not installed: pip install 'polytraders[research]'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


ALONE = """
import importlib.util, sys
there = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("vectorbt", "matplotlib") else there(name, *rest)
from nbdev.test import test_nb
import nbformat
passed, _ = test_nb(sys.argv[1], skip_flags=["notest"], basepath=sys.argv[2])
sys.exit(not passed)
"""


def test_without_recordings_and_extras_the_study_says_so_and_runs_on_a_made_up_market(tmp_path: Path):
    notebook = json.loads(STUDY.read_text(encoding="utf-8"))
    told = tmp_path / "told.txt"
    listen = f"""
_say = say
def say(text):
    with open({str(told)!r}, "a", encoding="utf-8") as file:
        file.write(text + "\\n")
    _say(text)
"""
    defined = next(i for i, cell in enumerate(notebook["cells"]) if "def say(" in "".join(cell["source"]))
    extra = {
        "cell_type": "code",
        "id": "listen",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": listen,
    }
    notebook["cells"].insert(defined + 1, extra)
    copy = tmp_path / "study.ipynb"
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"POLYTRADERS_SHARED": str(tmp_path / "nothing"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(copy), str(ROOT)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]
    said = told.read_text(encoding="utf-8")
    assert "Not at hand: btc" in said and "made-up market" in said
    assert "vectorbt is not installed" in said and "No picture here" in said
