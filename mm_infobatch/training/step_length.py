"""Sets the length of the optimizer's steps in a pruned pass."""

import math
from typing import Any, List, Optional, Sequence, Union

from torch.optim import Optimizer

from ..arguments import require_number
from ..passes.schedule import PassSchedule
from .gradient_response import follows_rate, is_proportional
from .optimizers import schedulers_of, wrappers_of
from .peak_rates import effective_rate, keep_first_rates, peak_rates

Setting = Union[str, float]
SETTINGS = ('paper', 'normalized', 'capped')
LINE = "custom_hooks=[dict(type='InfoBatchHook', step_length='capped')]"
PAPER = (
    "write custom_hooks=[dict(type='InfoBatchHook', step_length='paper')], on the command line "
    '--infobatch-options step_length=paper'
)


def require_step_length(value: Any) -> Setting:
    """Check the argument ``step_length`` of :class:`~mm_infobatch.InfoBatchHook`.

    Returns:
        str or float: One of ``SETTINGS``, or a number of at least 1.

    Raises:
        TypeError: If it is neither a string nor a number.
        ValueError: If it is another string, or a number below 1.
    """
    if isinstance(value, str):
        if value not in SETTINGS:
            raise ValueError(
                f'step_length={value!r} has to be one of {", ".join(SETTINGS)}, or a number of at '
                f'least 1; write {LINE}'
            )
        return value
    number = require_number('step_length', value, f'one of {", ".join(SETTINGS)} or >= 1', LINE)
    if not 1 <= number < math.inf:
        raise ValueError(
            f'step_length={value!r} has to be at least 1, the length of the steps on all data; '
            f'write {LINE}'
        )
    return number


def step_length(setting: Setting, mean_weight: float, room: float) -> float:
    """The length of the steps of a pass, as a multiple of the length in the same pass unpruned.

    It is never greater than the mean weight.

    Args:
        setting (str or float): ``'paper'``, ``'normalized'``, ``'capped'`` or a number >= 1.
        mean_weight (float): The mean of the policy's weights, c = N/K for an unbiased one.
        room (float): The length of the longest steps of the unpruned schedule, as a multiple of
            the length now.

    Returns:
        float: c, min(c, 1), min(c, room) with a room of at least 1, or min(c, setting).
    """
    if setting == 'paper':
        return mean_weight
    if setting == 'capped':
        return min(mean_weight, max(1.0, room))
    return min(mean_weight, 1.0 if isinstance(setting, str) else setting)


