"""Where a run stands when a pass is planned, for policies that plan a run as a whole."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """Where a run stands when one of its passes is planned. Counts are over all ranks.

    Args:
        index (int): The pass, from 0.
        walked (int): Steps of the schedule that are done. A step is an iteration of the unpruned
            run under ``budget='passes'`` and a real iteration under ``budget='iterations'``.
        total (int): Steps of the whole schedule.
        pass_length (int): Steps of a pass over all data.
        full (int): Samples that a pass over all data trains; N without ``drop_last``.
        delta (float): The share of the schedule in which passes may prune.
        first (int): The first pass that may prune: the one before has to see all samples.
        trained (int): Samples trained in the passes before.
        skipped (int): Samples that these passes skipped.
        by_iterations (bool): Whether the budget is ``'iterations'``. Defaults to False.
        batch (int): Samples of an iteration. Defaults to 1.
        drop_last (bool): Whether what does not fill an iteration is left out. Defaults to False.
    """

    index: int
    walked: int
    total: int
    pass_length: int
    full: int
    delta: float
    first: int = 1
    trained: int = 0
    skipped: int = 0
    by_iterations: bool = False
    batch: int = 1
    drop_last: bool = False

    def skips_due(self, saving: float) -> float:
        """How many samples the rest of the run has to skip to save that share of the whole."""
        if self.by_iterations:
            trained = self.trained + (self.total - self.walked) * self.batch
            return trained * saving / (1 - saving) - self.skipped
        return self.full * self.total / self.pass_length * saving - self.skipped

    def passes_left(self, skips: float) -> float:
        """How many passes may still prune, this one included.

        Under ``budget='iterations'`` pruned passes are short, so their number depends on how much
        the rest of the run skips.

        Args:
            skips (float): Samples to skip in them, together.

        Returns:
            float: Their number; a pass that the run ends in the middle of counts for its part.
        """
        if self.by_iterations:
            return self._passes_in_iterations(skips)
        left, start, index = 0.0, self.walked, self.index
        while start < self.total and start / self.total < self.delta:
            if index >= self.first:
                left += min(self.pass_length, self.total - start) / self.pass_length
            start, index = start + self.pass_length, index + 1
        return left

    def _samples_before_annealing(self) -> float:
        """Samples that the run still trains before ``delta``, in passes that may prune."""
        whole = max(0, self.first - self.index) * self.pass_length
        return max(0.0, (self.total * self.delta - self.walked - whole) * self.batch)

    def _passes_in_iterations(self, skips: float) -> float:
        """The most passes n of which the last one begins before ``delta``: the largest n with
        (n - 1) * (full - skips / n) below what is trained before ``delta``."""
        room = self._samples_before_annealing()
        if not room:
            return 0.0
        b = self.full + skips + room
        root = (b + math.sqrt(max(0.0, b * b - 4 * self.full * skips))) / (2 * self.full)
        return max(1.0, math.ceil(root) - 1.0)

    def most_saving(self, least_kept: float) -> float:
        """The largest saving that this run can reach.

        Args:
            least_kept (float): The least share of the samples that a pass keeps, above 0.

        Returns:
            float: The share of the whole run.
        """
        skipped_a_pass = (1 - least_kept) * self.full
        if not self.by_iterations:
            skips = self.passes_left(0.0) * skipped_a_pass + self.skipped
            return skips / (self.full * self.total / self.pass_length)
        passes = math.ceil(self._samples_before_annealing() / (self.full * least_kept))
        trained = self.trained + (self.total - self.walked) * self.batch
        ratio = (passes * skipped_a_pass + self.skipped) / trained
        return ratio / (1 + ratio)
