"""Whether this wallet may trade from here: asked at the venue, and told to risk.compliancegate as recorded events.

Four questions, each answered yes, no or not at all; one that is not answered never clears (the bot refuses):

=============  =========================================================================================
blocked        the venue's geoblock page
close only     the account's ban status
onboarded      the exchanges may move the wallet's pUSD
sanctioned     nobody's to answer but the desk's: the day of its last screening, `[live] screened_on`
=============  =========================================================================================

A local venue has no owners and no money: there the last one is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from polytraders.risk.compliancegate import Clearance, clearance_of, clearance_rows
from polytraders.run.pipeline import CLEARING
from polytraders.units import NS_PER_S
from polytraders.venue.polymarket import preflight

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.run.live import Runner
    from polytraders.venue.polymarket.port import PolymarketPort

EVERY, AGAIN = 900.0, 15.0
"""Seconds between two checks, and after one that did not clear: the bot takes an hour-old one for stale."""
SCREENING = timedelta(days=31)
"""A screening counts for a month: sanction lists change weekly, desks screen their owners monthly."""


def _told(check: preflight.Check, no: str) -> bool | None:
    """What a check says: True = good, False = refused with the code `no`, None = could not be asked."""
    return True if check.good else False if check.code == no else None


def screened(settings: Settings, now: int) -> bool | None:
    """False = not sanctioned as of a screening that still counts; None = nobody has looked. now: ns."""
    if not settings.live.screened_on:
        return None
    today = datetime.fromtimestamp(now / NS_PER_S, UTC).date()
    age = today - date.fromisoformat(settings.live.screened_on)
    return False if timedelta(0) <= age <= SCREENING else None


async def look(port: PolymarketPort, settings: Settings, now: int) -> tuple[Clearance, dict[str, str]]:
    """The clearance of a port's account, and what each check said."""
    place = await preflight.check_geoblock(port.client)
    _, account = await preflight.check_credentials(port.client)
    allowance, _ = await preflight.check_money(port.client, port.account, port.markets, 1)
    free = {name: _told(check, code) for name, check, code in (
        ("place", place, "SEC_GEOBLOCKED"),
        ("account", account, "SEC_CLOSED_ONLY"),
        ("wallet", allowance, "SEC_ALLOWANCE_MISSING"),
    )}  # fmt: skip
    sanctioned = screened(settings, now) if port.name == "polymarket" else False
    clearance = clearance_of(
        blocked=_not(free["place"]), close_only=_not(free["account"]), sanctioned=sanctioned, onboarded=free["wallet"]
    )
    said = {"place": place.what, "account": account.what, "wallet": allowance.what}
    return clearance, said | (
        {} if sanctioned is not None else {"owner": "no screening that counts: [live] screened_on"}
    )


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def watch(port: PolymarketPort, settings: Settings, runner: Runner) -> Callable[[], Any]:
    """A task of the runner: check now and every quarter of an hour, and put what is found into the step."""
    bot = runner.pipeline.ids.index(CLEARING) if CLEARING in runner.pipeline.ids else -1

    async def work() -> None:
        before = Clearance.CLEARED
        while bot >= 0:
            now = runner.now()
            clearance, said = await look(port, settings, now)
            rows = clearance_rows(bot, clearance, now, now)
            runner.put("clearance", rows, note={"clearance": clearance.name, **said})
            if clearance not in (before, Clearance.CLEARED):
                runner.incident("this wallet is not cleared to trade", clearance=clearance.name, **said)
            before = clearance
            await asyncio.sleep(EVERY if clearance is Clearance.CLEARED else AGAIN)
        await asyncio.Event().wait()  # the bot is off in this run

    return work
