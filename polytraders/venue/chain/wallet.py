"""What the chain says the wallet owns, and what contracts may take of it: every number by a quorum, at one block.

Amounts in micro-units, times in ns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from web3 import Web3

from polytraders.security.allowancemonitor import Allowance
from polytraders.security.chainstateverifier import View
from polytraders.venue.chain.addresses import Contracts, spenders
from polytraders.venue.chain.fills import ORDER_FILLED
from polytraders.venue.chain.nodes import Block, Nodes
from polytraders.venue.orders.typed import keccak


def _selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


BALANCE_OF = _selector("balanceOf(address)")
ALLOWANCE = _selector("allowance(address,address)")
TOKENS_OF = _selector("balanceOf(address,uint256)")
IS_OPERATOR = _selector("isApprovedForAll(address,address)")
IS_PAUSED = _selector("isUserPaused(address)")
PAUSE_AFTER = _selector("userPauseBlockInterval()")
ORDER_STATUS = _selector("getOrderStatus(bytes32)")
TRANSFER = keccak(b"Transfer(address,address,uint256)")
APPROVAL = keccak(b"Approval(address,address,uint256)")
APPROVAL_FOR_ALL = keccak(b"ApprovalForAll(address,address,bool)")


def _words(*values: int | str) -> bytes:
    return b"".join((int(v, 16) if isinstance(v, str) else v).to_bytes(32, "big") for v in values)


class Holdings(NamedTuple):
    """What the wallet owned at a block."""

    cash: int  # micro-pUSD
    shares: dict[int, int]  # token id -> micro-shares, those asked for
    block: Block


class OrderState(NamedTuple):
    """An order as the exchange has it."""

    filled: bool
    remaining: int  # micro-units of what the maker gives; 0 of an order the exchange has never seen


class Wallet:
    """Reads of one wallet.

    Parameters
    ----------
    nodes: whom to ask. where: the venue's contracts. owner: the wallet's address (the maker, not the signing key).
    look_back: blocks searched for the last use of an allowance; 43 200 are about a day.
    """

    def __init__(self, nodes: Nodes, where: Contracts, owner: str, look_back: int = 43_200):
        self.nodes, self.where, self.owner, self.look_back = nodes, where, owner, look_back

    def _number(self, what: str, to: str, data: bytes, block: Block) -> int:
        return int.from_bytes(self.nodes.call(what, to, data, block)[:32], "big")

    def holdings(self, tokens: Iterable[int] = (), block: Block | None = None) -> Holdings:
        """Cash and the named tokens. Raises `Refused` when providers are too few or disagree."""
        at = block or self.nodes.head()
        cash = self._number("pUSD balance", self.where.pusd, BALANCE_OF + _words(self.owner), at)
        shares = {
            token: self._number(f"token {token}", self.where.ctf, TOKENS_OF + _words(self.owner, token), at)
            for token in tokens
        }
        return Holdings(cash, shares, at)

    def received(self, hash_: str) -> int:
        """micro-pUSD that a mined transaction brought to the wallet, by the transfers in its receipt. Raises `Refused`
        when providers are too few or disagree."""
        owner = _words(self.owner)

        def question(web3: Web3) -> int:
            logs = web3.eth.get_transaction_receipt(hash_)["logs"]  # type: ignore[arg-type]
            mine = [log for log in logs if log["address"].lower() == self.where.pusd.lower()]
            return sum(
                int.from_bytes(bytes(log["data"]), "big")
                for log in mine
                if bytes(log["topics"][0]) == TRANSFER and bytes(log["topics"][2]) == owner
            )

        return int(self.nodes.agree("what a transaction paid", question))

    def allowance(self, spender: str, block: Block | None = None) -> int:
        """micro-pUSD that `spender` may take; 2^256 - 1 where somebody gave it without limit."""
        at = block or self.nodes.head()
        return self._number("allowance", self.where.pusd, ALLOWANCE + _words(self.owner, spender), at)

    def is_operator(self, spender: str, block: Block | None = None) -> bool:
        """May `spender` move all outcome tokens?"""
        at = block or self.nodes.head()
        return bool(self._number("operator", self.where.ctf, IS_OPERATOR + _words(self.owner, spender), at))

    def allowances(self, others: Iterable[str] = ()) -> tuple[list[Allowance], Block]:
        """What every known spender, every one that an Approval names, and `others` may take; and the block it was read
        at. For `Guard.allowances`."""
        at = self.nodes.head()
        first = max(0, at.number - self.look_back)
        used = self._last_uses(first, at)
        known = spenders(self.nodes.chain_id, self.where) | {o.lower() for o in others} | {s for _, s in used}
        out = []
        for spender in sorted(known):
            oldest = at.time - (at.number - first) * 2 * 10**9  # nothing found: idle for as long as was looked back
            if amount := self.allowance(spender, at):
                out.append(Allowance("pUSD", spender, amount, used.get(("pUSD", spender), oldest)))
            if self.is_operator(spender, at):
                last = used.get(("CTF", spender), oldest)
                out.append(Allowance("CTF", spender, 1, last, operator=True))
        return out, at

    def _last_uses(self, first: int, at: Block) -> dict[tuple[str, str], int]:
        """(token, spender) -> time of the last approval, or of the last fill through it."""
        owner = "0x" + _words(self.owner).hex()
        exchanges = (self.where.exchange, self.where.neg_risk_exchange)

        def question(web3: Web3) -> tuple[tuple[str, str, int], ...]:
            found = []
            for token, address, topic in (
                ("pUSD", self.where.pusd, APPROVAL),
                ("CTF", self.where.ctf, APPROVAL_FOR_ALL),
            ):
                topics = ["0x" + topic.hex(), owner]
                for log in _logs(web3, address, topics, first, at.number):
                    found.append((token, "0x" + bytes(log["topics"][2])[12:].hex(), int(log["blockNumber"])))
            for exchange in filter(None, exchanges):
                topics = ["0x" + ORDER_FILLED.hex(), None, owner]
                for log in _logs(web3, exchange, topics, first, at.number):
                    token = "CTF" if bytes(log["data"])[31] else "pUSD"
                    found.append((token, exchange.lower(), int(log["blockNumber"])))
            return tuple(sorted(found))

        latest: dict[tuple[str, str], int] = {}
        for token, spender, number in self.nodes.agree("approvals", question):
            latest[token, spender] = max(number, latest.get((token, spender), 0))
        times = {number: self.nodes.block(number).time for number in set(latest.values())}
        return {key: times[number] for key, number in latest.items()}

    def views(self, exchange: str, relied_on: Block | None = None) -> tuple[list[View], Block]:
        """Each provider's own view of the wallet at one block, for sec.chainstateverifier through `Guard.views`."""
        names, height = self.nodes.healthy()
        request = (
            (self.where.pusd, BALANCE_OF + _words(self.owner)),
            (self.where.pusd, ALLOWANCE + _words(self.owner, exchange)),
        )

        def question(web3: Web3) -> tuple[str, int, int, int, str, int]:
            found = web3.eth.get_block(height)
            balance, allowance = (
                int.from_bytes(
                    bytes(web3.eth.call({"to": Web3.to_checksum_address(to), "data": "0x" + data.hex()}, height))[:32],  # type: ignore[arg-type,typeddict-item]
                    "big",
                )
                for to, data in request
            )
            nonce = int(web3.eth.get_transaction_count(Web3.to_checksum_address(self.owner), height))
            before = "0x" + bytes(web3.eth.get_block(relied_on.number)["hash"]).hex() if relied_on else ""
            block = "0x" + bytes(found["hash"]).hex()
            return block, nonce, balance, allowance, before, int(found["timestamp"]) * 10**9

        answers = [a for a in self.nodes.ask(question, names) if not a.error]
        views = [View(a.node, height, *a.value[:5]) for a in answers]
        first = answers[0].value if answers else ("", 0, 0, 0, "", 0)
        return views, Block(height, first[0], first[5])

    def order_state(self, exchange: str, order_id: str) -> OrderState:
        """Whether the exchange counts an order as filled, and what of it remains."""
        data = self.nodes.call("order status", exchange, ORDER_STATUS + _words(order_id), self.nodes.head())
        return OrderState(bool(int.from_bytes(data[:32], "big")), int.from_bytes(data[32:64], "big"))

    def paused(self, exchange: str) -> bool:
        """Does the exchange hold the wallet as paused? In force some blocks after it was asked for."""
        return bool(self._number("paused", exchange, IS_PAUSED + _words(self.owner), self.nodes.head()))

    def pause_blocks(self, exchange: str) -> int:
        """Blocks from a `pauseUser` that is mined until it is in force."""
        return self._number("pause interval", exchange, PAUSE_AFTER, self.nodes.head())


def _logs(web3: Web3, address: str, topics: Sequence[str | None], first: int, last: int) -> list:
    return web3.eth.get_logs(
        {
            "address": Web3.to_checksum_address(address),
            "topics": list(topics),  # type: ignore[typeddict-item]
            "fromBlock": first,
            "toBlock": last,
        }
    )
