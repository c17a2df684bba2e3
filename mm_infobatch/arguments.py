"""Checks of users' arguments. An error names the value, the reason and the line to change."""

import math
from numbers import Integral, Real
from typing import Any, Iterable, List, Optional, Tuple, Union

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

RESCALE = (True, False, 'normalized')


def whole_number(value: Any) -> bool:
    """Whether a value is an integer, or a float without a fraction, such as ``max_iters=8e4``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value) and value == math.floor(value)


def require_count(name: str, value: Any, least: int = 1) -> int:
    """Return a value as an integer; it may be a float without a fraction, such as 8e4.

    Raises:
        ValueError: If it is not an integer of at least ``least``.
    """
    if not whole_number(value) or value < least:
        raise ValueError(f'{name}={value!r} has to be an integer of at least {least}')
    return int(value)


def require_integer(name: str, value: Any, line: str) -> None:
    """Check that a value is an integer.

    Raises:
        TypeError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f'{name} has to be an integer, but is {value!r}; write {line}')


def require_rank(rank: Any, world_size: Any) -> None:
    """Check that there is a rank of that number among ``world_size`` processes.

    Raises:
        TypeError: If one of the two is not an integer.
        ValueError: If there is no such rank.
    """
    for name, value in (('rank', rank), ('world_size', world_size)):
        require_integer(name, value, f"sampler=dict(type='InfoBatchSampler') without {name}")
    if not 0 <= rank < world_size:
        raise ValueError(
            f'rank={rank} has to be one of the {world_size} ranks 0 to {world_size - 1}'
        )


def require_bool(name: str, value: Any, line: str) -> None:
    """Check that a value is True or False. A string such as 'False' would count as true.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f'{name} has to be True or False, but is {value!r}; write {line}')


def require_number(name: str, value: Any, range_: str, line: str) -> float:
    """Check that a value is a number.

    Args:
        name (str): The argument.
        value (float): Its value.
        range_ (str): The range that it has to lie in, for the message; not checked here.
        line (str): An example of how it is written.

    Returns:
        float: The value.

    Raises:
        TypeError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} has to be a number {range_}, but is {value!r}; write {line}')
    return float(value)


def require_known(name: str, given: Iterable[str], taken: Iterable[str], line: str) -> None:
    """Refuse arguments that a class does not take.

    Args:
        name (str): The class.
        given (Iterable[str]): The arguments that it is given.
        taken (Iterable[str]): Those that it takes.
        line (str): The line for a config that inherits from one with another class in its place.

    Raises:
        TypeError: If it is given one that it does not take.
    """
    unknown = ', '.join(map(repr, sorted(set(given) - set(taken))))
    if unknown:
        raise TypeError(
            f'{name} does not take {unknown}; it takes {", ".join(taken) or "no arguments"}. If '
            'the config inherits from one with another type here, the arguments of that one are '
            f'merged in: write {line}'
        )


