"""Arrays with one row per sample, worked on in blocks of rows: probabilities, errors, groups."""

from typing import Callable, Iterator, List, Optional

import numpy as np

BLOCK = 2**21  # values of a block, so that its float64 copies stay small


def by_rows(function: Callable[..., np.ndarray], *arrays: np.ndarray, width: int = 1) -> np.ndarray:
    """Apply a function to blocks of rows, and join the results.

    Args:
        function (callable): From blocks, [B, ...] of each array, to an array [B, ...].
        *arrays (np.ndarray): [N, ...]; may be memory-mapped.
        width (int): Values of a row in the arrays that the function creates. Defaults to 1.
    """
    result: Optional[np.ndarray] = None  # filled block by block: joining them takes twice as much
    for rows in blocks(*arrays, width=width):
        block = function(*(array[rows] for array in arrays))
        if result is None:
            result = np.empty((len(arrays[0]), *block.shape[1:]), block.dtype)
        result[rows] = block
    assert result is not None  # as there is a sample
    return result


def blocks(*arrays: np.ndarray, width: int = 1) -> Iterator[slice]:
    """Divide the rows into slices of about ``BLOCK`` values each, counted in the widest array, or
    ``width`` a row if that is more."""
    width = max(width, *(int(np.prod(array.shape[1:])) for array in arrays))
    step = max(1, BLOCK // max(width, 1))
    for start in range(0, len(arrays[0]), step):
        yield slice(start, start + step)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax, float64 [N, C]."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """E, predicted probabilities minus one-hot labels: the gradient of cross-entropy by the logits.

    Args:
        logits (np.ndarray): float32 [N, C].
        labels (np.ndarray): int64 [N].

    Returns:
        np.ndarray: float32 [N, C].
    """

    def block(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        values, rows = np.exp(log_probabilities(logits)), np.arange(len(labels))
        # Minus the others' sum: p - 1 loses its digits where the classifier is sure.
        values[rows, labels] = 0
        values[rows, labels] = -values.sum(1)
        return values.astype(np.float32)

    return by_rows(block, logits, labels)


def groups_of(labels: Optional[np.ndarray], num_samples: int) -> List[np.ndarray]:
    """The samples of each class, int64, ascending; one group of all where labels is None."""
    if labels is None:
        return [np.arange(num_samples)]
    order = np.argsort(labels, kind='stable')
    sizes = np.unique(labels, return_counts=True)[1]
    return np.split(order, np.cumsum(sizes)[:-1])
