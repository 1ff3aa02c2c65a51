"""Orders as eth_account sees them: the EIP-712 documents of which our digests are the hashes, written out by hand."""

from __future__ import annotations

import random

from eth_account.messages import encode_typed_data
from eth_utils import keccak

from polytraders.venue.orders import Key, Order, SignatureType
from polytraders.venue.orders.typed import EXCHANGES, EXCHANGES_V3, Domain, checksum

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # account 0 of every local test chain
OWNER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
BUILDER = "0x" + "11" * 31 + "22"
TOKEN = 71321045679252212594626385532706912750332728571942532289631379312455583992563
NOW_MS = 1_710_000_000_000
DOMAINS = (*EXCHANGES.values(), *EXCHANGES_V3.values())

_DOMAIN = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")]
_ORDER = [
    ("salt", "uint256"),
    ("maker", "address"),
    ("signer", "address"),
    ("tokenId", "uint256"),
    ("makerAmount", "uint256"),
    ("takerAmount", "uint256"),
    ("side", "uint8"),
    ("signatureType", "uint8"),
    ("timestamp", "uint256"),
    ("metadata", "bytes32"),
    ("builder", "bytes32"),
]
_WRAPPED = [("contents", "Order"), *_DOMAIN, ("salt", "bytes32")]


def _fields(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in pairs]


def _domain(domain: Domain) -> dict:
    return dict(zip([name for name, _ in _DOMAIN], domain, strict=True))


def document(order: Order, domain: Domain) -> dict:
    """The order as typed data."""
    return {
        "types": {"EIP712Domain": _fields(_DOMAIN), "Order": _fields(_ORDER)},
        "primaryType": "Order",
        "domain": _domain(domain),
        "message": dict(zip([name for name, _ in _ORDER], order, strict=True)),
    }


def wrapped_document(order: Order, domain: Domain) -> dict:
    """What the owner of a deposit wallet signs (ERC-7739)."""
    plain = document(order, domain)
    wallet = Domain("DepositWallet", "1", domain.chain_id, order.signer)
    return plain | {
        "types": plain["types"] | {"TypedDataSign": _fields(_WRAPPED)},
        "primaryType": "TypedDataSign",
        "message": {"contents": plain["message"], **_domain(wallet), "salt": "0x" + "00" * 32},
    }


def reference_digest(typed: dict) -> bytes:
    message = encode_typed_data(full_message=typed)
    return keccak(b"\x19" + message.version + message.header + message.body)


def random_order(draw: random.Random, owner: str = OWNER) -> Order:
    """An order with every field over its whole range, small and large values alike."""

    def word() -> int:
        return draw.getrandbits(draw.choice((1, 8, 53, 64, 255, 256)))

    kind = draw.choice(list(SignatureType))
    wallet = checksum(draw.randbytes(20))
    return Order(
        salt=word(),
        maker=owner if kind == SignatureType.EOA else wallet,
        signer=wallet if kind == SignatureType.DEPOSIT_WALLET else owner,
        token_id=word(),
        maker_amount=word(),
        taker_amount=word(),
        side=draw.getrandbits(1),
        signature_type=int(kind),
        timestamp_ms=word(),
        metadata="0x" + draw.randbytes(32).hex(),
        builder="0x" + draw.randbytes(32).hex(),
    )


def key() -> Key:
    return Key(KEY)
