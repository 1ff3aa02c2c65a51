"""The desk over HTTP: what it answers, whom it lets in, and what never gets out."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import traceback

import postgres
import pytest
import schemathesis
import uvicorn
from desk_cases import ANN, BOOK, HOUR, LONG, MARKET, RUN, made
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks

from polytraders.api.app import create_app
from polytraders.api.guard import Buckets
from polytraders.config import load_settings
from polytraders.contracts import Actor
from polytraders.errors import UsageError
from polytraders.store.desk import Quote, heartbeat, intent, propose, put_run, since, switches
from polytraders.store.desk.access import calls, create_token, identify, revoke_token, tokens

ID = made().intent.trade_intent_id
SETTINGS = load_settings("settings.ini")
HERE = "http://127.0.0.1:8000"
CONFORMS = [
    checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance,
]  # fmt: skip
"""What every answer is held to: it is one that the specification names."""


class Api:
    """A client, and a token of every scope."""

    def __init__(self, desk, **options):
        self.desk = desk
        self.app = create_app(desk, SETTINGS, **{"per_minute": 1_000_000} | options)
        self.client = TestClient(self.app, base_url=HERE, raise_server_exceptions=False)
        self.tokens = {
            scope: create_token(desk, person, [scope], ANN)[1]
            for scope, person in (("read", "rita"), ("approve", "ann"), ("risk", "ron"), ("admin", "ada"))
        }

    def call(self, method, path, scope=None, *, token=None, headers=None, **more):
        chosen = token or self.tokens.get(scope)
        sent = {"authorization": f"Bearer {chosen}"} if chosen else {}
        return self.client.request(method, path, headers=sent | (headers or {}), **more)


@pytest.fixture
def url(request, tmp_path):
    """SQLite for all but those that ask for the server: what lies below the routes is tested on both elsewhere."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'desk.sqlite'}"
    return postgres.new_database(request.getfixturevalue("postgres_server"))


both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def api(url, opened):
    return Api(opened(url))


@pytest.fixture
def waiting(api):
    """One trade intent made just now, by a run that lives."""
    now = time.time_ns()
    propose(api.desk, [made(now=now, policy=LONG)], now)
    put_run(api.desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=now)
    topics = {
        "account": {"account": {"equity": "1003.5"}},
        "positions": {f"{MARKET}:YES": {"condition_id": MARKET, "size_shares": "10", "value_pusd": "5.2"}},
        "orders": {"0xd1": {"p_hat": "0.6", "q_exec": "0.521", "net_edge_bps": "780", "p_fill": "0.9"}},
        "limits": {"exposure": {"observed": "103", "limit": "200", "unit": "pUSD"}},
        "health": {"feed": {"up": True}},
        "markets": {MARKET: {"slug": "will-it-rain"}},
    }
    fresh = now + HOUR  # however long the test takes
    quotes = [Quote(MARKET, "YES", 5100, 5200, BOOK, fresh)]
    heartbeat(api.desk, RUN, fresh, state="running", quotes=quotes, topics=topics)
    return api


# -- what it answers ---------------------------------------------------------------------------------------------


@both
def test_a_trade_intent_is_read_approved_and_followed(waiting):
    listed = waiting.call("GET", "/intents?status=PENDING", "read").json()["intents"]
    assert [one["trade_intent_id"] for one in listed] == [ID]
    shown = waiting.call("GET", f"/intents/{ID}", "read").json()
    body = {"shown_hash": shown["shown_hash"], "comment": "fine"}
    done = waiting.call("POST", f"/intents/{ID}/approve", "approve", json=body)
    assert done.status_code == 200 and done.json()["status"] == "APPROVED"
    (answer,) = waiting.call("GET", f"/intents/{ID}", "read").json()["answers"]
    assert answer["actor"] == {"kind": "operator", "id": "ann"} and answer["channel"] == "http"
    assert waiting.call("GET", "/actions?after=0", "read").json()["actions"][-1]["kind"] == "approve"


def test_an_approval_needs_no_body(waiting):
    assert waiting.call("POST", f"/intents/{ID}/approve", "approve").json()["ok"]


