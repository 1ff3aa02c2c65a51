"""Clusters: by event, by price, by both; and nobody joins on too little."""

from __future__ import annotations

import numpy as np
import pytest

from polytraders.contracts import Cluster
from polytraders.data.markets import MarketInfo
from polytraders.research.clusters import LEAST_STEPS, build_clusters, correlation, prices_of

NOW = 1_780_000_000 * 10**9


def market(letter: str, event: str = "", slug: str = "") -> MarketInfo:
    return MarketInfo(
        "0x" + letter * 64, slug or f"market-{letter}", "?", "1", "2", 100, 100, 5_000_000, 0, 1, 0, False, event, 0
    )


def walk(seed: int, n: int = 400) -> np.ndarray:
    return 5_000 + np.random.default_rng(seed).integers(-100, 101, n).cumsum()


def built(markets, prices, **more) -> dict[str, Cluster]:
    named = {"0x" + letter * 64: series for letter, series in prices.items()}
    return {c.cluster_id: c for c in build_clusters(markets, named, "TEN-001", NOW, **more)}


def told(cluster: Cluster) -> dict[str, str]:
    return {member.condition_id[2]: member.because for member in cluster.members}


def test_markets_of_one_event_are_a_cluster_whatever_their_prices_do():
    a, b, c = (market(letter, "77" if letter != "c" else "", f"who-wins-texas-{letter}") for letter in "abc")
    (cluster,) = built([a, b, c], {"a": walk(1), "b": -walk(1), "c": walk(3)}).values()
    assert cluster.cluster_id == "clu_event_77" and told(cluster) == {"a": "metadata", "b": "metadata"}
    assert cluster.name == "who wins texas"
    assert {member.correlation for member in cluster.members} == {"-1"}  # one wins what the other loses


def test_markets_that_move_together_are_a_cluster():
    base = walk(1)
    noise = np.random.default_rng(9).integers(-20, 21, len(base))
    (cluster,) = built([market(x) for x in "abc"], {"a": base, "b": base + noise, "c": walk(4)}).values()
    assert cluster.cluster_id == "clu_price_aaaaaaaaaaaaaaaa" and told(cluster) == {"a": "price", "b": "price"}
    assert 0.6 <= float(cluster.members[0].correlation) < 1


def test_a_market_joins_an_event_by_its_price():
    base = walk(1)
    markets = [market("a", "77"), market("b", "77"), market("c")]
    (cluster,) = built(markets, {"a": base, "b": base * 2, "c": base + 7}).values()
    assert told(cluster) == {"a": "both", "b": "both", "c": "price"}


def test_too_few_prices_join_nobody():
    short = walk(1, LEAST_STEPS)  # one change fewer than it takes
    assert built([market("a"), market("b")], {"a": short, "b": short}) == {}
    assert built([market("a"), market("b")], {}) == {}
    enough = walk(1, LEAST_STEPS + 1)
    assert len(built([market("a"), market("b")], {"a": enough, "b": enough})) == 1


def test_no_correlation_without_movement():
    assert correlation(np.full(100, 5_000.0), np.full(100, 5_000.0)) is None
    assert correlation(np.full(100, np.nan), walk(1, 100)) is None
    assert correlation(walk(1), walk(1)) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_prices_are_every_cluster_is_valid_and_no_market_is_in_two(seed):
    draw = np.random.default_rng(seed)
    bases = [walk(seed * 10 + k) for k in range(3)]
    markets = [market(x, str(draw.choice(["", "", "1", "2"]))) for x in "abcdef0123"]
    prices = {
        m.condition_id[2]: bases[draw.integers(3)] + draw.integers(-200, 201, 400) * int(draw.integers(3))
        for m in markets
    }
    clusters = built(markets, prices)
    inside = [member.condition_id for cluster in clusters.values() for member in cluster.members]
    assert len(inside) == len(set(inside))  # Cluster itself checks that each is in for a reason that holds
    assert clusters == built(markets[::-1], prices)  # their order does not matter


def test_prices_are_the_last_trades_of_each_step():
    from types import SimpleNamespace

    from polytraders.rows import EVENT, EventKind

    rows = np.zeros(5, EVENT)
    rows["kind"] = EventKind.TRADE
    rows["ts_recv"] = np.array([0, 59, 61, 200, 250]) * 10**9
    rows["price"] = [5_000, 5_100, 5_200, 4_000, 5_300]
    rows["market"] = [0, 0, 0, 1, 0]
    session = SimpleNamespace(events=rows, markets=(market("a"), market("b")))
    found = prices_of(session)
    assert found["0x" + "a" * 64].tolist() == [5_100, 5_200, 5_200, 5_200, 5_300]
    assert np.isnan(found["0x" + "b" * 64][:3]).all() and found["0x" + "b" * 64][3:].tolist() == [4_000, 4_000]
