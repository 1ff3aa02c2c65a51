"""One writer per run, one run per account: locks that end with their process, and a number that tells writers apart.

A lock is a file under `flock`; the kernel gives it back when its holder dies, however it dies. The *fence* is a number
in the file that grows with every holder; it stands in the log's first note of each session, so that a log shows which
writer wrote what.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

import orjson

from polytraders.errors import UsageError


class Lock:
    """A held lock. Use as a context, or `release`."""

    def __init__(self, path: Path, what: str):
        """Take it. what: what it guards, for the message. Raises UsageError when somebody else holds it."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _read(self._fd)
            os.close(self._fd)
            raise UsageError(
                f"{what} is in use by process {holder.get('pid', 'unknown')}",
                where=str(path),
                rule="one writer at a time",
                mend="stop that process first, or use another run",
            ) from None
        self.fence = int(_read(self._fd).get("fence", 0)) + 1
        data = orjson.dumps({"fence": self.fence, "pid": os.getpid(), "since": time.time_ns()})
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)
        os.fsync(self._fd)

    def release(self) -> None:
        """Give it back. The file stays: the fence goes on from its number."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _read(fd: int) -> dict[str, int]:
    try:
        return orjson.loads(os.pread(fd, 4096, 0))
    except ValueError:
        return {}
