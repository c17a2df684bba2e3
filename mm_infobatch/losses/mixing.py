"""Weights and scores of samples that a batch augmentation (Mixup, CutMix, ResizeMix) mixes.

A row of a mixed batch stands for its own sample and for a partner, which was drawn from the kept
samples of the batch. A pair is only there if both are kept, and a kept sample meets each other one
more often the fewer there are. The loss of a pair therefore stands in for the full data at the
weight

    w(own) * w(partner) / mean

and that of a row that was not mixed at w(own). The mean is that of the kept samples' weights: N / K
for an unbiased policy that keeps K of N samples. The partner has to be known. Batch augmentations
do not return it, but they are linear in the rows of the targets, so an identity matrix that is
mixed beside the targets comes back as the mixing matrix.
"""

from typing import Any, Callable, Optional, Tuple

import torch
from torch import Tensor, nn

NAME = 'batch_augments'


def mixed_weights(weights: Tensor, matrix: Tensor, mean_weight: float) -> Tensor:
    """The weights of the rows of a mixed batch.

    Args:
        weights (Tensor): float32 [B], the weights of the samples.
        matrix (Tensor): [B, B], the mixing matrix: row i of the batch is ``matrix[i] @ images``.
        mean_weight (float): The mean weight of all samples that the pass keeps.

    Returns:
        Tensor: float32 [B].
    """
    members = matrix != 0
    product = torch.where(members, weights, torch.ones_like(weights)).prod(dim=1)
    return product / mean_weight ** (members.sum(1) - 1).clamp(min=0)


def samples_of_rows(matrix: Tensor) -> Tensor:
    """The sample that each row of a mixed batch belongs to: its own, or if that has no share in the
    row, because the augmentation has reordered them, the one with the largest share.

    Args:
        matrix (Tensor): [B, B], the mixing matrix.

    Returns:
        Tensor: int64 [B].
    """
    own = torch.arange(len(matrix), device=matrix.device)
    return torch.where(matrix.diagonal() != 0, own, matrix.argmax(1))


def by_sample(scores: Tensor, samples: Tensor) -> Tensor:
    """The scores of samples, from those of rows; the mean where a sample has several rows.

    Args:
        scores (Tensor): float32 [B], of the rows.
        samples (Tensor): int64 [B], what :func:`samples_of_rows` gave.

    Returns:
        Tensor: float32 [B], NaN where a sample has no row.
    """
    sums, counts = torch.zeros_like(scores), torch.zeros_like(scores)
    ones = torch.ones_like(scores)
    return sums.index_add_(0, samples, scores) / counts.index_add_(0, samples, ones)


def batch_augments_of(preprocessor: Any) -> Any:
    """The ``batch_augments`` of a data preprocessor, None where there are none; not a recorder.

    Args:
        preprocessor (nn.Module, optional): The data preprocessor.

    Raises:
        ValueError: If they are not one callable.
    """
    modules = getattr(preprocessor, '_modules', {})
    augment = modules.get(NAME, getattr(preprocessor, NAME, None))
    if isinstance(augment, MixingRecorder):  # of the pass before
        augment = augment.augment
    if isinstance(augment, (list, tuple, nn.ModuleList)) and not len(augment):
        return None
    if augment is not None and (not callable(augment) or isinstance(augment, nn.ModuleList)):
        raise ValueError(
            f'batch_augments of {type(preprocessor).__name__} is a {type(augment).__name__}, so '
            'InfoBatch cannot know which samples it mixes; make it one callable from images and '
            'targets [B, C] to mixed ones, or if it mixes no samples, give the attribute another '
            'name'
        )
    return augment


def put_batch_augments(preprocessor: Any, recorder: Optional['MixingRecorder']) -> None:
    """Have a recorder replace the ``batch_augments`` of a data preprocessor, or, where it is None,
    give back what one has replaced.

    A module stays where it is, so that a checkpoint holds its parameters under their own names; the
    attribute of the instance is found before it.
    """
    is_module = NAME in getattr(preprocessor, '_modules', {})
    if recorder is None:
        recorder = getattr(preprocessor, NAME, None)
        if not isinstance(recorder, MixingRecorder):
            return
        if is_module:
            del vars(preprocessor)[NAME]
        else:
            setattr(preprocessor, NAME, recorder.augment)
    elif is_module:
        vars(preprocessor)[NAME] = recorder
    else:
        setattr(preprocessor, NAME, recorder)


class MixingRecorder:
    """Replaces the ``batch_augments`` of a data preprocessor, and records the mixing matrix.

    Args:
        augment (callable): The batch augmentation, from images and targets, [B, ...] and [B, C],
            to mixed ones.
        on_mix (callable): Is called with the mixing matrix, float [B, B].
    """

    def __init__(self, augment: Callable[..., Any], on_mix: Callable[[Tensor], Any]) -> None:
        self.augment = augment
        self.on_mix = on_mix
        self._deviation: Optional[Tensor] = None  # of the shares of a row from a sum of 1, at most

    def check(self) -> None:
        """Read whether each row of the batches so far was a mean of samples; waits for the device.

        Raises:
            ValueError: If one was not: the augmentation does more to the targets than mix them.
        """
        deviation, self._deviation = self._deviation, None
        if deviation is not None and not float(deviation) < 1e-3:
            raise ValueError(
                f'the batch augmentation {self.augment!r} makes rows whose shares of the samples '
                f'do not sum to 1 (they are off by up to {float(deviation):.3g}), so it does more '
                'to the targets than mix them, and InfoBatch cannot know which samples a row is '
                'made of; have it mix only, and smooth labels in the loss (LabelSmoothLoss)'
            )

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tuple[Tensor, Tensor]:
        """Mix a batch.

        Raises:
            ValueError: If the targets are not a tensor [B, C], or the augmentation changes the
                number of rows or of columns.
        """
        if not isinstance(targets, Tensor) or targets.ndim != 2:
            raise ValueError(
                f'the batch augmentation {self.augment!r} gets {type(targets).__name__} for its '
                'targets, not a tensor [B, C], so InfoBatch cannot know which samples it mixes; '
                'remove it from model.data_preprocessor.batch_augments'
            )
        count, columns = targets.shape
        identity = torch.eye(count, device=targets.device)
        inputs, both = self.augment(inputs, torch.cat([targets.float(), identity], dim=1))
        if both.shape != (count, columns + count):
            raise ValueError(
                f'the batch augmentation {self.augment!r} makes targets of shape '
                f'{tuple(both.shape)} from {(count, columns + count)}, so InfoBatch cannot know '
                'which samples it mixes; remove it from model.train_cfg.augments'
            )
        mixed, matrix = both.split([columns, count], dim=1)
        deviation = (matrix.sum(1) - 1).abs().max()
        if self._deviation is not None:
            deviation = torch.maximum(deviation, self._deviation)
        self._deviation = deviation
        self.on_mix(matrix)
        return inputs, mixed
