"""Replay finds what was altered; a run refuses what it cannot do."""

import json
import sys
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from toys import SHARE, Tape, random_tape

from polytraders.bots import bot_ids
from polytraders.config import load_settings
from polytraders.contracts import ReplayReport
from polytraders.data.catalog import MarketInfo, Session
from polytraders.errors import ConfigError, DamageError, DataError, UsageError
from polytraders.rows import Side, Verdict
from polytraders.run.backtest import run_backtest
from polytraders.run.replay import keep, replay
from polytraders.store.log import LogWriter, RecordKind, canonical_json, read_log, verify_log
from polytraders.units import iso_utc

SETTINGS = Path(__file__).parents[2] / "settings.ini"
EASY = {
    "strat.maker_tight.min_volume_24h_usd": "0",
    "portfolio.cash_pusd": "100000",
}


def market(k: int = 0) -> MarketInfo:
    return MarketInfo(
        condition_id=f"0x{k:064x}", slug=f"market-{k}", question="?", yes_token=str(2 * k + 1), no_token=str(2 * k + 2),
        tick=100, grid=10, min_size=5 * SHARE, fee_rate=70_000, fee_exponent=1, rebate_rate=200_000, neg_risk=False,
        event_id="", end_ts=0,
    )  # fmt: skip


def session(n: int = 2_000, markets: int = 2, seed: int = 5) -> Session:
    return Session("toy", random_tape(seed, n, markets), tuple(market(k) for k in range(markets)), {"rows": n}, {}, ())


@pytest.fixture
def settings():
    return load_settings(SETTINGS).with_overrides(EASY)


@pytest.fixture
def run(settings, tmp_path):
    return run_backtest(session(), settings, run_dir=tmp_path / "r_toy", run_id="r_toy")


def test_a_run_trades_and_replays(run):
    assert run.summary["fills"] > 0 and run.summary["decisions"] > 1_000
    assert replay(run.folder).ok


def test_a_run_without_latency_whose_fills_settle_later_replays(settings, tmp_path):
    """An answer at the very time of its decision once stood on either side of it in a replay."""
    at_once = {
        "engine.decide_interval_ms": "100",
        "venue.simulated.entry_latency_ms": "0",
        "venue.simulated.response_latency_ms": "0",
        "venue.simulated.latency_model": "lognormal",
        "venue.simulated.queue_power": "5",
        "venue.simulated.partial_fills": "false",
        "venue.simulated.trade_share": "0.3",
        "venue.simulated.liquidity": "recorded",
        "venue.simulated.settlement_delay_ms": "3000",
    }
    run = run_backtest(
        session(4_000), settings.with_overrides(at_once), run_dir=tmp_path / "r_at_once", run_id="r_at_once"
    )
    assert run.summary["fills"] > 0
    again = replay(run.folder)
    assert again.ok, again.first_mismatch


def test_the_same_run_twice_has_the_same_log(run, settings, tmp_path):
    again = run_backtest(session(), settings, run_dir=tmp_path / "again", run_id="r_toy")
    assert again.summary["bots"] == run.summary["bots"]
    for kind in RecordKind:
        if kind is not RecordKind.NOTE:
            assert read_log(run.folder).rows(kind).tobytes() == read_log(again.folder).rows(kind).tobytes()


def test_without_a_log_the_summary_is_the_same(run, settings):
    bare = run_backtest(session(), settings, log=False)
    timed = ("seconds", "events_per_second", "log_hash")
    assert bare.folder is None
    assert {k: v for k, v in bare.summary.items() if k not in timed} == {
        k: v for k, v in run.summary.items() if k not in timed
    }


def rewritten(folder: Path, to: Path, change) -> Path:
    """The same run with some rows changed, under a valid chain: what a forger would have to write."""
    log = read_log(folder)
    with LogWriter(to, {k: v for k, v in log.manifest.items() if k not in ("format", "seal_events")}) as writer:
        keep = []
        for kind, rows in log.records():
            rows = np.array(rows)
            change(kind, rows)
            keep.append(rows)
            writer.append(kind, rows)
        writer.close({k: v for k, v in log.summary.items() if k not in ("log", "summary_hash")})
    return to


def test_a_forged_decision_is_found_though_the_log_verifies(run, tmp_path):
    done = []

    def forge(kind, rows):
        if kind is RecordKind.DECISIONS and not done:
            rows["limit"][7] += 1
            done.append(rows["bot"][7])

    forged = rewritten(run.folder, tmp_path / "forged", forge)
    assert verify_log(forged).ok
    result = replay(forged)
    assert not result.ok and 0.99 < result.parity < 1
    assert result.first_mismatch["kind"] == "decisions" and result.first_mismatch["row"] == 7
    assert list(result.first_mismatch["fields"]) == ["limit"]


def test_what_a_replay_came_to_is_a_report_beside_the_log(run, tmp_path):
    kept = ReplayReport.model_validate_json(keep(run.folder, replay(run.folder)).read_bytes())
    events = read_log(run.folder).rows(RecordKind.EVENTS)
    assert (kept.verdict, kept.reason_code, kept.parity) == ("parity_clean", "GOV_REPLAY_MATCH", "1")
    assert kept.first_mismatch is None and kept.events == len(events) and kept.run_source == kept.replay_source
    assert kept.period_end == iso_utc(int(events["ts_recv"][-1])) and verify_log(run.folder).ok
    assert sum(bot.rows for bot in kept.bots) == len(read_log(run.folder).rows(RecordKind.DECISIONS))

    def forge(kind, rows):
        if kind is RecordKind.ACTIONS:
            rows["price"][3] += 10

    forged = rewritten(run.folder, tmp_path / "forged", forge)
    (tmp_path / "forged" / "replay.json").write_text("of before")
    told = json.loads(keep(forged, replay(forged)).read_bytes())
    assert (told["verdict"], told["equal"]) == ("parity_diverged", told["rows"] - 1)
    assert told["first_mismatch"]["kind"] == "actions" and told["first_mismatch"]["fields"] == ["price"]


