"""Whether a wallet may trade is asked before it does, and what cannot be answered is a no."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))
sys.path.insert(0, str(Path(__file__).parents[1] / "venue" / "trading"))

from ports import info, make_port
from served import Served, serve

from polytraders.config import FOR_LIVE, load_settings
from polytraders.data.markets import MarketInfo
from polytraders.errors import ConfigError, UsageError
from polytraders.risk import compliancegate as gate
from polytraders.risk.compliancegate import Clearance
from polytraders.rows import EventKind, Listed
from polytraders.run import clearance, guarding, operate
from polytraders.run.launch import begin, resume
from polytraders.run.listing import vet
from polytraders.run.pipeline import CLEARING, asks_clearance, build_pipeline
from polytraders.units import NS_PER_S
from polytraders.venue.chain import providers
from polytraders.venue.polymarket import hosts

STRATEGY = "strat.maker_tight"
SENDS = {"live.dry_run": "false"}
DAY = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * NS_PER_S
MARKET = MarketInfo(f"0x{1:064x}", "rain", "?", "1", "2", 100, 100, 5_000_000, 0, 1, 0, False, "77", 0)


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    with serve("--empty", "--cash", "1000") as served:
        yield served


def settings(**more: str) -> Any:
    return load_settings().with_overrides(SENDS | more)


def looked(venue: Served, name: str, change: Any = None, *, screened: str = "", called: str = "local", **other: Any):
    """What a look says of a new account, after `change` was made to it."""
    made = venue.market(f"clearance-{name}")
    port = make_port(venue, f"clearance-{name}", [info(made, name)], **other)
    port.name = called
    asked = settings(**{"live.screened_on": screened} if screened else {})

    async def run():
        async with port.client:
            await clearance.look(port, asked, DAY)  # the venue hears of the account
            if change is not None:
                change(port)
            return await clearance.look(port, asked, DAY)

    return asyncio.run(run())


def test_an_open_account_at_a_local_venue_is_cleared(venue):
    found, said = looked(venue, "good")
    assert found is Clearance.CLEARED
    assert set(said) == {"place", "account", "wallet"}


def test_an_account_that_may_only_close(venue):
    def close(port: Any) -> None:
        venue.admin(f"/accounts/{port.account.maker}", closed_only=True)

    assert looked(venue, "closed", close)[0] is Clearance.CLOSE_ONLY


def test_an_exchange_that_may_not_move_the_wallets_money(venue):
    def revoke(port: Any) -> None:
        venue.admin(f"/accounts/{port.account.maker}", allowances={port._rules[0].domain.contract: "0"})

    assert looked(venue, "allowance", revoke)[0] is Clearance.NOT_ONBOARDED


def test_a_blocked_place(venue):
    try:
        venue.admin("/geoblock", blocked=True, country="FR", region="IDF")
        found, said = looked(venue, "blocked")
    finally:
        venue.admin("/geoblock", blocked=False, country="IE", region="L")
    assert found is Clearance.BLOCKED
    assert "FR-IDF" in said["place"]


@pytest.mark.parametrize("page", ["http://127.0.0.1:9/api/geoblock", "REST/ok"])
def test_a_question_that_is_not_answered_never_clears(venue, page):
    page = page.replace("REST", venue.urls["rest"])
    assert looked(venue, f"place-{page[-2:]}", geoblock=page)[0] is Clearance.UNKNOWN


def test_a_venue_that_does_not_answer_clears_nobody(venue):
    port = make_port(venue, "clearance-gone", [info(venue.market("clearance-gone"), "gone")])
    port.client.hosts = SimpleNamespace(**{**vars(port.client.hosts), "rest": "http://127.0.0.1:9"})

    async def run():
        async with port.client:
            return await clearance.look(port, settings(), DAY)

    assert asyncio.run(run())[0] is Clearance.UNKNOWN


@pytest.mark.parametrize(
    ("day", "found"),
    [
        ("", Clearance.UNKNOWN),
        ("2026-11-20", Clearance.CLEARED),
        ("2026-10-20", Clearance.CLEARED),
        ("2026-10-19", Clearance.UNKNOWN),  # more than a month ago
        ("2026-11-21", Clearance.UNKNOWN),  # nobody was screened tomorrow
    ],
)
def test_real_money_needs_an_owner_who_was_screened_this_month(venue, day, found):
    name = f"screened-{day or 'never'}"
    page = f"{venue.urls['geoblock']}"
    said = looked(venue, name, screened=day, called="polymarket", geoblock=page)
    assert said[0] is found
    assert ("owner" in said[1]) == (found is not Clearance.CLEARED)


def test_the_run_hears_of_it_and_people_do_when_it_is_no():
    rows, incidents = [], []
    wallet, _ = build_pipeline(settings(), STRATEGY, wallet=True)
    runner = SimpleNamespace(
        pipeline=wallet, now=lambda: DAY, incident=lambda what, **more: incidents.append((what, more)),
        put=lambda source, given, note: rows.append((given, note)),
    )  # fmt: skip
    answers = iter([(Clearance.UNKNOWN, {"place": "no answer"}), (Clearance.CLEARED, {"place": "fine"})])

    async def look(*_: Any) -> Any:
        return next(answers)

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clearance, "look", look)
            patch.setattr(clearance, "AGAIN", 0.0)
            task = asyncio.create_task(clearance.watch(SimpleNamespace(), settings(), runner)())
            async with asyncio.timeout(30):
                while len(rows) < 2:
                    await asyncio.sleep(0)
            task.cancel()

    asyncio.run(run())
    bot = wallet.ids.index(CLEARING)
    assert [given["size"].tolist() for given, _ in rows] == [[DAY, Clearance.UNKNOWN], [DAY, Clearance.CLEARED]]
    assert all((given["kind"] == EventKind.CONFIG).all() and (given["aux"] == bot).all() for given, _ in rows)
    assert [(what, more["clearance"]) for what, more in incidents] == [
        ("this wallet is not cleared to trade", "UNKNOWN")
    ]


# -- who has to be cleared -------------------------------------------------------------------------------------------


def parameter(pipeline: Any) -> int:
    (member,) = [b for b in pipeline.bots if b.bot.id == CLEARING]
    return int(member.params[gate.REQUIRED])


@pytest.mark.parametrize(
    ("mode", "dry", "required"),
    [("live", "false", 1), ("live", "true", 0), ("paper", "false", 0), ("shadow", "false", 0)],
)
def test_a_run_that_sends_asks_for_a_clearance_and_the_others_say_that_they_do_not(tmp_path, mode, dry, required):
    asked = settings(**{"live.dry_run": dry})
    launched = begin(asked, mode=mode, strategy=STRATEGY, infos=[MARKET], venue="local", folder=tmp_path / "r")
    launched.writer.close({})
    launched.lock.release()
    assert parameter(launched.pipeline) == required
    (row,) = [row for row in launched.manifest["bots"] if row["bot_id"] == CLEARING]
    told = {p["name"]: p["value"] for p in row["params"]}["clearance_required"]
    assert told == ("true" if required else "false")


@pytest.mark.parametrize("key", ["mode=off", "mode=shadow", "mode=advisory", "clearance_required=false"])
def test_a_wallet_without_a_gate_that_binds_does_not_begin(key):
    name, _, value = key.partition("=")
    asked = settings(**{f"{CLEARING}.{name}": value})
    with pytest.raises(ConfigError, match="nobody cleared"):
        build_pipeline(asked, STRATEGY, wallet=True)
    build_pipeline(asked, STRATEGY)


def test_a_run_that_was_begun_without_a_gate_is_not_taken_over(tmp_path, monkeypatch):
    folder, asked = tmp_path / "r", settings()
    launched = begin(asked, mode="paper", strategy=STRATEGY, infos=[MARKET], venue="local", folder=folder)
    launched.writer.close({})
    launched.lock.release()
    assert not asks_clearance(launched.pipeline)
    again = resume(folder)
    try:
        with pytest.raises(UsageError, match="without asking"):
            operate.refuse_uncleared(again)
    finally:
        again.writer.close({})
        again.lock.release()


def test_a_live_run_has_the_bots_that_protect_its_money_and_a_study_has_not():
    asked = load_settings()
    study = build_pipeline(asked, STRATEGY)[0].ids
    for wallet in (False, True):
        live, rows = build_pipeline(asked, STRATEGY, run_mode="live", wallet=wallet)
        assert set(live.ids) - set(study) == set(FOR_LIVE)
        modes = {row["bot_id"]: row["mode"] for row in rows}
        assert {modes[bot_id] for bot_id in FOR_LIVE} == {"enforced"}
    for run_mode in ("shadow", "paper"):
        assert build_pipeline(asked, STRATEGY, run_mode=run_mode)[0].ids == study


# -- what else stands before real money ------------------------------------------------------------------------------


def test_a_banned_market_is_known_to_a_live_run_from_its_first_row(tmp_path):
    path = tmp_path / "list"
    path.write_text("banned rain # operator\n", encoding="utf-8")
    other = replace(MARKET, condition_id=f"0x{2:064x}", slug="snow", yes_token="3", no_token="4")
    asked = settings(**{"listing.file": str(path)})
    infos = vet([MARKET, other], asked)
    launched = begin(asked, mode="live", strategy=STRATEGY, infos=infos, venue="local", folder=tmp_path / "r")
    launched.writer.close({})
    launched.lock.release()
    flags = launched.step.state.markets["flags"]
    assert [bool(flag & Listed.BANNED) for flag in flags.tolist()] == [True, False]
    again = resume(tmp_path / "r")
    again.writer.close({})
    again.lock.release()
    assert np.array_equal(again.step.state.markets["flags"], flags)


def test_a_live_run_reads_the_list_before_anything_else(venue, monkeypatch, tmp_path):
    """A list that cannot be read stops the start: nothing is begun."""
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    venue.market("clearance-listed")
    asked = settings(**{"listing.file": str(tmp_path / "gone")})
    order = operate.Order(
        mode="live", strategy=STRATEGY, venue="local", urls=json.dumps(venue.urls), slugs=("clearance-listed",),
        confirm=operate.confirmation(asked),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="cannot be read"):
        operate.operate(asked, order, tell=lambda told: pytest.fail("it began"))
    assert not (tmp_path / "runs").exists()


NONE_OR_ONE = ["", "https://one.example/key", "https://one.example/a https://one.example/b"]


@pytest.mark.parametrize("named", NONE_OR_ONE)
def test_real_money_is_refused_without_two_providers_before_anybody_confirms(monkeypatch, named):
    monkeypatch.setenv(providers.RPC, named)
    monkeypatch.setattr(operate, "environment", lambda *_: pytest.fail("asked for hosts"))
    order = operate.Order(mode="live", strategy=STRATEGY, venue="polymarket", confirm="TRADE LIVE PORT-001")
    with pytest.raises(UsageError, match="providers of the chain") as refused:
        operate.operate(settings(), order, tell=lambda told: None)
    assert "one.example" not in str(refused.value), "a URL may hold a key"
    guarding.refuse_unguarded("local")


@pytest.mark.parametrize("host", ["https://clob.polymarket.com", "https://polymarket.com", "wss://x.polymarket.com/ws"])
def test_production_is_no_local_venue(host):
    urls = dict.fromkeys(("rest", "market_ws", "user_ws", "gamma", "data"), "http://127.0.0.1:1")
    hosts.local(urls)
    with pytest.raises(UsageError, match="no local venue"):
        hosts.local(urls | {"rest": host})


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "20.11.2026"])
def test_a_day_of_screening_is_a_day(day):
    with pytest.raises(ConfigError, match="screened_on"):
        settings(**{"live.screened_on": day})
