"""Saves a given share of the whole run, at a low variance of the gradient."""

import math
from typing import List, Optional, Tuple, Union

import torch
from torch import Tensor

from ..arguments import require_number, require_rescale, require_scores, require_share
from ..registry import PRUNING_POLICIES
from .drawing import keep_in_groups, weigh
from .plan import Plan
from .run import Run

LEAST_NORM = 1e-6
NUM_GROUPS = 32


def gradient_norms(scores: Tensor) -> Tensor:
    """Estimate the norm of each sample's gradient, up to a factor, float32 [N] in [1e-6, 1].

    For softmax cross-entropy H the label's probability is exp(-H), and the norm of the gradient
    with respect to the logits lies between 1 and sqrt(2) times 1 - exp(-H). For other losses it is
    a guess that increases with the score; a bad guess increases the variance and never makes a plan
    biased.

    Args:
        scores (Tensor): float32 [N] without NaN.
    """
    return -torch.expm1(-scores).clamp_max_(-LEAST_NORM)


def levels_of(norms: Tensor) -> Tensor:
    """Round positive numbers to levels, 64 for each power of two, int64 [N].

    A level is the exponent of a float32 and the first 6 bits of its mantissa. The bits of positive
    floats, read as integers, have the order of the floats.
    """
    return (norms.view(torch.int32) >> 17).long()


def value_of(levels: Tensor) -> Tensor:
    """The number in the middle of each level, float64 [L]."""
    return ((levels.int() << 17) + (1 << 16)).view(torch.float32).double()


def keep_probabilities(norms: Tensor, counts: Tensor, kept: float, least: float) -> Tensor:
    """Keep probabilities proportional to the norms, clamped to [least, 1], with a given mean.

    Of all probabilities with that sum and range they give the weighted gradient the lowest
    variance.

    Args:
        norms (Tensor): The norm of each level, float64 [L].
        counts (Tensor): The samples of each level, float64 [L].
        kept (float): The expected number of kept samples, between ``least`` times the sum of
            ``counts`` and that sum.
        least (float): The lowest probability, above 0.

    Returns:
        Tensor: float64 [L].
    """
    low, high = math.log(least), -math.log(LEAST_NORM) + 1
    for _ in range(60):
        middle = (low + high) / 2
        total = float((counts * (norms * math.exp(middle)).clamp(least, 1)).sum())
        low, high = (middle, high) if total < kept else (low, middle)
    return (norms * math.exp(high)).clamp(least, 1)


def group_levels(
    probabilities: Tensor, counts: Tensor, least: float
) -> Tuple[Tensor, List[int], List[float]]:
    """Merge neighbouring levels of similar probability into groups of enough samples to draw from.

    Args:
        probabilities (Tensor): The keep probability of each level, float64 [L], ascending.
        counts (Tensor): The samples of each level, int64 [L].
        least (float): The lowest probability.

    Returns:
        tuple[Tensor, list[int], list[float]]: The group of each level, uint8 [L]; the samples of
        each group; the expected number of kept samples of each group. The last group keeps all its
        samples and may be empty.
    """
    bands = ((probabilities - least) / max(1 - least, 1e-9) * NUM_GROUPS).long()
    bands = bands.clamp_max(NUM_GROUPS - 1)
    bands[probabilities >= 1] = NUM_GROUPS
    enough = math.ceil(4 / least)
    sizes: List[int] = []
    means: List[float] = []
    group_of_band = [0] * (NUM_GROUPS + 1)
    size_of_band = torch.bincount(bands, counts.double(), NUM_GROUPS + 1).tolist()
    mean_of_band = torch.bincount(bands, counts * probabilities, NUM_GROUPS + 1).tolist()
    for band in range(NUM_GROUPS):
        if not size_of_band[band]:
            continue
        if not sizes or sizes[-1] >= enough:
            sizes.append(0)
            means.append(0.0)
        sizes[-1] += int(size_of_band[band])
        means[-1] += mean_of_band[band]
        group_of_band[band] = len(sizes) - 1
    if len(sizes) > 1 and sizes[-1] < enough:  # too few for a group of their own
        group_of_band = [min(group, len(sizes) - 2) for group in group_of_band]
        last_size, last_mean = sizes.pop(), means.pop()
        sizes[-1] += last_size
        means[-1] += last_mean
    group_of_band[NUM_GROUPS] = len(sizes)
    whole = int(size_of_band[NUM_GROUPS])
    return (
        torch.tensor(group_of_band, dtype=torch.uint8)[bands],
        [*sizes, whole],
        [*means, float(whole)],
    )


