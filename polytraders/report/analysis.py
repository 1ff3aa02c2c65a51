"""A run's log as tidy tables: fills, markouts, profit and loss, orders, decisions, quality of the data.

Everything is computed from the log alone. Money, prices, sizes and times stay integers (units of
`polytraders.units`; `mid2` = bid + ask in pips, so that a mid needs no fraction); only statistics
over many fills (means, standard errors) are floats. pandas is imported when the first table is made.

Two clocks: a fill happens at the venue at `ts_event` and is known to us at `ts_recv`. Prices that a
fill is held against (mid before it, markouts after it) are those of the venue's clock; equity and
inventory are what we knew, on ours.

Invariants
    P1  spread + drift + settlement - fees + rebates = change of equity, to the micro-pUSD, per market and in all
    P2  a markout whose horizon lies beyond the market's data, or inside a gap of it, is missing, never zero
    P3  decisions counted from run-length encoded rows are the decisions made
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polytraders import rows, units
from polytraders.engine.fees import MICRO_PER_FEE_UNIT, maker_rebate
from polytraders.errors import DataError
from polytraders.reasons import Code, ReasonCode
from polytraders.report import profit
from polytraders.report.tape import Tape, tapes
from polytraders.rows import ActionKind, EventKind, Flag, Outcome, Severity, Side
from polytraders.store.ids import intent_id
from polytraders.store.log import RecordKind, read_log
from polytraders.store.trace import reason_of
from polytraders.units import NS_PER_S, ONE

if TYPE_CHECKING:
    import pandas as pd

HORIZONS = (1, 10, 60)
"""Markout horizons, seconds."""
PARTS = ("spread", "drift", "settlement", "fees", "rebates")
"""What the change of equity consists of, in the order in which it is told."""


@dataclass(frozen=True)
class Run:
    """A run read from its log, with its tables made on first use.

    log_hash is "" for a run that was never closed; `torn` then says what was left out at its end.
    """

    folder: Path
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    torn: Mapping[str, Any] | None
    events: np.ndarray  # EVENT[n]
    decisions: np.ndarray  # DECISION[n]
    actions: np.ndarray  # ACTION[n]
    samples: np.ndarray  # SAMPLE[n]

    @property
    def id(self) -> str:
        return self.manifest["run_id"]

    @property
    def log_hash(self) -> str:
        return (self.summary or {}).get("log", {}).get("hash", "")

    @property
    def markets(self) -> list[dict[str, Any]]:
        """The market table; a row's `market` is an index into it."""
        return self.manifest["markets"]

    @property
    def bots(self) -> list[str]:
        """Bot ids by index in decision rows."""
        return [bot["bot_id"] for bot in self.manifest["bots"]]

    @property
    def start(self) -> int:
        """ns, receive time of the first event."""
        return int(self.events["ts_recv"][0])

    @property
    def end(self) -> int:
        """ns, receive time of the last event; the clock row that closes a run is none."""
        closed = len(self.events) > 1 and self.events["kind"][-1] == EventKind.CLOCK
        return int(self.events["ts_recv"][-2 if closed else -1])

    @property
    def charges_fees(self) -> bool:
        """False when the run was told to leave fees (and so rebates) out."""
        return self.manifest["models"].get("fees") != "none"

    @cached_property
    def deposits(self) -> int:
        """micro-pUSD put in at the start."""
        engine = self.manifest.get("engine") or {}
        if "cash" in engine:
            return int(engine["cash"])
        return units.money_micro(self.manifest["config"]["portfolio"]["cash_pusd"])

    @cached_property
    def fee_changes(self) -> np.ndarray:
        """EVENT[n]: the fee schedules that changed inside the run."""
        return self.events[self.events["kind"] == EventKind.FEES]

    @cached_property
    def sets(self) -> list[profit.Change]:
        """Complete sets that were made, merged or converted."""
        return profit.changes(self.events, self.markets)

    @cached_property
    def tapes(self) -> dict[int, Tape]:
        """Data of each market in which an order of ours was sent or holdings were changed."""
        wanted = np.zeros(len(self.markets), bool)
        sent = self.actions["market"]
        wanted[np.unique(sent[sent >= 0])] = True
        wanted[[leg[0] for change in self.sets for leg in change.legs]] = True
        return tapes(self.events, self.markets, wanted)

    @cached_property
    def fills(self) -> pd.DataFrame:
        return fills(self)

    @cached_property
    def markouts(self) -> pd.DataFrame:
        return markouts(self)

    @cached_property
    def pnl(self) -> pd.DataFrame:
        return pnl(self)

    @cached_property
    def positions(self) -> pd.DataFrame:
        return positions(self)

    @cached_property
    def equity(self) -> pd.DataFrame:
        return equity(self)

    @cached_property
    def orders(self) -> pd.DataFrame:
        return orders(self)

    @cached_property
    def reasons(self) -> pd.DataFrame:
        return reasons(self)

    def name(self, market: int) -> str:
        """What people call a market."""
        info = self.markets[market]
        return info["slug"] or info["question"] or info["condition_id"][:14]

    def reason(self, number: int) -> ReasonCode:
        """The reason of a number, as the run's own table names it."""
        return reason_of(number, self.manifest["reason_codes"])


