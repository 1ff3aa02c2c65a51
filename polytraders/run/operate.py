"""A run from the outside: begin it or take it over, connect it, work until it is told to stop, and say what came of it.

shadow   live data, no venue, no key: everything is decided and nothing sent
paper    live data, orders at the simulated venue
live     live data, orders at the venue; with dry_run everything but the sending
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytraders.config import home
from polytraders.contracts import Actor
from polytraders.errors import UsageError
from polytraders.run import guarding, refresh
from polytraders.run.binding import Bound, bind, rebind, unbind
from polytraders.run.flatten import Flatten
from polytraders.run.launch import Launched, begin, resume
from polytraders.run.listing import vet
from polytraders.run.live import Options, Runner
from polytraders.run.lock import Lock
from polytraders.run.own import OwnOrders
from polytraders.run.pipeline import CLEARING, asks_clearance
from polytraders.run.venues import MarketData, environment, find_markets, live_port
from polytraders.store.desk import open_desk
from polytraders.units import NS_PER_S

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.store.sql import Database
    from polytraders.venue.polymarket.hosts import Environment
    from polytraders.venue.port import VenuePort


@dataclass(frozen=True)
class Order:
    """What a person asks for at the command line."""

    mode: str
    strategy: str
    venue: str
    urls: str = ""
    slugs: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    limit: int = 10
    confirm: str | None = None
    seconds: float = 0.0  # stop after so long, 0 = when told
    pins: dict[str, Any] | None = None
    who: str = "operator"  # the person, for the audit of a launch


def confirmation(settings: Settings) -> str:
    """What a person types before anything is sent."""
    return f"TRADE LIVE {settings.portfolio.id}"


def confirm(settings: Settings, typed: str | None) -> None:
    """Make sure that a person wants orders to be sent. Raises UsageError."""
    wanted = confirmation(settings)
    if typed is None and sys.stdin.isatty():
        print(f"This run sends orders with real money. Type {wanted!r} to go on:", file=sys.stderr)
        typed = sys.stdin.readline().strip()
    if typed != wanted:
        raise UsageError(
            "live trading was not confirmed",
            where="--confirm",
            rule=f"the words {wanted!r}, typed by a person",
            mend=f'--confirm "{wanted}", or leave dry_run = true in [live]',
        )


def refuse_uncleared(launched: Launched) -> None:
    """A run that sends must have been begun with a gate that asks for a clearance. Raises UsageError."""
    if not asks_clearance(launched.pipeline):
        raise UsageError(
            f"{launched.run_id} was begun without asking whether its wallet may trade",
            where=f"{launched.folder.name}/manifest.json",
            rule=f"a run that sends orders has {CLEARING} with clearance_required",
            mend="begin a new run",
        )


def operate(settings: Settings, order: Order, *, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Begin a run and work until SIGTERM, SIGINT or the time is over; the summary. tell: called once it works."""
    if order.mode == "live" and not settings.live.dry_run:
        guarding.refuse_unguarded(order.venue)
        confirm(settings, order.confirm)
    env = environment(order.venue, order.urls)

    async def whole() -> dict[str, Any]:
        infos = vet(await find_markets(env, order.slugs, order.events, order.limit), settings)
        actor = Actor(kind="operator", id=order.who)
        with contextlib.ExitStack() as undo:
            desk = undo.enter_context(open_desk())
            bound = bind(desk, settings, order.strategy, order.mode, infos, actor)
            undo.callback(unbind, desk, bound, actor, "it did not begin")
            launched = begin(
                bound.settings,
                mode=order.mode,
                strategy=order.strategy,
                infos=infos,
                venue={"shadow": "none", "paper": "simulated", "live": env.name}[order.mode],
                models=_models(settings, order.mode),
                pins={"venue": env.name, "recording": f"live data of {env.name}", **(order.pins or {})},
                notes=_notes(settings, order.mode, env),
                desk=bound.as_dict(),
            )
            undo.pop_all()
        return await _work(launched, desk, bound, env, order.seconds, tell)

    return asyncio.run(whole())


def go_on(
    folder: Path, settings: Settings, urls: str, *, confirmed: str | None, seconds: float,
    tell: Callable[[dict[str, Any]], None], who: str = "operator",
) -> dict[str, Any]:  # fmt: skip
    """Take a run over that was stopped or cut off, as `operate`. settings: those the run was begun with."""
    launched = resume(folder)
    try:
        if launched.manifest["run_mode"] == "live" and not settings.live.dry_run:
            guarding.refuse_unguarded(launched.manifest["pins"]["venue"])
            refuse_uncleared(launched)
            confirm(settings, confirmed)
        env = environment(launched.manifest["pins"]["venue"], urls)
        with contextlib.ExitStack() as undo:
            desk = undo.enter_context(open_desk())
            bound = rebind(desk, bound_of(launched, settings), launched.step.infos, Actor(kind="operator", id=who))
            undo.pop_all()
    except BaseException:
        launched.writer.close({"flushed": False})
        launched.lock.release()
        raise
    return asyncio.run(_work(launched, desk, bound, env, seconds, tell))


