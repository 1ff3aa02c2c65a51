"""A day of events through a shadow run, as fast as it goes: nothing lost, nothing malformed, memory flat.

    python -m bench.day --hours 24 --markets 6 --seed 7 --out bench/day.json

A made-up session in the venue's wire format is played into a runner with its desk, frame by frame, through the parser
of the socket and in the session's own time (`run.playback`). Then every row that the run wrote is held against what a
row may be, every receipt against its contract, every byte of the log against its chain, and the run is replayed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "strat.maker_tight.min_volume_24h_usd": "1",
    "disc.marketscanner.min_volume_24h_usd": "1",
    "portfolio.cash_pusd": "100000",
}
"""So that the strategy quotes on a made-up market from its first minutes on."""
WARM_UP = 1 / 12
"""Share of the day after which memory must have come to rest: two of 24 hours."""
UNREADABLE = (
    "not_json", "malformed", "unknown_type", "unknown_token", "INTEL_FRAME_UNREADABLE", "INTEL_BOOK_DISAGREES",
)  # fmt: skip
"""What the parser may not have said of any frame. A message that came twice, or a crossed book, is the market's."""
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def made_up(folder: Path, seed: int, minutes: int, markets: int) -> Path:
    """A made-up recording. Made in a process of its own: what that takes is not the run's memory."""
    asked = f"{str(folder)!r}, {seed}, {minutes}, {markets}"
    words = f"from polytraders.data.synth import synthesise; print(synthesise({asked})[0])"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def play(hours: float, markets: int, seed: int, folder: Path, slices: int = 24) -> dict[str, Any]:
    """Play a day of `hours` and tell what came of it."""
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.data.importer import import_files
    from polytraders.data.synth import START
    from polytraders.run.control import Control
    from polytraders.run.launch import begin
    from polytraders.run.live import Options, Runner
    from polytraders.run.playback import Clock, Playback
    from polytraders.store.desk import open_desk
    from polytraders.units import NS_PER_DAY, NS_PER_S
    from polytraders.venue.polymarket.rules import GRID

    minutes = round(60 * hours)
    recording = made_up(folder / "day", seed, minutes, markets)
    # The markets of a seed are the same however long its day is.
    import_files([made_up(folder / "short", seed, 2, markets)], "short", root=folder / "catalog")
    end = START + minutes * 60 * NS_PER_S
    infos = [
        replace(info, grid=GRID, end_ts=end + NS_PER_DAY) for info in Catalog(folder / "catalog").load("short").markets
    ]
    settings = load_settings(ROOT / "settings.ini").with_overrides(SETTINGS)
    launched = begin(
        settings, mode="shadow", strategy="strat.maker_tight", infos=infos, venue="none", folder=folder / "r_day",
        run_id="r_day", pins={"venue": "playback", "recording": recording.name},
    )  # fmt: skip
    clock, memory, step = Clock(START), [], minutes * 60 * NS_PER_S // slices

    def passed(at: int) -> None:
        while at >= START + len(memory) * step:
            memory.append(resident())

    feed = Playback([recording], infos, clock, done=lambda: runner.stop(), passed=passed)
    runner = Runner(
        launched.folder, launched.pipeline, launched.step, launched.writer, None, {"market data": feed},
        orders=launched.orders, notes=launched.notes, session=launched.session, clock=clock,
        options=Options(timers=False),
    )  # fmt: skip
    control = Control(open_desk(f"sqlite:///{folder / 'desk.sqlite'}"), launched, settings)
    control.begin()
    control.attach(runner)
    began = time.perf_counter()
    try:
        summary = asyncio.run(runner.run())
    finally:
        control.close("stopped")
        launched.lock.release()
    seconds = time.perf_counter() - began
    memory.append(resident())
    assert feed.stream is not None
    warm = memory[max(1, round(slices * WARM_UP)) :]
    middle = float(np.median(warm))
    told = {
        "hours": hours,
        "markets": len(infos),
        "seed": seed,
        "frames": feed.heard,
        "rows": feed.rows,
        "refused": dict(feed.stream.counts),
        "dropped_rows": runner.dropped,
        "incidents": [one["what"] for one in runner.incidents],
        "seconds": round(seconds, 1),
        "frames_per_second": round(feed.heard / seconds),
        "times_real_time": round(hours * 3_600 / seconds),
        "memory_mb": [round(value / 1e6, 1) for value in memory],
        "memory_after_warm_up_mb": [round(min(warm) / 1e6, 1), round(max(warm) / 1e6, 1)],
        "memory_spread": round(max(abs(max(warm) - middle), abs(min(warm) - middle)) / middle, 4),
        "decisions_counted": summary["decisions"],
    }
    return told | examine(launched.folder, feed.rows, recording)


def examine(folder: Path, emitted: int, recording: Path) -> dict[str, Any]:
    """Hold what a run wrote against what it was given, and against every contract that it has."""
    from polytraders.rows import EventKind
    from polytraders.run.comparison.counterpart import TAPE
    from polytraders.run.playback import frames
    from polytraders.run.replay import replay
    from polytraders.store.log import RecordKind, read_log, verify_log

    log = read_log(folder)
    tables = {kind: log.rows(kind) for kind in (RecordKind.EVENTS, RecordKind.DECISIONS, RecordKind.ACTIONS)}
    events = tables[RecordKind.EVENTS]
    own = np.isin(events["kind"], (*TAPE, EventKind.SIGNAL)) & ~_runner_rows(events)
    began = time.perf_counter()
    envelopes, faults = validated(folder)
    replayed = replay(folder)
    return {
        "frames_in_the_recording": sum(1 for _ in frames([recording])),
        "rows_written": int(own.sum()),
        "rows_lost": emitted - int(own.sum()),
        "rows_checked": {kind.name.lower(): len(table) for kind, table in tables.items()},
        "rows_malformed": malformed(log.manifest, tables),
        "envelopes": envelopes,
        "envelopes_malformed": len(faults),
        "faults": faults[:10],
        "envelopes_per_second": round(envelopes / (time.perf_counter() - began)) if envelopes else 0,
        "log_bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "log_whole": verify_log(folder).ok,
        "replay_parity": replayed.parity,
        "replay_ok": replayed.ok,
    }


