"""A run at its desk: what it tells, which of the desk's acts reach the step, and what makes it stop itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_port import FakePort
from test_live_runner import SHARE, book, market, runner, settings, until

from polytraders.bots import load_bot
from polytraders.contracts import Actor, Cluster, ClusterMember, PortfolioConfig, TenantConfig, at
from polytraders.reasons import Code
from polytraders.rows import EventKind, Gate, Listed, Side
from polytraders.run import changes, control, gauges
from polytraders.run.binding import Bound, bind
from polytraders.run.control import Control
from polytraders.run.drift import Drift
from polytraders.run.launch import Launched, begin
from polytraders.run.live import Runner, rows_of
from polytraders.run.replay import replay
from polytraders.store import desk as desks
from polytraders.store.desk import portfolio
from polytraders.store.log import read_log
from polytraders.units import MICRO
from polytraders.venue.port import Balances

ANN, BOB = (Actor(kind="operator", id=name) for name in ("ann", "bob"))
STRATEGY, PORTFOLIO = "strat.maker_tight", "PORT-001"
QUIET = {
    "risk.market_halt_detector.mode": "shadow", "risk.strategysuitabilitygate.mode": "off",
    "strat.maker_tight.join_touch": "true", "risk.ratelimitgovernor.mode": "off",
    "risk.manualoverrideauditor.mode": "enforced",
}  # fmt: skip


class Market:
    """A feed that repeats books; what it tells can be changed while it runs."""

    def __init__(self, *numbers: int):
        self.books = {number: (4_900, 5_100) for number in numbers or (0,)}
        self.silent = False

    async def feed(self, made: Runner) -> None:
        made.put("feed", rows_of({"kind": EventKind.FEED_UP}))
        for number in self.books:
            row = {"kind": EventKind.TRADE, "market": number, "price": 5_000, "size": 5_000 * SHARE}
            made.put("feed", rows_of(row))
        while True:
            for number, (bid, ask) in self.books.items():
                if not self.silent:
                    made.put("feed", book(number, bid, ask))
            await asyncio.sleep(0.05)


class Session:
    """A run with its desk, as a test tells its story."""

    def __init__(self, made: Runner, told: Control, desk: Any, market: Market, port: Any):
        self.made, self.control, self.desk, self.market, self.port = made, told, desk, market, port

    @property
    def state(self) -> Any:
        return self.made.step.state

    def parameter(self, path: str) -> int:
        """A parameter as the step has it, kernel unit."""
        bot_id, _, name = path.rpartition(".")
        number = self.made.pipeline.ids.index(bot_id)
        return int(self.state.params["v"][number][load_bot(bot_id).spec.index(name)])

    async def quoted(self, least: int = 2) -> None:
        await until(lambda: len(self.port.book) >= least, "quotes rest")

    async def holds(self, shares: int = 100, outcome: int | None = None) -> None:
        """Buy: the first order that rests on the bid fills."""
        await until(lambda: any(a["side"] == Side.BUY for a, _ in self.port.book.values()), "a bid rests")
        key = next(k for k, (action, _) in self.port.book.items() if action["side"] == Side.BUY)
        self.port.fill(key, min(shares * SHARE, int(self.port.book[key][0]["size"])))
        await until(lambda: self.state.account[0]["fills"] >= 1, "the fill is booked")

    async def armed(self, trigger: str) -> dict[str, Any]:
        def found() -> Any:
            return next((one for one in desks.switches(self.desk, armed=True) if one["trigger"] == trigger), None)

        await until(found, f"a switch armed by {trigger}", 40)
        return found()


def launched(folder: Path, mode: str = "live", markets: int = 1, bound: Bound | None = None, **more: str) -> Launched:
    chosen = bound.settings if bound else settings(**{**QUIET, **more})
    infos = [market(number) for number in range(markets)]
    return begin(
        chosen, mode=mode, strategy=STRATEGY, infos=infos, venue="fake", folder=folder,
        engine={"gate": int(Gate.OPEN)} if mode == "live" else None, **({"desk": bound.as_dict()} if bound else {}),
    )  # fmt: skip


def at_the_desk(
    folder: Path,
    story: Callable[[Session], Awaitable[None]],
    *,
    mode: str = "live",
    markets: int = 1,
    port: Any = None,
    bound: Bound | None = None,
    url: str | None = None,
    **more: str,
) -> dict[str, Any]:
    """Play a story in a run at a desk; the run's summary. It must replay."""
    url = url or f"sqlite:///{folder.parent / 'desk.sqlite'}"
    begun = launched(folder, mode, markets, bound, **more)
    port = port or (FakePort() if mode != "shadow" else None)
    chosen = bound.settings if bound else settings(**{**QUIET, **more})

    async def whole() -> dict[str, Any]:
        here = Market(*range(markets))
        made = runner(begun, port, feeds={"feed": here.feed})
        told = Control(desks.open_desk(url), begun, chosen, bound)
        told.begin()
        told.attach(made)
        looking = desks.open_desk(url)
        work = asyncio.create_task(made.run())
        try:
            await asyncio.wait_for(story(Session(made, told, looking, here, port)), 90)
        finally:
            made.stop()
            summary = await asyncio.wait_for(work, 60)
            told.close("stopped")
            looking.close()
            begun.lock.release()
        return summary

    summary = asyncio.run(whole())
    again = replay(folder)
    assert again.ok, again.first_mismatch
    return summary


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "EVERY", 0.1)
    monkeypatch.setattr(gauges, "AGAIN", 0)
    monkeypatch.setattr(control, "BEAT", 0.2)


