"""Skips random samples in every pass: the baseline that the paper calls Random*."""

from typing import Union

import torch
from torch import Tensor

from ..arguments import require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .drawing import prune_at_random, rescaled
from .plan import Plan


@PRUNING_POLICIES.register_module()
class RandomPruning:
    """Skip a random share of all samples, whatever their scores; a new one in every pass.

    Random* of `InfoBatch, section 4.2 and Table 1 <https://arxiv.org/abs/2303.04947>`_, after
    `Raju et al. 2021 <https://arxiv.org/abs/2111.12621>`_. Without rescaling the expected gradient
    of a pass is that of all data times 1 - ``prune_ratio``: it has the same direction and is
    shorter. O(N) per pass. Samples without a score are kept, so the first pass prunes nothing.

    Args:
        prune_ratio (float): The share of the samples that is skipped, in [0, 1). Defaults to 0.3.
        rescale (bool or str): True for weights of n/k, which make the policy unbiased; False for
            weights of 1; ``'normalized'`` for the former divided by their mean. Defaults to False.

    Raises:
        TypeError: If ``prune_ratio`` is not a number.
        ValueError: If an argument is out of range.
    """

    def __init__(self, prune_ratio: float = 0.3, rescale: Union[bool, str] = False) -> None:
        line = "policy=dict(type='RandomPruning', prune_ratio=0.3"
        self.prune_ratio = require_share('prune_ratio', prune_ratio, f'{line})', zero=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan``."""
        require_scores(scores, generator)
        indices, weights = prune_at_random(~scores.isnan(), self.prune_ratio, generator)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def __repr__(self) -> str:
        return f'RandomPruning(prune_ratio={self.prune_ratio:g}, rescale={self.rescale!r})'
