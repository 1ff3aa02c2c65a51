"""Over random message streams: rows replay to the books, mirrored streams give the same rows, clocks never run back."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import NO, NS, T0, YES, Wire

from polytraders.data.checks import Replay
from polytraders.data.markets import Facts, Registry, describe
from polytraders.data.normalise import Normaliser
from polytraders.data.sources import Message
from polytraders.rows import Flag
from polytraders.units import ONE, price_text, size_text

GOOD = {
    "book": Wire().book({"0.47": "3"}, {"0.5": "2"}, tick_size="0.01", hash="h", last_trade_price="0.5"),
    "changes": Wire().change(
        Wire.leg("0.46", "3", "BUY", best_bid="0.48", best_ask="0.5"), Wire.leg("0.54", "3", "SELL", NO)
    ),
    "trade": Wire().trade("0.5", "3", "BUY"),
    "tick": Wire().tick("0.01", "0.001"),
    "best": Wire().best("0.48", "0.5"),
    "resolved": Wire().resolved(YES),
    "new": {"event_type": "new_market", "market": Wire.condition, "clob_token_ids": [YES, NO], "timestamp": str(T0)},
}
OTHERS = {"price", "size", "side", "best_bid", "fee_schedule", "rate", "exponent", "end_ts", "events", "t", "c"}
FIELDS = sorted({name for frame in GOOD.values() for name in frame} | OTHERS)

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

CENTS = st.integers(1, 99)
SIZES = st.integers(1, 500).map(lambda n: n * 10_000)
BOOKS = st.tuples(
    st.dictionaries(st.integers(1, 49), SIZES, max_size=6), st.dictionaries(st.integers(50, 99), SIZES, max_size=6)
)
LEGS = st.lists(st.tuples(CENTS, st.one_of(st.just(0), SIZES), st.booleans()), min_size=1, max_size=4)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.tuples(st.just("book"), BOOKS), st.tuples(st.just("change"), LEGS)),
        st.integers(-50, 9_000),  # ms since the previous message was received: jitter, and silences beyond the limit
        st.booleans(),  # told in the NO token
    ),
    max_size=12,
)


def _tell(wire: Wire, what: tuple[str, Any], no: bool) -> dict[str, Any]:
    """One step as a message about the YES or the NO token."""
    token = NO if no else YES

    def price(cents: int) -> str:
        return price_text((100 - cents if no else cents) * 100)

    kind, content = what
    if kind == "book":
        bids, asks = ({price(c): size_text(s) for c, s in side.items()} for side in content)
        return wire.book(*((asks, bids) if no else (bids, asks)), token)
    legs = [wire.leg(price(c), size_text(s), "BUY" if buy != no else "SELL", token) for c, s, buy in content]
    return wire.change(*legs)


def _take(steps: list[Any], mirrored: bool = False) -> Normaliser:
    wire, clock = Wire(), T0
    facts = Facts(Wire.condition, tokens=(YES, NO))
    normaliser = Normaliser(Registry([facts]), gap=5_000 * NS)
    for number, (what, later, no) in enumerate(steps):
        clock += later
        normaliser.take(Message(0, number + 1, 0, clock * NS, _tell(wire, what, no != mirrored), b""))
    return normaliser


def _expected(steps: list[Any]) -> list[tuple[dict[int, int], dict[int, int]]]:
    """The book after each message, by the plainest possible bookkeeping."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    books = []
    for (kind, content), _, _ in steps:
        if kind == "book":
            bids, asks = ({c * 100: s for c, s in side.items()} for side in content)
        else:
            for cents, size, buy in content:
                side = bids if buy else asks
                side.pop(cents * 100, None)
                if size:
                    side[cents * 100] = size
        books.append((dict(bids), dict(asks)))
    return books


@QUICK
@given(STEPS)
def test_replaying_the_rows_gives_the_book_after_every_message(steps):
    events = _take(steps).log.events()
    replay = Replay()
    for number, book in enumerate(_expected(steps)):
        for row in events[events["ref"] == number][["kind", "market", "side", "price", "size"]].tolist():
            replay.apply(row)
        assert replay.books.get(0, ({}, {})) == book


@QUICK
@given(STEPS)
def test_a_stream_told_in_the_other_token_gives_the_same_rows(steps):
    assert _take(steps).log.events().tolist() == _take(steps, mirrored=True).log.events().tolist()


@QUICK
@given(STEPS)
def test_rows_keep_the_order_of_arrival_and_every_message_ends_once(steps):
    normaliser = _take(steps)
    events = normaliser.log.events()
    clock = 0
    for row in events:
        assert row["ts_recv"] >= clock
        clock = row["ts_recv"]
    told = [message for message in range(len(steps)) if (events["ref"] == message).any()]
    assert told == list(range(len(steps)))  # a message that changes nothing still has its row
    last = events[events["flags"] & Flag.LAST != 0]
    assert last["ref"].tolist() == told
    assert normaliser.log.messages["ts_recv"] == _received(steps)


def _received(steps: list[Any]) -> list[int]:
    clock, times = T0, []
    for _, later, _ in steps:
        clock += later
        times.append(clock * NS)
    return times


@QUICK
@given(BOOKS, BOOKS)
def test_prices_of_the_mirrored_book_add_up_to_one(first, second):
    yes, no = (_take([(("book", book), 1, told) for book in (first, second)]).log.events() for told in (False, True))
    assert yes.tolist() == no.tolist()
    assert all(0 < price < ONE for price in yes["price"][yes["kind"] != 1].tolist())


# -- anything else that may stand in a field -------------------------------------------------------

JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.sampled_from(["", "0", "1", "-1", "1e30", "1e999999", "NaN", "Infinity", "0.5", "0x", "BUY", "book", YES]),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)),
    max_leaves=4,
)


@QUICK
@given(st.sampled_from(sorted(GOOD)), st.sampled_from(FIELDS), JUNK, st.booleans())
def test_whatever_stands_in_a_field_the_import_goes_on_and_the_books_stay_whole(kind, field, junk, nested):
    normaliser = Normaliser(Registry([]), gap=5_000 * NS)
    wire = Wire()
    first = wire.book({"0.48": "1"}, {"0.5": "1"})
    broken = orjson.loads(orjson.dumps(GOOD[kind]))
    inner = [value[0] for value in broken.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    (inner[0] if nested and inner else broken)[field] = junk
    last = wire.change(wire.leg("0.47", "2", "BUY")) | {"timestamp": str(T0 + 50)}
    for number, frame in enumerate((broken, first, broken, last) if kind == "new" else (first, broken, last)):
        normaliser.take(Message(0, number + 1, 0, (T0 + number) * NS, frame, b""))
    for market in normaliser.registry.table:
        info, _ = describe(market)
        for value in (getattr(info, name) for name in info.__slots__):
            assert isinstance(value, (str, tuple)) or -(2**63) <= value < 2**63
    events = normaliser.log.events()
    replay = Replay()
    for row in events[["kind", "market", "side", "price", "size"]].tolist():
        replay.apply(row)
    for bids, asks in replay.books.values():
        assert all(0 < price < ONE and size > 0 for side in (bids, asks) for price, size in side.items())
    ends = events[events["flags"] & Flag.LAST != 0]["ref"].tolist()
    assert len(ends) == len(set(ends)) == len(set(events["ref"].tolist()))
    assert events["ref"][-1] == len(normaliser.log.messages["kind"]) - 1  # the good message after it was applied
