"""What an account may look up beside its orders: notifications, scoring, rewards, past prices, simplified markets."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

import httpx
import pytest
from trader import Trader

polymarket = pytest.importorskip("polymarket", reason="polymarket-client is not installed")


@pytest.fixture
def sdk(venue, private_key):
    from eth_account import Account
    from polymarket.environments import PRODUCTION, _create_environment

    urls = venue.urls
    hosts = {"clob_url": urls["rest"], "gamma_url": urls["gamma"], "data_url": urls["data"]}
    hosts |= {"clob_market_ws_url": urls["market_ws"], "clob_user_ws_url": urls["user_ws"]}
    environment = _create_environment(name="local", config=replace(PRODUCTION._config, **hosts))
    wallet = Account.from_key(private_key).address
    with polymarket.SecureClient.create(private_key=private_key, wallet=wallet, environment=environment) as client:
        yield client


def test_the_sdk_reads_of_a_cancel_and_a_fill_once(venue, sdk):
    market = venue.market("notices")
    rests = sdk.place_limit_order(token_id=market["yes"], price="0.45", size="10", side="BUY")
    sdk.cancel_order(order_id=rests.order_id)
    takes = sdk.place_limit_order(token_id=market["yes"], price="0.52", size="20", side="BUY")
    sdk.wait_for_order_fill_settlement(takes)
    told = {n.payload.order_id: n for n in sdk.get_notifications()}
    cancel, fill = told[rests.order_id], told[takes.order_id]
    assert (int(cancel.type), cancel.payload.price, cancel.payload.remaining_size) == (1, Decimal("0.45"), 10)
    assert (int(fill.type), fill.payload.price, fill.payload.matched_size) == (2, Decimal("0.52"), 20)
    assert fill.payload.trade_id in takes.trade_ids and fill.payload.condition_id == market["condition"]
    sdk.drop_notifications(ids=[cancel.id])
    left = {n.payload.order_id for n in sdk.get_notifications()}
    assert rests.order_id not in left and takes.order_id in left


def test_an_order_scores_when_it_is_large_and_near_enough(venue, sdk):
    market = venue.market("scores", reward_pool="50", reward_min_size="20", reward_max_spread="0.04")
    at = {price: sdk.place_limit_order(token_id=market["yes"], price=price, size=size, side="BUY").order_id
          for price, size in (("0.46", "20"), ("0.45", "20"), ("0.49", "19"))}  # fmt: skip
    # the mid is 0.50: 4 cents away is still in, 5 is out, and 19 shares are too few
    assert sdk.get_orders_scoring(order_ids=[*at.values()]) == dict(zip(at.values(), (True, False, False), strict=True))
    assert sdk.get_order_scoring(order_id=at["0.46"])
    (found,) = [r for r in sdk.list_current_rewards().iter_items() if r.condition_id == market["condition"]]
    assert (found.rewards_min_size, found.rewards_max_spread, found.total_daily_rate) == (20, 4.0, 50)
    sdk.cancel_order(order_id=at["0.46"])
    assert not sdk.get_order_scoring(order_id=at["0.46"])


def test_past_prices_are_mids_by_minute_in_each_token(venue, sdk):
    market = venue.market("history")
    for token, price in ((market["yes"], 0.5), (market["no"], 0.5)):
        said = httpx.get(
            venue.urls["rest"] + "/prices-history", params={"market": token, "interval": "1h", "fidelity": 1}
        )
        assert [point["p"] for point in said.json()["history"]][-1] == price
    venue.admin("/markets/history/level", side="BUY", price="0.50", size="10")
    points = list(sdk.list_price_history(asset_id=market["no"], interval="1h").iter_items())
    assert points[-1].price == Decimal("0.49")  # 1 - (0.50 + 0.52) / 2
    (then,) = list(sdk.list_price_history(asset_id=market["yes"], as_of=int(time.time())).iter_items())
    assert then.price == Decimal("0.51")
    for query in ({"interval": "2d"}, {}, {"interval": "1h", "startTs": 5}, {"startTs": 9_000, "endTs": 60}):
        answer = httpx.get(venue.urls["rest"] + "/prices-history", params={"market": market["yes"], **query})
        assert answer.status_code == 400 and answer.json()["error"]


def test_a_resolved_market_has_no_fine_prices(venue):
    market = venue.market("history-resolved")
    venue.admin("/markets/history-resolved/resolve", payout="1")
    query = {"market": market["yes"], "interval": "max"}
    url = venue.urls["rest"] + "/prices-history"
    assert httpx.get(url, params={**query, "fidelity": 60}).json() == {"history": []}


def test_lists_of_markets_keep_what_they_promise(venue):
    plain, sampled = venue.market("plain"), venue.market("sampled", reward_min_size="5", reward_max_spread="0.03")

    def listed(path: str) -> dict:
        return {m["condition_id"]: m for m in httpx.get(venue.urls["rest"] + path).json()["data"]}

    assert sampled["condition"] in listed("/sampling-markets")
    assert plain["condition"] not in listed("/sampling-simplified-markets")
    short = listed("/simplified-markets")[plain["condition"]]
    assert set(short) == {"condition_id", "tokens", "active", "closed", "archived", "accepting_orders"}


def test_these_pages_want_the_key_of_the_account(venue, private_key):
    trader = Trader(venue.urls, private_key)
    for path in ("/notifications", "/order-scoring", "/v1/user/rate-limit-tier"):
        assert trader.send("GET", path, POLY_SIGNATURE="x").status_code == 401
    assert trader.send("GET", "/v1/user/rate-limit-tier").json() == {"tier": "standard"}
    assert trader.send("GET", "/order-scoring?order_id=0x1").status_code == 404
    assert trader.send("DELETE", "/notifications?ids=x").status_code == 400
