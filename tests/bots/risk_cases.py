"""Random books, positions, accounts and intents for the risk bots' tests, and what all of them have in common.

As a script (`python risk_cases.py <bot id>`) it prints the digest of a bot's answers to the seeded cases: run with
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
from hypothesis import settings
from hypothesis import strategies as st

from polytraders.bots import Bot, BotSpec, load_bot
from polytraders.engine.probe import NOW, Probe, probe
from polytraders.engine.state import LIVE, PENDING_NEW, SENT_CELLS, SENT_PERIOD
from polytraders.rows import Verdict
from polytraders.units import NS_PER_MS, NS_PER_S, ONE

MICRO = 1_000_000
CENT = 10_000
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)
STRICTNESS = {"APPROVE": 0, "RESHAPE": 1, "REJECT": 2}


def draw_case(r: random.Random, *, sound: bool = False) -> dict[str, Any]:
    """Keyword arguments of `probe`: any state an account and a market can be in; sound: with a live, deep book."""
    tick = r.choice([100, 100, 100, 10])
    grid = r.choice([g for g in (100, 10) if g <= tick])
    levels = ONE // grid
    middle, near = r.randint(2, levels - 2), r.choice([3, 8, 40])
    if sound:
        middle, near = r.randint(levels // 10, levels - levels // 10), 4

    def size() -> int:
        return r.choice([r.randint(1, 40), r.randint(1, 600), r.randint(1, 5_000)]) * MICRO + r.choice([0, CENT, 77])

    many, gap = ([6, 9], 1) if sound else ([0, 1, 3, 6, 6, 6], r.choice([1, 1, 1, 2, 9]))
    bids = [(i * grid, size()) for i in {r.randint(max(middle - near, 1), middle) for _ in range(r.choice(many))}]
    asks = [
        (i * grid, size())
        for i in {r.randint(middle + gap, middle + gap + near) for _ in range(r.choice(many))}
        if i < levels
    ]
    held = {"yes": 0, "yes_cost": 0, "no": 0, "no_cost": 0}
    for token in ("yes", "no"):
        if r.random() < 0.5:
            held[token] = r.choice([r.randint(0, 60) * MICRO, r.randint(0, 5_000) * MICRO, r.randint(0, 10**8)])
            held[token + "_cost"] = held[token] * r.randint(0, ONE) // ONE
    held["buy_reserved"] = r.choice([0, 0, r.randint(0, 40) * MICRO, r.randint(0, 2_000) * MICRO])
    scale = r.choice([1_000, 1_000, 1_000, 50_000, 1_000_000, 9_000_000]) * MICRO
    equity = max(round(scale * r.choice([r.uniform(0.8, 1.0), r.uniform(0.94, 1.0), 1.0])) - r.choice([0, 1]), 0)
    account = {
        "equity": equity if r.random() < 0.97 else -equity,
        "peak": round(scale * r.uniform(0.95, 1.2)),
        "day_peak": round(scale * r.uniform(0.95, 1.05)),
        "day_open": round(scale * r.uniform(0.95, 1.05)),
        "week_peak": round(scale * r.uniform(0.95, 1.1)),
        "cost": held["yes_cost"] + held["no_cost"] + r.choice([0, scale * r.randint(0, 300) // 1_000]),
        "reserved": held["buy_reserved"] + r.choice([0, scale * r.randint(0, 100) // 1_000]),
        "recent_submits": (sent := r.randint(0, 30_000)),
        "recent_rejects": r.randint(0, sent) if r.random() < 0.3 else 0,
        "switch": r.choice([0] * 19 + [1]),
        "halted": r.choice([0] * 19 + [4003]),
    }
    market = {"feed_up": 1 if sound else r.choice([1] * 14 + [0]), "min_size": r.choice([5, 5, 15]) * MICRO}
    outcome, price = r.randint(0, 1), (middle + r.randint(-near, near)) * grid
    price = min(max(price, 0), ONE)
    own_price = price if outcome == 0 else ONE - price
    case = {
        "bids": bids,
        "asks": asks,
        "tick": tick,
        "grid": grid,
        "age_ms": r.choice([0, 50, 400, 1_999, 2_000, 2_001, 2_999, 3_000, 3_001, 7_000, 61_000, -20]),
        "market": market,
        "position": held,
        "account": account,
        "intent": {
            "side": r.choice([0, 0, 0, 1]),
            "outcome": outcome,
            "price": own_price,
            "size": r.choice([r.randint(0, 60) * MICRO, r.randint(0, 30_000) * MICRO, r.randint(0, 10**9)]),
            "order_type": r.choice([0, 0, 0, 1, 2, 3]),
            "passive_only": r.choice([0, 1]),
        },
    }
    past = {
        name: r.choice([0, 0, r.randint(0, 10_000)]) for name in ("widest", "widest_before", "jump2", "jump2_before")
    }
    fill = {
        "last_fill_ts": r.choice([0, NOW - r.randint(-1, 12) * NS_PER_S]),
        "last_fill_price": price + r.choice([0, r.randint(-300, 300)]),
        "last_fill_side": r.randint(0, 1),
    }
    standing = {
        "opposite": r.choice([-1, min(max(own_price + r.randint(-8, 8) * tick, 0), ONE)]),
        "cluster": r.choice([0, r.randint(0, 2_000) * MICRO]),
        "replaces": r.choice([0, 0, r.randint(0, held["buy_reserved"])]),
        "fair": r.choice([0, 100 * own_price + r.randint(-30_000, 30_000)]),
    }
    fees = {"fee_rate": r.choice([0, 30_000, 72_000, 250_000]), "fee_exponent": r.choice([0, 1, 1, 2])}
    case["market"] |= past | fees
    case["position"] |= fill
    case["intent"] |= standing
    case["account"]["fills"] = r.choice([0, r.randint(0, 50_000)])
    case["market"] |= {
        "flags": r.choice([0, 0, 0, r.randint(0, 63)]),
        "group": r.choice([-1, -1, 0]),
        "end_ts": r.choice([0, 0, NOW + r.randint(-600, 7_200) * NS_PER_S]),
    }
    for part in ("account", "position"):
        case[part] |= {
            "sent_period": NOW // SENT_PERIOD - r.choice([0, 0, 0, 1, 5, 12, 13, 40]),
            "sent": [r.choice([0, 0, 1, 3, r.randint(0, 900)]) for _ in range(SENT_CELLS)],
        }
    if r.random() < 0.5:
        intent = case["intent"]
        intent |= {
            "working": r.choice([PENDING_NEW, LIVE, LIVE]),
            "working_price": intent["price"] + r.choice([0, 0, tick]),
            "working_side": r.choice([intent["side"], intent["side"], r.randint(0, 1)]),
            "working_outcome": r.choice([intent["outcome"], intent["outcome"], r.randint(0, 1)]),
            "working_size": r.choice([intent["size"], intent["size"], r.randint(0, 100) * MICRO]),
        }
    return case


def facts(r: random.Random) -> dict[int, int]:
    """Slot -> anything that CONFIG rows may have put behind a bot's parameters: small numbers, times, nonsense."""
    return {
        slot: r.choice(
            [0, 1, 2, 3, r.randint(0, 9), r.randint(0, 99), NOW + r.randint(-9_000, 900) * NS_PER_S, NOW, -1]
        )
        for slot in range(28, 32)
    }


