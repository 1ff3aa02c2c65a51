"""What is asked again while a run goes on: the desk's list, and the rules of its markets at the exchange.

    asked again          told to the step as                                        when
    [listing] file       FLAGS                                                      it says something else
    fees                 FEES, in force from then on                                they differ
    taker delay          TAKER_DELAY                                                it differs
    accepts orders       STATUS halted, and open again                              the exchange says so
    tick                 TICK_SIZE; the stream's word holds, this is for one lost   two readings in a row differ alike

Rules that cannot be had leave what holds as it is; a list that cannot be read makes every market unvetted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.data.markets import facts_from
from polytraders.rows import EVENT, EventKind, Flag, Status
from polytraders.run.listing import vet_again
from polytraders.venue.polymarket import rules
from polytraders.venue.refusal import Refused

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.markets import MarketInfo
    from polytraders.run.live import Runner
    from polytraders.venue.polymarket.hosts import Environment

AT_ONCE = 8
"""Markets asked about at the same time."""
Ask = Callable[[str], Any]
"""URL -> the answer, decoded, None for what is not there: `Reader.json`."""


class Refresh:
    """Asks again for one run. ask: as `Reader.json`."""

    def __init__(self, runner: Runner, env: Environment, infos: Sequence[MarketInfo], settings: Settings, ask: Ask):
        self.runner, self.env, self.infos, self.settings, self.ask = runner, env, tuple(infos), settings, ask
        self.state: dict[str, Any] = {"last": 0, "failed": 0, "problem": ""}
        self._halted: set[int] = set()  # by us
        self._ticks: dict[int, int] = {}  # another tick than the one in force, as the last reading had it

    def _row(self, kind: EventKind, market: int, **fields: int) -> np.ndarray:
        row = np.zeros(1, EVENT)
        row["kind"], row["market"], row["flags"] = kind, market, Flag.LAST
        for name, value in fields.items():
            row[name] = value
        return row

    def list_rows(self, now: int) -> np.ndarray:
        """EVENT[k]: what the desk's list says now and the step does not know yet."""
        if not self.settings.listing.file:
            return np.zeros(0, EVENT)
        before = [int(flags) for flags in self.runner.step.state.markets["flags"]]
        return vet_again(self.infos, before, self.settings.listing.file, now)

    def rule_rows(self, market: int, told: Mapping[str, Any] | None, now: int) -> list[np.ndarray]:
        """EVENT rows for one market of which the exchange says `told` (None: it does not know it any more).

        Raises ValueError and its like for an answer that cannot be read; nothing is changed then.
        """
        info, held = self.infos[market], self.runner.step.state.markets[market]
        open_, found = told is not None and told.get("ao") is True, []
        if told is not None:
            if told.get("c") != info.condition_id:
                raise ValueError(f"it is about {str(told.get('c'))[:80]!r}")
            facts = facts_from(dict(told))
            if facts is None:
                raise ValueError("it names no condition")
            if facts.fee is not None and tuple(facts.fee[:2]) != (held["fee_rate"], held["fee_exponent"]):
                rate, exponent = facts.fee[:2]
                rebate = int(held["rebate_rate"])
                found.append(self._row(EventKind.FEES, market, size=rate, price=exponent, aux=rebate))
            delay, _ = rules.delay(dict(told), facts, info.slug, now)
            if delay != held["taker_delay"]:
                found.append(self._row(EventKind.TAKER_DELAY, market, size=delay))
            found += self._tick_rows(market, facts.tick, int(held["tick"]))
        if not open_ and held["status"] == Status.OPEN:
            self._halted.add(market)
            found.append(self._row(EventKind.STATUS, market, aux=Status.HALTED))
        elif open_ and market in self._halted:
            self._halted.discard(market)
            if held["status"] == Status.HALTED:
                found.append(self._row(EventKind.STATUS, market, aux=Status.OPEN))
        return found

    def _tick_rows(self, market: int, tick: int | None, held: int) -> list[np.ndarray]:
        """What REST tells of a tick may be old: it counts when it says the same twice."""
        if tick is None or tick <= 0 or tick == held:
            self._ticks.pop(market, None)
            return []
        if self._ticks.get(market) != tick:
            self._ticks[market] = tick
            return []
        del self._ticks[market]
        return [self._row(EventKind.TICK_SIZE, market, price=tick, aux=held)]

    async def once(self) -> None:
        """Ask for everything once, and tell the step what differs."""
        now = self.runner.now()
        flags = self.list_rows(now)
        if len(flags):
            changed = {self.infos[m].slug: int(size) for m, size in zip(flags["market"], flags["size"], strict=True)}
            after = [int(bits) for bits in self.runner.step.state.markets["flags"]]
            for market, bits in zip(flags["market"], flags["size"], strict=True):
                after[market] = int(bits)
            self.runner.vetted(after)
            self.runner.put("list", flags, note={"flags": changed})
        gate, problems = asyncio.Semaphore(AT_ONCE), []

        async def one(market: int) -> None:
            condition = self.infos[market].condition_id
            async with gate:
                try:
                    told = await self.ask(f"{self.env.rest}/clob-markets/{condition}")
                    found = self.rule_rows(market, told, self.runner.now())
                except (Refused, ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
                    problems.append(f"{self.infos[market].slug}: {error}")
                    return
            if found:
                kinds = [EventKind(int(row["kind"][0])).name for row in found]
                note = {"market": self.infos[market].slug, "changed": kinds}
                self.runner.put("rules", np.concatenate(found), note=note)

        await asyncio.gather(*map(one, range(len(self.infos))))
        if problems and not self.state["problem"]:
            self.runner.incident("rules could not be asked again", markets=len(problems), first=problems[0][:300])
        self.state |= {"last": now, "failed": len(problems), "problem": problems[0][:300] if problems else ""}

    async def work(self) -> None:
        """Ask every `[live] refresh_s`, until cancelled."""
        while True:
            await asyncio.sleep(self.settings.live.refresh_s)
            await self.once()


def attach(runner: Runner, env: Environment, infos: Sequence[MarketInfo], settings: Settings) -> None:
    """Have a run ask again. Before `Runner.run`."""
    from polytraders.venue.polymarket.reader import Reader

    async def work() -> None:
        async with Reader(tries=2) as read:
            await Refresh(runner, env, infos, settings, read.json).work()

    runner.add_task("refresh", work)
