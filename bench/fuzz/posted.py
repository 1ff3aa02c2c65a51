"""Requests to the local venue that are wrong: refused in the venue's words, and nothing done that nobody signed.

Bodies of every route that takes one, changed and then sent under a good request signature, so that they are read; and
frames of both sockets. After it the venue still answers, every order it took is one that was signed as it stands, and
no account has more than it was given.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import time
from collections import Counter
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from bench.faults import Venue, hosts
from bench.fuzz.mutate import mutated
from polytraders.rows import OrderType, Side
from polytraders.units import MICRO
from polytraders.venue.orders import (
    Credentials,
    Key,
    Market,
    account,
    auth_headers,
    body,
    build,
    exchange,
    sign,
)
from polytraders.venue.polymarket.outcomes import code_of
from polytraders.venue.visit import credentials_for

ZERO = "0x" + "00" * 32
ACCOUNTS = 24
"""The venue limits each to 600 orders a second; together they are not held up."""
KINDS = (OrderType.GTC, OrderType.GTC, OrderType.FAK, OrderType.FOK, OrderType.GTD)


class Sender:
    """One account, and what it signed."""

    def __init__(self, key: Key, credentials: Credentials, token: str):
        self.key, self.credentials, self.salt = key, credentials, itertools.count(1)
        self.market = Market(int(token), 100, 5 * MICRO, False, 137, "v1")
        self.account = account(key.address, 0, 137)
        self.signed: list[str] = []
        self.taken: list[str] = []

    def order(self, dice: random.Random) -> dict[str, Any]:
        """A good body of POST /order."""
        kind, price = dice.choice(KINDS), dice.randint(40, 60) * 100
        order = build(
            self.market, self.account, int(Side.BUY), price, dice.randint(5, 20) * MICRO, kind, salt=next(self.salt),
            timestamp_ms=int(time.time() * 1_000), builder=ZERO[:-1] + "1",
        )  # fmt: skip
        signed = sign(order, self.key, exchange(137, False))
        self.signed.append(signed.order_id)
        expiry = int(time.time()) + 600 if kind == OrderType.GTD else 0
        return body(order, signed.signature, kind, owner=self.credentials.api_key, expiration_s=expiry)


def request(sender: Sender, condition: str, dice: random.Random) -> tuple[str, str, Any]:
    """(method, path, true body) of something that a client sends."""
    token = str(sender.market.token_id)
    what = dice.random()
    if what < 0.55:
        return "POST", "/order", sender.order(dice)
    if what < 0.7:
        return "POST", "/orders", [sender.order(dice) for _ in range(dice.randint(1, 4))]
    known = sender.taken[-5:] or [ZERO]
    return dice.choice(
        (
            ("DELETE", "/order", {"orderID": known[-1]}),
            ("DELETE", "/orders", known),
            ("DELETE", "/cancel-market-orders", {"market": condition, "asset_id": token}),
            ("POST", "/v1/heartbeats", {"heartbeat_id": ""}),
            ("POST", "/books", [{"token_id": token}]),
            ("POST", "/prices", [{"token_id": token, "side": "BUY"}]),
            ("POST", "/midpoints", [{"token_id": token}]),
            ("POST", "/last-trades-prices", [{"token_id": token}]),
            ("POST", "/orders-scoring", known),
        )
    )


async def campaign(venue: Venue, number: int, seed: int) -> Counter[str]:
    """Send `number` changed bodies; what they were answered, by kind. Raises AssertionError for what is wrong."""
    dice = random.Random(seed)
    slug = f"fuzz-{seed}-{number}"
    made = await venue.turn("/markets", slug=slug, bids=[["0.3", "1000"]], asks=[["0.7", "1000"]])
    counts: Counter[str] = Counter()
    senders = []
    for n in range(ACCOUNTS):
        key = Key(hashlib.sha256(f"{slug}:{n}".encode()).digest())
        senders.append(Sender(key, await credentials_for(hosts(venue.urls), key), made["yes"]))
        await venue.turn(f"/accounts/{key.address}", tier="elite", cash="1000000")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        jobs = itertools.count()

        async def work(sender: Sender, dice: random.Random) -> None:
            while next(jobs) < number:
                method, path, true = request(sender, made["condition"], dice)
                raw = mutated(true, dice)
                status, said = await _send(session, venue, sender, method, path, raw)
                assert status < 500, (path, status, said, raw[:2000])
                counts[_kind(path, status, said)] += 1
                _note(sender, said)
                if dice.random() < 0.01:
                    await _send(session, venue, sender, "DELETE", "/cancel-all", b"")

        await asyncio.gather(*(work(s, random.Random(f"{seed}:{n}")) for n, s in enumerate(senders)))
        counts += await _sockets(session, venue, senders[0], made, dice, max(number // 100, 20))
        counts += await _queries(session, venue, senders[0], made, dice, max(number // 50, 20))
        state = await venue.turn("/state", "GET")
        for sender in senders:
            assert set(sender.taken) <= set(sender.signed), sender.key.address
            told = state["accounts"][sender.key.address]
            assert told["orders"] == len(set(sender.taken)), (told, len(set(sender.taken)))
            assert told["cash"] + told["reserved"] <= 1_000_000 * MICRO and told["reserved"] >= 0, told
    return counts


async def _send(
    session: aiohttp.ClientSession, venue: Venue, sender: Sender, method: str, path: str, raw: bytes
) -> tuple[int, Any]:
    """(status, JSON) of one request. Raises AssertionError when the answer is no JSON."""
    headers = auth_headers(sender.credentials, sender.key.address, int(time.time()), method, path, raw or None)
    async with session.request(method, venue.urls["rest"] + path, data=raw or None, headers=headers) as answer:
        text = await answer.read()
    try:
        return answer.status, orjson.loads(text)
    except orjson.JSONDecodeError:
        raise AssertionError(f"{path}: HTTP {answer.status} {text[:200]!r} to {raw[:500]!r}") from None


def _entries(said: Any) -> list[dict[str, Any]]:
    return [entry for entry in (said if isinstance(said, list) else [said]) if isinstance(entry, dict)]


def _note(sender: Sender, said: Any) -> None:
    sender.taken += [entry["orderID"] for entry in _entries(said) if entry.get("orderID")]


def _kind(path: str, status: int, said: Any) -> str:
    """What an answer says, in our codes."""
    texts = [str(e.get("errorMsg") or e.get("error") or "") for e in _entries(said)] or [""]
    refused = [text for text in texts if text]
    if status == 200 and len(refused) < len(texts):
        return f"{path}: done"
    return f"{path}: {status if status != 200 else 400} {code_of(refused[0]).name if refused else ''}".strip()


async def _sockets(
    session: aiohttp.ClientSession, venue: Venue, sender: Sender, made: dict[str, str], dice: random.Random, number: int
) -> Counter[str]:
    """Changed frames to both channels; after each the channel answers, or has hung up."""
    counts: Counter[str] = Counter()
    c = sender.credentials
    auth = {"apiKey": c.api_key, "secret": str(c.secret), "passphrase": str(c.passphrase)}
    true = {
        "market_ws": {"type": "market", "assets_ids": [made["yes"], made["no"]], "custom_feature_enabled": True},
        "user_ws": {"type": "user", "auth": auth, "markets": [made["condition"]]},
    }
    for role, frame in true.items():
        for _ in range(number):
            async with session.ws_connect(venue.urls[role]) as socket:
                for _ in range(3):
                    await socket.send_str(mutated(frame, dice).decode("utf-8", "replace"))
                await socket.send_str("PING")
                ended = False
                async with asyncio.timeout(30):
                    while not ended:
                        said = await socket.receive()
                        ended = said.data == "PONG" or said.type is not aiohttp.WSMsgType.TEXT
                        counts[f"{role}: " + ("hung up" if said.data != "PONG" else "goes on")] += ended
    return counts


async def _queries(
    session: aiohttp.ClientSession, venue: Venue, sender: Sender, made: dict[str, str], dice: random.Random, number: int
) -> Counter[str]:
    """Changed queries of the pages that take some."""
    counts: Counter[str] = Counter()
    token, user = made["yes"], sender.key.address
    pages = [
        ("rest", "/book", {"token_id": token}), ("rest", "/price", {"token_id": token, "side": "BUY"}),
        ("rest", "/prices-history", {"market": token, "interval": "1d", "fidelity": "60"}),
        ("rest", "/data/trades", {"market": made["condition"], "after": "0", "next_cursor": "MA=="}),
        ("rest", "/data/orders", {"asset_id": token, "next_cursor": "MA=="}),
        ("rest", "/balance-allowance", {"asset_type": "CONDITIONAL", "token_id": token}),
        ("rest", "/notifications", {"ids": "1"}), ("rest", "/markets", {"next_cursor": "MA=="}),
        ("gamma", "/markets/keyset", {"limit": "5", "closed": "false", "after_cursor": "MA=="}),
        ("gamma", "/events/keyset", {"limit": "5", "closed": "true"}),
        ("data", "/v2/positions", {"user": user, "limit": "5", "cursor": "MA=="}),
        ("data", "/v2/trades", {"user": user, "condition_id": made["condition"]}),
        ("data", "/v2/prices-history", {"token_id": token, "interval": "1d", "bucket_seconds": "60"}),
    ]  # fmt: skip
    for _ in range(number):
        role, path, query = dice.choice(pages)
        name = dice.choice(list(query))
        changed = {**query, name: mutated(query[name], dice)[:2_000]}
        text = "&".join(f"{key}={quote(value)}" for key, value in changed.items())
        headers = auth_headers(sender.credentials, user, int(time.time()), "GET", path, None)
        async with session.get(f"{venue.urls[role]}{path}?{text}", headers=headers) as answer:
            said = await answer.read()
        assert answer.status < 500, (path, text, answer.status, said[:300])
        orjson.loads(said)
        counts[f"{path}: {answer.status}"] += 1
    return counts
