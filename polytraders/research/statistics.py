"""How much of a good backtest is luck: statistics of Sharpe ratios when many were tried.

All Sharpe ratios here are per observation, not annualised; returns are floats, one per interval.
Sources:

[PSR]  Bailey, López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012
[DSR]  Bailey, López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014
[PBO]  Bailey, Borwein, López de Prado, Zhu, "The Probability of Backtest Overfitting", Journal of
       Computational Finance 20(4), 2017
[SB]   Politis, Romano, "The Stationary Bootstrap", Journal of the American Statistical Association 89, 1994
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, e, sqrt
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()
EULER = 0.5772156649015329
"""Euler–Mascheroni constant."""
_CHUNK = 512
"""Combinations of blocks that are worked on at once: bounds the memory, not the result."""


@dataclass(frozen=True)
class Moments:
    """What the statistics need to know of a series of returns."""

    n: int  # observations
    sharpe: float  # mean / standard deviation (n - 1), per observation; 0 for a constant series
    skew: float  # third standardised moment, 0 for a normal distribution
    kurtosis: float  # fourth standardised moment, 3 for a normal distribution


def sharpe(returns: np.ndarray) -> np.ndarray:
    """Sharpe ratio per observation of each column, returns[n] or [n, k]; 0 where nothing varies."""
    returns = np.asarray(returns, float)
    deviation = returns.std(axis=0, ddof=1)
    mean = returns.mean(axis=0)
    varies = deviation > np.abs(returns).max(axis=0, initial=0.0) * 1e-12
    return np.where(varies, mean / np.where(varies, deviation, 1.0), 0.0)


def moments(returns: np.ndarray) -> Moments:
    """Moments of returns[n], n >= 2. A constant series counts as normal with a Sharpe ratio of 0."""
    returns = np.asarray(returns, float)
    if len(returns) < 2:
        raise ValueError("at least two returns")
    ratio = float(sharpe(returns))
    centred = returns - returns.mean()
    second = float((centred**2).mean())
    if ratio == 0.0 and second <= (np.abs(returns).max() * 1e-12) ** 2:
        return Moments(len(returns), 0.0, 0.0, 3.0)
    return Moments(
        len(returns), ratio, float((centred**3).mean()) / second**1.5, float((centred**4).mean()) / second**2
    )


def sharpe_variance(m: Moments) -> float:
    """(n - 1) times the variance of the estimated Sharpe ratio: 1 - skew SR + (kurtosis - 1) / 4 SR² [PSR eq. 8]."""
    return max(1.0 - m.skew * m.sharpe + (m.kurtosis - 1.0) / 4.0 * m.sharpe**2, 1e-12)


def probabilistic_sharpe(m: Moments, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above `benchmark` [PSR eq. 9].

    PSR = Φ((SR - SR*) √(n - 1) / √(1 - skew SR + (kurtosis - 1) / 4 SR²))
    """
    return _NORMAL.cdf((m.sharpe - benchmark) * sqrt(m.n - 1) / sqrt(sharpe_variance(m)))


def expected_best(variance: float, trials: float) -> float:
    """Sharpe ratio that the best of `trials` without any skill is expected to show [DSR eq. 1].

    SR0 = √V ((1 - γ) Φ⁻¹(1 - 1/N) + γ Φ⁻¹(1 - 1/(N e))), V the variance of the trials' Sharpe ratios. 0 for one trial.
    """
    if trials <= 1:
        return 0.0
    inverse = _NORMAL.inv_cdf
    return sqrt(variance) * ((1 - EULER) * inverse(1 - 1 / trials) + EULER * inverse(1 - 1 / (trials * e)))


def deflated_sharpe(m: Moments, variance: float, trials: float) -> float:
    """Probability that the best of `trials` has a true Sharpe ratio above 0: PSR(`expected_best`) [DSR eq. 2]."""
    return probabilistic_sharpe(m, expected_best(variance, trials))


