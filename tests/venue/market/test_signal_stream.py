"""External prices over a socket like the venue's: rows, losses, and the recording that gives the same rows."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import numpy as np
import orjson
import pytest
from websockets.asyncio.server import serve as listen

from polytraders.data.catalog import Catalog
from polytraders.data.importer import import_files
from polytraders.data.record import Recorder
from polytraders.errors import UsageError
from polytraders.rows import EVENT, EventKind, Flag
from polytraders.venue.polymarket.hosts import Environment
from polytraders.venue.polymarket.signals import Patience, SignalStream

NAMES = {"crypto_prices_chainlink/btc/usd": 1, "crypto_prices/ethusdt": 2}
T0 = 1_790_000_000_000


def price(topic, symbol, ms, value, exact=None):
    payload = {"symbol": symbol, "timestamp": ms, "value": value}
    if exact is not None:
        payload["full_accuracy_value"] = exact
    return {"topic": topic, "type": "update", "timestamp": ms + 900, "connection_id": "x", "payload": payload}


def btc(ms, dollars):
    return price("crypto_prices_chainlink", "btc/usd", T0 + ms, float(dollars), str(int(dollars * 10**6) * 10**12))


@contextlib.asynccontextmanager
async def rtds(scripts):
    """A server: the n-th connection of a topic is told the n-th script of that topic; None in it hangs up."""
    seen = {topic: 0 for topic in scripts}

    async def talk(socket):
        wanted = orjson.loads(await socket.recv())
        assert wanted["action"] == "subscribe"
        (one,) = wanted["subscriptions"]
        assert one == {"topic": one["topic"], "type": "update"}
        told = scripts[one["topic"]]
        script = told[min(seen[one["topic"]], len(told) - 1)]
        seen[one["topic"]] += 1
        for frame in script:
            if frame is None:
                return
            await socket.send(frame if isinstance(frame, str) else orjson.dumps(frame).decode())
        async for said in socket:
            if said == "PING":
                await socket.send("PONG")

    async with listen(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Environment("local", *("http://127.0.0.1:9",) * 5, rtds=f"ws://127.0.0.1:{port}"), seen


QUICK = Patience(ping=0.05, silent=0.4, backoff=0.02)


def follow(scripts, enough, **options):
    parts = []

    async def work():
        async with rtds(scripts) as (env, seen):
            stream = SignalStream(env, NAMES, lambda news: parts.append(news.rows), **{"patience": QUICK, **options})
            async with stream:
                for _ in range(2_000):
                    if sum(map(len, parts)) >= enough(seen):
                        break
                    await asyncio.sleep(0.02)
                return stream, stream.health(), dict(seen)

    stream, health, seen = asyncio.run(asyncio.wait_for(work(), 200))
    return stream, health, seen, np.concatenate([np.empty(0, EVENT), *parts])


def test_prices_become_rows_and_repeated_and_older_ones_do_not():
    scripts = {
        "crypto_prices_chainlink": [
            [
                "",
                {"connected": True},
                btc(0, 110_941.221874),
                price("crypto_prices_chainlink", "eth/usd", T0, 3930.64),  # nobody asked for it
                btc(0, 110_941.221874),
                btc(1000, 110_950),
                btc(500, 110_940),
                "not json",
                {"topic": "crypto_prices_chainlink", "type": "update", "payload": {"symbol": "btc/usd"}},
                btc(2000, 110_951.5),
            ]
        ],
        "crypto_prices": [[price("crypto_prices", "ethusdt", T0 + 7, 3929.01, "3929.01000000")]],
    }
    stream, _, _, rows = follow(scripts, lambda seen: 4)
    by_number = {n: rows[rows["aux"] == n] for n in (1, 2)}
    assert by_number[1]["size"].tolist() == [110_941_221_874, 110_950_000_000, 110_951_500_000]
    assert by_number[1]["ts_event"].tolist() == [(T0 + ms) * 10**6 for ms in (0, 1000, 2000)]
    assert by_number[2]["size"].tolist() == [3_929_010_000]
    assert set(rows["kind"]) == {EventKind.SIGNAL} and set(rows["market"]) == {-1}
    assert (rows["flags"] == Flag.LAST).all()
    counts = stream.counts
    assert (counts["duplicate"], counts["venue_time_backward"]) == (1, 1)
    assert (counts["malformed"], counts["unreadable"], counts["prices"]) == (1, 1, 4)


def test_a_connection_that_ends_or_says_nothing_new_is_made_again():
    scripts = {
        "crypto_prices_chainlink": [[btc(0, 1), None], [btc(0, 1)], [btc(1000, 2)]],  # cut; silent but for PONG; well
        "crypto_prices": [[price("crypto_prices", "ethusdt", T0, 5.0)]],
    }
    stream, _, seen, rows = follow(scripts, lambda seen: 3)
    assert sorted(rows["size"].tolist()) == [10**6, 2 * 10**6, 5 * 10**6]
    assert seen["crypto_prices_chainlink"] >= 3
    assert stream.counts["INTEL_FEED_SILENT"] >= 1
    assert stream.counts["connections_lost"] >= 2


def test_recorded_prices_give_the_rows_that_were_seen(tmp_path):
    scripts = {
        "crypto_prices_chainlink": [["", btc(0, 110_941.221874), btc(1000, 110_950), "odd"]],
        "crypto_prices": [[price("crypto_prices", "ethusdt", T0 + 7, 3929.01, "3929.01000000")]],
    }
    with Recorder(tmp_path / "prices", {}) as recorder:
        _, health, _, live = follow(scripts, lambda seen: 3, tap=recorder, patience=replace(QUICK, silent=60))
    assert all(state["up"] for state in health.values())
    import_files([tmp_path / "prices"], root=tmp_path / "catalog")
    events = Catalog(tmp_path / "catalog").load("prices").events
    for field in ("ts_recv", "ts_event", "size", "aux", "market", "kind", "flags"):
        assert events[field].tolist() == live[field].tolist(), field


def test_what_cannot_be_followed_is_refused_at_once():
    env = Environment("local", *("http://x",) * 5, rtds="ws://x")
    with pytest.raises(UsageError, match="no external prices"):
        SignalStream(replace(env, rtds=""), NAMES, print)
    with pytest.raises(UsageError, match="no signal"):
        SignalStream(env, {"comments/x": 1}, print)
    with pytest.raises(UsageError, match="same number"):
        SignalStream(env, dict.fromkeys(NAMES, 1), print)
