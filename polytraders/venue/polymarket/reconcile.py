"""Ask the venue what is: for one order by its digest, and for all of them.

Invariants
    N1  an order is never posted again, whatever is found
    N2  that the venue does not know an order is believed only when it said so twice, and long enough after the request
        ended that it cannot be on its way any more
    N3  what is found passes through the same tracker as the news of the user channel: it is booked once
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from polytraders.reasons import Code
from polytraders.units import NS_PER_MS, NS_PER_S
from polytraders.venue.polymarket.client import Client
from polytraders.venue.polymarket.tracking import Phase, Tracked, Tracker, venue_time

MARGIN = 60 * NS_PER_S
"""ns by which a list of trades begins before the first that matters: the venue's clock is not ours."""
FIRST_LOOK, LONGEST_LOOK = 200 * NS_PER_MS, 5 * NS_PER_S
"""ns between looks at one order: the first, doubled each time, up to the longest."""


async def look_up(client: Client, tracker: Tracker, order: Tracked, absent_after: int) -> bool:
    """Ask for an order by its digest, and for its trades; False when the venue could not be asked.

    absent_after: ns after a request's end from which "not found" is believed (N2).
    """
    order.looks += 1
    order.look_at = 0
    started = tracker.clock()
    answer = await client.order(order.key)
    known = answer.good and isinstance(answer.body, dict) and answer.body.get("id") == order.key
    unknown = answer.status == 404 or (answer.good and not answer.body)
    trades, problem = await client.all(
        "/data/trades", asset_id=_token(tracker, order), after=str(max(order.sent - MARGIN, 0) // NS_PER_S)
    )
    if problem is None:
        for said in trades:  # before the order's own words: a fill is told before what ends the order
            tracker.hear_trade(said)
    if known:
        tracker.hear_order(answer.body)
    elif unknown and problem is None:
        _not_found(tracker, order, started, absent_after)
    if order.phase != Phase.OVER and not (known and _nothing_open(order)):
        order.look_at = tracker.clock() + min(FIRST_LOOK << min(order.looks - 1, 10), LONGEST_LOOK)
    elif order.look_at:
        order.look_at = 0
    return (known or unknown) and problem is None


def _nothing_open(order: Tracked) -> bool:
    return order.phase == Phase.OPEN and not order.end and order.complete


def _not_found(tracker: Tracker, order: Tracked, started: int, absent_after: int) -> None:
    order.absent += 1
    since = order.silent_since if order.phase == Phase.UNKNOWN else order.sent
    if order.absent >= 2 and started - since >= absent_after:
        asked = order.cancel_asked or order.end
        tracker.gone(order.key, int(Code.EXEC_CANCELLED if asked else Code.EXEC_CANCELLED_BY_VENUE))


def _token(tracker: Tracker, order: Tracked) -> str:
    return next(token for token, place in tracker.where.items() if place == (order.market, order.outcome))


@dataclass
class Findings:
    """What one comparison found. whole: False when a list could not be had, and nothing is concluded from it."""

    whole: bool = True
    open_listed: int = 0
    trades_listed: int = 0
    not_listed: list[str] = field(default_factory=list)  # ours, but not among the open orders: looked up next
    strangers: list[str] = field(default_factory=list)  # open, but not ours
    problem: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


async def compare(client: Client, tracker: Tracker, since: int) -> Findings:
    """Hold our orders and trades against the venue's lists; what we missed reaches the tracker. since: ns."""
    found = Findings()
    began = tracker.clock()
    resting = {key for key, order in tracker.orders.items() if order.phase == Phase.OPEN and not order.end}
    listed, problem = await client.all("/data/orders")
    if problem is None:
        trades, problem = await client.all("/data/trades", after=str(max(since - MARGIN, 0) // NS_PER_S))
    if problem is not None:
        found.whole, found.problem = False, problem.problem or f"HTTP {problem.status}: {problem.body}"
        return found
    if not all(isinstance(said.get("id"), str) for said in listed):  # of what is it not the list then?
        found.whole, found.problem = False, "/data/orders: an order without an id"
        return found
    found.open_listed, found.trades_listed = len(listed), len(trades)
    for said in sorted(trades, key=lambda t: venue_time(t.get("match_time"))):
        tracker.hear_trade(said)
    names = set()
    for said in listed:
        names.add(said.get("id"))
        if said.get("id") in tracker.orders or said.get("id") in tracker.given_up:
            tracker.hear_order(said)
        elif said.get("id") not in tracker.forgotten:
            found.strangers.append(str(said.get("id")))
    for key in resting - names:
        order = tracker.orders.get(key)
        if order is not None and order.phase == Phase.OPEN:
            order.look_at = tracker.clock()
            found.not_listed.append(key)
    found.seconds = (tracker.clock() - began) / NS_PER_S
    return found
