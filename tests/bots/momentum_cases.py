"""Random markets, positions and memories for the momentum strategy.

As a script it prints the digest of the bot's answers to seeded cases: run with POLYTRADERS_JIT=0 it is the plain-Python
twin of the compiled kernel.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from typing import Any

import market_cases as mc
import numpy as np
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.strategies import momentum as mo
from polytraders.units import NS_PER_MS, NS_PER_S, ONE

MS = NOW // NS_PER_MS
SHORT = {"exit_before_end_s": 30, "continuation": 1}
"""Parameters with which it speaks on markets that live for minutes."""


def draw_case(r: random.Random, *, sound: bool = False) -> dict[str, Any]:
    """Keyword arguments of `probe`: any book, trend, position and history. sound: nothing forbids to trade."""
    case = mc.draw_case(r, sound=sound)
    middle2 = sum(int(case[side][pick][0]) for side, pick in (("bids", -1), ("asks", 0)) if case[side])
    path = r.choice([0.0, r.uniform(0, 300), r.uniform(300, 4_000)])
    move = path * r.choice([-1.0, 1.0, r.uniform(-1, 1)])
    volume = r.choice([0.0, r.uniform(1, 5_000)])
    watched = r.choice([60_000, 60_000, 60_000, r.randint(0, 60_000)])
    seen = r.choice([0, 0, 100, 30_001, -100])

    def ago() -> int:
        return r.choice([0, 0, MS, MS - r.randint(0, 2_000), MS - r.randint(0, 120_000)])

    memory = [MS - watched, MS - seen, middle2 + r.choice([0, 0, 100]), move, path, ago(), ago(), ago()]
    if r.random() < 0.05:
        memory = [0.0] * 8
    held = case["position"]
    for token in ("yes", "no"):
        if r.random() < 0.5:
            held |= {token: 0, token + "_reserved": 0}
        held[token + "_cost"] = held[token] * r.randint(0, ONE) // ONE
        held[token + "_unsettled"] = r.choice([0, 0, r.randint(0, held[token + "_reserved"])])
    if r.random() < 0.5:
        held |= {name: 0 for name in held}
    held["last_fill_ts"] = r.choice([0, 0, NOW - r.randint(0, 120) * NS_PER_S])
    held["buy_reserved"] = r.choice([0, 0, 5_000_000])
    case["features"] |= {"FLOW": volume * r.uniform(-1, 1), "FLOW_ABS": volume}
    return case | {"memory": memory}


def cases(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Hypothesis strategy of `draw_case`, by its seed."""
    return st.integers(0, 2**64 - 1).map(lambda seed: draw_case(random.Random(seed), **options))


def mirrored(case: dict[str, Any]) -> dict[str, Any]:
    """The same market seen by its NO token."""
    swapped = {}
    for name, value in case["position"].items():
        token, _, rest = name.partition("_")
        swapped[{"yes": "no", "no": "yes"}.get(token, token) + (f"_{rest}" if rest else "")] = value
    memory = list(case["memory"])
    if any(memory):
        memory[mo.MIDDLE2], memory[mo.MOVE] = 2 * ONE - memory[mo.MIDDLE2], -memory[mo.MOVE]
        memory[mo.SOLD], memory[mo.SOLD + 1] = memory[mo.SOLD + 1], memory[mo.SOLD]
    features = case["features"] | {"FLOW": -case["features"]["FLOW"]}
    return mc.mirrored(case) | {"position": swapped, "memory": memory, "features": features}


def draw_params(r: random.Random, i: int) -> np.ndarray:
    """Parameters that speak on short markets; in every third case anywhere between default and hard."""
    params = mo.SPEC.kernel_params(SHORT)
    params[mo.BUY_NO] = r.randint(0, 1)
    return mc.draw_params(r, mo.SPEC, i) if i % 3 == 0 else params


def digest(n: int = 1_500) -> str:
    """SHA-256 over all that the bot writes in n seeded cases and in 60 sequences of decisions."""
    r, h = random.Random(20_260_416), hashlib.sha256()

    def ask(p: Any, params: np.ndarray) -> None:
        answer = p.propose(mo.decide, params)
        h.update(repr(answer).encode() + p.market.tobytes() + p.targets.tobytes() + p.memory.tobytes())

    for i in range(n):
        ask(probe(**draw_case(r)), draw_params(r, i))
    for i in range(60):
        steps, params = mc.draw_sequence(r), draw_params(r, i)
        for p in mc.play(mc.start_of(steps), steps):
            ask(p, params)
    return h.hexdigest()


def plain_digest() -> str:
    """`digest` in a process of its own without the compiler, where an overflow is an error."""
    done = subprocess.run(
        [sys.executable, os.path.abspath(__file__)],
        env=os.environ | {"POLYTRADERS_JIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


if __name__ == "__main__":
    np.seterr(all="raise")
    print(digest())
