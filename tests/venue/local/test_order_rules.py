"""What the local venue accepts, refuses and cancels, in the venue's words."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import httpx
import pytest
from trader import Trader, private_key

from polytraders.venue.local.desk import Bucket
from polytraders.venue.orders import POLYGON, deposit_wallets, exchange, proxy_wallet, safe_wallet


@pytest.fixture
def trader(venue, private_key):
    return Trader(venue.urls, private_key)


@pytest.fixture
def token(venue, request):
    return venue.market(request.node.name)["yes"]


def test_an_api_key_is_made_once_and_derived_ever_after(trader):
    assert trader.http.post("/auth/api-key", headers=trader.login()).json() == {"error": "Could not create api key"}
    assert trader.http.get("/auth/derive-api-key", headers=trader.login()).json() == trader.creds
    other = trader.http.post("/auth/api-key", headers=trader.login(nonce=1)).json()
    assert other["apiKey"] != trader.creds["apiKey"]
    assert set(trader.send("GET", "/auth/api-keys").json()["apiKeys"]) == {trader.creds["apiKey"], other["apiKey"]}


def test_a_login_signed_by_another_key_or_long_ago_is_refused(trader, venue):
    stranger = Trader(venue.urls, private_key("stranger"))
    forged = stranger.login(nonce=5) | {"POLY_ADDRESS": trader.address}
    for headers in (forged, trader.login(nonce=6, stamp=int(time.time()) - 300)):
        answer = trader.http.post("/auth/api-key", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"error": "Invalid L1 Request headers"})


@pytest.mark.parametrize("header", ["POLY_SIGNATURE", "POLY_PASSPHRASE", "POLY_API_KEY", "POLY_TIMESTAMP"])
def test_a_request_with_a_wrong_header_is_refused(trader, header):
    answer = trader.send("GET", "/data/orders", **{header: "1"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized/Invalid api key"})


def test_a_request_from_a_clock_that_is_wrong_is_refused(trader):
    for skew in (-120, 60):
        trader.skew = skew
        assert trader.send("GET", "/data/orders").status_code == 401


def test_a_body_other_than_the_signed_one_is_refused(trader, token):
    signed = trader.send("POST", "/order", trader.order(token, "BUY", "0.40", "10")).request
    headers = {k: v for k, v in signed.headers.items() if k.startswith("poly")}
    answer = trader.http.post("/order", content=signed.content.replace(b"10000000", b"20000000"), headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("what", "order", "more"),
    [
        ("breaks minimum tick size rule: 0.01", ("BUY", "0.455", "10"), {}),
        ("Size (4.99) lower than the minimum: 5", ("BUY", "0.45", "4.99"), {}),
        ("order crosses book", ("BUY", "0.52", "10"), {"post_only": True}),
        ("FOK orders are fully filled or killed", ("BUY", "0.52", "200", "FOK"), {}),
        ("no orders found to match with FAK order", ("BUY", "0.50", "10", "FAK"), {}),
        ("the balance is not enough", ("BUY", "0.45", "3000"), {}),
        ("the balance is not enough", ("SELL", "0.60", "10"), {}),
        ("invalid expiration", ("BUY", "0.45", "10", "GTD"), {"expiration": 1}),
        ("invalid expiration", ("BUY", "0.45", "10", "GTC"), {"expiration": 4_000_000_000 % (1 << 31)}),
        ("max accuracy of 2 decimals", ("BUY", "0.52", "10", "FOK"), {"amounts": (5_204_500, 10_000_000)}),
        ("Size (4.99) lower than the minimum: 5", ("BUY", "0.52", "4.99", "FAK"), {"amounts": (2_590_000, 4_990_000)}),
        ("owner of the API KEY", ("BUY", "0.45", "10"), {"owner": "somebody"}),
        ("address of the API KEY", ("BUY", "0.45", "10"), {"signer": "0x" + "11" * 20}),
        ("invalid signature", ("BUY", "0.45", "10"), {"signature": "0x" + "01" * 64 + "1b"}),
        ("invalid signature", ("BUY", "0.45", "10"), {"neg_risk": True}),
    ],
)
def test_an_order_is_refused_with_the_venues_own_words(venue, trader, what, order, more):
    slug = "refusals"
    known = {market["slug"]: market["yes"] for market in venue.state()["markets"]}
    token = known.get(slug) or venue.market(slug)["yes"]
    assert what in trader.refusal(token, *order, **more)
    assert not trader.open()


def test_an_order_that_takes_is_worth_a_dollar(venue, trader, request):
    token = venue.market(request.node.name, bids=[], asks=[["0.12", "100"]])["yes"]
    assert "min size: $1" in trader.refusal(token, "BUY", "0.12", "5")  # 0.60 pUSD
    assert trader.post(token, "BUY", "0.11", "5").json()["status"] == "live"  # a resting one need not be
    assert trader.post(token, "BUY", "0.12", "9").json()["status"] == "matched"


def test_a_wallet_of_every_kind_pays_for_its_owner_and_for_nobody_else(trader, token):
    deposit = deposit_wallets(trader.address)[0]
    own = [
        {"signature_type": 1, "maker": proxy_wallet(trader.address)},
        {"signature_type": 2, "maker": safe_wallet(trader.address)},
        {"signature_type": 3, "maker": deposit, "signer": deposit},
    ]
    for wallet in own:
        assert trader.post(token, "BUY", "0.40", "5", **wallet).json()["status"] == "live"
        somebody = "0x" + "11" * 20
        other = {name: somebody if name in ("maker", "signer") else value for name, value in wallet.items()}
        assert trader.refusal(token, "BUY", "0.40", "5", **other) == "invalid signature"


def test_a_version_1_order_is_told_so(trader, token):
    body = trader.order(token, "BUY", "0.45", "10")
    body["order"] |= {"nonce": "0", "feeRateBps": "0"}
    assert trader.send("POST", "/order", body).json()["error"] == "order_version_mismatch"


def test_an_unknown_token_and_an_unknown_path_are_not_found(trader):
    assert trader.http.get("/book?token_id=1").status_code == 404
    answer = trader.http.get("/rfq/config")
    assert (answer.status_code, answer.json()) == (404, {"error": "not found"})


def test_a_digest_is_accepted_once(trader, token):
    body = trader.order(token, "BUY", "0.45", "10")
    assert trader.send("POST", "/order", body).json()["orderID"] == trader.digest(body)
    assert "Duplicated" in trader.send("POST", "/order", body).json()["error"]
    assert len(trader.open()) == 1


def test_open_orders_hold_back_money_and_a_cancel_gives_it_back(trader, token):
    first = trader.post(token, "BUY", "0.40", "2000").json()["orderID"]  # 800 of 1000
    assert "sum of active orders: 800000000" in trader.refusal(token, "BUY", "0.41", "1000")
    trader.send("DELETE", "/order", {"orderID": first})
    assert trader.post(token, "BUY", "0.41", "1000").status_code == 200


def test_without_an_allowance_nothing_is_sold_or_bought(venue, trader, token):
    venue.admin(f"/accounts/{trader.address}", allowances={exchange(POLYGON, False).contract: "0"})
    assert "the allowance is not enough" in trader.refusal(token, "BUY", "0.45", "10")
    venue.admin(f"/accounts/{trader.address}", allowances={exchange(POLYGON, False).contract: "100"})
    assert trader.post(token, "BUY", "0.45", "10").status_code == 200


def test_a_closed_only_account_may_sell_but_not_buy(venue, trader, token):
    venue.admin(f"/accounts/{trader.address}", closed_only=True, shares={token: "20"})
    assert trader.refusal(token, "BUY", "0.45", "10") == "address in closed only mode"
    assert trader.send("GET", "/auth/ban-status/closed-only").json() == {"closed_only": True}
    assert trader.post(token, "SELL", "0.48", "20").json()["status"] == "matched"


def test_a_neg_risk_order_is_signed_for_the_neg_risk_exchange(venue, trader, request):
    token = venue.market(request.node.name, neg_risk=True)["yes"]
    assert trader.refusal(token, "BUY", "0.45", "10") == "invalid signature"
    body = trader.order(token, "BUY", "0.45", "10", neg_risk=True)
    assert trader.send("POST", "/order", body).json()["orderID"] == trader.digest(body, neg_risk=True)


def test_a_no_order_meets_the_other_side_of_the_yes_book(venue, trader, request):
    no = venue.market(request.node.name)["no"]
    made = trader.post(no, "BUY", "0.52", "10").json()  # the YES bid at 0.48
    assert (made["status"], made["makingAmount"], made["takingAmount"]) == ("matched", "5.2", "10")


def test_a_fak_takes_what_is_there_and_leaves_nothing(trader, token):
    made = trader.post(token, "BUY", "0.52", "150", "FAK").json()
    assert (made["status"], made["takingAmount"]) == ("matched", "100")
    assert not trader.open()


def test_a_print_through_a_resting_order_fills_it_as_maker(venue, trader, token, request):
    made = trader.post(token, "BUY", "0.49", "10").json()
    venue.admin(f"/markets/{request.node.name}/trade", side="SELL", price="0.48", size="50")
    (trade,) = trader.trades()
    assert (trade["trader_side"], trade["side"], trade["price"], trade["size"]) == ("MAKER", "SELL", "0.49", "10")
    assert trade["maker_orders"][0]["order_id"] == made["orderID"]
    assert trade["maker_orders"][0]["side"] == "BUY"


def test_after_a_tick_change_the_finer_grid_is_open_and_the_coarser_stays(venue, trader, token, request):
    assert "tick" in trader.refusal(token, "BUY", "0.455", "10")
    venue.admin(f"/markets/{request.node.name}/tick", tick="0.001")
    assert trader.http.get(f"/tick-size?token_id={token}").json() == {"minimum_tick_size": 0.001}
    assert trader.post(token, "BUY", "0.455", "10").json()["status"] == "live"
    assert trader.post(token, "BUY", "0.45", "10").json()["status"] == "live"


def test_a_crossing_order_waits_out_the_takers_delay_and_cannot_be_cancelled(venue, trader, request):
    market = venue.market(request.node.name, taker_delay_ms=60_000)
    made = trader.post(market["yes"], "BUY", "0.52", "10").json()
    assert made["status"] == "delayed"
    answer = trader.send("DELETE", "/order", {"orderID": made["orderID"]}).json()
    assert "delayed" in answer["not_canceled"][made["orderID"]]
    assert trader.post(market["yes"], "BUY", "0.52", "10", post_only=True).status_code == 400
    assert trader.post(market["yes"], "BUY", "0.45", "10").json()["status"] == "live"


def test_a_resolution_pays_ends_open_orders_and_closes_the_book(venue, trader, token, request):
    trader.post(token, "BUY", "0.52", "10")
    resting = trader.post(token, "BUY", "0.40", "10").json()["orderID"]
    venue.admin(f"/markets/{request.node.name}/resolve", payout="1")
    assert trader.send("GET", f"/data/order/{resting}").json()["status"] == "CANCELED_MARKET_RESOLVED"
    assert trader.http.get(f"/book?token_id={token}").status_code == 404
    assert "not yet ready" in trader.refusal(token, "BUY", "0.45", "10")


def test_a_taker_pays_the_fee_on_top_of_its_buy(venue, trader, request):
    token = venue.market(request.node.name, fee_rate="0.05")["yes"]
    trader.post(token, "BUY", "0.52", "10")
    left = trader.send("GET", "/balance-allowance?asset_type=COLLATERAL").json()["balance"]
    assert left == "994675200"  # 1000 - 5.2 - 10 x 0.05 x 0.52 x 0.48


def test_no_body_however_broken_breaks_the_venue(venue, trader, token):
    """Seeded damage to signed bodies: each has an answer in words, none is a server's error."""
    venue.admin(f"/accounts/{trader.address}", tier="elite")
    dice = random.Random(7)
    junk = [None, True, [], {}, [[]], "", "x", "0x", -1, 0, 1.5, 1 << 300, "1" * 500, "NaN", "-5", "١٢", {"a": []}]
    for _ in range(400):
        body: Any = trader.order(token, "BUY", "0.40", "5")
        where = body["order"] if dice.random() < 0.7 else body
        name = dice.choice([key for key in where if key not in ("deferExec", "order")] + ["postOnly", "nonce"])
        where[name] = dice.choice(junk)
        if dice.random() < 0.05:
            body = dice.choice([body["order"], [body], *junk])
        answer = trader.send("POST", *dice.choice([("/order", body), ("/orders", [body])]))
        assert answer.status_code in (200, 400, 404), (answer.text, body)
    for path in ("/order", "/orders", "/cancel-all", "/cancel-market-orders"):
        for body in junk:
            assert trader.send("DELETE", path, body).status_code in (200, 400)
    for path in ("/books", "/prices", "/midpoints", "/spreads", "/last-trades-prices"):
        for body in [*junk, [{"token_id": entry, "side": entry} for entry in junk]]:
            assert trader.http.post(path, content=json.dumps(body)).status_code in (200, 400, 404)
    assert trader.http.get("/ok").status_code == 200


