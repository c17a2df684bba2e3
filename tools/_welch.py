"""Welch's interval for the difference of two means, without SciPy."""

import math
from statistics import mean, variance
from typing import Optional, Sequence, Tuple


def difference(
    group: Sequence[float], other: Sequence[float], level: float = 0.95
) -> Tuple[float, Optional[float]]:
    """The difference of the means, and half the width of its confidence interval.

    The interval is that of Welch's t test, for groups with variances of their own, which are
    independent (runs that share a seed share no more than the initial weights here).

    Args:
        group (Sequence[float]): Values of one group.
        other (Sequence[float]): Values of the group that is subtracted.
        level (float): Of confidence. Defaults to 0.95.

    Returns:
        tuple[float, float | None]: None where a group has fewer than two values.
    """
    found = mean(group) - mean(other)
    if min(len(group), len(other)) < 2:
        return found, None
    parts = [variance(each) / len(each) for each in (group, other)]
    if not sum(parts):
        return found, 0.0
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (group, other))
    )
    return found, t_quantile((1 + level) / 2, freedom) * math.sqrt(sum(parts))


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution, for a probability in [0.5, 1)."""
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def t_cdf(value: float, freedom: float) -> float:
    """P(T <= value) for Student's t, value >= 0."""
    return 1 - 0.5 * _beta(freedom / (freedom + value * value), freedom / 2, 0.5)


def _beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (Lentz's method).

    See https://dlmf.nist.gov/8.17#v.
    """
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = (
        math.exp(
            math.lgamma(a + b)
            - math.lgamma(a)
            - math.lgamma(b)
            + a * math.log(x)
            + b * math.log1p(-x)
        )
        / a
    )
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    result = d
    for m in range(1, 300):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + numerator * d) or tiny)
            c = (1 + numerator / c) or tiny
            result *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * result
