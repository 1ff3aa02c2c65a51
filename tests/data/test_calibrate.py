"""Calibration: queues by hand, fits on tapes whose truth is known, a real recording pinned, and the file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.config import Simulated, load_settings
from polytraders.data.catalog import Session
from polytraders.errors import DamageError, DataError, UsageError
from polytraders.research import calibrate as cal
from polytraders.research.queue import MODELS, behind_log, behind_power, finished, gather, matched_prints
from polytraders.rows import EVENT, EventKind, Flag, Side

MS, S, SHARE = 10**6, 10**9, 10**6
B, A = Side.BUY, Side.SELL


def rows_of(*told: tuple) -> np.ndarray:
    """(ms, kind, side, price in pips, shares) -> rows, each a message of its own."""
    rows = np.zeros(len(told), EVENT)
    for at, (row, (ms, kind, side, price, shares)) in enumerate(zip(rows, told, strict=True)):
        row["ts_event"] = ms * MS
        row["ts_recv"] = row["ts_event"] + 5 * MS
        row["kind"], row["side"], row["price"], row["size"] = kind, side, price, round(shares * SHARE)
        row["flags"], row["seq"], row["ref"] = Flag.LAST, at, at
    return rows


def session_of(rows: np.ndarray, name: str = "made") -> Session:
    return Session(name, rows, (), {"recording": name}, {}, ())


# -- what is read from the tape ---------------------------------------------------------------------------------


def test_a_print_belongs_to_the_loss_of_its_size_whichever_comes_first():
    rows = rows_of(
        (0, EventKind.CHANGE, B, 5_000, 100),
        (10, EventKind.CHANGE, B, 5_000, 93),  # 7 go
        (20, EventKind.CHANGE, B, 5_000, 88),  # 5 go: the print of 30 says sold
        (30, EventKind.TRADE, A, 5_000, 5),
        (40, EventKind.TRADE, A, 5_000, 8),  # told before its loss
        (50, EventKind.CHANGE, B, 5_000, 80),
        (60, EventKind.TRADE, A, 4_900, 1),  # no loss there
        (5_000, EventKind.TRADE, A, 5_000, 7),  # too late for the first
    )
    made, alone, counts, lags = matched_prints(rows)
    assert (made // SHARE).tolist() == [0, 0, 5, 0, 0, 8, 0, 0]
    assert (alone // SHARE).tolist() == [0, 0, 0, 0, 0, 0, 1, 7]
    assert counts == (4, 2, 1)  # prints, matched, after their loss
    assert (lags // MS).tolist() == [10, -10]


def test_the_models_probabilities_are_those_of_the_venue():
    """30 ahead, 10 behind: n = 1 gives 10 / 40, n = 2 gives 100 / 1 000; ln 11 / (ln 11 + ln 31) = 0.4112."""
    assert behind_power(30 * SHARE, 10 * SHARE, 1) == pytest.approx(0.25)
    assert behind_power(30 * SHARE, 10 * SHARE, 2) == pytest.approx(0.1)
    assert behind_power(0, 10, 3) == 1.0 and behind_power(10, 0, 3) == 0.0
    assert behind_log(30 * SHARE, 10 * SHARE) == pytest.approx(0.41117, abs=1e-5)


def queue_tape(*tail: tuple) -> np.ndarray:
    """A bid of 10 + 20 shares that begins inside the recording, an ask, then `tail`."""
    return rows_of(
        (0, EventKind.BOOK_CLEAR, B, 0, 0),
        (0, EventKind.LEVEL, A, 6_000, 50),
        (1, EventKind.CHANGE, B, 5_000, 10),
        (2, EventKind.CHANGE, B, 5_000, 30),
        *tail,
        (5_000, EventKind.CHANGE, A, 6_100, 1),
    )


def orders_on_the_bid(rows: np.ndarray, at: int, horizon: int = S):
    """The virtual order that came with row `at` at the bid, and the evidence; every row gets one, the side is drawn."""
    for seed in range(50):
        found = gather(rows, orders=len(rows), horizon=horizon, seed=seed, block=S)
        chosen = [order for order in finished(found) if order.row == at and order.side == B and order.price == 5_000]
        if chosen:
            return chosen[0], [cancel for cancel in found.cancels if cancel.order == chosen[0].number]
    raise AssertionError("no seed placed an order there")


def test_a_cancel_of_an_additions_exact_size_is_told_to_stand_before_or_behind():
    rows = queue_tape(
        (3, EventKind.CHANGE, B, 5_000, 37),  # 7 come behind the order of row 3
        (4, EventKind.CHANGE, B, 5_000, 17),  # the 20 go: before it
        (5, EventKind.CHANGE, B, 5_000, 10),  # the 7 go: behind it
    )
    order, cancels = orders_on_the_bid(rows, 3)
    told = [(c.ahead // SHARE, c.behind // SHARE, c.was_behind) for c in cancels]
    assert told == [(30, 7, False), (10, 7, True)]
    assert (order.ahead_most, order.ahead_least) == (10 * SHARE, 10 * SHARE)
    assert order.ahead["risk_averse"] == 10 * SHARE
    # n = 1 at the first: 7 / 37 of 20 = 3.784 behind, 16.216 before it, 13.784 stay; the second: 3.216 behind of the
    # 7 (share 3.216 / 17), the rest before
    back = 37 - 13.783783783783784 - 20
    after = 13.783783783783784 - (1 - back / 17) * 7 + min(back - back / 17 * 7, 0)
    assert order.ahead["power_prob:1"] / SHARE == pytest.approx(after)


def test_a_cancel_that_fits_no_addition_leaves_two_bounds_and_stops_the_evidence():
    rows = queue_tape(
        (3, EventKind.CHANGE, B, 5_000, 37),
        (4, EventKind.CHANGE, B, 5_000, 33),  # 4 of something
        (5, EventKind.CHANGE, B, 5_000, 26),  # 7 again, but the level is no longer known
        (6, EventKind.TRADE, A, 5_000, 25),
        (6, EventKind.CHANGE, B, 5_000, 1),
    )
    order, cancels = orders_on_the_bid(rows, 3)
    assert cancels == []
    # least: 30 ahead, held to the 26 of the level, less 25; most: 19 ahead, so the print of 25 fills
    assert (order.least, order.most, order.known) == (False, True, False)
    assert not order.filled["risk_averse"]


def test_prints_beyond_what_is_ahead_fill_and_prints_through_the_price_fill_at_once():
    eaten = queue_tape((3, EventKind.TRADE, A, 5_000, 30), (4, EventKind.CHANGE, B, 5_000, 0))
    order, _ = orders_on_the_bid(eaten, 3)
    assert not order.least and not order.most  # exactly what was ahead
    more = queue_tape(
        (3, EventKind.CHANGE, B, 5_000, 31), (3, EventKind.TRADE, A, 5_000, 31), (4, EventKind.CHANGE, B, 5_000, 0)
    )
    order, _ = orders_on_the_bid(more, 3)
    assert order.least and all(order.filled.values())
    order, _ = orders_on_the_bid(queue_tape((3, EventKind.TRADE, A, 4_900, 1)), 3)
    assert order.least and order.most
    order, _ = orders_on_the_bid(queue_tape((3, EventKind.CHANGE, A, 5_000, 1)), 3)
    assert order.least and order.most


def test_in_recorded_order_a_print_after_its_loss_eats_twice():
    rows = queue_tape((3, EventKind.CHANGE, B, 5_000, 16), (20, EventKind.TRADE, A, 5_000, 14))
    for match, left in ((True, 16), (False, 2)):
        for seed in range(50):
            found = gather(rows, orders=len(rows), horizon=S, seed=seed, block=S, match=match)
            chosen = [o for o in finished(found) if o.row == 3 and o.side == B and o.price == 5_000]
            if chosen:
                break
        assert chosen[0].ahead["risk_averse"] == left * SHARE


def test_a_level_older_than_the_recording_is_no_evidence():
    rows = rows_of(
        (0, EventKind.BOOK_CLEAR, B, 0, 0),
        (0, EventKind.LEVEL, A, 6_000, 50),
        (1, EventKind.LEVEL, B, 5_000, 30),
        (2, EventKind.CHANGE, A, 6_000, 51),
        (3, EventKind.CHANGE, B, 5_000, 37),
        (4, EventKind.CHANGE, B, 5_000, 30),
        (5_000, EventKind.CHANGE, A, 6_100, 1),
    )
    order, cancels = orders_on_the_bid(rows, 3)
    assert cancels == [] and order.ahead["risk_averse"] == 30 * SHARE


# -- fits where the truth is known ------------------------------------------------------------------------------


def living_queue(seed: int, newest_first: bool, n: int = 6_000) -> np.ndarray:
    """A bid of additions of odd sizes; who cancels is drawn by share (so n = 1), or is always among the newest two."""
    random = np.random.default_rng(seed)
    told: list[tuple] = [(0, EventKind.BOOK_CLEAR, B, 0, 0), (0, EventKind.LEVEL, A, 6_000, 50)]
    adds: list[int] = []
    for at in range(n):
        if len(adds) < 4 or (len(adds) < 30 and random.random() < 0.5):
            adds.append(int(random.integers(10_000, 900_000)))
        elif newest_first:
            adds.pop(int(random.integers(len(adds) - 2, len(adds))))
        else:
            adds.pop(int(random.choice(len(adds), p=np.array(adds) / sum(adds))))
        told.append((100 * at, EventKind.CHANGE, B, 5_000, sum(adds) / SHARE))
    return rows_of(*told)


def test_cancels_drawn_by_share_give_a_power_of_one():
    found = cal.calibrate([session_of(living_queue(7, newest_first=False))], orders=600, horizon_s=20, seed=3)
    low, high = found["queue"]["power_interval"]
    assert low < 1 < high and abs(found["queue"]["power"] - 1) < 0.15
    assert found["queue"]["chosen"] == "power_prob:1"
    chosen = {"venue.simulated.queue_model": "power_prob", "venue.simulated.queue_power": "1"}
    assert chosen.items() <= found["settings"].items() and chosen.items() <= found["band"]["central"].items()
    for row in found["queue"]["reliability"]:
        assert row["n"] < 200 or abs(row["predicted"] - row["observed"]) < 0.1


def test_cancels_of_the_newest_alone_make_the_risk_averse_model_right_and_one_wrong():
    found = cal.calibrate([session_of(living_queue(8, newest_first=True))], orders=600, horizon_s=5, seed=3)["queue"]
    assert found["share_behind"] > 0.85
    brier = {model: score["brier"] for model, score in found["held_out_scores"].items()}
    assert brier["risk_averse"] < brier["power_prob:1"]


@pytest.mark.parametrize("n", [0.4, 1.0, 3.0])
def test_the_likelihood_finds_the_power_that_made_the_data(n):
    random = np.random.default_rng(11)
    x = random.normal(0, 1.5, 8_000)
    behind = (random.random(8_000) < 1 / (1 + np.exp(-n * x))).astype(float)
    low, high = cal.bootstrap(np.arange(8_000) // 20, lambda w: cal.fit_power(x, behind, w), 1)
    assert low < n < high and high - low < 0.4 * max(n, 0.5)


def test_separated_data_runs_to_the_edge_and_stays_finite():
    x = np.array([-1.0, -0.5, 0.5, 1.0])
    assert cal.fit_power(x, np.array([0.0, 0, 1, 1])) == cal.EDGE
    assert cal.fit_power(x, np.array([1.0, 1, 0, 0])) == -cal.EDGE


def test_scores_and_reliability_by_hand():
    p, seen = np.array([0.9, 0.9, 0.1, 0.5]), np.array([1.0, 0, 0, 1])
    assert cal.scores(p, seen)["brier"] == pytest.approx((0.01 + 0.81 + 0.01 + 0.25) / 4)
    assert cal.scores(p, seen)["log_loss"] == pytest.approx(-np.log([0.9, 0.1, 0.9, 0.5]).mean(), abs=1e-6)
    assert cal.reliability(p, seen) == [
        {"n": 1, "predicted": 0.1, "observed": 0.0},
        {"n": 1, "predicted": 0.5, "observed": 1.0},
        {"n": 2, "predicted": 0.9, "observed": 0.5},
    ]


def delayed(delay: np.ndarray, step: int = 97 * MS) -> np.ndarray:
    rows = np.zeros(len(delay), EVENT)
    rows["ts_event"] = np.arange(len(delay)) * step
    rows["ts_recv"], rows["ref"] = rows["ts_event"] + delay, np.arange(len(delay))
    return rows


def test_a_lognormal_delay_is_found_with_its_interval_and_holds_outside():
    random = np.random.default_rng(6)
    delay = (np.exp(random.normal(np.log(30), 0.5, 20_000)) * MS).astype(np.int64)
    found = cal.feed_delay(session_of(delayed(delay)), 1)
    assert found["median_interval"][0] < 30 < found["median_interval"][1]
    assert found["sigma_interval"][0] < 0.5 < found["sigma_interval"][1]
    assert found["held_out_below"]["90%"] == pytest.approx(0.9, abs=0.01)


def test_a_delay_that_cannot_be_known_is_not_fitted_and_says_why():
    flat = np.full(1_000, 20 * MS)
    assert "stand in for them" in cal.feed_delay(session_of(delayed(flat * 0)), 1)["why_not"]
    whole = delayed(flat)
    whole["ts_recv"] = (whole["ts_event"] // S + 1) * S
    assert "whole seconds" in cal.feed_delay(session_of(whole), 1)["why_not"]
    mixed = np.where(np.arange(1_000) % 3 == 0, -5 * MS, flat)
    assert "33% of the messages" in cal.feed_delay(session_of(delayed(mixed)), 1)["why_not"]


def test_a_fitted_way_back_becomes_settings_that_a_run_takes_and_the_way_there_stays():
    given = [{"median_ms": 12.4, "sigma": 0.31}, {"why_not": "whole seconds"}]
    overrides = cal.latency_settings(given)
    if "response_sigma" not in Simulated.model_fields:  # this venue knows constant latencies only
        assert overrides == {}
    else:
        before, after = (load_settings().with_overrides(o).venue.simulated for o in ({}, overrides))
        assert (after.latency_model, after.response_latency_ms, str(after.response_sigma)) == ("lognormal", 12, "0.31")
        assert (after.entry_latency_ms, after.entry_sigma) == (before.entry_latency_ms, 0)
    assert cal.latency_settings(given[1:]) == cal.latency_settings(given[:1] * 2) == {}


# -- the real thing, and the file -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(real, tmp_path_factory):
    """(path, calibration) of the sports recording."""
    _, catalog, _ = real("tickscope")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYTRADERS_HOME", str(tmp_path_factory.mktemp("home")))
        yield cal.calibrate_recordings(["tickscope"], root=catalog.root)


def test_a_real_recording_gives_the_pinned_calibration(made):
    """Six in seven cancels are behind the order; prints come 21 ms after the loss they made."""
    _, found = made
    queue, fills = found["queue"], found["fills"]
    assert (queue["cancels"], queue["identified"], queue["train"], queue["held_out"]) == (50_784, 28_944, 4_670, 1_562)
    assert queue["power"] == pytest.approx(0.400362, abs=1e-5) and queue["chosen"] in ("power_prob:1", "log_prob")
    assert queue["share_behind"] == pytest.approx(0.868951, abs=1e-6)
    assert (fills["orders"], fills["held_out"], fills["known"]) == (2_677, 608, 605)
    assert fills["models"]["risk_averse"]["rate"] <= fills["rate_at_least"] <= fills["rate_at_most"]
    assert found["prints"] == {"prints": 482, "matched": 475, "after_their_loss": 463, "median_lag_ms": 21.0}
    assert found["latency"]["tickscope"].keys() == {"why_not"}
    assert any("entry latency" in sentence for sentence in found["not_identified"])


def test_held_out_the_chosen_model_beats_risk_averse_and_does_no_worse_than_a_coin_of_the_right_bias(made):
    scores = made[1]["queue"]["held_out_scores"]
    chosen = scores[made[1]["queue"]["chosen"]]
    assert chosen["log_loss"] < scores["risk_averse"]["log_loss"]
    assert chosen["brier"] < scores["risk_averse"]["brier"]


def test_every_setting_it_gives_is_one_a_run_takes(made):
    _, found = made
    for overrides in (found["settings"], *found["band"].values()):
        chosen = load_settings().with_overrides(overrides).venue.simulated
        assert chosen.queue_model == overrides["venue.simulated.queue_model"]
    rates = {k: found["fills"]["all"][_model(v)] for k, v in found["band"].items()}
    assert rates["low"] <= rates["central"] <= rates["high"]


def _model(overrides: dict) -> str:
    power = overrides.get("venue.simulated.queue_power")
    return overrides["venue.simulated.queue_model"] + (f":{power}" if power else "")


def test_the_same_recording_and_options_give_the_same_file_and_another_seed_another(real, monkeypatch, tmp_path):
    _, catalog, _ = real("tb-kc")
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    first, found = cal.calibrate_recordings(["tb-kc"], root=catalog.root)
    again, _ = cal.calibrate_recordings(["tb-kc"], root=catalog.root, save_as="again")
    assert again.read_bytes() == first.read_bytes()
    _, other = cal.calibrate_recordings(["tb-kc"], root=catalog.root, seed=2, save_as="other")
    assert other["queue"] != found["queue"]
    assert cal.load_calibration("other")[0] == json.loads((tmp_path / "calibrations" / "other.json").read_text())


def test_too_little_evidence_is_refused():
    with pytest.raises(DataError, match="cancels to fit on"):
        cal.calibrate([session_of(living_queue(1, False, 200))], orders=100, horizon_s=2)


def test_a_recording_of_full_books_is_refused_with_the_reason():
    session = session_of(living_queue(1, False, 2_000))
    books = session.events.copy()
    books["flags"][books["kind"] == EventKind.CHANGE] |= Flag.SNAPSHOT
    with pytest.raises(DataError, match="full books, and not one single change of depth") as refused:
        cal.calibrate([replace(session, events=books)], orders=100, horizon_s=2)
    assert "price_change" in str(refused.value) and "queue_model" in str(refused.value)


def test_a_calibration_that_is_not_there_or_not_one_is_refused(home):
    with pytest.raises(UsageError, match="there is no calibration 'x'"):
        cal.load_calibration("x")
    (home / "calibrations").mkdir(parents=True)
    (home / "calibrations" / "x.json").write_text('{"calibration": 0}')
    with pytest.raises(DamageError, match="not a calibration of this version"):
        cal.load_calibration("x")
    with pytest.raises(UsageError, match="cannot name"):
        cal.calibrate_recordings(["a"], save_as="../a")


def test_the_command_prints_one_object_or_a_table(real, monkeypatch, tmp_path):
    _, catalog, _ = real("tb-kc")
    monkeypatch.setenv("POLYTRADERS_HOME", str(tmp_path))
    (tmp_path / "catalog").symlink_to(catalog.root)
    options = ["calibrate", "tb-kc", "--orders", "4000", "--seed", "4", "--name", "sports"]
    told = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert told["path"].endswith("calibrations/sports.json") and told["options"]["orders"] == 4_000
    assert set(told["fills"]["models"]) == set(MODELS)
    shown = CliRunner().invoke(app, options).stdout
    assert "power n = " in shown and "entry latency" in shown and "--set venue.simulated.queue_model=" in shown
