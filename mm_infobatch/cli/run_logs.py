"""Reads runs from their work directories, for ``summarize``, ``plot`` and ``inspect``.

A training session leaves in ``<work dir>/<timestamp>/``: ``vis_data/scalars.json`` (written by
MMEngine's LocalVisBackend), ``vis_data/config.py`` and ``<timestamp>.log``. A run that was resumed
has several sessions: they are merged by iteration, and rows of an earlier session are dropped from
the first iteration on that a later one logged. ``infobatch.json`` in the work directory, written by
InfoBatchHook, adds the passes, the exact number of samples, and the saving.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .common import UsageError
from .logged_run import LoggedRun
from .report_file import report_of
from .sessions import (
    Row,
    Session,
    checkpoint_iteration,
    passes_of,
    place_metrics,
    read_session,
)

FULL_BATCHES = (
    'the last batch of an epoch is counted as a full one; give the work directory of an InfoBatch '
    'run beside it, which has the length of the dataset'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which runs to read."""
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--metric', help='default: mIoU or accuracy/top1, whichever was logged')
    parser.add_argument('--labels', nargs='+', help="names of the runs (default: directories')")


def read_runs(args: argparse.Namespace) -> Tuple[List[LoggedRun], List[str]]:
    """Read the runs that the arguments name.

    Returns:
        tuple[list[LoggedRun], list[str]]: The runs and their labels.

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
        if run.full_batches is not None:
            run.notes.append(FULL_BATCHES)
    labels = args.labels or distinct_labels([run.name for run in runs], args.work_dirs)
    if len(labels) != len(runs):
        raise UsageError(f'--labels has {len(labels)} names for {len(runs)} work directories')
    return runs, labels


def distinct_labels(labels: Sequence[str], work_dirs: Sequence[Path]) -> List[str]:
    """The labels of the runs; equal ones are extended by their paths until they differ."""
    folders = [path.resolve().parts for path in work_dirs]
    names = list(labels)
    for depth in range(2, max(map(len, folders), default=0) + 1):
        if len(set(names)) == len(names):
            break
        names = [
            name if names.count(name) == 1 else '/'.join(parts[-depth:])
            for name, parts in zip(names, folders)
        ]
    return names


def read_run(work_dir: Path) -> LoggedRun:
    """Read the run that a work directory holds.

    Raises:
        ValueError: If there are no training logs in it, or ``infobatch.json`` is not readable.
    """
    sessions = _read_sessions(work_dir)
    infobatch, about_report = report_of(work_dir, sessions)
    for session in sessions:
        place_metrics(session, infobatch)
    train, metrics, owners = _merged(sessions)
    begin = next((record['begin_iter'] for record in passes_of(infobatch)), 0)
    iterations, unfinished = _iterations_done(
        work_dir, train, metrics, sessions[-1], infobatch, begin
    )
    run = LoggedRun(
        work_dir.resolve().name,
        train,
        metrics,
        iterations,
        samples=None,
        seconds=None,
        infobatch=infobatch,
        notes=[f'its first {begin:,} iterations were without InfoBatch'] if begin else [],
        sample_corners=_sample_corners(train, owners, iterations, infobatch, begin),
        second_corners=_second_corners(train, iterations, infobatch),
        begin=begin,
        unfinished=unfinished,
        planned=None if infobatch is not None else sessions[-1].planned,
    )
    if about_report is not None:
        run.notes.append(about_report)
    if unfinished is not None:
        run.notes.append(unfinished)
    _count_samples(run, owners)
    _measure_time(run, owners)
    return run


def _count_samples(run: LoggedRun, owners: List[Session]) -> None:
    """Set the samples of a run, or note why they are unknown."""
    iterations, samples = run.sample_corners
    last = owners[-1]
    if run.infobatch is not None:
        before = np.interp(run.begin, iterations, samples)
        run.samples = int(round(before)) + run.infobatch['totals']['samples_trained']
    elif any(owner.world_size is None for owner in owners):
        run.notes.append('samples unknown: no <timestamp>.log with the number of processes')
    else:
        run.samples = int(round(samples[-1]))
        lengths = set(last.epoch_lengths.values())
        if last.planned_epochs is not None and len(lengths) == 1 and not last.drop_last:
            run.full_batches = lengths.pop(), last.batch_size * (last.world_size or 1)


def _measure_time(run: LoggedRun, owners: List[Session]) -> None:
    """Set the seconds of a run, and note where they are estimated or unknown."""
    if not any('time' in row for row in run.train):
        run.notes.append('time unknown: the logs have none (IterTimerHook is missing)')
        return
    run.seconds = float(run.seconds_at(np.array(run.iterations)))
    last = owners[-1]
    if any(owner.log_interval > owner.log_window for owner in owners):
        run.notes.append(
            f'time estimated: the log has the mean of the last {last.log_window} of every '
            f'{last.log_interval} iterations'
        )


def _read_sessions(work_dir: Path) -> List[Session]:
    """The sessions of a run that have logged a training iteration, in order.

    What one without training has validated, which was resumed at the end of the run, belongs to
    the session before it.

    Raises:
        ValueError: If there is none.
    """
    if not work_dir.is_dir():
        raise ValueError(f'{str(work_dir)!r} is not a directory: give the work_dir of a run')
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    sessions: List[Session] = []
    for session in map(read_session, files):
        if session.train:
            sessions.append(session)
        elif sessions:
            new = [row for row in session.metrics if row['step'] > 0]
            again = {row['step'] for row in new}
            old = [row for row in sessions[-1].metrics if row['step'] not in again]
            sessions[-1].metrics = old + new
    if not sessions:
        raise ValueError(
            f'{str(work_dir)!r} has no training logs: no <timestamp>/vis_data/scalars.json in it '
            'has a row of training. Give the work_dir of a run whose visualizer has a '
            'LocalVisBackend, as the default one does'
        )
    return sessions


def _merged(sessions: List[Session]) -> Tuple[List[Row], List[Row], List[Session]]:
    """The rows of all sessions, without those that a later session has logged again.

    Returns:
        tuple[list[Row], list[Row], list[Session]]: The training rows, the rows of metrics, and the
        session of each training row.
    """
    train: List[Row] = []
    metrics: List[Row] = []
    owners: List[Session] = []
    for session in sessions:
        begin = session.train[0]['iter']
        kept = sum(row['iter'] < begin for row in train)
        train = train[:kept] + session.train
        owners = owners[:kept] + [session] * len(session.train)
        metrics = [row for row in metrics if row['iter'] < begin] + session.metrics
    return train, metrics, owners


def _iterations_done(
    work_dir: Path,
    train: List[Row],
    metrics: List[Row],
    last: Session,
    infobatch: Optional[Dict[str, Any]],
    begin: int,
) -> Tuple[int, Optional[str]]:
    """The iterations that a run has made, and why they are not all, if they are not."""
    if infobatch is None:
        logged = max(rows[-1]['iter'] for rows in (train, metrics) if rows)
        iterations = max(logged, checkpoint_iteration(work_dir, last))
        if last.planned is not None and iterations < last.planned:
            return iterations, f'the logs end at iteration {iterations} of {last.planned}'
        return iterations, None
    totals = infobatch['totals']
    unfinished = None
    if totals.get('stopped'):  # which an earlier mm_infobatch did not say
        unfinished = 'stopped by a hook before the end of its schedule'
    elif not totals['finished']:
        unfinished = 'not finished'
    return totals['iterations'] + begin, unfinished


def _sample_corners(
    train: List[Row],
    owners: List[Session],
    iterations: int,
    infobatch: Optional[Dict[str, Any]],
    begin: int,
) -> Tuple[np.ndarray, np.ndarray]:
    """``LoggedRun.sample_corners``.

    Without InfoBatch, which begins at ``begin``, an iteration has batch size x world size samples:
    a last batch of an epoch that was shorter counts as a full one, unless the length of the
    dataset is known from a later pass.
    """
    xs, ys = [0], [0.0]
    ends = [row['iter'] for row in train[:-1]] + [max(iterations, train[-1]['iter'])]
    for index, (end, owner) in enumerate(zip(ends, owners)):
        if infobatch is not None and end > begin:  # logged by the session that switched it on
            end, owner = begin, owners[max(index - 1, 0)]
        ys.append(ys[-1] + (end - xs[-1]) * owner.batch_size * (owner.world_size or 1))
        xs.append(end)
    if infobatch is not None and begin and owners[0].planned_epochs is not None:
        epochs, length = infobatch['passes'][0]['pass'], infobatch['settings']['num_samples']
        full = ys[-1] / max(epochs, 1)
        if not owners[0].drop_last and full - ys[-1] / begin < length <= full:
            ys = [y * length / full for y in ys]
    for record in passes_of(infobatch):
        xs.append(record['begin_iter'] + record['iterations'])
        ys.append(ys[-1] + record['trained'])
    return np.array(xs), np.array(ys)


def _second_corners(
    train: List[Row], iterations: int, infobatch: Optional[Dict[str, Any]]
) -> Tuple[np.ndarray, np.ndarray]:
    """``LoggedRun.second_corners``.

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
    for record in passes_of(infobatch):
        seconds = seconds + np.where(corners > record['begin_iter'], record['seconds'], 0.0)
    return corners, seconds
