"""Kill switches and overrides at the desk, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from desk_cases import ANN, BEN, MACHINE, MARKET, NOW, OTHER, POLICY, S, made

from polytraders.config import load_settings
from polytraders.contracts import Actor
from polytraders.errors import ConfigError, UsageError
from polytraders.store.desk import (
    Kind,
    approve,
    arm,
    check,
    clear,
    end_override,
    expire_overrides,
    find_switch,
    heartbeat,
    intent,
    override,
    overrides,
    propose,
    put_run,
    since,
    switch_id,
    switches,
)

ID = made().intent.trade_intent_id


def test_arming_rejects_what_waits_in_its_scope_and_nothing_else(desk):
    there, elsewhere = made(1), made(2, market=OTHER)
    propose(desk, [there, elsewhere], NOW)
    approve(desk, ID, ANN, "cli", POLICY, NOW + S)  # approved, not sent yet
    answer = arm(desk, "market", MARKET, BEN, "cli", "the price is odd", NOW + 2 * S)
    assert answer.details["rejected"] == [ID]
    stopped = intent(desk, ID)
    assert (stopped["status"], stopped["code"]) == ("REJECTED", "RISK_KILL_SWITCH_ACTIVE")
    assert approve(desk, elsewhere.intent.trade_intent_id, ANN, "cli", POLICY, NOW + 3 * S).ok
    assert [action.kind for action in since(desk, 3)][:2] == [Kind.ARM, Kind.REJECT]


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("global", None),
        ("portfolio", "PORT-001"),
        ("strategy", "strat.momentum"),
        ("family", "strat"),
        ("family", "risk"),
        ("bot", "risk.killswitch"),
        ("market", MARKET),
        ("feed", "market"),
        ("cluster", "clu_unknown_to_the_desk"),  # what is not known is not traded
    ],
)
def test_nothing_is_approved_while_a_switch_covers_it(desk, scope, target):
    arm(desk, scope, target, ANN, "cli", "drill", NOW)
    propose(desk, [made(now=NOW + S)], NOW + S)
    answer = approve(desk, ID, ANN, "cli", POLICY, NOW + 2 * S)
    assert answer.code == "RISK_KILL_SWITCH_ACTIVE" and answer.details["switch"] == switch_id(scope, target)
    assert intent(desk, ID)["status"] == "PENDING"


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("portfolio", "PORT-002"),
        ("strategy", "strat.maker_tight"),
        ("family", "exec"),
        ("bot", "risk.capitalallocator"),
    ],
)
def test_a_switch_elsewhere_stops_nothing_here(desk, scope, target):
    arm(desk, scope, target, ANN, "cli", "drill", NOW)
    propose(desk, [made()], NOW)
    assert approve(desk, ID, ANN, "cli", POLICY, NOW + S).ok


def test_the_system_arms_and_only_a_person_clears(desk):
    arm(
        desk,
        "global",
        None,
        MACHINE,
        "run",
        "drawdown 4.2 %",
        NOW,
        trigger="drawdown_intraday",
        code="RISK_DRAWDOWN_BREACH",
    )
    id_ = switch_id("global")
    assert clear(desk, id_, MACHINE, "run", "it recovered", NOW + S).code == "GOV_SWITCH_NO_PERSON"
    (switch,) = switches(desk, armed=True)
    assert switch["trigger"] == "drawdown_intraday" and switch["reason"] == "drawdown 4.2 %"


def test_the_global_switch_needs_a_second_person_to_clear(desk):
    arm(desk, "global", None, ANN, "cli", "drill", NOW)
    id_ = switch_id("global")
    first = clear(desk, id_, ANN, "cli", "the drill is over", NOW + S)
    assert (first.code, first.status) == ("GOV_SWITCH_CLEAR_FIRST_OF_TWO", "armed")
    assert clear(desk, id_, ANN, "http", "really", NOW + 2 * S).status == "armed"  # the same person
    arm(desk, "global", None, MACHINE, "run", "feed lost", NOW + 3 * S, trigger="feed_loss")  # who asked, asked before
    assert clear(desk, id_, BEN, "cli", "seen it too", NOW + 4 * S).status == "armed"
    assert clear(desk, id_, ANN, "cli", "the feed is back", NOW + 5 * S).status == "clear"
    assert switches(desk, armed=True) == [] and switches(desk)[0]["firings"] == 2
    assert [one["id"] for one in switches(desk)[0]["cleared_by"]] == ["ben", "ann"]
    assert clear(desk, id_, ANN, "cli", "again", NOW + 6 * S).code == "GOV_SWITCH_NOT_ARMED"
    assert check(desk) == []


def test_clearing_and_arming_say_why(desk):
    with pytest.raises(UsageError, match="says why"):
        arm(desk, "global", None, ANN, "cli", " ", NOW)
    arm(desk, "market", MARKET, ANN, "cli", "drill", NOW)
    with pytest.raises(UsageError, match="says why"):
        clear(desk, switch_id("market", MARKET), ANN, "cli", "", NOW)


@pytest.mark.parametrize(
    ("scope", "target", "actor", "trigger", "says"),
    [
        ("global", "PORT-001", ANN, "manual", "has no target"),
        ("portfolio", None, ANN, "manual", "names its target"),
        ("market", "0x12", ANN, "manual", "is no market"),
        ("global", None, ANN, "daily_loss", "does not go with"),
        ("global", None, MACHINE, "manual", "does not go with"),
        ("planet", "earth", ANN, "manual", "should be"),
    ],
)
def test_a_switch_that_makes_no_sense_is_refused(desk, scope, target, actor, trigger, says):
    with pytest.raises(UsageError, match=says):
        arm(desk, scope, target, actor, "cli", "because", NOW, trigger=trigger)
    assert switches(desk) == []


def test_a_switch_is_found_by_the_names_people_use(desk):
    arm(desk, "global", None, MACHINE, "run", "15 %", NOW, trigger="drawdown_total")
    arm(desk, "market", MARKET, ANN, "cli", "odd", NOW)
    assert find_switch(desk, "global") == find_switch(desk, "DRAWDOWN_TOTAL") == switch_id("global")
    assert find_switch(desk, f"market:{MARKET}") == find_switch(desk, MARKET) == switch_id("market", MARKET)
    with pytest.raises(UsageError, match="no kill switch"):
        find_switch(desk, "cluster:clu_none")


# -- overrides ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settings():
    return load_settings("settings.ini")


def asked(desk, settings, value="400", **more):
    told = {"actor": ANN, "reason": "the market is deep today", "now": NOW, "ttl_s": 900} | more
    bot, parameter = told.pop("bot", "risk.portfolioguard"), told.pop("parameter", PARAMETER)
    return override(
        desk, settings, bot, parameter, value, told.pop("ttl_s"), told.pop("actor"), "cli", told.pop("reason"), **told
    )


PARAMETER = "max_market_pusd"


def test_an_override_changes_one_limit_for_a_time(desk, settings):
    answer = asked(desk, settings, VALUE)
    assert answer.ok, answer.details
    (one,) = overrides(desk, active=True)
    assert one["after"]["value"] == VALUE and one["before"]["value"] != VALUE and one["override_id"] == answer.subject
    assert since(desk, 0)[-1].payload["parameter"] == PARAMETER
    assert expire_overrides(desk, NOW + 899 * S) == []
    assert expire_overrides(desk, NOW + 900 * S) == [answer.subject]
    assert overrides(desk, active=True) == [] and overrides(desk)[0]["state"] == "expired"
    ended = since(desk, 0)[-1]
    assert ended.kind is Kind.OVERRIDE_END and ended.payload["after"] == one["before"]["value"]
    assert check(desk) == []


VALUE = "1500"


def test_no_override_while_a_switch_is_on(desk, settings):
    arm(desk, "market", MARKET, ANN, "cli", "odd", NOW)
    assert asked(desk, settings, VALUE).code == "GOV_OVERRIDE_DURING_HALT"


def test_the_fourth_override_of_a_person_in_an_hour_is_refused(desk, settings):
    found = [asked(desk, settings, VALUE, now=NOW + n * S).code for n in range(4)]
    assert found == ["GOV_OVERRIDE_GRANTED"] * 3 + ["GOV_OVERRIDE_TOO_MANY"]
    assert asked(desk, settings, VALUE, actor=BEN).ok
    assert asked(desk, settings, VALUE, now=NOW + 3600 * S).ok  # an hour after the first


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reason": " "}, "says why"),
        ({"ttl_s": 7201}, "at most 7200 s"),
        ({"ttl_s": 0}, "at most 7200 s"),
        ({"actor": Actor(kind="bot", id="strat.momentum")}, "only a person"),
        ({"value": "999999999"}, "beyond its hard limit"),
        ({"bot": "risk.stale_book_guard", "parameter": "staleness_threshold_s", "value": "4"}, "Not allowed"),
    ],
)
def test_an_override_beyond_its_bounds_is_refused_with_the_rule(desk, settings, changes, why):
    answer = asked(desk, settings, **({"value": VALUE} | changes))
    assert answer.code == "GOV_OVERRIDE_REFUSED" and why in answer.details["why"]
    assert overrides(desk) == []


def test_an_override_of_one_market_is_granted_where_a_run_can_hold_it(desk, settings):
    """A parameter of a run holds in all of its markets: one that would loosen the others too changes nothing."""

    def begun(run, markets, portfolio="PORT-001"):
        put_run(desk, run, mode="live", strategy_id="strat.momentum", portfolio_id=portfolio, now=NOW)
        heartbeat(desk, run, NOW, state="running", topics={"markets": {name: {"slug": name[:6]} for name in markets}})

    assert asked(desk, settings, VALUE, condition_id=MARKET).ok, "it waits for a run"
    begun("r_two", [MARKET, OTHER])
    before = len(overrides(desk))
    answer = asked(desk, settings, VALUE, condition_id=MARKET)
    assert answer.code == "GOV_OVERRIDE_REFUSED" and len(overrides(desk)) == before
    assert answer.details["why"] == (
        "r_two follows 2 markets, and a parameter of a run holds in all of them: "
        "name no market, or run this one by itself"
    )
    begun("r_one", [MARKET], "PORT-002")
    assert asked(desk, settings, VALUE, condition_id=MARKET, portfolio_id="PORT-001").code == "GOV_OVERRIDE_REFUSED"
    assert asked(desk, settings, VALUE, condition_id=MARKET, portfolio_id="PORT-002").ok
    heartbeat(desk, "r_two", NOW, state="stopped")
    assert asked(desk, settings, VALUE, condition_id=OTHER, actor=BEN).ok, "what has ended holds nothing back"


def test_an_override_of_what_is_no_limit_is_an_error(desk, settings):
    with pytest.raises((UsageError, ConfigError)):
        asked(desk, settings, VALUE, parameter="no_such_parameter")
    with pytest.raises(UsageError):
        asked(desk, settings, VALUE, bot="risk.nothing_of_the_kind")


def test_an_override_is_taken_back(desk, settings):
    id_ = asked(desk, settings, VALUE).subject
    assert end_override(desk, id_, BEN, "cli", "not needed", NOW + S).status == "revoked"
    assert end_override(desk, id_, BEN, "cli", "not needed", NOW + S).seq == 0
    assert overrides(desk)[0]["revoked_by"]["id"] == "ben"
