"""Where compiled kernels are kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from polytraders.engine.jit import JIT, engine_hash


@pytest.mark.skipif(not JIT, reason="plain Python keeps nothing")
def test_the_cache_is_the_engines_own_also_where_numba_was_there_first():
    """numba reads the variable once: in a notebook that imports vectorbt before us it is too late for it."""
    told = "import os; os.environ.pop('NUMBA_CACHE_DIR', None); import numba; import polytraders.engine.jit; "
    said = subprocess.run(
        [sys.executable, "-c", told + "print(numba.config.CACHE_DIR)"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip().endswith(engine_hash()[:16])
