"""Checks of the arguments that policies have in common."""
from typing import Any, Union

RESCALE = (True, False, 'normalized')


def require_share(name: str, value: Any, line: str, *, zero: bool = False, one: bool = False,
                  why: str = '') -> float:
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
    if not any(value is choice or isinstance(choice, str) and value == choice
               for choice in RESCALE):
        raise ValueError(
            f'rescale={value!r} is none of True (the weights sum to the number of samples), False '
            f"(every weight is 1) and 'normalized' (the weights have a mean of 1); write {line}")
    return value
