"""Packed rows: what goes in comes out, and what is no packing is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytraders.rows import ACTION, DECISION, EVENT, SAMPLE
from polytraders.store.log import LogWriter, RecordKind, read_log, verify_log
from polytraders.store.packing import SHAPES, SLACK, pack, room, unpack

DTYPES = [EVENT, DECISION, ACTION, SAMPLE]


def arbitrary(dtype: np.dtype, count: int, seed: int) -> np.ndarray:
    """Rows of any bytes, some of them like the row before, some with a small change."""
    random = np.random.default_rng(seed)
    words = np.frombuffer(random.bytes(count * dtype.itemsize), np.int64).reshape(count, -1).copy()
    for i in range(1, count):
        same = random.random(words.shape[1])
        words[i] = np.where(same < 0.8, words[i - 1] + (same < 0.3) * random.integers(-300, 300), words[i])
    return words.reshape(-1).view(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=["event", "decision", "action", "sample"])
@given(count=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_any_rows_come_back_byte_for_byte(dtype: np.dtype, count: int, seed: int) -> None:
    table = arbitrary(dtype, count, seed)
    packed = pack(table)
    assert len(packed) <= room(SHAPES[dtype], count)
    assert unpack(packed.copy(), dtype, count).tobytes() == table.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=["event", "decision", "action", "sample"])
@given(count=st.integers(2, 30), seed=st.integers(0, 2**32), place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_damage_is_refused_or_gives_rows_but_never_runs_outside(dtype, count, seed, place, value) -> None:
    packed = pack(arbitrary(dtype, count, seed)).copy()
    packed[place % len(packed)] = value
    rows = unpack(packed, dtype, count)
    assert rows is None or len(rows) == count
    assert unpack(packed[: place % len(packed)], dtype, count) is None
    assert unpack(np.append(pack(arbitrary(dtype, count, seed)), np.uint8(0)), dtype, count) is None
    assert unpack(packed, dtype, 0) is None


def test_the_layout_is_the_documented_one() -> None:
    table = np.zeros(3, EVENT)
    table["seq"], table["ref"], table["price"] = [7, 8, 9], [1, 2, 3], [500, 499, 499]
    table["size"] = [0, 0, 300]
    packed = pack(table).tobytes()
    first, rest = packed[:64], packed[64:]
    assert first == table[:1].tobytes()
    # price is word 3, size word 4: one byte for -1 (folded 1), two for +300 (folded 600)
    controls = (1 << 12).to_bytes(4, "little") + (2 << 16).to_bytes(4, "little")
    assert rest == controls + bytes(SLACK) + bytes([1]) + (600).to_bytes(2, "little") + bytes(SLACK)


def test_plain_python_packs_to_the_same_bytes() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_packing as t\n"
        "for dtype in t.DTYPES:\n"
        "    table = t.arbitrary(dtype, 25, 5); packed = t.pack(table).copy()\n"
        "    assert t.unpack(packed, dtype, 25).tobytes() == table.tobytes()\n"
        "    print(packed.tobytes().hex())"
    )
    folder = os.path.dirname(__file__)
    plain = subprocess.run(
        [sys.executable, "-c", program, folder],
        env=os.environ | {"POLYTRADERS_JIT": "0"},
        capture_output=True,
        text=True,
    )
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.split() == [pack(arbitrary(dtype, 25, 5)).tobytes().hex() for dtype in DTYPES]


def test_a_log_of_many_rows_is_packed_and_reads_as_before(tmp_path) -> None:
    count = 5_000
    table = np.zeros(count, EVENT)
    table["ts_recv"] = table["ts_event"] = np.cumsum(np.arange(count) % 977)
    table["seq"], table["price"] = np.arange(count), 5_000 + np.arange(count) % 7 * 100
    with LogWriter(tmp_path / "r", {"run_id": "packed"}, seal_events=False) as writer:
        writer.append(RecordKind.EVENTS, table)
        writer.append(RecordKind.EVENTS, table[:3])
        writer.close({})
    assert (tmp_path / "r" / "segment-000000.log").stat().st_size < table.nbytes / 4
    log = read_log(tmp_path / "r")
    assert log.events().tobytes() == table.tobytes() + table[:3].tobytes()
    assert log.summary["log"]["rows"]["events"] == count + 3
    verdict = verify_log(tmp_path / "r")
    assert verdict.ok and verdict.closed and verdict.log_hash == writer.log_hash
