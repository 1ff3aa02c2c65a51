"""One strategy on its way to the venue: shadow, paper, live and dry, live with approvals; then its exits.

Each step is a process of its own with the same settings, on the same local venue, used as a person uses it: by command
line, over HTTP, and by a click in a browser. After each the run replays to the same decisions, and a backtest of the
day it saw differs only where something explains it.
"""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))
sys.path.insert(0, str(Path(__file__).parents[1] / "desk"))

from served import Served, serve
from test_desk_console import browser, console, opened  # noqa: F401 - the first is a fixture
from test_live_approvals import ROOT, SETTINGS, Desk, breathing, by_http, running

from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind
from polytraders.run.compare import compare
from polytraders.run.lives import FILLS, holdings, lives
from polytraders.run.replay import replay
from polytraders.store.log import DTYPES, RecordKind, read_log, read_tail, verify_log

SAME = SETTINGS | {
    # A machine that is busy with other tests must not let a proposal expire under the tester's hands.
    "engine.intent_ttl_s": "900", "approvals.expiry_s": "900", "approvals.quote_age_ms": "60000",
    "engine.approval_tolerance_bps": "100", "approvals.tolerance_bps": "100",
    "exits.enabled": "true", "exits.take_profit_pct": "10", "exits.stop_loss_pct": "8", "exits.max_spread_bps": "0",
    "exits.time_exit_h": "1", "exits.follow_unwinder": "false",
    "risk.killswitch.stale_data_s": "600",  # a machine that stands still for a minute is no drill here
}  # fmt: skip
CLOSES_IN = 3_600 + 180
"""s until the scheduled end of the market that is to be left by time: three minutes from its begin the exit is due."""
pytestmark = pytest.mark.browser


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file that every process of the test reads."""
    lines, section, left = [], "", SAME | {"live.dry_run": "true"}
    for line in (ROOT / "settings.ini").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line[1:-1]
            mine = [key for key in left if key.rpartition(".")[0] == section]
            lines += [line, *(f"{key.rpartition('.')[2]} = {left.pop(key)}" for key in mine)]
        elif f"{section}.{line.partition('=')[0].strip()}" not in SAME | {"live.dry_run": ""} or "=" not in line:
            lines.append(line)
    assert not left, f"settings.ini has no section for {sorted(left)}"
    path = tmp_path / "settings.ini"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def said_so_far(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(events, decisions, actions) of a run that goes on."""
    kinds = (RecordKind.EVENTS, RecordKind.DECISIONS, RecordKind.ACTIONS)
    records = read_tail(folder).records
    return tuple(
        np.concatenate([np.zeros(0, DTYPES[kind]), *(r.rows for r in records if r.kind is kind)]) for kind in kinds
    )


@contextmanager
def begun(desk: Desk, mode: str, *slugs: str, **overrides: str) -> Iterator[tuple[Any, Path]]:
    """A run in work, and its folder; at the end of the block it is told to stop, and must have done so in order."""
    with running(desk, *slugs, mode=mode, settings=overrides) as (process, told):
        yield process, Path(told["folder"])


def finished(desk: Desk, process: Any, folder: Path) -> dict[str, Any]:
    """Stop the run; its summary, once it has been replayed, verified and laid beside a backtest of its day."""
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=180)
    assert process.returncode == 0
    summary = json.loads(rest)
    assert summary["orphans"] == []
    replayed = replay(folder)
    assert replayed.ok
    assert replayed.parity == 1.0
    assert verify_log(folder).ok
    compared = compare(folder).as_dict()
    assert compared["ok"], [one for one in compared["differences"] if one["cause"] == "unexplained"]
    assert compared["unexplained"] == 0
    return summary | {"compared": compared}


def causes(summary: dict[str, Any]) -> dict[str, int]:
    return {row["cause"]: row["roots"] for row in summary["compared"]["causes"]}


def cross(venue: Served, slug: str, bid: str, ask: str) -> None:
    """Others quote here now: what they quoted between is gone."""
    for side, price in (("BUY", "0.48"), ("BUY", "0.47"), ("SELL", "0.52"), ("SELL", "0.53")):
        venue.admin(f"/markets/{slug}/level", side=side, price=price, size="0")
    venue.admin(f"/markets/{slug}/level", side="BUY", price=bid, size="500")
    venue.admin(f"/markets/{slug}/level", side="SELL", price=ask, size="500")


