"""Hold our orders against a file of vectors: inputs, the message they gave, and its hashes and signature.

Each order of the file is rebuilt from its inputs with our amounts, hashed, signed and posted anew, and compared with
what stands there, part by part. Where a vector gives amounts of its own for the official client that computes in
decimals, ours are held against those: the other official client computes in binary floats and signs, for one,
57.12 shares at 0.57 as 57.12 at 0.56.
"""

from __future__ import annotations

import json
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import orjson

from polytraders.errors import DataError
from polytraders.rows import OrderType, Side
from polytraders.units import UnitError, money_micro, price_pips, price_text
from polytraders.venue.orders.amounts import GETS_STEP, limit_amounts, market_amounts, whole_cents
from polytraders.venue.orders.auth import hmac_signature, login_digest, login_headers
from polytraders.venue.orders.build import body, is_protocol_v2
from polytraders.venue.orders.keys import Key
from polytraders.venue.orders.signing import recover, sign
from polytraders.venue.orders.typed import EXCHANGES, EXCHANGES_V3, Domain, Order, digest, domain_separator, struct_hash
from polytraders.venue.orders.wallets import deposit_wallets, proxy_wallet, safe_wallet
from polytraders.venue.refusal import Refused

AMOUNT_STEP = {1_000: 1_000, 100: 100, 50: 10, 25: 1, 10: 10, 1: 1}
"""Tick -> micro-units the official clients round amounts to, also where the venue takes fewer decimals."""
PARTS = ("domain", "amounts", "struct_hash", "domain_separator", "order_id", "signature", "signer", "body")
"""What is compared of an order, in this order."""


def check_file(path: Path) -> dict[str, Any]:
    """Compare every vector of a file. `all_equal` is the answer, `vectors` says per order what is equal.

    Raises `DataError` when the file cannot be read as vectors.
    """
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        key = Key(file["private_key"])
        orders = [check_order(vector, key) for vector in file["orders"]]
        others = [
            *({"name": f"l1_auth[{i}]", "equal": _login(v, key)} for i, v in enumerate(file.get("l1_auth", ()))),
            *({"name": f"l2_hmac[{i}]", "equal": _request(v)} for i, v in enumerate(file.get("l2_hmac", ()))),
        ]
        if wallets := file.get("wallet_derivation_polygon"):
            others.append({"name": "wallet_derivation_polygon", "equal": _wallets(wallets)})
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), mend="give a file like vectors.json") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"is not a file of vectors: {type(error).__name__} {error}"
        raise DataError(what, where=str(path), mend="give a file like vectors.json") from None
    equal = sum(vector["equal"] for vector in orders)
    return {
        "file": str(path),
        "orders": len(orders),
        "orders_equal": equal,
        "all_equal": bool(orders) and equal == len(orders) and all(other["equal"] for other in others),
        "vectors": orders,
        "others": others,
    }


def check_order(vector: dict[str, Any], key: Key) -> dict[str, Any]:
    """Compare one order: `parts` has a yes or no for each of `PARTS`, `notes` what a reader should know."""
    parts, notes = dict.fromkeys(PARTS, False), []
    try:
        _compare(vector, key, parts, notes)
    except (Refused, KeyError, TypeError, ValueError, ArithmeticError) as error:
        notes.append(f"{type(error).__name__}: {error}")
    return {"name": vector["name"], "equal": all(parts.values()), "parts": parts, "notes": notes}


def _compare(vector: dict[str, Any], key: Key, parts: dict[str, bool], notes: list[str]) -> None:
    signed = _order(vector["message"])
    domain = Domain(*(vector["domain"][name] for name in ("name", "version", "chainId", "verifyingContract")))
    expected = (
        EXCHANGES_V3.get(vector["chain_id"])
        if is_protocol_v2(signed.token_id)
        else EXCHANGES.get((vector["chain_id"], vector["inputs"]["neg_risk"]))
    )
    parts["domain"] = domain == expected
    given = (signed.maker_amount, signed.taker_amount)
    official = tuple(int(amount) for amount in vector.get("amounts_polymarket_client", given))
    try:
        ours = _amounts(vector["inputs"])
        parts["amounts"] = ours == official or _is_too_fine(vector["inputs"], ours, official)
        parts["amounts"] &= official == given or vector.get("amounts_agree") is False
        if ours != official:
            why = "the venue takes four decimals of a FOK or FAK order" if parts["amounts"] else "they differ"
            notes.append(f"amounts {ours}, there {official}: {why}")
        if official != given:
            notes.append(f"signed over {given} by a client that computes in floats; in decimals it is {official}")
    except (Refused, UnitError) as refused:
        notes.append(str(refused))
    if is_protocol_v2(signed.token_id):
        notes.append("a position of protocol v2: hashed and signed here, but `build` refuses it")
    if parts["domain"]:
        done = sign(signed, key, domain)
        parts["struct_hash"] = "0x" + struct_hash(signed).hex() == vector["struct_hash"]
        parts["domain_separator"] = "0x" + domain_separator(domain).hex() == vector["domain_separator"]
        parts["order_id"] = "0x" + digest(signed, domain).hex() == vector["eip712_hash"] == done.order_id
        parts["signature"] = done.signature == vector["signature"]
        parts["signer"] = _recovers(signed, vector["signature"], domain, key.address)
        parts["body"] = _body(signed, done.signature, vector) == {"postOnly": False} | vector["post_body"]
    else:
        notes.append(f"no exchange of this venue: {domain}")


