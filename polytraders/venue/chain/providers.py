"""Who is asked about the chain: URLs from the environment, by name. web3 is imported when they are connected.

A URL may hold the key of an account with the provider: none is shown, logged or put into a manifest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from polytraders.errors import UsageError

if TYPE_CHECKING:
    from polytraders.venue.chain.nodes import Nodes

RPC = "POLYTRADERS_RPC"
"""Variable with the URLs of nodes of the chain, spaces or commas between them: two or more for a run that sends."""
LEAST = 2
"""Providers that must say the same: one alone is believed by nobody."""


def urls(text: str | None = None) -> tuple[str, ...]:
    """The URLs in a text, by default in the variable. Raises UsageError for one that is none; it is not shown."""
    found = (os.environ.get(RPC, "") if text is None else text).replace(",", " ").split()
    for number, url in enumerate(found, 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"entry {number} is no URL", where=RPC, rule="http:// or https:// and a host")
    return tuple(dict.fromkeys(found))


def names(given: tuple[str, ...]) -> tuple[str, ...]:
    """A name of each for logs: the last two parts of its host, which are the company's, and a number."""
    return tuple(
        f"{number}-{'.'.join((urlsplit(url).hostname or '').rsplit('.', 2)[-2:])}"
        for number, url in enumerate(given, 1)
    )


def enough(given: tuple[str, ...]) -> bool:
    """Are they of as many hosts as must agree? Two URLs of one host are one provider."""
    return len({urlsplit(url).netloc.rpartition("@")[2] for url in given}) >= LEAST


def connect_all(given: tuple[str, ...], chain_id: int) -> Nodes:
    """The pool. Raises Refused for fewer than must agree, UsageError without the extra `chain`."""
    try:
        from polytraders.venue.chain.nodes import Nodes, connect
    except ImportError as error:
        raise UsageError(
            f"the chain cannot be read: {error.name} is missing",
            where=RPC,
            rule="what guards a signature with real money reads the chain",
            mend="pip install 'polytraders[chain]'",
        ) from None
    return Nodes([connect(name, url) for name, url in zip(names(given), given, strict=True)], chain_id, least=LEAST)
