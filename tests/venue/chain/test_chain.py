"""The chain module on a real EVM: balances, exact allowances, sets, true fees, the emergency stop, and the quorum."""

from __future__ import annotations

import pytest
from chain_world import GWEI, TEST_KEY, M, Provider
from web3 import Web3

from polytraders.security.chainstateverifier import Inputs as ChainInputs
from polytraders.security.chainstateverifier import check as verify_chain
from polytraders.venue.chain import calls
from polytraders.venue.chain.fills import read_fills, true_fees
from polytraders.venue.chain.nodes import Node, Nodes
from polytraders.venue.chain.sender import Ceilings, Sender
from polytraders.venue.chain.wallet import Wallet
from polytraders.venue.orders import Account, Key, SignatureType
from polytraders.venue.refusal import Refused

CONDITION = "0x" + "c0" * 32
EVENT = "0x" + "e0" * 31 + "00"


def code_of(call, *arguments, **more) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments, **more)
    return refused.value.code


def do(sender, call):
    return sender.follow(sender.send(call))


def token(world, index_set, condition=CONDITION):
    return world.deployed["ctf"].functions.position(condition, index_set).call()


# -- what is encoded ---------------------------------------------------------------------------------------------


def test_calls_are_encoded_as_web3_does(world):
    where, word = world.table, bytes.fromhex(CONDITION[2:])
    sets = (where.pusd, bytes(32), word, [1, 2])
    expected = {
        calls.approve(where, where.exchange, 5 * M): ("pusd", "approve", [where.exchange, 5 * M]),
        calls.set_operator(where, where.exchange, True): ("ctf", "setApprovalForAll", [where.exchange, True]),
        calls.split(where, CONDITION, 7): ("adapter", "splitPosition", [*sets, 7]),
        calls.merge(where, CONDITION, 7): ("adapter", "mergePositions", [*sets, 7]),
        calls.redeem(where, CONDITION): ("adapter", "redeemPositions", [*sets]),
        calls.convert(where, EVENT, 5, 7): ("converter", "convertPositions", [bytes.fromhex(EVENT[2:]), 5, 7]),
        calls.pause(where.exchange): ("exchange", "pauseUser", []),
        calls.unpause(where.exchange): ("exchange", "unpauseUser", []),
    }
    assert {call.method for call in expected} == calls.METHODS
    for call, (name, method, arguments) in expected.items():
        contract = world.deployed[name]
        assert "0x" + call.data.hex() == contract.encode_abi(method, args=arguments), method
        assert call.to == contract.address
        assert calls.decode(call.data) == (call.method, call.spender.lower(), call.amount)


# -- balances and allowances --------------------------------------------------------------------------------------


def test_an_exact_allowance_is_given_used_and_revoked(world):
    wallet, sender, exchange = world.wallet, world.sender(), world.table.exchange
    assert wallet.holdings().cash == 1_000 * M and wallet.allowance(exchange) == 0
    do(sender, calls.approve(world.table, exchange, 100 * M))
    assert wallet.allowance(exchange) == 100 * M and wallet.allowance(world.table.neg_risk_exchange) == 0
    do(sender, calls.set_operator(world.table, exchange, True))
    assert wallet.is_operator(exchange)
    read, block = wallet.allowances()
    assert {(a.token, a.amount, a.operator) for a in read} == {("pUSD", 100 * M, False), ("CTF", 1, True)}
    assert all(0 < a.last_used <= block.time for a in read)
    do(sender, calls.approve(world.table, exchange, 0))
    do(sender, calls.set_operator(world.table, exchange, False))
    assert wallet.allowances()[0] == []
    assert [r.method for r in world.records] == ["approve", "setApprovalForAll"] * 2
    assert [r.nonce for r in world.records] == [0, 1, 2, 3]


def test_an_unlimited_allowance_of_another_client_is_found_and_shrunk(world):
    web3, stranger = world.nodes.pool[0].web3, "0x" + "66" * 20
    sender = world.sender()
    for spender in (world.table.exchange, stranger):
        call = calls.approve(world.table, spender, calls.UNLIMITED, unlimited=True)
        fields = {"to": call.to, "data": call.data, "gas": 100_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0}
        nonce = web3.eth.get_transaction_count(world.key.address)
        signed = web3.eth.account.sign_transaction(
            {**fields, "chainId": world.nodes.chain_id, "nonce": nonce, "value": 0}, TEST_KEY
        )
        web3.eth.send_raw_transaction(signed.raw_transaction)
    read, block = world.wallet.allowances()
    assert {a.spender for a in read} == {world.table.exchange.lower(), stranger}
    guard = sender.guard
    guard.allowances(read, block.time)
    said = guard._ask(guard._seats["sec.allowancemonitor"], guard._allowances, block.time)
    assert said.code == "SEC_ALLOWANCE_STRANGER"
    for call in calls.shrinks(world.table, said.payload["shrink"]):
        do(sender, call)
    read, block = world.wallet.allowances()
    assert [(a.spender, a.amount) for a in read] == [(world.table.exchange.lower(), 500 * M)]
    guard.allowances(read, block.time)
    assert not guard._ask(guard._seats["sec.allowancemonitor"], guard._allowances, block.time).refused


