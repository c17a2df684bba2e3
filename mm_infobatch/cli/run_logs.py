"""Reads a run from its work directory, for the subcommands ``summarize`` and ``plot``.

A training session leaves in ``<work dir>/<timestamp>/``: ``vis_data/scalars.json`` (written by
MMEngine's LocalVisBackend), ``vis_data/config.py`` and ``<timestamp>.log``. A run that was resumed
has several sessions: they are merged by iteration, and rows of an earlier session are dropped from
the first iteration on that a later one logged. ``infobatch.json`` in the work directory, written by
InfoBatchHook, adds the passes, the exact number of samples, and the saving.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from .common import UsageError
from .sessions import (
    Row,
    Session,
    checkpoint_iteration,
    place_metrics,
    read_infobatch,
    read_session,
)

FULL_BATCHES = (
    'the last batch of an epoch is counted as a full one; give the work directory of an InfoBatch '
    'run beside it, which tells the length of the dataset'
)
PREFERRED_METRICS = ('mIoU', 'accuracy/top1')


@dataclass
class Run:
    """A whole run, over all its sessions.

    Attributes:
        name: Last part of the work directory's path.
        train: Logged training rows, ascending in their ``iter``.
        metrics: Rows of validation results, ascending in their ``iter``.
        iterations: Training iterations done.
        samples: Samples trained on over all ranks; None if the logs do not tell the world size.
        seconds: Time of the training iterations without validation, and of choosing samples;
            None if the logs have no times.
        infobatch: Content of ``infobatch.json``; None for a run without InfoBatch.
        notes: Limits of the numbers, a sentence each.
        begin: The iterations that it made before InfoBatch was switched on; 0 for most.
    """

    name: str
    train: List[Row]
    metrics: List[Row]
    iterations: int
    samples: Optional[int]
    seconds: Optional[float]
    infobatch: Optional[Dict[str, Any]]
    notes: List[str]
    _sample_steps: Tuple[np.ndarray, np.ndarray]
    _second_steps: Tuple[np.ndarray, np.ndarray]
    _full_batches: Optional[Tuple[int, int]] = None  # epoch length, samples of an iteration
    begin: int = 0

    def samples_at(self, iterations: np.ndarray) -> np.ndarray:
        """Samples trained on after the given iterations, float64 [M]."""
        return np.interp(iterations, *self._sample_steps)

    def seconds_at(self, iterations: np.ndarray) -> np.ndarray:
        """Training time in seconds after the given iterations, float64 [M]."""
        return np.interp(iterations, *self._second_steps)

    def loss(self, trained: bool = False) -> Tuple[np.ndarray, np.ndarray]:
        """Iterations int64 [M] and the training loss logged there, float64 [M].

        Args:
            trained (bool): Whether it is the loss that was trained, instead of the mean loss over
                all data that it implies. Defaults to False.
        """
        rows = [row for row in self.train if 'loss' in row]
        steps = np.array([row['iter'] for row in rows], int)
        key = 'loss' if trained else 'loss_all_data'
        return steps, np.array([row.get(key, row['loss']) for row in rows])

    def count_samples(self, num_samples: int) -> None:
        """Count the samples of a run without InfoBatch by the length of its dataset, if it fits."""
        if self._full_batches is None:
            return
        length, samples = self._full_batches
        if (length - 1) * samples < num_samples <= length * samples:
            steps = self._sample_steps[0]
            rest = np.minimum(steps % length * samples, num_samples)
            self._sample_steps = steps, (steps // length * num_samples + rest).astype(float)
            self.samples = int(self._sample_steps[1][-1])
            self._full_batches = None

    def metric_names(self) -> List[str]:
        """Names of the logged validation metrics, sorted."""
        names = {name for row in self.metrics for name in row}
        return sorted(names - {'iter', 'step', 'time', 'data_time'})

    def metric(self, name: Optional[str] = None) -> Tuple[str, np.ndarray, np.ndarray]:
        """Name of a metric, iterations int64 [M] and the values logged there, float64 [M].

        Args:
            name (str, optional): Which metric. Defaults to mIoU or top-1 accuracy, whichever was
                logged, else to the first one; empty arrays if none was.

        Raises:
            ValueError: If ``name`` is given and was never logged.
        """
        names = self.metric_names()
        if name is None:
            preferred = [each for each in PREFERRED_METRICS if each in names] + names
            if not preferred:
                return '', np.zeros(0, int), np.zeros(0)
            name = preferred[0]
        elif name not in names:
            logged = ', '.join(names) or 'no metric at all'
            raise ValueError(
                f'metric {name!r} is not in the logs of {self.name!r}, which have: {logged}. '
                'Give --metric one of these'
            )
        rows = [row for row in self.metrics if name in row]
        return name, np.array([row['iter'] for row in rows], int), np.array([r[name] for r in rows])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which runs to read."""
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--metric', help='default: mIoU or accuracy/top1, whichever was logged')
    parser.add_argument('--labels', nargs='+', help="names of the runs (default: directories')")


def read_runs(args: argparse.Namespace) -> Tuple[List[Run], List[str]]:
    """Read the runs that the arguments name.

    Returns:
        tuple[list[Run], list[str]]: The runs and their labels.

    Raises:
        UsageError: If a run cannot be read, has no such metric, or the labels are not as many.
    """
    try:
        runs = [read_run(path) for path in args.work_dirs]
        for run in runs:
            run.metric(args.metric)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    settings = [run.infobatch['settings'] for run in runs if run.infobatch]
    lengths = {each['num_samples'] for each in settings if 'num_samples' in each}
    if len(lengths) == 1:  # runs side by side are of one dataset
        for run in runs:
            run.count_samples(*lengths)
    for run in runs:
        if run._full_batches is not None:
            run.notes.append(FULL_BATCHES)
    labels = args.labels or [run.name for run in runs]
    if len(labels) != len(runs):
        raise UsageError(f'--labels has {len(labels)} names for {len(runs)} work directories')
    return runs, labels


