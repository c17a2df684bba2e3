"""Learning rate schedulers that walk by progress."""

from typing import Any, Dict, List, Optional, Union

from mmengine.hooks import Hook, ParamSchedulerHook

DATA_BATCH = Optional[Union[dict, tuple, list]]


class StepByProgress(ParamSchedulerHook):
    """Step the schedulers by iteration to where the schedule is, instead of once an iteration.

    It takes the place of the run's ``ParamSchedulerHook`` in the list of hooks, and has that hook
    make each step.

    Args:
        hook (ParamSchedulerHook): The hook whose place it takes.

    Attributes:
        replaced (ParamSchedulerHook): The hook whose place it took.
        due (int): Steps that the schedulers are behind the schedule.
    """

    def __init__(self, hook: ParamSchedulerHook) -> None:
        self.priority = hook.priority
        self.replaced = hook
        self.due = 0

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Make the steps that are due: several in a pruned pass, and none where a pass takes more
        iterations than the schedule has steps for it, as on fewer ranks."""
        for _ in range(self.due):
            self.replaced.after_train_iter(runner, batch_idx, data_batch, outputs)
        self.due = 0

    def after_train_epoch(self, runner: Any) -> None:
        """Step the schedulers by epoch."""
        self.replaced.after_train_epoch(runner)

    def after_val_epoch(self, runner: Any, metrics: Optional[Dict[str, float]] = None) -> None:
        """Step the schedulers that look at the validation."""
        self.replaced.after_val_epoch(runner, metrics)


def step_by_progress(hooks: List[Hook]) -> List[StepByProgress]:
    """Put a :class:`StepByProgress` in the place of each ``ParamSchedulerHook``.

    Args:
        hooks (list[Hook]): The hooks of a runner, changed in place.

    Returns:
        list[StepByProgress]: Those that took a place; none where the run has no schedulers' hook.
    """
    steppers = []
    for index, hook in enumerate(hooks):
        if isinstance(hook, ParamSchedulerHook):
            if isinstance(hook, StepByProgress):  # the runner trains again
                hook = hook.replaced
            hooks[index] = stepper = StepByProgress(hook)
            steppers.append(stepper)
    return steppers
