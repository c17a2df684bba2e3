"""The command line of ``mm-infobatch``."""

import argparse
import os
import sys
from typing import Optional, Sequence

from ..version import __version__
from . import configs, convert, inspect, plot, scores, summarize, test, train
from .common import UsageError
from .launch import leave_process_group, start_processes, starts_processes
from .missing_data import missing_data_in_one_line

# Each module has ``add_arguments(parser)`` and ``main(args)``; its docstring is the help.
SUBCOMMANDS = {
    'train': train,
    'test': test,
    'convert': convert,
    'configs': configs,
    'summarize': summarize,
    'plot': plot,
    'scores': scores,
    'inspect': inspect,
}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv (Sequence[str], optional): The arguments, the subcommand first. Defaults to None:
            those of the process.

    Returns:
        argparse.Namespace: The arguments, with the subcommand as ``subcommand``.
    """
    parser = argparse.ArgumentParser(
        prog='mm-infobatch',
        description='InfoBatch for mmsegmentation and mmpretrain.',
        epilog='mm-infobatch SUBCOMMAND --help lists the arguments of a subcommand.',
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    subparsers = parser.add_subparsers(dest='subcommand', metavar='SUBCOMMAND', required=True)
    for name, module in SUBCOMMANDS.items():
        description = (module.__doc__ or '').replace('``', '')
        summary = ' '.join(description.split('\n\n')[0].split())
        subparser = subparsers.add_parser(
            name,
            help=summary[:1].lower() + summary[1:].rstrip('.'),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(main=module.main, error=subparser.error)
        module.add_arguments(subparser)
    args, unknown = parser.parse_known_args(argv)
    if unknown:  # which parse_args would report with the usage of mm-infobatch itself
        args.error(f'unrecognized arguments: {" ".join(unknown)}')
    return args


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run a subcommand; a user's error is one line and exit status 2.

    Args:
        argv (Sequence[str], optional): The arguments, the subcommand first. Defaults to None:
            those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parse_args(argv)
    # As with ``python -m``: a config may import a module of the current directory.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        if starts_processes(args):
            start_processes(args, argv)
        else:
            with missing_data_in_one_line():
                args.main(args)
    except UsageError as error:
        print(f'mm-infobatch {args.subcommand}: error: {error}', file=sys.stderr)
        sys.exit(2)
    leave_process_group()
