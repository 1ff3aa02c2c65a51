"""One suite for every venue behind the port: what a runner relies on, case by case.

A case drives the port as a runner does and looks at the event rows it hears. It passes, fails with what was seen
instead, or is left out with the reason. `trades` decides whether cases may trade: they cost the spread.

The same suite runs in the tests for the simulated and the local venue, and by `polytraders venue conformance URL`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polytraders.engine.rules import GTD_EARLY, GTD_LEAD
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, POST_ONLY, ActionKind, EventKind, OrderType, Outcome, Side
from polytraders.units import CENT_SHARE, MICRO, NS_PER_S, ONE, price_text, size_text
from polytraders.venue.port import News, Request, VenuePort
from polytraders.venue.refusal import Refused

PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"


@dataclass(frozen=True)
class Ground:
    """Where the suite trades: one market, as it stands. Prices in pips of the YES token, 0 and ONE = an empty side."""

    market: int
    tick: int
    min_size: int
    bid: int
    ask: int
    trades: bool = False
    patience: float = 15.0  # s that an answer may take
    settles: bool = True  # fills are told as provisional first, and settle


@dataclass(frozen=True)
class Result:
    """What became of a case."""

    case: str
    what: str
    result: str
    code: str = ""
    detail: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Unmet(Exception):
    """A case did not see what it must."""


class LeftOut(Exception):
    """A case cannot be tried here; why."""


@dataclass
class Desk:
    """The port, what it said, and orders with ids of their own."""

    port: VenuePort
    ground: Ground
    rows: list[np.ndarray] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    serial: int = field(default_factory=lambda: time.time_ns() // 1_000 * 100)

    def hear(self, news: News) -> None:
        """The port's `emit`."""
        self.rows.append(news.rows.copy())
        self.keys += news.keys
        if news.note:
            self.notes.append(news.note)
        self.news.set()

    def heard(self, order_id: int | None = None) -> np.ndarray:
        """EVENT rows so far, of one order or all."""
        rows = np.concatenate(self.rows) if self.rows else np.zeros(0, EVENT)
        return rows if order_id is None else rows[rows["aux"] == order_id]

    def kinds(self, order: np.void) -> list[str]:
        return [EventKind(int(kind)).name for kind in self.heard(int(order["order_id"]))["kind"]]

    def code(self, order: np.void) -> str:
        """Reason of an order's rejection or end."""
        rows = self.heard(int(order["order_id"]))
        ends = rows[np.isin(rows["kind"], (EventKind.ORDER_REJECT, EventKind.CANCEL))]
        return Code(int(ends["size"][-1])).name if len(ends) else ""

    def order(self, side: Side, price: int, size: int, kind: OrderType = OrderType.GTC, **more: int) -> np.void:
        """An action that submits; more: outcome, flags, expiry."""
        self.serial += 1
        action = np.zeros(1, ACTION)[0]
        action["ts"], action["order_id"], action["kind"] = time.time_ns(), self.serial, ActionKind.SUBMIT
        action["market"], action["side"], action["price"], action["size"] = self.ground.market, side, price, size
        action["order_type"] = kind
        for name, value in more.items():
            action[name] = value
        return action

    def passive(self) -> np.void:
        """A bid that nothing meets: at the lowest price, of the least size."""
        return self.order(Side.BUY, self.ground.tick, self.ground.min_size, flags=POST_ONLY)

    @staticmethod
    def cancel(order: np.void) -> np.void:
        action = order.copy()
        action["kind"] = ActionKind.CANCEL
        return action

    async def send(self, *actions: np.void) -> list[Request]:
        requests = self.port.prepare(np.array(list(actions), ACTION), time.time_ns())
        await self.port.send(requests)
        return requests

    async def until(self, order: np.void, *kinds: str) -> None:
        """Wait for rows of these kinds. Raises Unmet."""
        end = time.monotonic() + self.ground.patience
        while not all(self.kinds(order).count(kind) >= kinds.count(kind) for kind in kinds):
            left = end - time.monotonic()
            if left <= 0:
                seen = ", ".join(self.kinds(order)) or "nothing"
                raise Unmet(
                    f"waited {self.ground.patience:g} s for {', '.join(kinds)}; heard {seen} {self.code(order)}"
                )
            self.news.clear()
            try:
                async with asyncio.timeout(min(left, 0.25)):
                    await self.news.wait()
            except TimeoutError:
                continue

    async def rejected(self, order: np.void, *codes: Code) -> str:
        """Send an order that must be refused for one of these reasons, and nothing else told of it."""
        await self.send(order)
        end = time.monotonic() + self.ground.patience
        while not self.code(order):
            if time.monotonic() > end:
                raise Unmet(f"waited for a refusal; heard {', '.join(self.kinds(order)) or 'nothing'}")
            await asyncio.sleep(0.005)
        if self.kinds(order)[-1:] != ["ORDER_REJECT"] or len(self.kinds(order)) != 1:
            raise Unmet(f"heard {', '.join(self.kinds(order))} instead of one ORDER_REJECT")
        expect(self.code(order) in {code.name for code in codes}, f"refused for {self.code(order)}")
        return self.code(order)


