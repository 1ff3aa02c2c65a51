"""Where a venue answers: one object that every client of it is built from.

`polymarket()` is production; `local(line)` is what `polytraders venue serve --json` prints. Nothing else in the package
knows a host name, so that the same code trades on both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from polytraders.errors import UsageError

POLYGON = 137
"""Chain id of production; the local venue takes orders signed for it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """URLs without a trailing slash. "" = this venue has no such service. admin: switches of the local venue."""

    name: str  # polymarket | local
    rest: str
    market_ws: str
    user_ws: str
    gamma: str
    data: str
    rtds: str = ""
    geoblock: str = ""
    chain_id: int = POLYGON
    admin: str = ""
    shows_own: bool = True  # our own orders stand in its market channel, among all others


def polymarket() -> Environment:
    """Production."""
    return Environment(
        name="polymarket",
        rest="https://clob.polymarket.com",
        market_ws="wss://ws-subscriptions-clob.polymarket.com/ws/market",
        user_ws="wss://ws-subscriptions-clob.polymarket.com/ws/user",
        gamma="https://gamma-api.polymarket.com",
        data="https://data-api.polymarket.com",
        rtds="wss://ws-live-data.polymarket.com",
        geoblock="https://polymarket.com/api/geoblock",
    )


_NEEDED = ("rest", "market_ws", "user_ws", "gamma", "data")


def local(line: str | bytes | dict[str, Any]) -> Environment:
    """A local venue by the line it printed (or that line as an object). Raises UsageError when it is none."""
    try:
        said = line if isinstance(line, dict) else orjson.loads(line)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict) or not all(isinstance(said.get(role), str) and said[role] for role in _NEEDED):
        raise UsageError(
            f"{str(line)[:80]!r} does not name a local venue",
            rule="one JSON object with the URLs " + ", ".join(_NEEDED),
            mend="give the line that `polytraders venue serve --json` prints",
        )
    known = {role: said[role].rstrip("/") for role in (*_NEEDED, "rtds", "geoblock", "admin") if said.get(role)}
    for role, url in known.items():
        host = urlsplit(url).hostname or ""
        if host == "polymarket.com" or host.endswith(".polymarket.com"):
            raise UsageError(
                f"{role} is at {host}, which is no local venue",
                rule="a local venue is one's own: what guards real money is not asked there",
                mend="--venue polymarket",
            )
    return Environment(name="local", **known, shows_own=not said.get("apart"))
