"""What people are shown of an order before they answer: its terms, its reason, its votes, and the book behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from polytraders import units
from polytraders.reasons import Code, by_number
from polytraders.rows import POST_ONLY, REDUCE_ONLY, OrderType, Outcome, Side, Verdict
from polytraders.store.ids import intent_id
from polytraders.units import NS_PER_MS, ONE

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.run.launch import Launched
    from polytraders.store.desk import Proposal, Quote

EXITS = {
    Code.EXEC_EXIT_TAKE_PROFIT: "take_profit",
    Code.EXEC_EXIT_STOP_LOSS: "stop_loss",
    Code.EXEC_EXIT_TIME: "time_exit",
    Code.EXEC_EXIT_LIQUIDITY: "liquidity",
    Code.EXEC_EXIT_FORCED: "portfolio",
    Code.EXEC_EXIT_UNWIND: "portfolio",
}
"""Cause of an exit that the system proposes -> trigger of its trade intent; any other order that closes: strategy."""
_MODES = {0: "off", 1: "shadow", 2: "advisory", 3: "enforced", 4: "quarantine"}


class Shown:
    """Makes proposals and quotes from the state of one run."""

    def __init__(self, launched: Launched, settings: Settings):
        self.launched, self.settings, self.run_id = launched, settings, launched.run_id
        self.bots, self.infos = launched.manifest["bots"], launched.step.infos
        self.strategy = launched.manifest["strategy"]

    def proposal(self, action: np.void, chain: np.ndarray, figures: Mapping[str, str]) -> Proposal:
        """A PROPOSE of the step as the desk takes it. chain: the decisions that led to it; raises what does not fit."""
        from polytraders.contracts import OrderIntent, VoteReceived, at
        from polytraders.store import desk

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
        shown = self.against(market, outcome, side)
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
        return desk.proposal(
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
            book_hash=self.book_hash(market),
            price_shown=shown,
            figures=figures,
            model_price=model,
            market_price=units.price_text(paid) if model is not None and paid is not None else None,
            expires_ns=expires,
        )

    def against(self, market: int, outcome: int, side: int) -> int | None:
        """pips: the best price that an order of this token and side would trade with, None when there is none."""
        bid, ask = (int(self.launched.step.state.markets[market][name]) for name in ("best_bid", "best_ask"))
        if outcome == Outcome.NO:
            bid, ask = (ONE - ask if ask >= 0 else -1), (ONE - bid if bid >= 0 else -1)
        price = ask if side == Side.BUY else bid
        return price if price >= 0 else None

    def book_hash(self, market: int) -> str:
        """SHA-256 (hex) of a market's book as the step has it."""
        row = self.launched.step.state.markets[market]
        first, cells = int(row["offset"]), 2 * int(row["levels"])
        told = hashlib.sha256(self.infos[market].condition_id.encode())
        told.update(self.launched.step.state.book[first : first + cells].tobytes())
        return told.hexdigest()

    def quotes(self, markets: Iterable[int], now: int) -> list[Quote]:
        """Best prices of both tokens of some markets. now: ns."""
        from polytraders.store.desk import Quote

        told = []
        for market in markets:
            row = self.launched.step.state.markets[market]
            # While the feed is up a book that does not change is as it was: the quote is of now
            book_hash, seen = self.book_hash(market), now if row["feed_up"] else int(row["book_ts"])
            for outcome in (Outcome.YES, Outcome.NO):
                bid, ask = (self.against(market, outcome, side) for side in (Side.SELL, Side.BUY))
                told.append(Quote(self.infos[market].condition_id, outcome.name, bid, ask, book_hash, seen))
        return told
