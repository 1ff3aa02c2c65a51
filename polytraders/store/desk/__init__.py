"""The desk: where people and runs meet. Proposals and answers, kill switches, overrides, and what runs tell of
themselves, in SQLite or PostgreSQL.

A run opens the desk (`open_desk`), says that it lives (`put_run`, `heartbeat`), puts its trade intents (`propose`),
and polls the mailbox (`since`); what it finds there it feeds to its step as recorded events. A person answers through
the command line, HTTP or a notebook, which all call the same functions here.
"""

from polytraders.store.desk.answers import Answer
from polytraders.store.desk.board import (
    ENDED,
    Quote,
    board,
    heartbeat,
    put_run,
    runs,
    standing,
    this_process,
    utilisation,
)
from polytraders.store.desk.check import Fault, check, rebuild
from polytraders.store.desk.intents import (
    Proposal,
    approve,
    approve_many,
    auto_approve,
    executed,
    executed_many,
    expire,
    find,
    intent,
    intents,
    persons_needed,
    proposal,
    propose,
    reject,
    void,
)
from polytraders.store.desk.journal import Action, Kind, history, last_seq, open_desk, since
from polytraders.store.desk.overrides import end_override, expire_overrides, override, overrides
from polytraders.store.desk.switches import arm, clear, find_switch, switch_id, switches

__all__ = [
    "ENDED",
    "Action",
    "Answer",
    "Fault",
    "Kind",
    "Proposal",
    "Quote",
    "approve",
    "approve_many",
    "arm",
    "auto_approve",
    "board",
    "check",
    "clear",
    "end_override",
    "executed",
    "executed_many",
    "expire",
    "expire_overrides",
    "find",
    "find_switch",
    "heartbeat",
    "history",
    "intent",
    "intents",
    "last_seq",
    "open_desk",
    "override",
    "overrides",
    "persons_needed",
    "proposal",
    "propose",
    "put_run",
    "rebuild",
    "reject",
    "runs",
    "since",
    "standing",
    "switch_id",
    "switches",
    "this_process",
    "utilisation",
    "void",
]
