"""Checks the state in a checkpoint before training resumes from it, and never repairs it.

A state that is wrong in one place cannot be trusted in the others, and pruning by wrong scores
would look like training. So a state that is not as it was saved is refused, before anything is
trained.
"""

import math
from typing import Any, Dict, Optional

import torch
from torch import Tensor

from ..passes.schedule import BUDGETS

VERSION = 2
STATE_KEYS = ('version', 'schedule', 'records', 'sampler', 'merged', 'losses')
SCHEDULE_KEYS = (
    'pass_length',
    'pass_index',
    'iters',
    'walked',
    'pass_iter',
    'pass_iters',
    'pass_from',
    'pass_to',
)
SAMPLER_COUNTS = ('epoch', 'consumed', 'samples_trained', 'samples_skipped')
SAMPLER_KEYS = (*SAMPLER_COUNTS, 'seed', 'threshold', 'scores', 'order', 'weights')
RECORD_NUMBERS = (
    'pass',
    'begin_iter',
    'iterations',
    'kept',
    'pruned',
    'seconds',
    'trained',
    'full',
    'saving',
)


def _require(condition: bool, reason: str) -> None:
    """Refuse the state, for that reason, unless a condition holds.

    Raises:
        ValueError: If it does not.
    """
    if not condition:
        raise ValueError(
            f'training cannot resume from the InfoBatch state in the checkpoint: {reason}. Resume '
            'from another checkpoint, or start a new run from the weights of this one with '
            'load_from=CHECKPOINT and resume=False'
        )


def _require_keys(name: str, node: Any, keys: Any) -> None:
    _require(isinstance(node, dict), f'{name} is a {type(node).__name__}, not a dict')
    missing = [key for key in keys if key not in node]
    _require(not missing, f'{name} has no {", ".join(missing)}')


def _require_int(name: str, value: Any, low: int = 0) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and value >= low,
        f'{name}={value!r} is not an integer from {low} on',
    )


def _require_number(name: str, value: Any) -> None:
    _require(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value),
        f'{name}={value!r} is not a finite number',
    )


def _require_tensor(name: str, value: Any, dtype: torch.dtype, length: Optional[int]) -> None:
    actual = (
        f'{value.dtype} of shape {list(value.shape)}'
        if torch.is_tensor(value)
        else f'a {type(value).__name__}'
    )
    _require(
        torch.is_tensor(value)
        and value.dtype == dtype
        and value.ndim == 1
        and length in (None, len(value)),
        f'{name} has to be {dtype} of shape [{"N" if length is None else length}], but is {actual}',
    )


def upgraded(state: Any) -> Any:
    """The state of a checkpoint, with the keys of this version.

    Version 1 had other names for four keys of the schedule and two of the sampler.
    """
    if not isinstance(state, dict) or state.get('version') != 1 or state['version'] is True:
        return state
    new_keys = dict(
        step='pass_iter', steps='pass_iters', taken_up_at='pass_from', ends_at='pass_to'
    )
    schedule, sampler = state.get('schedule'), state.get('sampler')
    if isinstance(schedule, dict):
        schedule = {new_keys.get(key, key): value for key, value in schedule.items()}
    if isinstance(sampler, dict):
        counts = {f'samples_{key}': sampler.get(key, 0) for key in ('trained', 'skipped')}
        sampler = dict(sampler, **counts)
    changed = dict(version=VERSION, schedule=schedule, sampler=sampler)
    return {key: changed.get(key, value) for key, value in state.items()}


