"""All wrapped losses of a model together: weights of a batch in, scores of its samples out."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .evaluations import sum_of_scores
from .mixing import (
    MixingRecorder,
    batch_augments_of,
    by_sample,
    mixed_weights,
    put_batch_augments,
    samples_of_rows,
)
from .places import Places
from .search import LOSS_LINE, check_plain_losses, find_losses, unwrap, wrapped_losses
from .tasks import TaskRows
from .trained_loss import TrainedLoss
from .wrapper import InfoBatchLoss


def trained_of(losses: List[InfoBatchLoss]) -> List[InfoBatchLoss]:
    """Those of some losses that are trained in the current batch. One without a graph, as that of a
    frozen teacher, is not, unless no loss has one: the model then computes its gradients itself."""
    return [loss for loss in losses if loss.has_graph] or losses


class ModelLosses:
    """The :class:`~mm_infobatch.InfoBatchLoss` modules of a model, during one pass.

    It also replaces the data preprocessor's ``batch_augments``, if there are any, until
    :meth:`release`. In one batch of the pass it compares the loss that the model trains with the
    sum of the wrapped losses; :meth:`end_pass` says whether they differ.

    Args:
        model (nn.Module): The model, or its wrapper of a distributed run.
        unweighted (Sequence[str]): The losses that are meant to carry no weights, see
            :func:`~mm_infobatch.losses.search.check_plain_losses`. Defaults to (): none.
        compared (int): The batch in which it compares, another one in each pass, as some losses
            are trained in some iterations only. Defaults to 0: the first.

    Raises:
        ValueError: If it has no wrapped loss, none that gives scores, or one that carries no
            weights and is not named.
    """

    def __init__(self, model: nn.Module, unweighted: Sequence[str] = (), compared: int = 0) -> None:
        self.losses = find_losses(model)
        check_plain_losses(model, unweighted)
        for loss in self.losses:
            loss.begin_pass()
        self._model = unwrap(model)
        self._names = wrapped_losses(self._model)
        self._tasks = TaskRows(model)
        self._preprocessor: Any = getattr(self._model, 'data_preprocessor', None)
        augment = batch_augments_of(self._preprocessor)
        self._mixing = None if augment is None else MixingRecorder(augment, self._mix)
        put_batch_augments(self._preprocessor, self._mixing)
        self._places = Places(self._model)
        self._unweighted = unweighted
        self._in_step = False  # a hook may evaluate the model before and after a step
        self._uniform = True
        self._mean_weight = self._scale = 1.0
        self._weights: Tensor
        self._samples: Optional[Tensor] = None  # of the rows of the batch, where it was mixed
        self._trained_loss = TrainedLoss(self._model, compared)

    def current(self, model: nn.Module) -> 'ModelLosses':
        """This object, or a new one if a hook has changed the parts of the model or the batch
        augmentation.

        Args:
            model (nn.Module): The model that trains the next batch, or its wrapper.

        Raises:
            ValueError: If a new loss carries no weights, or one of the old ones was wrong.
        """
        if unwrap(model) is self._model and not self._places.changed():
            return self
        self.check()
        self._trained_loss.stop()
        return ModelLosses(model, self._unweighted)

    def release(self) -> None:
        """Give the data preprocessor its own ``batch_augments`` back."""
        self._trained_loss.stop()
        put_batch_augments(self._preprocessor, None)

    def begin_batch(
        self,
        weights: Tensor,
        uniform: bool,
        mean_weight: float,
        data_batch: Any,
        scale: float = 1.0,
    ) -> None:
        """Give the losses the weights of the batch that comes next.

        Args:
            weights (Tensor): float32 [B], on the device.
            uniform (bool): Whether all of them are 1.
            mean_weight (float): The mean weight of the pass.
            data_batch (Any): The batch, as the dataloader gave it.
            scale (float): What the weights are multiplied by, after the batch is mixed. Defaults
                to 1.
        """
        self._weights, self._uniform, self._mean_weight = weights, uniform, mean_weight
        self._scale, self._in_step, self._samples = scale, True, None
        self._trained_loss.begin_batch()
        self._tasks.begin_batch(data_batch, weights.device)
        self._hand_out(weights)

    def _hand_out(self, weights: Tensor) -> None:
        """Give each loss the weights of the samples that it gets."""
        if self._scale != 1:
            weights = weights * self._scale
        for loss in self.losses:
            own, factor = self._tasks.weights_of(loss, weights, self._uniform)
            loss.begin_batch(own, self._uniform, self._scale * factor)

    def _mix(self, matrix: Tensor) -> None:
        """Change the weights of the batch to those of its mixed rows."""
        if not self._in_step:
            return
        self._samples = samples_of_rows(matrix)
        if not self._uniform:
            self._hand_out(mixed_weights(self._weights, matrix, self._mean_weight))

    def end_batch(self, outputs: Optional[Dict[str, Any]] = None) -> Tensor:
        """Take the scores of the batch.

        Args:
            outputs (dict, optional): What the model's ``train_step`` returned, for a model that
                does not return its losses from ``forward``. Defaults to None.

        Returns:
            Tensor: float32 [B], the sum over the losses, NaN where a sample has none, on the device
            of the weights, see :func:`~mm_infobatch.losses.evaluations.sum_of_scores`.

        Raises:
            ValueError: If the model has never called a loss that gives scores.
        """
        self._in_step = False
        self._trained_loss.end_batch(trained_of(self.losses), outputs, self._weights.device)
        giving = trained_of([loss for loss in self.losses if loss.score])
        scored: List[Tuple[Tensor, Tensor]] = []
        for loss in self.losses:
            value, scores = loss.trained, loss.end_batch()
            if scores is not None and value is not None and loss in giving:
                scores = self._tasks.in_batch(loss, scores.to(self._weights.device), self._weights)
                scored.append((scores, value.to(scores.device)))
        total = sum_of_scores(scored)
        if total is None and (self._tasks.present or any(loss.called for loss in self.losses)):
            # A head may compute no loss for a batch, such as one without a valid pixel.
            return torch.full_like(self._weights, float('nan'))
        if total is None:
            raise ValueError(
                'the model never called an InfoBatchLoss that gives scores in this iteration, '
                f'though it has {len(self.losses)}, or only with reduction_override="none", which '
                'no weight reaches; wrap a loss that the model uses in training: '
                f'{LOSS_LINE}'
            )
        return total if self._samples is None else by_sample(total, self._samples)

    def drop_batch(self) -> None:
        """Drop the weights of a batch that was not trained to its end."""
        self._in_step = False
        self._trained_loss.drop_batch()
        for loss in self.losses:
            loss.end_batch()

    def end_pass(self) -> Optional[str]:
        """Read what was kept on the device during the pass; waits for it.

        Returns:
            str, optional: A warning, if a part of the loss that the model trained in the batch
            that was compared carried no weights.

        Raises:
            ValueError: If :meth:`check` fails.
        """
        self.check()
        return self._trained_loss.end_pass()

    def check(self) -> None:
        """Check the unknown losses, and that the batch augmentation only mixes samples. Waits for
        the device if there are any.

        Raises:
            ValueError: If a check fails, with the place of the loss in the model.
        """
        if self._mixing is not None:
            self._mixing.check()
        for loss in self.losses:
            try:
                loss.check()
            except ValueError as error:
                raise ValueError(f'model.{self._names[loss]}: {error}') from None
