"""Print a table of runs, in Markdown, from what they left in their work directories.

Every number is read from the logs (see ``_runs.py``). Time is that of the training iterations,
with loading and choosing samples, without validation. Saving is 1 - samples trained / samples
that the schedule without pruning would have trained on.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import List, Optional, Sequence, Union

from _runs import Run, read_run

HEADER = ('run', 'iterations', 'samples', 'time', 'metric', 'final', 'best', 'saving')


def table(
    runs: Sequence[Union[Run, Sequence[Run]]], labels: List[str], metric: Optional[str] = None
) -> str:
    """Write the table, one row a run or a group of runs, and below it the notes on the numbers.

    Args:
        runs (list[Run | list[Run]]): The runs. A list is one row: means over runs that differ in
            the seed, with the standard deviation (n - 1) of the metric.
        labels (list[str]): Name of each row.
        metric (str, optional): Which metric. Defaults to mIoU or top-1 accuracy.

    Raises:
        ValueError: If ``metric`` is not in the logs of a run.
    """
    rows = [list(HEADER)]
    notes = []
    for one, label in zip(runs, labels):
        group = [one] if isinstance(one, Run) else list(one)
        rows.append([label, *cells(group, metric)])
        notes += [f'{label}: {note}.' for run in group for note in run.notes]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    lines.insert(1, ' | '.join('-' * width for width in widths))
    text = '\n'.join(f'| {line} |' for line in lines)
    return text + ''.join(f'\n\n{note}' for note in dict.fromkeys(notes))


def cells(group: List[Run], metric: Optional[str]) -> List[str]:
    """Write the cells of a row, without its label: means over the runs of the group."""
    name, final, best = '', '-', '-'
    curves = [run.metric(metric) for run in group]
    if all(len(values) for _, _, values in curves):
        name = curves[0][0]
        final = spread([values[-1] for _, _, values in curves])
        best = spread([values.max() for _, _, values in curves])
        if len(group) == 1:
            best += f' (at {curves[0][1][curves[0][2].argmax()]})'
    samples = [run.samples for run in group if run.samples is not None]
    seconds = [run.seconds for run in group if run.seconds is not None]
    savings = [run.infobatch['totals']['saving'] for run in group if run.infobatch is not None]
    whole = len(group)
    return [
        f'{mean(run.iterations for run in group):,.0f}',
        f'{mean(samples):,.0f}' if len(samples) == whole else '?',
        duration(mean(seconds)) if len(seconds) == whole else '?',
        name or '-',
        final,
        best,
        f'{100 * mean(savings):.1f} %' if len(savings) == whole else '-',
    ]


def spread(values: Sequence[float]) -> str:
    """Write a value, or the mean of several with their standard deviation and number."""
    if len(values) == 1:
        return f'{values[0]:.2f}'
    return f'{mean(values):.2f} ± {stdev(values):.2f} (n={len(values)})'


def duration(seconds: float) -> str:
    """Write a time as 42.0 s, 3 min 05 s or 2 h 07 min."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    whole = int(round(seconds))
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Print a table of runs')
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--metric', help='default: mIoU or accuracy/top1, whichever was logged')
    parser.add_argument('--labels', nargs='+', help="names of the runs (default: directories')")
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> None:
    """Print the table that the command line asks for."""
    args = parse_args(argv)
    try:
        runs = [read_run(path) for path in args.work_dirs]
        labels = args.labels or [run.name for run in runs]
        if len(labels) != len(runs):
            raise ValueError(f'--labels has {len(labels)} names for {len(runs)} work directories')
        print(table(runs, labels, args.metric))
    except (ValueError, OSError) as error:
        sys.exit(f'summarize.py: error: {error}')


if __name__ == '__main__':
    main()
