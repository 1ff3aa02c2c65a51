"""Rules that a recording does not carry: by date, by slug, and never without saying so."""

from __future__ import annotations

import numpy as np
import pytest

from polytraders.data.dated import in_force
from polytraders.data.markets import Facts, Market, MarketInfo, describe, facts_from, read_sidecar, tick_of
from polytraders.data.rules import category_of, end_from_slug, fee_rule, read_rules, rules, taker_delay
from polytraders.errors import DataError
from polytraders.rows import EVENT, EventKind, Flag
from polytraders.units import ns_from_iso


@pytest.mark.parametrize(
    ("slug", "category"),
    [
        ("btc-updown-5m-1776094500", "crypto"),
        ("bitcoin-up-or-down-april-16-3am-et", "crypto"),
        ("mlb-sd-lad-2025-06-17", "sports"),
        ("highest-temperature-in-nyc-on-june-20", "weather"),
        ("fed-decision-in-june", "economics"),
        ("new-york-city-mayoral-election", "politics"),
        ("federer-wins", "other"),
        ("", "other"),
    ],
)
def test_a_slug_suggests_a_category(slug, category):
    assert category_of(slug) == category


@pytest.mark.parametrize(
    ("category", "day", "rate", "exponent", "rebate"),
    [
        ("crypto", "2026-01-04", 0, 1, 0),
        ("crypto", "2026-01-05", 250_000, 2, 0),
        ("crypto", "2026-04-16", 72_000, 1, 200_000),
        ("crypto", "2026-07-24", 70_000, 1, 200_000),
        ("sports", "2025-06-17", 0, 1, 0),
        ("sports", "2026-06-07", 30_000, 1, 250_000),
        ("sports", "2026-09-01", 50_000, 1, 150_000),
        ("politics", "2026-09-01", 40_000, 1, 250_000),
        ("geopolitics", "2026-09-01", 0, 1, 0),
        ("other", "2026-09-01", 50_000, 1, 250_000),
    ],
)
def test_the_fee_rule_is_the_one_in_force_that_day(category, day, rate, exponent, rebate):
    rule = fee_rule(category, ns_from_iso(f"{day}T12:00:00Z"))
    assert (rule.rate, rule.exponent, rule.rebate) == (rate, exponent, rebate)


def test_every_rule_is_in_order_and_says_where_it_comes_from():
    for table in rules():
        for category in {getattr(rule, "category", "") for rule in table}:
            starts = [rule.start for rule in table if getattr(rule, "category", "") == category]
            assert starts == sorted(set(starts))
        assert all(rule.why for rule in table)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('[[fee]]\ncategory = "x"\nfrom = 2026-01-01T00:00:00Z\nrate = "0.1"\nexponent = 1\nrebate = "0"', "source"),
        ('[[taker_delay]]\ncategory = "x"\nfrom = 2026-01-01\nms = 1\nsure = "venue"\nsource = "s"', "zone"),
        (
            '[[taker_delay]]\ncategory = "x"\nfrom = 2026-01-01T00:00:00Z\nms = 1\nsure = "no"\nsource = "s"',
            "how sure",
        ),
        (
            '[[rebate]]\ncategory = "x"\nfrom = 2026-01-01T00:00:00Z\nminimum_pusd = "1"\nsure = "seen"\n'
            'source = "s"\nodd = 1',
            "odd",
        ),
        ('[[tax]]\ncategory = "x"\nfrom = 2026-01-01T00:00:00Z\nsure = "seen"\nsource = "s"', "no kind of rule"),
    ],
)
def test_a_rule_that_cannot_be_used_stops_the_start(tmp_path, entry, why):
    path = tmp_path / "rules.toml"
    path.write_text(entry)
    with pytest.raises(DataError, match=why):
        read_rules(path)


