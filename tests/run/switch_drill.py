"""The kill-switch drill: a busy run is tripped from the desk while the venue refuses half of the cancels.

What was sent and when is the venue's own record (`GET /received` of the local venue's switches): each request about
orders with the moment at which it was there, whatever became of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from crash import CHILD, KEY, line
from served import Served

from polytraders.contracts import Actor
from polytraders.store.desk import arm, open_desk
from polytraders.store.log import read_log

FAULTS = {"latency": {"rate": 1_000_000, "value": 20}, "refuse_cancel": {"rate": 500_000}}
SETTINGS = {"strat.maker_tight.ladder_levels": "4", "strat.maker_tight.clip_size_usd": "10"}
PATIENCE = 240.0
"""s until the run rests as many orders as it is to be tripped with, and until nothing rests."""
WATCHED = 1.5
"""s after nothing rests in which the venue may receive no order either."""


def resting(venue: Served) -> int:
    """Open orders of the one account, as the venue counts them."""
    return sum(account["open_orders"] for account in venue.state()["accounts"].values())


def until(venue: Served, true: Any, what: str) -> int:
    """ns, when the venue's count of open orders was first seen to be as wanted."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if true(resting(venue)):
            return time.time_ns()
        time.sleep(0.005)
    raise AssertionError(f"waited in vain: {what}; {resting(venue)} rest")


def received(venue: Served) -> list[dict[str, Any]]:
    """The venue's record."""
    return venue.admin("/received", "GET")  # type: ignore[return-value]


def drill(venue: Served, folder: Path, rest: int) -> dict[str, Any]:
    """Trip a run that has `rest` orders on the book; what the venue and the run's log say of it. Times in ms."""
    home = folder.parent / f"{folder.name}-home"
    environment = {**os.environ, "POLYTRADERS_KEY": KEY, "POLYTRADERS_HOME": str(home)}
    told = {"urls": venue.urls, "folder": str(folder), "desk": True, "settings": SETTINGS}
    run = subprocess.Popen([sys.executable, str(CHILD), json.dumps(told)], stdout=subprocess.PIPE, text=True,
                           env=environment)  # fmt: skip
    try:
        line(run)
        line(run)
        until(venue, lambda count: count >= rest, f"{rest} orders rest")
        for name, fault in FAULTS.items():
            venue.admin(f"/faults/{name}", **fault)
        rested, refused = resting(venue), struck(venue)
        with open_desk(f"sqlite:///{home}/desk.sqlite") as desk:
            asked = time.time_ns()
            arm(desk, "global", None, Actor(kind="operator", id="ann"), "cli", "a drill")
        empty = until(venue, lambda count: not count, "nothing rests")
        time.sleep(WATCHED)
        assert resting(venue) == 0, "something came back"
        refused = struck(venue) - refused
        record = received(venue)
    finally:
        run.send_signal(signal.SIGTERM)
    final = line(run)
    assert run.wait(timeout=120) == 0
    assert final["summary"]["orphans"] == []
    tripped, wire, swept = trip_of(folder)
    posts = [one for one in record if one["method"] == "POST"]
    late = [key for one in posts if one["at"] > tripped for key in one["orders"]]
    return {
        "rested": rested,
        "orders": sum(len(one["orders"]) for one in posts),
        "orders_per_second": round(rate(posts, tripped), 1),
        "cancels_refused": refused,
        "to_trip_ms": round((tripped - asked) / 1e6, 1),
        "to_no_resting_ms": round((empty - asked) / 1e6, 1),
        "sweeps": swept["asked"],
        "on_the_wire": len(wire),
        "received_after": sorted(late),
        "sent_after": sorted(set(late) - set(wire)),
    }


def struck(venue: Served) -> int:
    return venue.state()["faults"]["refuse_cancel"]["struck"]


def rate(posts: list[dict[str, Any]], until: int) -> float:
    """Orders a second that the venue received in the ten seconds before a moment, ns."""
    return sum(len(one["orders"]) for one in posts if until - 10 * 10**9 < one["at"] <= until) / 10


def trip_of(folder: Path) -> tuple[int, list[str], dict[str, Any]]:
    """(ns at which the run was stopped, digests that were on the wire at that moment, its sweep), by its log."""
    tripped, wire, swept = 0, [], {}
    for note in read_log(folder).notes():
        for said in note.get("said", ()):
            if "armed" in said and not tripped:
                wire = said.get("on_the_wire", [])
                tripped = said["ts"]
            elif said["what"] == "nothing rests at the venue" and not swept:
                swept = said
    assert tripped, "the run's log knows of no trip"
    return tripped, wire, swept


def check(found: dict[str, Any]) -> None:
    """The switch held."""
    assert found["orders"] > 0
    assert found["cancels_refused"] > 0, "the venue refused nothing: no drill"
    assert found["sent_after"] == [], "an order left after the trip"


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several drills."""
    return {
        "drills": len(runs),
        "rested": median(run["rested"] for run in runs),
        "orders_per_second": median(run["orders_per_second"] for run in runs),
        "cancels_refused": sum(run["cancels_refused"] for run in runs),
        "to_trip_ms": max(run["to_trip_ms"] for run in runs),
        "to_no_resting_ms": {
            "median": median(run["to_no_resting_ms"] for run in runs),
            "worst": max(run["to_no_resting_ms"] for run in runs),
        },
        "received_after": sum(len(run["received_after"]) for run in runs),
        "sent_after": sum(len(run["sent_after"]) for run in runs),
    }
