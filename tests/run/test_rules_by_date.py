"""Rules that change, payouts that wait and sets that are merged, through a whole run: log, replay, receipts, report."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from test_replay import EASY, SETTINGS, rewritten, session
from toys import SHARE

from polytraders.config import load_settings
from polytraders.data.dated import RuleChange, merge_rows
from polytraders.report import analysis, panels
from polytraders.report.analysis import load
from polytraders.rows import EventKind
from polytraders.run.backtest import run_backtest
from polytraders.run.replay import replay as replay_run
from polytraders.store.log import RecordKind
from polytraders.store.receipts import Receipts
from polytraders.units import NS_PER_S

ON = EASY | {"engine.merge_shares": "1", "venue.simulated.redemption_delay_s": "1"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which both markets' fee schedules change halfway, with merging and a redemption delay on."""
    plain = session(2_000)
    at, end = int(plain.events["ts_recv"][1_000]), int(plain.events["ts_recv"][-1])
    fees = {"kind": EventKind.FEES, "size": 20_000, "price": 1, "aux": 500_000}
    rows = [(at, fees | {"market": m}) for m in range(2)] + [(at, {"kind": EventKind.TAKER_DELAY, "size": 50_000_000})]
    rows.append((end + 3 * NS_PER_S, {"kind": EventKind.CLOCK, "market": -1}))  # both markets resolve before it
    change = RuleChange("fees", "crypto", at, "rate 0.07", "rate 0.02", "made up", 2)
    dated = replace(plain, events=merge_rows(plain.events, rows), rules=(change.record(),))
    settings = load_settings(SETTINGS).with_overrides(ON)
    return run_backtest(dated, settings, run_dir=tmp_path_factory.mktemp("rules") / "r_rules", run_id="r_rules")


def test_the_run_replays_with_all_of_it(run):
    result = replay_run(run.folder)
    assert result.ok and result.parity == 1.0


def test_the_profit_closes_under_both_schedules(run):
    read = load(run.folder)
    assert analysis.residual(read) == 0 and len(read.fills) == run.summary["fills"] > 0
    assert read.fee_changes["size"].tolist() == [20_000, 20_000]
    made = read.fills[read.fills["maker"]]
    halfway = int(read.fee_changes["seq"][0])
    assert (made["seq"] < halfway).any() and (made["seq"] > halfway).any()
    # p (1 - p) of the fee 0.02, half of it to the maker: at most 0.0025 a share
    late = made[made["seq"] > halfway]
    assert (late["rebate"] <= late["size"] * 25 // 10_000).all()


def test_the_manifest_and_the_report_name_the_rule_that_changed(run):
    read = load(run.folder)
    (rule,) = read.manifest["rules"]
    assert (rule["rule"], rule["markets"], rule["after"]) == ("fees", 2, "rate 0.02")
    assert "rate 0.02" in panels.rules(read).html
    assert read.manifest["models"]["redemption"] == "1 s after resolution"


def test_every_change_has_its_receipt(run):
    told = [document for document in Receipts(run.folder) if document["kind"] == "OperationsReport"]
    topics = [document["payload"]["topic"] for document in told]
    kinds = load(run.folder).events["kind"].tolist()
    assert topics.count("FeeSchedule") == kinds.count(EventKind.FEES) == 2
    assert topics.count("TakerDelay") == kinds.count(EventKind.TAKER_DELAY) == 1
    assert topics.count("Redemption") == kinds.count(EventKind.REDEMPTION) > 0


def test_the_receipts_book_the_sets_that_changed(run, tmp_path):
    """20 split, 5 merged, a merge refused: 15 pairs more are paid at the resolution, and none of it is profit."""

    def change(kind, table):
        if kind is RecordKind.EVENTS:
            rows = table[(table["kind"] == EventKind.CHANGE) & (table["market"] == 0)][:3]
            if len(rows) == 3 and not changed:
                changed.append(True)
                done = ((EventKind.SPLIT, 20), (EventKind.MERGE, 5), (EventKind.MERGE, 0))
                for seq, (what, size) in zip(rows["seq"], done, strict=True):
                    row = table[table["seq"] == seq]
                    row["kind"], row["size"] = what, size * SHARE
                    table[table["seq"] == seq] = row
        return table

    changed = []
    sets = rewritten(run.folder, tmp_path / "r_rules", change)
    before, after = ([*Receipts(folder)] for folder in (run.folder, sets))
    codes = [d["reason_code"] for d in after if d["kind"] == "OperationsReport" and "sets" in d["payload"]["summary"]]
    assert codes == ["EXEC_SETS_CHANGED", "EXEC_SETS_CHANGED", "EXEC_SETS_REFUSED"]
    settled = [
        [d["payload"]["realised_pnl_pusd"] for d in of if d["kind"] == "SettlementReport"] for of in (before, after)
    ]
    assert settled[0] == settled[1] and len(settled[0])
