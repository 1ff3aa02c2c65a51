"""Accounts of different users in one book: what one rests another takes, and both hear of the same trade."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trader import Trader, private_key

from polytraders.units import MICRO

M = MICRO


@pytest.fixture
def people(venue, request):
    """Three accounts of their own."""
    return [Trader(venue.urls, private_key(f"{request.node.nodeid}:{n}")) for n in range(3)]


@pytest.fixture
def market(venue, request):
    return venue.market(request.node.name)


def money(trader: Trader) -> int:
    return int(trader.send("GET", "/balance-allowance?asset_type=COLLATERAL").json()["balance"])


def shares(trader: Trader, token: str) -> int:
    path = f"/balance-allowance?asset_type=CONDITIONAL&token_id={token}"
    return int(trader.send("GET", path).json()["balance"])


def settled(trader: Trader) -> list[dict[str, Any]]:
    """The account's trades, once each has its end."""
    end = time.monotonic() + 30
    while True:
        found = trader.trades()
        if found and all(trade["status"] in ("CONFIRMED", "FAILED") for trade in found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def levels(trader: Trader, token: str) -> dict[str, dict[str, str]]:
    book = trader.http.get(f"/book?token_id={token}").json()
    return {side: {level["price"]: level["size"] for level in book[side]} for side in ("bids", "asks")}


def test_what_one_rests_another_takes_and_it_is_one_trade(people, market):
    ann, bob, _ = people
    token = market["yes"]
    made = ann.post(token, "BUY", "0.50", "30").json()
    assert made["status"] == "live"
    assert levels(bob, token)["bids"]["0.5"] == "30"
    bob_has = bob.post(token, "BUY", "0.52", "40").json()  # of the tape, so that he has some to sell
    assert bob_has["status"] == "matched"
    settled(bob)
    sold = bob.post(token, "SELL", "0.49", "20", "FAK").json()
    assert (sold["status"], sold["makingAmount"], sold["takingAmount"]) == ("matched", "20", "10")  # at Ann's price
    assert levels(bob, token)["bids"]["0.5"] == "10"
    theirs = next(t for t in settled(bob) if t["id"] in sold["tradeIDs"])
    (hers,) = settled(ann)
    assert hers["id"] == theirs["id"] and hers["transaction_hash"] == theirs["transaction_hash"]
    assert (hers["trader_side"], theirs["trader_side"]) == ("MAKER", "TAKER")
    assert hers["taker_order_id"] == theirs["taker_order_id"] == sold["orderID"]
    for trade in (hers, theirs):
        (maker,) = trade["maker_orders"]
        assert (maker["order_id"], maker["maker_address"]) == (made["orderID"], ann.address)
        assert (maker["matched_amount"], maker["price"], maker["side"]) == ("20", "0.5", "BUY")
        assert (trade["side"], trade["size"], trade["status"]) == ("SELL", "20", "CONFIRMED")
    assert theirs["maker_orders"][0]["owner"] != ann.creds["apiKey"]  # nobody is told another's key
    assert hers["owner"] != bob.creds["apiKey"]
    assert (money(ann), shares(ann, token)) == (990 * M, 20 * M)
    assert (money(bob), shares(bob, token)) == (1000 * M - 20_800_000 + 10 * M, 20 * M)


def test_a_buy_of_no_meets_a_bid_of_yes_by_a_new_pair(people, market):
    ann, bob, _ = people
    ann.post(market["yes"], "BUY", "0.50", "30")
    taken = bob.post(market["no"], "BUY", "0.50", "30", "FOK").json()
    assert (taken["status"], taken["takingAmount"], taken["makingAmount"]) == ("matched", "30", "15")
    (hers,), (his,) = settled(ann), settled(bob)
    assert hers["id"] == his["id"] and his["asset_id"] == market["no"] and his["price"] == "0.5"
    assert hers["maker_orders"][0]["asset_id"] == market["yes"]
    assert shares(ann, market["yes"]) == shares(bob, market["no"]) == 30 * M
    assert money(ann) == money(bob) == 985 * M


def test_the_queue_is_the_tapes_then_the_accounts_in_the_order_they_came(people, market):
    ann, bob, cat = people
    token = market["yes"]
    first = ann.post(token, "SELL", "0.52", "10").json()  # nothing to sell yet
    assert "balance" in first["error"]
    for trader in (ann, bob):
        assert trader.post(token, "BUY", "0.53", "20").json()["status"] == "matched"
        settled(trader)
    ann.post(token, "SELL", "0.51", "10")
    bob.post(token, "SELL", "0.51", "15")
    bob.post(token, "SELL", "0.52", "5")  # behind the tape's 100 there
    assert levels(cat, token)["asks"] == {"0.53": "100", "0.52": "105", "0.51": "25"}
    cat.post(token, "BUY", "0.51", "12", "FAK")
    by = {trade["maker_orders"][0]["maker_address"]: trade["size"] for trade in settled(cat)}
    assert by == {ann.address: "10", bob.address: "2"}
    assert levels(cat, token)["asks"]["0.51"] == "13"
    cat.post(token, "BUY", "0.52", "113")  # 13 of Bob's, then the tape's 100: his 5 behind it are left
    assert levels(cat, token)["asks"]["0.52"] == "105"
    assert cat.post(token, "BUY", "0.52", "5", "FOK").json()["status"] == "matched"
    assert [order["price"] for order in bob.open()] == []


def test_an_order_meets_its_own_account_too(people, market):
    """Nothing says that the venue prevents it."""
    ann, _, _ = people
    token = market["yes"]
    ann.post(token, "BUY", "0.52", "40")
    settled(ann)
    before, held = money(ann), shares(ann, token)
    rests = ann.post(token, "SELL", "0.51", "20").json()
    taken = ann.post(token, "BUY", "0.51", "20", "FOK").json()
    assert taken["status"] == "matched"
    trade = next(t for t in settled(ann) if t["id"] in taken["tradeIDs"])
    assert trade["taker_order_id"] == taken["orderID"]
    assert trade["maker_orders"][0]["order_id"] == rests["orderID"]
    assert (money(ann), shares(ann, token)) == (before, held)
    assert "order crosses book" in _crossing(ann, token)


def _crossing(trader: Trader, token: str) -> str:
    trader.post(token, "SELL", "0.51", "5")
    return trader.refusal(token, "BUY", "0.51", "5", post_only=True)


def test_what_the_chain_refuses_it_refuses_to_both(venue, people, market):
    ann, bob, _ = people
    venue.admin("/faults/ghost_fill")
    ann.post(market["yes"], "BUY", "0.50", "10")
    bob.post(market["no"], "BUY", "0.50", "10", "FOK")
    assert [t["status"] for t in settled(ann)] == [t["status"] for t in settled(bob)] == ["FAILED"]
    assert money(ann) == money(bob) == 1000 * M
    assert shares(ann, market["yes"]) == shares(bob, market["no"]) == 0


def test_the_market_channel_tells_of_accounts_orders_and_of_their_trades(venue, people, market):
    from websockets.sync.client import connect

    ann, bob, _ = people
    with connect(venue.urls["market_ws"]) as socket:
        socket.send(json.dumps({"type": "market", "assets_ids": [market["yes"]], "custom_feature_enabled": True}))
        json.loads(socket.recv(timeout=30))
        made = ann.post(market["yes"], "BUY", "0.50", "30").json()
        change = json.loads(socket.recv(timeout=30))
        leg = change["price_changes"][0]
        assert (leg["price"], leg["size"], leg["side"], leg["best_bid"]) == ("0.5", "30", "BUY", "0.5")
        assert json.loads(socket.recv(timeout=30))["event_type"] == "best_bid_ask"
        bob.post(market["no"], "BUY", "0.50", "10", "FOK")
        told = [json.loads(socket.recv(timeout=30)) for _ in range(2)]
        kinds = {event["event_type"]: event for event in told}
        assert kinds["last_trade_price"]["price"] == "0.5" and kinds["last_trade_price"]["size"] == "10"
        assert kinds["last_trade_price"]["side"] == "SELL"
        assert kinds["price_change"]["price_changes"][0]["size"] == "20"
        ann.send("DELETE", "/order", {"orderID": made["orderID"]})
        gone = json.loads(socket.recv(timeout=30))["price_changes"][0]
        assert (gone["size"], gone["best_bid"]) == ("0", "0.48")


def test_both_users_of_the_official_sdk_hear_of_their_trade(venue, request):
    polymarket = pytest.importorskip("polymarket", reason="polymarket-client is not installed")
    from eth_account import Account
    from polymarket.environments import PRODUCTION, _create_environment
    from polymarket.streams import UserSpec

    urls, market = venue.urls, venue.market("sdk-meets")
    hosts = {"clob_url": urls["rest"], "gamma_url": urls["gamma"], "data_url": urls["data"]}
    hosts |= {"clob_market_ws_url": urls["market_ws"], "clob_user_ws_url": urls["user_ws"]}
    env = _create_environment(name="local", config=replace(PRODUCTION._config, **hosts))

    async def user(name: str) -> Any:
        key = private_key(f"{request.node.nodeid}:{name}")
        return await polymarket.AsyncSecureClient.create(
            private_key=key, wallet=Account.from_key(key).address, environment=env
        )

    async def follow(client: Any, ready: asyncio.Event) -> list[tuple[str, str, str]]:
        heard = []
        async with await client.subscribe(UserSpec(markets=[market["condition"]])) as events:
            ready.set()
            async with asyncio.timeout(60):
                async for event in events:
                    if event.type != "trade":
                        continue
                    trade = event.payload
                    heard.append((str(trade.id), str(trade.status), str(trade.trader_side)))
                    if trade.status in ("CONFIRMED", "FAILED"):
                        return heard
        return heard

    async def work() -> tuple[list, list, list, Any, Any]:
        async with await user("ann") as ann, await user("bob") as bob:
            ready = [asyncio.Event(), asyncio.Event()]
            tasks = [asyncio.create_task(follow(c, e)) for c, e in zip((ann, bob), ready, strict=True)]
            for event in ready:
                await event.wait()
            rests = await ann.place_limit_order(token_id=market["yes"], price="0.51", size="25", side="BUY")
            took = await bob.place_limit_order(token_id=market["no"], price="0.49", size="25", side="BUY")
            heard = await asyncio.gather(*tasks)
            positions = [
                [p async for p in client.list_positions(user=client.wallet).iter_items()] for client in (ann, bob)
            ]
            return *heard, positions, rests, took

    hers, his, positions, rests, took = asyncio.run(work())
    assert rests.status == "live" and took.status == "matched"
    steps = ["MATCHED", "MINED", "CONFIRMED"]
    assert [s for _, s, _ in hers] == [s for _, s, _ in his] == steps
    assert {t for t, _, _ in hers} == {t for t, _, _ in his} == set(took.trade_ids)
    assert {side for _, _, side in hers} == {"MAKER"} and {side for _, _, side in his} == {"TAKER"}
    assert [[(p.asset_id, p.current_size) for p in held] for held in positions] == [
        [(market["yes"], 25)], [(market["no"], 25)]
    ]  # fmt: skip


def test_apart_they_neither_meet_nor_see_each_other(start, request):
    with start("--empty", "--settlement-ms", "50", "--apart") as served:
        market = served.market("apart")
        ann, bob = (Trader(served.urls, private_key(f"apart:{name}")) for name in "ab")
        assert ann.post(market["yes"], "BUY", "0.50", "30").json()["status"] == "live"
        assert "0.5" not in levels(bob, market["yes"])["bids"]
        assert "no orders found to match" in bob.refusal(market["no"], "BUY", "0.50", "10", "FAK")


# -- the exchange alone, at random -----------------------------------------------------------------------


def at_random(seed: int, steps: int, ghosts: int) -> int:
    """`fair.py` in a process of plain Python kernels; the number of trades between accounts."""
    command = [sys.executable, str(Path(__file__).with_name("fair.py")), str(seed), str(steps), str(ghosts)]
    environment = {**os.environ, "POLYTRADERS_JIT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


@pytest.mark.parametrize("ghosts", [0, 300_000])
def test_at_random_every_book_is_the_tapes_and_everybodys_and_each_trade_has_two_sides(ghosts):
    assert at_random(1, 250, ghosts) > 20


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 10))
def test_at_random_for_long(seed):
    assert at_random(seed, 5_000, 100_000) > 400
