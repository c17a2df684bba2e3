"""Skips the samples with the lowest losses, if the model is sure of their labels."""

import math
from typing import Optional, Sequence, Union

import torch
from torch import Tensor

from ..arguments import require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .budgets import count_kept
from .drawing import keep_marked, mark_highest, rescaled
from .plan import Plan
from .run import Run


@PRUNING_POLICIES.register_module()
class KAKURENBO:
    """Skip the samples with the lowest losses, if the model is sure of their labels.

    Of n samples at most floor(n * F) are skipped, those with the lowest losses. Among them, a
    sample whose label has a probability below ``confidence`` is kept (the publication: is moved
    back). F is ``hidden`` at first and falls by a fifth of it at each milestone. `KAKURENBO, 2023
    <https://arxiv.org/abs/2310.10102>`_. Biased towards high losses. O(N) per pass: a partition, no
    sort. The publication has no annealing: also set ``sampler.delta=1``.

    It needs scores that are the plain cross entropy of one label: the label's probability is then
    exp(-loss), and above 0.5 the prediction is correct. With label smoothing, Mixup, weights of
    classes, several losses, or a mean over the pixels of an image, this is not so; a warning when
    training starts says which of them the run has.

    Differences from the publication:

    1. A skipped sample keeps the loss of its last training until it is trained again, because
       enough other losses have fallen below it, or F has. There, a forward pass at the end of each
       epoch updates the losses of the hidden samples.
    2. The learning rate is not multiplied by 1/(1-F). The kept samples weigh N/K instead, which is
       the same for plain SGD if F of the samples are skipped; if fewer are, N/K is smaller. For
       other optimizers, ``InfoBatchHook(step_length=10)`` multiplies their learning rate by N/K.
    3. Of equal losses at the limit a random part is skipped, never more than F; there, all of them,
       so that no sample is left if all losses are equal.
    4. Milestones are shares of the run, not epochs. A sample without a score is never skipped.

    Args:
        hidden (float): F at first, the largest share of the samples that is skipped, in [0, 1).
            Defaults to 0.3.
        confidence (float): The lowest probability of the label of a skipped sample, in (0.5, 1).
            Defaults to 0.7.
        milestones (list[float]): Up to 4 shares of the run, ascending, in (0, 1). Defaults to
            [1/3, 2/3, 8/9]: epochs 30, 60 and 80 of 90.
        rescale (bool or str): True for weights of N/K; False and ``'normalized'`` for weights of
            1. Defaults to True.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """

    batch_score = None
    label_probability = True
    bias = 'towards high losses'

    def __init__(
        self,
        hidden: float = 0.3,
        confidence: float = 0.7,
        milestones: Sequence[float] = (1 / 3, 2 / 3, 8 / 9),
        rescale: Union[bool, str] = True,
    ) -> None:
        line = "policy=dict(type='KAKURENBO', hidden=0.3, confidence=0.7"
        self.hidden = require_share('hidden', hidden, f'{line})', zero=True)
        self.confidence = require_share('confidence', confidence, f'{line})')
        if self.confidence <= 0.5:
            raise ValueError(
                f'confidence={confidence} has to be above 0.5, or the loss does not say that the '
                f'prediction is correct; write {line})'
            )
        line += ', milestones=[0.3, 0.6, 0.8]'
        if not isinstance(milestones, (list, tuple)):
            raise TypeError(
                f'milestones has to be a list of numbers, but is {milestones!r}; write {line})'
            )
        self.milestones = [require_share('milestones', share, f'{line})') for share in milestones]
        ascending = all(low < high for low, high in zip(self.milestones, self.milestones[1:]))
        if not ascending or len(self.milestones) > 4:
            raise ValueError(
                f'milestones={list(milestones)} has to be ascending, with at most 4 shares of the '
                f'run, because each lowers F by a fifth of hidden; write {line})'
            )
        self.rescale = require_rescale(rescale, f'{line}, rescale=True)')

    def largest_share(self, run: Optional[Run]) -> float:
        """F, the largest share of the samples that is skipped now; without a run, that at first."""
        done = 0.0 if run is None else run.walked / run.total
        return self.hidden * (1 - 0.2 * sum(done >= milestone for milestone in self.milestones))

    def plan(self, scores: Tensor, generator: torch.Generator, run: Optional[Run] = None) -> Plan:
        """Choose the samples of a pass, by the run too; the generator only breaks ties."""
        require_scores(scores, generator)
        marked = scores.isnan()
        seen = (~marked).nonzero().squeeze(1)
        # The samples of which the model is sure are those with the lowest losses.
        sure = int((scores <= -math.log(self.confidence)).sum())
        kept = max(len(seen) - sure, count_kept(len(seen), self.largest_share(run)))
        marked[seen[mark_highest(scores[seen], kept, generator)]] = True
        indices, weights = keep_marked(marked)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def __repr__(self) -> str:
        milestones = ', '.join(f'{milestone:g}' for milestone in self.milestones)
        return (
            f'KAKURENBO(hidden={self.hidden:g}, confidence={self.confidence:g}, '
            f'milestones=[{milestones}], rescale={self.rescale!r})'
        )
