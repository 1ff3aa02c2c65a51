"""A run that sends has a guard that is told what it must know; else nothing is opened, and people hear why."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from crash import KEY
from served import Served, serve

from polytraders.config import load_settings
from polytraders.errors import ConfigError
from polytraders.reasons import Code
from polytraders.rows import EventKind, Gate, Status
from polytraders.run import guarding, refresh
from polytraders.run.launch import begin
from polytraders.run.live import Options, Runner
from polytraders.run.replay import replay
from polytraders.run.venues import MarketData, environment, find_markets, live_port
from polytraders.store.log import read_log
from polytraders.venue import keeper
from polytraders.venue.orders import Key, account
from polytraders.venue.polymarket.port import PolymarketPort
from polytraders.venue.polymarket.reader import Reader
from polytraders.venue.refusal import Refused

DAY = 86_400 * 10**9
SETTINGS = {
    "live.dry_run": "false", "engine.decide_interval_ms": "20", "strat.maker_tight.join_touch": "true",
    "strat.maker_tight.min_volume_24h_usd": "1", "disc.marketscanner.min_volume_24h_usd": "1",
    "risk.market_halt_detector.mode": "shadow", "risk.ratelimitgovernor.mode": "enforced",
    "risk.ratelimitgovernor.orders_per_hour": "36000", "risk.ratelimitgovernor.market_orders_per_hour": "36000",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POLYTRADERS_KEY", KEY)
    return tmp_path / "home"


@pytest.fixture
def venue() -> Iterator[Served]:
    with serve("--empty", "--cash", "1000") as served:
        yield served


def play(
    venue: Served, folder: Path, story: Callable[[Runner, Any, Any], Awaitable[None]], **more: str
) -> dict[str, Any]:
    """A live run on one market in which somebody trades; its summary."""
    settings = load_settings().with_overrides(SETTINGS | more)
    venue.market("rain")
    env = environment("local", json.dumps(venue.urls))

    async def breathe() -> None:
        for number in range(10**9):
            if number % 20 == 0:
                await asyncio.to_thread(venue.admin, "/markets/rain/trade", side="BUY", price="0.52", size="20")
            size = str(100 + number % 7)
            await asyncio.to_thread(venue.admin, "/markets/rain/level", side="BUY", price="0.40", size=size)
            await asyncio.sleep(0.25)

    async def whole() -> dict[str, Any]:
        infos = await find_markets(env, ("rain",), (), 1)
        launched = begin(
            settings, mode="live", strategy="strat.maker_tight", infos=infos, venue="local", folder=folder,
            pins={"venue": "local"}, engine={"gate": int(Gate.OPEN)},
        )  # fmt: skip
        port = live_port(env, infos, settings, "strat.maker_tight")
        runner = Runner(
            folder, launched.pipeline, launched.step, launched.writer, port, {"market data": MarketData(env, infos)},
            orders=launched.orders, notes=launched.notes, session=launched.session, options=Options(),
        )  # fmt: skip
        kept = guarding.attach(runner, port, settings)
        work, breathing = asyncio.create_task(runner.run()), asyncio.create_task(breathe())
        try:
            async with asyncio.timeout(120):
                await story(runner, port, kept)
        finally:
            breathing.cancel()
            runner.stop()
            summary = await work
            launched.lock.release()
        return summary

    return asyncio.run(whole())


async def until(true: Callable[[], Any], what: str) -> None:
    for _ in range(6_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain: {what}")


def codes(folder: Path) -> set[str]:
    """Reasons of the decisions in the log."""
    return {
        Code(int(code)).name for kind, rows in read_log(folder).records() if kind.name == "DECISIONS"
        for code in set(rows["code"].tolist())
    }  # fmt: skip


def said(folder: Path) -> list[dict[str, Any]]:
    return [one for note in read_log(folder).notes() for one in note.get("said", ())]


def test_the_guard_signs_counts_and_holds_back_while_the_wallet_cannot_be_read(venue, home, tmp_path):
    """One run: quotes are signed and counted; the wallet is not read any more, nothing is opened and a person is told;
    it is read again and all goes on; trading is halted and the guard knows."""

    async def story(runner: Runner, port: Any, kept: Any) -> None:
        await until(lambda: len(runner.orders.open()) >= 2, "quotes rest")
        seen = runner.health()["guard"]
        assert seen["cash"] == 1_000 * 10**6
        assert 0 < seen["reserved"] < seen["cash"]
        assert seen["signatures"] >= 2
        assert not seen["chain"]
        await until(lambda: runner.health()["guard"]["funds_read_at"] > seen["funds_read_at"], "it is read again")
        assert runner.health()["brake"] == {}
        await until(lambda: "exec.exchangestatusmonitor" in runner.health()["services"], "the venue is watched")
        assert runner.health()["services"]["exec.exchangestatusmonitor"]["code"] == "EXEC_EXCHANGE_STATUS_HEALTHY"

        good = port.read_funds

        async def fails() -> None:
            raise Refused("EXEC_VENUE_UNREACHABLE", "the venue does not tell balances")

        port.read_funds = fails
        await until(lambda: runner.health()["brake"].get("guard"), "the brake is on")
        assert "SEC_FUNDING" in runner.health()["brake"]["guard"]
        assert any(one["what"] == "sec.wallet_funding_guard refuses" for one in runner.incidents)
        await port.cancel_all()
        await until(lambda: not runner.orders.open(), "nothing rests")
        sent = int(runner.step.state.account[0]["submits"])
        await asyncio.sleep(1)
        assert int(runner.step.state.account[0]["submits"]) == sent, "what is wanted again is not sent"
        port.read_funds = good
        await until(lambda: not runner.health()["brake"], "the brake is let go")
        await until(lambda: runner.orders.open(), "it quotes again")

        port.guard.revoke()
        await until(lambda: "SEC_SESSION_REVOKED" in runner.health()["brake"].get("guard", ""), "the session's end")
        runner.arm("a drill")
        await until(lambda: port.guard.kill_switch, "the guard knows of the halt")

    summary = play(venue, tmp_path / "r", story)
    assert summary["orphans"] == []
    assert "RISK_RATE_VENUE" in codes(tmp_path / "r")
    told = {one["what"] for one in said(tmp_path / "r")}
    assert {"opening is held back", "opening is let go", "finding over", "incident"} <= told
    assert replay(tmp_path / "r").ok
    record = json.loads((home / guarding.KEYS).read_text())
    assert next(iter(record.values())).keys() == {"local"}


def test_a_market_that_is_banned_or_closed_meanwhile_opens_nothing_any_more(venue, home, tmp_path):
    listed = tmp_path / "list"
    listed.write_text("# nothing yet\n", encoding="utf-8")

    async def story(runner: Runner, port: Any, kept: Any) -> None:
        async with Reader(tries=2) as read:
            env, settings = port.hosts, load_settings().with_overrides({"listing.file": str(listed)})
            again = refresh.Refresh(runner, env, runner.step.infos, settings, read.json)
            await until(lambda: runner.orders.open(), "quotes rest")
            await again.once()
            assert again.state["failed"] == 0
            listed.write_text("banned rain # operator\n", encoding="utf-8")
            await again.once()
            await port.cancel_all()
            await until(lambda: not runner.orders.open(), "nothing rests")
            sent = int(runner.step.state.account[0]["submits"])
            await asyncio.sleep(1)
            assert int(runner.step.state.account[0]["submits"]) == sent
            listed.write_text("", encoding="utf-8")
            await again.once()
            await until(lambda: runner.orders.open(), "it quotes again")
            await asyncio.to_thread(venue.admin, "/markets/rain/status", status="HALTED")
            await again.once()
            assert int(runner.step.state.markets[0]["status"]) in (Status.OPEN, Status.HALTED)
            await until(lambda: runner.step.state.markets[0]["status"] == Status.HALTED, "the step knows")

    play(venue, tmp_path / "r", story)
    assert "RISK_MARKET_BANNED" in codes(tmp_path / "r")
    assert replay(tmp_path / "r").ok


def test_what_the_guard_refuses_is_denied_with_its_code_in_the_log(venue, home, tmp_path, monkeypatch):
    """The wallet holds three pUSD, the portfolio believes in a thousand."""

    async def story(runner: Runner, port: Any, kept: Any) -> None:
        await until(lambda: any(one.refused for one in prepared), "an order is refused")
        await asyncio.sleep(0.5)

    prepared: list[Any] = []
    real = PolymarketPort.prepare
    monkeypatch.setattr(
        PolymarketPort, "prepare", lambda port, *given: prepared.extend(made := real(port, *given)) or made
    )
    venue.admin(f"/accounts/{Key(KEY).address}", cash="3000000")
    play(venue, tmp_path / "r", story)
    events = read_log(tmp_path / "r").events()
    rejects = events[events["kind"] == EventKind.ORDER_REJECT]
    assert {Code(int(code)).name for code in rejects["size"]} <= {"SEC_FUNDING", "SEC_FUNDING_RACE_LOST"}
    assert len(rejects)
    notes = [entry for note in read_log(tmp_path / "r").notes() for entry in note.get("refused", ())]
    assert {code for _, code, _ in notes} <= {"SEC_FUNDING", "SEC_FUNDING_RACE_LOST"}
    assert notes and all("sec.wallet_funding_guard" in why for _, _, why in notes)


# -- the record of keys ----------------------------------------------------------------------------------------------


def test_a_key_has_one_environment_and_an_age(tmp_path):
    path, key = tmp_path / "keys.json", Key(KEY)
    first = guarding.record_use(key, "polymarket", 5 * DAY, path)
    assert [(use.environment, use.registered_at, use.real_money) for use in first] == [("polymarket", 5 * DAY, True)]
    again = guarding.record_use(key, "polymarket", 9 * DAY, path)
    assert [use.registered_at for use in again] == [5 * DAY], "its first use counts"
    both = guarding.record_use(key, "local", 9 * DAY, path)
    assert {use.environment for use in both} == {"local", "polymarket"}
    assert key.address.lower()[2:] not in path.read_text().lower()


def test_a_damaged_record_is_no_new_one(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match="record of keys"):
        guarding.record_use(Key(KEY), "local", DAY, path)
    assert path.read_text() == "{"


def test_a_key_of_a_local_venue_signs_nothing_with_real_money(home):
    key = Key(KEY)
    owner = account(key.address, 0, 137)
    guarding.record_use(key, "local", time.time_ns())
    env = environment("polymarket")
    guard = guarding.guard_of(env, load_settings(), "strat.maker_tight", key, owner)
    said = {c.code for _, c in guard.unready(time.time_ns())}
    assert "SEC_KEY_REUSE_ACROSS_ENV" in said
    assert guard.chain


def test_a_guard_nobody_tells_anything_names_every_bot_that_would_refuse(home):
    key = Key(KEY)
    guard = guarding.guard_of(
        environment("polymarket"), load_settings(), "strat.maker_tight", key, account(key.address, 0, 137)
    )
    refusing = {bot_id for bot_id, _ in guard.unready(time.time_ns())}
    assert refusing == {
        "sec.allowancemonitor", "sec.rpcfailovermanager", "sec.chainstateverifier", "sec.wallet_funding_guard",
    }  # fmt: skip


def test_the_wallet_is_read_well_before_it_is_too_old():
    guard = guarding.engage(Key(KEY), account(Key(KEY).address, 0, 137), load_settings(), "s", now=1, chain=False)
    assert 2 * keeper.FUNDS_EVERY * 1e9 < guard.limits("sec.wallet_funding_guard").max_age_s
