"""In what order a pass is trained: permutations, as pure functions."""

import numpy as np
import torch
from torch import Tensor


def shuffled(num_samples: int, seed: int, epoch: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """The permutation that mmengine's ``DefaultSampler`` uses in that epoch, [N].

    PyTorch swaps the same places whatever the type of the numbers, so int32 gives the same
    permutation in half the memory.
    """
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    # Numpy's memory comes in large pages where the system has them.
    numbers = torch.from_numpy(np.empty(num_samples, str(dtype).split('.')[1]))
    return torch.randperm(num_samples, generator=generator, out=numbers)


def policy_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of a pass's policy: a function of seed and pass, apart from the shuffle's."""
    state = np.random.SeedSequence([seed % 2**63, epoch, 0x1B]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def spread_evenly(marked: Tensor, world_size: int) -> Tensor:
    """Reorder a pass so that the marked samples are spread evenly over the batches of each rank.

    Rank r of W trains the places r, r + W, r + 2W, ... Any M places in a row that a rank trains
    hold within 1 of the same number of marked samples, whatever M is. Marked samples stay in their
    order among themselves, and so do the others. O(K).

    Args:
        marked (Tensor): bool [K], in the order of the pass.
        world_size (int): W.

    Returns:
        Tensor: int64 [K], which place of the old order comes at each place of the new one.
    """
    length, count = len(marked), int(marked.sum())
    # Along the places of rank 0, then those of rank 1, ...: the t-th of them is for a marked sample
    # where t * count / length passes a whole number.
    steps = torch.arange(length + 1) * count // max(length, 1)
    along = steps[1:] > steps[:-1]
    places = torch.cat([torch.arange(rank, length, world_size) for rank in range(world_size)])
    for_marked = torch.empty(length, dtype=torch.bool)
    for_marked[places] = along
    order = torch.empty(length, dtype=torch.int64)
    order[for_marked] = marked.nonzero().squeeze(1)
    order[~for_marked] = (~marked).nonzero().squeeze(1)
    return order
