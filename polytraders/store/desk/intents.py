"""Trade intents and the answers to them.

    PENDING ──approve──► APPROVED ──run──► EXECUTED
       ├──reject──► REJECTED    └──run──► VOID
       ├──time────► EXPIRED
       └──market moved, run withdrew it──► VOID

Invariants
    T1  a trade intent leaves PENDING once, whoever races whom; what comes later is refused with its code
    T2  an approval counts only for what was shown: another hash is refused, a market that moved past the
        tolerance makes the intent void
    T3  two persons are two: one person's second approval changes nothing
    T4  nothing is approved while a kill switch covers it, but, where the policy says so, what only closes a position:
        what waited when the switch was armed was rejected then, so it was proposed knowing of the switch
    T5  doing the same again gives the same answer and writes nothing
    T6  nothing is approved that nobody would carry out: its run has ended, or its process is gone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from polytraders import units
from polytraders.config import Approvals
from polytraders.contracts import (
    Actor,
    Approval,
    OrderIntent,
    TradeIntent,
    VoteReceived,
    at,
    derived_id,
    number_text,
    shown_hash,
)
from polytraders.errors import UsageError
from polytraders.rows import Side
from polytraders.store.desk.answers import Answer, refusal, refuse
from polytraders.store.desk.board import absent
from polytraders.store.desk.journal import SYSTEM, Entry, Kind, Write, append, clock
from polytraders.store.desk.switches import armed_switches, covering
from polytraders.store.sql import Database, Transaction

OPEN = ("PENDING", "APPROVED")
STATUSES = ("PENDING", "APPROVED", "EXECUTED", "REJECTED", "EXPIRED", "VOID")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trade intent as its run puts it to the desk."""

    intent: TradeIntent
    run_id: str
    corr: int  # correlation number: what EventKind.APPROVAL names
    price_shown: int | None = None  # pips, best price on the side it would trade with; None of a claim
    notional: int = 0  # micro-pUSD
    figures: Mapping[str, Any] = field(default_factory=dict)  # p_hat, q_exec, net_edge_bps, p_fill ... as text


def proposal(
    policy: Approvals,
    *,
    run_id: str,
    corr: int,
    now: int,
    portfolio_id: str,
    condition_id: str,
    reason_code: str,
    reasoning: str,
    order: OrderIntent | None = None,
    claim_shares: str | None = None,
    trigger: str | None = None,
    votes: Iterable[VoteReceived] = (),
    book_hash: str | None = None,
    price_shown: int | None = None,
    model_price: str | None = None,
    market_price: str | None = None,
    claim_micro: int = 0,
    figures: Mapping[str, Any] | None = None,
    expires_ns: int | None = None,
) -> Proposal:
    """A proposal with everything that follows from its parts: id, type, hash, edge, expiry, persons needed.

    Parameters
    ----------
    order: the order as risk left it; None makes it a claim, which needs `claim_shares` and `claim_micro`
        (micro-pUSD it pays). An order that is reduce_only closes, any other opens.
    price_shown: pips, the price it would trade at now, in the order's own token.
    expires_ns: when earlier than the policy's expiry.

    Raises ValidationError when the parts do not make a TradeIntent.
    """
    votes = tuple(votes)
    kind = "CLAIM_SETTLEMENT" if order is None else "CLOSE_POSITION" if order.reduce_only else "OPEN_POSITION"
    notional = claim_micro if order is None else units.money_micro(order.size_pusd)
    edge = None
    if model_price is not None and market_price is not None and order is not None:
        sign = 1 if order.side is Side.BUY else -1
        edge = number_text(_decimal(model_price, market_price) * 10_000 * sign)
    expires = now + policy.expiry_s * units.NS_PER_S
    intent = TradeIntent(
        **at(now),
        trade_intent_id=derived_id("ti", run_id, corr),
        type=kind,
        status="PENDING",
        portfolio_id=portfolio_id,
        condition_id=condition_id,
        intent=order,
        claim_shares=claim_shares,
        trigger=trigger,
        votes=votes,
        book_hash=book_hash,
        shown_hash=shown_hash(order, book_hash, votes),
        model_price=model_price,
        market_price=market_price,
        edge_bps=edge,
        tolerance_bps=policy.tolerance_bps,
        reason_code=reason_code,
        reasoning=reasoning,
        approvals_needed=persons_needed(policy, kind, notional),
        expires_at=units.iso_utc(expires if expires_ns is None else min(expires, expires_ns)),
    )
    return Proposal(intent, run_id, corr, price_shown, notional, dict(figures or {}))