def load(folder: Path | str) -> Run:
    """Read a run, closed or cut off. Raises UsageError when there is none, DamageError when it is damaged,
    DataError when it holds no events."""
    log = read_log(folder, allow_torn=True)
    parts: dict[RecordKind, list[np.ndarray]] = {kind: [] for kind in RecordKind}
    for kind, table in log.records():
        parts[kind].append(table)
    joined = {
        kind: np.concatenate(parts[kind]) if parts[kind] else np.zeros(0, dtype)
        for kind, dtype in (
            (RecordKind.EVENTS, rows.EVENT),
            (RecordKind.DECISIONS, rows.DECISION),
            (RecordKind.ACTIONS, rows.ACTION),
            (RecordKind.SAMPLES, rows.SAMPLE),
        )
    }
    if not len(joined[RecordKind.EVENTS]):
        raise DataError("the run's log holds no events", where=str(folder), mend="report on a run that kept its events")
    return Run(Path(folder), log.manifest, log.summary, log.torn, *joined.values())


# ------------------------------------------------------------------------------------------------------ fills


def standing(events: np.ndarray) -> np.ndarray:
    """bool[n]: the rows that tell of a fill that stands, each fill once, at the row that told of it first.

    A provisional fill is one as soon as it is told, its confirmation is not another, and a voided one is none.
    """
    kind = events["kind"]
    if not (kind == EventKind.FILL_PROVISIONAL).any():
        return kind == EventKind.FILL_CONFIRMED
    stands, waiting = np.zeros(len(events), bool), {}
    for i in np.flatnonzero((kind >= EventKind.FILL_PROVISIONAL) & (kind <= EventKind.FILL_VOIDED)):
        row = events[i]
        told = waiting.setdefault((int(row["aux"]), int(row["price"]), int(row["size"]), int(row["ref"])), [])
        if kind[i] == EventKind.FILL_PROVISIONAL:
            told.append(i)
            stands[i] = True
        elif told:
            stands[told.pop(0)] = kind[i] == EventKind.FILL_CONFIRMED
        else:
            stands[i] = kind[i] == EventKind.FILL_CONFIRMED
    return stands


