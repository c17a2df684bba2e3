"""The calls of a loss that train, of all in one batch: those with a gradient, each once."""

from typing import List, NamedTuple

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """A call of the loss.

    Attributes:
        value (Tensor): What it gave, detached.
        scores (Tensor): float32 [B].
        graph (bool): Whether it was evaluated with a graph.
        again (bool): Whether that was in the backward pass, as far as that can be known: what is
            compiled cannot ask.
    """

    value: Tensor
    scores: Tensor
    graph: bool
    again: bool


def trained_evaluations(calls: List[Evaluation]) -> List[Evaluation]:
    """The calls of a batch that train.

    What has no graph trains nothing: a model may log the loss of another forward pass under
    ``torch.no_grad()``. Gradient checkpointing evaluates a loss twice. That of the reentrant kind
    does so without a graph, and then with one in the backward pass, which is the call that trains.
    The other kind does so with a graph both times, and the first one counts. Where no call has a
    graph, as of a model that computes its gradients itself, all of them count.

    A loss that is called both inside and outside of reentrant checkpointing, in one batch and not
    compiled, counts with the calls outside alone.
    """
    with_graph = [call for call in calls if call.graph]
    return [call for call in with_graph if not call.again] or with_graph or calls


def in_backward() -> bool:
    """Whether this is evaluated again for the backward pass, as gradient checkpointing does."""
    return torch._C._current_graph_task_id() != -1