def _decimal(model: str, market: str) -> Any:
    from decimal import Decimal

    return Decimal(model) - Decimal(market)


def persons_needed(policy: Approvals, kind: str, notional: int) -> int:
    """One person, or two from the policy's notional on. A claim moves our own money home: one."""
    return 2 if kind != "CLAIM_SETTLEMENT" and notional >= policy.two_persons_above_micro else 1


# ----------------------------------------------------------------------------------------- what a run does


def propose(desk: Database, proposals: Iterable[Proposal], now: int | None = None) -> list[str]:
    """Put trade intents to the desk; the ids of those that are new.

    One that is already there with the same hash is left as it is (T5). Raises UsageError when one comes again as
    something else: nothing of the call is written then.
    """
    now, fresh = clock(now), []
    with desk.write() as tx:
        for one in proposals:
            known = tx.row(
                "SELECT shown_hash FROM trade_intents WHERE trade_intent_id = :id", id=one.intent.trade_intent_id
            )
            if known is None:
                fresh.append(_entry(one))
            elif known["shown_hash"] != one.intent.shown_hash:
                raise UsageError(
                    "this trade intent was proposed as something else",
                    where=one.intent.trade_intent_id,
                    rule="what a person is shown never changes",
                    mend="give it a correlation number of its own",
                )
        if fresh:
            append(tx, now, *fresh)
    return [entry.subject for entry in fresh]


def _entry(one: Proposal) -> Entry:
    intent = one.intent
    order = intent.intent
    row = {
        "run_id": one.run_id,
        "corr": one.corr,
        "type": intent.type,
        "status": "PENDING",
        "code": "GOV_INTENT_PROPOSED",
        "portfolio_id": intent.portfolio_id,
        "strategy_id": order.strategy_id if order else "",
        "condition_id": intent.condition_id,
        "outcome": order.outcome.name if order else "",
        "side": order.side.name if order else "",
        "notional_micro": one.notional,
        "needed": intent.approvals_needed,
        "given": 0,
        "shown_hash": intent.shown_hash,
        "price_shown": one.price_shown,
        "tolerance_pips": intent.tolerance_bps,  # 1 bps of 1 pUSD is 1 pip
        "created_ns": intent.ts_ns,
        "expires_ns": units.ns_from_iso(intent.expires_at),
        "decided_ns": None,
        "order_key": None,
        "document": intent.to_json().decode(),
        "figures": orjson.dumps(dict(one.figures), option=orjson.OPT_SORT_KEYS).decode(),
    }
    return Entry(
        Kind.PROPOSE,
        Actor(kind="system", id=one.run_id),
        "run",
        intent.trade_intent_id,
        {"code": "GOV_INTENT_PROPOSED", "corr": one.corr, "reason": intent.reason_code},
        one.run_id,
        [Write("trade_intents", (intent.trade_intent_id,), row, new=True)],
    )


def executed(desk: Database, trade_intent_id: str, order_key: str, now: int | None = None) -> Answer:
    """Say that an approved trade intent was handed to the venue as the order `order_key`."""
    return executed_many(desk, {trade_intent_id: order_key}, now)[0]


