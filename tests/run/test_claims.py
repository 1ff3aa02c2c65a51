"""What a resolved market owes a live run: claimed by an intent, approved, redeemed at the venue, and booked."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from served import serve
from test_live_approvals import SETTINGS, Desk, breathing, running

from polytraders.rows import EventKind
from polytraders.run.compare import compare
from polytraders.run.replay import replay
from polytraders.store.log import read_log

LONG = SETTINGS | {"engine.intent_ttl_s": "900", "approvals.expiry_s": "900", "risk.killswitch.stale_data_s": "600"}


def test_a_settlement_is_claimed_redeemed_and_booked(tmp_path: Path):
    with serve("--empty") as venue:
        desk = Desk(venue, tmp_path)
        rain = venue.market("rain")
        with running(desk, "rain", settings=LONG) as (process, told):
            with breathing(venue, "rain"):
                desk.approved(rain, "YES", lambda id_: desk.cli("intents", "approve", id_, code=None))
                desk.until(lambda: desk.account()["open_orders"] == 1, "the order rests")
                venue.admin("/markets/rain/trade", side="SELL", price="0.48", size="2000")
                desk.until(lambda: desk.account()["trades"] == 1, "it fills")
            paid = desk.account()["cash"] + desk.account()["reserved"]

            def resolved() -> bool:
                """Its trades settle a moment after they matched."""
                return read_whole(Path(told["folder"]), EventKind.FILL_CONFIRMED) > 0

            desk.until(resolved, "the trade is settled")
            venue.admin("/markets/rain/resolve", payout="1")

            def claims() -> list[dict]:
                return [one for one in desk.intents() if one["type"] == "CLAIM_SETTLEMENT"]

            (claim,) = desk.until(claims, "a claim is proposed")
            assert claim["condition_id"] == rain["condition"]
            assert claim["document"]["claim_shares"] == "10.41"
            assert claim["notional_micro"] == 10_410_000
            assert claim["needed"] == 1
            assert desk.account()["cash"] + desk.account()["reserved"] == paid, "nothing is redeemed unasked"
            assert desk.cli("intents", "approve", claim["trade_intent_id"])["status"] == "APPROVED"
            desk.until(lambda: desk.show(claim["trade_intent_id"])["status"] == "EXECUTED", "it is redeemed")
            assert desk.account()["cash"] == paid + 10_410_000
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=180)
            assert process.returncode == 0
        books = desk.account()
    summary = json.loads(rest)
    account = summary["account"]
    assert round(float(account["cash"]) * 1e6) == books["cash"] + books["reserved"] == paid + 10_410_000
    assert account["receivable"] == "0"
    folder = Path(told["folder"])
    log = read_log(folder)
    events = log.events()
    resolution = events[events["kind"] == EventKind.RESOLUTION]
    assert resolution["aux"].tolist() == [1], "owed, until it is claimed"
    assert np.count_nonzero(events["kind"] == EventKind.REDEMPTION) == 1
    said = [note for notes in log.notes() for note in notes.get("said", ()) if "claimed" in note]
    assert [(one["claimed"], one["micro"]) for one in said] == [("rain", 10_410_000)]
    assert said[0]["transaction"] == desk_key(desk, claim["trade_intent_id"])
    assert replay(folder).ok
    found = compare(folder)
    assert found.ok, found.unexplained
    assert "claims" in {one.cause for one in found.differences}


def desk_key(desk: Desk, trade_intent_id: str) -> str:
    return desk.show(trade_intent_id)["order_key"]


def read_whole(folder: Path, kind: EventKind) -> int:
    """Rows of a kind in the log of a run that goes on."""
    from polytraders.store.log import RecordKind, read_tail

    return sum(int((r.rows["kind"] == kind).sum()) for r in read_tail(folder).records if r.kind is RecordKind.EVENTS)


def test_the_local_venue_redeems_what_is_resolved_and_nothing_else():
    with serve("--empty") as venue:
        rain = venue.market("rain")
        owner = "0x" + "11" * 20
        venue.admin(f"/accounts/{owner}", shares={rain["yes"]: "10", rain["no"]: "4"}, cash="5")
        with pytest.raises(OSError, match="400"):
            venue.admin(f"/accounts/{owner}/redeem", condition=rain["condition"])
        venue.admin("/markets/rain/resolve", payout="0.5")
        told = venue.admin(f"/accounts/{owner}/redeem", condition=rain["condition"])
        assert told["paid"] == 7_000_000
        again = venue.admin(f"/accounts/{owner}/redeem", condition=rain["condition"])
        assert again["paid"] == 0, "the second time there is nothing left"
        assert venue.state()["accounts"][owner]["cash"] == 12_000_000
