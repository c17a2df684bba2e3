"""Graph Cut: samples that are like all others and unlike each other."""

from typing import Optional

import numpy as np

from .greedy import largest, order_scores
from .rows import errors


def graph_cut(
    logits: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    count: Optional[int] = None,
    trade_off: float = 1.0,
    over_all: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """The greedy order by the graph-cut function of gradients; the highest are kept.

    Iyer et al. 2021, https://arxiv.org/abs/2006.15412: the sum of similarities of the chosen
    samples to all, times lambda, minus that among the chosen ones; a sample's gain is
    lambda * (similarity to all) - 2 * (similarity to the chosen ones) - (similarity to itself).
    The similarity of two samples is (1 + cosine of their last layer's gradients) / 2. The cosine is
    a product of two matrices of rank C and D + 1, so no [n, n] matrix is needed: O(k n (C + D))
    time, O(n (C + D)) memory.

    Where implementations differ:
    1. At lambda = 1, DeepCore's, gains become negative near half of the samples; the rest is
       chosen all the same, by the largest gain.
    2. A gradient of 0 has a cosine of 0 with all; in DeepCore it is NaN.
    3. apricot's alpha is this lambda; submodlib's weighs the redundancy, so it is 1 / lambda.

    Args:
        logits (np.ndarray): float32 [N, C].
        features (np.ndarray): H, float32 [N, D].
        labels (np.ndarray): int64 [N].
        count (int, optional): How many. Defaults to None: all.
        trade_off (float): lambda. Defaults to 1.
        over_all (bool): Whether to select over all classes. Defaults to False: in each class.
        seed (int): The seed that breaks ties. Defaults to 0.

    Returns:
        np.ndarray: float32 [N], see :func:`.greedy.order_scores`.
    """
    generator = np.random.default_rng(seed)

    def choose(rows: np.ndarray, number: int) -> np.ndarray:
        left = _normalized(errors(logits[rows], labels[rows]))
        bias = np.ones((len(rows), 1), np.float32)
        right = _normalized(np.concatenate([features[rows], bias], 1))
        itself = 0.5 + 0.5 * (left.any(1))
        to_all = ((left @ (left.T @ right)) * right).sum(1, dtype=np.float64)
        gains = trade_off * (len(rows) + to_all) / 2 - itself
        chosen = np.empty(number, np.int64)
        for step in range(number):
            last = chosen[step] = largest(gains, generator)
            gains -= 1 + (left @ left[last]) * (right @ right[last])
            gains[last] = -np.inf
        return chosen

    return order_scores(len(labels), None if over_all else labels, count, choose)


def _normalized(values: np.ndarray) -> np.ndarray:
    """Rows divided by their norms; a row of 0 stays."""
    squares = np.einsum('nd,nd->n', values, values, dtype=np.float64)  # in float32 some are 0
    lengths = np.sqrt(squares).astype(np.float32)[:, None]
    return values / np.where(lengths > 0, lengths, np.float32(1))
