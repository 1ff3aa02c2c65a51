"""Limits over several runs: each has its share, the shares together are within the limit, and silence is no end."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from desk_cases import ANN, NOW, S

from polytraders.contracts import ClusterCap, PortfolioConfig, TenantConfig
from polytraders.errors import UsageError
from polytraders.store import desk as desks
from polytraders.store.desk import portfolio
from polytraders.store.desk.board import ALIVE_NS
from polytraders.store.desk.shares import (
    EXPOSURE,
    ORDERS,
    PAPER,
    Falls,
    Shared,
    Standing,
    Use,
    end,
    fair_share,
    pool_of,
    refresh,
    release,
    shares,
)
from polytraders.units import MICRO, NS_PER_DAY

MARKET = "0x" + "a1" * 32
LIVE = "live:local"


def house(desk: Any, tenant_exposure: str = "1000", **limits: Any) -> None:
    """Two portfolios of a thousand pUSD: exposure 200 each, a market 20, 20 orders an hour."""
    tenant = TenantConfig(
        tenant_id="TEN-001", name="House", config_version="1", portfolios=("PORT-001", "PORT-002"),
        max_exposure_pusd=tenant_exposure, max_daily_loss_pct="10", max_drawdown_total_pct="15",
    )  # fmt: skip
    portfolio.put_config(desk, tenant, ANN, "cli", NOW)
    for id_ in tenant.portfolios:
        config = PortfolioConfig(
            portfolio_id=id_, tenant_id="TEN-001", name="One", config_version="1", bankroll_pusd="1000", **limits
        )
        portfolio.put_config(desk, config, ANN, "cli", NOW)


def standing(run: str, uses: dict[str, Any] | None = None, **more: Any) -> Standing:
    """uses: limit -> what is used of it and, as a pair, what the step may use; pUSD, and orders as they are."""
    told = {}
    for name, given in (uses or {EXPOSURE: 0}).items():
        used, allowed = given if isinstance(given, tuple) else (given, given)
        unit = 1 if name == ORDERS else MICRO
        told[name] = Use(used * unit, allowed * unit, gross=used * unit if name.startswith("0x") else 0)
    fields = {"pool": LIVE, "portfolio_id": "PORT-001", "strategy_id": "strat.momentum", **more}
    return Standing(run_id=run, uses=told, **fields)


def got(desk: Any, run: str, uses: Any = None, name: str = EXPOSURE, now: int = NOW, **more: Any) -> float:
    said = refresh(desk, standing(run, uses, **more), now)
    return said.shares[name] / (1 if name == ORDERS else MICRO)


# -- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "used", "others_used", "others_share", "opening", "wanted"),
    [
        (200, 0, 0, 0, 1, 200),  # alone
        (200, 50, 0, 0, 1, 200),
        (200, 0, 0, 200, 2, 0),  # the other one has it all yet
        (200, 0, 0, 100, 2, 100),
        (200, 50, 100, 120, 2, 75),  # its own 50 and half of the 50 that nobody uses
        (200, 50, 100, 140, 2, 60),  # of which the other one's share leaves ten
        (200, 120, 100, 100, 2, 100),  # more is used than there is
        (200, 0, 0, 300, 2, 0),
    ],
)
def test_what_nobody_uses_is_divided_as_far_as_it_is_free(limit, used, others_used, others_share, opening, wanted):
    assert fair_share(limit, used, others_used, others_share, opening) == wanted


def test_nothing_is_kept_free_for_a_run_that_opens_nothing():
    assert fair_share(200, 30, 0, 0, 1, opens=False) == 30


# -- two runs --------------------------------------------------------------------------------------------------------


def test_the_second_run_gets_what_the_first_one_gave_back(desk: Any):
    house(desk)
    assert got(desk, "a") == 200, "alone it has all of it"
    assert got(desk, "b") == 0, "the first one was told that it may use all"
    assert got(desk, "a", {EXPOSURE: (30, 200)}) == 115, "its 30 and half of what is left"
    assert got(desk, "b") == 0, "but its step may not have heard of it"
    assert got(desk, "a", {EXPOSURE: (30, 115)}) == 115
    assert got(desk, "b") == 85, "now it has"
    assert got(desk, "b", {EXPOSURE: (85, 85)}) == 85, "all of it is taken"
    assert got(desk, "a", {EXPOSURE: (0, 115)}, opens=False) == 0, "who opens nothing wants nothing"
    assert got(desk, "a", {EXPOSURE: (0, 0)}, opens=False) == 0
    assert got(desk, "b", {EXPOSURE: (85, 85)}) == 200


def test_a_tenants_limit_holds_over_its_portfolios(desk: Any):
    house(desk, tenant_exposure="300")
    assert got(desk, "a") == 200
    assert got(desk, "b", portfolio_id="PORT-002") == 100, "its portfolio would allow 200"
    said = refresh(desk, standing("b", {EXPOSURE: (40, 100)}, portfolio_id="PORT-002"), NOW)
    mine, above = said.common[EXPOSURE]
    assert (mine.layer, mine.limit, mine.used) == ("portfolio", 200 * MICRO, 40 * MICRO)
    assert (above.layer, above.limit, above.used) == ("tenant", 300 * MICRO, 40 * MICRO)
    assert said.runs == 1


def test_markets_and_orders_are_shared_too_and_only_by_those_who_take_part(desk: Any):
    house(desk, max_market_pusd="15")
    other = "0x" + "b2" * 32
    assert got(desk, "a", {EXPOSURE: 0, MARKET: (10, 15), other: 0}, MARKET) == 15
    assert got(desk, "b", {EXPOSURE: 0, MARKET: 0}, MARKET) == 0
    assert got(desk, "a", {EXPOSURE: 0, MARKET: (11, 13), other: 0}, MARKET) == 13
    assert got(desk, "b", {EXPOSURE: 0, MARKET: 0}, MARKET) == 2
    assert got(desk, "a", {EXPOSURE: 0, other: 0}, other) == 15, "the other one does not follow it"
    assert got(desk, "a", {EXPOSURE: 0, ORDERS: (18, 20)}, ORDERS) == 20
    assert got(desk, "b", {EXPOSURE: 0, ORDERS: 0}, ORDERS) == 0
    assert got(desk, "a", {EXPOSURE: 0, ORDERS: (18, 19)}, ORDERS) == 19
    assert got(desk, "b", {EXPOSURE: 0, ORDERS: 0}, ORDERS) == 1


def test_orders_of_a_run_that_ended_count_for_an_hour(desk: Any):
    house(desk)
    end(desk, standing("a", {EXPOSURE: 5, ORDERS: 12}), NOW)
    assert got(desk, "b", {EXPOSURE: 0, ORDERS: 0}, ORDERS, NOW + 3_600 * S) == 8
    assert got(desk, "b", {EXPOSURE: 0, ORDERS: 0}, ORDERS, NOW + 3_600 * S + 1) == 20


def test_an_override_lifts_the_limit_for_its_run_and_no_other(desk: Any):
    house(desk)
    lifted = Standing("a", LIVE, "PORT-001", "s", {EXPOSURE: Use(0, 0, raised=250 * MICRO)})
    assert refresh(desk, lifted, NOW).shares[EXPOSURE] == 250 * MICRO
    assert got(desk, "b") == 0


def test_nobody_gets_more_than_its_own_limits_let_it_use(desk: Any):
    house(desk)
    small = Standing("a", LIVE, "PORT-001", "s", {EXPOSURE: Use(0, 0, most=40 * MICRO)})
    assert refresh(desk, small, NOW).shares[EXPOSURE] == 40 * MICRO
    assert got(desk, "b") == 100, "half of it"
    assert got(desk, "b", {EXPOSURE: (100, 100)}) == 150, "and what the other one cannot use"


def test_what_a_runs_settings_allow_the_portfolio_counts_what_all_of_it_uses(desk: Any):
    house(desk)
    assert got(desk, "a", {EXPOSURE: (60, 60)}) == 200
    assert got(desk, "a", {EXPOSURE: (60, 60)}) == 200
    capital = Standing("b", LIVE, "PORT-001", "s", {EXPOSURE: Use(0, 0, whole=100 * MICRO)})
    said = refresh(desk, capital, NOW)
    assert said.shares[EXPOSURE] == 0
    got(desk, "a", {EXPOSURE: (60, 60)}, opens=False)
    said = refresh(desk, capital, NOW)
    assert said.shares[EXPOSURE] == 40 * MICRO, "a hundred less what the other one has"
    assert [one.limit // MICRO for one in said.common[EXPOSURE]] == [200, 1_000]


def test_a_limit_that_is_lowered_opens_nothing_more(desk: Any):
    house(desk)
    assert got(desk, "a", {EXPOSURE: (150, 200)}) == 200
    house(desk, max_exposure_pct="12")
    assert got(desk, "a", {EXPOSURE: (150, 200)}) == 120, "what it uses is its step's to keep (see run.sharing)"
    assert got(desk, "b") == 0


def test_pools_do_not_share(desk: Any):
    house(desk)
    assert got(desk, "a") == 200
    assert got(desk, "p", pool=PAPER) == 200
    assert got(desk, "q", pool="live:polymarket") == 200
    assert pool_of("paper", "simulated", True) == PAPER
    assert pool_of("live", "local", True) == LIVE
    assert pool_of("live", "local", False) == pool_of("shadow", "none", False) == "", "who sends nothing shares nothing"


def test_a_portfolio_that_is_not_saved_is_refused(desk: Any):
    with pytest.raises(UsageError, match="no such portfolio"):
        refresh(desk, standing("a"), NOW)


# -- silence, ends, and who says so ----------------------------------------------------------------------------------


def test_a_silent_run_is_named_and_its_share_stands(desk: Any):
    house(desk)
    got(desk, "a", {EXPOSURE: (30, 120)})
    fresh = refresh(desk, standing("b"), NOW + ALIVE_NS)
    assert fresh.silent == ()
    later = refresh(desk, standing("b"), NOW + ALIVE_NS + 1)
    assert later.silent == ("a",)
    assert later.shares[EXPOSURE] == 0, "it was granted all, and may have used it"
    assert [row["state"] for row in shares(desk, now=NOW + ALIVE_NS + 1)] == ["silent", "running"]
    assert refresh(desk, standing("a", {EXPOSURE: (30, 120)}), NOW + 21 * S).silent == ("b",)
    assert refresh(desk, standing("b"), NOW + 21 * S).silent == (), "it speaks again"


def test_a_run_that_ended_in_order_counts_with_what_it_holds(desk: Any):
    house(desk)
    got(desk, "a", {EXPOSURE: (30, 200), MARKET: (10, 20)})
    end(desk, standing("a", {EXPOSURE: (30, 200), MARKET: (10, 20)}), NOW)
    said = refresh(desk, standing("b", {EXPOSURE: 0, MARKET: 0}), NOW + NS_PER_DAY)
    assert said.silent == ()
    assert said.shares == {EXPOSURE: 170 * MICRO, MARKET: 10 * MICRO}
    assert [(one.mine, one.condition_id, one.gross) for one in said.elsewhere] == [(True, MARKET, 10 * MICRO)]
    assert release(desk, "a", ANN, "cli", "sold by hand", NOW, empty=True).ok
    assert got(desk, "b", {EXPOSURE: 0}, now=NOW + NS_PER_DAY) == 200


def test_one_that_goes_on_after_its_end_has_no_more_than_the_others_left(desk: Any):
    house(desk)
    end(desk, standing("a", {EXPOSURE: (30, 200)}), NOW)
    assert got(desk, "b") == 170
    assert got(desk, "a", {EXPOSURE: (30, 200)}) == 30, "what its step was told before is nobody's"
    assert {row["run_id"]: row["share"] for row in shares(desk, now=NOW)} == {"a": 30 * MICRO, "b": 170 * MICRO}


def test_an_ended_paper_run_holds_nothing(desk: Any):
    house(desk)
    got(desk, "a", {EXPOSURE: (30, 200)}, pool=PAPER)
    end(desk, standing("a", {EXPOSURE: (30, 200)}, pool=PAPER), NOW)
    assert got(desk, "b", pool=PAPER) == 200


def test_a_paper_run_whose_process_is_gone_ended_without_a_word(desk: Any):
    house(desk)
    for run, pool in (("p", PAPER), ("l", LIVE)):
        desks.put_run(desk, run, mode=pool[:5].strip(":"), strategy_id="s", portfolio_id="PORT-001", state="running",
                      now=NOW, process=killed())  # fmt: skip
        got(desk, run, pool=pool)
    assert refresh(desk, standing("q", pool=PAPER), NOW + 60 * S).silent == ()
    assert refresh(desk, standing("m"), NOW + 60 * S).silent == ("l",), "with money it counts until somebody says so"


def killed() -> str:
    """A process of this machine that is no more."""
    here, pid, begun = desks.this_process().split(" ")
    return f"{here} {pid} {int(begun) - 1}"


def test_only_a_run_that_is_gone_is_released_and_it_keeps_what_it_may_have_used(desk: Any):
    house(desk)
    desks.put_run(desk, "a", mode="live", strategy_id="s", portfolio_id="PORT-001", state="running", now=NOW)
    got(desk, "a", {EXPOSURE: (30, 120), MARKET: (5, 20)})
    refused = release(desk, "a", ANN, "cli", "looked at it", NOW + ALIVE_NS)
    assert (refused.ok, refused.code) == (False, "GOV_RUN_NOT_GONE")
    with pytest.raises(UsageError, match="reason"):
        release(desk, "a", ANN, "cli", " ", NOW + 60 * S)
    with pytest.raises(UsageError, match="no run has this id"):
        release(desk, "nobody", ANN, "cli", "why not", NOW + 60 * S)
    later = NOW + ALIVE_NS + 1
    done = release(desk, "a", ANN, "cli", "its machine is gone", later)
    assert (done.ok, done.code, done.details) == (True, "GOV_RUN_RELEASED", {"exposure_pusd": "200"})
    assert desks.runs(desk, later)[0]["state"] == "failed"
    assert desks.history(desk, "a")[-1].payload["reason"] == "its machine is gone"
    said = refresh(desk, standing("b"), later)
    assert (said.silent, said.shares[EXPOSURE]) == ((), 0)
    assert release(desk, "a", ANN, "cli", "its wallet is empty", later, empty=True).ok
    assert got(desk, "b", now=later) == 200
    assert desks.check(desk) == []


def test_a_process_that_is_there_is_not_released_however_long_it_was_silent(desk: Any):
    house(desk)
    desks.put_run(
        desk, "a", mode="live", strategy_id="s", portfolio_id="PORT-001", state="running", now=NOW,
        process=desks.this_process(),
    )  # fmt: skip
    got(desk, "a")
    assert release(desk, "a", ANN, "cli", "silent", NOW + NS_PER_DAY).code == "GOV_RUN_NOT_GONE"
    desks.put_run(
        desk, "a", mode="live", strategy_id="s", portfolio_id="PORT-001", state="running", now=NOW, process=killed()
    )
    assert release(desk, "a", ANN, "cli", "killed", NOW).ok, "and one that is not there at once"


def test_a_live_run_that_tells_nothing_is_unknown(desk: Any):
    house(desk)
    desks.put_run(desk, "old", mode="live", strategy_id="s", portfolio_id="PORT-002", now=NOW)
    assert refresh(desk, standing("b"), NOW).silent == (), "it only begins: it has opened nothing"
    desks.heartbeat(desk, "old", NOW, state="running")
    assert refresh(desk, standing("b"), NOW).silent == ("old",)
    assert refresh(desk, standing("p", pool=PAPER), NOW).silent == ()
    desks.heartbeat(desk, "old", NOW, document={"sends": False})
    assert refresh(desk, standing("b"), NOW).silent == (), "a dry run"
    desks.put_run(desk, "far", mode="live", strategy_id="s", portfolio_id="PORT-009", state="running", now=NOW)
    assert refresh(desk, standing("b"), NOW).silent == (), "another tenant's"


# -- losses ----------------------------------------------------------------------------------------------------------

FELL = Falls(day_loss=3 * MICRO, day_fall=4 * MICRO, week_loss=5 * MICRO, week_fall=6 * MICRO, fall=7 * MICRO)


def lost(desk: Any, now: int = NOW, **more: Any) -> tuple[dict[str, float], dict[str, float]]:
    said = refresh(desk, standing("z", **more), now)
    mine, above = ({name: getattr(one, name) / MICRO for name in FELL.__slots__} for one in said.lost)
    return mine, above


def test_losses_of_others_are_added_up_and_gains_make_up_for_none(desk: Any):
    house(desk)
    refresh(desk, standing("a", falls=FELL), NOW)
    refresh(desk, standing("b", falls=Falls()), NOW)
    refresh(desk, standing("c", falls=FELL, portfolio_id="PORT-002"), NOW)
    mine, above = lost(desk)
    assert mine == {"day_loss": 3, "day_fall": 4, "week_loss": 5, "week_fall": 6, "fall": 7}
    assert above == {name: 2 * value for name, value in mine.items()}
    said = refresh(desk, standing("z"), NOW)
    assert said.bankroll == 2_000 * MICRO
    assert said.loss_limits[0]["drawdown_weekly_pct"] == "10"
    assert set(said.loss_limits[1]) == {"daily_loss_pct", "drawdown_total_pct"}


def test_a_run_that_ended_counts_with_its_loss_of_the_day_and_the_week(desk: Any):
    house(desk)
    monday = NOW - NOW % NS_PER_DAY - ((NOW // NS_PER_DAY - 4) % 7) * NS_PER_DAY
    end(desk, standing("a", falls=FELL), monday)
    assert lost(desk, monday)[0] == {"day_loss": 3, "day_fall": 3, "week_loss": 5, "week_fall": 5, "fall": 0}
    assert lost(desk, monday + NS_PER_DAY)[0] == {
        "day_loss": 0,
        "day_fall": 0,
        "week_loss": 5,
        "week_fall": 5,
        "fall": 0,
    }
    assert set(lost(desk, monday + 7 * NS_PER_DAY)[0].values()) == {0}


# -- never above the limit -------------------------------------------------------------------------------------------


@dataclass
class Model:
    """A run as `run.sharing` works it: what its step uses, may use, was told and will hear."""

    id: str
    portfolio: str
    used: dict[str, int]
    in_step: dict[str, int]
    told: dict[str, int] = field(default_factory=dict)
    coming: list[dict[str, int]] = field(default_factory=list)
    asked: Standing | None = None
    said: Shared | None = None
    lives: bool = True
    decides: bool = False  # it heard of its share since it began

    def standing(self, opens: bool = True) -> Standing:
        uses = {name: Use(used, max(self.told.get(name, 0), self.in_step[name])) for name, used in self.used.items()}
        return Standing(self.id, LIVE, self.portfolio, "s", uses, opens=opens)

    def act(self, rng: random.Random, desk: Any) -> None:
        what = rng.choice(("use", "use", "use", "free", "ask", "ask", "hear", "hear", "die", "end", "begin"))
        if not self.lives:
            if what == "begin":
                self.lives, self.decides, self.told, self.coming, self.asked, self.said = (
                    True,
                    False,
                    {},
                    [],
                    None,
                    None,
                )
            return
        if what == "use" and self.decides:
            name = rng.choice(list(self.used))
            left = max(self.in_step[name] - self.used[name], 0)
            self.used[name] += rng.choice((left, rng.randint(0, left)))
        elif what == "free":
            name = rng.choice(list(self.used))
            self.used[name] -= rng.randint(0, self.used[name])
        elif what == "ask":
            if self.asked is None:
                self.asked = self.standing(rng.random() < 0.9)
            elif self.said is None:
                self.said = refresh(desk, self.asked, NOW)
            else:
                for name, share in self.said.shares.items():
                    self.told[name] = max(share, min(self.used[name], self.told.get(name, -1)))
                self.coming.append(dict(self.told))
                self.asked = self.said = None
        elif what == "hear" and self.coming:
            self.in_step, self.decides = self.coming.pop(0), True
        elif what == "die" and rng.random() < 0.3:
            self.lives = False
        elif what == "end" and rng.random() < 0.3 and self.asked is None:
            end(desk, self.standing(), NOW)
            self.lives = False


@pytest.mark.parametrize("seed", range(6))
def test_together_runs_are_never_above_a_limit_whoever_asks_hears_dies_or_begins_when(desk: Any, seed: int):
    rng = random.Random(seed)
    house(desk, tenant_exposure="320", max_market_pusd="15")
    names = (EXPOSURE, MARKET)
    runs = [
        Model(f"r{n}", f"PORT-00{1 + n % 2 * (n > 1)}", dict.fromkeys(names, 0), dict.fromkeys(names, 0))
        for n in range(4)
    ]
    fullest = 0
    for _ in range(400):
        one = rng.choice(runs)
        one.act(rng, desk)
        used = {p: sum(r.used[EXPOSURE] for r in runs if r.portfolio == p) for p in ("PORT-001", "PORT-002")}
        assert max(used.values()) <= 200 * MICRO
        assert sum(used.values()) <= 320 * MICRO
        for p in used:
            assert sum(r.used[MARKET] for r in runs if r.portfolio == p) <= 15 * MICRO
        fullest = max(fullest, sum(used.values()))
    assert fullest > 90 * MICRO, "it is no limit that nobody comes near"


def test_runs_that_want_all_of_it_come_to_use_all_of_it(desk: Any):
    house(desk)
    runs = [Model(f"r{n}", "PORT-001", {EXPOSURE: 0}, {EXPOSURE: 0}) for n in range(3)]
    for _ in range(12):
        for one in runs:
            said = refresh(desk, one.standing(), NOW)
            one.told = one.in_step = dict(said.shares)
            one.used[EXPOSURE] = max(one.used[EXPOSURE], one.in_step[EXPOSURE] - MICRO)
    assert sum(one.used[EXPOSURE] for one in runs) > 194 * MICRO


def test_two_that_ask_at_the_same_moment_get_the_limit_once(url: str, opened: Any):
    first = opened(url)
    house(first)
    both = [first, opened(url)]
    together, seen, failed = threading.Barrier(2), [], []

    def work(number: int) -> None:
        try:
            held = 0
            for _ in range(25):
                together.wait(60)
                said = refresh(both[number], standing(f"r{number}", {EXPOSURE: (held, held)}), NOW)
                held = min(said.shares[EXPOSURE] // MICRO, held + 40)
                seen.append((number, held))
                together.wait(60)
                if number == 0:
                    told = {row["run_id"]: row["share"] for row in shares(first, now=NOW)}
                    assert sum(told.values()) <= 200 * MICRO, told
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed, failed
    assert len(seen) == 50


def test_caps_of_both_layers_are_told(desk: Any):
    tight = (ClusterCap(cluster_id="clu_000000000001", gross_pusd="50", net_pusd="20"),)
    wide = (ClusterCap(cluster_id="clu_000000000001", gross_pusd="90", net_pusd="90"),)
    house(desk, cluster_caps=tight)
    tenant = TenantConfig(
        tenant_id="TEN-001", name="House", config_version="2", portfolios=("PORT-001", "PORT-002"),
        max_exposure_pusd="1000", clusters=("clu_000000000001",), cluster_caps=wide,
    )  # fmt: skip
    portfolio.put_config(desk, tenant, ANN, "cli", NOW)
    told = portfolio.layers_with_caps(desk, "PORT-001")
    assert [(layer, cap.gross_pusd) for layer, cap in told] == [("portfolio", "50"), ("tenant", "90")]
