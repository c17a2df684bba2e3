"""The order in which a pass trains its samples, and what each rank trains of it."""

import itertools
from typing import Iterator, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..policies import Plan
from .batch_shape import BatchShape

# Indices become Python integers in blocks of this size: all at once would take 40 bytes each.
BLOCK = 1 << 14


def shuffled(num_samples: int, seed: int, epoch: int) -> Tensor:
    """The permutation that mmengine's ``DefaultSampler`` uses in that epoch, [N].

    PyTorch swaps the same positions for every dtype, so int32 gives the same permutation in half
    the memory.
    """
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    # NumPy allocates large pages where the system has them.
    numbers = torch.from_numpy(np.empty(num_samples, index_dtype(num_samples)))
    return torch.randperm(num_samples, generator=generator, out=numbers)


def policy_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of a pass's policy: a function of seed and pass, apart from the shuffle's."""
    state = np.random.SeedSequence([seed % 2**63, epoch, 0x1B]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def index_dtype(num_samples: int) -> type:
    """The smallest NumPy dtype that can index ``num_samples`` samples: int32 or int64."""
    return np.int32 if num_samples < 2**31 else np.int64


class PassOrder:
    """The samples of a pass, over all ranks, in the order in which they are trained.

    Args:
        indices (Tensor): Integers [K], the kept samples in order. Stored as int32 where that can
            index the dataset, and as int64 otherwise.
        weights (Tensor): float32 [K], the weight of each.
        num_samples (int): N, the length of the dataset.
        threshold (float, optional): That of the plan, if it has one.

    Attributes:
        uniform (bool): Whether every weight is 1.
    """

    def __init__(
        self,
        indices: Tensor,
        weights: Tensor,
        num_samples: int,
        threshold: Optional[float],
    ) -> None:
        dtype = torch.int32 if index_dtype(num_samples) is np.int32 else torch.int64
        self.indices = indices.to(dtype)
        self.num_samples, self.threshold = num_samples, threshold
        self.uniform = all(float(end) == 1 for end in torch.aminmax(weights))
        # An expanded tensor takes the memory, and the bytes in a checkpoint, of one weight.
        self.weights = torch.ones(1).expand(len(weights)) if self.uniform else weights

    @classmethod
    def of(cls, plan: Optional[Plan], order_of_all: Tensor) -> 'PassOrder':
        """Restrict an order of the whole dataset to what a plan keeps.

        Args:
            plan (Plan, optional): The plan; None keeps everything at weight 1.
            order_of_all (Tensor): Integers [N], all samples.
        """
        num_samples = len(order_of_all)
        if plan is None:
            return cls(order_of_all, torch.ones(1).expand(num_samples), num_samples, None)
        by_index = torch.zeros(num_samples, dtype=torch.float32)
        by_index.index_copy_(0, plan.indices, plan.weights)
        # Random accesses take most of the time: to the mask, which is small enough for the cache,
        # and then to the weights of the kept samples alone.
        kept = torch.from_numpy(by_index.numpy() > 0).index_select(0, order_of_all)
        # PyTorch takes several times as long as NumPy to select by a mask.
        indices = torch.from_numpy(np.compress(kept.numpy(), order_of_all.numpy()))
        return cls(indices, by_index.index_select(0, indices), num_samples, plan.threshold)

    @property
    def kept(self) -> int:
        """int: K, how many samples the pass trains."""
        return len(self.indices)

    @property
    def plan(self) -> Plan:
        """Plan: The samples and weights in the order of the dataset; computed on each access."""
        by_index = torch.zeros(self.num_samples)
        by_index[self.indices.long()] = self.weights
        indices = torch.from_numpy(np.flatnonzero(by_index.numpy()))
        return Plan(indices, by_index[indices], self.num_samples, self.threshold)

    def rearranged(self, places: Tensor) -> 'PassOrder':
        """The same samples in another order.

        Args:
            places (Tensor): int64 [K], the place in this order of each sample of the new one.
        """
        return PassOrder(
            self.indices[places], self.weights[places], self.num_samples, self.threshold
        )

    def of_rank(self, start: int, rank: int, shape: BatchShape) -> Tuple[Tensor, Tensor]:
        """What a rank trains of the pass from ``start`` on.

        As with ``DefaultSampler``, samples from the beginning of the pass are repeated where the
        last round of the ranks is not full, and in a pass that is resumed in another shape also
        where the last batch would be smaller than any of a whole pass.

        Args:
            start (int): How many samples of the pass, over all ranks, are done.
            rank (int): The rank.
            shape (BatchShape): How the pass is cut into batches.

        Returns:
            tuple[Tensor, Tensor]: Indices, integers [M] in order, and their weights, float32 [M].
            M is the same on every rank. They may be views of this object's; do not modify them.
        """
        own = slice(start + rank, None, shape.world_size)
        indices, weights = self.indices[own], self.weights[own]
        missing = self.rank_samples(start, shape) - len(indices)
        if missing:
            first = start + rank + len(indices) * shape.world_size
            repeated = (first + torch.arange(missing) * shape.world_size) % self.kept
            indices = torch.cat([indices, self.indices[repeated]])
            weights = torch.cat([weights, self.weights[repeated]])
        return indices, weights

    def rank_samples(self, start: int, shape: BatchShape) -> int:
        """M, how many samples each rank trains of the pass from ``start`` on."""
        due = -(-max(self.kept - start, 0) // shape.world_size)
        return due + shape.padding(due, self.num_samples, self.kept < self.num_samples)


def as_integers(indices: Tensor) -> Iterator[int]:
    """Python integers of a tensor [M], made in blocks, on demand."""
    blocks = (block.tolist() for block in indices.split(BLOCK))
    return itertools.chain.from_iterable(blocks)


def spread_evenly(marked: Tensor, world_size: int) -> Tensor:
    """Reorder a pass so that the marked samples are spread evenly over the batches of each rank.

    Rank r of W trains the places r, r + W, r + 2W, ... Any M places in a row that a rank trains
    hold within 1 of the same number of marked samples, for every M. Marked samples stay in their
    order among themselves, and so do the others. O(K).

    Args:
        marked (Tensor): bool [K], in the order of the pass.
        world_size (int): W.

    Returns:
        Tensor: int64 [K], which place of the old order comes at each place of the new one.
    """
    length, count = len(marked), int(marked.sum())
    # ``along`` goes over the places of rank 0, then over those of rank 1, and so on. Its t-th place
    # is for a marked sample if t * count / length reaches a new whole number there.
    steps = torch.arange(length + 1) * count // max(length, 1)
    along = steps[1:] > steps[:-1]
    places = torch.cat([torch.arange(rank, length, world_size) for rank in range(world_size)])
    for_marked = torch.empty(length, dtype=torch.bool)
    for_marked[places] = along
    order = torch.empty(length, dtype=torch.int64)
    order[for_marked] = marked.nonzero().squeeze(1)
    order[~for_marked] = (~marked).nonzero().squeeze(1)
    return order
