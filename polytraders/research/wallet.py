"""A wallet's books from its public trades: cash, positions, profit by market, through the engine's own ledger.

Input is what the venue's data API answers to `/trades?user=`: one row a trade, with size in shares and price in
pUSD. Money is exact: size x price of every such row is a whole number of micro-pUSD. Its price need not be one of the
grid: a taker's row covers all makers it met, at their average price. Such a row is booked as two fills on
neighbouring pips whose sum is the row's cash to the micro-pUSD (`fills_of`), since the ledger knows no other prices.

What a trade history does not tell
    resolution  who won stands elsewhere. With `payouts` a market is settled; without, both ends are settled on copies
                of the books: `pnl_low` and `pnl_high`. A market in which as many YES as NO shares are held has one
                result whoever wins.
    fees        a row does not say whether the wallet made or took. Nothing is charged; `fees_at_most` is what the
                schedule of the day would have taken had the wallet taken every share.
    repeats     pages of the answer overlap when trades happen while they are read: rows equal in everything, the
                transaction's hash included, are booked once and counted (`repeats`).
    transfers   splits, merges and transfers of shares are no trades. A sale of shares that no row bought is refused.

Invariant: L1 of the ledger holds after every trade and every settlement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polytraders.data.rules import category_of, fee_rule
from polytraders.engine.fees import taker_fee
from polytraders.engine.ledger import book_fill, identity_gap, settle
from polytraders.engine.state import ACCOUNT, POSITION, records
from polytraders.errors import DamageError, UsageError
from polytraders.rows import Outcome, Side
from polytraders.units import MICRO, NS_PER_S, ONE

if TYPE_CHECKING:
    import pandas as pd


class Trade(NamedTuple):
    """One row. ts: ns. outcome: 0 = the market's first token (YES). size: micro-shares. cash: micro-pUSD, positive.
    tx: transaction hash."""

    ts: int
    condition: str
    slug: str
    outcome: int
    side: int
    size: int
    cash: int
    tx: str


@dataclass(frozen=True)
class Ledger:
    """A wallet's books at the end. Money in micro-pUSD, shares in micro-shares.

    markets: one row a market in the order of their first trades: condition, slug, first, last (ns), trades, averaged
    (rows of several prices), bought, sold (cash), yes, no (shares held at the end), sets (shares held of both), cost
    (of what is held), realised (by sales), payout (pips per YES share, -1 = not known), pnl_low, pnl_high (equal
    when the payout is known), fees_at_most. The rest: sums over markets; `trades` is without `repeats`.
    """

    markets: pd.DataFrame
    trades: int
    repeats: int
    averaged: int
    bought: int
    sold: int
    settled: int
    pnl_low: int
    pnl_high: int
    fees_at_most: int

    def totals(self) -> dict[str, int]:
        """Everything but the table."""
        return {key: value for key, value in vars(self).items() if key != "markets"}


def read_trades(path: Path | str) -> list[Trade]:
    """Rows of a JSON list (plain or .zst) as the data API gives them, oldest first; within a second, file order
    reversed, since the API answers newest first. Raises DamageError for a row that is none."""
    import json

    path = Path(path)
    data = path.read_bytes()
    if path.suffix == ".zst":
        import zstandard

        data = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(data).read()
    found = []
    for number, row in enumerate(json.loads(data, parse_float=Decimal, parse_int=Decimal)):
        try:
            found.append(_trade(row))
        except (KeyError, ValueError, ArithmeticError, TypeError) as error:
            raise DamageError(
                f"trade {number} cannot be read: {error!r}",
                where=str(path),
                rule="conditionId, slug, outcomeIndex (0 or 1), side, size, price, timestamp (s), transactionHash",
                mend="take the answer of /trades as it came",
            ) from None
    return sorted(reversed(found), key=lambda trade: trade.ts)


def _trade(row: Mapping[str, Any]) -> Trade:
    size, cash = row["size"] * MICRO, row["size"] * row["price"] * MICRO
    whole = int(cash.to_integral_value())
    if size != int(size) or abs(cash - whole) > Decimal("0.01"):
        raise ValueError(f"{row['size']} shares at {row['price']} are no whole micro-shares or micro-pUSD")
    outcome = int(row["outcomeIndex"])
    if outcome not in (Outcome.YES, Outcome.NO) or size <= 0 or not 0 < row["price"] < 1:
        raise ValueError("outcome, size or price out of range")
    side = Side[str(row["side"])]
    when = int(row["timestamp"]) * NS_PER_S
    return Trade(
        when,
        str(row["conditionId"]),
        str(row["slug"]),
        outcome,
        int(side),
        int(size),
        whole,
        str(row["transactionHash"]),
    )


def fills_of(size: int, cash: int) -> list[tuple[int, int]]:
    """[(price in pips, micro-shares)]: one fill, or two on neighbouring pips, that cost exactly `cash` micro-pUSD.

    Raises UsageError when there is none, such as for a price outside 1 ... 9 999 pips.
    """
    near = (2 * cash * ONE + size) // (2 * size)
    if 0 < near < ONE and near * size // ONE == cash:
        return [(near, size)]
    low = cash * ONE // size
    first = cash * ONE - low * size  # shares at low + 1 if nothing were floored
    for more in range(0, 3 * ONE, ONE // 10):
        high = first + more
        if high <= size and low * (size - high) // ONE + (low + 1) * high // ONE == cash and 0 < low < ONE - 1:
            return [(price, part) for price, part in ((low, size - high), (low + 1, high)) if part]
    raise UsageError(f"no two neighbouring prices make {cash} micro-pUSD of {size} micro-shares")


def ledger(trades: Sequence[Trade], payouts: Mapping[str, int] | None = None) -> Ledger:
    """The books of one wallet. payouts: condition id -> pips per YES share (0, 5 000 or 10 000), as far as known.

    Raises DamageError when the wallet sells shares that no trade bought: the history begins too late.
    """
    import pandas as pd

    known, given = payouts or {}, len(trades)
    trades = list(dict.fromkeys(trades))
    markets: dict[str, list[Trade]] = {}
    for trade in trades:
        markets.setdefault(trade.condition, []).append(trade)
    account, positions = records(ACCOUNT, 1)[0], records(POSITION, len(markets))
    account.cash = account.deposits = sum(trade.cash for trade in trades if trade.side == Side.BUY)
    place = {condition: at for at, condition in enumerate(markets)}
    for trade in trades:
        _book(account, positions[place[trade.condition]], trade)
        assert identity_gap(account) == 0
    rows = []
    for (condition, own), position in zip(markets.items(), positions, strict=True):
        row = _describe(own, position)
        low, high = sorted(_result(account, position, payout) for payout in (0, ONE))
        payout = known.get(condition, -1)
        if payout >= 0:
            low = high = _result(account, position, payout)
            settle(account, position, payout)
            assert identity_gap(account) == 0
        row |= {"payout": payout, "pnl_low": low, "pnl_high": high}
        rows.append({"condition": condition, **row})
    table = pd.DataFrame(rows)
    sums = {key: int(table[key].sum()) for key in ("averaged", "bought", "sold", "pnl_low", "pnl_high", "fees_at_most")}
    return Ledger(
        table, trades=len(trades), repeats=given - len(trades), settled=int((table["payout"] >= 0).sum()), **sums
    )


def _book(account: Any, position: Any, trade: Trade) -> None:
    held = position.yes if trade.outcome == Outcome.YES else position.no
    if trade.side == Side.SELL and trade.size > held:
        raise DamageError(
            f"{trade.slug}: {trade.size} micro-shares sold, {held} held",
            rule="what is sold was bought in an earlier row",
            mend="get the older trades too; splits and transfers are not among them",
        )
    for price, size in fills_of(trade.size, trade.cash):
        book_fill(account, position, trade.outcome, trade.side, price, size, 0, 0)


def _result(account: Any, position: Any, payout: int) -> int:
    """micro-pUSD that the market has made once it pays `payout`; settled on copies."""
    account, position = account.copy(), position.copy()
    settle(account, position, payout)
    assert identity_gap(account) == 0
    return int(position.realised)


def _describe(own: Iterable[Trade], position: Any) -> dict[str, Any]:
    own = list(own)
    return {
        "slug": own[0].slug,
        "first": own[0].ts,
        "last": own[-1].ts,
        "trades": len(own),
        "averaged": sum(len(fills_of(trade.size, trade.cash)) > 1 for trade in own),
        "bought": sum(trade.cash for trade in own if trade.side == Side.BUY),
        "sold": sum(trade.cash for trade in own if trade.side == Side.SELL),
        "yes": int(position.yes),
        "no": int(position.no),
        "sets": int(min(position.yes, position.no)),
        "cost": int(position.yes_cost + position.no_cost),
        "realised": int(position.realised),
        "fees_at_most": sum(_fee(trade) for trade in own),
    }


def _fee(trade: Trade) -> int:
    rule = fee_rule(category_of(trade.slug), trade.ts)
    price = (2 * trade.cash * ONE + trade.size) // (2 * trade.size)
    return int(taker_fee(trade.size, price, rule.rate, rule.exponent))
