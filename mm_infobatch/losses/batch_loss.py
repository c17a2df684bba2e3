"""The weighted loss of a batch with the losses of its samples, and how both are computed."""

from typing import Any, Callable, NamedTuple, Optional

import torch
from torch import Tensor

from .call import Call
from .weights import Weights


class Comparison(NamedTuple):
    """The value of an unknown loss beside the one computed from its losses of single samples.

    Attributes:
        wrong (Tensor): bool [], whether they differ.
        own (Tensor): float32 [], the loss's own value of the batch.
        made (Tensor): float32 [], the value computed from the losses of the samples.
    """

    wrong: Tensor
    own: Tensor
    made: Tensor

    def then(self, later: 'Comparison') -> 'Comparison':
        """Return the first of two comparisons that is wrong, else the later one. Does not wait for
        the device."""
        return Comparison(
            self.wrong | later.wrong,
            torch.where(self.wrong, self.own, later.own),
            torch.where(self.wrong, self.made, later.made),
        )


class BatchLoss(NamedTuple):
    """The loss of a batch, and the losses of its samples.

    Attributes:
        value (Tensor): The weighted loss of the batch, which is trained.
        scores (Tensor): float32 [B], detached, the loss of each sample, NaN where it has none.
        comparison (Comparison, optional): Of an unknown loss.
    """

    value: Tensor
    scores: Tensor
    comparison: Optional[Comparison] = None


class Decomposition(NamedTuple):
    """How to compute the loss of a batch from the losses of its samples.

    Attributes:
        take_apart (callable): Takes ``rule``, the loss, the arguments of a call and the weights,
            and returns a :class:`BatchLoss`.
        exact (bool): Whether the result at weights of 1 is the loss's own value, bit for bit.
            Otherwise the loss is evaluated once more where nothing is pruned.
        rule (Any): What ``take_apart`` has to know of the loss: its kind, or its formula. Defaults
            to None.
    """

    take_apart: Callable[[Any, Any, Call, Weights], BatchLoss]
    exact: bool
    rule: Any = None

    def evaluate(self, loss: Any, call: Call, weights: Weights) -> BatchLoss:
        """Compute the loss of a batch. Where nothing is pruned, it is the loss's own value."""
        if self.exact or not weights.uniform:
            return self.take_apart(self.rule, loss, call, weights)
        with torch.no_grad():
            batch_loss = self.take_apart(self.rule, loss, call, weights)
        return batch_loss._replace(value=call.evaluate(loss))
