"""`python -m bench.fuzz [FRAMES [BODIES [SEED]]]`: every campaign at length; writes bench/fuzz.json, one JSON line.

FRAMES changed frames: seven of eight of the market channel, the rest of the user channel. BODIES changed REST bodies:
a half is Gamma's and the CLOB's market pages, a quarter answers to the port, a quarter is sent to the local venue.
200 000 of each by default.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.fuzz import account, bodies, frames, posted

RESULTS = Path(__file__).resolve().parent.parent / "fuzz.json"
TITLES = {
    "market frames": "frames of the market channel",
    "user frames": "frames of the user channel and lists",
    "market bodies": "bodies of Gamma and of the CLOB's market pages",
    "answers": "answers to the port",
    "posted": "bodies sent to the local venue, frames to its sockets",
}
NOT_REFUSALS = ("read", "done", "open", "good", "goes on", "rows booked", "order over", "200", "answers", "changed:",
                "cancels taken", "duplicate", "fill behind", "hung up")  # fmt: skip


def market_frames(number: int, seed: int) -> Counter[str]:
    """Changed frames of the market channel; the looks at a book that was the model's are counted too."""
    counts, changed, down, looks = asyncio.run(frames.campaign(10**9, seed, enough=number))
    if changed < number or not 0.02 < down < 0.7:
        raise AssertionError(f"{changed} frames changed, {down:.0%} of the looks down: that proves nothing")
    return counts + Counter({"books equal to the model's: read": looks})


def to_the_venue(number: int, seed: int) -> Counter[str]:
    """Changed requests to a venue of its own."""
    from bench.faults import served

    with served(seed=seed) as venue:
        return asyncio.run(posted.campaign(venue, number, seed))


def everything(frames_: int, bodies_: int, seed: int) -> dict[str, Any]:
    """All campaigns. Raises AssertionError with the first thing that is wrong, and its seed."""
    plan: dict[str, tuple[Callable[[int, int], Counter[str]], int]] = {
        "market frames": (market_frames, frames_ * 7 // 8),
        "user frames": (lambda n, s: asyncio.run(account.campaign(n, s)), frames_ // 8),
        "market bodies": (bodies.bodies, bodies_ // 2),
        "answers": (lambda n, s: asyncio.run(account.answers(n, s)), bodies_ // 4),
        "posted": (to_the_venue, bodies_ // 4),
    }
    made = {}
    for name, (work, number) in plan.items():
        began = time.monotonic()
        counts = work(number, seed)
        print(f"{name}: {number:,} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        made[name] = {"changed": number, "counts": dict(counts.most_common())}
    refused = sum(refusals(one["counts"]).total() for one in made.values())
    return {"name": "fuzz", "unit": "refusals", "value": refused, "seed": seed, "campaigns": made, "table": table(made)}


def refusals(counts: dict[str, int]) -> Counter[str]:
    """The kinds that are refusals: nothing was done, or nothing was believed."""
    return Counter({kind: n for kind, n in counts.items() if n and not any(word in kind for word in NOT_REFUSALS)})


def table(campaigns: dict[str, Any]) -> str:
    """The counts as Markdown."""
    lines = ["| what was changed | how many | refused, by kind |", "|---|---:|---|"]
    for name, one in campaigns.items():
        kinds = ", ".join(f"{kind.strip()} {n:,}" for kind, n in refusals(one["counts"]).most_common())
        lines.append(f"| {TITLES[name]} | {one['changed']:,} | {kinds} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Exit code 1 when something was wrong."""
    numbers = [int(text) for text in arguments] + [200_000, 200_000, 1][len(arguments) :]
    try:
        made = everything(*numbers)
    except AssertionError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 1
    RESULTS.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
