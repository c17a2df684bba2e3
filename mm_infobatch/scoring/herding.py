"""Herding: the samples whose mean follows the mean of all features."""

from typing import Optional

import numpy as np

from .greedy import largest, order_scores
from .rows import by_rows


def herding(
    features: np.ndarray,
    labels: Optional[np.ndarray],
    count: Optional[int] = None,
    farthest: bool = False,
    normalize: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """The order of herding, per class as it is commonly used; the highest are kept.

    Welling 2009, Herding Dynamical Weights to Learn: at t = 1, 2, ... take the sample x that is
    nearest to t * mean - sum of those taken, without replacement. O(k n D) of n samples.

    Differences from DeepCore:
    1. Its code takes the farthest sample (``farthest=True``), so its subsets have a mean that is
       far from that of all; published tables may carry that.

    Welling's own rule takes the largest inner product with the running target, which is the same
    where all features have one norm (``normalize=True``), and favours large norms otherwise.

    Args:
        features (np.ndarray): H, float32 [N, D].
        labels (np.ndarray, optional): int64 [N]; None for over all.
        count (int, optional): How many. Defaults to None: all.
        farthest (bool): Whether to take the farthest sample. Defaults to False.
        normalize (bool): Whether to divide each sample's features by their norm. Defaults to
            False.
        seed (int): The seed that breaks ties. Defaults to 0.

    Returns:
        np.ndarray: float32 [N], see :func:`.greedy.order_scores`.
    """
    generator = np.random.default_rng(seed)

    def choose(rows: np.ndarray, number: int) -> np.ndarray:
        points = features[rows]  # a copy
        if normalize:
            lengths = by_rows(lambda each: np.linalg.norm(each, axis=1), points)
            points /= lengths[:, None].clip(1e-12)
        # Around the mean, so that t * mean - sum becomes minus the sum; all distances stay.
        points -= points.mean(0, dtype=np.float64).astype(np.float32)
        squares = by_rows(lambda each: np.square(each, dtype=np.float64).sum(1), points)
        taken = np.zeros(len(rows), bool)
        chosen, total = np.empty(number, np.int64), np.zeros(points.shape[1])
        for step in range(number):
            distances = squares + 2 * (points @ total.astype(np.float32))
            wanted = distances if farthest else -distances
            wanted[taken] = -np.inf
            chosen[step] = largest(wanted, generator)
            taken[chosen[step]] = True
            total += points[chosen[step]]
        return chosen

    return order_scores(len(features), labels, count, choose)
