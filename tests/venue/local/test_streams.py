"""The market and the user channel, and every fault that can be switched on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
from trader import Trader

WAIT = 15


class Socket:
    """A connection whose frames are read as lists of events."""

    def __init__(self, raw: Any):
        self.raw = raw

    async def send(self, frame: Any) -> None:
        await self.raw.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def text(self) -> str:
        async with asyncio.timeout(WAIT):
            return await self.raw.recv()

    async def events(self) -> list[dict[str, Any]]:
        frame = json.loads(await self.text())
        return frame if isinstance(frame, list) else [frame]

    async def quiet(self) -> None:
        """Everything sent before this has been heard, and there was nothing."""
        await self.send("PING")
        assert await self.text() == "PONG"


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Socket]:
    async with websockets.connect(url) as raw:
        yield Socket(raw)


@asynccontextmanager
async def market_channel(venue: Any, *tokens: str, custom: bool = False) -> AsyncIterator[Socket]:
    """Subscribed, with the first books read."""
    async with connect(venue.urls["market_ws"]) as socket:
        await socket.send({"type": "market", "assets_ids": list(tokens), "custom_feature_enabled": custom})
        assert [event["event_type"] for event in await socket.events()] == ["book"] * len(tokens)
        yield socket


@asynccontextmanager
async def user_channel(venue: Any, trader: Trader, markets: list[str] | None = None) -> AsyncIterator[Socket]:
    names = {"apiKey": "apiKey", "secret": "secret", "passphrase": "passphrase"}
    auth = {name: trader.creds[key] for name, key in names.items()}
    async with connect(venue.urls["user_ws"]) as socket:
        await socket.send({"type": "user", "auth": auth} | ({"markets": markets} if markets is not None else {}))
        await socket.quiet()
        yield socket


@pytest.fixture
def trader(venue, private_key):
    return Trader(venue.urls, private_key)


@pytest.fixture
def market(venue, request):
    return venue.market(request.node.name)


async def until(socket: Socket, last: str) -> list[dict[str, Any]]:
    """Events of the user channel up to a trade's status."""
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1].get("status") != last or heard[-1]["event_type"] != "trade":
        heard += await socket.events()
    return heard


def said(events: list[dict[str, Any]]) -> list[str]:
    return [e["type"] if e["event_type"] == "order" else e["status"] for e in events]


def test_a_level_that_changes_is_told_for_both_tokens_with_the_new_best(venue, market, request):
    async def listen() -> None:
        async with market_channel(venue, market["yes"], market["no"], custom=True) as socket:
            await asyncio.to_thread(
                venue.admin, f"/markets/{request.node.name}/level", side="BUY", price="0.49", size="7"
            )
            (change,) = await socket.events()
            yes, no = change["price_changes"]
            assert (yes["price"], yes["size"], yes["side"], yes["best_bid"]) == ("0.49", "7", "BUY", "0.49")
            assert (no["price"], no["size"], no["side"], no["best_ask"]) == ("0.51", "7", "SELL", "0.51")
            told = [event for _ in range(2) for event in await socket.events()]
            assert {(e["event_type"], e["best_bid"], e["best_ask"]) for e in told} == {
                ("best_bid_ask", "0.49", "0.52"),
                ("best_bid_ask", "0.48", "0.51"),
            }
            book = httpx.get(venue.urls["rest"] + "/book", params={"token_id": market["yes"]}).json()
            assert book["hash"] == yes["hash"]

    asyncio.run(listen())


def test_trades_ticks_resolutions_and_new_markets_are_told(venue, market, request):
    path = f"/markets/{request.node.name}"

    async def listen() -> None:
        async with market_channel(venue, market["yes"], custom=True) as socket:
            await asyncio.to_thread(venue.admin, f"{path}/trade", side="SELL", price="0.48", size="3")
            (trade,) = await socket.events()
            assert (trade["event_type"], trade["price"], trade["side"]) == ("last_trade_price", "0.48", "SELL")
            await asyncio.to_thread(venue.admin, f"{path}/tick", tick="0.001")
            (tick,) = await socket.events()
            assert (tick["event_type"], tick["old_tick_size"], tick["new_tick_size"]) == (
                "tick_size_change", "0.01", "0.001"
            )  # fmt: skip
            await asyncio.to_thread(venue.admin, f"{path}/resolve", payout="0")
            (end,) = await socket.events()
            assert (end["event_type"], end["winning_outcome"]) == ("market_resolved", "No")
            await asyncio.to_thread(venue.market, request.node.name + "-next")
            (new,) = await socket.events()
            assert (new["event_type"], new["slug"]) == ("new_market", request.node.name + "-next")

    asyncio.run(listen())


