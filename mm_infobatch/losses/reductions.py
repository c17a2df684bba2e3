"""Reduces a map of losses as the toolboxes do, and says which of its positions count.

Shapes: B samples, C classes, HW pixels. A map is what a loss returns with
``reduction_override='none'``: [B], [B, C], [B, HW...] or [B, C, HW...].

The rules are those of mmseg's and mmpretrain's own modules, so that with weights of 1 the result is
the wrapped loss's own, operation for operation. Where those read a count back to the host
(``.item()``), the count stays on the device here.
"""

import sys
from typing import Any, List, Optional, Tuple, Union

import torch
from mmengine.utils import digit_version
from torch import Tensor

from .call import Call
from .trust import Kind
from .weights import Factor, Weights, positions

Divisor = Union[int, float, Tensor, None]


def valid_positions(
    kind: Kind, loss: Any, pred: Tensor, target: Tensor, ignore_index: Optional[int]
) -> Optional[Tensor]:
    """Which positions of the target count.

    Args:
        kind (Kind): Which of the toolboxes' losses it is.
        loss (nn.Module): The wrapped loss.
        pred (Tensor): [B, C, ...], the logits.
        target (Tensor): Class indices [B, ...], or values for each class [B, C, ...].
        ignore_index (int, optional): The ``ignore_index`` that the loss was called with.

    Returns:
        Tensor, optional: bool, of the target's shape; None where every position counts.
    """
    if kind.name not in ('CrossEntropyLoss', 'FocalLoss'):
        return None
    indices = not target.is_floating_point() and target.ndim < pred.ndim
    if kind.toolbox != 'mmseg':  # only F.cross_entropy's own default ignores anything
        hard = kind.name == 'CrossEntropyLoss' and not (loss.use_sigmoid or loss.use_soft)
        return target != -100 if hard and indices else None
    if kind.name == 'FocalLoss':
        return target != (255 if ignore_index is None else ignore_index) if indices else None
    ignore_index = -100 if ignore_index is None else ignore_index
    if loss.use_sigmoid:
        return (target >= 0) & (target != ignore_index)
    return target != ignore_index if indices else None


def without_ignored(kind: Kind, loss: Any, call: Call, scores: Tensor) -> Tensor:
    """Set the scores of images without a valid position to NaN, for losses that give each image one
    value, also one without.

    Args:
        kind (Kind): Which of the toolboxes' losses it is.
        loss (nn.Module): The wrapped loss.
        call (Call): What it is called with.
        scores (Tensor): float32 [B].
    """
    target = call.target()
    if kind == ('mmseg', 'SiLogLoss'):
        valid = target > loss.eps
    elif kind == ('mmseg', 'LovaszLoss'):
        ignore_index = call.get('ignore_index')
        valid = target != (255 if ignore_index is None else ignore_index)
    elif kind == ('mmseg', 'DiceLoss'):  # ignores labels that are not a class
        classes = max(call.pred().shape[1], 2)  # one channel is for two classes
        valid = None if target.shape == call.pred().shape else target < classes
    elif kind in (('mmseg', 'TverskyLoss'), ('mmseg', 'HuasdorffDisstanceLoss')):
        valid = target != loss.ignore_index
    else:
        valid = valid_positions(kind, loss, call.pred(), target, call.get('ignore_index'))
    return scores if valid is None else no_score_without(valid, scores)


def no_score_without(valid: Tensor, scores: Tensor) -> Tensor:
    """Set the scores of samples without a valid position to NaN.

    Args:
        valid (Tensor): bool [B, ...].
        scores (Tensor): float32 [B].
    """
    return scores.masked_fill(~positions(valid).any(1), float('nan'))


def counts_ignored_classes() -> bool:
    """Whether mmseg's cross entropy with ``class_weight`` divides by the class weights of ignored
    pixels too, as it does up to 1.2.2 (which needs an ``ignore_index`` that is a class)."""
    return digit_version(sys.modules['mmseg'].__version__) <= digit_version('1.2.2')


