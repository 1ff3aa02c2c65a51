"""The desk's database: versions, what it refuses, what `check` finds and `rebuild` mends. SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from desk_cases import ANN, BEN, MARKET, NOW, POLICY, RUN, S, made
from sqlalchemy import text

from polytraders.errors import DamageError, UsageError
from polytraders.store.desk import (
    Quote,
    approve,
    arm,
    board,
    check,
    clear,
    executed,
    heartbeat,
    intent,
    intents,
    propose,
    put_run,
    rebuild,
    reject,
    runs,
    since,
    standing,
    switch_id,
    utilisation,
)
from polytraders.store.desk.check import columns_of
from polytraders.store.desk.schema import JOURNALED, MIGRATIONS, PART
from polytraders.store.sql import Database, upgrade, version

ID = made().intent.trade_intent_id


def busy(desk):
    """A little of everything."""
    propose(desk, [made(n) for n in range(1, 6)], NOW)
    approve(desk, ID, ANN, "cli", POLICY, NOW + S)
    executed(desk, ID, "0xd1", NOW + 2 * S)
    reject(desk, made(2).intent.trade_intent_id, BEN, "http", "no", NOW + 2 * S)
    arm(desk, "market", MARKET, ANN, "cli", "odd", NOW + 3 * S)
    clear(desk, switch_id("market", MARKET), BEN, "cli", "fine again", NOW + 4 * S)


def behind_its_back(desk, statement, **values):
    """Change a row as somebody with a file editor would: triggers off."""
    with desk._engine.connect() as connection:
        if desk.dialect == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        else:
            for name in ("actions_stay", "actions_remain"):
                connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        done = connection.execute(text(statement), values)
        assert done.rowcount or statement.startswith("ALTER"), "nothing was damaged"
        connection.commit()


def test_an_old_database_is_brought_up_with_what_it_holds(url, opened):
    old = Database(url)
    assert version(old, PART) == 0
    upgrade(old, PART, MIGRATIONS[:1])
    propose(old, [made()], NOW)
    assert check(old)[0].kind == "version"
    old.close()
    desk = opened(url)
    assert version(desk, PART) == len(MIGRATIONS) and check(desk) == []
    assert intent(desk, ID)["status"] == "PENDING"


def test_a_newer_database_is_refused(url):
    newer = Database(url)
    upgrade(newer, PART, (*MIGRATIONS, ("CREATE TABLE of_tomorrow (id TEXT)",)))
    with pytest.raises(UsageError, match="this program knows"):
        upgrade(newer, PART, MIGRATIONS)
    newer.close()


def test_a_migration_that_fails_leaves_nothing_behind(url):
    desk = Database(url)
    with pytest.raises((DamageError, UsageError)):
        upgrade(desk, PART, (("CREATE TABLE half (id TEXT)", "CREATE TABLE half (id TEXT)"),))
    assert version(desk, PART) == 0
    with pytest.raises(UsageError, match="db init"), desk.read() as tx:
        tx.rows("SELECT * FROM half")
    desk.close()


def test_an_action_is_never_changed_and_never_removed(desk):
    busy(desk)
    for statement in ("UPDATE operator_actions SET actor = 'eve'", "DELETE FROM operator_actions"):
        with pytest.raises((DamageError, UsageError), match="append-only"), desk.write() as tx:
            tx.run(statement)
    assert check(desk) == []


def test_a_transaction_is_there_whole_or_not_at_all(desk):
    busy(desk)
    before = since(desk, 0)

    def interrupted():
        with desk.write() as tx:
            tx.run("DELETE FROM trade_intents")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert since(desk, 0) == before and len(intents(desk, ())) == 5


@pytest.mark.parametrize(
    ("damage", "kind", "where"),
    [
        ("UPDATE operator_actions SET actor = 'eve' WHERE seq = 6", "chain", "operator_actions 6"),
        ("UPDATE operator_actions SET ts_ns = ts_ns + 1 WHERE seq = 2", "chain", "operator_actions 2"),
        ("DELETE FROM operator_actions WHERE seq = 3", "chain", "operator_actions 4"),
        ("UPDATE trade_intents SET status = 'APPROVED' WHERE corr = 4", "table", "trade_intents ti_"),
        ("UPDATE trade_intents SET notional_micro = 1 WHERE corr = 1", "table", "trade_intents ti_"),
        ("DELETE FROM approvals WHERE actor = 'ann'", "table", "approvals apr_"),
        ("UPDATE switches SET state = 'clear', firings = 0", "table", "switches ks_"),
        ("UPDATE trade_intents SET document = '{}' WHERE corr = 1", "document", "trade_intents ti_"),
    ],
)
def test_check_finds_and_names_what_was_changed(desk, damage, kind, where):
    busy(desk)
    assert check(desk) == []
    behind_its_back(desk, damage)
    faults = check(desk)
    assert any(fault.kind == kind and fault.where.startswith(where) for fault in faults), faults


def test_check_finds_an_action_somebody_wrote(desk):
    busy(desk)
    values = since(desk, 0)[-1]
    behind_its_back(
        desk,
        "INSERT INTO operator_actions SELECT seq + 1, ts_ns, 'approve', actor_kind, actor, channel, run_id, subject, "
        "payload, writes, hash, hash FROM operator_actions WHERE seq = :seq",
        seq=values.seq,
    )
    assert next((f.kind, f.where) for f in check(desk)) == ("chain", f"operator_actions {values.seq + 1}")


def contents(desk):
    with desk.read() as tx:
        return {t: tx.rows(f"SELECT * FROM {t} ORDER BY {', '.join(keys)}") for t, keys in JOURNALED.items()}


def test_rebuild_folds_the_tables_again_from_the_actions(desk):
    busy(desk)
    before = contents(desk)
    behind_its_back(desk, "UPDATE trade_intents SET status = 'APPROVED' WHERE corr = 4")
    behind_its_back(desk, "DELETE FROM approvals WHERE actor = 'ann'")
    assert check(desk)
    assert rebuild(desk)["trade_intents"] == 5
    assert check(desk) == [] and contents(desk) == before


def test_rebuild_refuses_a_broken_chain(desk):
    busy(desk)
    behind_its_back(desk, "UPDATE operator_actions SET payload = '{}' WHERE seq = 2")
    with pytest.raises(DamageError, match="actions themselves"):
        rebuild(desk)
    assert len(intents(desk, ())) == 5


def test_every_table_has_the_columns_its_migration_says(desk):
    assert columns_of("approvals")[:2] == ["approval_id", "trade_intent_id"]
    assert {t for t, keys in JOURNALED.items() if not set(keys) <= set(columns_of(t))} == set()


def test_both_databases_write_the_same_actions(desk, opened, tmp_path):
    """The last hash covers everything before it."""
    other = opened(f"sqlite:///{tmp_path / 'other.sqlite'}")
    busy(desk)
    busy(other)
    assert since(desk, 0) == since(other, 0) and contents(desk) == contents(other)


# -- what runs tell ------------------------------------------------------------------------------------------------


def test_the_board_holds_what_a_run_said_last(desk):
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    told = {"account": {"account": {"equity": "1000"}}, "health": {"feed": {"up": True}, "log": {"up": True}}}
    heartbeat(desk, RUN, NOW + S, state="running", topics=told)
    heartbeat(desk, RUN, NOW + 2 * S, topics={"health": {"feed": {"up": False}}})
    assert [row["name"] for row in board(desk, "health")] == ["feed"] and board(desk, "health")[0]["up"] is False
    assert board(desk, "account")[0]["equity"] == "1000"
    (run,) = runs(desk, NOW + 12 * S)
    assert run["alive"] and run["state"] == "running"
    assert not runs(desk, NOW + 12 * S + 1)[0]["alive"]  # silent for more than ten seconds
    heartbeat(desk, RUN, NOW + 13 * S, state="stopped")
    assert not runs(desk, NOW + 13 * S)[0]["alive"]


def test_a_run_that_never_began_and_a_topic_nobody_knows_are_refused(desk):
    with pytest.raises(UsageError, match="no run of this id"):
        heartbeat(desk, RUN, NOW)
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    with pytest.raises(UsageError, match="gossip"):
        heartbeat(desk, RUN, NOW, topics={"gossip": {}})
    heartbeat(desk, RUN, NOW, quotes=[Quote(MARKET, "YES", 1, 2, "", NOW)] * 1)


def test_limits_are_listed_by_how_close_they_are_to_their_breach(desk):
    put_run(desk, RUN, mode="live", strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW)
    limits = {
        "exposure": {"observed": "150", "limit": "200", "unit": "pUSD", "slope_per_s": "0.5"},
        "drawdown": {"observed": "3.9", "limit": "4", "unit": "pct"},
        "orders": {"observed": "21", "limit": "20", "unit": "count"},
        "nothing": {"observed": "0", "limit": "0", "unit": "pUSD", "slope_per_s": "-1"},
    }
    heartbeat(desk, RUN, NOW, topics={"limits": limits})
    told = [(row["name"], row["used"], row["breach_s"]) for row in utilisation(desk)]
    assert told == [
        ("orders", "1.0500", 0),
        ("drawdown", "0.9750", None),
        ("exposure", "0.7500", 100),
        ("nothing", "0.0000", 0),
    ]


def test_what_stands_now_leaves_out_what_ended_with_its_run(desk):
    """Except the money of a live run, which is at the venue; and a run that is named is told whole."""
    for run, mode, state, age in (
        ("r_a", "live", "running", 1), ("r_b", "live", "running", 60), ("r_c", "live", "stopped", 60),
        ("r_d", "paper", "failed", 60),
    ):  # fmt: skip
        put_run(desk, run, mode=mode, strategy_id="strat.momentum", portfolio_id="PORT-001", now=NOW - 90 * S)
        told = {"positions": {"x:YES": {"value_pusd": "1"}}, "limits": {"loss": {"observed": "1", "limit": "2"}},
                "bots": {"risk.killswitch": {"mode": "shadow"}}}  # fmt: skip
        heartbeat(desk, run, NOW - age * S, state=state, topics=told)
    held = [(row["run_id"], row["mode"], row["stands"]) for row in standing(desk, "positions", NOW)]
    assert held == [("r_a", "live", ""), ("r_b", "live", "silent"), ("r_c", "live", "stopped")]
    limits = standing(desk, "limits", NOW)
    assert [(row["run_id"], row["used"], row["stands"]) for row in limits] == [
        ("r_a", "0.5000", ""), ("r_b", "0.5000", "silent"),
    ]  # fmt: skip
    assert {row["mode"] for row in standing(desk, "bots", NOW)} == {"shadow"}, "a bot's own mode stays"
    (named,) = standing(desk, "limits", NOW, "r_d")
    assert (named["stands"], named["mode"]) == ("failed", "paper")


# -- where it lies -----------------------------------------------------------------------------------------------


def test_a_password_is_in_no_message():
    desk = Database("postgresql://ann:correct-horse@127.0.0.1:1/none")
    with pytest.raises(UsageError) as refused, desk.read():
        pass
    assert "correct-horse" not in str(refused.value) and "ann" in str(refused.value)
    desk.close()


@pytest.mark.parametrize("url", ["mysql://somewhere/x", "no url at all", "oracle://x"])
def test_another_database_is_refused(url):
    with pytest.raises(UsageError, match=r"no database URL|is supported"):
        Database(url)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "desk.sqlite").write_bytes(b"this is a letter to my aunt, not a database at all" * 40)
    desk = Database(f"sqlite:///{tmp_path / 'desk.sqlite'}")
    (fault,) = check(desk)
    assert fault.kind == "file" and "not a database" in fault.what
    desk.close()
