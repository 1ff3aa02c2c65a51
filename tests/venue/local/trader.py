"""A trader of the tests' own, who can send any body: what the official clients refuse to make."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import httpx

from polytraders.rows import Side
from polytraders.units import ONE, price_pips, size_micro
from polytraders.venue.orders import POLYGON, Key, Order, digest, exchange, hmac_signature, login_headers, sign

ZERO = "0x" + "00" * 32


class Trader:
    """One account with an API key."""

    def __init__(self, urls: dict[str, str], private_key: str, nonce: int = 0):
        self.key = Key(private_key)
        self.address = self.key.address
        self.http = httpx.Client(base_url=urls["rest"], timeout=10)
        self.salt = 0
        self.skew = 0
        answer = self.http.post("/auth/api-key", headers=self.login(nonce))
        if answer.status_code == 400:
            answer = self.http.get("/auth/derive-api-key", headers=self.login(nonce))
        self.creds = answer.json()

    def login(self, nonce: int = 0, stamp: int = 0) -> dict[str, str]:
        return login_headers(self.key, POLYGON, stamp or int(time.time()), nonce)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """An L2 request; headers replace what would be sent."""
        text = "" if body is None else json.dumps(body, separators=(",", ":"))
        stamp, bare = str(int(time.time()) + self.skew), path.partition("?")[0]
        sent = {
            "POLY_ADDRESS": self.address,
            "POLY_API_KEY": self.creds["apiKey"],
            "POLY_PASSPHRASE": self.creds["passphrase"],
            "POLY_TIMESTAMP": stamp,
            "POLY_SIGNATURE": hmac_signature(self.creds["secret"], stamp, method, bare, text.encode()),
        }
        return self.http.request(method, path, content=text or None, headers={**sent, **headers})

    def order(
        self,
        token: str,
        side: str,
        price: str,
        size: str,
        kind: str = "GTC",
        *,
        amounts: tuple[int, int] | None = None,
        neg_risk: bool = False,
        expiration: int = 0,
        post_only: bool = False,
        **fields: Any,
    ) -> dict[str, Any]:
        """A signed body. amounts: maker's and taker's, instead of those that price and size give."""
        cash, shares = price_pips(price) * size_micro(size) // ONE, size_micro(size)
        maker, taker = amounts or ((cash, shares) if side == "BUY" else (shares, cash))
        self.salt += 1
        message = Order(
            salt=self.salt,
            maker=fields.pop("maker", self.address),
            signer=fields.pop("signer", self.address),
            token_id=int(token),
            maker_amount=maker,
            taker_amount=taker,
            side=int(Side[side]),
            signature_type=fields.pop("signature_type", 0),
            timestamp_ms=time.time_ns() // 1_000_000,
            metadata=ZERO,
            builder=ZERO,
        )
        domain = exchange(POLYGON, neg_risk)
        signature = fields.pop("signature", None)
        if (signature is None and message.signer == self.address) or message.signature_type == 3:
            signature = sign(message, self.key, domain).signature
        elif signature is None:  # somebody else's order under our key
            signature = "0x" + self.key.sign(digest(message, domain)).hex()
        entry = {
            "salt": message.salt,
            "maker": message.maker,
            "signer": message.signer,
            "tokenId": token,
            "makerAmount": str(maker),
            "takerAmount": str(taker),
            "side": side,
            "expiration": str(expiration),
            "signatureType": message.signature_type,
            "timestamp": str(message.timestamp_ms),
            "metadata": ZERO,
            "builder": ZERO,
            "signature": signature,
        }
        body = {"order": entry, "owner": self.creds["apiKey"], "orderType": kind, "deferExec": False, **fields}
        return body | ({"postOnly": True} if post_only else {})

    def digest(self, body: dict[str, Any], neg_risk: bool = False) -> str:
        """The order's id, known before it is sent."""
        o = body["order"]
        message = Order(
            o["salt"], o["maker"], o["signer"], int(o["tokenId"]), int(o["makerAmount"]), int(o["takerAmount"]),
            int(Side[o["side"]]), o["signatureType"], int(o["timestamp"]), ZERO, ZERO,
        )  # fmt: skip
        return "0x" + digest(message, exchange(POLYGON, neg_risk)).hex()

    def post(self, *order: Any, **more: Any) -> httpx.Response:
        return self.send("POST", "/order", self.order(*order, **more))

    def refusal(self, *order: Any, **more: Any) -> str:
        """The text of a refused order."""
        answer = self.post(*order, **more)
        assert answer.status_code == 400, answer.text
        assert answer.json()["success"] is False
        return answer.json()["error"]

    def open(self) -> list[dict[str, Any]]:
        return self.send("GET", "/data/orders").json()["data"]

    def trades(self) -> list[dict[str, Any]]:
        return self.send("GET", "/data/trades").json()["data"]


def private_key(name: str) -> str:
    return "0x" + hashlib.sha256(name.encode()).hexdigest()