def _order(message: dict[str, Any]) -> Order:
    return Order(
        int(message["salt"]),
        message["maker"],
        message["signer"],
        int(message["tokenId"]),
        int(message["makerAmount"]),
        int(message["takerAmount"]),
        int(message["side"]),
        int(message["signatureType"]),
        int(message["timestamp"]),
        message["metadata"],
        message["builder"],
    )


def _amounts(inputs: dict[str, Any]) -> tuple[int, int]:
    """Our amounts from a client's inputs, which may be finer than the venue's grids: floored first, as clients do."""
    tick, side = price_pips(inputs["tick_size"]), Side[inputs["side"]]
    if inputs["kind"] == "limit":
        return limit_amounts(side, price_pips(inputs["price"]), _floored(inputs["size"]), tick)
    decimals = len(price_text(tick)) - len("0.")
    price = Decimal(inputs["price"]).quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR)
    return market_amounts(side, price_pips(price), _floored(inputs["amount"]), tick)


def _floored(text: str) -> int:
    return whole_cents(money_micro(Decimal(text).quantize(Decimal("0.01"), ROUND_FLOOR)))


def _is_too_fine(inputs: dict[str, Any], ours: tuple[int, int], official: tuple[int, int]) -> bool:
    """Is the official amount what the clients' rule gives, with more decimals than the venue takes, and ours that
    amount floored?"""
    tick = price_pips(inputs["tick_size"])
    if inputs["kind"] != "market" or ours[0] != official[0] or AMOUNT_STEP[tick] >= GETS_STEP[tick]:
        return False
    price, gives = Decimal(inputs["price"]), Decimal(ours[0])
    exact = gives / price if inputs["side"] == "BUY" else gives * price
    step = AMOUNT_STEP[tick]
    rule = int(exact / step) * step
    return official[1] == rule and ours[1] == rule - rule % GETS_STEP[tick]


def _recovers(order: Order, signature: str, domain: Domain, address: str) -> bool:
    try:
        return recover(order, signature, domain) == address
    except Refused:
        return False


def _body(order: Order, signature: str, vector: dict[str, Any]) -> dict[str, Any]:
    """Our body for what a vector posts; a refusal stands in its place."""
    there = vector["post_body"]
    try:
        mine = body(
            order,
            signature,
            OrderType[there["orderType"]],
            owner=there["owner"],
            expiration_s=int(vector["expiration_posted"]),
            post_only=there.get("postOnly", False),
        )
    except Refused as refused:
        return refused.as_dict()
    return {"postOnly": False} | orjson.loads(orjson.dumps(mine))


def _login(vector: dict[str, Any], key: Key) -> bool:
    chain, when, nonce = vector["chain_id"], int(vector["timestamp"]), vector["nonce"]
    hashed = "0x" + login_digest(vector["address"], chain, when, nonce).hex()
    headers = login_headers(key, chain, when, nonce)
    same = headers == vector["headers"] and headers["POLY_SIGNATURE"] == vector["signature"]
    return same and hashed == vector["eip712_hash"]


def _request(vector: dict[str, Any]) -> bool:
    parts = (vector[name] for name in ("secret", "timestamp", "method", "path", "body"))
    return hmac_signature(*parts) == vector["signature"]


def _wallets(vector: dict[str, Any]) -> bool:
    owner = vector["signer"]
    return (
        proxy_wallet(owner) == vector["poly_proxy"]
        and safe_wallet(owner) == vector["gnosis_safe"]
        and deposit_wallets(owner) == (vector["deposit_wallet_beacon_current"], vector["deposit_wallet_uups_legacy"])
    )
