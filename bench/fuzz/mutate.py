"""Messages as nobody should send them: seeded mutations of bytes and of JSON."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 1e300, -0.0, 2**63, 2**70 // 3, "", " ", "0", "1", "-1", "0.5", "1.5", "0.50",
    "5e-1",
    "0.00001", "NaN", "Infinity", "-Infinity", "1e400", "1_0", "٣", "0x10", "0.5\u0000", "BUY", "SELL", "buy", "ASK",
    "book",
    "price_change", "market_resolved", [], {}, [[]], [None], {"price": "0.5"}, [{"price": "0.5", "size": "1"}],
    "9" * 400, "\ud7ff", "null", "PONG", "99999999999", "12345678901234567890", "0.1234567", "1" + "0" * 12,
)  # fmt: skip


def mutated(frame: Any, dice: random.Random) -> bytes:
    """A message, changed in one to three ways."""
    whole = deepcopy(frame)
    if dice.random() < 0.55:
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            whole = _value(whole, dice)
        return _text(whole).encode()
    data = bytearray(_text(whole).encode())
    for _ in range(dice.choice((1, 1, 2, 3))):
        data = _bytes(data, dice)
    return bytes(data)


def _odd(dice: random.Random) -> Any:
    """One of the odd values; a copy, for the next change may be made inside of it."""
    return deepcopy(dice.choice(ODD))


def _text(whole: Any) -> str:
    return json.dumps(whole, separators=(",", ":"))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    found: list[tuple[Any, Any]] = []
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        found.append((value, key))
        found += _places(value[key])
    return found


def _value(whole: Any, dice: random.Random) -> Any:
    places = _places(whole)
    if not places or dice.random() < 0.03:
        return dice.choice((_odd(dice), [whole], [whole, whole], [whole, None], {"event_type": whole}, _text(whole)))
    container, key = dice.choice(places)
    what = dice.random()
    if what < 0.35:
        container[key] = _odd(dice)
    elif what < 0.5:
        del container[key]
    elif what < 0.6 and isinstance(container, dict):
        container[str(key) + dice.choice(("_", " ", "s"))] = container.pop(key)
    elif what < 0.75:
        other, place = dice.choice(places)
        container[key] = deepcopy(other.get(place) if isinstance(other, dict) else _at(other, place))
    elif isinstance(container, list):
        container.insert(key, deepcopy(container[key]))
    elif isinstance(container[key], str) and container[key]:
        text = container[key]
        at = dice.randrange(len(text))
        container[key] = text[:at] + dice.choice(("", "0", "9", ".", "-", "e", "a", text[at] * 2)) + text[at + 1 :]
    else:
        container[dice.choice(("extra", "price", "event_type", "bids", "timestamp"))] = _odd(dice)
    return whole


def _at(listed: list[Any], place: int) -> Any:
    return listed[place] if place < len(listed) else None


def _bytes(data: bytearray, dice: random.Random) -> bytearray:
    if not data:
        return bytearray(b"x")
    at = dice.randrange(len(data))
    what = dice.random()
    if what < 0.35:
        data[at] = dice.randrange(256)
    elif what < 0.5:
        data[at] ^= 1 << dice.randrange(8)
    elif what < 0.65:
        del data[at : at + dice.randint(1, 20)]
    elif what < 0.75:
        data[at:at] = bytes(dice.randrange(256) for _ in range(dice.randint(1, 6)))
    elif what < 0.85:
        data = data[:at]
    elif what < 0.95:
        data[at:at] = data[at : at + dice.randint(1, 40)]
    else:
        data = data[:at] + bytearray(b"[" * dice.choice((10, 2_000, 100_000))) + data[at:]
    return data
