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
        self._named = self._shares_logged = False
        self.settings: List[Setting] = []
        if schedule.budget == 'passes' and schedule.delta > 0:
            self.settings = settings_of(runner, schedule)

    def warning(self) -> Optional[str]:
        """What to log when a pass has begun.

        Returns:
            str, optional: At the first call, a warning that names the settings. When the end of
            the run can be estimated, the iterations that are the same share of it.
        """
        if not self.settings:
            return None
        estimated = self._schedule.expected_iters < self._schedule.total
        sentences = []
        if not self._named:
            sentences += self._names()
            if not estimated:
                sentences += ['The log shows its expected end from the second pass on']
        if estimated and not self._shares_logged:
            sentences += self._shares()
        self._named, self._shares_logged = True, self._shares_logged or estimated
        return '. '.join(sentences) or None

    def _names(self) -> List[str]:
        """The settings, and how to restore their meaning."""
        sentences = [
            f'{", ".join(map(str, self.settings))}: such settings count iterations of this '
            f'run, which ends before iteration {self._schedule.total}, the end of its schedule'
        ]
        hooks = list(dict.fromkeys(setting.owner for setting in self.settings if setting.hook))
        if hooks:
            sentences += [
                f"With custom_hooks=[dict(type='InfoBatchHook', by_steps={hooks!r})] the hook "
                'is called once for each step of the schedule, and its settings keep their meaning'
            ]
        return [*sentences, 'Or write the same share of the iterations that the run makes']

    def _shares(self) -> List[str]:
        """The expected end of the run, and the iterations that are the same share of it."""
        expected, total = self._schedule.expected_iters, self._schedule.total
        sentences = [f'The run is expected to end at iteration {expected}']
        for setting in self.settings:
            if setting.value:
                reached = '' if setting.value < expected else ', and is not reached'
                same_share = setting.value * expected // total
                sentences += [f'{setting} is the share of iteration {same_share}{reached}']
        return sentences
