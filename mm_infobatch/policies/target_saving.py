"""Saves a given share of the whole run, at a low variance of the gradient."""

import math
from typing import Any, Dict, Optional, Tuple, Union

import torch
from torch import Tensor

from ..arguments import (
    require_bool,
    require_number,
    require_rescale,
    require_scores,
    require_share,
)
from ..registry import PRUNING_POLICIES
from .budgets import count_in_share
from .drawing import keep_in_groups, mark_highest, prune_to_count, rescaled
from .importance import (
    gradient_norms,
    group_levels,
    keep_probabilities,
    levels_of,
    round_to_sum,
    value_of,
)
from .norm_forecast import NormForecast
from .plan import Plan
from .run import Run


@PRUNING_POLICIES.register_module()
class TargetSaving:
    """Save a given share of the whole run; the higher its score, the likelier a sample is kept.

    The whole run trains 1 - ``saving`` of the samples that the unpruned schedule would have
    trained, whatever their scores; the first pass and annealing count. Each pass that may prune
    skips an equal part of what the run still has to skip. If InfoBatch is switched on during a run,
    the rest of the run saves that share of its samples, as far as ``max_weight`` allows. If the
    length of the run is unknown (outside a run), each pass saves that share.

    Within a pass the keep probability is proportional to an estimate of the gradient's norm,
    clamped to [1 / ``max_weight``, 1], which keeps the variance of the gradient low (importance
    sampling, `Zhao and Zhang 2015 <https://arxiv.org/abs/1401.2753>`_). Samples of similar
    probability form up to 32 groups. Of the n samples of a group a fixed number k is kept, at the
    weight n/k, as in `InfoBatch <https://arxiv.org/abs/2303.04947>`_. So each sample's expected
    weight is 1, the weights sum to N, and the number of kept samples is exact. Neither publication
    has this rule. O(N) per pass: histograms, no sort.

    With ``quantile=q``, a pass that has to skip a share s skips it at random among the q * n
    samples with the lowest scores, and the k kept of these m weigh m/k, about q / (q - s):
    InfoBatch at an exact budget, as in `DivBS, 2024 <https://arxiv.org/abs/2406.04872>`_. There, s
    is the same in each pass; and here, exactly q * n samples lie below the quantile, ties being
    broken at random.

    With ``shrink=True`` the estimates are shrunk towards their mean, the more the worse the scores
    predicted the losses of the last pass (``policies/norm_forecast.py``). If losses are noisy, as
    with random crops, the choice is then closer to a random one, and the weights are more alike.
    Its state, a number, is saved in checkpoints.

    Args:
        saving (float): The share of the run to save, in (0, 1). Defaults to 0.4.
        max_weight (float): The largest weight, above 1: the lowest keep probability is
            1 / ``max_weight``. Defaults to 5.
        rescale (bool or str): True for the weights above; False for weights of 1 (biased);
            ``'normalized'`` for weights with a mean of 1. Defaults to True.
        quantile (float, optional): The share of the samples, those with the lowest scores, that a
            pass prunes, in (0, 1]. Defaults to None: by importance.
        shrink (bool): Whether to shrink the estimates; not with ``quantile``. Defaults to False.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or two exclude each other; when training starts,
            if the run cannot save that much.
    """

    def __init__(
        self,
        saving: float = 0.4,
        max_weight: float = 5.0,
        rescale: Union[bool, str] = True,
        quantile: Optional[float] = None,
        shrink: bool = False,
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
        if quantile is not None:
            quantile = require_share('quantile', quantile, f'{line}, quantile=0.8)', one=True)
        self.quantile = quantile
        self.rescale = require_rescale(rescale, f'{line}, rescale=True)')
        require_bool('shrink', shrink, f'{line}, shrink=True)')
        if shrink and quantile is not None:
            raise ValueError(
                f'shrink=True and quantile={quantile:g} exclude each other, as a quantile does not '
                f'choose by importance; write {line}, shrink=True)'
            )
        self._forecast = NormForecast() if shrink else None

    @property
    def least_kept(self) -> float:
        """float: The smallest share of the samples that a pass keeps."""
        share = 1.0 if self.quantile is None else self.quantile
        return 1 - share + share / self.max_weight

    def begin_run(self, run: Run) -> None:
        """Check that the run can save that much.

        Raises:
            ValueError: If it cannot; the message names the largest possible saving.
        """
        most = run.most_saving(self.least_kept)
        if self.saving > most:
            quantile = '' if self.quantile is None else f', quantile={self.quantile:g}'
            raise ValueError(
                f'saving={self.saving:g} is out of reach: with delta={run.delta:g}, '
                f'{run.total / run.pass_length:g} passes and '
                f'max_weight={self.max_weight:g}{quantile} the '
                f'run can save at most {math.floor(most * 1000) / 1000:g}, because the first '
                f'{"pass" if run.first == 1 else f"{run.first} passes"} and annealing train all '
                'samples; lower policy.saving, or raise sampler.delta, policy.max_weight'
                f'{", policy.quantile" if quantile else ""} or the number of passes'
            )

    def observe(
        self, indices: Tensor, losses: Tensor, num_samples: int, scores: Optional[Tensor] = None
    ) -> None:
        """Learn from a pass how well scores predict losses.

        Args:
            indices (Tensor): The samples, int64 [M].
            losses (Tensor): Their losses, float32 [M], finite.
            num_samples (int): N.
            scores (Tensor, optional): Their scores until now, float32 [M], NaN where unseen.
                Defaults to None: nothing is learned.
        """
        if self._forecast is not None and scores is not None:
            self._forecast.learn(scores, losses)

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
        """Choose the samples of a pass, with the arguments of ``SoftPruning.plan`` and the run."""
        require_scores(scores, generator)
        unseen = scores.isnan()
        num_unseen = int(unseen.sum())
        kept = self.count_kept(len(scores), run) - num_unseen  # of those with a score
        if kept >= len(scores) - num_unseen:
            return Plan.full(len(scores))
        if self.quantile is None:
            indices, weights = self._keep_by_importance(scores, unseen, kept, generator)
        else:
            indices, weights = self._prune_below_quantile(scores, self.quantile, kept, generator)
        return Plan(indices, rescaled(weights, self.rescale), len(scores))

    def _keep_by_importance(
        self, scores: Tensor, unseen: Tensor, kept: int, generator: torch.Generator
    ) -> Tuple[Tensor, Tensor]:
        """Keep ``kept`` of the samples with a score, and all unseen ones; indices and weights."""
        num_unseen, least = int(unseen.sum()), 1 / self.max_weight
        num_seen = len(scores) - num_unseen
        if self._forecast is None:
            norms = gradient_norms(scores.nan_to_num(0.0) if num_unseen else scores)
        else:
            norms = self._forecast.norms(scores)
        levels = levels_of(norms)
        lowest_level = int(levels.min())
        levels -= lowest_level
        counts = torch.bincount(
            levels[~unseen] if num_unseen else levels, minlength=int(levels.max()) + 1
        )
        probabilities = keep_probabilities(
            value_of(torch.arange(len(counts)) + lowest_level),
            counts.double(),
            max(kept, least * num_seen),
            least,
        )
        group_of_level, sizes, expected = group_levels(probabilities, counts, least)
        groups = group_of_level[levels]
        if num_unseen:  # they join the last group, which is kept whole
            groups[unseen] = len(sizes) - 1
            sizes[-1] += num_unseen
        lowest = [count_in_share(n, least) for n in sizes[:-1]] + [sizes[-1]]
        keep = round_to_sum(expected, lowest, sizes, kept + num_unseen)
        return keep_in_groups(groups, keep, generator)

    def _prune_below_quantile(
        self, scores: Tensor, quantile: float, kept: int, generator: torch.Generator
    ) -> Tuple[Tensor, Tensor]:
        """Keep ``kept`` of the samples with a score, pruning at random among those with the lowest
        scores, and all unseen ones; indices and weights."""
        seen = (~scores.isnan()).nonzero().squeeze(1)
        num_above = len(seen) - count_in_share(len(seen), quantile)
        prunable = torch.zeros(len(scores), dtype=torch.bool)
        prunable[seen] = ~mark_highest(scores[seen], num_above, generator)
        least = count_in_share(len(seen) - num_above, 1 / self.max_weight)
        return prune_to_count(prunable, max(kept - num_above, least), generator)

    def state_dict(self) -> Dict[str, Any]:
        """The state of the forecast; empty without ``shrink``."""
        return {} if self._forecast is None else self._forecast.state_dict()

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        if self._forecast is not None:
            self._forecast.load_state_dict(state_dict)

    def __repr__(self) -> str:
        more = '' if self.quantile is None else f', quantile={self.quantile:g}'
        more += '' if self.rescale is True else f', rescale={self.rescale!r}'
        more += '' if self._forecast is None else ', shrink=True'
        return f'TargetSaving(saving={self.saving:g}, max_weight={self.max_weight:g}{more})'
