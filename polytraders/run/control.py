"""A run and its people: proposals go to the desk, answers and switches come back as recorded events.

The step asks (PROPOSE), the desk shows, a person or a policy answers, and the answer enters the step as a row of the
log, so that a replay hears the same answers at the same places. All that touches the database runs in one thread of
its own; the loop never waits for it.

Invariants
    M1  an action of the mailbox is heard once: the seq of the last one is in the log with the row it became
    M2  an approval carries the hash of what was shown; the step holds it against its own proposal
    M3  while the desk cannot be reached nothing new is approved: proposals expire
    M4  a switch stops what its scope names and no more, and clearing it takes back no other (`run.switches`)
    M5  a live run that stops itself says so on the desk, as a switch of its strategy: a person clears that one
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders import units
from polytraders.reasons import Code, by_number
from polytraders.rows import (
    POST_ONLY,
    REDUCE_ONLY,
    ActionKind,
    Answer,
    EventKind,
    OrderType,
    Outcome,
    Scope,
    Side,
    Verdict,
)
from polytraders.run.live import Runner, rows_of
from polytraders.run.switches import Switches, whole_run
from polytraders.store.ids import intent_id
from polytraders.units import NS_PER_MS, ONE

if TYPE_CHECKING:
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
LOW_31 = (1 << 31) - 1
TRIGGERS = {
    Code.RISK_DRAWDOWN_BREACH: "drawdown_intraday",
    Code.RISK_DAILY_LOSS_BREACH: "daily_loss",
    Code.RISK_TOTAL_DRAWDOWN_BREACH: "drawdown_total",
    Code.RISK_REJECT_RATE_BREACH: "reject_rate",
    Code.RISK_FEED_LOST: "feed_loss",
}
"""Code of a latch -> trigger of the desk's switch; any other: api_errors."""
EXITS = {
    Code.EXEC_EXIT_TAKE_PROFIT: "take_profit",
    Code.EXEC_EXIT_STOP_LOSS: "stop_loss",
    Code.EXEC_EXIT_TIME: "time_exit",
    Code.EXEC_EXIT_LIQUIDITY: "liquidity",
    Code.EXEC_EXIT_FORCED: "portfolio",
    Code.EXEC_EXIT_UNWIND: "portfolio",
}
"""Cause of an exit that the system proposes -> trigger of its trade intent; any other order that closes: strategy."""
BESIDE = ("guard", "brake", "services")
"""What a run that sends tells of the bots beside its step: the guard's state, who holds opening back, last findings."""
_MODES = {0: "off", 1: "shadow", 2: "advisory", 3: "enforced", 4: "quarantine"}


