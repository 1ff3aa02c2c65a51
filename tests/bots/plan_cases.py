"""Random working orders and plans for the execution bots behind the router, and what holds for each of them.

As a script (`python plan_cases.py <bot id>`) it prints the digest of a bot's answers to the seeded cases: run with
POLYTRADERS_JIT=0 it is the plain-Python twin of the compiled kernel.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from polytraders.bots import Bot, BotSpec, load_bot
from polytraders.engine.probe import NOW, Probe, probe
from polytraders.rows import POST_ONLY, OrderType, Outcome, Side
from polytraders.units import CENT_SHARE, NS_PER_MS, NS_PER_S, ONE

MICRO = 1_000_000
Order = tuple[int, int, int, int]
"""(price in pips, micro-shares, order type, flags)."""


def draw_case(r: random.Random) -> dict[str, Any]:
    """Keyword arguments of `probe`: a market, an intent, a plan within it, and mostly an order that works already."""
    tick = r.choice([100, 100, 10, 10, 1])
    grid = r.choice([g for g in (100, 10, 1) if g <= tick])
    levels = ONE // tick
    middle = r.randint(levels // 5, 4 * levels // 5)

    def size() -> int:
        return r.choice([0, r.randint(1, 900), r.randint(1, 20)]) * MICRO + r.randint(1, 99) * CENT_SHARE

    bids = [((middle - k) * tick, size()) for k in range(r.choice([0, 1, 4, 4, 4]))]
    asks = [((middle + k) * tick, size()) for k in range(1, 1 + r.choice([0, 1, 4, 4, 4]))]
    outcome, side = r.randint(0, 1), r.randint(0, 1)
    below = side == outcome  # it stands among the bids of YES
    yes_price = (middle - r.choice([-1, 0, 0, 1, 3]) if below else middle + r.choice([0, 1, 1, 2, 4])) * tick
    price = yes_price if outcome == Outcome.YES else ONE - yes_price
    wanted = r.choice([r.randint(5, 60), r.randint(5, 2_000)]) * MICRO + r.randint(0, 99) * CENT_SHARE
    rests = (price, wanted, int(r.choice([OrderType.GTC, OrderType.GTC, OrderType.GTD])), POST_ONLY)
    plan: list[Order] = [rests]
    if (kind := r.random()) < 0.08:
        plan = []
    elif kind < 0.16:
        plan = [(price, wanted, int(r.choice([OrderType.FAK, OrderType.FOK])), 0)]
    elif kind < 0.24:
        first = wanted // 2 // CENT_SHARE * CENT_SHARE
        plan = [(price, first, int(OrderType.FAK), 0), (price, wanted - first, int(OrderType.GTC), POST_ONLY)]
    working_price = price + r.choice([-5, -2, -1, 0, 0, 0, 1, 2, 5]) * tick
    working_size = r.choice([wanted, wanted, wanted // 2, wanted + MICRO, r.randint(1, 3_000) * CENT_SHARE])
    held = {
        token: r.choice([0, 0, r.randint(1, 700) * CENT_SHARE, wanted + r.randint(0, 900) * CENT_SHARE])
        for token in ("yes", "no")
    }
    age = r.choice([50, 400, 600, 5_000, 31_000, 700_000, 90_000_000])
    return {
        "bids": bids,
        "asks": asks,
        "tick": tick,
        "grid": grid,
        "market": {
            "min_size": r.choice([5, 5, 15]) * MICRO,
            "volume_24h": r.choice([0, r.randint(0, 10**9), r.randint(0, 10**12)]),
            "flow_state": r.choice([0, 0, 0, 1, 2]),
            "feed_up": r.choice([1] * 9 + [0]),
        },
        "features": {"TOXICITY": r.choice([0.0, 0.2, 0.9]), "FLOW": r.choice([-50.0, -1.0, 0.0, 1.0, 50.0])},
        "position": held
        | {
            "yes_reserved": min(held["yes"], r.choice([0, 0, 5 * MICRO])),
            "no_reserved": min(held["no"], r.choice([0, 0, 5 * MICRO])),
            "last_fill_ts": r.choice([0, NOW, NOW - 3 * NS_PER_S, NOW - 300 * NS_PER_S]),
            "last_fill_price": min(max(yes_price + r.choice([-400, -100, 0, 100, 400]), 0), ONE),
            "last_fill_side": r.randint(0, 1),
            "last_fill_size": 5 * MICRO,
        },
        "account": {"recent_submits": r.choice([0, 5_000, 11_999_999, 12_000_000, 90_000_000])},
        "intent": {
            "side": side,
            "outcome": outcome,
            "price": price,
            "size": wanted + r.choice([0, 3 * MICRO]),
            "passive_only": r.randint(0, 1),
            "reduce_only": r.choice([0, 0, 1]),
            "ttl": 60 * NS_PER_S,
            "working": r.choice([0, 1, 2, 2, 2, 2]),
            "working_price": min(max(working_price, tick), ONE - tick),
            "working_outcome": outcome if r.random() < 0.9 else 1 - outcome,
            "working_side": side if r.random() < 0.9 else 1 - side,
            "working_size": working_size,
            "working_filled": r.choice([0, 0, 3 * MICRO]),
            "working_ts": NOW - age * NS_PER_MS,
            "working_ahead": r.choice([0, 10 * MICRO, 400 * MICRO]),
            "leaving": r.choice([0, 0, 0, 1, 2]),
            "leaving_ts": NOW - r.choice([60, 900, 40_000]) * NS_PER_MS,
        },
        "plan": plan,
    }


def cases() -> st.SearchStrategy[dict[str, Any]]:
    """Hypothesis strategy of `draw_case`, by its seed: every draw is as likely as in trading, none degenerate."""
    return st.integers(0, 2**64 - 1).map(lambda seed: draw_case(random.Random(seed)))


def permitted(spec: BotSpec) -> st.SearchStrategy[np.ndarray]:
    """Kernel parameters: each its default, or anywhere between the safe side and its hard limit."""

    def one(p: Any) -> st.SearchStrategy[int]:
        if p.unit == "flag":
            return st.integers(0, 1)
        hard, default = p.kernel_value(p.hard), p.kernel_value(p.default)
        most = p.kernel_value(p.highest) if p.highest is not None else 10 * default
        low, high = (p.kernel_value(p.lowest), hard) if p.direction == "max" else (hard, most)
        return st.one_of(st.just(default), st.integers(low, high), st.just(hard))

    return st.tuples(*(one(p) for p in spec.parameters)).map(
        lambda values: np.array(values + (0,) * (32 - len(values)), np.int64)
    )


@cache
def bot_of(bot_id: str) -> Bot:
    """`load_bot`, once: it looks through the package's folders."""
    return load_bot(bot_id)


