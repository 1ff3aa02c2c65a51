"""The step in real time: rows in, decisions and actions out, nothing allocated on the way.

A decision is made at a time of the event clock, not when somebody calls. So it makes no difference to a replay when
`Step.run` is called or how rows are cut into calls, as long as the caller keeps its promise: after `run(rows, until)`
no row with an earlier receive time than `until` comes. The log of the rows alone then gives every decision again, up
to the last row; `closing_row` (engine.backtest) is the one that a run ends with.

Invariants
    E1  a call with rows that the kernels could not take safely changes nothing
    E2  rows get their place in the stream (`seq`) here: those handed in are what the log keeps
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from polytraders.engine import loop
from polytraders.engine.jit import JIT
from polytraders.engine.loop import CURSOR_CELLS, DONE, UNTIL
from polytraders.engine.setup import MarketLike, Pipeline, check_events
from polytraders.engine.state import State, as_rows, records
from polytraders.engine.step import N_ACTIONS, N_DECISIONS, N_SAMPLES, new_out
from polytraders.errors import DataError
from polytraders.rows import ACTION, DECISION, EVENT, SAMPLE


class Made(NamedTuple):
    """What the step made of the rows: views of its buffers, good until the next call."""

    decisions: np.ndarray  # DECISION[...]
    actions: np.ndarray  # ACTION[...]
    samples: np.ndarray  # SAMPLE[...]


class Step:
    """The step with its buffers, for a few rows at a time.

    Parameters
    ----------
    state: goes on from where it is: `engine.setup.new_state`, or a snapshot.
    infos: the markets, in the order of the run's table.
    rows: size of the output buffers; more output than that costs a copy and nothing else.
    """

    def __init__(self, state: State, pipeline: Pipeline, infos: tuple[MarketLike, ...] | list, rows: int = 1 << 12):
        self.state = state
        self.infos = tuple(infos)
        self._kernels = pipeline.kernels()
        self._run, self._flush, self._check = (loop.compiled(n) for n in ("feed", "flush_repeats", "unsafe_row"))
        self._out = new_out(rows)
        self._cursor = np.zeros(CURSOR_CELLS, np.int64)
        self._none = records(EVENT, 0)

    @property
    def now(self) -> int:
        """ns, receive time of the last row."""
        return int(self.state.clock[0].now)

    @property
    def seq(self) -> int:
        """Rows taken in since the run began: the `seq` of the last one."""
        return int(self.state.clock[0].seq)

    @property
    def next_decision(self) -> int:
        """ns, the decision time that is armed, 0 = none: call `run` with a later `until` when it is over."""
        return int(self.state.clock[0].next_tick)

    def run(self, events: np.ndarray | None = None, until: int = 0) -> Made:
        """Take rows in, then run the decision times before `until`; without a grid, also that of the last row.

        events: EVENT[n], contiguous, by receive time, none older than the last; `seq` is written here. until: ns, no
        row with an earlier receive time will follow; 0 = nothing is promised, only what the rows themselves pass is
        decided. Raises DataError when a row is not one the kernels can take.
        """
        given = self._none if events is None else events
        if len(given):
            self._admit(given)
        cursor, out = self._cursor, self._out
        cursor[:] = 0
        cursor[UNTIL] = until
        parts: list[Made] = []
        events = given if JIT else as_rows(given)
        with np.errstate(over="ignore"):  # the rolling hashes wrap by design
            while True:
                out.count[:] = 0
                self._run(self.state, self._kernels, events, cursor, out)
                if cursor[DONE] and not parts:
                    return self._made()
                parts.append(Made(*(part.copy() for part in self._made())))
                if cursor[DONE]:
                    return Made(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def flush(self) -> np.ndarray:
        """DECISION[...]: the run-length counts that are still open, for the end of a run."""
        parts = []
        while True:
            self._out.count[:] = 0
            done = self._flush(self.state, self._out)
            parts.append(self._made().decisions.copy())
            if done:
                return np.concatenate(parts)

    def _made(self) -> Made:
        out = self._out
        decisions, actions, samples = (int(out.count[i]) for i in (N_DECISIONS, N_ACTIONS, N_SAMPLES))
        return Made(
            _plain(out.decisions[:decisions], DECISION),
            _plain(out.actions[:actions], ACTION),
            _plain(out.samples[:samples], SAMPLE),
        )

    def _admit(self, events: np.ndarray) -> None:
        """Number the rows, unless one of them must not be taken in."""
        if events.dtype != EVENT or not events.flags.c_contiguous:
            raise DataError(f"rows of {events.dtype}, not of {EVENT}, or not contiguous", where="live rows")
        rows = events if JIT else as_rows(events)
        bad = int(self._check(self.state.markets, rows, self.now, len(self.state.bots)))
        if bad >= 0:
            check_events(events, self.infos, "live rows")  # knows the rule that most of them break
            raise DataError(
                f"row {bad} cannot be taken in after one received at {self.now}: {events[bad]}",
                where="live rows",
                rule="rows come in the order of their receive time; CONFIG rows name a bot and a slot of this run",
                mend="stamp rows where they are merged, from one clock that never steps back",
            )
        seq = self.seq
        events["seq"] = np.arange(seq + 1, seq + 1 + len(events))


def _plain(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return rows if JIT else rows.view(np.ndarray).view(dtype)
