"""Exits that the system itself proposes: when a position is to be closed, and by which order.

The strategy has no say while an exit is on: its quotes in that market are cancelled, so that the shares behind them are
free and nothing of ours stands in the way. The order is reduce-only and goes through risk, execution and the gate like
any other; its receipts begin with the cause, by the runtime.

    cause        when                                                   order
    forced       a person or the portfolio asks (an EXIT row)           takes, down to `slippage` below the bid
    stop-loss    worth at mid <= cost less `stop_loss`                  the same
    take-profit  worth at the bid >= cost and `take_profit`             takes at the bid
    time         `before_end` before the scheduled end                  rests at the ask
    liquidity    the spread is wider than `spread`                      rests at the ask
    unwind       risk.inventoryunwinder lets nothing be added           rests at the ask; of too much only the excess

A loss is measured at mid, so that the spread alone is none; a profit at the bid, for only that is one.

Invariants
    X1  an exit only sells what is held beyond the other outcome, never more than is free, never less than may be sold
    X2  once begun for profit, loss or liquidity an exit goes on until what is left cannot be sold, though its cause be
        gone; then the strategy pauses in that market for `pause`. Forced and time exits last as long as their cause
    X3  without a two-sided live book only a rest is proposed, and risk decides upon it
"""

from __future__ import annotations

import numpy as np

from polytraders.engine.jit import njit
from polytraders.engine.ledger import free_shares, part_of_cost
from polytraders.engine.state import N_SLOTS, WANT_QUOTE, clear_targets, two_sided
from polytraders.reasons import Code
from polytraders.rows import OrderType, Outcome, Side
from polytraders.units import CENT_SHARE, ONE

BPS = 10_000
SELL_NO, SELL_YES = N_SLOTS // 2 - 1, N_SLOTS - 1
"""Slots of exit orders: the last of the bid side and of the ask side."""


@njit
def _cause(clock, market, position, net, excess):
    """Reason-code number of why a net holding (micro-shares, signed) must be closed, 0 = it need not."""
    if position.forced != 0:
        return np.int64(Code.EXEC_EXIT_FORCED)
    live = market.feed_up != 0 and two_sided(market)
    if live and net != 0:
        if net > 0:
            held, cost = position.yes, position.yes_cost
            bid, mid2 = market.best_bid, market.mark2
        else:
            held, cost = position.no, position.no_cost
            bid, mid2 = ONE - market.best_ask, 2 * ONE - market.mark2
        size = abs(net)
        paid = part_of_cost(cost, size, held)
        if clock.stop_loss > 0 and BPS * (paid - mid2 * size // (2 * ONE)) >= clock.stop_loss * paid and paid > 0:
            return np.int64(Code.EXEC_EXIT_STOP_LOSS)
        if clock.take_profit > 0 and BPS * (bid * size // ONE - paid) >= clock.take_profit * paid:
            return np.int64(Code.EXEC_EXIT_TAKE_PROFIT)
    if clock.before_end > 0 and market.end_ts > 0 and market.now >= market.end_ts - clock.before_end:
        return np.int64(Code.EXEC_EXIT_TIME)
    if live and net != 0 and clock.exit_spread > 0 and market.best_ask - market.best_bid > clock.exit_spread:
        return np.int64(Code.EXEC_EXIT_LIQUIDITY)
    if excess > 0:
        return np.int64(Code.EXEC_EXIT_UNWIND)
    return np.int64(0)


@njit
def propose_exit(clock, market, position, targets, excess):
    """Reason-code number of the exit that is on in a market, 0 = none: the strategy's targets stand.

    With an exit on the targets hold its order, or none when nothing can be sold now. excess: micro-shares that
    risk.inventoryunwinder wants gone.
    """
    net, now = position.yes - position.no, market.now
    sellable = abs(net) >= max(market.min_size, CENT_SHARE)
    if position.exiting != 0 and not sellable:
        position.exiting = 0
        position.pause_until = now + clock.exit_pause
    code = position.exiting
    if code == 0 or position.forced != 0:
        code = _cause(clock, market, position, net if sellable else 0, excess if sellable else 0)
    begins = market.end_ts - clock.before_end
    if sellable and clock.before_end > 0 and market.end_ts > 0 and now < begins:
        market.wake = begins if market.wake <= now else min(market.wake, begins)
    lasting = code == Code.EXEC_EXIT_FORCED or code == Code.EXEC_EXIT_TIME
    if code == 0 or not (sellable or lasting):
        if position.pause_until <= now:
            return np.int64(0)
        code = np.int64(Code.EXEC_EXIT_PAUSE)
        market.wake = position.pause_until if market.wake <= now else min(market.wake, position.pause_until)
    clear_targets(targets)
    if not sellable or code == Code.EXEC_EXIT_PAUSE:
        return code
    if not lasting and code != Code.EXEC_EXIT_UNWIND:
        position.exiting = code
    outcome, held = np.int64(Outcome.YES), position.yes - position.yes_unsettled
    bid, ask = market.best_bid, market.best_ask
    if net < 0:
        outcome, held = np.int64(Outcome.NO), position.no - position.no_unsettled
        bid, ask = ONE - market.best_ask, ONE - market.best_bid
    takes = code == Code.EXEC_EXIT_FORCED or code == Code.EXEC_EXIT_STOP_LOSS or code == Code.EXEC_EXIT_TAKE_PROFIT
    takes = takes and two_sided(market)
    size = abs(net)
    if code == Code.EXEC_EXIT_UNWIND:
        size = min(size, max(excess, market.min_size))
    # a taking order needs shares that nothing of ours holds; one that rests may be the one that holds them
    size = min(size, free_shares(position, outcome) if takes else held) // CENT_SHARE * CENT_SHARE
    if market.best_bid < 0 or market.best_ask < 0 or size < market.min_size or size <= 0:
        return np.int64(Code.EXEC_EXIT_WAITS)
    t = targets[SELL_YES if outcome == Outcome.YES else SELL_NO]
    t.want, t.outcome, t.side, t.size, t.reduce_only = WANT_QUOTE, outcome, Side.SELL, size, 1
    if takes:
        give = 0 if code == Code.EXEC_EXIT_TAKE_PROFIT else clock.exit_slippage
        t.price = max((bid - give) // market.tick * market.tick, market.tick)
        t.order_type = OrderType.FAK
    else:
        t.price = min(-(-ask // market.tick) * market.tick, ONE - market.tick)
        t.passive_only = 1
    t.fair = 100 * t.price
    return code
