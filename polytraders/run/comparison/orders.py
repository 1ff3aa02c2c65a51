"""Orders of two runs laid beside each other: answers, fills, and what only one of them sent."""

from __future__ import annotations

import numpy as np

from polytraders.reasons import Code
from polytraders.rows import TO_PEOPLE, ActionKind, Answer, EventKind, Gate, Outcome, Side
from polytraders.run.comparison.case import Case
from polytraders.run.comparison.pairing import PRINT_WITHIN, heard_first, peer
from polytraders.run.comparison.words import code_name, filled_told, order_told, shares
from polytraders.run.lives import Fill, Life
from polytraders.units import NS_PER_MS, NS_PER_S, ONE, money_text, size_text

DENIED = {
    Code.EXEC_NOT_SENT_DRY_RUN: "dry",
    Code.EXEC_NOT_SENT_HALTED: "switch",
    Code.EXEC_NOT_SENT_STOPPING: "stopping",
}
"""What the runner keeps back itself -> cause."""


def of_pair(case: Case, one: Life, other: Life) -> None:
    """The same order in both: what the two venues made of it."""
    market, quiet = one.market, len(case.found)
    if one.code in DENIED:
        cause = DENIED[Code(one.code)]
        _answer(case, cause, one, other, heard_first(one, other), f"the run kept it back: {code_name(one.code)}")
    elif one.rejected and not other.rejected:
        _answer(
            case, "venue_reject", one, other, heard_first(one, other), f"the venue refused it: {code_name(one.code)}"
        )
    elif other.rejected and not one.rejected:
        why = f"the simulated venue refused it: {code_name(other.code)}"
        _answer(case, "simulator_reject", one, other, heard_first(one, other), why)
    else:
        _timing(case, one, other)
    _fills(case, one, other)
    if len(case.found) == quiet and one.sent == other.sent:
        case.same["orders"] += 1
    assert market == other.market


def _answer(case: Case, cause: str, one: Life, other: Life, ts: int, why: str) -> None:
    case.root(ts, one.market, cause)
    case.tell("answer", cause, ts, one.market, why, live=order_told(one), backtest=order_told(other))


def _timing(case: Case, one: Life, other: Life) -> None:
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
        _answer(case, "latency", one, other, min(at, then) if one.sent == other.sent else max(at, then), why)
    for life, at_live in ((one, True), (other, False)):
        if (
            life.ended
            and life.code
            and not life.asked
            and not life.rejected
            and life.code != peer(life, one, other).code
        ):
            _ended_alone(case, life, one, other, at_live)


def _ended_alone(case: Case, life: Life, one: Life, other: Life, at_live: bool) -> None:
    """An order that ended without the step having asked for it, in one of the two only."""
    cause, why = "venue_cancel", f"ended by the venue: {code_name(life.code)}"
    if not at_live:
        why = f"ended by the simulated venue: {code_name(life.code)}"
    elif (held := _halted_at(case, life.ended, life.market)) is not None:
        cause, why = held
    _answer(case, cause, one, other, life.ended, why)


def _halted_at(case: Case, ts: int, market: int) -> tuple[str, str] | None:
    """(cause, why) when the runner was cancelling what rested at that time."""
    stopping = [root.ts for root in case.roots if root.cause == "stopping" and root.ts <= ts]
    if stopping:
        return "stopping", "cancelled by the run at its end"
    if case.switched(ts, market):
        return "switch", "cancelled because a kill switch is on"
    return None


def _fills(case: Case, one: Life, other: Life) -> None:
    if len(one.voided) != len(other.voided):
        ts = min(fill.ts for fill in (*one.voided, *other.voided))
        where = "the run" if len(one.voided) > len(other.voided) else "the backtest"
        _answer(case, "settlement", one, other, ts, f"a match that the chain refused in {where}")
    if not one.fills and not other.fills:
        return
    if one.filled != other.filled:
        cause, why = _why_filled(case, one, other)
    elif one.cash + one.fees != other.cash + other.fees:
        cause, why = "liquidity", "the same size at other prices"
    elif one.fees != other.fees:
        fees = f"{money_text(one.fees)} and {money_text(other.fees)} pUSD"
        cause, why = "fees", f"the same match, charged {fees}"
    else:
        _same_fills(case, one, other)
        return
    ts = min(fill.ts for fill in (*one.fills, *other.fills))
    case.root(ts, one.market, cause)
    yes, no = shares(one)
    less_yes, less_no = shares(other)
    case.tell(
        "fill", cause, ts, one.market, why, live=filled_told(one), backtest=filled_told(other),
        money=one.cash - other.cash, yes=yes - less_yes, no=no - less_no,
    )  # fmt: skip


