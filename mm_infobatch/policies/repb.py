"""Skips random samples whose loss lay below the mean of their batch."""

from dataclasses import replace
from typing import Any, Dict, Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .drawing import prune_at_random, rescaled
from .plan import Plan


@PRUNING_POLICIES.register_module()
class RePB:
    """Skip a random share of the samples whose loss lay below the mean of their batch.

    Only losses of one batch, which are losses of one state of the model, are compared. So the
    scores are the sample's loss minus the mean loss of its batch
    (``sampler.batch_score='excess'``, set by this policy), and samples below 0 are pruned. A kept
    sample weighs t/n, where t is the number of passes so far and n the number of those that trained
    the sample, both with this pass. `Inconsistency Biases in Dynamic Data Pruning, 2026
    <https://openreview.net/forum?id=Zw1Uw7u6Su>`_.

    Biased in each pass: a sample at or above the mean of its batch is kept with certainty, at a
    weight that may exceed 1. Over the run the weights of a sample add up to about the number of
    passes. For an unbiased rule on the same scores, set ``sampler.batch_score='excess'`` with
    ``SoftPruning``. A sample that was skipped still has a score below 0, so it returns with the
    probability 1 - r. O(N) per pass. Its state, 4 bytes per sample, is saved in checkpoints.

    Differences from the publication:

    1. Exactly floor(n * r) of n samples below the mean are skipped; there, each with probability r.
    2. The window in which losses are compared is one batch of one rank.
    3. A sample without a score is never skipped, so the first pass trains all samples.
    4. Where a pass is fitted to whole batches, a few more samples are skipped, at or above the mean
       too. They count as skipped.

    Args:
        prune_ratio (float): r, the share of the samples below the mean that is skipped, in [0, 1).
            Defaults to 0.5.
        rescale (bool or str): True for the weights above; False for weights of 1;
            ``'normalized'`` for the former divided by their mean. Defaults to True.

    Raises:
        TypeError: If ``prune_ratio`` is not a number.
        ValueError: If an argument is out of range.
    """

    batch_score = 'excess'
    bias = 'in this pass, which the weights make up for over the run'

    def __init__(self, prune_ratio: float = 0.5, rescale: Union[bool, str] = True) -> None:
        line = "policy=dict(type='RePB', prune_ratio=0.5"
        self.prune_ratio = require_share('prune_ratio', prune_ratio, f'{line})', zero=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=True)')
        self._passes = 0  # begun
        self._skipped: Optional[Tensor] = None  # how many of them skipped the sample, int32 [N]

    def begin_pass(self, plan: Optional[Plan]) -> None:
        """Count the samples that the pass skips: none, if there is no plan."""
        self._passes += 1
        if plan is None or not plan.pruned:
            return
        if self._skipped is None:
            self._skipped = torch.zeros(plan.num_samples, dtype=torch.int32)
        skips = np.ones(plan.num_samples, np.int32)
        skips[plan.indices.numpy()] = 0
        self._skipped += torch.from_numpy(skips)

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass.

        Args:
            scores (Tensor): The latest loss of each sample minus the mean loss of its batch,
                float32 [N], NaN where unseen.
            generator (torch.Generator): The source of randomness.

        Returns:
            Plan: The kept samples and their weights.
        """
        require_scores(scores, generator)
        indices, _ = prune_at_random(scores < 0, self.prune_ratio, generator)
        threshold = None if bool(scores.isnan().all()) else 0.0
        return self.weigh(Plan(indices, torch.ones(len(indices)), len(scores), threshold))

    def weigh(self, plan: Plan) -> Plan:
        """Weigh the samples of a pass by how many of the passes trained them, with this one.

        Args:
            plan (Plan): The kept samples; their weights have no effect.

        Returns:
            Plan: The same samples, and the weights of the class docstring.
        """
        weights = torch.ones(plan.kept)
        if self._skipped is not None:
            passes = self._passes + 1
            trained = (passes - self._skipped[plan.indices]).numpy()
            # PyTorch multiplies by 1/n, and 49 * (1/49) is not 1.
            weights = torch.from_numpy((passes / trained).astype(np.float32))
        return replace(plan, weights=rescaled(weights, self.rescale))

    def state_dict(self) -> Dict[str, Any]:
        """The state: ``passes`` (int), and ``skipped`` (int32 [N]) if any sample was skipped."""
        state: Dict[str, Any] = dict(passes=self._passes)
        if self._skipped is not None:
            state['skipped'] = self._skipped.clone()
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self._passes, skipped = int(state_dict.get('passes', 0)), state_dict.get('skipped')
        self._skipped = None if skipped is None else skipped.cpu().clone()

    def __repr__(self) -> str:
        more = '' if self.rescale is True else f', rescale={self.rescale!r}'
        return f'RePB(prune_ratio={self.prune_ratio:g}{more})'
