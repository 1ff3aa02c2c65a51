"""What a bot is: 27 sections, limits that hold, units that are exact, ids that find their module."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders import bots
from polytraders.bots import (
    FAMILIES,
    KERNEL_BOTS,
    LIBRARY,
    N_PARAMS,
    RISK_ORDER,
    SECTIONS,
    SERVICE_BOTS,
    UNITS,
    AcceptanceTests,
    Bot,
    BotMode,
    BotSpec,
    Check,
    DecisionLogic,
    FailureModes,
    Injection,
    Input,
    Metric,
    Metrics,
    OncallAction,
    Parameter,
    Runbook,
    Security,
    ServiceBot,
    StateUse,
    Why,
    WireExample,
    bot_ids,
    load_bot,
    module_of,
    register,
    resolve_bot,
    unregister,
)
from polytraders.errors import ConfigError, UsageError

AGE = Parameter(
    "max_age_s", "s", default=3, warning=5, hard=15, direction="max",
    controls="Age beyond which an order is refused.", why_default_matters="After 3 s the price is history.",
)  # fmt: skip
SPREAD = Parameter(
    "min_spread_bps", "bps", default=100, warning=50, hard=20, direction="min",
    controls="Spread under which nothing is quoted.", why_default_matters="A cent pays for one adverse tick.",
)  # fmt: skip
STRICT = Parameter(
    "strict", "flag", default=True,
    controls="Refuse rather than shrink.", why_default_matters="A refusal is easier to read than a half.",
)  # fmt: skip

SPEC = BotSpec(
    bot_id="risk.example_guard",
    name="ExampleGuard",
    applies_to="every intent",
    purpose="Refuses orders priced on an old book.",
    why_it_matters=(Why("Old price", "A fill at a price nobody offers <any more>."),),
    polymarket_inputs=(Input("OrderBookSnapshot", "market channel", "age of the book", max_age_ms=3_000),),
    internal_inputs="none: the intent is all it needs",
    parameters=(AGE, SPREAD, STRICT),
    flow=("Measure the age.", "Refuse beyond the limit."),
    decision_logic=DecisionLogic("young book", "none: an age cannot be shaped", "old book"),
    wire_examples=(WireExample("old book", {"age_s": "7"}, {"decision": "REJECT", "reason_code": "RISK_STALE_BOOK"}),),
    developer_log="age and limit per decision",
    failure_modes=FailureModes("clock skew", "quiet market", "replayed frames", "refuse"),
    acceptance_tests=AcceptanceTests(
        ("refuses at 15.1 s",), (Check("freeze the feed", "refused"),), ("older is worse",)
    ),
    reference_implementation="if now - book_ts > max_age: reject",
    reason_codes=("RISK_STALE_BOOK",),
    metrics=Metrics((Metric("polytraders_risk_example_total", "refusals"),), "none: the run report shows them"),
    state=StateUse("none: decides from the record it is given"),
    security=Security("none: reads two numbers of the state", ("no input from outside",)),
    runbook=Runbook(
        "Look at the feed.", (OncallAction("a", "b", "c", "d", "e"),), "none: committed limits only", "decides"
    ),
    failure_injection=(Injection("frozen feed", "stop the frames", "refused within 3 s", "resume"),),
)


# -- the 27 sections ---------------------------------------------------------------------------------------


def test_a_spec_has_exactly_the_27_sections_in_their_order():
    assert [s.number for s in SECTIONS] == list(range(1, 28))
    assert list(SPEC.sections()) == [s.key for s in SECTIONS]
    assert len({s.key for s in SECTIONS}) == len({s.title for s in SECTIONS}) == 27


HOLES = {
    "identity": {"applies_to": " "},
    "purpose": {"purpose": ""},
    "why_it_matters": {"why_it_matters": ()},
    "polymarket_inputs": {"polymarket_inputs": "none"},
    "internal_inputs": {"internal_inputs": "N/A"},
    "parameters": {"parameters": ()},
    "flow": {"flow": ()},
    "decision_logic": {"decision_logic": DecisionLogic("young book", reject="old book")},
    "wire_examples": {"wire_examples": (WireExample("x", {}, {"a": 1}),)},
    "developer_log": {"developer_log": "TODO"},
    "failure_modes": {"failure_modes": FailureModes("a", "b", "", "d")},
    "acceptance_tests": {"acceptance_tests": AcceptanceTests(("a",), (), ("c",))},
    "reference_implementation": {"reference_implementation": "..."},
    "reason_codes": {"reason_codes": ()},
    "metrics": {"metrics": Metrics((), "none: never")},
    "state": {"state": StateUse("-")},
    "security_surfaces": {"security": Security((), ("b",))},
    "polymarket_v2_compat": {"v2_notes": "tbd"},
    "version": {"migrations": ()},
    "runbook": {"runbook": Runbook("a", (), "none: no", "b")},
    "failure_injection": {"failure_injection": ()},
}


@pytest.mark.parametrize("key", HOLES)
def test_a_section_that_says_nothing_is_refused_by_name(key):
    with pytest.raises(ConfigError, match=rf"say nothing: .*{key}") as refused:
        replace(SPEC, **HOLES[key])
    assert refused.value.where == "risk.example_guard" and "27" in refused.value.rule


def test_a_reasoned_none_fills_a_section():
    spec = replace(SPEC, parameters=(), no_parameters="none: compares two hashes")
    assert spec.sections()["parameters"] == spec.sections()["default_config"] == "none: compares two hashes"


@pytest.mark.parametrize("field", ["why_it_matters", "flow", "wire_examples", "failure_injection", "reason_codes"])
def test_one_thing_where_a_tuple_belongs_is_refused(field):
    one = getattr(SPEC, field)[0]
    if field == "flow":  # text alone is allowed there
        assert replace(SPEC, flow=one).sections()["flow"] == one
    else:
        with pytest.raises(ConfigError, match=rf"{field} is no tuple"):
            replace(SPEC, **{field: one})


def test_a_spec_refuses_what_contradicts_itself():
    for change, said in (
        ({"parameters": (AGE, AGE)}, "max_age_s is declared twice"),
        ({"reason_codes": ("RISK_STALE_BOOK",) * 2}, "RISK_STALE_BOOK is declared twice"),
        ({"parameters": tuple(replace(AGE, name=f"p{i}") for i in range(N_PARAMS + 1))}, "33 parameters"),
        ({"parameters": (replace(AGE, name="mode"),)}, "cannot be called mode"),
        ({"version": "1"}, "not like 0.1.0"),
        ({"modes": (BotMode.OFF,)}, "default mode shadow"),
        ({"bot_id": "risk.Example"}, "no bot id"),
        ({"bot_id": "oracle.example"}, "no bot id"),
        ({"bot_id": "gov.example"}, "outside the step"),
    ):
        with pytest.raises(ConfigError, match=said):
            replace(SPEC, **change)


def test_an_unregistered_reason_code_is_refused_when_the_spec_is_written():
    with pytest.raises(UsageError, match="RISK_NO_SUCH_CODE"):
        replace(SPEC, reason_codes=("RISK_NO_SUCH_CODE",))


def test_what_follows_from_the_family_need_not_be_written():
    sections = SPEC.sections()
    assert sections["identity"]["bot_class"] == "Guardrail" and sections["dependencies"]["emits"] == ("RiskVote",)
    assert sections["dependencies"]["blocks"] is True
    sensor = replace(SPEC, bot_id="intel.example", decision_logic=DecisionLogic("measures"))
    assert sensor.sections()["decision_logic"]["reject"].startswith("none: Intelligence bots do not vote")
    assert sensor.sections()["dependencies"]["blocks"] is False


def test_the_spec_as_data_survives_json():
    data = SPEC.as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["default_config"] == {"max_age_s": "3", "min_spread_bps": "100", "strict": "true"}
    assert data["reason_codes"][0]["severity"] == "HARD_REJECT"


# -- limits ------------------------------------------------------------------------------------------------


def test_the_threshold_itself_is_on_the_near_side():
    assert [AGE.level(v) for v in (3, 5, "5.000000001", 15, "15.000000001")] == [
        "ok",
        "ok",
        "warning",
        "warning",
        "hard",
    ]
    assert [SPREAD.level(v) for v in (100, 50, 49, 20, 19)] == ["ok", "ok", "warning", "warning", "hard"]


def test_beyond_hard_nothing_starts():
    for values, rule in (({"max_age_s": 16}, "at most 15 s"), ({"min_spread_bps": 19}, "at least 20 bps")):
        for refuse in (SPEC.check, SPEC.kernel_params, SPEC.resolve):
            with pytest.raises(ConfigError, match="beyond its hard limit") as refused:
                refuse(values)
            assert rule in refused.value.rule and refused.value.exit_code == 3


def test_beyond_warning_the_bot_is_warned_of_exactly_those():
    assert SPEC.check() == []
    assert SPEC.check({"max_age_s": 6}) == ["max_age_s"]
    assert SPEC.check({"min_spread_bps": 49, "max_age_s": "5.5"}) == ["max_age_s", "min_spread_bps"]


number = st.decimals(min_value=0, max_value=10**6, places=3)
RANK = {"ok": 0, "warning": 1, "hard": 2}


@given(
    low=number, high=number, value=number, step=st.decimals(min_value=0, max_value=1000, places=3), side=st.booleans()
)
@settings(max_examples=1_000, deadline=None)
def test_more_danger_never_has_a_lower_level(low, high, value, step, side):
    safe, dangerous = min(low, high), max(low, high)
    direction, warning, hard = ("max", safe, dangerous) if side else ("min", dangerous, safe)
    p = Parameter("p", "s", default=0 if side else 10**6, warning=warning, hard=hard, direction=direction,
                  controls="c", why_default_matters="w")  # fmt: skip
    worse = value + step if side else max(Decimal(0), value - step)
    assert RANK[p.level(value)] <= RANK[p.level(worse)]
    # the definition, written the other way round
    beyond = (lambda limit: value > limit) if side else (lambda limit: value < limit)
    assert p.level(value) == ("hard" if beyond(hard) else "warning" if beyond(warning) else "ok")
    if p.level(value) == "hard":
        with pytest.raises(ConfigError):
            p.check(value)
    else:
        assert p.check(value) is (p.level(value) == "warning")


def test_a_declaration_that_contradicts_itself_is_refused():
    for change, rule in (
        ({"default": 16}, "the default is within hard"),
        ({"warning": 16}, "the warning comes before the refusal"),
        ({"direction": "up"}, "direction names the dangerous side"),
        ({"unit": "hours"}, "a unit is one of"),
        ({"hard": None}, "every number has default, warning and hard"),
        ({"name": "maxAge"}, "snake_case"),
        ({"controls": " "}, "controls says"),
        ({"why_default_matters": ""}, "reason"),
        ({"search_space": (1, 16, 1)}, "a search stays within hard"),
    ):
        with pytest.raises(ConfigError) as refused:
            replace(AGE, **change)
        assert rule in refused.value.rule
    with pytest.raises(ConfigError, match="comes before"):
        replace(SPREAD, warning=10)


# -- units -------------------------------------------------------------------------------------------------


def test_kernel_values_computed_by_hand():
    for unit, given_, kernel in (
        ("pUSD", "0.25", 250_000),
        ("shares", "1.5", 1_500_000),
        ("pips", 25, 25),
        ("bps", 30, 30),
        ("ppm", 7, 7),
        ("pct", "4", 40_000),
        ("pct", "0.0001", 1),
        ("ms", 50, 50_000_000),
        ("s", "2.5", 2_500_000_000),
        ("count", 12, 12),
        ("ratio", "0.35", 350_000),
    ):
        p = Parameter("p", unit, default=0, warning=10**6, hard=10**6, controls="c", why_default_matters="w")
        assert p.kernel_value(given_) == kernel, unit
    assert [STRICT.kernel_value(v) for v in (True, "no", "ON", 0)] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "given_",
    [
        "0.0000000001",
        "1.00000000000000000000000000000000000001",
        "1e400",
        "9e18",
        "nan",
        "inf",
        "",
        "3 s",
        2.5,
        True,
        None,
    ],
)
def test_what_is_no_whole_kernel_unit_is_refused_and_never_rounded(given_):
    with pytest.raises(ConfigError):
        replace(AGE, hard=10**9).kernel_value(given_)


@given(unit=st.sampled_from([u for u in UNITS if u != "flag"]), kernel=st.integers(0, 2**62))
@settings(max_examples=1_000, deadline=None)
def test_kernel_unit_to_text_and_back_is_the_same_number(unit, kernel):
    p = Parameter("p", unit, default=0, warning=0, hard=0, direction="min", controls="c", why_default_matters="w")
    text = p.text(Decimal(kernel) / UNITS[unit][0])
    assert p.kernel_value(text) == kernel and p.text(text) == text


def test_lowest_and_highest_bound_what_means_anything():
    share = replace(AGE, name="share", unit="pct", default=20, warning=30, hard=60, highest=100)
    with pytest.raises(ConfigError, match="out of range"):
        share.level(101)
    with pytest.raises(ConfigError, match="out of range"):
        share.level(-1)
    assert replace(share, lowest=None).level(-1) == "ok"


def test_kernel_params_are_in_declared_order_and_zero_beyond():
    row = SPEC.kernel_params({"min_spread_bps": "60", "strict": "false"})
    assert row.dtype == "int64" and row.shape == (N_PARAMS,)
    assert row.tolist() == [3_000_000_000, 60, 0] + [0] * 29
    assert [SPEC.index(p.name) for p in SPEC.parameters] == [0, 1, 2]


def test_an_unknown_parameter_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as refused:
        SPEC.check({"max_age": 3}, {"max_age": "settings.ini:7"})
    assert str(refused.value).startswith("settings.ini:7: risk.example_guard has no parameter 'max_age'")
    assert refused.value.mend == "did you mean max_age_s?"


def test_resolved_values_are_canonical_text_in_declared_order():
    assert list(SPEC.resolve({"strict": "No", "max_age_s": " 04.50 "}).items()) == [
        ("max_age_s", "4.5"),
        ("min_spread_bps", "100"),
        ("strict", "false"),
    ]


# -- modes, library, registry ------------------------------------------------------------------------------


def test_mode_numbers_are_those_the_step_reads():
    from polytraders.engine import state

    assert {m: m.number for m in BotMode} == {m: getattr(state, f"MODE_{m.name}") for m in BotMode}
    assert N_PARAMS == state.N_PARAMS


def test_kernel_families_are_those_of_the_engine_in_its_order():
    from polytraders.engine import kernels

    assert tuple(key for key, f in FAMILIES.items() if f.kernel) == kernels.FAMILIES


def test_the_library_names_109_bots_that_no_spelling_confuses():
    ids = [f"{key}.{name}" for key, names in LIBRARY.items() for name in names]
    assert [len(names) for names in LIBRARY.values()] == [17, 6, 24, 19, 15, 9, 19] and len(ids) == 109
    assert len({i.replace("-", "").replace("_", "") for i in ids}) == 109
    assert all(resolve_bot(i) == i for i in ids)


def test_risk_votes_in_the_declared_order():
    assert len(RISK_ORDER) == 19 and RISK_ORDER[0] == "risk.killswitch" and RISK_ORDER[-1] == "risk.portfolioguard"
    first = ["risk.killswitch", "risk.stale_book_guard", "risk.liquidityguard", "risk.portfolioguard"]
    assert [b for b in RISK_ORDER if b in first] == first


def test_costs_are_estimated_before_the_router_chooses():
    order = LIBRARY["exec"]
    assert order.index("fee_slippage_estimator") < order.index("smartrouter")


def test_prices_are_validated_after_everything_that_may_change_them():
    order = LIBRARY["exec"]
    shaping = ("smartrouter", "antitoxicfill", "partialfillhandler", "cancelreplaceoptimizer")
    last = order.index("pricebandvalidator")
    assert all(order.index(name) < last for name in (*shaping, "order_amend_cancel_manager"))


def test_a_module_follows_from_the_id():
    assert module_of("strat.maker_tight") == "polytraders.strategies.maker_tight"
    assert module_of("disc.marketscanner") == "polytraders.discovery.marketscanner"
    assert module_of("exec.fee_slippage_estimator") == "polytraders.execution.fee_slippage_estimator"
    assert module_of("intel.sportsfeed-adapter") == "polytraders.intel.sportsfeed_adapter"


def test_every_spelling_in_use_finds_its_bot():
    for name in ("strat.maker-tight", "strat.maker_tight", "Strat.MakerTight"):
        assert resolve_bot(name) == "strat.maker_tight"
    assert resolve_bot("risk.stalebookguard") == "risk.stale_book_guard"
    assert resolve_bot("exec.smart_router") == "exec.smartrouter"


def test_an_unknown_bot_is_refused_with_the_nearest_ids():
    with pytest.raises(UsageError) as refused:
        load_bot("strat.maker_tihgt")
    assert "there is no bot 'strat.maker_tihgt'" in str(refused.value)
    assert refused.value.mend.startswith("did you mean strat.maker_tight") and refused.value.exit_code == 2


def test_a_named_bot_without_a_module_says_so(monkeypatch):
    monkeypatch.setattr(bots, "bot_ids", lambda family="": ())
    with pytest.raises(UsageError, match="risk.killswitch is named in the library but not built in this version"):
        load_bot("risk.killswitch")


def test_a_bot_can_be_registered_without_a_module():
    bot = register(Bot(SPEC, decide=len))
    try:
        assert load_bot("risk.example-guard") is bot and bot.id in bot_ids("risk") and bot.family == "risk"
        register(replace(bot, decide=None))  # the notebook cell runs again
        assert load_bot(bot.id).decide is None
    finally:
        unregister(bot.id)
    with pytest.raises(UsageError):
        load_bot(bot.id)


def test_every_module_found_holds_the_bot_of_its_id():
    assert {*KERNEL_BOTS, *SERVICE_BOTS} == {*bot_ids()}
    for bot_id in bot_ids():
        bot = load_bot(bot_id)
        assert bot.spec.bot_id == bot_id and bot.spec.check() is not None
        assert bot.spec.kernel == (bot_id in KERNEL_BOTS) == (bot.decide is not None)
        assert isinstance(bot, ServiceBot) != bot.spec.kernel


def test_a_file_without_a_spec_is_no_bot(tmp_path, monkeypatch):
    (tmp_path / "risk").mkdir()
    (tmp_path / "risk" / "shapes.py").write_text("WIDE = 1\n")
    (tmp_path / "risk" / "portfolioguard.py").write_text("SPEC = 1\n")
    (tmp_path / "risk" / "killswitch.py").write_text("SPEC = 1\n")
    (tmp_path / "risk" / "my_guard.py").write_text("import x\nSPEC = 1\n")
    monkeypatch.setattr(bots.polytraders, "__file__", str(tmp_path / "__init__.py"))
    assert bot_ids("risk") == ("risk.killswitch", "risk.portfolioguard", "risk.my_guard")


def test_importing_bots_loads_no_compiler_and_no_bot():
    code = (
        "import sys, polytraders.bots; print(sorted(m for m in sys.modules if m.startswith(('numba', 'polytraders.'))))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['polytraders.bots', 'polytraders.errors']"


# -- the page ----------------------------------------------------------------------------------------------


class _Outline(HTMLParser):
    """Titles of the page's sections, and whether every tag is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.titles, self.balanced = [], [], True

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)
        if tag == "summary":
            self.titles.append("")

    def handle_endtag(self, tag):
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        if "summary" in self.open:
            self.titles[-1] += data


def test_the_page_shows_every_section():
    page = SPEC._repr_html_()
    outline = _Outline()
    outline.feed(page)
    assert outline.titles == [f"{s.number}{s.title}" for s in SECTIONS]
    assert outline.balanced and not outline.open
    assert not re.search(r'<div class="body"></div>', page)


def test_the_page_shows_parameters_codes_and_payloads():
    page = SPEC._repr_html_()
    for number_ in ("3", "&gt; 5", "&gt; 15", "100", "&lt; 50", "&lt; 20"):
        assert f'<td class="num">{number_}</td>' in page
    code = SPEC.codes()[0]
    assert code.user_message in page and f'<td class="num">{code.number}</td>' in page
    assert "&quot;decision&quot;: &quot;REJECT&quot;" in page


def test_the_page_escapes_what_authors_write():
    page = SPEC._repr_html_()
    assert "&lt;any more&gt;" in page and "<any more>" not in page


def test_the_page_opens_on_paper_and_fixes_no_colour():
    style = SPEC._repr_html_().split("</style>")[0]
    assert "@media print" in style and "::details-content" in style
    assert not re.search(r"#[0-9a-fA-F]{3,6}\b|rgb\(", style)  # light and dark come from the surroundings
