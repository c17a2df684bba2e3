"""What one pass trains on, and what policies have in common."""

import math
from dataclasses import dataclass
from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_count, require_integer


@dataclass(frozen=True)
class Plan:
    """The samples that one pass trains on, and how much each of them counts.

    Args:
        indices (Tensor): The kept samples, int64 [K], strictly ascending.
        weights (Tensor): The factor on the loss of each of them, float32 [K], beside ``indices``.
        num_samples (int): N, the length of the dataset that was chosen from.
        threshold (float, optional): The score below which a sample was well-learned, for the log.
            Defaults to None: the policy has none, or no sample has a score yet.

    Raises:
        TypeError: If ``indices`` or ``weights`` is no tensor, ``num_samples`` no integer, or
            ``threshold`` no number.
        ValueError: If the shapes, types or values are not as above.
    """

    indices: Tensor
    weights: Tensor
    num_samples: int
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        for name in ('indices', 'weights'):
            if not isinstance(getattr(self, name), Tensor):
                raise TypeError(
                    f'Plan.{name} has to be a tensor, but is a '
                    f'{type(getattr(self, name)).__name__}; write '
                    'Plan(torch.tensor(indices), torch.tensor(weights), num_samples)'
                )
        require_integer('Plan.num_samples', self.num_samples, 'Plan(indices, weights, len(scores))')
        if self.threshold is not None and not isinstance(self.threshold, (int, float)):
            raise TypeError(
                f'Plan.threshold has to be None or a number, but is '
                f'{self.threshold!r}; leave it out'
            )
        if self.indices.dtype != torch.int64 or self.indices.ndim != 1 or not len(self.indices):
            raise ValueError(
                'Plan.indices has to be a non-empty int64 tensor of shape [K], but is '
                f'{self.indices.dtype} of shape {tuple(self.indices.shape)}'
            )
        if self.weights.dtype != torch.float32 or self.weights.shape != self.indices.shape:
            raise ValueError(
                f'Plan.weights has to be a float32 tensor of shape {tuple(self.indices.shape)}, '
                f'one weight an index, but is {self.weights.dtype} of shape '
                f'{tuple(self.weights.shape)}'
            )
        first, last = int(self.indices[0]), int(self.indices[-1])
        ascending = self.indices.numpy()
        if first < 0 or last >= self.num_samples or not (ascending[1:] > ascending[:-1]).all():
            raise ValueError(
                'Plan.indices has to be strictly ascending within the dataset of '
                f'{self.num_samples} samples, but goes from {first} to {last}; sort them and '
                'name each sample once'
            )
        least, greatest = torch.aminmax(self.weights)  # NaN, if there is one
        if not 0 < float(least) <= float(greatest) < math.inf:
            raise ValueError(
                'Plan.weights has to be finite and above 0; leave a sample out of Plan.indices '
                'instead of giving it the weight 0'
            )

    @classmethod
    def full(cls, num_samples: int) -> 'Plan':
        """The plan that keeps all ``num_samples`` samples at weight 1."""
        require_integer('num_samples', num_samples, 'Plan.full(len(dataset))')
        require_count('num_samples', num_samples)
        return cls(torch.arange(num_samples), torch.ones(num_samples), num_samples)

    @property
    def kept(self) -> int:
        """int: K, how many samples the pass trains on."""
        return len(self.indices)

    @property
    def pruned(self) -> int:
        """int: N - K, how many samples the pass skips."""
        return self.num_samples - self.kept


def unseen(scores: Tensor) -> Tensor:
    """Which samples have no score yet, bool [N]; only static policies skip them."""
    return scores.isnan()


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
