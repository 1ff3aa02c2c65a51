"""True fills and fees: the exchange's OrderFilled events of our orders, read by quorum and only from settled blocks.

The venue's trade records carry no true fee; the event does. Amounts in micro-units: of a BUY `gave` is pUSD and `got`
shares, of a SELL the other way round; the fee is pUSD.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from web3 import Web3

from polytraders.venue.chain.nodes import Nodes
from polytraders.venue.orders.typed import keccak

ORDER_FILLED = keccak(b"OrderFilled(bytes32,address,address,uint8,uint256,uint256,uint256,uint256,bytes32,bytes32)")
SETTLED = 32
"""Blocks behind the head from which on a block is taken as final: about a minute of Polygon."""
SPAN = 2_000
"""Blocks of one request for logs; public providers refuse many more."""


class ChainFill(NamedTuple):
    """One OrderFilled event of an order whose maker is ours."""

    order_id: str
    exchange: str  # small-letter address
    maker: str  # small-letter address
    taker: str  # small-letter address; the exchange itself where our order was the taker
    side: int  # rows.Side
    token_id: int
    gave: int
    got: int
    fee: int
    builder: str
    metadata: str
    block: int
    transaction: str
    log: int  # place in the block

    @property
    def is_taker(self) -> bool:
        """Did our order take? Then the event names the exchange as its counterpart."""
        return self.taker == self.exchange


def read_fills(
    nodes: Nodes, exchanges: Sequence[str], maker: str, first: int, last: int | None = None, settled: int = SETTLED
) -> Iterator[ChainFill]:
    """Fills of `maker`'s orders in blocks first ... last, in the chain's order.

    last: by default, and at most, `settled` blocks behind the head. Raises `Refused` when providers are too few or
    disagree about a single event; what was yielded before stands.
    """
    end = nodes.head(settled).number
    end = end if last is None else min(end, last)
    topics = ["0x" + ORDER_FILLED.hex(), None, "0x" + int(maker, 16).to_bytes(32, "big").hex()]
    addresses = [Web3.to_checksum_address(exchange) for exchange in exchanges if exchange]
    while first <= end:
        stop = min(first + SPAN - 1, end)
        span = {"address": addresses, "topics": topics, "fromBlock": first, "toBlock": stop}

        def question(web3: Web3, span: dict = span) -> tuple[ChainFill, ...]:
            found = (_decode(log) for log in web3.eth.get_logs(span))  # type: ignore[arg-type]
            return tuple(sorted(found, key=lambda fill: (fill.block, fill.log)))

        yield from nodes.agree(f"fills in blocks {first} ... {stop}", question)
        first = stop + 1


def _decode(log: object) -> ChainFill:
    data, topics = bytes(log["data"]), [bytes(t) for t in log["topics"]]  # type: ignore[index]
    words = [data[i : i + 32] for i in range(0, len(data), 32)]
    if len(words) != 7 or len(topics) != 4 or topics[0] != ORDER_FILLED:
        raise ValueError("this is no OrderFilled event of version 2")
    side, token, gave, got, fee = (int.from_bytes(word, "big") for word in words[:5])
    return ChainFill(
        "0x" + topics[1].hex(),
        str(log["address"]).lower(),  # type: ignore[index]
        "0x" + topics[2][12:].hex(),
        "0x" + topics[3][12:].hex(),
        side,
        token,
        gave,
        got,
        fee,
        "0x" + words[5].hex(),
        "0x" + words[6].hex(),
        int(log["blockNumber"]),  # type: ignore[index]
        "0x" + bytes(log["transactionHash"]).hex(),  # type: ignore[index]
        int(log["logIndex"]),  # type: ignore[index]
    )


def true_fees(fills: Sequence[ChainFill]) -> dict[str, int]:
    """Order id -> micro-pUSD of fees over all its fills; an order that was settled in several calls paid several."""
    fees: dict[str, int] = {}
    for fill in {(f.transaction, f.log): f for f in fills}.values():
        fees[fill.order_id] = fees.get(fill.order_id, 0) + fill.fee
    return fees
