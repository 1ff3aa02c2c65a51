"""Receipts: one for every row, in a chain that holds, the same on every rebuild."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tiny_run import (
    BUILDER,
    MAKER,
    RUN_ID,
    STALE,
    T0,
    S,
    action,
    decision,
    event,
    hand_made_rows,
    manifest,
    write_run,
)  # fmt: skip

from polytraders import contracts
from polytraders.contracts import ReportEnvelope, seal
from polytraders.errors import DamageError, DataError, UsageError
from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind, Flag, OrderType, Verdict
from polytraders.store.envelopes import (
    MIGRATIONS,
    envelopes,
    open_store,
    project,
    store_path,
    verify_chain,
)
from polytraders.store.ids import correlation_id, intent_id
from polytraders.store.log import LogWriter, RecordKind, read_log, segment_path
from polytraders.store.receipts import Receipts, terms_of


@pytest.fixture
def store(run: Path) -> Path:
    """The hand-made run, projected."""
    project(run)
    return store_path()


def dump(store: Path) -> list[tuple]:
    """Everything in the store."""
    with closing(sqlite3.connect(store)) as connection:
        tables = ("SELECT * FROM runs ORDER BY run_id", "SELECT * FROM envelopes ORDER BY run_id, seq")
        return [row for query in tables for row in connection.execute(query)]


def tamper(store: Path, statement: str) -> None:
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


def of(store: Path, code: str, bot: str = "") -> dict:
    """The one stored envelope with that reason (of that bot)."""
    found = [e for e in envelopes(store, RUN_ID) if e["reason_code"] == code and bot in e["bot_id"]]
    assert len(found) == 1
    return found[0]


# ------------------------------------------------------------------------------------------ one a row


def test_every_decision_action_and_venue_event_has_one_receipt(store: Path) -> None:
    events, decisions, actions = hand_made_rows()
    told = [row for row in events if row["kind"][0] != EventKind.CHANGE]
    kinds = Counter(envelope["kind"] for envelope in envelopes(store, RUN_ID))
    assert sum(kinds.values()) == len(decisions) + len(actions) + len(told) + 2  # begin and end of the run
    assert kinds == {
        "ObservationReport": 4,
        "DecisionReport": 5,
        "RiskVote": 6,
        "ExecutionReport": 10,
        "SettlementReport": 2,
        "OperationsReport": 2,
    }


def test_every_document_is_a_valid_envelope_sealed_as_the_contracts_seal(store: Path) -> None:
    documents = list(envelopes(store, RUN_ID))
    assert contracts.verify_chain(documents) is None
    for document in documents:
        model = ReportEnvelope.model_validate(document)
        assert model.document() == document
        assert seal({k: v for k, v in document.items() if k != "hash"}).hash == document["hash"]


def test_receipts_are_in_the_order_in_which_things_happened(store: Path) -> None:
    first = [
        (e["payload"].get("event") or e["kind"], e["reason_code"])
        for e in envelopes(store, RUN_ID, "oi_" + correlation_id(RUN_ID, 1)[4:])
    ]
    assert first == [
        ("DecisionReport", "STRAT_MAKER_QUOTE_INSIDE"),
        ("RiskVote", "RISK_BOOK_FRESH"),
        ("RiskVote", "RISK_LIQUIDITY_RESHAPED"),
        ("DecisionReport", "STRAT_RESHAPED_BY_RISK"),
        ("planned", "EXEC_ROUTE_PASSIVE"),
        ("submitted", "EXEC_SUBMITTED"),
        ("submitted", "EXEC_SUBMITTED"),
        ("acknowledged", "EXEC_RESTING"),
        ("partially_filled", "EXEC_FILL"),
        ("DecisionReport", "STRAT_MAKER_QUOTE_JOIN"),
        ("RiskVote", "RISK_BOOK_FRESH"),
        ("cancel_sent", "EXEC_CANCEL_SENT"),
        ("cancelled", "EXEC_CANCELLED"),
    ]


def test_versions_modes_and_configuration_are_those_of_the_manifest(store: Path) -> None:
    maker, advised = of(store, "STRAT_RESHAPED_BY_RISK"), of(store, "RISK_LIQUIDITY_INSUFFICIENT")
    assert (maker["bot_version"], maker["config_version"], maker["run_mode"]) == ("0.2.0", "c0" * 8, "backtest")
    assert (advised["bot_version"], advised["mode"]) == ("0.1.1", "advisory")
    assert {e["builder_code"] for e in envelopes(store, RUN_ID)} == {BUILDER}
    assert of(store, "GOV_RUN_STARTED")["payload"]["details"]["pins"] == manifest()["pins"]
    assert of(store, "GOV_RUN_ENDED")["payload"]["details"]["rows"]["decisions"] == 18


def test_both_shapes_and_the_votes_of_a_reshaped_intent_are_kept(store: Path) -> None:
    report = of(store, "STRAT_RESHAPED_BY_RISK")["payload"]
    assert (report["intent"]["size_shares"], report["final_intent"]["size_shares"]) == ("20", "12")
    assert report["intent"]["size_pusd"] == "8.6"  # 20 x 0.43
    assert [vote["decision"] for vote in report["votes"]] == ["APPROVE", "RESHAPE"]
    assert of(store, "RISK_LIQUIDITY_RESHAPED")["payload"]["constraints"]["max_size"] == "12"


def test_measures_are_in_the_unit_of_the_parameter_they_were_held_against(store: Path) -> None:
    (age,) = of(store, "RISK_STALE_BOOK")["payload"]["measures"]
    assert age == {"name": "max_book_age", "value": "4", "limit": "3", "unit": "s"}
    edge, fair = next(e for e in envelopes(store, RUN_ID) if e["kind"] == "DecisionReport")["payload"]["measures"]
    assert (edge["name"], edge["value"], fair["value"]) == ("edge", "0.0125", "0.4425")


def test_a_settlement_adds_up_what_the_fills_came_to(store: Path) -> None:
    rain, snow = [e["payload"] for e in envelopes(store, RUN_ID) if e["kind"] == "SettlementReport"]
    # 5 shares bought at 0.43 = 2.15 pUSD, paid out at 1: 5 - 2.15 = 2.85
    # rebate: fee equivalent 5 x 0.04 x 0.43 x 0.57 = 0.04902, a quarter of it 0.012255
    assert (rain["fills"], rain["realised_pnl_pusd"], rain["rebates_pusd"]) == (1, "2.85", "0.012255")
    assert (rain["net_pnl_pusd"], rain["payout"]) == ("2.862255", "1")
    assert (snow["fills"], snow["net_pnl_pusd"], snow["payout"]) == (0, "0", "0")
    fill = of(store, "EXEC_FILL")["payload"]["fill"]
    assert (fill["fee_pusd"], fill["rebate_pusd"], fill["liquidity"]) == ("0", "0.012255", "maker")


def test_a_fill_that_arrives_after_the_resolution_is_paid_out_too(run: Path) -> None:
    receipts = Receipts(run)
    documents = list(receipts)
    (bought,) = [order.action for order in receipts.orders.values() if order.fills]
    receipts.books.fill(0, bought, 4_300, 1_000_000, 0, 0)
    assert receipts.books.account[0].realised == 2_850_000 + 570_000  # one more share, bought at 0.43 and paid 1
    assert receipts.books.account[0].cost == 0
    assert documents


def settlements(folder: Path, *told: tuple[EventKind, int]) -> list[tuple[int, str, str]]:
    """(fills, realised, net) of each SettlementReport of a run: an order for 12 at 0.43, 5 of it told to be filled by
    the rows `told` (kind, s after the decision), and its market resolved to YES at 60 s."""
    fill = {"aux": 71, "price": 4_300, "size": 5_000_000, "ref": 0, "flags": Flag.MAKER | Flag.LAST}
    events = [event(kind, T0 + at * S, 100 + at, **fill) for kind, at in told]
    events.append(event(EventKind.RESOLUTION, T0 + 60 * S, 160, price=10_000))
    events.sort(key=lambda row: int(row["ts_recv"][0]))
    with LogWriter(folder, manifest()) as writer:
        writer.append(RecordKind.ACTIONS, action(ActionKind.SUBMIT, 71, 1, T0, seq=100))
        writer.append(RecordKind.EVENTS, np.concatenate(events))
        writer.close({})
    found = [d["payload"] for d in Receipts(folder) if d["kind"] == "SettlementReport"]
    return [(p["fills"], p["realised_pnl_pusd"], p["net_pnl_pusd"]) for p in found]


def test_a_fill_that_is_provisional_at_the_resolution_is_settled_with_it(home: Path) -> None:
    """5 bought at 0.43 = 2.15, paid 5.00; the rebate is 0.012255. Its confirmation later changes nothing."""
    early, late = (EventKind.FILL_PROVISIONAL, 3), (EventKind.FILL_CONFIRMED, 63)
    whole = (1, "2.85", "2.862255")
    assert settlements(home / "a", (EventKind.FILL_CONFIRMED, 3)) == [whole]
    assert settlements(home / "b", early, (EventKind.FILL_CONFIRMED, 4)) == [whole]
    assert settlements(home / "c", early, late) == [whole]
    assert settlements(home / "d", early) == [whole]


def test_what_changes_after_a_settlement_is_told_in_another_at_the_end(home: Path) -> None:
    early, voided = (EventKind.FILL_PROVISIONAL, 3), (EventKind.FILL_VOIDED, 63)
    whole, nothing = (1, "2.85", "2.862255"), (0, "0", "0")
    assert settlements(home / "a", early, voided) == [whole, nothing]
    assert settlements(home / "b", (EventKind.FILL_CONFIRMED, 61)) == [nothing, whole]
    assert settlements(home / "c", (EventKind.FILL_VOIDED, 61)) == [nothing]  # of what was never told


def test_what_a_decision_was_based_on_is_named_and_hashed(run: Path, store: Path) -> None:
    records = [r for r in read_log(run).walk() if r.kind is RecordKind.EVENTS]
    late = next(e for e in envelopes(store, RUN_ID) if e["reason_code"] == "STRAT_MAKER_QUOTE_JOIN")
    (read,) = late["reads"]
    assert read["id"] == f"record:{records[1].number}/seq:140-161"
    assert read["hash"] == hashlib.sha256(records[1].rows.tobytes()).hexdigest()


def write_rows(folder: Path, decisions: list[np.ndarray], events: list[np.ndarray] = ()) -> Path:
    with LogWriter(folder, manifest()) as writer:
        for kind, table in ((RecordKind.EVENTS, events), (RecordKind.DECISIONS, decisions)):
            if len(table):
                writer.append(kind, np.concatenate(table))
        writer.close({})
    return folder


def test_a_count_of_equal_decisions_is_told_as_a_count(home: Path) -> None:
    left = decision(STALE, Code.RISK_BOOK_FRESH, corr=0, price=0, size=0, slot=2, repeats=41)
    run = write_rows(home / "r", [left])
    (report,) = [d["payload"] for d in Receipts(run) if d["payload"].get("topic") == "EqualDecisions"]
    assert report["details"] == {"equal_decisions": 41, "slot": 2}


def test_a_decision_to_want_nothing_has_no_intent(home: Path) -> None:
    idle = decision(MAKER, Code.STRAT_MAKER_NO_EDGE, corr=0, price=0, size=0, slot=8)
    run = write_rows(home / "r", [idle])
    (report,) = [d["payload"] for d in Receipts(run) if d["kind"] == "DecisionReport"]
    assert report["intent"] is None
    assert report["measures"] == []


def test_an_answer_about_an_order_the_log_did_not_send_is_told(home: Path) -> None:
    run = write_rows(home / "r", [], [event(EventKind.CANCEL, T0, 1, aux=999)])
    (document,) = [d for d in Receipts(run) if d["reason_code"] == "EXEC_UNKNOWN_ORDER"]
    assert "order 999" in document["payload"]["summary"]


def test_a_decision_that_contradicts_itself_is_refused_and_the_store_is_left_as_it_was(run: Path, store: Path) -> None:
    before = dump(store)
    wrong = decision(STALE, Code.RISK_BOOK_FRESH, verdict=Verdict.REJECT)  # an INFO code cannot reject
    bad = write_rows(run.parent / "bad", [wrong])
    with pytest.raises(DataError, match="does not go with REJECT"):
        project(bad)
    assert dump(store) == before


def test_the_terms_of_an_intent_are_read_from_its_row() -> None:
    assert terms_of(0) == ("GTC", False, False, 60 * S)
    assert terms_of(OrderType.FAK | 8 | 1_500 << 8) == ("FAK", False, True, 1_500_000_000)
    assert terms_of(OrderType.GTD | 4).post_only


# ----------------------------------------------------------------------------------- rebuilt, partial, whole


def test_a_store_that_is_built_again_is_the_same(run: Path, store: Path, tmp_path: Path) -> None:
    before = dump(store)
    project(run)
    assert dump(store) == before
    project(run, tmp_path / "other.sqlite")
    assert dump(tmp_path / "other.sqlite") == before


def test_one_intent_is_projected_as_it_is_in_the_whole(run: Path, store: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.sqlite"
    result = project(run, part, correlation=intent_id(RUN_ID, 2))
    whole = list(envelopes(store, RUN_ID))
    assert list(envelopes(part, RUN_ID)) == [e for e in whole if e["correlation_id"] == correlation_id(RUN_ID, 2)]
    assert (result.envelopes, result.written) == (len(whole), 2)
    verdict = verify_chain(part, RUN_ID)
    assert verdict is not None
    assert (verdict.ok, verdict.complete, verdict.envelopes) == (True, False, 2)
    project(run, part, correlation=correlation_id(RUN_ID, 3))
    project(run, part)
    assert dump(part) == dump(store)
    project(run, part, correlation=intent_id(RUN_ID, 2))  # a part of what is whole leaves it whole
    assert dump(part) == dump(store)


def test_two_runs_live_in_one_store(run: Path, store: Path) -> None:
    other = run.parent / "other"
    with LogWriter(other, manifest() | {"run_id": "other"}) as writer:
        writer.append(RecordKind.DECISIONS, np.concatenate(hand_made_rows()[1]))
        writer.close({})
    project(other)
    for run_id in (RUN_ID, "other"):
        verdict = verify_chain(store, run_id)
        assert verdict is not None
        assert verdict.ok
    assert {e["run_id"] for e in envelopes(store, "other")} == {"other"}
    assert not {e["envelope_id"] for e in envelopes(store, "other")} & {
        e["envelope_id"] for e in envelopes(store, RUN_ID)
    }


def test_a_run_that_was_cut_off_is_projected_as_far_as_it_goes(home: Path) -> None:
    folder = write_run(home / "runs" / RUN_ID, close=False)
    path = segment_path(folder, 0)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)
    project(folder)
    codes = [e["reason_code"] for e in envelopes(store_path(), RUN_ID)]
    assert "GOV_RUN_ENDED" not in codes
    assert "EXEC_CANCEL_SENT" not in codes  # it was in the torn record
    verdict = verify_chain(store_path(), RUN_ID)
    assert verdict is not None
    assert verdict.ok


def test_a_damaged_log_is_not_projected(run: Path) -> None:
    path = segment_path(run, 0)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError, match="damaged"):
        project(run)
    assert not store_path().exists()


def test_progress_counts_up_to_all_rows(run: Path) -> None:
    calls: list[tuple[int, int]] = []
    project(run, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (27, 27)


# ---------------------------------------------------------------------------------------------- tampering


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE envelopes SET body = replace(body, 'REJECT', 'APPROVE') WHERE reason_code = 'RISK_STALE_BOOK'", 14),
        ("UPDATE envelopes SET reason_code = 'RISK_BOOK_FRESH' WHERE reason_code = 'RISK_STALE_BOOK'", 14),
        ("UPDATE envelopes SET emitted_at = emitted_at + 1 WHERE seq = 3", 3),
        ("UPDATE envelopes SET hash = prev_hash WHERE seq = 3", 3),
        ("UPDATE envelopes SET prev_hash = hash WHERE seq = 3", 3),
        ("UPDATE envelopes SET body = body || ' ' WHERE seq = 3", 3),
        ("UPDATE envelopes SET body = 'x' WHERE seq = 3", 3),
        ("UPDATE envelopes SET body = '[]' WHERE seq = 3", 3),
        ("UPDATE envelopes SET body = '{}' WHERE seq = 3", 3),
        ("UPDATE envelopes SET body = (SELECT body FROM envelopes WHERE seq = 4) WHERE seq = 3", 3),
        ("DELETE FROM envelopes WHERE seq = 3", 4),
        ("DELETE FROM envelopes WHERE seq = 0", 1),
        ("DELETE FROM envelopes WHERE seq = 28", 28),
        ("UPDATE envelopes SET seq = seq + 100 WHERE seq = 28", 128),
        ("UPDATE runs SET head = upper(head)", 29),
        ("UPDATE runs SET envelopes = envelopes + 1", 29),
    ],
)
def test_tampering_is_found_and_named(store: Path, statement: str, seq: int) -> None:
    assert verify_chain(store, RUN_ID).ok
    tamper(store, statement)
    verdict = verify_chain(store, RUN_ID)
    assert not verdict.ok
    assert verdict.first_bad["seq"] == seq


def test_an_envelope_resealed_by_somebody_else_breaks_the_chain(store: Path) -> None:
    """A forged receipt with a correct hash of its own does not fit the one after it."""
    document = of(store, "RISK_STALE_BOOK")
    forged = document | {"payload": document["payload"] | {"message": "All is well."}}
    forged["hash"] = contracts.content_hash({k: v for k, v in forged.items() if k != "hash"})
    body = contracts.canonical_json(forged).decode().replace("'", "''")
    tamper(store, f"UPDATE envelopes SET body = '{body}', hash = '{forged['hash']}' WHERE seq = {document['seq']}")
    verdict = verify_chain(store, RUN_ID)
    assert verdict.first_bad["seq"] == document["seq"] + 1
    assert "does not follow" in verdict.message


def test_envelopes_of_another_log_are_found(run: Path, store: Path) -> None:
    log_hash = read_log(run).summary["log"]["hash"]
    assert verify_chain(store, RUN_ID, log_hash).ok
    assert "another hash" in verify_chain(store, RUN_ID, "0" * 64).message


def test_a_store_that_is_no_database_is_told_not_raised(home: Path) -> None:
    assert verify_chain(store_path(), RUN_ID) is None
    store_path().write_bytes(b"this is no database, whatever it says" * 100)
    with pytest.raises(DamageError, match="cannot be used"):
        open_store(store_path())
    assert not verify_chain(store_path(), RUN_ID).ok


def test_a_locked_store_is_told_and_keeps_what_it_has(run: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = dump(store), sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{**k, "timeout": 0}))
    with closing(real(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DamageError, match="locked") as error:
            project(run)
        assert "try again" in error.value.mend
    assert dump(store) == before


# --------------------------------------------------------------------------------------------- migrations


def test_a_store_of_every_older_version_is_brought_up(tmp_path: Path) -> None:
    for version in range(len(MIGRATIONS)):
        path = tmp_path / f"v{version}.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as old:
            for statement in [statement for statements in MIGRATIONS[:version] for statement in statements]:
                old.execute(statement)
            old.execute(f"PRAGMA user_version = {version}")
        with closing(open_store(path)) as store:
            assert store.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
            assert store.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            assert store.execute("SELECT count(*) FROM envelopes").fetchone()[0] == 0


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    with closing(sqlite3.connect(path)) as new:
        new.execute("PRAGMA user_version = 999")
    with pytest.raises(UsageError, match="version 999"):
        open_store(path)
