"""What notebooks generate is what they give today, and notebooks are clean. Done in a copy: the tree is not touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT, files

PARTS = ("nbs", "polytraders", "pyproject.toml", "README.md")
COMMANDS = ("nbdev-export", "nbdev-clean")
MEND = "run `nbdev-export && nbdev-clean` and commit what changes"


def copy(folder: Path) -> dict[str, bytes]:
    """Copy what the commands read and write; returns it."""
    before = {}
    for path in files():
        name = path.relative_to(ROOT)
        if name.parts[0] in PARTS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
            before[str(name)] = path.read_bytes()
    return before


def generate(folder: Path) -> dict[str, bytes]:
    """Run the commands in a copy; returns all its files."""
    environment = {key: value for key, value in os.environ.items() if key != "IN_TEST"}  # it makes export do nothing
    for command in COMMANDS:
        subprocess.run([Path(sys.executable).with_name(command)], cwd=folder, env=environment, check=True)
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """(folder, files before, files after) of one copy in which the commands have run."""
    folder = tmp_path_factory.mktemp("tree")
    before = copy(folder)
    return folder, before, generate(folder)


def test_generated_modules_are_what_the_notebooks_give(copied):
    _, before, after = copied
    stale = [name for name in after if not name.endswith(".ipynb") and before.get(name) != after[name]]
    assert not stale, f"{', '.join(sorted(stale))}: {MEND}"


def test_notebooks_are_clean(copied):
    _, before, after = copied
    dirty = [name for name in after if name.endswith(".ipynb") and before[name] != after[name]]
    assert not dirty, f"{', '.join(sorted(dirty))}: {MEND}"


def test_an_edit_of_a_generated_module_or_a_notebook_is_noticed(copied):
    folder, _, after = copied
    module, notebook = folder / "polytraders" / "reasons.py", folder / "nbs" / "01_reasons.ipynb"
    module.write_text(module.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    cells = json.loads(notebook.read_text(encoding="utf-8"))
    cells["cells"][-1]["metadata"]["scrolled"] = True
    notebook.write_text(json.dumps(cells), encoding="utf-8")
    assert generate(folder) == after
