"""Where two runs begin to differ in what they heard: people, gates, the venue's word on the account, other events."""

from __future__ import annotations

from collections import Counter

import numpy as np

from polytraders.rows import Answer, EventKind, Gate, Scope
from polytraders.run.comparison.case import GATED, Case
from polytraders.run.comparison.counterpart import TAPE, measured
from polytraders.run.comparison.pairing import grouped, only


def of_inputs(case: Case) -> None:
    """What the run was told by people, by its venue about its account, and by its own end."""
    events, decided = case.live.events, {int(v): Answer(v).name.lower() for v in Answer}
    for row in events[np.isin(events["kind"], (EventKind.APPROVAL, EventKind.SWITCH, EventKind.EXIT))]:
        ts, market, kind = int(row["ts_recv"]), int(row["market"]), int(row["kind"])
        if kind == EventKind.SWITCH:
            word = f"switch {Scope(int(row['aux'])).name.lower()} {'armed' if row['size'] else 'cleared'}"
            reach = -1 if int(row["aux"]) == Scope.CLUSTER else market
            _input(case, "switch", ts, reach, word)
        elif kind == EventKind.APPROVAL:
            _input(case, "gate", ts, market, f"proposal {int(row['aux'])} {decided.get(int(row['size']), '?')}")
        else:
            _input(case, "people", ts, market, "an exit was asked for" if row["size"] else "no exit any more")
    config = (events["kind"] == EventKind.CONFIG) & ~measured(events, case.manifest["bots"])
    for row in events[config]:
        bot = case.manifest["bots"][int(row["aux"])]
        name = bot["params"][int(row["price"])]["name"] if row["price"] < len(bot["params"]) else row["price"]
        _input(case, "people", int(row["ts_recv"]), int(row["market"]), f"{bot['bot_id']} {name} was set")
    own = (events["kind"] == EventKind.BALANCE) | ((events["kind"] == EventKind.SIGNAL) & (events["aux"] < 0))
    for row in events[own]:
        _input(case, "service", int(row["ts_recv"]), int(row["market"]), EventKind(int(row["kind"])).name.lower())
    claimed = events[events["kind"] == EventKind.REDEMPTION]
    paid = Counter(int(m) for m in case.back.events["market"][case.back.events["kind"] == EventKind.REDEMPTION])
    for row in claimed:
        if not paid[int(row["market"])]:
            _input(case, "claims", int(row["ts_recv"]), int(row["market"]), "winnings were claimed")
    for note in case.said():
        if note.get("what") == "session" and note.get("taken_over"):
            _input(case, "restart", int(note.get("ts", 0)), -1, "another process took the run over")
        elif note.get("what") == "stopping":
            _input(case, "stopping", int(note.get("ts", 0)), -1, "the run was told to stop")


def _input(case: Case, cause: str, ts: int, market: int, why: str) -> None:
    case.root(ts, market, cause)
    case.tell("input", cause, ts, market, why, live={"heard": why})


def of_gate(case: Case) -> None:
    """Decisions that only a gate makes: from each on, the run lacks an order that the backtest sends."""
    if case.gate == Gate.OPEN or not len(case.live.decisions):
        return
    cause = "dry" if case.gate == Gate.DRY else "gate"
    table = case.live.decisions
    for row in table[np.isin(table["code"], GATED)]:
        case.root(int(row["ts"]), int(row["market"]), cause)


def of_tapes(case: Case) -> None:
    """Events that stand in the recording or in the run's log and not in the other."""
    if case.tape is case.heard:
        return
    fields = ["market", "kind", "price", "size", "side", "aux"]
    wanted = np.isin(case.heard["kind"], TAPE[:7]), np.isin(case.tape["kind"], TAPE[:7])
    ours, theirs = case.heard[wanted[0]], case.tape[wanted[1]]
    for mine, table, word in (
        (True, *only(ours, theirs, fields)[:1], "heard by the run, not recorded"),
        (False, *only(ours, theirs, fields)[1:], "recorded, not heard by the run"),
    ):
        for (market, kind), rows in grouped(table, ("market", "kind")):
            ts = int(rows["ts_recv"].min())
            for at in rows["ts_recv"]:
                case.root(int(at), int(market), "recording")
            told = {"rows": len(rows), "kind": EventKind(int(kind)).name}
            case.tell(
                "input", "recording", ts, int(market), f"{len(rows)} rows {EventKind(int(kind)).name}: {word}",
                count=len(rows), **({"live": told} if mine else {"backtest": told}),
            )  # fmt: skip
