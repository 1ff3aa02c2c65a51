"""The step's own promises: receipts, reshapes, rejects, the latch, waking, and what is not written."""

import numpy as np
import pytest
from toys import MS, PUSD, SHARE, T0, Info, S, Tape, allow, cap_size, maker, random_tape, script, toy

from polytraders.engine import setup
from polytraders.engine.backtest import Collected, VenueModel, feed, flush, simulate
from polytraders.engine.kernels import kernel
from polytraders.engine.state import N_SLOTS, PENDING_CANCEL, decided
from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind, Scope, Severity, Side, Signal, Status, Verdict


def book(tape=None, bid=4_900, ask=5_100) -> Tape:
    return (tape or Tape()).bid(0, bid, 100).ask(0, ask, 100)


def run(tape, pipeline, *, cash=1_000 * PUSD, interval=100 * MS, infos=None, **options):
    sink = Collected()
    sim = simulate(tape, infos or [Info()], pipeline, cash=cash, interval=interval, sink=sink, **options)
    return sim, sink


def codes(sink, code):
    table = sink.rows("decisions")
    return table[table["code"] == code]


def test_an_intent_that_leads_to_an_action_has_its_whole_chain_under_one_number():
    sim, sink = run(book().clock(1_000).events(), script(4_900, 10 * SHARE))
    table = sink.rows("decisions")
    corr = sink.rows("actions")["corr"][0]
    chain = table[table["corr"] == corr]
    assert [Code(c).name for c in chain["code"][:4]] == [
        "STRAT_EDGE_DETECTED", "RISK_WITHIN_LIMITS", "EXEC_ROUTE_PASSIVE", "EXEC_SUBMITTED",
    ]  # fmt: skip
    assert sim.state.clock[0].intents == 1


def test_an_unchanged_decision_is_counted_and_not_written():
    sim, sink = run(book().clock(60_000).events(), script(4_900, 10 * SHARE, wake=100 * MS))
    table = sink.rows("decisions")
    # 600 evaluations of strategy, risk and execution; only the first and the closing count are rows
    for bot in range(3):
        mine = table[table["bot"] == bot]
        written = (mine["seq"] < sim.state.clock[0].seq).sum()
        assert mine["repeats"].sum() + written == sim.state.bots[bot].decisions
        assert len(mine) < 10
    assert sim.state.clock[0].evaluations >= 599


def test_a_kept_quote_is_not_sent_again():
    sim, sink = run(book().clock(60_000).events(), script(4_900, 10 * SHARE, wake=100 * MS))
    assert len(sink.rows("actions")) == 1 and sim.state.account[0].submits == 1


def test_a_quote_that_stays_is_judged_again_after_the_rejudge_interval_and_at_once_after_a_fill():
    def votes(tape, rejudge):
        sim, _ = run(tape.clock(10_000).events(), script(4_900, 10 * SHARE, wake=100 * MS), rejudge=rejudge)
        return int(sim.state.bots[1].decisions), int(sim.state.bots[0].decisions)

    # 0 ... 10 s every 100 ms: the strategy decides about 100 times either way
    every, decided = votes(book(), 0)
    seconds, also = votes(book(), 1_000 * MS)
    assert every == decided == also >= 99 and 10 <= seconds <= 12
    filled, _ = votes(book().trade(5_050, 4_900, 104, Side.SELL), 1_000 * MS)  # 4 of our 10 at 5.05 s
    assert filled == seconds + 1


def judged(tape: Tape, wish=None, until=10_000, infos=None) -> int:
    """How often risk was asked of a bid at 0.49 that stays, decided on every 100 ms: by the clock once a minute."""
    wish = wish or script(4_900, 10 * SHARE, wake=100 * MS)
    sim, sink = run(tape.clock(until).events(), wish, rejudge=60 * S, infos=infos)
    actions = sink.rows("actions")
    assert len(np.unique(actions["market"])) == len(actions), "one order a market, and nothing else is sent"
    assert sim.state.bots[0].decisions >= until // 100 - 1, "the strategy decides all the time"
    return int(sim.state.bots[1].decisions)


