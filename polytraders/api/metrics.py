"""What a Prometheus server scrapes: the desk as it stands when it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from polytraders import units
from polytraders.store.desk import runs, standing, switches
from polytraders.store.desk.intents import STATUSES
from polytraders.store.sql import Database

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Desk:
    def __init__(self, desk: Database, now: int):
        self.desk, self.now = desk, now

    def collect(self) -> Iterator[Metric]:
        with self.desk.read() as tx:
            intents = tx.rows("SELECT status, count(*) AS n FROM trade_intents GROUP BY status")
            actions = tx.rows("SELECT kind, count(*) AS n FROM operator_actions GROUP BY kind")
            calls = tx.rows("SELECT status, count(*) AS n FROM calls GROUP BY status")
        counted = {row["status"]: row["n"] for row in intents}
        yield _gauge("intents", "Trade intents by status.", [({"status": s}, counted.get(s, 0)) for s in STATUSES])
        yield _counter("actions", "Entries of the mailbox.", [({"kind": r["kind"]}, r["n"]) for r in actions])
        yield _counter("api_calls", "Calls of this interface.", [({"status": str(r["status"])}, r["n"]) for r in calls])
        known = switches(self.desk)
        yield _gauge(
            "kill_switch_armed",
            "1 = on.",
            [({"scope": s["scope"], "target": s["target"] or ""}, int(s["state"] == "armed")) for s in known],
        )
        yield from self._runs()

    def _runs(self) -> Iterator[Metric]:
        all_runs = runs(self.desk, self.now)
        names = [({"run": r["run_id"], "mode": r["mode"]}, r) for r in all_runs]
        yield _gauge("run_alive", "1 = heard of lately.", [(n, int(r["alive"])) for n, r in names])
        ages = [(n, (self.now - r["heartbeat_ns"]) / units.NS_PER_S) for n, r in names]
        yield _gauge("run_heartbeat_age_seconds", "Since it was heard of.", ages)
        parts = [
            ({"run": r["run_id"], "part": r["name"]}, int(bool(r.get("up"))))
            for r in standing(self.desk, "health", self.now)
        ]
        yield _gauge("part_up", "1 = works.", parts)
        limits = [
            ({"run": r["run_id"], "limit": r["name"]}, float(r["used"]))
            for r in standing(self.desk, "limits", self.now)
        ]
        yield _gauge("limit_used_ratio", "1 = at the limit.", limits)
        account = [
            ({"run": row["run_id"], "what": name}, float(value))
            for row in standing(self.desk, "account", self.now)
            for name, value in row.items()
            if name not in ("run_id", "name", "seen_ns", "mode", "stands") and _number(value)
        ]
        yield _gauge("account_pusd", "The account as the run told it.", account)


def _number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _gauge(name: str, told: str, samples: list[tuple[dict[str, str], float]]) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily, name, told, samples)


def _counter(name: str, told: str, samples: list[tuple[dict[str, str], float]]) -> CounterMetricFamily:
    return _filled(CounterMetricFamily, name, told, samples)


def _filled(family: Any, name: str, told: str, samples: list[tuple[dict[str, str], float]]) -> Any:
    labels = list(samples[0][0]) if samples else []
    metric = family(f"polytraders_{name}", told, labels=labels)
    for values, number in samples:
        metric.add_metric([values[label] for label in labels], number)
    return metric


def exposition(desk: Database, now: int) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Desk(desk, now))
    return generate_latest(registry)