def expect(good: bool, otherwise: str) -> None:
    """Raises Unmet."""
    if not good:
        raise Unmet(otherwise)


# -- the cases -------------------------------------------------------------------------------------------------


async def rests(desk: Desk) -> str:
    """A post-only bid far from the market is acknowledged once and listed with its key"""
    order = desk.passive()
    (request,) = await desk.send(order)
    await desk.until(order, "ORDER_ACK")
    listed = [one for one in await desk.port.open_orders() if one.key == request.key]
    expect(len(listed) == 1, f"listed {len(listed)} times")
    expect((listed[0].price, listed[0].size, listed[0].filled) == (order["price"], order["size"], 0), str(listed[0]))
    await desk.send(desk.cancel(order))
    await desk.until(order, "CANCEL")
    expect(desk.kinds(order) == ["ORDER_ACK", "CANCEL"], ", ".join(desk.kinds(order)))
    expect(desk.code(order) == "EXEC_CANCELLED", desk.code(order))
    expect(all(one.key != request.key for one in await desk.port.open_orders()), "still listed")
    return "EXEC_CANCELLED"


async def batch(desk: Desk) -> str:
    """Orders sent together are each acknowledged, and cancelled together"""
    orders = [desk.passive() for _ in range(4)]
    requests = await desk.send(*orders)
    expect(len({r.key for r in requests}) == 4, "two orders have one key")
    for order in orders:
        await desk.until(order, "ORDER_ACK")
    await desk.send(*map(desk.cancel, orders))
    for order in orders:
        await desk.until(order, "CANCEL")
    return "EXEC_CANCELLED"


async def cancel_all(desk: Desk) -> str:
    """All resting orders of a market can be cancelled in one request"""
    orders = [desk.passive() for _ in range(3)]
    await desk.send(*orders)
    for order in orders:
        await desk.until(order, "ORDER_ACK")
    await desk.port.cancel_all(desk.ground.market)
    for order in orders:
        await desk.until(order, "CANCEL")
    return "EXEC_CANCELLED"


async def cancel_at_once(desk: Desk) -> str:
    """A cancel sent together with its order cancels it"""
    order = desk.passive()
    await desk.send(order, desk.cancel(order))
    await desk.until(order, "CANCEL")
    expect(desk.kinds(order) == ["ORDER_ACK", "CANCEL"], ", ".join(desk.kinds(order)))
    return "EXEC_CANCELLED"


async def cancel_twice(desk: Desk) -> str:
    """Two cancels of one order tell one CANCEL, and one of an unknown order nothing"""
    order, never = desk.passive(), desk.passive()
    await desk.send(order)
    await desk.until(order, "ORDER_ACK")
    await desk.send(desk.cancel(order))
    await desk.send(desk.cancel(order), desk.cancel(never))
    await desk.until(order, "CANCEL")
    await asyncio.sleep(0.2)
    expect(desk.kinds(order).count("CANCEL") == 1, ", ".join(desk.kinds(order)))
    expect(not len(desk.heard(int(never["order_id"]))), ", ".join(desk.kinds(never)))
    return "EXEC_CANCELLED"


async def off_tick(desk: Desk) -> str:
    """A price between two ticks is refused"""
    if desk.ground.tick == 1:
        raise LeftOut("this market's tick is the finest")
    price = desk.ground.tick + desk.ground.tick // 2
    return await desk.rejected(desk.order(Side.BUY, price, desk.ground.min_size), Code.EXEC_OFF_TICK)


async def too_small(desk: Desk) -> str:
    """An order below the market's least size is refused"""
    size = desk.ground.min_size - CENT_SHARE
    return await desk.rejected(desk.order(Side.BUY, desk.ground.tick, size), Code.EXEC_BELOW_MIN_SIZE)


async def too_fine(desk: Desk) -> str:
    """A size with more than two decimals is refused"""
    size = desk.ground.min_size + CENT_SHARE // 2
    return await desk.rejected(desk.order(Side.BUY, desk.ground.tick, size), Code.EXEC_TOO_MANY_DECIMALS)


async def crosses(desk: Desk) -> str:
    """A post-only order that would take is refused"""
    if desk.ground.ask >= ONE:
        raise LeftOut("nobody offers in this market")
    order = desk.order(Side.BUY, desk.ground.ask, desk.ground.min_size, flags=POST_ONLY)
    return await desk.rejected(order, Code.EXEC_POST_ONLY_CROSSED)