def fills(run: Run) -> pd.DataFrame:
    """One row per fill that stands, in the order in which we learned of them.

    ts, venue_ts ns · seq · market · outcome, side of the order · price pips, own token · size micro-shares ·
    notional, fee, rebate micro-pUSD · maker · order_id, corr, intent id · sign +1 when YES exposure grew ·
    yes_price pips · mid2, spread pips just before the fill at the venue (missing when the book was not two-sided) ·
    captured half-pips a share against that mid · edge pips x 100 the strategy claimed · cause: what filled it.
    """
    import pandas as pd

    rows_ = run.events[standing(run.events)]
    sent = run.actions[run.actions["kind"] == ActionKind.SUBMIT]
    order = np.searchsorted(sent["order_id"], rows_["aux"])
    if len(rows_) and (len(sent) == 0 or (sent["order_id"][np.minimum(order, len(sent) - 1)] != rows_["aux"]).any()):
        raise DataError("a fill names an order that this log did not send", where=str(run.folder))
    action = sent[order]
    market, price, size = rows_["market"].astype(np.int64), rows_["price"], rows_["size"]
    outcome, side = action["outcome"].astype(np.int64), action["side"].astype(np.int64)
    maker = (rows_["flags"] & Flag.MAKER) != 0
    table = pd.DataFrame(
        {
            "ts": rows_["ts_recv"],
            "venue_ts": rows_["ts_event"],
            "seq": rows_["seq"],
            "market": market,
            "outcome": [Outcome(x).name for x in outcome],
            "side": [Side(x).name for x in side],
            "price": price,
            "size": size,
            "notional": price * size // ONE,
            "fee": rows_["ref"].astype(np.int64) * MICRO_PER_FEE_UNIT,
            "rebate": _rebates(run, market, price, size, maker, rows_["seq"]),
            "maker": maker,
            "order_id": rows_["aux"],
            "corr": action["corr"],
            "intent": [intent_id(run.id, int(corr)) for corr in action["corr"]],
            "sign": np.where(outcome == side, 1, -1),  # buying YES or selling NO
            "yes_price": np.where(outcome == Outcome.YES, price, ONE - price),
        }
    )
    before = np.array([run.tapes[m].before(ts) for m, ts in zip(market, rows_["ts_event"], strict=True)], np.int64)
    bid, ask = before.reshape(-1, 2).T
    there = bid >= 0
    table["mid2"] = _nullable(bid + ask, there)
    table["spread"] = _nullable(ask - bid, there)
    table["captured"] = table["sign"] * (table["mid2"] - 2 * table["yes_price"])
    table["edge"] = _claimed(run, action["corr"])
    table["cause"] = [
        _cause(run.tapes[m], ts, made) for m, ts, made in zip(market, rows_["ts_event"], maker, strict=True)
    ]
    return table


def _nullable(values: np.ndarray, there: np.ndarray) -> Any:
    import pandas as pd

    return pd.arrays.IntegerArray(np.asarray(values, np.int64).copy(), ~np.asarray(there, bool))


def _fee_terms(run: Run, market: int, seq: int) -> tuple[int, int, int]:
    """(rate, exponent, rebate) that the market had at a place in the log: its own, or those of the last FEES row."""
    changed = run.fee_changes
    changed = changed[(changed["market"] == market) & (changed["seq"] < seq)]
    if len(changed):
        return int(changed["size"][-1]), int(changed["price"][-1]), int(changed["aux"][-1])
    info = run.markets[market]
    return info["fee_rate"], info["fee_exponent"], info["rebate_rate"]


def _rebates(
    run: Run, market: np.ndarray, price: np.ndarray, size: np.ndarray, maker: np.ndarray, seq: np.ndarray
) -> np.ndarray:
    rebates = np.zeros(len(market), np.int64)
    if run.charges_fees:
        for i in np.flatnonzero(maker):
            terms = _fee_terms(run, int(market[i]), int(seq[i]))
            rebates[i] = maker_rebate(int(size[i]), int(price[i]), *terms)
    return rebates


def _claimed(run: Run, corr: np.ndarray) -> Any:
    """Edge in pips x 100 that the strategy gave for each correlation number, missing where it gave none."""
    mine = [i for i, bot in enumerate(run.bots) if bot.startswith("strat.")]
    said = run.decisions[np.isin(run.decisions["bot"], mine) & (run.decisions["corr"] > 0)]
    said = said[said["code"] != Code.STRAT_RESHAPED_BY_RISK]
    known, first = np.unique(said["corr"], return_index=True)
    if not len(known):
        return _nullable(np.zeros(len(corr)), np.zeros(len(corr)))
    at = np.minimum(np.searchsorted(known, corr), len(known) - 1)
    return _nullable(said["observed"][first][at], known[at] == corr)


def _cause(tape: Tape, ts: int, maker: bool) -> str:
    """What filled an order: `taker` (we crossed), a recorded or inferred `trade`, or the `book` moving through it."""
    if not maker:
        return "taker"
    lo, hi = np.searchsorted(tape.trade_venue, [ts, ts + 1])
    if lo == hi:
        return "book"
    return "inferred trade" if tape.trade_inferred[lo:hi].all() else "trade"


