"""What is signed: the Order of Polymarket's V2 exchanges under EIP-712, and its ERC-7739 wrapping.

The digest is computed by hand from precomputed type hashes and domain separators; tests hold it against
eth_account's on random orders. It is the order id the venue answers with, so it is known before anything is sent.

Invariants
    O1  an order's id depends on its eleven signed fields and its domain, and on nothing else
    O2  nothing is signed for a contract that is not in `EXCHANGES`

Addresses are checksummed text, 32-byte words small-hex text, amounts micro-units, times ms since the Unix epoch.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from Crypto.Hash import keccak as _keccak

from polytraders.venue.refusal import Refused

POLYGON, AMOY = 137, 80002
ZERO_WORD = "0x" + "00" * 32


class SignatureType(IntEnum):
    """Who funds an order, and how its signature is checked."""

    EOA = 0  # maker = signer = the key's address
    PROXY = 1  # maker is the proxy wallet derived from the signer
    SAFE = 2  # maker is the 1-of-1 Safe derived from the signer
    DEPOSIT_WALLET = 3  # maker = signer = a contract that checks the signature itself (ERC-1271)


class Order(NamedTuple):
    """The eleven signed fields, in their signed order."""

    salt: int
    maker: str  # address that funds
    signer: str  # address that signs; the wallet itself for a deposit wallet
    token_id: int
    maker_amount: int  # what the maker gives: micro-pUSD of a BUY, micro-shares of a SELL
    taker_amount: int  # what the maker gets
    side: int  # 0 BUY, 1 SELL
    signature_type: int
    timestamp_ms: int
    metadata: str  # bytes32
    builder: str  # bytes32: to whom the volume is attributed


class Domain(NamedTuple):
    """An EIP-712 domain with the four usual fields."""

    name: str
    version: str
    chain_id: int
    contract: str


_V2 = "0xE111180000d2663C0091e4f400237545B87B996B"
_V2_NEG_RISK = "0xe2222d279d744050d28e00520010520000310F59"
_NAME = "Polymarket CTF Exchange"
EXCHANGES = {
    (chain, neg_risk): Domain(_NAME, "2", chain, contract)
    for chain in (POLYGON, AMOY)
    for neg_risk, contract in ((False, _V2), (True, _V2_NEG_RISK))
}
"""(chain id, neg risk) -> domain of the exchange that settles such a market."""
EXCHANGES_V3 = {
    POLYGON: Domain(_NAME, "3", POLYGON, "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"),
    AMOY: Domain(_NAME, "3", AMOY, "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D"),
}
"""Chain id -> domain of the exchange for the positions of protocol v2, whose orders we read but do not build."""


def exchange(chain_id: int, neg_risk: bool) -> Domain:
    """The domain of the exchange for a market. Raises `Refused` on a chain where there is none."""
    try:
        return EXCHANGES[chain_id, neg_risk]
    except KeyError:
        raise Refused("SEC_WRONG_CHAIN", f"there is no exchange on chain {chain_id!r}", where="chain_id") from None


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_WORD = re.compile(r"0x[0-9a-fA-F]{64}")


def check_form(order: Order) -> None:
    """Is every field of its type? Without this, two fields of wrong length could hash like two others.

    Raises `Refused`. Checksums of addresses are not looked at: the venue does not either.
    """
    whole = ("salt", "token_id", "maker_amount", "taker_amount", "timestamp_ms")
    bad = [name for name in whole if not 0 <= getattr(order, name) < 2**256]
    bad += [name for name in ("maker", "signer") if not _ADDRESS.fullmatch(getattr(order, name))]
    bad += [name for name in ("metadata", "builder") if not _WORD.fullmatch(getattr(order, name))]
    bad += ["side"] if order.side not in (0, 1) else []
    bad += ["signature_type"] if order.signature_type not in (0, 1, 2, 3) else []
    if bad:
        raise Refused("EXEC_BAD_ENVELOPE", f"{', '.join(bad)} is malformed", where="order")


# -- hashes --------------------------------------------------------------------------------------------------


def keccak(data: bytes) -> bytes:
    """Keccak-256, the hash of Ethereum."""
    return _keccak.new(digest_bits=256, data=data).digest()


ORDER_TYPE = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
    b"uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
_WRAPPED_TYPE = (
    b"TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
)
_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
ORDER_TYPE_HASH = keccak(ORDER_TYPE)
_WRAPPED_TYPE_HASH = keccak(_WRAPPED_TYPE + ORDER_TYPE)
_WALLET_NAME_HASH, _WALLET_VERSION_HASH = keccak(b"DepositWallet"), keccak(b"1")
_PAD = bytes(12)  # an address in a 32-byte word


def address_bytes(address: str) -> bytes:
    """The twenty bytes of an address."""
    return bytes.fromhex(address[2:])


@lru_cache(maxsize=64)
def domain_separator(domain: Domain) -> bytes:
    """The hash of a domain."""
    return keccak(
        keccak(_DOMAIN_TYPE)
        + keccak(domain.name.encode())
        + keccak(domain.version.encode())
        + domain.chain_id.to_bytes(32, "big")
        + _PAD
        + address_bytes(domain.contract)
    )


def struct_hash(order: Order) -> bytes:
    """The hash of an order without its domain."""
    return keccak(
        b"".join(
            (
                ORDER_TYPE_HASH,
                order.salt.to_bytes(32, "big"),
                _PAD,
                bytes.fromhex(order.maker[2:]),
                _PAD,
                bytes.fromhex(order.signer[2:]),
                order.token_id.to_bytes(32, "big"),
                order.maker_amount.to_bytes(32, "big"),
                order.taker_amount.to_bytes(32, "big"),
                order.side.to_bytes(32, "big"),
                order.signature_type.to_bytes(32, "big"),
                order.timestamp_ms.to_bytes(32, "big"),
                bytes.fromhex(order.metadata[2:]),
                bytes.fromhex(order.builder[2:]),
            )
        )
    )


def digest(order: Order, domain: Domain) -> bytes:
    """The EIP-712 digest of an order: its id at the venue and on chain."""
    return keccak(b"\x19\x01" + domain_separator(domain) + struct_hash(order))


def wrapped_digest(order: Order, domain: Domain, contents: bytes) -> bytes:
    """What a deposit wallet's owner signs: the order (`contents` is its struct hash) bound to this one wallet."""
    inner = keccak(
        _WRAPPED_TYPE_HASH
        + contents
        + _WALLET_NAME_HASH
        + _WALLET_VERSION_HASH
        + domain.chain_id.to_bytes(32, "big")
        + _PAD
        + address_bytes(order.signer)
        + bytes(32)
    )
    return keccak(b"\x19\x01" + domain_separator(domain) + inner)


def wrap(ecdsa: bytes, domain: Domain, contents: bytes) -> bytes:
    """The signature a deposit wallet checks: the 65 bytes, then what they were made over (ERC-7739)."""
    return ecdsa + _wrapping(domain, contents)


def unwrap(signature: bytes, domain: Domain, contents: bytes) -> bytes:
    """The 65 bytes in a deposit wallet's signature. Raises `Refused` when it was made over something else."""
    if signature[65:] != _wrapping(domain, contents):
        raise Refused("EXEC_BAD_ENVELOPE", "the wrapping is not this order's under this exchange", where="signature")
    return signature[:65]


def _wrapping(domain: Domain, contents: bytes) -> bytes:
    return domain_separator(domain) + contents + ORDER_TYPE + len(ORDER_TYPE).to_bytes(2, "big")


def checksum(address: bytes) -> str:
    """Twenty bytes as an address with the mixed-case checksum of EIP-55."""
    text = address.hex()
    nibbles = keccak(text.encode()).hex()
    return "0x" + "".join(c.upper() if n >= "8" else c for c, n in zip(text, nibbles[:40], strict=True))
