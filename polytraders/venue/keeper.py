"""Keeps a guard informed: what it must know is read anew, as often as its bots let it grow old.

    keeper = Keeper(guard, port, watch)
    await keeper.funds()      for ever: the wallet's money, from the venue
    await keeper.chain()      for ever: providers, views, allowances and holdings, from the chain
    keeper.look(now)          what would refuse any order now, and what has changed since the last look

A reading that fails tells the guard nothing: what it knew before grows old, and its bots refuse by that age. So a
keeper that is ended stops trading by itself, within seconds. Times in ns.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from polytraders.bots import Conclusion
from polytraders.security.keyrotationreminder import KeyUse
from polytraders.venue.guard import Guard
from polytraders.venue.refusal import Refused

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.venue.chain.watch import Watch
    from polytraders.venue.orders import Account, Key

FUNDS_EVERY = 2.0
"""s between two readings of the wallet: sec.wallet_funding_guard takes five-seconds-old ones."""
SOON = 0.1
"""s from a trade to the reading of what it left: several trades of one moment are read together."""
CHAIN_EVERY = 2.0
"""s between two rounds at the chain's providers, which take some time themselves."""


class Funded(Protocol):
    """A port whose guard is told of its wallet by `read_funds`."""

    guard: Guard
    moved: asyncio.Event

    async def read_funds(self) -> None: ...


class Finding(NamedTuple):
    """What a bot began to say, or does not say any more."""

    bot_id: str
    conclusion: Conclusion
    over: bool = False


def fingerprint(address: str) -> str:
    """Name of a key in records: a hash of its address, in hex."""
    return hashlib.sha256(address.lower().encode()).hexdigest()


def engage(
    key: Key, owner: Account, settings: Settings, strategy: str, *, now: int, uses: Sequence[KeyUse] = (),
    environment: str = "local", **more: Any,
) -> Guard:  # fmt: skip
    """A guard whose session for `strategy` begins now and lasts as long as the settings let it.

    uses: the record of keys in use; none = this one, used here since now. more: as `Guard` takes it.
    """
    guard = Guard(key, owner, settings, **more)
    guard.authorise(strategy, now, lasts=guard.limits("sec.sessionkeymanager").max_session_lifetime_s)
    guard.keys(uses or (KeyUse("signer", fingerprint(key.address), environment, now),), environment)
    return guard


class Keeper:
    """Two endless readings and what became of them.

    Parameters
    ----------
    port: reads the wallet at the venue. watch: reads the chain, None for a venue without one.
    """

    def __init__(self, port: Funded, watch: Watch | None = None, clock: Callable[[], int] = time.time_ns):
        self.guard, self.port, self.watch, self.clock = port.guard, port, watch, clock
        self.problems = {"funds": "", "chain": ""}
        """Why the last reading of each told nothing, "" = it did."""
        self._said: dict[tuple[str, str], Conclusion] = {}

    async def read_funds(self) -> None:
        """One reading of the wallet."""
        try:
            await self.port.read_funds()
            self.problems["funds"] = ""
        except Refused as error:
            self.problems["funds"] = f"{error.code}: {error.what}"

    async def read_chain(self) -> None:
        """One round at the providers, in a thread of its own; told on this one."""
        assert self.watch is not None
        seen = await asyncio.to_thread(self.watch.look)
        self.watch.tell(self.guard, seen)
        self.problems["chain"] = "; ".join(seen.failed)

    async def funds(self) -> None:
        """Read the wallet until cancelled: in rounds, and soon after something traded."""
        while True:
            self.port.moved.clear()
            await self.read_funds()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FUNDS_EVERY):
                    await self.port.moved.wait()
            await asyncio.sleep(SOON)

    async def chain(self) -> None:
        """Read the chain until cancelled."""
        while True:
            await self.read_chain()
            await asyncio.sleep(CHAIN_EVERY)

    def look(self, now: int) -> tuple[list[tuple[str, Conclusion]], list[Finding]]:
        """(what would refuse any order now, what has begun or ended since the last look, warnings among it)."""
        refusing = self.guard.unready(now)
        said = {(bot_id, c.code): c for bot_id, c in (*self.guard.warnings(now), *refusing)}
        found = [Finding(bot_id, c) for (bot_id, code), c in said.items() if (bot_id, code) not in self._said]
        found += [Finding(bot_id, c, True) for (bot_id, code), c in self._said.items() if (bot_id, code) not in said]
        self._said = said
        return refusing, found

    def state(self) -> dict[str, Any]:
        """For status."""
        return self.guard.state() | {"problems": {name: what for name, what in self.problems.items() if what}}
