"""Decisions of two runs laid beside each other, and the first at which they part."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from polytraders.reasons import Code
from polytraders.rows import DECISION
from polytraders.run.comparison.case import GATED, Case
from polytraders.run.comparison.differences import CAUSES, Difference
from polytraders.run.comparison.pairing import only
from polytraders.run.comparison.words import code_name
from polytraders.units import iso_utc, price_text, size_text

_SHAPE = ("bot", "market", "slot", "verdict", "severity", "code", "outcome", "side", "mode", "warned")
TOLD = ("ts", *_SHAPE, "price", "size", "out_price", "out_size", "terms")
"""Fields of a decision that are compared: not its numbers in the stream, nor how often it was said before."""
assert DECISION.names is not None and set(TOLD) <= set(DECISION.names)


def of_decisions(case: Case) -> dict[str, Any] | None:
    """Decisions of one of the two only, by bot, code, market and cause; the first of them all."""
    ours, theirs = only(case.live.decisions, case.back.decisions, list(TOLD))
    case.same["decisions"] = len(case.live.decisions) - len(ours)
    first: tuple[int, Difference, np.void] | None = None
    for at_live, table in ((True, ours), (False, theirs)):
        groups: dict[tuple[int, int, int, str, bool], list[np.void]] = defaultdict(list)
        for row in table:
            cause, direct = _why_decided(case, row, at_live)
            groups[int(row["bot"]), int(row["code"]), int(row["market"]), cause, direct].append(row)
        for (bot, code, market, cause, direct), rows in groups.items():
            row = rows[0]
            told = _decision(case, row) | {"rows": len(rows)}
            where = "run" if at_live else "backtest"
            why = f"{len(rows)} of {case.bot(bot)} {code_name(code)} only in the {where}"
            one = Difference(
                "decision", cause, int(row["ts"]), market, why, count=len(rows), follows=not direct,
                **({"live": told} if at_live else {"backtest": told}),
            )  # fmt: skip
            case.found.append(one)
            if first is None or int(row["ts"]) < first[0]:
                first = int(row["ts"]), one, row
    if first is None:
        return None
    ts, one, row = first
    return {
        "time": iso_utc(ts), "ts_ns": ts, "market": case.names[one.market] if one.market >= 0 else None,
        "cause": one.cause, "meaning": CAUSES[one.cause],
        "live": _beside(case, ours, row), "backtest": _beside(case, theirs, row),
    }  # fmt: skip


def _why_decided(case: Case, row: np.void, at_live: bool) -> tuple[str, bool]:
    """(cause, whether the row is itself where it begins)."""
    code = int(row["code"])
    if at_live and code in GATED:
        return ("dry" if code == Code.EXEC_DRY_RUN else "gate"), True
    if at_live and code == Code.RISK_KILL_SWITCH_ACTIVE and case.switched(int(row["ts"]), int(row["market"])):
        return "switch", True
    return case.before(int(row["ts"]), int(row["market"])), False


def _beside(case: Case, table: np.ndarray, row: np.void) -> list[dict[str, Any]]:
    """What one of the two alone decided in this market at this time."""
    mine = table[(table["ts"] == row["ts"]) & (table["market"] == row["market"])]
    return [_decision(case, one) for one in mine]


def _decision(case: Case, row: np.void) -> dict[str, Any]:
    told = {"bot": case.bot(int(row["bot"])), "code": code_name(int(row["code"])), "slot": int(row["slot"])}
    if row["size"]:
        told |= {"price": price_text(int(row["price"])), "size": size_text(int(row["size"]))}
    return told
