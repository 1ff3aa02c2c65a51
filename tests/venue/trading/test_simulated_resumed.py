"""A simulated venue that is taken up by another process goes on as if there had been one process."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from bench import stream
from bench.ours import session
from polytraders.engine.backtest import VenueModel
from polytraders.engine.latency import log_normal
from polytraders.errors import DamageError
from polytraders.rows import ACTION, EVENT, POST_ONLY, ActionKind, EventKind, Side
from polytraders.units import MICRO, NS_PER_MS
from polytraders.venue.port import Known, Request
from polytraders.venue.refusal import Refused
from polytraders.venue.simulated import SimulatedPort

MARKETS, CASH = 2, 5_000 * MICRO
MODELS = {
    "plain": VenueModel(entry_latency=2 * NS_PER_MS, response_latency=2 * NS_PER_MS),
    "settled": VenueModel(
        entry_latency=log_normal(3 * NS_PER_MS, 0.5, 1), response_latency=NS_PER_MS, settlement_delay=400 * NS_PER_MS,
        ghost_rate=200_000, ghost_seed=3,
    ),
    "at once": VenueModel(entry_latency=0, response_latency=0),
}  # fmt: skip


class Life:
    """One process's venue: a port with its clock, what the run's log would have of it, and what it told."""

    def __init__(self, model: VenueModel):
        self.now, self.told, self.batches = 0, [], []
        self.infos = session(np.zeros(0, EVENT), MARKETS, "resumed").markets
        self.model, self.heard, self.seq = model, [], 0
        self.port = SimulatedPort(self.infos, CASH, model, clock=lambda: self.now)
        self.port._emit, self.port._started = self.hear, 1  # the task that lets time pass is the test

    def hear(self, news: Any) -> None:
        self.told += [(row.tobytes(), key) for row, key in zip(news.rows, news.keys, strict=True)]
        self.heard += [(row.copy(), key) for row, key in zip(news.rows, news.keys, strict=True)]

    def batch(self, rows: np.ndarray) -> None:
        """One turn of a runner: rows of the feed and what the venue told since, with the journal in one note."""
        own, self.heard = self.heard, []
        joined = np.concatenate([rows, np.array([row for row, _ in own], rows.dtype)]) if own else rows.copy()
        joined["ts_recv"] = self.now
        joined["seq"] = np.arange(self.seq + 1, self.seq + 1 + len(joined))
        keys = [[self.seq + 1 + len(rows) + at, key] for at, (_, key) in enumerate(own)]
        self.seq += len(joined)
        self.port.observe(joined)
        self.batches.append((joined, {"keys": keys, "venue": self.port.journal()}))

    def resumed(self, frozen: Any, batches: list[Any]) -> Life:
        """Another process."""
        other = Life(self.model)
        other.now, other.seq = self.now, self.seq
        other.port._started = 0
        other.port.take_up(frozen, batches)
        return other

    def start(self, known: Any = ()) -> None:
        asyncio.run(self._start(known))

    async def _start(self, known: Any) -> None:
        await self.port.start(self.hear, known)
        await self.port.stop()


def acting(life: Life, draw: random.Random, number: int, piece: np.ndarray) -> np.ndarray:
    """A submit that rests where somebody quotes or takes what is there, or a cancel of one that may rest."""
    action = np.zeros(1, ACTION)
    action["market"], action["order_id"], action["ts"] = number % MARKETS, number, life.now
    if number > 10 and draw.random() < 0.3:
        action["kind"], action["order_id"] = ActionKind.CANCEL, draw.randint(max(1, number - 10), number - 1)
        action["market"] = int(action["order_id"][0]) % MARKETS
        return action
    action["kind"], action["size"] = ActionKind.SUBMIT, draw.randint(5, 60) * MICRO
    bids = piece["price"][
        (piece["side"] == Side.BUY) & (piece["market"] == action["market"]) & (piece["kind"] == EventKind.CHANGE)
    ]
    if draw.random() < 0.6 and len(bids):
        action["side"], action["price"], action["flags"] = Side.BUY, draw.choice(bids.tolist()), POST_ONLY
    elif draw.random() < 0.6:
        action["side"], action["price"] = Side.BUY, 10_000 - stream.TICK
    else:
        action["side"], action["price"] = Side.SELL, stream.TICK
    return action


def live(life: Life, rows: np.ndarray, turns: range, seed: int, every: int = 40) -> None:
    """Some turns: the tape goes on, orders are sent, time passes between. Each turn draws from a seed of its own."""
    for turn in turns:
        draw = random.Random(seed * 100_003 + turn)
        piece = rows[turn * every : (turn + 1) * every]
        life.now += draw.randint(1, 30) * NS_PER_MS
        life.batch(piece)
        if turn > 3 and draw.random() < 0.8:
            action = acting(life, draw, turn, piece)
            asyncio.run(life.port.send([Request(action[0].copy(), f"paper-{int(action[0]['order_id'])}")]))
        life.now += draw.randint(0, 20) * NS_PER_MS
        life.port._advance()


def state_of(life: Life) -> dict[str, bytes]:
    life.port._advance()  # what can be heard by now is heard: it changes no more than that
    life.port.journal()
    return {**life.port.freeze().arrays, "books": repr(life.port.freeze().books).encode()}


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return stream.many_markets(MARKETS, 8_000)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("snapshot", "cut"), [(None, 30), (25, 25), (60, 130), (110, 150)])
def test_a_venue_taken_up_is_the_one_that_was_left(rows: np.ndarray, model: str, snapshot: int | None, cut: int):
    """Until `cut` one process, from there on both: the old one, and a new one that only has snapshot and log."""
    first, frozen, since = Life(MODELS[model]), None, 0
    if snapshot is not None:
        live(first, rows, range(snapshot), seed=5)
        first.batch(rows[:0])
        frozen, since = first.port.freeze(), len(first.batches)
    live(first, rows, range(snapshot or 0, cut), seed=5)
    first.batch(rows[:0])
    second = first.resumed(frozen, first.batches[since:])
    assert state_of(second) == state_of(first)
    waiting = list(first.heard)
    second.start()
    assert second.told == [(row.tobytes(), key) for row, key in waiting], "what the log had not heard yet"
    first.told.clear()
    second.told.clear()
    live(first, rows, range(cut, 190), seed=5)
    live(second, rows, range(cut, 190), seed=5)
    first.batch(rows[:0])
    second.batch(rows[:0])
    assert first.told
    assert second.told == first.told
    before, after = state_of(first), state_of(second)
    assert after == before
    fills = [key for _, key in first.told if ":" in key]
    assert fills, "a story without fills proves nothing"


def test_what_the_journal_does_not_have_yet_happens_again(rows: np.ndarray):
    """Killed after an order was sent and before anything of it was on the disk: it is sent again, once."""
    life = Life(MODELS["plain"])
    live(life, rows, range(20), seed=9)
    life.batch(rows[:0])
    written = list(life.batches)
    action = np.zeros(1, ACTION)
    action["kind"], action["order_id"], action["size"], action["flags"] = ActionKind.SUBMIT, 900, 5 * MICRO, POST_ONLY
    action["price"] = 1_000
    over = action.copy()
    over["order_id"] = 901
    known = [Known(action[0], "paper-900", 0), Known(over[0], "paper-901", 0, over=True)]
    asyncio.run(life.port.send([Request(action[0], "paper-900")]))
    other = life.resumed(None, written)
    other.start(known)
    other.now += 50 * NS_PER_MS
    other.port._advance()
    assert [o.key for o in asyncio.run(other.port.open_orders())].count("paper-900") == 1
    assert "paper-901" not in [o.key for o in asyncio.run(other.port.open_orders())]
    assert [key for row, key in other.told].count("paper-900") == 1, "one ack"
    other.batch(rows[:0])
    third = other.resumed(None, written + other.batches)
    third.start(known)
    third.now += 50 * NS_PER_MS
    third.port._advance()
    assert [o.key for o in asyncio.run(third.port.open_orders())].count("paper-900") == 1


def test_nothing_is_told_twice(rows: np.ndarray):
    """Every answer is in the log of exactly one life, wherever the first was cut."""
    life = Life(MODELS["settled"])
    live(life, rows, range(120), seed=2)
    for cut in (10, 50, 90, len(life.batches)):
        logged = life.batches[:cut]
        heard = [
            (int(row["kind"]), key)
            for batch, note in logged
            for seq, key in note["keys"]
            for row in batch[batch["seq"] == seq]
        ]
        other = life.resumed(None, logged)
        other.start()
        told = [(int(np.frombuffer(row, life.batches[0][0].dtype)[0]["kind"]), key) for row, key in other.told]
        assert not set(told) & set(heard)
        assert len(set(told)) == len(told)


def test_another_venues_snapshot_is_refused(rows: np.ndarray):
    life = Life(MODELS["plain"])
    live(life, rows, range(5), seed=1)
    life.batch(rows[:0])
    frozen = life.port.freeze()
    other = SimulatedPort(life.infos[:1], CASH, MODELS["plain"])
    with pytest.raises(DamageError, match="other markets or models"):
        other.take_up(frozen, [])
    fresh = SimulatedPort(life.infos, CASH, MODELS["plain"])
    with pytest.raises(Refused, match="ended with it"):
        asyncio.run(fresh.start(lambda news: None, [Known(np.zeros(1, ACTION)[0], "paper-1", 0)]))
