"""Keeps a sliding window of groups of similar scores."""

from typing import Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_integer, require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .budgets import count_kept
from .drawing import draw_subset, keep_marked, rescaled
from .plan import Plan
from .run import Run

MOST_ROUNDS = 300


def group_bounds(values: np.ndarray, num_groups: int) -> np.ndarray:
    """Group numbers by k-means.

    Lloyd's algorithm, from quantiles of the distinct values, until the groups no longer change (at
    most 300 rounds). On sorted values a round takes O(num_groups log n).

    Args:
        values (np.ndarray): float32 [n], ascending, finite, n at least 1.
        num_groups (int): At least 1. Groups without a value are left out.

    Returns:
        np.ndarray: float32 [G], ascending, the lowest value of each group; G is at most
        ``num_groups``.
    """
    length, sums = len(values), np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    distinct = values[np.concatenate([[True], values[1:] > values[:-1]])]
    num_groups = min(num_groups, len(distinct))
    places = (np.arange(num_groups) + 0.5) / num_groups * len(distinct)
    centres, starts = distinct[places.astype(np.int64)].astype(np.float64), None
    for _ in range(MOST_ROUNDS):
        # In float32, rounded up: a float64 array would have every value converted in each round.
        edges = (centres[1:] + centres[:-1]) / 2
        limits = edges.astype(np.float32)
        low = limits < edges
        limits[low] = np.nextafter(limits[low], np.float32(np.inf))
        new = np.concatenate([[0], np.searchsorted(values, limits)])
        if starts is not None and np.array_equal(new, starts):
            break
        starts, ends = new, np.append(new[1:], length)
        means = (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)
        centres = np.where(ends > starts, means, centres)
    assert starts is not None
    return values[np.unique(starts[starts < length])]


@PRUNING_POLICIES.register_module()
class SeTa:
    """Keep a random share of the samples, and of these a window of groups of similar scores.

    1 - ``prune_ratio`` of the samples are drawn in each pass. k-means sorts their scores into G
    groups, of which a window of round(G * ``window_scale``) neighbouring ones is kept. In pass t
    the window begins at group t mod (G - window + 1), so it slides from easy to hard and starts
    again. In the last 1 - ``delta`` of the run the window is all groups. `Scale Efficient Training
    for Large Datasets, 2025 <https://arxiv.org/abs/2503.13385>`_. Biased: in each pass towards the
    scores of the window; in the whole run towards the groups in the middle. Also set
    ``sampler.delta=1``, or annealing trains on all samples. A sort: O(N log N) per pass.

    Differences from the publication:

    1. k-means starts from quantiles; there, from random samples (scikit-learn's).
    2. Groups without a sample are left out before the window is placed. If all scores are equal,
       nothing but the random share is skipped.
    3. A sample without a score is never skipped, so the first pass trains all samples.
    4. If the length of the run is unknown, the window stays at the first group.

    Args:
        prune_ratio (float): The share of the samples that is skipped at random, in [0, 1).
            Defaults to 0.1.
        num_groups (int): The groups of k-means, at least 1. Defaults to 5.
        window_scale (float): The share of the groups that is kept, in (0, 1]. Defaults to 0.9,
            which is 4 of 5 groups.
        delta (float): The share of the run in which the window slides, in [0, 1]. Defaults to
            0.875.
        rescale (bool or str): True for weights of N/K, which lengthen the gradient to about that
            of all data but leave its bias; False and ``'normalized'`` for weights of 1. Defaults
            to False.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """

    bias = 'towards one range of scores in each pass'

    def __init__(
        self,
        prune_ratio: float = 0.1,
        num_groups: int = 5,
        window_scale: float = 0.9,
        delta: float = 0.875,
        rescale: Union[bool, str] = False,
    ) -> None:
        line = "policy=dict(type='SeTa', prune_ratio=0.1, num_groups=5, window_scale=0.9"
        self.prune_ratio = require_share('prune_ratio', prune_ratio, f'{line})', zero=True)
        require_integer('num_groups', num_groups, f'{line})')
        if num_groups < 1:
            raise ValueError(f'num_groups={num_groups} has to be at least 1; write {line})')
        self.num_groups = int(num_groups)
        self.window_scale = require_share('window_scale', window_scale, f'{line})', one=True)
        self.delta = require_share('delta', delta, f'{line}, delta=0.875)', zero=True, one=True)
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def window(self, values: np.ndarray, pass_index: int) -> Tuple[float, float]:
        """The range of scores that a pass keeps.

        Args:
            values (np.ndarray): The scores of the drawn samples, float32 [n], ascending.
            pass_index (int): t.

        Returns:
            tuple[float, float]: The lowest score, inclusive, and the highest one, exclusive.
        """
        bounds = group_bounds(values, self.num_groups)
        size = max(1, round(len(bounds) * self.window_scale))
        start = pass_index % (len(bounds) - size + 1)
        end = start + size
        return float(bounds[start]), float(bounds[end]) if end < len(bounds) else np.inf

    def plan(self, scores: Tensor, generator: torch.Generator, run: Optional[Run] = None) -> Plan:
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan`` and the run."""
        require_scores(scores, generator)
        unseen = scores.isnan()
        kept = count_kept(len(scores) - int(unseen.sum()), self.prune_ratio)
        marked = draw_subset(~unseen, kept, generator)
        slides = run is None or run.walked / run.total < self.delta
        if kept and slides and self.num_groups > 1:
            values = np.sort(scores[marked].numpy())
            low, high = self.window(values, 0 if run is None else run.pass_index)
            marked &= (scores >= low) & (scores < high)
        indices, weights = keep_marked(marked | unseen)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def __repr__(self) -> str:
        return (
            f'SeTa(prune_ratio={self.prune_ratio:g}, num_groups={self.num_groups}, '
            f'window_scale={self.window_scale:g}, delta={self.delta:g}, rescale={self.rescale!r})'
        )
