"""Tasks that must not end: a failed one is told, waits a little longer each time, and begins again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""s before the first and at most before any later new begin."""
STEADY = 60.0
"""s after which a task that runs has recovered: its next failure waits the first time again."""

log = logging.getLogger("polytraders.run")

Down = Callable[[str, BaseException | None], None]
"""Told of a task that ended: its name and why, None when it simply returned."""


@dataclass
class Watched:
    """One task as people see it."""

    name: str
    critical: bool
    up: bool = False
    restarts: int = 0
    since: int = 0  # ns, of the present state
    error: str = ""


def cause(error: BaseException) -> str:
    """Kind and text of an error, of the first one of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class Supervisor:
    """Keeps tasks going. `down` is told of each end of one before it begins again."""

    def __init__(self, down: Down):
        self._down = down
        self.watched: dict[str, Watched] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Callable[[], Awaitable[Any]], *, critical: bool = False) -> None:
        """Run `work()` until `stop`, again whenever it ends. critical: its end is an incident that halts trading;
        what that means is up to `down`."""
        self.watched[name] = Watched(name, critical, since=time.time_ns())
        self._tasks.append(asyncio.create_task(self._keep(name, work), name=name))

    async def _keep(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        told, wait = self.watched[name], FIRST_WAIT
        while True:
            began = time.monotonic()
            told.up, told.since = True, time.time_ns()
            failed: BaseException | None = None
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                failed = error
                log.warning("%s failed: %s", name, cause(error))
                log.debug("%s failed", name, exc_info=error)
            told.up, told.since = False, time.time_ns()
            told.error = cause(failed) if failed else "it ended"
            self._down(name, failed)
            wait = FIRST_WAIT if time.monotonic() - began > STEADY else wait
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            told.restarts += 1

    async def stop(self) -> None:
        """Cancel all and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def health(self) -> dict[str, dict[str, Any]]:
        """By name: up, since (ns), restarts, the last error."""
        return {
            name: {"up": w.up, "since": w.since, "restarts": w.restarts, "error": w.error}
            for name, w in self.watched.items()
        }
