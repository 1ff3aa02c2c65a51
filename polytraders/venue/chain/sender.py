"""The one sender of transactions: gas judged, nonce in sequence, signed by the guard, sent to all providers, followed.

Invariants
    X1  a transaction is recorded, with its hash and bytes, before it is sent
    X2  a nonce is used for one transaction only; a lost one is sent again as it is, byte for byte
    X3  what is not known to have failed is unknown, and is looked up by its hash, never replaced under a new nonce
    X4  gas and price have ceilings, also for what is urgent

Only a wallet that is the key itself (signature type 0) can send; the other wallets' transactions go through the
venue's relayer, which takes the same calls (`calls.Call`). Times in ns, prices in wei.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from web3 import Web3

from polytraders.bots import Conclusion, load_bot
from polytraders.execution import gasoracle, nonceshepherd
from polytraders.venue.chain.calls import Call
from polytraders.venue.chain.gas import read_price, seed
from polytraders.venue.chain.nodes import Nodes
from polytraders.venue.guard import Guard
from polytraders.venue.orders import SignatureType
from polytraders.venue.orders.typed import keccak
from polytraders.venue.refusal import Refused


class Sent(NamedTuple):
    """A transaction that was signed, and perhaps sent."""

    method: str
    hash: str
    nonce: int
    raw: bytes
    at: int


class Receipt(NamedTuple):
    """A transaction that was mined and did what it should."""

    hash: str
    block: int
    gas_used: int
    paid: int  # wei


class Quote(NamedTuple):
    """What a transaction would cost, before anybody signs it."""

    method: str
    gas: int  # units at most
    price: int  # wei a unit, as the providers say it now
    most: int  # wei: what it can cost at the very worst


@dataclass(frozen=True)
class Ceilings:
    """What a transaction may cost at most."""

    gas: int = 1_500_000  # units
    price: int = 2_000 * 10**9  # wei a unit
    tip: int = 30 * 10**9  # wei a unit, Polygon's least


@dataclass
class Sender:
    """Sends the guard's transactions, one after the other.

    Parameters
    ----------
    nodes, guard: whom to ask, who signs. record: called with each transaction before it is sent (X1).
    gas_values, nonce_values: parameters of exec.gasoracle and exec.nonceshepherd, as in the settings.
    patience: s until a transaction that is not mined is told as unknown.
    """

    nodes: Nodes
    guard: Guard
    record: Callable[[Sent], None]
    ceilings: Ceilings = Ceilings()
    gas_values: dict[str, str] = field(default_factory=dict)
    nonce_values: dict[str, str] = field(default_factory=dict)
    patience: float = 120.0
    poll: float = 1.0
    clock: Callable[[], int] = time.time_ns
    _samples: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=20_000), init=False)
    _sent: dict[int, Sent] = field(default_factory=dict, init=False)  # not known to be mined, by nonce
    _highest: int = field(default=-1, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        if self.guard.account.signature_type != SignatureType.EOA:
            raise Refused(
                "SEC_KEY_UNUSABLE",
                f"the wallet {self.guard.account.maker} is a contract: its transactions go through the venue's relayer",
                where="account",
                rule="only a key that is the wallet signs transactions; what the relayer takes is not documented",
                mend="use the venue's own page, or the official package polymarket-client, which speaks to the relayer",
            )
        self._gas_limits = load_bot("exec.gasoracle").spec.limits(self.gas_values)
        self._nonce_limits = load_bot("exec.nonceshepherd").spec.limits(self.nonce_values)

    # -- gas -----------------------------------------------------------------------------------------------------

    def sample_gas(self) -> int:
        """Read the gas price of every provider and remember the median: at best once a minute. Raises `Refused`."""
        price = read_price(self.nodes)
        self._samples.append((self.clock(), price))
        return price

    def quote(self, call: Call, strategy: str = "desk") -> Quote:
        """What `send` would do, as far as it can be said without signing. Raises what `send` would."""
        self.guard.check_call(call, self.nodes.chain_id, self.clock(), strategy).raise_refusal()
        price = self.sample_gas()
        gas = self.judge_gas(call)
        if gas.refused:
            raise Refused(gas.code, f"{call.method}: {gas.observed} against {gas.limit} {gas.unit}", where="gas")
        fields = self._fields(call, 0, price)
        return Quote(call.method, fields["gas"], price, fields["gas"] * fields["maxFeePerGas"])

    def seed_gas(self) -> int:
        """Read the prices of the last day from its blocks, so that a process that begins can judge one; how many."""
        found = seed(self.nodes)
        self._samples.extendleft(reversed(found))
        return len(found)

    def judge_gas(self, call: Call) -> Conclusion:
        """Whether exec.gasoracle lets it go now, by the last sample."""
        at, price = self._samples[-1] if self._samples else (0, 0)
        urgent = call.urgent or call.method == "pauseUser"
        given = gasoracle.Inputs(call.method, urgent, price, at, tuple(self._samples))
        return gasoracle.check(given, self._gas_limits, self.clock())

    # -- sending -------------------------------------------------------------------------------------------------

    def send(self, call: Call, strategy: str = "desk") -> Sent:
        """Judge, sign, record and send; returns when at least one provider has taken it.

        Raises `Refused`: deferred for gas, no nonce, a bot of the guard, over a ceiling, would revert; and with
        SEC_TRANSACTION_UNKNOWN when no provider said that it took it.
        """
        with self._lock:
            now = self.clock()
            self.guard.check_call(call, self.nodes.chain_id, now, strategy).raise_refusal()
            price = self.sample_gas()
            gas = self.judge_gas(call)
            if gas.refused:
                raise Refused(gas.code, f"{call.method}: {gas.observed} against {gas.limit} {gas.unit}", where="gas")
            nonce = self._nonce(now)
            for _ in range(len(self._sent)):  # X2: first what was lost, as it was
                if (lost := self._sent.get(nonce)) is not None:
                    self._broadcast(lost)
                    nonce = self._nonce(self.clock())
            if nonce in self._sent:
                raise Refused("SEC_TRANSACTION_UNKNOWN", f"{self._sent[nonce].hash} stays lost", where="nonce")
            fields = self._fields(call, nonce, price)
            raw = self.guard.sign_transaction(call, fields, now, strategy)
            sent = Sent(call.method, "0x" + keccak(raw).hex(), nonce, raw, now)
            self.record(sent)
            self._sent[nonce], self._highest = sent, max(self._highest, nonce)
            self._broadcast(sent)
            return sent

    def take_up(self, sent: Sent) -> None:
        """A transaction of a former process that is not known to be mined, from its record."""
        self._sent[sent.nonce], self._highest = sent, max(self._highest, sent.nonce)

    def _nonce(self, now: int) -> int:
        """The next nonce, as exec.nonceshepherd has it."""
        owner = Web3.to_checksum_address(self.guard.account.maker)
        head = self.nodes.head()
        confirmed = self.nodes.agree("nonce", lambda web3: int(web3.eth.get_transaction_count(owner, head.number)))
        self._sent = {n: s for n, s in self._sent.items() if n >= confirmed}
        known = tuple(n for n, s in self._sent.items() if self._is_known(s.hash))
        given = nonceshepherd.Inputs(True, confirmed, self._highest, tuple(self._sent), known, now)
        said = nonceshepherd.check(given, self._nonce_limits, now)
        if said.refused:
            raise Refused(said.code, said.what or f"{said.observed} against {said.limit}", where="nonce")
        return said.payload["nonce"]

    def _is_known(self, hash_: str) -> bool:
        """Does any provider know the transaction, mined or waiting?"""
        return any(not a.error and a.value for a in self.nodes.ask(lambda web3: bool(web3.eth.get_transaction(hash_))))

    def _fields(self, call: Call, nonce: int, price: int) -> dict[str, int]:
        request = {
            "from": Web3.to_checksum_address(self.guard.account.maker),
            "to": Web3.to_checksum_address(call.to),
            "data": "0x" + call.data.hex(),
        }
        answers = self.nodes.ask(lambda web3: int(web3.eth.estimate_gas(request)))  # type: ignore[arg-type]
        good = [a.value for a in answers if not a.error]
        if len(good) < self.nodes.least:
            told = "; ".join(f"{a.node}: {a.error}" for a in answers if a.error)
            raise Refused("SEC_TRANSACTION_FAILED", f"{call.method} would fail: {told}", where="gas estimate")
        gas = max(good) * 5 // 4  # state may differ a little when it is mined
        tip = min(self.ceilings.tip, price)
        most = 2 * price + tip  # the base fee can double within some six blocks
        if gas > self.ceilings.gas or price > self.ceilings.price:
            what = f"{call.method}: {gas} units at {price} wei"
            rule = f"at most {self.ceilings.gas} units at {self.ceilings.price} wei"
            raise Refused("SEC_GAS_ABOVE_LIMIT", what, where="gas", rule=rule)
        fee = min(most, self.ceilings.price)
        return {
            "chainId": self.nodes.chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": min(tip, fee),
        }

    def _broadcast(self, sent: Sent) -> None:
        answers = self.nodes.ask(lambda web3: bytes(web3.eth.send_raw_transaction(sent.raw)))
        if all(a.error for a in answers) and not self._is_known(sent.hash):
            told = "; ".join(f"{a.node}: {a.error}" for a in answers)
            raise Refused("SEC_TRANSACTION_UNKNOWN", f"{sent.method} {sent.hash}: {told}", where="providers")

    # -- following -----------------------------------------------------------------------------------------------

    def receipt(self, sent: Sent) -> Receipt | None:
        """The receipt a quorum agrees on, None while there is none. Raises `Refused` when it was reverted."""

        def question(web3: Web3) -> tuple[int, int, int, int] | None:
            from web3.exceptions import TransactionNotFound

            try:
                found = web3.eth.get_transaction_receipt(sent.hash)  # type: ignore[arg-type]
            except TransactionNotFound:
                return None
            price = int(found["effectiveGasPrice"])
            return int(found["status"]), int(found["blockNumber"]), int(found["gasUsed"]), price

        found = self.nodes.agree(f"receipt of {sent.method}", question)
        if found is None:
            return None
        status, block, used, price = found
        if status != 1:
            raise Refused("SEC_TRANSACTION_FAILED", f"{sent.method} {sent.hash} was reverted in block {block}")
        return Receipt(sent.hash, block, used, used * price)

    def follow(self, sent: Sent) -> Receipt:
        """Wait until it is mined. Raises `Refused`: SEC_TRANSACTION_FAILED, or SEC_TRANSACTION_UNKNOWN after
        `patience`."""
        end = time.monotonic() + self.patience
        while True:
            try:
                if (found := self.receipt(sent)) is not None:
                    return found
            except Refused as error:
                if error.code not in ("SEC_RPC_QUORUM_LOST", "SEC_CHAIN_DISAGREES"):
                    raise
            if time.monotonic() >= end:
                raise Refused("SEC_TRANSACTION_UNKNOWN", f"{sent.method} {sent.hash} is not mined", where="chain")
            time.sleep(self.poll)
