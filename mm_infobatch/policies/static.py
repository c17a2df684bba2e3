"""Static pruning, the baselines: keeps the same samples in every pass."""

import math
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..arguments import (
    require_bool,
    require_rescale,
    require_scores,
    require_seed,
    require_share,
)
from ..registry import PRUNING_POLICIES
from .drawing import keep_highest, keep_marked, weigh
from .plan import Plan


class _Static:
    """A policy that chooses its samples once, whatever their scores."""

    rescale: Union[bool, str]
    _kept: Optional[Tensor] = None

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
        return Plan(indices, weigh(weights, self.rescale), len(scores))


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
        marked[order[: math.ceil(num_samples * self.keep)]] = True
        return marked

    def __repr__(self) -> str:
        return f'StaticRandom(keep={self.keep:g}, seed={self.seed}, rescale={self.rescale!r})'


@PRUNING_POLICIES.register_module()
class FromFile(_Static):
    """Keep the samples with the highest scores in a file during the whole run.

    For scores of an earlier run, such as EL2N (`Paul et al. 2021
    <https://arxiv.org/abs/2107.07075>`_) or forgetting counts (`Toneva et al. 2018
    <https://arxiv.org/abs/1812.05159>`_), which ``mm-infobatch scores`` writes. The other
    samples are never trained, not even in the first pass. Also set ``sampler.delta=1``, or
    annealing trains on all samples. O(N) once, without a sort. Ties, which are common among
    forgetting counts, are broken at random.

    Args:
        path (str): A ``.npy`` file with one number a sample, in the order of the dataset.
        keep (float): The share of the samples that is kept, in (0, 1]. Defaults to 0.7.
        reverse (bool): Whether to keep the lowest scores instead. Defaults to False.
        seed (int): The seed that breaks ties. Defaults to 0.
        rescale (bool or str): True for weights of N/K; False and ``'normalized'`` for weights of
            1. Defaults to False.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the file does not exist or does not hold a finite number for each sample.
    """

    def __init__(
        self,
        path: str,
        keep: float = 0.7,
        reverse: bool = False,
        seed: int = 0,
        rescale: Union[bool, str] = False,
    ) -> None:
        line = "policy=dict(type='FromFile', path='el2n.npy', keep=0.7"
        self.keep = require_share('keep', keep, f'{line})', one=True)
        if not isinstance(path, (str, Path)):
            raise TypeError(f'path has to be the name of a file, but is {path!r}; write {line})')
        require_bool('reverse', reverse, f'{line}, reverse=True)')
        require_seed(seed, f'{line}, seed=0)')
        self.path, self.reverse, self.seed = str(path), reverse, seed
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')
        self.values = read_scores(self.path)

    def choose(self, num_samples: int) -> Tensor:
        """Choose the kept samples, bool [N]."""
        if len(self.values) != num_samples:
            raise ValueError(
                f'{self.path} has {len(self.values)} scores, but the training dataset has '
                f'{num_samples} samples; write a file for this dataset with '
                'mm-infobatch scores, or change policy.path'
            )
        generator = torch.Generator().manual_seed(self.seed)
        values = -self.values if self.reverse else self.values
        return keep_highest(values, math.ceil(num_samples * self.keep), generator)

    def __repr__(self) -> str:
        more = ', reverse=True' if self.reverse else ''
        return f'FromFile(path={self.path!r}, keep={self.keep:g}{more}, rescale={self.rescale!r})'


def read_scores(path: str) -> Tensor:
    """Read a file of scores.

    Args:
        path (str): A ``.npy`` file.

    Returns:
        Tensor: float32 [N].

    Raises:
        ValueError: If the file does not exist or does not hold a finite number for each sample.
    """
    write = 'write it with mm-infobatch scores, or change policy.path'
    if not Path(path).is_file():
        raise ValueError(f'the file of scores {path!r} does not exist; {write}')
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f'{path} is not a .npy file of numbers ({error}); {write}') from error
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in 'fiu':
        raise ValueError(
            f'{path} has to contain an array of numbers of shape [N], but contains '
            f'{getattr(values, "dtype", type(values).__name__)} of shape '
            f'{getattr(values, "shape", "?")}; {write}'
        )
    scores = torch.from_numpy(values.astype(np.float32))
    if not bool(torch.isfinite(scores).all()):
        raise ValueError(f'{path} contains a NaN or infinite score; {write}')
    return scores
