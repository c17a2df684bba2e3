"""Hooks that are called once for each step of the schedule, instead of once an iteration."""

import copy
import types
from typing import Any, Iterable, List, Sequence, Tuple

from mmengine.hooks import CheckpointHook, Hook, IterTimerHook, LoggerHook, RuntimeInfoHook

from ..passes.schedule import PassSchedule

# What these hooks do in an iteration follows the schedule: they set learning rate and momentum,
# average weights, or warm up a parameter. Their settings in iterations are steps of the schedule.
BY_STEPS = (
    'mmengine.hooks.param_scheduler_hook.ParamSchedulerHook',
    'mmengine.hooks.ema_hook.EMAHook',
    'mmpretrain.engine.hooks.densecl_hook.DenseCLHook',
    'mmpretrain.engine.hooks.swav_hook.SwAVHook',
    'mmpretrain.engine.hooks.warmup_param_hook.WarmupParamHook',
)
# These log, time or save an iteration of the run.
BY_ITERATIONS = (CheckpointHook, IterTimerHook, LoggerHook, RuntimeInfoHook)
BY_STEPS_LINE = "custom_hooks=[dict(type='InfoBatchHook', by_steps=['MyHook'])]"


def view_of(original: Any, *mixins: type, **attributes: Any) -> Any:
    """A view of an object, of a class derived from the object's own.

    Args:
        original (object): The object. The two share their attributes: what is set on one is seen on
            the other.
        *mixins: Further base classes, which come first.
        **attributes: Methods and properties that the class has besides.

    Returns:
        object: The view, whose class has the same name.
    """
    base = type(original)
    body = dict(attributes, __module__=base.__module__, __doc__=base.__doc__)
    cls: Any = types.new_class(base.__name__, (*mixins, base), exec_body=lambda ns: ns.update(body))
    view = object.__new__(cls)
    object.__setattr__(view, '__dict__', original.__dict__)
    return view


class _Steps:
    """The position of a hook in the schedule, and a runner that shows this position to the hook.

    Args:
        runner (Runner): The runner.
        schedule (PassSchedule): The schedule of its training loop.

    Attributes:
        done (int): The steps for which the hook has been called; ``runner.iter``.
        begun (bool): Whether the hook's ``before_train_iter`` was called for the next step.
        runner (Runner): The runner that the hook gets. It looks like that of the unpruned run:
            ``iter`` and ``max_iters`` count steps, and the training dataloader has the length of a
            pass over all data.
    """

    def __init__(self, runner: Any, schedule: PassSchedule) -> None:
        self.schedule = schedule
        self.done, self.begun = schedule.walked, False
        dataloader = view_of(runner.train_loop.dataloader, __len__=lambda _: schedule.pass_length)
        loop = view_of(
            runner.train_loop,
            iter=property(lambda _: self.done),
            max_iters=property(lambda _: schedule.total),
            dataloader=property(lambda _: dataloader),
        )
        self.runner = view_of(runner, _train_loop=property(lambda _: loop))

    def done_after(self, iters: int) -> int:
        """The steps of the schedule that are done after an iteration.

        Args:
            iters (int): The iterations done before it.
        """
        schedule = self.schedule
        if schedule.iters <= iters:  # this hook runs before InfoBatchHook, which advances it
            schedule = copy.copy(schedule)
            schedule.advance()
        return schedule.walked


