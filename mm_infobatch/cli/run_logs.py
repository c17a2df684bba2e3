"""Reads a run back from its work directory, for ``summarize.py`` and ``plot_curves.py``.

A training session leaves in ``<work dir>/<timestamp>/``: ``vis_data/scalars.json`` (written by
mmengine's LocalVisBackend), ``vis_data/config.py`` and ``<timestamp>.log``. A run that was resumed
has several sessions: they are merged by iteration, and from the first iteration that a later
session logged on, what an earlier one logged is dropped. ``infobatch.json`` in the work directory,
written by InfoBatchHook, adds the passes, the exact number of samples, and the saving.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from mmengine.config import Config

Row = Dict[str, Any]

PREFERRED_METRICS = ('mIoU', 'accuracy/top1')
WORLD_SIZE = re.compile(r'^\s*GPU number: (\d+)\s*$', re.MULTILINE)
EPOCH_LINE = re.compile(r'Epoch\(train\)\s+\[\s*(\d+)\]\[\s*\d+/(\d+)\]')


@dataclass
class Session:
    """One start of the training process: its logged rows, and the settings they depend on."""

    train: List[Row]
    metrics: List[Row]
    batch_size: int = 1
    world_size: Optional[int] = 1
    metrics_by_epoch: bool = True
    planned_iterations: Optional[int] = None
    planned_epochs: Optional[int] = None
    log_interval: int = 10
    log_window: int = 10
    epoch_lengths: Dict[int, int] = field(default_factory=dict)


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
        notes: What a reader of the numbers should know about them.
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

    def samples_at(self, iterations: np.ndarray) -> np.ndarray:
        """Samples trained on after the given iterations, float64 [M]."""
        return np.interp(iterations, *self._sample_steps)

    def seconds_at(self, iterations: np.ndarray) -> np.ndarray:
        """Training time in seconds after the given iterations, float64 [M]."""
        return np.interp(iterations, *self._second_steps)

    def loss(self) -> Tuple[np.ndarray, np.ndarray]:
        """Iterations int64 [M] and the training loss logged there, float64 [M]."""
        rows = [row for row in self.train if 'loss' in row]
        return np.array([row['iter'] for row in rows], int), np.array([row['loss'] for row in rows])

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


def read_run(work_dir: Path) -> Run:
    """Read the run that a work directory holds.

    Raises:
        ValueError: If there are no training logs in it, or ``infobatch.json`` is not readable.
    """
    if not work_dir.is_dir():
        raise ValueError(f'{str(work_dir)!r} is not a directory: give the work_dir of a run')
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    sessions = [session for session in map(_read_session, files) if session.train]
    if not sessions:
        raise ValueError(
            f'{str(work_dir)!r} has no training logs: no <timestamp>/vis_data/scalars.json in it '
            'has a row of training. Give the work_dir of a run whose visualizer has a '
            'LocalVisBackend, as the default one does'
        )
    infobatch = _read_infobatch(work_dir / 'infobatch.json')
    for session in sessions:
        _place_metrics(session, infobatch)

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
    if infobatch is not None:
        iterations = infobatch['totals']['iterations']
        if not infobatch['totals']['finished']:
            notes.append('not finished')
    else:
        iterations = max(rows[-1]['iter'] for rows in (train, metrics) if rows)
        iterations = max(iterations, _checkpoint_iteration(work_dir, last))
        planned = last.planned_iterations
        if planned is None and last.planned_epochs is not None:
            planned = _epoch_end(last.planned_epochs, last, None)
        if planned is not None and iterations < planned:
            notes.append(f'the logs end at iteration {iterations} of {planned}')

    sample_steps = _sample_steps(train, owners, iterations, infobatch)
    second_steps = _second_steps(train, iterations, infobatch)
    samples = seconds = None
    if infobatch is not None:
        samples = infobatch['totals']['samples_trained']
    elif any(owner.world_size is None for owner in owners):
        notes.append('samples unknown: no <timestamp>.log that tells the number of processes')
    else:
        samples = int(round(sample_steps[1][-1]))
    if any('time' in row for row in train):
        seconds = float(second_steps[1][-1])
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
    )


def _read_session(scalars: Path) -> Session:
    """Read one ``<timestamp>`` directory; a last line that was cut off by a kill is left out."""
    session = Session(train=[], metrics=[])
    for line in scalars.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict):
            continue
        if 'iter' in row:
            session.train.append(row)
        elif any(not name.startswith('infobatch/') for name in row if name != 'step'):
            session.metrics.append(row)
    # A log with hierarchy names its values train/loss, val/mIoU.
    session.train = [_without_prefix(row, 'train/') for row in session.train]
    session.metrics = [_without_prefix(row, 'val/') for row in session.metrics]

    config = scalars.with_name('config.py')
    if config.is_file():
        cfg = Config.fromfile(str(config), import_custom_modules=False)
        loader, schedule = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
        session.batch_size = loader.get('batch_size', 1)
        session.planned_iterations = schedule.get('max_iters')
        session.planned_epochs = schedule.get('max_epochs')
        logger = cfg.get('default_hooks', {}).get('logger', {})
        session.metrics_by_epoch = logger.get('log_metric_by_epoch', True)
        session.log_interval = logger.get('interval', 10)
        session.log_window = (cfg.get('log_processor') or {}).get('window_size', 10)
        session.world_size = 1 if cfg.get('launcher', 'none') == 'none' else None
    folder = scalars.parent.parent
    log = folder / f'{folder.name}.log'
    if log.is_file():
        text = log.read_text(errors='replace')
        world_size = WORLD_SIZE.search(text)
        if world_size:
            session.world_size = int(world_size.group(1))
        session.epoch_lengths = {int(e): int(n) for e, n in EPOCH_LINE.findall(text)}
    return session


def _without_prefix(row: Row, prefix: str) -> Row:
    return {name[len(prefix) :] if name.startswith(prefix) else name: row[name] for name in row}


def _read_infobatch(path: Path) -> Optional[Dict[str, Any]]:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        version = content['version']
        if version == 1:
            totals = content['totals']
            totals['iterations'], totals['finished'], totals['samples_trained'], totals['saving']
            for one in content['passes']:
                one['pass'], one['begin_iter'] + one['iterations'], one['trained'], one['seconds']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{str(path)!r} is not what InfoBatchHook writes: {error!r}') from error
    if version != 1:
        raise ValueError(
            f'{str(path)!r} has version {version!r}, but only version 1 can be read. Use the '
            'tools of the mm_infobatch that wrote it'
        )
    return content


def _place_metrics(session: Session, infobatch: Optional[Dict[str, Any]]) -> None:
    """Give each row of metrics its ``iter``; where they were logged by epoch, the epoch's end."""
    for row in session.metrics:
        row['iter'] = row['step']
        if session.metrics_by_epoch:
            row['iter'] = _epoch_end(row['step'], session, infobatch)


