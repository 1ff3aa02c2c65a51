"""Markets of a run in which nothing is opened any more: out of scope, or in a cluster or category that is full.

Told to the step as FLAGS rows; risk.blacklistkeeper refuses what opens there and lets sales pass.

Invariants
    F1  what is said here only adds to what lists and metadata hold against a market: their bits stay as they are
    F2  a market that is in no scope of the launch never loses OUT_OF_SCOPE by anything but a new scope
    F3  a cluster whose members the desk does not know is not traded
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polytraders.data.markets import MarketInfo
from polytraders.rows import Listed
from polytraders.run.listing import flag_rows

NO_CAP = 2**62


@dataclass(frozen=True, slots=True)
class Cap:
    """Most of one cluster or category, micro-pUSD. members: condition ids, None when nobody knows."""

    name: str
    members: frozenset[str] | None
    gross: int
    net: int


class Bounds:
    """What is said of the run's markets. held: extra bits a market, as `as_data` gave them, to go on."""

    def __init__(self, infos: Sequence[MarketInfo], held: Iterable[int] | None = None):
        self.infos = tuple(infos)
        self.extra = [int(bits) for bits in held] if held is not None else [0] * len(self.infos)
        self.caps: tuple[Cap, ...] = ()

    def as_data(self) -> list[int]:
        """For the log."""
        return list(self.extra)

    @property
    def in_scope(self) -> list[bool]:
        return [not bits & Listed.OUT_OF_SCOPE for bits in self.extra]

    def scope(self, condition_ids: Collection[str] | None) -> np.ndarray:
        """EVENT[k] of a scope that holds from now on; None = there is no launch that would bound it."""
        out = [condition_ids is not None and info.condition_id not in condition_ids for info in self.infos]
        return self._set(Listed.OUT_OF_SCOPE, out)

    def capped(self, positions: np.ndarray) -> np.ndarray:
        """EVENT[k] of the clusters that are full now, or no longer. positions: POSITION of the run's markets."""
        full = [False] * len(self.infos)
        for cap in self.caps:
            inside = self._inside(cap)
            gross, net = held_in(positions, inside)
            if cap.members is None or gross >= cap.gross or abs(net) >= cap.net:
                full = [a or b for a, b in zip(full, inside, strict=True)]
        return self._set(Listed.CAPPED, full)

    def used(self, positions: np.ndarray) -> Mapping[str, tuple[int, int]]:
        """Cluster or category -> (gross, net) in micro-pUSD, of those that have a cap."""
        return {cap.name: held_in(positions, self._inside(cap)) for cap in self.caps}

    def _inside(self, cap: Cap) -> list[bool]:
        return [cap.members is None or info.condition_id in cap.members for info in self.infos]

    def _set(self, bit: Listed, on: Sequence[bool]) -> np.ndarray:
        after = [bits | bit if wanted else bits & ~bit for bits, wanted in zip(self.extra, on, strict=True)]
        before, self.extra = self.extra, [int(bits) for bits in after]
        mine = [info.flags for info in self.infos]
        return flag_rows([a | b for a, b in zip(mine, before, strict=True)],
                         [a | b for a, b in zip(mine, self.extra, strict=True)], 0)  # fmt: skip


def held_in(positions: np.ndarray, inside: Sequence[bool]) -> tuple[int, int]:
    """(gross, net) of some markets at cost, open buys included in gross; micro-pUSD. Net: YES less NO."""
    chosen = positions[np.array(inside, bool)]
    gross = int((chosen["yes_cost"] + chosen["no_cost"] + chosen["buy_reserved"]).sum())
    return gross, int((chosen["yes_cost"] - chosen["no_cost"]).sum())