@kernel("risk")
def latch_first(intent, market, position, account, ladder, vote, params):
    """Rejects and latches in market 0 below a best bid of params[0], and approves everything else."""
    if market.id == 0 and market.best_bid < params.v[0]:
        vote.verdict = Verdict.REJECT
        vote.latch = 1
        return Code.RISK_PORTFOLIO_LIMIT
    return Code.RISK_WITHIN_LIMITS


def test_a_quote_that_stays_is_judged_at_every_decision_while_trading_is_halted_or_switched_off_or_the_feed_is_down():
    # a plan may let it stand all the same: here the bot that holds the switch approves, and 20 decisions follow
    plan = script(4_900, 10 * SHARE, wake=100 * MS, risk=toy("risk", allow, name="risk.killswitch"))
    assert judged(book(), plan, until=4_000) == 1
    for where in ({"market": -1}, {"market": 0, "aux": Scope.MARKET}):
        armed = book().add(2_050, EventKind.SWITCH, size=1e-6, **where)
        assert judged(armed, plan, until=4_000) == 1 + 20
    for market in (0, -1):
        lost = book().add(2_050, EventKind.FEED_DOWN, market=market)
        assert judged(lost, until=4_000) == 1 + 20
        back = book().add(2_050, EventKind.FEED_DOWN, market=market).add(3_050, EventKind.FEED_UP, market=market)
        assert judged(back, until=4_000) == 1 + 10 + 1  # and once more with the feed back
    # what market 0 latches at 2.05 s, when its bid is gone, holds everywhere: the quote of market 1 is approved again
    # and again
    tape = book()
    tape.market = 1
    book(tape)
    tape.market = 0
    tape.bid(2_050, 4_900, 0).bid(2_050, 4_700, 10).clock(4_000)
    latching = script(4_900, 10 * SHARE, wake=100 * MS, risk=toy("risk", latch_first, (4_900,)))
    sim, sink = run(tape.events(), latching, rejudge=60 * S, infos=[Info(), Info()])
    votes = sink.rows("decisions")
    votes = votes[(votes["bot"] == 1) & (votes["market"] == 1)]
    assert sim.state.account[0].halted == Code.RISK_PORTFOLIO_LIMIT
    assert sim.state.positions[1].open_orders == 1 and votes["repeats"].sum() == 20


def test_a_mid_that_moves_by_a_tick_has_what_stays_judged_again_and_half_a_tick_does_not():
    def up_by_half(tape, ms):
        return tape.bid(ms, 5_000, 10)

    def up_by_one(tape, ms):
        return tape.bid(ms, 5_000, 10).ask(ms, 5_100, 0).ask(ms, 5_200, 10)

    def back(tape, ms):
        return tape.bid(ms, 5_000, 0).ask(ms, 5_100, 10)

    def down_by_one(tape, ms):  # our bid at 0.49 stands alone at the top of the book, which shows the others' only
        return tape.bid(ms, 4_800, 50).bid(ms, 4_900, 0).ask(ms, 5_000, 10)

    still = judged(book())
    assert still == 1
    assert judged(up_by_half(book(), 5_050)) == still
    assert judged(up_by_one(book(), 5_050)) == still + 1  # once: what counts is how far it went since
    assert judged(down_by_one(book(), 5_050)) == still + 1
    # it is the move since it was judged, not since the last decision ...
    assert judged(up_by_half(book(), 5_050).ask(6_050, 5_100, 0).ask(6_050, 5_200, 10)) == still + 1
    # ... and where it was at decisions
    assert judged(back(up_by_one(book(), 5_010), 5_060)) == still
    assert judged(back(up_by_one(book(), 5_010), 6_060)) == still + 2
    # a tick is the market's: where it is a tenth of a cent, half a cent is five of them
    fine = [Info(tick=10, grid=10)]
    assert judged(book(), infos=fine) == 1
    assert judged(up_by_half(book(), 5_050), infos=fine) == 2


