"""Gradients of the last linear layer, from errors and features and never built for all samples.

The gradient of cross-entropy by weight and bias of the last layer is the outer product of a
sample's error e (probabilities minus one-hot label, [C]) and x = (h, 1), its features with a 1 for
the bias, [D + 1]. So norms, inner products and means need only E, float32 [N, C], and H,
float32 [N, D]; [N, C * (D + 1)] would be C times as large. Exact for cross-entropy; other losses
(label smoothing, Mixup) have other errors, and these scores are defined by cross-entropy. A layer
without a bias counts as one whose bias is 0, so its gradients have the entries of that bias too.
"""

import numpy as np


def norms(errors: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The L2 norm of each gradient, norm(e) * norm(x), float32 [N]."""
    squares = np.square(features, dtype=np.float64).sum(1) + 1
    squares *= np.square(errors, dtype=np.float64).sum(1)
    return np.sqrt(squares).astype(np.float32)


def inner_products(errors: np.ndarray, features: np.ndarray) -> np.ndarray:
    """All inner products of gradients, (E E^T) * (X X^T), float32 [N, N]."""
    products = features @ features.T
    products += 1
    products *= errors @ errors.T
    return products


def mean(errors: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The mean of the gradients, E^T X / N, float32 [C, D + 1]; the last column is the bias's."""
    weight = errors.T @ features
    return np.concatenate([weight, errors.sum(0)[:, None]], 1) / np.float32(len(errors))


def products_with(direction: np.ndarray, errors: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The inner product of each gradient with one matrix, e^T M x.

    Args:
        direction (np.ndarray): M, float32 [C, D + 1].
        errors (np.ndarray): E, float32 [N, C].
        features (np.ndarray): H, float32 [N, D].

    Returns:
        np.ndarray: float32 [N].
    """
    return ((errors @ direction[:, :-1]) * features).sum(1) + errors @ direction[:, -1]
