"""Liquidity rewards and rebate days, on runs made by hand; S(1 cent) of 4.5 = (3.5 / 4.5)^2 = 0.604938."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from hand import T0, Hand, S
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.data.markets import facts_from
from polytraders.report import panels, rewards
from polytraders.report.analysis import Run, load
from polytraders.report.findings import findings
from polytraders.report.rewards import Terms, estimates, maker_score, order_scores, others_range, rebate_days
from polytraders.rows import EventKind, Flag, Outcome, Side
from polytraders.units import MICRO, NS_PER_DAY

NEAR = (3.5 / 4.5) ** 2
DAY = Terms(20 * MICRO, 450, pool=144 * MICRO)
"""144 pUSD a day are 0.10 a minute."""


def quoting(*orders: tuple[Outcome, int, int], bid: int = 4_900, ask: int = 5_100, end: float = 600.0, **more) -> Hand:
    """A book of 100 shares a side from 0 s to `end`, and our buys (outcome, price, shares) resting from 0.2 s on."""
    hand = Hand(**more)
    hand.book(0, bid, ask)
    for number, (outcome, price, shares) in enumerate(orders, start=1):
        hand.order(number, 0.1, outcome, Side.BUY, price, shares * MICRO)
        hand.event(EventKind.ORDER_ACK, 0.2, aux=number)
    hand.book(end, bid, ask)
    return hand


def read(hand: Hand, folder: Path) -> Run:
    return load(hand.write(folder / "r_hand", equity="1000"))


BOTH = ((Outcome.YES, 4_900, 50), (Outcome.NO, 4_900, 50))


def test_an_order_scores_by_the_square_of_its_nearness():
    # 0, 1, 2.25, 4.5 and 5 cents away of at most 4.5: 1, 0.6049, 0.25, 0, 0; half-pips
    found = order_scores(np.array([0, 200, 450, 900, 1_000]), 450)
    assert found == pytest.approx([1, NEAR, 0.25, 0, 0])


def test_a_maker_scores_by_its_weaker_side_and_a_third_of_its_stronger():
    q = np.array
    # balanced: 30; one side only: 30 / 3; at the edges of the price range: nothing for one side
    assert maker_score(q([30.0]), q([30.0]), q([False]), 3) == 30
    assert maker_score(q([30.0]), q([0.0]), q([False]), 3) == 10
    assert maker_score(q([30.0]), q([0.0]), q([True]), 3) == 0
    assert maker_score(q([30.0]), q([20.0]), q([False]), 3) == 20


def test_the_others_score_between_makers_quoting_three_to_one_and_makers_quoting_alike():
    # 60 and 60: alike one maker scores 60; 45:15 and 15:45 score 15 each
    least, most = others_range(np.array([60.0]), np.array([60.0]), np.array([False]), 3)
    assert (least[0], most[0]) == (30, 60)
    # 60 and 0: 20 however it is divided
    least, most = others_range(np.array([60.0]), np.array([0.0]), np.array([False]), 3)
    assert (least[0], most[0]) == (20, 20)
    # at the edges: nothing if each quotes one side
    least, most = others_range(np.array([60.0]), np.array([40.0]), np.array([True]), 3)
    assert (least[0], most[0]) == (0, 40)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=6), st.booleans())
def test_no_division_of_the_book_among_makers_scores_outside_of_the_range(makers, edge):
    q1, q2 = (np.array([float(sum(m[side] for m in makers))]) for side in (0, 1))
    both = np.array([edge])
    scores = [maker_score(np.array([float(a)]), np.array([float(b)]), both, 3)[0] for a, b in makers]
    least, most = others_range(q1, q2, both, 3)
    assert least[0] - 1e-9 <= sum(scores) <= most[0] + 1e-9


def test_quotes_on_both_sides_share_the_pool_by_their_size(tmp_path: Path):
    """Ours 50 against 100 a side, all a cent away. Others as one maker or alike: 1/3; three to one: 1/2."""
    (found,) = estimates(read(quoting(*BOTH), tmp_path), {0: DAY})
    assert found.share == pytest.approx(1 / 3) and found.low == pytest.approx(1 / 3)
    assert found.high == pytest.approx(1 / 2) and found.quoted == 1 and found.error == pytest.approx(0)
    assert found.minutes == 10  # 600 s
    # ten minutes of 0.10 pUSD
    assert [found.pusd(x) for x in (found.low, found.share, found.high)] == [333_333, 333_333, 500_000]


def test_one_side_alone_scores_a_third(tmp_path: Path):
    """Q1 = 50 x 0.6049, nothing on the other side: a third of it against the others' 100 x 0.6049: 1/7."""
    (found,) = estimates(read(quoting(BOTH[0]), tmp_path), {0: DAY})
    assert found.share == pytest.approx((50 / 3) / (50 / 3 + 100))


