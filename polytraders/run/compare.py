"""A run laid beside a backtest of the day it saw: what differs, and why.

The run's own log is the recording: the market events as the step took them in, and what the run measured of its
surroundings. They go once more through the same bots with the same configuration, this time with the simulated venue
and with nobody to ask. Then decisions, orders, answers, fills, positions and cash of the two are paired, and every
difference is put down with its cause.

How a cause is known
    The step is a function of what it hears. That the run's decisions are the ones its log gives is proved first, by a
    replay. So a difference begins with something that one of the two heard and the other did not, or heard at another
    time: an answer of the venue, an answer or an order of a person, a gate. Those are the *roots*; each is found in the
    rows themselves. Everything else follows from the last root before it, in its own market if there is one. What has
    no root before it, a fill that no recorded trade or loss of depth can have made, and money that the differences do
    not add up to are *unexplained*.

Invariants
    C1  the differences' money adds up to the difference of cash, and their shares to that of each position, to the
        micro-pUSD and the micro-share; what is left over is a difference of its own, and unexplained
    C2  no difference without a cause; a cause is a name in CAUSES
    C3  nothing in the run's folder is changed
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from polytraders.engine.backtest import Collected, Simulation, simulate
from polytraders.engine.setup import Pipeline
from polytraders.errors import UsageError
from polytraders.reasons import Code, by_number
from polytraders.rows import DECISION, TO_PEOPLE, ActionKind, Answer, EventKind, Gate, Outcome, Scope, Side
from polytraders.run.lives import Fill, Life, holdings, lives
from polytraders.run.pipeline import pipeline_from_manifest
from polytraders.run.replay import Rederived, judge, rederive
from polytraders.store.log import RecordKind, read_log
from polytraders.units import NS_PER_MS, NS_PER_S, ONE, iso_utc, money_text, price_text, size_text

CAUSES = {
    "dry": "The run sends nothing in this mode: what it decided was written down and kept back.",
    "gate": "An order of the run waits for a person; the backtest asks nobody.",
    "switch": "A kill switch was on in the run, or trading was halted; the backtest has none.",
    "people": "A person told the run something: a changed limit, or an exit.",
    "service": "The run heard of its account what only a venue tells: a balance, failed calls, a shortfall.",
    "latency": "Answers came later or earlier than the latency model has them.",
    "queue": "What a resting order fills depends on the orders before it: the venue's queue is not the model's.",
    "liquidity": "A taking order met another book than the recorded one.",
    "venue_reject": "The venue refused what the simulated venue took.",
    "simulator_reject": "The simulated venue refused what the venue took.",
    "venue_cancel": "One of the two venues ended an order that nobody had asked it to end.",
    "stopping": "The run came to its end: it sent nothing more and cancelled what rested.",
    "restart": "The run was taken over by another process; for a while it heard nothing.",
    "settlement": "A match is provisional until the chain has it: when that was told, and whether the chain took it.",
    "fees": "The same match was charged differently.",
    "claims": "The run's winnings are claimed by an intent of their own; the backtest is paid by its model.",
    "recording": "The recording and what the run heard are not the same events.",
    "unexplained": "Nothing in the log explains this.",
}
"""Cause -> what it means, in one sentence."""

TAPE = tuple(
    EventKind[name]
    for name in (
        *("BOOK_CLEAR", "LEVEL", "CHANGE", "TRADE", "TICK_SIZE", "STATUS", "RESOLUTION", "CLOCK"),
        *("FEED_UP", "FEED_DOWN", "FEES", "TAKER_DELAY", "FLAGS"),
    )
)
"""Rows that speak of the market and not of the run."""
GATED = tuple(
    code for code in Code
    if code.name.startswith(("EXEC_PROPOS", "EXEC_APPROV")) or code is Code.EXEC_DRY_RUN
)  # fmt: skip
"""Codes of decisions that only a gate makes."""
DENIED = {
    Code.EXEC_NOT_SENT_DRY_RUN: "dry",
    Code.EXEC_NOT_SENT_HALTED: "switch",
    Code.EXEC_NOT_SENT_STOPPING: "stopping",
}
"""What the runner keeps back itself -> cause."""
PRINT_WITHIN = 10 * NS_PER_S
"""ns around a fill in which the recording must show what it can have come from: the venue tells of trades on two
channels, and the slower one may be this far behind (facts.md: prints lag matches by seconds)."""
_SHAPE = ("bot", "market", "slot", "verdict", "severity", "code", "outcome", "side", "mode", "warned")
_TOLD = ("ts", *_SHAPE, "price", "size", "out_price", "out_size", "terms")
"""Fields of a decision that are compared: not its numbers in the stream, nor how often it was said before."""


@dataclass(frozen=True)
class Difference:
    """One thing in which the two differ."""

    what: str  # decision | order | answer | fill | sets | payout | position | cash
    cause: str  # of CAUSES
    ts: int  # ns
    market: int  # -1 = of the whole run
    why: str
    live: dict[str, Any] | None = None
    backtest: dict[str, Any] | None = None
    money: int = 0  # micro-pUSD that the run has more than the backtest by it
    yes: int = 0  # micro-shares likewise
    no: int = 0
    follows: bool = False  # it follows from a root of this cause; it is none itself
    count: int = 1


@dataclass
class Comparison:
    """A run beside the backtest of its day."""

    run_id: str
    mode: str
    recording: str
    replay: dict[str, Any]
    models: dict[str, Any]
    markets: list[str]
    totals: dict[str, dict[str, Any]]  # live, backtest -> counts and money (micro-pUSD)
    same: dict[str, int]  # decisions, orders, fills: how many agree in everything
    differences: list[Difference]
    first: dict[str, Any] | None  # the first decision at which they part
    notes: list[str] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Difference]:
        return [one for one in self.differences if one.cause == "unexplained"]

    @property
    def ok(self) -> bool:
        """Every difference has a cause, and the run's log gives its decisions again."""
        return not self.unexplained and bool(self.replay["ok"])

    def causes(self) -> list[dict[str, Any]]:
        """One row a cause: what it means, how many of each kind, the money, the first time."""
        rows = []
        for cause, meaning in CAUSES.items():
            mine = [one for one in self.differences if one.cause == cause]
            if mine:
                counts: Counter[str] = Counter()
                for one in mine:
                    counts[one.what] += one.count
                rows.append(
                    {"cause": cause, "meaning": meaning, "counts": dict(counts), "money": sum(o.money for o in mine),
                     "first": min((o.ts for o in mine), default=0),
                     "roots": sum(o.count for o in mine if not o.follows)}
                )  # fmt: skip
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As JSON tells it; money as decimal text."""
        told = [
            {**{k: v for k, v in asdict(one).items() if k not in ("money", "ts", "market", "yes", "no")},
             "time": iso_utc(one.ts) if one.ts else None, "ts_ns": one.ts,
             "market": self.markets[one.market] if one.market >= 0 else None,
             "money": money_text(one.money), "yes": size_text(one.yes), "no": size_text(one.no)}
            for one in self.differences
        ]  # fmt: skip
        money = ("cash", "fees", "equity")
        return {
            "run_id": self.run_id,
            "run_mode": self.mode,
            "recording": self.recording,
            "ok": self.ok,
            "replay": self.replay,
            "models": self.models,
            "totals": {
                side: {k: money_text(v) if k in money else v for k, v in of.items()} for side, of in self.totals.items()
            },
            "same": self.same,
            "first_parting": self.first,
            "causes": [
                {**row, "money": money_text(row["money"]), "first": iso_utc(row["first"]) if row["first"] else None}
                for row in self.causes()
            ],
            "unexplained": len(self.unexplained),
            "differences": told,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class _Side:
    """What one of the two did."""

    events: np.ndarray
    decisions: np.ndarray
    actions: np.ndarray
    simulation: Simulation
    orders: dict[int, Life]


def compare(
    run_dir: Path, recording: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Comparison:
    """Backtest what a run saw and lay the two side by side.

    recording: name of one in the catalog to take the market events from instead of the run's own log.
    Raises UsageError for a backtest or a run that saw nothing, DamageError for a damaged log, ConfigError when this
    program refuses the run's settings.
    """
    log = read_log(run_dir, allow_torn=True)
    manifest = log.manifest
    if manifest["run_mode"] not in ("shadow", "paper", "live"):
        raise UsageError(
            f"{manifest['run_id']} is a {manifest['run_mode']}", where=str(run_dir),
            rule="a run on live data is laid beside a backtest", mend="name a run of mode shadow, paper or live",
        )  # fmt: skip
    again = rederive(log, progress)
    told = judge(log, again)
    live = _Side(
        again.logged[RecordKind.EVENTS], again.logged[RecordKind.DECISIONS], again.logged[RecordKind.ACTIONS],
        again.run, {},
    )  # fmt: skip
    pipeline = pipeline_from_manifest(manifest)
    tape = _tape(live.events, pipeline, manifest["bots"])
    if not len(tape):
        raise UsageError(f"{manifest['run_id']} heard nothing of any market", where=str(run_dir), mend="name another")
    heard, name = tape, "its own log"
    if recording is not None:
        tape, name = _recorded(recording, manifest, tape), recording
    back, models = _backtest(tape, manifest, pipeline)
    return _Work(manifest, pipeline, again, live, back, heard, tape, name, models, told.as_dict()).whole()


def _tape(events: np.ndarray, pipeline: Pipeline, bots: list[dict[str, Any]]) -> np.ndarray:
    """EVENT[n]: what a run heard that is not about itself."""
    mine = np.isin(events["kind"], TAPE)
    mine |= (events["kind"] == EventKind.SIGNAL) & (events["aux"] >= 0)
    mine |= _measured(events, bots)
    tape = events[mine].copy()
    tape["seq"] = np.arange(len(tape))
    return tape


def _measured(events: np.ndarray, bots: list[dict[str, Any]]) -> np.ndarray:
    """bool[n]: CONFIG rows of a slot that is no parameter: what the run measured for a bot, not what a person set."""
    config = events["kind"] == EventKind.CONFIG
    declared = np.array([len(bot["params"]) for bot in bots], np.int64)
    bot = np.clip(events["aux"], 0, len(declared) - 1)
    return config & (events["price"] >= declared[bot])


def _recorded(name: str, manifest: dict[str, Any], heard: np.ndarray) -> np.ndarray:
    """The rows of a recording for the run's markets and time, as rows of the run."""
    from polytraders.data.catalog import Catalog

    wanted = [market["condition_id"] for market in manifest["markets"]]
    first, last = int(heard["ts_recv"][0]), int(heard["ts_recv"][-1])
    session = Catalog().load(name, markets=wanted, start=first, end=last + 1)
    if not (session.events["ts_recv"] >= first).any():  # what stood in the books before is no event
        raise UsageError(
            f"{name} holds nothing of the time of {manifest['run_id']}", where="--recording",
            rule=f"the run heard its markets from {iso_utc(first)[:19]}Z to {iso_utc(last)[:19]}Z",
            mend="polytraders data ls says what the recordings hold",
        )  # fmt: skip
    place = {condition: at for at, condition in enumerate(wanted)}
    number = np.array([place[info.condition_id] for info in session.markets] + [-1], np.int32)
    tape = np.array(session.events)
    tape["market"] = number[tape["market"]]
    measured = heard[~np.isin(heard["kind"], TAPE)]
    tape = np.concatenate([tape, measured])
    tape = tape[np.argsort(tape["ts_recv"], kind="stable")]
    tape["seq"] = np.arange(len(tape))
    return tape


