"""The request budget: token buckets as the venue keeps them, so that it need not refuse us.

The limits of a signer (orders and cancels by the second, with a burst) come from its tier; those of an address on the
network hold for each kind of request. A bucket of ours is never fuller than the venue says, and closed for as long
as it told us to wait. A library's limiter would know neither.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

STANDARD = (40.0, 60.0, 80.0, 120.0)
"""Orders a second, burst, cancels a second, burst, of the lowest tier."""
TIERS = {
    "standard": STANDARD,
    "copper": (60.0, 90.0, 120.0, 180.0),
    "bronze": (80.0, 120.0, 160.0, 240.0),
    "silver": (200.0, 300.0, 400.0, 600.0),
    "gold": (400.0, 600.0, 800.0, 1_200.0),
    "platinum": (450.0, 675.0, 900.0, 1_350.0),
    "diamond": (525.0, 787.0, 1_050.0, 1_575.0),
    "elite": (600.0, 900.0, 1_200.0, 1_800.0),
}
BY_ADDRESS = {
    ("POST", "/order"): 5_000,
    ("POST", "/orders"): 2_000,
    ("DELETE", "/order"): 5_000,
    ("DELETE", "/orders"): 2_000,
    ("DELETE", "/cancel-all"): 250,
    ("DELETE", "/cancel-market-orders"): 1_500,
    ("GET", "/data/orders"): 500,
    ("GET", "/data/trades"): 500,
    ("GET", "/data/order"): 900,
    ("GET", "/balance-allowance"): 200,
    ("GET", "/balance-allowance/update"): 50,
}
"""(method, path) -> requests in ten seconds."""
LONGEST_RESET = 60.0
"""s: a bucket of the venue is full again long before; a reset later than that is another clock's."""


@dataclass
class Bucket:
    """Tokens that come back at `rate` a second up to `burst`. Times are of the monotonic clock, s."""

    rate: float
    burst: float
    level: float = -1.0
    at: float = 0.0
    closed_until: float = 0.0

    def _refill(self, now: float) -> None:
        self.level = self.burst if self.level < 0 else min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now

    def delay(self, cost: float, now: float) -> float:
        """s until `cost` tokens are there. More than the burst can never be: it is then waited for a full bucket."""
        self._refill(now)
        missing = min(cost, self.burst) - self.level
        return max(missing / self.rate, self.closed_until - now, 0.0)

    def take(self, cost: float, now: float) -> None:
        self._refill(now)
        self.level -= cost

    def told(self, remaining: float, now: float) -> None:
        """The venue says how many are left: ours are no more than that."""
        self._refill(now)
        self.level = max(min(self.level, remaining), -self.burst)  # a debt beyond the burst is no true word

    def close(self, seconds: float, now: float) -> None:
        """The venue says to wait."""
        self.closed_until = max(self.closed_until, now + seconds)


@dataclass
class Budget:
    """All buckets of one port."""

    orders: Bucket = field(default_factory=lambda: Bucket(*STANDARD[:2]))
    cancels: Bucket = field(default_factory=lambda: Bucket(*STANDARD[2:]))
    by_address: dict[tuple[str, str], Bucket] = field(
        default_factory=lambda: {key: Bucket(n / 10, n / 10) for key, n in BY_ADDRESS.items()}
    )
    tier: str = "standard"
    denied: int = 0
    left: Callable[[int, float], None] = lambda orders, seconds: None
    """Told what an answer says of the signer's orders: how many are left, and s until they are all there again."""

    def buckets(self, method: str, path: str) -> list[Bucket]:
        """What a request takes from."""
        found = []
        if (bucket := self.by_address.get((method, path))) is not None:
            found.append(bucket)
        if path in ("/order", "/orders") and method == "POST":
            found.append(self.orders)
        elif method == "DELETE" and path in ("/order", "/orders", "/cancel-all", "/cancel-market-orders"):
            found.append(self.cancels)
        return found

    async def take(self, method: str, path: str, cost: int = 1, patience: float | None = None) -> bool:
        """Wait for the tokens and take them; False when that would take longer than `patience` s."""
        buckets = self.buckets(method, path)
        signer = (self.orders, self.cancels)
        waited = 0.0
        while True:
            now = time.monotonic()
            delay = max((b.delay(cost if any(b is s for s in signer) else 1, now) for b in buckets), default=0.0)
            if delay <= 0:
                for bucket in buckets:
                    bucket.take(cost if any(bucket is one for one in signer) else 1, now)
                return True
            if patience is not None and waited + delay > patience:
                self.denied += 1
                return False
            waited += delay
            await asyncio.sleep(delay)

    def heard(self, method: str, path: str, status: int, headers: dict[str, str], wait: float) -> None:
        """Take over what an answer says of the limits."""
        now = time.monotonic()
        buckets = [b for b in self.buckets(method, path) if b is self.orders or b is self.cancels]
        tier = headers.get("Poly-RateLimit-Tier", "").lower()
        if tier in TIERS and tier != self.tier:
            self.tier, rates = tier, TIERS[tier]
            self.orders.rate, self.orders.burst, self.cancels.rate, self.cancels.burst = rates
        remaining = _number(headers, "Poly-RateLimit-Remaining")
        for bucket in buckets:
            if remaining is not None:
                bucket.told(remaining, now)
            if status == 429:
                bucket.close(wait, now)
        if self.orders in buckets and (remaining is not None or status == 429):
            full = (self.orders.burst - self.orders.level) / self.orders.rate
            full = max(full, self.orders.closed_until - now, _reset(headers))
            self.left(0 if status == 429 else math.floor(remaining or 0), full)


def _reset(headers: dict[str, str]) -> float:
    """s until the venue says that its bucket is full, 0 when it does not or says what cannot be."""
    wait = (_number(headers, "Poly-RateLimit-Reset") or 0.0) - time.time()
    return wait if 0 < wait <= LONGEST_RESET else 0.0


def _number(headers: dict[str, str], name: str) -> float | None:
    """What a header says, None when that is no number that something can be counted with."""
    try:
        said = float(headers[name])
    except (KeyError, ValueError):
        return None
    return said if math.isfinite(said) else None