# -- complete sets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neg_risk", [False, True])
def test_split_merge_and_redeem_move_what_they_should(world, neg_risk):
    wallet, sender, where = world.wallet, world.sender(), world.table
    adapter = where.neg_risk_adapter if neg_risk else where.adapter
    yes, no = token(world, 1), token(world, 2)
    do(sender, calls.approve(where, adapter, 50 * M))
    do(sender, calls.set_operator(where, adapter, True))
    do(sender, calls.split(where, CONDITION, 50 * M, neg_risk))
    held = wallet.holdings((yes, no))
    assert (held.cash, held.shares) == (950 * M, {yes: 50 * M, no: 50 * M})
    assert wallet.allowance(adapter) == 0, "an exact allowance is used up"
    do(sender, calls.merge(where, CONDITION, 20 * M, neg_risk))
    assert wallet.holdings((yes, no)).shares == {yes: 30 * M, no: 30 * M}
    world.operator("ctf", "report", CONDITION, 10_000, 0)
    do(sender, calls.redeem(where, CONDITION, neg_risk))
    held = wallet.holdings((yes, no))
    assert (held.cash, held.shares) == (1_000 * M, {yes: 0, no: 0})


def test_no_of_two_questions_becomes_cash_and_yes_of_the_third(world):
    wallet, sender, where = world.wallet, world.sender(), world.table
    conditions = ["0x" + f"{i:064x}" for i in (1, 2, 3)]
    for condition in conditions:
        world.operator("converter", "add_question", EVENT, condition)
        world.operator("ctf", "mint", world.key.address, token(world, 2, condition), 10 * M)
    do(sender, calls.set_operator(where, where.converter, True))
    do(sender, calls.convert(where, EVENT, 0b011, 10 * M))
    no = [token(world, 2, condition) for condition in conditions]
    held = wallet.holdings((*no, token(world, 1, conditions[2])))
    assert held.cash == 1_010 * M and list(held.shares.values()) == [0, 0, 10 * M, 10 * M]


def test_what_would_fail_is_refused_before_it_is_signed(world):
    sender = world.sender()
    assert code_of(sender.send, calls.split(world.table, CONDITION, 50 * M)) == "SEC_TRANSACTION_FAILED"
    assert world.records == []


# -- fills and fees --------------------------------------------------------------------------------------------------


def settle(world, number, *, taking=True, side=0, gives=10 * M, gets=20 * M, fee=0, remaining=0, maker=None):
    order = bytes([number]) * 32
    arguments = (order, maker or world.key.address, taking, side, 77, gives, gets, fee, b"\xb0" * 32, remaining)
    return world.operator("exchange", "settle", *arguments)


def test_true_fees_come_from_the_events_of_our_orders(world):
    sender, where = world.sender(), world.table
    do(sender, calls.approve(where, where.exchange, 100 * M))
    do(sender, calls.set_operator(where, where.exchange, True))
    settle(world, 1, fee=174_370, remaining=5)
    settle(world, 1, fee=25_630)
    settle(world, 2, taking=False)
    settle(world, 3, side=1, gives=20 * M, gets=10 * M, fee=100)
    fills = list(read_fills(world.nodes, [where.exchange, where.neg_risk_exchange], world.key.address, 0, settled=0))
    assert true_fees([*fills, *fills]) == {"0x" + "01" * 32: 200_000, "0x" + "02" * 32: 0, "0x" + "03" * 32: 100}
    assert [fill.is_taker for fill in fills] == [True, True, False, True]
    last = fills[-1]
    assert (last.side, last.token_id, last.gave, last.got, last.builder) == (1, 77, 20 * M, 10 * M, "0x" + "b0" * 32)
    state = world.wallet.order_state(where.exchange, "0x" + "01" * 32)
    assert (state.filled, state.remaining) == (True, 0)
    used = {(a.token, a.spender): a.last_used for a in world.wallet.allowances()[0]}
    assert used["pUSD", where.exchange.lower()] <= used["CTF", where.exchange.lower()]


def test_fills_of_others_and_of_blocks_that_are_not_settled_are_left_out(world):
    sender, where = world.sender(), world.table
    do(sender, calls.approve(where, where.exchange, 100 * M))
    settle(world, 1)
    head = world.nodes.head().number
    assert [f.block for f in read_fills(world.nodes, [where.exchange], world.key.address, 0, settled=0)] == [head]
    assert list(read_fills(world.nodes, [where.exchange], world.key.address, 0, settled=1)) == []
    assert list(read_fills(world.nodes, [where.exchange], "0x" + "66" * 20, 0, settled=0)) == []