def cases(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Hypothesis strategy of `draw_case`, by its seed: every draw is as likely as in trading, none degenerate."""
    return st.integers(0, 2**64 - 1).map(lambda seed: draw_case(random.Random(seed), **options))


def permitted(spec: BotSpec) -> st.SearchStrategy[np.ndarray]:
    """Kernel parameters: each its default, or anywhere between the safe side and its hard limit."""

    def one(p: Any) -> st.SearchStrategy[int]:
        if p.unit == "flag":
            return st.integers(0, 1)
        hard, default = p.kernel_value(p.hard), p.kernel_value(p.default)
        low, high = (p.kernel_value(p.lowest), hard) if p.direction == "max" else (hard, 10 * default)
        return st.one_of(st.just(default), st.integers(low, high), st.just(hard))

    return st.tuples(*(one(p) for p in spec.parameters)).map(
        lambda values: np.array(values + (0,) * (32 - len(values)), np.int64)
    )


def with_(case: dict[str, Any], part: str, **fields: int) -> dict[str, Any]:
    """The case with some fields of its market, position, account or intent changed."""
    return case | {part: case[part] | fields}


@cache
def bot_of(bot_id: str) -> Bot:
    """`load_bot`, once: it looks through the package's folders."""
    return load_bot(bot_id)


def judge(bot_id: str, case: dict[str, Any], params: np.ndarray) -> tuple[str, dict[str, Any]]:
    """(code, vote) of the compiled kernel."""
    return probe(**case).judge(bot_of(bot_id).decide, params)


def size_after(case: dict[str, Any], vote: dict[str, Any]) -> int:
    """Size that is left of the order, micro-shares: what the step makes of the vote."""
    size = case["intent"]["size"]
    if vote["verdict"] == "REJECT":
        return 0
    return min(size, vote["max_size"]) if vote["verdict"] == "RESHAPE" and vote["max_size"] >= 0 else size


def unchanged(x: Probe, copies: list[bytes]) -> bool:
    """True when no record but the vote differs from its copy."""
    return [r.tobytes() for r in (x.market, x.position, x.account, x.ladder, x.intent)] == copies


def writes_only_the_vote(bot_id: str, case: dict[str, Any], params: np.ndarray) -> bool:
    x = probe(**case)
    copies = [r.tobytes() for r in (x.market, x.position, x.account, x.ladder, x.intent)]
    x.judge(bot_of(bot_id).decide, params)
    return unchanged(x, copies)


def sets_no_constraint(vote: dict[str, Any]) -> bool:
    return (
        vote["max_size"] == vote["max_price"] == vote["min_price"] == -1
        and not vote["passive_only"] + vote["close_only"]
    )


def digest(bot_id: str, n: int = 1_500) -> str:
    """SHA-256 over the bot's answers to n seeded cases with seeded permitted parameters."""
    bot, r, h = bot_of(bot_id), random.Random(20_260_416), hashlib.sha256()
    for i in range(n):
        params = bot.spec.kernel_params()
        for slot, p in enumerate(bot.spec.parameters):
            if i % 3 == 0 and p.unit != "flag":
                params[slot] = r.randint(*sorted((p.kernel_value(p.hard), p.kernel_value(p.default))))
        case = draw_case(r)
        for slot, fact in facts(r).items():
            params[slot] = fact
        code, vote = probe(**case).judge(bot.decide, params)
        assert vote["verdict"] in STRICTNESS and vote["verdict"] in Verdict.__members__
        h.update(json.dumps([code, vote], sort_keys=True).encode())
    return h.hexdigest()


def plain_digest(bot_id: str) -> str:
    """`digest` in a process of its own without the compiler."""
    script = os.path.abspath(__file__)
    done = subprocess.run(
        [sys.executable, script, bot_id],
        env=os.environ | {"POLYTRADERS_JIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


AGE = NS_PER_MS
"""ns in the unit of `age_ms`."""

if __name__ == "__main__":
    np.seterr(all="raise")
    print(digest(sys.argv[1]))
