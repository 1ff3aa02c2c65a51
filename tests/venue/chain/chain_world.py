"""A real EVM in this process with contracts of ours that carry the venue's signatures, seen through two providers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eth_tester import EthereumTester, PyEVMBackend
from vyper.compiler import compile_code
from web3 import EthereumTesterProvider, Web3

from polytraders.config import build_settings, parse_ini
from polytraders.venue.chain import calls
from polytraders.venue.chain.addresses import Contracts, pinned
from polytraders.venue.chain.nodes import Node, Nodes
from polytraders.venue.chain.sender import Sender
from polytraders.venue.chain.wallet import Wallet
from polytraders.venue.guard import Guard
from polytraders.venue.orders import Account, Key, SignatureType

CODE = Path(__file__).parent / "contracts"
TEST_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
M = 10**6
GWEI = 10**9


class Provider(EthereumTesterProvider):
    """One provider of the chain; it can be told to fail, to lag, or to lie."""

    def __init__(self, tester: EthereumTester, lock: threading.Lock):
        super().__init__(tester)
        self.lock, self.down, self.behind, self.lies = lock, False, 0, {}
        self.swallows: set[str] = set()  # answered as if done, and not done
        self.refuses: set[str] = set()

    def make_request(self, method: str, params: Any) -> Any:
        if self.down:
            raise ConnectionError("http://user:not-for-logs@provider refused")
        if method in self.swallows:
            return {"jsonrpc": "2.0", "id": 1, "result": "0x" + "00" * 32}
        if method in self.refuses:
            raise ConnectionError("busy")
        with self.lock:
            answer = super().make_request(method, params)
        if method == "eth_blockNumber" and self.behind:
            answer = {**answer, "result": hex(int(answer["result"], 16) - self.behind)}
        if method in self.lies:
            answer = self.lies[method](answer, params)
        return answer


@dataclass
class World:
    """The chain, its contracts, our wallet and its guard."""

    tester: EthereumTester
    providers: list[Provider]
    nodes: Nodes
    table: Contracts
    deployed: dict[str, Any]
    key: Key
    now: list[int] = field(default_factory=lambda: [0])
    records: list[Any] = field(default_factory=list)

    @property
    def wallet(self) -> Wallet:
        return Wallet(self.nodes, self.table, self.key.address)

    def clock(self) -> int:
        """The chain's own time, so that nothing here depends on how fast the tests run."""
        return max(self.now[0], self.tester.get_block_by_number("latest")["timestamp"] * 10**9)

    def operator(self, name: str, method: str, *arguments: Any) -> Any:
        """Somebody else calls a contract."""
        web3 = self.nodes.pool[0].web3
        sent = getattr(self.deployed[name].functions, method)(*arguments).transact({"from": web3.eth.accounts[0]})
        return web3.eth.get_transaction_receipt(sent)

    def guard(self, ini: str = "") -> Guard:
        account = Account(self.key.address, self.key.address, SignatureType.EOA, self.nodes.chain_id)
        guard = Guard(self.key, account, build_settings(parse_ini(ini, "t.ini"), "t.ini"), table=self.table)
        targets = [a for a, row in pinned(self.nodes.chain_id, self.table).items() if row.purposes & {"call", "pause"}]
        guard.authorise("desk", self.clock(), methods=calls.METHODS, targets=targets)
        return guard

    def sender(self, ini: str = "", **more: Any) -> Sender:
        more = {"gas_values": {"min_samples": "10"}, "poll": 0.01, "patience": 30.0, "clock": self.clock} | more
        sender = Sender(self.nodes, self.guard(ini), self.records.append, **more)
        for _ in range(12):
            sender.sample_gas()
        return sender


@pytest.fixture(scope="session")
def compiled() -> dict[str, dict[str, Any]]:
    """Contract name -> abi and bytecode, compiled once a session."""
    return {
        path.stem: compile_code(path.read_text(encoding="utf-8"), output_formats=["abi", "bytecode"])
        for path in sorted(CODE.glob("*.vy"))
    }


@pytest.fixture(scope="session")
def deployed(compiled: dict[str, dict[str, Any]]) -> tuple[EthereumTester, dict[str, str], Any]:
    """The chain with its contracts and our funded wallet, and the snapshot each test begins with."""
    tester = EthereumTester(PyEVMBackend())
    web3 = Web3(EthereumTesterProvider(tester))
    bank = web3.eth.accounts[0]

    def deploy(name: str, *arguments: Any) -> Any:
        made = web3.eth.contract(abi=compiled[name]["abi"], bytecode=compiled[name]["bytecode"])
        receipt = web3.eth.get_transaction_receipt(made.constructor(*arguments).transact({"from": bank}))
        return web3.eth.contract(address=receipt["contractAddress"], abi=compiled[name]["abi"])

    pusd, ctf = deploy("pusd"), deploy("ctf")
    both = (pusd.address, ctf.address)
    places = {"pusd": pusd.address, "ctf": ctf.address}
    places |= {name: deploy("exchange", *both).address for name in ("exchange", "neg_risk_exchange")}
    places |= {name: deploy("adapter", *both).address for name in ("adapter", "neg_risk_adapter", "converter")}
    mine = Key(TEST_KEY).address
    web3.eth.send_transaction({"from": bank, "to": mine, "value": 10**19})
    for owner, amount in ((mine, 1_000 * M), (places["exchange"], 10_000 * M), (places["converter"], 10_000 * M)):
        pusd.functions.mint(owner, amount).transact({"from": bank})
    return tester, places, tester.take_snapshot()


KIND = {"neg_risk_exchange": "exchange", "neg_risk_adapter": "adapter", "converter": "adapter"}


@pytest.fixture
def world(compiled: dict[str, dict[str, Any]], deployed: tuple[EthereumTester, dict[str, str], Any]) -> Iterator[World]:
    tester, places, snapshot = deployed
    tester.revert_to_snapshot(snapshot)
    lock = threading.Lock()
    providers = [Provider(tester, lock) for _ in range(2)]
    first = Web3(providers[0])
    nodes = Nodes(
        [Node("a", first), Node("b", Web3(providers[1]))],
        int(first.eth.chain_id),
        timeout=60.0,
        clock=lambda: tester.get_block_by_number("latest")["timestamp"] * 10**9,
    )
    contracts = {
        name: first.eth.contract(address=address, abi=compiled[KIND.get(name, name)]["abi"])
        for name, address in places.items()
    }
    yield World(tester, providers, nodes, Contracts(**places), contracts, Key(TEST_KEY))
    nodes.close()
