"""Tries a loss that is not a toolbox's own on small batches, before a run is built with it."""

import inspect
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from ..losses import InfoBatchLoss

BATCH_SIZE, HEIGHT, WIDTH = 3, 5, 7  # three numbers, so that a wrong broadcast is an error


class Batch(NamedTuple):
    """The arguments of a call of a loss, as a head would give them.

    Attributes:
        pred (Tensor): [B, C, ...], the logits.
        target (Tensor): The target.
        kwargs (dict): What the toolbox's heads give beside them.
    """

    pred: Tensor
    target: Tensor
    kwargs: Dict[str, Any]


def batches(scope: Optional[str], num_classes: int, ignore_index: int) -> Iterator[List[Batch]]:
    """Small batches in the forms that losses take, the one of the toolbox first.

    Args:
        scope (str, optional): The toolbox.
        num_classes (int): C.
        ignore_index (int): The label that mmseg's heads have ignored.

    Yields:
        list[Batch]: The batches of one form. One with ignored pixels comes before one without.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    size = (BATCH_SIZE, num_classes)
    labels = torch.arange(BATCH_SIZE) % num_classes
    flat = dict(avg_factor=BATCH_SIZE)
    images = [
        [Batch(draw(*size), labels, flat)],
        [Batch(draw(*size), draw(*size).gt(0).float(), flat)],
    ]
    pixels = torch.arange(BATCH_SIZE * HEIGHT * WIDTH).view(BATCH_SIZE, HEIGHT, WIDTH) % num_classes
    ignored = pixels.clone()
    for row in range(BATCH_SIZE):
        ignored[row, :row] = ignore_index  # another number in each sample
    dense, logits = dict(weight=None, ignore_index=ignore_index), draw(*size, HEIGHT, WIDTH)
    maps = [
        [Batch(logits, ignored, dense), Batch(logits, pixels, dense)],
        [Batch(logits, draw(*size, HEIGHT, WIDTH).gt(0).float(), dense)],
    ]
    yield from (images + maps if scope == 'mmpretrain' else maps + images)


def call(loss: nn.Module, batch: Batch, pred: Tensor) -> Any:
    """Call a loss with those of the arguments that it takes."""
    inner: Any = loss.loss if isinstance(loss, InfoBatchLoss) else loss
    parameters = inspect.signature(inner.forward).parameters
    kwargs = batch.kwargs
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        kwargs = {key: value for key, value in kwargs.items() if key in parameters}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a loss that draws random numbers draws the same ones each time
        return loss(pred, batch.target, **kwargs)


class Place(NamedTuple):
    """Where a loss is.

    Attributes:
        scope (str, optional): The toolbox.
        own_head (bool): Whether the head is a user's own, so that what it gives the loss beside
            logits and targets is not known.
        num_classes (tuple[int]): The numbers of classes that the loss may be for.
        ignore_index (int): The label that mmseg's heads have ignored.
    """

    scope: Optional[str]
    own_head: bool
    num_classes: Tuple[int, ...]
    ignore_index: int


def try_loss(loss: nn.Module, per_image: bool, place: Place) -> Optional[str]:
    """Wrap a loss and evaluate it on small batches.

    It is judged by the first form of batches that it takes. One that takes none of them shows what
    it is in the first batch of the run.

    Args:
        loss (nn.Module): The loss, which no run will use.
        per_image (bool): Whether to evaluate it on each image alone.
        place (Place): Where it is.

    Returns:
        str, optional: Why it cannot be wrapped; None if nothing was found.
    """
    loss.train()
    for count in place.num_classes:
        for form in batches(place.scope, count, place.ignore_index):
            taken = [batch for batch in form if takes(loss, batch)]
            problems = [problem_with(loss, batch, per_image) for batch in taken]
            if any(problems) and place.own_head:
                taken = [batch._replace(kwargs={}) for batch in taken]
                problems = [problem_with(loss, batch, per_image) for batch in taken]
            if taken:
                return next(filter(None, problems), None)
    return None


def takes(loss: nn.Module, batch: Batch) -> bool:
    """Whether a loss can be evaluated on a batch."""
    try:
        call(loss, batch, batch.pred)
    except Exception:  # whatever a loss raises for what is not its kind of batch
        return False
    return True


def problem_with(loss: nn.Module, batch: Batch, per_image: bool) -> Optional[str]:
    """Why a loss that can be evaluated on a batch cannot be wrapped, if it cannot be."""
    name = type(loss).__name__
    own = call(loss, batch, batch.pred)
    if not isinstance(own, Tensor):
        return f'{name} returns a {type(own).__name__}, and InfoBatchLoss needs a tensor'
    pred = batch.pred.clone().requires_grad_()
    try:
        wrapped = InfoBatchLoss(loss, per_image=per_image).train()
        wrapped.begin_batch(torch.ones(BATCH_SIZE))
        value = call(wrapped, batch, pred)
        wrapped.begin_batch(torch.tensor([1.0] * (BATCH_SIZE - 1) + [0.0]))
        without_last = call(wrapped, batch, pred)
        (grad,) = torch.autograd.grad(without_last.sum(), pred, allow_unused=True)
    except (TypeError, ValueError) as error:
        return str(error)
    except Exception as error:
        return f'{name} cannot be evaluated sample by sample ({type(error).__name__}: {error})'
    if grad is not None and grad[-1].count_nonzero():
        return f'the value that {name} gives for a sample depends on the other samples of the batch'
    value, own = value.detach().mean(), own.detach().mean()
    if not per_image and not torch.allclose(value, own, rtol=1e-3, atol=1e-5, equal_nan=True):
        return (
            f'the value of {name} for a batch is {own.item():.6g}, but its values of the samples '
            f'make {value.item():.6g}, so it is not a mean over samples'
        )
    return None
