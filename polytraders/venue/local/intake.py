"""From a posted order to one the kernel takes, or the refusal in the venue's words.

The checks stand in the order in which a sender can mend them: shape, owner, market, signature, amounts, tick, size,
lifetime. What depends on the book or on balances (crossing, FOK, money) is the exchange's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from polytraders.engine.rules import gtd_too_soon
from polytraders.rows import OrderType, Side
from polytraders.units import CENT_SHARE, ONE, price_text, size_text
from polytraders.venue.orders import POLYGON, Order, SignatureType, digest, exchange, recover, verify
from polytraders.venue.orders.typed import checksum
from polytraders.venue.refusal import Refused

TAKING = (OrderType.FOK, OrderType.FAK)


class Refusal(Exception):
    """The venue says no. status: HTTP's; code: the machine-readable one of restricted modes."""

    def __init__(self, text: str, status: int = 400, **extra: Any):
        super().__init__(text)
        self.text, self.status, self.extra = text, status, extra


class Rules(Protocol):
    """What the checks read of a market."""

    neg_risk: bool
    tick: int  # pips
    min_size: int  # micro-shares


@dataclass(frozen=True)
class Ticket:
    """An order that may be matched. price: pips in its own token; size: micro-shares; money: micro-pUSD of a taking
    buy, which is named by what it spends."""

    id: str  # the digest
    message: Order
    outcome: int
    side: int
    order_type: int
    price: int
    size: int
    money: int
    post_only: bool
    expires: int  # Unix second, 0 = never


def _integer(entry: dict[str, Any], name: str) -> int:
    value = entry[name]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(name)
    number = int(value)
    if not 0 <= number < 1 << 256:
        raise ValueError(name)
    return number


def _word(entry: dict[str, Any], name: str) -> str:
    raw = bytes.fromhex(str(entry[name]).removeprefix("0x"))
    if len(raw) != 32:
        raise ValueError(name)
    return "0x" + raw.hex()


def address_of(text: str) -> str:
    """An address with its checksum. Raises ValueError for what is none."""
    raw = bytes.fromhex(text.removeprefix("0x"))
    if len(raw) != 20:
        raise ValueError(f"{text!r} is no address")
    return checksum(raw)


def read_message(entry: Any) -> tuple[Order, bytes, int]:
    """(signed fields, signature, expiration) of a posted `order`. Raises Refusal."""
    if not isinstance(entry, dict):
        raise Refusal("Invalid order payload")
    if "nonce" in entry or "feeRateBps" in entry or "taker" in entry:
        raise Refusal("order_version_mismatch")
    if entry.get("side") not in ("BUY", "SELL"):
        raise Refusal("Invalid order payload: invalid side")
    try:
        message = Order(
            salt=_integer(entry, "salt"),
            maker=address_of(str(entry["maker"])),
            signer=address_of(str(entry["signer"])),
            token_id=_integer(entry, "tokenId"),
            maker_amount=_integer(entry, "makerAmount"),
            taker_amount=_integer(entry, "takerAmount"),
            side=int(Side[entry["side"]]),
            signature_type=_integer(entry, "signatureType"),
            timestamp_ms=_integer(entry, "timestamp"),
            metadata=_word(entry, "metadata"),
            builder=_word(entry, "builder"),
        )
        signature = bytes.fromhex(str(entry["signature"]).removeprefix("0x"))
        expires = _integer(entry, "expiration") if "expiration" in entry else 0
    except (KeyError, ValueError) as error:
        raise Refusal(f"Invalid order payload: {error}") from None
    if message.signature_type > max(SignatureType):
        raise Refusal("Invalid order payload: signatureType")
    if not message.maker_amount or not message.taker_amount:
        raise Refusal("Invalid order payload: an amount is zero")
    if max(message.maker_amount, message.taker_amount) >= 1 << 60:
        raise Refusal("Invalid order payload: an amount is too large")
    return message, signature, expires


