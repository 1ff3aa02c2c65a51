"""A backtest in a cluster's scope as it was on each day: what was in it is traded, the rest is only left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_replay import EASY, SETTINGS, session
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.config import load_settings
from polytraders.contracts import Actor, AuditEnvelope, Cluster, ClusterMember, at, verify_chain
from polytraders.data.catalog import Session
from polytraders.errors import UsageError
from polytraders.rows import ActionKind, EventKind, Listed, Side
from polytraders.run.backtest import run_backtest
from polytraders.run.replay import replay
from polytraders.run.scope import FILE, check, scoped
from polytraders.store.desk import open_desk
from polytraders.store.desk.portfolio import audit, put_config
from polytraders.store.log import RecordKind, read_log
from polytraders.units import NS_PER_DAY

CLUSTER = "clu_000000000001"
SYSTEM = Actor(kind="system", id="clusters")


@pytest.fixture
def two_days() -> tuple[Session, int]:
    """A tape of three markets of which the second half was received the day after: (it, begin of that day)."""
    made = session(3_000, 3)
    events = made.events.copy()
    begin = (int(events["ts_recv"][-1]) // NS_PER_DAY + 1) * NS_PER_DAY
    late = np.arange(len(events)) >= len(events) // 2
    for name in ("ts_recv", "ts_event"):
        events[name][late] += begin - int(events["ts_recv"][late][0]) + 1
    return replace(made, events=events), begin


def save(desk: Any, begin: int, *members: str) -> None:
    found = tuple(ClusterMember(condition_id=one, because="metadata") for one in members)
    cluster = Cluster(
        **at(begin), cluster_id=CLUSTER, tenant_id="TEN-001", name="Rain", builder_version="1.0.0", window_days=30,
        threshold="0.6", members=found,
    )  # fmt: skip
    put_config(desk, cluster, SYSTEM, "cli", begin)


def test_the_scope_is_the_one_of_each_day(tmp_path: Path, two_days: tuple[Session, int]):
    made, begin = two_days
    first, second, third = (market.condition_id for market in made.markets)
    with open_desk(f"sqlite:///{tmp_path / 'desk.sqlite'}") as desk:
        with pytest.raises(UsageError, match="was in this cluster"):
            scoped(desk, made, CLUSTER)
        save(desk, begin - 2 * NS_PER_DAY, first, second)
        save(desk, begin - NS_PER_DAY // 10, second, third)  # in the evening of the first day: of the second one only
        whole = scoped(desk, made, CLUSTER)
    assert [day["condition_ids"] for day in whole.pin["scope"]["days"]] == [[first, second], [second, third]]
    flags = whole.events[whole.events["kind"] == EventKind.FLAGS]
    assert [(int(row["market"]), bool(row["size"] & Listed.OUT_OF_SCOPE)) for row in flags] == [
        (2, True), (0, True), (2, False),
    ]  # fmt: skip
    assert (np.diff(whole.events["ts_recv"]) >= 0).all()
    assert len(whole.events) == len(made.events) + 3

    settings = load_settings(SETTINGS).with_overrides(EASY)
    run = run_backtest(whole, settings, run_dir=tmp_path / "r_scope", run_id="r_scope")
    assert replay(run.folder).ok
    log = read_log(run.folder)
    actions = np.concatenate([rows for kind, rows in log.records() if kind is RecordKind.ACTIONS])
    bought = actions[(actions["kind"] == ActionKind.SUBMIT) & (actions["side"] == Side.BUY)]
    early = set(bought["market"][bought["ts"] < begin].tolist())
    late = set(bought["market"][bought["ts"] > begin].tolist())
    assert 2 not in early
    assert 0 not in late
    assert 1 in early | late, "what was in it all the time was traded"
    assert log.manifest["pins"]["scope"]["cluster_id"] == CLUSTER


def test_every_market_that_enters_or_leaves_has_its_receipt_in_the_run(tmp_path: Path, two_days: tuple[Session, int]):
    made, begin = two_days
    first, second, third = (market.condition_id for market in made.markets)
    with open_desk(f"sqlite:///{tmp_path / 'desk.sqlite'}") as desk:
        save(desk, begin - 2 * NS_PER_DAY, first, second)
        save(desk, begin - NS_PER_DAY // 10, second, third)
        whole = scoped(desk, made, CLUSTER)
        assert audit(desk) == [], "the desk's own tells of launches, not of tests"
    settings = load_settings(SETTINGS).with_overrides(EASY)
    folder = run_backtest(whole, settings, run_dir=tmp_path / "r_scope", run_id="r_scope").folder
    told = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    assert [(one["reason"], one["subject"]["condition_id"], one["ts_ns"]) for one in told] == [
        ("STRAT_MARKET_IN_SCOPE", first, int(made.events["ts_recv"][0])),
        ("STRAT_MARKET_IN_SCOPE", second, int(made.events["ts_recv"][0])),
        ("STRAT_MARKET_OUT_OF_SCOPE", first, begin),
        ("STRAT_MARKET_IN_SCOPE", third, begin),
    ]
    assert verify_chain(told) is None
    assert all(AuditEnvelope.model_validate(one).document() == one for one in told)
    assert {one["subject"]["strategy_id"] for one in told} == {"strat.maker_tight"}
    assert told[-1]["scope_snapshot"] == {
        "mode": "cluster", "cluster_id": CLUSTER, "resolved_condition_ids": [second, third],
    }  # fmt: skip
    assert check(folder, read_log(folder).manifest) == 4

    said = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    assert said.exit_code == 0 and json.loads(said.stdout)["scope"]["ok"]
    lines = (folder / FILE).read_text().splitlines(keepends=True)
    for damaged, place in (
        ([*lines[:2], *lines[3:]], "line 3"),
        (lines[:-1], "line 4"),
        ([*lines, lines[-1]], "line 5"),
    ):
        (folder / FILE).write_text("".join(damaged))
        said = CliRunner().invoke(app, ["verify", str(folder)])
        assert said.exit_code == 5 and place in said.stdout and "not the one that the manifest gives" in said.stdout
    (folder / FILE).unlink()
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 5


def test_a_run_without_a_scope_has_no_receipts_of_one(tmp_path: Path):
    settings = load_settings(SETTINGS).with_overrides(EASY)
    folder = run_backtest(session(200), settings, run_dir=tmp_path / "r_free", run_id="r_free").folder
    assert not (folder / FILE).exists() and check(folder, read_log(folder).manifest) is None
    assert "scope" not in json.loads(CliRunner().invoke(app, ["verify", str(folder), "--json"]).stdout)
