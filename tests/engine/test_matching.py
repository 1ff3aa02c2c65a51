"""The simulated venue, case by case, with numbers worked by hand. 50 ms each way unless said."""

import pytest
from toys import MS, PUSD, SHARE, T0, Info, Tape, allow, as_is, maker, quote_twice, script, toy

from polytraders import rows
from polytraders.engine import setup
from polytraders.engine.backtest import Collected, VenueModel, simulate
from polytraders.engine.matching import arrive, new_venue, send
from polytraders.engine.state import records
from polytraders.reasons import Code
from polytraders.rows import EventKind, Flag, OrderType, Outcome, Side

BOOK = ((4_900, 100, 5_100, 100), (4_800, 200, 5_200, 200))


def two_sided() -> Tape:
    """0.49 x 100 and 0.48 x 200 against 0.51 x 100 and 0.52 x 200, at 0 ms."""
    tape = Tape()
    for bid, bid_size, ask, ask_size in BOOK:
        tape.bid(0, bid, bid_size).ask(0, ask, ask_size)
    return tape


def run(tape: Tape, pipeline, cash=1_000 * PUSD, info=None, **model):
    """Simulate deciding every 100 ms of event time; returns (simulation, answers of the venue as dicts)."""
    sink = Collected()
    sim = simulate(
        tape.clock(60_000).events(), [info or Info()], pipeline, cash=cash, interval=100 * MS,
        venue=VenueModel(**model), sink=sink,
    )  # fmt: skip
    answers = []
    for row in sink.rows("events"):
        if EventKind.ORDER_ACK <= row["kind"] <= EventKind.CANCEL:
            answers.append(
                {
                    "ms": (int(row["ts_event"]) - T0) / MS,
                    "heard": (int(row["ts_recv"]) - T0) / MS,
                    "kind": EventKind(int(row["kind"])).name,
                    "price": int(row["price"]),
                    "size": int(row["size"]),
                    "fee": int(row["ref"]) * 10,
                    "maker": bool(row["flags"] & Flag.MAKER),
                }
            )
    return sim, answers


def fills(answers):
    return [(a["price"], a["size"], a["maker"]) for a in answers if a["kind"] == "FILL_CONFIRMED"]


def test_an_order_arrives_after_the_entry_latency_and_its_ack_after_the_response_latency():
    tape = two_sided()
    _, answers = run(tape, script(4_900, 10 * SHARE), entry_latency=30 * MS, response_latency=45 * MS)
    # the book is there at 0 ms, the first decision time on the 100 ms grid is 0 ms itself (T0 lies on the grid)
    assert answers[0] == {
        "ms": 30,
        "heard": 75,
        "kind": "ORDER_ACK",
        "price": 4_900,
        "size": 10 * SHARE,
        "fee": 0,
        "maker": False,
    }


def test_a_print_first_eats_the_queue_ahead_and_then_us():
    # 100 ahead of our 10 at 0.49. A print of 104 leaves us 4; another of 50 leaves us the other 6.
    tape = two_sided().trade(500, 4_900, 104, Side.SELL).trade(700, 4_900, 50, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE, want=1))
    assert fills(answers)[:2] == [(4_900, 4 * SHARE, True), (4_900, 6 * SHARE, True)]
    assert answers[1]["ms"] == 500 and answers[2]["ms"] == 700


def test_a_print_that_only_exhausts_the_queue_does_not_fill():
    tape = two_sided().trade(500, 4_900, 100, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE))
    assert fills(answers) == []


def test_whole_fills_ignore_the_size_of_the_print():
    tape = two_sided().trade(500, 4_900, 101, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE), partial_fills=False)
    assert fills(answers)[0] == (4_900, 10 * SHARE, True)


def test_a_print_through_our_price_fills_at_our_price():
    # our bid 0.49 stands before whatever traded at 0.48
    tape = two_sided().trade(500, 4_800, 3, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE))
    assert fills(answers)[0] == (4_900, 3 * SHARE, True)


def test_a_buying_aggressor_does_not_fill_a_bid():
    tape = two_sided().trade(500, 4_900, 500, Side.BUY)
    _, answers = run(tape, script(4_900, 10 * SHARE))
    assert fills(answers) == []


def test_an_ask_that_comes_down_to_our_bid_trades_with_it():
    tape = two_sided().ask(500, 4_900, 7)
    _, answers = run(tape, script(4_900, 10 * SHARE))
    assert fills(answers)[0] == (4_900, 7 * SHARE, True)


def test_risk_averse_only_moves_up_when_the_level_is_smaller_than_the_queue_ahead():
    # ahead 100; the level shrinks to 40 -> ahead 40; it grows to 90 behind us -> ahead 40; a print of 45 gives 5
    tape = two_sided().bid(300, 4_900, 40).bid(400, 4_900, 90).trade(500, 4_900, 45, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE))
    assert fills(answers)[0] == (4_900, 5 * SHARE, True)


