"""The whole story of one intent, read from its run's log: what was known, decided, voted, sent and traded.

Invariants
    T1  nothing is told that is not in the log: no row, no step
    T2  what a sensor is quoted with is its last conclusion on the market at or before the decision
    T3  both shapes of a reshaped intent are told
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from polytraders.bots import SYMBOLS, UNITS, BotMode
from polytraders.engine.fees import MICRO_PER_FEE_UNIT
from polytraders.engine.rules import GTD_EARLY
from polytraders.errors import UsageError
from polytraders.reasons import Code, ReasonCode, by_number, lookup
from polytraders.rows import (
    POST_ONLY,
    TO_PEOPLE,
    ActionKind,
    Answer,
    EventKind,
    Flag,
    OrderType,
    Outcome,
    Severity,
    Side,
    Verdict,
)
from polytraders.store.ids import correlation_id, intent_id, parse_id, run_tag
from polytraders.store.log import RecordKind, RunLog, read_log
from polytraders.units import MICRO, NS_PER_MS, NS_PER_S, NS_PER_US, ONE, iso_utc, money_text, price_text, size_text

STAGES = {
    "sensors": "What was known",
    "strategy": "What the strategy wanted",
    "risk": "What risk said",
    "reshape": "What became of it",
    "plan": "How it was to be done",
    "venue": "What happened next",
    "settlement": "How the market ended",
}
"""Stage of a step -> its heading, in the order of the page."""
FAMILY_STAGE = {"intel": "sensors", "disc": "sensors", "strat": "strategy", "risk": "risk", "exec": "plan"}
ORDER_EVENTS = (
    EventKind.ORDER_ACK,
    EventKind.ORDER_REJECT,
    EventKind.FILL_PROVISIONAL,
    EventKind.FILL_CONFIRMED,
    EventKind.FILL_VOIDED,
    EventKind.CANCEL,
)
"""Event kinds whose aux is an order id."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened in the life of an intent."""

    stage: str  # one of STAGES
    ts: int  # ns
    offset: int  # ns after the strategy's decision; negative = before
    actor: str  # bot id, "polytraders" or "venue"
    what: str  # one line
    code: str = ""  # reason code, "" where there is none
    severity: str = ""
    sentence: str = ""  # the user's sentence of the code
    later: bool = False  # a decision on the resting order, made after the first
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the time also as text."""
        return {
            "stage": self.stage,
            "ts": self.ts,
            "time": iso_utc(self.ts),
            "offset_ns": self.offset,
            "actor": self.actor,
            "what": self.what,
            "reason_code": self.code,
            "severity": self.severity,
            "user_message": self.sentence,
            "later": self.later,
            **self.details,
        }


@dataclass(frozen=True, slots=True)
class Story:
    """One intent's life; the steps in the order of the page."""

    correlation_id: str
    intent_id: str
    run_id: str
    run_mode: str
    market: dict[str, Any]  # row of the run's market table
    intent: str  # what was to be bought or sold
    decided_at: int  # ns
    ending: str  # one sentence: what came of it
    torn: bool  # the log ends in the middle: the story may be incomplete
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: prices, sizes and money as decimal strings."""
        return {
            "correlation_id": self.correlation_id,
            "intent_id": self.intent_id,
            "run_id": self.run_id,
            "run_mode": self.run_mode,
            "market": {key: self.market.get(key) for key in ("condition_id", "slug", "question")},
            "intent": self.intent,
            "decided_at": iso_utc(self.decided_at),
            "decided_at_ns": self.decided_at,
            "ending": self.ending,
            "torn": self.torn,
            "steps": [step.as_dict() for step in self.steps],
        }

    def render(self, console: Console) -> None:
        """Print the story as a page."""
        question = self.market.get("question") or self.market.get("slug") or self.market.get("condition_id")
        when = (f"decided {iso_utc(self.decided_at)}\n{self.intent_id} in run {self.run_id}", "dim")
        head = Text.assemble((self.intent, "bold"), f"\n{question}\n", when)
        console.print(Panel(head, title=self.run_mode.upper(), title_align="right", border_style="cyan"))
        for stage, title in STAGES.items():
            steps = [step for step in self.steps if _page_stage(step) == stage]
            if steps:
                console.print(Rule(title, align="left", style="dim"))
                console.print(_table(steps))
        console.print(Panel(Text(self.ending, "bold"), border_style="cyan"))
        if self.torn:
            console.print(Text("The run's log is torn: what came after the cut is not known.", "yellow"))


def _page_stage(step: Step) -> str:
    return "venue" if step.later else step.stage


_COLOURS = {"INFO": "green", "WARN": "yellow", "RESHAPE": "magenta", "HARD_REJECT": "red", "EXPLAIN": "blue"}


def _table(steps: list[Step]) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(justify="right", style="dim", no_wrap=True, width=12)
    table.add_column(style="cyan", width=28, overflow="fold")
    table.add_column(ratio=1)
    for step in steps:
        what = Text(step.what)
        if step.code:
            what.append(f"\n{step.code}", _COLOURS.get(step.severity, ""))
            what.append(f"  {step.sentence}", "dim")
        table.add_row(offset_text(step.offset), step.actor, what)
    return table


# ------------------------------------------------------------------------------------------------ telling


def trace(run_dir: Path, ref: str) -> Story:
    """The story of the intent `ref` (`oi_...`, `cor_...`, or its bare number in the run) of the run at `run_dir`.

    Raises `UsageError` when the run does not hold it, `DamageError` when the log is not as it was written.
    """
    log = read_log(run_dir, allow_torn=True)
    if ref.isdigit():
        return _Teller(log, int(ref)).story()
    tag, corr = parse_id(ref)
    if tag != run_tag(log.manifest["run_id"]):
        raise UsageError(
            "the intent belongs to another run",
            where=ref,
            rule=f"this run is {log.manifest['run_id']}",
            mend="leave --run away: the run is found from the id",
        )
    return _Teller(log, corr).story()


class _Teller:
    """Gathers the rows of one intent, then puts them into words."""

    def __init__(self, log: RunLog, corr: int):
        self.manifest, self.corr = log.manifest, corr
        self.run_id, self.bots = log.manifest["run_id"], log.manifest["bots"]
        self.events: list[np.void] = []
        decisions, actions = log.decisions(), log.actions()
        self.decisions = decisions[decisions["corr"] == corr]
        if corr <= 0 or not len(self.decisions):
            raise UsageError(
                "the run holds no such intent",
                where=intent_id(self.run_id, max(corr, 0)),
                mend=f"its intents are numbered from 1 to {int(decisions['corr'].max(initial=0))}",
            )
        stage = np.array([FAMILY_STAGE.get(bot["family"], "plan") for bot in self.bots])
        wanted = self.decisions[stage[self.decisions["bot"]] == "strategy"]
        self.origin = wanted[0] if len(wanted) else self.decisions[0]
        self.market, self.decided_at = int(self.origin["market"]), int(self.origin["ts"])
        heard = decisions[
            (decisions["market"] == self.market)
            & (decisions["seq"] <= self.origin["seq"])
            & (decisions["ts"] <= self.decided_at)
            & (stage[decisions["bot"]] == "sensors")
        ]
        self.sensors = [heard[heard["bot"] == bot][-1] for bot in np.unique(heard["bot"])]
        sent = actions[(actions["corr"] == corr) & (actions["kind"] == ActionKind.SUBMIT)]
        self.orders = {int(row["order_id"]): row for row in sent}
        orders = np.array(list(self.orders), np.int64)
        cancels = (actions["kind"] == ActionKind.CANCEL) & np.isin(actions["order_id"], orders)
        self.actions = actions[(actions["corr"] == corr) | cancels]
        self._gather_events(log, orders)
        self.torn = log.torn is not None

    def _gather_events(self, log: RunLog, orders: np.ndarray) -> None:
        """What the venue said of the intent's orders, and the market's resolution if any of them traded."""
        ends: list[np.void] = []
        for kind, rows in log.records():
            if kind is RecordKind.EVENTS:
                answers = rows[np.isin(rows["kind"], ORDER_EVENTS)]
                self.events.extend(answers[np.isin(answers["aux"], orders)])
                self.events.extend(rows[(rows["kind"] == EventKind.APPROVAL) & (rows["aux"] == self.corr)])
                ended = (rows["kind"] == EventKind.RESOLUTION) & (rows["market"] == self.market)
                ends.extend(rows[ended & (rows["ts_recv"] >= self.decided_at)])
        if any(self.traded(order)[0] for order in self.orders):
            self.events += ends

    def story(self) -> Story:
        """Everything gathered, in the order of the page."""
        first = (self.decisions["ts"] == self.decided_at) & (self.decisions["seq"] == self.origin["seq"])
        steps = [self.decision(row) for row in self.sensors]
        steps += [self.decision(row) for row in self.decisions[first]]
        after = [self.decision(row, later=True) for row in self.decisions[~first]]
        after += [self.action(row) for row in self.actions] + [self.event(row) for row in self.events]
        after.sort(key=lambda step: (step.ts, step.actor != APPROVER, not step.later))  # answered, decided, then sent
        steps = sorted(steps + after, key=lambda step: list(STAGES).index(_page_stage(step)))
        return Story(
            correlation_id=correlation_id(self.run_id, self.corr),
            intent_id=intent_id(self.run_id, self.corr),
            run_id=self.run_id,
            run_mode=self.manifest["run_mode"],
            market=self.manifest["markets"][self.market],
            intent=shape_text(self.origin, self.origin["price"], self.origin["size"]),
            decided_at=self.decided_at,
            ending=self.ending(),
            torn=self.torn,
            steps=tuple(steps),
        )

    # -- one row, one step

    def step(self, stage: str, ts: int, actor: str, what: str, code: int = 0, **more: Any) -> Step:
        later = more.pop("later", False)
        reason = reason_of(code, self.manifest["reason_codes"]) if code else None
        severity = more.pop("severity", reason.severity.name if reason else "")
        name, sentence = (reason.name, reason.user_message) if reason else ("", "")
        return Step(stage, int(ts), int(ts) - self.decided_at, actor, what, name, severity, sentence, later, more)

    def decision(self, row: np.void, *, later: bool = False) -> Step:
        """A bot's decision, in the words of its stage."""
        bot, mode = self.bots[row["bot"]], mode_name(row["mode"])
        stage = FAMILY_STAGE.get(bot["family"], "plan")
        reason = reason_of(row["code"], self.manifest["reason_codes"])
        observed, limit = observed_text(bot, reason, int(row["observed"]), int(row["limit"]))
        before = shape_text(row, row["price"], row["size"])
        shaped = shape_text(row, row["out_price"], row["out_size"])
        verdict = Verdict(row["verdict"])
        details: dict[str, Any] = {"bot_version": bot["version"], "mode": mode, "observed": observed, "limit": limit}
        details |= {"warned": bool(row["warned"]), "repeats": int(row["repeats"])}
        if stage == "sensors":
            what = reason.meaning
        else:
            details |= {"verdict": verdict.name, **shape_dict(row)}
            if reason.number == Code.STRAT_RESHAPED_BY_RISK:
                stage, what = "reshape", f"{before}  ->  {shaped}"
            elif stage == "strategy":
                what = f"{before}; edge {observed} a share against a fair price of {limit}"
            elif stage == "risk":
                what = f"{verdict.name}: observed {observed}" + (f" against {limit}" if limit else "")
                what += f"; {before}  ->  {shaped}" if verdict is Verdict.RESHAPE and mode == "enforced" else ""
            elif row["bot"] == len(self.bots) - 1:  # the runtime measures free cash
                details["observed"] = f"{money_text(row['observed'])} pUSD"
                what = f"{shaped}; free cash {details['observed']}"
            else:
                certain = measured(reason.name, bot["params"], int(row["limit"]))[1]
                what = shaped + (f"; observed {observed}" + (f" against {limit}" if limit else "") if certain else "")
        what += "" if mode in ("enforced", "quarantine") else f" [{mode}: not binding]"
        what += " [a parameter is beyond its warning]" if row["warned"] else ""
        severity = Severity(row["severity"]).name
        return self.step(stage, row["ts"], bot["bot_id"], what, row["code"], later=later, severity=severity, **details)

    def action(self, row: np.void) -> Step:
        """What was sent to the venue."""
        kind, order = ActionKind(row["kind"]), int(row["order_id"])
        details: dict[str, Any] = {"action": kind.name, "order_id": order}
        what = f"asks to cancel order {order}" if kind is ActionKind.CANCEL else "asks to cancel all orders"
        if kind is ActionKind.SUBMIT:
            terms = OrderType(row["order_type"]).name + (", post-only" if row["flags"] & POST_ONLY else "")
            if row["expiry"]:
                terms += f", until {iso_utc(int(row['expiry']) * NS_PER_S - GTD_EARLY)}"
            what = f"sends order {order}: {shape_text(row, row['price'], row['size'])}, {terms}"
            details |= {"price": price_text(row["price"]), "size": size_text(row["size"]), "terms": terms}
        if kind >= TO_PEOPLE:
            return self.proposal(row, kind)
        return self.step("venue", row["ts"], "polytraders", what, **details)

    def proposal(self, row: np.void, kind: ActionKind) -> Step:
        """An order was put to a person, or that proposal is over."""
        shape = shape_text(row, row["price"], row["size"])
        details = {"action": kind.name, "price": price_text(row["price"]), "size": size_text(row["size"])}
        if kind is ActionKind.PROPOSE:
            what, code = f"puts to a person for {int(row['expiry']) / 1000:g} s: {shape}", Code.EXEC_PROPOSED
        else:
            what, code = f"ends the proposal; never sent of it: {size_text(row['size'])} shares", int(row["expiry"])
        return self.step("venue", row["ts"], "polytraders", what, int(code), **details)

    def event(self, row: np.void) -> Step:
        """What the venue said."""
        kind, order = EventKind(row["kind"]), int(row["aux"])
        if kind is EventKind.RESOLUTION:
            payout = price_text(row["price"])
            what = f"each YES share pays {payout} pUSD"
            return self.step("settlement", row["ts_recv"], "venue", what, event=kind.name, payout=payout)
        if kind is EventKind.APPROVAL:
            said = Answer(int(row["size"]))
            return self.step("venue", row["ts_recv"], APPROVER, _ANSWERED[said], event=kind.name, answer=said.name)
        details: dict[str, Any] = {"event": kind.name, "order_id": order}
        if kind is EventKind.ORDER_ACK:
            what, code = f"accepted order {order}", Code.EXEC_RESTING
            if row["flags"] & Flag.DELAYED:
                what, code = f"accepted order {order} and holds it for the taker delay", Code.EXEC_DELAYED
        elif kind is EventKind.ORDER_REJECT:
            what, code = f"rejected order {order}", int(row["size"]) or Code.EXEC_REJECTED
        elif kind is EventKind.CANCEL:
            what, code = f"took order {order} off the book", int(row["size"]) or Code.EXEC_CANCELLED
        else:
            fill = fill_dict(row)
            word = {EventKind.FILL_PROVISIONAL: "filled, not yet final:", EventKind.FILL_VOIDED: "voided the fill of"}
            what = "{} {size} @ {price} as {role}, fee {fee} pUSD".format(word.get(kind, "filled"), **fill)
            details |= fill
            code = Code.EXEC_FILL_VOIDED if kind is EventKind.FILL_VOIDED else Code.EXEC_FILL
        return self.step("venue", row["ts_recv"], "venue", what, int(code), **details)

    # -- the end

    def ending(self) -> str:
        """What came of the intent, in one sentence."""
        if not self.orders:
            for row in filter(self.refuses, self.decisions):
                reason = reason_of(row["code"], self.manifest["reason_codes"])
                return f"Denied by {self.bots[row['bot']]['bot_id']}: {reason.user_message}"
            return "Nothing was sent."
        wanted = sum(int(row["size"]) for row in self.orders.values())
        filled, value, fees = (sum(parts) for parts in zip(*map(self.traded, self.orders), strict=True))
        if filled:
            price = f"{Decimal(value) / filled / ONE:.4f}"
            shares = f"{size_text(filled)} of {size_text(wanted)} shares"
            return f"Traded {shares} at {price} on average, fees {money_text(fees)} pUSD."
        kinds = {row["kind"] for row in self.events}
        if EventKind.ORDER_REJECT in kinds:
            return "Rejected by the venue."
        return "Cancelled without a fill." if EventKind.CANCEL in kinds else "Not filled by the end of the run."

    def refuses(self, row: np.void) -> bool:
        """True for a binding refusal: of risk by its vote, of execution by its reason."""
        if mode_name(row["mode"]) not in ("enforced", "quarantine"):
            return False
        hard = self.bots[row["bot"]]["family"] == "exec" and row["severity"] == Severity.HARD_REJECT
        return hard or row["verdict"] in (Verdict.REJECT, Verdict.QUARANTINE)

    def traded(self, order: int) -> tuple[int, int, int]:
        """(micro-shares, pips x micro-shares, micro-pUSD of fees) that stand of an order.

        A provisional fill and its confirmation are one fill; what was voided does not stand.
        """
        sums = {kind: (0, 0, 0) for kind in ORDER_EVENTS}
        for row in self.events:
            kind = EventKind(row["kind"])
            if kind in sums and row["aux"] == order:
                size, price, fee = int(row["size"]), int(row["price"]), int(row["ref"]) * MICRO_PER_FEE_UNIT
                size_sum, value_sum, fee_sum = sums[kind]
                sums[kind] = (size_sum + size, value_sum + size * price, fee_sum + fee)
        made = max(sums[EventKind.FILL_PROVISIONAL], sums[EventKind.FILL_CONFIRMED])
        size, value, fee = (a - b for a, b in zip(made, sums[EventKind.FILL_VOIDED], strict=True))
        return size, value, fee


