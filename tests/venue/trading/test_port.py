"""The port against a local venue: every kind of order, what is heard of it, and each refusal by its code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from ports import FAST, Heard, actions, cancel, info, make_port, send, submit

from polytraders.rows import EventKind, Flag, Outcome
from polytraders.units import MICRO


def trade(served: Any, name: str, run: Callable[..., Awaitable[None]], options: Any = FAST, **market: Any) -> None:
    """Run a coroutine with (port, heard, admin) on a market of its own."""
    slug = f"trade-{name}"
    made = served.market(slug, **{k: v for k, v in market.items() if k != "fee_rate_ppm"})
    described = info(
        made, slug, neg_risk=market.get("neg_risk", False), fee_rate=market.get("fee_rate_ppm", 0),
    )  # fmt: skip

    async def whole() -> None:
        port, heard = make_port(served, name, [described], options), Heard()
        await port.start(heard)
        try:
            await run(port, heard, lambda path, **body: served.admin(f"/markets/{slug}{path}", **body))
        finally:
            await port.stop()

    asyncio.run(whole())


def told(heard: Heard, order: np.void) -> list[str]:
    """What was told of an order, but for the chain's word, whose time is its own."""
    return [kind for kind in heard.kinds(int(order["order_id"])) if kind not in ("FILL_CONFIRMED", "FILL_VOIDED")]


def test_an_order_rests_is_filled_and_settles(venue):
    async def run(port, heard, market):
        order = submit(0, "BUY", "0.50", "20")
        (request,) = await send(port, order)
        assert request.key.startswith("0x") and len(request.key) == 66
        await heard.until(order["order_id"], "ORDER_ACK")
        (listed,) = await port.open_orders()
        assert (listed.key, listed.price, listed.size, listed.filled) == (request.key, 5_000, 20 * MICRO, 0)
        market("/trade", side="SELL", price="0.49", size="20")
        kinds = await heard.until(order["order_id"], "FILL_CONFIRMED")
        assert kinds == ["ORDER_ACK", "FILL_PROVISIONAL", "FILL_CONFIRMED"]
        fill = heard.rows[heard.rows["kind"] == EventKind.FILL_PROVISIONAL][0]
        assert (fill["price"], fill["size"], fill["flags"] & Flag.MAKER) == (5_000, 20 * MICRO, Flag.MAKER)
        balances = await port.balances()
        assert balances.cash == 100_000 * MICRO - 10 * MICRO and balances.shares == {(0, Outcome.YES): 20 * MICRO}
        (trade,) = await port.trades()
        assert (trade.order, trade.size, trade.maker, trade.status) == (request.key, 20 * MICRO, True, "CONFIRMED")
        assert await port.open_orders() == []

    trade(venue, "rests", run)


def test_orders_that_take_end_with_a_cancel_behind_their_fills(venue):
    async def run(port, heard, market):
        whole, part = submit(0, "BUY", "0.52", "50", "FOK"), submit(0, "BUY", "0.53", "200", "FAK")
        await send(port, whole)
        await heard.until(whole["order_id"], "CANCEL")
        assert told(heard, whole) == ["ORDER_ACK", "FILL_PROVISIONAL", "CANCEL"]
        assert heard.codes(whole["order_id"]) == ["EXEC_TAKEN"]
        await send(port, part)
        await heard.until(part["order_id"], "CANCEL")
        assert told(heard, part) == ["ORDER_ACK", "FILL_PROVISIONAL", "FILL_PROVISIONAL", "CANCEL"]
        assert heard.codes(part["order_id"]) == ["EXEC_FAK_NOT_FILLED"]
        none = submit(0, "BUY", "0.40", "50", "FAK")
        await send(port, none)
        await heard.until(none["order_id"], "ORDER_REJECT")
        assert heard.codes(none["order_id"]) == ["EXEC_FAK_NOT_FILLED"]

    trade(venue, "takes", run)


def test_a_buy_that_takes_spends_its_money_and_every_share_of_it_is_told(venue):
    async def run(port, heard, market):
        order = submit(0, "BUY", "0.60", "100", "FAK")  # 60 pUSD at 0.52: more shares than were asked for
        await send(port, order)
        await heard.until(order["order_id"], "CANCEL", "FILL_CONFIRMED")
        rows = heard.rows[(heard.rows["aux"] == order["order_id"]) & (heard.rows["kind"] == EventKind.FILL_PROVISIONAL)]
        assert rows["size"].sum() > 100 * MICRO and (rows["flags"] & Flag.MORE).all()
        assert heard.codes(order["order_id"]) == ["EXEC_TAKEN"]
        shares = (await port.balances()).shares[0, Outcome.YES]
        await heard.until(order["order_id"], *["FILL_CONFIRMED"] * len(rows))
        shares = (await port.balances()).shares[0, Outcome.YES]
        assert shares == rows["size"].sum()

    trade(venue, "spends", run, fee_rate="0.02", fee_rate_ppm=20_000)


