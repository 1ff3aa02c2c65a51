"""Frames of the market channel that are wrong in every way there is: no crash, and never a wrong book called right.

A made-up venue tells the truth; on the way its frames are changed. A model reads every changed frame in the plainest
way (decimals, dicts, the rules of docs and nothing else) and says what each book is after it, or that it cannot be
known. After each frame every market of the stream is down, or its book is the model's.
"""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import SimpleNamespace

import orjson

from bench.fuzz.mutate import mutated
from polytraders.data.markets import MarketInfo
from polytraders.data.sources import parts_of, venue_ns
from polytraders.units import ONE
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.market_stream import MarketStream

START = 1_790_000_000_000
ENV = Environment("local", *("http://127.0.0.1:9",) * 5)


def info(number):
    name = f"{number:064x}"
    return MarketInfo(
        condition_id="0x" + name, slug=f"m{number}", question="?", yes_token=str(10**30 + number),
        no_token=str(2 * 10**30 + number), tick=100, grid=1, min_size=5_000_000, fee_rate=0, fee_exponent=1,
        rebate_rate=0, neg_risk=False, event_id="", end_ts=0,
    )  # fmt: skip


class Unreadable(Exception):
    """The plain reader gives up."""


class Model:
    """The plain reader. books: condition -> (bids, asks) in YES space, pips -> micro-shares; None = not to be known."""

    def __init__(self, infos):
        self.books = {one.condition_id: None for one in infos}
        self.tokens = {token: (one.condition_id, yes) for one in infos
                       for token, yes in ((one.yes_token, True), (one.no_token, False))}  # fmt: skip
        self.told = set()  # changes of levels that were read: once more, they change nothing
        self.resolved = set()

    def read(self, raw):
        try:
            parts = parts_of(orjson.loads(raw))
        except (ValueError, TypeError):
            self.books = dict.fromkeys(self.books)
            return
        for part in parts:
            self._part(part)

    def _part(self, part):
        kind = part.get("event_type")
        kind = kind or ("book" if "bids" in part and "asks" in part else
                        "price_change" if "price_changes" in part or "changes" in part else "none")  # fmt: skip
        shaped = ("bids" in part and "asks" in part) or "price_changes" in part or "changes" in part
        matters = str(kind) in ("book", "price_change", "tick_size_change", "none") or shaped
        try:
            if part.get("timestamp"):
                venue_ns(part["timestamp"])
            self._apply(kind, part)
        except Unreadable:
            if matters:
                for condition in self._mentioned(part) or self.books:
                    self.books[condition] = None
        except LookupError:  # a market that nobody follows
            if matters:
                for condition in self._mentioned(part):
                    self.books[condition] = None
        except (ValueError, TypeError):
            if matters:
                for condition in self._mentioned(part) or self.books:
                    self.books[condition] = None

    def _apply(self, kind, part):
        if kind == "book":
            condition, yes = self._token(part)
            bids, asks = self._side(part, "bids", "buys"), self._side(part, "asks", "sells")
            if not yes:
                bids, asks = ({ONE - p: s for p, s in side.items()} for side in (asks, bids))
            if part.get("tick_size"):
                self._tick(part["tick_size"])
            self.books[condition] = bids, asks
        elif kind == "price_change":
            if (once := self._levels_told(part)) in self.told:
                return  # whatever else it says
            legs = self._legs(part)
            if not legs:
                raise Unreadable
            if len(self.told) > 100_000:
                self.told.clear()
            self.told.add(once)
            for condition in dict.fromkeys(leg[0] for leg in legs):
                mine = [leg for leg in legs if leg[0] == condition]
                if any(leg[1] for leg in mine):
                    mine = [leg for leg in mine if leg[1]]
                for _, yes, price, size, buy in mine:
                    if self.books[condition] is None:
                        continue
                    at, bid = (price, buy) if yes else (ONE - price, not buy)
                    levels = self.books[condition][0 if bid else 1]
                    levels[at] = size
                    if not size:
                        del levels[at]
        elif kind in ("tick_size_change",):
            self._token(part)
            self._tick(part.get("new_tick_size"))
            self._tick(part.get("old_tick_size"))
        elif kind in ("last_trade_price", "best_bid_ask", "new_market", "market_resolved"):
            pass
        else:
            raise Unreadable

    @staticmethod
    def _levels_told(part):
        """What a change says of levels, to the letter; None when it is of no such form."""
        listed = part.get("price_changes") if "price_changes" in part else part.get("changes")
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            return None
        names = ("asset_id", "price", "size", "side", "hash")
        own = [repr(part.get(name)) for name in ("market", "asset_id", "timestamp", "hash")]
        return (*own, *(repr(entry.get(name)) for entry in listed for name in names))

    def _token(self, part):
        if "asset_id" not in part:
            raise Unreadable
        token = part["asset_id"]
        if isinstance(token, (list, dict)):
            raise Unreadable
        if token not in self.tokens:
            raise LookupError
        return self.tokens[token]

    def _price(self, value):
        return _price(value, type(value)) if isinstance(value, (str, int, float)) else _price.__wrapped__(value, None)

    def _size(self, value):
        return _size(value, type(value)) if isinstance(value, (str, int, float)) else _size.__wrapped__(value, None)

    @staticmethod
    def _number(value):
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise Unreadable
        try:
            number = Decimal(value if isinstance(value, str) else repr(value))
        except InvalidOperation:
            raise Unreadable from None
        if not number.is_finite() or number.adjusted() > 10 or number < 0 or number.as_tuple().exponent < -60:
            raise Unreadable
        return number

    def _tick(self, value):
        if value is None:
            raise Unreadable
        number = self._price(value if isinstance(value, str) else str(value))
        if not number or ONE % number:
            raise Unreadable

    def _side(self, part, name, old):
        listed = part.get(name) if name in part else part.get(old)
        if name not in part and old not in part:
            raise Unreadable
        if isinstance(listed, dict) and not listed:
            return {}  # nothing in it, in whatever brackets
        if listed == "":
            return {}
        if not isinstance(listed, list):
            raise Unreadable
        levels = {}
        for level in listed:
            if not isinstance(level, dict) or "price" not in level or "size" not in level:
                raise Unreadable
            levels[self._price(level["price"])] = self._size(level["size"])
        return {p: s for p, s in levels.items() if s and 0 < p < ONE}

    def _legs(self, part):
        listed = part.get("price_changes") if "price_changes" in part else part.get("changes")
        if not isinstance(listed, list):
            raise Unreadable
        legs = []
        for entry in listed:
            if not isinstance(entry, dict):
                raise Unreadable
            condition, yes = self._token(entry if "price_changes" in part else part)
            if not {"price", "size", "side"} <= entry.keys():
                raise Unreadable
            price, size, side = self._price(entry["price"]), self._size(entry["size"]), str(entry["side"]).upper()
            if not 0 < price < ONE or side not in ("BUY", "SELL", "BID", "ASK"):
                raise Unreadable
            for quote in ("best_bid", "best_ask"):
                other = entry.get("best_ask" if quote == "best_bid" else "best_bid")
                if entry.get(quote) not in (None, "") and other is not None:
                    self._price(entry[quote])
            legs.append((condition, yes, price, size, side in ("BUY", "BID")))
        return legs

    def _mentioned(self, part):
        found = []
        listed = [part]
        for name in ("price_changes", "changes"):
            if isinstance(part.get(name), list):
                listed += [entry for entry in part[name] if isinstance(entry, dict)]
        for entry in listed:
            if isinstance(entry.get("market"), str) and entry["market"] in self.books:
                found.append(entry["market"])
            if isinstance(entry.get("asset_id"), str) and entry["asset_id"] in self.tokens:
                found.append(self.tokens[entry["asset_id"]][0])
        return found