def _backtest(tape: np.ndarray, manifest: dict[str, Any], pipeline: Pipeline) -> tuple[_Side, dict[str, Any]]:
    from polytraders.config import settings_from
    from polytraders.run.backtest import venue_model

    settings = settings_from(manifest["config"], f"{manifest['run_id']}/manifest.json")
    venue, sink = venue_model(settings), Collected()
    infos = [SimpleNamespace(**market) for market in manifest["markets"]]
    options = {**manifest["engine"], "gate": int(Gate.OPEN)}
    simulation = simulate(
        tape, infos, pipeline, name=manifest["run_id"], venue=venue, sink=sink, keep_events=True, **options
    )
    events, decisions, actions = (_typed(sink.rows(kind)) for kind in ("events", "decisions", "actions"))
    last = int(tape["ts_recv"][-1])
    if len(decisions):
        decisions = decisions[decisions["ts"] <= last]  # the rest are counts that a live log leaves open
    return _Side(events, decisions, actions, simulation, {}), venue.names()


def _typed(table: np.ndarray) -> np.ndarray:
    """The rows without the record class that the kernels' buffers have."""
    return table if table.dtype.names is None else table.view(np.ndarray).view(np.dtype(table.dtype.descr))


@dataclass
class _Root:
    """Where a difference begins."""

    ts: int
    market: int  # -1 = of the whole run
    cause: str


