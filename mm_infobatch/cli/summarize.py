"""Print a table of runs, in Markdown, from the logs in their work directories.

Time is that of the training iterations, with loading and choosing samples, without validation.
Saving is 1 - samples trained / samples that the schedule without pruning would have trained on.
"""

import argparse
from typing import List, Optional, Sequence

import numpy as np

from . import run_logs
from .logged_run import LoggedRun

LOWER = ('loss', 'error', 'distance', 'abs_rel', 'sq_rel', 'rmse', 'silog', 'log10')
HEADER = ('run', 'iterations', 'samples', 'time', 'metric', 'final', 'best', 'saving')


def table(runs: List[LoggedRun], labels: List[str], metric: Optional[str] = None) -> str:
    """Write the table, one row per run, and below it the notes on the numbers.

    Args:
        runs (list[LoggedRun]): The runs.
        labels (list[str]): Name of each row.
        metric (str, optional): Which metric. Defaults to mIoU or top-1 accuracy.

    Raises:
        ValueError: If ``metric`` is not in the logs of a run.
    """
    rows = [HEADER, *([label, *cells(run, metric)] for run, label in zip(runs, labels))]
    notes = [f'{label}: {note}.' for run, label in zip(runs, labels) for note in run.notes]
    return '\n\n'.join([markdown_table(rows), *dict.fromkeys(notes)])


def markdown_table(rows: Sequence[Sequence[str]], aligned: bool = True) -> str:
    """Write rows, the first of which is the header, as a table in Markdown.

    Args:
        rows (Sequence[Sequence[str]]): The cells, as many in each row.
        aligned (bool): Whether to pad the cells of a column to one width. Defaults to True.
    """
    widths = [max(map(len, column)) if aligned else 0 for column in zip(*rows)]
    lines = [' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    lines.insert(1, ' | '.join('-' * (width or 3) for width in widths))
    return '\n'.join(f'| {line} |' for line in lines)


def cells(run: LoggedRun, metric: Optional[str]) -> List[str]:
    """Write the cells of a row, without its label."""
    name, steps, values = run.metric(metric)
    final = best = '-'
    if len(values):
        final = f'{values[-1]:.2f}'
        index = best_of(name, values)
        best = f'{values[index]:.2f} (at {steps[index]})'
    return [
        f'{run.iterations:,}',
        f'{run.samples:,}' if run.samples is not None else '?',
        format_duration(run.seconds) if run.seconds is not None else '?',
        name if len(values) else '-',
        final,
        best,
        f'{100 * run.infobatch["totals"]["saving"]:.1f} %' if run.infobatch is not None else '-',
    ]


def best_of(name: str, values: np.ndarray) -> int:
    """Where the best value of a metric is.

    As in mmengine's ``CheckpointHook``, a metric with "loss" in its name is better when lower; so
    are the errors of mmseg's ``DepthMetric`` and the distances of mmpretrain's
    ``RegressionMetric``.

    Args:
        name (str): The metric, as it is logged.
        values (ndarray): [V], V > 0; NaN is never the best of several.

    Returns:
        int: An index in [0, V).
    """
    lower = any(word in name.lower() for word in LOWER)
    quality = np.where(np.isnan(values), -np.inf, -values if lower else values)
    return int(quality.argmax())


def format_duration(seconds: float) -> str:
    """Write a time as 42.0 s, 3 min 05 s or 2 h 07 min."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    whole = int(round(seconds))
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    run_logs.add_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Print the table."""
    runs, labels = run_logs.read_runs(args)
    print(table(runs, labels, args.metric))
