"""May this account trade here: each reason against it has its own message and code, and trading does not begin."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from ports import FAST, Heard, cancel, credentials, environment, info, make_guard, make_port, send, submit, test_key

from polytraders.config import DEMO_BUILDER_CODE
from polytraders.units import MICRO
from polytraders.venue.orders import AMOY, POLYGON, Credentials, Key, account
from polytraders.venue.polymarket import preflight
from polytraders.venue.polymarket.port import PolymarketPort
from polytraders.venue.refusal import Refused


def started(port: PolymarketPort) -> Refused | None:
    """Start and stop; the refusal, if there was one."""

    async def run() -> Refused | None:
        try:
            await port.start(Heard())
        except Refused as error:
            return error
        finally:
            await port.stop()
        return None

    return asyncio.run(run())


def whole(served, name: str, **more) -> PolymarketPort:
    made = served.market(f"preflight-{name}", **more)
    return make_port(served, f"preflight-{name}", [info(made, name, neg_risk=more.get("neg_risk", False))])


def bare(served, slug: str, key: Key, known: Credentials, **changes) -> PolymarketPort:
    """A port whose key and credentials may not fit."""
    made = served.market(f"preflight-{slug}")
    owner = changes.pop("owner", None) or account(key.address, 0, POLYGON)
    hosts = environment(served.urls, **changes)
    return PolymarketPort(hosts, [info(made, slug)], make_guard(key, owner), known, DEMO_BUILDER_CODE, FAST)


def assert_refused(error: Refused | None, code: str, *words: str) -> None:
    assert error is not None and error.code == code, error
    assert all(word in str(error) for word in words), str(error)
    assert "rule:" in str(error) and "mend:" in str(error)


def test_a_good_account_may_trade(venue):
    assert started(whole(venue, "good")) is None


def test_a_wrong_secret(venue):
    key = test_key("preflight-secret")
    good = credentials(venue.urls, key)
    bad = Credentials(good.api_key, "bm90IHRoaXMgb25l", good.passphrase)
    assert_refused(started(bare(venue, "secret", key, bad)), "SEC_CREDENTIALS_REFUSED", good.api_key, "401")


def test_a_key_of_somebody_else(venue):
    mine, theirs = test_key("preflight-mine"), test_key("preflight-theirs")
    port = bare(venue, "theirs", mine, credentials(venue.urls, theirs))
    assert_refused(started(port), "SEC_CREDENTIALS_REFUSED", mine.address)


def test_the_wrong_chain(venue):
    key = test_key("preflight-chain")
    port = bare(venue, "chain", key, credentials(venue.urls, key), owner=account(key.address, 0, AMOY))
    assert_refused(started(port), "SEC_WRONG_CHAIN", "80002", "137")


@pytest.mark.parametrize("neg_risk", [False, True])
def test_a_missing_allowance(venue, neg_risk):
    port = whole(venue, f"allowance-{neg_risk}", neg_risk=neg_risk)
    contract = port._rules[0].domain.contract
    venue.admin(f"/accounts/{port.account.maker}", allowances={contract: "0"})
    assert_refused(started(port), "SEC_ALLOWANCE_MISSING", contract)


def test_an_allowance_that_is_taken_away_while_trading(venue):
    port, heard = whole(venue, "revoked"), Heard()

    async def run():
        await port.start(heard)
        venue.admin(f"/accounts/{port.account.maker}", allowances={port._rules[0].domain.contract: "0"})
        order = submit(0, "BUY", "0.50", "10")
        await send(port, order)
        await heard.until(order["order_id"], "ORDER_REJECT")
        assert heard.codes(order["order_id"]) == ["SEC_ALLOWANCE_MISSING"]
        await port.stop()

    asyncio.run(run())


def test_no_money(venue):
    port = whole(venue, "poor")
    venue.admin(f"/accounts/{port.account.maker}", cash="0")
    assert_refused(started(port), "EXEC_NOT_ENOUGH_BALANCE", "0 pUSD")


def test_a_closed_only_account(venue):
    port = whole(venue, "closed")
    venue.admin(f"/accounts/{port.account.maker}", closed_only=True)
    assert_refused(started(port), "SEC_CLOSED_ONLY", port.account.maker)


def test_closed_only_and_banned_while_trading(venue):
    port, heard = whole(venue, "later"), Heard()

    async def run():
        await port.start(heard)
        for switch, code in (("closed_only", "SEC_CLOSED_ONLY"), ("banned", "SEC_ACCOUNT_BANNED")):
            venue.admin(f"/accounts/{port.account.maker}", **{switch: True})
            order = submit(0, "BUY", "0.50", "10")
            await send(port, order)
            await heard.until(order["order_id"], "ORDER_REJECT")
            assert heard.codes(order["order_id"]) == [code]
        await port.stop()

    asyncio.run(run())


def test_a_blocked_place(venue):
    venue.admin("/geoblock", blocked=True, country="FR", region="IDF")
    assert_refused(started(whole(venue, "blocked")), "SEC_GEOBLOCKED", "FR-IDF")


@pytest.mark.parametrize("page", ["http://127.0.0.1:9/api/geoblock", "REST/ok"])
def test_a_place_that_nobody_knows_is_a_blocked_one(venue, page):
    key = test_key("preflight-unknown-place")
    page = page.replace("REST", venue.urls["rest"])
    port = bare(venue, f"place-{page[-2:]}", key, credentials(venue.urls, key), geoblock=page)
    assert_refused(started(port), "SEC_GEOBLOCK_UNKNOWN", page)


def test_production_without_a_geoblock_page_fails_closed(venue):
    key = test_key("preflight-no-page")
    port = bare(venue, "no-page", key, credentials(venue.urls, key), geoblock="", name="polymarket")
    assert_refused(started(port), "SEC_GEOBLOCK_UNKNOWN")


def test_a_place_that_becomes_blocked_denies_orders_and_allows_cancels(venue):
    made = venue.market("preflight-moves")
    port = make_port(venue, "preflight-moves", [info(made, "moves")], replace(FAST, geoblock_every=0.05))
    heard = Heard()

    async def run():
        await port.start(heard)
        first = submit(0, "BUY", "0.10", "10")
        await send(port, first)
        await heard.until(first["order_id"], "ORDER_ACK")
        venue.admin("/geoblock", blocked=True, country="FR")
        while not port.blocked:
            await asyncio.sleep(0.02)
        second = submit(0, "BUY", "0.10", "10")
        await send(port, second)
        assert heard.codes(second["order_id"]) == ["SEC_GEOBLOCKED"]
        await send(port, cancel(first))
        await heard.until(first["order_id"], "CANCEL")
        await port.stop()

    asyncio.run(run())


def test_an_unknown_market(venue):
    made = {"condition": "0x" + "ab" * 32, "yes": str(3**100), "no": str(5**60)}
    key = test_key("preflight-market")
    port = make_port(venue, "preflight-market", [info(made, "never-listed")])
    assert key.address == port.account.maker
    assert_refused(started(port), "EXEC_MARKET_UNKNOWN", "never-listed")


def test_a_market_that_resolved_does_not_keep_a_run_from_going_on(venue):
    made, other = venue.market("preflight-over"), venue.market("preflight-goes-on")
    venue.admin("/markets/preflight-over/resolve", payout="1")
    port = make_port(venue, "preflight-over", [info(made, "preflight-over"), info(other, "preflight-goes-on")])

    async def run():
        await port.start(lambda news: None)
        await port.stop()

    asyncio.run(run())


def test_a_token_that_is_none():
    made = {"condition": "0x1", "yes": "yes", "no": "no"}
    key = test_key("preflight-token")
    with pytest.raises(Refused, match="EXEC_MARKET_UNKNOWN"):
        PolymarketPort(
            environment({"rest": "", "user_ws": "", "data": ""}), [info(made, "x")], make_guard(key),
            Credentials("a", "b", "c"), DEMO_BUILDER_CODE,
        )  # fmt: skip


def test_a_clock_that_is_off(venue):
    port = whole(venue, "clock")
    port.client.clock = lambda: __import__("time").time_ns() + 60 * 10**9
    assert_refused(started(port), "SEC_CLOCK_SKEW", "the venue's clock is -")


def test_a_venue_that_is_not_there(venue):
    key = test_key("preflight-nowhere")
    port = bare(venue, "nowhere", key, Credentials("a", "YQ==", "b"), rest="http://127.0.0.1:9")
    assert_refused(started(port), "EXEC_VENUE_UNREACHABLE", "127.0.0.1:9")


def test_every_check_is_told_with_its_mend(venue):
    port = whole(venue, "told")
    venue.admin(f"/accounts/{port.account.maker}", cash="0", closed_only=True)

    async def run():
        async with port.client:
            return await preflight.checks(port.client, port.account, port.markets, MICRO)

    made = {check.name: check.as_dict() for check in asyncio.run(run())}
    assert list(made) == ["chain", "clock", "geoblock", "credentials", "account", "allowance", "balance", "markets"]
    bad = {name: check["code"] for name, check in made.items() if not check["good"]}
    assert bad == {"account": "SEC_CLOSED_ONLY", "balance": "EXEC_NOT_ENOUGH_BALANCE"}
    assert all(made[name]["mend"] for name in bad)
