"""A run and its people: proposals go to the desk, answers and switches come back as recorded events.

The step asks (PROPOSE), the desk shows, a person or a policy answers, and the answer enters the step as a row of the
log, so that a replay hears the same answers at the same places. All that touches the database runs in one thread of
its own; the loop never waits for it.

Invariants
    M1  an action of the mailbox is heard once: the seq of the last one is in the log with the row it became
    M2  an approval carries the hash of what was shown; the step holds it against its own proposal
    M3  while the desk cannot be reached nothing new is approved: proposals expire
    M4  a switch stops what its scope names and no more, and clearing it takes back no other (`run.switches`)
    M5  a run that stops itself says so on the desk, as a switch that a person clears: a live one of its strategy, any
        other of itself alone
    M6  an override, a limit of the portfolio and a scope that change meanwhile reach the step as rows (`run.changes`,
        `run.bounds`); what cannot be applied here is an incident, never silence
    M7  before its first row a run of a saved portfolio has its share of the limits that all its runs have together
        (`run.sharing`)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders import units
from polytraders.reasons import Code, by_number
from polytraders.risk.killswitch import fall_ppm
from polytraders.rows import ActionKind, Answer, EventKind, Scope
from polytraders.run.binding import Bound, caps_of, limits_now, unbind
from polytraders.run.bounds import NO_CAP, Bounds
from polytraders.run.changes import Changes
from polytraders.run.drift import Drift
from polytraders.run.gauges import Gauges
from polytraders.run.live import Runner, rows_of
from polytraders.run.sharing import Sharing
from polytraders.run.shown import Shown
from polytraders.run.switches import Switches, whole_run
from polytraders.run.told import Told

if TYPE_CHECKING:
    from polytraders.bots import Conclusion
    from polytraders.config import Settings
    from polytraders.run.launch import Launched
    from polytraders.store.desk import Action, Proposal

Work = Callable[[], Any] | tuple[Callable[[Sequence[Any]], None], Any]
"""Something to be done at the desk; or who puts several of a kind down there, and one of them."""
POLL = 0.05
"""s between two looks into the mailbox."""
GROUP = 256
"""Most of what waits for the desk that goes there together."""
BEAT = 1.0
"""s between two reports of the run to the desk."""
MAILBOX = "mailbox"
"""Name under which the log keeps the seq of the last action that was heard."""
SWITCHES = "switches"
"""Name under which the log keeps the desk's switches that hold in this run."""
CHANGES = "changes"
"""Name under which the log keeps the overrides and limits in force."""
BOUNDS = "bounds"
"""Name under which the log keeps what is said of the markets beyond their lists."""
LOW_31 = (1 << 31) - 1
TRIGGERS = {
    Code.RISK_DRAWDOWN_BREACH: "drawdown_intraday",  # or drawdown_weekly, feed_loss or stale_data: see _cause
    Code.RISK_DAILY_LOSS_BREACH: "daily_loss",
    Code.RISK_TOTAL_DRAWDOWN_BREACH: "drawdown_total",
    Code.RISK_REJECT_RATE_BREACH: "reject_rate",
    Code.RISK_FEED_LOST: "feed_loss",
    Code.RISK_API_ERROR_RATE_BREACH: "api_errors",
    Code.RISK_WALLET_SHORTFALL: "wallet_shortfall",
}
"""Code of a latch -> trigger of the desk's switch; any other: api_errors."""
LOSSES = (Code.RISK_DRAWDOWN_BREACH, Code.RISK_DAILY_LOSS_BREACH, Code.RISK_TOTAL_DRAWDOWN_BREACH)
"""Latches of limits that the losses of other runs lower."""
BESIDE = ("guard", "brake", "services")
"""What a run that sends tells of the bots beside its step: the guard's state, who holds opening back, last findings."""
UNITS_OF = {Code.RISK_WALLET_SHORTFALL: "micro-pUSD", Code.RISK_FEED_LOST: "ns"}
"""Unit of what a latch measured; any other: ppm."""


