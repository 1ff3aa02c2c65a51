"""Orders a second on one core: built, hashed and signed, by us and by both official clients.

    python -m bench.orders            every case, alternating, each round a fresh process; one JSON line
    python -m bench.orders CASE N     one case in this process

Each order is a limit order of its own price, size, salt and time, from decimals (the clients) or units (ours) to a
signature; the posted bytes are counted apart. The clients run with coincurve and with the pure Python curve that
their own requirements install; the ratio is to the fastest of them. A slice before the clock starts warms everything
up, and one order of it is recovered to its signer.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # account 0 of every local test chain
OWNER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TOKEN = 71321045679252212594626385532706912750332728571942532289631379312455583992563
BUILDER = "0x" + "11" * 32
ROUNDS = 3
LEAST_PER_SECOND, LEAST_RATIO = 10_000, 4
PURE = {"ECC_BACKEND_CLASS": "eth_keys.backends.NativeECCBackend"}
"""The environment in which eth_account signs without coincurve."""


def wishes(count: int) -> Iterator[tuple[int, int]]:
    """(price in ticks of 0.01, size in cents of a share) of each order."""
    return ((1 + 37 * i % 99, 500 + 101 * i % 100_000) for i in range(count))


Signer = Callable[[int, int], object]
"""One order from (price in ticks, size in cents): built and signed."""


def ours() -> tuple[Signer, Callable[[object], str]]:
    """Our builder, and who signed what it gives."""
    from polytraders.rows import OrderType, Side
    from polytraders.units import CENT_SHARE
    from polytraders.venue.orders import POLYGON, Key, Market, account, build, exchange, recover, sign

    key, domain, mine = Key(KEY), exchange(POLYGON, False), account(OWNER, 0, POLYGON)
    market = Market(TOKEN, 100, 5_000_000, False, POLYGON, "v1")
    buy, gtc = Side.BUY, OrderType.GTC

    def make(ticks: int, cents: int) -> object:
        salt, now = secrets.randbits(53), time.time_ns() // 1_000_000
        order = build(
            market, mine, buy, ticks * 100, cents * CENT_SHARE, gtc, salt=salt, timestamp_ms=now, builder=BUILDER
        )
        return order, sign(order, key, domain)

    return make, lambda made: recover(made[0], made[1].signature, domain)


def ours_posted() -> tuple[Signer, Callable[[object], str]]:
    """The same, on to the bytes of the request."""
    from polytraders.rows import OrderType
    from polytraders.venue.orders import body, payload

    make, who = ours()

    def post(ticks: int, cents: int) -> object:
        made = make(ticks, cents)
        payload(body(made[0], made[1].signature, OrderType.GTC, owner="an-api-key"))
        return made

    return post, who


def py_clob_client() -> tuple[Signer, Callable[[object], str]]:
    """py-clob-client-v2's own order builder."""
    from py_clob_client_v2.clob_types import CreateOrderOptions, OrderArgsV2
    from py_clob_client_v2.order_builder.builder import OrderBuilder
    from py_clob_client_v2.signer import Signer as TheirSigner

    builder = OrderBuilder(TheirSigner(KEY, 137))
    options = CreateOrderOptions(tick_size="0.01", neg_risk=False)

    def make(ticks: int, cents: int) -> object:
        wish = OrderArgsV2(token_id=str(TOKEN), price=ticks / 100, size=cents / 100, side="BUY", builder_code=BUILDER)
        return builder.build_order(wish, options)

    names = ("tokenId", "makerAmount", "takerAmount", "side", "signatureType", "timestamp")
    return make, lambda made: _who(made, *(int(getattr(made, name)) for name in names))


