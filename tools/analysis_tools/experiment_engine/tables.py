"""The text of an experiment in the documents: its table, notes and figures, from the records."""

from pathlib import Path
from statistics import mean
from typing import Any, Dict, List, Sequence, Tuple

from mm_infobatch.cli.summarize import format_duration, markdown_table

from . import ROOT, class_tables, figures
from .records import Record, recorded
from .results import finals, interval, saved, spread
from .spec import EXPERIMENTS, Arm, Experiment, available, load_experiment

ALL = (
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
# What is asked for behind the name of an experiment, and the columns that it gets.
STYLES: Dict[str, Sequence[str]] = {
    '': ALL,
    'figures': ALL,
    'short': ('run', 'n', 'result', *ALL[3:4], 'saving', 'iterations', 'training time'),
    'cost': ('run', 'n', 'result', *ALL[3:6], 'training time', 'extra time'),
    'worst': ('run', 'n', 'result', 'worst', *ALL[3:4], 'saving', 'iterations'),
    'classes': (),  # see class_tables.py
}


def text(settings: str, root: Path = ROOT, experiments: Path = EXPERIMENTS) -> str:
    """What a document has of an experiment.

    Args:
        settings (str): ``NAME`` is its table, with all columns; ``NAME, figures`` has its figures,
            too; ``NAME, short``, ``NAME, cost``, ``NAME, worst`` and ``NAME, classes`` have other
            columns.
        root (Path): Where ``records/`` is. Defaults to the repository.
        experiments (Path): Where the experiment files are. Defaults to the repository's.

    Raises:
        ValueError: If there is no such experiment, it has no record, or one cannot be read.
    """
    name, _, style = settings.partition(', ')
    if style not in STYLES:
        raise ValueError(
            f'experiment: {settings}: write <!-- experiment: NAME -->, or NAME and one of '
            + ', '.join(filter(None, STYLES))
        )
    experiment, records = load_experiment(name, experiments), root / 'records'
    if not any(recorded(arm, records) for arm in experiment.arms.values()):
        raise ValueError(
            f'experiment: {settings}: it has no record yet; documents show what has been run'
        )
    if style == 'classes':
        return class_tables.table(experiment, records)
    result = table(experiment, records, STYLES[style])
    for figure in experiment.figures if style == 'figures' else ():
        if figures.has_data(experiment, figure, records):
            caption = figures.caption(experiment, figure)
            result += f'\n\n![{caption}](figures/{figures.file_name(experiment, figure)})'
    return result


def table(experiment: Experiment, records: Path, header: Sequence[str] = ALL) -> str:
    """The table of an experiment, a row an arm with records, and below it the notes on them."""
    arms = [arm for arm in experiment.arms.values() if recorded(arm, records)]
    metrics = {one.run.metric()[0] for arm in arms for one in recorded(arm, records).values()}
    metrics -= {''}
    notes: Dict[str, List[str]] = {}
    rows: List[Dict[str, str]] = []
    for arm in arms:
        cells, more = row(arm, records)
        rows.append(cells)
        for note in dict.fromkeys(more):
            notes.setdefault(note, []).append(arm.label)
    result = metrics.pop() if len(metrics) == 1 else 'result'
    if all(cells['paper'] == '-' for cells in rows):
        header = [column for column in header if column != 'paper']
    head = [result if column == 'result' else column for column in header]
    parts = [markdown_table([head, *([cells[column] for column in header] for cells in rows)])]
    controls = [arm for arm in arms if arm.control_of is not None]
    for arm in controls:
        assert arm.control_of is not None
        values, others = (finals(each, records) for each in (arm.control_of, arm))
        if values and others:
            several = [each.control_of for each in controls].count(arm.control_of) > 1
            name = f'"{arm.label}"' if several else 'control'
            parts.append(f'{arm.control_of.label} minus {name}: {interval(values, others)}.')
    parts += [f'{", ".join(labels)}: {note}.' for note, labels in notes.items()]
    return '\n\n'.join(parts)


def row(arm: Arm, records: Path) -> Tuple[Dict[str, str], List[str]]:
    """The cells of an arm that has records, by column, and the notes on them."""
    found = recorded(arm, records)
    runs = [one.run for one in found.values()]
    values = finals(arm, records)
    others = finals(arm.against, records) if arm.against is not None else []
    time, estimated = training_time(list(found.values()))
    seeds = [*found] if len(found) == 1 else ['*']
    share = saved(arm, records)
    cells = {
        'run': arm.label,
        'n': f'{len(runs)} of {len(arm.seeds)}',
        'result': spread(values) if values else 'no metric',
        'worst': f'{min(values):.2f}' if values else '-',
        'difference [95 %]': interval(values, others) if values and others else '-',
        'paper': arm.paper or '-',
        'saving': '-' if share is None else f'{100 * share:.1f} %',
        'iterations': f'{mean(run.iterations for run in runs):,.0f}',
        'training time': time,
        'extra time': extra_time(arm, found, records),
        'hardware': '; '.join(dict.fromkeys(hardware(one.content) for one in found.values())),
        'log': f'`{records.name}/{arm.owner}/{arm.name}_seed{seeds[0]}.json`',
    }
    notes = [note for run in runs for note in run.notes]
    return cells, [note for note in notes if estimated or not note.startswith('time ')]


def extra_time(arm: Arm, found: Dict[int, Record], records: Path) -> str:
    """The mean time that choosing samples took: scores, the runs that they need, and planning."""
    times = []
    for seed, record in found.items():
        total = (record.run.infobatch or {}).get('totals', {}).get('seconds_choosing', 0.0)
        if arm.scores is not None:
            sources = recorded(arm.scores.of, records)
            needed = [sources.get(each) for each in arm.scores.runs(seed)]
            seconds = [one.run.seconds for one in needed if one and one.run.seconds is not None]
            if len(seconds) < len(needed) or 'scores' not in record.content:
                return '?'
            total += sum(seconds) + sum(record.content['scores']['seconds'].values())
        times.append(total)
    return format_duration(mean(times)) if max(times) >= 1 else f'{mean(times):.3f} s'


def training_time(found: List[Record]) -> Tuple[str, bool]:
    """The mean time of an arm, and whether it is one that the notes of its runs are about.

    It is that of the runs that say how they were made, and only where there are none that of all.
    """
    seconds = [one.run.seconds for one in found if one.timed and one.run.seconds is not None]
    if seconds:
        count = f' (n={len(seconds)})' if len(seconds) < len(found) else ''
        return format_duration(mean(seconds)) + count, False
    seconds = [one.run.seconds for one in found if one.run.seconds is not None]
    return format_duration(mean(seconds)) if len(seconds) == len(found) else '?', True


def hardware(content: Dict[str, Any]) -> str:
    """What a run ran on."""
    machine, settings = content['environment'], content['settings'] or {}
    if machine.get('accelerators'):
        return f'{settings.get("gpus", 1)} x {machine["accelerators"][0]}'
    return f'{machine.get("processor", "?")}, {machine.get("cores", "?")} cores'


def has_run(experiment: Experiment, records: Path) -> bool:
    """Whether an arm of an experiment has a record: one of its own, where it has any."""
    arms = [*experiment.arms.values()]
    own = [arm for arm in arms if arm.owner == experiment.name]
    return any(recorded(arm, records) for arm in own or arms)


def overview(settings: str, root: Path = ROOT) -> str:
    """The experiments that have a record (``run``), or those that have none (``planned``)."""
    if settings not in ('run', 'planned'):
        raise ValueError(f'experiments: {settings}: write run or planned')
    rows = [['experiment', 'what it shows', 'runs']]
    for name in available(root / 'experiments'):
        experiment = load_experiment(name, root / 'experiments')
        arms = experiment.arms.values()
        wanted = sum(len(arm.seeds) for arm in arms)
        done = sum(len(recorded(arm, root / 'records')) for arm in arms)
        if settings == ('run' if has_run(experiment, root / 'records') else 'planned'):
            rows.append([f'[{name}]({name}.py)', experiment.title, f'{done} of {wanted}'])
    return markdown_table(rows, aligned=False)
