"""The policies, each set so that a pass skips the same share of the samples."""

import math
from pathlib import Path
from typing import Any, Dict

import numpy as np
import torch
from torch import Tensor

from mm_infobatch.policies import (
    IES,
    KAKURENBO,
    UCB,
    EpsilonGreedy,
    FromFile,
    OrderDP,
    QuantilePruning,
    RandomPruning,
    RePB,
    SeTa,
    SoftPruning,
    StaticRandom,
    TargetSaving,
)
from mm_infobatch.policies.seta import group_bounds


class OfOneBatch(RePB):
    """As if all samples had been trained in one batch, after a pass that skipped some of them."""

    def __init__(self, prune_ratio: float, scores: Tensor) -> None:
        super().__init__(prune_ratio)
        self._mean = scores.mean(dtype=torch.float64).float()
        self.begin_pass(None)
        self.begin_pass(self.plan(scores, torch.Generator().manual_seed(3)))

    def plan(self, scores: Tensor, generator: torch.Generator) -> Any:
        """Plan with the scores relative to their mean."""
        return super().plan(scores - self._mean, generator)


def settled(saving: float, scores: Tensor, rescale: bool) -> IES:
    """The policy after five passes of losses, so that it skips that share of the samples."""
    policy = IES(1.0, prune_ratio=min(0.8, saving + 0.1), rescale=rescale)
    generator = torch.Generator().manual_seed(4)
    for _ in range(5):
        losses = scores * (0.8 + 0.4 * torch.rand(len(scores), generator=generator))
        policy.observe(torch.arange(len(scores)), losses, len(scores))
    share = np.quantile(policy.changes(len(scores)).numpy(), min(1, saving / policy.prune_ratio))
    policy.threshold = float(share)
    return policy


def share_above(scores: Tensor, num_groups: int = 5) -> float:
    """The share of the samples that k-means puts into the group of the highest scores."""
    bounds = group_bounds(np.sort(scores.numpy()), num_groups)
    return float((scores >= float(bounds[-1])).double().mean())


def policies_at(saving: float, scores: Tensor, folder: Path) -> Dict[str, Any]:
    """The policies, each set so that a pass with these scores skips that share of the samples.

    Args:
        saving (float): The share, in (0, 1).
        scores (Tensor): float32 [N].
        folder (Path): Where a file of scores may be written.

    Returns:
        dict: By name; without those that cannot skip so much.
    """
    below = float((scores < scores.double().mean()).double().mean())
    above = float((scores > scores.double().mean()).double().mean())
    part = saving / 0.475  # of what the defaults of QuantilePruning skip
    np.save(folder / 'scores.npy', scores.numpy())
    ucb = UCB(saving)
    ucb.observe(torch.arange(len(scores)), scores, len(scores))
    found: Dict[str, Any] = {}
    if saving < below:
        found['SoftPruning'] = SoftPruning(saving / below)
    if saving < 0.5:
        found['SoftPruning, median'] = SoftPruning(saving / 0.5, threshold='median')
    if saving < above:
        found['SoftPruning, reverse'] = SoftPruning(saving / above, reverse=True)
    if part < 1.3:
        found['QuantilePruning'] = QuantilePruning(keep=[1 - 0.75 * part, 1 - 0.5 * part])
    found['TargetSaving'] = TargetSaving(saving)
    found['RandomPruning, rescale'] = RandomPruning(saving, rescale=True)
    found['EpsilonGreedy, rescale'] = EpsilonGreedy(saving, 0.3, rescale=True)
    if saving < below:
        found['SoftPruning, no rescale'] = SoftPruning(saving / below, rescale=False)
    found['TargetSaving, no rescale'] = TargetSaving(saving, rescale=False)
    found['RandomPruning'] = RandomPruning(saving)
    found['EpsilonGreedy'] = EpsilonGreedy(saving)
    found['UCB'] = ucb
    if saving < 0.75:
        found['TargetSaving, quantile'] = TargetSaving(saving, quantile=max(0.8, saving / 0.75))
    found['IES, rescale'] = settled(saving, scores, rescale=True)
    found['IES'] = settled(saving, scores, rescale=False)
    if saving < below:
        found['RePB'] = OfOneBatch(saving / below, scores)
    found['OrderDP'] = OrderDP(max(0.75, 1 - saving), (1 - saving) / max(0.75, 1 - saving))
    if saving > share_above(scores):  # about: its groups are those of the random share
        found['SeTa'] = SeTa(1 - (1 - saving) / (1 - share_above(scores)))
    if saving < float((scores <= -math.log(0.51)).double().mean()):
        found['KAKURENBO'] = KAKURENBO(saving, confidence=0.51)
    found['StaticRandom'] = StaticRandom(1 - saving)
    found['FromFile'] = FromFile(str(folder / 'scores.npy'), 1 - saving)
    return found
