"""Overrides: one limit of one bot, changed by a person for a time. A run takes them up as EventKind.CONFIG rows.

Invariants
    O1  none is granted while any kill switch is armed, beyond the parameter's hard limit, for longer than the auditor
        permits (MOST_OVERRIDE_S at most), or where the bot's spec does not say that its limits may be changed
    O2  one person gets at most as many in an hour as the auditor permits, three by default
    O3  it ends by itself; ending it early is as audited as granting it
    O4  what would hold nowhere is not granted: a run's bots have one value of a parameter for all of its markets, so
        one market's is only for a run of that market alone
"""

from __future__ import annotations

from typing import Any

import orjson

from polytraders import units
from polytraders.bots import load_bot, resolve_bot
from polytraders.config import Settings
from polytraders.contracts import Actor, Override, ParameterValue, at
from polytraders.errors import UsageError
from polytraders.store.desk.answers import Answer, refuse
from polytraders.store.desk.journal import SYSTEM, Entry, Kind, Write, append, clock, head
from polytraders.store.sql import Database, Transaction

AUDITOR = "risk.manualoverrideauditor"
"""The bot whose rule it is who may change what, for how long and how often: the one that also judges every order under
an override. Its vote stands in the record of each request, granted or not."""
_CODES = {
    "RISK_OVERRIDE_DURING_HALT": "GOV_OVERRIDE_DURING_HALT",
    "RISK_OVERRIDE_TOO_MANY": "GOV_OVERRIDE_TOO_MANY",
}
"""Code of the auditor's refusal -> what the person is told; any other: GOV_OVERRIDE_REFUSED."""


def override(
    desk: Database,
    settings: Settings,
    bot: str,
    parameter: str,
    value: str,
    ttl_s: int,
    actor: Actor,
    channel: str,
    reason: str,
    now: int | None = None,
    *,
    portfolio_id: str | None = None,
    strategy_id: str | None = None,
    condition_id: str | None = None,
) -> Answer:
    """Change one parameter for `ttl_s` seconds, everywhere or only in a portfolio, for a strategy, in a market.

    Refused with GOV_OVERRIDE_DURING_HALT, _TOO_MANY or _REFUSED; `details["why"]` says what of O1 or O4 it breaks.
    Raises UsageError for an unknown bot or parameter, ConfigError for what is no such value.
    """
    from polytraders.risk.manualoverrideauditor import Request, review  # loads the kernels: only who asks waits for it

    now, bot_id = clock(now), resolve_bot(bot)
    spec, config, auditor = load_bot(bot_id).spec, settings.bot(bot_id), settings.bot(AUDITOR)
    known, before = spec.parameter(parameter), config.values[parameter]
    known.value(value)  # what is no such number is no request
    subject = f"{bot_id}.{parameter}"
    asked = Request(actor.id, bot_id, parameter, value, reason, ttl_s * units.NS_PER_S, before)
    with desk.write() as tx:
        armed = tx.value("SELECT count(*) FROM switches WHERE state = 'armed'")
        grants = tx.rows("SELECT ts_ns FROM overrides WHERE actor = :actor", actor=actor.id)
        params = load_bot(AUDITOR).spec.kernel_params(auditor.values)
        vote = review(asked, [row["ts_ns"] for row in grants], bool(armed), now, params)
        record = {"bot_id": AUDITOR, "reason_code": vote.code, "observed": vote.observed, "limit": vote.limit}
        nowhere = _nowhere(tx, portfolio_id, strategy_id, condition_id)
        if actor.kind != "operator" or not vote.granted or nowhere:
            code, why = _CODES.get(vote.code, "GOV_OVERRIDE_REFUSED"), vote.what
            if actor.kind != "operator" or vote.granted:
                code, why = "GOV_OVERRIDE_REFUSED", nowhere if actor.kind == "operator" else "only a person may ask"
            return refuse(
                tx, now, actor, channel, Kind.OVERRIDE, subject, code, "refused", why=why, vote=record, reason=reason
            )
        id_ = f"OVR-{head(tx)[0] + 1:06d}"
        document = Override(
            **at(now),
            override_id=id_,
            bot_id=bot_id,
            before=_parameter(known, before),
            after=_parameter(known, known.text(value)),
            portfolio_id=portfolio_id,
            strategy_id=strategy_id,
            condition_id=condition_id,
            requested_by=actor,
            reason_code="GOV_OVERRIDE_GRANTED",
            justification=reason,
            expires_at=units.iso_utc(now + ttl_s * units.NS_PER_S),
            state="active",
        )
        values = {
            "bot_id": bot_id,
            "parameter": parameter,
            "actor": actor.id,
            "state": "active",
            "ts_ns": now,
            "expires_ns": now + ttl_s * units.NS_PER_S,
            "document": document.to_json().decode(),
        }
        payload = {
            "code": "GOV_OVERRIDE_GRANTED", "bot_id": bot_id, "parameter": parameter, "before": before,
            "after": known.text(value), "ttl_s": ttl_s, "reason": reason, "portfolio_id": portfolio_id,
            "strategy_id": strategy_id, "condition_id": condition_id, "vote": record,
        }  # fmt: skip
        seq = append(
            tx, now, Entry(Kind.OVERRIDE, actor, channel, id_, payload, "", [Write("overrides", (id_,), values, True)])
        )
        warned = vote.code == "RISK_OVERRIDE_NEAR_LIMIT"
        return Answer(True, "GOV_OVERRIDE_GRANTED", id_, "active", seq, {"warned": warned})


