"""Tables of a report, held against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hand import CASH, LATE, MARKET, RISK, RUNTIME, STRATEGY, T0, Hand, S, round_trip

from polytraders.errors import DataError
from polytraders.reasons import Code
from polytraders.report import analysis
from polytraders.report.analysis import Run, load, mean_markout
from polytraders.rows import EventKind, Flag, Outcome, Side, Verdict
from polytraders.store.ids import intent_id


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(round_trip().write(tmp_path / "r_trip", equity="1003.1624"))


def markout(run: Run, fill: int, horizon: int) -> int | None:
    """Half-pips, None when missing."""
    table = run.markouts
    value = table[(table["fill"] == fill) & (table["horizon"] == horizon)]["markout"].iloc[0]
    return None if value is pd.NA else int(value)


# ------------------------------------------------------------------------------------------------------ fills


def test_a_fill_is_told_in_integers_with_its_mid_and_cause(run: Run) -> None:
    first, second = run.fills.to_dict("records")
    assert (first["side"], first["outcome"], first["price"], first["size"]) == ("BUY", "YES", 4_000, 10_000_000)
    assert first["notional"] == 4_000_000
    # fee equivalent: 10 x 0.04 x 0.4 x 0.6 = 0.096; a quarter of it is rebated
    assert (first["fee"], first["rebate"]) == (0, 24_000)
    assert first["mid2"] == 8_200 and first["spread"] == 200  # bid + ask and ask - bid of .40/.42
    assert first["captured"] == 8_200 - 2 * 4_000  # one cent a share, in half-pips
    assert first["cause"] == "trade" and first["sign"] == 1
    assert first["intent"] == intent_id("r_trip", 1)
    assert (second["notional"], second["fee"], second["rebate"]) == (2_800_000, 61_600, 0)
    assert second["cause"] == "taker" and second["sign"] == -1  # NO bought is YES sold
    assert second["yes_price"] == 4_400 and second["captured"] == -(9_000 - 2 * 4_400)


def test_the_mid_before_a_fill_is_not_the_one_its_own_message_leaves(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.book(1, 3_800, 4_000)  # the level we stood on is gone in the same message that filled us
    hand.fill(1, 1, 4_000, 10_000_000)
    table = load(hand.write(tmp_path / "r")).fills
    assert table["mid2"].tolist() == [8_200]
    assert table["cause"].tolist() == ["book"]


def test_a_fill_caused_by_an_inferred_trade_says_so(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    flags = Flag.LAST | Flag.INFERRED
    hand.event(EventKind.TRADE, 1, price=4_000, size=10_000_000, side=Side.SELL, flags=flags)
    hand.fill(1, 1, 4_000, 10_000_000)
    run = load(hand.write(tmp_path / "r"))
    assert run.fills["cause"].tolist() == ["inferred trade"]
    assert analysis.trade_counts(run) == (1, 1)


def test_a_fill_without_a_two_sided_book_has_no_mid(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 0)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    run = load(hand.write(tmp_path / "r"))
    assert run.fills["mid2"].isna().all() and run.fills["captured"].isna().all()
    # never two-sided: valued at cost, so nothing is earned or lost
    assert run.pnl[["spread", "drift", "total"]].to_numpy().tolist() == [[0, 0, 6_000 * 4]]  # the rebate alone


def test_the_edge_of_a_fill_is_what_the_strategy_claimed_for_its_intent(tmp_path: Path) -> None:
    hand = round_trip()
    hand.decide(STRATEGY, Code.STRAT_MAKER_QUOTE_JOIN, corr=1, observed=12_500, limit=415_000)
    hand.decide(STRATEGY, Code.STRAT_RESHAPED_BY_RISK, corr=1, observed=7)
    table = load(hand.write(tmp_path / "r")).fills
    assert table["edge"].tolist() == [12_500, pd.NA]


def test_a_fill_of_an_order_that_was_never_sent_is_refused(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.fill(9, 1, 4_000, 10_000_000)
    with pytest.raises(DataError, match="did not send"):
        load(hand.write(tmp_path / "r")).fills  # noqa: B018


def test_a_run_without_events_is_refused(tmp_path: Path) -> None:
    hand = Hand()
    hand.sample(1, CASH)
    with pytest.raises(DataError, match="no events"):
        load(hand.write(tmp_path / "r"))


# --------------------------------------------------------------------------------------------------- markouts


def test_markouts_are_signed_by_our_side_in_yes_terms(run: Run) -> None:
    # bought at .40: mid .41 before, .39 at 2 s, .45 at 11 s
    assert [markout(run, 0, h) for h in (0, 1, 10)] == [200, -200, 1_000]
    # sold YES at .44 by buying NO at .56: mid .45 from 5 s to 20 s
    assert [markout(run, 1, h) for h in (0, 1, 10)] == [-200, -200, -200]


def test_a_resolution_inside_the_horizon_is_the_final_mid(run: Run) -> None:
    assert markout(run, 0, 60) == 2 * (10_000 - 4_000)
    assert markout(run, 1, 60) == -2 * (10_000 - 4_400)
    table = run.markouts
    assert table[table["resolved"]]["horizon"].unique().tolist() == [60]


def test_a_horizon_beyond_the_markets_data_is_missing_not_zero(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    hand.book(11, 4_000, 4_200)
    run = load(hand.write(tmp_path / "r"))
    assert [markout(run, 0, h) for h in (1, 10, 60)] == [200, 200, None]
    assert mean_markout(run.markouts, 60).n == 0


def test_a_horizon_inside_a_gap_is_missing(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    hand.book(5, 4_000, 4_200)
    hand.book(50, 4_400, 4_600, flags=Flag.GAP)
    hand.book(70, 4_400, 4_600)
    run = load(hand.write(tmp_path / "r"))
    assert [markout(run, 0, h) for h in (1, 10, 60)] == [200, None, 1_000]


def test_a_horizon_with_one_side_of_the_book_is_missing(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    hand.book(3, 4_000, 0)
    hand.book(30, 4_000, 4_200)
    run = load(hand.write(tmp_path / "r"))
    assert [markout(run, 0, h) for h in (1, 10)] == [200, None]


def test_fills_in_one_stretch_count_as_one_observation_of_the_error() -> None:
    table = pd.DataFrame(
        {
            "horizon": [10] * 4,
            "market": [0, 0, 0, 0],
            "venue_ts": [0, 1 * S, 10 * S, 11 * S],
            "markout": pd.array([100, 100, -100, -100], "Int64"),
        }
    )
    mean = mean_markout(table, 10)
    # two stretches of sum +-200 about a mean of 0: sqrt((200^2 + 200^2) x 2/1) / 4 = 100
    assert (mean.n, mean.clusters, mean.mean, mean.error) == (4, 2, 0.0, 100.0)


def test_the_error_of_a_single_stretch_is_not_told() -> None:
    table = pd.DataFrame(
        {"horizon": [1], "market": [0], "venue_ts": [0], "markout": pd.array([100], "Int64")},
    )
    mean = mean_markout(table, 1)
    assert mean.n == 1 and mean.mean == 100.0 and mean.error != mean.error


# ------------------------------------------------------------------------------------------- profit and loss


def test_the_parts_of_the_profit_are_those_worked_out_by_hand(run: Run) -> None:
    line = run.pnl.to_dict("records")[0]
    # 10 x (.41 - .40) for the maker fill, 5 x (.55 - .56) for the taker fill
    assert line["spread"] == 100_000 - 50_000
    # 10 YES from .41 to .45 before the second fill; no move after it
    assert line["drift"] == 400_000
    # YES 10 x (1 - .45), NO 5 x (0 - .55)
    assert line["settlement"] == 5_500_000 - 2_750_000
    assert (line["fees"], line["rebates"]) == (-61_600, 24_000)
    # cash: -4 - 2.8 - .0616 + 10, and the rebate
    assert line["total"] == 3_138_400 + 24_000
    assert (line["yes"], line["no"], line["marked"]) == (0, 0, 0)
    assert analysis.final_equity(run) == CASH + 3_162_400


def test_the_residual_is_zero_and_shows_a_summary_that_says_something_else(run: Run, tmp_path: Path) -> None:
    assert analysis.residual(run) == 0
    assert analysis.residual(load(round_trip().write(tmp_path / "r_other", equity="1003.162401"))) == 1
    assert analysis.residual(load(round_trip().write(tmp_path / "r_open"))) is None


def test_an_open_position_is_marked_to_the_last_two_sided_mid(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    hand.book(2, 4_300, 4_500)
    hand.book(3, 4_300, 0)
    line = load(hand.write(tmp_path / "r")).pnl.to_dict("records")[0]
    assert (line["spread"], line["drift"], line["marked"], line["cost"]) == (100_000, 300_000, 4_400_000, 4_000_000)
    assert line["yes"] == 10_000_000


def test_a_fill_that_arrives_after_the_resolution_is_settled_at_once(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.event(EventKind.RESOLUTION, 1, price=10_000)
    hand.fill(1, 0.99, 4_000, 10_000_000)
    run = load(hand.write(tmp_path / "r"))
    line = run.pnl.to_dict("records")[0]
    assert (line["spread"], line["settlement"], line["yes"]) == (100_000, 5_900_000, 0)
    assert run.positions["net"].tolist() == [0, 0]  # settled; never held


def event_of_three(equity: str, tmp_path: Path, **after: float) -> Run:
    """NO of two outcomes of a neg-risk event, bought at .58 and .69 against mids of .59 and .70, converted at 3 s into
    cash and YES of the third, whose mid is .25. after: s at which market 0 resolves to NO, else never."""
    hand = Hand(3)
    hand.markets = [market | {"neg_risk": True, "event_id": "e"} for market in hand.markets]
    hand.book(0, 4_000, 4_200, market=0)
    hand.book(0, 2_800, 3_200, market=1)
    hand.book(0, 2_400, 2_600, market=2)
    for market, price in ((0, 5_800), (1, 6_900)):
        hand.order(market + 1, 0.1, Outcome.NO, Side.BUY, price, 10_000_000, market=market)
        hand.fill(market + 1, 1, price, 10_000_000, market=market)
    if "resolves" in after:
        hand.event(EventKind.RESOLUTION, after["resolves"], market=0, price=0)
    hand.event(EventKind.CONVERT, 3, market=0, price=0b011, size=10_000_000)
    hand.event(EventKind.RESOLUTION, 20, market=2, price=10_000)
    return load(hand.write(tmp_path / "r", equity=equity))


def test_a_conversion_moves_value_between_markets_and_its_own_profit_is_told_once(tmp_path: Path) -> None:
    run = event_of_three("1007.34575", tmp_path)
    # rebates: 10 x .04 x .58 x .42 / 4 = .02436 and 10 x .04 x .69 x .31 / 4 = .02139
    # given at mid: 5.90 + 7.00 = 12.90; got: 10.00 and 10 YES at .25 = 12.50: a loss of .40, in the market it was for
    first, second, third = run.pnl.to_dict("records")
    assert (first["spread"], first["drift"], first["total"]) == (100_000 - 400_000, 0, -300_000 + 24_360)
    assert (second["spread"], second["total"]) == (100_000, 100_000 + 21_390)
    assert (third["spread"], third["settlement"], third["total"]) == (0, 7_500_000, 7_500_000)
    # 1000 - 5.80 - 6.90 + 10 (converted) + 10 (YES of the third won) + .04575
    assert analysis.final_equity(run) == 1_007_345_750 and analysis.residual(run) == 0
    held = run.positions[["market", "yes", "no"]].to_numpy().tolist()
    assert held == [[0, 0, 10**7], [1, 0, 10**7], [0, 0, 0], [1, 0, 0], [2, 10**7, 0], [2, 0, 0]]


def test_a_conversion_that_a_resolution_overtook_pays_back_what_its_shares_were_paid(tmp_path: Path) -> None:
    """Market 0 pays 10.00 for NO that turns out to be converted already: the end is the same."""
    run = event_of_three("1007.34575", tmp_path, resolves=2)
    assert analysis.final_equity(run) == 1_007_345_750 and analysis.residual(run) == 0
    assert run.pnl["no"].tolist() == [0, 0, 0]


def test_selling_what_is_held_earns_the_same_way(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    hand.order(2, 1.2, Outcome.YES, Side.SELL, 4_200, 4_000_000)
    hand.fill(2, 2, 4_200, 4_000_000)
    run = load(hand.write(tmp_path / "r"))
    line = run.pnl.to_dict("records")[0]
    assert (line["spread"], line["drift"], line["yes"]) == (100_000 + 40_000, 0, 6_000_000)
    assert line["cost"] == 2_400_000
    assert run.positions["net"].tolist() == [10_000_000, 6_000_000]


def test_equity_begins_with_the_deposits_and_ends_with_the_result(tmp_path: Path) -> None:
    hand = round_trip()
    hand.sample(2, CASH + 5_000_000)
    hand.sample(3, CASH + 1_000_000)
    table = load(hand.write(tmp_path / "r")).equity
    assert table["equity"].tolist() == [CASH, CASH + 5_000_000, CASH + 1_000_000, CASH + 3_162_400]
    assert table["drawdown"].tolist() == [0, 0, 4_000_000, 5_000_000 - 3_162_400]
    assert table["ts"].iloc[0] == T0 + LATE


def test_holdings_end_with_the_resolution(run: Run) -> None:
    assert run.positions[["yes", "no", "net"]].to_numpy().tolist() == [
        [10_000_000, 0, 10_000_000],
        [10_000_000, 5_000_000, 5_000_000],
        [0, 0, 0],
    ]


def test_fees_switched_off_mean_no_rebates_either(tmp_path: Path) -> None:
    hand = round_trip(models={"queue": "risk_averse", "fees": "none"})
    assert load(hand.write(tmp_path / "r")).fills["rebate"].sum() == 0


# ----------------------------------------------------------------------------------------------------- orders


def test_what_became_of_each_order_is_told(tmp_path: Path) -> None:
    hand = round_trip()
    hand.order(3, 7, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.event(EventKind.ORDER_REJECT, 7.1, aux=3, size=Code.EXEC_POST_ONLY_CROSSED)
    hand.order(4, 8, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.event(EventKind.ORDER_ACK, 8.05, aux=4)
    hand.fill(4, 8.5, 4_000, 2_500_000)
    hand.cancel(4, 9)
    hand.event(EventKind.CANCEL, 9.05, aux=4, size=Code.EXEC_CANCELLED)
    hand.order(5, 10, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    run = load(hand.write(tmp_path / "r"))
    assert run.orders["state"].tolist() == ["filled", "filled", "rejected", "cancelled", "open"]
    stats = analysis.order_statistics(run)
    assert (stats["sent"], stats["accepted"], stats["rejected"], stats["open"]) == (5, 2, 1, 1)
    assert (stats["filled"], stats["partly"], stats["touched"], stats["cancelled"]) == (2, 1, 3, 1)
    assert stats["by_code"] == {"EXEC_POST_ONLY_CROSSED": 1}
    assert stats["fill_ratio"] == (10 + 5 + 2.5) / 45
    assert (stats["fills"], stats["maker_fills"]) == (3, 2)
    # first fill: 1.05 - .1 = .95, 6.05 - 5.5 = .55, 8.55 - 8 = .55 s
    assert stats["fill_ns"] == 550_000_000
    # acks of orders 1 and 4: .25 - .1 = .15, 8.1 - 8 = .1 s
    assert stats["ack_ns"] == 125_000_000


def test_a_run_without_orders_has_empty_tables(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    run = load(hand.write(tmp_path / "r"))
    assert len(run.fills) == len(run.pnl) == len(run.orders) == len(run.markouts) == len(run.positions) == 0
    assert analysis.order_statistics(run)["fill_ratio"] is None
    assert analysis.final_equity(run) == CASH


# -------------------------------------------------------------------------------------------------- decisions


def counted(run: Run, bot: str) -> dict[str, int]:
    table = run.reasons[run.reasons["bot"] == bot]
    return dict(zip(table["code"], table["decisions"], strict=True))


def test_repeats_belong_to_the_reason_before(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.decide(STRATEGY, Code.STRAT_MAKER_QUOTE_JOIN, slot=8)
    hand.decide(STRATEGY, Code.STRAT_MAKER_NOT_CANDIDATE, slot=8, repeats=3)
    run = load(hand.write(tmp_path / "r"))
    assert counted(run, "strat.maker_tight") == {"STRAT_MAKER_QUOTE_JOIN": 4, "STRAT_MAKER_NOT_CANDIDATE": 1}


def test_a_flush_row_counts_its_repeats_and_not_itself(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.decide(RISK, Code.RISK_TRADING_ALLOWED, corr=1, verdict=Verdict.APPROVE)
    hand.decide(RISK, Code.RISK_TRADING_ALLOWED, corr=0, verdict=Verdict.APPROVE, repeats=5)
    run = load(hand.write(tmp_path / "r"))
    assert counted(run, "risk.killswitch") == {"RISK_TRADING_ALLOWED": 6}
    assert run.reasons["written"].tolist() == [1]


def test_a_row_written_because_its_intent_acted_counts_itself(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.decide(RISK, Code.RISK_TRADING_ALLOWED, corr=1, verdict=Verdict.APPROVE)
    hand.decide(RISK, Code.RISK_TRADING_ALLOWED, corr=2, verdict=Verdict.APPROVE, repeats=5)
    assert counted(load(hand.write(tmp_path / "r")), "risk.killswitch") == {"RISK_TRADING_ALLOWED": 7}


def test_repeats_do_not_cross_slots_markets_or_bots(tmp_path: Path) -> None:
    hand = Hand(markets=2)
    hand.book(0, 4_000, 4_200)
    hand.decide(RISK, Code.RISK_TRADING_ALLOWED, corr=1, verdict=Verdict.APPROVE, slot=0)
    hand.decide(RISK, Code.RISK_KILL_SWITCH_ACTIVE, corr=2, verdict=Verdict.REJECT, slot=4)
    hand.decide(RUNTIME, Code.EXEC_SUBMITTED, corr=1)
    hand.decide(RISK, Code.RISK_KILL_SWITCH_ACTIVE, corr=3, verdict=Verdict.REJECT, slot=4, market=1)
    hand.decide(RISK, Code.RISK_KILL_SWITCH_ACTIVE, corr=4, verdict=Verdict.REJECT, slot=0, repeats=2)
    hand.decide(RISK, Code.RISK_TRADING_ALLOWED, corr=5, verdict=Verdict.APPROVE, slot=4, repeats=10)
    run = load(hand.write(tmp_path / "r"))
    assert counted(run, "risk.killswitch") == {"RISK_KILL_SWITCH_ACTIVE": 3 + 10, "RISK_TRADING_ALLOWED": 2 + 2}
    assert counted(run, "exec.runtime") == {"EXEC_SUBMITTED": 1}


def test_quality_names_every_problem_of_an_import() -> None:
    from polytraders.data.quality import Problem

    assert set(analysis._MEANING) == {str(kind) for kind in Problem}


def test_a_market_without_a_slug_is_called_by_its_question(tmp_path: Path) -> None:
    hand = Hand()
    hand.markets = [MARKET | {"condition_id": "0x" + "ab" * 32, "slug": "", "question": "Will it rain?"}]
    hand.book(0, 4_000, 4_200)
    assert load(hand.write(tmp_path / "r")).name(0) == "Will it rain?"