# -- what it tells ---------------------------------------------------------------------------------------------------


def test_the_desk_shows_what_the_run_holds(tmp_path: Path):
    async def story(here: Session) -> None:
        await here.holds(10)
        await here.quoted()
        here.market.books[0] = (5_100, 5_300)
        await until(lambda: desks.board(here.desk, "positions"), "a position is told")
        await until(lambda: desks.board(here.desk, "positions")[0]["mark_price"] == "0.52", "at the new middle")
        (held,) = desks.board(here.desk, "positions")
        assert (held["outcome"], held["size_shares"], held["settlement"]) == ("YES", "10", "open")
        paid = float(held["cost_pusd"])
        assert float(held["unrealised_pnl_pusd"]) == pytest.approx(5.2 - paid)
        (account,) = desks.board(here.desk, "account")
        assert float(account["equity"]) == pytest.approx(1_000 - paid + 5.2)
        assert float(account["pnl"]) == pytest.approx(5.2 - paid)

        orders = {row["status"] for row in desks.board(here.desk, "orders")}
        assert orders & {"RESTING", "SENT", "PARTLY_FILLED"}, orders
        (filled, *_) = [row for row in desks.board(here.desk, "orders") if row["filled"] == "10"]
        assert float(filled["average"]) == float(filled["price"]) == float(filled["q_exec"])
        assert 0 < float(filled["p_hat"]) < 1
        assert 0 <= float(filled["p_fill"]) <= 1
        assert "net_edge_bps" in filled

        used = {row["name"]: row for row in desks.utilisation(here.desk)}
        reserved = float(account["reserved"])
        assert float(used["exposure"]["observed"]) == pytest.approx(paid + reserved, abs=5)
        assert used["exposure"]["limit"] == f"{float(account['equity']) * 0.2:.4f}".rstrip("0").rstrip(".")
        assert {
            "drawdown today",
            "loss today",
            "drawdown this week",
            "drawdown since the start",
            "largest market",
        } <= set(used)

        bots = {row["bot_id"]: row for row in desks.board(here.desk, "bots")}
        assert bots[STRATEGY]["status"] == "healthy"
        assert bots[STRATEGY]["decisions_last_minute"] > 0
        assert bots["exec.runtime"]["mode"] == "enforced"
        parts = {row["name"]: row["up"] for row in desks.board(here.desk, "health")}
        assert parts["feed"] and parts["mailbox"] and parts["fake"]

    at_the_desk(tmp_path / "r", story)


