"""One intent's story, from a hand-made log."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import orjson
import pytest
from rich.console import Console
from tiny_run import MAKER, MS, RUN_ID, RUNTIME, STALE, T0, S, action, decision, event, manifest, write_run

from polytraders.errors import DamageError, UsageError
from polytraders.reasons import Code, lookup
from polytraders.rows import ActionKind, EventKind, Verdict
from polytraders.store.ids import correlation_id, intent_id
from polytraders.store.log import LogWriter, RecordKind, segment_path
from polytraders.store.trace import offset_text, quantity_text, trace


def page(story, width: int = 120) -> str:
    out = io.StringIO()
    story.render(Console(file=out, width=width))
    return out.getvalue()


def test_a_story_tells_every_stage_in_order(run: Path) -> None:
    story = trace(run, intent_id(RUN_ID, 1))
    told = [(step.stage, step.code, step.offset) for step in story.steps]
    assert told == [
        ("sensors", "INTEL_FLOW_TOXIC", -5 * S),
        ("sensors", "DISC_MARKET_CANDIDATE", -9 * S),
        ("strategy", "STRAT_MAKER_QUOTE_INSIDE", 0),
        ("risk", "RISK_BOOK_FRESH", 0),
        ("risk", "RISK_LIQUIDITY_RESHAPED", 0),
        ("reshape", "STRAT_RESHAPED_BY_RISK", 0),
        ("plan", "EXEC_ROUTE_PASSIVE", 0),
        ("plan", "EXEC_SUBMITTED", 0),
        ("venue", "", 0),
        ("venue", "EXEC_RESTING", 100 * MS),
        ("venue", "EXEC_FILL", 3 * S),
        ("strategy", "STRAT_MAKER_QUOTE_JOIN", 4 * S),
        ("risk", "RISK_BOOK_FRESH", 4 * S),
        ("venue", "", 4 * S),
        ("venue", "EXEC_CANCELLED", 4 * S + 100 * MS),
        ("settlement", "", 60 * S),
    ]
    assert story.intent == "BUY 20 YES @ 0.43"
    assert story.market["slug"] == "rain"
    assert story.decided_at == T0


def test_the_words_hold_the_numbers_of_the_rows(run: Path) -> None:
    what = {
        step.code or step.what.split(":")[0]: step for step in trace(run, intent_id(RUN_ID, 1)).steps if not step.later
    }
    assert (
        what["STRAT_MAKER_QUOTE_INSIDE"].what
        == "BUY 20 YES @ 0.43; edge 0.0125 pUSD a share against a fair price of 0.4425 pUSD"
    )
    assert what["RISK_BOOK_FRESH"].what == "APPROVE: observed 0.4 s against 3 s"
    assert what["RISK_LIQUIDITY_RESHAPED"].what == (
        "RESHAPE: observed 9 shares against 12 shares; BUY 20 YES @ 0.43  ->  BUY 12 YES @ 0.43"
    )
    assert what["STRAT_RESHAPED_BY_RISK"].what == "BUY 20 YES @ 0.43  ->  BUY 12 YES @ 0.43"
    assert what["sends order 71"].what == "sends order 71: BUY 12 YES @ 0.43, GTC, post-only"
    assert what["EXEC_FILL"].what == "filled 5 @ 0.43 as maker, fee 0 pUSD"
    assert what["each YES share pays 1 pUSD"].stage == "settlement"
    assert what["RISK_BOOK_FRESH"].sentence == lookup("RISK_BOOK_FRESH").user_message


def test_the_ending_says_what_came_of_it(run: Path) -> None:
    denial = lookup("RISK_STALE_BOOK").user_message
    assert trace(run, intent_id(RUN_ID, 1)).ending == "Traded 5 of 12 shares at 0.4300 on average, fees 0 pUSD."
    assert trace(run, intent_id(RUN_ID, 2)).ending == f"Denied by risk.stale_book_guard: {denial}"
    assert trace(run, intent_id(RUN_ID, 3)).ending == "Rejected by the venue."


def test_an_order_that_execution_did_not_send_is_told_as_denied(home: Path) -> None:
    with LogWriter(home / "r", manifest()) as writer:
        rows = [decision(MAKER, Code.STRAT_MAKER_QUOTE_JOIN), decision(RUNTIME, Code.EXEC_NO_FUNDS)]
        writer.append(RecordKind.DECISIONS, np.concatenate(rows))
        writer.close({})
    sentence = lookup("EXEC_NO_FUNDS").user_message
    assert trace(home / "r", "1").ending == f"Denied by exec.runtime: {sentence}"


def test_an_active_kill_switch_names_what_latched_it(home: Path) -> None:
    with LogWriter(home / "r", manifest()) as writer:
        latched = {"observed": Code.RISK_DRAWDOWN_BREACH, "verdict": Verdict.REJECT}
        rows = [decision(MAKER, Code.STRAT_MAKER_QUOTE_JOIN), decision(STALE, Code.RISK_KILL_SWITCH_ACTIVE, **latched)]
        writer.append(RecordKind.DECISIONS, np.concatenate(rows))
        writer.close({})
    assert trace(home / "r", "1").steps[-1].what == "REJECT: observed RISK_DRAWDOWN_BREACH"


def test_a_provisional_fill_and_its_confirmation_are_one_fill_and_a_voided_one_is_none(home: Path) -> None:
    fill = {"aux": 71, "price": 4_300, "size": 5_000_000, "ref": 3}
    kinds = [EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED, EventKind.FILL_PROVISIONAL, EventKind.FILL_VOIDED]
    with LogWriter(home / "r", manifest()) as writer:
        writer.append(
            RecordKind.EVENTS, np.concatenate([event(k, T0 + i, 101 + i, **fill) for i, k in enumerate(kinds)])
        )
        writer.append(RecordKind.DECISIONS, decision(MAKER, Code.STRAT_MAKER_QUOTE_JOIN))
        writer.append(RecordKind.ACTIONS, action(ActionKind.SUBMIT, 71, 1, T0))
        writer.close({})
    assert trace(home / "r", "1").ending == "Traded 5 of 12 shares at 0.4300 on average, fees 0.00003 pUSD."


def test_an_advisory_rejection_is_told_as_not_binding(run: Path) -> None:
    steps = trace(run, intent_id(RUN_ID, 3)).steps
    vote = next(step for step in steps if step.code == "RISK_LIQUIDITY_INSUFFICIENT")
    assert vote.what.endswith("[advisory: not binding]")
    assert vote.details["mode"] == "advisory"


def test_sensors_of_other_markets_and_settlements_without_a_trade_are_left_out(run: Path) -> None:
    steps = trace(run, intent_id(RUN_ID, 3)).steps
    assert [step.code for step in steps if step.stage == "sensors"] == ["DISC_LOW_VOLUME"]
    assert not [step for step in steps if step.stage == "settlement"]


def test_the_page_shows_every_step_at_any_width(run: Path) -> None:
    story = trace(run, intent_id(RUN_ID, 1))
    for width in (70, 120):
        text = page(story, width)
        flat = " ".join(text.replace("│", " ").split())
        for step in story.steps:
            assert step.code in flat
        assert "Will it rain tomorrow?" in flat
        assert "BACKTEST" in flat
        assert max(map(len, text.splitlines())) <= width


def test_the_json_form_is_plain_and_has_numbers_as_text(run: Path) -> None:
    value = orjson.loads(orjson.dumps(trace(run, intent_id(RUN_ID, 1)).as_dict()))
    assert value["intent_id"] == intent_id(RUN_ID, 1)
    assert value["market"] == {"condition_id": "0x" + "11" * 32, "slug": "rain", "question": "Will it rain tomorrow?"}
    fill = next(step for step in value["steps"] if step["reason_code"] == "EXEC_FILL")
    assert {k: fill[k] for k in ("price", "size", "fee", "role", "order_id", "offset_ns")} == {
        "price": "0.43",
        "size": "5",
        "fee": "0",
        "role": "maker",
        "order_id": 71,
        "offset_ns": 3 * S,
    }


def test_a_bare_number_and_an_id_tell_the_same_story(run: Path) -> None:
    assert trace(run, "1") == trace(run, intent_id(RUN_ID, 1)) == trace(run, correlation_id(RUN_ID, 1))


def test_what_the_run_does_not_hold_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="no such intent") as error:
        trace(run, intent_id(RUN_ID, 4))
    assert "1 to 3" in error.value.mend
    with pytest.raises(UsageError, match="another run"):
        trace(run, intent_id("other", 1))
    with pytest.raises(UsageError, match="no such intent"):
        trace(run, "0")


def test_a_torn_run_is_told_as_far_as_it_goes(home: Path) -> None:
    folder = write_run(home / "runs" / RUN_ID, close=False)
    path = segment_path(folder, 0)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)
    story = trace(folder, "1")
    assert story.torn
    assert "torn" in page(story)
    assert [step.what for step in story.steps if step.actor == "polytraders"] == [
        "sends order 71: BUY 12 YES @ 0.43, GTC, post-only"
    ]


def test_a_damaged_run_is_not_told(run: Path) -> None:
    path = segment_path(run, 0)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError):
        trace(run, "1")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0"),
        (999, "+999 ns"),
        (-1_500, "-1.5 µs"),
        (12_500_000, "+12.5 ms"),
        (3_000_000_000, "+3 s"),
        (-4_321_987_654_321, "-4 321.988 s"),
    ],
)
def test_offsets_read_in_their_best_unit(ns: int, text: str) -> None:
    assert offset_text(ns) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3_000_000_000, "s", "3 s"),
        (1_250_000, "pUSD", "1.25 pUSD"),
        (-500_000, "shares", "-0.5 shares"),
        (40_000, "pct", "4 %"),
        (0, "pUSD", "0 pUSD"),
        (20, "count", "20"),
        (35, "bps", "35 bps"),
    ],
)
def test_quantities_read_in_their_parameters_unit(value: int, unit: str, text: str) -> None:
    assert quantity_text(value, unit) == text
