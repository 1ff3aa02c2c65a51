"""A hand-made run: two markets, one strategy, two risk bots; every intent of it ends in another way.

Intent 1: reshaped from 20 to 12 shares, sent, accepted, filled 5 as maker, later cancelled; its market resolves.
Intent 2: denied by risk.
Intent 3: sent and rejected by the venue, on the other market.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from polytraders import rows
from polytraders.reasons import Code, by_number
from polytraders.rows import POST_ONLY, ActionKind, EventKind, Flag, OrderType, Outcome, Side, Verdict
from polytraders.store.log import LogWriter, RecordKind
from polytraders.store.manifest import bot_row, make_manifest, runtime_row

RUN_ID = "01K0TESTRUN000000000000001"
T0 = 1_760_000_000_000_000_000
"""ns; time of intent 1's decision."""
MS = 1_000_000
S = 1_000 * MS
ENFORCED, ADVISORY = 3, 2
FLOW, SCANNER, MAKER, STALE, LIQUIDITY, ROUTER, RUNTIME = range(7)
FEES = {"fee_rate": 40_000, "fee_exponent": 1, "rebate_rate": 250_000}
BUILDER = "0x" + "ab" * 32


def manifest() -> dict[str, Any]:
    """What the hand-made run was made from."""
    stale_after = {"name": "max_book_age", "unit": "s", "value": "3", "kernel": 3 * S}
    depth = {"name": "min_depth", "unit": "shares", "value": "12", "kernel": 12_000_000}
    return make_manifest(
        run_id=RUN_ID,
        strategy="strat.maker_tight",
        config={"portfolio": {"id": "PORT-001"}},
        builder_code=BUILDER,
        config_hash="c0" * 32,
        pins={"recording.jsonl": "d1" * 32},
        notes=["trades are inferred"],
        models={"queue": "risk_averse"},
        markets=[
            {"condition_id": "0x" + "11" * 32, "slug": "rain", "question": "Will it rain tomorrow?", **FEES},
            {"condition_id": "0x" + "22" * 32, "slug": "snow", "question": "Will it snow tomorrow?", **FEES},
        ],
        bots=[
            bot_row("intel.orderflowanalyzer", "0.1.0", "enforced"),
            bot_row("disc.marketscanner", "0.1.0", "enforced"),
            bot_row("strat.maker_tight", "0.2.0", "enforced"),
            bot_row("risk.stale_book_guard", "0.1.0", "enforced", [stale_after]),
            bot_row("risk.liquidityguard", "0.1.1", "enforced", [depth]),
            bot_row("exec.smartrouter", "0.1.0", "enforced"),
            runtime_row(),
        ],
    )


def decision(bot: int, code: int, *, ts: int = T0, seq: int = 100, corr: int = 1, **fields: int) -> np.ndarray:
    """DECISION[1] on a BUY of 20 YES at 0.43."""
    row = np.zeros(1, rows.DECISION)
    shape = {"price": 4_300, "size": 20_000_000, "side": Side.BUY, "outcome": Outcome.YES, "mode": ENFORCED}
    shape |= {"ts": ts, "seq": seq, "corr": corr, "bot": bot, "code": code, "severity": by_number(code).severity}
    shape |= fields
    for name, value in ({"out_price": shape["price"], "out_size": shape["size"]} | shape).items():
        row[name] = value
    return row


def sensor(bot: int, code: int, ts: int, seq: int, market: int = 0) -> np.ndarray:
    return decision(bot, code, ts=ts, seq=seq, corr=0, market=market, price=0, size=0, slot=8)


def action(kind: ActionKind, order_id: int, corr: int, ts: int, **fields: int) -> np.ndarray:
    row = np.zeros(1, rows.ACTION)
    shape = {"price": 4_300, "size": 12_000_000, "side": Side.BUY, "order_type": OrderType.GTC, "flags": POST_ONLY}
    for name, value in (shape | {"kind": kind, "order_id": order_id, "corr": corr, "ts": ts} | fields).items():
        row[name] = value
    return row


def event(kind: EventKind, ts: int, seq: int, **fields: int) -> np.ndarray:
    row = np.zeros(1, rows.EVENT)
    for name, value in ({"kind": kind, "ts_recv": ts, "ts_event": ts - MS, "seq": seq} | fields).items():
        row[name] = value
    return row


def approve(bot: int, code: int, **fields: int) -> np.ndarray:
    return decision(bot, code, verdict=Verdict.APPROVE, **fields)


