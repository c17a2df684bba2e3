"""Write a training config with InfoBatch switched on, to look at it or to keep it.

The result needs no flag: any OpenMMLab train.py trains it where mm_infobatch is installed.
"""

import argparse
from pathlib import Path

from .common import UsageError, add_config_arguments, read_config
from .infobatch_options import add_infobatch_options, switch_on_infobatch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_config_arguments(parser)
    parser.add_argument('-o', '--out', required=True, help='the .py file to write')
    add_infobatch_options(parser)


def main(args: argparse.Namespace) -> None:
    """Read, convert and write."""
    out = Path(args.out)
    cfg = read_config(args.config, args.cfg_options)
    if out.suffix != '.py':
        raise UsageError(
            f'--out {args.out!r}: configs are Python files; give a name that ends with .py'
        )
    if out.exists() and out.samefile(str(cfg.filename)):
        raise UsageError(
            f'--out {args.out!r} is the config itself, which would be lost; give another name'
        )
    cfg = switch_on_infobatch(cfg, args.infobatch_options)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        cfg.dump(str(out))
    except OSError as error:
        raise UsageError(f'--out {args.out!r}: cannot be written ({error.strerror})') from error
    print(f'wrote {out}')
