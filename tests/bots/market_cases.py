"""Random markets and tapes for the tests of sensors, scanner and maker.

As a script (`python market_cases.py <bot id>`) it prints the digest of a bot's answers to the seeded cases: run with
POLYTRADERS_JIT=0 it is the plain-Python twin of the compiled kernel.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.engine.probe import NOW, Probe, probe
from polytraders.rows import Status
from polytraders.units import NS_PER_MS, NS_PER_S, ONE, TICKS_PIPS

MICRO = 1_000_000
CENT = 10_000
LIVE = {"candidate": 1, "volume_24h": 10_000 * MICRO, "trade_ts": NOW}
"""A market of which the scanner and the maker have nothing to complain."""


def draw_book(r: random.Random, tick: int, grid: int, *, near: int = 0) -> dict[str, Any]:
    """Bids and asks that do not cross, on the tick; one side may be missing. near: ticks from the middle at most."""
    levels = ONE // tick
    near = near or r.choice([2, 4, 20])
    middle, gap = r.randint(1, levels - 2), r.choice([1, 1, 1, 2, 3, r.randint(1, near)])

    def size() -> int:
        return r.choice([r.randint(1, 30), r.randint(1, 3_000)]) * MICRO + r.choice([0, CENT, 77])

    def side(low: int, high: int, first: int) -> list[tuple[int, int]]:
        chosen = {first, *(r.randint(low, high) for _ in range(r.choice([0, 2, 6])))}
        return [(i * tick, size()) for i in sorted(chosen) if 1 <= i <= levels - 1]

    bids = side(middle - near, middle, middle)
    asks = side(middle + gap, middle + gap + near, middle + gap)
    missing = r.random()
    return {
        "bids": [] if missing < 0.03 else bids,
        "asks": [] if 0.03 <= missing < 0.06 else asks,
        "tick": tick,
        "grid": grid,
    }


def draw_case(r: random.Random, *, sound: bool = False) -> dict[str, Any]:
    """Keyword arguments of `probe`: any state of a market and a position. sound: nothing forbids to quote."""
    tick = r.choice([100, 100, 100, 10, 10, *TICKS_PIPS])
    grid = r.choice([g for g in TICKS_PIPS if g <= tick and tick % g == 0])
    held = {}
    for token in ("yes", "no"):
        shares = r.choice([0, 0, r.randint(0, 60) * MICRO, r.randint(0, 60 * MICRO), r.randint(0, 10**10)])
        held |= {token: shares, token + "_reserved": r.choice([0, shares, r.randint(0, shares)])}
    market = LIVE | {
        "min_size": r.choice([0, 5, 5, 5, 15, 100]) * MICRO,
        "fee_rate": r.choice([0, 30_000, 72_000, 250_000]),
        "fee_exponent": r.choice([0, 1, 1, 2]),
        "rebate_rate": r.choice([0, 200_000, 250_000]),
        "end_ts": r.choice([0, 0, NOW + 3_600 * NS_PER_S]),
        "group": r.choice([-1, 0]),
    }
    features = {"TOXICITY": r.choice([0.0, r.random() / 4])}
    case = draw_book(r, tick, grid) | {"market": market, "position": held, "features": features}
    if sound:
        return case
    market |= {
        "status": r.choice([Status.OPEN] * 12 + list(Status)),
        "candidate": r.choice([1] * 9 + [0]),
        "feed_up": r.choice([1] * 14 + [0]),
        "volume_24h": r.choice([10**10, 10**13, r.randint(0, 10**9)]),
        "trade_ts": r.choice([NOW, NOW, NOW - r.randint(0, 2 * 10**12), 0]),
        "end_ts": r.choice([0, 0, 0, NOW + r.randint(-60, 120) * NS_PER_S]),
        "flow_state": r.choice([0] * 9 + [1, 2]),
        "buy_volume": r.choice([0, r.randint(0, 5_000) * MICRO]),
        "sell_volume": r.choice([0, r.randint(0, 5_000) * MICRO]),
        "n_trades": r.randint(0, 9),
        "prev_now": r.choice([0, NOW - r.randint(0, 60 * NS_PER_S)]),
    }
    features["TOXICITY"] = r.choice([0.0, r.random(), r.random(), 1.0, -0.1, 1.5])
    return case | {"age_ms": r.choice([0, 0, 0, 100, 1_999, 2_000, 2_001, 3_001, 60_000, -5])}


def cases(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Hypothesis strategy of `draw_case`, by its seed: every draw is as likely as in trading, none degenerate."""
    return st.integers(0, 2**64 - 1).map(lambda seed: draw_case(random.Random(seed), **options))


