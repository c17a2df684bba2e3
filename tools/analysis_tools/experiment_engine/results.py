"""What the runs of an arm ended with, and how far two groups of runs differ."""

import math
from pathlib import Path
from statistics import mean, stdev, variance
from typing import List, Optional, Sequence, Tuple

from scipy.stats import t as student

from .records import recorded
from .spec import Arm


def finals(arm: Arm, records: Path) -> List[float]:
    """The last value of the metric of each run of an arm that has logged one."""
    values = [one.run.metric()[2] for one in recorded(arm, records).values()]
    return [float(each[-1]) for each in values if len(each)]


def saved(arm: Arm, records: Path) -> Optional[float]:
    """The share of the samples that an arm did not train on, beside what it is compared with."""
    runs = [one.run for one in recorded(arm, records).values()]
    savings = [run.infobatch['totals']['saving'] for run in runs if run.infobatch]
    if len(savings) < len(runs) or arm.like is not None or arm.control_of is not None:
        full = recorded(arm.against, records).values() if arm.against is not None else []
        samples = [run.samples for run in runs if run.samples is not None]
        whole = [one.run.samples for one in full if one.run.samples is not None]
        if not samples or not whole:
            return None
        savings = [1 - each / mean(whole) for each in samples]
    return mean(savings)


def spread(values: Sequence[float]) -> str:
    """Write a value, or the mean of several with their standard deviation and number."""
    if len(values) == 1:
        return f'{values[0]:.2f}'
    return f'{mean(values):.2f} ± {stdev(values):.2f} (n={len(values)})'


def interval(values: Sequence[float], others: Sequence[float]) -> str:
    """The difference of two groups' means, with its interval where there is one."""
    found, half = difference(values, others)
    if half is None:
        return f'{found:+.2f} (too few runs)'
    return f'{found:+.2f} [{found - half:+.2f}, {found + half:+.2f}]'


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
    return found, float(student.ppf((1 + level) / 2, freedom)) * math.sqrt(sum(parts))
