"""Write a training config with InfoBatch switched on, to see it or to keep it.

The result needs no flag: any ``tools/train.py`` trains it where ``mm_infobatch`` is installed.
"""

import argparse
from pathlib import Path
from typing import List, Optional

from mmengine.config import Config

from _common import ConfigOptions, UsageError, run, switch_on_infobatch


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Switch InfoBatch on in a config')
    parser.add_argument('config', help='path of a training config')
    parser.add_argument('-o', '--out', required=True, help='the .py file to write')
    parser.add_argument(
        '--infobatch-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='settings, as in prune_ratio=0.5 delta=0.875; see mm_infobatch.convert',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, as with tools/train.py',
    )
    return parser.parse_args(argv)


def main() -> None:
    """Read, convert and write."""
    args = parse_args()
    out = Path(args.out)
    if not Path(args.config).is_file():
        raise UsageError(f'config {args.config!r} does not exist: give the path of a config file')
    if out.suffix != '.py':
        raise UsageError(
            f'--out {args.out!r}: configs are Python files; give a name that ends with .py'
        )
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg = switch_on_infobatch(cfg, args.infobatch_options)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        cfg.dump(str(out))
    except OSError as error:
        raise UsageError(f'--out {args.out!r}: cannot be written ({error.strerror})') from error
    print(f'wrote {out}')


if __name__ == '__main__':
    run(main)
