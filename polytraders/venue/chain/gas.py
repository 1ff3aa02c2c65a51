"""The price of gas, now and in the last day, by a quorum of providers. Prices in wei, times in ns."""

from __future__ import annotations

import statistics

from web3 import Web3

from polytraders.venue.chain.nodes import Nodes
from polytraders.venue.refusal import Refused

DAY_S = 86_400
SAMPLES = 96
"""Blocks of the last day that a seed reads: one in a quarter of an hour."""


def read_price(nodes: Nodes) -> int:
    """The median of the providers' prices. Raises Refused below the quorum."""
    answers = [a.value for a in nodes.ask(lambda web3: int(web3.eth.gas_price)) if not a.error]
    if len(answers) < nodes.least:
        raise Refused("SEC_RPC_QUORUM_LOST", f"gas price: {len(answers)} answered", where="providers")
    return int(statistics.median_low(answers))


def seed(nodes: Nodes, samples: int = SAMPLES) -> list[tuple[int, int]]:
    """(time, price) of blocks of the last day, oldest first: what a process that begins has not seen itself.

    A block's price is its base fee and the tip that providers propose now, as a price read then would have been. Only
    what a quorum says alike counts; without one the list is empty, and exec.gasoracle says that it does not know.
    """
    try:
        names, height = nodes.healthy()
        now = nodes.block(height, names)
        tip = max(read_price(nodes) - _base_fee(nodes, height, names), 0)
        span = min(height, 2_000)
        apart = (now.time - nodes.block(height - span, names).time) / span if span else 0
        blocks = min(int(DAY_S * 10**9 / apart), height) if apart > 0 else 0
        numbers = sorted({height - blocks * i // samples for i in range(samples)})
        return [(nodes.block(number, names).time, _base_fee(nodes, number, names) + tip) for number in numbers]
    except Refused:
        return []


def _base_fee(nodes: Nodes, number: int, names: list[str]) -> int:
    def question(web3: Web3) -> int:
        return int(web3.eth.get_block(number).get("baseFeePerGas", 0))

    return nodes.agree(f"base fee of block {number}", question, names)