APPROVER = "approval"
"""Actor of the answers to proposals: who it was stands in the envelope store."""
_ANSWERED = {
    Answer.APPROVED: "the proposal was approved",
    Answer.REJECTED: "the proposal was rejected, or its approval taken back",
    Answer.EXPIRED: "the proposal was given up",
}

# ------------------------------------------------------------------------------------------- rows in words


def reason_of(number: int, table: dict[str, str]) -> ReasonCode:
    """The reason of a number as the run's own table names it: the registry may have grown since."""
    name = table.get(str(int(number)))
    return lookup(name) if name else by_number(int(number))


def mode_name(number: int) -> str:
    """'enforced' of a row's mode number."""
    return str(list(BotMode)[number])


def shape_text(row: np.void, price: int, size: int) -> str:
    """'BUY 20 YES @ 0.43'."""
    return f"{Side(row['side']).name} {size_text(size)} {Outcome(row['outcome']).name} @ {price_text(price)}"


def shape_dict(row: np.void) -> dict[str, str]:
    """Side, outcome, and the shape of a decision's intent before and after its bot."""
    return {
        "side": Side(row["side"]).name,
        "outcome": Outcome(row["outcome"]).name,
        "price": price_text(row["price"]),
        "size": size_text(row["size"]),
        "out_price": price_text(row["out_price"]),
        "out_size": size_text(row["out_size"]),
    }


