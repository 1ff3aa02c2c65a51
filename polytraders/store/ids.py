"""Names of intents, runs and envelopes: short, sortable where it matters, and the same on every rebuild.

A correlation id holds a tag of its run and its correlation number, so that the run and the rows are
found from the id alone, without an index:

    cor_ + 8 characters of SHA-256(run id) + the correlation number in at least 7 characters

The intent of that correlation has the same id with oi_ in front; where one is asked for, the other
is taken too. Characters are Crockford's base 32 (no I, L, O, U; case does not matter, I and L read
as 1, O as 0). Number 0 stands for what no intent caused.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from polytraders.errors import UsageError
from polytraders.units import NS_PER_MS

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32."""
_VALUE = {c: i for i, c in enumerate(ALPHABET)} | {"I": 1, "L": 1, "O": 0}
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
TAG_CHARACTERS = 8
CORR_CHARACTERS = 7
"""Correlation numbers below 2^35 have ids of one length, in the order of their numbers."""
INTENT, CORRELATION = "oi_", "cor_"


def base32(value: int, width: int) -> str:
    """`value` >= 0 in base 32, at least `width` characters."""
    text = ""
    while value:
        value, digit = divmod(value, 32)
        text = ALPHABET[digit] + text
    return text.rjust(width, "0")


def run_tag(run_id: str) -> str:
    """The 8 characters that stand for a run in its correlation ids (40 bits)."""
    return base32(int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:5]), TAG_CHARACTERS)


def _body(run_id: str, corr: int) -> str:
    if corr < 0:
        raise UsageError("a correlation number is negative", where=str(corr), rule="0, 1, 2 ...")
    return run_tag(run_id) + base32(int(corr), CORR_CHARACTERS)


def intent_id(run_id: str, corr: int) -> str:
    """Id of the run's corr-th intent."""
    return INTENT + _body(run_id, corr)


def correlation_id(run_id: str, corr: int) -> str:
    """Id of everything that belongs to the run's corr-th intent."""
    return CORRELATION + _body(run_id, corr)


def parse_id(text: str) -> tuple[str, int]:
    """(run tag, correlation number) of a correlation or intent id. Raises `UsageError` when it is neither."""
    prefix, mark, body = text.strip().partition("_")
    body = body.upper()
    known = prefix.lower() + mark in (INTENT, CORRELATION)
    if not known or len(body) < TAG_CHARACTERS + CORR_CHARACTERS or any(c not in _VALUE for c in body):
        raise UsageError(
            "not a correlation id",
            where=repr(text),
            rule=f"oi_ or cor_ and at least {TAG_CHARACTERS + CORR_CHARACTERS} letters and digits",
            mend="copy it from a report, an envelope or the page of `polytraders trace`",
        )
    values = [_VALUE[c] for c in body]
    corr = 0
    for value in values[TAG_CHARACTERS:]:
        corr = corr * 32 + value
    return "".join(ALPHABET[value] for value in values[:TAG_CHARACTERS]), corr


@lru_cache(1 << 10)
def _time_part(ms: int) -> str:
    return f"env_{base32(ms, 10)}"


def envelope_id(ns: int, run_id: str, seq: int) -> str:
    """`contracts.envelope_id` of the same parts, several times as fast: a ULID of time `ns` that is always the same."""
    digest = hashlib.sha256(f"{run_id}\x1f{seq}".encode()).digest()
    a, b = int.from_bytes(digest[:5]), int.from_bytes(digest[5:10])  # 40 bits: four pairs of characters each
    p = _PAIRS
    return (
        f"{_time_part(ns // NS_PER_MS)}{p[a >> 30]}{p[a >> 20 & 1023]}{p[a >> 10 & 1023]}{p[a & 1023]}"
        f"{p[b >> 30]}{p[b >> 20 & 1023]}{p[b >> 10 & 1023]}{p[b & 1023]}"
    )
