"""Chain providers by HTTP, as they are in earnest: a server of JSON-RPC on loopback, an answer that never comes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from polytraders.venue.chain.nodes import Nodes, connect
from polytraders.venue.refusal import Refused

HEAD = 0x4D2
LONG = "0x" + "00" * 32 + "ab" * 97  # extra data as Polygon's validators write it
BLOCK = {
    "number": hex(HEAD), "hash": "0x" + "aa" * 32, "timestamp": hex(1_790_000_000), "extraData": LONG,
    "parentHash": "0x" + "bb" * 32, "gasLimit": "0x1c9c380", "gasUsed": "0x0", "miner": "0x" + "00" * 20,
    "transactions": [], "uncles": [], "logsBloom": "0x" + "00" * 256, "difficulty": "0x1", "nonce": "0x" + "00" * 8,
    "receiptsRoot": "0x" + "00" * 32, "sha3Uncles": "0x" + "00" * 32, "stateRoot": "0x" + "00" * 32, "size": "0x1",
    "transactionsRoot": "0x" + "00" * 32, "mixHash": "0x" + "00" * 32,
}  # fmt: skip


class Chain(BaseHTTPRequestHandler):
    """A provider of Polygon that stands at one block."""

    answers: ClassVar[dict] = {"eth_chainId": "0x89", "eth_blockNumber": hex(HEAD), "eth_getBlockByNumber": BLOCK}
    hang = threading.Event()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        while self.hang.is_set():
            time.sleep(0.05)
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": self.answers[asked["method"]]}).encode()
        with suppress(ConnectionError):  # whoever asked may have given up
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(**changed: object) -> Iterator[tuple[str, threading.Event]]:
    handler = type("Handler", (Chain,), {"hang": threading.Event(), "answers": Chain.answers | changed})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/key-not-for-logs", handler.hang
        server.shutdown()


def test_two_providers_agree_on_a_block_with_a_validators_header():
    with serving() as (a, _), serving() as (b, _):
        nodes = Nodes([connect("a", a), connect("b", b)], 137)
        block = nodes.head()
        assert (block.number, block.hash, block.time) == (HEAD, "0x" + "aa" * 32, 1_790_000_000 * 10**9)
        nodes.close()


def test_a_provider_that_hangs_costs_no_more_than_the_timeout():
    with serving() as (a, _), serving() as (b, hang):
        patient = Nodes([connect("a", a), connect("b", b, timeout=120)], 137, timeout=120)
        hasty = Nodes([connect("a", a), connect("b", b, timeout=120)], 137, timeout=0.5)
        assert patient.head().number == HEAD
        hang.set()
        with pytest.raises(Refused) as refused:
            hasty.head()
        assert refused.value.code == "SEC_RPC_QUORUM_LOST" and "no answer in time" in str(refused.value)
        hang.clear()
        assert patient.head().number == HEAD
        patient.close()
        hasty.close()


def test_an_error_shows_no_url():
    with serving() as (a, _):
        nodes = Nodes([connect("a", a), connect("b", "http://127.0.0.1:1/key-not-for-logs")], 137)
        with pytest.raises(Refused) as refused:
            nodes.head()
        assert "not-for-logs" not in str(refused.value) and "b: " in str(refused.value)
        nodes.close()


def test_a_provider_of_a_test_network_is_not_believed():
    with serving() as (a, _), serving(eth_chainId="0x13882") as (b, _):
        nodes = Nodes([connect("a", a), connect("b", b)], 137)
        with pytest.raises(Refused, match="is on chain 80002"):
            nodes.head()
        nodes.close()


def test_two_providers_with_two_hashes_of_one_block_are_refused():
    with serving() as (a, _), serving(eth_getBlockByNumber=BLOCK | {"hash": "0x" + "cc" * 32}) as (b, _):
        nodes = Nodes([connect("a", a), connect("b", b)], 137)
        with pytest.raises(Refused) as refused:
            nodes.head()
        assert refused.value.code == "SEC_CHAIN_DISAGREES"
        nodes.close()
