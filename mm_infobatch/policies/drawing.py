"""Draws samples at random, and weighs those that stand for others."""

import math
from typing import Any, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor


def unseen(scores: Tensor) -> Tensor:
    """Which samples have no score yet, bool [N]; only static policies skip them."""
    return scores.isnan()


def count_kept(num_seen: int, prune_ratio: float) -> int:
    """How many of ``num_seen`` samples stay where a share of them is skipped: at least one."""
    return num_seen - math.floor(num_seen * prune_ratio)


def draw_subset(marked: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Mark ``count`` of the marked samples, every set of that many being equally likely. O(N).

    Each marked sample is drawn with nearly the right probability, by 16 random bits, and then as
    many as are missing or too many are drawn again: few, so that this walks through memory from
    its beginning to its end, where a permutation would jump about in it.

    Args:
        marked (Tensor): bool [N].
        count (int): How many, from 0 to the number of marked samples.
        generator (torch.Generator): Where the randomness comes from; asked for 128 bits.

    Returns:
        Tensor: bool [N].
    """
    among = marked.numpy()
    total = int(np.count_nonzero(among))
    seed = torch.randint(0, 2**31, (4,), generator=generator).tolist()
    bits = np.random.SFC64(np.random.SeedSequence(seed))
    if not 0 < count < total:
        return marked.clone() if count else torch.zeros_like(marked)
    draws = bits.random_raw(-(-len(among) // 4)).view(np.uint16)[: len(among)]
    drawn = draws < np.uint16(min(round(count / total * 2**16), 2**16 - 1))
    drawn &= among
    surplus = int(np.count_nonzero(drawn)) - count
    if surplus:
        pool = np.flatnonzero(drawn if surplus > 0 else among & ~drawn)
        drawn[pool[distinct(len(pool), abs(surplus), bits)]] = surplus < 0
    return torch.from_numpy(drawn)


def distinct(length: int, count: int, bits: Any) -> Any:
    """Draw ``count`` distinct places below ``length``, every set being equally likely.

    Of a number of 64 bits the remainder is taken, whose bias is below ``length`` / 2**64.

    Args:
        length (int): The number of places.
        count (int): How many are drawn, at most ``length``.
        bits (numpy.random.BitGenerator): Where the randomness comes from.

    Returns:
        numpy.ndarray: int64 [count].
    """
    if 2 * count > length:  # rather draw those that are left out
        left = np.ones(length, bool)
        left[distinct(length, length - count, bits)] = False
        return np.flatnonzero(left)
    found = np.empty(0, np.int64)
    while len(found) < count:
        more = bits.random_raw(2 * count + 8) % np.uint64(length)
        found = np.concatenate([found, more.astype(np.int64)])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return found[:count]


def keep_in_groups(
    groups: Tensor, keep: Sequence[int], generator: torch.Generator
) -> Tuple[Tensor, Tensor]:
    """Keep a fixed number of the samples of each group, and let them stand for the whole group.

    Of the n samples of a group k are kept, every set of that many being equally likely, at the
    weight n/k. So each sample's expected weight is exactly 1 and the weights sum to N. O(N): one
    stable radix sort of the groups' numbers and one permutation of each group.

    Args:
        groups (Tensor): The group of each sample, uint8 [N].
        keep (list[int]): How many samples of each group are kept; at least 1 of a group that has
            any. A group that keeps all draws no random number.
        generator (torch.Generator): Where the randomness comes from.

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


def keep_highest(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Mark the ``count`` highest scores; among equal ones at the edge chance decides. O(N).

    Args:
        scores (Tensor): float32 [N], without NaN.
        count (int): How many, from 0 to N.
        generator (torch.Generator): Where the randomness comes from; used only at a tie.

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
    well_learned: Tensor, prune_ratio: float, generator: torch.Generator
) -> Tuple[Tensor, Tensor]:
    """Skip a share of the marked samples, and let the kept ones among them stand for all.

    Of n marked samples floor(n * prune_ratio) are skipped, every set of that many being equally
    likely, and the k others weigh n/k each. So each sample's expected weight is exactly 1, the
    weights sum to N, and no weight exceeds 1 / (1 - prune_ratio).

    Args:
        well_learned (Tensor): bool [N].
        prune_ratio (float): r in [0, 1).
        generator (torch.Generator): Where the randomness comes from.

    Returns:
        tuple[Tensor, Tensor]: The kept indices, int64 [K] ascending, and their weights,
        float32 [K].
    """
    marked = well_learned.numpy()
    n = int(np.count_nonzero(marked))
    num_pruned = math.floor(n * prune_ratio)
    if not num_pruned:
        return torch.arange(len(marked)), torch.ones(len(marked))
    kept = ~draw_subset(well_learned, num_pruned, generator).numpy()
    table = np.array([1, n / (n - num_pruned)], np.float32)
    weights = np.take(table, np.compress(kept, marked).view(np.uint8))
    return torch.from_numpy(np.flatnonzero(kept)), torch.from_numpy(weights)


def weigh(weights: Tensor, rescale: Union[bool, str]) -> Tensor:
    """Weights as a policy's ``rescale`` asks for.

    Args:
        weights (Tensor): The weights of an unbiased plan, float32 [K].
        rescale (bool or str): True leaves them. False gives all of them the weight 1, as in the
            ablation of the paper (Table 3). ``'normalized'`` divides them by their mean: the
            direction of the expected gradient stays that of all data, and the steps do not grow by
            N/K. (For plain SGD that is the same as a learning rate lowered by K/N in pruned
            passes.)

    Returns:
        Tensor: float32 [K].
    """
    if rescale is True:
        return weights
    if rescale is False:
        return torch.ones_like(weights)
    return (weights / weights.mean(dtype=torch.float64)).float()
