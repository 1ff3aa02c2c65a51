"""What a resolved market owes us, brought home: a claim that a person approves, redeemed, and booked.

    RESOLUTION, owed ─► CLAIM_SETTLEMENT on the desk ─► a person, a policy ─► redeemed ─► REDEMPTION, cash

Invariants
    K1  nothing is cash before it was redeemed: a run that claims hears of resolutions as paid later (`MarketData`)
    K2  a redemption takes all that is held of a market, so one that is asked for twice moves nothing the second time:
        after a crash between redeeming and booking it is asked for again
    K3  a claim without an answer is proposed anew; one that was rejected, after `AGAIN`
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from polytraders import units
from polytraders.config import home
from polytraders.reasons import Code, by_number
from polytraders.rows import EventKind
from polytraders.run.live import rows_of
from polytraders.units import NS_PER_S, ONE
from polytraders.venue.orders import SignatureType, load_key
from polytraders.venue.refusal import Refused

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.markets import MarketInfo
    from polytraders.run.control import Control
    from polytraders.run.live import Runner
    from polytraders.venue.chain.operations import Operations
    from polytraders.venue.orders import Account
    from polytraders.venue.polymarket.hosts import Environment
    from polytraders.venue.port import VenuePort

FIRST = 1 << 52
"""Correlation number of the first claim: the step's own never come so far, and JSON still tells it exactly."""
ATTEMPTS = 1 << 12
"""Claims of one market in one run at most."""
EVERY = 1.0
"""s between two looks at what is owed and what was answered."""
AGAIN = 3_600 * NS_PER_S
"""ns until a rejected claim is proposed anew."""
PAUSES = (1 * NS_PER_S, 300 * NS_PER_S)
"""ns until a redemption that was not done is tried again: at first, doubled each time, and at most."""


class Redeemed(NamedTuple):
    """A redemption that was done. paid: micro-pUSD, None when it is not told."""

    reference: str  # hash of its transaction, where it is known
    paid: int | None


class Redeemer(Protocol):
    """Who turns the shares of a resolved market into what they pay."""

    async def redeem(self, info: MarketInfo) -> Redeemed:
        """Redeem all that is held of a market. Raises Refused when it was not done, or is not known to have been."""


@dataclass(frozen=True)
class LocalRedeemer:
    """At a local venue, whose admin port plays the chain."""

    admin: str
    owner: str

    async def redeem(self, info: MarketInfo) -> Redeemed:
        import httpx

        where = f"{self.admin}/accounts/{self.owner}/redeem"
        try:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
                answer = await client.post(where, json={"condition": info.condition_id})
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Refused(
                "EXEC_VENUE_UNREACHABLE", f"nobody knows whether it was redeemed: {error}", where=where
            ) from None
        if answer.status_code != 200:
            raise Refused("EXEC_VENUE_UNREACHABLE", str(said), where=where)
        return Redeemed(said["transaction"], int(said["paid"]))


@dataclass(frozen=True)
class ChainRedeemer:
    """On the chain, as `polytraders chain redeem` does it: signed by a guard whose session covers this and nothing
    else, written down before it is sent, followed until it is mined.

    wallet: opens the wallet for one redemption. What a former process sent and nobody saw mined is taken up from the
    journal first, byte for byte, so that a redemption which is asked for again is not sent beside a lost one.
    """

    wallet: Callable[[], AbstractContextManager[Operations]]

    async def redeem(self, info: MarketInfo) -> Redeemed:
        return await asyncio.to_thread(self._redeem, info)

    def _redeem(self, info: MarketInfo) -> Redeemed:
        from polytraders.venue.chain import calls

        with self.wallet() as desk:
            call = calls.redeem(desk.where, info.condition_id, info.neg_risk)
            held = desk.wallet.holdings((int(info.yes_token), int(info.no_token))).shares
            if not any(held.values()):  # done before, by us or by somebody else: another transaction would move nothing
                before = [sent.hash for sent in desk.recorded() if call.data in sent.raw]
                return Redeemed(before[-1] if before else "redeemed before", 0)
            plan = desk.plan(call, words="redeem")
            ((_, receipt),) = desk.carry_out(plan)
            return Redeemed(receipt.hash, desk.wallet.received(receipt.hash))


