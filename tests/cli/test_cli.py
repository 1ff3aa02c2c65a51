"""The command line as a person and a script meet it: from synthesised frames to a trace, and every kind of refusal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(home: Path, *arguments: str, env: dict | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | {"POLYTRADERS_HOME": str(home), "COLUMNS": "120"} | (env or {})
    command = [sys.executable, "-m", "polytraders.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def json_of(done: subprocess.CompletedProcess) -> dict:
    """The one object on stdout; anything else there fails."""
    value = json.loads(done.stdout)
    assert isinstance(value, dict), done.stdout
    return value


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A home with one synthetic recording and one run on it: (home, recording, what backtest said)."""
    home = tmp_path_factory.mktemp("desk")
    made = json_of(call(home, "data", "synth", str(home / "frames"), "--seed", "7", "--minutes", "5", "--json"))
    frames = [str(p) for p in sorted((home / "frames").glob("*.jsonl*"))]
    assert made and frames
    imported = json_of(call(home, "data", "import", *frames, "--name", "toy", "--json"))
    done = call(home, "backtest", "toy", "--envelopes", "--json", "--set", "strat.maker_tight.min_volume_24h_usd=0")
    assert done.returncode == 0, done.stderr
    return home, imported, json_of(done)


def test_import_counts_by_kind_and_quality(desk):
    recording = desk[1]["recordings"][0]
    assert {"rows", "messages", "quality", "kinds"} <= recording.keys()
    assert recording["rows"] > 1_000 and recording["quality"]["gap"] >= 1


def test_backtest_tells_what_scripts_need(desk):
    said = desk[2]
    keys = {"run_id", "events", "decisions", "intents", "orders", "fills", "fees", "pnl", "seconds"}
    assert keys | {"events_per_second"} <= said.keys()
    assert said["decisions"] > 1_000 and said["orders"] > 0 and said["envelopes"] > 100


def test_replay_gives_the_parity_and_no_mismatch(desk):
    done = call(desk[0], "replay", desk[2]["run_id"], "--json")
    said = json_of(done)
    assert done.returncode == 0 and said["parity"] == 1.0 and said["first_mismatch"] is None


def test_verify_gives_a_verdict(desk):
    done = call(desk[0], "verify", "latest", "--json")
    said = json_of(done)
    assert done.returncode == 0 and said["ok"] and said["first_bad"] is None


def test_trace_tells_the_story_of_an_order(desk):
    done = call(desk[0], "trace", "1", "--json")
    said = json_of(done)
    assert done.returncode == 0 and said
    page = call(desk[0], "trace", "1")
    assert page.returncode == 0 and "strat.maker_tight" in page.stdout and "risk.killswitch" in page.stdout


@pytest.mark.parametrize(
    "words",
    [("data", "ls"), ("data", "check", "toy"), ("runs",), ("bots",), ("bots", "risk.killswitch"), ("schemas",)],
    ids=" ".join,
)
def test_json_is_one_object_and_nothing_else(desk, words):
    done = call(desk[0], *words, "--json")
    assert done.returncode == 0, done.stderr
    assert json_of(done)


def test_a_stale_schema_and_a_stale_typescript_file_are_named(desk, tmp_path):
    assert call(desk[0], "schemas", "--write", "--folder", str(tmp_path)).returncode == 0
    assert call(desk[0], "schemas", "--folder", str(tmp_path)).returncode == 0
    for name in ("Approval.json", "contracts.ts"):
        with (tmp_path / name).open("a") as file:
            file.write("\n")
    done = call(desk[0], "schemas", "--folder", str(tmp_path), "--json")
    assert done.returncode == 1 and json_of(done)["differ"] == ["Approval.json", "contracts.ts"]


def test_a_flipped_byte_is_found_and_named(desk, tmp_path):
    import shutil

    shutil.copytree(desk[0] / "runs", tmp_path / "runs")
    segment = next((tmp_path / "runs").glob("*/segment-000000.log"))
    data = bytearray(segment.read_bytes())
    data[5_000] ^= 64
    segment.write_bytes(data)
    done = call(tmp_path, "verify", "latest", "--json")
    said = json_of(done)
    assert done.returncode == 5 and not said["ok"] and said["first_bad"]["file"] == "segment-000000.log"
    again = call(tmp_path, "replay", "latest")
    assert again.returncode == 5 and "damaged" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("backtest", "nosuch"), 2, "no recording"),
        (("backtest", "toy", "--strategy", "strat.maker_tigth"), 2, "maker_tight"),
        (("backtest", "toy", "--set", "engine.decide_interval=5"), 3, "decide_interval_ms"),
        (("backtest", "toy", "--set", "risk.stale_book_guard.staleness_threshold_s=99"), 3, "hard limit"),
        (("backtest", "toy", "--set", "nonsense"), 2, "SECTION.KEY=VALUE"),
        (("backtest", "toy", "--from", "yesterday"), 2, "2026-04-16T09:10:00Z"),
        (("backtest", "toy", "--report", "--no-log"), 2, "--no-log"),
        (("backtest", "toy", "--settings", "nosuch.ini"), 2, "nosuch.ini"),
        (("replay", "r_nosuch"), 2, "no run"),
        (("verify", "r_nosuch"), 2, "no run"),
        (("trace", "oi_zzzzzzzzzzzzzzz"), 2, ""),
        (("bots", "risk.nosuch"), 2, "risk.nosuch"),
        (("bots", "new"), 2, "ID"),
        (("bots", "new", "strat.maker_tight"), 2, "there already"),
        (("bots", "new", "Strat.X"), 2, "no id for a new bot"),
        (("bots", "new", "gov.my_report"), 2, "no id for a new bot"),
        (("bots", "new", "strat.my_idea", "--from", "risk.killswitch"), 2, "the same family"),
        (("data", "import", "nosuch.jsonl"), 2, "nosuch.jsonl"),
        (("nosuchcommand",), 2, "nosuchcommand"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_gets_one_message_and_its_exit_code(desk, words, code, says):
    done = call(desk[0], *words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_error_under_json_is_an_object_too(desk):
    done = call(desk[0], "replay", "r_nosuch", "--json")
    assert done.returncode == 2 and json_of(done)["error"] == "UsageError"


def test_a_broken_settings_file_stops_the_start_with_its_line(desk, tmp_path):
    broken = tmp_path / "settings.ini"
    broken.write_text("[engine]\ndecide_interval_ms = 100\n\n[risk.killswitch]\nmode = enforced\ndrawdwon_pct = 4\n")
    done = call(desk[0], "backtest", "toy", "--settings", str(broken))
    assert done.returncode == 3 and f"{broken}:6" in done.stderr and "mend:" in done.stderr


def test_nothing_is_left_behind_by_a_run_that_did_not_start(desk):
    before = sorted(p.name for p in (desk[0] / "runs").iterdir())
    call(desk[0], "backtest", "toy", "--set", "portfolio.cash_pusd=-1")
    assert sorted(p.name for p in (desk[0] / "runs").iterdir()) == before


def test_the_shell_can_complete(desk):
    asked = {"_POLYTRADERS_COMPLETE": "complete_bash", "COMP_WORDS": "polytraders re", "COMP_CWORD": "1"}
    done = call(desk[0], env=asked)
    assert {"replay", "report"} <= set(done.stdout.split())
