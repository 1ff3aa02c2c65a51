"""The desk's list of markets: what is held against which, read once and told to the step as market flags.

One line a finding: a word of `rows.Listed` in small letters, then what it is said of, then why.

    banned          0x9deb0baac40648821f96f01339229a422e2f5c877de55dc4dbf981f95a1e709c   # operator, 2026-04-16
    banned          btc-updown-5m-*      # slug; * and ? stand for anything
    ineligible      event:16282          # every market of an event
    disputed        *-trump-say-*        # two disputes in 2025
    no_source       will-it-rain-in-*
    single_source   *-price-of-*

What a line says adds to what the venue's metadata said (MarketInfo.flags). A file that is named and cannot be read
stops the start; while a run goes on it makes every market `unvetted`, which refuses everything but exits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polytraders.errors import ConfigError
from polytraders.rows import EVENT, EventKind, Flag, Listed

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.markets import MarketInfo

NO_FINDING = (Listed.UNVETTED, Listed.OUT_OF_SCOPE, Listed.CAPPED)
"""Bits that no list sets: whether there was one, and what the desk's portfolio says (`run.bounds`)."""
WORDS = {bit.name.lower(): bit for bit in Listed if bit not in NO_FINDING}
_CONDITION = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Line:
    """One finding of the list."""

    flag: Listed
    target: str  # condition id, `event:` and an event id, or a slug with * and ?
    why: str = ""

    def names(self, info: MarketInfo) -> bool:
        """Does it speak of this market?"""
        if self.target.startswith("0x"):
            return self.target == info.condition_id.lower()
        if self.target.startswith("event:"):
            return self.target[6:] == info.event_id
        return fnmatchcase(info.slug, self.target)


def read_list(path: str | Path) -> tuple[Line, ...]:
    """The list in a file. Raises ConfigError, with the line, for a file that is not readable or a line that is no
    finding."""
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else f"byte {error.start} is no UTF-8"
        raise ConfigError(
            f"the list of markets cannot be read: {what}",
            where=str(path),
            rule="[listing] file names a readable file or nothing",
            mend="mend the file, or leave the key empty to trade without a list",
        ) from None
    return tuple(
        line for number, row in enumerate(text.splitlines(), 1) if (line := _line(row, f"{path}:{number}")) is not None
    )


def _line(row: str, where: str) -> Line | None:
    said, _, why = row.partition("#")
    words = said.split()
    if not words:
        return None
    if words[0] not in WORDS:
        near = get_close_matches(words[0], WORDS, n=1)
        mend = f"did you mean {near[0]}?" if near else "begin the line with one of them"
        raise ConfigError(f"{words[0]!r} is no finding", where=where, rule="one of " + ", ".join(WORDS), mend=mend)
    if len(words) != 2:
        raise ConfigError(
            f"{len(words) - 1} targets",
            where=where,
            rule="one target a line: a condition id, event:ID or a slug",
            mend="write one line for each",
        )
    target = words[1].lower()
    if target.startswith("0x") and not _CONDITION.fullmatch(target):
        raise ConfigError(
            f"{words[1]} is no condition id", where=where, rule="0x and 64 hex digits", mend="copy the whole id"
        )
    return Line(WORDS[words[0]], words[1] if target.startswith("event:") else target, why.strip())


def flags_of(info: MarketInfo, lines: Sequence[Line]) -> int:
    """rows.Listed bits of one market: what its metadata and the list say."""
    flags = info.flags
    for line in lines:
        if line.names(info):
            flags |= line.flag
    return flags


def vet(infos: Sequence[MarketInfo], settings: Settings) -> list[MarketInfo]:
    """The markets of a run, held against the list that the settings name. Raises as `read_list` does."""
    lines = read_list(settings.listing.file) if settings.listing.file else ()
    return [replace(info, flags=flags) if (flags := flags_of(info, lines)) != info.flags else info for info in infos]


def flag_rows(before: Sequence[int], after: Sequence[int], now: int) -> np.ndarray:
    """EVENT[k]: what the step is told when flags change while a run goes on. now: ns; seq is not set."""
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    rows = np.zeros(len(changed), EVENT)
    rows["ts_recv"] = rows["ts_event"] = now
    rows["kind"], rows["flags"] = EventKind.FLAGS, Flag.LAST
    rows["market"], rows["size"] = changed, [after[i] for i in changed]
    return rows


def vet_again(infos: Sequence[MarketInfo], before: Sequence[int], path: str | Path, now: int) -> np.ndarray:
    """EVENT[k]: the list read again while a run goes on. A list that cannot be read makes every market unvetted."""
    try:
        lines = read_list(path)
    except ConfigError:
        return flag_rows(before, [flags | Listed.UNVETTED for flags in before], now)
    return flag_rows(before, [flags_of(info, lines) for info in infos], now)
