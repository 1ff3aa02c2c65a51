"""The desk's switches in a run: each stops what its scope names, and clearing one takes back no other."""

from __future__ import annotations

import pytest

from polytraders.rows import EventKind, Scope
from polytraders.run.switches import Switches

MARKETS = ["0xaa", "0xbb", "0xcc"]
BOTS = ["strat.maker_tight", "risk.killswitch", "exec.smartrouter"]
CLUSTERS = {"CL-1": frozenset({"0xaa", "0xbb"}), "CL-2": frozenset({"0xbb", "0xdd"}), "CL-3": frozenset({"0xdd"})}


def made(held: dict | None = None) -> Switches:
    return Switches("PORT-001", "strat.maker_tight", MARKETS, BOTS, CLUSTERS.get, held, "r_1")


def said(rows: list[dict[str, int]]) -> list[tuple[int, int, int, int]]:
    assert all(row["kind"] == EventKind.SWITCH for row in rows)
    return [(row["market"], row["aux"], row["price"], row["size"]) for row in rows]


@pytest.mark.parametrize(
    ("scope", "target", "wanted"),
    [
        ("global", None, [(-1, Scope.GLOBAL, 0)]),
        ("portfolio", "PORT-001", [(-1, Scope.PORTFOLIO, 0)]),
        ("portfolio", "strat.maker_tight", []),
        ("strategy", "strat.maker_tight", [(-1, Scope.STRATEGY, 0)]),
        ("strategy", "strat.momentum", []),
        ("family", "risk", [(-1, Scope.FAMILY, 3)]),
        ("family", "intel", []),
        ("bot", "exec.smartrouter", [(-1, Scope.BOT, 2)]),
        ("bot", "exec.other", []),
        ("market", "0xbb", [(1, Scope.MARKET, 0)]),
        ("market", "0xdd", []),
        ("cluster", "CL-1", [(0, Scope.MARKET, 0), (1, Scope.MARKET, 0)]),
        ("cluster", "CL-3", []),
        ("cluster", "CL-unknown", [(-1, Scope.PORTFOLIO, 0)]),
        ("feed", "clob", [(-1, Scope.FEED, 0)]),
        ("run", "r_1", [(-1, Scope.STRATEGY, 0)]),
        ("run", "r_2", []),
        ("planet", "mars", [(-1, Scope.PORTFOLIO, 0)]),
    ],
)
def test_each_scope_stops_what_it_names(scope, target, wanted):
    switches = made()
    assert said(switches.arm("ks_1", scope, target)) == [(*one, 1) for one in wanted]
    assert bool(switches.held) == bool(wanted)
    assert said(switches.clear("ks_1", scope, target)) == [(*one, 0) for one in wanted]
    assert not switches.held


def test_what_two_switches_stop_goes_on_when_both_are_cleared():
    switches = made()
    switches.arm("ks_1", "cluster", "CL-1")
    switches.arm("ks_2", "market", "0xbb")
    switches.arm("ks_3", "strategy", "strat.maker_tight")
    assert said(switches.clear("ks_1", "cluster", "CL-1")) == [(0, Scope.MARKET, 0, 0)]
    again = made(switches.as_data())  # another process goes on
    assert said(again.clear("ks_3", "strategy", "strat.maker_tight")) == [(-1, Scope.STRATEGY, 0, 0)]
    assert said(again.clear("ks_2", "market", "0xbb")) == [(1, Scope.MARKET, 0, 0)]


def test_a_cluster_is_cleared_as_it_was_armed():
    members = {"CL-1": frozenset({"0xaa"})}
    switches = Switches("PORT-001", "strat.maker_tight", MARKETS, BOTS, members.get)
    switches.arm("ks_1", "cluster", "CL-1")
    members["CL-1"] = frozenset({"0xcc"})
    assert said(switches.clear("ks_1", "cluster", "CL-1")) == [(0, Scope.MARKET, 0, 0)]
