"""A trader of the tests' own: signs our digests (held against the official vectors elsewhere), sends raw bodies."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import coincurve
import httpx

from polytraders.rows import Side
from polytraders.units import ONE, price_pips, size_micro
from polytraders.venue.local import signatures as sign

ZERO = "0x" + "00" * 32


def signed(private: coincurve.PrivateKey, digest: bytes) -> bytes:
    raw = private.sign_recoverable(digest, hasher=None)
    return raw[:64] + bytes([raw[64] + 27])


class Trader:
    """One account with an API key."""

    def __init__(self, urls: dict[str, str], private_key: str, nonce: int = 0):
        self.private = coincurve.PrivateKey(bytes.fromhex(private_key.removeprefix("0x")))
        public = self.private.public_key.format(compressed=False)[1:]
        self.address = sign.checksum(sign.keccak(public)[-20:])
        self.http = httpx.Client(base_url=urls["rest"], timeout=10)
        self.salt = 0
        self.skew = 0
        answer = self.http.post("/auth/api-key", headers=self.login(nonce))
        if answer.status_code == 400:
            answer = self.http.get("/auth/derive-api-key", headers=self.login(nonce))
        self.creds = answer.json()

    def login(self, nonce: int = 0, stamp: int = 0) -> dict[str, str]:
        text = str(stamp or int(time.time()))
        domain = sign.keccak(
            sign.keccak(b"EIP712Domain(string name,string version,uint256 chainId)")
            + sign.keccak(b"ClobAuthDomain")
            + sign.keccak(b"1")
            + (137).to_bytes(32, "big")
        )
        struct = sign.keccak(
            sign.keccak(b"ClobAuth(address address,string timestamp,uint256 nonce,string message)")
            + bytes(12)
            + bytes.fromhex(self.address[2:])
            + sign.keccak(text.encode())
            + nonce.to_bytes(32, "big")
            + sign.keccak(b"This message attests that I control the given wallet")
        )
        signature = signed(self.private, sign.keccak(b"\x19\x01" + domain + struct))
        return {
            "POLY_ADDRESS": self.address,
            "POLY_SIGNATURE": "0x" + signature.hex(),
            "POLY_TIMESTAMP": text,
            "POLY_NONCE": str(nonce),
        }

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """An L2 request; headers replace what would be sent."""
        text = "" if body is None else json.dumps(body, separators=(",", ":"))
        stamp, bare = str(int(time.time()) + self.skew), path.partition("?")[0]
        sent = {
            "POLY_ADDRESS": self.address,
            "POLY_API_KEY": self.creds["apiKey"],
            "POLY_PASSPHRASE": self.creds["passphrase"],
            "POLY_TIMESTAMP": stamp,
            "POLY_SIGNATURE": sign.hmac_signature(self.creds["secret"], stamp, method, bare, text.encode()),
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
        message = sign.OrderMessage(
            salt=self.salt,
            maker=fields.pop("maker", self.address),
            signer=fields.pop("signer", self.address),
            token=int(token),
            maker_amount=maker,
            taker_amount=taker,
            side=int(Side[side]),
            signature_type=fields.pop("signature_type", 0),
            timestamp=time.time_ns() // 1_000_000,
            metadata=bytes(32),
            builder=bytes(32),
        )
        signature = fields.pop("signature", None) or self.sign(message, neg_risk)
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
            "timestamp": str(message.timestamp),
            "metadata": ZERO,
            "builder": ZERO,
            "signature": "0x" + signature.hex(),
        }
        body = {"order": entry, "owner": self.creds["apiKey"], "orderType": kind, "deferExec": False, **fields}
        return body | ({"postOnly": True} if post_only else {})

    def sign(self, message: sign.OrderMessage, neg_risk: bool) -> bytes:
        if message.signature_type != sign.DEPOSIT_WALLET:
            return signed(self.private, sign.order_digest(message, neg_risk))
        raise NotImplementedError

    def digest(self, body: dict[str, Any], neg_risk: bool = False) -> str:
        """The order's id, known before it is sent."""
        o = body["order"]
        message = sign.OrderMessage(
            o["salt"], o["maker"], o["signer"], int(o["tokenId"]), int(o["makerAmount"]), int(o["takerAmount"]),
            int(Side[o["side"]]), o["signatureType"], int(o["timestamp"]), bytes(32), bytes(32),
        )  # fmt: skip
        return "0x" + sign.order_digest(message, neg_risk).hex()

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
