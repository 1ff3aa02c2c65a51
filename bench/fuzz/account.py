"""Words about our orders that are wrong: the user channel's frames, lists that reconciliation reads, and answers.

A made-up venue acknowledges, fills and cancels our orders and says so, changed half of the time. What comes of it is
held against the orders alone, which nobody but us can change: a fill is of an order of ours, within its size and not
beyond its price, told once and settled once; no order is acknowledged, rejected or ended twice. A message that is
changed and still makes sense cannot be told from the truth; the comparison with balances is there for that.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import numpy as np
import orjson

from bench.fuzz.frames import ENV, START, info
from bench.fuzz.mutate import ODD, mutated
from polytraders.config import DEMO_BUILDER_CODE, build_settings
from polytraders.reasons import Code
from polytraders.rows import ACTION, EventKind, OrderType, Outcome, Side
from polytraders.units import MICRO, ONE, price_text, size_text
from polytraders.venue.keeper import engage
from polytraders.venue.orders import Credentials, Key, account
from polytraders.venue.orders import exchange as exchange_of
from polytraders.venue.polymarket import preflight
from polytraders.venue.polymarket.budget import Budget
from polytraders.venue.polymarket.client import Answer, Client, _parse
from polytraders.venue.polymarket.port import PolymarketPort
from polytraders.venue.polymarket.reconcile import compare, look_up
from polytraders.venue.polymarket.tracking import Phase, Tracker
from polytraders.venue.polymarket.user_stream import UserStream
from polytraders.venue.port import News
from polytraders.venue.refusal import Refused

TOKENS = {str(10**30 + 1): (0, int(Outcome.YES)), str(2 * 10**30 + 1): (0, int(Outcome.NO))}
WHERE = {place: token for token, place in TOKENS.items()}


class Endless(Budget):
    """A budget that never makes anybody wait."""

    async def take(self, *_: Any) -> bool:
        return True


class Deaf(Client):
    """A client whose answers are handed in."""

    said: bytes = b""

    trades: bytes = b""

    async def _exchange(self, method: str, url: str, *_: Any) -> Answer:
        return Answer(200, _parse(self.trades if self.trades and url.endswith("/data/trades") else self.said))


class Ledger:
    """What was told of each order, held against the order itself."""

    def __init__(self) -> None:
        self.orders: dict[int, np.void] = {}
        self.filled: Counter[int] = Counter()
        self.spent: Counter[int] = Counter()
        self.state: dict[int, str] = {}
        self.fills: dict[str, tuple[int, ...]] = {}
        self.settled: set[str] = set()
        self.rows = self.late = 0

    def hear(self, news: News) -> None:
        """Take rows in. Raises AssertionError for one that cannot be."""
        for row, key in zip(news.rows, news.keys, strict=True):
            self.rows += 1
            kind, number = EventKind(int(row["kind"])), int(row["aux"])
            order = self.orders[number]
            terms = number, int(row["price"]), int(row["size"]), int(row["ref"])
            if kind in (EventKind.ORDER_ACK, EventKind.ORDER_REJECT):
                assert number not in self.state, (kind, number, self.state)
                self.state[number] = kind.name
            elif kind == EventKind.CANCEL:
                assert self.state[number] == "ORDER_ACK", (number, self.state[number])
                self.state[number] = kind.name
            elif key not in self.fills:
                assert kind in (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED), kind
                # behind the end of its order only when changed words ended that too early: what traded is ours
                assert self.state[number] in ("ORDER_ACK", "CANCEL"), (number, self.state[number])
                self.late += self.state[number] == "CANCEL"
                self.fills[key] = terms
                if kind == EventKind.FILL_CONFIRMED:
                    self.settled.add(key)
                self._fits(order, *terms[1:3], 1)
            else:
                assert kind in (EventKind.FILL_CONFIRMED, EventKind.FILL_VOIDED) and key not in self.settled, key
                assert self.fills[key] == terms, (key, self.fills[key], terms)
                self.settled.add(key)
                if kind == EventKind.FILL_VOIDED:
                    self._fits(order, *terms[1:3], -1)

    def _fits(self, order: np.void, price: int, size: int, sign: int) -> None:
        number, buying = int(order["order_id"]), order["side"] == Side.BUY
        assert 0 < price < ONE and size > 0, (price, size)
        assert price <= order["price"] + 1 if buying else price >= order["price"] - 1, (order, price)
        self.filled[number] += sign * size
        self.spent[number] += sign * price * size
        if buying and order["order_type"] in (OrderType.FAK, OrderType.FOK):  # named by its money
            assert self.spent[number] <= int(order["price"]) * int(order["size"]) + ONE * MICRO // 100, order
        else:
            assert self.filled[number] <= order["size"], (order, self.filled[number])


class Truth:
    """A venue that has our orders and says what becomes of them."""

    def __init__(self, dice: random.Random):
        self.dice, self.ms, self.trades = dice, START, 0
        self.listed: dict[str, dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []

    def order(self, action: np.void, key: str) -> dict[str, Any]:
        """The venue takes an order of ours."""
        if len(self.listed) > 200:  # those that are over are forgotten
            self.listed = {name: known for name, known in self.listed.items() if known["status"] == "LIVE"}
        self.listed[key] = {
            "id": key, "status": "LIVE", "owner": "k", "maker_address": "0x1", "market": "0x1",
            "asset_id": WHERE[0, int(action["outcome"])], "side": Side(int(action["side"])).name,
            "original_size": size_text(int(action["size"])), "size_matched": "0",
            "price": price_text(int(action["price"])), "outcome": "Yes", "associate_trades": [],
            "order_type": OrderType(int(action["order_type"])).name, "created_at": self.ms // 1_000,
        }  # fmt: skip
        return self._event(self.listed[key], "order", type="PLACEMENT")

    def _event(self, said: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
        self.ms += 1
        return {**said, "event_type": kind, "timestamp": str(self.ms), **more}

    def something(self) -> list[dict[str, Any]]:
        """An order trades or goes, or a trade moves on."""
        dice = self.dice
        moving = [trade for trade in self.made if trade["status"] in ("MATCHED", "MINED")]
        live = [order for order in self.listed.values() if order["status"] == "LIVE"]
        if moving and (dice.random() < 0.4 or not live):
            trade = dice.choice(moving)
            trade["status"] = "MINED" if trade["status"] == "MATCHED" else dice.choice(("CONFIRMED", "FAILED"))
            return [self._event(trade, "trade")]
        if not live:
            return []
        order = dice.choice(live)
        if dice.random() < 0.2:
            order["status"] = "CANCELED"
            return [self._event(order, "order", type="CANCELLATION")]
        left = int(float(order["original_size"])) - int(float(order["size_matched"]))
        size = dice.randint(1, left)
        order["size_matched"] = str(int(float(order["size_matched"])) + size)
        if size == left:
            order["status"] = "MATCHED"
        self.trades += 1
        maker, name = order["order_type"] == "GTC", f"t{self.trades}"
        order["associate_trades"].append(name)
        other = {"order_id": "0xother", "maker_address": "0x2", "owner": "o"}
        ours = {"order_id": order["id"], "maker_address": "0x1", "owner": "k"}
        leg = {"matched_amount": str(size), "price": order["price"], "asset_id": order["asset_id"],
               "side": order["side"], "fee_rate_bps": "0", "outcome": "Yes"}  # fmt: skip
        trade = {
            "id": name, "taker_order_id": other["order_id"] if maker else order["id"], "market": "0x1",
            "asset_id": order["asset_id"], "side": order["side"], "size": str(size), "price": order["price"],
            "status": "MATCHED", "match_time": str(self.ms // 1_000),
            "maker_orders": [(ours if maker else other) | leg],
            "trader_side": "MAKER" if maker else "TAKER", "owner": "k",
        }  # fmt: skip
        self.made = [*self.made[-200:], trade]
        return [self._event(trade, "trade"), self._event(order, "order", type="UPDATE")]


async def campaign(messages: int, seed: int) -> Counter[str]:
    """Feed `messages` changed ones (and as many true ones); what was refused, by kind. Raises what is wrong."""
    dice = random.Random(seed)
    counts: Counter[str] = Counter()
    truth, ledger = Truth(dice), Ledger()
    now = [START * 10**6]
    client = Deaf(ENV, "0x" + "11" * 20, Credentials("k", "c2VjcmV0", "p"), budget=Endless(), clock=lambda: now[0])
    tracker = Tracker(TOKENS, lambda: now[0], lambda market: (20_000, 1), ledger.hear)
    heard = {"trade": tracker.hear_trade, "order": tracker.hear_order}

    def hear(event: dict[str, Any]) -> None:
        heard.get(str(event.get("event_type")), lambda _: None)(event)

    stream = UserStream(client, client.credentials, hear, lambda _: None)
    serial = changed = 0
    while changed < messages:
        now[0] += 1_000_000
        if len(tracker.orders) < 12 or dice.random() < 0.1:
            serial += 1
            action, key = _action(dice, serial), f"0x{serial:064x}"
            ledger.orders[serial] = action
            tracker.add(action, key)
            said = [truth.order(action, key)]
        else:
            said = truth.something()
        for event in said:
            changed += _tell(stream, event, dice, counts)
        what = dice.random()
        if what < 0.02:
            changed += 1
            client.said = mutated({"data": dice.sample(truth.made[-50:], min(3, len(truth.made))) or [{}],
                                   "next_cursor": "LTE="}, dice)  # fmt: skip
            found = await compare(client, tracker, 0)
            counts["list read" if found.whole else "list refused"] += 1
        elif what < 0.05 and tracker.orders:
            changed += 1
            order = dice.choice(list(tracker.orders.values()))
            client.said = mutated(truth.listed.get(order.key, {}), dice)
            client.trades = b'{"data":[],"next_cursor":"LTE="}'
            counts["answer read" if await look_up(client, tracker, order, 10**12) else "answer refused"] += 1
            client.trades = b""
        elif what < 0.07:
            _retire(tracker, truth)
        tracker.flush()
    counts["no JSON"] = stream.state["errors"]
    counts += Counter({f"trade refused: {why}": n for why, n in tracker.doubted.items()})
    counts["fill behind an end"], counts["rows booked"] = ledger.late, ledger.rows
    await client.close()
    return counts


def _action(dice: random.Random, serial: int) -> np.void:
    action = np.zeros(1, ACTION)[0]
    action["order_id"], action["kind"], action["side"] = serial, 1, dice.randrange(2)
    action["outcome"], action["price"], action["size"] = dice.randrange(2), dice.randint(10, 90) * 100, 10 * MICRO
    action["order_type"] = OrderType.GTC if dice.random() < 0.8 else OrderType.FAK
    return action


def _tell(stream: UserStream, event: dict[str, Any], dice: random.Random, counts: Counter[str]) -> int:
    """Say an event, changed or not, or a few at once; 1 when it was changed."""
    if dice.random() < 0.5:
        stream._take(orjson.dumps([event]).decode() if dice.random() < 0.2 else orjson.dumps(event).decode())
        return 0
    stream._take(mutated(event, dice).decode("utf-8", "replace"))
    counts[f"changed: {event['event_type']}"] += 1
    return 1


def _retire(tracker: Tracker, truth: Truth) -> None:
    """Orders whose news were lost for good are found again by their digest, as the venue has them."""
    for order in list(tracker.orders.values())[:6]:
        for trade in truth.made:
            if order.key in (trade["taker_order_id"], trade["maker_orders"][0]["order_id"]):
                tracker.hear_trade(trade)
        if order.key in truth.listed:
            tracker.hear_order(truth.listed[order.key])
        if order.key in tracker.orders and truth.listed.get(order.key, {}).get("status") != "LIVE":
            tracker._forget(order)


WATCHED = build_settings({}, "fuzz").with_overrides(
    {f"sec.{bot}.mode": "shadow" for bot in ("wallet_funding_guard", "walletpermissionguard", "sessionkeymanager")}
)
"""What the answers do to a port is tried here, not what its guard would keep from being sent."""
HEADERS = ("Retry-After", "Poly-RateLimit-Remaining", "Poly-RateLimit-Reset", "Poly-RateLimit-Tier")
STATUSES = (200, 200, 200, 200, 400, 401, 403, 404, 425, 429, 500, 503)


async def answers(number: int, seed: int) -> Counter[str]:
    """The port posts, cancels, asks and beats; `number` changed answers. What they proved, by kind. Raises what is
    wrong: an order acknowledged that the answer does not name, one left without any state, anything but Refused."""
    dice = random.Random(seed)
    counts: Counter[str] = Counter()
    ledger, now = Ledger(), [START * 10**6]
    key = Key("0x" + "11" * 32)
    guard = engage(key, account(key.address, 0, 137), WATCHED, "fuzz", now=now[0], chain=False)
    port = PolymarketPort(
        ENV, [info(1)], guard, Credentials("k", "c2VjcmV0", "p"), DEMO_BUILDER_CODE, clock=lambda: now[0]
    )  # fmt: skip
    port._emit = ledger.hear
    port.client.budget = Endless()
    told: dict[str, Any] = {"answer": None, "raw": b""}

    async def exchange(method: str, url: str, query: Any, body: bytes | None, headers: Any) -> Answer:
        told["raw"] = raw = mutated(told["answer"](method, body), dice)
        status = dice.choice(STATUSES) if dice.random() < 0.3 else 200
        more = {dice.choice(HEADERS): str(dice.choice(ODD)) for _ in range(dice.randrange(2))}
        counts["answers"] += 1
        return Answer(status, _parse(raw), more)

    port.client._exchange = exchange  # type: ignore[method-assign]
    serial = 0
    while counts["answers"] < number:
        now[0] += 1_000_000
        what = dice.random()
        if what < 0.5:
            made = []
            for _ in range(dice.choice((1, 1, 2, 5))):
                serial += 1
                action = _action(dice, serial)
                ledger.orders[serial] = action
                made.append(action)
            requests = port.prepare(np.array(made, ACTION), now[0])
            keys = [request.key for request in requests]
            told["answer"] = lambda method, body, keys=keys: _posted(keys, dice)
            await port.send(requests)
            _judge(port, keys, told["raw"], counts)
        elif what < 0.7:
            resting = [o for o in port.tracker.orders.values() if o.phase == Phase.OPEN][:20]
            told["answer"] = lambda *_, said=resting: {"canceled": [o.key for o in said], "not_canceled": {}}
            if resting:
                await port._cancel(resting)
                counts["cancels taken"] += sum(o.end > 0 for o in resting)
                counts["cancels asked again"] += sum(not o.end for o in resting)
        else:
            name, ask, answer = dice.choice(_questions(port))
            told["answer"] = answer
            try:
                said = await ask()
                counts[f"{name}: " + ("not good" if getattr(said, "good", True) is False else "read")] += 1
            except Refused as error:
                counts[f"{name}: {error.code}"] += 1
        for order in list(port.tracker.orders.values())[:-40]:
            port.tracker.gone(order.key, int(Code.EXEC_CANCELLED))
        port.tracker.flush()
    for task in port._tasks.values():
        task.cancel()
    await port.client.close()
    return counts


def _posted(keys: list[str], dice: random.Random) -> Any:
    """A true answer to POST /order or /orders."""
    entries = []
    for key in keys:
        good = {"success": True, "errorMsg": "", "orderID": key, "status": "live", "makingAmount": "",
                "takingAmount": "", "tradeIDs": [], "transactionsHashes": []}  # fmt: skip
        matched = {**good, "status": "matched", "takingAmount": "5", "makingAmount": "2.5", "tradeIDs": ["t1"]}
        bad = {"success": False, "errorMsg": "not enough balance / allowance", "orderID": "", "status": ""}
        entries.append(dice.choice((good, good, matched, bad)))
    return entries[0] if len(keys) == 1 else entries


def _judge(port: PolymarketPort, keys: list[str], raw: bytes, counts: Counter[str]) -> None:
    """Every order is open, over or in doubt after its answer; open only where the answer names it."""
    for key in keys:
        order = port.tracker.orders.get(key)
        phase = order.phase if order is not None else Phase.OVER
        assert phase != Phase.SENDING, (key, raw[:1000])
        if phase == Phase.OPEN:
            assert key.encode() in raw, (key, raw[:1000])
        counts[f"order {phase.name.lower()}"] += 1


def _questions(port: PolymarketPort) -> list[tuple[str, Any, Any]]:
    """(name, question, true answer) of everything else that the port asks."""
    client, market = port.client, port.markets
    spender = {exchange_of(137, neg_risk).contract: "1000000000" for neg_risk in (False, True)}
    order = {"id": "0x1", "asset_id": market[0].yes_token, "side": "BUY", "price": "0.5", "original_size": "10",
             "size_matched": "0", "status": "LIVE"}  # fmt: skip
    listed = {"data": [order], "next_cursor": "LTE="}
    return [
        ("balances", port.balances, lambda *_: {"balance": "1000000", "allowances": spender}),
        ("open orders", port.open_orders, lambda *_: listed),
        ("trades", port.trades, lambda *_: listed),
        ("positions", port._listed_tokens, lambda *_: {"data": [{"token_id": market[0].yes_token}], "pagination": {}}),
        ("heartbeat", port.beats.beat, lambda *_: {"heartbeat_id": "x"}),
        ("clock", client.time, lambda *_: START // 1_000),
        ("place", lambda: preflight.check_geoblock(client), lambda *_: {"blocked": False, "country": "IE"}),
        ("credentials", lambda: _first(preflight.check_credentials(client)), lambda *_: {"closed_only": False}),
        ("money", lambda: _first(preflight.check_money(client, port.account, market, 1)),
         lambda *_: {"balance": "1000000", "allowances": spender}),
        ("markets", lambda: preflight.check_markets(client, market), lambda *_: {"minimum_tick_size": 0.01}),
        ("reconcile", port.reconcile, lambda *_: listed),
    ]  # fmt: skip


async def _first(asked: Coroutine[Any, Any, tuple[Any, ...]]) -> Any:
    return (await asked)[0]
