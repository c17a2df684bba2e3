"""Plot loss, metric and pruned share of one or more runs, from the logs in their work directories.

The faint line is the loss as logged, the bold one its moving average.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import numpy as np

from . import run_logs
from .common import UsageError
from .logged_run import LoggedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which color-blind readers can tell apart.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
LINES = ('-', '--', ':')  # from the eighth run on the colors are used again
AXES = {'iter': 'iterations', 'samples': 'samples trained on', 'time': 'training time'}


def draw(
    runs: List[LoggedRun],
    labels: List[str],
    metric: Optional[str] = None,
    x: str = 'iter',
    trained_loss: bool = False,
) -> 'Figure':
    """Draw the figure.

    Args:
        runs (list[LoggedRun]): The runs.
        labels (list[str]): Name of each run.
        metric (str, optional): Which metric. Defaults to mIoU or top-1 accuracy.
        x (str): What the x axis counts: 'iter', 'samples' or 'time'. Defaults to 'iter'.
        trained_loss (bool): Whether to plot the loss that was trained, instead of the mean loss
            over all data that it implies. Defaults to False.

    Raises:
        ValueError: If ``metric`` is not in the logs of a run, or what ``x`` asks for is not.
    """
    # matplotlib takes as long to import as MMEngine; the other subcommands do without.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, PercentFormatter, StrMethodFormatter

    for run in runs:
        if (x == 'samples' and run.samples is None) or (x == 'time' and run.seconds is None):
            raise ValueError(f'{run.name!r}: {"; ".join(run.notes)}. Use --x iter')
    pruned = any(run.infobatch is not None for run in runs)
    unit, divisor = time_unit(runs) if x == 'time' else ('', 1.0)
    figure = Figure(figsize=(6.4, 6.2 if pruned else 4.8), layout='constrained')
    axes = figure.subplots(
        2 + pruned, 1, sharex=True, height_ratios=[1, 1, 0.62] if pruned else [1, 1]
    )
    names, lines = set(), []
    for number, run in enumerate(runs):
        color = COLORS[number % len(COLORS)]
        line = LINES[number // len(COLORS) % len(LINES)]

        def position(iterations: Any, run: LoggedRun = run) -> np.ndarray:
            return axis_values(run, x, np.asarray(iterations)) / divisor

        steps, loss = run.loss(trained_loss)
        axes[0].plot(position(steps), loss, color=color, alpha=0.22, linewidth=0.8)
        lines += axes[0].plot(position(steps), smooth(loss), line, color=color, linewidth=1.6)
        name, steps, values = run.metric(metric)
        if len(values):
            names.add(name)
            marker = 'o' if len(values) <= 40 else None
            axes[1].plot(position(steps), values, line, color=color, marker=marker, markersize=3)
            axes[1].axhline(values[-1], color=color, linewidth=0.6, linestyle=':')
        if run.infobatch is not None:
            _draw_passes(axes[2], run, position, color)
        elif pruned:
            ends = position([0, run.iterations])
            axes[2].plot(ends, [0, 0], color=color, linewidth=1.6, clip_on=False)

    axes[0].set_ylabel('training loss')
    axes[0].set_ylim(top=upper_limit(runs, trained_loss))
    legend = axes[0].legend(lines, [''] * len(lines), frameon=False, loc='upper right')
    for text, label in zip(legend.get_texts(), labels):
        # As it is: matplotlib leaves out a label like _a, and takes $a$ for a formula.
        text.set(text=label, parse_math=False)
    axes[1].set_ylabel(' / '.join(sorted(names)) or 'no metric logged')
    if pruned:
        axes[2].set_ylabel('pruned in pass')
        axes[2].set_ylim(bottom=0)
        axes[2].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis in axes:
        axis.grid(axis='y', linewidth=0.4, alpha=0.5)
        axis.spines[['top', 'right']].set_visible(False)
        axis.margins(x=0.01)
    axes[-1].set_xlabel(AXES[x] + (f' ({unit})' if unit else ''))
    if x != 'time':
        longest = axes[-1].get_xlim()[1]
        axes[-1].xaxis.set_major_formatter(
            EngFormatter(sep='') if longest >= 20000 else StrMethodFormatter('{x:,.0f}')
        )
    figure.align_ylabels()
    return figure


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a twentieth of the values, float64 [M]; one-sided at the ends.

    Values that are not finite are left out.
    """
    half = int(0.05 * len(values) / 2)
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    begin = np.maximum(np.arange(len(values)) - half, 0)
    end = np.minimum(np.arange(len(values)) + half + 1, len(values))
    with np.errstate(invalid='ignore'):  # 0 / 0 is NaN: a gap in the line
        return (sums[end] - sums[begin]) / (counts[end] - counts[begin])


