"""Summaries of episodes, shared by the evaluator, the learner and `graspfleet evaluate`."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.fields import Episode

Z_95 = 1.959964
"""Quantile of the normal distribution that leaves 2.5 % on each side."""


Summary = dict[str, float | int | None]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a success rate.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n),   p = successes / n

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if trials == 0:
        return 0.0, 1.0
    rate, square = successes / trials, Z_95**2
    middle = rate + square / (2 * trials)
    reach = Z_95 * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials**2))
    scale = 1 + square / trials
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def mean_low(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the lower bound of a mean's 95 % confidence interval; -infinity for fewer than two values.

    mean − t s / √n,   s² = Σ (x − mean)² / ν,   t ≈ z + (z³ + z) / 4ν + (5z⁵ + 16z³ + 3z) / 96ν²,   ν = n − 1

    Source: Abramowitz and Stegun 1964, 26.7.5, quantile of Student's distribution.
    """
    free = len(values) - 1
    if free < 1:
        return -math.inf
    z = Z_95
    quantile = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return float(np.mean(values) - quantile * np.std(values, ddof=1) / math.sqrt(free + 1))


def summarize(episodes: Sequence[Episode], broken: int = 0, cut: int = 0) -> Summary:
    """Return success rate with interval (None if the environment reports no success), return and counts.

    Args:
        episodes: complete ones; all means are over these, or None if there are none.
        broken: number of broken episodes, which have neither a return nor a success.
        cut: number of `episodes` cut at the evaluation's step limit.
    """
    returns = np.array([episode[0] for episode in episodes])
    successes = [episode[2] for episode in episodes if episode[2] is not None]
    low, high = wilson_interval(sum(successes), len(successes))
    known = bool(successes)
    return {
        "success_rate": sum(successes) / len(successes) if known else None,
        "success_low": low if known else None,
        "success_high": high if known else None,
        "mean_return": float(returns.mean()) if episodes else None,
        "std_return": float(returns.std()) if episodes else None,
        "episodes": len(episodes),
        "broken_episodes": broken,
        "cut_episodes": cut,
    }


def describe(summary: Summary) -> str:
    """Return a summary as one line for the user."""
    parts = []
    if summary["episodes"]:
        line = (
            f"{summary['episodes']} episodes:"
            f" return {summary['mean_return']:.2f} ± {summary['std_return']:.2f}"
        )
        if summary["success_rate"] is not None:
            line += (
                f", success {summary['success_rate']:.1%}"
                f" (95 % interval {summary['success_low']:.1%} to {summary['success_high']:.1%})"
            )
        parts.append(line)
    if broken := summary.get("broken_episodes"):
        parts.append(f"{broken} of {broken + (summary['episodes'] or 0):g} episodes broke")
    if cut := summary.get("cut_episodes"):
        hint = "--max-episode-steps sets the length of an episode"
        parts.append(f"{cut} of {summary['episodes']} episodes did not end and were cut ({hint})")
    return "; ".join(parts) or "no episodes"
