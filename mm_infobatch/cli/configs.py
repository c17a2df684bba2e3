"""Print the paths of the configs that come with the package.

train, test, convert and scores also take one by name, without its path and suffix:
mm_infobatch::upernet/upernet_r50_4xb4-infobatch-80k_ade20k-512x512, or a config of another
installed OpenMMLab package, as in mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.
In _base_ of a config write the path: MMEngine accepts names of OpenMMLab's own packages only.
"""

import argparse

from .common import UsageError, configs_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        'word', nargs='?', default='', help='only configs with this in their path below configs/'
    )


def main(args: argparse.Namespace) -> None:
    """Print one path per line."""
    folder, names = configs_of('mm_infobatch')
    names = [name for name in names if args.word in name]
    if not names:
        raise UsageError(f'there is no config with {args.word!r} in its path below {folder}')
    for name in names:
        print(folder / name)