class _Work:
    """One comparison in the making."""

    def __init__(
        self, manifest: dict[str, Any], pipeline: Pipeline, again: Rederived, live: _Side, back: _Side,
        heard: np.ndarray, tape: np.ndarray, recording: str, models: dict[str, Any], replay: dict[str, Any],
    ):  # fmt: skip
        self.manifest, self.pipeline, self.again = manifest, pipeline, again
        self.heard, self.tape, self.recording, self.models, self.replay = heard, tape, recording, models, replay
        self.names = [market["slug"] for market in manifest["markets"]]
        self.bots = [bot["bot_id"] for bot in manifest["bots"]]
        self.gate = Gate(manifest["engine"].get("gate", int(Gate.OPEN)))
        self.live = _Side(live.events, live.decisions, live.actions, live.simulation, lives(live.events, live.actions))
        self.back = _Side(back.events, back.decisions, back.actions, back.simulation, lives(back.events, back.actions))
        self.roots: list[_Root] = []
        self.found: list[Difference] = []
        self.same: Counter[str] = Counter()
        self.pairs, self.only_live, self.only_back = _paired(self.live.orders, self.back.orders)
        self._index: dict[int, tuple[np.ndarray, list[str]]] = {}

    def whole(self) -> Comparison:
        """Find every difference; the roots first, then what follows from them."""
        self._of_inputs()
        self._of_gate()
        self._of_tapes()
        for one, other in self.pairs:
            self._of_pair(one, other)
        self.roots.sort(key=lambda root: root.ts)
        for one, other in self.pairs:
            if one.sent != other.sent:
                self._moved(one, other)
        for life in self.only_live:
            self._alone(life, True)
        for life in self.only_back:
            self._alone(life, False)
        first = self._of_decisions()
        self._of_money()
        if not self.replay["ok"]:
            self._tell("decision", "unexplained", self.start, -1, "the run's log does not give its own decisions again")
        self.found.sort(key=lambda one: (one.ts, one.what, one.market))
        return Comparison(
            self.manifest["run_id"], self.manifest["run_mode"], self.recording, self.replay, self.models, self.names,
            {"live": self._totals(self.live), "backtest": self._totals(self.back)}, dict(self.same), self.found, first,
            self._notes(),
        )  # fmt: skip

    @property
    def start(self) -> int:
        return int(self.live.events["ts_recv"][0]) if len(self.live.events) else 0

    def _tell(self, what: str, cause: str, ts: int, market: int, why: str, **more: Any) -> None:
        self.found.append(Difference(what, cause, ts, market, why, **more))

    def _root(self, ts: int, market: int, cause: str) -> None:
        self.roots.append(_Root(ts, market, cause))

    # -- roots in what was heard

    def _of_inputs(self) -> None:
        """What the run was told by people, by its venue about its account, and by its own end."""
        events, decided = self.live.events, {int(v): Answer(v).name.lower() for v in Answer}
        for row in events[np.isin(events["kind"], (EventKind.APPROVAL, EventKind.SWITCH, EventKind.EXIT))]:
            ts, market, kind = int(row["ts_recv"]), int(row["market"]), int(row["kind"])
            if kind == EventKind.SWITCH:
                word = f"switch {Scope(int(row['aux'])).name.lower()} {'armed' if row['size'] else 'cleared'}"
                reach = -1 if int(row["aux"]) == Scope.CLUSTER else market
                self._input("switch", ts, reach, word)
            elif kind == EventKind.APPROVAL:
                self._input("gate", ts, market, f"proposal {int(row['aux'])} {decided.get(int(row['size']), '?')}")
            else:
                self._input("people", ts, market, "an exit was asked for" if row["size"] else "no exit any more")
        config = (events["kind"] == EventKind.CONFIG) & ~_measured(events, self.manifest["bots"])
        for row in events[config]:
            bot = self.manifest["bots"][int(row["aux"])]
            name = bot["params"][int(row["price"])]["name"] if row["price"] < len(bot["params"]) else row["price"]
            self._input("people", int(row["ts_recv"]), int(row["market"]), f"{bot['bot_id']} {name} was set")
        own = (events["kind"] == EventKind.BALANCE) | ((events["kind"] == EventKind.SIGNAL) & (events["aux"] < 0))
        for row in events[own]:
            self._input("service", int(row["ts_recv"]), int(row["market"]), EventKind(int(row["kind"])).name.lower())
        claimed = events[events["kind"] == EventKind.REDEMPTION]
        paid = Counter(int(m) for m in self.back.events["market"][self.back.events["kind"] == EventKind.REDEMPTION])
        for row in claimed:
            if not paid[int(row["market"])]:
                self._input("claims", int(row["ts_recv"]), int(row["market"]), "winnings were claimed")
        for note in self._said():
            if note.get("what") == "session" and note.get("taken_over"):
                self._input("restart", int(note.get("ts", 0)), -1, "another process took the run over")
            elif note.get("what") == "stopping":
                self._input("stopping", int(note.get("ts", 0)), -1, "the run was told to stop")

    def _input(self, cause: str, ts: int, market: int, why: str) -> None:
        self._root(ts, market, cause)
        self._tell("input", cause, ts, market, why, live={"heard": why})

    def _said(self) -> Iterator[dict[str, Any]]:
        for note in self.again.notes:
            if isinstance(note, dict):
                yield from (said for said in note.get("said", ()) if isinstance(said, dict))

    def _of_gate(self) -> None:
        """Decisions that only a gate makes: from each on, the run lacks an order that the backtest sends."""
        if self.gate == Gate.OPEN or not len(self.live.decisions):
            return
        cause = "dry" if self.gate == Gate.DRY else "gate"
        table = self.live.decisions
        for row in table[np.isin(table["code"], GATED)]:
            self._root(int(row["ts"]), int(row["market"]), cause)

    def _of_tapes(self) -> None:
        """Events that stand in the recording or in the run's log and not in the other."""
        if self.tape is self.heard:
            return
        fields = ["market", "kind", "price", "size", "side", "aux"]
        wanted = np.isin(self.heard["kind"], TAPE[:7]), np.isin(self.tape["kind"], TAPE[:7])
        ours, theirs = self.heard[wanted[0]], self.tape[wanted[1]]
        for mine, table, word in (
            (True, *_only(ours, theirs, fields)[:1], "heard by the run, not recorded"),
            (False, *_only(ours, theirs, fields)[1:], "recorded, not heard by the run"),
        ):
            for (market, kind), rows in _grouped(table, ("market", "kind")):
                ts = int(rows["ts_recv"].min())
                for at in rows["ts_recv"]:
                    self._root(int(at), int(market), "recording")
                told = {"rows": len(rows), "kind": EventKind(int(kind)).name}
                self._tell(
                    "input", "recording", ts, int(market), f"{len(rows)} rows {EventKind(int(kind)).name}: {word}",
                    count=len(rows), **({"live": told} if mine else {"backtest": told}),
                )  # fmt: skip

    # -- orders

    def _of_pair(self, one: Life, other: Life) -> None:
        """The same order in both: what the two venues made of it."""
        market, quiet = one.market, len(self.found)
        if one.code in DENIED:
            cause = DENIED[Code(one.code)]
            self._answer(cause, one, other, _heard(one, other), f"the run kept it back: {_code(one.code)}")
        elif one.rejected and not other.rejected:
            self._answer("venue_reject", one, other, _heard(one, other), f"the venue refused it: {_code(one.code)}")
        elif other.rejected and not one.rejected:
            why = f"the simulated venue refused it: {_code(other.code)}"
            self._answer("simulator_reject", one, other, _heard(one, other), why)
        else:
            self._timing(one, other)
        self._fills(one, other)
        if len(self.found) == quiet and one.sent == other.sent:
            self.same["orders"] += 1
        assert market == other.market

    def _answer(self, cause: str, one: Life, other: Life, ts: int, why: str) -> None:
        self._root(ts, one.market, cause)
        self._tell("answer", cause, ts, one.market, why, live=_order(one), backtest=_order(other))

    def _timing(self, one: Life, other: Life) -> None:
        """When each of the two heard that the order was there, and that it was gone."""
        parts = []
        if one.acked and other.acked and one.acked - one.sent != other.acked - other.sent:
            parts.append(("accepted", one.acked - one.sent, other.acked - other.sent, one.acked, other.acked))
        if one.asked and other.asked and one.ended and other.ended and not one.rejected:
            gone, model = one.ended - one.asked, other.ended - other.asked
            if gone != model and one.code and other.code:
                parts.append(("cancelled", gone, model, one.ended, other.ended))
        for word, ours, theirs, at, then in parts:
            late = "later" if ours > theirs else "earlier"
            why = f"{word} {abs(ours - theirs) / NS_PER_MS:.1f} ms {late} than the model has it"
            why += f" ({ours / NS_PER_MS:.1f} and {theirs / NS_PER_MS:.1f} ms)"
            # where the two were not sent at the same time, that difference was there first
            self._answer("latency", one, other, min(at, then) if one.sent == other.sent else max(at, then), why)
        for life, at_live in ((one, True), (other, False)):
            if (
                life.ended
                and life.code
                and not life.asked
                and not life.rejected
                and life.code != _peer(life, one, other).code
            ):
                self._ended_alone(life, one, other, at_live)

    def _ended_alone(self, life: Life, one: Life, other: Life, at_live: bool) -> None:
        """An order that ended without the step having asked for it, in one of the two only."""
        cause, why = "venue_cancel", f"ended by the venue: {_code(life.code)}"
        if not at_live:
            why = f"ended by the simulated venue: {_code(life.code)}"
        elif (held := self._halted_at(life.ended, life.market)) is not None:
            cause, why = held
        self._answer(cause, one, other, life.ended, why)

    def _halted_at(self, ts: int, market: int) -> tuple[str, str] | None:
        """(cause, why) when the runner was cancelling what rested at that time."""
        stopping = [root.ts for root in self.roots if root.cause == "stopping" and root.ts <= ts]
        if stopping:
            return "stopping", "cancelled by the run at its end"
        if self._switched(ts, market):
            return "switch", "cancelled because a kill switch is on"
        return None

    def _switched(self, ts: int, market: int) -> bool:
        """A switch covers this market at that time, or a bot's halt does."""
        events = self.live.events
        rows = events[(events["kind"] == EventKind.SWITCH) & (events["ts_recv"] <= ts)]
        armed: set[tuple[int, int, int]] = set()
        for row in rows:
            key = int(row["aux"]), int(row["market"]), int(row["price"])
            (armed.add if row["size"] else armed.discard)(key)
        return any(at in (-1, market) or scope == Scope.CLUSTER for scope, at, _ in armed)

    def _fills(self, one: Life, other: Life) -> None:
        if len(one.voided) != len(other.voided):
            ts = min(fill.ts for fill in (*one.voided, *other.voided))
            where = "the run" if len(one.voided) > len(other.voided) else "the backtest"
            self._answer("settlement", one, other, ts, f"a match that the chain refused in {where}")
        if not one.fills and not other.fills:
            return
        if one.filled != other.filled:
            cause, why = self._why_filled(one, other)
        elif one.cash + one.fees != other.cash + other.fees:
            cause, why = "liquidity", "the same size at other prices"
        elif one.fees != other.fees:
            fees = f"{money_text(one.fees)} and {money_text(other.fees)} pUSD"
            cause, why = "fees", f"the same match, charged {fees}"
        else:
            self._same_fills(one, other)
            return
        ts = min(fill.ts for fill in (*one.fills, *other.fills))
        self._root(ts, one.market, cause)
        yes, no = _shares(one)
        less_yes, less_no = _shares(other)
        self._tell(
            "fill", cause, ts, one.market, why, live=_filled(one), backtest=_filled(other), money=one.cash - other.cash,
            yes=yes - less_yes, no=no - less_no,
        )  # fmt: skip

    def _same_fills(self, one: Life, other: Life) -> None:
        apart = max(abs(a.ts - b.ts) for a, b in zip(one.fills, other.fills, strict=False))
        if len(one.fills) == len(other.fills) and apart == 0:
            self._settled(one, other)
            return
        ts = min(one.fills[0].ts, other.fills[0].ts)
        self._root(ts, one.market, "latency")
        why = f"the same fill, heard of {apart / NS_PER_MS:.1f} ms apart"
        if len(one.fills) != len(other.fills):
            why = f"the same size, in {len(one.fills)} and {len(other.fills)} parts"
        self._tell("fill", "latency", ts, one.market, why, live=_filled(one), backtest=_filled(other))

    def _settled(self, one: Life, other: Life) -> None:
        """Fills that were heard of together: when was the chain's word on them?"""
        for mine, theirs in zip(one.fills, other.fills, strict=True):
            if (mine.provisional, mine.settled) == (theirs.provisional, theirs.settled):
                self.same["fills"] += 1
                continue
            waits = [f"{(f.settled - f.ts) / NS_PER_S:.3f} s" if f.settled else "not yet" for f in (mine, theirs)]
            why = f"the same fill, final after {waits[0]}, in the backtest after {waits[1]}"
            self._root(mine.ts, one.market, "settlement")
            self._tell("fill", "settlement", mine.ts, one.market, why, live=_filled(one), backtest=_filled(other))

    def _why_filled(self, one: Life, other: Life) -> tuple[str, str]:
        """The cause of unequal sizes of one order."""
        more, less, ours = (one, other, True) if one.filled > other.filled else (other, one, False)
        where = "at the venue and not in the simulator" if ours else "in the simulator and not at the venue"
        extra = size_text(more.filled - less.filled)
        for cause, codes in (("venue_reject", one), ("simulator_reject", other)):
            if codes.rejected:
                return DENIED.get(Code(codes.code), cause) if codes is one else cause, f"{extra} more {where}: refused"
        if one.code in DENIED:
            return DENIED[Code(one.code)], f"{extra} more {where}: the run kept the order back"
        if less.voided:
            return "settlement", f"{extra} more {where}: the chain refused a match of it"
        fill = more.fills[-1]
        if not fill.maker:
            return "liquidity", f"{extra} more {where}: the book was not the recorded one when the order came"
        if less.ended and fill.venue_ts >= less.ended:
            return "latency", f"{extra} more {where}, where the order was gone already"
        if less.acked and fill.venue_ts < less.sent:
            return "latency", f"{extra} more {where}, where the order was not there yet"
        if not less.acked and not less.fills:
            return "latency", f"{extra} more {where}, where nothing was heard of the order yet"
        seen = self._traded(more, fill)
        if seen:
            return "queue", f"{extra} more {where}: {seen}"
        if not ours:
            return "queue", f"{extra} more {where}: the model counts a loss of depth as trades"
        return "unexplained", f"{extra} more {where}, and the recording shows no trade that can have done it"

    def _traded(self, life: Life, fill: Fill) -> str:
        """What of the recording can have filled a resting order, '' for nothing."""
        price = life.price if life.outcome == Outcome.YES else ONE - life.price
        bid = (life.side == Side.BUY) == (life.outcome == Outcome.YES)
        tape = self.tape[self.tape["market"] == life.market]
        near = tape[np.abs(tape["ts_recv"] - fill.ts) <= PRINT_WITHIN]
        through = near["price"] <= price if bid else near["price"] >= price
        trades = near[(near["kind"] == EventKind.TRADE) & through]
        if len(trades):
            return f"{size_text(int(trades['size'].sum()))} shares traded there or through"
        gone = near[(near["kind"] == EventKind.CHANGE) & (near["price"] == price)]
        if len(gone):
            return "depth at its price went without a trade that was told"
        crossed = near[(near["kind"] == EventKind.CHANGE) & (near["size"] > 0)]
        over = crossed["price"] <= price if bid else crossed["price"] >= price
        other = crossed["side"] == (Side.SELL if bid else Side.BUY)
        return "the other side's quotes came to its price" if (over & other).any() else ""

    def _moved(self, one: Life, other: Life) -> None:
        ts = min(one.sent, other.sent)
        cause = self._before(ts, one.market)
        apart = (one.sent - other.sent) / NS_PER_MS
        word = "later" if apart > 0 else "earlier"
        why = f"the same order, sent {abs(apart):.1f} ms {word} than in the backtest"
        self._tell("order", cause, ts, one.market, why, live=_order(one), backtest=_order(other), follows=True)

    def _alone(self, life: Life, ours: bool) -> None:
        """An order of one of the two only, and what it traded."""
        cause, why = self._why_alone(life, ours)
        told = {"live": _order(life)} if ours else {"backtest": _order(life)}
        self._tell("order", cause, life.sent, life.market, why, follows=True, **told)
        if life.fills:
            sign = 1 if ours else -1
            yes, no = _shares(life)
            filled = {"live": _filled(life)} if ours else {"backtest": _filled(life)}
            self._tell(
                "fill", cause, life.fills[0].ts, life.market, f"fills of an order that only one has: {why}",
                money=sign * life.cash, yes=sign * yes, no=sign * no, follows=True, count=len(life.fills), **filled,
            )  # fmt: skip

    def _why_alone(self, life: Life, ours: bool) -> tuple[str, str]:
        if not ours:
            if self.gate == Gate.DRY:
                return "dry", "the run sends nothing"
            if self._switched(life.sent, life.market):
                return "switch", "a kill switch was on in the run"
            if self.gate == Gate.APPROVAL and (state := self._proposal(life)):
                return "gate", state
        cause = self._before(life.sent, life.market)
        where = "the run" if ours else "the backtest"
        if cause == "unexplained":
            return cause, f"only {where} sent it, though nothing had differed until then"
        return cause, f"only {where} sent it: the two were no longer in the same state"

    def _proposal(self, life: Life) -> str:
        """What people had said of the slot when the backtest sent an order of it."""
        actions = self.live.actions
        mine = actions[(actions["market"] == life.market) & (actions["slot"] == life.slot)]
        mine = mine[(mine["ts"] <= life.sent) & (mine["kind"] >= TO_PEOPLE)]
        if not len(mine):
            return ""
        last = mine[-1]
        if last["kind"] == ActionKind.WITHDRAW:
            return f"its proposal was over: {_code(int(last['expiry']))}"
        events = self.live.events
        given = events[(events["kind"] == EventKind.APPROVAL) & (events["aux"] == last["corr"])]
        given = given[given["ts_recv"] <= life.sent]
        if len(given) and int(given["size"][-1]) == Answer.APPROVED:
            return ""
        return "its proposal waited for a person"

    # -- what follows

    def _before(self, ts: int, market: int) -> str:
        """Cause of the last root until then: in this market or of the whole run, else in any."""
        mine, causes = self._roots_of(market)
        at = int(np.searchsorted(mine, ts, "right")) - 1
        if at >= 0:
            return causes[at]
        every, names = self._roots_of(-2)
        at = int(np.searchsorted(every, ts, "right")) - 1
        return names[at] if at >= 0 else "unexplained"

    def _roots_of(self, market: int) -> tuple[np.ndarray, list[str]]:
        """(ns, causes) of the roots that reach a market; -2 = all. Once all are known."""
        if market not in self._index:
            found = [root for root in self.roots if market == -2 or root.market in (-1, market)]
            self._index[market] = np.array([root.ts for root in found], np.int64), [root.cause for root in found]
        return self._index[market]

    def _of_decisions(self) -> dict[str, Any] | None:
        """Decisions of one of the two only, by bot, code, market and cause; the first of them all."""
        ours, theirs = _only(self.live.decisions, self.back.decisions, list(_TOLD))
        self.same["decisions"] = len(self.live.decisions) - len(ours)
        first: tuple[int, Difference, np.void] | None = None
        for at_live, table in ((True, ours), (False, theirs)):
            groups: dict[tuple[int, int, int, str, bool], list[np.void]] = defaultdict(list)
            for row in table:
                cause, direct = self._why_decided(row, at_live)
                groups[int(row["bot"]), int(row["code"]), int(row["market"]), cause, direct].append(row)
            for (bot, code, market, cause, direct), rows in groups.items():
                row = rows[0]
                told = self._decision(row) | {"rows": len(rows)}
                where = "run" if at_live else "backtest"
                why = f"{len(rows)} of {self._bot(bot)} {_code(code)} only in the {where}"
                one = Difference(
                    "decision", cause, int(row["ts"]), market, why, count=len(rows), follows=not direct,
                    **({"live": told} if at_live else {"backtest": told}),
                )  # fmt: skip
                self.found.append(one)
                if first is None or int(row["ts"]) < first[0]:
                    first = int(row["ts"]), one, row
        if first is None:
            return None
        ts, one, row = first
        return {
            "time": iso_utc(ts), "ts_ns": ts, "market": self.names[one.market] if one.market >= 0 else None,
            "cause": one.cause, "meaning": CAUSES[one.cause],
            "live": self._beside(ours, row), "backtest": self._beside(theirs, row),
        }  # fmt: skip

    def _why_decided(self, row: np.void, at_live: bool) -> tuple[str, bool]:
        """(cause, whether the row is itself where it begins)."""
        code = int(row["code"])
        if at_live and code in GATED:
            return ("dry" if code == Code.EXEC_DRY_RUN else "gate"), True
        if at_live and code == Code.RISK_KILL_SWITCH_ACTIVE and self._switched(int(row["ts"]), int(row["market"])):
            return "switch", True
        return self._before(int(row["ts"]), int(row["market"])), False

    def _beside(self, table: np.ndarray, row: np.void) -> list[dict[str, Any]]:
        """What one of the two alone decided in this market at this time."""
        mine = table[(table["ts"] == row["ts"]) & (table["market"] == row["market"])]
        return [self._decision(one) for one in mine]

    def _bot(self, number: int) -> str:
        return self.bots[number] if number < len(self.bots) else str(number)

    def _decision(self, row: np.void) -> dict[str, Any]:
        told = {"bot": self._bot(int(row["bot"])), "code": _code(int(row["code"])), "slot": int(row["slot"])}
        if row["size"]:
            told |= {"price": price_text(int(row["price"])), "size": size_text(int(row["size"]))}
        return told

    # -- money

    def _of_money(self) -> None:
        """Complete sets, payouts, and what is left over: cash and shares must add up (C1)."""
        count = len(self.names)
        ours = holdings(self.live.events, self.live.orders, count)
        theirs = holdings(self.back.events, self.back.orders, count)
        by_market: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        for one in self.found:
            if one.market >= 0:
                for at, value in enumerate((one.money, one.yes, one.no)):
                    by_market[one.market][at] += value
        end = int(self.tape["ts_recv"][-1])
        for market, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            if mine.sets != other.sets:
                sets = mine.sets - other.sets
                cause = self._before(end, market)
                self._tell(
                    "sets", cause, end, market, f"{size_text(abs(sets))} complete sets more or less turned into cash",
                    money=sets, yes=-sets, no=-sets, follows=True,
                )  # fmt: skip
                for at, value in enumerate((sets, -sets, -sets)):
                    by_market[market][at] += value
            self._paid(market, mine.paid - other.paid, by_market[market])
            self._left_over(market, mine, other, by_market[market])
        for side, found, name in ((self.live, ours, "run"), (self.back, theirs, "backtest")):
            account = side.simulation.state.account[0]
            own = sum(int(account[part]) for part in ("cash", "reserved", "unsettled", "receivable"))
            gap = own - int(account["deposits"]) - sum(one.cash for one in found)
            if gap:
                why = f"the {name}'s ledger has {money_text(gap)} pUSD that its fills do not give"
                self._tell("cash", "unexplained", end, -1, why, money=gap if side is self.live else -gap)

    def _paid(self, market: int, paid: int, so_far: list[int]) -> None:
        """What a resolution paid one of the two more: for the shares that it had more."""
        rows = self.live.events
        resolved = rows[(rows["kind"] == EventKind.RESOLUTION) & (rows["market"] == market)]
        yes, no = so_far[1], so_far[2]
        if not len(resolved) or not (paid or yes or no):
            return
        ts = int(resolved["ts_recv"][0])
        self._tell(
            "payout", self._before(ts, market), ts, market,
            f"the resolution paid for {size_text(yes)} YES and {size_text(no)} NO more or less",
            money=paid, yes=-yes, no=-no, follows=True,
        )  # fmt: skip
        for at, value in enumerate((paid, -yes, -no)):
            so_far[at] += value

    def _left_over(self, market: int, mine: Any, other: Any, told: list[int]) -> None:
        end = int(self.tape["ts_recv"][-1])
        for what, gap, value in (
            ("cash", mine.cash - other.cash - told[0], money_text),
            ("position", mine.yes - other.yes - told[1], size_text),
            ("position", mine.no - other.no - told[2], size_text),
        ):
            if gap:
                why = f"{value(gap)} are left over: the differences of the fills do not come to it"
                self._tell(what, "unexplained", end, market, why)
        cash, yes, no = mine.cash - other.cash, mine.yes - other.yes, mine.no - other.no
        if not (cash or yes or no):
            return
        causes = Counter(one.cause for one in self.found if one.market == market and (one.money or one.yes or one.no))
        cause = causes.most_common(1)[0][0] if causes else "unexplained"
        names = ", ".join(sorted(causes))
        said = {"cash": f"{money_text(cash)} pUSD" if cash else "",
                "position": f"{size_text(yes)} YES and {size_text(no)} NO" if yes or no else ""}  # fmt: skip
        for what, value in said.items():
            if value:
                self._tell(
                    what, cause, end, market, f"at the end the run has {value} more than the backtest: from {names}",
                    live={"cash": money_text(mine.cash), "yes": size_text(mine.yes), "no": size_text(mine.no)},
                    backtest={"cash": money_text(other.cash), "yes": size_text(other.yes), "no": size_text(other.no)},
                    follows=True,
                )  # fmt: skip

    def _totals(self, side: _Side) -> dict[str, Any]:
        account = side.simulation.state.account[0]
        own = sum(int(account[part]) for part in ("cash", "reserved", "unsettled", "receivable"))
        return {
            "decisions": len(side.decisions),
            "orders": len(side.orders),
            "fills": sum(len(life.fills) for life in side.orders.values()),
            "rejects": sum(life.rejected for life in side.orders.values()),
            "fees": sum(life.fees for life in side.orders.values()),
            "cash": own,
            "equity": int(account["equity"]),
        }

    def _notes(self) -> list[str]:
        told = []
        own = sum(life.filled for life in self.live.orders.values())
        if self.manifest["run_mode"] == "live" and self.live.orders:
            told.append(
                f"What the run did is in what it saw: its own resting orders stand in the recorded books, and "
                f"{size_text(own)} of the recorded trades' shares are its own fills."
            )
        told.append(
            "The two are compared by what was concluded: bot, code, verdict, price and size. How often a bot had said "
            "the same before, and what it measured on the way, are not."
        )
        return told


