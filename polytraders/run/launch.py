"""From settings to a run that can begin, and from a run's folder to one that can go on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytraders.engine.live import Step
from polytraders.engine.setup import MarketLike, Pipeline
from polytraders.errors import UsageError
from polytraders.rows import Gate
from polytraders.run import flatten
from polytraders.run.backtest import engine_options, gate_options, new_run_id
from polytraders.run.lock import Lock
from polytraders.run.orders import Orders
from polytraders.run.pipeline import build_pipeline
from polytraders.run.recover import Resident, fresh_step, take_over
from polytraders.store.log import QUEUE_BATCHES, LogWriter, reopen
from polytraders.store.manifest import make_manifest
from polytraders.store.runs import runs_root

if TYPE_CHECKING:
    from polytraders.config import Settings

MODES = ("shadow", "paper", "live")
GATES = {"shadow": Gate.DRY, "paper": Gate.OPEN, "live": Gate.APPROVAL}
"""What stands between a planned order and the wire."""
LOCK = "writer.lock"


LEFT: dict[str, dict[str, int]] = {"shadow": {}, "paper": {}, "live": {"merge_least": 0}}
"""Options of `new_state` that a mode fixes. No order book merges complete sets, the chain does, on a person's word
(`polytraders chain merge`): a live step that asked for it would be refused and ask again, for ever."""


@dataclass
class Launched:
    """A run whose log is open and whose lock is held; `session` is what the log says of this process."""

    folder: Path
    manifest: dict[str, Any]
    pipeline: Pipeline
    step: Step
    writer: LogWriter
    orders: Orders
    notes: dict[str, Any]
    lock: Lock
    session: dict[str, Any]
    resident: Resident | None = None  # what to rebuild a simulated venue from

    @property
    def run_id(self) -> str:
        return self.manifest["run_id"]


def begin(
    settings: Settings,
    *,
    mode: str,
    strategy: str,
    infos: Sequence[MarketLike],
    venue: str,
    models: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    run_id: str | None = None,
    pins: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    engine: Mapping[str, Any] | None = None,
    **more: Any,
) -> Launched:
    """Begin a run: manifest, empty log, fresh step.

    mode: shadow | paper | live. infos: the markets, `market` of a row is an index into them. venue: simulated | local
    | polymarket | none. models: names of the simulated venue's models (paper). engine: options of `new_state` beyond
    those of the settings. more: kept in the manifest.
    Raises ConfigError or UsageError before anything is written.
    """
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}", rule="one of " + ", ".join(MODES))
    flatten.check(settings)
    if not infos:
        raise UsageError("the run has no markets", rule="at least one market", mend="name some with --market")
    sends = mode == "live" and not settings.live.dry_run
    pipeline, bots = build_pipeline(settings, strategy, run_mode=mode, wallet=sends)
    run_id = run_id or new_run_id()
    folder = folder or runs_root() / run_id
    manifest = make_manifest(
        run_id=run_id,
        run_mode=mode,
        strategy=pipeline.of("strat")[0].bot.id,
        config=settings.as_dict(),
        config_hash=settings.hash,
        builder_code=settings.run.builder_code,
        markets=infos,
        bots=bots,
        pins=dict(pins or {}),
        notes=notes,
        models={"venue": venue, **(models or {})},
        engine={**engine_options(settings), **gate_options(settings, GATES[mode]), **LEFT[mode], **(engine or {})},
        quality={},
        rules=[],
        created_ns=time.time_ns(),
        **more,
    )
    writer = LogWriter(folder, manifest, waiting=QUEUE_BATCHES)
    lock = Lock(folder / LOCK, f"the run {run_id}")
    step = fresh_step(manifest, pipeline)
    session = {"fence": lock.fence, "mode": mode, "taken_over": False}
    return Launched(folder, manifest, pipeline, step, writer, Orders(), {}, lock, session)


def settings_of(folder: Path) -> Settings:
    """The settings a run was begun with, from its manifest. Raises ConfigError when this program refuses them."""
    from polytraders.config import settings_from
    from polytraders.store.log import read_log

    manifest = read_log(folder, allow_torn=True).manifest
    return settings_from(manifest["config"], f"{folder.name}/manifest.json")


def resume(folder: Path) -> Launched:
    """Go on with a run that was stopped or cut off. Raises UsageError or DamageError; nothing is written then."""
    if not (folder / "manifest.json").is_file():
        raise UsageError("there is no run here", where=str(folder), mend="check the id with `polytraders runs`")
    lock = Lock(folder / LOCK, f"the run {folder.name}")
    try:
        taken = take_over(folder)
        if taken.manifest["run_mode"] not in MODES:
            raise UsageError(
                f"a {taken.manifest['run_mode']} cannot be continued",
                where=str(folder),
                rule="runs of " + ", ".join(MODES),
                mend="begin a new run",
            )
        writer = reopen(folder, taken.end)
    except BaseException:
        lock.release()
        raise
    session = {
        "fence": lock.fence,
        "mode": taken.manifest["run_mode"],
        "taken_over": True,
        "snapshot": taken.snapshot,
        "replayed": taken.replayed,
        "torn": taken.torn,
        "recovery_ms": round(1e3 * taken.seconds, 3),
    }
    return Launched(
        folder, taken.manifest, taken.pipeline, taken.step, writer, taken.orders, taken.notes, lock, session,
        taken.resident,
    )  # fmt: skip
