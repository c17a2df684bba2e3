"""Dataset Pruning: skips the samples whose influences together cancel out."""

import numpy as np

from .greedy import largest


def dataset_pruning(
    influences: np.ndarray, count: int, swaps: int = 20000, seed: int = 0
) -> np.ndarray:
    """Choose the samples to keep, so that the skipped ones would hardly have moved the parameters.

    Yang et al. 2023, https://arxiv.org/abs/2205.09329: skip the N - K samples R that minimize the
    norm of the sum of their influences. Here R grows greedily, from the sample of the smallest
    influence, by the one after which the norm is the smallest; then pairs are drawn at random and
    swapped where that lowers it. O((N - K) N d).

    Differences:
    1. The publication solves it by simulated annealing, whose settings are not known here.
    2. Its form with a bound on the norm, and as many samples as that allows, is not offered.
    3. Influences may be projected to fewer dimensions, which keeps norms on average.
    4. At an optimum of all parameters the influences of all samples sum to 0, so a set and its
       complement are equally good; growing from small influences decides between them.

    Args:
        influences (np.ndarray): S, float32 [N, d].
        count (int): K, how many to keep.
        swaps (int): How many pairs to try. Defaults to 20000.
        seed (int): The seed of the pairs, and of ties. Defaults to 0.

    Returns:
        np.ndarray: float32 [N], 1 for the kept samples and 0 for the others.
    """
    generator = np.random.default_rng(seed)
    squares = np.einsum('nd,nd->n', influences, influences).astype(np.float64)
    total = np.zeros(influences.shape[1])
    skipped = np.zeros(len(influences), bool)
    for _ in range(len(influences) - count):
        gains = -squares - 2 * (influences @ total.astype(np.float32))
        gains[skipped] = -np.inf
        index = largest(gains, generator)
        skipped[index] = True
        total += influences[index]
    outside, inside = np.flatnonzero(skipped), np.flatnonzero(~skipped)
    if len(outside) and len(inside):
        best = float(total @ total)
        for _ in range(swaps):
            out, back = (generator.random(2) * (len(outside), len(inside))).astype(np.int64)
            swapped = total - influences[outside[out]] + influences[inside[back]]
            norm = float(swapped @ swapped)
            if norm < best:
                best, total = norm, swapped
                outside[out], inside[back] = inside[back], outside[out]
    kept = np.zeros(len(influences), np.float32)
    kept[inside] = 1
    return kept
