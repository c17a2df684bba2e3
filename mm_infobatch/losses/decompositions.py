"""How the loss of a batch is made of the losses of its samples: one way for each kind of loss.

- by map: the loss gives a value for each sample, pixel or class with
  ``reduction_override='none'``, as OpenMMLab's losses do;
- by formula: it gives one number, but is a sum over samples (:mod:`mm_infobatch.formulas`);
- by image: it gives one number, which is the mean of what it gives for each sample alone.
"""

import functools
import inspect
import types
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from . import reductions
from .formulas import FORMULAS, rows
from .reductions import inherits, toolbox_of


class Parts(NamedTuple):
    """A loss of a batch, taken apart.

    Attributes:
        values (Tensor): [B, ...], what the weights multiply.
        reduce (callable): From the weighted values to what the loss returns.
        scores (Tensor): float32 [B], detached, the loss of each sample, NaN where it has none.
    """

    values: Tensor
    reduce: Callable[[Tensor], Tensor]
    scores: Tensor


class Decomposition(NamedTuple):
    """A way to take a loss apart.

    Attributes:
        take_apart (callable): From the loss and the arguments of a call to :class:`Parts`.
        exact (bool): Whether values of weight 1 reduce to the number that is to be trained, bit for
            bit, so that the loss need not be evaluated again.
        verify (bool): Whether nobody knows the loss, so that the first batch has to show it.
    """

    take_apart: Callable[[Any, 'Call'], Parts]
    exact: bool
    verify: bool = False


# The toolboxes' losses by kind, beside those of FORMULAS
BY_MAP = {
    'mmseg': ('CrossEntropyLoss', 'FocalLoss', 'DiceLoss', 'LovaszLoss', 'SiLogLoss'),
    'mmpretrain': (
        'CrossEntropyLoss',
        'LabelSmoothLoss',
        'FocalLoss',
        'AsymmetricLoss',
        'SeesawLoss',
        'RegressionLoss',
    ),
}
BY_IMAGE = {'mmseg': ('TverskyLoss', 'HuasdorffDisstanceLoss'), 'mmpretrain': ()}
BY_ROW = {'mmseg': ('KLDivLoss',), 'mmpretrain': ()}
REASONS: Dict[str, str] = {
    'CrossCorrelationLoss': 'it compares all samples of a batch with each other',
    'SwAVLoss': 'it assigns all samples of a batch to prototypes at once',
    'CAELoss': 'it merges the masked patches of all samples, and returns two losses',
}


class Call:
    """The arguments of a call of a loss.

    Args:
        signature (inspect.Signature): That of the loss.
        names (tuple[str]): The names of its parameters, in order.
        args (tuple): The arguments without a name.
        kwargs (dict): Those with one.
    """

    __slots__ = ('_signature', '_names', '_args', '_kwargs')

    def __init__(
        self,
        signature: inspect.Signature,
        names: Tuple[str, ...],
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
    ) -> None:
        self._signature, self._names, self._args, self._kwargs = signature, names, args, kwargs

    @property
    def bound(self) -> inspect.BoundArguments:
        """inspect.BoundArguments: All of them by parameter; takes 10 us."""
        return self._signature.bind(*self._args, **self._kwargs)

    def get(self, name: str, place: Optional[int] = None) -> Any:
        """An argument by its name; None if it was not given.

        Args:
            name (str): Of a parameter, or of what ``**kwargs`` holds.
            place (int, optional): Which parameter it is instead, whatever its name.
        """
        if place is not None:
            if place < len(self._args):
                return self._args[place]
            return self._kwargs.get(self._names[place])
        if name in self._kwargs:
            return self._kwargs[name]
        if name not in self._names[: len(self._args)]:
            return None
        return self._args[self._names.index(name)]

    def without_reduction(self, loss: Any) -> Tensor:
        """Call the loss with ``reduction_override='none'``."""
        name, args, kwargs = 'reduction_override', self._args, self._kwargs
        if name in self._names[: len(args)]:
            place = self._names.index(name)
            return loss(*args[:place], 'none', *args[place + 1 :], **kwargs)
        return loss(*args, **{**kwargs, name: 'none'})


def by_map(loss: Any, call: Call) -> Parts:
    """Take apart a loss that gives a map."""
    unweighted, loss_weight = without_weight(loss)
    values = call.without_reduction(unweighted)
    pred, target = call.get('', 0), call.get('', 1)
    if values.ndim == 0:
        raise ValueError(
            f"{type(loss).__name__} gave one number with reduction_override='none'; "
            'write InfoBatchLoss(loss=..., per_image=True)'
        )
    reduction = call.get('reduction_override') or loss.reduction
    valid = reductions.valid_positions(loss, pred, target, call.get('ignore_index'))
    divide_by = call.get('avg_factor')
    if reduction == 'mean':
        divide_by = reductions.divisor(loss, pred, target, valid, values, divide_by)
    scores = reductions.per_sample(
        values, pred, valid, divide_by if reduction == 'mean' else len(values)
    )

    def reduce(weighted: Tensor) -> Tensor:
        value = reductions.reduce_map(loss, weighted, reduction, divide_by)
        return value if loss_weight == 1 else loss_weight * value

    return Parts(values, reduce, scores if loss_weight == 1 else scores * loss_weight)


