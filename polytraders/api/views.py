"""What the command line, HTTP and the notebooks show of the desk, composed once."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from polytraders import units
from polytraders.store.desk import board, expire, intents, runs, switches, utilisation
from polytraders.store.sql import Database

Lines = list[tuple[str, str]]
CLOSEST = 5
"""How many limits the status names."""


def status_view(desk: Database, now: int) -> dict[str, Any]:
    """The desk at a glance: runs, accounts, exposure, what waits, what is stopped, what is down, closest limits."""
    expire(desk, now)
    positions = board(desk, "positions")
    hidden = ("run_id", "name", "seen_ns")
    return {
        "as_of": units.iso_utc(now),
        "runs": runs(desk, now),
        "accounts": {
            row["run_id"]: {k: v for k, v in row.items() if k not in hidden} for row in board(desk, "account")
        },
        "positions": positions,
        "exposure_pusd": units.money_text(sum(units.money_micro(str(p.get("value_pusd", "0"))) for p in positions)),
        "pending": len(intents(desk, limit=100_000)),
        "switches": switches(desk, armed=True),
        "down": [row for row in board(desk, "health") if not row.get("up")],
        "closest": utilisation(desk)[:CLOSEST],
        "names": market_names(desk),
    }


def health_view(desk: Database, now: int) -> dict[str, Any]:
    """Is somebody there? `status`: ok, degraded (a part is down, a run is silent), halted (a switch is on)."""
    all_runs = runs(desk, now)
    silent = [r["run_id"] for r in all_runs if not r["alive"] and r["state"] not in ("stopped", "failed")]
    failed = [r["run_id"] for r in all_runs if r["state"] == "failed"]
    down = [f"{row['run_id']} {row['name']}" for row in board(desk, "health") if not row.get("up")]
    armed = [one["switch_id"] for one in switches(desk, armed=True)]
    state = "halted" if armed else "degraded" if silent or failed or down else "ok"
    return {"status": state, "silent": silent, "failed": failed, "down": down, "armed": armed}


def market_names(desk: Database) -> dict[str, str]:
    """Condition id -> the market's question (or slug), of the markets that runs told of."""
    named = {row["name"]: row.get("question") or row.get("slug") for row in board(desk, "markets")}
    return {market: str(name) for market, name in named.items() if name}


def intent_lines(one: dict[str, Any], now: int, names: Mapping[str, str] = MappingProxyType({})) -> Lines:
    """A trade intent in words, line by line: what a person reads before they answer. names: of markets."""
    document, figures = one["document"], one["figures"]
    order = document["intent"]
    lines = [("Intent", one["trade_intent_id"]), ("Type", one["type"]), ("Status", f"{one['status']} ({one['code']})")]
    lines += [("Question", names[one["condition_id"]])] if one["condition_id"] in names else []
    lines += [("Market", one["condition_id"]), ("Run", one["run_id"]), ("Portfolio", one["portfolio_id"])]
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
    if figures:
        lines.append(("Figures", ", ".join(f"{name} {value}" for name, value in figures.items())))
    lines.append(("Reason", f"{document['reasoning']} ({document['reason_code']})"))
    if document["trigger"]:
        lines.append(("Proposed by", document["trigger"]))
    checks = ", ".join(f"{v['bot_id']} {v['decision']}" for v in document["votes"])
    lines.append(("Risk checks", f"all passed: {checks}" if checks else "none"))
    lines.append(("Approvals", f"{one['given']} of {one['needed']}"))
    lines += [
        ("", f"{a['decision']} by {a['actor']['id']} ({a['channel']}), {a['ts'][:19]}Z {a['comment'] or ''}".rstrip())
        for a in one.get("answers", ())
    ]
    lines.append(("Created", units.iso_utc(one["created_ns"])[:19] + "Z"))
    lines.append(("Expires", units.iso_utc(one["expires_ns"])[:19] + "Z"))
    if one["status"] == "PENDING":
        lines.append(("Time left", f"{max(0, (one['expires_ns'] - now) // units.NS_PER_S)} s"))
    lines.append(("Book", str(document["book_hash"] or "—")))
    lines.append(("Hash", one["shown_hash"]))
    return lines
