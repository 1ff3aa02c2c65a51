"""What the venue port refuses, each with the reason code of the register that says why."""

from __future__ import annotations

from polytraders.errors import PolytradersError


class Refused(PolytradersError):
    """An order, key or signature that must not be used.

    `code` is a name of the reason register; its meaning is the message's rule, and its action the mend, where
    none is given.
    """

    def __init__(self, code: str, what: str, *, where: str = "", rule: str = "", mend: str = ""):
        from polytraders.reasons import REGISTRY  # numpy behind it, and only a refusal needs it

        self.code = code
        reason = REGISTRY[code]
        super().__init__(what, where=where, rule=f"{code}: {rule or reason.meaning}", mend=mend or reason.action)

    def as_dict(self) -> dict[str, str]:
        """The message in parts with its code, for `--json`."""
        return super().as_dict() | {"code": self.code}
