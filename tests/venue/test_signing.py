"""Digests, signatures and who made them (O1, O2), against eth_account."""

import random

import pytest
from eth_account import Account as EthAccount
from eth_keys import keys as eth_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from order_reference import (
    BUILDER,
    DOMAINS,
    KEY,
    NOW_MS,
    OWNER,
    TOKEN,
    document,
    key,
    random_order,
    reference_digest,
    wrapped_document,
)

from polytraders.rows import OrderType
from polytraders.venue.orders import (
    POLYGON,
    SignatureType,
    account,
    deposit_wallets,
    digest,
    exchange,
    proxy_wallet,
    recover,
    safe_wallet,
    sign,
    verify,
)
from polytraders.venue.orders.build import BUY, Market, build
from polytraders.venue.orders.typed import checksum, struct_hash, wrapped_digest
from polytraders.venue.refusal import Refused

OTHER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
MARKET = Market(TOKEN, 100, 5_000_000, False, POLYGON, "v1")
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER_OF_CURVE = 2 * HALF_ORDER + 1


def one(kind: SignatureType = SignatureType.EOA, **changed):
    mine = account(OWNER, kind, POLYGON)
    order = build(MARKET, mine, BUY, 3_400, 100_000_000, OrderType.GTC, salt=7, timestamp_ms=NOW_MS, builder=BUILDER)
    return order._replace(**changed)


def compare(draw: random.Random) -> None:
    """One random order under a random exchange: our digest and signature are eth_account's, and recover its key."""
    order, domain = random_order(draw), draw.choice(DOMAINS)
    typed = document(order, domain)
    assert digest(order, domain) == reference_digest(typed)
    if order.signature_type == SignatureType.DEPOSIT_WALLET:
        typed = wrapped_document(order, domain)
        assert wrapped_digest(order, domain, struct_hash(order)) == reference_digest(typed)
    signed = sign(order, key(), domain)
    expected = EthAccount.sign_typed_data(KEY, full_message=typed)
    assert signed.signature[2:132] == expected.signature.hex().removeprefix("0x")
    assert signed.order_id == "0x" + digest(order, domain).hex()
    assert recover(order, signed.signature, domain) == OWNER


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 2**32))
def test_digest_and_signature_of_a_random_order_are_those_of_eth_account(seed: int):
    compare(random.Random(seed))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 100_000, 10_000))
def test_a_hundred_thousand_random_orders_hash_and_sign_as_eth_account_does(first: int):
    for seed in range(first, first + 10_000):
        compare(random.Random(seed))


def test_every_signed_field_and_every_part_of_the_domain_changes_the_order_id():
    order, domain = one(), exchange(POLYGON, False)
    changed = {
        "salt": 8,
        "maker": OTHER,
        "signer": OTHER,
        "token_id": TOKEN + 1,
        "maker_amount": 1,
        "taker_amount": 1,
        "side": 1,
        "signature_type": 1,
        "timestamp_ms": NOW_MS + 1,
        "metadata": "0x" + "00" * 31 + "01",
        "builder": "0x" + "22" * 32,
    }
    assert changed.keys() == set(order._fields)
    ids = {digest(order._replace(**{name: value}), domain) for name, value in changed.items()}
    ids |= {digest(order, other) for other in DOMAINS}
    assert len(ids) == len(changed) + len(DOMAINS)


def test_the_exchange_follows_from_chain_and_neg_risk():
    assert exchange(137, False).contract == "0xE111180000d2663C0091e4f400237545B87B996B"
    assert exchange(137, True).contract == "0xe2222d279d744050d28e00520010520000310F59"
    assert exchange(80002, True).chain_id == 80002
    with pytest.raises(Refused) as refused:
        exchange(1, False)
    assert refused.value.code == "SEC_WRONG_CHAIN"


def test_nothing_is_signed_for_an_unknown_contract():
    forged = exchange(POLYGON, False)._replace(contract=OTHER)
    with pytest.raises(Refused) as refused:
        sign(one(), key(), forged)
    assert refused.value.code == "SEC_DOMAIN_MISMATCH"


