"""Losses that are not the toolboxes' own: trained by their own value, and checked in every batch.

An unknown loss has to follow OpenMMLab's convention: its ``forward`` takes ``reduction_override``,
and returns a map [B, ...] for 'none'. It is not known how it reduces the map, so it is evaluated
twice: for the map, and for its own value of the batch. Where nothing is pruned, its own value is
trained. In a pruned pass, the weighted map is trained, and the own value shows what its sum has to
be divided by: the number of all positions, or of those whose target is not ignored. A loss that
divides by anything else is refused.

The additional evaluation has no side effects, see :mod:`.spare`. It does not wait for the device,
see :meth:`InfoBatchLoss.check`. The first batch is checked further, see :mod:`.unknown_checks`.
"""

from typing import Any, Optional, Tuple, Union

import torch
from torch import Tensor

from .batch_loss import BatchLoss, Comparison
from .call import Call
from .compiling import is_compiling
from .reductions import count_factor_of, no_score_without, per_sample
from .spare import spare_evaluation
from .weights import Factor, Weights

PER_IMAGE = (
    'train the mean of its values for each image alone, which may be another loss: '
    "dict(type='InfoBatchLoss', loss=..., per_image=True)"
)


def take_apart(_: None, loss: Any, call: Call, weights: Weights) -> BatchLoss:
    """Take apart an unknown loss.

    Raises:
        ValueError: If it gives no map with ``reduction_override='none'``.
    """
    # Compiled code cannot restore a state.
    spare = torch.no_grad() if is_compiling() else spare_evaluation(loss)
    seen = not_ignored(loss, call)  # before the loss may change its target
    beside = call.with_own_target()
    if weights.uniform:
        with spare:
            values = map_of(loss, beside, weights)
        own = call.evaluate(loss)
    else:
        with spare:
            own = beside.evaluate(loss)
        values = map_of(loss, call, weights)
    if not isinstance(own, Tensor):
        raise ValueError(
            f'{type(loss).__name__} returned a {type(own).__name__}; InfoBatchLoss needs a tensor'
        )
    shapes = values.shape, values.shape[:1] + values.shape[2:]
    valid = seen if seen is not None and seen.shape in shapes else None
    divide_by, factor, comparison = compare(loss, call, values, valid, own, weights)
    pred = call.pred() if isinstance(call.pred(), Tensor) else values
    scores = per_sample(values, pred, valid, divide_by)
    if valid is None and seen is not None and seen.shape[:1] == scores.shape:
        scores = no_score_without(seen, scores)  # a map of images, and labels of pixels
    if weights.uniform:
        return BatchLoss(own, scores, comparison)
    value, reduction = weights.times(values), reduction_of(loss, call)
    if reduction != 'none':
        value = total_of(value)
    if reduction == 'mean':
        value = value / divide_by / factor
    return BatchLoss(value, scores, comparison)


def map_of(loss: Any, call: Call, weights: Weights) -> Tensor:
    """The values of the samples, [B, ...].

    Raises:
        ValueError: If the loss gives none.
    """
    values: Any = call.evaluate_unreduced(loss)
    name = type(loss).__name__
    if not isinstance(values, Tensor) or values.ndim == 0:
        what = 'one number' if isinstance(values, Tensor) else f'a {type(values).__name__}'
        raise ValueError(
            f"{name} gave {what} with reduction_override='none', so it has no values of single "
            f'samples. Return a map [B, ...] for it, or {PER_IMAGE}'
        )
    weights.check_batch_size(values, name)
    return values


def reduction_of(loss: Any, call: Call) -> str:
    """The reduction of a call."""
    return call.get('reduction_override') or getattr(loss, 'reduction', 'mean')


def total_of(values: Tensor) -> Tensor:
    """The sum of a map, at least in float32."""
    return values.sum(dtype=torch.float64 if values.dtype == torch.float64 else torch.float32)


def not_ignored(loss: Any, call: Call) -> Optional[Tensor]:
    """Which positions of the target are not ignored.

    Args:
        loss (nn.Module): The loss.
        call (Call): What it is called with.

    Returns:
        Tensor, optional: bool, of the target's shape; None if the target has no class indices.
    """
    target = call.target()
    if not isinstance(target, Tensor) or target.is_floating_point():
        return None
    for ignore_index in (
        call.get('ignore_index'),
        call.default('ignore_index'),
        getattr(loss, 'ignore_index', None),
        getattr(loss, 'ignore_label', None),
    ):
        if isinstance(ignore_index, int):
            return target != ignore_index
    # what the toolboxes ignore; among single labels 255 may be a class
    return (target >= 0) & (target != 255) if target.ndim > 2 else target >= 0


def compare(
    loss: Any, call: Call, values: Tensor, valid: Optional[Tensor], own: Tensor, weights: Weights
) -> Tuple[Union[int, float, Tensor], Factor, Comparison]:
    """Find what a loss divides the sum of its map by, and compare its own value with the result.

    Args:
        loss (nn.Module): The loss.
        call (Call): What it is called with.
        values (Tensor): The map.
        valid (Tensor, optional): Which positions of the map are not ignored, if it is known.
        own (Tensor): The loss's own value of the batch.
        weights (Weights): The weights of the batch.

    Returns:
        tuple: The divisor, its count factor (see :meth:`Weights.count_factor`), and the comparison.
    """
    total, mean = total_of(values.detach()).float(), own.detach().float().mean()
    rtol = max(1e-3, 4 * torch.finfo(own.dtype).eps, 4 * torch.finfo(values.dtype).eps)

    def agrees(made: Tensor, atol: float = 1e-5) -> Tensor:
        return torch.isclose(made, mean, rtol=rtol, atol=atol, equal_nan=True)

    reduction, avg_factor = reduction_of(loss, call), call.get('avg_factor')
    divide_by: Union[int, float, Tensor] = values.numel()
    factor: Factor = 1
    if reduction == 'mean' and avg_factor is not None:
        divide_by, factor = avg_factor, count_factor_of(avg_factor, call, valid, values, weights)
    made = total if reduction == 'sum' else total / divide_by
    fits = agrees(made)
    if reduction != 'mean':
        divide_by = len(values)  # the scale of the scores
    elif avg_factor is None and valid is not None:
        count = valid.sum() * (values.numel() // valid.numel())
        # The nearer of the two: for a small loss, both agree to 1e-5.
        nearer = ((made - mean).abs() <= (total / count - mean).abs()) & mean.isfinite()
        by_all = agrees(made, 0) | nearer
        divide_by = count.float().masked_fill(by_all, values.numel())
        factor = weights.count_factor(valid)
        if isinstance(factor, Tensor):
            factor = factor.masked_fill(by_all, 1.0)
        fits = fits | agrees(total / count)
    wrong = ~fits & mean.isfinite()  # float16 may overflow in its own sum
    return divide_by, factor, Comparison(wrong, mean, made)
