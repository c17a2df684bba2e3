"""Checks of users' arguments: one error that names the value, the reason and the line to change."""

import math
from numbers import Integral, Real
from typing import Any, Iterable, List, Optional, Tuple, Union

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

RESCALE = (True, False, 'normalized')


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


def require_known(name: str, given: Iterable[str], taken: Iterable[str], line: str) -> None:
    """Refuse arguments that a class does not take.

    Args:
        name (str): The class.
        given (Iterable[str]): The arguments that it is given.
        taken (Iterable[str]): Those that it takes.
        line (str): How it is written in a config that inherits from one with another class here.

    Raises:
        TypeError: If it is given one that it does not take.
    """
    unknown = ', '.join(repr(each) for each in sorted(set(given) - set(taken)))
    if unknown:
        raise TypeError(
            f'{name} does not take {unknown}; it takes {", ".join(taken) or "no arguments"}. If '
            'the config inherits from one with another type here, the arguments of that one are '
            f'merged in: write {line}'
        )


def require_validation(
    val_begin: Any, val_interval: Any, dynamic_intervals: Optional[List[Tuple[int, int]]]
) -> None:
    """Refuse arguments of a loop that would fail when the first validation is due.

    Raises:
        ValueError: If one is no count, or ``dynamic_intervals`` no list of pairs of counts.
    """
    require_count('train_cfg.val_begin', val_begin, 0)
    require_count('train_cfg.val_interval', val_interval)
    if dynamic_intervals is None:
        return
    if not isinstance(dynamic_intervals, list) or not all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and whole_number(pair[0])
        and whole_number(pair[1])
        and pair[0] >= 0
        and pair[1] >= 1
        for pair in dynamic_intervals
    ):
        raise ValueError(
            f'train_cfg.dynamic_intervals={dynamic_intervals!r} has to be a list of pairs '
            '(milestone, val_interval from there on), such as [(0, 1000), (70000, 500)]'
        )


def require_share(
    name: str, value: Any, line: str, *, zero: bool = False, one: bool = False, why: str = ''
) -> float:
    """Take a share of the samples, a number between 0 and 1.

    Args:
        name (str): The argument.
        value (float): What was given for it.
        line (str): An example of how it is written.
        zero (bool): Whether 0 may be given. Defaults to False.
        one (bool): Whether 1 may be given. Defaults to False.
        why (str): What the number is, for the message. Defaults to ''.

    Returns:
        float: The number.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    interval = f'{"[" if zero else "("}0, 1{"]" if one else ")"}'
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} has to be a number in {interval}, but is {value!r}; write {line}')
    if not (0 < value < 1 or zero and value == 0 or one and value == 1):
        reason = f': {why}' if why else ''
        raise ValueError(f'{name}={value} lies outside {interval}{reason}; write {line}')
    return float(value)


def require_rescale(value: Any, line: str) -> Union[bool, str]:
    """Take how the kept samples are weighted.

    Args:
        value (bool or str): True for weights that sum to N, False for weights of 1,
            ``'normalized'`` for the former divided by their mean.
        line (str): An example of how it is written.

    Returns:
        bool or str: The same.

    Raises:
        ValueError: If it is none of the three.
    """
    if not any(
        value is choice or isinstance(choice, str) and value == choice for choice in RESCALE
    ):
        raise ValueError(
            f'rescale={value!r} is none of True (the weights sum to the number of samples), False '
            f"(every weight is 1) and 'normalized' (the weights have a mean of 1); write {line}"
        )
    return value


def require_scores(scores: Any, generator: Any) -> None:
    """Refuse what no policy can plan from.

    Raises:
        TypeError: If ``scores`` is no float tensor [N], or ``generator`` no generator.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.ndim != 1:
        raise TypeError(
            'scores has to be a float32 tensor [N], NaN where a sample has none, '
            f'but is {scores!r}; give it sampler.scores.values'
        )
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f'generator has to be a torch.Generator, but is {generator!r}: without '
            'one the plan would differ between ranks; give it '
            'torch.Generator().manual_seed(0)'
        )


def require_dataset(dataset: Any) -> None:
    """Refuse a training dataset whose samples cannot be named by index, or that has none.

    Raises:
        TypeError: If it is iterable or has no length.
        ValueError: If it is empty.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, '__len__'):
        raise TypeError(
            f'InfoBatchSampler names samples by index, but {type(dataset).__name__} is '
            'iterable or has no length; use a map-style dataset in train_dataloader.dataset'
        )
    if len(dataset) == 0:
        raise ValueError(
            'InfoBatchSampler got a training dataset of 0 samples; look at data_root, ann_file '
            'and the filters of train_dataloader.dataset'
        )


def require_seed(seed: Any) -> None:
    """Refuse what PyTorch takes as no seed.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it does not fit 64 bits.
    """
    require_integer('seed', seed, 'randomness=dict(seed=0)')
    if not -(2**63) <= seed < 2**63:
        raise ValueError(
            f'seed={seed} does not fit 64 bits, and PyTorch takes no other seeds; '
            'write randomness=dict(seed=0)'
        )