def executed_many(desk: Database, keys: Mapping[str, str], now: int | None = None) -> list[Answer]:
    """`executed` of several (trade intent -> order key), in one transaction."""
    now = clock(now)
    with desk.write() as tx:
        found = _rows(tx, tuple(keys))
        told = [_finished(found[id_], Kind.EXECUTE, "EXECUTED", "GOV_INTENT_EXECUTED", now, order_key=key)
                for id_, key in keys.items()]  # fmt: skip
        return _put_down(tx, now, told)


def void(
    desk: Database, trade_intent_id: str, now: int | None = None, *, code: str = "GOV_INTENT_VOID", why: str = ""
) -> Answer:
    """Withdraw a trade intent that lost its ground (its reason went away, the step refused it after all)."""
    now = clock(now)
    with desk.write() as tx:
        return _put_down(tx, now, [_finished(_row(tx, trade_intent_id), Kind.VOID, "VOID", code, now, why=why)])[0]


Told = tuple[Sequence[Entry], Answer]
"""What is to be put down of a request, and its answer, which gets the place of the last of that."""


def _put_down(tx: Transaction, now: int, told: Sequence[Told]) -> list[Answer]:
    seq = append(tx, now, *(entry for entries, _ in told for entry in entries))
    seq -= sum(len(entries) for entries, _ in told)
    answers = []
    for entries, answer in told:
        seq += len(entries)
        answers.append(replace(answer, seq=seq if entries else 0))
    return answers


def _finished(row: Mapping[str, Any], kind: Kind, status: str, code: str, now: int, **details: str) -> Told:
    id_, actor = row["trade_intent_id"], Actor(kind="system", id=row["run_id"])
    if row["status"] == status:
        return (), Answer(True, row["code"], id_, status)
    if row["status"] not in (("APPROVED",) if status == "EXECUTED" else OPEN):
        code = "GOV_APPROVAL_NOT_PENDING"
        return [refusal(actor, "run", kind, id_, code)], Answer(False, code, id_, row["status"])
    extra = {"order_key": details["order_key"]} if status == "EXECUTED" else {}
    entry = _changed(now, kind, actor, "run", row, status, code, details, extra)
    return [entry], Answer(True, code, id_, status)


def _changed(
    now: int,
    kind: Kind,
    actor: Actor,
    channel: str,
    row: Mapping[str, Any],
    status: str,
    code: str,
    payload: Mapping[str, Any],
    values: Mapping[str, Any] | None = None,
    *more: Write,
) -> Entry:
    changed = {"status": status, "code": code, "decided_ns": now, **(values or {})}
    told = {"code": code, "corr": row["corr"], "status": status, **payload}
    writes = [Write("trade_intents", (row["trade_intent_id"],), changed), *more]
    return Entry(kind, actor, channel, row["trade_intent_id"], told, row["run_id"], writes)


# --------------------------------------------------------------------------------------- what a person does


def approve(
    desk: Database,
    trade_intent_id: str,
    actor: Actor,
    channel: str,
    policy: Approvals,
    now: int | None = None,
    *,
    shown: str | None = None,
    comment: str | None = None,
    policy_name: str | None = None,
) -> Answer:
    """Approve a trade intent.

    Parameters
    ----------
    actor, channel: who, through which door (cli, http, notebook, policy).
    shown: the shown_hash the person saw; None = the intent's, which never changes under its id.
    policy_name: of the policy that answers, with channel policy only (see `auto_approve`).

    The answer's `ok` says whether the approval counts, `status` whether it was the last one needed, `code` why not:
    GOV_APPROVAL_LATE, _HASH_MISMATCH, _NOT_PENDING, _PRICE_MOVED, _MARKET_STALE, _NO_PERSON, _RUN_GONE or
    RISK_KILL_SWITCH_ACTIVE. Raises UsageError for an unknown id.
    """
    seen = {} if shown is None else {trade_intent_id: shown}
    return approve_many(
        desk, [trade_intent_id], actor, channel, policy, now, shown=seen, comment=comment, policy_name=policy_name
    )[0]


