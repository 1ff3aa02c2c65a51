"""Parameters of a run's bots that people change while it works: overrides for a time, limits of its portfolio.

Each becomes CONFIG rows of the step, so that a replay judges every order under the limits that held then.

Invariants
    V1  of several overrides of one parameter the one that was granted last holds; when none does any more, what the
        portfolio's limits say, and without those what the run was begun with
    V2  an override that reaches less far than this run's parameters do changes nothing here: no market gets a limit
        that was loosened for another one
    V3  risk.manualoverrideauditor knows of every override in force and of the earliest end among them, with the same
        rows that change the value: it stops openings when an end is not told
    V4  what other runs used up of a limit that is theirs too is off it, whoever set it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polytraders.bots import load_bot
from polytraders.engine.setup import Pipeline
from polytraders.rows import EventKind
from polytraders.run.live import NO_ROWS, rows_of

AUDITOR = "risk.manualoverrideauditor"
Place = tuple[int, int]
"""Bot's index in the run's table, parameter slot."""


@dataclass(frozen=True, slots=True)
class Granted:
    """An override in force here. value: kernel unit; ends: ns."""

    place: Place
    value: int
    ends: int


class Changes:
    """What is changed in one run. held: as `as_data` gave it, to go on."""

    def __init__(
        self,
        pipeline: Pipeline,
        portfolio: str,
        strategy: str,
        condition_ids: Sequence[str],
        held: Mapping[str, Any] | None = None,
    ):
        self.pipeline, self.portfolio, self.strategy = pipeline, portfolio, strategy
        self.condition_ids = tuple(condition_ids)
        self._where = {bot_id: number for number, bot_id in enumerate(pipeline.ids)}
        held = held or {}
        self.limits: dict[Place, int] = {(int(b), int(s)): int(v) for b, s, v in held.get("limits", ())}
        self.granted: dict[str, Granted] = {
            id_: Granted((int(b), int(s)), int(v), int(ends)) for id_, b, s, v, ends in held.get("overrides", ())
        }
        self.most: dict[Place, int] = {}
        """The most that parameters may be as far as other runs leave them (V4), kernel units."""

    def as_data(self) -> dict[str, list[list[Any]]]:
        """For the log."""
        return {
            "limits": [[*place, value] for place, value in self.limits.items()],
            "overrides": [[id_, *one.place, one.value, one.ends] for id_, one in self.granted.items()],
        }

    def place(self, bot_id: str, parameter: str) -> Place | None:
        """Where a bot's parameter stands in this run; None when the bot takes no part."""
        number = self._where.get(bot_id)
        return None if number is None else (number, load_bot(bot_id).spec.index(parameter))

    def reaches(self, portfolio: str | None, strategy: str | None, condition_id: str | None) -> bool:
        """Whether what is asked for concerns this run at all."""
        return (
            portfolio in (None, self.portfolio)
            and strategy in (None, self.strategy)
            and (condition_id is None or condition_id in self.condition_ids)
        )

    def grant(self, id_: str, asked: Mapping[str, Any], ends: int) -> tuple[np.ndarray, str]:
        """(EVENT rows, why there are none) of an override.

        asked: bot_id, parameter, after (text), and how far it reaches; ends: ns.
        """
        if not self.reaches(asked.get("portfolio_id"), asked.get("strategy_id"), asked.get("condition_id")):
            return NO_ROWS, ""
        if asked.get("condition_id") is not None and len(self.condition_ids) > 1:
            return NO_ROWS, "it is for one market, and a parameter of this run holds in all of its markets"
        place = self.place(asked["bot_id"], asked["parameter"])
        if place is None:
            return NO_ROWS, f"{asked['bot_id']} takes no part in this run"
        value = load_bot(asked["bot_id"]).spec.parameter(asked["parameter"]).kernel_value(asked["after"])
        self.granted.pop(id_, None)
        self.granted[id_] = Granted(place, value, ends)
        return self._told(place), ""

    def end(self, id_: str) -> np.ndarray:
        """Rows of an override that is over; none when it did not hold here."""
        one = self.granted.pop(id_, None)
        return self._told(one.place) if one is not None else NO_ROWS

    def limit(self, settings: Mapping[str, str]) -> np.ndarray:
        """Rows of new limits of the portfolio. settings: `bot.parameter` -> text; those of other bots are left out."""
        changed = []
        for path, text in settings.items():
            bot_id, _, name = path.rpartition(".")
            if bot_id not in self._where:
                continue
            place = self.place(bot_id, name)
            assert place is not None
            before = self._value(place)
            self.limits[place] = load_bot(bot_id).spec.parameter(name).kernel_value(text)
            if self._value(place) != before:
                changed.append(self._row(place))
        return rows_of(*changed)

    def ceil(self, most: Mapping[Place, int], in_step: Callable[[Place], int]) -> np.ndarray:
        """Rows of the parameters that other runs leave less or more of now. in_step: a parameter as the step has it."""
        places = self.most.keys() | most.keys()
        self.most = dict(most)
        return rows_of(*(self._row(place) for place in sorted(places) if self._value(place) != in_step(place)))

    @property
    def overridden(self) -> set[Place]:
        """Parameters that an override changes."""
        return {one.place for one in self.granted.values()}

    def _value(self, place: Place) -> int:
        return min(self.base(place), self.most.get(place, self.base(place)))

    def base(self, place: Place) -> int:
        """A parameter as overrides, portfolio and settings have it, whatever other runs used up of it."""
        bot, slot = place
        held = [one.value for one in self.granted.values() if one.place == place]
        return held[-1] if held else self.limits.get(place, int(self.pipeline.bots[bot].params[slot]))

    def _row(self, place: Place) -> dict[str, int]:
        return {
            "kind": EventKind.CONFIG, "market": -1, "aux": place[0], "price": place[1], "size": self._value(place),
        }  # fmt: skip

    def _told(self, place: Place) -> np.ndarray:
        """The value that holds now, and what the auditor is to know."""
        auditor = self._where.get(AUDITOR)
        if auditor is None:
            return rows_of(self._row(place))
        from polytraders.risk.manualoverrideauditor import granted_rows

        ends = min((one.ends for one in self.granted.values()), default=0)
        return granted_rows(auditor, len(self.granted), ends, 0, (*place, self._value(place)))