@lru_cache(4096)
def _price(value, kind):
    number = Model._number(value)
    if number > 1 or number * ONE % 1:
        raise Unreadable
    return int(number * ONE)


@lru_cache(4096)
def _size(value, kind):
    number = Model._number(value)
    if number * 10**6 % 1:
        raise Unreadable
    return int(number * 10**6)


class Truth:
    """A venue that moves its books and says so."""

    def __init__(self, infos, dice):
        self.infos, self.dice, self.ms = infos, dice, START
        self.books = [({c: 10 for c in range(40, 50)}, {c: 10 for c in range(51, 60)}) for _ in infos]

    def head(self, at, kind):
        self.ms += 1
        return {"market": self.infos[at].condition_id, "timestamp": str(self.ms), "event_type": kind}

    def book(self, at, yes=True):
        bids, asks = self.books[at]
        if not yes:
            bids, asks = ({100 - c: s for c, s in side.items()} for side in (asks, bids))
        token = self.infos[at].yes_token if yes else self.infos[at].no_token
        sides = {"bids": sorted(bids.items()), "asks": sorted(asks.items(), reverse=True)}
        levels = {name: [{"price": f"{c / 100}", "size": str(s)} for c, s in side] for name, side in sides.items()}
        return self.head(at, "book") | {"asset_id": token, "hash": "", **levels}

    def change(self, at):
        bids, asks = self.books[at]
        buy = self.dice.random() < 0.5
        cents = self.dice.randint(30, 49) if buy else self.dice.randint(51, 70)
        size = self.dice.choice((0, 1, 7, 12, 30))
        side = bids if buy else asks
        side[cents] = size
        if not size:
            del side[cents]
        best = max(bids, default=0), min(asks, default=100)
        legs = []
        for yes in (True, False):
            low, high = best if yes else (100 - best[1], 100 - best[0])
            legs.append(
                {
                    "asset_id": self.infos[at].yes_token if yes else self.infos[at].no_token,
                    "price": f"{(cents if yes else 100 - cents) / 100}",
                    "size": str(size),
                    "side": "BUY" if buy == yes else "SELL",
                    "hash": f"{self.ms:x}{cents}",
                    "best_bid": f"{low / 100}",
                    "best_ask": f"{high / 100}",
                }
            )
        return self.head(at, "price_change") | {"price_changes": legs[: self.dice.choice((1, 2, 2, 2))]}

    def other(self, at):
        token = self.infos[at].yes_token
        return self.head(at, "x") | self.dice.choice(
            (
                {"event_type": "last_trade_price", "asset_id": token, "price": "0.5", "size": "3", "side": "BUY"},
                {"event_type": "best_bid_ask", "asset_id": token, "best_bid": "0.49", "best_ask": "0.51"},
                {"event_type": "tick_size_change", "asset_id": token, "old_tick_size": "0.01", "new_tick_size": "0.01"},
            )
        )

    def frame(self):
        at, what = self.dice.randrange(len(self.infos)), self.dice.random()
        if what < 0.6:
            return self.change(at)
        if what < 0.8:
            return self.book(at, self.dice.random() < 0.6)
        if what < 0.85:
            return [self.book(at), self.book(at, False)]
        return self.other(at)


