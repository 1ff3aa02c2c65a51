"""Sign an order; recover who signed one; say whether the exchange would accept it."""

from __future__ import annotations

from typing import NamedTuple

from coincurve import PublicKey

from polytraders.venue.orders.keys import Key
from polytraders.venue.orders.typed import (
    EXCHANGES,
    EXCHANGES_V3,
    Domain,
    Order,
    SignatureType,
    address_bytes,
    check_form,
    checksum,
    digest,
    domain_separator,
    keccak,
    struct_hash,
    unwrap,
    wrap,
    wrapped_digest,
)
from polytraders.venue.orders.wallets import deposit_wallets, proxy_wallet, safe_wallet
from polytraders.venue.refusal import Refused

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_KNOWN = {*EXCHANGES.values(), *EXCHANGES_V3.values()}


class Signed(NamedTuple):
    """An order's id, known before it is sent, and its signature."""

    order_id: str  # the digest, 0x and 64 hex digits
    signature: str  # 0x and hex: 65 bytes, more for a deposit wallet


def sign(order: Order, key: Key, domain: Domain) -> Signed:
    """Sign an order for an exchange. Raises `Refused` for a contract that is none, and for another's order."""
    if domain not in _KNOWN:
        raise Refused("SEC_DOMAIN_MISMATCH", f"{domain} is no exchange of this venue", where="domain")
    contents = struct_hash(order)
    order_id = keccak(b"\x19\x01" + domain_separator(domain) + contents)
    if order.signature_type == SignatureType.DEPOSIT_WALLET:
        signature = wrap(key.sign(wrapped_digest(order, domain, contents)), domain, contents)
    elif order.signer == key.address:
        signature = key.sign(order_id)
    else:
        raise Refused("SEC_KEY_UNUSABLE", f"this is the key of {key.address}, not of {order.signer}", where="signer")
    return Signed("0x" + order_id.hex(), "0x" + signature.hex())


def recover_digest(digest: bytes, signature: str | bytes) -> str:
    """The address whose key made these 65 bytes over a digest. Raises `Refused` when no key did.

    As strict as the exchange: v is 27 or 28 and s lies in the lower half, so that an order has one signature.
    """
    raw = _signature_bytes(signature)
    if len(raw) != 65 or raw[64] not in (27, 28) or int.from_bytes(raw[32:64], "big") > _HALF_ORDER:
        raise Refused("EXEC_BAD_ENVELOPE", "not 65 bytes of r, low s and v = 27 or 28", where="signature")
    try:
        public = PublicKey.from_signature_and_message(raw[:64] + bytes((raw[64] - 27,)), digest, hasher=None)
    except Exception:  # noqa: BLE001  coincurve raises Exception itself
        raise Refused("EXEC_BAD_ENVELOPE", "no key makes this signature", where="signature") from None
    return checksum(keccak(public.format(compressed=False)[1:])[12:])


def recover(order: Order, signature: str | bytes, domain: Domain) -> str:
    """The address of the key that signed an order, whatever its signature type: for a deposit wallet the key of
    its owner, not the wallet. Raises `Refused` when the signature is malformed or wraps something else.
    """
    check_form(order)
    raw = _signature_bytes(signature)
    if order.signature_type != SignatureType.DEPOSIT_WALLET:
        return recover_digest(digest(order, domain), raw)
    contents = struct_hash(order)
    return recover_digest(wrapped_digest(order, domain, contents), unwrap(raw, domain, contents))


def verify(order: Order, signature: str | bytes, domain: Domain, *, owner: str = "") -> bool:
    """Would the exchange accept this signature for this order?

    `owner` is the address known to own the maker's wallet, where a wallet has been registered; without it the
    maker must be the wallet that is derived from the recovered address. A malformed signature is not accepted.
    """
    try:
        who = recover(order, signature, domain)
    except Refused:
        return False
    maker, signer = checksum(address_bytes(order.maker)), checksum(address_bytes(order.signer))
    if owner and checksum(address_bytes(owner)) != who:
        return False
    match order.signature_type:
        case SignatureType.EOA:
            return who == signer == maker
        case SignatureType.PROXY:
            return who == signer and (bool(owner) or maker == proxy_wallet(who))
        case SignatureType.SAFE:
            return who == signer and (bool(owner) or maker == safe_wallet(who))
    return maker == signer and (bool(owner) or maker in deposit_wallets(who))


def _signature_bytes(signature: str | bytes) -> bytes:
    try:
        return signature if isinstance(signature, bytes) else bytes.fromhex(signature.removeprefix("0x"))
    except ValueError:
        raise Refused("EXEC_BAD_ENVELOPE", "is not hexadecimal", where="signature") from None
