"""Where compiled kernels are kept, and what is compiled into them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from polytraders.engine.jit import JIT, engine_hash
from polytraders.engine.kernels import SIGNATURES
from polytraders.engine.probe import probe
from polytraders.engine.state import PARAMS, records


@pytest.mark.skipif(not JIT, reason="plain Python keeps nothing")
def test_the_cache_is_the_engines_own_also_where_numba_was_there_first():
    """numba reads the variable once: in a notebook that imports vectorbt before us it is too late for it."""
    told = "import os; os.environ.pop('NUMBA_CACHE_DIR', None); import numba; import polytraders.engine.jit; "
    said = subprocess.run(
        [sys.executable, "-c", told + "print(numba.config.CACHE_DIR)"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip().endswith(engine_hash()[:16])


KERNEL = """
import numpy as np

from polytraders.engine.jit import inline
from polytraders.engine.kernels import kernel


@inline
def seen(ladder, first, count):
    {seen}


@kernel("intel")
def decide(market, position, account, ladder, params):
    if market.now < 0:
        return 0
    return seen(ladder, market.bid_level, 2) // 1_000_000
"""
PLAIN = "return ladder[first] + ladder[first - count + 1]"
"""Two cells one after the other, of a book whose best bids are neighbours."""
WITH_ARRAY = """cells = np.zeros(count, np.int64)
    for i in range(count):
        cells[i] = ladder[first - i]
    return cells.sum()"""


def fresh(tmp_path, seen):
    """A sensor that no cache knows."""
    path = tmp_path / "sensor.py"
    path.write_text(KERNEL.format(seen=seen))
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("sensor", path))
    spec.loader.exec_module(module)
    return module.decide


def says(decide) -> int:
    p = probe(bids=[("0.62", "100"), ("0.61", "50")], asks=[("0.63", "80")])
    return int(decide(p.market, p.position, p.account, p.ladder, records(PARAMS, 1)[0]))


@pytest.mark.skipif(not JIT, reason="plain Python counts its own references")
def test_a_kernel_counts_no_references(tmp_path):
    decide = fresh(tmp_path, PLAIN)
    assert "NRT_" not in decide.inspect_asm(SIGNATURES["intel"].args)
    assert says(decide) == 150


@pytest.mark.skipif(not JIT, reason="plain Python makes arrays as it likes")
def test_a_kernel_whose_helper_makes_an_array_is_compiled_all_the_same(tmp_path):
    decide = fresh(tmp_path, WITH_ARRAY)
    assert "NRT_" in decide.inspect_asm(SIGNATURES["intel"].args)
    assert says(decide) == 150
