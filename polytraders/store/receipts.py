"""From the rows of a run log to its receipts: one `ReportEnvelope` document per row that decides, sends or answers.

======================================  ==================================================================
intel, disc decision                    ObservationReport
strat decision                          DecisionReport (STRAT_RESHAPED_BY_RISK holds both shapes)
risk decision                           RiskVote
exec decision, action, venue's answer   ExecutionReport
resolution of a market                  SettlementReport of that market
begin and end of the run                OperationsReport; also a count of equal decisions left unwritten
======================================  ==================================================================

The runtime fills in who, which version, which configuration and when, from the manifest; no bot
does. Documents are built as plain dicts in the wire form of `contracts` and sealed here in about a
tenth of the time that the models need; `Receipts` holds the first document of every kind, bot and
reason against its model, and the tests hold all of them.

Invariants
    E1  the receipts of a run are a function of its log: the same log, the same bytes
    E2  receipts are in the order of the stream; at one place in it the event, what was decided after it, what was sent
"""

from __future__ import annotations

import hashlib
from collections import namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from polytraders import rows, units
from polytraders.contracts import GENESIS, NO_BUILDER, ReportEnvelope, canonical_json, derived_id, number_text
from polytraders.engine.fees import MICRO_PER_FEE_UNIT, maker_rebate
from polytraders.engine.state import MODE_ENFORCED, N_SLOTS
from polytraders.errors import DataError
from polytraders.reasons import Code, ReasonCode
from polytraders.rows import ActionKind, EventKind, Flag, OrderType, Outcome, Severity, Side, Verdict
from polytraders.store.books import Books
from polytraders.store.ids import correlation_id, envelope_id, intent_id
from polytraders.store.log import DTYPES, TIME_FIELD, RecordKind, RunLog, read_log
from polytraders.store.trace import ORDER_EVENTS, decimal_text, measured, mode_name, reason_of
from polytraders.units import NS_PER_S, money_text

Decision = namedtuple("Decision", rows.DECISION.names)
Action = namedtuple("Action", rows.ACTION.names)
Event = namedtuple("Event", rows.EVENT.names)

BATCH = 20_000
"""Rows turned into Python values at a time."""
INTENT_TTL = 60 * NS_PER_S
"""ns an intent stays good where its row does not say (the platform's rule: 60 s)."""

_iso_second = lru_cache(1 << 12)(lambda second: units.iso_utc(second * NS_PER_S)[:-10])
price_text = lru_cache(1 << 14)(units.price_text)
size_text = lru_cache(1 << 14)(units.size_text)
_SIDES = [side.name for side in Side]
_OUTCOMES = [outcome.name for outcome in Outcome]
_SEVERITIES = [severity.name for severity in Severity]


def iso_utc(ns: int) -> str:
    """`units.iso_utc`, remembering seconds: receipts ask for the same ones again and again."""
    second, rest = divmod(ns, NS_PER_S)
    return f"{_iso_second(second)}{rest:09d}Z"


class Terms(NamedTuple):
    """What a decision row's `terms` say of its intent beyond price and size."""

    order_type: str
    post_only: bool
    reduce_only: bool
    ttl: int  # ns


@lru_cache(1 << 10)
def terms_of(word: int) -> Terms:
    """The terms of an intent from its row's word (rows.TERMS_*)."""
    ttl = (word >> rows.TERMS_TTL_SHIFT) * units.NS_PER_MS or INTENT_TTL
    order_type = OrderType(word & rows.TERMS_ORDER_TYPE).name
    return Terms(order_type, bool(word & rows.TERMS_PASSIVE), bool(word & rows.TERMS_REDUCE), ttl)


@dataclass(frozen=True, slots=True)
class _Emitter:
    """Everything of an envelope that is the same for all receipts of one bot in one mode."""

    stage: str  # family
    base: dict[str, Any]
    params: list[dict[str, Any]]
    runtime: bool


@dataclass(slots=True)
class _Order:
    """An order as far as the log has told of it."""

    action: Any
    id: str
    filled: int = 0  # micro-shares
    fills: int = 0  # rows that told of one


