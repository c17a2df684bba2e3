"""The samples of a pass, in the order in which they are trained, in few bytes."""

import itertools
import math
from typing import Any, Callable, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..policies import Plan

# Python integers are made of so many indices at a time: 40 bytes each, were all of them made.
BLOCK = 1 << 14


class Weights:
    """Weights of K samples, float32, in 0, 1 or 4 bytes each: all 1, two values, or any.

    Args:
        marks (Tensor, optional): What tells them: bool [K] for two values, float32 [K] for the
            weights themselves, None for weights of 1.
        length (int): K.
        values (Tensor): float32 [2], the weight of an unmarked and of a marked sample.
    """

    def __init__(self, marks: Optional[Tensor], length: int, values: Tensor) -> None:
        self._marks, self._length, self._values = marks, length, values

    @classmethod
    def of(cls, weights: Tensor) -> 'Weights':
        """Weights, float32 [K], as they are told in the fewest bytes."""
        values = torch.stack(torch.aminmax(weights))
        low, high = values.tolist()
        if low == high == 1:
            return cls(None, len(weights), values)
        marks = weights == values[1]
        two = bool(((weights == values[0]) | marks).all())
        return cls(marks if two else weights, len(weights), values)

    def __len__(self) -> int:
        return self._length

    @property
    def uniform(self) -> bool:
        """bool: Whether all of them are 1."""
        return self._marks is None

    def apply(self, function: Callable[[Tensor], Tensor]) -> 'Weights':
        """What a function that chooses from a tensor [K] makes of them."""
        if self._marks is None:
            marks = function(torch.ones(1).expand(self._length))
            return Weights(None, len(marks), self._values)
        marks = function(self._marks)
        return Weights(marks, len(marks), self._values)

    def to(self, device: torch.device) -> 'Weights':
        """The same on a device."""
        marks = None if self._marks is None else self._marks.to(device)
        return Weights(marks, self._length, self._values.to(device))

    def cut(self, begin: int = 0, end: Optional[int] = None) -> Tensor:
        """A piece of them, float32; it may not be a copy."""
        if self._marks is None:
            return self._values[:1].expand(self._length)[begin:end]
        marks = self._marks[begin:end]
        return (
            torch.where(marks, self._values[1], self._values[0])
            if (marks.dtype == torch.bool)
            else marks
        )


class PassOrder:
    """The kept samples of a pass in order, with their weights.

    It holds 4 bytes a kept sample (8 where a dataset has 2**31 samples or more), and what
    :class:`Weights` holds. What it hands out is int64 and float32.

    Args:
        order (Tensor): Integers [K], the kept samples in the order of the pass.
        weights (Weights): Beside ``order``.
        num_samples (int): N, the length of the dataset.
        threshold (float, optional): That of the plan. Defaults to None.
    """

    def __init__(
        self, order: Tensor, weights: Weights, num_samples: int, threshold: Optional[float] = None
    ) -> None:
        self._order = order.to(index_type(num_samples))
        self._weights = weights
        self.num_samples = num_samples
        self.threshold = threshold

    @classmethod
    def of(cls, plan: Optional[Plan], order: Tensor) -> 'PassOrder':
        """Restrict an order of the whole dataset to what a plan keeps.

        Args:
            plan (Plan, optional): The plan; None keeps everything at weight 1.
            order (Tensor): Integers [N], all samples.
        """
        num_samples = len(order)
        if plan is None:
            return cls(order, Weights(None, num_samples, torch.ones(2)), num_samples)
        weights = Weights.of(plan.weights)
        if not plan.pruned and weights.uniform:
            return cls(order, weights, num_samples, plan.threshold)
        # By numpy: torch takes several times as long for masks and for indices of 32 bits.
        places, numbers = plan.indices.numpy(), order.numpy()

        def reordered(marks: Tensor) -> Tensor:
            """Marks of the kept samples in the order of the pass, by way of the dataset's."""
            two = marks.dtype == torch.bool
            by_index = np.zeros(num_samples, np.uint8 if two else np.float32)
            by_index[places] = marks.numpy().view(np.uint8) + np.uint8(1) if two else marks.numpy()
            found = np.take(by_index, numbers)
            kept.append(found > 0)
            found = np.compress(kept[0], found)
            return torch.from_numpy(found > 1 if two else found)

        kept: List[Any] = []
        weights = (
            weights
            if not weights.uniform
            else Weights(torch.zeros(plan.kept, dtype=torch.bool), plan.kept, torch.ones(2))
        ).apply(reordered)
        return cls(
            torch.from_numpy(np.compress(kept[0], numbers)), weights, num_samples, plan.threshold
        )

    @property
    def kept(self) -> int:
        """int: K."""
        return len(self._order)

    @property
    def uniform(self) -> bool:
        """bool: Whether every weight of the pass is 1."""
        return self._weights.uniform

    def rearranged(self, places: Tensor) -> 'PassOrder':
        """The same samples in another order, int64 [K] places of this one."""
        return PassOrder(
            self._order[places],
            self._weights.apply(lambda marks: marks[places]),
            self.num_samples,
            self.threshold,
        )

    def indices(self, begin: int = 0, end: Optional[int] = None) -> Tensor:
        """A piece of the order, int64."""
        return self._order[begin:end].long()

    def weights(self) -> Tensor:
        """The weights of the whole pass, float32 [K]."""
        return self._weights.cut()

    def plan(self) -> Plan:
        """The samples and weights in the order of the dataset."""
        by_index = torch.zeros(self.num_samples)
        by_index[self.indices()] = self.weights()
        indices = torch.from_numpy(np.flatnonzero(by_index.numpy()))
        return Plan(indices, by_index[indices], self.num_samples, self.threshold)

    def share(self, start: int, rank: int, world_size: int) -> Tuple[Tensor, Weights]:
        """What a rank trains from ``start`` on.

        Returns:
            tuple[Tensor, Weights]: Integers [M] in order, and their weights [M]; M is the same on
            every rank. They may share memory with this object.
        """

        def mine(whole: Tensor) -> Tensor:
            return round_up(whole[start:], whole, world_size)[rank::world_size]

        return mine(self._order), self._weights.apply(mine)


def index_type(num_samples: int) -> torch.dtype:
    """The smallest type of integers that indexes so many samples: int32 or int64."""
    return torch.int32 if num_samples < 2**31 else torch.int64


def as_integers(indices: Tensor) -> Iterator[int]:
    """Python integers of a tensor [M], made block by block as they are asked for."""
    blocks = (block.tolist() for block in indices.split(BLOCK))
    return itertools.chain.from_iterable(blocks)


def round_up(due: Tensor, whole: Tensor, world_size: int) -> Tensor:
    """Extend ``due`` to a multiple of the world size as ``DefaultSampler`` does.

    Args:
        due (Tensor): [M], what is still to be handed out, the end of ``whole``.
        whole (Tensor): [K], the whole pass, whose beginning fills up the last round.
        world_size (int): W.

    Returns:
        Tensor: [ceil(M / W) * W].
    """
    missing = -len(due) % world_size
    if not missing:
        return due
    return torch.cat([due, whole.repeat(math.ceil(missing / len(whole)))[:missing]])
