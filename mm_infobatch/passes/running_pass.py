"""The pass that is being trained: this rank's weights and losses on the device."""

from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

from ..sampler import InfoBatchSampler
from .scores import gather_in_order


class RunningPass:
    """What one process trains of a pass, and what it has seen of it.

    The weights go to the device and the losses stay there; both are cut by position, so a training
    step moves nothing and waits for nothing. Losses of all ranks come together in :meth:`merge`,
    once a pass, and in :meth:`gather`, for a checkpoint in the middle of one.

    Args:
        sampler (InfoBatchSampler): The sampler, whose pass has begun or has been taken up.
        device (torch.device): Where the model is.
        merged (int): How many samples of the pass, over all ranks, have their losses in the score
            table. Defaults to 0.
        earlier (Tensor, optional): The losses of those that come after, float32 [sampler.start -
            merged], from a checkpoint. Defaults to None: none.

    Attributes:
        done (int): How many samples of this rank's share have been trained.
        kept_share (float): The share of the dataset that the pass keeps, in (0, 1].
        uniform (bool): Whether every weight of the pass is 1, on all ranks and from its beginning
            on: a run that is resumed behind the last other weight goes on as before.
    """

    def __init__(
        self,
        sampler: InfoBatchSampler,
        device: torch.device,
        merged: int = 0,
        earlier: Optional[Tensor] = None,
    ) -> None:
        self.sampler = sampler
        self._order = sampler.order
        indices, weights = sampler.small_share()
        self._indices = indices.numpy()
        self._start = sampler.start
        self.uniform = self._order.uniform
        self._weights = weights.to(device)
        self._block, self._block_begin, self._block_end = self._weights.cut(0, 0), 0, 0
        self._losses = torch.full((len(weights),), float('nan'), device=device)
        self.kept_share = self._order.kept / self._order.num_samples
        self.done = 0
        self._merged = merged
        self._merged_at = 0  # what ``done`` was then
        self._earlier = torch.empty(0) if earlier is None else earlier.float().cpu()
        self._gathered: Optional[Tensor] = None

    @property
    def consumed(self) -> int:
        """int: How many samples of the pass have been trained, over all ranks."""
        return self._start + self.done * self.sampler.world_size

    @property
    def trained(self) -> int:
        """int: The same, without those that fill up the last round of the ranks."""
        return min(self.consumed, self._order.kept)

    def weights(self, batch_size: int) -> Tensor:
        """The weights of the next batch, float32 [B] on the device; shorter at the end."""
        end = self.done + batch_size
        if not self._block_begin <= self.done <= end <= self._block_end:
            self._block_begin, self._block_end = self.done, self.done + 64 * batch_size
            self._block = self._weights.cut(self._block_begin, self._block_end)
        return self._block[self.done - self._block_begin : end - self._block_begin]

    def indices(self, batch_size: int) -> List[int]:
        """The samples of the next batch."""
        return self._indices[self.done : self.done + batch_size].tolist()

    def add(self, losses: Tensor) -> None:
        """Take the losses of the batch, float32 [B] on the device."""
        self._losses[self.done : self.done + len(losses)] = losses
        self.done += len(losses)
        self._gathered = None

    def gather(self) -> None:
        """Collect what all ranks have seen since the last merge; a collective."""
        if self._gathered is None:
            seen = gather_in_order(self._losses[self._merged_at : self.done])
            self._gathered = torch.cat([self._earlier, seen])

    def merge(self) -> None:
        """Put what all ranks have seen since the last merge into the score table; a collective."""
        if self._merged >= self.consumed:
            return
        self.gather()
        assert self._gathered is not None
        # A sample that fills up the last round has been seen before, so it is left out.
        indices = self._order.indices(self._merged, self.consumed)
        self.sampler.scores.update(indices, self._gathered[: len(indices)])
        self._merged, self._merged_at = self.consumed, self.done
        self._earlier = self._gathered = torch.empty(0)

    @property
    def complete(self) -> bool:
        """bool: Whether this process knows the losses of all ranks."""
        return self._gathered is not None or self.sampler.world_size == 1

    def state_dict(self) -> Dict[str, Any]:
        """The state: the sampler's, and the losses that are not in the score table yet.

        Where they were not gathered, those of the other ranks are NaN: not seen.

        Returns:
            dict: ``sampler``, ``merged`` (int) and ``losses`` (float32 [consumed - merged]).
        """
        losses = self._gathered
        if losses is None:
            mine = self._losses[self._merged_at : self.done].cpu()
            seen = torch.full((len(mine), self.sampler.world_size), float('nan'))
            seen[:, self.sampler.rank] = mine
            losses = torch.cat([self._earlier, seen.reshape(-1)])
        return dict(
            sampler=self.sampler.state_dict(self.consumed),
            merged=self._merged,
            losses=losses.clone(),
        )

    @classmethod
    def resume(
        cls, sampler: InfoBatchSampler, device: torch.device, state_dict: Dict[str, Any]
    ) -> 'RunningPass':
        """Take up the pass of a checkpoint, on this number of ranks.

        Args:
            sampler (InfoBatchSampler): The sampler, which takes over the checkpoint's pass.
            device (torch.device): Where the model is.
            state_dict (dict): What :meth:`state_dict` gave.
        """
        sampler.load_state_dict(state_dict['sampler'])
        return cls(sampler, device, int(state_dict['merged']), state_dict['losses'])
