"""Who is asking: the venue's two ways to authenticate a request.

L1 proves the key itself, once, to create or derive API credentials. L2 signs every request with their secret.
Times are seconds since the Unix epoch, as the venue wants them here; the caller's clock must be within seconds
of the venue's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from polytraders.venue.orders.keys import Credentials, Hidden, Key
from polytraders.venue.orders.signing import recover_digest
from polytraders.venue.orders.typed import AMOY, POLYGON, address_bytes, keccak
from polytraders.venue.refusal import Refused

_LOGIN_DOMAIN_TYPE_HASH = keccak(b"EIP712Domain(string name,string version,uint256 chainId)")
_LOGIN_TYPE_HASH = keccak(b"ClobAuth(address address,string timestamp,uint256 nonce,string message)")
_LOGIN_DOMAIN = keccak(b"ClobAuthDomain") + keccak(b"1")
_LOGIN_MESSAGE = keccak(b"This message attests that I control the given wallet")


def login_digest(address: str, chain_id: int, timestamp_s: int, nonce: int) -> bytes:
    """What an L1 login signs. Raises `Refused` on a chain without a venue."""
    if chain_id not in (POLYGON, AMOY):
        raise Refused("SEC_WRONG_CHAIN", f"there is no venue on chain {chain_id!r}", where="chain_id")
    domain = keccak(_LOGIN_DOMAIN_TYPE_HASH + _LOGIN_DOMAIN + chain_id.to_bytes(32, "big"))
    who = bytes(12) + address_bytes(address)
    when = keccak(str(timestamp_s).encode())
    login = keccak(_LOGIN_TYPE_HASH + who + when + nonce.to_bytes(32, "big") + _LOGIN_MESSAGE)
    return keccak(b"\x19\x01" + domain + login)


def login_headers(key: Key, chain_id: int, timestamp_s: int, nonce: int = 0) -> dict[str, str]:
    """L1 headers: the key's own signature, for POST /auth/api-key and GET /auth/derive-api-key."""
    return {
        "POLY_ADDRESS": key.address,
        "POLY_SIGNATURE": "0x" + key.sign(login_digest(key.address, chain_id, timestamp_s, nonce)).hex(),
        "POLY_TIMESTAMP": str(timestamp_s),
        "POLY_NONCE": str(nonce),
    }


def verify_login(address: str, signature: str, chain_id: int, timestamp_s: int, nonce: int) -> bool:
    """Did the key of `address` sign this login? A malformed signature raises `Refused`."""
    signed = login_digest(address, chain_id, timestamp_s, nonce)
    return recover_digest(signed, signature).lower() == address.lower()


def hmac_signature(secret: str, timestamp: int | str, method: str, path: str, body: str | bytes | None = None) -> str:
    """HMAC-SHA256 over time, method, path without query, and the very bytes that are sent; urlsafe base64.

    Raises `Refused` when the secret is not urlsafe base64.
    """
    secret = Hidden(secret)
    text = f"{timestamp}{method}{path}".encode() + (body.encode() if isinstance(body, str) else body or b"")
    key = _decoded(secret)
    if key is None:
        raise Refused("SEC_CREDENTIALS_UNUSABLE", "the API secret is not urlsafe base64", where="secret")
    mac = hmac.new(key, text, hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).decode()


def _decoded(secret: str) -> bytes | None:
    try:
        return base64.b64decode(secret, altchars=b"-_", validate=True) or None
    except ValueError:
        return None  # the error's own traceback would hold the secret


def auth_headers(
    credentials: Credentials,
    address: str,
    timestamp_s: int,
    method: str,
    path: str,
    body: str | bytes | None = None,
) -> dict[str, str]:
    """L2 headers of one request. `address` is the key's, for every signature type; `body` is what is sent, exactly."""
    return {
        "POLY_ADDRESS": address,
        "POLY_API_KEY": credentials.api_key,
        "POLY_PASSPHRASE": credentials.passphrase,
        "POLY_SIGNATURE": hmac_signature(credentials.secret, timestamp_s, method, path, body),
        "POLY_TIMESTAMP": str(timestamp_s),
    }
