"""What one pass trains on."""

import math
from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from ..arguments import require_count, require_integer


@dataclass(frozen=True)
class Plan:
    """The samples that one pass trains on, and how much each of them counts.

    Args:
        indices (Tensor): The kept samples, int64 [K], strictly ascending.
        weights (Tensor): The factor on the loss of each of them, float32 [K], beside ``indices``.
        num_samples (int): N, the length of the dataset that was chosen from.
        threshold (float, optional): The score below which a sample was well-learned, for the log.
            Defaults to None: the policy has none, or no sample has a score yet.

    Raises:
        TypeError: If ``indices`` or ``weights`` is no tensor, ``num_samples`` no integer, or
            ``threshold`` no number.
        ValueError: If the shapes, types or values are not as above.
    """

    indices: Tensor
    weights: Tensor
    num_samples: int
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        for name in ('indices', 'weights'):
            if not isinstance(getattr(self, name), Tensor):
                raise TypeError(
                    f'Plan.{name} has to be a tensor, but is a '
                    f'{type(getattr(self, name)).__name__}; write '
                    'Plan(torch.tensor(indices), torch.tensor(weights), num_samples)'
                )
        require_integer('Plan.num_samples', self.num_samples, 'Plan(indices, weights, len(scores))')
        if self.threshold is not None and not isinstance(self.threshold, (int, float)):
            raise TypeError(
                f'Plan.threshold has to be None or a number, but is '
                f'{self.threshold!r}; leave it out'
            )
        if self.indices.dtype != torch.int64 or self.indices.ndim != 1 or not len(self.indices):
            raise ValueError(
                'Plan.indices has to be a non-empty int64 tensor of shape [K], but is '
                f'{self.indices.dtype} of shape {tuple(self.indices.shape)}'
            )
        if self.weights.dtype != torch.float32 or self.weights.shape != self.indices.shape:
            raise ValueError(
                f'Plan.weights has to be a float32 tensor of shape {tuple(self.indices.shape)}, '
                f'one weight an index, but is {self.weights.dtype} of shape '
                f'{tuple(self.weights.shape)}'
            )
        first, last = int(self.indices[0]), int(self.indices[-1])
        ascending = self.indices.numpy()
        if first < 0 or last >= self.num_samples or not (ascending[1:] > ascending[:-1]).all():
            raise ValueError(
                'Plan.indices has to be strictly ascending within the dataset of '
                f'{self.num_samples} samples, but goes from {first} to {last}; sort them and '
                'name each sample once'
            )
        least, greatest = torch.aminmax(self.weights)  # NaN, if there is one
        if not 0 < float(least) <= float(greatest) < math.inf:
            raise ValueError(
                'Plan.weights has to be finite and above 0; leave a sample out of Plan.indices '
                'instead of giving it the weight 0'
            )

    @classmethod
    def full(cls, num_samples: int) -> 'Plan':
        """The plan that keeps all ``num_samples`` samples at weight 1."""
        require_integer('num_samples', num_samples, 'Plan.full(len(dataset))')
        require_count('num_samples', num_samples)
        return cls(torch.arange(num_samples), torch.ones(num_samples), num_samples)

    @property
    def kept(self) -> int:
        """int: K, how many samples the pass trains on."""
        return len(self.indices)

    @property
    def pruned(self) -> int:
        """int: N - K, how many samples the pass skips."""
        return self.num_samples - self.kept
