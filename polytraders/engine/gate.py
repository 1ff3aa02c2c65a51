"""The gate: what stands between a planned order and the wire when a person decides (`Gate.APPROVAL`).

    planned order ─► covered by an approval? ─ yes ─► sent under the approval's correlation number
                                             └ no ──► PROPOSE ─► a person, a policy ─► APPROVAL row ─► at the next
                                                      decision risk and execution judge it again, then as above

One proposal per market and slot. It is for an order of one outcome and side, at a price, of a size. The answer is an
event row like any other, so a replay sees the same answers at the same places.

Invariants
    G1  under Gate.APPROVAL no order leaves that no approval in force covers; a cancel never needs one
    G2  under one approval no more trades than was approved: what has filled and what may still fill count together
    G3  nothing leaves at a price further from the shown one than the approval tolerates, in either direction
    G4  an approval that was for a resting order sends no order that takes; one to close sends none that may open
    G5  an approval covers one slot for `approval_ttl` from its answer: the first order, and its re-quotes within G2 to
        G4. A re-quote waits until the end of the order before it is known. What rests when the time is over stays.
    G6  a proposal without an answer ends `intent_ttl` after it was made; a rejected one keeps its like away as long
    G7  a kill switch ends the proposals and approvals of its scope, but those that close a position which an EXIT row
        wants closed

A wish that grows while it rests is cut to what was approved; one that takes and grew is proposed again, for it was
sized to a book that has changed. With Gate.DRY the table only remembers what was last shown.
"""

from __future__ import annotations

import numpy as np

from polytraders.engine.jit import njit
from polytraders.engine.state import N_ACTIONS, N_SLOTS
from polytraders.reasons import Code
from polytraders.rows import REDUCE_ONLY, ActionKind, Answer, Gate, Side
from polytraders.units import CENT_SHARE, NS_PER_MS

# PROPOSAL.state
FREE, SHOWN, APPROVED, REJECTED = 0, 1, 2, 3
ASSENT = 1
"""PROPOSAL.answer is the Answer and this; 0 = none."""
PASSES = 0
"""What `at_gate` returns for an order that may be sent."""
LOW_31 = (1 << 31) - 1


@njit
def shape_hash(market, slot, outcome, side, price, size, order_type, flags, corr):
    """63 bits over all that a proposal shows of its order."""
    mixed = (
        price * 1442695040888963407
        ^ size * 3935559000370003845
        ^ corr * 2691343689449507681
        ^ (market << 32 | slot << 24 | outcome << 20 | side << 16 | order_type << 8 | flags) * 6364136223846793005
    )
    mixed = (mixed ^ (mixed >> 29)) * 1099511628211
    return (mixed ^ (mixed >> 32)) & 0x7FFFFFFFFFFFFFFF


@njit
def _tell(proposal, market, slot, seq, kind, size, expiry, actions, count):
    """Write the row that tells people of a proposal or of its end (rows.TO_PEOPLE)."""
    action = actions[count[N_ACTIONS]]
    count[N_ACTIONS] += 1
    action.ts = market.now
    action.seq = seq
    action.corr = proposal.corr
    action.order_id = proposal.hash
    action.price = proposal.price
    action.size = size
    action.market = market.id
    action.slot = slot
    action.kind = kind
    action.outcome = proposal.outcome
    action.side = proposal.side
    action.order_type = proposal.order_type
    action.flags = proposal.flags
    action.expiry = expiry


@njit
def _end(clock, proposal, market, slot, code, actions, count):
    """The proposal or its approval is over, for the reason `code`."""
    unsent = max(proposal.size - proposal.used, 0)
    _tell(proposal, market, slot, clock.seq, ActionKind.WITHDRAW, unsent, code, actions, count)
    proposal.state = FREE
    return np.int64(code)


@njit
def hear(proposals, event):
    """Take in an APPROVAL row. proposals: PROPOSAL[N_SLOTS] of its market. What follows is decided at the next
    decision."""
    for slot in range(N_SLOTS):
        p = proposals[slot]
        if p.corr == event.aux and (p.state == SHOWN or (p.state == APPROVED and event.size != Answer.APPROVED)):
            p.answer = event.size + ASSENT
            p.answered = event.ts_recv
            p.tolerance = event.price
            p.seen = event.ref


@njit
def review(clock, proposal, market, slot, stopped, actions, count):
    """What became of a proposal since the market's last decision: 0, or the reason code that a receipt is to have.

    stopped: a kill switch is on for this market.
    """
    p, now = proposal, market.now
    given = p.answer - ASSENT
    answered, p.answer = p.answer != 0, 0
    if p.state == REJECTED:
        if now >= p.expires:
            p.state = FREE
        return np.int64(0)
    if p.state == FREE:
        return np.int64(0)
    if stopped:
        return _end(clock, p, market, slot, Code.EXEC_APPROVAL_VOID_STOPPED, actions, count)
    if answered and given == Answer.REJECTED:
        code = _end(clock, p, market, slot, Code.EXEC_APPROVAL_REJECTED, actions, count)
        p.state, p.expires = REJECTED, p.answered + clock.intent_ttl
        return code
    late = answered and p.state == SHOWN and p.answered >= p.expires
    if answered and given == Answer.APPROVED and not late:
        if p.seen != 0 and p.seen != p.hash & LOW_31:
            return _end(clock, p, market, slot, Code.EXEC_APPROVAL_VOID_CHANGED, actions, count)
        p.state, p.expires = APPROVED, p.answered + clock.approval_ttl
        if p.tolerance < 0:
            p.tolerance = clock.tolerance
        return np.int64(Code.EXEC_APPROVED)
    if answered or now >= p.expires:
        return _end(clock, p, market, slot, Code.EXEC_APPROVAL_EXPIRED, actions, count)
    return np.int64(0)


