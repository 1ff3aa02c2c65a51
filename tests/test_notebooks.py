"""Every notebook runs from top to bottom: its examples are its tests."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from nbdev.test import test_nb as execute
from repository import ROOT, notebooks

execute.__test__ = False


def is_template(notebook: Path) -> bool:
    """A notebook that papermill fills in has a cell tagged `parameters`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return any("parameters" in cell["metadata"].get("tags", ()) for cell in cells)


def cases() -> list:
    rendered = pytest.mark.skip(reason="a papermill template: the report's tests render it")
    return [
        pytest.param(path, id=str(path.relative_to(ROOT / "nbs")), marks=rendered if is_template(path) else ())
        for path in notebooks()
        if ROOT / "nbs" in path.parents
    ]


@pytest.mark.parametrize("notebook", cases())
def test_a_notebook_runs_from_top_to_bottom(notebook: Path):
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        passed, _seconds = execute(notebook, skip_flags=["notest"], basepath=ROOT)
    finally:
        signal.signal(signal.SIGINT, interrupt)  # nbdev's own would end the whole session
    assert passed, f"{notebook.relative_to(ROOT)} stopped at the error above"


def test_a_notebook_that_stops_half_way_is_noticed(tmp_path: Path):
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 + 1 == 3")])
    path = tmp_path / "wrong.ipynb"
    nbformat.write(notebook, path)
    assert execute(path, showerr=False)[0] is False