# -- what reaches the step -------------------------------------------------------------------------------------------

LIMIT = "risk.portfolioguard.max_market_pusd"


def grant(desk: Any, value: str, ttl_s: int = 600, **reach: str) -> Any:
    bot, _, name = LIMIT.rpartition(".")
    return desks.override(desk, settings(**QUIET), bot, name, value, ttl_s, ANN, "cli", "deep today", **reach)


def test_an_override_holds_for_its_time_and_no_longer(tmp_path: Path):
    async def story(here: Session) -> None:
        before = here.parameter(LIMIT)
        auditor = here.made.pipeline.ids.index("risk.manualoverrideauditor")
        facts = here.state.params["v"][auditor]
        first = grant(here.desk, "1500")
        await until(lambda: here.parameter(LIMIT) == 1_500 * MICRO, "the override holds")
        assert facts[31] == 1
        assert facts[30] > time.time_ns()
        second = grant(here.desk, "1200", ttl_s=1)
        await until(lambda: here.parameter(LIMIT) == 1_200 * MICRO, "the later one holds")
        assert facts[31] == 2
        await until(lambda: here.parameter(LIMIT) == 1_500 * MICRO, "its time is over")  # nobody had to do anything
        assert desks.overrides(here.desk)[0]["state"] == "expired"
        assert second.ok
        desks.end_override(here.desk, first.subject, BOB, "cli", "not needed")
        await until(lambda: here.parameter(LIMIT) == before, "the configured value is back")
        assert facts[31] == facts[30] == 0

    at_the_desk(tmp_path / "r", story)
    rows = read_log(tmp_path / "r").events()
    assert (rows["kind"] == EventKind.CONFIG).sum() >= 12, "every change is in the log, with what the auditor knows"


def test_an_override_that_stands_when_a_run_begins_holds_in_it(tmp_path: Path):
    with desks.open_desk(f"sqlite:///{tmp_path / 'desk.sqlite'}") as desk:
        assert grant(desk, "1500").ok

    async def story(here: Session) -> None:
        await until(lambda: here.parameter(LIMIT) == 1_500 * MICRO, "it holds from the first row")

    at_the_desk(tmp_path / "r", story)


def test_an_override_for_somebody_else_changes_nothing_here(tmp_path: Path):
    async def story(here: Session) -> None:
        before = here.parameter(LIMIT)
        grant(here.desk, "1500", portfolio_id="PORT-002")
        grant(here.desk, "1400", strategy_id="strat.momentum")
        last = grant(here.desk, "1300", condition_id=market(0).condition_id)
        assert last.ok
        told = lambda: [one["override"] for one in here.made.incidents if "override" in one]  # noqa: E731
        await until(told, "what cannot be applied is told")
        assert told() == [last.subject]
        assert here.parameter(LIMIT) == before

    at_the_desk(tmp_path / "r", story, markets=2)


def test_an_override_of_a_market_holds_where_that_is_the_only_one():
    one = changes.Changes(Bots(), PORTFOLIO, STRATEGY, ["0xaa"])
    asked = {"bot_id": "risk.portfolioguard", "parameter": "max_market_pusd", "after": "1500", "condition_id": "0xaa"}
    rows, why = one.grant("OVR-1", asked, 10)
    assert (len(rows), why) == (1, "")
    assert rows[0]["size"] == 1_500 * MICRO
    again = changes.Changes(Bots(), PORTFOLIO, STRATEGY, ["0xaa"], one.as_data())  # another process goes on
    assert again.end("OVR-1")[0]["size"] == 0
    assert len(again.end("OVR-1")) == 0


class Bots:
    """A pipeline of one bot whose parameters are all 0."""

    ids = ("risk.portfolioguard", "exec.runtime")

    class _One:
        params = np.zeros(32, np.int64)

    bots = (_One(),)