def test_a_second_first_frame_and_nonsense_are_invalid_operations(venue, market):
    async def listen() -> None:
        async with market_channel(venue, market["yes"]) as socket:
            for frame in ({"type": "market", "assets_ids": [market["no"]]}, "what", {"operation": "dance"}):
                await socket.send(frame)
                assert await socket.text() == "INVALID OPERATION"
            await socket.send({"operation": "subscribe", "assets_ids": [market["no"]]})
            assert (await socket.events())[0]["asset_id"] == market["no"]
            await socket.send({"operation": "unsubscribe", "assets_ids": [market["yes"], market["no"]]})
            await socket.quiet()

    asyncio.run(listen())


def test_the_user_channel_needs_a_key_that_is_right(venue, trader):
    async def listen() -> None:
        async with connect(venue.urls["user_ws"]) as socket:
            auth = {"apiKey": trader.creds["apiKey"], "secret": "wrong", "passphrase": trader.creds["passphrase"]}
            await socket.send({"type": "user", "auth": auth})
            with pytest.raises(websockets.ConnectionClosed):
                await socket.text()

    asyncio.run(listen())


def test_the_user_channel_tells_only_of_the_markets_asked_for(venue, trader, market, request):
    other = venue.market(request.node.name + "-other")

    async def listen() -> None:
        async with user_channel(venue, trader, [market["condition"]]) as socket:
            await asyncio.to_thread(trader.post, other["yes"], "BUY", "0.40", "5")
            await asyncio.to_thread(trader.post, market["yes"], "BUY", "0.40", "5")
            (event,) = await socket.events()
            assert (event["market"], event["type"], event["status"]) == (market["condition"], "PLACEMENT", "LIVE")
            await asyncio.to_thread(trader.send, "DELETE", "/cancel-all")
            (event,) = await socket.events()
            assert (event["type"], event["status"]) == ("CANCELLATION", "CANCELED")

    asyncio.run(listen())


# -- faults ----------------------------------------------------------------------------------------


def test_a_ghost_fill_fails_and_gives_the_money_back(venue, trader, market):
    venue.admin("/faults/ghost_fill", count=1)

    async def trade() -> list[str]:
        async with user_channel(venue, trader) as socket:
            await asyncio.to_thread(trader.post, market["yes"], "BUY", "0.52", "10")
            return said(await until(socket, "FAILED"))

    assert asyncio.run(trade()) == ["PLACEMENT", "MATCHED", "UPDATE", "MINED", "FAILED"]
    assert trader.send("GET", "/balance-allowance?asset_type=COLLATERAL").json()["balance"] == "1000000000"
    assert [t["status"] for t in trader.trades()] == ["FAILED"]
    assert venue.state()["faults"]["ghost_fill"]["struck"] == 1


def test_a_retried_transaction_is_told_as_such(venue, trader, market):
    venue.admin("/faults/retrying", count=1)

    async def trade() -> list[str]:
        async with user_channel(venue, trader) as socket:
            await asyncio.to_thread(trader.post, market["yes"], "BUY", "0.52", "10")
            return said(await until(socket, "CONFIRMED"))

    assert asyncio.run(trade()) == ["PLACEMENT", "MATCHED", "UPDATE", "RETRYING", "MINED", "CONFIRMED"]


def test_events_come_twice_or_in_another_order(venue, trader, market):
    async def trade() -> list[str]:
        async with user_channel(venue, trader) as socket:
            await asyncio.to_thread(trader.post, market["yes"], "BUY", "0.52", "10")
            return said(await until(socket, "CONFIRMED"))

    venue.admin("/faults/duplicate", count=2)
    assert asyncio.run(trade()) == ["PLACEMENT", "PLACEMENT", "MATCHED", "MATCHED", "UPDATE", "MINED", "CONFIRMED"]
    venue.admin("/faults/reorder", count=1)
    assert asyncio.run(trade()) == ["MATCHED", "PLACEMENT", "UPDATE", "MINED", "CONFIRMED"]


