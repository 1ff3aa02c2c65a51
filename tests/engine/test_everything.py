"""L1 with every venue rule on at once."""

from __future__ import annotations

from collections import Counter

from every_rule import MODELS, Session, play
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from polytraders.reasons import Code
from polytraders.rows import EventKind

HAPPEN = (
    EventKind.CHANGE, EventKind.TRADE, EventKind.TICK_SIZE, EventKind.STATUS, EventKind.RESOLUTION,
    EventKind.ORDER_ACK, EventKind.ORDER_REJECT, EventKind.CANCEL, EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED,
    EventKind.FILL_VOIDED, EventKind.FEES, EventKind.TAKER_DELAY, EventKind.REDEMPTION, EventKind.SPLIT,
    EventKind.MERGE, EventKind.CONVERT,
)  # fmt: skip
ENDS = (
    Code.EXEC_CANCELLED, Code.EXEC_CANCELLED_EXPIRED, Code.EXEC_CANCELLED_MARKET_RESOLVED, Code.EXEC_FAK_NOT_FILLED,
    Code.EXEC_FOK_NOT_FILLED,
)  # fmt: skip


def same_books(session: Session) -> None:
    """Step and venue, each with books of its own, have come to the same end. (The venue keeps no rebates: it owes
    them at the end of the day.)"""
    ours, theirs = session.state.account[0], session.venue.account[0]
    for name in ("cash", "reserved", "unsettled", "cost", "receivable", "realised", "fees"):
        assert ours[name] == theirs[name], name
    for name in ("yes", "no", "yes_cost", "no_cost"):
        assert session.state.positions[name].tolist() == session.venue.positions[name].tolist(), name


@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.integers(0, 10**6), st.sampled_from(MODELS))
def test_l1_the_books_balance_with_every_rule_on_at_once(seed, model):
    same_books(play(seed, model))


def test_the_sessions_meet_every_rule():
    """The property above is about something: each of these happened in a handful of its sessions."""
    met: Counter[str] = Counter()
    for seed in range(4):
        met += play(seed, MODELS[seed % 2]).met
    rules = [kind.name for kind in HAPPEN] + ["DELAYED", "SPLIT refused", "CONVERT refused"]
    rules += [Code(code).name for code in ENDS]
    assert [rule for rule in rules if not met[rule]] == []
