"""What bench/results.json says of a measurement, and the table made of it: each row its own time, commit and load."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from repository import ROOT

from bench import run as bench
from bench.run import Result

OF_A_MEASUREMENT = {"measured_at", "commit", "load_at_start"}
HOST = {"cpu": "This one", "memory_gb": 8.0, "kernel": "6", "python": "3.11", "numpy": "2", "numba": "0"}


def part(name: str) -> Callable[..., list[Result]]:
    detail = {"what": "a thing", "peer_name": "budget", "at_most": 1.0}
    return lambda rounds, say: [Result(name, rounds, "s", 2.0, rounds / 2.0, dict(detail))]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Parts that take no time, results and page of the test's own."""
    page = "\n".join((bench.TABLE_BEGIN, bench.TABLE_END, bench.FAULTS_BEGIN, bench.FAULTS_END, ""))
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(bench, "PARTS", {"one": part("one"), "two": part("two")})
    bench.PAGE.write_text(page)


def measure(monkeypatch: pytest.MonkeyPatch, day: str, cpu: str, rounds: int, *parts: str) -> dict[str, dict]:
    """Measure on a day and a processor, write, and give back the rows by name."""
    monkeypatch.setattr(bench, "now", lambda: f"{day}T12:00:00+00:00")
    monkeypatch.setattr(bench, "cpu", lambda: cpu)
    bench.write(bench.kept(bench.run(rounds, lambda text: None, parts)))
    return {row["name"]: row for row in json.loads(bench.RESULTS.read_text())}


def test_the_machine_has_neither_time_nor_load_and_every_measurement_its_own():
    host = bench.machine()
    assert not host.detail.keys() & OF_A_MEASUREMENT
    assert host.value >= 1 and host.detail["cpu"] == bench.cpu()
    assert len(bench.circumstances()["load_at_start"]) == 3


def test_what_is_measured_again_has_its_new_date_and_the_rest_keeps_its_own(own, monkeypatch):
    first = measure(monkeypatch, "2026-01-02", "This one", 1, "one", "two")
    assert all(row["detail"].keys() >= OF_A_MEASUREMENT for name, row in first.items() if name != "machine")
    second = measure(monkeypatch, "2026-03-04", "Another", 3, "two")
    assert second["one"] == first["one"] and second["machine"] == first["machine"]
    assert (second["two"]["value"], second["two"]["detail"]["measured_at"][:10]) == (3, "2026-03-04")
    told = {line.split(":")[0]: line for line in bench.PAGE.read_text().splitlines() if line.startswith("| ")}
    assert told["| one"].endswith("| met | 2026-01-02 |")
    assert told["| two"].endswith("| **missed** | 2026-03-04, Another |")


def test_a_row_of_an_unknown_time_says_so():
    rows = [Result("machine", 2, "cores", None, None, HOST), *part("one")(1, print)]
    head, *_, row = bench.table(rows).splitlines()
    assert head == "This one, 2 cores, 8.0 GB · Linux 6 · Python 3.11, numpy 2, numba 0"
    assert row.endswith("| not known |")


def test_the_page_shows_the_results_that_are_kept():
    rows = [Result(**row) for row in json.loads((ROOT / "bench" / "results.json").read_text())]
    assert not rows[0].detail.keys() & OF_A_MEASUREMENT, "of the machine"
    assert all(row.detail["measured_at"] and row.detail["commit"] for row in rows[1:])
    page = (ROOT / "BENCHMARKS.md").read_text()
    assert page == bench.between(page, bench.TABLE_BEGIN, bench.TABLE_END, bench.table(rows))
