"""How many batches a number of samples makes: batch size, processes, ``drop_last``."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader


@dataclass(frozen=True)
class BatchShape:
    """How the samples of a pass become iterations. Counts of samples are over all ranks.

    Rank r of W trains the samples r, r + W, r + 2W, ... of a pass. As with ``DefaultSampler``,
    samples are repeated where the last round of the ranks is not full.

    Args:
        batch_size (int): The samples of a batch, on each rank. Defaults to 1.
        world_size (int): The number of ranks. Defaults to 1.
        drop_last (bool): Whether a rank leaves out what does not fill a batch. Defaults to False.
    """

    batch_size: int = 1
    world_size: int = 1
    drop_last: bool = False

    @classmethod
    def of(cls, dataloader: DataLoader, world_size: int) -> 'BatchShape':
        """The shape of the batches of a dataloader, whose batch sampler is PyTorch's own."""
        batch_sampler: Any = dataloader.batch_sampler
        return cls(batch_sampler.batch_size, world_size, batch_sampler.drop_last)

    @property
    def samples_per_iter(self) -> int:
        """int: The samples of an iteration whose batches are full."""
        return self.batch_size * self.world_size

    def iters(self, num_samples: int) -> int:
        """The iterations that so many samples make."""
        rank_samples = -(-num_samples // self.world_size)
        if self.drop_last:
            return rank_samples // self.batch_size
        return -(-rank_samples // self.batch_size)

    def samples(self, num_samples: int) -> int:
        """How many of so many samples are trained: all but what ``drop_last`` leaves out."""
        return min(num_samples, self.iters(num_samples) * self.samples_per_iter)
