"""Switches InfoBatch on in a config, with ``--infobatch-options``."""

import argparse
import inspect
from typing import Any, Dict, Optional

from mmengine.config import Config

from ..convert import CannotConvert, check_config, convert
from .common import ConfigOptions, UsageError


def add_infobatch_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--infobatch-options``."""
    parser.add_argument(
        '--infobatch-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='settings of InfoBatch: prune_ratio=0.5 delta=0.875 budget=iterations '
        'policy.type=SoftPruning score=CrossEntropyLoss per_image=True step_length=capped '
        'track=False; see mm_infobatch.convert',
    )


def switch_on_infobatch(cfg: Config, options: Optional[Dict[str, Any]]) -> Config:
    """Convert a config; the given one is not changed.

    Args:
        cfg (Config): A training config.
        options (dict, optional): The arguments of :func:`mm_infobatch.convert`.

    Raises:
        UsageError: If it cannot be converted, or an option is unknown or out of range.
    """
    nested = Config()
    try:
        nested.merge_from_dict(options or {})  # policy.type=... is policy=dict(type=...)
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f'--infobatch-options {options}: two of them contradict each other'
        ) from error
    arguments = nested.to_dict()
    known = list(inspect.signature(convert).parameters)[1:]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise UsageError(
            f'--infobatch-options: there is no option {", ".join(map(repr, unknown))}; the options '
            f'are {", ".join(known)}'
        )
    try:
        return convert(cfg, **arguments)
    except CannotConvert as error:
        raise UsageError(f'--infobatch: {error}') from error
    except (TypeError, ValueError) as error:
        raise UsageError(f'--infobatch-options: {error}') from error


def check_infobatch(cfg: Config) -> None:
    """Check the InfoBatch settings of a config, before mmengine prints it.

    Raises:
        UsageError: If it cannot be trained.
    """
    try:
        check_config(cfg)
    except (TypeError, ValueError) as error:
        raise UsageError(f'config: {error}') from error
