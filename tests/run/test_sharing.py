"""Runs of one portfolio at one desk: together they stay within its limits, and a replay of each says why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_port import FakePort
from test_live_runner import SHARE, market, runner, until
from test_run_control import ANN, PORTFOLIO, QUIET, STRATEGY, Market, Session, cluster, house, settings

from polytraders.contracts import Actor
from polytraders.engine.state import POSITION
from polytraders.reasons import Code
from polytraders.rows import EventKind, Listed, Signal
from polytraders.run import control, gauges, sharing
from polytraders.run.binding import bind
from polytraders.run.bounds import NO_CAP, Bounds, Cap
from polytraders.run.control import Control
from polytraders.run.launch import Launched, begin, resume
from polytraders.run.replay import replay
from polytraders.store import desk as desks
from polytraders.store.desk import portfolio, shares
from polytraders.store.desk.shares import Elsewhere
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
        self.ports: dict[str, FakePort] = {}
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
                port = self.ports.setdefault(begun.run_id, FakePort())
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


def rooms(folder: Path, number: int = -1) -> list[int]:
    """What the step was told of the room in a market, or (-1) in all; micro-pUSD, -1 = not known."""
    rows = read_log(folder).events()
    told = rows[(rows["kind"] == EventKind.SIGNAL) & (rows["aux"] == Signal.ROOM) & (rows["market"] == number)]
    return [max(int(size) - 1, -1) for size in told["size"]]


def codes(folder: Path) -> set[str]:
    return {Code(int(code)).name for code in np.unique(decisions(folder)["code"])}


async def trades(*sessions: Session, rounds: int = 40, most: int = 8) -> list[tuple[int, int]]:
    """Fill what is bid while a run has less than `most` pUSD; after each round what all have: in all, in market 0."""
    seen = []
    for _ in range(rounds):
        for one in sessions:
            bids = [key for key, (action, _) in one.port.book.items() if action["side"] == 0]
            if bids and exposure(one) < most * MICRO:
                action, filled = one.port.book[bids[0]]
                one.port.fill(bids[0], min(5 * SHARE, int(action["size"]) - filled))
        await asyncio.sleep(0.05)
        worst = sum(one.control.sharing.standing().uses[market(0).condition_id].used for one in sessions)
        seen.append((exposure(*sessions), worst))
    return seen


def test_two_runs_of_a_portfolio_stay_within_its_limits_together(tmp_path: Path):
    desk = Desk(tmp_path, **SMALL)
    seen: list[tuple[int, int]] = []

    async def story(a: Session, b: Session) -> None:
        await a.quoted()
        seen.extend(await trades(a, b))
        await until(lambda: exposure(a) > 0 < exposure(b), "both trade")
        seen.extend(await trades(a, b))
        used = {row["name"]: row for row in desks.utilisation(desk.desk, "b")}
        assert used["exposure, all runs of the portfolio"]["limit"] == "15"
        assert used["exposure, all runs of the tenant"]["limit"] == "1000"
        held = {row["run_id"]: row for row in shares.shares(desk.desk, markets=True) if row["name"] == "exposure"}
        assert sum(row["share"] for row in held.values()) <= 15 * MICRO
        assert {row["state"] for row in held.values()} == {"running"}

    desk.play(story, desk.launched("a"), desk.launched("b"))
    assert max(whole for whole, _ in seen) <= 15 * MICRO
    assert max(worst for _, worst in seen) <= 10 * MICRO, "1 % of the bankroll in one market"
    assert max(whole for whole, _ in seen) > 10 * MICRO, "one alone may not have so much in its one market"
    first, second = rooms(tmp_path / "a"), rooms(tmp_path / "b")
    assert first[0] == 15 * MICRO, "it was alone"
    assert second[0] == 0
    assert min(first) < 13 * MICRO
    assert max(second) > 2 * MICRO, "until the first one had heard of less"
    assert rooms(tmp_path / "b", 0)[0] == 0
    assert {"RISK_MARKET_LIMIT", "RISK_PORTFOLIO_LIMIT"} & codes(tmp_path / "b")
    assert shares.shares(desk.desk, markets=True) == [], "paper runs that ended hold nothing"


def test_a_run_that_wants_little_of_a_large_limit_hears_of_little_more(tmp_path: Path):
    desk = Desk(tmp_path)

    async def story(a: Session) -> None:
        await a.quoted()
        common = (shares.Common("portfolio", 20_000 * MICRO, 0),)
        told = lambda: a.control.sharing._told["exposure"]  # noqa: E731
        for share in (300, 445, 448, 444, 6):
            heard = shares.Shared(a.made.now(), {"exposure": share * MICRO}, common={"exposure": common})
            a.control.sharing.apply(heard)
            used = exposure(a)
            assert abs(told() - max(share * MICRO, used)) <= (445 * MICRO - used) // 64, share
        assert told() == used, "it is not told that what it has is too much"

    desk.play(story, desk.launched("a"))


def test_the_capital_of_the_portfolio_is_that_of_all_its_runs(tmp_path: Path):
    desk = Desk(tmp_path)
    shares_of = {"market_share_pct": "100", "cluster_share_pct": "100", "min_remaining_buffer_pct": "2"}
    given = shares_of | {"portfolio_total_max_usd": "10"}
    small = {f"risk.capitalallocator.{name}": value for name, value in given.items()}
    seen: list[tuple[int, int]] = []

    async def story(a: Session, b: Session) -> None:
        await a.quoted()
        seen.extend(await trades(a, b))

    desk.play(story, desk.launched("a", **small), desk.launched("b", **small))
    assert 5 * MICRO < max(whole for whole, _ in seen) <= 9.8 * MICRO
    assert rooms(tmp_path / "a")[0] == 9_800_000


def test_orders_of_an_hour_are_counted_over_all_runs(tmp_path: Path):
    desk = Desk(tmp_path, max_orders_per_hour=6)
    governed = {"risk.ratelimitgovernor.mode": "enforced"}

    async def story(a: Session, b: Session) -> None:
        await a.quoted(1)
        for step in range(60):
            for one in (a, b):
                one.market.books[0] = (4_900 - 100 * (step // 5 % 3), 5_100 - 100 * (step // 5 % 3))
            await asyncio.sleep(0.05)

    desk.play(story, desk.launched("a", **governed), desk.launched("b", **governed))
    sent = [int((np.concatenate([rows for kind, rows in read_log(tmp_path / name).records()
                                 if kind is RecordKind.ACTIONS])["kind"] == 1).sum()) for name in "ab"]  # fmt: skip
    assert 3 <= sum(sent) <= 6, sent


def test_what_another_run_lost_is_off_the_limits_of_this_one(tmp_path: Path):
    desk = Desk(tmp_path, max_daily_loss_pct="0.5", max_drawdown_intraday_pct="1.5")

    async def story(a: Session, b: Session) -> None:
        await a.holds(20)
        await b.holds(20)
        name = "risk.killswitch.daily_loss_pct"
        assert b.parameter(name) == 5_000
        a.market.books[0] = (4_700, 4_900)
        await until(lambda: 4_000 < b.parameter(name) < 5_000, "what the first one lost is off")
        assert a.parameter(name) == 5_000, "its own loss is measured by its own step"
        a.market.books[0] = (4_900, 5_100)
        await until(lambda: b.parameter(name) > 4_900, "it gained it again")
        a.market.books[0] = (2_900, 3_100)
        await until(lambda: b.parameter(name) <= 3_100, "it lost two fifths of what all may lose")
        assert not a.made.halted
        b.market.books[0] = (900, 1_100)
        await until(lambda: b.made.halted, "together they lost more than they may")
        why = lambda: [one for one in desks.switches(desk.desk, armed=True) if one["target"] == "b"]  # noqa: E731
        await until(why, "and a person is told")
        assert "Other runs of the portfolio lost" in why()[0]["reason"]

    desk.play(story, desk.launched("a"), desk.launched("b"))
    assert codes(tmp_path / "b") & {"RISK_DAILY_LOSS_BREACH", "RISK_DRAWDOWN_BREACH"}


def test_what_a_former_process_took_off_is_put_back(tmp_path: Path):
    desk = Desk(tmp_path, max_daily_loss_pct="0.5", max_drawdown_intraday_pct="1.5")
    name = "risk.killswitch.daily_loss_pct"
    one, bound = desk.launched("a")

    async def first(a: Session, b: Session) -> None:
        await b.holds(20)
        b.market.books[0] = (4_700, 4_900)
        await until(lambda: a.parameter(name) < 5_000, "what the other one lost is off")

    desk.play(first, (one, bound), desk.launched("b"))

    async def again(a: Session) -> None:
        await until(lambda: a.parameter(name) == 5_000, "and there is no other one any more")

    desk.play(again, (resume(tmp_path / "a"), bound))


def test_while_another_run_is_silent_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    desk = Desk(tmp_path)
    for module in (sharing, shares):
        monkeypatch.setattr(module, "ALIVE_NS", 2_000_000_000)

    async def story(a: Session, b: Session) -> None:
        await a.quoted()
        await b.quoted()
        spoke = a.control.sharing._exchange

        def fails(mine: Any) -> Any:
            raise OSError("no database")

        a.control.sharing._exchange = fails
        await until(lambda: b.state.account[0]["room"] == -1, "the other one does not know what it holds")
        await until(lambda: a.state.account[0]["room"] == -1, "nor does it know what the other one holds")
        await until(lambda: not a.port.book and not b.port.book, "what rests would open too")
        parts = lambda: {row["name"]: row for row in desks.board(desk.desk, "health", "b")}  # noqa: E731
        await until(lambda: not parts()["other runs"]["up"], "the desk shows it")
        assert parts()["other runs"]["error"] == "not known: a"
        sent = len(b.port.wire)
        await asyncio.sleep(0.3)
        assert len(b.port.wire) == sent
        a.control.sharing._exchange = spoke
        await a.quoted()
        await b.quoted()

    desk.play(story, desk.launched("a"), desk.launched("b"))
    for name in "ab":
        assert -1 in rooms(tmp_path / name)
        assert rooms(tmp_path / name)[-1] >= 0
        assert "RISK_PORTFOLIO_UNKNOWN" in codes(tmp_path / name)


def test_a_live_run_that_was_killed_counts_until_a_person_says_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    desk = Desk(tmp_path, **SMALL)
    scope = portfolio.scope_of(None, [market(0).condition_id])
    portfolio.launch(desk.desk, STRATEGY, PORTFOLIO, scope, ANN, "cli")

    async def first(a: Session) -> None:
        await a.holds(5)

    desk.play(first, desk.launched("a", "live"), killed=(0,))
    monkeypatch.setattr(shares, "ALIVE_NS", 0)

    async def second(b: Session) -> None:
        await until(lambda: b.state.account[0]["room"] == -1, "nobody knows what it holds")
        await asyncio.sleep(0.3)
        assert not b.port.wire
        monkeypatch.setattr(shares, "ALIVE_NS", 60_000_000_000)
        assert shares.release(desk.desk, "a", ANN, "cli", "its wallet was looked at").ok
        await until(lambda: b.state.account[0]["room"] == 1, "it may have used all of its share")
        assert not b.port.wire
        assert shares.release(desk.desk, "a", ANN, "cli", "all is sold", empty=True).ok
        await b.quoted()

    desk.play(second, desk.launched("b", "live"))
    held = {row["name"]: row for row in shares.shares(desk.desk, markets=True)}
    assert held == {} or {row["state"] for row in held.values()} == {"ended"}


def test_a_killed_run_that_goes_on_gives_the_others_their_part(tmp_path: Path):
    desk = Desk(tmp_path, **(SMALL | {"max_position_pct": "1.5"}))
    scope = portfolio.scope_of(None, [market(0).condition_id])
    portfolio.launch(desk.desk, STRATEGY, PORTFOLIO, scope, ANN, "cli")
    a, bound = desk.launched("a", "live")

    async def first(a: Session) -> None:
        await a.holds(5)

    desk.play(first, (a, bound), killed=(0,))
    (held,) = [row for row in shares.shares(desk.desk) if row["name"] == "exposure"]
    assert (held["state"], held["share"]) == ("running", 15 * MICRO)

    async def both(b: Session, again: Session) -> None:
        assert b.state.account[0]["room"] <= 1, "nothing is left for it yet"
        await until(lambda: b.state.account[0]["room"] > 2 * MICRO, "the other one gave back what it does not use")
        await until(lambda: exposure(b) > 0, "and it is used")
        seen = await trades(b, again)
        assert max(whole for whole, _ in seen) <= 15 * MICRO

    desk.play(both, desk.launched("b", "live"), (resume(tmp_path / "a"), bound))
    assert rooms(tmp_path / "b")[0] == 0


def test_one_that_goes_on_gets_what_the_others_left_it(tmp_path: Path):
    desk = Desk(tmp_path, **SMALL)
    scope = portfolio.scope_of(None, [market(0).condition_id])
    portfolio.launch(desk.desk, STRATEGY, PORTFOLIO, scope, ANN, "cli")
    a, bound = desk.launched("a", "live")

    async def first(a: Session) -> None:
        await a.holds(5)

    desk.play(first, (a, bound))
    (held,) = [row for row in shares.shares(desk.desk, markets=True) if row["name"] == "exposure"]
    assert (held["state"], held["used"]) == ("ended", held["share"])
    assert held["used"] > 2 * MICRO

    async def both(b: Session, again: Session) -> None:
        assert exposure(again) == held["used"]
        seen = await trades(b, again)
        assert max(whole for whole, _ in seen) <= 15 * MICRO
        await again.quoted(1)

    desk.play(both, desk.launched("b", "live"), (resume(tmp_path / "a"), bound))
    assert rooms(tmp_path / "b")[0] == 15 * MICRO - held["used"]


def test_what_others_hold_counts_for_caps(tmp_path: Path):
    desk = Desk(tmp_path, cluster_caps=({"cluster_id": "clu_000000000001", "gross_pusd": "6", "net_pusd": "6"},))
    portfolio.put_config(desk.desk, cluster(1, [market(0), market(7)]), Actor(kind="system", id="clusters"), "cli")

    async def story(a: Session, b: Session) -> None:
        await a.holds(15)
        full = lambda one: bool(int(one.state.markets[0]["flags"]) & Listed.CAPPED)  # noqa: E731
        await until(lambda: full(a) and full(b), "the cluster is full in both, of what one of them holds")
        await until(
            lambda: not any(action["side"] == 0 for action, _ in b.port.book.values()), "nothing more is bought"
        )
        seen = lambda: {row["name"]: row for row in desks.utilisation(desk.desk, "b")}  # noqa: E731
        await until(lambda: float(seen()["cluster clu_000000000001, gross"]["observed"]) >= 6, "the desk shows it")

    desk.play(story, desk.launched("a"), desk.launched("b"))


def test_a_cap_counts_what_others_hold_in_its_layer():
    infos, here = [market(0), market(1)], np.zeros(2, POSITION)
    here["yes_cost"][0] = 4 * MICRO
    members = frozenset({infos[0].condition_id, "0xelse"})
    bounds = Bounds(infos)
    bounds.caps = (
        Cap("clu_1", members, 10 * MICRO, 5 * MICRO), Cap("clu_1", members, 12 * MICRO, 9 * MICRO, "tenant"),
        Cap("rain", frozenset({infos[1].condition_id}), 9 * MICRO, NO_CAP, category="rain"),
    )  # fmt: skip
    bounds.elsewhere = (
        Elsewhere(True, "0xelse", "sun", 3 * MICRO, -3 * MICRO),
        Elsewhere(False, infos[0].condition_id, "sun", 2 * MICRO, 2 * MICRO),
        Elsewhere(True, "0xother", "rain", 8 * MICRO, 8 * MICRO),
        Elsewhere(False, "0xother", "rain", 8 * MICRO, 8 * MICRO),
    )
    assert [(gross // MICRO, net // MICRO) for _, gross, net in bounds.used(here)] == [(7, 1), (9, 3), (8, 8)]
    assert not len(bounds.capped(here))
    here["yes_cost"][1] = MICRO
    assert bounds.capped(here)["market"].tolist() == [1], "the category is full, with what another run has of it"
