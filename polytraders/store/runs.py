"""Where runs lie and how a person names one: by its id, by a unique beginning of it, or as `latest`."""

from __future__ import annotations

from pathlib import Path

from polytraders.config import home
from polytraders.errors import UsageError
from polytraders.store.ids import parse_id, run_tag

LATEST = "latest"


def runs_root() -> Path:
    """Folder of all runs."""
    return home() / "runs"


def list_runs() -> list[Path]:
    """Folders of all runs, the one begun last first."""
    manifests = sorted(runs_root().glob("*/manifest.json"), key=lambda p: (p.stat().st_mtime_ns, p.parent.name))
    return [manifest.parent for manifest in reversed(manifests)]


def latest() -> Path:
    """The folder of the run begun last. Raises `UsageError` when there is none."""
    runs = list_runs()
    if not runs:
        raise UsageError("there are no runs yet", where=str(runs_root()), mend="make one with `polytraders backtest`")
    return runs[0]


def find_run(ref: str) -> Path:
    """The folder of one run: id, unique prefix of an id, `latest`, or the path of a run's folder."""
    if (as_path := Path(ref)).name != ref and (as_path / "manifest.json").is_file():
        return as_path
    if ref == LATEST:
        return latest()
    latest()  # says so when there are none at all
    runs = list_runs()
    found = [run for run in runs if run.name == ref] or [run for run in runs if ref and run.name.startswith(ref)]
    if len(found) == 1:
        return found[0]
    some = ", ".join(run.name for run in (found or runs)[:5])
    if found:
        raise UsageError(f"{len(found)} runs begin so", where=repr(ref), mend=f"give more of the id: {some}")
    raise UsageError(
        "no run has this id", where=repr(ref), rule=f"runs lie in {runs_root()}", mend=f"the last are {some}"
    )


def find_run_of(correlation_id: str) -> Path:
    """The folder of the run that an intent belongs to, found from the intent's correlation id."""
    tag, _ = parse_id(correlation_id)
    for run in list_runs():
        if run_tag(run.name) == tag:
            return run
    raise UsageError(
        "none of the runs here holds this intent",
        where=correlation_id,
        rule=f"runs lie in {runs_root()}",
        mend="give the run with --run, or set POLYTRADERS_HOME to where the run was made",
    )
