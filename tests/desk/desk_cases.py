"""Trade intents to answer, made as a run makes them."""

from __future__ import annotations

from polytraders import units
from polytraders.config import Approvals
from polytraders.contracts import Actor, OrderIntent, VoteReceived, at
from polytraders.rows import OrderType, Outcome, Side, Verdict
from polytraders.store.desk import Proposal, proposal
from polytraders.store.ids import intent_id

NOW = 1_780_000_000 * units.NS_PER_S
RUN = "live-20260601-000000-desk"
MARKET = "0x" + "a1" * 32
OTHER = "0x" + "b2" * 32
PORTFOLIO = "PORT-001"
STRATEGY = "strat.momentum"
POLICY = Approvals()
ANN = Actor(kind="operator", id="ann")
BEN = Actor(kind="operator", id="ben")
MACHINE = Actor(kind="system", id=RUN)
BOOK = "ab" * 32
S = units.NS_PER_S


def made(
    corr: int = 1,
    *,
    now: int = NOW,
    shares: str = "10",
    price: str = "0.52",
    side: Side = Side.BUY,
    market: str = MARKET,
    policy: Approvals = POLICY,
    strategy: str = STRATEGY,
    portfolio: str = PORTFOLIO,
    run: str = RUN,
    closes: bool = False,
) -> Proposal:
    """A proposal to buy (or sell) YES: model 0.60 against a market at `price`."""
    pips, size = units.price_pips(price), units.size_micro(shares)
    order = OrderIntent(
        **at(now),
        intent_id=intent_id(run, corr),
        strategy_id=strategy,
        portfolio_id=portfolio,
        condition_id=market,
        outcome=Outcome.YES,
        side=side,
        order_type=OrderType.FAK,
        reduce_only=closes,
        limit_price=price,
        size_pusd=units.money_text(units.notional_micro(pips, size)),
        size_shares=shares,
        reason_code="STRAT_MOMENTUM_LONG",
        builder_code="0x" + "0" * 64,
        expires_at=units.iso_utc(now + 60 * S),
    )
    votes = [
        VoteReceived(bot_id=bot, mode="enforced", decision=Verdict.APPROVE, reason_code=code)
        for bot, code in (("risk.killswitch", "RISK_TRADING_ALLOWED"), ("risk.portfolioguard", "RISK_WITHIN_LIMITS"))
    ]
    return proposal(
        policy,
        run_id=run,
        corr=corr,
        now=now,
        portfolio_id=portfolio,
        condition_id=market,
        reason_code="STRAT_MOMENTUM_LONG",
        reasoning="The price has been rising for an hour and the book is deep.",
        order=order,
        trigger="take_profit" if closes else None,
        votes=votes,
        book_hash=BOOK,
        price_shown=pips,
        model_price="0.6",
        market_price=price,
        figures={"p_hat": "0.6", "q_exec": "0.521", "net_edge_bps": "780", "p_fill": "0.9"},
    )


def claim(corr: int = 9, *, now: int = NOW) -> Proposal:
    """A proposal to redeem 25 shares."""
    return proposal(
        POLICY,
        run_id=RUN,
        corr=corr,
        now=now,
        portfolio_id=PORTFOLIO,
        condition_id=MARKET,
        reason_code="EXEC_MARKET_SETTLED",
        reasoning="The market resolved YES and 25 shares wait to be redeemed.",
        claim_shares="25",
        claim_micro=25_000_000,
    )
