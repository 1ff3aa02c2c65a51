"""What every test stands on: compiled kernels, a home of its own, no network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMPILE = """
from polytraders.bots import KERNEL_BOTS, load_bot
from polytraders.engine import loop
for bot in KERNEL_BOTS:
    load_bot(bot)
for name in ("backtest", "feed", "venue_times", "flush_repeats"):
    loop.compiled(name)
"""
LONGEST = (
    "test_shadow_to_live.py", "test_live_guard.py", "test_notebooks.py", "test_live_approvals.py",
    "test_bundle_clean.py", "test_sharing_served.py", "test_crash.py", "test_run_secrets.py", "test_claims.py",
    "test_switch_drill.py", "test_run_control.py", "test_export.py",
)  # fmt: skip
"""Files that take minutes, or wait for most of theirs, the longest first: they begin first, so that no process ends
long after the others (`--no-loadscope-reorder`: else those with the fewest tests would begin last)."""
LOCAL = ("127.", "::1", "localhost", "0.0.0.0", "/")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Fill numba's cache once, before the workers start, so that they do not all compile the same loops."""
    if session.config.getoption("numprocesses", None) and not session.config.option.collectonly:
        subprocess.run([sys.executable, "-c", COMPILE], cwd=session.config.rootpath, check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test that sets no POLYTRADERS_HOME writes to an empty one, never to the developer's."""
    os.environ["POLYTRADERS_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.pop("POLYTRADERS_SETTINGS", None)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> None:
    """A connection that would leave this machine fails the test that asks for it."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        host = str(address[0] if isinstance(address, tuple) else address)
        if not host.startswith(LOCAL):
            raise RuntimeError(f"a test reached for the network: {address}")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = refuse  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A file of the recordings by its path there; where it is not at hand the test is skipped, on CI it fails."""
    folder = Path(os.environ.get("POLYTRADERS_SHARED") or Path(__file__).resolve().parents[2] / "shared")

    def find(path: str) -> Path:
        if not (folder / path).exists():
            reason = f"no recording {path} in {folder}; POLYTRADERS_SHARED names the folder"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        return folder / path

    return find
