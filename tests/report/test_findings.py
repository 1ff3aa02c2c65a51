"""The sentences at the top of a report: true by the numbers, and there when they are needed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from hand import LATE, RISK, STRATEGY, T0, Hand, S, round_trip
from rich.console import Console

from polytraders.reasons import Code
from polytraders.report.analysis import Run, load
from polytraders.report.findings import Finding, findings, sentences
from polytraders.report.text import summary, summary_text
from polytraders.rows import EventKind, Flag, Outcome, Side, Verdict


def found(run: Run, words: str) -> list[Finding]:
    return [finding for finding in findings(run) if words in finding.text]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(round_trip().write(tmp_path / "r_trip", equity="1003.1624"))


def test_there_are_five_sentences_and_the_first_says_what_kind_of_run_it_is(run: Run) -> None:
    told = sentences(run)
    assert len(told) == 5
    assert "backtest, not a track record" in told[0]
    assert "1,000.00 to 1,003.16 pUSD, +3.16 pUSD or 0.32 %" in told[1]
    for part in (
        "+0.05 came from spread",
        "+0.40 from prices",
        "+2.75 from settlement",
        "−0.06 from fees",
        "+0.02 from",
    ):
        assert part in told[2]
    assert "2 orders sent, 100.0 % of their shares filled: 2 fills for 6.80 pUSD" in told[3]
    # ten seconds later: +5 cents on one fill, -1 on the other
    assert "+2.00 cents to us on average (n = 2), too few" in told[4]


def test_the_error_is_told_when_there_are_stretches_enough(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    for k in range(12):  # every 20 s a fill, after which the mid goes up and down by two cents in turn
        hand.order(k + 1, 20 * k + 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
        hand.fill(k + 1, 20 * k + 1, 4_000, 10_000_000)
        bid = 3_900 if k % 2 else 4_100
        hand.book(20 * k + 3, bid, bid + 200)
        hand.book(20 * k + 15, 4_000, 4_200)
    run = load(hand.write(tmp_path / "r", equity="1000"))
    # 6 markouts of +2 cents, 6 of 0: sqrt(12 x 1 x 12/11) / 12 = 0.30
    assert "+1.00 cents to us on average (n = 12, standard error 0.30), told apart from zero" in sentences(run)[4]


def test_sentences_of_a_run_without_a_fill_claim_nothing(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    run = load(hand.write(tmp_path / "r", equity="1000"))
    assert "says nothing about edge" in sentences(run)[4]
    assert found(run, "there is no result to judge")[0].level == "stop"


def test_few_fills_are_named_with_their_number_and_error(run: Run) -> None:
    (finding,) = found(run, "too few to judge")
    assert finding.text.startswith("Only 2 fills") and "n = 2, no error to be told" in finding.text


def test_the_gravest_finding_comes_first(tmp_path: Path) -> None:
    run = load(round_trip().write(tmp_path / "r", equity="999"))
    levels = [finding.level for finding in findings(run)]
    assert levels == sorted(levels, key=["stop", "care", "note"].index)
    assert "defect" in findings(run)[0].text


def test_a_run_that_closes_does_not_speak_of_a_defect(run: Run) -> None:
    assert not found(run, "defect")


def test_inferred_trades_are_named_with_the_fills_that_rest_on_them(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    flags = Flag.LAST | Flag.INFERRED
    hand.event(EventKind.TRADE, 1, price=4_000, size=10_000_000, side=Side.SELL, flags=flags)
    hand.event(EventKind.TRADE, 3, price=4_000, size=10_000_000, side=Side.SELL)
    hand.fill(1, 1, 4_000, 10_000_000)
    (finding,) = found(load(hand.write(tmp_path / "r", equity="1000")), "inferred")
    assert "50.0 % of the 2 trades" in finding.text and "100.0 % of the fills rest on them" in finding.text


def test_recorded_trades_are_not_called_inferred(run: Run) -> None:
    assert not found(run, "inferred")


def test_assumed_fee_terms_are_named_with_what_they_make_up(tmp_path: Path) -> None:
    hand = round_trip()
    assert not found(load(hand.write(tmp_path / "r_known", equity="1003.1624")), "assumed")
    hand.markets[0] |= {"assumed": ["fee_rate"]}
    (finding,) = found(load(hand.write(tmp_path / "r", equity="1003.1624")), "assumed")
    assert "1 of 1 market" in finding.text and "−0.04 pUSD" in finding.text  # .024 - .0616


def test_fees_switched_off_stop_the_reader(tmp_path: Path) -> None:
    run = load(round_trip(models={"fees": "none"}).write(tmp_path / "r", equity="1003.1384"))
    assert found(run, "switched off")[0].level == "stop"


def test_a_tripped_kill_switch_stops_the_reader_and_says_when(tmp_path: Path) -> None:
    hand = round_trip()
    code = Code.RISK_DRAWDOWN_BREACH
    hand.decide(RISK, code, at=8, corr=3, verdict=Verdict.REJECT)
    run = load(hand.write(tmp_path / "r", equity="1003.1624", halted=int(code)))
    (finding,) = found(run, "kill switch tripped")
    assert finding.level == "stop" and "remaining 12 s" in finding.text


def test_positions_marked_to_mid_are_named_with_what_is_unrealised(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    run = load(hand.write(tmp_path / "r", equity="1000.124"))
    (finding,) = found(run, "did not resolve")
    assert "4.10 pUSD in all, +0.10 of it unrealised, in a result of +0.12" in finding.text
    settled = load(round_trip().write(tmp_path / "r_settled", equity="1003.1624"))
    assert not found(settled, "did not resolve")


def test_adverse_selection_is_held_against_the_half_spread(tmp_path: Path) -> None:
    def run(name: str, bid: int, ask: int) -> Run:
        hand = Hand()
        hand.book(0, 4_000, 4_200)
        hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
        hand.fill(1, 1, 4_000, 10_000_000)
        hand.book(5, bid, ask)
        hand.book(30, bid, ask)
        return load(hand.write(tmp_path / name, equity="1000"))

    (worse,) = found(run("r_1", 3_800, 4_000), "Adverse selection")
    assert (
        worse.level == "care" and "more than the half spread" in worse.text and "ten seconds later −1.00" in worse.text
    )
    (some,) = found(run("r_2", 3_900, 4_200), "Adverse selection")
    assert some.level == "note" and "50 % of the half spread" in some.text
    assert not found(run("r_3", 4_300, 4_500), "Adverse selection")


def test_rejects_and_denials_are_told_apart(tmp_path: Path) -> None:
    hand = round_trip()
    hand.order(3, 7, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.event(EventKind.ORDER_REJECT, 7.1, aux=3, size=Code.EXEC_POST_ONLY_CROSSED)
    hand.decide(RISK, Code.RISK_STALE_BOOK, at=8, corr=4, verdict=Verdict.REJECT)
    run = load(hand.write(tmp_path / "r", equity="1003.1624"))
    assert "The venue rejected 1 order (33.3 %)" in found(run, "rejected")[0].text
    assert "deny 1 time, most often with RISK_STALE_BOOK" in found(run, "deny")[0].text


def test_hand_picked_markets_and_a_short_session_are_named(tmp_path: Path) -> None:
    pins = {"recording": "by-hand", "files": {}, "markets": ["0x00"]}
    run = load(round_trip(pins=pins).write(tmp_path / "r", equity="1003.1624"))
    assert found(run, "picked by hand") and found(run, "The data covers 20 s of one day")


def test_made_up_data_stops_the_reader(made_up_run: Path, run: Run) -> None:
    told = load(made_up_run)
    assert found(told, "made up by a seeded simulator")[0].level == "stop"
    assert "4 made-up markets" in sentences(told)[0]
    assert not found(run, "made up")


def test_gaps_of_the_recording_are_named(tmp_path: Path) -> None:
    run = load(round_trip(quality={"gap": 2}).write(tmp_path / "r", equity="1003.1624"))
    assert found(run, "2 gaps")


def test_missing_markouts_are_named(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.fill(1, 1, 4_000, 10_000_000)
    run = load(hand.write(tmp_path / "r", equity="1000"))
    (finding,) = found(run, "markouts are missing")
    assert finding.level == "care" and finding.text.startswith("100.0 %")


def test_a_parameter_beyond_its_warning_is_named(tmp_path: Path) -> None:
    hand = round_trip()
    hand.decide(STRATEGY, Code.STRAT_MAKER_QUOTE_JOIN, warned=1)
    run = load(hand.write(tmp_path / "r", equity="1003.1624"))
    assert found(run, "strat.maker_tight ran with a parameter beyond its warning")


def test_a_run_that_was_cut_off_says_so(tmp_path: Path) -> None:
    run = load(round_trip().write(tmp_path / "r"))
    assert found(run, "never closed")[0].level == "stop"
    assert run.log_hash == ""


def test_nothing_in_the_words_praises(made_up_run: Path) -> None:
    run = load(made_up_run)
    words = " ".join([*sentences(run), *(finding.text for finding in findings(run))]).lower()
    assert not [
        word for word in ("profitable", "excellent", "strong", "alpha", "sharpe", "outperform") if word in words
    ]


def test_the_summary_for_programs_holds_money_as_text(run: Run) -> None:
    told = summary(run)
    assert told["pnl"] == "3.1624" and told["parts"]["settlement"] == "2.75"
    assert told["markouts"]["10s"] == {"n": 2, "cents": 2.0, "standard_error": None}
    assert told["markouts"]["1s"] == {"n": 2, "cents": -1.0, "standard_error": 0.0}
    assert told["log_hash"] == run.log_hash != ""
    assert T0 + LATE == run.start and run.end - run.start == 20 * S


def test_the_terminal_summary_has_sentences_findings_and_markets(run: Run) -> None:
    written = StringIO()
    Console(width=120, file=written).print(summary_text(run))
    text = written.getvalue()
    assert "BACKTEST" in text and "Only 2 fills" in text and "market-0" in text and "+3.16" in text


def test_voided_and_unconfirmed_fills_are_told(tmp_path: Path) -> None:
    # three fills of 10 at 0.40: one confirmed, one voided, one still open at the end; two stand
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    for order in (1, 2, 3):
        hand.order(order, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
        told = {"aux": order, "price": 4_000, "size": 10_000_000, "flags": Flag.LAST | Flag.MAKER}
        hand.event(EventKind.FILL_PROVISIONAL, order, **told)
    for order, kind in ((1, EventKind.FILL_CONFIRMED), (2, EventKind.FILL_VOIDED)):
        told = {"aux": order, "price": 4_000, "size": 10_000_000, "flags": Flag.LAST | Flag.MAKER}
        hand.event(kind, 5 + order, **told)
    run = load(hand.write(tmp_path / "r"))
    assert run.fills["order_id"].tolist() == [1, 3] and run.fills["ts"].tolist() == [T0 + S + LATE, T0 + 3 * S + LATE]
    assert run.orders["filled"].tolist() == [10_000_000, 0, 10_000_000]
    assert found(run, "The chain refused 1 fill of 3") and found(run, "1 fill had not been confirmed")


def test_fills_that_are_final_at_once_are_not_counted_as_unconfirmed(tmp_path: Path) -> None:
    run = load(round_trip().write(tmp_path / "r", equity="1003.1624"))
    assert len(run.fills) == 2 and not [f for f in findings(run) if "confirmed" in f.text]
