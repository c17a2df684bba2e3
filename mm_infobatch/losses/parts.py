"""The loss of a batch, made of the losses of its samples."""

from typing import Any, Callable, NamedTuple, Optional

import torch
from torch import Tensor

from .calls import Call
from .weights import Weights


class Comparison(NamedTuple):
    """What an unknown loss gave for a batch, and what was made of its values of the samples.

    Attributes:
        wrong (Tensor): bool [], whether they differ.
        own (Tensor): float32 [], its own value.
        made (Tensor): float32 [], the value made of those of the samples.
    """

    wrong: Tensor
    own: Tensor
    made: Tensor

    def then(self, later: 'Comparison') -> 'Comparison':
        """The first of two comparisons that is wrong, else the later one; waits for no device."""
        return Comparison(
            self.wrong | later.wrong,
            torch.where(self.wrong, self.own, later.own),
            torch.where(self.wrong, self.made, later.made),
        )


class Parts(NamedTuple):
    """The loss of a batch, made of the losses of its samples.

    Attributes:
        value (Tensor): What is trained: the weighted loss of the batch.
        scores (Tensor): float32 [B], detached, the loss of each sample, NaN where it has none.
        comparison (Comparison, optional): Of an unknown loss.
    """

    value: Tensor
    scores: Tensor
    comparison: Optional[Comparison] = None


class Decomposition(NamedTuple):
    """A way to make the loss of a batch of the losses of its samples.

    Attributes:
        take_apart (callable): From the rule, the loss, the arguments of a call and the weights to
            :class:`Parts`.
        exact (bool): Whether weights of 1 give the loss's own number, bit for bit, so that the loss
            need not be evaluated again.
        rule (Any): Which loss of that kind it is. Defaults to None.
    """

    take_apart: Callable[[Any, Any, Call, Weights], Parts]
    exact: bool
    rule: Any = None

    def evaluate(self, loss: Any, call: Call, weights: Weights) -> Parts:
        """Take a loss apart. Where nothing is pruned, its own value is trained."""
        if self.exact or not weights.uniform:
            return self.take_apart(self.rule, loss, call, weights)
        with torch.no_grad():
            parts = self.take_apart(self.rule, loss, call, weights)
        return parts._replace(value=call.evaluate(loss))