async def too_dear(desk: Desk) -> str:
    """An order for more money than there is is refused"""
    cash = (await desk.port.balances()).cash
    size = (cash * ONE // desk.ground.tick // CENT_SHARE + 200) * CENT_SHARE
    return await desk.rejected(desk.order(Side.BUY, desk.ground.tick, size), Code.EXEC_NOT_ENOUGH_BALANCE)


async def nothing_to_sell(desk: Desk) -> str:
    """A sale of shares that are not there is refused"""
    own = (await desk.port.balances()).shares.get((desk.ground.market, int(Outcome.YES)), 0)
    size = (own // CENT_SHARE + 1) * CENT_SHARE + desk.ground.min_size
    return await desk.rejected(
        desk.order(Side.SELL, ONE - desk.ground.tick, size), Code.EXEC_NOT_ENOUGH_BALANCE, Code.SEC_ALLOWANCE_MISSING
    )


async def killed(desk: Desk) -> str:
    """A FOK that nothing meets is refused for that reason"""
    size = _worth(desk, 2 * MICRO)
    return await desk.rejected(desk.order(Side.BUY, desk.ground.tick, size, OrderType.FOK), Code.EXEC_FOK_NOT_FILLED)


async def found_nothing(desk: Desk) -> str:
    """A FAK that nothing meets is refused for that reason"""
    size = _worth(desk, 2 * MICRO)
    return await desk.rejected(desk.order(Side.BUY, desk.ground.tick, size, OrderType.FAK), Code.EXEC_FAK_NOT_FILLED)


def _worth(desk: Desk, money: int) -> int:
    if desk.ground.bid <= 0 or desk.ground.ask <= desk.ground.tick:
        raise LeftOut("somebody offers at the lowest price, or nobody bids")
    return max(desk.ground.min_size, money * ONE // desk.ground.tick // CENT_SHARE * CENT_SHARE)


async def too_little(desk: Desk) -> str:
    """An order that takes and is worth less than 1 pUSD is refused"""
    step = CENT_SHARE * ONE // desk.ground.tick  # of such sizes the money has two decimals
    size = -(-desk.ground.min_size // step) * step
    if desk.ground.tick * size >= MICRO * ONE:
        raise LeftOut("the least size is worth 1 pUSD at the lowest price")
    order = desk.order(Side.BUY, desk.ground.tick, size, OrderType.FAK)
    return await desk.rejected(order, Code.EXEC_BELOW_MIN_MARKETABLE, Code.EXEC_FAK_NOT_FILLED)


async def good_till_date(desk: Desk) -> str:
    """A GTD order rests until a second far enough ahead, and is cancelled as others are"""
    expiry = (time.time_ns() + GTD_LEAD + GTD_EARLY) // NS_PER_S + 30
    order = desk.order(Side.BUY, desk.ground.tick, desk.ground.min_size, OrderType.GTD, expiry=expiry)
    await desk.send(order)
    await desk.until(order, "ORDER_ACK")
    await desk.send(desk.cancel(order))
    await desk.until(order, "CANCEL")
    return "EXEC_CANCELLED"


async def too_soon(desk: Desk) -> str:
    """A GTD order that ends too soon is refused"""
    expiry = time.time_ns() // NS_PER_S + 60
    order = desk.order(Side.BUY, desk.ground.tick, desk.ground.min_size, OrderType.GTD, expiry=expiry)
    return await desk.rejected(order, Code.EXEC_GTD_TOO_SOON)


async def not_twice(desk: Desk) -> str:
    """What was sent is not sent again"""
    order = desk.passive()
    requests = await desk.send(order)
    try:
        await desk.port.send(requests)
    except ValueError:
        pass
    else:
        raise Unmet("an order was sent twice")
    await desk.until(order, "ORDER_ACK")
    await desk.send(desk.cancel(order))
    await desk.until(order, "CANCEL")
    return ""


async def agrees(desk: Desk) -> str:
    """A comparison with the venue finds nothing that was not told"""
    before = len(desk.heard())
    found = await desk.port.reconcile()
    expect(bool(found.get("whole")), str(found))
    expect(len(desk.heard()) == before, f"{len(desk.heard()) - before} rows came late")
    return ""


async def takes(desk: Desk) -> str:
    """A FAK at the best offer trades: every fill is told before its end, and the position is their sum"""
    if not desk.ground.trades:
        raise LeftOut("it may not trade here")
    if desk.ground.ask >= ONE:
        raise LeftOut("nobody offers in this market")
    place = desk.ground.market, int(Outcome.YES)
    before = (await desk.port.balances()).shares.get(place, 0)
    size = max(desk.ground.min_size, -(-2 * MICRO * ONE // desk.ground.ask // CENT_SHARE) * CENT_SHARE)
    size = -(-size // MICRO) * MICRO  # whole shares: its money then has two decimals on every tick of 0.01
    order = desk.order(Side.BUY, desk.ground.ask, size, OrderType.FAK)
    await desk.send(order)
    fills = await _fills(desk, order)
    bought = int(fills["size"].sum())
    expect(bool((fills["price"] <= desk.ground.ask).all()), "bought above the limit")
    await _holds(desk, place, before + bought)
    if desk.ground.bid > 0:
        sale = desk.order(Side.SELL, desk.ground.bid, bought // CENT_SHARE * CENT_SHARE, OrderType.FAK)
        await desk.send(sale)
        sold = int((await _fills(desk, sale))["size"].sum())
        await _holds(desk, place, before + bought - sold)
    return desk.code(order)


async def _fills(desk: Desk, order: np.void) -> np.ndarray:
    """Fills of a taking order that has traded, each told once and before any CANCEL."""
    told = "FILL_PROVISIONAL" if desk.ground.settles else "FILL_CONFIRMED"
    await desk.until(order, told)
    end = time.monotonic() + desk.ground.patience
    number = int(getattr(EventKind, told))

    def fills() -> np.ndarray:
        rows = desk.heard(int(order["order_id"]))
        return rows[rows["kind"] == number]

    while "CANCEL" not in desk.kinds(order) and fills()["size"].sum() < order["size"]:
        expect(time.monotonic() < end, f"its end is not told: {', '.join(desk.kinds(order))}")
        await asyncio.sleep(0.01)
    if desk.ground.settles:
        await desk.until(order, *["FILL_CONFIRMED"] * len(fills()))
    kinds = desk.kinds(order)
    if "CANCEL" in kinds:
        expect(told not in kinds[kinds.index("CANCEL") :] or not desk.ground.settles, "a fill came behind the CANCEL")
    return fills()


async def _holds(desk: Desk, place: tuple[int, int], shares: int) -> None:
    end = time.monotonic() + desk.ground.patience
    while (seen := (await desk.port.balances()).shares.get(place, 0)) != shares:
        expect(time.monotonic() < end, f"the venue says {size_text(seen)} shares, the fills {size_text(shares)}")
        await asyncio.sleep(0.1)


async def in_order(desk: Desk) -> str:
    """Rows never step back in time, each has its key, and no fill is told twice"""
    rows = desk.heard()
    expect(len(rows) > 0, "nothing was heard")
    expect(bool((np.diff(rows["ts_recv"]) >= 0).all()), "a row is older than the one before it")
    expect(len(rows) == len(desk.keys), "rows without keys")
    booked = np.isin(rows["kind"], (EventKind.FILL_PROVISIONAL,))
    keys = [key for key, fill in zip(desk.keys, booked, strict=True) if fill]
    expect(len(keys) == len(set(keys)), "a fill was told twice")
    return ""


Case = Callable[[Desk], Awaitable[str]]
_CASES: tuple[Case, ...] = (
    rests, batch, cancel_all, cancel_at_once, cancel_twice, off_tick, too_small, too_fine, crosses, too_dear,
    nothing_to_sell, killed, found_nothing, too_little, good_till_date, too_soon, not_twice, takes, agrees, in_order,
)  # fmt: skip
CASES = tuple((f"C{number:02d} {case.__name__}", case) for number, case in enumerate(_CASES, 1))
"""Every case with its name, in the order in which they are tried."""


async def run(port: VenuePort, ground: Ground, tell: Callable[[Result], None] = lambda result: None) -> list[Result]:
    """Start the port, try every case, cancel what is left, stop it. Raises Refused when trading cannot begin."""
    desk, results = Desk(port, ground), []
    await port.start(desk.hear)
    try:
        for name, case in CASES:
            began = time.perf_counter()
            code = detail = ""
            try:
                code, result = await case(desk), PASSED
            except LeftOut as why:
                result, detail = LEFT_OUT, str(why)
            except Unmet as why:
                result, detail = FAILED, str(why)
            except Refused as why:
                result, code, detail = FAILED, why.code, why.what
            what = (case.__doc__ or "").strip()
            results.append(Result(name, what, result, code, detail, round(time.perf_counter() - began, 3)))
            tell(results[-1])
        await port.cancel_all(ground.market)
    finally:
        await port.stop()
    return results


def ground_text(ground: Ground) -> str:
    """A market as it stood, in a line."""
    bid = price_text(ground.bid) if ground.bid > 0 else "none"
    ask = price_text(ground.ask) if ground.ask < ONE else "none"
    return f"bid {bid}, ask {ask}, tick {price_text(ground.tick)}, least size {size_text(ground.min_size)}"
