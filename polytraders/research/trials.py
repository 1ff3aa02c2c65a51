"""One trial: the settings with a few values changed, run on a prepared stream, as one row that says what came of it.

A row is plain data: trial, params, seed, data (hash of the data's pin), config_hash, seconds, error,
and, when it went well, loop_seconds (of them, in the compiled loop), metrics and pnl. `pnl` is what
was earned in each of INTERVALS equal parts of the recording, in micro-pUSD: what every statistic of
many trials is made from.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.engine.backtest import Prepared, Simulation, prepare, simulate_prepared
from polytraders.research.statistics import sharpe
from polytraders.run.backtest import engine_options, summarise, venue_model
from polytraders.run.pipeline import build_pipeline
from polytraders.units import money_text

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.catalog import Session

INTERVALS = 240
"""Parts of the recording whose profits are the observations: 16 blocks of 15 for cross-validation."""
Trial = tuple[int, dict[str, str]]
"""Number and section.key -> text."""


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep share; `save` and `open` carry it to a process that does not inherit memory."""

    prepared: Prepared
    settings: Settings
    strategy: str
    seed: int
    data: str  # hash of the data's pin
    grid: np.ndarray = field(repr=False)  # int64[INTERVALS + 1], ns

    def save(self, folder: Path) -> Path:
        """Write the arrays, to be mapped into memory by any number of processes, and the rest. Returns the folder."""
        import pickle

        folder.mkdir(parents=True, exist_ok=True)
        for name in ("events", "times", "order"):
            np.save(folder / f"{name}.npy", getattr(self.prepared, name))
        empty = self.prepared.events[:0]
        light = replace(self, prepared=replace(self.prepared, events=empty, times=empty, order=empty))
        (folder / "job.pickle").write_bytes(pickle.dumps(light))
        return folder

    @classmethod
    def open(cls, folder: Path) -> Job:
        """The job that `save` wrote; its arrays are one copy in memory however many processes open it."""
        import pickle

        job = pickle.loads((folder / "job.pickle").read_bytes())
        arrays = {name: _mapped(folder / f"{name}.npy") for name in ("events", "times", "order")}
        return replace(job, prepared=replace(job.prepared, **arrays))


def _mapped(path: Path) -> np.ndarray:
    """A .npy file as memory: copy on write, since the kernels are compiled for arrays that may be written."""
    try:
        return np.asarray(np.load(path, mmap_mode="c"))
    except ValueError:  # nothing to map: an empty array
        return np.load(path)


def make_job(session: Session, settings: Settings, strategy: str, seed: int = 0) -> Job:
    """Check and order a session's events once. Raises DataError or ValueError, see `prepare`."""
    prepared = prepare(session.events, session.markets, session.name, venue_model(settings))
    return Job(prepared, settings, strategy, seed, pin_hash(session), time_grid(session.events))


def time_grid(events: np.ndarray) -> np.ndarray:
    """int64[INTERVALS + 1]: ns, from the first event's receive time to just behind the last one's in equal steps."""
    first, last = int(events["ts_recv"][0]), int(events["ts_recv"][-1]) + 1
    return np.array([first + (last - first) * k // INTERVALS for k in range(INTERVALS + 1)], np.int64)


def pin_hash(session: Session) -> str:
    """SHA-256 (hex) of what identifies the data."""
    return hashlib.sha256(json.dumps(session.pin, sort_keys=True, default=str).encode()).hexdigest()


class EquitySink:
    """Keeps the account's equity over time and nothing else of what a run produces."""

    def __init__(self) -> None:
        self.ts: list[np.ndarray] = []
        self.equity: list[np.ndarray] = []

    def put(self, kind: str, rows: np.ndarray) -> None:
        if kind == "samples":
            self.ts.append(rows["ts"].copy())
            self.equity.append(rows["equity"].copy())

    def curve(self, simulation: Simulation) -> tuple[np.ndarray, np.ndarray]:
        """(ns, micro-pUSD): deposits at the start, every sample, and the last state."""
        account, clock = simulation.state.account[0], simulation.state.clock[0]
        ts = np.concatenate([[0], *self.ts, [int(clock.now)]]).astype(np.int64)
        equity = np.concatenate([[int(account.deposits)], *self.equity, [int(account.equity)]]).astype(np.int64)
        return ts, equity


def trade(job: Job, settings: Settings) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Run the job's strategy under `settings`: (summary, ns, micro-pUSD of equity)."""
    pipeline, _ = build_pipeline(settings, job.strategy)
    sink, options = EquitySink(), engine_options(settings)
    simulation = simulate_prepared(
        job.prepared, pipeline, venue=venue_model(settings), sink=sink, keep_events=False, **options
    )
    return summarise(simulation, pipeline), *sink.curve(simulation)


def at_times(ts: np.ndarray, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The last value known at each time of the grid; ts ascending, ts[0] <= grid[0]."""
    return values[np.searchsorted(ts, grid, side="right") - 1]


def run_trial(job: Job, trial: Trial) -> dict[str, Any]:
    """Run one trial; whatever goes wrong in it is in its row."""
    number, params = trial
    row: dict[str, Any] = {"trial": number, "params": params, "seed": job.seed, "data": job.data}
    began = time.perf_counter()
    try:
        settings = job.settings.with_overrides(params, f"trial {number}")
        row["config_hash"] = settings.hash
        summary, ts, equity = trade(job, settings)
        pnl = np.diff(at_times(ts, equity, job.grid))
        row |= {"metrics": _metrics(summary, equity, pnl), "pnl": pnl.tolist(), "error": None}
        row["loop_seconds"] = summary["seconds"]
    except Exception as error:  # noqa: BLE001 - a failed trial is a row of the sweep, not its end
        row["error"] = f"{type(error).__name__}: {error}"
    return row | {"seconds": round(time.perf_counter() - began, 6)}


_KEPT = ("evaluations", "intents", "orders", "rejects", "cancels", "fills", "fees", "rebates", "pnl", "halted")


def _metrics(summary: dict[str, Any], equity: np.ndarray, pnl: np.ndarray) -> dict[str, Any]:
    """Of the summary what compares trials, the largest fall of equity (pUSD) and the Sharpe ratio of an interval."""
    fall = int((np.maximum.accumulate(equity) - equity).max())
    kept = {name: summary[name] for name in _KEPT}
    return kept | {"max_drawdown": money_text(fall), "sharpe": round(float(sharpe(pnl)), 9)}
