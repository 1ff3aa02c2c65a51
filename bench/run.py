"""`make bench`: measure, compare, write bench/results.json and the table in BENCHMARKS.md; exit 1 on a missed target.

Every measurement is a fresh process. Ours and the peer's alternate, so that what the machine does
meanwhile hits both; a ratio is the median of the rounds' ratios, a value the median of the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import stream

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "BENCHMARKS.md"
PEER_VENV = ROOT / ".venv-hft"
PEER_PINS = ROOT / "bench" / "peers" / "requirements-hft.txt"
PEER_SCRIPT = ROOT / "bench" / "peers" / "hft_maker.py"
TABLE_BEGIN, TABLE_END = "<!-- results: written by bench/run.py -->", "<!-- end of results -->"
FAULTS_BEGIN, FAULTS_END = "<!-- faults: written by bench/run.py -->", "<!-- end of faults -->"
FUZZ_BEGIN, FUZZ_END = "<!-- fuzz: written by bench/run.py -->", "<!-- end of fuzz -->"
HELP_RUNS = 10
SWEEP_TRIALS, SWEEP_EVENTS = 1_000, 1_000_000
FRAMES_PER_SECOND = 30_000
MB = 1_000_000
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Of every process measured. Without bytecode files each start would compile all imports again, which nobody's own
machine does; the uncounted first runs write them."""


class BenchError(Exception):
    """A measurement that could not be taken."""


@dataclass
class Result:
    """One line of results.json. `ratio` = value / peer; `peer` is the peer's value, or the budget, in the same unit."""

    name: str
    value: float
    unit: str
    peer: float | None
    ratio: float | None
    detail: dict = field(default_factory=dict)

    def meets(self) -> bool | None:
        """Whether the target stands; None when there is none."""
        if "at_least" in self.detail:
            return self.ratio >= self.detail["at_least"]
        if "at_most" in self.detail:
            return self.ratio <= self.detail["at_most"]
        return None


# ------------------------------------------------------------------------------------------------ processes


