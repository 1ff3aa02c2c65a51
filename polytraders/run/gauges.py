"""What only the runner can measure, told to the step: venue calls that fail, money the wallet lacks, spreads gone odd,
clusters that are full.

The step's risk bots judge the signals and latch; a spread that stays odd where something is held arms the market's
switch at the desk.

Invariants
    G1  a wallet is short only when two readings of it in a row say so, and only by what is not on its way: a fill that
        the venue has booked and we have not heard of yet is no loss
    G2  a wallet that cannot be read is unknown, never short and never equal (gov.portfolio-sync)
    G3  of too few calls no share is formed: as many are needed as for the share of refused orders
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders import units
from polytraders.bots import load_bot
from polytraders.reasons import Code
from polytraders.rows import EventKind, Outcome, Signal, Status
from polytraders.run.bounds import Bounds
from polytraders.run.live import Runner, rows_of
from polytraders.units import NS_PER_S, ONE

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.governance.portfolio_sync import Item
    from polytraders.run.launch import Launched
    from polytraders.venue.port import Balances

EVERY = 1.0
"""s between two looks."""
AGAIN = 5
"""s until a wallet that differs is read a second time."""
CALLS_WINDOW = 300 * NS_PER_S
"""Over which the share of failed calls is formed: decisions.md § 15."""
WATCHED = 3_600
"""Looks (one a second) after which a market's own median spread stands in for the configured one."""
PPM = 1_000_000
Trip = Callable[[str, str | None, str, Code, str, list[tuple[str, str, str, str]]], None]
"""scope, target, why, code, trigger, measures (name, value, limit, unit): a switch to be armed at the desk."""


