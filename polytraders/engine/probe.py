"""One bot under the lamp: build the records a kernel reads from a few numbers, call it, read what it wrote.

Used by the bots' notebooks, their fixtures and their tests; the step itself never imports it.
Prices are decimal text or numbers in pips as the caller likes: text goes through `units`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polytraders import rows, units
from polytraders.engine import book as bk
from polytraders.engine import state as s
from polytraders.engine.ledger import mark
from polytraders.reasons import by_number

NOW = units.ns_from_iso("2026-04-16T09:00:00Z")
"""Decision time of a probe unless told otherwise."""

Level = tuple[str | int, str | int]
"""(price, size): decimal text in pUSD and shares, or integers in pips and micro-shares."""


def _price(value: str | int) -> int:
    return units.price_pips(value) if isinstance(value, str) else int(value)


def _size(value: str | int) -> int:
    return units.size_micro(value) if isinstance(value, str) else int(value)


@dataclass(frozen=True)
class Probe:
    """The records of one market at one decision time, ready to be handed to a kernel."""

    market: Any
    position: Any
    account: Any
    ladder: np.ndarray
    memory: np.ndarray
    targets: np.ndarray
    intent: Any
    vote: Any
    plan: Any

    def sense(self, decide: Callable[..., int], params: np.ndarray) -> str:
        """Run an intel or discovery kernel; returns its reason code's name."""
        return _name(decide(self.market, self.position, self.account, self.ladder, _params(params)))

    def propose(self, decide: Callable[..., int], params: np.ndarray) -> tuple[str, list[dict[str, Any]]]:
        """Run a strategy kernel; returns its code's name and the quotes it wants, as plain dicts."""
        for slot, target in enumerate(self.targets):
            target.want, target.slot, target.market = s.WANT_NOTHING, slot, self.market.id
        code = decide(self.market, self.position, self.account, self.ladder, self.memory, self.targets, _params(params))
        return _name(code), [_quote(t) for t in self.targets if t.want == s.WANT_QUOTE]

    def judge(self, decide: Callable[..., int], params: np.ndarray) -> tuple[str, dict[str, Any]]:
        """Run a risk kernel on the intent; returns its code's name and the vote."""
        vote = self.vote
        vote.verdict = rows.Verdict.APPROVE
        vote.max_size = vote.max_price = vote.min_price = -1
        vote.passive_only = vote.close_only = vote.observed = vote.limit = vote.latch = 0
        code = decide(self.intent, self.market, self.position, self.account, self.ladder, vote, _params(params))
        answer = {name: int(vote[name]) for name in vote.dtype.names}
        return _name(code), answer | {"verdict": rows.Verdict(int(vote.verdict)).name}

    def shape(self, decide: Callable[..., int], params: np.ndarray) -> tuple[str, dict[str, Any]]:
        """Run an execution kernel on the intent; returns its code's name and the plan so far."""
        plan = self.plan
        plan.observed = plan.limit = 0
        code = decide(self.intent, self.market, self.position, self.account, self.ladder, plan, _params(params))
        n = int(plan.n)
        orders = [
            {
                "price": units.price_text(plan.price[i]),
                "size": units.size_text(plan.size[i]),
                "order_type": rows.OrderType(int(plan.order_type[i])).name,
                "post_only": bool(plan.flags[i] & rows.POST_ONLY),
            }
            for i in range(n)
        ]
        numbers = ("fee", "rebate", "slippage_bps", "q_exec", "method", "observed", "limit")
        return _name(code), {"orders": orders} | {name: int(plan[name]) for name in numbers}


def _name(code: int) -> str:
    return by_number(int(code)).name


def _params(values: np.ndarray) -> Any:
    params = s.records(s.PARAMS, 1)
    params["v"][0, : len(values)] = values
    return params[0]


def _quote(target: Any) -> dict[str, Any]:
    return {
        "slot": int(target.slot),
        "outcome": rows.Outcome(int(target.outcome)).name,
        "side": rows.Side(int(target.side)).name,
        "price": units.price_text(target.price),
        "size": units.size_text(target.size),
        "passive_only": bool(target.passive_only),
        "edge_bps": int(target.edge) / 100,
    }


