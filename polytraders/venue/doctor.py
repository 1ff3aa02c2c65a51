"""Is everything there that a live run needs? One line each, with what to do about it: `polytraders doctor`.

Nothing is sent that changes anything; without a key what needs none is still checked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from polytraders.units import MICRO
from polytraders.venue.chain import providers
from polytraders.venue.chain.providers import RPC
from polytraders.venue.orders import Account, Credentials, SignatureType, account
from polytraders.venue.polymarket import preflight
from polytraders.venue.polymarket.client import Client
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.preflight import Check
from polytraders.venue.refusal import Refused
from polytraders.venue.visit import TEST_KEY, credentials_for, key_for

LEAST_DISK = 2 << 30
"""Bytes free where logs and recordings go."""
NO_KEY = "set POLYTRADERS_KEY, or POLYTRADERS_KEYSTORE with its password file"


def check_disk(folder: Path) -> Check:
    """Room and permission where logs and recordings go."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Check("disk", False, "", f"{there} cannot be written to", str(folder), "change its owner")
    what = f"{free / (1 << 30):.1f} GB free at {folder}"
    mend = f"make room, or set POLYTRADERS_HOME to a larger disk: at least {LEAST_DISK >> 30} GB"
    return Check("disk", free >= LEAST_DISK, "", what, str(folder), mend)


async def check_hosts(env: Environment) -> list[Check]:
    """Each host answers something. A socket's host is asked by a plain request: any answer will do."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=8)) as session:

        async def ask(name: str, url: str) -> Check:
            began = time.perf_counter()
            plain = "http" + url[2:] if url.startswith("ws") else url
            try:
                async with session.get(plain, allow_redirects=False) as answer:
                    took = (time.perf_counter() - began) * 1_000
                    good = answer.status < 500
                    what = f"{url}: HTTP {answer.status} in {took:.0f} ms"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                good, what = False, f"{url}: {type(error).__name__} {error}"
            return Check(f"host {name}", good, "" if good else "EXEC_VENUE_UNREACHABLE", what, url)

        names = {
            "rest": env.rest + "/ok" if env.rest else "", "market_ws": env.market_ws, "user_ws": env.user_ws,
            "gamma": env.gamma, "data": env.data, "rtds": env.rtds,
        }  # fmt: skip
        return list(await asyncio.gather(*(ask(name, url) for name, url in names.items() if url)))


def check_providers(env: Environment) -> list[Check]:
    """Enough providers of the chain are named for a run that sends real money; elsewhere none is needed."""
    given = providers.urls()
    if env.name != "polymarket":
        return []
    what = f"{len(given)} named" + (f": {', '.join(providers.names(given))}" if given else "")
    mend = f"set {RPC} to the URLs of two or more, of different companies"
    return [Check("chain providers", providers.enough(given), "SEC_RPC_QUORUM_LOST", what, RPC, mend)]


async def check_code(owner: Account, url: str) -> Check:
    """The wallet that pays has code on the chain, unless it is the key itself."""
    if owner.signature_type == SignatureType.EOA:
        return Check("wallet code", True, "", "the key itself pays: no contract is needed")
    if not url:
        what = f"whether {owner.maker} is deployed is not known without a node of the chain"
        return Check("wallet code", False, "SEC_WALLET_CODE_MISSING", what, RPC, f"set {RPC} to the URL of a node")
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": [owner.maker, "latest"]}
    try:
        limit = aiohttp.ClientTimeout(total=8)
        async with aiohttp.ClientSession(timeout=limit) as session, session.post(url, json=body) as answer:
            code = str((await answer.json(content_type=None))["result"])
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
        what = f"the node does not tell the code of {owner.maker}: {type(error).__name__}"
        return Check("wallet code", False, "SEC_WALLET_CODE_MISSING", what, RPC, "name a node that answers")
    size = max(len(code.removeprefix("0x")) // 2, 0)
    if not size:
        return Check("wallet code", False, "SEC_WALLET_CODE_MISSING", f"there is no contract at {owner.maker}", RPC)
    return Check("wallet code", True, "", f"{size} bytes at {owner.maker}")


def left_out(name: str, why: str, mend: str) -> Check:
    """A check whose ground is missing."""
    return Check(name, False, "SEC_KEY_UNUSABLE", why, name, mend)


async def examine(env: Environment, wallet: SignatureType, folder: Path, rpc: str = "") -> list[Check]:
    """Every check, in order. env: the venue. wallet: what pays. folder: POLYTRADERS_HOME."""
    made = [check_disk(folder), *await check_hosts(env)]
    nobody = Client(env, "0x" + "00" * 20, Credentials("", "", ""))
    async with nobody:
        made += [await preflight.check_clock(nobody), await preflight.check_geoblock(nobody)]
    try:
        key = key_for(_where(env))
    except Refused as error:
        made.append(Check("key", False, error.code, error.what, error.where, error.mend))
        return made + [left_out(n, "not known without a key", NO_KEY) for n in ("wallet", "credentials", "allowance")]
    test = " (the key of every local test chain)" if key.address == _test_address() else ""
    made.append(Check("key", True, "", f"{key.address}{test}"))
    try:
        owner = account(key.address, int(wallet), env.chain_id)
    except Refused as error:
        return [*made, Check("wallet", False, error.code, error.what, error.where, error.mend)]
    made += [
        preflight.check_chain(owner, env.chain_id),
        Check("wallet", True, "", f"{wallet.name}: {owner.maker} pays"),
    ]
    made += check_providers(env)
    made.append(await check_code(owner, rpc or next(iter(providers.urls()), "")))
    try:
        credentials = await credentials_for(env, key)
    except Refused as error:
        return [*made, Check("credentials", False, error.code, error.what, error.where, error.mend)]
    async with Client(env, key.address, credentials) as client:
        made += await preflight.check_credentials(client)
        both: Any = [SimpleNamespace(neg_risk=neg_risk) for neg_risk in (False, True)]
        made += await preflight.check_money(client, owner, both, MICRO)
    return made


def _test_address() -> str:
    from polytraders.venue.orders import Key

    return Key(TEST_KEY).address


def _where(env: Environment) -> Any:
    from polytraders.venue.visit import Address

    return Address(env.rest, env.name, env.user_ws, env.data, env.geoblock, env.chain_id)
