"""Records what a run trained and saved, for the log and ``infobatch.json``."""

import json
import math
import os
from typing import Any, Dict, List, Optional, Union

from mmengine.logging import HistoryBuffer, MessageHub

from ..passes.running_pass import RunningPass
from ..passes.schedule import PassSchedule
from ..policies.thresholds import mean_score
from ..sampler import InfoBatchSampler
from .score_histogram import histogram

VERSION = 1
# How many values of the loss over all data are kept: more than a log line takes the mean of.
HISTORY = 1000
LOSS_OF_ALL_DATA = 'train/loss_all_data'


def warn(runner: Any, warning: Optional[str]) -> None:
    """Log a warning, if there is one."""
    if warning is not None:
        runner.logger.warning(f'InfoBatch: {warning}')


def log_loss_of_all_data(message_hub: MessageHub, mean_weight: float) -> None:
    """Log the mean loss over all data that the training loss of a pruned pass implies.

    The samples that a pruned pass keeps are harder than the others, or weigh for several, so that
    their mean loss is N/K times as large as that of all data. Divided by the mean weight it is an
    estimate of what the run without InfoBatch logs. The training loss is one that mmengine has
    copied from the device already.

    Only the last :data:`HISTORY` values are kept. mmengine copies a history whenever it adds to it,
    which takes 0.2 ms in each of 160,000 iterations if all values are kept.
    """
    scalars = message_hub.log_scalars
    if 'train/loss' in scalars:
        loss = scalars['train/loss'].current()
        if LOSS_OF_ALL_DATA not in scalars:
            scalars[LOSS_OF_ALL_DATA] = HistoryBuffer(max_length=HISTORY)
        message_hub.update_scalar(LOSS_OF_ALL_DATA, loss / mean_weight)


def take_loss_of_all_data(checkpoint: Dict[str, Any]) -> List[float]:
    """Take the logged values of the loss over all data out of mmengine's part of a checkpoint.

    A run that continues without InfoBatch would log the last one in every line.
    """
    log = checkpoint.get('message_hub') or {}
    history = log.get('log_scalars', {}).pop(LOSS_OF_ALL_DATA, None)
    return [] if history is None else history.data[0].tolist()


def put_back_loss_of_all_data(message_hub: MessageHub, values: Optional[List[float]]) -> None:
    """Put back what :func:`take_loss_of_all_data` took. ``values`` is None for an older checkpoint,
    which keeps them in mmengine's part."""
    if values is not None:
        history = HistoryBuffer(values, [1] * len(values), max_length=HISTORY)
        message_hub.log_scalars[LOSS_OF_ALL_DATA] = history


