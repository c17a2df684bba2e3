"""The loss wrapper: scores of the samples out, weights of the samples in."""

import inspect
from typing import Any, Dict, List, Optional, Union

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..arguments import require_bool, require_known
from . import reductions
from .decompositions import Call, Parts, agrees, find


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
        loss (dict or nn.Module): The loss to wrap: any of mmseg or mmpretrain that is a sum over
            samples, or one of your own whose ``forward`` takes ``reduction_override`` as theirs
            do (the first batch then checks that its values of samples make its value).
        score (bool): Whether this loss is a part of the samples' scores. It is weighted either
            way. Defaults to True.
        per_image (bool): Whether to evaluate the loss on each image alone and train the mean, for
            a loss that is none of the above, as a Lovasz loss over the batch. It then trains
            another loss than without InfoBatch, also where nothing is pruned. Defaults to False.

    Raises:
        TypeError: If ``loss`` is no loss, or one that has no values of single samples.
        ValueError: If it is in a mode that has none.
    """

    loss: Any

    def __init__(
        self,
        loss: Union[dict, nn.Module],
        score: bool = True,
        per_image: bool = False,
        **inherited: Any,
    ) -> None:
        super().__init__()
        require_known(
            'InfoBatchLoss',
            inherited,
            ('loss', 'score', 'per_image'),
            "loss_decode=dict(_delete_=True, type='InfoBatchLoss', loss=dict(...)), in mmpretrain "
            'loss=',
        )
        if not isinstance(loss, (dict, nn.Module)):
            raise TypeError(
                f'loss={loss!r} is neither a config nor a module; write '
                "InfoBatchLoss(loss=dict(type='CrossEntropyLoss', ...))"
            )
        line = "dict(type='InfoBatchLoss', loss=dict(...), score=True, per_image=False)"
        require_bool('score', score, line)
        require_bool('per_image', per_image, line)
        self.loss = MODELS.build(loss) if isinstance(loss, dict) else loss
        self._decomposition = find(self.loss, per_image)
        self._verify = self._decomposition.verify
        self.score = score
        self.per_image = per_image
        self._signature = inspect.signature(self.loss.forward)
        self._names = tuple(self._signature.parameters)
        self._weights: Optional[Tensor] = None
        self._uniform = False
        self._scores: Optional[Tensor] = None
        self._given: List[Tensor] = []

    @property
    def loss_name(self) -> str:
        """str: The wrapped loss's ``loss_name``, which mmseg's heads log it under."""
        return self.loss.loss_name

    @property
    def loss_weight(self) -> float:
        """float: The wrapped loss's ``loss_weight``."""
        return self.loss.loss_weight

    @property
    def trained(self) -> Optional[Tensor]:
        """Tensor, optional: What it gave in the current or last batch, summed over its calls,
        detached; None where it was not called."""
        return torch.stack([value.mean() for value in self._given]).sum() if self._given else None

    def begin_batch(self, weights: Tensor, uniform: bool = False) -> None:
        """Take the weights of the batch that comes next.

        Args:
            weights (Tensor): float32 [B], on the model's device.
            uniform (bool): Whether all of them are known to be 1, so that the loss is the wrapped
                loss's own even where that can be taken apart only to rounding. Defaults to False.
        """
        # Past nn.Module.__setattr__, which takes longer than the rest of this.
        self.__dict__.update(_weights=weights, _uniform=uniform, _scores=None, _given=[])

    def end_batch(self) -> Optional[Tensor]:
        """Drop the weights and hand out the scores of the batch.

        Returns:
            Tensor, optional: float32 [B], detached, NaN for a sample without a valid pixel; summed
            where the model called this loss more than once, None where it did not. What gradient
            checkpointing computes a second time counts once.
        """
        scores = self._scores
        self.__dict__.update(_weights=None, _scores=None)
        return scores

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Evaluate the wrapped loss; takes what that takes and returns what that returns.

        Raises:
            ValueError: If the batch has another number of samples than the plan handed out, or the
                loss turns out to be no sum over samples.
        """
        call = Call(self._signature, self._names, args, kwargs)
        if self._weights is None or not self.training or call.get('reduction_override') == 'none':
            return self.loss(*args, **kwargs)
        own = self._uniform and not self._decomposition.exact
        if own:
            with torch.no_grad():
                parts = self._decomposition.take_apart(self.loss, call)
        else:
            parts = self._decomposition.take_apart(self.loss, call)
        self._check(parts)
        counts = not in_backward()
        if self.score and counts:
            scores = parts.scores if self._scores is None else self._scores + parts.scores
            self.__dict__['_scores'] = scores
        if own or self._verify:
            value = self.loss(*args, **kwargs)
            self._verify_once(value, parts)
        if not own:
            value = parts.reduce(parts.values * reductions.expand_like(self._weights, parts.values))
        if counts:
            self._given.append(value.detach())
        return value

    def _check(self, parts: Parts) -> None:
        assert self._weights is not None
        if parts.values.shape[0] != self._weights.shape[0]:
            raise ValueError(
                f'InfoBatchLoss({type(self.loss).__name__}) got a batch of shape '
                f'{tuple(parts.values.shape)}, but this iteration trains {len(self._weights)} '
                'samples: each row of the loss has to belong to one sample of the dataset, so '
                'repeated augmentation, several crops an image and heads that merge images and '
                'positions cannot be weighted; leave this loss unwrapped or remove what changes '
                'the batch'
            )

    def _verify_once(self, value: Tensor, parts: Parts) -> None:
        """Compare a loss that nobody knows with its parts, in the first batch."""
        if self._verify:
            self._verify = False
            wrong = agrees(value, parts)
            if wrong is not None:
                raise ValueError(
                    f'InfoBatchLoss cannot wrap {type(self.loss).__name__}: {wrong}, so it is no '
                    'mean over samples. To train the mean of its values for each image alone, '
                    "which is another loss, write dict(type='InfoBatchLoss', loss=..., "
                    'per_image=True)'
                )

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the state of the wrapped loss (the counts of SeesawLoss) from a checkpoint of a run
        without InfoBatch too, where its names lack the ``loss.`` of this module."""
        inner = f'{prefix}loss.'
        for key in list(state_dict):
            if key.startswith(prefix) and not key.startswith(inner):
                state_dict[inner + key[len(prefix) :]] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """str: The settings, for ``repr``."""
        return f'score={self.score}' + (', per_image=True' if self.per_image else '')
