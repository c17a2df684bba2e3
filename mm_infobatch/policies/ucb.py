"""Keeps the highest upper confidence bounds of the scores."""

import math
from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor

from ..arguments import require_number, require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .budgets import count_kept
from .drawing import keep_marked, mark_highest, rescaled
from .plan import Plan


@PRUNING_POLICIES.register_module()
class UCB:
    """Keep the samples with the highest moving average plus a multiple of the deviation.

    A loss x of a sample updates mean and variance, with d = x - mean:
    mean <- mean + smoothing * d, variance <- (1 - smoothing) * (variance + smoothing * d^2).
    The samples with the highest mean + confidence * sqrt(variance) are kept. `Raju et al. 2021,
    Accelerating Deep Learning with Dynamic Data Pruning <https://arxiv.org/abs/2111.12621>`_. Only
    ties are broken at random, so no weights could make the policy unbiased. O(N) per pass: a
    partition, no sort. Its state, 8 bytes per sample, is saved in checkpoints.

    Differences from the publication:

    1. The samples are chosen in each pass; there, once for several passes.
    2. The bound uses the standard deviation, so that the scale of the loss does not matter.
    3. Samples without a score are always kept, in addition to the K.

    Args:
        prune_ratio (float): The share of the samples that is skipped, in [0, 1). Defaults to 0.3.
        confidence (float): The factor of the deviation, at least 0. Defaults to 1.
        smoothing (float): The factor of a new loss in the average, in (0, 1]. Defaults to 0.2.
        rescale (bool or str): True for weights of N/K, which lengthen the gradient to about that
            of all data but leave its bias; False and ``'normalized'`` for weights of 1. Defaults
            to False.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.
    """

    bias = 'towards high scores'
    keeps_losses = True

    def __init__(
        self,
        prune_ratio: float = 0.3,
        confidence: float = 1.0,
        smoothing: float = 0.2,
        rescale: Union[bool, str] = False,
    ) -> None:
        line = "policy=dict(type='UCB', prune_ratio=0.3, confidence=1.0, smoothing=0.2"
        self.prune_ratio = require_share('prune_ratio', prune_ratio, f'{line})', zero=True)
        self.confidence = require_number('confidence', confidence, 'of at least 0', f'{line})')
        if not 0 <= self.confidence < math.inf:
            raise ValueError(f'confidence={confidence} has to be finite, at least 0; write {line})')
        self.smoothing = require_share('smoothing', smoothing, f'{line})', one=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')
        self._mean: Optional[Tensor] = None  # float32 [N], NaN where unseen
        self._variance: Optional[Tensor] = None  # float32 [N]

    def observe(self, indices: Tensor, losses: Tensor, num_samples: int) -> None:
        """Update mean and variance with new losses.

        Args:
            indices (Tensor): The samples, int64 [M].
            losses (Tensor): Their losses, float32 [M], finite.
            num_samples (int): N.
        """
        if self._mean is None or self._variance is None:
            self._mean = torch.full((num_samples,), math.nan)
            self._variance = torch.zeros(num_samples)
        mean = self._mean[indices]
        difference = torch.where(mean.isnan(), torch.zeros_like(losses), losses - mean)
        self._mean[indices] = torch.where(mean.isnan(), losses, mean + self.smoothing * difference)
        self._variance[indices] = (1 - self.smoothing) * (
            self._variance[indices] + self.smoothing * difference**2
        )

    def bounds(self, scores: Tensor) -> Tensor:
        """The upper confidence bound of each sample, float32 [N], NaN where unseen.

        The bound of a sample that was never observed is its score. (A checkpoint of a run with
        another policy has scores without this state.)
        """
        if self._mean is None or self._variance is None:
            return scores
        bounds = self._mean + self.confidence * self._variance.sqrt()
        return torch.where(self._mean.isnan(), scores, bounds)

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan``."""
        require_scores(scores, generator)
        bounds = self.bounds(scores)
        marked = bounds.isnan()
        seen = (~marked).nonzero().squeeze(1)
        kept = count_kept(len(seen), self.prune_ratio)
        marked[seen[mark_highest(bounds[seen], kept, generator)]] = True
        indices, weights = keep_marked(marked)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def state_dict(self) -> Dict[str, Any]:
        """The state: ``mean`` and ``variance``, float32 [N]; empty before the first losses."""
        if self._mean is None or self._variance is None:
            return {}
        return dict(mean=self._mean.clone(), variance=self._variance.clone())

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self._mean = self._variance = None
        if 'mean' in state_dict:  # else it is empty, or that of another policy
            self._mean = state_dict['mean'].cpu().clone()
            self._variance = state_dict['variance'].cpu().clone()

    def __repr__(self) -> str:
        return (
            f'UCB(prune_ratio={self.prune_ratio:g}, confidence={self.confidence:g}, '
            f'smoothing={self.smoothing:g}, rescale={self.rescale!r})'
        )
