"""Losses that are not the toolboxes' own: trained by their own value, and checked in every batch.

An unknown loss has to follow OpenMMLab's convention: its ``forward`` takes ``reduction_override``,
and returns a map [B, ...] for 'none'. It is not known how it reduces the map, so it is evaluated
twice: for the map, and for its own value of the batch. Where nothing is pruned, its own value is
trained. In a pruned pass, the weighted map is trained, and the own value shows what its sum has to
be divided by: the number of all positions, or of those whose target is not ignored. A loss that
divides by anything else is refused.

The first batch is used to check that each value of the map belongs to one sample: its gradient with
respect to other samples has to be 0, and its value the same in a batch of copies of that sample.
The sum of the map also has to have the gradient of the own value, up to a factor.

The additional evaluation has no side effects: it has no gradient, and the state of the loss and the
random generators are restored. The check costs this evaluation, but does not wait for the device,
see :meth:`InfoBatchLoss.check`.
"""

import collections
import contextlib
import copy
from typing import Any, Iterator, List, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from .batch_loss import BatchLoss, Comparison
from .call import Call, of_batch
from .compiling import is_compiling
from .reductions import count_factor_of, no_score_without, per_sample
from .weights import Factor, Weights

# What PyTorch keeps in each module besides tensors: hooks and submodules
OF_EVERY_MODULE = vars(nn.Module()).keys() - {'_parameters', '_buffers'}
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


def check_rows(loss: Any, call: Call, weights: Weights) -> None:
    """Check that each value of the map belongs to one sample. Waits for the device.

    It fails if the rows of the map are classes, which may be as many as the samples, or if the loss
    counts the labels of the batch.

    Raises:
        ValueError: If a value depends on other samples.
    """
    leaves, replaced = call.with_leaves(len(weights.values))
    if not leaves or call.target() is None:
        return
    with spare_evaluation(loss), torch.enable_grad():
        values = map_of(loss, replaced.with_own_target(), weights)
        first = values[0].sum()
        grads = torch.autograd.grad(first, leaves, allow_unused=True) if first.grad_fn else ()
    depends = any(grad is not None and bool(grad[1:].nan_to_num().any()) for grad in grads)
    if depends or not same_among_copies(loss, call, weights, values[0].detach()):
        raise ValueError(
            f'the value that {type(loss).__name__} gives for a sample depends on the other samples '
            "of the batch: with reduction_override='none' a row of its map, of shape "
            f'{tuple(values.shape)}, has to belong to one sample. Return a map [B, ...] of values '
            f'of single samples, or {PER_IMAGE}'
        )


def check_gradient(loss: Any, call: Call, weights: Weights) -> None:
    """Check that the sum of the map has the gradient of the loss's own value, up to a factor. Waits
    for the device.

    In a pruned pass the map is trained, which a loss may have detached.

    Raises:
        ValueError: If it has another gradient.
    """
    leaves, replaced = call.with_leaves(len(weights.values))
    if not leaves:
        return
    coarsest = max((torch.finfo(leaf.dtype) for leaf in leaves), key=lambda info: info.eps)

    def gradient(value: Tensor, scale: Tensor) -> Tensor:
        grads: Any = [None] * len(leaves)
        if value.grad_fn:
            grads = torch.autograd.grad(value, leaves, scale, allow_unused=True)
        pairs = zip(grads, map(torch.zeros_like, leaves))
        return torch.cat([(zero if one is None else one).flatten().float() for one, zero in pairs])

    with spare_evaluation(loss), torch.enable_grad():
        values = map_of(loss, replaced.with_own_target(), weights)
        made, size = total_of(values), total_of(values.detach().abs())
    with spare_evaluation(loss), torch.enable_grad():
        own = total_of(replaced.with_own_target().evaluate(loss))
    factor = (made / own).detach()
    # Scaled before they are differentiated: the gradient of a mean may be too small for float16.
    scale = (coarsest.max / 4 / factor.abs()).clamp(max=1)
    grad, own_grad = gradient(made, scale), gradient(own, scale * factor)
    near_zero = made.abs() <= 1e-3 * size or own.abs() < 2e-3  # values agree to 1e-5 only
    largest = torch.maximum(own_grad.abs(), grad.abs()).max()
    if near_zero or not (own * largest).isfinite() or largest < coarsest.tiny:
        return  # there is no factor to compare by, or no gradient
    if (own_grad - grad).abs().max() > max(1e-2, 8 * coarsest.eps) * largest:
        raise ValueError(
            f"the map that {type(loss).__name__} gives with reduction_override='none' has another "
            'gradient than its own value, and a pruned pass trains the map. Return a map that is '
            f'not detached, or {PER_IMAGE}'
        )


def same_among_copies(loss: Any, call: Call, weights: Weights, first: Tensor) -> bool:
    """Whether a loss gives the first sample of a batch the same value where all others are copies
    of that sample; True where it cannot be evaluated so."""
    size = len(weights.values)

    def copies(argument: Any) -> Any:
        return of_batch(argument, size, lambda rows: rows[[0] * size])

    try:
        with spare_evaluation(loss):
            other = map_of(loss, call.replaced(copies(call.pred()), copies(call.target())), weights)
    except Exception:  # whatever a user's loss raises for a batch of one label
        return True
    rtol = max(1e-3, 4 * torch.finfo(first.dtype).eps)
    return torch.allclose(other[0].float(), first.float(), rtol=rtol, atol=1e-5, equal_nan=True)


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
    precision = max(torch.finfo(own.dtype).eps, torch.finfo(values.dtype).eps)

    def agrees(made: Tensor) -> Tensor:
        rtol = max(1e-3, 4 * precision)
        return torch.isclose(made, mean, rtol=rtol, atol=1e-5, equal_nan=True)

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
        divide_by = count.float().masked_fill(fits, values.numel())
        factor = weights.count_factor(valid)
        if isinstance(factor, Tensor):
            factor = factor.masked_fill(fits, 1.0)
        fits = fits | agrees(total / count)
    wrong = ~fits & mean.isfinite()  # float16 may overflow in its own sum
    return divide_by, factor, Comparison(wrong, mean, made)


@contextlib.contextmanager
def spare_evaluation(loss: nn.Module) -> Iterator[None]:
    """Evaluate a loss without side effects: without gradients, and with the state of the loss and
    the random generators restored at the end.

    The evaluation uses copies of the parameters too. ``autocast`` caches a parameter that it casts,
    and with PyTorch 2.1 one that was cast without a gradient would get no gradient in training.
    """
    state = [(vars(module), dict(vars(module))) for module in loss.modules()]
    for attributes, before in state:
        for name in before.keys() - OF_EVERY_MODULE:
            attributes[name] = with_own_tensors(before[name])
    devices: List[int] = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for attributes, before in state:
            attributes.clear()
            attributes.update(before)


def with_own_tensors(value: Any) -> Any:
    """A copy of what a loss may change in place: tensors, arrays and containers, at any depth.
    Other objects stay the same."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (set, np.ndarray)):
        return value.copy()
    if not isinstance(value, (list, dict, collections.deque)):
        return value
    twin: Any = copy.copy(value)
    for key in value if isinstance(value, dict) else range(len(value)):
        twin[key] = with_own_tensors(value[key])
    return twin
