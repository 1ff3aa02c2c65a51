"""Everything that can go wrong, each with a rate, a count and dice of its own.

A fault strikes `rate` times of a million asked, at most `count` times when a count is given. Its dice come from the
venue's seed and the fault's name, so that switching one on does not move another. Amounts (ms, pips) are its `value`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

from polytraders.errors import UsageError

KNOWN = {
    "latency": "a REST request waits `value` ms, half before and half after it is served",
    "silence": "the sockets say nothing but PONG; what is not sent is lost",
    "duplicate": "a user event is sent twice",
    "reorder": "a user event is sent after the next one (or `value` ms later, 200 unless told)",
    "market_duplicate": "a market event is sent twice to a listener",
    "market_reorder": "a market event is sent to a listener after the next one (or `value` ms later, 200 unless told)",
    "market_loss": "a market event is not sent to a listener",
    "drop_socket": "a listener's connection is cut instead of sending it a market event",
    "drop_reply": "an order or cancel is done, and the connection closed without an answer",
    "ghost_fill": "a fill that was told is refused by the chain",
    "retrying": "a fill's transaction is told as RETRYING before it is mined",
    "refuse_cancel": "an order that is to be cancelled stays on the book, and the answer says so",
    "batch_entry": "an entry of a batch is refused though the batch is accepted",
    "stale_balance": "balances stay as they were until `balance-allowance/update` is called for them",
    "wrong_tick": "REST tells a tick of `value` pips",
    "clock_skew": "the venue's clock is `value` ms ahead of ours (behind when negative)",
    "error_before": "a request ends with HTTP `value` (500 unless told) and is not served",
    "error_after": "a request is served and ends with HTTP `value` (500 unless told)",
}
"""Fault -> what it does."""

ALWAYS = 1_000_000


@dataclass
class Fault:
    """One fault as it is switched on. rate: ppm. count: how often it may still strike, -1 = without end."""

    rate: int = 0
    value: int = 0
    count: int = -1
    struck: int = 0
    dice: np.random.Generator = field(default_factory=np.random.default_rng, repr=False)

    def strikes(self) -> bool:
        """Throw the dice."""
        if not self.rate or not self.count:
            return False
        if self.rate < ALWAYS and int(self.dice.integers(ALWAYS)) >= self.rate:
            return False
        self.count -= self.count > 0
        self.struck += 1
        return True

    def on(self) -> bool:
        """Switched on at all: for faults that are a state and no event."""
        return self.rate > 0 and self.count != 0


class Faults(dict[str, Fault]):
    """All known faults by name, off at first."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed
        self.clear_all()

    def clear_all(self) -> None:
        """Switch everything off and start the dice anew."""
        for name in KNOWN:
            self[name] = Fault(dice=np.random.default_rng([self.seed, zlib.crc32(name.encode())]))

    def switch(self, name: str, rate: int = ALWAYS, value: int = 0, count: int = -1) -> None:
        """Switch a fault on (rate 0: off). Raises UsageError for one that is not known, or a rate that is none."""
        if name not in KNOWN:
            raise UsageError(f"there is no fault {name!r}", rule="one of " + ", ".join(KNOWN))
        if not 0 <= rate <= ALWAYS:
            raise UsageError(f"rate {rate} of {name}", rule="ppm, 0 ... 1000000")
        fault = self[name]
        fault.rate, fault.value, fault.count = rate, value, count
