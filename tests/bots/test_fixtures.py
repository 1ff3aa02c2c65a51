"""Every fixture in fixtures/bots/<bot id>/ gives what it says: title, params, input, expected (a part).

The input is that of `probe`, or that of a bot outside the step, which has its time in `now` (ns).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytraders.bots import ServiceBot, bot_ids, load_bot
from polytraders.engine.probe import run_fixture

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "bots"
FILES = sorted(FOLDER.glob("*/*.json"))
KINDS = {"normal", "warning", "hard", "failure"}


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Where `actual` is not what `expected` says. Keys that `expected` leaves out may be anything; lists are whole."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [d for key in expected for d in differences(expected[key], actual.get(key), f"{path}/{key}")]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            d for i, (e, a) in enumerate(zip(expected, actual, strict=True)) for d in differences(e, a, f"{path}/{i}")
        ]
    if isinstance(expected, float) or isinstance(actual, float):
        same = actual == pytest.approx(expected, rel=1e-12, abs=0)
    else:
        same = expected == actual
    return [] if same else [f"{path}: expected {expected!r}, got {actual!r}"]


@pytest.mark.parametrize("file", FILES, ids=[f"{f.parent.name}/{f.stem}" for f in FILES])
def test_a_fixture_gives_what_it_says(file: Path):
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["title"] and document["expected"]
    bot = load_bot(file.parent.name)
    answer = bot.run_fixture(document) if isinstance(bot, ServiceBot) else run_fixture(bot, document)
    assert not differences(document["expected"], answer), f"{document['title']}: {answer}"


@pytest.mark.parametrize("bot_id", bot_ids())
def test_every_bot_has_its_four_fixtures(bot_id: str):
    assert {f.stem for f in (FOLDER / bot_id).glob("*.json")} >= KINDS


def test_a_difference_anywhere_in_a_fixture_is_found():
    assert differences({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3}) == []
    assert differences({"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == ["/a/0/b: expected 1, got 2"]
    assert differences({"a": [1]}, {"a": [1, 2]}) == ["/a: expected [1], got [1, 2]"]
    assert differences({"a": 1}, {}) == ["/a: expected 1, got None"]
