"""Fits a plan to whole batches, so that a pruned pass has no batch that is smaller than others."""

from typing import Iterator, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..policies import Plan
from ..policies.drawing import draw_subset
from .batch_shape import BatchShape


def fit_to_batches(
    plan: Plan, scores: Tensor, shape: BatchShape, generator: torch.Generator
) -> Optional[Plan]:
    """Leave out the few samples that would make a batch smaller than the smallest of a whole pass.

    A batch of one image stops a network with batch norm, and ``drop_last`` would leave out samples
    that stand for others. So ``d`` more samples are skipped, at random among those that weigh the
    most: of n samples of one weight w, n - m stay at the weight w * n / (n - m). Each sample's
    expected weight stays what it was, and so does the sum of the weights.

    A plan of weights of 1 (``rescale=False``) keeps them, and one whose weights have a mean of 1
    (``rescale='normalized'``) keeps that mean. Unseen samples stay, unless the plan itself skips
    some of them, as static policies do.

    Args:
        plan (Plan): The plan.
        scores (Tensor): float32 [N], NaN where unseen.
        shape (BatchShape): How the pass is cut into batches.
        generator (torch.Generator): Where the randomness comes from; not used where all fits.

    Returns:
        Plan, optional: The plan, or a smaller one; None where only the whole dataset fits.
    """
    fitting = shape.fitting(plan.kept, plan.num_samples)
    surplus = plan.kept - fitting
    if not plan.pruned or not surplus:
        return plan
    weights = plan.weights.numpy().astype(np.float64)
    skipped = np.zeros(len(weights), bool)
    for group, count in _surplus_by_weight(weights, _may_be_skipped(plan, scores), surplus):
        skipped |= draw_subset(torch.from_numpy(group), count, generator).numpy()
        size = int(np.count_nonzero(group))
        weights[group] = _total(weights[group][0], size) / (size - count)
        surplus -= count
    if surplus or not fitting:
        return None
    weights = weights[~skipped]
    if bool((plan.weights == 1).all()):
        weights[:] = 1
    elif abs(float(plan.weights.sum(dtype=torch.float64)) - plan.kept) < 1e-3 * plan.kept:
        weights /= weights.mean()
    return Plan(
        plan.indices[torch.from_numpy(~skipped)],
        torch.from_numpy(weights.astype(np.float32)),
        plan.num_samples,
        plan.threshold,
    )


def _may_be_skipped(plan: Plan, scores: Tensor) -> np.ndarray:
    """Which kept samples may be left out, bool [K]: all but the unseen ones."""
    unseen = scores[plan.indices].isnan()
    skips_unseen = int(scores.isnan().sum()) > int(unseen.sum())
    return (torch.ones_like(unseen) if skips_unseen else ~unseen).numpy()


def _surplus_by_weight(
    weights: np.ndarray, candidates: np.ndarray, surplus: int
) -> Iterator[Tuple[np.ndarray, int]]:
    """How many samples of each weight to leave out, the greatest weight first.

    At least half of the samples of a weight stay, so that no weight more than doubles. Those of the
    least weight stand for themselves alone, and stay, where there are others.

    Yields:
        tuple[ndarray, int]: The samples of a weight, bool [K], and how many of them to leave out.
    """
    heavier = weights > weights.min()
    left = candidates & heavier if heavier.any() else candidates.copy()
    while surplus and left.any():
        group = left & (weights == weights[left].max())
        left &= ~group
        count = min(surplus, int(np.count_nonzero(group)) // 2)
        surplus -= count
        if count:
            yield group, count


def _total(weight: float, size: int) -> float:
    """The weight of a whole group: a whole number of samples, where float32 has rounded that."""
    total = weight * size
    return round(total) if abs(total - round(total)) < 1e-6 * total else total
