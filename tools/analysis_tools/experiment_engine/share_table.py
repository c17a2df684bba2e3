"""The table of methods by the share that they skip, as the paper's Table 1 has it."""

import re
from pathlib import Path
from typing import Dict, List, Tuple

from mm_infobatch.cli.summarize import markdown_table

from . import ROOT
from .records import recorded
from .results import difference, finals, interval, saved, spread
from .spec import EXPERIMENTS, Arm, load_experiment
from .tables import extra_time, training_time

SHARE = re.compile(r', (\d\d) %$')  # at the end of a label
OTHER = 'another saving'
NEAR = 0.005  # of the share in the label: a saving further off is written into the cell


def text(names: str, root: Path = ROOT, experiments: Path = EXPERIMENTS) -> str:
    """The table of some experiments, a row a method, and a column for each share of the savings.

    An arrow says that a method ends significantly above or below the arm that trains on all data
    for as many iterations. The times are those of the first column that a method has.

    Args:
        names (str): The experiments, separated by commas.
        root (Path): Where ``records/`` is. Defaults to the repository.
        experiments (Path): Where the experiment files are. Defaults to the repository's.

    Raises:
        ValueError: If there is no such experiment, or none of its methods has a record.
    """
    records, arms = root / 'records', _arms(names, root / 'records', experiments)
    if not arms:
        raise ValueError(f'shares: {names}: there is no record of a method')
    methods: Dict[str, Dict[str, Arm]] = {}
    controls: Dict[str, Arm] = {}
    for arm in arms:
        method, column = _place(arm)
        methods.setdefault(method, {})[column] = arm
        if arm.control_of is not None:
            controls[column] = arm
    columns = sorted({column for row in methods.values() for column in row})  # letters come last
    table = [['run', 'n', *columns, 'training time', 'extra time']]
    for method, row in methods.items():
        counts = dict.fromkeys(str(len(finals(arm, records))) for arm in row.values())
        cells = [_cell(row, column, controls, records) for column in columns]
        first = row[min(row)]
        found = recorded(first, records)
        times = [training_time([*found.values()])[0], extra_time(first, found, records)]
        table.append([method, ', '.join(counts), *cells, *times])
    whole = arms[0].against
    assert whole is not None
    time, _ = training_time([*recorded(whole, records).values()])
    head = f'Differences to {whole.label}, which ends at {spread(finals(whole, records))} in {time}'
    return f'{head}:\n\n{markdown_table(table)}'


def _arms(names: str, records: Path, experiments: Path) -> List[Arm]:
    """The arms that have a record, each once, without the baseline and arms to take scores from."""
    found: Dict[Tuple[str, str], Arm] = {}
    for name in names.split(', '):
        for arm in load_experiment(name, experiments).arms.values():
            if arm.against is None or arm.keep_checkpoints or not finals(arm, records):
                continue
            if saved(arm, records) is not None:
                found.setdefault((arm.owner, arm.name), arm)
    return [*found.values()]


def _place(arm: Arm) -> Tuple[str, str]:
    """The row and the column of an arm, by its label."""
    found = SHARE.search(arm.label)
    return (arm.label[: found.start()], f'{found[1]} %') if found else (arm.label, OTHER)


def _cell(row: Dict[str, Arm], column: str, controls: Dict[str, Arm], records: Path) -> str:
    """The difference of an arm to all data, its saving where the column does not say it, and how it
    ends beside the control."""
    if column not in row:
        return '-'
    arm = row[column]
    values, saving = finals(arm, records), saved(arm, records)
    assert arm.against is not None and saving is not None
    cell = interval(values, finals(arm.against, records))
    if column == OTHER or abs(saving - int(column[:2]) / 100) > NEAR:
        cell += f' at {100 * saving:.1f} %'
    if column in controls and controls[column] is not arm:
        found, half = difference(values, finals(controls[column], records))
        if half is not None and abs(found) > half:
            cell += ' ↑' if found > 0 else ' ↓'
    return cell