def read_run(work_dir: Path) -> Run:
    """Read the run that a work directory holds.

    Raises:
        ValueError: If there are no training logs in it, or ``infobatch.json`` is not readable.
    """
    if not work_dir.is_dir():
        raise ValueError(f'{str(work_dir)!r} is not a directory: give the work_dir of a run')
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    sessions = [session for session in map(read_session, files) if session.train]
    if not sessions:
        raise ValueError(
            f'{str(work_dir)!r} has no training logs: no <timestamp>/vis_data/scalars.json in it '
            'has a row of training. Give the work_dir of a run whose visualizer has a '
            'LocalVisBackend, as the default one does'
        )
    infobatch = read_infobatch(work_dir / 'infobatch.json')
    for session in sessions:
        place_metrics(session, infobatch)

    train: List[Row] = []
    metrics: List[Row] = []
    owners: List[Session] = []  # of each row in train
    for session in sessions:
        begin = session.train[0]['iter']
        kept = sum(row['iter'] < begin for row in train)
        train = train[:kept] + session.train
        owners = owners[:kept] + [session] * len(session.train)
        metrics = [row for row in metrics if row['iter'] < begin] + session.metrics

    last = sessions[-1]
    notes = []
    begin = 0
    if infobatch is not None:
        iterations = infobatch['totals']['iterations']
        begin = infobatch['passes'][0]['begin_iter'] if infobatch['passes'] else 0
        if begin:
            iterations += begin
            notes.append(f'its first {begin:,} iterations were without InfoBatch')
        if not infobatch['totals']['finished']:
            notes.append('not finished')
    else:
        iterations = max(rows[-1]['iter'] for rows in (train, metrics) if rows)
        iterations = max(iterations, checkpoint_iteration(work_dir, last))
        planned = last.planned
        if planned is not None and iterations < planned:
            notes.append(f'the logs end at iteration {iterations} of {planned}')

    sample_steps = _sample_steps(train, owners, iterations, infobatch, begin)
    second_steps = _second_steps(train, iterations, infobatch)
    samples = seconds = full_batches = None
    if infobatch is not None:
        before = np.interp(begin, *sample_steps)
        samples = int(round(before)) + infobatch['totals']['samples_trained']
    elif any(owner.world_size is None for owner in owners):
        notes.append('samples unknown: no <timestamp>.log that tells the number of processes')
    else:
        samples = int(round(sample_steps[1][-1]))
        lengths = set(last.epoch_lengths.values())
        if last.planned_epochs is not None and len(lengths) == 1 and not last.drop_last:
            full_batches = lengths.pop(), last.batch_size * (last.world_size or 1)
    if any('time' in row for row in train):
        seconds = float(np.interp(iterations, *second_steps))
        if any(owner.log_interval > owner.log_window for owner in owners):
            notes.append(
                f'time estimated: the log has the mean of the last {last.log_window} of every '
                f'{last.log_interval} iterations'
            )
    else:
        notes.append('time unknown: the logs have none (IterTimerHook is missing)')
    name = work_dir.resolve().name
    return Run(
        name,
        train,
        metrics,
        iterations,
        samples,
        seconds,
        infobatch,
        notes,
        sample_steps,
        second_steps,
        full_batches,
        begin,
    )


def _sample_steps(
    train: List[Row],
    owners: List[Session],
    iterations: int,
    infobatch: Optional[Dict[str, Any]],
    begin: int,
) -> Tuple[np.ndarray, np.ndarray]:
    """Corners (iterations, samples) of the line along which the samples grow.

    Without InfoBatch, which begins at ``begin``, an iteration has batch size x world size samples:
    a last batch of an epoch that was shorter counts as a full one.
    """
    xs, ys = [0], [0.0]
    ends = [row['iter'] for row in train[:-1]] + [max(iterations, train[-1]['iter'])]
    for index, (end, owner) in enumerate(zip(ends, owners)):
        if infobatch is not None and end > begin:  # logged by the session that switched it on
            end, owner = begin, owners[max(index - 1, 0)]
        ys.append(ys[-1] + (end - xs[-1]) * owner.batch_size * (owner.world_size or 1))
        xs.append(end)
    for one in (infobatch or {}).get('passes', []):
        xs.append(one['begin_iter'] + one['iterations'])
        ys.append(ys[-1] + one['trained'])
    return np.array(xs), np.array(ys)


def _second_steps(
    train: List[Row], iterations: int, infobatch: Optional[Dict[str, Any]]
) -> Tuple[np.ndarray, np.ndarray]:
    """Corners (iterations, seconds) of the line along which the training time grows.

    The logged ``time`` is the mean over the iterations before a row, of loading and training
    without validation. The seconds spent choosing samples are added at the end of each pass;
    where the iteration timer has included them, they count twice, to the disadvantage of InfoBatch.
    """
    xs, ys = [0], [0.0]
    rows = [row for row in train if 'time' in row]
    for index, row in enumerate(rows):
        end = row['iter'] if index < len(rows) - 1 else max(iterations, row['iter'])
        ys.append(ys[-1] + (end - xs[-1]) * row['time'])
        xs.append(end)
    corners, seconds = np.array(xs), np.array(ys)
    for one in (infobatch or {}).get('passes', []):
        seconds = seconds + np.where(corners > one['begin_iter'], one['seconds'], 0.0)
    return corners, seconds
