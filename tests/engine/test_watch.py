"""What the step remembers for the bots: the worst of the last decisions, the ring of an event's markets, shadows."""

from dataclasses import replace

from toys import MS, PUSD, SHARE, Info, Tape, allow, as_is, quote_touch, script, toy

from polytraders.engine import setup
from polytraders.engine.backtest import Collected, simulate
from polytraders.engine.kernels import kernel
from polytraders.engine.state import WATCH
from polytraders.reasons import Code
from polytraders.rows import EventKind, Side

WINDOW_MS = WATCH // MS


def after(tape, infos=None, pipeline=None, cash=1_000 * PUSD):
    """State at the end of the tape, decided on every 100 ms with changes."""
    wish = script(100, 5 * SHARE, want=0)
    return simulate(
        tape.events(), infos or [Info()], pipeline or wish, cash=cash, interval=100 * MS, sink=Collected()
    ).state


def worst(market):
    return max(int(market.widest), int(market.widest_before)), max(int(market.jump2), int(market.jump2_before)) // 2


def sound():
    return Tape().bid(0, 4_900, 100).ask(0, 5_100, 100).clock(400)


def test_a_market_that_opens_has_nothing_to_remember():
    assert worst(after(Tape().bid(0, 4_900, 100).ask(500, 5_100, 100).clock(900)).markets[0]) == (0, 0)


def test_the_widest_spread_and_the_largest_jump_are_kept_for_one_to_two_windows():
    def tape(end_ms):  # 0.50 -> 0.55, 12 cents wide for a second, then 0.50 again, a message each second
        one = sound().bid(1_000, 4_900, 0).bid(1_000, 4_900, 50).ask(1_000, 5_100, 0).ask(1_000, 6_100, 100)
        one.ask(2_000, 5_100, 100)
        for ms in range(3_000, end_ms, 1_000):
            one.bid(ms, 4_800, 10 + ms // 1_000)
        return one.clock(end_ms + 500)

    assert worst(after(tape(5_000)).markets[0]) == (1_200, 500)
    assert worst(after(tape(1_000 + WINDOW_MS)).markets[0]) == (1_200, 500)
    assert worst(after(tape(3_000 + 2 * WINDOW_MS)).markets[0]) == (200, 0)


def test_a_missing_side_a_lost_feed_and_a_pause_count_as_the_widest_spread_there_is():
    assert worst(after(sound().ask(1_000, 5_100, 0).clock(1_500)).markets[0])[0] == 10_000
    assert worst(after(sound().add(1_000, EventKind.FEED_DOWN).clock(1_500)).markets[0])[0] == 10_000
    assert worst(after(sound().add(1_000, EventKind.STATUS, aux=1).clock(1_500)).markets[0])[0] == 10_000
    assert worst(after(sound().bid(1_000, 5_100, 5).clock(1_500)).markets[0])[0] == 10_000  # locked


def test_a_silence_of_two_windows_forgets_what_was_before_it():
    late = sound().ask(1_000, 5_100, 0).ask(1_500, 5_100, 100).bid(2_000 + 3 * WINDOW_MS, 4_800, 10)
    assert worst(after(late.clock(3_000 + 3 * WINDOW_MS)).markets[0]) == (200, 0)


def test_the_markets_of_an_event_form_a_ring_and_a_market_alone_is_its_own_peer():
    infos = [Info(event_id=e) for e in ("a", "", "b", "a", "a", "")]
    markets, _ = setup.market_rows(infos)
    assert [int(m.peer) for m in markets][1] == 1 and int(markets[2].peer) == 2 and int(markets[5].peer) == 5
    seen, at = [], 0
    while at not in seen:
        seen.append(at)
        at = int(markets[at].peer)
    assert sorted(seen) == [0, 3, 4] and at == 0


@kernel("risk")
def only_two_of_the_event(intent, market, position, account, ladder, vote, params):
    """Refuses when the event's other markets hold params[0] micro-pUSD or more."""
    vote.observed = intent.cluster
    if intent.cluster >= params.v[0]:
        vote.verdict = 3
        return Code.RISK_CLUSTER_LIMIT
    return Code.RISK_WITHIN_LIMITS


def test_an_intent_shows_what_the_other_markets_of_its_event_hold():
    def quoting(event):
        tape = Tape()
        for market in range(3):
            tape.market = market
            tape.bid(10 * market, 4_900, 100).ask(10 * market, 5_100, 100)
        infos = [replace(Info(), event_id=event)] * 3
        pipeline = setup.order_bots(
            [
                toy("strat", quote_touch, (10 * SHARE, 10 * SHARE)),
                toy("risk", only_two_of_the_event, (15 * PUSD,)),
                toy("exec", as_is),
            ]
        )
        return after(tape.clock(900), infos, pipeline).positions

    # each market rests 10 at 0.49 for YES and 10 at 0.49 for NO: 9.80 pUSD; the third would see 19.60 elsewhere
    assert [int(p.buy_reserved) for p in quoting("e")] == [9_800_000, 9_800_000, 0]
    assert [int(p.buy_reserved) for p in quoting("")] == [9_800_000] * 3


@kernel("disc")
def refuses_all(market, position, account, ladder, params):
    """Recommends nothing."""
    market.candidate = 0
    return Code.DISC_NO_DATA


@kernel("strat")
def if_candidate(market, position, account, ladder, memory, targets, params):
    """Ten shares at 0.49 in a candidate."""
    if market.candidate:
        t = targets[0]
        t.want, t.side, t.price, t.size, t.passive_only = 1, Side.BUY, 4_900, 10_000_000, 1
    return Code.STRAT_EDGE_DETECTED


@kernel("disc")
def recommends_all(market, position, account, ladder, params):
    """Recommends everything."""
    market.candidate = 1
    return Code.DISC_MARKET_CANDIDATE


def test_a_shadowed_discovery_bot_recommends_nothing_to_anybody():
    def orders(mode):
        bots = [toy("disc", recommends_all), toy("disc", refuses_all, mode=mode)]
        rest = [toy("strat", if_candidate), toy("risk", allow), toy("exec", as_is)]
        return int(after(sound(), pipeline=setup.order_bots(bots + rest)).account[0].submits)

    assert (orders(3), orders(2), orders(1)) == (0, 1, 1)
