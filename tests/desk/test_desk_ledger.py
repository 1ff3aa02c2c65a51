"""What people did, as the desk's ledger tells it: whole, by person, with the orders it led to; and when it is not."""

from __future__ import annotations

from desk_cases import ANN, BEN, MARKET, NOW, POLICY, S, made
from test_desk_store import behind_its_back

from polytraders.config import load_settings
from polytraders.report.daily import daily_report
from polytraders.run.alerts import Alerts, Watch
from polytraders.store.desk import approve, arm, clear, executed, propose, reject, switch_id
from polytraders.store.desk.activity import activity

ID = made().intent.trade_intent_id
SETTINGS = load_settings("settings.ini")


def busy(desk):
    propose(desk, [made(n) for n in (1, 2)], NOW)
    approve(desk, ID, ANN, "cli", POLICY, NOW + S)
    executed(desk, ID, "0xd1", NOW + 2 * S)
    reject(desk, made(2).intent.trade_intent_id, BEN, "http", "too close to the news", NOW + 2 * S)
    arm(desk, "market", MARKET, ANN, "cli", "odd", NOW + 3 * S)
    clear(desk, switch_id("market", MARKET), BEN, "cli", "fine again", NOW + 7200 * S)


def test_the_ledger_tells_who_did_what_why_and_what_came_of_it(desk):
    busy(desk)
    found = activity(desk, now=NOW + 8000 * S, settings=SETTINGS)
    assert (found.code, found.observed) == ("GOV_USER_ACTION_RECORDED", 4)
    ledger = found.payload["ledger"]
    assert [[act["what"] for act in one["acts"]] for one in ledger["ann"]] == [["approve", "arm"]]
    assert ledger["ann"][0]["acts"][0]["orders"] == ["0xd1"]
    assert [len(one["acts"]) for one in ledger["ben"]] == [1, 1], "two hours later is another session"
    assert ledger["ben"][0]["acts"][0]["why"] == "too close to the news"
    assert activity(desk, NOW + 4 * S, now=NOW + 8000 * S, settings=SETTINGS).observed == 1
    day = daily_report(desk, NOW + 8000 * S)
    assert day["ledger"]["code"] == "GOV_USER_ACTION_RECORDED"
    assert sorted(day["ledger"]["persons"]) == ["ann", "ben"]


def test_a_ledger_that_was_changed_is_told_of(desk, tmp_path):
    busy(desk)
    watch = Watch(desk, Alerts(tmp_path / "alerts.jsonl", (), quiet_s=0))
    watch.look(NOW + 8000 * S)
    assert "ledger" not in (tmp_path / "alerts.jsonl").read_text() if (tmp_path / "alerts.jsonl").exists() else True
    behind_its_back(desk, "UPDATE operator_actions SET actor = 'eve' WHERE kind = 'approve'")
    found = activity(desk, now=NOW + 8000 * S, settings=SETTINGS)
    assert found.code == "GOV_AUDIT_CHAIN_BROKEN"
    assert "operator_actions 3" in found.what
    watch.look(NOW + 9000 * S)
    assert "GOV_AUDIT_CHAIN_BROKEN" in (tmp_path / "alerts.jsonl").read_text()


def test_a_ledger_that_cannot_be_read_is_none(desk):
    busy(desk)
    behind_its_back(desk, "ALTER TABLE operator_actions RENAME TO gone")
    assert activity(desk, now=NOW, settings=SETTINGS).code == "GOV_AUDIT_LOG_UNAVAILABLE"