def polymarket_client() -> tuple[Signer, Callable[[object], str]]:
    """polymarket-client's steps from a draft to a signed order; its public call begins with questions to the venue."""
    from eth_account import Account
    from polymarket._internal.actions.orders import limit, orders, typed_data
    from polymarket._internal.actions.orders.types import OrderDraft

    account = Account.from_key(KEY)
    exchange, tick = "0xE111180000d2663C0091e4f400237545B87B996B", Decimal("0.01")

    def make(ticks: int, cents: int) -> object:
        offered, requested = limit._compute_limit_order_amounts(
            price=Decimal(ticks).scaleb(-2), size=Decimal(cents).scaleb(-2), side="BUY", tick_size=tick
        )
        draft = OrderDraft(
            chain_id=137,
            exchange_address=exchange,
            expiration=0,
            funder_address=OWNER,
            offered_amount=offered,
            order_type="GTC",
            side="BUY",
            signer=OWNER,
            requested_amount=requested,
            asset_id=str(TOKEN),
            builder_code=BUILDER,
        )
        order = orders.create_unsigned_order(draft, wallet=OWNER, wallet_type="EOA")
        signed = account.sign_typed_data(full_message=typed_data.build_order_typed_data(order))
        signature = typed_data.build_order_signature(order, "0x" + signed.signature.hex())
        return orders.create_signed_order(order, signature)

    def who(made: object) -> str:
        amounts = int(made.token_id), int(made.maker_amount), int(made.taker_amount)
        return _who(made, *amounts, int(made.side == "SELL"), made.signature_type, made.timestamp)

    return make, who


def _who(made: object, *numbers: int) -> str:
    """The address that signed a client's order: its fields from tokenId to timestamp are `numbers`."""
    from polytraders.venue.orders import Order, exchange, recover

    order = Order(int(made.salt), made.maker, made.signer, *numbers, made.metadata, made.builder)
    return recover(order, made.signature, exchange(137, False))


CASES = {
    "ours": (ours, 30_000, {}),
    "ours_posted": (ours_posted, 30_000, {}),
    "py-clob-client-v2": (py_clob_client, 3_000, {}),
    "polymarket-client": (polymarket_client, 3_000, {}),
    "py-clob-client-v2, pure Python": (py_clob_client, 400, PURE),
    "polymarket-client, pure Python": (polymarket_client, 400, PURE),
}
"""Case -> what makes its orders, how many are timed, its environment."""


def run(case: str, count: int) -> dict[str, float]:
    """Orders a second of CPU time of one case in this process."""
    make, who = CASES[case][0]()
    warm = [make(ticks, cents) for ticks, cents in wishes(50)]
    if who(warm[-1]) != OWNER:
        raise RuntimeError(f"{case}: the order is not signed by {OWNER}")
    wanted = list(wishes(count))
    wall, begin = time.perf_counter(), time.process_time()
    for ticks, cents in wanted:
        make(ticks, cents)
    cpu, wall = time.process_time() - begin, time.perf_counter() - wall
    return {"per_second": count / cpu, "per_second_wall": count / wall, "orders": count}


def main() -> dict:
    """Every case in `ROUNDS` alternating rounds; medians, and our ratio to the fastest official client."""
    rounds: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case, (_, count, environment) in CASES.items():
            command = [sys.executable, "-m", "bench.orders", case, str(count)]
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
            )
            rounds[case].append(json.loads(done.stdout)["per_second"])
    rates = {case: round(median(values)) for case, values in rounds.items()}
    peers = {case: rate for case, rate in rates.items() if not case.startswith("ours")}
    fastest = max(peers, key=peers.__getitem__)
    return {
        "name": "orders built and signed",
        "value": rates["ours"],
        "unit": "orders/s of one core",
        "peer": peers[fastest],
        "peer_name": fastest,
        "ratio": round(rates["ours"] / peers[fastest], 2),
        "at_least": LEAST_RATIO,
        "value_at_least": LEAST_PER_SECOND,
        "meets": rates["ours"] >= LEAST_PER_SECOND and rates["ours"] >= LEAST_RATIO * peers[fastest],
        "rates": rates,
        "rounds": {case: [round(value) for value in values] for case, values in rounds.items()},
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2])) if sys.argv[1:] else main()))
