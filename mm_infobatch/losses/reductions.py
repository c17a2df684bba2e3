"""How the toolboxes' losses turn a map of values into a number, and which values are valid.

Shapes: B samples, C classes, HW pixels. A map is what a loss returns with
``reduction_override='none'``: [B], [B, C], [B, HW...] or [B, C, HW...].

The rules are those of mmseg's and mmpretrain's own modules, so that with weights of 1 the result is
the wrapped loss's own, operation for operation. Where those read a count back to the host
(``.item()``), the count stays on the device here.
"""

import functools
import sys
from typing import Any, FrozenSet, Optional, Tuple, Union

from mmengine.utils import digit_version
from torch import Tensor, nn

Divisor = Union[int, float, Tensor, None]


@functools.lru_cache(maxsize=None)
def lineage(kind: type) -> Tuple[str, FrozenSet[str]]:
    """The toolbox that a class of losses belongs to, and the names of all its base classes."""
    for cls in kind.__mro__:
        package = cls.__module__.split('.')[0]
        if package in ('mmseg', 'mmpretrain'):
            return package, frozenset(cls.__name__ for cls in kind.__mro__)
    return '', frozenset()


def toolbox_of(loss: nn.Module) -> str:
    """The toolbox whose rules a loss follows: 'mmseg', 'mmpretrain' or ''.

    A subclass of a toolbox's loss follows the toolbox that it inherits from.
    """
    kind: Any = type(loss)
    return lineage(kind)[0]


def inherits(loss: nn.Module, *names: str) -> bool:
    """Whether a loss is, or inherits from, one of the toolboxes' classes of these names."""
    kind: Any = type(loss)
    return not lineage(kind)[1].isdisjoint(names)


def valid_positions(
    loss: Any, pred: Tensor, target: Tensor, ignore_index: Optional[int]
) -> Optional[Tensor]:
    """Which positions of the target count.

    Args:
        loss (nn.Module): The wrapped loss.
        pred (Tensor): [B, C, ...], the logits.
        target (Tensor): Class indices [B, ...], or values for each class [B, C, ...].
        ignore_index (int, optional): The ``ignore_index`` that the loss was called with.

    Returns:
        Tensor, optional: bool, of the target's shape; None where every position counts.
    """
    if not inherits(loss, 'CrossEntropyLoss', 'FocalLoss'):
        return None
    indices = not target.is_floating_point() and target.ndim < pred.ndim
    if toolbox_of(loss) != 'mmseg':  # only F.cross_entropy's own default ignores anything
        hard = inherits(loss, 'CrossEntropyLoss') and not (loss.use_sigmoid or loss.use_soft)
        return target != -100 if hard and indices else None
    if inherits(loss, 'FocalLoss'):
        return target != (255 if ignore_index is None else ignore_index) if indices else None
    ignore_index = -100 if ignore_index is None else ignore_index
    if loss.use_sigmoid:
        return (target >= 0) & (target != ignore_index)
    return target != ignore_index if indices else None


def counts_ignored_classes() -> bool:
    """Whether mmseg's cross entropy with ``class_weight`` divides by the class weights of ignored
    pixels too, as it does up to 1.2.2 (which needs an ``ignore_index`` that is a class)."""
    return digit_version(sys.modules['mmseg'].__version__) <= digit_version('1.2.2')


def divisor(
    loss: Any,
    pred: Tensor,
    target: Tensor,
    valid: Optional[Tensor],
    values: Tensor,
    avg_factor: Divisor,
) -> Divisor:
    """What the wrapped loss would divide the sum of its map by.

    Args:
        loss (nn.Module): The wrapped loss.
        pred (Tensor): [B, C, ...], the logits.
        target (Tensor): The target that the loss was called with.
        valid (Tensor, optional): What :func:`valid_positions` gave.
        values (Tensor): The map.
        avg_factor (int, float or Tensor, optional): The ``avg_factor`` that the loss was called
            with.

    Returns:
        int, float or Tensor, optional: The divisor; None where it is the number of values.
    """
    if (
        avg_factor is not None
        or toolbox_of(loss) != 'mmseg'
        or not inherits(loss, 'CrossEntropyLoss')
    ):
        return avg_factor
    class_weight, avg_non_ignore = loss.class_weight, loss.avg_non_ignore
    if loss.use_sigmoid:
        if not avg_non_ignore or valid is None:
            return None
        if valid.ndim < values.ndim:
            valid = valid.unsqueeze(1).expand(values.shape)
        return valid.float().sum()
    if valid is None:  # a target of class probabilities
        return target.numel()
    if class_weight is not None:
        weights = pred.new_tensor(class_weight)
        if not counts_ignored_classes():
            return weights[target[valid]].sum()
        inside = target.clamp(0, len(weights) - 1)  # 255 is no class, and counts nothing
        counted = valid if avg_non_ignore else target == inside
        return weights[inside].masked_fill(~counted, 0).sum()
    return valid.sum() if avg_non_ignore else target.numel()


def reduce_map(loss: nn.Module, values: Tensor, reduction: str, divide_by: Divisor) -> Tensor:
    """Reduce a map as the wrapped loss's toolbox does.

    Args:
        loss (nn.Module): The wrapped loss.
        values (Tensor): The map, weighted.
        reduction (str): 'mean', 'sum' or 'none'.
        divide_by (int, float or Tensor, optional): What :func:`divisor` gave.

    Returns:
        Tensor: A scalar, or the map with 'none'.
    """
    if reduction != 'none' and inherits(loss, 'FocalLoss') and toolbox_of(loss) == 'mmseg':
        # It reduces the map as [B * HW, C]; float32 sums depend on the order.
        values = values.transpose(0, 1).reshape(values.shape[1], -1).t().contiguous()
    toolbox = toolbox_of(loss)
    if toolbox:
        utils: Any = sys.modules[f'{toolbox}.models.losses.utils']
        return utils.weight_reduce_loss(values, None, reduction, divide_by)
    if reduction == 'none':
        return values
    if reduction == 'sum':
        return values.sum()
    return values.mean() if divide_by is None else values.sum() / divide_by


def per_sample(values: Tensor, pred: Tensor, valid: Optional[Tensor], divide_by: Divisor) -> Tensor:
    """The loss of each sample, as if it were alone.

    For a map over pixels it is the mean over the sample's valid pixels (and the classes, where the
    map has them); without pixels it is the sample's share of the sum, at the scale that the batch
    loss has.

    Args:
        values (Tensor): The map, not weighted: [B], [B, C], [B, HW...] or [B, C, HW...].
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
    rows = values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)
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
        scores = scores.masked_fill(~valid.reshape(len(valid), -1).all(1), float('nan'))
    return scores


def expand_like(weights: Tensor, values: Tensor) -> Tensor:
    """View weights of samples, [B], so that they multiply a map, [B, ...]."""
    weights = weights.to(values.dtype)
    return weights if values.ndim == 1 else weights.view(-1, *[1] * (values.ndim - 1))