def test_another_key_than_the_signers_signs_nothing():
    with pytest.raises(Refused) as refused:
        sign(one(signer=OTHER, maker=OTHER), key(), exchange(POLYGON, False))
    assert refused.value.code == "SEC_KEY_UNUSABLE" and OTHER in str(refused.value)


@pytest.mark.parametrize("kind", list(SignatureType))
def test_a_signed_order_of_every_signature_type_is_accepted(kind: SignatureType):
    order, domain = one(kind), exchange(POLYGON, False)
    signature = sign(order, key(), domain).signature
    assert recover(order, signature, domain) == OWNER
    assert verify(order, signature, domain) and verify(order, signature, domain, owner=OWNER.lower())
    lower = order._replace(maker=order.maker.lower(), signer=order.signer.lower())
    assert verify(lower, signature, domain)  # an address is its bytes, however it is spelled


@pytest.mark.parametrize("kind", list(SignatureType))
def test_any_change_to_what_was_signed_is_not_accepted(kind: SignatureType):
    order, domain = one(kind), exchange(POLYGON, False)
    signature = sign(order, key(), domain).signature
    assert not verify(order._replace(salt=8), signature, domain)
    assert not verify(order, signature, exchange(POLYGON, True))
    assert not verify(order, signature, domain, owner=OTHER)
    assert not verify(order._replace(maker=OTHER), signature, domain)
    for kind_ in set(SignatureType) - {kind}:
        assert not verify(order._replace(signature_type=int(kind_)), signature, domain)
    for place in (2, 40, 70, 110, len(signature) - 1):  # r, r, s, s, and v or the end of the wrapping
        other = signature[:place] + ("0" if signature[place] != "0" else "1") + signature[place + 1 :]
        assert not verify(order, other, domain)
    assert not verify(order, signature[:-2], domain) and not verify(order, signature + "00", domain)
    assert not verify(order, "0xzz", domain) and not verify(order, "", domain)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.one_of(st.binary(max_size=70), st.binary(min_size=65, max_size=65), st.text(max_size=140)))
def test_no_made_up_signature_is_accepted_and_none_raises(signature):
    for kind in SignatureType:
        assert verify(one(kind), signature, exchange(POLYGON, False)) is False


def test_the_mirrored_signature_with_a_high_s_is_not_accepted():
    order, domain = one(), exchange(POLYGON, False)
    raw = bytes.fromhex(sign(order, key(), domain).signature[2:])
    s = ORDER_OF_CURVE - int.from_bytes(raw[32:64], "big")
    mirrored = raw[:32] + s.to_bytes(32, "big") + bytes((55 - raw[64],))
    assert (
        eth_keys.Signature(mirrored[:64] + bytes((mirrored[64] - 27,)))
        .recover_public_key_from_msg_hash(digest(order, domain))
        .to_checksum_address()
        == OWNER
    )  # it is a signature, and the exchange refuses it all the same
    assert not verify(order, mirrored, domain)


def test_two_fields_of_wrong_length_do_not_pass_for_two_others_with_the_same_bytes():
    order, domain = one(), exchange(POLYGON, False)
    signature = sign(order, key(), domain).signature
    joined = order.metadata[2:] + order.builder[2:]
    shifted = order._replace(metadata="0x" + joined[:62], builder="0x" + joined[62:])
    assert digest(shifted, domain) == digest(order, domain)
    assert not verify(shifted, signature, domain)


def test_a_wallet_is_the_one_that_follows_from_its_owner():
    assert proxy_wallet(OWNER) == "0x365f0CA36Ae1f641E02fE3B7743673da42A13A70"
    assert safe_wallet(OWNER) == "0xd93B25cb943D14d0d34FBaF01Fc93a0f8b5F6E47"
    assert deposit_wallets(OWNER) == (
        "0xBc0fF067b7740Eff76C1ca93c875Ba6B890d6B50",
        "0xdf8b9E8f9AB23f261F6e1B171B7454ae6E46Ba76",
    )


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(st.binary(min_size=20, max_size=20))
def test_checksummed_addresses_are_those_of_eth_account(raw: bytes):
    from eth_utils import to_checksum_address

    assert checksum(raw) == to_checksum_address(raw)
