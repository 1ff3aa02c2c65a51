"""The gate: nothing leaves without an approval that covers it; a dry run sends nothing; replays see it all again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gated import PIPELINES, TTL, answer_row, answered, digests, merged, mixed_answers, replayed, run, uncovered
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, SHARE, T0, Info, S, Tape, maker, random_tape, script

from polytraders.reasons import Code
from polytraders.rows import ActionKind, Answer, EventKind, Gate, Side

ONE = [Info()]


def book(bid=4_900, ask=5_100) -> Tape:
    return Tape().bid(0, bid, 100).ask(0, ask, 100)


def kinds(sink, kind):
    rows = sink.rows("actions")
    return rows[rows["kind"] == kind] if len(rows) else rows


def codes(sink):
    return [Code(c).name for c in sink.rows("decisions")["code"]]


def rests(price=4_900, size=10, **more):
    return script(price, size * SHARE, wake=100 * MS, **more)


# ------------------------------------------------------------------------------------------------ dry run


def test_a_dry_run_judges_everything_sends_nothing_and_shows_each_order_once():
    sim, sink = run(book().clock(5_000).events(), rests(), gate=Gate.DRY, infos_=ONE)
    assert len(sink.rows("actions")) == 0 and sim.state.account[0].submits == 0
    assert sim.state.account[0].reserved == 0 and sim.state.positions[0].open_orders == 0
    table = sink.rows("decisions")
    shown = table[(table["code"] == Code.EXEC_DRY_RUN) & (table["size"] > 0)]
    assert len(shown) == 1 and shown["out_price"][0] == 4_900 and shown["out_size"][0] == 10 * SHARE
    chain = table[table["corr"] == shown["corr"][0]]
    assert [Code(c).name for c in chain["code"]] == [
        "STRAT_EDGE_DETECTED", "RISK_WITHIN_LIMITS", "EXEC_ROUTE_PASSIVE", "EXEC_DRY_RUN",
    ]  # fmt: skip
    assert sim.state.bots[-1].decisions > 40  # it is judged at every decision, and counted


def test_a_dry_run_shows_an_order_again_when_its_price_moves():
    tape = book().bid(1_000, 4_900, 0).bid(1_000, 4_800, 50).clock(2_000)
    _, sink = run(tape.events(), maker(10 * SHARE, 100 * SHARE), gate=Gate.DRY, infos_=ONE)
    table = sink.rows("decisions")
    shown = table[(table["code"] == Code.EXEC_DRY_RUN) & (table["slot"] == 0) & (table["size"] > 0)]
    assert shown["out_price"].tolist() == [4_900, 4_800]


# ------------------------------------------------------------------------------------------------ proposals


def test_without_an_answer_nothing_is_sent_and_the_proposal_expires_to_the_ms():
    sim, sink = run(book().clock(12_000).events(), script(4_900, 10 * SHARE), infos_=ONE)
    made, over = kinds(sink, ActionKind.PROPOSE), kinds(sink, ActionKind.WITHDRAW)
    assert sim.state.account[0].submits == 0
    # nothing happens in the market: the step wakes itself at the end of each proposal and proposes again
    assert (made["ts"] - T0).tolist() == [0, 5 * S, 10 * S]
    assert (over["ts"] - T0).tolist() == [5 * S, 10 * S] and set(over["expiry"]) == {Code.EXEC_APPROVAL_EXPIRED}
    assert (
        over["corr"].tolist() == made["corr"].tolist()[:2]
        and over["order_id"].tolist() == made["order_id"].tolist()[:2]
    )
    first = made[0]
    assert (first["price"], first["size"], first["expiry"], first["flags"]) == (4_900, 10 * SHARE, 5_000, 1)
    chain = sink.rows("decisions")[sink.rows("decisions")["corr"] == first["corr"]]
    assert [Code(c).name for c in chain["code"]][:4] == [
        "STRAT_EDGE_DETECTED", "RISK_WITHIN_LIMITS", "EXEC_ROUTE_PASSIVE", "EXEC_PROPOSED",
    ]  # fmt: skip


def test_an_approved_order_leaves_at_the_next_decision_under_the_number_of_its_proposal():
    _, sink, _ = answered(
        book().clock(3_000).events(), rests(), lambda p, k: answer_row(p, p["ts"] + 930 * MS), infos_=ONE
    )
    sent = kinds(sink, ActionKind.SUBMIT)
    made = kinds(sink, ActionKind.PROPOSE)
    assert len(sent) == 1 and sent["corr"][0] == made["corr"][0] and sent["ts"][0] - T0 == 1_000 * MS
    assert (sent["price"][0], sent["size"][0]) == (4_900, 10 * SHARE)
    assert codes(sink).count("EXEC_APPROVED") >= 1 and not uncovered(sink)
    table = sink.rows("decisions")
    again = table[(table["corr"] == sent["corr"][0]) & (table["ts"] == sent["ts"][0])]
    assert "RISK_WITHIN_LIMITS" in [Code(c).name for c in again["code"]]  # judged again, not waved through


@pytest.mark.parametrize(
    ("moved", "tolerance", "goes"), [(100, 100, True), (100, 99, False), (0, 0, True), (200, -1, False)]
)
def test_a_price_that_moved_past_the_tolerance_voids_the_approval(moved, tolerance, goes):
    tape = book()
    if moved:
        tape.bid(500, 4_900, 0).bid(500, 4_900 - moved, 50)
    pipeline = maker(10 * SHARE, 100 * SHARE)

    def decide(p, k):
        return answer_row(p, T0 + 600 * MS, Answer.APPROVED, tolerance) if p["slot"] == 0 and k < 2 else None

    _, sink, _ = answered(tape.clock(4_000).events(), pipeline, decide, rounds=2, infos_=ONE, tolerance=150)
    bids = kinds(sink, ActionKind.SUBMIT)
    assert not uncovered(sink)
    if goes:
        assert bids["price"].tolist() == [4_900 - moved]
    else:
        assert len(bids) == 0
        why = Code.EXEC_PROPOSAL_SUPERSEDED if moved > 150 else Code.EXEC_APPROVAL_VOID_PRICE_MOVED
        assert why in kinds(sink, ActionKind.WITHDRAW)["expiry"]


def test_a_rejected_order_is_not_proposed_again_before_its_time_is_over():
    sim, sink, _ = answered(
        book().clock(9_000).events(),
        rests(),
        lambda p, k: answer_row(p, p["ts"] + 500 * MS, Answer.REJECTED) if k == 0 else None,
        infos_=ONE,
    )
    made, over = kinds(sink, ActionKind.PROPOSE), kinds(sink, ActionKind.WITHDRAW)
    assert (made["ts"] - T0).tolist() == [0, 5_500 * MS] and over["expiry"][0] == Code.EXEC_APPROVAL_REJECTED
    assert sim.state.account[0].submits == 0


def test_an_answer_that_is_late_wrong_or_to_nobody_sends_nothing():
    late = book().clock(12_000).events()
    for decide in (
        lambda p, k: answer_row(p, p["ts"] + TTL) if k == 0 else None,
        lambda p, k: answer_row(p, p["ts"] + S, seen=12_345) if k == 0 else None,
    ):
        sim, _, _ = answered(late, rests(), decide, rounds=2, infos_=ONE)
        assert sim.state.account[0].submits == 0
    stranger = answer_row({"market": 0, "corr": 999}, T0 + S)
    sim, _ = run(merged(late, stranger), rests(), infos_=ONE)
    assert sim.state.account[0].submits == 0


def test_the_hash_that_was_shown_is_accepted():
    sim, _, _ = answered(
        book().clock(3_000).events(),
        rests(),
        lambda p, k: answer_row(p, p["ts"] + S, seen=int(p["order_id"]) & 0x7FFFFFFF),
        infos_=ONE,
    )
    assert sim.state.account[0].submits == 1


def test_an_approval_that_is_taken_back_cancels_what_works_under_it():
    events = book().clock(6_000).events()
    sim, sink, merged_ = answered(events, rests(), lambda p, k: answer_row(p, p["ts"] + S), rounds=2, infos_=ONE)
    proposal = kinds(sink, ActionKind.PROPOSE)[0]
    sim, sink = run(merged(merged_, answer_row(proposal, T0 + 2 * S, Answer.REJECTED)), rests(), infos_=ONE)
    assert len(kinds(sink, ActionKind.SUBMIT)) == 1 and len(kinds(sink, ActionKind.CANCEL)) == 1
    assert kinds(sink, ActionKind.CANCEL)["ts"][0] - T0 == 2 * S
    assert sim.state.positions[0].open_orders == 0


def test_re_quotes_within_tolerance_share_one_approval_and_never_exceed_its_size():
    """Approved: 10 at 0.49, two cents either way. The bid moves 0.49 -> 0.48 after 4 have filled: 6 follow."""
    tape = book().trade(1_500, 4_900, 104, Side.SELL).bid(2_000, 4_900, 0).bid(2_000, 4_800, 50)
    tape.trade(3_000, 4_800, 500, Side.SELL).clock(4_900)

    def decide(p, k):
        return answer_row(p, p["ts"] + S, Answer.APPROVED, 200) if k == 0 else None

    sim, sink, _ = answered(
        tape.events(), maker(10 * SHARE, 100 * SHARE), decide, rounds=3, infos_=ONE, approval_ttl=4 * S
    )
    corr = kinds(sink, ActionKind.PROPOSE)["corr"][0]
    sent = kinds(sink, ActionKind.SUBMIT)
    sent = sent[sent["corr"] == corr]
    assert sent["price"].tolist() == [4_900, 4_800] and sent["size"].tolist() == [10 * SHARE, 6 * SHARE]
    consumed = sink.rows("events")
    gone = consumed[(consumed["kind"] == EventKind.CANCEL)]["ts_recv"][0]
    assert sent["ts"][1] >= gone  # it waited until the first one's end was known
    assert "EXEC_APPROVAL_WAITS" in codes(sink)
    assert sim.state.positions[0].yes == 10 * SHARE and not uncovered(sink, approval_ttl=4 * S)


def test_a_kill_switch_voids_proposals_and_approvals():
    tape = book().add(500, EventKind.SWITCH, market=-1, size=1e-6).clock(3_000)
    _, sink = run(tape.events(), rests(), infos_=ONE)
    assert Code.EXEC_APPROVAL_VOID_STOPPED in kinds(sink, ActionKind.WITHDRAW)["expiry"]


def test_complete_sets_are_left_alone_behind_a_gate():
    tape = random_tape(7, 600, resolve=False)
    _, sink = run(tape, PIPELINES["quotes"], gate=Gate.DRY, merge_least=SHARE)
    assert len(sink.rows("actions")) == 0


# ------------------------------------------------------------------------------------------------ properties


SESSIONS = {
    "seed": st.integers(0, 10**6),
    "who": st.sampled_from(sorted(PIPELINES)),
    "interval": st.sampled_from([0, MS, 100 * MS, S]),
    "delay": st.sampled_from([0, MS, 50 * MS, 700 * MS]),
    "settlement": st.sampled_from([0, 700 * MS]),
}


def covered_and_replayed(seed, who, interval, delay, settlement):
    options = {"interval": interval, "markets": 2, "entry_latency": delay, "response_latency": delay}
    options |= {"settlement_delay": settlement, "ghost_rate": 100_000 if settlement else 0}
    pipeline = PIPELINES[who]
    _, sink, _ = answered(random_tape(seed, 200, 2), pipeline, mixed_answers(seed), rounds=4, **options)
    assert uncovered(sink) == []
    again = replayed(sink, pipeline, **options)
    for kind in ("decisions", "actions", "samples"):
        assert sink.rows(kind).tobytes() == again.rows(kind).tobytes(), kind


@settings(max_examples=12, deadline=None)
@given(**SESSIONS)
def test_nothing_leaves_uncovered_larger_or_dearer_than_approved_and_it_all_replays(**session):
    covered_and_replayed(**session)


@pytest.mark.soak
@settings(max_examples=300, deadline=None)
@given(**SESSIONS)
def test_nothing_leaves_uncovered_in_many_sessions(**session):
    covered_and_replayed(**session)


def test_the_property_would_notice():
    """The checker finds what a step without a gate would have sent."""
    _, sink = run(random_tape(3, 300, 2), PIPELINES["quotes"], gate=Gate.OPEN, markets=2)
    assert len(uncovered(sink)) == len(kinds(sink, ActionKind.SUBMIT)) > 0
    _, sink, _ = answered(book().clock(3_000).events(), rests(), lambda p, k: answer_row(p, p["ts"] + S), infos_=ONE)
    sink.parts["actions"][0]["price"][sink.parts["actions"][0]["kind"] == ActionKind.PROPOSE] -= 200
    assert len(uncovered(sink)) == 1


def test_plain_python_gives_the_same_rows_with_a_person_in_the_loop():
    script_ = Path(__file__).with_name("gated.py")
    env = os.environ | {"POLYTRADERS_JIT": "0", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, str(script_)], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2_000:]
    here = digests()
    assert json.loads(done.stdout) == here
    kinds_ = np.sum([entry["kinds"] for entry in here.values()], axis=0)
    assert all(kinds_[k] > 0 for k in (ActionKind.SUBMIT, ActionKind.CANCEL, ActionKind.PROPOSE, ActionKind.WITHDRAW))
