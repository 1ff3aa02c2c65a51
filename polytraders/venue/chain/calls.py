"""The transactions of the desk as data: which method of which contract, with which words; and back from the bytes.

Encoded by hand, since every argument is a word or an array of words; tests hold it against web3's codec. Whoever signs
a call reads it back from its bytes with `decode`, so that what was meant and what is signed can be compared.

Amounts in micro-units; condition and market ids as 32 bytes in hex.
"""

from __future__ import annotations

from typing import NamedTuple

from polytraders.venue.chain.addresses import Contracts
from polytraders.venue.orders.typed import ZERO_WORD, keccak
from polytraders.venue.refusal import Refused

UNLIMITED = 2**256 - 1

_SIGNATURES = (
    "approve(address,uint256)",
    "setApprovalForAll(address,bool)",
    "splitPosition(address,bytes32,bytes32,uint256[],uint256)",
    "mergePositions(address,bytes32,bytes32,uint256[],uint256)",
    "redeemPositions(address,bytes32,bytes32,uint256[])",
    "convertPositions(bytes32,uint256,uint256)",
    "pauseUser()",
    "unpauseUser()",
)
SELECTORS = {keccak(text.encode())[:4]: text for text in _SIGNATURES}
"""First four bytes of a call -> signature of the method."""
_SELECTOR = {text.partition("(")[0]: selector for selector, text in SELECTORS.items()}
METHODS = frozenset(_SELECTOR)


class Call(NamedTuple):
    """One transaction's target and data, and what it means."""

    method: str
    to: str  # address of the contract
    data: bytes
    spender: str = ""  # of an approval
    amount: int = 0  # micro-units: approved, split, merged, converted; of an operator 1 or 0
    urgent: bool = False  # does not wait for cheaper gas


def _word(value: int | str) -> bytes:
    """An integer, or hexadecimal text of up to 32 bytes, as a word."""
    number = int(value, 16) if isinstance(value, str) else value
    return number.to_bytes(32, "big")


def _call(method: str, to: str, *words: int | str, **meaning: object) -> Call:
    if not to:
        raise Refused(
            "SEC_CONTRACT_ADDRESS_NOT_ALLOWED", f"no contract for {method} is known on this chain", where="to"
        )
    return Call(method, to, _SELECTOR[method] + b"".join(map(_word, words)), **meaning)  # type: ignore[arg-type]


def approve(where: Contracts, spender: str, amount: int, *, unlimited: bool = False) -> Call:
    """Let `spender` take exactly `amount` micro-pUSD; 0 revokes. Raises `Refused` for no limit unless asked for."""
    if not 0 <= amount <= UNLIMITED or (amount >= 2**128 and not unlimited):
        raise Refused("SEC_UNLIMITED_ALLOWANCE", f"{amount} is no exact amount", where="amount")
    return _call("approve", where.pusd, spender, amount, spender=spender, amount=amount)


def set_operator(where: Contracts, operator: str, on: bool) -> Call:
    """Let `operator` move all outcome tokens, or no longer; ERC-1155 knows nothing in between."""
    return _call("setApprovalForAll", where.ctf, operator, int(on), spender=operator, amount=int(on))


def _adapter(where: Contracts, neg_risk: bool) -> str:
    return where.neg_risk_adapter if neg_risk else where.adapter


def split(where: Contracts, condition: str, amount: int, neg_risk: bool = False) -> Call:
    """`amount` pUSD into as many complete sets."""
    words = (where.pusd, ZERO_WORD, condition, 5 * 32, amount, 2, 1, 2)
    return _call("splitPosition", _adapter(where, neg_risk), *words, amount=amount)


def merge(where: Contracts, condition: str, amount: int, neg_risk: bool = False) -> Call:
    """`amount` complete sets into as many pUSD."""
    words = (where.pusd, ZERO_WORD, condition, 5 * 32, amount, 2, 1, 2)
    return _call("mergePositions", _adapter(where, neg_risk), *words, amount=amount)


def redeem(where: Contracts, condition: str, neg_risk: bool = False) -> Call:
    """Everything held of a resolved market into what it pays."""
    words = (where.pusd, ZERO_WORD, condition, 4 * 32, 2, 1, 2)
    return _call("redeemPositions", _adapter(where, neg_risk), *words)


def convert(where: Contracts, market: str, index_set: int, amount: int) -> Call:
    """`amount` NO of each question in `index_set` of a neg-risk event into pUSD and YES of the others.

    market: the event's id. Raises `Refused` for an empty set, which converts nothing.
    """
    if index_set <= 0:
        raise Refused("EXEC_BAD_ENVELOPE", f"{index_set} names no question", where="index_set")
    return _call("convertPositions", where.converter, market, index_set, amount, amount=amount)


def pause(exchange: str) -> Call:
    """The last resort: the exchange settles none of our orders any more, some blocks after this is mined."""
    return _call("pauseUser", exchange, urgent=True)


def unpause(exchange: str) -> Call:
    """Let the exchange settle our orders again."""
    return _call("unpauseUser", exchange)


def decode(data: bytes) -> tuple[str, str, int]:
    """(method, spender, amount) that the bytes of a call say. Raises `Refused` for a method that is not ours.

    Of `redeemPositions`, `pauseUser` and `unpauseUser` the amount is 0, of `setApprovalForAll` 1 or 0.
    """
    signature = SELECTORS.get(data[:4])
    if signature is None or (len(data) - 4) % 32:
        what = f"0x{data[:4].hex()} is the selector of no method of ours"
        raise Refused("SEC_WALLET_PERMISSION_DENIED", what, where="data")
    method = signature.partition("(")[0]
    words = [data[i : i + 32] for i in range(4, len(data), 32)]
    place = {"approve": 1, "setApprovalForAll": 1, "splitPosition": 4, "mergePositions": 4, "convertPositions": 2}
    amount_at = place.get(method)
    try:
        amount = int.from_bytes(words[amount_at], "big") if amount_at is not None else 0
        spender = "0x" + words[0][12:].hex() if method in ("approve", "setApprovalForAll") else ""
    except IndexError:
        raise Refused("SEC_WALLET_PERMISSION_DENIED", f"{signature} is cut short", where="data") from None
    return method, spender, amount
