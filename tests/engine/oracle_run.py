"""Run a backtest in this process's mode and print what it came to as JSON: for the comparison of JIT with plain Python.

Usage: oracle_run.py RECORDING_HOME RECORDING ROWS INTERVAL_MS
"""

import hashlib
import json
import sys
from dataclasses import replace

from polytraders.config import load_settings
from polytraders.data.catalog import Catalog
from polytraders.engine.backtest import Collected, simulate
from polytraders.engine.jit import JIT
from polytraders.run.backtest import venue_model
from polytraders.run.pipeline import build_pipeline


def main(root: str, name: str, rows: int, interval_ms: int) -> dict:
    settings = load_settings().with_overrides({"engine.decide_interval_ms": str(interval_ms)})
    session = Catalog(root).load(name)
    session = replace(session, events=session.events[:rows])
    pipeline, _ = build_pipeline(settings, "strat.maker_tight")
    sink = Collected()
    sim = simulate(
        session.events, session.markets, pipeline, cash=settings.portfolio.cash_micro,
        interval=settings.engine.decide_interval_ns, rejudge=settings.engine.rejudge_interval_ns,
        venue=venue_model(settings), sink=sink,
    )  # fmt: skip
    account = sim.state.account[0]
    return {
        "jit": JIT,
        "rows": {k: [len(sink.rows(k)), hashlib.sha256(sink.rows(k).tobytes()).hexdigest()] for k in sink.parts},
        "hashes": sim.state.bots["hash"].tolist(),
        "ledger": {k: account[k].tolist() for k in account.dtype.names},
        "venue": {k: int(sim.venue.account[0][k]) for k in ("cash", "reserved", "cost", "realised", "fees")},
        "positions": hashlib.sha256(sim.state.positions.tobytes()).hexdigest(),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
