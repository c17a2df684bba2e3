"""Draws the figures of experiments: lines are means over seeds, bands a standard deviation."""

from pathlib import Path
from statistics import mean
from typing import Any, Dict, List, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mm_infobatch.cli.logged_run import LoggedRun
from mm_infobatch.cli.plot import COLORS, axis_values, smooth, time_unit, upper_limit
from mm_infobatch.cli.summarize import format_duration

from .records import Record
from .spec import Arm

POINTS = 400
Groups = List[Tuple[Arm, List[Record]]]


def named(arm: Arm, count: int) -> str:
    """The label of an arm, with the number of its runs."""
    return f'{arm.label} (n={count})'


def tidy(axes: Any, grid: str = 'y') -> None:
    """Give axes a faint grid, and no frame on top and on the right."""
    for axis in np.ravel(axes):
        axis.grid(axis=grid, linewidth=0.4, alpha=0.5)
        axis.set_axisbelow(True)
        axis.spines[['top', 'right']].set_visible(False)


Curve = Tuple[np.ndarray, np.ndarray]


def mean_curve(
    curves: List[Curve], points: int = POINTS
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average curves, point by point where all have as many, else at the same share of each.

    Args:
        curves (list[tuple]): x and y of each, float [M] with an M of its own; x ascends.
        points (int): How many points to give where they differ in M. Defaults to 400.

    Returns:
        tuple: x, y and the standard deviation of y (0 for a single curve), float64 [P].
    """
    if len({len(x) for x, _ in curves}) > 1:
        shares = np.linspace(0, 1, points)
        ends = [(x[0] + shares * (x[-1] - x[0]), x, y) for x, y in curves]
        curves = [(at, np.interp(at, x, y)) for at, x, y in ends]
    xs, ys = np.array([x for x, _ in curves]), np.array([y for _, y in curves], float)
    spread = ys.std(0, ddof=1) if len(curves) > 1 else np.zeros(len(xs[0]))
    return xs.mean(0), ys.mean(0), spread


def curves(figure: Dict[str, Any], groups: Groups, records: Path) -> Figure:
    """Loss and metric over iterations, samples and time."""
    everyone = [one.run for _, group in groups for one in group]
    ways = ['iter']
    if all(run.samples is not None for run in everyone):
        ways.append('samples')
    clocked = [[one for one in group if one.timed] for _, group in groups]
    if all(clocked):
        ways.append('time')
    unit, size = time_unit([one.run for group in clocked for one in group])
    drawn = Figure(figsize=(3.3 * len(ways) + 0.4, 5.4), layout='constrained')
    axes = drawn.subplots(2, len(ways), sharex='col', sharey='row', squeeze=False)
    names = set()
    for column, way in enumerate(ways):
        scale = size if way == 'time' else 1.0
        for number, (arm, group) in enumerate(groups):
            group = clocked[number] if way == 'time' else group
            color = COLORS[number % len(COLORS)]
            losses, metrics = [], []
            for run in (one.run for one in group):
                steps, loss = run.loss()
                losses.append((axis_values(run, way, steps) / scale, smooth(loss)))
                name, steps, values = run.metric()
                if len(values):
                    names.add(name)
                    metrics.append((axis_values(run, way, steps) / scale, values))
            label = named(arm, len(group))
            draw_line(axes[0, column], *mean_curve(losses), color, label)
            if metrics:
                found = mean_curve(metrics, 30)
                marker = 'o' if len(found[0]) <= 30 else None
                draw_line(axes[1, column], *found, color, label, marker)
                axes[1, column].axhline(
                    mean(values[-1] for _, values in metrics),
                    color=color,
                    linewidth=0.6,
                    linestyle=':',
                )
        label = {
            'iter': 'iterations',
            'samples': 'samples trained on',
            'time': f'training time ({unit})',
        }[way]
        axes[1, column].set_xlabel(label)
        axes[1, column].margins(x=0.02)
        if way != 'time':
            axes[1, column].xaxis.set_major_formatter(EngFormatter(sep=''))
    axes[0, 0].set_ylabel('training loss')
    axes[0, 0].set_ylim(top=upper_limit(everyone))
    axes[1, 0].set_ylabel(' / '.join(sorted(names)) or 'no metric logged')
    _zoom(axes[1, 0], everyone)
    tidy(axes)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(
        handles,
        labels,
        loc='outside upper center',
        ncols=min(len(labels), 3),
        frameon=False,
        fontsize=9,
    )
    return drawn


def draw_line(
    axis: Any,
    x: np.ndarray,
    y: np.ndarray,
    spread: np.ndarray,
    color: str,
    label: str,
    marker: Any = None,
) -> None:
    """Draw a curve with a band of one standard deviation."""
    axis.plot(x, y, color=color, linewidth=1.5, label=label, marker=marker, markersize=3)
    if spread.any():
        axis.fill_between(x, y - spread, y + spread, color=color, alpha=0.15, linewidth=0)


def _zoom(axis: Any, runs: List[LoggedRun]) -> None:
    """Let the first validations leave the figure, where they would flatten the others."""
    values = [run.metric()[2] for run in runs if len(run.metric()[2]) > 4]
    if values:
        low = min(float(np.quantile(each, 0.12)) for each in values)
        high = max(float(each.max()) for each in values)
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def times(figure: Dict[str, Any], groups: Groups, records: Path) -> Figure:
    """Bars of the training time; the part spent choosing samples is dark and written beside."""
    clocked = [(arm, [one.run for one in group if one.timed]) for arm, group in groups]
    clocked = [(arm, runs) for arm, runs in clocked if runs]
    unit, size = time_unit([run for _, runs in clocked for run in runs])
    drawn = Figure(figsize=(6.4, 0.9 + 0.5 * len(clocked)), layout='constrained')
    axis = drawn.subplots()
    longest = max(run.seconds or 0.0 for _, runs in clocked for run in runs) / size
    for number, (_, group) in enumerate(clocked):
        seconds = [run.seconds for run in group if run.seconds is not None]
        whole = mean(seconds) / size
        error = float(np.std(seconds, ddof=1)) / size if len(seconds) > 1 else None
        axis.barh(
            number,
            whole,
            0.62,
            color=COLORS[number % len(COLORS)],
            alpha=0.75,
            xerr=error,
            error_kw=dict(linewidth=1, capsize=3),
        )
        text = format_duration(mean(seconds))
        choosing = [run.infobatch['totals']['seconds_choosing'] for run in group if run.infobatch]
        if choosing:
            axis.barh(number, mean(choosing) / size, 0.62, color='black')
            text += f', of it {mean(choosing):.2g} s choosing'
        axis.text(whole + (error or 0.0) + 0.015 * longest, number, text, va='center', fontsize=8)
    axis.set_yticks(range(len(clocked)), [named(arm, len(runs)) for arm, runs in clocked])
    axis.invert_yaxis()
    axis.set_xlim(right=1.7 * longest)
    axis.set_xlabel(f'training time without validation ({unit})')
    tidy(axis, 'x')
    return drawn