def test_a_silent_socket_still_answers_pings(venue, trader, market, request):
    async def listen() -> None:
        async with market_channel(venue, market["yes"]) as public, user_channel(venue, trader) as private:
            await asyncio.to_thread(venue.admin, "/faults/silence")
            level = {"side": "BUY", "price": "0.49", "size": "7"}
            await asyncio.to_thread(venue.admin, f"/markets/{request.node.name}/level", **level)
            await asyncio.to_thread(trader.post, market["yes"], "BUY", "0.40", "5")
            await public.quiet()
            await private.quiet()
            await asyncio.to_thread(venue.admin, "/faults", "DELETE")
            await asyncio.to_thread(trader.send, "DELETE", "/cancel-all")
            assert (await private.events())[0]["type"] == "CANCELLATION"

    asyncio.run(listen())


def test_a_dropped_reply_leaves_an_order_that_its_digest_finds(venue, trader, market):
    venue.admin("/faults/drop_reply", count=1)
    body = trader.order(market["yes"], "BUY", "0.40", "5")
    with pytest.raises(httpx.RemoteProtocolError):
        trader.send("POST", "/order", body)
    found = trader.send("GET", f"/data/order/{trader.digest(body)}").json()
    assert (found["status"], found["original_size"]) == ("LIVE", "5")


def test_an_error_before_is_no_order_and_one_after_is_one(venue, trader, market):
    venue.admin("/faults/error_before", count=1)
    assert trader.post(market["yes"], "BUY", "0.40", "5").status_code == 500
    assert not trader.open()
    venue.admin("/faults/error_after", count=1, value=502)
    assert trader.post(market["yes"], "BUY", "0.40", "5").status_code == 502
    assert len(trader.open()) == 1


def test_an_entry_of_a_batch_can_fail_alone(venue, trader, market):
    venue.admin("/faults/batch_entry", count=1)
    first, second = trader.send(
        "POST", "/orders", [trader.order(market["yes"], "BUY", "0.40", "5") for _ in range(2)]
    ).json()
    assert (first["success"], first["orderID"], first["errorMsg"]) == (True, "", "could not run the execution")
    assert [order["id"] for order in trader.open()] == [second["orderID"]]


def test_a_stale_balance_refuses_until_it_is_updated(venue, trader, market):
    token = market["yes"]
    path = f"/balance-allowance{{}}?asset_type=CONDITIONAL&token_id={token}"
    trader.send("GET", path.format(""))
    venue.admin("/faults/stale_balance")
    venue.admin(f"/accounts/{trader.address}", shares={token: "10"})
    assert trader.send("GET", path.format("")).json()["balance"] == "0"
    assert "the balance is not enough" in trader.refusal(token, "SELL", "0.60", "10")
    trader.send("GET", path.format("/update"))
    assert trader.send("GET", path.format("")).json()["balance"] == "10000000"
    assert trader.post(token, "SELL", "0.60", "10").status_code == 200


def test_a_wrong_tick_is_told_while_the_true_one_is_enforced(venue, trader, market):
    venue.admin("/faults/wrong_tick", value=10)
    assert trader.http.get(f"/tick-size?token_id={market['yes']}").json() == {"minimum_tick_size": 0.001}
    assert "breaks minimum tick size rule: 0.01" in trader.refusal(market["yes"], "BUY", "0.455", "10")


def test_a_clock_that_is_ahead_is_told_by_time_and_refuses_our_requests(venue, trader):
    venue.admin("/faults/clock_skew", value=120_000)
    assert int(trader.http.get("/time").text) - time.time() > 100
    assert trader.send("GET", "/data/orders").status_code == 401
    trader.skew = 120
    assert trader.send("GET", "/data/orders").status_code == 200


def test_latency_delays_an_answer(venue, trader):
    venue.admin("/faults/latency", value=300, count=1)
    began = time.monotonic()
    trader.http.get("/time")
    assert time.monotonic() - began >= 0.3


# -- sessions --------------------------------------------------------------------------------------


def test_a_made_up_session_moves_and_two_venues_run_at_once(start):
    with start("--synth", "7", "--speed", "0") as one, start("--synth", "7", "--speed", "0") as two:
        assert one.urls["rest"] != two.urls["rest"]
        books = []
        for venue in (one, two):
            token = venue.state()["markets"][0]["yes"]
            left = venue.state()["tape_left"]
            assert venue.admin("/tape", seconds=30)["left"] < left
            book = httpx.get(venue.urls["rest"] + "/book", params={"token_id": token}).json()
            books.append((book["bids"], book["asks"]))
        assert books[0] == books[1] and books[0][0] and books[0][1]


