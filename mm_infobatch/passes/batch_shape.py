"""How many batches a number of samples makes: batch size, processes, ``drop_last``."""

from dataclasses import dataclass
from typing import Any, Optional

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
    def of(cls, dataloader: DataLoader[Any], world_size: int) -> 'BatchShape':
        """The shape of the batches of a dataloader, whose batch sampler is PyTorch's own."""
        batch_sampler: Any = dataloader.batch_sampler
        return cls(batch_sampler.batch_size, world_size, batch_sampler.drop_last)

    @property
    def samples_per_iter(self) -> int:
        """int: The samples of an iteration with full batches."""
        return self.batch_size * self.world_size

    def iters(self, num_samples: int) -> int:
        """The number of iterations for ``num_samples`` samples."""
        return self.rank_iters(-(-num_samples // self.world_size))

    def rank_iters(self, rank_samples: int) -> int:
        """The number of iterations for the ``rank_samples`` samples of one rank."""
        if self.drop_last:
            return rank_samples // self.batch_size
        return -(-rank_samples // self.batch_size)

    def samples(self, num_samples: int) -> int:
        """How many of ``num_samples`` samples are trained: ``drop_last`` may leave some out."""
        return min(num_samples, self.iters(num_samples) * self.samples_per_iter)

    def smallest_batch(self, num_samples: int) -> int:
        """The size of the smallest batch in a pass of ``num_samples``; 0 if it has none."""
        rank_samples = -(-num_samples // self.world_size)
        if self.drop_last:
            return self.batch_size if rank_samples >= self.batch_size else 0
        return rank_samples % self.batch_size or min(rank_samples, self.batch_size)

    def fitting(self, kept: int, num_samples: int) -> int:
        """The largest number of samples, at most ``kept``, that makes no batch smaller than the
        smallest of a pass of ``num_samples``; 0 if there is none."""
        if self.drop_last:
            return self.samples(kept)
        rank_samples = -(-kept // self.world_size)
        rest = rank_samples % self.batch_size
        if not rest or rest >= self.smallest_batch(num_samples):
            return kept
        return (rank_samples - rest) * self.world_size

    def padding(self, due: int, num_samples: int, pruned: bool) -> int:
        """How many samples a rank repeats at the end of a pass that is resumed on another number of
        ranks, or in batches of another size, if its last batch would be too small.

        Args:
            due (int): The samples that the rank still has to train.
            num_samples (int): The samples of a whole pass, over all ranks.
            pruned (bool): Whether samples were skipped, so that those due stand for others.
        """
        rest = due % self.batch_size
        if not rest or self.drop_last and not pruned:
            return 0
        return max(0, self.smallest_batch(num_samples) - rest)

    def warning(self, num_samples: int) -> Optional[str]:
        """Warn of a run over ``num_samples`` samples that cannot skip any.

        Returns:
            str, optional: A warning, if a pass over all data is one iteration.
        """
        if self.iters(num_samples) > 1:
            return None
        return (
            f'batch_size={self.batch_size} on {self.world_size} processes makes one iteration of '
            f'the whole dataset of {num_samples} samples, so no iteration can be saved and nothing '
            'will be skipped; lower train_dataloader.batch_size'
        )
