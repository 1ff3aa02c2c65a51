"""The few error classes of the platform; each is one message a person can act on.

Every message names where (file, line, field), the rule that was broken and the mend. The command
line prints it in one piece and exits with the class's `exit_code`; these codes are part of the
interface and never change:

====  ===============================================================================
0     done
1     done, and the answer is no: parity below 1, a bad record, a failed check
2     bad usage: unknown option, unknown id, missing file
3     the configuration stops the start
4     bad data: nothing usable, or any problem under --strict
5     a stored thing is damaged: log, store or catalog
6     a strategy knows the future: what it decided depends on what came after
130   interrupted
====  ===============================================================================
"""

from __future__ import annotations

LOOK_AHEAD = 6
"""Exit code of a look-ahead check that found one."""


class PolytradersError(Exception):
    """Base of all errors meant for a person. `str(error)` is the whole message.

    Parameters
    ----------
    what: the fact, in one sentence.
    where: file, file:line, field or id it is about.
    rule: the rule that was broken.
    mend: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", rule: str = "", mend: str = ""):
        self.what, self.where, self.rule, self.mend = what, where, rule, mend
        parts = [f"{where}: {what}" if where else what]
        parts += [f"  rule: {rule}"] if rule else []
        parts += [f"  mend: {mend}"] if mend else []
        super().__init__("\n".join(parts))

    def as_dict(self) -> dict[str, str]:
        """The message in parts, for `--json`."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "rule": self.rule,
            "mend": self.mend,
        }


class UsageError(PolytradersError):
    """A command or call that names something that does not exist or does not fit."""


class ConfigError(PolytradersError):
    """settings.ini or a parameter that stops the start."""

    exit_code = 3


class KernelError(PolytradersError):
    """A bot's `decide` that cannot be compiled."""


class DataError(PolytradersError):
    """Market data that cannot be used."""

    exit_code = 4


class DamageError(PolytradersError):
    """A log, store or catalog file whose content is not what was written."""

    exit_code = 5