def test_a_loss_of_a_thousandth_has_what_stays_judged_again():
    def votes(held, *rows):
        # some of our bid is bought from us at 1 s, the rest of it stays; the mid then moves by half a tick
        tape = book().trade(1_010, 4_900, 100 + held, Side.SELL)
        for add in rows:
            add(tape)
        wish = script(4_900, (held + 10) * SHARE, wake=100 * MS)
        return judged(tape, wish, infos=[Info(fee_rate=0)])

    def falls(tape):
        tape.ask(5_050, 5_000, 10)

    def rises(tape):
        tape.bid(5_050, 5_000, 10)

    # equity 1 000 pUSD + 1 cent a share; half a tick is half a cent a share. 1 / 1 024 of 1 001.96 is 0.9785 pUSD
    for held in (195, 196, 400):
        assert votes(held) == 2  # when it was sent, and after the fill
        assert votes(held, rises) == 2
    assert votes(195, falls) == 2
    # at the decision that sees it, and at the next: what was judged at that very time may have been before it was seen
    assert votes(196, falls) == votes(400, falls) == 2 + 2


NEWS_OF_A_MARKET = {
    "status": (EventKind.STATUS, {"aux": Status.OPEN}),
    "tick size": (EventKind.TICK_SIZE, {"price": 100, "aux": 100}),
    "fees": (EventKind.FEES, {"price": 1, "size": 0.07, "aux": 200_000}),
    "taker delay": (EventKind.TAKER_DELAY, {"size": 1}),
    "flags": (EventKind.FLAGS, {}),
    "no exit": (EventKind.EXIT, {}),
    "switch cleared": (EventKind.SWITCH, {"aux": Scope.MARKET}),
    "parameter": (EventKind.CONFIG, {"aux": 1, "price": 7, "size": 1}),
    "feed": (EventKind.FEED_UP, {}),
    "room": (EventKind.SIGNAL, {"aux": Signal.ROOM, "size": 500}),
    "split": (EventKind.SPLIT, {"size": 20}),
    "split refused": (EventKind.SPLIT, {}),
    "merge refused": (EventKind.MERGE, {}),
    "conversion refused": (EventKind.CONVERT, {"price": 1}),
}
NEWS_OF_THE_RUN = {
    "no exit": (EventKind.EXIT, {}),
    "switch cleared": (EventKind.SWITCH, {}),
    "parameter": (EventKind.CONFIG, {"aux": 1, "price": 7, "size": 1}),
    "feed": (EventKind.FEED_UP, {}),
    "error rate": (EventKind.SIGNAL, {"aux": Signal.API_ERROR_RATE, "size": 0.01}),
    "shortfall": (EventKind.SIGNAL, {"aux": Signal.WALLET_SHORTFALL, "size": 0.01}),
    "room": (EventKind.SIGNAL, {"aux": Signal.ROOM, "size": 500}),
}


@pytest.mark.parametrize("news", NEWS_OF_A_MARKET)
def test_news_of_a_market_has_its_quote_judged_again_once(news):
    kind, fields = NEWS_OF_A_MARKET[news]

    def two_markets():
        tape = book()
        tape.market = 1
        return book(tape)

    infos = [Info(), Info()]
    assert judged(two_markets(), infos=infos) == 2
    # the parameters are the run's, whichever market their row names
    more = 2 if kind == EventKind.CONFIG else 1
    assert judged(two_markets().add(5_050, kind, market=1, **fields), infos=infos) == 2 + more


@pytest.mark.parametrize("news", NEWS_OF_THE_RUN)
def test_news_of_the_run_has_every_quote_judged_again_once(news):
    kind, fields = NEWS_OF_THE_RUN[news]
    tape = book()
    tape.market = 1
    book(tape).add(5_050, kind, market=-1, **fields)
    assert judged(tape, infos=[Info(), Info()]) == 4


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (EventKind.SIGNAL, {"aux": 0, "size": 0.5, "market": -1}),
        (EventKind.SIGNAL, {"aux": 7, "size": 0.5, "market": -1}),
        (EventKind.CLOCK, {"market": -1}),
        (EventKind.CHANGE, {"price": 4_800, "size": 30}),
        (EventKind.TRADE, {"price": 5_100, "size": 3}),
    ],
)
def test_what_says_nothing_to_risk_is_no_news(kind, fields):
    assert judged(book().add(5_050, kind, **fields)) == 1


