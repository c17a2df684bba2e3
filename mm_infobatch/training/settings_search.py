"""Finds the settings of hooks, schedulers, optimizers and the model that count iterations."""

import itertools
import re
import reprlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.model import MomentumAnnealingEMA
from mmengine.optim.scheduler.param_scheduler import ReduceOnPlateauParamScheduler

from ..arguments import whole_number
from ..losses.search import unwrap
from ..passes.schedule import PassSchedule
from .by_steps import BY_ITERATIONS, StepwiseHook, is_of_class
from .optimizers import schedulers_of, wrappers_of
from .user_code import Reads, functions_of, own_classes

# Names of settings by their meaning: a moment, a count of iterations, an interval, the length of
# the run, or something else.
MOMENT = re.compile('begin|start|warm|ramp|burn|milestone|switch|fr[eo]+z|delay|until|stop|anneal')
COUNT = re.compile('iter|step')
INTERVAL = re.compile('interval|every|freq|period')
RUN_LENGTH = re.compile('^_?(max|total)_(train_)?(iter|step)')
OTHER = re.compile('epoch|seed|priority|size|worker|class')
# Attributes from which the code of a hook reads the length of the run, or what is trained.
LENGTH = {'max_iters', '_max_iters', 'train_dataloader', 'dataloader'}
TRAINED = {'model', 'optim_wrapper', 'optimizer', 'param_groups'}
ITERATION = ('before_train_iter', 'after_train_iter')


@dataclass(frozen=True)
class Setting:
    """A setting that counts iterations of the run.

    Args:
        owner (str): The class of a hook or scheduler, or the path of a module of the model.
        text (str): What it is, such as ``begin_iter=50``.
        value (int, optional): The iteration, where it is one number. Defaults to None.
        hook (bool): Whether the owner is a hook that can be called by steps. Defaults to False.
    """

    owner: str
    text: str
    value: Optional[int] = None
    hook: bool = False

    def __str__(self) -> str:
        return f'{self.owner}.{self.text}'


def settings_of(runner: Any, schedule: PassSchedule) -> List[Setting]:
    """The settings of a run that count its iterations, without those in the first pass."""
    settings = [*_hook_settings(runner, schedule), *_scheduler_settings(runner, schedule)]
    settings += [*_model_settings(runner.model, schedule), *_optimizer_settings(runner, schedule)]
    return list(dict.fromkeys(settings))


# ------------------------------------------------------------------- hooks and schedulers


def _hook_settings(runner: Any, schedule: PassSchedule) -> Iterator[Setting]:
    by_iteration, configs = not schedule.by_epoch, runner.cfg.get('custom_hooks') or []
    for hook in runner.hooks:
        if isinstance(hook, StepwiseHook):
            continue
        name = type(hook).__name__
        if isinstance(hook, CheckpointHook) and not hook.by_epoch:
            yield from _if_after_first_pass(name, 'save_begin', hook.save_begin, schedule)
            if not hook.save_last:
                yield from _if_after_first_pass(name, 'interval', hook.interval, schedule)
        if isinstance(hook, EarlyStoppingHook) and by_iteration:
            yield Setting(name, f'patience={hook.patience} (of validations)')
        if is_of_class(hook, ['PreciseBNHook']) and by_iteration:
            yield from _if_after_first_pass(name, 'interval', hook.interval, schedule)
        yield from _custom_hook_settings(hook, name, configs, schedule)


def _scheduler_settings(runner: Any, schedule: PassSchedule) -> Iterator[Setting]:
    for scheduler in itertools.chain(*schedulers_of(runner).values()):
        if isinstance(scheduler, ReduceOnPlateauParamScheduler) and not schedule.by_epoch:
            text = f'patience={scheduler.patience}, cooldown={scheduler.cooldown} (of validations)'
            yield Setting(type(scheduler).__name__, text)


