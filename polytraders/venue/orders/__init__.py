"""Orders for Polymarket's V2 exchanges: build, hash, sign, verify, and prove who is asking.

=========================================  ===================================================================
`account(address, type, chain_id)`         who funds and who signs: the key itself or a wallet of its own
`build(market, account, side, ...)`        an order, checked against everything the venue would refuse
`exchange(chain_id, neg_risk)`             the signing domain of a market's exchange
`digest(order, domain)`                    the order's id, known before it is sent
`sign(order, key, domain)`                 id and signature, every signature type
`recover(order, signature, domain)`        whose key signed it
`verify(order, signature, domain)`         whether the exchange would take it
`body(order, signature, ...)`, `payload`   what is posted, and its exact bytes
`auth_headers(...)`, `login_headers(...)`  L2 and L1 authentication
=========================================  ===================================================================

From a key to a request, times and salt given by the caller:

    key, credentials = load_key(), load_credentials()
    mine = account(key.address, SignatureType.DEPOSIT_WALLET, POLYGON)
    market = Market(token_id, tick=100, min_size=5_000_000, neg_risk=False, chain_id=POLYGON, version="v1")
    order = build(market, mine, BUY, 3_400, 100_000_000, OrderType.GTC, salt=s, timestamp_ms=t, builder=code)
    order_id, signature = sign(order, key, exchange(POLYGON, market.neg_risk))  # log the id, then send
    sent = payload(body(order, signature, OrderType.GTC, owner=credentials.api_key))
    headers = auth_headers(credentials, key.address, t // 1000, "POST", "/order", sent)
"""

from polytraders.venue.orders.amounts import BUY, SELL, whole_cents
from polytraders.venue.orders.auth import auth_headers, hmac_signature, login_headers, verify_login
from polytraders.venue.orders.build import (
    LARGEST_BATCH,
    LARGEST_SALT,
    Account,
    Market,
    account,
    body,
    build,
    is_protocol_v2,
    payload,
)
from polytraders.venue.orders.keys import (
    Credentials,
    Key,
    load_credentials,
    load_key,
    read_keystore,
    write_keystore,
)
from polytraders.venue.orders.signing import Signed, recover, sign, verify
from polytraders.venue.orders.typed import AMOY, POLYGON, Domain, Order, SignatureType, digest, exchange
from polytraders.venue.orders.wallets import deposit_wallets, proxy_wallet, safe_wallet

__all__ = [
    "AMOY",
    "BUY",
    "LARGEST_BATCH",
    "LARGEST_SALT",
    "POLYGON",
    "SELL",
    "Account",
    "Credentials",
    "Domain",
    "Key",
    "Market",
    "Order",
    "SignatureType",
    "Signed",
    "account",
    "auth_headers",
    "body",
    "build",
    "deposit_wallets",
    "digest",
    "exchange",
    "hmac_signature",
    "is_protocol_v2",
    "load_credentials",
    "load_key",
    "login_headers",
    "payload",
    "proxy_wallet",
    "read_keystore",
    "recover",
    "safe_wallet",
    "sign",
    "verify",
    "verify_login",
    "whole_cents",
    "write_keystore",
]
