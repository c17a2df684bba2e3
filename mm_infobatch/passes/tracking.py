"""How often each sample was trained, and the mean and spread of its losses."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

# The largest count. Later losses are ignored, and count, mean and spread stay.
MOST = torch.iinfo(torch.int16).max
# Samples at a time, so that what is computed of them stays in the cache.
BLOCK = 1 << 15
# The largest difference of a loss from the mean before it: MOST of its squares add up to less than
# the largest float32.
FARTHEST = 1e16


class SampleTracker:
    """Count, mean and spread of the losses of each sample, in 10 bytes per sample.

    Mean and spread of a sample's losses are the axes of the maps of `dataset cartography
    <https://arxiv.org/abs/2009.10795>`_, there of the probability of the label. They are updated by
    Welford's method after the ranks' losses have entered the score table, once a pass: a training
    step does nothing for them, and every rank has the same. They are stored as float32, whose error
    after 300 losses is a few units in the sixth digit. A loss that differs from the mean of a
    sample by more than 1e16 counts as one that differs by that much.

    :meth:`update` only stores its arguments. The arithmetic follows in a thread while the next pass
    is planned (:meth:`apply_in_thread`), or when a result is read.

    Args:
        num_samples (int): N, the length of the (outermost) dataset.

    Attributes:
        passes (int): How many passes were trained to their end.
    """

    def __init__(self, num_samples: int) -> None:
        self.passes = 0
        self._trained = torch.zeros(num_samples, dtype=torch.int16)
        self._mean = torch.zeros(num_samples)  # 0 where unseen
        self._squares = torch.zeros(num_samples)
        self._largest = 0  # no count is larger
        self._pending: Optional[Tuple[Tensor, Tensor]] = None  # what update() was given last
        self._unfinished: List[Tensor] = []  # samples that were taken since the last end of a pass

    def __len__(self) -> int:
        return len(self._trained)

    def update(self, indices: Tensor, losses: Tensor) -> None:
        """Store the losses of some samples. An index that occurs more than once is counted once.

        Args:
            indices (Tensor): int64 [M], each in [0, N).
            losses (Tensor): float32 [M], their losses, finite. The tracker keeps both tensors
                without a copy.
        """
        self.apply_pending()
        self._pending = indices, losses
        self._unfinished.append(indices)

    @contextlib.contextmanager
    def apply_in_thread(self) -> Iterator[None]:
        """Call :meth:`apply_pending` in a thread, which ends with the ``with`` block, so that no
        process is forked beside it. Nothing else of the tracker may be used in the block."""
        with ThreadPoolExecutor(1, 'mm_infobatch.tracking') as executor:
            done = executor.submit(self.apply_pending)
            yield
        done.result()

    def apply_pending(self) -> None:
        """Update count, mean and spread by the losses that :meth:`update` was given last."""
        if self._pending is None:
            return
        (indices, losses), self._pending = self._pending, None
        # The only random accesses, to 5 bytes per sample. The rest is in the order of the dataset.
        taken, latest = np.zeros(len(self), np.uint8), np.empty(len(self), np.float32)
        taken[indices.numpy()], latest[indices.numpy()] = 1, losses.numpy()
        del indices, losses  # the largest part of the memory
        if self._largest < MOST:
            self._largest += 1
        else:
            taken &= self._trained.numpy() < MOST
        new_losses = torch.from_numpy(taken), torch.from_numpy(latest)
        columns = (*new_losses, self._trained, self._mean, self._squares)
        # New memory for each block would take as long as the arithmetic.
        differences, changes = torch.empty(2, min(BLOCK, len(self)))
        for new, loss, trained, mean, squares in zip(*(each.split(BLOCK) for each in columns)):
            difference, change = differences[: len(new)], changes[: len(new)]
            trained += new
            torch.sub(loss, mean, out=difference)
            # 0 where there is no new loss, NaN or not: all bits times 0, without a branch.
            difference.view(torch.int32).mul_(new)
            difference.clamp_(-FARTHEST, FARTHEST)
            torch.div(difference, change.copy_(trained).clamp_(min=1), out=change)
            mean += change
            squares.addcmul_(difference, torch.sub(difference, change, out=change))

    def end_pass(self) -> None:
        """Count a pass that was trained to its end."""
        self.passes += 1
        self._unfinished = []

    @property
    def trained(self) -> Tensor:
        """Tensor: int16 [N] on the CPU, how many finite losses of each sample were taken, at most
        :data:`MOST`."""
        self.apply_pending()
        return self._trained

    @property
    def mean(self) -> Tensor:
        """Tensor: float32 [N], the mean of each sample's losses; NaN where unseen."""
        return torch.where(self.trained > 0, self._mean, float('nan'))

    def spread(self) -> Tensor:
        """The standard deviation of each sample's losses around their mean.

        Returns:
            Tensor: float32 [N]; 0 after one loss, NaN where unseen.
        """
        return (self._squares / self.trained).sqrt_()

    def skipped(self) -> Tensor:
        """How many of the passes that were trained to their end skipped each sample.

        A pass in which its loss was not finite, or in which ``drop_last`` left it out, counts too.

        Returns:
            Tensor: int32 [N].
        """
        trained = self.trained.int()
        for indices in self._unfinished:
            trained[indices] -= 1
        return (self.passes - trained).clamp_(min=0)

    def state_dict(self) -> Dict[str, Any]:
        """The state, copies.

        Returns:
            dict: ``trained`` (int16 [N]), ``mean`` (float32 [N], NaN where unseen), ``squares``
            (float32 [N], the sum of squared differences from the mean), ``passes`` (int), and
            ``unfinished`` (int64 [M], the samples whose losses are of a pass that has not ended).
        """
        return dict(
            trained=self.trained.clone(),
            mean=self.mean,
            squares=self._squares.clone(),
            passes=self.passes,
            unfinished=torch.cat([torch.empty(0, dtype=torch.int64), *self._unfinished]),
        )

    def load_state_dict(self, state_dict: Optional[Dict[str, Any]]) -> None:
        """Continue from a checkpoint.

        Args:
            state_dict (dict, optional): What :meth:`state_dict` returned, of as many samples. None
                starts from nothing, as for a checkpoint of an earlier mm_infobatch or of
                ``track=False``.
        """
        if state_dict is None:
            state_dict = SampleTracker(len(self)).state_dict()
        self._pending = None
        self._trained = state_dict['trained'].cpu().clone()
        self._mean = state_dict['mean'].cpu().nan_to_num(0.0)
        self._squares = state_dict['squares'].cpu().clone()
        self.passes, self._largest = int(state_dict['passes']), int(self._trained.max())
        unfinished = state_dict.get('unfinished')  # None: of an earlier mm_infobatch
        self._unfinished = [] if unfinished is None else [unfinished.cpu().clone()]
