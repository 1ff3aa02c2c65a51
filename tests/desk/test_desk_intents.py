"""Trade intents and their answers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from desk_cases import ANN, BEN, BOOK, HOUR, LONG, MACHINE, MARKET, NOW, OTHER, POLICY, RUN, S, claim, made

from polytraders.config import Approvals
from polytraders.contracts import Actor
from polytraders.errors import UsageError
from polytraders.rows import Side
from polytraders.store.desk import (
    Kind,
    Quote,
    approve,
    arm,
    auto_approve,
    check,
    executed,
    expire,
    find,
    heartbeat,
    history,
    intent,
    intents,
    propose,
    put_run,
    reject,
    since,
    this_process,
    void,
)
from polytraders.store.desk.board import LOST_NS

ID = made().intent.trade_intent_id


def status(desk, id_=ID):
    return intent(desk, id_)["status"]


def test_a_trade_intent_goes_from_proposal_to_execution(desk):
    assert propose(desk, [made()], NOW) == [ID]
    shown = intent(desk, ID)
    assert shown["status"] == "PENDING" and shown["notional_micro"] == 5_200_000 and shown["figures"]["p_fill"] == "0.9"
    assert shown["document"]["edge_bps"] == "800"  # 0.60 - 0.52 = 0.08 = 800 bps of 1 pUSD
    answer = approve(desk, ID, ANN, "cli", POLICY, NOW + S, shown=shown["shown_hash"], comment="looks right")
    assert (answer.ok, answer.code, answer.status) == (True, "GOV_APPROVAL_GIVEN", "APPROVED")
    done = executed(desk, ID, "0xd1", NOW + 2 * S)
    assert done.ok and done.status == "EXECUTED"
    told = intent(desk, ID)
    assert told["order_key"] == "0xd1" and told["answers"][0]["actor"] == {"kind": "operator", "id": "ann"}
    assert [action.kind for action in history(desk, ID)] == [Kind.PROPOSE, Kind.APPROVE, Kind.EXECUTE]
    assert check(desk) == []


def test_a_close_is_approved_under_a_kill_switch_where_the_policy_says_so(desk):
    waited = propose(desk, [made(1, closes=True, side=Side.SELL)], NOW)
    arm(desk, "global", None, ANN, "cli", "odd", NOW)
    assert status(desk, waited[0]) == "REJECTED", "what waited was rejected with the trip"
    closes, opens = propose(desk, [made(2, closes=True, side=Side.SELL), made(3)], NOW)
    plan = POLICY.model_copy(update={"closes_when_stopped": True})
    assert approve(desk, closes, ANN, "cli", POLICY, NOW + S).code == "RISK_KILL_SWITCH_ACTIVE"
    assert approve(desk, opens, ANN, "cli", plan, NOW + S).code == "RISK_KILL_SWITCH_ACTIVE"
    assert approve(desk, closes, ANN, "cli", plan, NOW + S).status == "APPROVED"
    assert check(desk) == []


def test_the_run_finds_the_approval_in_its_mailbox_with_the_number_of_its_intent(desk):
    propose(desk, [made(7)], NOW)
    seen = since(desk, 0, run_id=RUN)[-1].seq
    approve(desk, made(7).intent.trade_intent_id, ANN, "cli", POLICY, NOW + S)
    (action,) = since(desk, seen, run_id=RUN)
    assert action.kind is Kind.APPROVE and action.payload["corr"] == 7 and action.payload["final"] is True
    assert since(desk, seen, run_id="another-run") == []
    assert since(desk, action.seq, run_id=RUN) == []


def test_proposing_again_changes_nothing_and_something_else_is_refused(desk):
    propose(desk, [made()], NOW)
    assert propose(desk, [made()], NOW + S) == []
    with pytest.raises(UsageError, match="proposed as something else"):
        propose(desk, [made(2), made(price="0.53")], NOW + S)
    assert len(intents(desk, ())) == 1  # nothing of the refused call


def test_an_approval_of_another_hash_is_refused_and_the_intent_stays(desk):
    propose(desk, [made()], NOW)
    answer = approve(desk, ID, ANN, "http", POLICY, NOW + S, shown="00" * 32)
    assert not answer.ok and answer.code == "GOV_APPROVAL_HASH_MISMATCH" and status(desk) == "PENDING"
    assert history(desk, ID)[-1].kind is Kind.REFUSED


@pytest.mark.parametrize("state", ["stopped", "failed", "stopping"])
def test_what_nobody_would_carry_out_is_not_approved(desk, state):
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    propose(desk, [made()], NOW)
    heartbeat(desk, RUN, NOW + S, state=state)
    answer = approve(desk, ID, ANN, "cli", POLICY, NOW + S)
    assert (answer.ok, answer.code, answer.status) == (False, "GOV_APPROVAL_RUN_GONE", "PENDING")
    assert answer.details == {"run_id": RUN, "run": state}
    assert history(desk, ID)[-1].payload["code"] == "GOV_APPROVAL_RUN_GONE"
    policy = POLICY.model_copy(update={"auto": "all", "auto_max_pusd": 100, "auto_per_hour": 9, "auto_day_pusd": 900})
    assert auto_approve(desk, ID, policy, NOW + S).code == "GOV_APPROVAL_RUN_GONE", "a policy's answer is no other"
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW + 2 * S)
    assert approve(desk, ID, ANN, "cli", POLICY, NOW + 3 * S).ok, "it goes on, and holds its proposals yet"
    assert check(desk) == []


def test_a_run_whose_process_was_killed_is_gone_at_once_and_a_busy_one_is_not(desk):
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; from polytraders.store.desk import this_process; "
         "print(this_process(), flush=True); sys.stdin.read()"],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    begins = {"mode": "live", "strategy_id": "strat.momentum", "portfolio_id": "PORT-001"}
    try:
        put_run(desk, RUN, **begins, state="running", process=child.stdout.readline().strip(), now=NOW)
        propose(desk, [made(1, policy=LONG), made(2, policy=LONG), made(3, policy=LONG)], NOW)
        first, second, third = (made(corr).intent.trade_intent_id for corr in (1, 2, 3))
        assert approve(desk, first, ANN, "cli", POLICY, NOW + HOUR).ok, "an hour without a word: it is there"
        os.kill(child.pid, signal.SIGSTOP)
        assert approve(desk, second, ANN, "cli", POLICY, NOW + HOUR).ok, "and so is one that stands still"
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has asked yet
    refused = approve(desk, third, ANN, "cli", POLICY, NOW + S)
    assert (refused.code, refused.details["run"]) == ("GOV_APPROVAL_RUN_GONE", "its process is gone")
    child.wait()
    assert approve(desk, third, ANN, "cli", POLICY, NOW + S).code == "GOV_APPROVAL_RUN_GONE"


def test_a_process_that_cannot_be_looked_at_is_not_taken_for_gone(desk, monkeypatch):
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", state="running", now=NOW,
            process=this_process())  # fmt: skip
    propose(desk, [made(1), made(2), made(3)], NOW)
    ids = [made(corr).intent.trade_intent_id for corr in (1, 2, 3)]

    def hidden(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", hidden)
    assert approve(desk, ids[0], ANN, "cli", POLICY, NOW + 20 * S).ok, "it exists, so what it said last counts"
    refused = approve(desk, ids[1], ANN, "cli", POLICY, NOW + LOST_NS + 1)
    assert refused.details["run"] == "not heard of for 30 s"

    def forbidden(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert approve(desk, ids[2], ANN, "cli", POLICY, NOW + 20 * S).ok


def test_a_run_on_another_machine_is_gone_when_it_was_not_heard_of_for_long(desk):
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", state="running", now=NOW,
            process="another-machine/boot/pid:[1] 1 1")  # fmt: skip
    propose(desk, [made(1), made(2)], NOW)
    first, second = (made(corr).intent.trade_intent_id for corr in (1, 2))
    assert approve(desk, first, ANN, "cli", POLICY, NOW + LOST_NS).ok
    refused = approve(desk, second, ANN, "cli", POLICY, NOW + LOST_NS + 1)
    assert (refused.code, refused.details["run"]) == ("GOV_APPROVAL_RUN_GONE", "not heard of for 30 s")
    heartbeat(desk, RUN, NOW + 31 * S)
    assert approve(desk, second, ANN, "cli", POLICY, NOW + 32 * S).ok


def test_an_approval_after_the_expiry_is_refused_and_the_intent_is_expired(desk):
    propose(desk, [made()], NOW)
    answer = approve(desk, ID, ANN, "cli", POLICY, NOW + 60 * S)
    assert not answer.ok and answer.code == "GOV_APPROVAL_LATE" and status(desk) == "EXPIRED"
    again = approve(desk, ID, ANN, "cli", POLICY, NOW + 61 * S)
    assert again.code == "GOV_APPROVAL_LATE"
    assert approve(desk, ID, BEN, "cli", POLICY, NOW + S).code == "GOV_APPROVAL_LATE"  # a clock set back helps nobody


def test_expire_closes_what_is_due_and_only_that(desk):
    propose(desk, [made(1), made(2, now=NOW + 10 * S)], NOW)
    assert expire(desk, NOW + 59 * S) == []
    assert expire(desk, NOW + 60 * S) == [ID]
    assert expire(desk, NOW + 60 * S) == []
    assert status(desk) == "EXPIRED" and status(desk, made(2).intent.trade_intent_id) == "PENDING"


def quoted(desk, bid, ask, at=NOW):
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    heartbeat(desk, RUN, at, state="running", quotes=[Quote(MARKET, "YES", bid, ask, BOOK, at)])


@pytest.mark.parametrize(
    ("side", "bid", "ask", "ok"),
    [
        (Side.BUY, 5100, 5250, True),  # 52.5 against 52.0 shown: 50 pips, the tolerance itself
        (Side.BUY, 5100, 5251, False),
        (Side.BUY, 5100, 5149, False),  # better than shown, but not what was shown
        (Side.BUY, 5100, None, False),  # nobody sells any more
        (Side.SELL, 5150, 5600, True),
        (Side.SELL, 5149, 5600, False),
    ],
)
def test_a_price_that_moved_past_the_tolerance_makes_the_intent_void(desk, side, bid, ask, ok):
    propose(desk, [made(side=side)], NOW)
    quoted(desk, bid, ask, NOW + S)
    answer = approve(desk, ID, ANN, "cli", POLICY, NOW + 2 * S)
    assert answer.ok is ok and status(desk) == ("APPROVED" if ok else "VOID")
    if not ok:
        assert answer.code == "GOV_APPROVAL_PRICE_MOVED" and answer.details["price_shown"] == 5200
        assert approve(desk, ID, ANN, "cli", POLICY, NOW + 3 * S).code == "GOV_APPROVAL_NOT_PENDING"


def test_nothing_is_approved_on_a_quote_that_is_too_old(desk):
    propose(desk, [made()], NOW)
    quoted(desk, 5100, 5200, NOW)
    answer = approve(desk, ID, ANN, "cli", POLICY, NOW + 3 * S + 1)
    assert answer.code == "GOV_APPROVAL_MARKET_STALE" and status(desk) == "PENDING"
    assert approve(desk, ID, ANN, "cli", POLICY, NOW + 3 * S).ok


def test_two_persons_are_two(desk):
    big = made(3, shares="2000")  # 1 040 pUSD, above the 1 000 from which it takes two
    id_ = big.intent.trade_intent_id
    propose(desk, [big], NOW)
    first = approve(desk, id_, ANN, "cli", POLICY, NOW + S)
    assert (first.ok, first.code, first.status) == (True, "GOV_APPROVAL_FIRST_OF_TWO", "PENDING")
    before = len(history(desk, id_))
    again = approve(desk, id_, ANN, "http", POLICY, NOW + 2 * S)
    assert (again.ok, again.status, again.seq) == (True, "PENDING", 0) and len(history(desk, id_)) == before
    second = approve(desk, id_, BEN, "http", POLICY, NOW + 3 * S)
    assert (second.code, second.status) == ("GOV_APPROVAL_GIVEN", "APPROVED")
    assert [action.payload["final"] for action in history(desk, id_) if action.kind is Kind.APPROVE] == [False, True]


def test_one_of_two_may_change_their_mind(desk):
    big = made(3, shares="2000")
    id_ = big.intent.trade_intent_id
    propose(desk, [big], NOW)
    approve(desk, id_, ANN, "cli", POLICY, NOW + S)
    assert reject(desk, id_, ANN, "cli", "on second thoughts", NOW + 2 * S).ok
    assert approve(desk, id_, BEN, "cli", POLICY, NOW + 3 * S).code == "GOV_APPROVAL_NOT_PENDING"
    assert check(desk) == []


def test_a_rejection_says_why_and_ends_it(desk):
    propose(desk, [made()], NOW)
    with pytest.raises(UsageError, match="says why"):
        reject(desk, ID, ANN, "cli", "  ", NOW)
    assert reject(desk, ID, ANN, "cli", "not today", NOW + S).status == "REJECTED"
    assert reject(desk, ID, ANN, "cli", "not today", NOW + S).seq == 0  # the same again
    assert approve(desk, ID, BEN, "cli", POLICY, NOW + S).code == "GOV_APPROVAL_NOT_PENDING"


def test_no_bot_and_no_machine_approves(desk):
    propose(desk, [made()], NOW)
    for actor in (Actor(kind="bot", id="strat.momentum"), MACHINE):
        assert approve(desk, ID, actor, "cli", POLICY, NOW + S).code == "GOV_APPROVAL_NO_PERSON"
    assert approve(desk, ID, ANN, "policy", POLICY, NOW + S, policy_name="auto.all").code == "GOV_APPROVAL_NO_PERSON"
    assert reject(desk, ID, MACHINE, "run", "no", NOW + S).code == "GOV_APPROVAL_NO_PERSON"
    assert status(desk) == "PENDING"


def test_of_racing_answers_exactly_one_counts(url, opened):
    """Eight persons at once, each through a connection of their own: four approve, four reject."""
    desks = [opened(url) for _ in range(4)]
    for corr in range(1, 16):
        id_ = made(corr).intent.trade_intent_id
        propose(desks[0], [made(corr)], NOW)

        def answer(n, id_=id_):
            person = Actor(kind="operator", id=f"person{n}")
            if n % 2:
                return reject(desks[n % 4], id_, person, "cli", "no", NOW + S)
            return approve(desks[n % 4], id_, person, "cli", POLICY, NOW + S)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(answer, range(8)))
        won = [a for a in answers if a.ok]
        assert len(won) == 1 and intent(desks[0], id_)["status"] == won[0].status
        assert {a.code for a in answers if not a.ok} == {"GOV_APPROVAL_NOT_PENDING"}
    assert check(desks[0]) == []


def test_a_run_withdraws_what_lost_its_ground(desk):
    propose(desk, [made(), made(2)], NOW)
    assert void(desk, ID, NOW + S, why="the signal is gone").status == "VOID"
    assert void(desk, ID, NOW + S).seq == 0
    assert not executed(desk, ID, "0x1", NOW + S).ok
    other = made(2).intent.trade_intent_id
    assert executed(desk, other, "0x1", NOW + S).code == "GOV_APPROVAL_NOT_PENDING"  # nobody approved it
    approve(desk, other, ANN, "cli", POLICY, NOW + S)
    assert void(desk, other, NOW + S, code="RISK_STALE_BOOK").code == "RISK_STALE_BOOK"


def test_a_claim_takes_one_person_and_no_market(desk):
    propose(desk, [claim()], NOW)
    id_ = claim().intent.trade_intent_id
    assert intent(desk, id_)["type"] == "CLAIM_SETTLEMENT"
    assert approve(desk, id_, ANN, "cli", POLICY, NOW + S).status == "APPROVED"


# -- the policy that answers for a person ---------------------------------------------------------------------

AUTO = Approvals(auto="exits", auto_max_pusd="6", auto_per_hour=2, auto_day_pusd="16", auto_strategies="strat.momentum")


def test_no_policy_approves_anything_by_default(desk):
    propose(desk, [made(closes=True, side=Side.SELL)], NOW)
    assert auto_approve(desk, ID, POLICY, NOW + S) is None
    assert auto_approve(desk, ID, Approvals(auto="all"), NOW + S) is None  # without its limits it approves nothing
    assert status(desk) == "PENDING"


def test_the_policy_approves_what_it_covers_and_is_audited(desk):
    exits = [made(n, closes=True, side=Side.SELL) for n in (1, 2, 3)]
    foreign = made(6, strategy="strat.maker_tight", closes=True, side=Side.SELL)
    propose(desk, [*exits, made(4), made(5, shares="12", closes=True, side=Side.SELL), foreign], NOW)
    ids = {n: made(n).intent.trade_intent_id for n in range(1, 7)}
    answers = {n: auto_approve(desk, ids[n], AUTO, NOW + S) for n in (4, 5, 6, 1, 2, 3)}
    assert answers[4] is None and answers[5] is None and answers[6] is None  # an open; 6.24 pUSD; another strategy
    assert answers[1].code == answers[2].code == "GOV_APPROVAL_BY_POLICY"
    assert answers[3] is None  # the third in this hour
    (document,) = intent(desk, ids[1])["answers"]
    assert (document["channel"], document["policy"], document["actor"]["kind"]) == ("policy", "auto.exits", "system")
    assert auto_approve(desk, ids[3], AUTO, NOW + 3602 * S).code == "GOV_APPROVAL_LATE"


def test_the_policy_stops_at_its_day(desk):
    policy = AUTO.model_copy(update={"auto_per_hour": 100, "auto_day_pusd": Decimal(15)})
    found = []
    for n in range(1, 6):  # 5.20 pUSD each, 15 a day
        propose(desk, [made(n, closes=True, side=Side.SELL)], NOW)
        found.append(auto_approve(desk, made(n).intent.trade_intent_id, policy, NOW + S) is not None)
    assert found == [True, True, False, False, False]


def test_no_policy_replaces_a_second_person(desk):
    policy = Approvals(auto="all", auto_max_pusd="100000", auto_per_hour=100, auto_day_pusd="100000")
    big = made(3, shares="2000")
    propose(desk, [big], NOW)
    assert auto_approve(desk, big.intent.trade_intent_id, policy, NOW + S) is None


# -- looking -----------------------------------------------------------------------------------------------------


def test_the_list_shows_what_was_asked_for(desk):
    propose(desk, [made(1), made(2, market=OTHER, now=NOW + S), made(3, run="another")], NOW)
    reject(desk, ID, ANN, "cli", "no", NOW + S)
    assert {row["corr"] for row in intents(desk)} == {2, 3}
    assert [row["corr"] for row in intents(desk, (), limit=1)] == [2]  # the newest
    assert [row["status"] for row in intents(desk, ("REJECTED", "VOID"))] == ["REJECTED"]
    assert [row["corr"] for row in intents(desk, run_id="another")] == [3]


def test_an_intent_is_found_by_the_beginning_of_its_id(desk):
    propose(desk, [made(n) for n in range(1, 30)], NOW)
    assert find(desk, ID) == ID and find(desk, ID[:14]) == ID
    with pytest.raises(UsageError, match="several"):
        find(desk, "ti_")
    with pytest.raises(UsageError, match="no trade intent"):
        find(desk, "ti_%")
