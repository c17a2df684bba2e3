"""The score table: the latest loss of every sample, and how the ranks' losses reach it."""

import contextlib
import math
from typing import Any, Callable, ContextManager, Dict, Optional

import torch
from mmengine.dist import all_gather, get_world_size
from torch import Tensor

from ..arguments import require_count, require_integer, require_share
from .tracking import SampleTracker


class ScoreTable:
    """The latest loss of every sample, or the moving average of its losses.

    Args:
        num_samples (int): N, the length of the (outermost) dataset.
        smoothing (float): s in [0, 1): a score becomes s * old + (1 - s) * loss, and the first one
            is the loss. Defaults to 0: the latest loss, as in equation 4 of the `paper
            <https://arxiv.org/abs/2303.04947>`_.
        observer (callable, optional): Is called at each update, with the indices (int64 [M]), the
            finite losses (float32 [M]) and the scores until then (float32 [M]). Defaults to None.
        track (bool): Whether to track mean and spread of each sample's losses. Defaults to False.

    Attributes:
        values (Tensor): float32 [N] on the CPU, NaN where a sample is unseen.
        tracker (SampleTracker, optional): How often each sample was trained, and the mean and
            spread of its losses.
        version (int): Grows with every change, so that a plan can tell whether it is up to date.

    Raises:
        TypeError: If ``num_samples`` is not an integer, or ``smoothing`` not a number.
        ValueError: If ``num_samples`` is below 1, or ``smoothing`` outside [0, 1).
    """

    def __init__(
        self,
        num_samples: int,
        smoothing: float = 0.0,
        observer: Optional[Callable[[Tensor, Tensor, Tensor], None]] = None,
        track: bool = False,
    ) -> None:
        require_integer('num_samples', num_samples, 'ScoreTable(len(dataset))')
        require_count('num_samples', num_samples)
        self.smoothing = require_share(
            'score_smoothing',
            smoothing,
            "sampler=dict(type='InfoBatchSampler', score_smoothing=0.0)",
            zero=True,
            why='it is how much of the old score stays',
        )
        self._observer = observer
        self.values = torch.full((num_samples,), float('nan'))
        self.tracker = SampleTracker(num_samples) if track else None
        self.version = 0

    def __len__(self) -> int:
        return len(self.values)

    def update(self, indices: Tensor, values: Tensor) -> None:
        """Take the losses of some samples as their scores.

        A NaN or infinite loss is left out: the sample keeps the score that it had.

        Args:
            indices (Tensor): int64 or int32 [M], each in [0, N). If an index occurs more than once,
                it is undefined which finite value the sample keeps.
            values (Tensor): float32 [M], the loss of each.

        Raises:
            TypeError: If the indices are of another type (float16 for one cannot tell 20208 from
                20209), or the values are not floating-point numbers.
            ValueError: If the shapes differ or an index lies outside the dataset.
        """
        indices, values = torch.as_tensor(indices), torch.as_tensor(values)
        if indices.dtype not in (torch.int64, torch.int32):
            raise TypeError(
                f'the indices of scores have to be int64 or int32, but are {indices.dtype}: other '
                'types cannot name every sample'
            )
        if not values.is_floating_point():
            raise TypeError(f'scores have to be floating-point numbers, but are {values.dtype}')
        if indices.ndim != 1 or indices.shape != values.shape:
            raise ValueError(
                'indices and values have to be of one shape [M], but are of shapes '
                f'{tuple(indices.shape)} and {tuple(values.shape)}'
            )
        # Copies, which the tracker may keep.
        values = values.detach().to(device='cpu', dtype=torch.float32, copy=True)
        indices = indices.to(device='cpu', dtype=torch.int64, copy=True)
        if len(indices):
            least, greatest = (int(end) for end in torch.aminmax(indices))
            if not 0 <= least <= greatest < len(self):
                raise ValueError(
                    f'indices from {least} to {greatest} do not fit a dataset of '
                    f'{len(self)} samples'
                )
        if not all_finite(values):
            finite = torch.isfinite(values)
            indices, values = indices[finite], values[finite]
        if self._observer is not None:
            self._observer(indices, values, self.values[indices])
        if self.tracker is not None:
            self.tracker.update(indices, values)
        if self.smoothing:
            old = self.values[indices]
            mixed = self.smoothing * old + (1 - self.smoothing) * values
            values = torch.where(old.isnan(), values, mixed)
        self.values.numpy()[indices.numpy()] = values.numpy()
        self.version += 1

    def track_in_thread(self) -> ContextManager[None]:
        """Have the tracker do its arithmetic beside the ``with`` block, in a thread."""
        return contextlib.nullcontext() if self.tracker is None else self.tracker.apply_in_thread()

    def state_dict(self) -> Dict[str, Any]:
        """The state, copies.

        Returns:
            dict: ``values`` (float32 [N]), and ``tracked``, where there is a tracker.
        """
        state: Dict[str, Any] = dict(values=self.values.clone())
        if self.tracker is not None:
            state['tracked'] = self.tracker.state_dict()
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Take over the scores of a checkpoint.

        Args:
            state_dict (dict): What :meth:`state_dict` gave.

        Raises:
            ValueError: If they belong to a dataset of another length.
        """
        values = state_dict['values']
        if values.shape != self.values.shape:
            raise ValueError(
                f'the checkpoint holds scores of {len(values)} samples, but the training dataset '
                f'has {len(self)}: scores are kept by index, so they would name other samples. '
                'Resume with the dataset of the checkpoint, or start a new run from its weights '
                'with load_from=CHECKPOINT and resume=False'
            )
        self.values = values.detach().to(device='cpu', dtype=torch.float32, copy=True)
        if self.tracker is not None:
            self.tracker.load_state_dict(state_dict.get('tracked'))
        self.version += 1


def check_smoothing(smoothing: float, policy: Any) -> None:
    """Check that a policy can plan by moving averages of losses, if the scores are smoothed.

    Args:
        smoothing (float): That of the score table.
        policy (object): The policy. One whose ``label_probability`` or ``keeps_losses`` is True
            cannot.

    Raises:
        ValueError: If it cannot.
    """
    why = None
    if getattr(policy, 'label_probability', False):
        why = (
            'takes the probability of the label to be exp(-score), and a moving average of losses '
            'does not give it'
        )
    elif getattr(policy, 'keeps_losses', False):
        why = 'plans by the losses themselves: moving averages have no effect on what it keeps'
    if smoothing and why:
        raise ValueError(
            f'score_smoothing={smoothing} does not fit {type(policy).__name__}, which {why}; '
            'remove score_smoothing from the sampler, or change its policy'
        )


def all_finite(values: Tensor) -> bool:
    """Whether no float32 of [M] is NaN or infinite, in one pass over them and without a mask."""
    return not len(values) or all(math.isfinite(end) for end in torch.aminmax(values))


def gather_in_order(losses: Tensor) -> Tensor:
    """Join the losses of all ranks in the order of the pass.

    Rank r of W trains the samples r, r + W, r + 2W, ... of the pass, so the order follows from the
    ranks alone and no index travels. A collective: every rank has to call it.

    Args:
        losses (Tensor): float32 [M] of this rank, of equal length on every rank.

    Returns:
        Tensor: float32 [M * W] on the CPU.
    """
    if get_world_size() == 1:
        return losses.cpu()
    return torch.stack(all_gather(losses.contiguous()), dim=1).reshape(-1).cpu()