def house(desk: Any, **limits: str) -> None:
    """A tenant with two portfolios."""
    now = time.time_ns()
    tenant = TenantConfig(
        **{"tenant_id": "TEN-001", "name": "House", "config_version": "1", "portfolios": (PORTFOLIO, "PORT-002"),
           "max_exposure_pusd": "1000", "max_daily_loss_pct": "10", "max_drawdown_total_pct": "15"}
    )  # fmt: skip
    portfolio.put_config(desk, tenant, ANN, "cli", now)
    for number in (PORTFOLIO, "PORT-002"):
        config = PortfolioConfig(
            portfolio_id=number, tenant_id="TEN-001", name="One", config_version="1", bankroll_pusd="1000", **limits
        )
        portfolio.put_config(desk, config, ANN, "cli", now)


def test_a_run_begins_under_the_limits_of_its_portfolio_and_hears_when_they_change(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'desk.sqlite'}"
    desk = desks.open_desk(url)
    house(desk, max_market_pusd="300", max_orders_per_hour=20)
    bound = bind(desk, settings(**QUIET), STRATEGY, "paper", [market(0)], ANN)
    assert bound.limits["market_pusd"] == {"value": "300", "layer": "portfolio"}
    assert bound.settings.bot("risk.portfolioguard").values["max_market_pusd"] == "300"
    assert bound.settings.bot("risk.ratelimitgovernor").values["orders_per_hour"] == "20"
    assert bound.settings.portfolio.cash_pusd == 1_000
    assert bound.launch_id == "", "a simulated run is bound to nothing"

    async def story(here: Session) -> None:
        assert here.parameter(LIMIT) == 300 * MICRO
        house(here.desk, max_market_pusd="200")
        await until(lambda: here.parameter(LIMIT) == 200 * MICRO, "a tighter limit holds at once")
        house(here.desk, max_market_pusd="5000")
        await until(lambda: here.parameter(LIMIT) > 200 * MICRO, "a looser one too")
        assert here.parameter(LIMIT) == 1_000 * MICRO, "the strategy's own limit is the tightest now"

    at_the_desk(tmp_path / "r", story, bound=bound, url=url)
    desk.close()


def test_a_live_run_is_bound_by_a_launch_and_ends_with_it(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'desk.sqlite'}"
    desk = desks.open_desk(url)
    house(desk)
    infos = [market(0), market(1)]
    bound = bind(desk, settings(**QUIET), STRATEGY, "live", infos, ANN)
    (one,) = portfolio.launches(desk, running=True)
    assert (one["launch_id"], one["strategy_id"]) == (bound.launch_id, STRATEGY)
    from polytraders.errors import UsageError

    elsewhere = settings(**QUIET, **{"portfolio.id": "PORT-002"})
    with pytest.raises(UsageError, match="runs in PORT-001 already"):
        bind(desk, elsewhere, STRATEGY, "live", infos, ANN)

    async def story(here: Session) -> None:
        await here.quoted(4)
        other = portfolio.launch(
            here.desk, "strat.momentum", "PORT-002", portfolio.scope_of(None, [infos[0].condition_id]), ANN, "cli"
        )
        assert portfolio.stop(here.desk, other.subject, ANN, "cli", "over").ok
        portfolio.rescope(here.desk, bound.launch_id, ANN, "cli", condition_ids=[infos[0].condition_id])
        await until(lambda: here.state.markets[1]["flags"] & Listed.OUT_OF_SCOPE, "the market left the scope")
        gone = lambda: not any(action["market"] == 1 for action, _ in here.port.book.values())  # noqa: E731
        await until(gone, "nothing rests there any more")
        await asyncio.sleep(0.3)
        assert gone()
        assert any(action["market"] == 0 for action, _ in here.port.book.values()), "the other goes on"
        await until(
            lambda: [m["in_scope"] for m in desks.board(here.desk, "markets")] == [True, False], "the desk shows it"
        )
        assert not here.made._stop.is_set(), "another launch's end is nothing to this run"
        portfolio.stop(here.desk, bound.launch_id, BOB, "cli", "to another portfolio")
        await until(lambda: here.made._stop.is_set(), "the run comes to its end")

    at_the_desk(tmp_path / "r", story, bound=bound, url=url, markets=2)
    reasons = [one["reason"] for one in portfolio.audit(desk)]
    assert reasons.count("STRAT_MARKET_IN_SCOPE") == 3
    assert reasons.count("STRAT_MARKET_OUT_OF_SCOPE") == 1
    desk.close()


