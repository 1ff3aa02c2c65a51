"""How many trade intents a second go through approval: proposed, approved, marked as carried out.

    python bench/intents.py [N]

In batches of 50 (a run's proposals, a policy's approvals, a person's "approve all") and one by one, as a person
answers them; every transaction is synced to the disk before it returns (SQLite, WAL, synchronous = FULL). At the end
the whole database is checked against its chain of actions.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "desk"))

from desk_cases import ANN, NOW, POLICY, S, made

from polytraders.store.desk import approve_many, check, executed_many, open_desk, propose

BATCH = 50


def measure(intents: int, batch: int, url: str | None = None) -> dict[str, float]:
    """Intents a second through approval, `batch` to a transaction, and how long an approval's transaction takes."""
    with tempfile.TemporaryDirectory() as folder, open_desk(url or f"sqlite:///{folder}/desk.sqlite") as desk:
        proposals = [made(n) for n in range(1, intents + 1)]
        waits = []
        begin, busy = time.perf_counter(), time.process_time()
        for first in range(0, intents, batch):
            ids = propose(desk, proposals[first : first + batch], NOW)
            asked = time.perf_counter()
            answers = approve_many(desk, ids, ANN, "cli", POLICY, NOW + S)
            waits.append(time.perf_counter() - asked)
            answers += executed_many(desk, {id_: f"0x{n:x}" for n, id_ in enumerate(ids)}, NOW + 2 * S)
            assert all(answer.ok for answer in answers)
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        assert check(desk) == []
    waits.sort()
    return {
        "intents": intents,
        "batch": batch,
        "per_second": round(intents / seconds),
        "per_cpu_second": round(intents / busy),
        "approval_ms_median": round(waits[len(waits) // 2] * 1_000, 3),
        "approval_ms_p99": round(waits[len(waits) * 99 // 100] * 1_000, 3),
    }


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    print(json.dumps([measure(count, BATCH), measure(count // 5, 1)]))
