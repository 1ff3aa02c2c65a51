"""Parquet files, read without pyarrow's threads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(source: Path | bytes) -> pa.Table:
    """A whole Parquet file, from its path or its bytes. Raises OSError and pyarrow.ArrowException as pyarrow does.

    `pyarrow.parquet.read_table` reads on a pool of threads, and a short process that ends while one of them still runs
    now and then aborts ("terminate called without an active exception", apache/arrow#34314): exit code 134 in place of
    ours. Read in our own thread there is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, pre_buffer=False)
    with opened:
        return opened.read(use_threads=False)
