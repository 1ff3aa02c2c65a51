"""Trade at a venue that is known by its address only: find a market, get credentials, run the conformance suite."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from polytraders.config import DEMO_BUILDER_CODE, build_settings
from polytraders.data.markets import MarketInfo
from polytraders.errors import UsageError
from polytraders.units import NS_PER_DAY, ONE, UnitError, price_pips, size_micro
from polytraders.venue import conformance
from polytraders.venue.chain import providers
from polytraders.venue.keeper import Keeper, engage
from polytraders.venue.orders import POLYGON, Credentials, Key, SignatureType, account, load_key, login_headers
from polytraders.venue.orders.keys import API_KEY, KEY, KEYSTORE, load_credentials
from polytraders.venue.polymarket.client import Client
from polytraders.venue.polymarket.port import Options, PolymarketPort
from polytraders.venue.polymarket.preflight import said
from polytraders.venue.refusal import Refused

WATCHED = {f"sec.{bot}.mode": "shadow" for bot in ("wallet_funding_guard", "walletpermissionguard")}
"""That the venue refuses an order for more money than there is, is a case of the suite: its guard lets it go there."""
PRODUCTION = "https://clob.polymarket.com"
TEST_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""Account 0 of every local Ethereum test chain, which everybody knows: for venues on this machine only."""


@dataclass(frozen=True)
class Address:
    """Where a venue answers, from the URL of its REST interface. It satisfies `client.Hosts`."""

    rest: str
    name: str
    user_ws: str
    data: str
    geoblock: str
    chain_id: int = POLYGON

    @property
    def loopback(self) -> bool:
        host = self.rest.partition("//")[2].partition("/")[0].rpartition(":")[0]
        return host in ("127.0.0.1", "localhost", "[::1]")


def address(url: str) -> Address:
    """The hosts behind a REST URL. Raises UsageError for what is no URL."""
    rest = url.rstrip("/")
    if not rest.startswith(("http://", "https://")) or not rest.partition("//")[2]:
        raise UsageError(f"{url!r} is no URL", where="URL", mend="give the REST URL, such as http://127.0.0.1:8080")
    if rest == PRODUCTION:
        return Address(
            rest, "polymarket", "wss://ws-subscriptions-clob.polymarket.com/ws/user",
            "https://data-api.polymarket.com", "https://polymarket.com/api/geoblock",
        )  # fmt: skip
    socket = "ws" + rest[4:] + "/ws/user"
    return Address(rest, "local", socket, rest, "")


def key_for(hosts: Address) -> Key:
    """The key of the environment; on this machine, without one, the key of every test chain. Raises Refused."""
    import os

    if hosts.loopback and not (os.environ.get(KEY) or os.environ.get(KEYSTORE)):
        return Key(TEST_KEY)
    return load_key()


