"""The sweep's side of the benchmark: each case a fresh process, one JSON line.

python -m bench.sweep run EVENTS | sweep EVENTS TRIALS WORKERS

`run` is one backtest without a log on the first EVENTS of the one-market stream, `sweep` many of them.
Memory is what the process and all its workers hold together: pages that several share count once.
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
    """The largest proportional set size of this process and its descendants while the block runs, MB (1e6 bytes)."""

    def __init__(self, every: float = 0.05):
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
            self.peak_mb = max(self.peak_mb, sum(map(_pss_mb, _family(os.getpid()))))
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


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended while we looked
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


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
        "peak_pss_mb": memory.peak_mb,
    }


def sweep(events: int, trials: int, workers: int) -> dict:
    """The first `trials` drawn of SPACE on `workers` processes; compiled kernels are loaded before the clock starts."""
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
        "overhead_ms": median(1e3 * (row["seconds"] - row["loop_seconds"]) for row in result.done),
        "overhead_ms_with_hand_over": 1e3 * (workers * steady - median(row["loop_seconds"] for row in result.done)),
        "peak_pss_mb": memory.peak_mb,
    }


CASES = {"run": run, "sweep": sweep}


def main(name: str, *arguments: str) -> None:
    """Run one case and print its result."""
    print(json.dumps(CASES[name](*(int(a) for a in arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
