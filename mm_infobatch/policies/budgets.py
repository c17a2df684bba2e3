"""Turns a share of the samples into a number of samples, over all or for each class."""

import math

import numpy as np


def snap_to_whole(number: float) -> float:
    """Round a number that differs from a whole number only by the rounding of floats.

    0.29 * 100 is 28.999999999999996, and 0.07 * 100 is 7.000000000000001.
    """
    whole = round(number)
    return whole if abs(number - whole) < 1e-6 else number


def count_in_share(num_samples: int, share: float) -> int:
    """The number of samples in a share of them, rounded up, but see :func:`snap_to_whole`:
    51/50,000 of 50,000 samples are 51.

    Args:
        num_samples (int): N, at least 0.
        share (float): In (0, 1].

    Returns:
        int: From 1 to N; 0 if N is 0.
    """
    return min(num_samples, max(1, math.ceil(snap_to_whole(num_samples * share))))


def count_kept(num_samples: int, prune_ratio: float) -> int:
    """How many samples are kept if floor(N * ``prune_ratio``) of them are skipped.

    Args:
        num_samples (int): N, at least 0.
        prune_ratio (float): In [0, 1).

    Returns:
        int: From 1 to N; 0 if N is 0.
    """
    return count_in_share(num_samples, 1 - prune_ratio)


def divide_among_classes(sizes: np.ndarray, count: int) -> np.ndarray:
    """Divide a number of samples among classes, in proportion to their sizes.

    By largest remainders: each class gets its share rounded down, and those with the largest
    remainders one more; of equal remainders the lower class goes first.

    Args:
        sizes (np.ndarray): The number of samples in each class, int64 [C].
        count (int): How many samples, from 0 to the sum of the sizes.

    Returns:
        np.ndarray: int64 [C], at most the sizes; the sum is ``count``.
    """
    exact = sizes.astype(np.int64) * count
    total = int(sizes.sum())
    counts, remainders = exact // total, exact % total
    order = np.argsort(-remainders, kind='stable')
    counts[order[: count - int(counts.sum())]] += 1
    return counts
