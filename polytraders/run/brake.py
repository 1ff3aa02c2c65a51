"""Stop opening, for reasons that may be over in a moment, without a switch that a person has to clear.

Whoever finds that nothing should be opened presses with its own name and lets go when that is over; as long as anybody
presses, risk.ratelimitgovernor takes nothing to be left of the venue's budget: what opens is refused, cancels and sales
pass. It is told as CONFIG rows, so that a replay brakes at the same places.

Invariants
    K1  one who lets go does not take back what another one presses
    K2  each change is told once, with why, as a row of the step and in the log's note
"""

from __future__ import annotations

from polytraders.risk.ratelimitgovernor import venue_rows
from polytraders.run.live import Runner

GOVERNOR = "risk.ratelimitgovernor"
FOREVER = 2**62
"""ns: until it is let go."""


class Brake:
    """The brake of one run."""

    def __init__(self, runner: Runner):
        self.runner = runner
        self.pressed: dict[str, str] = {}
        """By whom -> why."""
        self._bot = runner.pipeline.ids.index(GOVERNOR) if GOVERNOR in runner.pipeline.ids else -1

    @classmethod
    def of(cls, runner: Runner) -> Brake:
        """The run's one brake."""
        if runner.brake is None:
            runner.brake = made = cls(runner)
            runner.add_health("brake", lambda: dict(made.pressed))
            made._tell(0)  # what a former process pressed
        return runner.brake

    def press(self, who: str, why: str) -> None:
        """Open nothing from now on."""
        if self.pressed.get(who) == why:
            return
        before, self.pressed[who] = bool(self.pressed), why
        if not before:
            self._tell(FOREVER)
        self.runner.say("opening is held back", by=who, why=why)

    def release(self, who: str) -> None:
        """As far as this one is concerned, open again."""
        if self.pressed.pop(who, None) is None:
            return
        self.runner.say("opening is let go", by=who, others=sorted(self.pressed))
        if not self.pressed:
            self._tell(0)

    def _tell(self, until: int) -> None:
        if self._bot >= 0:
            now = self.runner.now()
            self.runner.put("brake", venue_rows(self._bot, 0, until, now))
