"""The text of an experiment in the documents: its table, notes and figures, from the records."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List, Optional, Sequence, Tuple

from _experiments import EXPERIMENTS, ROOT, Arm, Experiment, finals, load_experiment, recorded
from _figures import file_name, has_data, timed
from _welch import difference
from mm_infobatch.cli.run_logs import Run
from mm_infobatch.cli.summarize import duration

HEADER = (
    'run',
    'n',
    'result',
    'difference [95 %]',
    'paper',
    'saving',
    'iterations',
    'training time',
    'hardware',
    'log',
)
SHORT = ('run', 'n', 'result', 'difference [95 %]', 'saving', 'iterations', 'training time')


def hardware(arm: Arm, seeds: List[int], records: Path) -> str:
    """What the runs of an arm ran on."""
    found = []
    for seed in seeds:
        record = arm.record(seed, records)
        environment = json.loads((record / 'environment.json').read_text())
        note = record / 'run.json'
        count = json.loads(note.read_text())['gpus'] if note.is_file() else 1
        names = environment.get('accelerators') or []
        found.append(
            f'{count} x {names[0]}'
            if names
            else f'{environment["processor"]}, {environment["cores"]} cores'
        )
    return '; '.join(dict.fromkeys(found))


def saving(arm: Arm, runs: Dict[int, Run], full: Dict[int, Run]) -> str:
    """The share of the samples that an arm did not train on, beside what it is compared with."""
    savings = [run.infobatch['totals']['saving'] for run in runs.values() if run.infobatch]
    if len(savings) < len(runs) or arm.like is not None:
        samples = [
            [run.samples for run in group.values() if run.samples is not None]
            for group in (runs, full)
        ]
        if arm.against is None or not all(samples):
            return '-'
        savings = [1 - each / mean(samples[1]) for each in samples[0]]
    return f'{100 * mean(savings):.1f} %'


def row(arm: Arm, records: Path) -> Tuple[List[str], List[str]]:
    """The cells of an arm, and the notes on them."""
    runs = recorded(arm, records)
    n = f'{len(runs)} of {len(arm.seeds)}'
    if not runs:
        return [arm.label, n, 'not run', '-', arm.paper or '-', '-', '-', '-', '-', '-'], []
    values = finals(runs)
    full = recorded(arm.against, records) if arm.against is not None else {}
    others = finals(full)
    text = interval(values, others) if values and others else '-'
    time, estimated = training_time(arm, runs, records)
    logs = [
        f'`{path.relative_to(records.parent)}`'
        for path in (arm.record(seed, records) for seed in runs)
    ]
    if len(logs) > 1:
        logs = [f'`{records.name}/{arm.owner}/{arm.name}_seed*`']
    notes = [
        f'{arm.label}: {note}.'
        for run in runs.values()
        for note in run.notes
        if estimated or not note.startswith('time ')
    ]
    return [
        arm.label,
        n,
        spread(values) if values else 'no metric',
        text,
        arm.paper or '-',
        saving(arm, runs, full),
        f'{mean(run.iterations for run in runs.values()):,.0f}',
        time,
        hardware(arm, list(runs), records),
        ', '.join(logs),
    ], notes


def training_time(arm: Arm, runs: Dict[int, Run], records: Path) -> Tuple[str, bool]:
    """The mean time of an arm, and whether it is one that the notes of its runs are about.

    It is that of the runs that say how they were made, and only where there are none that of all.
    """
    seconds = [run.seconds for run in timed(arm, records) if run.seconds is not None]
    if seconds:
        count = f' (n={len(seconds)})' if len(seconds) < len(runs) else ''
        return duration(mean(seconds)) + count, False
    seconds = [run.seconds for run in runs.values() if run.seconds is not None]
    return duration(mean(seconds)) if len(seconds) == len(runs) else '?', True


def table(experiment: Experiment, records: Path, header: Tuple[str, ...] = HEADER) -> str:
    """The table of an experiment, in Markdown, and below it the notes on the numbers.

    Args:
        experiment (Experiment): Which.
        records (Path): Where its records are.
        header (tuple[str]): Which columns, of :data:`HEADER`. Defaults to all.
    """
    rows, notes = [list(HEADER)], []
    for arm in experiment.arms:
        cells, more = row(arm, records)
        rows.append(cells)
        notes += more
    names = {
        run.metric()[0] for arm in experiment.arms for run in recorded(arm, records).values()
    } - {''}
    if len(names) == 1:
        rows[0][2] = names.pop()
    rows = [[cell for cell, name in zip(cells, HEADER) if name in header] for cells in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [' | '.join(cell.ljust(width) for cell, width in zip(each, widths)) for each in rows]
    lines.insert(1, ' | '.join('-' * width for width in widths))
    text = '\n'.join(f'| {line} |' for line in lines)
    for arm in experiment.arms:
        if arm.control_of is not None:
            text += beside_control(arm.control_of, arm, records)
    merged: Dict[str, List[str]] = {}
    for note in dict.fromkeys(notes):
        label, _, what = note.partition(': ')
        merged.setdefault(what, []).append(label)
    return text + ''.join(f'\n\n{", ".join(labels)}: {what}' for what, labels in merged.items())


def spread(values: Sequence[float]) -> str:
    """Write a value, or the mean of several with their standard deviation and number."""
    if len(values) == 1:
        return f'{values[0]:.2f}'
    return f'{mean(values):.2f} ± {stdev(values):.2f} (n={len(values)})'


def beside_control(arm: Arm, control: Arm, records: Path) -> str:
    """A line with the difference between an arm and its control, if both have runs."""
    values, others = (finals(recorded(each, records)) for each in (arm, control))
    if not values or not others:
        return ''
    return f'\n\n{arm.label} minus control: {interval(values, others)}.'


def interval(values: List[float], others: List[float]) -> str:
    """The difference of two groups' means, with its interval where there is one."""
    found, half = difference(values, others)
    if half is None:
        return f'{found:+.2f} (too few runs)'
    return f'{found:+.2f} [{found - half:+.2f}, {found + half:+.2f}]'


