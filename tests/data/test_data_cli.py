"""`polytraders data`: what people and programs see."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner
from wire import lines_of

from polytraders.cli.data import app
from polytraders.errors import DataError, UsageError


@pytest.fixture
def run(home):
    def call(*words: str, ok: int = 0):
        result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == ok, result.output
        return result.stdout

    return call


@pytest.fixture
def recording(tmp_path, wire):
    path = tmp_path / "tuesday.jsonl"
    frames = [
        wire.book({"0.48": "10"}, {"0.5": "30"}),
        wire.trade("0.5", "2", "BUY"),
        wire.change(wire.leg("0.5", "28", "SELL", best_bid="0.48", best_ask="0.5")),
    ]
    path.write_bytes(lines_of(frames) + b"{broken\n")
    return path


def test_import_as_json_is_one_object_with_counts_by_kind_and_quality(run, recording):
    said = json.loads(run("import", recording, "--json"))
    assert said["kinds"] == {"book": 1, "last_trade_price": 1, "price_change": 1}
    assert said["quality"] == {"malformed": 1}
    (one,) = said["recordings"]
    assert (one["recording"], one["status"], one["rows"]) == ("tuesday", "imported", 5)
    assert one["problems"][0].startswith("tuesday.jsonl:4: malformed")
    assert json.loads(run("import", recording, "--json"))["recordings"][0]["status"] == "unchanged"


def test_import_tells_a_person_what_was_found_and_assumed(run, recording):
    text = run("import", recording)
    assert "5 rows of 3 messages, 1 markets, 1 trades recorded" in text
    assert "tuesday.jsonl:4: malformed" in text
    assert "Not recorded for 1 of 1 markets" in text
    assert "already imported" in run("import", recording)


def test_strict_stops_with_file_and_line(run, recording):
    with pytest.raises(DataError, match=r"tuesday\.jsonl:4"):
        run("import", recording, "--strict")
    assert json.loads(run("ls", "--json"))["recordings"] == []


def test_ls_lists_and_an_empty_catalog_says_what_to_do(run, recording):
    assert "data import" in run("ls")
    run("import", recording, "--name", "my tuesday", "--json")
    assert "my_tuesday" in run("ls")
    (one,) = json.loads(run("ls", "--json"))["recordings"]
    assert (one["name"], one["rows"], one["trades"]) == ("my_tuesday", 5, 1)


def test_check_holds_and_exits_1_when_it_does_not(run, recording, home):
    run("import", recording)
    assert "holds" in run("check", "tuesday", "--sources", recording.parent)
    said = json.loads(run("check", "tuesday", "--json"))
    assert said["ok"]
    assert (said["books_equal"], said["quotes_agreed"]) == (1, 1)
    rows = next((home / "catalog/tuesday/events").rglob("*.parquet"))
    rows.write_bytes(rows.read_bytes()[:-1])
    said = json.loads(run("check", "tuesday", "--json", ok=1))
    assert not said["ok"]
    assert "SHA-256" in said["problems"][0]


def test_check_sees_a_source_file_that_is_not_the_one_imported(run, recording):
    run("import", recording)
    recording.write_bytes(recording.read_bytes() + b"\n")
    said = json.loads(run("check", "tuesday", "--json", "--sources", recording.parent, ok=1))
    assert "not the file that was imported" in said["problems"][0]
    recording.unlink()
    assert json.loads(run("check", "tuesday", "--json", "--sources", recording.parent))["sources_missing"] == [
        recording.name
    ]


def test_show_writes_one_page_that_needs_no_network(run, recording, tmp_path):
    run("import", recording)
    out = tmp_path / "pages" / "x.html"
    said = json.loads(run("show", "tuesday", "--out", out, "--json"))
    assert (said["trades"], said["inferred"], said["gaps"]) == (1, False, 0)
    page = out.read_text()
    assert "Plotly.newPlot" in page
    assert "best bid" in page
    assert "<script src=" not in page.replace("'", '"')
    with pytest.raises(UsageError, match="has no market"):
        run("show", "tuesday", "--market", "nothing")


def test_synth_writes_a_session_and_imports_it_on_request(run, tmp_path):
    said = json.loads(
        run("synth", tmp_path / "made", "--minutes", 2, "--markets", 4, "--seed", 3, "--import", "--json")
    )
    assert len(said["files"]) == 2
    assert said["import"]["recordings"][0]["markets"] == 4
    assert "synthetic_seed3" in run("ls")


@pytest.mark.parametrize("command", ["check", "show"])
def test_an_unknown_recording_is_an_error_with_a_mend(run, command):
    with pytest.raises(UsageError, match="no recording"):
        run(command, "nothing")
