"""What a run was made from, as its log's manifest: enough to read, trace and replay it without this machine.

==================  =====================================================================================
run_id, run_mode    the run's name (its folder's too); backtest | replay | paper | shadow | live
package_version     of polytraders; `source_hash` of all sources a kernel is made from; `git` commit and
                    whether files differed from it (None outside a repository)
strategy, seed      the strategy's bot id; the seed of everything random (None: nothing is)
config, config_hash the resolved configuration and its SHA-256
builder_code        that orders are attributed to, None without one
pins, notes         SHA-256 of the data; what was assumed or inferred, as sentences
models              name of each model used (queue, latency, fills, fees ...)
markets             the market table: `market` of a row is an index into it
bots                the bot table: `bot` of a decision is an index into it
reason_codes        number -> name, of all codes registered when the run was made
==================  =====================================================================================
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytraders import __version__
from polytraders.engine.jit import PACKAGE, source_hash
from polytraders.engine.setup import RUNTIME
from polytraders.reasons import REGISTRY

if TYPE_CHECKING:
    from polytraders.bots import BotSpec, Number


def bot_row(bot_id: str, version: str, mode: str, params: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """One row of the bot table. `params`: name, unit, value (decimal text) and kernel (int) of each, in slot order."""
    return {
        "bot_id": bot_id,
        "family": bot_id.partition(".")[0],
        "version": version,
        "mode": str(mode),
        "params": [dict(param) for param in params],
    }


def bot_row_of(spec: BotSpec, mode: str, values: Mapping[str, Number] | None = None) -> dict[str, Any]:
    """The row of a bot with a spec, its defaults overlaid with `values`."""
    resolved = spec.resolve(values)
    params = [
        {"name": p.name, "unit": p.unit, "value": resolved[p.name], "kernel": p.kernel_value(resolved[p.name])}
        for p in spec.parameters
    ]
    return bot_row(spec.bot_id, spec.version, mode, params)


def runtime_row() -> dict[str, Any]:
    """The row of the runtime itself, which sends, keeps and cancels orders; the last of every bot table."""
    return bot_row(RUNTIME, __version__, "enforced")


def git_state(folder: Path = PACKAGE.parent) -> dict[str, Any] | None:
    """{commit, dirty} of the repository whose root `folder` is, None when it is none (an installed package)."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder:
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def make_manifest(
    *,
    run_id: str,
    strategy: str,
    config: Mapping[str, Any],
    config_hash: str,
    markets: Iterable[Any],
    bots: Iterable[Mapping[str, Any]],
    pins: Mapping[str, Any],
    notes: Iterable[str] = (),
    models: Mapping[str, Any] | None = None,
    seed: int | None = None,
    builder_code: str | None = None,
    run_mode: str = "backtest",
    **more: Any,
) -> dict[str, Any]:
    """The manifest of a run. `markets`: MarketInfo or dicts, in index order; `bots`: see `bot_row`; `more` is kept."""
    return {
        "run_id": run_id,
        "run_mode": run_mode,
        "package_version": __version__,
        "source_hash": source_hash(),
        "git": git_state(),
        "strategy": strategy,
        "seed": seed,
        "config": dict(config),
        "config_hash": config_hash,
        "builder_code": builder_code,
        "pins": dict(pins),
        "notes": list(notes),
        "models": dict(models or {}),
        "markets": [asdict(m) if is_dataclass(m) and not isinstance(m, type) else dict(m) for m in markets],
        "bots": [dict(bot) for bot in bots],
        "reason_codes": {str(code.number): code.name for code in REGISTRY.values()},
        **more,
    }
