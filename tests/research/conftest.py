"""A synthetic recording for all research tests, and settings under which maker_tight trades on it."""

from __future__ import annotations

import pytest

from polytraders.config import load_settings
from polytraders.data.catalog import Catalog
from polytraders.data.importer import import_files
from polytraders.data.synth import synthesise


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    """Five made-up minutes in five markets, about 9 000 rows."""
    folder = tmp_path_factory.mktemp("research")
    import_files(synthesise(folder / "frames", seed=7, minutes=5, markets=5)[:1], "toy", root=folder / "catalog")
    return Catalog(folder / "catalog").load("toy")


@pytest.fixture(scope="session")
def settings():
    return load_settings().with_overrides({"strat.maker_tight.min_volume_24h_usd": "0"})