def test_a_new_parameter_reaches_what_stands_in_every_market_at_the_next_decision():
    # quotes of 10 in two markets, none in the third, whose book has one side; from 5.05 s on risk lets 6 stand
    tape = book()
    tape.market = 1
    book(tape)
    tape.market = 2
    tape.bid(0, 4_900, 100)
    tape.add(5_050, EventKind.CONFIG, aux=1, price=0, size=6, market=-1).clock(8_000)
    infos, pipeline = [Info()] * 3, maker(risk=toy("risk", cap_size, (100 * SHARE,)))
    _, sink = run(tape.events(), pipeline, infos=infos, rejudge=60 * S)
    actions = sink.rows("actions")
    later = actions[actions["ts"] > T0 + S]
    assert sorted(zip(later["market"].tolist(), later["kind"].tolist(), strict=True)) == sorted(
        (market, kind) for market in (0, 1) for kind in (ActionKind.CANCEL, ActionKind.SUBMIT) for _ in range(2)
    )
    assert (later["ts"] == T0 + 5_100 * MS).all()
    assert (later["size"][later["kind"] == ActionKind.SUBMIT] == 6 * SHARE).all()


@pytest.mark.parametrize("cut", [1, 700, 1_500, 2_400])
def test_decisions_so_far_are_what_was_written_and_what_was_only_counted(cut):
    sink = Collected()
    simulate(
        random_tape(11, 2_000, markets=2), [Info(grid=10)] * 2, maker(), cash=300 * PUSD, interval=100 * MS, sink=sink
    )
    events, half = sink.rows("events"), Collected()
    assert len(events) > 2_400
    state = setup.new_state([Info(grid=10)] * 2, maker(), cash=300 * PUSD, interval=100 * MS, sample_interval=S)
    feed(events[:cut], state, maker(), half)
    so_far, last = decided(state), state.clock[0].seq
    written = half.rows("decisions")
    pending = state.repeats["count"].sum(axis=(0, 1))
    for bot in range(len(state.bots)):
        mine = written[written["bot"] == bot]
        assert len(mine) + mine["repeats"].sum() == state.bots[bot].decisions == so_far[bot] - pending[bot]
    # closed here, the receipts tell as many: a closing row says how many times more, not that it was once more
    flush(state, half)
    told = half.rows("decisions")
    for bot in range(len(state.bots)):
        mine = told[told["bot"] == bot]
        closing = np.arange(len(told))[told["bot"] == bot] >= len(written)
        assert (~closing).sum() + mine["repeats"].sum() == so_far[bot] == decided(state)[bot]
    assert state.clock[0].seq == last and (cut < 700 or pending.sum() > 0)


def test_a_reshape_never_grows_the_order_and_both_shapes_are_kept():
    pipeline = script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (6 * SHARE,)))
    _, sink = run(book().clock(1_000).events(), pipeline)
    reshaped = codes(sink, Code.STRAT_RESHAPED_BY_RISK)[0]
    assert (reshaped["size"], reshaped["out_size"]) == (10 * SHARE, 6 * SHARE)
    vote = codes(sink, Code.RISK_PORTFOLIO_RESHAPED)[0]
    assert vote["verdict"] == Verdict.RESHAPE and vote["severity"] == Severity.RESHAPE
    assert (vote["size"], vote["out_size"]) == (10 * SHARE, 6 * SHARE)
    assert sink.rows("actions")["size"][0] == 6 * SHARE


def test_a_reject_sends_nothing_and_says_why():
    pipeline = script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (6 * SHARE, 1)))
    sim, sink = run(book().clock(1_000).events(), pipeline)
    assert len(sink.rows("actions")) == 0 and sim.state.account[0].submits == 0
    assert codes(sink, Code.RISK_PORTFOLIO_LIMIT)[0]["verdict"] == Verdict.REJECT


