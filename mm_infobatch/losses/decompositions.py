"""Computes the loss of a batch from the losses of its samples, for each kind of loss.

- by map: with ``reduction_override='none'`` the loss returns a value for each sample, pixel or
  class, as OpenMMLab's losses do;
- by row: it returns a value for each sample;
- by formula: it returns one number, which is a sum over the samples (:mod:`.formulas`);
- by image: it returns one number, the mean of its values for each sample alone.

This module is for the toolboxes' own losses. All others are taken apart by :mod:`.unknown`.
"""

import inspect
import types
from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

from . import reductions, unknown
from .batch_loss import BatchLoss, Decomposition
from .call import Call
from .compiling import is_compiling
from .formulas import FORMULAS, Formula
from .trust import UNKNOWN, Kind, inherited_kind, kind_of
from .weights import Weights, positions

# The toolboxes' losses by kind, in addition to those of FORMULAS
BY_MAP = (
    Kind('mmseg', 'CrossEntropyLoss'),
    Kind('mmseg', 'DiceLoss'),
    Kind('mmseg', 'LovaszLoss'),
    Kind('mmseg', 'SiLogLoss'),
    Kind('mmpretrain', 'CrossEntropyLoss'),
    Kind('mmpretrain', 'LabelSmoothLoss'),
    Kind('mmpretrain', 'FocalLoss'),
    Kind('mmpretrain', 'AsymmetricLoss'),
    Kind('mmpretrain', 'SeesawLoss'),
    Kind('mmpretrain', 'RegressionLoss'),
)
FOCAL = Kind('mmseg', 'FocalLoss')
# Those of them whose map has one value for each image
BY_MAP_OF_IMAGES = tuple(Kind('mmseg', name) for name in ('DiceLoss', 'LovaszLoss', 'SiLogLoss'))
BY_IMAGE = (Kind('mmseg', 'TverskyLoss'), Kind('mmseg', 'HuasdorffDisstanceLoss'))
BY_ROW = (Kind('mmseg', 'KLDivLoss'),)
REASONS: Dict[Kind, str] = {
    Kind('mmpretrain', 'CrossCorrelationLoss'): (
        'it compares all samples of a batch with each other'
    ),
    Kind('mmpretrain', 'SwAVLoss'): 'it assigns all samples of a batch to prototypes at once',
    Kind('mmpretrain', 'CAELoss'): (
        'it merges the masked patches of all samples, and returns two losses'
    ),
}


def by_map(kind: Kind, loss: Any, call: Call, weights: Weights) -> BatchLoss:
    """Take apart a loss that gives a map."""
    if kind.name == 'SeesawLoss' and not weights.uniform:
        count_weighted(loss, call, weights)
    unscaled, loss_weight = without_loss_weight(kind, loss)
    if kind == ('mmseg', 'CrossEntropyLoss') and loss.class_weight is not None:
        unscaled = with_class_weight(unscaled, call.constant(loss.class_weight, call.pred()))
    values = call.evaluate_unreduced(unscaled)
    weights.check_batch_size(values, kind.name)
    return batch_loss_of_map(kind, loss, call, weights, values, loss_weight)


def by_pixel_rows(kind: Kind, loss: Any, call: Call, weights: Weights) -> BatchLoss:
    """Take apart mmseg's ``FocalLoss``, which computes on [B * HW, C].

    It gets its arguments in that shape, so that neither it nor we copy the map into another.
    """
    pred, target = call.pred(), call.target()
    if pred.ndim == 2:
        return by_map(kind, loss, call, weights)
    weights.check_batch_size(pred, kind.name)
    shape = pred.shape
    flat = call.replaced(
        as_rows(pred), as_rows(target) if target.shape == shape else target.reshape(-1)
    )
    unscaled, loss_weight = without_loss_weight(kind, loss)
    values = flat.evaluate_unreduced(unscaled).view(shape[0], -1, shape[1])
    batch_loss = batch_loss_of_map(kind, loss, call, weights, values, loss_weight)
    if batch_loss.value.ndim:  # reduction='none'
        return batch_loss._replace(value=batch_loss.value.transpose(1, 2).reshape(shape))
    return batch_loss


