"""What the venue says of its books, orders and trades, as JSON: numbers are decimal strings, times mostly too."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from polytraders.rows import OrderType, Outcome, Side, Status
from polytraders.units import MICRO, NS_PER_MS, NS_PER_S, ONE, iso_utc, money_text, price_text, size_text
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.records import OUTCOMES, Account, Listing, Order, Trade

NO_OWNER = "00000000-0000-0000-0000-000000000000"
"""API key of those who trade on the tape."""
ELSEWHERE = "0x000000000000000000000000000000000000dEaD"
"""Their address."""


def _seconds(ns: int) -> str:
    return str(ns // NS_PER_S)


def _millis(ns: int) -> str:
    return str(ns // NS_PER_MS)


def _side(side: int) -> str:
    return "BUY" if side == Side.BUY else "SELL"


def last_trade(listing: Listing, outcome: int) -> str:
    """Price of a token's last trade, "" without any."""
    if listing.last_trade < 0:
        return ""
    return price_text(listing.last_trade if outcome == Outcome.YES else ONE - listing.last_trade)


# -- the market ------------------------------------------------------------------------------------


def book(exchange: Exchange, listing: Listing, outcome: int, tick: int | None = None) -> dict[str, Any]:
    """A token's book as REST and the market channel tell it, with its hash. tick: what is told instead of the true."""
    bids, asks = exchange.levels(listing, outcome)
    said = {
        "market": listing.info.condition_id,
        "asset_id": listing.token(outcome),
        "timestamp": _millis(listing.changed or exchange.now),
        "hash": "",
        "bids": [{"price": price_text(p), "size": size_text(s)} for p, s in bids],
        "asks": [{"price": price_text(p), "size": size_text(s)} for p, s in asks],
        "min_order_size": size_text(listing.min_size),
        "tick_size": price_text(tick or listing.tick),
        "neg_risk": listing.neg_risk,
        "last_trade_price": last_trade(listing, outcome),
    }
    said["hash"] = hashlib.sha1(orjson.dumps(said)).hexdigest()
    return said


def book_events(exchange: Exchange, listing: Listing) -> list[dict[str, Any]]:
    """`book` of both tokens."""
    return [{"event_type": "book", **book(exchange, listing, outcome)} for outcome in Outcome]


def price_change(exchange: Exchange, listing: Listing, rows: np.ndarray) -> dict[str, Any]:
    """`price_change` with both tokens' legs of each changed level."""
    hashes = [book(exchange, listing, outcome)["hash"] for outcome in Outcome]
    legs = []
    for row in rows:
        for outcome in Outcome:
            price, side = int(row.price), int(row.side)
            bid, ask = exchange.best(listing, outcome)
            legs.append(
                {
                    "asset_id": listing.token(outcome),
                    "price": price_text(price if outcome == Outcome.YES else ONE - price),
                    "size": size_text(int(row.size)),
                    "side": _side(side if outcome == Outcome.YES else 1 - side),
                    "hash": hashes[outcome],
                    "best_bid": price_text(bid),
                    "best_ask": price_text(ask),
                }
            )
    return {
        "event_type": "price_change",
        "market": listing.info.condition_id,
        "price_changes": legs,
        "timestamp": _millis(exchange.now),
    }


def best_bid_ask(exchange: Exchange, listing: Listing, outcome: int) -> dict[str, Any]:
    """`best_bid_ask` of a token."""
    bid, ask = exchange.best(listing, outcome)
    return {
        "event_type": "best_bid_ask",
        "market": listing.info.condition_id,
        "asset_id": listing.token(outcome),
        "best_bid": price_text(bid),
        "best_ask": price_text(ask),
        "spread": price_text(ask - bid),
        "timestamp": _millis(exchange.now),
    }


