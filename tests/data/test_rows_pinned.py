"""The rows of every real recording, to the last byte: what made them is free to become faster, not to change them.

The digests were taken from the plainest form of the normaliser, in which each full book is read, compared and
searched from scratch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import orjson
import pytest

PINNED = json.loads((Path(__file__).parent.parent / "golden" / "recording_rows.json").read_text())


def digests(catalog, name):
    """SHA-256 of a recording's event rows, messages, findings and markets."""
    found = {"events": hashlib.sha256(catalog._events(name, catalog.manifest(name)).tobytes()).hexdigest()}
    for which in ("messages", "quality", "markets"):
        rows = catalog.table(name, which).to_pylist()
        text = orjson.dumps(rows, default=lambda value: value.hex())
        found[which] = hashlib.sha256(text).hexdigest()
    return found


@pytest.mark.parametrize("which", PINNED)
def test_the_rows_of_a_real_recording_are_those_of_the_plain_normaliser(real, which):
    imported, catalog, _ = real(which)
    assert digests(catalog, imported.name) == PINNED[which]