def _paired(ours: dict[int, Life], theirs: dict[int, Life]) -> tuple[list[tuple[Life, Life]], list[Life], list[Life]]:
    """(pairs, only ours, only theirs): orders of the same shape, each with the one nearest in time.

    Two of them are one order when they were in force at the same time, or at least sent within PRINT_WITHIN.
    """
    waiting: dict[tuple[int, ...], list[Life]] = defaultdict(list)
    for life in theirs.values():
        waiting[life.shape].append(life)
    pairs, alone, used = [], [], set()
    for exact in (True, False):
        for life in ours.values():
            if life.id in used:
                continue
            free = [other for other in waiting[life.shape] if (exact and other.sent == life.sent) or
                    (not exact and _together(life, other))]  # fmt: skip
            if not free:
                continue
            best = min(free, key=lambda other: abs(other.sent - life.sent))
            waiting[life.shape].remove(best)
            used.add(life.id)
            pairs.append((life, best))
    alone = [life for life in ours.values() if life.id not in used]
    left = [life for lives_ in waiting.values() for life in lives_]
    return pairs, alone, sorted(left, key=lambda life: life.sent)


def _together(one: Life, other: Life) -> bool:
    far = 1 << 62
    apart = abs(one.sent - other.sent)
    return apart <= PRINT_WITHIN or (one.sent <= (other.ended or far) and other.sent <= (one.ended or far))


