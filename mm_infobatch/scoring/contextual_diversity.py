"""Contextual Diversity: samples whose predicted probabilities differ from each other."""

from typing import Optional

import numpy as np

from .greedy import farthest_first, order_scores
from .rows import by_rows, log_probabilities


def contextual_diversity(
    logits: np.ndarray,
    labels: Optional[np.ndarray] = None,
    count: Optional[int] = None,
    seed: int = 0,
) -> np.ndarray:
    """The greedy order by the distance KL(p || q) / 2 + KL(q || p) / 2; the highest are kept.

    Agarwal et al. 2020, https://arxiv.org/abs/2008.05723, in the form that DeepCore has for
    classification: K-Center Greedy with that distance. O(k n C).

    Differences:
    1. The original averages over matrices of the classes within an image, for detection and
       segmentation; with one prediction an image the distance is that of the predictions.
    2. DeepCore takes the logarithm of probabilities, which is NaN where one is 0; here it is a
       log-softmax.

    Args:
        logits (np.ndarray): Z, float32 [N, C].
        labels (np.ndarray, optional): int64 [N]; None for over all.
        count (int, optional): How many. Defaults to None: all.
        seed (int): The seed of the first sample of each group, and of ties. Defaults to 0.

    Returns:
        np.ndarray: float32 [N], see :func:`.greedy.order_scores`.
    """
    generator = np.random.default_rng(seed)

    def choose(rows: np.ndarray, number: int) -> np.ndarray:
        logs = by_rows(lambda block: log_probabilities(block).astype(np.float32), logits[rows])
        probabilities = np.exp(logs)
        minus_entropies = np.einsum('nc,nc->n', probabilities, logs)

        def distances_to(index: int) -> np.ndarray:
            distances = minus_entropies + minus_entropies[index]
            distances -= probabilities @ logs[index]
            distances -= logs @ probabilities[index]
            return np.maximum(distances, 0, out=distances)  # doubled: the order is the same

        return farthest_first(distances_to, len(rows), number, generator)

    return order_scores(len(logits), labels, count, choose)
