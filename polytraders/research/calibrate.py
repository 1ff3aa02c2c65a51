"""Queue and latency parameters from a recording, with their errors, as settings a run can take.

What is fitted: who leaves when a level shrinks without a print. The power model says a cancel falls behind an order
with probability back^n / (back^n + ahead^n), so ln(odds) = n ln(back / ahead): n is the slope of a logistic
regression without intercept, fitted by maximum likelihood to the cancels that virtual orders saw (see `queue`). The
simulated venue takes whole n and other models; of those it has, the one with the least log-loss on the training part
is chosen.
Everything is fitted on the first `TRAIN` of each recording and judged on the rest, by log-loss, Brier score and a
reliability table; intervals are 95 %, from a bootstrap over blocks of one market and half a minute, since the cancels
of one block are not independent.

What a recording without own orders cannot tell stands in `not_identified`, in words: how long our requests take to the
venue, always; the way back as well, unless both clocks are in the recording and agree; whether others would have acted
differently had our order been there. Such parameters keep their settings.

The calibration is a JSON file in POLYTRADERS_HOME/calibrations: the same recordings, options and version give the same
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from polytraders.config import Simulated, home
from polytraders.data.catalog import Catalog
from polytraders.errors import DamageError, DataError, UsageError
from polytraders.research.queue import MODELS, Evidence, Virtual, behind_log, behind_power, finished, gather
from polytraders.rows import EventKind, Flag
from polytraders.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from polytraders.data.catalog import Session

VERSION = 1
TRAIN = 0.6
"""Part of each recording's rows that is fitted on; the later rest is held out."""
BLOCK = 30 * NS_PER_S
DRAWS = 400
"""Bootstrap draws."""
FEWEST = 200
"""Cancels with shares on both sides below which nothing is fitted, in the training part and in the rest."""
BINS = 10
CLIP = 1e-3
"""Predictions are kept this far from 0 and 1 for the log-loss."""
EDGE = 20.0
"""Largest |n| that is believed."""
SECTION = "venue.simulated"


def calibrations_root() -> Path:
    """Folder of the calibrations under POLYTRADERS_HOME."""
    return home() / "calibrations"


# -- the fits ------------------------------------------------------------------------------------------------


