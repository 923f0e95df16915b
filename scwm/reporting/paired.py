"""Student's paired test: p-values, intervals, Holm's correction and the number of seeds to plan.

The test assumes that the differences between seeds are about normal. A mean over all queries of a
run makes this plausible.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Two-sided significance level; 1 − LEVEL is the coverage of an interval."""
ROUNDING = 1e-9
"""Differences of scores up to this are equal: scores are stored with 6 decimals."""
POWER = 0.8
"""Chance to decide an effect that is there, for the number of seeds to plan."""


def half_width(effects: Sequence[float], level: float = LEVEL) -> float:
    """Compute half the width of the interval of `t_interval`."""
    return float(stats.t.isf(level / 2, len(effects) - 1) * stats.sem(effects))


def t_interval(effects: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Compute Student's interval of the mean of n >= 2 paired differences."""
    mean, half = float(np.mean(effects)), half_width(effects, level)
    return mean - half, mean + half


def equal_by_chance(effects: Sequence[float]) -> bool:
    """Whether two differences are equal and not 0, as shares of few queries often are."""
    return len(effects) == 2 and np.ptp(effects) <= ROUNDING < abs(float(np.mean(effects)))


def t_test(effects: Sequence[float], expected: float) -> float:
    """Compute the two-sided p-value of n >= 2 paired differences whose mean should be `expected`.

    It is at most `level` exactly if `expected` is not inside `t_interval(effects, level)`. Equal
    differences have an interval of one point and a p-value of 0, or 1 if they are
    `equal_by_chance`.
    """
    if np.ptp(effects) <= ROUNDING:
        return 1.0 if equal_by_chance(effects) else 0.0
    t = (np.mean(effects) - expected) / stats.sem(effects)
    return float(2 * stats.t.sf(abs(t), len(effects) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of m tests by Holm's step-down.

    The smallest is multiplied by m, the next by m − 1, and so on; none becomes smaller than the one
    before it. The chance that any true hypothesis gets a value of at most `level` is at most
    `level` (Holm, 1979).
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for step, i in enumerate(order):
        highest = max(highest, (len(p_values) - step) * p_values[i])
        corrected[i] = min(highest, 1.0)
    return corrected


def seeds_needed(deviation: float, effect: float) -> int:
    """Compute the number of paired seeds that decide an effect: two-sided 5 %, power 80 %.

    Args:
        deviation: standard deviation of the paired differences, in the unit of `effect`.
    """
    quantiles = stats.norm.isf(LEVEL / 2) + stats.norm.ppf(POWER)
    n = max(2, int((quantiles * deviation / effect) ** 2))  # Student's test needs a few more
    while deviation > 0 and _power(n, effect / deviation) < POWER:
        n += 1
    return n


def _power(n: int, effect: float) -> float:
    """Compute the power of the paired test for an effect in standard deviations."""
    critical, shift = stats.t.isf(LEVEL / 2, n - 1), effect * n**0.5
    above, below = stats.nct.sf(critical, n - 1, shift), stats.nct.cdf(-critical, n - 1, shift)
    return float(above + below)
