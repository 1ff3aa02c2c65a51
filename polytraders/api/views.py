"""What the command line, HTTP and the notebooks show of the desk, composed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from polytraders import units
from polytraders.store.desk import ENDED, board, expire, intents, runs, standing, switches
from polytraders.store.sql import Database

Lines = list[tuple[str, str]]
CLOSEST = 5
"""How many limits the status names."""
ACCOUNT_FIRST = ("equity", "pnl_day", "pnl")
ACCOUNT_WORDS = {
    "pnl_day": "profit today", "pnl": "profit in all", "reserved": "behind orders", "unsettled": "not settled",
    "marked": "positions", "receivable": "owed to us", "deposits": "put in", "fees": "fees paid",
}  # fmt: skip
"""The account's fields in words, and which come first."""
FIGURES = (
    ("p_hat", "p̂ {}"),
    ("q_exec", "q_exec {} pUSD"),
    ("net_edge_bps", "net edge {} bps"),
    ("p_fill", "P(fill) {}"),
)
"""What an order is judged on (`run.told`), in words."""

BINDS = ("enforced", "quarantine")
"""Modes in which a vote counts."""


def status_view(desk: Database, now: int) -> dict[str, Any]:
    """The desk at a glance: runs, accounts, exposure, what waits, what is stopped, what is down, closest limits."""
    expire(desk, now)
    all_runs, positions = runs(desk, now), standing(desk, "positions", now)
    hidden = ("run_id", "name", "seen_ns", "mode", "stands")
    return {
        "as_of": units.iso_utc(now),
        "runs": all_runs,
        "accounts": {
            row["run_id"]: {k: v for k, v in row.items() if k not in hidden} for row in standing(desk, "account", now)
        },
        "positions": positions,
        "exposure_pusd": _exposure(positions),
        "pending": len(intents(desk, limit=100_000)),
        "switches": switches(desk, armed=True),
        "down": [row for row in standing(desk, "health", now) if not row.get("up")],
        "closest": standing(desk, "limits", now)[:CLOSEST],
        "names": market_names(desk),
    }