def test_cancels_single_batched_and_of_orders_that_are_not_there_yet(venue):
    async def run(port, heard, market):
        orders = [submit(0, "BUY", "0.10", str(5 + n)) for n in range(32)]
        await send(port, *orders)
        for order in orders:
            await heard.until(order["order_id"], "ORDER_ACK")
        assert len(await port.open_orders()) == 32
        await send(port, cancel(orders[0]))
        await send(port, *map(cancel, orders[1:20]))
        for order in orders[:20]:
            await heard.until(order["order_id"], "CANCEL")
            assert heard.codes(order["order_id"]) == ["EXEC_CANCELLED"]
        at_once = submit(0, "BUY", "0.11", "9")
        await send(port, at_once, cancel(at_once))
        assert await heard.until(at_once["order_id"], "CANCEL") == ["ORDER_ACK", "CANCEL"]
        await port.cancel_all(0)
        for order in orders[20:]:
            await heard.until(order["order_id"], "CANCEL")
        assert await port.open_orders() == []
        before = len(heard.rows)
        await send(port, cancel(orders[3]))  # its end is told already
        assert len(heard.rows) == before

    trade(venue, "cancels", run)


def test_the_other_outcome_and_a_neg_risk_market(venue):
    async def run(port, heard, market):
        order = submit(0, "BUY", "0.48", "20", outcome=Outcome.NO)
        await send(port, order)
        await heard.until(order["order_id"], "ORDER_ACK")
        market("/trade", side="BUY", price="0.53", size="20")
        await heard.until(order["order_id"], "FILL_CONFIRMED")
        assert (await port.balances()).shares == {(0, Outcome.NO): 20 * MICRO}
        sale = submit(0, "SELL", "0.45", "20", "FAK", outcome=Outcome.NO)
        await send(port, sale)
        await heard.until(sale["order_id"], "FILL_CONFIRMED", "CANCEL")
        assert (await port.balances()).shares == {}

    trade(venue, "other", run, neg_risk=True)


REFUSALS = {
    "off tick": (dict(price="0.505"), "EXEC_OFF_TICK"),
    "too small": (dict(size="4"), "EXEC_BELOW_MIN_SIZE"),
    "too little to take": (dict(size="1", price="0.53", kind="FAK"), "EXEC_BELOW_MIN_MARKETABLE"),
    "too fine": (dict(size="10.005"), "EXEC_TOO_MANY_DECIMALS"),
    "crosses": (dict(price="0.60", post_only=True), "EXEC_POST_ONLY_CROSSED"),
    "too dear": (dict(price="0.50", size="900000"), "EXEC_NOT_ENOUGH_BALANCE"),
    "not whole": (dict(price="0.53", size="900", kind="FOK"), "EXEC_FOK_NOT_FILLED"),
    "too soon": (dict(kind="GTD", expiry=1_900_000_00), "EXEC_GTD_TOO_SOON"),
    "nothing to sell": (dict(side="SELL"), "EXEC_NOT_ENOUGH_BALANCE"),
}


def test_every_refusal_has_its_code(venue):
    async def run(port, heard, market):
        for name, (terms, code) in REFUSALS.items():
            order = submit(0, **({"side": "BUY", "price": "0.50", "size": "10"} | terms))
            await send(port, order)
            assert await heard.until(order["order_id"], "ORDER_REJECT") == ["ORDER_REJECT"], name
            assert heard.codes(order["order_id"]) == [code], name
        assert await port.open_orders() == []

    trade(venue, "refused", run)


def test_an_order_is_not_sent_twice(venue):
    async def run(port, heard, market):
        requests = await send(port, submit(0, "BUY", "0.30", "10"))
        with pytest.raises(ValueError, match="sent already"):
            await port.send(requests)

    trade(venue, "twice", run)


def test_complete_sets_are_refused_not_forgotten(venue):
    from polytraders.rows import ActionKind

    async def run(port, heard, market):
        action = submit(0, "BUY", "0.50", "10")
        action["kind"] = ActionKind.MERGE
        await port.send(port.prepare(actions(action), 1))
        row = heard.rows[-1]
        assert (row["kind"], row["size"], row["aux"]) == (EventKind.MERGE, 0, action["order_id"])

    trade(venue, "sets", run)


def test_rows_never_step_back_and_carry_their_keys(venue):
    async def run(port, heard, market):
        orders = [submit(0, "BUY", "0.50", "10") for _ in range(6)]
        await send(port, *orders)
        market("/trade", side="SELL", price="0.49", size="40")
        for order in orders[:4]:
            await heard.until(order["order_id"], "FILL_CONFIRMED")
        assert (np.diff(heard.rows["ts_recv"]) >= 0).all()
        fills = [k for k, row in zip(heard.keys, heard.rows, strict=True) if row["kind"] == EventKind.FILL_CONFIRMED]
        assert len(set(fills)) == len(fills) and all(":" in key for key in fills)

    trade(venue, "keys", run)
