"""What must hold on every run: profit closes to the micro-pUSD, no decision is lost, tables agree with the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy

from polytraders import units
from polytraders.report import analysis
from polytraders.report.analysis import PARTS, Run, load
from polytraders.rows import EventKind, Flag
from polytraders.store.log import LogWriter, RecordKind
from polytraders.store.manifest import bot_row, make_manifest, runtime_row

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

import every_rule

SHAPES = [
    pytest.param({}, id="on-a-grid"),
    pytest.param({"interval": 0}, id="every-message"),
    pytest.param({"latency": 400_000_000}, id="slow"),
    pytest.param({"fees": False}, id="without-fees"),
    pytest.param({"merge_least": 1_000_000, "redemption": 2 * toy.S}, id="merging-and-redeeming"),
    pytest.param({"new_fees": True}, id="another-fee-schedule"),
    pytest.param({"settlement_delay": 900_000_000, "ghost_rate": 300_000}, id="with-ghosts"),
]


def closes(run: Run) -> None:
    table = run.pnl
    assert analysis.residual(run) == 0
    assert (table[list(PARTS)].sum(axis=1) == table["total"]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_profit_closes_on_random_tapes(tmp_path: Path, shape: dict) -> None:
    traded = settled = taken = marked = 0
    for seed in range(12):
        simulation = toy.write_run(tmp_path / f"r_{seed}", seed, **shape)
        run = load(tmp_path / f"r_{seed}")
        closes(run)
        account, positions = simulation.state.account[0], simulation.state.positions
        assert len(run.fills) == account.fills
        assert run.fills["fee"].sum() == account.fees and run.fills["rebate"].sum() == account.rebates
        for line in run.pnl.to_dict("records"):
            position = positions[line["market"]]
            assert (line["yes"], line["no"], line["marked"]) == (position.yes, position.no, position.marked)
            if "ghost_rate" not in shape:  # else the ledger averages costs in the order of settlement
                assert line["cost"] == position.yes_cost + position.no_cost
        traded += len(run.fills)
        taken += int((~run.fills["maker"]).sum())
        settled += int((run.pnl["settlement"] != 0).sum())
        marked += int((run.pnl["marked"] != 0).sum())
    assert traded > 300 and taken > 30 and settled and marked  # the tapes reached every case


@pytest.mark.parametrize(("seed", "model"), [(0, 0), (1, 1), (2, 0)])
def test_the_profit_closes_with_every_rule_on_at_once(tmp_path: Path, seed: int, model: int) -> None:
    """Sets and conversions by hand between the bots' orders, ghosts, late settlements, redemption, 50/50."""
    session = every_rule.play(seed, every_rule.MODELS[model])
    infos = [
        toy.MARKET | vars(info) | {"condition_id": f"0x{i:064x}", "slug": f"m-{i}", "yes_token": "", "no_token": ""}
        for i, info in enumerate(every_rule.INFOS)
    ]
    bots = [bot_row(i, "0", "enforced") for i in session.bots.ids[:-1]] + [runtime_row()]
    manifest = make_manifest(
        run_id="r_all", strategy=session.bots.ids[0], config={}, config_hash="", markets=infos, bots=bots,
        pins={"recording": "toy"}, models=every_rule.MODELS[model].names(), quality={},
        engine={"cash": every_rule.CASH, "interval": 0, "sample_interval": toy.S},
    )  # fmt: skip
    account = session.state.account[0]
    with LogWriter(tmp_path / "r_all", manifest) as writer:
        for kind in (RecordKind.EVENTS, RecordKind.DECISIONS, RecordKind.ACTIONS, RecordKind.SAMPLES):
            writer.append(kind, session.sink.rows(kind.name.lower()))
        writer.close({"account": {"equity": units.money_text(account.equity)}})
    run = load(tmp_path / "r_all")
    closes(run)
    assert {change.kind for change in run.sets} == {EventKind.SPLIT, EventKind.MERGE, EventKind.CONVERT}
    assert len(run.fills) == account.fills > 10 and run.fills["fee"].sum() == account.fees
    assert (run.pnl[["yes", "no", "marked"]] == 0).all().all()  # every market is resolved


