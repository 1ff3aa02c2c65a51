"""Random books and intents for the execution bots' tests, and the simulated venue to send their plans to.

As a script (`python execution_cases.py <bot id>`) it prints the digest of a bot's answers to the seeded cases: run with
POLYTRADERS_JIT=0 it is the plain-Python twin of the compiled kernel.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from typing import Any

import numpy as np
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.engine import book as bk
from polytraders.engine import matching
from polytraders.engine import state as s
from polytraders.engine.probe import NOW, Probe, probe
from polytraders.engine.rules import gtd_expiry
from polytraders.rows import ACTION, ActionKind, EventKind, OrderType
from polytraders.units import NS_PER_S, ONE, TICKS_PIPS

MICRO = 1_000_000
CENT = 10_000


def draw_case(r: random.Random, *, whole: bool = False, taking: bool = False) -> dict[str, Any]:
    """Keyword arguments of `probe`. whole: only sizes in 0.01 share. taking: a fresh book and an intent that may take,
    at a price that mostly crosses."""
    tick = r.choice(TICKS_PIPS)
    grid = r.choice([g for g in TICKS_PIPS if g <= tick and tick % g == 0])
    levels = ONE // grid
    middle = r.choice([r.randint(1, levels - 1), *(r.randint(levels // 4, 3 * levels // 4) for _ in range(3))])

    def size() -> int:
        micro = r.choice([0, r.randint(1, 50), r.randint(1, 3_000)]) * MICRO + r.randint(1, 99) * CENT
        return micro if whole or r.random() < 0.5 else micro + r.randint(1, CENT - 1)

    near, many = r.choice([3, 6, 10, levels]), [0, 1, 2, 4, 6, 6, 8, 8, 8, 8, 8, 8]
    bids = [
        (i * grid, size())
        for i in {r.randint(max(middle - near, 1), middle) for _ in range(r.choice(many))}
        if i * grid < ONE
    ]
    asks = [
        (i * grid, size())
        for i in {r.randint(middle + 1, middle + near) for _ in range(r.choice(many))}
        if i * grid < ONE
    ]
    price = (middle + r.choice([r.randint(-near, near), 0, 4, -4])) * grid + r.choice([0, 0, 0, r.randint(-9, 9)])
    price = r.randint(0, ONE) if r.random() < 0.1 else min(max(price, 0), ONE)
    outcome = r.randint(0, 1)
    case = {
        "bids": bids,
        "asks": asks,
        "tick": tick,
        "grid": grid,
        "age_ms": r.choice([0, 0, 0, 1_999, 2_000, 2_001, 60_000]),
        "market": {
            "fee_rate": r.choice([0, 30_000, 72_000, 250_000, 72_000, -1]),
            "fee_exponent": r.choice([0, 1, 1, 2, 1, 3]),
            "rebate_rate": r.choice([0, 200_000, 250_000]),
            "feed_up": r.choice([1] * 9 + [0]),
        },
        "position": {
            "yes": r.choice([0, 400 * MICRO + 12_345]),
            "yes_reserved": r.choice([0, 0, 10 * MICRO]) if r.random() < 0.5 else 0,
            "no": r.choice([0, 300 * MICRO]),
        },
        "intent": {
            "side": r.randint(0, 1),
            "outcome": outcome,
            "price": price if outcome == 0 else ONE - price,
            "size": r.choice(
                [r.randint(0, 20 * MICRO), *(r.randint(0, 4_000) * MICRO for _ in range(3)), r.randint(0, 10**10)]
            ),
            "order_type": r.choice([0, 0, 0, 1, 2, 3]),
            "passive_only": r.choice([0, 0, 0, 1]),
            "reduce_only": r.choice([0, 0, 0, 0, 0, 1]),
            "max_slippage_bps": r.choice([0, 0, 0, 20, 150, 1_000]),
        },
    }
    if not taking:
        return case
    buys_yes = case["intent"]["side"] == outcome
    inside = middle * grid + r.choice([0, 1, 2, near]) * (1 if buys_yes else -1) * grid
    inside = min(max(inside, 0), ONE)
    price = {"price": inside if outcome == 0 else ONE - inside}
    return with_intent(fresh(case), passive_only=0, reduce_only=0, **price)


def cases(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Hypothesis strategy of `draw_case`, by its seed: every draw is as likely as in trading, none degenerate."""
    return st.integers(0, 2**64 - 1).map(lambda seed: draw_case(random.Random(seed), **options))


