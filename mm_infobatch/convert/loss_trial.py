"""Tries a user's loss on small batches, so that an error comes before the run."""

import copy
import inspect
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..losses import InfoBatchLoss
from ..losses.decompositions import find_decomposition
from ..losses.is_loss import TOOLBOXES, in_package
from .config_tree import ConfigPath
from .registered import resolve

BATCH_SIZE, HEIGHT, WIDTH = 3, 5, 7  # all different, so that a wrong broadcast is an error


class Batch(NamedTuple):
    """The arguments with which a head calls its loss.

    Attributes:
        pred (Tensor): [B, C] or [B, C, H, W], the logits.
        target (Tensor): Class indices [B, ...], or a value for each class [B, C, ...].
        kwargs (dict): The other arguments of the toolbox's heads.
    """

    pred: Tensor
    target: Tensor
    kwargs: Dict[str, Any]


def batches(scope: Optional[str], num_classes: int, ignore_index: int) -> Iterator[List[Batch]]:
    """Small batches of every form, first those of the toolbox.

    Args:
        scope (str, optional): The toolbox.
        num_classes (int): C.
        ignore_index (int): The label that is ignored in segmentation.

    Yields:
        list[Batch]: The batches of one form: with ignored pixels and without.
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
        ignored[row, :row] = ignore_index  # a different number in each sample
    dense, logits = dict(weight=None, ignore_index=ignore_index), draw(*size, HEIGHT, WIDTH)
    maps = [
        [Batch(logits, ignored, dense), Batch(logits, pixels, dense)],
        [Batch(logits, draw(*size, HEIGHT, WIDTH).gt(0).float(), dense)],
    ]
    yield from (images + maps if scope == 'mmpretrain' else maps + images)


def call(loss: nn.Module, batch: Batch, pred: Tensor) -> Any:
    """Call a loss with the arguments that it takes, and with that prediction."""
    inner: Any = loss.loss if isinstance(loss, InfoBatchLoss) else loss
    parameters = inspect.signature(inner.forward).parameters
    kwargs = batch.kwargs
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        kwargs = {key: value for key, value in kwargs.items() if key in parameters}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a loss that draws random numbers draws the same in each call
        return loss(pred, batch.target.clone(), **kwargs)  # it may change its target in place


class LossContext(NamedTuple):
    """What the config around a loss says of its calls.

    Attributes:
        scope (str, optional): The toolbox.
        own_head (bool): Whether the head is a user's class, so that the arguments of its calls are
            not known.
        num_classes (tuple[int]): The numbers of classes that the loss may be for.
        ignore_index (int): The label that is ignored in segmentation.
    """

    scope: Optional[str]
    own_head: bool
    num_classes: Tuple[int, ...]
    ignore_index: int


def context_of(cfg: Config, path: ConfigPath, scope: Optional[str]) -> LossContext:
    """Read the context of a loss from the config around it.

    Args:
        cfg (Config): The config of the training.
        path (tuple): The path of the loss in it.
        scope (str, optional): The scope of the types there.
    """
    around: List[Dict[str, Any]] = []  # the dicts around the loss, the innermost first
    node: Any = cfg
    for key in path[:-1]:
        node = node[key]
        if isinstance(node, dict):
            around.insert(0, node)
    keys = ('num_classes', 'out_channels')
    counts = [node[key] for node in around for key in keys if isinstance(node.get(key), int)]
    labels = [node['ignore_index'] for node in around if isinstance(node.get('ignore_index'), int)]
    heads = [resolve(node['type'], scope) for node in around if 'type' in node]
    own_head = not heads or heads[0] is None or not in_package(heads[0].__module__, *TOOLBOXES)
    return LossContext(scope, own_head, (*counts, 4), labels[0] if labels else 255)


def wrapping_problem(loss: nn.Module, per_image: bool, context: LossContext) -> Optional[str]:
    """Find out whether a loss can be wrapped.

    A user's loss is evaluated on small batches of the first form that it accepts. If it accepts
    none, the first batch of the run will show it.

    Args:
        loss (nn.Module): The loss, for this check only.
        per_image (bool): Whether to evaluate it on each image alone.
        context (LossContext): What is known of its calls.

    Returns:
        str, optional: Why it cannot be wrapped; None if no reason was found.
    """
    try:
        find_decomposition(loss, per_image)
    except (TypeError, ValueError) as error:
        return str(error)
    if in_package(type(loss).__module__, *TOOLBOXES):
        return None  # its decomposition is known
    loss.train()
    for count in context.num_classes:
        for form in batches(context.scope, count, context.ignore_index):
            accepted = [batch for batch in form if accepts(loss, batch)]
            problems = [problem_on(batch, loss, per_image) for batch in accepted]
            if any(problems) and context.own_head:
                accepted = [batch._replace(kwargs={}) for batch in accepted]
                problems = [problem_on(batch, loss, per_image) for batch in accepted]
            if accepted:
                return next(filter(None, problems), None)
    return None


def accepts(loss: nn.Module, batch: Batch) -> bool:
    """Whether a loss can be evaluated on a batch."""
    try:
        call(loss, batch, batch.pred)
    except Exception:  # a loss may raise anything for a batch of another form
        return False
    return True


def copied(loss: nn.Module) -> nn.Module:
    """A copy of a loss, which may count its calls; the loss itself if it cannot be copied."""
    try:
        return copy.deepcopy(loss)
    except Exception:
        return loss


def problem_on(batch: Batch, loss: nn.Module, per_image: bool) -> Optional[str]:
    """Why a loss cannot be wrapped on a batch that it accepts; None if it can be."""
    name = type(loss).__name__
    own = call(loss, batch, batch.pred)
    if not isinstance(own, Tensor):
        return f'{name} returns a {type(own).__name__}, but InfoBatchLoss needs a tensor'
    pred = batch.pred.clone().requires_grad_()
    other = batch._replace(pred=batch.pred.clone(), target=batch.target.clone())
    other.pred[-1], other.target[-1] = 3 - 2 * batch.pred[-1], batch.target[0]
    try:
        wrapped = InfoBatchLoss(loss, per_image=per_image).train()
        wrapped.begin_batch(torch.ones(BATCH_SIZE))
        value = call(wrapped, batch, pred)
        wrapped.begin_batch(torch.tensor([1.0] * (BATCH_SIZE - 1) + [0.0]))
        first, second = (call(copied(wrapped), each, each.pred).detach() for each in (batch, other))
        without_last = call(wrapped, batch, pred)
        (grad,) = torch.autograd.grad(without_last.sum(), pred, allow_unused=True)
    except (TypeError, ValueError) as error:
        return str(error)
    except Exception as error:
        return f'{name} cannot be evaluated sample by sample ({type(error).__name__}: {error})'
    same = torch.allclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True)
    if not same or (grad is not None and grad[-1].count_nonzero()):
        return f'the value that {name} gives for a sample depends on the other samples of the batch'
    value, own = value.detach().mean(), own.detach().mean()
    if not per_image and not torch.allclose(value, own, rtol=1e-3, atol=1e-5, equal_nan=True):
        return (
            f'the value of {name} for a batch is {own.item():.6g}, but its values of the samples '
            f'make {value.item():.6g}, so it is not a mean over samples'
        )
    return None