def test_several_are_approved_together_and_judged_each_by_itself(waiting):
    now = time.time_ns()
    others = propose(waiting.desk, [made(number, now=now, policy=LONG) for number in (2, 3)], now)
    seen = [{"id": ID}, {"id": others[0], "shown_hash": "00" * 32}, {"id": others[1]}]
    done = waiting.call("POST", "/intents/approve", "approve", json={"intents": seen, "comment": "all fine"})
    assert done.status_code == 409
    assert [one["code"] for one in done.json()["answers"]] == [
        "GOV_APPROVAL_GIVEN", "GOV_APPROVAL_HASH_MISMATCH", "GOV_APPROVAL_GIVEN",
    ]  # fmt: skip
    again = waiting.call("POST", "/intents/approve", "approve", json={"intents": [{"id": others[0]}]})
    assert again.status_code == 200
    unknown = {"intents": [{"id": "ti_000000000000"}]}
    assert waiting.call("POST", "/intents/approve", "approve", json=unknown).status_code == 404
    assert waiting.call("POST", "/intents/approve", "approve", json={"intents": []}).status_code == 422


def test_what_is_refused_is_a_409_with_its_code(waiting):
    refused = waiting.call("POST", f"/intents/{ID}/approve", "approve", json={"shown_hash": "00" * 32})
    assert (refused.status_code, refused.json()["code"]) == (409, "GOV_APPROVAL_HASH_MISMATCH")
    assert waiting.call("POST", f"/intents/{ID}/reject", "approve", json={"comment": "no"}).status_code == 200
    late = waiting.call("POST", f"/intents/{ID}/approve", "approve")
    assert (late.status_code, late.json()["code"]) == (409, "GOV_APPROVAL_NOT_PENDING")
    assert waiting.call("POST", "/intents/ti_000000000000/approve", "approve").status_code == 404
    assert waiting.call("GET", "/intents/ti_000000000000", "read").status_code == 404


def test_an_approval_for_a_run_that_is_gone_is_a_409(waiting):
    heartbeat(waiting.desk, RUN, state="failed")
    gone = waiting.call("POST", f"/intents/{ID}/approve", "approve")
    assert (gone.status_code, gone.json()["code"], gone.json()["status"]) == (409, "GOV_APPROVAL_RUN_GONE", "PENDING")
    assert gone.json()["details"] == {"run_id": RUN, "run": "failed"}
    many = waiting.call("POST", "/intents/approve", "approve", json={"intents": [{"id": ID}]})
    assert (many.status_code, many.json()["answers"][0]["code"]) == (409, "GOV_APPROVAL_RUN_GONE")


def test_a_run_that_is_gone_is_released(waiting):
    body = {"reason": "its machine is gone"}
    alive = waiting.call("POST", f"/runs/{RUN}/release", "risk", json=body)
    assert (alive.status_code, alive.json()["code"]) == (409, "GOV_RUN_NOT_GONE")
    heartbeat(waiting.desk, RUN, time.time_ns() - HOUR)
    done = waiting.call("POST", f"/runs/{RUN}/release", "risk", json=body | {"empty": True})
    assert (done.status_code, done.json()["details"]) == (200, {"exposure_pusd": "0"})
    assert waiting.call("GET", "/runs", "read").json()["runs"][0]["state"] == "failed"
    assert waiting.call("POST", "/runs/nobody/release", "risk", json=body).status_code == 404


def test_a_kill_switch_is_armed_and_cleared(waiting):
    body = {"scope": "market", "target": MARKET, "reason": "odd"}
    armed = waiting.call("POST", "/switches", "risk", json=body).json()
    assert armed["details"]["rejected"] == [ID]
    assert waiting.call("GET", "/health").json() == {"status": "halted"}
    cleared = waiting.call("POST", f"/switches/{armed['subject']}/clear", "risk", json={"reason": "fine"})
    assert cleared.json()["status"] == "clear" and waiting.call("GET", "/health").json() == {"status": "ok"}
    assert waiting.call("POST", "/switches", "risk", json=body | {"target": "0x1"}).status_code == 422


def test_an_override_is_granted_and_ended(waiting):
    body = {"bot": "risk.portfolioguard", "parameter": "max_market_pusd", "value": "1500", "ttl_s": 60, "reason": "x"}
    granted = waiting.call("POST", "/overrides", "risk", json=body).json()
    assert granted["ok"], granted
    assert len(waiting.call("GET", "/overrides", "read").json()["overrides"]) == 1
    ended = waiting.call("POST", f"/overrides/{granted['subject']}/end", "risk", json={"reason": "done"})
    assert ended.json()["status"] == "revoked"
    assert waiting.call("POST", "/overrides", "risk", json=body | {"value": "9999999"}).status_code == 409


