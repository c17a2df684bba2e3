"""Checks of users' arguments: one error that names the value, the reason and the line to change."""
import math
from numbers import Integral, Real
from typing import Any, List, Optional, Tuple


def whole_number(value: Any) -> bool:
    """Whether a value is an integer, or a float that is one (as ``max_iters=8e4``)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value) and value == math.floor(value)


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no integer, or one that is too small.

    Raises:
        ValueError: If it is.
    """
    if not whole_number(value) or value < least:
        range_ = 'above 0' if least == 1 else f'from {least} on'
        raise ValueError(f'{name}={value!r} has to be an integer {range_}')


def require_integer(name: str, value: Any, line: str) -> None:
    """Refuse what is no integer.

    Raises:
        TypeError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f'{name} has to be an integer, but is {value!r}; write {line}')


def require_bool(name: str, value: Any, line: str) -> None:
    """Refuse what is neither True nor False: a string such as 'False' would count as true.

    Raises:
        TypeError: If it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f'{name} has to be True or False, but is {value!r}; write {line}')


def require_validation(val_begin: Any, val_interval: Any,
                       dynamic_intervals: Optional[List[Tuple[int, int]]]) -> None:
    """Refuse arguments of a loop that would fail when the first validation is due.

    Raises:
        ValueError: If one is no count, or ``dynamic_intervals`` no list of pairs of counts.
    """
    require_count('train_cfg.val_begin', val_begin, 0)
    require_count('train_cfg.val_interval', val_interval)
    if dynamic_intervals is None:
        return
    if not isinstance(dynamic_intervals, list) or not all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and whole_number(pair[0])
            and whole_number(pair[1]) and pair[0] >= 0 and pair[1] >= 1
            for pair in dynamic_intervals):
        raise ValueError(
            f'train_cfg.dynamic_intervals={dynamic_intervals!r} has to be a list of pairs '
            '(milestone, val_interval from there on), such as [(0, 1000), (70000, 500)]')
