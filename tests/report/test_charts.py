"""Charts and words: nothing lost in thinning, titles that say what the numbers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand import RISK, STRATEGY, Hand, round_trip
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.reasons import Code
from polytraders.report import charts, words
from polytraders.report.analysis import Run, load
from polytraders.report.panels import Column, chart, table


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(round_trip().write(tmp_path / "r_trip", equity="1003.1624"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=600),
    most=st.integers(4, 100),
)
def test_thinning_keeps_ends_and_extremes_and_the_limit(values: list[float], most: int) -> None:
    line = np.array(values)
    keep = charts.thin(np.arange(len(line)), line, most)
    assert len(keep) <= max(most, 4) and (np.diff(keep) > 0).all()
    assert keep[0] == 0 and keep[-1] == len(line) - 1
    if not np.isnan(line).all():
        assert np.nanmax(line[keep]) == np.nanmax(line) and np.nanmin(line[keep]) == np.nanmin(line)


def test_the_title_of_equity_is_its_message(run: Run) -> None:
    assert charts.equity(run).layout.title.text == "Equity rose by 3.16 pUSD to 1,003.16 (0.32 %)"
    assert charts.equity(run).data[0].y[-1] == 1003.1624


def test_the_bars_of_the_split_stand_on_each_other(run: Run) -> None:
    bars = charts.split(run).data
    tops = [bar.base[0] + bar.y[0] for bar in bars]
    assert [bar.base[0] for bar in bars[:5]] == pytest.approx([0, *tops[:4]])
    assert tops[4] == pytest.approx(bars[5].y[0]) == pytest.approx(3.1624)


def test_fills_stand_on_the_price_path_by_exposure(run: Run) -> None:
    figure = charts.prices(run, 0)
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["bought YES or sold NO"].y) == [0.4]
    assert list(by_name["sold YES or bought NO"].y) == [0.44]  # NO bought at .56
    assert figure.layout.title.text == "market-0: bought 10 shares at 0.400, sold 5 shares at 0.440"


def test_a_reason_that_several_bots_give_is_one_bar_with_its_name_above(tmp_path: Path) -> None:
    hand = round_trip()
    for bot, at in ((STRATEGY, 1), (RISK, 2), (RISK, 3)):
        hand.decide(bot, Code.EXEC_PLAN_STANDS, at=at, corr=at, verdict=at)
    hand.decide(STRATEGY, Code.STRAT_MAKER_NO_EDGE, at=4)
    figure = charts.reasons(load(hand.write(tmp_path / "r", equity="1003.1624")))
    bars = dict(zip(figure.data[0].y, figure.data[0].x, strict=True))
    assert bars == {"EXEC_PLAN_STANDS": 3, "STRAT_MAKER_NO_EDGE": 1}
    assert sorted(note.text for note in figure.layout.annotations) == sorted(bars)


def test_every_chart_of_an_empty_run_can_be_drawn(tmp_path: Path) -> None:
    hand = Hand()
    hand.book(0, 4_000, 4_200)
    run = load(hand.write(tmp_path / "r", equity="1000"))
    for draw in (charts.equity, charts.drawdown, charts.inventory, charts.split, charts.markouts, charts.reasons):
        assert draw(run).layout.title.text


def test_a_panel_carries_the_mode_its_figure_and_nothing_that_ends_its_script(run: Run) -> None:
    figure = charts.equity(run)
    figure.data[0].name = "</script><b>"
    shown = chart(run, figure)._repr_mimebundle_()
    html = shown["text/html"]
    assert html.count('<span class="badge">BACKTEST</span>') == 1
    assert html.count("</script>") == 1  # its own end
    assert shown["application/vnd.plotly.v1+json"]["layout"]["title"]["text"].startswith("BACKTEST · Equity")


def test_table_cells_are_escaped_and_numbers_keep_their_exact_value() -> None:
    html = table([Column("who"), Column("pUSD", lambda v: words.pusd(v), True)], [["<b>", 1_234_567], ["x", None]])
    assert "&lt;b&gt;" in html and 'data-v="1234567">1.23<' in html and ">–<" in html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.pusd(-1_250_000), "−1.25"),
        (words.pusd(1_250_000, signed=True), "+1.25"),
        (words.pusd(-1_000, signed=True), "0.00"),
        (words.pusd(12_345_678_901, 6), "12,345.678901"),
        (words.cents(-308.0), "−1.54"),
        (words.cents(float("nan")), "–"),
        (words.percent(-0.0567, 1), "−5.7 %"),
        (words.percent(None), "–"),
        (words.count(1, "fill"), "1 fill"),
        (words.count(0, "fill"), "no fills"),
        (words.count(1_200, "fill"), "1,200 fills"),
        (words.lasting(350_000_000), "350 ms"),
        (words.lasting(1_502_000_000), "1.5 s"),
        (words.lasting(7_384 * 10**9), "2 h 3 min"),
        (words.lasting(86_400 * 10**9), "1 d"),
        (words.moment(0), "1970-01-01 00:00:00"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.price(6_425), "0.6425"),
    ],
)
def test_numbers_are_written_as_people_read_them(text: str, expected: str) -> None:
    assert text == expected
