"""The official clients, unmodified but for the host, trade at the local venue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

polymarket = pytest.importorskip("polymarket", reason="polymarket-client is not installed")
v2 = pytest.importorskip("py_clob_client_v2", reason="py-clob-client-v2 is not installed")


def environment(urls: dict[str, str]) -> Any:
    """The SDK's production environment with our hosts; there is no public way to make another one."""
    from polymarket.environments import PRODUCTION, _create_environment

    hosts = {
        "clob_url": urls["rest"],
        "clob_market_ws_url": urls["market_ws"],
        "clob_user_ws_url": urls["user_ws"],
        "gamma_url": urls["gamma"],
        "data_url": urls["data"],
    }
    return _create_environment(name="local", config=replace(PRODUCTION._config, **hosts))


@pytest.fixture
def sdk(venue, private_key):
    from eth_account import Account

    wallet = Account.from_key(private_key).address
    with polymarket.SecureClient.create(
        private_key=private_key, wallet=wallet, environment=environment(venue.urls)
    ) as client:
        yield client


@pytest.fixture
def old(venue, private_key):
    client = v2.ClobClient(venue.urls["rest"], key=private_key, chain_id=137)
    client.set_api_creds(client.create_or_derive_api_key())
    return client


def test_the_sdk_logs_in_places_a_resting_order_and_cancels_it(venue, sdk):
    token = venue.market("sdk-rests")["yes"]
    placed = sdk.place_limit_order(token_id=token, price="0.45", size="10", side="BUY")
    assert placed.ok and placed.status == "live" and not placed.trade_ids
    (order,) = list(sdk.list_open_orders().iter_items())
    assert (order.id, order.price, order.original_size, order.size_matched) == (placed.order_id, Decimal("0.45"), 10, 0)
    assert sdk.cancel_order(order_id=placed.order_id).canceled == (placed.order_id,)
    assert not list(sdk.list_open_orders().iter_items())
    again = sdk.cancel_order(order_id=placed.order_id)
    assert again.not_canceled == {placed.order_id: "the order is already canceled"}


def test_the_sdk_takes_follows_the_settlement_and_reads_trade_balance_and_position(venue, sdk):
    market = venue.market("sdk-takes")
    placed = sdk.place_limit_order(token_id=market["yes"], price="0.52", size="20", side="BUY")
    assert placed.ok and placed.status == "matched"
    assert (placed.making_amount, placed.taking_amount) == (Decimal("10.4"), 20)  # 20 x 0.52
    (tx,) = sdk.wait_for_order_fill_settlement(placed)
    (trade,) = list(sdk.list_account_trades().iter_items())
    assert (trade.status, trade.transaction_hash, trade.trader_side) == ("CONFIRMED", tx, "TAKER")
    assert sdk.get_balance_allowance(asset_type="COLLATERAL").balance == 989_600_000  # 1000 - 10.4
    assert sdk.get_balance_allowance(asset_type="CONDITIONAL", token_id=market["yes"]).balance == 20_000_000
    (position,) = list(sdk.list_positions(user=sdk.wallet).iter_items())
    assert (position.asset_id, position.current_size, position.avg_price) == (market["yes"], 20, Decimal("0.52"))


def test_a_market_buy_of_the_sdk_spends_its_money_over_two_levels(venue, sdk):
    token = venue.market("sdk-market-buy")["yes"]
    placed = sdk.place_market_order(token_id=token, side="BUY", amount="78.5", order_type="FOK")
    # 100 shares at 0.52 cost 52; the other 26.5 buy 50 at 0.53
    assert placed.ok and (placed.making_amount, placed.taking_amount) == (Decimal("78.5"), 150)
    assert len(placed.trade_ids) == 2


def test_a_batch_of_the_sdk_has_a_result_for_each_order(venue, sdk):
    token = venue.market("sdk-batch")["yes"]
    orders = [
        sdk.create_limit_order(token_id=token, price=price, size="10", side="BUY", post_only=True)
        for price in ("0.40", "0.52", "0.41")
    ]
    first, crossing, last = sdk.post_orders(orders)
    assert first.ok and last.ok
    assert not crossing.ok and crossing.code == "post_only_would_cross"
    assert set(sdk.cancel_all().canceled) == {first.order_id, last.order_id}


def test_the_sdk_hears_of_its_order_and_every_step_of_its_trade(venue, private_key):
    market = venue.market("sdk-streams")

    async def trade() -> list[tuple[str, str]]:
        from eth_account import Account
        from polymarket.streams import UserSpec

        wallet = Account.from_key(private_key).address
        async with await polymarket.AsyncSecureClient.create(
            private_key=private_key, wallet=wallet, environment=environment(venue.urls)
        ) as client:
            heard = []
            async with await client.subscribe(UserSpec(markets=[market["condition"]])) as events:
                await client.place_limit_order(token_id=market["yes"], price="0.52", size="10", side="BUY")
                async with asyncio.timeout(15):
                    async for event in events:
                        what = event.payload.order_event_type if event.type == "order" else event.payload.status
                        heard.append((event.type, str(what)))
                        if what == "CONFIRMED":
                            return heard
        return heard

    heard = asyncio.run(trade())
    assert heard == [
        ("order", "PLACEMENT"),
        ("trade", "MATCHED"),
        ("order", "UPDATE"),
        ("trade", "MINED"),
        ("trade", "CONFIRMED"),
    ]


def test_discovery_of_the_sdk_finds_the_market_and_its_book(venue, sdk):
    market = venue.market("sdk-discovers", fee_rate="0.05")
    found = sdk.get_market(slug="sdk-discovers")
    assert (found.condition_id, found.outcomes.yes.token_id) == (market["condition"], market["yes"])
    assert found.trading.fee_schedule.rate == Decimal("0.05")
    book = sdk.get_order_book(token_id=market["no"])
    assert [(level.price, level.size) for level in book.bids] == [(Decimal("0.47"), 100), (Decimal("0.48"), 100)]
    assert sdk.get_midpoint(token_id=market["yes"]) == Decimal("0.5")


def test_the_sdks_heartbeat_is_refused_with_a_wrong_id_and_told_the_right_one(sdk):
    beat = sdk.send_order_heartbeat()
    with pytest.raises(polymarket.OrderHeartbeatMismatchError) as refused:
        sdk.send_order_heartbeat(heartbeat_id="wrong")
    assert refused.value.heartbeat_id == beat.heartbeat_id
    assert sdk.send_order_heartbeat(heartbeat_id=beat.heartbeat_id).heartbeat_id != beat.heartbeat_id


def test_the_older_client_places_takes_and_cancels(venue, old):
    token = venue.market("v2-trades")["yes"]
    made = old.create_and_post_order(v2.OrderArgs(token_id=token, price=0.45, size=10, side="BUY"))
    assert made["success"] and made["status"] == "live"
    assert [order["id"] for order in old.get_open_orders()] == [made["orderID"]]
    assert old.cancel_order(v2.OrderPayload(orderID=made["orderID"]))["canceled"] == [made["orderID"]]
    taken = old.create_and_post_market_order(
        v2.MarketOrderArgs(token_id=token, amount=5.2, side="BUY", order_type=v2.OrderType.FAK),
        order_type=v2.OrderType.FAK,
    )
    assert (taken["status"], taken["takingAmount"]) == ("matched", "10") and taken["transactionsHashes"]