def test_a_provider_that_hides_a_fill_is_not_believed(world):
    sender, where = world.sender(), world.table
    do(sender, calls.approve(where, where.exchange, 100 * M))
    settle(world, 1)
    world.providers[1].lies["eth_getLogs"] = lambda answer, params: {**answer, "result": []}
    reading = read_fills(world.nodes, [where.exchange], world.key.address, 0, settled=0)
    assert code_of(list, reading) == "SEC_CHAIN_DISAGREES"


# -- the last resort -------------------------------------------------------------------------------------------------


def test_a_paused_user_is_not_settled_any_more_and_the_pause_goes_out_whatever_stands(world):
    sender, where, web3 = world.sender(), world.table, world.nodes.pool[0].web3
    do(sender, calls.approve(where, where.exchange, 100 * M))
    sender.guard.kill_switch = True
    sender.guard.revoke()
    sender._samples.clear()
    do(sender, calls.pause(where.exchange))
    assert not world.wallet.paused(where.exchange)
    world.tester.mine_blocks(world.wallet.pause_blocks(where.exchange))
    assert world.wallet.paused(where.exchange)
    with pytest.raises(Exception, match="UserIsPaused"):
        settle(world, 1)
    sender.guard.kill_switch = False
    sender.guard.authorise("desk", world.clock(), methods=calls.METHODS, targets=[where.exchange.lower()])
    for _ in range(12):
        sender.sample_gas()
    do(sender, calls.unpause(where.exchange))
    assert not world.wallet.paused(where.exchange) and web3.eth.block_number > 0


# -- quorum and failover ----------------------------------------------------------------------------------------------


def test_one_provider_is_no_quorum(world):
    assert code_of(Nodes, world.nodes.pool[:1], world.nodes.chain_id) == "SEC_RPC_QUORUM_LOST"
    assert code_of(Nodes, [world.nodes.pool[0]] * 2, world.nodes.chain_id) == "SEC_RPC_QUORUM_LOST"
    assert code_of(Nodes, world.nodes.pool, world.nodes.chain_id, least=1) == "SEC_RPC_QUORUM_LOST"


def test_a_provider_that_fails_costs_the_quorum_and_its_return_restores_it(world):
    world.providers[1].down = True
    assert code_of(world.wallet.holdings) == "SEC_RPC_QUORUM_LOST"
    with pytest.raises(Refused) as refused:
        world.wallet.holdings()
    assert "not-for-logs" not in str(refused.value) and "b: ConnectionError" in str(refused.value)
    assert [p.failed for p in world.nodes.probes()] == [False, True]
    world.providers[1].down = False
    assert world.wallet.holdings().cash == 1_000 * M


def test_with_three_providers_one_may_fail_or_lag_or_lie(world):
    third = Provider(world.tester, world.providers[0].lock)
    nodes = Nodes([*world.nodes.pool, Node("c", Web3(third))], world.nodes.chain_id)
    wallet = Wallet(nodes, world.table, world.key.address)
    world.tester.mine_blocks(10)
    for trouble in (
        {"down": True},
        {"behind": 5},
        {"lies": {"eth_call": lambda a, p: {**a, "result": "0x" + "11" * 32}}},
    ):
        for name, value in trouble.items():
            setattr(third, name, value)
        assert wallet.holdings().cash == 1_000 * M, trouble
        third.down, third.behind, third.lies = False, 0, {}
    nodes.close()


def test_a_lie_about_a_balance_is_refused_and_named(world):
    lie = lambda answer, params: {**answer, "result": "0x" + f"{5_000 * M:064x}"}  # noqa: E731
    world.providers[1].lies["eth_call"] = lie
    assert code_of(world.wallet.holdings) == "SEC_CHAIN_DISAGREES"
    views, block = world.wallet.views(world.table.exchange)
    assert {v.balance for v in views} == {1_000 * M, 5_000 * M}
    limits = world.guard()._seats["sec.chainstateverifier"].limits
    assert verify_chain(ChainInputs(tuple(views), block.time), limits, block.time).code == "SEC_CHAIN_DISAGREES"


def test_views_of_honest_providers_agree_and_a_replaced_block_is_seen(world):
    relied_on = world.nodes.head()
    world.tester.mine_blocks(2)
    views, block = world.wallet.views(world.table.exchange, relied_on)
    limits = world.guard()._seats["sec.chainstateverifier"].limits
    given = ChainInputs(tuple(views), block.time, relied_on.hash)
    assert verify_chain(given, limits, block.time).code == "SEC_CHAIN_AGREED"
    replaced = ChainInputs(tuple(views), block.time, "0x" + "00" * 32)
    assert verify_chain(replaced, limits, block.time).code == "SEC_CHAIN_REORG"


