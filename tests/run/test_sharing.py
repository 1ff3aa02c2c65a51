"""Runs of one portfolio at one desk: together they stay within its limits, and a replay of each says why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_port import FakePort
from test_live_runner import SHARE, market, runner, until
from test_run_control import ANN, PORTFOLIO, QUIET, STRATEGY, Market, Session, house, settings

from polytraders.reasons import Code
from polytraders.rows import EventKind, Listed, Signal
from polytraders.run import control, gauges, sharing
from polytraders.run.binding import bind
from polytraders.run.control import Control
from polytraders.run.launch import Launched, begin, resume
from polytraders.run.replay import replay
from polytraders.store import desk as desks
from polytraders.store.desk import portfolio, shares
from polytraders.store.log import RecordKind, read_log
from polytraders.units import MICRO

SMALL = {"max_position_pct": "1", "max_category_pct": "1.5", "max_exposure_pct": "1.5"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "EVERY", 0.1)
    monkeypatch.setattr(sharing, "EVERY", 0.1)
    monkeypatch.setattr(control, "BEAT", 0.2)


class Desk:
    """A desk of a test's own, and the runs that work there in one process."""

    def __init__(self, folder: Path, **limits: Any):
        self.folder, self.url = folder, f"sqlite:///{folder / 'desk.sqlite'}"
        self.desk = desks.open_desk(self.url)
        house(self.desk, **limits)

    def launched(self, name: str, mode: str = "paper", markets: int = 1, **more: str) -> tuple[Launched, Any]:
        infos = [market(number) for number in range(markets)]
        bound = bind(self.desk, settings(**{**QUIET, **more}), STRATEGY, mode, infos, ANN)
        engine = {"gate": 0} if mode == "live" else None
        begun = begin(
            bound.settings, mode=mode, strategy=STRATEGY, infos=infos, venue="fake", folder=self.folder / name,
            run_id=name, desk=bound.as_dict(), engine=engine,
        )  # fmt: skip
        return begun, bound

    def play(self, story: Callable[..., Awaitable[None]], *runs: tuple[Launched, Any], killed: tuple[int, ...] = ()):
        """Work on these runs together while the story is told; what each says of itself in the end.

        killed: those that come to no end in order.
        """

        async def whole() -> list[Any]:
            sessions, works = [], []
            for begun, bound in runs:
                here = Market(*range(len(begun.step.infos)))
                port = FakePort()
                made = runner(begun, port, feeds={"feed": here.feed})
                told = Control(desks.open_desk(self.url), begun, bound.settings, bound)
                told.begin()
                told.attach(made)
                sessions.append(Session(made, told, self.desk, here, port))
                works.append(asyncio.create_task(made.run()))
            try:
                await asyncio.wait_for(story(*sessions), 90)
            finally:
                summaries = []
                for number, (one, work) in enumerate(zip(sessions, works, strict=True)):
                    one.made.stop()
                    summaries.append(await asyncio.wait_for(work, 60))
                    if number in killed:
                        one.control.sharing = None
                    one.control.close("stopped")
                    runs[number][0].lock.release()
            return summaries

        told = asyncio.run(whole())
        for begun, _ in runs:
            again = replay(begun.folder)
            assert again.ok, again.first_mismatch
        return told


def exposure(*sessions: Session) -> int:
    return sum(int(one.state.account[0]["cost"] + one.state.account[0]["reserved"]) for one in sessions)


def decisions(folder: Path) -> np.ndarray:
    return np.concatenate([rows for kind, rows in read_log(folder).records() if kind is RecordKind.DECISIONS])


def test_two_runs_of_a_portfolio_stay_within_its_exposure_together(tmp_path: Path):
    desk = Desk(tmp_path, **SMALL)
    highest = []

    async def story(a: Session, b: Session) -> None:
        for _ in range(60):
            highest.append(exposure(a, b))
            for one in (a, b):
                bids = [key for key, (action, _) in one.port.book.items() if action["side"] == 0]
                if bids and exposure(one) < 8 * MICRO:
                    one.port.fill(bids[0], min(5 * SHARE, int(one.port.book[bids[0]][0]["size"])))
            await asyncio.sleep(0.05)
        pass
        print([exposure(x) for x in (a, b)], max(highest), a.state.account[0]["room"], b.state.account[0]["room"])
        print(desks.utilisation(desk.desk))

    desk.play(story, desk.launched("a"), desk.launched("b"))
    assert max(highest) <= 15 * MICRO
    for name in "ab":
        rows = read_log(tmp_path / name).events()
        told = rows[(rows["kind"] == EventKind.SIGNAL) & (rows["aux"] == Signal.ROOM)]
        print(name, len(told), told[["market", "size"]])
        codes, n = np.unique(decisions(tmp_path / name)["code"], return_counts=True)
        print([(Code(int(c)).name, int(k)) for c, k in zip(codes, n)])
    assert 0