class Control:
    """The desk's side of a run.

    Parameters
    ----------
    desk: the desk's database (`store.desk.open_desk`); closed with `close`.
    bound: the run's launch and limits, None = nothing but its settings bounds it.
    """

    def __init__(self, desk: Any, launched: Launched, settings: Settings, bound: Bound | None = None):
        from polytraders.store import desk as desks

        self.desk, self.api, self.settings, self.launched = desk, desks, settings, launched
        self.run_id = launched.run_id
        self.bots = launched.manifest["bots"]
        self.infos = launched.step.infos
        self.strategy = launched.manifest["strategy"]
        self.proposals: dict[int, tuple[int, int]] = {}  # corr -> (market, hash) of what people were asked
        self.failures = 0
        self._clusters: dict[str, frozenset[str] | None] = {}
        self.switches = Switches(
            settings.portfolio.id, self.strategy, [info.condition_id for info in self.infos],
            [bot["bot_id"] for bot in self.bots], self._clusters.get, launched.notes.get(SWITCHES), self.run_id,
        )  # fmt: skip
        self.bound = bound or Bound(settings)
        self.changes = Changes(
            launched.pipeline, settings.portfolio.id, self.strategy, [info.condition_id for info in self.infos],
            launched.notes.get(CHANGES),
        )  # fmt: skip
        self.bounds = Bounds(self.infos, launched.notes.get(BOUNDS))
        self.shown = Shown(launched, settings)
        self.told = Told(launched, settings, launched.manifest.get("created_ns") or launched.step.now)
        self.drift = Drift(launched, settings, self.changes)
        self.gauges: Gauges | None = None
        self.sharing: Sharing | None = None
        self._found: dict[int, dict[str, str]] = {}  # seq of a CONFIG action -> the settings it comes to
        self._latched = bool(launched.step.state.account[0]["halted"])
        self._work: asyncio.Queue[Work] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "desk")
        self._runner: Runner | None = None
        if MAILBOX not in launched.notes:
            launched.notes[MAILBOX] = desks.last_seq(desk)
        for pair in launched.notes.get("proposals", ()):
            self.proposals[int(pair[0])] = (int(pair[1]), int(pair[2]))
        self._recall()

    def _recall(self) -> None:
        """Proposals of a former process that the step still holds."""
        table = self.launched.step.state.proposals
        for market, slot in zip(*np.nonzero(table["state"]), strict=True):
            row = table[market, slot]
            self.proposals[int(row["corr"])] = (int(market), int(row["hash"]))

    def attach(self, runner: Runner) -> None:
        """Take part in a run. Before `Runner.run`."""
        self._runner = runner
        runner.vetted = self.bounds.vetted
        self.bounds.vetted(self.launched.step.state.markets["flags"])
        runner.observe = self.observe
        runner.tripped = self._tripped
        self._share(runner)
        self._bind()
        for switch in self.api.switches(self.desk, armed=True):  # before anything else is heard
            self._learn(switch["scope"], switch["target"])
            self._arm(switch["switch_id"], switch["scope"], switch["target"], "was on already")
        self.gauges = Gauges(runner, self.launched, self.settings, self.bounds, self._arm_at_desk)
        runner.add_task("gauges", self.gauges.watch)
        if not self.drift.off:
            runner.add_task("drift", self.watch_configuration)
        runner.add_task("mailbox", self.mailbox)
        runner.add_task("desk", self.write)
        runner.add_task("board", self.board)
        if self.sharing is not None:
            runner.add_task("sharing", self.sharing.work)
            runner.add_task("shares in force", self.sharing.watch)

    def _share(self, runner: Runner) -> None:
        """Take its share of the limits that the runs of its portfolio have together (M7)."""
        from polytraders.store.desk.shares import DRY, pool_of

        manifest = self.launched.manifest
        sends = runner.options.sends and runner.port is not None
        pool = pool_of(manifest["run_mode"], manifest["models"]["venue"], sends)
        if not self.bound.limits or pool == DRY:
            return
        sharing = Sharing(
            self.desk, self._thread, runner, self.launched, self.settings, self.bounds, self.changes, pool
        )  # fmt: skip
        sharing.begin()
        self.sharing = sharing

    def _bind(self) -> None:
        """What of the desk holds in this run from its first row on: scope, caps, overrides in force."""
        assert self._runner is not None
        self.bounds.caps = caps_of(self.desk, self.bound, self.infos)
        rows = self.bounds.scope(self.bound.scope)
        if len(rows):
            self._runner.put("desk", rows, note={"scope": self.bound.launch_id}, state={BOUNDS: self.bounds.as_data()})
        for one in reversed(self.api.overrides(self.desk, active=True)):
            if one["override_id"] not in self.changes.granted:
                asked = {**one, "parameter": one["after"]["name"], "after": one["after"]["value"]}
                self._override(one["override_id"], asked, units.ns_from_iso(one["expires_at"]))

    def close(self, state: str) -> None:
        """Say how the run ended and let go of the database. What it proposed and nobody carries out now is void."""
        left = [self._work.get_nowait() for _ in range(self._work.qsize())]
        try:
            self._thread.submit(self._carry, left).result(timeout=10)
            self._thread.submit(self._ended, state).result(timeout=10)
        finally:
            self._thread.shutdown(wait=True)
            self.desk.close()

    def _ended(self, state: str) -> None:
        from polytraders.contracts import Actor

        for one in self.api.intents(self.desk, ("PENDING", "APPROVED"), run_id=self.run_id):
            self.api.void(self.desk, one["trade_intent_id"], why=Code.EXEC_NOT_SENT_STOPPING.name)
        self._beat({"state": state})
        if self.sharing is not None:
            self.sharing.end()
        unbind(self.desk, self.bound, Actor(kind="system", id=self.run_id), f"its run {state}")

    # -- to people

    def observe(self, rows: np.ndarray, decisions: np.ndarray, actions: np.ndarray) -> None:
        """After each turn, on the loop: what is for people goes to the desk."""
        latch = int(self.launched.step.state.account[0]["halted"])
        if latch and not self._latched:
            self._latch(Code(latch), decisions)
        self._latched = bool(latch)
        self.told.heard(rows, decisions, actions)
        for action in actions:
            kind, corr = int(action["kind"]), int(action["corr"])
            if kind == ActionKind.PROPOSE:
                self.proposals[corr] = (int(action["market"]), int(action["order_id"]))
                chain = decisions[decisions["corr"] == corr]
                try:
                    book = self.shown.book_hash(int(action["market"]))
                    figures = self.told.proposed(action, chain, book)
                    proposal = self.shown.proposal(action, chain, figures)
                except Exception as error:  # noqa: BLE001 - nobody can approve what is not shown: it expires
                    assert self._runner is not None
                    self._runner.incident("a proposal cannot be shown", corr=corr, error=str(error))
                    continue
                self._work.put_nowait((self._propose, proposal))
            elif kind == ActionKind.WITHDRAW:
                self.proposals.pop(corr, None)
                code = by_number(int(action["expiry"])).name
                self._work.put_nowait((self._withdraw, (corr, code)))
            elif kind == ActionKind.SUBMIT and corr in self.proposals:
                self._work.put_nowait((self._executed, (corr, int(action["order_id"]))))

    def _propose(self, proposals: Sequence[Proposal]) -> None:
        self.api.propose(self.desk, proposals)
        if self.settings.approvals.auto != "off":
            for proposal in proposals:
                self.api.auto_approve(self.desk, proposal.intent.trade_intent_id, self.settings.approvals)

    def _trade_intent(self, corr: int) -> str:
        from polytraders.contracts import derived_id

        return derived_id("ti", self.run_id, corr)

    def _withdraw(self, told: Sequence[tuple[int, str]]) -> None:
        late = Code.EXEC_APPROVAL_EXPIRED.name
        if any(code == late for _, code in told):
            self.api.expire(self.desk)  # nobody answered in time: that is its end, not that it lost its ground
        for corr, code in told:
            id_ = self._trade_intent(corr)
            if code != late or self.api.intent(self.desk, id_)["status"] != "EXPIRED":
                self.api.void(self.desk, id_, code="GOV_INTENT_VOID", why=code)

    def _executed(self, told: Sequence[tuple[int, int]]) -> None:
        keys = {}
        for corr, order in told:
            sent = self._runner.orders.by_id.get(order) if self._runner else None
            keys[self._trade_intent(corr)] = sent.key if sent else str(order)
        self.api.executed_many(self.desk, keys)

    async def watch_configuration(self) -> None:
        """Compare what the run works with and what was committed, again and again: run as a task."""
        assert self._runner is not None
        loop = asyncio.get_running_loop()
        while True:
            found = await loop.run_in_executor(self._thread, self._compared)
            self._runner.say("configuration", code=found.code, of=found.what)
            if found.code == "GOV_CONFIG_DRIFT_DETECTED":
                self._runner.incident("the run works with settings that are not committed", fields=found.what)
            await asyncio.sleep(self.drift.every)

    def _compared(self) -> Conclusion:
        assert self._runner is not None
        limits = limits_now(self.desk, self.bound)[1] if self.bound.limits else {}
        return self.drift.look(limits, self._runner.now())

    async def write(self) -> None:
        """Carry what is for people to the desk, in order: run as a task. What waits together goes together."""
        loop = asyncio.get_running_loop()
        while True:
            work = [await self._work.get()]
            while not self._work.empty() and len(work) < GROUP:
                work.append(self._work.get_nowait())
            await loop.run_in_executor(self._thread, self._carry, work)

    def _carry(self, work: Sequence[Work]) -> None:
        """In the desk's thread: neighbours of one kind in one transaction, or one by one where that fails."""
        failed: Exception | None = None
        pairs = [one if isinstance(one, tuple) else (_call, one) for one in work]
        for do, group in groupby(pairs, key=lambda pair: pair[0]):
            told = [what for _, what in group]
            try:
                do(told)
                continue
            except Exception as error:  # noqa: BLE001 - raised below, unless each goes by itself
                first = error
            for what in told if len(told) > 1 else ():
                try:
                    do([what])
                except Exception as error:  # noqa: BLE001 - raised below
                    failed = error
                    self.failures += 1
            if len(told) == 1:
                failed = first
                self.failures += 1
        if failed is not None:
            raise failed

    # -- from people

    async def mailbox(self) -> None:
        """Poll the mailbox and turn what stands there into rows: run as a task."""
        assert self._runner is not None
        loop, notes = asyncio.get_running_loop(), self._runner.notes
        heard = int(notes[MAILBOX])
        while True:
            found = await loop.run_in_executor(self._thread, self._since, heard)
            again = {action.subject: action.seq for action in found if str(action.kind) == "arm"}
            for action in found:
                # what was cleared and armed again meanwhile is not let go in between
                self._hear(action, passing=again.get(action.subject, 0) > action.seq)
                heard = action.seq
            await asyncio.sleep(POLL)

    def _since(self, seq: int) -> list[Action]:
        found = self.api.since(self.desk, seq, run_id=self.run_id)
        for action in found:
            self._learn(action.payload.get("scope", ""), action.payload.get("target"))
            if str(action.kind) == "config":
                self._look_up(action)
        return found

    def _look_up(self, action: Action) -> None:
        """What a changed tenant, portfolio or cluster means for this run, from the database."""
        if action.payload.get("kind") in ("tenant", "portfolio") and self.bound.limits:
            self.bound, self._found[action.seq] = limits_now(self.desk, self.bound)
        self.bounds.caps = caps_of(self.desk, self.bound, self.infos)

    def _learn(self, scope: str, target: str | None) -> None:
        """Look up what is in a cluster that a switch names; None when the desk does not know."""
        from polytraders.store.desk.portfolio import configs

        if scope == "cluster" and target:
            known = {found["cluster_id"]: found["members"] for found in configs(self.desk, "cluster")}
            members = known.get(target)
            self._clusters[target] = None if members is None else frozenset(m["condition_id"] for m in members)

    def _arm(self, id_: str, scope: str, target: str | None, why: str) -> None:
        """A switch of the desk is on."""
        assert self._runner is not None
        rows = self.switches.arm(id_, scope, target)
        if rows:
            self._runner.arm(f"{scope} {target or ''}: {why}".replace(" :", ":"), *rows)

    def _cleared(self, id_: str, scope: str, target: str | None) -> np.ndarray | None:
        """Rows of a switch of the desk that a person cleared; None when it stopped nothing here."""
        rows = self.switches.clear(id_, scope, target)
        if rows and whole_run(rows) and not self.switches.holds(Scope.GLOBAL):
            # also what a risk bot latched or the runner armed: on the desk that is a switch of the strategy (M5)
            rows = [row for row in rows if row["aux"] != Scope.GLOBAL]
            if scope in ("global", "portfolio", "strategy", "run"):
                rows.append({"kind": EventKind.SWITCH, "market": -1, "aux": int(Scope.GLOBAL), "size": 0})
        return self._runner.disarm(*rows) if self._runner and rows else None

    def _latch(self, code: Code, decisions: np.ndarray) -> None:
        """A risk bot of this run latched: which of its limits, and by how much."""
        found = decisions[decisions["code"] == int(code)]
        row = found[0] if len(found) else None
        measures = []
        if row is not None:
            unit = UNITS_OF.get(code, "ppm")
            measures = [(code.name.lower(), str(int(row["observed"])), str(int(row["limit"])), unit)]
        why = by_number(int(code)).meaning
        if code in LOSSES and self.sharing is not None and (others := self.sharing.why()):
            why = f"{why} {others[0].upper()}{others[1:]}."
        self._stopped(why, code, self._cause(code, row), measures)

    def _cause(self, code: Code, row: np.void | None) -> str:
        trigger = TRIGGERS.get(code, "api_errors")
        if row is None or self.gauges is None:
            return trigger
        if code is Code.RISK_DRAWDOWN_BREACH:
            intraday = self.gauges.parameter("risk.killswitch", "intraday_drawdown_pct") or 0
            account = self.launched.step.state.account[0]
            if fall_ppm(int(account["day_peak"]), int(account["equity"])) <= intraday:
                return "drawdown_weekly"
        if code is Code.RISK_FEED_LOST and self.launched.step.state.markets[int(row["market"])]["feed_up"]:
            return "stale_data"
        return trigger

    def _tripped(self, why: str) -> None:
        """The runner stopped itself: a part that it cannot do without came to its end."""
        self._stopped(why, Code.RISK_KILL_SWITCH_ACTIVE, "api_errors", [])

    def _stopped(self, why: str, code: Code, trigger: str, measures: list[tuple[str, str, str, str]]) -> None:
        self._arm_at_desk("strategy", self.strategy, why, code, trigger, measures)

    def _arm_at_desk(
        self, scope: str, target: str | None, why: str, code: Code, trigger: str,
        measures: list[tuple[str, str, str, str]],
    ) -> None:  # fmt: skip
        """Arm a switch there. What stops a run without money at a venue stops no other run (M5)."""
        if self.launched.manifest["run_mode"] != "live":
            scope, target = "run", self.run_id
        self._work.put_nowait(lambda: self._trip(scope, target, why, code, trigger, measures))

    def _trip(
        self, scope: str, target: str | None, why: str, code: Code, trigger: str,
        measures: list[tuple[str, str, str, str]],
    ) -> None:  # fmt: skip
        from polytraders.contracts import Actor, Measure

        actor = Actor(kind="system", id=self.run_id)
        told = [Measure(name=name, value=value, limit=limit, unit=unit) for name, value, limit, unit in measures]
        self.api.arm(
            self.desk, scope, target, actor, "run", why, trigger=trigger, code=code.name, measures=told,
            run_id=self.run_id,
        )  # fmt: skip

    def _override(self, id_: str, asked: Mapping[str, Any], ends: int) -> np.ndarray:
        """Rows of an override that begins; what cannot be applied is told."""
        assert self._runner is not None
        rows, why = self.changes.grant(id_, asked, ends)
        if why:
            self._runner.incident("an override is not applied in this run", override=id_, why=why)
        if len(rows):
            note = {"override": id_, "parameter": f"{asked['bot_id']}.{asked['parameter']}", "value": asked["after"]}
            self._runner.put("desk", rows, note=note, state={CHANGES: self.changes.as_data()})
        return rows

    def _limits(self, action: Action) -> None:
        """The portfolio or its tenant was changed: what the limits come to now."""
        assert self._runner is not None
        found = self._found.pop(action.seq, None)
        rows = self.changes.limit(found) if found is not None else None
        if rows is not None and len(rows):
            self._runner.put("desk", rows, note={"limits": found}, state={CHANGES: self.changes.as_data()})

    def _scope(self, action: Action) -> None:
        """The launch of this run was resolved again."""
        assert self._runner is not None
        listed = {info.condition_id for info in self.infos}
        scope = (self.bound.scope or frozenset()) | set(action.payload["entered"])
        self.bound = replace(self.bound, scope=scope - set(action.payload["left"]))
        rows = self.bounds.scope(self.bound.scope)
        if len(rows):
            self._runner.put("desk", rows, note={"scope": action.subject}, state={BOUNDS: self.bounds.as_data()})
        if missing := [market for market in action.payload["entered"] if market not in listed]:
            self._runner.incident("markets entered the scope that this run does not follow", markets=missing)

    def _hear(self, action: Action, passing: bool = False) -> None:
        from polytraders.store.desk import Kind

        runner, kind, payload = self._runner, action.kind, action.payload
        assert runner is not None
        state: dict[str, Any] = {MAILBOX: action.seq}
        told = {"action": action.seq, "kind": str(kind), "who": action.actor.id, "via": action.channel,
                "subject": action.subject, "hash": action.hash}  # fmt: skip
        answers = {Kind.APPROVE: Answer.APPROVED, Kind.REJECT: Answer.REJECTED, Kind.EXPIRE: Answer.EXPIRED}
        rows: np.ndarray | None = None
        if kind in answers and payload.get("final", True):
            found = self.proposals.get(int(payload.get("corr", -1)))
            if found is not None:
                market, digest = found
                tolerance = self.settings.approvals.tolerance_bps if kind is Kind.APPROVE else 0
                rows = rows_of(
                    {"kind": EventKind.APPROVAL, "market": market, "aux": int(payload["corr"]),
                     "size": int(answers[kind]), "price": tolerance, "ref": digest & LOW_31}
                )  # fmt: skip
        elif kind is Kind.ARM:
            self._arm(action.subject, payload["scope"], payload.get("target"), payload.get("reason", ""))
            state[SWITCHES] = self.switches.as_data()
        elif kind is Kind.CLEAR and payload.get("final", True) and not passing:
            rows = self._cleared(action.subject, payload["scope"], payload.get("target"))
            state[SWITCHES] = self.switches.as_data()
        elif kind is Kind.OVERRIDE:
            self._override(action.subject, payload, action.ts_ns + int(payload["ttl_s"]) * units.NS_PER_S)
        elif kind is Kind.OVERRIDE_END:
            rows = self.changes.end(action.subject)
            state[CHANGES] = self.changes.as_data()
        elif kind is Kind.CONFIG:
            self._limits(action)
        elif kind is Kind.SCOPE and action.subject == self.bound.launch_id:
            self._scope(action)
        elif kind is Kind.STOP and action.subject == self.bound.launch_id:
            runner.stop()
        runner.put("mailbox", rows if rows is not None else rows_of(), note=told, state=state)

    # -- what the run tells of itself

    async def board(self) -> None:
        """Tell the desk every second what the run holds and how it is: run as a task."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._thread, self._beat, self._report())
            await asyncio.sleep(BEAT)

    def begin(self) -> None:
        """Say that the run begins. In the caller's thread, before the loop."""
        self.api.put_run(
            self.desk, self.run_id, mode=self.launched.manifest["run_mode"], strategy_id=self.strategy,
            portfolio_id=self.settings.portfolio.id, process=self.api.this_process(),
        )  # fmt: skip

    def _beat(self, report: dict[str, Any]) -> None:
        self.api.expire_overrides(self.desk)  # no override outlives its time because nobody looks
        self.api.heartbeat(self.desk, self.run_id, **report)

    def _report(self) -> dict[str, Any]:
        runner = self._runner
        assert runner is not None
        now, health = runner.now(), runner.health()
        quotes = self.shown.quotes({market for market, _ in self.proposals.values()}, now)
        topics = self.told.topics(runner, health, now)
        topics["limits"] |= self._caps()
        topics["health"] |= self.drift.part()
        if self.sharing is not None:
            topics["limits"] |= self.sharing.limits()
            topics["health"] |= self.sharing.part()
        for name, inside in zip(topics["markets"], self.bounds.in_scope, strict=True):
            topics["markets"][name]["in_scope"] = inside
        document = {key: health[key] for key in ("seq", "inbox", "outbox", "dropped", "durable_ms", "open_orders")}
        document |= {key: health[key] for key in BESIDE if key in health}
        document["sends"] = runner.options.sends and runner.port is not None
        kept = "halted" if runner.halted else "stopping" if health["stopping"] else "running"
        return {"now": now, "state": kept, "document": document, "quotes": quotes, "topics": topics}

    def _caps(self) -> dict[str, dict[str, str]]:
        """The caps of clusters and categories as limits."""
        told = {}
        for cap, gross, net in self.bounds.used(self.launched.step.state.positions):
            layer = ", tenant" if cap.layer == "tenant" else ""
            for name, value, limit in (("gross", gross, cap.gross), ("net", net, cap.net)):
                if limit < NO_CAP:
                    told[f"{_cap_name(cap.name)}, {name}{layer}"] = {
                        "observed": units.money_text(abs(value)), "limit": units.money_text(limit), "unit": "pUSD",
                        "scope": self.settings.portfolio.id,
                    }  # fmt: skip
        return told


def _cap_name(name: str) -> str:
    return f"cluster {name}" if name.startswith("clu_") else f"category {name}"


def _call(works: Sequence[Callable[[], Any]]) -> None:
    for work in works:
        work()
