"""Keep probabilities that give the gradient a low variance, and groups to draw from by them."""

import math
from typing import List, Tuple

import torch
from torch import Tensor

LEAST_NORM = 1e-6
NUM_GROUPS = 32


def gradient_norms(scores: Tensor) -> Tensor:
    """Estimate the norm of each sample's gradient, up to a factor, float32 [N] in [1e-6, 1].

    For softmax cross-entropy H the label's probability is exp(-H), and the norm of the gradient
    with respect to the logits lies between 1 and sqrt(2) times 1 - exp(-H). For other losses it is
    a guess that increases with the score; a bad guess increases the variance and never makes a plan
    biased.

    Args:
        scores (Tensor): float32 [N] without NaN.
    """
    return -torch.expm1(-scores).clamp_max_(-LEAST_NORM)


def levels_of(norms: Tensor) -> Tensor:
    """Round positive numbers to levels, 64 for each power of two, int64 [N].

    A level is the exponent of a float32 and the first 6 bits of its mantissa. The bits of positive
    floats, read as integers, have the order of the floats.
    """
    return (norms.view(torch.int32) >> 17).long()


def value_of(levels: Tensor) -> Tensor:
    """The number in the middle of each level, float64 [L]."""
    return ((levels.int() << 17) + (1 << 16)).view(torch.float32).double()


def keep_probabilities(norms: Tensor, counts: Tensor, kept: float, least: float) -> Tensor:
    """Keep probabilities proportional to the norms, clamped to [least, 1], with a given mean.

    Of all probabilities with that sum and range they give the weighted gradient the lowest
    variance.

    Args:
        norms (Tensor): The norm of each level, float64 [L].
        counts (Tensor): The samples of each level, float64 [L].
        kept (float): The expected number of kept samples, between ``least`` times the sum of
            ``counts`` and that sum.
        least (float): The lowest probability, above 0.

    Returns:
        Tensor: float64 [L].
    """
    low, high = math.log(least), -math.log(LEAST_NORM) + 1
    for _ in range(60):
        middle = (low + high) / 2
        total = float((counts * (norms * math.exp(middle)).clamp(least, 1)).sum())
        low, high = (middle, high) if total < kept else (low, middle)
    return (norms * math.exp(high)).clamp(least, 1)


def group_levels(
    probabilities: Tensor, counts: Tensor, least: float
) -> Tuple[Tensor, List[int], List[float]]:
    """Merge neighbouring levels of similar probability into groups of enough samples to draw from.

    Args:
        probabilities (Tensor): The keep probability of each level, float64 [L], ascending.
        counts (Tensor): The samples of each level, int64 [L].
        least (float): The lowest probability.

    Returns:
        tuple[Tensor, list[int], list[float]]: The group of each level, uint8 [L]; the samples of
        each group; the expected number of kept samples of each group. The last group keeps all its
        samples and may be empty.
    """
    bands = ((probabilities - least) / max(1 - least, 1e-9) * NUM_GROUPS).long()
    bands = bands.clamp_max(NUM_GROUPS - 1)
    bands[probabilities >= 1] = NUM_GROUPS
    enough = math.ceil(4 / least)
    sizes: List[int] = []
    expected: List[float] = []
    group_of_band = [0] * (NUM_GROUPS + 1)
    size_of_band = torch.bincount(bands, counts.double(), NUM_GROUPS + 1).tolist()
    expected_of_band = torch.bincount(bands, counts * probabilities, NUM_GROUPS + 1).tolist()
    for band in range(NUM_GROUPS):
        if not size_of_band[band]:
            continue
        if not sizes or sizes[-1] >= enough:
            sizes.append(0)
            expected.append(0.0)
        sizes[-1] += int(size_of_band[band])
        expected[-1] += expected_of_band[band]
        group_of_band[band] = len(sizes) - 1
    if len(sizes) > 1 and sizes[-1] < enough:  # too few for a group of their own
        group_of_band = [min(group, len(sizes) - 2) for group in group_of_band]
        last_size, last_expected = sizes.pop(), expected.pop()
        sizes[-1] += last_size
        expected[-1] += last_expected
    group_of_band[NUM_GROUPS] = len(sizes)
    whole = int(size_of_band[NUM_GROUPS])
    return (
        torch.tensor(group_of_band, dtype=torch.uint8)[bands],
        [*sizes, whole],
        [*expected, float(whole)],
    )


def round_to_sum(
    numbers: List[float], lowest: List[int], highest: List[int], total: int
) -> List[int]:
    """Round numbers to integers within bounds, with a given sum as far as the bounds allow.

    Args:
        numbers (list[float]): The numbers.
        lowest (list[int]): The lower bound of each, inclusive.
        highest (list[int]): The upper bound of each, inclusive.
        total (int): The sum of the integers.

    Returns:
        list[int]: The integers. All are rounded down first; those that are furthest from their
        number then change first.
    """
    rounded = [
        min(max(math.floor(number), low), high)
        for number, low, high in zip(numbers, lowest, highest)
    ]
    missing = total - sum(rounded)
    while missing:
        step = 1 if missing > 0 else -1
        free = [
            i
            for i, (low, value, high) in enumerate(zip(lowest, rounded, highest))
            if low <= value + step <= high
        ]
        if not free:
            break
        free.sort(key=lambda i: step * (numbers[i] - rounded[i]), reverse=True)
        change = max(1, abs(missing) // len(free))
        for i in free[: abs(missing)]:
            room = highest[i] - rounded[i] if step > 0 else rounded[i] - lowest[i]
            rounded[i] += step * min(change, room)
            missing -= step * min(change, room)
    return rounded