def _epoch_end(epoch: int, session: Session, infobatch: Optional[Dict[str, Any]]) -> int:
    """Iterations done after ``epoch`` epochs: from the passes, else the text log, else the rows."""
    passes = {one['pass']: one for one in (infobatch or {}).get('passes', [])}
    if epoch - 1 in passes:
        return passes[epoch - 1]['begin_iter'] + passes[epoch - 1]['iterations']
    lengths = session.epoch_lengths
    if lengths and len(set(lengths.values())) == 1:
        return epoch * next(iter(lengths.values()))
    done = [row['iter'] for row in session.train if row.get('epoch', 0) <= epoch]
    return max(done, default=0)


def _checkpoint_iteration(work_dir: Path, session: Session) -> int:
    """Iterations that the last checkpoint proves to be done, 0 if it is not of this session.

    A checkpoint further than a logging interval from the last row is of an earlier run.
    """
    marker = work_dir / 'last_checkpoint'
    name = Path(marker.read_text().strip()).stem if marker.is_file() else ''
    found = re.fullmatch(r'(iter|epoch)_(\d+)', name)
    if not found:
        return 0
    done = int(found.group(2))
    if found.group(1) == 'epoch':
        done = _epoch_end(done, session, None)
    return done if done <= session.train[-1]['iter'] + session.log_interval else 0


def _sample_steps(
    train: List[Row],
    owners: List[Session],
    iterations: int,
    infobatch: Optional[Dict[str, Any]],
) -> Tuple[np.ndarray, np.ndarray]:
    """Corners (iterations, samples) of the line along which the samples grow.

    Without ``infobatch.json`` an iteration has batch size x world size samples: a last batch of
    an epoch that was shorter counts as a full one.
    """
    xs, ys = [0], [0.0]
    if infobatch is not None:
        for one in infobatch['passes']:
            xs.append(one['begin_iter'] + one['iterations'])
            ys.append(ys[-1] + one['trained'])
    else:
        ends = [row['iter'] for row in train[:-1]] + [max(iterations, train[-1]['iter'])]
        for end, owner in zip(ends, owners):
            ys.append(ys[-1] + (end - xs[-1]) * owner.batch_size * (owner.world_size or 1))
            xs.append(end)
    return np.array(xs), np.array(ys)


def _second_steps(
    train: List[Row], iterations: int, infobatch: Optional[Dict[str, Any]]
) -> Tuple[np.ndarray, np.ndarray]:
    """Corners (iterations, seconds) of the line along which the training time grows.

    The logged ``time`` is the mean over the iterations before a row, of loading and training
    without validation. The seconds spent choosing samples are added at the end of each pass;
    where the iteration timer has seen them too they count twice, which speaks against InfoBatch.
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