def test_a_launch_that_was_made_for_a_run_ends_with_it(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'desk.sqlite'}"
    desk = desks.open_desk(url)
    house(desk)
    bound = bind(desk, settings(**QUIET), STRATEGY, "live", [market(0)], ANN)
    at_the_desk(tmp_path / "r", lambda here: here.quoted(), bound=bound, url=url)
    assert portfolio.launches(desk, running=True) == []
    desk.close()


def test_a_cluster_that_is_full_is_only_sold_from(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'desk.sqlite'}"
    desk = desks.open_desk(url)
    infos = [market(number) for number in range(3)]
    now = time.time_ns()
    house(desk, cluster_caps=({"cluster_id": "clu_000000000001", "gross_pusd": "10", "net_pusd": "10"},),
          max_category_pct="20")  # fmt: skip
    portfolio.put_config(desk, cluster(now, infos[:2]), Actor(kind="system", id="clusters"), "cli", now)
    bound = bind(desk, settings(**QUIET), STRATEGY, "paper", infos, ANN)

    async def story(here: Session) -> None:
        full = lambda: [bool(row["flags"] & Listed.CAPPED) for row in here.state.markets]  # noqa: E731
        await until(lambda: full() == [True, True, False], "the cluster is full, the third market is not in it")
        bought = lambda: [  # noqa: E731
            action["market"] for action, _ in here.port.book.values() if action["side"] == Side.BUY
        ]
        await until(lambda: bought() and not {0, 1} & set(bought()), "nothing is bought there")
        await until(
            lambda: "cluster clu_000000000001, gross" in {r["name"] for r in desks.utilisation(here.desk)}, "it is told"
        )
        await until(lambda: full() == [False, False, False], "what rested is gone: there is room again")

    at_the_desk(tmp_path / "r", story, bound=bound, url=url, markets=3)
    desk.close()


def cluster(now: int, infos: Any) -> Cluster:
    members = tuple(ClusterMember(condition_id=info.condition_id, because="metadata") for info in infos)
    return Cluster(
        **at(now), cluster_id="clu_000000000001", tenant_id="TEN-001", name="Rain", builder_version="1.0.0",
        window_days=30, threshold="0.6", members=members,
    )  # fmt: skip


def test_a_run_with_settings_that_nobody_committed_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    committed = tmp_path / "settings.ini"
    committed.write_text((Path(__file__).parents[2] / "settings.ini").read_text())
    monkeypatch.setenv("POLYTRADERS_SETTINGS", str(committed))
    monkeypatch.setattr(Drift, "every", property(lambda self: 0.2))

    async def story(here: Session) -> None:
        await until(lambda: here.control.drift.last is not None, "it was compared")
        found = {(one["bot_id"], one["field"]) for one in here.control.drift.last.payload["drifts"]}
        assert ("strat.maker_tight", "join_touch") in found, "--set"
        assert ("risk.portfolioguard", "max_market_pusd") not in found
        assert "exec.pricebandvalidator" not in {bot for bot, _ in found}, "committed for live runs is committed"
        told = lambda: {row["name"]: row for row in desks.board(here.desk, "health")}["committed configuration"]  # noqa: E731
        await until(lambda: "committed configuration" in {r["name"] for r in desks.board(here.desk, "health")}, "told")
        assert not told()["up"]
        assert "GOV_CONFIG_DRIFT_DETECTED" in told()["error"]
        before = here.control.drift.last.observed
        assert grant(here.desk, "1500").ok
        acknowledged = lambda: [  # noqa: E731
            one["explained"] for one in here.control.drift.last.payload["drifts"] if one["field"] == "max_market_pusd"
        ]
        await until(acknowledged, "an override is a difference that is known")
        assert acknowledged()[0].startswith("OVR-")
        assert here.control.drift.last.observed == before
        committed.unlink()
        await until(
            lambda: here.control.drift.last.code == "GOV_CONFIG_DRIFT_UNKNOWN", "a file that is gone is unknown"
        )

    at_the_desk(tmp_path / "r", story, **{"gov.config_drift_detector.mode": "enforced"})