def test_a_batch_has_no_more_than_fifteen_orders(trader, token):
    orders = [trader.order(token, "BUY", "0.40", "5") for _ in range(16)]
    assert "max allowed: 15" in trader.send("POST", "/orders", orders).json()["error"]
    answers = trader.send("POST", "/orders", orders[:15]).json()
    assert len({answer["orderID"] for answer in answers}) == 15
    assert len(trader.send("DELETE", "/cancel-all").json()["canceled"]) == 15


def test_orders_of_one_market_or_token_are_cancelled_alone(venue, trader, request):
    one, two = venue.market(request.node.name + "-1"), venue.market(request.node.name + "-2")
    ids = [trader.post(token, "BUY", "0.40", "5").json()["orderID"] for token in (one["yes"], one["no"], two["yes"])]
    answer = trader.send("DELETE", "/cancel-market-orders", {"asset_id": one["no"]}).json()
    assert answer["canceled"] == [ids[1]]
    answer = trader.send("DELETE", "/cancel-market-orders", {"market": one["condition"]}).json()
    assert answer["canceled"] == [ids[0]]
    assert [order["id"] for order in trader.open()] == [ids[2]]


def test_the_limit_of_a_signer_is_told_and_enforced(trader, token):
    batch = trader.send("POST", "/orders", [trader.order(token, "BUY", "0.40", "5") for _ in range(15)])
    assert float(batch.headers["Poly-RateLimit-Remaining"]) == 45  # a burst of 60
    assert batch.headers["Poly-RateLimit-Tier"] == "standard"
    debt = trader.send("DELETE", "/orders", [f"0x{n}" for n in range(1_000)])  # a burst of 120, and debt is allowed
    assert (debt.status_code, debt.headers["Poly-RateLimit-Remaining"]) == (200, "-880.00")
    refused = trader.send("DELETE", "/cancel-all")
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 5  # 80 a second come back
    assert trader.post(token, "BUY", "0.40", "5").status_code == 200  # orders have a bucket of their own


