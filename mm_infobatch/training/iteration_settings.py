"""Warns of settings that count iterations of the run, of which a pruned run makes fewer.

These follow the schedule and keep their meaning: the length of the run, ``val_begin`` and the
milestones of ``dynamic_intervals`` in the loops, schedulers, the hooks of ``BY_STEPS``, settings in
epochs. Intervals count iterations of the run, as the log does. All other settings are named in a
warning, except those that lie in the first pass, which trains all samples.
"""

from typing import Any, List, Optional

from ..passes.schedule import PassSchedule
from .settings_search import Setting, settings_of


class IterationSettings:
    """The settings of a run that count its iterations, and what is logged of them.

    Args:
        runner (Runner): The runner, when training has started.
        schedule (PassSchedule): The schedule of its training loop.

    Attributes:
        settings (list[Setting]): Those that were found; none where a step is an iteration.
    """

    def __init__(self, runner: Any, schedule: PassSchedule) -> None:
        self._schedule = schedule
        self._named = False  # whether the settings have been logged
        self._estimated = False  # and with them the expected end of the run
        self.settings: List[Setting] = []
        if schedule.budget == 'passes' and schedule.delta > 0:
            self.settings = settings_of(runner, schedule)

    def warning(self) -> Optional[str]:
        """What to log when a pass has begun.

        Returns:
            str, optional: At the first call, a warning that names the settings. When the end of
            the run can be estimated, where they would have the share that they were written for.
        """
        schedule = self._schedule
        estimated = schedule.expected_iters < schedule.total
        if not self.settings or self._named and (self._estimated or not estimated):
            return None
        first, self._named, self._estimated = not self._named, True, estimated
        lines = []
        if first:
            hooks = list(dict.fromkeys(each.owner for each in self.settings if each.hook))
            lines += [
                f'{", ".join(map(str, self.settings))}: such settings count iterations of this '
                f'run, which ends before iteration {schedule.total}, the end of its schedule'
            ]
            if hooks:
                lines += [
                    f"With custom_hooks=[dict(type='InfoBatchHook', by_steps={hooks!r})] the hook "
                    'is called once for each step of the schedule, and its settings mean what they '
                    'meant'
                ]
            lines += ['Or write the same share of the iterations that the run makes']
        if estimated:
            lines += [f'The run is expected to end at iteration {schedule.expected_iters}']
            lines += [self._share(each) for each in self.settings if each.value]
        elif first:
            lines += ['The log shows its expected end from the second pass on']
        return '. '.join(lines)

    def _share(self, setting: Setting) -> str:
        expected, total = self._schedule.expected_iters, self._schedule.total
        assert setting.value is not None
        reached = '' if setting.value < expected else ', and is not reached'
        return f'{setting} is the share of iteration {setting.value * expected // total}{reached}'