class Control:
    """The desk's side of a run.

    Parameters
    ----------
    desk: the desk's database (`store.desk.open_desk`); closed with `close`.
    """

    def __init__(self, desk: Any, launched: Launched, settings: Settings):
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
            [bot["bot_id"] for bot in self.bots], self._clusters.get, launched.notes.get(SWITCHES),
        )  # fmt: skip
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
        runner.observe = self.observe
        runner.tripped = self._tripped
        for switch in self.api.switches(self.desk, armed=True):  # before anything else is heard
            self._learn(switch["scope"], switch["target"])
            self._arm(switch["switch_id"], switch["scope"], switch["target"], "was on already")
        runner.add_task("mailbox", self.mailbox)
        runner.add_task("desk", self.write)
        runner.add_task("board", self.board)

    def close(self, state: str) -> None:
        """Say how the run ended and let go of the database."""
        try:
            self._thread.submit(self._beat, {"state": state}).result(timeout=10)
        finally:
            self._thread.shutdown(wait=True)
            self.desk.close()

    # -- to people

    def observe(self, rows: np.ndarray, decisions: np.ndarray, actions: np.ndarray) -> None:
        """After each turn, on the loop: what is for people goes to the desk."""
        latch = int(self.launched.step.state.account[0]["halted"])
        if latch and not self._latched:
            code = Code(latch)
            self._tripped(by_number(latch).meaning, code, TRIGGERS.get(code, "api_errors"))
        self._latched = bool(latch)
        for action in actions:
            kind, corr = int(action["kind"]), int(action["corr"])
            if kind == ActionKind.PROPOSE:
                self.proposals[corr] = (int(action["market"]), int(action["order_id"]))
                chain = decisions[decisions["corr"] == corr]
                try:
                    proposal = self._proposal(action, chain)
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

    def _proposal(self, action: np.void, chain: np.ndarray) -> Proposal:
        from polytraders.contracts import OrderIntent, VoteReceived, at

        now, corr, market = int(action["ts"]), int(action["corr"]), int(action["market"])
        info, price, size = self.infos[market], int(action["price"]), int(action["size"])
        outcome, side = Outcome(action["outcome"]), Side(action["side"])
        families = [bot["family"] for bot in self.bots]
        said = [row for row in chain if families[row["bot"]] == "strat"]
        cause = next((row for row in chain if int(row["code"]) in EXITS), None)
        first = cause if cause is not None else said[0] if said else chain[0]
        reason = by_number(int(first["code"]))
        # Only a strategy says in its receipt what it thinks the token is worth.
        fair, edge = (int(first["limit"]), int(first["observed"])) if said and cause is None else (0, 0)
        shown = self._against(market, outcome, side)
        trigger = None
        if action["flags"] & REDUCE_ONLY:
            trigger = EXITS[Code(int(cause["code"]))] if cause is not None else "strategy"
        paid = price if action["flags"] & POST_ONLY else shown  # one that rests trades at its own price
        expires = now + int(action["expiry"]) * NS_PER_MS
        builder = self.launched.manifest["builder_code"] or "0x" + "0" * 64
        order = OrderIntent(
            **at(now),
            intent_id=intent_id(self.run_id, corr),
            strategy_id=self.strategy,
            portfolio_id=self.settings.portfolio.id,
            condition_id=info.condition_id,
            outcome=outcome.name,
            side=side.name,
            order_type=OrderType(action["order_type"]).name,
            post_only=bool(action["flags"] & POST_ONLY),
            reduce_only=bool(action["flags"] & REDUCE_ONLY),
            limit_price=units.price_text(price),
            size_pusd=units.size_text(units.notional_micro(price, size)),
            size_shares=units.size_text(size),
            model_edge_bps=f"{Decimal(edge) / 100:f}",
            reason_code=reason.name,
            builder_code=builder,
            expires_at=units.iso_utc(expires),
        )
        votes = [
            VoteReceived(
                bot_id=self.bots[row["bot"]]["bot_id"], mode=_MODES[int(row["mode"])],
                decision=Verdict(row["verdict"]).name, reason_code=by_number(int(row["code"])).name,
            )
            for row in chain
            if families[row["bot"]] == "risk" and row["verdict"]
            and row["verdict"] not in (Verdict.REJECT, Verdict.QUARANTINE)  # of one that only watches
        ]  # fmt: skip
        model = f"{Decimal(fair) / (ONE * 100):f}" if 0 < fair < ONE * 100 else None
        what = f"{side.name.capitalize()} {units.size_text(size)} {outcome.name} of {info.slug} at "
        what += f"{units.price_text(price)} or better: {reason.meaning}"
        return self.api.proposal(
            self.settings.approvals,
            run_id=self.run_id,
            corr=corr,
            now=now,
            portfolio_id=self.settings.portfolio.id,
            condition_id=info.condition_id,
            reason_code=reason.name,
            reasoning=what,
            order=order,
            trigger=trigger,
            votes=votes,
            book_hash=self._book_hash(market),
            price_shown=shown,
            model_price=model,
            market_price=units.price_text(paid) if model is not None and paid is not None else None,
            expires_ns=expires,
        )

    def _against(self, market: int, outcome: int, side: int) -> int | None:
        """pips: the best price that an order of this token and side would trade with, None when there is none."""
        bid, ask = (int(self.launched.step.state.markets[market][name]) for name in ("best_bid", "best_ask"))
        if outcome == Outcome.NO:
            bid, ask = (ONE - ask if ask >= 0 else -1), (ONE - bid if bid >= 0 else -1)
        price = ask if side == Side.BUY else bid
        return price if price >= 0 else None

    def _book_hash(self, market: int) -> str:
        row = self.launched.step.state.markets[market]
        first, cells = int(row["offset"]), 2 * int(row["levels"])
        told = hashlib.sha256(self.infos[market].condition_id.encode())
        told.update(self.launched.step.state.book[first : first + cells].tobytes())
        return told.hexdigest()

    def _propose(self, proposals: Sequence[Proposal]) -> None:
        self.api.propose(self.desk, proposals)
        if self.settings.approvals.auto != "off":
            for proposal in proposals:
                self.api.auto_approve(self.desk, proposal.intent.trade_intent_id, self.settings.approvals)

    def _trade_intent(self, corr: int) -> str:
        from polytraders.contracts import derived_id

        return derived_id("ti", self.run_id, corr)

    def _withdraw(self, told: Sequence[tuple[int, str]]) -> None:
        for corr, code in told:
            self.api.void(self.desk, self._trade_intent(corr), code="GOV_INTENT_VOID", why=code)

    def _executed(self, told: Sequence[tuple[int, int]]) -> None:
        keys = {}
        for corr, order in told:
            sent = self._runner.orders.by_id.get(order) if self._runner else None
            keys[self._trade_intent(corr)] = sent.key if sent else str(order)
        self.api.executed_many(self.desk, keys)

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
        return found

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
            if scope in ("global", "portfolio", "strategy"):
                rows.append({"kind": EventKind.SWITCH, "market": -1, "aux": int(Scope.GLOBAL), "size": 0})
        return self._runner.disarm(*rows) if self._runner and rows else None

    def _tripped(self, why: str, code: Code = Code.RISK_KILL_SWITCH_ACTIVE, trigger: str = "api_errors") -> None:
        """The run stopped itself: a live one says so on the desk."""
        if self.launched.manifest["run_mode"] == "live":
            self._work.put_nowait(lambda: self._trip(why, code, trigger))

    def _trip(self, why: str, code: Code, trigger: str) -> None:
        from polytraders.contracts import Actor

        actor = Actor(kind="system", id=self.run_id)
        self.api.arm(
            self.desk, "strategy", self.strategy, actor, "run", why, trigger=trigger, code=code.name,
            run_id=self.run_id,
        )  # fmt: skip

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
        elif kind is Kind.STOP:
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
            portfolio_id=self.settings.portfolio.id,
        )  # fmt: skip

    def _beat(self, report: dict[str, Any]) -> None:
        self.api.heartbeat(self.desk, self.run_id, **report)

    def _report(self) -> dict[str, Any]:
        runner, state = self._runner, self.launched.step.state
        assert runner is not None
        now, health, account = runner.now(), runner.health(), state.account[0]
        money = ("equity", "cash", "reserved", "marked", "realised", "fees", "rebates")
        quotes = []
        for market in {market for market, _ in self.proposals.values()}:
            row = state.markets[market]
            # While the feed is up a book that does not change is as it was: the quote is of now
            book_hash, seen = self._book_hash(market), now if row["feed_up"] else int(row["book_ts"])
            for outcome in (Outcome.YES, Outcome.NO):
                bid, ask = (self._against(market, outcome, side) for side in (Side.SELL, Side.BUY))
                quote = (self.infos[market].condition_id, outcome.name, bid, ask, book_hash, seen)
                quotes.append(self.api.Quote(*quote))
        topics = {
            "account": {"account": {name: units.money_text(int(account[name])) for name in money}},
            "health": {
                name: {"up": part["up"], "since_ns": part["since"], "errors": part["restarts"], "error": part["error"]}
                for name, part in health["tasks"].items()
            },
            "markets": {
                info.condition_id: {
                    "slug": info.slug, "question": info.question, "status": int(row["status"]), "in_scope": True,
                    "bid": _price(int(row["best_bid"])), "ask": _price(int(row["best_ask"])),
                    "volume": units.money_text(int(row["volume_24h"])), "closes_at": int(info.end_ts),
                }
                for info, row in zip(self.infos, state.markets, strict=True)
            },
        }  # fmt: skip
        document = {key: health[key] for key in ("seq", "inbox", "outbox", "dropped", "durable_ms", "open_orders")}
        document |= {key: health[key] for key in BESIDE if key in health}
        kept = "halted" if runner.halted else "stopping" if health["stopping"] else "running"
        return {"now": now, "state": kept, "document": document, "quotes": quotes, "topics": topics}


def _price(pips: int) -> str | None:
    return units.price_text(pips) if pips >= 0 else None


def _call(works: Sequence[Callable[[], Any]]) -> None:
    for work in works:
        work()
