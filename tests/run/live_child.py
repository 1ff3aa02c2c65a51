"""A live run in a process of its own, to be killed: `python live_child.py JSON`.

JSON: urls of the local venue, folder, slugs, seconds (0 = until SIGTERM), settings (overrides), feed (false: no market
data, so that nothing opens), resume, desk (true: with people, at the desk of POLYTRADERS_HOME). Prints one line of JSON
when it works and one when it has ended in order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from polytraders.config import load_settings
from polytraders.rows import Gate
from polytraders.run import guarding
from polytraders.run.control import Control
from polytraders.run.launch import begin, resume
from polytraders.run.live import Options, Runner
from polytraders.run.operate import work
from polytraders.run.own import OwnOrders
from polytraders.run.venues import MarketData, environment, find_markets, live_port
from polytraders.store.desk import open_desk
from polytraders.units import MICRO

DEFAULTS = {
    "engine.decide_interval_ms": "20",
    "live.dry_run": "false",
    "strat.maker_tight.join_touch": "true",
    "strat.maker_tight.max_inventory_shares": "400",
    "strat.maker_tight.ladder_levels": "3",
    "strat.maker_tight.min_volume_24h_usd": "1",
    "disc.marketscanner.min_volume_24h_usd": "1",
    "risk.killswitch.mode": "shadow",
    "risk.ratelimitgovernor.orders_per_hour": "144000",
    "risk.ratelimitgovernor.market_orders_per_hour": "144000",
    "exec.exchangestatusmonitor.mode": "shadow",  # a venue that fails on purpose is never well
    "risk.market_halt_detector.mode": "shadow",  # it would keep out of every market for seconds after each begin
}


async def idle(runner: Runner) -> None:
    """No market data at all."""
    await asyncio.Event().wait()


async def settled(runner: Runner, env: Any, port: Any) -> dict[str, Any]:
    """What the step and the venue hold, once nothing is on its way any more."""
    state = runner.step.state
    for _ in range(600):
        if not state.clock[0]["n_unsettled"] and not runner.orders.open():
            break
        await asyncio.sleep(0.05)
    await port.reconcile()
    await asyncio.sleep(0.2)
    said = await port.balances()
    account, positions = state.account[0], state.positions
    ours = {
        f"{m}:{o}": int(positions[m][name]) for m in range(len(positions)) for o, name in ((0, "yes"), (1, "no"))
        if positions[m][name]
    }  # fmt: skip
    return {
        "cash": int(account["cash"] + account["reserved"] + account["unsettled"]),
        "venue_cash": said.cash,
        "shares": ours,
        "venue_shares": {f"{m}:{o}": size for (m, o), size in said.shares.items()},
        "unsettled": int(state.clock[0]["n_unsettled"]),
        "open": [order.key for order in await port.open_orders()],
        "open_in_step": int(account["open_orders"]),
        "fills": int(account["fills"]),
        "submits": int(account["submits"]),
    }


async def main(told: dict[str, Any]) -> None:
    folder = Path(told["folder"])
    settings = load_settings().with_overrides({**DEFAULTS, **told.get("settings", {})})
    env = environment("local", json.dumps(told["urls"]))
    if told.get("resume"):
        launched = resume(folder)
    else:
        infos = await find_markets(env, told.get("slugs", ()), (), 20)
        launched = begin(
            settings, mode="live", strategy="strat.maker_tight", infos=infos, venue="local", folder=folder,
            pins={"venue": "local"}, engine={"gate": int(Gate.OPEN)},
        )  # fmt: skip
    infos = launched.step.infos
    port = live_port(
        env, infos, settings, "strat.maker_tight", absent_after=2.0, reconcile_every=1.0, timeout=2.0, tier="elite"
    )
    feeds = {"market data": MarketData(env, infos) if told.get("feed", True) else idle}
    options = Options(snapshot_events=told.get("snapshot_events", 500), snapshot_every=10**18)
    runner = Runner(
        folder, launched.pipeline, launched.step, launched.writer, port, feeds, orders=launched.orders,
        notes=launched.notes, session=launched.session, options=options,
    )  # fmt: skip
    runner.own = OwnOrders(runner.orders, launched.step.state)
    final: dict[str, Any] = {}

    async def ready() -> None:
        while not runner.ready_ms:
            await asyncio.sleep(0.005)
        print(json.dumps({"ready_ms": runner.ready_ms}), flush=True)
        await asyncio.Event().wait()

    runner.add_task("ready", ready)
    guarding.attach(runner, port, settings)
    control = None
    if told.get("desk"):
        control = Control(open_desk(), launched, settings)
        control.begin()
        control.attach(runner)
    if not told.get("feed", True):

        async def look() -> None:
            final.update(await settled(runner, env, port))
            runner.stop()
            await asyncio.Event().wait()

        runner.add_task("look", look)

    def tell(said: dict[str, Any]) -> None:
        found = {"recovery_ms": said.get("recovery_ms", 0), "open": len(runner.orders.open())}
        print(json.dumps({"pid": os.getpid(), **found}), flush=True)

    summary = await work(runner, launched, told.get("seconds", 0), tell)
    if control is not None:
        control.close("stopped")
    keep = ("orders", "fills", "orphans", "incidents", "events", "halted")
    print(json.dumps({"summary": {k: summary[k] for k in keep}, "ready_ms": runner.ready_ms, **final}), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    assert MICRO
    asyncio.run(main(json.loads(sys.argv[1])))
