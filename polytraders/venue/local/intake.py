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
from polytraders.venue.local import signatures as sign

TAKING = (OrderType.FOK, OrderType.FAK)


class Refused(Exception):
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

    digest: str
    message: sign.OrderMessage
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


def _bytes32(entry: dict[str, Any], name: str) -> bytes:
    raw = bytes.fromhex(str(entry[name]).removeprefix("0x"))
    if len(raw) != 32:
        raise ValueError(name)
    return raw


def read_message(entry: Any) -> tuple[sign.OrderMessage, bytes, int]:
    """(signed fields, signature, expiration) of a posted `order`. Raises Refused."""
    if not isinstance(entry, dict):
        raise Refused("Invalid order payload")
    if "nonce" in entry or "feeRateBps" in entry or "taker" in entry:
        raise Refused("order_version_mismatch")
    if entry.get("side") not in ("BUY", "SELL"):
        raise Refused("Invalid order payload: invalid side")
    try:
        message = sign.OrderMessage(
            salt=_integer(entry, "salt"),
            maker=sign.checksum(str(entry["maker"])),
            signer=sign.checksum(str(entry["signer"])),
            token=_integer(entry, "tokenId"),
            maker_amount=_integer(entry, "makerAmount"),
            taker_amount=_integer(entry, "takerAmount"),
            side=int(Side[entry["side"]]),
            signature_type=_integer(entry, "signatureType"),
            timestamp=_integer(entry, "timestamp"),
            metadata=_bytes32(entry, "metadata"),
            builder=_bytes32(entry, "builder"),
        )
        signature = bytes.fromhex(str(entry["signature"]).removeprefix("0x"))
        expires = _integer(entry, "expiration") if "expiration" in entry else 0
    except (KeyError, ValueError, sign.BadSignature) as error:
        raise Refused(f"Invalid order payload: {error}") from None
    if message.signature_type > sign.DEPOSIT_WALLET:
        raise Refused("Invalid order payload: signatureType")
    if not message.maker_amount or not message.taker_amount:
        raise Refused("Invalid order payload: an amount is zero")
    if max(message.maker_amount, message.taker_amount) >= 1 << 60:
        raise Refused("Invalid order payload: an amount is too large")
    return message, signature, expires


def read_ticket(
    posted: Any, owner: str, address: str, market_of: Callable[[int], tuple[Rules, int]], now: int
) -> Ticket:
    """A posted order, checked.

    owner, address: API key of the request and the account it belongs to. market_of: token -> (market, outcome), raises
    Refused for an unknown one. now: ns, the venue's clock. Raises Refused.
    """
    if not isinstance(posted, dict) or "order" not in posted:
        raise Refused("Invalid order payload")
    message, signature, expires = read_message(posted["order"])
    kind = posted.get("orderType")
    if kind not in OrderType.__members__:
        raise Refused(f"Invalid order payload: orderType {kind!r}")
    order_type, post_only = OrderType[kind], posted.get("postOnly") is True
    if post_only and order_type in TAKING:
        raise Refused("invalid post-only order: only GTC and GTD orders can be post-only")
    if posted.get("owner") != owner:
        raise Refused("the order owner has to be the owner of the API KEY")
    rules, outcome = market_of(message.token)
    _check_signer(message, signature, address, rules.neg_risk)
    digest = "0x" + sign.order_digest(message, rules.neg_risk).hex()
    price, size, money = _terms(message, order_type, rules, digest)
    if size < rules.min_size:
        least = size_text(rules.min_size)
        raise Refused(f"order {digest} is invalid. Size ({size_text(size)}) lower than the minimum: {least}")
    if order_type is OrderType.GTD:
        if gtd_too_soon(expires, now) or expires >= 1 << 31:
            raise Refused("invalid expiration")
    elif expires:
        raise Refused("invalid expiration")
    return Ticket(digest, message, outcome, message.side, int(order_type), price, size, money, post_only, expires)


def _check_signer(message: sign.OrderMessage, signature: bytes, address: str, neg_risk: bool) -> None:
    """Who signed is who asks; and the order's addresses fit its wallet type."""
    kind = message.signature_type
    account = message.signer if kind != sign.DEPOSIT_WALLET else address
    if account != address:
        raise Refused("the order signer address has to be the address of the API KEY")
    if kind == sign.EOA and message.maker != message.signer:
        raise Refused("Invalid order payload: the maker of an EOA order is its signer")
    if kind == sign.DEPOSIT_WALLET and message.maker != message.signer:
        raise Refused("Invalid order payload: a deposit wallet is maker and signer")
    try:
        signer = sign.order_signer(message, signature, neg_risk)
    except sign.BadSignature:
        raise Refused("invalid signature") from None
    if signer != address:
        raise Refused("invalid signature")


def _terms(message: sign.OrderMessage, order_type: OrderType, rules: Rules, digest: str) -> tuple[int, int, int]:
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
            raise Refused(
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
        raise Refused(
            f"order {digest} is invalid. Price ({quotient.normalize():f}) breaks minimum tick size rule: "
            f"{price_text(rules.tick)}"
        )
    _check_range(price, rules.tick)
    if shares % CENT_SHARE:
        raise Refused(f"order {digest} is invalid. Size ({size_text(shares)}) has more than 2 decimals")
    return price, shares, 0


def _check_range(price: int, tick: int) -> None:
    if not tick <= price <= ONE - tick:
        raise Refused(f"invalid price ({price_text(price)}), min: {price_text(tick)} - max: {price_text(ONE - tick)}")