def test_a_provider_of_another_chain_is_not_asked(world):
    other = Nodes(world.nodes.pool, 137)
    with pytest.raises(Refused, match="is on chain"):
        other.head()
    other.close()


# -- the sender ------------------------------------------------------------------------------------------


def test_a_dropped_transaction_is_sent_again_byte_for_byte_before_any_later_one(world):
    sender, where = world.sender(), world.table
    for provider in world.providers:
        provider.swallows = {"eth_sendRawTransaction"}
    lost = sender.send(calls.approve(where, where.exchange, 1 * M))
    for provider in world.providers:
        provider.swallows = set()
    later = sender.send(calls.approve(where, where.neg_risk_exchange, 2 * M))
    assert (lost.nonce, later.nonce) == (0, 1) and len(world.records) == 2
    assert sender.follow(lost).hash == lost.hash and sender.follow(later)
    wallet = world.wallet
    assert (wallet.allowance(where.exchange), wallet.allowance(where.neg_risk_exchange)) == (1 * M, 2 * M)


def timed_out(answer, params):
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "timed out"}}


def test_a_transaction_whose_every_answer_was_lost_is_looked_up_by_its_hash(world):
    for provider in world.providers:
        provider.lies["eth_sendRawTransaction"] = timed_out
    sender, where = world.sender(), world.table
    sender.send(calls.approve(where, where.exchange, 1 * M))
    assert world.wallet.allowance(where.exchange) == 1 * M and len(world.records) == 1


def test_what_nobody_took_is_unknown_recorded_and_never_replaced(world):
    sender, where = world.sender(), world.table
    for provider in world.providers:
        provider.refuses = {"eth_sendRawTransaction"}
    call = calls.approve(where, where.exchange, 1 * M)
    assert code_of(sender.send, call) == "SEC_TRANSACTION_UNKNOWN"
    assert code_of(sender.send, call._replace(amount=call.amount)) == "SEC_TRANSACTION_UNKNOWN"
    assert len(world.records) == 1, "the second try sends the first one's bytes again, and nothing else"
    for provider in world.providers:
        provider.refuses = set()
    assert sender.send(calls.approve(where, where.neg_risk_exchange, 2 * M)).nonce == 1
    assert sender.follow(world.records[0]).block > 0


def test_gas_over_a_ceiling_is_refused_also_when_urgent(world):
    sender = world.sender(ceilings=Ceilings(gas=10_000))
    assert code_of(sender.send, calls.approve(world.table, world.table.exchange, M)) == "SEC_GAS_ABOVE_LIMIT"
    assert code_of(sender.send, calls.pause(world.table.exchange)) == "SEC_GAS_ABOVE_LIMIT"
    assert world.records == []


def test_dear_gas_defers_a_merge_and_not_the_pause(world):
    sender, now = world.sender(), world.clock()
    sender._samples.clear()
    sender._samples.extend((now, 1) for _ in range(20))
    assert code_of(sender.send, calls.approve(world.table, world.table.exchange, M)) == "EXEC_GAS_DEFERRED"
    assert do(sender, calls.pause(world.table.exchange)).paid > 0
    sender._samples.clear()
    assert code_of(sender.send, calls.approve(world.table, world.table.exchange, M)) == "EXEC_GAS_UNKNOWN"


def test_somebody_else_with_the_key_stops_the_sender(world):
    sender, web3 = world.sender(), world.nodes.pool[0].web3
    do(sender, calls.approve(world.table, world.table.exchange, M))
    raw = web3.eth.account.sign_transaction(
        {"to": world.table.pusd, "data": "0x", "gas": 60_000, "maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": 0,
         "chainId": world.nodes.chain_id, "nonce": 1, "value": 0}, TEST_KEY
    )  # fmt: skip
    web3.eth.send_raw_transaction(raw.raw_transaction)
    assert code_of(sender.send, calls.approve(world.table, world.table.exchange, 2 * M)) == "EXEC_NONCE_UNKNOWN"


def test_a_contract_wallet_does_not_send_by_itself(world):
    guard = world.guard()
    guard.account = Account("0x" + "11" * 20, world.key.address, SignatureType.SAFE, world.nodes.chain_id)
    assert code_of(Sender, world.nodes, guard, print) == "SEC_KEY_UNUSABLE"


def test_a_transaction_of_a_former_process_is_taken_up(world):
    first = world.sender()
    sent = first.send(calls.approve(world.table, world.table.exchange, M))
    second = world.sender()
    second.take_up(sent)
    assert second.send(calls.approve(world.table, world.table.exchange, 2 * M)).nonce == 1
    assert second.follow(sent).hash == sent.hash and Key(TEST_KEY).address == world.key.address
