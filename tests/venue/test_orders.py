"""What is built and posted: amounts (A1 ... A4), refusals with their codes, and bodies (B1 ... B3)."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from order_reference import BUILDER, NOW_MS, OWNER, TOKEN, key

from polytraders.reasons import REGISTRY
from polytraders.rows import OrderType, Side
from polytraders.units import MICRO, ONE, TICKS_PIPS, price_text
from polytraders.venue.orders import POLYGON, account, body, build, exchange, payload, sign, whole_cents
from polytraders.venue.orders.amounts import BUY, SELL, is_protected, limit_amounts, market_amounts
from polytraders.venue.orders.build import Market
from polytraders.venue.refusal import Refused

MARKET = Market(TOKEN, 100, 5_000_000, False, POLYGON, "v1")
ACCOUNT = account(OWNER, 0, POLYGON)
GTC, GTD, FOK, FAK = OrderType
V2_TOKEN = 738009016472721401096948007640339832639010285682707102526685187490399125504


def make(market=MARKET, account=ACCOUNT, side=BUY, price=3_400, amount=100_000_000, order_type=GTC, **changed):
    rest = {"salt": 7, "timestamp_ms": NOW_MS, "builder": BUILDER} | changed
    return build(market, account, side, price, amount, order_type, **rest)


def code_of(call, *arguments, **named) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments, **named)
    error = refused.value
    assert error.code in REGISTRY and error.as_dict()["code"] == error.code
    assert error.what and error.mend and error.rule.startswith(error.code)
    return error.code


# -- amounts -------------------------------------------------------------------------------------------------


@st.composite
def on_tick(draw) -> tuple[int, int]:
    tick = draw(st.sampled_from(TICKS_PIPS))
    return tick, tick * draw(st.integers(1, ONE // tick - 1))


cents = st.integers(1, 10**8).map(lambda n: n * 10_000)


def decimals(micro: int) -> int:
    return max(0, -Decimal(micro).scaleb(-6).normalize().as_tuple().exponent)


def test_a_hand_computed_limit_order_on_every_tick():
    # shares x price: 21.04 x 0.5 = 10.52, x 0.34 = 7.1536, x 0.555 = 11.6772, x 0.4975 = 10.4674, x 0.056 = 1.17824
    worked = {1_000: (5_000, 10_520_000), 100: (3_400, 7_153_600), 50: (5_550, 11_677_200), 25: (4_975, 10_467_400)}
    worked |= {10: (560, 1_178_240), 1: (99, 208_296)}
    assert worked.keys() == set(TICKS_PIPS)
    for tick, (price, money) in worked.items():
        assert limit_amounts(BUY, price, 21_040_000, tick) == (money, 21_040_000)
        assert limit_amounts(SELL, price, 21_040_000, tick) == (21_040_000, money)


@given(on_tick(), cents, st.sampled_from(Side))
def test_the_amounts_of_a_limit_order_divide_to_its_price_exactly(grid, size, side):
    tick, price = grid
    maker, taker = limit_amounts(side, price, size, tick)
    money, shares = (maker, taker) if side == BUY else (taker, maker)
    assert shares == size and Decimal(money) / Decimal(shares) == Decimal(price_text(price))


@given(on_tick(), cents, st.sampled_from(Side))
def test_a_market_order_gives_two_decimals_gets_four_and_keeps_its_price(grid, amount, side):
    tick, price = grid
    exact = Decimal(amount) * ONE / price if side == BUY else Decimal(amount) * price / ONE
    try:
        maker, taker = market_amounts(side, price, amount, tick)
    except Refused as refused:
        assert refused.code == "EXEC_PRICE_NOT_PROTECTED"
        floored = int(exact) - int(exact) % (1_000 if tick == 1_000 else 100)
        assert not is_protected(side, price, amount, floored)
        return
    assert maker == amount and decimals(maker) <= 2 and decimals(taker) <= (3 if tick == 1_000 else 4)
    assert exact - (1_000 if tick == 1_000 else 100) < taker <= exact
    encoded = Decimal(maker) / taker if side == BUY else Decimal(taker) / maker
    limit = Decimal(price_text(price))
    assert limit <= encoded < limit + Decimal("0.0001") if side == BUY else limit - Decimal("0.0001") < encoded <= limit


@given(on_tick(), st.integers(100, 10**8).map(lambda n: n * 10_000))
def test_a_market_buy_of_a_dollar_or_more_is_never_refused_for_its_rounding_on_a_fine_tick(grid, amount):
    tick, price = grid
    if tick != 1_000:
        assert market_amounts(BUY, price, amount, tick)[0] == amount


def test_a_small_buy_whose_rounded_price_would_reach_the_next_one_is_refused():
    # 0.01 pUSD at 0.97 is 0.010309... shares, floored 0.0103: 0.01 / 0.0103 = 0.97087, above 0.97 + 0.0001
    assert code_of(market_amounts, BUY, 9_700, 10_000, 100) == "EXEC_PRICE_NOT_PROTECTED"


def test_whole_cents_floors():
    assert [whole_cents(n) for n in (1_999_000, 1_990_000, 9_999)] == [1_990_000, 1_990_000, 0]


# -- where the official builders are wrong -------------------------------------------------------------------


def test_a_float_floors_0_57_to_0_56_and_the_market_sell_of_57_12_shares_is_signed_a_tick_too_low():
    """py-clob-client-v2 multiplies binary floats: floor(0.57 x 100) is 56. Its seller asks 0.56 instead of 0.57."""
    builder = pytest.importorskip("py_clob_client_v2.order_builder.builder", reason="the official client")
    theirs = builder.OrderBuilder(None).get_market_order_amounts(
        builder.SELL, 57.129, 0.57, builder.ROUNDING_CONFIG["0.01"]
    )
    assert tuple(map(int, theirs[1:])) == (57_120_000, 31_987_200)
    assert 57_120_000 * 56 // 100 == 31_987_200
    assert market_amounts(SELL, 5_700, 57_120_000, 100) == (57_120_000, 32_558_400)
    assert 57_120_000 * 57 // 100 == 32_558_400


def test_a_float_loses_a_hundredth_of_a_share_of_sizes_that_need_no_rounding():
    builder = pytest.importorskip("py_clob_client_v2.order_builder.builder", reason="the official client")
    for size, lost in ((1.13, 1_120_000), (2.01, 2_000_000)):
        theirs = builder.OrderBuilder(None).get_order_amounts(builder.BUY, size, 0.5, builder.ROUNDING_CONFIG["0.01"])
        assert int(theirs[2]) == lost
    assert limit_amounts(BUY, 5_000, 1_130_000, 100)[1] == 1_130_000
    assert limit_amounts(BUY, 5_000, 2_010_000, 100)[1] == 2_010_000


def test_on_a_fine_tick_both_official_builders_give_a_market_order_more_decimals_than_the_venue_takes():
    """Their decimals follow the tick, the venue's limit does not: at most four of what a FOK or FAK order gets."""
    market = pytest.importorskip("polymarket._internal.actions.orders.market", reason="the official client")
    theirs = market._compute_market_order_amounts(
        amount=Decimal(10), price=Decimal("0.537"), side="BUY", tick_size=Decimal("0.001")
    )
    assert theirs == (10_000_000, 18_621_970) and decimals(theirs[1]) == 5
    assert market_amounts(BUY, 5_370, 10_000_000, 10) == (10_000_000, 18_621_900)


