"""The eight ways in which an account may not trade, each with its own code, its own words, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from ports import FAST, Heard, credentials, environment, info, make_guard, make_port, submit, test_key

from polytraders.config import DEMO_BUILDER_CODE
from polytraders.reasons import REGISTRY
from polytraders.rows import ACTION
from polytraders.venue.doctor import examine
from polytraders.venue.orders import AMOY, Key, SignatureType, account, load_key
from polytraders.venue.orders import exchange as domain
from polytraders.venue.polymarket import hosts
from polytraders.venue.polymarket.port import PolymarketPort
from polytraders.venue.refusal import Refused
from polytraders.venue.visit import TEST_KEY

Said = tuple[str, str, str]
"""(code, message, mend)."""


def of(error: Refused) -> Said:
    return error.code, error.what, error.mend


def bad_key(venue) -> Said:
    try:
        load_key({"POLYTRADERS_KEY": "0x1234"})
    except Refused as error:
        return of(error)
    raise AssertionError("a key of two bytes was taken")


def start(port: PolymarketPort) -> Said:
    """What a run is told that begins with this port."""

    async def work() -> Said:
        try:
            await port.start(Heard())
        except Refused as error:
            return of(error)
        finally:
            await port.stop()
        raise AssertionError("it began")

    return asyncio.run(work())


def wrong_chain(venue) -> Said:
    key = test_key("eight-chain")
    made = venue.market("eight-chain")
    where, owner = environment(venue.urls), account(key.address, 0, AMOY)
    known = credentials(venue.urls, key)
    return start(PolymarketPort(where, [info(made, "x")], make_guard(key, owner), known, DEMO_BUILDER_CODE, FAST))


def unknown_market(venue) -> Said:
    nobody = {"condition": "0x" + "ab" * 32, "yes": str(10**70), "no": str(10**70 + 1)}
    return start(make_port(venue, "eight-unknown", [info(nobody, "no-such-market")]))


def doctor(venue, check: str, *switch: str, **body) -> Said:
    """A line of `polytraders doctor` while a switch of the venue is turned."""
    venue.admin(*switch, **body)
    env = hosts.local(venue.urls)
    found = {c.name: c for c in asyncio.run(examine(env, SignatureType.EOA, Path.cwd()))}
    line = found[check]
    assert not line.good
    return line.code, line.what, str(line.as_dict()["mend"])


ADDRESS = Key(TEST_KEY).address


def missing_allowance(venue) -> Said:
    both = {domain(137, neg_risk).contract: "0" for neg_risk in (False, True)}
    try:
        return doctor(venue, "allowance", f"/accounts/{ADDRESS}", allowances=both)
    finally:
        venue.admin(f"/accounts/{ADDRESS}", allowances=dict.fromkeys(both, "1000000"))


def closed_only(venue) -> Said:
    try:
        return doctor(venue, "account", f"/accounts/{ADDRESS}", closed_only=True)
    finally:
        venue.admin(f"/accounts/{ADDRESS}", closed_only=False)


def geoblock(venue) -> Said:
    try:
        return doctor(venue, "geoblock", "/geoblock", blocked=True, country="FR", region="IDF")
    finally:
        venue.admin("/geoblock", blocked=False)


def order(venue, name: str, price: str, size: str) -> Said:
    """What the port says of an order before it would be signed."""
    port = make_port(venue, name, [info(venue.market(name), name)])
    (request,) = port.prepare(np.array([submit(0, "BUY", price, size)], ACTION), 1_790_000_000_000_000_000)
    asyncio.run(port.stop())
    assert not request.body
    return request.refused, request.why.splitlines()[0], request.why.partition("mend: ")[2]


TABLE: dict[str, tuple[str, str, Callable[[SimpleNamespace], Said]]] = {
    "bad key": ("SEC_KEY_UNUSABLE", "not a private key", bad_key),
    "wrong chain": ("SEC_WRONG_CHAIN", "chain 80002", wrong_chain),
    "missing allowance": ("SEC_ALLOWANCE_MISSING", "may not move", missing_allowance),
    "closed-only account": ("SEC_CLOSED_ONLY", "only close positions", closed_only),
    "geoblock": ("SEC_GEOBLOCKED", "FR-IDF", geoblock),
    "unknown market": ("EXEC_MARKET_UNKNOWN", "no-such-market", unknown_market),
    "off-tick price": ("EXEC_OFF_TICK", "0.485", lambda venue: order(venue, "eight-tick", "0.485", "10")),
    "too small size": ("EXEC_BELOW_MIN_SIZE", "4.99", lambda venue: order(venue, "eight-size", "0.48", "4.99")),
}


def test_each_of_the_eight_has_its_own_code_words_and_mend(venue):
    said = {name: cause(venue) for name, (_, _, cause) in TABLE.items()}
    for name, (code, words, _) in TABLE.items():
        told, what, mend = said[name]
        assert (told, words in what) == (code, True), (name, said[name])
        assert mend.strip() and "\n" not in what.strip(), (name, said[name])
        assert REGISTRY[code].meaning
    assert len({code for code, _, _ in said.values()}) == len({what for _, what, _ in said.values()}) == 8