async def credentials_for(hosts: Any, key: Key) -> Credentials:
    """API credentials: those of the environment, else the venue makes or derives them. Raises Refused."""
    import os

    if os.environ.get(API_KEY):
        return load_credentials()
    async with Client(hosts, key.address, Credentials("", "", "")) as client:
        for method, path in (("POST", "/auth/api-key"), ("GET", "/auth/derive-api-key")):
            headers = login_headers(key, hosts.chain_id, time.time_ns() // 1_000_000_000, 0)
            answer = await client.login(method, path, headers)
            body = answer.body
            if answer.good and isinstance(body, dict) and all(
                isinstance(body.get(name), str) for name in ("apiKey", "secret", "passphrase")
            ):  # fmt: skip
                return Credentials(body["apiKey"], body["secret"], body["passphrase"])
    code = "EXEC_VENUE_UNREACHABLE" if answer.status <= 0 else "SEC_CREDENTIALS_REFUSED"
    raise Refused(code, f"{key.address} gets no API credentials: {said(answer)}", where=hosts.rest)


async def market_at(hosts: Any, condition: str = "") -> tuple[MarketInfo, conformance.Ground]:
    """A market of the venue and how it stands: the one named, else the first that takes orders and has both sides.

    Raises Refused when there is none.
    """
    async with Client(hosts, "0x" + "00" * 20, Credentials("", "", "")) as client:
        if condition:
            answer = await client.public(f"/markets/{condition}")
            listed = [answer.body] if answer.good and isinstance(answer.body, dict) else []
        else:
            answer = await client.public("/markets")
            listed = answer.body.get("data", []) if answer.good and isinstance(answer.body, dict) else []
        if answer.status <= 0:
            raise Refused("EXEC_VENUE_UNREACHABLE", said(answer), where=hosts.rest)
        best: tuple[MarketInfo, conformance.Ground] | None = None
        for entry in listed:
            found = await _stand(client, entry)
            if found is not None and (condition or (found[1].bid > 0 and found[1].ask < ONE)):
                return found
            best = best or found
    if best is not None:
        return best
    what = f"no market {condition}" if condition else "no market takes orders"
    raise Refused("EXEC_MARKET_UNKNOWN", f"{what} at {hosts.rest}", where="--market", mend="name a market that is open")


async def _stand(client: Client, entry: Any) -> tuple[MarketInfo, conformance.Ground] | None:
    try:
        if not entry.get("accepting_orders"):
            return None
        yes, no = (str(token["token_id"]) for token in entry["tokens"])
        answer = await client.public("/book", token_id=yes)
        book = answer.body
        tick, least = price_pips(str(book["tick_size"])), size_micro(str(book["min_order_size"]))
        bid = price_pips(book["bids"][-1]["price"]) if book["bids"] else 0
        ask = price_pips(book["asks"][-1]["price"]) if book["asks"] else ONE
        info = MarketInfo(
            str(entry["condition_id"]), str(entry.get("market_slug") or ""), str(entry.get("question") or ""), yes, no,
            tick=tick, grid=1, min_size=least, fee_rate=0, fee_exponent=1, rebate_rate=0,
            neg_risk=bool(book["neg_risk"]), event_id="", end_ts=time.time_ns() + NS_PER_DAY,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, UnitError):
        return None
    return info, conformance.Ground(0, tick, least, bid, ask)


async def conform(
    url: str, condition: str = "", trades: bool | None = None, wallet: str = "EOA",
    tell: Callable[[conformance.Result], None] = lambda result: None,
) -> tuple[MarketInfo, conformance.Ground, list[conformance.Result]]:  # fmt: skip
    """Run the suite at a URL. trades: whether cases may trade; None = on this machine only.

    Raises Refused when trading cannot begin, UsageError for what is no URL.
    """
    hosts = address(url)
    key = key_for(hosts)
    info, ground = await market_at(hosts, condition)
    credentials = await credentials_for(hosts, key)
    may = hosts.loopback if trades is None else trades
    ground = conformance.Ground(**ground.__dict__ | {"trades": may, "patience": 15.0 if hosts.loopback else 90.0})
    owner = account(key.address, int(SignatureType[wallet]), hosts.chain_id)
    given = () if hosts.loopback else providers.urls()
    if not hosts.loopback and not providers.enough(given):
        raise Refused(
            "SEC_RPC_QUORUM_LOST", f"{len(given)} providers of the chain are named", where=providers.RPC,
            rule="orders with real money are signed by a guard that reads the chain from two or more",
            mend=f"set {providers.RPC} to their URLs; on this machine none is needed",
        )  # fmt: skip
    chosen = build_settings({}, "the defaults").with_overrides(WATCHED)
    guard = engage(
        key, owner, chosen, "conformance", now=time.time_ns(), environment=hosts.name,
        chain=not hosts.loopback,
    )  # fmt: skip
    port = PolymarketPort(
        hosts, [info], guard, credentials, DEMO_BUILDER_CODE,
        Options(reconcile_every=2.0, heartbeat=not hosts.loopback),
    )  # fmt: skip
    async with kept(port, given, [int(info.yes_token), int(info.no_token)], info.neg_risk):
        return info, ground, await conformance.run(port, ground, tell)


@contextlib.asynccontextmanager
async def kept(port: PolymarketPort, urls: tuple[str, ...], tokens: list[int], neg_risk: bool) -> AsyncIterator[Keeper]:
    """The port's guard is told what it must know while the block runs. urls: of the chain's providers, () = none."""
    watch = None
    if urls:
        from polytraders.venue.chain.addresses import contracts
        from polytraders.venue.chain.wallet import Wallet
        from polytraders.venue.chain.watch import Watch

        where = contracts(port.hosts.chain_id)
        nodes = await asyncio.to_thread(providers.connect_all, urls, port.hosts.chain_id)
        exchange = where.neg_risk_exchange if neg_risk else where.exchange
        limits = port.guard.limits("sec.rpcfailovermanager")
        watch = Watch(Wallet(nodes, where, port.account.maker), tokens, exchange, limits, time.time_ns)
    keeper = Keeper(port, watch)
    if watch is not None:
        await keeper.read_chain()
    tasks = [asyncio.create_task(keeper.funds())]
    tasks += [asyncio.create_task(keeper.chain())] if watch is not None else []
    try:
        yield keeper
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if watch is not None:
            watch.wallet.nodes.close()


def result_table(results: list[conformance.Result]) -> list[tuple[str, str, str, str]]:
    """(case, result, code, what it is about or why not) of each case, for people."""
    return [(r.case, r.result, r.code, r.detail or r.what) for r in results]


def line(urls: str) -> str:
    """The REST URL in the line that `polytraders venue serve --json` prints, or the text itself."""
    if urls.lstrip().startswith("{"):
        try:
            return str(orjson.loads(urls)["rest"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise UsageError("this is not the line of a local venue", where="URL") from None
    return urls
