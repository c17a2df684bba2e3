"""Draws the figures of experiments: lines are means over seeds, bands a standard deviation."""

from pathlib import Path
from statistics import mean
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from _runs import Run
from plot_curves import COLORS, along, smooth, time_unit, upper_limit
from summarize import duration

from .records import Record
from .spec import Arm
from .tables import finals

POINTS = 400
Groups = List[Tuple[Arm, List[Record]]]


def _named(arm: Arm, count: int) -> str:
    return f'{arm.label} (n={count})'


def _tidy(axes: Any, grid: str = 'y') -> None:
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
                losses.append((along(run, way, steps) / scale, smooth(loss)))
                name, steps, values = run.metric()
                if len(values):
                    names.add(name)
                    metrics.append((along(run, way, steps) / scale, values))
            label = _named(arm, len(group))
            _line(axes[0, column], *mean_curve(losses), color, label)
            if metrics:
                found = mean_curve(metrics, 30)
                marker = 'o' if len(found[0]) <= 30 else None
                _line(axes[1, column], *found, color, label, marker)
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
    _tidy(axes)
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


def _line(
    axis: Any,
    x: np.ndarray,
    y: np.ndarray,
    spread: np.ndarray,
    color: str,
    label: str,
    marker: Any = None,
) -> None:
    axis.plot(x, y, color=color, linewidth=1.5, label=label, marker=marker, markersize=3)
    if spread.any():
        axis.fill_between(x, y - spread, y + spread, color=color, alpha=0.15, linewidth=0)


def _zoom(axis: Any, runs: List[Run]) -> None:
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
        text = duration(mean(seconds))
        choosing = [run.infobatch['totals']['seconds_choosing'] for run in group if run.infobatch]
        if choosing:
            axis.barh(number, mean(choosing) / size, 0.62, color='black')
            text += f', of it {mean(choosing):.2g} s choosing'
        axis.text(whole + (error or 0.0) + 0.015 * longest, number, text, va='center', fontsize=8)
    axis.set_yticks(range(len(clocked)), [_named(arm, len(runs)) for arm, runs in clocked])
    axis.invert_yaxis()
    axis.set_xlim(right=1.7 * longest)
    axis.set_xlabel(f'training time without validation ({unit})')
    _tidy(axis, 'x')
    return drawn


def pruned(figure: Dict[str, Any], groups: Groups, records: Path) -> Figure:
    """Samples pruned in each pass, and above it the metric."""
    arm, group = groups[0]
    runs = [one.run for one in group if one.run.infobatch]
    drawn = Figure(figsize=(6.4, 4.6), layout='constrained')
    axes = drawn.subplots(2, 1, sharex=True)
    metrics, counts = [], []
    for run in runs:
        passes = (run.infobatch or {})['passes']
        ends = [0] + [one['begin_iter'] + one['iterations'] for one in passes]
        name, steps, values = run.metric()
        if len(values):
            metrics.append((np.interp(steps, ends, np.arange(len(ends))), values))
            axes[0].set_ylabel(name)
        counts.append((np.arange(len(passes)) + 0.5, np.array([one['pruned'] for one in passes])))
        size = (run.infobatch or {})['settings'].get('num_samples')
    if metrics:
        curve = mean_curve(metrics, 30)
        _line(axes[0], *curve, COLORS[0], '', 'o' if len(curve[0]) <= 30 else None)
    x, y, spread = mean_curve(counts)
    if len(x) <= 60:
        axes[1].bar(x, y, 0.85, color=COLORS[1], alpha=0.6)
        some = spread > 0
        axes[1].errorbar(
            x[some], y[some], spread[some], color='black', fmt='none', linewidth=0.8, capsize=2
        )
    else:
        axes[1].fill_between(x, 0, y, color=COLORS[1], alpha=0.25, linewidth=0, step='mid')
        axes[1].step(x, y, color=COLORS[1], linewidth=1.2, where='mid')
    passes = (runs[0].infobatch or {})['passes']
    late = [one['pass'] for one in passes if one['annealing']]
    for axis in axes if late else []:
        axis.axvspan(late[0], len(passes), color='black', alpha=0.06, linewidth=0)
    if late:
        axes[1].text(
            (late[0] + len(passes)) / 2,
            0.5,
            'annealing',
            rotation=90,
            ha='center',
            va='center',
            fontsize=8,
            transform=axes[1].get_xaxis_transform(),
        )
    axes[1].set_ylim(bottom=0)
    axes[1].set_ylabel('samples pruned')
    axes[1].yaxis.set_major_formatter(EngFormatter(sep=''))
    axes[1].set_xlabel('pass over the data')
    if size:
        right = axes[1].secondary_yaxis(
            'right', functions=(lambda count: count / size, lambda share: share * size)
        )
        right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].set_title(_named(arm, len(runs)), fontsize=10)
    _tidy(axes)
    return drawn


