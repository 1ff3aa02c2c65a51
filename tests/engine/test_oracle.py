"""The compiled step against the same step in plain Python, on real recordings: rows, fills and ledger."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("oracle_run.py")


def run(root: Path, name: str, rows: int, interval_ms: int, jit: bool) -> dict:
    env = os.environ | {"POLYTRADERS_JIT": "1" if jit else "0", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(SCRIPT), str(root), name, str(rows), str(interval_ms)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def catalog(shared, tmp_path_factory) -> Path:
    from polytraders.data.importer import import_files

    root = tmp_path_factory.mktemp("oracle")
    files = {
        "btc-raw": shared("data/polymarket/ws/raw_all_event_types/btc5m_20260421T215333Z_market-ws.jsonl.zst"),
        "mlb": shared("data/polymarket/ws/mlb2025_l2/20250617_mlb-sd-lad-2025-06-17_polymarket-market-events.csv.zst"),
    }
    for name, path in files.items():
        import_files([path], name, root=root)
    return root


@pytest.mark.parametrize(("name", "rows", "interval_ms"), [("btc-raw", 10_000, 0), ("mlb", 12_000, 100)])
def test_plain_python_gives_the_same_rows_fills_and_ledger(catalog, name, rows, interval_ms):
    compiled = run(catalog, name, rows, interval_ms, jit=True)
    plain = run(catalog, name, rows, interval_ms, jit=False)
    assert compiled.pop("jit") and not plain.pop("jit")
    assert compiled == plain
    assert compiled["rows"]["decisions"][0] > 20