def test_a_rule_stands_once_and_in_order(tmp_path):
    entry = '[[taker_delay]]\ncategory = "x"\nfrom = {}T00:00:00Z\nms = 1\nsure = "venue"\nsource = "s"\n'
    for days, why in ((("2026-01-02", "2026-01-02"), "twice"), (("2026-01-02", "2026-01-01"), "oldest first")):
        path = tmp_path / "rules.toml"
        path.write_text("".join(entry.format(day) for day in days))
        with pytest.raises(DataError, match=why):
            read_rules(path)


@pytest.mark.parametrize(
    ("when", "ms"),
    [
        ("2026-01-15T00:00:00Z", 500),
        ("2026-02-24T23:59:59Z", 0),
        ("2026-02-25T00:00:00Z", 250),
        ("2026-08-17T10:59:59.999Z", 250),
        ("2026-08-17T11:00:00Z", 50),
        ("2026-09-04T14:00:00Z", 150),
    ],
)
def test_the_taker_delay_is_the_one_of_the_day_and_of_up_or_down_markets_only(when, ms):
    assert taker_delay("btc-updown-5m-1776094500", ns_from_iso(when)) == ms * 10**6
    assert taker_delay("fed-decision-in-june", ns_from_iso(when)) == 0


# -- a rule that changes inside a stream ------------------------------------------------------------------------

BEFORE, AFTER = ns_from_iso("2026-07-23T23:59:00Z"), ns_from_iso("2026-07-24T00:01:00Z")


def stream(*times: int) -> np.ndarray:
    """One CLOCK row at each time."""
    events = np.zeros(len(times), EVENT)
    events["ts_recv"] = events["ts_event"] = times
    events["kind"], events["flags"], events["seq"] = EventKind.CLOCK, Flag.LAST, np.arange(len(times))
    return events


def market(slug: str, when: int, **told) -> MarketInfo:
    return describe(
        Market("0x1", yes="1", no="2", first_event=when, slug=slug, facts=Facts("0x1", ("1", "2"), **told))
    )[0]


def test_a_fee_that_changes_inside_the_stream_stands_in_it_as_a_row():
    infos = (market("btc-updown-5m-1784851140", BEFORE), market("fed-decision-in-june", BEFORE))
    day = ns_from_iso("2026-07-24T00:00:00Z")
    events, dated, changes = in_force(stream(BEFORE, day, AFTER), infos)
    assert events["kind"].tolist() == [EventKind.CLOCK, EventKind.FEES, EventKind.CLOCK, EventKind.CLOCK]
    assert events["seq"].tolist() == [0, 1, 2, 3] and events["ts_recv"][1] == events["ts_event"][1] == day
    row = events[1]
    assert (row["market"], row["size"], row["price"], row["aux"]) == (0, 70_000, 1, 200_000)
    assert row["flags"] == Flag.LAST
    assert dated[0].fee_rate == 72_000 and dated[1].fee_rate == 50_000
    (change,) = changes
    assert (change.rule, change.category, change.markets) == ("fees", "crypto", 1)
    assert "0.072" in change.before and "0.07," in change.after and change.record()["at"].startswith("2026-07-24T00")


def test_a_stream_that_begins_after_the_change_has_only_the_new_rule():
    events, dated, changes = in_force(stream(AFTER, AFTER + 1), (market("btc-updown-5m-1784851140", BEFORE),))
    assert len(events) == 2 and not changes
    assert dated[0].fee_rate == 70_000  # the market was first seen under 0.072


def test_a_stream_that_begins_before_the_first_rule_has_no_fee_until_then():
    first = ns_from_iso("2026-03-30T00:00:00Z")
    events, dated, _ = in_force(stream(first - 1, first), (market("fed-decision-in-june", first - 1),))
    assert dated[0].fee_rate == 0 and events["size"].tolist() == [0, 50_000, 0]


def test_what_the_recording_tells_does_not_change_with_the_table():
    told = market("btc-updown-5m-1784851140", BEFORE, fee=(10_000, 1, 0), taker_delay=10**9)
    events, dated, changes = in_force(stream(BEFORE, AFTER), (told,))
    assert len(events) == 2 and dated == (told,) and not changes


