"""sec.signaturepreviewer: what is signed is what was decided."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from service_cases import MANY, NOW, M, S, ask, codes, declared, unkindness

from polytraders.rows import OrderType
from polytraders.security.signaturepreviewer import Decided, Inputs, Signing, summary
from polytraders.units import ONE, TICKS_PIPS
from polytraders.venue.orders import Market, Order, account, build
from polytraders.venue.refusal import Refused

BOT = "sec.signaturepreviewer"
ME, TOKEN, BUILDER, ZERO = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 7 * 10**76, "0x" + "b0" * 32, "0x" + "00" * 32
DECIDED = Decided(TOKEN, 1, 5_700, 57_120_000, False, ME, ME, 0, BUILDER, ZERO)
SIGNED = Signing(1, ME, ME, TOKEN, 57_120_000, 32_558_400, 1, 0, NOW // 10**6, ZERO, BUILDER)


def judge(signed=SIGNED, decided=DECIDED, kill_switch=False, params=None, now=NOW):
    return ask(BOT, Inputs(signed, decided, kill_switch), params, now)


def changed(**fields):
    return judge(SIGNED._replace(**fields))


REASONS = [
    (judge, {}, "SEC_PREVIEW_EQUAL"),
    (judge, {"now": NOW + 30 * S}, "SEC_PREVIEW_EQUAL"),
    (judge, {"now": NOW + 30 * S + 1}, "SEC_PREVIEW_STALE"),
    (judge, {"now": NOW - 30 * S - 1}, "SEC_PREVIEW_STALE"),
    (judge, {"kill_switch": True}, "RISK_KILL_SWITCH_ACTIVE"),
    (changed, {"maker_amount": 57_110_000, "taker_amount": 32_552_700}, "SEC_PREVIEW_DEVIATES"),
    (changed, {"taker_amount": 31_987_200}, "SEC_ENVELOPE_BREACH"),
    (changed, {"taker_amount": 0}, "SEC_PREVIEW_FIELD_DIFFERS"),
    (changed, {"maker": ME.lower()}, "SEC_PREVIEW_FIELD_DIFFERS"),
]


@pytest.mark.parametrize(("how", "with_", "code"), REASONS)
def test_every_reason_at_its_limit(how, with_, code):
    assert how(**with_).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


OTHER = {
    "token_id": TOKEN + 1, "side": 0, "maker": "0x" + "1" * 40, "signer": "0x" + "1" * 40, "signature_type": 2,
    "builder": "0x" + "b1" * 32, "metadata": "0x" + "01" * 32,
}  # fmt: skip


@pytest.mark.parametrize("field", OTHER)
def test_a_field_that_differs_is_refused_and_named(field):
    said = changed(**{field: OTHER[field]})
    assert (said.code, said.payload["fields"]) == ("SEC_PREVIEW_FIELD_DIFFERS", (field,)) and field in said.what
    params = {"block_on_envelope_mismatch": "false"}
    assert judge(SIGNED._replace(**{field: OTHER[field]}), params=params).refused


def test_without_blocking_a_breach_is_a_warning():
    said = judge(SIGNED._replace(taker_amount=1), params={"block_on_envelope_mismatch": "false"})
    assert (said.code, said.severity) == ("SEC_PREVIEW_DEVIATES", "WARN")


def test_it_says_in_plain_words_what_is_promised():
    assert summary(SIGNED).startswith(f"{ME} sells 57.12 shares of token 7") and "32.5584 pUSD" in summary(SIGNED)
    assert "no price" in summary(SIGNED._replace(maker_amount=0))


prices = st.integers(1, 9_999)
MINE = account(ME, 0, 137)


@MANY
@given(
    st.sampled_from(TICKS_PIPS),
    prices,
    st.integers(1, 10**7),
    st.sampled_from([0, 1]),
    st.sampled_from(list(OrderType)),
    st.booleans(),
)
def test_whatever_our_builder_makes_is_what_was_decided(tick, price, cents, side, order_type, neg_risk):
    price, amount = price - price % tick, cents * 10_000
    assume(tick <= price <= ONE - tick)
    market = Market(TOKEN, tick, M, neg_risk, 137, "v1")
    try:
        order = build(market, MINE, side, price, amount, order_type, salt=1, timestamp_ms=NOW // 10**6, builder=BUILDER)
    except Refused:
        assume(False)
    by_money = side == 0 and order_type in (OrderType.FOK, OrderType.FAK)
    said = judge(order, Decided(TOKEN, side, price, amount, by_money, ME, ME, 0, BUILDER, ZERO))
    assert said.code == "SEC_PREVIEW_EQUAL", said


@MANY
@given(prices, st.integers(1, 10**11), st.integers(0, 10**12), st.integers(0, 10**12), st.booleans())
def test_more_deviation_is_never_kinder(price, shares, less, more, of_money):
    less, more = sorted((less, more))
    decided = DECIDED._replace(price=price, amount=shares * 100)
    fair = Order(1, ME, ME, TOKEN, shares * 100, price * shares // 100 or 1, 1, 0, NOW // 10**6, ZERO, BUILDER)
    field = "taker_amount" if of_money else "maker_amount"
    near, far = (fair._replace(**{field: getattr(fair, field) + off}) for off in (less, more))
    assert unkindness(judge(near, decided)) <= unkindness(judge(far, decided))


def test_every_order_of_the_vectors_is_equal_and_with_another_amount_refused(shared):
    document = json.loads(shared("venue/vectors.json").read_text(encoding="utf-8"))
    orders = [vector["message"] for vector in document["orders"] if vector.get("amounts_agree", True)]
    assert len(orders) > 10
    for m in orders:
        numbers = {key: int(m[key]) for key in ("tokenId", "makerAmount", "takerAmount", "side", "signatureType")}
        money, size = (numbers["makerAmount"], numbers["takerAmount"])[:: -1 if numbers["side"] else 1]
        signed = Signing(
            int(m["salt"]), m["maker"], m["signer"], numbers["tokenId"], numbers["makerAmount"], numbers["takerAmount"],
            numbers["side"], numbers["signatureType"], NOW // 10**6, m["metadata"], m["builder"],
        )  # fmt: skip
        decided = Decided(
            signed.token_id, signed.side, round(money * ONE / size), size, False, signed.maker, signed.signer,
            signed.signature_type, signed.builder, signed.metadata,
        )  # fmt: skip
        assert judge(signed, decided).code == "SEC_PREVIEW_EQUAL"
        assert judge(signed._replace(taker_amount=signed.taker_amount * 9), decided).refused
