"""Messages of the venue's market channel to event rows: one book per condition, in YES space.

Messages are applied in the order of arrival: their own times run backward by a few hundred ms when
several shards serve a feed, and only arrival order reproduces the best quotes that they carry.

Invariants
    D3  replaying the rows gives, after every full-book message, exactly that message's book
    D5  a row of the NO token is mirrored: price 1 - p, the other side (R3 of rows)
    D6  a message that confirms the book but changes nothing gives one row that repeats the best
        level, so that the book's age is right; one that contradicts the book gives none
    D7  inferred trades stand before the level changes they were inferred from, flagged INFERRED

Full books: the first one, and the first after a gap, give BOOK_CLEAR and LEVEL rows; later ones
re-base the book by CHANGE rows, flagged SNAPSHOT, for the levels that differ (removals first, so
that the book is not crossed on the way). `price_change` holds both outcome tokens: the YES leg is
applied, the NO leg compared with it. `last_trade_price.side` is what the venue says; against the
chain it is right in about 59 % of the trades, so do not build on it alone.

The recorder's own words are messages like the venue's, so that a live stream and the import of its recording
are one and the same rows: `recorder` (it tells of every gap itself), `markets` (which are followed, in the order
of the run's table), `feed_down` (FEED_DOWN rows; what changes until the next full book gives no rows, and that
book ends with FEED_UP), `confirmed` (the venue was asked, and the book is still this one), `connected`, `signals`
(numbers of external prices). Foreign spot feeds give no rows; they are counted and stand in the message table.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from polytraders.data import bookhash
from polytraders.data.inference import infer_trade
from polytraders.data.journal import Journal
from polytraders.data.markets import (
    ASSUMED,
    INFERRED,
    RECORDED,
    Market,
    MarketInfo,
    Registry,
    UnknownToken,
    facts_from,
    tick_of,
    tick_pips,
)
from polytraders.data.quality import Problem
from polytraders.data.signals import read_price
from polytraders.data.sources import RTDS, Fault, Message, venue_ns
from polytraders.rows import EventKind, Flag, Side, Status
from polytraders.units import NS_PER_S, ONE, UnitError, price_pips, size_micro

REMEMBERED = 65_536
"""Messages among which a repetition is recognised as a duplicate."""
_NO_KEY = -1
"""What no `hash` ever is."""
LARGEST = 10
"""Decimal exponent of a size that is still believed, shares: the sums of a book must fit an int64."""


# -- the wire's numbers ------------------------------------------------------------------------------


def _number(value: Any) -> str:
    """A price or size as the wire spells it (text, or a JSON number) as decimal text of believable size."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnitError(f"{value!r} is no number")
    text = value if isinstance(value, str) else repr(value)
    try:
        if Decimal(text).adjusted() > LARGEST:
            raise UnitError(f"{text[:20]} is too large to be true")
    except InvalidOperation:
        raise UnitError(f"{text[:20]!r} is not a decimal number") from None
    return text


def _plain(text: Any, places: int) -> int:
    """Digits with at most `places` decimals, as an integer of that many; -1 for every other spelling."""
    if not isinstance(text, str) or not text.isascii():
        return -1
    whole, dot, part = text.partition(".")
    if not whole.isdecimal() or len(whole) > LARGEST + 1 or len(part) > places or (dot and not part.isdecimal()):
        return -1
    return int(whole + part.ljust(places, "0"))


class _Pips(dict[Any, int]):
    """Price as the wire spells it -> pips; remembers each text it has seen. No other type is: 0 equals false."""

    def __missing__(self, text: Any) -> int:
        pips = _plain(text, 4)
        if not 0 <= pips <= ONE:
            pips = price_pips(_number(text))
        if isinstance(text, str):
            self[text] = pips
        return pips


class _Micro(dict[Any, int]):
    """Size as the wire spells it -> micro-shares; remembers, within limits."""

    def __missing__(self, text: Any) -> int:
        if len(self) > REMEMBERED:
            self.clear()
        micro = _plain(text, 6)
        if micro < 0:
            micro = size_micro(_number(text))
        if isinstance(text, str):
            self[text] = micro
        return micro