def check_state(state: Any, iters: Optional[int] = None, epoch: Optional[int] = None) -> None:
    """Check the state of a checkpoint, which :class:`~mm_infobatch.InfoBatchHook` wrote.

    The score table checks later whether it belongs to a dataset of this length.

    Args:
        state (dict): What the checkpoint holds under the key ``infobatch``.
        iters (int, optional): The iterations that the checkpoint says have been done. Defaults to
            None: not compared.
        epoch (int, optional): The epochs that it says have been done, in an epoch loop. Defaults
            to None: not compared.

    Raises:
        ValueError: If anything is missing, is not of the type, shape or range that was saved, or
            contradicts something else.
    """
    _require(isinstance(state, dict), f'it is a {type(state).__name__}, not a dict')
    version = state.get('version')
    _require(
        version == VERSION and not isinstance(version, bool),
        f'it is of version {version!r}, and this mm_infobatch reads version {VERSION} (resume '
        'with the mm_infobatch that wrote it)',
    )
    _require_keys('it', state, STATE_KEYS)
    _check_schedule(state['schedule'])
    _check_sampler(state['sampler'])
    _check_position(state)
    if 'randomness' in state:  # not in version 1
        _check_randomness(state['randomness'])
    if 'loss_all_data' in state:  # not in an earlier mm_infobatch, nor where DeepSpeed saves
        logged = state['loss_all_data']
        floats = isinstance(logged, list) and all(isinstance(value, float) for value in logged)
        _require(floats, 'loss_all_data is not a list of numbers')
    _check_records(state['records'], state['schedule']['pass_index'])
    schedule = state['schedule']
    _require(
        iters is None or iters == schedule['iters'],
        f'it is of iteration {schedule["iters"]}, but the checkpoint is of iteration {iters}',
    )
    # A checkpoint after an epoch holds the finished pass, one within an epoch the running one.
    _require(
        epoch is None or epoch - 1 <= schedule['pass_index'] <= epoch,
        f'it is of pass {schedule["pass_index"]} (from 0), but the checkpoint is of epoch {epoch}: '
        'was it trained by InfoBatchIterLoop? Then resume with that loop',
    )


def _check_schedule(schedule: Any) -> None:
    _require_keys('schedule', schedule, SCHEDULE_KEYS)
    for key in SCHEDULE_KEYS:
        _require_int(f'schedule.{key}', schedule[key], int(key == 'pass_length'))
    # An earlier mm_infobatch did not save the budget.
    _require(
        schedule.get('budget', BUDGETS[0]) in BUDGETS,
        f'schedule.budget={schedule.get("budget")!r} is neither of {BUDGETS}',
    )
    _require(
        schedule['pass_iter'] <= schedule['pass_iters'],
        f'schedule.pass_iter={schedule["pass_iter"]} is greater than '
        f'schedule.pass_iters={schedule["pass_iters"]}',
    )
    _require(
        schedule['pass_from'] <= schedule['walked'] <= schedule['pass_to'],
        f'schedule.walked={schedule["walked"]} lies outside its pass, from '
        f'{schedule["pass_from"]} to {schedule["pass_to"]}',
    )


def _check_sampler(sampler: Any) -> None:
    _require_keys('sampler', sampler, SAMPLER_KEYS)
    for key in SAMPLER_COUNTS:
        _require_int(f'sampler.{key}', sampler[key])
    _require(
        isinstance(sampler['seed'], int) and not isinstance(sampler['seed'], bool),
        f'sampler.seed={sampler["seed"]!r} is not an integer',
    )
    if sampler['threshold'] is not None:
        _require_number('sampler.threshold', sampler['threshold'])
    scores, order, weights = sampler['scores'], sampler['order'], sampler['weights']
    _require_tensor('sampler.scores', scores, torch.float32, None)
    _require(not bool(scores.isinf().any()), 'sampler.scores holds an infinite score')
    is_int32 = torch.is_tensor(order) and order.dtype == torch.int32
    _require_tensor('sampler.order', order, torch.int32 if is_int32 else torch.int64, None)
    _check_order(order, len(scores))
    _require_tensor('sampler.weights', weights, torch.float32, len(order))
    _require(
        bool((weights.isfinite() & (weights > 0)).all()),
        'sampler.weights holds a weight that is NaN, infinite or not above 0',
    )
    if 'tracked' in sampler:  # not in an earlier mm_infobatch, nor with track=False
        _check_tracked(sampler['tracked'], len(scores))