def as_rows(values: Tensor) -> Tensor:
    """[B, C, HW...] as [B * HW, C], as mmseg's ``FocalLoss`` copies it."""
    return values.transpose(0, 1).reshape(values.shape[1], -1).transpose(0, 1).contiguous()


def batch_loss_of_map(
    kind: Kind, loss: Any, call: Call, weights: Weights, values: Tensor, loss_weight: float
) -> BatchLoss:
    """The weighted loss of a batch, and the scores of its samples, from the map of its values."""
    reduction = call.get('reduction_override') or loss.reduction
    scores, divide_by, factor = reductions.scores_and_divisor(
        kind, loss, call, values, reduction, weights
    )
    if kind in BY_MAP_OF_IMAGES:
        scores = reductions.without_ignored(kind, loss, call, scores)
    value = reductions.reduce_map(kind, weights.times(values), reduction, divide_by)
    if not isinstance(factor, int):
        value = value / factor
    if loss_weight == 1:
        return BatchLoss(value, scores)
    # The weight may be a parameter, which the model learns.
    return BatchLoss(loss_weight * value, (scores * loss_weight).detach())


def without_loss_weight(kind: Kind, loss: Any) -> Tuple[Any, float]:
    """A shallow copy of a toolbox's loss with ``loss_weight=1``, and its ``loss_weight``.

    The toolboxes multiply by it after the reduction. For the same number, bit for bit, it has to
    stay out of the map.
    """
    loss_weight = loss.loss_weight
    # RegressionLoss multiplies its map by it, and compiled code cannot copy a module.
    if loss_weight == 1 or kind.name == 'RegressionLoss' or is_compiling():
        return loss, 1
    view = object.__new__(type(loss))  # copy.copy takes 10 us
    view.__dict__.update(loss.__dict__, loss_weight=1.0)
    if kind.name == 'LabelSmoothLoss':  # its bound method asks the loss for num_classes
        view.smooth_label = types.MethodType(loss.smooth_label.__func__, view)
    return view, loss_weight


def with_class_weight(loss: Any, class_weight: Tensor) -> Any:
    """A shallow copy of mmseg's cross entropy that gets its ``class_weight`` as a tensor, which the
    divisor needs too, so that it is copied to the device once."""
    criterion = loss.cls_criterion

    def weighted(*args: Any, **kwargs: Any) -> Tensor:
        return criterion(*args, **{**kwargs, 'class_weight': class_weight})

    view = object.__new__(type(loss))
    view.__dict__.update(loss.__dict__, class_weight=None, cls_criterion=weighted)
    return view


@torch.no_grad()
def count_weighted(loss: Any, call: Call, weights: Weights) -> None:
    """Count the samples of a batch by their weights in ``SeesawLoss``, which counts the samples of
    each class over the run. The loss adds 1 for each sample itself, so w - 1 is added here. Weights
    that were scaled, to set the step length or for a task, are unscaled first."""
    labels = call.target()
    weights.check_batch_size(labels, 'SeesawLoss')
    additional = weights.values.to(loss.cum_samples) / weights.scale - 1
    loss.cum_samples.index_add_(0, labels.flatten(), additional)


def by_row(_: None, loss: Any, call: Call, weights: Weights) -> BatchLoss:
    """Take apart a loss that returns a value for each sample."""
    values = call.evaluate(loss)
    weights.check_batch_size(values, type(loss).__name__)
    return BatchLoss(weights.times(values), positions(values.detach()).float().mean(1))


def by_formula(formula: Formula, loss: Any, call: Call, weights: Weights) -> BatchLoss:
    """Take apart a loss by its formula."""
    weights.check_batch_size(call.pred(), type(loss).__name__)
    summands = formula(loss, call, weights)
    return BatchLoss(weights.times(summands.values).sum() / summands.divide_by, summands.scores)