def last_trade_price(exchange: Exchange, listing: Listing, row: Any) -> dict[str, Any]:
    """`last_trade_price` of a print; told of the YES token."""
    mark = f"{listing.info.condition_id}:{exchange.now}:{row.price}:{row.size}"
    return {
        "event_type": "last_trade_price",
        "market": listing.info.condition_id,
        "asset_id": listing.token(Outcome.YES),
        "price": price_text(int(row.price)),
        "size": size_text(int(row.size)),
        "side": _side(int(row.side)),
        "fee_rate_bps": "0",
        "transaction_hash": "0x" + hashlib.sha256(mark.encode()).hexdigest(),
        "timestamp": _millis(exchange.now),
    }


def tick_size_change(exchange: Exchange, listing: Listing, row: Any, outcome: int) -> dict[str, Any]:
    """`tick_size_change` of a token."""
    return {
        "event_type": "tick_size_change",
        "market": listing.info.condition_id,
        "asset_id": listing.token(outcome),
        "old_tick_size": price_text(int(row.aux)),
        "new_tick_size": price_text(int(row.price)),
        "timestamp": _millis(exchange.now),
    }


def market_resolved(exchange: Exchange, listing: Listing) -> dict[str, Any]:
    """`market_resolved`; without a winner when both outcomes pay half."""
    winner = {ONE: Outcome.YES, 0: Outcome.NO}.get(listing.payout)
    said = {
        "event_type": "market_resolved",
        "id": str(listing.index),
        "market": listing.info.condition_id,
        "assets_ids": [listing.info.yes_token, listing.info.no_token],
        "timestamp": _millis(exchange.now),
    }
    if winner is not None:
        said |= {"winning_asset_id": listing.token(winner), "winning_outcome": OUTCOMES[winner]}
    return said


def new_market(exchange: Exchange, listing: Listing) -> dict[str, Any]:
    """`new_market`."""
    info = listing.info
    return {
        "event_type": "new_market",
        "id": str(listing.index),
        "question": info.question,
        "market": info.condition_id,
        "condition_id": info.condition_id,
        "slug": info.slug,
        "description": "",
        "assets_ids": [info.yes_token, info.no_token],
        "clob_token_ids": [info.yes_token, info.no_token],
        "outcomes": list(OUTCOMES),
        "active": True,
        "order_price_min_tick_size": price_text(listing.tick),
        "fees_enabled": info.fee_rate > 0,
        "timestamp": _millis(exchange.now),
    }


def ppm_text(ppm: int) -> str:
    """A rate in ppm as a decimal string."""
    return money_text(ppm)


def clob_market(listing: Listing, tick: int | None = None) -> dict[str, Any]:
    """A market in the short keys of /clob-markets; what is false is left out."""
    info = listing.info
    said: dict[str, Any] = {
        "c": info.condition_id,
        "t": [{"t": listing.token(o), "o": OUTCOMES[o]} for o in Outcome],
        "mts": float(price_text(tick or listing.tick)),
        "mos": float(size_text(info.min_size)),
        "ao": listing.status == Status.OPEN,
        "nr": listing.neg_risk,
        "itode": 0 < info.taker_delay < NS_PER_S,
        "sd": info.taker_delay // NS_PER_S,
    }
    if info.fee_rate:
        said["fd"] = {"r": float(ppm_text(info.fee_rate)), "e": info.fee_exponent, "to": True}
        said["mbf"] = said["tbf"] = 1000
    if info.reward_pool:
        said["r"] = {"mi": info.reward_min_size / MICRO, "ma": info.reward_max_spread / 100}
    return {key: value for key, value in said.items() if value not in (False, 0)}


def market(exchange: Exchange, listing: Listing, tick: int | None = None) -> dict[str, Any]:
    """A market as /markets tells it."""
    info, resolved = listing.info, listing.status == Status.RESOLVED
    tokens = []
    for outcome in Outcome:
        bid, ask = exchange.best(listing, outcome)
        payout = listing.payout if outcome == Outcome.YES else ONE - listing.payout
        price = payout if resolved else (bid + ask) // 2
        tokens.append(
            {
                "token_id": listing.token(outcome),
                "outcome": OUTCOMES[outcome],
                "price": float(price_text(price)),
                "winner": resolved and payout == ONE,
            }
        )
    return {
        "condition_id": info.condition_id,
        "question": info.question,
        "market_slug": info.slug,
        "end_date_iso": iso_utc(info.end_ts)[:19] + "Z",
        "active": True,
        "closed": resolved,
        "archived": False,
        "accepting_orders": listing.status == Status.OPEN,
        "enable_order_book": not resolved,
        "minimum_order_size": float(size_text(info.min_size)),
        "minimum_tick_size": float(price_text(tick or listing.tick)),
        "neg_risk": listing.neg_risk,
        "neg_risk_market_id": info.event_id if listing.neg_risk else "",
        "seconds_delay": info.taker_delay // NS_PER_S,
        "tokens": tokens,
    }


