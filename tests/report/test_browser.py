"""The page in a real browser, without a network: charts are drawn, badges stand, sorting and the code switch work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polytraders.store.log import read_log

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        reason = "no chromium on this machine (apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}: CI has to look at the page")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


class Seen:
    """An open page and what went wrong or out on it."""

    def __init__(self, browser: Any, html: Path, **context: Any):
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}, **context)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda sent: self.requests.append(sent.url))
        self.page.goto(html.as_uri())
        self.drawn_for("screen")

    def drawn_for(self, medium: str) -> None:
        self.page.wait_for_function(f"document.documentElement.dataset.drawn === '{medium}'")


@pytest.fixture
def seen(browser: Any, page: Path) -> Iterator[Seen]:
    opened = Seen(browser, page)
    yield opened
    opened.context.close()


def test_every_chart_is_drawn_offline_without_an_error(seen: Seen) -> None:
    drawn = seen.page.eval_on_selector_all(
        ".chart", "all => all.map((c) => c.querySelectorAll('path.js-line[d], .point path[d], path.point[d]').length)"
    )
    assert len(drawn) >= 7 and all(drawn)
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_lines_have_a_shape(seen: Seen) -> None:
    lines = seen.page.eval_on_selector_all(".chart path.js-line", "all => all.map((p) => p.getAttribute('d').length)")
    assert lines and max(lines) > 100


def test_every_panel_shows_the_mode(seen: Seen) -> None:
    badges = seen.page.eval_on_selector_all(
        ".panel",
        "all => all.map((p) => p.querySelector('.badge')?.offsetWidth > 0 && p.querySelector('.badge').textContent)",
    )
    assert len(badges) >= 15 and set(badges) == {"BACKTEST"}


def test_provenance_stands_last_and_shows_the_log_hash(seen: Seen, made_up_run: Path) -> None:
    last = seen.page.locator(".panel").last
    log = read_log(made_up_run)
    assert log.summary is not None
    assert log.summary["log"]["hash"] in last.inner_text()


def test_nothing_hangs_over_the_edge(seen: Seen) -> None:
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 1280


def test_code_is_hidden_until_asked_for(seen: Seen) -> None:
    code = seen.page.locator(".input").first
    assert not code.is_visible()
    seen.page.click("#code")
    assert code.is_visible() and "run_dir" in seen.page.locator(".input").first.inner_text() + seen.page.content()


def test_a_click_on_a_heading_sorts_by_the_exact_value(seen: Seen) -> None:
    heading = seen.page.locator("table.sortable th.n").first
    table = heading.locator("xpath=ancestor::table")

    def values() -> list[float]:
        at = heading.evaluate("th => th.cellIndex")
        found = table.evaluate("(t, at) => [...t.tBodies[0].rows].map((r) => Number(r.cells[at].dataset.v))", at)
        return [float(value) for value in found]

    heading.click()
    assert values() == sorted(values(), reverse=True)
    heading.click()
    assert values() == sorted(values())


def test_dark_and_print_have_their_own_colours(browser: Any, page: Path) -> None:
    dark = Seen(browser, page, color_scheme="dark")
    ink = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    in_dark = dark.page.evaluate(ink), dark.page.evaluate(paper)
    dark.page.emulate_media(media="print")
    dark.drawn_for("print")
    on_paper = dark.page.evaluate(ink), dark.page.evaluate(paper)
    assert on_paper[1] == "rgb(255, 255, 255)" and in_dark[1] != on_paper[1]
    assert in_dark[0] != on_paper[0]
    assert dark.errors == []
    dark.context.close()