def test_a_reject_stops_the_chain_and_a_full_panel_hears_the_rest():
    def chain(full):
        pipeline = setup.order_bots(
            [*script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (6 * SHARE, 1), name="risk.first")).bots,
             toy("risk", cap_size, (6 * SHARE, 0), name="risk.second")]
        )  # fmt: skip
        _, sink = run(book().clock(1_000).events(), pipeline, full_panel=full)
        return len(codes(sink, Code.RISK_PORTFOLIO_RESHAPED)), len(sink.rows("actions"))

    assert chain(False) == (0, 0)
    assert chain(True) == (1, 0)


def test_a_shadow_vote_is_written_and_not_obeyed():
    pipeline = script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (6 * SHARE, 1), mode=1))
    _, sink = run(book().clock(1_000).events(), pipeline)
    assert codes(sink, Code.RISK_PORTFOLIO_LIMIT)[0]["mode"] == 1
    assert sink.rows("actions")["size"][0] == 10 * SHARE


def test_a_shadow_strategy_shows_its_intent_and_sends_nothing():
    pipeline = setup.order_bots([setup.PipelineBot(b.bot, 1 if b.bot.family == "strat" else b.mode, b.params, False)
                                 for b in script(4_900, 10 * SHARE).bots])  # fmt: skip
    _, sink = run(book().clock(1_000).events(), pipeline)
    assert len(codes(sink, Code.STRAT_EDGE_DETECTED)) == 1 and len(sink.rows("actions")) == 0


def test_a_shadowed_execution_bot_shapes_nothing():
    bots = [setup.PipelineBot(b.bot, 1 if b.bot.family == "exec" else b.mode, b.params, False)
            for b in script(4_900, 10 * SHARE).bots]  # fmt: skip
    _, sink = run(book().clock(1_000).events(), setup.order_bots(bots))
    assert codes(sink, Code.EXEC_ROUTE_PASSIVE)[0]["out_size"] == 10 * SHARE
    assert len(sink.rows("actions")) == 0


def test_a_run_without_bots_only_keeps_books():
    sim, sink = run(random_tape(1, 300), setup.order_bots([]), infos=[Info(grid=10)])
    assert sim.state.clock[0].evaluations > 0 and len(sink.rows("decisions")) == 0


def test_a_bot_that_is_off_is_not_asked():
    pipeline = script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (6 * SHARE, 1), mode=0))
    sim, sink = run(book().clock(1_000).events(), pipeline)
    assert sim.state.bots[1].decisions == 0 and len(sink.rows("actions")) == 1


def test_quarantine_refuses_only_in_quarantined_markets():
    pipeline = script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (60 * SHARE,), mode=4))
    _, sink = run(book().clock(1_000).events(), pipeline)
    assert len(sink.rows("actions")) == 1


def test_a_warned_bot_says_so_on_every_decision():
    bots = script(4_900, 10 * SHARE).bots
    pipeline = setup.order_bots([setup.PipelineBot(b.bot, b.mode, b.params, b.bot.family == "risk") for b in bots])
    _, sink = run(book().clock(1_000).events(), pipeline)
    votes = codes(sink, Code.RISK_WITHIN_LIMITS)
    assert votes["warned"].all() and (votes["severity"] == Severity.WARN).all()


def test_the_latch_withdraws_resting_orders_everywhere_and_stays():
    # two markets quote; at 5 s the limit of the risk bot is changed by a config event to reject and latch
    tape = book()
    tape.market = 1
    book(tape)
    tape.add(5_000, EventKind.CONFIG, aux=1, price=1, size=1e-6, market=0)
    tape.add(5_000, EventKind.CONFIG, aux=1, price=2, size=1e-6, market=0)
    tape.clock(8_000)
    pipeline = maker(risk=toy("risk", cap_size, (100 * SHARE,)))
    sim, sink = run(tape.events(), pipeline, infos=[Info(), Info()])
    account, actions = sim.state.account[0], sink.rows("actions")
    assert account.halted == Code.RISK_PORTFOLIO_LIMIT and account.halted_ts >= T0 + 5 * S
    assert (actions["kind"] == ActionKind.SUBMIT).sum() == 4
    cancelled = actions[actions["kind"] == ActionKind.CANCEL]
    assert set(cancelled["market"].tolist()) == {0, 1} and len(cancelled) == 4
    assert account.open_orders == 0 and account.reserved == 0


