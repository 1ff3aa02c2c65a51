"""The dead man's switch: as long as we beat, our orders rest; when we fall silent, the venue takes them off.

The venue arms it for all orders of the API key with the first beat it accepts, and it cannot be disarmed: one process
beats for one key. Beats are 5 s apart, and 10 s without one is too long, so a failed beat is repeated at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from polytraders.venue.polymarket.client import Client

INTERVAL = 5.0
"""s between two beats."""
OVERDUE = 10.0
"""s without an accepted beat after which the venue cancels everything."""
AGAIN = 0.5
"""s until a failed beat is tried again."""


class Heartbeat:
    """Beats until stopped. state: for `health`; `lost` counts the times that it was overdue."""

    def __init__(self, client: Client, *, interval: float = INTERVAL):
        self.client, self.interval, self.name = client, interval, ""
        self.state: dict[str, Any] = {"up": False, "since": 0, "last": 0, "errors": 0, "lost": 0, "problem": ""}

    async def run(self) -> None:
        """Beat; ends only when cancelled."""
        while True:
            beaten = await self.beat()
            await asyncio.sleep(self.interval if beaten else min(AGAIN, self.interval))

    async def beat(self) -> bool:
        """One beat, with the id that the venue expects; True when it was accepted."""
        for _ in range(2):
            answer = await self.client.heartbeat(self.name)
            body = answer.body if isinstance(answer.body, dict) else {}
            if answer.good:
                self._accepted(str(body.get("heartbeat_id") or ""))
                return True
            expected = body.get("heartbeat_id")
            if answer.status != 400 or not isinstance(expected, str):
                break
            self.name = expected  # another process of this key beat before us, or our own answer was lost
        self._failed(answer.problem or f"HTTP {answer.status}: {answer.body}")
        return False

    def _accepted(self, name: str) -> None:
        now = self.client.clock()
        self.name = name
        if not self.state["up"]:
            self.state |= {"up": True, "since": now, "problem": ""}
        self.state["last"] = now

    def _failed(self, problem: str) -> None:
        self.state |= {"errors": self.state["errors"] + 1, "problem": problem[:200]}
        overdue = self.client.clock() - self.state["last"] > OVERDUE * 1e9
        if self.state["up"] and overdue:
            self.state |= {"up": False, "lost": self.state["lost"] + 1}
