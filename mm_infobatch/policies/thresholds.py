"""Thresholds of scores, and the scores below or above one."""

import math
from typing import List, Sequence

import numpy as np
import torch
from torch import Tensor

from .budgets import snap_to_whole


def mean_score(scores: Tensor) -> float:
    """The mean of the scores, taken in float64.

    In float32 the mean of millions of equal scores can exceed all of them, and the whole dataset
    would count as well-learned.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.

    Returns:
        float: The mean; NaN where no sample has a score.
    """
    # Four times as fast as nanmean, which copies all scores to float64, if none of them is NaN.
    mean = float(np.mean(scores.numpy(), dtype=np.float64))
    return float(scores.nanmean(dtype=torch.float64)) if math.isnan(mean) else mean


def quantile_scores(scores: Tensor, quantiles: Sequence[float]) -> List[float]:
    """Quantiles of the scores, by linear interpolation between neighbours.

    O(N): a partition, no sort.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.
        quantiles (list[float]): Each in [0, 1].

    Returns:
        list[float]: float64 values; NaN where no sample has a score.
    """
    unseen = scores.isnan()
    seen = (scores[~unseen] if bool(unseen.any()) else scores).numpy()
    if not len(seen):
        return [math.nan] * len(quantiles)
    places = [snap_to_whole(quantile * (len(seen) - 1)) for quantile in quantiles]
    ends = [(math.floor(place), math.ceil(place)) for place in places]
    parted = np.partition(seen, sorted({end for pair in ends for end in pair}))
    return [
        float(parted[low]) + (float(parted[high]) - float(parted[low])) * (place - low)
        for place, (low, high) in zip(places, ends)
    ]


def below(scores: Tensor, threshold: float) -> Tensor:
    """Which scores lie strictly below a float64 threshold; unseen ones (NaN) do not.

    ``scores < threshold`` would round the threshold to float32 first. A float32 score lies below
    the threshold if it lies below the smallest float32 that is not less than the threshold.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.
        threshold (float): The threshold. No score lies below NaN.

    Returns:
        Tensor: bool [N].
    """
    limit = torch.tensor(threshold, dtype=torch.float32)
    if float(limit) < threshold:
        limit = torch.nextafter(limit, torch.tensor(math.inf))
    # NumPy compares in a fifth of the time that PyTorch takes.
    return torch.from_numpy(scores.numpy() < limit.numpy())


def above(scores: Tensor, threshold: float) -> Tensor:
    """Which scores lie strictly above a float64 threshold; unseen ones (NaN) do not.

    Args:
        scores (Tensor): float32 [N], NaN where unseen.
        threshold (float): The threshold. No score lies above NaN.

    Returns:
        Tensor: bool [N].
    """
    return below(-scores, -threshold)
