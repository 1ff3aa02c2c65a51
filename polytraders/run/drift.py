"""The run's configuration against the committed one: gov.config_drift_detector, asked every `check_interval_s`.

Both sides are pipelines: the one that `build_pipeline` makes of the settings file as it is now, with the limits of the
saved portfolio, and the one that the step has in its tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from polytraders.bots import UNITS, BotMode, load_bot
from polytraders.config import load_settings, settings_path
from polytraders.errors import PolytradersError
from polytraders.governance.config_drift_detector import SPEC, Field, Inputs, check
from polytraders.run.pipeline import build_pipeline
from polytraders.units import NS_PER_S

if TYPE_CHECKING:
    from polytraders.bots import Conclusion, Parameter
    from polytraders.config import Settings
    from polytraders.run.changes import Changes
    from polytraders.run.launch import Launched

Sides = Mapping[str, Mapping[str, str]]
"""Bot -> field -> text; the field `mode` is its mode."""


class Drift:
    """One run's comparisons. limits: `bot.parameter` -> text that the saved portfolio says now."""

    def __init__(self, launched: Launched, settings: Settings, changes: Changes):
        self.launched, self.settings, self.changes = launched, settings, changes
        config = settings.bot(SPEC.bot_id)
        self.off = config.mode is BotMode.OFF
        self.limits = SPEC.limits(config.values)
        self.last: Conclusion | None = None
        self._since: dict[tuple[str, str], int] = {}

    def running(self) -> Sides:
        """What the step's tables hold."""
        state, told = self.launched.step.state, {}
        for number, one in enumerate(self.launched.pipeline.bots):
            spec, values = one.bot.spec, state.params["v"][number]
            fields = {p.name: _text(p, int(values[slot])) for slot, p in enumerate(spec.parameters)}
            told[spec.bot_id] = {"mode": str(list(BotMode)[int(state.bots[number]["mode"])]), **fields}
        return told

    def committed(self, limits: Mapping[str, str]) -> Sides:
        """What a run that began now would hold. Raises ConfigError and UsageError for a file that is refused."""
        settings = load_settings(settings_path()).with_overrides(dict(limits), "portfolio")
        mode, strategy = (self.launched.manifest[name] for name in ("run_mode", "strategy"))
        sends = mode == "live" and not self.settings.live.dry_run
        _, rows = build_pipeline(settings, strategy, run_mode=mode, wallet=sends)
        return {
            row["bot_id"]: {"mode": row["mode"], **{p["name"]: p["value"] for p in row["params"]}} for row in rows[:-1]
        }

    def look(self, limits: Mapping[str, str], now: int) -> Conclusion:
        """Compare now. now: ns."""
        try:
            given = Inputs(now, self._fields(self.committed(limits), now), self._drifted)
        except PolytradersError as error:
            given = Inputs(0, drifted=self._drifted, problem=error.what)
        self.last = check(given, self.limits, now)
        return self.last

    @property
    def every(self) -> float:
        """s between two comparisons."""
        return self.limits.check_interval_s / NS_PER_S

    @property
    def _drifted(self) -> bool:
        return self.last is not None and self.last.code == "GOV_CONFIG_DRIFT_DETECTED"

    def _fields(self, committed: Sides, now: int) -> tuple[Field, ...]:
        running, told = self.running(), []
        ids, granted = self.launched.pipeline.ids, list(self.changes.granted.items())
        known = {(ids[one.place[0]], one.place[1]): id_ for id_, one in granted}
        lowered = {place for place, most in self.changes.most.items() if most < self.changes.base(place)}
        shared = {(ids[bot], load_bot(ids[bot]).spec.parameters[slot].name) for bot, slot in lowered}
        for bot_id in sorted(running.keys() | committed.keys()):
            ours, theirs = running.get(bot_id, {}), committed.get(bot_id, {})
            names = [p.name for p in load_bot(bot_id).spec.parameters]
            for name in ("mode", *names):
                key = (bot_id, name)
                if ours.get(name) != theirs.get(name):
                    self._since.setdefault(key, now)
                else:
                    self._since.pop(key, None)
                by = known.get((bot_id, names.index(name)), "") if name != "mode" else ""
                if not by and (bot_id, name) in shared:
                    by = "what other runs used up"
                told.append(Field(bot_id, name, ours.get(name), theirs.get(name), self._since.get(key, 0), by))
        return tuple(told)

    def part(self) -> dict[str, Any]:
        """For the board's topic health."""
        last = self.last
        if last is None:
            return {}
        good = last.code not in ("GOV_CONFIG_DRIFT_DETECTED", "GOV_CONFIG_DRIFT_UNKNOWN")
        error = "" if good else f"{last.code}: {last.what}"
        return {"committed configuration": {"up": good, "errors": last.observed if not good else 0, "error": error}}


def _text(parameter: Parameter, value: int) -> str:
    """A kernel value as the canonical text of its parameter, whatever it is: also one that no file could hold."""
    if parameter.unit == "flag":
        return {0: "false", 1: "true"}.get(value, str(value))
    text = f"{Decimal(value) / UNITS[parameter.unit][0]:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
