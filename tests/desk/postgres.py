"""A PostgreSQL server of the tests' own: in a folder of its own, on a socket of its own, without a network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """Folder of initdb and pg_ctl; None when PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None


def _as_user(command: list[str], user: str | None) -> None:
    """Run it; PostgreSQL refuses root, so root runs it as the user its package made."""
    done = subprocess.run(command, capture_output=True, text=True, user=user, group=user and pwd.getpwnam(user).pw_gid)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server's database `postgres`."""
    folder = binaries()
    assert folder is not None
    user = "postgres" if os.getuid() == 0 else None
    root = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path has to be short
    if user:
        shutil.chown(root, user)
    data = root / "data"
    try:
        _as_user([f"{folder}/initdb", "-D", str(data), "-U", "desk", "--auth=trust", "--no-sync", "-E", "UTF8"], user)
        options = f"-c listen_addresses='' -c unix_socket_directories={root} -c fsync=off -c max_connections=60"
        _as_user(
            [f"{folder}/pg_ctl", "-D", str(data), "-w", "-t", "120", "-l", str(root / "log"), "-o", options, "start"],
            user,
        )
        try:
            yield f"postgresql://desk@/postgres?host={root}"
        finally:
            _as_user([f"{folder}/pg_ctl", "-D", str(data), "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(root, ignore_errors=True)
