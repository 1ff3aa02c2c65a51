"""A local venue in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Served:
    """A running venue: its URLs and its switches."""

    def __init__(self, process: subprocess.Popen[str], urls: dict[str, str]):
        self.process, self.urls = process, urls

    def admin(self, path: str, method: str = "POST", **body: Any) -> dict[str, Any]:
        """Turn a switch."""
        data = None if method == "GET" else json.dumps(body).encode()
        request = urllib.request.Request(self.urls["admin"] + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
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