async def campaign(
    frames: int, seed: int, flush: int = 50, enough: int | None = None
) -> tuple[Counter[str], int, float, int]:
    """(counts of refusals, frames changed, share of the markets' looks that were down, looks at a book).

    Half of the frames are changed. enough: stop once so many were. Raises AssertionError for a wrong book.
    """
    dice = random.Random(seed)
    infos = [info(number) for number in range(1, 5)]
    truth, model = Truth(infos, dice), Model(infos)
    emitted = []
    now = [START * 10**6]
    stream = MarketStream(ENV, infos, emitted.append, clock=lambda: now[0])
    stream._note({"event_type": "recorder"})
    stream.follow(infos)
    (shard,) = stream._shards
    shard.socket = SimpleNamespace(transport=SimpleNamespace(abort=lambda: None))
    downs = looks = changed = 0

    def check(raw):
        nonlocal downs, looks
        for at, one in enumerate(infos):
            looks += 1
            if not stream.up(at):
                downs += 1
                continue
            told = model.books[one.condition_id]
            assert told is not None, (seed, number, at, raw[:2000], "up, though nobody can know its book")
            assert stream.book(at) == told, (seed, number, at, raw[:2000])

    for number in range(frames):
        if changed == enough:
            break
        now[0] += 1_000_000
        frame = truth.frame()
        raw = orjson.dumps(frame)
        if dice.random() < 0.5:
            raw = mutated(frame, dice)
            changed += 1
        stream._frame(shard, raw)
        model.read(raw)
        check(raw)
        if shard.kicked:  # a new connection, with new books
            shard.kicked = None
            for one in shard.followed:
                one.due = one.until = 0.0
            stream._frame(shard, raw := orjson.dumps([truth.book(at) for at in range(len(infos))]))
            model.read(raw)
            check(raw)
            assert stream.up() or any(one.market.resolved for one in shard.followed)
        for at, one in enumerate(shard.followed):
            if one.market.down and dice.random() < 0.3:  # it was subscribed anew
                one.due = one.until = 0.0
                stream._frame(shard, raw := orjson.dumps([truth.book(at), truth.book(at, False)]))
                model.read(raw)
                assert stream.up(at) or one.market.resolved
                check(raw)
        if number % flush == 0:
            stream._flush()
    await stream._read.close()
    return Counter(stream.counts), changed, downs / looks, looks - downs
