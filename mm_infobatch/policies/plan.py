"""The samples that one pass trains on."""

import math
from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from ..arguments import require_count, require_integer


@dataclass(frozen=True)
class Plan:
    """The samples that one pass trains on, and the weight of each.

    Args:
        indices (Tensor): The kept samples, int64 [K], strictly ascending.
        weights (Tensor): The factor on the loss of each kept sample, float32 [K].
        num_samples (int): N, the length of the dataset.
        threshold (float, optional): The score below which a sample is well-learned, for the log.
            Defaults to None: the policy has none, or no sample has a score yet.

    Raises:
        TypeError: If ``indices`` or ``weights`` is not a tensor, ``num_samples`` not an integer,
            or ``threshold`` not a number.
        ValueError: If a shape, dtype or value is not as described above.
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
                f'Plan.threshold has to be None or a number, but is {self.threshold!r}; leave it '
                'out'
            )
        if self.indices.dtype != torch.int64 or self.indices.ndim != 1 or not len(self.indices):
            raise ValueError(
                'Plan.indices has to be a non-empty int64 tensor of shape [K], but is '
                f'{self.indices.dtype} of shape {tuple(self.indices.shape)}'
            )
        if self.weights.dtype != torch.float32 or self.weights.shape != self.indices.shape:
            raise ValueError(
                f'Plan.weights has to be a float32 tensor of shape {tuple(self.indices.shape)}, '
                f'that of Plan.indices, but is {self.weights.dtype} of shape '
                f'{tuple(self.weights.shape)}'
            )
        first, last = int(self.indices[0]), int(self.indices[-1])
        ascending = self.indices.numpy()
        if first < 0 or last >= self.num_samples or not (ascending[1:] > ascending[:-1]).all():
            raise ValueError(
                'Plan.indices has to be strictly ascending within the dataset of '
                f'{self.num_samples} samples, but goes from {first} to {last}; sort the indices '
                'and remove duplicates'
            )
        least, greatest = torch.aminmax(self.weights)  # both are NaN if any weight is
        if not 0 < float(least) <= float(greatest) < math.inf:
            raise ValueError(
                'Plan.weights has to be finite and above 0; to skip a sample, leave its index out '
                'of Plan.indices'
            )

    @classmethod
    def full(cls, num_samples: int) -> 'Plan':
        """The plan that keeps all ``num_samples`` samples at weight 1."""
        require_integer('num_samples', num_samples, 'Plan.full(len(dataset))')
        require_count('num_samples', num_samples)
        return cls(torch.arange(num_samples), torch.ones(num_samples), num_samples)

    @property
    def kept(self) -> int:
        """int: K, the number of samples that the pass trains on."""
        return len(self.indices)

    @property
    def pruned(self) -> int:
        """int: N - K, the number of samples that the pass skips."""
        return self.num_samples - self.kept
