"""Keeps the highest scores of a random subset."""

import math
from typing import Union

import torch
from torch import Tensor

from ..arguments import require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .budgets import snap_to_whole
from .drawing import draw_subset, keep_marked, mark_highest, rescaled
from .plan import Plan


@PRUNING_POLICIES.register_module()
class OrderDP:
    """Keep the samples with the highest scores of a random subset.

    Of n samples s = floor(n * ``subset``) are drawn in each pass, and the floor(s * ``top``) with
    the highest scores among them are kept. `OrderDP, 2026 <https://arxiv.org/abs/2606.08574>`_.
    Biased towards high scores: it is unbiased for a surrogate, in which the sample of rank i counts
    as often as this rule keeps it. O(N) per pass: a partition, no sort. The publication has no
    annealing: also set ``sampler.delta=1``.

    Differences from the publication:

    1. A sample without a score is never skipped, in addition to the others, so the first pass
       trains all samples; there, all scores are 1 at first.
    2. At least one sample with a score is kept.
    3. Equal scores are kept at random.

    Args:
        subset (float): The share of the samples that is drawn, in (0, 1]. Defaults to 0.75.
        top (float): The share of the drawn samples that is kept, in (0, 1]. Defaults to 0.85.
        rescale (bool or str): True for weights of N/K, which lengthen the gradient to about that
            of all data but leave its bias; False and ``'normalized'`` for weights of 1. Defaults
            to False.

    Raises:
        TypeError: If a share is not a number.
        ValueError: If an argument is out of range.
    """

    bias = 'towards high scores'

    def __init__(
        self, subset: float = 0.75, top: float = 0.85, rescale: Union[bool, str] = False
    ) -> None:
        line = "policy=dict(type='OrderDP', subset=0.75, top=0.85"
        self.subset = require_share('subset', subset, f'{line})', one=True)
        self.top = require_share('top', top, f'{line})', one=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan``."""
        require_scores(scores, generator)
        marked = scores.isnan()
        seen = len(scores) - int(marked.sum())
        if seen:
            size = max(1, math.floor(snap_to_whole(seen * self.subset)))
            drawn = draw_subset(~marked, size, generator).nonzero().squeeze(1)
            kept = max(1, math.floor(snap_to_whole(size * self.top)))
            marked[drawn[mark_highest(scores[drawn], kept, generator)]] = True
        indices, weights = keep_marked(marked)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def __repr__(self) -> str:
        return f'OrderDP(subset={self.subset:g}, top={self.top:g}, rescale={self.rescale!r})'