def _draw_passes(axis: Any, run: LoggedRun, position: Any, color: str) -> None:
    """Draw the pruned share as steps; the passes of annealing get a shade behind them."""
    passes = run.passes
    if not passes:
        return
    ends = [record['begin_iter'] + record['iterations'] for record in passes]
    edges = position([record['begin_iter'] for record in passes[:1]] + ends)
    shares = [record['pruned_share'] for record in passes]
    axis.stairs(shares, edges, color=color, linewidth=1.6, baseline=None)
    axis.stairs(shares, edges, color=color, fill=True, alpha=0.12)
    annealing = [index for index, record in enumerate(passes) if record['annealing']]
    if annealing:
        begin = edges[annealing[0]]
        axis.axvspan(begin, edges[-1], color=color, alpha=0.07, linewidth=0)
        axis.annotate(
            'annealing',
            ((begin + edges[-1]) / 2, 0.5),
            xycoords=('data', 'axes fraction'),
            rotation=90,
            ha='center',
            va='center',
            fontsize=8,
            color=color,
        )


def axis_values(run: LoggedRun, x: str, iterations: np.ndarray) -> np.ndarray:
    """Where iterations are on an axis of ``AXES``, float64 [M]; time in seconds."""
    if x == 'samples':
        return run.samples_at(iterations)
    return run.seconds_at(iterations) if x == 'time' else iterations


def time_unit(runs: List[LoggedRun]) -> Tuple[str, float]:
    """The name and the seconds of the unit for the longest of some runs."""
    longest = max((run.seconds or 0.0 for run in runs), default=0.0)
    units = [('s', 1.0), ('min', 60.0), ('h', 3600.0)]
    return [(name, size) for name, size in units if size == 1.0 or longest >= 3 * size][-1]


def upper_limit(runs: List[LoggedRun], trained_loss: bool = False) -> float:
    """Upper end of the loss axis: the first steps and single peaks may leave the figure."""
    tops = []
    for run in runs:
        loss = run.loss(trained_loss)[1]
        loss = loss[np.isfinite(loss)]
        if len(loss):
            tops.append(max(float(np.quantile(loss, 0.98)), float(np.nanmax(smooth(loss)))))
    return 1.05 * max(tops) if tops else 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    run_logs.add_arguments(parser)
    parser.add_argument('--out', type=Path, required=True, help='file to write: .png, .pdf or .svg')
    parser.add_argument(
        '--trained-loss',
        action='store_true',
        help='plot the loss that was trained, which in pruned passes is that of weighted, harder '
        'samples (default: the mean loss over all data that it implies)',
    )
    parser.add_argument('--x', choices=list(AXES), default='iter', help='x axis (default: iter)')


def main(args: argparse.Namespace) -> None:
    """Draw the figure and write it."""
    runs, labels = run_logs.read_runs(args)
    try:
        figure = draw(runs, labels, args.metric, args.x, args.trained_loss)
    except ValueError as error:
        raise UsageError(str(error)) from error
    out: Path = args.out
    if out.is_dir():
        raise UsageError(f'--out {str(out)!r} is a directory: give the name of a file')
    if not out.suffix:
        out = out.with_name(f'{out.name}.png')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=200)
    except (ValueError, OSError) as error:
        raise UsageError(f'--out {str(args.out)!r}: {error}') from error
    print(f'wrote {out}')