def fill_dict(row: np.void) -> dict[str, str]:
    """Price, size, fee (pUSD) and role of a fill event."""
    return {
        "price": price_text(row["price"]),
        "size": size_text(row["size"]),
        "fee": money_text(int(row["ref"]) * MICRO_PER_FEE_UNIT),
        "role": "maker" if row["flags"] & Flag.MAKER else "taker",
    }


MEASURED_IN = {
    "RISK_LIQUIDITY_OK": "shares",
    "RISK_LIQUIDITY_RESHAPED": "shares",
    "RISK_LIQUIDITY_INSUFFICIENT": "shares",
    "RISK_TOP_OF_BOOK_THIN": "shares",
    "RISK_SPREAD_WIDE": "pips",
    "RISK_WITHIN_LIMITS": "pUSD",
    "RISK_PORTFOLIO_LIMIT": "pUSD",
    "RISK_PORTFOLIO_RESHAPED": "pUSD",
    "RISK_MARKET_LIMIT": "pUSD",
    "RISK_MARKET_RESHAPED": "pUSD",
    "RISK_STRATEGY_CAP_NEAR": "pUSD",
    "EXEC_COST_ESTIMATED": "pUSD",
    "EXEC_COST_FEE_SCHEDULE_STALE": "pUSD",
    "EXEC_ROUTE_SPLIT": "shares",
    "EXEC_ROUTE_TAKE": "shares",
}
"""Unit of observed and limit, for reasons whose limit is worked out and not itself a parameter."""