def scores_and_divisor(
    kind: Kind, loss: Any, call: Call, values: Tensor, reduction: str, weights: Weights
) -> Tuple[Tensor, Divisor, Factor]:
    """Compute the losses of the samples, and what the sum of the map is divided by.

    Args:
        kind (Kind): Which of the toolboxes' losses it is.
        loss (nn.Module): The wrapped loss.
        call (Call): What it is called with.
        values (Tensor): The map.
        reduction (str): 'mean', 'sum' or 'none'.
        weights (Weights): The weights of the batch.

    Returns:
        tuple: Scores, float32 [B]; and the divisor and its count factor, see :func:`divisor`.
    """
    pred = call.pred()
    valid = valid_positions(kind, loss, pred, call.target(), call.get('ignore_index'))
    if reduction != 'mean':
        return per_sample(values, pred, valid, len(values)), call.get('avg_factor'), 1
    divide_by, factor = divisor(kind, loss, call, valid, values, weights)
    return per_sample(values, pred, valid, divide_by), divide_by, factor


def divisor(
    kind: Kind,
    loss: Any,
    call: Call,
    valid: Optional[Tensor],
    values: Tensor,
    weights: Weights,
) -> Tuple[Divisor, Factor]:
    """What the wrapped loss divides the sum of its map by.

    Args:
        kind (Kind): Which of the toolboxes' losses it is.
        loss (nn.Module): The wrapped loss.
        call (Call): What it is called with.
        valid (Tensor, optional): What :func:`valid_positions` returned.
        values (Tensor): The map.
        weights (Weights): The weights of the batch.

    Returns:
        tuple: The divisor, None if it is the number of values; and its count factor, see
        :meth:`Weights.count_factor`, which is 1 if the divisor is not a count of the batch.
    """
    avg_factor = call.get('avg_factor')
    if avg_factor is not None:
        return avg_factor, count_factor_of(avg_factor, call, valid, values, weights)
    if kind != ('mmseg', 'CrossEntropyLoss'):
        return None, 1
    target, avg_non_ignore = call.target(), loss.avg_non_ignore
    if loss.use_sigmoid:
        if not avg_non_ignore or valid is None:
            return None, 1
        if valid.ndim < values.ndim:
            valid = valid.unsqueeze(1).expand(values.shape)
        return valid.float().sum(), weights.count_factor(valid)
    if valid is None:  # a target of class probabilities
        return target.numel(), 1
    if loss.class_weight is not None:
        of_class = call.constant(loss.class_weight, call.pred())
        return divisor_of_classes(of_class, loss, target, valid, weights)
    if avg_non_ignore:
        return valid.sum(), weights.count_factor(valid)
    return target.numel(), 1


def divisor_of_classes(
    of_class: Tensor, loss: Any, target: Tensor, valid: Tensor, weights: Weights
) -> Tuple[Tensor, Factor]:
    """What mmseg's cross entropy with ``class_weight`` divides by: the class weights of its pixels.

    Args:
        of_class (Tensor): The weight of each class, float [C].
        loss (nn.Module): The wrapped loss.
        target (Tensor): Class indices, int64 [B, ...].
        valid (Tensor): bool [B, ...], the positions that count.
        weights (Weights): The weights of the batch.

    Returns:
        tuple: The divisor and its count factor, see :func:`divisor`.
    """
    inside = target.clamp(0, len(of_class) - 1)  # 255 is no class, and counts nothing
    if counts_ignored_classes():
        pixels = valid if loss.avg_non_ignore else target == inside
        total = of_class[inside].masked_fill(~pixels, 0).sum()
    else:
        pixels, total = valid, of_class[target[valid]].sum()
    if weights.uniform:
        return total, 1
    return total, weights.count_factor(of_class[inside].masked_fill(~pixels, 0))