def measure(*command: str | Path) -> dict:
    """Run a command from the repository's root; its last line is JSON. Raises BenchError with its stderr."""
    done = subprocess.run(
        [str(c) for c in command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"{' '.join(str(c) for c in command)}: exit {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(*arguments: str) -> dict:
    """One case of bench.ours in a fresh process."""
    return measure(sys.executable, "-m", "bench.ours", *arguments)


def peer(events: Path, work: str) -> dict:
    """One run of the peer in its own environment."""
    return measure(peer_python(), PEER_SCRIPT, events, work)


def peer_python() -> Path:
    """The interpreter of the peer's environment, made from its pins when missing or when they have changed."""
    python, stamp = PEER_VENV / "bin" / "python", PEER_VENV / "pins.sha256"
    pins = hashlib.sha256(PEER_PINS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == pins:
        return python
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        steps = [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, PEER_VENV],
            [uv, "pip", "install", "--quiet", "--python", python, "-r", PEER_PINS],
        ]
    else:
        steps = [
            [sys.executable, "-m", "venv", "--clear", PEER_VENV],
            [python, "-m", "pip", "install", "--quiet", "-r", PEER_PINS],
        ]
    for step in steps:
        if subprocess.run([str(part) for part in step], check=False).returncode != 0:
            raise BenchError("the peer's environment could not be made: " + " ".join(str(part) for part in step))
    stamp.write_text(pins)
    return python


def machine() -> Result:
    """The host and what was installed on it: what stays as long as both do, so neither time nor load."""
    import llvmlite
    import numba
    import numpy

    return Result(
        "machine",
        os.cpu_count(),
        "cores",
        None,
        None,
        {
            "cpu": cpu(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            "numba": numba.__version__,
            "llvmlite": llvmlite.__version__,
        },
    )


def cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.processor())


def now() -> str:
    """The moment, to the second, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def circumstances() -> dict:
    """Of which commit and on what a measurement is taken that begins now; commit: None where git cannot say."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip() or None,
        "cpu": cpu(),
        "load_at_start": [round(x, 2) for x in os.getloadavg()],
    }


# ------------------------------------------------------------------------------------------------- results


def compare(name: str, unit: str, our_runs: list[float], peer_runs: list[float], **detail) -> Result:
    """A result from alternating runs: round k's ratio is ours[k] / peer[k]."""
    ratios = [a / b for a, b in zip(our_runs, peer_runs, strict=True)]
    detail |= {
        "runs": [round(x, 4) for x in our_runs],
        "peer_runs": [round(x, 4) for x in peer_runs],
        "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }
    return Result(name, median(our_runs), unit, median(peer_runs), median(ratios), detail)


def budget(name: str, unit: str, runs: list[float], limit: float, **detail) -> Result:
    """A result held against a limit: its median may not be more."""
    detail |= {"runs": [round(x, 4) for x in runs], "at_most": 1.0}
    return Result(name, median(runs), unit, limit, median(runs) / limit, detail)


def help_seconds() -> float:
    """Wall time of `polytraders --help` as a person waits for it."""
    program = Path(sys.executable).parent / "polytraders"
    began = time.perf_counter()
    done = subprocess.run([program, "--help"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"polytraders --help: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
    return time.perf_counter() - began


def engine(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """The loop against its peer, its memory, and how long a person waits."""
    say("streams and the peer's environment")
    describe = measure(sys.executable, "-m", "bench.ours", "describe")
    events, calm = stream.cached_peer(), stream.cached_peer(mix=stream.CALM)
    peer_python()
    for one in (describe, describe["calm"]):
        say(f"stream {one['sha256'][:16]}: {one['events']:,} events, {one['trades']:,} trades")
    ours("maker", "1", "100")  # compiles what the caches do not have yet; not counted
    ours("first_event", str(time.monotonic_ns()))
    help_seconds()

    runs: dict[str, list[dict]] = {}
    plan = {
        "peer": lambda: peer(events, "maker"),
        "maker": lambda: ours("maker", "1", "100"),
        "maker_1000": lambda: ours("maker", "1000", "100"),
        "maker_5000": lambda: ours("maker", "5000", "100"),
        "peer_behind": lambda: peer(calm, "behind"),
        "gates": lambda: ours("maker", "1", "100", "1", "2", "1"),
        "all_bots": lambda: ours("maker", "1", "100", "1", "1", "1"),
        "busy_gates": lambda: ours("maker", "1", "100", "1", "2"),
        "busy_all_bots": lambda: ours("maker", "1", "100", "1", "1"),
        "every_event": lambda: ours("maker", "1", "0"),
        "peer_every": lambda: peer(events, "every"),
        "book": lambda: ours("book", "1"),
        "book_1000": lambda: ours("book", "1000"),
        "book_5000": lambda: ours("book", "5000"),
        "first": lambda: ours("first_event", str(time.monotonic_ns())),
        "venue": lambda: ours("twin"),
        "peer_idle": lambda: peer(events, "idle"),
    }
    for k in range(rounds):
        order = list(plan.items())
        for name, take in order if k % 2 == 0 else reversed(order):
            runs.setdefault(name, []).append(take())
        last = {name: found[-1].get("events_per_second", 0) / 1e6 for name, found in runs.items()}
        say(f"round {k + 1}/{rounds}, M events/s: " + ", ".join(f"{n} {v:.1f}" for n, v in last.items() if v))
    rate = {name: [r["events_per_second"] for r in found] for name, found in runs.items() if name != "first"}

    maker, other, twin = runs["maker"][-1], runs["peer"][-1], runs["venue"][-1]
    for key in ("decisions", "fills", "position", "balance"):
        if twin[key] != other[key]:
            raise BenchError(f"our venue and the peer's disagree on {key}: {twin[key]} and {other[key]}")
    row_mb = describe["row_bytes"] / MB
    return [
        compare(
            "book_replay", "events/s", rate["book"], [r["bare_events_per_second"] for r in runs["book"]],
            what="one market's rows into the book, nothing else", peer_name="bare numba array loop", at_least=0.4,
            stream=describe,
        ),
        compare(
            "maker", "events/s", rate["maker"], rate["peer"],
            what="maker_tight with its nine core bots, receipts and the log, deciding every 100 ms",
            peer_name=other["engine"] + ", the same quoting without any of that", at_least=1.5,
            ours=counts(maker), peer_counts=counts(other),
            peer_idle=median(rate["peer_idle"]),
        ),
        compare(
            "maker_risk_and_execution", "events/s", rate["gates"], rate["peer_behind"],
            what="a tick behind the touch of the calm stream, with every risk and execution bot that is on by default "
            "(13 and 7) and the two sensors that they and the strategy read", at_least=2.0,
            peer_name=other["engine"] + ", the same quoting", ours=counts(runs["gates"][-1]),
            peer_counts=counts(runs["peer_behind"][-1]), stream=describe["calm"],
        ),
        compare(
            "maker_all_bots", "events/s", rate["all_bots"], rate["peer_behind"],
            what="the same with the three other sensors too: all 26 bots that are on by default",
            peer_name=other["engine"] + ", the same quoting", ours=counts(runs["all_bots"][-1]),
        ),
        compare(
            "busy_risk_and_execution", "events/s", rate["busy_gates"], rate["peer"],
            what="at the touch of the busy stream with those risk and execution bots: an order every 24 events",
            peer_name=other["engine"], ours=counts(runs["busy_gates"][-1]),
        ),
        compare(
            "busy_all_bots", "events/s", rate["busy_all_bots"], rate["peer"],
            what="the same with all 26 bots", peer_name=other["engine"], ours=counts(runs["busy_all_bots"][-1]),
        ),
        compare(
            "maker_every_event", "events/s", rate["every_event"], rate["peer_every"],
            what="the nine core bots, deciding on every event and answer instead", at_least=1.0,
            peer_name=other["engine"] + ", deciding as often", ours=counts(runs["every_event"][-1]),
            peer_counts=counts(runs["peer_every"][-1]),
        ),
        compare(
            "maker_whole_call",
            "events/s",
            [r["events"] / r["seconds_with_start_and_end"] for r in runs["maker"]],
            rate["peer"],
            what="the same, with the check of all rows before the loop and the flush and close of the log after it",
            peer_name=other["engine"] + ", its loop alone",
        ),
        compare(
            "venue",
            "events/s",
            rate["venue"],
            rate["peer"],
            what="the peer's own maker on our simulated venue: equal work, results equal to the last digit",
            peer_name=other["engine"],
            ours=counts(runs["venue"][-1]),
            peer_counts=counts(other),
        ),
        compare(
            "maker_1000_markets", "events/s", rate["maker_1000"], rate["maker"],
            what="the same number of events over 1 000 markets at once, each as busy as the one",
            peer_name="ours, 1 market", at_least=0.75, ours=counts(runs["maker_1000"][-1]),
        ),
        compare(
            "book_replay_1000_markets", "events/s", rate["book_1000"], rate["book"],
            what="book only, over 1 000 markets", peer_name="ours, 1 market", at_least=0.75,
        ),
        compare(
            "maker_10000_tokens", "events/s", rate["maker_5000"], rate["maker"],
            what="5 000 markets, YES and NO tokens of each", peer_name="ours, 1 market", at_least=0.7,
        ),
        compare(
            "book_replay_10000_tokens", "events/s", rate["book_5000"], rate["book"],
            what="book only, 5 000 markets, YES and NO tokens of each", peer_name="ours, 1 market", at_least=0.7,
        ),
        budget(
            "peak_memory", "MB", [r["peak_rss_mb"] for r in runs["maker"]], 2 * row_mb + 600,
            what="the maker's whole process", peer_name=f"2 x {row_mb:.0f} MB of rows + 600 MB",
            peer_peak_mb=other["peak_rss_mb"],
        ),
        budget(
            "first_event", "s", [r["seconds_to_first_event"] for r in runs["first"]], 3.0,
            what="process start to the first event of a backtest from the catalog", peer_name="budget",
        ),
        budget(
            "help", "s", [help_seconds() for _ in range(HELP_RUNS)], 0.5,
            what="polytraders --help", peer_name="budget",
        ),
    ]  # fmt: skip


def sweeps(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """1 000 parameter sets on a million events, on one and on two processes."""

    def take(*arguments: str) -> dict:
        return measure(sys.executable, "-m", "bench.sweep", *arguments)

    say(f"sweeps of {SWEEP_TRIALS} x {SWEEP_EVENTS:,} events")
    alone = take("run", str(SWEEP_EVENTS))
    one, two = (take("sweep", str(SWEEP_EVENTS), str(SWEEP_TRIALS), workers) for workers in ("1", "2"))
    return [
        compare(
            "sweep", "trials/s", [two["trials_per_second"]], [one["trials_per_second"]],
            what=f"{SWEEP_TRIALS:,} parameter sets x {SWEEP_EVENTS:,} events on two processes",
            peer_name="ours, one process", at_least=1.8,
        ),
        budget(
            "sweep_memory", "MB", [two["peak_mb"]], 1.3 * alone["peak_mb"],
            what="both processes of it together", peer_name="1.3 x one run",
        ),
        budget(
            "sweep_overhead", "ms", [one["overhead_ms"]], 20.0,
            what="of a trial, beside its loop", peer_name="budget",
        ),
    ]  # fmt: skip


LATENCY_P50, LATENCY_P99, RECOVERY = 0.5, 2.0, 10.0
"""ms from a frame to an order's bytes, median and one in a hundred; s until all is known again after a fault."""
FAULT_SECONDS = 5
"""s of trading under each fault."""


def orders(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """Orders built and signed, against the official clients."""
    say("orders")
    made = measure(sys.executable, "-m", "bench.orders")
    rates = made["rounds"]
    return [
        compare(
            "orders", "orders/s", rates["ours"], rates[made["peer_name"]],
            what="built and signed, one core", peer_name=made["peer_name"], at_least=float(made["at_least"]),
            rates=made["rates"],
        ),
        Result(
            "orders_per_second", made["value"], "orders/s", made["value_at_least"],
            made["value"] / made["value_at_least"],
            {"what": "the same", "peer_name": "budget", "at_least": 1.0},
        ),
    ]  # fmt: skip


def latency(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """The delay from a frame to its orders' bytes."""
    say("latency")
    delays = [measure(sys.executable, "-m", "bench.latency") for _ in range(rounds)]
    return [
        budget(
            "frame_to_order_p50", "ms", [run["p50_ms"] for run in delays], LATENCY_P50,
            what="a frame of the market channel to two orders' bytes, whole step with every bot, loopback",
            peer_name="budget", **{k: delays[-1][k] for k in ("measured", "orders", "bots", "rows_p50_ms")},
        ),
        budget(
            "frame_to_order_p99", "ms", [run["p99_ms"] for run in delays], LATENCY_P99,
            what="the same, one in a hundred", peer_name="budget",
        ),
    ]  # fmt: skip


def faults(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """Recovery from every fault, of the trading side and of the market channel."""
    results = []
    for name, text in (("faults", "orders and money"), ("faults_market", "the market channel")):
        say(f"faults of {text}")
        made = measure(sys.executable, "-m", f"bench.{name}", str(FAULT_SECONDS))
        worst = max(made["reports"], key=lambda report: report["recovery_s"])
        unequal = [report["name"] for report in made["reports"] if report["wrong"]]
        ratio = worst["recovery_s"] / RECOVERY if made["good"] else 1_000.0  # unequal books miss any budget
        what = f"{text}: longest recovery, from {worst['name']}; books unequal: {', '.join(unequal) or 'none'}"
        detail = {"what": what, "peer_name": "budget", "at_most": 1.0, "seconds": FAULT_SECONDS}
        detail |= {"table": made["table"], "reports": made["reports"]}
        results.append(Result(name, worst["recovery_s"], "s", RECOVERY, ratio, detail))
    return results


def fuzz(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """Changed frames and bodies: the campaign raises what is wrong, so that a result is a good one."""
    say("changed frames and bodies")
    made = measure(sys.executable, "-m", "bench.fuzz")
    number = sum(campaign["changed"] for campaign in made["campaigns"].values())
    detail = {"what": "frames and bodies changed; no crash, no wrong book, and each refusal counted by kind"}
    detail |= {"peer_name": "", "table": made["table"], "campaigns": made["campaigns"], "refusals": made["value"]}
    return [Result("fuzz", number, "changes", None, None, detail)]


DURABLE_P99, APPROVALS, RESTART = 5.0, 1_000, 10.0
"""ms from a decision to the disk, one in a hundred; trade intents a second through approval; s to take a run over."""


def running(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """The runner: decisions on the disk, trade intents through approval, a run taken over from a long log."""
    say("orders on the disk")
    synced = [measure(sys.executable, "-m", "bench.runner", "durable") for _ in range(rounds)]
    say("approvals")
    approved = [measure(sys.executable, "bench/intents.py") for _ in range(min(rounds, 3))]
    say("a restart from ten million events")
    taken = measure(sys.executable, "-m", "bench.runner", "restart")
    more = {
        name: taken[name]
        for name in ("events", "log_mb", "snapshot", "replayed", "orders_known", "books_ms", "cpu_seconds")
    }

    def approvals(name: str, kind: str, what: str, **target: float) -> Result:
        rates = [one[kind]["per_second"] for one in approved]
        detail = {"what": what, "peer_name": "budget", "runs": rates, **target, **approved[-1][kind]}
        return Result(name, median(rates), "intents/s", APPROVALS, median(rates) / APPROVALS, detail)

    return [
        budget(
            "durable_p99", "ms", [run["p99_ms"] for run in synced], DURABLE_P99,
            what="a decision's orders on the disk, synced, before they may be sent; one in a hundred",
            peer_name="budget", p50_ms=median(run["p50_ms"] for run in synced),
            bare_sync_p99_ms=median(run["bare_sync_p99_ms"] for run in synced), batches=synced[-1]["batches"],
        ),
        approvals(
            "approvals", "batches", "proposed, approved and carried out at the desk, 50 to a transaction, SQLite",
            at_least=1.0,
        ),
        approvals("approvals_http", "http", "the same, approved through HTTP with a token"),
        approvals("approvals_single", "one_by_one", "the same, each in three synced transactions of its own"),
        budget(
            "restart", "s", taken["runs"], RESTART,
            what=f"a killed run of {taken['events']:,} events taken over, from the start of the process",
            peer_name="budget", **more,
        ),
    ]  # fmt: skip


def frames(rounds: int, say: Callable[[str], None]) -> list[Result]:
    """Recorded frames of the market channel to event rows, as the live stream does it."""
    say("frames of the market channel")
    runs = [measure(sys.executable, "-m", "bench.frames") for _ in range(rounds)]
    results = []
    for name, text, target in (
        ("channel", "recorded frames of the whole market channel to event rows, one core", {"at_least": 1.0}),
        ("books", "the same of a feed of nothing but full books, 100 levels each", {}),
    ):
        rates = [run[name]["frames_per_second"] for run in runs]
        detail = {"what": text, "peer_name": "budget", "runs": [round(rate) for rate in rates], **target}
        detail |= counts(runs[-1][name])
        ratio = median(rates) / FRAMES_PER_SECOND
        results.append(Result(f"frames_{name}", median(rates), "frames/s", FRAMES_PER_SECOND, ratio, detail))
    return results


def counts(run: dict) -> dict:
    """What a run did, without its timings."""
    leave = {
        "seconds",
        "events_per_second",
        "frames_per_second",
        "compile_seconds",
        "peak_rss_mb",
        "engine",
        "work",
        "bare_events_per_second",
    }
    return {k: v for k, v in run.items() if k not in leave}


PARTS: dict[str, Callable[[int, Callable[[str], None]], list[Result]]] = {
    "engine": engine, "sweeps": sweeps, "frames": frames, "orders": orders, "latency": latency, "running": running,
    "faults": faults, "fuzz": fuzz,
}  # fmt: skip
"""What may be measured alone, in the order in which all are."""


def run(rounds: int, say: Callable[[str], None], parts: Sequence[str] = tuple(PARTS)) -> list[Result]:
    """Take the measurements of the parts named; `say` hears how it goes. Each says when its part was done,
    and of which commit and under which load that began."""
    results = [machine()]
    for part in parts:
        taken = circumstances()
        measured = PARTS[part](rounds, say)
        for result in measured:
            result.detail |= taken | {"measured_at": now()}
        results += measured
    return results


def kept(measured: list[Result]) -> list[Result]:
    """The measurements with those of results.json that were not taken now, in the order of all. The machine stays that
    of the last whole run; a row that was measured on another one says so."""
    if not RESULTS.exists():
        return measured
    known = {row["name"]: Result(**row) for row in json.loads(RESULTS.read_text())}
    return [*(known | {result.name: result for result in measured if result.name != "machine"}).values()]


# ------------------------------------------------------------------------------------------------- writing


def number(value: float | None, unit: str) -> str:
    """A value for people: events in millions, the rest with two decimals."""
    if value is None:
        return ""
    return f"{value / 1e6:.2f} M" if unit == "events/s" else f"{value:,.2f}"


def table(results: list[Result]) -> str:
    """The results as Markdown, machine first; a row names its processor where that is not the machine's."""
    host = next(r for r in results if r.name == "machine")
    where = host.detail
    lines = [
        f"{where['cpu']}, {host.value} cores, {where['memory_gb']} GB · Linux {where['kernel']}"
        f" · Python {where['python']}, numpy {where['numpy']}, numba {where['numba']}",
        "",
        "| measurement | ours | against | its value | ratio (spread) | target | | measured |",
        "|---|---:|---|---:|---:|---:|---|---|",
    ]
    for r in results:
        if r.name == "machine":
            continue
        d, met = r.detail, r.meets()
        spread = f" ({d['ratio_spread'][0]:.2f} … {d['ratio_spread'][1]:.2f})" if "ratio_spread" in d else ""
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}"
        target = f"≥ {d['at_least']}" if "at_least" in d else f"≤ {d['at_most']:.0f}" if "at_most" in d else ""
        verdict = "" if met is None else "met" if met else "**missed**"
        elsewhere = f", {d['cpu']}" if d.get("cpu", where["cpu"]) != where["cpu"] else ""
        lines.append(
            f"| {r.name}: {d['what']} | {number(r.value, r.unit)} {r.unit} | {d['peer_name']} "
            f"| {number(r.peer, r.unit)} | {ratio}{spread} | {target} | {verdict} "
            f"| {d.get('measured_at', 'not known')[:10]}{elsewhere} |"
        )
    return "\n".join(lines)


def write(results: list[Result]) -> None:
    """results.json, and the table between the marks of BENCHMARKS.md."""
    rows = []
    for r in results:
        met = r.meets()
        detail = r.detail if met is None else r.detail | {"met": met}
        rows.append(
            {"name": r.name, "value": r.value, "unit": r.unit, "peer": r.peer, "ratio": r.ratio, "detail": detail}
        )
    RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    page = between(PAGE.read_text(), TABLE_BEGIN, TABLE_END, table(results))
    tables = {r.name: r.detail["table"] for r in results if "table" in r.detail}
    if told := [tables[name] for name in ("faults", "faults_market") if name in tables]:
        page = between(page, FAULTS_BEGIN, FAULTS_END, "\n\n".join(told))
    if "fuzz" in tables:
        page = between(page, FUZZ_BEGIN, FUZZ_END, tables["fuzz"])
    PAGE.write_text(page)


def between(page: str, begin: str, end: str, text: str) -> str:
    """A page with the text between two marks replaced."""
    head, rest = page.split(begin, 1)
    _, tail = rest.split(end, 1)
    return f"{head}{begin}\n{text}\n{end}{tail}"


def main() -> int:
    """Exit code: 0 all targets met, 1 a target missed, 2 a measurement could not be taken."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART",
        help=f"measure these only and keep the rest of results.json: {', '.join(PARTS)}",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="only write what bench/results.json holds into the page")
    arguments = parser.parse_args()
    if arguments.write:
        if not RESULTS.exists():
            parser.error(f"there is no {RESULTS.relative_to(ROOT)} to write from")
        write(kept([]))
        return 0
    try:
        results = run(arguments.rounds, lambda text: print(text, file=sys.stderr, flush=True), arguments.only)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    missed = [r.name for r in results if r.meets() is False]
    everything = results if len(arguments.only) == len(PARTS) else kept(results)
    write(everything)
    print(table(everything))
    if missed:
        print("targets missed: " + ", ".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
