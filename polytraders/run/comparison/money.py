"""Whether the differences come to those of cash and shares; what is left over is a difference of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from polytraders.rows import EventKind
from polytraders.run.comparison.case import Case
from polytraders.run.comparison.counterpart import Done
from polytraders.run.lives import holdings
from polytraders.units import money_text, size_text


def of_money(case: Case) -> None:
    """Complete sets, payouts, and what is left over: cash and shares must add up (C1)."""
    count = len(case.names)
    ours = holdings(case.live.events, case.live.orders, count)
    theirs = holdings(case.back.events, case.back.orders, count)
    by_market: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in case.found:
        if one.market >= 0:
            for at, value in enumerate((one.money, one.yes, one.no)):
                by_market[one.market][at] += value
    end = int(case.tape["ts_recv"][-1])
    for market, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine.sets != other.sets:
            sets = mine.sets - other.sets
            cause = case.before(end, market)
            case.tell(
                "sets", cause, end, market, f"{size_text(abs(sets))} complete sets more or less turned into cash",
                money=sets, yes=-sets, no=-sets, follows=True,
            )  # fmt: skip
            for at, value in enumerate((sets, -sets, -sets)):
                by_market[market][at] += value
        _paid(case, market, mine.paid - other.paid, by_market[market])
        _left_over(case, market, mine, other, by_market[market])
    for side, found, name in ((case.live, ours, "run"), (case.back, theirs, "backtest")):
        account = side.simulation.state.account[0]
        own = sum(int(account[part]) for part in ("cash", "reserved", "unsettled", "receivable"))
        gap = own - int(account["deposits"]) - sum(one.cash for one in found)
        if gap:
            why = f"the {name}'s ledger has {money_text(gap)} pUSD that its fills do not give"
            case.tell("cash", "unexplained", end, -1, why, money=gap if side is case.live else -gap)


def _paid(case: Case, market: int, paid: int, so_far: list[int]) -> None:
    """What a resolution paid one of the two more: for the shares that it had more."""
    rows = case.live.events
    resolved = rows[(rows["kind"] == EventKind.RESOLUTION) & (rows["market"] == market)]
    yes, no = so_far[1], so_far[2]
    if not len(resolved) or not (paid or yes or no):
        return
    ts = int(resolved["ts_recv"][0])
    case.tell(
        "payout", case.before(ts, market), ts, market,
        f"the resolution paid for {size_text(yes)} YES and {size_text(no)} NO more or less",
        money=paid, yes=-yes, no=-no, follows=True,
    )  # fmt: skip
    for at, value in enumerate((paid, -yes, -no)):
        so_far[at] += value


def _left_over(case: Case, market: int, mine: Any, other: Any, told: list[int]) -> None:
    end = int(case.tape["ts_recv"][-1])
    for what, gap, value in (
        ("cash", mine.cash - other.cash - told[0], money_text),
        ("position", mine.yes - other.yes - told[1], size_text),
        ("position", mine.no - other.no - told[2], size_text),
    ):
        if gap:
            why = f"{value(gap)} are left over: the differences of the fills do not come to it"
            case.tell(what, "unexplained", end, market, why)
    cash, yes, no = mine.cash - other.cash, mine.yes - other.yes, mine.no - other.no
    if not (cash or yes or no):
        return
    causes = Counter(one.cause for one in case.found if one.market == market and (one.money or one.yes or one.no))
    cause = causes.most_common(1)[0][0] if causes else "unexplained"
    names = ", ".join(sorted(causes))
    said = {"cash": f"{money_text(cash)} pUSD" if cash else "",
            "position": f"{size_text(yes)} YES and {size_text(no)} NO" if yes or no else ""}  # fmt: skip
    for what, value in said.items():
        if value:
            case.tell(
                what, cause, end, market, f"at the end the run has {value} more than the backtest: from {names}",
                live={"cash": money_text(mine.cash), "yes": size_text(mine.yes), "no": size_text(mine.no)},
                backtest={"cash": money_text(other.cash), "yes": size_text(other.yes), "no": size_text(other.no)},
                follows=True,
            )  # fmt: skip


def totals(side: Done) -> dict[str, Any]:
    """Counts and money (micro-pUSD) of one of the two."""
    account = side.simulation.state.account[0]
    own = sum(int(account[part]) for part in ("cash", "reserved", "unsettled", "receivable"))
    return {
        "decisions": len(side.decisions),
        "orders": len(side.orders),
        "fills": sum(len(life.fills) for life in side.orders.values()),
        "rejects": sum(life.rejected for life in side.orders.values()),
        "fees": sum(life.fees for life in side.orders.values()),
        "cash": own,
        "equity": int(account["equity"]),
    }