def test_a_bucket_gives_all_or_none_and_fills_up_again():
    second = 1_000_000_000
    bucket = Bucket(rate=40, burst=60)
    assert bucket.take(60, second) and not bucket.take(1, second)
    assert bucket.reset(10, second) == 2  # 10 tokens take a quarter of a second
    assert not bucket.take(41, 2 * second) and bucket.take(40, 2 * second)
    assert bucket.take(60, 100 * second) and not bucket.take(1, 100 * second)  # never more than the burst
    assert not bucket.take(1, 100 * second, debt=True)  # nothing left is no balance to overdraw
    assert bucket.take(500, 101 * second, debt=True) and bucket.level == -460 * second


def test_a_delayed_order_meets_the_book_of_then(venue, trader, request):
    token = venue.market(request.node.name, taker_delay_ms=300)["yes"]
    made = trader.post(token, "BUY", "0.52", "10").json()
    venue.admin(f"/markets/{request.node.name}/level", side="SELL", price="0.51", size="4")
    deadline = time.monotonic() + 15
    while (order := trader.send("GET", f"/data/order/{made['orderID']}").json())["status"] == "DELAYED":
        assert time.monotonic() < deadline
    assert (order["status"], order["size_matched"]) == ("MATCHED", "10")
    assert [(t["price"], t["size"]) for t in reversed(trader.trades())] == [("0.51", "4"), ("0.52", "6")]


