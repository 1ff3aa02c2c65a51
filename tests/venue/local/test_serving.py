"""`polytraders venue serve` as a program: how soon it answers, what it prints, how it ends, several at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

ROLES = ["rest", "market_ws", "user_ws", "gamma", "data", "geoblock", "admin"]
MOST_CPU = 2.0
"""s of the processor until the first answer: what the clock would show on a machine that has nothing else to do."""


def start(*options: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "POLYTRADERS_JIT"}
    command = [sys.executable, "-m", "polytraders.cli", "venue", "serve", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def cpu(process: subprocess.Popen[str]) -> float:
    """s of the processor that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(process: subprocess.Popen[str]) -> str:
    """Ask it to stop; what it wrote to stderr."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("options", [("--empty",), ()])
def test_it_answers_within_two_seconds(options):
    times = []
    for _ in range(2):  # the first may have to write bytecode
        process = start("--json", *options)
        urls = json.loads(process.stdout.readline())
        assert httpx.get(urls["rest"] + "/ok", timeout=30).json() == "OK"
        times.append(cpu(process))
        end(process)
    assert min(times) < MOST_CPU, times


def test_json_is_one_line_of_all_urls_and_it_ends_cleanly_with_people_connected():
    process = start("--json", "--empty")
    line = process.stdout.readline()
    urls = json.loads(line)
    assert list(urls) == ROLES
    assert all(url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:")) for url in urls.values())
    with connect(urls["market_ws"]) as one, connect(urls["user_ws"]) as two, httpx.Client() as client:
        assert client.get(urls["gamma"] + "/markets/keyset").status_code == 200
        one.send("PING")
        assert one.recv(timeout=30) == "PONG"
        began = time.monotonic()
        assert end(process) == ""
        assert time.monotonic() - began < 30
        del two
    assert process.stdout.read() == "" if not process.stdout.closed else True
    with pytest.raises(httpx.TransportError):
        httpx.get(urls["rest"] + "/ok", timeout=5)


def test_for_people_each_url_has_a_line_of_its_own():
    process = start("--empty")
    said = dict(process.stdout.readline().split() for _ in ROLES)
    assert list(said) == ROLES and said["rest"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0


def test_several_run_at_once_and_a_port_that_is_taken_says_so():
    many = [start("--json", "--empty") for _ in range(3)]
    urls = [json.loads(process.stdout.readline()) for process in many]
    ports = [url.rpartition(":")[2].partition("/")[0] for one in urls for url in one.values()]
    assert len(set(ports)) == 3 * 4  # each has four of its own
    taken = int(urls[0]["rest"].rpartition(":")[2])
    late = start("--json", "--empty", "--port", str(taken))
    out, said = late.communicate(timeout=60)
    assert late.returncode == 2 and "cannot listen" in out + said and str(taken) in out + said
    for process in many:
        end(process)


def test_named_ports_are_four_in_a_row():
    for _ in range(5):  # somebody else may take one of the four meanwhile
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = min(probe.getsockname()[1], 65_000)
        process = start("--json", "--empty", "--port", str(first))
        if (line := process.stdout.readline()).strip() not in ("", "{"):
            break
        process.wait()
    urls = json.loads(line)
    assert [int(urls[role].rpartition(":")[2]) for role in ("rest", "gamma", "data", "admin")] == [
        first + number for number in range(4)
    ]
    end(process)
