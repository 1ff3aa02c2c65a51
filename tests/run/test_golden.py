"""Import, backtest, replay, verify, trace and report on real recordings, with pinned numbers.

A change of a pinned number is a change of what the platform decides. When it is meant:
`POLYTRADERS_UPDATE_GOLDEN=1 pytest tests/run/test_golden.py`, and say why in the commit.
"""

import json
import os
from pathlib import Path

import pytest

from polytraders.config import load_settings
from polytraders.data.catalog import Catalog
from polytraders.data.importer import import_files
from polytraders.rows import ActionKind, EventKind
from polytraders.run.backtest import run_backtest
from polytraders.run.replay import replay
from polytraders.store.log import read_log, verify_log
from polytraders.units import NS_PER_S

PINNED = Path(__file__).parents[1] / "golden" / "runs.json"
WS = "data/polymarket/ws/"
RECORDINGS = {
    "btc5m_raw_14s": WS + "raw_all_event_types/btc5m_20260421T215333Z_market-ws.jsonl.zst",
    "btc5m_30min": WS + "btc5m_book_stream/btc-updown-5m_book_20260413T1535-1605.jsonl.zst",
    "mlb_tb_kc_2h": WS + "mlb2025_l2/20250625_mlb-tb-kc-2025-06-25_polymarket-market-events.csv.zst",
    "btc5m_2h": WS + "btc5m_book_stream/btc-updown-5m_book_20260416T0710-0910.jsonl.zst",
}


@pytest.fixture(scope="module", params=RECORDINGS)
def golden(request, shared, tmp_path_factory):
    """(name, session, run folder, summary) of one recording, imported and backtested with the committed settings."""
    name, root = request.param, tmp_path_factory.mktemp("golden")
    import_files([shared(RECORDINGS[name])], name, root=root / "catalog")
    session = Catalog(root / "catalog").load(name)
    settings = load_settings(Path(__file__).parents[2] / "settings.ini")
    result = run_backtest(session, settings, run_dir=root / "r_golden", run_id="r_golden")
    return name, session, result.folder, result.summary


def pins(session, folder, summary) -> dict:
    log = read_log(folder)
    keys = (
        "events",
        "decisions",
        "intents",
        "orders",
        "rejects",
        "cancels",
        "fills",
        "fees",
        "rebates",
        "pnl",
        "halted",
    )
    return {
        "rows": len(session.events),
        "seconds_recorded": int((session.events["ts_recv"][-1] - session.events["ts_recv"][0]) // NS_PER_S),
        "markets": len(session.markets),
        **{key: summary[key] for key in keys},
        "decision_rows": len(log.decisions()),
        "hashes": {bot: entry["hash"] for bot, entry in summary["bots"].items()},
    }


def test_the_numbers_are_the_pinned_ones(golden):
    name, session, folder, summary = golden
    found = pins(session, folder, summary)
    pinned = json.loads(PINNED.read_text()) if PINNED.exists() else {}
    if os.environ.get("POLYTRADERS_UPDATE_GOLDEN"):
        PINNED.write_text(json.dumps(pinned | {name: found}, indent=1, sort_keys=True) + "\n")
    else:
        assert found == pinned[name]


def test_the_run_replays_from_its_log_alone(golden):
    _, _, folder, summary = golden
    result = replay(folder)
    assert result.parity == 1.0 and result.ok and result.first_mismatch is None
    assert result.counts["events"] == summary["events"]
    assert set(result.hashes) == set(summary["bots"])


def test_the_log_is_intact(golden):
    verdict = verify_log(golden[2])
    assert verdict.ok and verdict.closed and verdict.log_hash == golden[3]["log_hash"]


def test_the_ledger_closes_from_the_fills_of_the_log_alone(golden):
    """Cash, cost and realised profit derived again from fills and resolutions, in plain integers."""
    _, _, folder, summary = golden
    log = read_log(folder)
    orders = {int(a["order_id"]): a for a in log.actions() if a["kind"] == ActionKind.SUBMIT}
    cash, holdings, fees = 0, {}, 0
    events = log.events()
    for row in events[(events["kind"] == EventKind.FILL_CONFIRMED) | (events["kind"] == EventKind.RESOLUTION)]:
        if row["kind"] == EventKind.FILL_CONFIRMED:
            order = orders[int(row["aux"])]
            key, size = (int(order["market"]), int(order["outcome"])), int(row["size"])
            notional, fee = int(row["price"]) * size // 10_000, int(row["ref"]) * 10
            sign = 1 if order["side"] == 0 else -1
            cash -= sign * notional + fee
            holdings[key] = holdings.get(key, 0) + sign * size
            fees += fee
        else:
            m, payout = int(row["market"]), int(row["price"])
            cash += (holdings.pop((m, 0), 0) * payout + holdings.pop((m, 1), 0) * (10_000 - payout)) // 10_000
    assert min(holdings.values(), default=0) >= 0
    account = summary["account"]
    micro = {k: round(float(v) * 1e6) for k, v in account.items()}
    assert micro["cash"] + micro["reserved"] - micro["deposits"] == cash
    assert micro["fees"] == fees


def test_a_two_hour_recording_is_among_them():
    pinned = json.loads(PINNED.read_text())
    assert len(pinned) >= 3
    assert max(p["seconds_recorded"] for p in pinned.values()) >= 7_200