def hand_made_rows() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """(events, decisions, actions) of the run, each in order of time."""
    reshape = {"out_size": 12_000_000, "observed": 9_000_000, "limit": 12_000_000}
    first = [
        sensor(FLOW, Code.INTEL_FLOW_BENIGN, T0 - 9 * S, 10),
        sensor(SCANNER, Code.DISC_MARKET_CANDIDATE, T0 - 9 * S, 10),
        sensor(FLOW, Code.INTEL_FLOW_TOXIC, T0 - 5 * S, 50),
        sensor(SCANNER, Code.DISC_LOW_VOLUME, T0 - 4 * S, 60, market=1),
        decision(MAKER, Code.STRAT_MAKER_QUOTE_INSIDE, observed=12_500, limit=442_500),
        approve(STALE, Code.RISK_BOOK_FRESH, observed=400 * MS, limit=3 * S, repeats=7),
        decision(LIQUIDITY, Code.RISK_LIQUIDITY_RESHAPED, verdict=Verdict.RESHAPE, **reshape),
        decision(MAKER, Code.STRAT_RESHAPED_BY_RISK, out_size=12_000_000),
        decision(ROUTER, Code.EXEC_ROUTE_PASSIVE, size=12_000_000),
        decision(RUNTIME, Code.EXEC_SUBMITTED, size=12_000_000),
    ]
    denied = {"corr": 2, "ts": T0 + 1 * S, "seq": 120, "side": Side.SELL, "slot": 4}
    late = {"observed": 4 * S, "limit": 3 * S}
    second = [
        decision(MAKER, Code.STRAT_MAKER_QUOTE_INSIDE, **denied),
        decision(STALE, Code.RISK_STALE_BOOK, verdict=Verdict.REJECT, **(denied | late)),
    ]
    other = {"corr": 3, "ts": T0 + 2 * S, "seq": 130, "market": 1, "outcome": Outcome.NO}
    third = [
        decision(MAKER, Code.STRAT_MAKER_QUOTE_INSIDE, **other),
        approve(STALE, Code.RISK_BOOK_FRESH, **other),
        decision(LIQUIDITY, Code.RISK_LIQUIDITY_INSUFFICIENT, verdict=Verdict.REJECT, **(other | {"mode": ADVISORY})),
        decision(RUNTIME, Code.EXEC_SUBMITTED, **other),
    ]
    again = {"ts": T0 + 4 * S, "seq": 150}
    fourth = [decision(MAKER, Code.STRAT_MAKER_QUOTE_JOIN, **again), approve(STALE, Code.RISK_BOOK_FRESH, **again)]
    actions = [
        action(ActionKind.SUBMIT, 71, 1, T0, seq=100),
        action(ActionKind.SUBMIT, 72, 3, T0 + 2 * S, seq=130, market=1, outcome=Outcome.NO),
        action(ActionKind.CANCEL, 71, 1, T0 + 4 * S, seq=150),
    ]
    fill = {"aux": 71, "price": 4_300, "size": 5_000_000, "ref": 0, "flags": Flag.MAKER | Flag.LAST}
    events = [
        event(EventKind.CHANGE, T0 - 10 * S, 1, price=4_400, size=1_000_000),
        event(EventKind.ORDER_ACK, T0 + 100 * MS, 101, aux=71),
        event(EventKind.ORDER_REJECT, T0 + 2 * S + 100 * MS, 131, market=1, aux=72, size=Code.EXEC_OFF_TICK),
        event(EventKind.FILL_CONFIRMED, T0 + 3 * S, 140, **fill),
        event(EventKind.CANCEL, T0 + 4 * S + 100 * MS, 151, aux=71, size=Code.EXEC_CANCELLED),
        event(EventKind.RESOLUTION, T0 + 60 * S, 160, price=10_000),
        event(EventKind.RESOLUTION, T0 + 61 * S, 161, price=0, market=1),
    ]
    return events, first + second + third + fourth, actions


def write_run(folder: Path, *, close: bool = True) -> Path:
    """Write the hand-made run into `folder`, in records as an engine would: a batch of each kind after another."""
    events, decisions, actions = hand_made_rows()
    with LogWriter(folder, manifest(), seal_events=False) as writer:  # a few rows of a long stream
        writer.append(RecordKind.EVENTS, np.concatenate(events[:3]))
        writer.append(RecordKind.DECISIONS, np.concatenate(decisions[:14]))
        writer.append(RecordKind.ACTIONS, np.concatenate(actions[:2]))
        writer.append(RecordKind.EVENTS, np.concatenate(events[3:]))
        writer.append(RecordKind.DECISIONS, np.concatenate(decisions[14:]))
        writer.append(RecordKind.ACTIONS, np.concatenate(actions[2:]))
        if close:
            writer.close({"pnl": "2.85"})
    return folder
