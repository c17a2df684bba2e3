"""Keeps the highest scores, and a random few of the rest."""

from typing import Union

import torch
from torch import Tensor

from ..arguments import require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .budgets import count_kept
from .drawing import keep_in_groups, mark_highest, rescaled
from .plan import Plan


@PRUNING_POLICIES.register_module()
class EpsilonGreedy:
    """Keep the samples with the highest scores, and a random few of the rest.

    Of the K samples that a pass keeps, (1 - ``epsilon``) * K are those with the highest scores.
    The others are drawn at random from the rest, so that an outdated low score is updated.
    `Raju et al. 2021, Accelerating Deep Learning with Dynamic Data Pruning
    <https://arxiv.org/abs/2111.12621>`_. Biased towards high scores unless ``rescale=True``. O(N)
    a pass: a partition, no sort.

    Differences from the publication:

    1. The samples are chosen in each pass; there, once for several passes.
    2. The score is the latest loss; there, it is a moving average, which is
       ``sampler.score_smoothing`` here.
    3. Samples without a score are always kept, in addition to the K.

    Args:
        prune_ratio (float): The share of the samples that is skipped, in [0, 1). Defaults to 0.3.
        epsilon (float): The share of the kept samples that is drawn at random, in (0, 1].
            Defaults to 0.1.
        rescale (bool or str): True weights the random ones to stand for the whole rest, with
            weights of (N - (1 - epsilon) K) / (epsilon K), which makes the policy unbiased; False
            for weights of 1; ``'normalized'`` for the former divided by their mean. Defaults to
            False.

    Raises:
        TypeError: If a share is not a number.
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, prune_ratio: float = 0.3, epsilon: float = 0.1, rescale: Union[bool, str] = False
    ) -> None:
        line = "policy=dict(type='EpsilonGreedy', prune_ratio=0.3, epsilon=0.1"
        self.prune_ratio = require_share('prune_ratio', prune_ratio, f'{line})', zero=True)
        self.epsilon = require_share('epsilon', epsilon, f'{line})', one=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan``."""
        require_scores(scores, generator)
        seen = (~scores.isnan()).nonzero().squeeze(1)
        kept = count_kept(len(seen), self.prune_ratio)
        # At least one at random, or the scores of the rest would never be updated.
        at_random = min(kept, max(1, round(kept * self.epsilon)))
        highest = mark_highest(scores[seen], kept - at_random, generator)
        groups = torch.zeros(len(scores), dtype=torch.uint8)  # 0: kept, 1: the rest
        groups[seen[~highest]] = 1
        rest = len(seen) - (kept - at_random)
        indices, weights = keep_in_groups(groups, [len(scores) - rest, at_random], generator)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def __repr__(self) -> str:
        return (
            f'EpsilonGreedy(prune_ratio={self.prune_ratio:g}, epsilon={self.epsilon:g}, '
            f'rescale={self.rescale!r})'
        )
