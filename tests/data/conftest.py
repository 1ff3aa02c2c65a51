"""Fixtures of the data tests: messages to write, a catalog to import into, the real recordings imported once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from wire import Bench, Wire

from polytraders.data.catalog import Catalog
from polytraders.data.importer import Imported, import_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty POLYTRADERS_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("POLYTRADERS_HOME", str(folder))
    return folder


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- the real recordings, imported once -------------------------------------------------------------

WS = "data/polymarket/ws"
REAL = {
    "april": f"{WS}/btc5m_book_stream/btc-updown-5m_book_20260413T1535-1605.jsonl.zst",
    "capture": f"{WS}/raw_all_event_types/btc5m_20260421T215333Z_market-ws.jsonl.zst",
    "session": f"{WS}/multifeed_sessions/m9-rtds-natural-20260429T021025Z-fresh/raw_messages.jsonl.zst",
    "sd-lad": f"{WS}/mlb2025_l2/20250617_mlb-sd-lad-2025-06-17_polymarket-market-events.csv.zst",
    "bos-laa": f"{WS}/mlb2025_l2/20250624_mlb-bos-laa-2025-06-24_polymarket-market-events.csv.zst",
    "tb-kc": f"{WS}/mlb2025_l2/20250625_mlb-tb-kc-2025-06-25_polymarket-market-events.csv.zst",
    "legacy": f"{WS}/legacy_2025-01_price_change/price_change_messages_202501302221.csv.zst",
    "tickscope": f"{WS}/tickscope_price_change/polymarket_20260607_0130.parquet",
}


@pytest.fixture(scope="session")
def real(
    shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Imported, Catalog, Path]]:
    """A real recording by short name: (what the import said, its catalog, the source file); imported once per run."""
    root = tmp_path_factory.mktemp("real")
    done: dict[str, Imported] = {}

    def bring(which: str) -> tuple[Imported, Catalog, Path]:
        source = shared(REAL[which])
        if which not in done:
            (done[which],) = import_files([source], which, root=root, gap_s=5).recordings
        return done[which], Catalog(root), source

    return bring
