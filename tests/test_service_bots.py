"""Bots outside the step: what they conclude, how it becomes documents, and the one way into the step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_bots import SPEC as STEP_SPEC

from polytraders import bots
from polytraders.bots import (
    SAYS,
    BotMode,
    Conclusion,
    Concurrency,
    Said,
    ServiceBot,
    event_rows,
    load_bot,
    operations_report,
    register,
    report_envelope,
    security_check,
    unregister,
)
from polytraders.contracts import GENESIS, NO_BUILDER, SecurityCheck, verify_chain
from polytraders.errors import ConfigError, UsageError
from polytraders.rows import EVENT, EventKind, Flag

NOW = 1_790_000_000 * 10**9
OUTSIDE = Concurrency(execution_model="Outside the step.")
SPEC = replace(STEP_SPEC, bot_id="sec.example_guard", concurrency=OUTSIDE)
REFUSED = Conclusion("SEC_KEY_EXPOSED", "REJECT", 644, 600, what="key.json", says=(Said("SWITCH", 1, 1),))


@dataclass(frozen=True)
class Inputs:
    ages_ns: tuple[int, ...]
    name: str = "x"


def check(given_: Inputs, limits, now: int) -> Conclusion:
    oldest = max(given_.ages_ns)
    verdict = "REJECT" if oldest > limits.max_age_s else "APPROVE"
    return Conclusion("SEC_KEY_EXPOSED", verdict, oldest, limits.max_age_s, "ns", payload={"at": now})


BOT = ServiceBot(SPEC, None, check, Inputs)


@pytest.mark.parametrize("mode", BotMode)
def test_a_refusal_binds_when_the_bot_is_enforced_or_in_quarantine(mode):
    assert REFUSED.binds(mode) == (mode in (BotMode.ENFORCED, BotMode.QUARANTINE))
    assert not REFUSED._replace(verdict="APPROVE").binds(mode)


def test_limits_have_the_parameters_names_and_kernel_units():
    limits = SPEC.limits({"max_age_s": "2.5"})
    assert limits.max_age_s == 2_500_000_000 and limits._fields == tuple(p.name for p in SPEC.parameters)
    assert list(limits) == list(SPEC.kernel_params({"max_age_s": "2.5"})[: len(limits)])
    with pytest.raises(ConfigError):
        SPEC.limits({"max_age_s": 100})


def test_a_fixture_is_read_into_the_type_of_the_inputs():
    document = {"params": {"max_age_s": 2}, "input": {"ages_ns": [1, 3_000_000_000]}, "now": NOW}
    assert BOT.run_fixture(document) == {
        "code": "SEC_KEY_EXPOSED", "verdict": "REJECT", "severity": "HARD_REJECT", "observed": 3_000_000_000,
        "limit": 2_000_000_000, "unit": "ns", "what": "", "measures": [], "payload": {"at": NOW}, "says": [],
    }  # fmt: skip
    with pytest.raises(ValidationError):
        BOT.read({"ages_ns": ["old"]})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            Said,
            st.sampled_from(SAYS),
            *[st.integers(-(2**63), 2**63 - 1)] * 3,
            st.integers(-1, 2**31 - 1),
        )
    )
)
def test_what_is_said_arrives_in_the_rows(says):
    rows = event_rows(REFUSED._replace(says=tuple(says)), NOW)
    assert rows.dtype == EVENT and len(rows) == len(says)
    for row, said in zip(rows, says, strict=True):
        assert (EventKind(row["kind"]).name, row["aux"], row["size"], row["price"], row["market"]) == said
        assert row["ts_recv"] == row["ts_event"] == NOW and row["flags"] == Flag.LAST and row["seq"] == 0


@pytest.mark.parametrize("kind", sorted({kind.name for kind in EventKind} - {*SAYS}))
def test_no_bot_speaks_for_the_venue(kind):
    with pytest.raises(UsageError, match=f"a conclusion cannot be {kind}"):
        event_rows(REFUSED._replace(says=(Said(kind),)), NOW)


def test_a_conclusion_becomes_a_security_check():
    document = security_check(SPEC.bot_id, REFUSED, plan_id="plan_0123456789ab", surface="key", now=NOW)
    assert isinstance(document, SecurityCheck) and document.message and document.ts_ns == NOW
    measure = document.document()["measures"][0]
    assert (measure["value"], measure["limit"]) == ("644", "600")
    approved = REFUSED._replace(verdict="APPROVE")
    with pytest.raises(ValidationError, match="does not go with"):
        security_check(SPEC.bot_id, approved, plan_id="plan_0123456789ab", surface="key", now=NOW)


def test_conclusions_become_a_chain_of_envelopes():
    run = {
        "run_id": "run-1", "run_mode": "backtest", "correlation_id": "cor_f81b56e737c7afe9c23cfc22d0",
        "config_version": "1", "mode": "enforced", "builder_code": NO_BUILDER, "subject": {"portfolio_id": "PORT-001"},
    }  # fmt: skip
    first = report_envelope(
        BOT, REFUSED, operations_report(REFUSED, "KeyFile"), now=NOW, seq=0, prev_hash=GENESIS, **run
    )
    measured = REFUSED._replace(what="", measures=(("files", 2, 1, "count"),), payload={"paths": ["a", "b"]})
    second = report_envelope(
        BOT, measured, operations_report(measured, "KeyFile"), now=NOW + 1, seq=1, prev_hash=first.hash, **run
    )
    assert verify_chain([first.document(), second.document()]) is None
    assert first.payload.summary == "key.json" and first.envelope_id != second.envelope_id
    assert second.payload.details == {"files.count": "2", "paths": ["a", "b"]}


def test_a_registered_service_bot_is_found():
    try:
        register(BOT)
        assert load_bot("sec.example-guard") is BOT and not BOT.spec.kernel
    finally:
        unregister(BOT.id)


MODULES = {
    "of the step with check": ("exec.gasoracle", None, "check"),
    "outside with decide": ("sec.allowancemonitor", None, "decide"),
    "said to be outside, with decide": ("exec.gasoracle", False, "decide"),
}


@pytest.mark.parametrize(("bot_id", "in_step", "function"), MODULES.values(), ids=MODULES)
def test_a_module_with_the_wrong_function_is_refused(monkeypatch, bot_id, in_step, function):
    spec = replace(STEP_SPEC, bot_id=bot_id, in_step=in_step, concurrency=OUTSIDE)
    module = type("module", (), {"SPEC": spec, function: check, "__name__": "m"})
    monkeypatch.setattr(bots, "import_module", lambda name: module)
    monkeypatch.setattr(bots, "bot_ids", lambda family="": (bot_id,))
    with pytest.raises(UsageError, match="a bot of the step exports decide, one outside it check or observe"):
        load_bot(bot_id)


def test_a_bot_of_a_step_family_may_live_outside_and_says_so(tmp_path, monkeypatch):
    (tmp_path / "execution").mkdir()
    (tmp_path / "execution" / "gasoracle.py").write_text("SPEC = 1\n\ndef check(given, limits, now):\n    return 1\n")
    (tmp_path / "execution" / "smartrouter.py").write_text("SPEC = 1\n\ndef decide(a):\n    return 1\n")
    monkeypatch.setattr(bots.polytraders, "__file__", str(tmp_path / "__init__.py"))
    assert not bots._decides("exec.gasoracle") and bots._decides("exec.smartrouter")
    with pytest.raises(ConfigError, match="says how it runs"):
        replace(STEP_SPEC, bot_id="exec.gasoracle", in_step=False)


def test_rows_of_nothing_are_none():
    assert event_rows(REFUSED._replace(says=()), NOW).shape == (0,) and np.dtype(EVENT).itemsize == 64
