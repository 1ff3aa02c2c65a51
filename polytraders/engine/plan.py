"""What execution bots that would rather keep the working order have in common.

The router has written the plan; a bot behind it may keep the order that works in the slot instead. It
says so by making the plan that order: its own price and what is left of it, which the step then finds
already standing. Only an order that is no worse than the plan may be kept, so that no bot undoes what
risk or a bot before it has narrowed.

Invariants
    P1  a kept order is of the plan's token and side, at no worse a price and no larger
    P2  a plan that is empty or takes is never turned into a kept order
"""

from __future__ import annotations

from polytraders.engine.jit import inline
from polytraders.rows import POST_ONLY, OrderType, Side


@inline
def only_rests(plan):
    """True when the plan is one order that waits and nothing else."""
    waits = plan.order_type[0] == OrderType.GTC or plan.order_type[0] == OrderType.GTD
    return plan.n == 1 and waits and plan.flags[0] & POST_ONLY != 0


@inline
def may_stay(intent, plan):
    """True when an order works that may be kept in place of the plan (P1, P2)."""
    ours = intent.working != 0 and intent.working_outcome == intent.outcome and intent.working_side == intent.side
    price = plan.price[0]
    no_worse = intent.working_price <= price if intent.side == Side.BUY else intent.working_price >= price
    return ours and only_rests(plan) and no_worse and intent.working_size <= plan.size[0]


@inline
def stays_anyway(intent, plan):
    """True when the step would keep the working order by itself: it already is what is planned."""
    return may_stay(intent, plan) and intent.working_price == plan.price[0]


@inline
def keep(intent, plan):
    """Make the plan the working order. Only after `may_stay`."""
    plan.price[0] = intent.working_price
    plan.size[0] = intent.working_size
