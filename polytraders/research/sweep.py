"""Sweeps: many parameter sets on one recording, every trial written down, and what the best of them is worth.

A sweep is a folder `<home>/sweeps/<id>/`:

============  ===========================================================================================
sweep.json    strategy, space, how it was sampled and with which seed, configuration, data pin, models, source hash
trials.jsonl  one row a trial, as it ends (see `trials`); of a trial that stands twice the last row counts
============  ===========================================================================================

The id is a hash of everything that decides a result: the same call goes on where it was interrupted,
runs again what failed, and another one never mixes with it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from polytraders import __version__
from polytraders.bots import load_bot
from polytraders.config import home
from polytraders.engine.jit import source_hash
from polytraders.errors import DamageError, UsageError
from polytraders.research import statistics
from polytraders.research.space import Space, grid_points, random_points, read_space, search_space
from polytraders.research.trials import INTERVALS, Job, Trial, make_job
from polytraders.research.workers import cores, run_here, run_local, run_ray
from polytraders.run.backtest import venue_model

if TYPE_CHECKING:
    import pandas as pd

    from polytraders.config import Settings
    from polytraders.data.catalog import Session

MANIFEST, TRIALS = "sweep.json", "trials.jsonl"
CONFIDENCE = 0.95
"""A deflated Sharpe ratio below this is not told from luck."""
BLOCKS = 16
BOOTSTRAP_SEED = 1


def sweeps_root() -> Path:
    """Folder of all sweeps."""
    return home() / "sweeps"


def sweep(
    session: Session,
    settings: Settings,
    strategy: str = "strat.maker_tight",
    *,
    grid: Mapping[str, Any] | None = None,
    random: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    ray: str | None = None,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Try many parameter sets of a strategy on a session.

    Parameters
    ----------
    grid: what to try, see `space.read_space`; default the SEARCH_SPACE of the strategy's spec.
    random: draw this many points of the grid with `seed`; default every point.
    workers: processes of this machine, default one a core; 0 runs in this process.
    ray: address of a Ray cluster (`auto`, `local`, ray://...) to run on instead.
    root: folder of sweeps, default `sweeps_root()`. progress: called with (trials done, trials in all).

    Raises ConfigError or UsageError before anything runs. An interrupted sweep keeps what is done.
    """
    strategy = load_bot(strategy).id
    space = read_space(settings, strategy, grid) if grid else search_space(strategy)
    points = grid_points(space) if random is None else random_points(space, random, seed)
    job = make_job(session, settings, strategy, seed)
    folder = _folder(root or sweeps_root(), session, job, space, points, random)
    done = {row["trial"] for row in read_rows(folder / TRIALS, mend=True) if row["error"] is None}
    todo = [(number, point) for number, point in enumerate(points) if number not in done]
    if progress:
        progress(len(done), len(points))
    if todo:
        with (folder / TRIALS).open("ab") as file:
            rows = _rows(job, todo, cores() if workers is None else workers, ray)
            try:
                for count, row in enumerate(rows, start=len(done) + 1):
                    file.write(orjson.dumps(row) + b"\n")
                    file.flush()
                    if progress:
                        progress(count, len(points))
            finally:
                rows.close()
    return load_sweep(folder)


def _rows(job: Job, todo: list[Trial], workers: int, ray: str | None) -> Iterator[dict[str, Any]]:
    if ray is not None:
        return run_ray(job, todo, ray)
    return run_local(job, todo, workers) if workers else run_here(job, todo)


def _folder(root: Path, session: Session, job: Job, space: Space, points: list, random: int | None) -> Path:
    """The sweep's folder with its manifest, new or as an earlier call left it."""
    decides = {
        "strategy": job.strategy,
        "config_hash": job.settings.hash,
        "data": job.data,
        "source_hash": source_hash(),
        "points": points,
        "seed": job.seed,
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    folder = root / f"s_{digest[:16]}"
    if not (folder / MANIFEST).exists():
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "sweep_id": folder.name,
            "strategy": job.strategy,
            "strategy_version": load_bot(job.strategy).spec.version,
            "package_version": __version__,
            "source_hash": source_hash(),
            "sampling": {"method": "grid" if random is None else "random", "seed": job.seed},
            "space": {key: list(values) for key, values in space.items()},
            "trials": len(points),
            "recording": session.name,
            "pin": session.pin,
            "data": job.data,
            "notes": list(session.notes),
            "models": venue_model(job.settings).names(),
            "config": job.settings.as_dict(),
            "config_hash": job.settings.hash,
            "grid_ns": [int(job.grid[0]), int(job.grid[-1])],
            "created_ns": time.time_ns(),
        }
        draft = folder / f".{MANIFEST}"
        draft.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2, default=str))
        draft.rename(folder / MANIFEST)
    return folder


