"""The loss of a batch, made of the losses of its samples."""

from typing import Any, Callable, NamedTuple, Optional

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
        take_apart (callable): From the loss, the arguments of a call and the weights to
            :class:`Parts`.
        exact (bool): Whether weights of 1 give the loss's own number, bit for bit, so that the loss
            need not be evaluated again.
    """

    take_apart: Callable[[Any, Call, Weights], Parts]
    exact: bool