def test_a_strategy_that_asks_is_woken_though_nothing_changes():
    sim, _ = run(book().clock(10_000).events(), script(4_900, 10 * SHARE, wake=1_000 * MS))
    # at 0 s, after the ack at 0.1 s, and then every second
    assert 11 <= sim.state.clock[0].evaluations <= 13


def test_wakes_of_many_markets_come_in_order_however_often_they_are_moved():
    # every message moves its market's wake; the queue of 4 n + 16 has to forget the superseded ones many times
    n, tape = 3, Tape()
    for k in range(2_000):
        tape.market = k % n
        tape.bid(k, 4_900, 1 + k % 7)
    sim, _ = run(
        tape.clock(9_000).events(), script(4_000, 10 * SHARE, want=0, wake=5_000 * MS), interval=0, infos=[Info()] * n
    )
    assert sim.state.clock[0].n_wake <= 4 * n + 16
    # 2 000 messages, then one wake a market 5 s after its last message (1 999, 1 998 and 1 997 ms)
    assert sim.state.clock[0].evaluations == 2_003
    assert sorted(m.now for m in sim.state.markets) == [T0 + (ms + 5_000) * MS for ms in (1_997, 1_998, 1_999)]


def test_a_quiet_market_costs_no_decisions():
    sim, _ = run(book().clock(3_600_000).events(), script(4_900, 10 * SHARE))
    assert sim.state.clock[0].evaluations <= 3


def test_deciding_on_every_message_decides_once_per_message():
    tape = Tape()
    tape.add(0, EventKind.LEVEL, side=Side.BUY, price=4_900, size=5, flags=0)
    tape.add(0, EventKind.LEVEL, side=Side.SELL, price=5_100, size=5)
    for k in range(1, 6):
        tape.bid(k, 4_900, 5 + k)
    sim, _ = run(tape.clock(7).events(), script(4_000, 10 * SHARE, want=0), interval=0)
    assert sim.state.clock[0].evaluations == 6


def test_without_cash_nothing_is_sent_and_the_receipt_says_so():
    _, sink = run(book().clock(1_000).events(), script(4_900, 10 * SHARE), cash=4 * PUSD)
    assert len(codes(sink, Code.EXEC_NO_FUNDS)) >= 1 and len(sink.rows("actions")) == 0


def test_the_switch_of_a_person_reaches_the_account():
    tape = book().add(2_000, EventKind.SWITCH, market=-1, size=1e-6).clock(3_000)
    sim, _ = run(tape.events(), script(4_900, 10 * SHARE))
    assert sim.state.account[0].switch == 1


def test_only_a_person_clears_the_latch():
    latching = script(4_900, 10 * SHARE, risk=toy("risk", cap_size, (6 * SHARE, 1, 1)))

    def healed() -> Tape:
        return book().add(1_900, EventKind.CONFIG, aux=1, price=1, size=0)  # the reason to stop is gone ...

    still, _ = run(healed().clock(60_000).events(), latching)
    assert still.state.account[0].halted == Code.RISK_PORTFOLIO_LIMIT  # ... and trading does not resume by itself
    cleared, _ = run(healed().add(2_000, EventKind.SWITCH, market=-1).clock(60_000).events(), latching)
    assert cleared.state.account[0].halted == 0


def test_volume_of_24_hours_forgets_the_25th():
    tape = book()
    for hour in (0, 1, 23, 24, 30):
        tape.trade(hour * 3_600_000 + 1, 5_000, 10, Side.BUY)
    sim, _ = run(tape.events(), script(4_000, 10 * SHARE, want=0))
    # buckets of 5 pUSD: at hour 30 those of 23, 24 and 30 are within 24 buckets, hour 0 and 1 are not
    assert sim.state.markets[0].volume_24h == 15 * PUSD


