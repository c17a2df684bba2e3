"""Fits a plan to whole batches, so that a pruned pass has no batch that is smaller than others."""

from typing import Any, Iterator, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..policies import Plan
from ..policies.drawing import distinct, random_bits
from .batch_shape import BatchShape


def fit_to_batches(
    plan: Plan, scores: Tensor, shape: BatchShape, generator: torch.Generator
) -> Optional[Plan]:
    """Change a plan by the few samples that make a batch smaller than the smallest of a whole pass.

    A batch of one image stops a network with batch norm, and ``drop_last`` would leave out samples
    that stand for others. So ``d`` more samples are skipped, at random among those that weigh the
    most: of n samples of one weight w, n - m stay at the weight w * n / (n - m). Each sample's
    expected weight stays what it was, and so does the sum of the weights.

    A plan of weights of 1 (``rescale=False``) keeps them, and one whose weights have a mean of 1
    (``rescale='normalized'``) keeps that mean. Unseen samples stay, unless the plan itself skips
    some of them, as static policies do. Where too few samples could be left out, some of those that
    the plan skips are kept instead, if all of them belong to the samples of one weight.

    Args:
        plan (Plan): The plan.
        scores (Tensor): float32 [N], NaN where unseen.
        shape (BatchShape): How the pass is cut into batches.
        generator (torch.Generator): Where the randomness comes from; not used where all fits.

    Returns:
        Plan, optional: The plan, or one that fits; None where only the whole dataset fits.
    """
    fitting = shape.fitting(plan.kept, plan.num_samples)
    surplus = plan.kept - fitting
    if not plan.pruned or not surplus:
        return plan
    weights, skipped = plan.weights.numpy().copy(), np.empty(0, np.int64)
    bits = random_bits(generator)
    for group, count in _surplus_by_weight(plan, scores, surplus):
        skipped = np.append(skipped, group[distinct(len(group), count, bits)])
        weights[group] = _total(float(weights[group[0]]), len(group)) / (len(group) - count)
        surplus -= count
    if surplus or not fitting:
        return _extended(plan, shape, bits)
    weights = np.delete(weights, skipped)
    total = float(plan.weights.sum(dtype=torch.float64))
    if bool((plan.weights == 1).all()):
        weights[:] = 1
    elif abs(total - plan.kept) < 1e-3 * plan.kept:  # a mean of 1
        weights /= weights.mean(dtype=np.float64)
    return Plan(
        torch.from_numpy(np.delete(plan.indices.numpy(), skipped)),
        torch.from_numpy(weights),
        plan.num_samples,
        plan.threshold,
    )


def _extended(plan: Plan, shape: BatchShape, bits: Any) -> Optional[Plan]:
    """Keep more of the samples that a plan skips, up to the next number that fits.

    Of n well-learned samples k were kept, at the weight n/k; now k + e are, at n/(k + e).

    Returns:
        Plan, optional: None where the skipped samples are not those of one weight, or none fits.
    """
    length, weights = plan.num_samples, plan.weights.numpy()
    least, heavy = float(weights.min()), float(weights.max())
    group = np.flatnonzero(weights == np.float32(heavy))
    total = len(group) + plan.pruned
    one_weight = len(group) + int(np.count_nonzero(weights == np.float32(least))) == plan.kept
    if not one_weight or abs(heavy / least * len(group) - total) > 1e-3 * total:
        return None
    goals = range(plan.kept + 1, length)
    goal = next((kept for kept in goals if shape.fitting(kept, length) == kept), length)
    if goal == length:
        return None
    by_index = np.zeros(length, np.float32)
    by_index[plan.indices.numpy()] = weights
    skipped = np.flatnonzero(by_index == 0)
    more = skipped[distinct(len(skipped), goal - plan.kept, bits)]
    heavier = np.concatenate([plan.indices.numpy()[group], more])
    by_index[heavier] = least * total / len(heavier)
    indices = np.flatnonzero(by_index)
    weights = by_index[indices]
    if least != 1:
        weights /= weights.mean(dtype=np.float64)
    return Plan(torch.from_numpy(indices), torch.from_numpy(weights), length, plan.threshold)


def _surplus_by_weight(
    plan: Plan, scores: Tensor, surplus: int
) -> Iterator[Tuple[np.ndarray, int]]:
    """How many samples of each weight to leave out, the greatest weight first.

    At least half of the samples of a weight stay, so that no weight more than doubles. Those of the
    least weight stand for themselves alone, and stay, where there are others.

    Yields:
        tuple[ndarray, int]: The places in the plan of the samples of a weight that may be left out,
        and how many of them to leave out.
    """
    weights = plan.weights.numpy()
    unseen = None
    if bool(scores.max().isnan()):
        unseen = scores[plan.indices].isnan().numpy()
        if int(scores.isnan().sum()) > int(unseen.sum()):
            unseen = None  # the plan skips unseen samples itself
    least, level = float(weights.min()), float(weights.max())
    only = least == level
    while surplus and (only or level > least):
        group = np.flatnonzero(weights == np.float32(level))
        if unseen is not None:
            group = group[~unseen[group]]
        count = min(surplus, len(group) // 2)
        surplus -= count
        if count:
            yield group, count
        if only:
            return
        level = float(weights.max(where=weights < np.float32(level), initial=0))


def _total(weight: float, size: int) -> float:
    """The weight of a whole group: a whole number of samples, where float32 has rounded that."""
    total = weight * size
    return round(total) if abs(total - round(total)) < 1e-6 * total else total
