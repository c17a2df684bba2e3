"""How far a run is when a pass is planned, for policies that plan the whole run."""

import math
from dataclasses import dataclass

from .budgets import snap_to_whole


@dataclass(frozen=True)
class Run:
    """How far a run is when one of its passes is planned. Counts of samples are over all ranks.

    Args:
        pass_index (int): The pass, from 0.
        walked (int): Steps of the schedule that are done. A step is an iteration of the unpruned
            run under ``budget='passes'``, and an iteration of this run under
            ``budget='iterations'``.
        total (int): Steps of the whole schedule.
        pass_length (int): Steps of a pass over all data.
        samples_per_pass (int): Samples that a pass over all data trains: N, without those that
            ``drop_last`` leaves out.
        delta (float): The share of the schedule in which passes may prune.
        first (int): The first pass that may prune; the passes before it train all samples.
            Defaults to 1.
        samples_trained (int): Samples that the earlier passes trained. Defaults to 0.
        samples_skipped (int): Samples that the earlier passes skipped. Defaults to 0.
        by_iterations (bool): Whether the budget is ``'iterations'``. Defaults to False.
        samples_per_iter (int): Samples of an iteration. Defaults to 1.
        drop_last (bool): Whether an incomplete iteration at the end of a pass is left out.
            Defaults to False.
        begin (float): The step at which InfoBatch was switched on; what was trained before is in no
            count. Defaults to 0.
    """

    pass_index: int
    walked: int
    total: int
    pass_length: int
    samples_per_pass: int
    delta: float
    first: int = 1
    samples_trained: int = 0
    samples_skipped: int = 0
    by_iterations: bool = False
    samples_per_iter: int = 1
    drop_last: bool = False
    begin: float = 0.0

    @property
    def _samples_total(self) -> float:
        """Samples that the run trains from ``begin`` on: under ``budget='passes'`` if nothing were
        pruned, under ``budget='iterations'`` in any case."""
        if self.by_iterations:
            return self.samples_trained + (self.total - self.walked) * self.samples_per_iter
        return self.samples_per_pass * (self.total - self.begin) / self.pass_length

    def skips_due(self, saving: float) -> float:
        """How many samples the rest of the run has to skip to save that share of the whole run."""
        if self.by_iterations:
            return self._samples_total * saving / (1 - saving) - self.samples_skipped
        return self._samples_total * saving - self.samples_skipped

    def passes_left(self, skips: float) -> float:
        """How many passes may still prune, including this one.

        Under ``budget='iterations'`` pruned passes take fewer steps, so their number depends on how
        much the rest of the run skips.

        Args:
            skips (float): Samples that these passes skip in total.

        Returns:
            float: Their number; a pass that the run does not finish counts as a fraction.
        """
        if self.by_iterations:
            return self._passes_in_iterations(skips)
        left, start, index = 0.0, self.walked, self.pass_index
        while start / self.total < self.delta:
            if index >= self.first:
                left += min(self.pass_length, self.total - start) / self.pass_length
            start, index = start + self.pass_length, index + 1
        return left

    def _samples_before_annealing(self) -> float:
        """Samples that the run still trains before ``delta``, in passes that may prune."""
        unpruned = max(0, self.first - self.pass_index) * self.pass_length
        return max(0.0, (self.total * self.delta - self.walked - unpruned) * self.samples_per_iter)

    def _passes_in_iterations(self, skips: float) -> float:
        """The number n of passes that begin before ``delta``: the largest n for which
        (n - 1) * (samples_per_pass - skips / n) is below the samples trained before ``delta``."""
        room = self._samples_before_annealing()
        if not room:
            return 0.0
        b = self.samples_per_pass + skips + room
        root = math.sqrt(max(0.0, b * b - 4 * self.samples_per_pass * skips))
        passes = snap_to_whole((b + root) / (2 * self.samples_per_pass))
        return max(1.0, math.ceil(passes) - 1.0)

    def most_saving(self, least_kept: float) -> float:
        """The largest saving that this run can reach.

        Args:
            least_kept (float): The smallest share of the samples that a pass keeps, above 0.

        Returns:
            float: The share of the whole run.
        """
        per_pass = (1 - least_kept) * self.samples_per_pass  # skipped samples
        if not self.by_iterations:
            return (self.passes_left(0.0) * per_pass + self.samples_skipped) / self._samples_total
        room = self._samples_before_annealing()
        passes = math.ceil(snap_to_whole(room / (self.samples_per_pass * least_kept)))
        ratio = (passes * per_pass + self.samples_skipped) / self._samples_total
        return ratio / (1 + ratio)