def orders(x: Probe) -> list[Order]:
    """The plan as it stands."""
    return [tuple(int(x.plan[f][k]) for f in ("price", "size", "order_type", "flags")) for k in range(x.plan.n)]


def decided(bot_id: str, case: dict[str, Any], params: np.ndarray) -> tuple[str, list[Order], Probe]:
    """(code, the plan's orders afterwards, the probe) of the compiled kernel."""
    x = probe(**case)
    code, _ = x.shape(bot_of(bot_id).decide, params)
    return code, orders(x), x


def no_worse(side: int, price: int, limit: int) -> bool:
    """True when `price` is at least as good to us as `limit`."""
    return price <= limit if side == Side.BUY else price >= limit


def only_narrows(bot_id: str, case: dict[str, Any], params: np.ndarray) -> tuple[str, list[Order]]:
    """What holds for every bot behind the router: orders leave the plan, shrink or step back, and nothing else."""
    code, after, x = decided(bot_id, case, params)
    untouched = probe(**case)
    for name in ("intent", "market", "position", "account", "ladder"):
        assert getattr(x, name).tobytes() == getattr(untouched, name).tobytes(), name
    assert code in bot_of(bot_id).spec.reason_codes
    left = list(case["plan"])
    for price, size, order_type, flags in after:  # each is one of the planned orders, narrowed; the order of them stays
        while left and left[0][2:] != (order_type, flags):
            left.pop(0)
        assert left, (code, after)
        planned = left.pop(0)
        assert 0 < size <= planned[1] or size == planned[1]
        assert no_worse(case["intent"]["side"], price, planned[0])
    return code, after


def decides_the_same_again(bot_id: str, case: dict[str, Any], params: np.ndarray) -> None:
    """Handed its own plan, the bot leaves it as it is."""
    _, first, _ = decided(bot_id, case, params)
    _, second, _ = decided(bot_id, case | {"plan": first}, params)
    assert second == first


def is_working(case: dict[str, Any], order: Order) -> bool:
    """True when this planned order is the working one: the step then sends nothing."""
    i = case["intent"]
    ours = i["working"] and i["working_outcome"] == i["outcome"] and i["working_side"] == i["side"]
    return bool(ours) and order[0] == i["working_price"] and order[1] == i["working_size"]


def mirrored(case: dict[str, Any]) -> dict[str, Any]:
    """The same case seen from the other token: books, prices, holdings and flow swapped; own-token numbers stay."""

    def turn(side: str) -> list[tuple[int, int]]:
        return [(ONE - price, size) for price, size in case[side]]

    i, held = case["intent"], case["position"]
    swapped = {
        "yes": held["no"],
        "no": held["yes"],
        "yes_reserved": held["no_reserved"],
        "no_reserved": held["yes_reserved"],
        "last_fill_price": ONE - held["last_fill_price"],
        "last_fill_side": 1 - held["last_fill_side"],
    }
    return case | {
        "bids": turn("asks"),
        "asks": turn("bids"),
        "position": held | swapped,
        "features": case["features"] | {"FLOW": -case["features"]["FLOW"]},
        "intent": i | {"outcome": 1 - i["outcome"], "working_outcome": 1 - i["working_outcome"]},
    }


def digest(bot_id: str, n: int = 1_500) -> str:
    """SHA-256 over the bot's answers to n seeded cases with seeded permitted parameters."""
    bot, r, h = bot_of(bot_id), random.Random(20_260_416), hashlib.sha256()
    for i in range(n):
        params = bot.spec.kernel_params()
        for slot, p in enumerate(bot.spec.parameters):
            if i % 3 == 0 and p.unit != "flag":
                params[slot] = r.randint(*sorted((p.kernel_value(p.hard), p.kernel_value(p.default))))
        code, plan = probe(**draw_case(r)).shape(bot.decide, params)
        h.update(json.dumps([code, plan], sort_keys=True).encode())
    return h.hexdigest()


def plain_digest(bot_id: str) -> str:
    """`digest` in a process of its own without the compiler."""
    done = subprocess.run(
        [sys.executable, os.path.abspath(__file__), bot_id],
        env=os.environ | {"POLYTRADERS_JIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


if __name__ == "__main__":
    np.seterr(all="raise")
    print(digest(sys.argv[1]))
