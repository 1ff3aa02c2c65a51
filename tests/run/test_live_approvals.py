"""A live run and its people, end to end: proposals, answers, orders at a local venue, switches, and the end.

Everything goes through the doors that a person uses: `polytraders run`, `intents`, `kill-switches`, the HTTP routes.
What was sent is told by the venue's own record.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from crash import KEY
from served import Served, serve

from polytraders.rows import ActionKind, EventKind, Scope
from polytraders.store.log import read_log

CLI = [sys.executable, "-m", "polytraders.cli"]
ROOT = Path(__file__).parents[2]
STRATEGY = "strat.maker_tight"
SETTINGS = {
    "live.dry_run": "false", "engine.decide_interval_ms": "20", "engine.intent_ttl_s": "40",
    "engine.approval_ttl_s": "600", "strat.maker_tight.join_touch": "true",
    "strat.maker_tight.min_volume_24h_usd": "1", "disc.marketscanner.min_volume_24h_usd": "1",
    "risk.market_halt_detector.mode": "shadow",
}  # fmt: skip


class Desk:
    """A run at a local venue, and the commands of its people."""

    def __init__(self, venue: Served, home: Path):
        self.venue, self.home = venue, home
        self.environment = {**os.environ, "POLYTRADERS_HOME": str(home), "POLYTRADERS_KEY": KEY, "LOGNAME": "ann"}

    def cli(self, *words: str, who: str = "ann", code: int | None = 0) -> Any:
        done = subprocess.run(
            [*CLI, *words, "--json"], capture_output=True, text=True, cwd=ROOT, timeout=120,
            env=self.environment | {"LOGNAME": who},
        )  # fmt: skip
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def intents(self, *words: str) -> list[dict[str, Any]]:
        """What `intents list` shows, read here: a command a look is too slow for what waits a minute."""
        from polytraders.store.desk import expire, intents

        with self.store() as store:
            expire(store)
            return intents(store, () if "--all" in words else ("PENDING",))

    def show(self, trade_intent_id: str) -> dict[str, Any]:
        from polytraders.store.desk import intent

        with self.store() as store:
            return intent(store, trade_intent_id)

    @contextmanager
    def store(self) -> Iterator[Any]:
        from polytraders.store.desk import open_desk

        store = open_desk(f"sqlite:///{self.home / 'desk.sqlite'}")
        try:
            yield store
        finally:
            store.close()

    def account(self) -> dict[str, int]:
        """The venue's record of the one account: cash, reserved, open_orders, orders, trades."""
        found = list(self.venue.state()["accounts"].values())
        return found[0] if found else {"orders": 0, "open_orders": 0, "trades": 0}

    def until(self, true: Callable[[], Any], what: str, seconds: float = 90) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited in vain: {what}; {self.account()}; {self.intents('--all')}")

    def pending(self, market: dict[str, str], outcome: str) -> dict[str, Any] | None:
        """One that is young enough to be answered by a command, which takes seconds on a busy machine."""
        for one in self.intents():
            young = one["expires_ns"] - time.time_ns() > 20e9
            if young and (one["condition_id"], one["outcome"]) == (market["condition"], outcome):
                return one
        return None

    def proposed(self, market: dict[str, str], outcome: str) -> dict[str, Any]:
        return self.until(lambda: self.pending(market, outcome), f"a proposal for {outcome}")

    def approved(self, market: dict[str, str], outcome: str, answer: Callable[[str], Any]) -> str:
        """Approve what is proposed for a token, by any door; its id. What lost its ground meanwhile comes anew."""

        def one() -> str | None:
            found = self.pending(market, outcome)
            if found is None:
                return None
            answer(found["trade_intent_id"])
            done = self.show(found["trade_intent_id"])["status"] in ("APPROVED", "EXECUTED")
            return found["trade_intent_id"] if done else None

        return self.until(one, f"an approval for {outcome}", seconds=180)


