"""The venue's eyes: every official signature is recognised, and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polytraders.venue.local import signatures as sign

pytest.importorskip("coincurve", reason="the venue extra is not installed")


def message_of(vector: dict[str, Any]) -> sign.OrderMessage:
    m = vector["message"]
    return sign.OrderMessage(
        int(m["salt"]), m["maker"], m["signer"], int(m["tokenId"]), int(m["makerAmount"]), int(m["takerAmount"]),
        m["side"], m["signatureType"], int(m["timestamp"]),
        bytes.fromhex(m["metadata"][2:]), bytes.fromhex(m["builder"][2:]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def vectors(shared):
    return json.loads(shared("venue/vectors.json").read_bytes())


def test_every_official_order_has_its_id_and_its_signer(vectors):
    checked = 0
    for vector in vectors["orders"]:
        if vector["domain"]["version"] != "2":
            continue  # Exchange V3 has no markets here
        neg_risk = vector["domain"]["verifyingContract"] == sign.NEG_RISK_EXCHANGE
        message, chain = message_of(vector), vector["chain_id"]
        signature = bytes.fromhex(vector["post_body"]["order"]["signature"][2:])
        assert "0x" + sign.order_digest(message, neg_risk, chain).hex() == vector["eip712_hash"]
        assert sign.order_signer(message, signature, neg_risk, chain) == vectors["address"], vector["name"]
        checked += 1
    assert checked == len(vectors["orders"]) - 1


def test_another_amount_another_exchange_or_another_chain_is_another_signer(vectors):
    vector = vectors["orders"][0]
    message, signature = message_of(vector), bytes.fromhex(vector["signature"][2:])
    for other, neg_risk, chain in (
        (message._replace(maker_amount=1), False, 137),
        (message, True, 137),
        (message, False, 80002),
    ):
        assert sign.order_signer(other, signature, neg_risk, chain) != vectors["address"]


def test_a_deposit_wallets_signature_with_another_tail_is_none(vectors):
    vector = next(v for v in vectors["orders"] if v["message"]["signatureType"] == 3)
    signature = bytearray.fromhex(vector["post_body"]["order"]["signature"][2:])
    signature[70] ^= 1
    with pytest.raises(sign.BadSignature):
        sign.order_signer(message_of(vector), bytes(signature), False)


def test_official_logins_and_request_signatures_are_recognised(vectors):
    for login in vectors["l1_auth"]:
        signature = bytes.fromhex(login["signature"][2:])
        arguments = login["address"], login["timestamp"], login["nonce"], signature
        assert sign.login_signer(*arguments, login["chain_id"]) == login["address"]
    for request in vectors["l2_hmac"]:
        body = (request["body"] or "").encode()
        made = sign.hmac_signature(request["secret"], request["timestamp"], request["method"], request["path"], body)
        assert made == request["signature"]