def text(settings: str, root: Path = ROOT, experiments: Optional[Path] = None) -> str:
    """What a document has of an experiment: its table, and with ``NAME, figures`` these too.

    With ``NAME, short`` the table leaves out what the paper says, the hardware and the logs.

    Args:
        settings (str): The name, and what else is wanted.
        root (Path): Where ``records/`` is. Defaults to the repository.
        experiments (Path, optional): Where the experiment files are.

    Raises:
        ValueError: If there is no such experiment, or a record cannot be read.
    """
    name, _, more = settings.partition(', ')
    if more not in ('', 'figures', 'short'):
        raise ValueError(
            f'experiment: {settings}: write <!-- experiment: NAME -->, '
            '<!-- experiment: NAME, figures --> or <!-- experiment: NAME, short -->'
        )
    experiment = load_experiment(name, experiments or EXPERIMENTS)
    records = root / 'records'
    result = table(experiment, records, SHORT if more == 'short' else HEADER)
    if more == 'figures':
        for figure in experiment.figures:
            if has_data(experiment, figure, records):
                result += (
                    f'\n\n![{caption(experiment, figure)}](figures/'
                    + f'{file_name(experiment, figure)})'
                )
    if not any(recorded(arm, records) for arm in experiment.arms):
        result += f'\n\nNot run yet: `python tools/run_experiment.py {name}`.'
    return result


def caption(experiment: Experiment, figure: Dict[str, object]) -> str:
    """What a figure shows, for those who cannot see it."""
    return (
        experiment.title
        + {
            'curves': ': loss and metric over iterations and samples, and time where it was noted',
            'time': ': training time, and the part of it spent choosing samples',
            'pruned': ': samples pruned in each pass, and the metric',
            'sweep': f': sweep of {figure.get("xlabel")}',
            'losses': ': losses before pruning, after it and after rescaling',
        }[str(figure['kind'])]
    )
