"""The runner: how soon a decision is on the disk, and how soon a run goes on from a long log. One JSON line a case.

    python -m bench.runner durable [SECONDS]    time from a turn's first row to its orders on the disk
    python -m bench.runner restart [EVENTS]     a run of EVENTS events, killed, and taken over by a fresh process

The venue is a table in the same process that takes every order at once (`tests/run/fake_port.py`): what is measured is
ours. The log is synced for real, on the disk that holds the bench's folder; a bare sync of it is measured beside.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

import numpy as np

from bench import stream
from bench.ours import TOUCH_MAKER, session

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "run"))

MARKETS = 20
PIECE, PAUSE = 25, 0.01
"""Rows that come at once, and s between two times: 2 500 events a second, a busy hour of the venue."""
CHUNK = 1_000
"""Rows that come at once, a second of theirs, where a long log is made."""
OPTIONS = {"risk.ratelimitgovernor.mode": "off", "risk.compliancegate.mode": "off"}


def launch(folder: Path, rows: np.ndarray, decide_ms: int) -> Any:
    """A fresh live run that asks nobody."""
    from polytraders.config import load_settings
    from polytraders.rows import Gate
    from polytraders.run.launch import begin

    chosen = {
        **TOUCH_MAKER,
        **OPTIONS,
        "engine.decide_interval_ms": str(decide_ms),
        "strat.maker_tight.ladder_levels": "2",
    }
    return begin(
        load_settings().with_overrides(chosen), mode="live", strategy="strat.maker_tight",
        infos=session(rows, MARKETS, "bench").markets, venue="bench", folder=folder, engine={"gate": int(Gate.OPEN)},
    )  # fmt: skip


def runner(launched: Any, feed: Any, **more: Any) -> Any:
    """The runner over the venue that takes everything."""
    from fake_port import FakePort

    from polytraders.run.live import Runner

    return Runner(
        launched.folder, launched.pipeline, launched.step, launched.writer, FakePort(), {"stream": feed},
        orders=launched.orders, notes=launched.notes, session=launched.session, **more,
    )  # fmt: skip


def up(made: Any, at: int = 0) -> None:
    """Say that the feed is there."""
    from polytraders.rows import EventKind
    from polytraders.run.live import rows_of

    made.put("stream", rows_of({"kind": EventKind.FEED_UP}), at=at)


def durable(seconds: int = 20) -> dict[str, Any]:
    """Times from a turn's begin to its batch on the disk, of the turns that had something to send."""
    rows = stream.many_markets(MARKETS, 500_000)
    folder = Path(mkdtemp(prefix="durable-", dir=stream.work_folder()))

    async def feed(made: Any) -> None:
        up(made)
        for first in range(0, len(rows), PIECE):
            piece = rows[first : first + PIECE].copy()
            piece["ts_event"] = 0  # now
            made.put("stream", piece)
            await asyncio.sleep(PAUSE)

    async def whole() -> dict[str, Any]:
        made = runner(launched, feed)
        asyncio.get_running_loop().call_later(2 + seconds, made.stop)
        asyncio.get_running_loop().call_later(2, made._durable.clear)  # the first turns load kernels
        summary = await made.run()
        times = np.array(made._durable, np.int64) / 1e6
        return {
            "p50_ms": round(float(np.percentile(times, 50)), 3),
            "p99_ms": round(float(np.percentile(times, 99)), 3),
            "batches": len(times),
            "events": summary["events"],
            "orders": summary["orders"],
        }

    try:
        launched = launch(folder / "run", rows, decide_ms=20)
        found = asyncio.run(whole())
        launched.lock.release()
        return found | {"bare_sync_p99_ms": bare_sync(folder)}
    finally:
        shutil.rmtree(folder)


def bare_sync(folder: Path, times: int = 500) -> float:
    """ms: one write of 4 kB and fdatasync on this disk, the slowest of a hundred."""
    taken = []
    with (folder / "bare").open("wb", buffering=0) as file:
        for _ in range(times):
            began = time.perf_counter_ns()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter_ns() - began) / 1e6)
    return round(float(np.percentile(taken, 99)), 3)


def make_long(folder: Path, events: int) -> None:
    """A run of so many events, in this process, which then dies as if by kill -9: no flush, no summary."""
    rows = stream.many_markets(MARKETS, events)
    now = [int(rows["ts_recv"][0])]

    async def feed(made: Any) -> None:
        up(made, at=now[0])
        for first in range(0, len(rows), CHUNK):
            piece = rows[first : first + CHUNK].copy()
            now[0] = int(piece["ts_recv"][-1])
            made.put("stream", piece, at=now[0])
            while made._inbox or made.writer.backlog > 64:
                await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)

    async def whole() -> None:
        from polytraders.run.live import Options

        await runner(launched, feed, clock=lambda: now[0], options=Options(timers=False)).run()

    launched = launch(folder, rows, decide_ms=1_000)
    asyncio.run(whole())


def take(folder: Path, spawned_ns: int) -> dict[str, Any]:
    """Take the run over: seconds since the process was started, and what there was to do."""
    from polytraders.run.launch import resume

    launched = resume(folder)
    seconds = (time.monotonic_ns() - spawned_ns) / 1e9
    told = launched.session
    found = {
        "seconds": seconds, "cpu_seconds": round(time.process_time(), 3), "books_ms": told["recovery_ms"],
        "events": launched.step.seq, "snapshot": told["snapshot"], "replayed": told["replayed"],
        "orders_known": len(launched.orders.by_id),
    }  # fmt: skip
    launched.lock.release()
    launched.writer.close({"flushed": False})
    (folder / "summary.json").unlink()  # so that the next one finds it as this one did
    return found


def restart(events: int = 10_000_000) -> dict[str, Any]:
    """Make the log, kill the run, take it over three times: the median."""
    folder = Path(mkdtemp(prefix="restart-", dir=stream.work_folder()))
    command = [sys.executable, "-m", "bench.runner"]
    try:
        made = subprocess.run([*command, "make", str(folder / "run"), str(events)], cwd=ROOT, check=False)
        if made.returncode != -signal.SIGKILL:
            raise SystemExit(f"the long run ended with {made.returncode}")
        size = sum(file.stat().st_size for file in (folder / "run").glob("segment-*"))
        runs = []
        for _ in range(3):
            began = str(time.monotonic_ns())
            done = subprocess.run(
                [*command, "take", str(folder / "run"), began], cwd=ROOT, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        return {**runs[-1], "seconds": median(run["seconds"] for run in runs),
                "runs": [round(run["seconds"], 3) for run in runs], "log_mb": round(size / 1e6, 1)}  # fmt: skip
    finally:
        shutil.rmtree(folder)


def main(case: str, *arguments: str) -> None:
    """Run one case and print its result."""
    if case == "make":
        make_long(Path(arguments[0]), int(arguments[1]))
    elif case == "take":
        print(json.dumps(take(Path(arguments[0]), int(arguments[1]))))
    else:
        print(json.dumps({"durable": durable, "restart": restart}[case](*(int(a) for a in arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
