"""nbs/backtests/momentum.ipynb: executed, complete, small, and to be seen without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "nbs" / "backtests" / "momentum.ipynb"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECTIONS = (
    "Data",
    "Does a move continue?",
    "What was run",
    "Where the money went",
    "Settlement, market by market",
    "Hit rate",
    "Fees, taker delay, latency",
    "Threshold and latency",
    "Does it know the future?",
    "What follows",
)


@pytest.fixture(scope="module")
def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def outputs(cells: list[dict]) -> list[dict]:
    return [output for cell in cells for output in cell.get("outputs", ())]


def html(cells: list[dict]) -> list[str]:
    return ["".join(output["data"]["text/html"]) for output in outputs(cells) if "text/html" in output.get("data", {})]


def said(cells: list[dict]) -> str:
    return "".join("".join(output.get("text", ())) for output in outputs(cells))


def test_the_study_has_every_part_in_order(cells):
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert re.findall(r"^## (.+)$", text, re.M) == list(SECTIONS)


def test_it_was_executed_on_the_recordings_without_an_error(cells):
    assert not [output for output in outputs(cells) if output["output_type"] == "error"]
    assert "MADE-UP" not in said(cells) + "".join(html(cells))
    assert "383 moves in 56 markets" in said(cells)
    assert said(cells).count("rows before it are equal") == 4  # the look-ahead check: two cuts, two futures


def test_its_money_adds_up(cells):
    (table,) = [h for h in html(cells) if "paid for entries" in h]
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in re.findall(r"<tr.*?</tr>", table, re.S)]
    head, *lines = rows
    assert [line[0] for line in lines] == ["desk", "traded", "held"]
    for line in lines:
        value = {name: float(text.replace(",", "")) for name, text in zip(head[1:], line[1:], strict=True)}
        parts = value["price"] + value["settlement"] + value["fees"] + value["rebates"]
        assert parts == pytest.approx(value["total"], abs=0.03)  # five numbers rounded to 0.01


def test_every_settlement_line_is_its_own_arithmetic(cells):
    (table,) = [h for h in html(cells) if "left at resolution" in h]
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in re.findall(r"<tr.*?</tr>", table, re.S)]
    known, sums = 0, [0.0, 0.0]
    *lines, total = rows[1:]
    for line in lines:
        _, token, bought, price, paid, sold, left, pays, received, result = line
        assert token in ("YES", "NO") and float(bought) > 0 and 0 < float(price) < 1
        sums[0] += float(paid)
        if pays != "—":
            known += 1
            sums[1] += float(result)
            assert float(pays) in (0.0, 1.0)
            assert float(received) == pytest.approx(float(left) * float(pays), abs=0.01)
            assert float(result) == pytest.approx(float(sold) + float(received) - float(paid), abs=0.02)
    assert known >= 50
    assert [float(total[4]), float(total[9])] == pytest.approx(sums, abs=0.01 * len(lines))


def test_it_is_small_and_asks_nobody_for_anything(cells):
    assert NOTEBOOK.stat().st_size < 1_000_000
    page = "".join(html(cells))
    assert page.count("<svg") == 3 and page.count("class='line'") == 2 + 3 + 4
    assert "http" not in page and "<script" not in page


@pytest.mark.browser
def test_its_charts_are_seen_offline(tmp_path):
    if CHROMIUM is None:
        reason = "no chromium on this machine (apt-get install chromium)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from nbconvert import HTMLExporter
    from playwright.sync_api import sync_playwright

    page = tmp_path / "study.html"
    page.write_text(HTMLExporter().from_filename(str(NOTEBOOK))[0], encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        tab.goto(page.as_uri(), wait_until="domcontentloaded")
        boxes = tab.eval_on_selector_all(
            "svg polyline.line", "all => all.map((l) => l.getBBox()).map((b) => [b.width, b.height])"
        )
        browser.close()
    assert len(boxes) == 9 and all(width > 300 for width, _ in boxes)
