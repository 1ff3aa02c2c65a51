"""Several providers of the chain as one that can be believed: a reading counts when a quorum gives the same answer.

Invariants
    N1  nothing is returned that fewer than `least` providers said alike
    N2  all are asked about one block, by number, whose hash they agree on; never about "latest"
    N3  a provider that fails, hangs or lags costs at most `timeout`, and the others are enough

Times in ns.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware

from polytraders.security.rpcfailovermanager import Probe
from polytraders.venue.refusal import Refused

T = TypeVar("T", bound=Hashable)


class _OtherChain(Exception):
    """A provider of another chain than ours."""


class Node(NamedTuple):
    """One provider. `name` stands in logs: no URL, it may hold a key."""

    name: str
    web3: Web3


class Block(NamedTuple):
    """A block a quorum agrees on."""

    number: int
    hash: str  # 0x and 64 hex digits
    time: int  # ns


class Answer(NamedTuple):
    """What one provider said, or how it failed."""

    node: str
    value: Any
    error: str
    took: int  # ns


def connect(name: str, url: str, timeout: float = 5.0) -> Node:
    """A provider by HTTP. timeout: s of one request; web3's own retries are off, another provider is quicker."""
    provider = HTTPProvider(url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None)
    web3 = Web3(provider)
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)  # Polygon's headers are longer than Ethereum's
    return Node(name, web3)


@dataclass
class Nodes:
    """A pool of providers.

    Parameters
    ----------
    pool: two or more, of different companies. chain_id: every one must be on it.
    least: how many must agree. timeout: s for a whole reading.
    clock: ns. max_lag: blocks behind the highest head from which on a provider is not asked.
    """

    pool: Sequence[Node]
    chain_id: int
    least: int = 2
    timeout: float = 10.0
    max_lag: int = 3
    clock: Callable[[], int] = time.time_ns
    primary: str = ""
    _threads: ThreadPoolExecutor = field(init=False, repr=False)
    _on_chain: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.least < 2 or len({node.name for node in self.pool}) < self.least:
            what = f"{len(self.pool)} providers for a quorum of {self.least}"
            rule = "two or more must agree, so two or more there must be"
            raise Refused("SEC_RPC_QUORUM_LOST", what, where="providers", rule=rule, mend="add a provider")
        self._threads = ThreadPoolExecutor(2 * len(self.pool), thread_name_prefix="chain")

    def close(self) -> None:
        """Let go of the threads; a provider that hangs keeps its own until its request ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- asking --------------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Web3], Any], names: Sequence[str] = ()) -> list[Answer]:
        """Every provider's own answer (of those named), in the order of the pool. Raises nothing."""
        asked = [node for node in self.pool if not names or node.name in names]
        begun = time.monotonic_ns()
        futures: list[Future[tuple[Any, int]]] = [self._threads.submit(self._one, question, node) for node in asked]
        done, _ = wait(futures, timeout=self.timeout)
        answers = []
        for node, future in zip(asked, futures, strict=True):
            if future not in done:
                future.cancel()
                answers.append(Answer(node.name, None, "no answer in time", time.monotonic_ns() - begun))
            elif (error := future.exception()) is not None:
                answers.append(Answer(node.name, None, _plain(error), time.monotonic_ns() - begun))
            else:
                value, took = future.result()
                answers.append(Answer(node.name, value, "", took))
        return answers

    def _one(self, question: Callable[[Web3], Any], node: Node) -> tuple[Any, int]:
        begun = time.monotonic_ns()
        if node.name not in self._on_chain:
            found = node.web3.eth.chain_id
            if found != self.chain_id:
                raise _OtherChain(f"is on chain {found}, not on {self.chain_id}")
            self._on_chain.add(node.name)
        return question(node.web3), time.monotonic_ns() - begun

    def agree(self, what: str, question: Callable[[Web3], T], names: Sequence[str] = ()) -> T:
        """The answer of a quorum (N1). Raises `Refused` when too few answer, or too few alike."""
        answers = self.ask(question, names)
        good = [a for a in answers if not a.error]
        if len(good) < self.least:
            raise _lost(what, answers, self.least)
        (value, count), *others = Counter(a.value for a in good).most_common()
        if count < self.least or (others and others[0][1] == count):
            told = "; ".join(f"{a.node}: {a.value!r:.60}" for a in good)
            raise Refused("SEC_CHAIN_DISAGREES", f"{what}: {told}", where="providers")
        return value

    # -- where the chain stands ----------------------------------------------------------------------------------

    def probes(self) -> list[Probe]:
        """One probe of each provider, for sec.rpcfailovermanager."""
        now = self.clock()
        answers = self.ask(lambda web3: int(web3.eth.block_number))
        return [Probe(a.node, a.value or 0, a.took, now, bool(a.error)) for a in answers]

    def healthy(self) -> tuple[list[str], int]:
        """(names of the providers at the head, their lowest height). Raises `Refused` below the quorum."""
        answers = self.ask(lambda web3: int(web3.eth.block_number))
        good = [a for a in answers if not a.error]
        head = max((a.value for a in good), default=0)
        near = [a for a in good if head - a.value < self.max_lag]
        if len(near) < self.least:
            raise _lost("the head of the chain", answers, self.least)
        return [a.node for a in near], min(a.value for a in near)

    def head(self, behind: int = 0) -> Block:
        """The highest block all healthy providers have, less `behind`; a quorum agrees on its hash (N2)."""
        names, height = self.healthy()
        return self.block(max(height - behind, 0), names)

    def block(self, number: int, names: Sequence[str] = ()) -> Block:
        """A block by its number, as a quorum has it. Raises `Refused`."""

        def question(web3: Web3) -> Block:
            found = web3.eth.get_block(number)
            return Block(int(found["number"]), "0x" + bytes(found["hash"]).hex(), int(found["timestamp"]) * 10**9)

        return self.agree(f"block {number}", question, names)

    def call(self, what: str, to: str, data: bytes, block: Block) -> bytes:
        """What a contract answers at a block, by quorum."""
        request = {"to": Web3.to_checksum_address(to), "data": "0x" + data.hex()}
        return self.agree(what, lambda web3: bytes(web3.eth.call(request, block.number)))  # type: ignore[arg-type]


def _plain(error: BaseException) -> str:
    """What went wrong. The words of the HTTP library are left out: they quote the URL, which may hold a key."""
    ours = isinstance(error, (_OtherChain, Web3Exception)) and "//" not in str(error)
    return f"{type(error).__name__}: {str(error)[:160]}" if ours else type(error).__name__


def _lost(what: str, answers: Sequence[Answer], least: int) -> Refused:
    good = sum(not a.error for a in answers)
    told = "; ".join(f"{a.node}: {a.error}" for a in answers if a.error) or "the others lag"
    return Refused("SEC_RPC_QUORUM_LOST", f"{what}: {good} of {least} answered ({told})", where="providers")
