"""A bundle in an environment of its own: its lock installed offline, its wheel, and nothing that makes notebooks.

The packages come from uv's cache, which the project's own set-up has filled; nothing is fetched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from served import serve
from test_live_approvals import ROOT, SETTINGS, Desk, breathing
from test_shadow_to_live import said_so_far

from polytraders.config import load_settings
from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind
from polytraders.run.bundle import EXTRAS, LOCK, export

NOTEBOOKS = ("nbdev", "execnb", "jupyter", "ipython", "ipykernel", "ipywidgets", "voila", "notebook", "papermill",
             "nbformat", "nbconvert", "jupytext")  # fmt: skip


def uv(*words: str | Path, cwd: Path = ROOT) -> str:
    """What uv says; without network."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = ["uv", *map(str, words), "--offline", "-q"]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pinned(text: str) -> set[str]:
    """name==version of each line of a requirements file that holds on this machine."""
    return {found[1].lower() for found in re.finditer(r"^([\w.-]+==[^\s;\\]+)", text, re.M)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the bundle, the `polytraders` of an environment that holds its lock and its wheel and no more)."""
    folder = tmp_path_factory.mktemp("clean")
    quick = SETTINGS | {"live.dry_run": "true", "engine.intent_ttl_s": "120"}
    bundle, _ = export(load_settings(ROOT / "settings.ini").with_overrides(quick), "strat.maker_tight", folder)
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder / "unpacked")
    # The same lock in the form that names each file's address: so uv finds it in its cache without asking an index.
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    lock = folder / "pylock.toml"
    uv("export", "--frozen", "--no-dev", "--no-emit-project", "--format", "pylock.toml", *extras, "-o", lock)
    uv("venv", "--python", sys.executable, folder / "env")
    python = folder / "env" / "bin" / "python"
    uv("pip", "install", "--python", python, "-r", lock)
    (wheel,) = (folder / "unpacked").glob("*.whl")
    uv("pip", "install", "--python", python, "--no-deps", wheel)
    there = pinned(uv("pip", "freeze", "--python", python))
    wanted = pinned((folder / "unpacked" / LOCK).read_text(encoding="utf-8"))
    assert there <= wanted, "nothing but what the bundle's lock names"
    names = {entry.partition("==")[0] for entry in there}
    assert {"numba", "pydantic", "aiohttp", "websockets", "fastapi", "sqlalchemy"} <= names
    assert not [name for name in names if name.startswith(NOTEBOOKS)]
    return bundle, folder / "env" / "bin" / "polytraders"


def started(program: Path, home: Path, *words: str) -> subprocess.Popen[str]:
    """The installed program, somewhere else than in the repository and without anything of it."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "POLYTRADERS_HOME": str(home), "POLYTRADERS_JIT": "0"}
    return subprocess.Popen(
        [str(program), *words, "--json"], stdout=subprocess.PIPE, text=True, cwd=home, env=environment
    )


@pytest.mark.parametrize(("mode", "sign"), [
    ("shadow", lambda events, decisions, actions: (decisions["code"] == Code.EXEC_DRY_RUN).any()),
    ("paper", lambda events, decisions, actions: (events["kind"] == EventKind.ORDER_ACK).any()),
    ("live", lambda events, decisions, actions: (actions["kind"] == ActionKind.PROPOSE).any()),
])  # fmt: skip
def test_a_bundle_runs_where_only_its_lock_and_wheel_are(
    installed: tuple[Path, Path], tmp_path: Path, mode: str, sign: Callable[..., bool]
):
    bundle, program = installed
    home = tmp_path / "home"
    with serve("--empty") as venue:
        desk = Desk(venue, home)
        venue.market("rain")
        with breathing(venue, "rain"):
            process = started(
                program, home, "run", "--bundle", str(bundle), "--mode", mode, "--venue", "local", "--venue-urls",
                json.dumps(venue.urls), "--market", "rain",
            )  # fmt: skip
            try:
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
                desk.until(lambda: sign(*said_so_far(Path(told["folder"]))), f"what {mode} does", seconds=180)
                process.send_signal(signal.SIGTERM)
                rest, _ = process.communicate(timeout=180)
            finally:
                process.kill()
        assert process.returncode == 0
        assert venue.state()["accounts"] == {}, "no mode sends anything to the venue from a bundle that is dry"
    summary = json.loads(rest)
    assert told["mode"] == mode
    assert summary["orphans"] == []
    process = started(program, home, "replay", told["run_id"])
    replayed = json.loads(process.communicate(timeout=180)[0])
    assert process.returncode == 0
    assert replayed["ok"]
    assert (summary["orders"] > 0) == (mode == "paper")
    if mode == "live":
        assert desk.intents("--all"), "what it proposed stands on its desk"


def test_the_environment_imports_none_of_the_notebooks_tools(installed: tuple[Path, Path], tmp_path: Path):
    _, program = installed
    asked = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    done = subprocess.run(
        [str(program.parent / "python"), "-c", asked, "nbdev", "execnb", "IPython", "ipykernel", "jupyterlab", "voila"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
