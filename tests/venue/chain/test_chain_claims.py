"""Winnings redeemed on a chain: an approved claim becomes a transaction whose pay is booked once, whatever breaks."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from chain_world import M

from polytraders.config import build_settings, parse_ini
from polytraders.contracts import Actor
from polytraders.rows import EventKind
from polytraders.run.claims import PAUSES, ChainRedeemer, Claims, redeemer_of
from polytraders.store import desk as desks
from polytraders.units import NS_PER_S, ONE
from polytraders.venue.chain import calls
from polytraders.venue.chain.operations import Operations
from polytraders.venue.chain.sender import Sender
from polytraders.venue.orders import Account, SignatureType
from polytraders.venue.polymarket.hosts import local, polymarket

CONDITION = "0x" + "c0" * 32
ANN = Actor(kind="operator", id="ann")
SETTINGS = build_settings(parse_ini("[exec.gasoracle]\nmin_samples = 10\n", "t.ini"), "t.ini")


class Run:
    """A process of a live run that is owed something: its desk is real, its chain is, and its step is a table."""

    def __init__(self, world, tmp_path, *, owed=25 * M, payout=ONE, number=1):
        self.world, self.path = world, tmp_path
        yes, no = (str(world.deployed["ctf"].functions.position(CONDITION, n).call()) for n in (1, 2))
        info = SimpleNamespace(condition_id=CONDITION, neg_risk=False, slug="rain", yes_token=yes, no_token=no)
        self.desk = desks.open_desk(f"sqlite:///{tmp_path / 'desk.sqlite'}")
        self.control = SimpleNamespace(
            api=desks, desk=self.desk, settings=SETTINGS, run_id=f"live-{number}", infos=[info],
            _thread=ThreadPoolExecutor(1),
        )  # fmt: skip
        state = SimpleNamespace(
            positions=np.array([(owed,)], [("receivable", np.int64)]),
            markets=np.array([(payout,)], [("payout", np.int64)]),
        )
        self.rows, self.incidents, self.later = [], [], 0
        self.runner = SimpleNamespace(
            step=SimpleNamespace(state=state), now=lambda: world.clock() + self.later,
            put=lambda source, rows, note: self.rows.append((rows, note)),
            incident=lambda what, **told: self.incidents.append((what, told)),
        )  # fmt: skip
        self.claims = Claims(self.control, ChainRedeemer(lambda: nullcontext(self.wallet())))
        self.claims._runner = self.runner

    @property
    def journal(self):
        return self.path / "chain" / "transactions.jsonl"

    def wallet(self) -> Operations:
        world = self.world
        mine = Account(world.key.address, world.key.address, SignatureType.EOA, world.nodes.chain_id)
        guard = world.guard()
        return Operations(
            world.nodes, world.table, mine, guard, SETTINGS, self.journal, world.clock, patience=0.5, poll=0.01
        )

    def look(self, times=1):
        for _ in range(times):
            asyncio.run(self.claims._look(0))

    def approved(self):
        """Proposed, and approved by a person; the trade intent's id."""
        self.look()
        (one,) = desks.intents(self.desk, run_id=self.control.run_id)
        assert one["type"] == "CLAIM_SETTLEMENT" and one["document"]["claim_shares"] == "25"
        answer = desks.approve(self.desk, one["trade_intent_id"], ANN, "cli", SETTINGS.approvals, self.world.clock())
        assert answer.ok, answer
        return one["trade_intent_id"]

    def status(self, id_):
        return desks.intent(self.desk, id_)["status"]

    def booked(self):
        kinds = [int(rows["kind"][0]) for rows, _ in self.rows]
        assert set(kinds) <= {int(EventKind.REDEMPTION)}
        return [note for _, note in self.rows]

    def close(self):
        self.control._thread.shutdown()
        self.desk.close()


@pytest.fixture
def begin(world, tmp_path, monkeypatch):
    """Begins a process of the run; another one after it is what follows a kill."""
    whole, runs = Sender.seed_gas, []

    def seeded(sender):
        """The chain of these tests is too young for a day of prices."""
        whole(sender)
        for _ in range(30):
            sender.sample_gas()
        return 30

    monkeypatch.setattr(Sender, "seed_gas", seeded)

    def one(**more):
        runs.append(Run(world, tmp_path, number=len(runs) + 1, **more))
        return runs[-1]

    yield one
    for run in runs:
        run.close()


def hold(world, shares=25 * M, *, operator=True, payouts=(10_000, 0)):
    """The wallet holds YES of a market that is resolved; the adapter may burn it, or not."""
    yes = world.deployed["ctf"].functions.position(CONDITION, 1).call()
    world.operator("ctf", "mint", world.key.address, yes, shares)
    world.operator("pusd", "mint", world.table.adapter, shares)
    world.operator("ctf", "report", CONDITION, *payouts)
    if operator:
        allow(world)


def allow(world, may=True):
    sender = world.sender()
    sender.follow(sender.send(calls.set_operator(world.table, world.table.adapter, may)))


def cash(world):
    return world.wallet.holdings().cash


def journal(run):
    """Methods of what was written down before it was sent."""
    return [json.loads(line)["method"] for line in run.journal.read_text().splitlines()]


def test_an_approved_claim_is_redeemed_and_its_pay_is_booked(world, begin):
    hold(world)
    run, before = begin(), cash(world)
    id_ = run.approved()
    assert cash(world) == before and not run.journal.exists(), "nothing is signed that nobody approved"
    run.look()
    assert cash(world) == before + 25 * M
    (note,) = run.booked()
    assert (note["claimed"], note["micro"], note["trade_intent"]) == ("rain", 25 * M, id_)
    assert run.status(id_) == "EXECUTED" and not run.incidents
    assert desks.intent(run.desk, id_)["order_key"] == note["transaction"]
    assert world.nodes.pool[0].web3.eth.get_transaction_receipt(note["transaction"])["status"] == 1
    assert journal(run) == ["redeemPositions"]


