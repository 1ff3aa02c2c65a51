"""A stream and its markets under the venue's rules of their days.

Invariants
    D10 a backtest applies the rule in force at each event's date: a market begins with the rules of the stream's
        first event, and a row stands in the stream wherever one of them changes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from polytraders import units
from polytraders.data import rules
from polytraders.data.markets import MarketInfo
from polytraders.rows import EVENT, EventKind, Flag
from polytraders.units import NS_PER_MS, iso_utc


class RuleChange(NamedTuple):
    """A rule that changed inside a stream. ts: ns. markets: how many it concerns."""

    rule: str
    category: str
    ts: int
    before: str
    after: str
    why: str
    markets: int

    def record(self) -> dict[str, Any]:
        """As a run's manifest keeps it."""
        return self._asdict() | {"at": iso_utc(self.ts)}


def in_force(
    events: np.ndarray, infos: Sequence[MarketInfo]
) -> tuple[np.ndarray, tuple[MarketInfo, ...], tuple[RuleChange, ...]]:
    """The stream and its markets under the rules of their days (D10): (events, markets, what changed inside).

    A market whose fee schedule or taker delay is assumed gets the one in force at the stream's first event; a FEES or
    TAKER_DELAY row stands where it changes. A rule that the recording tells stays as it is.
    """
    if not len(events):
        return events, tuple(infos), ()
    start, end = int(events["ts_recv"][0]), int(events["ts_recv"][-1])
    dated, rows = [], []
    changes: Counter[RuleChange] = Counter()
    for market, info in enumerate(infos):
        if "fee_rate" in info.assumed:
            fee, *later = _during(rules.rules().fees, rules.category_of(info.slug), start, end) or [None]
            if fee is not None and not fee.by_creation:
                info = replace(info, fee_rate=fee.rate, fee_exponent=fee.exponent, rebate_rate=fee.rebate)
                for rule in later:
                    rows.append((rule.start, _fees_row(rule, market)))
                    changes[_change("fees", rule, _fee_text(fee), _fee_text(rule))] += 1
                    fee = rule
        if "taker_delay" in info.assumed:
            delay, *later = _during(rules.rules().delays, rules.delay_category(info.slug), start, end) or [None]
            if delay is not None:
                info = replace(info, taker_delay=delay.delay)
                for rule in later:
                    fields = {"kind": EventKind.TAKER_DELAY, "market": market, "size": rule.delay}
                    rows.append((rule.start, fields))
                    changes[_change("taker_delay", rule, _delay_text(delay), _delay_text(rule))] += 1
                    delay = rule
        dated.append(info)
    found = sorted(changes.items(), key=lambda change: change[0].ts)
    return merge_rows(events, rows), tuple(dated), tuple(change._replace(markets=n) for change, n in found)


def _during(table: Sequence[Any], category: str, start: int, end: int) -> list[Any]:
    """The rule of a category in force at `start` and those that follow it up to `end`; before a category's first
    rule there is no fee and no delay."""
    mine = [rule for rule in table if rule.category == category]
    if not mine:
        return []
    before = [rule for rule in mine if rule.start <= start]
    none = mine[0]._replace(**{name: 0 for name in ("start", "rate", "rebate", "delay") if hasattr(mine[0], name)})
    return [before[-1] if before else none, *(rule for rule in mine if start < rule.start <= end)]


def _change(name: str, rule: Any, before: str, after: str) -> RuleChange:
    return RuleChange(name, rule.category, rule.start, before, after, rule.why, 0)


def _fees_row(rule: rules.FeeRule, market: int) -> Mapping[str, int]:
    return {"kind": EventKind.FEES, "market": market, "size": rule.rate, "price": rule.exponent, "aux": rule.rebate}


def _delay_text(rule: rules.DelayRule) -> str:
    return f"{rule.delay // NS_PER_MS} ms"


def _fee_text(rule: rules.FeeRule) -> str:
    return (
        f"rate {units.money_text(rule.rate)}, exponent {rule.exponent}, {units.money_text(rule.rebate)} of it to makers"
    )


def merge_rows(events: np.ndarray, rows: Sequence[tuple[int, Mapping[str, int]]]) -> np.ndarray:
    """The stream with rows of our own, each (ns, fields), put before everything of their time; numbered anew."""
    if not rows:
        return events
    own = np.zeros(len(rows), EVENT)
    for row, (ts, fields) in zip(own, rows, strict=True):
        row["ts_recv"] = row["ts_event"] = ts
        row["flags"] = Flag.LAST
        for name, value in fields.items():
            row[name] = value
    own = own[np.argsort(own["ts_recv"], kind="stable")]
    merged = np.insert(events, np.searchsorted(events["ts_recv"], own["ts_recv"]), own)
    merged["seq"] = np.arange(len(merged))
    return merged