def sweep(figure: Dict[str, Any], groups: Groups, records: Path) -> Figure:
    """The metric and the saving over a setting; dashed: all data."""
    drawn = Figure(figsize=(6.4, 4.8), layout='constrained')
    axes = drawn.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    for number, line in enumerate(dict.fromkeys(arm.line for arm, _ in groups)):
        color = COLORS[number % len(COLORS)]
        points = []
        for arm, group in groups:
            values = finals(arm, records)
            x = arm.x if arm.x is not None else figure.get('at')
            if arm.line == line and values and x is not None:
                reports = [one.run.infobatch for one in group if one.run.infobatch]
                points.append((x, values, [each['totals']['saving'] for each in reports]))
        points.sort(key=lambda point: point[0])
        xs = [x for x, _, _ in points]
        axes[0].errorbar(
            xs,
            [mean(values) for _, values, _ in points],
            [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for _, values, _ in points],
            color=color,
            marker='o',
            markersize=4,
            linewidth=1.5,
            capsize=3,
            label=f'{line} (n={"-".join(str(n) for n in sorted({len(v) for _, v, _ in points}))})',
        )
        axes[1].plot(
            xs,
            [mean(each) if each else np.nan for _, _, each in points],
            color=color,
            marker='o',
            markersize=4,
            linewidth=1.5,
        )
        bases = [arm.against for arm, _ in groups if arm.line == line and arm.against is not None]
        values = finals(bases[0], records) if bases else []
        if values:
            axes[0].axhline(
                mean(values),
                color=color,
                linestyle='--',
                linewidth=1,
                label=f'{line}, all data (n={len(values)})',
            )
    names = {one.run.metric()[0] for _, group in groups for one in group}
    axes[0].set_ylabel(' / '.join(sorted(names - {''})))
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc='outside upper center', ncols=2, frameon=False, fontsize=9)
    axes[1].set_ylabel('saving')
    axes[1].set_ylim(0, 1.15 * axes[1].dataLim.ymax)
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[1].set_xlabel(figure.get('xlabel', ''))
    _tidy(axes)
    return drawn


def losses(figure: Dict[str, Any], groups: Groups, records: Path) -> Figure:
    """Losses before pruning, after it and after rescaling, at the middle of what was pruned."""
    record = next(one for one in groups[0][1] if one.content.get('losses'))
    found, report = record.content['losses'], record.run.infobatch or {}
    late = [one['pass'] for one in report['passes'] if one['annealing']]
    before = [one for one in found if not late or one['passes'] <= late[0]] or found
    one = before[len(before) // 2]
    edges = np.array(one['edges'])
    drawn = Figure(figsize=(9.6, 3.2), layout='constrained')
    axes = drawn.subplots(1, 3, sharex=True, sharey=True)
    panels = [
        ('before', f'before pruning, after {one["passes"]} passes'),
        ('after', 'after pruning'),
        ('rescaled', 'after rescaling'),
    ]
    for axis, (key, title) in zip(axes, panels):
        axis.stairs(one[key], edges, fill=True, color=COLORS[0], alpha=0.55)
        axis.axvline(one['mean'], color='black', linewidth=1, linestyle=':')
        total = sum(one[key])
        axis.set_title(f'{title}: {total:,.0f} samples', fontsize=9)
        axis.set_xlabel('weight x loss' if key == 'rescaled' else 'loss')
        axis.set_yscale('log')
    axes[2].stairs(
        one['weighted'],
        edges,
        color=COLORS[1],
        linewidth=1.3,
        linestyle='--',
        baseline=None,
        label='losses, counted by weight',
    )
    axes[2].legend(frameon=False, fontsize=8)
    axes[0].set_ylabel('samples')
    axes[0].annotate(
        'mean',
        (one['mean'], 0.94),
        xycoords=('data', 'axes fraction'),
        fontsize=8,
        xytext=(3, 0),
        textcoords='offset points',
    )
    axes[0].annotate(
        'all above',
        (edges[-1], max(one['before'][-1], 1)),
        ha='right',
        fontsize=8,
        xytext=(0, 3),
        textcoords='offset points',
    )
    _tidy(axes)
    return drawn


KINDS: Dict[str, Callable[[Dict[str, Any], Groups, Path], Figure]] = dict(
    curves=curves, time=times, pruned=pruned, sweep=sweep, losses=losses
)
