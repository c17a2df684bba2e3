"""Draws the samples that a pass keeps, and weights them."""

from typing import Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from .budgets import count_kept


def draw_subset(marked: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` of the marked samples without replacement. O(N).

    Each marked sample is drawn with about the right probability, by 16 random bits; then the few
    that are missing or too many are drawn among the others. So memory is read in order, which is
    faster than a permutation.

    Args:
        marked (Tensor): bool [N].
        count (int): How many, from 0 to the number of marked samples.
        generator (torch.Generator): The source of randomness; 128 bits are taken from it.

    Returns:
        Tensor: The drawn samples, bool [N]. Every subset of that size is equally likely.
    """
    candidates = marked.numpy()
    total = int(np.count_nonzero(candidates))
    bits = random_bits(generator)
    if not 0 < count < total:
        return marked.clone() if count else torch.zeros_like(marked)
    draws = bits.random_raw(-(-len(candidates) // 4)).view(np.uint16)[: len(candidates)]
    drawn = draws < np.uint16(min(round(count / total * 2**16), 2**16 - 1))
    drawn &= candidates
    surplus = int(np.count_nonzero(drawn)) - count
    if surplus:
        pool = np.flatnonzero(drawn if surplus > 0 else candidates & ~drawn)
        drawn[pool[draw_distinct(len(pool), abs(surplus), bits)]] = surplus < 0
    return torch.from_numpy(drawn)


def random_bits(generator: torch.Generator) -> np.random.BitGenerator:
    """A NumPy bit generator, seeded with 128 bits of a PyTorch generator."""
    seed = torch.randint(0, 2**31, (4,), generator=generator).tolist()
    return np.random.SFC64(np.random.SeedSequence(seed))


def draw_distinct(length: int, count: int, bits: np.random.BitGenerator) -> np.ndarray:
    """Draw ``count`` distinct integers below ``length``.

    Each is a random 64-bit integer modulo ``length``, with a bias below ``length`` / 2**64.

    Args:
        length (int): The upper bound, exclusive.
        count (int): How many, at most ``length``.
        bits (numpy.random.BitGenerator): The source of randomness.

    Returns:
        numpy.ndarray: int64 [count]. Every subset of that size is equally likely.
    """
    if 2 * count > length:  # drawing those that are left out takes fewer draws
        chosen = np.ones(length, bool)
        chosen[draw_distinct(length, length - count, bits)] = False
        return np.flatnonzero(chosen)
    drawn = np.empty(0, np.int64)
    while len(drawn) < count:
        more = bits.random_raw(2 * count + 8) % np.uint64(length)
        drawn = np.concatenate([drawn, more.astype(np.int64)])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return drawn[:count]


def keep_marked(marked: Tensor) -> Tuple[Tensor, Tensor]:
    """Keep the marked samples, K of N, each at weight N/K.

    Args:
        marked (Tensor): bool [N], at least one of them True.

    Returns:
        tuple[Tensor, Tensor]: The kept indices, int64 [K] ascending, and their weights,
        float32 [K].
    """
    indices = marked.nonzero().squeeze(1)
    return indices, torch.full((len(indices),), len(marked) / len(indices))


def keep_in_groups(
    groups: Tensor, keep: Sequence[int], generator: torch.Generator
) -> Tuple[Tensor, Tensor]:
    """Keep a fixed number of samples of each group, weighted to stand for the whole group.

    Of the n samples of a group k are drawn without replacement, and weigh n/k each. So each
    sample's expected weight is exactly 1, and the weights sum to N. O(N): one stable radix sort of
    the group numbers and one permutation of each group.

    Args:
        groups (Tensor): The group of each sample, uint8 [N].
        keep (list[int]): The number of samples that each group keeps: at least 1, unless the
            group is empty. A group that keeps all draws no random number.
        generator (torch.Generator): The source of randomness.

    Returns:
        tuple[Tensor, Tensor]: The kept indices, int64 [K] ascending, and their weights,
        float32 [K].
    """
    weights = torch.ones(len(groups))
    order = torch.from_numpy(np.argsort(groups.numpy(), kind='stable'))
    counts = torch.bincount(groups, minlength=len(keep)).tolist()
    begin = 0
    for n, k in zip(counts, keep):
        if k < n:
            members = order[begin : begin + n]
            weights[members] = n / k
            weights[members[torch.randperm(n, generator=generator)[: n - k]]] = 0
        begin += n
    indices = weights.nonzero().squeeze(1)
    return indices, weights[indices]


def mark_highest(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Mark the ``count`` highest scores; ties are broken at random. O(N).

    Args:
        scores (Tensor): float32 [N], without NaN.
        count (int): How many, from 0 to N.
        generator (torch.Generator): The source of randomness, used only to break a tie.

    Returns:
        Tensor: bool [N].
    """
    if count <= 0 or count >= len(scores):
        return torch.full((len(scores),), count > 0)
    edge = float(np.partition(scores.numpy(), len(scores) - count)[len(scores) - count])
    marked = scores > edge
    missing = count - int(marked.sum())
    ties = (scores == edge).nonzero().squeeze(1)
    if missing < len(ties):
        ties = ties[torch.randperm(len(ties), generator=generator)[:missing]]
    marked[ties] = True
    return marked


def prune_at_random(
    prunable: Tensor, prune_ratio: float, generator: torch.Generator
) -> Tuple[Tensor, Tensor]:
    """Skip a random share of the prunable samples, and weight the rest of them to stand for all.

    Of n prunable samples floor(n * prune_ratio) are skipped, every subset of that size being
    equally likely, and the other k weigh n/k each. So each sample's expected weight is exactly 1,
    the weights sum to N, and no weight exceeds 1 / (1 - prune_ratio).

    Args:
        prunable (Tensor): bool [N], which samples may be skipped. All others are kept.
        prune_ratio (float): r in [0, 1).
        generator (torch.Generator): The source of randomness.

    Returns:
        tuple[Tensor, Tensor]: The kept indices, int64 [K] ascending, and their weights,
        float32 [K].
    """
    n = int(np.count_nonzero(prunable.numpy()))
    return prune_to_count(prunable, count_kept(n, prune_ratio), generator)


def prune_to_count(
    prunable: Tensor, count: int, generator: torch.Generator
) -> Tuple[Tensor, Tensor]:
    """Keep a random ``count`` of the prunable samples, and weight them to stand for all of them.

    Args:
        prunable (Tensor): bool [N], which samples may be skipped. All others are kept.
        count (int): k, how many of the n prunable samples are kept, from 1 to n.
        generator (torch.Generator): The source of randomness.

    Returns:
        tuple[Tensor, Tensor]: The kept indices, int64 [K] ascending, and their weights,
        float32 [K]: n/k for a prunable sample, 1 for another.
    """
    n, k = int(np.count_nonzero(prunable.numpy())), count
    if k == n:
        return torch.arange(len(prunable)), torch.ones(len(prunable))
    kept = ~draw_subset(prunable, n - k, generator).numpy()
    indices = torch.from_numpy(np.flatnonzero(kept))
    # Arithmetic, as masks and ``where`` take several times as long; 1 + (n/k - 1) is exact.
    one = np.float32(1)
    weights = prunable.numpy().take(indices.numpy()) * (np.float32(n / k) - one) + one
    return indices, torch.from_numpy(weights)


def rescaled(weights: Tensor, rescale: Union[bool, str]) -> Tensor:
    """Change the weights of a plan as the argument ``rescale`` of its policy says.

    Args:
        weights (Tensor): The weights of an unbiased plan, float32 [K].
        rescale (bool or str): True leaves them as they are. False makes all of them 1, the
            ablation of the paper's Table 3. ``'normalized'`` divides them by their mean: the
            expected gradient keeps the direction of that of all data, and the steps do not grow by
            N/K. (For plain SGD this equals a learning rate multiplied by K/N in pruned passes.)

    Returns:
        Tensor: float32 [K].
    """
    if rescale is True:
        return weights
    if rescale is False:
        return torch.ones_like(weights)
    return weights / weights.mean(dtype=torch.float64)