def test_the_book_that_the_frames_build_is_the_book_that_rest_tells(start):
    """A minute of a made-up session at once: dumps, changes, trades, and books after trades."""

    async def rebuild(venue: Any, tokens: list[str]) -> dict[str, dict[str, dict[str, str]]]:
        books: dict[str, dict[str, dict[str, str]]] = {}
        kinds = set()
        async with market_channel(venue, *tokens) as socket:
            rest = {
                token: httpx.get(venue.urls["rest"] + "/book", params={"token_id": token}).json() for token in tokens
            }
            books = {t: {s: {x["price"]: x["size"] for x in rest[t][s]} for s in ("bids", "asks")} for t in tokens}
            await asyncio.to_thread(venue.admin, "/tape", seconds=60)
            await socket.send("PING")
            while (text := await socket.text()) != "PONG":
                event = json.loads(text)
                kinds.add(event["event_type"])
                if event["event_type"] == "book":
                    levels = {side: {x["price"]: x["size"] for x in event[side]} for side in ("bids", "asks")}
                    books[event["asset_id"]] = levels
                for change in event.get("price_changes", ()):
                    side = books[change["asset_id"]]["bids" if change["side"] == "BUY" else "asks"]
                    side[change["price"]] = change["size"]
                    if change["size"] == "0":
                        del side[change["price"]]
                    best = max(books[change["asset_id"]]["bids"], key=float)
                    assert float(best) == float(change["best_bid"])
        assert kinds == {"book", "price_change", "last_trade_price"}
        return books

    with start("--synth", "7", "--speed", "0") as venue:
        tokens = [market[outcome] for market in venue.state()["markets"] for outcome in ("yes", "no")]
        for token, sides in asyncio.run(rebuild(venue, tokens)).items():
            told = httpx.get(venue.urls["rest"] + "/book", params={"token_id": token}).json()
            assert sides == {side: {x["price"]: x["size"] for x in told[side]} for side in ("bids", "asks")}
            assert told["bids"] and told["asks"]


def test_a_resting_order_lives_off_the_tape_as_in_a_backtest(start, private_key):
    """An order at the best bid is filled by the made-up takers, never beyond its size, and the money adds up."""
    with start("--synth", "7", "--speed", "0", "--settlement-ms", "1") as venue:
        trader, market = Trader(venue.urls, private_key), venue.state()["markets"][-1]
        book = trader.http.get("/book", params={"token_id": market["yes"]}).json()
        price = book["bids"][-1]["price"]
        made = trader.post(market["yes"], "BUY", price, "20", neg_risk=market["neg_risk"]).json()
        assert made["status"] == "live"
        venue.admin("/tape", seconds=200)
        order = trader.send("GET", f"/data/order/{made['orderID']}").json()
        trades = trader.trades()
        assert sum(float(t["size"]) for t in trades) == float(order["size_matched"]) == 20
        assert {t["price"] for t in trades} == {price} and {t["trader_side"] for t in trades} == {"MAKER"}
        account = venue.state()["accounts"][trader.address]
        assert account["cash"] == 1_000_000_000 - round(20_000_000 * float(price)) and account["reserved"] == 0


def test_a_recording_can_be_served(start, shared, tmp_path, monkeypatch):
    from polytraders.data.importer import import_files

    folder = shared("data/polymarket/ws/raw_all_event_types")
    (file,) = [path for path in folder.iterdir() if ".jsonl" in path.name]
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    import_files([file], "recorded")
    with start("--recording", "recorded", "--speed", "0") as venue:
        rows = venue.state()["tape_left"]
        assert venue.admin("/tape", seconds=5)["left"] < rows
        tokens = [market["yes"] for market in venue.state()["markets"]]
        books = [httpx.get(venue.urls["rest"] + "/book", params={"token_id": token}).json() for token in tokens]
        assert any(book["bids"] and book["asks"] for book in books)
        assert all(
            float(b["bids"][-1]["price"]) < float(b["asks"][-1]["price"]) for b in books if b["bids"] and b["asks"]
        )