def _check_tracked(tracked: Any, num_samples: int) -> None:
    name = 'sampler.tracked'
    _require_keys(name, tracked, ('trained', 'mean', 'squares', 'passes'))
    _require_int(f'{name}.passes', tracked['passes'])
    trained, mean, squares = (tracked[key] for key in ('trained', 'mean', 'squares'))
    _require_tensor(f'{name}.trained', trained, torch.int16, num_samples)
    _require_tensor(f'{name}.mean', mean, torch.float32, num_samples)
    _require_tensor(f'{name}.squares', squares, torch.float32, num_samples)
    _require(bool((trained >= 0).all()), f'{name}.trained holds a count below 0')
    _require(
        torch.equal(mean.isfinite(), trained > 0) and not bool(mean.isinf().any()),
        f'{name}.mean is not a number where, and only where, a loss was taken',
    )
    _require(
        bool((squares.isfinite() & (squares >= 0)).all()),
        f'{name}.squares holds a sum that is NaN, infinite or below 0',
    )
    if 'unfinished' in tracked:  # not in an earlier mm_infobatch
        unfinished = tracked['unfinished']
        _require_tensor(f'{name}.unfinished', unfinished, torch.int64, None)
        known = bool(((unfinished >= 0) & (unfinished < num_samples)).all())
        _require(known, f'{name}.unfinished names samples that are not in [0, {num_samples})')


def _check_order(order: Tensor, num_samples: int) -> None:
    _require(len(order) > 0, 'sampler.order is empty')
    low, high = int(order.min()), int(order.max())
    _require(
        0 <= low and high < num_samples,
        f'sampler.order goes from {low} to {high}, but there are scores of {num_samples} samples',
    )
    _require(len(order.unique()) == len(order), 'sampler.order names a sample more than once')


def _check_position(state: Dict[str, Any]) -> None:
    """Check that schedule, sampler and losses say the same of the position in the pass."""
    schedule, sampler, merged = state['schedule'], state['sampler'], state['merged']
    _require_int('merged', merged)
    consumed, kept = sampler['consumed'], len(sampler['order'])
    _require(merged <= consumed, f'merged={merged} is greater than sampler.consumed={consumed}')
    _require_tensor('losses', state['losses'], torch.float32, consumed - merged)
    _require(
        sampler['epoch'] == schedule['pass_index'],
        f'sampler.epoch={sampler["epoch"]} is not schedule.pass_index={schedule["pass_index"]}',
    )
    _require(
        consumed < kept or schedule['pass_iter'] == schedule['pass_iters'],
        f'sampler.consumed={consumed} is the whole pass of {kept} samples, but '
        f'{schedule["pass_iter"]} of {schedule["pass_iters"]} iterations have been made',
    )
    _require(
        consumed > 0 or schedule['pass_iter'] == 0,
        f'sampler.consumed=0, but {schedule["pass_iter"]} iterations of the pass have been made',
    )


def _check_randomness(randomness: Any) -> None:
    _require_keys('randomness', randomness, ('states', 'persistent', 'opened'))
    states = randomness['states']
    _require(
        torch.is_tensor(states) and states.dtype == torch.uint8 and states.ndim == 2,
        'randomness.states is not a uint8 tensor [W, L]',
    )
    for key in ('persistent', 'opened'):
        _require_keys(f'randomness.{key}', randomness[key], ('train', 'val'))


def _check_records(records: Any, pass_index: int) -> None:
    _require(isinstance(records, list) and bool(records), 'records is not a list of passes')
    for index, record in enumerate(records):
        _require_keys(f'records[{index}]', record, RECORD_NUMBERS)
        for key in RECORD_NUMBERS:
            _require_number(f'records[{index}].{key}', record[key])
    _require(
        records[-1]['pass'] == pass_index,
        f'its last record is of pass {records[-1]["pass"]}, but its schedule of pass {pass_index}',
    )