def test_one_side_alone_scores_nothing_near_the_edges(tmp_path: Path):
    one = quoting((Outcome.YES, 400, 50), bid=400, ask=600)  # mid 0.05
    assert estimates(read(one, tmp_path / "a"), {0: DAY})[0].share == 0
    two = quoting((Outcome.YES, 400, 50), (Outcome.NO, 9_400, 50), bid=400, ask=600)
    found = estimates(read(two, tmp_path / "b"), {0: DAY})[0]
    assert found.share == pytest.approx(1 / 3) and found.high == 1


@pytest.mark.parametrize("shares", [19, 20])
def test_an_order_below_the_smallest_size_does_not_score(tmp_path: Path, shares: int):
    (found,) = estimates(read(quoting((Outcome.YES, 4_900, shares)), tmp_path), {0: DAY})
    assert (found.quoted > 0) == (shares == 20)


def test_our_own_quote_inside_the_spread_moves_the_mid(tmp_path: Path):
    """Book 0.47 / 0.53, our bid 0.49: mid 0.51, so our bid is 2 cents away, their bid 4 and their ask 2."""
    (found,) = estimates(read(quoting((Outcome.YES, 4_900, 60), bid=4_700, ask=5_300), tmp_path), {0: DAY})
    ours = 60 * (2.5 / 4.5) ** 2 / 3
    q1, q2 = 100 * (0.5 / 4.5) ** 2, 100 * (2.5 / 4.5) ** 2
    assert found.share == pytest.approx(ours / (ours + max(min(q1, q2), q2 / 3)))


def test_an_order_scores_from_its_rest_on_until_it_is_gone(tmp_path: Path):
    hand = quoting()
    hand.events.pop()
    hand.events.pop()
    hand.events.pop()  # the closing book comes last
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_900, 50 * MICRO)
    hand.event(EventKind.ORDER_ACK, 0.2, aux=1)
    hand.event(EventKind.CANCEL, 300, aux=1)
    hand.book(600, 4_900, 5_100)
    run = read(hand, tmp_path)
    part = rewards.samples(run, {0: DAY})
    assert ((part["ours"] > 0) == (part["ts"] < T0 + 300 * S)).all() and 4 <= (part["ours"] > 0).sum() <= 6
    rested = rewards.samples(run, {0: DAY._replace(min_rest=120 * S)})
    scoring = rested["ts"][rested["ours"] > 0] - T0
    assert (scoring >= 120.2 * S).all() and (scoring < 300 * S).all() and len(scoring) >= 2


def test_a_fill_leaves_less_to_score(tmp_path: Path):
    hand = Hand()
    hand.book(0, 4_900, 5_100)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_900, 50 * MICRO)
    hand.event(EventKind.ORDER_ACK, 0.2, aux=1)
    hand.fill(1, 300, 4_900, 20 * MICRO)
    hand.book(600, 4_900, 5_100)
    part = rewards.samples(read(hand, tmp_path), {0: DAY})
    after = part["ts"] >= T0 + 300 * S
    assert part["ours"][~after].to_numpy() == pytest.approx(50 * NEAR / 3)
    assert part["ours"][after].to_numpy() == pytest.approx(30 * NEAR / 3)


def test_minutes_without_data_or_without_two_sides_are_no_samples(tmp_path: Path):
    hand = Hand()
    hand.book(0, 4_900, 5_100)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_900, 50 * MICRO)
    hand.event(EventKind.ORDER_ACK, 0.2, aux=1)
    hand.book(180, 4_900, 0)  # one-sided from 180 s to 240 s, then a gap until 420 s
    hand.book(240, 4_900, 5_100)
    hand.book(420, 4_900, 5_100, flags=Flag.GAP)
    hand.book(600, 4_900, 5_100)
    seconds = (rewards.samples(read(hand, tmp_path), {0: DAY})["ts"] - T0) / S
    assert len(seconds) and not ((seconds >= 180) & (seconds < 420)).any()


