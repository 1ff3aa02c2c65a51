"""How many trade intents a second go through approval: proposed, approved, marked as carried out.

    python bench/intents.py [N]

In batches of 50 (a run's proposals, a policy's approvals, a person's "approve all"), one by one, as a person answers
them, and in batches of 50 through HTTP: a server in a process of its own, a token, every call put down. Every
transaction is synced to the disk before it returns (SQLite, WAL, synchronous = FULL). At the end the whole database is
checked against its chain of actions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "desk"))

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
    return told(intents, batch, seconds, waits) | {"per_cpu_second": round(intents / busy)}


def through_http(intents: int, batch: int) -> dict[str, float]:
    """The same with the approvals through `POST /intents/approve`; the run's side as it is."""
    import httpx
    from desk_cases import LONG

    from polytraders.store.desk.access import create_token

    with tempfile.TemporaryDirectory() as folder, open_desk(f"sqlite:///{folder}/desk.sqlite") as desk:
        _, token = create_token(desk, "ann", ["approve"], ANN)
        now = time.time_ns()
        proposals = [made(n, now=now, policy=LONG) for n in range(1, intents + 1)]
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", f"{folder}/desk.sqlite"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{int(server.stdout.readline())}"
            headers, waits = {"authorization": f"Bearer {token}"}, []
            with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
                client.get("/intents?limit=1").raise_for_status()
                begin = time.perf_counter()
                for first in range(0, intents, batch):
                    some = proposals[first : first + batch]
                    propose(desk, some)
                    shown = [
                        {"id": one.intent.trade_intent_id, "shown_hash": one.intent.shown_hash} for one in some
                    ]  # fmt: skip
                    asked = time.perf_counter()
                    client.post("/intents/approve", json={"intents": shown}).raise_for_status()
                    waits.append(time.perf_counter() - asked)
                    answers = executed_many(desk, {one["id"]: one["shown_hash"] for one in shown})
                    assert all(answer.ok for answer in answers)
                seconds = time.perf_counter() - begin
        finally:
            server.terminate()
            server.wait()
        assert check(desk) == []
    return told(intents, batch, seconds, waits)


def serve(path: str) -> None:
    """The interface on a port of its own, which it prints; calls are not held up, as only one caller is measured."""
    import socket

    import uvicorn

    from polytraders.api.app import create_app
    from polytraders.config import load_settings

    taken = socket.create_server(("127.0.0.1", 0))
    with open_desk(f"sqlite:///{path}") as desk:
        app = create_app(desk, load_settings(), per_minute=1_000_000)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        print(taken.getsockname()[1], flush=True)
        server.run(sockets=[taken])


def told(intents: int, batch: int, seconds: float, waits: list[float]) -> dict[str, Any]:
    """A measurement as it is printed."""
    waits = sorted(waits)
    return {
        "intents": intents,
        "batch": batch,
        "per_second": round(intents / seconds),
        "approval_ms_median": round(waits[len(waits) // 2] * 1_000, 3),
        "approval_ms_p99": round(waits[len(waits) * 99 // 100] * 1_000, 3),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
        batches, http, single = measure(count, BATCH), through_http(count, BATCH), measure(count // 5, 1)
        print(json.dumps({"batches": batches, "http": http, "one_by_one": single}))
