"""The pass that is being trained: this rank's weights and losses on the device."""

import time
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from torch import Tensor

from .batch_scores import batch_scores
from .batch_shape import BatchShape
from .order import PassOrder
from .scores import ScoreTable, gather_in_order


class RunningPass:
    """The weights and the losses of the pass that this process trains.

    The weights are moved to the device once, and the losses stay there. A training step slices both
    by position, so it copies nothing and does not wait for the device. :meth:`merge` collects the
    losses of all ranks once a pass, and :meth:`gather` for a checkpoint in the middle of a pass.

    Args:
        order (PassOrder): The pass.
        scores (ScoreTable): Where :meth:`merge` puts the losses.
        device (torch.device): Where the losses are computed.
        rank (int): This process. Defaults to 0.
        shape (BatchShape, optional): How the pass is cut into batches. Defaults to None: batches
            of 1 on one rank.
        start (int): How many samples of the pass, over all ranks, were trained before a resume.
            Defaults to 0.
        merged (int): How many of them have their losses in the score table. Defaults to 0.
        earlier (Tensor, optional): The losses of the rest of them, float32 [start - merged], from
            the checkpoint. Defaults to None: there are none.
        batch_score (str, optional): What a score is, see
            :func:`~mm_infobatch.passes.batch_scores.batch_scores`. Defaults to None: the loss.

    Attributes:
        rank_trained (int): How many samples this rank has trained since ``start``.
        mean_weight (float): The mean weight of the pass: N/K, or 1 if weights are normalized.
        seconds (float): The time that :meth:`merge` spent in the score table and the policy, not
            counting the wait for the losses.
        uniform (bool): Whether every weight of the whole pass is 1, on all ranks. It is the same
            wherever the pass is resumed, so that a resumed run trains as the uninterrupted one.
    """

    def __init__(
        self,
        order: PassOrder,
        scores: ScoreTable,
        device: torch.device,
        rank: int = 0,
        shape: Optional[BatchShape] = None,
        start: int = 0,
        merged: int = 0,
        earlier: Optional[Tensor] = None,
        batch_score: Optional[str] = None,
    ) -> None:
        self._order, self._scores, self._batch_score = order, scores, batch_score
        self._shape = shape = shape or BatchShape()
        self._rank, self._start = rank, start
        indices, weights = order.of_rank(start, rank, shape)
        self._indices = indices.numpy()
        self._weights = weights.to(device)
        self._losses = torch.full((len(weights),), float('nan'), device=device)
        self.uniform = order.uniform
        self.mean_weight = (
            1.0 if order.uniform else float(np.mean(order.weights.numpy(), dtype=np.float64))
        )
        self.rank_trained = 0
        self.seconds = 0.0
        self._merged = merged
        self._merged_at = 0  # the value of ``rank_trained`` at the last merge
        self._earlier = torch.empty(0) if earlier is None else earlier.float().cpu()
        self._gathered: Optional[Tensor] = None

    @classmethod
    def of(cls, sampler: Any, device: torch.device, **kwargs: Any) -> 'RunningPass':
        """The pass of an ``InfoBatchSampler``, on its rank and from where it stands."""
        return cls(
            sampler.order,
            sampler.scores,
            device,
            sampler.rank,
            sampler.shape,
            sampler.start,
            batch_score=sampler.batch_score,
            **kwargs,
        )

    @property
    def consumed(self) -> int:
        """int: How many samples of the pass have been trained, over all ranks, repeated ones
        included."""
        return self._start + self.rank_trained * self._shape.world_size

    @property
    def trained(self) -> int:
        """int: How many samples of the pass have been trained, over all ranks."""
        return min(self.consumed, self._order.kept)

    def weights(self, batch_size: int) -> Tensor:
        """The weights of the next batch, float32 [B] on the device; shorter at the end."""
        return self._weights[self.rank_trained : self.rank_trained + batch_size]

    def indices(self, batch_size: int) -> List[int]:
        """The samples of the next batch."""
        return self._indices[self.rank_trained : self.rank_trained + batch_size].tolist()

    def add(self, losses: Tensor) -> None:
        """Store the losses of the batch, float32 [B] on the device."""
        scores = batch_scores(self._batch_score, losses)
        self._losses[self.rank_trained : self.rank_trained + len(losses)] = scores
        self.rank_trained += len(losses)
        self._gathered = None

    def gather(self) -> None:
        """Collect the losses of all ranks since the last merge; a collective."""
        if self._gathered is None:
            losses = gather_in_order(self._losses[self._merged_at : self.rank_trained])
            self._gathered = torch.cat([self._earlier, losses]) if len(self._earlier) else losses

    def merge(self) -> None:
        """Write the losses of all ranks since the last merge to the score table; a collective."""
        if self._merged >= self.consumed:
            return
        self.gather()
        assert self._gathered is not None
        # Samples that are repeated at the end of a pass are left out: the first loss counts.
        indices = self._order.indices[self._merged : self.consumed]
        began = time.perf_counter()
        self._scores.update(indices, self._gathered[: len(indices)])
        self.seconds += time.perf_counter() - began
        pass_ended = not self._shape.rank_iters(len(self._weights) - self.rank_trained)
        if pass_ended and self._scores.tracker is not None:
            self._scores.tracker.end_pass()
        self._merged, self._merged_at = self.consumed, self.rank_trained
        self._earlier = self._gathered = torch.empty(0)

    @property
    def complete(self) -> bool:
        """bool: Whether this process knows the losses of all ranks."""
        return self._gathered is not None or self._shape.world_size == 1

    def state_dict(self) -> Dict[str, Any]:
        """The losses that are not in the score table yet.

        Where they were not gathered, those of the other ranks are NaN: not seen.

        Returns:
            dict: ``merged`` (int) and ``losses`` (float32 [consumed - merged]).
        """
        losses = self._gathered
        if losses is None:
            own = self._losses[self._merged_at : self.rank_trained].cpu()
            by_rank = torch.full((len(own), self._shape.world_size), float('nan'))
            by_rank[:, self._rank] = own
            losses = torch.cat([self._earlier, by_rank.reshape(-1)])
        return dict(merged=self._merged, losses=losses.clone())
