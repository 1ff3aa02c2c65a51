"""What bots beside the step find, told to the log and to people: a note for what is new, an incident for a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytraders.bots import Conclusion
    from polytraders.run.live import Runner


def as_note(bot_id: str, said: Conclusion) -> dict[str, Any]:
    """A finding for a note of the log: who, which reason, what was measured against what."""
    return {
        "bot": bot_id, "code": said.code, "verdict": said.verdict, "observed": said.observed, "limit": said.limit,
        "unit": said.unit, "said": said.what,
    }  # fmt: skip


def tell(runner: Runner, bot_id: str, said: Conclusion, over: bool = False) -> None:
    """Tell a finding that is new, or one that is over."""
    told = as_note(bot_id, said)
    if over:
        runner.say("finding over", **told)
    elif said.refused:
        runner.incident(f"{bot_id} refuses", **told)
    else:
        runner.say("finding", **told)
