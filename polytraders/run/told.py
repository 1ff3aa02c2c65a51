"""What a run tells the desk of itself: money, positions, orders, limits, bots, markets and parts (`store.desk.board`).

Read from the step's state on the loop, as it stands between two turns; nothing here changes it.

What a person approves on, beside the price:

p_hat         what the strategy takes the token to be worth
q_exec        average price the order would trade at now: a resting one its own, a taking one the walk through the book
net_edge_bps  p_hat against q_exec, less the taker fee, bps of 1 pUSD
p_fill        resting: that enough trades against it until it expires, with the volume of that time taken as
              exponential around the mean of what was seen in the last 24 h, half of it on either side; taking: the part
              of it that the book holds within its price
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders import units
from polytraders.bots import load_bot
from polytraders.engine.fees import taker_fee
from polytraders.engine.state import QUALITY, decided
from polytraders.rows import POST_ONLY, ActionKind, EventKind, Outcome, Side, Status
from polytraders.units import NS_PER_DAY, NS_PER_MS, NS_PER_S, ONE

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.run.launch import Launched
    from polytraders.run.live import Runner

MONEY = ("equity", "cash", "reserved", "unsettled", "marked", "receivable", "rebates", "realised", "fees", "deposits")
"""Fields of the account that are told as they are, pUSD."""
ENDED_SHOWN = 30
"""Orders that have their end and are still told of, the newest."""
KEPT = 4_096
"""Orders whose figures and fills are remembered."""
WINDOW = 60 * NS_PER_S
"""Over which decisions are counted and the pace of a limit is measured."""
_STATES = {1: "SENT", 2: "RESTING", 3: "CANCELLING"}
_FILLS = (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED)
_HELD = {Outcome.YES: ("yes", "yes_reserved", "yes_cost"), Outcome.NO: ("no", "no_reserved", "no_cost")}
_SETTLING = {int(Status.RESOLVING): "resolving", int(Status.RESOLVED): "resolved"}
Figures = dict[str, str]
Topic = dict[str, dict[str, Any]]


class Told:
    """Keeps what a second's picture needs from before: figures of orders, what was counted a minute ago.

    began: ns, when the run first heard of its markets; a day's volume is a rate only over the time it was watched.
    """

    def __init__(self, launched: Launched, settings: Settings, began: int):
        self.launched, self.settings, self.began = launched, settings, began
        self.infos, self.bots = launched.step.infos, launched.manifest["bots"]
        self._where = {bot["bot_id"]: number for number, bot in enumerate(self.bots)}
        self._figures: OrderedDict[int, Figures] = OrderedDict()  # order -> as it was sent
        self._proposed: OrderedDict[int, Figures] = OrderedDict()  # corr -> as people were asked
        self._traded: OrderedDict[int, tuple[int, int]] = OrderedDict()  # order -> micro-shares, pips x those
        self._counted: deque[tuple[int, np.ndarray]] = deque()  # ns, decisions of each bot
        self._said: dict[str, deque[tuple[int, float]]] = {}
        self._alive: dict[int, tuple[int, int]] = {}  # bot -> (decisions, ns when they last grew)

    # -- what passes by

    def proposed(self, action: np.void, chain: np.ndarray, book_hash: str) -> Figures:
        """`figures` of a PROPOSE, remembered for the orders that are sent under it, with the book it was made on."""
        told = self.figures(action, chain)
        _keep(self._proposed, int(action["corr"]), told | {"book_hash": book_hash})
        return told

    def heard(self, rows: np.ndarray, decisions: np.ndarray, actions: np.ndarray) -> None:
        """Take in a turn: what was sent and what filled."""
        for action in actions[actions["kind"] == ActionKind.SUBMIT]:
            chain = decisions[decisions["corr"] == action["corr"]]
            before = self._proposed.get(int(action["corr"]), {})
            _keep(self._figures, int(action["order_id"]), before | self.figures(action, chain))
        for row in rows[np.isin(rows["kind"], _FILLS)]:
            sums = self._traded.get(int(row["aux"]), [0, 0])
            # A fill told twice, as provisional and as confirmed, weighs twice at its one price.
            _keep(
                self._traded, int(row["aux"]), [sums[0] + int(row["size"]), sums[1] + int(row["size"] * row["price"])]
            )

    def figures(self, action: np.void, chain: np.ndarray) -> Figures:
        """What an order is judged on (see above), without what is not known. chain: the decisions that led to it."""
        market, outcome, side = int(action["market"]), Outcome(action["outcome"]), Side(action["side"])
        price, size, rests = int(action["price"]), int(action["size"]), bool(action["flags"] & POST_ONLY)
        row = self.launched.step.state.markets[market]
        fair = next((int(r["limit"]) for r in chain if self.bots[r["bot"]]["family"] == "strat"), 0)
        there, paid = self._depth(market, outcome, side, price, size)
        exact, fee = (float(price), 0.0) if rests else (paid / there if there else float(price), 0.0)
        if not rests and there:
            cost = taker_fee(there, round(exact), int(row["fee_rate"]), int(row["fee_exponent"]))
            fee = ONE * cost / there
        told = {"q_exec": f"{exact / ONE:.4f}"}
        if 0 < fair < 100 * ONE:
            sign = 1 if side is Side.BUY else -1
            told |= {"p_hat": f"{fair / (100 * ONE):.4f}", "net_edge_bps": f"{sign * (fair / 100 - exact) - fee:.1f}"}
        odds = there / size if not rests else self._odds(row, action, outcome, side)
        if odds is not None:
            told["p_fill"] = f"{min(odds, 1.0):.3f}"
        return told

    def _levels(self, market: int, outcome: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """(pips in the order's own token, micro-shares) of the levels an order could trade with, the best first."""
        row = self.launched.step.state.markets[market]
        first, count, grid = int(row["offset"]), int(row["levels"]), int(row["grid"])
        asks = (side == Side.BUY) == (outcome == Outcome.YES)
        begin = first + count if asks else first
        cells = self.launched.step.state.book[begin : begin + count]
        (held,) = np.nonzero(cells)
        prices = held * grid
        if outcome == Outcome.NO:
            prices = ONE - prices
        order = np.argsort(prices if side == Side.BUY else -prices)
        return prices[order], cells[held][order]

    def _depth(self, market: int, outcome: int, side: int, price: int, size: int) -> tuple[int, int]:
        """(micro-shares, pips x micro-shares) that the book would trade now with an order of this price and size."""
        prices, sizes = self._levels(market, outcome, side)
        within = prices <= price if side == Side.BUY else prices >= price
        taken = np.minimum(sizes[within], np.maximum(size - np.cumsum(sizes[within]) + sizes[within], 0))
        return int(taken.sum()), int((taken * prices[within]).sum())

    def _odds(self, row: np.void, action: np.void, outcome: int, side: int) -> float | None:
        watched = min(max(self.launched.step.now - self.began, NS_PER_S), NS_PER_DAY)
        price, ns = max(int(action["price"]), 1), self.settings.engine.intent_ttl_s * NS_PER_S
        if action["kind"] == ActionKind.SUBMIT and action["expiry"]:
            ns = max(int(action["expiry"]) * NS_PER_S - int(action["ts"]), 0)
        shares = int(row["volume_24h"]) / 2 * ONE / price * ns / watched  # that trade against this side by then
        prices, sizes = self._levels(int(action["market"]), outcome, Side.SELL if side == Side.BUY else Side.BUY)
        better = prices >= price if side == Side.BUY else prices <= price
        ahead = int(sizes[better].sum()) + int(action["size"])
        return math.exp(-ahead / shares) if shares > 0 else 0.0

    # -- the picture

    def topics(self, runner: Runner, health: Mapping[str, Any], now: int) -> dict[str, Topic]:
        """Topic -> name -> document, for `store.desk.heartbeat`."""
        return {
            "account": {"account": self._account()},
            "positions": self._positions(now),
            "orders": self._orders(runner),
            "limits": self._limits(now),
            "bots": self._bots(now),
            "health": _parts(health),
            "markets": self._markets(),
        }

    def _account(self) -> dict[str, str]:
        account = self.launched.step.state.account[0]
        told = {name: units.money_text(int(account[name])) for name in MONEY}
        day = int(account["equity"] - account["day_open"]) if account["day_open"] else 0
        return told | {
            "pnl": units.money_text(int(account["equity"] - account["deposits"])),
            "pnl_day": units.money_text(day),
        }

    def _positions(self, now: int) -> Topic:
        from polytraders.contracts import Position, at

        told: Topic = {}
        for info, position, row in zip(
            self.infos, self.launched.step.state.positions, self.launched.step.state.markets, strict=True
        ):
            held = [outcome for outcome, (name, *_) in _HELD.items() if position[name]]
            if not held and not position["receivable"] and not position["realised"]:
                continue
            for outcome in held or [Outcome.YES]:
                first = outcome == (held or [Outcome.YES])[0]  # what is counted once a market stands there
                size, reserved, cost = (int(position[name]) for name in _HELD[outcome])
                mark2 = int(row["mark2"])
                own2 = mark2 if outcome == Outcome.YES else 2 * ONE - mark2
                value = size * own2 // (2 * ONE) + (int(position["receivable"]) if first else 0)
                settled = _SETTLING.get(int(row["status"]), "open")
                if settled == "resolved" and not row["redeeming"] and not position["receivable"]:
                    settled = "redeemed"
                document = Position(
                    **at(now),
                    portfolio_id=self.settings.portfolio.id,
                    condition_id=info.condition_id,
                    outcome=outcome.name,
                    size_shares=units.size_text(size),
                    reserved_shares=units.size_text(min(reserved, size)),
                    cost_pusd=units.money_text(cost),
                    value_pusd=units.money_text(value),
                    mark_price=f"{own2 / (2 * ONE):.5f}".rstrip("0").rstrip(".") if mark2 and size else None,
                    realised_pnl_pusd=units.money_text(int(position["realised"]) if first else 0),
                    unrealised_pnl_pusd=units.money_text(value - cost),
                    fees_pusd=units.money_text(int(position["fees"]) if first else 0),
                    rebates_pusd=units.money_text(int(position["rebates"]) if first else 0),
                    settlement=settled,
                )
                told[f"{info.condition_id}:{outcome.name}"] = document.document() | {
                    "slug": info.slug, "question": info.question,
                }  # fmt: skip
        return told

    def _orders(self, runner: Runner) -> Topic:
        table = self.launched.step.state.orders
        rows = table[table["id"] > 0]
        states = {int(row["id"]): _STATES.get(int(row["state"]), "?") for row in rows}
        book = runner.orders.by_id
        ended = sorted((n for n, sent in book.items() if sent.ended), key=lambda n: book[n].ended)[-ENDED_SHOWN:]
        told: Topic = {}
        for number in [*(n for n in book if not book[n].ended), *ended]:
            sent, traded = book[number], self._traded.get(number)
            action, info = sent.action, self.infos[int(sent.action["market"])]
            told[sent.key or str(number)] = {
                "trade_intent_id": self._asked(int(action["corr"])), "condition_id": info.condition_id,
                "slug": info.slug, "question": info.question, "outcome": Outcome(action["outcome"]).name,
                "side": Side(action["side"]).name, "price": units.price_text(int(action["price"])),
                "size": units.size_text(int(action["size"])), "filled": units.size_text(sent.filled),
                "average": f"{traded[1] / traded[0] / ONE:.4f}" if traded and traded[0] else None,
                "sent_ns": int(action["ts"]), "status": _ending(sent) if sent.ended else states.get(number, "SENT"),
                **self._figures.get(number, {}),
            }  # fmt: skip
        return told

    def _asked(self, corr: int) -> str | None:
        from polytraders.contracts import derived_id

        return derived_id("ti", self.launched.run_id, corr) if corr in self._proposed else None

    def _limits(self, now: int) -> Topic:
        told: Topic = {}
        for name, observed, limit, unit, scope in self._measures():
            seen = self._said.setdefault(name, deque())
            seen.append((now, observed))
            while now - seen[0][0] > WINDOW and len(seen) > 2:
                seen.popleft()
            span = (now - seen[0][0]) / NS_PER_S
            document = {"observed": _number(observed), "limit": _number(limit), "unit": unit, "scope": scope}
            if span >= 5 and (slope := (observed - seen[0][1]) / span) > 0:  # a pace needs a few seconds
                document["slope_per_s"] = f"{slope:.9f}"
            told[name] = document
        return told

    def _measures(self) -> list[tuple[str, float, float, str, str]]:
        """(name, observed, limit, unit, scope) of every limit that a bot of this run holds."""
        state = self.launched.step.state
        account, found = state.account[0], []
        equity, portfolio = int(account["equity"]), self.settings.portfolio.id

        def of(bot_id: str, name: str) -> int | None:
            number = self._where.get(bot_id)
            return None if number is None else int(state.params["v"][number][load_bot(bot_id).spec.index(name)])

        def fall(high: int) -> float:
            return 100 * max(high - equity, 0) / high if high > 0 else 0.0

        for name, parameter, high in (
            ("drawdown today", "intraday_drawdown_pct", "day_peak"), ("loss today", "daily_loss_pct", "day_open"),
            ("drawdown this week", "weekly_drawdown_pct", "week_peak"),
            ("drawdown since the start", "total_drawdown_pct", "peak"),
        ):  # fmt: skip
            if (limit := of("risk.killswitch", parameter)) is not None:
                found.append((name, fall(int(account[high])), limit / 1e4, "%", portfolio))
        if (limit := of("risk.killswitch", "reject_rate_pct")) is not None:
            sent, least = int(account["recent_submits"]), of("risk.killswitch", "reject_min_submits") or 0
            share = 100 * int(account["recent_rejects"]) / sent if sent >= 1_000 * least and sent else 0.0
            found.append(("orders refused", share, limit / 1e4, "%", self.launched.run_id))
        if (limit := of("risk.killswitch", "api_error_rate_pct")) is not None:
            found.append(("calls failed", int(account["api_errors"]) / 1e4, limit / 1e4, "%", self.launched.run_id))
        if (limit := of("risk.killswitch", "wallet_shortfall_pusd")) is not None:
            found.append(("wallet shortfall", int(account["shortfall"]) / 1e6, limit / 1e6, "pUSD", portfolio))
        share, most = of("risk.portfolioguard", "max_exposure_pct"), of("risk.portfolioguard", "max_notional_pusd")
        if share is not None and most is not None:
            used, room = int(account["cost"] + account["reserved"]) / 1e6, int(account["room"])
            limit = min(equity * share / 1e12, most / 1e6, (room - 1) / 1e6 if room > 0 else math.inf)
            found.append(("exposure", used, limit, "pUSD", portfolio))
            found.append(self._largest(min(equity * (of("risk.portfolioguard", "max_position_pct") or 0) / 1e12,
                                           (of("risk.portfolioguard", "max_market_pusd") or 0) / 1e6)))  # fmt: skip
        if (limit := of("risk.ratelimitgovernor", "orders_per_hour")) is not None:
            found.append(
                ("orders in an hour", float(account["sent"].sum()), float(limit), "orders", self.launched.run_id)
            )
        return found

    def _largest(self, limit: float) -> tuple[str, float, float, str, str]:
        positions = self.launched.step.state.positions
        at_risk = positions["yes_cost"] + positions["no_cost"] + positions["buy_reserved"]
        most = int(at_risk.argmax())
        return "largest market", int(at_risk[most]) / 1e6, limit, "pUSD", self.infos[most].slug

    def _bots(self, now: int) -> Topic:
        from polytraders.contracts import BotHealth, at

        counts = decided(self.launched.step.state)
        self._counted.append((now, counts))
        while now - self._counted[0][0] > WINDOW and len(self._counted) > 1:
            self._counted.popleft()
        minute = counts - self._counted[0][1]
        told: Topic = {}
        for number, bot in enumerate(self.bots):
            before = self._alive.get(number)
            if counts[number] and (before is None or before[0] != counts[number]):
                self._alive[number] = before = (int(counts[number]), now)
            switched = bool(self.launched.step.state.bots[number]["switched"])
            status = "unknown" if before is None else "down" if switched else "healthy"
            reason = {"unknown": "GOV_BOT_SILENT", "down": "RISK_KILL_SWITCH_ACTIVE"}.get(status)
            document = BotHealth(
                **at(now), bot_id=bot["bot_id"], bot_version=bot["version"],
                config_version=self.launched.manifest["config_hash"][:16], mode=bot["mode"], status=status,
                heartbeat_age_ms=None if before is None else (now - before[1]) // NS_PER_MS,
                decisions_last_minute=int(minute[number]), errors_last_minute=0, error_rate_pct="0", reason_code=reason,
            )  # fmt: skip
            told[bot["bot_id"]] = document.document()
        return told

    def _markets(self) -> Topic:
        return {
            info.condition_id: {
                "slug": info.slug, "question": info.question, "status": Status(int(row["status"])).name,
                "in_scope": True, "bid": _price(int(row["best_bid"])), "ask": _price(int(row["best_ask"])),
                "volume": units.money_text(int(row["volume_24h"])), "closes_at": int(info.end_ts),
                "quality": f"{float(row['x'][QUALITY]):.2f}", "feed_up": bool(row["feed_up"]),
            }
            for info, row in zip(self.infos, self.launched.step.state.markets, strict=True)
        }  # fmt: skip


def _keep(into: OrderedDict[int, Any], name: int, what: Any) -> None:
    into[name] = what
    if len(into) > KEPT:
        into.popitem(last=False)


def _ending(sent: Any) -> str:
    if sent.filled:
        return "FILLED" if sent.filled >= sent.action["size"] else "PARTLY_FILLED"
    return "CANCELLED" if sent.acked else "NOT_TAKEN"


def _parts(health: Mapping[str, Any]) -> Topic:
    """Tasks, feeds and the venue's connections: up, since and last message (ns), errors."""
    told: Topic = {
        name: {"up": part["up"], "since_ns": part["since"], "errors": part["restarts"], "error": part["error"]}
        for name, part in health["tasks"].items()
    }
    for kind in ("feeds", "venue"):
        for name, part in health[kind].items():
            if "up" in part:
                told[name.replace("_", " ")] = {
                    "up": bool(part["up"]), "last_ns": part.get("last") or None, "errors": part.get("silent"),
                    "error": part.get("error") or "",
                }  # fmt: skip
    return told


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _price(pips: int) -> str | None:
    return units.price_text(pips) if pips >= 0 else None
