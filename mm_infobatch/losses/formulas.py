"""Losses that give one number for a batch, as a sum over its samples.

Shapes: B samples, HW pixels, L patches, D values. Each function takes a loss of mmseg or
mmpretrain, what it is called with and the weights of the batch. The formulas are those of the
toolboxes' own modules. What these take from the whole batch (the threshold of
OHEM, the balance of boundary and other pixels, the count of masked patches) is taken from the whole
batch here too, and has no gradient. Where it is a count, the samples count as :class:`Weights`
says.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from .call import Call
from .trust import Kind
from .weights import Weights, positions


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


def ohem_cross_entropy(loss: Any, call: Call, weights: Weights) -> Summands:
    """``OhemCrossEntropy`` of mmseg: the mean over the hard pixels of the batch.

    It is called with logits [B, C, HW...] and a target, int64 [B, HW...].
    """
    score, target, class_weight = call.pred(), call.target(), loss.class_weight
    if class_weight is not None:
        class_weight = call.constant(class_weight, score)
    losses = F.cross_entropy(
        score, target, weight=class_weight, ignore_index=loss.ignore_label, reduction='none'
    )
    valid = target != loss.ignore_label
    with torch.no_grad():
        inside = target.masked_fill(~valid, 0).unsqueeze(1)
        confidence = F.softmax(score, dim=1).gather(1, inside).squeeze(1)
        confidence = confidence.masked_fill(~valid, float('inf'))
        hard = valid & (confidence < ohem_threshold(loss, weights, confidence, valid.sum()))
        # a batch without a valid pixel costs nothing; one without a hard pixel has no mean
        count = hard.sum().masked_fill(~valid.any(), 1)
    values = loss.loss_weight * losses * hard
    scores = positions(values.detach()).float().sum(1) * (len(values) / count)
    return Summands(
        values,
        count * weights.count_factor(hard),
        scores.masked_fill(~positions(valid).any(1), float('nan')),
    )


def ohem_threshold(loss: Any, weights: Weights, confidence: Tensor, count: Tensor) -> Tensor:
    """The confidence below which a pixel is hard: that of the pixel of rank ``min_kept``, or
    ``thresh`` if that is greater. A pixel counts with the relative weight of its sample.

    Args:
        loss (nn.Module): The loss.
        weights (Weights): The weights of the batch.
        confidence (Tensor): [B, HW...], infinite where a pixel is ignored.
        count (Tensor): int64 [], how many pixels are not.
    """
    ascending, order = confidence.flatten().sort()
    last = (count - 1).clamp(min=0, max=loss.min_kept)
    if not weights.uniform:
        stands_for = weights.per_position(confidence[0].numel(), confidence)
        passed = stands_for.gather(0, order).cumsum(0) <= loss.min_kept
        last = torch.minimum(passed.sum(), (count - 1).clamp(min=0))
    return ascending.gather(0, last.view(1)).clamp(min=loss.thresh)


def boundary_loss(loss: Any, call: Call, weights: Weights) -> Summands:
    """``BoundaryLoss`` of mmseg: cross entropy that balances boundary and other pixels.

    It is called with logits [B, 1, HW...] and a target [B, HW...], 1 on boundaries and 0 elsewhere.
    """
    logits = positions(call.pred().movedim(1, -1))
    target = positions(call.target()).to(logits.dtype)
    positive, negative = target == 1, target == 0
    num_positive = positive.sum() * weights.count_factor(positive)
    num_negative = negative.sum() * weights.count_factor(negative)
    both = num_positive + num_negative
    weight = (positive * (num_negative / both) + negative * (num_positive / both)).to(logits.dtype)
    values = loss.loss_weight * F.binary_cross_entropy_with_logits(
        logits, target, weight, reduction='none'
    )
    return Summands(values, values.numel(), values.detach().float().mean(1))


def masked_mean(weights: Weights, values: Tensor, mask: Optional[Tensor], channel: int) -> Summands:
    """A mean over all positions, or over those of a mask.

    Args:
        weights (Weights): The weights of the batch.
        values (Tensor): [B, ...].
        mask (Tensor, optional): 1 where a position counts, of a shape that multiplies ``values``.
        channel (int): A further divisor, where there is a mask.
    """
    if mask is None:
        return Summands(values, values.numel(), positions(values.detach()).float().mean(1))
    values = values * mask
    scores = positions(values.detach()).float().sum(1) / positions(mask).sum(1) / channel
    return Summands(values, mask.sum() * channel * weights.count_factor(mask), scores)


def pixel_reconstruction(loss: Any, call: Call, weights: Weights) -> Summands:
    """``PixelReconstructionLoss`` of mmpretrain, which MAE and SimMIM use.

    It is called with predictions and targets [B, L, D] or [B, C, H, W], and perhaps with a mask
    [B, L] or [B, 1, H, W].
    """
    values = loss.penalty(call.pred(), call.target())
    if values.ndim == 3:
        values = values.mean(dim=-1)
    return masked_mean(weights, values, call.get('mask'), loss.channel)


def cosine_similarity(loss: Any, call: Call, weights: Weights) -> Summands:
    """``CosineSimilarityLoss`` of mmpretrain, which MILAN and EVA use.

    It is called with predictions and targets [B, ..., D], and perhaps with a mask [B, ...].
    """
    similarity = (F.normalize(call.pred(), dim=-1) * F.normalize(call.target(), dim=-1)).sum(dim=-1)
    values = loss.shift_factor - loss.scale_factor * similarity
    return masked_mean(weights, values, call.get('mask'), 1)


Formula = Callable[[Any, Call, Weights], Summands]
FORMULAS: Dict[Kind, Formula] = {
    Kind('mmseg', 'OhemCrossEntropy'): ohem_cross_entropy,
    Kind('mmseg', 'BoundaryLoss'): boundary_loss,
    Kind('mmpretrain', 'PixelReconstructionLoss'): pixel_reconstruction,
    Kind('mmpretrain', 'CosineSimilarityLoss'): cosine_similarity,
}