def approve_many(
    desk: Database,
    ids: Sequence[str],
    actor: Actor,
    channel: str,
    policy: Approvals,
    now: int | None = None,
    *,
    shown: Mapping[str, str] | None = None,
    comment: str | None = None,
    policy_name: str | None = None,
) -> list[Answer]:
    """`approve` of several, each judged by itself, in one transaction; `shown`: trade intent -> the hash that was seen.

    An unknown id refuses all of them.
    """
    now, ids = clock(now), tuple(dict.fromkeys(ids))
    with desk.write() as tx:
        found = _rows(tx, ids)
        mine = _answers_of(tx, ids, actor)
        armed = armed_switches(tx)
        lost = {run_id: absent(tx, run_id, now) for run_id in {row["run_id"] for row in found.values()}}
        request = _Request(actor, channel, policy, now, comment, policy_name, lost)
        told = [_judged(tx, found[id_], request, mine.get(id_), armed, (shown or {}).get(id_)) for id_ in ids]
        return _put_down(tx, now, told)


@dataclass(frozen=True, slots=True)
class _Request:
    actor: Actor
    channel: str
    policy: Approvals
    now: int
    comment: str | None
    policy_name: str | None
    lost: Mapping[str, str]  # run -> why nobody would carry out what is approved, "" = somebody would


def _judged(
    tx: Transaction,
    row: Mapping[str, Any],
    request: _Request,
    mine: Mapping[str, Any] | None,
    armed: Sequence[Mapping[str, Any]],
    shown: str | None,
) -> Told:
    """One approval: what becomes of it (T1 ... T6)."""
    id_, now, actor = row["trade_intent_id"], request.now, request.actor

    def no(code: str, status: str | None = None, *before: Entry, **details: Any) -> Told:
        entry = refusal(actor, request.channel, Kind.APPROVE, id_, code, **details)
        return [*before, entry], Answer(False, code, id_, status or row["status"], 0, details)

    if mine is not None and mine["decision"] == "APPROVE" and row["status"] in (*OPEN, "EXECUTED"):
        code = "GOV_APPROVAL_FIRST_OF_TWO" if row["status"] == "PENDING" else "GOV_APPROVAL_GIVEN"
        return (), Answer(True, code, id_, row["status"], 0, {"approval_id": mine["approval_id"]})
    if row["status"] == "EXPIRED":
        return no("GOV_APPROVAL_LATE")
    if row["status"] != "PENDING":
        return no("GOV_APPROVAL_NOT_PENDING")
    by_policy = request.channel == "policy" and bool(request.policy_name)
    if actor.kind == "bot" or (actor.kind == "system") != by_policy:
        return no("GOV_APPROVAL_NO_PERSON")
    if now >= row["expires_ns"]:
        return no("GOV_APPROVAL_LATE", "EXPIRED", _expired(now, row))
    if why := request.lost[row["run_id"]]:
        return no("GOV_APPROVAL_RUN_GONE", run_id=row["run_id"], run=why)
    if shown is not None and shown != row["shown_hash"]:
        return no("GOV_APPROVAL_HASH_MISMATCH")
    closes = request.policy.closes_when_stopped and row["type"] == "CLOSE_POSITION"
    if not closes and (switch := covering(tx, row, armed)) is not None:
        return no("RISK_KILL_SWITCH_ACTIVE", switch=switch)
    fault, details = _market_fault(tx, row, request.policy, now)
    if fault == "GOV_APPROVAL_PRICE_MOVED":
        void = _changed(now, Kind.VOID, SYSTEM, request.channel, row, "VOID", fault, details)
        return no(fault, "VOID", void, **details)
    if fault:
        return no(fault, **details)
    return _counted(row, request, details)


