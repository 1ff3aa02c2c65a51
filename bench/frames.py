"""Frames of the market channel to event rows, as the live stream does it: bytes in, batches of rows out, one core.

    python -m bench.frames [FILE ...]

Without files: the recorded frames of the shared data, each kind of recording on its own. The frames are unwrapped
before the clock starts; what is measured is from a frame's bytes (as the socket gave them) to EVENT records.
The clock is the process's own: what else the machine does is not counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import orjson

from polytraders.data.markets import Registry
from polytraders.data.normalise import Normaliser
from polytraders.data.sources import Message, parts_of, read_lines, unwrap

BATCH = 64
"""Frames between two batches of rows: as many as the stream reads in a row."""
RECORDED = {
    "channel": "raw_all_event_types/btc5m_20260421T215333Z_market-ws.jsonl.zst",
    "books": "btc5m_book_stream/btc-updown-5m_book_20260413T1535-1605.jsonl.zst",
}
"""The whole channel, every event type; and the feed of a trader's screen, nothing but full books of 100 levels."""


def frames_of(path: Path) -> list[tuple[int, bytes]]:
    """(receive time, bytes) of each frame of a recording."""
    found = []
    for _, line in read_lines(path):
        envelope = unwrap(orjson.loads(line))
        if envelope is not None and not envelope.scope:
            found.append((envelope.recv or 0, orjson.dumps(envelope.frame)))
    return found


def run(frames: list[tuple[int, bytes]]) -> dict[str, float]:
    """Normalise them once."""
    normaliser, rows, messages = Normaliser(Registry([]), gap=2**62, keep=False), 0, 0
    normaliser.take(Message(0, 0, 0, frames[0][0], {"event_type": "recorder"}, b"", own=True))
    began = time.process_time()
    for at, (recv, raw) in enumerate(frames):
        for part, frame in enumerate(parts_of(orjson.loads(raw))):
            normaliser.take(Message(0, at, part, recv, frame, b""))
            messages += 1
        if at % BATCH == 0:
            rows += len(normaliser.log.drain()[0])
    rows += len(normaliser.log.drain()[0])
    seconds = time.process_time() - began
    kinds = Counter(normaliser.log.kinds)
    return {
        "frames": len(frames),
        "messages": messages,
        "rows": rows,
        "bytes": sum(len(raw) for _, raw in frames),
        "seconds": seconds,
        "frames_per_second": len(frames) / seconds,
        "kinds": dict(kinds),
    }


def main() -> None:
    """Print one JSON line: name -> best of five."""
    shared = Path(os.environ.get("POLYTRADERS_SHARED", "../shared")) / "data" / "polymarket" / "ws"
    named = {Path(arg).name: Path(arg) for arg in sys.argv[1:]} or {k: shared / v for k, v in RECORDED.items()}
    told = {}
    for name, path in named.items():
        frames = frames_of(path)
        told[name] = max((run(frames) for _ in range(5)), key=lambda one: one["frames_per_second"])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