class Receipts:
    """The unsealed envelopes of a run, in order; see `sealed` for the chain.

    Iterating raises `DamageError` for a damaged log, and `DataError` when a row does not make a valid
    receipt. A torn log is taken up to its end.
    """

    def __init__(self, run_dir: Path, log: RunLog | None = None):
        self.log = log or read_log(run_dir, allow_torn=True)
        manifest = self.log.manifest
        self.run_id, self.codes = manifest["run_id"], manifest["reason_codes"]
        self.bots, self.markets = manifest["bots"], [dict(market) for market in manifest["markets"]]
        config = manifest["config"]
        self.portfolio = config["portfolio"]["id"]
        self.builder = manifest["builder_code"] or NO_BUILDER
        self.strategy = manifest["strategy"]
        self.fees = config.get("venue", {}).get("simulated", {}).get("fees", True)
        self.emitters: dict[tuple[int, int], _Emitter] = {}
        self.reasons: dict[int, tuple[ReasonCode, str]] = {}
        self.orders: dict[int, _Order] = {}
        self.votes: list[dict[str, Any]] = []
        self.books = Books()
        self.settled: dict[int, dict[str, Any]] = {}  # the last SettlementReport of each market that was resolved
        self.checked: set[tuple[str, str, str]] = set()
        self._gather()

    def _gather(self) -> None:
        """One pass over the log: keep the rows that become receipts, and where each batch of events lies."""
        kept: dict[RecordKind, list[np.ndarray]] = {kind: [] for kind in RecordKind}
        last_seqs, reads, times = [], [], []
        for record in self.log.walk():
            table = record.rows
            if table is None:
                continue
            if record.kind is RecordKind.EVENTS:
                place = f"record:{record.number}/seq:{record.first_seq}-{record.last_seq}"
                reads.append([{"name": "events", "id": place, "hash": hashlib.sha256(table).hexdigest()}])
                last_seqs.append(record.last_seq)
                times += [record.first_ts, int(table["ts_recv"][-1])]
                table = table[np.isin(table["kind"], (*ORDER_EVENTS, *_MARKET_EVENTS, *_OPERATOR_EVENTS))]
            else:
                times += [record.first_ts, int(table["ts"][-1])]
            kept[record.kind].append(table)
        self.tables = {kind: _joined(kept[kind], kind) for kind in SOURCES}
        self.last_seqs, self.reads = np.array(last_seqs, np.int64), reads
        self.begin, self.end = min(times, default=0), max(times, default=0)
        self.rows = sum(len(table) for table in self.tables.values())
        for row in map(Action._make, self.tables[RecordKind.ACTIONS].tolist()):
            if row.kind == ActionKind.SUBMIT:
                self.orders[row.order_id] = _Order(row, derived_id("ord", self.run_id, row.order_id))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield self._begun()
        for source, row, read in self._rows_in_order():
            if source is RecordKind.DECISIONS:
                document = self._decision(row, read)
            elif source is RecordKind.ACTIONS:
                document = self._action(row)
            else:
                document = self._event(row, read)
            self._check(document)
            yield document
        if self.log.summary is not None:
            yield from self._corrections()
            yield self._ended(self.log.summary)

    def _rows_in_order(self) -> Iterator[tuple[RecordKind, Any, list[dict[str, Any]]]]:
        """(source, row, what it was based on), in the order of E2."""
        tables = list(self.tables.values())
        source = np.repeat(np.arange(len(SOURCES), dtype=np.int8), [len(table) for table in tables])
        index = np.concatenate([np.arange(len(table)) for table in tables])
        when = np.concatenate([table[TIME_FIELD[kind]] for kind, table in self.tables.items()])
        seq = np.concatenate([table["seq"] for table in tables])
        order = np.lexsort((index, source, when, seq))
        batch = np.minimum(np.searchsorted(self.last_seqs, seq, "left"), max(len(self.reads) - 1, 0))
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            ours = [table[index[part[source[part] == k]]] for k, table in enumerate(tables)]
            values = [map(make, table.tolist()) for make, table in zip(SOURCES.values(), ours, strict=True)]
            for k, read in zip(source[part].tolist(), batch[part].tolist(), strict=True):
                yield _KINDS[k], next(values[k]), self.reads[read] if self.reads else []

    def _check(self, document: dict[str, Any]) -> None:
        """Hold the first document of its kind, bot and reason against the contract."""
        shape = (document["kind"], document["bot_id"], document["reason_code"])
        if shape in self.checked:
            return
        self.checked.add(shape)
        place = {"envelope_id": envelope_id(0, "", 1), "seq": 1, "prev_hash": "1" * 64, "hash": GENESIS}
        try:
            ReportEnvelope.model_validate(document | place, context={"sealing": True})
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                f"a row does not make a valid receipt: {first['msg']}",
                where=f"{self.run_id}, {' '.join(shape)}, {'.'.join(map(str, first['loc']))}",
                rule="every receipt is a ReportEnvelope",
                mend="the bot returned a code, verdict or shape that contradict each other: correct it and run again",
            ) from None

    # -- what all envelopes share

    def _emitter(self, bot: int, mode: int) -> _Emitter:
        key = (bot, mode)
        if key not in self.emitters:
            row, runtime = self.bots[bot], bot == len(self.bots) - 1
            manifest = self.log.manifest
            base = {
                "envelope_version": "v2",
                "run_id": self.run_id,
                "run_mode": manifest["run_mode"],
                "bot_id": row["bot_id"],
                "bot_version": row["version"],
                "config_version": manifest["config_hash"][:16],
                "mode": mode_name(mode),
                "builder_code": self.builder,
            }
            self.emitters[key] = _Emitter(row["family"], base, row["params"], runtime)
        return self.emitters[key]

    def _reason(self, number: int) -> ReasonCode:
        if number not in self.reasons:
            self.reasons[number] = reason_of(number, self.codes)
        return self.reasons[number]

    def _runtime(self) -> _Emitter:
        return self._emitter(len(self.bots) - 1, MODE_ENFORCED)

    def _envelope(
        self,
        emitter: _Emitter,
        ns: int,
        corr: int,
        reason: ReasonCode,
        severity: str,
        payload: dict[str, Any],
        market: int = -1,
        reads: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        return {
            **emitter.base,
            "kind": payload["kind"],
            "correlation_id": correlation_of(self.run_id, corr),
            "reason_code": reason.name,
            "severity": severity,
            "subject": {
                "portfolio_id": self.portfolio,
                "strategy_id": self.strategy,
                "intent_id": intent_of(self.run_id, corr) if corr else None,
                "signal_id": None,
                "condition_id": self.markets[market]["condition_id"] if market >= 0 else None,
            },
            "reads": reads,
            "payload": payload,
            "emitted_at": iso_utc(ns),
            "emitted_at_ns": ns,
        }

    # -- begin, end, counts

    def _operations(
        self, emitter: _Emitter, ns: int, reason: ReasonCode, topic: str, summary: str, market: int = -1, **details: Any
    ) -> dict[str, Any]:
        payload = {"kind": "OperationsReport", "topic": topic, "summary": summary, "details": details}
        return self._envelope(emitter, ns, 0, reason, reason.severity.name, payload, market)

    def _begun(self) -> dict[str, Any]:
        m = self.log.manifest
        details = {
            key: m[key] for key in ("package_version", "source_hash", "config_hash", "strategy", "pins", "notes")
        }
        summary = f"The {m['run_mode']} of {self.strategy} began."
        reason = self._reason(Code.GOV_RUN_STARTED)
        document = self._operations(self._runtime(), self.begin, reason, "RunStarted", summary, **_plain(details))
        self._check(document)
        return document

    def _ended(self, summary: dict[str, Any]) -> dict[str, Any]:
        log = summary["log"]
        details = {"log_hash": log["hash"], "records": log["records"], "rows": log["rows"]}
        text = f"The {self.log.manifest['run_mode']} of {self.strategy} ended; its log is closed."
        reason = self._reason(Code.GOV_RUN_ENDED)
        document = self._operations(self._runtime(), self.end, reason, "RunEnded", text, **_plain(details))
        self._check(document)
        return document

    def _corrections(self) -> Iterator[dict[str, Any]]:
        """The settlements that came to something else after their report: a fill that was heard of or voided later."""
        for market, told in list(self.settled.items()):
            if self._came_to(market) != told:
                yield self._settled(market, self.end)

    # -- decisions

    def _decision(self, row: Any, reads: list[dict[str, Any]]) -> dict[str, Any]:
        emitter, reason = self._emitter(row.bot, row.mode), self._reason(row.code)
        if row.corr == 0 and row.size == 0 and row.slot != N_SLOTS:
            text = f"{row.repeats} more decisions equal to the one before it here were not written one by one."
            more = {"equal_decisions": row.repeats, "slot": row.slot}
            return self._operations(emitter, row.ts, reason, "EqualDecisions", text, row.market, **more)
        severity = _SEVERITIES[row.severity]
        condition = self.markets[row.market]["condition_id"]
        if emitter.stage in ("intel", "disc"):
            payload: dict[str, Any] = {"kind": "ObservationReport", "condition_id": condition}
            payload |= {"measures": _measures(row, emitter, reason), "market": None, "book": None}
            payload |= {"features": None, "signal": None}
        elif emitter.stage == "strat":
            payload = self._wanted(row, emitter, reason, condition)
        elif emitter.stage == "risk":
            payload = self._vote(row, emitter, reason, severity)
        else:
            payload = self._execution(
                _execution_event(reason),
                condition,
                row,
                limit_price=price_text(row.out_price),
                size_shares=size_text(row.out_size),
                measures=_measures(row, emitter, reason),
            )
        return self._envelope(emitter, row.ts, row.corr, reason, severity, payload, row.market, reads)

    def _wanted(self, row: Any, emitter: _Emitter, reason: ReasonCode, condition: str) -> dict[str, Any]:
        """A strategy's row: what it wanted, or both shapes, or why it wanted nothing."""
        reshaped = reason.number == Code.STRAT_RESHAPED_BY_RISK
        if not reshaped:
            self.votes = []
        wants = row.size > 0 and row.price > 0
        return {
            "kind": "DecisionReport",
            "condition_id": condition,
            "intent": self._intent(row, row.price, row.size, reason, reshaped) if wants else None,
            "votes": self.votes if reshaped and wants else [],
            "final_intent": self._intent(row, row.out_price, row.out_size, reason, reshaped)
            if wants and reshaped and row.out_size > 0 and row.out_price > 0
            else None,
            "reasoning": reason.meaning,
            "measures": _measures(row, emitter, reason, edge=not reshaped),
        }

    def _intent(self, row: Any, price: int, size: int, reason: ReasonCode, reshaped: bool) -> dict[str, Any]:
        terms = terms_of(row.terms)
        return {
            "ts": iso_utc(row.ts),
            "ts_ns": row.ts,
            "intent_id": intent_of(self.run_id, row.corr),
            "strategy_id": self.strategy,
            "portfolio_id": self.portfolio,
            "condition_id": self.markets[row.market]["condition_id"],
            "outcome": _OUTCOMES[row.outcome],
            "side": _SIDES[row.side],
            "order_type": terms.order_type,
            "post_only": terms.post_only,
            "reduce_only": terms.reduce_only,
            "limit_price": price_text(price),
            "size_pusd": size_text(units.notional_micro(price, size)),
            "size_shares": size_text(size),
            "max_slippage_bps": None,
            # a row's edge is in micro-pUSD a share, 100 of which are a bps of 1 pUSD
            "model_edge_bps": None if reshaped else number_text(Decimal(row.observed) / 100),
            "signal_ref": None,
            "reason_code": reason.name,
            "builder_code": self.builder,
            "expires_at": iso_utc(row.ts + terms.ttl),
        }

    def _vote(self, row: Any, emitter: _Emitter, reason: ReasonCode, severity: str) -> dict[str, Any]:
        verdict = Verdict(row.verdict)
        bot, mode = emitter.base["bot_id"], emitter.base["mode"]
        self.votes.append({"bot_id": bot, "mode": mode, "decision": verdict.name, "reason_code": reason.name})
        constraints = None
        if verdict is Verdict.RESHAPE:
            lower, raised = row.out_price < row.price, row.out_price > row.price
            constraints = {
                "max_size": size_text(row.out_size),
                "max_price": price_text(row.out_price) if lower else None,
                "min_price": price_text(row.out_price) if raised else None,
                "passive_only": bool(row.terms & rows.TERMS_VOTE_PASSIVE),
                "close_only": bool(row.terms & rows.TERMS_VOTE_CLOSE),
            }
        return {
            "ts": iso_utc(row.ts),
            "ts_ns": row.ts,
            "kind": "RiskVote",
            "bot_id": bot,
            "intent_id": intent_of(self.run_id, row.corr),
            "decision": verdict.name,
            "severity": severity,
            "reason_code": reason.name,
            "message": reason.user_message,
            "constraints": constraints,
            "measures": _measures(row, emitter, reason),
        }

    # -- orders

    def _execution(self, event: str, condition: str | None, row: Any, **fields: Any) -> dict[str, Any]:
        return {
            "kind": "ExecutionReport",
            "event": event,
            "condition_id": condition,
            "intent_id": intent_of(self.run_id, row.corr) if row.corr else None,
            "order_id": None,
            "venue_order_id": None,
            "outcome": _OUTCOMES[row.outcome],
            "side": _SIDES[row.side],
            "filled_shares": "0",
            "plan": None,
            "fill": None,
            "venue_message": None,
            "measures": [],
            **fields,
        }

    def _action(self, row: Any) -> dict[str, Any]:
        if row.kind == ActionKind.CANCEL_ALL:
            reason = self._reason(Code.EXEC_CANCEL_SENT)
            text = "All open orders were asked to be cancelled."
            return self._operations(self._runtime(), row.ts, reason, "CancelAll", text, row.market)
        if row.kind in _SETS_ASKED:
            text = f"{size_text(row.size)} complete sets were asked to be {_SETS_ASKED[row.kind]}."
            reason = self._reason(Code.EXEC_SETS_SENT)
            return self._operations(self._runtime(), row.ts, reason, "CompleteSets", text, row.market)
        if row.kind >= rows.TO_PEOPLE:
            return self._proposal(row)
        sent, order = row.kind == ActionKind.SUBMIT, self.orders.get(row.order_id)
        if order is None:
            return self._unknown(row, row.ts, "A cancel was sent")
        reason = self._reason(Code.EXEC_SUBMITTED if sent else Code.EXEC_CANCEL_SENT)
        payload = self._execution(
            "submitted" if sent else "cancel_sent",
            self.markets[row.market]["condition_id"],
            row,
            order_id=order.id,
            limit_price=price_text(row.price),
            size_shares=size_text(order.action.size),
            filled_shares=size_text(order.filled),
        )
        return self._envelope(self._runtime(), row.ts, row.corr, reason, reason.severity.name, payload, row.market)

    def _proposal(self, row: Any) -> dict[str, Any]:
        """An order was put to a person, or that proposal is over; `size_shares` is then what was never sent."""
        made = row.kind == ActionKind.PROPOSE
        reason = self._reason(Code.EXEC_PROPOSED if made else row.expiry)
        payload = self._execution(
            "planned" if made else _execution_event(reason),
            self.markets[row.market]["condition_id"],
            row,
            limit_price=price_text(row.price),
            size_shares=size_text(row.size),
        )
        return self._envelope(self._runtime(), row.ts, row.corr, reason, reason.severity.name, payload, row.market)

    def _event(self, row: Any, reads: list[dict[str, Any]]) -> dict[str, Any]:
        if row.kind == EventKind.RESOLUTION:
            return self._settlement(row, reads)
        order, kind = self.orders.get(row.aux), EventKind(row.kind)
        if kind in _OPERATOR_EVENTS:
            return self._operator_event(row, kind)
        if kind in _MARKET_EVENTS:
            return self._market_event(row, kind)
        if order is None:
            return self._unknown(row, row.ts_recv, f"The venue reported {kind.name}")
        action, fill = order.action, None
        if kind in _FILLS:
            code = Code.EXEC_FILL_VOIDED if kind is EventKind.FILL_VOIDED else Code.EXEC_FILL
            reason, fill = self._reason(code), self._fill(row, order, kind)
            event = "filled" if order.filled >= action.size else "partially_filled"
        else:
            event, code = _ANSWERS[kind]
            if row.flags & Flag.DELAYED:
                code = Code.EXEC_DELAYED
            reason = self._reason(code if kind is EventKind.ORDER_ACK else row.size or code)
        payload = self._execution(
            event,
            self.markets[row.market]["condition_id"],
            action,
            order_id=order.id,
            limit_price=price_text(action.price),
            size_shares=size_text(action.size),
            filled_shares=size_text(order.filled),
            fill=fill,
        )
        severity = reason.severity.name
        return self._envelope(self._runtime(), row.ts_recv, action.corr, reason, severity, payload, row.market, reads)

    def _market_event(self, row: Any, kind: EventKind) -> dict[str, Any]:
        """A rule that changed, a payout that arrived, complete sets that changed."""
        market = self.markets[row.market]
        if kind is EventKind.FEES:
            market["fee_rate"], market["fee_exponent"], market["rebate_rate"] = row.size, row.price, row.aux
            rate, rebate = money_text(row.size), money_text(row.aux)
            code, topic = Code.EXEC_RULE_CHANGED, "FeeSchedule"
            text = f"From here on the fee rate is {rate}, the exponent {row.price}, and makers get {rebate} of the fee."
        elif kind is EventKind.TAKER_DELAY:
            code, topic = Code.EXEC_RULE_CHANGED, "TakerDelay"
            text = f"From here on an order that takes waits {row.size / 1e6:g} ms at the venue."
        elif kind is EventKind.REDEMPTION:
            code, topic, text = Code.EXEC_MARKET_REDEEMED, "Redemption", "What the market pays has become cash."
        elif row.size == 0:
            code, topic, text = Code.EXEC_SETS_REFUSED, "CompleteSets", "The venue did not change the complete sets."
        else:
            if kind is EventKind.CONVERT:
                event = [i for i, m in enumerate(self.markets) if m["neg_risk"] and m["event_id"] == market["event_id"]]
                at = event.index(row.market)
                self.books.convert([*event[at:], *event[:at]], row.price, row.size)
            else:
                self.books.change_sets(kind, row.market, row.size)
            code, topic = Code.EXEC_SETS_CHANGED, "CompleteSets"
            text = f"{size_text(row.size)} complete sets were {_SETS_DONE[kind]}."
        return self._operations(self._runtime(), row.ts_recv, self._reason(code), topic, text, row.market)

    def _operator_event(self, row: Any, kind: EventKind) -> dict[str, Any]:
        """What a person or the runner decided. Who it was stands in the store, beside this."""
        details: dict[str, Any] = {}
        if kind is EventKind.APPROVAL:
            said = _SAID.get(row.size, rows.Answer.EXPIRED)  # the step takes what it does not know for a no
            code, topic, text = _ANSWER_CODES[said], "Approval", f"A proposal was answered: {said.name}."
            details = {"intent_id": intent_of(self.run_id, row.aux), "answer": said.name}
        elif kind is EventKind.SWITCH:
            scope = _SCOPES.get(row.aux, str(row.aux))
            armed = "armed" if row.size else "cleared"
            code = (row.ref or Code.RISK_KILL_SWITCH_ACTIVE) if row.size else Code.RISK_TRADING_ALLOWED
            topic, text = "KillSwitch", f"A kill switch was {armed}: {scope}."
            details = {"scope": scope, "subject": row.price, "armed": bool(row.size)}
        else:
            code, topic = Code.EXEC_EXIT_FORCED, "Exit"
            text = "A position is to be closed." if row.size else "A position need no longer be closed."
        reason = self._reason(int(code))
        return self._operations(self._runtime(), row.ts_recv, reason, topic, text, row.market, **details)

    def _unknown(self, row: Any, ns: int, what: str) -> dict[str, Any]:
        order = row.aux if isinstance(row, Event) else row.order_id
        text = f"{what} of order {order}, which this log did not send."
        reason = self._reason(Code.EXEC_UNKNOWN_ORDER)
        return self._operations(self._runtime(), ns, reason, "UnknownOrder", text, row.market)

    def _fill(self, row: Any, order: _Order, kind: EventKind) -> dict[str, Any]:
        """The fill of a venue's row, booked."""
        action, market = order.action, self.markets[row.market]
        fee, rebate, maker = row.ref * MICRO_PER_FEE_UNIT, 0, bool(row.flags & Flag.MAKER)
        if maker:
            rate = market["fee_rate"] if self.fees else 0
            rebate = int(maker_rebate(row.size, row.price, rate, market["fee_exponent"], market["rebate_rate"]))
        order.filled += self.books.fill(row.market, action, row.price, row.size, fee, rebate, kind)
        order.fills += 1
        return {
            "ts": iso_utc(row.ts_recv),
            "ts_ns": row.ts_recv,
            "fill_id": derived_id("fill", self.run_id, action.order_id, order.fills),
            "order_id": order.id,
            "venue_order_id": None,
            "intent_id": intent_of(self.run_id, action.corr),
            "condition_id": market["condition_id"],
            "outcome": _OUTCOMES[action.outcome],
            "side": _SIDES[action.side],
            "price": price_text(row.price),
            "size_shares": size_text(row.size),
            "liquidity": "maker" if maker else "taker",
            "fee_pusd": money_text(fee),
            "rebate_pusd": money_text(rebate),
            "builder_fee_pusd": "0",
            "builder_code": self.builder,
            "status": _FILLS[kind],
            "tx_hash": None,
            "exchange_ts": iso_utc(row.ts_event),
        }

    def _settlement(self, row: Any, reads: list[dict[str, Any]]) -> dict[str, Any]:
        self.books.resolve(row.market, row.price)
        return self._settled(row.market, row.ts_recv, reads)

    def _settled(self, market: int, ns: int, reads: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """What a market that was resolved came to, as far as it is known at `ns`."""
        self.settled[market] = self._came_to(market)
        payload = {
            "kind": "SettlementReport",
            "scope": "market",
            "condition_id": self.markets[market]["condition_id"],
            "payout": price_text(self.books.payouts[market]),
            **self._sums(**self.settled[market], unrealised=0, until=ns),
        }
        reason = self._reason(Code.EXEC_MARKET_SETTLED)
        return self._envelope(self._runtime(), ns, 0, reason, reason.severity.name, payload, market, reads)

    def _came_to(self, market: int) -> dict[str, int]:
        position = self.books.position(market)
        return {name: int(position[name]) for name in ("fills", "realised", "fees", "rebates")}

    def _sums(
        self, *, fills: int, realised: int, fees: int, rebates: int, unrealised: int, until: int
    ) -> dict[str, Any]:
        """The part of a SettlementReport that is money: micro-pUSD in, texts out."""
        return {
            "portfolio_id": self.portfolio,
            "period_start": iso_utc(self.begin),
            "period_end": iso_utc(until),
            "fills": fills,
            "realised_pnl_pusd": money_text(realised),
            "unrealised_pnl_pusd": money_text(unrealised),
            "fees_pusd": money_text(fees),
            "rebates_pusd": money_text(rebates),
            "builder_fees_pusd": "0",
            "net_pnl_pusd": money_text(realised + unrealised - fees + rebates),
            "positions": [],
        }


_MARKET_EVENTS = (
    EventKind.RESOLUTION,
    EventKind.FEES,
    EventKind.TAKER_DELAY,
    EventKind.REDEMPTION,
    EventKind.SPLIT,
    EventKind.MERGE,
    EventKind.CONVERT,
)
"""What is told of a market, not of an order."""
_OPERATOR_EVENTS = (EventKind.APPROVAL, EventKind.SWITCH, EventKind.EXIT)
"""What a person or the runner decided."""
_SCOPES = {scope.value: scope.name for scope in rows.Scope}
_SAID = {said.value: said for said in rows.Answer}
_ANSWER_CODES = {
    rows.Answer.APPROVED: Code.EXEC_APPROVED,
    rows.Answer.REJECTED: Code.EXEC_APPROVAL_REJECTED,
    rows.Answer.EXPIRED: Code.EXEC_APPROVAL_EXPIRED,
}
_SETS_ASKED = {ActionKind.SPLIT: "made", ActionKind.MERGE: "merged", ActionKind.CONVERT: "converted"}
_SETS_DONE = {EventKind.SPLIT: "made", EventKind.MERGE: "merged", EventKind.CONVERT: "converted"}


SOURCES = {RecordKind.EVENTS: Event._make, RecordKind.DECISIONS: Decision._make, RecordKind.ACTIONS: Action._make}
_KINDS = list(SOURCES)
_FILLS = {
    EventKind.FILL_PROVISIONAL: "provisional",
    EventKind.FILL_CONFIRMED: "confirmed",
    EventKind.FILL_VOIDED: "voided",
}
_ANSWERS = {
    EventKind.ORDER_ACK: ("acknowledged", Code.EXEC_RESTING),
    EventKind.ORDER_REJECT: ("rejected", Code.EXEC_REJECTED),
    EventKind.CANCEL: ("cancelled", Code.EXEC_CANCELLED),
}


correlation_of = lru_cache(1 << 12)(correlation_id)
intent_of = lru_cache(1 << 12)(intent_id)


def _joined(parts: list[np.ndarray], kind: RecordKind) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, DTYPES[kind])


def _plain(value: Any) -> Any:
    """Manifest values as a receipt may hold them: floats as decimal text."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return number_text(value) if isinstance(value, float) else value


def _execution_event(reason: ReasonCode) -> str:
    """What an execution bot's reason says of the order (the events of an ExecutionReport)."""
    if reason.severity is Severity.HARD_REJECT:
        return "denied"
    if reason.name.startswith("EXEC_COST_"):
        return "estimated"
    return {Code.EXEC_KEPT: "kept", Code.EXEC_SUBMITTED: "submitted"}.get(reason.number, "planned")


def _measure(name: str, value: int, limit: int | None, unit: str) -> dict[str, Any]:
    texts = decimal_text(value, unit), None if limit is None else decimal_text(limit, unit)
    return {"name": name, "value": texts[0], "limit": texts[1], "unit": unit or "raw"}


def _measures(row: Any, emitter: _Emitter, reason: ReasonCode, *, edge: bool = True) -> list[dict[str, Any]]:
    """What the bot measured and held it against, and how many equal decisions stood before it."""
    found = []
    if emitter.stage == "strat":
        if edge and row.size > 0:
            found += [_measure("edge", row.observed, None, "pUSD"), _measure("fair_price", row.limit, None, "pUSD")]
    elif emitter.runtime:
        found += [_measure("free_cash", row.observed, None, "pUSD")]
    elif row.observed or row.limit:
        name, unit = measured(reason.name, emitter.params, row.limit)
        found += [_measure(name or "observed", row.observed, row.limit or None, unit)]
    if row.repeats:
        found += [_measure("equal_before", row.repeats, None, "count")]
    return found


_BEFORE_HASH = b'"envelope_version":"v2",'
"""In canonical order `hash` comes behind the version, and nothing before that is free text."""


def sealed(document: dict[str, Any], run_id: str, seq: int, prev_hash: str) -> tuple[str, bytes]:
    """Give a receipt its place and id (in place). Returns its hash and the canonical JSON of the whole with it."""
    document["envelope_id"] = envelope_id(document["emitted_at_ns"], run_id, seq)
    document["seq"], document["prev_hash"] = seq, prev_hash
    content = canonical_json(document)
    digest = hashlib.sha256(content).hexdigest()
    return digest, content.replace(_BEFORE_HASH, b'%b"hash":"%b",' % (_BEFORE_HASH, digest.encode()), 1)
