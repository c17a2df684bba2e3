"""The rule of the paper: prune at random below the mean."""
import math
from typing import Tuple

import torch
from torch import Tensor

from ..registry import PRUNING_POLICIES
from .plan import Plan


def mean_score(scores: Tensor) -> float:
    """The mean of the scores that are there, taken in float64.

    In float32 the mean of millions of equal scores can lie above every one of them, and the whole
    data set would count as well-learned.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.

    Returns:
        float: The mean; NaN where no sample has a score.
    """
    return float(scores.nanmean(dtype=torch.float64))


def below(scores: Tensor, threshold: float) -> Tensor:
    """Which scores lie strictly below a float64 threshold; unseen ones (NaN) never do.

    ``scores < threshold`` would round the threshold to float32 first. For float32 scores, being
    below a threshold is being below the least float32 that is not less than it.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.
        threshold (float): The threshold; NaN marks nothing.

    Returns:
        Tensor: bool [N].
    """
    limit = torch.tensor(threshold, dtype=torch.float32)
    if float(limit) < threshold:
        limit = torch.nextafter(limit, torch.tensor(math.inf))
    return scores < limit


def prune_at_random(well_learned: Tensor, prune_ratio: float,
                    generator: torch.Generator) -> Tuple[Tensor, Tensor]:
    """Skip a share of the marked samples, and let the kept ones among them stand for all.

    Of n marked samples floor(n * prune_ratio) are skipped, every set of that many being equally
    likely, and the k others weigh n/k each. So each sample's expected weight is exactly 1, the
    weights sum to N, and no weight exceeds 1 / (1 - prune_ratio).

    Args:
        well_learned (Tensor): bool [N].
        prune_ratio (float): r in [0, 1).
        generator (torch.Generator): Where the randomness comes from.

    Returns:
        tuple[Tensor, Tensor]: The kept indices, int64 [K] ascending, and their weights,
        float32 [K].
    """
    candidates = well_learned.nonzero().squeeze(1)
    n = len(candidates)
    num_pruned = math.floor(n * prune_ratio)
    weights = torch.ones(len(well_learned))
    if num_pruned:
        weights[candidates] = n / (n - num_pruned)
        pruned = torch.randperm(n, generator=generator)[:num_pruned]
        weights[candidates[pruned]] = 0
    indices = weights.nonzero().squeeze(1)
    return indices, weights[indices]


@PRUNING_POLICIES.register_module()
class SoftPruning:
    """Prune a random share of the samples whose score lies below the mean.

    Each sample with a score strictly below the mean of all scores is skipped with probability
    ``prune_ratio``; the kept ones among them are weighted up so that the expected gradient is that
    of the whole data set. `InfoBatch, section 3.3, equations 3 and 7
    <https://arxiv.org/abs/2303.04947>`_.

    It differs from the published implementation:

    1. A fixed number is skipped, floor(n * r) of n, and the weight is n/k for k kept ones, so that
       the total weight is N in every pass and not only on average.
    2. A sample without a score is never skipped (there, the scores begin at 1).
    3. The mean is taken in float64 and only over samples that have a score.

    Args:
        prune_ratio (float): r, the share of the well-learned samples that is skipped, in [0, 1).
            Defaults to 0.5.

    Raises:
        TypeError: If ``prune_ratio`` is not a number.
        ValueError: If ``prune_ratio`` lies outside [0, 1).
    """

    def __init__(self, prune_ratio: float = 0.5) -> None:
        if isinstance(prune_ratio, bool) or not isinstance(prune_ratio, (int, float)):
            raise TypeError(
                f'prune_ratio has to be a number in [0, 1), but is {prune_ratio!r}; write '
                "policy=dict(type='SoftPruning', prune_ratio=0.5)")
        if not 0 <= prune_ratio < 1:
            raise ValueError(
                f'prune_ratio={prune_ratio} lies outside [0, 1): it is the share of the '
                'well-learned samples that a pass skips, and skipping all of them would lose them; '
                "write policy=dict(type='SoftPruning', prune_ratio=0.5)")
        self.prune_ratio = float(prune_ratio)

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose what a pass trains on.

        Args:
            scores (Tensor): The latest loss of each sample, float32 [N], NaN where unseen.
            generator (torch.Generator): Where the randomness comes from.

        Returns:
            Plan: The kept samples and their weights, which sum to N.

        Raises:
            TypeError: If ``scores`` is no such tensor, or ``generator`` no generator.
        """
        if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.ndim != 1:
            raise TypeError('scores has to be a float32 tensor [N], NaN where a sample has none, '
                            f'but is {scores!r}; give it sampler.scores.values')
        if not isinstance(generator, torch.Generator):
            raise TypeError(f'generator has to be a torch.Generator, but is {generator!r}: without '
                            'one the plan would differ between ranks; give it '
                            'torch.Generator().manual_seed(0)')
        threshold = mean_score(scores)
        indices, weights = prune_at_random(below(scores, threshold), self.prune_ratio, generator)
        return Plan(indices, weights, len(scores), None if math.isnan(threshold) else threshold)

    def __repr__(self) -> str:
        return f'SoftPruning(prune_ratio={self.prune_ratio:g})'