def _runner_rows(events: np.ndarray) -> np.ndarray:
    """bool[n]: rows of the whole run that the runner itself puts, at its begin and end."""
    from polytraders.rows import EventKind

    return (events["market"] < 0) & np.isin(events["kind"], (EventKind.FEED_DOWN, EventKind.CLOCK))


def malformed(manifest: dict[str, Any], tables: dict[Any, np.ndarray]) -> dict[str, int]:
    """Rows that are none, by table and rule; {} when there are none. tables: by RecordKind."""
    from types import SimpleNamespace

    from polytraders.engine.setup import check_events
    from polytraders.engine.state import N_SLOTS
    from polytraders.errors import DataError
    from polytraders.reasons import REGISTRY
    from polytraders.rows import ActionKind, Flag, OrderType, Severity, Verdict
    from polytraders.store.log import RecordKind

    found: Counter[str] = Counter()
    markets, bots = len(manifest["markets"]), len(manifest["bots"])
    events, decisions, actions = (tables[k] for k in (RecordKind.EVENTS, RecordKind.DECISIONS, RecordKind.ACTIONS))
    try:
        check_events(events, [SimpleNamespace(**market) for market in manifest["markets"]], "the run")
    except DataError as error:
        found[f"events: {error.what}"] += 1
    codes = np.array(sorted(code.number for code in REGISTRY.values()))
    rules = {
        "events: flags": (events["flags"] & ~sum(Flag)) != 0,
        "events: seq": np.diff(events["seq"], prepend=events["seq"][:1] - 1) != 1,
        "decisions: bot": (decisions["bot"] < 0) | (decisions["bot"] >= bots),
        "decisions: market": (decisions["market"] < -1) | (decisions["market"] >= markets),
        "decisions: code": ~np.isin(decisions["code"], codes),
        "decisions: verdict": ~np.isin(decisions["verdict"], [int(v) for v in Verdict]),
        "decisions: severity": ~np.isin(decisions["severity"], [int(v) for v in Severity]),
        "decisions: slot": (decisions["slot"] < 0) | (decisions["slot"] > 2 * N_SLOTS + 1),
        "decisions: token": (decisions["outcome"] | decisions["side"]) & ~1 != 0,
        "decisions: price": (decisions["price"] < 0) | (decisions["price"] > 10_000) | (decisions["size"] < 0),
        "decisions: time": np.diff(decisions["ts"], prepend=decisions["ts"][:1]) < 0,
        "actions: kind": ~np.isin(actions["kind"], [int(v) for v in ActionKind]),
        "actions: token": (actions["outcome"] | actions["side"]) & ~1 != 0,
        "actions: type": ~np.isin(actions["order_type"], [int(v) for v in OrderType]),
        "actions: market": (actions["market"] < 0) | (actions["market"] >= markets),
    }
    for name, bad in rules.items():
        if count := int(np.count_nonzero(bad)):
            found[name] += count
    return dict(found)


def validated(folder: Path) -> tuple[int, list[str]]:
    """(receipts, what is wrong with those that are none): each held against its contract, none left out."""
    from pydantic import ValidationError

    from polytraders.contracts import ReportEnvelope
    from polytraders.store.ids import envelope_id
    from polytraders.store.receipts import GENESIS, Receipts

    place = {"envelope_id": envelope_id(0, "", 1), "seq": 1, "prev_hash": "1" * 64, "hash": GENESIS}
    count, faults = 0, []
    for document in Receipts(folder):
        count += 1
        try:
            ReportEnvelope.model_validate(document | place, context={"sealing": True})
        except ValidationError as error:
            faults.append(f"{document['bot_id']} {document['reason_code']}: {error.errors()[0]['msg']}")
    return count, faults


UNCOMMITTED = "the run works with settings that are not committed"
"""An incident that is right: a made-up market has less volume than settings.ini asks for, and the day asks for less."""


def failures(told: dict[str, Any]) -> list[str]:
    """What a day must not have shown; [] when all is well."""
    wrong = [name for name in ("dropped_rows", "rows_lost", "envelopes_malformed") if told[name]]
    wrong += ["rows_malformed"] if told["rows_malformed"] else []
    wrong += ["incidents"] if set(told["incidents"]) - {UNCOMMITTED} else []
    wrong += [name for name in UNREADABLE if name in told["refused"]]
    wrong += [name for name in ("log_whole", "replay_ok") if not told[name]]
    wrong += ["frames"] if told["frames"] != told["frames_in_the_recording"] else []
    wrong += ["memory"] if told["memory_spread"] > 0.10 else []
    return wrong


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--hours", type=float, default=24.0)
    asked.add_argument("--markets", type=int, default=6)
    asked.add_argument("--seed", type=int, default=7)
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="polytraders-day-") as folder:
        os.environ["POLYTRADERS_HOME"] = folder
        told = play(given.hours, given.markets, given.seed, Path(folder))
    told |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"}
    told |= {"failures": failures(told)}
    text = json.dumps(told, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(1 if told["failures"] else 0)


if __name__ == "__main__":
    main()
