"""Losses that hand out one number for a batch, as a sum over its samples.

Shapes: B samples, HW pixels, L patches. Each function takes a loss of mmseg or mmpretrain and what
it is called with, and returns :class:`Summands`. The formulas are those of the toolboxes' own
modules; what these take from the whole batch (the threshold of OHEM, the balance of boundary and
other pixels, the count of masked patches) is taken from the whole batch here too, and held fixed.
"""

from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor


class Summands(NamedTuple):
    """A loss of a batch: ``values.sum() / divide_by``.

    Attributes:
        values (Tensor): [B, ...].
        divide_by (int, float or Tensor): The divisor, of the whole batch.
        scores (Tensor): [B], each sample's loss at the scale of the batch loss; NaN where a
            sample has no position that counts.
    """

    values: Tensor
    divide_by: Any
    scores: Tensor


def rows(values: Tensor) -> Tensor:
    """View a map of samples, [B, ...], as [B, positions]."""
    return values.reshape(len(values), -1)


def ohem_cross_entropy(loss: Any, score: Tensor, target: Tensor) -> Summands:
    """``OhemCrossEntropy`` of mmseg: the mean over the hard pixels of the batch.

    Args:
        loss (nn.Module): The loss.
        score (Tensor): [B, C, HW...], the logits.
        target (Tensor): int64 [B, HW...].
    """
    class_weight = loss.class_weight
    if class_weight is not None:
        class_weight = score.new_tensor(class_weight)
    losses = F.cross_entropy(
        score, target, weight=class_weight, ignore_index=loss.ignore_label, reduction='none'
    )
    valid = target != loss.ignore_label
    with torch.no_grad():
        inside = target.masked_fill(~valid, 0).unsqueeze(1)
        confidence = F.softmax(score, dim=1).gather(1, inside).squeeze(1)
        confidence = confidence.masked_fill(~valid, float('inf'))
        last = (valid.sum() - 1).clamp(min=0, max=loss.min_kept)
        threshold = confidence.flatten().sort().values[last].clamp(min=loss.thresh)
        hard = valid & (confidence < threshold)
        count = hard.sum()
    values = loss.loss_weight * losses * hard
    # a batch without a valid pixel costs nothing; one without a hard pixel has no mean
    divide_by = torch.where(valid.any(), count, 1)
    scores = rows(values.detach()).float().sum(1) * (len(values) / divide_by)
    return Summands(values, divide_by, scores.masked_fill(~rows(valid).any(1), float('nan')))


def boundary_loss(loss: Any, bd_pre: Tensor, bd_gt: Tensor) -> Summands:
    """``BoundaryLoss`` of mmseg: cross entropy that balances boundary and other pixels.

    Args:
        loss (nn.Module): The loss.
        bd_pre (Tensor): [B, 1, HW...], the logits.
        bd_gt (Tensor): [B, HW...], 1 on boundaries and 0 elsewhere.
    """
    logits = rows(bd_pre.movedim(1, -1))
    target = rows(bd_gt).to(logits.dtype)
    positive, negative = target == 1, target == 0
    num_positive, num_negative = positive.sum(), negative.sum()
    both = num_positive + num_negative
    weight = (positive * (num_negative / both) + negative * (num_positive / both)).to(logits.dtype)
    values = loss.loss_weight * F.binary_cross_entropy_with_logits(
        logits, target, weight, reduction='none'
    )
    return Summands(values, values.numel(), values.detach().float().mean(1))


def masked_mean(values: Tensor, mask: Optional[Tensor], channel: int) -> Summands:
    """A mean over all positions, or over those of a mask.

    Args:
        values (Tensor): [B, ...].
        mask (Tensor, optional): 1 where a position counts, of a shape that multiplies ``values``.
        channel (int): A further divisor, where there is a mask.
    """
    if mask is None:
        return Summands(values, values.numel(), rows(values.detach()).float().mean(1))
    values = values * mask
    scores = rows(values.detach()).float().sum(1) / rows(mask).sum(1) / channel
    return Summands(values, mask.sum() * channel, scores)


def pixel_reconstruction(
    loss: Any, pred: Tensor, target: Tensor, mask: Optional[Tensor] = None
) -> Summands:
    """``PixelReconstructionLoss`` of mmpretrain, as of MAE and SimMIM.

    Args:
        loss (nn.Module): The loss.
        pred (Tensor): [B, L, D] or [B, C, H, W].
        target (Tensor): The same shape.
        mask (Tensor, optional): [B, L] or [B, 1, H, W].
    """
    values = loss.penalty(pred, target)
    if values.ndim == 3:
        values = values.mean(dim=-1)
    return masked_mean(values, mask, loss.channel)


def cosine_similarity(
    loss: Any, pred: Tensor, target: Tensor, mask: Optional[Tensor] = None
) -> Summands:
    """``CosineSimilarityLoss`` of mmpretrain, as of MILAN and EVA.

    Args:
        loss (nn.Module): The loss.
        pred (Tensor): [B, ..., D].
        target (Tensor): The same shape.
        mask (Tensor, optional): [B, ...].
    """
    similarity = (F.normalize(pred, dim=-1) * F.normalize(target, dim=-1)).sum(dim=-1)
    return masked_mean(loss.shift_factor - loss.scale_factor * similarity, mask, 1)


# (toolbox, class) -> formula
FORMULAS = {
    ('mmseg', 'OhemCrossEntropy'): ohem_cross_entropy,
    ('mmseg', 'BoundaryLoss'): boundary_loss,
    ('mmpretrain', 'PixelReconstructionLoss'): pixel_reconstruction,
    ('mmpretrain', 'CosineSimilarityLoss'): cosine_similarity,
}
