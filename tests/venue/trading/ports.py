"""Ports of the tests: a market table made at a local venue, an account with its key, actions, and what was heard."""

from __future__ import annotations

import asyncio
import hashlib
import time
import urllib.request
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson

from polytraders.config import DEMO_BUILDER_CODE, build_settings
from polytraders.data.markets import MarketInfo
from polytraders.rows import ACTION, EVENT, POST_ONLY, ActionKind, EventKind, OrderType, Outcome, Side
from polytraders.units import MICRO, price_pips, size_micro
from polytraders.venue.guard import Guard
from polytraders.venue.keeper import engage
from polytraders.venue.orders import POLYGON, Account, Credentials, Key, account, login_headers
from polytraders.venue.polymarket.port import Options, PolymarketPort
from polytraders.venue.port import News

FAST = Options(
    timeout=1.0, absent_after=0.6, trades_after=0.1, reconcile_every=0.5, heartbeat_every=0.5, reconnect=(0.02, 0.2),
    tier="elite",
)  # fmt: skip


def environment(urls: dict[str, str], **other: Any) -> SimpleNamespace:
    """A local venue's hosts."""
    known = {"rtds": "", "geoblock": "", **urls, "name": "local", "chain_id": POLYGON}
    return SimpleNamespace(**(known | other))


def credentials(urls: dict[str, str], key: Key) -> Credentials:
    """API credentials of a key, created or derived."""
    for method, path in (("POST", "/auth/api-key"), ("GET", "/auth/derive-api-key")):
        headers = login_headers(key, POLYGON, int(time.time()), 0)
        request = urllib.request.Request(urls["rest"] + path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                said = orjson.loads(answer.read())
                return Credentials(said["apiKey"], said["secret"], said["passphrase"])
        except urllib.error.HTTPError:
            continue
    raise AssertionError("no credentials")


def test_key(name: str) -> Key:
    """A key of its own for each name."""
    return Key("0x" + hashlib.sha256(name.encode()).hexdigest())


test_key.__test__ = False  # type: ignore[attr-defined]


def info(made: dict[str, str], slug: str, **more: Any) -> MarketInfo:
    """The run's record of a market that the admin port made."""
    known: dict[str, Any] = {
        "tick": 100, "grid": 1, "min_size": 5 * MICRO, "fee_rate": 0, "fee_exponent": 1, "rebate_rate": 0,
        "neg_risk": False, "event_id": "", "end_ts": time.time_ns() + 86_400 * 10**9,
    }  # fmt: skip
    return MarketInfo(made["condition"], slug, slug, made["yes"], made["no"], **(known | more))


class Heard:
    """What a port emitted."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.event = asyncio.Event()

    def __call__(self, news: News) -> None:
        assert (news.rows["ts_recv"] > 0).all() and len(news.rows) == len(news.keys)
        self.news.append(news)
        self.event.set()

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate([news.rows for news in self.news]) if self.news else np.zeros(0, EVENT)

    @property
    def keys(self) -> list[str]:
        return [key for news in self.news for key in news.keys]

    def kinds(self, order_id: int | None = None) -> list[str]:
        rows = self.rows if order_id is None else self.rows[self.rows["aux"] == order_id]
        return [EventKind(kind).name for kind in rows["kind"]]

    def codes(self, order_id: int) -> list[int]:
        from polytraders.reasons import Code

        rows = self.rows[(self.rows["aux"] == order_id)]
        told = rows[np.isin(rows["kind"], (EventKind.ORDER_REJECT, EventKind.CANCEL))]
        return [Code(int(code)).name for code in told["size"]]

    async def until(self, order_id: int, *kinds: str, seconds: float = 15.0) -> list[str]:
        """Wait until an order's rows contain these kinds (as often as they are named); all kinds it has."""

        def there() -> bool:
            said = self.kinds(order_id)
            return all(said.count(kind) >= kinds.count(kind) for kind in kinds)

        end = time.monotonic() + seconds
        while not there():
            left = end - time.monotonic()
            assert left > 0, (
                f"order {order_id}: {self.kinds(order_id)} instead of {kinds}; {[n.note for n in self.news]}"
            )
            self.event.clear()
            try:
                await asyncio.wait_for(self.event.wait(), min(left, 0.5))
            except TimeoutError:
                continue
        return self.kinds(order_id)


_serial = 0


def submit(
    market: int, side: str, price: str, size: str, kind: str = "GTC", *, outcome: int = Outcome.YES,
    post_only: bool = False, expiry: int = 0,
) -> np.void:  # fmt: skip
    """One action with an order id of its own."""
    global _serial
    _serial += 1
    action = np.zeros(1, ACTION)[0]
    action["ts"], action["order_id"], action["kind"] = time.time_ns(), _serial, ActionKind.SUBMIT
    action["market"], action["outcome"], action["side"] = market, outcome, Side[side]
    action["price"], action["size"] = price_pips(price), size_micro(size)
    action["order_type"], action["flags"], action["expiry"] = OrderType[kind], POST_ONLY if post_only else 0, expiry
    return action


def cancel(of: np.void) -> np.void:
    """The action that cancels an order."""
    action = of.copy()
    action["kind"], action["ts"] = ActionKind.CANCEL, time.time_ns()
    return action


def actions(*made: np.void) -> np.ndarray:
    return np.array(list(made), ACTION)


async def send(port: Any, *made: np.void) -> list[Any]:
    """Prepare and send; the requests."""
    requests = port.prepare(actions(*made), time.time_ns())
    await port.send(requests)
    return requests


def make_guard(key: Key, owner: Account | None = None, **more: str) -> Guard:
    """A guard that signs for `strat.a`, whose wallet nobody reads again: what the venue says of funds is tested here.

    more: keys of the settings, as `section.key`, with __ for the dot before the last."""
    watched = {f"sec.{bot}.mode": "shadow" for bot in ("wallet_funding_guard", "walletpermissionguard")}
    told = {**watched, **{name.replace("__", "."): v for name, v in more.items()}}
    chosen = build_settings({}, "tests").with_overrides(told)
    return engage(
        key, owner or account(key.address, 0, POLYGON), chosen, "strat.a", now=time.time_ns(), chain=False
    )  # fmt: skip


def make_port(
    served: Any, name: str, markets: list[MarketInfo], options: Options = FAST, guard: Guard | None = None, **hosts: Any
) -> PolymarketPort:
    """A port of an account of its own."""
    key = test_key(name)
    return PolymarketPort(
        environment(served.urls, **hosts), markets, guard or make_guard(key), credentials(served.urls, key),
        DEMO_BUILDER_CODE, options,
    )  # fmt: skip
