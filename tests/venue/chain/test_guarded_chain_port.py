"""A port whose guard reads a real EVM: what the chain says decides whether an order gets a signature."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from chain_world import M

sys.path.insert(0, str(Path(__file__).parents[1] / "trading"))

from ports import actions, environment, submit

from polytraders.config import DEMO_BUILDER_CODE, build_settings, parse_ini
from polytraders.data.markets import MarketInfo
from polytraders.venue.chain import calls, providers
from polytraders.venue.chain.gas import seed
from polytraders.venue.chain.watch import Watch
from polytraders.venue.guard import BOTS, Funds
from polytraders.venue.keeper import Keeper, engage
from polytraders.venue.orders import Account, Credentials, Domain, SignatureType, typed
from polytraders.venue.polymarket.port import PolymarketPort
from polytraders.venue.refusal import Refused

ENFORCED = "".join(f"[{bot_id}]\nmode = enforced\n" for bot_id in BOTS)
NOWHERE = {name: "http://127.0.0.1:9" for name in ("rest", "user_ws", "data")}
TOKEN = 7 * 10**60
MARKET = MarketInfo(
    "0x1", "one", "one", str(TOKEN), str(5**70), tick=100, grid=100, min_size=5 * M, fee_rate=40_000, fee_exponent=1,
    rebate_rate=0, neg_risk=False, event_id="", end_ts=0,
)  # fmt: skip
S = 10**9


class Line:
    """The port, its keeper, and the chain behind them."""

    def __init__(self, world, monkeypatch):
        chain_id, exchange = world.nodes.chain_id, world.table.exchange
        domain = Domain("Polymarket CTF Exchange", "2", chain_id, exchange)
        monkeypatch.setitem(typed.EXCHANGES, (chain_id, False), domain)
        monkeypatch.setattr("polytraders.venue.orders.signing._KNOWN", {domain})
        owner = Account(world.key.address, world.key.address, SignatureType.EOA, chain_id)
        settings = build_settings(parse_ini(ENFORCED, "t.ini"), "t.ini")
        self.world, self.domain = world, domain
        self.guard = engage(
            world.key, owner, settings, "strat.a", now=world.clock(), chain=True, table=world.table
        )  # fmt: skip
        self.port = PolymarketPort(
            environment(NOWHERE, chain_id=chain_id), [MARKET], self.guard, Credentials("a", "YQ==", "b"),
            DEMO_BUILDER_CODE, clock=world.clock,
        )  # fmt: skip
        limits = self.guard.limits("sec.rpcfailovermanager")
        watch = Watch(world.wallet, [TOKEN], exchange, limits, world.clock, allowances_every=0)
        self.keeper = Keeper(self.port, watch, world.clock)

    def read(self):
        asyncio.run(self.keeper.read_chain())

    def order(self, later=0, side="BUY", size="10", **more):
        (request,) = self.port.prepare(actions(submit(0, side, "0.40", size, **more)), self.world.clock() + later)
        return request


@pytest.fixture
def line(world, monkeypatch):
    return Line(world, monkeypatch)


def test_the_chain_decides_whether_an_order_is_signed(line):
    assert line.order().refused == "SEC_CHECK_FAILED", "nothing was read yet"
    line.read()
    assert line.order().refused == "SEC_ALLOWANCE_SHORT"
    where, sender = line.world.table, line.world.sender(ENFORCED)
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    line.read()
    request = line.order()
    assert not request.refused and request.body
    assert line.order(side="SELL").refused == "SEC_FUNDING", "no shares are held"
    line.world.operator("ctf", "mint", line.world.key.address, TOKEN, 100 * M)
    sender.follow(sender.send(calls.set_operator(where, where.exchange, True)))
    line.read()
    assert not line.order(side="SELL").refused


def test_what_grows_old_or_is_disputed_refuses_and_is_found(line):
    where, sender = line.world.table, line.world.sender(ENFORCED)
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    line.read()
    now = line.world.clock()
    refusing, found = line.keeper.look(now)
    assert refusing == []
    assert not line.order().refused
    assert [line.order(later=s * S).refused for s in (6, 16)] == ["SEC_FUNDING", "SEC_RPC_QUORUM_LOST"]
    refusing, found = line.keeper.look(now + 16 * S)
    said = {bot_id: c.code for bot_id, c in refusing}
    assert said == {"sec.rpcfailovermanager": "SEC_RPC_QUORUM_LOST", "sec.wallet_funding_guard": "SEC_FUNDING"}
    assert {f.bot_id for f in found if not f.over} >= said.keys()
    line.world.providers[1].down = True
    line.read()
    assert line.keeper.problems["chain"].startswith("SEC_RPC_QUORUM_LOST")
    assert "not-for-logs" not in str(line.keeper.state())
    assert line.order().refused == "SEC_RPC_QUORUM_LOST"
    line.world.providers[1].down = False
    line.read()
    refusing, found = line.keeper.look(line.world.clock())
    assert refusing == []
    assert {f.bot_id for f in found if f.over} >= said.keys()
    assert not line.order().refused


def test_an_allowance_without_a_limit_stops_everything(line):
    where, sender = line.world.table, line.world.sender(ENFORCED)
    sender.follow(sender.send(calls.approve(where, where.exchange, calls.UNLIMITED, unlimited=True)))
    line.read()
    assert line.order().refused == "SEC_ALLOWANCE_EXCEEDS_CEILING"


def test_the_fee_that_is_asked_is_held_back_and_a_resting_order_pays_none(line):
    from polytraders.rows import POST_ONLY

    where, sender = line.world.table, line.world.sender(ENFORCED)
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    line.read()
    taking = line.order(size="100")
    assert line.guard._reserved[taking.key][1] == 40 * M + 960_000, "100 x 4 % x 0.4 x 0.6"
    resting = line.order(size="100", post_only=True)
    assert resting.action["flags"] & POST_ONLY
    assert line.guard._reserved[resting.key][1] == 40 * M


def test_a_match_is_held_back_until_the_chain_can_have_it(line):
    """A balance that was read right after a match does not have it yet."""
    line.guard.settles = 15 * S
    where, sender = line.world.table, line.world.sender(ENFORCED)
    sender.follow(sender.send(calls.approve(where, where.exchange, 100 * M)))
    line.read()
    request, now = line.order(size="100"), line.world.clock()
    line.guard.filled(request.key, 40 * M, 100 * M, now)
    held = line.guard._totals[0]
    assert held == 40 * M
    line.guard.funds(Funds(1_000 * M, {}, now + 2 * S))
    assert line.guard._totals[0] == 40 * M, "2 s later it may still be on its way"
    line.guard.funds(Funds(960 * M, {}, now + 16 * S))
    assert line.guard._totals[0] == 0


def test_the_gas_of_the_last_day_is_read_from_its_blocks(world):
    world.tester.mine_blocks(30)
    found = seed(world.nodes, samples=10)
    assert 5 <= len(found) <= 10
    assert [at for at, _ in found] == sorted(at for at, _ in found)
    assert all(price > 0 for _, price in found)
    sender = world.sender()
    before = len(sender._samples)
    assert sender.seed_gas() + before == len(sender._samples)
    assert [at for at, _ in sender._samples] == sorted(at for at, _ in sender._samples)
    world.providers[1].down = True
    assert seed(world.nodes) == []


@pytest.mark.parametrize(
    ("text", "names", "enough"),
    [
        ("", (), False),
        ("https://polygon.one.example/v2/key", ("1-one.example",), False),
        ("https://a.one.example/k, https://b.two.example/k", ("1-one.example", "2-two.example"), True),
        ("https://a.one.example/k1 https://a.one.example/k2", ("1-one.example", "2-one.example"), False),
        ("http://127.0.0.1:1 http://127.0.0.1:2", ("1-0.1", "2-0.1"), True),
    ],
)
def test_providers_are_named_without_their_keys(text, names, enough):
    given = providers.urls(text)
    assert (providers.names(given), providers.enough(given)) == (names, enough)


def test_a_provider_that_is_no_url_is_refused_and_not_shown():
    from polytraders.errors import UsageError

    with pytest.raises(UsageError, match="entry 2") as refused:
        providers.urls("https://one.example ftp://hidden.example/key")
    assert "hidden" not in str(refused.value)
    with pytest.raises(Refused, match="SEC_RPC_QUORUM_LOST"):
        providers.connect_all(("https://one.example",), 137)
