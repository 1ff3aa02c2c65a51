"""REST bodies of Gamma and the CLOB that are wrong: each is read whole or refused with its code."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import orjson

from bench.fuzz.frames import ENV
from bench.fuzz.mutate import mutated
from polytraders.data.signals import Price, read_price
from polytraders.venue.polymarket import rules
from polytraders.venue.polymarket.discovery import Found, Wanted, find, read_market
from polytraders.venue.refusal import Refused


def gamma(number: int, **more: Any) -> dict[str, Any]:
    """A market's record at Gamma."""
    tokens = [str(10**60 + 2 * number), str(10**60 + 2 * number + 1)]
    return {
        "id": str(number), "version": "v1", "slug": f"m-{number}", "conditionId": "0x" + f"{number:064x}",
        "question": "?", "active": True, "closed": False, "acceptingOrders": True, "enableOrderBook": True,
        "negRisk": False, "endDate": "2026-12-31T00:00:00Z", "outcomes": '["Yes", "No"]',
        "outcomePrices": '["0.5", "0.5"]', "clobTokenIds": orjson.dumps(tokens).decode(), "orderMinSize": 5,
        "orderPriceMinTickSize": 0.01, "feesEnabled": True, "volumeNum": 100.0 * number,
        "feeSchedule": {"exponent": 1, "rate": 0.04, "takerOnly": True, "rebateRate": 0.25},
    } | more  # fmt: skip


def clob(record: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The same market at the CLOB."""
    tokens = [{"t": token, "o": name} for token, name in zip(orjson.loads(record["clobTokenIds"]), "YN", strict=True)]
    base = {"c": record["conditionId"], "t": tokens, "mts": 0.01, "mos": 5, "ao": True, "fd": {"r": 0.05, "e": 1}}
    return base | more


def bodies(number: int, seed: int) -> Counter[str]:
    """Changed REST bodies: each is read or refused, and what is read is whole."""
    dice, outcomes = random.Random(seed), Counter()
    record = gamma(1)
    found = read_market(record)
    price = {"topic": "crypto_prices_chainlink", "type": "update", "timestamp": 1761765904946, "payload": {
        "full_accuracy_value": "110941221874000000000000", "symbol": "btc/usd", "timestamp": 1761765904000,
        "value": 110941.221874}}  # fmt: skip
    for _ in range(number):
        which = dice.choice(("gamma", "clob", "page", "event", "price"))
        base = {"gamma": record, "clob": clob(record), "page": {"markets": [record], "next_cursor": "x"},
                "event": {"id": "7", "markets": [record]}, "price": price}[which]  # fmt: skip
        try:
            told = orjson.loads(mutated(base, dice))
        except orjson.JSONDecodeError:
            outcomes["no JSON"] += 1
            continue
        try:
            if which == "gamma":
                _whole(read_market(told))
            elif which == "clob":
                info = rules.combine(found, told).info
                assert (info.condition_id, info.yes_token) == (found.facts.condition, found.facts.tokens[0])
                assert info.tick > 0 and 10_000 % info.tick == 0 and info.min_size >= 0 and 0 <= info.fee_rate <= 10**6
            elif which == "price":
                answer = read_price(told) if isinstance(told, dict) else None
                assert answer is None or (isinstance(answer, Price) and 0 <= answer.value < 2**62)
            else:
                wanted = Wanted(events=("e",)) if which == "event" else Wanted()
                for one in run_once(find(ENV, wanted, Once(told))):
                    _whole(one)
            outcomes[f"{which}: read"] += 1
        except Refused as error:
            outcomes[f"{which}: {error.code}"] += 1
        except (ValueError, TypeError, KeyError) as error:
            assert which == "price", (which, told, error)  # its caller counts them
            outcomes["price: malformed"] += 1
    return outcomes


def _whole(found: Found) -> None:
    tokens = found.facts.tokens
    assert len(tokens) == 2 and tokens[0] != tokens[1] and all(0 <= int(token) < 2**256 for token in tokens)
    assert found.refused or len(found.facts.condition) == 66


class Once:
    """The same answer to everything, and after it an empty page."""

    def __init__(self, told: Any):
        self.told, self.asked = told, 0

    async def json(self, url: str, body: Any = None, **query: Any) -> Any:
        self.asked += 1
        return self.told if self.asked == 1 else {"markets": []}


def run_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")
