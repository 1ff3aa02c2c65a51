"""Who runs the trials: this process, processes of this machine, or a Ray cluster. Each is a function that yields rows.

However many workers there are, the events are in memory once: forked workers inherit them, spawned
ones map the same file, Ray's share one object of its store.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from polytraders.engine import loop
from polytraders.errors import UsageError
from polytraders.research.trials import Job, Trial, run_trial
from polytraders.run.pipeline import build_pipeline

METHOD = "fork" if sys.platform == "linux" else "spawn"
"""How workers begin. A fork shares the interpreter and the compiled kernels with its parent, pages and all."""
Row = dict[str, Any]


def run_here(job: Job, trials: Iterable[Trial]) -> Iterator[Row]:
    """One after the other, in this process."""
    for trial in trials:
        yield run_trial(job, trial)


def run_local(job: Job, trials: Iterable[Trial], workers: int, method: str = METHOD) -> Iterator[Row]:
    """On `workers` processes of this machine, in the order in which they finish.

    A worker that dies costs the trial it was at, which becomes a row with an error; another takes its
    place. Closing the iterator stops the workers.
    """
    context = multiprocessing.get_context(method)
    left, busy = deque(trials), {}

    def start() -> None:
        ours, theirs = context.Pipe()
        with warnings.catch_warnings():
            # Python warns of forking beside threads. Ours hold no lock a worker takes: it only runs kernels.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = context.Process(target=_serve, args=(theirs, source), daemon=True)
            process.start()
        theirs.close()  # the worker holds the only other end: when it dies, ours says so
        hand_over(ours, process)

    def hand_over(ours: Connection, process: Any) -> None:
        trial = left.popleft() if left else None
        busy[ours] = (process, trial)
        with suppress(OSError):  # dead already: `wait` will tell
            ours.send(trial)

    with tempfile.TemporaryDirectory(prefix="polytraders-sweep-") as folder:
        if method == "fork":
            source: Job | Path = job
            _load(job)
            gc.collect()
            gc.freeze()  # the collector of a worker would touch, and so copy, every page of what it inherits
        else:
            source = job.save(Path(folder))
        try:
            for _ in range(min(workers, len(left))):
                start()
            while busy:
                for ours in wait(list(busy)):
                    process, trial = busy.pop(ours)
                    try:
                        row = ours.recv()
                    except (EOFError, OSError):
                        process.join()
                        ours.close()
                        if trial is None:
                            continue  # it was sent home
                        row = _died(job, trial, process.exitcode)
                        if left:
                            start()
                    else:
                        hand_over(ours, process)
                    yield row
        finally:
            gc.unfreeze()
            for ours, (process, _) in busy.items():
                process.terminate()
                process.join()
                ours.close()


def _serve(theirs: Connection, source: Job | Path) -> None:
    """A worker's life: trials in, rows out, until None comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    job = source if isinstance(source, Job) else Job.open(source)
    _load(job)
    parent = multiprocessing.parent_process()
    while parent.sentinel not in wait([theirs, parent.sentinel]):
        trial = theirs.recv()
        if trial is None:
            return
        theirs.send(run_trial(job, trial))


def _load(job: Job) -> None:
    """Compile the kernels or load them from the cache, so that no trial's time has it in."""
    build_pipeline(job.settings, job.strategy)
    for name in ("backtest", "flush_repeats"):
        loop.compiled(name)


def _died(job: Job, trial: Trial, code: int | None) -> Row:
    number, params = trial
    how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return {
        "trial": number,
        "params": params,
        "seed": job.seed,
        "data": job.data,
        "error": f"the worker died: {how}",
        "seconds": None,
    }


def run_ray(job: Job, trials: Iterable[Trial], address: str) -> Iterator[Row]:
    """On a Ray cluster (`auto`, `local` or its address). Raises UsageError where Ray is not installed."""
    try:
        import ray
    except ImportError:
        raise UsageError(
            "Ray is not installed",
            rule="a sweep on a cluster needs the package `ray` here and on every node",
            mend="pip install ray, or leave out the address to use this machine's processes",
        ) from None
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    p = job.prepared
    arrays = ray.put((p.events, p.times, p.order))
    empty = p.events[:0]
    rest = ray.put(replace(job, prepared=replace(p, events=empty, times=empty, order=empty)))
    task = ray.remote(max_retries=0)(_ray_trial)
    left, flying = deque(trials), {}
    most = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    while left or flying:
        while left and len(flying) < most:
            trial = left.popleft()
            flying[task.remote([arrays], [rest], trial)] = trial
        for done in ray.wait(list(flying))[0]:
            trial = flying.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                yield _died(job, trial, None) | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def _ray_trial(arrays: list[Any], rest: list[Any], trial: Trial) -> Row:
    return run_trial(_ray_job(arrays[0], rest[0]), trial)


@cache
def _ray_job(arrays: Any, rest: Any) -> Job:
    """The job on this node; the arrays lie in the object store, mapped by all of its workers."""
    import ray

    job = ray.get(rest)
    events, times, order = (_writable(array) for array in ray.get(arrays))
    job = replace(job, prepared=replace(job.prepared, events=events, times=times, order=order))
    _load(job)
    return job


def _writable(array: np.ndarray) -> np.ndarray:
    """The same memory with the writable flag the kernels' signatures ask for; nothing writes to it."""

    class Memory:
        owner = array
        __array_interface__ = array.__array_interface__ | {"data": (array.__array_interface__["data"][0], False)}

    return np.asarray(Memory()) if array.size else array.copy()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
