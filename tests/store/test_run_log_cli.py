"""The commands `trace` and `verify`."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import typer
from tiny_run import RUN_ID, write_run
from typer.testing import CliRunner

from polytraders.cli.run_log import trace, verify
from polytraders.errors import UsageError
from polytraders.store.envelopes import project
from polytraders.store.ids import correlation_id, intent_id
from polytraders.store.log import segment_path

app = typer.Typer()
app.command()(trace)
app.command()(verify)


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, Exception):
        raise result.exception
    assert result.exit_code == code
    return result.output


def test_trace_finds_the_run_from_the_id(run: Path) -> None:
    write_run(run.parent / "another")
    page = call("trace", intent_id(RUN_ID, 1))
    assert "BUY 20 YES @ 0.43" in page
    assert "EXEC_FILL" in page
    assert call("trace", correlation_id(RUN_ID, 1)) == page
    assert call("trace", "1", "--run", RUN_ID) == page


def test_a_bare_number_counts_in_the_latest_run(run: Path) -> None:
    assert orjson.loads(call("trace", "2", "--json"))["intent_id"] == intent_id(RUN_ID, 2)


def test_trace_as_json_is_one_object_and_nothing_else(run: Path) -> None:
    value = orjson.loads(call("trace", intent_id(RUN_ID, 3), "--json"))
    assert value["ending"] == "Rejected by the venue."


def test_trace_of_an_unknown_intent_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="none of the runs"):
        call("trace", intent_id("elsewhere", 1))


def test_verify_says_ok_of_a_good_run(run: Path) -> None:
    text = call("verify", RUN_ID[:8])
    assert "intact: 6 records" in text
    assert "none projected" in text
    value = orjson.loads(call("verify", "--json"))
    assert (value["ok"], value["closed"], value["first_bad"], value["envelopes"]) == (True, True, None, None)
    assert value["run_id"] == RUN_ID


def test_verify_names_the_first_bad_record_and_exits_with_5(run: Path) -> None:
    path = segment_path(run, 0)
    data = bytearray(path.read_bytes())
    data[64 + 64 + 1] ^= 1
    path.write_bytes(data)
    assert "record 0, events" in " ".join(call("verify", code=5).split())
    value = orjson.loads(call("verify", "--json", code=5))
    assert value["ok"] is False
    assert value["first_bad"]["record"] == 0


def test_verify_checks_the_envelopes_of_the_run_too(run: Path, home: Path) -> None:
    import sqlite3

    project(run)
    assert "intact: 29 envelopes" in call("verify")
    connection = sqlite3.connect(home / "store.sqlite")
    connection.execute("DELETE FROM envelopes WHERE seq = 5")
    connection.commit()
    connection.close()
    value = orjson.loads(call("verify", "--json", code=5))
    assert (value["ok"], value["first_bad"], value["envelopes"]["first_bad"]["seq"]) == (False, None, 6)
    assert "envelope 6" in call("verify", code=5)
