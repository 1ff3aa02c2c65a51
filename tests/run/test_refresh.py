"""Lists and rules asked again while a run goes on: what differs becomes rows, what cannot be had changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from polytraders.config import load_settings
from polytraders.data.markets import MarketInfo
from polytraders.rows import EventKind, Flag, Listed, Status
from polytraders.run.bounds import Bounds
from polytraders.run.refresh import Refresh
from polytraders.venue.refusal import Refused

S = 10**9
NOW = 1_790_000_000 * S
MARKET = MarketInfo(f"0x{1:064x}", "rain", "?", "1", "2", 100, 1, 5_000_000, 40_000, 1, 250_000, False, "77", 0)
OTHER = replace(MARKET, condition_id=f"0x{2:064x}", slug="snow", yes_token="3", no_token="4")
FIELDS = ("fee_rate", "fee_exponent", "rebate_rate", "taker_delay", "tick", "status", "flags")


def told(info: MarketInfo, **more: Any) -> dict[str, Any]:
    """A market in the short keys of /clob-markets."""
    tokens = [{"t": info.yes_token, "o": "Yes"}, {"t": info.no_token, "o": "No"}]
    said = {"c": info.condition_id, "t": tokens, "mts": 0.01, "mos": 5, "ao": True, "fd": {"r": 0.04, "e": 1}}
    return {name: value for name, value in (said | more).items() if value is not None}


class Run:
    """The step's markets, and what is put before it."""

    def __init__(self, infos: tuple[MarketInfo, ...] = (MARKET, OTHER), **settings: str):
        markets = np.zeros(len(infos), [(name, "i8") for name in FIELDS])
        for row, info in zip(markets, infos, strict=True):
            row["fee_rate"], row["fee_exponent"], row["rebate_rate"] = 40_000, 1, 250_000
            row["tick"], row["flags"] = info.tick, info.flags
        self.markets = markets
        self.step = SimpleNamespace(state=SimpleNamespace(markets=markets))
        self.puts: list[tuple[str, np.ndarray, Any]] = []
        self.incidents: list[Any] = []
        self.vetted = lambda flags: self.bounds.vetted(flags)
        self.bounds = Bounds(infos)
        self.said: dict[str, Any] = {info.condition_id: told(info) for info in infos}
        chosen = load_settings().with_overrides(settings)
        self.refresh = Refresh(self, SimpleNamespace(rest="http://v"), infos, chosen, self.ask)  # type: ignore[arg-type]

    async def ask(self, url: str) -> Any:
        said = self.said[url.rpartition("/")[2]]
        if isinstance(said, Exception):
            raise said
        return said

    def now(self) -> int:
        return NOW

    def incident(self, what: str, **more: Any) -> None:
        self.incidents.append((what, more))

    def put(self, source: str, rows: np.ndarray, note: Any = None) -> None:
        self.puts.append((source, rows, note))
        for row in rows:  # as the step does
            market, kind = self.markets[row["market"]], row["kind"]
            if kind == EventKind.FEES:
                market["fee_rate"], market["fee_exponent"], market["rebate_rate"] = (
                    row["size"],
                    row["price"],
                    row["aux"],
                )
            elif kind == EventKind.TAKER_DELAY:
                market["taker_delay"] = row["size"]
            elif kind == EventKind.TICK_SIZE:
                market["tick"] = row["price"]
            elif kind == EventKind.STATUS:
                market["status"] = row["aux"]
            elif kind == EventKind.FLAGS:
                market["flags"] = row["size"]

    def once(self) -> list[str]:
        """Ask once; the kinds of rows that came of it."""
        before = len(self.puts)
        asyncio.run(self.refresh.once())
        assert all((rows["flags"] == Flag.LAST).all() for _, rows, _ in self.puts[before:])
        return [EventKind(int(kind)).name for _, rows, _ in self.puts[before:] for kind in rows["kind"]]

    def change(self, **more: Any) -> None:
        self.said[MARKET.condition_id] = told(MARKET, **more)


def test_what_is_as_it_was_is_not_told():
    run = Run()
    assert run.once() == []
    assert run.refresh.state["failed"] == 0