def _peer(life: Life, one: Life, other: Life) -> Life:
    return other if life is one else one


def _heard(one: Life, other: Life) -> int:
    """ns, when the first of two orders that were sent together had an answer; of others the second."""
    first = [min(filter(None, (life.acked, life.ended)), default=life.sent) for life in (one, other)]
    return min(first) if one.sent == other.sent else max(first)


def _only(ours: np.ndarray, theirs: np.ndarray, fields: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(rows of ours, rows of theirs) that the other has not, counted: a row that stands twice has two counterparts."""
    if not len(ours) or not len(theirs):
        return ours, theirs
    both = np.concatenate([_packed(ours, fields), _packed(theirs, fields)])
    _, number = np.unique(both, return_inverse=True)
    mine, other = number[: len(ours)], number[len(ours) :]
    top = int(number.max()) + 1
    return ours[_beyond(mine, np.bincount(other, minlength=top))], theirs[
        _beyond(other, np.bincount(mine, minlength=top))
    ]


def _beyond(number: np.ndarray, had: np.ndarray) -> np.ndarray:
    """bool[n]: the k-th of a number, k beyond how many of it the other has."""
    order = np.argsort(number, kind="stable")
    ranked = number[order]
    first = np.searchsorted(ranked, ranked, "left")
    rank = np.empty(len(number), np.int64)
    rank[order] = np.arange(len(number)) - first
    return rank >= had[number]


def _packed(table: np.ndarray, fields: list[str]) -> np.ndarray:
    """The chosen fields of each row as one opaque value."""
    columns = np.column_stack([table[name].astype(np.int64) for name in fields])
    return np.ascontiguousarray(columns).view([("", np.int64)] * len(fields)).reshape(-1)


def _grouped(table: np.ndarray, fields: Iterable[str]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    names = list(fields)
    if len(table):
        keys = _packed(table, names)
        for key in np.unique(keys):
            yield tuple(int(v) for v in key), table[keys == key]


def _shares(life: Life) -> tuple[int, int]:
    signed = life.filled if life.side == Side.BUY else -life.filled
    return (signed, 0) if life.outcome == Outcome.YES else (0, signed)


def _code(number: int) -> str:
    return by_number(number).name if number else "filled"


def _order(life: Life) -> dict[str, Any]:
    told = {
        "order": life.id, "slot": life.slot, "side": Side(life.side).name, "outcome": Outcome(life.outcome).name,
        "price": price_text(life.price), "size": size_text(life.size), "sent": iso_utc(life.sent),
    }  # fmt: skip
    for name, at in (("accepted_ms", life.acked), ("ended_ms", life.ended)):
        if at:
            told[name] = round((at - life.sent) / NS_PER_MS, 3)
    return told | ({"end": _code(life.code)} if life.ended else {"end": "open"})


def _filled(life: Life) -> dict[str, Any]:
    return {
        "order": life.id, "side": Side(life.side).name, "outcome": Outcome(life.outcome).name,
        "filled": size_text(life.filled), "cash": money_text(life.cash), "fees": money_text(life.fees),
        "parts": [[price_text(fill.price), size_text(fill.size), iso_utc(fill.ts)] for fill in life.fills],
    }  # fmt: skip


assert DECISION.names is not None and set(_TOLD) <= set(DECISION.names)
