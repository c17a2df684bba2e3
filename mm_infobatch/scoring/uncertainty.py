"""Least confidence, margin and entropy: how sure a classifier is, whatever the label.

Coleman et al. 2020, Selection via Proxy, https://arxiv.org/abs/1906.11829. All three keep the
samples that the classifier is least sure of, so each score is the higher the less sure it is.

Differences from the implementation in DeepCore:
1. Confidence is the largest probability there too by name, but its code takes the largest logit,
   which does not rank samples the same (``by_logit=True``).
2. Chosen over all classes, DeepCore keeps the most certain samples; here always the least certain.
3. Small values are computed as sums of the other probabilities, not as 1 minus something close to
   1, so that samples that are certain to six digits still have an order.
"""

from typing import Tuple

import numpy as np

from .rows import by_rows, log_probabilities


def least_confidence(logits: np.ndarray, by_logit: bool = False) -> np.ndarray:
    """1 - max p.

    Args:
        logits (np.ndarray): float32 [N, C].
        by_logit (bool): Whether to give minus the largest logit instead, as DeepCore. Defaults to
            False.

    Returns:
        np.ndarray: float32 [N].
    """
    if by_logit:
        return -logits.max(1)

    def block(logits: np.ndarray) -> np.ndarray:
        others, _ = _relative_to_largest(logits)
        return (others / (1 + others)).astype(np.float32)

    return by_rows(block, logits)


def margin(logits: np.ndarray) -> np.ndarray:
    """1 - (p1 - p2), of the two largest probabilities, float32 [N]."""

    def block(logits: np.ndarray) -> np.ndarray:
        others, second = _relative_to_largest(logits)
        return ((others + second) / (1 + others)).astype(np.float32)

    return by_rows(block, logits)


def entropy(logits: np.ndarray) -> np.ndarray:
    """-sum p log p in nats, float32 [N]."""

    def block(logits: np.ndarray) -> np.ndarray:
        logs = log_probabilities(logits)
        return -(np.exp(logs) * logs).sum(1).astype(np.float32)

    return by_rows(block, logits)


def _relative_to_largest(logits: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The sum of all but the largest probability, and the second largest one, both divided by the
    largest, float64 [N]."""
    ratios = np.sort(logits.astype(np.float64), 1)
    ratios = np.exp(ratios[:, :-1] - ratios[:, -1:])
    return ratios.sum(1), ratios[:, -1]
