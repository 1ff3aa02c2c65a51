"""The reason-code registry: complete, stable, and strict about what it takes (invariants C1 ... C5 of the notebook)."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from polytraders import reasons
from polytraders.engine.jit import njit
from polytraders.errors import UsageError
from polytraders.reasons import (
    FAMILIES,
    PATTERN,
    REGISTRY,
    Code,
    ReasonCode,
    by_number,
    lookup,
    table,
)
from polytraders.rows import DECISION, Severity

GOLDEN = Path(__file__).parent / "golden" / "reason_numbers.json"

# Every spelling that the specification uses for a reason, and the code it must lead to (one word: the code itself).
SPELLINGS = """
RISK_KILL_SWITCH_ACTIVE
RISK_DRAWDOWN_BREACH
RISK_PORTFOLIO_LIMIT
RISK_MARKET_LIMIT
RISK_LIQUIDITY_INSUFFICIENT
RISK_STALE_BOOK
RISK_MARKET_HALTED
RISK_SELF_TRADE
RISK_FEE_GAS_HEADROOM
RISK_CORRELATION_SHOCK
RISK_MODEL_DRIFT
RISK_TAIL_LOSS_BREACH
RISK_FLATTEN
EXEC_LATENCY_BUDGET_EXCEEDED
EXEC_PARTIAL_FILL_HANDLED
EXEC_AMEND_REJECTED
EXEC_CANCEL_TIMEOUT
EXEC_SLIPPAGE_BREACH
EXEC_FEE_OVERRUN
EXEC_FILL
EXEC_RESTING
EXEC_CANCELLED
EXEC_REJECTED
EXEC_BAD_ENVELOPE
KILL_SWITCH_ACTIVE RISK_KILL_SWITCH_ACTIVE
STALE_MARKET_DATA RISK_STALE_BOOK
WALLET_PERMISSION_DENIED SEC_WALLET_PERMISSION_DENIED
CONTRACT_ADDRESS_NOT_ALLOWED SEC_CONTRACT_ADDRESS_NOT_ALLOWED
ORACLE_DISPUTE_ACTIVE RISK_ORACLE_DISPUTE_ACTIVE
PARAMETER_CHANGE_REQUIRES_APPROVAL GOV_PARAMETER_CHANGE_REQUIRES_APPROVAL
INSUFFICIENT_VISIBLE_DEPTH RISK_LIQUIDITY_RESHAPED
SPREAD_TOO_WIDE RISK_SPREAD_WIDE
STRATEGY_BUDGET_EXCEEDED RISK_STRATEGY_BUDGET_EXCEEDED
STRAT_MARKET_IN_SCOPE
STRAT_MARKET_OUT_OF_SCOPE
STRAT_MOMENTUM_LONG
STRAT_MOMENTUM_EXIT
STRAT_RESHAPED_BY_RISK
STRAT_NO_EDGE
STRAT_EDGE_DETECTED
STRAT_MAKER_QUOTE_INSIDE
STRAT_MAKER_NO_EDGE
INTEL_FEED_STALE
INTEL_MACRO_NEUTRAL
INTEL_BOOK_STALE_28s RISK_STALE_BOOK
DISC_HEADLINE_MATCH
DISC_LOW_LIQUIDITY
DISC_DUPLICATE_DETECTED
RISK_KILLSWITCH_TRIPPED RISK_KILL_SWITCH_ACTIVE
RISK_BOOK_STALE_15S RISK_STALE_BOOK
RISK_EXPOSURE_CAP_HIT RISK_PORTFOLIO_LIMIT
RISK_STRATEGY_CAP_NEAR
RISK_SPREAD_WIDE
RISK_DRAWDOWN_TRIGGERED RISK_DRAWDOWN_BREACH
RISK_GEOFENCE_BLOCK
EXEC_ROUTE_CTFV2_ACCEPTED
EXEC_ROUTE_CTFV2_TIMEOUT
EXEC_BUILDERCODE_MISSING
EXEC_RATE_LIMIT_NEAR
EXEC_OPERATOR_MANUAL_CASHOUT
EXEC_AMEND_STALE_VIEW
EXEC_AMEND_OVERRIDE
SEC_DOMAIN_MISMATCH
GOV_RECONCILE_OK
GOV_RECONCILE_MISMATCH
GOV_API_DEGRADED
GOV_CONFIG_DRIFT GOV_CONFIG_DRIFT_DETECTED
GOV_CONFIG_DRIFT_DETECTED
GOV_CONFIG_DRIFT_RESOLVED
GOV_CONFIG_DRIFT_UNKNOWN
GOV_CONFIG_DRIFT_ACK
GOV_SETTINGS_CHANGED
GOV_NOTIF_RULE_FIRED
GOV_MARKET_HALT RISK_MARKET_HALTED
GOV_INSTRUMENT_UNKNOWN
GOV_INSTRUMENT_V1_BLOCKED
OPT_REFUSED_HARD_GATE GOV_OPT_REFUSED_HARD_GATE
SLO_BURN GOV_SLO_BURN
INCIDENT_DECLARED GOV_INCIDENT_DECLARED
INCIDENT_RESOLVED GOV_INCIDENT_RESOLVED
RCA_OVERDUE GOV_RCA_OVERDUE
PAGING_SYSTEM_UNAVAILABLE GOV_PAGING_SYSTEM_UNAVAILABLE
PARAM_CHANGED GOV_PARAM_CHANGED
P0_PARAMETER_CHANGED GOV_P0_PARAMETER_CHANGED
RETENTION_BELOW_REGULATORY_MINIMUM GOV_RETENTION_BELOW_REGULATORY_MINIMUM
ORACLE_PROPOSER_BOND_BELOW_MIN RISK_ORACLE_PROPOSER_BOND_BELOW_MIN
SMART_ROUTER_TICK_SIZE_CHANGED EXEC_ROUTE_TICK_CHANGED
SLO_STATUS GOV_SLO_STATUS
SLO_BURN_RATE_EXCEEDED GOV_SLO_BURN_RATE_EXCEEDED
SLO_BREACH_DETECTED GOV_SLO_BREACH_DETECTED
SLO_METRICS_UNAVAILABLE GOV_SLO_METRICS_UNAVAILABLE
EXPERIMENT_STARTED GOV_EXPERIMENT_STARTED
EXPERIMENT_RESULT GOV_EXPERIMENT_RESULT
RPC_QUORUM_LOST SEC_RPC_QUORUM_LOST
SOURCE_INSUFFICIENT_FOR_RULE INTEL_SOURCE_INSUFFICIENT_FOR_RULE
INTEL_MACRO_BULL
SOCIALSENTIMENT_LOW_SAMPLE INTEL_SOCIALSENTIMENT_LOW_SAMPLE
INTEL_DECAY_PUBLISHED
INTEL_RESOLUTION_WARN
INTEL_RESOLUTION_URGENT
LARGE_CLUSTER_WARN DISC_LARGE_CLUSTER_WARN
KILLSWITCH_ACTIVE RISK_KILL_SWITCH_ACTIVE
COMPLIANCE_SANCTIONED RISK_COMPLIANCE_SANCTIONED
RISK_MARKET_HALT_OVERRIDE
STALE_BOOK RISK_STALE_BOOK
RISK_SELF_TRADE_DOWNSIZED
EXCHANGE_STATUS_HEALTHY EXEC_EXCHANGE_STATUS_HEALTHY
PRICE_BAND_PASS EXEC_PRICE_BAND_PASS
PRICE_BAND_WARN EXEC_PRICE_BAND_WARN
EXEC_COST_ESTIMATED
EXEC_COST_FALLBACK
EXEC_COST_FEE_SCHEDULE_STALE
EXEC_AMEND_OK
ALLOWANCE_EXCEEDS_CEILING SEC_ALLOWANCE_EXCEEDS_CEILING
SESSION_KEY_EXPIRED SEC_SESSION_KEY_EXPIRED
KEY_ROTATION_OVERDUE SEC_KEY_ROTATION_OVERDUE
KEY_REUSE_ACROSS_ENV SEC_KEY_REUSE_ACROSS_ENV
STRATEGY_PROMOTED GOV_STRATEGY_PROMOTED
STRATEGY_DEMOTED GOV_STRATEGY_DEMOTED
PROMOTION_GATE_FAILED GOV_PROMOTION_GATE_FAILED
STRATEGY_DRIFT_DETECTED GOV_STRATEGY_DRIFT_DETECTED
AUDIT_TICKET_REQUIRED GOV_AUDIT_TICKET_REQUIRED
AUDIT_LOG_UNAVAILABLE GOV_AUDIT_LOG_UNAVAILABLE
AUDIT_RETENTION_WARN GOV_AUDIT_RETENTION_WARN
USER_ACTION_RECORDED GOV_USER_ACTION_RECORDED
REVENUE_REPORT GOV_REVENUE_REPORT
REVENUE_DRIFT_DETECTED GOV_REVENUE_DRIFT_DETECTED
GOV_API_OK
EXPERIMENT_INSUFFICIENT_SAMPLES GOV_EXPERIMENT_INSUFFICIENT_SAMPLES
EXPERIMENT_LARGE_SPLIT_WARN GOV_EXPERIMENT_LARGE_SPLIT_WARN
"""
KNOWN = [tuple(line.split()) for line in SPELLINGS.strip().splitlines()]


def a_code(**changes) -> ReasonCode:
    base = {
        "name": "RISK_NEW",
        "number": 4999,
        "severity": Severity.WARN,
        "meaning": "M.",
        "user_message": "U.",
        "action": "A.",
    }
    return ReasonCode(**(base | changes))


@pytest.fixture
def registry(monkeypatch):
    """The registry, put back as it was after the test."""
    for name in ("REGISTRY", "_NAMES", "_NUMBERS"):
        monkeypatch.setattr(reasons, name, dict(getattr(reasons, name)))
    return reasons


@pytest.mark.parametrize("spelling", KNOWN, ids=lambda s: s[0])
def test_every_spelling_of_the_specification_leads_to_its_code(spelling):
    assert lookup(spelling[0]).name == spelling[-1]


def test_the_winning_names_are_codes_and_the_losing_ones_only_aliases():
    for winner in (
        "RISK_KILL_SWITCH_ACTIVE",
        "RISK_STALE_BOOK",
        "RISK_DRAWDOWN_BREACH",
        "RISK_MARKET_HALTED",
        "RISK_PORTFOLIO_LIMIT",
    ):
        assert REGISTRY[winner].aliases
        assert not set(REGISTRY[winner].aliases) & set(REGISTRY)


def test_c1_every_name_carries_a_known_family():
    pattern = re.compile(r"^(INTEL|DISC|STRAT|RISK|EXEC|SEC|GOV)_[A-Z0-9_]+$")
    assert [name for name in REGISTRY if not pattern.match(name)] == []
    assert PATTERN.pattern == pattern.pattern


def test_c2_no_name_alias_or_number_is_used_twice():
    names = [name for code in REGISTRY.values() for name in (code.name, *code.aliases)]
    numbers = [code.number for code in REGISTRY.values()]
    assert len(names) == len(set(names))
    assert len(numbers) == len(set(numbers))
    assert all(name == code.name for name, code in REGISTRY.items())


def test_c3_numbers_lie_in_the_thousand_of_their_family_and_fit_a_decision_row():
    row = np.zeros(1, DECISION)
    for code in REGISTRY.values():
        assert code.number // 1000 * 1000 == FAMILIES[code.family]
        row["code"] = code.number
        assert row["code"][0] == code.number


def test_c4_every_code_says_what_it_means_what_the_user_reads_and_what_to_do():
    for code in REGISTRY.values():
        for text in (code.meaning, code.user_message, code.action):
            assert text[0].isupper() and text.endswith(".") and "  " not in text, (code.name, text)
        assert len(code.user_message.split()) >= 3, code.name


def test_c4_a_user_message_names_no_code_and_no_part_of_the_program():
    for code in REGISTRY.values():
        assert not re.search(r"_|[A-Z]{3,}|\bpips?\b|\bns\b", code.user_message), (code.name, code.user_message)


def test_c5_no_number_ever_changes_and_no_code_ever_goes():
    frozen = json.loads(GOLDEN.read_text())
    now = {name: code.number for name, code in REGISTRY.items()}
    assert {name: now.get(name) for name in frozen} == frozen
    assert sorted(now) == sorted(frozen), f"add the new codes to {GOLDEN.name}"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"name": "RISK_STALE_BOOK"}, "C2"),
        ({"name": "STALE_BOOK"}, "C1"),
        ({"name": "OPT_REFUSED"}, "C1"),
        ({"name": "RISK_stale"}, "C1"),
        ({"name": "RISK_"}, "C1"),
        ({"name": "RISK_STALE\n"}, "C1"),
        ({"aliases": ("RISK_STALE_BOOK",)}, "C2"),
        ({"aliases": ("KILL_SWITCH_ACTIVE",)}, "C2"),
        ({"aliases": ("RISK_NEW",)}, "C2"),
        ({"number": 4022}, "C2"),
        ({"number": 3999}, "C3"),
        ({"number": 5000}, "C3"),
        ({"meaning": ""}, "C4"),
        ({"user_message": "no stop"}, "C4"),
        ({"action": ""}, "C4"),
    ],
)
def test_a_code_that_breaks_a_rule_is_refused_and_leaves_no_trace(registry, changes, rule):
    before = dict(registry.REGISTRY), dict(registry._NAMES), dict(registry._NUMBERS)
    with pytest.raises(UsageError) as refusal:
        registry.add(a_code(**changes))
    assert refusal.value.rule.startswith(rule)
    assert refusal.value.mend
    assert (registry.REGISTRY, registry._NAMES, registry._NUMBERS) == before


def test_a_sound_code_is_taken_with_its_aliases(registry):
    registry.register("risk.example", "4998 RISK_EXAMPLE WARN deprecated = OLD_EXAMPLE\nMeaning.\nMessage.\nAction.")
    code = registry.lookup("OLD_EXAMPLE")
    assert (code.name, code.number, code.severity, code.bot) == ("RISK_EXAMPLE", 4998, Severity.WARN, "risk.example")
    assert code.deprecated
    assert registry.by_number(4998) is code


@pytest.mark.parametrize(
    "text", ["4998 RISK_HALF WARN\nMeaning.", "4998 RISK_ODD LOUD\nM.\nU.\nA.", "x RISK_ODD WARN\nM.\nU.\nA."]
)
def test_an_unreadable_entry_is_refused_with_its_bot(registry, text):
    with pytest.raises(UsageError, match=r"risk\.example"):
        registry.register("risk.example", text)


def test_an_unknown_name_is_refused_with_what_comes_close():
    with pytest.raises(UsageError, match="RISK_STALE_BOOK"):
        lookup("RISK_STALE_BOKO")
    with pytest.raises(UsageError, match="unknown"):
        by_number(4)


def test_a_name_and_its_number_lead_to_the_same_code():
    for code in REGISTRY.values():
        assert by_number(code.number) is code is lookup(code.name)
        assert Code[code.name] == code.number
    assert len(Code) == len(REGISTRY)


@njit
def judge(age, limit):
    if age > limit:
        return Code.RISK_STALE_BOOK
    return Code.RISK_BOOK_FRESH


def test_a_compiled_bot_returns_the_number_of_its_code():
    assert judge(4000, 3000) == 4022 == lookup("RISK_STALE_BOOK").number
    assert judge(200, 3000) == lookup("RISK_BOOK_FRESH").number


def test_sensors_and_strategies_never_refuse_an_order():
    for code in REGISTRY.values():
        if code.family in ("INTEL", "DISC"):
            assert code.severity in (Severity.INFO, Severity.WARN), code.name
        if code.family == "STRAT":
            assert code.severity is not Severity.HARD_REJECT, code.name


def test_the_table_shows_every_code_once_under_its_family():
    html = table()._repr_html_()
    for code in REGISTRY.values():
        assert html.count(f"<code>{code.name}</code>") == 1
    assert [html.index(f"<h4>{family}") for family in FAMILIES] == sorted(html.index(f"<h4>{f}") for f in FAMILIES)
    assert {code.family for code in table("RISK")} == {"RISK"}
    assert {code.bot for code in table("risk.killswitch")} == {"risk.killswitch"}


def test_the_registry_is_light_to_import():
    program = "import sys, polytraders.reasons; print([m for m in ('pydantic', 'pandas', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
