"""A known wallet's books, re-derived from its trades; and hand-made ones."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repository import ROOT

from polytraders.errors import DamageError, UsageError
from polytraders.research.wallet import Trade, fills_of, ledger, read_trades
from polytraders.units import ONE

FILE = "data/polymarket/trades/wallet_updown_2026-02/data_api_trades_one_wallet.json.zst"
GOLDEN = ROOT / "tests" / "golden" / "wallet.json"
MILLION = 1_000_000


@pytest.fixture(scope="module")
def trades(shared) -> list[Trade]:
    return read_trades(shared(FILE))


@pytest.fixture(scope="module")
def known(trades):
    return ledger(trades)


def story(books) -> dict:
    """Totals, a digest of the whole table, and its first markets in full."""
    table = books.markets.to_dict("records")
    return {
        **books.totals(),
        "sets": int(books.markets["sets"].sum()),
        "markets": len(table),
        "markets_sha256": hashlib.sha256(json.dumps(table).encode()).hexdigest(),
        "first_markets": table[:3],
    }


def test_the_known_wallets_books_are_the_pinned_ones(known):
    assert story(known) == json.loads(GOLDEN.read_text())


def test_cash_and_both_results_of_every_market_are_those_of_plain_decimal_sums(trades, known):
    """No engine: what was paid, and what the shares of either token would bring, from the rows themselves."""
    paid, held = defaultdict(Decimal), defaultdict(lambda: [Decimal(0), Decimal(0)])
    for trade in dict.fromkeys(trades):
        paid[trade.condition] += trade.cash
        held[trade.condition][trade.outcome] += trade.size
    for row in known.markets.to_dict("records"):
        up, down = held[row["condition"]]
        assert (row["bought"], row["yes"], row["no"]) == (paid[row["condition"]], up, down)
        ends = sorted((up - paid[row["condition"]], down - paid[row["condition"]]))
        assert [row["pnl_low"], row["pnl_high"]] == ends


def test_settled_either_way_the_account_ends_at_its_deposit_plus_that_result(trades, known):
    """Up wins everywhere, then Down: the sum over markets is one of the two ends of each."""
    conditions = known.markets["condition"]
    up = ledger(trades, dict.fromkeys(conditions, ONE))
    down = ledger(trades, dict.fromkeys(conditions, 0))
    for books, side in ((up, "yes"), (down, "no")):
        assert books.settled == 307
        assert books.pnl_low == books.pnl_high == int(known.markets[side].sum()) - known.bought
    assert up.pnl_low + down.pnl_low == known.pnl_low + known.pnl_high


def test_the_file_repeats_the_ends_of_its_pages_and_the_ledger_books_them_once(shared, trades, known):
    """Rows 974 to 999 stand again as 1000 to 1025, and 2999 as 3000: pages of a thousand, read while trades went on."""
    import zstandard

    data = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(shared(FILE).read_bytes()).read()
    seen: dict[tuple, int] = {}
    again = []
    for number, row in enumerate(json.loads(data)):
        first = seen.setdefault((row["transactionHash"], row["asset"], row["size"], row["price"]), number)
        if first != number:
            again.append((first, number))
    assert again == [*((974 + k, 1000 + k) for k in range(26)), (2999, 3000)]
    assert (len(trades), known.trades, known.repeats) == (4_000, 3_973, 27)
    assert sum(trade.cash for trade in trades) == 76_073_946_056  # the volume its first reader published: 76 thousand


def hand(*rows: tuple) -> list[Trade]:
    """(condition, outcome, side, shares, cash in pUSD) a second apart."""
    return [
        Trade(
            at * 10**9, name, f"{name}-updown-5m-1772184000", outcome, side, shares * MILLION, int(cash * MILLION), "t"
        )
        for at, (name, outcome, side, shares, cash) in enumerate(rows)
    ]


def test_a_hand_made_wallet_adds_up():
    """20 Up at 0.40 and 10 Down at 0.50, 5 Up sold at 0.60: 13.00 paid, 3.00 back, 1.00 of it earned.

    Up wins: 15 - 10 = +5; Down wins: 10 - 10 = 0. Five shares are left over the ten sets.
    """
    rows = hand(("btc", 0, 0, 20, 8), ("btc", 1, 0, 10, 5), ("btc", 0, 1, 5, 3))
    (row,) = ledger(rows).markets.to_dict("records")
    assert (row["bought"], row["sold"], row["realised"], row["cost"]) == tuple(k * MILLION for k in (13, 3, 1, 11))
    assert (row["yes"], row["no"], row["sets"]) == tuple(k * MILLION for k in (15, 10, 10))
    assert (row["pnl_low"], row["pnl_high"], row["payout"]) == (0, 5 * MILLION, -1)
    closed = ledger(rows, {"btc": 5_000})
    assert closed.pnl_low == closed.pnl_high == 2_500_000  # 25 shares at 0.50 for 10 net


def test_as_many_shares_of_both_have_one_result_whoever_wins():
    books = ledger(hand(("eth", 0, 0, 10, 4.5), ("eth", 1, 0, 10, 5)))
    assert books.pnl_low == books.pnl_high == 500_000


def test_a_sale_that_no_purchase_covers_is_refused():
    with pytest.raises(DamageError, match="10000000 micro-shares sold, 5000000 held"):
        ledger(hand(("btc", 0, 0, 5, 2), ("btc", 0, 1, 10, 5)))


def test_a_row_that_is_no_trade_is_refused_by_number(tmp_path):
    row = {"conditionId": "0x1", "slug": "x", "outcomeIndex": 2, "side": "BUY", "size": 1, "price": 0.5}
    file = tmp_path / "trades.json"
    file.write_text(json.dumps([row | {"timestamp": 1, "transactionHash": "0x2"}]))
    with pytest.raises(DamageError, match="trade 0 cannot be read"):
        read_trades(file)


def test_an_average_price_becomes_two_neighbouring_pips():
    """70 shares for 40.00 are 0.571428...: 50 at 0.5714 would be short, 20 of them cost a pip more."""
    assert fills_of(70 * MILLION, 40 * MILLION) == [(5_714, 50 * MILLION), (5_715, 20 * MILLION)]
    assert fills_of(20 * MILLION, 9_400_000) == [(4_700, 20 * MILLION)]


@given(size=st.integers(10_000, 10**12), share=st.integers(1_000, 99_990_000))
@settings(max_examples=300, deadline=None)
def test_fills_cost_the_cash_and_hold_the_shares(size: int, share: int):
    cash = size * share // 10**8
    try:
        fills = fills_of(size, cash)
    except UsageError:
        assert not 2 <= cash * ONE // size <= ONE - 2
        return
    assert sum(part for _, part in fills) == size
    assert sum(price * part // ONE for price, part in fills) == cash
    assert len(fills) == 1 or fills[1][0] == fills[0][0] + 1
