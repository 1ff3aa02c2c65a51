"""From settings to the simulated venue: every key of [venue.simulated] arrives, in the venue's own units."""

import numpy as np
import pytest

from polytraders.config import load_settings
from polytraders.engine.latency import Latency
from polytraders.errors import ConfigError, DataError
from polytraders.run.backtest import venue_model


def model(**values):
    return venue_model(load_settings().with_overrides({f"venue.simulated.{k}": str(v) for k, v in values.items()}))


def test_the_defaults_are_the_committed_ones():
    made = model()
    assert (made.entry_latency, made.response_latency, made.trade_share) == (50_000_000, 50_000_000, 0)
    assert (made.settlement_delay, made.ghost_rate) == (0, 0)
    assert (made.liquidity, made.taker_delay) == ("consumed", "market")


def test_rules_and_settlement_arrive_in_ns_and_ppm():
    made = model(
        queue_model="log_prob", trade_share="0.25", liquidity="recorded", taker_delay="none",
        settlement_delay_ms=2_500, ghost_fill_ppm=1_200, ghost_seed=9,
    )  # fmt: skip
    assert (made.queue_model, made.trade_share) == ("log_prob", 250_000)
    assert (made.liquidity, made.taker_delay) == ("recorded", "none")
    assert (made.settlement_delay, made.ghost_rate, made.ghost_seed) == (2_500_000_000, 1_200, 9)


def test_log_normal_latencies_of_both_ways_are_drawn_apart():
    made = model(latency_model="lognormal", entry_latency_ms=20, entry_sigma="0.3", latency_seed=4)
    entry, response = made.entry_latency, made.response_latency
    assert isinstance(entry, Latency) and isinstance(response, Latency)
    assert abs(np.median(entry.table) / 20e6 - 1) < 0.01 and abs(np.median(response.table) / 50e6 - 1) < 0.01
    assert abs(np.corrcoef(entry.table, response.table)[0, 1]) < 0.02
    assert made.names()["latency"] == (
        "entry log-normal(20 ms, sigma 0.3, seed 4), response log-normal(50 ms, sigma 0.5, seed 5)"
    )


def test_measured_latencies_come_from_the_file_that_is_named(tmp_path):
    path = tmp_path / "measured.csv"
    path.write_text("entry_ns,response_ns\n1000000,2000000\n3000000,4000000\n")
    made = model(latency_model="recorded", latency_file=path)
    assert made.entry_latency.table.tolist() == [1_000_000, 3_000_000]
    assert made.response_latency.table.tolist() == [2_000_000, 4_000_000]
    assert "measured.csv" in made.names()["latency"]


def test_the_recorded_model_without_a_usable_file_is_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        model(latency_model="recorded")
    assert "latency_file" in error.value.where and "entry_ns" in error.value.mend
    with pytest.raises(DataError, match="cannot read latencies"):
        model(latency_model="recorded", latency_file=tmp_path / "absent.parquet")
