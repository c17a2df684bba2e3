"""Static pruning, the baselines: the same subset in every pass."""

import math
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_rescale, require_share
from ..registry import PRUNING_POLICIES
from .drawing import keep_highest, weigh
from .plan import Plan


def plan_subset(marked: Tensor, rescale: Union[bool, str]) -> Plan:
    """The plan that keeps the marked samples, bool [N], at the weight N/K before ``rescale``."""
    indices = marked.nonzero().squeeze(1)
    weights = torch.full((len(indices),), len(marked) / len(indices))
    return Plan(indices, weigh(weights, rescale), len(marked))


class _Static:
    """A subset that is chosen once, from the number of samples."""

    rescale: Union[bool, str]
    _subset: Optional[Tensor] = None

    def choose(self, num_samples: int) -> Tensor:
        """Choose the subset, bool [N]."""
        raise NotImplementedError

    def plan(self, scores: Tensor, generator: torch.Generator) -> Plan:
        """Keep the subset.

        Args:
            scores (Tensor): float32 [N], of which only the number matters.
            generator (torch.Generator): Not used: each pass has the same samples.

        Returns:
            Plan: The kept samples and their weights.
        """
        if self._subset is None or len(self._subset) != len(scores):
            self._subset = self.choose(len(scores))
        return plan_subset(self._subset, self.rescale)


@PRUNING_POLICIES.register_module()
class StaticRandom(_Static):
    """Keep one random subset during the whole run.

    ``Random`` of `InfoBatch, Table 1 <https://arxiv.org/abs/2303.04947>`_. The other samples are
    never seen, the first pass included: it is the only kind of policy that skips samples without
    a score. Set ``sampler.delta=1`` beside it, or annealing trains on all samples. O(N) once.

    Args:
        keep (float): The share that is kept, in (0, 1]. Defaults to 0.7.
        seed (int): Which subset; it does not depend on the seed of the run. Defaults to 0.
        rescale (bool or str): False for weights of 1, True for weights of N/K. Defaults to False.

    Raises:
        TypeError: If ``keep`` is no number or ``seed`` no integer.
        ValueError: If an argument is out of range.
    """

    def __init__(self, keep: float = 0.7, seed: int = 0, rescale: Union[bool, str] = False) -> None:
        line = "policy=dict(type='StaticRandom', keep=0.7"
        self.keep = require_share('keep', keep, f'{line})', one=True)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f'seed has to be an integer, but is {seed!r}; write {line}, seed=0)')
        self.seed = seed
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')

    def choose(self, num_samples: int) -> Tensor:
        """Choose the subset, bool [N]."""
        order = torch.randperm(num_samples, generator=torch.Generator().manual_seed(self.seed))
        marked = torch.zeros(num_samples, dtype=torch.bool)
        marked[order[: math.ceil(num_samples * self.keep)]] = True
        return marked

    def __repr__(self) -> str:
        return f'StaticRandom(keep={self.keep:g}, seed={self.seed}, rescale={self.rescale!r})'


@PRUNING_POLICIES.register_module()
class FromFile(_Static):
    """Keep the samples of the highest scores of a file during the whole run.

    For scores that were made before, such as EL2N (`Paul et al. 2021
    <https://arxiv.org/abs/2107.07075>`_) or forgetting counts (`Toneva et al. 2018
    <https://arxiv.org/abs/1812.05159>`_), which ``mm-infobatch scores`` writes. The other
    samples are never seen, the first pass included. Set ``sampler.delta=1`` beside it, or
    annealing trains on all samples. O(N) once, without a sort; among equal scores at the edge,
    as forgetting counts have them, chance decides.

    Args:
        path (str): A ``.npy`` file with one number a sample, in the order of the dataset.
        keep (float): The share that is kept, in (0, 1]. Defaults to 0.7.
        reverse (bool): Whether to keep the lowest scores instead. Defaults to False.
        seed (int): Which of equal scores are kept. Defaults to 0.
        rescale (bool or str): False for weights of 1, True for weights of N/K. Defaults to False.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the file holds no such numbers, or not one for each sample.
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
        for name, value, kind in (('reverse', reverse, bool), ('seed', seed, int)):
            if not isinstance(value, kind) or kind is int and isinstance(value, bool):
                raise TypeError(
                    f'{name} has to be of type {kind.__name__}, but is {value!r}; write {line})'
                )
        self.path, self.reverse, self.seed = str(path), reverse, seed
        self.rescale = require_rescale(rescale, f'{line}, rescale=False)')
        self.values = read_scores(self.path)

    def choose(self, num_samples: int) -> Tensor:
        """Choose the subset, bool [N]."""
        if len(self.values) != num_samples:
            raise ValueError(
                f'{self.path} has {len(self.values)} scores, but the training dataset has '
                f'{num_samples} samples: scores belong to samples by their place; write the file '
                'for this dataset with mm-infobatch scores, or change policy.path'
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
        ValueError: If there is no such file, or it does not hold one finite number a sample.
    """
    write = 'write it with mm-infobatch scores, or change policy.path'
    if not Path(path).is_file():
        raise ValueError(f'there is no file {path!r} of scores; {write}')
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f'{path} is no .npy file of numbers ({error}); {write}') from error
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in 'fiu':
        raise ValueError(
            f'{path} has to hold an array of numbers of shape [N], but holds '
            f'{getattr(values, "dtype", type(values).__name__)} of shape '
            f'{getattr(values, "shape", "?")}; {write}'
        )
    scores = torch.from_numpy(values.astype(np.float32))
    if not bool(torch.isfinite(scores).all()):
        raise ValueError(f'{path} holds a NaN or infinite score; {write}')
    return scores
