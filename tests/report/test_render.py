"""The rendered page: whole, alone, and the same for the same run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hand import round_trip
from typer.testing import CliRunner

from polytraders.errors import UsageError
from polytraders.report.render import ReportError, render, reports_root, template_path
from polytraders.store.log import read_log

PANELS = (
    "In five sentences", "Equity", "Deepest drawdown", "Result", "The parts sum to", "Ten seconds after a fill",
    "that stood worst", "bought", "Largest net position", "orders sent", "decisions for", "severity WARN",
    "found on import", "Where these numbers come from",
)  # fmt: skip


def test_the_page_holds_every_panel_each_with_the_mode(page: Path) -> None:
    html = page.read_text()
    titles = re.findall(r"<header><h3>(.*?)</h3>(.*?)</header>", html)
    assert all('<span class="badge">BACKTEST</span>' in badge for _, badge in titles)
    for words in PANELS:
        assert any(words in title for title, _ in titles), words
    assert titles[-1][0] == "Where these numbers come from"


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", html)
    assert "@import" not in html and "url(http" not in html
    assert html.count("plotly.js v") == 1  # the library stands in it once
    assert len(html) < 12_000_000


def test_the_page_names_log_hash_pins_and_models(page: Path, made_up_run: Path) -> None:
    html, log = page.read_text(), read_log(made_up_run)
    assert log.summary is not None
    stands = [log.summary["log"]["hash"], log.manifest["config_hash"], log.manifest["source_hash"]]
    stands += [*log.manifest["pins"]["files"].values(), *log.manifest["models"].values()]
    for value in stands:
        assert value in html


def test_the_executed_notebook_is_kept_and_shows_charts_in_jupyterlab(page: Path) -> None:
    notebook = json.loads(page.with_suffix(".ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] in ("error", "stream")]
    figures = [output["data"].get("application/vnd.plotly.v1+json") for output in outputs]
    assert sum(figure is not None for figure in figures) >= 6


def test_the_same_run_gives_the_same_page(page: Path, made_up_run: Path, tmp_path: Path) -> None:
    assert render(made_up_run, tmp_path).read_bytes() == page.read_bytes()


def test_a_run_without_a_fill_has_a_page_too(tmp_path: Path) -> None:
    from hand import Hand

    hand = Hand()
    hand.book(0, 4_000, 4_200)
    html = render(hand.write(tmp_path / "r_empty", equity="1000"), tmp_path).read_text()
    assert "No order filled" in html and "No position was ever held" in html


def test_pages_lie_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path / "home"))
    assert reports_root() == tmp_path / "home" / "reports"
    monkeypatch.delenv("POLYTRADERS_HOME")
    monkeypatch.chdir(tmp_path)
    assert reports_root() == tmp_path / "reports"


def test_a_folder_without_a_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run here"):
        render(tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(UsageError, match="no report template"):
        template_path("nothing.ipynb")


def test_a_template_that_stops_says_where_and_leaves_no_page(tmp_path: Path) -> None:
    hand = round_trip()
    hand.fill(99, 21, 4_000, 10_000_000)  # of an order nobody sent
    with pytest.raises(ReportError, match="did not send"):
        render(hand.write(tmp_path / "r_bad", equity="1000"), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_the_command_prints_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polytraders.cli import app

    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    round_trip().write(tmp_path / "runs" / "r_trip", equity="1003.1624")
    said = CliRunner().invoke(app, ["report", "--json", "--text"])
    assert said.exit_code == 0
    told = json.loads(said.stdout)
    assert told["run_id"] == "r_trip" and told["pnl"] == "3.1624" and told["report"] is None
