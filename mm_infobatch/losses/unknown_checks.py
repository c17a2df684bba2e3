"""Checks an unknown loss in its first batch, beyond its value.

Each value of the map has to belong to one sample: its gradient with respect to other samples has to
be 0, and its value the same in a batch of copies of that sample. The sum of the map has to have the
gradient of the loss's own value, up to a factor.
"""

from typing import Any

import torch
from torch import Tensor

from .call import Call, of_batch
from .spare import spare_evaluation
from .unknown import PER_IMAGE, map_of, total_of
from .weights import Weights


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
    row, own_row, info = other[0].float(), first.float(), torch.finfo(first.dtype)
    rtol = max(1e-3, 4 * info.eps)
    atol = 1e-5 * float(own_row.nan_to_num(0, 0, 0).abs().max()) + info.tiny * info.eps
    return torch.allclose(row, own_row, rtol=rtol, atol=atol, equal_nan=True)
