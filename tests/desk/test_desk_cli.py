"""The desk on a terminal."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest
from desk_cases import ANN, HOUR, LONG, MARKET, RUN, S, made
from rich.cells import cell_len
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.errors import UsageError
from polytraders.store.desk import Quote, arm, heartbeat, intent, open_desk, propose, put_run
from polytraders.store.desk.access import create_token

ID = made().intent.trade_intent_id


@pytest.fixture
def here(home):
    desk = open_desk()
    yield desk
    desk.close()


@pytest.fixture
def waiting(here):
    """One trade intent made just now, by a run that lives."""
    now = time.time_ns()
    propose(here, [made(now=now, policy=LONG)], now)
    put_run(here, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=now)
    market = {
        "slug": "will-it-rain",
        "question": "Will it rain?",
        "status": "OPEN",
        "in_scope": True,
        "bid": "0.51",
        "ask": "0.52",
    }
    topics = {
        "account": {"account": {"equity": "1003.5", "cash": "900"}},
        "markets": {MARKET: market},
        "limits": {"exposure": {"observed": "103", "limit": "200", "unit": "pUSD"}},
    }
    heartbeat(here, RUN, now + HOUR, state="running", topics=topics)  # alive, however long the test takes
    return here


def call(*arguments, code=0, **environment):
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", **environment})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def told(*arguments, code=0, **environment):
    return json.loads(call(*arguments, "--json", code=code, **environment))


def test_a_trade_intent_is_listed_shown_and_approved(waiting):
    assert ID in call("intents", "list")
    shown = call("intents", "show", ID[:16])
    for line in (
        "Question:     Will it rain?",
        "Edge:         +800 bps (model 0.6, market 0.52)",
        "Size:         10 shares, 5.2 pUSD",
        "Figures:      p̂ 0.6, q_exec 0.521 pUSD, net edge 780 bps, P(fill) 0.9",
        "all 2 approve: killswitch, portfolioguard",
    ):
        assert line in shown
    answer = told("intents", "approve", ID, "--comment", "fine")
    assert answer["ok"] and answer["status"] == "APPROVED"
    assert "nothing waits" in call("intents", "list")
    assert told("intents", "list", "--all")["intents"][0]["status"] == "APPROVED"


def test_a_rejection_and_what_comes_after_it(waiting):
    assert told("intents", "reject", ID, "--reason", "not today")["status"] == "REJECTED"
    refused = told("intents", "approve", ID, code=1)
    assert refused["code"] == "GOV_APPROVAL_NOT_PENDING" and not refused["ok"]
    assert "Somebody or something else answered first." in call("intents", "approve", ID, code=1)


def test_an_approval_may_name_the_hash_it_saw(waiting):
    assert told("intents", "approve", ID, "--hash", "00" * 32, code=1)["code"] == "GOV_APPROVAL_HASH_MISMATCH"
    shown = told("intents", "show", ID)["shown_hash"]
    assert told("intents", "approve", ID, "--hash", shown)["ok"]


def test_several_are_approved_together_and_told_each_by_itself(here, waiting):
    now = time.time_ns()
    (other,) = propose(here, [made(2, now=now, policy=LONG)], now)
    answers = told("intents", "approve", ID, other)["answers"]
    assert [(one["subject"], one["status"]) for one in answers] == [(ID, "APPROVED"), (other, "APPROVED")]
    (third,) = propose(here, [made(3, now=now, policy=LONG)], now)
    told("intents", "reject", third)
    (fourth,) = propose(here, [made(4, now=now, policy=LONG)], now)
    said = call("intents", "approve", third, fourth, code=1)
    assert f"{third}: REJECTED" in said and f"{fourth}: APPROVED" in said
    with pytest.raises(UsageError, match="belongs to one trade intent"):
        call("intents", "approve", ID, other, "--hash", "00" * 32)


def test_an_approval_for_a_run_that_has_ended_is_refused_with_its_reason(waiting):
    heartbeat(waiting, RUN, state="stopped")
    refused = told("intents", "approve", ID, code=1)
    assert (refused["code"], refused["status"]) == ("GOV_APPROVAL_RUN_GONE", "PENDING")
    said = call("intents", "approve", ID, code=1)
    assert "The run that would carry this trade out is not alive" in said and "run: stopped" in said


def test_shares_are_shown_and_a_run_that_is_gone_is_released(here):
    from test_desk_shares import house, standing

    from polytraders.store.desk.shares import EXPOSURE, ORDERS, refresh

    assert "no run has a share" in call("portfolios", "shares")
    house(here)
    now = time.time_ns() - 60 * S
    put_run(here, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", state="running", now=now)
    refresh(here, standing(RUN, {EXPOSURE: (30, 120), ORDERS: 3, MARKET: (5, 20)}), now)
    said = call("portfolios", "shares", code=1)
    assert "silent" in said and "200" in said and MARKET not in said
    assert MARKET in call("portfolios", "shares", "PORT-001", "--markets", code=1)
    rows = told("portfolios", "shares", "PORT-002")["shares"]
    assert rows == []
    done = told("portfolios", "release", RUN, "--reason", "its machine burnt")
    assert (done["code"], done["details"]) == ("GOV_RUN_RELEASED", {"exposure_pusd": "200"})
    assert {row["state"] for row in told("portfolios", "shares")["shares"]} == {"ended"}
    assert "counted as held: 0 pUSD" in call("portfolios", "release", RUN, "-r", "all is sold", "--empty")
    put_run(here, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", state="running")
    refused = told("portfolios", "release", RUN, "-r", "in a hurry", code=1)
    assert refused["code"] == "GOV_RUN_NOT_GONE"


def test_old_intents_are_expired_by_looking_and_by_hand(here):
    old = time.time_ns() - 61 * S
    propose(here, [made(1, now=old), made(2, now=old)], old)
    assert len(told("intents", "expire")["expired"]) == 2
    assert told("intents", "expire")["expired"] == []
    assert told("intents", "list")["intents"] == []


def test_the_status_says_what_runs_and_what_waits(waiting):
    said = call("status")
    for words in (RUN, "equity 1003.5", "waiting for an answer: 1", "limit exposure: 103 of 200 pUSD"):
        assert words in said
    assert "will-it-rain" in call("universe")
    assert told("universe")["markets"][0]["in_scope"] is True


def test_on_a_narrow_terminal_no_line_is_wider_and_an_id_can_still_be_named(waiting):
    long = {
        "slug": "x",
        "question": "Will the central bank cut its deposit rate by 25 basis points before the year ends?",
    }
    heartbeat(waiting, RUN, time.time_ns() + HOUR, topics={"markets": {MARKET: long}})
    for command in (["intents", "list"], ["intents", "list", "--all"], ["intents", "show", ID], ["status"]):
        lines = call(*command, COLUMNS="80").splitlines()
        assert max(map(cell_len, lines)) <= 80 and all(line.strip() for line in lines)
    rows = call("intents", "list", COLUMNS="80").splitlines()
    assert rows[1].split()[:5] == [ID[:15], "BUY", "YES", "at", "0.52"]
    assert " ".join(line.strip() for line in rows[2:]) == long["question"], "the whole of it, broken between words"
    assert told("intents", "show", rows[1].split()[0])["trade_intent_id"] == ID


def test_a_silent_run_and_those_that_ended_are_told_apart_from_one_that_lives(here):
    now = time.time_ns()
    holding = {
        "positions": {"x:YES": {"value_pusd": "5", "condition_id": MARKET}},
        "account": {"account": {"equity": "7"}},
        "limits": {"exposure": {"observed": "5", "limit": "10", "unit": "pUSD", "scope": "PORT-001"}},
    }
    for run, mode, state, age in (
        ("r_silent", "live", "running", 200), ("r_held", "live", "stopped", 300), ("r_paper", "paper", "stopped", 400),
    ):  # fmt: skip
        put_run(here, run, mode=mode, strategy_id="strat.momentum", portfolio_id="PORT-001", now=now - 500 * S)
        heartbeat(here, run, now - age * S, state=state, topics=holding)
    said = call("status")
    assert "SILENT: running when it was last heard of, 3 min ago" in said
    assert "stopped 5 min ago, and it holds something" in said and "r_paper" not in said
    assert "2 runs have ended, the last r_held (stopped 5 min ago)" in said
    assert "limit exposure: 5 of 10 pUSD (50%), PORT-001 (silent)" in said and said.count("limit exposure") == 1
    assert told("status")["exposure_pusd"] == {"live": "10"}, "simulated money ended with its run"
    heartbeat(here, "r_paper", now, state="running", topics=holding)
    assert told("status")["exposure_pusd"] == {"live": "10", "paper": "5"}, "and is never added to real money"
    assert "positions are worth: live 10 pUSD, paper 5 pUSD" in call("status")
    heartbeat(here, "r_paper", now, state="stopped")
    sold = {"positions": {"x:YES": {"value_pusd": "0", "size_shares": "0", "realised_pnl_pusd": "1"}}}
    heartbeat(here, "r_held", now - 300 * S, topics=sold)
    assert "it holds something" not in call("status"), "what was sold is held no more"


def test_a_kill_switch_is_armed_listed_and_cleared(waiting):
    with pytest.raises(UsageError, match="says why"):
        call("kill-switches", "arm", "global")
    assert told("kill-switches", "arm", "market", MARKET, "--reason", "odd price")["details"]["rejected"] == [ID]
    assert "ARMED market" in call("status", code=1)
    listed = call("kill-switches", "list", "--armed")
    assert "ARMED  market Will it rain?" in listed and "odd price" in listed
    assert told("kill-switches", "clear", f"market:{MARKET}", "--reason", "fine again")["status"] == "clear"
    by_slug = told("kill-switches", "arm", "market", "will-it-rain", "--reason", "in a hurry")
    assert told("kill-switches", "list", "--armed")["switches"][0]["target"] == MARKET
    assert told("kill-switches", "clear", "market:will-it-rain", "-r", "over")["subject"] == by_slug["subject"]
    with pytest.raises(UsageError, match="no run follows a market of this name"):
        call("kill-switches", "arm", "market", "will-it-snow", "--reason", "a slip")
    assert told("kill-switches", "list", "--armed")["switches"] == []


def test_a_switch_is_cleared_by_the_name_of_what_armed_it_and_the_global_one_by_two(waiting):
    actor = ANN.model_copy(update={"kind": "system", "id": RUN})
    arm(waiting, "global", None, actor, "run", "15.2 %", trigger="drawdown_total", code="RISK_DRAWDOWN_BREACH")
    assert told("kill-switches", "clear", "DRAWDOWN_TOTAL", "--reason", "looked at it")["status"] == "armed"
    _, token = create_token(waiting, "ben", ["risk"], ANN)
    done = told("kill-switches", "clear", "global", "--reason", "me too", POLYTRADERS_TOKEN=token)
    assert done["status"] == "clear"


def test_a_token_says_who_answers_and_must_have_the_scope(waiting):
    _, reader = create_token(waiting, "ben", ["read"], ANN)
    with pytest.raises(UsageError, match="does not open") as refused:
        call("intents", "approve", ID, POLYTRADERS_TOKEN=reader)
    assert reader not in str(refused.value)
    _, approver = create_token(waiting, "ben", ["approve"], ANN)
    assert told("intents", "approve", ID, POLYTRADERS_TOKEN=approver)["ok"]
    assert intent(waiting, ID)["answers"][0]["actor"]["id"] == "ben"


def test_an_override_is_granted_listed_and_ended(waiting):
    what = ("override", "grant", "risk.portfolioguard.max_market_pusd", "1500", "--reason", "deep today")
    granted = told(*what, "--settings", "settings.ini")
    assert granted["ok"] and "max_market_pusd" in call("override", "list")
    assert told("override", "end", granted["subject"])["status"] == "revoked"
    assert "no limit is changed" in call("override", "list")
    told("kill-switches", "arm", "global", "--reason", "drill")
    assert told(*what, "--settings", "settings.ini", code=1)["code"] == "GOV_OVERRIDE_DURING_HALT"


def test_tokens_are_made_listed_and_revoked_and_never_shown_again(here):
    made_one = told("tokens", "create", "ann", "--scope", "read", "--scope", "approve")
    listed = call("tokens", "list", "--json")
    assert made_one["token_id"] in listed and made_one["token"] not in listed
    assert made_one["token"].rpartition("_")[2] not in listed
    assert told("tokens", "revoke", made_one["token_id"])["revoked"] is True
    assert told("tokens", "revoke", made_one["token_id"])["revoked"] is False
    with pytest.raises(UsageError, match="scopes"):
        call("tokens", "create", "ann", "--scope", "everything")


def test_the_database_is_made_checked_and_rebuilt(home):
    assert told("db", "init")["version_before"] == 0
    assert told("db", "init")["version_before"] == told("db", "upgrade")["version"]
    assert "intact" in call("db", "check")
    with open_desk() as desk:
        propose(desk, [made()])
    with sqlite3.connect(home / "desk.sqlite") as file:
        file.execute("UPDATE trade_intents SET status = 'APPROVED'")
    file.close()
    found = told("db", "check", code=5)
    assert found["faults"][0]["kind"] == "table" and ID in found["faults"][0]["where"]
    assert told("db", "rebuild")["tables"]["trade_intents"] == 1
    assert told("db", "check")["ok"]


def test_rebuild_projects_every_run_again(home, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "store"))
    from tiny_run import RUN_ID, write_run

    from polytraders.store.envelopes import store_path, verify_chain

    write_run(home / "runs" / RUN_ID)
    done = told("db", "rebuild")
    assert done["runs"][RUN_ID] > 0 and verify_chain(store_path(), RUN_ID).ok
    with sqlite3.connect(store_path()) as file:
        file.execute("DELETE FROM envelopes WHERE seq = 3")
    file.close()
    (fault,) = told("db", "check", code=5)["faults"]
    assert (fault["kind"], fault["where"]) == ("receipts", RUN_ID) and "missing" in fault["what"]
    told("db", "rebuild")
    assert told("db", "check")["ok"]


def test_the_report_of_the_day_counts_what_happened(waiting):
    told("intents", "approve", ID)
    told("intents", "approve", "ti_", code=0)
    day = told("report", "--today")
    assert day["intents"]["proposed"] == 1 and day["intents"]["by_status"] == {"APPROVED": 1}
    assert day["accounts"][RUN]["equity"] == "1003.5"
    assert "trade intents: 1 (1 approved)" in call("report", "--today")
    assert told("report", "--day", "2020-01-01")["intents"]["proposed"] == 0
    with pytest.raises(UsageError, match="is no day"):
        call("report", "--day", "yesterday")


def test_a_quote_that_moved_voids_on_the_terminal_too(waiting):
    now = time.time_ns()
    heartbeat(waiting, RUN, now, quotes=[Quote(MARKET, "YES", 5900, 6000, "", now + HOUR)])
    assert told("intents", "approve", ID, code=1)["code"] == "GOV_APPROVAL_PRICE_MOVED"
    assert told("intents", "show", ID)["status"] == "VOID"
