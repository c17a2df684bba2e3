"""Finds the highest learning rates of a schedule by stepping copies of its schedulers."""

import copy
import types
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .user_code import is_known

OWN_LISTS = ('params', 'param_names', 'name')  # of a group; nothing that a scheduler reads
RATES = ('lr', 'momentum')


def effective_rate(group: Dict[str, Any]) -> float:
    """How far a group's parameters move along a gradient of 1 that lasts: lr / (1 - momentum).

    With momentum, past gradients add up to 1 / (1 - momentum) times one of them. The averages of
    Adam and the like add up to 1, so that their betas change nothing.

    Args:
        group (dict): A parameter group of an optimizer.
    """
    momentum = 0.0 if 'betas' in group else group.get('momentum') or 0.0
    return float(group['lr']) / (1 - momentum if momentum < 1 else 1)


def keep_first_rates(groups: Sequence[Dict[str, Any]]) -> None:
    """Keep the rates of the first step in the groups, for :func:`peak_rates` after a resume.

    They cannot be computed later if a metric or a hook sets the rate, or if ``OneCycleLR`` begins
    after the first step. As numbers in the groups they are saved with the optimizer.

    Args:
        groups (list[dict]): The parameter groups of an optimizer, before its first step.
    """
    for group in groups:
        for name in RATES:
            if group.get(name) is not None:
                group[f'first_{name}'] = float(group[name])


def peak_rates(
    groups: Sequence[Dict[str, Any]],
    schedulers: Sequence[Any],
    steps: int,
    epoch_length: Optional[int] = None,
) -> List[float]:
    """The highest :func:`effective_rate` of each group over a schedule, from its first step on.

    Copies of the schedulers walk the whole schedule, with an optimizer that has groups and no
    parameters. Groups in the same state share a copy. A scheduler that follows a metric
    (``ReduceOnPlateauLR``) is left out: its steps are not known in advance, and only lower the
    rate. Learning rates that hooks set are not known here.

    Args:
        groups (list[dict]): The parameter groups of an optimizer. They are not changed.
        schedulers (list[_ParamScheduler]): Its schedulers, in their order. They are not changed.
        steps (int): The length of the schedule.
        epoch_length (int, optional): The steps of an epoch; None where the loop has no epochs, so
            that schedulers by epoch do not step. Defaults to None.

    Returns:
        list[float]: One for each group.
    """
    predictable = [one for one in schedulers if not getattr(one, 'need_val_args', False)]
    kinds = [_kind(group, index, predictable) for index, group in enumerate(groups)]
    first_of: Dict[str, int] = {}  # where the first group of a kind is, in the order of the groups
    for index, kind in enumerate(kinds):
        first_of.setdefault(kind, index)
    firsts = list(first_of.values())
    reduced = [copy.deepcopy(_without_lists(groups[index])) for index in firsts]
    for group in reduced:
        _set_rates(group, 'initial')  # for rates that none of these schedulers sets
    walking = _copies(predictable, reduced, firsts)
    for group in reduced:
        _set_rates(group, 'first')
    by_iter = [scheduler for scheduler in walking if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in walking if scheduler.by_epoch]
    peaks = [effective_rate(group) for group in reduced]
    for step in range(1, steps):
        for scheduler in by_iter:
            scheduler.step()
        if epoch_length and step % epoch_length == 0:
            for scheduler in by_epoch:
                scheduler.step()
        elif not by_iter:
            continue
        peaks = [max(peak, effective_rate(group)) for peak, group in zip(peaks, reduced)]
    peak_of_kind = dict(zip(first_of, peaks))
    return [peak_of_kind[kind] for kind in kinds]


def _without_lists(group: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in group.items() if key not in OWN_LISTS}


def _set_rates(group: Dict[str, Any], prefix: str) -> None:
    """Set the rates of a group to those stored as ``{prefix}_lr`` and ``{prefix}_momentum``."""
    group.update(
        {name: group.get(f'{prefix}_{name}', group[name]) for name in RATES if name in group}
    )


def _kind(group: Dict[str, Any], index: int, schedulers: Sequence[Any]) -> str:
    """A key of the values that schedulers read: groups with the same key get the same rates.

    Each group has a key of its own if a scheduler is a user's, which may keep more for a group.
    """
    if not all(is_known(type(scheduler)) for scheduler in schedulers):
        return str(index)
    values = sorted((key, repr(value)) for key, value in _without_lists(group).items())
    return repr((values, [scheduler.base_values[index] for scheduler in schedulers]))


def _copies(
    schedulers: Sequence[Any], groups: List[Dict[str, Any]], indices: Sequence[int]
) -> List[Any]:
    """Copies of schedulers on other groups, at the first step of the schedule.

    A scheduler sets its first values when it is built, after those before it in the list.
    """

    def step() -> None:
        """Replaces ``optimizer.step``; a scheduler checks whether that was called."""

    step._with_counter = True  # type: ignore[attr-defined]
    optimizer = types.SimpleNamespace(param_groups=groups, step=step, _global_step=0)
    started: Dict[Tuple[int, str], float] = {}
    copies = []
    for scheduler in schedulers:
        twin = object.__new__(type(scheduler))
        memo = {id(scheduler.optimizer): optimizer}
        twin.__dict__.update(copy.deepcopy(scheduler.__dict__, memo))
        twin.base_values = [twin.base_values[index] for index in indices]
        twin.last_step, twin._global_step = -1, -1
        twin.verbose = False  # else it would log each step of the schedule
        for place, (group, value) in enumerate(zip(groups, twin.base_values)):
            group[twin.param_name] = started.setdefault((place, twin.param_name), value)
        copies.append(twin)
    for twin in copies:
        twin.step()
    return copies
