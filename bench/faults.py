"""Every fault of the local venue while the adapter trades: what happened, and how long until all was known again.

    python -m bench.faults [SECONDS [SEED]]     every fault, SECONDS of random trading under each; one JSON line

A trader who draws from a seed places, batches, takes and cancels in a market that moves by the same seed, while one
fault is switched on. Then the fault is switched off, and the clock runs until the adapter has no order in doubt and
holds what the venue says it holds: that is the recovery time. At the end nothing may be double, lost or unequal:

    orders      the venue has exactly the orders that we were told it has, each once
    fills       every trade of the venue is booked once, at its price and size
    money       cash and shares that follow from the booked fills are the venue's own, to the micro-unit
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from polytraders.config import DEMO_BUILDER_CODE
from polytraders.data.markets import MarketInfo
from polytraders.reasons import Code
from polytraders.rows import ACTION, POST_ONLY, ActionKind, EventKind, OrderType, Outcome, Side
from polytraders.units import MICRO, ONE, price_text
from polytraders.venue.orders import Key, account
from polytraders.venue.polymarket.port import Options, PolymarketPort
from polytraders.venue.polymarket.tracking import Phase
from polytraders.venue.port import News
from polytraders.venue.visit import Address, credentials_for

CASH = 100_000 * MICRO
FEE_UNIT = 10
"""micro-pUSD. The venue rounds the fee of a whole match once and does not tell how it divides it: where the chain
refuses one of the match's fills, its part may be one unit more or less than ours."""
OPTIONS = Options(
    timeout=1.0, patience=2.0, absent_after=1.2, trades_after=0.15, reconcile_every=0.5, clock_every=0.5,
    heartbeat_every=1.0, silence=5.0, reconnect=(0.02, 0.5), tier="elite",
)  # fmt: skip
"""Shorter than a live run's: the venue is on this machine, and a campaign is not to wait for minutes."""


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong. fault: name and body of the switch; mode: of the venue; other: see `_switch`."""

    name: str
    what: str
    fault: str = ""
    value: int = 0
    rate: int = 300_000
    mode: str = ""
    other: str = ""


TROUBLES = (
    Trouble("none", "nothing goes wrong"),
    Trouble("latency", "half of the requests take 0.4 s", "latency", 400, 500_000),
    Trouble("late", "a tenth of the requests takes 3 s, longer than we wait", "latency", 3_000, 100_000),
    Trouble("silence", "the sockets answer PING and say nothing", "silence", rate=1_000_000),
    Trouble("duplicate", "half of the user events come twice", "duplicate", rate=500_000),
    Trouble("reorder", "half of the user events come after the next", "reorder", 150, 500_000),
    Trouble("drop_reply", "a third of the orders and cancels is done without an answer", "drop_reply"),
    Trouble("ghost_fill", "a third of the fills is refused by the chain", "ghost_fill"),
    Trouble("retrying", "half of the fills is told as RETRYING first", "retrying", rate=500_000),
    Trouble("batch_entry", "a third of a batch's entries is refused", "batch_entry"),
    Trouble("stale_balance", "the venue looks at old balances", "stale_balance", rate=1_000_000),
    Trouble("wrong_tick", "REST tells a tick of 0.001", "wrong_tick", 10, 1_000_000),
    Trouble("clock_skew", "the venue's clock is 20 s behind", "clock_skew", -20_000, 1_000_000),
    Trouble("error_before", "a third of all requests ends with 500 and is not served", "error_before", 500),
    Trouble("error_after", "a third of all requests is served and ends with 500", "error_after", 500),
    Trouble("restarting", "the engine restarts: 425", mode="restarting"),
    Trouble("rate_limit", "the venue's limits are a fifteenth of what we think: 429", other="tier"),
    Trouble("post_only", "post-only mode: 503", mode="post_only"),
    Trouble("cancel_only", "cancel-only mode: 503", mode="cancel_only"),
    Trouble("disabled", "trading is disabled: 503", mode="disabled"),
    Trouble("sockets", "every socket is closed, five times a second", other="sockets"),
    Trouble("heartbeat", "the venue missed our heartbeats and cancels everything", other="heartbeat"),
)
"""Everything that is switched on, one after the other."""
STORM = ("latency", "duplicate", "reorder", "drop_reply", "ghost_fill", "retrying", "batch_entry", "error_before",
         "error_after")  # fmt: skip
"""Faults that can be on together."""


class Venue:
    """A local venue and its switches."""

    def __init__(self, urls: dict[str, str]):
        self.urls = urls

    async def turn(self, path: str, method: str = "POST", **body: Any) -> dict[str, Any]:
        """Turn a switch, and let others go on meanwhile."""
        return await asyncio.to_thread(self.admin, path, method, **body)

    def admin(self, path: str, method: str = "POST", **body: Any) -> dict[str, Any]:
        """Turn a switch."""
        data = None if method == "GET" else json.dumps(body).encode()
        request = urllib.request.Request(self.urls["admin"] + path, data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def served(settlement_ms: int = 150, seed: int = 1) -> Iterator[Venue]:
    """A local venue in a process of its own."""
    command = [
        sys.executable, "-m", "polytraders.cli", "venue", "serve", "--json", "--empty", "--cash", str(CASH // MICRO),
        "--settlement-ms", str(settlement_ms), "--seed", str(seed),
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "POLYTRADERS_JIT"}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
        try:
            assert process.stdout is not None
            yield Venue(json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
            said.seek(0)
            if told := said.read().strip():
                print(f"the venue: {told[-2000:]}", file=sys.stderr)


def hosts(urls: dict[str, str]) -> Address:
    """A local venue's hosts."""
    return Address(urls["rest"], "local", urls["user_ws"], urls["data"], urls["geoblock"])