def test_status_report_and_listings_tell_what_the_runs_told(waiting):
    status = waiting.call("GET", "/status", "read").json()
    assert (status["pending"], status["exposure_pusd"], status["health"]["status"]) == (1, {"live": "5.2"}, "ok")
    assert status["closest"][0]["used"] == "0.5150"
    for topic in ("positions", "orders", "markets", "limits"):
        assert len(waiting.call("GET", f"/{topic}", "read").json()[topic]) == 1
    assert waiting.call("GET", "/runs", "read").json()["runs"][0]["alive"] is True
    assert waiting.call("GET", "/report", "read").json()["intents"]["proposed"] == 1
    assert waiting.call("GET", "/report?day=2026-02-31", "read").status_code == 422
    assert waiting.call("GET", "/shares?portfolio_id=PORT-001", "read").json() == {"shares": []}


@both
def test_metrics_are_what_prometheus_reads(waiting):
    from prometheus_client.parser import text_string_to_metric_families

    text = waiting.call("GET", "/metrics", "read").text
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["polytraders_intents", (("status", "PENDING"),)] == 1
    assert found["polytraders_run_alive", (("mode", "live"), ("run", RUN))] == 1
    assert found["polytraders_limit_used_ratio", (("limit", "exposure"), ("run", RUN))] == 0.515
    assert found["polytraders_account_pusd", (("run", RUN), ("what", "equity"))] == 1003.5


def test_events_are_streamed_and_a_listener_goes_on_where_it_stopped(waiting):
    first = waiting.call("GET", "/events?after=0&for_s=0", "read")
    assert first.headers["content-type"].startswith("text/event-stream")
    ids = [line for line in first.text.splitlines() if line.startswith("id: ")]
    assert len(ids) == len(since(waiting.desk, 0))
    waiting.call("POST", f"/intents/{ID}/approve", "approve")
    again = waiting.call("GET", "/events?for_s=0", "read", headers={"last-event-id": ids[-1][4:]})
    (told,) = [json.loads(line[6:]) for line in again.text.splitlines() if line.startswith("data: ")]
    assert told["kind"] == "approve" and told["subject"] == ID


def test_decisions_and_traces_come_from_the_runs_log(waiting, home, monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "store"))
    from tiny_run import RUN_ID, write_run

    assert waiting.call("GET", "/decisions", "read").status_code == 404
    write_run(home / "runs" / RUN_ID)
    told = waiting.call("GET", "/decisions?limit=5", "read").json()
    assert told["run_id"] == RUN_ID and told["decisions"][0]["reason_code"]
    ref = next(one["correlation_id"] for one in told["decisions"] if not one["correlation_id"].endswith("0000000"))
    assert waiting.call("GET", f"/trace/{ref}", "read").json()["run_id"] == RUN_ID
    assert waiting.call("GET", "/trace/cor_000000000000000", "read").status_code == 404


# -- whom it lets in ---------------------------------------------------------------------------------------------

FILLED = {"{id}": ID, "{ref}": "cor_000000000000000"}


def routes(app):
    for path, methods in app.openapi()["paths"].items():
        for method, told in methods.items():
            for name, value in FILLED.items():
                path = path.replace(name, value)
            yield method.upper(), path, told


def test_every_route_names_its_scope_and_only_health_is_open(waiting):
    open_to_all = {path for _, path, told in routes(waiting.app) if told.get("x-scope") == "public"}
    assert open_to_all == {"/health"}
    assert all(told["x-scope"] in ("public", "read", "approve", "risk", "admin") for *_, told in routes(waiting.app))


@both
def test_no_route_does_anything_without_a_token_of_its_scope(waiting):
    """Every route, with no token, with a made-up one and with one of each lesser scope: 401 or 403, and no change."""
    before = (since(waiting.desk, 0), switches(waiting.desk), intent(waiting.desk, ID), tokens(waiting.desk))
    lesser = {
        "read": [],
        "approve": ["read", "risk"],
        "risk": ["read", "approve"],
        "admin": ["read", "approve", "risk"],
    }
    tried = 0
    for method, path, told in routes(waiting.app):
        scope = told["x-scope"]
        if scope == "public":
            continue
        made_up = "pt_0123456789_" + "A" * 43
        for token in (None, made_up, waiting.tokens["admin"][:-1] + "~", "Basic", ""):
            assert waiting.call(method, path, token=token, json={}).status_code == 401, (method, path)
            tried += 1
        for less in lesser[scope]:
            assert waiting.call(method, path, less, json={}).status_code == 403, (method, path, less)
            tried += 1
    assert tried > 100
    assert before == (since(waiting.desk, 0), switches(waiting.desk), intent(waiting.desk, ID), tokens(waiting.desk))


def test_a_get_changes_nothing(waiting):
    before = since(waiting.desk, 0)
    for method, path, _ in routes(waiting.app):
        if method == "GET" and path != "/events":
            assert waiting.call("GET", path, "admin").status_code < 500
    assert since(waiting.desk, 0) == before


