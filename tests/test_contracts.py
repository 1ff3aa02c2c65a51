"""The wire contracts: schemas that match their models, fixtures that pass or fail for the stated reason, W1 ... W7."""

import hashlib
import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from polytraders import contracts as c
from polytraders import reasons, rows, units
from polytraders.errors import UsageError

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures" / "contracts"
GOOD = sorted(FIXTURES.glob("*/good_*.json"))
BAD = sorted(FIXTURES.glob("*/bad_*.json"))
NOW = 1_776_330_604_287_000_000


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def load(model: str, name: str) -> dict:
    return json.loads((FIXTURES / model / f"{name}.json").read_text())


def validator(model: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(c.json_schema(c.MODELS[model]))


# -- schemas ---------------------------------------------------------------------------------------------------------


def test_the_committed_schemas_are_what_the_models_give(tmp_path):
    written = {path.name: path.read_text() for path in c.write_schemas(tmp_path)}
    committed = {path.name: path.read_text() for path in (ROOT / "schemas").iterdir()}
    assert sorted(written) == sorted(committed)
    for name, text in written.items():
        assert committed[name] == text, f"schemas/{name} is not current: run `polytraders schemas --write`"


def test_the_manifest_names_every_contract_with_the_hash_of_its_file():
    manifest = orjson.loads((ROOT / "schemas" / "manifest.json").read_bytes())
    assert {entry["name"] for entry in manifest} == set(c.MODELS)
    for entry in manifest:
        content = (ROOT / "schemas" / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert orjson.loads(content)["$id"] == entry["$id"] == f"https://polytraders.dev/schemas/{entry['name']}.json"


def test_the_set_of_contracts_is_the_one_agreed_on():
    names = """MarketSnapshot OrderBookSnapshot FeatureVector Signal OrderIntent RiskVote ExecutionPlan Fill Position
        PortfolioConfig MarketScope BotConfig ReasonCode ReportEnvelope ObservationReport DecisionReport ExecutionReport
        SettlementReport OperationsReport AuditEnvelope BotHealth SecurityCheck SignedOrderRequest OrderUpdate
        TenantConfig Cluster Watchlist TradeIntent Approval KillSwitch Override Incident ReplayReport"""
    assert sorted(c.MODELS) == sorted(re.findall(r"\w+", names))


def objects(schema: dict):
    """Every object schema inside `schema` that lists its properties."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


@pytest.mark.parametrize("model", sorted(c.MODELS))
def test_a_schema_is_valid_titled_described_and_closed(model):
    schema = c.json_schema(c.MODELS[model])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["title"] == model
    for part in objects(schema):
        assert part["additionalProperties"] is False, part["title"]
        assert part["description"], part["title"]
        for name, field in part["properties"].items():
            assert field.get("description"), f"{part['title']}.{name}"


@pytest.mark.parametrize("model", sorted(c.MODELS))
def test_no_schema_lets_a_json_number_be_anything_but_an_integer(model):
    assert '"type":"number"' not in orjson.dumps(c.json_schema(c.MODELS[model])).decode()


def test_the_wire_words_are_the_names_of_the_engines_enums():
    schema = c.json_schema(c.OrderIntent)["properties"]
    assert schema["side"]["enum"] == list(rows.Side.__members__)
    assert schema["outcome"]["enum"] == list(rows.Outcome.__members__)
    assert schema["order_type"]["enum"] == list(rows.OrderType.__members__)
    vote = c.json_schema(c.RiskVote)["properties"]
    assert vote["decision"]["enum"] == ["APPROVE", "RESHAPE", "REJECT", "QUARANTINE"]
    assert vote["severity"]["enum"] == ["INFO", "WARN", "RESHAPE", "HARD_REJECT", "EXPLAIN"]


# -- TypeScript ------------------------------------------------------------------------------------------------------

TYPES_FILE = ROOT / "schemas" / "contracts.ts"
DECLARED = {
    name: dict(re.findall(r"^  readonly (\w+\??): (.+);$", body, re.MULTILINE))
    for name, body in re.findall(
        r"^export interface (\w+) \{\n(.*?)^\}$", TYPES_FILE.read_text(), re.MULTILINE | re.DOTALL
    )
}


def test_typescript_declares_every_contract_with_its_fields_and_what_may_be_left_out():
    assert set(c.MODELS) <= DECLARED.keys()
    for name in c.MODELS:
        schema = c.json_schema(c.MODELS[name])
        wanted = {field if field in schema.get("required", ()) else f"{field}?" for field in schema["properties"]}
        assert DECLARED[name].keys() == wanted, name


def test_typescript_uses_no_name_that_it_does_not_declare():
    text = TYPES_FILE.read_text()
    declared = re.findall(r"^export (?:interface|type) (\w+)", text, re.MULTILINE)
    assert len(declared) == len(set(declared))
    used = {word for fields in DECLARED.values() for form in fields.values() for word in words_of(form)}
    assert used - {"string", "number", "boolean", "null", "readonly", "name"} <= set(declared)
    assert "any" not in used


def words_of(form: str) -> list[str]:
    """The names in a TypeScript type, without quoted text."""
    return re.findall(r"[A-Za-z_]\w*", re.sub(r'"[^"]*"', "", form))


def test_the_words_of_a_typescript_field_are_those_of_the_contract():
    intent, update = DECLARED["OrderIntent"], DECLARED["OrderUpdate"]
    assert intent["side"] == '"BUY" | "SELL"'
    assert intent["limit_price?"] == "string | null"
    assert DECLARED["OrderBookSnapshot"]["bids"] == "readonly BookLevel[]"
    assert DECLARED["FeatureVector"]["features"] == "{ readonly [name: string]: string | null }"
    assert DECLARED["SignedOrder"]["signature_type"] == "0 | 1 | 2 | 3"
    assert '"unknown"' in update["status"] and update["filled_shares"] == "string"


def test_two_parts_of_one_name_are_refused():
    schema = c.json_schema(c.Cluster)
    other = orjson.loads(orjson.dumps(schema))
    other["$defs"]["ClusterMember"]["properties"].pop("because")
    with pytest.raises(ValueError, match="ClusterMember means two different things"):
        c.typescript([schema, other])


@pytest.mark.skipif(shutil.which("tsc") is None, reason="no TypeScript compiler (tsc) on this machine")
def test_the_typescript_compiler_takes_good_documents_and_refuses_bad_shapes(tmp_path):
    shutil.copy(TYPES_FILE, tmp_path)
    lines = [f"import type {{ {', '.join(sorted(c.MODELS))} }} from './contracts';"]
    for i, path in enumerate(GOOD):
        lines.append(f"export const good{i}: {path.parent.name} = {json.dumps(orjson.loads(path.read_bytes()))};")
    shapes = {"extra_forbidden", "missing", "literal_error"}
    for i, path in enumerate(BAD):
        document = orjson.loads(path.read_bytes())
        if document.pop("_refused")["kind"] in shapes:
            del document["_why_bad"]
            lines.append("// @ts-expect-error")  # an error of its own when the next line compiles
            lines.append(f"export const bad{i}: {path.parent.name} = {json.dumps(document)};")
    assert lines.count("// @ts-expect-error") > 15
    (tmp_path / "documents.ts").write_text("\n".join(lines))
    command = ["tsc", "--strict", "--noEmit", "--noUncheckedIndexedAccess", "documents.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


# -- fixtures --------------------------------------------------------------------------------------------------------


def test_every_contract_has_a_good_and_two_bad_fixtures():
    for model in c.MODELS:
        assert [p for p in GOOD if p.parent.name == model], model
        assert len([p for p in BAD if p.parent.name == model]) >= 2, model
    assert {p.parent.name for p in GOOD + BAD} == set(c.MODELS)


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_a_good_document_passes_model_and_schema_and_survives_a_round_trip(path):
    text = path.read_bytes()
    model = c.MODELS[path.parent.name]
    document = model.model_validate_json(text)
    assert not list(validator(path.parent.name).iter_errors(orjson.loads(text)))
    assert not list(validator(path.parent.name).iter_errors(document.document()))
    assert model.model_validate_json(document.to_json()) == document
    assert model.model_validate(document.document()) == document
    sent = orjson.loads(text)
    assert {name: document.document()[name] for name in sent} == sent


@pytest.mark.parametrize("path", BAD, ids=name_of)
def test_a_bad_document_is_refused_for_its_stated_reason_and_no_other(path):
    document = orjson.loads(path.read_bytes())
    why, refused = document.pop("_why_bad"), document.pop("_refused")
    assert why.endswith(".")
    for read in (
        lambda: c.MODELS[path.parent.name].model_validate(document),
        lambda: c.MODELS[path.parent.name].model_validate_json(orjson.dumps(document)),
    ):
        with pytest.raises(ValidationError) as error:
            read()
        (only,) = error.value.errors()
        place = ".".join(map(str, only["loc"]))
        assert place.replace("payload.RiskVote.", "") == refused["at"]
        assert only["type"] == refused["kind"]
        assert refused["says"] in only["msg"]
    if only["type"] != "value_error":  # a rule of form: the schema alone refuses it too
        assert list(validator(path.parent.name).iter_errors(document))


# -- W1: numbers -----------------------------------------------------------------------------------------------------

TYPES = {"Price": c.Price, "Size": c.Size, "Money": c.Money, "Amount": c.Amount, "Number": c.Number}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", [0.5, 1.0, 1, True, None, float("nan"), float("inf"), b"0.5"], ids=repr)
def test_w1_only_strings_and_decimals_are_numbers(kind, value):
    with pytest.raises(ValidationError):
        TypeAdapter(TYPES[kind]).validate_python(value, strict=True)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.50",
        "1.0",
        "00",
        "01",
        ".5",
        "5.",
        "+1",
        "-0",
        "-0.0",
        "1e-1",
        " 0.5",
        "0.5\n",
        "0,5",
        "1_0",
        "٠.٥",
        "NaN",
    ],
)
def test_w1_a_number_has_one_spelling(kind, text):
    with pytest.raises(ValidationError):
        TypeAdapter(TYPES[kind]).validate_python(text)


@given(st.integers(0, units.ONE))
def test_w1_every_price_of_the_engine_is_a_price_on_the_wire(pips):
    text = units.price_text(pips)
    assert TypeAdapter(c.Price).validate_python(text) == text
    assert TypeAdapter(c.Price).validate_python(Decimal(pips) / units.ONE) == text


@given(st.integers(-(10**18), 10**18))
def test_w1_every_amount_of_the_engine_is_money_on_the_wire(micro):
    text = units.money_text(micro)
    assert TypeAdapter(c.Money).validate_python(text) == text
    if micro >= 0:
        assert TypeAdapter(c.Size).validate_python(units.size_text(micro)) == text
    else:
        with pytest.raises(ValidationError):
            TypeAdapter(c.Amount).validate_python(text)


@given(st.floats(-1e12, 1e12))
def test_w1_a_measurement_is_spelled_within_half_of_its_last_place(value):
    text = c.number_text(value)
    assert TypeAdapter(c.Number).validate_python(text) == text
    assert abs(Decimal(text) - Decimal(str(value))) <= Decimal("5e-10")


def test_w1_a_measurement_that_is_no_number_is_refused():
    for value in (float("nan"), float("inf"), Decimal("NaN")):
        with pytest.raises(ValueError, match="not a number"):
            c.number_text(value)


# -- W2, W3: times and ids -------------------------------------------------------------------------------------------


@given(st.integers(0, 4_102_444_800 * units.NS_PER_S))
def test_w2_every_moment_of_the_engine_is_a_time_on_the_wire(ns):
    stamp = c.Timed(**c.at(ns))
    assert units.ns_from_iso(stamp.ts) == ns == stamp.ts_ns


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-16T09:10:04Z",
        "2026-04-16T09:10:04.287Z",
        "2026-04-16T09:10:04.287000000",
        "2026-04-16T09:10:04.287000000+00:00",
        "2026-02-29T09:10:04.287000000Z",
        "2026-04-16 09:10:04.287000000Z",
    ],
)
def test_w2_a_time_has_one_spelling_and_must_exist(text):
    with pytest.raises(ValidationError):
        TypeAdapter(c.Time).validate_python(text)


def test_w3_ids_are_derived_from_their_parts_and_fit_their_patterns():
    kinds = {"oi": c.IntentId, "sig": c.SignalId, "fv": c.FeatureVectorId, "plan": c.PlanId}
    kinds |= {"ord": c.OrderId, "fill": c.FillId, "cor": c.CorrelationId}
    for prefix, kind in kinds.items():
        assert TypeAdapter(kind).validate_python(c.derived_id(prefix, "run", 1)) == c.derived_id(prefix, "run", 1)
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(c.derived_id("x", "run", 1))
    assert c.derived_id("oi", "run", 11) != c.derived_id("oi", "run", 1, 1)
    assert c.derived_id("oi", "run", 1) != c.derived_id("oi", "run", 2)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_w3_envelope_ids_sort_by_the_millisecond(one, other):
    ids = [c.envelope_id(ns, "run", 1) for ns in (one, other)]
    for text in ids:
        assert TypeAdapter(c.EnvelopeId).validate_python(text) == text
    ms = [ns // units.NS_PER_MS for ns in (one, other)]
    if ms[0] != ms[1]:
        assert (ids[0] < ids[1]) == (ms[0] < ms[1])


# -- W4: closed and frozen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_w4_one_more_field_anywhere_is_refused(path):
    document = orjson.loads(path.read_bytes())
    model = c.MODELS[path.parent.name]

    def places(part, where=()):
        if isinstance(part, dict):
            if where and where[-1] not in ("features", "flags", "details"):
                yield where
            if not where or where[-1] not in ("features", "flags", "details"):
                for name, inner in part.items():
                    yield from places(inner, (*where, name))
        elif isinstance(part, list):
            for i, inner in enumerate(part):
                yield from places(inner, (*where, i))

    for where in [(), *places(document)]:
        changed = orjson.loads(path.read_bytes())
        part = changed
        for step in where:
            part = part[step]
        part["surprise"] = 1
        with pytest.raises(ValidationError, match="Extra inputs"):
            model.model_validate(changed)


def test_w4_a_document_cannot_be_changed():
    intent = c.OrderIntent(**load("OrderIntent", "good_maker_quote"))
    with pytest.raises(ValidationError, match="frozen"):
        intent.limit_price = "0.7"
    assert isinstance(c.RiskVote(**load("RiskVote", "good_reshape")).measures, tuple)


# -- W5: a reshape never grows ---------------------------------------------------------------------------------------


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    price=st.tuples(st.integers(1, 9_999), st.integers(1, 9_999)),
    size=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
)
def test_w5_a_reshape_never_grows_the_order(side, price, size):
    def intent(pips, cents):
        micro = cents * units.CENT_SHARE
        shape = {
            "side": side,
            "limit_price": units.price_text(pips),
            "size_shares": units.size_text(micro),
            "size_pusd": units.money_text(units.notional_micro(pips, micro)),
        }
        return load_intent | shape

    load_intent = load("OrderIntent", "good_maker_quote")
    report = load("DecisionReport", "good_reshaped")
    report |= {"intent": intent(price[0], size[0]), "final_intent": intent(price[1], size[1])}
    less = size[1] <= size[0] and (price[1] <= price[0] if side == "BUY" else price[1] >= price[0])
    if less:
        c.DecisionReport.model_validate(report)
    else:
        with pytest.raises(ValidationError, match="only makes an order less"):
            c.DecisionReport.model_validate(report)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"outcome": "NO"}, "outcome was changed"),
        ({"side": "SELL"}, "side was changed"),
        ({"condition_id": "0x" + "11" * 32}, "condition_id was changed"),
        ({"portfolio_id": "PORT-002"}, "portfolio_id was changed"),
        ({"intent_id": "oi_000000000000"}, "intent_id was changed"),
        ({"post_only": False}, "post_only was lifted"),
        ({"limit_price": None}, "limit_price was lifted"),
        ({"size_shares": None}, "size_shares grew"),
        ({"expires_at": "2026-04-16T10:00:00.000000000Z"}, "expires_at moved"),
    ],
)
def test_w5_a_reshape_never_turns_the_order(change, says):
    report = load("DecisionReport", "good_reshaped")
    if "limit_price" in change:  # a post-only order has one by another rule
        report["intent"]["post_only"] = report["final_intent"]["post_only"] = False
    report["final_intent"] |= change
    with pytest.raises(ValidationError, match=says):
        c.DecisionReport.model_validate(report)


def test_w5_a_refusal_in_shadow_binds_nobody():
    report = load("DecisionReport", "bad_after_reject")
    del report["_why_bad"], report["_refused"]
    report["votes"][0]["mode"] = "shadow"
    assert c.DecisionReport.model_validate(report).final_intent is not None


# -- W6: the chain ---------------------------------------------------------------------------------------------------


def chain(n: int) -> list[dict]:
    """A chain of `n` envelopes, made from one good one."""
    base, documents, prev = load("ReportEnvelope", "good_vote"), [], c.GENESIS
    base.pop("hash")
    for seq in range(n):
        ns = NOW + seq
        place = {"seq": seq, "prev_hash": prev, "envelope_id": c.envelope_id(ns, "run", seq)}
        documents.append(c.seal(base | place | {"emitted_at": units.iso_utc(ns), "emitted_at_ns": ns}).document())
        prev = documents[-1]["hash"]
    return documents


def test_w6_the_hash_is_sha256_over_sorted_json_without_the_hash():
    document = load("ReportEnvelope", "good_vote")
    stored = document.pop("hash")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == stored
    assert c.canonical_json(document) == text.encode()
    assert c.seal(document).hash == stored


def test_w6_an_intact_chain_verifies():
    assert c.verify_chain(chain(4)) is None
    assert c.verify_chain([]) is None


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "change",
    [{"severity": "WARN"}, {"hash": "ab" * 32}, {"prev_hash": "cd" * 32}, {"seq": 9}, {"surprise": None}],
    ids=str,
)
def test_w6_a_changed_envelope_is_named(index, change):
    documents = chain(4)
    documents[index] |= change
    broken = c.verify_chain(documents)
    assert (broken.index, broken.envelope_id) == (index, documents[index]["envelope_id"])


def test_w6_a_missing_doubled_or_swapped_envelope_is_named():
    one, two, three, four = chain(4)
    assert c.verify_chain([one, three, four]).index == 1
    assert c.verify_chain([two, three]).index == 0
    assert c.verify_chain([one, two, two, three]).index == 2
    assert c.verify_chain([one, three, two, four]).index == 1


def test_w6_a_resealed_forgery_breaks_the_link_after_it():
    documents = chain(3)
    forged = {name: value for name, value in documents[1].items() if name != "hash"} | {"run_mode": "live"}
    documents[1] = c.seal(forged).document()
    broken = c.verify_chain(documents)
    assert broken.index == 2
    assert broken.what.startswith("prev_hash")


@pytest.mark.parametrize("field", sorted(set(load("ReportEnvelope", "good_vote")) - {"hash"}))
def test_w6_no_field_of_a_sealed_envelope_can_be_changed_and_read(field):
    one, other = load("ReportEnvelope", "good_vote"), load("ReportEnvelope", "good_settlement")
    changed = one | {field: other[field] if other[field] != one[field] else f"{one[field]}1"}
    with pytest.raises(ValidationError):
        c.ReportEnvelope.model_validate(changed)


def test_w6_a_bot_writes_codes_of_the_registry_by_their_own_names():
    base = load("ReportEnvelope", "good_decision")
    with pytest.raises(UsageError, match="RISK_KILL_SWITCH_ACTIVE"):
        c.seal(base | {"reason_code": "RISK_KILLSWITCH_TRIPPED"})
    with pytest.raises(UsageError, match="unknown reason code"):
        c.seal(base | {"reason_code": "STRAT_MADE_UP"})
    audit = load("AuditEnvelope", "good_settings")
    assert c.seal({k: v for k, v in audit.items() if k != "hash"}, c.AuditEnvelope).hash == audit["hash"]
    with pytest.raises(UsageError):
        c.seal(audit | {"reason": "GOV_MADE_UP"}, c.AuditEnvelope)


def test_w6_a_reader_still_reads_a_code_it_does_not_know():
    document = load("ReportEnvelope", "good_decision") | {"reason_code": "STRAT_FROM_THE_FUTURE"}
    document["hash"] = c.content_hash({k: v for k, v in document.items() if k != "hash"})
    assert c.ReportEnvelope.model_validate(document).reason_code == "STRAT_FROM_THE_FUTURE"


# -- people in the loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["intent", "book_hash", "votes"])
def test_an_approval_binds_to_the_order_the_book_and_the_votes(part):
    asked = load("TradeIntent", "good_open_pending")
    other = {
        "intent": asked["intent"] | {"limit_price": "0.66", "size_pusd": "99"},
        "book_hash": "cd" * 32,
        "votes": [*asked["votes"], asked["votes"][0] | {"bot_id": "risk.liquidityguard"}],
    }
    with pytest.raises(ValidationError, match="shown_hash is not the hash"):
        c.TradeIntent.model_validate(asked | {part: other[part]})
    again = asked | {part: other[part]}
    votes = [c.VoteReceived.model_validate(vote) for vote in again["votes"]]
    shown = c.shown_hash(c.OrderIntent.model_validate(again["intent"]), again["book_hash"], votes)
    assert shown != asked["shown_hash"]
    assert c.TradeIntent.model_validate(again | {"shown_hash": shown}).shown_hash == shown


@given(
    size=st.integers(1, 10**9),
    parts=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
    status=st.sampled_from(["live", "partially_filled", "filled", "cancelled", "expired", "rejected", "unknown"]),
)
def test_an_order_that_ended_has_nothing_open_and_one_that_is_live_has(size, parts, status):
    filled = min(parts[0], size)
    cancelled = min(parts[1], size - filled)
    open_ = size - filled - cancelled
    shares = {"size_shares": size, "filled_shares": filled, "cancelled_shares": cancelled, "open_shares": open_}
    document = load("OrderUpdate", "good_cancelled_after_a_part") | {"status": status, "reason_code": "EXEC_FILL"}
    document |= {name: units.size_text(value) for name, value in shares.items()}
    fits = {
        "live": filled == 0 < open_,
        "partially_filled": 0 < filled and 0 < open_,
        "filled": filled == size,
        "cancelled": open_ == 0,
        "expired": open_ == 0,
        "rejected": cancelled == size,
        "unknown": True,
    }
    if fits[status]:
        assert c.OrderUpdate.model_validate(document).open_shares == units.size_text(open_)
    else:
        with pytest.raises(ValidationError):
            c.OrderUpdate.model_validate(document)


@given(rows_=st.integers(0, 10**12), missing=st.integers(0, 5), hash_equal=st.booleans(), same_code=st.booleans())
def test_a_replay_is_clean_only_when_every_row_and_every_hash_agrees(rows_, missing, hash_equal, same_code):
    equal = max(rows_ - missing, 0)
    clean = equal == rows_ and hash_equal
    verdict = "parity_clean" if clean else "parity_diverged" if same_code else "model_drift"
    parity = Decimal(equal * 10**9 // rows_) / 10**9 if rows_ else Decimal(1)
    document = load("ReplayReport", "good_clean") | {
        "rows": rows_,
        "equal": equal,
        "parity": c.number_text(parity),
        "bots": [{"bot_id": "strat.maker_tight", "rows": 3, "equal": 3, "hash_equal": hash_equal}],
        "first_mismatch": None if equal == rows_ else load("ReplayReport", "good_diverged")["first_mismatch"],
        "replay_source": ("ab" if same_code else "cd") * 32,
        "verdict": verdict,
        "reason_code": "GOV_REPLAY_MATCH" if clean else "GOV_REPLAY_MISMATCH",
    }
    report = c.ReplayReport.model_validate(document)
    assert (report.parity == "1") == (equal == rows_)
    for other in {"parity_clean", "parity_diverged", "model_drift"} - {verdict}:
        with pytest.raises(ValidationError):
            c.ReplayReport.model_validate(document | {"verdict": other})


# -- the rest --------------------------------------------------------------------------------------------------------


def test_every_code_of_the_registry_has_its_wire_form():
    for code in reasons.REGISTRY.values():
        wire = c.ReasonCode(**code.as_dict())
        assert c.ReasonCode.model_validate_json(wire.to_json()) == wire
        assert (wire.name, wire.number, wire.severity) == (code.name, code.number, code.severity)


def test_the_default_profile_is_the_conservative_one():
    profile = c.PortfolioConfig(**load("PortfolioConfig", "good_minimal"))
    assert (profile.max_position_pct, profile.max_category_pct, profile.max_exposure_pct) == ("2", "10", "20")
    assert (profile.max_drawdown_intraday_pct, profile.max_drawdown_weekly_pct) == ("4", "10")
    assert (profile.max_drawdown_total_pct, profile.max_daily_loss_pct) == ("15", "10")
    assert (profile.max_market_pusd, profile.max_orders_per_hour, profile.intent_ttl_s) == ("1000", 20, 60)
    assert (profile.take_profit_pct, profile.stop_loss_pct, profile.exit_before_resolution_days) == ("10", "5", 2)


@pytest.mark.parametrize(
    ("direction", "value", "beyond"), [("max", "3", False), ("max", "3.1", True), ("min", "2.9", True)]
)
def test_a_parameter_is_beyond_a_limit_on_its_dangerous_side_only(direction, value, beyond):
    parameter = c.ParameterValue(name="x", unit="s", value=value, default="1", warning="3", direction=direction)
    assert parameter.beyond(parameter.warning) is beyond
    assert parameter.beyond(parameter.hard) is False


@pytest.mark.parametrize("model", sorted(c.MODELS))
def test_a_contract_shows_itself_as_a_page_with_every_field(model):
    page = c.describe(c.MODELS[model])._repr_html_()
    for field in c.MODELS[model].model_fields:
        assert f"<code>{field}</code>" in page
    assert re.search(r"<h4>\w+</h4><p>.+</p><table>", page)