@dataclass
class Books:
    """What the rows say we hold: the step's own arithmetic, as little of it as equality needs."""

    cash: int = CASH
    shares: dict[tuple[int, int], int] = field(default_factory=dict)
    orders: dict[int, np.void] = field(default_factory=dict)
    acked: dict[int, str] = field(default_factory=dict)  # order id -> digest
    ended: dict[int, str] = field(default_factory=dict)  # order id -> reason
    open_fills: dict[str, np.void] = field(default_factory=dict)
    booked: dict[str, str] = field(default_factory=dict)  # key of a fill -> how it ended
    wrong: list[str] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0

    def hear(self, news: News) -> None:
        """Take rows in, and note what must never be."""
        if news.note:
            self.notes.append(news.note)
        for row, key in zip(news.rows, news.keys, strict=True):
            self.rows += 1
            kind, order_id = int(row["kind"]), int(row["aux"])
            if order_id not in self.orders:
                self.wrong.append(f"{EventKind(kind).name} of an unknown order")
            elif kind == EventKind.ORDER_ACK:
                self._once(self.acked, order_id, key, "ack")
            elif kind in (EventKind.ORDER_REJECT, EventKind.CANCEL):
                if kind == EventKind.ORDER_REJECT and order_id in self.acked:
                    self.wrong.append(f"{key}: rejected after its ack")
                self._once(self.ended, order_id, Code(int(row["size"])).name, "end")
            else:
                self._fill(row, key, kind, order_id)

    def _once(self, known: dict[int, str], order_id: int, value: str, what: str) -> None:
        if order_id in known:
            self.wrong.append(f"order {order_id}: a second {what}, {value} after {known[order_id]}")
        known[order_id] = value

    def _fill(self, row: np.void, key: str, kind: int, order_id: int) -> None:
        if kind == EventKind.FILL_PROVISIONAL or (kind == EventKind.FILL_CONFIRMED and key not in self.open_fills):
            if key in self.booked:
                self.wrong.append(f"{key}: booked twice")
            if order_id in self.ended:
                self.wrong.append(f"{key}: a fill behind the end of its order")
            self._move(row, order_id, 1)
            self.booked[key] = "MATCHED" if kind == EventKind.FILL_PROVISIONAL else "CONFIRMED"
            if kind == EventKind.FILL_PROVISIONAL:
                self.open_fills[key] = row.copy()
            return
        first = self.open_fills.pop(key, None)
        if first is None:
            self.wrong.append(f"{key}: {EventKind(kind).name} of a fill that was not told")
            return
        if any(first[name] != row[name] for name in ("price", "size", "ref", "aux")):
            self.wrong.append(f"{key}: settles with other terms than it was told with")
        self.booked[key] = "CONFIRMED" if kind == EventKind.FILL_CONFIRMED else "FAILED"
        if kind == EventKind.FILL_VOIDED:
            self._move(row, order_id, -1)

    def _move(self, row: np.void, order_id: int, sign: int) -> None:
        order = self.orders[order_id]
        place = int(order["market"]), int(order["outcome"])
        money, fee = int(row["price"]) * int(row["size"]) // ONE, int(row["ref"]) * 10
        buying = 1 if order["side"] == Side.BUY else -1
        self.shares[place] = self.shares.get(place, 0) + sign * buying * int(row["size"])
        self.cash -= sign * (buying * money + fee)

    def held(self) -> dict[tuple[int, int], int]:
        return {place: size for place, size in self.shares.items() if size}


