"""Write the tables and draw the figures of all experiments from the committed records.

Tables go into the marked places of the documents (see ``render_docs.py``), figures into
``docs/figures``. A figure is drawn where there are records for it, and only anew if they have
changed, unless ``--all``. With ``--check`` nothing is written; what is out of date is an error.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

import _figures
import render_docs
from _experiments import EXPERIMENTS, ROOT, available, load_experiment


def figures(
    names: List[str],
    experiments: Path,
    records: Path,
    out: Path,
    check: bool,
    everything: bool = False,
) -> List[str]:
    """Draw what is out of date.

    Args:
        names (list[str]): Of experiments.
        experiments (Path): Where their files are.
        records (Path): Where their records are.
        out (Path): Where figures go.
        check (bool): Only tell.
        everything (bool): Draw also what is current. Defaults to False.

    Returns:
        list[str]: The files drawn, or that would be.
    """
    stale = []
    for name in names:
        experiment = load_experiment(name, experiments)
        for figure in experiment.figures:
            if not _figures.has_data(experiment, figure, records):
                continue
            if everything or not _figures.is_current(experiment, figure, records, out):
                stale.append(_figures.file_name(experiment, figure))
                if not check:
                    print(f'drew {_figures.draw(experiment, figure, records, out)}')
    return stale


def main(argv: Optional[List[str]] = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description='Write tables and figures from the records')
    parser.add_argument('names', nargs='*', help='experiments whose figures to draw (default: all)')
    parser.add_argument('--check', action='store_true', help='only tell whether all is current')
    parser.add_argument('--all', action='store_true', help='draw the figures that are current, too')
    args = parser.parse_args(argv)
    try:
        stale = figures(
            args.names or available(),
            EXPERIMENTS,
            ROOT / 'records',
            ROOT / 'docs' / 'figures',
            args.check,
            args.all and not args.check,
        )
    except (ValueError, OSError) as error:
        sys.exit(f'report.py: error: {error}')
    if args.check and stale:
        sys.exit(
            f'report.py: error: {", ".join(stale)}: not drawn from the records as they are: '
            'run tools/report.py'
        )
    render_docs.main(['--check'] if args.check else [])


if __name__ == '__main__':
    main()
