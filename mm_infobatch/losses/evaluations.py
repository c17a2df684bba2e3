"""Which evaluations of a loss in a batch are trained, where the model calls it several times."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """One evaluation of a loss.

    Attributes:
        value (Tensor): The loss, or the mean of what it gave, detached.
        scores (Tensor): float32 [B].
        has_graph (bool): Whether autograd recorded it.
        recomputed (bool): Whether it took place in the backward pass. False in compiled code, which
            cannot tell.
    """

    value: Tensor
    scores: Tensor
    has_graph: bool
    recomputed: bool


def trained_evaluations(evaluations: List[Evaluation]) -> List[Evaluation]:
    """The evaluations of a batch that are trained, each once.

    An evaluation without a graph is not trained: a model may log the loss of another forward pass
    under ``torch.no_grad()``, or of a frozen part. Gradient checkpointing evaluates a loss twice.
    Reentrant checkpointing evaluates it without a graph first, and with one in the backward pass:
    the second evaluation is trained. Non-reentrant checkpointing records both, and the first one
    counts. If no evaluation has a graph, because the model computes its gradients itself, all of
    them count.

    A loss that is called both inside and outside of reentrant checkpointing in one batch counts
    only with the evaluations outside, unless it is compiled.
    """
    with_graph = [each for each in evaluations if each.has_graph]
    return [each for each in with_graph if not each.recomputed] or with_graph or evaluations


def sum_of_scores(losses: Sequence[Tuple[Tensor, Tensor]]) -> Optional[Tensor]:
    """The scores of the samples of a batch, float32 [B]: the sum over the losses that gave some.

    A loss that has no valid position in a sample adds nothing to what is trained of that sample,
    nor to its score. A sample has no score (NaN) if no loss gives it one, or if the value of a loss
    that gives it none is not finite, as the loss of the sample may be NaN.

    Args:
        losses (Sequence[tuple[Tensor, Tensor]]): The scores of each loss, float32 [B], NaN where a
            sample has none, and its value, on one device.
    """
    if len(losses) < 2:
        return losses[0][0] if losses else None
    scores, values = map(torch.stack, zip(*losses))
    absent = scores.isnan() & values.isfinite().unsqueeze(1)
    return scores.masked_fill(absent, 0).sum(0).masked_fill(absent.all(0), float('nan'))


def in_backward() -> bool:
    """Whether the backward pass is running, in which gradient checkpointing recomputes a loss."""
    return torch._C._current_graph_task_id() != -1