class Gauges:
    """Looks every second; `bounds` and `trip` are the run's own."""

    def __init__(self, runner: Runner, launched: Launched, settings: Settings, bounds: Bounds, trip: Trip):
        self.runner, self.launched, self.settings, self.bounds, self.trip = runner, launched, settings, bounds, trip
        self.reconciled: dict[str, Any] = {}
        """The last comparison with the wallet: code, what, when (ns)."""
        self._calls: deque[tuple[int, int, int]] = deque()  # ns, asked, failed
        self._rate = self._short = 0
        self._pending: tuple[int, bool] | None = None  # what the first of two readings said
        self._compare_at = 0
        self._spreads = np.zeros((len(launched.step.infos), ONE + 1), np.int32)  # looks by spread, pips
        self._odd: dict[int, int] = {}  # market -> ns since when its spread is odd
        self._armed: set[int] = set()
        self._unseen: dict[int, int] = {}  # market -> ns since when what is held there is not seen, -1 = told

    def parameter(self, bot_id: str, name: str) -> int | None:
        """A parameter as it stands in the step, kernel unit; None when the bot takes no part."""
        ids = self.launched.pipeline.ids
        if bot_id not in ids:
            return None
        return int(self.launched.step.state.params["v"][ids.index(bot_id)][load_bot(bot_id).spec.index(name)])

    async def watch(self) -> None:
        """Look every second: run as a task."""
        while True:
            now = self.runner.now()
            self.calls(now)
            self.spreads(now)
            self.blind(now)
            self.caps()
            if self.runner.port is not None and now >= self._compare_at:
                await self.compare(now)
            await asyncio.sleep(EVERY)

    # -- calls

    def calls(self, now: int) -> None:
        """The share of the last five minutes' calls to the venue that failed."""
        if self.runner.port is None:
            return
        rest = self.runner.port.health().get("rest") or {}
        if "asked" not in rest:
            return
        self._calls.append((now, int(rest["asked"]), int(rest.get("silent", 0)) + int(rest.get("failed", 0))))
        while now - self._calls[0][0] > CALLS_WINDOW:
            self._calls.popleft()
        asked, failed = (self._calls[-1][i] - self._calls[0][i] for i in (1, 2))
        least = self.parameter("risk.killswitch", "reject_min_submits") or 1
        rate = PPM * failed // asked if asked >= least else 0
        if rate != self._rate:
            self._rate = rate
            self._signal(Signal.API_ERROR_RATE, rate, f"{failed} of {asked} calls to the venue failed")

    def _signal(self, number: Signal, value: int, why: str) -> None:
        row = {"kind": EventKind.SIGNAL, "aux": int(number), "size": value}
        self.runner.put("gauges", rows_of(row), note={"signal": number.name, "why": why})

    # -- the wallet

    async def compare(self, now: int) -> None:
        """Hold our cash and shares against the wallet's; gov.portfolio-sync says what the difference means."""
        from polytraders.governance.portfolio_sync import SPEC, Inputs, check
        from polytraders.venue.refusal import Refused

        assert self.runner.port is not None
        limits = SPEC.limits(self.settings.bot(SPEC.bot_id).values)
        try:
            said: Balances | None = await self.runner.port.balances()
        except (Refused, OSError, TimeoutError):
            said = None
        items = self.items(said) if said is not None else ()
        found = check(Inputs(now if said is not None else 0, items), limits, now)
        self.reconciled = {"code": found.code, "what": found.what, "ts": now}
        every = self.settings.live.reconcile_s * NS_PER_S
        self._compare_at = now + every
        if found.code == "GOV_RECONCILE_UNKNOWN":
            return
        short = sum(max(one.ours - one.theirs - max(one.moving, 0), 0) * one.middle // ONE for one in items)
        alert = bool(found.payload["alert"])
        if (short or alert) and self._pending is None:
            self._pending, self._compare_at = (short, alert), now + AGAIN * NS_PER_S
            return
        before, self._pending = self._pending or (0, False), None
        short = min(short, before[0])
        if alert and before[1]:
            self.runner.incident("the wallet differs from our books", code=found.code, differences=found.what)
        if short != self._short:
            self._short = short
            self._signal(Signal.WALLET_SHORTFALL, short, found.what or "the wallet has what our books say")

    def items(self, said: Balances) -> tuple[Item, ...]:
        """Cash and each holding on both sides. Cash that a wallet has beyond our books is another portfolio's."""
        from polytraders.governance.portfolio_sync import Item

        state = self.launched.step.state
        account, moving = state.account[0], {}
        for fill in state.unsettled[: int(state.clock[0]["n_unsettled"])]:
            paid = int(fill["price"]) * int(fill["size"]) // ONE + int(fill["fee"]) + 1
            place = (int(fill["market"]), int(fill["outcome"]))
            moving["cash"] = moving.get("cash", 0) + paid
            moving[place] = moving.get(place, 0) + int(fill["size"])
        ours = int(account["cash"] + account["reserved"] + account["unsettled"])
        told = [Item("cash", ours, min(said.cash, ours), moving.get("cash", 0))]
        for number, (position, row) in enumerate(zip(state.positions, state.markets, strict=True)):
            if row["status"] == Status.RESOLVED:  # what is owed is no holding any more
                continue
            for outcome, name in ((Outcome.YES, "yes"), (Outcome.NO, "no")):
                held, theirs = int(position[name]), said.shares.get((number, int(outcome)), 0)
                if not held and not theirs:
                    continue
                middle = int(row["mark2"]) // 2 if row["mark2"] else ONE
                worth = middle if outcome == Outcome.YES or not row["mark2"] else ONE - middle
                label = f"{self.launched.step.infos[number].slug} {outcome.name}"
                told.append(Item(label, held, theirs, moving.get((number, int(outcome)), 0), worth))
        return tuple(told)

    # -- spreads

    def spreads(self, now: int) -> None:
        """Arm the switch of a market where something is held and whose spread stays beyond its multiple."""
        multiple = self.parameter("risk.liquidityguard", "max_spread_multiple")
        reference = self.parameter("risk.liquidityguard", "reference_spread_bps")
        longest = self.parameter("risk.killswitch", "stale_data_s")
        if multiple is None or reference is None or longest is None:
            return
        state = self.launched.step.state
        for number, (position, row) in enumerate(zip(state.positions, state.markets, strict=True)):
            bid, ask = int(row["best_bid"]), int(row["best_ask"])
            seen = row["feed_up"] and row["status"] == Status.OPEN and 0 <= bid < ask
            if not seen:  # no spread to judge: the feed's and the halt detector's business
                self._odd.pop(number, None)
                continue
            usual = self.usual(number, reference)
            self._spreads[number, ask - bid] += 1
            held = position["yes"] or position["no"]
            if not held or (ask - bid) * PPM <= multiple * usual:
                self._odd.pop(number, None)
                self._armed.discard(number)
                continue
            since = self._odd.setdefault(number, now)
            if now - since >= longest and number not in self._armed:
                self._armed.add(number)
                info = self.launched.step.infos[number]
                why = f"{info.slug}: spread of {units.price_text(ask - bid)} for {(now - since) // NS_PER_S} s"
                limit = multiple * usual // PPM
                measures = [("spread", str(ask - bid), str(limit), "bps")]
                self.trip("market", info.condition_id, why, Code.RISK_SPREAD_WIDE, "spread_anomaly", measures)

    def usual(self, number: int, reference: int) -> int:
        """pips: the median of the spreads seen in a market, or the configured one before an hour was watched."""
        counts = self._spreads[number]
        total = int(counts.sum())
        if total < WATCHED:
            return reference
        return int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))

    def blind(self, now: int) -> None:
        """Arm the run's switch when something is held that was not seen for longer than risk.killswitch lets pass.

        The bot itself latches with the next order; a strategy that sees nothing proposes none.
        """
        longest = self.parameter("risk.killswitch", "stale_data_s")
        if longest is None:
            return
        state = self.launched.step.state
        for number, (position, row) in enumerate(zip(state.positions, state.markets, strict=True)):
            held = (position["yes"] or position["no"]) and row["status"] != Status.RESOLVED
            seen = int(row["book_ts"]) if held and row["feed_up"] else 0
            if not held or (seen and now - seen <= longest):
                self._unseen.pop(number, None)
                continue
            since = self._unseen.setdefault(number, seen or now)
            if since >= 0 and now - since > longest:
                self._unseen[number] = -1  # told
                info, down = self.launched.step.infos[number], not row["feed_up"]
                why = f"{info.slug} is held and {'its feed is down' if down else 'its book does not move'}"
                measures = [("silence", str((now - since) // NS_PER_S), str(longest // NS_PER_S), "s")]
                trigger = "feed_loss" if down else "stale_data"
                strategy = self.launched.manifest["strategy"]
                self.trip("strategy", strategy, why, Code.RISK_FEED_LOST, trigger, measures)

    # -- clusters

    def caps(self) -> None:
        """Close or open clusters and categories for what opens, as they fill and empty."""
        rows = self.bounds.capped(self.launched.step.state.positions)
        if len(rows):
            used = {
                f"{cap.name}, {cap.layer}": [units.money_text(gross), units.money_text(net)]
                for cap, gross, net in self.bounds.used(self.launched.step.state.positions)
            }
            self.runner.put("gauges", rows, note={"caps": used})