def fresh(case: dict[str, Any]) -> dict[str, Any]:
    """The same case with a live feed, a new book and a usable fee schedule."""
    market = case["market"] | {"feed_up": 1}
    market["fee_rate"] = max(market["fee_rate"], 0)
    market["fee_exponent"] = min(market["fee_exponent"], 2)
    return case | {"age_ms": 0, "market": market}


def with_intent(case: dict[str, Any], **fields: int) -> dict[str, Any]:
    return case | {"intent": case["intent"] | fields}


class SimulatedVenue:
    """One market of the simulated venue with the probe's book and rules, and money and shares to spare."""

    def __init__(self, x: Probe) -> None:
        markets = s.records(s.MARKET, 1)
        markets[0] = x.market
        self.levels = int(x.market.levels)
        self.venue = matching.new_venue(
            markets,
            len(x.ladder),
            10**15,
            entry_latency=0,
            response_latency=0,
            queue_model="risk_averse",
            power=1,
            partial_fills=True,
        )
        self.venue.book[:] = x.ladder
        self.venue.positions[0].yes = self.venue.positions[0].no = 10**13
        self.sent = 0

    def send(self, intent: Any, price: int, size: int, order_type: int, flags: int) -> list[Any]:
        """Send one order; the venue's answers to it."""
        self.sent += 1
        action = s.records(ACTION, 1)[0]
        action.ts, action.kind, action.order_id, action.market = NOW, ActionKind.SUBMIT, self.sent, 0
        action.outcome, action.side = intent.outcome, intent.side
        action.price, action.size, action.order_type, action.flags = price, size, order_type, flags
        action.expiry = gtd_expiry(NOW, 600 * NS_PER_S) if order_type == OrderType.GTD else 0
        core = self.venue.core[0]
        before = int(core.answers_tail)
        self.venue.actions[core.actions_tail] = action
        core.actions_tail += 1
        matching.arrive(self.venue)
        answers = self.venue.answers[before : int(core.answers_tail)].copy()
        # the tape of these tests has no next message: what the order took leaves the venue's book here
        for row in answers[answers["kind"] == EventKind.FILL_CONFIRMED]:
            yes_price = row["price"] if intent.outcome == 0 else ONE - row["price"]
            level = int(yes_price) // int(self.venue.markets[0].grid)
            takes_asks = intent.side == intent.outcome
            self.venue.book[(self.levels if takes_asks else 0) + level] -= row["size"]
        return list(answers)

    def refresh(self) -> None:
        """Best levels after what was taken."""
        market, book = self.venue.markets[0], self.venue.book
        bids, asks = np.flatnonzero(book[: self.levels]), np.flatnonzero(book[self.levels :])
        market.best[:] = bids[-1] if len(bids) else bk.NO_BID, -asks[0] if len(asks) else bk.NO_ASK


def rejected(answers: list[Any]) -> list[int]:
    """Reason-code numbers of the refusals among the venue's answers."""
    return [int(row["size"]) for row in answers if row["kind"] == EventKind.ORDER_REJECT]


def digest(bot_id: str, n: int = 1_000) -> str:
    """SHA-256 over the bot's answers to n seeded cases, extreme ones among them."""
    bot, r, h = load_bot(bot_id), random.Random(20_260_416), hashlib.sha256()
    params = bot.spec.kernel_params()
    for i in range(n):
        case = draw_case(r)
        if i % 50 == 0:
            case = with_intent(
                case, size=r.choice([-7, 10**12, 10**15, 9 * 10**18]), price=r.choice([0, 1, ONE, -5, 20_000])
            )
        code, plan = probe(**case).shape(bot.decide, params)
        h.update(json.dumps([code, plan], sort_keys=True).encode())
    return h.hexdigest()


if __name__ == "__main__":
    np.seterr(all="raise")
    print(digest(sys.argv[1]))
