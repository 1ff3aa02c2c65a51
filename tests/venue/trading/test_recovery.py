"""What is not certain: a process that died, an order that turns up late, news in any order and any number."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ports import FAST, Heard, actions, cancel, info, make_port, send, submit

from polytraders.reasons import Code
from polytraders.rows import EventKind, Flag
from polytraders.units import MICRO, price_text, size_text
from polytraders.venue.polymarket import outcomes, reconcile
from polytraders.venue.polymarket.budget import Bucket, Budget
from polytraders.venue.polymarket.outcomes import Kind
from polytraders.venue.polymarket.tracking import Tracker
from polytraders.venue.port import Known


def test_a_process_that_died_is_taken_up_by_the_next(venue):
    """Orders it sent, sent without hearing of, filled behind its back, cancelled behind its back, and never sent."""
    made = venue.market("resume", fee_rate="0.02")
    markets = [info(made, "resume", fee_rate=20_000)]
    orders = {
        name: submit(0, "BUY", price, "10")
        for name, price in (
            ("rests", "0.30"),
            ("filled", "0.50"),
            ("gone", "0.31"),
            ("never", "0.32"),
            ("half", "0.49"),
        )
    }
    keys: dict[str, str] = {}
    before = Heard()

    async def first() -> None:
        port = make_port(venue, "resume", markets)
        await port.start(before)
        sent = [order for name, order in orders.items() if name != "never"]
        for name, request in zip(orders, port.prepare(actions(*orders.values()), time.time_ns()), strict=True):
            keys[name] = request.key
            if name != "never":
                await port.send([request])
        for order in sent:
            await before.until(order["order_id"], "ORDER_ACK")
        venue.admin("/markets/resume/trade", side="SELL", price="0.50", size="4")
        await before.until(orders["filled"]["order_id"], "FILL_PROVISIONAL")
        await port.stop()  # what it booked: 4 of 10, provisional

    asyncio.run(first())
    venue.admin("/markets/resume/trade", side="SELL", price="0.48", size="9")
    fills = [k for k, row in zip(before.keys, before.rows, strict=True) if row["kind"] == EventKind.FILL_PROVISIONAL]
    known = [
        Known(order, keys[name], 4 * MICRO if name == "filled" else 0, tuple(fills) if name == "filled" else (),
              tuple(fills) if name == "filled" else (), acked=name not in ("never", "half"))
        for name, order in orders.items()
    ]  # fmt: skip
    after = Heard()

    async def second() -> None:
        port = make_port(venue, "resume", markets, replace(FAST, absent_after=0.3))
        other = make_port(venue, "resume", markets)
        await other.start(Heard())
        await other.client.cancel([keys["gone"]])
        await other.stop()
        await port.start(after, known)
        await after.until(orders["filled"]["order_id"], "FILL_CONFIRMED", "FILL_CONFIRMED")
        await after.until(orders["half"]["order_id"], "ORDER_ACK", "FILL_CONFIRMED")
        await after.until(orders["gone"]["order_id"], "CANCEL")
        await after.until(orders["never"]["order_id"], "ORDER_REJECT")
        assert after.codes(orders["never"]["order_id"]) == ["EXEC_NOT_ARRIVED"]
        assert after.codes(orders["gone"]["order_id"]) == ["EXEC_CANCELLED_BY_VENUE"]
        assert after.kinds(orders["rests"]["order_id"]) == []
        assert "ORDER_ACK" not in after.kinds(orders["filled"]["order_id"])
        assert {o.key for o in await port.open_orders()} == {keys["rests"], keys["half"]}
        rows = after.rows[after.rows["aux"] == orders["filled"]["order_id"]]
        new = rows[rows["kind"] == EventKind.FILL_PROVISIONAL]["size"].sum()
        new += sum(row["size"] for row in rows[rows["kind"] == EventKind.FILL_CONFIRMED]) - 4 * MICRO - new
        assert new == 6 * MICRO
        again = await port.reconcile()
        assert again["whole"] and not again["emitted"] and not again["strangers"]
        await send(port, cancel(orders["rests"]))
        await after.until(orders["rests"]["order_id"], "CANCEL")
        await port.stop()

    asyncio.run(second())


def test_what_was_over_is_not_asked_about_again(venue):
    """A busy process leaves hundreds of ended orders behind: neither do they keep the next from the one that is in
    doubt, nor do they hold money back. One that was never heard of and rests after all is cancelled."""
    made = venue.market("over")
    markets = [info(made, "over")]
    rests, never = submit(0, "BUY", "0.30", "10"), submit(0, "BUY", "0.31", "10")
    ended = [submit(0, "BUY", "0.20", "10") for _ in range(400)]
    heard = Heard()

    async def run() -> None:
        first = make_port(venue, "over", markets)
        await first.start(Heard())
        (sent,) = await send(first, rests)
        (unsent,) = first.prepare(actions(never), time.time_ns())
        await first.stop()
        never["ts"] -= 60_000_000_000
        known = [Known(action, f"0x{n:064x}", 0, acked=n % 2 == 0, over=True) for n, action in enumerate(ended)]
        known += [Known(rests, sent.key, 0, over=True), Known(never, unsent.key, 0)]
        port = make_port(venue, "over", markets, replace(FAST, heartbeat=False, reconcile_every=60.0))
        await port.start(heard, known)
        assert port.guard.state()["reserved"] == 3_100_000, "of the one that may still trade"
        await heard.until(never["order_id"], "ORDER_REJECT")
        assert heard.codes(never["order_id"]) == ["EXEC_NOT_ARRIVED"]
        assert port.client.asked < 40
        end = time.monotonic() + 15
        while await port.open_orders():
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert set(heard.rows["aux"]) == {never["order_id"]}
        assert port.guard.state()["reserved"] == 0
        await port.stop()

    asyncio.run(run())


def test_a_quote_that_rests_for_long_does_not_have_its_trades_listed_again_each_time(venue, monkeypatch):
    made = venue.market("long")
    heard = Heard()

    async def run() -> None:
        port = make_port(venue, "long", [info(made, "long")], replace(FAST, heartbeat=False, reconcile_every=60.0))
        await port.start(heard)
        order = submit(0, "BUY", "0.40", "10")
        await send(port, order)
        await heard.until(order["order_id"], "ORDER_ACK")
        (tracked,) = port.tracker.orders.values()
        tracked.sent -= 7_200_000_000_000  # two hours ago
        since: list[int] = []
        real = reconcile.compare

        async def spy(client, tracker, at):
            since.append(at)
            return await real(client, tracker, at)

        monkeypatch.setattr(reconcile, "compare", spy)
        port._heard_until = 0
        for _ in range(2):
            assert (await port.reconcile())["whole"]
        assert since[0] == tracked.sent
        assert since[1] > tracked.sent + 6_000_000_000_000
        await port.stop()

    asyncio.run(run())


def test_an_order_that_turns_up_after_it_was_given_up_is_taken_back(venue):
    made = venue.market("late")
    heard = Heard()

    async def run() -> None:
        options = replace(FAST, timeout=0.4, absent_after=0.2, heartbeat=False, reconcile_every=2.0)
        port = make_port(venue, "late", [info(made, "late")], options)
        await port.start(heard)
        venue.admin("/faults/latency", value=5_000, count=1)  # it arrives 2.5 s from now
        order = submit(0, "BUY", "0.30", "10")
        (request,) = await send(port, order)
        await heard.until(order["order_id"], "ORDER_REJECT")
        assert heard.codes(order["order_id"]) == ["EXEC_NOT_ARRIVED"]
        assert port.tracker.given_up.keys() == {request.key}
        end = time.monotonic() + 15
        while not any("stray" in news.note for news in heard.news) or await port.open_orders():
            assert time.monotonic() < end, [news.note for news in heard.news]
            await asyncio.sleep(0.1)
        assert heard.kinds(order["order_id"]) == ["ORDER_REJECT"], "the step was told once that it is over"
        await port.stop()

    asyncio.run(run())


def test_heartbeats_go_on_and_a_foreign_id_is_taken_over(venue):
    made = venue.market("beats")

    async def run() -> None:
        port = make_port(venue, "beats", [info(made, "beats")], replace(FAST, heartbeat_every=0.1))
        await port.start(Heard())
        await asyncio.sleep(0.3)
        first = port.health()["heartbeat"]
        assert first["up"] and not first["errors"]
        port.beats.name = "not the one it expects"
        await asyncio.sleep(0.4)
        second = port.health()["heartbeat"]
        assert second["up"] and second["last"] > first["last"] and port.beats.name != "not the one it expects"
        await port.stop()

    asyncio.run(run())


def test_no_task_ends_in_silence(venue):
    made = venue.market("breaks")

    async def run() -> None:
        port = make_port(venue, "breaks", [info(made, "breaks")])
        await port.start(Heard())
        whole, broken = port._tend_once, 0

        async def breaks(now: int) -> None:
            nonlocal broken
            broken += 1
            if broken <= 2:
                raise RuntimeError("a bug")
            await whole(now)

        port._tend_once = breaks  # type: ignore[method-assign]
        end = time.monotonic() + 10
        while broken < 4:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        health = port.health()["tending"]
        assert health["up"] and health["errors"] == 2
        await port.stop()

    asyncio.run(run())


# -- the tracker alone -------------------------------------------------------------------------------------

KEY = "0x" + "11" * 32
TOKEN = str(7**60)


def tracker(kind: str, size: str = "30") -> tuple[Tracker, Heard, np.void]:
    heard, ticks = Heard.__new__(Heard), itertools.count(10**18)
    heard.news = []
    made = Tracker({TOKEN: (0, 0)}, lambda: next(ticks), lambda market: (20_000, 1), heard.news.append)
    order = submit(0, "BUY", "0.52", size, kind)
    made.add(order, KEY)
    return made, heard, order


def a_trade(name: str, price: int, size: int, status: str, maker: bool) -> dict:
    resting = {
        "order_id": KEY if maker else "0x22", "asset_id": TOKEN, "price": price_text(price),
        "matched_amount": size_text(size), "side": "BUY" if maker else "SELL",
    }  # fmt: skip
    return {
        "event_type": "trade", "id": name, "taker_order_id": "0x33" if maker else KEY, "asset_id": TOKEN,
        "price": price_text(price), "size": size_text(size), "status": status, "match_time": "1790000000",
        "maker_orders": [resting],
    }  # fmt: skip


def an_order(kind: str, status: str, matched: int) -> dict:
    return {"event_type": "order", "id": KEY, "type": kind, "status": status, "size_matched": size_text(matched)}


FILLS = (("a", 5_000, 4_000_000), ("b", 5_100, 6_000_000))


@settings(max_examples=250, deadline=None)
@given(
    taking=st.booleans(), order=st.permutations(range(9)), twice=st.lists(st.integers(0, 8), max_size=6),
    fate=st.sampled_from(["CONFIRMED", "FAILED"]), answered=st.booleans(),
)  # fmt: skip
def test_the_rows_of_an_order_do_not_depend_on_the_order_of_the_news(taking, order, twice, fate, answered):
    """T1 ... T4: an order that traded 10 of its 30 shares in two fills and was then taken off the book."""
    made, heard, _ = tracker("FAK" if taking else "GTC")
    ends = an_order("CANCELLATION", "CANCELED", 10 * MICRO)
    facts = [
        lambda: made.hear_order(an_order("PLACEMENT", "LIVE", 0)),
        lambda: made.hear_trade(a_trade(*FILLS[0], "MATCHED", not taking)),
        lambda: made.hear_trade(a_trade(*FILLS[0], "MINED", not taking)),
        lambda: made.hear_trade(a_trade(*FILLS[0], "CONFIRMED", not taking)),
        lambda: made.hear_trade(a_trade(*FILLS[1], "RETRYING", not taking)),
        lambda: made.hear_trade(a_trade(*FILLS[1], fate, not taking)),
        lambda: made.hear_order(an_order("UPDATE", "LIVE", 4 * MICRO)),
        lambda: made.hear_order(ends),
        (lambda: made.accepted(KEY)) if answered else (lambda: made.unknown(KEY, "no answer")),
    ]
    for number in [*order, *twice, *order]:
        facts[number]()
        made.flush()
    rows = np.concatenate([news.rows for news in heard.news if len(news.rows)])
    kinds = [EventKind(kind).name for kind in rows["kind"]]
    assert kinds.count("ORDER_ACK") == 1 and kinds.count("CANCEL") == 1 and kinds.count("ORDER_REJECT") == 0
    assert kinds[0] == "ORDER_ACK"
    first = {}
    for row in rows[np.isin(rows["kind"], (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED))]:
        first.setdefault(int(row["price"]), int(row["size"]))
    voided = rows[rows["kind"] == EventKind.FILL_VOIDED]
    held = sum(first.values()) - int(voided["size"].sum())
    assert held == (10 if fate == "CONFIRMED" else 4) * MICRO
    end = kinds.index("CANCEL")
    assert not np.isin(rows["kind"][end:], (EventKind.FILL_PROVISIONAL,)).any(), "a fill behind the CANCEL"
    assert not made.orders, "it is forgotten when all is settled"
    assert ((rows["flags"] & Flag.MORE > 0) == (np.isin(rows["kind"], (12, 13, 14)) & taking)).all()


def test_a_trade_of_two_makers_is_told_at_the_price_of_each():
    made, heard, _ = tracker("FAK")
    said = a_trade("a", 5_100, 10 * MICRO, "MATCHED", False)
    said["maker_orders"] = [
        {"order_id": "0x1", "asset_id": TOKEN, "price": "0.5", "matched_amount": "4"},
        {"order_id": "0x2", "asset_id": "1", "price": "0.48", "matched_amount": "6"},  # of the other outcome: at 0.52
    ]
    made.hear_trade(said)
    made.flush()
    fills = heard.news[0].rows[1:]
    assert [(int(r["price"]), int(r["size"])) for r in fills] == [(5_000, 4 * MICRO), (5_200, 6 * MICRO)]
    assert len(set(heard.news[0].keys[1:])) == 2


# -- what an answer proves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (outcomes.SILENT, None, Kind.UNKNOWN, "EXEC_OUTCOME_UNKNOWN"),
        (outcomes.UNSENT, None, Kind.REFUSED, "EXEC_VENUE_UNREACHABLE"),
        (500, {"error": "could not run the execution"}, Kind.UNKNOWN, "EXEC_OUTCOME_UNKNOWN"),
        (502, "<html>", Kind.UNKNOWN, "EXEC_OUTCOME_UNKNOWN"),
        (503, "<html>", Kind.UNKNOWN, "EXEC_OUTCOME_UNKNOWN"),
        (503, {"error": "trading is currently cancel-only. New orders are not accepted"}, Kind.REFUSED,
         "EXEC_VENUE_RESTRICTED"),
        (425, None, Kind.REFUSED, "EXEC_VENUE_RESTARTING"),
        (429, {"error": "rate limit exceeded"}, Kind.REFUSED, "EXEC_RATE_LIMITED"),
        (401, {"error": "Unauthorized/Invalid api key"}, Kind.REFUSED, "SEC_CREDENTIALS_REFUSED"),
        (403, "blocked", Kind.REFUSED, "SEC_GEOBLOCKED"),
        (400, {"error": "order 0x1 is invalid. Duplicated."}, Kind.UNKNOWN, "EXEC_DUPLICATE"),
        (400, {"error": "the maker address not allowed, use the deposit wallet flow"}, Kind.REFUSED,
         "SEC_WALLET_NOT_ALLOWED"),
        (400, {"error": "words that nobody knows"}, Kind.REFUSED, "EXEC_REJECTED"),
        (404, {"error": "No orderbook exists for the requested token id"}, Kind.REFUSED, "EXEC_MARKET_UNKNOWN"),
    ],
)  # fmt: skip
def test_what_a_status_proves(status, body, kind, code):
    outcome = outcomes.of_status(status, body, {})
    assert outcome is not None and (outcome.kind, Code(outcome.code).name) == (kind, code)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"success": True, "errorMsg": "", "orderID": "0x1", "status": "live"}, Kind.ACCEPTED),
        ({"success": True, "errorMsg": "", "orderID": "0x1", "status": "LIVE"}, Kind.ACCEPTED),
        ({"success": True, "errorMsg": "could not run the execution", "orderID": "", "status": ""}, Kind.REFUSED),
        ({"success": True, "errorMsg": "", "orderID": "", "status": "live"}, Kind.UNKNOWN),
        ({"success": False, "errorMsg": "", "orderID": "0x1", "status": "live"}, Kind.UNKNOWN),
        ({"success": True, "errorMsg": "", "orderID": "0x1", "status": "unmatched"}, Kind.UNKNOWN),
        ({"success": True, "errorMsg": "", "orderID": "0x1", "status": "something new"}, Kind.UNKNOWN),
        (None, Kind.UNKNOWN),
        ("OK", Kind.UNKNOWN),
    ],
)
def test_only_an_order_id_and_a_status_without_an_error_is_an_acceptance(entry, kind):
    assert outcomes.of_entry(entry).kind == kind


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "status", "price", "size", "maker_orders", "taker_order_id", "order_id", "success",
                             "matched_amount", "size_matched", "orderID", "errorMsg", "tradeIDs", "match_time"]),
            inner, max_size=6,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_no_words_of_the_venue_break_the_tracker(said):
    made, _, _ = tracker("GTC")
    for body in (said, {"id": KEY, **said} if isinstance(said, dict) else said):
        if isinstance(body, dict):
            made.hear_order(body)
            made.hear_trade(body)
            made.hear_trade({**body, "taker_order_id": KEY})
        outcomes.of_entry(body, 0)
        outcomes.of_status(500, body, {})
    made.flush()


# -- the budget ----------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_rate_and_no_more():
    bucket, now, taken = Bucket(10, 5), 100.0, 0
    for _ in range(1_000):
        now += 0.01
        while bucket.delay(1, now) == 0:
            bucket.take(1, now)
            taken += 1
    assert 5 + 10 * 10 - 2 <= taken <= 5 + 10 * 10


def test_the_venue_s_own_count_is_taken_over_and_a_429_closes():
    budget = Budget()
    now = time.monotonic()
    budget.heard("POST", "/order", 200, {"Poly-RateLimit-Remaining": "0.0", "Poly-RateLimit-Tier": "gold"}, 0.0)
    assert budget.tier == "gold" and budget.orders.rate == 400 and budget.orders.delay(4, now) > 0
    budget.heard("DELETE", "/orders", 429, {}, 7.0)
    assert 6.5 < budget.cancels.delay(1, time.monotonic()) <= 7.0
    assert not asyncio.run(budget.take("DELETE", "/order", patience=0.1)) and budget.denied == 1


def test_an_order_that_the_budget_would_hold_too_long_is_denied(venue):
    made = venue.market("budget")
    heard = Heard()

    async def run() -> None:
        port = make_port(venue, "budget", [info(made, "budget")], replace(FAST, tier="standard", patience=0.05))
        await port.start(heard)
        orders = [submit(0, "BUY", "0.10", "10") for _ in range(90)]
        await send(port, *orders)
        codes = [heard.codes(order["order_id"]) for order in orders]
        denied = [code for code in codes if code == ["EXEC_RATE_BUDGET"]]
        assert 15 <= len(denied) <= 45 and all(code in ([], ["EXEC_RATE_BUDGET"]) for code in codes)
        assert len(await port.open_orders()) == 90 - len(denied)
        await port.cancel_all()
        await port.stop()

    asyncio.run(run())
