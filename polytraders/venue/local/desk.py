"""Who may do what now: API keys, request signatures, rate limits, the dead man's switch, restricted modes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from polytraders.units import NS_PER_S
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.intake import Refusal, address_of
from polytraders.venue.local.records import Account
from polytraders.venue.orders import POLYGON, hmac_signature, verify_login
from polytraders.venue.refusal import Refused

BEFORE, AFTER = 60, 5
"""Seconds by which a request's timestamp may lie before and after the venue's clock."""
HEARTBEAT, SWEEP = 10 * NS_PER_S, 5 * NS_PER_S
"""ns without a beat after which a key's orders go, and between the looks at that."""
POST_ONLY_SECONDS = 120

TIERS = {
    "standard": (40, 60, 80, 120),
    "copper": (60, 90, 120, 180),
    "bronze": (80, 120, 160, 240),
    "silver": (200, 300, 400, 600),
    "gold": (400, 600, 800, 1200),
    "platinum": (450, 675, 900, 1350),
    "diamond": (525, 787, 1050, 1575),
    "elite": (600, 900, 1200, 1800),
}
"""Tier -> orders a second, burst, cancels a second, burst."""
IN_DEBT = ("standard", "copper", "bronze", "silver", "gold")
"""Tiers whose cancels may take the balance below zero."""

MODES = ("normal", "restarting", "post_only", "cancel_only", "disabled")