def _exposure(positions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Mode of run -> what its positions are worth together, pUSD: what is simulated is not added to what is not.
    `live` is always there."""
    worth = {"live": 0}
    for one in positions:
        worth[one["mode"]] = worth.get(one["mode"], 0) + units.money_micro(str(one.get("value_pusd", "0")))
    return {mode: units.money_text(micro) for mode, micro in worth.items()}


def health_view(desk: Database, now: int) -> dict[str, Any]:
    """Is somebody there? `status`: ok, degraded (a part is down, a run is silent), halted (a switch is on)."""
    all_runs = runs(desk, now)
    silent = [r["run_id"] for r in all_runs if not r["alive"] and r["state"] not in ENDED]
    failed = [r["run_id"] for r in all_runs if r["state"] == "failed"]
    down = [f"{row['run_id']} {row['name']}" for row in standing(desk, "health", now) if not row.get("up")]
    armed = [one["switch_id"] for one in switches(desk, armed=True)]
    state = "halted" if armed else "degraded" if silent or failed or down else "ok"
    return {"status": state, "silent": silent, "failed": failed, "down": down, "armed": armed}


def market_names(desk: Database) -> dict[str, str]:
    """Condition id -> the market's question (or slug), of the markets that runs told of."""
    named = {row["name"]: row.get("question") or row.get("slug") for row in board(desk, "markets")}
    return {market: str(name) for market, name in named.items() if name}


def account_words(account: Mapping[str, Any]) -> str:
    """An account in one line, without what is nothing: `equity 1000.16, profit today 0.16, ... pUSD`."""

    def place(name: str) -> tuple[int, str]:
        return (ACCOUNT_FIRST.index(name) if name in ACCOUNT_FIRST else len(ACCOUNT_FIRST), name)

    told = [
        f"{ACCOUNT_WORDS.get(name, name)} {account[name]}"
        for name in sorted(account, key=place) if account[name] is not None and _number(account[name]) != 0
    ]  # fmt: skip
    return f"{', '.join(told)} pUSD" if told else "nothing in its account"


def _number(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return None


def lasting(ns: int) -> str:
    """A length of time in its largest unit: 45 s, 8 min, 3 h, 2 d."""
    seconds = max(ns, 0) // units.NS_PER_S
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def clock_text(iso: Any) -> str:
    """A time of a document as people read it: 2026-06-01 12:00:00Z."""
    return f"{str(iso)[:19].replace('T', ' ')}Z"


def switch_words(one: Mapping[str, Any], names: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str]:
    """(what is stopped, who stopped and cleared it and when) of a kill switch. names: of markets."""
    target = one["target"] or ""
    what = f"{one['scope']} {names.get(target, target)}".strip()
    by = f"by {one['armed_by']['id']}" if one["trigger"] == "manual" else str(one["trigger"]).replace("_", " ")
    told = f"{by}, {clock_text(one['armed_at'])}"
    if one["firings"] > 1:
        told += f", {one['firings']} times in all"
    if one["state"] != "armed":
        who = " and ".join(actor["id"] for actor in one["cleared_by"])
        told += f"; cleared by {who}, {clock_text(one['cleared_at'])}"
        told += f": {one['clear_reason']}" if one.get("clear_reason") else ""
    elif one.get("asked_to_clear"):
        told += f"; {', '.join(a['id'] for a in one['asked_to_clear'])} asked to clear it, a second person has to"
    return what, told


def override_words(one: Mapping[str, Any], names: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str]:
    """(what is changed from what to what and where, how it stands and by whom) of an override. names: of markets."""
    unit = {"flag": "", "count": ""}.get(one["after"]["unit"], f" {one['after']['unit']}")
    what = f"{one['bot_id']}.{one['after']['name']}: {one['after']['value']}{unit}, was {one['before']['value']}{unit}"
    market = one.get("condition_id")
    reach = [one.get("portfolio_id"), one.get("strategy_id"), names.get(str(market), market)]
    where = ", ".join(str(name) for name in reach if name)
    end = {"active": "until"}.get(one["state"], f"{one['state']}, would have held until")
    return what + (f" (in {where} only)" if where else ""), (
        f"{end} {clock_text(one['expires_at'])}, by {one['requested_by']['id']}"
    )


def intent_lines(one: dict[str, Any], now: int, names: Mapping[str, str] = MappingProxyType({})) -> Lines:
    """A trade intent in words, line by line: first what a person decides on, then what it is called. names: of
    markets."""
    document, figures = one["document"], one["figures"]
    order = document["intent"]
    lines = [("Question", names[one["condition_id"]])] if one["condition_id"] in names else []
    if order:
        rest = ", post only" if order["post_only"] else ""
        lines.append(("Order", f"{order['side']} {order['outcome']} {order['order_type']}{rest}"))
        bound = "at most" if order["side"] == "BUY" else "at least"
        price = "any" if order["limit_price"] is None else f"{order['limit_price']} pUSD {bound}"
        lines.append(("Price", price))
        lines.append(("Size", f"{order['size_shares'] or '?'} shares, {order['size_pusd']} pUSD"))
    else:
        lines.append(("Claim", f"{document['claim_shares']} shares"))
    if document["edge_bps"] is not None:
        sign = "" if document["edge_bps"].startswith("-") else "+"
        models = f"model {document['model_price']}, market {document['market_price']}"
        lines.append(("Edge", f"{sign}{document['edge_bps']} bps ({models})"))
    if told := [words.format(figures[name]) for name, words in FIGURES if figures.get(name) is not None]:
        lines.append(("Figures", ", ".join(told)))
    lines.append(("Reason", f"{document['reasoning']} ({document['reason_code']})"))
    if document["trigger"]:
        lines.append(("Proposed by", str(document["trigger"]).replace("_", " ")))
    lines.append(("Risk checks", _checks(document["votes"])))
    lines.append(("Approvals", f"{one['given']} of {one['needed']}"))
    for a in one.get("answers", ()):
        said_so = f"{a['decision']} by {a['actor']['id']} ({a['channel']}), {clock_text(a['ts'])} {a['comment'] or ''}"
        lines.append(("", said_so.rstrip()))
    if one["status"] == "PENDING":
        lines.append(("Time left", lasting(one["expires_ns"] - now)))
    lines += [
        ("Status", f"{one['status']} ({one['code']})"),
        ("Type", str(one["type"]).replace("_", " ").lower()),
        ("Created", clock_text(units.iso_utc(one["created_ns"]))),
        ("Expires", clock_text(units.iso_utc(one["expires_ns"]))),
        ("Portfolio", one["portfolio_id"]),
        ("Run", one["run_id"]),
        ("Intent", one["trade_intent_id"]),
        ("Market", one["condition_id"]),
        ("Book", str(document["book_hash"] or "—")),
        ("Hash", one["shown_hash"]),
    ]
    return lines


def _checks(votes: Iterable[Mapping[str, Any]]) -> str:
    """The votes on an order: how many approve, and each one that says something else, with its code."""
    every = list(votes)
    if not every:
        return "none"
    good = [v["bot_id"].removeprefix("risk.") for v in every if v["decision"] == "APPROVE"]
    others = [
        f"{v['bot_id']} {v['decision']} {v['reason_code']}" + ("" if v["mode"] in BINDS else " (binds nothing)")
        for v in every if v["decision"] != "APPROVE"
    ]  # fmt: skip
    if not others:
        return f"all {len(every)} approve: {', '.join(good)}"
    return "; ".join(others) + (f"; {len(good)} of {len(every)} approve: {', '.join(good)}" if good else "")