def test_a_token_ends_when_it_is_revoked_or_its_time_is_over(waiting):
    token_id, token = create_token(waiting.desk, "eve", ["read"], ANN)
    assert waiting.call("GET", "/status", token=token).status_code == 200
    revoke_token(waiting.desk, token_id, ANN)
    assert waiting.call("GET", "/status", token=token).status_code == 401
    _, short = create_token(waiting.desk, "eve", ["read"], ANN, now=time.time_ns() - 2 * 86_400 * 10**9, days=1)
    assert waiting.call("GET", "/status", token=short).status_code == 401


def test_a_token_is_taken_from_the_header_and_nowhere_else(waiting):
    token = waiting.tokens["admin"]
    for path in (f"/status?token={token}", f"/status?access_token={token}"):
        assert waiting.call("GET", path).status_code == 401
    assert waiting.call("GET", "/status", headers={"cookie": f"token={token}"}).status_code == 401
    assert waiting.call("GET", "/status", headers={"authorization": f"Basic {token}"}).status_code == 401


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}])
def test_a_page_of_another_site_is_refused_even_with_a_token(waiting, headers):
    refused = waiting.call("POST", f"/intents/{ID}/approve", "approve", headers=headers)
    assert refused.status_code == 403 and intent(waiting.desk, ID)["status"] == "PENDING"


