"""The guard of a run that sends: made, told what it must know, and watched, so that people hear why nothing is signed.

Around the key stands `venue.guard` and, where real money is at stake, the chain as two or more providers tell it.
What the guard is not told grows old and refuses; the run then opens nothing, and says which bot refuses and why.

Invariants
    D1  a run that sends to a venue with real money has a guard that reads the chain, or it does not begin
    D2  a key has one environment: its first use in each is recorded, and sec.keyrotationreminder judges the record
    D3  while the guard would refuse any order, nothing is opened (`Brake`): no order is decided only to be refused
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from polytraders.config import home
from polytraders.errors import ConfigError, UsageError
from polytraders.run import clearance
from polytraders.run.brake import Brake
from polytraders.run.findings import tell
from polytraders.run.services import Services
from polytraders.security.keyrotationreminder import KeyUse
from polytraders.units import NS_PER_S
from polytraders.venue.chain import providers
from polytraders.venue.keeper import Keeper, engage, fingerprint

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.markets import MarketInfo
    from polytraders.run.live import Runner
    from polytraders.venue.chain.watch import Watch
    from polytraders.venue.guard import Guard
    from polytraders.venue.orders import Account, Key
    from polytraders.venue.polymarket.hosts import Environment
    from polytraders.venue.polymarket.port import PolymarketPort

LOOKS_EVERY = 0.5
"""s between two looks at what would refuse."""
SETTLES = 15 * NS_PER_S
"""What a match may take to reach a balance at the chain: held back until a reading so much later."""
REAL = "polymarket"
"""The venue at which keys stand for money."""
KEYS = "keys.json"
"""Record of keys in POLYTRADERS_HOME: hash of the address -> environment -> ns of its first use."""


def refuse_unguarded(venue: str) -> None:
    """Where real money is, the guard reads the chain from two providers or no run begins. Raises UsageError."""
    if venue == "local":
        return
    given = providers.urls()
    if not providers.enough(given):
        raise UsageError(
            f"orders are to go to {venue}, and {len(given) or 'no'} providers of the chain are named",
            where=providers.RPC,
            rule=f"what signs with real money compares what {providers.LEAST} or more, on different hosts, say",
            mend=f"set {providers.RPC} to their URLs, or leave dry_run = true in [live]",
        )
    providers.connect_all(given, 137).close()  # the extra is there


def record_use(key: Key, environment: str, now: int, path: Path | None = None) -> list[KeyUse]:
    """Note that a key is used in an environment; all its recorded uses. Raises ConfigError for a damaged record.

    Without real money behind it a key does not age: its use counts from now.
    """
    path = path or home() / KEYS
    try:
        known = orjson.loads(path.read_bytes()) if path.exists() else {}
        uses = {str(f): {str(e): int(at) for e, at in where.items()} for f, where in known.items()}
    except (ValueError, AttributeError, TypeError, OSError) as error:
        raise ConfigError(
            f"the record of keys cannot be read: {error}",
            where=str(path),
            rule="JSON: hash of an address -> environment -> ns",
            mend="restore it; without it nobody knows how old the keys are",
        ) from None
    mine = uses.setdefault(fingerprint(key.address), {})
    if environment not in mine:
        mine[environment] = now
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(orjson.dumps(uses, option=orjson.OPT_INDENT_2))
        part.replace(path)
    return [
        KeyUse("signer", fingerprint(key.address), where, at if where == REAL else now, where == REAL)
        for where, at in mine.items()
    ]


def guard_of(env: Environment, settings: Settings, strategy: str, key: Key, owner: Account) -> Guard:
    """The guard of a run, its session begun. Away from a local venue it asks the bots of the chain."""
    real, now = env.name != "local", time.time_ns()
    return engage(
        key, owner, settings, strategy, now=now, uses=record_use(key, env.name, now), environment=env.name, chain=real,
        settles=SETTLES if real else 0,
    )  # fmt: skip


def watch_of(guard: Guard, infos: list[MarketInfo], urls: tuple[str, ...]) -> Watch:
    """What reads the chain for a guard, in a thread of its own."""
    from polytraders.venue.chain.addresses import contracts
    from polytraders.venue.chain.wallet import Wallet
    from polytraders.venue.chain.watch import Watch

    nodes, where = providers.connect_all(urls, guard.account.chain_id), contracts(guard.account.chain_id)
    tokens = [int(token) for info in infos for token in (info.yes_token, info.no_token)]
    exchange = where.neg_risk_exchange if all(info.neg_risk for info in infos) else where.exchange
    wallet = Wallet(nodes, where, guard.account.maker)
    return Watch(wallet, tokens, exchange, guard.limits("sec.rpcfailovermanager"), time.time_ns)


def attach(runner: Runner, port: PolymarketPort, settings: Settings, watch: Watch | None = None) -> Keeper:
    """Have a run tell its guard what it must know, and people what the guard finds. Before `Runner.run`.

    watch: reads the chain; by default as the port's guard and the variable with the providers have it.
    """
    guard = port.guard
    if watch is None and guard.chain:
        watch = watch_of(guard, port.markets, providers.urls())
    keeper, brake = Keeper(port, watch, runner.now), Brake.of(runner)
    brake.press("guard", "nothing is known yet")

    def halting(halted: bool) -> None:
        guard.kill_switch = halted

    runner.halting = halting
    halting(runner.halted)

    async def look() -> None:
        while True:
            refusing, found = keeper.look(runner.now())
            for bot_id, said, over in found:
                tell(runner, bot_id, said, over)
            if refusing:
                bot_id, said = refusing[0]
                brake.press("guard", f"{bot_id}: {said.code}")
            else:
                brake.release("guard")
            await asyncio.sleep(LOOKS_EVERY)

    runner.add_task("clearance", clearance.watch(port, settings, runner))
    runner.add_task("funds", keeper.funds)
    if watch is not None:
        runner.add_task("chain", keeper.chain)
    runner.add_task("guard", look)
    runner.add_health("guard", keeper.state)
    Services(runner, port, settings, watch.wallet.nodes if watch is not None else None).attach()
    return keeper
