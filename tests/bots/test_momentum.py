"""strat.momentum: covered, bounded, paid, patient, and gone when in doubt."""

from __future__ import annotations

from typing import Any

import momentum_cases as cases
import numpy as np
import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.engine.backtest import Collected, VenueModel, simulate
from polytraders.engine.probe import NOW, probe
from polytraders.engine.setup import PipelineBot, order_bots
from polytraders.engine.state import MODE_ENFORCED, WANT_QUOTE, records
from polytraders.errors import ConfigError
from polytraders.rows import EVENT, ActionKind, EventKind, Flag, OrderType, Outcome, Side, Status
from polytraders.strategies import momentum as mo
from polytraders.units import CENT_SHARE, MICRO, NS_PER_MS, NS_PER_S, ONE

BOT = "strat.momentum"
MS = cases.MS
TREND = {"bids": [("0.61", "500")], "asks": [("0.63", "500")], "features": {"FLOW": 50.0, "FLOW_ABS": 50.0}}
HELD = {"yes": 10 * MICRO, "yes_cost": 6_200_000}
BOTH = mo.SPEC.kernel_params(cases.SHORT | {"buy_no": "true"})


def ask(params=None, move=1_200.0, path=1_200.0, watched=60_000, traded=0, sold=0, **given_):
    """Code and intents after a straight move of 12 cents to 0.61 / 0.63, with whatever is given changed."""
    case = TREND | {"memory": [MS - watched, MS, 12_400, move, path, traded, sold]} | given_
    return probe(**case).propose(
        mo.decide, mo.SPEC.kernel_params(cases.SHORT | {"continuation": "0.6"} | (params or {}))
    )


def wanted(case: dict[str, Any], params: np.ndarray) -> tuple[str, list[Any]]:
    p = probe(**case)
    code, _ = p.propose(mo.decide, params)
    return code, [t for t in p.targets if t.want == WANT_QUOTE]


# ------------------------------------------------------------------------------------------ worked examples


def test_the_worked_example_buys_1562_shares_at_64_or_better():
    # fair 0.62 + 0.6 x 0.12 = 0.692; 0.052 less fees of 0.01659 and 0.01535 and half a spread of 0.01
    code, quotes = ask()
    assert code == "STRAT_MOMENTUM_LONG"
    assert quotes == [
        {
            "slot": 0,
            "outcome": "YES",
            "side": "BUY",
            "price": "0.64",
            "size": "15.62",
            "passive_only": False,
            "edge_bps": 100.6,
        }
    ]


def test_a_taking_entry_kills_what_it_does_not_find_and_a_passive_one_rests_at_the_bid():
    p = probe(**TREND, memory=[MS - 60_000, MS, 12_400, 1_200.0, 1_200.0])
    p.propose(mo.decide, mo.SPEC.kernel_params(cases.SHORT))
    assert p.targets[0].order_type == OrderType.FAK
    code, quotes = ask({"passive_entry": "true"})
    assert (code, quotes[0]["price"], quotes[0]["passive_only"]) == ("STRAT_MOMENTUM_LONG", "0.61", True)


def test_fees_of_both_ways_are_in_the_edge():
    assert ask({"continuation": "0.5"}) == ("STRAT_NO_EDGE", [])
    # 0.68 - 0.64 - 0.01: without fees the same move pays 300 bps
    assert ask({"continuation": "0.5"}, market={"fee_rate": 0})[1][0]["edge_bps"] == 300


def test_a_falling_price_is_bought_as_no_only_when_told_so():
    falling = {
        "bids": [("0.37", "500")],
        "asks": [("0.39", "500")],
        "features": {"FLOW": -50.0, "FLOW_ABS": 50.0},
        "memory": [MS - 60_000, MS, 7_600, -1_200.0, 1_200.0],
    }
    assert ask(**falling) == ("STRAT_MOMENTUM_NO_SIGNAL", [])
    code, quotes = ask({"buy_no": "true"}, **falling)
    assert (code, quotes[0]["outcome"], quotes[0]["side"], quotes[0]["price"]) == (
        "STRAT_MOMENTUM_LONG",
        "NO",
        "BUY",
        "0.64",
    )


def test_the_target_of_ten_percent_rests_on_the_tick_above():
    assert ask(position=HELD)[1][0]["price"] == "0.69"  # 0.62 x 1.1 = 0.682
    assert ask(position=HELD, tick=10)[1][0]["price"] == "0.682"
    assert ask({"passive_take_profit": "false"}, position=HELD) == ("STRAT_MOMENTUM_HOLD", [])


