"""All wrapped losses of a model together: weights of a batch in, scores of its samples out."""

import math
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from .mixing import MixingRecorder, mixed_weights
from .wrapper import InfoBatchLoss

LOSS_LINE = (
    "loss_decode=dict(_delete_=True, type='InfoBatchLoss', loss=dict(...)) in each head "
    'of the model (in mmpretrain: loss=)'
)


def unwrap(model: nn.Module) -> Any:
    """The model itself, without the wrapper of a distributed run."""
    return model.module if is_model_wrapper(model) else model


def find_losses(model: nn.Module) -> List[InfoBatchLoss]:
    """The wrapped losses of a model.

    Raises:
        ValueError: If there is none, or none that gives scores.
    """
    losses = [module for module in model.modules() if isinstance(module, InfoBatchLoss)]
    if not losses:
        raise ValueError(
            f'no loss of {type(unwrap(model)).__name__} is an InfoBatchLoss, so nothing would be '
            f'weighted or scored; write {LOSS_LINE}'
        )
    if not any(loss.score for loss in losses):
        raise ValueError(
            'every InfoBatchLoss has score=False, so no sample would get a score; '
            'remove it from at least one'
        )
    return losses


def tasks_of(model: nn.Module) -> Dict[InfoBatchLoss, List[str]]:
    """The tasks whose samples a loss gets, outermost first, for the losses below a head like
    mmpretrain's ``MultiTaskHead``, which hands to each task only the samples that have it."""
    tasks: Dict[InfoBatchLoss, List[str]] = {}
    for head in model.modules():
        task_heads = getattr(head, 'task_heads', None)
        if isinstance(task_heads, nn.ModuleDict):
            for task, sub_head in task_heads.items():
                for module in sub_head.modules():
                    if isinstance(module, InfoBatchLoss):
                        tasks.setdefault(module, []).append(task)
    return tasks


def rows_of_tasks(data_samples: Any, tasks: List[str]) -> List[int]:
    """Which samples of a batch have a task, and that task's own tasks."""
    having = []
    for row, sample in enumerate(data_samples):
        for task in tasks:
            sample = sample.get(task) if task in sample else None
            if sample is None:
                break
        else:
            having.append(row)
    return having


def unweighted(total: float, ours: float) -> Optional[str]:
    """Compare a loss that a model trained with what the wrapped losses gave of it.

    Args:
        total (float): The loss that the model trained.
        ours (float): The sum of the wrapped losses.

    Returns:
        str, optional: A warning, if they differ.
    """
    if not math.isfinite(total) or math.isclose(total, ours, rel_tol=1e-3, abs_tol=1e-6):
        return None
    return (
        f'the model trains a loss of {total:.6g}, of which {ours:.6g} comes from '
        'InfoBatchLoss: the rest carries no weights, so pruning shifts its gradient. Wrap '
        f'every loss that the model trains ({LOSS_LINE}); if a head scales its '
        'losses after it has evaluated them, this is of no concern'
    )


class ModelLosses:
    """The :class:`~mm_infobatch.InfoBatchLoss` modules of a model, for the time of a pass.

    It also takes the place of the data preprocessor's ``batch_augments``, if there are any, until
    :meth:`release`.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.

    Raises:
        ValueError: If it has no wrapped loss, or none that gives scores.
    """

    def __init__(self, model: nn.Module) -> None:
        self.losses = find_losses(model)
        self._tasks = tasks_of(model)
        self._rows: Dict[InfoBatchLoss, Tensor] = {}
        self._preprocessor = getattr(unwrap(model), 'data_preprocessor', None)
        augment = getattr(self._preprocessor, 'batch_augments', None)
        if isinstance(augment, MixingRecorder):
            augment = augment.augment
        self._augment = augment
        if augment is not None:
            assert self._preprocessor is not None
            self._preprocessor.batch_augments = MixingRecorder(augment, self._mix)
        self._uniform = True
        self._kept_share = 1.0
        self._weights: Tensor

    def release(self) -> None:
        """Give the data preprocessor its own ``batch_augments`` back."""
        if self._augment is not None:
            assert self._preprocessor is not None
            self._preprocessor.batch_augments = self._augment

    def begin_batch(
        self, weights: Tensor, uniform: bool, kept_share: float, data_batch: Any
    ) -> None:
        """Hand out the weights of the batch that comes next.

        Args:
            weights (Tensor): float32 [B], on the device.
            uniform (bool): Whether all of them are 1.
            kept_share (float): The share of the dataset that the pass keeps.
            data_batch (Any): The batch, as the dataloader gave it.
        """
        self._weights, self._uniform, self._kept_share = weights, uniform, kept_share
        self._rows = {}
        for loss, tasks in self._tasks.items():
            rows = rows_of_tasks(data_batch['data_samples'], tasks)
            self._rows[loss] = torch.tensor(rows, dtype=torch.int64, device=weights.device)
        self._hand_out(weights)

    def _hand_out(self, weights: Tensor) -> None:
        for loss in self.losses:
            rows = self._rows.get(loss)
            loss.begin_batch(weights if rows is None else weights[rows], self._uniform)

    def _mix(self, matrix: Tensor) -> None:
        """Change the weights of the batch to those of its mixed rows."""
        if not self._uniform:
            self._hand_out(mixed_weights(self._weights, matrix, self._kept_share))

    def trained(self, total: Any) -> Tuple[Any, Any]:
        """The loss that the model trained in the last batch, and what the wrapped losses gave of
        it; both may be tensors on the device.

        Args:
            total (Tensor or float): The loss that the model trained.
        """
        given = [loss.trained for loss in self.losses]
        ours = sum(one.to(self._weights.device) for one in given if one is not None)
        return (total.detach().clone() if isinstance(total, Tensor) else total), ours

    def end_batch(self) -> Tensor:
        """Take the scores of the batch.

        Returns:
            Tensor: float32 [B], the sum over the losses, NaN where a sample has none.

        Raises:
            ValueError: If the model called no loss that gives scores.
        """
        total: Optional[Tensor] = None
        for loss in self.losses:
            scores = loss.end_batch()
            if scores is not None:
                scores = self._of_all_rows(loss, scores)
                total = scores if total is None else total + scores
        if self._tasks:
            return self._without_unseen(total)
        if total is None:
            raise ValueError(
                'the model never called an InfoBatchLoss that gives scores in this iteration, '
                f'though it has {len(self.losses)}; wrap a loss that the model uses in training: '
                f'{LOSS_LINE}'
            )
        return total

    def _of_all_rows(self, loss: InfoBatchLoss, scores: Tensor) -> Tensor:
        """Place the scores of a task's samples into the batch, with 0 for the others."""
        rows = self._rows.get(loss)
        return (
            scores if rows is None else torch.zeros_like(self._weights).index_copy(0, rows, scores)
        )

    def _without_unseen(self, total: Optional[Tensor]) -> Tensor:
        """Take the scores of samples that no task has away."""
        seen = torch.zeros_like(self._weights, dtype=torch.bool)
        for loss in self.losses:
            seen[self._rows.get(loss, slice(None))] = True
        return torch.where(seen, 0.0 if total is None else total, float('nan'))
