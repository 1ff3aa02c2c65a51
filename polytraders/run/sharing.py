"""A run among the others of its portfolio and tenant: what they leave it of the limits that hold over all of them.

Once a second the run tells the desk what it uses of each limit and what it lost, and hears what is left for it
(`store.desk.shares`). That reaches the step as rows, so that a replay decides under the same numbers:

exposure, each market      SIGNAL rows (Signal.ROOM), read by risk.portfolioguard
orders in an hour          CONFIG rows of risk.ratelimitgovernor.orders_per_hour
losses and drawdowns       CONFIG rows of risk.killswitch: the limit less what the other runs lost
clusters and categories    FLAGS rows (`run.bounds`), with what the other runs hold in them

Invariants
    N1  the step is told of more only after the desk has granted it, and the desk keeps for this run what the step was
        told until the step has heard of less
    N2  while another run is silent, or the desk was not heard of for `ALIVE_NS`, nothing is opened
    N3  what a run uses already is not told to be too much: less room opens nothing more, and closes nothing
    N4  no row where nothing changed: each one has the step look at its resting orders again
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders import units
from polytraders.bots import load_bot
from polytraders.data.rules import category_of
from polytraders.engine.state import MODE_ENFORCED
from polytraders.rows import EventKind, Signal
from polytraders.run.live import Runner, rows_of
from polytraders.store.desk import shares
from polytraders.store.desk.board import ALIVE_NS
from polytraders.store.desk.portfolio import PARAMETERS
from polytraders.store.desk.shares import EXPOSURE, LOSSES, ORDERS, Falls, Shared, Standing, Use

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.run.bounds import Bounds
    from polytraders.run.changes import Changes, Place
    from polytraders.run.launch import Launched

EVERY = 1.0
"""s between two exchanges with the desk."""
COARSE = 64
"""What is free of a share may change by less than this part of it without being told (N4)."""
FINE = 100
"""ppm: losses of others are rounded up to this (N4)."""
NOTED = 20
"""Markets of one exchange that the log's note names."""
GOVERNOR, GUARD, KILLSWITCH = "risk.ratelimitgovernor", "risk.portfolioguard", "risk.killswitch"
ALLOCATOR = "risk.capitalallocator"
BASES = {
    "daily_loss_pct": "day_open", "drawdown_intraday_pct": "day_peak", "drawdown_weekly_pct": "week_peak",
    "drawdown_total_pct": "peak",
}  # fmt: skip
"""Limit -> what of the account the kill switch holds it against."""
PPM = 1_000_000
ANY = 2**62
"""No limit at all."""