def test_after_the_resolution_nothing_is_scored(tmp_path: Path):
    hand = quoting(*BOTH)
    hand.event(EventKind.RESOLUTION, 700, price=10_000)
    hand.book(900, 4_900, 5_100)
    assert rewards.samples(read(hand, tmp_path), {0: DAY})["ts"].max() < T0 + 700 * S


def test_the_moments_are_the_seeds_and_one_a_minute():
    at = rewards.sample_times(T0, T0 + 3_600 * S, 1)
    minutes = at // (60 * S)
    assert 59 <= len(at) <= 61 and len(set(minutes)) == len(at)
    assert (at == rewards.sample_times(T0, T0 + 3_600 * S, 1)).all()
    assert (at != rewards.sample_times(T0, T0 + 3_600 * S, 2)[: len(at)]).any()


def test_terms_are_the_markets_own_where_it_tells_them(tmp_path: Path):
    assert estimates(read(quoting(*BOTH), tmp_path / "a"))[0].terms_known is False
    told = quoting(*BOTH)
    told.markets[0] |= {"reward_pool": 288 * MICRO, "reward_min_size": 50 * MICRO, "reward_max_spread": 200}
    (found,) = estimates(read(told, tmp_path / "b"))
    assert found.terms_known and found.pool == 288 * MICRO and found.share == pytest.approx(1 / 3)


def test_both_spellings_of_a_markets_rewards_are_read():
    clob = {"condition_id": "0x1", "rewards": {"rates": [{"rewards_daily_rate": 5}], "min_size": 50, "max_spread": 4.5}}
    gamma = {
        "conditionId": "0x1",
        "rewardsMinSize": 20,
        "rewardsMaxSpread": 3.5,
        "clobRewards": [{"rewardsDailyRate": 2}],
    }
    for record, told in ((clob, (5 * MICRO, 50 * MICRO, 450)), (gamma, (2 * MICRO, 20 * MICRO, 350))):
        facts = facts_from(record)
        assert facts is not None and facts.rewards == told


def test_the_range_holds_the_estimate_on_random_runs(tmp_path: Path):
    scored = 0
    for seed in range(4):
        toy.write_run(tmp_path / f"r_{seed}", seed)
        for found in estimates(load(tmp_path / f"r_{seed}"), {m: Terms(5 * MICRO, 450) for m in (0, 1)}):
            assert 0 <= found.low <= found.share <= found.high <= 1
            scored += found.quoted > 0
    assert scored


def rebated(folder: Path, *sizes: int) -> Run:
    """One maker fill at 0.50 a day: the fee on 100 shares is 0.04 x 100 x 0.25 = 1.00, of which a maker gets 25 %.
    The days are those of spring 2026, when rebates began."""
    hand = Hand()
    hand.book(0, 4_900, 5_100)
    for day, shares in enumerate(sizes):
        at = (200 + day) * NS_PER_DAY / S + 1
        hand.order(day + 1, at, Outcome.YES, Side.BUY, 5_000, shares * MICRO)
        hand.event(EventKind.ORDER_ACK, at + 0.1, aux=day + 1)
        hand.fill(day + 1, at + 0.2, 5_000, shares * MICRO)
    return load(hand.write(folder / "r_hand", equity="1000"))


def test_rebates_of_a_day_below_one_pusd_are_not_paid(tmp_path: Path):
    run = rebated(tmp_path, 400, 399, 1_000)  # 1.00, 0.9975, 2.50
    days = rebate_days(run)
    assert days["accrued"].tolist() == [1_000_000, 997_500, 2_500_000]
    assert days["paid"].tolist() == [1_000_000, 0, 2_500_000]
    assert any("0.9975 pUSD of the rebates" in finding.text for finding in findings(run))


def test_the_panels_say_that_rewards_are_an_estimate_and_which_rules_changed(tmp_path: Path):
    rule = {"rule": "fees", "category": "crypto", "ts": T0, "before": "rate 0.07", "after": "rate 0.05", "why": "docs"}
    hand = quoting(*BOTH, rules=[rule | {"markets": 3, "at": ""}])
    run = read(hand, tmp_path)
    told = panels.beside(run).html
    assert "33.3 %" in told and "between 33.3 % and 50.0 %" in told and "An estimate" in told
    changed = panels.rules(run).html
    assert "1 rule" in changed and "rate 0.05" in changed and "fee schedule" in changed
    assert any("fees of crypto markets" in finding.text for finding in findings(run))
    quiet = read(quoting(), tmp_path / "quiet")
    assert "No rule" in panels.rules(quiet).html and "No liquidity rewards" in panels.beside(quiet).html
