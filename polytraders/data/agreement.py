"""How well a recording's replayed book agrees with what the venue itself said of it, and why where it does not.

Two questions, both answered from the catalog alone:

quotes      a `price_change` or `best_bid_ask` message reports the best bid and the best ask. Each is one check:
            does the book, replayed up to and with this message, have that best price?
snapshots   a full book is pushed after trades and on subscribing. How many levels does the book, replayed up to
            but without it, differ in? (With it they are equal: `checks` proves that.)

Causes of a wrong side (`Cause`): UNTOLD, the venue's best is a level of which no message has spoken since the
market's rows began, an order older than the recording; LINGERING, ours is better than the venue's, a level whose
removal has not come, or never comes; LATE, the venue's best is a level that was told of before but is not (any
more) in our book, its change comes later.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytraders.data.catalog import Catalog
from polytraders.data.checks import Replay
from polytraders.rows import EventKind, Side
from polytraders.units import NS_PER_S

if TYPE_CHECKING:
    import pandas as pd

LASTING = NS_PER_S
"""ns: a side that stays wrong for longer is more than messages overtaking each other."""


class Cause(StrEnum):
    """Why a reported best price is not the replayed book's."""

    UNTOLD = "untold"
    LINGERING = "lingering"
    LATE = "late"


@dataclass(frozen=True)
class Agreement:
    """One recording. quotes: sides checked and equal; episodes: runs of one side of one market being wrong.

    wrong: sides by cause. lasting: of the wrong sides, those in episodes of more than `LASTING`.
    longest_ns, longest_checks: the longest episode and the wrong sides in it. messages, messages_equal: as
    `polytraders data check` counts, both sides at once. books: full books after a market's first; books_equal:
    of them, those that changed nothing; levels: levels that they changed, in all.
    """

    recording: str
    quotes: int
    quotes_equal: int
    messages: int
    messages_equal: int
    wrong: dict[str, int]
    episodes: int
    lasting: int
    longest_ns: int
    longest_checks: int
    books: int
    books_equal: int
    levels: int

    @property
    def rate(self) -> float:
        """Share of the reported best prices that the book shows, 1.0 when none are reported."""
        return self.quotes_equal / self.quotes if self.quotes else 1.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON and golden files."""
        return asdict(self)


def agreement(name: str, *, root: Path | None = None) -> Agreement:
    """Replay a recording of the catalog against its own messages. Raises UsageError for an unknown name."""
    told, wrong = _walk(name, root)
    episodes: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
    for row in wrong:
        episodes.setdefault((row["market"], row["side"], row["episode"]), []).append(row)
    spans = {key: _span(rows) for key, rows in episodes.items()}
    longest = max(spans, key=lambda key: spans[key], default=None)
    return Agreement(
        recording=name,
        **told,
        wrong={str(cause): sum(row["cause"] == cause for row in wrong) for cause in Cause},
        episodes=len(episodes),
        lasting=sum(len(rows) for key, rows in episodes.items() if spans[key] > LASTING),
        longest_ns=spans[longest] if longest else 0,
        longest_checks=len(episodes[longest]) if longest else 0,
    )


def disagreements(name: str, *, root: Path | None = None) -> pd.DataFrame:
    """Every wrong side: message (number), ts (ns received), market, side (rows.Side), reported and replayed (pips;
    0 and 10 000 = none), cause, episode (number within market and side), until (ns at which the episode ends)."""
    import pandas as pd

    return pd.DataFrame(_walk(name, root)[1], columns=list(_WRONG))


def _span(rows: list[dict[str, Any]]) -> int:
    return rows[-1]["until"] - rows[0]["ts"]


_MESSAGE = ("number", "ts_recv", "market", "first_seq", "n_rows", "best_bid", "best_ask", "bid_size")


def _walk(name: str, root: Path | None) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """(counts, wrong sides) of a recording."""
    catalog = Catalog(root)
    events = catalog.load(name).events
    rows = list(zip(*(events[column].tolist() for column in ("kind", "market", "side", "price", "size")), strict=True))
    messages = catalog.table(name, "messages").to_pydict()
    replay, spoken, seen = Replay(), set[tuple[int, int, int]](), set[int]()
    counts = dict.fromkeys(
        ("quotes", "quotes_equal", "messages", "messages_equal", "books", "books_equal", "levels"), 0
    )
    wrong: list[dict[str, Any]] = []
    running: dict[tuple[int, int], list[dict[str, Any]]] = {}
    number_of: dict[tuple[int, int], int] = {}
    for number, ts, market, first, n_rows, bid, ask, total in zip(*(messages[c] for c in _MESSAGE), strict=True):
        before = tuple(map(dict, replay.books.get(market, ({}, {})))) if total is not None else None
        for row in rows[first : first + n_rows] if n_rows else ():
            if row[0] in (EventKind.LEVEL, EventKind.CHANGE):
                spoken.add(row[1:4])
            replay.apply(row)
        if bid is None:
            continue
        if before is not None:
            if market in seen:
                pairs = zip(before, replay.books[market], strict=True)
                changed = sum(len({price for price, _ in old.items() ^ new.items()}) for old, new in pairs)
                counts["books"] += 1
                counts["books_equal"] += not changed
                counts["levels"] += changed
            seen.add(market)
            continue
        equal = 0
        for side, said, own in zip((Side.BUY, Side.SELL), (bid, ask), replay.best(market), strict=True):
            key = (market, int(side))
            if said == own:
                equal += 1
                for row in running.pop(key, ()):
                    row["until"] = ts
                continue
            if key not in running:
                running[key], number_of[key] = [], number_of.get(key, -1) + 1
            better = own > said if side is Side.BUY else own < said
            if better:
                cause = Cause.LINGERING
            else:
                cause = Cause.LATE if (*key, said) in spoken else Cause.UNTOLD
            told = (number, ts, market, int(side), said, own, cause, number_of[key], ts)
            wrong.append(dict(zip(_WRONG, told, strict=True)))
            running[key].append(wrong[-1])
        counts["quotes"] += 2
        counts["quotes_equal"] += equal
        counts["messages"] += 1
        counts["messages_equal"] += equal == 2
    for rows_of in running.values():
        for row in rows_of:
            row["until"] = rows_of[-1]["ts"]
    return counts, wrong


_WRONG = ("message", "ts", "market", "side", "reported", "replayed", "cause", "episode", "until")
