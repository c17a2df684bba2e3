"""EL2N: the L2 norm of the error of the predicted probabilities."""

import numpy as np

from .rows import by_rows, errors


def el2n(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The norm of probabilities minus one-hot label; the highest are kept.

    Paul et al. 2021, Deep Learning on a Data Diet, https://arxiv.org/abs/2107.07075. They take the
    mean over ten networks or more, each early in its training: give a checkpoint of each.
    (InfoBatch cites another paper for it by mistake. DeepCore does not have it.)

    Args:
        logits (np.ndarray): float32 [N, C].
        labels (np.ndarray): int64 [N].

    Returns:
        np.ndarray: float32 [N].
    """

    def block(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        squares = np.square(errors(logits, labels), dtype=np.float64)  # in float32 some are 0
        return np.sqrt(squares.sum(1)).astype(np.float32)

    return by_rows(block, logits, labels)