def count_factor_of(
    avg_factor: Any, call: Call, valid: Optional[Tensor], values: Tensor, weights: Weights
) -> Factor:
    """The count factor of an ``avg_factor``, see :meth:`Weights.count_factor`.

    A head may pass a count of something in the batch: of valid pixels, of positive labels, or the
    sum of the weights of its pixels. Such a count is recognized by its value. The number of samples
    does not depend on the weights.

    Args:
        avg_factor (int, float or Tensor): What the loss was called with.
        call (Call): What else it was called with.
        valid (Tensor, optional): bool [B, ...], the positions that count.
        values (Tensor): The map.
        weights (Weights): The weights of the batch.
    """
    factor: Factor = 1
    if weights.uniform or (not isinstance(avg_factor, Tensor) and avg_factor == len(values)):
        return factor
    for counts in countable(call, valid, values):
        total = counts.sum()
        differs = (total - avg_factor).abs() > 1e-6 * total
        own = torch.as_tensor(weights.count_factor(counts)).masked_fill(differs, 1.0)
        factor = own if isinstance(factor, int) else torch.where(differs, factor, own)
    return factor


def countable(call: Call, valid: Optional[Tensor], values: Tensor) -> List[Tensor]:
    """The maps [B, ...] whose sums a head may pass as ``avg_factor``, the most likely one last."""
    maps = []
    target, weight = call.target(), call.get('weight')
    if isinstance(target, Tensor) and target.ndim > 1 and target.shape == values.shape:
        maps.append(target > 0)
    if isinstance(weight, Tensor) and weight.ndim and weight.numel() % len(values) == 0:
        maps.append(weight.detach().reshape(len(values), -1))
    if valid is not None:
        maps.append(valid)
    return maps


def reduce_map(kind: Kind, values: Tensor, reduction: str, divide_by: Divisor) -> Tensor:
    """Reduce a map as the wrapped loss's toolbox does.

    Args:
        kind (Kind): Which of the toolboxes' losses it is.
        values (Tensor): The map, weighted.
        reduction (str): 'mean', 'sum' or 'none'.
        divide_by (int, float or Tensor, optional): What :func:`divisor` returned.

    Returns:
        Tensor: A scalar, or the map with 'none'.
    """
    utils: Any = sys.modules[f'{kind.toolbox}.models.losses.utils']
    return utils.weight_reduce_loss(values, None, reduction, divide_by)


def per_sample(values: Tensor, pred: Tensor, valid: Optional[Tensor], divide_by: Divisor) -> Tensor:
    """The loss of each sample, as if it were alone.

    For a map over pixels it is the mean over the sample's valid pixels (and the classes, where the
    map has them). Without pixels it is the sample's share of the sum, at the scale that the batch
    loss has.

    Args:
        values (Tensor): The map, not weighted: [B], [B, C], [B, HW...], [B, C, HW...] or [B, HW,
            C].
        pred (Tensor): [B, C, ...], the logits.
        valid (Tensor, optional): bool [B, ...], the positions that count.
        divide_by (int, float or Tensor, optional): What the batch's sum is divided by; None for
            the number of values.

    Returns:
        Tensor: float32 [B], NaN where a sample has no valid position.
    """
    values = values.detach().float()
    if values.ndim == 1 and pred.ndim <= 2 and (valid is None or valid.ndim == 1):
        # The common case, in few operations.
        scores = values if divide_by is None else values * (len(values) / divide_by)
        return scores if valid is None else scores.masked_fill(~valid, float('nan'))
    rows = positions(values)
    if pred.ndim > 2:
        if valid is None:
            return rows.mean(1)
        count = valid.flatten(1).sum(1)
        classes = rows.numel() // valid.numel()
        return rows.sum(1) / (count if classes == 1 else count * classes)  # 0 / 0 is NaN
    if divide_by is None:
        scores = rows.mean(1)
    else:
        scores = rows.sum(1) * (len(rows) / divide_by)
    if valid is not None:
        scores = scores.masked_fill(~positions(valid).all(1), float('nan'))
    return scores