def test_power_prob_splits_a_cancel_between_ahead_and_behind():
    # 100 ahead, 300 join behind: level 400. A cancel of 200: behind with probability 300^1/(300+100) = 0.75
    # -> 150 fall behind, 50 ahead: ahead 50. A print of 54 then gives us 4.
    tape = two_sided().bid(300, 4_900, 400).bid(400, 4_900, 200).trade(500, 4_900, 54, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE), queue_model="power_prob", queue_power=1)
    assert fills(answers)[0] == (4_900, 4 * SHARE, True)


def test_power_prob_does_not_count_a_print_twice():
    # a print of 30 and the level's drop from 100 to 70 are one thing: ahead 70, nothing cancelled
    tape = two_sided().trade(300, 4_900, 30, Side.SELL).bid(301, 4_900, 70).trade(500, 4_900, 73, Side.SELL)
    _, answers = run(tape, script(4_900, 10 * SHARE), queue_model="power_prob", queue_power=3)
    assert fills(answers)[0] == (4_900, 3 * SHARE, True)


def test_a_taker_walks_the_levels_and_pays_one_rounded_fee():
    # 150 shares up to 0.52: 100 @ 0.51 and 50 @ 0.52. Fees at 7 %:
    # 100 * 0.07 * 0.2499 = 1.7493; 50 * 0.07 * 0.2496 = 0.8736; together 2.6229
    tape = two_sided()
    _, answers = run(tape, script(5_200, 150 * SHARE, order_type=OrderType.FAK, passive=0))
    assert fills(answers)[:2] == [(5_100, 100 * SHARE, False), (5_200, 50 * SHARE, False)]
    taken = [a for a in answers if a["kind"] == "FILL_CONFIRMED"][:2]
    assert [a["fee"] for a in taken] == [1_749_300, 873_600]


def test_fak_takes_what_is_there_and_the_rest_is_cancelled():
    tape = two_sided()
    _, answers = run(tape, script(5_100, 150 * SHARE, order_type=OrderType.FAK, passive=0))
    assert fills(answers)[0] == (5_100, 100 * SHARE, False)
    assert [a["kind"] for a in answers[:3]] == ["ORDER_ACK", "FILL_CONFIRMED", "CANCEL"]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"price": 5_100, "size": 150 * SHARE, "order_type": OrderType.FOK, "passive": 0}, Code.EXEC_FOK_NOT_FILLED),
        ({"price": 5_000, "size": 10 * SHARE, "order_type": OrderType.FAK, "passive": 0}, Code.EXEC_FAK_NOT_FILLED),
        ({"price": 5_100, "size": 10 * SHARE}, Code.EXEC_POST_ONLY_CROSSED),
        ({"price": 4_950, "size": 10 * SHARE}, Code.EXEC_OFF_TICK),
        ({"price": 10_000, "size": 10 * SHARE}, Code.EXEC_OFF_TICK),
        ({"price": 4_900, "size": 4_990_000}, Code.EXEC_BELOW_MIN_SIZE),
        ({"price": 4_900, "size": 10 * SHARE + 1}, Code.EXEC_TOO_MANY_DECIMALS),
    ],
)
def test_what_the_venue_refuses_it_refuses_by_name(wish, code):
    _, answers = run(two_sided(), script(**wish))
    assert answers[0]["kind"] == "ORDER_REJECT" and answers[0]["size"] == code
    assert fills(answers) == []


def test_fok_fills_whole_when_the_book_has_it():
    _, answers = run(two_sided(), script(5_200, 300 * SHARE, order_type=OrderType.FOK, passive=0))
    assert fills(answers)[:2] == [(5_100, 100 * SHARE, False), (5_200, 200 * SHARE, False)]


def test_a_gtc_takes_what_crosses_and_rests_with_the_remainder():
    tape = two_sided().trade(500, 5_100, 20, Side.SELL)
    _, answers = run(tape, script(5_100, 120 * SHARE, passive=0, order_type=OrderType.GTC))
    # 100 taken at arrival; 20 rest alone at 0.51 and the selling print of 20 meets them
    assert fills(answers)[:2] == [(5_100, 100 * SHARE, False), (5_100, 20 * SHARE, True)]


def test_a_no_order_stands_on_the_other_side_of_the_yes_book():
    # BUY NO at 0.49 is an ask for YES at 0.51: 100 ahead; a buying print of 106 lifts 6 of ours, at 0.49 in NO
    tape = two_sided().trade(500, 5_100, 106, Side.BUY)
    sim, answers = run(tape, script(4_900, 10 * SHARE, outcome=Outcome.NO))
    assert fills(answers)[0] == (4_900, 6 * SHARE, True)
    assert sim.state.positions[0].no == 6 * SHARE and sim.state.positions[0].yes == 0


