"""The runner: one story, on the disk before it is on the wire, and told again by a replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_port import FakePort

from polytraders.config import load_settings
from polytraders.data.markets import MarketInfo
from polytraders.errors import DataError, UsageError
from polytraders.reasons import Code
from polytraders.rows import EventKind, Flag, Gate, Side
from polytraders.run.launch import Launched, begin, resume
from polytraders.run.live import Options, Runner, rows_of
from polytraders.run.replay import replay
from polytraders.run.snapshot import read_snapshot, snapshots
from polytraders.store.log import RecordKind, read_log, verify_log
from polytraders.venue.port import Request
from polytraders.venue.refusal import Refused

SHARE = 1_000_000


def market(number: int = 0, **more: Any) -> MarketInfo:
    fields = {
        "condition_id": f"0x{number:064x}", "slug": f"m{number}", "question": "?", "yes_token": f"{2 * number + 1}",
        "no_token": f"{2 * number + 2}", "tick": 100, "grid": 100, "min_size": 5 * SHARE, "fee_rate": 0,
        "fee_exponent": 1, "rebate_rate": 0, "neg_risk": False, "event_id": "", "end_ts": 0, **more,
    }  # fmt: skip
    return MarketInfo(**fields)


def settings(**more: str) -> Any:
    return load_settings().with_overrides({"engine.decide_interval_ms": "20", **more})


def launch(folder: Path, mode: str = "live", markets: int = 1, **more: str) -> Launched:
    return begin(
        settings(**more), mode=mode, strategy="strat.maker_tight", infos=[market(i) for i in range(markets)],
        venue="fake", folder=folder, engine={"gate": int(Gate.OPEN)} if mode == "live" else None,
    )  # fmt: skip


SOON = {"risk.market_halt_detector.mode": "shadow"}
"""Else a market that was down is left alone for half a minute, and nothing is quoted after a resume."""


def book(number: int = 0, bid: int = 4_900, ask: int = 5_100) -> np.ndarray:
    """A whole book of one market, three levels a side."""
    level = {"kind": EventKind.LEVEL, "market": number, "flags": Flag.SNAPSHOT}
    return rows_of(
        {"kind": EventKind.BOOK_CLEAR, "market": number, "flags": Flag.SNAPSHOT},
        *({**level, "price": bid - 100 * i, "size": 500 * SHARE, "side": Side.BUY} for i in range(3)),
        *({**level, "price": ask + 100 * i, "size": 500 * SHARE, "side": Side.SELL} for i in range(3)),
    )


def runner(launched: Launched, port: FakePort | None, **more: Any) -> Runner:
    return Runner(
        launched.folder, launched.pipeline, launched.step, launched.writer, port, more.pop("feeds", {}),
        orders=launched.orders, notes=launched.notes, session=launched.session, **more,
    )  # fmt: skip


async def until(true: Callable[[], Any], what: str, seconds: float = 30) -> None:
    for _ in range(int(seconds / 0.01)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain: {what}")


def play(launched: Launched, port: FakePort | None, story: Callable[[Runner], Awaitable[None]], **more: Any) -> Any:
    """Run, tell the story, stop; the runner and its summary."""

    async def whole() -> Any:
        made = runner(launched, port, **more)
        work = asyncio.create_task(made.run())
        try:
            await asyncio.wait_for(story(made), 60)
        finally:
            made.stop()
            summary = await asyncio.wait_for(work, 60)
            launched.lock.release()
        return made, summary

    return asyncio.run(whole())


async def keep_feeding(made: Runner) -> None:
    """A feed: the same book again and again, so that it never gets old."""
    made.put("feed", rows_of({"kind": EventKind.FEED_UP}))
    for number in range(len(made.step.infos)):  # what nobody trades is not quoted
        made.put("feed", rows_of({"kind": EventKind.TRADE, "market": number, "price": 5_000, "size": 5_000 * SHARE}))
    while True:
        for number in range(len(made.step.infos)):
            made.put("feed", book(number))
        await asyncio.sleep(0.05)


FEED = {"feeds": {"feed": keep_feeding}}


def test_it_quotes_on_the_venue_and_a_replay_tells_the_same_story(tmp_path: Path):
    port = FakePort()

    async def story(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")
        key = next(iter(port.book))
        port.fill(key, 5 * SHARE)
        await until(lambda: made.step.state.account[0]["fills"] == 1, "the fill is booked")

    _made, summary = play(launch(tmp_path / "r"), port, story, **FEED)
    assert summary["fills"] == 1
    assert not port.book, "what rested is cancelled"
    assert summary["orphans"] == []
    assert verify_log(tmp_path / "r").ok
    assert verify_log(tmp_path / "r").closed
    told = replay(tmp_path / "r")
    assert told.ok, told.first_mismatch
    assert told.counts["actions"] >= 2


def test_what_was_sent_is_in_the_log_with_its_name(tmp_path: Path):
    port = FakePort()

    async def story(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")

    play(launch(tmp_path / "r"), port, story, **FEED)
    log = read_log(tmp_path / "r")
    named = dict(pair for note in log.notes() for pair in note.get("orders", ()))
    sent = [key for kind, key in port.wire if kind == "SUBMIT"]
    assert sent
    assert set(sent) <= set(named.values())


def test_nothing_is_sent_before_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At each send, the log's file already holds the order's name."""
    port, seen = FakePort(), []
    send = port.send

    async def looking(requests: Any) -> None:
        written = b"".join(p.read_bytes() for p in sorted((tmp_path / "r").glob("segment-*.log")))
        seen.extend(r.key.encode() in written for r in requests if r.action["kind"] == 1)
        await send(requests)

    port.send = looking  # type: ignore[method-assign]

    async def story(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")

    play(launch(tmp_path / "r"), port, story, **FEED)
    assert seen
    assert all(seen)


def test_a_halt_denies_what_waits_and_cancels_until_nothing_rests(tmp_path: Path):
    port = FakePort(refuse_cancels=5)

    async def story(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")
        made.arm("a drill")
        before = [key for kind, key in port.wire if kind == "SUBMIT"]
        await until(lambda: made.swept is not None, "the venue lists nothing")
        assert made.swept["asked"] > 1
        assert made.halted
        assert not port.book
        await asyncio.sleep(0.2)
        assert [key for kind, key in port.wire if kind == "SUBMIT"] == before, "nothing is sent after the trip"

    _made, summary = play(launch(tmp_path / "r"), port, story, **FEED)
    assert port.refuse_cancels == 0
    assert summary["orphans"] == []
    assert replay(tmp_path / "r").ok


def test_a_submit_that_is_durable_but_not_sent_when_trading_halts_is_denied(tmp_path: Path):
    port = FakePort(delay=0.15)

    async def story(made: Runner) -> None:
        await until(lambda: made.outbox.waiting or made.outbox._busy["submits"], "a submit is under way")
        made.arm("a drill")
        await until(lambda: made.swept is not None, "the venue lists nothing")

    _made, summary = play(launch(tmp_path / "r", markets=3), port, story, **FEED)
    sent = sum(kind == "SUBMIT" for kind, _ in port.wire)
    log = read_log(tmp_path / "r").events()
    denied = (log["kind"] == EventKind.CANCEL) & (log["size"] == Code.EXEC_NOT_SENT_HALTED)
    assert summary["orders"] == sent + denied.sum()
    assert not port.book
    assert replay(tmp_path / "r").ok


def test_rows_that_cannot_be_taken_in_are_left_out_and_told(tmp_path: Path):
    port = FakePort()

    async def story(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")
        made.put("feed", rows_of({"kind": EventKind.CHANGE, "market": 7, "price": 4_000, "size": 1}))
        await until(lambda: made.dropped, "the row is left out")
        await until(lambda: made.incidents, "and told")

    made, _ = play(launch(tmp_path / "r"), port, story, **FEED)
    assert "7" in made.incidents[0]["error"]
    assert replay(tmp_path / "r").ok


def test_a_feed_that_fails_is_down_until_it_comes_back(tmp_path: Path):
    port, begun = FakePort(), []

    async def failing(made: Runner) -> None:
        begun.append(1)
        if len(begun) == 1:
            await asyncio.wait_for(keep_feeding(made), 0.6)
        await keep_feeding(made)

    async def story(made: Runner) -> None:
        await until(lambda: len(begun) > 1, "the feed begins again")
        await until(lambda: made.step.state.markets[0]["feed_up"], "it is up again")

    made, _ = play(launch(tmp_path / "r"), port, story, feeds={"feed": failing})
    downs = [row for row in read_log(tmp_path / "r").events() if row["kind"] == EventKind.FEED_DOWN]
    assert len(downs) >= 3, "at the begin, when the feed failed, at the end"
    assert any("feed ended" in incident["what"] for incident in made.incidents)
    assert replay(tmp_path / "r").ok


def test_shadow_sends_nothing(tmp_path: Path):
    async def story(made: Runner) -> None:
        await until(lambda: made.step.state.clock[0]["evaluations"] > 5, "it decides")

    _made, summary = play(launch(tmp_path / "r", mode="shadow"), None, story, **FEED)
    assert summary["orders"] == 0
    assert summary["decisions"] > 0
    assert replay(tmp_path / "r").ok


def test_a_stopped_run_goes_on_with_the_same_books(tmp_path: Path):
    port = FakePort()

    async def first(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")
        port.fill(next(iter(port.book)), 5 * SHARE)
        await until(lambda: made.step.state.account[0]["fills"] == 1, "the fill is booked")

    made, summary = play(launch(tmp_path / "r", **SOON), port, first, **FEED)
    before = made.step.state.positions.tobytes()
    again = resume(tmp_path / "r")
    assert again.session["taken_over"]
    assert again.session["replayed"] == 0, "the snapshot of the end has it all"
    assert again.step.state.positions.tobytes() == before
    assert again.session["fence"] == 2
    assert (tmp_path / "r" / "summary.json").exists() is False

    async def second(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest again")

    _, later = play(again, port, second, **FEED)
    assert later["events"] > summary["events"]
    assert later["fills"] == 1
    told = replay(tmp_path / "r")
    assert told.ok, told.first_mismatch
    assert verify_log(tmp_path / "r").ok


def test_what_a_start_that_failed_has_told_is_not_told_again(tmp_path: Path):
    """Taken over, the venue tells of a fill and then does not answer: asked again, it knows that the fill is booked."""
    port = FakePort()

    async def first(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")

    play(launch(tmp_path / "r"), port, first, **FEED)
    again = resume(tmp_path / "r")
    sent = next(iter(again.orders.by_id.values()))
    known: list[Any] = []

    class Unsteady(FakePort):
        async def start(self, emit: Any, given: Any = ()) -> None:
            known.append(given)
            await super().start(emit, given)
            if len(known) == 1:
                row = {"price": int(sent.action["price"]), "size": 5 * SHARE}
                self.tell(EventKind.FILL_CONFIRMED, sent.action, "t:1", **row)
                raise Refused("EXEC_VENUE_UNREACHABLE", "it does not answer", where="start")

    async def second(made: Runner) -> None:
        await until(lambda: made.ready_ms, "it works")

    play(again, Unsteady(), second)
    assert len(known) == 2
    told = {one.key: one.trades for one in known[1]}
    assert told[sent.key] == ("t:1",)


def test_what_was_refused_here_and_not_said_before_the_end_is_said_by_the_next_process(tmp_path: Path):
    """A process decides, refuses to sign, and is killed before the refusal is in the log: no venue has that order."""

    class Mute(FakePort):
        def prepare(self, actions: np.ndarray, now: int) -> list[Request]:
            return [Request(one.action, "", refused="SEC_FUNDING") for one in super().prepare(actions, now)]

        async def send(self, requests: Any) -> None:
            given.extend(requests)

    given: list[Request] = []

    async def first(made: Runner) -> None:
        await until(lambda: len(given) >= 2, "orders are handed over that nobody sends")

    made, _ = play(launch(tmp_path / "r", **SOON), Mute(), first, **FEED, options=Options(stop_timeout=10**8))
    stuck = made.orders.open()
    assert len(stuck) >= 2
    again = resume(tmp_path / "r")
    assert again.orders.open() == stuck

    port = FakePort()

    async def second(made: Runner) -> None:
        await until(lambda: not set(stuck) & set(made.orders.open()), "they are over")
        await until(lambda: len(port.book) >= 2, "quotes rest")

    _, summary = play(again, port, second, **FEED)
    assert summary["orphans"] == []
    assert not set(stuck) & {int(a["order_id"]) for a, _ in port.book.values()}
    rows = read_log(tmp_path / "r").events()
    ended = rows[rows["kind"] == EventKind.ORDER_REJECT]
    assert set(ended["aux"]) == set(stuck)
    assert set(ended["size"]) == {int(Code.EXEC_NOT_SENT_UNPREPARED)}
    assert replay(tmp_path / "r").ok


def test_a_snapshot_is_of_one_moment_whenever_it_is_written(tmp_path: Path):
    """The disk is slow, and an order fills between the moment and the writing: what is taken up must not have half of
    the fill, for the log tells it again."""
    port, waiting = FakePort(), []

    async def story(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")
        key = next(iter(port.book))
        number = int(port.book[key][0]["order_id"])
        made._snapshots.submit = lambda *work: waiting.append(work)  # type: ignore[method-assign,assignment,return-value]
        made._snapshot_if_due(now=True)
        await until(lambda: waiting, "the log is so far")
        port.fill(key, int(port.book[key][0]["size"]))
        await until(lambda: made.orders.by_id[number].ended, "it is filled")
        ((write, *parts),) = waiting
        write(*parts)
        found = read_snapshot(snapshots(tmp_path / "r")[0])
        assert found is not None
        assert {n: (filled, trades, ended) for n, _, _, filled, trades, ended, _ in found.books["orders"]}[number] == (
            0, {}, 0,
        )  # fmt: skip
        waiting.clear()
        del made._snapshots.submit

    play(launch(tmp_path / "r"), port, story, **FEED)


@pytest.mark.parametrize(("mode", "least"), [("live", 0), ("paper", 5 * SHARE)])
def test_a_live_step_leaves_complete_sets_to_the_chain(tmp_path: Path, mode: str, least: int):
    held = launch(tmp_path / "r", mode, **{"engine.merge_shares": "5"})
    assert held.step.state.clock[0]["merge_least"] == least
    held.writer.close({})
    held.lock.release()


def test_two_processes_cannot_write_one_run(tmp_path: Path):
    held = launch(tmp_path / "r")
    with pytest.raises(UsageError, match="in use"):
        resume(tmp_path / "r")
    held.writer.close({})
    held.lock.release()


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.93, 1.0])
@pytest.mark.parametrize("snapshots", [True, False])
def test_a_run_that_was_cut_off_is_taken_over_from_its_log(tmp_path: Path, keep: float, snapshots: bool):
    """Cut the log anywhere: what is taken over is what a replay of the whole batches before the cut gives."""
    port = FakePort()

    async def first(made: Runner) -> None:
        await until(lambda: len(port.book) >= 2, "quotes rest")
        port.fill(next(iter(port.book)), 5 * SHARE)
        await until(lambda: made.step.state.account[0]["fills"] == 1, "the fill is booked")
        await asyncio.sleep(0.3)

    options = Options(snapshot_events=20 if snapshots else 10**9, snapshot_every=10**18)
    play(launch(tmp_path / "r"), port, first, options=options, **FEED)
    (tmp_path / "r" / "summary.json").unlink()
    segment = tmp_path / "r" / "segment-000000.log"
    whole = segment.read_bytes()
    segment.write_bytes(whole[: int(len(whole) * keep)])
    again = resume(tmp_path / "r")
    events = read_log(tmp_path / "r").events()
    assert again.step.seq == len(events)
    again.writer.close({"flushed": False})
    again.lock.release()
    told = replay(tmp_path / "r")
    assert told.parity == 1.0, told.first_mismatch
    torn = list((tmp_path / "r").glob("torn-*.bin"))
    assert segment.read_bytes() + b"".join(p.read_bytes() for p in torn) == whole[: int(len(whole) * keep)]
    if keep == 1.0:
        assert len(again.orders.by_id) == len({k for kind, k in port.wire if kind == "SUBMIT"})
    assert {RecordKind.EVENTS} <= {kind for kind, _ in read_log(tmp_path / "r").records()}
    with pytest.raises((DataError, UsageError)):
        again.writer.append(RecordKind.EVENTS, np.zeros(1, events.dtype))
