"""`make soak`: what holds for every run, over many made-up sessions and settings drawn from a seed.

`POLYTRADERS_SOAK=first:last` chooses the seeds, e.g. 1000:2000 for a night; a failing seed is its own reproduction.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from polytraders.config import load_settings
from polytraders.data.catalog import Catalog
from polytraders.data.checks import check
from polytraders.data.importer import import_files
from polytraders.data.synth import synthesise
from polytraders.run.backtest import run_backtest
from polytraders.run.replay import replay
from polytraders.store.log import verify_log

FIRST, LAST = map(int, os.environ.get("POLYTRADERS_SOAK", "0:60").split(":"))
SETTINGS = Path(__file__).parents[2] / "settings.ini"


def overrides(draw: random.Random) -> dict[str, str]:
    """Settings of one run: the engine's pace, the venue's models and the purse."""
    return {
        "engine.decide_interval_ms": draw.choice(["0", "1", "100", "1000", "60000"]),
        "engine.full_panel": draw.choice(["true", "false"]),
        "portfolio.cash_pusd": draw.choice(["20", "1000", "100000.000001"]),
        "venue.simulated.queue_model": draw.choice(["risk_averse", "power_prob"]),
        "venue.simulated.queue_power": str(draw.randint(1, 5)),
        "venue.simulated.partial_fills": draw.choice(["true", "false"]),
        "venue.simulated.entry_latency_ms": str(draw.choice([0, 1, 50, 2_000])),
        "venue.simulated.response_latency_ms": str(draw.choice([0, 1, 50, 2_000])),
        "venue.simulated.fees": draw.choice(["true", "false"]),
        "venue.simulated.latency_model": draw.choice(["constant", "lognormal"]),
        "venue.simulated.trade_share": draw.choice(["0", "0.3"]),
        "venue.simulated.liquidity": draw.choice(["consumed", "recorded"]),
        "venue.simulated.settlement_delay_ms": str(draw.choice([0, 0, 3_000])),
        "venue.simulated.ghost_fill_ppm": str(draw.choice([0, 0, 50_000])),
    }


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_a_made_up_session_imports_whole_trades_balances_and_replays(seed: int, tmp_path: Path):
    draw = random.Random(seed)
    minutes, markets = draw.randint(5, 60), draw.randint(4, 20)
    recording, *_ = synthesise(tmp_path / "synthetic", seed, minutes, markets)
    import_files([recording], "soak", root=tmp_path / "catalog")
    verdict = check("soak", root=tmp_path / "catalog")
    assert verdict.ok, verdict.problems

    settings = load_settings(SETTINGS).with_overrides(overrides(draw))
    session = Catalog(tmp_path / "catalog").load("soak")
    run = run_backtest(
        session, settings, run_dir=tmp_path / "r_soak", run_id="r_soak"
    )  # raises when it does not balance
    assert run.summary["decisions"] > 0
    assert verify_log(run.folder).ok
    again = replay(run.folder)
    assert again.ok, again.first_mismatch
