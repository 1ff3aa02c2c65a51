"""What other runs leave of a common limit reaches the step as rows: of the whole run and of each market."""

from __future__ import annotations

from gated import replayed, run
from toys import MS, SHARE, T0, Info, Tape, script, toy

from polytraders.reasons import Code
from polytraders.risk import portfolioguard as pg
from polytraders.rows import ActionKind, EventKind, Gate, Signal
from polytraders.units import MICRO


def guarded(**params):
    """A wish for 10 shares at 0.49, under risk.portfolioguard alone."""
    risk = toy("risk", pg.decide, pg.SPEC.kernel_params(params), name="risk.portfolioguard")
    return script(4_900, 10 * SHARE, wake=100 * MS, risk=risk)


def tape(*rooms):
    """A book, and rows of (ms, market, micro-pUSD or None for not known)."""
    made = Tape().bid(0, 4_900, 100).ask(0, 5_100, 100)
    for ms, market, room in rooms:
        size = -1 if room is None else room + 1
        made = made.add(ms, EventKind.SIGNAL, market=market, aux=Signal.ROOM, size=size / SHARE)
    return made.clock(9_000)


def story(*rooms):
    """(kind, micro-shares, ms) of what was sent, the state, and the reasons in the order of their first use."""
    sim, sink = run(tape(*rooms).events(), guarded(), gate=Gate.OPEN, infos_=[Info()])
    again = replayed(sink, guarded(), gate=Gate.OPEN, infos_=[Info()])
    for kind in ("decisions", "actions", "samples"):
        assert sink.rows(kind).tobytes() == again.rows(kind).tobytes(), kind
    actions = sink.rows("actions")
    sent = [(ActionKind(int(a["kind"])).name, int(a["size"]), (int(a["ts"]) - T0) // MS) for a in actions]
    codes = [Code(int(code)).name for code in sink.rows("decisions")["code"]]
    return sent, sim.state, codes


def test_less_room_makes_the_order_smaller_and_more_moves_nothing():
    sent, state, codes = story((1_000, -1, 3 * MICRO), (3_000, -1, 100 * MICRO))
    assert sent[0] == ("SUBMIT", 10 * SHARE, 0)
    assert ("CANCEL", 10 * SHARE, 1_000) in sent
    assert [size for kind, size, _ in sent if kind == "SUBMIT"] == [10 * SHARE, 6_120_000]  # 3 / 0.49
    assert max(at for *_, at in sent) < 3_000, "what stands is no larger than it is wanted"
    assert "RISK_PORTFOLIO_RESHAPED" in codes
    assert state.account[0]["room"] == 100 * MICRO + 1


def test_while_it_is_not_known_nothing_stands():
    sent, state, codes = story((1_000, -1, None), (3_000, -1, 100 * MICRO))
    assert [(kind, at) for kind, _, at in sent] == [("SUBMIT", 0), ("CANCEL", 1_000), ("SUBMIT", 3_000)]
    assert "RISK_PORTFOLIO_UNKNOWN" in codes
    assert state.account[0]["open_orders"] == 1


def test_a_markets_room_holds_where_the_runs_is_told():
    sent, state, codes = story((1_000, 0, 0), (2_000, -1, 100 * MICRO), (4_000, 0, 50 * MICRO))
    assert [(kind, at) for kind, _, at in sent] == [("SUBMIT", 0), ("CANCEL", 2_000), ("SUBMIT", 4_000)]
    assert "RISK_MARKET_LIMIT" in codes
    assert state.positions[0]["room"] == 50 * MICRO + 1


def test_a_desks_own_signal_of_that_size_means_nothing():
    made = Tape().bid(0, 4_900, 100).ask(0, 5_100, 100)
    for market in (-1, 0):
        made = made.add(1_000, EventKind.SIGNAL, market=market, aux=3, size=-1 / SHARE)
    sim, _ = run(made.clock(3_000).events(), guarded(), gate=Gate.OPEN, infos_=[Info()])
    assert sim.state.account[0]["room"] == sim.state.positions[0]["room"] == 0
    assert sim.state.account[0]["open_orders"] == 1
