"""Weights and scores for mmpretrain's head that gives each task only the samples that have it."""

from typing import Any, Dict, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from .is_loss import toolbox_bases
from .search import wrapped_losses
from .weights import Factor
from .wrapper import InfoBatchLoss


def tasks_of(model: nn.Module) -> Dict[InfoBatchLoss, Tuple[str, ...]]:
    """The tasks whose samples a loss gets, outermost first, for the losses below mmpretrain's
    ``MultiTaskHead``, which gives each task only the samples that have it. Another class with
    ``task_heads`` may give each of them all samples."""
    tasks: Dict[InfoBatchLoss, Tuple[str, ...]] = {}
    head: Any
    for head in model.modules():
        if 'MultiTaskHead' in toolbox_bases(type(head)):
            for task, sub_head in head.task_heads.items():
                for loss in wrapped_losses(sub_head):
                    tasks[loss] = (*tasks.get(loss, ()), task)
    return tasks


def rows_of_tasks(data_samples: Any, tasks: Sequence[str]) -> List[int]:
    """The rows of a batch whose samples have all of some nested tasks, outermost first."""
    rows = []
    for row, sample in enumerate(data_samples):
        for task in tasks:
            sample = sample.get(task) if task in sample else None
            if sample is None:
                break
        else:
            rows.append(row)
    return rows


class TaskRows:
    """The rows of a batch for which the loss of each task is computed. A model without tasks has
    none.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.

    Attributes:
        present (bool): Whether the model has tasks.
    """

    def __init__(self, model: nn.Module) -> None:
        self._tasks = tasks_of(model)
        self.present = bool(self._tasks)
        self._rows: Dict[InfoBatchLoss, Tensor] = {}

    def begin_batch(self, data_batch: Any, device: torch.device) -> None:
        """Find the rows of each loss, with one copy to the device.

        Args:
            data_batch (Any): The batch, as the dataloader gave it.
            device (torch.device): Where the weights are.
        """
        self._rows = {}
        if not self.present:
            return
        samples = data_batch['data_samples']
        rows = {tasks: rows_of_tasks(samples, tasks) for tasks in set(self._tasks.values())}
        together = torch.tensor(sum(rows.values(), []), dtype=torch.int64, device=device)
        parts = dict(zip(rows, together.split([*map(len, rows.values())])))
        self._rows = {loss: parts[tasks] for loss, tasks in self._tasks.items()}

    def weights_of(
        self, loss: InfoBatchLoss, weights: Tensor, uniform: bool
    ) -> Tuple[Tensor, Factor]:
        """The weights of the samples that a loss gets, and what they were multiplied by.

        The loss of a task divides by the number of its samples, which is a count of the batch: see
        :class:`Weights`, with V = 1 for samples that have the task. Dividing by the weighted count
        is the same as scaling the weights of these samples to the mean weight of the batch.

        Args:
            loss (InfoBatchLoss): The loss.
            weights (Tensor): Those of the batch, float32 [B].
            uniform (bool): Whether all of them are 1.
        """
        rows = self._rows.get(loss)
        if rows is None:
            return weights, 1
        own = weights[rows]
        if uniform:
            return own, 1
        factor = weights.mean() / own.mean()
        return own * factor, factor

    def in_batch(self, loss: InfoBatchLoss, scores: Tensor, like: Tensor) -> Tensor:
        """Scatter the scores of a loss into the batch, NaN for samples without the task.

        Args:
            loss (InfoBatchLoss): The loss.
            scores (Tensor): Those of the samples that it got.
            like (Tensor): float32 [B], as the result.
        """
        rows = self._rows.get(loss)
        if rows is None:
            return scores
        return torch.full_like(like, float('nan')).index_copy(0, rows, scores)