@dataclass
class Bucket:
    """Tokens that come back at a rate. level: tokens x 1e9."""

    rate: int  # a second
    burst: int
    level: int = -1
    at: int = 0  # ns

    def take(self, cost: int, now: int, debt: bool = False) -> bool:
        """Take `cost` tokens, all or none; with `debt` the balance may fall below zero once."""
        if self.level < 0 and not self.at:
            self.level = self.burst * NS_PER_S
        else:
            self.level = min(self.burst * NS_PER_S, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < cost * NS_PER_S and not (debt and self.level > 0):
            return False
        self.level -= cost * NS_PER_S
        return True

    def reset(self, cost: int, now: int) -> int:
        """Unix second from which `cost` tokens are there again."""
        missing = max(0, cost * NS_PER_S - self.level)
        return -(-(now + missing // self.rate) // NS_PER_S)


@dataclass
class Key:
    """One API key and what hangs on it."""

    key: str
    secret: str
    passphrase: str
    account: Account
    nonce: int
    tier: str = "standard"
    orders: Bucket = field(default_factory=lambda: Bucket(*TIERS["standard"][:2]))
    cancels: Bucket = field(default_factory=lambda: Bucket(*TIERS["standard"][2:]))
    beat: str | None = None  # the id that the next heartbeat must carry, None = not armed
    beat_at: int = 0  # ns

    def set_tier(self, tier: str) -> None:
        """Put the key on a tier, with full buckets."""
        self.tier = tier
        self.orders, self.cancels = Bucket(*TIERS[tier][:2]), Bucket(*TIERS[tier][2:])

    def creds(self) -> dict[str, str]:
        return {"apiKey": self.key, "secret": self.secret, "passphrase": self.passphrase}


def same(left: str, right: str) -> bool:
    """Compare two secrets without telling by the time it takes where they differ."""
    return hmac.compare_digest(left.encode(), right.encode())


class Desk:
    """Keys and switches of a venue. `seed` makes the keys: the same address and nonce get the same ones."""

    def __init__(self, exchange: Exchange, seed: int):
        self.exchange, self.seed = exchange, seed
        self.keys: dict[str, Key] = {}
        self.mode = "normal"
        self.place: dict[str, object] = {"blocked": False, "ip": "127.0.0.1", "country": "", "region": ""}
        self.next_sweep = 0
        self.heartbeats_lost = 0

    # -- logins ------------------------------------------------------------------------------------

    def login(self, headers: Mapping[str, str], now: int) -> tuple[Account, int]:
        """(account, nonce) of an L1 request. Raises Refusal."""
        try:
            address, stamp = headers["POLY_ADDRESS"], headers["POLY_TIMESTAMP"]
            nonce, signature = int(headers["POLY_NONCE"]), headers["POLY_SIGNATURE"]
            address = address_of(address)
            if not 0 <= nonce < 1 << 63:
                raise ValueError("nonce")
            self._check_time(stamp, now)
            good = verify_login(address, signature, POLYGON, int(stamp), nonce)
        except (KeyError, ValueError, Refused):
            good = False
        if not good:
            raise Refusal("Invalid L1 Request headers", 401)
        return self.exchange.account(address), nonce

    def create(self, account: Account, nonce: int) -> Key:
        """A new key. Raises Refusal when there is one for this nonce already."""
        key = self._make(account, nonce)
        if key.key in self.keys:
            raise Refusal("Could not create api key")
        self.keys[key.key] = key
        return key

    def derive(self, account: Account, nonce: int) -> Key:
        """The key of this nonce. Raises Refusal when it was never made."""
        key = self.keys.get(self._make(account, nonce).key)
        if key is None:
            raise Refusal("Could not derive api key!")
        return key

    def _make(self, account: Account, nonce: int) -> Key:
        root = hashlib.sha512(f"polytraders local venue:{self.seed}:{account.address}:{nonce}".encode()).digest()
        return Key(
            key=str(uuid.UUID(bytes=root[:16], version=4)),
            secret=base64.urlsafe_b64encode(root[16:48]).decode(),
            passphrase=hmac.new(root, b"passphrase", hashlib.sha256).hexdigest(),
            account=account,
            nonce=nonce,
        )

    # -- requests ----------------------------------------------------------------------------------

    @staticmethod
    def _check_time(stamp: str, now: int) -> None:
        if not -AFTER <= now // NS_PER_S - int(stamp) <= BEFORE:
            raise ValueError("timestamp")

    def authenticate(self, headers: Mapping[str, str], method: str, path: str, body: bytes, now: int) -> Key:
        """The key behind an L2 request. Raises Refusal."""
        try:
            key = self.keys[headers["POLY_API_KEY"]]
            stamp, signature = headers["POLY_TIMESTAMP"], headers["POLY_SIGNATURE"]
            self._check_time(stamp, now)
            good = (
                address_of(headers["POLY_ADDRESS"]) == key.account.address
                and same(headers["POLY_PASSPHRASE"], key.passphrase)
                and same(signature, hmac_signature(key.secret, stamp, method, path, body))
            )
        except (KeyError, ValueError):
            good = False
        if not good:
            raise Refusal("Unauthorized/Invalid api key", 401)
        return key

    def stream_key(self, auth: object) -> Key | None:
        """The key that a user channel's first frame proves, None when it does not."""
        if not isinstance(auth, dict):
            return None
        key = self.keys.get(str(auth.get("apiKey")))
        if key is None:
            return None
        good = same(str(auth.get("secret")), key.secret) and same(str(auth.get("passphrase")), key.passphrase)
        return key if good else None

    # -- limits --------------------------------------------------------------------------------------

    def charge(self, key: Key, cost: int, now: int, *, cancels: bool) -> dict[str, str]:
        """Take from a key's bucket; the headers that tell of it. Raises Refusal with them at the limit."""
        bucket = key.cancels if cancels else key.orders
        enough = bucket.take(cost, now, debt=cancels and key.tier in IN_DEBT)
        headers = {
            "Poly-RateLimit-Remaining": f"{bucket.level / NS_PER_S:.2f}",
            "Poly-RateLimit-Reset": str(bucket.reset(cost, now)),
            "Poly-RateLimit-Tier": key.tier,
        }
        if not enough:
            headers["Retry-After"] = str(max(1, bucket.reset(cost, now) - now // NS_PER_S))
            raise Refusal("rate limit exceeded", 429, headers=headers)
        return headers

    def check_mode(self, *, cancels: bool, post_only: bool = False) -> None:
        """Raises Refusal when the venue's mode does not allow this."""
        if self.mode == "restarting":
            raise Refusal("matching engine is restarting", 425)
        if self.mode == "disabled":
            raise Refusal("trading is currently disabled", 503)
        if self.mode == "cancel_only" and not cancels:
            raise Refusal("trading is currently cancel-only. New orders are not accepted", 503)
        if self.mode == "post_only" and not (cancels or post_only):
            raise Refusal(
                "post-only mode: only post-only orders and cancels are allowed",
                503,
                body={"code": "post_only_mode", "retry_after_seconds": POST_ONLY_SECONDS},
            )

    # -- the dead man's switch -------------------------------------------------------------------------

    def heartbeat(self, key: Key, given: str, now: int) -> str:
        """Accept a beat; the id of the next one. Raises Refusal with the expected id for a wrong one."""
        if key.beat is not None and given != key.beat:
            raise Refusal(
                "Invalid Heartbeat ID", 400, body={"error_msg": "Invalid Heartbeat ID", "heartbeat_id": key.beat}
            )
        if key.beat is None and given:
            raise Refusal("Invalid Heartbeat ID", 400, body={"error_msg": "Invalid Heartbeat ID", "heartbeat_id": ""})
        key.beat = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key.key}:{now}"))
        key.beat_at = now
        return key.beat

    def sweep(self, now: int) -> None:
        """Cancel everything of the keys whose beat is overdue. Looks every SWEEP only."""
        if now < self.next_sweep:
            return
        self.next_sweep = now + SWEEP
        for key in self.keys.values():
            if key.beat is not None and now - key.beat_at >= HEARTBEAT:
                ids = [order.id for order in key.account.open_orders() if order.owner == key.key]
                if ids:
                    self.exchange.cancel(key.account, ids)
                    self.heartbeats_lost += 1
