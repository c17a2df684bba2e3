"""The paper's rule: skips random samples whose score lies below the mean."""

import math
from typing import Union

import torch
from torch import Tensor

from ..arguments import require_bool, require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .drawing import prune_at_random, rescaled
from .plan import Plan
from .thresholds import above, below, mean_score, quantile_scores


@PRUNING_POLICIES.register_module()
class SoftPruning:
    """Skip a random share of the samples whose score lies below the mean.

    Each sample whose score lies strictly below the mean of all scores is skipped with probability
    ``prune_ratio``. The kept ones among them get larger weights, so that the expected gradient is
    that of the whole dataset. `InfoBatch, section 3.3, equations 3 and 7
    <https://arxiv.org/abs/2303.04947>`_. O(N) per pass.

    Differences from the published implementation:

    1. Exactly floor(n * r) of n samples are skipped, and the k others weigh n/k, so that the
       weights sum to N in every pass and not only on average.
    2. A sample without a score is never skipped (there, all scores are 1 at first).
    3. The mean is taken in float64, over the samples that have a score.

    Args:
        prune_ratio (float): r, the share of the well-learned samples that is skipped, in [0, 1).
            Defaults to 0.5.
        threshold (str or float): The score that the others are compared with: ``'mean'``,
            ``'median'``, or a number in (0, 1), that quantile of the scores. Defaults to
            ``'mean'``.
        reverse (bool): Whether to prune strictly above the threshold instead, as in Table 4.
            Defaults to False.
        rescale (bool or str): True for the weights above; False for weights of 1 (biased, Table
            3); ``'normalized'`` for weights with a mean of 1. Defaults to True.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``prune_ratio`` lies outside [0, 1), or another argument is out of range.
    """

    def __init__(
        self,
        prune_ratio: float = 0.5,
        threshold: Union[str, float] = 'mean',
        reverse: bool = False,
        rescale: Union[bool, str] = True,
    ) -> None:
        line = "policy=dict(type='SoftPruning', prune_ratio=0.5"
        self.prune_ratio = require_share(
            'prune_ratio',
            prune_ratio,
            f'{line})',
            zero=True,
            why='it is the share of the well-learned samples that a pass skips, and if all of '
            'them were skipped, they would never be trained again',
        )
        if not isinstance(threshold, str):
            threshold = require_share(
                'threshold',
                threshold,
                f"{line}, threshold='mean')",
                why="it has to be 'mean', 'median' or a quantile",
            )
        elif threshold not in ('mean', 'median'):
            raise ValueError(
                f"threshold={threshold!r} has to be 'mean', 'median' or a quantile of the scores, "
                f"a number in (0, 1); write {line}, threshold='mean')"
            )
        require_bool('reverse', reverse, f'{line}, reverse=True)')
        self.threshold, self.reverse = threshold, reverse
        self.rescale = require_rescale(rescale, f'{line}, rescale=True)')

    def find_threshold(self, scores: Tensor) -> float:
        """The threshold; NaN where no sample has a score."""
        if self.threshold == 'mean':
            return mean_score(scores)
        quantile = 0.5 if self.threshold == 'median' else float(self.threshold)
        return quantile_scores(scores, [quantile])[0]

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass.

        Args:
            scores (Tensor): The latest loss of each sample, float32 [N], NaN where unseen.
            generator (torch.Generator): The source of randomness.

        Returns:
            Plan: The kept samples and their weights, which sum to N.

        Raises:
            TypeError: If ``scores`` is not such a tensor, or ``generator`` not a generator.
        """
        require_scores(scores, generator)
        threshold = self.find_threshold(scores)
        prunable = above(scores, threshold) if self.reverse else below(scores, threshold)
        indices, weights = prune_at_random(prunable, self.prune_ratio, generator)
        return Plan(
            indices,
            rescaled(weights, self.rescale),
            len(scores),
            None if math.isnan(threshold) else threshold,
        )

    def __repr__(self) -> str:
        more = '' if self.threshold == 'mean' else f', threshold={self.threshold!r}'
        more += ', reverse=True' if self.reverse else ''
        more += '' if self.rescale is True else f', rescale={self.rescale!r}'
        return f'SoftPruning(prune_ratio={self.prune_ratio:g}{more})'