# -- switches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("global", None), ("portfolio", PORTFOLIO), ("strategy", STRATEGY), ("family", "risk"), ("family", "exec"),
        ("bot", "exec.smartrouter"), ("market", "0"), ("feed", "market-data"), ("cluster", "clu_nobody_knows"),
        ("run", "self"),
    ],
)  # fmt: skip
def test_a_switch_of_every_scope_clears_the_book_and_lets_it_fill_again(tmp_path: Path, scope: str, target: str | None):
    async def story(here: Session) -> None:
        name = {"0": market(0).condition_id, "self": here.made.folder.name}.get(str(target), target)
        name = here.control.run_id if scope == "run" else name
        await here.quoted()
        answer = desks.arm(here.desk, scope, name, ANN, "cli", "a drill")
        await until(lambda: not here.port.book, f"{scope}: nothing rests")
        sent = len([kind for kind, _ in here.port.wire if kind == "SUBMIT"])
        await asyncio.sleep(0.3)
        assert len([kind for kind, _ in here.port.wire if kind == "SUBMIT"]) == sent, "and nothing is sent"
        first = desks.clear(here.desk, answer.subject, ANN, "cli", "the drill is over")
        if scope == "global":
            assert first.status == "armed", "it takes a second person"
            await asyncio.sleep(0.3)
            assert not here.port.book
            assert desks.clear(here.desk, answer.subject, BOB, "cli", "seen it").status == "clear"
        await here.quoted()

    at_the_desk(tmp_path / "r", story)


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("portfolio", "PORT-002"), ("strategy", "strat.momentum"), ("bot", "strat.momentum"),
        ("market", "0x" + "ee" * 32), ("run", "r_of_somebody_else"),
    ],
)  # fmt: skip
def test_a_switch_elsewhere_stops_nothing_here(tmp_path: Path, scope: str, target: str):
    async def story(here: Session) -> None:
        await here.quoted()
        desks.arm(here.desk, scope, target, ANN, "cli", "a drill")
        await until(lambda: here.made.notes["mailbox"] >= desks.last_seq(here.desk), "it is heard")
        await asyncio.sleep(0.2)
        assert not here.made.halted
        assert len(here.port.book) >= 2

    at_the_desk(tmp_path / "r", story)


# -- what stops it ---------------------------------------------------------------------------------------------------


class Refusing(FakePort):
    """A venue that takes nothing once it is told to."""

    refuses = False

    async def send(self, requests: Any) -> None:
        for request in requests:
            if self.refuses and request.action["kind"] == 1:
                self.wire.append(("SUBMIT", request.key))
                self.tell(EventKind.ORDER_REJECT, request.action, request.key, size=int(Code.EXEC_NOT_ENOUGH_BALANCE))
            else:
                await super().send([request])


class Counting(FakePort):
    """A venue most of whose calls fail."""

    asked = failed = 0

    def health(self) -> dict[str, Any]:
        self.asked, self.failed = self.asked + 10, self.failed + 9
        return {"fake": {"up": True}, "rest": {"up": True, "asked": self.asked, "silent": 0, "failed": self.failed}}


async def falls(here: Session) -> None:
    await here.holds(100)
    here.market.books[0] = (2_900, 3_100)