def _nowhere(tx: Transaction, portfolio_id: str | None, strategy_id: str | None, condition_id: str | None) -> str:
    """Why an override of one market would change nothing; empty for one that does, or that waits for a run."""
    if condition_id is None:
        return ""
    rows = tx.rows(
        "SELECT runs.run_id, runs.portfolio_id, runs.strategy_id, count(*) AS markets, "
        "max(CASE WHEN board.name = :market THEN 1 ELSE 0 END) AS follows FROM runs JOIN board "
        "ON board.run_id = runs.run_id AND board.topic = 'markets' WHERE runs.state NOT IN ('stopped', 'failed') "
        "GROUP BY runs.run_id, runs.portfolio_id, runs.strategy_id ORDER BY runs.run_id",
        market=condition_id,
    )
    reached = [
        row
        for row in rows
        if row["follows"] and portfolio_id in (None, row["portfolio_id"]) and strategy_id in (None, row["strategy_id"])
    ]
    if not reached or any(row["markets"] == 1 for row in reached):
        return ""
    told = ", ".join(f"{row['run_id']} follows {row['markets']} markets" for row in reached)
    return f"{told}, and a parameter of a run holds in all of them: name no market, or run this one by itself"


def _parameter(known: Any, value: str) -> ParameterValue:
    shown = {
        name: None if level is None else known.text(level)
        for name, level in (("default", known.default), ("warning", known.warning), ("hard", known.hard))
    }
    return ParameterValue(name=known.name, unit=known.unit, value=value, direction=known.direction, **shown)


def end_override(
    desk: Database, override_id: str, actor: Actor, channel: str, reason: str, now: int | None = None
) -> Answer:
    """End an override before its time. Raises UsageError when there is none of this id."""
    now = clock(now)
    with desk.write() as tx:
        row = tx.row("SELECT * FROM overrides WHERE override_id = :id", id=override_id)
        if row is None:
            raise UsageError("no override has this id", where=override_id, mend="polytraders override list")
        if row["state"] != "active":
            return Answer(True, "GOV_OVERRIDE_ENDED", override_id, row["state"])
        seq = append(tx, now, _ended(row, actor, channel, "revoked", reason))
        return Answer(True, "GOV_OVERRIDE_ENDED", override_id, "revoked", seq)


def expire_overrides(desk: Database, now: int | None = None) -> list[str]:
    """End every override whose time is over; their ids."""
    now = clock(now)
    due = "FROM overrides WHERE state = 'active' AND expires_ns <= :now"
    with desk.read() as tx:
        if not tx.value(f"SELECT count(*) {due}", now=now):
            return []
    with desk.write() as tx:
        rows = tx.rows(f"SELECT * {due} ORDER BY override_id", now=now)
        append(tx, now, *(_ended(row, SYSTEM, "policy", "expired", "its time is over") for row in rows))
    return [row["override_id"] for row in rows]


def _ended(row: dict[str, Any], actor: Actor, channel: str, state: str, reason: str) -> Entry:
    before = Override.model_validate_json(row["document"])
    revoked = actor if state == "revoked" else None
    document = before.model_copy(update={"state": state, "revoked_by": revoked})
    payload = {
        "code": "GOV_OVERRIDE_ENDED", "bot_id": row["bot_id"], "parameter": row["parameter"],
        "after": before.before.value, "reason": reason,
    }  # fmt: skip
    values = {"state": state, "document": document.to_json().decode()}
    return Entry(
        Kind.OVERRIDE_END, actor, channel, row["override_id"], payload, "",
        [Write("overrides", (row["override_id"],), values)],
    )  # fmt: skip


def overrides(desk: Database, *, active: bool = False) -> list[dict[str, Any]]:
    """Overrides (or those in force), newest first: each the Override."""
    where = "WHERE state = 'active'" if active else ""
    with desk.read() as tx:
        return [orjson.loads(r["document"]) for r in tx.rows(f"SELECT * FROM overrides {where} ORDER BY ts_ns DESC")]