def fresh(venue: Served, *slugs: str) -> None:
    """What was traded away is quoted again."""
    for slug in slugs:
        for side, price in (("BUY", "0.48"), ("SELL", "0.52")):
            venue.admin(f"/markets/{slug}/level", side=side, price=price, size="100")


class Console:
    """The approvals page, open in a browser."""

    def __init__(self, chromium: Any, address: str):
        self.page = opened(chromium, address, "approvals")

    def approve(self, intent: str) -> str:
        """Click; what the desk says of it then."""
        self.page.click(f"button.pt-approve[title='{intent}']")
        self.page.wait_for_selector(f"button.pt-approve[title='{intent}']", state="detached")
        return intent


def closed(desk: Desk, market: dict[str, str], trigger: str) -> dict[str, Any]:
    """The exit that the system proposes, approved at the command line, once it has been sent."""

    def done() -> dict[str, Any] | None:
        for one in desk.intents():
            mine = one["condition_id"] == market["condition"] and one["type"] == "CLOSE_POSITION"
            if mine and one["document"]["trigger"] == trigger:
                desk.cli("intents", "approve", one["trade_intent_id"], code=None)
                found = desk.show(one["trade_intent_id"])
                return found if found["status"] in ("APPROVED", "EXECUTED") else None
        return None

    return desk.until(done, f"an exit for {trigger}", seconds=240)


def held_at(venue: Served) -> dict[str, int]:
    """Token -> micro-shares that the venue's data API lists for the one account."""
    (address,) = venue.state()["accounts"]
    with urllib.request.urlopen(f"{venue.urls['data']}/v2/positions?user={address}", timeout=10) as answer:
        return {one["token_id"]: round(float(one["current_size"]) * 1e6) for one in json.load(answer)["data"]}


def held_by(folder: Path) -> dict[str, int]:
    """The same of the run, told by its log; it may go on."""
    infos = read_log(folder, allow_torn=True).manifest["markets"]
    events, _, actions = said_so_far(folder)
    found = holdings(events, lives(events, actions), len(infos))
    tokens = {info[name]: size for info, one in zip(infos, found, strict=True)
              for name, size in (("yes_token", one.yes), ("no_token", one.no))}  # fmt: skip
    return {token: size for token, size in tokens.items() if size}


def test_one_strategy_from_shadow_to_live(tmp_path: Path, settings: Path, browser: Any):  # noqa: F811
    with serve("--empty") as venue:
        desk = Desk(venue, tmp_path)
        desk.environment |= {"POLYTRADERS_SETTINGS": str(settings)}
        key = desk.environment.pop("POLYTRADERS_KEY")  # nothing before live needs one
        rain, snow = venue.market("rain"), venue.market("snow")

        with breathing(venue, "rain", "snow"):
            # Shadow: decided, not sent.
            with begun(desk, "shadow", "rain", "snow") as (process, folder):
                dry = Code.EXEC_DRY_RUN
                desk.until(lambda: (said_so_far(folder)[1]["code"] == dry).any(), "an order that shadow would send")
                shadow = finished(desk, process, folder)
            assert shadow["orders"] == 0
            assert set(causes(shadow)) <= {"dry", "stopping"}
            assert shadow["compared"]["totals"]["backtest"]["orders"] > 0

            database = {"POLYTRADERS_DATABASE": f"sqlite:///{tmp_path / 'desk.sqlite'}"}
            with console(desk.environment | database) as address:
                # Paper: sent to the simulated venue, and filled there by what trades here.
                with begun(desk, "paper", "rain", "snow") as (process, folder):
                    desk.until(lambda: len(said_so_far(folder)[2]), "a paper order")

                    def filled() -> bool:
                        venue.admin("/markets/rain/trade", side="SELL", price="0.48", size="200")
                        return bool(np.isin(said_so_far(folder)[0]["kind"], FILLS).any())

                    desk.until(filled, "a paper fill")
                    paper = finished(desk, process, folder)
                assert paper["fills"] >= 1
                assert venue.state()["accounts"] == {}, "nobody traded at the venue so far"
                fresh(venue, "rain", "snow")

                # Live, dry: proposed, approved, and kept back by the runner.
                with begun(desk, "live", "rain", "snow") as (process, folder):
                    desk.approved(rain, "YES", lambda id_: desk.cli("intents", "approve", id_, code=None))
                    kept = int(Code.EXEC_NOT_SENT_DRY_RUN)
                    desk.until(
                        lambda: (said_so_far(folder)[0]["size"] == kept).any(), "the approved order is kept back"
                    )
                    rehearsed = finished(desk, process, folder)
                assert {"dry", "gate"} <= set(causes(rehearsed))
                assert venue.state()["accounts"] == {}

                # Live.
                desk.environment["POLYTRADERS_KEY"] = key
                live = trade_live(desk, venue, rain, snow, browser, address)

        told = desk.cli("compare", live["run_id"])
        assert told["ok"]
        compared = live["compared"]
        again = json.loads(json.dumps(compared))
        assert {k: v for k, v in told.items() if k != "replay"} == {k: v for k, v in again.items() if k != "replay"}
        assert {"gate", "latency"} <= set(causes(live))
        gap = [float(compared["totals"][side]["cash"]) for side in ("live", "backtest")]
        parts = sum(float(one["money"]) for one in compared["differences"])
        assert abs(parts - (gap[0] - gap[1])) < 1e-6, "the differences' money is the difference of cash"


