"""Rows of the run log in about a quarter of their size: each 8-byte word as its difference to an earlier one.

A disk takes longer over the rows of a backtest than the engine over making them. They are packed on the log's own
thread. A row's words are held against those of an earlier row; a packing of n rows is

    first row   as it is
    controls    one for each further row: 4 bits a word, the first word lowest: how many bytes follow for it, 0 ... 8;
                (words + 1) // 2 bytes, little-endian
    SLACK       zero bytes, so that both sides may read and write whole words
    bytes       of each further row's words in turn: the difference, folded (0, -1, 1, -2 ... are 0, 1, 2, 3 ...),
                little-endian
    SLACK       zero bytes

A word's earlier row is the row before it or, where `Shape.context` says so, the row that last came after a row of
the context that the row before has: decisions stand in the order of the bots, so that is mostly the same bot's last.

Invariants
    P1  unpack(pack(rows)) is rows, byte for byte, for any bytes
    P2  unpack reads and writes nothing outside its arrays, whatever it is given: what is no packing is refused
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polytraders.engine.jit import borrow, byte_width, load_word, njit, store_word
from polytraders.rows import ACTION, DECISION, EVENT, SAMPLE

SLACK = 8
CONTEXTS = 64


@dataclass(frozen=True)
class Shape:
    """How rows of a dtype are packed."""

    dtype: np.dtype
    step: np.ndarray  # int64[words]: what a word is expected to grow by
    context: np.ndarray  # bool[words]: held against the row that followed this context last time
    key: int  # the word whose low bits are the context, -1 = none

    @property
    def words(self) -> int:
        """8-byte words of a row."""
        return len(self.step)


def _shape(dtype: np.dtype, step: dict[str, int] | None = None, context: tuple[str, ...] = (), key: str = "") -> Shape:
    def word(field: str) -> int:
        return dtype.fields[field][1] // 8

    steps, contexts = np.zeros(dtype.itemsize // 8, np.int64), np.zeros(dtype.itemsize // 8, np.bool_)
    for field, by in (step or {}).items():
        steps[word(field)] = by
    contexts[[word(field) for field in context]] = True
    return Shape(dtype, steps, contexts, word(key) if key else -1)


SHAPES = {
    shape.dtype: shape
    for shape in (
        _shape(EVENT, {"seq": 1, "ref": 1 << 32}),  # `ref` is the upper half of its word
        _shape(DECISION, context=("observed", "limit", "bot", "terms"), key="bot"),
        _shape(ACTION),
        _shape(SAMPLE),
    )
}


def pack(rows: np.ndarray, buffer: np.ndarray | None = None) -> np.ndarray:
    """uint8[m]: rows of a dtype of `SHAPES`, contiguous and at least one, packed.

    buffer: uint8 array to write to (the result is a view of it) when it is large enough, see `room`.
    """
    shape = SHAPES[np.dtype((np.void, rows.dtype))]
    if buffer is None or len(buffer) < room(shape, len(rows)):
        buffer = np.empty(room(shape, len(rows)), np.uint8)
    words = rows.view(np.int64, np.ndarray).reshape(len(rows), shape.words)
    with np.errstate(over="ignore"):  # differences wrap by design
        return buffer[: _pack_words(words, shape.step, shape.context, shape.key, buffer)]


def unpack(packed: np.ndarray, dtype: np.dtype, count: int) -> np.ndarray | None:
    """`count` rows of a dtype of `SHAPES` from uint8[m]; None when it is no packing of them."""
    shape = SHAPES[dtype]
    least = 8 * shape.words + (count - 1) * _control_bytes(shape.words) + 2 * SLACK
    if count < 1 or len(packed) < least:
        return None
    rows = np.empty(count, dtype)
    words = rows.view(np.int64).reshape(count, shape.words)
    with np.errstate(over="ignore"):
        whole = _unpack_words(np.ascontiguousarray(packed), shape.step, shape.context, shape.key, words)
    return rows if whole else None


def room(shape: Shape, count: int) -> int:
    """Bytes that `count` rows can take at most."""
    return count * (8 * shape.words + _control_bytes(shape.words)) + 2 * SLACK


@njit
def _control_bytes(words):
    return (words + 1) // 2


@njit(_nrt=True)
def _pack(rows, n, step, context, key, out):
    words = rows.shape[1]
    follows = np.zeros(CONTEXTS, np.int64)
    for w in range(words):
        store_word(out, 8 * w, rows[0, w])
    head = 8 * words
    at = head + (n - 1) * _control_bytes(words) + SLACK
    for i in range(1, n):
        earlier = i - 1
        if key >= 0:
            case = rows[i - 1, key] & (CONTEXTS - 1)
            earlier = follows[case]
            follows[case] = i
        control = 0
        for w in range(words):
            past = rows[earlier, w] if context[w] else rows[i - 1, w]
            change = rows[i, w] - past - step[w]
            folded = (change << 1) ^ (change >> 63)
            store_word(out, at, folded)  # what it writes too much is written over by the next
            width = byte_width(folded)
            control |= width << (4 * w)
            at += width
        store_word(out, head, control)
        head += _control_bytes(words)
    store_word(out, head, 0)
    store_word(out, at, 0)
    return at + SLACK


@njit(_nrt=True)
def _unpack(packed, size, step, context, key, rows, n):
    words = rows.shape[1]
    follows = np.zeros(CONTEXTS, np.int64)
    for w in range(words):
        rows[0, w] = load_word(packed, 8 * w)
    head = 8 * words
    at, end = head + (n - 1) * _control_bytes(words) + SLACK, size - SLACK
    for i in range(1, n):
        earlier = i - 1
        if key >= 0:
            case = rows[i - 1, key] & (CONTEXTS - 1)
            earlier = follows[case]
            follows[case] = i
        control = load_word(packed, head)
        head += _control_bytes(words)
        for w in range(words):
            width = (control >> (4 * w)) & 15
            if width > 8 or at + width > end:
                return False
            mask = -1 if width == 8 else (1 << (8 * width)) - 1
            folded = load_word(packed, at) & mask
            at += width
            past = rows[earlier, w] if context[w] else rows[i - 1, w]
            rows[i, w] = past + step[w] + (((folded >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(folded & 1))
    return at == end


# With the number of words known, the loops over them are none.


@njit(nogil=True, _nrt=True)
def _pack_words(rows, step, context, key, out):
    n, step, context, out = rows.shape[0], borrow(step, 0), borrow(context, 0), borrow(out, 0)
    if rows.shape[1] == 8:
        return _pack(borrow(rows, 0, 8), n, step, context, key, out)
    if rows.shape[1] == 12:
        return _pack(borrow(rows, 0, 12), n, step, context, key, out)
    return _pack(borrow(rows), n, step, context, key, out)


@njit(nogil=True, _nrt=True)
def _unpack_words(packed, step, context, key, rows):
    n, size = rows.shape[0], packed.shape[0]
    packed, step, context = borrow(packed, 0), borrow(step, 0), borrow(context, 0)
    if rows.shape[1] == 8:
        return _unpack(packed, size, step, context, key, borrow(rows, 0, 8), n)
    if rows.shape[1] == 12:
        return _unpack(packed, size, step, context, key, borrow(rows, 0, 12), n)
    return _unpack(packed, size, step, context, key, borrow(rows), n)
