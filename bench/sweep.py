"""The sweep's side of the benchmark: each case a fresh process, one JSON line.

python -m bench.sweep run EVENTS | sweep EVENTS TRIALS WORKERS

`run` is one backtest without a log on the first EVENTS of the one-market stream, `sweep` many of them.
Memory is what the process and all its workers hold together: pages that several of them share count once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from bench import ours, stream

SPACE = {
    "edge_bps": "10:145:15",
    "max_inventory_shares": "20:200:20",
    "skew_bps": "0:45:5",
}
"""1 000 points."""


class Memory:
    """The most that this process and its descendants hold together while the block runs, MB (1e6 bytes).

    Their own memory is counted in proportional sizes, so that a page two of them share counts once.
    Mapped files, libraries above all, are shared with the whole machine: the largest process's count.
    """

    def __init__(self, every: float = 0.2):
        self.every, self.peak_mb, self._done = every, 0.0, threading.Event()

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            sizes = [_sizes_mb(pid) for pid in _family(os.getpid())]
            self.peak_mb = max(self.peak_mb, sum(own for own, _ in sizes) + max(mapped for _, mapped in sizes))
            if self._done.wait(self.every):
                return


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for at in found:
        for task in Path(f"/proc/{at}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:  # it ended while we looked
                continue
    return found


def _sizes_mb(pid: int) -> tuple[float, float]:
    """(proportional size of what is no file, resident size of mapped files) of a process."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it ended while we looked
        return 0.0, 0.0
    size = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
    return size["Pss_Anon"] + size["Pss_Shmem"], size["Rss"] - size["Anonymous"]


def _session(events: int):
    rows = np.load(stream.cached(), mmap_mode="r")[:events].copy()
    return ours.session(rows, 1, f"bench-{events}")


def run(events: int) -> dict:
    """One backtest: what it holds and how long it takes."""
    from polytraders.config import load_settings
    from polytraders.run.backtest import run_backtest

    settings = load_settings().with_overrides(ours.TOUCH_MAKER)
    with Memory() as memory:
        whole = _session(events)
        run_backtest(whole, settings, log=False)
        summary = run_backtest(whole, settings, log=False).summary
    return {
        "events": events,
        "seconds": summary["seconds"],
        "events_per_second": events / summary["seconds"],
        "peak_mb": memory.peak_mb,
    }


def sweep(events: int, trials: int, workers: int) -> dict:
    """`trials` drawn of SPACE on `workers` processes; compiled kernels are loaded before the clock starts.

    Where the machine has other work, compare cpu_seconds_per_trial: what more workers cost beyond their share.
    """
    from polytraders.config import load_settings
    from polytraders.research import sweep as research

    settings, times = load_settings().with_overrides(ours.TOUCH_MAKER), []
    with TemporaryDirectory(dir=stream.work_folder()) as root, Memory() as memory:
        result = research.sweep(
            _session(events),
            settings,
            grid=SPACE,
            random=trials,
            workers=workers,
            root=Path(root),
            progress=lambda *_: times.append(time.perf_counter()),
        )
    if len(result.done) != trials:
        raise RuntimeError(f"{trials - len(result.done)} trials failed: {result.failed[:1]}")
    # From the first row to the last: the start of the workers, which a long sweep does not feel, is told apart.
    steady = (times[-1] - times[1]) / (trials - workers) if trials > workers else float("nan")
    return {
        "events": events,
        "trials": trials,
        "workers": workers,
        "seconds": times[-1] - times[0],
        "trials_per_second": 1 / steady,
        "cpu_seconds_per_trial": sum(os.times()[2:4]) / trials,
        "overhead_ms": median(1e3 * (row["seconds"] - row["loop_seconds"]) for row in result.done),
        "overhead_ms_with_hand_over": 1e3 * (workers * steady - median(row["loop_seconds"] for row in result.done)),
        "peak_mb": memory.peak_mb,
    }


CASES = {"run": run, "sweep": sweep}


def main(name: str, *arguments: str) -> None:
    """Run one case and print its result."""
    print(json.dumps(CASES[name](*(int(a) for a in arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