def mirrored(case: dict[str, Any]) -> dict[str, Any]:
    """The same market seen by its NO token: bids become asks, buying becomes selling, YES becomes NO."""
    swap = {"yes": "no", "no": "yes", "buy_volume": "sell_volume", "sell_volume": "buy_volume"}

    def swapped(fields: dict[str, int]) -> dict[str, int]:
        names = {f"{a}{end}": f"{b}{end}" for a, b in swap.items() for end in ("", "_reserved")}
        return {names.get(name, name): value for name, value in fields.items()}

    flipped = {
        "bids": [(ONE - price, size) for price, size in case["asks"]],
        "asks": [(ONE - price, size) for price, size in case["bids"]],
    }
    return case | flipped | {part: swapped(case[part]) for part in ("market", "position") if part in case}


def set_book(p: Probe, book: dict[str, Any]) -> None:
    """Put another book into a probe's market, as the step would before a decision."""
    m, fresh = p.market, probe(book["bids"], book["asks"], tick=book["tick"], grid=book["grid"])
    p.ladder[:] = fresh.ladder
    for field in ("bid_level", "ask_level", "best_bid", "best_ask", "bid_size", "ask_size"):
        m[field] = fresh.market[field]


def draw_sequence(r: random.Random, n: int = 25) -> list[dict[str, Any]]:
    """n consecutive states of one market: books that wander, trades that come and go, decisions some time apart."""
    tick = r.choice([100, 100, 10])
    now, steps = NOW, []
    for _ in range(n):
        since = now
        now += r.choice([0, NS_PER_S // 10, NS_PER_S // 10, r.randint(0, 30 * NS_PER_S)])
        bought, sold = (r.choice([0, 0, r.randint(0, 400) * MICRO, r.randint(0, 10**10)]) for _ in range(2))
        steps.append(
            draw_book(r, tick, 10, near=4)
            | {
                "now": now,
                "prev_now": since if steps else 0,
                "book_ts": now - r.choice([0, 0, 0, 0, 2_000, 4_000]) * NS_PER_MS,
                "feed_up": r.choice([1] * 19 + [0]),
                "buy_volume": bought,
                "sell_volume": sold,
                "n_trades": r.randint(1, 9) if bought + sold else 0,
            }
        )
    return steps


def play(p: Probe, steps: list[dict[str, Any]]) -> Any:
    """Set a probe's market to each state in turn; yields after each."""
    for step in steps:
        set_book(p, step)
        for field in ("now", "prev_now", "book_ts", "feed_up", "buy_volume", "sell_volume", "n_trades"):
            p.market[field] = step[field]
        yield p


def start_of(steps: list[dict[str, Any]], **market: int) -> Probe:
    """A probe on the geometry of the first state."""
    return probe(steps[0]["bids"], steps[0]["asks"], tick=steps[0]["tick"], grid=steps[0]["grid"], market=LIVE | market)


def draw_params(r: random.Random, spec: Any, i: int) -> np.ndarray:
    """The defaults, and in every third case each parameter anywhere between its default and its hard limit."""
    params = spec.kernel_params()
    for slot, p in enumerate(spec.parameters):
        if i % 3 == 0 and p.unit != "flag":
            params[slot] = r.randint(*sorted((p.kernel_value(p.hard), p.kernel_value(p.default))))
    return params


def digest(bot_id: str, n: int = 1_200) -> str:
    """SHA-256 over all that the bot writes in n seeded cases and in 60 sequences of decisions."""
    bot, r, h = load_bot(bot_id), random.Random(20_260_413), hashlib.sha256()

    def ask(p: Probe, params: np.ndarray) -> None:
        answer = p.propose(bot.decide, params) if bot.family == "strat" else p.sense(bot.decide, params)
        h.update(repr(answer).encode() + p.market.tobytes() + p.targets.tobytes() + p.memory.tobytes())

    for i in range(n):
        ask(probe(**draw_case(r)), draw_params(r, bot.spec, i))
    for i in range(60):
        steps, params = draw_sequence(r), draw_params(r, bot.spec, i)
        for p in play(start_of(steps, group=r.choice([-1, 0])), steps):
            ask(p, params)
    return h.hexdigest()


def plain_digest(bot_id: str) -> str:
    """`digest` in a process of its own without the compiler, where an overflow is an error."""
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