def read_rows(path: Path, *, mend: bool = False) -> list[dict[str, Any]]:
    """The rows of a trial log, the last of each trial, by trial. A last line that is not whole is left out.

    mend: cut such a line off the file too, before more is written behind it.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if mend and whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    rows = {}
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            row = orjson.loads(line)
            rows[row["trial"]] = row
        except (ValueError, KeyError, TypeError):
            raise DamageError(
                "this line is no trial",
                where=f"{path}:{number}",
                rule="every line is one JSON object with its trial's number",
                mend="delete the line; the same sweep runs the trial again",
            ) from None
    return [rows[number] for number in sorted(rows)]


def load_sweep(sweep: str | Path) -> SweepResult:
    """A sweep by its id or folder. Raises UsageError when there is none."""
    folder = sweeps_root() / sweep if isinstance(sweep, str) else sweep
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        there = ", ".join(sorted(p.parent.name for p in sweeps_root().glob(f"*/{MANIFEST}"))[-5:]) or "none"
        raise UsageError(
            f"there is no sweep {folder.name}", where=str(folder.parent), mend=f"there are: {there}"
        ) from None
    return SweepResult(folder, manifest, read_rows(folder / TRIALS))


@dataclass(frozen=True)
class Evidence:
    """What speaks for the best trial of a sweep, given how many there were. Sharpe ratios are per interval.

    trials, effective: how many were run, and how many independent ones they amount to.
    psr: probability that the best one's Sharpe ratio is above 0, had it been the only one. dsr: the
    same, deflated by the effective number of trials. expected_best: the Sharpe ratio luck alone would show.
    track_record: intervals that would be needed for a dsr of 95 % (inf: no number is enough), of `intervals`.
    low, high: 95 % interval of the best one's Sharpe ratio by the stationary bootstrap.
    pbo: probability that choosing the best here chooses below the median elsewhere; loss: that it then
    loses money; slope: of the Sharpe ratio there on that here (None of a single trial).
    """

    trials: int
    effective: float
    intervals: int
    sharpe: float
    expected_best: float
    psr: float
    dsr: float
    track_record: float
    low: float
    high: float
    pbo: float | None
    loss: float | None
    slope: float | None

    @property
    def overfitted(self) -> bool:
        """True when the best trial cannot be told from the best of as many without any skill."""
        return self.dsr < CONFIDENCE or (self.pbo is not None and self.pbo >= 0.5)


def weigh(returns: np.ndarray) -> Evidence:
    """The evidence for the best column, by Sharpe ratio, of returns[n, k]: one column a trial that ended well."""
    ratios = statistics.sharpe(returns)
    k = returns.shape[1]
    best = returns[:, int(np.argmax(ratios))]
    m = statistics.moments(best)
    effective = statistics.effective_trials(returns)
    variance = float(ratios.var(ddof=1)) if k > 1 else 0.0
    luck = statistics.expected_best(variance, effective)
    low, high = statistics.bootstrap(best, seed=BOOTSTRAP_SEED, confidence=CONFIDENCE)
    cross = statistics.overfitting(returns, BLOCKS) if k > 1 else None
    return Evidence(
        trials=k,
        effective=effective,
        intervals=len(returns),
        sharpe=m.sharpe,
        expected_best=luck,
        psr=statistics.probabilistic_sharpe(m),
        dsr=statistics.deflated_sharpe(m, variance, effective),
        track_record=statistics.minimum_track_record(m, luck, CONFIDENCE),
        low=low,
        high=high,
        pbo=cross.pbo if cross else None,
        loss=cross.loss if cross else None,
        slope=cross.slope if cross else None,
    )


@dataclass(frozen=True)
class SweepResult:
    """A sweep as its folder has it: `manifest` is sweep.json, `rows` the trials that ended, well or not."""

    folder: Path
    manifest: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def id(self) -> str:
        return self.manifest["sweep_id"]

    @property
    def done(self) -> list[dict[str, Any]]:
        """Rows of trials that ended well."""
        return [row for row in self.rows if row["error"] is None]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Rows of trials that did not."""
        return [row for row in self.rows if row["error"] is not None]

    @property
    def complete(self) -> bool:
        """True when every trial has ended well."""
        return len(self.done) == self.manifest["trials"]

    @cached_property
    def returns(self) -> np.ndarray:
        """float64[INTERVALS, trials that ended well]: profit of each interval as a share of the deposit."""
        deposit = float(self.manifest["config"]["portfolio"]["cash_pusd"]) * 1e6
        return np.array([row["pnl"] for row in self.done], float).reshape(-1, INTERVALS).T / deposit

    @property
    def best(self) -> dict[str, Any]:
        """Row of the trial with the highest Sharpe ratio. Raises UsageError when none ended well."""
        if not self.done:
            why = f"; the first says: {self.failed[0]['error']}" if self.failed else ""
            raise UsageError(f"no trial of {self.id} ended well{why}", where=str(self.folder / TRIALS))
        return self.done[int(np.argmax(statistics.sharpe(self.returns)))]

    @cached_property
    def evidence(self) -> Evidence:
        """What the best trial is worth."""
        self.best  # noqa: B018 - says so when there is none
        return weigh(self.returns)

    @cached_property
    def tried_before(self) -> int:
        """Trials of the other sweeps in this folder's neighbourhood, of the same strategy on the same recording."""
        same = ("strategy", "recording")
        others = [orjson.loads(path.read_bytes()) for path in self.folder.parent.glob(f"*/{MANIFEST}")]
        return sum(
            other["trials"]
            for other in others
            if other["sweep_id"] != self.id and all(other[key] == self.manifest[key] for key in same)
        )

    def name(self, key: str) -> str:
        """A key of the space as people call it: a parameter of the strategy without its section."""
        return key.removeprefix(self.manifest["strategy"] + ".")

    def table(self) -> pd.DataFrame:
        """One row a trial: its values, metrics (money in pUSD), seconds and error; the best Sharpe ratio first."""
        import pandas as pd

        rows = []
        for row in self.rows:
            params = {self.name(key): _number(value) for key, value in row["params"].items()}
            metrics = {key: _number(value) for key, value in row.get("metrics", {}).items()}
            rows.append({"trial": row["trial"], **params, **metrics, "seconds": row["seconds"], "error": row["error"]})
        table = pd.DataFrame(rows)
        return (
            table.sort_values(["sharpe", "trial"], ascending=[False, True], ignore_index=True) if self.done else table
        )

    def heatmap(self, x: str, y: str, metric: str = "pnl"):
        """plotly figure: the mean of a metric over all trials that share the values of two parameters."""
        import plotly.graph_objects as go

        table = self.table()
        for column in (x, y, metric):
            if column not in table:
                raise UsageError(f"the sweep has no column {column!r}", rule="one of " + ", ".join(table.columns))
        grid = table[table["error"].isna()].pivot_table(index=y, columns=x, values=metric, aggfunc="mean")
        labels = [str(v) for v in grid.columns], [str(v) for v in grid.index]
        figure = go.Figure(
            go.Heatmap(z=grid.to_numpy(), x=labels[0], y=labels[1], colorscale="RdBu", zmid=0, colorbar_title=metric)
        )
        return figure.update_layout(
            title=f"BACKTEST: mean {metric} of {len(self.done):,} trials by {x} and {y}",
            xaxis={"title": x, "type": "category"},
            yaxis={"title": y, "type": "category"},
            template="plotly_white",
        )

    def sentences(self) -> list[str]:
        """What a reader has to know before the numbers."""
        e = self.evidence
        planned = self.manifest["trials"]
        said = [
            f"{planned:,} parameter sets were tried on {self.manifest['recording']}; they amount to about "
            f"{e.effective:,.0f} independent trials.",
            f"The best has a Sharpe ratio of {e.sharpe:.3f} per interval ({e.low:.3f} … {e.high:.3f}); "
            f"the best of as many without any skill would show {e.expected_best:.3f}.",
            f"The probability that its edge is real is {e.dsr:.1%}; "
            f"had it been the only trial, it would be {e.psr:.1%}.",
        ]
        if e.pbo is not None:
            said.append(
                "Choosing the best on one half of the recording chose one below the median of the other half "
                f"in {e.pbo:.1%} of the splits, and one that lost money there in {e.loss:.1%}."
            )
        if e.dsr < CONFIDENCE and np.isfinite(e.track_record):
            said.append(
                f"To call its edge real with {CONFIDENCE:.0%} the recording would have to be "
                f"{e.track_record / e.intervals:.1f} times as long."
            )
        if e.overfitted:
            said.append("This result cannot be told from luck.")
        if self.tried_before:
            said.append(
                f"Other sweeps tried this strategy on this recording {self.tried_before:,} times more: "
                "these numbers do not know of them, and flatter."
            )
        if not self.complete:
            said.append(
                f"{len(self.failed):,} trials failed and {planned - len(self.rows):,} did not run: "
                "the numbers are of the rest."
            )
        return said

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        manifest = {key: self.manifest[key] for key in ("strategy", "recording", "data", "config_hash", "sampling")}
        best = {key: self.best[key] for key in ("trial", "params", "metrics", "config_hash")}
        return {
            "sweep_id": self.id,
            "folder": self.folder,
            **manifest,
            "trials": self.manifest["trials"],
            "done": len(self.done),
            "failed": len(self.failed),
            "tried_before": self.tried_before,
            "best": best,
            "evidence": {key: _finite(value) for key, value in vars(self.evidence).items()},
            "overfitted": self.evidence.overfitted,
        }

    def _repr_html_(self) -> str:
        from html import escape

        if not self.done:
            return f"<p><b>{self.id}</b>: no trial of {self.manifest['trials']:,} ended well.</p>"
        lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences())
        head = f"<b>SWEEP</b> {self.id} · {self.manifest['strategy']} · BACKTEST"
        return f"<p>{head}</p><ul>{lines}</ul>" + self.table().head(10).to_html(index=False, border=0)


def _number(value: Any) -> Any:
    """Decimal text as a number, for tables; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        return value


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
