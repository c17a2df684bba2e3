"""Reads the logs of one training session, in ``<work dir>/<timestamp>/``."""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config

Row = Dict[str, Any]

WORLD_SIZE = re.compile(r'^\s*GPU number: (\d+)\s*$', re.MULTILINE)
OUR_PARTS = re.compile(r'InfoBatch(Hook|Loss|Sampler|IterLoop|EpochLoop)\b')
EPOCH_LINE = re.compile(r'Epoch\(train\)\s+\[\s*(\d+)\]\[\s*\d+/(\d+)\]')


@dataclass
class Session:
    """One start of the training process: its logged rows, and the settings that they depend on.

    Attributes:
        train: Logged training rows.
        metrics: Rows of validation results.
        batch_size: Samples of a batch on each rank.
        world_size: The number of ranks; None if the logs do not tell it.
        metrics_by_epoch: Whether the ``step`` of a row of results is an epoch, not an iteration.
        planned_iterations: ``max_iters`` of the config; None in a run by epoch.
        planned_epochs: ``max_epochs`` of the config; None in a run by iteration.
        val_interval: Iterations between two validations of a run by iteration.
        log_interval: Iterations between two training rows.
        log_window: Iterations over which a training row is averaged.
        drop_last: Whether an incomplete last batch is left out.
        epoch_lengths: The iterations of each epoch, from 1, in the text log.
    """

    train: List[Row]
    metrics: List[Row]
    batch_size: int = 1
    world_size: Optional[int] = 1
    metrics_by_epoch: bool = True
    planned_iterations: Optional[int] = None
    planned_epochs: Optional[int] = None
    val_interval: int = 1000
    log_interval: int = 10
    log_window: int = 10
    drop_last: bool = False
    epoch_lengths: Dict[int, int] = field(default_factory=dict)
    with_infobatch: bool = False

    @property
    def planned(self) -> Optional[int]:
        """int, optional: Iterations that a run without InfoBatch is to make, where it is known."""
        if self.planned_iterations is None and self.planned_epochs is not None:
            return epoch_end(self.planned_epochs, self, None)
        return self.planned_iterations


def read_session(scalars: Path) -> Session:
    """Read one ``<timestamp>`` directory; a last line that was cut off by a kill is left out.

    Args:
        scalars (Path): Its ``vis_data/scalars.json``.

    Raises:
        ValueError: If its ``config.py`` cannot be read.
    """
    session = Session(*_read_rows(scalars))
    session.with_infobatch = any('loss_all_data' in row for row in session.train)
    config = scalars.with_name('config.py')
    if config.is_file():
        _add_settings(session, config)
        if not OUR_PARTS.search(config.read_text(errors='replace')):
            session.with_infobatch = False
            for row in session.train:  # what an earlier mm_infobatch left in its checkpoints
                row.pop('loss_all_data', None)
    folder = scalars.parent.parent
    log = folder / f'{folder.name}.log'
    if log.is_file():
        text = log.read_text(errors='replace')
        world_size = WORLD_SIZE.search(text)
        if world_size:
            session.world_size = int(world_size.group(1))
        session.epoch_lengths = {int(e): int(n) for e, n in EPOCH_LINE.findall(text)}
    return session


def _read_rows(scalars: Path) -> Tuple[List[Row], List[Row]]:
    """The logged rows of training, and those of metrics, with the ``iter`` of the row of training
    before."""
    train: List[Row] = []
    metrics: List[Row] = []
    for line in scalars.read_text(errors='replace').splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict):
            continue
        row = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        if 'iter' in row:
            train.append(row)
        elif 'step' in row and any(
            not name.startswith('infobatch/') for name in row if name != 'step'
        ):
            metrics.append(dict(row, iter=train[-1]['iter'] if train else 0))
    # A log with hierarchy names its values train/loss, val/mIoU.
    return (
        [_without_prefix(row, 'train/') for row in train],
        [_without_prefix(row, 'val/') for row in metrics],
    )


