"""The runner: one asyncio process in which live events meet the step, and what it decides goes to a venue.

    market data, venue's news, operators, clock ─► inbox ─► step ─► log, synced ─► outbox ─► venue

Everything that the step sees goes through one inbox, where it gets its receive time, and into the log with what the
step made of it, as one batch. Only when the batch is on the disk do its requests enter the outbox. A run so has one
story, and a replay of its log tells it again.

Invariants
    A1  nothing leaves for the venue that is not on the disk, with the name under which the venue will know it
    A2  receive times never fall, whatever the machine's clock does
    A3  an order that the step sent has an end the step hears of: the venue's, or a denial of ours
    A4  while trading is halted or the run comes to its end no submit leaves, and resting orders are cancelled until
        the venue lists none; what a plan sells then (`run.flatten`) is the one exception
    A5  what cannot be known is not made up: a feed that fails is FEED_DOWN, a log that cannot be written ends the run
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polytraders.engine.live import Step
from polytraders.engine.setup import Pipeline
from polytraders.engine.state import PENDING_CANCEL
from polytraders.errors import DataError, UsageError
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, TO_PEOPLE, ActionKind, Answer, EventKind, Flag
from polytraders.run.orders import Orders
from polytraders.run.outbox import Outbox
from polytraders.run.own import OwnOrders
from polytraders.run.snapshot import VENUE, fixed, write_snapshot
from polytraders.run.supervisor import FIRST_WAIT, Supervisor, cause
from polytraders.store.frozen import freeze, layout_of
from polytraders.store.log import LogWriter, Position, RecordKind
from polytraders.units import NS_PER_MS, NS_PER_S
from polytraders.venue.port import News, Request, Resident, VenuePort
from polytraders.venue.refusal import Refused

log = logging.getLogger("polytraders.run")

BATCH_ROWS = 1_024
"""Rows that one turn takes from the inbox at most."""
HOUSEKEEPING = 0.25
"""s between two looks at what is due: a sync of what nobody waits for, snapshots, reconciliation."""
SWEEP_FIRST, SWEEP_LONGEST = 0.05, 1.0
"""s between two attempts to cancel what rests, at first and at most."""
DURABLE_KEPT = 1 << 16
"""Measured times from a decision to the disk that are kept."""
NO_ROWS = np.zeros(0, EVENT)
_SETS = {
    ActionKind.SPLIT: EventKind.SPLIT,
    ActionKind.MERGE: EventKind.MERGE,
    ActionKind.CONVERT: EventKind.CONVERT,
}

Feed = Callable[["Runner"], Awaitable[Any]]
"""A source of rows: puts what it has into the runner and returns or raises when it cannot go on."""


UNANSWERED = frozenset({Code.EXEC_VENUE_UNREACHABLE.name, Code.SEC_GEOBLOCK_UNKNOWN.name})
"""Refusals of a venue that may be over in a moment: nothing was said against us."""


@dataclass(frozen=True)
class Options:
    """How a runner works. sends: False = every order is denied (shadow, dry run)."""

    sends: bool = True
    snapshot_events: int = 50_000
    snapshot_every: int = 60 * NS_PER_S
    reconcile_every: int = 30 * NS_PER_S
    stop_timeout: int = 60 * NS_PER_S  # for the venue to confirm that nothing rests
    timers: bool = True  # False: time passes only with the rows that come (a recording at full speed)


@dataclass(slots=True)
class Arrival:
    """Something that came, stamped."""

    source: str
    rows: np.ndarray  # EVENT[k]
    keys: tuple[str, ...] = ()
    note: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)  # what is to be remembered under these names


def rows_of(*given: dict[str, int]) -> np.ndarray:
    """EVENT[k] of one message from fields by name; the last carries Flag.LAST."""
    rows = np.zeros(len(given), EVENT)
    rows["market"] = -1
    for row, fields in zip(rows, given, strict=True):
        for name, value in fields.items():
            row[name] = value
    if len(rows):
        rows["flags"][-1] |= Flag.LAST
    return rows


class Runner:
    """A run in work.

    Parameters
    ----------
    step, orders, notes: as a fresh run has them, or as `recover.take_over` found them.
    writer: the run's log. port: None for a run that has no venue (shadow).
    feeds: by name; one that ends or fails is FEED_DOWN until it puts rows again.
    clock: ns since the epoch. session: what the log's first note says of this process.
    observe: called after each turn with (rows, decisions, actions), on the loop: for the desk's store.
    """

    def __init__(
        self,
        folder: Path,
        pipeline: Pipeline,
        step: Step,
        writer: LogWriter,
        port: VenuePort | None,
        feeds: dict[str, Feed],
        *,
        orders: Orders | None = None,
        notes: dict[str, Any] | None = None,
        options: Options = Options(),
        session: dict[str, Any] | None = None,
        clock: Callable[[], int] = time.time_ns,
        observe: Callable[[np.ndarray, np.ndarray, np.ndarray], None] | None = None,
    ):
        self.folder, self.pipeline, self.step, self.writer, self.port = folder, pipeline, step, writer, port
        self.options, self.session, self.clock, self.observe = options, session or {}, clock, observe
        self.orders, self.notes = orders or Orders(), notes if notes is not None else {}
        self.tripped: Callable[[str], None] = lambda why: None
        """Told when the runner itself arms the kill switch, on the loop."""
        self.halting: Callable[[bool], None] = lambda halted: None
        """Told when trading is halted and when it goes on, on the loop."""
        self.vetted: Callable[[list[int]], None] = lambda flags: None
        """Told the markets' flags when the desk's list was read again and says something else."""
        self.brake: Any = None
        """The run's `run.brake.Brake`, once somebody needs it."""
        self.watchers: list[Callable[[np.ndarray, np.ndarray, np.ndarray], None]] = []
        """Called as `observe` is, after it."""
        self.own: OwnOrders | None = None
        """What takes our own orders out of what the feeds tell, where they tell them."""
        self.resident = port if isinstance(port, Resident) else None
        self.supervisor = Supervisor(self._down)
        self.outbox = Outbox(port, self._deny) if port is not None else None
        self.incidents: deque[dict[str, Any]] = deque(maxlen=1_000)
        self.swept: dict[str, Any] | None = None
        """The last sweep: how often it asked and how long until the venue listed nothing."""
        self.feed_health: Callable[[], dict[str, Any]] = dict
        """What the feeds say of their connections."""
        self.ready_ms = 0.0
        """From the begin of `run` until the venue was reconciled and the step worked."""
        self.rows = 0
        self.dropped = 0
        self.started = 0
        self._feeds, self._extra = feeds, []
        self._healths: dict[str, Callable[[], Any]] = {}
        self._inbox: deque[Arrival] = deque()
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()
        self._stopping = False
        self._failed: BaseException | None = None
        self._last = step.now
        self._said: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0
        self._sweeping: asyncio.Task[None] | None = None
        self._halted = self._starting = False
        self._durable: deque[int] = deque(maxlen=DURABLE_KEPT)
        self._snapshot_seq, self._snapshot_at = step.seq, 0
        self._snapshots = ThreadPoolExecutor(1, "snapshot")
        self._freezing = False
        self._reconciled: dict[str, Any] = {}

    # -- what comes in

    def now(self) -> int:
        """ns: the clock, never behind the last row."""
        self._last = max(self.clock(), self._last)
        return self._last

    def put(
        self,
        source: str,
        rows: np.ndarray,
        keys: Sequence[str] = (),
        note: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        at: int = 0,
    ) -> None:
        """Something came. rows: EVENT[k], taken over; they get their receive time here, `at` or now. On the loop."""
        if len(rows):
            rows["ts_recv"] = now = max(at, self._last) if at else self.now()
            self._last = now
            rows["ts_event"][rows["ts_event"] == 0] = now
        self._inbox.append(Arrival(source, rows, tuple(keys), note or {}, state or {}))
        self._arrived.set()

    @property
    def waiting(self) -> int:
        """What came and was not taken in yet, and what was decided and is not written yet."""
        return len(self._inbox) + self.writer.backlog

    def emit(self, news: News) -> None:
        """The venue's news, for `VenuePort.start`."""
        self.put("venue", np.array(news.rows, EVENT), news.keys, news.note)

    def say(self, what: str, **more: Any) -> None:
        """Have a note written with the next batch."""
        self._said.append({"what": what, "ts": self.now(), **more})
        self._arrived.set()

    def incident(self, what: str, **more: Any) -> None:
        """Something that people must know of."""
        log.error("%s %s", what, more or "")
        self.incidents.append({"what": what, "ts": self.now(), **more})
        self.say("incident", of=what, **more)

    def add_task(self, name: str, work: Callable[[], Awaitable[Any]], critical: bool = False) -> None:
        """One more supervised task of the run (mailbox, status). Before `run`."""
        self._extra.append((name, work, critical))

    def add_health(self, name: str, state: Callable[[], Any]) -> None:
        """One more part of `health`, asked whenever somebody looks."""
        self._healths[name] = state

    # -- the run

    async def run(self) -> dict[str, Any]:
        """Work until `stop`; returns the summary that the log was closed with.

        Raises Refused when the venue does not let the run begin, and what stopped the log or the step.
        """
        self.started = self.now()
        self.say("session", **self.session, pid=os.getpid(), seq=self.step.seq)
        self.put("runner", rows_of({"kind": EventKind.FEED_DOWN}))  # until a feed says otherwise nothing is known
        self._bury()
        try:
            if self.port is not None:
                self._starting = True
                await self._start_port(self.port)
                self._starting = False
                await self._take_up()
                assert self.outbox is not None
                self.supervisor.start("submits", self.outbox.submits, critical=True)
                self.supervisor.start("cancels", self.outbox.cancels, critical=True)
            work = asyncio.create_task(self._work(), name="step")
            work.add_done_callback(self._ended)
            self.supervisor.start("housekeeping", self._keep_house)
            for name, feed in self._feeds.items():
                self.supervisor.start(name, partial(feed, self), critical=True)
            for name, task, critical in self._extra:
                self.supervisor.start(name, task, critical=critical)
            self.ready_ms = round((self.now() - self.started) / NS_PER_MS, 3)
            self.say("ready", ms=self.ready_ms)
            await self._stop.wait()
            if self._failed is None:
                await self._wind_down()
            await self.supervisor.stop()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work
        finally:
            await self.supervisor.stop()
            if self._sweeping is not None:
                self._sweeping.cancel()
            if self.port is not None:
                await self.port.stop()
            if self._timer is not None:
                self._timer.cancel()
        if self._failed is not None:
            self._snapshots.shutdown()
            raise self._failed
        while self._inbox or self._said:
            self._turn()
        self._decide([])  # what happened at a venue of this process since
        return await self._close()

    def stop(self) -> None:
        """Come to an end: open nothing more, cancel what rests, confirm, flush. From the loop (a signal handler)."""
        self._stop.set()

    def _ended(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            self._failed = error
            if self.outbox is not None:
                self.outbox.close(Code.EXEC_NOT_SENT_HALTED)
            self._stop.set()

    def _down(self, name: str, error: BaseException | None) -> None:
        """A supervised task ended."""
        self.incident(f"{name} ended", error=cause(error) if error else "")
        if name in self._feeds:
            self.put(name, rows_of({"kind": EventKind.FEED_DOWN}))
        elif self.supervisor.watched[name].critical:
            self.arm(f"{name} ended")
            self.tripped(f"{name} ended")

    async def _start_port(self, port: VenuePort) -> None:
        """Connect to the venue; one that does not answer is asked again for as long as a stop may take."""
        wait, until = FIRST_WAIT, time.monotonic() + self.options.stop_timeout / NS_PER_S
        while True:
            while self._inbox or self._said:  # what a start that failed told already is not to be told as new again
                self._turn()
            try:
                return await port.start(self.emit, self.orders.known(self._last))
            except Refused as error:
                if error.code not in UNANSWERED or time.monotonic() + wait > until:
                    raise
                log.warning("%s is tried again in %.1f s: %s", port.name, wait, error.what)
            with contextlib.suppress(TimeoutError):  # not wait_for, which may lose a cancellation (Python 3.11)
                async with asyncio.timeout(wait):
                    await self._stop.wait()
                raise UsageError("the run was stopped before the venue answered", where=port.name)
            wait = min(2 * wait, 5.0)

    def _bury(self) -> None:
        """Deny what a former process decided, did not prepare, and died before it could say so.

        An order without a name was never signed, so no venue has it and none is asked about it; nobody else would ever
        tell the step that it is over."""
        sends = self.port is not None and self.options.sends
        why = Code.EXEC_NOT_SENT_UNPREPARED if sends else Code.EXEC_NOT_SENT_DRY_RUN
        nameless = [order for order in map(self.orders.by_id.__getitem__, self.orders.open()) if not order.key]
        self._deny([Request(order.action, "") for order in nameless], why)

    async def _take_up(self) -> None:
        """Ask again for the cancels of a former process: whether they reached the venue is not known."""
        state = self.step.state
        rows = np.flatnonzero((state.orders["id"] > 0) & (state.orders["state"] == PENDING_CANCEL))
        if not len(rows):
            return
        again = np.zeros(len(rows), ACTION)
        for action, order in zip(again, state.orders[rows], strict=True):
            for name in ("corr", "price", "market", "slot", "outcome", "side", "order_type", "flags"):
                action[name] = order[name]
            action["ts"], action["seq"], action["kind"] = self.now(), self.step.seq, ActionKind.CANCEL
            action["order_id"], action["size"] = order["id"], order["size"] - order["filled"]
        assert self.port is not None and self.outbox is not None
        self.outbox.put(self.port.prepare(again, self.now()))
        self.say("cancels sent again", orders=[int(number) for number in again["order_id"]])

    async def _work(self) -> None:
        while True:
            self._arm()
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox or self._said:
                self._turn()
                await asyncio.sleep(0)
                if self.writer.failed is not None:
                    raise self.writer.failed

    def _arm(self) -> None:
        """Make sure that a decision that is due is made though nothing arrives."""
        due = self.step.next_decision
        if not self.options.timers or (due == self._armed and self._timer is not None):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = due
        if due:
            wait = max(due + 1 - self.clock(), 0) / NS_PER_S
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        due = self.step.next_decision
        if due and not self._inbox:  # else a row that is there already decides
            self.put("clock", rows_of({"kind": EventKind.CLOCK}), at=max(self.now(), due + 1))
        else:
            self._arrived.set()

    # -- one turn

    def _turn(self) -> None:
        """Take what came, let the step decide, write all of it down, and hand over what is to be sent."""
        arrivals, count = [], 0
        while self._inbox and (not arrivals or count + len(self._inbox[0].rows) <= BATCH_ROWS):
            arrivals.append(self._inbox.popleft())
            count += len(arrivals[-1].rows)
        try:
            self._decide(arrivals)
        except DataError as error:
            if len(arrivals) > 1:  # only the one that cannot be taken in is left out
                self._inbox.extendleft(reversed(arrivals))
                for _ in arrivals:
                    self._one_turn()
            else:
                self._leave_out(arrivals[0], error)

    def _one_turn(self) -> None:
        arrival = self._inbox.popleft()
        try:
            self._decide([arrival])
        except DataError as error:
            self._leave_out(arrival, error)

    def _leave_out(self, arrival: Arrival, error: DataError) -> None:
        self.dropped += len(arrival.rows)
        self.incident("rows that cannot be taken in", source=arrival.source, error=str(error))
        if arrival.source in self._feeds:
            self.put(arrival.source, rows_of({"kind": EventKind.FEED_DOWN}))

    def _decide(self, arrivals: list[Arrival]) -> None:
        began = time.perf_counter_ns()
        rows = (
            arrivals[0].rows
            if len(arrivals) == 1
            else np.concatenate([np.zeros(0, EVENT), *(a.rows for a in arrivals)])
        )
        if self.own is not None:
            at = 0
            for arrival in arrivals:
                if arrival.source in self._feeds:
                    self.own.adjust(rows[at : at + len(arrival.rows)])
                at += len(arrival.rows)
        made = self.step.run(rows)
        decisions, actions, samples = made.decisions.copy(), made.actions.copy(), made.samples.copy()
        self.rows += len(rows)
        note: dict[str, Any] = {}
        names = [key for a in arrivals for key in (a.keys or ("",) * len(a.rows))]
        if any(names):
            note["keys"] = [[int(seq), key] for seq, key in zip(rows["seq"], names, strict=True) if key]
        self.orders.heard(rows, names)
        if self.port is not None and len(rows):
            self.port.observe(rows)
        to_venue = actions[actions["kind"] < TO_PEOPLE]
        requests = self._prepare(to_venue) if len(to_venue) else []
        digests = {int(r.action["order_id"]): r.key for r in requests if r.action["kind"] == ActionKind.SUBMIT}
        if requests:
            note["orders"] = [[number, key] for number, key in digests.items()]
            refused = [[int(r.action["order_id"]), r.refused, r.why] for r in requests if r.refused]
            note |= {"refused": refused} if refused else {}
        self.orders.sent(actions, digests)
        if self.own is not None and len(mended := self.own.heard(rows, actions, self._last)):
            self.put("own orders", mended)
        for arrival in arrivals:
            if arrival.state:
                note.setdefault("state", {}).update(arrival.state)
                self.notes.update(arrival.state)
            if arrival.note:
                note.setdefault("said", []).append({"what": arrival.source, **arrival.note})
        if self._said:
            note.setdefault("said", []).extend(self._said)
            self._said = []
        records = [
            (RecordKind.EVENTS, rows),
            (RecordKind.DECISIONS, decisions),
            (RecordKind.ACTIONS, actions),
            (RecordKind.SAMPLES, samples),
        ]
        if note:
            records.append((RecordKind.NOTE, note))
        urgent = bool(requests) or bool(note)
        if self.resident is not None and (happened := self.resident.journal()):
            note["venue"] = happened
            records = [one for one in records if one[0] is not RecordKind.NOTE] + [(RecordKind.NOTE, note)]
        self.writer.commit(
            records, partial(self._written, asyncio.get_running_loop(), requests, began) if urgent else None
        )
        self._look_at_halt()
        if self.observe is not None:
            self.observe(rows, decisions, actions)
        for watch in self.watchers:
            watch(rows, decisions, actions)

    def _prepare(self, actions: np.ndarray) -> list[Request]:
        """Requests for the actions; those that are not to be sent are denied instead."""
        if self.port is None or not self.options.sends:
            self._deny([Request(action.copy(), "") for action in actions], Code.EXEC_NOT_SENT_DRY_RUN)
            return []
        try:
            return self.port.prepare(actions, self.now())
        except Exception as error:  # noqa: BLE001 - nothing was sent; the step hears of it and people too
            self.incident("orders could not be prepared", error=str(error))
            self._deny([Request(action.copy(), "") for action in actions], Code.EXEC_NOT_SENT_UNPREPARED)
            return []

    def _written(
        self, loop: asyncio.AbstractEventLoop, requests: list[Request], began: int, error: BaseException | None
    ) -> None:
        """In the writing thread: the batch is on the disk, or never will be."""
        if requests and error is None:
            self._durable.append(time.perf_counter_ns() - began)
        if requests or error is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: so is the run
                loop.call_soon_threadsafe(self._hand_over, requests, error)

    def _hand_over(self, requests: list[Request], error: BaseException | None) -> None:
        if error is not None:
            self._failed = self._failed or error
            self._stop.set()
        elif self.outbox is not None:
            self.outbox.put(requests)

    def _deny(self, requests: Sequence[Request], why: Code) -> None:
        """Tell the step that these were not sent."""
        for request in requests:
            action, kind = request.action, int(request.action["kind"])
            told = {"market": int(action["market"]), "aux": int(action["order_id"])}
            if kind == ActionKind.SUBMIT:
                # A refusal of the venue's side counts against it; what we keep back ourselves is no error of anybody.
                ours = why in (Code.EXEC_NOT_SENT_DRY_RUN, Code.EXEC_NOT_SENT_HALTED, Code.EXEC_NOT_SENT_STOPPING)
                end = EventKind.CANCEL if ours else EventKind.ORDER_REJECT
                said = [{**told, "kind": end, "size": int(why)}]
                if why == Code.EXEC_NOT_SENT_DRY_RUN:  # an approval is for one rehearsal, or the step sends it for ever
                    spent = {"kind": EventKind.APPROVAL, "aux": int(action["corr"]), "size": int(Answer.EXPIRED)}
                    said.append({**told, **spent})
                self.put("runner", rows_of(*said))
            elif kind in _SETS:
                self.put("runner", rows_of({**told, "kind": _SETS[ActionKind(kind)]}))

    # -- halting

    @property
    def halted(self) -> bool:
        """Trading is halted: a bot latched the kill switch or a person armed it."""
        account = self.step.state.account[0]
        return bool(account["halted"] or account["switch"])

    @property
    def stopping(self) -> bool:
        """The run comes to its end."""
        return self._stopping

    @property
    def swept_out(self) -> bool:
        """Trading is halted and the venue has confirmed that nothing rests."""
        return self._halted and not self._stopping and self._sweeping is not None and self._sweeping.done()

    def arm(self, why: str, *rows: dict[str, int]) -> None:
        """Arm the kill switch: a person must clear it. rows: SWITCH rows of narrower ones; none = the global one."""
        given = rows or ({"kind": EventKind.SWITCH, "size": 1},)
        note: dict[str, Any] = {"armed": why, "ts": self.now()}
        if self.outbox is not None:  # at once; the rows take their way
            markets = {int(row.get("market", -1)) for row in given}
            if -1 in markets:
                self.outbox.close(Code.EXEC_NOT_SENT_HALTED)
            else:
                self.outbox.bar(markets)
            if flying := sorted(self.outbox.port.under_way):
                note["on_the_wire"] = flying  # nothing but these can still reach the venue
        self.put("runner", rows_of(*given), note=note)

    def disarm(self, *rows: dict[str, int]) -> np.ndarray:
        """Let go of what SWITCH rows with size 0 name; EVENT rows to be put, which say so to the step."""
        if self.outbox is not None:
            self.outbox.lift({int(row.get("market", -1)) for row in rows})
        return rows_of(*rows)

    def _look_at_halt(self) -> None:
        halted = self.halted
        if halted == self._halted or self._starting:  # nobody is there yet who could be asked to cancel
            return
        self._halted = halted
        self.halting(halted)
        if self.outbox is None:
            return
        if halted:
            account = self.step.state.account[0]
            self.incident("trading halted", code=int(account["halted"]), switch=int(account["switch"]))
            self.outbox.close(Code.EXEC_NOT_SENT_HALTED)
            if flying := sorted(self.outbox.port.under_way):
                self.say("on the wire when trading was halted", orders=flying)
            self._sweep_soon()
        else:
            self.say("trading goes on")
            if not self._stopping:
                self.outbox.reopen()

    def _sweep_soon(self) -> None:
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep(), name="sweep")

    async def _sweep(self) -> None:
        """Cancel whatever rests, again and again, until the venue lists nothing and every order has its end."""
        assert self.port is not None and self.outbox is not None
        began, asked, wait, absent, least = time.monotonic(), 0, SWEEP_FIRST, 0.0, 0
        while self._halted or self._stopping:
            asked += 1
            try:
                await self.port.cancel_all()
                left = await self.port.open_orders()
                if not left and self.outbox.idle:
                    absent = absent or time.monotonic()
                    if not self.orders.open():
                        break
                    await self.port.reconcile()
                elif left:
                    absent = 0.0
                    if not least or len(left) < least:  # it gets on: no reason to wait longer
                        least, wait = len(left), SWEEP_FIRST
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                self.incident("cancelling did not work", error=str(error))
            await asyncio.sleep(wait)
            wait = min(2 * wait, SWEEP_LONGEST)
        self.swept = {
            "asked": asked,
            "ms_until_absent": round(1e3 * ((absent or time.monotonic()) - began), 3),
            "ms_until_known": round(1e3 * (time.monotonic() - began), 3),
        }
        self.say("nothing rests at the venue", **self.swept)

    # -- in the background

    async def _keep_house(self) -> None:
        reconciled = self.now()
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            self.writer.commit([], self._nothing)  # what nobody waits for gets to the disk too
            self._snapshot_if_due()
            if self.port is not None and self.now() - reconciled >= self.options.reconcile_every:
                reconciled = self.now()
                await self._reconcile()

    async def _reconcile(self) -> None:
        assert self.port is not None
        found = await self.port.reconcile()
        self._reconciled = {"ts": self.now(), **found}
        if found.get("differences"):
            self.incident("the venue knows otherwise", **found)

    def _nothing(self, error: BaseException | None) -> None:
        """Nobody waits for this one."""

    def _snapshot_if_due(self, now: bool = False) -> None:
        new = self.step.seq - self._snapshot_seq
        old = self.now() - self._snapshot_at >= self.options.snapshot_every
        if self._freezing or not new or not (now or new >= self.options.snapshot_events or old):
            return
        self._freezing = True
        state, resident = self.step.state, self.resident
        if resident is not None and not now:  # its journal belongs before the snapshot
            self._decide([])
        self._snapshot_seq, self._snapshot_at = self.step.seq, self.now()
        books: dict[str, Any] = {"orders": self.orders.as_data(), "notes": self.notes}
        layout, arrays = layout_of(state), freeze(state)
        if resident is not None:
            frozen = resident.freeze()
            books["venue"] = frozen.books
            layout |= {VENUE + name: shape for name, shape in frozen.layout.items()}
            arrays |= {VENUE + name: data for name, data in frozen.arrays.items()}
        parts = (self.step.seq, fixed(books), layout, arrays)
        self.writer.mark(lambda at: self._snapshots.submit(self._write_snapshot, at, *parts))

    def _write_snapshot(self, at: Position, seq: int, books: Any, layout: Any, arrays: Any) -> None:
        try:
            write_snapshot(self.folder, seq, at, books, layout, arrays)
        except OSError as error:
            log.error("no snapshot: %s", error)
        finally:
            self._freezing = False

    # -- the end

    async def _wind_down(self) -> None:
        self._stopping = True
        self.say("stopping")
        self.put("runner", rows_of({"kind": EventKind.FEED_DOWN}))
        if self.outbox is None:
            return
        self.outbox.close(Code.EXEC_NOT_SENT_STOPPING)
        self._sweep_soon()
        assert self._sweeping is not None
        try:
            async with asyncio.timeout(self.options.stop_timeout / NS_PER_S):
                await self._sweeping
        except TimeoutError:
            self.incident("the venue did not confirm that nothing rests", orders=self.orders.open())
        while self._inbox or not self.outbox.idle:
            await asyncio.sleep(0.01)

    async def _close(self) -> dict[str, Any]:
        from polytraders.engine.backtest import Simulation
        from polytraders.run.backtest import summarise

        seconds = (self.now() - self.started) / NS_PER_S
        summary = summarise(Simulation(self.step.state, None, self.step.seq, seconds), self.pipeline)
        summary |= {"flushed": False, "orphans": self.orders.open(), "incidents": len(self.incidents)}

        def finish() -> str:
            self.writer.flush()
            while self._freezing:
                time.sleep(0.005)
            self._snapshot_if_due(now=True)
            self.writer.sync()
            self._snapshots.shutdown()
            return self.writer.close(summary)

        summary["log_hash"] = await asyncio.to_thread(finish)
        return summary

    def health(self) -> dict[str, Any]:
        """The state of the process, for people."""
        durable = np.array(self._durable or [0], np.int64) / NS_PER_MS
        return {
            "now": self.now(),
            "seq": self.step.seq,
            "inbox": len(self._inbox),
            "log_backlog": self.writer.backlog,
            "outbox": self.outbox.waiting if self.outbox else 0,
            "halted": self.halted,
            "stopping": self._stopping,
            "dropped": self.dropped,
            "open_orders": len(self.orders.open()),
            "durable_ms": {f"p{q}": round(float(np.percentile(durable, q)), 3) for q in (50, 99)},
            "tasks": self.supervisor.health(),
            "feeds": self.feed_health(),
            "venue": self.port.health() if self.port is not None else {},
            "reconciled": self._reconciled,
            "incidents": list(self.incidents)[-20:],
            **{name: state() for name, state in self._healths.items()},
        }
