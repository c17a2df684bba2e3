"""The loss wrapper: scores of the samples out, weights of the samples in."""
import inspect
from typing import Any, Optional, Union

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from . import reductions
from .arguments import require_bool


def in_backward() -> bool:
    """Whether this is computed anew for the backward pass, as gradient checkpointing does."""
    return torch._C._current_graph_task_id() != -1


@MODELS.register_module()
class InfoBatchLoss(nn.Module):
    """Weigh each sample's loss as the plan says, and keep the losses as scores.

    It evaluates the wrapped loss once, without reduction, multiplies each sample's values by the
    sample's weight and divides by what the wrapped loss itself divides by (the batch size, the
    pixel count, the count of valid pixels), never by the sum of the weights: equations 6 to 9 of
    the `paper <https://arxiv.org/abs/2303.04947>`_. With weights of 1 the result is the wrapped
    loss's own, bit for bit where ``loss_weight`` is 1 and to float32 rounding otherwise.

    Without weights (outside training, or in a training without
    :class:`~mm_infobatch.InfoBatchHook`), and where a part of the model calls it with
    ``reduction_override='none'`` (as OHEM's pixel sampler does), it is the wrapped loss.

    The score of a sample is its mean over its valid pixels, or its own loss in classification,
    times ``loss_weight``. A sample without a valid pixel has none (NaN).

    Args:
        loss (dict or nn.Module): The loss to wrap: mmseg's or mmpretrain's ``CrossEntropyLoss``
            (softmax, sigmoid, soft labels), ``LabelSmoothLoss`` or ``FocalLoss``.
        score (bool): Whether this loss is a part of the samples' scores. It is weighted either
            way. Defaults to True.

    Raises:
        TypeError: If ``loss`` is no loss, or one that has no values of single samples.
        ValueError: If it is in a mode that has none.
    """

    loss: Any

    def __init__(self, loss: Union[dict, nn.Module], score: bool = True) -> None:
        super().__init__()
        if not isinstance(loss, (dict, nn.Module)):
            raise TypeError(f'loss={loss!r} is neither a config nor a module; write '
                            "InfoBatchLoss(loss=dict(type='CrossEntropyLoss', ...))")
        require_bool('score', score, "dict(type='InfoBatchLoss', loss=dict(...), score=True)")
        self.loss = MODELS.build(loss) if isinstance(loss, dict) else loss
        reductions.check_supported(self.loss)
        self.score = score
        self._signature = inspect.signature(self.loss.forward)
        self._weights: Optional[Tensor] = None
        self._scores: Optional[Tensor] = None

    @property
    def loss_name(self) -> str:
        """str: The wrapped loss's ``loss_name``, which mmseg's heads log it under."""
        return self.loss.loss_name

    @property
    def loss_weight(self) -> float:
        """float: The wrapped loss's ``loss_weight``."""
        return self.loss.loss_weight

    def begin_batch(self, weights: Tensor) -> None:
        """Take the weights of the batch that comes next, float32 [B] on the model's device."""
        self._weights, self._scores = weights, None

    def end_batch(self) -> Optional[Tensor]:
        """Drop the weights and hand out the scores of the batch.

        Returns:
            Tensor, optional: float32 [B], detached, NaN for a sample without a valid pixel; summed
            where the model called this loss more than once, None where it did not. What gradient
            checkpointing computes a second time counts once.
        """
        scores, self._weights, self._scores = self._scores, None, None
        return scores

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Evaluate the wrapped loss; takes what that takes and returns what that returns.

        Raises:
            ValueError: If the batch has another number of samples than the plan handed out.
        """
        weights = self._weights
        call = self._signature.bind(*args, **kwargs)
        override = call.arguments.get('reduction_override')
        if weights is None or not self.training or override == 'none':
            return self.loss(*args, **kwargs)
        pred, target = list(call.arguments.values())[:2]
        named = {**call.arguments, **call.arguments.get('kwargs', {})}
        call.arguments['reduction_override'] = 'none'
        values = self.loss(*call.args, **call.kwargs)
        if values.ndim == 0 or len(values) != len(weights):
            raise ValueError(
                f'InfoBatchLoss({type(self.loss).__name__}) got a batch of shape '
                f'{tuple(values.shape)}, but this iteration trains {len(weights)} samples: each '
                'row of the loss has to belong to one sample of the dataset, so repeated '
                'augmentation, several crops an image and heads that merge images and positions '
                'cannot be weighted; leave this loss unwrapped or remove what changes the batch')
        reduction = override or self.loss.reduction
        valid = reductions.valid_positions(self.loss, pred, target, named.get('ignore_index'))
        divide_by = named.get('avg_factor')
        if reduction == 'mean':
            divide_by = reductions.divisor(self.loss, pred, target, valid, values, divide_by)
        if self.score and not in_backward():
            scores = reductions.per_sample(values, pred, valid,
                                           divide_by if reduction == 'mean' else len(values))
            self._scores = scores if self._scores is None else self._scores + scores
        weighted = values * reductions.expand_like(weights, values)
        return reductions.reduce_map(self.loss, weighted, reduction, divide_by)

    def extra_repr(self) -> str:
        """str: The settings, for ``repr``."""
        return f'score={self.score}'
