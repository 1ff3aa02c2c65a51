"""What is read of the chain in rounds reaches the guard, and what is not read refuses by its age."""

from __future__ import annotations

import pytest
from chain_world import M

from polytraders.security.keyrotationreminder import KeyUse
from polytraders.venue.chain import calls
from polytraders.venue.chain.watch import Watch
from polytraders.venue.guard import BOTS, Asked, Decided
from polytraders.venue.orders import Domain, Order

ENFORCED = "".join(f"[{bot_id}]\nmode = enforced\n" for bot_id in BOTS)
ZERO, BUILDER = "0x" + "00" * 32, "0x" + "b0" * 32
S = 10**9


class Desk:
    """A guard, a sender and a watch over the chain of these tests."""

    def __init__(self, world):
        self.world, self.sender = world, world.sender(ENFORCED)
        self.guard = self.sender.guard
        targets = [world.table.exchange.lower()]
        self.guard.authorise("strat.a", self.now, targets=targets)
        self.guard.keys([KeyUse("signer", "f", "live", self.now - 10**15, True)], "live")
        limits = self.guard.limits("sec.rpcfailovermanager")
        self.watch = Watch(world.wallet, [77], world.table.exchange, limits, world.clock, allowances_every=0)

    @property
    def now(self):
        return self.world.clock()

    def round(self):
        seen = self.watch.look()
        return seen, self.watch.tell(self.guard, seen)

    def refusal(self, side=0, later=0):
        now, me = self.now + later, self.world.key.address
        amounts = (34 * M, 100 * M)[:: -1 if side else 1]
        order = Order(7, me, me, 77, *amounts, side, 0, now // M, ZERO, BUILDER)
        wanted = Decided(77, side, 3_400, 100 * M, False, me, me, 0, BUILDER, ZERO)
        domain = Domain("Polymarket CTF Exchange", "2", self.world.nodes.chain_id, self.world.table.exchange)
        checked = self.guard.preview([Asked(order, domain, wanted)], now, "strat.a")[0]
        return checked.refusal.code if checked.refusal else ""


@pytest.fixture
def desk(world):
    return Desk(world)


def test_from_an_unfunded_exchange_to_an_order_that_passes_every_bot(desk):
    assert desk.refusal() == "SEC_CHECK_FAILED"  # nothing was read yet
    desk.round()
    assert desk.refusal() == "SEC_ALLOWANCE_SHORT"
    where, sender = desk.world.table, desk.sender
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    desk.round()
    assert desk.refusal() == "" and desk.refusal(side=1) == "SEC_FUNDING"
    desk.world.operator("ctf", "mint", desk.world.key.address, 77, 100 * M)
    desk.round()
    assert desk.refusal(side=1) == "SEC_ALLOWANCE_SHORT"
    sender.follow(sender.send(calls.set_operator(where, where.exchange, True)))
    desk.round()
    assert desk.refusal(side=1) == ""


def test_a_chain_that_is_not_read_any_more_refuses_within_seconds(desk):
    where, sender = desk.world.table, desk.sender
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    desk.round()
    assert desk.refusal() == ""
    desk.world.providers[1].down = True
    seen, said = desk.round()
    assert seen.failed and said is None and seen.holdings is None
    assert desk.refusal() == "SEC_RPC_QUORUM_LOST"
    desk.world.providers[1].down = False
    desk.round()
    assert [desk.refusal(later=s * S) for s in (0, 5, 6, 16, 61)] == [
        "", "", "SEC_FUNDING", "SEC_RPC_QUORUM_LOST", "SEC_ALLOWANCE_UNKNOWN",
    ]  # fmt: skip


def test_after_a_reorganisation_nothing_is_signed_until_it_was_accepted(desk):
    where, sender = desk.world.table, desk.sender
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    desk.round()
    fork = desk.world.tester.take_snapshot()
    desk.world.tester.mine_blocks(2)
    desk.round()
    desk.world.tester.revert_to_snapshot(fork)
    desk.world.tester.time_travel(desk.now // S + 100)
    desk.world.tester.mine_blocks(3)
    _, said = desk.round()
    assert said.code == "SEC_CHAIN_REORG" and desk.refusal() == "SEC_CHAIN_REORG"
    assert desk.round()[1].code == "SEC_CHAIN_REORG"
    desk.watch.accept()
    assert desk.round()[1].code == "SEC_CHAIN_AGREED" and desk.refusal() == ""
