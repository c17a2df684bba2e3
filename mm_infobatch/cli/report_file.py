"""Reads ``infobatch.json``, and says which value in it is not what InfoBatchHook writes."""

import json
import math
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

from .sessions import Session

NO_REPORT = (
    'trained with InfoBatch, but there is no infobatch.json: its samples are counted from full '
    'batches, its saving and whether it is finished are not known'
)
OLD_REPORT = (
    'infobatch.json in its work directory is of earlier training with InfoBatch: what was trained '
    'last is without, and is read from its logs alone'
)
# The numbers that are read of each part.
SETTINGS = 'pass_length num_samples batch_size world_size delta'.split()
TOTALS = (
    'passes iterations schedule_iterations samples_trained samples_full saving seconds_choosing '
    'finished'
).split()
PASS = (
    'pass begin_iter iterations trained full seconds pruned_share annealing threshold mean_score'
).split()
NULLABLE = ('threshold', 'mean_score')
# The least values of those that are integers.
LEAST = {
    **dict.fromkeys('pass begin_iter iterations trained full'.split(), 0),
    **dict.fromkeys('passes samples_trained samples_full'.split(), 0),
    **dict.fromkeys('pass_length num_samples batch_size world_size schedule_iterations'.split(), 1),
}


def read_infobatch(path: Path) -> Optional[Dict[str, Any]]:
    """Read ``infobatch.json``; None where there is none.

    Raises:
        ValueError: If it is not what InfoBatchHook writes.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        _check(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{str(path)!r} is not what InfoBatchHook writes: {error}. Restore it, resume the run, '
            'which writes it again, or move it away to read the run from its logs alone'
        ) from error
    if content['version'] != 1:
        raise ValueError(
            f'{str(path)!r} has version {content["version"]!r}, but only version 1 can be read. '
            'Use the tools of the mm_infobatch that wrote it'
        )
    return content


def report_of(
    work_dir: Path, sessions: List[Session]
) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """The report of a run, and a note if it is missing or of earlier training.

    A pruned run makes fewer iterations than its config says. If its report does not say how many,
    the planned length is removed from its last session, in place.

    Args:
        work_dir (Path): The work directory.
        sessions (list[Session]): Its sessions, in order.

    Raises:
        ValueError: If there is a report, but not one that InfoBatchHook writes.
    """
    infobatch, last = read_infobatch(work_dir / 'infobatch.json'), sessions[-1]
    pruned = [session for session in sessions if session.with_infobatch]
    if last.with_infobatch or not pruned:
        note = NO_REPORT if infobatch is None and pruned else None
    else:
        note = OLD_REPORT if infobatch is not None else None
        infobatch = None
    if infobatch is None and any(
        session is last or session.train[0]['iter'] < last.train[0]['iter'] for session in pruned
    ):
        last.planned_iterations = last.planned_epochs = None
        last.epoch_lengths = {}
    return infobatch, note


def _check(content: Any) -> None:
    """Check the content of a file of this version.

    Raises:
        ValueError: If a value is missing, or is not of the type that is written.
    """
    _require_part('it', content, dict)
    if 'version' not in content:
        raise ValueError('it has no version')
    if content['version'] != 1:
        return
    for name, kind in (('settings', dict), ('totals', dict), ('passes', list)):
        _require_part(name, content.get(name), kind)
    _require_numbers('settings', content['settings'], SETTINGS)
    _require_numbers('totals', content['totals'], TOTALS)
    for number, record in enumerate(content['passes']):
        name = f'passes[{number}]'
        _require_part(name, record, dict)
        _require_numbers(name, record, PASS)
        if record.get('histogram') is not None:
            _check_histogram(f'{name}.histogram', record['histogram'])


def _require_part(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f'{name} is {value!r:.40}, not a {kind.__name__}')


def _require_numbers(name: str, part: Dict[Any, Any], keys: Iterable[Any]) -> None:
    """Require finite numbers, and integers from the least value on where there is one."""
    for key in keys:
        if key not in part:
            raise ValueError(f'{name} has no {key}')
        value = part[key]
        if value is None and key in NULLABLE:
            continue
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f'{name}.{key}={value!r:.40} is not a number')
        low = LEAST.get(key)
        if low is not None and not (isinstance(value, int) and value >= low):
            raise ValueError(f'{name}.{key}={value!r} is not an integer from {low} on')


def _check_histogram(name: str, histogram: Any) -> None:
    """Require as many counts as lie between the edges."""
    _require_part(name, histogram, dict)
    _require_numbers(name, histogram, ('unseen',))
    for key in ('edges', 'counts'):
        _require_part(f'{name}.{key}', histogram.get(key), list)
        values = dict(enumerate(histogram[key]))
        _require_numbers(f'{name}.{key}', values, values)
    edges, counts = len(histogram['edges']), len(histogram['counts'])
    if edges != counts + 1:
        raise ValueError(f'{name} has {edges} edges for {counts} counts, not one more')
