"""K-Center Greedy: the samples that leave no other one far away."""

from typing import Optional

import numpy as np

from .greedy import farthest_first, order_scores


def k_center(
    features: np.ndarray,
    labels: Optional[np.ndarray] = None,
    count: Optional[int] = None,
    seed: int = 0,
) -> np.ndarray:
    """The order of the greedy k-center algorithm; the highest are kept.

    Sener and Savarese 2018, https://arxiv.org/abs/1708.00489: a random sample first, then always
    the one with the largest Euclidean distance from the nearest chosen one. Outliers come first.
    O(k n D) time and O(n) memory beside the features.

    Differences from DeepCore:
    1. It stores the distances of all chosen samples from all others; the order is the same.
    2. Its features are of an ImageNet model that it trains further; these are of the checkpoint.

    Args:
        features (np.ndarray): H, float32 [N, D].
        labels (np.ndarray, optional): int64 [N]; None for over all.
        count (int, optional): How many. Defaults to None: all.
        seed (int): The seed of the first sample of each group, and of ties. Defaults to 0.

    Returns:
        np.ndarray: float32 [N], see :func:`.greedy.order_scores`.
    """
    generator = np.random.default_rng(seed)

    def choose(rows: np.ndarray, number: int) -> np.ndarray:
        points = features[rows]  # a copy
        points -= points.mean(0)  # distances stay, and lose fewer digits
        squares = np.einsum('nd,nd->n', points, points)

        def distances_to(index: int) -> np.ndarray:
            distances = points @ (-2 * points[index])
            distances += squares
            distances += squares[index]
            return np.maximum(distances, 0, out=distances)  # squared: the order is the same

        return farthest_first(distances_to, len(rows), number, generator)

    return order_scores(len(features), labels, count, choose)
