"""`python -m bench.drills`: the long rehearsals of a live run at the local venue, and what they measured.

    crash     kill -9 at random points of a busy run while the venue misbehaves, then its books against the venue's
    switch    the global kill switch under load while the venue refuses half of the cancels

Both are the tests of the same name (`tests/run`), with more of everything: half an hour and more, which `make bench`
does not take. Writes bench/drills.json and their table in BENCHMARKS.md; a drill that fails writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "drills.json"
BEGIN, END = "<!-- drills: written by bench/drills.py -->", "<!-- end of drills -->"
sys.path[:0] = [str(ROOT / "tests" / "venue"), str(ROOT / "tests" / "run")]

import crash  # noqa: E402
import switch_drill  # noqa: E402
from served import serve  # noqa: E402

from bench.run import PAGE, between, circumstances, machine, now  # noqa: E402

SESSION = ("--synth", "7", "--minutes", "240", "--speed", "1.5", "--settlement-ms", "300")
"""What the others at the venue do while runs are killed: two hours and forty minutes."""
LOADED = ("--minutes", "15", "--markets", "8", "--speed", "2", "--settlement-ms", "300")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def take_crash(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """The crash drill, judged. Raises AssertionError when the books are not the venue's."""
    with serve(*SESSION) as venue:
        found = crash.drill(venue, folder / "crash", kills, seed, 4.0, say)
        crash.check(found)
        crash.judge(folder / "crash", found, venue)
    return found


def take_switch(folder: Path, trips: int, rest: int) -> dict[str, Any]:
    """The kill-switch drill, several times over."""
    runs = []
    for seed in range(trips):
        with serve("--synth", str(seed), "--seed", str(seed), *LOADED) as venue:
            found = switch_drill.drill(venue, folder / f"switch-{seed}", rest)
        say(json.dumps(found))
        switch_drill.check(found)
        runs.append(found)
    return switch_drill.summary(runs) | {"runs": runs}


def table(results: dict[str, Any]) -> str:
    """Markdown of what bench/drills.json holds."""
    lines = ["| drill | measured | |", "|---|---|---:|"]

    def add(drill: str, what: str, value: str) -> None:
        lines.append(f"| {drill} | {what} | {value} |")

    if found := results.get("crash"):
        add("crash", "kill -9, of these while it was taking over", f"{found['kills']}, {found['while_beginning']}")
        add("", "starts that the venue's faults refused, and that were made again", f"{found['refused_starts']}")
        add("", "orders sent; fills; orders that the dead left open", " · ".join(
            f"{found[name]:,}" for name in ("submits", "fills", "left_open")))  # fmt: skip
        add("", "lost fills, orders sent twice, orders that rest after it all", "0 · 0 · 0")
        add("", "cash and shares against the venue's", "equal to the micro-unit")
        for name, what in (
            ("rebuild_ms", "books rebuilt from snapshot and log"),
            ("restart_ms", "from the start of the process to reconciled with the venue and deciding"),
        ):
            median, worst = (found[name][key] / 1e3 for key in ("median", "worst"))
            add("", f"{what}, median · worst", f"{median:.2f} s · {worst:.2f} s")
        add("", "measured", _where(found))
    if found := results.get("switch"):
        add("switch", "trips; orders resting at each, median", f"{found['drills']}; {found['rested']:g}")
        add("", "orders a second before it; cancels the venue refused in all",
            f"{found['orders_per_second']:g}; {found['cancels_refused']}")  # fmt: skip
        add("", "from the person's command until the run has stopped, worst", f"{found['to_trip_ms'] / 1e3:.2f} s")
        times = found["to_no_resting_ms"]
        add("", "from the command until the venue has no resting order, median · worst",
            f"{times['median'] / 1e3:.2f} s · {times['worst'] / 1e3:.2f} s")  # fmt: skip
        add("", "orders the venue received after the trip: on the wire then · sent later",
            f"{found['received_after'] - found['sent_after']} · {found['sent_after']}")  # fmt: skip
        add("", "measured", _where(found))
    return "\n".join(lines)


def _where(found: dict[str, Any]) -> str:
    where = found["machine"]
    return f"{where['measured_at'][:10]}, {where['cpu']}, {where['cores']} cores, load {where['load_at_start'][0]}"


def main() -> int:
    """Exit code: 0 passed and written, 1 a drill failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.drills", description=__doc__.split("\n\n")[0])
    parser.add_argument("drill", nargs="*", choices=["crash", "switch", []], help="which; default: both")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trips", type=int, default=5)
    parser.add_argument("--rest", type=int, default=24, help="orders that rest at the trip; limits let a run have 30")
    parser.add_argument("--keep", type=Path, help="folder for the runs, kept (default: a temporary one)")
    parser.add_argument("--write", action="store_true", help="only write what bench/drills.json holds into the page")
    told = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if told.write:
        PAGE.write_text(between(PAGE.read_text(), BEGIN, END, table(results)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = told.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in told.drill or ("crash", "switch"):
            host = machine()
            where = {"cores": host.value, **host.detail, **circumstances(), "measured_at": now()}
            try:
                found = (
                    take_crash(folder, told.kills, told.seed)
                    if name == "crash"
                    else take_switch(folder, told.trips, told.rest)
                )
            except AssertionError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
            results[name] = found | {"machine": where}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.write_text(between(PAGE.read_text(), BEGIN, END, table(results)))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