def _custom_hook_settings(
    hook: Hook, name: str, configs: Sequence[Any], schedule: PassSchedule
) -> Iterator[Setting]:
    """The settings of a user's own hook, by its code and its attributes."""
    by_steps = not isinstance(hook, BY_ITERATIONS)
    by_iteration = False
    read_beside: Set[str] = set()  # attributes that a function reads beside the iteration
    for cls in own_classes(hook):
        for function, reads in functions_of(cls):
            by_iteration |= function in ITERATION
            if function in ITERATION and not reads.position and _steps_rates(reads):
                yield Setting(name, f'{function} (which steps rates)', hook=by_steps)
            if not reads.position:
                continue
            by_iteration, read_beside = True, read_beside | reads.names
            if reads.names & LENGTH or reads.stores and reads.names & TRAINED:
                yield Setting(name, f'{function} (which reads the iteration)', hook=by_steps)
    if not by_iteration:
        return
    arguments = dict(vars(hook))
    for config in configs:
        kind = config['type'] if isinstance(config, dict) else None  # a name or a class
        if kind is type(hook) or isinstance(kind, str) and kind.split('.')[-1] == name:
            arguments.update(config)
    for argument, value in arguments.items():
        bare = argument.strip('_').lower()
        if getattr(hook, 'by_epoch', False) and 'iter' not in bare:
            continue
        if argument in read_beside or any(kind.search(bare) for kind in (MOMENT, COUNT, INTERVAL)):
            yield from _if_after_first_pass(name, argument.strip('_'), value, schedule, by_steps)


def _steps_rates(reads: Reads) -> bool:
    """Whether a function steps schedulers, or changes the settings of an optimizer."""
    schedulers = {'param_schedulers', 'step'} <= reads.names
    return schedulers or reads.stores and 'param_groups' in reads.names


def _if_after_first_pass(
    owner: str, name: str, value: Any, schedule: PassSchedule, hook: bool = False
) -> Iterator[Setting]:
    """The setting, if it contains a number of iterations beyond the first pass.

    An interval counts only if it is longer than half of the schedule. It then says when something
    happens, and not how often.
    """
    whole = schedule.pass_index > 0 or schedule.pass_iters == schedule.pass_length
    least: float = schedule.pass_length if whole else 1  # a static policy prunes the first pass
    if INTERVAL.search(name.lower()):
        least = max(least, schedule.total / 2)
    if not OTHER.search(name.lower()) and any(number > least for number in _whole_numbers(value)):
        number = int(value) if whole_number(value) else None
        yield Setting(owner, f'{name}={reprlib.repr(value)}', number, hook)


def _whole_numbers(value: Any) -> Iterator[float]:
    """The whole numbers in a value, and in lists and dicts of it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _whole_numbers(item)
    elif whole_number(value):
        yield value


# ---------------------------------------------------------------------------- the model


def _model_settings(model: Any, schedule: PassSchedule) -> Iterator[Setting]:
    reads_iteration: Dict[type, bool] = {}
    for path, module in unwrap(model).named_modules(prefix='model'):
        cls = type(module)
        if cls not in reads_iteration:
            bases = own_classes(module, ('mmengine', 'mmcv', 'torch'))
            reads_iteration[cls] = any(
                reads.hub for base in bases for _, reads in functions_of(base)
            )
        owner = f'{path} ({cls.__name__})'
        if reads_iteration[cls]:
            yield from _iteration_reader_settings(module, owner, schedule)
        elif own_classes(module):  # a user's own module, which may count its calls
            yield from _settings_named_by_iteration(owner, vars(module), schedule)
        if isinstance(module, MomentumAnnealingEMA):
            yield Setting(owner, f'gamma={module.gamma} (of updates)')


def _optimizer_settings(runner: Any, schedule: PassSchedule) -> Iterator[Setting]:
    """The settings of a user's own optimizer, such as a warm-up in iterations."""
    for wrapper in wrappers_of(runner).values():
        optimizer = getattr(wrapper, 'optimizer', None)
        if own_classes(optimizer):
            defaults = getattr(optimizer, 'defaults', {})
            yield from _settings_named_by_iteration(type(optimizer).__name__, defaults, schedule)


def _settings_named_by_iteration(
    owner: str, values: Dict[str, Any], schedule: PassSchedule
) -> Iterator[Setting]:
    """The settings whose names say that they count iterations to a moment, or to the end."""
    for name, value in values.items():
        if MOMENT.search(name) and COUNT.search(name) or RUN_LENGTH.search(name):
            yield from _if_after_first_pass(owner, name, value, schedule)


def _iteration_reader_settings(
    module: Any, owner: str, schedule: PassSchedule
) -> Iterator[Setting]:
    """The settings of a module that reads the iteration from a message hub."""
    arguments = dict(vars(module))
    for value in vars(module).values():
        arguments.update(value if isinstance(value, dict) else {})
    timed = {
        str(name): value
        for name, value in arguments.items()
        if (MOMENT.search(str(name)) or COUNT.search(str(name))) and any(_whole_numbers(value))
    }
    for name, value in timed.items():
        yield from _if_after_first_pass(owner, name, value, schedule)
    if not timed:
        yield Setting(owner, 'forward (which reads the iteration)')
