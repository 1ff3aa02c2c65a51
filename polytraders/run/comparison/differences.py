"""What a comparison says: its differences, each with a cause, and their sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from polytraders.units import iso_utc, money_text, size_text

CAUSES = {
    "dry": "The run sends nothing in this mode: what it decided was written down and kept back.",
    "gate": "An order of the run waits for a person; the backtest asks nobody.",
    "switch": "A kill switch was on in the run, or trading was halted; the backtest has none.",
    "people": "A person or the desk told the run something: a changed limit, an exit, less left by other runs.",
    "service": "The run heard what no tape tells: a balance, failed calls, a shortfall, what other runs leave.",
    "latency": "Answers came later or earlier than the latency model has them.",
    "queue": "What a resting order fills depends on the orders before it: the venue's queue is not the model's.",
    "liquidity": "A taking order met another book than the recorded one.",
    "venue_reject": "The venue refused what the simulated venue took.",
    "simulator_reject": "The simulated venue refused what the venue took.",
    "venue_cancel": "One of the two venues ended an order that nobody had asked it to end.",
    "stopping": "The run came to its end: it sent nothing more and cancelled what rested.",
    "restart": "The run was taken over by another process; for a while it heard nothing.",
    "settlement": "A match is provisional until the chain has it: when that was told, and whether the chain took it.",
    "fees": "The same match was charged differently.",
    "claims": "The run's winnings are claimed by an intent of their own; the backtest is paid by its model.",
    "recording": "The recording and what the run heard are not the same events.",
    "unexplained": "Nothing in the log explains this.",
}
"""Cause -> what it means, in one sentence."""


@dataclass(frozen=True)
class Difference:
    """One thing in which the two differ."""

    what: str  # decision | order | answer | fill | sets | payout | position | cash
    cause: str  # of CAUSES
    ts: int  # ns
    market: int  # -1 = of the whole run
    why: str
    live: dict[str, Any] | None = None
    backtest: dict[str, Any] | None = None
    money: int = 0  # micro-pUSD that the run has more than the backtest by it
    yes: int = 0  # micro-shares likewise
    no: int = 0
    follows: bool = False  # it follows from a root of this cause; it is none itself
    count: int = 1


@dataclass
class Comparison:
    """A run beside the backtest of its day."""

    run_id: str
    mode: str
    recording: str
    replay: dict[str, Any]
    models: dict[str, Any]
    markets: list[str]
    totals: dict[str, dict[str, Any]]  # live, backtest -> counts and money (micro-pUSD)
    same: dict[str, int]  # decisions, orders, fills: how many agree in everything
    differences: list[Difference]
    first: dict[str, Any] | None  # the first decision at which they part
    notes: list[str] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Difference]:
        return [one for one in self.differences if one.cause == "unexplained"]

    @property
    def ok(self) -> bool:
        """Every difference has a cause, and the run's log gives its decisions again."""
        return not self.unexplained and bool(self.replay["ok"])

    def causes(self) -> list[dict[str, Any]]:
        """One row a cause: what it means, how many of each kind, the money, the first time."""
        rows = []
        for cause, meaning in CAUSES.items():
            mine = [one for one in self.differences if one.cause == cause]
            if mine:
                counts: Counter[str] = Counter()
                for one in mine:
                    counts[one.what] += one.count
                rows.append(
                    {"cause": cause, "meaning": meaning, "counts": dict(counts), "money": sum(o.money for o in mine),
                     "first": min((o.ts for o in mine), default=0),
                     "roots": sum(o.count for o in mine if not o.follows)}
                )  # fmt: skip
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As JSON tells it; money as decimal text."""
        told = [
            {**{k: v for k, v in asdict(one).items() if k not in ("money", "ts", "market", "yes", "no")},
             "time": iso_utc(one.ts) if one.ts else None, "ts_ns": one.ts,
             "market": self.markets[one.market] if one.market >= 0 else None,
             "money": money_text(one.money), "yes": size_text(one.yes), "no": size_text(one.no)}
            for one in self.differences
        ]  # fmt: skip
        money = ("cash", "fees", "equity")
        return {
            "run_id": self.run_id,
            "run_mode": self.mode,
            "recording": self.recording,
            "ok": self.ok,
            "replay": self.replay,
            "models": self.models,
            "totals": {
                side: {k: money_text(v) if k in money else v for k, v in of.items()} for side, of in self.totals.items()
            },
            "same": self.same,
            "first_parting": self.first,
            "causes": [
                {**row, "money": money_text(row["money"]), "first": iso_utc(row["first"]) if row["first"] else None}
                for row in self.causes()
            ],
            "unexplained": len(self.unexplained),
            "differences": told,
            "notes": self.notes,
        }