class RunReport:
    """The settings of a run, a record of each pass, and the totals.

    Attributes:
        settings (dict): Plain values that say how samples are chosen.
        passes (list[dict]): A record of each pass: ``pass``, ``begin_iter``, ``iterations``,
            ``kept``, ``pruned``, ``pruned_share``, ``annealing``, ``threshold``, ``mean_score``,
            ``seconds`` (spent choosing), ``trained`` and ``full`` (samples that it has trained so
            far, over all ranks, and that it would have on all data), ``saving`` (of the run),
            ``mean_weight`` (by the policy), ``step_length`` (where it begins, in unpruned steps),
            ``histogram`` (of the scores that it was planned from, see :func:`histogram`).
        finished (bool): Whether the schedule has been walked to its end.
        stopped (bool): Whether a hook (mmengine's ``EarlyStoppingHook``) ended the run before.

    Args:
        sampler (InfoBatchSampler): The sampler of the run.
        schedule (PassSchedule): Its schedule.
        step_length (str or float): The setting of ``InfoBatchHook``.
    """

    def __init__(
        self, sampler: InfoBatchSampler, schedule: PassSchedule, step_length: Union[str, float]
    ) -> None:
        self.settings: Dict[str, Any] = dict(
            policy=repr(sampler.policy),
            delta=sampler.delta,
            seed=sampler.seed,
            num_samples=len(sampler.scores),
            world_size=sampler.shape.world_size,
            batch_size=sampler.shape.batch_size,
            step_length=step_length,
            warmup_passes=sampler.warmup_passes,
            score_smoothing=sampler.scores.smoothing,
            stratify=sampler.stratify,
            track=sampler.scores.tracker is not None,
            **schedule.settings(),
        )
        self._sampler, self._schedule, self._counter = sampler, schedule, sampler.counter
        self._bias: Optional[str] = getattr(sampler.policy, 'bias', None)
        self.passes: List[Dict[str, Any]] = []
        self._lines: List[str] = []  # those before the last as JSON: they no longer change
        self.finished = self.stopped = False

    def begin_pass(self, seconds: float, mean_weight: float, step_length: float) -> None:
        """Open the record of the pass that the sampler has planned and the schedule has begun.

        Args:
            seconds (float): The time that choosing took: to take the losses of the pass before, as
                scores and in the policy, and to plan.
            mean_weight (float): The mean weight of the pass.
            step_length (float): The length of its steps, where it begins.
        """
        order, scores, schedule = self._sampler.order, self._sampler.scores.values, self._schedule
        mean = mean_score(scores)
        pruned = order.num_samples - order.kept
        self.passes.append(
            {
                'pass': schedule.pass_index,
                'begin_iter': schedule.iters,
                'iterations': 0,
                'kept': order.kept,
                'pruned': pruned,
                'pruned_share': pruned / order.num_samples,
                'annealing': schedule.anneals,
                'threshold': order.threshold,
                'mean_score': None if math.isnan(mean) else mean,
                'seconds': seconds,
                'trained': 0,
                'full': 0,
                'saving': self._counter.saving,
                'histogram': histogram(scores),
                'mean_weight': mean_weight,
                'step_length': step_length,
            }
        )

    def scalars(self) -> Dict[str, Any]:
        """The numbers of the pass that begins, for the visualizer, by their names."""
        record = self.passes[-1]
        keys = ('kept', 'pruned', 'pruned_share', 'saving', 'threshold', 'mean_score', 'seconds')
        return {f'infobatch/{key}': record[key] for key in keys if record[key] is not None}

    def update(self, running: RunningPass, stop_training: bool) -> None:
        """Bring the counter, the record of the current pass and the end of the run up to date.

        Args:
            running (RunningPass): The current pass.
            stop_training (bool): Whether the loop is to stop before the end of its schedule.
        """
        shape, schedule, record = self._sampler.shape, self._schedule, self.passes[-1]
        due = shape.samples(self._sampler.order.kept)  # without what drop_last leaves out
        share = running.trained / due if schedule.iters_left else 1.0
        share = min(share, schedule.pass_share)
        full = round(share * shape.samples(len(self._sampler.scores)))
        self._counter.count(schedule.pass_index, running.trained, full)
        record['iterations'] = schedule.iters - record['begin_iter']
        record.update(trained=running.trained, full=full, saving=self._counter.saving)
        self.finished = schedule.finished
        self.stopped = stop_training and not schedule.finished

    def resume(self, records: List[Dict[str, Any]]) -> None:
        """Take the records of a checkpoint, whose schedule and seed have been loaded, and have the
        counter count their samples."""
        self.settings.update(self._schedule.settings(), seed=self._sampler.seed)
        self.passes, self._lines = [dict(record) for record in records], []
        for record in self.passes:
            self._counter.count(record['pass'], record['trained'], record['full'])

    def totals(self) -> Dict[str, Any]:
        """The sums over all passes so far."""
        return dict(
            passes=len(self.passes),
            iterations=sum(record['iterations'] for record in self.passes),
            schedule_iterations=self._schedule.total,
            samples_trained=self._counter.trained,
            samples_full=self._counter.full,
            saving=self._counter.saving,
            seconds_choosing=sum(record['seconds'] for record in self.passes),
            finished=self.finished,
            stopped=self.stopped,
        )

    def pass_line(self) -> str:
        """The log line of the pass that begins."""
        record = self.passes[-1]
        scores = (
            'no scores yet'
            if record['mean_score'] is None
            else f'mean score {record["mean_score"]:.4f}'
        )
        if record['threshold'] is not None:
            scores = f'threshold {record["threshold"]:.4f}, {scores}'
        bias = f', biased {self._bias}' if self._bias and record['pruned'] else ''
        return (
            f'InfoBatch pass {record["pass"]}: kept {record["kept"]} of '
            f'{record["kept"] + record["pruned"]} samples, pruned {record["pruned"]} '
            f'({record["pruned_share"]:.1%}){", annealing" if record["annealing"] else ""}{bias}, '
            f'saving so far {record["saving"]:.1%}, {scores}, '
            f'chosen in {record["seconds"]:.3f} s'
        )

    def last_line(self) -> str:
        """The log line at the end of the run."""
        totals = self.totals()
        return (
            f'InfoBatch trained {totals["samples_trained"]} of {totals["samples_full"]} '
            f'samples in {totals["iterations"]} iterations of a schedule of '
            f'{totals["schedule_iterations"]}: saving {totals["saving"]:.1%}, '
            f'{totals["seconds_choosing"]:.3f} s spent choosing'
        )

    def write(self, path: str) -> None:
        """Write the report as JSON, with one line per pass. Whatever interrupts it, a reader sees
        the old file or the new one."""
        self._lines += map(json.dumps, self.passes[len(self._lines) : -1])
        lines = [*self._lines, *map(json.dumps, self.passes[-1:])]
        parts = dict(
            version=str(VERSION),
            settings=json.dumps(self.settings, indent=1),
            passes='[\n' + ',\n'.join(lines) + '\n]',
            totals=json.dumps(self.totals(), indent=1),
        )
        content = ',\n'.join(f'"{key}": {part}' for key, part in parts.items())
        with open(path + '.tmp', 'w') as file:
            file.write(f'{{\n{content}\n}}\n')
        os.replace(path + '.tmp', path)

    def try_write(self, path: str) -> Optional[str]:
        """Write the report if possible. A full disk or a read-only file does not stop training,
        as the checkpoints hold the records too.

        Returns:
            str, optional: A warning for the log where it could not be written.
        """
        try:
            self.write(path)
        except OSError as error:
            return (
                f'{path} cannot be written ({error}); training continues without it, and the '
                'records of the passes are in the checkpoints'
            )
        return None