def test_rows_are_the_same_whatever_the_buffers_are():
    tape = random_tape(7, 3_000)
    sink = Collected()
    simulate(tape, [Info(grid=10)], maker(), cash=300 * PUSD, interval=100 * MS, sink=sink)
    events = sink.rows("events")
    for cuts in ([], [1], [500, 501, 2_000]):
        again = Collected()
        state = setup.new_state([Info(grid=10)], maker(), cash=300 * PUSD, interval=100 * MS, sample_interval=S)
        for part in np.split(events, cuts):
            feed(part, state, maker(), again, rows=2_304)
        flush(state, again)
        for kind in ("decisions", "actions", "samples"):
            assert again.rows(kind).tobytes() == sink.rows(kind).tobytes()


def test_every_interval_replays_to_the_same_rows():
    for interval in (0, 10 * MS, 1_000 * MS):
        sink, again = Collected(), Collected()
        tape = random_tape(interval // MS + 1, 1_500, markets=3)
        infos = [Info(grid=10)] * 3
        simulate(tape, infos, maker(), cash=300 * PUSD, interval=interval, sink=sink)
        state = setup.new_state(infos, maker(), cash=300 * PUSD, interval=interval, sample_interval=S)
        feed(sink.rows("events"), state, maker(), again)
        flush(state, again)
        for kind in ("decisions", "actions", "samples"):
            assert again.rows(kind).tobytes() == sink.rows(kind).tobytes()


def test_a_changed_event_changes_the_decisions_and_the_hash():
    def hashes(factor):
        tape = random_tape(3, 600)
        tape["size"][tape["kind"] == EventKind.TRADE] *= factor
        sim = simulate(tape, [Info(grid=10)], maker(), cash=300 * PUSD, interval=100 * MS, venue=VenueModel())
        return sim.state.bots["hash"].tolist()

    assert hashes(1) == hashes(1)
    assert hashes(1) != hashes(3)


def test_cancels_on_their_way_are_counted_by_slot_until_they_are_answered():
    sink, slow = Collected(), VenueModel(entry_latency=200 * MS, response_latency=300 * MS)
    simulate(random_tape(5, 900), [Info(grid=10)], maker(), cash=300 * PUSD, interval=100 * MS, venue=slow, sink=sink)
    events, most = sink.rows("events"), 0
    state = setup.new_state([Info(grid=10)], maker(), cash=300 * PUSD, interval=100 * MS, sample_interval=S)
    for part in np.split(events, range(20, len(events), 20)):
        feed(part, state, maker(), Collected())
        leaving = state.orders[(state.orders["id"] > 0) & (state.orders["state"] == PENDING_CANCEL)]
        counted = np.bincount(leaving["slot"], minlength=N_SLOTS)
        assert state.positions[0].leaving.tolist() == counted.tolist()
        assert (state.positions[0].leaving_ts[counted > 0] > 0).all()
        most = max(most, int(counted.max()))
    assert most >= 2


def test_a_loss_reaches_every_quote_that_stays_not_only_the_first():
    tape = book()
    for tape.market in (1, 2):
        book(tape)
    tape.market = 0
    tape.trade(1_010, 4_900, 500, Side.SELL)  # fills 400: what they are worth falls with the mid
    before = Tape()
    before.rows = list(tape.rows)
    wish, infos = script(4_900, 410 * SHARE, wake=100 * MS), [Info(fee_rate=0)] * 3
    still = judged(before, wish, infos=infos)
    tape.ask(5_050, 5_000, 10)  # the mid moves by half a tick, the equity by more than a thousandth
    assert judged(tape, wish, infos=infos) == still + 2 * 3  # at the decision that sees it, and at the next


def test_a_markets_own_desk_signal_is_no_news():
    assert judged(book().add(5_050, EventKind.SIGNAL, aux=7, size=0.5)) == 1
