"""Skips most of the samples whose loss has stopped changing."""

import math
from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor

from ..arguments import require_number, require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .drawing import prune_at_random, rescaled
from .plan import Plan

LOSSES = 5  # the last three second differences


@PRUNING_POLICIES.register_module()
class IES:
    """Skip a random share of the samples whose loss has settled.

    A sample has settled (the publication: is mastered) if the second differences of its loss,
    loss[t] - 2 loss[t-1] + loss[t-2], are small: the mean size of the last three is below
    ``threshold``. A variant of `Instance-dependent Early Stopping, 2025 <https://arxiv.org/abs/2502.07547>`_,
    which skips all of them but computes their losses in each epoch by a forward pass. Here nothing
    computes the loss of a skipped sample, so a random share of the settled ones is trained in each
    pass and updates their losses. O(N) per pass. Its state, the last 5 losses, takes 20 bytes per
    sample and is saved in checkpoints.

    Biased towards samples that have not settled, unless ``rescale=True``.

    Differences from the publication:

    1. The one above: t counts the passes that trained the sample, and settled samples are trained
       in a share of 1 - ``prune_ratio`` of the passes.
    2. Losses are those of training; there, those of skipped samples are of evaluation mode.
    3. Three second differences suffice; the published code waits for a fourth.

    Args:
        threshold (float): Above 0. Defaults to 1e-3, the publication's value for CIFAR-10; for
            CIFAR-100 it uses 2e-3.
        prune_ratio (float): The share of the settled samples that is skipped, in [0, 1). Defaults
            to 0.8.
        rescale (bool or str): True weights the settled samples that are kept to stand for all of
            them, which makes the policy unbiased; False for weights of 1; ``'normalized'`` for the
            former divided by their mean. Defaults to False.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """

    batch_score = None
    keeps_losses = True

    def __init__(
        self,
        threshold: float = 1e-3,
        prune_ratio: float = 0.8,
        rescale: Union[bool, str] = False,
    ) -> None:
        line = "policy=dict(type='IES', threshold=1e-3, prune_ratio=0.8"
        self.threshold = require_number('threshold', threshold, 'above 0', f'{line})')
        if not 0 < self.threshold < math.inf:
            raise ValueError(f'threshold={threshold} has to be finite, above 0; write {line})')
        self.prune_ratio = require_share(
            'prune_ratio',
            prune_ratio,
            f'{line})',
            zero=True,
            why='if all settled samples were skipped, they would never be trained again',
        )
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')
        self._losses: Optional[Tensor] = None  # float32 [N, 5], the latest first, NaN: none yet

    @property
    def bias(self) -> Optional[str]:
        """str, optional: What the plans are biased towards."""
        return None if self.rescale is True else 'towards samples whose loss has not settled'

    def observe(self, indices: Tensor, losses: Tensor, num_samples: int) -> None:
        """Remember new losses.

        Args:
            indices (Tensor): The samples, int64 [M].
            losses (Tensor): Their losses, float32 [M], finite.
            num_samples (int): N.
        """
        if self._losses is None:
            self._losses = torch.full((num_samples, LOSSES), math.nan)
        older = self._losses[indices, :-1]
        self._losses[indices] = torch.cat([losses[:, None], older], dim=1)

    def changes(self, num_samples: int) -> Tensor:
        """The mean size of the last three second differences, float32 [N]; NaN below 5 losses."""
        if self._losses is None:
            return torch.full((num_samples,), math.nan)
        return self._losses.diff(n=2, dim=1).abs_().mean(1)

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass.

        Args:
            scores (Tensor): float32 [N]. The values have no effect: :meth:`observe` has them.
            generator (torch.Generator): The source of randomness.

        Returns:
            Plan: The kept samples and their weights.
        """
        require_scores(scores, generator)
        prunable = (self.changes(len(scores)) < self.threshold) & ~scores.isnan()
        indices, weights = prune_at_random(prunable, self.prune_ratio, generator)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def state_dict(self) -> Dict[str, Any]:
        """The state: ``losses``, float32 [N, 5]; empty before the first losses."""
        return {} if self._losses is None else dict(losses=self._losses.clone())

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        losses = state_dict.get('losses')
        self._losses = None if losses is None else losses.cpu().clone()

    def __repr__(self) -> str:
        return (
            f'IES(threshold={self.threshold:g}, prune_ratio={self.prune_ratio:g}, '
            f'rescale={self.rescale!r})'
        )
