"""`polytraders bots new`: a copy with a name of its own and nothing left of the old one's results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from polytraders.bots import load_bot
from polytraders.cli.new_bot import TEMPLATES, new_bot
from polytraders.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path) -> Path:
    """A copy of what is copied from."""
    for folder in ("nbs", "fixtures/bots", "tests/bots"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_new_bot_is_its_template_under_another_name(repository, family):
    made = new_bot(f"{family}.my_idea", root=repository)
    template = load_bot(TEMPLATES[family])
    text = made[0].read_text()
    code = "".join("".join(cell["source"]) + "\n" for cell in cells(made[0], "code"))
    assert f'bot_id="{family}.my_idea"' in code and 'name="My Idea"' in code
    assert f"#| default_exp {template.spec.family.folder}.my_idea\n" in code
    assert "".join(cells(made[0], "markdown")[0]["source"]).startswith("# My Idea\n")
    assert template.id not in text and f"number={template.spec.number!r}" not in text
    assert f"polytraders_{family}_my_idea_" in code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells(made[0], "code"))
    *fixtures, test = made[1:]
    for path in fixtures:
        assert path.read_bytes() == (ROOT / "fixtures" / "bots" / template.id / path.name).read_bytes()
    assert {path.stem for path in fixtures} >= {"normal", "warning", "hard", "failure"}
    assert test == repository / "tests" / "bots" / "test_my_idea.py"
    old, text = template.id.partition(".")[2], test.read_text()
    assert re.search(r"^from polytraders\.\w+(\.my_idea import | import my_idea as )", text, re.M)
    assert not re.search(rf"^from .*\b{old}\b", text, re.M) and template.id not in text
    compile(text, test.name, "exec")


def test_a_test_that_is_there_is_left_alone(repository):
    mine = repository / "tests" / "bots" / "test_my_idea.py"
    mine.write_text("mine")
    assert mine not in new_bot("strat.my_idea", root=repository) and mine.read_text() == "mine"


def test_the_exported_code_of_a_copy_differs_in_names_only(repository):
    made = new_bot("strat.my_idea", root=repository)
    copy, original = (
        [line for cell in cells(path, "code") for line in "".join(cell["source"]).splitlines()]
        for path in (made[0], ROOT / "nbs" / "strategies" / "maker_tight.ipynb")
    )
    different = set(copy) - set(original)
    assert different and all("my_idea" in line or "My Idea" in line for line in different)
    assert len(original) - len(copy) == 1  # its number in the library


def test_an_existing_notebook_is_never_overwritten(repository):
    new_bot("strat.my_idea", root=repository)
    path = repository / "nbs" / "strategies" / "my_idea.ipynb"
    path.write_text("mine")
    with pytest.raises(UsageError, match="strat.my_idea is there already"):
        new_bot("strat.my_idea", root=repository)
    assert path.read_text() == "mine"


def test_without_notebooks_there_is_nothing_to_copy(tmp_path):
    with pytest.raises(UsageError, match="an installed package has none"):
        new_bot("strat.my_idea", root=tmp_path)
    assert list(tmp_path.iterdir()) == []
