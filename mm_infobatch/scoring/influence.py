"""Influence functions of the last layer."""

from typing import Optional

import numpy as np

from .hessian import influences


def influence(
    logits: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    kind: str = 'norm',
    damping: float = 1e-3,
    direction: Optional[np.ndarray] = None,
) -> np.ndarray:
    """How much each sample has moved the last layer; the highest are kept.

    Koh and Liang 2017, https://arxiv.org/abs/1703.04730: without a sample of gradient g the
    parameters would move by S = (Q + lambda)^-1 g / N, with Q the Hessian. InfoBatch lists
    Influence in its Table 1 without a formula, so which number it ranks by is not known:
    ``'norm'``, the default, is a guess.

    Differences from the publication:
    1. The Hessian and the gradients are those of the last layer alone, by cross-entropy.
    2. Where Q is too large it is a Kronecker product, see ``hessian.py``.

    Args:
        logits (np.ndarray): float32 [N, C].
        features (np.ndarray): H, float32 [N, D].
        labels (np.ndarray): int64 [N].
        kind (str): ``'norm'``, that of S, or ``'self'``, g^T S, its effect on its own loss.
            Defaults to 'norm'.
        damping (float): lambda. Defaults to 1e-3.
        direction (np.ndarray, optional): v, float32 [C, D + 1], the gradient of a loss. The result
            is then v^T S whatever ``kind``, the effect on that loss, positive where the sample
            helps. Defaults to None.

    Returns:
        np.ndarray: float32 [N].
    """
    functions = influences(logits, features, labels, damping)
    if direction is not None:
        return functions.along(direction)
    return functions.norms() if kind == 'norm' else functions.selves()