@njit
def next_expiry(proposals, now):
    """ns when the first of a market's proposals ends by itself, 0 = none is open."""
    first = 0
    for slot in range(N_SLOTS):
        p = proposals[slot]
        if p.state != FREE and p.expires > now and (first == 0 or p.expires < first):
            first = p.expires
    return first


@njit
def sent(proposal, size):
    """An order of `size` micro-shares left under the approval."""
    proposal.used += size
    proposal.flying += 1


@njit
def give_back(proposal, order):
    """An order is over: what it did not fill may be sent again under its approval."""
    if proposal.corr == order.corr and proposal.state != FREE:
        proposal.used -= order.size - order.filled
        proposal.flying -= 1


@njit
def _like(proposal, intent, takes, closes, price, tolerance):
    """True when an order is of the proposed kind and near enough in price."""
    p = proposal
    return (
        p.outcome == intent.outcome
        and p.side == intent.side
        and p.takes >= takes
        and p.closes <= closes
        and abs(price - p.price) <= tolerance
    )


@njit
def at_gate(clock, proposals, market, intent, plan, takes, corr, actions, count):
    """Hold a planned order against the proposal of its slot: PASSES, or the reason code of why it is not sent now.

    takes: it may trade at once. corr: the number a new proposal gets. The plan may come out smaller (G2). After the
    call `proposals[intent.slot].corr` is the number that this order, its wait or its new proposal stands under.
    """
    p, last, now = proposals[intent.slot], plan.n - 1, market.now
    price, size = plan.price[0], plan.size[0]
    for i in range(1, plan.n):
        size += plan.size[i]
        price = max(price, plan.price[i]) if intent.side == Side.BUY else min(price, plan.price[i])
    closes = intent.reduce_only
    if clock.gate == Gate.DRY:
        same = p.state == SHOWN and p.price == price and p.size == size and p.order_type == plan.order_type[last]
        if not (same and p.outcome == intent.outcome and p.side == intent.side):
            _show(p, market, intent, plan, price, size, takes, closes, corr, now)
        return np.int64(Code.EXEC_DRY_RUN)
    if p.state == APPROVED:
        code = _covers(p, market, intent, plan, takes, closes, price, size)
        if code == PASSES or code == Code.EXEC_APPROVAL_WAITS:
            return code
        _end(clock, p, market, intent.slot, code, actions, count)
    elif p.state != FREE:
        covered = _like(p, intent, takes, closes, price, clock.tolerance) and not (takes and size > p.size)
        if covered:
            return np.int64(Code.EXEC_APPROVAL_REJECTED if p.state == REJECTED else Code.EXEC_APPROVAL_AWAITED)
        if p.state == SHOWN:
            _end(clock, p, market, intent.slot, Code.EXEC_PROPOSAL_SUPERSEDED, actions, count)
    _show(p, market, intent, plan, price, size, takes, closes, corr, now)
    ttl = clock.intent_ttl if intent.ttl <= 0 else min(clock.intent_ttl, intent.ttl)
    ms = max(ttl // NS_PER_MS, 1)
    p.expires = now + ms * NS_PER_MS
    _tell(p, market, intent.slot, clock.seq, ActionKind.PROPOSE, size, ms, actions, count)
    return np.int64(Code.EXEC_PROPOSED)


@njit
def _show(proposal, market, intent, plan, price, size, takes, closes, corr, now):
    p, last = proposal, plan.n - 1
    p.corr, p.state, p.made = corr, SHOWN, now
    p.outcome, p.side, p.price, p.size = intent.outcome, intent.side, price, size
    p.order_type, p.takes, p.closes = plan.order_type[last], takes, closes
    p.flags = plan.flags[last] | (REDUCE_ONLY if closes else 0)
    p.hash = shape_hash(
        market.id, intent.slot, intent.outcome, intent.side, price, size, plan.order_type[last], p.flags, corr
    )
    p.used = p.flying = p.answer = p.answered = p.tolerance = p.seen = p.expires = 0


@njit
def _covers(proposal, market, intent, plan, takes, closes, price, size):
    """Why an approval does not cover an order, or PASSES; a resting order is cut to what is left of it."""
    p, last = proposal, plan.n - 1
    if not _like(p, intent, takes, closes, price, 10_000):
        return np.int64(Code.EXEC_APPROVAL_VOID_CHANGED)
    if abs(price - p.price) > p.tolerance:
        return np.int64(Code.EXEC_APPROVAL_VOID_PRICE_MOVED)
    left = p.size - p.used
    if size <= left:
        return np.int64(PASSES)
    if takes and size > p.size:
        return np.int64(Code.EXEC_APPROVAL_VOID_SIZE_GREW)
    cut = left // CENT_SHARE * CENT_SHARE
    if takes or cut < market.min_size or cut <= 0:
        return np.int64(Code.EXEC_APPROVAL_WAITS if p.flying > 0 else Code.EXEC_APPROVAL_SPENT)
    plan.size[last] = cut
    return np.int64(PASSES)
