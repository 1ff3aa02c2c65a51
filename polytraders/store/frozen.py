"""A named tuple of arrays as bytes, and back: the state of the step, that of the simulated venue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def layout_of(state: Any) -> dict[str, Any]:
    """Shape and dtype of every array, as JSON knows them: two states with the same can take each other's bytes."""
    return {name: [list(a.shape), _spelt(a.dtype)] for name, a in zip(state._fields, state, strict=True)}


def _spelt(dtype: np.dtype) -> str:
    return str(dtype.descr) if dtype.fields else dtype.str


def freeze(state: Any) -> dict[str, bytes]:
    """A copy of every array's bytes: a few milliseconds, so that who works on it can go on at once."""
    return {name: a.tobytes() for name, a in zip(state._fields, state, strict=True)}


def thaw(state: Any, arrays: Mapping[str, bytes]) -> None:
    """Put frozen bytes into a state of the same layout."""
    for name, array in zip(state._fields, state, strict=True):
        array.view(np.uint8).reshape(-1)[:] = np.frombuffer(arrays[name], np.uint8)