def require_validation(
    val_begin: Any, val_interval: Any, dynamic_intervals: Optional[List[Tuple[int, int]]]
) -> None:
    """Check arguments of a loop that would otherwise fail at the first validation.

    Raises:
        ValueError: If one is not a count, or ``dynamic_intervals`` not a list of pairs of counts.
    """
    for name, value, least in (('val_begin', val_begin, 0), ('val_interval', val_interval, 1)):
        # True counts as 1, as in mmengine's loops.
        require_count(f'train_cfg.{name}', int(value) if value is True else value, least)
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
    """Check that a value is a share, a number between 0 and 1.

    Args:
        name (str): The argument.
        value (float): Its value.
        line (str): An example of how it is written.
        zero (bool): Whether 0 is allowed. Defaults to False.
        one (bool): Whether 1 is allowed. Defaults to False.
        why (str): What the share is of, for the message. Defaults to ''.

    Returns:
        float: The value.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    interval = f'{"[" if zero else "("}0, 1{"]" if one else ")"}'
    number = require_number(name, value, f'in {interval}', line)
    if not (0 < number < 1 or zero and number == 0 or one and number == 1):
        reason = f': {why}' if why else ''
        raise ValueError(f'{name}={value} lies outside {interval}{reason}; write {line}')
    return number


def require_delta(value: Any, line: str) -> float:
    """Check ``delta``, the share of a run in which passes may prune, by :func:`require_share`."""
    why = 'it is the share of the run in which passes may prune'
    return require_share('delta', value, line, zero=True, one=True, why=why)


def require_rescale(value: Any, line: str) -> Union[bool, str]:
    """Check how a policy weights the kept samples.

    Args:
        value (bool or str): True for weights that sum to N, False for weights of 1,
            ``'normalized'`` for the former divided by their mean.
        line (str): An example of how it is written.

    Returns:
        bool or str: The value.

    Raises:
        ValueError: If it is none of the three.
    """
    for choice in RESCALE:  # by identity, as 1 == True
        if value is choice or isinstance(choice, str) and value == choice:
            return choice
    raise ValueError(
        f'rescale={value!r} has to be True (the weights sum to the number of samples), False '
        f"(every weight is 1) or 'normalized' (the weights have a mean of 1); write {line}"
    )


def require_scores(scores: Any, generator: Any) -> None:
    """Check the arguments of a policy's ``plan``.

    Raises:
        TypeError: If ``scores`` is not a float32 tensor [N], or ``generator`` not a generator.
    """
    if not isinstance(scores, Tensor) or scores.dtype != torch.float32 or scores.ndim != 1:
        raise TypeError(
            'scores has to be a float32 tensor [N], NaN for a sample without a score, but is '
            f'{scores!r}; pass sampler.scores.values'
        )
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f'generator has to be a torch.Generator, but is {generator!r}: without one the ranks '
            'would make different plans; pass torch.Generator().manual_seed(0)'
        )


def require_dataset(dataset: Any) -> None:
    """Check that the samples of a training dataset have an index.

    Raises:
        TypeError: If it is iterable or has no length.
        ValueError: If it is empty.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, '__len__'):
        raise TypeError(
            f'InfoBatchSampler needs a dataset whose samples have an index, but '
            f'{type(dataset).__name__} is iterable or has no length; use a map-style dataset in '
            'train_dataloader.dataset'
        )
    if len(dataset) == 0:
        raise ValueError(
            'InfoBatchSampler got a training dataset of 0 samples; check data_root, ann_file and '
            'the filters of train_dataloader.dataset'
        )


def require_seed(seed: Any, line: str = 'randomness=dict(seed=0)') -> None:
    """Check that PyTorch accepts a seed.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it does not fit into 64 bits.
    """
    require_integer('seed', seed, line)
    if not -(2**63) <= seed < 2**63:
        raise ValueError(
            f'seed={seed} does not fit into 64 bits, so PyTorch does not accept it; write {line}'
        )


OF_SAMPLER = (
    'sampler.{name} is {old!r} since the sampler was built, and {new!r} would have no effect on '
    'its plans; write it into train_dataloader.sampler.{name}, or have the hook that sets it '
    'change a setting of the policy, such as sampler.policy.prune_ratio'
)
OF_LOOP = (
    'train_loop.{name} is {old!r} since the loop was built, and {new!r} would have no effect on '
    'its schedule; write it into train_cfg, or have the hook that sets it end the run by '
    'train_loop.stop_training = True'
)


def set_once(name: str, message: str = OF_SAMPLER) -> Any:
    """An attribute of a sampler or a loop that is set when it is built, and stays.

    Args:
        name (str): The attribute's.
        message (str): The error, with fields ``name``, ``old`` and ``new``. Defaults to that of a
            sampler.

    Returns:
        property: Setting it to another value raises a ValueError.
    """

    def get_value(owner: Any) -> Any:
        return vars(owner)[name]

    def set_value(owner: Any, value: Any) -> None:
        old = vars(owner).setdefault(name, value)
        if old != value:
            raise ValueError(message.format(name=name, old=old, new=value))

    return property(get_value, set_value)