def test_our_own_origin_is_fine(waiting):
    assert waiting.call("GET", "/status", "read", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200


def test_a_body_that_is_too_long_is_refused(waiting):
    long = waiting.call("POST", f"/intents/{ID}/reject", "approve", json={"comment": "x" * 70_000})
    assert long.status_code == 413
    unannounced = waiting.call("POST", f"/intents/{ID}/reject", "approve", content=iter([b"{}"]))
    assert unannounced.status_code == 413 and intent(waiting.desk, ID)["status"] == "PENDING"


def test_who_calls_too_often_is_told_so(url, opened):
    api = Api(opened(url), per_minute=50)  # bursts of five
    found = [api.call("GET", "/status", "read").status_code for _ in range(9)]
    assert found[:5] == [200] * 5 and 429 in found
    refused = next(api.call("GET", "/status", "read") for _ in range(9))
    assert refused.headers["retry-after"] and refused.json()["code"] == "GOV_ACCESS_RATE_LIMITED"


def test_a_bucket_fills_again_with_time():
    now = [0.0]
    buckets = Buckets(60, lambda: now[0])  # one a second, bursts of six
    assert [buckets.take("a") for _ in range(6)] == [0] * 6
    assert buckets.take("a") == pytest.approx(1) and buckets.take("b") == 0
    now[0] = 1.5
    assert buckets.take("a") == 0 and buckets.take("a") == pytest.approx(0.5)


def test_every_call_is_put_down(waiting):
    waiting.call("GET", "/status", "read")
    waiting.call("POST", f"/intents/{ID}/approve", "read")
    waiting.call("GET", "/status", token="pt_0123456789_no")
    waiting.call("GET", "/no/such/thing?x=y", "read")
    told = [(c["owner"], c["method"], c["path"], c["status"], c["code"]) for c in calls(waiting.desk, 4)]
    assert told == [
        ("", "GET", "/no/such/thing", 404, ""),
        ("", "GET", "/status", 401, "GOV_ACCESS_DENIED"),
        ("rita", "POST", f"/intents/{ID}/approve", 403, "GOV_ACCESS_DENIED"),
        ("rita", "GET", "/status", 200, ""),
    ]


# -- what never gets out -------------------------------------------------------------------------------------------


def test_a_token_is_in_no_table_log_message_or_traceback(waiting, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    secret = waiting.tokens["approve"].rpartition("_")[2]
    said = []
    waiting.call("POST", f"/intents/{ID}/approve", "approve")
    said.append(waiting.call("POST", f"/intents/{ID}/approve", "approve", json={"shown_hash": secret}).text)

    def broken(*_, **__):
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("polytraders.api.views.status_view", broken)
    failed = waiting.call("GET", "/status", "approve")
    assert failed.status_code == 500
    said.append(failed.text)
    try:
        TestClient(waiting.app, base_url=HERE).get(
            "/status", headers={"authorization": f"Bearer {waiting.tokens['approve']}"}
        )
    except RuntimeError:
        said.append(traceback.format_exc())
    with waiting.desk.read() as tx:
        for table in ("operator_actions", "tokens", "calls", "approvals", "trade_intents"):
            said += [repr(row) for row in tx.rows(f"SELECT * FROM {table}")]
    said += [record.getMessage() for record in caplog.records]
    assert len(said) > 10 and not [text for text in said if secret in text]


def test_what_was_sent_is_not_repeated_in_a_refusal(waiting):
    refused = waiting.call("POST", f"/intents/{ID}/reject", "approve", json={"comment": "my\x00password"})
    assert refused.status_code == 422 and "password" not in refused.text


def test_tokens_are_compared_whole(waiting):
    token = waiting.tokens["read"]
    assert identify(waiting.desk, token).owner == "rita"
    for wrong in (token[:-1], token + "A", token.upper(), token.replace("pt_", "pt__"), "", "pt_", "_", "\x00"):
        assert identify(waiting.desk, wrong) is None
    with pytest.raises(UsageError, match="scopes"):
        create_token(waiting.desk, "x", [], Actor(kind="operator", id="x"))


# -- nothing a caller sends breaks it --------------------------------------------------------------------------------


def answers(api, operation, mode):
    """Status codes of eight requests of this mode; none for a route that takes nothing to be wrong about."""
    headers, seen = {"authorization": f"Bearer {api.tokens['admin']}"}, []
    allowed = mode is schemathesis.GenerationMode.POSITIVE

    @hypothesis_settings(
        max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        if allowed and case.path.startswith("/intents/{id}"):
            case.path_parameters["id"] = ID
        response = case.call(headers=headers)
        seen.append(response.status_code)
        case.validate_response(response, checks=CONFORMS)  # the status, the type and the fields are those it names
        assert response.status_code < 500, (case.method, case.path, response.text)

    try:
        run()
    except Unsatisfiable:
        assert not allowed
    return seen


def test_every_route_is_named_and_its_refusals_are_listed(waiting):
    for method, path, told in routes(waiting.app):
        statuses = set(told["responses"])
        assert len(told["summary"].split()) > 1, (path, "a name that says nothing")
        assert {"200", "403", "413", "422", "429"} <= statuses and ("401" in statuses) == (told["x-scope"] != "public")
        assert ("409" in statuses) == (method == "POST" and not path.startswith("/tokens")), path
        for status, answer in told["responses"].items():
            schema = answer["content"].get("application/json", {}).get("schema", {"type": "text"})
            assert schema != {"type": "string"}, (path, status, "an object is no text")


def test_the_reference_is_one_page_that_needs_no_token_no_script_and_no_network(waiting):
    told = waiting.client.get("/docs")
    assert (
        told.status_code == 200 and "default-src 'none'; style-src 'sha256-" in told.headers["content-security-policy"]
    )
    assert "<script" not in told.text and "src=" not in told.text
    assert set(re.findall(r"href='([^#'][^']*)'", told.text)) == {"/openapi.json"}
    for path, methods in waiting.app.openapi()["paths"].items():
        for method in methods:
            assert f"<h3>{method.upper()} {path}</h3>" in told.text
    assert told.text.count("scope approve</span>") == 3 and "Retry-After" in told.text


def test_schemathesis_finds_no_failure_of_ours(url, opened, subtests):
    """With the widest token there is: whatever is sent to any route, the answer is below 500."""
    api = Api(opened(url), hosts=("testserver", "localhost", "127.0.0.1"))
    now = time.time_ns()
    propose(api.desk, [made(n, now=now, policy=LONG) for n in range(1, 30)], now)
    seen: list[int] = []
    for result in schemathesis.openapi.from_asgi("/openapi.json", api.app).get_all_operations():
        operation = result.ok()
        if operation.path == "/events":
            continue  # it does not end by itself

        for mode in schemathesis.GenerationMode:  # what the specification allows, and what it does not
            with subtests.test(f"{mode} {operation.label}"):
                seen += answers(api, operation, mode)
    assert len(seen) > 200 and {200, 404, 409, 422} <= set(seen)


# -- on a real socket ------------------------------------------------------------------------------------------------


def test_the_server_answers_on_loopback_and_logs_no_token(waiting, caplog, capfd):
    import urllib.request

    caplog.set_level(logging.DEBUG)
    server = uvicorn.Server(
        uvicorn.Config(waiting.app, host="127.0.0.1", port=0, log_level="debug", server_header=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 60
        while not server.started and time.monotonic() < end:
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        token = waiting.tokens["read"]
        ask = urllib.request.Request(f"http://127.0.0.1:{port}/status", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(ask, timeout=60) as response:
            assert json.load(response)["pending"] == 1
            assert response.headers["cache-control"] == "no-store" and response.headers["server"] is None
    finally:
        server.should_exit = True
        thread.join(60)
    said = "".join(capfd.readouterr()) + "".join(record.getMessage() for record in caplog.records)
    assert "GET /status" in said and token not in said