_SIDES = {"BUY": Side.BUY, "BID": Side.BUY, "SELL": Side.SELL, "ASK": Side.SELL}


def _side(text: Any) -> Side:
    side = _SIDES.get(str(text).upper())
    if side is None:
        raise ValueError(f"side {text!r} is neither BUY nor SELL")
    return side


def _mirror(levels: dict[int, int]) -> dict[int, int]:
    return {ONE - price: size for price, size in levels.items()}


def _shape(frame: dict[str, Any]) -> str:
    """Type of a message that does not name it: REST books and the oldest dumps."""
    if "bids" in frame and "asks" in frame:
        return "book"
    if "price_changes" in frame or "changes" in frame:
        return "price_change"
    return "none"


class _Leg(NamedTuple):
    """One change of a level, in YES space; `yes`: told in the YES token; `quotes`: best prices reported with it."""

    yes: bool
    price: int
    size: int
    side: Side
    quotes: tuple[int, int] | None


# -- the messages --------------------------------------------------------------------------------------


class Normaliser:
    """Applies messages one by one; afterwards `log` holds the rows, and the counts are read.

    registry: knows the markets. gap: ns of silence that count as one. keep: the message table too.
    best: reported best quotes, checked and agreed. hashes: books by `bookhash.Verdict.state`. clocks: file -> "none"
    (no receive time), "seconds" (all on whole seconds) or "fine".
    """

    def __init__(self, registry: Registry, gap: int, keep: bool = True):
        self.registry = registry
        self.log = Journal(gap, keep)
        self.best: Counter[str] = Counter()
        self.hashes: Counter[str] = Counter()
        self.files_with_trades: set[int] = set()
        self.clocks: dict[int, str] = {}
        self._message: Message | None = None
        self._pips, self._micro = _Pips(), _Micro()
        self._key = _NO_KEY
        self._ticks: list[tuple[Market, int, int, int]] = []  # as they were before the message at hand
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._apply: dict[str, Callable[[dict[str, Any]], None]] = {
            "book": self._book,
            "price_change": self._price_change,
            "last_trade_price": self._trade,
            "tick_size_change": self._tick_size,
            "best_bid_ask": self._best_bid_ask,
            "new_market": self._new_market,
            "market_resolved": self._market_resolved,
        }
        self._own: dict[str, Callable[[dict[str, Any]], None]] = {
            "recorder": self._recorder,
            "markets": self._markets,
            "feed_down": self._feed_down,
            "confirmed": self._confirmed,
            "connected": lambda frame: None,
            "disconnected": lambda frame: None,
            "signals": self._signals,
        }
        self.priced = False  # whether the last message of the prices' socket gave a row
        self._signal_numbers: dict[str, int] = {}
        self._signal_last: dict[int, tuple[int, int]] = {}

    def fault(self, fault: Fault) -> None:
        """Record a place that could not be read."""
        self.log.place(fault.file, fault.line)
        self.log.find(fault.problem, fault.detail)

    def take(self, message: Message) -> None:
        """Apply one message; whatever is wrong with it becomes a finding, and then it leaves no rows."""
        log, frame = self.log, message.frame
        if message.scope:
            if message.scope == RTDS and self._signal_numbers:
                self._signal(message)
            else:
                log.note(message, f"out_of_scope:{message.scope}", message.recv or 0, 0)
            return
        kind = frame.get("event_type") or _shape(frame)
        try:
            event = self._venue_time(message)
        except (ValueError, TypeError) as error:
            log.place(message.file, message.line)
            log.find(Problem.MALFORMED, f"{str(kind)[:40]}: timestamp: {error}"[:240])
            return
        self._message = message
        self._note_clock(message)
        recv = event if message.recv is None else message.recv
        apply = (self._own if message.own else self._apply).get(kind) if isinstance(kind, str) else None
        log.note(message, kind if apply else f"unknown:{str(kind)[:40]}", recv, event)
        if log.arrive(message.file, recv):
            for market in self.registry.table:
                market.based, market.gap = False, True
        if apply is None:
            log.find(Problem.UNKNOWN_TYPE, f"message type {str(kind)[:60]!r}")
            return
        before, self._key, self._ticks = log.count, _NO_KEY, []
        try:
            if not message.own and (first := self._repeats(kind, frame)) is not None:
                log.find(Problem.DUPLICATE, f"{kind}: same as message {first}", value=first)
                return
            apply(frame)
        except UnknownToken as error:
            self._undo(before)
            log.find(Problem.UNKNOWN_TOKEN, f"{kind}: {error}"[:240])
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            self._undo(before)
            what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
            log.find(Problem.MALFORMED, f"{kind}: {what}"[:240])
        if log.count > before:
            log.flag(-1, Flag.LAST)

    def _undo(self, before: int) -> None:
        """Take back the rows of the message at hand; when it comes again, it is no duplicate of anything applied."""
        self.log.cut(before)
        for market, tick, start, finest in reversed(self._ticks):
            market.tick, market.tick_start, market.finest = tick, start, finest
        if self._seen.get(self._key) == self.log.ref:
            del self._seen[self._key]

    @staticmethod
    def _venue_time(message: Message) -> int:
        stamp = message.frame.get("timestamp")
        event = venue_ns(stamp) if stamp else message.recv
        if event is None:
            raise ValueError("neither a receive time nor a venue timestamp")
        return event

    def _note_clock(self, message: Message) -> None:
        if message.recv is None:
            self.clocks[message.file] = "none"
        elif self.clocks.get(message.file) != "fine":
            self.clocks[message.file] = "fine" if message.recv % NS_PER_S else "seconds"

    def _repeats(self, kind: str, frame: dict[str, Any]) -> int | None:
        """Number of the earlier message that this one repeats to the letter, None when it is new."""
        get = frame.get
        if kind == "book":
            if "tick_size" in frame or "event_type" not in frame:
                return None  # a dump on subscribing or a poll: the same book again is news of its age
            # The venue's hash stands for the levels; books without one are compared whole.
            levels: Any = get("hash") or (str(get("bids")), str(get("asks")))
            key: tuple[Any, ...] = (kind, get("asset_id"), get("timestamp"), levels)
        elif kind == "price_change":
            entries = get("price_changes", get("changes"))
            told = [(e.get("asset_id"), e.get("price"), e.get("size"), e.get("side"), e.get("hash")) for e in entries]
            key = (kind, get("market"), get("asset_id"), get("timestamp"), get("hash"), *told)
        else:
            key = (kind, *sorted((name, str(value)) for name, value in frame.items()))
        # 64 bits stand for the message: kept whole, REMEMBERED of them would take 80 MB. That two different ones agree
        # has a chance of 4 in 10^8 on a day of ten million messages.
        self._key = hash(key)
        first = self._seen.setdefault(self._key, self.log.ref)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return None if first == self.log.ref else first

    # -- markets --------------------------------------------------------------------------------

    def _open(self, market: Market) -> int:
        """Enter the market and the step of its venue time; returns the number of its first row to come."""
        log, message = self.log, self._message
        log.say_market(self.registry.enter(market))
        self._ticks.append((market, market.tick, market.tick_start, market.finest))
        if message and message.slug and not market.slug:
            market.slug = message.slug
        if log.event < market.last_event:
            back = market.last_event - log.event
            what = f"{back / 1e6:.0f} ms before the market's previous message"
            log.find(Problem.VENUE_TIME_BACKWARD, what, market.index, back)
        market.first_event = market.first_event or log.event
        market.last_event, market.last_recv = log.event, log.now
        return log.count

    def _close(self, market: Market, first: int) -> None:
        """After a market's rows: mark the first one after a gap, look for a crossed book."""
        if market.gap and self.log.count > first:
            self.log.flag(first, Flag.GAP)
            market.gap = False
        bid, ask = market.best()
        if bid >= ask and not market.crossed:
            what = f"bid {bid} pips, ask {ask} pips"
            self.log.find(Problem.CROSSED_BOOK, what, market.index, bid - ask)
        market.crossed = bid >= ask

    def _confirm(self, market: Market, flags: int = 0) -> None:
        """One row that says: nothing changed, and that is as of now."""
        if market.bids:
            price = max(market.bids)
            self.log.row(EventKind.CHANGE, market.index, price, market.bids[price], Side.BUY, flags)
        elif market.asks:
            price = min(market.asks)
            self.log.row(EventKind.CHANGE, market.index, price, market.asks[price], Side.SELL, flags)
        else:
            self.log.row(EventKind.BOOK_CLEAR, market.index, flags=flags)

    # -- ticks ----------------------------------------------------------------------------------

    def _set_tick(self, market: Market, tick: int, source: str) -> None:
        """The tick is known to be `tick`: at first that of the start, later a row when it changes."""
        if tick == market.tick:
            if source == RECORDED:
                market.tick_source = RECORDED
            return
        if not market.tick_start:
            market.tick_start, market.tick_source = tick, source
        else:
            flags = 0 if source == RECORDED else Flag.INFERRED
            self.log.row(EventKind.TICK_SIZE, market.index, tick, aux=market.tick, flags=flags)
        market.tick = tick
        market.finest = min(market.finest or tick, tick)

    def _start_tick(self, market: Market, prices: Collection[int], told: Any = None) -> None:
        """The tick that a message carries, else the metadata's, else the one its prices suggest."""
        if told:
            self._set_tick(market, tick_pips(told), RECORDED)
        elif not market.tick and market.facts and market.facts.tick:
            self._set_tick(market, market.facts.tick, RECORDED)
        elif not market.tick:
            self._set_tick(market, tick_of(prices), ASSUMED)

    def _check_tick(self, market: Market, prices: Collection[int]) -> None:
        """Prices off the tick in force: a finding, and the tick is taken to be the coarsest that holds them."""
        tick = market.tick
        off = [price for price in prices if price % tick]
        if off:
            what = f"price {off[0]} pips is not on the tick of {tick} pips"
            self.log.find(Problem.OFF_TICK, what, market.index, off[0])
            self._unannounced(market, tick_of(off, coarsest=tick))

    def _unannounced(self, market: Market, tick: int) -> None:
        self.log.find(Problem.TICK_UNANNOUNCED, f"from {market.tick} to {tick} pips", market.index, tick)
        self._set_tick(market, tick, INFERRED)

    # -- full books -----------------------------------------------------------------------------

    def _levels(self, listed: Any) -> dict[int, int]:
        pips, micro = self._pips, self._micro
        levels = {pips[level["price"]]: micro[level["size"]] for level in listed}
        if 0 in levels or ONE in levels or 0 in levels.values():
            for price in (0, ONE):
                if levels.pop(price, None) is not None:
                    self.log.find(Problem.OFF_TICK, f"a level at price {price} pips: left out", value=price)
            levels = {price: size for price, size in levels.items() if size}
        return levels

    def read_book(self, frame: dict[str, Any]) -> tuple[Market, dict[int, int], dict[int, int]]:
        """(market, bids, asks) of a full book, in YES space; nothing is applied. Raises what `take` would count."""
        market, yes = self.registry.resolve(frame["asset_id"], frame.get("market"))
        bids = self._levels(frame["bids"] if "bids" in frame else frame["buys"])
        asks = self._levels(frame["asks"] if "asks" in frame else frame["sells"])
        return (market, bids, asks) if yes else (market, _mirror(asks), _mirror(bids))

    def _book(self, frame: dict[str, Any]) -> None:
        market, bids, asks = self.read_book(frame)
        first = self._open(market)
        prices = [*bids, *asks]
        self._start_tick(market, prices, frame.get("tick_size"))
        trade = self._prove(frame, market)
        self._check_tick(market, prices)
        self.log.say_book(bids, asks)
        if market.based:
            if "event_type" in frame and "tick_size" not in frame and not self._trades_told():
                self._infer(market, bids, asks, trade)
            self._rebase(market, bids, asks)
        else:
            self._base(market, bids, asks)
        market.bids, market.asks = bids, asks
        market.doubt = 0
        if market.down:
            market.down = False
            self.log.row(EventKind.FEED_UP, market.index)
        self._close(market, first)

    def _trades_told(self) -> bool:
        """Whether the file of the message at hand records trades for certain: then none need be inferred."""
        return self._message is not None and self._message.file in self.log.told

    def _prove(self, frame: dict[str, Any], market: Market) -> int | None:
        """Check the book's hash; returns the last trade price (pips, of one of the tokens) that it proves."""
        verdict = bookhash.verify(frame, market)
        self.hashes[verdict.state] += 1
        if verdict.state == "mismatch":
            what = f"hash {str(frame['hash'])[:12]}... does not fit the book"
            self.log.find(Problem.HASH_MISMATCH, what, market.index)
        if verdict.tick and verdict.tick != market.tick:
            self._unannounced(market, verdict.tick)
        elif verdict.tick and market.tick_source == ASSUMED:
            market.tick_source = INFERRED
        return verdict.trade if verdict.trade > 0 else None

    def _infer(self, market: Market, bids: dict[int, int], asks: dict[int, int], proven: int | None) -> None:
        """A pushed book follows a trade: put the trade before it. Dropped later when the file records trades."""
        if market.bids == bids and market.asks == asks:
            return
        trade = infer_trade(market.bids, market.asks, bids, asks, proven)
        if trade is None:
            return
        if trade.size:
            self.log.row(EventKind.TRADE, market.index, trade.price, trade.size, trade.side, Flag.INFERRED)
        else:
            what = f"at {trade.price} pips: nothing left the book there"
            self.log.find(Problem.TRADE_UNSIZED, what, market.index, trade.price)

    def _base(self, market: Market, bids: dict[int, int], asks: dict[int, int]) -> None:
        row = self.log.row
        row(EventKind.BOOK_CLEAR, market.index, flags=Flag.SNAPSHOT)
        for price in sorted(bids, reverse=True):
            row(EventKind.LEVEL, market.index, price, bids[price], Side.BUY, Flag.SNAPSHOT)
        for price in sorted(asks):
            row(EventKind.LEVEL, market.index, price, asks[price], Side.SELL, Flag.SNAPSHOT)
        market.based = market.snapshot = True

    def _rebase(self, market: Market, bids: dict[int, int], asks: dict[int, int]) -> None:
        row, index, before = self.log.row, market.index, self.log.count
        sides = ((market.bids, bids, Side.BUY), (market.asks, asks, Side.SELL))
        sides = tuple(pair for pair in sides if pair[0] != pair[1])
        for old, new, side in sides:
            for price in sorted([price for price in old if price not in new]):
                row(EventKind.CHANGE, index, price, 0, side, Flag.SNAPSHOT)
        for old, new, side in sides:
            had = old.get
            for price, size in sorted([level for level in new.items() if had(level[0]) != level[1]]):
                row(EventKind.CHANGE, index, price, size, side, Flag.SNAPSHOT)
        if self.log.count == before:
            self._confirm(market, Flag.SNAPSHOT)

    # -- changes and quotes ---------------------------------------------------------------------

    def _price_change(self, frame: dict[str, Any]) -> None:
        if "price_changes" in frame:
            entries = [(entry["asset_id"], entry) for entry in frame["price_changes"]]
        else:
            entries = [(frame["asset_id"], entry) for entry in frame["changes"]]
        changes: dict[str, tuple[Market, list[_Leg]]] = {}
        for token, entry in entries:
            market, yes = self.registry.resolve(token, frame.get("market"))
            changes.setdefault(market.condition, (market, []))[1].append(self._leg(entry, yes))
        if not changes:
            raise ValueError("no changes in it")
        for market, legs in changes.values():
            first = self._open(market)
            if market.down:
                continue
            self._change(market, legs)
            quotes = next((leg.quotes for leg in legs if leg.quotes), None)
            if quotes:
                self._agrees(market, quotes)
            self._close(market, first)

    def _leg(self, entry: dict[str, Any], yes: bool) -> _Leg:
        price, size, side = self._pips[entry["price"]], self._micro[entry["size"]], _side(entry["side"])
        if not 0 < price < ONE:
            raise ValueError(f"price {price} pips is outside the book")
        quotes = self._quotes(entry, yes)
        return _Leg(yes, price, size, side, quotes) if yes else _Leg(yes, ONE - price, size, Side(1 - side), quotes)

    def _change(self, market: Market, legs: list[_Leg]) -> None:
        if not market.snapshot and not market.unbased_noted:
            market.unbased_noted = True
            self.log.find(Problem.NO_SNAPSHOT, "changes begin before the market's first full book", market.index)
        prices = [leg.price for leg in legs]
        self._start_tick(market, prices)
        self._check_tick(market, prices)
        told = {(leg.price, leg.side): leg.size for leg in legs if leg.yes}
        for leg in legs:
            if told and not leg.yes:
                if (size := told.get((leg.price, leg.side))) != leg.size:
                    what = f"NO leg {leg.size} micro-shares at {leg.price} pips, YES leg {size}"
                    self.log.find(Problem.MIRROR_MISMATCH, what, market.index)
                continue
            levels = market.bids if leg.side is Side.BUY else market.asks
            if leg.size:
                levels[leg.price] = leg.size
            else:
                levels.pop(leg.price, None)
            self.log.row(EventKind.CHANGE, market.index, leg.price, leg.size, leg.side)

    def _quotes(self, entry: dict[str, Any], yes: bool) -> tuple[int, int] | None:
        """(best bid, best ask) that a message reports, in YES space; an empty side is 0 or 10 000."""
        bid, ask = entry.get("best_bid"), entry.get("best_ask")
        if bid is None or ask is None:
            return None
        pair = self._pips[bid] if bid != "" else 0, self._pips[ask] if ask != "" else ONE
        return pair if yes else (ONE - pair[1], ONE - pair[0])

    def _agrees(self, market: Market, quotes: tuple[int, int]) -> bool:
        """Whether the reported best quotes are the book's; counted, and a finding when not."""
        self.log.say_quotes(*quotes)
        own = market.best()
        self.best["checked"] += 1
        if own == quotes:
            self.best["agreed"] += 1
            market.doubt = 0
            return True
        market.doubt = market.doubt or self.log.now
        two_sided = [abs(a - b) for a, b in zip(own, quotes, strict=True) if {a, b}.isdisjoint((0, ONE))]
        what = f"message says {quotes[0]}/{quotes[1]}, the book has {own[0]}/{own[1]} pips"
        self.log.find(Problem.QUOTE_MISMATCH, what, market.index, max(two_sided, default=0))
        return False

    def _best_bid_ask(self, frame: dict[str, Any]) -> None:
        market, yes = self.registry.resolve(frame["asset_id"], frame.get("market"))
        quotes = self._quotes(frame, yes)
        if quotes is None:
            raise ValueError("best_bid or best_ask is missing")
        first = self._open(market)
        if market.down:
            return
        if self._agrees(market, quotes) and market.snapshot:
            self._confirm(market)
        self._close(market, first)

    # -- the rest -------------------------------------------------------------------------------

    def _trade(self, frame: dict[str, Any]) -> None:
        market, yes = self.registry.resolve(frame["asset_id"], frame.get("market"))
        price, size, side = self._pips[frame["price"]], self._micro[frame["size"]], _side(frame["side"])
        if not yes:
            price, side = ONE - price, Side(1 - side)
        if not 0 < price < ONE or not size:
            raise ValueError(f"trade of {size} micro-shares at {price} pips")
        first = self._open(market)
        self._start_tick(market, [price])
        if price % market.tick:
            what = f"trade at {price} pips is not on the tick of {market.tick} pips"
            self.log.find(Problem.OFF_TICK, what, market.index, price)
        self.log.row(EventKind.TRADE, market.index, price, size, side)
        if self._message:
            self.files_with_trades.add(self._message.file)
        self._close(market, first)

    def _tick_size(self, frame: dict[str, Any]) -> None:
        market, _ = self.registry.resolve(frame["asset_id"], frame.get("market"))
        new, old = tick_pips(frame["new_tick_size"]), tick_pips(frame["old_tick_size"])
        first = self._open(market)
        if not market.tick:
            self._set_tick(market, old, RECORDED)
        self._set_tick(market, new, RECORDED)  # each token announces it: the second time is no change
        self._close(market, first)

    def _new_market(self, frame: dict[str, Any]) -> None:
        facts = facts_from(frame)
        if facts is None or len(facts.tokens) != 2:
            raise ValueError("names no condition with two tokens")
        self.registry.learn(facts)

    def _market_resolved(self, frame: dict[str, Any]) -> None:
        market = self.registry.markets.get(str(frame["market"]))
        winner = str(frame["winning_asset_id"])
        if market is None or market.index < 0:
            return  # sent for every market of the venue; this one is not in the recording
        if winner not in {market.yes, market.no, *map(str, frame.get("assets_ids") or ())}:
            raise UnknownToken(f"winner {winner[:12]}... is not one of the market's tokens")
        first = self._open(market)
        if not market.resolved:
            market.resolved = True
            self.log.row(EventKind.STATUS, market.index, aux=Status.RESOLVED)
            self.log.row(EventKind.RESOLUTION, market.index, ONE if winner == market.yes else 0)
        self._close(market, first)

    # -- the recorder's own words -----------------------------------------------------------------

    def _recorder(self, frame: dict[str, Any]) -> None:
        file = self._message.file if self._message else 0
        self.log.told.add(file)
        self.files_with_trades.add(file)

    def _markets(self, frame: dict[str, Any]) -> None:
        for record in frame["markets"]:
            self.registry.admit(MarketInfo(**{**record, "assumed": tuple(record["assumed"])}))

    def _named(self, frame: dict[str, Any]) -> list[Market]:
        return [self.registry.markets[condition] for condition in frame["markets"]]

    def _feed_down(self, frame: dict[str, Any]) -> None:
        for market in self._named(frame):
            market.based, market.gap, market.doubt = False, True, 0
            if not market.down and not market.resolved:
                market.down = True
                self.log.row(EventKind.FEED_DOWN, market.index)

    def _confirmed(self, frame: dict[str, Any]) -> None:
        for market in self._named(frame):
            if market.based and not market.down:
                self._confirm(market)

    # -- external prices --------------------------------------------------------------------------

    def _signals(self, frame: dict[str, Any]) -> None:
        self._signal_numbers |= {str(name): int(number) for name, number in frame["numbers"].items()}

    def _signal(self, message: Message) -> None:
        """One external price; a row when it has a number and is newer than the last one."""
        log, recv = self.log, message.recv or 0
        self.priced = False
        try:
            price = read_price(message.frame)
        except (KeyError, ValueError, TypeError) as error:
            log.note(message, RTDS, recv, recv)
            log.find(Problem.MALFORMED, f"{RTDS}: {error}"[:240])
            return
        log.note(message, RTDS, recv, price.ts if price else recv)
        number = self._signal_numbers.get(price.name) if price else None
        log.arrive(message.file, recv)
        if price is None or number is None:
            return
        last = self._signal_last.get(number, (0, 0))
        if (price.ts, price.value) == last:
            log.find(Problem.DUPLICATE, f"{RTDS}: {price.name} at the same time")
        elif price.ts < last[0]:
            log.find(Problem.VENUE_TIME_BACKWARD, f"{RTDS}: {price.name}", value=last[0] - price.ts)
        else:
            self.priced = True
            self._signal_last[number] = price.ts, price.value
            log.row(EventKind.SIGNAL, -1, size=price.value, aux=number, flags=Flag.LAST)

    def settle(self, market: Market, pays: bool, end: int, note: Message) -> None:
        """A payoff that a sidecar infers: RESOLUTION row at `end` or 1 s after the market's last row, the later one."""
        log = self.log
        now, log.now = log.now, max(end, market.last_recv + NS_PER_S)
        log.note(note, "inferred_payoff", log.now, log.now)
        log.say_market(market.index)
        log.row(EventKind.RESOLUTION, market.index, ONE if pays else 0, flags=Flag.INFERRED | Flag.LAST)
        market.resolved = True
        log.now = now
