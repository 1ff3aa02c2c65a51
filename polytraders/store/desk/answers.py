"""What a person is told who asked for something."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from polytraders.contracts import Actor
from polytraders.reasons import lookup
from polytraders.store.desk.journal import Entry, Kind, append
from polytraders.store.sql import Transaction


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended."""

    ok: bool
    code: str  # reason code
    subject: str
    status: str  # of the subject afterwards
    seq: int = 0  # place of the action; 0 = nothing was written, it had been asked before
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The code's sentence for its reader."""
        return lookup(self.code).user_message

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"message": self.message, "action": lookup(self.code).action}


def refusal(actor: Actor, channel: str, asked: Kind, subject: str, code: str, **details: Any) -> Entry:
    """The action that says that something was asked for and not given."""
    return Entry(Kind.REFUSED, actor, channel, subject, {"asked": str(asked), "code": code, **details})


def refuse(
    tx: Transaction,
    now: int,
    actor: Actor,
    channel: str,
    asked: Kind,
    subject: str,
    code: str,
    status: str,
    **details: Any,
) -> Answer:
    """Refuse a request, and put that down."""
    seq = append(tx, now, refusal(actor, channel, asked, subject, code, **details))
    return Answer(False, code, subject, status, seq, details)