def round_to_sum(
    means: List[float], lowest: List[int], highest: List[int], total: int
) -> List[int]:
    """Round numbers to integers within bounds, with a given sum as far as the bounds allow.

    Args:
        means (list[float]): The numbers.
        lowest (list[int]): The lower bound of each, inclusive.
        highest (list[int]): The upper bound of each, inclusive.
        total (int): The sum of the integers.

    Returns:
        list[int]: The integers. All are rounded down first; those that are furthest from their
        number then change first.
    """
    rounded = [
        min(max(math.floor(mean), low), high) for mean, low, high in zip(means, lowest, highest)
    ]
    missing = total - sum(rounded)
    while missing:
        step = 1 if missing > 0 else -1
        free = [
            i
            for i, (low, value, high) in enumerate(zip(lowest, rounded, highest))
            if low <= value + step <= high
        ]
        if not free:
            break
        free.sort(key=lambda i: step * (means[i] - rounded[i]), reverse=True)
        change = max(1, abs(missing) // len(free))
        for i in free[: abs(missing)]:
            room = highest[i] - rounded[i] if step > 0 else rounded[i] - lowest[i]
            rounded[i] += step * min(change, room)
            missing -= step * min(change, room)
    return rounded


@PRUNING_POLICIES.register_module()
class TargetSaving:
    """Save a given share of the whole run; the higher its score, the likelier a sample is kept.

    The whole run trains 1 - ``saving`` of the samples that the unpruned schedule would have
    trained, whatever their scores; the first pass and annealing count. Each pass that may prune
    skips an equal part of what the run still has to skip. Where the length of the run is unknown
    (outside a run), each pass saves that share.

    Within a pass the keep probability is proportional to an estimate of the gradient's norm,
    clamped to [1 / ``max_weight``, 1], which keeps the variance of the gradient low (importance
    sampling, `Zhao and Zhang 2015 <https://arxiv.org/abs/1401.2753>`_). Samples of similar
    probability form up to 32 groups. Of the n samples of a group a fixed number k is kept, at the
    weight n/k, as in `InfoBatch <https://arxiv.org/abs/2303.04947>`_. So each sample's expected
    weight is 1, the weights sum to N, and the number of kept samples is exact. Neither publication
    has this rule. O(N) a pass: histograms, no sort.

    Args:
        saving (float): The share of the run to save, in (0, 1). Defaults to 0.4.
        max_weight (float): The largest weight, above 1: the lowest keep probability is
            1 / ``max_weight``. Defaults to 5.
        rescale (bool or str): True for the weights above; False for weights of 1 (biased);
            ``'normalized'`` for weights with a mean of 1. Defaults to True.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when training starts, if the run cannot save
            that much.
    """

    def __init__(
        self, saving: float = 0.4, max_weight: float = 5.0, rescale: Union[bool, str] = True
    ) -> None:
        line = "policy=dict(type='TargetSaving', saving=0.4"
        self.saving = require_share(
            'saving', saving, f'{line})', why='it is the share of the whole run to save'
        )
        self.max_weight = require_number(
            'max_weight', max_weight, 'above 1', f'{line}, max_weight=5.0)'
        )
        if not 1 < self.max_weight < math.inf:
            raise ValueError(
                f'max_weight={max_weight} has to be finite and above 1, or no sample could be '
                f'skipped; write {line}, max_weight=5.0)'
            )
        self.rescale = require_rescale(rescale, f'{line}, rescale=True)')

    def begin_run(self, run: Run) -> None:
        """Check that the run can save that much.

        Raises:
            ValueError: If it cannot; the message names the largest possible saving.
        """
        most = run.most_saving(1 / self.max_weight)
        if self.saving > most:
            raise ValueError(
                f'saving={self.saving:g} is out of reach: with delta={run.delta:g}, '
                f'{run.total / run.pass_length:g} passes and max_weight={self.max_weight:g} the '
                f'run can save at most {math.floor(most * 1000) / 1000:g}, because the first '
                f'{"pass" if run.first == 1 else f"{run.first} passes"} and annealing train all '
                'samples; lower policy.saving, or raise sampler.delta, policy.max_weight or the '
                'number of passes'
            )

    def count_kept(self, num_samples: int, run: Optional[Run]) -> int:
        """How many samples the pass has to keep."""
        if run is None:
            return max(1, round(num_samples * (1 - self.saving)))
        skips = run.skips_due(self.saving)
        passes = run.passes_left(skips) if skips > 0 and run.pass_index >= run.first else 0
        if not passes:
            return num_samples
        unit = run.samples_per_iter if run.drop_last else 1
        kept = round((run.samples_per_pass - skips / max(passes, 1)) / unit) * unit
        return min(max(kept, unit), num_samples)

    def plan(self, scores: Tensor, generator: torch.Generator, run: Optional[Run] = None) -> Plan:
        """Choose the samples of a pass.

        Args:
            scores (Tensor): The latest loss of each sample, float32 [N], NaN where unseen.
            generator (torch.Generator): The source of randomness.
            run (Run, optional): The state of the run. Defaults to None: unknown.

        Returns:
            Plan: The kept samples and their weights, which sum to N.
        """
        require_scores(scores, generator)
        new = scores.isnan()
        num_new = int(new.sum())
        kept = self.count_kept(len(scores), run) - num_new
        num_seen = len(scores) - num_new
        if kept >= num_seen:
            return Plan.full(len(scores))
        least = 1 / self.max_weight
        levels = levels_of(gradient_norms(scores.nan_to_num(0.0) if num_new else scores))
        base = int(levels.min())
        levels -= base
        counts = torch.bincount(
            levels[~new] if num_new else levels, minlength=int(levels.max()) + 1
        )
        norms = value_of(torch.arange(len(counts)) + base)
        probabilities = keep_probabilities(
            norms, counts.double(), max(kept, least * num_seen), least
        )
        group_of_level, sizes, means = group_levels(probabilities, counts, least)
        groups = group_of_level[levels]
        if num_new:
            groups[new] = len(sizes) - 1
            sizes[-1] += num_new
        lowest = [math.ceil(n * least - 1e-9) for n in sizes[:-1]] + [sizes[-1]]
        keep = round_to_sum(means, lowest, sizes, kept + num_new)
        indices, weights = keep_in_groups(groups, keep, generator)
        return Plan(indices, weigh(weights, self.rescale), len(scores))

    def __repr__(self) -> str:
        more = '' if self.rescale is True else f', rescale={self.rescale!r}'
        return f'TargetSaving(saving={self.saving:g}, max_weight={self.max_weight:g}{more})'
