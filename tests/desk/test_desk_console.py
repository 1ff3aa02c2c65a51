"""The console in a real browser: a click approves, another says why not, and no code is shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from desk_cases import BOOK, HOUR, LONG, MARKET, RUN, made
from repository import ROOT

from polytraders.store.desk import Quote, heartbeat, intent, open_desk, propose, put_run, switches

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 180_000  # a kernel has to start, on a machine that may be busy

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        reason = "no chromium on this machine (apt-get install chromium)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A desk at which two trade intents wait."""
    opened = open_desk(f"sqlite:///{tmp_path_factory.mktemp('console') / 'desk.sqlite'}")
    now = time.time_ns()
    first, second = made(1, now=now, policy=LONG), made(2, now=now, policy=LONG)
    propose(opened, [first, second], now)
    put_run(opened, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=now)
    limits = {"exposure": {"observed": "170", "limit": "200", "unit": "pUSD"}}
    heartbeat(opened, RUN, now, state="running", topics={"limits": limits, "health": {"feed": {"up": True}}})
    yield opened
    opened.close()


@contextmanager
def console(environment: dict[str, str]) -> Iterator[str]:
    """The address of `polytraders console` with its key, while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "polytraders.cli", "console", "--port", "0"],
        cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.match(r"console: (http://127\.0\.0\.1:\d+/\?token=\S+)", line):
                threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
                yield found[1]
                break
        else:
            pytest.fail("the console did not start: " + "".join(lines))
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    token = re.search(r"token=(\S+)", lines[0])
    assert token and token[1] not in "".join(lines[1:]), "the key stands in the log"


@pytest.fixture(scope="module")
def address(desk: Any) -> Iterator[str]:
    """The console's address, with its key."""
    environment = os.environ | {"POLYTRADERS_DATABASE": desk.url}
    environment.pop("POLYTRADERS_TOKEN", None)
    with console(environment) as found:
        yield found


def opened(browser: Any, address: str, page_name: str) -> Any:
    """A page of the console, as a person who followed the printed address sees it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    base, _, token = address.partition("/?")
    reached(page, f"{base}/voila/render/{page_name}.ipynb?{token}")
    return page


def reached(page: Any, url: str) -> None:
    """Go there; the server may still be starting."""
    end = time.monotonic() + WAIT_MS / 1000
    while True:
        try:
            page.goto(url, timeout=WAIT_MS)
            return
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error) or time.monotonic() > end:
                raise
            page.wait_for_timeout(200)


def test_a_trade_intent_is_approved_by_a_click(browser, desk, address, tmp_path):
    first, second = (made(n).intent.trade_intent_id for n in (1, 2))
    page = opened(browser, address, "approvals")
    page.wait_for_selector(f"text={first}")
    assert "panels" not in page.inner_text("body"), "the console shows code"
    assert "The price has been rising for an hour" in page.inner_text("body")
    assert "+800 bps" in page.inner_text("body")
    page.click(f"button.pt-approve[title='{first}']")
    page.wait_for_selector("text=The trade was approved.")
    told = intent(desk, first)
    assert told["status"] == "APPROVED" and told["answers"][0]["channel"] == "notebook"
    assert told["answers"][0]["shown_hash"] == told["shown_hash"]
    page.wait_for_selector(f"button.pt-approve[title='{first}']", state="detached")
    # the market moves under the second one: the click is told so, and nothing is bought
    now = time.time_ns()
    heartbeat(desk, RUN, now, quotes=[Quote(MARKET, "YES", 5900, 6000, BOOK, now + HOUR)])
    page.click(f"button.pt-approve[title='{second}']")
    page.wait_for_selector("text=The price moved too far since this trade was proposed")
    assert intent(desk, second)["status"] == "VOID"
    # what is proposed while the page is open appears by itself, and is rejected with a word
    third = made(3, now=time.time_ns(), policy=LONG)
    propose(desk, [third])
    page.wait_for_selector(f"button.pt-reject[title='{third.intent.trade_intent_id}']")
    page.fill("input[type=text]", "too close to the news")
    page.keyboard.press("Tab")
    page.click(f"button.pt-reject[title='{third.intent.trade_intent_id}']")
    page.wait_for_selector("text=The trade was rejected.")
    rejected = intent(desk, third.intent.trade_intent_id)
    assert (rejected["status"], rejected["answers"][0]["comment"]) == ("REJECTED", "too close to the news")
    page.screenshot(path=str(tmp_path / "approvals.png"))
    page.context.close()


def test_everything_is_stopped_by_a_click_and_a_reason(browser, desk, address):
    page = opened(browser, address, "risk")
    page.wait_for_selector("text=85.0 %")
    page.click("button.pt-stop")
    page.wait_for_selector("text=arming a switch says why")
    assert switches(desk, armed=True) == []
    page.fill("input[type=text]", "drill")
    page.keyboard.press("Tab")
    page.click("button.pt-stop")
    page.wait_for_selector("text=global: drill")
    assert switches(desk, armed=True)[0]["armed_by"]["kind"] == "operator"
    page.context.close()


def test_the_address_leads_to_the_first_page_and_from_each_page_to_the_others(browser, desk, address):
    """And nothing is fetched from elsewhere: a page with an approve button runs no code of other people."""
    heartbeat(desk, RUN, time.time_ns() + HOUR)
    page = browser.new_context(viewport={"width": 480, "height": 900}).new_page()
    page.set_default_timeout(WAIT_MS)
    answered: list[str] = []
    page.on("response", lambda answer: answered.append(answer.url))
    reached(page, address)
    page.wait_for_selector("text=1 run alive")
    assert page.url.endswith("/voila/render/approvals.ipynb?" + address.partition("?")[2])
    page.click("a:has-text('Positions')")
    page.wait_for_selector("text=Nothing is held.")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    base = address.partition("/?")[0]
    assert answered and all(url.startswith((base, "data:", "blob:")) for url in answered)
    page.context.close()


def test_what_a_run_said_that_is_silent_now_is_marked_as_old(browser, desk, address):
    heartbeat(desk, RUN, time.time_ns() + HOUR)
    then = time.time_ns() - 100 * 10**9
    put_run(desk, "r_gone", mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=then)
    health = {"feed": {"up": True}, "user stream": {"up": False, "error": "no answer"}}
    account = {"account": {"equity": "12", "cash": "12"}}
    heartbeat(desk, "r_gone", then, state="running", topics={"health": health, "account": account})
    page = opened(browser, address, "health")
    page.wait_for_selector("td.bad:has-text('SILENT (was running)')")
    page.wait_for_selector("text=Parts of r_gone (silent) and what it said last")
    assert "no answer" in page.inner_text("body") and "1 run silent" in page.inner_text("body")
    page.goto(page.url.replace("health.ipynb", "positions.ipynb"))
    page.wait_for_selector("td.bad:has-text('r_gone (silent)')")
    page.context.close()


def test_nobody_gets_in_without_the_key(browser, address):
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT_MS)
    reached(page, address.partition("/?")[0] + "/voila/render/approvals.ipynb")
    assert "Approve" not in page.inner_text("body") and "rising" not in page.inner_text("body")
    page.context.close()


def test_the_notebooks_of_the_desk_are_shipped_and_hold_no_output():
    import json

    from polytraders.cli.serve import pages_folder

    names = sorted(path.stem for path in pages_folder().glob("*.ipynb"))
    assert names == ["approvals", "blotter", "health", "positions", "risk"]
    for path in pages_folder().glob("*.ipynb"):
        cells = json.loads(Path(path).read_text())["cells"]
        assert not any(cell.get("outputs") for cell in cells)