def redeemer_of(env: Environment, port: VenuePort | None, settings: Settings) -> Redeemer | None:
    """Who redeems for a run at this venue.

    None where nobody does: the simulated venue pays by itself, and the transactions of a wallet that is a contract go
    through the venue's relayer, which redeems on its page (or by itself, where its operator is allowed to).
    """
    if port is None or port.name == "simulated":
        return None
    account: Account = port.account  # type: ignore[attr-defined]
    if env.admin:
        return LocalRedeemer(env.admin, account.maker)
    if int(account.signature_type) != int(SignatureType.EOA):
        return None

    def wallet() -> AbstractContextManager[Operations]:
        from polytraders.venue.chain import providers
        from polytraders.venue.chain.operations import opened

        kind = SignatureType.EOA
        return opened(providers.urls(), load_key(), kind, settings, home(), chain_id=env.chain_id)

    return ChainRedeemer(wallet)


class Claims:
    """The claims of a run, as a task of its runner.

    control: the desk's side of the run; its thread and its policy are used.
    """

    def __init__(self, control: Control, redeemer: Redeemer):
        self.control, self.redeemer = control, redeemer
        self.open: dict[int, str] = {}  # market -> trade intent
        self._made: Counter[int] = Counter()
        self._failed: dict[int, tuple[int, int]] = {}  # market -> (ns of the next attempt, ns of the pause after it)
        self._runner: Runner | None = None

    def attach(self, runner: Runner) -> None:
        """Take part in a run. Before `Runner.run`."""
        self._runner = runner
        runner.add_task("claims", self.watch)

    async def watch(self) -> None:
        """Propose what is owed, and redeem what was approved, until cancelled."""
        assert self._runner is not None
        while True:
            owed = self._runner.step.state.positions["receivable"]
            for market in np.flatnonzero(np.asarray(owed) > 0):
                await self._look(int(market))
            await asyncio.sleep(EVERY)

    async def _look(self, market: int) -> None:
        if market not in self.open:
            await self._propose(market)
            return
        told = await self._desk(lambda: self.control.api.intent(self.control.desk, self.open[market]))
        status = told["status"]
        if status in ("APPROVED", "EXECUTED"):
            await self._redeem(market, told["trade_intent_id"])
        elif status in ("EXPIRED", "VOID") or (status == "REJECTED" and self._now - int(told["decided_ns"]) >= AGAIN):
            await self._propose(market)

    @property
    def _now(self) -> int:
        assert self._runner is not None
        return self._runner.now()

    async def _desk(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.control._thread, work)

    async def _propose(self, market: int) -> None:
        assert self._runner is not None
        control, state = self.control, self._runner.step.state
        owed, payout = int(state.positions[market]["receivable"]), int(state.markets[market]["payout"])
        share = max(payout, ONE - payout)  # of what a share pays, the better outcome's: the other has none, or as much
        reason, info = by_number(int(Code.EXEC_MARKET_SETTLED)), control.infos[market]
        number, self._made[market] = self._made[market], self._made[market] + 1
        one = control.api.proposal(
            control.settings.approvals,
            run_id=control.run_id,
            corr=FIRST + market * ATTEMPTS + number % ATTEMPTS,
            now=self._now,
            portfolio_id=control.settings.portfolio.id,
            condition_id=info.condition_id,
            reason_code=reason.name,
            reasoning=f"Redeem {units.money_text(owed)} pUSD of {info.slug}: {reason.meaning}",
            claim_shares=units.size_text(owed * ONE // share),
            claim_micro=owed,
        )

        def put() -> str:
            control.api.propose(control.desk, [one])
            if control.settings.approvals.auto != "off":
                control.api.auto_approve(control.desk, one.intent.trade_intent_id, control.settings.approvals)
            return str(one.intent.trade_intent_id)

        self.open[market] = await self._desk(put)

    async def _redeem(self, market: int, trade_intent: str) -> None:
        runner, control = self._runner, self.control
        assert runner is not None
        info, owed = control.infos[market], int(runner.step.state.positions[market]["receivable"])
        first, longest = PAUSES
        due, pause = self._failed.get(market, (0, first))
        if self._now < due:
            return
        try:
            done = await self.redeemer.redeem(info)
        except Refused as error:  # asked again after a pause: see K2
            self._failed[market] = self._now + pause, min(2 * pause, longest)
            runner.incident("a claim was not redeemed", market=info.slug, error=str(error))
            return
        self._failed.pop(market, None)
        if done.paid is not None and done.paid not in (0, owed):  # 0: it had been redeemed already
            runner.incident("a claim paid otherwise", market=info.slug, owed=owed, paid=done.paid)
        note = {"claimed": info.slug, "trade_intent": trade_intent, "transaction": done.reference, "micro": owed}
        runner.put("claims", rows_of({"kind": EventKind.REDEMPTION, "market": market}), note=note)
        del self.open[market]
        await self._desk(lambda: control.api.executed(control.desk, trade_intent, done.reference))