def _add_settings(session: Session, config: Path) -> None:
    """Add the settings in the config that MMEngine has written.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        cfg = Config.fromfile(str(config), import_custom_modules=False)
    except SyntaxError as error:  # cut off by a kill
        raise ValueError(
            f'{str(config)!r} cannot be read ({error}): move its directory '
            f'{config.parent.parent.name!r} out of the work directory'
        ) from error
    loader, schedule = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
    session.batch_size = loader.get('batch_size', 1)
    session.drop_last = bool(loader.get('drop_last', False))
    session.planned_iterations = schedule.get('max_iters')
    session.planned_epochs = schedule.get('max_epochs')
    session.val_interval = schedule.get('val_interval', 1000)
    logger = (cfg.get('default_hooks') or {}).get('logger') or {}
    session.metrics_by_epoch = logger.get('log_metric_by_epoch', True)
    session.log_interval = logger.get('interval', 10)
    session.log_window = (cfg.get('log_processor') or {}).get('window_size', 10)
    session.world_size = 1 if cfg.get('launcher', 'none') == 'none' else None


def _without_prefix(row: Row, prefix: str) -> Row:
    return {name[len(prefix) :] if name.startswith(prefix) else name: row[name] for name in row}


def passes_of(infobatch: Optional[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The records of the passes in ``infobatch.json``; none for a run without InfoBatch."""
    return (infobatch or {}).get('passes', [])


def place_metrics(session: Session, infobatch: Optional[Dict[str, Any]]) -> None:
    """Give each row of metrics its ``iter``; where they were logged by epoch, the epoch's end.

    A step beyond the last epoch is not an epoch: a user's hook has logged there by iterations.
    """
    if session.metrics_by_epoch and session.planned_iterations is not None:
        return _place_between(session, session.planned_iterations, infobatch)
    # An epoch may be too short for a row of its own.
    passes = [record['pass'] + 1 for record in passes_of(infobatch)]
    last_epoch = max([0, *passes, *(row.get('epoch', 0) for row in session.train)]) or math.inf
    for row in session.metrics:
        row['iter'] = row['step']
        if session.metrics_by_epoch and row['step'] <= last_epoch:
            row['iter'] = epoch_end(row['step'], session, infobatch)


def _place_between(session: Session, end: int, infobatch: Optional[Dict[str, Any]]) -> None:
    """Give each row of metrics of a run by iteration its ``iter``.

    LoggerHook has logged all of them at step 0, as there is one epoch. A row lies at a multiple of
    ``val_interval``, or at the end, between the rows of training around it.

    Args:
        session (Session): The session.
        end (int): The last iteration that it plans without InfoBatch.
        infobatch (dict, optional): Content of ``infobatch.json``.
    """
    for record in passes_of(infobatch)[-1:]:
        end = record['begin_iter'] + record['iterations']
    before = max(0, session.train[0]['iter'] - session.log_interval)  # a resumed one begins there
    for row in session.metrics:
        after = row['iter']
        later = [other['iter'] for other in session.train if other['iter'] > after]
        due = -(-max(after, before + 1) // session.val_interval) * session.val_interval
        if row['step']:  # a user's hook
            due = row['step']
        elif due >= min(later, default=end + 1):
            due = after if later else max(after, end)
        row['iter'] = before = due
    # Validated at the end, and once more when it was resumed there, which is logged by iteration
    again = {(row['iter'], *sorted(row)) for row in session.metrics if row['step']}
    session.metrics = [
        row for row in session.metrics if row['step'] or (row['iter'], *sorted(row)) not in again
    ]


def epoch_end(epoch: int, session: Session, infobatch: Optional[Dict[str, Any]]) -> int:
    """Iterations done after ``epoch`` epochs: from the passes, else the text log, else the rows."""
    passes = {record['pass']: record for record in passes_of(infobatch)}
    if epoch - 1 in passes:
        return passes[epoch - 1]['begin_iter'] + passes[epoch - 1]['iterations']
    lengths = session.epoch_lengths
    if lengths and len(set(lengths.values())) == 1:
        return epoch * next(iter(lengths.values()))
    done = [row['iter'] for row in session.train if row.get('epoch', 0) <= epoch]
    return max(done, default=0)


def checkpoint_iteration(work_dir: Path, session: Session) -> int:
    """Iterations that the last checkpoint proves to be done, 0 if it is not of this session.

    A checkpoint further than a logging interval from the last row is of an earlier run.
    """
    marker = work_dir / 'last_checkpoint'
    name = Path(marker.read_text().strip()).stem if marker.is_file() else ''
    match = re.fullmatch(r'(iter|epoch)_(\d+)', name)
    if not match:
        return 0
    done = int(match.group(2))
    if match.group(1) == 'epoch':
        done = epoch_end(done, session, None)
    return done if done <= session.train[-1]['iter'] + session.log_interval else 0
