"""A backtest as a run: the step through the simulated venue on a session, everything logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ulid import ULID

from polytraders import units
from polytraders.engine.backtest import Simulation, VenueModel, simulate
from polytraders.engine.latency import ENTRY, RESPONSE, Latency, log_normal, recorded
from polytraders.engine.setup import Pipeline
from polytraders.engine.state import decided
from polytraders.errors import ConfigError
from polytraders.run.listing import vet
from polytraders.run.pipeline import build_pipeline
from polytraders.store.log import LogWriter, RecordKind, Ticket
from polytraders.store.manifest import make_manifest
from polytraders.store.runs import runs_root

if TYPE_CHECKING:
    from polytraders.config import Settings
    from polytraders.data.catalog import Session
    from polytraders.rows import Gate

STRATEGY = "strat.maker_tight"
_KINDS = {
    "events": RecordKind.EVENTS,
    "decisions": RecordKind.DECISIONS,
    "actions": RecordKind.ACTIONS,
    "samples": RecordKind.SAMPLES,
}


class LogSink:
    """Hands the step's rows to a run log."""

    def __init__(self, log: LogWriter):
        self.log = log

    def put(self, kind: str, rows: np.ndarray) -> Ticket:
        return self.log.append(_KINDS[kind], rows)

    def put_made(self, kind: str, make: Callable[[], np.ndarray]) -> Ticket:
        return self.log.append_made(_KINDS[kind], make)


@dataclass(frozen=True)
class RunResult:
    """A finished run: its id, its folder (None without a log) and its summary."""

    run_id: str
    folder: Path | None
    summary: dict[str, Any]


def venue_model(settings: Settings) -> VenueModel:
    """The simulated venue the settings describe."""
    s = settings.venue.simulated
    entry, response = _latencies(settings)
    return VenueModel(
        entry_latency=entry,
        response_latency=response,
        queue_model=s.queue_model,
        queue_power=int(s.queue_power),
        trade_share=s.trade_share_ppm,
        partial_fills=s.partial_fills,
        fees=s.fees,
        redemption_delay=s.redemption_delay_ns,
        liquidity=s.liquidity,
        taker_delay=s.taker_delay,
        settlement_delay=s.settlement_delay_ns,
        ghost_rate=s.ghost_fill_ppm,
        ghost_seed=s.ghost_seed,
        print_lag=s.print_lag_ns,
    )


def engine_options(settings: Settings) -> dict[str, Any]:
    """What the settings say of the account and the decision clock: micro-pUSD and ns, as `simulate` takes them."""
    return {
        "cash": settings.portfolio.cash_micro,
        "interval": settings.engine.decide_interval_ns,
        "sample_interval": settings.engine.sample_interval_ns,
        "rejudge": settings.engine.rejudge_interval_ns,
        "full_panel": settings.engine.full_panel,
        "merge_least": settings.engine.merge_least_micro,
    } | ({"exits": terms} if (terms := settings.exits.terms()) else {})


def gate_options(settings: Settings, gate: Gate) -> dict[str, Any]:
    """More of them for a run behind a gate: what `new_state` takes beside `engine_options`. ns and pips."""
    engine = settings.engine
    return {
        "gate": int(gate),
        "intent_ttl": engine.intent_ttl_s * units.NS_PER_S,
        "approval_ttl": engine.approval_ttl_s * units.NS_PER_S,
        "tolerance": engine.approval_tolerance_bps,
    }


def _latencies(settings: Settings) -> tuple[int | Latency, int | Latency]:
    """Entry and response latency of the model in force. Raises ConfigError, DataError for a file that is none."""
    s = settings.venue.simulated
    if s.latency_model == "constant":
        return s.entry_latency_ns, s.response_latency_ns
    if s.latency_model == "lognormal":
        return (
            log_normal(s.entry_latency_ns, float(s.entry_sigma), s.latency_seed),
            log_normal(s.response_latency_ns, float(s.response_sigma), s.latency_seed + 1),
        )
    if not s.latency_file:
        raise ConfigError(
            "the recorded latency model has no file",
            where=f"{settings.source} [venue.simulated] latency_file",
            rule="latency_model = recorded needs latency_file",
            mend="name a Parquet, CSV or npy file with columns entry_ns and response_ns",
        )
    return recorded(s.latency_file, ENTRY), recorded(s.latency_file, RESPONSE)