def simplified(said: dict[str, Any]) -> dict[str, Any]:
    """What /simplified-markets keeps of a market."""
    kept = ("condition_id", "tokens", "active", "closed", "archived", "accepting_orders")
    return {name: said[name] for name in kept}


# -- orders and trades -------------------------------------------------------------------------------


def order_type(order: Order) -> str:
    """GTC, GTD, FOK or FAK."""
    return OrderType(order.ticket.order_type).name


def _outcome(order: Order) -> int:
    return Outcome.YES if str(order.ticket.message.token_id) == order.listing.info.yes_token else Outcome.NO


def open_order(order: Order) -> dict[str, Any]:
    """An order as /data/orders tells it."""
    return {
        "id": order.id,
        "status": order.status,
        "owner": order.owner,
        "maker_address": order.ticket.message.maker,
        "market": order.listing.info.condition_id,
        "asset_id": str(order.ticket.message.token_id),
        "side": _side(order.ticket.side),
        "original_size": size_text(order.size),
        "size_matched": size_text(order.filled),
        "price": price_text(order.ticket.price),
        "outcome": OUTCOMES[_outcome(order)],
        "order_type": order_type(order),
        "expiration": str(order.ticket.expires),
        "associate_trades": [trade.id for trade in order.trades],
        "created_at": order.created // NS_PER_S,
    }


def order_event(order: Order, what: str, now: int) -> dict[str, Any]:
    """An order as the user channel tells it. what: PLACEMENT, UPDATE or CANCELLATION."""
    said = open_order(order)
    return said | {
        "event_type": "order",
        "type": what,
        "order_owner": order.owner,
        "created_at": _seconds(order.created),
        "timestamp": _millis(now),
    }


def trade(trade: Trade) -> dict[str, Any]:
    """A trade as /data/trades tells it: top level is the taker's order, the resting one stands in `maker_orders`.

    The other side is another account's order, or one of the tape's, which is made up. Whose API key another order was
    sent under is nobody else's business.
    """
    order, other = trade.order, trade.other.order if trade.other else None
    message, outcome = order.ticket.message, _outcome(order)
    unknown = "0x" + hashlib.sha256(f"counterparty:{trade.id}".encode()).hexdigest()
    mine = {
        "order_id": order.id, "owner": order.owner, "maker_address": message.maker, "side": _side(order.ticket.side),
        "asset_id": str(message.token_id), "price": price_text(trade.price), "outcome": OUTCOMES[outcome],
        "outcome_index": int(outcome),
    }  # fmt: skip
    theirs = mine | {
        "order_id": unknown, "owner": NO_OWNER, "maker_address": ELSEWHERE, "side": _side(1 - order.ticket.side)
    }  # fmt: skip
    if other is not None and trade.other is not None:
        theirs = {
            "order_id": other.id, "owner": other.owner if other.account == order.account else NO_OWNER,
            "maker_address": other.ticket.message.maker, "side": _side(other.ticket.side),
            "asset_id": str(other.ticket.message.token_id), "price": price_text(trade.other.price),
            "outcome": OUTCOMES[_outcome(other)], "outcome_index": int(_outcome(other)),
        }  # fmt: skip
    taking, resting = (theirs, mine) if trade.maker else (mine, theirs)
    return {
        "id": trade.id,
        "taker_order_id": taking["order_id"],
        "market": order.listing.info.condition_id,
        "asset_id": taking["asset_id"],
        "side": taking["side"],
        "size": size_text(trade.size),
        "fee_rate_bps": "0",
        "price": taking["price"],
        "status": trade.status,
        "match_time": _seconds(trade.matched),
        "last_update": _seconds(trade.updated),
        "outcome": taking["outcome"],
        "bucket_index": 0,
        "owner": taking["owner"],
        "maker_address": taking["maker_address"],
        "transaction_hash": trade.hash,
        "trader_side": "MAKER" if trade.maker else "TAKER",
        "maker_orders": [resting | {"matched_amount": size_text(trade.size), "fee_rate_bps": "0"}],
    }