def test_what_the_chain_would_refuse_is_not_signed_and_asked_again_after_a_pause_that_grows(world, begin):
    hold(world, operator=False)
    run, before = begin(), cash(world)
    id_ = run.approved()
    run.look(3)
    ((what, told),) = run.incidents
    assert what == "a claim was not redeemed" and "SEC_TRANSACTION_FAILED" in told["error"]
    assert not run.rows and run.status(id_) == "APPROVED" and not run.journal.exists()
    first, longest = PAUSES
    for _ in range(12):
        run.later += longest
        run.look(2)
    assert len(run.incidents) == 13, "once after each pause, not at every look"
    assert run.claims._failed[0][1] == longest > first >= NS_PER_S
    allow(world)
    run.later += longest
    run.look()
    assert cash(world) == before + 25 * M and run.status(id_) == "EXECUTED" and len(run.booked()) == 1


def test_a_transaction_that_was_mined_and_reverted_books_nothing(world, begin, monkeypatch):
    hold(world)
    run, before, whole = begin(), cash(world), Sender._fields
    id_ = run.approved()

    def then_it_changed(sender, *given):
        """It looked well when it was judged, and was not when it was mined."""
        fields = whole(sender, *given)
        world.operator("ctf", "report", CONDITION, 10**9, 0)  # more than the adapter has
        return fields

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "_fields", then_it_changed)
        patch.setattr(Sender, "quote", lambda sender, call, strategy: None)
        run.look()
    ((_, told),) = run.incidents
    assert "was reverted in block" in told["error"] and journal(run) == ["redeemPositions"]
    assert not run.rows and run.status(id_) == "APPROVED" and cash(world) == before
    world.operator("ctf", "report", CONDITION, 10_000, 0)
    run.later += PAUSES[1]
    run.look()
    assert cash(world) == before + 25 * M and len(run.booked()) == 1 and run.status(id_) == "EXECUTED"


def test_a_claim_that_pays_otherwise_than_our_books_have_it_is_told(world, begin):
    hold(world, payouts=(5_000, 5_000))
    run, before = begin(), cash(world)
    run.approved()
    run.look()
    assert cash(world) == before + 12_500_000
    assert run.incidents == [("a claim paid otherwise", {"market": "rain", "owed": 25 * M, "paid": 12_500_000})]


def killed_after(run, step, monkeypatch):
    """The process dies inside a redemption, after a step of it."""
    whole = getattr(Sender, step)

    def dies(sender, *given):
        whole(sender, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Sender, step, dies)
    with pytest.raises(KeyboardInterrupt):
        run.look()
    monkeypatch.setattr(Sender, step, whole)
    assert not run.rows, "it was killed before it could book anything"


@pytest.mark.parametrize("step", ["send", "follow"])
def test_after_a_kill_between_redeeming_and_booking_nothing_is_redeemed_twice(world, begin, monkeypatch, step):
    hold(world)
    first, before = begin(), cash(world)
    first.approved()
    killed_after(first, step, monkeypatch)
    assert cash(world) == before + 25 * M
    second = begin()
    id_ = second.approved()
    second.look()
    assert cash(world) == before + 25 * M and second.status(id_) == "EXECUTED"
    (note,) = second.booked()
    assert journal(second) == ["redeemPositions"], "one transaction, and the claim is booked under its hash"
    assert note["transaction"] == json.loads(second.journal.read_text())["hash"] and not second.incidents


def test_a_transaction_that_a_killed_process_lost_is_sent_again_as_it_was(world, begin, monkeypatch):
    hold(world)
    first, before = begin(), cash(world)
    first.approved()
    for provider in world.providers:
        provider.swallows = {"eth_sendRawTransaction"}
    killed_after(first, "send", monkeypatch)
    assert cash(world) == before, "it never reached the chain"
    for provider in world.providers:
        provider.swallows = set()
    second = begin()
    id_ = second.approved()
    second.look()
    second.later += PAUSES[1]
    second.look()
    assert cash(world) == before + 25 * M and second.status(id_) == "EXECUTED" and len(second.booked()) == 1
    used = world.nodes.pool[0].web3.eth.get_transaction_count(world.key.address)
    written = [json.loads(line) for line in second.journal.read_text().splitlines()]
    assert used == 1 + len({entry["nonce"] for entry in written}), "the operator's allowance, and ours"
    assert world.nodes.pool[0].web3.eth.get_transaction_receipt(written[0]["hash"])["status"] == 1


def test_who_redeems_follows_from_the_venue_and_the_wallet():
    urls = dict.fromkeys(("rest", "market_ws", "user_ws", "gamma", "data", "admin"), "http://127.0.0.1:1")
    owner = "0x" + "11" * 20

    def port(kind, name="polymarket"):
        return SimpleNamespace(name=name, account=Account(owner, owner, kind, 137))

    assert redeemer_of(polymarket(), None, SETTINGS) is None
    assert redeemer_of(polymarket(), port(SignatureType.EOA, "simulated"), SETTINGS) is None
    assert isinstance(redeemer_of(polymarket(), port(SignatureType.EOA), SETTINGS), ChainRedeemer)
    assert redeemer_of(polymarket(), port(SignatureType.SAFE), SETTINGS) is None
    assert redeemer_of(local(urls), port(SignatureType.EOA), SETTINGS).owner == owner