def measured(reason: str, params: list[dict[str, Any]], limit: int) -> tuple[str, str]:
    """(name, unit) of what a decision measured: of the parameter whose kernel value its limit is, or by its reason.

    The name is "" where no parameter or more than one has that value, the unit where nothing is certain.
    """
    found = [param for param in params if limit and param["kernel"] == limit]
    units = {param["unit"] for param in found}
    unit = MEASURED_IN.get(reason) or (units.pop() if len(units) == 1 else "")
    return found[0]["name"] if len(found) == 1 and found[0]["unit"] == unit else "", unit


def observed_text(bot: dict[str, Any], reason: ReasonCode, observed: int, limit: int) -> tuple[str, str]:
    """(observed, limit) of a decision row for people; limit "" where there is none.

    A strategy's are its edge and fair price in micro-pUSD a share, an active kill switch names what
    latched it. Others are in kernel units (see `measured`); without a certain unit the bare numbers are given.
    """
    if bot["family"] == "strat":
        return f"{money_text(observed)} pUSD", f"{money_text(limit)} pUSD"
    if reason.number == Code.RISK_KILL_SWITCH_ACTIVE:
        return by_number(observed).name if observed else "a person", ""
    _, unit = measured(reason.name, bot["params"], limit)
    return quantity_text(observed, unit), quantity_text(limit, unit) if limit else ""


def decimal_text(value: int, unit: str) -> str:
    """A kernel value in its parameter's unit as decimal text; unit "" leaves the number as it is."""
    number = f"{Decimal(value) / UNITS[unit][0]:f}" if unit else str(value)
    return number.rstrip("0").rstrip(".") if "." in number else number


def quantity_text(value: int, unit: str) -> str:
    """A kernel value with its parameter's unit: (3_000_000_000, 's') -> '3 s'."""
    return f"{decimal_text(value, unit)} {SYMBOLS.get(unit, unit)}".rstrip()


def offset_text(ns: int) -> str:
    """A time after (+) or before (-) the decision in the unit that reads best: '+12.5 ms'."""
    for unit, scale in (("s", NS_PER_S), ("ms", NS_PER_MS), ("µs", NS_PER_US), ("ns", 1)):
        if abs(ns) >= scale:
            return f"{Decimal(ns // (scale // 1000 or 1)) / (1000 if scale > 1 else 1):+,f} {unit}".replace(",", " ")
    return "0"


assert MICRO == ONE * 100  # a strategy's pips x 100 are micro-pUSD