def _market_fault(tx: Transaction, row: Mapping[str, Any], policy: Approvals, now: int) -> tuple[str, dict[str, Any]]:
    """Why the market forbids an approval, '' when it does not, and what was seen of it.

    A run that publishes no quotes is not asked: its step holds the approval against its own book in any case.
    """
    if row["price_shown"] is None:
        return "", {}
    quote = tx.row(
        "SELECT bid, ask, book_hash, ts_ns FROM quotes WHERE run_id = :run_id AND condition_id = :condition_id "
        "AND outcome = :outcome",
        run_id=row["run_id"],
        condition_id=row["condition_id"],
        outcome=row["outcome"],
    )
    if quote is None:
        return "", {}
    if now - quote["ts_ns"] > policy.quote_age_ns:
        return "GOV_APPROVAL_MARKET_STALE", {"age_ms": (now - quote["ts_ns"]) // units.NS_PER_MS}
    price = quote["ask" if row["side"] == "BUY" else "bid"]
    seen = {"price_shown": row["price_shown"], "price_now": price, "book_hash": quote["book_hash"]}
    if price is None or abs(price - row["price_shown"]) > row["tolerance_pips"]:
        return "GOV_APPROVAL_PRICE_MOVED", seen
    return "", seen


def _counted(row: Mapping[str, Any], request: _Request, seen: Mapping[str, Any]) -> Told:
    id_, now = row["trade_intent_id"], request.now
    document, write = _answer_document(
        now, row, request.actor, request.channel, "APPROVE", request.comment, request.policy_name
    )
    given = row["given"] + 1
    final = given >= row["needed"]
    code = "GOV_APPROVAL_FIRST_OF_TWO"
    if final:
        code = "GOV_APPROVAL_BY_POLICY" if request.channel == "policy" else "GOV_APPROVAL_GIVEN"
    payload = {"final": final, "approval_id": document.approval_id, "shown_hash": row["shown_hash"], **seen}
    status = "APPROVED" if final else "PENDING"
    values = {"given": given, "decided_ns": now if final else None}
    entry = _changed(now, Kind.APPROVE, request.actor, request.channel, row, status, code, payload, values, write)
    return [entry], Answer(True, code, id_, status, 0, {"approval_id": document.approval_id})


def _answer_document(
    now: int,
    row: Mapping[str, Any],
    actor: Actor,
    channel: str,
    decision: str,
    comment: str | None,
    policy_name: str | None = None,
) -> tuple[Approval, Write]:
    id_, shown = row["trade_intent_id"], row["price_shown"]
    document = Approval(
        **at(now),
        approval_id=derived_id("apr", id_, actor.kind, actor.id),
        trade_intent_id=id_,
        decision=decision,
        actor=actor,
        channel=channel,
        policy=policy_name,
        shown_hash=row["shown_hash"],
        price_shown=None if shown is None else units.price_text(shown),
        comment=comment or None,
        valid_until=units.iso_utc(max(row["expires_ns"], now + 1)),
    )
    values = {
        "trade_intent_id": id_,
        "actor_kind": actor.kind,
        "actor": actor.id,
        "decision": decision,
        "shown_hash": row["shown_hash"],
        "ts_ns": now,
        "document": document.to_json().decode(),
    }
    return document, Write("approvals", (document.approval_id,), values, new=True)


def reject(
    desk: Database, trade_intent_id: str, actor: Actor, channel: str, comment: str, now: int | None = None
) -> Answer:
    """Reject a trade intent, with the reason in words. One person is enough, however many an approval needs."""
    now = clock(now)
    if not comment.strip():
        raise UsageError("a rejection says why", where=trade_intent_id, mend="give the reason in a few words")
    with desk.write() as tx:
        row = _row(tx, trade_intent_id)
        same = "SELECT count(*) FROM approvals WHERE trade_intent_id = :id AND actor = :actor AND decision = 'REJECT'"
        if row["status"] == "REJECTED" and tx.value(same, id=trade_intent_id, actor=actor.id):
            return Answer(True, row["code"], trade_intent_id, "REJECTED")
        late = row["status"] == "EXPIRED" or (row["status"] == "PENDING" and now >= row["expires_ns"])
        if row["status"] == "PENDING" and late:
            append(tx, now, _expired(now, row))
        if row["status"] != "PENDING" or late or actor.kind != "operator":
            code = "GOV_APPROVAL_LATE" if late else "GOV_APPROVAL_NOT_PENDING"
            code = code if actor.kind == "operator" else "GOV_APPROVAL_NO_PERSON"
            status = "EXPIRED" if late else row["status"]
            return refuse(tx, now, actor, channel, Kind.REJECT, trade_intent_id, code, status)
        changed_mind = tx.row(
            "SELECT approval_id FROM approvals WHERE trade_intent_id = :id AND actor_kind = 'operator' "
            "AND actor = :actor",
            id=trade_intent_id,
            actor=actor.id,
        )
        document, write = _answer_document(now, row, actor, channel, "REJECT", comment)
        if changed_mind:
            write = Write("approvals", (changed_mind["approval_id"],), write.values)
        payload = {"approval_id": document.approval_id, "comment": comment}
        code = "GOV_INTENT_REJECTED"
        seq = append(tx, now, _changed(now, Kind.REJECT, actor, channel, row, "REJECTED", code, payload, None, write))
        return Answer(True, code, trade_intent_id, "REJECTED", seq, {"approval_id": document.approval_id})


def expire(desk: Database, now: int | None = None) -> list[str]:
    """Close every trade intent whose time is over without the answers it needed; their ids."""
    now = clock(now)
    due = "SELECT * FROM trade_intents WHERE status = 'PENDING' AND expires_ns <= :now ORDER BY expires_ns"
    with desk.read() as tx:
        if not tx.value("SELECT count(*) FROM trade_intents WHERE status = 'PENDING' AND expires_ns <= :now", now=now):
            return []
    with desk.write() as tx:
        rows = tx.rows(due, now=now)
        append(tx, now, *(_expired(now, row) for row in rows))
    return [row["trade_intent_id"] for row in rows]


def _expired(now: int, row: Mapping[str, Any]) -> Entry:
    return _changed(now, Kind.EXPIRE, SYSTEM, "policy", row, "EXPIRED", "GOV_INTENT_EXPIRED", {})


def auto_approve(desk: Database, trade_intent_id: str, policy: Approvals, now: int | None = None) -> Answer | None:
    """Approve by the policy of [approvals], where it covers this trade intent; None where it does not.

    It covers what `auto` names (exits, all), up to auto_max_pusd each, auto_per_hour an hour and auto_day_pusd a
    UTC day, for the strategies of auto_strategies. What needs two persons it never covers. Its approvals are
    answers like a person's: audited, bound to the hash, refused under a kill switch.
    """
    now = clock(now)
    with desk.read() as tx:
        row = _row(tx, trade_intent_id)
        if not _covered(tx, row, policy, now):
            return None
    actor = Actor(kind="system", id="approvals.auto")
    name = f"auto.{policy.auto}"
    return approve(desk, trade_intent_id, actor, "policy", policy, now, policy_name=name)


def _covered(tx: Transaction, row: Mapping[str, Any], policy: Approvals, now: int) -> bool:
    if policy.auto == "off" or row["needed"] > 1 or row["status"] != "PENDING":
        return False
    if policy.auto == "exits" and row["type"] == "OPEN_POSITION":
        return False
    if row["strategy_id"] and policy.strategies and row["strategy_id"] not in policy.strategies:
        return False
    if row["notional_micro"] > policy.auto_max_micro:
        return False
    spent = (
        "SELECT count(*) AS n, coalesce(sum(i.notional_micro), 0) AS micro FROM approvals a "
        "JOIN trade_intents i ON i.trade_intent_id = a.trade_intent_id "
        "WHERE a.actor_kind = 'system' AND a.decision = 'APPROVE' AND a.ts_ns > :after"
    )
    hour = tx.row(spent, after=now - 3600 * units.NS_PER_S)
    day = tx.row(spent, after=now - now % units.NS_PER_DAY - 1)
    assert hour is not None and day is not None
    return hour["n"] < policy.auto_per_hour and int(day["micro"]) + row["notional_micro"] <= policy.auto_day_micro


# ------------------------------------------------------------------------------------------------- looking


_MANY = 200


def _some(tx: Transaction, query: str, ids: Sequence[str], **values: Any) -> list[dict[str, Any]]:
    """The rows of a query whose {ids} are these, however many."""
    rows = []
    for first in range(0, len(ids), _MANY):
        named = {f"i{n}": id_ for n, id_ in enumerate(ids[first : first + _MANY])}
        rows += tx.rows(query.format(ids=", ".join(f":{name}" for name in named)), **named, **values)
    return rows


def _rows(tx: Transaction, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows = _some(tx, "SELECT * FROM trade_intents WHERE trade_intent_id IN ({ids})", ids)
    found = {row["trade_intent_id"]: row for row in rows}
    for id_ in ids:
        if id_ not in found:
            raise UsageError("no trade intent has this id", where=id_, mend="polytraders intents list --all")
    return found


def _row(tx: Transaction, id_: str) -> dict[str, Any]:
    return _rows(tx, [id_])[id_]


def _answers_of(tx: Transaction, ids: Sequence[str], actor: Actor) -> dict[str, dict[str, Any]]:
    """What this actor answered already, by trade intent."""
    query = (
        "SELECT trade_intent_id, approval_id, decision FROM approvals "
        "WHERE trade_intent_id IN ({ids}) AND actor_kind = :kind AND actor = :actor"
    )
    return {row["trade_intent_id"]: row for row in _some(tx, query, ids, kind=actor.kind, actor=actor.id)}


def find(desk: Database, ref: str) -> str:
    """The id of a trade intent from its id or the unique beginning of one. Raises UsageError."""
    with desk.read() as tx:
        found = tx.rows(
            "SELECT trade_intent_id FROM trade_intents WHERE substr(trade_intent_id, 1, :n) = :ref LIMIT 3",
            n=len(ref),
            ref=ref,
        )
    ids = [row["trade_intent_id"] for row in found]
    if ref in ids or len(ids) == 1:
        return ref if ref in ids else ids[0]
    if ids:
        raise UsageError("several trade intents begin so", where=ref, mend="give more of the id: " + ", ".join(ids))
    raise UsageError("no trade intent has this id", where=ref, mend="polytraders intents list --all")


def intent(desk: Database, trade_intent_id: str) -> dict[str, Any]:
    """One trade intent: its row, its document with the status of now, its approvals. Raises UsageError."""
    with desk.read() as tx:
        row = _row(tx, trade_intent_id)
        answers = tx.rows(
            "SELECT document FROM approvals WHERE trade_intent_id = :id ORDER BY ts_ns, approval_id", id=trade_intent_id
        )
    return _told(row) | {"answers": [orjson.loads(answer["document"]) for answer in answers]}


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    document, figures = orjson.loads(row["document"]), orjson.loads(row["figures"])
    kept = {name: value for name, value in row.items() if name not in ("document", "figures")}
    return kept | {"figures": figures, "document": document | {"status": row["status"]}}


def intents(
    desk: Database,
    statuses: Sequence[str] = ("PENDING",),
    *,
    run_id: str | None = None,
    limit: int = 500,
) -> list[dict[str, Any]]:
    """Trade intents of these statuses (none = all), newest first; shaped as `intent` without the answers."""
    where, values = ["1 = 1"], {"limit": limit}
    for number, status in enumerate(statuses):
        values[f"s{number}"] = status
    if statuses:
        where.append(f"status IN ({', '.join(f':s{n}' for n in range(len(statuses)))})")
    if run_id is not None:
        where.append("run_id = :run_id")
        values["run_id"] = run_id
    query = f"SELECT * FROM trade_intents WHERE {' AND '.join(where)} ORDER BY created_ns DESC, corr DESC LIMIT :limit"
    with desk.read() as tx:
        return [_told(row) for row in tx.rows(query, **values)]
