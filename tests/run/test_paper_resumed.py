"""A paper run that was killed goes on with the orders that rested at its venue."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_live_runner import FEED, market, play, settings, until

from polytraders.engine.backtest import VenueModel
from polytraders.run.launch import Launched, begin, resume
from polytraders.run.live import Options, Runner
from polytraders.run.replay import replay
from polytraders.store.log import verify_log
from polytraders.units import NS_PER_MS
from polytraders.venue.simulated import SimulatedPort

MODEL = VenueModel(entry_latency=NS_PER_MS, response_latency=NS_PER_MS)


def port_of(launched: Launched) -> SimulatedPort:
    port = SimulatedPort(launched.step.infos, launched.manifest["engine"]["cash"], MODEL)
    if launched.resident is not None:
        port.take_up(launched.resident.frozen, launched.resident.batches)
    return port


async def resting(port: SimulatedPort) -> dict[str, tuple[int, int, int]]:
    return {o.key: (o.price, o.size, o.filled) for o in await port.open_orders()}


@pytest.mark.parametrize("snapshots", [True, False])
def test_what_rests_at_the_simulated_venue_survives_a_kill(tmp_path: Path, snapshots: bool):
    first = begin(
        settings(), mode="paper", strategy="strat.maker_tight", infos=[market(0)], venue="simulated",
        folder=tmp_path / "r",
    )  # fmt: skip
    port = port_of(first)
    found: dict[str, Any] = {}

    async def until_killed(made: Runner) -> None:
        for _ in range(3_000):
            await asyncio.sleep(0.01)
            written = not snapshots or list((tmp_path / "r").glob("snapshot-*.snap"))
            if written and len(rest := await resting(port)) >= 2 and made.step.state.account[0]["open_orders"] >= 2:
                break
        made._decide([])  # one turn more, as any would be
        made.writer.sync()
        shutil.copytree(tmp_path / "r", tmp_path / "killed")  # what a kill leaves: the files of this moment
        found["rest"], found["cash"] = rest, (await port.balances()).cash

    options = Options(snapshot_events=30 if snapshots else 10**9, snapshot_every=10**18)
    play(first, port, until_killed, options=options, **FEED)
    assert len(found["rest"]) >= 2

    again = resume(tmp_path / "killed")
    assert again.session["taken_over"]
    assert (again.session["snapshot"] > 0) == snapshots
    taken = port_of(again)
    assert asyncio.run(resting(taken)) == found["rest"]
    assert asyncio.run(taken.balances()).cash == found["cash"]

    async def on(made: Runner) -> None:
        seen = int(made.step.state.clock[0]["evaluations"])
        await until(lambda: made.step.state.clock[0]["evaluations"] > seen + 3, "it decides again")

    made, summary = play(again, taken, on, options=options, **FEED)
    assert summary["orphans"] == []
    assert asyncio.run(resting(taken)) == {}
    assert asyncio.run(taken.balances()).cash == int(made.step.state.account[0]["cash"])
    assert verify_log(tmp_path / "killed").ok
    told = replay(tmp_path / "killed")
    assert told.ok, told.first_mismatch
