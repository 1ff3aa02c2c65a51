"""What numba cannot compile gets one message: the line, the construct, what to write instead."""

from __future__ import annotations

import importlib.util
import linecache
import subprocess
import sys
from pathlib import Path

import pytest

from polytraders.engine.compile_errors import ARGUMENTS
from polytraders.engine.jit import JIT
from polytraders.engine.kernels import FAMILIES, SIGNATURES, kernel
from polytraders.errors import KernelError

pytestmark = pytest.mark.skipif(not JIT, reason="POLYTRADERS_JIT=0 compiles nothing")
ROOT = Path(__file__).parents[2]

HEAD = """
import time
from decimal import Decimal
import numpy as np
import pandas as pd
from polytraders.engine.jit import inline
from polytraders.engine.kernels import kernel
from polytraders.reasons import Code, lookup

WEIGHTS = {"near": 2}
STEPS = [1, 2]


def plain(x):
    return x + 1


@inline
def spread(market):
    return market.best_asks - market.best_bid


@inline
def double(x):
    return 2 * x


@kernel("strat")
def decide(market, position, account, ladder, memory, targets, params):
"""
DONE = "return np.int64(Code.STRAT_NO_EDGE)"
# name -> lines of the body; of those the one with the mistake; the construct; what to write instead
CASES = {
    "formatted text": ([f"x = f'{{market.x[0]:.2f}}'; {DONE}"], 0, "formats text", "give each word a constant"),
    "text arithmetic": ([f"x = '%d' % market.tick; {DONE}"], 0, "works on text", "give each word a constant"),
    "text method": ([f"x = 'a'.zfillx(3); {DONE}"], 0, "works on text (.zfillx)", "give each word a constant"),
    "text into a number": (["targets[0].want = 'yes'", DONE], 0, "puts text where a number", "its number or enum"),
    "dict from outside": ([f"x = WEIGHTS['near']; {DONE}"], 0, "reads the dict WEIGHTS", "a constant of its own"),
    "list from outside": ([f"x = STEPS[0]; {DONE}"], 0, "reads the list STEPS", "make it a tuple: STEPS = (…)"),
    "empty dict": (["seen = {}", DONE], 0, "seen starts empty", "memory[…]"),
    "list of records": (["w = [t for t in targets if t.want]", DONE], 0, "collects records", "for k in range"),
    "generator": (["x = sum(t.size for t in targets)", DONE], 0, "a generator expression", "for loop"),
    "except": (["x = 0", "try:", "    x = 1 // market.tick", "except ZeroDivisionError:", "    x = 0", DONE], 1,
               "uses except", "test first"),
    "with": (["with open('x') as f:", "    x = 1", DONE], 0, "uses with", "no I/O"),
    "unknown field": ([f"x = market.best_bids; {DONE}"], 0, "market has no field best_bids", "nearest: best_bid,"),
    "unknown field set": (["t = targets[0]", "t.pric = 5_000", DONE], 1, "t has no field pric", "price"),
    "unknown item": ([f"x = position['yess']; {DONE}"], 0, "position has no field yess", "nearest: yes"),
    "unlike any field": ([f"x = market.zzz('tick'); {DONE}"], 0, "market has no field zzz", "its fields: id, recip"),
    "parameter by name": ([f"x = params.edge_bps; {DONE}"], 0, "params has no field", 'SPEC.index("edge_bps")'),
    "float returned": (["return market.tick / 2"], 0, "decide returns a float", "return np.int64(Code.…)"),
    "bool returned": (["return market.tick > 2"], 0, "decide returns true or false", "return np.int64(Code.…)"),
    "text returned": (["return 'STRAT_NO_EDGE'"], 0, "decide returns text", "return np.int64(Code.…)"),
    "two things returned": (["return 1, 2"], 0, "decide returns a tuple", "return np.int64(Code.…)"),
    "no return": (["x = market.tick"], -1, "end without a return", "every way through"),
    "sometimes no return": (["if market.tick > 3:", f"    {DONE}"], -1, "end without a return", "every way through"),
    "plain function": ([f"x = plain(market.tick); {DONE}"], 0, "calls plain, a plain", "@inline above `def plain`"),
    "function of others": ([f"x = lookup('X').number; {DONE}"], 0, "calls lookup", "call it above decide"),
    "built-in": ([f"x = any([market.tick > 3]); {DONE}"], 0, "any() has no compiled form", "for loop"),
    "wrong arguments": ([f"x = double(1, 2); {DONE}"], 0, "other arguments than it takes", "its def"),
    "class": ([f"x = Decimal('0.1'); {DONE}"], 0, "makes an object of Decimal", "local variables"),
    "numpy function": ([f"x = np.gradient(memory); {DONE}"], 0, "np.gradient has no compiled form", "for loop"),
    "numpy keyword": ([f"x = np.nanmedian(memory, axis=0); {DONE}"], 0, "nanmedian takes no axis=", "leave it out"),
    "clock": ([f"x = time.time(); {DONE}"], 0, "time.time has no compiled form", "market.now"),
    "chance": ([f"x = np.random.default_rng(); {DONE}"], 0, "default_rng has no compiled", "no place in a decision"),
    "other library": ([f"x = pd.Series(memory); {DONE}"], 0, "pandas.Series has no compiled form", "hand it in"),
    "undefined name": ([f"x = doubel(3); {DONE}"], 0, "doubel is not defined", "did you mean double"),
    "unknown code": (["return np.int64(Code.STRAT_NO_EGDE)"], 0, "Code has no STRAT_NO_EGDE", "STRAT_NO_EDGE"),
    "two kinds": (["x = 0", "if market.tick > 3:", "    x = ladder", "x += 1", DONE], 3, "x is of two", "two names"),
    "import": (["import math", DONE], 0, "imports inside decide", "at the top"),
    "global": (["global STEPS", "STEPS = 3", DONE], 1, "assigns a global", "memory[…]"),
    "star": ([f"a, *b = (1, 2, 3); {DONE}"], 0, "unpacks with *", "by index"),
    "del": (["x = 3", "del x", DONE], 1, "uses del", "let the name stand"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache_of_the_test(tmp_path, monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))


def load(path: Path, source: str):
    """Write a module and import it."""
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source_of(body: list[str]) -> str:
    return HEAD + "".join(f"    {line}\n" for line in body)


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_named_with_its_line_and_its_mend(name, tmp_path, monkeypatch):
    body, wrong, what, mend = CASES[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KernelError) as refused:
        load(tmp_path / "idea.py", source_of(body))
    error = refused.value
    line = HEAD.count("\n") + 1 + wrong
    assert error.where == f"idea.py:{line}"
    assert what in error.what
    assert error.what.endswith(f"in `{source_of(body).splitlines()[line - 1].strip()}`")
    assert mend in error.mend
    assert "numba says" not in error.what
    assert error.__context__ is None or error.__suppress_context__


def test_a_mistake_in_a_helper_is_shown_in_the_helper(tmp_path):
    with pytest.raises(KernelError, match="no field best_asks, in `return market.best_asks - market.best_bid`"):
        load(tmp_path / "idea.py", source_of([f"x = spread(market); {DONE}"]))


def test_a_refused_decide_is_refused_again_at_the_next_start(tmp_path):
    for _ in range(2):
        with pytest.raises(KernelError, match="decide returns a float"):
            load(tmp_path / "idea.py", source_of(["return market.tick / 2"]))


def test_what_numba_says_is_passed_on_where_nobody_knows_better(tmp_path):
    with pytest.raises(KernelError, match="numba says .*in `x = ladder @ ladder") as refused:
        load(tmp_path / "idea.py", source_of([f"x = ladder @ ladder.reshape(2, 3, 4); {DONE}"]))
    assert "POLYTRADERS_JIT=0" in refused.value.mend


def test_an_exported_module_is_shown_with_its_notebook_and_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head, decide = source_of([f"x = market.best_bids; {DONE}"]).split("@kernel")
    cell = "# %% ../nbs/strategies/idea.ipynb #0a1b2c3d\n@kernel"
    (tmp_path / "package").mkdir()
    with pytest.raises(KernelError) as refused:
        load(tmp_path / "package" / "idea.py", head + cell + decide)
    line = (head + cell + decide).splitlines().index(f"    x = market.best_bids; {DONE}") + 1
    assert refused.value.where == f"package/idea.py:{line} (nbs/strategies/idea.ipynb, cell 0a1b2c3d, line 4)"


def test_a_cell_that_is_not_exported_yet_is_shown_by_its_own_line():
    name, source = "/tmp/ipykernel_1/2.py", source_of([f"x = market.best_bids; {DONE}"])
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    with pytest.raises(KernelError) as refused:
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
    assert refused.value.where == f"this notebook cell, line {HEAD.count(chr(10)) + 1}"
    assert refused.value.what == f"market has no field best_bids, in `x = market.best_bids; {DONE}`"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decide_with_other_arguments_than_its_family_s_is_told_them(family):
    assert ARGUMENTS[family].count(",") + 1 == len(SIGNATURES[family].args)
    with pytest.raises(KernelError, match="decide takes 2 arguments") as refused:
        kernel(family)(two_arguments)
    assert f"def decide({ARGUMENTS[family]})" in refused.value.mend


def two_arguments(market, position):
    return 1


def test_a_start_from_the_cache_does_not_load_the_explanations():
    code = "import sys; from polytraders.bots import load_bot; load_bot('risk.stale_book_guard'); "
    code += "print('polytraders.engine.compile_errors' in sys.modules)"
    said = [subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True) for _ in range(2)]
    assert said[1].stdout.strip() == "False", said[1].stderr