class Sharing:
    """One run's part. thread: the desk's; what needs the database is done there."""

    def __init__(
        self, desk: Any, thread: Executor, runner: Runner, launched: Launched, settings: Settings, bounds: Bounds,
        changes: Changes, pool: str,
    ):  # fmt: skip
        self.desk, self.thread, self.runner, self.launched, self.settings = desk, thread, runner, launched, settings
        self.bounds, self.changes, self.pool = bounds, changes, pool
        self.infos = launched.step.infos
        self.heard: Shared | None = None
        """What the desk said last."""
        self.problem = ""
        self._number = {info.condition_id: number for number, info in enumerate(self.infos)}
        self._categories = [category_of(info.slug) or "other" for info in self.infos]
        self._told: dict[str, int] = {}  # limit -> what the step was told last that it may use
        self._unknown = False  # the step was told that nothing is known
        self._said: tuple[str, ...] = ()

    # -- what this run tells

    def standing(self) -> Standing:
        """How the run stands, from the step's state. On the loop, or when the loop is over."""
        state, runner = self.launched.step.state, self.runner
        account, positions = state.account[0], state.positions
        opens = not (runner.halted or runner.stopping)
        used, most = int(account["cost"] + account["reserved"]), self._own("max_exposure_pct", "max_notional_pusd")
        raised = self._raised("max_exposure_pct")
        uses = {EXPOSURE: Use(used, self._allowed(EXPOSURE), raised, most, whole=self._capital())}
        if (place := self.changes.place(GOVERNOR, "orders_per_hour")) is not None:
            used, base = int(account["sent"].sum()), self.changes.base(place)
            uses[ORDERS] = Use(used, self._allowed(ORDERS), base if place in self.changes.overridden else 0, base)
        held = positions["yes_cost"] + positions["no_cost"]
        gross = held + positions["buy_reserved"]
        worst = held + np.maximum(positions["yes_buying"] - positions["no"], positions["no_buying"] - positions["yes"])
        net = positions["yes_cost"] - positions["no_cost"]
        raised, most = (each("max_position_pct", "max_market_pusd") for each in (self._raised, self._own))
        for name, number in self._number.items():
            uses[name] = Use(
                max(int(worst[number]), 0), self._allowed(name), raised, most, int(gross[number]), int(net[number]),
                self._categories[number],
            )  # fmt: skip
        return Standing(
            self.launched.run_id, self.pool, self.settings.portfolio.id, self.launched.manifest["strategy"], uses,
            falls_of(account), opens,
        )  # fmt: skip

    def _allowed(self, name: str) -> int:
        """The most that the step may use by what it has heard, or will hear of what it was told (N1)."""
        if not self._told and not self.launched.session.get("taken_over"):
            return 0  # nothing is decided before the first row, and that one tells
        return max(self._told.get(name, 0), self._in_step(name))

    def _in_step(self, name: str) -> int:
        state = self.launched.step.state
        if name == ORDERS:
            place = self.changes.place(GOVERNOR, "orders_per_hour")
            return self._parameter(place) if place is not None else 0
        if name == EXPOSURE:
            return max(int(state.account[0]["room"]) - 1, 0)
        return max(int(state.positions["room"][self._number[name]]) - 1, 0)

    def _parameter(self, place: Place) -> int:
        return int(self.launched.step.state.params["v"][place[0]][place[1]])

    def _raised(self, *names: str) -> int:
        """A limit of risk.portfolioguard as overrides lift it for this run, micro-pUSD; 0 = none does."""
        places = [self.changes.place(GUARD, name) for name in names]
        if not any(place in self.changes.overridden for place in places):
            return 0
        return self._least(self.settings.portfolio.cash_micro, *names)

    def _own(self, *names: str) -> int:
        """What the run's own limits let it use, micro-pUSD; 0 = there is no risk.portfolioguard."""
        return self._least(max(int(self.launched.step.state.account[0]["equity"]), 1), *names)

    def _capital(self) -> int:
        """What risk.capitalallocator lets the whole portfolio tie up, micro-pUSD; 0 = it does not bind here."""
        total, buffer = (
            self.changes.place(ALLOCATOR, name) for name in ("portfolio_total_max_usd", "min_remaining_buffer_pct")
        )
        if total is None or buffer is None or self.launched.step.state.bots["mode"][total[0]] < MODE_ENFORCED:
            return 0
        most = self.changes.base(total)
        return most - most * self.changes.base(buffer) // PPM

    def _least(self, whole: int, *names: str) -> int:
        """The least of a share of `whole` and amounts that are parameters of risk.portfolioguard."""
        found = []
        for name in names:
            if (place := self.changes.place(GUARD, name)) is not None:
                value = self.changes.base(place)
                found.append(whole * value // PPM if name.endswith("_pct") else value)
        return min(found, default=0)

    # -- what it hears

    def begin(self) -> None:
        """The first exchange, before the run's first row: in the caller's thread."""
        self.apply(self._exchange(self.standing()))

    def _exchange(self, mine: Standing) -> Shared:
        return shares.refresh(self.desk, mine)

    async def work(self) -> None:
        """Exchange again and again: run as a task."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EVERY)
            try:
                self.apply(await loop.run_in_executor(self.thread, self._exchange, self.standing()))
                self.problem = ""
            except Exception as error:  # noqa: BLE001 - without the desk nothing is opened: see `watch`
                self.problem = str(error)

    async def watch(self) -> None:
        """See that what was heard does not grow old: run as a task."""
        while True:
            await asyncio.sleep(EVERY / 4)
            if self.heard is not None and self.runner.now() - self.heard.at > ALIVE_NS and not self._unknown:
                self._tell([], ("the desk",))

    def apply(self, heard: Shared) -> None:
        """Tell the step what has changed. On the loop."""
        self.heard = heard
        self.bounds.elsewhere = heard.elsewhere
        rows: list[dict[str, int]] = []
        noted: dict[str, str] = {}
        used = self.standing().uses
        for name, share in heard.shares.items():
            before, mine = self._told.get(name, -1), used[name].used
            share = max(share, min(mine, before))  # N3: `before` is granted
            if before >= 0 and abs(share - before) < max((before - mine) // COARSE, 1):
                continue
            self._told[name] = share
            if name == ORDERS:
                noted[name] = str(share)
                continue
            if name == EXPOSURE:
                noted[name] = units.money_text(share)
                continue
            number = self._number[name]
            rows.append({"kind": EventKind.SIGNAL, "market": number, "aux": int(Signal.ROOM), "size": share + 1})
            if len(noted) < NOTED:
                noted[self.infos[number].slug] = units.money_text(share)
        config = self.changes.ceil(self._ceilings(heard), self._parameter)
        self._tell(rows, heard.silent, noted, config)

    def _tell(
        self, rows: list[dict[str, int]], silent: tuple[str, ...], noted: Mapping[str, str] | None = None,
        config: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        room = -1 if silent else self._told.get(EXPOSURE, 0) + 1
        unknown = bool(silent)
        if unknown != self._unknown or (not unknown and EXPOSURE in (noted or {})):
            rows.append({"kind": EventKind.SIGNAL, "market": -1, "aux": int(Signal.ROOM), "size": room})
        self._unknown = unknown
        note: dict[str, Any] = {"room": dict(noted)} if noted else {}
        if silent:
            note["silent"] = list(silent)
        if silent != self._said:
            self._said = silent
            if silent:
                why = {"problem": self.problem[:300]} if self.problem else {}
                self.runner.incident("what other runs hold is not known: nothing is opened", runs=list(silent), **why)
            else:
                self.runner.say("what other runs hold is known again")
        told = [rows_of(*rows)] if rows else []
        if config is not None and len(config):
            told.append(config)
            note["left"] = self._left()
        for part in told:
            self.runner.put("sharing", part, note=note)
            note = {}

    def _left(self) -> dict[str, int]:
        """What the parameters that others' losses lower come to, kernel units."""
        ids = self.launched.pipeline.ids
        told = {}
        for (bot, slot), most in self.changes.most.items():
            if most < self.changes.base((bot, slot)):
                told[f"{ids[bot]}.{load_bot(ids[bot]).spec.parameters[slot].name}"] = most
        return told

    def _ceilings(self, heard: Shared) -> dict[Place, int]:
        """The most that parameters may be now, less what others lost and sent. All that ever have a ceiling are named:
        what a former process of the run told its step is taken back too."""
        most: dict[Place, int] = {}
        if (place := self.changes.place(GOVERNOR, "orders_per_hour")) is not None and ORDERS in self._told:
            most[place] = self._told[ORDERS]
        account = self.launched.step.state.account[0]
        for name, part in LOSSES.items():
            place = self.changes.place(KILLSWITCH, PARAMETERS[name][0].rpartition(".")[2])
            base = int(account[BASES[name]]) or int(account["deposits"])
            if place is None or base <= 0:
                continue
            value, left = self.changes.base(place), [ANY]
            for layer, lost in enumerate(heard.lost):
                others = getattr(lost, part)
                if not others or name not in heard.loss_limits[layer]:
                    continue
                limit = max(value, _kernel(place, self.launched, heard.loss_limits[layer][name]))
                whole = limit * (max(heard.bankroll, base) if layer else base)  # ppm x micro-pUSD
                ppm = (whole - others * PPM) // base
                left.append(ppm // FINE * FINE)
            most[place] = min(left)
        return most

    # -- what people see, and the end

    def limits(self) -> dict[str, dict[str, str]]:
        """The common limits for the board's topic `limits`."""
        if self.heard is None:
            return {}
        told = {}
        for name, unit in ((EXPOSURE, "pUSD"), (ORDERS, "orders")):
            for common in self.heard.common.get(name, ()):
                figure = units.money_text if unit == "pUSD" else str
                words = "exposure" if name == EXPOSURE else "orders in an hour"
                told[f"{words}, all runs of the {common.layer}"] = {
                    "observed": figure(common.used), "limit": figure(common.limit), "unit": unit,
                    "scope": self.settings.portfolio.id,
                }  # fmt: skip
        return told

    def part(self) -> dict[str, Any]:
        """For the board's topic health."""
        silent = list(self._said)
        error = f"not known: {', '.join(silent)} {self.problem}".strip() if silent else ""
        return {"other runs": {"up": not silent, "errors": len(silent), "error": error}}

    def why(self) -> str:
        """What others lost of the limits, in words; "" when they lost nothing."""
        lost = self.heard.lost if self.heard else ()
        if not any(getattr(one, part) for one in lost for part in LOSSES.values()):
            return ""
        today = [units.money_text(one.day_loss) for one in lost]
        return f"other runs of the portfolio lost {today[0]} pUSD today, those of the tenant {today[1]}"

    def end(self) -> None:
        """The run is over: what it holds goes on to count. In the desk's thread."""
        shares.end(self.desk, self.standing())


def _kernel(place: Place, launched: Launched, text: str) -> int:
    """A parameter's kernel value from its text."""
    bot, slot = place
    return load_bot(launched.pipeline.ids[bot]).spec.parameters[slot].kernel_value(text)


def falls_of(account: np.void) -> Falls:
    """What a run lost, from its account."""
    equity = int(account["equity"])

    def below(high: str) -> int:
        return max(int(account[high]) - equity, 0) if account["day_open"] or high == "peak" else 0

    return Falls(below("day_open"), below("day_peak"), below("week_open"), below("week_peak"), below("peak"))
