"""Plan, run, record and report the experiments of ``experiments/``.

- ``plan NAME``: prints where each run stands and its command, and builds every config, model and
  optimizer. Where the experiment names a drawn set (``ade20k``), it also takes some steps of each
  arm on files in that layout and, where these are full steps, tells the hours of each run.
- ``run NAME``: trains what is missing with ``tools/train.py`` (several processes: through
  ``dist_train.sh``) in ``work_dirs/NAME/ARM_seedN``, resumes what was interrupted, and writes the
  record of each finished run, ``records/NAME/ARM_seedN.json``. Nothing is committed.
- ``record WORK_DIR OUT``: writes the record of any run.
- ``report``: writes the tables of the documents and draws the figures that are out of date.
- ``check``: says whether tables and figures are what the records say; writes nothing.
- ``show PLACE``: prints what a place of a document has, ``'experiment: camvid, short'`` or
  ``'overhead: FILE'``.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import List, Optional

from experiment_engine import ROOT
from experiment_engine.jobs import Places, from_root, jobs_of, plan
from experiment_engine.spec import EXPERIMENTS, available, load_experiment


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog=(__doc__ or '').partition('\n\n')[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name in ('plan', 'run'):
        command = commands.add_parser(name)
        command.add_argument('name', help='of experiments/NAME.py')
        add_places(command)
    command.add_argument('--jobs', type=int, default=1, help='runs side by side (default: 1)')
    command.add_argument(
        '--every', type=float, default=30, help='seconds between two lines on the progress'
    )
    command.add_argument(
        '--port', type=int, default=29500, help='where the processes of the first run meet'
    )
    command.add_argument('--python', default=sys.executable, help=argparse.SUPPRESS)
    command = commands.choices['plan']
    command.add_argument('--no-steps', action='store_true', help='take no steps on drawn data')
    command.add_argument(
        '--full-size', action='store_true', help='steps of full crops and batches on a CPU, too'
    )
    command = commands.add_parser('record')
    command.add_argument('work_dir', type=Path)
    command.add_argument('out', type=Path, help='for example records/camvid/infobatch_seed0.json')
    command = commands.add_parser('report')
    command.add_argument('--all', action='store_true', help='draw current figures, too')
    commands.add_parser('check')
    command = commands.add_parser('show')
    command.add_argument('place', help="what a document's <!-- PLACE --> says")
    args = parser.parse_args(argv)
    for name in ('jobs', 'gpus'):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            parser.error(f'--{name} is {value}, but must be at least 1')
    return args


def add_places(command: argparse.ArgumentParser) -> None:
    """Add the arguments that plans and runs have in common."""
    command.add_argument(
        '--runs',
        nargs='+',
        metavar='RUN',
        help='only these arms (infobatch) or runs (infobatch_seed0)',
    )
    command.add_argument(
        '--gpus',
        type=int,
        help="processes of each run, one a GPU (default: the experiment's; without a GPU they are "
        'CPU processes)',
    )
    command.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='more settings of every run, such as where its data is',
    )
    command.add_argument('--experiments', type=Path, default=EXPERIMENTS)
    command.add_argument('--records', type=Path, default=ROOT / 'records')
    command.add_argument('--work-dirs', type=Path, default=ROOT / 'work_dirs')


def plan_or_run(args: argparse.Namespace) -> int:
    """Plan an experiment, or run it.

    Returns:
        int: The exit status.
    """
    places = Places(from_root(args.work_dirs), from_root(args.records), args.gpus, args.cfg_options)
    experiment = load_experiment(args.name, args.experiments.absolute())
    os.chdir(ROOT)  # where the paths of configs and of their data begin
    sys.path.append(str(ROOT))  # where configs import projects/ from, as in tools/train.py
    jobs = jobs_of(experiment, args.runs)
    if args.command == 'run':
        from experiment_engine.runner import run_all

        return run_all(jobs, places, args.jobs, args.every, args.port, args.python)
    print(plan(experiment, jobs, places))
    from experiment_engine.dry_run import build_all

    return int(build_all(jobs, places, not args.no_steps, args.full_size) > 0)


def report(check: bool, everything: bool = False) -> None:
    """Write tables and figures, or check them.

    Raises:
        ValueError: If one cannot be written, or with ``check`` is out of date.
    """
    from experiment_engine import documents, figures

    out = ROOT / 'docs' / 'figures'
    stale = figures.update(available(), EXPERIMENTS, ROOT / 'records', out, check, everything)
    stale += documents.update(documents.DOCUMENTS, check)
    if check and stale:
        raise ValueError(
            f'{", ".join(stale)}: not what the records say; run '
            'tools/analysis_tools/experiment.py report'
        )


def main(argv: Optional[List[str]] = None) -> None:
    """Do what the command line asks for."""
    args = parse_args(argv)
    try:
        if args.command in ('plan', 'run'):
            sys.exit(plan_or_run(args))
        elif args.command == 'record':
            from experiment_engine.records import make_record

            make_record(args.work_dir, args.out)
            print(args.out)
        elif args.command == 'show':
            from experiment_engine.documents import PLACE, render

            place = f'<!-- {args.place} -->\n<!-- end of table -->'
            if not PLACE.search(place):
                raise ValueError(f'{args.place!r} is no place; give one like experiment: camvid')
            print('\n'.join(render(place).splitlines()[1:-1]))
        else:
            report(args.command == 'check', getattr(args, 'all', False))
    except (ValueError, OSError) as error:
        sys.exit(f'experiment.py: error: {error}')
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    main()
