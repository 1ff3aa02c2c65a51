"""What every bot outside the step owes, checked on one conclusion; and how kind a conclusion is."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import settings

from polytraders.bots import Conclusion, load_bot

S = 10**9
M = 10**6
NOW = 1_790_000_000 * S
MANY = settings(max_examples=1_000, deadline=None)
GOES_WITH = {
    "APPROVE": {"INFO", "WARN"},
    "RESHAPE": {"RESHAPE"},
    "REJECT": {"HARD_REJECT"},
    "QUARANTINE": {"HARD_REJECT"},
    "NONE": {"INFO", "WARN", "EXPLAIN"},
}


@cache
def _loaded(bot_id: str, params: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    bot = load_bot(bot_id)
    return bot, bot.spec.limits(dict(params))


def ask(bot_id: str, given: Any, params: dict[str, Any] | None = None, now: int = NOW) -> Conclusion:
    """The bot's conclusion, held against what every conclusion owes: declared, coherent, the same when asked again."""
    bot, limits = _loaded(bot_id, tuple((params or {}).items()))
    before = repr(given)
    said = bot.check(given, limits, now)
    assert said.code in bot.spec.reason_codes
    assert said.severity in GOES_WITH[said.verdict], said
    assert bot.check(given, limits, now) == said and repr(given) == before
    assert all(isinstance(number, int) for number in (said.observed, said.limit))
    return said


def unkindness(said: Conclusion) -> int:
    """0 approved, 1 approved with a warning, 2 reshaped, 3 refused."""
    return {"INFO": 0, "WARN": 1, "RESHAPE": 2, "HARD_REJECT": 3}[said.severity]


def codes(cases: Any) -> set[str]:
    return {case[-1] for case in cases}


def declared(bot_id: str) -> set[str]:
    return set(load_bot(bot_id).spec.reason_codes)