def test_new_fees_are_in_force_once_and_the_rebate_stays():
    run = Run()
    run.change(fd={"r": 0.05, "e": 2})
    assert run.once() == ["FEES"]
    assert run.markets[0].item()[:3] == (50_000, 2, 250_000)
    assert run.markets[1]["fee_rate"] == 40_000
    assert run.once() == []


def test_fees_that_are_not_told_are_not_taken_for_none():
    run = Run()
    run.change(fd=None)
    assert run.once() == []


def test_a_taker_delay_that_is_switched_on():
    run = Run()
    run.change(sd=3)
    assert run.once() == ["TAKER_DELAY"]
    assert run.markets[0]["taker_delay"] == 3 * S
    run.change()
    assert run.once() == ["TAKER_DELAY"]
    assert run.markets[0]["taker_delay"] == 0


def test_a_tick_counts_when_it_is_told_twice():
    run = Run()
    run.change(mts=0.001)
    assert run.once() == []
    assert run.once() == ["TICK_SIZE"]
    assert run.markets[0]["tick"] == 10
    assert run.puts[-1][1]["aux"].tolist() == [100]
    run.change(mts=0.01)
    assert run.once() == []
    run.change(mts=0.001)  # it was an old answer
    assert run.once() == []
    run.change(mts=0.01)
    assert run.once() == []
    assert run.markets[0]["tick"] == 10


@pytest.mark.parametrize("gone", [None, "ao"])
def test_a_market_that_takes_no_orders_is_halted_and_opens_again(gone):
    run = Run()
    if gone is None:
        run.said[MARKET.condition_id] = None
    else:
        run.change(ao=None)
    assert run.once() == ["STATUS"]
    assert run.markets[0]["status"] == Status.HALTED
    assert run.once() == []
    run.change()
    assert run.once() == ["STATUS"]
    assert run.markets[0]["status"] == Status.OPEN


def test_what_the_stream_said_of_a_status_is_not_taken_back():
    run = Run()
    run.markets[0]["status"] = Status.HALTED
    assert run.once() == [], "not by us"
    run.markets[0]["status"] = Status.RESOLVED
    run.change(ao=None)
    assert run.once() == []
    run.change()
    assert run.once() == []
    assert run.markets[0]["status"] == Status.RESOLVED


@pytest.mark.parametrize(
    "bad", [Refused("INTEL_VENUE_UNREACHABLE", "nobody there"), {"c": "0x9"}, "text", [], {"c": MARKET.condition_id}]
)
def test_what_cannot_be_had_or_read_changes_nothing_and_is_told_once(bad):
    run = Run()
    run.said[MARKET.condition_id] = bad
    run.said[OTHER.condition_id] = told(OTHER, fd={"r": 0.07, "e": 1})
    assert run.once() == ["FEES"], "the other one is asked all the same"
    run.once()
    assert [what for what, _ in run.incidents] == ["rules could not be asked again"]
    assert run.refresh.state["failed"] == 1
    run.change()
    run.once()
    assert run.refresh.state["problem"] == ""


def test_a_market_that_is_banned_meanwhile_and_a_list_that_cannot_be_read(tmp_path: Path):
    path = tmp_path / "list"
    path.write_text("disputed snow\n", encoding="utf-8")
    run = Run(**{"listing.file": str(path)})
    run.markets["flags"] = [1 << 40, 0]  # a bit that no list sets
    assert run.once() == ["FLAGS"]
    assert run.markets["flags"].tolist() == [1 << 40, Listed.DISPUTED]
    path.write_text("banned rain\n", encoding="utf-8")
    run.once()
    assert run.markets["flags"].tolist() == [1 << 40 | Listed.BANNED, 0]
    run.put("desk", run.bounds.scope({OTHER.condition_id}))
    assert run.markets["flags"].tolist() == [1 << 40 | Listed.BANNED | Listed.OUT_OF_SCOPE, 0], "a scope lifts no ban"
    run.put("desk", run.bounds.scope(None))
    path.unlink()
    run.once()
    assert all(flags & Listed.UNVETTED for flags in run.markets["flags"].tolist())
    path.write_text("banned rain\n", encoding="utf-8")
    run.once()
    assert run.markets["flags"].tolist() == [1 << 40 | Listed.BANNED, 0]
