"""Finding markets and their rules: pages, filters, protocol versions, and answers that make no sense."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest

from bench.fuzz.bodies import bodies, clob, gamma
from polytraders.data.markets import MarketInfo
from polytraders.venue.polymarket import discovery, hosts, rules
from polytraders.venue.polymarket.discovery import Counts, Wanted, find, read_market
from polytraders.venue.polymarket.reader import Reader
from polytraders.venue.refusal import Refused

ENV = hosts.Environment("local", "http://rest", "ws://x", "ws://x", "http://gamma", "http://data")


class Told:
    """A reader whose answers stand in a dict; asks: what it was asked."""

    def __init__(self, records: list[Any], page: int = 2):
        self.records, self.page, self.asks = records, page, []

    async def json(self, url: str, body: Any = None, **query: Any) -> Any:
        self.asks.append((url, {name: value for name, value in query.items() if value is not None}))
        if url.startswith("http://gamma/markets/slug/"):
            return next((r for r in self.records if r.get("slug") == url.rpartition("/")[2]), None)
        if url.startswith("http://rest/clob-markets/"):
            record = next((r for r in self.records if r["conditionId"] == url.rpartition("/")[2]), None)
            return record and clob(record)
        if url.startswith("http://gamma/events/slug/"):
            return {"id": "7", "markets": self.records}
        first = int(query.get("after_cursor") or 0)
        page: dict[str, Any] = {"markets": self.records[first : first + self.page]}
        if first + self.page < len(self.records):
            page["next_cursor"] = str(first + self.page)
        return page


def run(work):
    return asyncio.run(work)


def slugs(found):
    return [one.facts.slug for one in found]


def test_pages_are_followed_to_the_end_and_a_market_comes_once():
    told = Told([gamma(n) for n in (1, 2, 3, 3, 4, 5)])
    counts = Counts()
    assert slugs(run(find(ENV, Wanted(), told, counts))) == ["m-1", "m-2", "m-3", "m-4", "m-5"]
    assert counts.kinds == {"repeated": 1}
    assert [query.get("after_cursor") for _, query in told.asks] == [None, "2", "4"]
    assert all(query["closed"] == "false" and query["limit"] == 100 for _, query in told.asks)


def test_pages_that_do_not_advance_end_in_a_refusal():
    class Stuck(Told):
        async def json(self, url, body=None, **query):
            return {"markets": [gamma(1)], "next_cursor": "same"}

    with pytest.raises(Refused, match="does not advance") as caught:
        run(find(ENV, Wanted(), Stuck([])))
    assert caught.value.code == "INTEL_VENUE_UNREADABLE"


def test_a_filter_that_the_venue_ignores_is_applied_here():
    told = Told([gamma(1), gamma(2, closed=True), gamma(3, negRisk=True), gamma(4, acceptingOrders=False)])
    assert slugs(run(find(ENV, Wanted(accepting=True), told))) == ["m-1", "m-3"]
    assert slugs(run(find(ENV, Wanted(neg_risk=True), told))) == ["m-3"]
    assert slugs(run(find(ENV, Wanted(least_volume=250), told))) == ["m-3", "m-4"]
    assert slugs(run(find(ENV, Wanted(limit=1), told))) == ["m-1"]


def test_named_markets_come_in_the_order_asked_for_and_a_missing_one_is_refused():
    told = Told([gamma(1), gamma(2), gamma(3)])
    assert slugs(run(find(ENV, Wanted(slugs=("m-3", "m-1")), told))) == ["m-3", "m-1"]
    wanted = Wanted(conditions=(gamma(2)["conditionId"],))
    assert slugs(run(find(ENV, wanted, told))) == ["m-2"]
    with pytest.raises(Refused) as caught:
        run(find(ENV, Wanted(slugs=("m-9",)), told))
    assert caught.value.code == "EXEC_MARKET_UNKNOWN"


def test_the_markets_of_an_event_know_their_event():
    found = run(find(ENV, Wanted(events=("e",)), Told([gamma(1), gamma(2)])))
    assert {one.facts.event_id for one in found} == {"7"}


V2 = [str((1 << 248) | (1 << 104) | 5), str((1 << 248) | (1 << 104) | 6)]


@pytest.mark.parametrize(
    "record",
    [gamma(1, version="v2"), gamma(1, version="v2", clobTokenIds=None, positionIds=V2),
     gamma(1, clobTokenIds=orjson.dumps(V2).decode())],
)  # fmt: skip
def test_markets_of_protocol_v2_are_refused_with_their_code(record):
    found = read_market(record)
    assert found.refused == "EXEC_PROTOCOL_UNSUPPORTED"
    with pytest.raises(Refused) as caught:
        run(rules.load(ENV, [found], Told([record])))
    assert caught.value.code == "EXEC_PROTOCOL_UNSUPPORTED"


def test_closed_markets_are_refused_to_traders_and_not_to_watchers():
    record = gamma(1, acceptingOrders=False)
    found = read_market(record)
    with pytest.raises(Refused) as caught:
        run(rules.load(ENV, [found], Told([record])))
    assert caught.value.code == "EXEC_MARKET_CLOSED"
    (ruled,) = run(rules.load(ENV, [found], Told([record]), tradable=False))
    assert ruled.info.slug == "m-1"


def test_the_exchange_has_the_last_word_on_rules_and_gamma_adds_what_only_it_tells():
    record = gamma(1, orderPriceMinTickSize=0.1, orderMinSize=1, rewardsMinSize=20, rewardsMaxSpread=4.5)
    ruled = rules.combine(read_market(record), clob(record, sd=3, nr=True))
    assert ruled.info == MarketInfo(
        condition_id=record["conditionId"], slug="m-1", question="?", yes_token=str(10**60 + 2),
        no_token=str(10**60 + 3), tick=100, grid=1, min_size=5_000_000, fee_rate=50_000, fee_exponent=1,
        rebate_rate=250_000, neg_risk=True, event_id="", end_ts=1_798_675_200_000_000_000, assumed=(),
        taker_delay=3_000_000_000, reward_pool=0, reward_min_size=20_000_000, reward_max_spread=450,
    )  # fmt: skip


def test_a_delay_that_is_switched_on_has_the_length_of_its_day():
    record = gamma(1, slug="btc-updown-5m-1790000000")
    ruled = rules.combine(read_market(record), clob(record, itode=True), now=1_790_000_000_000_000_000)
    assert ruled.info.taker_delay == 150_000_000
    assert "taker_delay" in ruled.info.assumed
    other = rules.combine(read_market(gamma(2)), clob(gamma(2), itode=True), now=1_790_000_000_000_000_000)
    assert other.info.taker_delay == rules.UNKNOWN_DELAY


@pytest.mark.parametrize("missing", ["orderPriceMinTickSize", "orderMinSize", "fee"])
def test_a_rule_that_nobody_tells_is_never_assumed(missing):
    record, told = gamma(1), clob(gamma(1))
    if missing == "fee":
        del record["feeSchedule"], told["fd"]
    else:
        del record[missing], told["mts" if "Tick" in missing else "mos"]
    with pytest.raises(Refused) as caught:
        rules.combine(read_market(record), told)
    assert caught.value.code == "INTEL_RULES_INCOMPLETE"


def test_a_market_of_other_tokens_is_not_the_market():
    record = gamma(1)
    with pytest.raises(Refused, match="tokens"):
        rules.combine(read_market(record), clob(gamma(2), c=record["conditionId"]))
    with pytest.raises(Refused) as caught:
        rules.combine(read_market(record), None)
    assert caught.value.code == "EXEC_MARKET_UNKNOWN"


def test_a_venue_is_named_by_the_line_it_prints():
    urls = {role: f"http://127.0.0.1:1/{role}/" for role in ("rest", "market_ws", "user_ws", "gamma", "data", "admin")}
    env = hosts.local(orjson.dumps(urls))
    assert (env.rest, env.chain_id, env.name) == ("http://127.0.0.1:1/rest", 137, "local")
    for bad in ("", "[]", "{}", '{"rest": 1}', "http://127.0.0.1"):
        with pytest.raises(Exception, match="does not name a local venue"):
            hosts.local(bad)


def test_discovery_on_a_local_venue(empty):
    async def work():
        env = hosts.local(empty.urls)
        for number in range(3):
            empty.market(f"found-{number}", tick="0.001", fee_rate="0.05", taker_delay_ms=2000)
        async with Reader() as read:
            wanted = Wanted(slugs=("found-2", "found-0"))
            found = await find(env, wanted, read)
            ruled = await rules.load(env, found, read)
            by_token = await find(env, Wanted(tokens=(ruled[0].info.no_token,)), read)
            with pytest.raises(Refused) as caught:
                await find(env, Wanted(slugs=("nothing",)), read)
        return ruled, by_token, caught.value

    ruled, by_token, error = run(work())
    assert [one.info.slug for one in ruled] == ["found-2", "found-0"]
    assert [one.info.tick for one in ruled] == [10, 10]
    assert ruled[0].info.fee_rate == 50_000 and ruled[0].info.taker_delay == 2_000_000_000
    assert slugs(by_token) == ["found-2"]
    assert error.code == "EXEC_MARKET_UNKNOWN"


def test_a_service_that_fails_is_asked_again_and_then_refused(calm):
    async def work(tries):
        async with Reader(tries=tries, longest_wait=0.01) as read:
            return await read.json(calm.urls["rest"] + "/version"), read.counts

    calm.admin("/faults/error_before", value=503, count=2)
    assert run(work(3)) == ({"version": 2}, Counter())
    calm.admin("/faults/error_before", value=503, count=2)
    with pytest.raises(Refused) as caught:
        run(work(2))
    assert caught.value.code == "INTEL_VENUE_UNREACHABLE"
    with pytest.raises(Refused) as caught:
        run(Reader(tries=1).json("http://127.0.0.1:9/x"))
    assert caught.value.code == "INTEL_VENUE_UNREACHABLE"


# -- answers that make no sense ----------------------------------------------------------------------


def test_changed_bodies_are_read_or_refused():
    outcomes = bodies(5_000, 1)
    refused = {name for name in outcomes if "INTEL_VENUE_UNREADABLE" in name}
    assert refused >= {f"{which}: INTEL_VENUE_UNREADABLE" for which in ("gamma", "clob", "page", "event")}
    assert outcomes["price: malformed"] and outcomes["gamma: EXEC_PROTOCOL_UNSUPPORTED"] == 0


def test_real_records_of_gamma_are_read(shared):
    import zstandard

    path = shared("data/polymarket/rest/gamma_markets_page_00893_offset_00022325_20260311.json.zst")
    page = orjson.loads(zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read())
    found = [read_market(record) for record in page["markets"]]
    assert len(found) == 25
    assert not any(one.refused for one in found if one.accepting)
    assert replace(found[0], record={}).facts.question.startswith("Will Pam Bondi")
    assert discovery.PAGE == 100