def bound_of(launched: Launched, settings: Settings) -> Bound:
    """What bounded a run when it began, from its manifest."""
    said = launched.manifest.get("desk") or {}
    return Bound(
        settings, said.get("launch_id", ""), strategy_id=launched.manifest["strategy"],
        limits=said.get("limits", {}), strategy=said.get("strategy", {}),
    )  # fmt: skip


def _models(settings: Settings, mode: str) -> dict[str, Any]:
    from polytraders.run.backtest import venue_model

    return venue_model(settings).names() if mode == "paper" else {"orders": "sent" if mode == "live" else "none"}


def _notes(settings: Settings, mode: str, env: Environment) -> list[str]:
    return {
        "shadow": [f"Shadow: live data of {env.name}; every decision is made and none is carried out."],
        "paper": [f"Paper: live data of {env.name}, fills of the simulated venue."],
        "live": [
            f"Live at {env.name}" + (", dry: orders are decided and recorded, and not sent." if settings.live.dry_run
            else ".")
        ],
    }[mode]  # fmt: skip


def port_of(launched: Launched, settings: Settings, env: Environment) -> VenuePort | None:
    """The port a run's mode needs; None for shadow and dry runs, which hold no key."""
    mode, infos = launched.manifest["run_mode"], launched.step.infos
    if mode == "paper":
        from polytraders.run.backtest import venue_model
        from polytraders.venue.simulated import SimulatedPort

        port = SimulatedPort(infos, launched.manifest["engine"]["cash"], venue_model(settings))
        if (kept := launched.resident) is not None:
            port.take_up(kept.frozen, kept.batches)
        return port
    if mode == "live" and not settings.live.dry_run:
        return live_port(env, infos, settings, launched.manifest["strategy"])
    return None


async def _work(
    launched: Launched,
    desk: Database,
    bound: Bound,
    env: Environment,
    seconds: float,
    tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    from polytraders.run.claims import Claims, redeemer_of
    from polytraders.run.control import Control

    port = account = control = None
    ended, settings = "failed", bound.settings
    try:
        port = port_of(launched, settings, env)
        if port is not None and port.name != "simulated":
            account = Lock(home() / "locks" / f"{env.name}-{port.account.maker}.lock", "the account")
        redeemer = redeemer_of(env, port, settings)
        data = MarketData(env, launched.step.infos, claims=redeemer is not None)
        runner = Runner(
            launched.folder, launched.pipeline, launched.step, launched.writer, port, {"market data": data},
            orders=launched.orders, notes=launched.notes, session=launched.session,
            options=options_of(settings, launched.manifest["run_mode"]),
        )  # fmt: skip
        runner.feed_health = data.health
        refresh.attach(runner, env, launched.step.infos, settings)
        if account is not None:
            guarding.attach(runner, port, settings)
            if env.shows_own:
                runner.own = OwnOrders(runner.orders, launched.step.state)
        if settings.flatten.enabled and port is not None:
            runner.add_task("flatten", Flatten(runner, settings).watch)
        control = Control(desk, launched, settings, bound)
        control.begin()
        control.attach(runner)
        if redeemer is not None:
            Claims(control, redeemer).attach(runner)
        summary = await work(runner, launched, seconds, tell)
        ended = "stopped"
        return summary
    finally:
        if control is not None:
            control.close(ended)
        else:
            unbind(desk, bound, Actor(kind="system", id=launched.run_id), "its run did not begin")
            desk.close()
        if account is not None:
            account.release()
        launched.lock.release()


def options_of(settings: Settings, mode: str) -> Options:
    """The runner's options as [live] has them; a paper run sends to the simulated venue, dry or not."""
    live = settings.live
    return Options(
        sends=mode == "paper" or not live.dry_run,
        snapshot_events=live.snapshot_events,
        snapshot_every=live.snapshot_s * NS_PER_S,
        reconcile_every=live.reconcile_s * NS_PER_S,
        stop_timeout=live.stop_s * NS_PER_S,
    )


async def work(
    runner: Runner,
    launched: Launched,
    seconds: float,
    tell: Callable[[dict[str, Any]], None],
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> dict[str, Any]:
    """Run until a signal or the time is over; the summary with id and folder."""
    loop = asyncio.get_running_loop()
    for name in signals:
        loop.add_signal_handler(name, runner.stop)
    if seconds:
        loop.call_later(seconds, runner.stop)
    tell(
        {
            "run_id": launched.run_id,
            "folder": str(launched.folder),
            "mode": launched.manifest["run_mode"],
            "markets": [info.slug for info in launched.step.infos],
            **launched.session,
        }
    )
    summary = await runner.run()
    return {"run_id": launched.run_id, "folder": str(launched.folder), **summary}
