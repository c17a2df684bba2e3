"""The calls of a loss in one batch, without those that gradient checkpointing repeats."""

from typing import List, NamedTuple, Optional

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """A call of the loss.

    Attributes:
        value (Tensor): What was trained, detached.
        scores (Tensor): float32 [B].
        graph (bool, optional): Whether it was evaluated with a graph, where it was compiled.
    """

    value: Tensor
    scores: Tensor
    graph: Optional[bool]


def first_evaluations(calls: List[Evaluation]) -> List[Evaluation]:
    """The calls of a batch without those that gradient checkpointing repeats.

    What is compiled cannot ask whether it runs in the backward pass. Checkpointing of the reentrant
    kind evaluates without a graph, and once more with one in the backward pass, after all other
    calls.
    """
    repeated = sum(call.graph is False for call in calls)
    with_graph = [place for place, call in enumerate(calls) if call.graph]
    dropped = with_graph[len(with_graph) - repeated :] if repeated else []
    return [call for place, call in enumerate(calls) if place not in dropped]


def in_backward() -> bool:
    """Whether this is evaluated again for the backward pass, as gradient checkpointing does."""
    return torch._C._current_graph_task_id() != -1