def probe(
    bids: Sequence[Level] = (),
    asks: Sequence[Level] = (),
    *,
    tick: int = 100,
    grid: int = 0,
    now: int = NOW,
    age_ms: int = 0,
    market: Mapping[str, Any] | None = None,
    features: Mapping[str, float] | None = None,
    position: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
    intent: Mapping[str, Any] | None = None,
    plan: Sequence[tuple[str | int, str | int, int, int]] = (),
    memory: Sequence[float] = (),
    cash: int = 1_000 * units.MICRO,
) -> Probe:
    """A market with this book (YES space), `age_ms` after its last book message.

    `market`, `position`, `account`, `intent` set fields of the records by name, in their own
    integer units; `features` sets cells of `market.x` by constant name ("TOXICITY") or, a bot's own, by
    number ("26"). `plan`: what the router planned, as (price, size, order type, flags). `memory`: the first
    cells of what a strategy remembers. tick and grid in pips (grid 0 = tick), now in ns, cash in micro-pUSD.
    """
    grid = grid or tick
    levels, recip = bk.geometry(grid)
    m, p, a = (s.records(d, 1)[0] for d in (s.MARKET, s.POSITION, s.ACCOUNT))
    m.group, m.tick, m.grid, m.levels, m.recip = -1, tick, grid, levels, recip
    m.min_size, m.fee_rate, m.fee_exponent, m.rebate_rate = 5 * units.MICRO, 72_000, 1, 200_000
    m.payout = m.last_price = -1
    m.best[:] = bk.NO_BID, bk.NO_ASK
    m.feed_up = m.candidate = 1
    m.now, m.book_ts = now, (now - age_ms * units.NS_PER_MS) if bids or asks else 0
    m.event_ts = m.book_ts
    ladder = np.zeros(2 * levels, np.int64)
    for price, size in bids:
        bk.set_level(ladder, m, 0, _price(price) // grid, _size(size))
    for price, size in asks:
        bk.set_level(ladder, m, 1, _price(price) // grid, _size(size))
    m.bid_level, m.ask_level = bk.bid(m), bk.ask(m)
    m.best_bid = m.bid_level * grid if m.bid_level >= 0 else -1
    m.best_ask = m.ask_level * grid if m.ask_level >= 0 else -1
    m.bid_size = ladder[m.bid_level] if m.bid_level >= 0 else 0
    m.ask_size = ladder[levels + m.ask_level] if m.ask_level >= 0 else 0
    m.mark2 = m.best_bid + m.best_ask if m.bid_level >= 0 and m.ask_level >= 0 else 0
    a.now = now
    a.deposits = a.cash = a.peak = a.day_open = a.day_peak = a.week_open = a.week_peak = cash
    a.day = now // units.NS_PER_DAY
    i = s.records(s.INTENT, 1)[0]
    i.working_price = i.opposite = -1
    for record, fields in ((m, market), (p, position), (i, intent)):
        _set(record, fields)
    for name, value in (features or {}).items():
        m.x[int(name) if name.isdigit() else getattr(s, name)] = value
    mark(a, p, m.mark2)
    a.cost = p.yes_cost + p.no_cost
    a.reserved = p.buy_reserved
    a.equity = a.cash + a.reserved + a.unsettled + a.marked + a.rebates + a.receivable
    _set(a, account)
    planned = s.records(s.PLAN, 1)[0]
    planned.n = len(plan)
    for k, (price, size, order_type, flags) in enumerate(plan):
        planned.price[k], planned.size[k] = _price(price), _size(size)
        planned.order_type[k], planned.flags[k] = order_type, flags
    remembered = np.zeros(s.N_MEMORY)
    remembered[: len(memory)] = memory
    return Probe(
        market=m,
        position=p,
        account=a,
        ladder=ladder,
        memory=remembered,
        targets=s.records(s.INTENT, s.N_SLOTS),
        intent=i,
        vote=s.records(s.VOTE, 1)[0],
        plan=planned,
    )


def _set(record: Any, fields: Mapping[str, Any] | None) -> None:
    for name, value in (fields or {}).items():
        if name not in record.dtype.names:
            raise KeyError(f"no field {name!r}; there are {', '.join(record.dtype.names)}")
        record[name] = value


def run_fixture(bot: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """Run one fixture (fixtures/bots/<bot id>/*.json) and return what the bot answered.

    A fixture has `params` (text values by name, defaults where absent), `input` (keyword arguments
    of `probe`) and `expected`, a part of the returned dict: `code` and, by family, `quotes`,
    `vote`, `plan` or `features`. `facts`: slot -> what CONFIG rows have put there, kernel units.
    """
    params = bot.spec.kernel_params(document.get("params") or {})
    for slot, fact in (document.get("facts") or {}).items():
        params[int(slot)] = fact
    p = probe(**document["input"])
    family = bot.family
    if family in ("intel", "disc"):
        code = p.sense(bot.decide, params)
        features = {name: float(p.market.x[i]) for name, i in FEATURES.items()}
        return {
            "code": code,
            "flow_state": int(p.market.flow_state),
            "candidate": int(p.market.candidate),
            "features": features,
        }
    if family == "strat":
        code, quotes = p.propose(bot.decide, params)
        return {"code": code, "quotes": quotes, "wake": int(p.market.wake)}
    if family == "risk":
        code, vote = p.judge(bot.decide, params)
        return {"code": code, "vote": vote}
    code, plan = p.shape(bot.decide, params)
    return {"code": code, "plan": plan}


FEATURES = {
    name: getattr(s, name)
    for name in (
        *("IMBALANCE", "FLOW", "FLOW_ABS", "TOXICITY", "VOLATILITY", "MICROPRICE", "QUALITY"),
        *("DECAY", "DECAY_CONFIDENCE", "RATING", "OPPORTUNITY"),
    )
}
"""Names of the cells of `Market.x` in use."""


def case_table(headings: Sequence[str], cases: Sequence[Sequence[Any]]) -> Any:
    """Cases as a table for a notebook: one row a case, its cells as text. Returns IPython's HTML."""
    from html import escape

    from IPython.display import HTML

    head = "".join(f"<th style='text-align:left'>{heading}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
        for cells in cases
    )
    return HTML(f"<table><tr>{head}</tr>{body}</table>")