def test_a_stop_sells_one_cent_below_the_bid_and_the_target_not_below_itself():
    code, quotes = ask(position=HELD, bids=[("0.58", "50")], asks=[("0.59", "50")])
    assert (code, quotes[0]["side"], quotes[0]["price"], quotes[0]["size"]) == (
        "STRAT_MOMENTUM_STOP",
        "SELL",
        "0.57",
        "10",
    )
    assert ask(position=HELD, bids=[("0.59", "50")], asks=[("0.60", "50")])[0] == "STRAT_MOMENTUM_EXIT"  # 0.589 holds
    code, quotes = ask(position=HELD, bids=[("0.69", "50")], asks=[("0.70", "50")])
    assert (quotes[0]["price"], quotes[0]["passive_only"]) == ("0.69", False)
    code, quotes = ask(position=HELD, bids=[("0.72", "50")], asks=[("0.73", "50")])
    assert (quotes[0]["price"], quotes[0]["passive_only"]) == ("0.71", False)


# ------------------------------------------------------------------------------------------------- reasons


REASONS = [
    ({}, "STRAT_MOMENTUM_LONG"),
    ({"params": {"continuation": "0.5"}}, "STRAT_NO_EDGE"),
    ({"params": {"max_price_bps": 6_300}}, "STRAT_NO_EDGE"),
    ({"params": {"min_price_bps": 6_500}}, "STRAT_NO_EDGE"),
    ({"move": 100.0, "path": 2_000.0, "features": {"FLOW": 0.0, "FLOW_ABS": 0.0}}, "STRAT_MOMENTUM_NO_SIGNAL"),
    ({"watched": 29_999}, "STRAT_MOMENTUM_WARMING_UP"),
    ({"memory": []}, "STRAT_MOMENTUM_WARMING_UP"),
    ({"traded": MS - 59_999}, "STRAT_MOMENTUM_COOLING"),
    ({"position": {"last_fill_ts": NOW - 60 * NS_PER_S + 1}}, "STRAT_MOMENTUM_COOLING"),
    ({"market": {"end_ts": NOW + 90 * NS_PER_S}}, "STRAT_MOMENTUM_NEAR_CLOSE"),
    ({"market": {"candidate": 0}}, "STRAT_MARKET_OUT_OF_SCOPE"),
    ({"market": {"status": Status.RESOLVED}}, "STRAT_MARKET_OUT_OF_SCOPE"),
    ({"market": {"min_size": 40 * MICRO}}, "STRAT_MARKET_OUT_OF_SCOPE"),
    ({"age_ms": 1_001}, "STRAT_MOMENTUM_STALE_INPUT"),
    ({"bids": [], "asks": []}, "STRAT_MOMENTUM_STALE_INPUT"),
    ({"asks": []}, "STRAT_MOMENTUM_ONE_SIDED_BOOK"),
    ({"position": HELD, "move": -500.0, "path": 600.0}, "STRAT_MOMENTUM_EXIT"),
    ({"position": HELD, "bids": [("0.58", "9")], "asks": [("0.59", "9")]}, "STRAT_MOMENTUM_STOP"),
    ({"position": HELD, "market": {"end_ts": NOW + 30 * NS_PER_S}}, "STRAT_MOMENTUM_TIME_EXIT"),
    ({"position": {"yes": 10 * MICRO, "yes_cost": 9_500_000}, "params": {"stop_loss_pct": 50}}, "STRAT_MOMENTUM_HOLD"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_for_its_cause(given_, code):
    got, quotes = ask(**given_)
    assert got == code
    assert bool(quotes) == (code in {f"STRAT_MOMENTUM_{end}" for end in ("LONG", "EXIT", "STOP", "TIME_EXIT")})


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(mo.SPEC.reason_codes)


@pytest.mark.parametrize(
    "given_",
    [
        {"age_ms": 60_000},
        {"age_ms": -5},
        {"market": {"feed_up": 0}},
        {"features": {"FLOW": float("nan"), "FLOW_ABS": 1.0}},
        {"features": {"FLOW": 1.0, "FLOW_ABS": float("nan")}},
        {"features": {"FLOW": 1.0, "FLOW_ABS": -1.0}},
        {"features": {"FLOW": float("inf"), "FLOW_ABS": 1.0}},
    ],
)
@pytest.mark.parametrize("position", [{}, HELD])
def test_an_input_that_is_missing_old_or_impossible_wants_nothing(given_, position):
    assert ask(position=position, **given_) == ("STRAT_MOMENTUM_STALE_INPUT", [])


def test_limits_are_still_inside():
    assert ask(age_ms=1_000)[1]
    assert ask(watched=30_000)[1]
    assert ask(traded=MS - 60_000)[1]
    assert ask(position={"last_fill_ts": NOW - 60 * NS_PER_S})[1]
    assert ask(market={"end_ts": NOW + 90 * NS_PER_S + 1})[1]
    assert ask({"min_edge_bps": 100})[1] and not ask({"min_edge_bps": 101})[1]
    assert ask({"emit_score": 1})[1] and not ask({"emit_score": 1}, path=1_201.0)[1]


def test_a_hole_in_the_data_forgets_the_trend():
    p = probe(**TREND, memory=[MS - 90_000, MS - 30_001, 12_400, 1_200.0, 1_200.0])
    assert p.propose(mo.decide, BOTH)[0] == "STRAT_MOMENTUM_WARMING_UP"
    assert p.memory[mo.MOVE] == p.memory[mo.PATH] == 0 and p.memory[mo.SINCE] == MS


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        mo.SPEC.kernel_params({"clip_size_usd": 1_001})
    assert mo.SPEC.check() == []
    assert mo.SPEC.check({"exit_before_end_s": 0}) == ["exit_before_end_s"]
    assert len([p for p in mo.SPEC.parameters if p.search_space]) >= 6


# ---------------------------------------------------------------------------------------------- properties


@rc.thousand
@given(cases.cases(), rc.permitted(mo.SPEC))
def test_every_order_is_a_legal_one_and_a_sale_is_covered_by_what_is_held(case, params):
    sold, tick = {Outcome.YES: 0, Outcome.NO: 0}, case["tick"]
    for t in wanted(case, params)[1]:
        assert tick <= t.price <= ONE - tick and t.price % tick == 0
        assert t.size > 0 and t.size % CENT_SHARE == 0
        if t.side == Side.SELL:
            assert t.reduce_only
            sold[Outcome(int(t.outcome))] += int(t.size)
    assert sold[Outcome.YES] <= case["position"]["yes"] and sold[Outcome.NO] <= case["position"]["no"]


@rc.thousand
@given(cases.cases(sound=True), st.booleans(), st.booleans(), rc.permitted(mo.SPEC))
def test_a_purchase_is_bounded_paid_and_alone(case, permitted_, passive, params):
    params = params if permitted_ else BOTH.copy()
    params[mo.PASSIVE_ENTRY] = passive
    _, targets = wanted(case, params)
    buys = [t for t in targets if t.side == Side.BUY]
    if not buys:
        return
    (t,) = targets
    held, least = case["position"], case["market"]["min_size"]
    assert all(held[token] < least or held[token] == 0 for token in ("yes", "no"))
    money = int(t.price) * int(t.size) // ONE
    assert 1 * MICRO <= money <= 2 * int(params[mo.CLIP]) and t.size >= least
    assert t.edge >= mo.FINE * params[mo.MIN_EDGE]
    assert t.fair - mo.FINE * t.price >= t.edge
    assert params[mo.MIN_PRICE] <= t.price <= params[mo.MAX_PRICE]
    assert t.outcome == Outcome.YES or params[mo.BUY_NO]
    p = probe(**case).market
    touch = p.best_bid if t.outcome == Outcome.YES else ONE - p.best_ask
    if passive:
        assert t.passive_only and t.price <= touch
    else:
        assert not t.passive_only and t.order_type == OrderType.FAK


def test_the_random_cases_reach_every_kind_of_answer():
    import random

    r, codes = random.Random(5), set()
    for _ in range(1_500):
        codes.add(wanted(cases.draw_case(r), BOTH)[0])
    assert codes == set(mo.SPEC.reason_codes)


@rc.thousand
@given(cases.cases(sound=True), st.integers(0, 59_999), st.booleans())
def test_nothing_is_bought_within_the_cooldown(case, ago, filled):
    memory = list(case["memory"])
    if filled:
        case = rc.with_(case, "position", last_fill_ts=NOW - ago * NS_PER_MS, buy_reserved=0)
    else:
        memory[mo.TRADED] = MS - max(ago, 1)
    assert not [t for t in wanted(case | {"memory": memory}, BOTH)[1] if t.side == Side.BUY]


@rc.thousand
@given(cases.cases(sound=True), st.integers(1, 999))
def test_no_taking_exit_follows_another_within_the_pause(case, ago):
    memory = list(case["memory"])
    memory[mo.SOLD] = memory[mo.SOLD + 1] = MS - ago
    assert not [t for t in wanted(case | {"memory": memory}, BOTH)[1] if t.side == Side.SELL and not t.passive_only]


@rc.thousand
@given(cases.cases())
def test_the_mirrored_market_gives_the_mirrored_intent(case):
    def seen(one, flip):
        p = probe(**one)
        code, _ = p.propose(mo.decide, BOTH)
        quotes = [
            (
                (int(t.slot) + 4 * flip) % 8,
                int(t.outcome) ^ flip,
                *(int(t[f]) for f in ("side", "price", "size", "edge", "fair", "order_type")),
            )
            for t in p.targets
            if t.want == WANT_QUOTE
        ]
        return sorted(quotes), int(p.market.wake), code

    one, other = seen(case, 0), seen(cases.mirrored(case), 1)
    assert one[:2] == other[:2]
    held = case["position"]
    if not (held["yes"] and held["no"]):  # with both, the code is the one of what is looked at first
        assert one[2] == other[2]


@rc.thousand
@given(cases.cases(sound=True), st.integers(0, 300_000), st.integers(0, 300))
def test_asking_for_more_never_opens_what_less_did_not(case, score, edge):
    strict = BOTH.copy()
    strict[mo.EMIT] += score
    strict[mo.MIN_EDGE] += edge
    loose = {int(t.slot) for t in wanted(case, BOTH)[1] if t.side == Side.BUY}
    assert {int(t.slot) for t in wanted(case, strict)[1] if t.side == Side.BUY} <= loose


@rc.thousand
@given(cases.cases(), rc.permitted(mo.SPEC))
def test_asked_twice_it_answers_twice_the_same_and_touches_nothing_but_targets_and_memory(case, params):
    p = probe(**case)
    before = [r.tobytes() for r in (p.position, p.account, p.ladder)]
    first = p.propose(mo.decide, params)
    memory, wake = p.memory.copy(), int(p.market.wake)
    assert p.propose(mo.decide, params) == first and int(p.market.wake) == wake
    assert np.array_equal(p.memory, memory)
    assert [r.tobytes() for r in (p.position, p.account, p.ladder)] == before


def test_compiled_and_plain_python_agree_to_the_bit():
    assert cases.plain_digest() == cases.digest()


# -------------------------------------------------------------------------------------------- in the step


class _Market:
    tick, grid, min_size, fee_rate, fee_exponent, rebate_rate, event_id = 100, 100, 5 * MICRO, 0, 1, 0, ""
    end_ts, group = NOW + 300 * NS_PER_S, -1
    taker_delay = 0


def _tape(middles: list[tuple[int, int]], payout: int) -> np.ndarray:
    """Books of 500 shares a side around each middle (second, pips), told twice a second, and the resolution."""
    rows, at = [], dict(middles)
    middle, before = middles[0][1], ()
    for half in range(600):
        ts = NOW + half * NS_PER_S // 2
        middle = at.get(half // 2, middle) if half % 2 == 0 else middle
        now = ((middle - 100, Side.BUY), (middle + 100, Side.SELL))
        for price, side in before:
            if (price, side) not in now:
                rows.append({"kind": EventKind.LEVEL, "ts_recv": ts, "price": price, "side": side, "size": 0})
        for price, side in now:
            rows.append({"kind": EventKind.LEVEL, "ts_recv": ts, "price": price, "side": side, "size": 500 * MICRO})
        rows[-1]["flags"] = Flag.LAST
        if half % 10 == 0:
            trade = {"price": middle, "size": 2_000 * MICRO, "side": Side.BUY, "flags": Flag.LAST}
            rows.append({"kind": EventKind.TRADE, "ts_recv": ts} | trade)
        before = now
    end = {"kind": EventKind.RESOLUTION, "ts_recv": NOW + 301 * NS_PER_S, "price": payout, "flags": Flag.LAST}
    events = records(EVENT, len(rows) + 1)
    for i, row in enumerate([*rows, end]):
        for name, value in ({"seq": i} | row).items():
            events[i][name] = value
        events[i].ts_event = events[i].ts_recv
    return events


def _trade(events: np.ndarray, **params: Any):
    bots = [load_bot(b) for b in ("intel.orderflowanalyzer", "disc.marketscanner", BOT, "exec.smartrouter")]
    chosen = cases.SHORT | {"flow_weight": 0, "buy_no": "true"} | params
    pipeline = order_bots(
        [PipelineBot(b, MODE_ENFORCED, b.spec.kernel_params(chosen if b.id == BOT else None), False) for b in bots]
    )
    sink = Collected()
    wait = VenueModel(entry_latency=50 * NS_PER_MS, response_latency=50 * NS_PER_MS)
    run = simulate(events, [_Market()], pipeline, cash=1_000 * MICRO, interval=100 * NS_PER_MS, venue=wait, sink=sink)
    return run.state.account[0], run.state.positions[0], sink


RISE = [(0, 5_000), *((40 + k, 5_000 + 100 * k) for k in range(1, 11))]
"""0.50 for 40 s, then a cent a second up to 0.60."""


def _fills(sink: Collected) -> list[tuple[int, str, str, int, str]]:
    """(second, side, outcome, price, size in shares) of each fill."""
    orders = {int(a["order_id"]): a for a in sink.rows("actions") if a["kind"] == ActionKind.SUBMIT}
    events = sink.rows("events")
    return [
        (
            (int(f["ts_recv"]) - NOW) // NS_PER_S,
            Side(int(orders[int(f["aux"])]["side"])).name,
            Outcome(int(orders[int(f["aux"])]["outcome"])).name,
            int(f["price"]),
            f"{int(f['size']) / MICRO:g}",
        )
        for f in events[events["kind"] == EventKind.FILL_CONFIRMED]
    ]


def test_a_rise_is_bought_once_and_paid_at_resolution():
    # The move has to cover the cent to the ask, the cent of slippage and the half-spread of the way out.
    account, position, sink = _trade(_tape(RISE, ONE), exit_before_end_s=0, take_profit_pct=100, stop_loss_pct=100)
    fills = _fills(sink)
    assert [f[1:3] for f in fills] == [("BUY", "YES")] and 40 < fills[0][0] < 50
    paid = fills[0][3] * float(fills[0][4]) / ONE
    assert position.yes == 0 and account.cash == account.equity
    assert account.cash / MICRO == pytest.approx(1_000 - paid + float(fills[0][4]), abs=1e-6)


def test_a_rise_that_resolves_against_us_costs_what_was_paid():
    account, _, sink = _trade(_tape(RISE, 0), exit_before_end_s=0, take_profit_pct=100, stop_loss_pct=100)
    ((_, _, _, price, size),) = _fills(sink)
    assert account.cash / MICRO == pytest.approx(1_000 - price * float(size) / ONE, abs=1e-6)


def test_what_is_held_is_sold_before_the_close():
    _, position, sink = _trade(_tape(RISE, ONE), take_profit_pct=100, stop_loss_pct=100)
    fills = _fills(sink)
    assert [f[1] for f in fills] == ["BUY", "SELL"]
    assert fills[1][0] == 270 and position.yes == 0  # 30 s before the close


def test_a_turn_is_sold_once_and_not_bought_again_within_the_cooldown():
    fall = [*RISE, *((55 + k, 6_000 - 200 * k) for k in range(1, 16))]
    _, position, sink = _trade(_tape(fall, 0), buy_no="false")
    fills = _fills(sink)
    assert [f[1] for f in fills] == ["BUY", "SELL"]
    assert fills[1][0] - fills[0][0] < 20 and position.yes == 0
    sent = [a for a in sink.rows("actions") if a["kind"] == ActionKind.SUBMIT and a["flags"] == 0]
    assert len(sent) == 2  # one taking entry, one taking exit


def test_the_other_token_is_bought_on_a_fall_and_nothing_is_sold_that_is_not_held():
    fall = [(0, 6_000), *((40 + k, 6_000 - 100 * k) for k in range(1, 11))]
    _, position, sink = _trade(_tape(fall, 0), exit_before_end_s=0, take_profit_pct=100, stop_loss_pct=100)
    assert [f[1:3] for f in _fills(sink)] == [("BUY", "NO")]
    assert position.no == 0  # redeemed


def test_a_market_that_never_moves_is_never_traded():
    account, _, sink = _trade(_tape([(0, 5_000)], ONE))
    assert account.submits == 0 and not _fills(sink)