def test_every_decision_is_counted_once(tmp_path: Path) -> None:
    for seed in range(6):
        toy.write_run(tmp_path / f"r_{seed}", seed)
        run = load(tmp_path / f"r_{seed}")
        assert run.summary is not None
        made = {name: bot["decisions"] for name, bot in run.summary["bots"].items()}
        assert run.reasons.groupby("bot")["decisions"].sum().to_dict() == {k: v for k, v in made.items() if v}
        # at the end nothing is left uncounted, and nothing was written that was only counted
        assert run.reasons["written"].sum() + run.decisions["repeats"].sum() == run.summary["decisions"]


def test_the_whole_pipeline_closes_too(made_up_run: Path) -> None:
    run = load(made_up_run)
    closes(run)
    assert run.summary is not None and len(run.fills) == run.summary["fills"] > 0
    made = {name: bot["decisions"] for name, bot in run.summary["bots"].items()}
    assert run.reasons.groupby("bot")["decisions"].sum().to_dict() == {k: v for k, v in made.items() if v}


def test_holdings_over_time_end_where_the_account_does(tmp_path: Path) -> None:
    for seed in range(6):
        toy.write_run(tmp_path / f"r_{seed}", seed)
        run = load(tmp_path / f"r_{seed}")
        last = run.positions.groupby("market").last()
        ends = run.pnl.set_index("market")
        assert last["yes"].to_dict() == ends["yes"].to_dict() and last["no"].to_dict() == ends["no"].to_dict()
        assert (run.positions[["yes", "no"]] >= 0).all().all()


def test_equity_samples_agree_with_the_computed_end(tmp_path: Path) -> None:
    toy.write_run(tmp_path / "r", 3)
    run = load(tmp_path / "r")
    assert run.equity["equity"].iloc[-1] == analysis.final_equity(run)
    assert (run.equity["drawdown"] >= 0).all() and (np.diff(run.equity["ts"]) >= 0).all()


def test_a_markout_is_the_mid_the_tape_had_then(tmp_path: Path) -> None:
    """The slow way: walk the tape's rows again for each fill and horizon."""
    toy.write_run(tmp_path / "r", 5)
    run = load(tmp_path / "r")
    events = run.events[run.events["kind"] <= EventKind.RESOLUTION]
    checked = 0
    for line in run.markouts[run.markouts["horizon"] > 0].sample(60, random_state=1).to_dict("records"):
        fill, then = run.fills.iloc[line["fill"]], line["venue_ts"] + line["horizon"] * toy.S
        expected = slow_mid2(events[events["market"] == line["market"]], then)
        got = None if pd.isna(line["markout"]) else int(line["markout"])
        assert got == (None if expected is None else fill["sign"] * (expected - 2 * fill["yes_price"]))
        checked += got is not None
    assert checked > 10


def slow_mid2(rows: np.ndarray, then: int) -> int | None:
    """bid + ask by applying every row up to the venue's time `then`."""
    bids: set[int] = set()
    asks: set[int] = set()
    clock, after = 0, None
    for row in rows:
        clock = max(clock, min(int(row["ts_event"]), int(row["ts_recv"])))
        if clock > then:
            after = row
            break
        if row["kind"] == EventKind.BOOK_CLEAR:
            bids, asks = set(), set()
        elif row["kind"] == EventKind.LEVEL:
            (asks if row["side"] else bids).add(int(row["price"]))
        elif row["kind"] == EventKind.RESOLUTION:
            return 2 * int(row["price"])
    if (after is None and then > clock) or (after is not None and after["flags"] & Flag.GAP):
        return None
    return max(bids) + min(asks) if bids and asks and max(bids) < min(asks) else None
