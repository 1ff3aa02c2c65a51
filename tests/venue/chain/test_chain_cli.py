"""`polytraders chain` against the EVM of this process, behind two JSON-RPC servers on loopback."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from chain_world import TEST_KEY, M
from web3 import Web3

from polytraders import cli
from polytraders.venue.chain import calls
from polytraders.venue.orders import Key

CONDITION = "0x" + "c0" * 32
EVENT = "0x" + "e0" * 31 + "00"


class Rpc(ThreadingHTTPServer):
    """One provider of the world over HTTP."""

    daemon_threads = True

    def __init__(self, world: Any, number: int):
        self.web3 = Web3(world.providers[number])
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        web3 = self.server.web3
        try:
            ask = web3.provider.request_func(web3, web3.middleware_onion)
            said = {"jsonrpc": "2.0", "id": asked["id"]}
            answer = ask(asked["method"], asked["params"])
            said |= {"error": answer["error"]} if answer.get("error") else {"result": answer["result"]}
        except Exception as error:  # noqa: BLE001  a node says what went wrong
            said["error"] = {"code": -32000, "message": str(error)[:200]}
        raw = json.dumps(said, default=_plain).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


def _plain(value: Any) -> Any:
    return "0x" + bytes(value).hex() if isinstance(value, bytes) else dict(value)


@pytest.fixture
def run(world, tmp_path, monkeypatch, capsys):
    """`run("split", ..., )`: (exit code, JSON) of `polytraders chain`; mined at once, by a world that keeps time."""
    servers = [Rpc(world, number) for number in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    world.tester.mine_blocks(70)  # a past, so that gas can be ranked
    table = tmp_path / "contracts.json"
    table.write_text(json.dumps(world.table._asdict()))
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POLYTRADERS_KEY", TEST_KEY)
    monkeypatch.setenv("POLYTRADERS_RPC", ",".join(server.url for server in servers))
    monkeypatch.delenv("POLYTRADERS_KEYSTORE", raising=False)
    from polytraders.venue.chain import operations

    opened = operations.Operations.__init__

    def at_the_worlds_time(self, *args: Any, **more: Any) -> None:
        opened(self, *args, **{**more, "clock": world.clock, "poll": 0.01, "patience": 30.0})
        self.nodes.clock = world.clock

    monkeypatch.setattr(operations.Operations, "__init__", at_the_worlds_time)

    def run_(*words: str, own: bool = True, chain: int | None = None, send: str | None = None) -> tuple[int, Any]:
        more = ["--contracts", str(table)] if own else []
        more += ["--chain", str(chain if chain is not None else world.nodes.chain_id)]
        more += ["--send", "--confirm", send] if send is not None else []
        monkeypatch.setattr(sys, "argv", ["polytraders", "chain", *words, *more, "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert TEST_KEY[2:] not in told.out + told.err
        return int(ended.value.code or 0), json.loads(told.out)

    yield run_
    for server in servers:
        server.shutdown()
        server.server_close()


def token(world, index_set, condition=CONDITION):
    return world.deployed["ctf"].functions.position(condition, index_set).call()


def test_balances_are_those_of_the_chain(run, world):
    code, told = run("balances", "--token", str(token(world, 1)))
    assert code == 0 and told["pusd"] == "1000" and told["tokens"] == {str(token(world, 1)): "0"}
    assert told["wallet"] == Key(TEST_KEY).address and told["gas_wei"] > 10**18
    code, told = run("balances", "--owner", "0x" + "66" * 20)
    assert (code, told["pusd"], told["gas_wei"]) == (0, "0", 0)


def test_an_allowance_is_exact_dry_by_default_typed_to_be_sent_and_revoked(run, world):
    wallet, where = world.wallet, world.table
    code, told = run("allowances", "set", "exchange", "--pusd", "100", "--shares")
    assert code == 0 and told["sent"] == [] and told["words"] == "allow exchange 100 shares"
    assert [(s["method"], s["contract"], s["spender"]) for s in told["would_send"]] == [
        ("approve", "pusd", "exchange"), ("setApprovalForAll", "ctf", "exchange"),
    ]  # fmt: skip
    assert all(step["gas"] > 20_000 for step in told["would_send"])
    assert wallet.allowance(where.exchange) == 0 and not wallet.is_operator(where.exchange)
    code, told = run("allowances", "set", "exchange", "--pusd", "100", "--shares", send="allow exchange 1000 shares")
    assert code == 1 and told["sent"] == [] and wallet.allowance(where.exchange) == 0
    code, told = run("allowances", "set", "exchange", "--pusd", "100", "--shares", send="allow exchange 100 shares")
    assert code == 0 and [s["method"] for s in told["sent"]] == ["approve", "setApprovalForAll"]
    assert wallet.allowance(where.exchange) == 100 * M and wallet.is_operator(where.exchange)
    code, shown = run("allowances", "show")
    assert code == 0 and shown["good"] and {(a["name"], a["token"], a["may_take"]) for a in shown["allowances"]} == {
        ("exchange", "pUSD", "100"), ("exchange", "CTF", "everything")
    }  # fmt: skip
    code, told = run("allowances", "set", "exchange", "--pusd", "100", "--shares")
    assert (code, told["what"]) == (0, "the chain has it so already")
    code, told = run("allowances", "revoke", send="revoke all")
    assert code == 0 and wallet.allowances()[0] == []


def test_an_allowance_without_limit_and_a_stranger_are_shown_as_too_much(run, world):
    sender, stranger = world.sender(), "0x" + "66" * 20
    sender.follow(sender.send(calls.approve(world.table, world.table.exchange, calls.UNLIMITED, unlimited=True)))
    code, told = run("allowances", "show")
    assert code == 1 and told["code"] == "SEC_ALLOWANCE_EXCEEDS_CEILING"
    (row,) = told["allowances"]
    assert row["may_take"] == "everything" and row["shrink_to"] == "500"
    code, told = run("allowances", "set", stranger, "--pusd", "1")
    assert (code, told["code"]) == (2, "SEC_CONTRACT_ADDRESS_NOT_ALLOWED") and "neg_risk_exchange" in told["rule"]


def test_sets_are_split_merged_and_redeemed(run, world):
    wallet, yes, no = world.wallet, token(world, 1), token(world, 2)
    assert run("allowances", "set", "adapter", "--pusd", "50", "--shares", send="allow adapter 50 shares")[0] == 0
    code, told = run("split", CONDITION, "50", send="split 50")
    assert code == 0 and told["would_send"][0]["contract"] == "adapter"
    assert run("merge", CONDITION, "20.5", send="merge 20.5")[0] == 0
    held = wallet.holdings((yes, no))
    assert (held.cash, held.shares) == (970_500_000, {yes: 29_500_000, no: 29_500_000})
    world.operator("ctf", "report", CONDITION, 10_000, 0)
    assert run("redeem", CONDITION, send="redeem c0c0c0c0")[0] == 0
    assert wallet.holdings((yes, no)).cash == 1_000 * M


def test_no_of_two_questions_is_converted(run, world):
    conditions = ["0x" + f"{i:064x}" for i in (1, 2, 3)]
    for condition in conditions:
        world.operator("converter", "add_question", EVENT, condition)
        world.operator("ctf", "mint", world.key.address, token(world, 2, condition), 10 * M)
    assert run("allowances", "set", "converter", "--shares", send="allow converter shares")[0] == 0
    assert run("convert", EVENT, "10", "--questions", "0,1", send="convert 10")[0] == 0
    assert world.wallet.holdings((token(world, 1, conditions[2]),)).cash == 1_010 * M
    code, told = run("convert", EVENT, "10", "--questions", "x")
    assert code == 2 and told["where"] == "--questions"


def test_the_last_resort_pauses_both_exchanges_and_can_be_taken_back(run, world):
    wallet, where = world.wallet, world.table
    code, told = run("pause-user")
    assert code == 0 and told["words"] == "pause my wallet" and len(told["would_send"]) == 2
    assert run("pause-user", send="pause my wallet")[0] == 0
    world.tester.mine_blocks(wallet.pause_blocks(where.exchange))
    assert wallet.paused(where.exchange) and wallet.paused(where.neg_risk_exchange)
    assert run("unpause-user", send="unpause my wallet")[0] == 0
    assert not wallet.paused(where.exchange)


def test_what_would_fail_is_refused_before_anything_is_signed(run, world, tmp_path):
    code, told = run("split", CONDITION, "50", send="split 50")
    assert (code, told["code"]) == (2, "SEC_TRANSACTION_FAILED")
    assert not (tmp_path / "home" / "chain").exists()


def test_a_transaction_stands_in_the_journal_before_it_is_sent_and_the_next_command_takes_it_up(run, world, tmp_path):
    for provider in world.providers:
        provider.swallows = {"eth_sendRawTransaction"}
    words = ["allowances", "set", "exchange", "--pusd", "7"]
    journal = tmp_path / "home" / "chain" / "transactions.jsonl"
    from polytraders.venue.chain.sender import Sender

    whole = Sender.follow
    try:
        Sender.follow = lambda self, sent: (_ for _ in ()).throw(KeyboardInterrupt)  # killed while it waits
        assert run(*words, send="allow exchange 7")[0] == 130
    except json.JSONDecodeError:
        pass  # interrupted: nothing on stdout
    finally:
        Sender.follow = whole
    (line,) = journal.read_text().splitlines()
    assert json.loads(line)["nonce"] == 0 and journal.stat().st_mode & 0o777 == 0o600
    for provider in world.providers:
        provider.swallows = set()
    assert run("allowances", "set", "neg_risk_exchange", "--pusd", "8", send="allow neg_risk_exchange 8")[0] == 0
    assert world.wallet.allowance(world.table.exchange) == 7 * M  # sent again as it was, before the later one
    assert world.wallet.allowance(world.table.neg_risk_exchange) == 8 * M


@pytest.mark.parametrize("wallet", ["PROXY", "SAFE", "DEPOSIT_WALLET"])
def test_a_wallet_that_is_a_contract_is_looked_at_and_does_not_send_from_here(run, world, wallet):
    code, told = run("pause-user", "--wallet", wallet)
    assert (code, told["code"]) == (2, "SEC_WRONG_CHAIN")  # its address follows from factories of Polygon
    from polytraders.venue.chain.sender import Sender
    from polytraders.venue.orders import SignatureType
    from polytraders.venue.refusal import Refused

    guard = world.guard()
    guard.account = guard.account._replace(signature_type=SignatureType[wallet])
    with pytest.raises(Refused) as refused:
        Sender(world.nodes, guard, world.records.append)
    assert refused.value.code == "SEC_KEY_UNUSABLE" and "relayer" in refused.value.what
    assert "not documented" in str(refused.value) and "polymarket-client" in refused.value.mend


@pytest.mark.parametrize(
    ("words", "code", "where"),
    [
        (("split", "0x12", "5"), 2, "condition id"),
        (("split", CONDITION, "0"), 2, "AMOUNT"),
        (("split", CONDITION, "0.0000001"), 2, "AMOUNT"),
        (("balances", "--token", "x"), 2, "--token"),
        (("allowances", "set"), 2, "allowances set"),
        (("balances", "--wallet", "PURSE"), 2, "--wallet"),
        (("balances", "--rpc", "http://127.0.0.1:9"), 2, "--rpc"),
    ],
)
def test_bad_words_are_refused_with_their_place_and_a_mend(run, words, code, where):
    assert run(*words)[0] == code
    assert run(*words)[1]["where"] == where


def test_the_pinned_table_of_the_real_chain_is_not_replaced(run):
    code, told = run("balances", chain=137)
    assert (code, told["code"], told["where"]) == (2, "SEC_CONTRACT_ADDRESS_NOT_ALLOWED", "--contracts")
    code, told = run("balances", own=False, chain=137)  # the nodes are of another chain
    assert (code, told["code"]) == (2, "SEC_RPC_QUORUM_LOST") and "is on chain" in told["what"]
    code, told = run("balances", own=False)
    assert (code, told["code"]) == (2, "SEC_WRONG_CHAIN")


def test_without_a_key_or_with_a_bad_one(run, monkeypatch):
    monkeypatch.delenv("POLYTRADERS_KEY")
    assert run("allowances", "revoke")[1]["code"] == "SEC_KEY_UNUSABLE"
    monkeypatch.setenv("POLYTRADERS_KEY", "0x1234")
    code, told = run("allowances", "revoke")
    assert (code, told["code"]) == (2, "SEC_KEY_UNUSABLE") and "1234" not in json.dumps(told)


def test_a_provider_that_lies_is_not_believed(run, world):
    world.providers[1].lies["eth_call"] = lambda answer, params: {**answer, "result": "0x" + f"{5:064x}"}
    code, told = run("balances")
    assert (code, told["code"]) == (2, "SEC_CHAIN_DISAGREES")
