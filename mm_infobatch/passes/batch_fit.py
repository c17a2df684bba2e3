"""Fits a plan to whole batches, so that a pruned pass has no batch that is smaller than others."""

from typing import Iterator, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..policies import Plan
from ..policies.drawing import draw_distinct, random_bits
from .batch_shape import BatchShape


def fit_to_batches(
    plan: Plan, scores: Tensor, shape: BatchShape, generator: torch.Generator
) -> Optional[Plan]:
    """Change a plan so that no batch is smaller than the smallest batch of a whole pass.

    Batch norm fails on a batch of one image, and ``drop_last`` would leave out samples that stand
    for skipped ones. So a few more samples are skipped, at random among those of the greatest
    weight: if m of n samples of weight w are skipped, the others get the weight w * n / (n - m).
    This changes neither the expected weight of a sample nor the sum of the weights.

    If all weights are 1 (``rescale=False``), they stay 1, and if their mean is 1
    (``rescale='normalized'``), it stays 1. Unseen samples are kept, unless the plan itself skips
    unseen samples, as static policies do.

    If too few samples can be skipped in this way, there are two other ways. If the plan has two
    weights and skips samples of the greater one alone, some of the skipped samples are kept
    (:func:`_extended`). If the weights differ from sample to sample, one sample of a pair is kept
    and stands for both (:func:`_paired`).

    Args:
        plan (Plan): The plan.
        scores (Tensor): float32 [N], NaN where unseen.
        shape (BatchShape): How the pass is cut into batches.
        generator (torch.Generator): The source of randomness, not used if the plan fits.

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
        skipped = np.append(skipped, group[draw_distinct(len(group), count, bits)])
        weights[group] = _total(float(weights[group[0]]), len(group)) / (len(group) - count)
        surplus -= count
    if surplus or not fitting:
        if _skips_of_one_weight(plan):
            return _extended(plan, shape, bits)
        return _paired(plan, scores, plan.kept - fitting, bits)
    return _without(plan, skipped, weights)


def skips_unseen(plan: Plan, scores: Tensor) -> bool:
    """Whether a plan skips samples that have no score, as static policies do."""
    return int(scores.isnan().sum()) > int(scores[plan.indices].isnan().sum())


def _without(plan: Plan, skipped: np.ndarray, weights: np.ndarray) -> Plan:
    """The plan without some samples, and with other weights.

    Args:
        plan (Plan): The plan, of K samples.
        skipped (np.ndarray): The positions of these samples in the plan, int64 [M].
        weights (np.ndarray): The new weights of all K samples, float32 [K].
    """
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


def _paired(
    plan: Plan, scores: Tensor, surplus: int, bits: np.random.BitGenerator
) -> Optional[Plan]:
    """Form ``surplus`` pairs of the samples of the greatest weights, and skip one of each pair.

    Of two samples of weights v and w, the first is kept with the probability v / (v + w), else the
    second. The kept one gets the weight v + w. This changes neither the expected weights nor the
    sum of the weights.

    Returns:
        Plan, optional: None where there are too few pairs.
    """
    weights = plan.weights.numpy().copy()
    places = np.argsort(-weights, kind='stable')
    if not skips_unseen(plan, scores):
        places = places[~scores[plan.indices].isnan().numpy()[places]]
    if 2 * surplus > len(places):
        return None
    first, second = places[: 2 * surplus].reshape(-1, 2).T
    both = weights[first] + weights[second]
    keeps_first = bits.random_raw(surplus) / 2.0**64 < weights[first] / both
    kept, skipped = np.where(keeps_first, (first, second), (second, first))
    weights[kept] = both
    return _without(plan, skipped, weights)


def _skips_of_one_weight(plan: Plan) -> bool:
    """Whether the plan is one of two weights, and skips samples of the greater one alone: of n
    well-learned samples k were kept, at n/k times the weight of the others."""
    weights = plan.weights.numpy()
    light, heavy = float(weights.min()), float(weights.max())
    num_heavy = int(np.count_nonzero(weights == np.float32(heavy)))
    num_light = int(np.count_nonzero(weights == np.float32(light)))
    total = num_heavy + plan.pruned
    two_weights = num_heavy + num_light == plan.kept
    return two_weights and abs(heavy / light * num_heavy - total) <= 1e-3 * total


def _extended(plan: Plan, shape: BatchShape, bits: np.random.BitGenerator) -> Optional[Plan]:
    """Keep more of the samples that a plan skips, up to the next number that fits.

    Where k of n well-learned samples were kept at the weight n/k, k + e are kept at n/(k + e).

    Returns:
        Plan, optional: None where only the whole dataset fits.
    """
    length, weights = plan.num_samples, plan.weights.numpy()
    larger = range(plan.kept + 1, length)
    goal = next((kept for kept in larger if shape.fitting(kept, length) == kept), None)
    if goal is None:
        return None
    light = float(weights.min())
    kept = plan.indices.numpy()[weights == weights.max()]  # the k
    by_index = np.zeros(length, np.float32)
    by_index[plan.indices.numpy()] = weights
    skipped = np.flatnonzero(by_index == 0)
    added = skipped[draw_distinct(len(skipped), goal - plan.kept, bits)]
    num_well_learned = len(kept) + plan.pruned
    by_index[kept] = by_index[added] = light * num_well_learned / (len(kept) + len(added))
    indices = np.flatnonzero(by_index)
    weights = by_index[indices]
    if light != 1:  # a mean of 1, which the weights keep
        weights /= weights.mean(dtype=np.float64)
    return Plan(torch.from_numpy(indices), torch.from_numpy(weights), length, plan.threshold)


def _surplus_by_weight(
    plan: Plan, scores: Tensor, surplus: int
) -> Iterator[Tuple[np.ndarray, int]]:
    """How many samples of each weight to skip, the greatest weight first.

    At least half of the samples of a weight are kept, so that no weight more than doubles. Samples
    of the least weight stand for themselves alone and are kept, unless all weights are equal.

    Yields:
        tuple[ndarray, int]: The positions in the plan of the samples of a weight that may be
        skipped, and how many of them to skip.
    """
    weights = plan.weights.numpy()
    unseen = None
    if bool(scores.max().isnan()) and not skips_unseen(plan, scores):
        unseen = scores[plan.indices].isnan().numpy()
    least, weight = float(weights.min()), float(weights.max())
    all_equal = least == weight
    while surplus and (all_equal or weight > least):
        group = np.flatnonzero(weights == np.float32(weight))
        if unseen is not None:
            group = group[~unseen[group]]
        count = min(surplus, len(group) // 2)
        surplus -= count
        if count:
            yield group, count
        if all_equal:
            return
        weight = float(weights.max(where=weights < np.float32(weight), initial=0))


def _total(weight: float, size: int) -> float:
    """The sum of the weights of a group; a whole number if it differs from one by rounding only."""
    total = weight * size
    return round(total) if abs(total - round(total)) < 1e-6 * total else total