def new_run_id() -> str:
    """A fresh run id: `r_` and a ULID, sortable by time."""
    return f"r_{ULID()}"


def run_backtest(
    session: Session,
    settings: Settings,
    *,
    strategy: str = STRATEGY,
    run_dir: Path | None = None,
    run_id: str | None = None,
    log: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Backtest one strategy on a session.

    Parameters
    ----------
    run_dir: folder of the run; default `runs_root()/run_id`. It must not hold a run yet.
    log: False leaves nothing on disk (sweeps); the summary is the same.
    progress: called with (events done, events in all).

    Raises ConfigError, DataError or UsageError before anything is written.
    """
    pipeline, bots = build_pipeline(settings, strategy)
    markets = vet(session.markets, settings)
    run_id = run_id or new_run_id()
    venue = venue_model(settings)
    options = engine_options(settings)
    run = {"venue": venue, "progress": progress, "name": session.name, **options}
    if not log:
        simulation = simulate(session.events, markets, pipeline, **run)
        return RunResult(run_id, None, summarise(simulation, pipeline))
    folder = run_dir or runs_root() / run_id
    manifest = make_manifest(
        run_id=run_id,
        strategy=pipeline.of("strat")[0].bot.id,
        config=settings.as_dict(),
        config_hash=settings.hash,
        builder_code=settings.run.builder_code,
        markets=markets,
        bots=bots,
        pins=session.pin,
        notes=session.notes,
        models=venue.names(),
        engine=options,
        quality=session.quality,
        rules=[*session.rules],
        created_ns=time.time_ns(),
    )
    # Event payloads are a copy of pinned data and of what follows from it: their CRC32C stands in the chain.
    with LogWriter(folder, manifest, seal_events=False) as writer:
        if "scope" in session.pin:
            from polytraders.run.scope import keep  # the desk's store behind it, and only a cluster's run needs it

            keep(folder, manifest)
        simulation = simulate(session.events, markets, pipeline, sink=LogSink(writer), **run)
        writer.flush()
        summary = summarise(simulation, pipeline)
        summary["log_hash"] = writer.close(summary)
    return RunResult(run_id, folder, summary)


def summarise(simulation: Simulation, pipeline: Pipeline) -> dict[str, Any]:
    """What a run came to: counts, money in decimal text, the rolling hash and decisions of each bot."""
    state = simulation.state
    clock, account, counts = state.clock[0], state.account[0], decided(state)
    money = {
        name: units.money_text(account[name])
        for name in (
            *("deposits", "cash", "reserved", "unsettled", "cost"),
            *("marked", "realised", "fees", "rebates", "receivable", "equity"),
        )
    }
    return {
        "events": simulation.events,
        "evaluations": int(clock.evaluations),
        "decisions": int(counts.sum()),
        "intents": int(clock.intents),
        "orders": int(account.submits),
        "acks": int(account.acks),
        "rejects": int(account.rejects),
        "cancels": int(account.cancels),
        "fills": int(account.fills),
        "fees": money["fees"],
        "rebates": money["rebates"],
        "pnl": units.money_text(account.equity - account.deposits),
        "account": money,
        "halted": int(account.halted),
        "open_orders": int(account.open_orders),
        "unsettled_fills": int(clock.n_unsettled),
        "seconds": round(simulation.seconds, 6),
        "events_per_second": round(simulation.rate),
        "bots": {
            bot_id: {"decisions": int(count), "hash": f"{int(own) & (1 << 64) - 1:016x}"}
            for bot_id, count, own in zip(pipeline.ids, counts, state.bots["hash"], strict=True)
        },
    }