@settings(max_examples=60)
@given(on_tick(), cents, st.sampled_from(Side))
def test_amounts_are_those_of_the_official_client_that_computes_in_decimals_down_to_four_decimals(grid, amount, side):
    """Down to what 28 significant digits hold, which is more than the venue's whole supply."""
    market = pytest.importorskip("polymarket._internal.actions.orders.market", reason="the official client")
    limit = pytest.importorskip("polymarket._internal.actions.orders.limit", reason="the official client")
    tick, price = grid
    shown = {"price": Decimal(price_text(price)), "side": side.name, "tick_size": Decimal(price_text(tick))}
    human = Decimal(amount).scaleb(-6)
    assert limit._compute_limit_order_amounts(size=human, **shown) == limit_amounts(side, price, amount, tick)
    maker, taker = market._compute_market_order_amounts(amount=human, **shown)
    try:
        assert market_amounts(side, price, amount, tick) == (maker, taker - taker % 100)
    except Refused as refused:
        assert refused.code == "EXEC_PRICE_NOT_PROTECTED"
        assert not is_protected(side, price, maker, taker - taker % 100)


# -- refusals ------------------------------------------------------------------------------------------------

REFUSED = {
    "no builder code": ({"builder": ""}, "EXEC_NO_BUILDER_CODE"),
    "a builder code of zero": ({"builder": "0x" + "00" * 32}, "EXEC_NO_BUILDER_CODE"),
    "a builder code that is none": ({"builder": "0x12"}, "EXEC_BAD_ENVELOPE"),
    "a price between ticks": ({"price": 3_450}, "EXEC_OFF_TICK"),
    "a price of zero": ({"price": 0}, "EXEC_OFF_TICK"),
    "a price of one": ({"price": 10_000}, "EXEC_OFF_TICK"),
    "a price between ticks, market": ({"price": 3_450, "order_type": FAK}, "EXEC_OFF_TICK"),
    "a tick that is none": ({"market": MARKET._replace(tick=30)}, "EXEC_OFF_TICK"),
    "fewer shares than the minimum": ({"amount": 4_990_000}, "EXEC_BELOW_MIN_SIZE"),
    "no shares": ({"amount": 0}, "EXEC_BELOW_MIN_SIZE"),
    "fewer than no shares": ({"amount": -10_000}, "EXEC_BELOW_MIN_SIZE"),
    "a third decimal": ({"amount": 10_001_000}, "EXEC_TOO_MANY_DECIMALS"),
    "a third decimal of money": ({"amount": 10_001_000, "order_type": FOK}, "EXEC_TOO_MANY_DECIMALS"),
    "a market buy of 99 cents": ({"amount": 990_000, "order_type": FAK}, "EXEC_BELOW_MIN_MARKETABLE"),
    "a market sell of 99 cents": (
        {"amount": 2_910_000, "side": SELL, "order_type": FAK},
        "EXEC_BELOW_MIN_MARKETABLE",
    ),
    "a market of protocol v2": ({"market": MARKET._replace(version="v2")}, "EXEC_PROTOCOL_UNSUPPORTED"),
    "a position of protocol v2": ({"market": MARKET._replace(token_id=V2_TOKEN)}, "EXEC_PROTOCOL_UNSUPPORTED"),
    "a protocol nobody knows": ({"market": MARKET._replace(version="")}, "EXEC_PROTOCOL_UNSUPPORTED"),
    "no token": ({"market": MARKET._replace(token_id=-1)}, "EXEC_MARKET_UNKNOWN"),
    "a token beyond 256 bits": ({"market": MARKET._replace(token_id=2**256 + 2**50)}, "EXEC_MARKET_UNKNOWN"),
    "another chain than the account's": ({"market": MARKET._replace(chain_id=80002)}, "SEC_WRONG_CHAIN"),
    "no side": ({"side": 2}, "EXEC_BAD_ENVELOPE"),
    "a salt that JSON readers lose": ({"salt": 2**53}, "EXEC_BAD_ENVELOPE"),
    "seconds for milliseconds": ({"timestamp_ms": NOW_MS // 1_000}, "EXEC_BAD_ENVELOPE"),
    "nanoseconds for milliseconds": ({"timestamp_ms": NOW_MS * MICRO}, "EXEC_BAD_ENVELOPE"),
    "metadata that is none": ({"metadata": "note"}, "EXEC_BAD_ENVELOPE"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_order_the_venue_would_refuse_is_not_built(case: str):
    changed, code = REFUSED[case]
    assert code_of(make, **changed) == code


def test_without_a_builder_code_there_is_no_order_at_all():
    with pytest.raises(TypeError):
        build(MARKET, ACCOUNT, BUY, 3_400, 100_000_000, GTC, salt=7, timestamp_ms=NOW_MS)


def test_the_account_of_another_chain_or_of_anothers_wallet_is_refused():
    assert code_of(account, OWNER, 0, 1) == "SEC_WRONG_CHAIN"
    assert code_of(account, OWNER, 1, POLYGON, "0x" + "22" * 20) == "SEC_KEY_UNUSABLE"
    older = "0xdf8b9E8f9AB23f261F6e1B171B7454ae6E46Ba76"
    assert account(OWNER, 3, POLYGON, older) == (older, older, 3, POLYGON)


def test_what_is_built_is_what_was_asked_for():
    order = make(metadata="0x" + "00" * 30 + "BEEF", builder=BUILDER.replace("11", "aB"))
    assert order == (7, OWNER, OWNER, TOKEN, 34_000_000, 100_000_000, 0, 0, NOW_MS, "0x" + "00" * 30 + "beef") + (
        "0x" + "ab" * 31 + "22",
    )


# -- bodies --------------------------------------------------------------------------------------------------


def posted(order, order_type=GTC, **named):
    return body(order, "0x00", order_type, owner="an-api-key", **named)


def test_the_body_has_the_venues_fields_in_its_types_and_order():
    order = make()
    signed = sign(order, key(), exchange(POLYGON, False))
    sent = payload(body(order, signed.signature, GTC, owner="an-api-key", post_only=True))
    assert b" " not in sent and json.loads(sent) == {
        "order": {
            "salt": 7,
            "maker": OWNER,
            "signer": OWNER,
            "tokenId": str(TOKEN),
            "makerAmount": "34000000",
            "takerAmount": "100000000",
            "side": "BUY",
            "expiration": "0",
            "signatureType": 0,
            "timestamp": str(NOW_MS),
            "metadata": "0x" + "00" * 32,
            "builder": BUILDER,
            "signature": signed.signature,
        },
        "owner": "an-api-key",
        "orderType": "GTC",
        "deferExec": False,
        "postOnly": True,
    }
    assert "postOnly" not in posted(order)


def test_a_gtd_order_ends_three_minutes_after_its_making_or_later():
    now = NOW_MS // 1_000
    assert posted(make(order_type=GTD), GTD, expiration_s=now + 180)["order"]["expiration"] == str(now + 180)
    assert code_of(posted, make(order_type=GTD), GTD, expiration_s=now + 179) == "EXEC_GTD_TOO_SOON"
    assert code_of(posted, make(order_type=GTD), GTD) == "EXEC_BAD_ENVELOPE"
    assert code_of(posted, make(), GTC, expiration_s=now + 300) == "EXEC_BAD_ENVELOPE"


def test_a_market_orders_amounts_are_not_posted_as_an_order_that_may_rest():
    bought = make(order_type=FAK, price=5_100, amount=5_000_000)  # 5 / 9.8039 = 0.51000112
    assert bought.taker_amount == 9_803_900
    assert code_of(posted, bought, GTC) == "EXEC_OFF_TICK"
    assert posted(bought, FAK)["orderType"] == "FAK"


def test_a_limit_orders_fine_amounts_are_not_posted_as_a_market_order():
    fine = make(market=MARKET._replace(tick=1), price=99, amount=333_330_000)  # 3.299967 pUSD
    assert code_of(posted, fine, FOK) == "EXEC_TOO_MANY_DECIMALS"


def test_only_an_order_that_may_rest_is_post_only():
    assert code_of(posted, make(order_type=FAK), FAK, post_only=True) == "EXEC_BAD_ENVELOPE"


def test_a_batch_has_one_to_fifteen_orders():
    one = posted(make())
    assert json.loads(payload([one] * 15)) == [one] * 15
    assert code_of(payload, [one] * 16) == code_of(payload, []) == "EXEC_BAD_ENVELOPE"