class StepwiseHook(Hook):
    """Calls a hook once for each step of the schedule, instead of once an iteration.

    An instance replaces a hook in ``runner.hooks``. Its class inherits from this one and from the
    class of the hook, so that it has the attributes and the other hook points of the hook. If an
    iteration of a pruned pass advances the schedule by several steps, the hook is called several
    times. If it advances by none, as can happen on fewer ranks, the hook is not called. So a hook
    that counts its calls, or acts when ``runner.iter`` equals some number, does what it does in the
    unpruned run.
    """

    __slots__ = ('_infobatch_steps',)  # not in __dict__, which is the hook's
    _infobatch_steps: _Steps

    def before_train(self, runner: Any) -> None:
        """Call the hook, with the run's own runner if the state of a checkpoint is yet to load."""
        loaded = self._infobatch_steps.schedule.iters == runner.iter
        super().before_train(self._infobatch_steps.runner if loaded else runner)

    def before_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Begin the next step, if the last one has ended."""
        steps = self._infobatch_steps
        # Steps that an interrupted iteration, or a resume that advanced the schedule, left over.
        self._walk(steps.schedule.walked, *args, **kwargs, outputs=None)
        self._begin(*args, **kwargs)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """End the step, and call the hook for the other steps of the iteration."""
        self._walk(self._infobatch_steps.done_after(runner.iter), *args, **kwargs)

    def _begin(self, *args: Any, **kwargs: Any) -> None:
        steps = self._infobatch_steps
        if not steps.begun:
            steps.begun = True
            super().before_train_iter(steps.runner, *args, **kwargs)

    def _walk(self, until: int, *args: Any, **kwargs: Any) -> None:
        """Call the hook for steps up to ``until``, with the arguments of ``after_train_iter``."""
        steps = self._infobatch_steps
        while steps.done < until:
            # before_train_iter takes the first two of them.
            first = {key: kwargs[key] for key in ('batch_idx', 'data_batch') if key in kwargs}
            self._begin(*args[:2], **first)
            super().after_train_iter(steps.runner, *args, **kwargs)
            steps.done, steps.begun = steps.done + 1, False


def is_of_class(instance: Any, names: Iterable[str]) -> bool:
    """Whether an object is an instance of a class of one of these names, with its module or not."""
    class_names = {
        name
        for cls in type(instance).__mro__
        for name in (cls.__name__, f'{cls.__module__}.{cls.__qualname__}')
    }
    return not class_names.isdisjoint(names)


def call_by_steps(runner: Any, schedule: PassSchedule, names: Sequence[str]) -> None:
    """Put a :class:`StepwiseHook` in the place of each hook that follows the schedule.

    One that is there already, because the runner trains again, stays.

    Args:
        runner (Runner): The runner, whose list of hooks is changed.
        schedule (PassSchedule): The schedule of its training loop.
        names (Sequence[str]): Further classes of hooks, from ``InfoBatchHook(by_steps=...)``.
    """
    hooks: List[Hook] = runner.hooks
    for index, hook in enumerate(hooks):
        if isinstance(hook, StepwiseHook):
            if hook._infobatch_steps.schedule is not schedule:  # the runner has another loop
                hook._infobatch_steps = _Steps(runner, schedule)
        elif is_of_class(hook, (*BY_STEPS, *names)):
            hooks[index] = stepwise = view_of(hook, StepwiseHook)
            stepwise._infobatch_steps = _Steps(runner, schedule)


def resume_steps(runner: Any, done: int) -> None:
    """Have each :class:`StepwiseHook` continue after ``done`` steps, the position of schedulers and
    averaged weights in the checkpoint."""
    for hook in runner.hooks:
        if isinstance(hook, StepwiseHook):
            hook._infobatch_steps.done, hook._infobatch_steps.begun = done, False


def require_by_steps(names: Any) -> Tuple[str, ...]:
    """Check the argument ``by_steps`` of :class:`~mm_infobatch.InfoBatchHook`; return a tuple.

    Raises:
        TypeError: If it is not a list of names.
    """
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f'by_steps={names!r} has to be a list of names of classes of hooks; write '
            f'{BY_STEPS_LINE}'
        )
    return tuple(names)


def check_by_steps(runner: Any, names: Sequence[str]) -> None:
    """Refuse names of hooks that the run does not have, or that cannot be called by steps.

    Raises:
        ValueError: If there is one.
    """
    for name in names:
        hooks = [hook for hook in runner.hooks if is_of_class(hook, [name])]
        if not hooks:
            present = ', '.join(type(hook).__name__ for hook in runner.hooks)
            raise ValueError(
                f'by_steps names {name!r}, but the hooks of this run are {present}; name one of '
                f'them, or remove it from {BY_STEPS_LINE}'
            )
        if any(isinstance(hook, BY_ITERATIONS) for hook in hooks):
            raise ValueError(
                f'by_steps names {name!r}, which logs or saves iterations of the run, so it cannot '
                f'be called several times in one of them; remove it from {BY_STEPS_LINE}'
            )
