"""The arguments of a call of a loss."""

import inspect
from typing import Any, Callable, Dict, List, Tuple

import torch
from torch import Tensor


class Call:
    """The arguments of a call of a loss.

    Args:
        signature (inspect.Signature): The signature of the loss's ``forward``.
        names (tuple[str]): The names of its parameters, in order.
        args (tuple): The positional arguments.
        kwargs (dict): The keyword arguments.
        constants (dict): Holds what :meth:`constant` made, from call to call.
    """

    __slots__ = ('_signature', '_names', '_args', '_kwargs', '_constants')

    def __init__(
        self,
        signature: inspect.Signature,
        names: Tuple[str, ...],
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
        constants: Dict[Any, Any],
    ) -> None:
        self._signature, self._names, self._args, self._kwargs = signature, names, args, kwargs
        self._constants = constants

    def bound(self) -> inspect.BoundArguments:
        """All arguments by parameter; takes 10 us."""
        return self._signature.bind(*self._args, **self._kwargs)

    def get(self, name: str) -> Any:
        """An argument by its name, also one of ``**kwargs``; None if it was not given."""
        if name in self._kwargs:
            return self._kwargs[name]
        if name not in self._names[: len(self._args)]:
            return None
        return self._args[self._names.index(name)]

    def _at(self, position: int) -> Any:
        """The argument of the parameter at a position, whatever its name; None if not given."""
        if position < len(self._args):
            return self._args[position]
        return self._kwargs.get(self._names[position]) if position < len(self._names) else None

    def _places(self) -> Tuple[int, int]:
        """The positions of prediction and target: 0 and 1, or 1 and 0 where only the second one of
        both is trained."""
        return (1, 0) if is_trained(self._at(1)) and not is_trained(self._at(0)) else (0, 1)

    def pred(self) -> Any:
        """The prediction."""
        return self._at(self._places()[0])

    def target(self) -> Any:
        """The target; None if there is none."""
        return self._at(self._places()[1])

    def default(self, name: str) -> Any:
        """The default of a parameter; None if it has none, or there is no such parameter."""
        parameter = self._signature.parameters.get(name)
        if parameter is None or parameter.default is parameter.empty:
            return None
        return parameter.default

    def evaluate(self, loss: Any) -> Any:
        """Call a loss with these arguments."""
        return loss(*self._args, **self._kwargs)

    def evaluate_unreduced(self, loss: Any) -> Any:
        """Call a loss with these arguments and ``reduction_override='none'``."""
        name, args, kwargs = 'reduction_override', self._args, self._kwargs
        if name in self._names[: len(args)]:
            place = self._names.index(name)
            return loss(*args[:place], 'none', *args[place + 1 :], **kwargs)
        return loss(*args, **{**kwargs, name: 'none'})

    def replaced(self, pred: Any, target: Any) -> 'Call':
        """The same call with another prediction and another target, if it has one."""
        args, kwargs = list(self._args), dict(self._kwargs)
        for place, value in zip(self._places(), (pred, target)):
            if place < len(args):
                args[place] = value
            elif value is not None:
                kwargs[self._names[place]] = value
        return Call(self._signature, self._names, tuple(args), kwargs, self._constants)

    def with_own_target(self) -> 'Call':
        """The same call with a copy of the target, which a loss may change in place."""
        return self.replaced(self.pred(), mapped(self.target(), torch.clone))

    def with_leaves(self, size: int) -> Tuple[List[Tensor], 'Call']:
        """The predictions of ``size`` samples as leaves of a graph, and the call with them."""
        leaves: List[Tensor] = []

        def leaf(rows: Tensor) -> Tensor:
            if not rows.is_floating_point():
                return rows
            leaves.append(rows.detach().clone().requires_grad_())
            return leaves[-1]

        pred = of_batch(self.pred(), size, leaf)
        return leaves, self.replaced(pred, self.target())

    def constant(self, numbers: Any, like: Tensor) -> Tensor:
        """Numbers of a loss's settings as a tensor, copied to the device in the first call."""
        if isinstance(numbers, Tensor):
            return numbers.to(like)
        key = like.device, like.dtype
        kept = self._constants.get(key)
        if kept is None or kept[0] != list(numbers):
            kept = self._constants[key] = list(numbers), like.new_tensor(numbers)
        return kept[1]


def is_trained(value: Any) -> bool:
    """Whether a tensor, or one in a list or tuple, requires a gradient."""
    if isinstance(value, (list, tuple)):
        return any(map(is_trained, value))
    return isinstance(value, Tensor) and value.requires_grad


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A value with a function applied to each tensor, also those in a list or tuple."""
    if type(value) in (list, tuple):
        return type(value)([mapped(each, function) for each in value])
    return function(value) if isinstance(value, Tensor) else value


def of_batch(value: Any, size: int, function: Callable[[Tensor], Tensor]) -> Any:
    """A value with a function applied to its tensors of ``size`` rows, also those in a list. A list
    of ``size`` items is returned as it is, as each item may belong to a sample."""
    if isinstance(value, (list, tuple)) and len(value) == size:
        return value
    return mapped(value, lambda one: function(one) if one.shape[:1] == (size,) else one)
