"""The receipts of runs on a real PostgreSQL server: the same rows as in SQLite, the same checks."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from tiny_run import RUN_ID, write_run

from polytraders.store.envelopes import envelopes, open_store, project, shown, store_path, verify_chain

pytestmark = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


@pytest.fixture
def run(home):
    return write_run(home / "runs" / RUN_ID)


def test_the_server_holds_the_same_receipts_as_the_file(run, url, tmp_path):
    file = tmp_path / "store.sqlite"
    assert project(run, url) == project(run, file)
    assert list(envelopes(url, RUN_ID)) == list(envelopes(file, RUN_ID)) != []
    verdict = verify_chain(url, RUN_ID)
    assert verdict.ok and verdict == verify_chain(file, RUN_ID)


def test_projecting_again_gives_the_same_rows(run, url):
    first = project(run, url)
    before = list(envelopes(url, RUN_ID))
    assert project(run, url) == first and list(envelopes(url, RUN_ID)) == before


def test_single_intents_are_projected_and_checked(run, url):
    project(run, url)
    wanted = next(e["correlation_id"] for e in envelopes(url, RUN_ID) if not e["correlation_id"].endswith("0000000"))
    with closing(open_store(url)) as store:
        store.execute("DELETE FROM envelopes WHERE run_id = ?", (RUN_ID,))
        store.execute("DELETE FROM receipt_runs WHERE run_id = ?", (RUN_ID,))
    part = project(run, url, correlation=wanted)
    assert 0 < part.written < part.envelopes
    assert [e["correlation_id"] for e in envelopes(url, RUN_ID, wanted)] == [wanted] * part.written
    verdict = verify_chain(url, RUN_ID)
    assert verdict.ok and not verdict.complete


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE envelopes SET body = replace(body, 'INFO', 'WARN') WHERE seq = 0", "not what was sealed"),
        ("UPDATE envelopes SET reason_code = 'RISK_STALE_BOOK' WHERE seq = 1", "a column beside it differs"),
        ("DELETE FROM envelopes WHERE seq = 1", "missing"),
        ("DELETE FROM envelopes WHERE seq = (SELECT max(seq) FROM envelopes)", "the chain ends after"),
    ],
)
def test_damage_is_found(run, url, damage, what):
    project(run, url)
    with closing(open_store(url)) as store:
        assert store.execute(damage).rowcount
    verdict = verify_chain(url, RUN_ID)
    assert not verdict.ok and what in verdict.message


def test_a_projection_that_fails_leaves_what_was_there(run, url, monkeypatch):
    project(run, url)
    before = list(envelopes(url, RUN_ID))

    def broken(*_):
        raise RuntimeError("in the middle")

    monkeypatch.setattr("polytraders.store.envelopes._row", broken)
    with pytest.raises(RuntimeError):
        project(run, url)
    monkeypatch.undo()
    assert list(envelopes(url, RUN_ID)) == before and verify_chain(url, RUN_ID).ok


def test_the_environment_names_the_server_and_no_message_its_password(url, monkeypatch):
    monkeypatch.setenv("POLYTRADERS_DATABASE", url)
    assert store_path() == url
    monkeypatch.setenv("POLYTRADERS_DATABASE", "sqlite:////tmp/x.sqlite")
    assert isinstance(store_path(), Path)
    assert shown("postgresql://ann:horse@h/db") == "postgresql://ann:***@h/db"
    assert verify_chain(url, "never-projected") is None
