"""Gradients of the last layer times the inverse of its Hessian, exact or as a Kronecker product.

The Hessian of cross-entropy by weight and bias of the last layer is Q, the mean over samples of
(diag(p) - p p^T) (x) x x^T with x = (h, 1), a matrix of C (D + 1) rows. D + 1 of its eigenvalues
are 0, as a constant added to all logits changes no probability, so it needs a damping lambda.
"""

from typing import Callable, NamedTuple, Optional

import numpy as np

from .rows import blocks, by_rows, errors, log_probabilities

MAX_ROWS = 6000  # of the exact Q: 0.3 GB in float64


class Influences(NamedTuple):
    """Functions of S_i = (Q + lambda)^-1 g_i, for samples of errors E [N, C] and features H [N, D].

    Args:
        exact (bool): Whether Q is exact.
        norms (callable): The norm of S_i, float32 [N].
        selves (callable): g_i^T S_i, float32 [N].
        along (callable): v^T S_i for a gradient v, float32 [C, D + 1], float32 [N].
        sketches (callable): S_i projected to a number of dimensions, float32 [N, d].
    """

    exact: bool
    norms: Callable[[], np.ndarray]
    selves: Callable[[], np.ndarray]
    along: Callable[[np.ndarray], np.ndarray]
    sketches: Callable[[int, 'np.random.Generator'], np.ndarray]


def influences(
    logits: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    damping: float = 1e-3,
    exact: Optional[bool] = None,
) -> Influences:
    """What methods of influence need of each sample.

    Args:
        logits (np.ndarray): Z, float32 [N, C].
        features (np.ndarray): H, float32 [N, D].
        labels (np.ndarray): y, int64 [N].
        damping (float): lambda. Defaults to 1e-3.
        exact (bool, optional): Whether Q is exact, C (D + 1) rows and columns, or the Kronecker
            product of the means of diag(p) - p p^T and of x x^T, each damped by the root of lambda.
            Defaults to None: exact up to ``MAX_ROWS`` rows.
    """
    rows = logits.shape[1] * (features.shape[1] + 1)
    build = _exact if (rows <= MAX_ROWS if exact is None else exact) else _kronecker
    return build(logits, features, errors(logits, labels), damping)


def _exact(
    logits: np.ndarray, features: np.ndarray, mistakes: np.ndarray, damping: float
) -> Influences:
    classes, width = logits.shape[1], features.shape[1] + 1
    whole = np.zeros((classes, width, classes, width))
    for part in blocks(logits, features):
        probabilities, points = np.exp(log_probabilities(logits[part])), _with_bias(features[part])
        for a in range(classes):
            for b in range(a, classes):
                factor = probabilities[:, a] * ((a == b) - probabilities[:, b])
                whole[a, :, b] += (points * factor[:, None]).T @ points
    for a in range(classes):
        for b in range(a):
            whole[a, :, b] = whole[b, :, a].T
    whole = whole.reshape(classes * width, -1) / len(logits)
    whole[np.diag_indices_from(whole)] += damping
    inverse = np.linalg.inv(whole).astype(np.float32)

    def of_gradients(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Apply a function to the gradients of a few samples at a time, float32 [B, C (D + 1)]."""

        def block(e: np.ndarray, h: np.ndarray) -> np.ndarray:
            product = e[:, :, None] * _with_bias(h).astype(np.float32)[:, None]
            return function(product.reshape(len(e), -1))

        return by_rows(block, mistakes, features, width=len(inverse))

    def sketches(size: int, generator: 'np.random.Generator') -> np.ndarray:
        if size >= len(inverse):
            return of_gradients(lambda g: g @ inverse)
        projected = inverse @ _signs(len(inverse), size, generator)
        return of_gradients(lambda g: g @ projected)

    return Influences(
        True,
        lambda: of_gradients(lambda g: np.linalg.norm(g @ inverse, axis=1)),
        lambda: of_gradients(lambda g: ((g @ inverse) * g).sum(1)),
        lambda v: of_gradients(lambda g: g @ (inverse @ v.reshape(-1))),
        sketches,
    )


def _kronecker(
    logits: np.ndarray, features: np.ndarray, mistakes: np.ndarray, damping: float
) -> Influences:
    classes, width = logits.shape[1], features.shape[1] + 1
    left, right = np.zeros((classes, classes)), np.zeros((width, width))
    for part in blocks(logits, features):
        probabilities, points = np.exp(log_probabilities(logits[part])), _with_bias(features[part])
        left += np.diag(probabilities.sum(0)) - probabilities.T @ probabilities
        right += points.T @ points
    inverses = [
        np.linalg.inv(each / len(logits) + damping**0.5 * np.eye(len(each))).astype(np.float32)
        for each in (left, right)
    ]

    def products(function: Callable[..., np.ndarray]) -> np.ndarray:
        """Apply a function to A^-1 e, B^-1 x, e and x of a few samples at a time."""

        def block(e: np.ndarray, h: np.ndarray) -> np.ndarray:
            x = _with_bias(h).astype(np.float32)
            return function(e @ inverses[0], x @ inverses[1], e, x)

        return by_rows(block, mistakes, features)

    def sketches(size: int, generator: 'np.random.Generator') -> np.ndarray:
        first, second = (
            _signs(len(each), size, generator) * np.float32(size**0.25) for each in inverses
        )
        return products(lambda a, b, e, x: (a @ first) * (b @ second))

    return Influences(
        False,
        lambda: products(lambda a, b, e, x: np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)),
        lambda: products(lambda a, b, e, x: (a * e).sum(1) * (b * x).sum(1)),
        lambda v: products(lambda a, b, e, x: ((a @ v) * b).sum(1)),
        sketches,
    )


def _with_bias(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features.astype(np.float64), np.ones((len(features), 1))], 1)


def _signs(rows: int, size: int, generator: 'np.random.Generator') -> np.ndarray:
    """Random signs over the root of ``size``: products with it keep inner products on average."""
    signs = generator.integers(0, 2, (rows, size)) * 2 - 1
    return (signs / size**0.5).astype(np.float32)
