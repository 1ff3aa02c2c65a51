"""Who signed this: L1 logins, L2 requests and orders, verified as the venue and its exchange contracts do.

Everything is recomputed from the posted values: an order's digest is also its id. Nothing here signs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from functools import cache
from typing import NamedTuple

from eth_hash.auto import keccak

CHAIN_ID = 137
EXCHANGE = "0xE111180000d2663C0091e4f400237545B87B996B"
NEG_RISK_EXCHANGE = "0xe2222d279d744050d28e00520010520000310F59"

EOA, PROXY, SAFE, DEPOSIT_WALLET = range(4)
"""Signature types."""

ORDER_TYPE = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
    b"uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_LOGIN_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId)"
_LOGIN_TYPE = b"ClobAuth(address address,string timestamp,uint256 nonce,string message)"
_LOGIN_MESSAGE = b"This message attests that I control the given wallet"
_NESTED_TYPE = (
    b"TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
)


class BadSignature(ValueError):
    """The signature is not one, or not over what was sent."""


class OrderMessage(NamedTuple):
    """The signed fields of an order, in their signed order."""

    salt: int
    maker: str
    signer: str
    token: int
    maker_amount: int
    taker_amount: int
    side: int
    signature_type: int
    timestamp: int
    metadata: bytes
    builder: bytes


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(text: str) -> bytes:
    """20 bytes of an address. Raises BadSignature when it is none."""
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise BadSignature(f"{text!r} is no address") from None
    if len(raw) != 20:
        raise BadSignature(f"{text!r} is no address")
    return raw


def _address_word(text: str) -> bytes:
    return bytes(12) + _address(text)


def checksum(address: bytes | str) -> str:
    """An address as the venue spells it (mixed case)."""
    plain = (_address(address) if isinstance(address, str) else address).hex()
    digest = keccak(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(digest[i], 16) > 7 else c for i, c in enumerate(plain))


def recover(digest: bytes, signature: bytes) -> str:
    """Address that signed a digest with a 65-byte signature. Raises BadSignature."""
    import coincurve

    if len(signature) != 65 or signature[64] not in (0, 1, 27, 28):
        raise BadSignature("a signature has 65 bytes and ends with 27 or 28")
    compact = signature[:64] + bytes([signature[64] % 27])
    try:
        key = coincurve.PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception and ValueError alike
        raise BadSignature(f"no key signs like this: {error}") from None
    return checksum(keccak(key.format(compressed=False)[1:])[-20:])


# -- orders --------------------------------------------------------------------------------------


@cache
def domain_separator(neg_risk: bool, chain_id: int = CHAIN_ID) -> bytes:
    """EIP-712 domain of the exchange that settles a market."""
    contract = NEG_RISK_EXCHANGE if neg_risk else EXCHANGE
    parts = keccak(_DOMAIN_TYPE), keccak(b"Polymarket CTF Exchange"), keccak(b"2"), _word(chain_id)
    return keccak(b"".join(parts) + _address_word(contract))


def contents_hash(order: OrderMessage) -> bytes:
    """EIP-712 struct hash of an order."""
    words = (
        keccak(ORDER_TYPE),
        _word(order.salt),
        _address_word(order.maker),
        _address_word(order.signer),
        *(_word(v) for v in order[3:9]),
        order.metadata,
        order.builder,
    )
    return keccak(b"".join(words))


def order_digest(order: OrderMessage, neg_risk: bool, chain_id: int = CHAIN_ID) -> bytes:
    """What is signed, and the order's id."""
    return keccak(b"\x19\x01" + domain_separator(neg_risk, chain_id) + contents_hash(order))


def order_signer(order: OrderMessage, signature: bytes, neg_risk: bool, chain_id: int = CHAIN_ID) -> str:
    """The account behind an order's signature. Raises BadSignature.

    Types 0 to 2 sign the order's digest itself. A deposit wallet (type 3) is signed for by its owner through the
    nested form of ERC-7739, whose parts follow the signature and must be those of this order.
    """
    if order.signature_type != DEPOSIT_WALLET:
        return recover(order_digest(order, neg_risk, chain_id), signature)
    domain, contents = domain_separator(neg_risk, chain_id), contents_hash(order)
    tail = domain + contents + ORDER_TYPE + len(ORDER_TYPE).to_bytes(2, "big")
    if signature[65:] != tail:
        raise BadSignature("a deposit wallet's signature names the exchange's domain and this order's contents")
    words = (
        keccak(_NESTED_TYPE + ORDER_TYPE),
        contents,
        keccak(b"DepositWallet"),
        keccak(b"1"),
        _word(chain_id),
        _address_word(order.signer),
        bytes(32),
    )
    return recover(keccak(b"\x19\x01" + domain + keccak(b"".join(words))), signature[:65])


# -- logins and requests --------------------------------------------------------------------------


def login_signer(address: str, timestamp: str, nonce: int, signature: bytes, chain_id: int = CHAIN_ID) -> str:
    """Account that signed an L1 login. Raises BadSignature."""
    domain = keccak(keccak(_LOGIN_DOMAIN_TYPE) + keccak(b"ClobAuthDomain") + keccak(b"1") + _word(chain_id))
    words = keccak(_LOGIN_TYPE), _address_word(address), keccak(timestamp.encode()), _word(nonce)
    struct = keccak(b"".join(words) + keccak(_LOGIN_MESSAGE))
    return recover(keccak(b"\x19\x01" + domain + struct), signature)


def hmac_signature(secret: str, timestamp: str, method: str, path: str, body: bytes = b"") -> str:
    """L2 signature of a request: HMAC-SHA256 over timestamp, method, path without query, and the body's bytes."""
    try:
        key = base64.urlsafe_b64decode(secret)
    except (binascii.Error, ValueError):
        raise BadSignature("the secret is no base64") from None
    message = f"{timestamp}{method}{path}".encode() + body
    return base64.urlsafe_b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def same(left: str, right: str) -> bool:
    """Compare two secrets without telling by the time it takes where they differ."""
    return hmac.compare_digest(left.encode(), right.encode())
