"""A local venue in a process of its own, as a user starts it, and people who trade there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")


class Served:
    """A running venue: its URLs and its switches."""

    def __init__(self, process: subprocess.Popen[str], urls: dict[str, str]):
        self.process, self.urls = process, urls

    def admin(self, path: str, method: str = "POST", **body: Any) -> dict[str, Any]:
        """Turn a switch."""
        data = None if method == "GET" else json.dumps(body).encode()
        request = urllib.request.Request(self.urls["admin"] + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def state(self) -> dict[str, Any]:
        return self.admin("/state", "GET")

    def market(self, slug: str, **more: Any) -> dict[str, str]:
        """A market with a book of 100 shares at 0.48 and 0.47, and at 0.52 and 0.53."""
        book = {"bids": [["0.48", "100"], ["0.47", "100"]], "asks": [["0.52", "100"], ["0.53", "100"]]}
        return self.admin("/markets", slug=slug, **{**book, **more})


@contextmanager
def serve(*options: str) -> Iterator[Served]:
    """`polytraders venue serve`, stopped by SIGTERM."""
    command = [sys.executable, "-m", "polytraders.cli", "venue", "serve", "--json", *options]
    environment = {k: v for k, v in os.environ.items() if k != "POLYTRADERS_JIT"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the venue ended with {process.wait()}"
        yield Served(process, json.loads(line))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    """A venue without participants, whose fills settle in 0.2 s."""
    with serve("--empty", "--settlement-ms", "200") as served:
        yield served


@pytest.fixture
def start() -> Callable[..., Any]:
    """Start another venue: `with start("--synth", "7") as served`."""
    return serve


@pytest.fixture(autouse=True)
def _calm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Faults and modes of a shared venue do not outlive their test."""
    yield
    if "venue" in request.fixturenames:
        served = request.getfixturevalue("venue")
        served.admin("/faults", "DELETE")
        served.admin("/mode", mode="normal")


@pytest.fixture
def private_key(request: pytest.FixtureRequest) -> str:
    """A key of the test's own: an account with 1000 pUSD."""
    import hashlib

    return "0x" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()
