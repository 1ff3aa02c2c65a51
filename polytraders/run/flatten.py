"""Positions are sold after a kill switch: what, in which order, and at worst at what price.

    tripped ─► nothing rests at the venue ─► the plan ─► EXIT rows, the largest positions first ─► sold, or given up

The runner only says what is to be closed; the order is the step's (`engine.exits`), risk judges it, and where a person
approves orders a person approves this one. All of it is in the log.

Invariants
    F1  nothing leaves under the plan but taking sales of what it names, none below its price there: nothing of it
        rests, and the step never sells more than is held
    F2  before the venue has confirmed that nothing rests, nothing is sold
    F3  without a live two-sided book of its market no position is sold
    F4  when the switch is cleared, or the plan is given up, its EXIT rows are taken back
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from polytraders.errors import ConfigError
from polytraders.rows import EventKind, OrderType, Outcome, Scope, Side
from polytraders.run.live import Runner, rows_of
from polytraders.units import CENT_SHARE, NS_PER_S, ONE

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.venue.port import Request

EVERY = 0.25
"""s between two looks at what is left."""
SCOPES = {"global": Scope.GLOBAL, "portfolio": Scope.PORTFOLIO, "strategy": Scope.STRATEGY}
LATCH = "latch"
"""Of [flatten] scopes: a limit that a risk bot found passed."""


@dataclass(frozen=True)
class Sale:
    """One position of the plan."""

    market: int
    outcome: int  # rows.Outcome
    size: int  # micro-shares at the trip, beyond the other outcome
    middle: int  # pips of its own token at the trip
    worst: int  # pips: no sale below


def check(settings: Settings) -> None:
    """Raise ConfigError when the plan could sell nothing."""
    plan = settings.flatten
    if not plan.enabled:
        return
    if unknown := set(plan.scope_names) - {*SCOPES, LATCH}:
        raise ConfigError(
            f"there is no scope {sorted(unknown)[0]!r}", where="[flatten] scopes",
            rule="some of " + ", ".join((*SCOPES, LATCH)), mend="name only these",
        )  # fmt: skip
    killswitch = settings.bot("risk.killswitch")
    if str(killswitch.values.get("reduce_after_trip")) not in ("True", "true", "1"):
        raise ConfigError(
            "the kill switch lets no sale pass after a trip", where="[flatten] enabled",
            rule="[risk.killswitch] reduce_after_trip = true where positions are sold after a trip",
            mend="set it, or flatten by hand",
        )  # fmt: skip
    if not settings.exits.enabled:
        raise ConfigError(
            "no exit is ever proposed", where="[flatten] enabled",
            rule="[exits] enabled = true where positions are sold",
            mend="set it; exits that are not wanted can be put to 0",
        )  # fmt: skip


def make_plan(runner: Runner, worst_bps: int) -> list[Sale]:
    """What is held now, the most valuable first; a market without a middle has nothing to hold its price against."""
    state, found = runner.step.state, []
    for number, (market, position) in enumerate(zip(state.markets, state.positions, strict=True)):
        net = int(position["yes"]) - int(position["no"])
        middle = int(market["best_bid"]) + int(market["best_ask"])
        if abs(net) < CENT_SHARE or min(int(market["best_bid"]), int(market["best_ask"])) < 0:
            continue
        outcome = Outcome.YES if net > 0 else Outcome.NO
        middle = middle // 2 if net > 0 else ONE - -(-middle // 2)
        tick = int(market["tick"])
        worst = max(-(-(middle - worst_bps) // tick) * tick, tick)
        found.append(Sale(number, int(outcome), abs(net), middle, worst))
    return sorted(found, key=lambda sale: (-sale.size * sale.middle, sale.market))


class Flatten:
    """The plan of one run. `watch` is a supervised task."""

    def __init__(self, runner: Runner, settings: Settings):
        self.runner, self.plan = runner, settings.flatten
        self.slippage = settings.exits.slippage_bps
        self.sales: dict[int, Sale] = {}  # by market, of the trip that is on
        self.asked: set[int] = set()  # markets that are to be closed now
        self.done = False  # sold, or given up, until the switch is cleared
        self._began = 0
        if runner.outbox is not None:
            runner.outbox.lets = self.lets

    def concerns(self) -> bool:
        """Whether what has stopped the run is one of the plan's switches."""
        account = self.runner.step.state.account[0]
        bits, names = int(account["switch"]), self.plan.scope_names
        return any(bits >> int(SCOPES[name]) & 1 for name in names if name in SCOPES) or (
            LATCH in names and bool(account["halted"])
        )

    def lets(self, request: Request) -> bool:
        """F1."""
        action = request.action
        sale = self.sales.get(int(action["market"]))
        return (
            sale is not None
            and sale.market in self.asked
            and int(action["side"]) == Side.SELL
            and int(action["order_type"]) == OrderType.FAK
            and int(action["outcome"]) == sale.outcome
            and int(action["price"]) >= sale.worst
        )

    async def watch(self) -> None:
        """Look after it: run as a task."""
        while True:
            self.look()
            await asyncio.sleep(EVERY)

    def look(self) -> None:
        """One look."""
        if not self.runner.halted or not self.concerns():
            self._end()
            self.sales, self.done = {}, False
            return
        if self.done or not self.runner.swept_out:
            return
        if not self.sales:
            self._begin()
        left = [sale for sale in self.sales.values() if self._left(sale) >= self._least(sale)]
        if not left:
            self._finish("positions are sold", [])
        elif self.runner.now() - self._began > self.plan.give_up_s * NS_PER_S:
            self._finish("positions were not sold in time", left)
        else:
            self._ask({sale.market for sale in left if self._may(sale)}, left)

    def _begin(self) -> None:
        self._began = self.runner.now()
        self.sales = {sale.market: sale for sale in make_plan(self.runner, self.plan.worst_bps)}
        self.runner.say("positions are to be sold", plan=[asdict(sale) for sale in self.sales.values()])

    def _finish(self, what: str, left: Sequence[Sale]) -> None:
        self._end()
        self.done = True
        rest = [[sale.market, self._left(sale)] for sale in self.sales.values() if self._left(sale)]
        tell: Any = self.runner.incident if left else self.runner.say
        tell(what, left=rest, ms=(self.runner.now() - self._began) // 1_000_000)

    def _left(self, sale: Sale) -> int:
        position = self.runner.step.state.positions[sale.market]
        net = int(position["yes"]) - int(position["no"])
        return max(net if sale.outcome == Outcome.YES else -net, 0)

    def _least(self, sale: Sale) -> int:
        return max(int(self.runner.step.state.markets[sale.market]["min_size"]), CENT_SHARE)

    def _may(self, sale: Sale) -> bool:
        """F3, and an order at the worst price that the exit takes would not be below the plan's."""
        market = self.runner.step.state.markets[sale.market]
        bid, ask, tick = (int(market[name]) for name in ("best_bid", "best_ask", "tick"))
        if not market["feed_up"] or min(bid, ask) < 0:
            return False
        own = bid if sale.outcome == Outcome.YES else ONE - ask
        return max((own - self.slippage) // tick * tick, tick) >= sale.worst

    def _ask(self, may: set[int], left: Sequence[Sale]) -> None:
        wanted = set([sale.market for sale in left if sale.market in may][: self.plan.markets_at_once])
        if wanted != self.asked:
            self._put(self.asked - wanted, 0)
            self._put(wanted - self.asked, 1)
            self.asked = wanted

    def _end(self) -> None:
        self._put(self.asked, 0)
        self.asked = set()

    def _put(self, markets: set[int], on: int) -> None:
        for market in sorted(markets):
            self.runner.put("flatten", rows_of({"kind": EventKind.EXIT, "market": market, "size": on}))
