"""The pinned table of the venue's contracts: what may be signed for, called, or allowed to take tokens.

It changes by a reviewed commit only. Purposes: `order` (a signature under the contract's own domain), `call` (target
of a transaction), `spender` (may be approved), `pause` (target of the emergency stop).
"""

from __future__ import annotations

from typing import NamedTuple

from polytraders.security.contractaddressguard import Pinned
from polytraders.venue.orders.typed import AMOY, EXCHANGES, POLYGON, domain_separator
from polytraders.venue.refusal import Refused


class Contracts(NamedTuple):
    """Addresses of one chain; "" where the contract is not known there."""

    exchange: str
    neg_risk_exchange: str
    pusd: str
    ctf: str  # ConditionalTokens, ERC-1155
    adapter: str  # CtfCollateralAdapter: split, merge and redeem against pUSD
    neg_risk_adapter: str  # NegRiskCtfCollateralAdapter
    converter: str  # NegRiskAdapter: convertPositions


CONTRACTS = {
    POLYGON: Contracts(
        EXCHANGES[POLYGON, False].contract,
        EXCHANGES[POLYGON, True].contract,
        "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB",
        "0x4D97DCd97eC945f40cF65F87097ACe5EA0476045",
        "0xAdA100Db00Ca00073811820692005400218FcE1f",
        "0xadA2005600Dec949baf300f4C6120000bDB6eAab",
        "0xd91E80cF2E7be2e162c6513ceD06f1dD0dA35296",
    ),
    AMOY: Contracts(
        EXCHANGES[AMOY, False].contract,
        EXCHANGES[AMOY, True].contract,
        "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB",
        "0x69308FB512518e39F9b16112fA8d994F4e2Bf8bB",
        "",
        "",
        "",
    ),
}
"""Chain id -> contracts."""

RETIRED = frozenset(
    {
        "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e",  # exchanges of version 1, until April 2026
        "0xc5d563a36ae78145c45a50134d48a1215220f80a",
    }
)
"""Contracts that must never be used again, in small letters."""


def contracts(chain_id: int) -> Contracts:
    """The contracts of a chain. Raises `Refused` where there are none."""
    try:
        return CONTRACTS[chain_id]
    except KeyError:
        raise Refused("SEC_WRONG_CHAIN", f"there is no venue on chain {chain_id!r}", where="chain_id") from None


def pinned(chain_id: int, table: Contracts | None = None) -> dict[str, Pinned]:
    """The allow-list of a chain, by small-letter address. `table`: other addresses, for a chain of one's own."""
    from polytraders.venue.orders.typed import Domain

    where = table or contracts(chain_id)
    rows = {}
    for name, address in where._asdict().items():
        if not address:
            continue
        separator = ""
        if name in ("exchange", "neg_risk_exchange"):
            domain = Domain("Polymarket CTF Exchange", "2", chain_id, address)
            separator, purposes = domain_separator(domain).hex(), {"order", "spender", "pause"}
        else:
            purposes = {"call"} if name in ("pusd", "ctf") else {"call", "spender"}
        rows[address.lower()] = Pinned(name, frozenset(purposes), separator)
    return rows


def spenders(chain_id: int, table: Contracts | None = None) -> frozenset[str]:
    """Who may be allowed to take tokens, small-letter addresses."""
    return frozenset(address for address, row in pinned(chain_id, table).items() if "spender" in row.purposes)
