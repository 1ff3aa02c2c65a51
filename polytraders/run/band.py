"""One backtest under three fill models: what is uncertain about the fills, carried into the profit.

The central case is the run itself, with its log. The other two are the same backtest under the settings that a
calibration gives as its low and high end; of them only the equity is kept, in `band.json` beside the log. The report
draws the three as a band. It is no confidence interval: it spans what the recording leaves open about queues, not what
another day would bring.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from polytraders.errors import DamageError, UsageError
from polytraders.rows import SAMPLE
from polytraders.run.backtest import RunResult, run_backtest
from polytraders.store.log import RecordKind, read_log

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.catalog import Session

FILE = "band.json"
CASES = ("low", "central", "high")


def run_band(
    session: Session,
    settings: Settings,
    cases: Mapping[str, Mapping[str, str]],
    source: Mapping[str, Any],
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> tuple[RunResult, dict[str, Any]]:
    """Run the three cases. Returns (the central run, the band as it stands in its `band.json`).

    cases: low, central, high -> overrides of the settings. source: where they come from, for the reader. options: as
    `run_backtest` takes them; the run must keep its log. progress: of the central case.
    """
    if set(cases) != set(CASES):
        raise UsageError("a band has three cases", rule=", ".join(CASES), mend="take a calibration's `band`")
    central = run_backtest(session, settings.with_overrides(cases["central"]), progress=progress, **options)
    if central.folder is None:
        raise UsageError("a band stands beside the run's log", mend="keep the log")
    told = {"source": dict(source), "cases": {}}
    side = {key: value for key, value in options.items() if key == "strategy"}
    for case in CASES:
        if case == "central" or cases[case] == cases["central"]:
            result, samples = central, _samples(central.folder)
        else:
            with tempfile.TemporaryDirectory() as folder:
                result = run_backtest(
                    session, settings.with_overrides(cases[case]), run_dir=Path(folder) / case, **side
                )
                samples = _samples(Path(folder) / case)
        told["cases"][case] = {
            "settings": dict(cases[case]),
            "pnl": result.summary["pnl"],
            "fills": result.summary["fills"],
            "ts": samples["ts"].tolist(),
            "equity": samples["equity"].tolist(),
        }
    (central.folder / FILE).write_bytes(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))
    return central, told


def read_band(folder: Path) -> dict[str, Any] | None:
    """The band of a run, None when it has none. Raises DamageError when it cannot be read."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        found = orjson.loads(path.read_bytes())
        if set(found["cases"]) != set(CASES):
            raise ValueError("its cases are not low, central and high")
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(f"cannot be read: {error}", where=str(path), mend="run the backtest again") from None
    return found


def envelope(band: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ts, lowest, highest) equity of the three cases, ns and micro-pUSD, at every time any of them was sampled."""
    cases = [(np.array(c["ts"], np.int64), np.array(c["equity"], np.int64)) for c in band["cases"].values()]
    ts = np.unique(np.concatenate([at for at, _ in cases]))
    held = np.array([equity[np.maximum(np.searchsorted(at, ts, "right") - 1, 0)] for at, equity in cases])
    return ts, held.min(axis=0), held.max(axis=0)


def _samples(folder: Path) -> np.ndarray:
    parts = [table for kind, table in read_log(folder).records() if kind == RecordKind.SAMPLES]
    return np.concatenate(parts) if parts else np.zeros(0, SAMPLE)
