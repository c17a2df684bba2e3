"""Gradient accumulation in a run whose last iteration is not known in advance."""

from typing import Any, Optional, Tuple

from ..passes.schedule import PassSchedule


class Accumulation:
    """Tells an optimizer wrapper how many iterations each group of accumulated gradients has.

    A group has ``accumulative_counts`` iterations, and the parameters are updated in its last one.
    Only the last group of a run may be shorter. mmengine computes its length from the length of the
    run when training starts. But a pruned run ends earlier, and a run that continues on fewer ranks
    may end later. So this class sets the length of one group at a time, as far as the end of the
    run is known by then.

    In a run by epoch, groups end with each pass if they do so in the unpruned run, that is if
    ``accumulative_counts`` divides the iterations of a pass over all data. The last group of a
    pruned pass may then be shorter, and a checkpoint after the pass lacks no gradients.

    An :class:`~mmengine.optim.OptimWrapperDict` is not changed: there the model decides how often
    each of the wrappers updates.

    ``accumulative_counts`` and the wrapper are looked up in each iteration, as a hook may change
    them.

    Args:
        runner (Runner): The runner, for its optimizer wrapper.
        schedule (PassSchedule): The schedule of the run.
    """

    def __init__(self, runner: Any, schedule: PassSchedule) -> None:
        self._runner, self._schedule = runner, schedule
        self._length: Optional[int] = None  # of the open group

    @property
    def _counts(self) -> int:
        """int: The iterations of a group."""
        # OptimWrapperDict has none, nor has DeepSpeed's wrapper: the engine accumulates.
        return getattr(self._runner.optim_wrapper, '_accumulative_counts', 1)

    @property
    def _with_passes(self) -> bool:
        """bool: Whether groups end with each pass."""
        return self._schedule.by_epoch and self._schedule.pass_length % self._counts == 0

    def fit(self) -> None:
        """Set the wrapper's counts for the iteration that begins."""
        counts, wrapper = self._counts, self._runner.optim_wrapper
        if counts == 1:
            self._length = None
            return
        done, end = self._position()
        length = min(counts, max(end, done + 1) - done // counts * counts)
        if done % counts and self._length is not None and self._length != length:
            # The last pass is shorter than a group, and began in this one: what has been
            # accumulated was divided by the length that the group was expected to have.
            for param_group in wrapper.optimizer.param_groups:
                for parameter in param_group['params']:
                    if parameter.grad is not None:
                        parameter.grad.mul_(self._length / length)
        self._length = length
        wrapper._inner_count = done
        wrapper._max_counts = done // counts * counts + length  # of this group
        wrapper._remainder_counts = length % counts

    def _position(self) -> Tuple[int, int]:
        """The iterations done, and those at which groups end, since a group began."""
        schedule = self._schedule
        if not self._with_passes:
            return schedule.iters, schedule.expected_iters
        return schedule.pass_iter, schedule.pass_iters

    def warning(self) -> Optional[str]:
        """Describe the accumulated gradients that a resumed run has lost.

        Returns:
            str, optional: A warning, if mmengine gives none or a wrong one.
        """
        counts, schedule = self._counts, self._schedule
        if counts == 1 or not self._with_passes:
            return None
        lost = 0 if schedule.pass_ended else schedule.pass_iter % counts
        if lost:
            return (
                f'the checkpoint was written after {lost} of the {counts} iterations of a group '
                'of accumulated gradients, which no checkpoint holds: the rest of the group '
                'updates without them. A checkpoint after an epoch loses none'
            )
        if schedule.iters % counts:
            return (
                'no gradients are lost, though mmengine warns of it: groups of accumulated '
                'gradients end with each epoch'
            )
        return None