@dataclass
class Report:
    """What one trouble did."""

    name: str
    what: str
    orders: int = 0
    fills: int = 0
    voided: int = 0
    unknown: int = 0
    rejected: int = 0
    struck: int = 0
    reconnects: int = 0
    late: int = 0  # orders that turned up after they were given up for lost, and were cancelled
    recovery_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.wrong


class Campaign:
    """One account that trades at random under one trouble after another."""

    def __init__(self, venue: Venue, name: str, seed: int, options: Options = OPTIONS):
        self.venue, self.name, self.options = venue, name, options
        self.dice = random.Random(f"{seed}:{name}")
        self.books = Books()
        self.serial = 0
        self.middle = 5_000
        self.slug = f"faults-{name}-{seed}"

    async def __aenter__(self) -> Campaign:
        levels = {"bids": [["0.48", "400"], ["0.47", "400"]], "asks": [["0.52", "400"], ["0.53", "400"]]}
        made = await self.venue.turn("/markets", slug=self.slug, fee_rate="0.02", **levels)
        market = MarketInfo(
            made["condition"], self.slug, self.slug, made["yes"], made["no"], tick=100, grid=1, min_size=5 * MICRO,
            fee_rate=20_000, fee_exponent=1, rebate_rate=0, neg_risk=False, event_id="",
            end_ts=time.time_ns() + 86_400 * 10**9,
        )  # fmt: skip
        key = Key(hashlib.sha256(self.slug.encode()).digest())
        self.address = key.address
        where = hosts(self.venue.urls)
        credentials = await credentials_for(where, key)
        await self.venue.turn(f"/accounts/{key.address}", tier="elite")
        owner = account(key.address, 0, where.chain_id)
        self.port = PolymarketPort(where, [market], key, credentials, owner, DEMO_BUILDER_CODE, self.options)
        await self.port.start(self.books.hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.port.stop()

    # -- trading -----------------------------------------------------------------------------------------

    def _order(self) -> np.void:
        dice, self.serial = self.dice, self.serial + 1
        action = np.zeros(1, ACTION)[0]
        side = Side(dice.randrange(2))
        outcome = Outcome.NO if dice.random() < 0.25 else Outcome.YES
        kind = OrderType.GTC if dice.random() < 0.7 else OrderType.FAK
        away = dice.choice((0, 0, 100, 100, 200, 300))
        mid = self.middle if outcome == Outcome.YES else ONE - self.middle
        base = mid - 100 if side == Side.BUY else mid + 100
        price = base - away if side == Side.BUY else base + away
        if kind == OrderType.FAK:
            price = mid + 400 if side == Side.BUY else mid - 400
        held = self.books.shares.get((0, int(outcome)), 0)
        size = dice.randrange(5, 60) * MICRO
        if side == Side.SELL and held < size:
            action["side"] = side = Side.BUY
            price = ONE - price if price > mid else price
        action["order_id"], action["kind"], action["side"], action["outcome"] = self.serial, 1, side, outcome
        action["price"], action["size"], action["order_type"] = min(max(price, 100), 9_900), size, kind
        action["flags"] = POST_ONLY if kind == OrderType.GTC and dice.random() < 0.3 else 0
        action["ts"] = time.time_ns()
        self.books.orders[self.serial] = action
        return action

    def _open(self) -> list[np.void]:
        return [o for i, o in self.books.orders.items() if i not in self.books.ended and not self._whole(i)]

    def _whole(self, order_id: int) -> bool:
        order = self.port.tracker.by_id.get(order_id)
        return order is None or order.phase == Phase.OVER

    async def trade_once(self) -> None:
        """One thing that a strategy may do, and now and then one that the market does."""
        what = self.dice.random()
        if what < 0.25:
            made = [self._order() for _ in range(self.dice.randrange(2, 6))]
        elif what < 0.75:
            made = [self._order()]
        else:
            made = []
            for order in self.dice.sample(open_ := self._open(), min(len(open_), self.dice.randrange(1, 4))):
                action = order.copy()
                action["kind"] = ActionKind.CANCEL
                made.append(action)
        requests = self.port.prepare(np.array(made, ACTION) if made else np.zeros(0, ACTION), time.time_ns())
        with contextlib.suppress(TimeoutError):
            await self.port.send(requests)
        if self.dice.random() < 0.3:
            side = self.dice.choice(("BUY", "SELL"))
            price = self.middle + (150 if side == "BUY" else -150)
            await self._market("/trade", side=side, price=price_text(price), size=str(self.dice.randrange(20, 200)))

    async def _market(self, path: str, **body: Any) -> None:
        await self.venue.turn(f"/markets/{self.slug}{path}", **body)

    # -- troubles ----------------------------------------------------------------------------------------

    async def _switch(self, trouble: Trouble, on: bool) -> None:
        venue = self.venue
        if trouble.fault:
            if on:
                await venue.turn(f"/faults/{trouble.fault}", rate=trouble.rate, value=trouble.value)
            else:
                self.struck = (await venue.turn("/state", "GET"))["faults"][trouble.fault]["struck"]
                await venue.turn(f"/faults/{trouble.fault}", rate=0)
        elif trouble.mode:
            await venue.turn("/mode", mode=trouble.mode if on else "normal")
        elif trouble.other == "tier":
            await venue.turn(f"/accounts/{self.address}", tier="standard" if on else "elite")
            if on:  # the venue tells its tier with every answer; here it is a surprise
                self.port.client.budget.tier = "standard"

    async def _meanwhile(self, trouble: Trouble) -> None:
        if trouble.other == "sockets":
            await asyncio.sleep(0.2)
            await self.venue.turn("/sockets", "DELETE")
        elif trouble.other == "heartbeat":
            await asyncio.sleep(0.4)
            await self.venue.turn("/heartbeats", seconds=15)

    async def under(self, trouble: Trouble, seconds: float, within: float = 60.0) -> Report:
        """Trade under a trouble, end it, and see that everything becomes known and equal."""
        report = Report(trouble.name, trouble.what)
        books, self.struck = self.books, 0
        before = (
            len(books.orders),
            len(books.booked),
            len(books.ended),
            len(books.notes),
            self.port.stream.connections,
        )
        voided = sum(how == "FAILED" for how in books.booked.values())
        await self._switch(trouble, True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.gather(self.trade_once(), self._meanwhile(trouble))
            await asyncio.sleep(0.005)
        await self._switch(trouble, False)
        began = time.monotonic()
        problem = "not asked yet"
        while problem and time.monotonic() - began < within:
            problem = await self.difference()
            if problem:
                await asyncio.sleep(0.05)
        report.recovery_s = round(time.monotonic() - began, 2)
        report.orders, report.fills = len(books.orders) - before[0], len(books.booked) - before[1]
        report.rejected = len(list(books.ended.values())[before[2] :])
        report.unknown = sum(len(note.get("unknown", ())) for note in books.notes[before[3] :])
        report.late = sum(len(note.get("stray", ())) for note in books.notes[before[3] :])
        report.voided = sum(how == "FAILED" for how in books.booked.values()) - voided
        report.reconnects, report.struck = self.port.stream.connections - before[4], self.struck
        report.wrong = books.wrong + ([f"after {within:g} s: {problem}"] if problem else [])
        return report

    async def difference(self) -> str:
        """ "" when nothing is in doubt and our books are the venue's; else the first thing that is not so."""
        tracker = self.port.tracker
        doubt = [o for o in tracker.orders.values() if o.phase in (Phase.SENDING, Phase.UNKNOWN)]
        if doubt:
            return f"{len(doubt)} orders in doubt"
        leaving = [o for o in tracker.orders.values() if o.phase == Phase.OPEN and (o.cancel_asked or o.end)]
        if leaving:
            return f"{len(leaving)} orders on their way out"
        if self.books.open_fills:
            return f"{len(self.books.open_fills)} fills not settled"
        try:
            balances = await self.port.balances()
            listed = {order.key for order in await self.port.open_orders()}
        except Exception as error:  # noqa: BLE001  a venue in trouble may say anything
            return f"the venue does not say: {error}"
        ours = {o.key for o in tracker.orders.values() if o.phase == Phase.OPEN}
        if listed != ours:
            return f"{len(listed - ours)} orders that we do not know, {len(ours - listed)} that the venue does not"
        if balances.shares != self.books.held():
            return f"the venue says {balances.shares}, we {self.books.held()}"
        voided = sum(how == "FAILED" for how in self.books.booked.values())
        if abs(balances.cash - self.books.cash) > FEE_UNIT * voided:
            return f"the venue says {balances.cash} micro-pUSD, we {self.books.cash}"
        return ""

    async def last_word(self) -> list[str]:
        """Cancel everything and hold all orders and trades there ever were against the venue's."""
        for _ in range(20):
            await self.port.cancel_all()
            if not await self.difference() and not await self.port.open_orders():
                break
            await asyncio.sleep(0.1)
        wrong = list(self.books.wrong)
        if problem := await self.difference():
            wrong.append(problem)
        theirs = (await self.venue.turn("/state", "GET"))["accounts"][self.address]
        strays = sum(len(note.get("stray", ())) for note in self.books.notes)
        if theirs["orders"] != len(self.books.acked) + strays:
            wrong.append(
                f"the venue has {theirs['orders']} orders, we know of {len(self.books.acked)} and {strays} late"
            )
        digests = list(self.books.acked.values())
        if len(digests) != len(set(digests)):
            wrong.append("two orders have one digest")
        trades = await self.port.trades()
        if len(trades) != theirs["trades"]:
            wrong.append(f"the venue has {theirs['trades']} trades, and lists {len(trades)} of ours")
        failed = {t.key for t in trades if t.status == "FAILED"}
        missing = [t.key for t in trades if t.key not in self.books.booked and t.key not in failed]
        wrong += [f"{key}: lost" for key in missing]
        wrong += [f"{key}: made up" for key in self.books.booked.keys() - {t.key for t in trades}]
        return wrong


async def campaign(venue: Venue, troubles: tuple[Trouble, ...], seconds: float, seed: int) -> list[Report]:
    """Every trouble in turn, one account each, so that each begins with clean books."""
    reports = []
    for trouble in troubles:
        async with Campaign(venue, trouble.name, seed) as one:
            report = await one.under(trouble, seconds)
            report.wrong = list(dict.fromkeys(report.wrong + await one.last_word()))
            reports.append(report)
    return reports


async def storm(venue: Venue, seconds: float, seed: int) -> Report:
    """Many faults together, at lower rates, for as long as given."""
    known = {trouble.name: trouble for trouble in TROUBLES}
    async with Campaign(venue, "storm", seed) as one:
        for name in STORM:
            await venue.turn(f"/faults/{name}", rate=60_000, value=known[name].value)
        report = await one.under(Trouble("storm", "many faults at once"), seconds, within=0.0)
        await venue.turn("/faults", "DELETE")
        calm = await one.under(replace(TROUBLES[0]), 0.0)
        report.recovery_s = calm.recovery_s
        report.wrong = list(dict.fromkeys(calm.wrong + await one.last_word()))
        return report


def table(reports: list[Report]) -> str:
    """The reports as Markdown."""
    lines = [
        "| fault | what goes wrong | orders | fills | voided | in doubt | late | recovery | books |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for r in reports:
        books = "equal" if r.good else "**" + "; ".join(r.wrong[:2]) + "**"
        lines.append(
            f"| {r.name} | {r.what} | {r.orders:,} | {r.fills:,} | {r.voided:,} | {r.unknown:,} | {r.late:,} "
            f"| {r.recovery_s:.2f} s | {books} |"
        )
    return "\n".join(lines)


def main(seconds: float = 5.0, seed: int = 1) -> dict[str, Any]:
    """Every trouble and the storm; for bench/run.py."""
    with served() as venue:
        reports = asyncio.run(_all(venue, seconds, seed))
    return {
        "name": "faults", "unit": "s", "value": max(report.recovery_s for report in reports),
        "good": all(report.good for report in reports), "table": table(reports),
        "reports": [report.__dict__ for report in reports],
    }  # fmt: skip


async def _all(venue: Venue, seconds: float, seed: int) -> list[Report]:
    return [*await campaign(venue, TROUBLES, seconds, seed), await storm(venue, 2 * seconds, seed)]


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(float(given[0]) if given else 5.0, int(given[1]) if len(given) > 1 else 1)))
