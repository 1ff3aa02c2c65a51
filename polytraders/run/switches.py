"""The desk's kill switches as rows of the step: how far each reaches in this run, and what still holds when one clears.

Two switches of the desk may stop the same thing (two clusters with one market in both). Its row in the step is cleared
when the last of them is.

Invariants
    S1  clearing one switch takes back nothing that another one, still armed, stops
    S2  a switch whose reach is not known stops the run's whole portfolio
    S3  a cluster reaches as far as it did when its switch was armed, whatever becomes of it meanwhile
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from polytraders.rows import EventKind, Scope

FAMILIES = ("intel", "disc", "strat", "risk", "exec", "sec", "gov")
"""In the order of rows.Scope.FAMILY's numbers."""

Subject = tuple[int, int, int]
"""market, rows.Scope, price of a SWITCH row."""
Row = dict[str, int]


class Switches:
    """The desk's switches that hold in one run.

    Parameters
    ----------
    condition_ids: of the run's markets, in their order. bots: ids, in the order of the run's bot table.
    members: condition ids of a cluster, None when nobody knows.
    held: as `as_data` gave it, to go on.
    """

    def __init__(
        self,
        portfolio: str,
        strategy: str,
        condition_ids: Sequence[str],
        bots: Sequence[str],
        members: Callable[[str], frozenset[str] | None],
        held: Mapping[str, Sequence[Sequence[int]]] | None = None,
        run_id: str = "",
    ):
        self.portfolio, self.strategy, self.run_id = portfolio, strategy, run_id
        self.markets = {name: number for number, name in enumerate(condition_ids)}
        self.bots = {name: number for number, name in enumerate(bots)}
        self.members = members
        self.held: dict[str, list[Subject]] = {
            id_: [(int(m), int(scope), int(price)) for m, scope, price in subjects]
            for id_, subjects in (held or {}).items()
        }

    def as_data(self) -> dict[str, list[list[int]]]:
        """For the log."""
        return {id_: [list(subject) for subject in subjects] for id_, subjects in self.held.items()}

    def subjects(self, scope: str, target: str | None) -> list[Subject]:
        """What a switch stops in this run; nothing when it does not concern it."""
        target = target or ""
        if scope == "global":
            return [(-1, Scope.GLOBAL, 0)]
        if scope == "portfolio":
            return [(-1, Scope.PORTFOLIO, 0)] if target == self.portfolio else []
        if scope == "strategy":
            return [(-1, Scope.STRATEGY, 0)] if target == self.strategy else []
        if scope == "run":  # it has one strategy
            return [(-1, Scope.STRATEGY, 0)] if target == self.run_id else []
        if scope == "family" and target in FAMILIES:
            number = FAMILIES.index(target)
            return [(-1, Scope.FAMILY, number)] if any(bot.startswith(target + ".") for bot in self.bots) else []
        if scope == "bot":
            return [(-1, Scope.BOT, self.bots[target])] if target in self.bots else []
        if scope == "market":
            return [(self.markets[target], Scope.MARKET, 0)] if target in self.markets else []
        if scope == "cluster" and (members := self.members(target)) is not None:
            # by its markets: a row of Scope.CLUSTER takes in whole events, a cluster of the desk need not
            return [(number, Scope.MARKET, 0) for name, number in self.markets.items() if name in members]
        if scope == "feed":  # which of the desk's feeds a run stands on is not kept: all that it hears
            return [(-1, Scope.FEED, 0)]
        return [(-1, Scope.PORTFOLIO, 0)]

    def arm(self, id_: str, scope: str, target: str | None) -> list[Row]:
        """SWITCH rows of a switch that is armed now; armed again it says the same again."""
        found = list(dict.fromkeys([*self.held.get(id_, ()), *self.subjects(scope, target)]))
        if found:
            self.held[id_] = found
        return [_row(subject, 1) for subject in found]

    def clear(self, id_: str, scope: str, target: str | None) -> list[Row]:
        """SWITCH rows of a switch that is cleared now."""
        found = self.held.pop(id_, None) or self.subjects(scope, target)
        kept = {subject for subjects in self.held.values() for subject in subjects}
        return [_row(subject, 0) for subject in found if subject not in kept]

    def holds(self, scope: Scope) -> bool:
        """Some armed switch has this scope in the step."""
        return any(subject[1] == scope for subjects in self.held.values() for subject in subjects)


def _row(subject: Subject, armed: int) -> Row:
    market, scope, price = subject
    return {"kind": EventKind.SWITCH, "market": market, "aux": int(scope), "price": price, "size": armed}


def whole_run(rows: Sequence[Row]) -> bool:
    """Whether one of these stops all orders of the run."""
    return any(row["market"] < 0 for row in rows)
