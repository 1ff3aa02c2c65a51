"""Stop opening, for reasons that may be over in a moment, without a switch that a person has to clear.

Whoever finds that nothing should be opened presses with its own name and lets go when that is over; as long as anybody
presses, risk.ratelimitgovernor takes nothing to be left of the venue's budget: what opens is refused, cancels and sales
pass. It is told as CONFIG rows, so that a replay brakes at the same places. What the venue itself says is left of its
budget goes the same way, once it is so little that the governor keeps it for exits.

Invariants
    K1  one who lets go does not take back what another one presses
    K2  each change is told once, with why, as a row of the step and in the log's note
    K3  what the venue says is left holds until its budget is full again, and takes back nothing that anybody presses
"""

from __future__ import annotations

from polytraders.risk.ratelimitgovernor import RESERVE, venue_rows
from polytraders.run.live import Runner
from polytraders.units import NS_PER_S

GOVERNOR = "risk.ratelimitgovernor"
FOREVER = 2**62
"""ns: until it is let go."""
SAME = NS_PER_S // 4
"""ns: an end that is later by no more than this is the same one."""


class Brake:
    """The brake of one run."""

    def __init__(self, runner: Runner):
        self.runner = runner
        self.pressed: dict[str, str] = {}
        """By whom -> why."""
        self._bot = runner.pipeline.ids.index(GOVERNOR) if GOVERNOR in runner.pipeline.ids else -1
        self._venue = (0, 0)  # orders that the venue's budget has left, until when (ns)

    @classmethod
    def of(cls, runner: Runner) -> Brake:
        """The run's one brake."""
        if runner.brake is None:
            runner.brake = made = cls(runner)
            runner.add_health("brake", lambda: dict(made.pressed))
            made._tell(0, 0)  # what a former process pressed
        return runner.brake

    def press(self, who: str, why: str) -> None:
        """Open nothing from now on."""
        if self.pressed.get(who) == why:
            return
        before, self.pressed[who] = bool(self.pressed), why
        if not before:
            self._tell(0, FOREVER)
        self.runner.say("opening is held back", by=who, why=why)

    def release(self, who: str) -> None:
        """As far as this one is concerned, open again."""
        if self.pressed.pop(who, None) is None:
            return
        self.runner.say("opening is let go", by=who, others=sorted(self.pressed))
        if not self.pressed:
            self._tell(*(self._venue if self._venue[1] > self.runner.now() else (0, 0)))

    def left(self, orders: int, seconds: float) -> None:
        """The venue says that its budget has so many orders left, and is full again after `seconds`."""
        if self._bot < 0 or orders > int(self.runner.step.state.params["v"][self._bot][RESERVE]):
            return
        before, now = self._venue, self.runner.now()
        until = now + int(seconds * NS_PER_S)
        if before[1] > now and orders >= before[0] and until <= before[1] + SAME:
            return  # nothing new: it holds already
        self._venue = (orders, until)
        if not self.pressed:
            self._tell(orders, until)
        self.runner.say("the venue's budget is nearly used up", orders=orders, full_in_ms=round(1e3 * seconds))

    def _tell(self, orders: int, until: int) -> None:
        if self._bot >= 0:
            now = self.runner.now()
            self.runner.put("brake", venue_rows(self._bot, orders, until, now))
