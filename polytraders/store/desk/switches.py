"""Kill switches: who armed what, why, and who cleared it.

Invariants
    K1  a switch latches: only persons clear it, with a reason, the global one two of them
    K2  arming rejects in the same transaction every trade intent of its scope that is not carried out yet
    K3  arming what is armed only adds to its story
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from polytraders import units
from polytraders.contracts import Actor, KillSwitch, Measure, at, derived_id
from polytraders.errors import UsageError
from polytraders.store.desk.answers import Answer, refuse
from polytraders.store.desk.journal import Entry, Kind, Write, append, clock
from polytraders.store.sql import Database, Transaction

SCOPES = ("global", "portfolio", "cluster", "strategy", "family", "bot", "market", "feed", "run")
"""run: one run, by its id. So a paper or shadow run that stopped itself is told, and no other of its strategy stops."""


_COLUMNS = {"portfolio": "portfolio_id", "strategy": "strategy_id", "market": "condition_id", "run": "run_id"}


def switch_id(scope: str, target: str | None = None) -> str:
    """The id of the switch of this scope and target."""
    return derived_id("ks", scope, target or "")


def arm(
    desk: Database,
    scope: str,
    target: str | None,
    actor: Actor,
    channel: str,
    reason: str,
    now: int | None = None,
    *,
    trigger: str = "manual",
    code: str = "RISK_KILL_SWITCH_ACTIVE",
    measures: Iterable[Measure] = (),
    run_id: str = "",
) -> Answer:
    """Arm a kill switch.

    Parameters
    ----------
    scope, target: one of SCOPES and which one of them; the global one has no target.
    actor: a person with trigger manual; the system (its id is the run's) with any other trigger of
        contracts.TRIGGERS.
    reason: why, in words.
    measures: what was measured, of an automatic trip.

    Raises UsageError when scope, target, trigger and actor do not make a KillSwitch.
    """
    now, id_ = clock(now), switch_id(scope, target)
    if not reason.strip():
        raise UsageError("arming a switch says why", where=scope, mend="give the reason in a few words")
    with desk.write() as tx:
        row = tx.row("SELECT * FROM switches WHERE switch_id = :id", id=id_)
        firings = (row["firings"] if row else 0) + 1
        document = _document(
            id_, scope, target, now,
            state="armed", trigger=trigger, reason_code=code, measures=tuple(measures), armed_by=actor,
            armed_at=units.iso_utc(now), firings=firings,
        )  # fmt: skip
        values = {
            "scope": scope,
            "target": target or "",
            "state": "armed",
            "firings": firings,
            "reason": reason,
            "asked": "[]",
            "document": document.to_json().decode(),
        }
        writes = [Write("switches", (id_,), values, new=row is None)]
        payload = {
            "code": "GOV_SWITCH_ARMED", "scope": scope, "target": target, "trigger": trigger, "why": code,
            "reason": reason, "firings": firings,
        }  # fmt: skip
        entries = [Entry(Kind.ARM, actor, channel, id_, payload, "", writes)]
        entries += [_rejected(stopped, actor, channel, id_, now) for stopped in _open_in_scope(tx, scope, target)]
        seq = append(tx, now, *entries)
        return Answer(
            True, "GOV_SWITCH_ARMED", id_, "armed", seq, {"rejected": [entry.subject for entry in entries[1:]]}
        )


def _document(id_: str, scope: str, target: str | None, now: int, **fields: Any) -> KillSwitch:
    from pydantic import ValidationError

    try:
        return KillSwitch(**at(now), switch_id=id_, scope=scope, target=target or None, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            str(first["msg"]).removeprefix("Value error, "),
            where=f"kill switch {scope} {target or ''}".strip(),
            rule="scope: " + ", ".join(SCOPES),
        ) from None


def _rejected(row: Mapping[str, Any], actor: Actor, channel: str, switch: str, now: int) -> Entry:
    code = "RISK_KILL_SWITCH_ACTIVE"
    changed = {"status": "REJECTED", "code": code, "decided_ns": now}
    return Entry(
        Kind.REJECT,
        actor,
        channel,
        row["trade_intent_id"],
        {"code": code, "corr": row["corr"], "status": "REJECTED", "switch": switch},
        row["run_id"],
        [Write("trade_intents", (row["trade_intent_id"],), changed)],
    )


def _open_in_scope(tx: Transaction, scope: str, target: str | None) -> list[dict[str, Any]]:
    rows = tx.rows("SELECT * FROM trade_intents WHERE status IN ('PENDING', 'APPROVED') ORDER BY created_ns, corr")
    return [row for row in rows if _covers(tx, scope, target or "", row)]


def _covers(tx: Transaction, scope: str, target: str, row: Mapping[str, Any]) -> bool:
    """Whether a switch of this scope stops a trade intent. A feed's stops all: which feed it stands on is not kept."""
    if scope in ("global", "feed"):
        return True
    if scope in _COLUMNS:
        return row[_COLUMNS[scope]] == target
    if scope == "cluster":
        found = tx.row("SELECT document FROM configs WHERE kind = 'cluster' AND id = :id", id=target)
        if found is None:
            return True  # nobody knows what is in it: stop
        return any(m["condition_id"] == row["condition_id"] for m in orjson.loads(found["document"])["members"])
    bots = [vote["bot_id"] for vote in orjson.loads(row["document"])["votes"]] + [row["strategy_id"]]
    return any(bot == target if scope == "bot" else bot.partition(".")[0] == target for bot in bots)


def armed_switches(tx: Transaction) -> list[dict[str, Any]]:
    """switch_id, scope and target of each switch that is on."""
    return tx.rows("SELECT switch_id, scope, target FROM switches WHERE state = 'armed' ORDER BY switch_id")


def covering(tx: Transaction, row: Mapping[str, Any], armed: Iterable[Mapping[str, Any]]) -> str | None:
    """The id of the first of these switches that stops this trade intent; None when none does."""
    for switch in armed:
        if _covers(tx, switch["scope"], switch["target"], row):
            return switch["switch_id"]
    return None


def clear(desk: Database, id_: str, actor: Actor, channel: str, reason: str, now: int | None = None) -> Answer:
    """Clear an armed switch. The global one is clear when a second person has asked too."""
    now = clock(now)
    if not reason.strip():
        raise UsageError("clearing a switch says why", where=id_, mend="give the reason in a few words")
    with desk.write() as tx:
        row = tx.row("SELECT * FROM switches WHERE switch_id = :id", id=id_)
        if row is None:
            raise UsageError("no kill switch has this id", where=id_, mend="polytraders kill-switches list")
        if actor.kind != "operator":
            return refuse(tx, now, actor, channel, Kind.CLEAR, id_, "GOV_SWITCH_NO_PERSON", row["state"])
        if row["state"] != "armed":
            return refuse(tx, now, actor, channel, Kind.CLEAR, id_, "GOV_SWITCH_NOT_ARMED", row["state"])
        asked = [Actor(**one) for one in orjson.loads(row["asked"])]
        if actor in asked:
            return Answer(True, "GOV_SWITCH_CLEAR_FIRST_OF_TWO", id_, "armed")
        asked.append(actor)
        final = len(asked) >= (2 if row["scope"] == "global" else 1)
        code = "GOV_SWITCH_CLEARED" if final else "GOV_SWITCH_CLEAR_FIRST_OF_TWO"
        values: dict[str, Any] = {"asked": orjson.dumps([one.document() for one in asked]).decode()}
        if final:
            before = KillSwitch.model_validate_json(row["document"])
            document = _document(
                id_, row["scope"], row["target"], max(now, units.ns_from_iso(str(before.armed_at)) + 1),
                state="clear", trigger=before.trigger, reason_code=before.reason_code, measures=before.measures,
                armed_by=before.armed_by, armed_at=before.armed_at, firings=before.firings, cleared_by=tuple(asked),
                cleared_at=units.iso_utc(max(now, units.ns_from_iso(str(before.armed_at)) + 1)), clear_reason=reason,
            )  # fmt: skip
            values |= {"state": "clear", "document": document.to_json().decode()}
        payload = {
            "code": code, "final": final, "scope": row["scope"], "target": row["target"] or None, "reason": reason,
        }  # fmt: skip
        seq = append(tx, now, Entry(Kind.CLEAR, actor, channel, id_, payload, "", [Write("switches", (id_,), values)]))
        return Answer(True, code, id_, "clear" if final else "armed", seq)


def switches(desk: Database, *, armed: bool = False) -> list[dict[str, Any]]:
    """Every switch that was ever armed (or those that are): its KillSwitch with reason and who asked to clear it."""
    where = "WHERE state = 'armed'" if armed else ""
    with desk.read() as tx:
        rows = tx.rows(f"SELECT * FROM switches {where} ORDER BY scope, target")
    return [
        orjson.loads(row["document"]) | {"reason": row["reason"], "asked_to_clear": orjson.loads(row["asked"])}
        for row in rows
    ]


def find_switch(desk: Database, ref: str) -> str:
    """The id of a switch from its id, `global`, `scope:target`, or the target alone. Raises UsageError."""
    known = switches(desk)
    names = {one["switch_id"]: one["switch_id"] for one in known}
    for one in known:
        names.setdefault(f"{one['scope']}:{one['target']}" if one["target"] else "global", one["switch_id"])
        names.setdefault(one["target"] or "global", one["switch_id"])
        names.setdefault(str(one["trigger"]), one["switch_id"])
    found = {id_ for name, id_ in names.items() if name.lower() == ref.lower()}
    if len(found) == 1:
        return found.pop()
    raise UsageError(
        "no kill switch has this name", where=ref, rule="its id, global, or scope:target",
        mend="polytraders kill-switches list",
    )  # fmt: skip
