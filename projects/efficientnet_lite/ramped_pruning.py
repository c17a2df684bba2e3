"""A policy to compare with: the paper's rule with a share that grows from 0."""

from typing import Any, Optional

import torch
from torch import Tensor

from mm_infobatch import PRUNING_POLICIES
from mm_infobatch.policies import Plan, SoftPruning


@PRUNING_POLICIES.register_module()
class RampedPruning:
    """SoftPruning whose ``prune_ratio`` grows linearly from 0, while scores are still of a network
    that knows little.

    Args:
        prune_ratio (float): The share at the end of the ramp. Defaults to 0.5.
        ramp (float): The share of the run, in (0, 1], over which it grows. Defaults to 0.5.
    """

    def __init__(self, prune_ratio: float = 0.5, ramp: float = 0.5) -> None:
        self.prune_ratio, self.ramp = prune_ratio, ramp
        SoftPruning(prune_ratio)  # which checks it
        if not 0 < ramp <= 1:
            raise ValueError(f'ramp={ramp!r} has to be a share of the run, in (0, 1]')

    def share(self, progress: float) -> float:
        """The share of the well-learned samples that is skipped at that progress of the run."""
        return self.prune_ratio * min(1.0, progress / self.ramp)

    def plan(self, scores: Tensor, generator: torch.Generator, run: Optional[Any]) -> Plan:
        """Choose the samples of a pass; with the full share where the length of the run is unknown.

        Args:
            scores (Tensor): float32 [N], NaN where unseen.
            generator (torch.Generator): The source of randomness.
            run (Run, optional): How far the run is.
        """
        progress = 1.0 if run is None else run.walked / run.total
        return SoftPruning(self.share(progress)).plan(scores, generator)

    def __repr__(self) -> str:
        return f'RampedPruning(prune_ratio={self.prune_ratio:g}, ramp={self.ramp:g})'