# --------------------------------------------------------------------------------------------------- markouts


def markouts(run: Run, horizons: tuple[int, ...] = HORIZONS) -> pd.DataFrame:
    """One row per fill and horizon (s; 0 = the mid just before the fill): what a share had earned by then.

    markout: half-pips a share, sign x (mid - our price) in YES terms, before fees; missing when the
    mid is not known (P2). resolved: the horizon reached the market's payout.
    """
    import pandas as pd

    parts = []
    for horizon in (0, *horizons):
        if horizon:
            mids = [
                run.tapes[m].mid2_after(ts + horizon * NS_PER_S)
                for m, ts in zip(run.fills["market"], run.fills["venue_ts"], strict=True)
            ]
        else:
            mids = [None if pd.isna(mid) else int(mid) for mid in run.fills["mid2"]]
        there = np.array([mid is not None for mid in mids], bool)
        value = np.array([mid or 0 for mid in mids], np.int64)
        ends = [
            bool(run.tapes[m].resolved) and ts + horizon * NS_PER_S >= run.tapes[m].resolved
            for m, ts in zip(run.fills["market"], run.fills["venue_ts"], strict=True)
        ]
        part = run.fills[["market", "venue_ts", "side", "sign", "maker", "size"]].copy()
        part.insert(0, "fill", np.arange(len(part)))
        part["horizon"] = horizon
        sign, yes = run.fills["sign"].to_numpy(), run.fills["yes_price"].to_numpy()
        part["markout"] = _nullable(sign * (value - 2 * yes), there)
        part["resolved"] = ends
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


class Mean(NamedTuple):
    """A mean over fills in half-pips and its standard error; error is nan when it cannot be told (one cluster)."""

    n: int
    mean: float
    error: float
    clusters: int


def mean_markout(table: pd.DataFrame, horizon: int) -> Mean:
    """Mean markout at a horizon. Fills of one market within a stretch as long as the horizon (1 s at least)
    share the price move they are held against: they count as one observation in the standard error."""
    part = table[(table["horizon"] == horizon) & table["markout"].notna()]
    values = part["markout"].to_numpy(dtype=np.float64)
    n = len(values)
    if not n:
        return Mean(0, float("nan"), float("nan"), 0)
    stretch = part["venue_ts"].to_numpy() // (max(horizon, 1) * NS_PER_S)
    _, cluster = np.unique(np.stack([part["market"].to_numpy(), stretch]), axis=1, return_inverse=True)
    sums = np.bincount(cluster.ravel(), weights=values - values.mean())
    groups = len(sums)
    error = float(np.sqrt((sums**2).sum() * groups / (groups - 1)) / n) if groups > 1 else float("nan")
    return Mean(n, float(values.mean()), error, groups)


# ------------------------------------------------------------------------------------------- profit and loss


def pnl(run: Run) -> pd.DataFrame:
    """Per market, micro-pUSD: where the change of equity came from (P1).

    spread: value received over the mid just before each fill (the last two-sided one), and over the mids of the event
    by a conversion · drift: what the holdings gained or lost as that mid moved (merged pairs are worth what they were:
    nothing is booked) · settlement: payout over the last mid · fees (negative) · rebates · total. Then fills, volume
    micro-pUSD, yes, no micro-shares left, marked, cost.
    """
    import pandas as pd

    interval = int((run.manifest.get("engine") or {}).get("interval", 0))
    moved = sorted({*run.fills["market"], *(leg[0] for change in run.sets for leg in change.legs)})
    columns = (run.fills[name].tolist() for name in profit.Fill._fields)
    came_to = profit.walk(
        {market: run.tapes[market] for market in moved},
        map(profit.Fill._make, zip(*columns, strict=True)),
        run.sets,
        {market: run.tapes[market].last_mid2(interval, run.end) for market in moved},
    )
    lines = []
    for market, held in came_to.items():
        part = run.fills[run.fills["market"] == market]
        fees, rebates = int(part["fee"].sum()), int(part["rebate"].sum())
        lines.append(
            {"market": int(market)}
            | held.parts
            | {
                "fees": -fees,
                "rebates": rebates,
                "total": held.value + held.cash - fees + rebates,
                "fills": len(part),
                "volume": int(part["notional"].sum()),
                "yes": held.held["YES"],
                "no": held.held["NO"],
                "marked": held.value,
                "cost": sum(held.cost.values()),
            }
        )
    names = ["market", *PARTS, "total", "fills", "volume", "yes", "no", "marked", "cost"]
    return pd.DataFrame(lines, columns=names).astype(np.int64)