def minimum_track_record(m: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Observations needed before SR > benchmark can be said with `confidence`; inf when SR <= benchmark [PSR eq. 11].

    MinTRL = 1 + (1 - skew SR + (kurtosis - 1) / 4 SR²) (Φ⁻¹(confidence) / (SR - SR*))²
    """
    if m.sharpe <= benchmark:
        return float("inf")
    return 1.0 + sharpe_variance(m) * (_NORMAL.inv_cdf(confidence) / (m.sharpe - benchmark)) ** 2


def effective_trials(returns: np.ndarray) -> float:
    """How many independent trials the columns of returns[n, k] amount to: ρ + (1 - ρ) k [DSR appendix 3].

    ρ is the mean correlation of two columns (0 when negative). Columns that never vary, trials that did
    nothing, count as one together.
    """
    returns = np.asarray(returns, float)
    centred = returns - returns.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    moving = length > np.abs(returns).max(axis=0, initial=0.0) * 1e-9
    k, idle = int(moving.sum()), int(not moving.all())
    if k <= 1:
        return float(k + idle)
    unit = centred[:, moving] / length[moving]
    # The sum over all pairs is the squared length of the sum of the unit columns: no k x k matrix is needed.
    rho = (float((unit.sum(axis=1) ** 2).sum()) - k) / (k * (k - 1))
    rho = min(max(rho, 0.0), 1.0)
    return rho + (1.0 - rho) * k + idle


@dataclass(frozen=True)
class Overfitting:
    """What combinatorially symmetric cross-validation says of a choice.

    pbo: share of splits in which the best of one half is below the median of the other.
    loss: share of splits in which the best of one half loses money in the other.
    slope: of the Sharpe ratio in the other half on that in the first; below 0, the better it looked
    the worse it went on. splits: how many there were. logits: float64[splits], below 0 = overfitted.
    """

    pbo: float
    loss: float
    slope: float
    splits: int
    logits: np.ndarray


def overfitting(returns: np.ndarray, blocks: int = 16) -> Overfitting:
    """Probability of backtest overfitting by CSCV [PBO § 2]: returns[n, k], one column a trial, k >= 2.

    The rows are cut into `blocks` (even) equal blocks; each half of the blocks is once the sample in
    which the best Sharpe ratio is chosen, the other half where its rank is taken:
    ω = rank / (k + 1), λ = ln(ω / (1 - ω)), PBO = share of λ <= 0. Rows at the end that fill no block are left out.
    """
    returns = np.asarray(returns, float)
    n, k = returns.shape
    if k < 2 or blocks < 2 or blocks % 2 or n < 2 * blocks:
        raise ValueError("needs two trials, an even number of blocks and two rows for each of them")
    size = n // blocks
    parts = returns[: size * blocks].reshape(blocks, size, k)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    every = np.zeros((comb(blocks, blocks // 2), blocks))
    for row, chosen in enumerate(combinations(range(blocks), blocks // 2)):
        every[row, list(chosen)] = 1.0
    half = size * blocks // 2
    logits, inside, outside, lost = [], [], [], []
    for at in range(0, len(every), _CHUNK):
        here = every[at : at + _CHUNK]
        a, b = _half_sharpe(here, sums, squares, half), _half_sharpe(1.0 - here, sums, squares, half)
        best = a.argmax(axis=1)
        row = np.arange(len(here))
        chosen = b[row, best][:, None]
        rank = (b < chosen).sum(axis=1) + 0.5 * ((b == chosen).sum(axis=1) + 1)  # ties share their places
        omega = rank / (k + 1)
        logits.append(np.log(omega / (1 - omega)))
        inside.append(a[row, best])
        outside.append(chosen[:, 0])
        lost.append(((1.0 - here) @ sums)[row, best] < 0)
    x, y = np.concatenate(inside), np.concatenate(outside)
    spread = float(((x - x.mean()) ** 2).sum())
    logit = np.concatenate(logits)
    return Overfitting(
        pbo=float((logit <= 1e-12).mean()),
        loss=float(np.concatenate(lost).mean()),
        slope=float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0,
        splits=len(logit),
        logits=logit,
    )


def _half_sharpe(choice: np.ndarray, sums: np.ndarray, squares: np.ndarray, n: int) -> np.ndarray:
    """Sharpe ratios [splits, k] over the blocks that `choice` marks with 1, n rows in all."""
    mean = choice @ sums / n
    second = choice @ squares / n
    variance = (second - mean**2) * n / (n - 1)
    varies = variance > second * 1e-12
    return np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def bootstrap(
    returns: np.ndarray,
    statistic: Callable[[np.ndarray], float] = lambda r: float(sharpe(r)),
    *,
    seed: int,
    draws: int = 1_000,
    block: float | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Confidence interval of a statistic of returns[n] by the stationary bootstrap [SB]: (low, high).

    Each draw is a series of n rows made of blocks that begin anywhere and have geometric lengths with
    mean `block` (default n^(1/3)), so that what hangs together in time stays together.
    """
    returns = np.asarray(returns, float)
    n = len(returns)
    mean_block = block or max(n ** (1 / 3), 1.0)
    rng = np.random.Generator(np.random.PCG64(seed))
    found = np.empty(draws)
    for draw in range(draws):
        fresh = rng.random(n) < 1.0 / mean_block
        fresh[0] = True
        start = np.flatnonzero(fresh)
        first = rng.integers(0, n, len(start))
        which = np.cumsum(fresh) - 1
        found[draw] = statistic(returns[(first[which] + np.arange(n) - start[which]) % n])
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return float(low), float(high)
