"""The port with a guard: what it refuses is denied locally, what it signs trades, and it hears what became of it."""

from __future__ import annotations

import asyncio

import pytest
from ports import FAST, Heard, actions, cancel, credentials, environment, info, send, submit, test_key

from polytraders.config import DEMO_BUILDER_CODE, build_settings, parse_ini
from polytraders.rows import EventKind, Outcome
from polytraders.run.live import rows_of
from polytraders.units import MICRO
from polytraders.venue.guard import BOTS, Guard
from polytraders.venue.orders import POLYGON, account
from polytraders.venue.polymarket.port import PolymarketPort

ENFORCED = "".join(f"[{bot_id}]\nmode = enforced\n" for bot_id in BOTS if bot_id != "sec.keyrotationreminder")
OFF = "[sec.keyrotationreminder]\nmode = off\n[sec.wallet_funding_guard]\nmode = enforced\nmax_age_s = 60\n"


@pytest.mark.parametrize("authorised", [True, False])
def test_an_order_goes_through_the_guard_and_its_end_is_counted(venue, authorised):
    name = f"guarded-{authorised}"
    slug = f"trade-{name}"
    described = info(venue.market(slug), slug)
    key = test_key(name)
    mine = account(key.address, 0, POLYGON)
    ini = ENFORCED.replace("[sec.wallet_funding_guard]\nmode = enforced\n", "") + OFF
    guard = Guard(key, mine, build_settings(parse_ini(ini, "t.ini"), "t.ini"), chain=False)

    async def run() -> None:
        port = PolymarketPort(
            environment(venue.urls), [described], guard, credentials(venue.urls, key), DEMO_BUILDER_CODE, FAST
        )  # fmt: skip
        heard = Heard()
        await port.start(heard)
        try:
            await port.balances()
            order = submit(0, "BUY", "0.30", "10")
            if not authorised:
                (request,) = port.prepare(actions(order), int(order["ts"]))
                assert request.refused == "SEC_NO_METHOD_PERMITTED" and request.body is None
                return
            guard.authorise("strat.a", int(order["ts"]))
            (request,) = await send(port, order)
            assert not request.refused and await heard.until(int(order["order_id"]), "ORDER_ACK")
            assert guard._reserved[request.key] == (0, 3 * MICRO, 10 * MICRO)
            await send(port, cancel(order))
            assert await heard.until(int(order["order_id"]), "ORDER_ACK", "CANCEL")
            assert not guard._reserved and guard._totals[0] == 0
            maker = submit(0, "BUY", "0.30", "10")
            await send(port, maker)
            assert await heard.until(int(maker["order_id"]), "ORDER_ACK")
            venue.admin(f"/markets/{slug}/trade", side="SELL", price="0.29", size="10")
            assert await heard.until(int(maker["order_id"]), "ORDER_ACK", "FILL_PROVISIONAL")
            assert not guard._reserved and guard._totals[0] in (3 * MICRO, 0), "spent; 0 once the balance was read"
            await port.balances()
            assert guard._totals[0] == 0
            assert await heard.until(int(maker["order_id"]), "ORDER_ACK", "FILL_PROVISIONAL", "FILL_CONFIRMED")
            await port.read_funds()
            assert port._held == {(0, Outcome.YES): 10 * MICRO}, "what it bought can be sold"
        finally:
            await port.stop()

    asyncio.run(run())


def test_what_an_order_held_back_is_free_when_it_was_never_sent(venue):
    slug = "trade-never-sent"
    described = info(venue.market(slug), slug)
    key = test_key(slug)
    mine = account(key.address, 0, POLYGON)
    ini = ENFORCED.replace("[sec.wallet_funding_guard]\nmode = enforced\n", "") + OFF
    guard = Guard(key, mine, build_settings(parse_ini(ini, "t.ini"), "t.ini"), chain=False)

    async def run() -> None:
        port = PolymarketPort(
            environment(venue.urls), [described], guard, credentials(venue.urls, key), DEMO_BUILDER_CODE, FAST
        )  # fmt: skip
        await port.start(Heard())
        try:
            await port.balances()
            order = submit(0, "BUY", "0.30", "10")
            guard.authorise("strat.a", int(order["ts"]))
            (request,) = port.prepare(actions(order), int(order["ts"]))
            assert not request.refused and guard._totals[0] == 3 * MICRO
            told = {"kind": EventKind.CANCEL, "market": 0, "aux": int(order["order_id"])}
            port.observe(rows_of(told | {"aux": 1 << 40}, told))  # as the runner tells the step of it
            assert not guard._reserved and guard._totals[0] == 0
        finally:
            await port.stop()

    asyncio.run(run())