def fit_power(log_ratio: np.ndarray, behind: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Maximum likelihood n of P(behind) = 1 / (1 + exp(-n x)), x = ln(back / ahead).

    Newton's method; the likelihood is concave. Where the data is separated n runs to +-`EDGE` and stays there.
    """
    w = np.ones_like(log_ratio) if weight is None else weight
    n = 0.0
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(n * log_ratio, -500, 500)))
        slope = float(np.sum(w * (behind - p) * log_ratio))
        curve = float(np.sum(w * p * (1 - p) * log_ratio**2))
        step = slope / curve if curve > 1e-12 else np.sign(slope) * EDGE
        n = float(np.clip(n + np.clip(step, -2, 2), -EDGE, EDGE))
        if abs(step) < 1e-10:
            break
    return n


def fit_lognormal(delay: np.ndarray) -> tuple[float, float]:
    """(median, sigma) of positive delays by maximum likelihood; the unit of `delay`, and of ln."""
    logs = np.log(delay)
    return float(np.exp(logs.mean())), float(logs.std())


def bootstrap(block: np.ndarray, of: Callable[[np.ndarray], float], seed: int) -> list[float]:
    """95 % interval of a statistic over blocks drawn with replacement. of: weight of each row -> the statistic."""
    _, place = np.unique(block, return_inverse=True)
    random, n = np.random.default_rng(seed), place.max() + 1
    drawn = (np.bincount(random.integers(0, n, n), minlength=n)[place].astype(float) for _ in range(DRAWS))
    found = [of(weight) for weight in drawn if weight.any()]
    return [round(float(q), 6) for q in np.quantile(found, (0.025, 0.975))]


def scores(p: np.ndarray, behind: np.ndarray) -> dict[str, float]:
    """Log-loss and Brier score of predictions."""
    q = np.clip(p, CLIP, 1 - CLIP)
    loss = -np.mean(behind * np.log(q) + (1 - behind) * np.log(1 - q))
    return {"log_loss": round(float(loss), 6), "brier": round(float(np.mean((p - behind) ** 2)), 6)}


def reliability(p: np.ndarray, behind: np.ndarray) -> list[dict[str, float]]:
    """Of each tenth of the predictions' range: how many, predicted on average, observed."""
    at = np.minimum((p * BINS).astype(int), BINS - 1)
    table = []
    for which in range(BINS):
        inside = at == which
        if inside.any():
            said, seen = float(p[inside].mean()), float(behind[inside].mean())
            table.append({"n": int(inside.sum()), "predicted": round(said, 4), "observed": round(seen, 4)})
    return table


def predicted(model: str, ahead: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """P(a cancel falls behind) by a model of `queue.MODELS`; micro-shares."""
    if model == "risk_averse":
        return np.ones(len(ahead))
    pairs = zip(ahead.tolist(), behind.tolist(), strict=True)
    if model == "log_prob":
        return np.array([behind_log(a, b) for a, b in pairs])
    n = float(model.rpartition(":")[2])
    return np.array([behind_power(a, b, n) for a, b in pairs])


def settings_of(model: str) -> dict[str, str]:
    """Overrides that choose a queue model."""
    name, _, power = model.partition(":")
    return {f"{SECTION}.queue_model": name} | ({f"{SECTION}.queue_power": power} if power else {})


def settable() -> list[str]:
    """Of `queue.MODELS` those that the simulated venue has."""
    from typing import get_args

    known = get_args(Simulated.model_fields["queue_model"].annotation)
    return [model for model in MODELS if model.partition(":")[0] in known]


# -- a calibration -----------------------------------------------------------------------------------------------


def calibrate(
    sessions: Sequence[Session], *, orders: int = 3_000, horizon_s: int = 60, seed: int = 1
) -> dict[str, Any]:
    """Fit and judge; see the module. orders: virtual orders for each recording. horizon_s: how long each stands.

    Raises DataError when a recording holds full books only, or all of them too few cancels that can be told apart.
    """
    for session in sessions:
        _holds_single_changes(session)
    asked = {"orders": orders, "horizon": horizon_s * NS_PER_S, "seed": seed, "block": BLOCK}
    found = [gather(session.events, **asked) for session in sessions]
    cuts = [float(np.quantile(session.events["ts_event"], TRAIN)) for session in sessions]
    queue, best = _queue(found, cuts, sessions, seed)
    fills = _fills(found, cuts, seed)
    plain = [gather(session.events, match=False, **asked) for session in sessions]
    fills["wrong_in_recorded_order"] = _wrong_in_order(found, plain, cuts)
    highest = max(settable(), key=lambda model: (fills["all"][model], model == best))
    latency = {session.name: feed_delay(session, seed) for session in sessions}
    back = latency_settings(latency.values())
    return {
        "calibration": VERSION,
        "recordings": [session.pin for session in sessions],
        "options": {"orders": orders, "horizon_s": horizon_s, "seed": seed, "train": TRAIN, "draws": DRAWS},
        "queue": queue,
        "fills": fills,
        "trade_share": _trade_share(found, seed),
        "prints": _prints(found),
        "latency": latency,
        "not_identified": _not_identified(latency, sessions),
        "settings": settings_of(best) | back,
        "band": {
            "low": settings_of("risk_averse") | back,
            "central": settings_of(best) | back,
            "high": settings_of(highest) | back,
        },
    }


def _holds_single_changes(session: Session) -> None:
    """Raises DataError for a recording of full books: the difference of two of them is any number of orders at once."""
    events = session.events
    if ((events["kind"] == EventKind.CHANGE) & ((events["flags"] & Flag.SNAPSHOT) == 0)).any():
        return
    books = len(np.unique(events["ref"][events["kind"] <= EventKind.CHANGE]))
    raise DataError(
        f"{books:,} full books, and not one single change of depth",
        where=session.name,
        rule="who leaves a queue is told by cancels, and the difference of two books tells none apart from the others",
        mend="calibrate on a recording with price_change messages (`polytraders record` makes one); on this the queue "
        "stays an assumption: run it under each queue_model and see what depends on it",
    )


def latency_settings(latency: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Overrides of what `feed_delay` could fit: the way back. The way there stays as it is set, without a spread.

    Nothing when the recordings tell of none or of several, or where the simulated venue has no such model.
    """
    told = [entry for entry in latency if "median_ms" in entry]
    if len(told) != 1 or "response_sigma" not in Simulated.model_fields:
        return {}
    return {
        f"{SECTION}.latency_model": "lognormal",
        f"{SECTION}.response_latency_ms": str(max(round(told[0]["median_ms"]), 1)),
        f"{SECTION}.response_sigma": f"{told[0]['sigma']:.6f}",
        f"{SECTION}.entry_sigma": "0",
    }


def _table(found: Sequence[Evidence], cuts: Sequence[float], held_out: bool) -> np.ndarray:
    """float64[n, 4]: block, ahead, behind, was behind; held out: only of orders placed after the cut."""
    parts = []
    for at, (evidence, cut) in enumerate(zip(found, cuts, strict=True)):
        placed = {order.number: order.ts for order in evidence.orders}
        for cancel in evidence.cancels:
            if (placed[cancel.order] >= cut) if held_out else (cancel.ts < cut):
                parts.append((at * 2.0**50 + cancel.block, cancel.ahead, cancel.behind, cancel.was_behind))
    return np.array(parts, float).reshape(-1, 4)


def _queue(
    found: Sequence[Evidence], cuts: Sequence[float], sessions: Sequence[Session], seed: int
) -> tuple[dict[str, Any], str]:
    train, rest = _table(found, cuts, False), _table(found, cuts, True)
    if min(len(train), len(rest)) < FEWEST:
        raise DataError(
            f"{len(train)} cancels to fit on and {len(rest)} to judge by that can be told from others",
            where=", ".join(session.name for session in sessions),
            rule=f"at least {FEWEST} of each",
            mend="take recordings with price_change messages, longer ones, or more --orders",
        )
    x, y = np.log(train[:, 2] / train[:, 1]), train[:, 3]
    n = fit_power(x, y)
    share = float(y.mean())
    usable = [model for model in settable() if model != "risk_averse"]
    losses = {model: scores(predicted(model, train[:, 1], train[:, 2]), y)["log_loss"] for model in usable}
    best = min(usable, key=lambda model: losses[model])
    judged = {model: predicted(model, rest[:, 1], rest[:, 2]) for model in MODELS}
    judged["power_fitted"] = 1 / (1 + np.exp(-np.clip(n * np.log(rest[:, 2] / rest[:, 1]), -500, 500)))
    judged["constant_share"] = np.full(len(rest), share)
    return {
        "cancels": sum(evidence.cancelled for evidence in found),
        "identified": sum(evidence.identified for evidence in found),
        "train": len(train),
        "held_out": len(rest),
        "blocks": len(np.unique(train[:, 0])),
        "power": round(n, 6),
        "power_interval": bootstrap(train[:, 0], lambda w: fit_power(x, y, w), seed),
        "share_behind": round(share, 6),
        "share_behind_interval": bootstrap(train[:, 0], lambda w: float(np.average(y, weights=w)), seed),
        "chosen": best,
        "held_out_scores": {model: scores(p, rest[:, 3]) for model, p in judged.items()},
        "reliability": reliability(judged[best], rest[:, 3]),
        "reliability_fitted": reliability(judged["power_fitted"], rest[:, 3]),
    }, best


def _fills(found: Sequence[Evidence], cuts: Sequence[float], seed: int) -> dict[str, Any]:
    """How often virtual orders filled: what the recording says, and what each model would have."""
    orders = [(at, order) for at, evidence in enumerate(found) for order in finished(evidence)]
    later = [(at, order) for at, order in orders if order.ts >= cuts[at]]
    if not later:
        raise DataError(
            "no virtual order of the held-out part was seen to its end",
            rule="orders stand for --horizon and are not cut off by a gap",
            mend="a shorter --horizon, or a longer recording",
        )
    known = [(at, order) for at, order in later if order.known]
    blocks = np.array([_block(at, order) for at, order in known])
    table = {}
    for model in MODELS:
        wrong = np.array([order.filled[model] != order.least for _, order in known], float)
        entry: dict[str, Any] = {"rate": _rate(order.filled[model] for _, order in later)}
        if len(known):
            entry["wrong"] = round(float(wrong.mean()), 6)
            entry["wrong_interval"] = bootstrap(blocks, lambda w, e=wrong: float(np.average(e, weights=w)), seed)
        table[model] = entry
    return {
        "orders": len(orders),
        "held_out": len(later),
        "known": len(known),
        "rate_at_least": _rate(order.least for _, order in later),
        "rate_at_most": _rate(order.most for _, order in later),
        "models": table,
        "all": {model: _rate(order.filled[model] for _, order in orders) for model in MODELS},
    }


def _wrong_in_order(found: Sequence[Evidence], plain: Sequence[Evidence], cuts: Sequence[float]) -> dict[str, float]:
    """Share of the known orders held out that each model misjudges when messages are taken as they come."""
    pairs = [
        (order, other)
        for evidence, same, cut in zip(found, plain, cuts, strict=True)
        for order, other in zip(finished(evidence), finished(same), strict=True)
        if order.known and order.ts >= cut
    ]
    return {model: _rate(other.filled[model] != order.least for order, other in pairs) for model in MODELS}


def _block(at: int, order: Virtual) -> int:
    return (at * 4096 + order.market) * 2**32 + order.ts // BLOCK % 2**32


def _rate(flags: Any) -> float:
    return round(float(np.mean([float(flag) for flag in flags])), 6)


def _trade_share(found: Sequence[Evidence], seed: int) -> dict[str, Any]:
    """Of the depth lost at the touch, the part that prints explain: for recordings that have no prints of their own."""
    rows = np.concatenate([np.c_[e.lost[:, :1] + at * 2**50, e.lost[:, 1:]] for at, e in enumerate(found)])
    if not rows[:, 2].sum():
        return {"value": None, "why": "no print explains a loss of depth"}
    lost, eaten = rows[:, 1].astype(float), rows[:, 2].astype(float)
    return {
        "value": round(float(eaten.sum() / lost.sum()), 6),
        "interval": bootstrap(rows[:, 0], lambda w: float((w * eaten).sum() / max((w * lost).sum(), 1.0)), seed),
        "why": "of depth lost at the touch; for recordings without prints: where there are prints none is left out",
    }


def _prints(found: Sequence[Evidence]) -> dict[str, Any]:
    prints, matched, after = (sum(evidence.prints[k] for evidence in found) for k in range(3))
    lags = np.concatenate([evidence.lags for evidence in found])
    told = {"prints": prints, "matched": matched, "after_their_loss": after}
    return told | ({"median_lag_ms": round(float(np.median(lags)) / NS_PER_MS, 3)} if len(lags) else {})


# -- latency -------------------------------------------------------------------------------------------------------


def feed_delay(session: Session, seed: int) -> dict[str, Any]:
    """From the venue's time to the receive time of the market messages: the way back of an answer, near enough.

    Fitted only when both clocks are in the recording, finer than seconds, and hardly ever the wrong way round.
    """
    last = session.events[np.append(session.events["ref"][1:] != session.events["ref"][:-1], True)]
    delay = last["ts_recv"] - last["ts_event"]
    if not len(delay) or np.mean(delay == 0) > 0.5:
        return {"why_not": "no receive times: the venue's stand in for them"}
    if not np.any(last["ts_recv"] % NS_PER_S):
        return {"why_not": "receive times are whole seconds"}
    early = float(np.mean(delay <= 0))
    if early > 0.01:
        return {
            "why_not": f"{early:.0%} of the messages were received before they were sent: the clocks differ, by what "
            "is not known",
            "spread_ms": round(float(np.subtract(*np.quantile(delay, (0.9, 0.1)))) / NS_PER_MS, 3),
        }
    cut = np.quantile(last["ts_event"], TRAIN)
    ok = delay > 0
    train, rest = delay[ok & (last["ts_event"] < cut)] / NS_PER_MS, delay[ok & (last["ts_event"] >= cut)] / NS_PER_MS
    median, sigma = fit_lognormal(train)
    block = last["ts_event"][ok & (last["ts_event"] < cut)] // BLOCK
    logs = np.log(train)

    def spread(w: np.ndarray) -> float:
        return float(np.sqrt(np.average((logs - np.average(logs, weights=w)) ** 2, weights=w)))

    below = {
        q: float(np.mean(rest <= median * np.exp(sigma * z))) for q, z in ((50, 0.0), (90, 1.28155), (99, 2.32635))
    }
    return {
        "messages": len(delay),
        "median_ms": round(median, 6),
        "median_interval": bootstrap(block, lambda w: float(np.exp(np.average(logs, weights=w))), seed),
        "sigma": round(sigma, 6),
        "sigma_interval": bootstrap(block, spread, seed),
        "held_out_below": {f"{q}%": round(share, 4) for q, share in below.items()},
    }


def _not_identified(latency: dict[str, dict[str, Any]], sessions: Sequence[Session]) -> list[str]:
    told = ["entry latency: no order of ours is in a recording; it stays as set"]
    told += [
        f"response latency from {name}: {entry['why_not']}" for name, entry in latency.items() if "why_not" in entry
    ]
    told.append("the venue's own matching time: it is in neither clock")
    told.append("what others would have done had the virtual orders been there")
    for session in sessions:
        if any("inferred" in note and "trades" in note for note in session.notes):
            told.append(f"fills on {session.name}: its trades are inferred from books, so are the prints that fill")
    return told


# -- the file ---------------------------------------------------------------------------------------------------------


def calibrate_recordings(
    names: Sequence[str], *, save_as: str | None = None, root: Path | None = None, **options: Any
) -> tuple[Path, dict[str, Any]]:
    """Calibrate on recordings of the catalog and write the file. Returns (path, calibration)."""
    if not names:
        raise UsageError("no recording is named", mend="`polytraders data ls` lists them")
    name = save_as or "-".join(names)
    if not name or name.startswith(".") or "/" in name:
        raise UsageError(f"{name!r} cannot name a calibration", mend="take letters, digits, - and _")
    catalog = Catalog(root)
    result = calibrate([catalog.load(which) for which in names], **options)
    path = calibrations_root() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    part.replace(path)
    return path, result


def load_calibration(name: str) -> tuple[dict[str, Any], str]:
    """(calibration, SHA-256) by name or path. Raises UsageError when there is none, DamageError when it is none."""
    path = Path(name) if name.endswith(".json") else calibrations_root() / f"{name}.json"
    if not path.is_file():
        there = sorted(p.stem for p in calibrations_root().glob("*.json"))
        raise UsageError(
            f"there is no calibration {name!r}",
            where=str(path),
            mend=f"there are: {', '.join(there)}" if there else "make one: polytraders calibrate RECORDING",
        )
    data = path.read_bytes()
    try:
        found = orjson.loads(data)
        if found["calibration"] != VERSION or set(found["band"]) != {"low", "central", "high"}:
            raise ValueError("not a calibration of this version")
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(f"cannot be read: {error}", where=str(path), mend="calibrate again") from None
    return found, hashlib.sha256(data).hexdigest()