def final_equity(run: Run) -> int:
    """micro-pUSD at the end, computed from the rows: deposits and every market's total."""
    return run.deposits + int(run.pnl["total"].sum())


def residual(run: Run) -> int | None:
    """micro-pUSD by which the run's own final equity differs from `final_equity`: 0 unless something is wrong (P1).
    None for a run that was never closed."""
    if not run.summary or "account" not in run.summary:
        return None
    return units.money_micro(run.summary["account"]["equity"]) - final_equity(run)


def equity(run: Run) -> pd.DataFrame:
    """ts ns, equity and drawdown (peak so far - equity, >= 0) in micro-pUSD: the deposits, each sample, the end."""
    import pandas as pd

    ts = np.concatenate([[run.start], run.samples["ts"], [max(run.end, run.start)]])
    value = np.concatenate([[run.deposits], run.samples["equity"], [final_equity(run)]])
    order = np.argsort(ts, kind="stable")
    ts, value = ts[order], value[order]
    peak = np.maximum.accumulate(value)
    return pd.DataFrame({"ts": ts, "equity": value, "drawdown": peak - value})


def positions(run: Run) -> pd.DataFrame:
    """Holdings after each fill, change of complete sets and resolution: ts ns, market, yes, no micro-shares,
    net = yes - no."""
    import pandas as pd

    ends = {m: tape for m, tape in run.tapes.items() if tape.resolved}
    table = run.fills[["ts", "seq", "market", "outcome"]].copy()
    signed = np.where(run.fills["side"] == "BUY", run.fills["size"], -run.fills["size"])
    for outcome in ("YES", "NO"):
        table[outcome.lower()] = np.where(table["outcome"] == outcome, signed, 0)
    legs = [(change.ts, change.seq, market, "", yes, no) for change in run.sets for market, yes, no in change.legs]
    changed = pd.DataFrame(legs, columns=["ts", "seq", "market", "outcome", "yes", "no"])
    table = pd.concat([table, changed], ignore_index=True) if legs else table
    table = table.sort_values("seq", kind="stable", ignore_index=True)
    for outcome in ("yes", "no"):
        table[outcome] = table.groupby("market")[outcome].cumsum()
    for market in table["market"].unique():
        if market in ends:
            seq = ends[market].resolved_seq
            late = (table["market"] == market) & (table["seq"] > seq)
            table.loc[late, ["yes", "no"]] = 0
            ts = int(run.events["ts_recv"][np.flatnonzero(run.events["seq"] == seq)[0]])
            table.loc[len(table)] = [ts, seq, market, "", 0, 0]
    table = table.sort_values("seq", kind="stable", ignore_index=True).drop(columns=["outcome", "seq"])
    table["net"] = table["yes"] - table["no"]
    return table


# ----------------------------------------------------------------------------------------------------- orders


