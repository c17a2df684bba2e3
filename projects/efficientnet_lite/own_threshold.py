"""A policy to compare with: the paper's rule with another threshold than the mean score."""

import math
from typing import Any, Optional

import torch
from torch import Tensor

from mm_infobatch import PRUNING_POLICIES
from mm_infobatch.policies import Plan, SoftPruning


@PRUNING_POLICIES.register_module()
class OwnThreshold(SoftPruning):
    """SoftPruning with a fixed threshold, or with the mean of the scores below a limit.

    Args:
        fixed (float, optional): The threshold. Defaults to None: the mean.
        limit (float, optional): Samples whose score is not lower have no part in the mean, and are
            never skipped, whatever ``fixed`` and ``reverse`` are. Defaults to None: all have.
        **kwargs: Of SoftPruning.
    """

    def __init__(
        self, fixed: Optional[float] = None, limit: Optional[float] = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.fixed, self.limit = fixed, limit

    def find_threshold(self, scores: Tensor) -> float:
        """The threshold; NaN where no sample has a score."""
        return super().find_threshold(scores) if self.fixed is None else self.fixed

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, see SoftPruning."""
        if self.limit is not None:  # without a score, a sample is in no mean and never skipped
            scores = scores.where(scores < self.limit, scores.new_tensor(math.nan))
        return super().plan(scores, generator)

    def __repr__(self) -> str:
        inner = super().__repr__().partition('(')[2]
        return f'OwnThreshold(fixed={self.fixed}, limit={self.limit}, {inner}'
