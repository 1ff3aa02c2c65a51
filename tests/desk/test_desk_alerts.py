"""Alerts: once and not once a second, to the file and to webhooks, and that it is over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from desk_cases import ANN, BEN, MARKET, NOW, POLICY, RUN, S, made

from polytraders.run.alerts import Alert, Alerts, Watch
from polytraders.store.desk import approve, arm, clear, heartbeat, propose, put_run, switch_id

ALERT = Alert("feed", "P1", "the feed is down", "no message for 12 s", run_id=RUN)


class Hook:
    """A webhook on this machine that fails as often as it is told to."""

    def __init__(self, failures: int = 0):
        self.got: list[dict] = []
        hook, self.failures = self, failures

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.failures -= 1
                if hook.failures < 0:
                    hook.got.append(json.loads(body))
                self.send_response(500 if hook.failures >= 0 else 200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/very-secret-path"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    one = Hook()
    yield one
    one.server.shutdown()
    one.server.server_close()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_alert_is_told_once_and_again_after_a_while_with_its_count(tmp_path):
    now = [NOW]
    alerts = Alerts(tmp_path / "a.jsonl", [], quiet_s=300, clock=lambda: now[0])
    assert [alerts.send(ALERT) for _ in range(5)] == [True, False, False, False, False]
    now[0] += 300 * S
    assert alerts.send(ALERT)
    assert [(line["what"], line["again"]) for line in lines(alerts.file)] == [("raised", 0), ("raised", 4)]
    assert alerts.over("feed", "the feed is back") and not alerts.over("feed", "the feed is back")
    assert alerts.send(ALERT)  # a new one


def test_a_new_process_knows_what_was_told_lately(tmp_path):
    file = tmp_path / "a.jsonl"
    Alerts(file, [], clock=lambda: NOW).send(ALERT)
    with file.open("a") as torn:
        torn.write('{"what": "rai')
    assert not Alerts(file, [], clock=lambda: NOW + S).send(ALERT)
    assert Alerts(file, [], clock=lambda: NOW + 301 * S).send(ALERT)


def test_a_webhook_hears_of_it_even_when_it_fails_at_first(tmp_path, hook):
    hook.failures = 2
    with Alerts(tmp_path / "a.jsonl", [hook.url], clock=lambda: NOW) as alerts:
        alerts.send(ALERT)
        alerts.send(ALERT)
    (told,) = hook.got
    assert told["text"] == f"P1 the feed is down: no message for 12 s [{RUN}]" and told["key"] == "feed"
    assert "very-secret-path" not in alerts.file.read_text()


def test_what_cannot_be_delivered_is_in_the_file_without_the_address(tmp_path, hook, monkeypatch):
    monkeypatch.setattr("polytraders.run.alerts.ATTEMPTS", 2)
    hook.failures = 100
    with Alerts(tmp_path / "a.jsonl", [hook.url], clock=lambda: NOW) as alerts:
        assert alerts.send(ALERT)
    (raised, lost) = lines(alerts.file)
    assert raised["what"] == "raised" and (lost["what"], lost["fault"]) == ("undelivered", "status 500")
    assert "very-secret-path" not in alerts.file.read_text()


def test_the_webhooks_come_from_the_environment(tmp_path, monkeypatch, hook):
    monkeypatch.setenv("POLYTRADERS_ALERT_WEBHOOKS", f"{hook.url} {hook.url}")
    with Alerts(tmp_path / "a.jsonl") as alerts:
        alerts.send(ALERT)
    assert len(hook.got) == 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_watch_tells_what_the_desk_shows(desk, tmp_path):
    now = [NOW]
    alerts = Alerts(tmp_path / "a.jsonl", [], clock=lambda: now[0])
    watch = Watch(desk, alerts)
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    parts = {"feed": {"up": False}, "log": {"up": True}}
    limits = {"exposure": {"observed": "170", "limit": "200"}, "daily_loss": {"observed": "10", "limit": "10"}}
    heartbeat(desk, RUN, NOW, state="running", topics={"health": parts, "limits": limits})
    propose(desk, [made(1, shares="2000")], NOW)
    approve(desk, made().intent.trade_intent_id, ANN, "cli", POLICY, NOW + S)
    arm(desk, "market", MARKET, BEN, "cli", "odd", NOW + S)
    assert watch.look(NOW + 2 * S) == 5
    told = {line["title"]: line["severity"] for line in lines(alerts.file)}
    assert told["feed is down"] == "P1" and told["limit daily_loss is reached"] == "P1"
    assert told["limit exposure is nearly used up"] == "P2" and told[f"kill switch market {MARKET} armed"] == "P0"
    assert any("needs a second person" in title for title in told)
    assert watch.look(NOW + 3 * S) == 0  # nothing new
    clear(desk, switch_id("market", MARKET), ANN, "cli", "fine", NOW + 4 * S)
    heartbeat(desk, RUN, NOW + 4 * S, topics={"health": {"feed": {"up": True}}, "limits": {}})
    now[0] += 10 * S
    assert watch.look(NOW + 5 * S) == 4  # the switch, the feed and both limits are over
    assert watch.look(NOW + 20 * S) == 1  # the run fell silent
    assert lines(alerts.file)[-1]["title"] == f"run {RUN} is silent"
    heartbeat(desk, RUN, NOW + 21 * S, state="stopped")
    assert watch.look(NOW + 60 * S) == 1 and lines(alerts.file)[-1]["what"] == "over"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_run_that_has_ended_raises_no_alarm_with_what_it_said_last(desk, tmp_path):
    """Its parts are down because it is: nobody is to be woken for them every five minutes."""
    watch = Watch(desk, Alerts(tmp_path / "a.jsonl", [], clock=lambda: NOW))
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    limits = {"daily_loss": {"observed": "10", "limit": "10"}}
    heartbeat(desk, RUN, NOW, state="running", topics={"health": {"feed": {"up": False}}, "limits": limits})
    assert watch.look(NOW + S) == 2
    heartbeat(desk, RUN, NOW + 2 * S, state="stopped")
    assert watch.look(NOW + 3 * S) == 2 and [line["what"] for line in lines(tmp_path / "a.jsonl")][-2:] == ["over"] * 2
    assert watch.look(NOW + 400 * S) == 0


def test_the_terminal_looks_once(home):
    from typer.testing import CliRunner

    from polytraders.cli import app

    done = CliRunner().invoke(app, ["alerts", "--once", "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["sent"] == 0
