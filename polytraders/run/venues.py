"""Where a run trades: a venue's markets, its market data and the port behind which orders go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytraders.errors import UsageError
from polytraders.rows import EventKind

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.markets import MarketInfo
    from polytraders.run.live import Runner
    from polytraders.venue.orders import Credentials, Key
    from polytraders.venue.polymarket.hosts import Environment
    from polytraders.venue.port import VenuePort

VENUES = ("local", "polymarket")
URLS_VARIABLE = "POLYTRADERS_VENUE"
"""Names a local venue: the line that `polytraders venue serve --json` prints, or a file that holds it."""


def environment(venue: str, line: str = "") -> Environment:
    """Hosts of a venue. line: of a local one, the URLs as JSON or a file with them. Raises UsageError."""
    from polytraders.venue.polymarket import hosts

    if venue == "polymarket":
        return hosts.polymarket()
    if venue != "local":
        raise UsageError(f"there is no venue {venue!r}", where="--venue", rule="one of " + ", ".join(VENUES))
    if not line:
        raise UsageError(
            "no local venue is named",
            where="--venue-urls",
            rule=f"the line that `polytraders venue serve --json` prints, or a file with it; or {URLS_VARIABLE}",
            mend="polytraders venue serve --json > venue.json, then --venue-urls venue.json",
        )
    if not line.lstrip().startswith("{"):
        path = Path(line)
        if not path.is_file():
            raise UsageError("there is no such file", where=line, mend="name the file with the venue's URLs")
        line = path.read_text(encoding="utf-8")
    return hosts.local(line)


async def find_markets(
    env: Environment, slugs: Sequence[str], events: Sequence[str], limit: int
) -> tuple[MarketInfo, ...]:
    """The markets a run is to trade, with their rules in force. Raises Refused for one that cannot be traded."""
    from polytraders.venue.polymarket import rules
    from polytraders.venue.polymarket.discovery import Wanted, find
    from polytraders.venue.polymarket.reader import Reader

    read = Reader()
    try:
        wanted = Wanted(slugs=tuple(slugs), events=tuple(events), limit=0 if slugs else limit)
        found = await find(env, wanted, read)
        named = bool(slugs)
        found = tuple(one for one in found if named or not one.refused)
        return tuple(one.info for one in await rules.load(env, found, read, now=time.time_ns()))
    finally:
        await read.close()


class MarketData:
    """The venue's market channel as a feed of the runner.

    claims: what a resolution pays is owed until it is claimed (`run.claims`), as it is at a real venue.
    """

    def __init__(self, env: Environment, infos: Sequence[MarketInfo], tap: Any = None, claims: bool = False):
        self.env, self.infos, self.tap, self.claims = env, infos, tap, claims
        self.stream: Any = None

    async def __call__(self, runner: Runner) -> None:
        """Put its rows into the runner until it fails or is cancelled."""
        from polytraders.venue.polymarket.market_stream import MarketStream

        def emit(news: Any) -> None:
            if self.claims:
                news.rows["aux"][news.rows["kind"] == EventKind.RESOLUTION] = 1
            runner.put("market data", news.rows, news.keys, news.note)

        self.stream = MarketStream(self.env, self.infos, emit, tap=self.tap, clock=runner.now)
        await self.stream.run()

    def health(self) -> dict[str, Any]:
        return self.stream.health() if self.stream is not None else {}


def credentials(env: Environment, key: Key) -> Credentials:
    """API credentials of a key: those of the environment variables, else made or derived at the venue."""
    import os

    from polytraders.venue.orders.keys import API_KEY, load_credentials

    if os.environ.get(API_KEY):
        return load_credentials()
    return _derived(env, key)


def _derived(env: Environment, key: Key) -> Credentials:
    """Made, or derived where the key has some; asked again while the venue gives no answer."""
    import httpx
    import orjson

    from polytraders.venue.orders import Credentials, login_headers
    from polytraders.venue.refusal import Refused

    said: Any = None
    for wait in (0.0, 0.2, 0.5, 1.0, 2.0):
        time.sleep(wait)
        for method, path in (("POST", "/auth/api-key"), ("GET", "/auth/derive-api-key")):
            try:
                headers = login_headers(key, env.chain_id, int(time.time()), 0)
                answer = httpx.request(method, env.rest + path, headers=headers, timeout=10)
                if answer.status_code == 200:
                    said = orjson.loads(answer.content)
                    return Credentials(said["apiKey"], said["secret"], said["passphrase"])
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                continue
            finally:
                said = None  # a traceback may show what a frame holds
    raise Refused("SEC_CREDENTIALS_UNUSABLE", "the venue gives this key no API credentials", where=env.rest)


def live_port(
    env: Environment, infos: Sequence[MarketInfo], settings: Settings, strategy: str, **options: Any
) -> VenuePort:
    """The port to Polymarket's protocol, with the key of the environment (see `venue.orders.keys`) behind the guard."""
    from polytraders.run.guarding import guard_of
    from polytraders.venue.orders import SignatureType, account, load_key
    from polytraders.venue.polymarket.port import Options, PolymarketPort

    key = load_key()
    owner = account(key.address, int(SignatureType[settings.live.wallet.upper()]), env.chain_id)
    guard = guard_of(env, settings, strategy, key, owner)
    chosen = replace(Options(), **{"reconcile_every": float(settings.live.reconcile_s), **options})
    return PolymarketPort(env, list(infos), guard, credentials(env, key), settings.run.builder_code, chosen)