def by_image(kind: Kind, loss: Any, call: Call, weights: Weights) -> BatchLoss:
    """Take apart a loss by evaluating it on one sample after the other. ``avg_factor``, a count of
    the batch, is left out."""
    bound = call.bound()
    batch_size = len(next(iter(bound.arguments.values())))
    values: List[Tensor] = []
    valid = unknown.not_ignored(loss, call)  # before the loss may change its target
    for index in range(batch_size):
        args = [part_of_sample(arg, index, batch_size) for arg in bound.args]
        kwargs = {
            name: part_of_sample(arg, index, batch_size)
            for name, arg in bound.kwargs.items()
            if name != 'avg_factor'
        }
        value = loss(*args, **kwargs)
        # a sample without a valid pixel may give an empty map
        values.append(value.mean() if value.numel() else value.sum())
    stacked = torch.stack(values)
    weights.check_batch_size(stacked, type(loss).__name__)
    scores = stacked.detach().float()
    if kind != UNKNOWN:
        scores = reductions.without_ignored(kind, loss, call, scores)
    elif valid is not None:
        scores = reductions.no_score_without(valid, scores)
    return BatchLoss(weights.times(stacked).mean(), scores)


def part_of_sample(argument: Any, index: int, batch_size: int) -> Any:
    """The part of an argument that belongs to one sample. An argument without a batch dimension
    is returned whole."""
    is_scalar = isinstance(argument, Tensor) and argument.ndim == 0
    if not isinstance(argument, (Tensor, list, tuple)) or is_scalar or len(argument) != batch_size:
        return argument
    return argument[index : index + 1]


def find_decomposition(loss: nn.Module, per_image: bool) -> Decomposition:
    """Find the way to take a loss apart.

    Args:
        loss (nn.Module): The loss.
        per_image (bool): Whether to train the mean of what the loss gives for each sample alone,
            even where its value of a batch is another.

    Raises:
        TypeError: If there is none.
        ValueError: If there is one, but not in the mode that the loss is set to.
    """
    name, kind = type(loss).__name__, kind_of(loss)
    reason = REASONS.get(inherited_kind(loss))
    if reason is not None:
        raise TypeError(
            f'InfoBatchLoss cannot wrap {name}: {reason}, so no sample has a loss of its own'
        )
    if per_image:
        return Decomposition(by_image, exact=True, rule=kind)
    if getattr(loss, 'reduction', 'mean') not in ('mean', 'sum', 'none'):
        raise ValueError(f'{name}.reduction={loss.reduction!r} has to be mean, sum or none')
    if kind == UNKNOWN:
        check_convention(loss)
        return Decomposition(unknown.take_apart, exact=True)
    if kind in BY_ROW:
        return Decomposition(by_row, exact=True)
    if kind in BY_IMAGE:
        return Decomposition(by_image, exact=False, rule=kind)
    if kind in FORMULAS:
        return Decomposition(by_formula, exact=False, rule=FORMULAS[kind])
    check_mode(loss)
    if kind == FOCAL:
        return Decomposition(by_pixel_rows, exact=True, rule=kind)
    assert kind in BY_MAP
    return Decomposition(by_map, exact=True, rule=kind)


def check_convention(loss: nn.Module) -> None:
    """Refuse an unknown loss that cannot give a map.

    Raises:
        TypeError: If its ``forward`` takes no ``reduction_override``.
    """
    parameters = inspect.signature(loss.forward).parameters
    passed_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if 'reduction_override' in parameters or (passed_on and hasattr(loss, 'reduction')):
        return
    raise TypeError(
        f'InfoBatchLoss cannot wrap {type(loss).__module__}.{type(loss).__name__}: it needs a '
        'value for each sample, but the loss has no reduction_override (nor is it one of mmseg or '
        'mmpretrain that is known to be a sum over samples). Give its forward a '
        "reduction_override, for which 'none' returns a map [B, ...], or "
        f'{unknown.PER_IMAGE}, or --infobatch-options per_image=True'
    )


def check_mode(loss: Any) -> None:
    """Refuse a mode in which a toolbox's loss that gives a map gives none.

    Raises:
        ValueError: If it is in one.
    """
    name = type(loss).__name__
    if getattr(loss, 'use_mask', False):
        raise ValueError(
            f'InfoBatchLoss cannot wrap {name}(use_mask=True): it returns only the mean over the '
            'batch; set use_mask=False'
        )
    if getattr(loss, 'per_image', True) is False:
        raise ValueError(
            f'InfoBatchLoss cannot wrap {name}(per_image=False): it ranks the pixels of the whole '
            f"batch, so no image has a loss of its own; set per_image=True and reduction='mean' in "
            f'{name}, or --infobatch-options per_image=True, which train another loss'
        )