def test_a_sports_market_keeps_the_fee_of_the_day_it_was_made():
    before, after = ns_from_iso("2026-07-09T23:00:00Z"), ns_from_iso("2026-07-10T01:00:00Z")
    events, dated, changes = in_force(stream(before, after), (market("mlb-sd-lad-2026-07-09", before),))
    assert len(events) == 2 and dated[0].fee_rate == 30_000 and not changes
    assert market("mlb-sd-lad-2026-07-10", after).fee_rate == 50_000


def test_a_taker_delay_that_changes_inside_the_stream_stands_in_it_as_a_row():
    when = ns_from_iso("2026-09-04T14:00:00Z")
    events, dated, (change,) = in_force(stream(when - 1, when), (market("btc-updown-5m-1784851140", when - 1),))
    assert dated[0].taker_delay == 50_000_000
    assert (events["kind"][1], events["size"][1]) == (EventKind.TAKER_DELAY, 150_000_000)
    assert (change.before, change.after) == ("50 ms", "150 ms")


def test_an_up_or_down_slug_tells_its_end():
    assert end_from_slug("btc-updown-5m-1776094500") == 1_776_094_800 * 10**9
    assert end_from_slug("eth-updown-15m-1777514400") == 1_777_515_300 * 10**9
    assert end_from_slug("btc-updown-4h-1777514400") == 1_777_528_800 * 10**9
    assert end_from_slug("mlb-sd-lad-2025-06-17") == 0


@pytest.mark.parametrize(
    ("prices", "tick"),
    [([100, 5_000], 100), ([9_650], 50), ([9_675], 25), ([9_610], 10), ([9_999], 1), ([], 100)],
)
def test_the_tick_is_the_coarsest_that_holds_all_prices(prices, tick):
    assert tick_of(prices) == tick


def test_what_nothing_tells_is_assumed_by_name():
    market = Market(
        "0x1", yes="1", no="2", first_event=ns_from_iso("2026-04-16T00:00:00Z"), slug="btc-updown-5m-1776323400"
    )
    info, source = describe(market)
    fees = {"fee_exponent", "fee_rate", "rebate_rate"}
    assert set(info.assumed) == fees | {"min_size", "neg_risk", "taker_delay", "tick", "yes_token"}
    assert source["end_ts"] == "inferred"
    told = Facts("0x1", ("1", "2"), fee=(30_000, 1, 250_000), neg_risk=True, min_size=15_000_000, taker_delay=10**9)
    market.facts, market.yes_assumed, market.tick_start, market.tick_source = told, False, 10, "recorded"
    info, source = describe(market)
    assert info.assumed == ()
    assert (info.fee_rate, info.neg_risk, info.min_size, info.tick) == (30_000, True, 15_000_000, 10)
    assert set(source.values()) == {"recorded", "inferred"}


def test_fees_that_are_switched_off_are_zero_not_assumed():
    facts = facts_from({"condition_id": "0x1", "fees_enabled": False, "clob_token_ids": ["1", "2"]})
    assert facts is not None
    assert facts.fee == (0, 1, 0)


def test_market_objects_of_the_venue_are_read_as_sidecars(shared):
    facts, payoffs = read_sidecar(
        shared("data/polymarket/rest/fed-decision-in-june_negrisk_event_20260517/clob-markets.json")
    )
    assert payoffs == []
    assert facts
    assert all(len(found.tokens) == 2 and found.neg_risk for found in facts)
    assert (facts[0].tick, facts[0].min_size, facts[0].fee) == (10, 5_000_000, (50_000, 1, 0))


def test_files_that_are_no_sidecars_give_nothing(tmp_path):
    for name, data in (
        ("markets.json", b"{"),
        ("markets.jsonl", b"\xff\xfe"),
        ("payoff.csv", b"a,b\n1,2\n"),
        ("m.json", b"[1]"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert read_sidecar(path) == ([], [])
