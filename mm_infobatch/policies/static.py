"""Static pruning, the baselines: keeps the same samples in every pass."""

from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..arguments import (
    require_bool,
    require_count,
    require_integer,
    require_rescale,
    require_scores,
    require_seed,
    require_share,
)
from ..registry import PRUNING_POLICIES
from .budgets import count_in_share, divide_among_classes
from .drawing import keep_marked, mark_highest, rescaled
from .plan import Plan
from .score_file import ScoreFile, read_score_file


class _Static:
    """A policy that chooses its samples once, whatever their scores."""

    static = True  # read by the planner, which refuses a subset that makes no batch
    rescale: Union[bool, str]
    _kept: Optional[Tensor] = None
    _weights: Optional[Tensor] = None  # float32 [N], their sum over the kept samples is N

    def choose(self, num_samples: int) -> Tensor:
        """Choose the kept samples, bool [N]."""
        raise NotImplementedError

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Choose the samples of a pass, the same in every pass.

        Args:
            scores (Tensor): float32 [N]. The values have no effect.
            generator (torch.Generator): Not used.

        Returns:
            Plan: The kept samples and their weights.
        """
        require_scores(scores, generator)
        if self._kept is None or len(self._kept) != len(scores):
            self._kept = self.choose(len(scores))
        indices, weights = keep_marked(self._kept)
        if self._weights is not None:
            weights = self._weights[indices]
        return Plan(indices, rescaled(weights, self.rescale), len(scores))


@PRUNING_POLICIES.register_module()
class StaticRandom(_Static):
    """Keep one random subset during the whole run.

    ``Random`` of `InfoBatch, Table 1 <https://arxiv.org/abs/2303.04947>`_. The other samples are
    never trained, not even in the first pass: only static policies skip samples without a score.
    Also set ``sampler.delta=1``, or annealing trains on all samples. O(N) once.

    Args:
        keep (float): The share of the samples that is kept, in (0, 1]. Defaults to 0.7.
        seed (int): The seed of the subset, independent of the seed of the run. Defaults to 0.
        rescale (bool or str): True for weights of N/K; False and ``'normalized'`` for weights of
            1. Defaults to False.

    Raises:
        TypeError: If ``keep`` is not a number or ``seed`` not an integer.
        ValueError: If an argument is out of range.
    """

    def __init__(self, keep: float = 0.7, seed: int = 0, rescale: Union[bool, str] = False) -> None:
        line = "policy=dict(type='StaticRandom', keep=0.7"
        self.keep = require_share('keep', keep, f'{line})', one=True)
        require_seed(seed, f'{line}, seed=0)')
        self.seed = seed
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def choose(self, num_samples: int) -> Tensor:
        """Choose the kept samples, bool [N]."""
        order = torch.randperm(num_samples, generator=torch.Generator().manual_seed(self.seed))
        marked = torch.zeros(num_samples, dtype=torch.bool)
        marked[order[: count_in_share(num_samples, self.keep)]] = True
        return marked

    def __repr__(self) -> str:
        return f'StaticRandom(keep={self.keep:g}, seed={self.seed}, rescale={self.rescale!r})'


@PRUNING_POLICIES.register_module()
class FromFile(_Static):
    """Keep the samples with the highest scores in a file during the whole run.

    For what ``mm-infobatch scores`` writes: scores of a trained model, such as EL2N (`Paul et al.
    2021 <https://arxiv.org/abs/2107.07075>`_), and subsets. The other samples are never trained,
    not even in the first pass. Also set ``sampler.delta=1``, or annealing trains on all samples.
    O(N) once, without a sort. Ties, which are common among forgetting counts, are broken at random.

    Weights of a file, such as CRAIG's, are the numbers of samples that each kept one stands for.
    CRAIG divides the loss of a batch by the sum of its weights; here it is divided by the batch
    size, and ``rescale='normalized'`` divides the weights by their mean over the subset. The two
    differ only as far as the sum of the weights varies between batches. With ``rescale=True`` the
    weights sum to N, and steps are N/K times longer.

    Args:
        path (str): A ``.npy`` file with one number per sample, in the order of the dataset, or a
            ``.npz`` file, which may have classes, weights and a number of samples beside them.
        keep (float, optional): The share of the samples that is kept, in (0, 1], rounded up to a
            whole sample. Defaults to None: the number that the file was made for, or else 0.7.
        reverse (bool): Whether to keep the lowest scores instead. Defaults to False.
        seed (int): The seed that breaks ties. Defaults to 0.
        rescale (bool or str, optional): True for weights that sum to N; False for weights of 1;
            ``'normalized'`` for weights with a mean of 1. Defaults to None: ``'normalized'`` where
            the file has weights, else False.
        count (int, optional): The number of samples that is kept, instead of ``keep``. Defaults to
            None.
        per_class (bool, optional): Whether to keep the highest scores of each class, in proportion
            to the sizes of the classes (by largest remainders), and not those over all classes.
            Defaults to None: as the file says, which for a ``.npy`` file is False.

    Attributes:
        digest (str): The digest of the file's contents. It is a part of the policy's ``repr``, so a
            run that resumes with another file of the same name logs the change.
        sample_labels (ndarray, optional): The class of each sample in the file, int64 [N], None
            where it has none. A run whose dataset has other classes logs a warning.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the file does not exist, does not hold a finite number for each sample, has
            no classes for ``per_class``, or was made for another number of samples or for this
            number in another way than ``reverse`` or ``per_class`` says.
    """

    def __init__(
        self,
        path: str,
        keep: Optional[float] = None,
        reverse: bool = False,
        seed: int = 0,
        rescale: Union[bool, str, None] = None,
        count: Optional[int] = None,
        per_class: Optional[bool] = None,
    ) -> None:
        line = "policy=dict(type='FromFile', path='el2n.npy'"
        if keep is not None:
            require_share('keep', keep, f'{line}, keep=0.7)', one=True)
        if count is not None:
            require_integer('count', count, f'{line}, count=35000)')
            require_count('count', count)
        if keep is not None and count is not None:
            raise ValueError(
                f'keep={keep} and count={count} contradict each other; write {line}, '
                'keep=0.7) or count=35000 in its place'
            )
        if not isinstance(path, (str, Path)):
            raise TypeError(f'path has to be the name of a file, but is {path!r}; write {line})')
        require_bool('reverse', reverse, f'{line}, reverse=True)')
        require_seed(seed, f'{line}, seed=0)')
        if per_class is not None:
            require_bool('per_class', per_class, f'{line}, per_class=True)')
        self.path, self.reverse, self.seed = str(path), reverse, seed
        content = read_score_file(self.path)
        self._check_choice(content, reverse, per_class)
        self.digest = content.digest()
        self.scores = torch.from_numpy(content.scores)
        self.count = self._count(content, keep, count)
        self.labels = self._labels(content, per_class)
        self.sample_labels = content.labels
        self._file_weights = content.weights
        if rescale is None:
            rescale = False if content.weights is None else 'normalized'
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def _check_choice(self, content: ScoreFile, reverse: bool, per_class: Optional[bool]) -> None:
        """Refuse another choice from a file for one number of samples: the scores of those that it
        does not keep are all 0, so some of them would be kept at random."""
        other = 'reverse' if reverse else 'per_class' if per_class and not content.per_class else ''
        if other and content.count is not None:
            raise ValueError(
                f'{other}=True does not fit {self.path}, which was made to keep {content.count} of '
                f'{len(content.scores)} samples in another way, and does not rank the others; '
                f'leave out policy.{other}'
            )

    def _count(self, content: ScoreFile, keep: Optional[float], count: Optional[int]) -> int:
        """K, the number of samples that is kept."""
        total = len(content.scores)
        if keep is None and count is None and content.count is not None:
            return content.count
        wanted = count_in_share(total, 0.7 if keep is None else keep) if count is None else count
        if wanted > total:
            raise ValueError(
                f'count={count} is more than the {total} scores of {self.path}; change policy.count'
            )
        if content.count not in (None, wanted):
            raise ValueError(
                f'{self.path} was made to keep {content.count} of {total} samples, and cannot keep '
                f'{wanted}; leave out policy.keep and policy.count, or write another file with '
                f'mm-infobatch scores --count {wanted}'
            )
        return wanted

    def _labels(self, content: ScoreFile, per_class: Optional[bool]) -> Any:
        """The class of each sample, int64 [N]; None where samples are chosen over all classes."""
        if not (content.per_class if per_class is None else per_class):
            return None
        if content.labels is None:
            raise ValueError(
                f'per_class={per_class} needs classes, and {self.path} has none; write it with '
                'mm-infobatch scores and a name that ends in .npz, or leave out policy.per_class'
            )
        return content.labels

    def choose(self, num_samples: int) -> Tensor:
        """Choose the kept samples, bool [N]."""
        if len(self.scores) != num_samples:
            raise ValueError(
                f'{self.path} has {len(self.scores)} scores, but the training dataset has '
                f'{num_samples} samples; write a file for this dataset with '
                'mm-infobatch scores, or change policy.path'
            )
        generator = torch.Generator().manual_seed(self.seed)
        scores = -self.scores if self.reverse else self.scores
        if self.labels is None:
            marked = mark_highest(scores, self.count, generator)
        else:
            marked = torch.zeros(num_samples, dtype=torch.bool)
            for rows, count in self._classes():
                marked[rows] = mark_highest(scores[rows], count, generator)
        if self._file_weights is not None and self.rescale is not False:
            self._weights = self._scaled(marked)
        return marked

    def _classes(self) -> Any:
        """The samples of each class and how many of them are kept."""
        _, classes, sizes = np.unique(self.labels, return_inverse=True, return_counts=True)
        order = torch.from_numpy(np.argsort(classes.reshape(-1), kind='stable'))
        return zip(order.split(sizes.tolist()), divide_among_classes(sizes, self.count).tolist())

    def _scaled(self, marked: Tensor) -> Tensor:
        """The weights of the file, float32 [N], scaled so that those of the kept samples sum to N.

        Raises:
            ValueError: If the weight of a kept sample is 0, or becomes 0 in float32.
        """
        weights = torch.from_numpy(self._file_weights).double()
        total = float(weights[marked].sum())
        scaled = (weights * (len(weights) / total if total else 0)).float()
        unweighted = (marked & (scaled == 0)).nonzero()
        if len(unweighted):
            sample = int(unweighted[0])
            raise ValueError(
                f'{self.path} has the weight {float(weights[sample]):.3g} for sample {sample}, '
                f'which is among the {self.count} kept ones, whose weights sum to {total:.3g}: it '
                'would not be trained; write rescale=False for weights of 1'
            )
        return scaled

    def __repr__(self) -> str:
        more = ', reverse=True' if self.reverse else ''
        more += '' if self.labels is None else ', per_class=True'
        more += f', seed={self.seed}' if self.seed else ''
        return (
            f'FromFile(path={self.path!r}, count={self.count}{more}, rescale={self.rescale!r}, '
            f'sha256={self.digest})'
        )