def orders(run: Run) -> pd.DataFrame:
    """One row per order sent.

    order_id, corr, market, outcome, side, price, size, ts ns (sent) · post_only · filled micro-shares, fills ·
    ack_ns, fill_ns: ns from sending to its ack and to its first fill as we learned of them (missing = never) ·
    cancel_sent · code: reason number of a reject or cancel, 0 = none · state: rejected, filled, cancelled, open.
    """
    import pandas as pd

    sent = run.actions[run.actions["kind"] == ActionKind.SUBMIT]
    index = {int(order): i for i, order in enumerate(sent["order_id"])}
    n = len(sent)
    filled, count, code = (np.zeros(n, np.int64) for _ in range(3))
    ack, first = np.zeros(n, np.int64), np.zeros(n, np.int64)
    rejected, gone = np.zeros(n, bool), np.zeros(n, bool)
    events = run.events[(run.events["kind"] >= EventKind.ORDER_ACK) & (run.events["kind"] <= EventKind.CANCEL)]
    columns = (events[name].tolist() for name in ("kind", "aux", "ts_recv", "size"))
    for kind, order, ts, size, stands in zip(*columns, standing(events).tolist(), strict=True):
        if (i := index.get(order)) is None:
            continue
        if kind == EventKind.ORDER_ACK:
            ack[i] = ts
        elif stands:
            filled[i] += size
            count[i] += 1
            first[i] = first[i] or ts
        elif kind == EventKind.ORDER_REJECT:
            rejected[i], code[i] = True, size
        elif kind == EventKind.CANCEL:
            gone[i], code[i] = True, size
    ts = sent["ts"]
    whole = filled >= sent["size"]
    cancels = run.actions["order_id"][run.actions["kind"] == ActionKind.CANCEL]
    return pd.DataFrame(
        {
            "order_id": sent["order_id"],
            "corr": sent["corr"],
            "market": sent["market"].astype(np.int64),
            "outcome": [Outcome(x).name for x in sent["outcome"]],
            "side": [Side(x).name for x in sent["side"]],
            "price": sent["price"],
            "size": sent["size"],
            "ts": ts,
            "post_only": (sent["flags"] & rows.POST_ONLY) != 0,
            "filled": filled,
            "fills": count,
            "ack_ns": _nullable(ack - ts, ack > 0),
            "fill_ns": _nullable(first - ts, first > 0),
            "cancel_sent": np.isin(sent["order_id"], cancels),
            "code": code,
            "state": np.select([rejected, whole, gone], ["rejected", "filled", "cancelled"], "open"),
        }
    )


def order_statistics(run: Run) -> dict[str, Any]:
    """Counts and times over all orders: sent, accepted, rejected, by_code, cancelled, filled, partly, touched, open,
    fill_ratio (shares filled / shares sent, None without orders), maker_share of fills, ack_ns, fill_ns medians."""
    table = run.orders
    shares, taken = int(table["size"].sum()), int(table["filled"].sum())
    rejected = table[table["state"] == "rejected"]

    def median(name: str) -> int | None:
        known = table[name].dropna()
        return int(known.median()) if len(known) else None

    return {
        "sent": len(table),
        "accepted": int(table["ack_ns"].notna().sum()),
        "rejected": len(rejected),
        "by_code": {run.reason(code).name: count for code, count in Counter(rejected["code"].tolist()).most_common()},
        "cancels_sent": int((run.actions["kind"] == ActionKind.CANCEL).sum()),
        "cancelled": int((table["state"] == "cancelled").sum()),
        "filled": int((table["state"] == "filled").sum()),
        "partly": int(((table["filled"] > 0) & (table["state"] != "filled")).sum()),
        "touched": int((table["filled"] > 0).sum()),
        "open": int((table["state"] == "open").sum()),
        "fills": len(run.fills),
        "maker_fills": int(run.fills["maker"].sum()),
        "volume": int(run.fills["notional"].sum()),
        "fill_ratio": taken / shares if shares else None,
        "ack_ns": median("ack_ns"),
        "fill_ns": median("fill_ns"),
    }


# -------------------------------------------------------------------------------------------------- decisions


