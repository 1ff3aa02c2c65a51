"""From what a strategy wants to the order that is signed and the bytes that are posted.

Nothing here reads a clock or draws a number: salt and time are the caller's. `build` refuses what the venue would
refuse, before it is signed.

Invariants
    B1  no order without a builder code
    B2  no order for a position of protocol v2
    B3  the bytes of `payload` are those the request's HMAC is made over
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson

from polytraders.rows import OrderType
from polytraders.units import MICRO, ONE, money_text, size_text
from polytraders.venue.orders.amounts import BUY, CENT, SELL, limit_amounts, market_amounts
from polytraders.venue.orders.typed import AMOY, POLYGON, ZERO_WORD, Order, SignatureType
from polytraders.venue.orders.wallets import deposit_wallets, proxy_wallet, safe_wallet
from polytraders.venue.refusal import Refused

LARGEST_BATCH = 15
"""Orders in one POST /orders."""
GTD_LEAD_S = 180
"""s from now until the earliest expiration the venue takes; it ends the order 60 s before it."""
LARGEST_SALT = 2**53 - 1
"""The salt is posted as a JSON number, which must survive a reader that uses doubles."""


RESTING = frozenset({OrderType.GTC, OrderType.GTD})
"""Types that may wait in the book; the others trade at once or not at all."""


class Market(NamedTuple):
    """What must be known of a market, all of it, to build an order for one of its outcomes."""

    token_id: int
    tick: int  # pips
    min_size: int  # micro-shares of a resting order
    neg_risk: bool
    chain_id: int
    version: str  # of the protocol: "v1" is the one with CTF positions


class Account(NamedTuple):
    """Who funds and who signs."""

    maker: str
    signer: str
    signature_type: SignatureType
    chain_id: int


def account(address: str, signature_type: int, chain_id: int, wallet: str = "") -> Account:
    """The account that the key of `address` trades with: itself, or the wallet that belongs to it.

    `wallet` may name the wallet; the key must own it. A deposit wallet is of today's form unless it is named.
    Raises `Refused` for a wallet of somebody else's and a chain without a venue.
    """
    if chain_id not in (POLYGON, AMOY):
        raise Refused("SEC_WRONG_CHAIN", f"there is no venue on chain {chain_id!r}", where="chain_id")
    kind = SignatureType(signature_type)
    owned = {
        SignatureType.EOA: lambda: (address,),
        SignatureType.PROXY: lambda: (proxy_wallet(address),),
        SignatureType.SAFE: lambda: (safe_wallet(address),),
        SignatureType.DEPOSIT_WALLET: lambda: deposit_wallets(address),
    }[kind]()
    if wallet and wallet not in owned:
        what = f"{wallet} is not a wallet of kind {kind.name} of {address}"
        raise Refused("SEC_KEY_UNUSABLE", what, where="wallet", mend=f"use {' or '.join(owned)}, or its owner's key")
    maker = wallet or owned[0]
    return Account(maker, maker if kind == SignatureType.DEPOSIT_WALLET else address, kind, chain_id)


def build(
    market: Market,
    account: Account,
    side: int,
    price: int,
    amount: int,
    order_type: OrderType,
    *,
    salt: int,
    timestamp_ms: int,
    builder: str,
    metadata: str = ZERO_WORD,
) -> Order:
    """One order, ready to be signed.

    Parameters
    ----------
    side: `BUY` or `SELL`.
    price: the limit, pips, on the market's tick.
    amount: micro-shares; for a FOK or FAK BUY the micro-pUSD it spends.
    salt: makes equal orders different; 53 random bits.
    timestamp_ms: now, ms since the Unix epoch.
    builder: the code the volume is attributed to, bytes32 in hex, not zero.
    metadata: bytes32 in hex.

    Raises `Refused`, its code saying why.
    """
    if market.version != "v1" or is_protocol_v2(market.token_id):
        what = f"token {market.token_id} is of protocol version {market.version!r}"
        raise Refused("EXEC_PROTOCOL_UNSUPPORTED", what, where="token_id")
    if not 0 < market.token_id < 2**256:
        raise Refused("EXEC_MARKET_UNKNOWN", f"{market.token_id} is not an outcome's token", where="token_id")
    if market.chain_id != account.chain_id:
        what = f"the market is on chain {market.chain_id}, the account on chain {account.chain_id}"
        raise Refused("SEC_WRONG_CHAIN", what, where="chain_id")
    if side not in (BUY, SELL):
        raise Refused("EXEC_BAD_ENVELOPE", f"{side!r} is no side", where="side", rule="0 buys, 1 sells")
    code = _builder_code(builder)
    if order_type in RESTING:
        maker_amount, taker_amount = limit_amounts(side, price, amount, market.tick)
        if amount < market.min_size:
            least = f"{size_text(market.min_size)} shares"
            raise Refused("EXEC_BELOW_MIN_SIZE", f"{size_text(amount)} is less than {least}", where="size")
    else:
        maker_amount, taker_amount = market_amounts(side, price, amount, market.tick)
        if (money := maker_amount if side == BUY else taker_amount) < MICRO:
            raise Refused("EXEC_BELOW_MIN_MARKETABLE", f"{money_text(money)} pUSD is less than 1 pUSD", where="amount")
    if not 0 <= salt <= LARGEST_SALT:
        raise Refused("EXEC_BAD_ENVELOPE", f"{salt} has more than 53 bits", where="salt")
    if not 10**12 <= timestamp_ms < 10**14:
        raise Refused("EXEC_BAD_ENVELOPE", f"{timestamp_ms} is not ms since the Unix epoch", where="timestamp_ms")
    return Order(
        salt,
        account.maker,
        account.signer,
        market.token_id,
        maker_amount,
        taker_amount,
        int(side),
        int(account.signature_type),
        timestamp_ms,
        _word(metadata, "metadata"),
        code,
    )


def is_protocol_v2(token_id: int) -> bool:
    """Is this a position of protocol v2? Bits 40 to 103 of its id are zero; a CTF id is a hash."""
    return not token_id >> 40 & 0xFFFFFFFFFFFFFFFF


@lru_cache(maxsize=16)
def _builder_code(text: str) -> str:
    """A builder code that attributes to somebody (B1)."""
    if not text or text == ZERO_WORD:
        raise Refused("EXEC_NO_BUILDER_CODE", "no builder code is set", where="builder")
    return _word(text, "builder")


@lru_cache(maxsize=1024)
def _word(text: str, where: str) -> str:
    """32 bytes in small hex."""
    try:
        if len(text) == 66 and text[:2] == "0x" and len(raw := bytes.fromhex(text[2:])) == 32:
            return "0x" + raw.hex()
    except ValueError:
        pass
    raise Refused("EXEC_BAD_ENVELOPE", f"{text!r} is not 32 bytes in hexadecimal", where=where)


# -- what is posted ------------------------------------------------------------------------------------------


def body(
    order: Order,
    signature: str,
    order_type: OrderType,
    *,
    owner: str,
    expiration_s: int = 0,
    post_only: bool = False,
) -> dict[str, object]:
    """The body of POST /order; a list of them is that of POST /orders.

    `owner` is the API key. `expiration_s` (Unix seconds, GTD only) and `post_only` are not signed. Raises `Refused`
    for what the venue refuses: a market order's amounts in an order that may rest or the other way round, a GTD
    order that ends within 180 s of its making, post-only that cannot rest.
    """
    if order_type in RESTING:
        money, shares = order[4:6] if order.side == BUY else order[5:3:-1]
        if not shares or money * ONE % shares:
            what = f"{money_text(money)} / {size_text(shares)} is no price on any tick"
            raise Refused("EXEC_OFF_TICK", what, where="order_type", rule="an order that may rest has an exact price")
    elif order.maker_amount % CENT or order.taker_amount % 100:
        rule = "FOK and FAK give at most two decimals and get at most four"
        raise Refused("EXEC_TOO_MANY_DECIMALS", "the amounts are too fine", where="order_type", rule=rule)
    if (order_type == OrderType.GTD) != bool(expiration_s):
        what = f"{order_type.name} with expiration {expiration_s}"
        raise Refused("EXEC_BAD_ENVELOPE", what, where="expiration_s", rule="GTD has one, no other type has")
    if expiration_s and expiration_s * 1000 < order.timestamp_ms + GTD_LEAD_S * 1000:
        raise Refused("EXEC_GTD_TOO_SOON", f"{expiration_s} is too soon", where="expiration_s")
    if post_only and order_type not in RESTING:
        raise Refused("EXEC_BAD_ENVELOPE", f"{order_type.name} cannot be post-only", where="post_only")
    wire: dict[str, object] = {
        "order": {
            "salt": order.salt,
            "maker": order.maker,
            "signer": order.signer,
            "tokenId": str(order.token_id),
            "makerAmount": str(order.maker_amount),
            "takerAmount": str(order.taker_amount),
            "side": "SELL" if order.side else "BUY",
            "expiration": str(expiration_s),
            "signatureType": order.signature_type,
            "timestamp": str(order.timestamp_ms),
            "metadata": order.metadata,
            "builder": order.builder,
            "signature": signature,
        },
        "owner": owner,
        "orderType": order_type.name,
        "deferExec": False,
    }
    if post_only:
        wire["postOnly"] = True
    return wire


def payload(bodies: dict[str, object] | Sequence[dict[str, object]]) -> bytes:
    """The bytes of POST /order from one `body`, of POST /orders from up to fifteen."""
    if not isinstance(bodies, dict) and not 0 < len(bodies) <= LARGEST_BATCH:
        what = f"{len(bodies)} orders in one batch"
        raise Refused("EXEC_BAD_ENVELOPE", what, where="bodies", rule=f"1 to {LARGEST_BATCH} orders")
    return orjson.dumps(bodies)
