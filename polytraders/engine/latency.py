"""Latencies of messages to and from the venue as tables of ns, drawn or measured before a run begins.

A run takes the entries of a table in turn, one a message, and begins again at its end: no chance inside the
run, and the same settings give the same run. Orders and answers never overtake each other; a message that
drew less than the one before it arrives together with that one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polytraders.errors import DataError
from polytraders.units import NS_PER_MS, NS_PER_S

DRAWS = 1 << 16
"""Entries of a drawn table: more orders than most runs send."""
LONGEST = 60 * NS_PER_S
"""ns; a measured latency beyond it is an error of the measurement."""
ENTRY, RESPONSE = "entry_ns", "response_ns"
"""Columns of a file of measured latencies: our request to the venue's engine, the engine's answer to us."""


@dataclass(frozen=True, eq=False)
class Latency:
    """table: int64[k], ns. name: what is printed on results."""

    name: str
    table: np.ndarray


def log_normal(median: int, sigma: float, seed: int) -> Latency:
    """Latencies of a log-normal distribution. median ns; sigma: standard deviation of the logarithm (0.5: one in
    six takes more than 1.65 times the median); seed: of the draws."""
    draws = np.random.Generator(np.random.PCG64(seed)).standard_normal(DRAWS)
    table = np.rint(median * np.exp(sigma * draws)).astype(np.int64)
    return Latency(f"log-normal({median / NS_PER_MS:g} ms, sigma {sigma:g}, seed {seed})", table)


def recorded(path: Path | str, column: str) -> Latency:
    """Measured latencies from a Parquet, CSV or npy file: `column` (ENTRY or RESPONSE), whole ns, in order of time.

    An npy file holds a structured array with that field. Raises DataError for anything that is no such table.
    """
    path = Path(path)
    rule = f"Parquet, CSV or npy with a column {column}: whole ns from 0 to {LONGEST}"
    try:
        values = _column(path, column)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read latencies: {error}", where=str(path), rule=rule) from None
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        raise DataError(f"{column} holds no whole numbers", where=str(path), rule=rule)
    bad = np.flatnonzero((values < 0) | (values > LONGEST))
    if len(bad):
        raise DataError(f"{column} is {values[bad[0]]} ns", where=f"{path}, row {bad[0]}", rule=rule)
    table = values.astype(np.int64)
    digest = hashlib.sha256(table.tobytes()).hexdigest()[:12]
    median = float(np.median(table)) / NS_PER_MS
    return Latency(f"recorded({path.name}, {len(table)} of median {median:g} ms, {digest})", table)


def _column(path: Path, column: str) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)[column]
    import pandas as pd

    if path.suffix == ".parquet":
        return pd.read_parquet(path, columns=[column], use_threads=False, pre_buffer=False)[column].to_numpy()
    if path.suffix == ".csv":
        return pd.read_csv(path, usecols=[column])[column].to_numpy()
    raise ValueError(f"{path.suffix or 'no suffix'} is no known kind of file")
