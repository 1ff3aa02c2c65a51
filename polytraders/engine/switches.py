"""Kill switches by scope: what a SWITCH row does to the state, and to whom it speaks (see rows.Scope).

`Account.switch` has a bit for each scope that stops the whole run, `Market.switch` those that stop one market: 0 means
that nothing is armed. Subjects of a scope keep their own bits, so that one clears without another.

Invariants
    W1  a row arms or clears exactly its own switch; what else is armed stays
    W2  a row that names no subject of this run arms the global switch: a stop that is not understood stops everything
    W3  the step arms nothing by itself (a latch is a risk bot's) and clears nothing at all
"""

from __future__ import annotations

import numpy as np

from polytraders.engine.jit import njit
from polytraders.rows import Scope

FEED_BITS, CLUSTER_BITS = 8, 24
"""First bits of Market.switch for feeds 0 ... 15 and clusters 0 ... 31; below them a market's own, bit Scope.MARKET."""
FEEDS, CLUSTERS, FAMILIES = 16, 32, 7
BOT_OFF = 1 << Scope.FAMILY | 1 << Scope.BOT
"""Bits of Account.switch under which not even a reduction passes."""


@njit
def _set(bits, bit, armed):
    return bits | 1 << bit if armed else bits & ~(1 << bit)


@njit
def switch_run(account, bots, n_bots, event):
    """Take in a SWITCH row of the whole run (market -1). bots: BOT[n_bots]."""
    scope, subject, armed = event.aux, event.price, event.size != 0
    known = scope == Scope.GLOBAL or scope == Scope.PORTFOLIO or scope == Scope.STRATEGY or scope == Scope.FEED
    if scope == Scope.FAMILY and 0 <= subject < FAMILIES:
        known = True
        account.families = _set(account.families, subject, armed)
        armed = account.families != 0
    elif scope == Scope.BOT and 0 <= subject < n_bots:
        known = True
        bots[subject].switched = 1 if armed else 0
        for i in range(n_bots):
            armed |= bots[i].switched != 0
    if known:
        account.switch = _set(account.switch, scope, armed)
        if scope == Scope.GLOBAL and not armed:  # only a person clears what has latched
            account.halted = account.halted_ts = 0
    elif armed:
        account.switch = _set(account.switch, np.int64(Scope.GLOBAL), True)


@njit
def switch_market(account, markets, event):
    """Take in a SWITCH row of one market, its event or its feed."""
    scope, subject, armed = event.aux, event.price, event.size != 0
    market = markets[event.market]
    if scope == Scope.MARKET:
        market.switch = _set(market.switch, scope, armed)
    elif scope == Scope.FEED and 0 <= subject < FEEDS:
        market.switch = _set(market.switch, FEED_BITS + subject, armed)
    elif scope == Scope.CLUSTER and 0 <= subject < CLUSTERS:
        at = event.market
        while True:
            markets[at].switch = _set(markets[at].switch, CLUSTER_BITS + subject, armed)
            at = markets[at].peer
            if at == event.market:
                break
    elif armed:
        account.switch = _set(account.switch, np.int64(Scope.GLOBAL), True)