def read_ticket(
    posted: Any, owner: str, address: str, market_of: Callable[[int], tuple[Rules, int]], now: int
) -> Ticket:
    """A posted order, checked.

    owner, address: API key of the request and the account it belongs to. market_of: token -> (market, outcome), raises
    Refusal for an unknown one. now: ns, the venue's clock. Raises Refusal.
    """
    if not isinstance(posted, dict) or "order" not in posted:
        raise Refusal("Invalid order payload")
    message, signature, expires = read_message(posted["order"])
    kind = posted.get("orderType")
    if not isinstance(kind, str) or kind not in OrderType.__members__:
        raise Refusal(f"Invalid order payload: orderType {kind!r}")
    order_type, post_only = OrderType[kind], posted.get("postOnly") is True
    if post_only and order_type in TAKING:
        raise Refusal("invalid post-only order: only GTC and GTD orders can be post-only")
    if posted.get("owner") != owner:
        raise Refusal("the order owner has to be the owner of the API KEY")
    rules, outcome = market_of(message.token_id)
    _check_signer(message, signature, address, rules.neg_risk)
    order_id = "0x" + digest(message, exchange(POLYGON, rules.neg_risk)).hex()
    price, size, money = _terms(message, order_type, rules, order_id)
    if size < rules.min_size:
        least = size_text(rules.min_size)
        raise Refusal(f"order {order_id} is invalid. Size ({size_text(size)}) lower than the minimum: {least}")
    if order_type is OrderType.GTD:
        if expires >= 1 << 31 or gtd_too_soon(expires, now):
            raise Refusal("invalid expiration")
    elif expires:
        raise Refusal("invalid expiration")
    return Ticket(order_id, message, outcome, message.side, int(order_type), price, size, money, post_only, expires)


def _check_signer(message: Order, signature: bytes, address: str, neg_risk: bool) -> None:
    """Who signed is who asks, and the wallet that pays is the signer's own."""
    kind, domain = message.signature_type, exchange(POLYGON, neg_risk)
    if kind != SignatureType.DEPOSIT_WALLET and message.signer != address:
        raise Refusal("the order signer address has to be the address of the API KEY")
    try:
        signer = recover(message, signature, domain)
    except Refused:
        raise Refusal("invalid signature") from None
    if signer != address or not verify(message, signature, domain):
        raise Refusal("invalid signature")


def _terms(message: Order, order_type: OrderType, rules: Rules, order_id: str) -> tuple[int, int, int]:
    """(price, size, money) of the two amounts.

    A resting order's quotient must be a price on the tick. A taking one is only a bound: its money has two decimals
    and its shares four (a buy) or two and four (a sale), whatever the tick, and its price is what they allow.
    """
    buying = message.side == Side.BUY
    shares, cash = (
        (message.taker_amount, message.maker_amount) if buying else (message.maker_amount, message.taker_amount)
    )
    if order_type in TAKING:
        if message.maker_amount % 10_000 or message.taker_amount % 100:
            what = "buy" if buying else "sell"
            raise Refusal(
                f"invalid amounts, the market {what} orders maker amount supports a max accuracy of 2 decimals, "
                "taker amount a max of 4 decimals"
            )
        price = cash * ONE // shares if buying else -(-cash * ONE // shares)
        price -= price % rules.tick if buying else -(-price % rules.tick)
        _check_range(price, rules.tick)
        return price, shares // CENT_SHARE * CENT_SHARE, cash if buying else 0
    price, rest = divmod(cash * ONE, shares)
    if rest or price % rules.tick:
        quotient = Decimal(cash) / Decimal(shares)
        raise Refusal(
            f"order {order_id} is invalid. Price ({quotient.normalize():f}) breaks minimum tick size rule: "
            f"{price_text(rules.tick)}"
        )
    _check_range(price, rules.tick)
    if shares % CENT_SHARE:
        raise Refusal(f"order {order_id} is invalid. Size ({size_text(shares)}) has more than 2 decimals")
    return price, shares, 0


def _check_range(price: int, tick: int) -> None:
    if not tick <= price <= ONE - tick:
        raise Refusal(f"invalid price ({price_text(price)}), min: {price_text(tick)} - max: {price_text(ONE - tick)}")