@contextmanager
def breathing(venue: Served, *slugs: str) -> Iterator[None]:
    """Others who trade: a level far from the touch that moves, and what makes a market one to quote in."""
    over = threading.Event()

    def work() -> None:
        for number in range(10**9):
            for slug in slugs:
                if number % 20 == 0:
                    venue.admin(f"/markets/{slug}/trade", side="BUY", price="0.52", size="20")
                venue.admin(f"/markets/{slug}/level", side="BUY", price="0.40", size=str(100 + number % 7))
            if over.wait(0.25):
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def running(
    desk: Desk, *slugs: str, mode: str = "live", settings: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A run, and what it told when it worked. settings: set on its command line; None: those of this file."""
    words = ["--mode", mode, "--venue", "local", "--venue-urls", json.dumps(desk.venue.urls), "--strategy", STRATEGY]
    words += ["--confirm", "TRADE LIVE PORT-001", "--json"]
    words += [] if settings is not None else ["--settings", str(ROOT / "settings.ini")]
    words += [word for slug in slugs for word in ("--market", slug)]
    words += [
        word
        for name, value in (SETTINGS if settings is None else settings).items()
        for word in ("--set", f"{name}={value}")
    ]
    process = subprocess.Popen([*CLI, "run", *words], stdout=subprocess.PIPE, text=True, env=desk.environment, cwd=ROOT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the run ended with {process.wait()}"
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def by_http(desk: Desk, path: str) -> Any:
    """POST a route of the desk's app, in this process, as the owner of a token."""
    from fastapi.testclient import TestClient

    from polytraders.api.app import create_app
    from polytraders.config import load_settings
    from polytraders.contracts import Actor
    from polytraders.store.desk.access import create_token

    with desk.store() as store:
        _, token = create_token(store, "bob", ["approve"], Actor(kind="operator", id="ann"))
        app = create_app(store, load_settings(desk.environment.get("POLYTRADERS_SETTINGS") or ROOT / "settings.ini"))
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        return client.post(path, headers={"authorization": f"Bearer {token}"})


def test_from_a_proposal_to_an_order_and_through_the_switches_to_the_end(tmp_path: Path):
    with serve("--empty") as venue:
        desk = Desk(venue, tmp_path)
        rain, snow = venue.market("rain"), venue.market("snow")
        with breathing(venue, "rain", "snow"), running(desk, "rain", "snow") as (process, told):
            # Nothing is sent that nobody approved.
            first = desk.proposed(rain, "YES")
            assert desk.account()["orders"] == 0
            assert first["run_id"] == told["run_id"]

            # By command line: it rests, as the venue's own record says.
            assert desk.cli("intents", "approve", first["trade_intent_id"])["status"] == "APPROVED"
            desk.until(lambda: desk.account()["open_orders"] == 1, "the order rests")
            desk.until(lambda: desk.show(first["trade_intent_id"])["status"] == "EXECUTED", "the desk knows")

            # By HTTP.
            desk.approved(snow, "YES", lambda id_: by_http(desk, f"/intents/{id_}/approve"))
            desk.until(lambda: desk.account()["open_orders"] == 2, "the second rests")

            # Rejected, and left alone until its time is over.
            no = desk.proposed(rain, "NO")
            left = desk.proposed(snow, "NO")
            assert desk.cli("intents", "reject", no["trade_intent_id"], "-r", "not today")["status"] == "REJECTED"
            refused = desk.cli("intents", "approve", no["trade_intent_id"], code=1)
            assert refused["code"] == "GOV_APPROVAL_NOT_PENDING"
            ended = ("VOID", "EXPIRED")
            desk.until(lambda: desk.show(left["trade_intent_id"])["status"] in ended, "it expires")
            assert desk.cli("intents", "approve", left["trade_intent_id"], code=1)["ok"] is False
            assert desk.account()["orders"] == 2

            # One fills: sold into, through the queue at the touch.
            venue.admin("/markets/rain/trade", side="SELL", price="0.48", size="500")
            desk.until(lambda: desk.account()["trades"] >= 1, "it fills")
            desk.until(lambda: desk.account()["open_orders"] == 1, "nothing is sent again for what was bought")

            # A switch of one market takes that market's order, and no other.
            third = desk.proposed(rain, "YES") if desk.pending(rain, "YES") else None
            desk.cli("kill-switches", "arm", "market", rain["condition"], "-r", "the price is odd")
            if third is not None:
                assert desk.cli("intents", "approve", third["trade_intent_id"], code=1)["ok"] is False
            time.sleep(1)
            assert desk.account()["open_orders"] == 1, "snow goes on"
            desk.cli("kill-switches", "arm", "market", snow["condition"], "-r", "here too")
            desk.until(lambda: desk.account()["open_orders"] == 0, "snow's order is cancelled")

            # The whole strategy; then the markets are cleared, and it holds alone.
            desk.cli("kill-switches", "arm", "strategy", STRATEGY, "-r", "a drill")
            desk.cli("kill-switches", "clear", f"market:{rain['condition']}", "-r", "looked at it")
            desk.cli("kill-switches", "clear", f"market:{snow['condition']}", "-r", "looked at it")
            sent = desk.account()["orders"]
            time.sleep(2)
            assert desk.intents() == [], "nothing is proposed while a switch is on"
            assert desk.account()["orders"] == sent, "and nothing sent"

            # Cleared, it goes on.
            desk.cli("kill-switches", "clear", f"strategy:{STRATEGY}", "-r", "the drill is over")
            desk.approved(snow, "YES", lambda id_: desk.cli("intents", "approve", id_, code=None))
            desk.until(lambda: desk.account()["open_orders"] == 1, "an order rests again")

            # The global one: everything goes, and it takes two persons to clear it.
            desk.cli("kill-switches", "arm", "global", "-r", "stop")
            desk.until(lambda: desk.account()["open_orders"] == 0, "nothing rests")
            sent = desk.account()["orders"]
            assert desk.cli("kill-switches", "clear", "global", "-r", "looked")["status"] == "armed"
            time.sleep(1)
            assert desk.account()["orders"] == sent
            assert desk.intents() == []
            assert desk.cli("kill-switches", "clear", "global", "-r", "looked", who="bob")["status"] == "clear"
            desk.approved(snow, "YES", lambda id_: desk.cli("intents", "approve", id_, code=None))
            desk.until(lambda: desk.account()["open_orders"] == 1, "an order rests at the end")

            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            books = desk.account()
            assert books["open_orders"] == 0, "nothing rests"
        summary = json.loads(rest)
        assert summary["orphans"] == []
        account = summary["account"]
        assert round(float(account["cash"]) * 1e6) == books["cash"] + books["reserved"]
        assert books["trades"] == summary["fills"] >= 1
        log = read_log(Path(told["folder"])).events()
        assert shares_at(venue) == int(log["size"][log["kind"] == EventKind.FILL_PROVISIONAL].sum()), "it only bought"
        run = told["run_id"]
        held = desk.cli("replay", run)
        assert held["parity"] == 1.0
        assert held["ok"]
        assert desk.cli("verify", run)["ok"]
        _the_log_tells_the_same(Path(told["folder"]), books, [no, left])


def shares_at(venue: Served) -> int:
    """micro-shares that the venue's data API lists for the one account."""
    (address,) = venue.state()["accounts"]
    with urllib.request.urlopen(f"{venue.urls['data']}/v2/positions?user={address}", timeout=10) as answer:
        return sum(round(float(one["current_size"]) * 1e6) for one in json.load(answer)["data"])


def _the_log_tells_the_same(folder: Path, books: dict[str, int], never: list[dict[str, Any]]) -> None:
    log = read_log(folder)
    actions = np.concatenate([rows for kind, rows in log.records() if kind.name == "ACTIONS"])
    submits = actions[actions["kind"] == ActionKind.SUBMIT]
    assert len(submits) == books["orders"]
    assert not set(submits["corr"]) & {one["corr"] for one in never}, "rejected and expired: never sent"
    events = log.events()
    assert set(submits["corr"]) <= set(events["aux"][events["kind"] == EventKind.APPROVAL])
    switches = events[events["kind"] == EventKind.SWITCH]
    scopes = [(Scope(row["aux"]).name, int(row["size"])) for row in switches]
    for name in ("MARKET", "STRATEGY", "GLOBAL"):
        assert (name, 1) in scopes
        assert (name, 0) in scopes