async def refuses(here: Session) -> None:
    await here.quoted()
    here.port.refuses = True
    here.market.books[0] = (4_800, 5_000)
    await asyncio.sleep(0.5)
    here.market.books[0] = (4_700, 4_900)


async def quotes(here: Session) -> None:
    await here.quoted()


async def robbed(here: Session) -> None:
    await here.quoted()
    here.port.cash -= 10 * MICRO  # somebody took it
    here.control.gauges._compare_at = 0


async def silence(here: Session) -> None:
    await here.holds(10)
    here.market.silent = True


async def lost(here: Session) -> None:
    await here.holds(10)
    here.market.silent = True
    here.made.put("feed", rows_of({"kind": EventKind.FEED_DOWN}))


async def opens(here: Session) -> None:
    await here.holds(10)
    here.market.books[0] = (3_500, 6_500)


LOOSE = {"intraday_drawdown_pct": "10", "weekly_drawdown_pct": "20", "daily_loss_pct": "20", "total_drawdown_pct": "30"}


def tight(**limits: str) -> dict[str, str]:
    values = LOOSE | limits
    return {f"risk.killswitch.{name}": value for name, value in values.items()} | {
        "portfolio.cash_pusd": "100",
        "risk.portfolioguard.max_position_pct": "10",
    }  # fmt: skip


TRIGGERS = [
    ("drawdown_intraday", falls, FakePort, tight(intraday_drawdown_pct="0.5")),
    ("drawdown_weekly", falls, FakePort, tight(weekly_drawdown_pct="0.5")),
    ("drawdown_total", falls, FakePort, tight(total_drawdown_pct="0.5")),
    ("daily_loss", falls, FakePort, tight(daily_loss_pct="0.5")),
    ("reject_rate", refuses, Refusing, {"risk.killswitch.reject_min_submits": "1"}),
    ("api_errors", quotes, Counting, {}),
    ("wallet_shortfall", robbed, FakePort, {"live.reconcile_s": "1"}),
    ("stale_data", silence, FakePort, {"risk.killswitch.stale_data_s": "1"}),
    ("feed_loss", lost, FakePort, {"risk.killswitch.stale_data_s": "1"}),
    ("spread_anomaly", opens, FakePort, {"risk.killswitch.stale_data_s": "1"}),
]


@pytest.mark.parametrize(("trigger", "story", "venue", "limits"), TRIGGERS, ids=[name for name, *_ in TRIGGERS])
def test_a_run_that_stops_itself_arms_a_switch_that_a_person_clears(
    tmp_path: Path, trigger: str, story: Any, venue: Any, limits: dict[str, str]
):
    async def whole(here: Session) -> None:
        await story(here)
        switch = await here.armed(trigger)
        assert switch["armed_by"] == {"kind": "system", "id": here.control.run_id}
        scope = ("market", market(0).condition_id) if trigger == "spread_anomaly" else ("strategy", STRATEGY)
        assert (switch["scope"], switch["target"]) == scope
        assert switch["measures"], switch
        await until(lambda: not here.port.book, "what rested is cancelled")
        refused = desks.clear(here.desk, switch["switch_id"], Actor(kind="system", id="x"), "run", "fine again")
        assert refused.code == "GOV_SWITCH_NO_PERSON"
        sent = len([kind for kind, _ in here.port.wire if kind == "SUBMIT"])
        await asyncio.sleep(0.3)
        assert len([kind for kind, _ in here.port.wire if kind == "SUBMIT"]) == sent, "nothing is sent after the trip"
        assert desks.clear(here.desk, switch["switch_id"], ANN, "cli", "looked at it").status == "clear"

    at_the_desk(
        tmp_path / "r", whole, port=venue(cash=int(limits.get("portfolio.cash_pusd", "1000")) * MICRO), **limits
    )


