"""`polytraders doctor`: every line of its table, good and not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from polytraders.venue import doctor as doctors
from polytraders.venue.orders import Key, deposit_wallets
from polytraders.venue.polymarket import hosts
from polytraders.venue.visit import TEST_KEY


def doctor(venue, *options: str, **environment: str) -> tuple[int, dict[str, dict]]:
    """(exit code, check -> what it says)."""
    command = [sys.executable, "-m", "polytraders.cli", "doctor", "--venue", json.dumps(venue.urls), "--json", *options]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("POLYTRADERS_KEY", "POLYTRADERS_API"))}
    done = subprocess.run(command, capture_output=True, text=True, env=clean | environment, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, {check["check"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.fixture
def node():
    """A node of the chain that has code where it is told to."""
    code = {}

    class Node(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": code.get(asked["params"][0], "0x")}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Node)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", code
    server.shutdown()


def test_everything_is_there(venue):
    code, checks = doctor(venue)
    assert code == 0, {name: check for name, check in checks.items() if not check["good"]}
    assert {"disk", "host rest", "host gamma", "host data", "host user_ws", "clock", "geoblock", "key", "wallet",
            "wallet code", "credentials", "account", "allowance", "balance"} <= checks.keys()  # fmt: skip


def test_what_is_missing_is_told_with_its_mend(venue, node):
    url, code = node
    wallet = deposit_wallets(Key(TEST_KEY).address)[0]
    exit_code, checks = doctor(venue, "--wallet", "DEPOSIT_WALLET", "--rpc", url)
    assert (
        exit_code == 1
        and checks["wallet code"]["code"] == "SEC_WALLET_CODE_MISSING"
        and wallet in checks["wallet"]["what"]
    )
    code[wallet] = "0x6001"
    venue.admin("/geoblock", blocked=True, country="FR")
    exit_code, checks = doctor(venue, "--wallet", "DEPOSIT_WALLET", "--rpc", url)
    assert exit_code == 1 and checks["wallet code"]["good"] and checks["geoblock"]["code"] == "SEC_GEOBLOCKED"
    assert checks["geoblock"]["mend"]


def test_a_bad_key_and_a_venue_that_is_not_there(venue):
    exit_code, checks = doctor(venue, POLYTRADERS_KEY="0x1234")
    assert exit_code == 1 and checks["key"]["code"] == "SEC_KEY_UNUSABLE" and "1234" not in json.dumps(checks)
    nowhere = type("Nowhere", (), {"urls": dict.fromkeys(venue.urls, "http://127.0.0.1:9")})
    exit_code, checks = doctor(nowhere)
    assert exit_code == 1 and checks["host rest"]["code"] == checks["venue"]["code"] == "EXEC_VENUE_UNREACHABLE"


@pytest.mark.parametrize(
    ("named", "good"),
    [("", False), ("https://a.example/key", False), ("https://a.example/key https://b.example/key", True)],
)
def test_real_money_needs_two_providers_of_the_chain(monkeypatch, named, good):
    monkeypatch.setenv(doctors.RPC, named)
    assert doctors.check_providers(hosts.local(dict.fromkeys(hosts._NEEDED, "http://127.0.0.1:9"))) == []
    (check,) = doctors.check_providers(hosts.polymarket())
    assert check.good is good
    assert "key" not in check.what
    assert good or (check.code == "SEC_RPC_QUORUM_LOST" and doctors.RPC in check.mend)
