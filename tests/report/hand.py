"""Runs made by hand, row by row, so that every number of a report can be worked out on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from polytraders import rows
from polytraders.engine.state import MODE_ENFORCED
from polytraders.reasons import by_number
from polytraders.rows import POST_ONLY, ActionKind, EventKind, Flag, Outcome, Side
from polytraders.store.log import LogWriter, RecordKind
from polytraders.store.manifest import bot_row, make_manifest, runtime_row

T0 = 1_760_000_000_000_000_000
S = 1_000_000_000
LATE = 50_000_000
"""ns by which we learn of everything after the venue."""
CASH = 1_000_000_000
STRATEGY, RISK, RUNTIME = range(3)
MARKET = {
    "tick": 100,
    "grid": 100,
    "min_size": 5_000_000,
    "fee_rate": 40_000,
    "fee_exponent": 1,
    "rebate_rate": 250_000,
    "neg_risk": False,
    "event_id": "",
    "end_ts": 0,
    "question": "",
    "yes_token": "1",
    "no_token": "2",
    "assumed": [],
}


class Hand:
    """Collects rows in the order in which we learn of them, then writes a run."""

    def __init__(self, markets: int = 1, **manifest: Any):
        self.events: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.decisions: list[np.ndarray] = []
        self.samples: list[np.ndarray] = []
        self.markets = [MARKET | {"condition_id": f"0x{i:064x}", "slug": f"market-{i}"} for i in range(markets)]
        self.more = manifest

    @property
    def seq(self) -> int:
        return len(self.events)

    def event(self, kind: EventKind, at: float, market: int = 0, **fields: int) -> None:
        """at: s after T0, the venue's time."""
        row = np.zeros(1, rows.EVENT)
        venue = T0 + round(at * S)
        shape = {"kind": kind, "market": market, "ts_event": venue, "ts_recv": venue + LATE, "seq": self.seq + 1}
        for name, value in (shape | {"flags": Flag.LAST} | fields).items():
            row[name] = value
        self.events.append(row)

    def book(self, at: float, bid: int, ask: int, market: int = 0, flags: int = 0) -> None:
        """A whole book of one level a side (0 = that side is empty), in pips."""
        self.event(EventKind.BOOK_CLEAR, at, market, flags=Flag.SNAPSHOT | flags)
        sides = [(side, price) for side, price in ((Side.BUY, bid), (Side.SELL, ask)) if price]
        for side, price in sides:
            last = Flag.LAST if (side, price) == sides[-1] else 0
            self.event(EventKind.LEVEL, at, market, side=side, price=price, size=100_000_000, flags=last)
        if not sides:
            self.events[-1]["flags"] |= Flag.LAST

    def order(
        self, order: int, at: float, outcome: Outcome, side: Side, price: int, size: int, market: int = 0, corr: int = 0
    ) -> None:
        """An order sent at our time `at`; its correlation number is the order's."""
        row = np.zeros(1, rows.ACTION)
        shape = {"kind": ActionKind.SUBMIT, "ts": T0 + round(at * S), "seq": self.seq, "order_id": order}
        shape |= {"corr": corr or order, "outcome": outcome, "side": side, "price": price, "size": size}
        for name, value in (shape | {"market": market, "flags": POST_ONLY}).items():
            row[name] = value
        self.actions.append(row)

    def cancel(self, order: int, at: float, market: int = 0) -> None:
        row = np.zeros(1, rows.ACTION)
        for name, value in {
            "kind": ActionKind.CANCEL,
            "ts": T0 + round(at * S),
            "order_id": order,
            "market": market,
        }.items():
            row[name] = value
        self.actions.append(row)

    def fill(
        self, order: int, at: float, price: int, size: int, *, maker: bool = True, fee: int = 0, market: int = 0
    ) -> None:
        """fee: 1e-5 pUSD."""
        flags = Flag.LAST | (Flag.MAKER if maker else 0)
        self.event(EventKind.FILL_CONFIRMED, at, market, aux=order, price=price, size=size, ref=fee, flags=flags)

    def decide(self, bot: int, code: int, at: float = 0.0, **fields: int) -> None:
        row = np.zeros(1, rows.DECISION)
        shape = {"ts": T0 + round(at * S), "seq": self.seq, "bot": bot, "code": code, "mode": MODE_ENFORCED}
        for name, value in (shape | {"severity": by_number(code).severity} | fields).items():
            row[name] = value
        self.decisions.append(row)

    def sample(self, at: float, equity: int) -> None:
        row = np.zeros(1, rows.SAMPLE)
        row["ts"], row["seq"], row["equity"] = T0 + round(at * S), self.seq, equity
        self.samples.append(row)

    def write(self, folder: Path, *, equity: str | None = None, **summary: Any) -> Path:
        """Write the run; `equity` is what its summary says it ended with (None: it was never closed)."""
        manifest = make_manifest(
            run_id=folder.name,
            strategy="strat.maker_tight",
            config={"portfolio": {"cash_pusd": "1000"}, "report": {"max_points": 4000, "template": "plotly_white"}},
            config_hash="c0" * 32,
            **{
                "markets": self.markets,
                "pins": {"recording": "by-hand", "files": {"by-hand.jsonl": "d1" * 32}, "markets": None},
                "models": {"queue": "risk_averse", "latency": "none", "fees": "market schedule"},
                "bots": [
                    bot_row("strat.maker_tight", "0.1.0", "enforced"),
                    bot_row("risk.killswitch", "0.1.0", "enforced"),
                    runtime_row(),
                ],
                "engine": {"cash": CASH, "interval": 0, "sample_interval": S, "full_panel": False},
                "quality": {},
            }
            | self.more,
        )
        with LogWriter(folder, manifest) as writer:
            for kind, parts in (
                (RecordKind.EVENTS, self.events),
                (RecordKind.DECISIONS, self.decisions),
                (RecordKind.ACTIONS, self.actions),
                (RecordKind.SAMPLES, self.samples),
            ):
                if parts:
                    writer.append(kind, np.concatenate(parts))
            if equity is not None:
                writer.close({"account": {"equity": equity}, "halted": 0} | summary)
        return folder


def round_trip(**manifest: Any) -> Hand:
    """One market, two fills, one resolution.

    s       book        what
    0       .40/.42     BUY 10 YES at .40 sent; fills as maker at 1 s
    2       .38/.40
    5       .44/.46     BUY 5 NO at .56 sent; fills as taker at 6 s, fee 0.0616
    20                  resolves YES
    """
    hand = Hand(**manifest)
    hand.book(0, 4_000, 4_200)
    hand.order(1, 0.1, Outcome.YES, Side.BUY, 4_000, 10_000_000)
    hand.event(EventKind.ORDER_ACK, 0.2, aux=1)
    hand.event(EventKind.TRADE, 1, price=4_000, size=10_000_000, side=Side.SELL)
    hand.fill(1, 1, 4_000, 10_000_000)
    hand.book(2, 3_800, 4_000)
    hand.book(5, 4_400, 4_600)
    hand.order(2, 5.5, Outcome.NO, Side.BUY, 5_600, 5_000_000)
    hand.fill(2, 6, 5_600, 5_000_000, maker=False, fee=6_160)
    hand.event(EventKind.RESOLUTION, 20, price=10_000)
    return hand
