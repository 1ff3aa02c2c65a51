"""The crash drill: a busy live run is killed at random points, and its books are held to the venue's."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from served import Served

from polytraders.rows import EventKind
from polytraders.run.replay import replay
from polytraders.store.log import read_log, verify_log

CHILD = Path(__file__).with_name("live_child.py")
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""The first test key of Foundry and Hardhat."""
FAULTS = {
    "latency": {"rate": 1_000_000, "value": 20}, "duplicate": {"rate": 200_000}, "reorder": {"rate": 200_000},
    "drop_reply": {"rate": 100_000}, "error_before": {"rate": 10_000}, "error_after": {"rate": 10_000},
    "ghost_fill": {"rate": 50_000}, "retrying": {"rate": 100_000},
}  # fmt: skip


def start(**told: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "POLYTRADERS_KEY": KEY}
    return subprocess.Popen(
        [sys.executable, str(CHILD), json.dumps(told)], stdout=subprocess.PIPE, text=True, env=environment
    )


def line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said, f"the run ended with {process.wait()}"
    return json.loads(said)


def begin(told: dict[str, Any]) -> tuple[subprocess.Popen[str], dict[str, Any] | None]:
    """Start the run, or go on with it; (the process, its first line or None when it did not begin)."""
    resumed = (Path(told["folder"]) / "manifest.json").exists()
    process = start(**told, resume=resumed)
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        process.wait()
        return process, None
    return process, json.loads(said) | {"resumed": resumed}


def drill(
    venue: Served,
    folder: Path,
    kills: int,
    seed: int,
    most: float = 2.0,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Kill a run `kills` times, then let it settle without market data.

    most: s that a run lives at most once it works, or once it has begun. say: hears of each life. Returns what both
    sides hold, how many orders the dead left open, and recovery times in ms: `rebuild` of the books from snapshot and
    log, `restart` from the start of the process until it is reconciled with the venue and decides.
    """
    dice, told = random.Random(seed), {"urls": venue.urls, "folder": str(folder)}
    rebuilds: list[float] = []
    restarts: list[float] = []
    left, with_orders, while_beginning, refused = 0, 0, 0, 0
    for name, fault in FAULTS.items():
        venue.admin(f"/faults/{name}", **fault)
    for number in range(1, kills + 1):
        began = time.monotonic()
        process, said = begin(told)
        while said is None:  # the venue's faults may forbid the start: whoever runs it starts it again
            refused += 1
            assert refused < 10 * kills, "it never begins"
            began = time.monotonic()
            process, said = begin(told)
        if said["resumed"]:
            rebuilds.append(float(said["recovery_ms"]))
            left += said["open"]
            with_orders += said["open"] > 0
        works = ""
        if dice.random() < 0.7:  # the others die while they begin
            assert process.stdout is not None
            works = process.stdout.readline()
        if works and said["resumed"]:
            restarts.append(1e3 * (time.monotonic() - began))
        while_beginning += not works
        time.sleep(dice.uniform(0.05, most))
        process.send_signal(signal.SIGKILL)
        process.wait()
        say(f"{number}/{kills}: found {said.get('open', 0)} open, {'worked' if works else 'was beginning'}")
    venue.admin("/faults", "DELETE")
    process = start(**told, resume=True, feed=False)
    rebuilds.append(float(line(process)["recovery_ms"]))
    line(process)
    final = line(process)
    assert process.wait(timeout=300) == 0
    return {
        **final,
        "kills": kills,
        "refused_starts": refused,
        "while_beginning": while_beginning,
        "left_open": left,
        "kills_with_open_orders": with_orders,
        "rebuild_ms": spread(rebuilds),
        "restart_ms": spread(restarts),
    }


def spread(times: list[float]) -> dict[str, float]:
    """Median and worst."""
    return {"median": round(median(times), 1), "worst": round(max(times), 1)} if times else {}


def check(found: dict[str, Any]) -> None:
    """No lost fill, no double order, no orphan, and the ledger of the venue."""
    assert found["open"] == []
    assert found["open_in_step"] == 0
    assert found["summary"]["orphans"] == []
    assert found["unsettled"] == 0
    assert found["cash"] == found["venue_cash"], found
    assert found["shares"] == found["venue_shares"], found


def judge(folder: Path, found: dict[str, Any], venue: Served) -> None:
    """The rest of it: what the venue counts and recorded, the log and its replay. The run has ended."""
    state = venue.state()
    assert found["submits"] > 0
    assert state["tape_left"], "the session was over before the drill was"
    (account,) = state["accounts"].values()
    assert account["open_orders"] == 0
    assert account["reserved"] == 0
    posted = [key for one in venue.admin("/received", "GET") for key in one["orders"]]
    assert max(Counter(posted).values()) == 1, "an order was sent twice"
    log = read_log(folder)
    notes = log.notes()
    named = {key for note in notes for _, key in note.get("orders", ())}
    assert set(posted) <= named, "the venue was sent what the log does not know"
    assert account["orders"] <= len(named)
    events, names = log.events(), {int(seq): key for note in notes for seq, key in note.get("keys", ())}
    first = events[np.isin(events["kind"], (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED))]
    booked = Counter((int(row["kind"]), names.get(int(row["seq"]))) for row in first)
    assert not [key for key, times in booked.items() if times > 1], "a fill was told twice"
    assert verify_log(folder).ok
    told = replay(folder)
    assert told.ok, told.first_mismatch
    sessions = [s for n in notes for s in n.get("said", ()) if s["what"] == "session"]
    assert [s["fence"] for s in sessions] == sorted({s["fence"] for s in sessions}), "two writers have one number"
