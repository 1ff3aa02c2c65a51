"""Walk-forward: choose on one window, trade the next with what was chosen, move on; only the second part counts.

Each fold runs from the beginning of its training window to the end of its test window with the
parameters that the training window chose, and of that run the test window's profit is kept: so it
starts warm, with the book, the volumes and the position a desk would have had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.data.catalog import window
from polytraders.errors import UsageError
from polytraders.research.statistics import bootstrap, moments, probabilistic_sharpe
from polytraders.research.sweep import BOOTSTRAP_SEED, SweepResult, sweep
from polytraders.research.trials import at_times, make_job, trade
from polytraders.units import NS_PER_S, iso_utc

if TYPE_CHECKING:
    import pandas as pd

    from polytraders.config import Settings
    from polytraders.data.catalog import Session

STEPS = 60
"""Points of the out-of-sample equity in each test window."""


@dataclass(frozen=True)
class Fold:
    """One step. Times ns, profits micro-pUSD; ts, pnl: profit of the test window up to each of STEPS times."""

    train: tuple[int, int]
    test: tuple[int, int]
    params: dict[str, str]
    sweep: SweepResult
    in_sample: int  # profit of the chosen parameters in the training window
    out_of_sample: int  # and in the test window
    ts: np.ndarray
    pnl: np.ndarray


@dataclass(frozen=True)
class WalkForward:
    """All folds in order; the test windows do not overlap and leave no gap."""

    strategy: str
    recording: str
    folds: tuple[Fold, ...]
    deposit: int  # micro-pUSD

    @property
    def out_of_sample(self) -> int:
        """Profit of all test windows together, micro-pUSD."""
        return sum(fold.out_of_sample for fold in self.folds)

    @property
    def efficiency(self) -> float:
        """Profit per second out of sample as a share of that in sample; nan when nothing was earned in sample."""
        inside = sum(fold.in_sample for fold in self.folds)
        seconds = [sum(b - a for a, b in spans) for spans in zip(*((f.train, f.test) for f in self.folds), strict=True)]
        return self.out_of_sample / inside * seconds[0] / seconds[1] if inside > 0 else float("nan")

    def returns(self) -> np.ndarray:
        """float64[STEPS x folds]: out-of-sample profit of each step as a share of the deposit."""
        return np.concatenate([np.diff(fold.pnl, prepend=0) for fold in self.folds]) / self.deposit

    def equity(self) -> pd.DataFrame:
        """The stitched out-of-sample curve: time (UTC), pnl (pUSD since the first test window began), fold."""
        import pandas as pd

        base, parts = 0, []
        for number, fold in enumerate(self.folds):
            time = pd.to_datetime(fold.ts, unit="ns", utc=True)
            parts.append(pd.DataFrame({"time": time, "pnl": (base + fold.pnl) / 1e6, "fold": number}))
            base += fold.out_of_sample
        return pd.concat(parts, ignore_index=True)

    def table(self) -> pd.DataFrame:
        """One row a fold: windows, what was chosen, profit in and out of sample (pUSD)."""
        import pandas as pd

        return pd.DataFrame(
            {
                "train from": iso_utc(fold.train[0]),
                "test from": iso_utc(fold.test[0]),
                "test to": iso_utc(fold.test[1]),
                **{fold.sweep.name(key): value for key, value in fold.params.items()},
                "trials": len(fold.sweep.rows),
                "in sample": fold.in_sample / 1e6,
                "out of sample": fold.out_of_sample / 1e6,
            }
            for fold in self.folds
        )

    def as_dict(self) -> dict[str, Any]:
        """The numbers that say whether the choice was worth anything."""
        m = moments(self.returns())
        low, high = bootstrap(self.returns(), seed=BOOTSTRAP_SEED)
        return {
            "strategy": self.strategy,
            "recording": self.recording,
            "folds": len(self.folds),
            "trials": sum(len(fold.sweep.rows) for fold in self.folds),
            "in_sample_pusd": sum(fold.in_sample for fold in self.folds) / 1e6,
            "out_of_sample_pusd": self.out_of_sample / 1e6,
            "winning_folds": sum(fold.out_of_sample > 0 for fold in self.folds),
            "efficiency": None if np.isnan(self.efficiency) else self.efficiency,
            "sharpe": m.sharpe,
            "sharpe_interval": [low, high],
            "psr": probabilistic_sharpe(m),
        }

    def _repr_html_(self) -> str:
        said = self.as_dict()
        head = (
            f"<p><b>WALK-FORWARD</b> {self.strategy} on {self.recording} · BACKTEST</p><p>{said['folds']} folds, "
            f"{said['trials']:,} trials: {said['in_sample_pusd']:,.2f} pUSD in sample, "
            f"{said['out_of_sample_pusd']:,.2f} out of sample, {said['winning_folds']} folds won. Probability that the "
            f"out-of-sample Sharpe ratio is above 0: {said['psr']:.1%}.</p>"
        )
        return head + self.table().to_html(index=False, border=0)


def walk_forward(
    session: Session,
    settings: Settings,
    strategy: str = "strat.maker_tight",
    *,
    train: int,
    test: int,
    grid: Mapping[str, Any] | None = None,
    random: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WalkForward:
    """Optimise on `train` ns, trade the next `test` ns, step on by `test`, to the end of the session.

    The other arguments are those of `sweep`; the parameters with the best Sharpe ratio are chosen.
    A test window that the session does not fill is left out. Raises UsageError when there is none.
    """
    first, last = int(session.events["ts_recv"][0]), int(session.events["ts_recv"][-1]) + 1
    count = (last - first - train) // test if train > 0 and test > 0 else 0
    if count < 1:
        raise UsageError(
            f"{session.name} lasts {(last - first) / NS_PER_S:,.0f} s",
            rule=f"train and test ({train / NS_PER_S:,.0f} s and {test / NS_PER_S:,.0f} s) have to fit into it",
            mend="shorter windows, or more data",
        )
    folds = []
    for k in range(count):
        start = first + k * test
        cut, end = start + train, start + train + test
        options = {"grid": grid, "random": random, "seed": seed, "workers": workers, "root": root}
        chosen = sweep(window(session, start, cut), settings, strategy, **options)
        params = chosen.best["params"]
        folds.append(_fold(session, settings.with_overrides(params, "walk-forward"), chosen, start, cut, end))
        if progress:
            progress(k + 1, count)
    deposit = settings.portfolio.cash_micro
    return WalkForward(folds[0].sweep.manifest["strategy"], session.name, tuple(folds), deposit)


def _fold(session: Session, settings: Settings, chosen: SweepResult, start: int, cut: int, end: int) -> Fold:
    job = make_job(window(session, start, end), settings, chosen.manifest["strategy"])
    _, ts, equity = trade(job, settings)
    grid = np.array([cut + (end - cut) * k // STEPS for k in range(STEPS + 1)], np.int64)
    pnl = at_times(ts, equity, grid)
    pnl = pnl - pnl[0]
    inside = sum(chosen.best["pnl"])
    return Fold((start, cut), (cut, end), chosen.best["params"], chosen, inside, int(pnl[-1]), grid[1:], pnl[1:])