def _same_fills(case: Case, one: Life, other: Life) -> None:
    apart = max(abs(a.ts - b.ts) for a, b in zip(one.fills, other.fills, strict=False))
    if len(one.fills) == len(other.fills) and apart == 0:
        _settled(case, one, other)
        return
    ts = min(one.fills[0].ts, other.fills[0].ts)
    case.root(ts, one.market, "latency")
    why = f"the same fill, heard of {apart / NS_PER_MS:.1f} ms apart"
    if len(one.fills) != len(other.fills):
        why = f"the same size, in {len(one.fills)} and {len(other.fills)} parts"
    case.tell("fill", "latency", ts, one.market, why, live=filled_told(one), backtest=filled_told(other))


def _settled(case: Case, one: Life, other: Life) -> None:
    """Fills that were heard of together: when was the chain's word on them?"""
    for mine, theirs in zip(one.fills, other.fills, strict=True):
        if (mine.provisional, mine.settled) == (theirs.provisional, theirs.settled):
            case.same["fills"] += 1
            continue
        waits = [f"{(f.settled - f.ts) / NS_PER_S:.3f} s" if f.settled else "not yet" for f in (mine, theirs)]
        why = f"the same fill, final after {waits[0]}, in the backtest after {waits[1]}"
        case.root(mine.ts, one.market, "settlement")
        case.tell("fill", "settlement", mine.ts, one.market, why, live=filled_told(one), backtest=filled_told(other))


def _why_filled(case: Case, one: Life, other: Life) -> tuple[str, str]:
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
    seen = _traded(case, more, fill)
    if seen:
        return "queue", f"{extra} more {where}: {seen}"
    if not ours:
        return "queue", f"{extra} more {where}: the model counts a loss of depth as trades"
    return "unexplained", f"{extra} more {where}, and the recording shows no trade that can have done it"


def _traded(case: Case, life: Life, fill: Fill) -> str:
    """What of the recording can have filled a resting order, '' for nothing."""
    price = life.price if life.outcome == Outcome.YES else ONE - life.price
    bid = (life.side == Side.BUY) == (life.outcome == Outcome.YES)
    tape = case.tape[case.tape["market"] == life.market]
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


def moved(case: Case, one: Life, other: Life) -> None:
    """The same order, sent at another time."""
    ts = min(one.sent, other.sent)
    cause = case.before(ts, one.market)
    apart = (one.sent - other.sent) / NS_PER_MS
    word = "later" if apart > 0 else "earlier"
    why = f"the same order, sent {abs(apart):.1f} ms {word} than in the backtest"
    case.tell("order", cause, ts, one.market, why, live=order_told(one), backtest=order_told(other), follows=True)


def alone(case: Case, life: Life, ours: bool) -> None:
    """An order of one of the two only, and what it traded."""
    cause, why = _why_alone(case, life, ours)
    told = {"live": order_told(life)} if ours else {"backtest": order_told(life)}
    case.tell("order", cause, life.sent, life.market, why, follows=True, **told)
    if life.fills:
        sign = 1 if ours else -1
        yes, no = shares(life)
        filled = {"live": filled_told(life)} if ours else {"backtest": filled_told(life)}
        case.tell(
            "fill", cause, life.fills[0].ts, life.market, f"fills of an order that only one has: {why}",
            money=sign * life.cash, yes=sign * yes, no=sign * no, follows=True, count=len(life.fills), **filled,
        )  # fmt: skip


def _why_alone(case: Case, life: Life, ours: bool) -> tuple[str, str]:
    if not ours:
        if case.gate == Gate.DRY:
            return "dry", "the run sends nothing"
        if case.switched(life.sent, life.market):
            return "switch", "a kill switch was on in the run"
        if case.gate == Gate.APPROVAL and (state := _proposal(case, life)):
            return "gate", state
    cause = case.before(life.sent, life.market)
    where = "the run" if ours else "the backtest"
    if cause == "unexplained":
        return cause, f"only {where} sent it, though nothing had differed until then"
    return cause, f"only {where} sent it: the two were no longer in the same state"


def _proposal(case: Case, life: Life) -> str:
    """What people had said of the slot when the backtest sent an order of it."""
    actions = case.live.actions
    mine = actions[(actions["market"] == life.market) & (actions["slot"] == life.slot)]
    mine = mine[(mine["ts"] <= life.sent) & (mine["kind"] >= TO_PEOPLE)]
    if not len(mine):
        return ""
    last = mine[-1]
    if last["kind"] == ActionKind.WITHDRAW:
        return f"its proposal was over: {code_name(int(last['expiry']))}"
    events = case.live.events
    given = events[(events["kind"] == EventKind.APPROVAL) & (events["aux"] == last["corr"])]
    given = given[given["ts_recv"] <= life.sent]
    if len(given) and int(given["size"][-1]) == Answer.APPROVED:
        return ""
    return "its proposal waited for a person"
