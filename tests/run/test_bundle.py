"""A bundle runs elsewhere: without notebooks' tools, and only what was exported."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import orjson
import pytest

from polytraders.config import load_settings
from polytraders.errors import DamageError, UsageError
from polytraders.run import bundle as bundles
from polytraders.run.bundle import LOCK, MANIFEST, export, open_bundle

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"IPython", "jupyter_core", "jupyter_client", "ipykernel", "nbdev", "nbformat",
                                      "nbconvert", "notebook", "jupyterlab", "papermill", "execnb", "ipywidgets"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import polytraders
assert polytraders.__file__.startswith(sys.argv[1]), polytraders.__file__
from polytraders.config import load_settings
from polytraders.run.bundle import open_bundle
from polytraders.run.pipeline import build_pipeline
from polytraders.run import live, operate, recover
import pathlib
opened = open_bundle(pathlib.Path(sys.argv[2]))
pipeline, _ = build_pipeline(opened.settings, opened.strategy)
print(len(pipeline.bots), opened.settings.hash)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = load_settings().with_overrides({"portfolio.cash_pusd": "250"})
    path, _ = export(settings, "strat.maker_tight", tmp_path_factory.mktemp("out"))
    return path


def test_it_holds_wheel_lock_and_manifest(made: Path):
    opened = open_bundle(made)
    assert opened.strategy == "strat.maker_tight"
    assert str(opened.settings.portfolio.cash_pusd) == "250"
    names = zipfile.ZipFile(made).namelist()
    wheel = next(name for name in names if name.endswith(".whl"))
    assert {MANIFEST, LOCK, wheel} == set(names)
    lock = zipfile.ZipFile(made).read(LOCK).decode()
    assert "numba==" in lock
    assert "aiohttp==" in lock
    assert "--hash=sha256:" in lock
    assert not [line for line in lock.splitlines() if line.startswith(("nbdev==", "jupyterlab==", "ipykernel=="))]
    manifest = opened.manifest
    assert manifest["limits"]["risk.killswitch"]
    assert {bot["bot_id"] for bot in manifest["bots"]} > {"strat.maker_tight", "risk.killswitch", "exec.smartrouter"}


def test_the_wheel_opens_it_where_there_is_no_notebook(made: Path, tmp_path: Path):
    site = tmp_path / "site"
    with zipfile.ZipFile(made) as archive:
        wheel = next(name for name in archive.namelist() if name.endswith(".whl"))
        archive.extract(wheel, tmp_path)
    zipfile.ZipFile(tmp_path / wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "POLYTRADERS_JIT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(site), str(made)], env=environment, capture_output=True, text=True,
        cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bots, digest = done.stdout.split()
    assert int(bots) > 10
    assert digest == open_bundle(made).settings.hash


def test_what_is_not_what_was_exported_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(made).extractall(folder)
    assert open_bundle(folder).strategy == "strat.maker_tight"
    (folder / LOCK).write_bytes((folder / LOCK).read_bytes() + b"\n")
    with pytest.raises(DamageError, match=LOCK):
        open_bundle(folder)
    zipfile.ZipFile(made).extractall(folder)
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    manifest["config"]["portfolio"]["cash_pusd"] = "999"
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest))
    with pytest.raises(DamageError, match="configuration"):
        open_bundle(folder)
    monkeypatch.setattr(bundles, "source_hash", lambda: "0" * 64)
    with pytest.raises(UsageError, match="installed program"):
        open_bundle(made)


def test_what_is_no_bundle_is_told(tmp_path: Path):
    with pytest.raises(UsageError):
        open_bundle(tmp_path / "none.zip")
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(DamageError):
        open_bundle(tmp_path / "bad.zip")
