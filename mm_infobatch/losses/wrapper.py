"""The loss wrapper: weights of the samples in, scores of the samples out."""

import inspect
from typing import Any, Dict, List, Optional, Union

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..arguments import require_bool, require_known
from . import unknown, unknown_checks
from .batch_loss import BatchLoss, Comparison, Decomposition
from .call import Call
from .compiling import is_compiling, not_compiled
from .decompositions import find_decomposition
from .evaluations import Evaluation, in_backward, sum_of_scores, trained_evaluations
from .hooked import changed_by_hooks
from .weights import Factor, Weights


@MODELS.register_module()
class InfoBatchLoss(nn.Module):
    """Weight each sample's loss as the plan says, and keep the losses as scores.

    It evaluates the wrapped loss once, without reduction, multiplies each sample's values by the
    sample's weight and divides by what the wrapped loss itself divides by (the batch size, the
    pixel count), never by the sum of the weights: equations 6 to 9 of the `paper
    <https://arxiv.org/abs/2303.04947>`_. Where that divisor is counted from the batch (valid
    pixels, class weights, hard pixels), each sample counts as what it stands for. With weights of 1
    the result is the wrapped loss's own, bit for bit where ``loss_weight`` is 1 and to float32
    rounding otherwise.

    Without weights (outside training, or in a training without
    :class:`~mm_infobatch.InfoBatchHook`), and where a part of the model calls it with
    ``reduction_override='none'`` (as OHEM's pixel sampler does), it is the wrapped loss. So what
    that sampler chooses by rank (``min_kept``) is biased to hard images in a pruned pass.

    The score of a sample is its mean over its valid pixels, or its own loss in classification,
    times ``loss_weight``. A sample without a valid pixel has none (NaN).

    A loss counts as one of mmseg or mmpretrain only if its ``forward``, and all that ``forward``
    calls on ``self``, is the toolbox's own code. Every other loss is unknown. Its ``forward`` has
    to take ``reduction_override`` as the toolboxes' losses do. Where nothing is pruned, its own
    value is trained. In every batch this value is compared with the one computed from the values of
    the samples, which takes one more evaluation without gradients. On a device, the first step and
    the end of a pass wait for the result (:meth:`check`). The first batch is also used to check
    that each value belongs to one sample.

    Args:
        loss (dict or nn.Module): The loss to wrap: any of mmseg or mmpretrain that is a sum over
            samples, or one of your own whose ``forward`` takes ``reduction_override``, for which
            'none' gives a map [B, ...], and whose value is the mean of that map over all positions,
            or over those that are not ignored.
        score (bool): Whether this loss is a part of the samples' scores. It is weighted either
            way. Defaults to True.
        per_image (bool): Whether to evaluate the loss on each image alone and train the mean, for
            a loss that is none of the above, such as a Lovasz loss over the batch. It then trains
            another loss than without InfoBatch, also where nothing is pruned. Defaults to False.

    Raises:
        TypeError: If ``loss`` is not a loss, or one that has no values of single samples.
        ValueError: If it is in a mode that has none.
    """

    loss: Any

    def __init__(
        self,
        loss: Union[Dict[str, Any], nn.Module],
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
        self.score = score
        self.per_image = per_image
        self.loss = MODELS.build(loss) if isinstance(loss, dict) else loss
        if isinstance(self.loss, InfoBatchLoss):
            raise TypeError(
                'InfoBatchLoss cannot wrap an InfoBatchLoss, which would weight each sample twice; '
                'write one of them only'
            )
        self._weights: Optional[Tensor] = None
        self._uniform = False
        self._scale: Factor = 1.0
        self._evaluations: List[Evaluation] = []
        self._comparison: Optional[Comparison] = None
        self._constants: Dict[Any, Any] = {}
        self._rows_checked = False  # in the first batch of an unknown loss
        self.__dict__['called'] = False  # in any batch so far, where it gives scores
        self._register_state_dict_hook(_name_as_without_wrapper)  # type: ignore[no-untyped-call]
        self.begin_pass()

    def __getattr__(self, name: str) -> Any:
        """The wrapped loss's attribute, where this module has none of that name: its
        ``loss_name``, under which mmseg's heads log it, its ``init_weights``, and what a head or a
        hook reads."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            inner = self.__dict__.get('_modules', {}).get('loss')
            if inner is None or name.startswith('_'):
                raise
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the wrapped loss, where this module has none of that name: a hook
        that changes the loss of a model (its ``class_weight``, its ``loss_weight``) means that one.

        What a subclass sets stays with the subclass.
        """
        inner = self.__dict__.get('_modules', {}).get('loss')
        if (
            inner is None
            or name.startswith('_')
            or type(self) is not InfoBatchLoss
            or name in self.__dict__
            or name in self._modules
            or hasattr(InfoBatchLoss, name)
        ):
            super().__setattr__(name, value)
            if name == 'loss' and inner is not None:  # replaced, perhaps in the middle of a pass
                self._rows_checked = False
                self.begin_pass()
        else:
            setattr(inner, name, value)

    @property
    def trained(self) -> Optional[Tensor]:
        """Tensor, optional: What it gave in the current batch, summed over its calls, detached;
        None where it was not called."""
        values = [evaluation.value for evaluation in trained_evaluations(self._evaluations)]
        return sum(values[1:], values[0]) if values else None

    @property
    def has_graph(self) -> bool:
        """bool: Whether autograd recorded an evaluation of the current batch."""
        return any(evaluation.has_graph for evaluation in self._evaluations)

    def begin_pass(self) -> None:
        """Find out again how to take the wrapped loss apart: a hook may have changed it.

        Raises:
            TypeError: If it now has no values of single samples.
            ValueError: If it now is in a mode that has none.
        """
        self._decomposition = find_decomposition(self.loss, self.per_image)
        self._signature = inspect.signature(self.loss.forward)
        self._names = tuple(self._signature.parameters)

    def begin_batch(self, weights: Tensor, uniform: bool = False, scale: Factor = 1.0) -> None:
        """Set the weights of the next batch.

        Args:
            weights (Tensor): float32 [B]. They multiply without a copy if they are on the device
                of the loss's values.
            uniform (bool): Whether all of them are known to be 1. The result is then the wrapped
                loss's own value, even if that can be taken apart only up to rounding. Defaults to
                False.
            scale (float or Tensor): The factor by which the weights of the plan were multiplied.
                Defaults to 1.
        """
        # Not through nn.Module.__setattr__, which takes longer than the rest of this method.
        self.__dict__.update(_weights=weights, _uniform=uniform, _scale=scale, _evaluations=[])

    def end_batch(self) -> Optional[Tensor]:
        """Drop the weights and return the scores of the batch.

        Returns:
            Tensor, optional: float32 [B], detached, NaN for a sample without a valid pixel; None if
            the model did not call this loss. If it did so more than once, the sum over its
            evaluations, see :func:`~mm_infobatch.losses.evaluations.trained_evaluations`.
        """
        scores: Optional[Tensor] = None
        if self.score:
            self.__dict__['called'] = self.called or bool(self._evaluations)
            trained = trained_evaluations(self._evaluations)
            scores = sum_of_scores([(each.scores, each.value) for each in trained])
        self.__dict__.update(_weights=None, _evaluations=[])
        return scores

    def check(self) -> None:
        """Check that the value of an unknown loss was equal to the one computed from its values of
        the samples, in every batch since the last check. Waits for the device if there was one.

        Raises:
            ValueError: If it was not.
        """
        comparison = self._comparison
        self.__dict__['_comparison'] = None
        if comparison is not None and bool(comparison.wrong):
            raise ValueError(
                f'InfoBatchLoss cannot wrap {type(self.loss).__name__}: its value of a batch was '
                f'{comparison.own.item():.6g}, but its values of the samples make '
                f'{comparison.made.item():.6g}, so it is neither a mean over samples nor over the '
                'positions that are not ignored. To train the mean of its values for each image '
                "alone, which is another loss, write dict(type='InfoBatchLoss', loss=..., "
                'per_image=True)'
            )

    @not_compiled
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Evaluate the wrapped loss, with its arguments and its kind of result.

        Raises:
            ValueError: If the batch has another number of samples than the plan handed out, or the
                loss turns out not to be a mean over samples.
        """
        call = Call(self._signature, self._names, args, kwargs, self._constants)
        # A head that stays in evaluation mode, such as a frozen one, trains the layers before it.
        trains = self.training or torch.is_grad_enabled()
        if self._weights is None or not trains or call.get('reduction_override') == 'none':
            return self.loss(*args, **kwargs)
        weights = Weights(self._weights, self._uniform, self._scale)
        was_checked = self._rows_checked
        batch_loss = self._take_apart(call, weights)
        recomputed = not is_compiling() and in_backward()
        has_graph = batch_loss.value.requires_grad
        # Its mean is a copy: mmseg's heads add up losses of one name in place.
        value = batch_loss.value.detach().mean()
        self._evaluations.append(Evaluation(value, batch_loss.scores, has_graph, recomputed))
        if batch_loss.comparison is not None and not recomputed:
            self._keep_comparison(batch_loss.comparison)
        if self._rows_checked and not was_checked:  # the first batch of an unknown loss
            self.check()
            unknown_checks.check_gradient(self.loss, call, weights)
        return batch_loss.value

    def _take_apart(self, call: Call, weights: Weights) -> BatchLoss:
        """Take apart the wrapped loss; as an unknown one once a hook was seen to change it."""
        compiling = is_compiling()
        is_unknown = self._decomposition.take_apart is unknown.take_apart
        if is_unknown and not self._rows_checked and not compiling:
            self.__dict__['_rows_checked'] = True
            unknown_checks.check_rows(self.loss, call, weights)
        hooked = self.loss._forward_hooks or self.loss._forward_pre_hooks
        if is_unknown or compiling or not hooked:
            return self._decomposition.evaluate(self.loss, call, weights)
        with changed_by_hooks(self.loss) as changed:
            batch_loss = self._decomposition.evaluate(self.loss, call, weights)
        if not changed or self.per_image:
            return batch_loss
        self.__dict__['_decomposition'] = Decomposition(unknown.take_apart, exact=True)
        return self._decomposition.evaluate(self.loss, call, weights)

    def _keep_comparison(self, comparison: Comparison) -> None:
        """Keep the first comparison that failed; read it at once where that needs no wait."""
        if self._comparison is not None:
            comparison = self._comparison.then(comparison)
        self.__dict__['_comparison'] = comparison
        if comparison.wrong.device.type == 'cpu' and not is_compiling():
            self.check()

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the state of the wrapped loss (the counts of SeesawLoss) under the names that it has
        without this module, or those of older checkpoints, with the ``loss.`` of this module."""
        for name in self.loss.state_dict():
            if prefix + name in state_dict:
                state_dict[f'{prefix}loss.{name}'] = state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """str: The settings, for ``repr``."""
        return f'score={self.score}' + (', per_image=True' if self.per_image else '')


def _name_as_without_wrapper(module: nn.Module, state: Any, prefix: str, _: Any) -> None:
    """Save the state of the wrapped loss under the names that it has without the wrapper, so that a
    run without InfoBatch continues with it."""
    inner = f'{prefix}loss.'
    for key in [key for key in state if key.startswith(inner)]:
        state[prefix + key[len(inner) :]] = state.pop(key)
