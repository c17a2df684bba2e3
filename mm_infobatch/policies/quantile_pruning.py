"""Keeps a share of the samples between two quantiles of the scores."""

import math
from typing import Sequence, Union

import torch
from torch import Tensor

from ..arguments import require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .budgets import count_in_share
from .drawing import keep_in_groups, rescaled
from .plan import Plan
from .thresholds import below, quantile_scores


@PRUNING_POLICIES.register_module()
class QuantilePruning:
    """Keep a share of each bucket, the samples whose scores lie between two quantiles.

    Bucket b holds the samples whose score lies strictly below quantile b and not below quantile
    b - 1; samples above the last quantile are all kept. Of the n samples of a bucket k =
    ceil(n * keep) are kept at the weight n/k, so each sample's expected weight is 1 and the weights
    sum to N. The later version of `InfoBatch <https://arxiv.org/abs/2303.04947>`_ uses such
    buckets. The defaults skip 0.2 * 0.75 + 0.65 * 0.5 = 47.5% of a pass, which is 40% of a long run
    with ``delta=0.875``. O(N) per pass: a partition, no sort.

    Equal scores lie in the same bucket, so a pass prunes nothing if all scores are equal.

    Args:
        quantiles (list[float]): The upper ends of the buckets, ascending, each in (0, 1).
            Defaults to [0.2, 0.85].
        keep (list[float]): The share of each bucket that is kept, in (0, 1], in the order of
            ``quantiles``. Defaults to [0.25, 0.5].
        rescale (bool or str): True for the weights above; False for weights of 1 (biased);
            ``'normalized'`` for weights with a mean of 1. Defaults to True.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range, or the two lists differ in length.
    """

    def __init__(
        self,
        quantiles: Sequence[float] = (0.2, 0.85),
        keep: Sequence[float] = (0.25, 0.5),
        rescale: Union[bool, str] = True,
    ) -> None:
        line = "policy=dict(type='QuantilePruning', quantiles=[0.2, 0.85], keep=[0.25, 0.5]"
        for name, value in (('quantiles', quantiles), ('keep', keep)):
            if not isinstance(value, (list, tuple)):
                raise TypeError(
                    f'{name} has to be a list of numbers, but is {value!r}; write {line})'
                )
        self.quantiles = [require_share('quantiles', value, f'{line})') for value in quantiles]
        self.keep = [
            require_share(
                'keep',
                value,
                f'{line})',
                one=True,
                why='a bucket that keeps no sample would never be trained again',
            )
            for value in keep
        ]
        if not self.quantiles or len(self.quantiles) != len(self.keep):
            raise ValueError(
                f'quantiles={list(quantiles)} and keep={list(keep)} have to have the same length, '
                f'one share for the bucket below each quantile; write {line})'
            )
        if any(low >= high for low, high in zip(self.quantiles, self.quantiles[1:])):
            raise ValueError(f'quantiles={list(quantiles)} has to be ascending; write {line})')
        if len(self.quantiles) > 255:
            raise ValueError(
                f'quantiles has {len(self.quantiles)} values, but at most 255 are possible; write '
                f'{line})'
            )
        self.rescale = require_rescale(rescale, f'{line}, rescale=True)')

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan``."""
        require_scores(scores, generator)
        edges = quantile_scores(scores, self.quantiles)
        # The group of a sample is the number of quantiles that it is not below.
        groups = torch.full((len(scores),), len(edges), dtype=torch.uint8)
        for edge in edges:
            groups -= below(scores, edge).to(torch.uint8)
        sizes = torch.bincount(groups, minlength=len(edges) + 1).tolist()
        kept = [count_in_share(n, keep) for n, keep in zip(sizes, self.keep)] + [sizes[-1]]
        indices, weights = keep_in_groups(groups, kept, generator)
        return Plan(
            indices,
            rescaled(weights, self.rescale),
            len(scores),
            None if math.isnan(edges[-1]) else edges[-1],
        )

    def __repr__(self) -> str:
        more = '' if self.rescale is True else f', rescale={self.rescale!r}'
        return f'QuantilePruning(quantiles={self.quantiles}, keep={self.keep}{more})'
