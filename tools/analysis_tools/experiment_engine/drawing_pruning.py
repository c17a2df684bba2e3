"""Draws what a run pruned, a sweep of a setting, and the losses that a plan changes."""

from pathlib import Path
from statistics import mean
from typing import Any, Dict

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from mm_infobatch.cli.plot import COLORS

from .drawing import Groups, draw_line, mean_curve, named, tidy
from .results import finals


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
        draw_line(axes[0], *curve, COLORS[0], '', 'o' if len(curve[0]) <= 30 else None)
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
    axes[0].set_title(named(arm, len(runs)), fontsize=10)
    tidy(axes)
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
    tidy(axes)
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
    tidy(axes)
    return drawn
