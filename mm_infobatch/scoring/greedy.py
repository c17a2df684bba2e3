"""Greedy selection: one sample after the other, each the best beside those chosen before."""

import heapq
from typing import Callable, List, Optional

import numpy as np

from ..policies.budgets import divide_among_classes
from .rows import groups_of

# From the samples of a group, int64 [n], and how many to choose of them to their places in the
# group, in the order of choice.
Choose = Callable[[np.ndarray, int], np.ndarray]


def lazy_greedy(
    gains: np.ndarray,
    gain_of: Callable[[int], float],
    take: Callable[[int], None],
    count: int,
    generator: 'np.random.Generator',
) -> np.ndarray:
    """Choose the sample of the largest gain, again and again, where gains never grow.

    The gain that a sample had earlier is then an upper bound of its gain now, so only those whose
    bounds are the largest are computed (Minoux 1978). Of equal gains a random one is chosen.

    Args:
        gains (np.ndarray): The gain of each sample as the first one, float [n].
        gain_of (callable): The gain of a sample in addition to those taken.
        take (callable): Called with each sample that is chosen.
        count (int): How many, at most n.
        generator (np.random.Generator): The source of randomness.

    Returns:
        np.ndarray: int64 [count], in the order of choice.
    """
    keys = generator.permutation(len(gains)).tolist()
    heap = [(-gain, key, index) for index, (gain, key) in enumerate(zip(gains.tolist(), keys))]
    heapq.heapify(heap)
    chosen: List[int] = []
    while len(chosen) < count:
        _, key, index = heapq.heappop(heap)
        entry = (-gain_of(index), key, index)
        if heap and entry > heap[0]:
            heapq.heappush(heap, entry)
            continue
        take(index)
        chosen.append(index)
    return np.array(chosen, np.int64)


def largest(values: np.ndarray, generator: 'np.random.Generator') -> int:
    """The index of the largest value; of equal ones a random one.

    The first one would prefer the first classes of a dataset that is sorted by class.
    """
    index = int(values.argmax())
    equal = np.flatnonzero(values == values[index])
    return index if len(equal) < 2 else int(generator.choice(equal))


def farthest_first(
    distances_to: Callable[[int], np.ndarray],
    length: int,
    count: int,
    generator: 'np.random.Generator',
) -> np.ndarray:
    """Choose the sample that is farthest from those chosen, again and again, after a random one.

    The distance from a set is that from its nearest member. O(count * n) distances, O(n) memory.

    Args:
        distances_to (callable): The distance of every sample to one of them, float [n], at least 0.
        length (int): n.
        count (int): How many, at most n.
        generator (np.random.Generator): The source of randomness.

    Returns:
        np.ndarray: int64 [count], in the order of choice.
    """
    nearest = np.full(length, np.inf)
    chosen: List[int] = []
    last = int(generator.integers(length))
    while len(chosen) < count:
        chosen.append(last)
        np.minimum(nearest, distances_to(last), out=nearest)
        nearest[last] = -1
        last = largest(nearest, generator)
    return np.array(chosen, np.int64)


def order_scores(
    num_samples: int, labels: Optional[np.ndarray], count: Optional[int], choose: Choose
) -> np.ndarray:
    """The order in which a selection chooses its samples, as scores: the highest for the first.

    Args:
        num_samples (int): N.
        labels (np.ndarray, optional): int64 [N], to choose in each class; None for over all.
        count (int, optional): K, divided among the classes by their sizes; None for all samples.
        choose (callable): What chooses in one group.

    Returns:
        np.ndarray: float32 [N]: 1 for the first of its group, 1/n for the last of n, 0 where not
        chosen.
    """
    scores = np.zeros(num_samples, np.float32)
    groups = groups_of(labels, num_samples)
    counts = sizes = np.array([len(rows) for rows in groups])
    if count is not None:
        counts = divide_among_classes(sizes, count)
    for rows, number in zip(groups, counts.tolist()):
        if number:
            scores[rows[choose(rows, number)]] = 1 - np.arange(number) / len(rows)
    return scores
