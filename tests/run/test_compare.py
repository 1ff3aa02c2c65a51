"""A run beside a backtest of its day: what differs is found, has a cause, and adds up.

The runs are made by the step itself under a venue that is not the one its settings describe: another latency, another
queue, other fees; or with rows put into what it heard, as a live venue or a person would.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from test_replay import EASY, SETTINGS, session
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.config import Settings, load_settings
from polytraders.engine.backtest import Collected, VenueModel, feed, simulate
from polytraders.engine.setup import new_state
from polytraders.errors import UsageError
from polytraders.reasons import Code
from polytraders.rows import EVENT, EventKind, Flag, Gate, Scope
from polytraders.run.backtest import engine_options, gate_options, run_backtest, summarise, venue_model
from polytraders.run.compare import CAUSES, Comparison, compare
from polytraders.run.pipeline import build_pipeline
from polytraders.store.log import LogWriter, RecordKind
from polytraders.store.manifest import make_manifest

Alter = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def settings() -> Settings:
    return load_settings(SETTINGS).with_overrides(EASY)


def made(
    folder: Path, settings: Settings, *, mode: str = "paper", gate: Gate = Gate.OPEN, alter: Alter | None = None,
    says: dict[str, Any] | None = None, seed: int = 5, **venue: Any,
) -> Path:  # fmt: skip
    """A run's folder: the step on a toy session, answered by the settings' venue with the fields of `venue` changed.

    alter: changes what the run heard. says: overrides that its manifest tells in place of those that were in force.
    """
    day = session(2_000, seed=seed)
    pipeline, bots = build_pipeline(settings, "strat.maker_tight")
    options = {**engine_options(settings), **gate_options(settings, gate)}
    model, sink = replace(venue_model(settings), **venue), Collected()
    simulate(day.events, day.markets, pipeline, venue=model, sink=sink, **options)
    events = sink.rows("events")[:-1].view(np.ndarray).view(EVENT)  # without the row that closes a backtest
    if alter is not None:
        events = alter(events.copy())
        events["seq"] = np.arange(1, len(events) + 1)
    state, heard = new_state(day.markets, pipeline, **options), Collected()
    run = feed(events, state, pipeline, heard)
    told = settings.with_overrides(says) if says else settings
    if says:
        _, bots = build_pipeline(told, "strat.maker_tight")
    manifest = make_manifest(
        run_id=folder.name, run_mode=mode, strategy="strat.maker_tight", config=told.as_dict(), config_hash=told.hash,
        markets=day.markets, bots=bots, pins={"recording": "made up"}, models={"venue": "simulated"}, engine=options,
    )  # fmt: skip
    with LogWriter(folder, manifest) as log:
        log.append(RecordKind.EVENTS, events)
        for kind in ("decisions", "actions", "samples"):
            if len(rows := heard.rows(kind)):
                log.append(RecordKind[kind.upper()], rows)
        log.close(summarise(run, pipeline) | {"flushed": False})
    return folder


def put(rows: np.ndarray, at: int, **fields: int) -> np.ndarray:
    """Rows with one more, heard just after the row at `at`."""
    new = np.zeros(1, EVENT)
    new["market"], new["flags"] = -1, Flag.LAST
    new["ts_recv"] = new["ts_event"] = rows["ts_recv"][at]
    for name, value in fields.items():
        new[name] = value
    return np.insert(rows, at + 1, new)


def causes(found: Comparison) -> set[str]:
    return {one.cause for one in found.differences}


def adds_up(found: Comparison) -> None:
    """Money and shares of the differences come to those of the totals; every one has a cause and a sentence."""
    gap = found.totals["live"]["cash"] - found.totals["backtest"]["cash"]
    assert sum(one.money for one in found.differences) == gap
    assert all(one.cause in CAUSES and one.why for one in found.differences)
    assert found.ok == (not found.unexplained)


def test_a_run_at_the_venue_that_the_model_describes_is_the_backtest(settings: Settings, tmp_path: Path):
    found = compare(made(tmp_path / "r_same", settings))
    assert found.totals["live"]["fills"] > 0
    assert found.differences == []
    assert found.first is None
    assert found.ok
    assert found.same["decisions"] == found.totals["live"]["decisions"]
    assert found.same["orders"] == found.totals["live"]["orders"]


@pytest.mark.parametrize(
    ("venue", "expected"),
    [
        ({"entry_latency": 900_000_000, "response_latency": 700_000_000}, "latency"),
        ({"queue_model": "power_prob", "queue_power": 1, "trade_share": 900_000}, "queue"),
        ({"settlement_delay": 2_000_000_000, "ghost_rate": 300_000, "ghost_seed": 3}, "settlement"),
    ],
)
def test_another_venue_than_the_model_is_explained(settings, tmp_path, venue: dict[str, Any], expected: str):
    found = compare(made(tmp_path / "r_other", settings, **venue))
    assert found.replay["ok"]
    assert found.unexplained == []
    assert expected in causes(found)
    assert found.first is not None
    assert found.first["cause"] in CAUSES
    adds_up(found)


@pytest.mark.parametrize("seed", range(6, 12))
def test_it_adds_up_whatever_the_two_venues_make_of_the_day(settings: Settings, tmp_path: Path, seed: int):
    draw = np.random.default_rng(seed)
    venue = VenueModel(
        entry_latency=int(draw.integers(0, 2_000_000_000)), response_latency=int(draw.integers(0, 1_000_000_000)),
        partial_fills=bool(draw.integers(2)), queue_model="power_prob", queue_power=int(draw.integers(1, 5)),
        trade_share=int(draw.integers(0, 1_000_000)),
    )  # fmt: skip
    fields = {name: getattr(venue, name) for name in ("entry_latency", "response_latency", "partial_fills",
                                                      "queue_model", "queue_power", "trade_share")}  # fmt: skip
    found = compare(made(tmp_path / "r_any", settings, seed=seed, **fields))
    assert found.unexplained == []
    adds_up(found)


def test_a_shadow_run_differs_by_what_it_does_not_send(settings: Settings, tmp_path: Path):
    found = compare(made(tmp_path / "r_shadow", settings, mode="shadow", gate=Gate.DRY))
    assert found.totals["live"]["orders"] == 0 < found.totals["backtest"]["fills"]
    assert causes(found) == {"dry"}
    assert found.first is not None
    assert any(one["code"] == Code.EXEC_DRY_RUN.name for one in found.first["live"])
    adds_up(found)


def test_proposals_that_nobody_answers_hold_every_order_back(settings: Settings, tmp_path: Path):
    found = compare(made(tmp_path / "r_gate", settings, mode="live", gate=Gate.APPROVAL))
    assert found.totals["live"]["orders"] == 0 < found.totals["backtest"]["orders"]
    assert causes(found) == {"gate"}
    adds_up(found)


def test_a_run_that_never_wanted_anything_is_told_as_such(settings: Settings, tmp_path: Path):
    still = settings.with_overrides({"strat.maker_tight.min_volume_24h_usd": "1000000"})
    folder = made(tmp_path / "r_still", still)
    found = compare(folder)
    assert found.totals["live"]["orders"] == found.totals["backtest"]["orders"] == 0
    assert found.differences == []
    assert found.ok
    said = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert (tmp_path / "r_still.html").stat().st_size > 10_000


def test_a_switch_is_the_cause_of_what_was_not_sent_under_it(settings: Settings, tmp_path: Path):
    def armed(rows: np.ndarray) -> np.ndarray:
        # The venue says no more of orders: none is sent.
        at = len(rows) // 2
        rows = put(rows, at, kind=EventKind.SWITCH, aux=Scope.GLOBAL, size=1)
        late = (np.arange(len(rows)) > at + 1) & (rows["kind"] >= EventKind.ORDER_ACK)
        return rows[~(late & (rows["kind"] <= EventKind.FILL_VOIDED))]

    found = compare(made(tmp_path / "r_switch", settings, alter=armed))
    assert found.first is not None
    assert found.first["cause"] == "switch"
    assert any(one.what == "input" and one.cause == "switch" for one in found.differences)
    assert found.unexplained == []
    adds_up(found)


def test_a_refusal_of_the_venue_is_told_with_its_reason(settings: Settings, tmp_path: Path):
    def refused(rows: np.ndarray) -> np.ndarray:
        first = int(np.argmax(rows["kind"] == EventKind.ORDER_ACK))
        order = rows["aux"][first]
        mine = np.isin(rows["kind"], (EventKind.CANCEL, EventKind.FILL_CONFIRMED)) & (rows["aux"] == order)
        rows["kind"][first], rows["size"][first] = EventKind.ORDER_REJECT, Code.EXEC_NOT_ENOUGH_BALANCE
        return rows[~mine]

    found = compare(made(tmp_path / "r_refused", settings, alter=refused))
    told = [one for one in found.differences if one.cause == "venue_reject" and one.what == "answer"]
    assert len(told) == 1
    assert "EXEC_NOT_ENOUGH_BALANCE" in told[0].why
    assert found.unexplained == []
    adds_up(found)


def test_fees_that_the_model_does_not_know_are_told_as_money(settings: Settings, tmp_path: Path):
    def charged(rows: np.ndarray) -> np.ndarray:
        fills = np.flatnonzero(rows["kind"] == EventKind.FILL_CONFIRMED)
        rows["ref"][fills[-1]] += 123  # 0.00123 pUSD
        return rows

    found = compare(made(tmp_path / "r_fees", settings, alter=charged))
    told = [one for one in found.differences if one.cause == "fees" and one.what == "fill"]
    assert [one.money for one in told] == [-1_230]
    adds_up(found)


def test_a_fill_that_no_trade_can_have_made_is_unexplained_and_loud(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def conjured(rows: np.ndarray) -> np.ndarray:
        filled = set(rows["aux"][rows["kind"] == EventKind.FILL_CONFIRMED])
        acks = [int(at) for at in np.flatnonzero(rows["kind"] == EventKind.ORDER_ACK) if rows["aux"][at] not in filled]
        at = acks[len(acks) // 2]
        late = (np.arange(len(rows)) > at) & (rows["kind"] >= EventKind.ORDER_ACK)
        rows = rows[~late]
        return put(
            rows, at, kind=EventKind.FILL_CONFIRMED, market=int(rows["market"][at]), aux=int(rows["aux"][at]),
            price=5_000, size=5_000_000, flags=Flag.LAST | Flag.MAKER,
        )  # fmt: skip

    monkeypatch.setattr("polytraders.run.compare.PRINT_WITHIN", 0)  # the toy's market is never quiet for long
    folder = made(tmp_path / "r_conjured", settings, alter=conjured)
    found = compare(folder)
    (root,) = [one for one in found.unexplained if not one.follows]
    assert root.what == "fill"
    assert "no trade that can have done it" in root.why
    assert not found.ok
    adds_up(found)
    said = CliRunner().invoke(app, ["compare", str(folder)])
    assert said.exit_code == 1
    assert "nothing in the log explains" in said.stdout


def test_a_fill_that_the_ledger_does_not_have_is_unexplained(settings: Settings, tmp_path: Path):
    def lost(rows: np.ndarray) -> np.ndarray:
        at = int(np.flatnonzero(rows["kind"] == EventKind.FILL_CONFIRMED)[-1])
        again = rows[at].copy()  # told twice: the step's order is over by then
        return put(rows, at, **{name: int(again[name]) for name in ("kind", "market", "aux", "price", "size", "flags")})

    found = compare(made(tmp_path / "r_lost", settings, alter=lost))
    assert any(one.what == "cash" and "ledger" in one.why for one in found.unexplained)


def test_a_run_that_had_other_limits_than_it_says_is_unexplained(settings: Settings, tmp_path: Path):
    found = compare(made(tmp_path / "r_other_limits", settings, says={"strat.maker_tight.max_inventory_shares": "11"}))
    assert not found.replay["ok"]
    assert not found.ok
    assert found.unexplained


def test_the_command_tells_it_as_json_and_to_people(settings: Settings, tmp_path: Path):
    folder = made(tmp_path / "r_told", settings, mode="shadow", gate=Gate.DRY)
    said = CliRunner().invoke(app, ["compare", str(folder), "--json"])
    assert said.exit_code == 0, said.output
    assert '"unexplained": 0' in said.stdout
    assert '"cause": "dry"' in said.stdout
    shown = CliRunner().invoke(app, ["compare", str(folder), "--all"])
    assert shown.exit_code == 0
    assert "replay of the run's own log: parity 1.000000" in shown.stdout
    assert "they part at" in shown.stdout


def test_a_backtest_is_not_compared_with_itself(settings: Settings, tmp_path: Path):
    run = run_backtest(session(200), settings, run_dir=tmp_path / "r_back", run_id="r_back")
    with pytest.raises(UsageError, match="backtest"):
        compare(run.folder)


def test_the_report_of_a_run_says_how_it_differs_and_that_of_a_backtest_does_not(settings: Settings, tmp_path: Path):
    from polytraders.report.analysis import load
    from polytraders.report.findings import sentences
    from polytraders.report.panels import compared

    run = load(made(tmp_path / "r_panel", settings, entry_latency=900_000_000))
    told = compared(run)
    assert told is not None
    assert "differences from a backtest of the same day" in told.html
    assert CAUSES["latency"] in told.html
    assert sentences(run)[0].startswith("This is a paper run")
    back = run_backtest(session(200), settings, run_dir=tmp_path / "r_back", run_id="r_back")
    assert compared(load(back.folder)) is None
