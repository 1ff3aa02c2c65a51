"""The committed configuration: what is refused, where the message points, what the hash covers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_bots import SPEC

from polytraders import bots, config
from polytraders.bots import KERNEL_BOTS, SERVICE_BOTS, Bot, BotMode, register, unregister
from polytraders.config import DEMO_BUILDER_CODE, PARTS, home, key_rule, load_settings, parse_ini, settings_from
from polytraders.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def guard(monkeypatch):
    """`risk.example_guard` stands in for a bot with a module."""
    monkeypatch.delenv("POLYTRADERS_SETTINGS", raising=False)
    yield register(Bot(SPEC))
    unregister(SPEC.bot_id)


@pytest.fixture
def ini(tmp_path, monkeypatch):
    """Write text as ./settings.ini and load it."""
    monkeypatch.chdir(tmp_path)

    def load(text: str):
        (tmp_path / "settings.ini").write_text(text, encoding="utf-8")
        return load_settings()

    return load


def refused(load, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        load(text)
    assert error.value.exit_code == 3 and error.value.rule and error.value.mend
    return error.value


# -- what is read ------------------------------------------------------------------------------------------


def test_the_committed_file_loads_and_states_every_key_of_every_part():
    settings = load_settings(ROOT / "settings.ini")
    blocks = parse_ini((ROOT / "settings.ini").read_text(encoding="utf-8"), "settings.ini")
    assert {name: set(model.model_fields) for name, model in PARTS.items()} == {
        name: set(blocks[name].entries) for name in PARTS
    }
    assert settings.run.builder_code == DEMO_BUILDER_CODE and len(DEMO_BUILDER_CODE) == 66


def test_the_committed_file_says_the_mode_of_every_bot_that_has_a_module():
    said = parse_ini((ROOT / "settings.ini").read_text(encoding="utf-8"), "settings.ini")
    assert {b for b in (*KERNEL_BOTS, *SERVICE_BOTS) if "mode" not in getattr(said.get(b), "entries", {})} == set()


def test_every_value_arrives_typed_and_in_kernel_units(ini):
    settings = ini("""
        [engine]
        decide_interval_ms = 250   # a comment
        full_panel = yes           ; another
        [portfolio]
        cash_pusd = 2500.25
        [venue.simulated]
        queue_model = power_prob
        queue_power = 2
        entry_latency_ms = 20
        [data]
        gap_s = 5
    """)
    assert (settings.engine.decide_interval_ms, settings.engine.decide_interval_ns) == (250, 250_000_000)
    assert settings.engine.full_panel is True and settings.engine.sample_interval_ns == 1_000_000_000
    assert settings.portfolio.cash_micro == 2_500_250_000
    simulated = settings.venue.simulated
    assert (simulated.queue_model, simulated.queue_power) == ("power_prob", 2)
    assert (simulated.entry_latency_ns, simulated.response_latency_ns) == (20_000_000, 50_000_000)
    assert settings.data.gap_ns == 5_000_000_000


def test_a_bot_section_is_held_against_its_spec(ini):
    bot = ini("[risk.example_guard]\nmode = enforced\nmax_age_s = 6.50\n").bots["risk.example_guard"]
    assert bot.mode is BotMode.ENFORCED
    assert bot.values == {"max_age_s": "6.5", "min_spread_bps": "100", "strict": "true"}
    assert bot.warned == ("max_age_s",)
    assert SPEC.kernel_params(bot.values)[0] == 6_500_000_000


def test_a_bot_is_found_under_any_spelling(ini):
    settings = ini("[risk.example-guard]\nmode = advisory\n")
    assert list(settings.bots) == ["risk.example_guard"]
    assert settings.bot("risk.exampleguard").mode is BotMode.ADVISORY


def test_a_bot_without_a_section_has_its_specs_mode_and_defaults(ini):
    bot = ini("").bot("risk.example_guard")
    assert (bot.mode, bot.values, bot.warned) == (BotMode.SHADOW, SPEC.default_config, ())


# -- what is refused, and where the message points ---------------------------------------------------------

REFUSED = {
    "unknown section": ("[engine]\n\n[engin]\n", 3, "no section [engin]", "did you mean engine?"),
    "unknown key": ("[engine]\nfull_panel = no\ndecide_ms = 5\n", 3, "no key 'decide_ms'", "decide_interval_ms"),
    "no integer": ("[engine]\ndecide_interval_ms = soon\n", 2, "'soon' is refused", "the default is 100"),
    "a fraction of an integer": ("[engine]\ndecide_interval_ms = 0.5\n", 2, "'0.5' is refused", "100"),
    "below the range": ("[engine]\ndecide_interval_ms = -1\n", 2, "'-1' is refused", "100"),
    "above the range": ("[venue.simulated]\nqueue_power = 6\n", 2, "'6' is refused", "3"),
    "finer than money": ("[portfolio]\ncash_pusd = 0.0000001\n", 2, "cash_pusd", "1000"),
    "no money": ("[portfolio]\ncash_pusd = NaN\n", 2, "cash_pusd", "1000"),
    "no choice": ("[venue.simulated]\nqueue_model = optimistic\n", 2, "'optimistic'", "risk_averse"),
    "no flag": ("[engine]\nfull_panel = maybe\n", 2, "'maybe'", "false"),
    "no bytes32": ("[run]\nbuilder_code = 0xb0\n", 2, "'0xb0'", DEMO_BUILDER_CODE),
    "empty value": ("[run]\nmode =\n", 2, "'' is refused", "backtest"),
    "key twice": ("[run]\nmode = backtest\nmode = backtest\n", 3, "mode stands twice", "keep one"),
    "section twice": ("[run]\n[engine]\n[run]\n", 3, "section [run] stands twice", "keep one"),
    "bot twice in two spellings": (
        "[risk.example_guard]\n[risk.example-guard]\n",
        2,
        "[risk.example_guard] (as [risk.example-guard]) stands twice",
        "keep one",
    ),
    "outside a section": ("\nmode = backtest\n", 2, "outside a section", "[engine]"),
    "no key and value": ("[run]\nbacktest\n", 2, "cannot read 'backtest'", "one line"),
    "no key": ("[run]\n= backtest\n", 2, "cannot read", "one line"),
    "a broken heading": ("[run\n", 1, "cannot read '[run'", "one line"),
    "bot's parameter unknown": (
        "[risk.example_guard]\nmode = off\nmax_age = 3\n",
        3,
        "no parameter 'max_age'",
        "max_age_s?",
    ),
    "bot's parameter beyond hard": ("[risk.example_guard]\nmax_age_s = 16\n", 2, "beyond its hard limit", "3 s"),
    "bot's parameter below hard": (
        "[risk.example_guard]\nmin_spread_bps = 19\n",
        2,
        "beyond its hard limit",
        "100 bps",
    ),
    "bot's parameter no number": ("[risk.example_guard]\nmax_age_s = 3s\n", 2, "is no number", "3 s"),
    "bot's parameter off its grid": ("[risk.example_guard]\nmin_spread_bps = 60.5\n", 2, "no number of bps", "100"),
    "bot's mode unknown": (
        "[risk.example_guard]\nmode = enforce\n",
        2,
        "'enforce' is refused",
        "did you mean enforced?",
    ),
    "no such bot": ("[risk.example_gard]\n", 1, "no bot 'risk.example_gard'", "risk.example_guard"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_line_rule_and_mend(ini, case):
    text, line, what, mend = REFUSED[case]
    error = refused(ini, text)
    assert error.where == f"settings.ini:{line}"
    assert what in error.what and mend in error.mend


def test_a_bot_that_is_named_and_not_built_is_refused_with_its_line(ini, monkeypatch):
    monkeypatch.setattr(bots, "bot_ids", lambda family="": ())
    error = refused(ini, "[gov.backtester]\nmode = off\n")
    assert error.where == "settings.ini:1" and "not built in this version" in error.what


def test_the_rule_says_what_a_key_may_be(ini):
    assert refused(ini, "[engine]\ndecide_interval_ms = x").rule == "integer, 0 ... 60000"
    assert (
        refused(ini, "[portfolio]\ncash_pusd = 0").rule
        == "decimal number, above 0, at most 1000000000, at most 6 decimals"
    )
    assert refused(ini, "[venue.simulated]\nqueue_model = x").rule == "one of risk_averse, power_prob, log_prob"
    assert all(key_rule(model, key) for model in PARTS.values() for key in model.model_fields)
    assert all(f.description for model in PARTS.values() for f in model.model_fields.values())


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "latin.ini").write_bytes(b"[run]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="byte 11 is no UTF-8"):
        load_settings(tmp_path / "latin.ini")


def test_a_byte_order_mark_and_windows_line_ends_are_read(ini, tmp_path):
    (tmp_path / "w.ini").write_bytes("\ufeff[engine]\r\ndecide_interval_ms = 7\r\n".encode())
    assert load_settings(tmp_path / "w.ini").engine.decide_interval_ms == 7


@given(st.text(alphabet="[]=#;ab\n \t\u00e9", max_size=60))
@hypothesis_settings(max_examples=1_000, deadline=None)
def test_any_text_is_read_or_refused_with_its_line(text):
    try:
        blocks = parse_ini(text, "x.ini")
    except ConfigError as error:
        assert 1 <= int(error.where.removeprefix("x.ini:")) <= len(text.splitlines())
    else:
        assert all(key and "\n" not in entry.text for b in blocks.values() for key, entry in b.entries.items())


# -- which file --------------------------------------------------------------------------------------------


def test_the_argument_beats_the_environment_beats_the_folder_beats_the_package(ini, tmp_path, monkeypatch):
    for name, ms in (("argument", 1), ("environment", 2)):
        (tmp_path / f"{name}.ini").write_text(f"[engine]\ndecide_interval_ms = {ms}\n")
    assert load_settings().source == config.PACKAGED
    assert load_settings().engine.decide_interval_ms == 100
    assert ini("[engine]\ndecide_interval_ms = 3\n").engine.decide_interval_ms == 3
    monkeypatch.setenv("POLYTRADERS_SETTINGS", str(tmp_path / "environment.ini"))
    assert load_settings().engine.decide_interval_ms == 2
    assert load_settings(tmp_path / "argument.ini").engine.decide_interval_ms == 1


def test_a_named_file_that_is_not_there_is_bad_usage(tmp_path, monkeypatch):
    with pytest.raises(UsageError) as missing:
        load_settings(tmp_path / "none.ini")
    assert missing.value.exit_code == 2
    monkeypatch.setenv("POLYTRADERS_SETTINGS", str(tmp_path / "none.ini"))
    with pytest.raises(UsageError, match="POLYTRADERS_SETTINGS: there is no settings file"):
        load_settings()


def test_the_packaged_defaults_enforce_every_bot_that_has_a_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "KERNEL_BOTS", (SPEC.bot_id,))
    packaged = load_settings().bots
    assert {bot_id: (bot.mode, bot.values) for bot_id, bot in packaged.items()} == {
        SPEC.bot_id: (BotMode.ENFORCED, SPEC.default_config)
    }


def test_the_packaged_defaults_throttle_no_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    off = {bot_id for bot_id, bot in load_settings().bots.items() if bot.mode is BotMode.OFF}
    assert off == config.NOT_IN_STUDIES & set(KERNEL_BOTS)


def test_the_packaged_defaults_give_a_live_run_what_protects_its_money(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    for bot_id in config.FOR_LIVE:
        modes = [settings.bot(bot_id).mode_in(run_mode) for run_mode in ("backtest", "shadow", "paper", "live")]
        assert modes == [BotMode.OFF, BotMode.OFF, BotMode.OFF, BotMode.ENFORCED]


def test_a_bot_may_have_another_mode_in_live_runs(ini):
    settings = ini("[risk.example_guard]\nmode = off\nlive_mode = enforced\n")
    bot = settings.bot("risk.example_guard")
    assert (bot.mode, bot.mode_in("backtest"), bot.mode_in("live")) == (BotMode.OFF, BotMode.OFF, BotMode.ENFORCED)
    assert settings_from(settings.as_dict(), "again").bot("risk.example_guard") == bot
    same = ini("[risk.example_guard]\nmode = shadow\n")
    assert same.bot("risk.example_guard").mode_in("live") is BotMode.SHADOW
    assert "live_mode" not in same.bot("risk.example_guard").as_dict()
    error = refused(ini, "[risk.example_guard]\nmode = off\nlive_mode = enforce\n")
    assert "live_mode = 'enforce'" in error.what and "enforced" in error.mend


def test_home_is_the_variable_or_a_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POLYTRADERS_HOME", raising=False)
    assert home() == tmp_path / ".polytraders" and not home().exists()
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path / "elsewhere"))
    assert home() == tmp_path / "elsewhere"
    monkeypatch.setenv("POLYTRADERS_HOME", "relative")
    assert home() == tmp_path / "relative"


# -- hash --------------------------------------------------------------------------------------------------

FULL = """
[engine]
decide_interval_ms = 100
[portfolio]
cash_pusd = 1000
[risk.example_guard]
mode = shadow
max_age_s = 3
"""


def test_the_hash_covers_values_and_not_how_they_are_written(ini, tmp_path):
    one = ini(FULL)
    other = ini(
        "# a comment\n[risk.example-guard]\nmax_age_s=3.000\n[portfolio]\ncash_pusd = 1000.00\nid = PORT-001\n[run]\n"
    )
    assert one.hash == other.hash and len(one.hash) == 64
    (tmp_path / "renamed.ini").write_text(FULL)
    assert load_settings(tmp_path / "renamed.ini").hash == one.hash


CHANGES = {
    "run.builder_code": "0x" + "1" * 64,
    "engine.decide_interval_ms": "0",
    "engine.sample_interval_s": "2",
    "engine.rejudge_interval_ms": "500",
    "engine.full_panel": "true",
    "engine.merge_shares": "5",
    "portfolio.id": "PORT-002",
    "portfolio.cash_pusd": "1000.01",
    "venue.simulated.queue_model": "power_prob",
    "venue.simulated.queue_power": "2",
    "engine.intent_ttl_s": "30",
    "venue.simulated.print_lag_ms": "50",
    "exits.enabled": "true",
    "exits.take_profit_pct": "11",
    "exits.stop_loss_pct": "6",
    "exits.time_exit_h": "24",
    "exits.max_spread_bps": "500",
    "exits.slippage_bps": "100",
    "exits.pause_s": "60",
    "exits.follow_unwinder": "false",
    "engine.approval_ttl_s": "30",
    "engine.approval_tolerance_bps": "50",
    "venue.simulated.trade_share": "0.25",
    "venue.simulated.partial_fills": "no",
    "venue.simulated.liquidity": "recorded",
    "venue.simulated.taker_delay": "none",
    "venue.simulated.latency_model": "lognormal",
    "venue.simulated.entry_sigma": "0.4",
    "venue.simulated.response_sigma": "0.4",
    "venue.simulated.latency_seed": "2",
    "venue.simulated.latency_file": "measured.csv",
    "venue.simulated.settlement_delay_ms": "5000",
    "venue.simulated.ghost_fill_ppm": "1000",
    "venue.simulated.ghost_seed": "2",
    "venue.simulated.entry_latency_ms": "51",
    "venue.simulated.response_latency_ms": "51",
    "venue.simulated.fees": "off",
    "venue.simulated.redemption_delay_s": "60",
    "data.gap_s": "31",
    "report.max_points": "500",
    "report.template": "plotly_dark",
    "listing.file": "markets.list",
    "approvals.expiry_s": "61",
    "approvals.tolerance_bps": "51",
    "approvals.quote_age_ms": "3001",
    "approvals.two_persons_above_pusd": "1001",
    "flatten.enabled": "true",
    "flatten.scopes": "global latch",
    "flatten.worst_bps": "501",
    "flatten.markets_at_once": "4",
    "flatten.give_up_s": "901",
    "approvals.closes_when_stopped": "true",
    "approvals.auto": "exits",
    "approvals.auto_max_pusd": "5",
    "approvals.auto_per_hour": "5",
    "approvals.auto_day_pusd": "50",
    "approvals.auto_strategies": "strat.momentum",
    "live.dry_run": "false",
    "live.snapshot_events": "100",
    "live.snapshot_s": "5",
    "live.reconcile_s": "5",
    "live.refresh_s": "5",
    "live.wallet": "safe",
    "live.stop_s": "5",
    "live.screened_on": "2026-11-01",
    "risk.example_guard.mode": "off",
    "risk.example_guard.live_mode": "quarantine",
    "risk.example_guard.max_age_s": "4",
    "risk.example_guard.strict": "false",
}


def test_every_value_that_can_change_changes_the_hash(ini):
    settings = ini(FULL)
    hashes = [settings.with_overrides({path: text}).hash for path, text in CHANGES.items()]
    assert len({settings.hash, *hashes}) == len(CHANGES) + 1
    keys = {f"{part}.{key}" for part, model in PARTS.items() for key in model.model_fields}
    assert keys - set(CHANGES) == {"run.mode"}  # one choice in this version


def test_the_configuration_as_data_survives_json(ini):
    data = ini(FULL).as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["portfolio"]["cash_pusd"] == "1000" and data["venue"]["simulated"]["queue_power"] == 3
    assert data["bots"]["risk.example_guard"]["values"]["max_age_s"] == "3"


# -- overrides ---------------------------------------------------------------------------------------------


def test_an_override_changes_a_copy_and_nothing_else(ini):
    settings = ini(FULL)
    before = settings.hash
    changed = settings.with_overrides({"engine.decide_interval_ms": "0", "risk.example-guard.max_age_s": "6"})
    assert changed.engine.decide_interval_ms == 0 and changed.bots["risk.example_guard"].warned == ("max_age_s",)
    assert changed.bots["risk.example_guard"].mode is BotMode.SHADOW
    assert settings.engine.decide_interval_ms == 100 and settings.hash == before
    assert settings.with_overrides({}).hash == before


def test_an_override_that_undoes_a_line_gives_the_hash_of_the_file_without_it(ini):
    plain = ini(FULL).hash
    assert ini(FULL.replace("= 100\n", "= 250\n")).with_overrides({"engine.decide_interval_ms": "100"}).hash == plain


def test_an_override_is_checked_like_a_line_and_named_as_one(ini):
    settings = ini(FULL)
    for path, text, what in (
        ("engine.decide_interval_ms", "-1", "is refused"),
        ("engine.decide", "1", "no key 'decide'"),
        ("risk.example_guard.max_age_s", "99", "beyond its hard limit"),
        ("risk.example_guard.age", "1", "no parameter 'age'"),
        ("nowhere.x", "1", "no section [nowhere]"),
        ("max_age_s", "1", "names no section"),
    ):
        with pytest.raises(ConfigError) as error:
            settings.with_overrides({path: text})
        assert error.value.where == f"--set {path}={text}" and what in error.value.what
