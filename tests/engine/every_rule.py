"""Random sessions with every venue rule on at once: a venue, the step and an operator, checked after every row.

The session is driven as paper trading is: the tape happens at the venue, actions leave when they are decided, answers
are heard when they are due. So an operator can ask for what no bot asks for: new sets and conversions.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from toys import MS, PUSD, SHARE, Info, S, allow, as_is, random_tape, toy

from polytraders import rows
from polytraders.engine import ledger, loop, setup
from polytraders.engine.backtest import Collected, VenueModel, feed, prepare
from polytraders.engine.kernels import kernel
from polytraders.engine.latency import log_normal
from polytraders.engine.loop import CURSOR_CELLS, DONE, UNTIL
from polytraders.engine.matching import RING, new_venue
from polytraders.engine.state import records
from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind, Flag, Outcome, Side, Status

CASH = 400 * PUSD
MARKETS = 4
INFOS = [Info(grid=10, event_id="e", neg_risk=True, taker_delay=150 * MS) for _ in range(3)]
INFOS.append(Info(grid=10, taker_delay=250 * MS))
"""A neg-risk event of three outcomes and a market that may resolve 50/50."""

MODELS = (
    VenueModel(
        queue_model="log_prob", trade_share=300_000, settlement_delay=900 * MS, ghost_rate=250_000, ghost_seed=5,
        entry_latency=log_normal(40 * MS, 0.8, 3), response_latency=log_normal(60 * MS, 0.8, 4),
        redemption_delay=4 * S,
    ),
    VenueModel(
        queue_model="power_prob", queue_power=2, settlement_delay=3 * S, ghost_rate=600_000, ghost_seed=6,
        entry_latency=1 * MS, response_latency=log_normal(400 * MS, 1.0, 9), redemption_delay=0,
    ),
)  # fmt: skip


@kernel("strat")
def everything(market, position, account, ladder, memory, targets, params):
    """Both sides by both outcomes, resting until cancelled or to a time; takes FAK and FOK in turn; sells."""
    if market.status != Status.OPEN or market.best_bid < 100 or market.best_ask < 0:
        return Code.STRAT_MAKER_ONE_SIDED_BOOK
    memory[0] += 1.0
    turn = int(memory[0])
    bid, no = targets[0], targets[4]
    bid.want, bid.price, bid.size, bid.passive_only = 1, market.best_bid, 7_000_000, 1
    no.want, no.outcome, no.price, no.size, no.passive_only = 1, 1, 10_000 - market.best_ask, 9_000_000, 1
    no.order_type, no.ttl = 1, 121_000_000_000
    free_yes, free_no = position.yes - position.yes_reserved, position.no - position.no_reserved
    if turn % 4 < 2 and free_yes >= 8_000_000:
        sale = targets[5]
        sale.want, sale.side, sale.price, sale.size, sale.passive_only = 1, 1, market.best_ask, 8_000_000, 1
    if turn % 5 == 0:
        take = targets[1]
        take.want, take.size = 1, 6_000_000
        if turn % 3 == 0:
            take.order_type, take.price = 3, market.best_ask
        elif turn % 3 == 1:
            take.order_type, take.outcome, take.price = 2, 1, 10_000 - market.best_bid
        elif free_no >= 6_000_000:
            take.order_type, take.outcome, take.side, take.price = 3, 1, 1, 10_000 - market.best_ask
        else:
            take.want = 0
    return Code.STRAT_MAKER_QUOTE_JOIN


def pipeline() -> setup.Pipeline:
    return setup.order_bots([toy("strat", everything), toy("risk", allow), toy("exec", as_is)])


def own(kind: EventKind, market: int, at: int, **fields: int) -> np.ndarray:
    row = np.zeros(1, rows.EVENT)
    row["ts_recv"] = row["ts_event"] = at
    row["kind"], row["market"], row["flags"] = kind, market, Flag.LAST
    for name, value in fields.items():
        row[name] = value
    return row


def tape(seed: int, messages: int) -> np.ndarray:
    """EVENT[n]: wandering books with pauses of minutes, another fee and another delay on the way, a halt, a dispute,
    and the ends: one outcome of the event wins, the market alone pays 0, 0.50 or 1."""
    rng = np.random.Generator(np.random.PCG64(seed))
    books = random_tape(seed, messages, MARKETS, resolve=False)
    waits = np.zeros(len(books), np.int64)
    for at in rng.integers(MARKETS * 10, len(books), 3):
        waits[at] = int(rng.integers(62, 130)) * S  # orders that name a second come to their end meanwhile
    late = np.cumsum(waits)
    for clock in ("ts_recv", "ts_event"):
        books[clock] += late
    books["ts_recv"] += np.sort(rng.integers(1, 30, len(books))) * MS
    start, end = int(books["ts_recv"][0]), int(books["ts_recv"][-1])
    half = (start + end) // 2
    winner, halted = int(rng.integers(3)), int(rng.integers(MARKETS))
    parts = [books]
    for m in range(MARKETS):
        parts.append(own(EventKind.FEES, m, half, size=30_000, price=1, aux=250_000))
    parts.append(own(EventKind.TAKER_DELAY, 3, half + S, size=50 * MS))
    parts.append(own(EventKind.STATUS, halted, half + 2 * S, aux=Status.HALTED))
    parts.append(own(EventKind.STATUS, halted, half + 4 * S, aux=Status.OPEN))
    parts.append(own(EventKind.STATUS, 3, end - 2 * S, aux=Status.RESOLVING))
    for m in range(3):
        parts.append(own(EventKind.RESOLUTION, m, end + (m + 1) * 50 * MS, price=10_000 * (m == winner)))
    parts.append(own(EventKind.RESOLUTION, 3, end + 80 * MS, price=int(rng.choice([0, 5_000, 10_000]))))
    parts.append(own(EventKind.CLOCK, -1, end + 60 * S))
    events = np.concatenate(parts)
    events = events[np.argsort(events["ts_recv"], kind="stable")]
    ends = {m: end + (m + 1) * 50 * MS for m in range(3)} | {3: end + 80 * MS}
    gone = np.array([e["kind"] <= EventKind.CHANGE and e["ts_recv"] >= ends[int(e["market"])] for e in events])
    events = events[~gone]
    events["seq"] = np.arange(len(events))
    return events


class Session:
    """One account at a venue and the step that trades it."""

    def __init__(self, model: VenueModel, seed: int):
        markets, cells = setup.market_rows(INFOS)
        entry, response = (
            latency if isinstance(latency, int) else latency.table
            for latency in (model.entry_latency, model.response_latency)
        )
        self.venue = new_venue(
            markets, cells, CASH, entry_latency=entry, response_latency=response, queue_model=model.queue_model,
            power=model.queue_power, partial_fills=model.partial_fills, trade_share=model.trade_share,
            settlement_delay=model.settlement_delay, ghost_rate=model.ghost_rate, ghost_seed=model.ghost_seed,
        )  # fmt: skip
        self.bots = pipeline()
        options = {"cash": CASH, "interval": 0, "sample_interval": S, "merge_least": 3 * SHARE}
        self.state = setup.new_state(INFOS, self.bots, **options)
        self.run = loop.compiled("paper")
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.met: Counter[str] = Counter()
        self.sent: list[np.ndarray] = []
        self.sink = Collected()

    def advance(self, until: int, tape_rows: np.ndarray) -> np.ndarray:
        """The venue lives up to `until`: EVENT[n] of what is heard of it by then."""
        actions = np.concatenate(self.sent) if self.sent else np.zeros(0, rows.ACTION)
        self.sent = []
        cursor = np.zeros(CURSOR_CELLS, np.int64)
        cursor[UNTIL] = until
        with np.errstate(over="ignore"):
            self.run(self.venue, actions, tape_rows, cursor)
        assert not cursor[DONE]
        assert ledger.identity_gap(self.venue.account[0]) == 0
        core, heard = self.venue.core[0], []
        while core["answers_head"] < core["answers_tail"]:
            answer = self.venue.answers[int(core["answers_head"]) & (RING - 1)]
            if answer["ts_recv"] > until:
                break
            heard.append(answer.copy())
            core["answers_head"] += 1
        answers = np.array(heard, rows.EVENT)
        answers["flags"] |= Flag.LAST
        return answers

    def hear(self, row: np.ndarray) -> None:
        """One row reaches the step; what it wants goes out."""
        written = len(self.sink.parts["actions"])
        feed(row, self.state, self.bots, self.sink, rows=4_096)
        self.sent += self.sink.parts["actions"][written:]
        told = row.copy()
        told["seq"] = self.state.clock[0].seq
        self.sink.put("events", told)
        kind = EventKind(int(row["kind"][0]))
        self.met[kind.name + (" refused" if kind >= EventKind.SPLIT and row["size"][0] == 0 else "")] += 1
        if kind == EventKind.CANCEL:
            self.met[Code(int(row["size"][0])).name] += 1
        if kind == EventKind.ORDER_ACK and row["flags"][0] & Flag.DELAYED:
            self.met["DELAYED"] += 1
        self.check()

    def operate(self, now: int, hurry: bool) -> None:
        """Somebody makes sets, or converts NO of some outcomes of the event; before the end always, so that the
        markets may resolve before it is heard what came of it."""
        draw, action = self.rng.random() * (0.06 if hurry else 1), records(rows.ACTION, 1)
        action["ts"], action["corr"] = now, 0
        if draw < 0.02:
            action["kind"], action["market"] = ActionKind.SPLIT, int(self.rng.integers(MARKETS))
            action["size"] = int(self.rng.integers(1, 20)) * SHARE
        elif draw < 0.06:
            first, chosen = int(self.rng.integers(3)), int(self.rng.choice([1, 2, 3, 5, 7]))
            held = [int(self.venue.positions["no"][(first + k) % 3]) for k in range(3) if chosen >> k & 1]
            action["kind"], action["market"], action["price"] = ActionKind.CONVERT, first, chosen
            action["size"] = max(min(held) // 2 // 10_000 * 10_000, 10_000)
        else:
            return
        self.sent.append(np.array(action, rows.ACTION))

    def check(self) -> None:
        """The identity, and every hold and sum that it stands on."""
        account, positions = self.state.account[0], self.state.positions
        orders = self.state.orders[self.state.orders["id"] > 0]
        waiting = self.state.unsettled[: self.state.clock[0].n_unsettled]
        assert ledger.identity_gap(account) == 0
        assert account.reserved == orders["reserved"][orders["side"] == Side.BUY].sum() >= 0
        assert account.cost == positions["yes_cost"].sum() + positions["no_cost"].sum()
        assert account.receivable == positions["receivable"].sum()
        assert account.realised == positions["realised"].sum()
        assert account.fees == positions["fees"].sum() and account.rebates == positions["rebates"].sum()
        sold = waiting[waiting["side"] == Side.SELL]
        assert account.unsettled == (sold["price"] * sold["size"] // 10_000 - sold["fee"]).sum()
        assert account.equity == (
            account.cash + account.reserved + account.unsettled + account.marked + account.rebates + account.receivable
        )
        assert account.marked == positions["marked"].sum()
        for m, position in enumerate(positions):
            if self.state.markets[m].status == Status.RESOLVED:
                continue
            for outcome, name in ((Outcome.YES, "yes"), (Outcome.NO, "no")):
                bought = waiting[
                    (waiting["side"] == Side.BUY) & (waiting["market"] == m) & (waiting["outcome"] == outcome)
                ]
                sells = orders[(orders["side"] == Side.SELL) & (orders["market"] == m) & (orders["outcome"] == outcome)]
                held_back = bought["size"].sum() + sells["reserved"].sum() + position.merging
                assert position[f"{name}_reserved"] == held_back
                assert 0 <= position[f"{name}_unsettled"] == bought["size"].sum()
                assert position[name] >= 0 and position[f"{name}_cost"] >= 0


def play(seed: int, model: VenueModel, messages: int = 260) -> Session:
    """A whole session; at its end everything has been heard."""
    session = Session(model, seed)
    events = prepare(tape(seed, messages), INFOS, venue=model).events
    times = events["ts_recv"]
    ends = int(times[events["kind"] == EventKind.RESOLUTION][0])
    for message in np.split(events, np.flatnonzero(np.diff(times)) + 1):
        now = int(message["ts_recv"][0])
        before = session.advance(now - 1, np.zeros(0, rows.EVENT))
        for k in range(len(before)):
            session.hear(before[k : k + 1])
        happened = message[(message["kind"] < EventKind.ORDER_ACK) | (message["kind"] >= EventKind.FEES)]
        answers = session.advance(now, np.ascontiguousarray(happened))
        for k in range(len(message)):
            session.hear(message[k : k + 1])
        for k in range(len(answers)):
            session.hear(answers[k : k + 1])
        session.operate(now, now > ends - S)
    late = session.advance(int(times[-1]) + 60 * S, np.zeros(0, rows.EVENT))
    for k in range(len(late)):
        session.hear(late[k : k + 1])
    return session