def reasons(run: Run) -> pd.DataFrame:
    """How often each bot gave each reason (P3): bot, code, severity, decisions, share of the bot's, written rows,
    sentence. The most frequent of each bot first, bots in the order of the pipeline.

    A row is written when a bot's reason in a market and slot changes; `repeats` counts the equal decisions
    since the row before it. What is still uncounted at the end stands in flush rows, which are no decision
    of their own: they belong to no intent and repeat the code and verdict of the row before.
    """
    import pandas as pd

    d = run.decisions
    order = np.lexsort((np.arange(len(d)), d["slot"], d["market"], d["bot"]))
    d = d[order]
    same = np.zeros(len(d), bool)
    if len(d):
        same[1:] = (
            (d["bot"][1:] == d["bot"][:-1]) & (d["market"][1:] == d["market"][:-1]) & (d["slot"][1:] == d["slot"][:-1])
        )
    before = np.where(same, np.roll(d["code"], 1), 0)
    verdict = np.where(same, np.roll(d["verdict"], 1), -1)
    flush = (d["repeats"] > 0) & (d["corr"] == 0) & (d["code"] == before) & (d["verdict"] == verdict)
    bot = d["bot"].astype(np.int64) << 16
    keys, at = np.unique(np.concatenate([bot + d["code"], bot + before]), return_inverse=True)
    mine, previous = np.split(at, 2)
    written, decided = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    np.add.at(written, mine, ~flush)
    np.add.at(decided, previous, d["repeats"])
    decided += written
    totals = np.bincount(keys >> 16, weights=decided, minlength=len(run.bots))
    lines = []
    for k in np.lexsort((-decided, keys >> 16)):
        if decided[k]:
            bot_, reason = int(keys[k] >> 16), run.reason(int(keys[k]) & 0xFFFF)
            lines.append(
                {
                    "bot": run.bots[bot_],
                    "code": reason.name,
                    "severity": Severity(reason.severity).name,
                    "decisions": int(decided[k]),
                    "share": float(decided[k] / totals[bot_]),
                    "written": int(written[k]),
                    "sentence": reason.user_message,
                }
            )
    return pd.DataFrame(lines, columns=["bot", "code", "severity", "decisions", "share", "written", "sentence"])


def denials(run: Run) -> pd.DataFrame:
    """The part of `reasons` in which a risk bot said no."""
    table = run.reasons
    return table[(table["severity"] == Severity.HARD_REJECT.name) & table["bot"].str.startswith("risk.")]


# ------------------------------------------------------------------------------------------- data and warnings


def made_up(run: Run) -> bool:
    """True when the data comes from `polytraders data synth`, which names its markets so."""
    return all(market["slug"].startswith("synthetic-") for market in run.markets)


def trade_counts(run: Run) -> tuple[int, int]:
    """(trades, of those inferred) in the data of the whole run."""
    trades = run.events[run.events["kind"] == EventKind.TRADE]
    return len(trades), int(((trades["flags"] & Flag.INFERRED) != 0).sum())


def assumed(run: Run) -> dict[str, int]:
    """Market rule -> in how many markets it is assumed because the recording does not tell it."""
    return dict(Counter(name for market in run.markets for name in market.get("assumed", ())))


def quality(run: Run) -> pd.DataFrame:
    """What the import found wrong with the recording: kind, count, meaning."""
    import pandas as pd

    counts = run.manifest.get("quality") or {}
    lines = [{"kind": kind, "count": n, "meaning": _MEANING.get(kind, "")} for kind, n in sorted(counts.items())]
    return pd.DataFrame(lines, columns=["kind", "count", "meaning"])


_MEANING = {
    "gap": "silences of the feed longer than the limit",
    "duplicate": "messages recorded twice, applied once",
    "venue_time_backward": "venue timestamps before the market's previous one",
    "receive_time_backward": "receive times held at the previous row's",
    "crossed_book": "episodes of a bid at or above the ask",
    "hash_mismatch": "books whose own hash does not fit their content",
    "quote_mismatch": "messages whose best price is not the replayed book's",
    "mirror_mismatch": "messages whose two outcome legs disagree",
    "off_tick": "prices off the tick in force",
    "tick_unannounced": "tick changes without a message",
    "no_snapshot": "markets whose changes begin before their first full book",
    "trade_unsized": "trades known to have happened whose size cannot be inferred",
    "malformed": "lines or messages that cannot be read",
    "encoding": "lines that are not UTF-8",
    "unknown_type": "message types the documentation does not know",
    "unknown_token": "tokens that belong to no market",
    "truncated": "files that end in the middle",
}


def warned_parameters(run: Run) -> list[tuple[str, tuple[str, ...]]]:
    """(bot, parameters beyond their warning) of each bot whose decisions were stamped so."""
    from polytraders.bots import load_bot

    found = []
    for i in np.unique(run.decisions["bot"][run.decisions["warned"] != 0]):
        row = run.manifest["bots"][i]
        spec = load_bot(row["bot_id"]).spec
        values = {p["name"]: p["value"] for p in row["params"]}
        found.append((row["bot_id"], tuple(spec.check(values)) if spec.version == row["version"] else ()))
    return found
