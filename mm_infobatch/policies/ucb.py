"""The highest upper confidence bounds of the scores."""

from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor

from ..arguments import require_rescale, require_share
from ..registry import PRUNING_POLICIES
from .drawing import count_kept, keep_highest, unseen, weigh
from .plan import Plan


@PRUNING_POLICIES.register_module()
class UCB:
    """Keep the samples whose score may be high: moving average plus a multiple of the deviation.

    With each loss x of a sample, d = x - mean becomes part of mean + smoothing * d and of
    (1 - smoothing) * (variance + smoothing * d^2); those with the highest
    mean + confidence * sqrt(variance) stay. After `Raju et al. 2021, Accelerating Deep Learning
    with Dynamic Data Pruning <https://arxiv.org/abs/2111.12621>`_. Nothing in it is random but
    what breaks ties, so no weights could make it unbiased. O(N) a pass: a partition, no sort. Its
    state, 8 bytes a sample, is a part of the sampler's, and so of checkpoints.

    It differs from the publication:

    1. It chooses anew in each pass; there, a choice is kept for a period of several passes.
    2. The bound takes the standard deviation, so that the scale of the loss does not matter.
    3. A sample without a score is always kept, beside the K of those that have one.

    Args:
        prune_ratio (float): The share of the samples that is skipped, in [0, 1). Defaults to 0.3.
        confidence (float): The deviations that are added to the average, 0 or more. Defaults to 1.
        smoothing (float): How much of a new loss enters the average, in (0, 1]. Defaults to 0.2.
        rescale (bool or str): False for weights of 1; True for weights of N/K, which give the
            gradient the length of that of all data and leave its bias. Defaults to False.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        prune_ratio: float = 0.3,
        confidence: float = 1.0,
        smoothing: float = 0.2,
        rescale: Union[bool, str] = False,
    ) -> None:
        line = "policy=dict(type='UCB', prune_ratio=0.3, confidence=1.0, smoothing=0.2"
        self.prune_ratio = require_share('prune_ratio', prune_ratio, f'{line})', zero=True)
        if isinstance(confidence, bool) or not isinstance(confidence, (int, float)):
            raise TypeError(f'confidence has to be a number, but is {confidence!r}; write {line})')
        if not 0 <= confidence < float('inf'):
            raise ValueError(f'confidence={confidence} has to be 0 or more; write {line})')
        self.confidence = float(confidence)
        self.smoothing = require_share('smoothing', smoothing, f'{line})', one=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')
        self._mean: Optional[Tensor] = None  # float32 [N], NaN where unseen
        self._variance: Optional[Tensor] = None  # float32 [N]

    def observe(self, indices: Tensor, losses: Tensor, num_samples: int) -> None:
        """Take new losses of some samples.

        Args:
            indices (Tensor): int64 [M].
            losses (Tensor): float32 [M], finite.
            num_samples (int): N.
        """
        if self._mean is None or self._variance is None:
            self._mean = torch.full((num_samples,), float('nan'))
            self._variance = torch.zeros(num_samples)
        mean = self._mean[indices]
        difference = torch.where(mean.isnan(), torch.zeros_like(losses), losses - mean)
        self._mean[indices] = torch.where(mean.isnan(), losses, mean + self.smoothing * difference)
        self._variance[indices] = (1 - self.smoothing) * (
            self._variance[indices] + self.smoothing * difference**2
        )

    def bounds(self, scores: Tensor) -> Tensor:
        """The upper confidence bound of each sample, float32 [N], NaN where unseen.

        A sample that was never observed, as in a checkpoint without this state, has its score.
        """
        if self._mean is None or self._variance is None:
            return scores
        bounds = self._mean + self.confidence * self._variance.sqrt()
        return torch.where(self._mean.isnan(), scores, bounds)

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose what a pass trains on.

        Args:
            scores (Tensor): The latest loss of each sample, float32 [N], NaN where unseen.
            generator (torch.Generator): Where the randomness comes from.

        Returns:
            Plan: The kept samples and their weights.
        """
        bounds = self.bounds(scores)
        seen = (~unseen(bounds)).nonzero().squeeze(1)
        kept = count_kept(len(seen), self.prune_ratio)
        marked = unseen(bounds)
        marked[seen[keep_highest(bounds[seen], kept, generator)]] = True
        indices = marked.nonzero().squeeze(1)
        weights = torch.full((len(indices),), len(scores) / len(indices))
        return Plan(indices, weigh(weights, self.rescale), len(scores))

    def state_dict(self) -> Dict[str, Any]:
        """The state: ``mean`` and ``variance``, float32 [N]; nothing before the first losses."""
        if self._mean is None or self._variance is None:
            return {}
        return dict(mean=self._mean.clone(), variance=self._variance.clone())

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self._mean = self._variance = None
        if state_dict:
            self._mean = state_dict['mean'].cpu().clone()
            self._variance = state_dict['variance'].cpu().clone()

    def __repr__(self) -> str:
        return (
            f'UCB(prune_ratio={self.prune_ratio:g}, confidence={self.confidence:g}, '
            f'smoothing={self.smoothing:g}, rescale={self.rescale!r})'
        )
