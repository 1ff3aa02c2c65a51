"""A strategy to go: the package as a wheel, everything it needs pinned, and a manifest that says what is in it.

    <strategy>-<config hash>.zip
        polytraders-X.whl     the package, bots and strategy included; neither notebooks nor what makes them
        requirements.lock     every dependency of a run with version and hashes, from the project's own lock
        bundle.json           strategy, source hash, configuration and its hash, bots with versions and parameters,
                              limits, and SHA-256 of the other two

Where it is to run: `uv venv && uv pip install --require-hashes -r requirements.lock && uv pip install --no-deps *.whl`,
then `polytraders run --bundle X.zip ...`. What runs must hash to what was exported.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from polytraders import __version__
from polytraders.engine.jit import PACKAGE, source_hash
from polytraders.errors import DamageError, UsageError
from polytraders.run.pipeline import build_pipeline
from polytraders.store.log import canonical_json
from polytraders.store.manifest import git_state
from polytraders.units import iso_utc

if TYPE_CHECKING:
    from polytraders.config import Settings

FORMAT = 1
MANIFEST, LOCK = "bundle.json", "requirements.lock"
EXTRAS = ("venue", "desk")
"""Optional parts that a run needs; those the project has are pinned."""
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "polytraders", "nbs/reports")
_STAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip knows: the same content is the same file


@dataclass(frozen=True)
class Bundle:
    """An opened bundle."""

    path: Path
    manifest: dict[str, Any]
    settings: Settings

    @property
    def strategy(self) -> str:
        return self.manifest["strategy"]


def export(settings: Settings, strategy: str, out: Path) -> tuple[Path, dict[str, Any]]:
    """Make a bundle in the folder `out`; its path and manifest.

    Raises ConfigError for settings that cannot run, UsageError outside the repository or without uv.
    """
    root = PACKAGE.parent
    if not (root / "pyproject.toml").is_file() or not (root / "uv.lock").is_file():
        raise UsageError(
            "this is an installed package, not the repository",
            where=str(root),
            rule="a bundle is made from the sources and the lock beside them",
            mend="export from a checkout",
        )
    pipeline, bots = build_pipeline(settings, strategy, run_mode="live")
    strategy = pipeline.of("strat")[0].bot.id
    wheel_name, wheel = _wheel(root)
    lock = _lock(root)
    manifest = {
        "format": FORMAT,
        "strategy": strategy,
        "package_version": __version__,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "source_hash": source_hash(),
        "git": git_state(root),
        "config": settings.as_dict(),
        "config_hash": settings.hash,
        "bots": [{k: v for k, v in bot.items() if k != "params"} for bot in bots],
        "limits": {
            bot["bot_id"]: {p["name"]: f"{p['value']} {p['unit']}".strip() for p in bot["params"]}
            for bot in bots
            if bot["family"] == "risk"
        },
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in ((wheel_name, wheel), (LOCK, lock))},
        "created": iso_utc(time.time_ns()),
    }
    path = out / f"{strategy}-{settings.hash[:12]}.zip"
    out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in ((MANIFEST, canonical_json(manifest)), (LOCK, lock), (wheel_name, wheel)):
            archive.writestr(zipfile.ZipInfo(name, _STAMP), data, zipfile.ZIP_DEFLATED)
    os.replace(temporary, path)
    return path, manifest


def _wheel(root: Path) -> tuple[str, bytes]:
    """(name, bytes) of the package's wheel, built by its own build backend in a copy: nothing is left in the tree."""
    from setuptools import build_meta

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "source"
        for name in _SOURCES:
            source, target = root / name, copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
            else:
                shutil.copy2(source, target)
        with contextlib.chdir(copy), _quiet():
            name = build_meta.build_wheel(folder)
        return name, (Path(folder) / name).read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the build says is of no interest, unless it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except (Exception, SystemExit) as error:
        raise UsageError(f"the wheel could not be built: {error}", mend=said.getvalue()[-2_000:]) from error


def _lock(root: Path) -> bytes:
    """requirements.lock: the project's lock for a run, without the project itself."""
    uv = shutil.which("uv")
    if uv is None:
        raise UsageError("uv is not installed", rule="it turns the project's lock into a list", mend="pip install uv")
    import tomllib

    known = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    extras = [word for extra in EXTRAS if extra in known for word in ("--extra", extra)]
    done = subprocess.run(
        [uv, "export", "--frozen", "--offline", "--no-dev", "--no-emit-project", "--no-header", *extras],
        cwd=root,
        capture_output=True,
        timeout=120,
    )
    if done.returncode:
        raise UsageError("the lock could not be exported", mend=done.stderr.decode(errors="replace").strip()[-2_000:])
    return done.stdout


def open_bundle(path: Path) -> Bundle:
    """Open a bundle (its .zip, or the folder it was unpacked to) and hold everything against its manifest.

    Raises DamageError when a file is not what was exported, UsageError when the program that runs is not.
    """
    from polytraders.config import settings_from

    files = _files(path)
    try:
        manifest = orjson.loads(files[MANIFEST])
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, this program reads {FORMAT}")
        named = manifest["files"]
        settings = settings_from(manifest["config"], f"{path.name}/{MANIFEST}")
    except (KeyError, ValueError, TypeError) as error:
        raise DamageError(f"is no bundle: {error}", where=str(path), mend="export it again") from None
    for name, digest in named.items():
        if hashlib.sha256(files.get(name, b"")).hexdigest() != digest:
            raise DamageError(
                f"{name} is not what was exported", where=str(path), rule=f"its SHA-256 is {digest}",
                mend="copy the bundle again",
            )  # fmt: skip
    if settings.hash != manifest["config_hash"]:
        raise DamageError("its configuration is not what was exported", where=str(path), mend="export it again")
    if manifest["source_hash"] != source_hash():
        raise UsageError(
            "the installed program is not the bundle's",
            where=str(path),
            rule="what runs has the kernels that were exported",
            mend="install its wheel: uv pip install --no-deps " + next(n for n in named if n.endswith(".whl")),
        )
    return Bundle(path, manifest, settings)


def _files(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}
    if not path.is_file():
        raise UsageError("there is no such bundle", where=str(path), mend="make one with `polytraders export`")
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise DamageError(f"cannot be read: {error}", where=str(path), mend="copy it again") from None
