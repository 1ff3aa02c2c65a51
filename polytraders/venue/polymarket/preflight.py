"""May this account trade here now? Each check has its own message and reason code; one that cannot be made fails.

The order is that in which a person would mend them: reach the venue, agree on the time, be allowed to trade from here,
be known, be allowed to trade at all, have what is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polytraders.data.markets import MarketInfo
from polytraders.reasons import REGISTRY
from polytraders.units import MICRO, NS_PER_S, money_text
from polytraders.venue.orders import AMOY, POLYGON, Account
from polytraders.venue.orders import exchange as domain_of
from polytraders.venue.polymarket.client import Answer, Client
from polytraders.venue.refusal import Refused

MOST_SKEW = 5 * NS_PER_S
"""ns by which the clocks may differ: signed requests are refused from a minute behind on, and ahead of it at once."""


@dataclass(frozen=True)
class Check:
    """One answer. code: the reason when it is not good; "" for one that does not apply."""

    name: str
    good: bool
    code: str
    what: str
    where: str = ""
    mend: str = ""

    def refusal(self) -> Refused:
        return Refused(self.code, self.what, where=self.where, mend=self.mend)

    def as_dict(self) -> dict[str, Any]:
        mend = "" if self.good else self.mend or REGISTRY[self.code].action
        code = "" if self.good else self.code
        return {"check": self.name, "good": self.good, "code": code, "what": self.what, "mend": mend}


def said(answer: Answer) -> str:
    """An answer that is not good, in words."""
    if answer.problem:
        return answer.problem
    body = answer.body.get("error", answer.body) if isinstance(answer.body, dict) else answer.body
    return f"HTTP {answer.status}: {str(body)[:160]}"


def check_chain(account: Account, chain_id: int) -> Check:
    """The account, the venue and the contracts are of one chain."""
    if account.chain_id not in (POLYGON, AMOY) or account.chain_id != chain_id:
        what = f"the account is of chain {account.chain_id}, the venue's exchange of chain {chain_id}"
        return Check("chain", False, "SEC_WRONG_CHAIN", what, "chain_id", f"use chain {chain_id}")
    return Check("chain", True, "", f"chain {chain_id}")


async def check_clock(client: Client, most: int = MOST_SKEW) -> Check:
    """The venue answers, and its clock is near ours. The venue tells whole seconds."""
    measured = await client.time()
    if measured is None:
        what = f"{client.hosts.rest} does not answer"
        return Check("venue", False, "EXEC_VENUE_UNREACHABLE", what, client.hosts.rest)
    theirs, trip = measured
    skew = theirs - client.clock()
    if abs(skew) > most + NS_PER_S // 2 + trip:
        what = f"the venue's clock is {skew / NS_PER_S:+.1f} s from this machine's, more than {most / NS_PER_S:g} s"
        return Check("clock", False, "SEC_CLOCK_SKEW", what, client.hosts.rest)
    return Check("clock", True, "", f"{skew / NS_PER_S:+.1f} s from the venue's, round trip {trip / 1e6:.0f} ms")


async def check_geoblock(client: Client) -> Check:
    """The venue takes orders from here. No answer is a no."""
    if not client.hosts.geoblock:
        if client.hosts.name != "polymarket":
            return Check("geoblock", True, "", f"the venue {client.hosts.name} has no such page")
        return Check("geoblock", False, "SEC_GEOBLOCK_UNKNOWN", "no page is named that would say", "geoblock")
    answer = await client.geoblock()
    blocked = answer.body.get("blocked") if answer.good and isinstance(answer.body, dict) else None
    if not isinstance(blocked, bool):
        what = f"{client.hosts.geoblock} does not say whether orders are taken from here: {said(answer)}"
        return Check("geoblock", False, "SEC_GEOBLOCK_UNKNOWN", what, client.hosts.geoblock)
    where = "-".join(str(answer.body[name]) for name in ("country", "region") if answer.body.get(name))
    if blocked:
        what = f"orders are not taken from {where or 'here'} ({answer.body.get('ip', 'address not told')})"
        return Check("geoblock", False, "SEC_GEOBLOCKED", what, client.hosts.geoblock)
    return Check("geoblock", True, "", f"orders are taken from {where or 'here'}")


async def check_credentials(client: Client) -> tuple[Check, Check]:
    """(credentials, account): the API key is accepted, and the account may open positions."""
    answer = await client.get("/auth/ban-status/closed-only")
    if not answer.good or not isinstance(answer.body, dict):
        code = "SEC_CREDENTIALS_REFUSED" if answer.status in (401, 403) else "EXEC_VENUE_UNREACHABLE"
        what = f"the API key {client.credentials.api_key} of {client.address} is not accepted: {said(answer)}"
        mend = "" if answer.status in (401, 403) else "try again; the venue did not say whether the key is good"
        bad = Check("credentials", False, code, what, "API key", mend)
        return bad, Check("account", False, bad.code, "not known without accepted credentials", mend=bad.mend)
    good = Check("credentials", True, "", f"API key {client.credentials.api_key} of {client.address}")
    if answer.body.get("closed_only") is not False:
        what = f"{client.address} may only close positions"
        return good, Check("account", False, "SEC_CLOSED_ONLY", what, client.address)
    return good, Check("account", True, "", "may open positions")


async def check_money(
    client: Client, account: Account, markets: Sequence[MarketInfo], least: int
) -> tuple[Check, Check]:
    """(allowance, balance) of pUSD. The exchanges are those of the markets traded. least: micro-pUSD to begin with."""
    answer = await client.balance(signature_type=int(account.signature_type))
    body = answer.body if isinstance(answer.body, dict) else {}
    try:
        balance = int(body["balance"])
        allowances = {str(name).lower(): int(value) for name, value in body.get("allowances", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        what = f"the venue does not tell the balance: {said(answer)}"
        unknown = Check("allowance", False, "EXEC_VENUE_UNREACHABLE", what, account.maker, "try again")
        return unknown, Check("balance", False, "EXEC_VENUE_UNREACHABLE", what, account.maker, "try again")
    needed = {neg: domain_of(account.chain_id, neg).contract for neg in {bool(m.neg_risk) for m in markets}}
    missing = [name for name in needed.values() if allowances.get(name.lower(), 0) < max(least, 1)]
    if missing:
        what = f"{' and '.join(missing)} may not move {money_text(max(least, MICRO))} pUSD of {account.maker}"
        allowance = Check("allowance", False, "SEC_ALLOWANCE_MISSING", what, account.maker)
    else:
        allowance = Check("allowance", True, "", f"{len(needed)} exchange contract(s) may move pUSD of {account.maker}")
    if balance < max(least, 1):
        what = f"{account.maker} has {money_text(balance)} pUSD, and at least {money_text(max(least, 1))} is needed"
        return allowance, Check(
            "balance", False, "EXEC_NOT_ENOUGH_BALANCE", what, account.maker, "deposit pUSD, or trade with less"
        )
    return allowance, Check("balance", True, "", f"{money_text(balance)} pUSD")


async def check_markets(client: Client, markets: Sequence[MarketInfo]) -> Check:
    """Every market has a book at the venue. Asked in small groups, as the tick's limit allows."""
    unknown: list[str] = []
    for first in range(0, len(markets), 16):
        part = markets[first : first + 16]
        answers = await asyncio.gather(*(client.tick_size(market.yes_token) for market in part))
        unknown += [m.slug or m.condition_id for m, a in zip(part, answers, strict=True) if a.status in (400, 404)]
        if (silent := next((a for a in answers if not a.good and a.status not in (400, 404)), None)) is not None:
            return Check("markets", False, "EXEC_VENUE_UNREACHABLE", said(silent), client.hosts.rest, "try again")
    if unknown:
        what = f"no order book for {', '.join(unknown[:5])}" + (f" and {len(unknown) - 5} more" * (len(unknown) > 5))
        return Check("markets", False, "EXEC_MARKET_UNKNOWN", what, "markets")
    return Check("markets", True, "", f"{len(markets)} with an order book")


async def checks(client: Client, account: Account, markets: Sequence[MarketInfo], least: int) -> list[Check]:
    """All of them, in order; a check whose ground is missing is left out. least: micro-pUSD to begin with."""
    made = [check_chain(account, client.hosts.chain_id), await check_clock(client)]
    if made[-1].code == "EXEC_VENUE_UNREACHABLE":
        return made
    made.append(await check_geoblock(client))
    made += await check_credentials(client)
    if made[-1].good or made[-1].code == "SEC_CLOSED_ONLY":
        made += await check_money(client, account, markets, least)
    if markets:
        made.append(await check_markets(client, markets))
    return made
