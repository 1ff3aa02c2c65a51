"""Ports: four of them on loopback, for the CLOB with its sockets, Gamma, Data and the switches."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from polytraders.errors import UsageError
from polytraders.venue.local import admin, history, indexes, notices, rest, rewards
from polytraders.venue.local.venue import LocalVenue

HOST = "127.0.0.1"
ROLES = ("rest", "gamma", "data", "admin")
MAX_BODY = 4 << 20


def _listen(port: int) -> socket.socket:
    """A listening socket on a port of loopback, 0 = a free one. Raises UsageError when it is taken."""
    try:
        return socket.create_server((HOST, port), backlog=512)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {HOST}:{port}: {error.strerror}",
            where="--port",
            rule=f"the venue needs {len(ROLES)} ports in a row",
            mend="take another one, or 0 for free ones",
        ) from None


def _applications(venue: LocalVenue) -> dict[str, web.Application]:
    routes = {
        "rest": [
            *rest.public_routes(venue),
            *rest.trading_routes(venue),
            *notices.notice_routes(venue.desk, venue.clock),
            *rewards.reward_routes(venue.exchange, venue.desk, venue.clock),
            *history.history_routes(venue.exchange),
            web.get("/ws/market", venue.streams.serve_market),
            web.get("/ws/user", venue.streams.serve_user),
        ],
        "gamma": indexes.gamma_routes(venue.exchange),
        "data": [*indexes.data_routes(venue.exchange), *history.data_history_routes(venue.exchange)],
        "admin": admin.admin_routes(venue),
    }
    applications = {}
    for role in ROLES:
        middleware = rest.guard(venue) if role != "admin" else rest.plain
        applications[role] = web.Application(middlewares=[middleware], client_max_size=MAX_BODY)
        applications[role].add_routes(routes[role])
    return applications


@contextlib.asynccontextmanager
async def running(venue: LocalVenue, port: int = 0) -> AsyncIterator[dict[str, str]]:
    """Serve a venue; yields its URLs by role. port: the first of four, 0 = free ones."""
    sockets = {role: _listen(port + number if port else 0) for number, role in enumerate(ROLES)}
    runners = []
    pump = asyncio.create_task(venue.pump())
    try:
        for role, application in _applications(venue).items():
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            await web.SockSite(runner, sockets[role]).start()
            runners.append(runner)
        at = {role: f"{HOST}:{made.getsockname()[1]}" for role, made in sockets.items()}
        yield {
            "rest": f"http://{at['rest']}",
            "market_ws": f"ws://{at['rest']}/ws/market",
            "user_ws": f"ws://{at['rest']}/ws/user",
            "gamma": f"http://{at['gamma']}",
            "data": f"http://{at['data']}",
            "geoblock": f"http://{at['rest']}/api/geoblock",
            "admin": f"http://{at['admin']}",
        }
    finally:
        pump.cancel()
        for listener in venue.streams.market | venue.streams.user:
            listener.put(None)
        for runner in runners:
            await runner.cleanup()
        for made in sockets.values():
            made.close()
        with contextlib.suppress(asyncio.CancelledError):
            await pump


async def serve(make: Callable[[], LocalVenue], port: int, ready: Callable[[dict[str, str]], None]) -> None:
    """Serve until SIGTERM or SIGINT. make: builds the venue; ready: told the URLs once they answer."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with running(make(), port) as urls:
        ready(urls)
        await stop.wait()