def test_own_orders_at_one_level_do_not_both_live_off_one_print():
    # 100 ahead of 10 + 10 of ours; a print of 108 gives 8 in all
    pipeline = setup.order_bots([toy("strat", quote_twice), toy("risk", allow), toy("exec", as_is)])
    _, answers = run(two_sided().trade(500, 4_900, 108, Side.SELL), pipeline)
    assert sum(size for _, size, _ in fills(answers)) == 8 * SHARE


def test_a_tick_change_moves_what_is_on_tick():
    tape = two_sided().add(10, EventKind.TICK_SIZE, price=10, aux=100)
    _, answers = run(tape, script(4_950, 10 * SHARE, wake=100 * MS), info=Info(grid=10))
    # decided at 0 ms, arrives at 50 ms: the finer tick has been in force since 10 ms
    assert answers[0]["kind"] == "ORDER_ACK"


def test_money_behind_open_orders_cannot_be_spent_again():
    # 490 pUSD cash: 1 000 @ 0.49 takes all of it; the local reservation refuses the second order itself
    sim, answers = run(two_sided(), maker(size=1_000 * SHARE, cap=10_000 * SHARE), cash=490 * PUSD)
    account = sim.state.account[0]
    assert (account.cash, account.reserved) == (0, 490 * PUSD)
    assert [a["kind"] for a in answers] == ["ORDER_ACK"]


def test_the_venue_itself_refuses_what_its_balance_does_not_cover():
    markets, cells = setup.market_rows([Info()])
    venue = new_venue(
        markets, cells, 100 * PUSD, entry_latency=0, response_latency=0, queue_model="risk_averse", power=1,
        partial_fills=True,
    )  # fmt: skip
    action = records(rows.ACTION, 1)
    action["kind"], action["order_id"], action["price"], action["size"], action["flags"] = 1, 1, 5_000, 201 * SHARE, 1
    send(venue.core[0], venue.entry, venue.actions, action[0])
    arrive(venue)
    assert venue.answers[0].kind == EventKind.ORDER_REJECT and venue.answers[0].size == Code.EXEC_NOT_ENOUGH_BALANCE


@pytest.mark.parametrize(("payout", "value"), [(10_000, 10), (5_000, 5), (0, 0)])
def test_resolution_pays_positions_and_cancels_orders(payout, value):
    # 10 YES bought at 0.51 (taker), then an order resting at 0.49 when the market resolves
    tape = two_sided().resolve(5_000, payout)
    sim, answers = run(tape, script(5_100, 10 * SHARE, passive=0, order_type=OrderType.FAK))
    account = sim.state.account[0]
    bought = sum(size for _, size, _ in fills(answers)) // SHARE
    assert account.cost == 0 and account.marked == 0 and sim.state.positions[0].yes == 0
    paid = sum(a["fee"] for a in answers if a["kind"] == "FILL_CONFIRMED")
    assert account.cash + account.reserved == 1_000 * PUSD - bought * 510_000 - paid + bought * value * PUSD // 10


def test_a_resting_order_ends_with_its_market():
    tape = two_sided().resolve(5_000, 10_000)
    _, answers = run(tape, script(4_900, 10 * SHARE))
    ends = [a for a in answers if a["kind"] == "CANCEL"]
    assert ends[0]["ms"] == 5_000 and ends[0]["size"] == Code.EXEC_CANCELLED_MARKET_RESOLVED


def test_a_fill_still_under_way_at_resolution_is_settled_when_it_is_heard_of():
    # the print at 4 990 ms fills us at the venue; we hear of it at 5 040 ms, after the resolution at 5 000 ms
    tape = two_sided().trade(4_990, 4_900, 110, Side.SELL).resolve(5_000, 10_000)
    sim, answers = run(tape, script(4_900, 10 * SHARE))
    account = sim.state.account[0]
    assert fills(answers) == [(4_900, 10 * SHARE, True)]
    assert account.cost == 0 and account.realised == 5_100_000  # 10 x (1 - 0.49)


def test_the_venue_sees_an_event_before_we_do():
    # the feed is 200 ms late: the ask that meets our order comes down at the venue while we still see the old book
    late = Tape(latency_ms=200)
    for bid, bid_size, ask, ask_size in BOOK:
        late.bid(0, bid, bid_size).ask(0, ask, ask_size)
    late.ask(400, 4_900, 5)
    _, answers = run(late, script(4_900, 10 * SHARE))
    fill = next(a for a in answers if a["kind"] == "FILL_CONFIRMED")
    assert fill["ms"] == 400 and fill["heard"] == 450  # our own copy of that row arrives at 600 ms