def trade_live(
    desk: Desk, venue: Served, rain: dict[str, str], snow: dict[str, str], browser: Any, address: str  # noqa: F811
) -> dict[str, Any]:  # fmt: skip
    """Three orders by three doors, their fills, and three exits of the system; the run's summary."""
    fog = venue.market("fog", end_s=CLOSES_IN)
    with breathing(venue, "fog"), begun(desk, "live", "rain", "snow", "fog", **{"live.dry_run": "false"}) as begun_:
        process, folder = begun_
        page = Console(browser, address)
        doors = {
            "cli": (fog, lambda id_: desk.cli("intents", "approve", id_, code=None)),
            "http": (snow, lambda id_: by_http(desk, f"/intents/{id_}/approve")),
            "notebook": (rain, page.approve),
        }
        for number, (door, (market, answer)) in enumerate(doors.items(), start=1):
            assert desk.account()["orders"] == number - 1, "nothing is sent that nobody approved"
            intent = desk.approved(market, "YES", answer)
            desk.until(lambda n=number: desk.account()["orders"] == n, f"the order approved by {door} is at the venue")
            answers = desk.show(intent)["answers"]
            assert [one["channel"] for one in answers] == [door]
            # Filled at once: nobody may move it by its re-quotes afterwards.
            slug = next(m["slug"] for m in venue.state()["markets"] if m["condition"] == market["condition"])
            venue.admin(f"/markets/{slug}/trade", side="SELL", price="0.48", size="2000")
            desk.until(lambda n=number: desk.account()["trades"] >= n, f"the order approved by {door} fills")
        bought = held_at(venue)
        assert {fog["yes"], snow["yes"], rain["yes"]} == set(bought)
        desk.until(lambda: held_by(folder) == held_at(venue), "the run holds what the venue lists", seconds=30)
        page.page.context.close()

        cross(venue, "rain", "0.60", "0.62")
        closed(desk, rain, "take_profit")
        desk.until(lambda: rain["yes"] not in held_at(venue), "the profit is taken")
        cross(venue, "snow", "0.40", "0.42")
        closed(desk, snow, "stop_loss")
        desk.until(lambda: snow["yes"] not in held_at(venue), "the loss is stopped")
        closed(desk, fog, "time_exit")

        def sold() -> bool:
            venue.admin("/markets/fog/trade", side="BUY", price="0.53", size="2000")
            return fog["yes"] not in held_at(venue)

        desk.until(sold, "the market is left before its end")

        def settled() -> bool:
            kinds = said_so_far(folder)[0]["kind"].tolist()
            return kinds.count(EventKind.FILL_CONFIRMED) == kinds.count(EventKind.FILL_PROVISIONAL)

        desk.until(settled, "every trade is settled")

        summary = finished(desk, process, folder)
        books = desk.account()
        assert books["open_orders"] == 0
        account = summary["account"]
        assert round(float(account["cash"]) * 1e6) == books["cash"] + books["reserved"], "cash is the venue's"
        assert summary["fills"] == books["trades"], "fills are the venue's"
        assert held_by(folder) == held_at(venue), "positions are the venue's"
        log = read_log(folder)
        actions = log.actions()
        submits = actions[actions["kind"] == ActionKind.SUBMIT]
        assert len(submits) == books["orders"]
        events = log.events()
        assert set(submits["corr"]) <= set(events["aux"][events["kind"] == EventKind.APPROVAL])
        types = Counter(one["type"] for one in desk.intents("--all") if one["status"] == "EXECUTED")
        assert types["CLOSE_POSITION"] >= 3
        assert types["OPEN_POSITION"] >= 3
        return summary