def trade_event(fill: Trade, now: int) -> dict[str, Any]:
    """A trade as the user channel tells it."""
    return trade(fill) | {
        "event_type": "trade",
        "type": "TRADE",
        "matchtime": _seconds(fill.matched),
        "owner": fill.order.owner,
        "trade_owner": fill.order.owner,
        "timestamp": _millis(now),
    }


def posted(order: Order, hashes: bool) -> dict[str, Any]:
    """The answer to an accepted order. hashes: tell those of mined transactions."""
    shares, cash = size_text(order.filled), money_text(order.spent)
    making, taking = (cash, shares) if order.ticket.side == Side.BUY else (shares, cash)
    status = "delayed" if order.status == "DELAYED" else "matched" if order.filled else "live"
    return {
        "success": True,
        "errorMsg": "",
        "orderID": order.id,
        "status": status,
        "makingAmount": making if order.filled else "",
        "takingAmount": taking if order.filled else "",
        "tradeIDs": [trade.id for trade in order.trades],
        "transactionsHashes": [trade.hash for trade in order.trades if trade.hash] if hashes else [],
    }


def position(exchange: Exchange, account: Account, listing: Listing, outcome: int) -> dict[str, Any] | None:
    """A holding as the Data API tells it, None without one."""
    own = account.venue.positions[listing.index]
    yes = outcome == Outcome.YES
    size, cost = int(own.yes if yes else own.no), int(own.yes_cost if yes else own.no_cost)
    if not size:
        return None
    bid, ask = exchange.best(listing, outcome)
    resolved = listing.status == Status.RESOLVED
    price = (listing.payout if yes else ONE - listing.payout) if resolved else (bid + ask) // 2
    value, both = price * size // ONE, min(int(own.yes), int(own.no)) > 0
    realised = Decimal(money_text(int(own.realised)))
    gain = Decimal(money_text(value - cost))
    status = "OPEN"
    if resolved:
        status = "REDEEMABLE" if price else "REDEEMABLE_LOST"
    elif both:
        status = "MERGEABLE"
    shares = Decimal(size_text(size))
    return {
        "proxy_wallet": account.address,
        "token_id": listing.token(outcome),
        "condition_id": listing.info.condition_id,
        "current_size": float(shares),
        "total_size": float(shares),
        "avg_price": float(Decimal(cost) / size) if cost else 0.0,
        "entry_cost_usdc": float(money_text(cost)),
        "entry_fees_usdc": float(money_text(int(own.fees))),
        "total_cost_usdc": float(money_text(cost + int(own.fees))),
        "current_price": float(price_text(price)),
        "current_value": float(money_text(value)),
        "realized_pnl": float(realised),
        "unrealized_pnl": float(gain),
        "total_pnl": float(realised + gain),
        "percent_pnl": float(gain * MICRO / cost * 100) if cost else 0.0,
        "percent_realized_pnl": float(realised * MICRO / cost * 100) if cost else 0.0,
        "status": status,
        "redeemable": resolved,
        "mergeable": both,
        "negative_risk": listing.neg_risk,
        "archived": False,
        "verified": True,
        "title": listing.info.question,
        "slug": listing.info.slug,
        "outcome": OUTCOMES[outcome],
        "outcome_index": int(outcome),
        "opposite_outcome": OUTCOMES[1 - outcome],
        "opposite_token_id": listing.token(1 - outcome),
        "event_id": listing.info.event_id or None,
        "end_date": iso_utc(listing.info.end_ts)[:10],
    }
