"""From a frame of the market channel, as it leaves a socket on loopback, to an order's bytes: the whole step included.

    python -m bench.latency [FRAMES]      one JSON line: percentiles in ms
    python -m bench.latency serve N       the other process: a market channel that sends N frames

Each frame moves the touch of one market by a tick, so that `maker_tight` with every bot of the packaged settings
cancels and quotes again. The clock runs from the moment the frame is ours to the moment at which the requests of its
orders, signed and under the venue's headers, could be written to a socket: JSON, normalising, event rows, the step
with its receipts, building, signing, and the HMAC. Orders are taken off the book at once by a made-up cancel, so that
the next frame quotes afresh. The frames come one by one, 2 ms apart: this is a delay, not a throughput.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

ROOT = Path(__file__).resolve().parent.parent
FRAMES, WARM = 4_000, 400
GAP = 0.002
"""s between two frames."""
MOST_P50, MOST_P99 = 0.5, 2.0
CONDITION = "0x" + "5a" * 32
YES, NO = str(7**80), str(11**70)
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # account 0 of every local test chain

UNREAD = {"sec.wallet_funding_guard.mode": "shadow", "sec.sessionkeymanager.max_calls_per_session": "1000000"}
"""There is no wallet to read: the guard checks and is not refused for that."""
GIVES_WAY = {"exec.queuewarden.mode": "shadow"}
"""It decides and is not obeyed: in a market without trades it would give up every place in the queue."""


def _price(pips: int) -> str:
    return f"{pips / 10_000:.2f}"


def book(token: str, at: int) -> dict[str, Any]:
    """A snapshot of 40 levels a side, a spread of two ticks around 0.50."""
    bids = [{"price": _price(4_900 - 100 * k), "size": "500"} for k in range(39, -1, -1)]
    asks = [{"price": _price(5_100 + 100 * k), "size": "500"} for k in range(39, -1, -1)]
    return {
        "event_type": "book", "market": CONDITION, "asset_id": token, "timestamp": str(at), "hash": "",
        "bids": bids, "asks": asks,
    }  # fmt: skip


def change(number: int, at: int) -> dict[str, Any]:
    """`price_change`: the touch goes up a tick, or comes back down."""
    up = number % 2 == 0
    if up:
        legs = [("0.50", "500", "BUY"), ("0.51", "0", "SELL")]
        best = ("0.50", "0.52")
    else:
        legs = [("0.51", "500", "SELL"), ("0.50", "0", "BUY")]
        best = ("0.49", "0.51")
    changes = [
        {"asset_id": YES, "price": price, "size": size, "side": side, "hash": "", "best_bid": best[0],
         "best_ask": best[1]}
        for price, size, side in legs
    ]  # fmt: skip
    return {"event_type": "price_change", "market": CONDITION, "price_changes": changes, "timestamp": str(at)}


def print_of(number: int, at: int) -> dict[str, Any]:
    """`last_trade_price`."""
    return {
        "event_type": "last_trade_price", "market": CONDITION, "asset_id": YES, "price": "0.50", "size": "50",
        "side": "BUY", "fee_rate_bps": "0", "timestamp": str(at), "transaction_hash": f"0x{number:064x}",
    }  # fmt: skip


async def serve(frames: int) -> None:
    """A market channel on loopback: its port on stdout, then the book and `frames` changes to the first who asks."""
    from aiohttp import web

    done = asyncio.Event()

    async def channel(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        now = time.time_ns() // 1_000_000
        await socket.send_str(orjson.dumps([book(YES, now)]).decode())
        for number in range(frames):
            await asyncio.sleep(GAP)
            await socket.send_str(orjson.dumps(change(number, time.time_ns() // 1_000_000)).decode())
        await socket.close()
        done.set()
        return socket

    application = web.Application()
    application.router.add_get("/ws/market", channel)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await done.wait()
    await runner.cleanup()


class Trader:
    """Normaliser, step and port, as a live run has them, without a venue."""

    def __init__(self) -> None:
        from bench.ours import TOUCH_MAKER
        from polytraders.config import DEMO_BUILDER_CODE, load_settings
        from polytraders.data.markets import MarketInfo, Registry
        from polytraders.data.normalise import Normaliser
        from polytraders.data.sources import Message
        from polytraders.engine.live import Step
        from polytraders.engine.setup import new_state
        from polytraders.run.pipeline import build_pipeline
        from polytraders.units import MICRO
        from polytraders.venue.keeper import engage
        from polytraders.venue.orders import POLYGON, Credentials, Key, account
        from polytraders.venue.polymarket.port import PolymarketPort
        from polytraders.venue.visit import Address

        wanted = {name: value for name, value in TOUCH_MAKER.items() if not name.startswith(("venue.", "portfolio."))}
        settings = load_settings().with_overrides(wanted | {"portfolio.cash_pusd": "1000000", **GIVES_WAY})
        pipeline, _ = build_pipeline(settings, "strat.maker_tight")
        market = MarketInfo(
            CONDITION, "one", "one", YES, NO, tick=100, grid=100, min_size=5 * MICRO, fee_rate=0, fee_exponent=1,
            rebate_rate=0, neg_risk=False, event_id="", end_ts=0,
        )  # fmt: skip
        state = new_state([market], pipeline, cash=10**12, interval=0, sample_interval=10**9)
        self.step = Step(state, pipeline, [market])
        key = Key(KEY)
        guard = engage(
            key, account(key.address, 0, POLYGON), settings.with_overrides(UNREAD), "strat.maker_tight",
            now=time.time_ns(), chain=False,
        )  # fmt: skip
        hosts = Address("http://127.0.0.1:9", "local", "", "", "")
        self.port = PolymarketPort(
            hosts, [market], guard, Credentials("key", "c2VjcmV0", "phrase"), DEMO_BUILDER_CODE
        )  # fmt: skip
        self.key, self.message = key, Message
        self.normaliser = Normaliser(Registry([]), gap=2**62, keep=False)
        about = {"event_type": "markets", "markets": [asdict(market) | {"assumed": list(market.assumed)}]}
        self.normaliser.take(Message(0, 0, 0, time.time_ns() - 3_600 * 10**9, about, b"", own=True))
        self.bots = len(pipeline.bots)
        self.number = 0
        for seconds in (1_200, 600):  # a market that has traded: the scanner looks at one from time to time only
            recv = time.time_ns() - seconds * 10**9
            said = [book(YES, recv // 10**6), print_of(seconds, recv // 10**6)]
            _, _, submits = self.requests_of(self.rows_of(orjson.dumps(said), recv), recv)
            self.forget(submits, recv + 1)

    def rows_of(self, raw: str | bytes, recv: int) -> np.ndarray:
        """EVENT rows of a frame."""
        from polytraders.data.sources import parts_of

        self.number += 1
        for part, frame in enumerate(parts_of(orjson.loads(raw))):
            self.normaliser.take(self.message(0, self.number, part, recv, frame, b""))
        return self.normaliser.log.drain()[0]

    def requests_of(self, rows: np.ndarray, recv: int) -> tuple[int, list[tuple[bytes, dict[str, str]]], np.ndarray]:
        """(decisions, [(body, headers)], submits): what would be written to sockets now."""
        from polytraders.rows import ActionKind
        from polytraders.venue.orders import auth_headers

        made = self.step.run(rows, recv + 1)
        requests = self.port.prepare(made.actions, recv)
        bodies = [request.body for request in requests if request.body]
        ready = []
        if bodies:
            path = "/order" if len(bodies) == 1 else "/orders"
            body = bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]"
            stamp = recv // 1_000_000_000
            ready.append((body, auth_headers(self.port._credentials, self.key.address, stamp, "POST", path, body)))
        submits = made.actions[made.actions["kind"] == ActionKind.SUBMIT]
        return len(made.decisions), ready, submits.copy()

    def forget(self, submits: np.ndarray, recv: int) -> None:
        """The venue acknowledges and cancels: the next frame finds no order of ours."""
        from polytraders.reasons import Code
        from polytraders.rows import EVENT, EventKind

        rows = np.zeros(2 * len(submits), EVENT)
        rows["ts_recv"] = rows["ts_event"] = recv
        rows["aux"] = np.repeat(submits["order_id"], 2)
        rows["kind"] = np.tile([EventKind.ORDER_ACK, EventKind.CANCEL], len(submits))
        rows["size"] = np.tile([0, int(Code.EXEC_CANCELLED)], len(submits))
        if len(rows):
            self.step.run(rows)  # without Flag.LAST: nothing is decided upon it


async def trade(port: int) -> dict[str, Any]:
    """Take the frames and time each that led to orders."""
    import aiohttp

    trader = Trader()
    delays: list[int] = []
    parts: list[tuple[int, int]] = []
    frames = orders = decisions = 0
    url = f"http://127.0.0.1:{port}/ws/market"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=0) as socket:
        await socket.send_str(json.dumps({"type": "market", "assets_ids": [YES]}))
        async for message in socket:
            began = time.perf_counter_ns()
            recv = time.time_ns()
            rows = trader.rows_of(message.data, recv)
            middle = time.perf_counter_ns()
            made, ready, submits = trader.requests_of(rows, recv)
            done = time.perf_counter_ns()
            frames += 1
            decisions += made
            if ready and frames > WARM:
                delays.append(done - began)
                parts.append((middle - began, done - middle))
                orders += len(submits)
            trader.forget(submits, time.time_ns())
    if len(delays) < (frames - WARM) // 4:
        raise RuntimeError(f"only {len(delays)} of {frames} frames led to an order: this measures nothing")
    split = np.array(parts)
    return {
        "frames": frames, "measured": len(delays), "orders": orders, "decisions": decisions, "bots": trader.bots,
        **{f"p{q}_ms": float(np.percentile(delays, q)) / 1e6 for q in (50, 90, 99)},
        "max_ms": max(delays) / 1e6,
        "rows_p50_ms": float(np.median(split[:, 0])) / 1e6, "step_and_sign_p50_ms": float(np.median(split[:, 1])) / 1e6,
    }  # fmt: skip


def main(frames: int = FRAMES) -> dict[str, Any]:
    """Both processes; percentiles."""
    command = [sys.executable, "-m", "bench.latency", "serve", str(frames + WARM)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert server.stdout is not None
        return asyncio.run(trade(int(server.stdout.readline())))
    finally:
        server.terminate()
        server.wait(timeout=10)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    else:
        print(json.dumps(main(int(sys.argv[1]) if sys.argv[1:] else FRAMES)))
