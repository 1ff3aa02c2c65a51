"""Markets of a run in which nothing is opened any more: out of scope, or in a cluster or category that is full.

Told to the step as FLAGS rows; risk.blacklistkeeper refuses what opens there and lets sales pass.

Invariants
    F1  what is said here only adds to what lists and metadata hold against a market: their bits stay as they are
    F2  a market that is in no scope of the launch never loses OUT_OF_SCOPE by anything but a new scope
    F3  a cluster whose members the desk does not know is not traded
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from polytraders.data.markets import MarketInfo
from polytraders.rows import Listed
from polytraders.run.listing import flag_rows
from polytraders.store.desk.shares import Elsewhere

NO_CAP = 2**62


@dataclass(frozen=True, slots=True)
class Cap:
    """Most of one cluster or category, micro-pUSD, over all runs of its layer.

    members: condition ids, None when nobody knows. category: the cap is on that category, of which other runs may
    follow markets that this run does not know.
    """

    name: str
    members: frozenset[str] | None
    gross: int
    net: int
    layer: str = "portfolio"  # portfolio | tenant
    category: str = ""

    def holds(self, one: Elsewhere) -> bool:
        """Whether what another run has counts for it."""
        if not (one.mine or self.layer == "tenant"):
            return False
        inside = one.category == self.category if self.category else one.condition_id in (self.members or ())
        return inside


class Bounds:
    """What is said of the run's markets. held: extra bits a market, as `as_data` gave them, to go on."""

    def __init__(self, infos: Sequence[MarketInfo], held: Iterable[int] | None = None):
        self.infos = tuple(infos)
        self.extra = [int(bits) for bits in held] if held is not None else [0] * len(self.infos)
        self.listed = [int(info.flags) for info in self.infos]
        """What lists and metadata say of each, as it was told last (F1)."""
        self.caps: tuple[Cap, ...] = ()
        self.elsewhere: tuple[Elsewhere, ...] = ()
        """What other runs of the portfolio and its tenant have, market by market."""

    def vetted(self, flags: Iterable[int]) -> None:
        """The lists were read again: the markets' flags as the step has them now."""
        self.listed = [int(bits) & ~(Listed.OUT_OF_SCOPE | Listed.CAPPED) for bits in flags]

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
        for cap, gross, net in self.used(positions):
            if cap.members is None or gross >= cap.gross or abs(net) >= cap.net:
                full = [a or b for a, b in zip(full, self._inside(cap), strict=True)]
        return self._set(Listed.CAPPED, full)

    def used(self, positions: np.ndarray) -> list[tuple[Cap, int, int]]:
        """(cap, gross, net) in micro-pUSD of every cluster or category that has a cap, over all runs of its layer."""
        told = []
        for cap in self.caps:
            gross, net = held_in(positions, self._inside(cap))
            others = [one for one in self.elsewhere if cap.holds(one)]
            told.append((cap, gross + sum(one.gross for one in others), net + sum(one.net for one in others)))
        return told

    def _inside(self, cap: Cap) -> list[bool]:
        return [cap.members is None or info.condition_id in cap.members for info in self.infos]

    def _set(self, bit: Listed, on: Sequence[bool]) -> np.ndarray:
        after = [bits | bit if wanted else bits & ~bit for bits, wanted in zip(self.extra, on, strict=True)]
        before, self.extra = self.extra, [int(bits) for bits in after]
        mine = self.listed
        return flag_rows([a | b for a, b in zip(mine, before, strict=True)],
                         [a | b for a, b in zip(mine, self.extra, strict=True)], 0)  # fmt: skip


def held_in(positions: np.ndarray, inside: Sequence[bool]) -> tuple[int, int]:
    """(gross, net) of some markets at cost, open buys included in gross; micro-pUSD. Net: YES less NO."""
    chosen = positions[np.array(inside, bool)]
    gross = int((chosen["yes_cost"] + chosen["no_cost"] + chosen["buy_reserved"]).sum())
    return gross, int((chosen["yes_cost"] - chosen["no_cost"]).sum())
