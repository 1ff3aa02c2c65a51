"""One comparison in the making: the two sides, the roots of their differences, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from polytraders.engine.setup import Pipeline
from polytraders.reasons import Code
from polytraders.rows import EventKind, Gate, Scope
from polytraders.run.comparison.counterpart import Done
from polytraders.run.comparison.differences import Difference
from polytraders.run.comparison.pairing import paired
from polytraders.run.lives import lives
from polytraders.run.replay import Rederived

GATED = tuple(
    code for code in Code
    if code.name.startswith(("EXEC_PROPOS", "EXEC_APPROV")) or code is Code.EXEC_DRY_RUN
)  # fmt: skip
"""Codes of decisions that only a gate makes."""


@dataclass
class Root:
    """Where a difference begins."""

    ts: int
    market: int  # -1 = of the whole run
    cause: str


class Case:
    """One comparison in the making."""

    def __init__(
        self, manifest: dict[str, Any], pipeline: Pipeline, again: Rederived, live: Done, back: Done,
        heard: np.ndarray, tape: np.ndarray, recording: str, models: dict[str, Any], replay: dict[str, Any],
    ):  # fmt: skip
        self.manifest, self.pipeline, self.again = manifest, pipeline, again
        self.heard, self.tape, self.recording, self.models, self.replay = heard, tape, recording, models, replay
        self.names = [market["slug"] for market in manifest["markets"]]
        self.bots = [bot["bot_id"] for bot in manifest["bots"]]
        self.gate = Gate(manifest["engine"].get("gate", int(Gate.OPEN)))
        self.live = Done(live.events, live.decisions, live.actions, live.simulation, lives(live.events, live.actions))
        self.back = Done(back.events, back.decisions, back.actions, back.simulation, lives(back.events, back.actions))
        self.roots: list[Root] = []
        self.found: list[Difference] = []
        self.same: Counter[str] = Counter()
        self.pairs, self.only_live, self.only_back = paired(self.live.orders, self.back.orders)
        self._index: dict[int, tuple[np.ndarray, list[str]]] = {}

    @property
    def start(self) -> int:
        return int(self.live.events["ts_recv"][0]) if len(self.live.events) else 0

    def tell(self, what: str, cause: str, ts: int, market: int, why: str, **more: Any) -> None:
        self.found.append(Difference(what, cause, ts, market, why, **more))

    def root(self, ts: int, market: int, cause: str) -> None:
        self.roots.append(Root(ts, market, cause))

    def said(self) -> Iterator[dict[str, Any]]:
        for note in self.again.notes:
            if isinstance(note, dict):
                yield from (said for said in note.get("said", ()) if isinstance(said, dict))

    def switched(self, ts: int, market: int) -> bool:
        """A switch covers this market at that time, or a bot's halt does."""
        events = self.live.events
        rows = events[(events["kind"] == EventKind.SWITCH) & (events["ts_recv"] <= ts)]
        armed: set[tuple[int, int, int]] = set()
        for row in rows:
            key = int(row["aux"]), int(row["market"]), int(row["price"])
            (armed.add if row["size"] else armed.discard)(key)
        return any(at in (-1, market) or scope == Scope.CLUSTER for scope, at, _ in armed)

    def before(self, ts: int, market: int) -> str:
        """Cause of the last root until then: in this market or of the whole run, else in any."""
        mine, causes = self.roots_of(market)
        at = int(np.searchsorted(mine, ts, "right")) - 1
        if at >= 0:
            return causes[at]
        every, names = self.roots_of(-2)
        at = int(np.searchsorted(every, ts, "right")) - 1
        return names[at] if at >= 0 else "unexplained"

    def roots_of(self, market: int) -> tuple[np.ndarray, list[str]]:
        """(ns, causes) of the roots that reach a market; -2 = all. Once all are known."""
        if market not in self._index:
            found = [root for root in self.roots if market == -2 or root.market in (-1, market)]
            self._index[market] = np.array([root.ts for root in found], np.int64), [root.cause for root in found]
        return self._index[market]

    def bot(self, number: int) -> str:
        return self.bots[number] if number < len(self.bots) else str(number)