class LearningRateFactor:
    """Multiplies the learning rates of an optimizer while it takes a step, and at no other time.

    Schedulers, hooks and logs see the rates of the schedule.

    Args:
        optimizer (Optimizer): The optimizer.

    Attributes:
        factor (float): The factor of the steps that come.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.factor = 1.0
        self._rates: Optional[List[Any]] = None
        self._handles = [
            optimizer.register_step_pre_hook(self._multiply),
            optimizer.register_step_post_hook(self._restore),
        ]

    def _multiply(self, optimizer: Any, *_: Any) -> None:
        self._restore(optimizer)  # after a step that raised an error
        if self.factor != 1:
            self._rates = [group['lr'] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group['lr'] = group['lr'] * self.factor

    def _restore(self, optimizer: Any, *_: Any) -> None:
        rates, self._rates = self._rates, None
        for group, lr in zip(optimizer.param_groups, rates or []):
            group['lr'] = lr

    def remove(self) -> None:
        """Leave the optimizer as it was."""
        for handle in self._handles:
            handle.remove()


class StepLength:
    """Sets the length of the steps of a run.

    SGD's steps are proportional to the gradient, so the weights of the samples are scaled to have
    :func:`step_length` as their mean. Other optimizers divide by the size of the gradient, so that
    scaled weights have no effect. For them the weights are scaled to a mean of 1, and the learning
    rate is multiplied by :func:`step_length` while the optimizer takes a step. With ``'paper'``,
    weights and learning rate stay as they are.

    The length is computed on the host, so nothing waits for the device.

    Args:
        setting (str or float): See :func:`require_step_length`.

    Attributes:
        length (float): The length of the steps of the iteration that began last, as a multiple of
            the unpruned ones; 1 for the paper's weights where they do not change it.
        scale (float): What the weights of its samples are multiplied by.
    """

    def __init__(self, setting: Setting = 'paper') -> None:
        self.setting = setting
        self.length = self.scale = 1.0
        self._schedule: Optional[PassSchedule] = None
        self._optimizers: List[Any] = []
        self._peaks: List[List[float]] = []
        self._factors: List[LearningRateFactor] = []
        self._by_weights = True

    def begin_run(self, runner: Any, schedule: PassSchedule) -> Optional[str]:
        """Take the optimizers and the schedule of a run; checkpoints have been loaded by then.

        Returns:
            str, optional: A line for the log, the first time and with other optimizers.

        Raises:
            ValueError: If the steps of an optimizer are proportional neither to the gradient nor to
                a learning rate that can be changed for a step, or a scheduler fails in a copy.
        """
        wrappers = wrappers_of(runner)
        optimizers = [getattr(wrapper, 'optimizer', None) for wrapper in wrappers.values()]
        if self._schedule is schedule and self._optimizers == optimizers:
            return None  # else a hook has replaced an optimizer, as to train further parameters
        self.release()
        self._by_weights = all(is_proportional(optimizer) for optimizer in optimizers)
        if not self._by_weights and self.setting != 'paper':
            for optimizer in optimizers:
                if not isinstance(optimizer, Optimizer) or not follows_rate(optimizer):
                    raise ValueError(
                        f'step_length={self.setting!r} cannot be set for '
                        f'{type(optimizer).__name__}: its steps are proportional neither to the '
                        f'gradient nor to a learning rate that can be changed for a step; {PAPER}'
                    )
                self._factors.append(LearningRateFactor(optimizer))
        self._schedule, self._optimizers = schedule, optimizers
        if self.setting == 'capped':
            self._peaks = [
                _peaks_of(wrapper, schedulers_of(runner).get(name, ()), schedule)
                for name, wrapper in wrappers.items()
            ]
        clips = any(getattr(wrapper, 'clip_grad_kwargs', None) for wrapper in wrappers.values())
        return self._line(sorted({type(optimizer).__name__ for optimizer in optimizers}), clips)

    def _line(self, names: Sequence[str], clips: bool) -> str:
        means = {
            'paper': 'N/K times as long as on all data in a pass that keeps K of N',
            'normalized': 'as long as on all data',
            'capped': 'N/K times as long as on all data in a pass that keeps K of N, but never '
            'longer than the longest of the unpruned schedule',
        }
        if self.setting == 'paper' and not self._by_weights:
            text = 'as long as on all data, or near it: scaled weights do not change them'
        else:
            text = means.get(str(self.setting), f'at most {self.setting} times as long as there')
            if self.setting != 'paper':
                text += ', by the ' + ('weights' if self._by_weights else 'learning rate')
        if self._by_weights and clips:
            text += '; where clip_grad shortens a gradient, it sets the length whatever the weights'
        return f'step length {self.setting}: steps of {", ".join(names)} are {text}'

    @property
    def room(self) -> float:
        """float: The length of the longest steps of the schedule, as a multiple of the length now:
        the smallest of all parameter groups; infinity where no peak is known."""
        room = math.inf
        for optimizer, peaks in zip(self._optimizers, self._peaks):
            # The wrapper's param_groups may end with one more, mmengine's base_param_settings.
            for group, peak in zip(optimizer.param_groups, peaks):
                now = effective_rate(group)
                if peak > 0 and now > 0:
                    room = min(room, peak / now)
        return room

    def begin_iter(self, mean_weight: float) -> float:
        """Set the length of the steps for the iteration that begins.

        Args:
            mean_weight (float): The mean weight of the pass.

        Returns:
            float: ``scale``.
        """
        pruned = mean_weight > 1
        room = self.room if pruned and self.setting == 'capped' else math.inf
        length = step_length(self.setting, mean_weight, room)
        self.length = length if self._by_weights or self.setting != 'paper' else 1.0
        if self.setting == 'paper':
            self.scale = 1.0
        elif self._by_weights:
            self.scale = length / mean_weight
        else:
            self.scale = 1.0 / mean_weight
            for rate_factor in self._factors:
                rate_factor.factor = length
        return self.scale

    def release(self) -> None:
        """Leave the optimizers as they were."""
        for rate_factor in self._factors:
            rate_factor.remove()
        self._factors, self._schedule = [], None


def _peaks_of(wrapper: Any, schedulers: Sequence[Any], schedule: PassSchedule) -> List[float]:
    epoch = schedule.pass_length if schedule.by_epoch else None
    if not schedule.walked:
        keep_first_rates(wrapper.param_groups)
    try:
        return peak_rates(wrapper.param_groups, schedulers, schedule.total, epoch)
    except Exception as error:  # whatever a user's scheduler raises
        raise ValueError(
            "step_length='capped' cannot be set: it needs the highest learning rate of the "
            'schedule, but a copy of the param_scheduler on an optimizer without parameters '
            f'failed ({type(error).__name__}: {error}); {PAPER}'
        ) from error
