"""A run laid beside a recording of its day that somebody else made: what the two heard differently is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_compare import adds_up, causes, made
from test_replay import EASY, SETTINGS, session
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.config import Settings, load_settings
from polytraders.data.catalog import Catalog, catalog_root, market_record, write_recording
from polytraders.data.markets import MarketInfo
from polytraders.errors import UsageError
from polytraders.rows import EventKind
from polytraders.run.compare import compare

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path / "home"))


@pytest.fixture
def settings() -> Settings:
    return load_settings(SETTINGS).with_overrides(EASY)


def record(name: str, events: np.ndarray, markets: tuple[MarketInfo, ...]) -> None:
    """Put a recording into the catalog."""
    events = events.copy()
    events["seq"] = np.arange(len(events))
    manifest = {
        "rows": len(events), "sources": [], "importer": "a test", "quality": {}, "notes": [], "markets": len(markets),
    }  # fmt: skip
    rows = pa.Table.from_pylist([market_record(info, {}) for info in markets])
    write_recording(catalog_root(), name, events, {"markets": rows}, manifest)
    assert np.array_equal(Catalog().load(name).events["price"], events["price"])


def test_a_recording_of_what_the_run_heard_gives_the_same_day(settings: Settings, tmp_path: Path):
    """In another order of markets, with one more than the run followed, and longer than the run."""
    day, other = session(2_000), session(50, markets=1, seed=9)
    longer = other.events.copy()
    longer["ts_recv"] += day.events["ts_recv"][-1]  # after the run's end, in a market of its own
    renamed = replace(other.markets[0], condition_id="0x" + "ee" * 32, slug="another", yes_token="1", no_token="2")
    shifted = day.events.copy()
    shifted["market"] = np.where(shifted["market"] < 0, shifted["market"], 2 - shifted["market"])
    record("theirs", np.concatenate([shifted, longer]), (renamed, day.markets[1], day.markets[0]))
    folder = made(tmp_path / "r_heard", settings)
    found = compare(folder, "theirs")
    assert (found.recording, found.ok, found.differences) == ("theirs", True, [])
    assert found.totals == compare(folder).totals and found.totals["live"]["fills"] > 0


def test_what_only_one_of_them_heard_is_named_and_is_the_cause_of_what_follows(settings: Settings, tmp_path: Path):
    day = session(2_000)
    changes = np.flatnonzero(day.events["kind"] == EventKind.CHANGE)
    lost = changes[::5]
    record("with_gaps", np.delete(day.events, lost), day.markets)
    folder = made(tmp_path / "r_gaps", settings)
    said = CliRunner().invoke(app, ["compare", str(folder), "--recording", "with_gaps", "--json"])
    told = json.loads(said.stdout)
    assert said.exit_code == 0 and told["ok"] and told["recording"] == "with_gaps"
    inputs = [one for one in told["differences"] if one["what"] == "input"]
    assert {one["cause"] for one in inputs} == {"recording"}
    assert sum(one["count"] for one in inputs) == len(lost)
    assert all("CHANGE: heard by the run, not recorded" in one["why"] for one in inputs)
    assert told["first_parting"]["cause"] == "recording"
    adds_up(compare(folder, "with_gaps"))
    shown = CliRunner().invoke(app, ["compare", str(folder), "--recording", "with_gaps"])
    assert "with a backtest of with_gaps" in shown.stdout and "not the same events" in shown.stdout


def test_what_the_run_missed_is_told_from_the_other_side(settings: Settings, tmp_path: Path):
    day = session(2_000)
    extra = day.events[day.events["kind"] == EventKind.TRADE][3:4]
    at = int(np.searchsorted(day.events["ts_recv"], extra["ts_recv"][0], "right"))
    record("more", np.insert(day.events, at, extra), day.markets)
    found = compare(made(tmp_path / "r_missed", settings), "more")
    (one,) = [one for one in found.differences if one.what == "input"]
    assert one.why == "1 rows TRADE: recorded, not heard by the run" and one.ts == int(extra["ts_recv"][0])
    assert causes(found) == {"recording"} and found.ok
    adds_up(found)


def test_a_recording_of_another_day_or_other_markets_is_refused(settings: Settings, tmp_path: Path):
    day = session(2_000)
    folder = made(tmp_path / "r_other", settings)
    for name, shift in (("next_day", 86_400 * 10**9), ("day_before", -86_400 * 10**9)):
        other = day.events.copy()
        for clock in ("ts_recv", "ts_event"):
            other[clock] += shift
        record(name, other, day.markets)
    record("one_market", day.events[day.events["market"] <= 0], day.markets[:1])
    for name in ("next_day", "day_before"):
        with pytest.raises(UsageError, match=f"{name} holds nothing of the time of r_other"):
            compare(folder, name)
    with pytest.raises(UsageError, match="one_market has no market"):
        compare(folder, "one_market")
    with pytest.raises(UsageError, match="there is no recording 'nextday'"):
        compare(folder, "nextday")
