"""Rules that a recording does not carry: by date, by slug, and never without saying so."""

from __future__ import annotations

import pytest

from polytraders.data.markets import Facts, Market, describe, facts_from, read_sidecar, tick_of
from polytraders.data.rules import FEES, category_of, end_from_slug, fee_rule
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


def test_the_fee_table_is_in_order_and_says_why():
    for category in {rule.category for rule in FEES}:
        starts = [rule.start for rule in FEES if rule.category == category]
        assert starts == sorted(set(starts))
    assert all(rule.why for rule in FEES)


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
    assert set(info.assumed) == {"fee_exponent", "fee_rate", "min_size", "neg_risk", "rebate_rate", "tick", "yes_token"}
    assert source["end_ts"] == "inferred"
    told = Facts("0x1", ("1", "2"), fee=(30_000, 1, 250_000), neg_risk=True, min_size=15_000_000)
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