@pytest.mark.parametrize(
    ("mode", "status", "cancels"),
    [("restarting", 425, 425), ("disabled", 503, 503), ("cancel_only", 503, 200), ("post_only", 503, 200)],
)
def test_a_restricted_mode_answers_as_the_venue_does(venue, trader, token, mode, status, cancels):
    venue.admin("/mode", mode=mode)
    answer = trader.post(token, "BUY", "0.40", "5")
    assert answer.status_code == status
    assert ("cancel-only" in answer.text) == (mode == "cancel_only")
    assert ("retry_after_seconds" in answer.text) == (mode == "post_only")
    passive = trader.post(token, "BUY", "0.40", "5", post_only=True)
    assert passive.status_code == (200 if mode == "post_only" else status)
    assert trader.send("DELETE", "/cancel-all").status_code == cancels


def test_a_lost_heartbeat_cancels_every_order_of_its_key_and_of_no_other(venue, trader, token):
    other = Trader(venue.urls, private_key("other of the heartbeats"))
    for who in (trader, other):
        who.post(token, "BUY", "0.40", "5")
    beat = trader.send("POST", "/v1/heartbeats", {"heartbeat_id": ""}).json()["heartbeat_id"]
    wrong = trader.send("POST", "/v1/heartbeats", {"heartbeat_id": "x"})
    assert wrong.status_code == 400
    assert wrong.json() == {
        "error": "Invalid Heartbeat ID", "error_msg": "Invalid Heartbeat ID", "heartbeat_id": beat
    }  # fmt: skip
    venue.admin("/heartbeats", seconds=9)
    assert len(trader.open()) == 1
    venue.admin("/heartbeats", seconds=9)
    assert not trader.open() and len(other.open()) == 1


def test_the_book_has_its_best_levels_last_and_a_hash_that_verifies(venue, token):
    import hashlib
    import json

    book = httpx.get(venue.urls["rest"] + "/book", params={"token_id": token}).json()
    assert [level["price"] for level in book["bids"]] == ["0.47", "0.48"]
    assert [level["price"] for level in book["asks"]] == ["0.53", "0.52"]
    told = book["hash"]
    text = json.dumps({**book, "hash": ""}, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha1(text.encode()).hexdigest() == told