def without_weight(loss: Any) -> Tuple[Any, float]:
    """A view of a toolbox's loss with ``loss_weight=1``, and its ``loss_weight``.

    The toolboxes multiply by it after the reduction, so for the same number, bit for bit, it has to
    stay out of the map.
    """
    loss_weight = getattr(loss, 'loss_weight', 1)
    if loss_weight == 1 or not known(loss, BY_MAP) or inherits(loss, 'RegressionLoss'):
        return loss, 1
    view = object.__new__(type(loss))  # a shallow copy; copy.copy takes 10 us
    view.__dict__.update(loss.__dict__, loss_weight=1.0)
    if inherits(loss, 'LabelSmoothLoss'):  # its bound method asks the loss for num_classes
        view.smooth_label = types.MethodType(loss.smooth_label.__func__, view)
    return view, loss_weight


def by_row(loss: Any, call: Call) -> Parts:
    """Take apart a loss that returns a value for each sample as it is."""
    bound = call.bound
    values = loss(*bound.args, **bound.kwargs)
    return Parts(values, lambda weighted: weighted, rows(values.detach()).float().mean(1))


def by_formula(formula: Callable, loss: Any, call: Call) -> Parts:
    """Take apart a loss by its formula."""
    bound = call.bound
    summands = formula(loss, *bound.args, **bound.kwargs)
    return Parts(
        summands.values, lambda weighted: weighted.sum() / summands.divide_by, summands.scores
    )


def by_image(loss: Any, call: Call) -> Parts:
    """Take apart a loss by evaluating it on one sample after the other; ``avg_factor``, a count of
    the batch, is left out."""
    bound = call.bound
    batch_size = len(next(iter(bound.arguments.values())))
    values: List[Tensor] = []
    for index in range(batch_size):
        args = [one_of(arg, index, batch_size) for arg in bound.args]
        kwargs = {
            name: one_of(arg, index, batch_size)
            for name, arg in bound.kwargs.items()
            if name != 'avg_factor'
        }
        value = loss(*args, **kwargs)
        # a sample without a valid pixel may give an empty map
        values.append(value.mean() if value.numel() else value.sum())
    stacked = torch.stack(values)
    return Parts(stacked, lambda weighted: weighted.mean(), stacked.detach().float())


def one_of(argument: Any, index: int, batch_size: int) -> Any:
    """The part of an argument that belongs to one sample; what has no batch dimension, whole."""
    if (
        isinstance(argument, (Tensor, list, tuple))
        and not (isinstance(argument, Tensor) and argument.ndim == 0)
        and len(argument) == batch_size
    ):
        return argument[index : index + 1]
    return argument


def known(loss: nn.Module, table: Dict[str, Any]) -> bool:
    """Whether a loss is, or inherits from, one that a table names for its toolbox."""
    return inherits(loss, *table.get(toolbox_of(loss), ()))


def find(loss: nn.Module, per_image: bool = False) -> Decomposition:
    """Find the way to take a loss apart.

    Args:
        loss (nn.Module): The loss.
        per_image (bool): Whether the user asks for the mean of what the loss gives for each
            sample alone, even where its value of a batch is another. Defaults to False.

    Raises:
        TypeError: If there is none.
        ValueError: If there is one, but not in the mode that the loss is set to.
    """
    name = type(loss).__name__
    for cls in type(loss).__mro__:
        if toolbox_of(loss) and cls.__name__ in REASONS:
            raise TypeError(
                f'InfoBatchLoss cannot wrap {name}: {REASONS[cls.__name__]}, so no '
                'sample has a loss of its own'
            )
    if per_image:
        return Decomposition(by_image, exact=True)
    if getattr(loss, 'reduction', 'mean') not in ('mean', 'sum', 'none'):
        raise ValueError(f'{name}.reduction={loss.reduction!r} is none of mean, sum and none')
    if known(loss, BY_MAP):
        check_mode(loss)
        return Decomposition(by_map, exact=True)
    if known(loss, BY_ROW):
        return Decomposition(by_row, exact=True)
    for (toolbox, cls_name), formula in FORMULAS.items():
        if toolbox_of(loss) == toolbox and inherits(loss, cls_name):
            return Decomposition(functools.partial(by_formula, formula), exact=False)
    if known(loss, BY_IMAGE):
        return Decomposition(by_image, exact=False)
    if 'reduction_override' in inspect.signature(loss.forward).parameters and hasattr(
        loss, 'reduction'
    ):
        return Decomposition(by_map, exact=False, verify=True)
    raise TypeError(
        f'InfoBatchLoss cannot wrap {type(loss).__module__}.{name}: it needs a value for each '
        'sample, but the loss has no reduction_override (nor is it one of mmseg or mmpretrain that '
        'is known to be a sum over samples). Give its forward a reduction_override, for which '
        "'none' returns a map [B, ...], or train the mean of its values for each image alone, "
        "which may be another loss: dict(type='InfoBatchLoss', loss=..., per_image=True), or "
        '--infobatch-options per_image=True'
    )


def check_mode(loss: Any) -> None:
    """Refuse a mode in which a loss that gives a map gives none.

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


def agrees(value: Tensor, parts: Parts) -> Optional[str]:
    """Compare a loss's own number with its parts; waits for the device.

    Args:
        value (Tensor): What the loss returned for the batch.
        parts (Parts): The same batch, taken apart.

    Returns:
        str, optional: What is wrong, if anything is.
    """
    put_together = parts.reduce(parts.values.detach())
    if value.shape == put_together.shape and torch.allclose(
        value.detach().float(), put_together.float(), rtol=1e-3, atol=1e-5, equal_nan=True
    ):
        return None
    return (
        f'its value of the batch is {value.detach().float().mean().item():.6g}, but its values '
        f'of the samples make {put_together.float().mean().item():.6g}'
    )