def test_a_paper_run_that_stops_itself_stops_no_other_run(tmp_path: Path):
    async def whole(here: Session) -> None:
        await falls(here)
        switch = await here.armed("drawdown_intraday")
        assert (switch["scope"], switch["target"]) == ("run", here.control.run_id)
        await until(lambda: not here.port.book, "what rested is cancelled")
        await until(lambda: desks.runs(here.desk)[0]["state"] == "halted", "the desk says so")
        assert desks.clear(here.desk, switch["switch_id"], ANN, "cli", "looked at it").status == "clear"
        await until(lambda: not here.state.account[0]["halted"] or True, "cleared")

    at_the_desk(
        tmp_path / "r", whole, mode="paper", port=FakePort(cash=100 * MICRO), **tight(intraday_drawdown_pct="0.5")
    )


def test_a_wallet_that_cannot_be_read_is_unknown_and_one_with_more_is_fine(tmp_path: Path):
    class Rich(FakePort):
        silent = True

        async def balances(self) -> Balances:
            if self.silent:
                raise TimeoutError
            return Balances(5_000 * MICRO, {}, 10**18, 0)

    port = Rich()

    async def whole(here: Session) -> None:
        await here.quoted()
        await until(lambda: here.control.gauges.reconciled.get("code") == "GOV_RECONCILE_UNKNOWN", "it is unknown")
        port.silent = False
        here.control.gauges._compare_at = 0
        await until(lambda: here.control.gauges.reconciled["code"] == "GOV_RECONCILE_OK", "it is read")
        assert here.state.account[0]["shortfall"] == 0
        assert not here.made.halted

    at_the_desk(tmp_path / "r", whole, port=port, **{"live.reconcile_s": "1"})


def unanswered(
    folder: Path, story: Callable[[Any], Awaitable[None]], after: Callable[[Any], None] = lambda desk: None, **more: Any
) -> None:
    """A live run at the approval gate that nobody answers: the story hears of its desk while it works, `after` when it
    is over."""
    url, chosen = f"sqlite:///{folder / 'desk.sqlite'}", settings(**QUIET, **more)
    begun = begin(
        chosen, mode="live", strategy=STRATEGY, infos=[market(0)], venue="fake", folder=folder / "run",
        engine={"gate": int(Gate.APPROVAL)},
    )  # fmt: skip

    async def whole() -> None:
        made = runner(begun, FakePort(), feeds={"feed": Market(0).feed})
        told = Control(desks.open_desk(url), begun, chosen, None)
        told.begin()
        told.attach(made)
        looking = desks.open_desk(url)
        work = asyncio.create_task(made.run())
        try:
            await story(looking)
        finally:
            made.stop()
            await asyncio.wait_for(work, 60)
            told.close("stopped")
            begun.lock.release()
        after(looking)
        looking.close()

    asyncio.run(whole())


def test_what_nobody_answered_is_void_when_the_run_is_over(tmp_path: Path):
    """Or the next run's approver answers a proposal of a run that is gone."""

    async def story(desk: Any) -> None:
        await until(lambda: len(desks.intents(desk)) == 2, "two proposals")

    def after(desk: Any) -> None:
        assert desks.intents(desk, ("PENDING", "APPROVED")) == []
        assert {one["status"] for one in desks.intents(desk, ())} == {"VOID"}

    unanswered(tmp_path, story, after)


def test_a_proposal_that_nobody_answers_expires_and_is_not_called_withdrawn(tmp_path: Path):
    """The step takes it back and the desk's own clock comes to the same end: one end, not two words for it."""

    async def story(desk: Any) -> None:
        def ended() -> list[str]:
            return [one["code"] for one in desks.intents(desk, ()) if one["status"] != "PENDING"]

        await until(lambda: len(ended()) >= 2, "two proposals are over")
        assert set(ended()) == {"GOV_INTENT_EXPIRED"}
        assert not [a for a in desks.since(desk, 0) if str(a.kind) == "refused"], "nor is it asked for twice"

    unanswered(tmp_path, story, **{"engine.intent_ttl_s": 1, "approvals.expiry_s": 5})