def test_a_forged_event_changes_decisions_behind_it(run, tmp_path):
    done = []

    def forge(kind, rows):
        if kind is RecordKind.EVENTS and not done:
            rows["size"][600:700] += 1_000 * SHARE
            done.append(1)

    result = replay(rewritten(run.folder, tmp_path / "forged", forge))
    assert not result.ok and not all(result.hashes.values())


def test_a_flipped_byte_is_found_before_anything_is_replayed(run):
    path = run.folder / "segment-000000.log"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not verify_log(run.folder).ok
    with pytest.raises(DamageError, match="damaged"):
        replay(run.folder)


def test_a_run_of_another_bot_version_is_not_replayed_with_this_one(run, tmp_path):
    manifest = json.loads((run.folder / "manifest.json").read_bytes())
    manifest["bots"][0]["version"] = "9.9.9"
    (run.folder / "manifest.json").write_bytes(canonical_json(manifest))
    with pytest.raises(UsageError, match=r"9\.9\.9"):
        replay(run.folder)


def test_a_run_without_a_risk_chain_does_not_start(tmp_path):
    off = {f"{bot}.mode": "off" for bot in bot_ids("risk")}
    settings = load_settings(SETTINGS).with_overrides(EASY | off)
    with pytest.raises(ConfigError, match="Risk"):
        run_backtest(session(), settings, run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_only_a_strategy_can_be_run_as_one(settings, tmp_path):
    with pytest.raises(UsageError, match="no strategy"):
        run_backtest(session(), settings, strategy="risk.killswitch", run_dir=tmp_path / "r")
    with pytest.raises(UsageError):
        run_backtest(session(), settings, strategy="strat.nosuch", run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("kind", 99, "unknown event kind"),
        ("market", 2, "unknown market"),
        ("price", 10_001, "outside"),
        ("price", 4_905, "grid"),
        ("size", -1, "negative"),
        ("side", 2, "unknown side"),
        ("ts_recv", 5, "backwards"),
    ],
)
def test_a_stream_the_kernels_could_not_take_is_refused_with_its_row(settings, tmp_path, field, value, rule):
    bad = session()
    events = bad.events.copy()
    row = int(np.flatnonzero(events["kind"] == 3)[50])
    events[field][row] = value
    with pytest.raises(DataError, match=rule) as error:
        run_backtest(changed(bad, events=events), settings, run_dir=tmp_path / "r", log=False)
    assert f"row {row}" in str(error.value)


def test_the_kill_switch_stops_a_losing_run_for_good(tmp_path):
    """A maker that is run over: the day's drawdown trips the switch, quotes go, nothing is sent any more."""
    tape = Tape()
    for k in range(1, 6):
        tape.bid(0, 5_000 - k * 100, 500).ask(0, 5_000 + k * 100, 500)
    for k in range(200):
        tape.trade(1_000 + k * 500, 4_900, 60, Side.SELL).trade(1_200 + k * 500, 5_100, 60, Side.BUY)
    t = 120_000
    for k in range(1, 6):
        tape.trade(t + k * 100, 5_000 - k * 100, 5_000, Side.SELL).bid(t + k * 100, 5_000 - k * 100, 0)
    for price in (1_000, 900):
        tape.bid(t + 700, price, 500)
    for price in (5_100, 5_200, 5_300, 5_400, 5_500):
        tape.ask(t + 700, price, 0)
    tape.ask(t + 700, 1_200, 500)
    for k in range(100):
        tape.trade(t + 1_000 + k * 300, 1_000, 20, Side.SELL)
    events = tape.clock(t + 60_000).events()
    easy = EASY | {
        "portfolio.cash_pusd": "1000",
        "strat.maker_tight.clip_size_usd": "50",
        "strat.maker_tight.max_inventory_shares": "1000",
        "risk.portfolioguard.mode": "shadow",
        "risk.liquidityguard.mode": "shadow",
        "intel.orderflowanalyzer.mode": "off",
    }
    # the others would step aside before enough is lost
    needed = ("risk.killswitch", "risk.stale_book_guard", "disc.marketscanner", "exec.smartrouter")
    needed += ("exec.fee_slippage_estimator", "risk.portfolioguard", "risk.liquidityguard")
    for family in ("disc", "risk", "exec"):
        easy |= {f"{bot}.mode": "off" for bot in bot_ids(family) if bot not in needed}
    settings = load_settings(SETTINGS).with_overrides(easy)
    result = run_backtest(
        Session("crash", events, (market(),), {}, {}, ()), settings, run_dir=tmp_path / "r", run_id="r"
    )
    log = read_log(result.folder)
    assert result.summary["halted"] != 0 and result.summary["open_orders"] == 0
    switch = [bot["bot_id"] for bot in log.manifest["bots"]].index("risk.killswitch")
    votes = log.decisions()
    first = votes["ts"][(votes["bot"] == switch) & (votes["verdict"] == Verdict.REJECT)].min()
    submits = log.actions()[log.actions()["kind"] == 1]
    assert len(submits) > 0 and (submits["ts"] <= first).all() and result.summary["account"]["reserved"] == "0"
    assert float(result.summary["pnl"]) < -0.04 * 1_000
    assert replay(result.folder).ok
