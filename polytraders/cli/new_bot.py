"""Begin a bot as a copy of another: its notebook, its fixtures and its test under a new id.

A copy runs and passes its tests from the first minute; whoever changes it sees at each step what the change did.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polytraders
from polytraders.bots import FAMILIES, Bot, bot_ids, load_bot
from polytraders.errors import UsageError

TEMPLATES = {
    "strat": "strat.maker_tight",
    "risk": "risk.stale_book_guard",
    "exec": "exec.smartrouter",
    "intel": "intel.orderflowanalyzer",
    "disc": "disc.marketscanner",
    "sec": "sec.walletpermissionguard",
}
"""Family -> the bot that is copied when none is named."""


def new_bot(bot_id: str, source: str = "", root: Path | None = None) -> list[Path]:
    """Copy the notebook, the fixtures and the test of `source` (default: the family's template) under `bot_id`.

    root: the repository; default the one this package lies in. Returns the new files: the notebook, the fixtures, and
    the test last.
    Raises UsageError when the id is no id, is taken, or when there is nothing to copy.
    """
    root = root or Path(polytraders.__file__).resolve().parent.parent
    family, _, name = bot_id.partition(".")
    if family not in TEMPLATES or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UsageError(
            f"{bot_id!r} is no id for a new bot",
            rule="family.name in small letters, digits and _; families: " + ", ".join(TEMPLATES),
            mend="such as strat.my_idea",
        )
    template = load_bot(source or TEMPLATES[family])
    if template.family != family:
        raise UsageError(
            f"{template.id} is no bot of the family {FAMILIES[family].title}",
            rule="a copy is of the same family: others have another decide",
            mend=f"copy one of {', '.join(bot_ids(family))}",
        )
    notebook = _notebook(root, bot_id)
    if bot_id in bot_ids(family) or notebook.exists():
        raise UsageError(f"{bot_id} is there already", rule="an id belongs to one bot", mend="choose another name")
    original = _notebook(root, template.id)
    if not original.exists():
        raise UsageError(
            f"there is no {original}",
            rule="a bot is copied from its notebook, and an installed package has none",
            mend="run this in a clone of the repository: pip install -e . there",
        )
    notebook.write_text(_renamed(original.read_text(encoding="utf-8"), template, bot_id), encoding="utf-8")
    fixtures = root / "fixtures" / "bots"
    made = [notebook]
    for path in sorted((fixtures / template.id).glob("*.json")):
        made.append(fixtures / bot_id / path.name)
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, made[-1])
    test, copy = _test(root, template.id), _test(root, bot_id)
    if test.exists() and not copy.exists():
        copy.write_text(_retargeted(test.read_text(encoding="utf-8"), template.id, bot_id), encoding="utf-8")
        made.append(copy)
    return made


def _module(bot_id: str) -> str:
    return bot_id.partition(".")[2].replace("-", "_")


def _test(root: Path, bot_id: str) -> Path:
    return root / "tests" / "bots" / f"test_{_module(bot_id)}.py"


def _retargeted(text: str, old_id: str, new_id: str) -> str:
    """The test's text, on the copy's module and id."""
    old, new = _module(old_id), _module(new_id)
    text = re.sub(rf"\bimport {old} as\b", f"import {new} as", text)
    text = re.sub(rf"\b(intel|discovery|strategies|risk|execution|security)\.{old}\b", rf"\1.{new}", text)
    return text.replace(old_id, new_id)


def _notebook(root: Path, bot_id: str) -> Path:
    return root / "nbs" / FAMILIES[bot_id.partition(".")[0]].folder / f"{_module(bot_id)}.ipynb"


def _renamed(text: str, template: Bot, bot_id: str) -> str:
    """The notebook's text for the new id: its own name, module and metrics, no results of the old one."""
    family, _, name = bot_id.partition(".")
    old = _module(template.id)
    folder, title = FAMILIES[family].folder, name.replace("_", " ").title()
    words = {
        f"{folder}.{old}": f"{folder}.{name}",
        template.id: bot_id,
        f"test_{old}.py": f"test_{name}.py",
        f'name="{template.spec.name}"': f'name="{title}"',
        f"polytraders_{family}_": f"polytraders_{family}_{name}_",
    }
    notebook = json.loads(text)
    notebook["cells"][0]["source"][0] = f"# {title}\n"
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        for was, becomes in words.items():
            source = source.replace(was, becomes)
        source = re.sub(r'^ *number="[\d.]+",\n', "", source, flags=re.MULTILINE)  # its place in the library
        cell["source"] = source.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
